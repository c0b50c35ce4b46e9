"""Update rules, and what stands around them, against twelve steps of PyTorch 2.13's and Keras 3.15's optimizers.

A network of two parameters whose loss is Σ w·x: its gradients are the inputs, so that each sample is one recorded
gradient. The interpreter takes every rule in both precisions; the compiled step, which is compared with the interpreter
elsewhere, takes the longer ones.
"""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.library import UPDATES, find
from chainrule.training.network import formula
from chainrule.training.optimizer import Optimizer

from .oracles import PRECISIONS, assert_same, recorded
from .test_updates import MOVES

FILE = recorded("updates")
START, GRADIENTS, KEPT = np.array(FILE["start"]), np.array(FILE["gradients"]), FILE["kept"]
W = 4  # the first four entries are one parameter, the others another

ADAM = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 0.01}
# name: rule, learning rate, hyper-parameters where they are not the row's defaults, options around the rule.
KERAS = {
    "SGD": ("gradient_descent", 0.1, {}, {}),
    "SGD momentum": ("momentum", 0.1, {}, {}),
    "SGD nesterov": ("keras_nesterov", 0.1, {}, {}),
    "RMSprop": ("keras_rmsprop", None, {}, {}),
    "RMSprop momentum": ("keras_rmsprop_momentum", 0.01, {"mu": 0.8}, {}),
    "RMSprop centered": ("keras_rmsprop_centered", 0.01, {}, {}),
    "RMSprop centered momentum": (
        "keras_rmsprop_centered_momentum",
        0.01,
        {"rho": 0.8, "mu": 0.7, "epsilon": 1e-3},
        {},
    ),
    "Adam": ("keras_adam", None, {}, {}),
    "Adam epsilon=0.01": ("keras_adam", 0.1, ADAM, {}),
    "Adam amsgrad": ("keras_amsgrad", 0.1, {"beta_2": 0.5}, {}),
    "AdamW": ("keras_adamw", 0.1, {}, {}),
    "AdamW weight_decay=0.1": ("keras_adamw", 0.1, {"weight_decay": 0.1}, {}),
    "Adamax": ("keras_adamax", 0.1, {}, {}),
    "Nadam": ("keras_nadam", 0.1, {}, {}),
    "Adagrad": ("keras_adagrad", 0.1, {}, {}),
    "Adagrad initial=0.5": ("keras_adagrad", 0.1, {"initial_accumulator_value": 0.5}, {}),
    "Adadelta": ("keras_adadelta", 0.001, {"epsilon": 1e-7}, {}),
    "Adadelta 1.0": ("keras_adadelta", 1.0, {"rho": 0.9, "epsilon": 1e-7}, {}),
    "Ftrl": ("keras_ftrl", 0.1, {}, {}),
    "Ftrl regularized": (
        "keras_ftrl",
        0.1,
        {"learning_rate_power": -0.7, "l1": 0.1, "l2": 0.2, "l2_shrinkage": 0.05, "beta": 0.3},
        {},
    ),
    "Lion": ("keras_lion", 0.01, {}, {}),
    "Lamb": ("keras_lamb", 0.1, {}, {}),
    "ScheduleFreeAdamW": ("keras_schedule_free_adamw", 0.1, {}, {}),
    "SGD clipvalue": ("gradient_descent", 0.1, {}, {"clip_value": 0.5}),
    "SGD clipnorm": ("momentum", 0.1, {}, {"clip_norm": 1.0}),
    "SGD global_clipnorm": ("momentum", 0.1, {}, {"global_clip_norm": 1.0}),
    "Adam clipnorm": ("keras_adam", 0.1, {}, {"clip_norm": 0.5}),
    "SGD weight_decay": ("momentum", 0.1, {}, {"weight_decay": 0.1}),
    "Adam weight_decay": ("keras_adam", 0.1, {}, {"weight_decay": 0.1}),
    "Lamb weight_decay": ("keras_lamb", 0.1, {}, {"weight_decay": 0.1}),
    "RMSprop clip and decay": ("keras_rmsprop", 0.01, {}, {"global_clip_norm": 1.0, "weight_decay": 0.1}),
    "SGD accumulated": ("momentum", 0.1, {}, {"accumulate": 3}),
    "Adam accumulated": ("keras_adam", 0.1, {}, {"accumulate": 3, "clip_norm": 0.5, "weight_decay": 0.1}),
    "SGD schedule": ("momentum", "keras_cosine", {"eta0": 0.1, "decay_steps": 12.0}, {}),
    "SGD ema": ("gradient_descent", 0.1, {}, {"ema": 0.8}),
    "Adam ema": ("keras_adam", 0.1, {}, {"ema": 0.9}),
    "SGD ema every 4": ("gradient_descent", 0.1, {}, {"ema": 0.8, "ema_every": 4}),
}
TORCH = {
    "SGD": ("gradient_descent", 0.1, {}, {}),
    "SGD momentum": ("torch_momentum", 0.1, {}, {}),
    "SGD dampening": ("torch_momentum", 0.1, {"dampening": 0.4}, {}),
    "SGD nesterov": ("torch_nesterov", 0.1, {}, {}),
    "Adam": ("torch_adam", None, {}, {}),
    "Adam epsilon=0.01": ("torch_adam", 0.1, ADAM, {}),
    "Adam amsgrad": ("torch_amsgrad", 0.1, {"beta_2": 0.5}, {}),
    "AdamW": ("torch_adamw", None, {"weight_decay": 0.01}, {}),
    "AdamW weight_decay=0.1": ("torch_adamw", 0.1, {"weight_decay": 0.1}, {}),
    "NAdam": ("torch_nadam", None, {}, {}),
    "NAdam momentum_decay=1": ("torch_nadam", 0.1, {"momentum_decay": 1.0}, {}),
    "RAdam": ("torch_radam", None, {}, {}),
    "RAdam 0.1": ("torch_radam", 0.1, {"beta_1": 0.8, "beta_2": 0.9}, {}),
    "Adamax": ("torch_adamax", None, {}, {}),
    "Adagrad": ("torch_adagrad", None, {"epsilon": 1e-10}, {}),
    "Adadelta": ("torch_adadelta", None, {"rho": 0.9}, {}),
    "RMSprop": ("torch_rmsprop", 0.01, {"rho": 0.99, "epsilon": 1e-8}, {}),
    "RMSprop momentum": ("torch_rmsprop_momentum", None, {"mu": 0.8}, {}),
    "RMSprop centered": ("torch_rmsprop_centered", None, {}, {}),
    "RMSprop centered momentum": (
        "torch_rmsprop_centered_momentum",
        None,
        {"rho": 0.8, "mu": 0.7, "epsilon": 1e-3},
        {},
    ),
    "Rprop": ("torch_rprop", None, {}, {}),
    "Rprop 0.1": ("torch_rprop", 0.1, {"shrink": 0.4, "grow": 1.5, "smallest": 0.02, "largest": 0.2}, {}),
}
CASES = {**{f"keras {n}": c for n, c in KERAS.items()}, **{f"torch {n}": c for n, c in TORCH.items()}}
NETWORK = """
input x[i], z[j]
parameter w[i], b[j] = zeros
E = sum[i](w[i]*x[i]) + sum[j](b[j]*z[j])
"""


def after(name: str, steps: int, dtype: str, engine: str) -> np.ndarray:
    """Both parameters, joined, after so many updates from the recorded start."""
    rule, rate, hyper, options = CASES[name]
    net = formula(NETWORK, sizes={"i": W, "j": len(START) - W}, dtype=dtype)
    net.set_parameters({"w": START[:W], "b": START[W:]})
    optimizer = Optimizer(rule, learning_rate=rate, hyper=hyper, **options)
    data = {"x": GRADIENTS[:steps, :W], "z": GRADIENTS[:steps, W:]}
    net.fit(
        data,
        epochs=1,
        batch_size=1,
        shuffle=False,
        optimizer=optimizer,
        verbose=0,
        engine=engine,
        metrics=(),
        advice=False,
    )
    return np.concatenate([net.parameters["w"], net.parameters["b"]])


def wanted(name: str, steps: int, dtype: str) -> np.ndarray:
    case = FILE["cases"][dtype][name]
    return np.array(case["end"] if "end" in case and steps == len(GRADIENTS) else case[str(steps)])


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_path(name, dtype):
    for steps in KEPT[1::2] if dtype == "float64" else KEPT[-1:]:
        if "ema" in name and steps < len(GRADIENTS):
            continue  # the average takes the place of the weights when a training ends: recorded for the last only
        assert_same(after(name, steps, dtype, "interpreter"), wanted(name, steps, dtype), dtype)


COMPILED = ["keras Nadam", "keras Lamb weight_decay", "keras Adam accumulated", "torch RAdam 0.1", "torch Rprop 0.1"]
COMPILED += ["keras Ftrl regularized", "keras SGD ema every 4", "keras RMSprop clip and decay", "torch SGD dampening"]


@pytest.mark.parametrize("name", COMPILED)
def test_path_of_the_compiled_step(name):
    assert_same(after(name, len(GRADIENTS), "float64", "native"), wanted(name, len(GRADIENTS), "float64"), "float64")


def test_every_case_and_every_rule_is_here():
    assert set(CASES) == set(FILE["cases"]["float64"])
    compared = {find(UPDATES, rule).name for rule, *_ in CASES.values()}
    assert compared | set(MOVES) | {"lamb"} == set(UPDATES)


def test_lamb_is_keras_lamb_without_decay():
    plain, keras = UPDATES["lamb"], UPDATES["keras_lamb"]
    assert plain.formula.replace(" + weight_decay*w", "") == keras.formula
