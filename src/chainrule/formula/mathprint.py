r"""What every typeset dialect has in common, on top of the walker of text.py. What a page prints:

    W1[i, j]   W^{(1)}_{ij}: digits at the end are a layer's number; of a scalar, x1, they are a subscript
    a_h[j]     a^{h}_{j}, and delta_h[j] likewise: whose pre-activation, whose delta
    dE_dW1     a derivative as a fraction; log_p is \ln p; y_hat wears its hat; alpha and α are \alpha
    k_2        k': the second bound index of that name
    [k == y]   [k = y], also for Kronecker's delta, whose usual letter would look like the delta of a layer
    size(k)    K, where no tensor is called so

The sample axis is left out where it is free, as in what a person types, and shown where a sum runs over it: a page
that says \sum_n has to say what depends on n.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

from chainrule.formula.distributions import DISTRIBUTIONS
from chainrule.formula.expr import (
    Add,
    Compare,
    Element,
    Expr,
    Number,
    Power,
    Random,
    Reduction,
    Slot,
    Symbol,
    base_index,
    index_names,
)
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.names import Name, is_loss, split_derivative, split_index, split_logarithm, split_name
from chainrule.formula.system import Equation, Fact, Tensor, Update
from chainrule.formula.text import ATOM, PREFIX, PRODUCT, UNARY, Printer, number_text, split_product

Line = Equation | Update | Fact
PI = 3.141592653589793  # as parse.py reads `pi`
# exp(u) is written e^u as long as u is as small as -z_j.
MAX_EXPONENT_NODES = 6
OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


class MathPrinter(Printer, ABC):
    """What LaTeX and Unicode have in common: names, products without a sign, sums without brackets.

    `tensors` are those of the system, where there is one: with them, the marks of one letter look alike in all its
    tensors (b2 beside b1[j]), and the two halves of the indices of ∂a/∂h are told apart.
    """

    signs: Mapping[str, str]
    fences: Mapping[str, tuple[str, str]]
    arrow: str

    def __init__(self, samples: str = "n", tensors: Mapping[str, Tensor] | None = None):
        super().__init__(samples)
        self.tensors = tensors or {}
        # Letters whose marks always stand above; the delta of a layer is not among the tensors of a system.
        indexed = (split_name(t.name) for t in self.tensors.values() if set(t.indices) - {samples})
        self.layered = {"δ"} | {parts.letter for parts in indexed if parts.marks}
        self.shows_samples = False

    # --- lines

    def equation(self, equation: Equation) -> str:
        return " ".join(self.sides(equation))

    def update(self, update: Update) -> str:
        return " ".join(self.sides(update))

    def fact(self, fact: Fact) -> str:
        return " ".join(self.sides(fact))

    def sides(self, line: Line) -> tuple[str, str, str]:
        """Left side, sign and right side of an equation, an update or a fact."""
        left: Expr
        match line:
            case Equation(left, right):
                sign = self.signs["random" if isinstance(right, Random) else "=="]
            case Update(left, right):
                sign = self.arrow
            case Fact(left, operator, right):
                sign = self.signs[operator]
        with self._showing_samples(self._tells_samples_apart(left, right)):
            return self._print(left)[0], sign, self._print(right)[0]

    def text(self, expr: Expr) -> str:
        with self._showing_samples(self._tells_samples_apart(expr)):
            return self._print(expr)[0]

    def terms(self, value: Add) -> list[str]:
        """The terms of a sum, each with its sign, for who has to break a line."""
        with self._showing_samples(self._tells_samples_apart(value)):
            return self._terms(value.terms)

    def _tells_samples_apart(self, *exprs: Expr) -> bool:
        """Whether a second sample n' occurs, beside which n must not go unsaid."""
        return any(i != self.samples and self._is_sample(i) for e in exprs for i in index_names(e))

    def _is_sample(self, slot: Slot) -> bool:
        return split_index(str(slot))[0] == self.samples

    @contextmanager
    def showing_samples(self, exprs: Iterable[Expr]) -> Iterator[None]:
        """While these stand on one line: what one of them needs to be told apart, all of them show."""
        with self._showing_samples(self._tells_samples_apart(*exprs)):
            yield

    def differential(self, expr: Expr) -> str:
        """d(u)."""
        return f"d{self._brackets(self.text(expr))}"

    @contextmanager
    def _showing_samples(self, shown: bool) -> Iterator[None]:
        before = self.shows_samples
        self.shows_samples = before or shown
        yield
        self.shows_samples = before

    # --- names

    def _symbol(self, name: str) -> tuple[str, int]:
        return self._element(name, ())

    def _element(self, tensor: str, slots: tuple[Slot, ...]) -> tuple[str, int]:
        derivative = split_derivative(tensor, self.tensors)
        cut = self._slots_of_numerator(*derivative, slots) if derivative else None
        if derivative and cut is not None:
            over, under = derivative
            return self._differential_quotient(self._element(over, slots[:cut]), self._element(under, slots[cut:]))
        inner = split_logarithm(tensor)
        if inner is not None:
            return f"{self._function_name('log')} {self._quantity(inner, slots)[0]}", PREFIX
        return self._quantity(tensor, slots)

    def _slots_of_numerator(self, over: str, under: str, slots: tuple[Slot, ...]) -> int | None:
        """dE_dW1[i, j] has the indices of W1 alone, da_h_dW1[n, j', i, j] first those of a_h; None: nothing tells."""
        if over in self.tensors and under in self.tensors:
            ranks = len(self.tensors[over].indices), len(self.tensors[under].indices)
            return ranks[0] if sum(ranks) == len(slots) else 0
        again = (n for n, s in enumerate(slots) if n and self._is_sample(s))
        return next(again, 0 if is_loss(over) or not slots else None)

    def _quantity(self, name: str, slots: tuple[Slot, ...]) -> tuple[str, int]:
        shown = slots if self.shows_samples or slots[:1] != (self.samples,) else slots[1:]
        parts = split_name(name)
        # The same whether or not the sample axis is shown: one quantity has one look on a page.
        indexed = not all(map(self._is_sample, slots))
        owned = any(m in self.tensors for m in parts.marks)
        marks_above = bool(parts.marks) and (indexed or owned or parts.letter in self.layered)
        return self._scripted(parts, marks_above, shown)

    def _size(self, index: str) -> str:
        index = base_index(index)
        capital = index.upper()
        if len(capital) != 1 or capital == index or capital in (set(self.tensors) or {"E", "C"}):
            return f"{self._operator('size')}({self._index(index)})"
        return self._letter(capital)

    # --- operations

    def _number(self, value: Fraction) -> tuple[str, int]:
        if value < 0:
            return self.minus.strip() + self._number(-value)[0], PRODUCT
        for factor, above in ((value / Fraction(str(PI)), True), (value * Fraction(str(PI)), False)):
            # A product with the 16 digits of pi in it is a number to the algebra; a reader wants to see 2π.
            near = factor.limit_denominator(12)
            if near and near.numerator <= 12 and abs(float(factor / near) - 1) < 1e-15:
                return self._with_pi(near, above)
        text = number_text(value)
        mantissa, _, exponent = text.partition("e")
        if exponent:
            return self._power_of_ten(mantissa, int(exponent))
        return self._fraction(*text.split("/")) if "/" in text else (text, ATOM)

    def _product(self, factors: tuple[Expr, ...]) -> tuple[str, int]:
        sign, above, below = split_product(factors)
        match above:
            case [Number(value), *rest] if below and "/" in number_text(value):
                # x/2 over y is x over 2y
                above = rest if value.numerator == 1 else [Number(Fraction(value.numerator)), *rest]
                below = [Number(Fraction(value.denominator)), *below]
        return self._quotient(self.minus.strip() if sign else "", above, below)

    def _power(self, expr: Power) -> tuple[str, int]:
        match expr.exponent:
            case Number(value) if value < 0:
                return self._product((expr,))
            case Number(Fraction(numerator=1, denominator=2)):
                return self._root(expr.base)
        return self._raised(self._within(expr.base, ATOM), expr.exponent)

    def _brackets(self, text: str) -> str:
        return self._fenced(text, "(", ")")

    def _bracket(self, left: str, operator: str, right: str) -> str:
        return self._fenced(f"{left} {self.signs[operator]} {right}", "[", "]")

    def _apply(self, function: str, arguments: tuple[Expr, ...]) -> tuple[str, int]:
        name = self._function_name(function)
        printed = [self._print(a) for a in arguments]
        if function == "log" and isinstance(arguments[0], Symbol | Element) and printed[0][1] == ATOM:
            return f"{name} {printed[0][0]}", PREFIX
        inside = ", ".join(text for text, _ in printed)
        if function in self.fences:
            return self._fenced(inside, *self.fences[function]), ATOM
        return self._call(name, inside), ATOM

    def _drawn_from(self, distribution: str, arguments: tuple[Expr, ...]) -> str:
        inside = ", ".join(self._print(a)[0] for a in arguments)
        return self._call(self._operator(DISTRIBUTIONS[distribution].shown), inside)

    def _function_name(self, function: str) -> str:
        row = FUNCTIONS.get(function)
        return self._function_sign(row.latex) if row is not None and row.latex else self._operator(function)

    def _reduction(self, expr: Reduction) -> tuple[str, int]:
        sign = self._sign_of_reduction(expr.kind, expr.indices)
        over_samples = any(map(self._is_sample, expr.indices))
        with self._showing_samples(over_samples):
            text, strength = self._print(expr.body)
        if expr.kind == "sum" and strength >= PRODUCT and not text.startswith(self.minus.strip()):
            return f"{sign} {text}", PREFIX
        if expr.kind != "sum" and strength == ATOM and isinstance(expr.body, Element):
            return f"{sign} {text}", PREFIX
        return self._call(sign, text), PREFIX if expr.kind == "sum" else ATOM

    def _normalized(self, kind: str, index: str, body: Expr) -> str:
        return self._call(self._sign_of_reduction(kind, (index,)), self._print(body)[0])

    def _cases(self, condition: Expr) -> tuple[str, str]:
        """When a condition holds, and when it does not."""
        if isinstance(condition, Compare):
            left, right = self._print(condition.left)[0], self._print(condition.right)[0]
            operators = condition.operator, OPPOSITE[condition.operator]
        else:
            left, right, operators = self._print(condition)[0], "0", ("!=", "==")
        yes, no = (f"{left} {self.signs[o]} {right}" for o in operators)
        return yes, no

    def _juxtaposed(self, factors: Iterable[Expr], last: int = PREFIX) -> str:
        """Factors side by side; what reaches far to the right comes last, or into brackets."""
        printed = [self._print(f) for f in factors]
        reaching = [p for p in printed if p[1] == PREFIX]
        if len(reaching) == 1:
            printed = [*(p for p in printed if p[1] != PREFIX), *reaching]
        texts: list[str] = []
        for place, (text, strength) in enumerate(printed):
            needed = last if place == len(printed) - 1 else UNARY
            text = text if strength >= needed else self._brackets(text)
            texts += [self._between(texts[-1], text), text] if texts else [text]
        return "".join(texts)

    # --- what a dialect says

    @abstractmethod
    def _scripted(self, name: Name, marks_above: bool, slots: tuple[Slot, ...]) -> tuple[str, int]:
        """A letter with its marks and indices."""

    @abstractmethod
    def _differential_quotient(self, over: tuple[str, int], under: tuple[str, int]) -> tuple[str, int]: ...

    @abstractmethod
    def _letter(self, letter: str) -> str: ...

    @abstractmethod
    def _operator(self, word: str) -> str: ...

    @abstractmethod
    def _function_sign(self, latex: str) -> str: ...

    @abstractmethod
    def _sign_of_reduction(self, kind: str, indices: tuple[str, ...]) -> str: ...

    @abstractmethod
    def _with_pi(self, factor: Fraction, above: bool) -> tuple[str, int]:
        """factor·π, or factor/π where π stands below."""

    @abstractmethod
    def _power_of_ten(self, mantissa: str, exponent: int) -> tuple[str, int]: ...

    @abstractmethod
    def _fraction(self, above: str, below: str) -> tuple[str, int]: ...

    @abstractmethod
    def _quotient(self, sign: str, above: list[Expr], below: list[Expr]) -> tuple[str, int]: ...

    @abstractmethod
    def _root(self, base: Expr) -> tuple[str, int]: ...

    @abstractmethod
    def _raised(self, base: str, exponent: Expr) -> tuple[str, int]: ...

    @abstractmethod
    def _call(self, name: str, argument: str) -> str: ...

    @abstractmethod
    def _fenced(self, text: str, opener: str, closer: str) -> str: ...

    @abstractmethod
    def _between(self, left: str, right: str) -> str:
        """What separates two factors."""
