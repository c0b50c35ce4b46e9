"""What stands behind a symbolic tensor: named quantities of the formulas, and how Keras's axes lie over their indices.

A Keras axis is a group of indices: flattening an image x[r, c] makes one axis of (r, c), and no number moves. A
concatenation is a list of blocks. Reshaping what has one index cuts that index in two before any text is written:
Dense(784) and Reshape((28, 28)) is one tensor h[r, c] with weights W[i, r, c].

An index of size 12 that is used as 3 × 4 has a cut at 4: positions in it are 4·first + second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chainrule.errors import SettingError
from chainrule.messages import say


class Axis:
    """An index of the formulas, or several once it is cut; `hint` is the letter that it is called by."""

    def __init__(self, size: int, hint: str):
        self.size = size
        self.hint = hint
        self.cuts: set[int] = {1, size}
        self.names: tuple[str, ...] = ()

    def pieces(self) -> list[tuple[int, int]]:
        """(low, high) of each index, the slowest first; their sizes are high // low."""
        marks = sorted(self.cuts, reverse=True)
        return [(low, high) for high, low in zip(marks, marks[1:], strict=False)]

    def cut(self, at: int, what: str) -> None:
        """Raises: SettingError where cuts do not divide one another: 12 = 3·4 = 6·2 does, 6 = 2·3 = 3·2 does not."""
        marks = sorted({*self.cuts, at})
        if any(high % low for low, high in zip(marks, marks[1:], strict=False)):
            raise SettingError(say("keras.cannot_reshape", layer=what, size=self.size))
        self.cuts.add(at)


@dataclass(frozen=True)
class Part:
    """The indices of an axis between two cuts."""

    axis: Axis
    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high // self.low

    def marks(self) -> list[int]:
        """Where it is cut, counted from its own low end, ends included."""
        return sorted(c // self.low for c in self.axis.cuts if self.low <= c <= self.high)

    def names(self) -> list[str]:
        """The names of its indices."""
        found = zip(self.axis.pieces(), self.axis.names, strict=True)
        return [name for (low, high), name in found if low >= self.low and high <= self.high]


Group = tuple[Part, ...]
"""What one Keras axis is made of."""


def whole(axis: Axis) -> Group:
    """The axis as a group. One of size 1 has no index: the textbook's single output is p, not p[k]."""
    return (Part(axis, 1, axis.size),)


def size_of(group: Group) -> int:
    return math.prod(part.size for part in group)


def names_of(group: Iterable[Part]) -> list[str]:
    return [name for part in group for name in part.names()]


def sizes_of(group: Iterable[Part]) -> tuple[int, ...]:
    """The sizes of its indices."""
    return tuple(
        high // low for part in group for low, high in part.axis.pieces() if low >= part.low and high <= part.high
    )


def marks_of(group: Group) -> set[int]:
    """Where a group is cut, as sizes of what lies behind the cut."""
    marks, base = {1}, 1
    for part in reversed(group):
        marks |= {base * m for m in part.marks()}
        base *= part.size
    return marks


def cut_group(group: Group, at: int, what: str) -> None:
    """Cut a group so that an index ends there. Raises: SettingError where the sizes do not divide."""
    base = 1
    for part in reversed(group):
        if base <= at <= base * part.size:
            if at % base:
                raise SettingError(say("keras.cannot_reshape", layer=what, size=size_of(group)))
            part.axis.cut(at // base * part.low, what)
            return
        base *= part.size


def regroup(parts: Group, shape: Sequence[int], what: str) -> tuple[Group, ...]:
    """The same indices under another shape: what Flatten and Reshape are."""
    behind = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    for size in behind:
        cut_group(parts, size, what)
    groups: list[Group] = []
    for size, low in zip(shape, behind, strict=True):
        groups.append(_between(parts, low, low * size))
    return tuple(groups)


def _between(parts: Group, low: int, high: int) -> Group:
    found: list[Part] = []
    base = 1
    for part in reversed(parts):
        bottom, top = max(low, base), min(high, base * part.size)
        if bottom < top:
            found.append(Part(part.axis, bottom // base * part.low, top // base * part.low))
        base *= part.size
    return tuple(reversed(found))


@dataclass(frozen=True)
class Block:
    """A named quantity and its axes; `name` stands at the indices of all of them."""

    name: str
    groups: tuple[Group, ...]

    @property
    def parts(self) -> Group:
        return tuple(part for group in self.groups for part in group)

    def element(self) -> str:
        """h1[r, c]"""
        names = names_of(self.parts)
        return f"{self.name}[{', '.join(names)}]" if names else self.name


@dataclass(frozen=True)
class Signal:
    """Blocks that lie beside one another along the last axis."""

    blocks: tuple[Block, ...]

    @property
    def one(self) -> Block:
        return self.blocks[0]

    @property
    def shape(self) -> tuple[int, ...]:
        lead = [size_of(g) for g in self.one.groups[:-1]]
        last = [sum(size_of(b.groups[-1]) for b in self.blocks)] if self.one.groups else []
        return (*lead, *last)


class Alike:
    """Groups that must be cut alike, because one equation uses the same indices for both."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Group, Group, str]] = []

    def add(self, first: Iterable[Group], second: Iterable[Group], what: str) -> None:
        self.pairs += [(a, b, what) for a, b in zip(first, second, strict=True) if a != b]

    def settle(self) -> None:
        """Cut until nothing changes: every cut is a divisor, so there is an end."""
        changed = True
        while changed:
            changed = False
            for first, second, what in self.pairs:
                missing = marks_of(first) ^ marks_of(second)
                for mark in missing:
                    cut_group(first, mark, what)
                    cut_group(second, mark, what)
                changed = changed or bool(missing)
