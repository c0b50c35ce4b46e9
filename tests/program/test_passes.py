"""Passes over programs: what they change, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.formula.expr import Apply, walk
from chainrule.program import lower
from chainrule.program.interpret import run
from chainrule.program.passes import expressions
from chainrule.training.network import formula

HIDDEN = {
    "mish": ("a[j]*tanh(softplus(a[j]))", {"tanh": 1, "softplus": 1, "sigmoid": 1}),
    "gelu": ("a[j]*(1 + erf(a[j]/sqrt(2)))/2", {"erf": 1, "exp": 1}),
    "silu": ("a[j]*sigmoid(a[j])", {"sigmoid": 1}),
    "sine": ("sin(a[j]) + a[j]*cos(a[j])", {"sin": 1, "cos": 1}),
    "tanh": ("tanh(a[j])", {"tanh": 1}),
    "log of a sum": ("log(1 + exp(a[j]) + a[j]**2)", {"exp": 1, "log": 1}),
}
TEXT = """
input x[i]
target t[k]
size i = 3
size j = 4
size k = 2
parameter W[i, j] = glorot_uniform
parameter V[j, k] = glorot_uniform
parameter c = zeros
a[j] = sum[i](x[i]*W[i, j])
h[j] = {hidden}
y[k] = sum[j](h[j]*V[j, k])
E = 1/2*sum[k]((t[k] - y[k])**2)
"""


def program_of(text):
    return formula(text, dtype="float64").training_program("sgd")[0]


@pytest.mark.parametrize("name", HIDDEN)
def test_a_costly_function_is_computed_once_for_forward_and_backward(name):
    hidden, wanted = HIDDEN[name]
    program = program_of(TEXT.format(hidden=hidden))
    found = [n for i in program for e in expressions(i) for n in walk(e) if isinstance(n, Apply)]
    counts = {f: sum(n.function == f for n in found) for f in wanted}
    assert counts == wanted, "\n".join(map(str, program))


@pytest.mark.parametrize("name", HIDDEN)
def test_the_numbers_are_the_same_bits_as_without(name, monkeypatch):
    text = TEXT.format(hidden=HIDDEN[name][0])
    rng = np.random.default_rng(0)
    sizes = {"i": 3, "j": 4, "k": 2, "n": 5}
    arrays = {"x": rng.normal(size=(5, 3)), "t": rng.normal(size=(5, 2)), "c": np.array(0.3)}
    arrays |= {"W": rng.normal(size=(3, 4)), "V": rng.normal(size=(4, 2))}
    with_it = run(program_of(text), dict(arrays), sizes, {"eta": 0.1})
    monkeypatch.setattr(lower, "share_functions", lambda program, taken: program)
    without = run(program_of(text), dict(arrays), sizes, {"eta": 0.1})
    for tensor in ("E", "W", "V"):
        assert with_it[tensor].tobytes() == without[tensor].tobytes()


def test_a_value_without_an_index_that_is_first_asked_for_within_a_larger_one():
    """Once a random formula: tanh(max(s, c)) has no index, and the layer that adds it has two."""
    text = TEXT.replace("W[i, j]))", "W[i, j])) + tanh(max(sum[i, j](2*W[i, j]), c))").format(hidden="tanh(a[j])")
    net = formula(text, dtype="float64")
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    assert net.check_gradients(x, t)


BROADCAST = """
input x
target t[k]
size k = 3
parameter w, c = 1
a = w*x
p[k] = sigmoid(a)
E = sum[k]((p[k] - t[k])**2) + a*sigmoid(a)
"""


def test_a_value_that_an_equation_spreads_over_an_index_has_a_tensor_without_it():
    net = formula(BROADCAST, dtype="float64")
    assert net.check_gradients([0.5, -1.0], [[1.0, 2, 3], [4, 5, 6]])


def test_a_value_that_an_equation_spreads_is_no_name_for_it_in_the_derivation_either():
    text = "input x[i]\nsize i = 3\nsize j = 2\nparameter c = 1\nv[j, i] = exp(x[i]*c)\n"
    net = formula(text + "m = max[i](exp(x[i]*c))\nE = sum[j, i](v[j, i]**2) + m**2", dtype="float64")
    assert net.check_gradients([[0.5, -1.0, 0.2], [0.1, 0.3, -0.4]])


def test_a_kept_value_has_a_name_that_no_quantity_has():
    """Also none that nothing needs."""
    program = program_of(TEXT.replace("a[j] =", "s[j] = exp(W[0, j])\na[j] =").format(hidden=HIDDEN["mish"][0]))
    assert "s" not in program.tensors
    assert "s_2" in program.tensors
