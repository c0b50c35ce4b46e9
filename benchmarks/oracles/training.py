"""Initializers, layers, and networks of two dense layers trained for ten steps, by Keras and by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from benchmarks.oracles import on_jax
from benchmarks.oracles.record import Array, Record, numbers, tensor

FAN_IN, FAN_OUT = 400, 300
TAIL = 1e-4
INPUTS, HIDDEN, OUTPUTS, ROWS = 5, 8, 3, 8
STEPS, KEPT = 10, (1, 10)


def initializers() -> Record:
    """Facts of one large draw, (400, 300): where its first and last 0.01 % end, mean, standard deviation.

    Not the extremes: Keras on PyTorch draws a truncated normal four times at most, and keeps one in 234,000 beyond.
    """
    k = keras.initializers
    drawn = {
        **{
            f"keras {name}": getattr(k, name)(seed=1)
            for name in (
                *("GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"),
                *("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal"),
            )
        },
        **{f"keras {name}": getattr(k, name)() for name in ("Zeros", "Ones", "Identity")},
        "keras Constant": k.Constant(0.3),
        "keras VarianceScaling fan_out": k.VarianceScaling(2.0, "fan_out", seed=1),
        "keras VarianceScaling fan_avg": k.VarianceScaling(2.0, "fan_avg", seed=1),
        "keras VarianceScaling untruncated": k.VarianceScaling(2.0, "fan_avg", "untruncated_normal", seed=1),
        "keras VarianceScaling uniform fan_in": k.VarianceScaling(2.0, "fan_in", "uniform", seed=1),
        "keras VarianceScaling uniform fan_out": k.VarianceScaling(2.0, "fan_out", "uniform", seed=1),
        "keras VarianceScaling uniform fan_avg": k.VarianceScaling(2.0, "fan_avg", "uniform", seed=1),
    }
    cases = {name: _facts(keras.ops.convert_to_numpy(draw((FAN_IN, FAN_OUT)))) for name, draw in drawn.items()}
    torch.manual_seed(1)
    weights = torch.empty(FAN_OUT, FAN_IN)  # PyTorch's are transposed
    linear = nn.Linear(FAN_IN, FAN_OUT)
    cases["torch Linear weight"] = _facts(linear.weight.detach().numpy())
    for name in ("kaiming_uniform_", "xavier_uniform_", "xavier_normal_", "orthogonal_", "eye_"):
        cases[f"torch {name}"] = _facts(getattr(nn.init, name)(weights).numpy())
    cases["torch kaiming_normal_"] = _facts(nn.init.kaiming_normal_(weights, nonlinearity="relu").numpy())
    return {"fan_in": FAN_IN, "fan_out": FAN_OUT, "cases": cases}


def _facts(array: Array) -> Record:
    least, largest = np.quantile(array, [TAIL, 1 - TAIL])
    found = {"least": least, "largest": largest, "mean": array.mean(dtype="f8"), "std": array.std(dtype="f8")}
    return {name: numbers(value) for name, value in found.items()}


# --- layers -----------------------------------------------------------------------------------------------------------


def layers(dtype: str) -> Record:
    """Normalizations of three batches (6, 4): outputs, gradients of Σ y·weight, moving statistics, predictions."""
    rng = np.random.default_rng(11)
    batches = [rng.normal(1.0, 2.0, (6, 4)) for _ in range(3)]
    weight, gamma, beta = rng.normal(size=(6, 4)), rng.uniform(0.5, 2, 4), rng.normal(size=4)
    kinds: Mapping[str, Callable[[], Any]] = {
        "keras BatchNormalization": keras.layers.BatchNormalization,
        "keras BatchNormalization 0.8": lambda: keras.layers.BatchNormalization(momentum=0.8, epsilon=0.01),
        "keras LayerNormalization": keras.layers.LayerNormalization,
        "torch BatchNorm1d": lambda: nn.BatchNorm1d(4, dtype=getattr(torch, dtype)),
        "torch LayerNorm": lambda: nn.LayerNorm(4, dtype=getattr(torch, dtype)),
    }
    cases = {}
    for name, make in kinds.items():
        layer = make()
        is_keras = isinstance(layer, keras.layers.Layer)
        if is_keras:
            layer.build((None, 4))
            layer.gamma.assign(gamma)
            layer.beta.assign(beta)
            own = [layer.gamma.value, layer.beta.value]
        else:
            own = [layer.weight, layer.bias]
            with torch.no_grad():
                own[0].copy_(tensor(gamma, dtype))
                own[1].copy_(tensor(beta, dtype))
        case: Record = {"y": [], "dx": [], "dgamma": [], "dbeta": []}
        for batch in batches:
            x = tensor(batch, dtype).requires_grad_()
            y = layer(x, training=True) if is_keras else layer(x)
            grads = torch.autograd.grad((y * tensor(weight, dtype)).sum(), [x, *own])
            for key, value in zip(case, [y, *grads], strict=True):
                case[key].append(numbers(value))
        if "Batch" in name:
            names = ("moving_mean", "moving_variance") if is_keras else ("running_mean", "running_var")
            case |= {
                key: numbers(_plain(getattr(layer, n))) for key, n in zip(("mean", "variance"), names, strict=True)
            }
            if not is_keras:
                layer.eval()
        x = tensor(batches[0], dtype)
        case["prediction"] = numbers(layer(x, training=False) if is_keras else layer(x))
        cases[name] = case
    keras.utils.set_random_seed(1)
    dropped = keras.ops.convert_to_numpy(keras.layers.Dropout(0.4)(tensor(np.ones((200, 50)), dtype), training=True))
    cases["keras Dropout 0.4"] = {"values": numbers(np.unique(dropped)), "share": numbers((dropped == 0).mean())}
    given = {"batches": batches, "weight": weight, "gamma": gamma, "beta": beta}
    return {**{n: numbers(a) for n, a in given.items()}, "cases": cases}


def _plain(value: Any) -> Array:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else keras.ops.convert_to_numpy(value)


# --- whole trainings --------------------------------------------------------------------------------------------------


def _data() -> dict[str, Array]:
    rng = np.random.default_rng(13)
    labels = np.array([0, 1, 2, 1, 0, 2, 1, 0])
    return {
        "x": rng.normal(size=(ROWS, INPUTS)),
        "labels": labels,
        "one_hot": np.eye(OUTPUTS)[labels],
        "zero_one": rng.integers(0, 2, (ROWS, OUTPUTS)).astype(float),
        "real": rng.normal(size=(ROWS, OUTPUTS)),
        "signs": rng.choice([-1.0, 1.0], (ROWS, OUTPUTS)),
        "W1": rng.normal(size=(INPUTS, HIDDEN)) * 0.5,
        "b1": rng.normal(size=HIDDEN) * 0.1,
        "W2": rng.normal(size=(HIDDEN, OUTPUTS)) * 0.5,
        "b2": rng.normal(size=OUTPUTS) * 0.1,
    }


# name: hidden activation, output activation, loss, optimizer, target
def _keras_trainings() -> Mapping[str, tuple[str, str, Any, Any, str]]:
    o = keras.optimizers
    return {
        "keras sgd": ("tanh", "softmax", "categorical_crossentropy", o.SGD(0.5), "one_hot"),
        "keras rmsprop": ("relu", "softmax", "categorical_crossentropy", o.RMSprop(), "one_hot"),
        "keras adam": ("relu", "softmax", "sparse_categorical_crossentropy", o.Adam(0.01), "labels"),
        "keras adamw": ("gelu", "sigmoid", "binary_crossentropy", o.AdamW(0.01, weight_decay=0.1), "zero_one"),
        "keras nadam": ("silu", "linear", "mean_squared_error", o.Nadam(0.01), "real"),
        "keras nesterov": ("elu", "linear", "huber", o.SGD(0.1, momentum=0.9, nesterov=True), "real"),
        "keras adagrad": ("softplus", "linear", "mean_absolute_error", o.Adagrad(0.1), "real"),
        "keras clipped": ("tanh", "tanh", "squared_hinge", o.SGD(0.5, momentum=0.9, global_clipnorm=0.1), "signs"),
        "keras lamb": ("mish", "softmax", "categorical_crossentropy", o.Lamb(0.01), "one_hot"),
    }


def _torch_trainings() -> Mapping[str, tuple[nn.Module, nn.Module, Any, Callable[[Any], Any], str]]:
    o = torch.optim
    return {
        "torch sgd": (nn.Tanh(), nn.Identity(), nn.CrossEntropyLoss(), lambda p: o.SGD(p, 0.5), "labels"),
        "torch momentum": (
            nn.ReLU(),
            nn.Identity(),
            nn.BCEWithLogitsLoss(),
            lambda p: o.SGD(p, 0.1, momentum=0.9),
            "zero_one",
        ),
        "torch adam": (nn.GELU(), nn.Identity(), nn.CrossEntropyLoss(), lambda p: o.Adam(p, 0.01), "labels"),
        "torch adamw": (
            nn.SiLU(),
            nn.Sigmoid(),
            nn.BCELoss(),
            lambda p: o.AdamW(p, 0.01, weight_decay=0.1),
            "zero_one",
        ),
        "torch rmsprop": (nn.Softplus(), nn.Identity(), nn.SmoothL1Loss(), o.RMSprop, "real"),
        "torch nadam": (nn.SELU(), nn.Identity(), nn.MSELoss(), lambda p: o.NAdam(p, 0.01), "real"),
    }


def trainings(dtype: str) -> Record:
    """The weights of a 5-8-3 network after steps 1 and 10 on all eight samples."""
    data = _data()
    cases: Record = on_jax.recorded("trainings", dtype)
    for name, setting in _torch_trainings().items():
        cases[name] = _torch_training(setting, data, dtype)
    return {"data": {name: numbers(a) for name, a in data.items()}, "steps": STEPS, "cases": cases}


def keras_trainings() -> Record:
    """Those of Keras, on whatever backend this process has."""
    return {name: _keras_training(setting, _data()) for name, setting in _keras_trainings().items()}


def _keras_training(setting: tuple[str, str, Any, Any, str], data: Mapping[str, Array]) -> Record:
    hidden, output, loss, optimizer, target = setting
    model = keras.Sequential(
        [
            keras.layers.Input((INPUTS,)),
            keras.layers.Dense(HIDDEN, activation=hidden),
            keras.layers.Dense(OUTPUTS, activation=output),
        ]
    )
    model.set_weights([data[n] for n in ("W1", "b1", "W2", "b2")])
    model.compile(optimizer=optimizer, loss=loss)
    found: Record = {"t": target, "weights": {}}
    for step in range(1, STEPS + 1):
        found["loss"] = numbers(model.train_on_batch(data["x"], data[target]))
        if step in KEPT:
            found["weights"][str(step)] = [numbers(w) for w in model.get_weights()]
    return found


def _torch_training(
    setting: tuple[nn.Module, nn.Module, Any, Callable[[Any], Any], str], data: Mapping[str, Array], dtype: str
) -> Record:
    hidden, output, loss, make, target = setting
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), hidden, nn.Linear(HIDDEN, OUTPUTS), output)
    model = model.to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter, name in zip(model.parameters(), ("W1", "b1", "W2", "b2"), strict=True):
            parameter.copy_(tensor(data[name].T, dtype))
    optimizer = make(model.parameters())
    x = tensor(data["x"], dtype)
    t = torch.tensor(data[target]) if target == "labels" else tensor(data[target], dtype)
    found: Record = {"t": target, "weights": {}}
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        value = loss(model(x), t)
        value.backward()
        optimizer.step()
        found["loss"] = numbers(value)
        if step in KEPT:
            found["weights"][str(step)] = [numbers(p.detach().numpy().T) for p in model.parameters()]
    return found
