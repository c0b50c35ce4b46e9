"""Rewrite rules, each a named row with its condition, and the stable forms that are always on.

A scalar rule is two formulas over the unknowns u and v: where the first is found, the second stands for it. The rules
that move indices (softmax, log-sum-exp, log of a product, x·log x at 0) are functions, listed in the same table.
"Stable forms are meaning, not an optimization level": they hold for value and gradient, whatever the options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from chainrule.formula.expr import (
    MINUS_ONE,
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
    Power,
    Reduction,
    Symbol,
    Where,
    add,
    apply,
    as_number,
    children,
    compare,
    count_nodes,
    elements,
    free_indices,
    key,
    mul,
    negative,
    rebuild,
    same,
    split_coefficient,
    substitute,
    sum_over,
    symbols,
    where,
)
from chainrule.formula.parse import parse_expression

Definitions = Callable[[Element], Expr | None]


@dataclass(frozen=True)
class Rule:
    """`before` becomes `after` where `condition` holds; texts are formulas in u and v."""

    name: str
    before: str
    after: str
    condition: str = ""


# The scalar rules, tried in this order at every node.
SCALAR_RULES = (
    Rule("stable sigmoid", "1/(1 + exp(u))", "sigmoid(-u)"),
    Rule("stable sigmoid, second form", "exp(u)*sigmoid(-u)", "sigmoid(u)"),
    Rule("stable tanh", "(exp(u) - exp(-u))/(exp(u) + exp(-u))", "tanh(u)"),
    Rule("log of sigmoid", "log(sigmoid(u))", "-softplus(-u)"),
    Rule("log of 1 - sigmoid", "log(1 - sigmoid(u))", "-softplus(u)"),
    Rule("softplus", "log(1 + exp(u))", "softplus(u)"),
    Rule("log of exp", "log(exp(u))", "u"),
    Rule("log near 1", "log(1 + u)", "log1p(u)"),
    Rule("exp near 0", "exp(u) - 1", "expm1(u)"),
    Rule("relu", "max(u, 0)", "relu(u)", "the subgradient at u = 0 is 0"),
)

# The rules that are functions below; listed so that a reader finds every rewrite in one table.
INDEX_RULES = (
    Rule("stable softmax", "exp(u[k])/sum[k](exp(u[k]))", "softmax[k](u[k])"),
    Rule("stable log-sum-exp", "log(sum[k](exp(u[k])))", "logsumexp[k](u[k])"),
    Rule("log of softmax", "log(softmax[k](u[k]))", "log_softmax[k](u[k])"),
    Rule("log of a product", "log(u*v)", "log(u) + log(v)", "u > 0 has a stable logarithm"),
    Rule("0 log 0", "u*log(v)", "where(u == 0, 0, u*log(v))", "the limit at u = 0 is 0"),
)

# Used on derivatives, where the forward quantities are at hand.
SIGMOID_SYMMETRY = Rule("symmetry of sigmoid", "sigmoid(-u)", "1 - sigmoid(u)")

RULES = (*SCALAR_RULES, *INDEX_RULES, SIGMOID_SYMMETRY)


@dataclass(frozen=True)
class Rewrite:
    """One use of a rule, for the reader."""

    rule: str
    before: Expr
    after: Expr


# --- matching ---------------------------------------------------------------------------------------------------------


@cache
def _compiled(rule: Rule) -> tuple[Expr, Expr]:
    return parse_expression(rule.before), parse_expression(rule.after)


def match(pattern: Expr, expr: Expr, bound: Mapping[str, Expr]) -> Iterator[dict[str, Expr]]:
    """Every way in which `pattern`, whose symbols stand for anything, is `expr`."""
    if isinstance(pattern, Symbol):
        if pattern.name not in bound:
            yield {**bound, pattern.name: expr}
        elif same(bound[pattern.name], expr):
            yield dict(bound)
        return
    unknown = [s for s in symbols(pattern) if s not in bound]
    if not unknown:
        if same(fill(pattern, bound), expr):
            yield dict(bound)
        return
    if isinstance(pattern, Mul) and len(pattern.factors) == 2 and pattern.factors[0] == MINUS_ONE:
        yield from match(pattern.factors[1], negative(expr), bound)  # -u is anything: u is its negative
        return
    if type(pattern) is not type(expr):
        return
    if isinstance(pattern, Add | Mul):
        if len(children(pattern)) == len(children(expr)):
            yield from _match_any_order(children(pattern), children(expr), bound)
        return
    if isinstance(pattern, Apply) and isinstance(expr, Apply) and pattern.function != expr.function:
        return
    yield from _match_in_order(children(pattern), children(expr), bound)


def _match_in_order(
    patterns: tuple[Expr, ...], parts: tuple[Expr, ...], bound: Mapping[str, Expr]
) -> Iterator[dict[str, Expr]]:
    if not patterns:
        yield dict(bound)
        return
    for found in match(patterns[0], parts[0], bound):
        yield from _match_in_order(patterns[1:], parts[1:], found)


def _match_any_order(
    patterns: tuple[Expr, ...], parts: tuple[Expr, ...], bound: Mapping[str, Expr]
) -> Iterator[dict[str, Expr]]:
    if not patterns:
        yield dict(bound)
        return
    for n, part in enumerate(parts):
        for found in match(patterns[0], part, bound):
            yield from _match_any_order(patterns[1:], parts[:n] + parts[n + 1 :], found)


def fill(pattern: Expr, bound: Mapping[str, Expr]) -> Expr:
    """A pattern with its symbols replaced; unlike replace_symbols, a symbol in the filling stays."""
    if isinstance(pattern, Symbol):
        return bound.get(pattern.name, pattern)
    return rebuild(pattern, tuple(fill(c, bound) for c in children(pattern)))


def apply_rule(rule: Rule, expr: Expr) -> Expr | None:
    """The rewritten expression, or None where the rule does not fit at this node.

    A sum or product may have more terms than the pattern: the others are kept.
    """
    before, after = _compiled(rule)
    found = next(match(before, expr, {}), None)
    if found is not None:
        return fill(after, found)
    if isinstance(before, Add | Mul) and type(before) is type(expr) and len(children(expr)) > len(children(before)):
        return _apply_to_part(before, after, expr)
    return None


MAX_TERMS_TRIED = 12  # a sum of more terms is not searched for a part that fits


def _apply_to_part(before: Expr, after: Expr, expr: Expr) -> Expr | None:
    parts, patterns = list(children(expr)), children(before)
    if len(parts) > MAX_TERMS_TRIED:
        return None

    def search(n: int, left: list[Expr], bound: Mapping[str, Expr]) -> Expr | None:
        if n == len(patterns):
            return rebuild(expr, (fill(after, bound), *left))
        for position, part in enumerate(left):
            for found in match(patterns[n], part, bound):
                result = search(n + 1, left[:position] + left[position + 1 :], found)
                if result is not None:
                    return result
        return None

    return search(0, parts, {})


# --- the stable forms -------------------------------------------------------------------------------------------------


class Stabilizer:
    """Puts the stable forms into expressions, looking through definitions: log(p) where p = softmax(z)."""

    def __init__(self, definition: Definitions):
        self.definition = definition
        self.used: list[Rewrite] = []

    def stabilize(self, expr: Expr) -> Expr:
        """Rewrite from the leaves up until nothing more fits."""
        parts = children(expr)
        new = tuple(self.stabilize(p) for p in parts)
        if any(a is not b for a, b in zip(parts, new, strict=True)):
            expr = rebuild(expr, new)
        for _ in range(20):
            rewritten = self._once(expr)
            if rewritten is None:
                return expr
            self.used.append(Rewrite(rewritten[0], expr, rewritten[1]))
            expr = rewritten[1]
        return expr

    def _once(self, expr: Expr) -> tuple[str, Expr] | None:
        if isinstance(expr, Mul) and (result := self._softmax(expr)) is not None:
            return "stable softmax", result
        if isinstance(expr, Apply) and expr.function == "log":
            found = self._stable_log(expr.arguments[0])
            if found is not None:
                return found
        for rule in SCALAR_RULES:
            if (result := apply_rule(rule, expr)) is not None and result != expr:
                return rule.name, result
        if isinstance(expr, Mul) and (result := self._zero_log(expr)) is not None:
            return "0 log 0", result
        return None

    def _unfold(self, expr: Expr) -> Expr:
        """An element by its definition, where one is known."""
        if isinstance(expr, Element):
            return self.definition(expr) or expr
        return expr

    def _exponent(self, expr: Expr) -> Expr | None:
        """u where expr is exp(u)."""
        expr = self._unfold(expr)
        return expr.arguments[0] if isinstance(expr, Apply) and expr.function == "exp" else None

    def _softmax(self, product: Mul) -> Expr | None:
        """exp(u[k]) / sum[l](exp(u[l]))"""
        for factor in product.factors:
            if not (isinstance(factor, Power) and as_number(factor.exponent) == -1):
                continue
            total = self._unfold(factor.base)
            if not (isinstance(total, Reduction) and total.kind == "sum" and len(total.indices) == 1):
                continue
            inner = self._exponent(total.body)
            if inner is None:
                continue
            for other in product.factors:
                outer = self._exponent(other)
                if outer is None:
                    continue
                for index in sorted(free_indices(outer)):
                    if same(substitute(inner, {total.indices[0]: index}), outer):
                        rest = (f for f in product.factors if f is not factor and f is not other)
                        return mul(*rest, Normalized("softmax", index, outer))
        return None

    def _stable_log(self, argument: Expr) -> tuple[str, Expr] | None:
        whole = self._unfold(argument)
        match whole:
            case Normalized("softmax", index, body):
                return "log of softmax", Normalized("log_softmax", index, body)
            case Reduction("sum", indices, body) if (inner := self._exponent(body)) is not None:
                return "stable log-sum-exp", Reduction("logsumexp", indices, inner)
            case Mul(factors):
                return self._log_of_product(factors)
            case Power(base, Number() as exponent) if (found := self._log_of_positive(base)) is not None:
                return found[0], mul(exponent, found[1])
        unfolded = rebuild(whole, tuple(self._unfold_signed(c) for c in children(whole)))
        for rule in SCALAR_RULES:
            if rule.before.startswith("log(") and rule.name != "log near 1":
                result = apply_rule(rule, apply("log", unfolded))
                if result is not None:
                    return rule.name, result
        return None

    def _unfold_signed(self, term: Expr) -> Expr:
        """In 1 - p, the p by its definition."""
        coefficient, rest = split_coefficient(term)
        definition = self._unfold(rest)
        if isinstance(definition, Apply) and definition.function in ("sigmoid", "exp"):
            return mul(Number(coefficient), definition)
        return term

    def _log_of_positive(self, factor: Expr) -> tuple[str, Expr] | None:
        if isinstance(self._unfold(factor), Mul):
            return None
        return self._stable_log(factor)

    def _log_of_product(self, factors: tuple[Expr, ...]) -> tuple[str, Expr] | None:
        """log(t/p) = log t - log p where log p has a stable form, which says that p > 0."""
        for factor in factors:
            base, exponent = (factor.base, factor.exponent) if isinstance(factor, Power) else (factor, ONE)
            found = self._log_of_positive(base)
            if found is not None:
                rest = mul(*(f for f in factors if f is not factor))
                return "log of a product", add(apply("log", rest), mul(exponent, found[1]))
        return None

    def _zero_log(self, product: Mul) -> Expr | None:
        """u*log(v) is 0 where u is 0, as information theory wants; log(v) may be infinite there."""
        log = next((f for f in product.factors if _is_log(f)), None)
        if log is None:
            # u*(log(v) + w) is multiplied out first, so that each log meets its factor.
            split = next(
                (f for f in product.factors if isinstance(f, Add) and any(map(_has_log_factor, f.terms))), None
            )
            rest = [f for f in product.factors if f is not split and elements(f)]
            if split is None or not rest:
                return None
            others = [f for f in product.factors if f is not split]
            return add(*(self.stabilize(mul(*others, t)) for t in split.terms))
        mask = mul(*(f for f in product.factors if elements(f) and f is not log and not isinstance(f, Compare)))
        if isinstance(mask, Number):
            return None
        return where(compare("==", mask, ZERO), ZERO, product)


def _is_log(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.function in ("log", "log1p") and bool(elements(expr))


def _has_log_factor(term: Expr) -> bool:
    return any(map(_is_log, term.factors if isinstance(term, Mul) else (term,)))


# --- shape of derivatives ---------------------------------------------------------------------------------------------

MAX_EXPANDED_TERMS = 64  # beyond this a product is not multiplied out


def expand(expr: Expr) -> Expr:
    """Products multiplied out over sums, and sums split term by term."""
    parts = tuple(expand(c) for c in children(expr))
    expr = rebuild(expr, parts)
    match expr:
        case Mul(factors) if any(isinstance(f, Add) for f in factors):
            products: list[Expr] = [ONE]
            for factor in factors:
                choices = factor.terms if isinstance(factor, Add) else (factor,)
                if len(products) * len(choices) > MAX_EXPANDED_TERMS:
                    return expr
                products = [mul(p, c) for p in products for c in choices]
            return add(*products)
        case Reduction("sum", indices, Add(terms)):
            return add(*(sum_over(indices, t) for t in terms))
    return expr


def signs_tidied(expr: Expr) -> Expr:
    """-t + p is written p - t, and -2*(t - p) is written 2*(p - t): minus signs as few and as late as can be."""
    match expr:
        case Add(terms) if split_coefficient(terms[0])[0] < 0:
            leading = next((t for t in terms if split_coefficient(t)[0] > 0), None)
            return expr if leading is None else Add((leading, *(t for t in terms if t is not leading)))
        case Mul((Number(value), *rest)) if value < 0:
            flipped = next((f for f in rest if isinstance(f, Add) and _has_minus(f)), None)
            if flipped is not None:
                turned = signs_tidied(add(*(negative(t) for t in flipped.terms)))
                return mul(Number(-value), *(turned if f is flipped else f for f in rest))
    return expr


def _has_minus(expr: Add) -> bool:
    return any(split_coefficient(t)[0] < 0 for t in expr.terms)


def shorter(first: Expr, second: Expr) -> Expr:
    """The smaller of two equal expressions; the first where they tie."""
    return second if count_nodes(second) < count_nodes(first) else first


# --- Kronecker deltas -------------------------------------------------------------------------------------------------


def has_delta(expr: Expr) -> bool:
    return isinstance(expr, Delta) or any(has_delta(c) for c in children(expr))


def expose_deltas(expr: Expr) -> list[Expr]:
    """`expr`, linear in Kronecker deltas, as terms that have their deltas as factors, so that sums can use them up."""
    if not has_delta(expr):
        return [expr]
    match expr:
        case Add(terms):
            return [t for term in terms for t in expose_deltas(term)]
        case Mul(factors):
            found: list[Expr] = [ONE]
            for factor in factors:
                found = [mul(a, b) for a in found for b in expose_deltas(factor)]
            return found
        case Reduction("sum", indices, body):
            summed = [sum_over(indices, t) for t in expose_deltas(body)]
            return [t for s in summed for t in (expose_deltas(s) if isinstance(s, Add) else [s])]
        case Where(condition, yes, no):
            taken = [_masked(condition, t, first=True) for t in expose_deltas(yes) if t != ZERO]
            left = [_masked(condition, t, first=False) for t in expose_deltas(no) if t != ZERO]
            return _paired(condition, expose_deltas(yes), expose_deltas(no)) or [*taken, *left]
    return [expr]


def _split_deltas(term: Expr) -> tuple[list[Expr], Expr]:
    factors = term.factors if isinstance(term, Mul) else (term,)
    return [f for f in factors if isinstance(f, Delta)], mul(*(f for f in factors if not isinstance(f, Delta)))


def _masked(condition: Expr, term: Expr, *, first: bool) -> Expr:
    deltas, rest = _split_deltas(term)
    return mul(*deltas, where(condition, rest, ZERO) if first else where(condition, ZERO, rest))


def _paired(condition: Expr, yes: list[Expr], no: list[Expr]) -> list[Expr] | None:
    """where(c, δ u, δ v) = δ where(c, u, v)"""
    if len(yes) != 1 or len(no) != 1:
        return None
    (first, u), (second, v) = _split_deltas(yes[0]), _split_deltas(no[0])
    if not first or {key(d) for d in first} != {key(d) for d in second}:
        return None
    return [mul(*first, where(condition, u, v))]
