"""Whether two expressions are equal, by bringing their difference to a normal form.

The normal form is a sum of products: everything is multiplied out, nested sums are merged and split into parts that
share no index, like terms are collected (`expr.key` forgets order and the names of bound indices), fractions are
reduced, functions are written by few (σ, tanh and softmax by exp; relu, abs and max by brackets [u > 0]). Where the
difference does not vanish as it stands, quantities are replaced by their definitions, the last computed first, until
only inputs, targets and parameters are left.

The proof is one-sided: a difference that does not vanish proves nothing. It is asked for only where random numbers
agree, so that steps such as sqrt(u**2) = u, true of positive u, cannot make a wrong claim right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from chainrule.derivation.claims.terms import (
    MAX_POWER,
    base_of,
    content_of,
    copies_of,
    factors_of,
    first_sign,
    is_bracket,
    is_divisor,
    leading_term,
    opened_up,
    ordered_terms,
    terms_of,
)
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
    Position,
    Power,
    Reduction,
    Size,
    Slot,
    Where,
    add,
    as_number,
    base_index,
    compare,
    delta,
    free_indices,
    fresh_index,
    index_names,
    key,
    mul,
    negative,
    number,
    power,
    split_coefficient,
    substitute,
    subtract,
    tensors,
    transform,
    walk,
)
from chainrule.formula.system import Fact

MAX_TERMS = 600  # of a product that is multiplied out; beyond it the claim counts as not proved
MAX_BOUND = 5  # indices of one sum: whether two are the same is decided by trying all orders
# Factors that are multiplied in one proof. No clock, so that a verdict is the same on every machine.
MAX_FACTORS = 60_000

Definition = tuple[Element, Expr]


class _GivenUp(Exception):
    """The normal form grew too large, or takes too much work."""


class Prover:
    """Proofs with the definitions of one derivation.

    `order` lists the names that have a definition in the order in which they are computed; `facts` are what the text
    declares of its data, and what else is known to be constant (a softmax sums to 1).
    """

    def __init__(
        self,
        definitions: Mapping[str, Definition],
        order: Sequence[str],
        facts: Iterable[Fact],
        samples: str = "n",
    ):
        self.definitions = definitions
        self.order = order
        self.samples = samples
        self.factors = 0
        self.facts = {key(f.left): f.right for f in facts if f.operator == "=="}
        for name in order:
            target, value = definitions[name]
            if isinstance(value, Normalized) and value.kind == "softmax" and value.index in target.slots:
                self.facts[key(Reduction("sum", (value.index,), target))] = ONE

    def equal(self, left: Expr, right: Expr) -> bool:
        """Whether left - right is 0 by the rules above; False says only that no proof was found."""
        self.factors = 0
        difference = subtract(left, right)
        try:
            if difference == ZERO:
                return True
            for name in (None, *reversed(self.order)):
                if name is not None:
                    if name not in tensors(difference):
                        continue
                    difference = self._unfolded(difference, name)
                if self._vanishes(self.normal(difference)):
                    return True
        except (_GivenUp, RecursionError):
            return False
        return False

    # --- definitions

    def _unfolded(self, expr: Expr, name: str) -> Expr:
        target, value = self.definitions[name]
        value = self._without_normalized(value)

        def change(node: Expr) -> Expr:
            if isinstance(node, Element) and node.tensor == name:
                slots: dict[str, Slot] = {str(a): b for a, b in zip(target.slots, node.slots, strict=True) if a != b}
                return substitute(value, slots)
            return node

        return transform(self._without_normalized(expr), change)

    def _without_normalized(self, expr: Expr) -> Expr:
        """Softmax by its definition: exp(u[k]) over a sum of its own index."""

        def change(node: Expr) -> Expr:
            if isinstance(node, Normalized):
                other = fresh_index(node.index, index_names(node.body) | {node.index})
                total = Reduction("sum", (other,), Apply("exp", (substitute(node.body, {node.index: other}),)))
                if node.kind == "softmax":
                    return Mul((Apply("exp", (node.body,)), Power(total, MINUS_ONE)))
                return subtract(node.body, Apply("log", (total,)))
            if isinstance(node, Reduction) and node.kind == "logsumexp":
                return Apply("log", (Reduction("sum", node.indices, Apply("exp", (node.body,))),))
            return node

        return transform(expr, change)

    # --- the normal form

    def normal(self, expr: Expr) -> Expr:
        """A sum of products."""
        self._spend(1)
        match expr:
            case Add(terms):
                return self._limited(add(*map(self.normal, terms)))
            case Mul(factors):
                return self.product(list(map(self.normal, factors)))
            case Power(base, exponent):
                return self._power(self.normal(base), self.normal(exponent))
            case Apply(function, arguments):
                return self._apply(function, arguments)
            case Compare(operator, left, right):
                return self._bracket(operator, left, right)
            case Where(condition, yes, no):
                return self._where(condition, yes, no)
            case Reduction("sum", indices, body):
                return self._sum(indices, self.normal(body))
            case Reduction(kind, indices, body) if kind != "logsumexp":
                return Reduction(kind, indices, self.normal(body))
            case Reduction() | Normalized():
                return self.normal(self._without_normalized(expr))
        return expr

    def _spend(self, factors: int) -> None:
        self.factors += factors
        if self.factors > MAX_FACTORS:
            raise _GivenUp

    def _limited(self, expr: Expr) -> Expr:
        if isinstance(expr, Add) and len(expr.terms) > MAX_TERMS:
            raise _GivenUp
        return expr

    def product(self, parts: Sequence[Expr]) -> Expr:
        """The product of normal forms, multiplied out."""
        self._spend(len(parts))
        collected = mul(*parts)  # u and 1/u cancel before anything is multiplied out
        factors = collected.factors if isinstance(collected, Mul) else (collected,)
        products: list[Expr] = [ONE]
        opened = False
        for factor in factors:
            choices = opened_up(factor)
            opened = opened or len(choices) > 1
            if len(products) * len(choices) > MAX_TERMS:
                raise _GivenUp
            self._spend(2 * len(products) * len(choices))
            products = [mul(p, c) for p in products for c in choices]
        if not opened:
            return self._term(collected)
        # What was multiplied out may have made powers of sums again: (u + v)(u + v) is collected as a square.
        return self._limited(add(*(self._again(p) for p in products)))

    def _again(self, term: Expr) -> Expr:
        factors = term.factors if isinstance(term, Mul) else (term,)
        return self.product(factors) if any(len(opened_up(f)) > 1 for f in factors) else self._term(term)

    def _term(self, term: Expr) -> Expr:
        """One product: brackets that exclude each other, fractions such as u/(1 + u)."""
        factors = list(term.factors) if isinstance(term, Mul) else [term]
        for bracket in factors:
            if isinstance(bracket, Compare) and bracket.operator == "==" and bracket.right == ZERO:
                if any(key(base_of(f)) == key(bracket.left) for f in factors if f is not bracket):
                    return ZERO  # [u == 0]*u
                chosen = next((c for f in factors if (c := _chosen(f, bracket)) is not None), None)
                if chosen is not None:
                    by, value = chosen
                    return self.product([value, *(f for f in factors if f is not by)])
        for divisor in factors:
            if not (isinstance(divisor, Power) and isinstance(divisor.base, Add)):
                continue
            found = self._numerator(divisor, factors)
            if found is not None:
                return found
        return term

    def _numerator(self, divisor: Power, factors: list[Expr]) -> Expr | None:
        """u*(c*u + v)**-m = ((c*u + v)**(1 - m) - v*(c*u + v)**-m)/c for the first u of the sum, while there is one."""
        assert isinstance(divisor.base, Add)
        exponent = divisor.exponent
        if not (isinstance(exponent, Number) and exponent.value < 0):
            return None
        leading = leading_term(divisor.base)
        if leading is None:
            return None
        coefficient, unknown = leading
        for factor in factors:
            power_of = factor.exponent if isinstance(factor, Power) else ONE
            if key(base_of(factor)) != key(unknown) or not (isinstance(power_of, Number) and power_of.value >= 1):
                continue
            others = [f for f in factors if f is not factor and f is not divisor]
            rest = subtract(divisor.base, mul(Number(coefficient), unknown))
            lower = power(unknown, Number(power_of.value - 1))
            whole = mul(*others, lower, power(divisor.base, Number(exponent.value + 1)), Number(1 / coefficient))
            less = self.product([*others, lower, divisor, negative(rest), Number(1 / coefficient)])
            return add(self._again(whole), less)
        return None

    def _power(self, base: Expr, exponent: Expr) -> Expr:
        if not isinstance(exponent, Number):
            return self._exp(self.product([exponent, self._log(base)]))
        value = exponent.value
        if isinstance(base, Add) and value.denominator == 1 and 1 < value <= MAX_POWER:
            result: Expr = base
            for _ in range(int(value) - 1):
                result = self._times(result, base)
            return result
        if isinstance(base, Add) and not 0 < value == int(value):
            content, rest = content_of(base)
            return self.product([power(content, exponent), power(rest, exponent)])
        if isinstance(base, Mul):
            return self.product([self._power(f, exponent) for f in base.factors])
        if isinstance(base, Power) and isinstance(base.exponent, Number):
            return self._power(base.base, Number(base.exponent.value * value))
        return power(base, exponent)

    def _times(self, left: Expr, right: Expr) -> Expr:
        """Two sums multiplied out, term by term."""
        pairs = [(a, b) for a in terms_of(left) for b in terms_of(right)]
        if len(pairs) > MAX_TERMS:
            raise _GivenUp
        return add(*(self.product([a, b]) for a, b in pairs))

    # functions

    def _apply(self, function: str, arguments: tuple[Expr, ...]) -> Expr:
        u = arguments[0]
        match function:
            case "exp":
                return self._exp(self.normal(u))
            case "log":
                return self._log(self.normal(u))
            case "log1p":
                return self._log(self.normal(add(ONE, u)))
            case "expm1":
                return subtract(self._exp(self.normal(u)), ONE)
            case "sigmoid":
                return self.normal(Power(Add((ONE, Apply("exp", (negative(u),)))), MINUS_ONE))
            case "tanh":
                e = Apply("exp", (mul(number(2), u),))
                return self.normal(Mul((Add((e, MINUS_ONE)), Power(Add((e, ONE)), MINUS_ONE))))
            case "softplus":
                return self._log(self.normal(Add((ONE, Apply("exp", (u,))))))
            case "relu":
                return self.product([self.normal(u), self._bracket(">", u, ZERO)])
            case "step":
                return self._bracket(">", u, ZERO)
            case "sign":
                return subtract(self._bracket(">", u, ZERO), self._bracket("<", u, ZERO))
            case "abs":
                return self.product([self.normal(u), self._apply("sign", arguments)])
            case "max":
                v = arguments[1]
                return add(self.normal(v), self.product([self.normal(subtract(u, v)), self._bracket(">", u, v)]))
            case "min":
                v = arguments[1]
                return add(self.normal(v), self.product([self.normal(subtract(u, v)), self._bracket("<", u, v)]))
        inner = tuple(map(self.normal, arguments))
        if function in ("sin", "erf") and len(inner) == 1 and first_sign(inner[0]) < 0:
            return negative(Apply(function, (negative(inner[0]),)))
        if function == "cos" and first_sign(inner[0]) < 0:
            return Apply(function, (negative(inner[0]),))
        return Apply(function, inner)

    def _exp(self, u: Expr) -> Expr:
        """exp(2u - v) = exp(u)**2 * exp(v)**-1"""
        parts: list[Expr] = []
        for term in terms_of(u):
            coefficient, rest = split_coefficient(term)
            if isinstance(rest, Apply) and rest.function == "log":
                parts.append(self._power(rest.arguments[0], Number(coefficient)))
            elif rest == ONE:
                parts.append(ONE if coefficient == 0 else power(Apply("exp", (ONE,)), Number(coefficient)))
            else:
                parts.append(power(Apply("exp", (rest,)), Number(coefficient)))
        return mul(*parts)

    def _log(self, u: Expr) -> Expr:
        """log(u**2 * v) = 2*log(u) + log(v), log(exp(u)) = u"""
        if u == ONE:
            return ZERO
        content, rest = content_of(u) if isinstance(u, Add) else (ONE, u)
        factors = [*factors_of(content), *factors_of(rest)]
        terms: list[Expr] = []
        for factor in factors:
            if factor == ONE:
                continue
            base, exponent = (factor.base, factor.exponent) if isinstance(factor, Power) else (factor, ONE)
            inner = base.arguments[0] if isinstance(base, Apply) and base.function == "exp" else Apply("log", (base,))
            terms.append(self.product([exponent, inner]))
        return add(*terms)

    def _bracket(self, operator: str, left: Expr, right: Expr) -> Expr:
        """Brackets by [u > 0] and [u == 0]; [u >= 0] is 1 - [-u > 0]."""
        if right == ZERO and isinstance(left, Apply) and left.function == "relu" and operator == ">":
            left = left.arguments[0]
        match (operator, left, right):
            case ("==", Position(index), Number(value)) | ("==", Number(value), Position(index)):
                return delta(index, int(value)) if value.denominator == 1 and value >= 0 else ZERO
        if operator in ("<", "<="):
            operator, left, right = {"<": ">", "<=": ">="}[operator], right, left
        if operator == ">=":
            return subtract(ONE, self._bracket(">", right, left))
        if operator == "!=":
            return subtract(ONE, self._bracket("==", left, right))
        u = self.normal(subtract(left, right))
        if isinstance(u, Number):
            return compare(operator, u, ZERO)
        size = abs(split_coefficient(ordered_terms(u)[0])[0])
        if operator == "==" and first_sign(u) < 0:
            size = -size
        u = add(*(mul(Number(1 / size), t) for t in terms_of(u)))
        return Compare(operator, u, ZERO)

    def _where(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        c = self.normal(condition)
        if not (isinstance(condition, Compare) or is_bracket(c)):
            c = subtract(ONE, self._bracket("==", condition, ZERO))
        return add(self.product([c, self.normal(yes)]), self.product([subtract(ONE, c), self.normal(no)]))

    # sums

    def _sum(self, indices: tuple[str, ...], body: Expr) -> Expr:
        """Σ of a normal form, term by term. The samples' sum comes last: facts hold within a sample."""
        inner = tuple(i for i in indices if base_index(i) != self.samples)
        if inner and len(inner) < len(indices):
            return self._sum(tuple(i for i in indices if i not in inner), self._sum(inner, body))
        return self._limited(add(*(self._sum_of_product(indices, t) for t in terms_of(body))))

    def _sum_of_product(self, indices: tuple[str, ...], term: Expr) -> Expr:
        self._spend(1)
        factors: list[Expr] = []
        bound = list(indices)
        taken = index_names(term) | set(indices)
        for factor in factors_of(term):
            for copy in copies_of(factor, set(indices)):
                if isinstance(copy, Reduction) and copy.kind == "sum" and free_indices(copy) & set(indices):
                    own: dict[str, Slot] = {}
                    for index in copy.indices:
                        own[index] = fresh_index(index, taken)
                        taken.add(str(own[index]))
                    factors += factors_of(substitute(copy.body, own))
                    bound += [str(own[i]) for i in copy.indices]
                else:
                    factors.append(copy)
        for factor in factors:
            if isinstance(factor, Delta):
                for own_slot, other in ((factor.left, factor.right), (factor.right, factor.left)):
                    if own_slot in bound:
                        rest = mul(*(f for f in factors if f is not factor))
                        bound = [b for b in bound if b != own_slot]
                        left = self.normal(substitute(rest, {str(own_slot): other}))
                        return self._sum(tuple(bound), left) if bound else left
        if len(bound) > MAX_BOUND:
            raise _GivenUp
        return self.product(self._components(factors, bound))

    def _components(self, factors: list[Expr], bound: list[str]) -> list[Expr]:
        """Σ_kl u_k v_l w = w Σ_k u_k Σ_l v_l: the parts that share no index, each a sum of its own."""
        groups: list[tuple[set[str], list[Expr]]] = []
        outside: list[Expr] = []
        for factor in factors:
            own = set(free_indices(factor)) & set(bound)
            if not own:
                outside.append(factor)
                continue
            meeting = [g for g in groups if g[0] & own]
            groups = [g for g in groups if g not in meeting]
            groups.append((own.union(*(g[0] for g in meeting)), [f for g in meeting for f in g[1]] + [factor]))
        used = set().union(*(g[0] for g in groups)) if groups else set()
        outside += [Size(base_index(b)) for b in bound if b not in used]
        for own, parts in groups:
            part = Reduction("sum", tuple(b for b in bound if b in own), mul(*parts))
            outside.append(self.facts.get(key(part), part))
        return outside

    # --- zero or not

    def _vanishes(self, difference: Expr) -> bool:
        if difference == ZERO:
            return True
        cleared = self._cleared(difference)
        if cleared == ZERO:
            return True
        return self._vanishes_by_sums(cleared)

    def _cleared(self, expr: Expr) -> Expr:
        """Multiplied by its denominators, one after the other."""
        for _ in range(8):
            divisor = next((f for t in terms_of(expr) for f in factors_of(t) if is_divisor(f)), None)
            if divisor is None:
                return expr
            base = base_of(divisor)
            powers = [f for t in terms_of(expr) for f in factors_of(t) if is_divisor(f) and key(f.base) == key(base)]
            least = min(as_number(f.exponent) or Fraction(0) for f in powers)
            expr = add(*(self.product([t, power(base, Number(-least))]) for t in terms_of(expr)))
        return expr

    def _vanishes_by_sums(self, difference: Expr) -> bool:
        """Terms u Σ_k v_k with the same u and the same kind of indices, put into one sum: is what is summed 0?"""
        groups: dict[object, list[Expr]] = {}
        for term in terms_of(difference):
            factors = factors_of(term)
            sums = [f for f in factors if isinstance(f, Reduction) and f.kind == "sum"]
            if len(sums) != 1:
                return False
            own = sorted(sums[0].indices, key=lambda i: (base_index(i), i))
            names = [f"{base_index(i)}{chr(39) * (n + 1)}" for n, i in enumerate(own)]
            if set(names) & (free_indices(term) | index_names(sums[0].body)):
                parked: dict[str, Slot] = {i: f"{i}''''" for i in own}
                body = substitute(sums[0].body, parked)
                body = substitute(body, {str(parked[i]): n for i, n in zip(own, names, strict=True)})
            else:
                body = substitute(sums[0].body, dict(zip(own, names, strict=True)))
            coefficient, _ = split_coefficient(term)
            outside = mul(*(f for f in factors if f is not sums[0] and not isinstance(f, Number)))
            groups.setdefault((key(outside), tuple(names)), []).append(mul(Number(coefficient), body))
        return all(self._vanishes(self.normal(add(*bodies))) for bodies in groups.values() if len(bodies) > 0) and all(
            len(bodies) > 1 for bodies in groups.values()
        )


def _chosen(factor: Expr, bracket: Compare) -> tuple[Expr, Expr] | None:
    """Where [k == y] is 1, Σ_l [l == y] u_l is u_k: a factor that is a power of such a sum, and what it comes to."""
    base = base_of(factor)
    if not (isinstance(base, Reduction) and base.kind == "sum" and len(base.indices) == 1):
        return None
    (bound,) = base.indices
    for index in (n.index for n in walk(bracket) if isinstance(n, Position)):
        for inner in factors_of(base.body):
            if isinstance(inner, Compare) and key(substitute(inner, {bound: index})) == key(bracket):
                rest = mul(*(f for f in factors_of(base.body) if f is not inner))
                exponent = factor.exponent if isinstance(factor, Power) else ONE
                return factor, power(substitute(rest, {bound: index}), exponent)
    return None
