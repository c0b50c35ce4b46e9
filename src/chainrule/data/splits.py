"""Rows for training, for validation and for the test, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = np.ndarray[Any, Any]

SPLIT_KEY = 2**33  # keys below are of epochs and of parameters (training/initial.py)
CHOICE_KEY = SPLIT_KEY + 1
CLASS_KEY = SPLIT_KEY + 2  # and above: one for each class of a split that is drawn as rows come
RUN = 1000  # rows of a class within which each part has its share, to one row


class Drawn:
    """A split that is drawn as rows come, for a table too large for a permutation of its rows.

    Of every RUN rows of a class each part has its share, but for rounding, at places drawn by the seed: the same rows
    fall to the same parts however many come at a time. Of `rows` rows, `chosen` are drawn (None: all) before.

    Example:
    >>> drawn = Drawn((0.8, 0.1, 0.1), seed=0)
    >>> parts = np.concatenate([drawn.parts(np.zeros(300, dtype=np.int64)) for _ in range(10)])
    >>> np.bincount(parts).tolist()
    [2400, 300, 300]
    """

    def __init__(self, shares: Sequence[float], seed: int, *, rows: int = 0, chosen: int | None = None):
        self.bounds = np.cumsum(shares)[:-1]
        self.seed, self.left, self.wanted = seed, rows, chosen
        self._choice = _generator(seed, CHOICE_KEY)
        self._runs: dict[int, tuple[np.random.Generator, Array]] = {}

    def parts(self, classes: Array) -> NDArray[np.int8]:
        """The part of each of the next rows, by their classes (n,): 0, 1, …; -1 where it is in none."""
        parts = np.full(len(classes), -1, dtype=np.int8)
        taken = self._chosen(len(classes))
        for value in np.unique(classes[taken]):
            own = taken[classes[taken] == value]
            parts[own] = np.searchsorted(self.bounds, self._places(int(value), len(own)), side="right")
        return parts

    def _chosen(self, count: int) -> NDArray[np.int64]:
        """Which of the next rows are among the chosen: each with the chance that is left (Knuth's algorithm S)."""
        if self.wanted is None:
            return np.arange(count)
        taken = []
        for row, chance in enumerate(self._choice.random(count).tolist()):
            if chance * (self.left - row) < self.wanted:
                taken.append(row)
                self.wanted -= 1
        self.left -= count
        return np.array(taken, dtype=np.int64)

    def _places(self, value: int, count: int) -> Array:
        """The places in [0, 1) of the next rows of a class: of each RUN of them (r + 1/2)/RUN, in an order drawn."""
        generator, waiting = self._runs.get(value) or (_generator(self.seed, CLASS_KEY + value), np.zeros(0))
        runs = [waiting]
        while sum(map(len, runs)) < count:
            runs.append((generator.permutation(RUN) + 0.5) / RUN)
        places = np.concatenate(runs)
        self._runs[value] = (generator, places[count:])
        return places[:count]


def _generator(seed: int, key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, key], dtype=np.uint64)))


LEAST_ROWS = 20  # with fewer, that a class occurs once says nothing


def lone_classes(classes: Array) -> list[tuple[int, int]]:
    """Class numbers (N,) that occur once, each with its row; negative numbers are none.

    >>> lone_classes(np.array([0] * 30 + [2, 1, 1])), lone_classes(np.array([0, 1]))
    ([(2, 30)], [])
    """
    if len(classes) < LEAST_ROWS:
        return []
    counts = np.bincount(classes[classes >= 0])
    return [(int(number), int(np.argmax(classes == number))) for number in np.flatnonzero(counts == 1)]


def split_rows(rows: int, shares: Sequence[float], seed: int, classes: Array | None = None) -> list[NDArray[np.int64]]:
    """Row numbers for each share, in order. With `classes` (N,) each part has about as much of every class.

    Example:
    >>> [part.tolist() for part in split_rows(6, (0.5, 0.5), 0, np.array([0, 0, 0, 0, 1, 1]))]
    [[0, 2, 4], [1, 3, 5]]
    """
    generator = _generator(seed, SPLIT_KEY)
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
