"""The layout of a table that is read in pieces: exact counts, means and spreads, in memory that does not grow.

First the target's column alone is read, which says how many rows have a target and of which class; then, with the split
that follows from it, all columns, of which only the training rows count. What is found is what data/finding.py finds in
a table in memory with the same training rows, but for two limits: a text column with more than MANY_WORDS different
words counts only those that came first (the others are "another"), or is left out where by then most rows had a text of
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.data.bigtables import BigTable
from chainrule.data.columns import DATE_PARTS, Feature, Layout, LeftOut, Target, part_of_date, wrong_value
from chainrule.data.finding import (
    ENOUGH_ROWS,
    MAX_WORDS,
    Summary,
    Wishes,
    asked_kinds,
    category_from,
    check_sizes,
    layout_from,
    mostly,
    numbers_from,
    scaled_target,
    target_column,
    target_of_classes,
    task_of_numbers,
)
from chainrule.data.splits import LEAST_ROWS
from chainrule.data.tables import Array, Column, Table
from chainrule.errors import DataError
from chainrule.messages import say

MANY_WORDS = 20_000  # different words of a column that are counted: some 3 MB
Training = Callable[[Table], Array]  # which rows of a piece are trained on, (n,) of bool


@dataclass
class Moments:
    """Of numbers that come in pieces: how many, extremes, mean and the sum of squares around it."""

    known: int = 0
    missing: int = 0
    low: float = np.inf
    high: float = -np.inf
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Array) -> None:
        """(n,) floats, NaN where they are missing. Each piece has its own mean, and the two are joined after Chan."""
        known = values[~np.isnan(values)]
        self.missing += len(values) - len(known)
        if not len(known):
            return
        mean, together = float(known.mean()), self.known + len(known)
        apart = mean - self.mean
        self.squares += float(((known - mean) ** 2).sum()) + apart**2 * self.known * len(known) / together
        self.mean += apart * len(known) / together
        self.known = together
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))

    def summary(self) -> Summary:
        """As finding.Summary.of makes it of all numbers at once."""
        if not self.known:
            return Summary(0, self.missing)
        deviation = 0.0 if self.low == self.high else float(np.sqrt(self.squares / self.known))
        return Summary(self.known, self.missing, self.low, self.high, self.mean, deviation)


@dataclass
class Words:
    """How often each word came, in the order in which they came first; `full` once there were more than MANY_WORDS."""

    counts: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    full: bool = False
    own: bool = False  # most rows had a word of their own when it was full

    def add(self, column: Column, codes: Array) -> None:
        """The words of some rows of a column."""
        known = codes[codes >= 0]
        self.missing += len(codes) - len(known)
        for code, count in zip(*np.unique(known, return_counts=True), strict=True):
            word = column.words[code]
            if word in self.counts or not self.full:
                self.counts[word] = self.counts.get(word, 0) + int(count)
        if not self.full and len(self.counts) > MANY_WORDS:
            self.full = True
            self.own = 2 * len(self.counts) > sum(self.counts.values())


@dataclass
class Survey:
    """What is seen of one column: all rows say of which kind it is, the training rows what is in it."""

    name: str
    asked: str | None
    known: int = 0
    numeric: bool = True
    dates: bool = False
    wrong: dict[str, int] = field(default_factory=lambda: {"number": 0, "date": 0})
    first_wrong: dict[str, tuple[int, str]] = field(default_factory=dict)  # row and text, by kind
    counts_rows: bool = True
    last: float = -np.inf
    moments: dict[str, Moments] = field(default_factory=lambda: {k: Moments() for k in ("number", *DATE_PARTS)})
    words: Words = field(default_factory=Words)

    def add(self, table: Table, column: Column, training: Array) -> None:
        """A piece's rows. Raises: DataError for infinity."""
        if column.is_numeric:
            check_sizes(table, column)
        self.known += int((~column.missing).sum())
        self.numeric, self.dates = self.numeric and column.is_numeric, self.dates or column.has_dates
        if self.asked == "number" or (self.asked is None and not column.has_dates):
            self._number(table, column, training)
        if self.asked == "date" or column.has_dates or (self.asked is None and not column.is_numeric):
            self._date(table, column, training)
        if self.asked == "category" or not (column.is_numeric or column.has_dates):
            self._word(column, training)

    def _number(self, table: Table, column: Column, training: Array) -> None:
        parsed = column.numbers
        self.note("number", table, column, parsed.wrong)
        self.moments["number"].add(parsed.values[training])
        if self.counts_rows:
            before = [self.last] if table.first else []
            steps = np.diff(np.concatenate([before, parsed.values]))
            self.counts_rows = bool((steps == 1).all()) and (bool(table.first) or parsed.values[0] in (0, 1))
            self.last = float(parsed.values[-1])

    def _date(self, table: Table, column: Column, training: Array) -> None:
        known = int((~column.missing).sum())
        if self.asked is None and self.known > ENOUGH_ROWS and not mostly(self.known, self.wrong["date"]):
            self.wrong["date"] += known  # no column of dates any more: a look at each text is dear
            return
        parsed = column.days
        self.note("date", table, column, parsed.wrong)
        for part in DATE_PARTS:
            self.moments[part].add(part_of_date(parsed.values[training], part))

    def _word(self, column: Column, training: Array) -> None:
        if not (self.words.own and self.asked is None):
            self.words.add(column, column.codes[training])

    def note(self, kind: str, table: Table, column: Column, wrong: Array) -> None:
        self.wrong[kind] += len(wrong)
        if len(wrong) and kind not in self.first_wrong:
            self.first_wrong[kind] = (table.first + int(wrong[0]) + 1, column.shown(int(wrong[0])))

    def features(self, path: object, rows: int, scale: str) -> list[Feature] | LeftOut:
        """As data/finding.py decides. Raises: DataError for a wrong value."""
        kind = self.asked or self._kind()
        if kind == "category":
            if self.words.own and self.asked is None:
                return LeftOut(self.name, "own_value")
            kept = self.asked is not None or self.words.full
            return category_from(self.name, self.words.counts, self.words.missing > 0, kept=kept)
        if kind in self.first_wrong:
            row, came = self.first_wrong[kind]
            raise wrong_value(kind, path, row, self.name, came)
        if kind == "number" and self.asked is None and rows >= ENOUGH_ROWS and self.counts_rows:
            return LeftOut(self.name, "row_number")
        parts = ("number",) if kind == "number" else DATE_PARTS
        return numbers_from(self.name, {part: self.moments[part].summary() for part in parts}, scale)

    def _kind(self) -> str:
        if self.dates:
            return "date"
        if not self.known or self.numeric or mostly(self.known, self.wrong["number"]):
            return "number"
        return "date" if mostly(self.known, self.wrong["date"]) else "category"


# --- the target -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What the target's column came to: the target, how many rows have one, and of classes how many each.

    `lone` are the classes that occur once, each with its row, from 1.
    """

    target: Target
    known: int
    counts: tuple[int, ...] = ()
    lone: tuple[tuple[str, int], ...] = ()


def survey_target(big: BigTable, wishes: Wishes) -> Seen:
    """The target's column and task, and its classes, from a look at that column alone. Raises: DataError."""
    head = big.head()
    name = target_column(head, wishes).name
    survey = Survey(name, None)
    moments, different = Moments(), Different()
    words, firsts = Words(), dict[str, int]()
    for table in big.tables([name]):
        column = table.columns[0]
        if column.is_numeric:
            check_sizes(table, column)
        survey.known += int((~column.missing).sum())
        survey.note("number", table, column, column.numbers.wrong)
        moments.add(column.numbers.values)
        if not different.many:
            different.add(column.numbers.values)
        if not words.full and (not column.is_numeric or not different.many):
            words.add(column, column.codes)
            for word in words.counts.keys() - firsts.keys():
                firsts[word] = table.first + int(np.argmax(column.codes == column.words.index(word))) + 1
    if not survey.known:
        raise DataError(say("tables.target_empty", path=big.path, name=name))
    task = wishes.task or _task(survey, different, big.rows)
    if task == "classification":
        count = len(words.counts) if not different.many else max(len(words.counts), different.count)
        if count > MAX_WORDS:
            known = ", ".join(big.names)[:200]
            raise DataError(
                say("tables.too_many_classes", path=big.path, name=name, came=f"> {MAX_WORDS}", known=known)
            )
        target = target_of_classes(head, name, list(words.counts), big.rows)
        counts = tuple(words.counts[word] for word in target.words)
        lone = [(w, firsts[w]) for w, n in zip(target.words, counts, strict=True) if n == 1 and big.rows >= LEAST_ROWS]
        return Seen(target, survey.known, counts, tuple(lone))
    if "number" in survey.first_wrong:
        row, came = survey.first_wrong["number"]
        raise DataError(say("tables.target_no_number", path=big.path, row=row, name=name, came=came))
    if moments.low == moments.high:
        raise DataError(say("tables.target_constant", path=big.path, name=name))
    return Seen(Target(name, task), survey.known)


@dataclass
class Different:
    """The different numbers of a column, as long as they are few."""

    values: set[float] = field(default_factory=set)
    many: bool = False

    @property
    def count(self) -> int:
        return len(self.values)

    def add(self, values: Array) -> None:
        self.values |= set(np.unique(values[~np.isnan(values)]).tolist())
        self.many = len(self.values) > MAX_WORDS


def _task(survey: Survey, different: Different, rows: int) -> str:
    if survey.wrong["number"]:
        return "classification"
    return "regression" if different.many else task_of_numbers(np.array(sorted(different.values)), rows)


# --- all columns ------------------------------------------------------------------------------------------------------


def survey_layout(big: BigTable, target: Target, training: Training, wishes: Wishes) -> Layout:
    """The features of a table, as the training rows have them. Raises: DataError, SettingError."""
    head = big.head()
    chosen = asked_kinds(head, target, wishes)
    surveys = {name: Survey(name, kind) for name, kind in chosen.items() if kind != "out"}
    centre = Moments()
    for table in big.tables([*surveys, target.column]):
        rows = training(table)
        for column in table.columns:
            if column.name in surveys:
                surveys[column.name].add(table, column, rows)
            elif target.task == "regression":
                centre.add(column.numbers.values[rows])
    found: Sequence[list[Feature] | LeftOut] = [
        surveys[name].features(big.path, big.rows, wishes.scale) if name in surveys else LeftOut(name, "asked")
        for name in chosen
    ]
    if target.task == "regression":
        target = scaled_target(target, centre.summary())
    return layout_from(head, target, found)
