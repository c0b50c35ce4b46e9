"""Derivations come out in the textbook's shape; stable forms are right in float32; errors name their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainrule.derivation.derive import derive
from chainrule.errors import FormulaError, NotDifferentiable
from chainrule.formula.expr import same
from chainrule.formula.functions import ARGUMENTS, FUNCTIONS
from chainrule.formula.parse import parse_expression
from chainrule.formula.text import equation_text
from chainrule.training.network import Network, formula

EXAMPLES = Path(__file__).parents[2] / "examples"
CLASSES = "\ninput z[k]\ntarget t[k], sum[k](t[k]) = 1\nparameter b[k] = zeros\n"


def backward(net: Network) -> list[str]:
    return [equation_text(e) for e in net.derivation.backward]


def example(name: str) -> Network:
    return formula(EXAMPLES / f"{name}.formula")


def test_the_two_layer_digit_network():
    assert backward(example("digits")) == [
        "delta_p[k] = p[k] - t[k]",
        "delta_h[j] = step(a_h[j])*sum[k](W2[j, k]*delta_p[k])",
        "dE_dW1[i, j] = mean[n](x[i]*delta_h[j])",
        "dE_dW2[j, k] = mean[n](h[j]*delta_p[k])",
        "dE_db1[j] = mean[n](delta_h[j])",
        "dE_db2[k] = mean[n](delta_p[k])",
    ]


def test_the_one_layer_reader():
    net = example("one_layer")
    assert backward(net) == [
        "delta_z[j] = (p[j] - t[j])*p[j]*(1 - p[j])",
        "dE_dw[i, j] = mean[n](x[i]*delta_z[j])",
        "dE_db[j] = mean[n](delta_z[j])",
    ]
    assert equation_text(net.derivation.adjoint("p").equation) == "dE_dp[j] = p[j] - t[j]"


def test_logistic_regression_is_p_minus_t():
    assert backward(example("logistic")) == [
        "delta_p = p - t",
        "dE_dw[i] = mean[n](x[i]*delta_p)",
        "dE_db = mean[n](delta_p)",
    ]


def test_the_delta_of_a_hidden_layer():
    assert "delta_a1[j] = z1[j]*(1 - z1[j])*sum[k](w2[k, j]*delta_a2[k])" in backward(example("mlp"))
    tanh = (EXAMPLES / "mlp.formula").read_text().replace("z1[j] = sigmoid(a1[j])", "z1[j] = tanh(a1[j])")
    assert "delta_a1[j] = (1 - z1[j]**2)*sum[k](w2[k, j]*delta_a2[k])" in backward(formula(tanh))


def test_without_the_declared_fact_the_sum_of_the_targets_stays():
    text = (EXAMPLES / "digits.formula").read_text()
    given = formula(text).derivation
    assert "given of the data" in given.rules_used()
    free = formula(text.replace(", sum[k](t[k]) = 1", ""))
    assert backward(free)[0] == "delta_p[k] = p[k]*sum[k_2](t[k_2]) - t[k]"
    assert "given of the data" not in free.derivation.rules_used()


def test_a_penalty_is_added_once_and_two_losses_add():
    text = "input x\ntarget t\nparameter a1, a2 = 1\ny = a1*x + a2\n"
    text += "E1 = (y - t)**2\nE2 = abs(y)\nE = E1 + 3*E2 + 0.5*a1**2"
    net = formula(text, dtype="float64")
    x, t = np.array([1.0, 2.0, -4.0]), np.array([0.0, 1.0, 1.0])
    y = x + 1
    slope = 2 * (y - t) + 3 * np.sign(y)
    assert net.gradients(x, t)["a1"] == pytest.approx(np.mean(slope * x) + 1.0)


def test_every_step_has_a_name_and_the_last_one_is_the_equation():
    for name in ("digits", "one_layer", "mlp", "logistic", "autoencoder"):
        for adjoint in example(name).derivation.adjoints:
            if adjoint.steps:
                assert all(step.rule for step in adjoint.steps)
                assert same(adjoint.steps[-1].after, adjoint.equation.value)


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if f.definition])
def test_a_claimed_derivative_is_the_derived_one(name):
    """σ′ = σ(1−σ) and its kin, against the derivative of the definition, on 50 points of its own numbers."""
    from chainrule.derivation.derive import differentiate
    from chainrule.formula.evaluate import evaluate
    from chainrule.formula.expr import Symbol

    row = FUNCTIONS[name]
    derived = differentiate(parse_expression(row.definition), Symbol("a"))
    claimed = parse_expression(row.derivatives[0])
    for a in np.linspace(0.05, 4, 50):
        values = [float(evaluate(e, {}, scalars={ARGUMENTS[0]: a})) for e in (derived, claimed)]
        assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_scalar_derivatives():
    assert str(derive("x**2", "x")) == "2*x"
    assert str(derive("1/(1 + exp(-x))", "x")) == "sigmoid(x)*(1 - sigmoid(x))"
    assert str(derive("tanh(x)", "x")) == "1 - tanh(x)**2"
    assert [s.rule for s in derive("x*exp(x)", "x").steps][-1] == "product"


@pytest.mark.parametrize(
    "lines",
    [
        "p[k] = softmax[k](a[k])",
        "p[k] = exp(a[k])/sum[k](exp(a[k]))",
        "p[k] = exp(a[k])/sum[l](exp(a[l]))",
        "e[k] = exp(a[k])\np[k] = e[k]/sum[k](e[k])",
        "e[k] = exp(a[k])\ns = sum[k](e[k])\np[k] = e[k]/s",
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_softmax_and_its_logarithm_however_they_are_written(lines, scale):
    text = f"{CLASSES}a[k] = z[k] + b[k]\n{lines}\nE = -sum[k](t[k]*log(p[k]))\noutput p"
    net = formula(text)
    z = np.array([[1.0, 0.0, -1.0], [-1.0, 1.0, 0.5]]) * scale
    t = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    shifted = z - z.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    loss = -np.mean((t * (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))).sum(axis=1))
    assert net.predict(z) == pytest.approx(p, rel=1e-6, abs=1e-12)
    assert net.loss(z, t) == pytest.approx(loss, rel=1e-6)
    assert net.gradients(z, t)["b"] == pytest.approx((p - t).mean(axis=0), rel=1e-6, abs=1e-7)
    assert "log of softmax" in net.derivation.rules_used()


@pytest.mark.parametrize(
    "lines",
    [
        "p = sigmoid(a)\nE = -(t*log(p) + (1 - t)*log(1 - p))",
        "p = 1/(1 + exp(-a))\nE = -t*log(p) - (1 - t)*log(1 - p)",
        "p = sigmoid(a)\nE = log(1 + exp(a)) - t*a",
    ],
)
@pytest.mark.parametrize("size", [0.5, 30.0, 1e4])
def test_binary_cross_entropy_at_any_distance(lines, size):
    net = formula(f"input z\ntarget t\nparameter b = 0\na = z + b\n{lines}\noutput p")
    z, t = np.array([size, -size, size, -size]), np.array([1.0, 0.0, 0.0, 1.0])
    e = np.exp(-size)
    wrong, right = size + np.log1p(e), np.log1p(e)
    assert net.loss(z, t) == pytest.approx((wrong + right) / 2, rel=1e-6)
    p = np.array([1, e, 1, e]) / (1 + e)
    assert net.gradients(z, t)["b"] == pytest.approx(np.mean(p - t), abs=1e-7)
    for z_one, t_one, p_one in zip(z, t, p, strict=True):
        assert net.gradients([z_one], [t_one])["b"] == pytest.approx(p_one - t_one, rel=1e-5, abs=1e-12)


def test_log_sum_exp_and_softplus_at_ten_thousand():
    net = formula(f"{CLASSES}a[k] = z[k] + b[k]\nE = log(sum[k](exp(a[k])))\nq = logsumexp[k](a[k])\noutput q")
    z = np.array([[1e4, -1e4, 1e4]])
    t = np.array([[1.0, 0, 0]])
    assert net.loss(z, t) == pytest.approx(1e4 + np.log(2), rel=1e-6)
    assert net.gradients(z, t)["b"] == pytest.approx([0.5, 0, 0.5], abs=1e-6)


def test_zero_log_zero_is_zero_in_value_and_gradient():
    """mission.md: t = one-hot 2; the cross entropy is 0.510825…, and 2.302585… with the .6 at 7 instead."""
    net = formula(
        "input y[k]\ntarget t[k], sum[k](t[k]) = 1\nparameter c = 1\nE = -sum[k](t[k]*log(c*y[k]))\nq = c\noutput q"
    )
    t = np.eye(10)[[2]]
    right = [[0.1, 0.05, 0.6, 0, 0.05, 0.1, 0, 0.1, 0, 0]]
    wrong = [[0.1, 0.05, 0.1, 0, 0.05, 0.1, 0, 0.6, 0, 0]]
    assert net.loss(right, t) == pytest.approx(0.510825, abs=1e-6)
    assert net.loss(wrong, t) == pytest.approx(2.302585, abs=1e-6)
    assert net.gradients(right, t)["c"] == pytest.approx(-1.0)
    entropy = formula("input q[k]\nE = -sum[k](q[k]*log(q[k]))\nH = E\noutput H")
    assert entropy.predict([[0.5, 0.5], [1.0, 0.0]]) == pytest.approx([np.log(2), 0])


def test_kullback_leibler_with_zeros_in_the_target():
    net = formula(f"{CLASSES}p[k] = softmax[k](z[k] + b[k])\nE = sum[k](t[k]*log(t[k]/p[k]))\noutput p")
    t = np.array([[0.0, 0.25, 0.75]])
    assert net.loss(np.zeros((1, 3)), t) == pytest.approx(
        np.log(3) + 0.25 * np.log(0.25) + 0.75 * np.log(0.75), rel=1e-6
    )
    assert net.gradients(np.zeros((1, 3)), t)["b"] == pytest.approx([1 / 3, 1 / 3 - 0.25, 1 / 3 - 0.75], rel=1e-5)


def test_a_step_in_the_way_of_a_gradient_is_named_with_its_place():
    text = "input x\ntarget t\nparameter v = 1\ny = step(v*x)\nE = (y - t)**2"
    with pytest.raises(NotDifferentiable) as caught:
        formula(text).gradients([1.0], [1.0])
    assert str(caught.value).startswith(
        "line 4, column 1: step has no derivative, and the gradient of E goes through it"
    )
    with pytest.raises(FormulaError, match="there is no loss"):
        _ = formula("input x\ny = 2*x").derivation
