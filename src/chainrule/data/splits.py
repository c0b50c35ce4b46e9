"""Rows for training, for validation and for the test, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = np.ndarray[Any, Any]

SPLIT_KEY = 2**33  # keys below are of epochs and of parameters (training/initial.py)


def split_rows(rows: int, shares: Sequence[float], seed: int, classes: Array | None = None) -> list[NDArray[np.int64]]:
    """Row numbers for each share, in order. With `classes` (N,) each part has about as much of every class.

    Example:
    >>> [part.tolist() for part in split_rows(6, (0.5, 0.5), 0, np.array([0, 0, 0, 0, 1, 1]))]
    [[0, 2, 4], [1, 3, 5]]
    """
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, SPLIT_KEY], dtype=np.uint64)))
    order = generator.permutation(rows)
    if classes is not None:
        # The r-th of n rows of a class stands at (r + 1/2)/n: whatever is cut off has the class's share of it.
        place = np.empty(rows)
        for value in np.unique(classes):
            own = order[classes[order] == value]
            place[own] = (np.arange(len(own)) + 0.5) / len(own)
        order = order[np.argsort(place[order], kind="stable")]
    bounds = [0]
    for share in shares:
        wanted = max(round(share * rows), 1) if share > 0 else 0
        bounds.append(min(bounds[-1] + wanted, rows))
    bounds[-1] = rows if shares[-1] > 0 else bounds[-1]
    return [np.sort(order[start:stop]) for start, stop in zip(bounds, bounds[1:], strict=False)]
