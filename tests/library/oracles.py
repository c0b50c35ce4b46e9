"""What PyTorch, Keras and scikit-learn computed: the files that benchmarks/record_oracles.py wrote."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[1] / "golden" / "oracles"

# Beside the largest of its kind, where a number is near 0; else 1e-6 relative in float64, where the record has twelve
# digits. In float32 both sides round, in other orders of operations: 2e-6 is some thirty units in the last place.
TOLERANCE = {"float64": 1e-9, "float32": 2e-6}
PRECISIONS = tuple(TOLERANCE)


@cache
def recorded(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def assert_same(ours: Any, theirs: Any, dtype: str, looser: float = 1.0) -> None:
    """Equal to 1e-6 relative, and close to rounding beside the largest entry."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert ours.shape == theirs.shape
    rounding = TOLERANCE[dtype] * looser
    relative = 1e-6 if dtype == "float64" else 10 * rounding
    np.testing.assert_allclose(ours, theirs, rtol=relative, atol=rounding * max(1e-30, float(np.abs(theirs).max())))
