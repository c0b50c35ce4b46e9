"""Rows that lie in groups, each of which is read as a whole: a block shuffle.

Where a row alone is dear to read (a Parquet file is decoded by row groups; a disk is slow at single rows), an epoch
goes through all groups in an order that is drawn, and mixes the rows of some groups that follow one another, a window,
exactly. What a window holds is fixed by the groups' sizes and by WINDOW_BYTES, never by the memory: a training that is
resumed under another budget meets the same rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from chainrule.data.sources.order import drawn
from chainrule.data.sources.source import Block, Order, Source
from chainrule.errors import SettingError
from chainrule.messages import say

# Of the rows that are mixed: 64 MiB are 16,384 rows of 1,024 float32, and 2**20 of 16. At least LEAST_GROUPS, else a
# file that is sorted would stay so within each group.
WINDOW_BYTES, LEAST_GROUPS = 64 * 2**20, 2
READING = 2  # times a group's bytes: what reading it takes, the file's content and its numbers


class GroupedSource(Source):
    """Groups of rows, `groups[g]` rows in group g. A subclass sets name, fields, rows, groups and memory."""

    groups: Sequence[int]

    @abstractmethod
    def read(self, group: int) -> Block:
        """The rows of one group, as they lie there, finite. Raises: DataError, FileError."""

    def check_memory(self) -> None:
        """Raises: SettingError where the memory is less than a window and the reading of a group take."""
        if self.memory < self.needed:
            raise SettingError(
                say(
                    "sources.group_memory", name=self.name, came=_megabytes(self.memory), wanted=_megabytes(self.needed)
                )
            )

    @property
    def needed(self) -> int:
        """Bytes: the largest window there can be, a group as it is read, and blocks."""
        sizes = sorted((rows * self.row_bytes for rows in self.groups), reverse=True)
        window = max(sum(sizes[:LEAST_GROUPS]), min(sum(sizes), WINDOW_BYTES + sizes[0] if sizes else 0))
        reading = READING * (sizes[0] if sizes else 0)
        return (window + reading) * 4 // 3  # a quarter is left to blocks on their way

    def blocks(self, order: Order | None, skip: int = 0) -> Iterator[Block]:
        """See Source."""
        if order is None:
            yield from self._in_turn(skip)
            return
        for number, window in enumerate(self.windows(order)):
            rows = sum(self.groups[g] for g in window)
            if skip >= rows:
                skip -= rows
                continue
            yield from self._mixed(window, drawn(rows, order, 2 + number)[skip:])
            skip = 0

    def windows(self, order: Order) -> Iterator[list[int]]:
        """The groups in this epoch's order, so many together as are mixed.

        As few windows as there can be, and these of about one size: with what is left over as the last one, a training
        on a file that is sorted by class would end on rows of a few classes.
        """
        groups = drawn(len(self.groups), order, 1).tolist()
        sizes = [self.groups[group] * self.row_bytes for group in groups]
        total, count = sum(sizes), len(list(_cut(sizes, WINDOW_BYTES)))
        shares = [total * (number + 1) // count for number in range(count)]
        for start, stop in _cut(sizes, WINDOW_BYTES, shares):
            yield groups[start:stop]

    def _in_turn(self, skip: int) -> Iterator[Block]:
        for group, rows in enumerate(self.groups):
            if skip >= rows:
                skip -= rows
                continue
            block = self.read(group)
            for start in range(skip, rows, self.step):
                yield {name: array[start : start + self.step] for name, array in block.items()}
            skip = 0
            del block

    def _mixed(self, window: list[int], places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[Block]:
        """A window's rows in the order of `places`."""
        held = self._window(window)
        for start in range(0, len(places), self.step):
            chosen = places[start : start + self.step]
            yield {name: np.take(array, chosen, axis=0) for name, array in held.items()}

    def _window(self, window: list[int]) -> Block:
        """The groups of a window, one after the other."""
        rows = sum(self.groups[g] for g in window)
        held = {name: np.empty((rows, *field.shape), field.dtype) for name, field in self.fields.items()}
        start = 0
        for group in window:
            block = self.read(group)
            for name, array in held.items():
                array[start : start + self.groups[group]] = block[name]
            start += self.groups[group]
            del block
        return held


def _cut(sizes: Sequence[int], most: int, shares: Sequence[int] = ()) -> Iterator[tuple[int, int]]:
    """Where windows begin and end: each ends with LEAST_GROUPS groups or more once it has `most` bytes, or all windows
    up to it have their share.

    >>> list(_cut([10] * 7, 30)), list(_cut([10] * 7, 30, [23, 46, 70]))
    ([(0, 3), (3, 6), (6, 7)], [(0, 3), (3, 5), (5, 7)])
    """
    start, held, before, number = 0, 0, 0, 0
    for place, size in enumerate(sizes):
        held += size
        full = held >= most or (number < len(shares) and before + held >= shares[number])
        if full and place + 1 - start >= LEAST_GROUPS:
            yield start, place + 1
            start, held, before, number = place + 1, 0, before + held, number + 1
    if start < len(sizes):
        yield start, len(sizes)


def _megabytes(count: int) -> str:
    return f"{-(-count // 10**6)} MB"
