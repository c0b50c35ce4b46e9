"""Every scalar function: its value against the standard library and SciPy, its claims against its definition."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import scipy.special

from chainrule.formula.evaluate import evaluate
from chainrule.formula.functions import ARGUMENTS, FUNCTIONS, Function
from chainrule.formula.parse import parse_expression
from chainrule.formula.system import Tensor

STEP = 1e-30  # of the complex step: far below rounding, so that the derivative is exact to the last digits
REFERENCES = {
    "exp": np.exp,
    "log": np.log,
    "log1p": scipy.special.log1p,
    "expm1": scipy.special.expm1,
    "sin": np.sin,
    "cos": np.cos,
    "erf": scipy.special.erf,
    "tanh": np.tanh,
    "sigmoid": scipy.special.expit,
    "softplus": lambda a: np.logaddexp(0, a),
    "relu": lambda a: np.maximum(a, 0),
    "abs": np.abs,
    "max": np.maximum,
    "min": np.minimum,
    "step": lambda a: np.heaviside(a, 0),
    "sign": np.sign,
    "floor": np.floor,
}
POSITIVE = {"log", "log1p"}
UNARY = [row for row in FUNCTIONS.values() if row.arity == 1]
by_name = pytest.mark.parametrize("row", FUNCTIONS.values(), ids=lambda row: row.name)


def points(row: Function) -> list[np.ndarray]:
    """Arguments in the domain, none at a kink."""
    a = np.array([-7.25, -3.5, -1.2, -0.6, -1e-3, 1e-3, 0.3, 1.7, 4.4, 9.1])
    return [np.abs(a) if row.name in POSITIVE else a, np.roll(a, 3) / 2][: row.arity]


def value(text: str, *arguments: np.ndarray) -> np.ndarray:
    tensors = {name: Tensor(name, "parameter", ("i",)) for name in ARGUMENTS}
    arrays = dict(zip(ARGUMENTS, arguments, strict=False))
    body = re.sub(r"\b[ab]\b", lambda name: f"{name[0]}[i]", text)
    return evaluate(parse_expression(body, tensors), arrays, ("i",), sizes={"i": len(arguments[0])})


def test_every_row_has_a_reference_and_its_own_name():
    assert set(REFERENCES) == set(FUNCTIONS)
    assert all(name == row.name for name, row in FUNCTIONS.items())
    assert all(len(row.derivatives) in (0, row.arity) for row in FUNCTIONS.values())
    assert all((row.kink is None) == (row.subgradient is None) for row in FUNCTIONS.values())
    assert [row.name for row in FUNCTIONS.values() if not row.derivatives] == ["step", "sign", "floor"]


@by_name
def test_the_value(row):
    np.testing.assert_allclose(row.value(*points(row)), REFERENCES[row.name](*points(row)), rtol=2e-15)


@by_name
def test_the_value_far_out_and_at_zero(row):
    far = np.array([0.0, -0.0, 1e4, -1e4, 1e-300, -1e-300, np.inf, -np.inf, np.nan])
    arguments = [np.abs(far) if row.name in POSITIVE else far, np.ones_like(far)][: row.arity]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(row.value(*arguments), REFERENCES[row.name](*arguments), rtol=1e-15)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "tanh", "relu", "erf", "abs", "step"])
def test_the_value_is_finite_in_float32(name):
    a = np.array([-1e4, -88.8, -1, 0, 1, 88.8, 1e4], np.float32)
    found = FUNCTIONS[name].value(a)
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(found, REFERENCES[name](a.astype(np.float64)), rtol=1e-6, atol=1e-38)


@by_name
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_value_keeps_the_kind_of_number(row, dtype):
    arguments = [p.astype(dtype) for p in points(row)]
    assert row.value(*arguments).dtype == dtype
    assert np.asarray(row.value(*(a[0] for a in arguments))).dtype == dtype


@by_name
def test_the_derivative_is_what_the_complex_step_gives(row):
    for place, derivative in enumerate(row.derivatives):
        arguments = [p.astype(complex) for p in points(row)]
        arguments[place] += 1j * STEP
        slope = np.imag(row.value(*arguments)) / STEP
        # 1 - tanh² has the error of the 1.
        np.testing.assert_allclose(value(derivative, *points(row)), slope, rtol=1e-13, atol=1e-15)


@by_name
def test_the_derivative_is_what_differences_give(row):
    """An oracle without complex numbers: some rows treat these on purpose. Error h²f''' + eps/h, h = eps^(1/3)."""
    for place, derivative in enumerate(row.derivatives):
        step = np.zeros(row.arity)
        step[place] = np.finfo(np.float64).eps ** (1 / 3)
        above = row.value(*(p + h for p, h in zip(points(row), step, strict=True)))
        below = row.value(*(p - h for p, h in zip(points(row), step, strict=True)))
        slope = (above - below) / (2 * step[place])
        arguments = points(row)
        if row.name == "log":  # its third derivative at 0.001 is 2e9
            arguments, slope = [arguments[0][arguments[0] > 0.1]], slope[arguments[0] > 0.1]
        np.testing.assert_allclose(value(derivative, *arguments), slope, rtol=1e-7, atol=1e-9)


@by_name
def test_a_complex_step_does_not_touch_the_value(row):
    moved = [p + 1j * STEP for p in points(row)]
    # NumPy's complex log1p takes the logarithm of a modulus near 1.
    np.testing.assert_allclose(np.real(row.value(*moved)), row.value(*points(row)), rtol=2e-15, atol=2e-16)


@pytest.mark.parametrize("row", [r for r in UNARY if r.definition], ids=lambda row: row.name)
def test_the_definition_has_the_same_value(row):
    (a,) = points(row)
    np.testing.assert_allclose(value(row.definition, a), row.value(a), rtol=1e-12)


@pytest.mark.parametrize("row", [r for r in UNARY if r.definition], ids=lambda row: row.name)
def test_the_definition_has_the_same_derivative(row):
    (a,) = points(row)
    slope = np.imag(value(row.definition, a + 1j * STEP)) / STEP
    np.testing.assert_allclose(value(row.derivatives[0], a), slope, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "at", "slopes"),
    [("relu", (0.0,), ["0"]), ("abs", (0.0,), ["0"]), ("max", (2.0, 2.0), ["0", "1"]), ("min", (2.0, 2.0), ["0", "1"])],
)
def test_the_slope_at_a_kink_is_the_subgradient_that_is_named(name, at, slopes):
    row = FUNCTIONS[name]
    found = [float(value(d, *(np.array([x]) for x in at))[0]) for d in row.derivatives]
    assert [str(int(f)) for f in found] == slopes == row.subgradient.split(", ")


def test_small_arguments_keep_their_digits():
    assert FUNCTIONS["expm1"].value(np.array(1e-20)) == 1e-20
    assert FUNCTIONS["log1p"].value(np.array(1e-20)) == 1e-20
    assert FUNCTIONS["softplus"].value(np.array(-40.0)) == pytest.approx(math.exp(-40), rel=1e-15)
    assert FUNCTIONS["sigmoid"].value(np.array(-700.0)) == pytest.approx(math.exp(-700), rel=1e-15)
