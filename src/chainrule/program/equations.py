"""Equations → instructions: one Contract, Reduce or Map each; a sum inside another expression gets a temporary first.

A sum of products becomes a Contract where its factors fall into two groups that share nothing but the summed indices; a
product of three tensors is taken two at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from chainrule.formula.distributions import formula_of
from chainrule.formula.expr import (
    Add,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Position,
    Random,
    Reduction,
    Symbol,
    add,
    apply,
    children,
    divide,
    elements,
    free_indices,
    fresh_index,
    fresh_name,
    index_names,
    key,
    mul,
    rebuild,
    substitute,
    subtract,
    tensors,
    transform,
    walk,
)
from chainrule.formula.lookup import Pin, pins
from chainrule.formula.system import Equation, System, Tensor
from chainrule.formula.text import equation_text
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Map, Reduce


class Equations:
    """The instructions of one program, and what they have been made from so far."""

    def __init__(self, system: System, defaults: Mapping[str, Fraction]):
        self.system = system
        self.samples = system.samples
        self.defaults = {**defaults, **system.hyper}
        self.tensors: dict[str, Tensor] = dict(system.tensors)
        self.instructions: list[Instruction] = []
        self.known: dict[object, tuple[Element, list[str]]] = {}  # what temporaries hold and were made from
        self.scalars: dict[object, tuple[str, Expr]] = {}
        self.formula = ""

    def _declare(self, equation: Equation) -> None:
        name = equation.target.tensor
        self.tensors.setdefault(name, Tensor(name, "computed", tuple(str(s) for s in equation.target.slots)))

    # equations

    def equation(self, equation: Equation) -> None:
        """Append the instructions of one equation."""
        self.formula = equation_text(equation, self.samples)
        value = equation.value
        self._assign(equation.target, formula_of(value) if isinstance(value, Random) else value)

    def _assign(self, target: Element, value: Expr) -> None:
        value = self._without_normalized(value, target)
        reduction = self._main_reduction(value, target)
        if reduction is None:
            value = self._scalars_out(self._temporaries(value, target))
            self.instructions.append(Map(target, value, self.formula))
            return
        accumulator = Element(ACCUMULATOR, target.slots)
        epilogue = transform(value, lambda node: accumulator if node is reduction else node)
        self._reduce(target, reduction, self._scalars_out(self._temporaries(epilogue, target)))

    def _main_reduction(self, value: Expr, target: Element) -> Reduction | None:
        """The one sum whose result has the very indices of the target; the rest of the formula is its epilogue."""
        own = {str(s) for s in target.slots}
        found = [n for n in walk(value) if isinstance(n, Reduction) and free_indices(n) == own]
        inner = {id(m) for n in found for m in walk(n.body)}
        found = [n for n in found if id(n) not in inner]
        if not found:
            return None
        products = [n for n in found if n.kind == "sum" and self._two_groups(n) is not None]
        chosen = (products or found)[0]
        return chosen if sum(1 for n in walk(value) if n is chosen) == 1 else None

    def _temporaries(self, value: Expr, target: Element) -> Expr:
        """`value` with every sum and softmax inside it computed before, into temporaries."""
        match value:
            case Normalized():
                return self._temporaries(self._without_normalized(value, target), target)
            case Reduction(kind):
                if kind == "logsumexp":
                    return self._temporaries(self._log_sum_exp(value), target)
                indices, body = self._one_sum(value)
                return self._temporary(Reduction(kind, indices, self._inner(body)), target)
        parts = children(value)
        new = tuple(self._temporaries(p, target) for p in parts)
        return rebuild(value, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else value

    def _inner(self, body: Expr) -> Expr:
        """The body of a sum without sums of its own."""
        return self._temporaries(body, Element("", tuple(sorted(free_indices(body)))))

    def _temporary(self, value: Expr, target: Element) -> Element:
        """An element of a temporary tensor that holds `value`; one that holds it already is used again."""
        if key(value) in self.known:
            return self.known[key(value)][0]
        free = free_indices(value)
        order = [str(s) for s in target.slots if s in free]
        order += sorted(free - set(order))
        order = [i for i in order if i == self.samples] + [i for i in order if i != self.samples]
        name = fresh_name("s", self.tensors)
        self.tensors[name] = Tensor(name, "computed", tuple(order))
        element = Element(name, tuple(order))
        if isinstance(value, Reduction):
            self._reduce(element, value, Element(ACCUMULATOR, element.slots))
        else:
            self.instructions.append(Map(element, self._scalars_out(value), self.formula))
        self.known[key(value)] = (element, tensors(value))
        return element

    def _without_normalized(self, value: Expr, target: Element) -> Expr:
        """softmax and its kin by their stable meaning: shifted by the maximum."""
        match value:
            case Normalized(kind, index, body):
                body = self._temporaries(body, target)
                bound = index + "'"
                there = _at(body, index, bound)
                top = self._temporary(Reduction("max", (bound,), there), target)
                shifted = subtract(body, top)
                powers = self._temporary(apply("exp", shifted), target)
                total = self._temporary(Reduction("sum", (bound,), _at(powers, index, bound)), target)
                return divide(powers, total) if kind == "softmax" else subtract(shifted, apply("log", total))
            case Reduction("logsumexp"):
                return self._log_sum_exp(value)
        return value

    def _log_sum_exp(self, value: Reduction) -> Expr:
        body = self._inner(value.body)
        whole = Element("", tuple(sorted(free_indices(body) | set(value.indices))))
        top = self._temporary(Reduction("max", value.indices, body), whole)
        powers = self._temporary(apply("exp", subtract(body, top)), whole)
        return add(top, apply("log", Reduction("sum", value.indices, powers)))

    # sums

    def _reduce(self, target: Element, reduction: Reduction, epilogue: Expr) -> None:
        indices, body = self._one_sum(reduction)
        reduction = Reduction(reduction.kind, indices, self._inner(body))
        if reduction.kind == "sum":
            reduction = self._rows_first(reduction)
        if reduction.kind == "sum" and isinstance(reduction.body, Mul) and not self._pins(reduction):
            reduction = self._pairwise(reduction)
            if not reduction.indices:  # the pairs took all sums: sum[i, j](b[k]*u[i]*v[j]) is b[k] times a number
                value = transform(epilogue, lambda n: reduction.body if n == Element(ACCUMULATOR, target.slots) else n)
                self.instructions.append(Map(target, self._scalars_out(value), self.formula))
                return
            groups = self._two_groups(reduction)
            if groups is not None:
                left, right = (self._as_element(g) for g in groups)
                if self._order(left, right, target, reduction.indices):
                    left, right = right, left
                self.instructions.append(Contract(target, left, right, reduction.indices, epilogue, self.formula))
                return
        self.instructions.append(
            Reduce(target, reduction.kind, reduction.indices, self._scalars_out(reduction.body), epilogue, self.formula)
        )

    def _pins(self, reduction: Reduction) -> list[Pin]:
        """What class numbers pin down in a sum: a row that is read, [v == c]*T[v, d] over v, or one that is added to,
        [v == c]*delta[d] over the samples.
        """
        return [
            p
            for p in pins(reduction.body, self.tensors)
            if p.index in reduction.indices or set(p.number.slots) & set(reduction.indices)
        ]

    def _one_sum(self, reduction: Reduction) -> tuple[tuple[str, ...], Expr]:
        """The indices and the body of a sum, with factors that count class numbers drawn in: what
        sum[n](sum[l]([v == c[l]])*delta[d]) adds up goes to the rows c[l], and nobody counts them first.
        """
        body, indices = reduction.body, reduction.indices
        factors = list(body.factors) if isinstance(body, Mul) else [body]
        for position, factor in enumerate(factors):
            if reduction.kind != "sum" or not isinstance(factor, Reduction) or factor.kind != "sum" or len(factors) < 2:
                continue
            found = [p for p in pins(factor.body, self.tensors) if p.index not in (*indices, *factor.indices)]
            if any(set(p.number.slots) & set(indices) for p in found):
                others = mul(*factors[:position], *factors[position + 1 :])
                taken = {*indices, *free_indices(reduction), *index_names(others)}
                names = {i: fresh_index(i, taken) for i in factor.indices}
                indices = (*indices, *names.values())
                factors[position] = substitute(factor.body, names)
        return indices, body if indices == reduction.indices else mul(*factors)

    def _rows_first(self, reduction: Reduction) -> Reduction:
        """A product with a row that is looked up looks it up first; what is added to a row is summed up first."""
        for pin in self._pins(reduction):
            factors = reduction.body.factors if isinstance(reduction.body, Mul) else (reduction.body,)
            if pin.index in reduction.indices:
                own = [f for f in factors if pin.index in free_indices(f)]
                rest = [f for f in factors if pin.index not in free_indices(f)]
                outside = free_indices(mul(*rest))
                inner = {pin.index} | (free_indices(mul(*own)) - outside) & set(reduction.indices)
                if not outside - free_indices(mul(*own)) or inner == set(reduction.indices):
                    continue  # it is the row alone, or a sum along it: one walk does
            else:
                inner = set(reduction.indices) - set(pin.number.slots)
                own = [f for f in factors if free_indices(f) & inner]
                if not inner:
                    continue
                rest = [f for f in factors if not free_indices(f) & inner]
            row = Reduction("sum", tuple(i for i in reduction.indices if i in inner), mul(*own))
            value = self._temporary(row, Element("", tuple(sorted(free_indices(row)))))
            reduction = Reduction("sum", tuple(i for i in reduction.indices if i not in inner), mul(value, *rest))
        return reduction

    def _order(self, left: Element, right: Element, target: Element, indices: tuple[str, ...]) -> bool:
        """Whether to swap: the last index of the result, which lies contiguous in memory, belongs to the right."""
        last = target.slots[-1]
        return last in left.slots and last not in indices

    def _groups(self, reduction: Reduction) -> list[list[Expr]]:
        """The factors of a sum, those over the same indices together, small ones with a larger one."""
        factors = reduction.body.factors if isinstance(reduction.body, Mul) else (reduction.body,)
        groups: list[tuple[frozenset[str], list[Expr]]] = []
        for factor in sorted(factors, key=lambda f: -len(free_indices(f))):
            own = free_indices(factor)
            home = next((members for indices, members in groups if own <= indices), None)
            if home is not None:
                home.append(factor)
            else:
                groups.append((own, [factor]))
        return [members for _, members in groups]

    def _two_groups(self, reduction: Reduction) -> tuple[Expr, Expr] | None:
        """(left, right) where the sum is a matrix product: each side has indices of its own, they share only sums."""
        groups = self._groups(reduction)
        if len(groups) != 2 or self._pins(reduction):
            return None
        left, right = (mul(*g) for g in groups)
        bound = set(reduction.indices)
        a, b = free_indices(left), free_indices(right)
        own_rows, own_columns, shared = a - b, b - a, a & b
        if shared != bound or not own_rows - bound or not own_columns - bound:
            return None
        return left, right

    def _pairwise(self, reduction: Reduction) -> Reduction:
        """Sums of three or more groups, two at a time; the pair with the smallest result first."""
        while len(groups := self._groups(reduction)) > 2:
            factors = [mul(*g) for g in groups]
            best: tuple[int, int, int, frozenset[str]] | None = None
            for m, first in enumerate(factors):
                for n in range(m + 1, len(factors)):
                    others = [free_indices(f) for o, f in enumerate(factors) if o not in (m, n)]
                    union = free_indices(first) | free_indices(factors[n])
                    here = (union & set(reduction.indices)) - frozenset().union(*others)
                    if here and (best is None or len(union - here) < best[0]):
                        best = (len(union - here), m, n, frozenset(here))
            if best is None:
                return reduction
            _, m, n, here = best
            pair = Reduction("sum", tuple(i for i in reduction.indices if i in here), mul(factors[m], factors[n]))
            temporary = self._temporary(pair, Element("", tuple(sorted(free_indices(pair)))))
            rest = [f for o, f in enumerate(factors) if o not in (m, n)]
            reduction = Reduction("sum", tuple(i for i in reduction.indices if i not in here), mul(*rest, temporary))
        return reduction

    def _as_element(self, factor: Expr) -> Element:
        """A side of a product as a plain tensor element with distinct index names."""
        if isinstance(factor, Element) and self._is_plain(factor):
            return factor
        return self._temporary(factor, Element("", tuple(sorted(free_indices(factor)))))

    def _is_plain(self, element: Element) -> bool:
        names = [s for s in element.slots if isinstance(s, str)]
        return len(set(names)) == len(element.slots) and self.tensors[element.tensor].role != "label"

    # scalars

    def _scalars_out(self, value: Expr) -> Expr:
        """What depends on hyper-parameters only is computed once a step, in float64, not at every entry."""
        if _is_scalar(value):
            return value if isinstance(value, Number) else self._scalar(value)
        parts = children(value)
        if isinstance(value, Mul | Add):
            scalar = [p for p in parts if _is_scalar(p)]
            if any(not isinstance(p, Number) for p in scalar):
                rest = [self._scalars_out(p) for p in parts if not _is_scalar(p)]
                return rebuild(value, (self._scalar(rebuild(value, tuple(scalar))), *rest))
        new = tuple(self._scalars_out(p) for p in parts)
        return rebuild(value, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else value

    def _scalar(self, value: Expr) -> Expr:
        if value in [Symbol(name) for name, _ in self.scalars.values()]:
            return value
        if key(value) not in self.scalars:
            name = f"c{len(self.scalars)}"
            self.scalars[key(value)] = (f"scalar {name}", value)
        return Symbol(self.scalars[key(value)][0])


def _is_scalar(expr: Expr) -> bool:
    """Whether an expression has one value a step: no tensors, no index."""
    return not elements(expr) and not any(isinstance(n, Position) for n in walk(expr)) and not free_indices(expr)


def _at(expr: Expr, index: str, other: str) -> Expr:
    return substitute(expr, {index: other})
