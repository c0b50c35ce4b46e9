"""What fit, predict and evaluate are given → arrays: paths of files, tables and columns of pandas, polars and Arrow.

A table's columns go to the formulas' quantities by name; one vector such as x[i] takes the columns of numbers that no
other name takes, in the table's order. Arrays, lists and sparse tables pass as they are. What came from a file or a
table keeps its Origin, so that a wrong value found later is told with source, row and column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.checks import WrongValue
from chainrule.data.frames import Cells, Frame, Kind, as_cells, as_frame, is_frame, is_series, matrix, not_a_number
from chainrule.data.readers import SUFFIXES as IMAGES
from chainrule.data.readers import read_arrays, read_rows
from chainrule.data.tables import Column, Table, read_table
from chainrule.errors import DataError, FileError, warn
from chainrule.messages import say, shortened

Array = np.ndarray[Any, Any]

TEXTS = (".csv", ".tsv", ".txt")
ARRAYS = frozenset([np.ndarray, np.memmap, list, float, int])  # what is no path, table or column
MOSTLY = 0.9  # a text column with so many dates among its values is one of dates
X_NAMES = ("x", "data")
Y_NAMES = ("y", "t", "target", "label", "labels")
SHOWN_NAMES = 200  # characters of a list of names in a message


@dataclass(frozen=True)
class Wanted:
    """A quantity that the formulas read. `rank` is how many axes a sample of it has; `role` input, target or label."""

    name: str
    role: str
    rank: int
    counts: bool = False  # whether its numbers are class numbers
    width: int | None = None  # of a vector, where it is known

    @property
    def is_vector(self) -> bool:
        """x[i]: a number from each of several columns."""
        return self.role == "input" and self.rank == 1 and not self.counts


@dataclass(frozen=True)
class Origin:
    """Where numbers came from: the file or table, and the names of their columns where it has some."""

    source: str
    columns: tuple[str, ...] = ()

    def told(self, error: WrongValue) -> DataError:
        """The same error with source, row and column; rows as a person counts them."""
        row, *within = error.place
        column = ", ".join(str(place + 1) for place in within) or "1"
        if len(within) <= 1 and self.columns:
            place = within[0] if within else 0
            column = self.columns[place] if place < len(self.columns) else self.columns[0]
        where = {"source": self.source, "row": row + 1, "column": column}
        if error.last is not None:
            return DataError(say("given.not_a_class", **where, came=error.came, last=error.last))
        if np.isnan(error.came):
            return DataError(say("given.missing", **where))
        return DataError(say("given.not_a_number", **where, came=error.came))


@dataclass(frozen=True)
class Read:
    """An array with its origin."""

    value: Any
    origin: Origin


@dataclass
class Given:
    """What came, with arrays in the place of files and tables.

    `data` holds arrays, each for the next quantity that has none, and mappings by name; `named` the others by name.
    `columns` are those that a vector was made of, by its name: a network remembers them.
    """

    data: list[object] = field(default_factory=list)
    named: dict[str, object] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Want:
    """What is asked for: the quantities, `known` the names of all that the formulas have, and what vectors were
    trained on, by name, where they were trained on a table's columns."""

    quantities: Sequence[Wanted]
    known: Sequence[str]
    trained: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def find(self, name: str) -> Wanted | None:
        """The quantity of that name."""
        return next((w for w in self.quantities if w.name == name), None)


def resolve(data: Sequence[object], named: Mapping[str, object], want: Want) -> Given:
    """Arrays in the place of paths, tables and columns. Raises: DataError, FileError, one line each."""
    given = Given()
    taken = {str(key) for item in (*data, named) if isinstance(item, Mapping) for key in item}
    free = [w for w in want.quantities if w.name not in taken]
    waiting = sum(not isinstance(item, Mapping) for item in data)
    alone = waiting == 1
    for item in data:
        if isinstance(item, Mapping):
            given.data.append({str(k): _one(v, want.find(str(k)), want, given) for k, v in item.items()})
            continue
        waiting -= 1  # what comes after it fills the last quantities, one each
        found = _spread(item, free[: max(len(free) - waiting, 1)], want, given, alone)
        given.data.append(found)
        free = [w for w in free if w.name not in found] if isinstance(found, Mapping) else free[1:]
    given.named = {name: _one(value, want.find(name), want, given) for name, value in named.items()}
    return given


def are_arrays(data: Sequence[object], named: Mapping[str, object]) -> bool:
    """Whether there is nothing to resolve, as in nearly all calls: a step on a few rows takes 0.3 ms in all."""
    for value in (*data, *named.values()):
        values = value.values() if type(value) is dict else (value,)
        if not all(type(v) in ARRAYS for v in values):
            return False
    return True


def is_path(value: object) -> bool:
    """Whether an array is to be read from a file of this name. A text is: no array is one."""
    return isinstance(value, str | PathLike)


def is_plain(value: object) -> bool:
    """Whether this is neither a path, nor a table or a column of one."""
    return not is_path(value) and not is_frame(value) and not is_series(value)


def as_plain(name: str, value: object) -> object:
    """An array for one quantity from whatever came: a weight for each row, say. Raises: DataError, FileError."""
    found = _one(value, None, Want((), ()), Given())
    if not isinstance(found, Read):
        return found
    array = np.asarray(found.value)
    finite = np.isfinite(array) if array.dtype.kind == "f" else np.ones(1, bool)
    if not finite.all():
        place = tuple(int(p) for p in np.argwhere(~finite)[0])
        raise found.origin.told(WrongValue(name, name, array[place], place))
    return array


# --- one item for one quantity ----------------------------------------------------------------------------------------


def _one(item: object, wanted: Wanted | None, want: Want, given: Given) -> object:
    """What one quantity is given: a Read, or what came where it is no path, table or column."""
    if is_series(item):
        source, cells = as_cells(item)
        read = _read_columns(source, [cells], wanted)
        # A column, (N, 1), where a vector may be of width 1; else a row of a pandas table: one sample.
        flat = cells.kind == "numbers" and read.value.ndim == 2 and wanted is not None and wanted.width not in (None, 1)
        return replace(read, value=read.value[:, 0]) if flat else read
    if is_frame(item):
        return _matrix(as_frame(item), wanted, want, given)
    if not is_path(item):
        return item
    opened = _open(item)
    if isinstance(opened, Frame):
        cells_of_it = None if wanted is None or wanted.is_vector else opened.find(wanted.name)
        if cells_of_it is not None:
            return _read_columns(opened.source, [cells_of_it], wanted)
        return _matrix(opened, wanted, want, given)
    if len(opened.arrays) == 1:
        return opened.read(next(iter(opened.arrays)))
    for name in ((wanted.name,) if wanted is not None else ()) + ("x",):
        if name in opened.arrays:
            return opened.read(name)
    names = ", ".join(opened.arrays) or "–"
    raise DataError(say("given.no_array", path=opened.path, names=names, name=wanted.name if wanted else "x"))


def _matrix(frame: Frame, wanted: Wanted | None, want: Want, given: Given) -> Read:
    """All columns, or those that the vector was trained on."""
    columns: Sequence[Cells] = frame.columns
    if wanted is not None and wanted.is_vector and not _is_lists(columns):
        if wanted.name in want.trained:
            columns = _trained(frame, wanted, want.trained[wanted.name])
        _remember(frame, wanted, columns, given)
    return _read_columns(frame.source, columns, wanted)


def _is_lists(columns: Sequence[Cells]) -> bool:
    return len(columns) == 1 and columns[0].kind == "lists"


def _read_columns(source: str, columns: Sequence[Cells], wanted: Wanted | None) -> Read:
    if len(columns) == 1 and columns[0].kind == "text" and wanted is not None and not wanted.is_vector:
        if wanted.role in ("target", "label") or wanted.counts:
            raise DataError(
                say(
                    "given.words_as_classes",
                    source=source,
                    column=columns[0].name,
                    came=columns[0].dtype,
                    name=wanted.name,
                )
            )
    values = matrix(source, columns)
    if len(columns) == 1 and columns[0].kind == "numbers" and (wanted is None or not wanted.is_vector):
        values = values[:, 0]
    names = () if _is_lists(columns) else tuple(column.name for column in columns)
    return Read(values, Origin(source, names))


# --- one item for all that is free ------------------------------------------------------------------------------------


def _spread(item: object, free: Sequence[Wanted], want: Want, given: Given, alone: bool) -> object:
    """An array for the next quantity; or, of a table or an archive with their names, several by name."""
    opened = as_frame(item) if is_frame(item) else _open(item) if is_path(item) else None
    if isinstance(opened, Frame):
        return _by_columns(opened, free, want, given, alone)
    if isinstance(opened, Arrays):
        return _by_arrays(opened, free, alone)
    return _one(item, free[0] if free else None, want, given)


def _by_columns(frame: Frame, free: Sequence[Wanted], want: Want, given: Given, alone: bool) -> object:
    found = {w.name: cells for w in free if (cells := frame.find(w.name)) is not None and _fits(w, cells)}
    vectors = [w for w in free if w.is_vector and w.name not in found]
    if not found and not vectors and len(free) <= 1 and (not free or free[0].rank or len(frame.columns) == 1):
        return _matrix(frame, free[0] if free else None, want, given)
    if len(vectors) > 1:
        names = ", ".join(w.name for w in vectors)
        raise DataError(say("given.several_inputs", source=frame.source, names=names, first=vectors[0].name))
    absent = next((w for w in free if w.name not in found and w not in vectors), None)
    if absent is not None:
        raise DataError(say("given.no_column", source=frame.source, name=absent.name, known=_listed(frame.names)))
    named = [w for w in free if w.name in found]
    arrays: dict[str, object] = {w.name: _read_columns(frame.source, [found[w.name]], w) for w in named}
    for w in vectors:
        rest = _rest(frame, w, want, strict=not alone)
        if not _is_lists(rest):
            _remember(frame, w, rest, given)
        arrays[w.name] = _read_columns(frame.source, rest, w)
    return arrays


def _fits(wanted: Wanted, cells: Cells) -> bool:
    """A vector is not filled by a single number: a column x among others is one of the numbers of x[i]."""
    return not wanted.is_vector or cells.kind == "lists"


def _rest(frame: Frame, vector: Wanted, want: Want, *, strict: bool) -> list[Cells]:
    """The columns of a vector: those that it was trained on, else all of numbers that have no name of another.

    Where `strict`, all that have no name of another: who passes the inputs apart chose them.
    """
    if vector.name in want.trained:
        return _trained(frame, vector, want.trained[vector.name])
    others = {name for name in want.known if name != vector.name}
    left = [cells for cells in frame.columns if cells.name not in others]
    if strict and left:
        return left
    numbers = [cells for cells in left if cells.kind == "numbers"] or (left if _is_lists(left) else [])
    if not numbers:
        known = _listed(frame.names)
        raise DataError(say("given.no_number_columns", source=frame.source, name=vector.name, known=known))
    if len(numbers) < len(left):
        names = _listed(f"{cells.name}: {cells.dtype}" for cells in left if cells.kind != "numbers")
        warn(say("given.left_out", source=frame.source, names=names))
    return numbers


def _trained(frame: Frame, vector: Wanted, names: Sequence[str]) -> list[Cells]:
    """The columns that a vector was trained on, wherever they stand in this table."""
    by_name = {cells.name: cells for cells in frame.columns}
    for name in names:
        if name not in by_name:
            raise DataError(
                say(
                    "given.no_trained_column",
                    source=frame.source,
                    column=name,
                    known=_listed(frame.names),
                    name=vector.name,
                    trained=_listed(names),
                )
            )
    return [by_name[name] for name in names]


def _remember(frame: Frame, vector: Wanted, columns: Sequence[Cells], given: Given) -> None:
    if frame.named:
        given.columns[vector.name] = [cells.name for cells in columns]


def _listed(names: Iterable[str]) -> str:
    return shortened(", ".join(names), SHOWN_NAMES)


def _by_arrays(opened: Arrays, free: Sequence[Wanted], alone: bool) -> object:
    found = {w.name: opened.read(w.name) for w in free if w.name in opened.arrays}
    if len(opened.arrays) == 1 and not found and free and (len(free) == 1 or not alone):
        return {free[0].name: opened.read(next(iter(opened.arrays)))}
    inputs = [w for w in free if w.role == "input"]
    targets = [w for w in free if w.role != "input"]
    for some, names in ((inputs, X_NAMES), (targets, Y_NAMES)):
        usual = next((n for n in names if n in opened.arrays), None)
        if len(some) == 1 and some[0].name not in found and usual is not None and usual not in found:
            found[some[0].name] = opened.read(usual)
    if len(found) == len(free):
        return found
    if len(opened.arrays) == 1:
        rest = ", ".join(w.name for w in free[1:])
        raise DataError(say("given.one_array", path=opened.path, first=free[0].name, wanted=rest))
    names_there, missing = _listed(opened.arrays) or "–", ", ".join(w.name for w in free if w.name not in found)
    raise DataError(say("given.which_array", path=opened.path, names=names_there, wanted=missing))


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrays:
    """The arrays of a file, by name."""

    path: str
    arrays: Mapping[str, Array]

    def read(self, name: str) -> Read:
        """One of them, its origin with it."""
        source = self.path if len(self.arrays) == 1 else f"{self.path} ({name})"
        return Read(self.arrays[name], Origin(source))


def _open(item: Any) -> Arrays | Frame:
    """A file's arrays or columns. Raises: FileError, DataError: what is read, where it is none of these."""
    path = Path(fspath(item))
    suffix = path.suffix.lower()
    name = path.name.lower().removesuffix(".gz")
    if _is_folder(path):
        raise FileError(say("given.folder", path=path))
    if suffix in (".npy", ".npz"):
        return _arrays(path)
    if name.endswith((*TEXTS, ".parquet")):
        return _of_table(read_table(path))
    if suffix in IMAGES or "idx" in name:
        return Arrays(str(path), {"x": read_rows(path)})
    raise FileError(say("given.is_model" if suffix == ".safetensors" else "given.unknown_file", path=path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # no permission; a zero byte in the name, which the reader names
        return False


def _arrays(path: Path) -> Arrays:
    arrays = read_arrays(path)
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise FileError(say("data.not_numbers_file", path=f"{path} ({name})" if len(arrays) > 1 else path))
    return Arrays(str(path), arrays)


def _of_table(table: Table) -> Frame:
    columns = tuple(_cells(table.source, column) for column in table.columns)
    return Frame(table.source, columns, table.named)


def _cells(source: str, column: Column) -> Cells:
    kind = _kind(column)

    def read() -> Array:
        if _is_logical(column):
            truths = np.array([word.lower() == "true" for word in column.words] + [np.nan])
            return truths[column.codes]
        if len(column.numbers.wrong):
            row = int(column.numbers.wrong[0])
            raise not_a_number(source, row, column.name, column.words[column.codes[row]])
        return column.numbers.values

    return Cells(column.name, kind, column.shown(0) if kind in ("text", "dates") else "", read)


def _kind(column: Column) -> Kind:
    if column.has_dates:
        return "dates"
    if column.is_numeric or _is_logical(column):
        return "numbers"
    read = int((~np.isnan(column.numbers.values)).sum())  # also 1e999, which is a number too large
    words = int((column.codes >= 0).sum()) - read if len(column.numbers.wrong) else 0
    if words < max(read, 1):  # where most are numbers, the others are mistakes, which are named
        return "numbers"
    return "dates" if len(column.days.wrong) <= (1 - MOSTLY) * words else "text"


def _is_logical(column: Column) -> bool:
    """Whether all values are true or false, as Parquet's booleans become and pandas writes them into a CSV file."""
    if column.is_numeric or column.has_dates or not len(column.numbers.wrong):
        return False
    return {word.lower() for word in column.words} <= {"true", "false"}
