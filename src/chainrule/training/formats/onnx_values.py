"""An expression of a lowered Program → ONNX nodes. What ONNX has no operator for is written out so that it stays
accurate: log1p and expm1 near 0, softplus far from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from chainrule.errors import FormulaError, SettingError
from chainrule.formula.expr import (
    MINUS_ONE,
    Add,
    Apply,
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Number,
    Position,
    Power,
    Size,
    Slot,
    Symbol,
    Where,
    base_index,
)
from chainrule.messages import say
from chainrule.training.formats.onnx_graph import Graph, Value

MAX_BYTES = 2**31 - 2**20  # a protobuf message has less than 2 GiB
# One operator each. ONNX Runtime's Sigmoid is 1.5e-8 where the true value is smaller.
UNARY = {n: n.capitalize() for n in ("exp", "log", "sin", "cos", "tanh", "sigmoid", "relu", "abs", "sign", "floor")}
BINARY = {"max": "Max", "min": "Min"}
COMPARISONS = {"<": "Less", "<=": "LessOrEqual", ">": "Greater", ">=": "GreaterOrEqual", "==": "Equal", "!=": "Equal"}


class Values:
    """Writes expressions into a graph. `tensors` has the values of the tensors, over the indices they are declared by;
    `sizes` all sizes but that of the samples, which is read off `batch`, an input, when it is asked for.
    """

    def __init__(self, graph: Graph, sizes: Mapping[str, int], samples: str):
        self.graph, self.sizes, self.samples = graph, sizes, samples
        self.tensors: dict[str, Value] = {}
        self.declared: dict[str, tuple[str, ...]] = {}
        self.symbols: dict[str, Callable[[], Value]] = {}
        self.rewritten: Callable[[Expr], Value | None] = lambda _: None
        self.batch: str | None = None
        self.order: list[str] = []
        self.formula = ""

    # --- expressions

    def real(self, expr: Expr) -> Value:
        """The value, as numbers."""
        return self.graph.real(self.value(expr))

    def value(self, expr: Expr) -> Value:
        if (instead := self.rewritten(expr)) is not None:
            return instead
        match expr:
            case Number(number):
                return self.graph.number(float(number))
            case Symbol(name):
                return self.symbols[name]()
            case Size(index):
                return self._size(base_index(index))
            case Position(index):
                return self._positions(index)
            case Element(tensor, slots):
                return self.element(tensor, slots)
            case Delta(left, right):
                sides = [self._positions(s) if isinstance(s, str) else self._whole(s) for s in (left, right)]
                return self._joined("Equal", sides, "bool")
            case Add(terms):
                return self._sum(terms)
            case Mul(factors):
                return self._product(factors)
            case Power(base, exponent):
                return self._power(base, exponent)
            case Apply(function, arguments):
                return self._apply(function, [self.real(a) for a in arguments])
            case Compare():
                return self._compare(expr)
            case Where(condition, yes, no):
                parts = [self._truth(condition), self.real(yes), self.real(no)]
                return self._joined("Where", parts)
        raise self.not_expressible(type(expr).__name__.lower())

    def not_expressible(self, what: str) -> FormulaError:
        return FormulaError(say("formats.onnx_not", what=what, equation=self.formula))

    def join(self, operator: str, *values: Value, kind: str = "float") -> Value:
        """One operator on values that are brought to the same axes."""
        return self._joined(operator, values, kind)

    def _joined(self, operator: str, values: Sequence[Value], kind: str = "float") -> Value:
        for axis in (a for v in values for a in v.axes):
            if axis not in self.order:
                self.order.append(axis)
        axes = tuple(a for a in self.order if any(a in v.axes for v in values))
        names = [self.graph.beside(v, axes) for v in values]
        return Value(self.graph.node(operator, *names), axes, kind)

    # --- arithmetic

    def _sum(self, terms: Sequence[Expr]) -> Value:
        """Left to right, what is taken away by Sub."""
        positive = [t for t in terms if not _is_negative(t)]
        first, *rest = [*positive, *(t for t in terms if _is_negative(t))]
        total = self.real(first)
        for term in rest:
            if _is_negative(term):
                total = self._joined("Sub", [total, self.real(_opposite(term))])
            else:
                total = self._joined("Add", [total, self.real(term)])
        return total

    def _product(self, factors: Sequence[Expr]) -> Value:
        """What has a negative power is divided by."""
        above: list[Expr] = []
        below: list[Expr] = []
        for factor in factors:
            match factor:
                case Power(base, Number(exponent)) if exponent < 0:
                    below.append(base if exponent == -1 else Power(base, Number(-exponent)))
                case _:
                    above.append(factor)
        if above and above[0] == MINUS_ONE and len(above) > 1:
            return self._joined("Neg", [self._quotient(above[1:], below)])
        return self._quotient(above, below)

    def _quotient(self, above: Sequence[Expr], below: Sequence[Expr]) -> Value:
        total = self.real(above[0]) if above else self.graph.number(1)
        for factor in above[1:]:
            total = self._joined("Mul", [total, self.real(factor)])
        for factor in below:
            total = self._joined("Div", [total, self.real(factor)])
        return total

    def _power(self, base: Expr, exponent: Expr) -> Value:
        match exponent:
            case Number(e) if e < 0:
                return self._quotient([], [base if e == -1 else Power(base, Number(-e))])
            case Number(e) if e == 2:
                value = self.real(base)
                return self._joined("Mul", [value, value])
            case Number(e) if 2 * e == 1:
                return self._joined("Sqrt", [self.real(base)])
        return self._joined("Pow", [self.real(base), self.real(exponent)])

    # --- functions

    def _apply(self, function: str, arguments: list[Value]) -> Value:
        if function in UNARY:
            return self._joined(UNARY[function], arguments)
        if function in BINARY:
            return self._joined(BINARY[function], arguments)
        match function:
            case "step":
                return self._joined("Greater", [arguments[0], self.graph.number(0)], "bool")
            case "log1p":
                return self._log1p(arguments[0])
            case "expm1":  # tanh(a/2)*(exp(a) + 1): tanh is accurate near 0
                half = self._joined("Mul", [arguments[0], self.graph.number(0.5)])
                more = self._joined("Add", [self._joined("Exp", arguments), self.graph.number(1)])
                return self._joined("Mul", [self._joined("Tanh", [half]), more])
            case "softplus":
                small = self._joined("Exp", [self._joined("Neg", [self._joined("Abs", arguments)])])
                return self._joined("Add", [self._joined("Relu", arguments), self._log1p(small)])
            case "erf":
                return self._erf(arguments[0])
        raise self.not_expressible(function)

    def _log1p(self, a: Value) -> Value:
        """Kahan's: with w = 1 + a rounded, log(w)*a/(w - 1); a itself where w is 1."""
        w = self._joined("Add", [a, self.graph.number(1)])
        d = self._joined("Sub", [w, self.graph.number(1)])
        log = self._joined("Log", [w])
        exact = self._joined("Equal", [d, a], "bool")  # also at infinity, where a/d is no number
        curved = self._joined("Mul", [log, self._joined("Div", [a, d])])
        lost = self._joined("Equal", [d, self.graph.number(0)], "bool")
        return self._joined("Where", [lost, a, self._joined("Where", [exact, log, curved])])

    def _erf(self, a: Value) -> Value:
        if self.graph.dtype == "float32":
            return self._joined("Erf", [a])
        # ONNX Runtime has no Erf of doubles: this one result has single precision.
        found = self._joined("Erf", [self.graph.cast(a, "single")])
        return self.graph.cast(found, "float")

    # --- truth values and whole numbers

    def _compare(self, expr: Compare) -> Value:
        sides = [self.value(expr.left), self.value(expr.right)]
        if any(s.kind != "int" for s in sides):
            sides = [self.graph.real(s) for s in sides]
        found = self._joined(COMPARISONS[expr.operator], sides, "bool")
        return self._joined("Not", [found], "bool") if expr.operator == "!=" else found

    def _truth(self, expr: Expr) -> Value:
        value = self.value(expr)
        if value.kind == "bool":
            return value
        equal = self._joined("Equal", [self.graph.real(value), self.graph.number(0)], "bool")
        return self._joined("Not", [equal], "bool")

    def _whole(self, number: int) -> Value:
        return Value(self.graph.constant(np.asarray(number, np.int64), "place"), (), "int")

    def _positions(self, index: str) -> Value:
        if base_index(index) == self.samples:
            raise self.not_expressible(index)
        size = self.sizes[base_index(index)]
        if 8 * size > MAX_BYTES:
            raise SettingError(say("formats.onnx_too_large", came=8 * size, limit=MAX_BYTES))
        numbers = np.arange(size, dtype=np.int64)
        return Value(self.graph.constant(numbers, "places"), (index,), "int")

    def _size(self, index: str) -> Value:
        if index != self.samples:
            return self.graph.number(float(self.sizes[index]))
        count = self.graph.node("Squeeze", self.rows(), self.graph.whole(0))
        return self.graph.cast(Value(count, (), "int"), "float")

    def rows(self) -> str:
        """The number of samples, as a vector of one entry."""
        if self.batch is None:
            raise self.not_expressible(self.samples)
        return self.graph.node("Shape", self.batch, start=0, end=1)

    # --- elements

    def element(self, tensor: str, slots: Sequence[Slot]) -> Value:
        """A tensor at these slots: a fixed one is taken out, two equal ones are the diagonal."""
        value = self.tensors[tensor]
        renamed = dict(zip(self.declared[tensor], slots, strict=True))
        found: list[Slot] = [renamed[a] for a in value.axes]
        for place in reversed([n for n, s in enumerate(found) if isinstance(s, int)]):
            value = self._taken(value, place, found)
        axes = tuple(str(s) for s in found)
        if len(set(axes)) < len(axes):
            letters = {a: chr(ord("a") + n) for n, a in enumerate(dict.fromkeys(axes))}
            equation = f"{''.join(letters[a] for a in axes)}->{''.join(letters.values())}"
            return replace(value, name=self.graph.node("Einsum", value.name, equation=equation), axes=tuple(letters))
        return replace(value, axes=axes)

    def _taken(self, value: Value, place: int, slots: list[Slot]) -> Value:
        number = int(slots.pop(place))
        if value.name in self.graph.constants:
            name = self.graph.constant(self.graph.constants[value.name].take(number, place), f"{value.name}_taken")
        else:
            name = self.graph.node("Gather", value.name, self._whole(number).name, axis=place)
        return replace(value, name=name, axes=(*value.axes[:place], *value.axes[place + 1 :]))


def _is_negative(term: Expr) -> bool:
    match term:
        case Number(value) | Mul((Number(value), *_)):
            return value < 0
    return False


def _opposite(term: Expr) -> Expr:
    match term:
        case Number(value):
            return Number(-value)
        case Mul((Number(value), *rest)) if value == -1:
            return rest[0] if len(rest) == 1 else Mul(tuple(rest))
        case Mul((Number(value), *rest)):
            return Mul((Number(-value), *rest))
    raise AssertionError(term)
