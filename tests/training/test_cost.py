"""Why backpropagation: what is counted and what is measured."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import FormulaError
from chainrule.training.cost import seconds_text

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_digit_network_answers_at_once():
    net = cr.formula(EXAMPLES / "digits.formula", sizes={"i": 784, "k": 10})
    x = np.random.default_rng(0).uniform(size=(10, 784))
    start = time.perf_counter()
    cost = net.why_backpropagation(x, np.arange(10))
    assert time.perf_counter() - start < 10
    products = 2 * 10 * (784 * 512 + 512 * 10)
    assert cost.weights == 784 * 512 + 512 * 10 + 512 + 10
    assert products < cost.forward_flops < 1.01 * products
    # Backward: ∂E/∂W of both layers, and δ of the first through W2; ∂E/∂x nobody needs.
    # The mean over the batch is one more operation for each weight.
    assert cost.backward_flops == pytest.approx(2 * products + 2 * 10 * 512 * 10 + cost.weights, rel=0.01)
    assert cost.quotient_flops == 2 * cost.weights * cost.forward_flops
    assert cost.flops_ratio > 0.9 * cost.weights
    assert not cost.measured
    assert cost.quotient_seconds == pytest.approx(2 * cost.weights * cost.forward_seconds)
    assert "extrapolated" in str(cost)
    assert "407,050" in str(cost)


def test_a_small_network_is_measured_outright_and_keeps_its_weights():
    net = cr.formula(EXAMPLES / "xor_hidden.formula")
    x, t = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    loss, before = net.loss(x, t), net.parameters
    cost = net.why_backpropagation(x, t)
    assert cost.measured
    assert cost.weights == 33
    assert cost.quotient_seconds > 10 * cost.forward_seconds
    assert all(np.array_equal(before[n], v) for n, v in net.parameters.items())
    assert net.loss(x, t) == loss
    json.dumps(cost.to_dict(), allow_nan=False)


def test_without_parameters_there_is_nothing_to_compare():
    with pytest.raises(FormulaError):
        cr.formula("input x\nE = x**2").why_backpropagation([1.0])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.2e-7, "0.32 µs"),
        (0.00412, "4.12 ms"),
        (2.0, "2 s"),
        (90.0, "1.5 min"),
        (11556.0, "3.21 h"),
        (1e9, "11,574 d"),
    ],
)
def test_times_have_a_unit_that_suits(seconds, text):
    assert seconds_text(seconds) == text
