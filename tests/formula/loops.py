"""The value of an expression at one position, by recursion and loops over plain floats: simpler than evaluate."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule.formula.expr import (
    Add,
    Apply,
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Position,
    Power,
    Reduction,
    Size,
    Symbol,
    Where,
)

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": math.exp,
    "log": lambda a: math.log(a) if a > 0 else -math.inf if a == 0 else math.nan,
    "log1p": math.log1p,
    "expm1": math.expm1,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "erf": math.erf,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "softplus": lambda a: math.log1p(math.exp(-abs(a))) + max(a, 0.0),
    "relu": lambda a: max(a, 0.0),
    "abs": abs,
    "max": max,
    "min": min,
    "step": lambda a: float(a > 0),
    "sign": lambda a: float((a > 0) - (a < 0)),
    "floor": math.floor,
}
COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def value_at(
    expr: Expr,
    at: Mapping[str, int],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    sizes: Mapping[str, int],
    scalars: Mapping[str, float],
) -> float:
    """`at` holds the value of every free index."""

    def value(part: Expr, at: Mapping[str, int] = at) -> float:
        return value_at(part, at, arrays, sizes, scalars)

    def position(slot: str | int) -> int:
        return slot if isinstance(slot, int) else at[slot]

    match expr:
        case Number(number):
            return float(number)
        case Symbol(name):
            return scalars[name]
        case Size(index):
            return float(sizes[index])
        case Position(index):
            return float(at[index])
        case Delta(left, right):
            return float(position(left) == position(right))
        case Element(tensor, slots):
            return float(arrays[tensor][tuple(position(s) for s in slots)])
        case Add(terms):
            return math.fsum(value(t) for t in terms)
        case Mul(factors):
            return math.prod(value(f) for f in factors)
        case Power(base, exponent):
            return float(value(base) ** value(exponent))
        case Apply(function, arguments):
            return float(FUNCTIONS[function](*(value(a) for a in arguments)))
        case Compare(sign, left, right):
            return float(COMPARE[sign](value(left), value(right)))
        case Where(condition, yes, no):
            return value(yes) if value(condition) != 0 else value(no)
        case Normalized(kind, index, body):
            powers = [math.exp(value(body, {**at, index: n})) for n in range(sizes[index])]
            share = powers[at[index]] / math.fsum(powers)
            return share if kind == "softmax" else math.log(share)
        case Reduction(kind, indices, body):
            every = itertools.product(*(range(sizes[i]) for i in indices))
            values = [value(body, {**at, **dict(zip(indices, places, strict=True))}) for places in every]
            reduce: dict[str, Callable[[list[float]], float]] = {
                "sum": math.fsum,
                "max": max,
                "min": min,
                "logsumexp": lambda v: math.log(math.fsum(map(math.exp, v))),
            }
            return float(reduce[kind](values))
    raise AssertionError(expr)
