"""Operations counted from formulas are those counted by hand."""

from __future__ import annotations

import pytest

from benchmarks.cases import CASES, growth_case
from benchmarks.flops import PREDICTED_ROWS, floor_seconds, flops_per_sample, weight_bytes

FIRST, SECOND = 784 * 512, 512 * 10

# Multiply-adds of one sample, two operations each: forward, gradient of the weights, gradient of what comes from below.
BY_HAND = {
    "A": 2 * FIRST + 3 * SECOND,
    "B": 2 * 784 * 30 + 3 * 30 * 10,
    "D": 2 * 64 * 256 + 3 * (256 * 128 + 128 * 1),
    "E": 2 * 784 * 2048 + 3 * (2048 * 2048 + 2048 * 10),
    "F": 2 * FIRST + 3 * SECOND,  # the activation names its argument twice, and the sum is counted once
    "three-index": 2 * FIRST + 3 * SECOND,
    "skip": 2 * 784 * 256 + 3 * 256 * 256 + 2 * 784 * 256 + 3 * 256 * 10,
    "tied": (2 + 3) * 784 * 128,
    "two-losses": 2 * 784 * 256 + 3 * 256 * 10 + 3 * 256 * 784,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_training(name):
    assert flops_per_sample(CASES[name].formula) == 2 * BY_HAND[name]


def test_case_a_is_209_megaflops_a_step():
    assert round(128 * flops_per_sample(CASES["A"].formula) / 1e6) == 209


def test_prediction_is_the_forward_pass():
    assert flops_per_sample(CASES["A"].formula, backward=False) == 2 * (FIRST + SECOND)


def test_depth():
    layers = [256 * 256] * 4
    assert flops_per_sample(growth_case("depth", 4).formula) == 2 * (2 * layers[0] + 3 * (sum(layers[1:]) + 2560))


def test_weight_bytes():
    assert weight_bytes(CASES["A"].formula) == 4 * (FIRST + 512 + SECOND + 10)


def test_floors():
    limits = {"flops_all": 1e9, "read": 1e6}
    assert floor_seconds(CASES["A"], limits) == pytest.approx(60_000 / 469 * 2 * BY_HAND["A"] / 1e9)
    assert floor_seconds(CASES["predict-10000"], limits) == pytest.approx(PREDICTED_ROWS * 2 * (FIRST + SECOND) / 1e9)
    assert floor_seconds(CASES["predict-1"], limits) == pytest.approx(1.6282)
    assert floor_seconds(CASES["warm-process"], limits) is None
