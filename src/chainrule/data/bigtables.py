"""Tables that are read in pieces, because they would take more memory than was allowed: Parquet, .npy and .npz files.

A piece is a Table of some rows, which knows how many rows of the file come before it; so all that is done with a table
in memory is done with a piece, and messages name rows of the whole file. How many rows a piece has depends on the file
alone and never on the memory: what is found in a file is the same under any budget.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.memory import shown_bytes
from chainrule.data.sources.npz import map_arrays
from chainrule.data.sources.unchanged import Unchanged
from chainrule.data.tables import Column, Table, arrays_of_table, arrow, from_arrow, parquet_names
from chainrule.errors import DataError, FileError, SettingError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

# A table of 1,048,576 rows and 66 columns trains in memory with 2.0 GB, 29 bytes a cell: Arrow's value, float64 twice,
# the matrix of float64, the one of float32, and each part's copy of it.
CELL_BYTES = 32
PIECE_BYTES = 8 * 2**20  # of a piece's cells as float64: what is made of them is ten times as large
PIECE_ROWS = 65_536
# A column that is read holds a page, its dictionary and their values: 3.0 MB each were measured with 66 columns.
COLUMN_BYTES = 3 * 2**20
BUFFER_BYTES = 2**14  # read at a time of each column, and held: 64 KiB were not faster
SHOWN = 200  # characters of a list of names


class BigTable(ABC):
    """A table in a file, read in pieces. `need` is how many bytes it takes to read all its columns side by side."""

    path: Path
    names: list[str]
    rows: int
    named: bool = True
    need: int = 0

    @abstractmethod
    def tables(self, names: Sequence[str] | None = None) -> Iterator[Table]:
        """All rows, piece by piece, with these columns or all."""

    @property
    def piece_rows(self) -> int:
        """Of one piece: PIECE_BYTES of float64, whatever the memory; a power of two, as what predicts it works in."""
        rows = max(1, min(PIECE_ROWS, PIECE_BYTES // (8 * max(1, len(self.names)))))
        return 1 << (rows.bit_length() - 1)

    @property
    def in_memory(self) -> int:
        """How many bytes a training in memory would take."""
        return self.rows * len(self.names) * CELL_BYTES

    def head(self) -> Table:
        """The first piece, which has all the names. Raises: DataError, FileError."""
        pieces = self.tables()
        try:
            return next(pieces)
        finally:
            pieces.close()  # type: ignore[attr-defined]

    def check_memory(self, memory: int) -> None:
        """Raises: SettingError where the columns side by side do not fit."""
        if self.need > memory:
            wanted = f"{-(-self.need // 10**6)}MB"
            raise SettingError(say("bigtables.wide", path=self.path, columns=len(self.names), wanted=wanted))


def big_table(path: Path, memory: int, *, asked: bool = True) -> BigTable | None:
    """The file as one that is read in pieces; None where it fits into the memory, or must be read at once.

    `asked` says that the user named the memory: a text file that is larger is refused then, and read as always else.
    Raises: FileError, DataError, SettingError.
    """
    table = table_in_pieces(path, memory)
    if table is None:
        if asked and path.is_file() and (taken := _of_text(path)) > memory:
            raise DataError(say("bigtables.text", path=path, stem=path.name.split(".")[0], taken=shown_bytes(taken)))
        return None
    if table.in_memory <= memory:
        return None
    table.check_memory(memory)
    return table


def table_in_pieces(path: Path, memory: int) -> BigTable | None:
    """The file as one that is read in pieces, however small it is; None where it can only be read at once.

    Raises: FileError, DataError.
    """
    name = path.name.lower()
    if not path.is_file():
        return None  # the reader of tables says what is wrong
    if name.endswith(".parquet"):
        return ParquetTable(path)
    return _of_arrays(path, memory) if name.endswith((".npy", ".npz")) else None


def _of_text(path: Path) -> int:
    """About how many bytes a text file takes in memory: its text twice, and its cells. 0 of what is no text."""
    size = path.stat().st_size
    if path.name.lower().endswith((".npy", ".npz")):
        return 0
    if path.suffix.lower() == ".gz":
        size *= 4  # of tables as they are usually packed; what it really is, only unpacking tells
    try:
        with open(path, "rb") as file:
            start = file.read(2**16)
    except OSError as error:
        raise FileError(say("data.cannot_read", path=path, reason=error.strerror or error)) from None
    if path.suffix.lower() == ".gz" or not start:
        return size * 6
    cells = sum(start.count(sign) for sign in (b",", b";", b"\t", b"|", b"\n"))
    return 2 * size + CELL_BYTES * cells * size // len(start)


# --- Parquet ----------------------------------------------------------------------------------------------------------


class ParquetTable(BigTable):
    """A Parquet file, decoded page by page: its row groups may be of any size."""

    def __init__(self, path: Path):
        self.path = path
        self._file = Unchanged(path)
        with self._open() as file:
            about = file.metadata
            self.names, written = parquet_names(path, file.schema_arrow)
            self._written = dict(zip(self.names, written, strict=True))
            self.rows = about.num_rows
            self.need = _side_by_side(about)
        if self.rows == 0:
            raise DataError(say("tables.no_rows", path=path))

    @property
    def in_memory(self) -> int:
        """The cells, and the texts, which are as long as they are."""
        with self._open() as file:
            about = file.metadata
            stored = sum(about.row_group(g).total_byte_size for g in range(about.num_row_groups))
        return super().in_memory + int(stored)

    def tables(self, names: Sequence[str] | None = None) -> Iterator[Table]:
        """See BigTable."""
        names = self.names if names is None else list(names)
        pyarrow = arrow()
        try:
            yield from self._decoded(pyarrow, names)
        finally:
            pyarrow.default_memory_pool().release_unused()

    def _decoded(self, pyarrow: Any, names: list[str]) -> Iterator[Table]:
        first = 0
        with self._open() as file:
            written = [self._written[name] for name in names]
            batches = file.iter_batches(self.piece_rows, columns=written, use_threads=False)
            while True:
                self._file.check()
                try:
                    batch = next(batches, None)
                except (pyarrow.ArrowException, OSError):
                    self._file.check()  # it may be damaged because another program is writing to it
                    raise FileError(say("bigtables.damaged", path=self.path, row=first + 1)) from None
                if batch is None:
                    break
                columns = []
                for name, own in zip(names, written, strict=True):
                    values = pyarrow.chunked_array([batch.column(own)])
                    columns.append(Column(name, from_arrow(pyarrow, self.path, name, values, first)))
                yield Table(str(self.path), tuple(columns), batch.num_rows, first=first)
                first += batch.num_rows
        if first != self.rows:
            raise FileError(say("bigtables.damaged", path=self.path, row=first + 1))

    def _open(self) -> Any:
        pyarrow = arrow()
        self._file.check()
        try:
            return pyarrow.parquet.ParquetFile(
                self.path, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            )
        except (pyarrow.ArrowException, OSError, ValueError):  # ValueError: a column's name that is not UTF-8
            raise FileError(say("tables.not_parquet", path=self.path)) from None


def _side_by_side(about: Any) -> int:
    """How many bytes it takes to read all columns of the largest row group, a page of each, at most.

    Of the groups alone: pyarrow ends the process where a column's own metadata are damaged.
    """
    sizes = [about.row_group(g).total_byte_size for g in range(about.num_row_groups)]
    return min(COLUMN_BYTES * int(about.num_columns), 3 * max(sizes, default=0))


# --- NumPy's files ----------------------------------------------------------------------------------------------------


class ArrayTable(BigTable):
    """The arrays of an .npy or .npz file, mapped: a matrix whose columns are 1, 2, …, and y beside it."""

    named = False

    def __init__(self, path: Path, arrays: dict[str, Array]):
        self.path = path
        self._file = Unchanged(path)
        x, y = arrays_of_table(path, arrays)
        self.rows = len(x)
        self.names = [str(k + 1) for k in range(x.shape[1])] + ([] if y is None else ["y"])
        self._x, self._y = x, y

    def tables(self, names: Sequence[str] | None = None) -> Iterator[Table]:
        """See BigTable."""
        names = self.names if names is None else list(names)
        for first in range(0, self.rows, self.piece_rows):
            self._file.check()
            stop = min(first + self.piece_rows, self.rows)
            # Rows lie side by side, so all columns are read at once where more than one is wanted.
            x = np.array(self._x[first:stop]) if set(names) - {"y"} else None
            columns = [Column(name, self._values(name, x, first, stop)) for name in names]
            yield Table(str(self.path), tuple(columns), stop - first, named=False, first=first)

    def _values(self, name: str, x: Array | None, first: int, stop: int) -> Array:
        if name == "y" and self._y is not None:
            return np.array(self._y[first:stop])
        assert x is not None
        return x[:, int(name) - 1]


def _of_arrays(path: Path, memory: int) -> BigTable | None:
    """None for arrays of texts, which cannot be mapped, and packed archives that fit: they are read at once."""
    try:
        return ArrayTable(path, map_arrays(path, memory))
    except FileError:
        if path.stat().st_size * CELL_BYTES > memory:
            raise
        return None  # the reader of tables says what is wrong, or knows it
