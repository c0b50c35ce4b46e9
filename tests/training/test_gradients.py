"""Derived gradients of random networks against the complex step; texts that come back from their own printing."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.formula.evaluate import evaluate, run_system
from chainrule.formula.expr import same
from chainrule.formula.parse import parse_system
from chainrule.formula.text import system_text
from chainrule.training.network import formula
from chainrule.training.vocabulary import vocabulary
from tests.random_systems import draw, together

ROWS = 4
STEP = 1e-25  # the complex step has no difference to round, so it may be this small


@pytest.mark.parametrize("group", range(10))
def test_derived_gradients_are_the_numerical_ones(group):
    for seed in range(15 * group, 15 * group + 15):
        rng = np.random.default_rng(seed)
        drawn = together([draw(rng, 0, ROWS)])
        if "sum[k_0](t_0[k_0]) = 1" in drawn.text:  # the oracle, which computes what is written, has no 0 log 0
            drawn.data["t_0"] = 0.9 * drawn.data["t_0"] + 0.1 / drawn.data["t_0"].shape[1]
        net = formula(drawn.text, dtype="float64", sizes=drawn.sizes, seed=seed)
        arrays = net.bind((drawn.data,), {}, ("input", "target", "label"))
        sizes = {**net.sizes, "n": ROWS}

        def loss(weights, net=net, arrays=arrays, sizes=sizes):
            known = run_system(net.system, {**arrays, **weights}, sizes, net.hyper)
            return complex(evaluate(net.system.batch_loss(), known, sizes=sizes))

        weights = net.parameters
        assert net.loss(drawn.data) == pytest.approx(loss(weights).real, rel=1e-10)
        for name, gradient in net.gradients(drawn.data).items():
            places = list(np.ndindex(gradient.shape))
            for number in rng.permutation(len(places))[:6]:
                moved = {n: a.astype(complex) for n, a in weights.items()}
                moved[name][places[number]] += 1j * STEP
                numerical = loss(moved).imag / STEP
                error = abs(gradient[places[number]] - numerical)
                assert error <= 1e-6 * (np.abs(gradient).max() + 1e-9), (drawn.text, name)


def test_a_printed_system_is_the_same_system():
    for seed in range(150):
        system = parse_system(together([draw(np.random.default_rng(seed), 0, ROWS)]).text, vocabulary())
        again = parse_system(system_text(system), vocabulary())
        assert again.tensors == system.tensors
        assert (again.sizes, again.hyper, again.loss, again.output) == (
            system.sizes,
            system.hyper,
            system.loss,
            system.output,
        )
        for ours, theirs in zip(system.equations, again.equations, strict=True):
            assert ours.target == theirs.target
            assert same(ours.value, theirs.value)
