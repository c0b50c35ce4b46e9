"""What a gradient check found: a row per parameter, its worst entry, the kinks; printed as a table of 80 columns."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.derivation.entries import entry_text
from chainrule.messages import say

COMPLEX, CENTRAL = "complex step", "central differences"
SHOWN_KINKS = 8
COLUMNS = 80  # of a terminal
GLUE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Entry:
    """∂E/∂ of one entry of a parameter, derived and numerical; `error` is relative, as check.py says."""

    parameter: str
    position: tuple[int, ...]
    derived: float
    numerical: float
    error: float

    @property
    def name(self) -> str:
        """W1[300, 7]."""
        return entry_text(self.parameter, self.position)


@dataclass(frozen=True)
class Kink:
    """An entry at which E has a kink: the slope from the left, from the right, and the one that the derivation takes.

    `where` names what is at its kink, as a_h[2] = 0, in `sample`, from 0 (None where it belongs to no sample); `others`
    counts what else this entry moves over a kink.
    """

    parameter: str
    position: tuple[int, ...]
    where: str
    sample: int | None
    left: float
    right: float
    derived: float
    others: int = 0

    @property
    def name(self) -> str:
        return entry_text(self.parameter, self.position)

    @property
    def place(self) -> str:
        """ "a_h[2] = 0 in sample 5"."""
        if not self.where:
            return say("check.kink_unnamed")
        return self.where if self.sample is None else say("check.in_sample", what=self.where, sample=self.sample)


@dataclass(frozen=True)
class Row:
    """One parameter: `compared` of its `total` entries, the worst of them, and one random direction through all.

    `own_error` is how far the network's own gradient, in its dtype, is from the derived one in float64, as a share of
    the largest entry; None where no network was asked.
    """

    parameter: str
    shape: tuple[int, ...]
    entries: tuple[Entry, ...]
    direction: Entry | None
    kinks: int
    tolerance: float
    own_error: float | None = None

    @property
    def total(self) -> int:
        return math.prod(self.shape)

    @property
    def compared(self) -> int:
        return len(self.entries)

    @property
    def worst(self) -> Entry | None:
        """The entry with the largest relative error; one that is no number comes first."""
        return max(self.entries, key=lambda e: math.inf if math.isnan(e.error) else e.error, default=None)

    @property
    def ok(self) -> bool:
        """Whether every compared entry and the direction agree."""
        found = [*self.entries, *([self.direction] if self.direction else [])]
        return all(e.error <= self.tolerance for e in found)  # a NaN is not


@dataclass(frozen=True, repr=False)
class GradientCheck:
    """The gradient check of one network at one point. `print` it, or ask `.ok`, `.largest`, `.rows`, `.kinks`.

    `method` is how E was differentiated numerically, `because` the functions that decided it; `step` is the step of a
    weight of size 1; `loss` is the value of the loss, whose name is `of`. `typed_error` says how far E as typed is
    from its stable form where the latter had to be used.
    """

    rows: tuple[Row, ...]
    kinks: tuple[Kink, ...]
    method: str
    because: tuple[str, ...]
    step: float
    tolerance: float
    samples: int
    loss: float
    of: str
    dtype: str | None = None
    typed_error: float | None = None

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def largest(self) -> Entry | None:
        """The entry with the largest relative error of all; None where nothing could be compared."""
        worst = [row.worst for row in self.rows if row.worst is not None]
        return max(worst, key=lambda e: math.inf if math.isnan(e.error) else e.error, default=None)

    def row(self, parameter: str) -> Row:
        """The row of a parameter. Raises: KeyError."""
        for row in self.rows:
            if row.parameter == parameter:
                return row
        raise KeyError(parameter)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, for JSON; what is not finite as text."""
        return {
            "ok": self.ok,
            "method": self.method,
            "because": list(self.because),
            "step": self.step,
            "tolerance": self.tolerance,
            "samples": self.samples,
            "loss": _plain(self.loss),
            "largest": None if self.largest is None else _entry_dict(self.largest),
            "parameters": {row.parameter: _row_dict(row) for row in self.rows},
            "kinks": [
                {"entry": k.name, "where": k.where, "sample": k.sample, "left": _plain(k.left),
                 "right": _plain(k.right), "derived": _plain(k.derived), "others": k.others}
                for k in self.kinks
            ],
        }  # fmt: skip

    def __repr__(self) -> str:
        return str(self)  # what an interactive session shows

    def __str__(self) -> str:
        parts = [self._head(), "", *self._table()]
        parts += ["", *self._beside()]
        if self.kinks:
            parts += ["", *self._kink_lines()]
        return "\n".join(wrapped(part) for part in [*parts, "", self._verdict()])

    def _head(self) -> str:
        words = {"samples": self.samples, "step": f"{self.step:.1e}"}
        if self.method == COMPLEX:
            return say("check.head_complex", **words)
        because = say("check.head_because", functions=", ".join(self.because), loss=self.of)
        return f"{say('check.head_central', **words)}\n{because}"

    def _table(self) -> list[str]:
        names = ("parameter", "entries", "error", "at", "derived", "numerical")
        return aligned([[say(f"check.column_{n}") for n in names], *map(_cells, self.rows)], left=(0, 3))

    def _beside(self) -> list[str]:
        directions = [f"{r.parameter}{GLUE}{small(r.direction.error)}" for r in self.rows if r.direction is not None]
        own = [f"{r.parameter}{GLUE}{small(r.own_error)}" for r in self.rows if r.own_error is not None]
        crossing = [r.parameter for r in self.rows if r.direction is None]
        lines = []
        if directions:
            lines.append(say("check.directions", errors=", ".join(directions)))
        if crossing:
            lines.append(say("check.no_direction", parameters=", ".join(crossing)))
        if own:
            lines.append(say("check.own", dtype=self.dtype or "float32", errors=", ".join(own)))
        if self.typed_error is not None:
            lines.append(say("check.stable_form_used", loss=self.of, difference=f"{self.typed_error:.1e}"))
        return lines

    def _kink_lines(self) -> list[str]:
        """Each place once, with the entries that it touches."""
        places: dict[str, list[Kink]] = {}
        for kink in self.kinks:
            places.setdefault(kink.place, []).append(kink)
        lines = [say("check.kinks", loss=self.of, entries=len(self.kinks), places=len(places))]
        for place, kinks in list(places.items())[:SHOWN_KINKS]:
            first = kinks[0]
            slopes = {"left": f"{first.left:.3g}", "right": f"{first.right:.3g}", "derived": f"{first.derived:.3g}"}
            more = say("check.kink_more", count=len(kinks) - 1) if len(kinks) > 1 else ""
            lines.append("  " + say("check.kink", loss=self.of, place=place, entry=first.name, more=more, **slopes))
        if len(places) > SHOWN_KINKS:
            lines.append("  " + say("check.kinks_more", count=len(places) - SHOWN_KINKS))
        return lines

    def _verdict(self) -> str:
        largest = self.largest
        if largest is None:
            return say("check.nothing_compared")
        bad = [row for row in self.rows if not row.ok]
        if bad:
            return say("check.wrong", parameters=", ".join(r.parameter for r in bad), tolerance=f"{self.tolerance:.0e}")
        return say("check.right", error=small(largest.error), at=largest.name, tolerance=f"{self.tolerance:.0e}")


def _cells(row: Row) -> list[str]:
    entries = str(row.total) if row.compared == row.total else f"{row.compared}/{row.total}"
    worst = row.worst
    if worst is None:
        return [row.parameter, entries, "–", "–", "–", "–"]
    mark = "" if row.ok else " ✗"
    return [
        row.parameter, entries, small(worst.error) + mark, worst.name, f"{worst.derived:.5e}",
        f"{worst.numerical:.5e}",
    ]  # fmt: skip


def _row_dict(row: Row) -> dict[str, Any]:
    return {
        "ok": row.ok,
        "shape": list(row.shape),
        "compared": row.compared,
        "kinks": row.kinks,
        "worst": None if row.worst is None else _entry_dict(row.worst),
        "direction": None if row.direction is None else _entry_dict(row.direction),
        "own_error": None if row.own_error is None else _plain(row.own_error),
    }


def _entry_dict(entry: Entry) -> Mapping[str, Any]:
    return {
        "entry": entry.name,
        "derived": _plain(entry.derived),
        "numerical": _plain(entry.numerical),
        "error": _plain(entry.error),
    }


def _plain(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))  # JSON has no NaN


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Rows of cells as lines, a rule under the first; columns of `left` start left, the others end right.

    >>> print(chr(10).join(aligned([["a", "n"], ["bb", "10"]])))
    a    n
    ──────
    bb  10
    """
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_padded(c, w, n in left) for n, (c, w) in enumerate(zip(r, widths, strict=True))) for r in rows]
    return [lines[0].rstrip(), "─" * (sum(widths) + 2 * (len(widths) - 1)), *(line.rstrip() for line in lines[1:])]


def small(error: float) -> str:
    """An error with two digits; 0 where there is none."""
    return "0" if error == 0 else f"{error:.1e}"


def wrapped(text: str, columns: int = COLUMNS) -> str:
    """A text broken between words into lines of so many columns, the later ones indented; short ones stay as they are.

    >>> print(wrapped("a random direction", 10))
    a random
      direction
    """
    if all(width(line) <= columns for line in text.split("\n")):
        return text
    margin = " " * (len(text) - len(text.lstrip(" ")))
    lines = [margin]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if width(longer) > columns and lines[-1].strip():
            lines.append(f"{margin}  {word}")
        else:
            lines[-1] = longer
    return "\n".join(lines)


def width(text: str) -> int:
    """The columns of a terminal that a text takes: two for Hangul."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def _padded(text: str, columns: int, left: bool) -> str:
    space = " " * (columns - width(text))
    return text + space if left else space + text
