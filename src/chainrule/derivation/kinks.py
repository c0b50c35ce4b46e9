"""Where a system's formulas have kinks: relu and abs at 0, max and min at a tie, the border of a choice.

A kink divides the values of a formula into pieces. A Site tells them apart: an expression whose sign (or, of a maximum
over an index, which entries attain it) is one whole number per piece, its code. A step of a weight that changes a code
has crossed a kink, and a difference quotient over that step is no derivative.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.formula.evaluate import Array, Arrays, evaluate
from chainrule.formula.expr import (
    ZERO,
    Apply,
    Compare,
    Expr,
    Reduction,
    Slot,
    Where,
    compare,
    free_indices,
    key,
    substitute,
    subtract,
    tensors,
    walk,
)
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.system import System
from chainrule.formula.text import Printer

# The evaluator's erf takes a complex step by the very derivative that is to be checked: no second opinion.
BORROWED = frozenset({"erf"})
EXTREMES = ("max", "min")


@dataclass(frozen=True)
class Site:
    """One place of a formula that has a kink where `left` and `right` are equal.

    `over` is the reduction of which `left` is the body, where the kink is a tie among its entries.
    """

    function: str
    left: Expr
    right: Expr
    over: Reduction | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        """The indices of the codes."""
        return tuple(sorted(free_indices(self.left) | free_indices(self.right)))

    def codes(self, arrays: Arrays, sizes: Mapping[str, int], scalars: Mapping[str, float]) -> Array:
        """Which piece each entry lies on, as small whole numbers with one axis per index of `axes`."""
        expr = subtract(self.left, self.right) if self.over is None else compare("==", self.left, self.right)
        value = np.real(evaluate(expr, arrays, self.axes, sizes=sizes, scalars=scalars))
        return np.asarray(np.nan_to_num(np.floor(value) if self.function == "floor" else np.sign(value)))

    def name(self, position: Sequence[int], samples: str) -> tuple[str, int | None]:
        """("a_h[2] = 0", 5): what is equal at a position of the codes, and in which sample (None: in none)."""
        slots: dict[str, Slot] = {a: int(p) for a, p in zip(self.axes, position, strict=True)}
        sample = slots.pop(samples, None)
        bound = set(self.over.indices) if self.over is not None else set()
        slots = {index: place for index, place in slots.items() if index not in bound}
        printer = Printer(samples)
        if self.over is not None:
            return f"{printer.text(substitute(self.over, slots))}", None if sample is None else int(sample)
        sides = (printer.text(substitute(side, slots)) for side in (self.left, self.right))
        return " = ".join(sides), None if sample is None else int(sample)


def moved_by(system: System, names: Sequence[str]) -> set[str]:
    """Everything that changes with these tensors, themselves included."""
    moved = set(names)
    for equation in system.equations:
        if set(tensors(equation.value)) & moved:
            moved.add(equation.target.tensor)
    return moved


def sites(system: System) -> tuple[Site, ...]:
    """The kinks between a system's parameters and its loss, each once."""
    assert system.loss is not None
    moved, wanted = moved_by(system, [p.name for p in system.parameters]), system.depends_on(system.loss)
    found: dict[object, Site] = {}
    for equation in system.equations:
        if equation.target.tensor in moved & wanted:
            for site in _sites_in(equation.value):
                if set(tensors(site.left)) & moved or set(tensors(site.right)) & moved:
                    found.setdefault((site.function == "floor", key(site.left), key(site.right)), site)
    return tuple(found.values())


def _sites_in(expr: Expr) -> Iterator[Site]:
    for node in walk(expr):
        match node:
            case Apply(function, (argument,)) if FUNCTIONS[function].kink or not FUNCTIONS[function].derivatives:
                yield Site(function, argument, ZERO)
            case Apply(function, (left, right)) if FUNCTIONS[function].kink:
                yield Site(function, left, right)
            case Compare(_, left, right):
                yield Site("where", left, right)
            case Where(condition, _, _) if not isinstance(condition, Compare):
                yield Site("where", condition, ZERO)
            case Reduction(kind, _, body) if kind in EXTREMES:
                yield Site(kind, body, node, node)


def sites_of(expr: Expr, tensor: str) -> tuple[Site, ...]:
    """The kinks of one expression in one tensor."""
    return tuple(s for s in _sites_in(expr) if tensor in (*tensors(s.left), *tensors(s.right)))


def borrowed(system: System) -> set[str]:
    """Functions between parameters and loss whose complex step would not be independent of their derivative."""
    assert system.loss is not None
    moved, wanted = moved_by(system, [p.name for p in system.parameters]), system.depends_on(system.loss)
    values = [e.value for e in system.equations if e.target.tensor in moved & wanted]
    return {
        node.function
        for value in values
        for node in walk(value)
        if isinstance(node, Apply) and node.function in BORROWED and set(tensors(node)) & moved
    }
