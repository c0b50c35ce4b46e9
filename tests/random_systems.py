"""Random networks as formula texts, drawn from a numpy generator, with names of their own: several fit one module.

What they mix: one to three layers, sizes down to 1, weights in either orientation, shared and transposed weights, skip
connections, a diagonal A[j, j], fixed entries, a product of three tensors, sums of sums, penalties, every activation
and every loss of the library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from chainrule.library import ACTIVATIONS, LOSSES

SIZES = (1, 2, 3, 5, 7, 16, 17, 33)
# Per loss: what keeps the prediction in its domain, and the targets.
PROBABILITY, POSITIVE, ANY = "sigmoid({})", "softplus({}) + 0.1", "{}"
DOMAIN = {
    "binary_cross_entropy": (PROBABILITY, "unit"),
    "averaged_binary_cross_entropy": (PROBABILITY, "unit"),
    "clipped_binary_cross_entropy": (PROBABILITY, "unit"),
    "smoothed_binary_cross_entropy": (PROBABILITY, "unit"),
    "binary_focal_cross_entropy": (PROBABILITY, "unit"),
    "balanced_binary_focal_cross_entropy": (PROBABILITY, "unit"),
    "dice": (PROBABILITY, "unit"),
    "tversky": (PROBABILITY, "unit"),
    "binary_cross_entropy_from_logits": (ANY, "unit"),
    "categorical_cross_entropy": ("softmax[k]({})", "distribution"),
    "kl_divergence": ("softmax[k]({})", "distribution"),
    "sparse_categorical_cross_entropy": ("softmax[k]({})", "label"),
    "clipped_categorical_cross_entropy": ("softmax[k]({})", "distribution"),
    "clipped_sparse_categorical_cross_entropy": ("softmax[k]({})", "label"),
    "smoothed_categorical_cross_entropy": ("softmax[k]({})", "distribution"),
    "categorical_focal_cross_entropy": ("softmax[k]({})", "distribution"),
    "clipped_categorical_focal_cross_entropy": ("softmax[k]({})", "distribution"),
    "clipped_kl_divergence": ("softmax[k]({})", "distribution"),
    "generalized_cross_entropy": ("softmax[k]({})", "label"),
    "categorical_cross_entropy_from_logits": (ANY, "distribution"),
    "sparse_categorical_cross_entropy_from_logits": (ANY, "label"),
    "negative_log_likelihood": ("log_softmax[k]({})", "label"),
    "kl_divergence_from_logs": ("log_softmax[k]({})", "distribution"),
    "categorical_hinge": (ANY, "distribution"),
    "multi_margin": (ANY, "label"),
    "soft_margin": (ANY, "sign"),
    "hinge": (ANY, "sign"),
    "squared_hinge": (ANY, "sign"),
    "poisson": (POSITIVE, "count"),
    "keras_poisson": (POSITIVE, "count"),
    "poisson_from_logs": ("3*tanh({})", "count"),  # the exponential of a free sum leaves the numbers
    "mean_squared_logarithmic_error": (POSITIVE, "count"),
}


@dataclass(frozen=True)
class Drawn:
    """A text, the sizes of its indices, and arrays for its inputs and targets (float64, `rows` samples)."""

    text: str
    sizes: dict[str, int]
    data: dict[str, np.ndarray]


def smooth_activations() -> list[str]:
    """The activations that a gradient passes through; without exp, by which a few random layers leave the numbers."""
    return [a.name for a in ACTIVATIONS.values() if a.index is None and a.name not in ("step", "exponential")]


# Keras's forms that cut p off are the others in two more max and min: one such loss takes as long as all else of a
# network, and test_native.py compiles each of them once.
CHOSEN = [name for name in LOSSES if not name.startswith("clipped_")]


def draw(rng: np.random.Generator, number: int, rows: int, activation: str = "", loss: str = "") -> Drawn:
    """Network number `number`; all its names end in that number."""
    activation = activation or str(rng.choice(smooth_activations()))
    loss = loss or str(rng.choice(CHOSEN))
    size = {index: int(rng.choice(SIZES)) for index in "ijlk"}
    row = LOSSES[loss]
    domain, kind = DOMAIN.get(loss, (ANY, "real"))
    if kind in ("distribution", "label"):
        size["k"] = max(size["k"], 2)
    lines = [
        "input x[i]",
        row.target,
        "parameter W1[i, j] = uniform(-0.7, 0.7)",
        "parameter b1[j], b2[k] = uniform(-0.3, 0.3)",
    ]
    lines += [f"h[j] = {activation}(sum[i](x[i]*W1[i, j]) + b1[j])"]
    last, width = "h", "j"
    extra = rng.choice(["deep", "tied", "skip", "diagonal", "three", "plain", "sums"])
    if extra == "deep":
        lines += ["parameter W2[l, j] = uniform(-0.7, 0.7)", f"g[l] = {activation}(sum[j](W2[l, j]*h[j]))"]
        last, width = "g", "l"
    elif extra == "tied":  # back through the transposed first layer, and forward again
        lines += ["r[i] = tanh(sum[j](W1[i, j]*h[j]))", "g[j] = h[j] + sum[i](r[i]*W1[i, j])"]
        last = "g"
    elif extra == "skip":
        lines += [
            "parameter A[j, m] = uniform(-0.5, 0.5)",
            "size m = SIZE_j",
            "g[j] = h[j] + tanh(sum[m](A[j, m]*h[m]))*h[j]",
        ]
        last = "g"
    elif extra == "diagonal":
        lines += [
            "parameter A[j, m] = uniform(-0.5, 0.5)",
            "size m = SIZE_j",
            "g[j] = h[j]*A[j, j] + sum[m](A[m, m]*h[m])/size(m)",
        ]
        last = "g"
    elif extra == "three":
        lines += ["parameter A[i, j, l] = uniform(-0.5, 0.5)", "g[l] = tanh(sum[i, j](x[i]*A[i, j, l]*h[j]))"]
        last, width = "g", "l"
    elif extra == "sums":
        lines += ["g[j] = h[j] - logsumexp[m](h[m]) + mean[m](sum[i](x[i]*W1[i, m]))*h[j] + h[0]", "size m = SIZE_j"]
        last = "g"
    lines += [f"parameter V[{width}, k] = uniform(-0.7, 0.7)"]
    inner = f"sum[{width}]({last}[{width}]*V[{width}, k]) + b2[k]"
    lines += [f"p[k] = {domain.format(inner)}"]
    lines += [row.formula if rng.random() < 0.6 else row.formula + " + 0.01*sum[i, j](W1[i, j]**2)"]
    lines += [f"{name} = {value}" for name, value in row.defaults.items()]
    size["m"] = size["j"]
    text = "\n".join(lines).replace("SIZE_j", str(size["j"]))
    names = {
        "x",
        "t",
        "y",
        "W1",
        "W2",
        "b1",
        "b2",
        "h",
        "g",
        "r",
        "A",
        "V",
        "p",
        "E",
        "i",
        "j",
        "k",
        "l",
        "m",
        *row.defaults,
    }
    text = re.sub(r"[^\W\d]\w*", lambda m: f"{m[0]}_{number}" if m[0] in names else m[0], text)
    sizes = {f"{index}_{number}": s for index, s in size.items() if f"{index}_{number}" in text}
    data = {f"x_{number}": rng.normal(size=(rows, size["i"]))}
    target = f"y_{number}" if kind == "label" else f"t_{number}"
    data[target] = targets(rng, kind, rows, size["k"])
    return Drawn(text, sizes, data)


def targets(rng: np.random.Generator, kind: str, rows: int, width: int) -> np.ndarray:
    match kind:
        case "unit":
            return rng.integers(0, 2, (rows, width)).astype(float)
        case "distribution":
            return np.eye(width)[rng.integers(0, width, rows)]
        case "label":
            return rng.integers(0, width, rows)
        case "sign":
            return rng.choice([-1.0, 1.0], (rows, width))
        case "count":
            return rng.integers(0, 5, (rows, width)).astype(float)
    return rng.normal(size=(rows, width))


def together(drawn: list[Drawn]) -> Drawn:
    """Several networks as one: their losses are added, nothing else is shared."""
    numbers = [re.search(r"E_(\d+) =", d.text)[1] for d in drawn]
    total = "E = " + " + ".join(f"E_{n}" for n in numbers)
    sizes = {k: v for d in drawn for k, v in d.sizes.items()}
    data = {k: v for d in drawn for k, v in d.data.items()}
    return Drawn("\n".join([d.text for d in drawn] + [total]), sizes, data)
