"""The chain rule as a lecture writes it: ∂E/∂w_ij = ∂E/∂p_j · ∂p_j/∂z_j · ∂z_j/∂w_ij.

adjoint.py derives with Kronecker deltas: ∂p_j'/∂z_j = σ′(z_j') [j' = j], summed over j'. Here a delta that all terms of
a factor have in common is used up first, so that what is left to sum over is what a reader would sum over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chainrule.derivation import rules
from chainrule.derivation.adjoint import Adjoint, Derivation
from chainrule.derivation.rules import Step
from chainrule.formula.expr import (
    ZERO,
    Add,
    Delta,
    Element,
    Expr,
    Mul,
    Reduction,
    Slot,
    Where,
    base_index,
    fresh_index,
    index_names,
    key,
    mul,
    substitute,
    sum_over,
)
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.text import Printer

# What a pattern keeps: the functions and sums.
WORDS = frozenset({*FUNCTIONS, "sum", "softmax", "log_softmax", "logsumexp", "mean", "where", "size", "sqrt"})

# So many factors of a chain fit on a line or two. A longer one is told from the δ of the layer above.
LONGEST_CHAIN = 7


@dataclass(frozen=True)
class Factor:
    """One use of q: in c, with ∂c/∂q. `outer` is ∂E/∂c by its name, `summed` are the indices of c left to sum over.

    `shown` is the symbol ∂c[…]/∂q[…] and `value` what it comes to; `steps` lead there, rule by rule.
    """

    of: str
    consumer: str
    outer: Element
    shown: Element
    value: Expr
    summed: tuple[str, ...]
    steps: tuple[Step, ...]

    def of_one_sample(self, samples: str) -> Factor:
        """Of a parameter: the factor for one sample, as the text writes it, before the samples are summed."""
        summed = tuple(i for i in self.summed if i != samples)
        return Factor(self.of, self.consumer, self.outer, self.shown, self.value, summed, self.steps)

    @property
    def chained(self) -> Expr:
        """Σ ∂E/∂c · ∂c/∂q, as symbols."""
        return _summed(self.summed, Mul((self.outer, self.shown)))


def factors_of(adjoint: Adjoint, samples: str) -> list[Factor]:
    """How q is used, one factor per quantity that it is used in, from the steps of its adjoint."""
    found = []
    for step, following in zip(adjoint.steps, adjoint.steps[1:], strict=False):
        if step.rule == rules.LOCAL.name:
            found.append(_factor(adjoint.of, step, following, samples))
    return found


def _factor(of: str, local: Step, multiply: Step, samples: str) -> Factor:
    shown, value = local.before, local.after
    assert isinstance(shown, Element)
    product = multiply.before
    outer = next(f for f in (product.factors if isinstance(product, Mul) else (product,)) if f != shown)
    assert isinstance(outer, Element)
    summed = tuple(str(s) for s in outer.slots)
    steps = local.about
    while (common := _common_delta(value, summed)) is not None:
        index, other = common
        if base_index(index) == samples:  # one sample: nothing of another is in it
            steps = tuple(_at(step, {index: other}) for step in steps)
        renamed: dict[str, Slot] = {index: other}
        value = substitute(value, renamed)  # the delta of the two is 1 now
        shown, outer = (_element(e, renamed) for e in (shown, outer))
        summed = tuple(i for i in summed if i != index)
    consumer = shown.tensor[1 : -len(f"_d{of}")]
    return Factor(of, consumer, outer, shown, value, summed, steps)


def _at(step: Step, renamed: dict[str, Slot]) -> Step:
    before, after = substitute(step.before, renamed), substitute(step.after, renamed)
    return Step(step.rule, before, after, tuple(_at(inner, renamed) for inner in step.about))


def _element(element: Element, renamed: dict[str, Slot]) -> Element:
    new = substitute(element, renamed)
    assert isinstance(new, Element)
    return new


def common_deltas(value: Expr) -> dict[object, Delta] | None:
    """The Kronecker deltas that are a factor of all of `value`, by key; None for 0, which has every factor."""
    match value:
        case Delta():
            return {key(value): value}
        case Mul(factors):
            of_each = [common_deltas(f) for f in factors]
            return {k: d for deltas in of_each for k, d in (deltas or {}).items()}
        case Add(terms):
            return _shared([common_deltas(t) for t in terms])
        case Reduction("sum", indices, body):
            found = common_deltas(body) or {}
            return {k: d for k, d in found.items() if not {d.left, d.right} & set(indices)}
        case Where(_, yes, no):
            return _shared([common_deltas(yes), common_deltas(no)])
    return None if value == ZERO else {}


def _shared(parts: list[dict[object, Delta] | None]) -> dict[object, Delta] | None:
    known = [p for p in parts if p is not None]
    if not known:
        return None
    return {k: d for k, d in known[0].items() if all(k in other for other in known[1:])}


def _common_delta(value: Expr, summed: tuple[str, ...]) -> tuple[str, Slot] | None:
    """An index that is summed over and that a delta of every term sets to something else: (index, else)."""
    for delta in (common_deltas(value) or {}).values():
        for own, other in ((delta.left, delta.right), (delta.right, delta.left)):
            if isinstance(own, str) and own in summed:
                return own, other
    return None


def _summed(indices: tuple[str, ...], body: Expr) -> Expr:
    return Reduction("sum", indices, body) if indices else body


def product_of(factor: Factor, outer: Expr) -> Expr:
    """Σ ∂E/∂c · ∂c/∂q with `outer` for ∂E/∂c, in the order of textbooks: h′(a) Σ w δ and x δ, but (p − t) p (1 − p)."""
    leads = isinstance(outer, Element | Reduction)
    parts = (factor.value, outer) if leads else (outer, factor.value)
    return sum_over(factor.summed, mul(*parts))


class Chains:
    """From the loss down to a quantity: the whole product of factors, as long as each quantity is used once."""

    def __init__(self, derivation: Derivation):
        self.derivation = derivation
        self.factors = {a.of: factors_of(a, derivation.system.samples) for a in derivation.adjoints}
        self.own = {a.of: a.equation.target for a in derivation.adjoints}

    def has_one_sample(self, name: str) -> bool:
        """Whether one sample has a share of a parameter's gradient: it enters quantities of one sample only."""
        system = self.derivation.system
        return all(system.is_sampled(f.consumer) for f in self.factors[name])

    def used(self, name: str) -> list[Factor]:
        """The factors of a quantity; of a parameter those of one sample, where there is such a thing."""
        system, loss = self.derivation.system, self.derivation.source.loss
        of_a_sample = loss is not None and system.is_sampled(loss) and system.tensors[name].role == "parameter"
        if of_a_sample and self.has_one_sample(name):
            return [f.of_one_sample(system.samples) for f in self.factors[name]]
        return self.factors[name]

    def of(self, name: str) -> Expr | None:
        """∂E/∂q written out to the loss, if that is more than one product; None where it is long, or ways meet."""
        taken: set[str] = set()
        shown: list[Element] = []
        summed: list[str] = []
        slots: dict[str, Slot] = {}
        current = name
        while current != self.derivation.source.loss:
            factors = self.used(name) if current == name else self.factors.get(current, [])
            if len(factors) != 1:
                return None
            factor = factors[0]
            renamed: dict[str, Slot] = dict(slots)
            for index in factor.summed:
                fresh = fresh_index(index, taken | {str(s) for s in slots.values()} | index_names(self.own[name]))
                renamed[index] = fresh
                summed.append(fresh)
                taken.add(fresh)
            here, outer = _element(factor.shown, renamed), _element(factor.outer, renamed)
            taken |= index_names(here)
            shown.insert(0, here)
            if factor.consumer not in self.own or len(shown) > LONGEST_CHAIN:
                return None
            own = self.own[factor.consumer]
            slots = {str(a): b for a, b in zip(own.slots, outer.slots, strict=True)}
            current = factor.consumer
        return _summed(tuple(summed), Mul(tuple(shown))) if len(shown) > 2 else None


# --- repeated layers --------------------------------------------------------------------------------------------------


def pattern(adjoint: Adjoint, samples: str = "n") -> tuple[str, ...]:
    """What is left of a derivation when the names of quantities and indices are: the same for layers that are alike."""
    printer = Printer(samples)
    exprs = [adjoint.equation.value]
    for step in adjoint.steps:
        # The other steps follow from these and from the rules that they are by.
        exprs += [step.before, step.after] if step.rule == rules.LOCAL.name else []
    names: dict[str, str] = {}

    def renamed(found: re.Match[str]) -> str:
        word = found[0]
        return word if word in WORDS else names.setdefault(word, f"_{len(names)}")

    rules_used = [step.rule for step in adjoint.steps]
    return (str(adjoint.inlined), *rules_used, *(re.sub(r"[^\W\d]\w*", renamed, printer.text(e)) for e in exprs))


def repeated(derivation: Derivation, preferred: str | None = None) -> dict[str, str]:
    """Quantities whose derivation is that of another, up to names: name → the one of its kind that is shown.

    That is the first of them, or the one that is preferred.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for adjoint in (a for a in derivation.adjoints if a.steps):  # not what the backward pass needs of its own
        alike.setdefault(pattern(adjoint, derivation.system.samples), []).append(adjoint.of)
    found: dict[str, str] = {}
    for names in alike.values():
        shown = preferred if preferred in names else names[0]
        found |= {name: str(shown) for name in names if name != shown}
    return found
