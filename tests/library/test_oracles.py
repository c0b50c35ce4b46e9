"""Activations, losses, metrics and schedules against what PyTorch 2.13, Keras 3.15 and scikit-learn 1.9 computed.

The tables say which row is whose, by which hyper-parameters. Values come from the slow evaluator; gradients from the
derivation, as a network has them, in float64 and in float32.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule.library import ACTIVATIONS, LOSSES, METRICS, SCHEDULES, find, piecewise_constant
from chainrule.training.network import formula

from .meaning import COMPLEX_STEP, activation_value, loss_value, metric_total, number_of
from .oracles import FOLDER, PRECISIONS, assert_same, recorded
from .test_losses import ORACLES as LOSS_ORACLES
from .test_schedules import ORACLES as SCHEDULE_ORACLES

# --- activations ------------------------------------------------------------------------------------------------------

# Whose function is which row: its name where it is the row's own, else the row with the values it has there.
KERAS_ACTIVATIONS = {
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.2}),
    "leaky_relu 0.3": ("leaky_relu", {"negative_slope": 0.3}),
    "gelu approximate": ("gelu_tanh", {}),
    "celu alpha=1.7": ("celu", {"alpha": 1.7}),
    "elu alpha=0.6": ("elu", {"alpha": 0.6}),
    "soft_shrink 0.8": ("soft_shrink", {"threshold": 0.75}),
    "hard_shrink 0.8": ("hard_shrink", {"threshold": 0.75}),
    "threshold": ("threshold", {"theta": 0.5, "value": -2.0}),
    "squareplus b=1": ("squareplus", {"b": 1.0}),
}
TORCH_ACTIVATIONS = {
    "GELU tanh": ("gelu_tanh", {}),
    "Hardtanh -2 to 3.1": ("hard_tanh", {"low": -2.0, "high": 3.1}),
    "Threshold": ("threshold", {"theta": 0.5, "value": -2.0}),
}
FILE = recorded("activations")
GRID, VECTORS, WEIGHT = (np.array(FILE[name]) for name in ("grid", "rows", "weight"))
SCALARS = {name for name, case in FILE["cases"]["float64"].items() if len(case["y"]) == len(GRID)}


def activation_of(name):
    framework, own = name.split(" ", 1)
    row, hyper = {"keras": KERAS_ACTIVATIONS, "torch": TORCH_ACTIVATIONS}[framework].get(own, (own, {}))
    return find(ACTIVATIONS, row), hyper


@pytest.mark.parametrize("name", sorted(SCALARS))
def test_activation(name):
    row, hyper = activation_of(name)
    wanted = FILE["cases"]["float64"][name]
    assert_same(activation_value(row, GRID, **hyper), wanted["y"], "float64")
    moved = activation_value(row, GRID + 1j * COMPLEX_STEP, **hyper)
    assert_same(np.imag(moved) / COMPLEX_STEP, wanted["dy"], "float64")


@pytest.mark.parametrize("name", sorted(set(FILE["cases"]["float64"]) - SCALARS))
def test_activation_of_a_vector(name):
    row, _ = activation_of(name)
    wanted = FILE["cases"]["float64"][name]
    assert_same(activation_value(row, VECTORS), wanted["y"], "float64")
    slopes = np.empty(VECTORS.shape)
    for k in range(VECTORS.shape[1]):
        moved = VECTORS.astype(complex)
        moved[:, k] += 1j * COMPLEX_STEP
        slopes[:, k] = (np.imag(activation_value(row, moved)) / COMPLEX_STEP * WEIGHT).sum(axis=1)
    assert_same(slopes, wanted["dy"], "float64")


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_derived_slopes_of_all_activations(dtype):
    """One network of all, each on weights of its own: the slopes are their gradients, in their stable forms."""
    names = sorted(SCALARS)
    lines = ["size i = " + str(len(GRID)), "input x"]
    for n, name in enumerate(names):
        row, hyper = activation_of(name)
        options = "".join(f", {key}={value!r}" for key, value in hyper.items())
        lines += [f"parameter w{n}[i] = {GRID.tolist()}", f"h{n}[i] = {row.name}(w{n}[i]{options})"]
    lines.append("E = x*(" + " + ".join(f"sum[i](h{n}[i])" for n in range(len(names))) + ")")
    gradients = formula("\n".join(lines), dtype=dtype).gradients({"x": np.ones(1)})
    for n, name in enumerate(names):
        # Beside the largest slope, e^60 aside: each is held to its own size.
        wanted = np.array(FILE["cases"][dtype][name]["dy"])
        scale = np.maximum(np.abs(wanted), 1)
        assert_same(gradients[f"w{n}"] / scale, wanted / scale, dtype, looser=2)


# --- losses -----------------------------------------------------------------------------------------------------------

KERAS_LOSSES = {
    "Huber delta=0.7": ("huber", {"delta": 0.7}),
    "MeanAbsoluteError": ("keras_mean_absolute_error", {}),
    "Poisson": ("keras_poisson", {}),
    "KLDivergence one_hot": ("clipped_kl_divergence", {}),
    "BinaryCrossentropy": ("keras_binary_cross_entropy", {}),
    "BinaryCrossentropy extreme": ("clipped_binary_cross_entropy", {}),
    "BinaryCrossentropy smoothed": ("smoothed_binary_cross_entropy", {"smoothing": 0.2}),
    "BinaryCrossentropy from_logits": ("binary_cross_entropy_from_logits", {}),
    "BinaryFocalCrossentropy balanced": ("balanced_binary_focal_cross_entropy", {}),
    "CategoricalCrossentropy": ("clipped_categorical_cross_entropy", {}),
    "CategoricalCrossentropy one_hot": ("clipped_categorical_cross_entropy", {}),
    "CategoricalCrossentropy extreme": ("clipped_categorical_cross_entropy", {}),
    "CategoricalCrossentropy from_logits": ("categorical_cross_entropy_from_logits", {}),
    "CategoricalFocalCrossentropy": ("clipped_categorical_focal_cross_entropy", {}),
    "CategoricalGeneralizedCrossEntropy q=0.5": ("generalized_cross_entropy", {"q": 0.5}),
    "SparseCategoricalCrossentropy": ("clipped_sparse_categorical_cross_entropy", {}),
    "SparseCategoricalCrossentropy from_logits": ("sparse_categorical_cross_entropy_from_logits", {}),
    "Tversky": ("tversky", {"alpha": 0.3, "beta": 0.8}),
}
# PyTorch's "sum" reduction leaves out the mean over the outputs that its default has: the number here puts it back.
TORCH_LOSSES = {
    "MSELoss": ("mean_squared_error", {}, 4),
    "L1Loss": ("averaged_absolute_error", {}, 4),
    "HuberLoss": ("huber", {}, 4),
    "HuberLoss 0.7": ("huber", {"delta": 0.7}, 4),
    "SmoothL1Loss 0.7": ("smooth_l1", {"beta": 0.7}, 4),
    "BCELoss": ("torch_binary_cross_entropy", {}, 4),
    "BCEWithLogitsLoss": ("binary_cross_entropy_from_logits", {}, 4),
    "CrossEntropyLoss": ("sparse_categorical_cross_entropy_from_logits", {}, 1),
    "CrossEntropyLoss shares": ("torch_cross_entropy", {}, 1),
    "NLLLoss": ("negative_log_likelihood", {}, 1),
    "KLDivLoss": ("torch_kl_divergence", {}, 1),
    "MultiMarginLoss": ("multi_margin", {}, 1),
    "SoftMarginLoss": ("soft_margin", {}, 4),
    "PoissonNLLLoss": ("torch_poisson", {}, 4),
}
LOSS_FILE = recorded("losses")
DRAWN = {name: np.array(a) for name, a in LOSS_FILE["arrays"].items()}
# Rows without a cut, which agree with the framework's where p is a distribution (as behind softmax): by value only,
# as Keras's division by the sum of p has a slope of its own.
BEHIND_SOFTMAX = {
    "keras CategoricalCrossentropy": "keras_categorical_cross_entropy",
    "keras SparseCategoricalCrossentropy": "keras_sparse_categorical_cross_entropy",
    "keras CategoricalFocalCrossentropy": "keras_categorical_focal_cross_entropy",
    "keras KLDivergence": "keras_kl_divergence",
    "keras CategoricalCrossentropy smoothed": "smoothed_categorical_cross_entropy",
}
SMOOTHED = {"keras CategoricalCrossentropy smoothed": {"smoothing": 0.2}}
# Keras 3.15 on PyTorch computes these two in float32 even where all is float64: its epsilon is a float32 tensor.
ROUNDED = ("keras MeanSquaredLogarithmicError", "keras CosineSimilarity")


def loss_of(name):
    framework, own = name.split(" ", 1)
    if framework == "torch":
        row, hyper, outputs = TORCH_LOSSES[own]
        return find(LOSSES, row), hyper, outputs
    return *_named(KERAS_LOSSES.get(own, (own, {}))), 1


def _named(entry):
    return find(LOSSES, entry[0]), entry[1]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", sorted(set(LOSS_FILE["cases"]["float64"]) - set(SMOOTHED)))
def test_loss(name, dtype):
    row, hyper, outputs = loss_of(name)
    case = LOSS_FILE["cases"][dtype][name]
    t, p = DRAWN[case["t"]], DRAWN[case["p"]].astype(dtype)
    t = t if case["t"] == "labels" else t.astype(dtype)
    # 1 - 1e-7 is 1 - 1.19e-7 in float32: near the cut its logarithm has two digits.
    looser = 1e5 if "extreme" in name and dtype == "float32" else 1e3 if name in ROUNDED else 1.0
    assert_same(loss_value(row, t, p, **hyper).sum() * outputs, case["sum"], dtype, looser)

    # p comes out of a layer whose weights are the predictions: x picks a sample's row.
    hyper_lines = "\n".join(f"{key} = {value!r}" for key, value in {**row.defaults, **hyper}.items())
    text = f"input x[i]\n{row.target}\nparameter W[i, k] = zeros\n{hyper_lines}\np[k] = sum[i](x[i]*W[i, k])\n"
    text += row.formula
    net = formula(text, sizes={"i": len(p), "k": p.shape[1]}, dtype=dtype)
    net.set_parameters({"W": p})
    gradient = net.gradients(np.eye(len(p)), t)["W"] * len(p)
    assert_same(gradient * outputs, case["dp"], dtype, looser)


@pytest.mark.parametrize("name", BEHIND_SOFTMAX)
def test_loss_without_the_cut(name):
    case = LOSS_FILE["cases"]["float64"][name]
    hyper = SMOOTHED.get(name, {})
    value = loss_value(find(LOSSES, BEHIND_SOFTMAX[name]), DRAWN[case["t"]], DRAWN[case["p"]], **hyper)
    assert_same(value.sum(), case["sum"], "float64")


# --- metrics ----------------------------------------------------------------------------------------------------------

METRIC_ROWS = {
    "keras CategoricalAccuracy": ("accuracy", {}),
    "keras SparseCategoricalAccuracy": ("label_accuracy", {}),
    "keras BinaryAccuracy 0.3": ("binary_accuracy", {"threshold": 0.3}),
    "keras TopKCategoricalAccuracy 2": ("top_k_accuracy", {"top": 2.0}),
    "keras SparseTopKCategoricalAccuracy 3": ("label_top_k_accuracy", {"top": 3.0}),
    "keras Precision 0.3": ("precision", {"threshold": 0.3}),
    "keras Precision of classes": ("precision", {}),
    "keras Recall of classes": ("recall", {}),
    "keras F1Score micro": ("f1", {}),
    "keras FBetaScore micro 2": ("fbeta", {}),
    "keras MeanAbsoluteError": ("averaged_absolute_error", {}),
    "keras LogCoshError": ("log_cosh", {}),
    "keras R2Score": ("r2", {}),
    "keras BinaryCrossentropy": ("averaged_binary_cross_entropy", {}),
    "keras Poisson": ("keras_poisson", {}),
    "sklearn precision_score": ("precision", {}),
    "sklearn recall_score": ("recall", {}),
    "sklearn fbeta_score 0.5": ("fbeta", {"beta": 0.5}),
    "sklearn balanced_accuracy_score": ("balanced_accuracy", {}),
    "sklearn top_k_accuracy_score 3": ("label_top_k_accuracy", {"top": 3.0}),
    "sklearn log_loss": ("sparse_categorical_cross_entropy", {}),
    "sklearn mean_pinball_loss 0.3": ("quantile", {"tau": 0.3}),
}
METRIC_FILE = recorded("metrics")
ELSEWHERE = {"sklearn mean_poisson_deviance"}  # twice the Poisson loss and what depends on t only: tested by itself


@pytest.mark.parametrize("name", sorted(set(METRIC_FILE["cases"]) - ELSEWHERE))
def test_metric(name):
    case = METRIC_FILE["cases"][name]
    row, hyper = METRIC_ROWS.get(name, (name.split(" ")[1], {}))
    t, p = (np.array(METRIC_FILE["arrays"][case[side]]) for side in "tp")
    ours = metric_total(find(METRICS, row), t, p, **hyper)
    # Keras counts in float32; and 1e-7, where the probability of a class is 0, is a little of a divergence.
    assert ours == pytest.approx(case["value"], rel=1e-5 if "keras" in name else 1e-9)


def test_the_poisson_loss_is_half_of_the_deviance_but_for_what_the_targets_make():
    case = METRIC_FILE["cases"]["sklearn mean_poisson_deviance"]
    t, p = (np.array(METRIC_FILE["arrays"][case[side]]) for side in "tp")
    ours = metric_total(METRICS["poisson"], t, p) - np.mean(t - t * np.log(t))
    assert 2 * ours == pytest.approx(case["value"], rel=1e-9)


# --- schedules --------------------------------------------------------------------------------------------------------

HALVES = {"factor": 0.5, "every": 50.0}
SCHEDULE_ROWS = {
    "keras ExponentialDecay": ("exponential", HALVES),
    "keras ExponentialDecay staircase": ("step_decay", HALVES),
    "keras InverseTimeDecay": ("inverse_time", {"every": 50.0}),
    "keras InverseTimeDecay staircase": ("inverse_time_staircase", {"every": 50.0}),
    "keras PolynomialDecay": ("keras_polynomial", {"decay_steps": 150.0}),
    "keras PolynomialDecay power=2": ("keras_polynomial", {"decay_steps": 150.0, "eta_end": 0.01, "power": 2.0}),
    "keras PolynomialDecay cycle": ("keras_polynomial_cycle", {"decay_steps": 60.0, "eta_end": 0.01}),
    "keras CosineDecay": ("keras_cosine", {"decay_steps": 150.0}),
    "keras CosineDecay alpha": ("keras_cosine", {"decay_steps": 150.0, "alpha": 0.1}),
    "keras CosineDecay warmup": (
        "keras_cosine_warmup",
        {"eta0": 0.01, "decay_steps": 120.0, "alpha": 0.1, "warmup_target": 0.1, "warmup_steps": 30.0},
    ),
    "keras CosineDecayRestarts": ("cosine_restarts", {"first_steps": 25.0}),
    "keras CosineDecayRestarts t_mul=1": (
        "cosine_restarts",
        {"first_steps": 40.0, "t_mul": 1.0, "m_mul": 0.8, "alpha": 0.05},
    ),
    "keras CosineDecayRestarts t_mul=3": ("cosine_restarts", {"first_steps": 5.0, "t_mul": 3.0, "m_mul": 0.9}),
    "torch StepLR": ("step_decay", HALVES),
    "torch ExponentialLR": ("exponential", {"factor": 0.99, "every": 1.0}),
    "torch PolynomialLR": ("keras_polynomial", {"decay_steps": 150.0, "eta_end": 0.0, "power": 2.0}),
    "torch LinearLR": ("linear_warmup", {"warmup_steps": 30.0}),
    "torch CosineAnnealingLR": ("cosine", {"eta_end": 0.01}),
    "torch CosineAnnealingWarmRestarts": ("cosine_restarts", {"first_steps": 25.0, "alpha": 0.1}),
    "torch CosineAnnealingWarmRestarts T_mult=1": ("cosine_restarts", {"first_steps": 40.0, "t_mul": 1.0}),
    "torch OneCycleLR": ("one_cycle", {}),
    "torch OneCycleLR 0.1": ("one_cycle", {"rise": 0.1, "start": 10.0, "end": 1000.0}),
    "torch CyclicLR": ("triangular", {"eta_max": 0.5, "half": 30.0}),
}
PIECES = {
    "keras PiecewiseConstantDecay": piecewise_constant([50, 120], [0.1, 0.02, 0.005]),
    "torch MultiStepLR": piecewise_constant([49, 119], [0.1, 0.02, 0.004]),
}
SCHEDULE_FILE = recorded("schedules")


@pytest.mark.parametrize("name", SCHEDULE_FILE["cases"])
def test_schedule(name):
    steps, given = SCHEDULE_FILE["steps"], {"eta0": SCHEDULE_FILE["rate"], "steps": float(SCHEDULE_FILE["steps"])}
    text = PIECES.get(name)
    if text is None:
        row, hyper = SCHEDULE_ROWS[name]
        text, given = SCHEDULES[row].formula, {**SCHEDULES[row].defaults, **given, **hyper}
    ours = [number_of(text, {**given, "step": float(step)}) for step in range(1, steps + 1)]
    assert_same(ours, SCHEDULE_FILE["cases"][name], "float64")


# --- completeness -----------------------------------------------------------------------------------------------------


def test_every_row_has_an_oracle():
    """A framework's record, or NumPy's and SciPy's in the other files."""
    from .test_activations import ORACLES as ACTIVATION_ORACLES

    activations = {activation_of(name)[0].name for name in FILE["cases"]["float64"]} | set(ACTIVATION_ORACLES)
    assert activations == set(ACTIVATIONS)
    losses = {loss_of(name)[0].name for name in set(LOSS_FILE["cases"]["float64"]) - set(SMOOTHED)}
    losses |= {find(LOSSES, name).name for name in BEHIND_SOFTMAX.values()} | set(LOSS_ORACLES)
    assert losses == set(LOSSES)
    schedules = {row for row, _ in SCHEDULE_ROWS.values()} | set(SCHEDULE_ORACLES)
    assert schedules == set(SCHEDULES)
    compared = set(METRIC_FILE["cases"]) - ELSEWHERE
    metrics = {find(METRICS, METRIC_ROWS.get(n, (n.split(" ")[1], {}))[0]).name for n in compared}
    assert metrics | {"exact_accuracy", "mean_error", "dice_coefficient"} >= set(METRICS) - losses


def test_the_records_say_where_they_come_from():
    for path in FOLDER.glob("*.json"):
        versions = json.loads(path.read_text(encoding="utf-8")).get("versions", {})
        assert {"torch", "keras"} <= set(versions) or "keras_" in path.name, path.name
