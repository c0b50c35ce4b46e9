"""Numbers as they stand in the recorded files: twelve digits, which is what 1e-6 relative asks for six times over."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]
Record = dict[str, Any]


def tensor(array: Array, dtype: str) -> torch.Tensor:
    return torch.tensor(array, dtype=getattr(torch, dtype))


def numbers(values: Any) -> Any:
    """A tensor, an array or a number as nested lists of numbers of twelve digits."""
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim:
        return [numbers(part) for part in array]
    return int(array) if array.dtype.kind in "iub" else _short(float(array))


def _short(value: float) -> float:
    return float(f"{value:.12g}")
