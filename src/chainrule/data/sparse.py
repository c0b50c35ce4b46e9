"""Sparse tables: SciPy's matrices and arrays as rows of non-zeros, never as the dense array.

SciPy is no dependency: what has `.tocsr()` is one, and what that gives has `indptr`, `indices` and `data`. A table of
200,000 texts by 50,000 words with 50 words a text has 10 million non-zeros, 80 MB, and is 40 GB of float32 when dense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

DENSE_LIMIT = 2**31  # bytes that a sparse table may take where all of it is wanted dense at once
CHUNK_NUMBERS = 2**22  # numbers made dense at a time where rows go through in turns: 16 MB of float32


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Row r holds values[e] in column places[e] for starts[r] ≤ e < starts[r + 1]; columns ascend, no value is 0.

    Looks like an array of shape (N, I), or (N, *tail): `rows[2:5]` and `rows[[7, 1]]` are SparseRows,
    `rows.astype(dtype)` and `np.asarray(rows)` are the dense array, within DENSE_LIMIT.

    Example:
    >>> rows = SparseRows(np.array([0, 1, 1, 3]), np.array([2, 0, 1], np.int32), np.array([5.0, 6.0, 7.0]), 3)
    >>> len(rows), rows.stored, np.asarray(rows[1:]).tolist()
    (3, 3, [[0.0, 0.0, 0.0], [6.0, 7.0, 0.0]])
    """

    starts: Array
    places: Array
    values: Array
    width: int
    tail: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, I), or the rows and the axes that the I columns are read as."""
        return len(self), *(self.tail or (self.width,))

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers the dense array has."""
        return len(self) * self.width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values: uint8, float32 or float64."""
        dtype: np.dtype[Any] = self.values.dtype
        return dtype

    @property
    def stored(self) -> int:
        """How many numbers are not 0."""
        return int(self.starts[-1] - self.starts[0])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: Any) -> SparseRows:
        """Some rows: a slice, or their numbers in any order."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return replace(self, starts=self.starts[start : max(start, stop) + 1])
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows)
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        chosen = np.repeat(self.starts[:-1][rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return replace(self, starts=starts, places=self.places[chosen], values=self.values[chosen])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.astype(self.dtype if dtype is None else dtype)

    def astype(self, dtype: Any, copy: bool = True) -> Array:
        """The dense array. Raises: DataError beyond DENSE_LIMIT."""
        dtype = np.dtype(dtype)
        if self.size * dtype.itemsize > DENSE_LIMIT:
            gigabytes = f"{self.size * dtype.itemsize / 2**30:.1f}"
            shown = f"({len(self)}, {self.width})"
            raise DataError(say("categories.too_large", came=shown, size=gigabytes, limit=DENSE_LIMIT // 2**30))
        dense = np.zeros((len(self), self.width), dtype)
        rows = np.repeat(np.arange(len(self)), np.diff(self.starts))
        stored = slice(int(self.starts[0]), int(self.starts[-1]))
        dense[rows, self.places[stored]] = self.values[stored]
        return dense.reshape(self.shape)

    def lengths(self) -> Array:
        """How many numbers of each row are not 0."""
        return np.diff(self.starts)

    def chunk_rows(self) -> int:
        """How many rows to make dense at a time."""
        return max(1, CHUNK_NUMBERS // self.width)


def rows_at_once(arrays: Mapping[str, Any], most: int) -> int:
    """How many rows may go through at a time where sparse tables are made dense: at most `most`."""
    return min([most, *(a.chunk_rows() for a in arrays.values() if isinstance(a, SparseRows))])


def is_sparse(value: object) -> bool:
    """Whether a value is one of SciPy's matrices or arrays of rows and columns, or SparseRows already."""
    return isinstance(value, SparseRows) or (hasattr(value, "tocsr") and len(getattr(value, "shape", ())) == 2)


def as_sparse(name: str, value: Any) -> SparseRows:
    """The rows of a sparse table, checked; it is left as it is, and where all is in order its arrays are shared.

    Duplicates are added up, as SciPy does when it makes a table dense; columns sorted; stored zeros left out.
    Raises: DataError for what is no table of finite numbers, with row and column.
    """
    if isinstance(value, SparseRows):
        return value
    table = value.tocsr()
    rows, width = (int(s) for s in table.shape)
    if rows == 0 or width == 0:
        raise DataError(say("data.empty", name=name, came=f"({rows}, {width})"))
    if table.data.dtype.kind not in "biuf":
        first = repr(table.data[0].item()) if len(table.data) else "–"
        raise DataError(say("data.not_numbers", name=name, came=f"{table.data.dtype} ({first})"))
    starts = np.asarray(table.indptr).astype(np.int64)
    end = int(starts[-1])
    ordered = starts[0] == 0 and bool((np.diff(starts) >= 0).all()) and end <= min(len(table.indices), len(table.data))
    inside = ordered and (end == 0 or bool(table.indices[:end].min() >= 0 and table.indices[:end].max() < width))
    if len(starts) != rows + 1 or not inside:
        raise DataError(say("categories.broken", name=name))
    if not _ascending(starts, table.indices):
        table = table.copy()
        table.sum_duplicates()
        starts = np.asarray(table.indptr).astype(np.int64)
        end = int(starts[-1])
    found = SparseRows(starts, _columns(table.indices[:end]), _numbers(table.data[:end]), width)
    _check_finite(name, found)
    return _without_zeros(found)


def _ascending(starts: Array, places: Array) -> bool:
    """Whether the columns of every row ascend, each once."""
    steps = np.diff(places[: starts[-1]]) > 0
    firsts = starts[1:-1]
    firsts = firsts[(firsts > 0) & (firsts < starts[-1])]  # what a row begins with may be anything
    steps[firsts - 1] = True
    return bool(steps.all())


def _columns(places: Array) -> Array:
    return np.ascontiguousarray(places, dtype=np.int32)


def _numbers(values: Array) -> Array:
    """The values in a dtype that is walked: uint8, float32, float64."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype == np.uint8 or (values.dtype.kind == "f" and values.dtype.itemsize in (4, 8)):
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    small = values.dtype.kind in "iu" and values.dtype.itemsize <= 2
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinity, which is reported as such
        return values.astype(np.float32 if small else np.float64)


def _check_finite(name: str, rows: SparseRows) -> None:
    if rows.dtype.kind != "f":
        return
    finite = np.isfinite(rows.values)
    if not finite.all():
        first = int(np.argmin(finite))
        row = int(np.searchsorted(rows.starts, first, side="right")) - 1
        raise DataError(
            say("data.not_finite", name=name, came=rows.values[first], place=f"{row}, {rows.places[first]}")
        )


def _without_zeros(rows: SparseRows) -> SparseRows:
    kept = rows.values != 0
    if kept.all():
        return rows
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return SparseRows(before[rows.starts], rows.places[kept], rows.values[kept], rows.width)
