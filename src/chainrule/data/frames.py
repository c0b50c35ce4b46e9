"""pandas, polars and Arrow tables and columns → arrays, through narwhals: one narrow interface for all of them.

A column is numbers, lists of numbers of one length, or something else that only a message names. Nothing is guessed:
texts, dates and categories are for the tabular interfaces, which keep what they learn of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Literal

import numpy as np

from chainrule.errors import DataError
from chainrule.messages import say, shortened

Array = np.ndarray[Any, Any]
Kind = Literal["numbers", "lists", "text", "dates", "other"]

PACKAGES = frozenset(["pandas", "polars", "pyarrow", "narwhals", "modin", "cudf", "dask", "duckdb", "ibis", "pyspark"])
"""Whose objects narwhals is asked about: to import it takes 0.1 s, which a user of arrays does not wait for."""
SHOWN = 40  # characters of a wrong value that a message repeats


@dataclass(frozen=True)
class Cells:
    """One column. `read` gives its numbers, (N,), or of lists (N, K); NaN where there is no value.

    Where a value is no number, `read` raises a DataError with row and column. `dtype` is its type, for messages.
    """

    name: str
    kind: Kind
    dtype: str
    read: Callable[[], Array]


@dataclass(frozen=True)
class Frame:
    """Columns of one length. `named` says whether they have names of their own; without, they are 1, 2, …"""

    source: str
    columns: tuple[Cells, ...]
    named: bool = True

    def find(self, name: str) -> Cells | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]


def _foreign(value: object) -> bool:
    return any(t.__module__.partition(".")[0] in PACKAGES for t in type(value).__mro__)


def is_frame(value: object) -> bool:
    """Whether this is a table: a DataFrame of pandas or polars, an Arrow table or batch, or another of narwhals'.

    Raises: DataError for one that is not computed yet, such as polars' LazyFrame.
    """
    return _foreign(value) and _is(value, "DataFrame")


def is_series(value: object) -> bool:
    """Whether this is one column of such a table."""
    return _foreign(value) and _is(value, "Series")


def _is(value: object, kind: str) -> bool:
    import narwhals.stable.v2 as nw

    wrapped = _wrapped(value)
    if isinstance(wrapped, nw.LazyFrame):
        raise DataError(say("given.lazy", came=type(value).__name__))
    return isinstance(wrapped, nw.DataFrame if kind == "DataFrame" else nw.Series)


def _wrapped(value: Any) -> Any:
    """The narwhals object; what is no table comes back as it is. Raises: DataError for a name on several columns."""
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import DuplicateError

    try:
        wrapped = nw.from_native(value, pass_through=True, allow_series=True)
        if wrapped is value and hasattr(value, "__arrow_c_stream__"):  # a RecordBatch, say
            return nw.from_arrow(value, backend="pyarrow")
        if wrapped is value and type(value).__module__ == "pyarrow.lib" and hasattr(value, "to_numpy"):
            import pyarrow

            return nw.from_native(pyarrow.chunked_array([value]), series_only=True)
        return wrapped
    except DuplicateError:
        names = [str(name) for name in getattr(value, "columns", ()) if not hasattr(name, "to_numpy")]
        names = names or [str(name) for name in getattr(value, "column_names", ())]
        name = next((n for n, count in Counter(names).items() if count > 1), "?")
        places = ", ".join(str(k + 1) for k, n in enumerate(names) if n == name)
        raise DataError(say("given.name_twice", source=_source(value), name=name, places=places)) from None


def _source(value: object) -> str:
    """What messages call it: the pandas table."""
    package = next(root for t in type(value).__mro__ if (root := t.__module__.partition(".")[0]) in PACKAGES)
    return say("given.table_of", package="Arrow" if package == "pyarrow" else package)


def as_frame(value: object) -> Frame:
    """The columns of a table that `is_frame`. Raises: DataError for a name on several columns."""
    table, source = _wrapped(value), _source(value)
    columns = (_cells(source, str(name), table[:, place]) for place, name in enumerate(table.columns))
    return Frame(source, tuple(columns))


def as_cells(value: object) -> tuple[str, Cells]:
    """The source and the column of what `is_series`."""
    series, source = _wrapped(value), _source(value)
    return source, _cells(source, str(series.name or 1), series)


def _cells(source: str, name: str, series: Any) -> Cells:
    kind = _kind(series)
    read = _lists if kind == "lists" else _numbers
    return Cells(name, kind, str(series.dtype), partial(read, source, name, series))


def _kind(series: Any) -> Kind:
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    if dtype.is_numeric() or dtype in (nw.Boolean, nw.Unknown):
        return "numbers"
    if isinstance(dtype, nw.List | nw.Array):
        inner = dtype.inner
        while isinstance(inner, nw.List | nw.Array | type) and hasattr(inner, "inner"):
            inner = inner.inner
        numeric = inner() if isinstance(inner, type) else inner
        return "lists" if numeric.is_numeric() or numeric == nw.Boolean else "other"
    if dtype in (nw.String, nw.Categorical, nw.Enum):
        return "text"
    if dtype in (nw.Date, nw.Datetime):
        return "dates"
    return _kind_of_objects(series) if dtype == nw.Object else "other"


def _kind_of_objects(series: Any) -> Kind:
    """pandas keeps what it has no type for as objects: the first one that is there tells."""
    first = next((v for v in series.to_numpy() if not is_gap(v)), None)
    if first is None or isinstance(first, int | float | Decimal | np.number | np.bool_):
        return "numbers"
    if isinstance(first, str):
        return "text"
    return "lists" if isinstance(first, list | tuple | np.ndarray) else "other"


def is_gap(value: Any) -> bool:
    """None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | np.datetime64) and bool(value != value)


def _numbers(source: str, name: str, series: Any) -> Array:
    """(N,) as they are: bytes stay bytes; float64 where decimals, objects or gaps among whole numbers are."""
    values = np.asarray(series.to_numpy())
    if values.dtype.kind in "biuf":
        return values
    numbers = np.empty(len(values))
    for row, value in enumerate(values.tolist()):
        try:
            if isinstance(value, str | bytes):
                raise TypeError
            numbers[row] = np.nan if is_gap(value) else float(value)
        except (TypeError, ValueError, OverflowError):
            raise not_a_number(source, row, name, value) from None
    return numbers


def not_a_number(source: str, row: int, column: str, came: object) -> DataError:
    """The error for a value, its row counted from 0 here and from 1 in the message."""
    shown = shortened(repr(came), SHOWN)
    return DataError(say("given.not_a_number", source=source, row=row + 1, column=column, came=shown))


def _lists(source: str, name: str, series: Any) -> Array:
    """(N, K) or (N, K, L). Raises: DataError for the first row whose list has another length."""
    values = series.to_numpy()
    if values.dtype.kind in "biuf":  # polars' Array
        return np.asarray(values)
    rows = [None if value is None else _list(value) for value in values]
    wanted = next((row.shape for row in rows if row is not None), (0,))
    for number, row in enumerate(rows):
        if row is None or row.shape != wanted or row.dtype.kind not in "biuf":
            came = 0 if row is None else len(row)
            raise DataError(
                say("given.ragged", source=source, row=number + 1, column=name, came=came, wanted=wanted[0])
            )
    return np.stack([row for row in rows if row is not None])


def _list(value: Any) -> Array:
    """A row's numbers; of dtype object where there are none."""
    try:
        found = np.asarray(value)
        if found.dtype.kind == "O":
            found = np.stack([np.asarray(inner) for inner in found])
        return found if found.ndim else np.zeros(0, dtype=object)
    except (ValueError, TypeError):
        return np.zeros(len(value), dtype=object)


def matrix(source: str, columns: Sequence[Cells]) -> Array:
    """Columns of numbers side by side, (N, I); a column of lists alone is (N, K) as it is.

    Raises: DataError for a column that holds no numbers, and for a value that is none.
    """
    if len(columns) == 1 and columns[0].kind == "lists":
        return columns[0].read()
    for column in columns:
        if column.kind != "numbers":
            raise no_numbers(source, column)
    found = [column.read() for column in columns]
    # Row after row, as an array has them: with the columns one after the other, sums would be rounded in another order.
    return np.stack(found, axis=1, out=_rows_of(found)) if found else np.zeros((0, 0))


def _rows_of(columns: Sequence[Array]) -> Array:
    """Room for columns side by side, row after row."""
    return np.empty((len(columns[0]), len(columns)), np.result_type(*columns))


def no_numbers(source: str, column: Cells) -> DataError:
    """The error for a column of texts, dates or anything else where numbers are wanted."""
    key = column.kind if column.kind in ("text", "dates") else "other"
    return DataError(say(f"given.column_{key}", source=source, column=column.name, came=column.dtype))


def unframed(value: Any) -> Any:
    """A table as the matrix of its columns, a column as its numbers; anything else as it is, also within lists.

    Raises: DataError for columns that hold no numbers.
    Example:
    >>> import pandas
    >>> unframed([pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})])[0].tolist()
    [[1.0, 0.5], [2.0, 1.5]]
    """
    if type(value) in (list, tuple) and len(value) <= MANY and any(map(_foreign, value)):
        return [unframed(item) for item in value]
    if type(value) is dict:
        return {name: unframed(item) for name, item in value.items()}
    if is_frame(value):
        frame = as_frame(value)
        return matrix(frame.source, frame.columns)
    if is_series(value):
        source, cells = as_cells(value)
        if cells.kind not in ("numbers", "lists"):
            raise no_numbers(source, cells)
        return cells.read()
    return value


MANY = 1000  # a longer list is one of rows, not of inputs


def raw_columns(value: object) -> tuple[list[Array], list[Any]]:
    """Every column of a table as float64 with NaN, datetime64[s] in UTC, or objects with None; and their names.

    For who learns what columns mean (chainrule.sklearn); categories are their names, whatever they are made of.
    """
    table = _wrapped(value)
    return [_raw(table[:, place]) for place in range(len(table.columns))], list(table.columns)


def _raw(series: Any) -> Array:
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    if dtype in (nw.Datetime, nw.Date):
        return np.asarray(series.to_numpy()).astype("datetime64[s]")
    if dtype in (nw.Categorical, nw.Enum):
        # Also one of whole numbers, in pandas. By to_list: pyarrow's to_numpy gives gaps the first word (26.0).
        return np.array([None if is_gap(v) else word(v) for v in series.to_list()], dtype=object)
    values = np.asarray(series.to_numpy())
    if dtype != nw.Object and values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return values.astype(object)


def word(value: Any) -> str:
    """A category's name. 3.0 is the category 3: pandas makes floats of whole numbers where one is missing."""
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)
