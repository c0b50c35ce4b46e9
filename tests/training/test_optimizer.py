"""What stands around an update rule, against the same steps written by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from chainrule.errors import SettingError
from chainrule.training.network import formula
from chainrule.training.optimizer import Optimizer

TEXT = """
input x[i]
target t[k]
parameter W[i, k] = glorot_uniform
parameter b[k] = ones
y[k] = sum[i](x[i]*W[i, k]) + b[k]
E = 1/2*sum[k]((y[k] - t[k])**2)
"""
BATCHES = 6


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(5)
    return generator.normal(size=(4 * BATCHES, 3)), 2 * generator.normal(size=(4 * BATCHES, 2))


def trained(optimizer, data, engine="native", **options):
    net = formula(TEXT, dtype="float64", seed=2)
    options = {"epochs": 1, "batch_size": 4, "shuffle": False, "verbose": 0, **options}
    net.fit(*data, optimizer=optimizer, engine=engine, **options)
    return net


def by_hand(data, step, epochs=1):
    """`step` gets the weights, the gradients of the batch, the number of the step and a memory; gives new weights."""
    net, memory = formula(TEXT, dtype="float64", seed=2), {}
    x, t = data
    net.bind(data, {}, ("input", "target"))
    for number in range(epochs * BATCHES):
        rows = slice(4 * (number % BATCHES), 4 * (number % BATCHES) + 4)
        net.set_parameters(step(net.parameters, net.gradients(x[rows], t[rows]), number + 1, memory))
    return net.parameters, memory


def assert_same(net, expected):
    for name, array in expected.items():
        np.testing.assert_allclose(net.parameters[name], array, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_gradients_of_several_steps_make_one_update(data, engine):
    """Adam on the mean gradient of three batches: its step counts the updates."""

    def step(w, g, number, memory):
        for n in w:
            memory.setdefault(n, []).append(g[n])
        if number % 3:
            return w
        count, new = number // 3, {}
        for n in w:
            mean = np.mean(memory.pop(n), axis=0)
            m = memory[f"m {n}"] = 0.9 * memory.get(f"m {n}", 0) + 0.1 * mean
            v = memory[f"v {n}"] = 0.999 * memory.get(f"v {n}", 0) + 0.001 * mean**2
            new[n] = w[n] - 0.001 * (m / (1 - 0.9**count)) / (np.sqrt(v / (1 - 0.999**count)) + 1e-8)
        return new

    expected, _ = by_hand(data, step)
    assert_same(trained(Optimizer("adam", accumulate=3), data, engine), expected)


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_the_average_of_the_weights_takes_their_place_at_the_end(data, engine):
    def step(w, g, number, memory):
        new = {n: w[n] - 0.1 * g[n] for n in w}
        memory.update({n: new[n] if number == 1 else 0.8 * memory[n] + 0.2 * new[n] for n in w})
        return new

    _, averages = by_hand(data, step)
    assert_same(trained(Optimizer("sgd", 0.1, ema=0.8), data, engine), averages)


def test_the_average_may_take_their_place_on_the_way_too(data):
    def step(w, g, number, memory):
        new = {n: w[n] - 0.1 * g[n] for n in w}
        memory.update({n: new[n] if number == 1 else 0.8 * memory[n] + 0.2 * new[n] for n in w})
        return dict(memory) if number % 2 == 0 else new

    _, averages = by_hand(data, step)
    assert_same(trained(Optimizer("sgd", 0.1, ema=0.8, ema_every=2), data, "interpreter"), averages)


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_weight_decay_leaves_out_what_it_should(data, engine):
    def step(w, g, number, memory):
        return {n: (w[n] * (1 - 0.1 * 0.05) if n == "W" else w[n]) - 0.1 * g[n] for n in w}

    expected, _ = by_hand(data, step)
    assert_same(trained(Optimizer("sgd", 0.1, weight_decay=0.05, no_decay=("b",)), data, engine), expected)


def test_the_decay_of_adamw_is_the_one_in_its_own_lines():
    assert Optimizer("adamw", weight_decay=0.3).formula == Optimizer("adamw").formula
    assert Optimizer("adamw", weight_decay=0.3).compose().defaults["weight_decay"] == Fraction("0.3")


def test_adamw_leaves_out_what_it_should(data):
    # b's own gradients see W: they are the same in the first step only.
    first = {"epochs": 1, "batch_size": None}
    net, both, none = (
        trained(Optimizer("adamw", weight_decay=d, no_decay=n), data, "interpreter", **first)
        for d, n in ((0.3, ("b",)), (0.3, ()), (0.0, ()))
    )
    assert np.array_equal(net.parameters["W"], both.parameters["W"])
    assert np.array_equal(net.parameters["b"], none.parameters["b"])


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_clipping_by_the_norm_of_all_gradients_together(data, engine):
    def step(w, g, number, memory):
        norm = np.sqrt(sum(np.sum(a**2) for a in g.values()))
        return {n: w[n] - 0.1 * g[n] * min(1, 0.5 / norm) for n in w}

    expected, _ = by_hand(data, step)
    assert_same(trained(Optimizer("sgd", 0.1, global_clip_norm=0.5), data, engine), expected)


def test_clipping_comes_after_the_mean_of_several_steps(data):
    def step(w, g, number, memory):
        for n in w:
            memory.setdefault(n, []).append(g[n])
        if number % 2:
            return w
        return {n: w[n] - 0.1 * np.clip(np.mean(memory.pop(n), axis=0), -0.2, 0.2) for n in w}

    expected, _ = by_hand(data, step)
    assert_same(trained(Optimizer("sgd", 0.1, clip_value=0.2, accumulate=2), data, "interpreter"), expected)


@pytest.mark.parametrize("options", [{"accumulate": 49}, {"ema": 0.5, "ema_every": 49}])
def test_counts_that_no_float_divides_evenly(data, options):
    """1/49 is no float: the 49th step updates all the same."""
    whole = {"batch_size": None, "epochs": 49}
    net = trained(Optimizer("sgd", 0.1, **options), data, "interpreter", **whole)
    plain = trained(Optimizer("sgd", 0.1), data, "interpreter", epochs=1, batch_size=None)
    if "accumulate" in options:
        assert_same(net, plain.parameters)
    else:
        assert all(np.array_equal(net.kept[f"average_{n}"], net.parameters[n]) for n in net.parameters)


def test_the_lines_of_the_formulas_are_wrapped_too(data):
    net = formula(TEXT + "w <- w - 0.1*g\n", dtype="float64", seed=2)
    net.fit(*data, batch_size=4, shuffle=False, verbose=0, engine="interpreter", optimizer=Optimizer(clip_value=0.2))
    expected, _ = by_hand(data, lambda w, g, number, memory: {n: w[n] - 0.1 * np.clip(g[n], -0.2, 0.2) for n in w})
    assert_same(net, expected)


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_frozen_parameters_stay(data, engine):
    net = trained(Optimizer("adam"), data, engine, frozen=("W",))
    assert np.array_equal(net.parameters["W"], formula(TEXT, dtype="float64", seed=2, sizes=net.sizes).parameters["W"])
    assert np.all(net.parameters["b"] != 0)


@pytest.mark.parametrize(
    "line", ["then W[i, k] <- W[i, k]*min(1, 0.1/sqrt(sum[i](W[i, k]**2)))", "W[i, k] <- 0.5*W[i, k]"]
)
def test_lines_of_the_formulas_leave_frozen_parameters_alone(data, line):
    net = formula(TEXT + line + "\n", dtype="float64", seed=2)
    net.fit(*data, frozen=("W",), verbose=0, engine="interpreter")
    first = formula(TEXT, dtype="float64", seed=2, sizes=net.sizes).parameters
    assert np.array_equal(net.parameters["W"], first["W"])
    assert not np.array_equal(net.parameters["b"], first["b"])
    net.fit(*data, verbose=0, engine="interpreter")  # and no longer
    assert not np.array_equal(net.parameters["W"], first["W"])


def test_the_count_of_updates_goes_on_with_the_same_rule(data):
    """Two trainings of one epoch are one of two, with Adam's correction by the number of the update."""
    once = trained(Optimizer("adam"), data, "interpreter", epochs=2)
    twice = trained(Optimizer("adam"), data, "interpreter")
    twice.fit(*data, optimizer=Optimizer("adam"), batch_size=4, shuffle=False, verbose=0, engine="interpreter")
    assert twice.steps == 2 * BATCHES
    assert all(np.array_equal(once.parameters[n], twice.parameters[n]) for n in once.parameters)
    twice.fit(*data, optimizer="momentum", batch_size=4, verbose=0, engine="interpreter")
    assert twice.steps == BATCHES


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": -1},
        {"ema": 1.5},
        {"accumulate": 0},
        {"accumulate": 1.5},
        {"weight_decay": "much"},
        {"ema_every": 0},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(SettingError, match=next(iter(options))):
        Optimizer("sgd", **options)


def test_what_is_no_optimizer(data):
    with pytest.raises(SettingError, match="Optimizer"):
        trained(3, data)
    with pytest.raises(SettingError, match="nonsense"):
        trained(Optimizer("sgd", no_decay=("nonsense",)), data)
