"""One scalar formula → its derivative, keeping every step.

`differentiate` works on a tensor element (with Kronecker deltas for its indices) and on a scalar symbol alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from chainrule.derivation import rules
from chainrule.derivation.rules import Step
from chainrule.errors import NotDifferentiable
from chainrule.formula.expr import (
    ONE,
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
    Position,
    Power,
    Reduction,
    Size,
    Slot,
    Symbol,
    Where,
    add,
    apply,
    compare,
    delta,
    divide,
    fresh_index,
    index_names,
    mul,
    power,
    replace_symbols,
    substitute,
    subtract,
    sum_over,
    transform,
    walk,
    where,
)
from chainrule.formula.functions import ARGUMENTS, FUNCTIONS
from chainrule.formula.parse import Vocabulary, parse_expression
from chainrule.formula.simplify import Stabilizer, expand, shorter, signs_tidied
from chainrule.messages import say


@dataclass(frozen=True)
class Derivative:
    """What `derive` returns: the result, and the steps from the formula to it."""

    of: Expr
    by: str
    result: Expr
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        from chainrule.formula.text import Printer

        return Printer().text(self.result)


def derive(text: str, by: str, vocabulary: Vocabulary | None = None) -> Derivative:
    """Derive a scalar formula with respect to a symbol, keeping every step.

    Raises: NotDifferentiable, naming the function; FormulaError where the text does not read.
    Example:
    >>> str(derive("x**2", "x"))
    '2*x'
    """
    expr = Stabilizer(lambda _: None).stabilize(parse_expression(text, vocabulary=vocabulary or Vocabulary()))
    trace: list[Step] = []
    raw = differentiate(expr, Symbol(by), trace)
    result = tidy(raw)
    if result != raw:
        trace.append(Step(rules.COLLECT.name, raw, result))
    return Derivative(expr, by, result, tuple(trace))


def tidy(expr: Expr) -> Expr:
    """The shorter of the factored and the multiplied-out form."""
    return transform(expr, lambda node: signs_tidied(shorter(node, expand(node))))


@cache
def function_derivative(function: str, argument: int) -> Expr | None:
    """f′ as a formula in a (and b); None where the function has no derivative."""
    formulas = FUNCTIONS[function].derivatives
    return parse_expression(formulas[argument]) if formulas else None


def depends_on(expr: Expr, wrt: Element | Symbol) -> bool:
    """Whether `wrt` (any element of its tensor) occurs."""
    if isinstance(wrt, Symbol):
        return any(node == wrt for node in walk(expr))
    return any(isinstance(node, Element) and node.tensor == wrt.tensor for node in walk(expr))


def differentiate(expr: Expr, wrt: Element | Symbol, trace: list[Step] | None = None) -> Expr:
    """d expr / d wrt. The indices of `wrt` must be names that mean nothing inside `expr`, or its own free ones.

    Raises: NotDifferentiable for a function without a derivative in the way.
    """
    return _Differentiator(wrt, trace if trace is not None else []).of(expr)


@dataclass
class _Differentiator:
    wrt: Element | Symbol
    trace: list[Step] = field(default_factory=list)

    def of(self, expr: Expr) -> Expr:
        if not depends_on(expr, self.wrt):
            return ZERO
        rule, result = self._rule(expr)
        self.trace.append(Step(rule.name, expr, result))
        return result

    def _rule(self, expr: Expr) -> tuple[rules.Rule, Expr]:
        match expr:
            case Symbol():
                return rules.IDENTITY, ONE
            case Element(_, slots):
                return rules.KRONECKER, self._element(slots)
            case Number() | Size() | Position() | Delta() | Compare():
                return rules.CONSTANT, ZERO  # a comparison is constant almost everywhere
            case Add(terms):
                return rules.SUM, add(*(self.of(t) for t in terms))
            case Mul(factors):
                return rules.PRODUCT, self._product(factors)
            case Power(base, Number(c)):
                return rules.POWER, mul(Number(c), power(base, Number(c - 1)), self.of(base))
            case Power(base, exponent):
                inner = add(mul(self.of(exponent), apply("log", base)), mul(exponent, divide(self.of(base), base)))
                return rules.EXPONENTIAL, mul(expr, inner)
            case Apply():
                return rules.CHAIN, self._apply(expr)
            case Where(condition, yes, no):
                return rules.CHOICE, where(condition, self.of(yes), self.of(no))
            case Reduction():
                return self._reduction(expr)
            case Normalized():
                return self._normalized(expr)
        raise AssertionError(f"unknown node {type(expr).__name__}")

    def _element(self, slots: tuple[Slot, ...]) -> Expr:
        assert isinstance(self.wrt, Element)
        return mul(*(delta(own, other) for own, other in zip(slots, self.wrt.slots, strict=True)))

    def _product(self, factors: tuple[Expr, ...]) -> Expr:
        terms = []
        for n, factor in enumerate(factors):
            inner = self.of(factor)
            if inner != ZERO:
                terms.append(mul(inner, *(f for m, f in enumerate(factors) if m != n)))
        return add(*terms)

    def _apply(self, expr: Apply) -> Expr:
        terms = []
        for n, argument in enumerate(expr.arguments):
            inner = self.of(argument)
            if inner == ZERO:
                continue
            outer = function_derivative(expr.function, n)
            if outer is None:
                raise NotDifferentiable(say("derivation.no_derivative", function=expr.function))
            values = dict(zip(ARGUMENTS, expr.arguments, strict=False))
            terms.append(mul(replace_symbols(outer, values), inner))
        return add(*terms)

    def _own_names(self) -> set[str]:
        return {s for s in self.wrt.slots if isinstance(s, str)} if isinstance(self.wrt, Element) else set()

    def _apart(self, indices: tuple[str, ...], body: Expr) -> tuple[tuple[str, ...], Expr]:
        """Bound indices renamed where they have the name of an index of `wrt`."""
        taken = index_names(body) | self._own_names()
        renamed: dict[str, Slot] = {}
        for index in indices:
            if index in self._own_names():
                renamed[index] = fresh_index(index, taken)
                taken.add(str(renamed[index]))
        return tuple(str(renamed.get(i, i)) for i in indices), substitute(body, renamed)

    def _reduction(self, expr: Reduction) -> tuple[rules.Rule, Expr]:
        indices, body = self._apart(expr.indices, expr.body)
        if expr.kind == "sum":
            return rules.SUM_OVER, sum_over(indices, self.of(body))
        if expr.kind == "logsumexp":
            weight: Expr = apply("exp", subtract(body, expr))
            if len(indices) == 1:
                weight = Normalized("softmax", indices[0], body)
            return rules.LOG_SUM_EXP, sum_over(indices, mul(weight, self.of(body)))
        chosen = compare("==", body, expr)
        share = divide(chosen, Reduction("sum", expr.indices, compare("==", expr.body, expr)))
        return rules.EXTREME, sum_over(indices, mul(share, self.of(body)))

    def _normalized(self, expr: Normalized) -> tuple[rules.Rule, Expr]:
        k = expr.index
        other = fresh_index(k, index_names(expr.body) | self._own_names() | {k})
        there = substitute(expr.body, {k: other})
        mean = sum_over([other], mul(Normalized("softmax", other, there), self.of(there)))
        inner = subtract(self.of(expr.body), mean)
        if expr.kind == "log_softmax":
            return rules.LOG_SOFTMAX, inner
        return rules.SOFTMAX, mul(expr, inner)
