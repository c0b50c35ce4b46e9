"""Every activation against SciPy: value and derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from chainrule.library import ACTIVATIONS

from .meaning import COMPLEX_STEP, activation_value

Array = np.ndarray[Any, Any]
Oracle = tuple[Callable[[Array], Array], Callable[[Array], Array]]

# No 0 here: where a kink sits at 0 the slope is tested by name below.
POINTS = np.array([-30.0, -5.5, -2.0, -1.0, -0.3, -1e-3, 1e-3, 0.4, 1.0, 2.5, 7.0, 30.0])
SCALE, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

ORACLES: dict[str, Oracle] = {
    "linear": (lambda a: a, np.ones_like),
    "step": (lambda a: np.heaviside(a, 0.0), np.zeros_like),
    "sigmoid": (special.expit, lambda a: special.expit(a) * special.expit(-a)),
    "tanh": (np.tanh, lambda a: 1 / np.cosh(a) ** 2),
    "relu": (lambda a: np.clip(a, 0, None), lambda a: np.heaviside(a, 0.0)),
    "leaky_relu": (lambda a: np.maximum(a, 0) + 0.01 * np.minimum(a, 0), lambda a: np.where(a > 0, 1, 0.01)),
    "elu": (lambda a: np.maximum(a, 0) + np.expm1(np.minimum(a, 0)), lambda a: np.exp(np.minimum(a, 0))),
    "selu": (
        lambda a: SCALE * (np.maximum(a, 0) + ALPHA * np.expm1(np.minimum(a, 0))),
        lambda a: SCALE * np.where(a > 0, 1, ALPHA * np.exp(np.minimum(a, 0))),
    ),
    "gelu": (lambda a: a * stats.norm.cdf(a), lambda a: stats.norm.cdf(a) + a * stats.norm.pdf(a)),
    "swish": (
        lambda a: a * special.expit(a),
        lambda a: special.expit(a) + a * special.expit(a) * special.expit(-a),
    ),
    "softplus": (lambda a: np.logaddexp(0, a), special.expit),
    "softsign": (lambda a: a / (1 + np.abs(a)), lambda a: (1 + np.abs(a)) ** -2),
}


@pytest.mark.parametrize("name", ORACLES)
def test_value(name: str) -> None:
    # 1e-12 absolute: at a = -30 log(1 + exp(a)), as written, keeps 3 digits of its 1e-13. Stable forms are simplify's.
    np.testing.assert_allclose(
        activation_value(ACTIVATIONS[name], POINTS), ORACLES[name][0](POINTS), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", ORACLES)
def test_derivative(name: str) -> None:
    moved = activation_value(ACTIVATIONS[name], POINTS + 1j * COMPLEX_STEP)
    np.testing.assert_allclose(np.imag(moved) / COMPLEX_STEP, ORACLES[name][1](POINTS), rtol=1e-12, atol=1e-12)


def test_at_zero() -> None:
    zero = np.zeros(1)
    values = {name: float(activation_value(ACTIVATIONS[name], zero)[0]) for name in ORACLES}
    halves = {"sigmoid": 0.5, "softplus": np.log(2)}
    assert values == pytest.approx({name: halves.get(name, 0.0) for name in ORACLES})


def test_relu_has_slope_0_at_0() -> None:
    moved = activation_value(ACTIVATIONS["relu"], np.zeros(1) + 1j * COMPLEX_STEP)
    assert np.imag(moved) == 0


def test_hyper_parameters_are_used() -> None:
    a = np.array([-2.0, 3.0])
    np.testing.assert_allclose(activation_value(ACTIVATIONS["leaky_relu"], a, negative_slope=0.3), [-0.6, 3])
    np.testing.assert_allclose(activation_value(ACTIVATIONS["elu"], a, alpha=2.0), [2 * np.expm1(-2), 3])
    np.testing.assert_allclose(activation_value(ACTIVATIONS["swish"], a, beta=0.0), a / 2)


def test_selu_keeps_mean_0_and_variance_1() -> None:
    # What its constants were made for, of standard normal inputs; Gauss-Legendre from -40 to 0 and from 0 to 40.
    x, weight = np.polynomial.legendre.leggauss(400)
    sides = [(20 * (x - 1), 20 * weight), (20 * (x + 1), 20 * weight)]
    moments = [
        sum(float(np.sum(w * stats.norm.pdf(p) * activation_value(ACTIVATIONS["selu"], p) ** power)) for p, w in sides)
        for power in (1, 2)
    ]
    assert moments == pytest.approx([0, 1], abs=1e-9)


def test_softmax() -> None:
    a = np.random.default_rng(0).normal(size=(7, 5)) * 4
    row = ACTIVATIONS["softmax"]
    p = activation_value(row, a)
    np.testing.assert_allclose(p, special.softmax(a, axis=1), rtol=1e-13)
    for k in range(5):
        moved = a.astype(complex)
        moved[:, k] += 1j * COMPLEX_STEP
        jacobian = np.imag(activation_value(row, moved)) / COMPLEX_STEP
        np.testing.assert_allclose(jacobian, p * (np.eye(5)[k] - p[:, [k]]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("a", [-1e4, 1e4])
def test_softmax_of_large_numbers_in_float32(a: float) -> None:
    p = activation_value(ACTIVATIONS["softmax"], np.array([[0, a, a]], dtype=np.float32))
    np.testing.assert_allclose(p, [[1, 0, 0]] if a < 0 else [[0, 0.5, 0.5]])
