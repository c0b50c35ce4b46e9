"""Parquet files by row groups: columns of numbers as fields, in a block shuffle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.memory import DEFAULT_MEMORY
from chainrule.data.sources.checked import Array, first_bad, native
from chainrule.data.sources.fingerprint import Digest
from chainrule.data.sources.grouped import LEAST_GROUPS, WINDOW_BYTES, GroupedSource
from chainrule.data.sources.source import Block, Field
from chainrule.data.sources.unchanged import Unchanged
from chainrule.errors import DataError, FileError, SettingError
from chainrule.messages import say

INDEX = "__index_level_0__"  # pandas writes its row labels as a column
MAX_COLUMNS = 100_000
READ_BYTES = 8 * 2**20  # of columns that are read together: their numbers are held until they stand in their rows
TILE_ROWS = 256  # rows that columns are turned into at a time: a tile of 1,024 columns of float32 is 1 MiB


@dataclass(frozen=True)
class Group:
    """A row group of one of the files; `first` is its first row, counted from 0 in that file."""

    file: int
    number: int
    rows: int
    first: int


class ParquetSource(GroupedSource):
    """Fields of one or several columns each, from one or several files of the same columns.

    `columns` says which columns a field has: a name alone is a field of shape (), a list of F names one of shape (F,).
    Raises: FileError, DataError for columns that are not there or hold no numbers, SettingError for the memory.
    """

    def __init__(self, paths: Sequence[Path], columns: Mapping[str, str | Sequence[str]], memory: int = DEFAULT_MEMORY):
        self.paths, self.memory = [Path(p) for p in paths], memory
        self.name = ", ".join(map(str, self.paths[:3])) + (", …" if len(paths) > 3 else "")
        self.columns = {field: of if isinstance(of, str) else tuple(of) for field, of in columns.items()}
        self._files = [Unchanged(path) for path in self.paths]
        self._groups: list[Group] = []
        self._metadata: list[Any] = []  # of 1,000 groups of 1,000 columns it takes seconds to read
        for number, path in enumerate(self.paths):
            self._add(number, path)
        self.groups = [group.rows for group in self._groups]
        self.rows = sum(self.groups)
        if self.rows == 0:
            raise DataError(say("tables.no_rows", path=self.name))
        self.check_memory()

    def _add(self, number: int, path: Path) -> None:
        """A file's row groups; its columns have the dtypes of the first file's."""
        with opened(path) as file:
            kinds = column_kinds(path, file, self.wanted)
            fields = {f: self._field(of, kinds) for f, of in self.columns.items()}
            if number and fields != dict(self.fields):
                raise DataError(say("sources.other_columns", path=path, first=self.paths[0]))
            self.fields = fields
            self._metadata.append(file.metadata)
            first = 0
            for group in range(file.metadata.num_row_groups):
                rows = int(file.metadata.row_group(group).num_rows)
                if rows:
                    self._groups.append(Group(number, group, rows, first))
                first += rows

    @property
    def wanted(self) -> list[str]:
        """All columns that are read, each once."""
        names = [n for of in self.columns.values() for n in ((of,) if isinstance(of, str) else of)]
        return list(dict.fromkeys(names))

    @staticmethod
    def _field(of: str | tuple[str, ...], kinds: Mapping[str, np.dtype[Any]]) -> Field:
        if isinstance(of, str):
            return Field((), kinds[of])
        return Field((len(of),), np.result_type(*(kinds[name] for name in of)))

    def read(self, group: int) -> Block:
        """See GroupedSource."""
        here = self._groups[group]
        path = self.paths[here.file]
        self._files[here.file].check()
        block = {name: np.empty((here.rows, *field.shape), field.dtype) for name, field in self.fields.items()}
        with opened(path, self._metadata[here.file]) as file:
            for names in self._together(here.rows):
                found = self._read(path, file, here, names)
                for field, of in self.columns.items():
                    _put(block[field], of, found)
                del found
        release()
        return block

    def largest(self, field: str) -> float:
        """See Source: of the columns of this field alone."""
        of, found = self.columns[field], -np.inf
        names = [of] if isinstance(of, str) else list(of)
        for here in self._groups:
            path = self.paths[here.file]
            self._files[here.file].check()
            with opened(path, self._metadata[here.file]) as file:
                numbers = self._read(path, file, here, names)
            found = max(found, *(float(values.max()) for values in numbers.values()))
        release()
        return found

    def _together(self, rows: int) -> Iterator[list[str]]:
        """The columns, so many at a time as take READ_BYTES of float64."""
        count = max(1, READ_BYTES // (8 * rows))
        names = self.wanted
        for start in range(0, len(names), count):
            yield names[start : start + count]

    def _read(self, path: Path, file: Any, group: Group, names: list[str]) -> dict[str, Array]:
        import pyarrow

        try:
            table = file.read_row_group(group.number, columns=names, use_threads=False)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise FileError(
                say("sources.damaged_group", path=path, group=group.number + 1, reason=_short(error))
            ) from None
        if table.num_rows != group.rows or not set(names) <= set(table.column_names):
            raise FileError(
                say("sources.damaged_group", path=path, group=group.number + 1, reason=f"{table.num_rows} rows")
            )
        return {name: self._numbers(path, group, name, table.column(name)) for name in names}

    @staticmethod
    def _numbers(path: Path, group: Group, name: str, values: Any) -> Array:
        """A column's numbers. Raises: DataError with row and column for what is missing or not finite."""
        import pyarrow
        from pyarrow import compute

        if values.null_count:
            row = group.first + int(compute.index(compute.is_null(values), True).as_py()) + 1
            raise DataError(say("sources.missing", path=path, row=row, name=name))
        kinds = pyarrow.types
        if kinds.is_decimal(values.type):
            values = compute.cast(values, pyarrow.float64())
        elif kinds.is_boolean(values.type):
            values = compute.cast(values, pyarrow.uint8())
        numbers: Array = np.asarray(values)
        if (place := first_bad(numbers)) is not None:
            row = group.first + place[0] + 1
            raise DataError(say("sources.bad_number", path=path, row=row, name=name, came=numbers[place]))
        return numbers

    def fingerprint(self) -> str:
        """See Source: of the files' bytes, the columns and what the order hangs on."""
        digest = Digest()
        digest.files(self.paths)
        for field, of in self.columns.items():
            digest.words(field, *((of,) if isinstance(of, str) else ("[", *of, "]")))
        digest.words("blocks", WINDOW_BYTES, LEAST_GROUPS)
        return digest.text()


def _put(rows: Array, of: str | Sequence[str], found: Mapping[str, Array]) -> None:
    """The columns that were found, into their places of the rows (N, F), tile by tile."""
    if isinstance(of, str):
        if of in found:
            rows[...] = found[of]
        return
    places = [k for k, name in enumerate(of) if name in found]
    if not places:
        return
    columns = [found[of[k]] for k in places]
    to: Any = slice(places[0], places[-1] + 1) if places[-1] - places[0] + 1 == len(places) else places
    for start in range(0, len(rows), TILE_ROWS):
        tile = np.array([column[start : start + TILE_ROWS] for column in columns], rows.dtype)
        rows[start : start + TILE_ROWS, to] = tile.T


def opened(path: Path, metadata: Any = None) -> Any:
    """pyarrow's ParquetFile, to be closed; `metadata` are its own, where they were read before.

    Raises: FileError for what is none; SettingError without pyarrow.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SettingError(say("tables.no_pyarrow")) from None
    try:
        if not path.is_file():
            raise FileError(say("data.not_a_file" if path.exists() else "data.no_file", path=path))
        return pyarrow.parquet.ParquetFile(path, metadata=metadata, page_checksum_verification=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise FileError(say("data.cannot_read", path=path, reason=error.strerror)) from None
        raise FileError(say("tables.not_parquet", path=path)) from None


def column_names(path: Path, file: Any) -> list[str]:
    """The columns of a file, without pandas' index. Raises: DataError for a name that stands twice."""
    names = [name for name in file.schema_arrow.names if name != INDEX]
    if len(names) > MAX_COLUMNS:
        raise DataError(say("tables.too_many_columns", path=path, came=len(names), limit=MAX_COLUMNS))
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        places = ", ".join(str(n + 1) for n, name in enumerate(names) if name == twice)
        raise DataError(say("tables.name_twice", path=path, name=twice, places=places))
    return names


def column_kinds(path: Path, file: Any, wanted: Sequence[str]) -> dict[str, np.dtype[Any]]:
    """The dtype that the numbers of each column come in. Raises: DataError for a column of no numbers, or none."""
    import pyarrow

    types = pyarrow.types
    known = column_names(path, file)
    kinds = dict[str, np.dtype[Any]]()
    for name in wanted:
        if name not in known:
            shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
            raise DataError(say("tables.no_column", path=path, name=name, known=shown))
        kind = file.schema_arrow.field(name).type
        if types.is_boolean(kind):
            kinds[name] = np.dtype(np.uint8)
        elif types.is_decimal(kind):
            kinds[name] = np.dtype(np.float64)
        elif types.is_integer(kind) or types.is_floating(kind):
            found = native(np.dtype(kind.to_pandas_dtype()))
            kinds[name] = found if found is not None else np.dtype(np.float64)
        else:
            raise DataError(say("sources.odd_column", path=path, name=name, kind=kind))
    return kinds


def release() -> None:
    """Give memory that Arrow keeps for later back to the system: it counts against the budget."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
