"""Every initializer: the variance that its paper asks for."""

from __future__ import annotations

import pytest

from chainrule.library import INITIALIZERS

from .meaning import number_of

FANS = {"fan_in": 784.0, "fan_out": 512.0}
VARIANCES = {
    "zeros": 0.0,
    "ones": 0.0,
    "constant": 0.0,
    "uniform": 0.1**2 / 12,
    "normal": 0.05**2,
    "glorot_uniform": 2 / (784 + 512),
    "glorot_normal": 2 / (784 + 512),
    "he_uniform": 2 / 784,
    "he_normal": 2 / 784,
    "lecun_uniform": 1 / 784,
    "lecun_normal": 1 / 784,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_mean_and_variance(name: str) -> None:
    row = INITIALIZERS[name]
    first, second = (number_of(bound, {**FANS, **row.defaults}) for bound in row.bounds)
    mean, variance = {
        "constant": (first, (second - first) ** 2),
        "uniform": ((first + second) / 2, (second - first) ** 2 / 12),
        "normal": (first, second**2),
    }[row.distribution]
    assert mean == (1 if name == "ones" else 0)
    assert variance == pytest.approx(VARIANCES[name], rel=1e-14)


def test_the_bound_of_glorot_for_the_digit_network() -> None:
    low, high = (number_of(bound, FANS) for bound in INITIALIZERS["glorot_uniform"].bounds)
    assert (low, high) == pytest.approx((-0.06804138174397717, 0.06804138174397717))
