"""Update rules that change the gradient, that use norms, and `then` lines: against the same steps written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import SettingError
from chainrule.formula.parse import parse_system
from chainrule.formula.text import system_text
from chainrule.training.network import formula
from chainrule.training.vocabulary import vocabulary

TEXT = """
input x[i]
target t[k]
size j = 5
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = zeros
h[j] = tanh(sum[i](x[i]*W1[i, j]) + b1[j])
y[k] = sum[j](h[j]*W2[j, k]) + b2[k]
E = 1/2*sum[k]((y[k] - t[k])**2)
"""
STEPS = 4


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(3)
    return generator.normal(size=(24, 7)), 4 * generator.normal(size=(24, 3))


def trained(text, rule, data, engine):
    net = formula(text, dtype="float64", seed=1)
    net.fit(*data, epochs=STEPS, batch_size=None, optimizer=rule, engine=engine, verbose=0, threads=2)
    return net.parameters


def by_hand(data, change, text=TEXT, after=lambda w: w):
    """Full-batch steps in NumPy: `change` gets (weights, gradients, memory) and gives the new weights."""
    net = formula(text, dtype="float64", seed=1)
    memory = {}
    net.bind(data, {}, ("input", "target"))
    for _ in range(STEPS):
        new = change(net.parameters, net.gradients(*data), memory)
        net.set_parameters(after(new))
    return net.parameters


def norm(array):
    return np.sqrt(np.sum(array**2))


def clipped_by_value(w, g, _):
    return {n: w[n] - 0.1 * np.clip(g[n], -0.05, 0.05) for n in w}


def clipped_by_norm(w, g, memory):
    for n in w:
        memory[n] = 0.9 * memory.get(n, 0) + g[n] * min(1, 0.3 / norm(g[n]))
    return {n: w[n] - 0.1 * memory[n] for n in w}


def clipped_by_global_norm(w, g, memory):
    total = np.sqrt(sum(norm(a) ** 2 for a in g.values()))
    for n in w:
        memory[n] = 0.9 * memory.get(n, 0) + g[n] * min(1, 0.3 / total)
    return {n: w[n] - 0.1 * memory[n] for n in w}


def two_norms(w, g, _):
    total = np.sqrt(sum(norm(a) ** 2 for a in g.values()))
    g = {n: g[n] / total for n in w}
    w = {n: w[n] - 0.1 * g[n] for n in w}
    total = np.sqrt(sum(norm(a) ** 2 for a in w.values()))  # of the weights as they are by now
    return {n: w[n] - 0.01 * total * g[n] for n in w}


RULES = {
    "g <- max(min(g, 0.05), -0.05)\nw <- w - 0.1*g": clipped_by_value,
    "g <- g*min(1, 0.3/norm(g))\nv <- 0.9*v + g\nw <- w - 0.1*v": clipped_by_norm,
    "g <- g*min(1, 0.3/global_norm(g))\nv <- 0.9*v + g\nw <- w - 0.1*v": clipped_by_global_norm,
    "g <- g/global_norm(g)\nw <- w - 0.1*g\ng <- g*global_norm(w)\nw <- w - 0.01*g": two_norms,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_a_rule_does_what_its_lines_say(data, rule, engine):
    expected = by_hand(data, RULES[rule])
    got = trained(TEXT, rule, data, engine)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_a_then_line_follows_the_rule(data, engine):
    def bounded(w):
        return {**w, "W1": w["W1"] * np.minimum(1, 0.9 / np.sqrt(np.sum(w["W1"] ** 2, axis=0)))}

    text = TEXT + "then W1[i, j] <- W1[i, j]*min(1, 0.9/sqrt(sum[i](W1[i, j]**2)))\n"
    expected = by_hand(data, lambda w, g, _: {n: w[n] - 0.1 * g[n] for n in w}, text, bounded)
    got = trained(text, "w <- w - 0.1*g", data, engine)
    assert np.sqrt(np.sum(got["W1"] ** 2, axis=0)).max() <= 0.9 + 1e-12
    np.testing.assert_allclose(got["W1"], expected["W1"], rtol=1e-9)


def test_a_then_line_is_printed_and_read_again():
    text = TEXT + "then W1[i, j] <- max(W1[i, j], 0)\n"
    system = parse_system(text, vocabulary())
    again = parse_system(system_text(system), vocabulary())
    assert [(u.target, u.value) for u in again.constraints] == [(u.target, u.value) for u in system.constraints]


def test_a_rule_that_only_changes_the_gradient_is_refused(data):
    with pytest.raises(SettingError, match="w"):
        trained(TEXT, "g <- 2*g", data, "interpreter")


def test_the_program_page_shows_each_line_of_the_rule(data):
    net = formula(TEXT, seed=1)
    net.bind(data, {}, ("input", "target"))
    page = net.program("g <- g*min(1, 0.3/global_norm(g))\nw <- w - 0.1*g").terminal()
    assert "g ← g min(1, 0.3/‖g‖_all)" in page
    assert "g_W1 = dE_dW1 * np.minimum(1, 0.3 / norm)" in page
