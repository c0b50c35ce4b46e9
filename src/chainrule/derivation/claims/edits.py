"""The mistakes of students, as a table: each row says how a right derivative becomes a wrong one.

A row's `edits` are tried at every node of the true expression; what comes out is compared with the claim by numbers
(locate.py). The name of a row is the key of its message; the first row that explains a claim is what the reader hears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from chainrule.derivation.claims.indices import IndexClasses, with_leaves
from chainrule.derivation.claims.quantities import LocalFactor, Quantities
from chainrule.formula.expr import (
    MINUS_ONE,
    ONE,
    TWO,
    ZERO,
    Add,
    Apply,
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Power,
    Reduction,
    Slot,
    add,
    apply,
    children,
    compare,
    elements,
    fresh_index,
    index_names,
    key,
    mul,
    negative,
    power,
    split_coefficient,
    substitute,
    subtract,
    sum_over,
    tensors,
    with_parts,
)
from chainrule.formula.simplify import signs_tidied
from chainrule.formula.system import Tensor


@dataclass(frozen=True)
class Edit:
    """A wrong derivative and how it came about: `true` is what was right, `claimed` what stands in its place."""

    mistake: str
    expr: Expr
    true: Expr | None = None
    claimed: Expr | None = None
    index: str = ""


@dataclass(frozen=True)
class Context:
    """What edits may draw on: the quantities, the indices in scope at a node, the claim's loose indices."""

    book: Quantities
    classes: IndexClasses
    states: dict[str, Tensor]
    scope: tuple[str, ...]
    loose: tuple[str, ...]
    inner: dict[tuple[str, ...], Context] = field(default_factory=dict)  # shared by all scopes
    kept: dict[str, list[Expr]] = field(default_factory=dict)  # what was worked out for this one

    def inside(self, indices: Sequence[str]) -> Context:
        scope = (*self.scope, *(i for i in indices if i not in self.scope))
        if scope not in self.inner:
            self.inner[scope] = replace(self, scope=scope, kept={})
        return self.inner[scope]

    def derivatives(self) -> list[Expr]:
        """The local derivatives at all indices in scope."""
        if "derivatives" not in self.kept:
            factors = self.book.local_factors
            self.kept["derivatives"] = [at_slots(f, at, self) for f in factors for at in self.elements_of(f.over)]
        return self.kept["derivatives"]

    def candidates(self) -> list[Expr]:
        """What a claim may have too much, or too little."""
        if "candidates" not in self.kept:
            self.kept["candidates"] = list(candidates(self))
        return self.kept["candidates"]

    def tensor(self, name: str) -> Tensor:
        return self.states.get(name) or self.book.tensors[name]

    def same_size(self, first: str, second: str) -> bool:
        base = [i.rstrip("'") for i in (first, second)]
        return self.classes.of(base[0]) == self.classes.of(base[1])

    def elements_of(self, name: str) -> Iterator[Element]:
        """A tensor at every choice of indices in scope that its sizes allow, each index once."""
        own = self.tensor(name).indices
        found: list[tuple[str, ...]] = [()]
        for index in own:
            found = [(*f, s) for f in found for s in self.scope if s not in f and self.same_size(s, index)]
        return (Element(name, slots) for slots in found[:6])


Edits = Callable[[Expr, Context], Iterator[Edit]]


# --- what may go wrong at one node ------------------------------------------------------------------------------------


def _exchanged(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Add) and len(node.terms) == 2 and any(_is_target(t, context) for t in node.terms):
        turned = signs_tidied(add(*(negative(t) for t in node.terms)))
        signs = [split_coefficient(t)[0] for t in node.terms]
        if signs[0] * signs[1] < 0:
            yield Edit("exchanged", turned, node, turned)


def _term_sign(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Add):
        for term in node.terms:
            yield Edit("term_sign", add(*(negative(t) if t is term else t for t in node.terms)), term, negative(term))


def _missing_term(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Add):
        for term in node.terms:
            yield Edit("missing_term", add(*(t for t in node.terms if t is not term)), term)


def _missing_derivative(node: Expr, context: Context) -> Iterator[Edit]:
    for local, rest in _units(node, context):
        yield Edit("missing_derivative", rest, local)


def _wrong_derivative(node: Expr, context: Context) -> Iterator[Edit]:
    """σ′ with z in place of p, 1 - z in place of 1 - z², the derivative of another layer or of another activation."""
    for local, rest in _units(node, context):
        own = [f for f in context.book.local_factors if {*tensors(f.value)} == {*tensors(local)}]
        names = dict.fromkeys(n for f in own for n in (f.over, f.under))
        slots = next((e.slots for e in elements(local) if e.tensor in names), None)
        for u in (Element(n, slots) for n in names if slots is not None):
            for wrong in _usual_derivatives(u):
                if key(wrong) != key(local):
                    yield Edit("wrong_derivative", mul(rest, wrong), local, wrong)
        for wrong in context.derivatives():
            if key(wrong) != key(local):
                yield Edit("other_layer", mul(rest, wrong), local, wrong)


def _usual_derivatives(u: Element) -> tuple[Expr, ...]:
    """The derivatives of the usual activations, in what they give or what they are given."""
    return (
        mul(u, subtract(ONE, u)),
        subtract(ONE, power(u, TWO)),
        subtract(ONE, u),
        u,
        compare(">", u, ZERO),
        apply("sigmoid", u),
        mul(apply("sigmoid", u), subtract(ONE, apply("sigmoid", u))),
        subtract(ONE, power(apply("tanh", u), TWO)),
        power(subtract(ONE, u), TWO),
        add(ONE, power(u, TWO)),
        mul(u, add(ONE, u)),
        power(u, TWO),
    )


def _missing_factor(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Mul):
        for factor in node.factors:
            if isinstance(factor, Number):
                if abs(factor.value) == 1:  # a sign, which other rows tell apart
                    continue
                yield Edit("missing_constant", mul(*(f for f in node.factors if f is not factor)), factor)
            else:
                yield Edit("missing_factor", mul(*(f for f in node.factors if f is not factor)), factor)
        for factor in node.factors:  # a factor that stands alone: its divisor or its square
            if not isinstance(factor, Number):
                others = [f for f in node.factors if f is not factor]
                yield Edit("upside_down", mul(*others, power(factor, MINUS_ONE)), factor, power(factor, MINUS_ONE))


def _constant(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Number) and node.value != 0:
        for value in (2 * node.value, node.value / 2, node.value + 1, node.value - 1, Fraction(1)):
            if abs(value) != abs(node.value):  # a sign is for other rows
                yield Edit("constant", Number(value), node, Number(value))


def _power(node: Expr, context: Context) -> Iterator[Edit]:
    match node:
        case Power(base, Number(value)):
            wrong = [Number(value - 1), Number(value + 1), Number(-value), ONE]
            for exponent in wrong:
                if exponent.value != value:
                    yield Edit("power", power(base, exponent), node, power(base, exponent))
        case Element() | Apply():
            yield Edit("power", power(node, TWO), node, power(node, TWO))


def _missing_sum(node: Expr, context: Context) -> Iterator[Edit]:
    if not (isinstance(node, Reduction) and node.kind == "sum"):
        return
    for index in node.indices:
        rest = tuple(i for i in node.indices if i != index)
        for there in (s for s in context.scope if s != index or s in context.loose):
            if there in context.loose or context.same_size(index, there):
                one = substitute(node.body, {index: there})
                yield Edit("missing_sum", sum_over(rest, one) if rest else one, node, one, index)


def _wrong_sum(node: Expr, context: Context) -> Iterator[Edit]:
    """Σ over j where it should run over k: k is left loose."""
    if not (isinstance(node, Reduction) and node.kind == "sum" and context.loose):
        return
    for index in node.indices:
        for free in context.scope:
            if free in index_names(node.body) and free != context.book.samples:
                fresh = fresh_index(free, {*index_names(node.body), *context.scope, *context.loose})
                body = substitute(substitute(node.body, {free: fresh}), {index: context.loose[0]})
                others = tuple(i for i in node.indices if i != index)
                wrong = Reduction("sum", (*others, fresh), body)
                yield Edit("wrong_sum", wrong, node, wrong, index)


def _extra_sum(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Number | Add) or (not children(node) and not isinstance(node, Element)):
        return
    for index in context.scope:
        if index in index_names(node) and index != context.book.samples:
            fresh = fresh_index(index, {*index_names(node), *context.scope})
            wrong = sum_over([fresh], substitute(node, {index: fresh})) if _can(node, index) else None
            if wrong is not None:
                yield Edit("extra_sum", wrong, node, wrong, index)


def _transposed(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Element):
        at = [n for n, s in enumerate(node.slots) if s != context.book.samples]
        for a in at:
            for b in at:
                if a < b and node.slots[a] != node.slots[b]:
                    slots = list(node.slots)
                    slots[a], slots[b] = slots[b], slots[a]
                    wrong = Element(node.tensor, tuple(slots))
                    yield Edit("transposed", wrong, node, wrong)


def _wrong_index(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Element):
        for place, slot in enumerate(node.slots):
            if slot == context.book.samples:
                continue
            fixed: tuple[Slot, ...] = (0,) if isinstance(slot, str) else (slot + 1, max(slot - 1, 0))
            for other in (*context.scope, *fixed):
                if other != slot and other != context.book.samples:
                    wrong = Element(node.tensor, (*node.slots[:place], other, *node.slots[place + 1 :]))
                    yield Edit("wrong_index", wrong, node, wrong, str(slot))


def _wrong_quantity(node: Expr, context: Context) -> Iterator[Edit]:
    """h in place of x, t in place of p, z in place of p: another quantity at the same indices."""
    if not isinstance(node, Element):
        return
    samples = context.book.samples
    own = [s for s in node.slots if s != samples]
    for tensor in (*context.book.plain, *context.states.values()):
        wanted = [i for i in tensor.indices if i != samples]
        if tensor.name == node.tensor or len(wanted) != len(own):
            continue
        if samples in tensor.indices and samples not in context.scope:
            continue
        slots = (samples, *own) if samples in tensor.indices else tuple(own)
        wrong = Element(tensor.name, slots)
        yield Edit("wrong_quantity", wrong, node, wrong)
        for there in context.elements_of(tensor.name):
            if there.slots != slots:
                yield Edit("wrong_quantity", there, node, there)


def _bracket(node: Expr, context: Context) -> Iterator[Edit]:
    """[a > 0] turned round, or the function itself in the place of its derivative."""
    match node:
        case Compare(operator, left, right):
            wrong = compare({">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "!=", "!=": "=="}[operator], left, right)
            yield Edit("bracket", wrong, node, wrong)
        case Apply("step" | "sign", (u,)):
            wrong = compare("<", u, ZERO)
            yield Edit("bracket", wrong, node, wrong)


def _function(node: Expr, context: Context) -> Iterator[Edit]:
    if isinstance(node, Apply) and len(node.arguments) == 1:
        (u,) = node.arguments
        for name in ("relu", "sigmoid", "tanh", "exp", "step", "sign", "abs", "log", "softplus", "sin", "cos"):
            if name != node.function:
                yield Edit("function", apply(name, u), node, apply(name, u))
        yield Edit("function", u, node, u)
        yield Edit("argument", apply(node.function, negative(u)), node, apply(node.function, negative(u)))


def _extra_factor(node: Expr, context: Context) -> Iterator[Edit]:
    """One factor too many inside a sum; outside of sums, the ratio of claim and truth finds it."""
    if not (isinstance(node, Reduction) and node.kind == "sum"):
        return
    inner = context.inside(node.indices)
    for extra in inner.candidates():
        if set(node.indices) & index_names(extra):
            body = mul(node.body, extra)
            yield Edit("extra_factor", Reduction("sum", node.indices, body), None, extra)


LOCAL: tuple[tuple[str, Edits], ...] = (
    ("exchanged", _exchanged),
    ("missing_derivative", _missing_derivative),
    ("missing_factor", _missing_factor),
    ("transposed", _transposed),
    ("wrong_derivative", _wrong_derivative),
    ("term_sign", _term_sign),
    ("missing_term", _missing_term),
    ("missing_sum", _missing_sum),
    ("wrong_sum", _wrong_sum),
    ("constant", _constant),
    ("power", _power),
    ("wrong_quantity", _wrong_quantity),
    ("wrong_index", _wrong_index),
    ("bracket", _bracket),
    ("extra_sum", _extra_sum),
    ("function", _function),
    ("extra_factor", _extra_factor),
)


def edits(expr: Expr, context: Context) -> Iterator[Edit]:
    """Every row of the table at every node, and replacements of one quantity by another throughout."""
    for _, row in LOCAL:
        yield from _everywhere(expr, row, context)
    yield from _throughout(expr, context)


def _everywhere(expr: Expr, row: Edits, context: Context) -> Iterator[Edit]:
    yield from row(expr, context)
    inner = context
    if isinstance(expr, Reduction):
        inner = context.inside(expr.indices)
    if isinstance(expr, Normalized):
        return
    parts = children(expr)
    for place, part in enumerate(parts):
        for edit in _everywhere(part, row, inner):
            new = tuple(edit.expr if n == place else p for n, p in enumerate(parts))
            yield replace(edit, expr=with_parts(expr, new))


def _throughout(expr: Expr, context: Context) -> Iterator[Edit]:
    """One quantity taken for another wherever it stands."""
    samples = context.book.samples
    found = [e.tensor for e in elements(expr)]
    for name in (n for n in tensors(expr) if found.count(n) > 1):
        own = [i for i in context.tensor(name).indices if i != samples]
        for tensor in context.book.plain:
            wanted = [i for i in tensor.indices if i != samples]
            if tensor.name == name or len(own) != len(wanted):
                continue
            if samples in tensor.indices and samples not in context.tensor(name).indices:
                continue

            def change(node: Expr, name: str = name, tensor: Tensor = tensor) -> Expr:
                if isinstance(node, Element) and node.tensor == name:
                    slots = tuple(s for s in node.slots if s != samples)
                    return Element(tensor.name, (samples, *slots) if samples in tensor.indices else slots)
                return node

            slots = tuple(own)
            there = Element(tensor.name, (samples, *slots) if samples in tensor.indices else slots)
            yield Edit("wrong_quantity", with_leaves(expr, change), context.tensor(name).element, there)


# --- what a factor can be ---------------------------------------------------------------------------------------------


def candidates(context: Context) -> Iterator[Expr]:
    """What a claim may have too much or too little: quantities in scope, what they lack to 1, local derivatives."""
    seen: set[object] = set()

    def once(expr: Expr) -> Iterator[Expr]:
        if key(expr) not in seen:
            seen.add(key(expr))
            yield expr

    for derivative in context.derivatives():
        yield from once(derivative)
    names = (*(t.name for t in context.book.plain), *context.states)
    for name in names:
        for element in context.elements_of(name):
            yield from once(element)
    for name in names:
        for element in context.elements_of(name):
            tensor = context.tensor(name)
            if tensor.role == "computed" and name in context.book.system.tensors:
                yield from once(subtract(ONE, element))
                yield from once(subtract(ONE, power(element, TWO)))
                yield from once(mul(element, subtract(ONE, element)))
                yield from once(compare(">", element, ZERO))
    for target in context.book.system.of_role("target"):
        for there in context.elements_of(target.name):
            yield from once(subtract(ONE, there))
            for output in context.book.system.equations:
                own = context.tensor(output.target.tensor)
                if len(own.indices) == len(there.slots):
                    for element in context.elements_of(own.name):
                        if element.slots == there.slots:
                            yield from once(subtract(element, there))


def at_slots(factor: LocalFactor, at: Element, context: Context) -> Expr:
    """A local derivative at other indices than its own."""
    own = context.book.tensors[factor.over].element
    names = {*index_names(factor.value), *map(str, own.slots), *map(str, at.slots)}
    parked: dict[str, Slot] = {str(s): fresh_index(str(s) + "'", names) for s in own.slots}
    value = substitute(factor.value, parked)
    return substitute(value, {str(parked[str(s)]): w for s, w in zip(own.slots, at.slots, strict=True)})


def _units(node: Expr, context: Context) -> Iterator[tuple[Expr, Expr]]:
    """The local derivatives that stand as factors of a product: (derivative, what is left without it)."""
    factors = list(node.factors) if isinstance(node, Mul) else [node] if isinstance(node, Apply | Add) else []
    if not factors:
        return
    have = {key(f) for f in factors}
    for value in context.derivatives():
        needed = {key(f) for f in (value.factors if isinstance(value, Mul) else (value,))}
        if needed <= have:
            yield value, mul(*(f for f in factors if key(f) not in needed))


def _is_target(term: Expr, context: Context) -> bool:
    return any(context.tensor(t).role in ("target", "label") for t in tensors(term))


def _can(node: Expr, index: str) -> bool:
    """Whether an index may be replaced: that of a softmax stays."""
    return not any(isinstance(n, Normalized | Delta) for n in (node, *children(node)))
