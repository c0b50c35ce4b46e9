"""Every quantity that a claim about a derivation may name, with what it stands for.

Forward quantities and the adjoints of the derivation stand by their own names; a textbook's δ of a layer, dE/dx of an
input and local factors such as dp/dz are found or derived here. Of what all samples share (a parameter), the gradient
can be asked for as one sample's and as the batch's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from chainrule.derivation.adjoint import Derivation
from chainrule.derivation.derive import differentiate
from chainrule.formula.expr import (
    MINUS_ONE,
    ONE,
    ZERO,
    Add,
    Apply,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Reduction,
    Size,
    Slot,
    add,
    base_index,
    elements,
    free_indices,
    fresh_index,
    index_names,
    key,
    mul,
    power,
    substitute,
    sum_over,
    tensors,
    transform,
    walk,
)
from chainrule.formula.names import GREEK, is_loss
from chainrule.formula.simplify import expose_deltas
from chainrule.formula.system import Tensor

Definition = tuple[Element, Expr]


@dataclass(frozen=True)
class LocalFactor:
    """∂c/∂q of an elementwise step, such as dp/dz = p(1 - p), in forward quantities at their own indices."""

    over: str
    under: str
    value: Expr


class Quantities:
    """The names of a derivation: forward, backward, and what follows from them."""

    def __init__(self, derivation: Derivation):
        self.derivation = derivation
        self.system = derivation.system
        self.samples = derivation.system.samples
        self.loss = str(derivation.source.loss)
        self.adjoints = {a.of: a.equation.target for a in derivation.adjoints}
        forward = [(e.target, e.value) for e in self.system.equations]
        backward = [(a.equation.target, a.equation.value) for a in derivation.adjoints]
        self.definitions: dict[str, Definition] = {t.tensor: (t, v) for t, v in (*forward, *backward)}
        self.order = [t.tensor for t, _ in (*forward, *backward)]
        self.tensors: dict[str, Tensor] = dict(self.system.tensors)
        for target, _ in backward:
            own = tuple(str(s) for s in target.slots)
            self.tensors.setdefault(target.tensor, Tensor(target.tensor, "computed", own))

    # --- names

    @cached_property
    def scaled(self) -> bool:
        """Whether the loss is one sample's, so that the batch's is its mean."""
        return self.system.is_sampled(self.loss)

    @cached_property
    def mixes_samples(self) -> bool:
        """Whether a forward quantity looks at several samples (batch statistics): one sample has no loss alone then."""
        sums = (n for e in self.system.equations for n in walk_reductions(e.value))
        return any(base_index(i) == self.samples for r in sums for i in r.indices)

    def is_loss(self, name: str) -> bool:
        """Whether a name means the loss: its own, or a usual one (L, C, J) that nothing else has."""
        return name == self.loss or (is_loss(name) and name not in self.tensors)

    def named(self, name: str) -> str:
        """A tensor's name as the text has it: α for alpha and the other way round."""
        if name in self.tensors:
            return name
        letters = {**GREEK, **{letter: word for word, letter in GREEK.items()}}
        match = re.fullmatch(r"([^\W\d_]+)(.*)", name)
        other = letters.get(match[1], match[1]) + match[2] if match else name
        return other if other in self.tensors else name

    @cached_property
    def plain(self) -> list[Tensor]:
        """The quantities that a person may have put in another's place: all but those that are a number, as dE/dE."""
        numbers = {name for name, (_, value) in self.definitions.items() if isinstance(value, Number)}
        return [t for t in self.tensors.values() if t.name not in numbers]

    @cached_property
    def layers(self) -> list[str]:
        """The quantities whose adjoint a textbook calls δ, first layer first."""
        found = [a.of for a in reversed(self.derivation.adjoints) if a.equation.target.tensor.startswith("delta_")]
        if not found and self.system.output in self.adjoints:
            found = [str(self.system.output)]
        order = [e.target.tensor for e in self.system.equations]
        return sorted(found, key=order.index)

    def layer_of_delta(self, mark: str, slots: Sequence[Slot] | None) -> str | None:
        """The quantity whose δ is meant: by a name, by a layer's number, by the letters of its indices, else the last.

        delta_z is that of z, delta_h that of what h is the activation of, delta1 that of layer 1.
        """
        mark = mark.strip("_")
        if mark.isdecimal():
            return self._layer_of_number(int(mark))
        if mark:
            mark = self.named(mark)
            if mark in self.layers:
                return mark
            equation = self.system.equation_of(mark)
            inner = [t for t in tensors(equation.value) if t in self.layers] if equation else []
            return inner[0] if len(inner) == 1 else mark if mark in self.adjoints else None
        wanted = tuple(slots or ())
        own = {name: self._own_indices(name) for name in self.layers}
        same = [name for name in reversed(self.layers) if own[name] == wanted]
        same += [
            a.of for a in self.derivation.adjoints if self._is_computed(a.of) and self._own_indices(a.of) == wanted
        ]
        alike = [name for name in reversed(self.layers) if len(own[name]) == len(wanted)]
        return next(iter([*same, *alike, *reversed(self.layers)]), None)

    def _layer_of_number(self, number: int) -> str | None:
        numbered = [n for n in self.layers if re.search(rf"(?<!\d){number}$", n)]
        if numbered:
            return numbered[-1]
        return self.layers[number - 1] if 1 <= number <= len(self.layers) else None

    def _is_computed(self, name: str) -> bool:
        return name != self.loss and self.system.equation_of(name) is not None

    def _own_indices(self, name: str) -> tuple[str, ...]:
        return tuple(i for i in self.tensors[name].indices if i != self.samples)

    # --- derivatives

    def adjoint(self, name: str) -> Definition:
        """∂E/∂q of one sample's loss at q's own indices, as the derivation has it; of an input derived now."""
        if name in self.adjoints and not self.is_passed_by(name):
            return self.definitions[self.adjoints[name].tensor]
        mark = "_whole" if name in self.adjoints else ""
        target = Element(f"d{self.loss}_d{name}{mark}", self.tensors[name].element.slots)
        if target.tensor not in self.definitions:
            own = self.tensors[self.loss].element
            value = self.quotient(self.loss, own.slots, name, target.slots)
            self.definitions[target.tensor] = (target, value)
            self.order.append(target.tensor)
            self.tensors[target.tensor] = Tensor(target.tensor, "computed", tuple(map(str, target.slots)))
        return self.definitions[target.tensor]

    def is_passed_by(self, name: str) -> bool:
        """Whether a stable form goes past a quantity: log(softmax(z)) needs no p, though the text has E of p."""
        source = self.derivation.source
        if name not in source.tensors or source.equation_of(name) is None:
            return False
        return any(name in tensors(r.before) and name not in tensors(r.after) for r in self.derivation.rewrites)

    def gradient(self, name: str) -> Definition:
        """∂E/∂q of the batch's loss, for what has no sample axis."""
        target, value = self.adjoint(name)
        if self.tensors[name].role == "parameter" or not self.scaled:
            return target, value
        mean = power(Size(self.samples), MINUS_ONE)
        return target, add(*(mul(mean, t) for t in _terms(value)))

    def of_one_sample(self, value: Expr) -> Expr | None:
        """From a batch's mean over n to one sample's: mean[n](u) becomes u. None where samples do not come apart."""
        if not self.scaled or self.mixes_samples:
            return None
        parts = [self._unsummed(mul(Size(self.samples), t)) for t in _terms(value)]
        return None if any(p is None for p in parts) else add(*(p for p in parts if p is not None))

    def _unsummed(self, term: Expr) -> Expr | None:
        """N·mean[n](u) → u; what has no sum over n was the same for each of the N samples."""
        if not self._sums_samples(term):
            return None if self.samples in free_indices(term) else mul(power(Size(self.samples), MINUS_ONE), term)
        match term:
            case Reduction("sum", indices, body) if self.samples in indices:
                return sum_over((i for i in indices if i != self.samples), body)
            case Reduction("sum", indices, body):
                inner = self._unsummed(body)
                return None if inner is None else sum_over(indices, inner)
            case Mul(factors):
                summing = [f for f in factors if self._sums_samples(f)]
                inner = self._unsummed(summing[0]) if len(summing) == 1 else None
                return None if inner is None else mul(*(inner if f is summing[0] else f for f in factors))
            case Add(terms):
                parts = [self._unsummed(t) for t in terms]
                return None if any(p is None for p in parts) else add(*(p for p in parts if p is not None))
        return None

    def _sums_samples(self, expr: Expr) -> bool:
        return any(self.samples in r.indices for r in walk_reductions(expr))

    def quotient(self, over: str, over_slots: Sequence[Slot], under: str, under_slots: Sequence[Slot]) -> Expr:
        """d over / d under through all that lies between, both at the given slots (the samples' among them)."""
        names = {str(s) for s in (*over_slots, *under_slots)} | self._all_indices()
        source = self.derivation.source
        by_text = self.is_passed_by(under) and over in source.tensors
        equations = {e.target.tensor: (e.target, e.value) for e in source.equations} if by_text else self.definitions
        own = self.tensors[over].element
        apart = {str(s): fresh_index(str(s), names) for s in self.tensors[under].indices}
        there = substitute(self.tensors[under].element, dict(apart))
        assert isinstance(there, Element)
        totals: dict[str, Expr] = {}
        value = self._total(over, there, totals, equations)
        slots: dict[str, Slot] = dict(zip(map(str, there.slots), under_slots, strict=True))
        # Both at once, as the slots of one may have the names of the other's own indices.
        parked: dict[str, Slot] = {str(s): fresh_index(str(s), names | set(slots)) for s in own.slots}
        value = substitute(substitute(value, parked), slots)
        back: dict[str, Slot] = {str(parked[str(s)]): w for s, w in zip(own.slots, over_slots, strict=True)}
        return substitute(value, back)

    def _total(self, name: str, there: Element, totals: dict[str, Expr], equations: Mapping[str, Definition]) -> Expr:
        """d name[own indices] / d there, with the names of forward quantities put back in."""
        own = self.tensors[name].element
        if name == there.tensor:
            return differentiate(own, there)
        if name in totals:
            return totals[name]
        if name not in equations:
            return ZERO
        target, equation = equations[name]
        terms: list[Expr] = []
        for inner in tensors(equation):
            taken = index_names(equation) | {str(s) for s in (*there.slots, *target.slots)}
            inner_own = self.tensors[inner].element
            fresh: dict[str, Slot] = {}
            for index in map(str, inner_own.slots):
                fresh[index] = fresh_index(index, taken)
                taken.add(str(fresh[index]))
            chained = substitute(self._total(inner, there, totals, equations), fresh)
            if chained == ZERO:  # also of what does not depend on it
                continue
            at = substitute(inner_own, fresh)
            assert isinstance(at, Element)
            local = self.in_forward_names(differentiate(equation, at))
            summed = [str(s) for s in at.slots]
            terms += [sum_over(summed, t) for t in expose_deltas(mul(local, chained))]
        totals[name] = add(*terms)
        return totals[name]

    def _all_indices(self) -> set[str]:
        found = {i for t in self.tensors.values() for i in t.indices}
        return found.union(*(index_names(v) for _, v in self.definitions.values()))

    def in_forward_names(self, expr: Expr) -> Expr:
        """σ(z) by its name p, where the forward pass has it at these indices or at primed ones."""
        named = [
            (e.target, e.value) for e in self.system.equations if isinstance(e.value, Apply | Normalized | Reduction)
        ]

        def change(node: Expr) -> Expr:
            if not isinstance(node, Apply | Normalized | Reduction):
                return node
            for target, value in named:
                if type(value) is not type(node):
                    continue
                for slots in _renamings(target, node):
                    if _at(value, slots) is not None and key(_at(value, slots) or ZERO) == key(node):
                        return Element(target.tensor, tuple(slots.get(str(s), s) for s in target.slots))
            return node

        return transform(expr, change)

    @cached_property
    def local_factors(self) -> list[LocalFactor]:
        """The derivatives of the elementwise steps: of activations, above all."""
        found = []
        for equation in self.system.equations:
            target, value = equation.target, equation.value
            if isinstance(value, Normalized) or any(True for _ in walk_reductions(value)):
                continue
            for name in dict.fromkeys(tensors(value)):
                own = self.tensors[name]
                at = {e.slots for e in elements(value) if e.tensor == name}
                if own.role != "computed" or at != {target.slots}:
                    continue
                local = self.diagonal(target, value, name)
                if local not in (ZERO, ONE) and not free_indices(local) - set(map(str, target.slots)):
                    found.append(LocalFactor(target.tensor, name, local))
        return found

    def diagonal(self, target: Element, value: Expr, name: str) -> Expr:
        """∂c[J]/∂q[J]: where both have the same indices, the Kronecker deltas are 1."""
        taken = index_names(value) | set(map(str, target.slots))
        fresh: dict[str, Slot] = {str(s): fresh_index(str(s), taken) for s in target.slots}
        there = Element(name, tuple(fresh[str(s)] for s in target.slots))
        local = substitute(differentiate(value, there), {str(new): old for old, new in fresh.items()})
        return self.in_forward_names(local)

    def unfolded(self, expr: Expr, names: set[str]) -> Expr:
        """`expr` with these quantities replaced by what their equations say (no softmax among them)."""

        def change(node: Expr) -> Expr:
            if isinstance(node, Element) and node.tensor in names:
                target, value = self.definitions[node.tensor]
                slots: dict[str, Slot] = {str(a): b for a, b in zip(target.slots, node.slots, strict=True)}
                return substitute(value, slots)
            return node

        return transform(expr, change)

    def in_primal_names(self, expr: Expr) -> Expr:
        """`expr` without adjoints: each replaced by its equation, down to forward quantities."""
        backward = [n for n in self.order if n not in self.system.tensors]
        for name in reversed(backward):
            if name in tensors(expr) and not isinstance(self.definitions[name][1], Normalized):
                expr = self.unfolded(expr, {name})
        return expr


def walk_reductions(expr: Expr) -> Iterator[Reduction]:
    """The sums and extremes in an expression."""
    return (node for node in walk(expr) if isinstance(node, Reduction))


def _terms(value: Expr) -> tuple[Expr, ...]:
    return value.terms if isinstance(value, Add) else (value,)


def _at(value: Expr, slots: dict[str, Slot]) -> Expr | None:
    match value:
        case Normalized(kind, index, body):
            new = slots.get(index, index)
            if not isinstance(new, str) or (new != index and new in free_indices(body)):
                return None
            return Normalized(kind, new, substitute(body, slots))
    return substitute(value, slots)


def _renamings(target: Element, node: Expr) -> Iterator[dict[str, Slot]]:
    """The own indices of a quantity, and the primed ones that an expression has in their place."""
    yield {}
    primed: dict[str, Slot] = {}
    for index in map(str, target.slots):
        candidates = [i for i in sorted(free_indices(node)) if i != index and base_index(i) == base_index(index)]
        if candidates:
            primed[index] = candidates[0]
    if primed:
        yield primed
        for index, new in primed.items():
            yield {index: new}
