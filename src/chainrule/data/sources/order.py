"""Which order an epoch has, drawn from its seed and number alone.

Counter-based generators are keyed by (seed, epoch): any epoch's order, and any part of a block shuffle, can be drawn
again without those before it. That is what lets a training resume in mid-epoch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainrule.data.sources.source import Order

MAX_ROWS = 2**32  # of an exact permutation: places are 32 bits wide
PLACE_BYTES = 4  # of a row in an exact permutation


def exact(rows: int, order: Order) -> NDArray[np.uint32]:
    """The permutation of data.batches.epoch_order, in half the memory: 4 bytes a row.

    NumPy draws the same numbers for an array of 32 bits as for one of 64.

    Example:
    >>> from chainrule.data.batches import epoch_order
    >>> bool((exact(1000, Order(7, 2)) == epoch_order(1000, 7, 2)).all())
    True
    """
    places = np.arange(rows, dtype=np.uint32)
    _generator(order, 0).shuffle(places)
    return places


def drawn(count: int, order: Order, number: int) -> NDArray[np.int64]:
    """A permutation of range(count) of its own for each number from 1 on, of the same epoch."""
    return _generator(order, number).permutation(count).astype(np.int64, copy=False)


def _generator(order: Order, number: int) -> np.random.Generator:
    """Number 0 is the generator of epoch_order; each other counts from 2**192 times its number on."""
    key = np.array([order.seed, order.epoch], dtype=np.uint64)
    counter = np.array([0, 0, 0, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def spread(rows: int, count: int) -> NDArray[np.int64]:
    """At most `count` of the rows, from everywhere, in their order: the first ones are often of one kind.

    >>> spread(10, 4).tolist(), spread(3, 4).tolist()
    ([0, 2, 5, 7], [0, 1, 2])
    """
    return np.arange(rows) if rows <= count else np.arange(count) * rows // count
