"""Which rows a step sees.

The order of an epoch comes from a counter-based generator keyed by seed and epoch: any epoch's order can be made again
alone, without drawing those before it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def epoch_order(rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows in the order in which epoch number `epoch` (from 0) visits them: a permutation of range(rows)."""
    # The dtype is stated: a list with a seed of 2**63 or more would become float64 first, and merge such seeds.
    key = np.array([seed, epoch], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return generator.permutation(rows).astype(np.int64, copy=False)


def batch_bounds(rows: int, batch_size: int) -> list[tuple[int, int]]:
    """(start, stop) of every batch of an epoch; the last may be smaller.

    Example:
    >>> bounds = batch_bounds(60_000, 128)
    >>> len(bounds), bounds[-1]
    (469, (59904, 60000))
    """
    return [(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)]
