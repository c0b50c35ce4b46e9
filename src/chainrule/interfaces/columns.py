"""The columns of a table as a person sees them: what each is taken for, and what is in it."""

from __future__ import annotations

import sys

import numpy as np

from chainrule.data.columns import Feature, Layout
from chainrule.messages import say

SHOWN_ROWS = 40
SHOWN_WORDS = 6


def print_columns(layout: Layout) -> None:
    """One row a column, on stderr: progress, not a result."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for key in ("column", "taken_for", "values"):
        table.add_column(say(f"tables.column_{key}"), overflow="ellipsis", no_wrap=key != "values")
    rows = [(f.name, _kind(f), _values(f)) for f in layout.features]
    rows += [(c.column, say("tables.kind_out"), say(f"tables.why_{c.reason}")) for c in layout.left_out]
    for row in rows[:SHOWN_ROWS]:
        table.add_row(*row)
    if len(rows) > SHOWN_ROWS:
        table.add_row("…", "", say("tables.more_columns", count=len(rows) - SHOWN_ROWS))
    target = layout.target
    table.add_row(
        target.column, say(f"tables.task_{target.task}"), _words(target.words) or _number(target), style="bold"
    )
    Console(file=sys.stderr, markup=False, highlight=False).print(table)


def _kind(feature: Feature) -> str:
    kind = say("tables.kind_category") if feature.kind == "category" else say("tables.kind_number")
    return say("tables.with_missing", kind=kind) if feature.marked or "" in feature.words else kind


def _values(feature: Feature) -> str:
    if feature.kind == "category":
        return _words(tuple(word or say("tables.no_value") for word in feature.words))
    if feature.kind == "day":
        return say("tables.mean_value", mean=str(np.datetime64(round(feature.fill), "D")))
    return say("tables.mean_value", mean=f"{feature.fill:.4g}")


def _number(target: object) -> str:
    return say("tables.mean_value", mean=f"{getattr(target, 'centre', 0.0):.4g}")


def _words(words: tuple[str, ...]) -> str:
    shown = ", ".join(words[:SHOWN_WORDS])
    return shown if len(words) <= SHOWN_WORDS else say("interfaces.and_more", shown=shown, count=len(words))
