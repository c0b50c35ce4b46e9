"""What the columns of a table mean, and the numbers that a network takes in their place.

    number     itself; a missing one is filled with the mean of the others and has a 1 in a column of its own
    date       days since 1970, month, day of the week, and the hour where the dates have one: numbers
    category   a class number 0 … V-1; V is "another": unknown, rare or, where none was missing in training, missing
    left out   constant, a text of its own in nearly every row, or the number of the row

A Layout is found once, on the training rows, and kept in the model file as JSON: names and numbers, never code. The
scaling of the numbers is not done here but by the formulas.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from chainrule.data.tables import Array, Column, Parsed, Table
from chainrule.errors import DataError
from chainrule.messages import say

KINDS = ("number", "category", "date", "out")
DATE_PARTS = ("day", "month", "weekday", "hour")
TASKS = ("classification", "regression")
UNKNOWN = ("other", "error")


@dataclass(frozen=True)
class Feature:
    """One number or one category that goes in.

    `kind` is number, category, or the part of a date. `fill` stands for a missing number; `marked` says that a further
    column marks the missing ones. (centre, spread) are what the formulas scale by: (x - centre)/spread.
    """

    column: str
    kind: str
    fill: float = 0.0
    marked: bool = False
    centre: float = 0.0
    spread: float = 1.0
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The column's, or that of a date's part."""
        if self.kind in ("number", "category"):
            return self.column
        return say("tables.part_of", name=self.column, part=say(f"tables.part_{self.kind}"))


@dataclass(frozen=True)
class Target:
    """What is predicted: classes by name, or a number."""

    column: str
    task: str
    words: tuple[str, ...] = ()
    centre: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class LeftOut:
    """A column that does not go in, and why: constant, own_value, row_number or asked."""

    column: str
    reason: str


@dataclass(frozen=True)
class Encoded:
    """Arrays for a network. `numbers` (N, I): the numbers, then a 0 or 1 for each marked one; `categories` (N, C)."""

    numbers: Array
    categories: Array


@dataclass(frozen=True)
class Layout:
    """All that turns rows of a table into arrays, and a network's answers into words."""

    features: tuple[Feature, ...]
    target: Target
    left_out: tuple[LeftOut, ...] = ()
    named: bool = True
    decimals: tuple[tuple[str, str], ...] = ()  # columns' decimal marks, where the training rows showed any

    @property
    def numbers(self) -> tuple[Feature, ...]:
        """The features that go in as numbers."""
        return tuple(f for f in self.features if f.kind != "category")

    @property
    def marked(self) -> tuple[Feature, ...]:
        """Those of them whose missing values a further column marks."""
        return tuple(f for f in self.numbers if f.marked)

    @property
    def categories(self) -> tuple[Feature, ...]:
        """The features that go in as class numbers."""
        return tuple(f for f in self.features if f.kind == "category")

    @property
    def number_names(self) -> list[str]:
        """What each column of Encoded.numbers is."""
        return [f.name for f in self.numbers] + [say("tables.marked", name=f.name) for f in self.marked]

    def scale(self) -> tuple[list[float], list[float]]:
        """(centre, spread) of each column of Encoded.numbers; marks stay 0 and 1."""
        marks = len(self.marked)
        return [f.centre for f in self.numbers] + [0.0] * marks, [f.spread for f in self.numbers] + [1.0] * marks

    # rows → arrays

    def check(self, table: Table) -> None:
        """Raises: DataError for the first column that is needed and not there."""
        for feature in self.features:
            column_of(table, feature.column)

    def encode(self, table: Table, *, unknown: str = "other") -> Encoded:
        """The features of every row. Raises: DataError for a missing column, a wrong value, an unknown category."""
        self.check(table)
        values = np.empty((table.rows, len(self.numbers) + len(self.marked)), dtype=np.float64)
        for k, feature in enumerate(self.numbers):
            parsed = _part(table, feature)
            values[:, k] = np.where(np.isnan(parsed), feature.fill, parsed)
        for k, feature in enumerate(self.marked, start=len(self.numbers)):
            values[:, k] = np.isnan(_part(table, feature))
        codes = np.empty((table.rows, len(self.categories)), dtype=np.int64)
        for k, feature in enumerate(self.categories):
            codes[:, k] = self._codes(table, feature, unknown)
        return Encoded(values, codes)

    def _codes(self, table: Table, feature: Feature, unknown: str) -> Array:
        column = column_of(table, feature.column)
        places = {word: place for place, word in enumerate(feature.words)}
        other = len(feature.words)
        absent = places.get("", other)  # "" stands for a missing value, where training saw one
        moved = np.array([places.get(word, other) for word in column.words] + [absent], dtype=np.int64)
        strange = np.flatnonzero((moved == other)[column.codes] & (column.codes >= 0))
        if unknown == "error" and len(strange):
            row, known = int(strange[0]), ", ".join(w for w in feature.words if w)[:200]
            raise DataError(
                say(
                    "tables.unknown_category",
                    path=table.source,
                    row=table.first + row + 1,
                    name=feature.column,
                    came=column.shown(row),
                    known=known,
                )
            )
        return moved[column.codes]

    def targets(self, table: Table) -> tuple[Array, Array]:
        """(values, known): class numbers or numbers, and which rows have one. Raises: DataError."""
        column = column_of(table, self.target.column)
        if self.target.task == "regression":
            values = checked(table, column, column.numbers, "number")
            return values, ~np.isnan(values)
        places = {word: place for place, word in enumerate(self.target.words)}
        moved = np.array([places.get(word, -2) for word in column.words] + [-1], dtype=np.int64)
        values = moved[column.codes]
        if (values == -2).any():
            row = int(np.argmax(values == -2))
            known = ", ".join(self.target.words)[:200]
            raise DataError(
                say(
                    "tables.unknown_class",
                    path=table.source,
                    row=table.first + row + 1,
                    name=column.name,
                    came=column.shown(row),
                    known=known,
                )
            )
        return values, values >= 0

    def not_used(self, table: Table) -> list[str]:
        """The table's columns that this layout does not know at all."""
        known = {f.column for f in self.features} | {c.column for c in self.left_out} | {self.target.column}
        return [name for name in table.names if name not in known]

    def filled(self, table: Table) -> list[str]:
        """The columns where values are missing that were all there in training."""
        whole = {f.column for f in self.features if not f.marked and "" not in f.words and f.kind not in DATE_PARTS[1:]}
        return [name for name in table.names if name in whole and column_of(table, name).missing.any()]

    # to and from the model file

    def to_dict(self) -> dict[str, object]:
        """Names and numbers, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Layout:
        """Read what `to_dict` wrote, from a file that anybody may have written. Raises: ValueError."""
        from chainrule.data.layout_notes import read_layout  # which knows this class

        return read_layout(data)


# --- one column -------------------------------------------------------------------------------------------------------


def column_of(table: Table, name: str) -> Column:
    column = table.find(name)
    if column is None:
        raise DataError(say("tables.no_column", path=table.source, name=name, known=", ".join(table.names)))
    return column


def checked(table: Table, column: Column, parsed: Parsed, kind: str) -> Array:
    """The values. Raises: DataError for the first row that has none of its kind."""
    if len(parsed.wrong):
        row = int(parsed.wrong[0])
        raise wrong_value(kind, table.source, table.first + row + 1, column.name, column.shown(row))
    return parsed.values


def wrong_value(kind: str, path: object, row: int, name: str, came: str) -> DataError:
    """What to raise for a value that is no number, or no date."""
    if kind == "date":
        return DataError(say("tables.not_a_date", path=path, row=row, name=name, came=came))
    return DataError(say("tables.not_a_number", path=path, row=row, name=name, came=came))


def _part(table: Table, feature: Feature) -> Array:
    """A feature's values in every row, NaN where they are missing."""
    column = column_of(table, feature.column)
    if feature.kind == "number":
        return checked(table, column, column.numbers, "number")
    return part_of_date(checked(table, column, column.days, "date"), feature.kind)


def part_of_date(days: Array, part: str) -> Array:
    """Of days since 1970 the day itself, the month 1-12, the day of the week 0-6 from Monday, or the hour 0-24.

    >>> [float(part_of_date(np.array([19813.5]), part)[0]) for part in DATE_PARTS]    # Sunday 2024-03-31, noon
    [19813.5, 3.0, 6.0, 12.0]
    """
    if part == "day":
        return days
    if part == "hour":
        return np.asarray((days - np.floor(days)) * 24)
    known = ~np.isnan(days)
    whole = np.floor(np.where(known, days, 0)).astype(np.int64)
    if part == "weekday":
        values = (whole + 3) % 7  # 1970-01-01 was a Thursday
    else:
        values = whole.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    return np.where(known, values, np.nan)
