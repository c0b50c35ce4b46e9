"""Numbers in the place of symbols: x_i w_ij of a chosen sample becomes 0.5 · 0.3.

`Numbers` holds the values of every quantity and says at which indices a page looks; FillingUnicode and FillingLatex
print an expression with its numbers in it. Sums are written out as far as a reader wants to see them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from chainrule.derivation.pages.page import DIGITS, Page
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import (
    Compare,
    Delta,
    Expr,
    Normalized,
    Position,
    Reduction,
    Slot,
    base_index,
    free_indices,
)
from chainrule.formula.mathprint import MathPrinter
from chainrule.formula.text import ATOM, PRODUCT, SUM, UNARY
from chainrule.formula.typeset import Latex, Unicode

SHOWN_TERMS = 3  # of a longer sum; the rest is three dots
SHORT_SUM = 4  # a sum of so many terms is written out whole
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number_words(number: float, digits: int = DIGITS) -> str:
    """0.5108, −0.25, 2.3·10⁻⁵: as many digits as a reader compares."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    text = f"{number + 0.0:.{digits}g}"  # no -0
    mantissa, e, exponent = text.partition("e")
    words = mantissa.replace("-", "−")
    return f"{words}·10{str(int(exponent)).translate(SUPERSCRIPT)}" if e else words


def latex_number(number: float, digits: int = DIGITS) -> str:
    r"""0.5108, -2.3 \cdot 10^{-5}."""
    return latex_words(number_words(number, digits))


def latex_words(words: str) -> str:
    """What number_words wrote, as LaTeX; the minus of a number belongs to it, and has no space of an operator."""
    text = words.replace("−", "-").replace("∞", r"\infty")
    mantissa, ten, exponent = text.partition("·10")
    if ten:
        plain = "".join(str("⁰¹²³⁴⁵⁶⁷⁸⁹".index(c)) if c in "⁰¹²³⁴⁵⁶⁷⁸⁹" else "-" for c in exponent)
        text = rf"{mantissa} \cdot 10^{{{plain}}}"
    return f"{{{text}}}" if text.startswith("-") else text


# One-sided quotients that differ by this share of their size have a kink between them: the curvature of a smooth
# function changes them by about h = 6e-6.
KINK = 1e-3


@dataclass(frozen=True)
class Quotient:
    """Difference quotients of one quantity: from both sides, from the left, from the right."""

    central: float
    left: float
    right: float

    @property
    def is_kink(self) -> bool:
        """Whether the loss has a kink there, so that there is no one derivative."""
        return abs(self.right - self.left) > KINK * max(1e-3, abs(self.left), abs(self.right))


@dataclass(frozen=True)
class Numbers:
    """The value of every quantity, with the sample axis, and the indices that a page looks at.

    `scalars` are hyper-parameters; `quotients` the difference quotient of each quantity with an adjoint, at `places`.
    """

    arrays: Mapping[str, Array]
    sizes: Mapping[str, int]
    places: Mapping[str, int]
    scalars: Mapping[str, float] = field(default_factory=dict)
    quotients: Mapping[str, Quotient] = field(default_factory=dict)

    def value(self, expr: Expr, places: Mapping[str, int] | None = None) -> float:
        """The value of an expression at the indices of `places`, else of the page."""
        return float(self._at(expr, (), places or {}))

    def body_values(self, expr: Reduction, places: Mapping[str, int]) -> Array:
        """The terms of a sum at these places, one axis per summed index."""
        return self._at(expr.body, expr.indices, places)

    def _at(self, expr: Expr, kept: tuple[str, ...], places: Mapping[str, int]) -> Array:
        """An expression at its places, with one axis for each index that is kept."""
        fixed = tuple(sorted(free_indices(expr) - set(kept)))
        array = evaluate(expr, self.arrays, (*fixed, *kept), sizes=self.sizes, scalars=self.scalars)
        at = {**self.places, **places}
        return np.asarray(array[tuple(at[i] if i in at else at[base_index(i)] for i in fixed)])


class Filling(MathPrinter):
    """A printer that writes numbers for what has a value."""

    dots: str

    def __init__(self, page: Page, numbers: Numbers, places: Mapping[str, int]):
        super().__init__(page.samples, page.tensors)
        self.numbers = numbers
        self.places = {**numbers.places, **places}

    # --- leaves

    def _place(self, slot: Slot) -> int | None:
        if isinstance(slot, int):
            return slot
        return self.places.get(slot, self.places.get(base_index(slot)))

    def _element(self, tensor: str, slots: tuple[Slot, ...]) -> tuple[str, int]:
        places = [self._place(s) for s in slots]
        if tensor not in self.numbers.arrays or any(p is None for p in places):
            return super()._element(tensor, slots)
        return self._value(float(self.numbers.arrays[tensor][tuple(p for p in places if p is not None)]))

    def _symbol(self, name: str) -> tuple[str, int]:
        if name in self.numbers.scalars:
            return self._value(self.numbers.scalars[name])
        return super()._symbol(name)

    def _size(self, index: str) -> str:
        return str(self.numbers.sizes[base_index(index)])

    def _value(self, number: float) -> tuple[str, int]:
        words = number_words(number)
        strength = SUM if number < 0 else UNARY if "·" in words else ATOM
        return self._spelled(words), strength

    def _spelled(self, words: str) -> str:
        return words

    # --- what is worked out

    def _print(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Delta() | Compare() | Position():
                return self._value(self.numbers.value(expr, self.places))
            case Reduction():
                return self._written_out(expr)
            case Normalized():
                return self._softmax(expr)
        return super()._print(expr)

    def _written_out(self, expr: Reduction) -> tuple[str, int]:
        if expr.kind != "sum":
            return self._value(self.numbers.value(expr, self.places))
        terms = self._terms_of(expr)
        if not terms:
            return "0", ATOM
        text = " + ".join(terms)
        return text, SUM if len(terms) > 1 else PRODUCT

    def _terms_of(self, expr: Reduction) -> list[str]:
        """The terms of a sum that are not 0; of many, the first ones."""
        values = self.numbers.body_values(expr, self.places)
        shown: list[str] = []
        filled = [tuple(map(int, at)) for at in np.argwhere(values != 0)[: SHORT_SUM + 1]]
        count = int(np.count_nonzero(values))
        for at in filled[: count if count <= SHORT_SUM else SHOWN_TERMS]:
            inner = self._at(dict(zip(expr.indices, at, strict=True)))
            shown.append(inner._within(expr.body, PRODUCT))
        return [*shown, self.dots] if count > SHORT_SUM else shown

    def _at(self, places: Mapping[str, int]) -> Filling:
        page = Page((), (), self.samples, self.tensors)
        return type(self)(page, self.numbers, {**self.places, **places})

    def _softmax(self, expr: Normalized) -> tuple[str, int]:
        """e^a / (e^a + e^b + …), or its logarithm."""
        own = self.places.get(expr.index, self.places.get(base_index(expr.index), 0))
        size = self.numbers.sizes[base_index(expr.index)]
        bodies = [self._at({expr.index: n})._value(self._body_at(expr, n))[0] for n in range(min(size, SHOWN_TERMS))]
        terms = [self._exponential(b) for b in bodies] + ([self.dots] if size > SHOWN_TERMS else [])
        below = " + ".join(terms)
        above = self._value(self._body_at(expr, own))[0]
        if expr.kind == "log_softmax":
            return f"{above}{self.minus}{self._function_name('log')}({below})", SUM
        return self._over(self._exponential(above), below)

    def _body_at(self, expr: Normalized, place: int) -> float:
        return self.numbers.value(expr.body, {**self.places, expr.index: place})

    @abstractmethod
    def _exponential(self, words: str) -> str:
        """e to the power of a number."""

    @abstractmethod
    def _over(self, above: str, below: str) -> tuple[str, int]:
        """A fraction."""


class FillingUnicode(Filling, Unicode):
    dots = "⋯"

    def _exponential(self, words: str) -> str:
        return f"e^{words}" if words[0].isdigit() else f"e^({words})"

    def _over(self, above: str, below: str) -> tuple[str, int]:
        return f"{above} / ({below})", PRODUCT

    def _between(self, left: str, right: str) -> str:
        return "·"


class FillingLatex(Filling, Latex):
    dots = r"\cdots"

    def _spelled(self, words: str) -> str:
        return latex_words(words)

    def _exponential(self, words: str) -> str:
        return f"e^{{{words}}}"

    def _over(self, above: str, below: str) -> tuple[str, int]:
        return rf"\frac{{{above}}}{{{below}}}", PRODUCT

    def _between(self, left: str, right: str) -> str:
        return r" \cdot "
