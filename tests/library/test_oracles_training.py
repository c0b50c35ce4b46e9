"""Initializers, normalizations and whole trainings against PyTorch 2.13 and Keras 3.15."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.library import INITIALIZERS, find
from chainrule.training.network import formula
from chainrule.training.optimizer import Optimizer

from .oracles import PRECISIONS, assert_same, recorded

# --- initializers -----------------------------------------------------------------------------------------------------

START_FILE = recorded("initializers")
STARTS = {
    "keras GlorotNormal": "keras_glorot_normal",
    "keras GlorotUniform": "glorot_uniform",
    "keras HeNormal": "keras_he_normal",
    "keras HeUniform": "he_uniform",
    "keras LecunNormal": "keras_lecun_normal",
    "keras LecunUniform": "lecun_uniform",
    "keras RandomNormal": "normal",
    "keras RandomUniform": "uniform",
    "keras TruncatedNormal": "truncated_normal",
    "keras VarianceScaling": "keras_variance_scaling",
    "keras VarianceScaling fan_out": "keras_variance_scaling_fan_out(2)",
    "keras VarianceScaling fan_avg": "keras_variance_scaling_fan_avg(2)",
    "keras VarianceScaling untruncated": "variance_scaling_fan_avg(2)",
    "keras VarianceScaling uniform fan_in": "variance_scaling_uniform(2)",
    "keras VarianceScaling uniform fan_out": "variance_scaling_uniform_fan_out(2)",
    "keras VarianceScaling uniform fan_avg": "variance_scaling_uniform_fan_avg(2)",
    "keras Zeros": "zeros",
    "keras Ones": "ones",
    "keras Constant": "constant(0.3)",
    "keras Identity": "identity",
    "keras Orthogonal": "orthogonal",
    "torch Linear weight": "torch_linear",
    "torch kaiming_uniform_": "he_uniform",
    "torch kaiming_normal_": "he_normal",
    "torch xavier_uniform_": "glorot_uniform",
    "torch xavier_normal_": "glorot_normal",
    "torch orthogonal_": "orthogonal",
    "torch eye_": "identity",
}
UNBOUNDED = {"normal", "orthogonal", "he_normal", "glorot_normal", "variance_scaling_fan_avg(2)"}
PAPERS = {"lecun_normal", "variance_scaling", "variance_scaling_fan_out"}  # of the kind of the others, not cut


@pytest.mark.parametrize("name", START_FILE["cases"])
def test_initializer(name):
    theirs, row = START_FILE["cases"][name], STARTS[name]
    if name == "torch kaiming_uniform_":  # its default, a = 0, is the row's
        assert theirs["largest"] == pytest.approx(np.sqrt(6 / START_FILE["fan_in"]), rel=1e-3)
    text = f"input x[i]\nparameter W[i, j] = {row}\ny[j] = sum[i](x[i]*W[i, j])"
    ours = formula(text, sizes={"i": START_FILE["fan_in"], "j": START_FILE["fan_out"]}, seed=1).parameters["W"]
    deviation = theirs["std"]
    # 120,000 numbers: their standard deviation is known to 1/sqrt(240000) = 0.2 %, their mean to 0.3 % of it.
    assert ours.std() == pytest.approx(deviation, rel=0.01)
    assert ours.mean() == pytest.approx(theirs["mean"], abs=0.015 * deviation + 1e-7)
    if row not in UNBOUNDED:
        ends = np.quantile(ours, [1e-4, 1 - 1e-4])
        assert list(ends) == pytest.approx([theirs["least"], theirs["largest"]], rel=5e-3, abs=1e-12)


def test_every_initializer_is_compared():
    compared = {find(INITIALIZERS, row.split("(")[0]).name for row in STARTS.values()}
    assert compared | PAPERS == set(INITIALIZERS)


@pytest.mark.parametrize(("rows", "columns"), [(7, 3), (3, 7), (5, 5)])
def test_an_orthogonal_matrix_is_one(rows, columns):
    text = "input x[i]\nparameter W[i, j] = orthogonal(2)\ny[j] = sum[i](x[i]*W[i, j])"
    W = formula(text, sizes={"i": rows, "j": columns}, dtype="float64").parameters["W"]
    square = W.T @ W if rows >= columns else W @ W.T
    np.testing.assert_allclose(square, 4 * np.eye(min(rows, columns)), atol=1e-14)


# --- normalizations ---------------------------------------------------------------------------------------------------

LAYER_FILE = recorded("layers")
# The gradients are those of Σ y·weight; the weights come as a target, which a prediction does not need.
BATCH_NORMALIZATION = """
input x[j]
target weight[j]
parameter gamma[j] = ones
parameter beta[j] = zeros
size j = 4
mu[j] = mean[n](x[n, j])
var[j] = mean[n]((x[n, j] - mu[j])**2)
y[j] = gamma[j]*(x[j] - mu[j])/sqrt(var[j] + {epsilon}) + beta[j]
state mu_avg[j] = zeros
state var_avg[j] = ones
mu_avg[j] <- {momentum}*mu_avg[j] + (1 - {momentum})*mu[j]
var_avg[j] <- {momentum}*var_avg[j] + (1 - {momentum})*var[j]{correction}
prediction mu[j] = mu_avg[j]
prediction var[j] = var_avg[j]
E = sum[j](y[j]*weight[j])
output y
"""
LAYER_NORMALIZATION = """
input x[j]
target weight[j]
parameter gamma[j] = ones
parameter beta[j] = zeros
size j = 4
y[j] = gamma[j]*(x[j] - mean[k](x[k]))/sqrt(mean[k]((x[k] - mean[l](x[l]))**2) + {epsilon}) + beta[j]
E = sum[j](y[j]*weight[j])
output y
"""
# PyTorch's running variance is the one of n - 1; Keras's that of n.
UNBIASED = "*6/5"
LAYERS = {
    "keras BatchNormalization": (BATCH_NORMALIZATION, {"epsilon": "1e-3", "momentum": "0.99", "correction": ""}),
    "keras BatchNormalization 0.8": (BATCH_NORMALIZATION, {"epsilon": "0.01", "momentum": "0.8", "correction": ""}),
    "torch BatchNorm1d": (BATCH_NORMALIZATION, {"epsilon": "1e-5", "momentum": "0.9", "correction": UNBIASED}),
    "keras LayerNormalization": (LAYER_NORMALIZATION, {"epsilon": "1e-3"}),
    "torch LayerNorm": (LAYER_NORMALIZATION, {"epsilon": "1e-5"}),
}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_normalization(name, dtype):
    text, options = LAYERS[name]
    wanted = LAYER_FILE["cases"][dtype][name]
    batches, weight = np.array(LAYER_FILE["batches"]), np.array(LAYER_FILE["weight"])
    net = formula(text.format(**options), dtype=dtype)
    net.set_parameters({"gamma": LAYER_FILE["gamma"], "beta": LAYER_FILE["beta"]})
    for n, batch in enumerate(batches):
        gradients = net.gradients({"x": batch, "weight": weight})
        for own, theirs in (("gamma", "dgamma"), ("beta", "dbeta")):  # theirs are of the sum, ours of the mean
            assert_same(gradients[own] * len(batch), wanted[theirs][n], dtype, looser=5)
    data = {"x": np.concatenate(batches), "weight": np.tile(weight, (3, 1))}
    net.fit(
        data,
        epochs=1,
        batch_size=6,
        shuffle=False,
        learning_rate=0.0,
        verbose=0,
        engine="interpreter",
        metrics=(),
        advice=False,
    )
    if "mean" in wanted:
        assert_same(net.kept["mu_avg"], wanted["mean"], dtype)
        assert_same(net.kept["var_avg"], wanted["variance"], dtype)
    assert_same(net.predict({"x": batches[0]}), wanted["prediction"], dtype, looser=5)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_what_a_normalization_lets_through(name, dtype):
    """The gradient in its input: of a weight before it, x = u, whose rows are the samples."""
    text, options = LAYERS[name]
    wanted = LAYER_FILE["cases"][dtype][name]
    rows = len(LAYER_FILE["weight"])
    text = (
        text.format(**options).replace("input x[j]", "input pick[i]").replace("size j = 4", f"size j = 4, i = {rows}")
    )
    text = text.replace("parameter gamma", "parameter u[i, j] = zeros\nx[j] = sum[i](pick[i]*u[i, j])\nparameter gamma")
    net = formula(text, dtype=dtype)
    net.set_parameters({"gamma": LAYER_FILE["gamma"], "beta": LAYER_FILE["beta"], "u": LAYER_FILE["batches"][0]})
    gradient = net.gradients({"pick": np.eye(rows), "weight": LAYER_FILE["weight"]})["u"] * rows
    # Keras on PyTorch multiplies in float32 here and there, even where all is float64.
    assert_same(gradient, wanted["dx"][0], dtype, looser=500 if "keras" in name and dtype == "float64" else 10)


def test_dropout():
    """What is kept is divided by the share that is kept, and the share is that of Keras."""
    theirs = LAYER_FILE["cases"]["float64"]["keras Dropout 0.4"]
    text = (
        "input x[j]\nparameter u[j] = ones\nrandom m[j] = bernoulli(0.6)\ny[j] = x[j]*m[j]/0.6\nE = -sum[j](u[j]*y[j])"
    )
    net = formula(text, dtype="float64", sizes={"j": 50})
    net.fit(
        {"x": np.ones((200, 50))}, epochs=1, batch_size=200, learning_rate=200.0, verbose=0, metrics=(), advice=False
    )
    counts = (net.parameters["u"] - 1) * 0.6  # u - 1 is the sum over the samples of y
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    assert 1 - counts.sum() / 10_000 == pytest.approx(theirs["share"], abs=0.02)
    assert theirs["values"] == pytest.approx([0, 1 / 0.6])


# --- whole trainings --------------------------------------------------------------------------------------------------

TRAINING_FILE = recorded("trainings")
ONE_HOT = "target t[k], sum[k](t[k]) = 1"
ANY, LABEL = "target t[k]", "label y in k"
CROSS_ENTROPY, FROM_LABELS = "-sum[k](t[k]*log(p[k]))", "-sum[k]([k == y]*log(p[k]))"
BINARY = "-mean[k](t[k]*log(p[k]) + (1 - t[k])*log(1 - p[k]))"
HUBER = "mean[k](where(abs(t[k] - p[k]) <= 1, (t[k] - p[k])**2/2, abs(t[k] - p[k]) - 1/2))"
SOFTMAX, LINEAR, SIGMOID = "softmax[k]({})", "{}", "sigmoid({})"
# name: hidden activation, output, target, loss, optimizer
TRAININGS = {
    "keras sgd": ("tanh", SOFTMAX, ONE_HOT, CROSS_ENTROPY, Optimizer("gradient_descent", 0.5)),
    "keras rmsprop": ("relu", SOFTMAX, ONE_HOT, CROSS_ENTROPY, Optimizer("keras_rmsprop")),
    "keras adam": ("relu", SOFTMAX, LABEL, FROM_LABELS, Optimizer("keras_adam", 0.01)),
    "keras adamw": ("gelu", SIGMOID, ANY, BINARY, Optimizer("keras_adamw", 0.01, {"weight_decay": 0.1})),
    "keras nadam": ("silu", LINEAR, ANY, "mean[k]((t[k] - p[k])**2)", Optimizer("keras_nadam", 0.01)),
    "keras nesterov": ("elu", LINEAR, ANY, HUBER, Optimizer("keras_nesterov", 0.1)),
    "keras adagrad": ("softplus", LINEAR, ANY, "mean[k](abs(t[k] - p[k]))", Optimizer("keras_adagrad", 0.1)),
    "keras clipped": (
        "tanh",
        "tanh({})",
        ANY,
        "mean[k](max(0, 1 - t[k]*p[k])**2)",
        Optimizer("momentum", 0.5, global_clip_norm=0.1),
    ),
    "keras lamb": ("mish", SOFTMAX, ONE_HOT, CROSS_ENTROPY, Optimizer("keras_lamb", 0.01)),
    "torch sgd": ("tanh", SOFTMAX, LABEL, FROM_LABELS, Optimizer("gradient_descent", 0.5)),
    "torch momentum": ("relu", SIGMOID, ANY, BINARY, Optimizer("torch_momentum", 0.1)),
    "torch adam": ("gelu", SOFTMAX, LABEL, FROM_LABELS, Optimizer("torch_adam", 0.01)),
    "torch adamw": ("silu", SIGMOID, ANY, BINARY, Optimizer("torch_adamw", 0.01, {"weight_decay": 0.1})),
    "torch rmsprop": (
        "softplus",
        LINEAR,
        ANY,
        HUBER,
        Optimizer("torch_rmsprop", 0.01, {"rho": 0.99, "epsilon": 1e-8}),
    ),
    "torch nadam": ("selu", LINEAR, ANY, "mean[k]((t[k] - p[k])**2)", Optimizer("torch_nadam", 0.01)),
}
COMPILED = ("keras nadam", "keras clipped", "torch adamw")


def train(name, dtype, steps, engine):
    hidden, output, target, loss, optimizer = TRAININGS[name]
    text = f"""
input x[i]
{target}
parameter W1[i, j], b1[j], W2[j, k], b2[k] = zeros
h[j] = {hidden}(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = {output.format("sum[j](h[j]*W2[j, k]) + b2[k]")}
E = {loss}
"""
    data = TRAINING_FILE["data"]
    net = formula(text, sizes={"i": 5, "j": 8, "k": 3}, dtype=dtype)
    net.set_parameters({weight: data[weight] for weight in ("W1", "b1", "W2", "b2")})
    x, t = np.array(data["x"]), np.array(data[TRAINING_FILE["cases"][dtype][name]["t"]])
    history = net.fit(
        x,
        t,
        epochs=steps,
        batch_size=None,
        optimizer=optimizer,
        verbose=0,
        engine=engine,
        metrics=(),
        advice=False,
    )
    return net.parameters, history.history["loss"][-1]


@pytest.mark.parametrize(
    ("name", "dtype", "engine"),
    [
        *((name, dtype, "interpreter") for name in TRAININGS for dtype in PRECISIONS),
        *((name, "float64", "native") for name in COMPILED),
    ],
)
def test_ten_steps_of_training(name, dtype, engine):
    wanted = TRAINING_FILE["cases"][dtype][name]
    for steps, weights in wanted["weights"].items():
        ours, loss = train(name, dtype, int(steps), engine)
        for key, theirs in zip(("W1", "b1", "W2", "b2"), weights, strict=True):
            # Ten steps of float32 rounding, which Adam's division by small sqrt(v) makes larger. Keras 3.15 takes the
            # mean of a loss over the samples in float32 even where all is float64: 1e-7 beside the largest weight.
            looser = 30 if dtype == "float32" else 100 if "keras" in name else 1
            assert_same(ours[key], theirs, dtype, looser)
    assert loss == pytest.approx(wanted["loss"], rel=1e-6 if dtype == "float64" else 1e-4)


def test_every_recorded_training_is_here():
    assert set(TRAININGS) == set(TRAINING_FILE["cases"]["float64"])
