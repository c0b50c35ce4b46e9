"""What the columns of a table mean, and the numbers that a network takes in their place.

    number     itself; a missing one is filled with the mean of the others and has a 1 in a column of its own
    date       days since 1970, month, day of the week, and the hour where the dates have one: numbers
    category   a class number 0 … V-1; V is "another": unknown, rare or, where none was missing in training, missing
    left out   constant, a text of its own in nearly every row, or the number of the row

A Layout is found once, on the training rows, and kept in the model file as JSON: names and numbers, never code. The
scaling of the numbers is not done here but by the formulas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches

import numpy as np

from chainrule.data.tables import Array, Column, Parsed, Table
from chainrule.errors import DataError, SettingError
from chainrule.messages import say

KINDS = ("number", "category", "date", "out")
DATE_PARTS = ("day", "month", "weekday", "hour")
TASKS = ("classification", "regression")
MOSTLY = 0.9  # a column with so many numbers among its values is one of numbers, with mistakes in it
FEW_CLASSES = 20  # a target of so many different whole numbers at most is one of classes
ROWS_A_CLASS = 5  # and with so many rows each, on average
MAX_WORDS = 1000  # of a category; rarer ones become "another"
ENOUGH_ROWS = 20  # with fewer, different values in all rows say nothing
UNKNOWN = ("other", "error")
DATE_LIKE = re.compile(
    r"[0-9]{1,2}([/.-])[0-9]{1,2}\1[0-9]{2,4}.*|[A-Za-z]{3,9}\.? [0-9]{1,2},? [0-9]{4}.*|"
    r"[0-9]{1,2}\.?[ -][A-Za-z]{3,9}\.?[ -][0-9]{2,4}.*|[0-9]{4}([-/.])[0-9]{1,2}\2[0-9]{1,2}.*"
)


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
            _column(table, feature.column)

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
        column = _column(table, feature.column)
        places = {word: place for place, word in enumerate(feature.words)}
        other = len(feature.words)
        absent = places.get("", other)  # "" stands for a missing value, where training saw one
        moved = np.array([places.get(word, other) for word in column.words] + [absent], dtype=np.int64)
        strange = np.flatnonzero((moved[:-1] == other)[column.codes] & (column.codes >= 0))
        if unknown == "error" and len(strange):
            row, known = int(strange[0]), ", ".join(w for w in feature.words if w)[:200]
            raise DataError(
                say(
                    "tables.unknown_category",
                    path=table.source,
                    row=row + 1,
                    name=feature.column,
                    came=column.shown(row),
                    known=known,
                )
            )
        return moved[column.codes]

    def targets(self, table: Table) -> tuple[Array, Array]:
        """(values, known): class numbers or numbers, and which rows have one. Raises: DataError."""
        column = _column(table, self.target.column)
        if self.target.task == "regression":
            values = _checked(table, column, column.numbers, "number")
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
                    row=row + 1,
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
        return [name for name in table.names if name in whole and _column(table, name).missing.any()]

    # to and from the model file

    def to_dict(self) -> dict[str, object]:
        """Names and numbers, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Layout:
        """Read what `to_dict` wrote, from a file that anybody may have written. Raises: ValueError."""
        try:
            content = json.loads(json.dumps(data))
            features = tuple(_feature(**entry) for entry in content["features"])
            target = _target(**content["target"])
            left_out = tuple(LeftOut(str(e["column"]), str(e["reason"])) for e in content["left_out"])
            decimals = tuple((str(name), "," if mark == "," else ".") for name, mark in content.get("decimals", ()))
            return cls(features, target, left_out, content["named"] is True, decimals)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(str(error)) from None


def _feature(column: str, kind: str, words: Sequence[str], marked: bool, **numbers: float) -> Feature:
    if kind not in ("number", "category", *DATE_PARTS) or set(numbers) != {"fill", "centre", "spread"}:
        raise ValueError(kind)
    return Feature(str(column), kind, marked=marked is True, words=_words(words), **_finite(numbers))


def _target(column: str, task: str, words: Sequence[str], **numbers: float) -> Target:
    if task not in TASKS or set(numbers) != {"centre", "spread"}:
        raise ValueError(task)
    return Target(str(column), task, _words(words), **_finite(numbers))


def _words(words: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(words, list) or not all(isinstance(w, str) for w in words) or len(set(words)) != len(words):
        raise ValueError("words")
    return tuple(words)


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    values = {name: float(value) for name, value in numbers.items()}
    if not all(np.isfinite(v) for v in values.values()):
        raise ValueError("numbers")
    return values


# --- one column -------------------------------------------------------------------------------------------------------


def _column(table: Table, name: str) -> Column:
    column = table.find(name)
    if column is None:
        raise DataError(say("tables.no_column", path=table.source, name=name, known=", ".join(table.names)))
    return column


def _checked(table: Table, column: Column, parsed: Parsed, kind: str) -> Array:
    """The values. Raises: DataError for the first row that has none of its kind."""
    if len(parsed.wrong):
        row = int(parsed.wrong[0])
        raise DataError(
            say("tables.not_a_date", path=table.source, row=row + 1, name=column.name, came=column.shown(row))
            if kind == "date"
            else say("tables.not_a_number", path=table.source, row=row + 1, name=column.name, came=column.shown(row))
        )
    return parsed.values


def _part(table: Table, feature: Feature) -> Array:
    """A feature's values in every row, NaN where they are missing."""
    column = _column(table, feature.column)
    if feature.kind == "number":
        return _checked(table, column, column.numbers, "number")
    return part_of_date(_checked(table, column, column.days, "date"), feature.kind)


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


# --- finding a layout -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wishes:
    """What the user said of the columns: the target, the only features, kinds by name, the task, the scale."""

    target: str | None = None
    features: tuple[str, ...] | None = None
    kinds: tuple[tuple[str, str], ...] = ()
    task: str | None = None
    scale: str = "standard"


def find_column(table: Table, asked: str) -> str:
    """The column of that name, else of that number (from 1; -1 is the last). Raises: DataError."""
    if table.find(asked) is not None:
        return asked
    try:
        number = int(asked)
    except ValueError:
        number = 0
    if 1 <= number <= len(table.columns):
        return table.names[number - 1]
    if -len(table.columns) <= number <= -1:
        return table.names[number]
    close = get_close_matches(asked, table.names, n=1)
    near = " " + say("formula.did_you_mean", name=close[0]) if close else ""
    known = ", ".join(table.names)
    raise DataError(say("tables.no_such_column", path=table.source, name=asked, known=known, near=near))


def target_of(table: Table, wishes: Wishes) -> Target:
    """The target's column and task, and its classes. Raises: DataError."""
    column = _column(table, table.names[-1] if wishes.target is None else find_column(table, wishes.target))
    if column.missing.all():
        raise DataError(say("tables.target_empty", path=table.source, name=column.name))
    task = wishes.task or _task(column)
    if task == "regression":
        if len(wrong := column.numbers.wrong):
            came, row = column.shown(wrong[0]), int(wrong[0]) + 1
            raise DataError(say("tables.target_no_number", path=table.source, row=row, name=column.name, came=came))
        values = column.numbers.values
        spread = float(np.nanstd(values))
        if spread == 0:
            raise DataError(say("tables.target_constant", path=table.source, name=column.name))
        return Target(column.name, task)
    present = np.unique(column.codes[column.codes >= 0])
    words = [column.words[code] for code in present]
    if len(words) < 2:
        raise DataError(say("tables.target_constant", path=table.source, name=column.name))
    if len(words) > MAX_WORDS or (table.rows >= ENOUGH_ROWS and 2 * len(words) > table.rows):
        known = ", ".join(table.names)[:200]
        raise DataError(
            say("tables.too_many_classes", path=table.source, name=column.name, came=len(words), known=known)
        )
    return Target(column.name, task, tuple(_in_order(words)))


def _task(column: Column) -> str:
    """Classes where the target is text, or a few whole numbers."""
    parsed = column.numbers
    if len(parsed.wrong):
        return "classification"
    values = np.unique(parsed.values[~np.isnan(parsed.values)])
    whole = bool((values == np.floor(values)).all())
    few = len(values) == 2 or (len(values) <= FEW_CLASSES and len(parsed.values) >= ROWS_A_CLASS * len(values))
    return "classification" if whole and few else "regression"


def _in_order(words: Sequence[str]) -> list[str]:
    """By size where all are numbers, else by the alphabet."""
    try:
        return sorted(words, key=float)
    except ValueError:
        return sorted(words)


def find_layout(table: Table, target: Target, rows: Array, wishes: Wishes) -> Layout:
    """The features of a table, as the training rows have them. Raises: DataError, SettingError."""
    asked = {find_column(table, name): kind for name, kind in wishes.kinds}
    only = None if wishes.features is None else {find_column(table, name) for name in wishes.features}
    if only is not None and target.column in only:
        raise SettingError(say("tables.target_is_feature", name=target.column))
    features: list[Feature] = []
    left_out: list[LeftOut] = []
    for column in table.columns:
        if column.name == target.column:
            continue
        if only is not None and column.name not in only:
            left_out.append(LeftOut(column.name, "asked"))
            continue
        found = _features(table, column, rows, asked.get(column.name), wishes.scale)
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            features += found
    if not features:
        raise DataError(say("tables.no_features", path=table.source, target=target.column))
    if target.task == "regression":
        values = _column(table, target.column).numbers.values[rows]
        target = replace(
            target, centre=_round(float(np.nanmean(values))), spread=_round(float(np.nanstd(values))) or 1.0
        )
    return Layout(tuple(features), target, tuple(left_out), table.named, tuple(table.decimals.items()))


def looks_like_dates(layout: Layout, table: Table) -> list[str]:
    """Columns that are no dates here and yet look so: 3/4/2024, 4 March 2024, which may be several days."""
    taken = [f.column for f in layout.categories] + [c.column for c in layout.left_out if c.reason == "own_value"]
    columns = [_column(table, name) for name in dict.fromkeys(taken)]
    return [c.name for c in columns if c.words and sum(map(bool, map(DATE_LIKE.fullmatch, c.words))) > len(c.words) / 2]


def _features(table: Table, column: Column, rows: Array, asked: str | None, scale: str) -> list[Feature] | LeftOut:
    if asked == "out":
        return LeftOut(column.name, "asked")
    kind = asked or _kind(table, column)
    codes = column.codes[rows] if kind == "category" else None
    if codes is not None:
        return _category(column, codes, kept=asked is not None)
    if kind == "number":
        values = _checked(table, column, column.numbers, kind)[rows]
        if asked is None and _counts_rows(column.numbers.values):
            return LeftOut(column.name, "row_number")
        feature = _number(column.name, kind, values, scale)
        return LeftOut(column.name, "constant") if feature is None else [feature]
    days = _checked(table, column, column.days, kind)[rows]
    parts = [_number(column.name, part, part_of_date(days, part), scale) for part in DATE_PARTS]
    return [part for part in parts if part is not None] or LeftOut(column.name, "constant")


def _kind(table: Table, column: Column) -> str:
    """Number, date or category; where nearly all are of one kind, the others are mistakes. Raises: DataError."""
    if column.has_dates:
        return "date"
    known = int((~column.missing).sum())
    if not known or column.is_numeric or len(column.numbers.wrong) <= (1 - MOSTLY) * known:
        _checked(table, column, column.numbers, "number")
        return "number"
    if len(column.days.wrong) <= (1 - MOSTLY) * known:
        _checked(table, column, column.days, "date")
        return "date"
    return "category"


def _number(column: str, kind: str, values: Array, scale: str) -> Feature | None:
    """None for a constant."""
    missing = np.isnan(values)
    known = values[~missing]
    if not len(known) or (known.min() == known.max() and (not missing.any() or kind in DATE_PARTS)):
        return None
    low, high, mean, deviation = known.min(), known.max(), known.mean(), known.std()
    centre, spread = {"standard": (mean, deviation), "minmax": (low, high - low), "none": (0.0, 1.0)}[scale]
    marked = bool(missing.any()) and kind in ("number", "day")
    return Feature(column, kind, _round(mean), marked, _round(centre), _round(spread) or 1.0)


def _round(value: float) -> float:
    """Seven digits, which float32 has: they stand in the formulas."""
    return float(f"{value:.7g}")


def _counts_rows(values: Array) -> bool:
    """Whether a column is 1, 2, 3, … or 0, 1, 2, …: the number of the row, which says nothing of it."""
    steps = np.diff(values)
    return len(values) >= ENOUGH_ROWS and values[0] in (0, 1) and bool((steps == 1).all())


def _category(column: Column, codes: Array, *, kept: bool) -> list[Feature] | LeftOut:
    known = codes[codes >= 0]
    counts = np.bincount(known, minlength=len(column.words))
    present = int((counts > 0).sum())
    missing = len(known) < len(codes)
    if present + missing < 2:
        return LeftOut(column.name, "constant")
    if not kept and len(known) >= ENOUGH_ROWS and 2 * present > len(known):
        return LeftOut(column.name, "own_value")
    # A word seen once says of one row only what it was: it is "another", so that another is learned too.
    often = np.flatnonzero(counts >= (2 if present > FEW_CLASSES else 1))
    often = often[np.argsort(-counts[often], kind="stable")][:MAX_WORDS]
    words = _in_order([column.words[code] for code in often])
    return [Feature(column.name, "category", words=tuple(([""] if missing else []) + words))]
