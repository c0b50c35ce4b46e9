"""Arrays of the same length, in memory or mapped from files, whose rows are gathered when they are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.checks import unmasked
from chainrule.data.memory import DEFAULT_MEMORY
from chainrule.data.sources.checked import check_finite, converted, native
from chainrule.data.sources.fingerprint import Digest
from chainrule.data.sources.grouped import WINDOW_BYTES, GroupedSource
from chainrule.data.sources.order import MAX_ROWS, PLACE_BYTES, exact, spread
from chainrule.data.sources.source import Block, Field, Order, Source
from chainrule.data.sources.unchanged import Unchanged
from chainrule.errors import DataError, SettingError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

# Up to so many rows an epoch is an exact permutation unless asked otherwise: 64 MiB of places. It is a count of rows,
# and no share of the memory, so that a training that is resumed under another budget meets the same rows.
EXACT_ROWS = 2**24
PLACES_SHARE = 4  # the permutation may take a quarter of the memory
GROUP_BYTES = 2**20  # of rows that are read together in a block shuffle: what a disk reads at once
IN_PLACE = ("uint8", "float32", "float64", "int64")  # what kernels gather from as it is
SHUFFLES = ("auto", "rows", "blocks")


@dataclass(frozen=True, eq=False)
class Columns:
    """Some columns of a table (N, …): a slice of them, their numbers, or one alone, which is (N,)."""

    table: Array
    chosen: slice | int | Sequence[int]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.table), *self.table[:0, self.chosen].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.table.dtype
        return dtype

    def __getitem__(self, places: Array | slice) -> Array:
        return np.ascontiguousarray(self.table[places][:, self.chosen])


def mapped(
    arrays: Mapping[str, Array | Columns],
    *,
    name: str = "data",
    memory: int = DEFAULT_MEMORY,
    shuffle: str = "auto",
    files: Sequence[Path] = (),
) -> Source:
    """Arrays by name as a Source: with `shuffle` "rows" an exact permutation each epoch, with "blocks" a block shuffle.

    "auto" permutes up to EXACT_ROWS rows exactly. `files` must stay as they are.
    Raises: DataError for what are no numbers, or of different lengths; SettingError where the memory does not suffice.
    """
    if shuffle not in SHUFFLES:
        raise SettingError(say("training.choice", name="shuffle", came=shuffle, wanted=", ".join(map(repr, SHUFFLES))))
    rows = Rows(name, arrays, [Unchanged(path) for path in files])
    if shuffle == "blocks" or (shuffle == "auto" and rows.count > EXACT_ROWS):
        return MappedBlocks(rows, memory)
    return MappedSource(rows, memory)


class Rows:
    """What both kinds of shuffle share: arrays, their fields, and rows of them that are looked at as they are read.

    Numbers are looked at when they are gathered, not in a pass before: that would read a file twice before the first
    step. Once an epoch went through all rows they are known to be finite.
    """

    def __init__(self, name: str, arrays: Mapping[str, Array | Columns], files: Sequence[Unchanged] = ()):
        self.name = name
        self.arrays = {f: unmasked(f"{name}, {f}", a) if isinstance(a, np.ndarray) else a for f, a in arrays.items()}
        self.fields = {field: _field(name, field, array) for field, array in self.arrays.items()}
        lengths = {field: int(array.shape[0]) for field, array in self.arrays.items()}
        if len(set(lengths.values())) != 1:
            came = ", ".join(f"{field}: {count}" for field, count in lengths.items()) or "–"
            raise DataError(say("data.lengths", came=came))
        self.count = next(iter(lengths.values()))
        if self.count == 0 or any(0 in field.shape for field in self.fields.values()):
            raise DataError(say("data.empty", name=name, came=str(next(iter(self.arrays.values())).shape)))
        self.files = [*files, *self._of_maps()]
        self.known_finite = False

    def _of_maps(self) -> list[Unchanged]:
        """The files of maps that the user has made."""
        tables = (array.table if isinstance(array, Columns) else array for array in self.arrays.values())
        maps = {str(table.filename) for table in tables if isinstance(table, np.memmap) and table.filename}
        return [Unchanged(Path(path), size_only=True) for path in sorted(maps)]

    def take(self, places: Array | slice) -> Block:
        """Copies of these rows. Raises: DataError, FileError."""
        for file in self.files:
            file.check()
        block = {name: self._taken(array, places, self.fields[name].dtype) for name, array in self.arrays.items()}
        if not self.known_finite:
            for name, values in block.items():
                check_finite(self.name, name, values, lambda row: _row(places, row))
        return block

    @staticmethod
    def _taken(array: Array | Columns, places: Array | slice, dtype: np.dtype[Any]) -> Array:
        if isinstance(array, Columns):
            return converted(array[places], dtype)
        if isinstance(places, slice):
            return converted(np.array(array[places]), dtype)
        if array.flags.c_contiguous:
            return converted(np.take(np.asarray(array), places, axis=0), dtype)
        return converted(np.asarray(array[places]), dtype)  # take would copy all of an array that is not contiguous

    def check(self) -> None:
        """Look at all numbers that were not seen yet, chunk by chunk. Raises: DataError, FileError."""
        for start in range(0, 0 if self.known_finite else self.count, self.chunk):
            for file in self.files:
                file.check()
            for name, array in self.arrays.items():
                check_finite(self.name, name, array[start : start + self.chunk], partial(add, start))
        self.known_finite = True

    def largest(self, field: str) -> float:
        """The largest number of one array, chunk by chunk. Raises: DataError for one that is not finite."""
        array, found = self.arrays[field], -np.inf
        for start in range(0, self.count, self.chunk):
            for file in self.files:
                file.check()
            values = np.asarray(array[start : start + self.chunk])
            check_finite(self.name, field, values, partial(add, start))
            found = max(found, float(values.max()))
        return found

    @property
    def chunk(self) -> int:
        """Rows that are looked at together."""
        return max(1, GROUP_BYTES // max(1, sum(field.bytes for field in self.fields.values())))

    def fingerprint(self, *words: object) -> str:
        """Of all arrays and what else matters."""
        digest = Digest()
        for name, array in self.arrays.items():
            digest.rows(name, array.shape, array.dtype, lambda start, stop, of=array: of[start:stop])  # type: ignore[misc]
        digest.words(*words)
        return digest.text()


class MappedSource(Source):
    """Rows in an exact permutation each epoch, the same as a training in memory has: see `mapped`."""

    def __init__(self, rows: Rows, memory: int = DEFAULT_MEMORY):
        self._rows = rows
        self.name, self.fields, self.rows, self.memory = rows.name, rows.fields, rows.count, memory
        if rows.count > MAX_ROWS or rows.count * PLACE_BYTES * PLACES_SHARE > memory:
            wanted = rows.count * PLACE_BYTES * PLACES_SHARE
            raise SettingError(say("sources.order_memory", name=rows.name, rows=rows.count, wanted=wanted))

    def blocks(self, order: Order | None, skip: int = 0) -> Iterator[Block]:
        """See Source."""
        rows = self._rows
        places = exact(rows.count, order) if order is not None and skip < rows.count else None
        for start in range(skip, rows.count, self.step):
            stop = min(start + self.step, rows.count)
            yield rows.take(slice(start, stop) if places is None else places[start:stop])
        if skip == 0:
            rows.known_finite = True

    def in_place(self) -> Mapping[str, Array] | None:
        """See Source. Rows of other dtypes and columns are copied as they are read."""
        arrays = {n: a for n, a in self._rows.arrays.items() if isinstance(a, np.ndarray)}
        fit = all(str(a.dtype) in IN_PLACE and a.flags.c_contiguous and a.flags.aligned for a in arrays.values())
        return arrays if fit and len(arrays) == len(self.fields) else None

    def head(self, rows: int) -> Block:
        """See Source."""
        return self._rows.take(spread(self._rows.count, rows))

    def largest(self, field: str) -> float:
        """See Source."""
        return self._rows.largest(field)

    def places(self, order: Order | None, skip: int, step: int) -> Iterator[Array]:
        """See Source."""
        rows = self._rows
        rows.check()
        places = exact(rows.count, order) if order is not None and skip < rows.count else None
        for start in range(skip, rows.count, step):
            for file in rows.files:
                file.check()
            stop = min(start + step, rows.count)
            yield np.arange(start, stop) if places is None else places[start:stop].astype(np.int64)

    def fingerprint(self) -> str:
        """See Source: that of data.sources.fingerprint.fingerprint_of."""
        return self._rows.fingerprint()


class MappedBlocks(GroupedSource):
    """Rows in a block shuffle, read in runs of GROUP_BYTES: see `mapped`."""

    def __init__(self, rows: Rows, memory: int = DEFAULT_MEMORY):
        self._rows = rows
        self.name, self.fields, self.rows, self.memory = rows.name, rows.fields, rows.count, memory
        self.run = max(1, GROUP_BYTES // self.row_bytes)
        starts = range(0, rows.count, self.run)
        self.groups = [min(self.run, rows.count - start) for start in starts]
        self.check_memory()

    def read(self, group: int) -> Block:
        """See GroupedSource."""
        start = group * self.run
        return self._rows.take(slice(start, start + self.groups[group]))

    def largest(self, field: str) -> float:
        """See Source."""
        return self._rows.largest(field)

    def blocks(self, order: Order | None, skip: int = 0) -> Iterator[Block]:
        """See Source."""
        yield from super().blocks(order, skip)
        if skip == 0:
            self._rows.known_finite = True

    def fingerprint(self) -> str:
        """See Source. The order counts too: a training cannot go on in another one."""
        return self._rows.fingerprint("blocks", GROUP_BYTES, WINDOW_BYTES)


def _field(source: str, name: str, array: Any) -> Field:
    dtype = native(array.dtype)
    if dtype is None or len(array.shape) == 0:
        raise DataError(say("sources.not_numbers", source=source, field=name, came=f"{array.dtype} {array.shape}"))
    return Field(tuple(int(size) for size in array.shape[1:]), dtype)


def _row(places: Array | slice, row: int) -> int:
    return (places.start or 0) + row if isinstance(places, slice) else int(places[row])
