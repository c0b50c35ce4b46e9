"""Which features a table has, by its training rows: what each column is taken for, its words, its mean and spread.

The decisions are made from counts and Summaries, so that they are the same for a table in memory and for a file that is
read in pieces (data/surveys.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np

from chainrule.data.columns import DATE_PARTS, Feature, Layout, LeftOut, Target, checked, column_of, part_of_date
from chainrule.data.tables import Array, Column, Table
from chainrule.errors import DataError, SettingError
from chainrule.messages import say

MOSTLY = 0.9  # a column with so many numbers among its values is one of numbers, with mistakes in it
FEW_CLASSES = 20  # a target of so many different whole numbers at most is one of classes
ROWS_A_CLASS = 5  # and with so many rows each, on average
MAX_WORDS = 1000  # of a category; rarer ones become "another"
LARGEST = 1e150  # whose square float64 still has: a spread is a sum of squares
ENOUGH_ROWS = 20  # with fewer, different values in all rows say nothing
DATE_LIKE = re.compile(
    r"[0-9]{1,2}([/.-])[0-9]{1,2}\1[0-9]{2,4}.*|[A-Za-z]{3,9}\.? [0-9]{1,2},? [0-9]{4}.*|"
    r"[0-9]{1,2}\.?[ -][A-Za-z]{3,9}\.?[ -][0-9]{2,4}.*|[0-9]{4}([-/.])[0-9]{1,2}\2[0-9]{1,2}.*"
)


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
    column = target_column(table, wishes)
    if column.missing.all():
        raise DataError(say("tables.target_empty", path=table.source, name=column.name))
    if column.is_numeric:
        check_sizes(table, column)
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
    return target_of_classes(table, column.name, [column.words[code] for code in present], table.rows)


def target_column(table: Table, wishes: Wishes) -> Column:
    """The one that is named, else the last. Raises: DataError."""
    return column_of(table, table.names[-1] if wishes.target is None else find_column(table, wishes.target))


def target_of_classes(table: Table, name: str, words: Sequence[str], rows: int) -> Target:
    """The classes of a column with these different words in so many rows. Raises: DataError for one, or too many."""
    if len(words) < 2:
        raise DataError(say("tables.target_constant", path=table.source, name=name))
    if len(words) > MAX_WORDS or (rows >= ENOUGH_ROWS and 2 * len(words) > rows):
        known = ", ".join(table.names)[:200]
        raise DataError(say("tables.too_many_classes", path=table.source, name=name, came=len(words), known=known))
    return Target(name, "classification", tuple(_in_order(words)))


def _task(column: Column) -> str:
    """Classes where the target is text, or a few whole numbers."""
    parsed = column.numbers
    if len(parsed.wrong):
        return "classification"
    return task_of_numbers(np.unique(parsed.values[~np.isnan(parsed.values)]), len(parsed.values))


def task_of_numbers(different: Array, rows: int) -> str:
    """Classes where a target has a few different values, all of them whole."""
    whole = bool((different == np.floor(different)).all())
    few = len(different) == 2 or (len(different) <= FEW_CLASSES and rows >= ROWS_A_CLASS * len(different))
    return "classification" if whole and few else "regression"


def _in_order(words: Sequence[str]) -> list[str]:
    """By size where all are numbers, else by the alphabet."""
    try:
        return sorted(words, key=float)
    except ValueError:
        return sorted(words)


def find_layout(table: Table, target: Target, rows: Array, wishes: Wishes) -> Layout:
    """The features of a table, as the training rows have them. Raises: DataError, SettingError."""
    chosen = asked_kinds(table, target, wishes)
    found = [
        LeftOut(column.name, "asked")
        if chosen[column.name] == "out"
        else _features(table, column, rows, chosen[column.name], wishes.scale)
        for column in table.columns
        if column.name != target.column
    ]
    if target.task == "regression":
        target = scaled_target(target, Summary.of(column_of(table, target.column).numbers.values[rows]))
    return layout_from(table, target, found)


def asked_kinds(table: Table, target: Target, wishes: Wishes) -> dict[str, str | None]:
    """What the user said of each column but the target: a kind, "out", or nothing. Raises: DataError, SettingError."""
    asked = {find_column(table, name): kind for name, kind in wishes.kinds}
    only = None if wishes.features is None else {find_column(table, name) for name in wishes.features}
    if only is not None and target.column in only:
        raise SettingError(say("tables.target_is_feature", name=target.column))
    names = [name for name in table.names if name != target.column]
    return {name: "out" if only is not None and name not in only else asked.get(name) for name in names}


def layout_from(table: Table, target: Target, found: Sequence[list[Feature] | LeftOut]) -> Layout:
    """The layout of what was found, column by column. Raises: DataError where no feature is left."""
    features = tuple(f for some in found if not isinstance(some, LeftOut) for f in some)
    if not features:
        raise DataError(say("tables.no_features", path=table.source, target=target.column))
    left_out = tuple(some for some in found if isinstance(some, LeftOut))
    return Layout(features, target, left_out, table.named, tuple(table.decimals.items()))


def scaled_target(target: Target, summary: Summary) -> Target:
    """The target of a number with what it is scaled by."""
    return replace(target, centre=_round(summary.mean), spread=_round(summary.deviation) or 1.0)


def looks_like_dates(layout: Layout, table: Table) -> list[str]:
    """Columns that are no dates here and yet look so: 3/4/2024, 4 March 2024, which may be several days."""
    taken = [f.column for f in layout.categories] + [c.column for c in layout.left_out if c.reason == "own_value"]
    columns = [column_of(table, name) for name in dict.fromkeys(taken)]
    return [c.name for c in columns if c.words and sum(map(bool, map(DATE_LIKE.fullmatch, c.words))) > len(c.words) / 2]


def _features(table: Table, column: Column, rows: Array, asked: str | None, scale: str) -> list[Feature] | LeftOut:
    kind = asked or _kind(table, column)
    if kind == "category":
        codes = column.codes[rows]
        counts = np.bincount(codes[codes >= 0], minlength=len(column.words))
        counted = {column.words[code]: int(counts[code]) for code in np.flatnonzero(counts)}
        return category_from(column.name, counted, bool((codes < 0).any()), kept=asked is not None)
    if kind == "number":
        values = checked(table, column, column.numbers, kind)[rows]
        check_sizes(table, column)
        if asked is None and _counts_rows(column.numbers.values):
            return LeftOut(column.name, "row_number")
        return numbers_from(column.name, {kind: Summary.of(values)}, scale)
    days = checked(table, column, column.days, kind)[rows]
    return numbers_from(column.name, {part: Summary.of(part_of_date(days, part)) for part in DATE_PARTS}, scale)


def _kind(table: Table, column: Column) -> str:
    """Number, date or category; where nearly all are of one kind, the others are mistakes. Raises: DataError."""
    if column.has_dates:
        return "date"
    known = int((~column.missing).sum())
    if not known or column.is_numeric or mostly(known, len(column.numbers.wrong)):
        checked(table, column, column.numbers, "number")
        return "number"
    if mostly(known, len(column.days.wrong)):
        checked(table, column, column.days, "date")
        return "date"
    return "category"


def check_sizes(table: Table, column: Column) -> None:
    """Raises: DataError for infinity, which a file of numbers can hold, and for what has no finite square."""
    if len(wrong := np.flatnonzero(np.abs(column.numbers.values) > LARGEST)):
        row, came = table.first + int(wrong[0]) + 1, float(column.numbers.values[wrong[0]])
        if np.isinf(came):
            raise DataError(say("bigtables.infinite", path=table.source, row=row, name=column.name, came=came))
        raise DataError(say("bigtables.huge", path=table.source, row=row, name=column.name, came=came))


def mostly(known: int, wrong: int) -> bool:
    """Whether so few of a column's values are wrong that they are mistakes."""
    return wrong <= (1 - MOSTLY) * known


@dataclass(frozen=True)
class Summary:
    """What a column's numbers come to: how many are known and missing, and of the known ones extremes and moments."""

    known: int
    missing: int
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0

    @classmethod
    def of(cls, values: Array) -> Summary:
        """Of (N,) floats, NaN where they are missing."""
        known = values[~np.isnan(values)]
        missing = len(values) - len(known)
        if not len(known):
            return cls(0, missing)
        return cls(len(known), missing, *map(float, (known.min(), known.max(), known.mean(), known.std())))


def numbers_from(column: str, summaries: Mapping[str, Summary], scale: str) -> list[Feature] | LeftOut:
    """A column's features by their kind: its number, or the parts of its dates; left out where all are constant."""
    found = [_number(column, kind, summary, scale) for kind, summary in summaries.items()]
    return [feature for feature in found if feature is not None] or LeftOut(column, "constant")


def _number(column: str, kind: str, seen: Summary, scale: str) -> Feature | None:
    """None for a constant."""
    if not seen.known or (seen.low == seen.high and (not seen.missing or kind in DATE_PARTS)):
        return None
    by_scale = {"standard": (seen.mean, seen.deviation), "minmax": (seen.low, seen.high - seen.low), "none": (0.0, 1.0)}
    centre, spread = by_scale[scale]
    marked = bool(seen.missing) and kind in ("number", "day")
    return Feature(column, kind, _round(seen.mean), marked, _round(centre), _round(spread) or 1.0)


def _round(value: float) -> float:
    """Seven digits, which float32 has: they stand in the formulas."""
    return float(f"{value:.7g}")


def _counts_rows(values: Array) -> bool:
    """Whether a column is 1, 2, 3, … or 0, 1, 2, …: the number of the row, which says nothing of it."""
    steps = np.diff(values)
    return len(values) >= ENOUGH_ROWS and values[0] in (0, 1) and bool((steps == 1).all())


def category_from(column: str, counts: Mapping[str, int], missing: bool, *, kept: bool) -> list[Feature] | LeftOut:
    """A category with these words, each so often, in the order in which they came; `kept` where the user said so."""
    present, known = len(counts), sum(counts.values())
    if present + missing < 2:
        return LeftOut(column, "constant")
    if not kept and known >= ENOUGH_ROWS and 2 * present > known:
        return LeftOut(column, "own_value")
    # A word seen once says of one row only what it was: it is "another", so that another is learned too.
    often = [word for word, count in counts.items() if count >= (2 if present > FEW_CLASSES else 1)]
    often = sorted(often, key=lambda word: -counts[word])[:MAX_WORDS]
    return [Feature(column, "category", words=tuple(([""] if missing else []) + _in_order(often)))]
