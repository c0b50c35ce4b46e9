"""Every schedule: against NumPy, and at its ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.library import SCHEDULES

from .meaning import number_of

Array = np.ndarray[Any, Any]

STEPS, RATE = 1000, 0.4
STEP = np.arange(1, STEPS + 1)
DONE = (STEP - 1) / STEPS


def half_cosine(share: Array) -> Array:
    """1 at share 0, 0 at share 1."""
    return np.cos(np.pi * share / 2) ** 2


def one_cycle() -> Array:
    rising = STEP <= 300
    up = RATE / 25 + (RATE - RATE / 25) * half_cosine(1 - (STEP - 1) / 299)
    down = RATE / 250_000 + (RATE - RATE / 250_000) * half_cosine((STEP - 300) / 700)
    return np.where(rising, up, down)


ORACLES: dict[str, Callable[[], Array]] = {
    "constant": lambda: np.full(STEPS, RATE),
    "step_decay": lambda: RATE * np.repeat([1.0, 0.1, 0.01, 0.001], 250),
    "exponential": lambda: RATE * np.exp(np.log(0.96) * (STEP - 1) / 1000),
    "inverse_time": lambda: RATE / (1 + 0.5 * DONE),
    "polynomial": lambda: RATE * (1 - DONE) ** 2,
    "linear": lambda: np.linspace(RATE, 0, STEPS + 1)[:-1],
    "cosine": lambda: RATE * half_cosine(DONE),
    "cosine_warmup": lambda: np.where(STEP <= 100, RATE * STEP / 100, RATE * half_cosine((STEP - 101) / 900)),
    "one_cycle": one_cycle,
    "inverse_scaling": lambda: RATE * np.exp(-np.log(STEP) / 2),
    "inverse_square_root": lambda: np.where(STEP <= 100, RATE * STEP / 100, RATE * 10 * STEP**-0.5),
}
CHANGED = {"step_decay": {"every": 250.0}, "inverse_square_root": {"warmup_steps": 100.0}}
RISING = {"cosine_warmup", "one_cycle", "inverse_square_root"}


def rates(name: str, **hyper: float) -> list[float]:
    row = SCHEDULES[name]
    known = {**row.defaults, **hyper, "eta0": RATE, "steps": float(STEPS)}
    return [number_of(row.formula, {**known, "step": float(step)}) for step in STEP]


@pytest.mark.parametrize("name", ORACLES)
def test_rates(name: str) -> None:
    np.testing.assert_allclose(rates(name, **CHANGED.get(name, {})), ORACLES[name](), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", sorted(set(ORACLES) - RISING))
def test_the_first_update_has_the_base_rate(name: str) -> None:
    assert rates(name)[0] == pytest.approx(RATE)


@pytest.mark.parametrize(("name", "peak"), [("cosine_warmup", 100), ("one_cycle", 300)])
def test_the_peak_is_the_base_rate_and_where_it_should_be(name: str, peak: int) -> None:
    path = rates(name)
    assert max(path) == pytest.approx(RATE)
    assert int(np.argmax(path)) + 1 == peak


@pytest.mark.parametrize("name", ORACLES)
def test_every_rate_is_positive(name: str) -> None:
    assert min(rates(name)) > 0


@pytest.mark.parametrize("name", ["polynomial", "linear", "cosine", "cosine_warmup"])
def test_the_end_is_eta_end(name: str) -> None:
    assert rates(name, eta_end=0.01)[-1] == pytest.approx(0.01, abs=1e-3)


def test_no_warm_up_is_the_cosine() -> None:
    assert rates("cosine_warmup", warmup=0.0) == pytest.approx(rates("cosine"))
