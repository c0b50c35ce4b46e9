"""The parts of sums and products, as the normal form of prove.py takes them apart."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeGuard

from chainrule.formula.expr import (
    MINUS_ONE,
    Add,
    Compare,
    Delta,
    Expr,
    Mul,
    Number,
    Power,
    Reduction,
    add,
    free_indices,
    key,
    mul,
    negative,
    power,
    split_coefficient,
)

MAX_POWER = 6  # of a sum that is multiplied out


def terms_of(expr: Expr) -> tuple[Expr, ...]:
    return expr.terms if isinstance(expr, Add) else (expr,)


def factors_of(term: Expr) -> list[Expr]:
    return list(term.factors) if isinstance(term, Mul) else [term]


def base_of(factor: Expr) -> Expr:
    return factor.base if isinstance(factor, Power) else factor


def opened_up(factor: Expr) -> tuple[Expr, ...]:
    """The terms that a factor is multiplied out into; a square as (u + v)*u + (u + v)*v."""
    match factor:
        case Add(terms):
            return terms
        case Power(Add(terms), Number(value)) if value.denominator == 1 and 1 < value <= MAX_POWER:
            return tuple(mul(t, power(factor.base, Number(value - 1))) for t in terms)
    return (factor,)


def copies_of(factor: Expr, indices: set[str]) -> list[Expr]:
    """(Σ_l u_kl)**2 under a sum over k is the product of two sums."""
    match factor:
        case Power(Reduction("sum", _, _) as base, Number(value)) if (
            value.denominator == 1 and 1 < value <= MAX_POWER and free_indices(base) & indices
        ):
            return [base] * int(value)
    return [factor]


def ordered_terms(expr: Expr) -> list[Expr]:
    return sorted(terms_of(expr), key=lambda t: repr(key(split_coefficient(t)[1])))


def first_sign(expr: Expr) -> int:
    return -1 if split_coefficient(ordered_terms(expr)[0])[0] < 0 else 1


def leading_term(base: Add) -> tuple[Fraction, Expr] | None:
    """The first term of a sum that is one factor alone: what a numerator is reduced by."""
    for term in ordered_terms(base):
        coefficient, rest = split_coefficient(term)
        if isinstance(rest, Mul | Number):
            continue
        others = [t for t in base.terms if t is not term]
        elsewhere = any(key(base_of(f)) == key(base_of(rest)) for t in others for f in factors_of(t))
        if not elsewhere and not isinstance(rest, Power):
            return coefficient, rest
    return None


def content_of(base: Add) -> tuple[Expr, Expr]:
    """(c, v) with base = c*v: numbers, and what divides every term, taken out, so that equal sums look alike."""
    first = ordered_terms(base)[0]
    exponents: dict[object, tuple[Expr, list[Fraction]]] = {}
    for position, term in enumerate(base.terms):
        seen = {}
        for factor in factors_of(term):
            e = factor.exponent.value if isinstance(factor, Power) and isinstance(factor.exponent, Number) else None
            if isinstance(factor, Number) or (isinstance(factor, Power) and e is None):
                continue
            seen[key(base_of(factor))] = (base_of(factor), e if e is not None else Fraction(1))
        for k, (b, e) in seen.items():
            exponents.setdefault(k, (b, [Fraction(0)] * position))[1].append(e)
        for k, (_, found) in exponents.items():
            if k not in seen:
                found.append(Fraction(0))
    common = [power(b, Number(min(found))) for b, found in exponents.values() if min(found) != 0]
    content = mul(Number(abs(split_coefficient(first)[0])), *common)
    inverse = power(content, MINUS_ONE)
    rest = add(*(mul(t, inverse) for t in base.terms))
    if isinstance(rest, Add) and first_sign(rest) < 0:
        return negative(content), add(*(negative(t) for t in rest.terms))
    return content, rest


def is_divisor(factor: Expr) -> TypeGuard[Power]:
    """Whether a factor stands below the line."""
    return isinstance(factor, Power) and isinstance(factor.exponent, Number) and factor.exponent.value < 0


def is_bracket(expr: Expr) -> bool:
    """Whether an expression is 0 or 1 by its form."""
    return all(isinstance(f, Compare | Delta) for f in factors_of(expr))
