"""The slow, obvious meaning of a formula in NumPy: the oracle of every test.

Every sub-expression becomes an array with one axis per free index. Works in float32, float64 and, for the complex step,
in complex128. It computes what is written: the stable forms are simplify.py's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.formula.distributions import even_numbers, formula_of, key_name, keys
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
    Symbol,
    Where,
    base_index,
)
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.lookup import add_rows, find_rows
from chainrule.formula.system import Equation, System
from chainrule.messages import say

MAX_OPERANDS = 16  # NumPy's einsum takes 32, of 32 indices in all
LARGE_PRODUCT = 1_000_000  # multiplications: about a millisecond

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class _Value:
    """An array whose axes are named by indices."""

    array: Array
    axes: tuple[str, ...]

    def along(self, axes: tuple[str, ...]) -> Array:
        """The array with exactly these axes, of length 1 where it has none of its own."""
        order = [self.axes.index(a) for a in axes if a in self.axes]
        shape = [self.array.shape[self.axes.index(a)] if a in self.axes else 1 for a in axes]
        return self.array.transpose(order).reshape(shape)


Memory = dict[int, tuple[Expr, _Value]]


def evaluate(
    expr: Expr,
    arrays: Arrays,
    axes: tuple[str, ...] = (),
    *,
    sizes: Mapping[str, int] | None = None,
    scalars: Mapping[str, float] | None = None,
    memory: Memory | None = None,
) -> Array:
    """The value of `expr` as an array with one axis per index of `axes`.

    `memory` keeps the values of all parts for expressions that share them, node by node, with this one; what belongs
    to it are the same arrays, sizes and scalars.
    Raises: ShapeError for an index or a symbol without a value.
    Example:
    >>> from chainrule.formula.parse import parse_expression
    >>> evaluate(parse_expression("sum[i](x[i]*w[i, j])"), {"x": np.array([1.0, 2]), "w": np.eye(2)}, ("j",))
    array([1., 2.])
    """
    with np.errstate(all="ignore"):
        evaluator = _Evaluator(arrays, sizes or {}, scalars or {})
        if memory is not None:
            evaluator = _Remembering(arrays, sizes or {}, scalars or {}, memory)
        value = evaluator.value(expr)
        shape = [value.array.shape[value.axes.index(a)] if a in value.axes else evaluator.size(a) for a in axes]
        return np.array(np.broadcast_to(evaluator.inexact(value).along(axes), shape))


def run_system(
    system: System, arrays: Arrays, sizes: Mapping[str, int], scalars: Mapping[str, float] | None = None
) -> dict[str, Array]:
    """Every computed tensor of the system, by name, added to the given arrays."""
    return run_equations(system.equations, arrays, sizes, scalars)


def run_equations(
    equations: Iterable[Equation], arrays: Arrays, sizes: Mapping[str, int], scalars: Mapping[str, float] | None = None
) -> dict[str, Array]:
    """What these equations compute, one after the other, added to the given arrays."""
    known = dict(arrays)
    for equation in equations:
        axes = tuple(str(s) for s in equation.target.slots)
        known[equation.target.tensor] = evaluate(equation.value, known, axes, sizes=sizes, scalars=scalars)
    return known


class _Evaluator:
    def __init__(self, arrays: Arrays, sizes: Mapping[str, int], scalars: Mapping[str, float]):
        self.arrays, self.sizes, self.scalars = arrays, sizes, scalars
        floats = [a.dtype for a in arrays.values() if a.dtype.kind in "fc"]
        self.dtype = np.result_type(*floats) if floats else np.dtype(np.float64)

    def value(self, expr: Expr) -> _Value:
        match expr:
            case Number(value):
                return _Value(np.asarray(float(value), dtype=self._real()), ())
            case Symbol(name):
                if name not in self.scalars:
                    raise ShapeError(say("formula.hyper_unknown", name=name))
                return _Value(np.asarray(self.scalars[name], dtype=self._real()), ())
            case Size(index):
                return _Value(np.asarray(float(self.size(index)), dtype=self._real()), ())
            case Position(index):
                return _Value(np.arange(self.size(index)), (index,))
            case Element(tensor, slots):
                return self._element(self.arrays[tensor], slots)
            case Delta(left, right):
                return self._delta(left, right)
            case Add(terms):
                return self._spread(lambda *a: sum(a[1:], start=a[0]), *terms)
            case Mul(factors):
                return self._product(factors)
            case Power(base, exponent):
                return self._spread(_power, base, exponent)
            case Apply(function, arguments):
                return self._spread(FUNCTIONS[function].value, *arguments)
            case Compare(operator, left, right):
                # Whole numbers are compared as they are: a float32 cannot tell class 16777217 from 16777216.
                sides = self.value(left), self.value(right)
                return self._join(lambda a, b: _compare(operator, a, b).astype(self._real()), *sides)
            case Where(condition, yes, no):
                return self._spread(lambda c, y, n: np.where(c != 0, y, n), condition, yes, no)
            case Reduction("sum", indices, body) if (found := self._by_class_numbers(indices, body)) is not None:
                return found
            case Reduction("sum", indices, Mul(factors)):
                return self._einsum(indices, [self.inexact(self.value(f)) for f in factors])
            case Reduction(kind, indices, body):
                return self._reduce(kind, indices, self.inexact(self.value(body)))
            case Normalized(kind, index, body):
                return self._normalize(kind, index, self.inexact(self.value(body)))
            case Random():
                return self.value(formula_of(expr))
            case Draw():
                return self._draw(expr)
        raise AssertionError(f"unknown node {type(expr).__name__}")

    def _product(self, factors: tuple[Expr, ...]) -> _Value:
        """What has a negative power is divided by: 49*(1/49) is below 1, and floor(step/49) would come a step late."""
        above: list[Expr] = []
        below: list[Expr] = []
        for factor in factors:
            match factor:
                case Power(base, Number(exponent)) if exponent < 0:
                    below.append(base if exponent == -1 else Power(base, Number(-exponent)))
                case Number(value) if value.numerator == 1 and value.denominator > 1:
                    below.append(Number(1 / value))
                case _:
                    above.append(factor)
        count = len(above)
        return self._spread(lambda *a: _quotient(a[:count], a[count:]), *above, *below)

    def inexact(self, value: _Value) -> _Value:
        """Labels, pixels and positions to compute with: bytes would overflow, int64 make float64 of float32."""
        if value.array.dtype.kind not in "biu":
            return value
        return _Value(value.array.astype(self._real()), value.axes)

    def _real(self) -> np.dtype[Any]:
        return np.zeros(0, self.dtype).real.dtype

    def size(self, index: str) -> int:
        index = base_index(index)
        if index not in self.sizes:
            raise ShapeError(say("formula.size_unknown", index=index))
        return self.sizes[index]

    def _element(self, array: Array, slots: tuple[str | int, ...]) -> _Value:
        for axis in reversed([n for n, s in enumerate(slots) if isinstance(s, int)]):
            array = array.take(int(slots[axis]), axis=axis)
        names = [str(s) for s in slots if not isinstance(s, int)]
        axes = tuple(dict.fromkeys(names))
        if len(axes) < len(names):  # A[i, i] is the diagonal
            array = np.einsum(array, [axes.index(n) for n in names], list(range(len(axes))))
        return _Value(array, axes)

    def _draw(self, draw: Draw) -> _Value:
        """By the key among the arrays; without one, as at seed 0 and step 1: the same whenever it is asked for."""
        given = self.arrays.get(key_name(draw.tensor))
        own = keys(draw.tensor, draw.number + 1, 0, [1])[0] if given is None else given
        axes = tuple(map(str, draw.slots))
        rows, *inner = (self.size(a) for a in axes)
        drawn = even_numbers(int(own[draw.number]), rows, math.prod(inner), self._real().name)
        return _Value(drawn.reshape(rows, *inner), axes)

    def _delta(self, left: str | int, right: str | int) -> _Value:
        def positions(slot: str | int) -> _Value:
            if isinstance(slot, int):
                return _Value(np.asarray(slot), ())
            return _Value(np.arange(self.size(slot)), (slot,))

        return self._join(lambda a, b: (a == b).astype(self._real()), positions(left), positions(right))

    def _spread(self, function: Callable[..., Any], *parts: Expr) -> _Value:
        return self._join(function, *(self.inexact(self.value(p)) for p in parts))

    def _join(self, function: Callable[..., Any], *values: _Value) -> _Value:
        axes = tuple(dict.fromkeys(a for v in values for a in v.axes))
        return _Value(np.asarray(function(*(v.along(axes) for v in values))), axes)

    def _einsum(self, indices: tuple[str, ...], values: list[_Value]) -> _Value:
        while len(values) > MAX_OPERANDS:
            values = [self._join(_product, *values[:MAX_OPERANDS]), *values[MAX_OPERANDS:]]
        axes = tuple(dict.fromkeys(a for v in values for a in v.axes))
        kept = tuple(a for a in axes if a not in indices)
        operands: list[Any] = []
        for v in values:
            operands += [v.array, [axes.index(a) for a in v.axes]]
        # NumPy's own loop for all that tests look at; a large product goes to the BLAS, some ten times as fast.
        large = math.prod(_length(a, values) for a in axes) > LARGE_PRODUCT
        result = np.einsum(*operands, [axes.index(a) for a in kept], optimize=large)
        repeats = math.prod(self.size(i) for i in indices if i not in axes)  # Σ_i over what has no i
        return _Value(np.asarray(result * repeats), kept)

    def _by_class_numbers(self, indices: tuple[str, ...], body: Expr) -> _Value | None:
        """A large sum with a factor [v == c] from the rows c alone, which takes no memory for all of [v == c]."""
        found = find_rows(body, indices, self.arrays, self.sizes, LARGE_PRODUCT)
        if found is None:
            return None
        evaluator = _Evaluator(found.arrays, self.sizes, self.scalars)
        inner = tuple(i for i in indices if i != found.index and (not found.adds or i not in found.entry))
        terms = Reduction("sum", inner, found.body) if inner else found.body
        value = evaluator.inexact(evaluator.value(terms))
        if not found.adds:
            return value
        others = tuple(a for a in value.axes if a not in found.entry)
        shape = [value.array.shape[value.axes.index(a)] for a in others]
        wanted = (*found.numbers.shape, *shape)
        rows = np.broadcast_to(value.along((*found.entry, *others)), wanted).reshape(-1, *shape)
        return _Value(add_rows(rows, found.numbers.reshape(-1), self.size(found.index)), (found.index, *others))

    def _reduce(self, kind: str, indices: tuple[str, ...], value: _Value) -> _Value:
        missing = tuple(i for i in indices if i not in value.axes)
        if missing:
            shape = tuple(self.size(i) for i in missing)
            widened = value.array.reshape(*value.array.shape, *(1,) * len(shape))
            value = _Value(np.broadcast_to(widened, (*value.array.shape, *shape)), (*value.axes, *missing))
        axes = tuple(value.axes.index(i) for i in indices)
        kept = tuple(a for a in value.axes if a not in indices)
        return _Value(np.asarray(_REDUCE[kind](value.array, axes)), kept)

    def _normalize(self, kind: str, index: str, value: _Value) -> _Value:
        if index not in value.axes:
            value = _Value(np.repeat(value.array[..., None], self.size(index), axis=-1), (*value.axes, index))
        axis = (value.axes.index(index),)
        shifted = value.array - _extreme(np.max, value.array, axis, keepdims=True)
        total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
        return _Value(np.exp(shifted) / total if kind == "softmax" else shifted - np.log(total), value.axes)


class _Remembering(_Evaluator):
    """Looks a node up by its identity; the memory holds the node too, so that no other can get its number."""

    def __init__(self, arrays: Arrays, sizes: Mapping[str, int], scalars: Mapping[str, float], memory: Memory):
        super().__init__(arrays, sizes, scalars)
        self.memory = memory

    def value(self, expr: Expr) -> _Value:
        found = self.memory.get(id(expr))
        if found is None:
            found = self.memory[id(expr)] = (expr, super().value(expr))
        return found[1]


def _length(axis: str, values: list[_Value]) -> int:
    """How many entries an axis has."""
    return next(int(v.array.shape[v.axes.index(axis)]) for v in values if axis in v.axes)


def _product(*arrays: Array) -> Array:
    return np.asarray(math.prod(arrays[1:], start=arrays[0]))


def _quotient(above: Sequence[Array], below: Sequence[Array]) -> Array:
    if not below:
        return _product(*above)
    return np.asarray(np.divide(_product(*above) if above else 1.0, _product(*below)))


def _power(base: Array, exponent: Array) -> Array:
    if exponent.size == 1 and np.all(np.isfinite(exponent)) and not np.any(np.imag(exponent)):
        e = float(np.real(exponent.reshape(-1)[0]))  # a complex step that moves the exponent takes the last line
        if e == 0.5:
            return np.asarray(np.sqrt(base))
        if e == int(e) and abs(e) < 2**31:
            return np.asarray(np.power(base, int(e)) if e > 0 else 1 / np.power(base, int(-e)))
    return np.asarray(np.power(base, exponent))


def _compare(operator: str, left: Array, right: Array) -> Array:
    a, b = np.real(left), np.real(right)
    table = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal}
    return np.not_equal(a, b) if operator == "!=" else np.asarray(table[operator](a, b))


def _extreme(choose: Callable[..., Any], array: Array, axes: tuple[int, ...], *, keepdims: bool = False) -> Array:
    """max or min by the real part; for a complex step the entry that has it, mean over ties."""
    real = np.real(array)
    best = choose(real, axis=axes, keepdims=True)
    if np.iscomplexobj(array):
        mask = real == best
        best = np.sum(array * mask, axis=axes, keepdims=True) / np.sum(mask, axis=axes, keepdims=True)
    return np.asarray(best if keepdims else np.squeeze(best, axis=axes))


def _logsumexp(array: Array, axes: tuple[int, ...]) -> Array:
    top = _extreme(np.max, array, axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)  # the sum of nothing but exp(-inf) is 0, and no NaN
    total = np.sum(np.exp(array - top), axis=axes, keepdims=True)
    return np.asarray(np.squeeze(top + np.log(total), axis=axes))


_REDUCE: dict[str, Callable[[Array, tuple[int, ...]], Any]] = {
    "sum": lambda array, axes: np.sum(array, axis=axes),
    "max": lambda array, axes: _extreme(np.max, array, axes),
    "min": lambda array, axes: _extreme(np.min, array, axes),
    "logsumexp": _logsumexp,
}
