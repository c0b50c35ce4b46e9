"""The table of what went where: printed as lines, or as a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from chainrule.messages import say


@dataclass(frozen=True)
class Placement:
    """One tensor: its name and shape there and here. `turned` says that rows and columns were exchanged."""

    source: str
    source_shape: tuple[int, ...]
    target: str
    target_shape: tuple[int, ...]
    turned: bool = False


@dataclass(frozen=True)
class Placements:
    """All of them, and notes on what the names do not say."""

    rows: tuple[Placement, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        cells = [(r.source, _shape(r.source_shape), "→", r.target, _shape(r.target_shape), _how(r)) for r in self.rows]
        return "\n".join([*lines_of(cells), *self.notes])

    def to_dict(self) -> dict[str, object]:
        return {"tensors": [asdict(r) for r in self.rows], "notes": list(self.notes)}


def lines_of(cells: Sequence[tuple[str, ...]]) -> list[str]:
    """Cells as aligned columns."""
    widths = [max((len(row[n]) for row in cells), default=0) for n in range(max(map(len, cells), default=0))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _how(row: Placement) -> str:
    if row.turned:
        return say("formats.turned")
    return "" if row.source_shape == row.target_shape else say("formats.reshaped")
