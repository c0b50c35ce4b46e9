"""System → text in the notation: the inverse of parse. parse(text_of(system)) is the same system.

The sample axis is left out where it goes without saying, as in what a person types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TypeGuard

from chainrule.formula.expr import (
    Add,
    Apply,
    Compare,
    Delta,
    Draw,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Position,
    Power,
    Random,
    Reduction,
    Size,
    Slot,
    Symbol,
    Where,
    base_index,
    children,
    free_indices,
    scaled,
    split_coefficient,
    tensors,
    with_parts,
)
from chainrule.formula.system import Equation, Fact, Initial, System, Tensor, Update

# Binding strengths, weakest first. A prefix reaches as far to the right as it can: Σᵢ xᵢ wᵢ, without brackets.
SUM, PRODUCT, PREFIX, UNARY, POWER, ATOM = range(6)


PI = Fraction("3.141592653589793")  # as the parser reads `pi`


def number_text(value: Fraction) -> str:
    """3, 1/2, 0.001, pi: a decimal where it is exact and short, else a quotient."""
    if value == PI:
        return "pi"
    if value.denominator == 1:
        return str(value.numerator) if abs(value.numerator) < 10**16 else _float_text(value)
    if value.denominator <= 9 and abs(value.numerator) <= 9:
        return f"{value.numerator}/{value.denominator}"
    return _float_text(value)


def _float_text(value: Fraction) -> str:
    shown = repr(float(value))
    return shown if Fraction(shown) == value else f"{value.numerator}/{value.denominator}"


def index_text(slot: Slot) -> str:
    """k' of the algebra, which cannot be typed, is written k_2."""
    primes = str(slot).count("'")
    return f"{base_index(str(slot))}_{primes + 1}" if primes else str(slot)


class Printer:
    """Expression → text; `samples` is the axis that is not written.

    This is the walker of every dialect: it decides where brackets belong. typeset.py overrides how a node looks.
    """

    plus, minus = " + ", " - "

    def __init__(self, samples: str = "n"):
        self.samples = samples

    def text(self, expr: Expr) -> str:
        return self._print(expr)[0]

    def _within(self, expr: Expr, strength: int) -> str:
        text, own = self._print(expr)
        return text if own >= strength else self._brackets(text)

    def _print(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Number(value):
                return self._number(value)
            case Symbol(name):
                return self._symbol(name)
            case Element(tensor, slots):
                return self._element(tensor, slots)
            case Size(index):
                return self._size(index), ATOM
            case Position(index):
                return self._index(index), ATOM
            case Delta(left, right):
                return self._bracket(self._index(left), "==", self._index(right)), ATOM
            case Add(terms):
                return "".join(self._terms(terms)), SUM
            case Mul(factors):
                return self._product(factors)
            case Power():
                return self._power(expr)
            case Apply(function, arguments):
                return self._apply(function, arguments)
            case Compare(operator, left, right):
                return self._bracket(self.text(left), operator, self.text(right)), ATOM
            case Where():
                return self._where(expr)
            case Reduction():
                return self._reduction(expr)
            case Normalized(kind, index, body):
                return self._normalized(kind, index, body), ATOM
            case Random(distribution, arguments, _, _):
                return self._drawn_from(distribution, arguments), ATOM
            case Draw():
                return self._draw(expr)
        raise AssertionError(f"unknown node {type(expr).__name__}")

    def _terms(self, terms: Iterable[Expr]) -> list[str]:
        """The terms of a sum, each with its sign in front."""
        texts: list[str] = []
        for term in terms:
            coefficient, rest = split_coefficient(term)
            if coefficient >= 0 or not texts:
                texts.append((self.plus if texts else "") + self._within(term, PRODUCT))
            else:
                texts.append(self.minus + self._within(scaled(-coefficient, rest), PRODUCT))
        return texts

    # --- how a node looks in the notation; a dialect overrides what follows

    def _brackets(self, text: str) -> str:
        return f"({text})"

    def _number(self, value: Fraction) -> tuple[str, int]:
        return number_text(value), UNARY if value < 0 else PRODUCT if "/" in number_text(value) else ATOM

    def _symbol(self, name: str) -> tuple[str, int]:
        return name, ATOM

    def _element(self, tensor: str, slots: tuple[Slot, ...]) -> tuple[str, int]:
        shown = slots[1:] if slots[:1] == (self.samples,) else slots
        return f"{tensor}[{', '.join(map(index_text, shown))}]" if shown else tensor, ATOM

    def _index(self, slot: Slot) -> str:
        return index_text(slot)

    def _size(self, index: str) -> str:
        return f"size({base_index(index)})"

    def _bracket(self, left: str, operator: str, right: str) -> str:
        return f"[{left} {operator} {right}]"

    def _apply(self, function: str, arguments: tuple[Expr, ...]) -> tuple[str, int]:
        return f"{function}({', '.join(self.text(a) for a in arguments)})", ATOM

    def _where(self, expr: Where) -> tuple[str, int]:
        return f"where({self.text(expr.condition)}, {self.text(expr.yes)}, {self.text(expr.no)})", ATOM

    def _reduction(self, expr: Reduction) -> tuple[str, int]:
        return f"{expr.kind}[{', '.join(map(index_text, expr.indices))}]({self.text(expr.body)})", ATOM

    def _normalized(self, kind: str, index: str, body: Expr) -> str:
        return f"{kind}[{index_text(index)}]({self.text(body)})"

    def _drawn_from(self, distribution: str, arguments: tuple[Expr, ...]) -> str:
        return f"{distribution}({', '.join(self.text(a) for a in arguments)})"

    def _draw(self, draw: Draw) -> tuple[str, int]:
        """A number in [0, 1); no formula that a person types has one."""
        return f"draw_{draw.number}_{draw.tensor}", ATOM

    def _product(self, factors: tuple[Expr, ...]) -> tuple[str, int]:
        means = means_in(factors)
        sizes = [size for _, own in means for size in own]
        sign, above, below = split_product([f for f in factors if f not in sizes])
        texts = []
        for place, factor in enumerate(above):
            mean = any(factor == found for found, _ in means)
            texts.append(self._mean(factor) if mean else self._within(factor, UNARY if place else PRODUCT))
        text = "/".join([sign + ("*".join(texts) or "1"), *(self._within(f, POWER) for f in below)])
        return text, ATOM if len(factors) == 1 + len(sizes) and means else PRODUCT

    def _mean(self, expr: Expr) -> str:
        """1/size(n) * sum[n](u) is written mean[n](u)."""
        assert isinstance(expr, Reduction)
        return f"mean[{', '.join(map(index_text, expr.indices))}]({self.text(expr.body)})"

    def _power(self, expr: Power) -> tuple[str, int]:
        match expr.exponent:
            case Number(Fraction(numerator=1, denominator=2)):
                return f"sqrt({self.text(expr.base)})", ATOM
            case Number(value) if value < 0:
                return "1/" + self._within(_flipped(expr), POWER), PRODUCT
        return f"{self._within(expr.base, ATOM)}**{self._within(expr.exponent, ATOM)}", POWER


def split_product(factors: Sequence[Expr]) -> tuple[str, list[Expr], list[Expr]]:
    """A product as a fraction: its sign, "-" or "", what stands above the line, and what stands below it."""
    below = [_flipped(f) for f in factors if _is_divisor(f)]
    above = [f for f in factors if not _is_divisor(f)]
    match above:
        case [Number(value), *rest] if value < 0:
            return "-", rest if value == -1 else [Number(-value), *rest], below
    return "", above, below


def means_in(factors: Sequence[Expr]) -> list[tuple[Reduction, list[Expr]]]:
    """The sums of a product that stand with 1/size of each of their indices, and these."""
    left = [f for f in factors if _is_divisor(f)]
    found: list[tuple[Reduction, list[Expr]]] = []
    for factor in factors:
        if isinstance(factor, Reduction) and factor.kind == "sum":
            sizes: list[Expr] = [Power(Size(base_index(i)), Number(Fraction(-1))) for i in factor.indices]
            if all(s in left for s in sizes):
                left = [f for f in left if f not in sizes]
                found.append((factor, sizes))
    return found


def in_written_order(product: Mul) -> Mul:
    """A product with its factors in the order in which its text shows them: divisors last, those of means first."""
    sizes = [size for _, own in means_in(product.factors) for size in own]
    above = [f for f in product.factors if not _is_divisor(f)]
    below = [f for f in product.factors if _is_divisor(f) and f not in sizes]
    return Mul((*above, *sizes, *below))


def ordered(expr: Expr) -> Expr:
    """The expression with the factors of every product as the printer orders them, so that its text reads as the same.

    Nodes are built as they are: a constructor would move what a sum does not depend on out of it.
    """
    node = with_parts(expr, tuple(map(ordered, children(expr))))
    return in_written_order(node) if isinstance(node, Mul) else node


def _is_divisor(factor: Expr) -> TypeGuard[Power]:
    return isinstance(factor, Power) and isinstance(factor.exponent, Number) and factor.exponent.value < 0


def _flipped(power: Power) -> Expr:
    assert isinstance(power.exponent, Number)
    value = -power.exponent.value
    return power.base if value == 1 else Power(power.base, Number(value))


def equation_text(equation: Equation, samples: str = "n") -> str:
    printer = Printer(samples)
    left = printer.text(equation.target)
    if samples in equation.target.slots and samples not in free_indices(equation.value):
        left = Printer("").text(equation.target)  # nothing on the right says that this has a sample axis
    if isinstance(equation.value, Random):
        left = f"random {left}"
    if isinstance(equation.value, Number) and not equation.target.slots:
        return f"{left} = ({printer.text(equation.value)})"  # without brackets it would be a hyper-parameter
    return f"{left} = {printer.text(equation.value)}"


def prediction_text(equation: Equation, samples: str = "n") -> str:
    """A line that holds instead of the tensor's equation when predicting."""
    printer = Printer(samples)
    return f"prediction {printer.text(equation.target)} = {printer.text(equation.value)}"


def update_text(update: Update, samples: str = "n") -> str:
    printer = Printer(samples)
    return f"{printer.text(update.target)} <- {printer.text(update.value)}"


def fact_text(fact: Fact, samples: str = "n") -> str:
    printer = Printer(samples)
    sign = "=" if fact.operator == "==" else fact.operator
    return f"{printer.text(fact.left)} {sign} {printer.text(fact.right)}"


def initial_text(initial: Initial) -> str:
    """glorot_uniform, uniform(-0.1, 0.1), 0.5 or [[1.0, 0.0], [0.0, 1.0]]."""
    if initial.name is not None:
        arguments = ", ".join(map(repr, initial.arguments))
        return f"{initial.name}({arguments})" if arguments else initial.name
    return _nested_text(initial.values)


def _nested_text(values: object) -> str:
    return f"[{', '.join(map(_nested_text, values))}]" if isinstance(values, tuple) else repr(values)


def system_text(system: System) -> str:
    """The whole system in the notation, declarations first."""
    printer = Printer(system.samples)
    lines = []
    if system.samples != "n":
        lines.append(f"samples {system.samples}")
    lines += [f"size {index} = {size}" for index, size in system.sizes.items()]
    for tensor in system.tensors.values():
        if tensor.role != "computed":
            lines.append(_declaration(tensor, system))
    lines += [f"{name} = {number_text_decimal(value)}" for name, value in system.hyper.items()]
    if system.loss not in (None, "E"):
        lines.append(f"loss {system.loss}")
    if system.output is not None:
        lines.append(f"output {system.output}")
    lines += [equation_text(e, system.samples) for e in system.equations]
    lines += [prediction_text(e, system.samples) for e in system.predictions]
    lines += [f"{printer.text(u.target)} <- {printer.text(u.value)}" for u in system.updates]
    lines += [f"then {printer.text(u.target)} <- {printer.text(u.value)}" for u in system.constraints]
    return "\n".join(lines) + "\n"


def number_text_decimal(value: Fraction) -> str:
    """A hyper-parameter's value: always a plain number."""
    return str(value.numerator) if value.denominator == 1 else repr(float(value))


def _declaration(tensor: Tensor, system: System) -> str:
    name = Printer(system.samples).text(tensor.element)
    match tensor.role:
        case "label":
            return f"label {name} in {tensor.classes}"
        case "parameter" | "state":
            initial = tensor.initial
            value = f" = {initial_text(initial)}" if initial and (initial.name or initial.values is not None) else ""
            return f"{tensor.role} {name}{value}"
    if tensor.classes is not None:
        name = f"{name} in {tensor.classes}"
    return ", ".join([f"{tensor.role} {name}", *(fact_text(f, system.samples) for f in _facts_of(tensor, system))])


def _facts_of(tensor: Tensor, system: System) -> list[Fact]:
    """The facts to write after a declaration: those about it, and later ones about tensors above, to keep the order."""
    declared = [t.name for t in system.of_role("input", "target")]
    line = 0
    found = []
    for fact in system.facts:
        names = [*tensors(fact.left), *tensors(fact.right)]
        own = next((declared.index(n) for n in names if n in declared), 0)
        line = max(line, own)
        if declared[line] == tensor.name:
            found.append(fact)
    return found
