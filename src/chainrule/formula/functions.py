"""The scalar functions of the notation, one row each: value, derivative, kink.

A derivative is a formula in the function's arguments (a, b), so that it is typeset, simplified and compiled like any
other. σ′ = σ(1−σ) and its kin are claims; a test derives each from the definition and proves them equal. Where a
function has a kink, `kink` says where, and `subgradient` which of the possible slopes is used there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # numpy arrays of float32, float64 or complex128 (the complex step runs through the same rows)


@dataclass(frozen=True)
class Function:
    """One scalar function.

    `derivatives` holds one formula per argument, empty where there is none; `definition` is the formula that a claimed
    derivative is proved from (None for the primitives of calculus).
    """

    name: str
    value: Callable[..., Array]
    derivatives: tuple[str, ...]
    definition: str | None = None
    kink: str | None = None
    subgradient: str | None = None
    latex: str | None = None

    @property
    def arity(self) -> int:
        return int(self.value.__code__.co_argcount)


ARGUMENTS = ("a", "b")


def _sigmoid(a: Array) -> Array:
    # exp of a negative number only: exp(x) overflows float32 above 88.7.
    e = np.exp(np.where(np.real(a) > 0, -a, a))
    return np.where(np.real(a) > 0, 1 / (1 + e), e / (1 + e))


def _softplus(a: Array) -> Array:
    positive = np.real(a) > 0
    return np.where(positive, a, 0) + np.log1p(np.exp(np.where(positive, -a, a)))


def _erf(a: Array) -> Array:
    """The C library's erf entry by entry: NumPy has none, and SciPy is no dependency."""
    a = np.asarray(a)
    real = np.vectorize(math.erf, otypes=[np.float64])(np.real(a))
    if np.iscomplexobj(a):
        # One Taylor term is exact for a complex step: erf(x + ih) = erf(x) + ih 2/√π exp(-x²), as h² vanishes.
        return real + 1j * np.imag(a) * (2 / np.sqrt(np.pi)) * np.exp(-(np.real(a) ** 2))
    return real.astype(a.dtype if a.dtype.kind == "f" else np.float64)


def _maximum(a: Array, b: Array) -> Array:
    nan = np.isnan(np.real(a)) | np.isnan(np.real(b))
    return np.where(nan, a + b, np.where(np.real(a) > np.real(b), a, b))


def _minimum(a: Array, b: Array) -> Array:
    return -_maximum(-a, -b)


def _relu(a: Array) -> Array:
    # NaN stays NaN: a dead comparison would hide it.
    return np.where(np.real(a) <= 0, 0, a)


def _abs(a: Array) -> Array:
    return np.where(np.real(a) < 0, -a, a)


def _floor(a: Array) -> Array:
    return np.floor(np.real(a))


FUNCTIONS: dict[str, Function] = {
    row.name: row
    for row in (
        Function("exp", lambda a: np.exp(a), ("exp(a)",)),
        Function("log", lambda a: np.log(a), ("1/a",), latex=r"\ln"),
        Function("log1p", lambda a: np.log1p(a), ("1/(1 + a)",), definition="log(1 + a)"),
        Function("expm1", lambda a: np.expm1(a), ("exp(a)",), definition="exp(a) - 1"),
        Function("sin", lambda a: np.sin(a), ("cos(a)",), latex=r"\sin"),
        Function("cos", lambda a: np.cos(a), ("-sin(a)",), latex=r"\cos"),
        Function("erf", lambda a: _erf(a), ("2/sqrt(pi)*exp(-a**2)",)),
        Function(
            "tanh",
            lambda a: np.tanh(a),
            ("1 - tanh(a)**2",),
            definition="(exp(a) - exp(-a))/(exp(a) + exp(-a))",
            latex=r"\tanh",
        ),
        Function(
            "sigmoid",
            lambda a: _sigmoid(a),
            ("sigmoid(a)*(1 - sigmoid(a))",),
            definition="1/(1 + exp(-a))",
            latex=r"\sigma",
        ),
        Function("softplus", lambda a: _softplus(a), ("sigmoid(a)",), definition="log(1 + exp(a))"),
        Function("relu", lambda a: _relu(a), ("step(a)",), kink="a = 0", subgradient="0"),
        Function("abs", lambda a: _abs(a), ("sign(a)",), kink="a = 0", subgradient="0"),
        Function("max", lambda a, b: _maximum(a, b), ("[a > b]", "[a <= b]"), kink="a = b", subgradient="0, 1"),
        Function("min", lambda a, b: _minimum(a, b), ("[a < b]", "[a >= b]"), kink="a = b", subgradient="0, 1"),
        Function("step", lambda a: np.where(np.isnan(a), a, np.real(a) > 0), ()),
        Function("sign", lambda a: np.sign(np.real(a)), ()),
        Function("floor", lambda a: _floor(a), ()),
    )
}
