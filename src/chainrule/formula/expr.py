"""The nodes that a formula is made of, and the constructors that keep them tidy.

    Expr = Number | Symbol | Element | Size | Position | Delta
         | Add | Mul | Power | Apply | Compare | Where
         | Reduction      sum, max, min, logsumexp over bound indices
         | Normalized     softmax, log_softmax along an index that stays free
         | Random         what a line `random m[j] = bernoulli(q)` draws: the whole right side of that line
         | Draw           a number drawn evenly from [0, 1), what a Random is computed from

A slot of an element is an index name or a fixed position: x[i], x[0]. Nodes are frozen; build them with the lower-case
constructors (`add`, `mul`, `power`, `sum_over`, `delta`, …), which flatten, fold numbers, collect like terms, and let a
Kronecker delta remove a sum. They keep the order in which a person wrote the factors; whether two expressions are the
same is asked of `key`, which forgets order and the names of bound indices.
"""

# More than 500 lines: nodes, constructors, substitution and equality each need the others.
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Slot = str | int


class Expr:
    """Any node."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Number(Expr):
    """An exact rational: 0.9 is 9/10."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Symbol(Expr):
    """A scalar without a derivative of its own: a hyper-parameter, the step, an argument of a function."""

    name: str


@dataclass(frozen=True, slots=True)
class Element(Expr):
    """One entry of a tensor: W[i, j]; a scalar tensor has no slots."""

    tensor: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Size(Expr):
    """How many values an index takes."""

    index: str


@dataclass(frozen=True, slots=True)
class Position(Expr):
    """The value of an index as a number, as in [k == y]."""

    index: str


@dataclass(frozen=True, slots=True)
class Delta(Expr):
    """Kronecker delta: 1 where both slots are the same, else 0."""

    left: Slot
    right: Slot


@dataclass(frozen=True, slots=True)
class Add(Expr):
    terms: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Mul(Expr):
    factors: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Power(Expr):
    base: Expr
    exponent: Expr


@dataclass(frozen=True, slots=True)
class Apply(Expr):
    """A scalar function of functions.py applied to its arguments."""

    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Compare(Expr):
    """Iverson bracket: 1 where the comparison holds, else 0."""

    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Where(Expr):
    """`yes` where the condition is not 0, else `no`; the branch that is not taken never matters."""

    condition: Expr
    yes: Expr
    no: Expr


@dataclass(frozen=True, slots=True)
class Reduction(Expr):
    """sum, max, min or logsumexp of the body over the bound indices."""

    kind: str
    indices: tuple[str, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class Normalized(Expr):
    """softmax[k](body) = exp(body) / sum[k](exp(body)), or its logarithm; k stays free."""

    kind: str
    index: str
    body: Expr


@dataclass(frozen=True, slots=True)
class Random(Expr):
    """A quantity drawn from a row of distributions.py; one number per entry of `tensor` at these slots, sample first.

    A constant of the derivation: it depends on no tensor.
    """

    distribution: str
    arguments: tuple[Expr, ...]
    tensor: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Draw(Expr):
    """A number drawn evenly from [0, 1), one per entry of `tensor`; `number` tells several for one entry apart."""

    tensor: str
    number: int
    slots: tuple[Slot, ...]


ZERO, ONE, MINUS_ONE, TWO, HALF = (Number(Fraction(v)) for v in (0, 1, -1, 2, Fraction(1, 2)))

# --- looking ----------------------------------------------------------------------------------------------------------


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct sub-expressions, in order."""
    match expr:
        case Add(parts) | Mul(parts) | Apply(_, parts) | Random(_, parts, _, _):
            return parts
        case Power(base, exponent):
            return (base, exponent)
        case Compare(_, left, right):
            return (left, right)
        case Where(condition, yes, no):
            return (condition, yes, no)
        case Reduction(_, _, body) | Normalized(_, _, body):
            return (body,)
    return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node, parents first."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def count_nodes(expr: Expr) -> int:
    """How large an expression is; the simplifier prefers fewer."""
    return sum(1 for _ in walk(expr))


@lru_cache(maxsize=20_000)
def free_indices(expr: Expr) -> frozenset[str]:
    """The index names that an expression depends on from outside."""
    match expr:
        case Element(_, slots) | Draw(_, _, slots) | Random(_, _, _, slots):
            return frozenset(s for s in slots if isinstance(s, str))
        case Position(index):
            return frozenset((index,))
        case Delta(left, right):
            return frozenset(s for s in (left, right) if isinstance(s, str))
        case Reduction(_, indices, body):
            return free_indices(body) - frozenset(indices)
        case Normalized(_, index, body):
            return free_indices(body) | {index}
    return frozenset().union(*(free_indices(c) for c in children(expr)))


def elements(expr: Expr) -> list[Element]:
    """Every tensor element that occurs, in order, repeats included."""
    return [node for node in walk(expr) if isinstance(node, Element)]


def tensors(expr: Expr) -> list[str]:
    """The names of the tensors that occur, each once, in order."""
    return list(dict.fromkeys(e.tensor for e in elements(expr)))


def symbols(expr: Expr) -> list[str]:
    """The names of the free scalar symbols, each once, in order."""
    return list(dict.fromkeys(node.name for node in walk(expr) if isinstance(node, Symbol)))


def index_names(expr: Expr) -> set[str]:
    """Every index name, free or bound or measured by size()."""
    names: set[str] = set()
    for node in walk(expr):
        match node:
            case Element() | Position() | Delta() | Random() | Draw():
                names |= free_indices(node)
            case Reduction(_, indices, _):
                names.update(indices)
            case Normalized(_, index, _) | Size(index):
                names.add(index)
    return names


def fresh_index(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or primed until nobody has it: k, k', k''. A prime cannot be typed, so no user's index is hit."""
    taken = set(taken)
    while wanted in taken:
        wanted += "'"
    return wanted


def base_index(index: str) -> str:
    """The index that a primed one runs over: k for k''. Both have one size."""
    return index.rstrip("'")


def fresh_name(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or numbered until nobody has it: a_h, a_h_2, a_h_3."""
    taken = set(taken)
    if wanted not in taken:
        return wanted
    return next(name for i in itertools.count(2) if (name := f"{wanted}_{i}") not in taken)


# --- building ---------------------------------------------------------------------------------------------------------


def number(value: int | str | Fraction) -> Number:
    return Number(Fraction(value))


def as_number(expr: Expr) -> Fraction | None:
    """The value of a plain number, else None."""
    return expr.value if isinstance(expr, Number) else None


def split_coefficient(term: Expr) -> tuple[Fraction, Expr]:
    """3*x*y → (3, x*y); a constructor's product has at most one number, in front."""
    match term:
        case Number(value):
            return value, ONE
        case Mul((Number(value), *rest)):
            return value, rest[0] if len(rest) == 1 else Mul(tuple(rest))
    return Fraction(1), term


def add(*terms: Expr) -> Expr:
    """Sum of terms: nested sums flattened, like terms collected, zeros dropped."""
    if len(terms) == 1 and not isinstance(terms[0], Add):
        return terms[0]
    collected: dict[object, tuple[Fraction, Expr]] = {}
    for term in terms:
        for part in term.terms if isinstance(term, Add) else (term,):
            coefficient, rest = split_coefficient(part)
            like = key(rest)
            so_far = collected.get(like)
            collected[like] = (coefficient, rest) if so_far is None else (so_far[0] + coefficient, so_far[1])
    parts = [scaled(c, rest) for c, rest in collected.values() if c != 0]
    if not parts:
        return ZERO
    return parts[0] if len(parts) == 1 else Add(tuple(parts))


def scaled(coefficient: Fraction, rest: Expr) -> Expr:
    """coefficient * rest, where rest has no number in front."""
    if coefficient == 1:
        return rest
    if rest == ONE:
        return Number(coefficient)
    if isinstance(rest, Mul):
        return Mul((Number(coefficient), *rest.factors))
    return Mul((Number(coefficient), rest))


def mul(*factors: Expr) -> Expr:
    """Product of factors: nested products flattened, numbers folded, powers of one base collected.

    A factor where(c, 0, u) draws the others inside, so that what it masks can be infinite.
    """
    coefficient = Fraction(1)
    powers: dict[object, tuple[Expr, list[Expr]]] = {}
    for factor in factors:
        for part in factor.factors if isinstance(factor, Mul) else (factor,):
            if isinstance(part, Number):
                coefficient *= part.value
                continue
            base, exponent = (part.base, part.exponent) if isinstance(part, Power) else (part, ONE)
            powers.setdefault(key(base), (base, []))[1].append(exponent)
    if coefficient == 0:
        return ZERO
    parts: list[Expr] = []
    for base, exponents in powers.values():
        part = power(base, exponents[0] if len(exponents) == 1 else add(*exponents))
        if isinstance(part, Number):
            coefficient *= part.value
        else:
            parts.extend(part.factors if isinstance(part, Mul) else (part,))
    masked = next((p for p in parts if isinstance(p, Where) and ZERO in (p.yes, p.no)), None)
    if masked is not None and (len(parts) > 1 or coefficient != 1):
        parts.remove(masked)
        deltas = [p for p in parts if isinstance(p, Delta)]  # these wait outside for a sum to use them up
        others = (Number(coefficient), *(p for p in parts if not isinstance(p, Delta)))
        inside = where(masked.condition, mul(masked.yes, *others), mul(masked.no, *others))
        return Mul((*deltas, inside)) if deltas and inside != ZERO else inside
    if not parts:
        return Number(coefficient)
    if coefficient != 1:
        parts.insert(0, Number(coefficient))
    return parts[0] if len(parts) == 1 else Mul(tuple(parts))


# An exact power with more bits than this stays unevaluated: 9**9**9 must not fill the memory.
MAX_EXACT_BITS = 256


def power(base: Expr, exponent: Expr) -> Expr:
    """base ** exponent with what is always true done: u**1, u**0, (u**m)**n for whole n, (u*v)**n, 2**3."""
    e = as_number(exponent)
    if e is None:
        return ONE if base == ONE else Power(base, exponent)
    if e == 0:
        return ONE
    if e == 1:
        return base
    whole = e.denominator == 1
    match base:
        case Number(value) if whole and (value != 0 or e > 0):
            bits = max(value.numerator.bit_length(), value.denominator.bit_length())
            if bits * abs(e.numerator) <= MAX_EXACT_BITS:
                return Number(value ** int(e))
        case Number(Fraction(numerator=1, denominator=1)):
            return ONE
        case Power(inner, Number(m)) if whole:
            return power(inner, Number(m * e))
        case Mul(factors) if whole:
            return mul(*(power(f, exponent) for f in factors))
        case Compare() | Delta() if whole:  # 0 and 1 are their own powers
            return base if e > 0 else Power(base, MINUS_ONE)
    return Power(base, exponent)


def negative(expr: Expr) -> Expr:
    return mul(MINUS_ONE, expr)


def subtract(left: Expr, right: Expr) -> Expr:
    return add(left, negative(right))


def divide(left: Expr, right: Expr) -> Expr:
    return mul(left, power(right, MINUS_ONE))


def square_root(expr: Expr) -> Expr:
    return power(expr, HALF)


def apply(function: str, *arguments: Expr) -> Expr:
    return Apply(function, arguments)


def where(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """A choice; both branches equal, or a condition that is a number, need none."""
    if isinstance(condition, Number):
        return yes if condition.value != 0 else no
    return yes if key(yes) == key(no) else Where(condition, yes, no)


COMPARISONS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def compare(operator: str, left: Expr, right: Expr) -> Expr:
    if isinstance(left, Number) and isinstance(right, Number):
        return ONE if COMPARISONS[operator](left.value, right.value) else ZERO
    return Compare(operator, left, right)


def delta(left: Slot, right: Slot) -> Expr:
    if left == right:
        return ONE
    if isinstance(left, int) and isinstance(right, int):
        return ZERO
    return Delta(left, right)


def sum_over(indices: Iterable[str], body: Expr) -> Expr:
    """Σ over indices, with what does not depend on them taken out and Kronecker deltas used up.

    Σ_j δ_jk u_j = u_k; Σ_j c u_j = c Σ_j u_j; Σ_j c = size(j) c; Σ_i Σ_j = Σ_ij. A sum of terms is split only where a
    term has a delta to use up or does not depend on an index.
    """
    indices = tuple(dict.fromkeys(indices))
    if not indices:
        return body
    factors = body.factors if isinstance(body, Mul) else (body,)
    for factor in factors:
        if isinstance(factor, Delta):
            for own, other in ((factor.left, factor.right), (factor.right, factor.left)):
                if own in indices:
                    rest = mul(*(f for f in factors if f is not factor))
                    return sum_over((i for i in indices if i != own), substitute(rest, {str(own): other}))
    depends = [bool(free_indices(f) & set(indices)) for f in factors]
    outside = [f for f, d in zip(factors, depends, strict=True) if not d]
    inside = mul(*(f for f, d in zip(factors, depends, strict=True) if d))
    absent = [i for i in indices if i not in free_indices(inside)]
    remaining = tuple(i for i in indices if i not in absent)
    outside += [Size(base_index(i)) for i in absent]
    if not remaining:
        return mul(*outside, inside)
    if isinstance(inside, Add) and any(
        _has_delta(term, remaining) or not set(remaining) <= free_indices(term) for term in inside.terms
    ):
        return mul(*outside, add(*(sum_over(remaining, term) for term in inside.terms)))
    if isinstance(inside, Reduction) and inside.kind == "sum":
        return mul(*outside, Reduction("sum", remaining + inside.indices, inside.body))
    return mul(*outside, Reduction("sum", remaining, inside))


def _has_delta(term: Expr, indices: tuple[str, ...]) -> bool:
    factors = term.factors if isinstance(term, Mul) else (term,)
    return any(isinstance(f, Delta) and (f.left in indices or f.right in indices) for f in factors)


def rebuild(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """The same node over other sub-expressions, tidied by its constructor."""
    match expr:
        case Add():
            return add(*parts)
        case Mul():
            return mul(*parts)
        case Power():
            return power(*parts)
        case Apply(function, _):
            return apply(function, *parts)
        case Compare(operator, _, _):
            return compare(operator, *parts)
        case Where():
            return where(*parts)
        case Reduction("sum", indices, _):
            return sum_over(indices, parts[0])
        case Reduction(kind, indices, _):
            return Reduction(kind, indices, parts[0])
        case Normalized(kind, index, _):
            return Normalized(kind, index, parts[0])
        case Random(distribution, _, tensor, slots):
            return Random(distribution, parts, tensor, slots)
    return expr


def with_parts(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """The same node over other sub-expressions, as it is: a constructor would, for one, move factors out of a sum."""
    match expr:
        case Add():
            return Add(parts)
        case Mul():
            return Mul(parts)
        case Power():
            return Power(*parts)
        case Apply(function, _):
            return Apply(function, parts)
        case Compare(operator, _, _):
            return Compare(operator, *parts)
        case Where():
            return Where(*parts)
        case Reduction(kind, indices, _):
            return Reduction(kind, indices, parts[0])
        case Normalized(kind, index, _):
            return Normalized(kind, index, parts[0])
        case Random(distribution, _, tensor, slots):
            return Random(distribution, parts, tensor, slots)
    return expr


def transform(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Rewrite every node from the leaves up; `change` returns the node itself where it has nothing to do."""
    parts = children(expr)
    new = tuple(transform(p, change) for p in parts)
    if any(a is not b for a, b in zip(parts, new, strict=True)):
        expr = rebuild(expr, new)
    return change(expr)


def substitute(expr: Expr, slots: Mapping[str, Slot]) -> Expr:
    """Replace free indices; a bound index that would capture a new one is renamed first."""
    slots = {old: new for old, new in slots.items() if old != new and old in free_indices(expr)}
    if not slots:
        return expr
    match expr:
        case Element(tensor, own):
            return Element(tensor, tuple(slots.get(s, s) if isinstance(s, str) else s for s in own))
        case Random(distribution, arguments, tensor, own):
            there = tuple(slots.get(s, s) if isinstance(s, str) else s for s in own)
            return Random(distribution, arguments, tensor, there)
        case Draw(tensor, which, own):
            return Draw(tensor, which, tuple(slots.get(s, s) if isinstance(s, str) else s for s in own))
        case Position(index):
            new = slots[index]
            return number(new) if isinstance(new, int) else Position(new)
        case Delta(left, right):
            ends = [slots.get(s, s) if isinstance(s, str) else s for s in (left, right)]
            return delta(ends[0], ends[1])
        case Reduction(kind, indices, body):
            captured = {new for new in slots.values() if isinstance(new, str)} & set(indices)
            if captured:
                taken = index_names(body) | {s for s in slots.values() if isinstance(s, str)}
                renamed: dict[str, Slot] = {}
                for index in captured:
                    renamed[index] = fresh_index(index, taken)
                    taken.add(str(renamed[index]))
                indices = tuple(str(renamed.get(i, i)) for i in indices)
                body = substitute(body, renamed)
            new_body = substitute(body, slots)
            return sum_over(indices, new_body) if kind == "sum" else Reduction(kind, indices, new_body)
        case Normalized(kind, index, body):
            new = slots.get(index, index)
            if not isinstance(new, str) or (new != index and new in free_indices(body)):
                raise AssertionError("a softmax is given its own equation before its index is replaced")
            return Normalized(kind, new, substitute(body, slots))
    return rebuild(expr, tuple(substitute(c, slots) for c in children(expr)))


def bound_apart(expr: Expr, taken: Iterable[str]) -> Expr:
    """The same expression with no bound index of a name in `taken`; nothing else is touched."""
    taken = set(taken)
    parts = tuple(bound_apart(c, taken) for c in children(expr))
    if isinstance(expr, Reduction) and taken & set(expr.indices):
        body, names, renamed = parts[0], set(taken) | index_names(expr), {}
        for index in set(expr.indices) & taken:
            renamed[index] = fresh_index(index, names)
            names.add(renamed[index])
        slots: dict[str, Slot] = dict(renamed)
        return Reduction(expr.kind, tuple(renamed.get(i, i) for i in expr.indices), substitute(body, slots))
    return expr if all(a is b for a, b in zip(children(expr), parts, strict=True)) else rebuild(expr, parts)


def replace_symbols(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """Put expressions in the place of scalar symbols."""
    return transform(expr, lambda node: values.get(node.name, node) if isinstance(node, Symbol) else node)


# --- sameness ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=20_000)
def key(expr: Expr) -> object:
    """A hashable form that is equal for expressions equal up to order of terms and names of bound indices."""
    return _key(expr, {})


def same(left: Expr, right: Expr) -> bool:
    return key(left) == key(right)


def _slot(slot: Slot, bound: Mapping[str, int]) -> tuple[str, object]:
    return ("bound", bound[slot]) if slot in bound else ("slot", slot)  # type: ignore[index]  # an int is never bound


def _order(k: object) -> str:
    return repr(k)


FEW_INDICES = 4  # 4! = 24 orders; a derived sum may have 8, of 40,320
MAX_ORDERS = 720


def _orders(indices: tuple[str, ...], body: Expr, bound: Mapping[str, int]) -> Iterable[tuple[str, ...]]:
    """The orders of a sum's indices to try: all of a few; of many only those among indices with the same role.

    An index's role is the body with this index told from the others. Where so many have the same role that there are
    still more orders, the first ones are tried: of indices that can be exchanged, any order reads the same.
    """
    if len(indices) <= FEW_INDICES:
        return itertools.permutations(indices)
    others = {**bound, **dict.fromkeys(indices, -2)}
    roles = {i: repr(_key(body, {**others, i: -1})) for i in indices}
    groups = [[i for i in indices if roles[i] == role] for role in sorted(set(roles.values()))]
    found = itertools.product(*(itertools.permutations(group) for group in groups))
    return (tuple(itertools.chain(*order)) for order in itertools.islice(found, MAX_ORDERS))


def _key(expr: Expr, bound: Mapping[str, int]) -> object:
    match expr:
        case Number(value):
            return ("number", value.numerator, value.denominator)
        case Element(tensor, slots):
            return ("element", tensor, *(_slot(s, bound) for s in slots))
        case Draw(tensor, which, slots):
            return ("draw", tensor, which, *(_slot(s, bound) for s in slots))
        case Random(distribution, arguments, tensor, slots):
            drawn = (*(_slot(s, bound) for s in slots), *(_key(a, bound) for a in arguments))
            return ("random", distribution, tensor, *drawn)
        case Size(index):
            return ("size", index)
        case Position(index):
            return ("position", _slot(index, bound))
        case Delta(left, right):
            return ("delta", *sorted((_slot(left, bound), _slot(right, bound)), key=_order))
        case Add(parts) | Mul(parts):
            return (type(expr).__name__, *sorted((_key(p, bound) for p in parts), key=_order))
        case Compare(operator, left, right):
            if operator in (">", ">="):
                operator, left, right = {">": "<", ">=": "<="}[operator], right, left
            return ("compare", operator, _key(left, bound), _key(right, bound))
        case Reduction(kind, indices, body):
            # Σ_ij = Σ_ji: the order that reads smallest stands for all.
            return min(
                (
                    (kind, len(indices), _key(body, {**bound, **{i: len(bound) + n for n, i in enumerate(order)}}))
                    for order in _orders(indices, body, bound)
                ),
                key=_order,
            )
        case Normalized(kind, index, body):
            return (kind, _slot(index, bound), _key(body, bound))
        case Symbol(name):
            return ("symbol", name)
        case Apply(function, arguments):
            return ("apply", function, *(_key(a, bound) for a in arguments))
    return (type(expr).__name__, *(_key(c, bound) for c in children(expr)))
