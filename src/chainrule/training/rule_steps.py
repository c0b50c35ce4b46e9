"""An update rule line by line, in NumPy, for the page that shows it with numbers: what each name is worth there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Apply, Element, Expr, Symbol, replace_symbols, symbols, transform, walk
from chainrule.formula.expressions import NORMS
from chainrule.formula.system import System, Update
from chainrule.training.vocabulary import Rule


@dataclass(frozen=True)
class RuleStep:
    """One line at one weight: `filled` is its value with symbols for norms, `scalars` what all symbols are worth."""

    line: Update
    filled: Expr
    scalars: Mapping[str, float]


@dataclass
class RuleSteps:
    """A rule over all parameters; `values` has w, g and the states of each as they are by now, by their names there."""

    system: System
    rule: Rule
    values: dict[str, dict[str, Array]]
    sizes: Mapping[str, int]
    hyper: Mapping[str, float]

    def of(self, name: str, place: tuple[int, ...]) -> Iterator[RuleStep]:
        """Run the lines of a parameter, and yield each as it is at one of its entries."""
        for line in self._lines(name):
            mine = {p: v for p, v in self.values.items() if line in self._lines(p)}
            for values in mine.values():
                for symbol in symbols(line.value):
                    if symbol not in self.hyper:
                        values.setdefault(symbol, np.zeros_like(values["w"]))  # a state begins at 0
            filled, norms = self._with_norms(line.value, name, mine)
            at = {n: float(a[place]) for n, a in self.values[name].items()}
            yield RuleStep(line, filled, {**self.hyper, **at, **norms})
            assert isinstance(line.target, Symbol)
            for parameter, values in mine.items():
                values[line.target.name] = self._value(line.value, parameter, mine)

    def _lines(self, parameter: str) -> tuple[Update, ...]:
        own = {u.target.tensor for u in self.system.updates if isinstance(u.target, Element)}
        return () if parameter in own else self.rule.special.get(parameter, self.rule.lines)

    def _value(self, expr: Expr, parameter: str, mine: Mapping[str, dict[str, Array]]) -> Array:
        """An expression in w, g and the states at all entries of a parameter."""
        expr, norms = self._with_norms(expr, parameter, mine)
        indices, arrays = self.system.tensors[parameter].indices, mine[parameter]
        expr = replace_symbols(expr, {n: Element(n, indices) for n in arrays})
        return evaluate(expr, arrays, indices, sizes=self.sizes, scalars={**self.hyper, **norms})

    def _with_norms(
        self, expr: Expr, parameter: str, mine: Mapping[str, dict[str, Array]]
    ) -> tuple[Expr, dict[str, float]]:
        """The expression with a symbol in the place of each norm, and what those are worth."""
        found = {node: self._norm(node, parameter, mine) for node in walk(expr) if _is_norm(node)}
        named = {node: Symbol(f"norm {number}") for number, node in enumerate(found)}
        return transform(expr, lambda node: named.get(node, node)), {named[n].name: v for n, v in found.items()}

    def _norm(self, node: Expr, parameter: str, mine: Mapping[str, dict[str, Array]]) -> float:
        assert isinstance(node, Apply)
        over = list(mine) if node.function == "global_norm" else [parameter]
        return float(np.sqrt(sum(np.sum(self._value(node.arguments[0], p, mine) ** 2) for p in over)))


def _is_norm(node: Expr) -> bool:
    return isinstance(node, Apply) and node.function in NORMS
