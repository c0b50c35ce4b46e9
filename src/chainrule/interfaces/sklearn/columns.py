"""A table's columns → what a network reads: numbers of a like size, and class numbers for embeddings.

Numbers: gaps get the median and a column of their own that says so, then robust scaling (median and quartiles), a
smooth cut of what lies far out, and unit variance. Categories: class numbers by scikit-learn's OrdinalEncoder; number 0
is for gaps and for what the training never saw, or saw once. Dates: days, and the angles of year, week and day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, QuantileTransformer, RobustScaler, StandardScaler

from chainrule.data.checks import is_whole
from chainrule.data.frames import is_frame, is_gap, raw_columns, word
from chainrule.data.sparse import is_sparse
from chainrule.data.tables import DAY as DAY_TEXT
from chainrule.data.tables import Column, Parsed
from chainrule.errors import DataError, SettingError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

FAR = 3.0  # quartile ranges from the median: x/sqrt(1 + (x/FAR)²) never passes it
RARE = 2  # rows that a category wants for a number of its own
DAY = 86_400.0  # seconds
YEAR = 365.2425  # days


def smoothly_cut(x: Array) -> Array:
    """x near 0, ±FAR far out.

    Source: Holzmüller, Grinsztajn & Steinwart, 2024, Better by default: strong pre-tuned MLPs, section 3.
    """
    far = np.clip(x, -1e100, 1e100)  # whose square still is a number
    cut: Array = far / np.sqrt(1.0 + (far / FAR) ** 2)
    return cut


@dataclass(frozen=True)
class Table:
    """What a network reads: numbers (N, I) and one int64 array (N,) for each categorical column."""

    numbers: Array
    classes: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def taken(self, rows: Array) -> Table:
        """Some rows."""
        return Table(self.numbers[rows], tuple(c[rows] for c in self.classes))


class Columns:
    """Learns what the columns of a table are, and makes a Table of any with the same columns."""

    def __init__(self, numbers: str = "robust", categorical: Any = ()):
        self.numbers, self.categorical = numbers, () if categorical is None else categorical

    def fit(self, X: Any) -> Columns:
        """Raises: DataError for a column of neither numbers, dates nor categories; SettingError."""
        columns, self.names = as_columns(X)
        chosen = categorical_columns(self.categorical, self.names)
        self.kinds = [
            "categories" if position in chosen else kind_of(column, name)
            for position, (name, column) in enumerate(zip(self.names, columns, strict=True))
        ]
        self.times = [
            kind == "dates" and _has_times(column, name)
            for kind, column, name in zip(self.kinds, columns, self.names, strict=True)
        ]
        numbers = self._numbers(columns)
        self.scaler = self._scaler(len(numbers)).fit(numbers) if numbers.shape[1] else None
        levels = self._levels(columns)
        self.encoder = None
        self.sizes: tuple[int, ...] = ()
        if levels.shape[1]:
            self.encoder = OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1, dtype=np.float64
            )
            self.encoder.fit(_without_rare(levels))
            self.sizes = tuple(1 + len([v for v in c if not is_gap(v)]) for c in self.encoder.categories_)
        return self

    def transform(self, X: Any) -> Table:
        """Raises: DataError for another number of columns."""
        columns, _ = as_columns(X)
        if len(columns) != len(self.kinds):
            raise DataError(say("sklearn.other_columns", came=len(columns), wanted=len(self.kinds)))
        numbers = self._numbers(columns)
        scaled = self.scaler.transform(numbers) if self.scaler is not None else np.zeros((len(numbers), 0))
        classes: tuple[Array, ...] = ()
        if self.encoder is not None:
            codes = self.encoder.transform(self._levels(columns)).astype(np.int64) + 1
            classes = tuple(np.ascontiguousarray(c) for c in codes.T)
        return Table(np.ascontiguousarray(scaled), classes)

    def _scaler(self, rows: int) -> Pipeline:
        gaps = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        if self.numbers == "quantiles":
            quantiles = QuantileTransformer(n_quantiles=min(1000, rows), output_distribution="normal", random_state=0)
            return make_pipeline(gaps, quantiles, StandardScaler())
        return make_pipeline(gaps, RobustScaler(), FunctionTransformer(smoothly_cut), StandardScaler())

    def _numbers(self, columns: Sequence[Array]) -> Array:
        """The columns of numbers and what dates become, in float64 with NaN for gaps: (N, I)."""
        found: list[Array] = []
        for column, name, kind, times in zip(columns, self.names, self.kinds, self.times, strict=True):
            if kind == "numbers":
                found.append(_as_floats(column, name))
            elif kind == "dates":
                found += _of_dates(_as_seconds(column, name), times)
        rows = len(columns[0]) if columns else 0
        return np.column_stack(found) if found else np.zeros((rows, 0))

    def _levels(self, columns: Sequence[Array]) -> Array:
        """The columns of categories as words, NaN for gaps, as OrdinalEncoder wants them: (N, C)."""
        found = [_as_words(c) for c, kind in zip(columns, self.kinds, strict=True) if kind == "categories"]
        rows = len(columns[0]) if columns else 0
        return np.column_stack(found) if found else np.zeros((rows, 0), dtype=object)


def as_columns(X: Any) -> tuple[list[Array], list[Any]]:
    """The columns of a table of pandas, polars or Arrow, or of an array of any dtype, and their names (or numbers).

    Raises: DataError.
    """
    if is_frame(X):
        columns, names = raw_columns(X)
        if not columns or not len(columns[0]):
            raise DataError(say("sklearn.empty_table", shape=(len(columns[0]) if columns else 0, len(columns))))
        return columns, names
    if is_sparse(X):
        raise DataError(say("sklearn.sparse_table"))
    if isinstance(X, np.ma.MaskedArray):  # what a mask hides is a gap
        hidden = np.ma.getmaskarray(X)
        X = np.asarray(X.data, dtype=np.float64 if X.dtype.kind in "biuf" else object).copy()
        X[hidden] = np.nan
    table = np.asarray(X, dtype=None if hasattr(X, "dtype") else object)
    if table.ndim != 2:
        raise DataError(say("sklearn.no_table", came=table.shape))
    if not table.size:
        raise DataError(say("sklearn.empty_table", shape=table.shape))
    return [table[:, n] for n in range(table.shape[1])], list(range(table.shape[1]))


def categorical_columns(asked: Any, names: Sequence[Any]) -> set[int]:
    """The places of columns that are named, numbered, or marked by True in a mask. Raises: SettingError.

    >>> sorted(categorical_columns(["b", 0], ["a", "b"])), categorical_columns([False, True], ["a", "b"])
    ([0, 1], {1})
    """
    if isinstance(asked, str) or not isinstance(asked, Iterable):
        raise SettingError(say("sklearn.categorical_features", came=asked))
    wanted = list(asked)
    if wanted and all(isinstance(w, bool | np.bool_) for w in wanted):
        if len(wanted) != len(names):
            raise SettingError(say("sklearn.categorical_features", came=wanted))
        return {place for place, is_one in enumerate(wanted) if is_one}
    places = set()
    for w in wanted:
        if w in names:
            places.add(names.index(w))
        elif is_whole(w) and 0 <= w < len(names):
            places.add(int(w))
        else:
            raise SettingError(say("sklearn.no_such_column", came=w, known=", ".join(map(str, names))[:200]))
    return places


def kind_of(column: Array, name: Any) -> str:
    """ "numbers", "dates" or "categories". Raises: DataError, naming the column.

    >>> kind_of(np.array([1.5, None], dtype=object), 0), kind_of(np.array(["a", None], dtype=object), 1)
    ('numbers', 'categories')
    """
    if column.dtype.kind in "biuf":
        return "numbers"
    if column.dtype.kind == "M":
        return "dates"
    values = [v for v in column.tolist() if not is_gap(v)]
    if all(isinstance(v, int | float | np.number | Decimal) for v in values):
        return "numbers"
    if all(isinstance(v, date | np.datetime64) for v in values):
        return "dates"
    if all(isinstance(v, str) for v in values) and DAY_TEXT.fullmatch(values[0].strip()):
        days = _days_of_texts(column, name)
        if not len(days.wrong) and not np.isnan(days.values).all():
            return "dates"
    if all(isinstance(v, str | bool | int | float | np.number | np.bool_) for v in values):
        return "categories"
    if any(isinstance(v, complex | np.complexfloating) for v in values):
        raise DataError(say("sklearn.complex_column", name=name))
    raise DataError(say("sklearn.column", name=name, came=type(values[0]).__name__))


def _as_floats(column: Array, name: Any) -> Array:
    if column.dtype.kind in "biuf":
        numbers = column.astype(np.float64)
    else:
        try:
            numbers = np.array([np.nan if is_gap(v) else float(v) for v in column.tolist()])
        except (TypeError, ValueError):
            raise DataError(say("sklearn.no_numbers", name=name, came=_first_without(float, column))) from None
    if np.isinf(numbers).any():
        raise DataError(say("sklearn.infinity", name=name))
    return numbers


def _as_words(column: Array) -> Array:
    return np.array([np.nan if is_gap(v) else word(v) for v in column.tolist()], dtype=object)


def _first_without(kind: type, column: Array) -> Any:
    """The first value that is not of a kind."""
    for value in column.tolist():
        try:
            if not is_gap(value):
                kind(value)
        except (TypeError, ValueError):
            return value
    return None


def _days_of_texts(column: Array, name: Any) -> Parsed:
    """Days since 1970 of texts such as 2024-03-31 12:30."""
    return Column(str(name), np.array(["" if is_gap(v) else str(v) for v in column.tolist()])).days


def _as_seconds(column: Array, name: Any) -> Array:
    """Seconds since 1970 of dates, or of texts that are dates. Raises: DataError."""
    if column.dtype.kind == "O" and any(isinstance(v, str) for v in column.tolist()):
        days = _days_of_texts(column, name)
        if len(days.wrong):
            raise DataError(say("sklearn.no_date", name=name, came=column[days.wrong[0]]))
        return np.asarray(np.round(days.values * DAY))
    if column.dtype.kind not in "OM":
        raise DataError(say("sklearn.no_date", name=name, came=column[0]))
    try:
        dates = np.array([np.datetime64("NaT") if is_gap(v) else v for v in column], dtype="datetime64[s]")
    except (TypeError, ValueError):
        raise DataError(say("sklearn.no_date", name=name, came=_first_without(np.datetime64, column))) from None
    seconds = dates.astype(np.int64).astype(np.float64)
    seconds[np.isnat(dates)] = np.nan
    return seconds


def _has_times(column: Array, name: Any) -> bool:
    seconds = _as_seconds(column, name)
    return bool((seconds[~np.isnan(seconds)] % DAY != 0).any())


def _of_dates(seconds: Array, times: bool) -> list[Array]:
    """Days since 1970, and sine and cosine of where in the year, the week and (with times) the day."""
    found = [seconds / DAY]
    for period in (YEAR * DAY, 7 * DAY, *([DAY] if times else [])):
        found += [np.sin(2 * np.pi * seconds / period), np.cos(2 * np.pi * seconds / period)]
    return found


def _without_rare(levels: Array) -> Array:
    """Categories of fewer rows than RARE as gaps: they teach the row of the unknown."""
    kept = levels.copy()
    for column in kept.T:
        counts = Counter(v for v in column.tolist() if not is_gap(v))
        column[:] = [np.nan if counts[v] < RARE else v for v in column.tolist()]
    return kept
