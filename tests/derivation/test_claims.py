"""Check my derivation: mistakes that students make, right claims in other forms, and claims that do not read.

Oracle: the worked gradients of the field (p - t, h'(a) Σ w δ, …), each known to be right or wrong from textbooks.
"""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import numpy as np
import pytest

from chainrule.derivation.claims.judge import Checker
from chainrule.errors import ChainruleError, FormulaError, NotationError, ShapeError, UnknownName
from chainrule.interfaces.claim import check_claims, check_derivation
from chainrule.interfaces.claim import checker as checker_of
from chainrule.messages import LANGUAGES, set_language
from chainrule.training.network import Network, formula

ONE_LAYER = """
input     x[i]
target    t[j]
parameter w[i, j], b[j] = zeros
z[j] = sum[i](x[i]*w[i, j]) + b[j]
p[j] = 1/(1 + exp(-z[j]))
E    = 1/2*sum[j]((t[j] - p[j])**2)
"""
MLP = """
input     x[i]
target    y[k]
parameter w1[j, i], w2[k, j], b1[j], b2[k]
a1[j] = sum[i](w1[j, i]*x[i]) + b1[j]
z1[j] = sigmoid(a1[j])
a2[k] = sum[j](w2[k, j]*z1[j]) + b2[k]
z2[k] = sigmoid(a2[k])
C     = 1/2*sum[k]((y[k] - z2[k])**2)
loss C
"""
DIGITS = """
input     x[i]
target    t[k], sum[k](t[k]) = 1
parameter W1[i, j], b1[j], W2[j, k], b2[k]
h[j] = relu(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E    = -sum[k](t[k]*log(p[k]))
"""
TANH = """
input     x[i]
target    t[k]
parameter W[i, j], b[j], V[j, k], c[k]
decay = 0.1
h[j] = tanh(sum[i](x[i]*W[i, j]) + b[j])
y[k] = sum[j](h[j]*V[j, k]) + c[k]
E    = mean[k]((y[k] - t[k])**2) + decay/2*sum[i, j](W[i, j]**2)
"""
LOGISTIC = """
input     x[i]
target    t
parameter w[i], b
p = sigmoid(sum[i](w[i]*x[i]) + b)
E = -(t*log(p) + (1 - t)*log(1 - p))
"""
LABEL = """
input     x[i]
label     y in k
parameter W[i, k]
z[k] = sum[i](x[i]*W[i, k])
p[k] = softmax[k](z[k])
E    = -log(sum[k]([k == y]*p[k]))
"""
TIED = """
input     x[i]
parameter W[i, j]
h[j] = sum[i](x[i]*W[i, j])
r[i] = sum[j](W[i, j]*h[j])
E    = 1/2*sum[i]((r[i] - x[i])**2)
"""
NORMED = """
input     x[i]
target    t
parameter w[i], g
a = sum[i](w[i]*x[i])
m = mean[n](a)
s = mean[n]((a - m)**2)
y = g*(a - m)/sqrt(s + 0.001)
E = 1/2*(y - t)**2
"""
TEXTS = {"one layer": ONE_LAYER, "mlp": MLP, "digits": DIGITS, "tanh": TANH, "logistic": LOGISTIC}
TEXTS |= {"label": LABEL, "tied": TIED, "normed": NORMED}
NETWORKS = {name: formula(text) for name, text in TEXTS.items()}

# network, claim, the mistakes, the true part that is concerned, a word of the hint
MISTAKES = [
    (
        "mlp",
        "delta[k] = y[k] - z2[k]",
        {"missing_derivative", "exchanged"},
        "z2[k]*(1 - z2[k])",
        "activation is missing",
    ),
    ("mlp", "delta[k] = (y[k] - z2[k])*z2[k]*(1 - z2[k])", {"exchanged"}, "z2[k] - y[k]", "exchanged"),
    ("mlp", "delta[k] = z2[k] - y[k]", {"missing_derivative"}, "z2[k]*(1 - z2[k])", "dz2/da2"),
    ("digits", "delta[k] = t[k] - p[k]", {"exchanged"}, "p[k] - t[k]", "exchanged"),
    ("digits", "delta[k] = p[k]", {"missing_term"}, "-t[k]", "term -t[k] is missing"),
    ("one layer", "dE/dw[i,j] = (p[j]-t[j])*p[j]*(1-p[j])", {"missing_factor"}, "x[i]", "multiplied with, x[i]"),
    ("one layer", "dE/dw[i,j] = sum[n]((p[j]-t[j])*p[j]*(1-p[j])*x[i])", {"forgotten_size"}, "N", "1/N"),
    ("one layer", "dE/dw[i,j] = 1/N*(p[j]-t[j])*p[j]*(1-p[j])*x[i]", {"extra_size"}, "N", "1/N is too much"),
    ("mlp", "delta1[j] = z1[j]*(1-z1[j])*sum[k](w2[j,k]*delta2[k])", {"transposed"}, "w2[k, j]", "exchanged"),
    ("mlp", "delta1[j] = z1[j]*(1-z1[j])*w2[k,j]*delta2[k]", {"missing_sum"}, None, "sum over k is missing"),
    ("mlp", "delta1[j] = z1[j]*(1-z1[j])*sum[j](w2[k,j]*delta2[k])", {"wrong_sum"}, None, "wrong index"),
    ("tanh", "delta[j] = (1 - h[j])*sum[k](V[j,k]*dE/dy[k])", {"wrong_derivative"}, "1 - h[j]**2", "dh/da_h"),
    ("digits", "dE/dW1[i,j] = x[i]*h[j]*sum[k](W2[j,k]*(p[k]-t[k]))", {"wrong_derivative"}, "step(a_h[j])", "dh/da_h"),
    ("digits", "dE/dW1[i,j] = x[i]*sum[k](W2[j,k]*(p[k]-t[k]))", {"missing_derivative"}, "step(a_h[j])", "missing"),
    ("tanh", "dE/dV[j,k] = 1/K*(y[k]-t[k])*h[j]", {"times"}, None, "half the true one"),
    ("mlp", "dC/dw2[k,j] = 2*delta2[k]*z1[j]", {"times"}, None, "1/2 of C"),
    ("tanh", "dE/dV[j,k] = 2*(y[k]-t[k])*h[j]", {"forgotten_size"}, "size(k)", "division by size(k)"),
    ("mlp", "dC/db1[j] = delta1[j]*x[i]", {"extra_factor"}, None, "a bias is added"),
    ("mlp", "delta1[j] = sum[k](w2[k,j]*delta2[k])", {"missing_derivative"}, "z1[j]*(1 - z1[j])", "dz1/da1"),
    (
        "mlp",
        "delta1[j] = sum[k](w2[k,j]*delta2[k]*z2[k]*(1-z2[k]))",
        {"missing_derivative", "extra_factor"},
        None,
        "dz1/da1",
    ),
    ("mlp", "dC/dw2[k,j] = delta2[k]*x[j]", {"wrong_quantity"}, "z1[j]", "input of its own layer"),
    ("mlp", "dC/dw1[j,i] = delta1[j]*z1[j]", {"wrong_factor", "wrong_quantity"}, "x[i]", "input of its own layer"),
    ("one layer", "dp/dz[j] = z[j]*(1 - z[j])", {"wrong_derivative"}, "p[j]*(1 - p[j])", "dp/dz"),
    ("mlp", "delta1[j] = a1[j]*(1-a1[j])*sum[k](w2[k,j]*delta2[k])", {"wrong_derivative"}, None, "dz1/da1"),
    ("one layer", "delta[j] = (p[j] - p[j]**2)*(p[j] - z[j])", {"wrong_quantity"}, "t[j]", "t[j]"),
    ("logistic", "dE/dw[i] = -(p - t)*x[i]", {"sign"}, None, "uphill"),
    ("logistic", "dE/dw[i] = (p - t)*p*(1 - p)*x[i]", {"extra_factor"}, None, "too much"),
    ("tanh", "dE/dW[i,j] = x[i]*delta_h[j]", {"missing_term"}, "W[i, j]*decay", "term"),
    ("tanh", "dE/dW[i,j] = x[i]*delta_h[j] + 2*decay*W[i,j]", {"times"}, "W[i, j]*decay", "2 times"),
    ("tanh", "W[i,j] <- W[i,j] - eta*x[i]*delta_h[j]", {"missing_term"}, "W[i, j]*decay", "update rule is missing"),
    (
        "one layer",
        "w[i,j] <- w[i,j] + alpha*(p[j]-t[j])*p[j]*(1-p[j])*x[i]",
        {"term_sign"},
        None,
        "goes against the gradient",
    ),
    ("one layer", "w[i,j] <- w[i,j] + 0.1*delta[j]*x[i]", {"term_sign"}, None, "goes against the gradient"),
    ("digits", "dE/dW1[3,7] = x[7]*delta_h[7]", {"wrong_index"}, "x[3]", "x[3], not x[7]"),
]


@pytest.mark.parametrize("name, claim, mistakes, factor, hint", MISTAKES, ids=[m[1] for m in MISTAKES])
def test_a_students_mistake_is_found_and_named(name, claim, mistakes, factor, hint):
    verdict = check_derivation(NETWORKS[name], claim)
    assert verdict.verdict == "different"
    assert set(verdict.mistakes) <= mistakes if len(verdict.mistakes) == 1 else set(verdict.mistakes) == mistakes
    assert factor is None or verdict.factor == factor
    assert hint in verdict.hint


def test_momentum_with_the_sign_of_the_gradient_turned_round():
    right = check_derivation(NETWORKS["tanh"], "v[j,k] <- mu*v[j,k] - eta*dE/dV[j,k]", optimizer="momentum")
    wrong = check_derivation(NETWORKS["tanh"], "v[j,k] <- mu*v[j,k] + eta*dE/dV[j,k]", optimizer="momentum")
    assert right.proved
    assert wrong.mistakes == ("term_sign",)
    assert "eta" in wrong.factor


def test_momentum_with_the_velocity_subtracted():
    assert check_derivation(NETWORKS["tanh"], "V[j,k] <- V[j,k] + v[j,k]", optimizer="momentum").proved
    wrong = check_derivation(NETWORKS["tanh"], "V[j,k] <- V[j,k] - v[j,k]", optimizer="momentum")
    assert (wrong.mistakes, wrong.factor) == (("term_sign",), "v[j, k]")


# --- right claims in other forms --------------------------------------------------------------------------------------

RIGHT = [
    ("one layer", "dE/dw[i,j] = (p[j]-t[j])*p[j]*(1-p[j])*x[i]", "sample"),
    ("one layer", "∂E/∂w[a,b] = x[a]*(p[b]-p[b]**2)*(p[b]-t[b])", "sample"),
    ("one layer", "dE/dw[i,j] = 1/N*sum[n]((p[j]-t[j])*p[j]*(1-p[j])*x[i])", "batch"),
    ("one layer", "dE/dw[i,j] = mean[n](delta[j]*x[i])", "batch"),
    ("one layer", "dE/dw[i,j] = dE/dp[j]*dp[j]/dz[j]*dz[j]/dw[i,j]", "sample"),
    ("one layer", "∂E/∂w[i,j] = ∂E/∂p[j]*∂p/∂z[j]*x[i]", "sample"),
    ("one layer", "dE/db[j] = -(t[j]-p[j])*exp(-z[j])/(1+exp(-z[j]))**2", "sample"),
    ("one layer", "delta[j] = p[j]*(1-p[j])*(p[j]-t[j])", None),
    ("one layer", "dp/dz[j] = sigmoid(z[j])*sigmoid(-z[j])", None),
    ("one layer", "dp[j]/dz[j] = 1/(2 + exp(z[j]) + exp(-z[j]))", None),
    ("one layer", "w[i,j] <- w[i,j] - alpha*(p[j]-t[j])*p[j]*(1-p[j])*x[i]", "sample"),
    ("one layer", "b[j] <- b[j] + eta*mean[n]((t[j]-p[j])*p[j]*(1-p[j]))", "batch"),
    ("mlp", "delta2[k] = (z2[k]-y[k])*z2[k]*(1-z2[k])", None),
    ("mlp", "delta1[j] = z1[j]*(1-z1[j])*sum[m](w2[m,j]*delta2[m])", None),
    ("mlp", "δ1[j] = σ'(a1[j])*Σ[k](w2[k,j]*(z2[k]-y[k])*σ'(a2[k]))", None),
    ("mlp", "dC/dw1[j,i] = sum[k](x[i]*z1[j]*w2[k,j]*(z2[k]-y[k])*z2[k]*(1-z2[k])*(1-z1[j]))", "sample"),
    ("mlp", "dz2[k]/dz1[j] = w2[k,j]*z2[k]*(1-z2[k])", None),
    ("mlp", "dC/dx[i] = sum[j](w1[j,i]*delta1[j])", None),
    ("digits", "delta[k] = exp(a_p[k])/sum[l](exp(a_p[l])) - t[k]", None),
    ("digits", "delta[k] = p[k]*sum[l](t[l]) - t[k]", None),
    ("digits", "dE/dp[k] = -t[k]/p[k]", None),
    ("digits", "dp[k]/da_p[l] = p[k]*([k == l] - p[l])", None),
    ("digits", "dE/dW1[i,j] = x[i]*[h[j] > 0]*sum[k](W2[j,k]*(p[k]-t[k]))", "sample"),
    (
        "digits",
        "dE/dW1[i,j] = sum[k](where(a_h[j] > 0, x[i]*W2[j,k]*p[k], 0)) - x[i]*step(a_h[j])*sum[l](W2[j,l]*t[l])",
        "sample",
    ),
    ("digits", "dE/dW1[3,7] = x[3]*delta_h[7]", "sample"),
    ("digits", "dE/da_p[k] = sum[l](-t[l]/p[l]*p[l]*([l == k] - p[k]))", None),
    ("logistic", "dE/dw[i] = (-t/p + (1-t)/(1-p))*p*(1-p)*x[i]", "sample"),
    ("logistic", "dE/dw[i] = mean[n]((p - t)*x[i])", "batch"),
    ("logistic", "dE/db = -t*(1-p) + (1-t)*p", "sample"),
    ("logistic", "dE/dp = (p - t)/(p*(1 - p))", None),
    ("tanh", "delta[j] = (1-h[j])*(1+h[j])*2/K*sum[k](V[j,k]*(y[k]-t[k]))", None),
    ("tanh", "dE/dW[i,j] = x[i]*delta_h[j] + decay*W[i,j]", "sample"),
    ("tanh", "dE/dV[j,k] = 2/size(k)*mean[n]((y[k]-t[k])*h[j])", "batch"),
    ("label", "dE/dW[i,k] = x[i]*(p[k] - [k == y])", "sample"),
    ("label", "delta[k] = p[k] - [k == y]", None),
    ("tied", "dE/dW[i,j] = (r[i]-x[i])*h[j] + x[i]*sum[k](W[k,j]*(r[k]-x[k]))", "sample"),
    ("tied", "delta[j] = sum[i](W[i,j]*(r[i]-x[i]))", None),
    ("normed", "dE/dg = mean[n]((y - t)*(a - m)/sqrt(s + 0.001))", "batch"),
    ("one layer", "w[i,j] <- w[i,j] - 0.1*delta[j]*x[i]", "sample"),
    ("tanh", "dh/da_h[j] = 4/(exp(a_h[j])+exp(-a_h[j]))**2", None),
]


@pytest.mark.parametrize("name, claim, reading", RIGHT, ids=[r[1] for r in RIGHT])
def test_a_right_claim_is_proved_in_whatever_form(name, claim, reading):
    verdict = check_derivation(NETWORKS[name], claim)
    assert (verdict.verdict, verdict.reading) == ("proved", reading)
    assert verdict.holds
    assert verdict.hint == ""


def test_what_no_rule_proves_is_equal_at_all_points_and_never_called_proved():
    """cos² + sin² = 1 is no rule of the normal form: the claim is right, and said to be not proved."""
    verdict = check_derivation(NETWORKS["one layer"], "dp/dz[j] = p[j]*(cos(z[j])**2 + sin(z[j])**2 - p[j])")
    assert (verdict.verdict, verdict.proved, verdict.holds) == ("equal", False, True)
    assert "not proved" in str(verdict)
    assert verdict.points >= 20


def test_what_differs_only_where_a_target_is_0_is_found():
    text = "input x\ntarget t[k]\nparameter w[k]\ny[k] = w[k]*x\nE = sum[k]((y[k] - t[k])**2)"
    verdict = check_derivation(text, "dE/dy[k] = 2*(y[k] - t[k]) + [t[k] == 0]")
    assert verdict.verdict == "different"


def test_what_differs_only_for_large_errors_is_found():
    text = (
        "input x\ntarget t\nparameter w\ny = w*x\nE = where(abs(y - t) <= 1.5, 1/2*(y - t)**2, 1.5*(abs(y - t) - 0.75))"
    )
    assert check_derivation(text, "dE/dy = where(abs(y - t) <= 1.5, y - t, 1.5*sign(y - t))").proved
    assert check_derivation(text, "dE/dy = y - t").verdict == "different"


def test_a_penalty_is_added_once_however_many_samples_there_are():
    network = NETWORKS["tanh"]
    assert check_derivation(network, "dE/dW[i,j] = mean[n](x[i]*delta_h[j]) + decay*W[i,j]").proved
    wrong = check_derivation(network, "dE/dW[i,j] = mean[n](x[i]*delta_h[j]) + N*decay*W[i,j]")
    assert wrong.verdict == "different"


# --- counterexamples --------------------------------------------------------------------------------------------------


def test_a_counterexample_is_small_and_checked_by_hand():
    """One input, one output: x = 1, w = b = t = 0 gives p = 1/2, so p - t = 1/2 and the true value 1/2·1/4 = 1/8."""
    example = check_derivation(NETWORKS["one layer"], "dE/dw[i,j] = (p[j]-t[j])*x[i]").counterexample
    assert set(example.sizes.values()) == {1}
    assert {n: a.item() for n, a in example.given.items()} == {"x": 1, "t": 0, "w": 0, "b": 0}
    assert (example.claimed, example.true) == (0.5, 0.125)


def test_a_forgotten_mean_needs_two_samples_to_show():
    example = check_derivation(NETWORKS["logistic"], "dE/db = sum[n](p - t)").counterexample
    assert example.sizes["n"] == 2
    assert np.isclose(example.claimed, 2 * example.true)


GRADIENTS = [(m[0], m[1]) for m in MISTAKES if re.match(r"d[EC]/d(w|W1|w1|w2|b1|V|W)\b", m[1]) and "W1[3" not in m[1]]


@pytest.mark.parametrize("name, claim", GRADIENTS, ids=[g[1] for g in GRADIENTS])
def test_the_true_value_of_a_counterexample_is_a_difference_quotient(name, claim):
    """Oracle: (E(w + h) - E(w - h))/2h of the network's own loss, with the printed numbers put in."""
    example = check_derivation(NETWORKS[name], claim).counterexample
    if example is None:  # a transposed weight fits no sizes, a missing sum leaves an index open
        return
    network = formula(TEXTS[name], dtype="float64")
    given = {n: np.asarray(a, dtype=float) for n, a in example.given.items()}
    data = [given[t.name] for t in network.system.of_role("input", "target")]
    weights = {
        p.name: given.get(p.name, np.zeros([example.sizes[i] for i in p.indices])) for p in network.system.parameters
    }
    weight = re.match(r"d\w+/d(\w+)", claim)[1]
    own = network.system.tensors[weight].indices
    axes = sorted({*own} | ({"n"} if len(example.entry) > len(own) else set()), key=lambda i: (i != "n", i))
    place = tuple(example.entry[axes.index(i)] for i in own)
    row = slice(example.entry[0], example.entry[0] + 1) if axes[:1] == ["n"] else slice(None)

    def loss(shift: float) -> float:
        moved = {n: a.copy() for n, a in weights.items()}
        moved[weight][place] += shift
        network.set_parameters(moved)
        return network.loss(*(d[row] for d in data))

    quotient = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert np.isclose(example.true, quotient, rtol=1e-6, atol=1e-8)
    assert not np.isclose(example.claimed, quotient, rtol=1e-4, atol=1e-6)
    assert max(example.sizes.values()) <= 3


# --- claims that do not read ------------------------------------------------------------------------------------------

UNREADABLE = [
    ("dE/dw[i,j] = (p[j]-t[j]", NotationError, "never closed"),
    ("dE/dw[i,j] = x[i]*", NotationError, "missing after '*'"),
    ("dE/dw[i,j]", NotationError, "needs '='"),
    ("dE/dw[i,j] = x[i] = 3", NotationError, "one claim at a time"),
    ("dE/dw[i] = x[i]", ShapeError, "has 2: write w[i, j]"),
    ("dE/dw2[i,j] = x[i]", UnknownName, "w2"),
    ("dE/dw[i,j] = q[j]*x[i]", UnknownName, "q"),
    ("dE/dw[i,j] = foo*x[i]", UnknownName, "foo"),
    ("dE/dw[i,j] = x[i,j]", ShapeError, "x[i]"),
    ("dE/dw[i,j] = p[j]*x[k]*t[k]", ShapeError, "runs over"),
    ("dE/dw[i,j] = cos(p[j])*x[l]**3", ShapeError, "on the right but not on the left"),
    ("p*q = 3", NotationError, "left side of a claim"),
    ("u[i,j] <- u[i,j]", UnknownName, "u is not updated"),
    ("x[i] <- x[i]", UnknownName, "x is not updated"),
    ("dE/dw[i,j] = " + "x[i] + " * 2000 + "1", NotationError, "at most"),
    ("", NotationError, "needs '='"),
    ("= 3", NotationError, "left side of a claim"),
    ("dE/dw[i,j] =", NotationError, "expected here"),
    ("dE/dw[n,j] = (p[j]-t[j])*x[i]", ShapeError, "n is the sample axis"),
    ("dp/dz[n] = p[j]", ShapeError, "n is the sample axis"),
    ("w[n,j] <- 1", ShapeError, "n is the sample axis"),
    ("∂E/∂q[j] = 1", UnknownName, "q is not a quantity"),
    ("dE/dw[i,j] = ∂E/∂q[j]*x[i]", UnknownName, "q is not a quantity"),
]


@pytest.mark.parametrize("claim, kind, words", UNREADABLE, ids=[u[0][:40] for u in UNREADABLE])
def test_a_claim_that_does_not_read_gets_one_line_and_a_caret(claim, kind, words):
    with pytest.raises(kind) as caught:
        check_derivation(NETWORKS["one layer"], claim)
    assert words in str(caught.value)
    assert caught.value.place is None or str(caught.value).endswith("^")


def test_a_position_out_of_range_is_refused_where_the_size_is_known():
    network = formula("size i = 4\n" + ONE_LAYER)
    with pytest.raises(ShapeError, match=r"size is 4"):
        check_derivation(network, "dE/dw[4,0] = x[4]*delta[0]")
    with pytest.raises(ShapeError, match=r"size is 4"):
        check_derivation(network, "dE/dw[0,0] = x[7]*delta[0]")
    assert check_derivation(network, "dE/dw[3,0] = x[3]*delta[0]").proved


def test_carets_point_at_what_was_typed_also_behind_rewritten_parts():
    with pytest.raises(UnknownName) as caught:
        check_derivation(NETWORKS["one layer"], "dE/dw[i,j] = ∂E/∂p[j]*dp[j]/dz[j]*foo")
    assert caught.value.place.column == "dE/dw[i,j] = ∂E/∂p[j]*dp[j]/dz[j]*foo".index("foo") + 1


def test_whatever_is_typed_gives_a_verdict_or_a_chainrule_error():
    rng = np.random.default_rng(0)
    pieces = [
        "dE/dw[i,j]",
        "=",
        "(",
        ")",
        "p[j]",
        "x[i]",
        "*",
        "+",
        "-",
        "sum[j]",
        "1",
        "/",
        "[",
        "]",
        "<-",
        "∂",
        "'",
        "δ",
        "t",
        "n",
    ]
    checker = checker_of(NETWORKS["one layer"])
    for _ in range(400):
        claim = "".join(rng.choice(pieces, rng.integers(1, 9)))
        if rng.random() < 0.7:
            claim = "dE/dw[i,j] = " + claim
        try:
            checker.check(claim, pair_seconds=0, example=False)
        except ChainruleError as error:
            assert isinstance(error, FormulaError)


# --- what is around it ------------------------------------------------------------------------------------------------


def test_the_state_of_a_network_is_not_touched():
    network = formula(ONE_LAYER, sizes={"i": 2, "j": 3})
    before = {n: a.copy() for n, a in network.parameters.items()}
    check_derivation(network, "dE/dw[i,j] = x[i]")
    assert all(np.array_equal(before[n], a) for n, a in network.parameters.items())


def test_the_texts_own_update_rule_is_what_a_claim_is_held_against():
    text = LOGISTIC + "eta = 0.1\nw[i] <- w[i] - eta*(p - t)*x[i]\nb <- b - 0.5*eta*(p - t)"
    assert check_derivation(text, "w[k] <- w[k] - eta*(p - t)*x[k]").proved
    assert not check_derivation(text, "b <- b - eta*(p - t)").holds


def test_a_verdict_is_frozen_and_true_where_the_claim_holds():
    verdict = check_derivation(NETWORKS["logistic"], "dE/db = p - t")
    assert verdict
    with pytest.raises(AttributeError):
        verdict.verdict = "different"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_verdict_reads_in_both_languages(language):
    set_language(language)
    try:
        for name, claim, *_ in MISTAKES[::5]:
            text = str(check_derivation(NETWORKS[name], claim))
            assert "{" not in text
            assert ("틀림" in text) == (language == "ko")
            assert "<pre>" in check_derivation(NETWORKS[name], claim)._repr_html_()
    finally:
        set_language(None)


def test_the_command_prints_verdicts_and_says_by_its_code_whether_all_hold(tmp_path, capsys):
    file = tmp_path / "one.formula"
    file.write_text(ONE_LAYER, encoding="utf-8")
    good, bad = "dE/db[j] = delta[j]", "dE/db[j] = -delta[j]"
    assert check_claims(file, [good], json=False) == 0
    assert "proved" in capsys.readouterr().out
    assert check_claims(file, [good, bad], json=False) == 1
    assert "wrong" in capsys.readouterr().out
    assert check_claims(file, [good, bad], json=True) == 1
    records = json.loads(capsys.readouterr().out)
    assert [r["verdict"] for r in records] == ["proved", "different"]
    assert records[1]["counterexample"]["claimed"] == -records[1]["counterexample"]["true"]


def test_the_page_of_the_documentation_shows_what_happens():
    page = Path(__file__).parents[2] / "docs" / "check-my-derivation.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried >= 4
    assert failed == 0


def test_a_deep_network_is_checked_in_seconds():
    """Eight layers: the proof unfolds what it needs, and gives up in time where it would need more."""
    layers = 8
    lines = ["input x[i]", "target t", "parameter " + ", ".join(f"w{n}" for n in range(layers)), "h0 = sum[i](x[i])*w0"]
    lines += [f"h{n} = tanh(w{n}*h{n - 1})" for n in range(1, layers)]
    network = Network(formula("\n".join([*lines, f"E = (h{layers - 1} - t)**2"])).system)
    checker = Checker(network.derivation)
    product = "*".join(f"w{n}*(1-h{n}**2)" for n in range(1, layers))
    assert checker.check(f"dE/dw0 = 2*(h{layers - 1}-t)*{product}*sum[i](x[i])").holds
    assert not checker.check(f"dE/dw0 = (h{layers - 1}-t)*{product}*sum[i](x[i])").holds
