"""Activations, losses and metrics of PyTorch, Keras and scikit-learn on drawn numbers: values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import torch
from sklearn import metrics as sk
from torch import nn

from benchmarks.oracles.record import Array, Record, numbers, tensor

F = nn.functional
Function = Callable[..., Any]

# Away from every kink of the functions below (0, ±0.5, ±1, ±3, 6 and the thresholds), and far out on both sides.
GRID = [-60.0, -21.5, -9.0, -5.5, -3.4, -2.6, -1.7, -1.1, -0.8, -0.55, -0.3, -0.01]
GRID += [0.02, 0.3, 0.45, 0.7, 0.9, 1.3, 2.2, 2.9, 3.3, 5.7, 6.4, 12.0, 24.0, 60.0]

KERAS_ACTIVATIONS: Mapping[str, Function] = {
    **{
        f"keras {name}": getattr(keras.activations, name)
        for name in (
            *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish"),
            *("hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu"),
            *("soft_shrink", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh"),
            "tanh_shrink",
        )
    },
    "keras gelu approximate": lambda a: keras.activations.gelu(a, approximate=True),
    "keras celu alpha=1.7": lambda a: keras.activations.celu(a, alpha=1.7),
    "keras elu alpha=0.6": lambda a: keras.activations.elu(a, alpha=0.6),
    "keras leaky_relu 0.3": lambda a: keras.activations.leaky_relu(a, negative_slope=0.3),
    "keras soft_shrink 0.8": lambda a: keras.activations.soft_shrink(a, threshold=0.75),
    "keras hard_shrink 0.8": lambda a: keras.activations.hard_shrink(a, threshold=0.75),
    "keras threshold": lambda a: keras.activations.threshold(a, 0.5, -2.0),
    "keras squareplus b=1": lambda a: keras.activations.squareplus(a, b=1),
}
TORCH_ACTIVATIONS: Mapping[str, Function] = {
    f"torch {name}": module
    for name, module in {
        "CELU": nn.CELU(),
        "ELU": nn.ELU(),
        "GELU": nn.GELU(),
        "GELU tanh": nn.GELU(approximate="tanh"),
        "Hardshrink": nn.Hardshrink(),
        "Hardsigmoid": nn.Hardsigmoid(),
        "Hardswish": nn.Hardswish(),
        "Hardtanh": nn.Hardtanh(),
        "Hardtanh -2 to 3.1": nn.Hardtanh(-2.0, 3.1),
        "LeakyReLU": nn.LeakyReLU(),
        "LogSigmoid": nn.LogSigmoid(),
        "Mish": nn.Mish(),
        "ReLU": nn.ReLU(),
        "ReLU6": nn.ReLU6(),
        "SELU": nn.SELU(),
        "SiLU": nn.SiLU(),
        "Sigmoid": nn.Sigmoid(),
        "Softplus": nn.Softplus(),
        "Softshrink": nn.Softshrink(),
        "Softsign": nn.Softsign(),
        "Tanh": nn.Tanh(),
        "Tanhshrink": nn.Tanhshrink(),
        "Threshold": nn.Threshold(0.5, -2.0),
    }.items()
}
VECTOR_ACTIVATIONS: Mapping[str, Function] = {
    "keras softmax": keras.activations.softmax,
    "keras log_softmax": keras.activations.log_softmax,
    "torch Softmax": nn.Softmax(dim=-1),
    "torch LogSoftmax": nn.LogSoftmax(dim=-1),
}


def activations(dtype: str) -> Record:
    """Of each function: its values y and slopes dy on the grid; of those of a vector, on rows of five."""
    grid = np.array(GRID)
    rows = np.random.default_rng(1).normal(size=(3, 5)) * np.array([[1.0], [4.0], [30.0]])
    weight = np.random.default_rng(2).normal(size=rows.shape)
    cases = {}
    for name, function in {**KERAS_ACTIVATIONS, **TORCH_ACTIVATIONS}.items():
        cases[name] = _value_and_slope(function, grid, np.ones_like(grid), dtype)
    for name, function in VECTOR_ACTIVATIONS.items():
        cases[name] = _value_and_slope(function, rows, weight, dtype)
    return {"grid": numbers(grid), "rows": numbers(rows), "weight": numbers(weight), "cases": cases}


def _value_and_slope(function: Function, at: Array, weight: Array, dtype: str) -> Record:
    """The gradient is that of the sum of the values times `weight`."""
    a = tensor(at, dtype).requires_grad_()
    y = function(a)
    (y * tensor(weight, dtype)).sum().backward()
    return {"y": numbers(y), "dy": numbers(a.grad)}


# --- losses -----------------------------------------------------------------------------------------------------------

ROWS, CLASSES = 5, 4


def drawn() -> dict[str, Array]:
    """Targets and predictions of every kind, (5, 4); labels (5,)."""
    rng = np.random.default_rng(3)
    labels = np.array([2, 0, 3, 1, 2])
    return {
        "real": rng.normal(size=(ROWS, CLASSES)) * 2,
        "other": rng.normal(size=(ROWS, CLASSES)) * 2,
        "positive": rng.uniform(0.2, 4, (ROWS, CLASSES)),
        "also_positive": rng.uniform(0.2, 4, (ROWS, CLASSES)),
        "counts": rng.poisson(2.0, (ROWS, CLASSES)).astype(float),
        "zero_one": rng.integers(0, 2, (ROWS, CLASSES)).astype(float),
        "signs": rng.choice([-1.0, 1.0], (ROWS, CLASSES)),
        "probability": rng.uniform(0.05, 0.95, (ROWS, CLASSES)),
        "shares": rng.dirichlet(np.ones(CLASSES), ROWS),
        "shares_predicted": rng.dirichlet(np.ones(CLASSES) * 3, ROWS),
        "one_hot": np.eye(CLASSES)[labels],
        "labels": labels,
        # In the middle, near the ends, and beyond the cut that Keras makes.
        "extreme": np.array(
            [[0.3, 1e-9, 0.2, 0.5], [1 - 3e-8, 1e-8, 1e-8, 1e-8], [0.25] * 4, [0, 1, 0, 0], [0.9, 0.1, 0, 0]]
        ),
        "scores": rng.normal(size=(ROWS, CLASSES)) * 3,
    }


def _keras_losses() -> Mapping[str, tuple[Function, str, str]]:
    loss, sums = keras.losses, {"reduction": "sum"}
    return {
        "keras MeanSquaredError": (loss.MeanSquaredError(**sums), "real", "other"),
        "keras MeanAbsoluteError": (loss.MeanAbsoluteError(**sums), "real", "other"),
        "keras MeanAbsolutePercentageError": (loss.MeanAbsolutePercentageError(**sums), "real", "other"),
        "keras MeanSquaredLogarithmicError": (loss.MeanSquaredLogarithmicError(**sums), "positive", "also_positive"),
        "keras CosineSimilarity": (loss.CosineSimilarity(**sums), "real", "other"),
        "keras Huber": (loss.Huber(**sums), "real", "other"),
        "keras Huber delta=0.7": (loss.Huber(delta=0.7, **sums), "real", "other"),
        "keras LogCosh": (loss.LogCosh(**sums), "real", "other"),
        "keras Poisson": (loss.Poisson(**sums), "counts", "positive"),
        "keras KLDivergence": (loss.KLDivergence(**sums), "shares", "shares_predicted"),
        "keras KLDivergence one_hot": (loss.KLDivergence(**sums), "one_hot", "shares_predicted"),
        "keras Hinge": (loss.Hinge(**sums), "signs", "other"),
        "keras SquaredHinge": (loss.SquaredHinge(**sums), "signs", "other"),
        "keras CategoricalHinge": (loss.CategoricalHinge(**sums), "one_hot", "scores"),
        "keras BinaryCrossentropy": (loss.BinaryCrossentropy(**sums), "zero_one", "probability"),
        "keras BinaryCrossentropy extreme": (loss.BinaryCrossentropy(**sums), "one_hot", "extreme"),
        "keras BinaryCrossentropy smoothed": (
            loss.BinaryCrossentropy(label_smoothing=0.2, **sums),
            "zero_one",
            "probability",
        ),
        "keras BinaryCrossentropy from_logits": (
            loss.BinaryCrossentropy(from_logits=True, **sums),
            "zero_one",
            "scores",
        ),
        "keras BinaryFocalCrossentropy": (loss.BinaryFocalCrossentropy(**sums), "zero_one", "probability"),
        "keras BinaryFocalCrossentropy balanced": (
            loss.BinaryFocalCrossentropy(apply_class_balancing=True, **sums),
            "zero_one",
            "probability",
        ),
        "keras CategoricalCrossentropy": (loss.CategoricalCrossentropy(**sums), "shares", "shares_predicted"),
        "keras CategoricalCrossentropy one_hot": (loss.CategoricalCrossentropy(**sums), "one_hot", "probability"),
        "keras CategoricalCrossentropy extreme": (loss.CategoricalCrossentropy(**sums), "one_hot", "extreme"),
        "keras CategoricalCrossentropy smoothed": (
            loss.CategoricalCrossentropy(label_smoothing=0.2, **sums),
            "one_hot",
            "shares_predicted",
        ),
        "keras CategoricalCrossentropy from_logits": (
            loss.CategoricalCrossentropy(from_logits=True, **sums),
            "shares",
            "scores",
        ),
        "keras CategoricalFocalCrossentropy": (
            loss.CategoricalFocalCrossentropy(**sums),
            "one_hot",
            "shares_predicted",
        ),
        "keras SparseCategoricalCrossentropy": (
            loss.SparseCategoricalCrossentropy(**sums),
            "labels",
            "shares_predicted",
        ),
        "keras SparseCategoricalCrossentropy from_logits": (
            loss.SparseCategoricalCrossentropy(from_logits=True, **sums),
            "labels",
            "scores",
        ),
        "keras CategoricalGeneralizedCrossEntropy q=0.5": (
            loss.CategoricalGeneralizedCrossEntropy(q=0.5, **sums),
            "labels",
            "shares_predicted",
        ),
        "keras Dice": (loss.Dice(axis=-1, **sums), "zero_one", "probability"),
        "keras Tversky": (loss.Tversky(alpha=0.3, beta=0.8, axis=-1, **sums), "zero_one", "probability"),
    }


def _torch_losses() -> Mapping[str, tuple[Function, str, str]]:
    """PyTorch's losses take (prediction, target)."""

    def turned(loss: Function) -> Function:
        return lambda t, p: loss(p, t)

    found = {
        "MSELoss": (nn.MSELoss(reduction="sum"), "real", "other"),
        "L1Loss": (nn.L1Loss(reduction="sum"), "real", "other"),
        "HuberLoss": (nn.HuberLoss(reduction="sum"), "real", "other"),
        "HuberLoss 0.7": (nn.HuberLoss(reduction="sum", delta=0.7), "real", "other"),
        "SmoothL1Loss 0.7": (nn.SmoothL1Loss(reduction="sum", beta=0.7), "real", "other"),
        "BCELoss": (nn.BCELoss(reduction="sum"), "zero_one", "probability"),
        "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(reduction="sum"), "zero_one", "scores"),
        "CrossEntropyLoss": (nn.CrossEntropyLoss(reduction="sum"), "labels", "scores"),
        "CrossEntropyLoss shares": (nn.CrossEntropyLoss(reduction="sum"), "shares", "scores"),
        "NLLLoss": (nn.NLLLoss(reduction="sum"), "labels", "scores"),
        "KLDivLoss": (nn.KLDivLoss(reduction="sum"), "shares", "scores"),
        "MultiMarginLoss": (nn.MultiMarginLoss(reduction="sum"), "labels", "scores"),
        "SoftMarginLoss": (nn.SoftMarginLoss(reduction="sum"), "signs", "scores"),
        "PoissonNLLLoss": (nn.PoissonNLLLoss(reduction="sum"), "counts", "real"),
    }
    return {f"torch {name}": (turned(loss), t, p) for name, (loss, t, p) in found.items()}


def losses(dtype: str) -> Record:
    """Of each loss: which of the drawn arrays it had, its sum over the samples, and the gradient in the prediction."""
    arrays = drawn()
    cases = {}
    for name, (loss, t, p) in {**_keras_losses(), **_torch_losses()}.items():
        target = torch.tensor(arrays[t]) if t == "labels" else tensor(arrays[t], dtype)
        prediction = tensor(arrays[p], dtype).requires_grad_()
        value = loss(target, prediction)
        value.backward()
        cases[name] = {"t": t, "p": p, "sum": numbers(value), "dp": numbers(prediction.grad)}
    return {"arrays": {name: numbers(a) for name, a in arrays.items()}, "cases": cases}


# --- metrics ----------------------------------------------------------------------------------------------------------


def _metric_data() -> dict[str, Array]:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 7, 40)
    scores = rng.normal(size=(40, 7)) + 1.5 * np.eye(7)[labels]
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    binary = rng.integers(0, 2, (40, 1)).astype(float)
    return {
        "labels": labels,
        "one_hot": np.eye(7)[labels],
        "soft": 0.9 * np.eye(7)[labels] + 0.1 / 7,
        "shares": shares,
        "binary": binary,
        "chance": np.clip(rng.normal(0.35 + 0.3 * binary, 0.25), 0.01, 0.99),
        "real": rng.normal(1.0, 2.0, (40, 1)),
        "near": rng.normal(1.0, 2.0, (40, 1)),
        "reals": rng.normal(size=(40, 3)),
        "nears": rng.normal(size=(40, 3)),
        "positives": rng.uniform(0.2, 4, (40, 3)),
        "positives_too": rng.uniform(0.2, 4, (40, 3)),
    }


def _keras_metrics() -> Mapping[str, tuple[Function, str, str]]:
    m = keras.metrics
    found = {
        "CategoricalAccuracy": (m.CategoricalAccuracy(), "one_hot", "shares"),
        "SparseCategoricalAccuracy": (m.SparseCategoricalAccuracy(), "labels", "shares"),
        "BinaryAccuracy": (m.BinaryAccuracy(), "binary", "chance"),
        "BinaryAccuracy 0.3": (m.BinaryAccuracy(threshold=0.3), "binary", "chance"),
        "TopKCategoricalAccuracy": (m.TopKCategoricalAccuracy(), "one_hot", "shares"),
        "TopKCategoricalAccuracy 2": (m.TopKCategoricalAccuracy(k=2), "one_hot", "shares"),
        "SparseTopKCategoricalAccuracy 3": (m.SparseTopKCategoricalAccuracy(k=3), "labels", "shares"),
        "Precision": (m.Precision(), "binary", "chance"),
        "Precision 0.3": (m.Precision(thresholds=0.3), "binary", "chance"),
        "Precision of classes": (m.Precision(), "one_hot", "shares"),
        "Recall": (m.Recall(), "binary", "chance"),
        "Recall of classes": (m.Recall(), "one_hot", "shares"),
        "F1Score micro": (m.F1Score(average="micro", threshold=0.5), "binary", "chance"),
        "FBetaScore micro 2": (m.FBetaScore(average="micro", beta=2.0, threshold=0.5), "binary", "chance"),
        "MeanSquaredError": (m.MeanSquaredError(), "reals", "nears"),
        "RootMeanSquaredError": (m.RootMeanSquaredError(), "reals", "nears"),
        "MeanAbsoluteError": (m.MeanAbsoluteError(), "reals", "nears"),
        "MeanAbsolutePercentageError": (m.MeanAbsolutePercentageError(), "reals", "nears"),
        "MeanSquaredLogarithmicError": (m.MeanSquaredLogarithmicError(), "positives", "positives_too"),
        "CosineSimilarity": (m.CosineSimilarity(), "reals", "nears"),
        "LogCoshError": (m.LogCoshError(), "reals", "nears"),
        "R2Score": (m.R2Score(), "real", "near"),
        "BinaryCrossentropy": (m.BinaryCrossentropy(), "binary", "chance"),
        "CategoricalCrossentropy": (m.CategoricalCrossentropy(), "one_hot", "shares"),
        "SparseCategoricalCrossentropy": (m.SparseCategoricalCrossentropy(), "labels", "shares"),
        "KLDivergence": (m.KLDivergence(), "soft", "shares"),
        "Poisson": (m.Poisson(), "positives", "positives_too"),
        "CategoricalHinge": (m.CategoricalHinge(), "one_hot", "shares"),
    }

    def result(metric: Any) -> Function:
        def of(t: Array, p: Array) -> float:
            metric.update_state(t, p)
            return float(metric.result())

        return of

    return {f"keras {name}": (result(metric), t, p) for name, (metric, t, p) in found.items()}


def _sklearn_metrics() -> Mapping[str, tuple[Function, str, str]]:
    """Of 0/1 outputs at the threshold 1/2, and of numbers."""

    def at_half(score: Function, **options: Any) -> Function:
        return lambda t, p: score(t[:, 0], p[:, 0] > 0.5, **options)

    return {
        "sklearn precision_score": (at_half(sk.precision_score), "binary", "chance"),
        "sklearn recall_score": (at_half(sk.recall_score), "binary", "chance"),
        "sklearn specificity": (at_half(sk.recall_score, pos_label=0), "binary", "chance"),
        "sklearn f1_score": (at_half(sk.f1_score), "binary", "chance"),
        "sklearn fbeta_score 0.5": (at_half(sk.fbeta_score, beta=0.5), "binary", "chance"),
        "sklearn jaccard_score": (at_half(sk.jaccard_score), "binary", "chance"),
        "sklearn balanced_accuracy_score": (at_half(sk.balanced_accuracy_score), "binary", "chance"),
        "sklearn matthews_corrcoef": (at_half(sk.matthews_corrcoef), "binary", "chance"),
        "sklearn r2_score": (sk.r2_score, "real", "near"),
        "sklearn explained_variance_score": (sk.explained_variance_score, "real", "near"),
        "sklearn top_k_accuracy_score 3": (lambda t, p: sk.top_k_accuracy_score(t, p, k=3), "labels", "shares"),
        "sklearn log_loss": (sk.log_loss, "labels", "shares"),
        "sklearn mean_pinball_loss 0.3": (lambda t, p: sk.mean_pinball_loss(t, p, alpha=0.3), "reals", "nears"),
        "sklearn mean_poisson_deviance": (
            lambda t, p: sk.mean_poisson_deviance(t.ravel(), p.ravel()),
            "positives",
            "positives_too",
        ),
    }


def metrics() -> Record:
    """Of each metric: which of the drawn arrays it had, and its value. Keras counts in float32."""
    arrays = _metric_data()
    cases = {
        name: {"t": t, "p": p, "value": numbers(metric(arrays[t], arrays[p]))}
        for name, (metric, t, p) in {**_keras_metrics(), **_sklearn_metrics()}.items()
    }
    return {"arrays": {name: numbers(a) for name, a in arrays.items()}, "cases": cases}
