"""Every loss against SciPy: value, gradient in the prediction, and the worked values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from chainrule.library import LOSSES

from .meaning import loss_gradient, loss_value

Array = np.ndarray[Any, Any]

RANDOM = np.random.default_rng(1)
SAMPLES, OUTPUTS = 9, 4
REAL = (RANDOM.normal(size=(SAMPLES, OUTPUTS)) * 2, RANDOM.normal(size=(SAMPLES, OUTPUTS)) * 2)
SHARES = (RANDOM.dirichlet(np.ones(OUTPUTS), SAMPLES), RANDOM.dirichlet(np.ones(OUTPUTS), SAMPLES))
SIGNS = (RANDOM.choice([-1.0, 1.0], (SAMPLES, OUTPUTS)), REAL[1])
PARTS = (RANDOM.uniform(size=(SAMPLES, OUTPUTS)), RANDOM.uniform(0.01, 0.99, size=(SAMPLES, OUTPUTS)))
COUNTS = (RANDOM.poisson(2.0, (SAMPLES, OUTPUTS)).astype(float), RANDOM.uniform(0.1, 4, (SAMPLES, OUTPUTS)))
LABELS = (RANDOM.integers(0, OUTPUTS, SAMPLES), SHARES[1])

# name: (target, prediction), E (N,), ∂E/∂p (N, K)
Oracle = tuple[tuple[Array, Array], Callable[[Array, Array], Array], Callable[[Array, Array], Array]]
ORACLES: dict[str, Oracle] = {
    "half_squared_error": (REAL, lambda t, p: np.linalg.norm(t - p, axis=1) ** 2 / 2, lambda t, p: p - t),
    "squared_error": (REAL, lambda t, p: np.linalg.norm(t - p, axis=1) ** 2, lambda t, p: 2 * (p - t)),
    "mean_squared_error": (
        REAL,
        lambda t, p: np.linalg.norm(t - p, axis=1) ** 2 / OUTPUTS,
        lambda t, p: 2 * (p - t) / OUTPUTS,
    ),
    "mean_absolute_error": (REAL, lambda t, p: np.linalg.norm(t - p, 1, axis=1), lambda t, p: np.sign(p - t)),
    "averaged_absolute_error": (
        REAL,
        lambda t, p: np.linalg.norm(t - p, 1, axis=1) / OUTPUTS,
        lambda t, p: np.sign(p - t) / OUTPUTS,
    ),
    "huber": (
        REAL,
        lambda t, p: special.huber(1.0, p - t).mean(axis=1),
        lambda t, p: np.clip(p - t, -1, 1) / OUTPUTS,
    ),
    "binary_cross_entropy": (
        PARTS,
        lambda t, p: -(special.xlogy(t, p) + special.xlog1py(1 - t, -p)).sum(axis=1),
        lambda t, p: (p - t) / (p * (1 - p)),
    ),
    "averaged_binary_cross_entropy": (
        PARTS,
        lambda t, p: -(special.xlogy(t, p) + special.xlog1py(1 - t, -p)).mean(axis=1),
        lambda t, p: (p - t) / (p * (1 - p)) / OUTPUTS,
    ),
    "categorical_cross_entropy": (SHARES, lambda t, p: -special.xlogy(t, p).sum(axis=1), lambda t, p: -t / p),
    "sparse_categorical_cross_entropy": (
        LABELS,
        lambda y, p: -np.log(p[np.arange(SAMPLES), y]),
        lambda y, p: -np.eye(OUTPUTS)[y] / p,
    ),
    "kl_divergence": (SHARES, lambda t, p: special.rel_entr(t, p).sum(axis=1), lambda t, p: -t / p),
    "hinge": (
        SIGNS,
        lambda t, p: np.clip(1 - t * p, 0, None).mean(axis=1),
        lambda t, p: np.where(t * p < 1, -t, 0) / OUTPUTS,
    ),
    "squared_hinge": (
        SIGNS,
        lambda t, p: (np.clip(1 - t * p, 0, None) ** 2).mean(axis=1),
        lambda t, p: -2 * t * np.clip(1 - t * p, 0, None) / OUTPUTS,
    ),
    "poisson": (COUNTS, lambda t, p: (p - special.xlogy(t, p)).mean(axis=1), lambda t, p: (1 - t / p) / OUTPUTS),
    "log_cosh": (REAL, lambda t, p: np.log(np.cosh(p - t)).mean(axis=1), lambda t, p: np.tanh(p - t) / OUTPUTS),
    "quantile": (REAL, lambda t, p: np.abs(t - p).mean(axis=1) / 2, lambda t, p: np.sign(p - t) / 2 / OUTPUTS),
}


@pytest.mark.parametrize("name", ORACLES)
def test_value(name: str) -> None:
    (t, p), value, _ = ORACLES[name]
    np.testing.assert_allclose(loss_value(LOSSES[name], t, p), value(t, p), rtol=1e-12)


@pytest.mark.parametrize("name", ORACLES)
def test_gradient(name: str) -> None:
    (t, p), _, gradient = ORACLES[name]
    np.testing.assert_allclose(loss_gradient(LOSSES[name], t, p), gradient(t, p), rtol=1e-10, atol=1e-12)


TWO = np.eye(10)[[2]]
RIGHT = np.array([[0.1, 0.05, 0.6, 0, 0.05, 0.1, 0, 0.1, 0, 0]])
WRONG = np.array([[0.1, 0.05, 0.1, 0, 0.05, 0.1, 0, 0.6, 0, 0]])


@pytest.mark.parametrize(
    ("name", "p", "value"),
    [
        ("half_squared_error", RIGHT, 0.0975),
        ("half_squared_error", WRONG, 0.5975),
        ("mean_squared_error", RIGHT, 0.0195),
        ("mean_absolute_error", RIGHT, 0.8),
        ("averaged_absolute_error", RIGHT, 0.08),
    ],
)
def test_worked_values(name: str, p: Array, value: float) -> None:
    assert loss_value(LOSSES[name], TWO, p) == pytest.approx([value], abs=1e-15)


def test_worked_value_of_the_one_layer_reader() -> None:
    nine, p = np.eye(10)[[9]], np.full((1, 10), 0.1)
    p[0, 9] = 0.9
    assert loss_value(LOSSES["half_squared_error"], nine, p) == pytest.approx([0.05], abs=1e-15)


# Only t_k p_k > 0 terms reach the log here: 0·log 0 = 0 is the simplifier's business, not the row's.
@pytest.mark.parametrize(("p", "value"), [(RIGHT, 0.510825623765990), (WRONG, 2.302585092994045)])
def test_worked_values_of_the_cross_entropy(p: Array, value: float) -> None:
    seen = p > 0
    categorical, labelled = LOSSES["categorical_cross_entropy"], LOSSES["sparse_categorical_cross_entropy"]
    assert loss_value(categorical, TWO[seen][None], p[seen][None]) == pytest.approx([value], abs=1e-14)
    assert loss_value(labelled, np.array([2]), p[seen][None]) == pytest.approx([value], abs=1e-14)


@pytest.mark.parametrize("distance", [-1e4, 1e4])
def test_log_cosh_of_large_errors_in_float32(distance: float) -> None:
    t, p = np.zeros((1, 1), np.float32), np.full((1, 1), distance, np.float32)
    assert loss_value(LOSSES["log_cosh"], t, p) == pytest.approx([1e4 - np.log(2)], rel=1e-6)


def test_huber_joins_both_halves() -> None:
    t, p = np.zeros((4, 1)), np.array([[0.5], [1.9999999], [2.0], [5.0]])
    expected = [0.125, 2.0, 2.0, 8.0]
    assert loss_value(LOSSES["huber"], t, p, delta=2.0) == pytest.approx(expected, abs=1e-6)


def test_quantile_weighs_the_sides() -> None:
    t, p = np.array([[1.0], [1.0]]), np.array([[0.0], [2.0]])
    assert loss_value(LOSSES["quantile"], t, p, tau=0.9) == pytest.approx([0.9, 0.1])


def test_the_mean_minimizes_the_squared_error_and_the_median_the_absolute_one() -> None:
    data = np.array([[1.0], [2.0], [3.0], [4.0], [90.0]])
    tries = np.arange(0, 100, 0.5)
    for name, best in {"mean_squared_error": 20.0, "mean_absolute_error": 3.0}.items():
        totals = [loss_value(LOSSES[name], data, np.full((5, 1), c)).sum() for c in tries]
        assert tries[int(np.argmin(totals))] == best
