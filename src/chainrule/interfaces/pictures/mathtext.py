"""Formulas as texts of a picture: LaTeX where matplotlib's mathtext can set it, else one line of Unicode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from chainrule.formula.expr import Element, Slot
from chainrule.formula.mathprint import Line
from chainrule.formula.system import System, Tensor
from chainrule.formula.typeset import Latex, Unicode

SMALLEST = 7.0  # points: what would have to be smaller to fit is cut


class Formulas:
    """A system's quantities and equations as texts."""

    def __init__(self, samples: str, tensors: Mapping[str, Tensor]):
        self.latex, self.unicode, self.tensors = Latex(samples, tensors), Unicode(samples, tensors), tensors

    @classmethod
    def of(cls, system: System) -> Formulas:
        return cls(system.samples, system.tensors)

    def quantity(self, name: str) -> str:
        """h_j: a tensor of the system at its own indices."""
        return self.element(name, self.tensors[name].indices)

    def element(self, name: str, indices: tuple[str, ...], place: tuple[int, ...] | None = None) -> str:
        """h_j, or h_3 where the place is given; a fraction, too tall for a neuron, on one line."""
        sampled = indices[:1] == (self.latex.samples,)
        slots: tuple[Slot, ...] = indices if place is None else (*indices[:1], *place) if sampled else place
        element = Element(name, slots)
        latex, plain = self.latex.text(element), self.unicode.text(element)
        # An element is letters, accents and indices, all of which mathtext knows: no need to try each of hundreds.
        is_simple = latex.isascii() and not any(sign in latex for sign in ("frac", "text", "operatorname", "ln"))
        return f"${latex}$" if is_simple else plain

    def line(self, line: Line) -> str:
        """An equation or an update."""
        return math_text(" ".join(self.latex.sides(line)), " ".join(self.unicode.sides(line)))


@lru_cache(maxsize=4096)
def math_text(latex: str, plain: str) -> str:
    """$latex$ where it can be set, else the plain text."""
    # mathtext leaves no space before an operator: t softplus(a) would read as one word.
    text = f"${latex}$".replace(r"\operatorname", r"\,\operatorname")
    if not latex.isascii() or width_inches(text, 10.0) is None:
        return plain
    return text


def width_inches(text: str, points: float) -> float | None:
    """How wide a text with mathtext in it is; None where mathtext cannot read it."""
    at_ten = _width_at_ten_points(text)
    return None if at_ten is None else at_ten * points / 10


@lru_cache(maxsize=4096)
def _width_at_ten_points(text: str) -> float | None:
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    try:
        return float(MathTextParser("path").parse(text, dpi=72, prop=FontProperties(size=10)).width) / 72
    except ValueError:  # a sign outside mathtext's subset of LaTeX
        return None


def fitted(text: str, width: float, points: float) -> tuple[str, float]:
    """The text and the largest size up to `points` at which it is no wider than `width` inches."""
    needed = width_inches(text, points) if text.startswith("$") else 0.0085 * points * len(text)
    if not needed or needed <= width:
        return text, points
    size = points * width / needed
    if size >= SMALLEST or text.startswith("$"):
        return text, max(size, SMALLEST - 2)
    return text[: max(8, int(len(text) * size / SMALLEST) - 1)] + "…", SMALLEST


def label_points(label: str, width: float, points: float) -> float:
    """The size up to `points` at which a neuron's label is about `width` inches wide, from the number of its signs."""
    signs = len(re.sub(r"\\[a-z]+|[${}^_()\\, ]", lambda m: "x" if m[0].startswith("\\") else "", label))
    scripted = signs - 1  # all but the letter are raised or lowered, and 0.7 of its size
    needed = 0.0085 * points * (1 + 0.7 * scripted) if label.startswith("$") else 0.0085 * points * len(label)
    return points if needed <= width else max(points * width / needed, SMALLEST - 2)


def short_number(value: Any) -> str:
    """A number in at most six signs: 0.731, −12.3, 3e−5."""
    number = float(value)
    if not np.isfinite(number):
        return {np.inf: "∞", -np.inf: "−∞"}.get(number, "NaN")
    size = abs(number)
    if number == 0:
        text = "0"
    elif size >= 10_000 or size < 0.005:
        mantissa, _, exponent = f"{number:.0e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
    else:
        text = f"{number:.{0 if size >= 1000 else 1 if size >= 100 else 2}f}"
        text = text.rstrip("0").rstrip(".") if "." in text and number == int(number) else text
    return text.replace("-", "−")
