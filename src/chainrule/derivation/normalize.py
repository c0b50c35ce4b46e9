"""A System as the textbook writes it before it derives: pre-activations named, stable forms put in.

h[j] = relu(sum[i](x[i]*W[i, j]) + b[j]) becomes a_h[j] = sum[i](…) + b[j] and h[j] = relu(a_h[j]); log(p[k]) with
p = softmax(z) becomes log_p[k] = log_softmax[k](z[k]). What a reader gets to see is this system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.errors import Place
from chainrule.formula.expr import (
    Add,
    Apply,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Power,
    Reduction,
    Slot,
    add,
    children,
    count_nodes,
    free_indices,
    fresh_name,
    key,
    mul,
    rebuild,
    same,
    split_coefficient,
    substitute,
    transform,
    walk,
)
from chainrule.formula.simplify import Rewrite, Stabilizer
from chainrule.formula.system import Equation, System, Tensor

NAMED = "named intermediate"


@dataclass(frozen=True)
class NormalForm:
    """A system in normal form, and the rewrites that led there."""

    system: System
    rewrites: tuple[Rewrite, ...]


def normalize(system: System) -> NormalForm:
    """Name what is computed inside nonlinear functions, and put the stable forms in."""
    return _Normalizer(system).run()


class _Normalizer:
    def __init__(self, system: System):
        self.system = system
        self.tensors = dict(system.tensors)
        self.equations: list[Equation] = []
        self.stabilizer = Stabilizer(self.definition)
        self.owner = ""
        self.place: Place | None = None

    def run(self) -> NormalForm:
        for equation in self.system.equations:
            self.owner, self.place = equation.target.tensor, equation.place
            value = self.name_repeated(equation.value)
            value = self.stabilizer.stabilize(value)
            value = self.name_inner(value, root=True)
            self.equations.append(Equation(equation.target, transform(value, _minus_inside), equation.place))
        # Declared tensors first, then computed ones in the order of their equations.
        declared = {n: t for n, t in self.tensors.items() if t.role != "computed"}
        computed = {e.target.tensor: self.tensors[e.target.tensor] for e in self.equations}
        system = self.system.with_(tensors=declared | computed, equations=tuple(self.equations))
        return NormalForm(system, tuple(self.stabilizer.used))

    def definition(self, element: Element) -> Expr | None:
        """What a computed element stands for, at its own slots."""
        return definition_in(self.equations, element)

    def name_repeated(self, expr: Expr) -> Expr:
        """A sum that occurs twice in one equation, as in a/(1 + exp(-a)) written out, is computed once and named."""
        found = Counter(key(node) for node in walk(expr) if isinstance(node, Add | Mul | Reduction) and _has_sum(node))
        repeated = [n for n in walk(expr) if isinstance(n, Add | Mul | Reduction) and found.get(key(n), 0) > 1]
        own = {*self.tensors[self.owner].indices, self.system.samples}
        for node in sorted(repeated, key=count_nodes, reverse=True):
            if free_indices(node) <= own:
                element = self.element_for(self.stabilizer.stabilize(node), f"a_{self.owner}")
                wanted = key(node)
                return self.name_repeated(_replaced(expr, wanted, element))
        return expr

    def name_inner(self, expr: Expr, *, root: bool) -> Expr:
        """`expr` with its inner parts as elements of new tensors where they need a name."""
        match expr:
            case Normalized(kind, index, body):
                own = Normalized(kind, index, self.element_for(body, f"a_{self.owner}"))
                at_root = root and index in self.tensors[self.owner].indices
                return own if at_root else self.element_for(own, self.name_for(own))
            case Reduction(kind, indices, body) if kind != "sum":
                own_reduction = Reduction(kind, indices, self.element_for(body, f"a_{self.owner}"))
                return own_reduction if root else self.element_for(own_reduction, f"{kind}_{self.owner}")
            case Apply(function, arguments):
                return Apply(function, tuple(self._argument(a) for a in arguments))
            case Power(base, exponent):
                return rebuild(expr, (self._argument(base), self._argument(exponent)))
        parts = children(expr)
        new = tuple(self.name_inner(p, root=False) for p in parts)
        return rebuild(expr, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else expr

    def name_for(self, expr: Normalized) -> str:
        """log_p where p is the softmax of the same thing, else softmax_E after the quantity that uses it."""
        if expr.kind == "log_softmax":
            for equation in self.equations:
                value = equation.value
                if isinstance(value, Normalized) and value.kind == "softmax" and same(value.body, expr.body):
                    return f"log_{equation.target.tensor}"
        return f"{expr.kind}_{self.owner}"

    def _argument(self, expr: Expr) -> Expr:
        """The argument of a nonlinear function: named where it holds a sum."""
        expr = self.name_inner(expr, root=False)
        return self.element_for(expr, f"a_{self.owner}") if _has_sum(expr) else expr

    def element_for(self, expr: Expr, wanted: str) -> Expr:
        """An element that stands for `expr`, from an equation that is there or a new one."""
        if isinstance(expr, Element) and len(set(expr.slots)) == len(expr.slots):
            return expr
        if not isinstance(expr, Normalized):
            expr = self.name_inner(expr, root=True)
        free = free_indices(expr)
        for equation in self.equations:
            # Not v[j, i] = exp(x[i]), which spreads it over j.
            if same(equation.value, expr) and set(equation.target.slots) <= free:
                return equation.target
        samples = self.system.samples
        order = [i for i in self.tensors[self.owner].indices if i in free]
        order += sorted(free - set(order))
        if samples in order:
            order.remove(samples)
            order.insert(0, samples)
        name = fresh_name(wanted, self.tensors)
        self.tensors[name] = Tensor(name, "computed", tuple(order))
        target = Element(name, tuple(order))
        self.equations.append(Equation(target, expr, self.place, NAMED))
        return target


def definition_in(equations: Sequence[Equation], element: Element) -> Expr | None:
    """What an element computed by these equations stands for, at its own slots."""
    equation = next((e for e in equations if e.target.tensor == element.tensor), None)
    if equation is None:
        return None
    slots: dict[str, Slot] = {
        str(own): slot for own, slot in zip(equation.target.slots, element.slots, strict=True) if own != slot
    }
    match equation.value:
        case Normalized(kind, index, body):
            new = slots.get(index, index)
            if not isinstance(new, str) or (new != index and new in free_indices(body)):
                return None
            return Normalized(kind, new, substitute(body, slots))
    return substitute(equation.value, slots)


def _replaced(expr: Expr, wanted: object, element: Expr) -> Expr:
    """`expr` with the element in place of every part that has the wanted key."""
    if key(expr) == wanted:
        return element
    parts = children(expr)
    new = tuple(_replaced(p, wanted, element) for p in parts)
    return rebuild(expr, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else expr


def _minus_inside(expr: Expr) -> Expr:
    """-(-u - v) is written u + v."""
    match expr:
        case Mul((Number(value), Add(terms))) if value < 0 and all(split_coefficient(t)[0] < 0 for t in terms):
            return add(*(mul(Number(value), t) for t in terms))
    return expr


def _has_sum(expr: Expr) -> bool:
    return any(isinstance(node, Reduction | Normalized) for node in walk(expr))
