"""Schedules of Keras and PyTorch over 200 steps, and their update rules on given gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import torch

from benchmarks.oracles import on_jax
from benchmarks.oracles.record import Array, Record, numbers, tensor

STEPS = 200
RATE = 0.1
UPDATES = 12
KEPT = (1, 2, 5, 12)  # the updates after which the weights are recorded


def schedules() -> Record:
    """The rate of each of 200 updates, from the base rate 0.1. PyTorch's schedulers are stepped after each update."""
    cases = {f"keras {name}": [float(rule(step)) for step in range(STEPS)] for name, rule in _keras_schedules().items()}
    cases |= {f"torch {name}": _torch_rates(make) for name, make in _torch_schedules().items()}
    return {"rate": RATE, "steps": STEPS, "cases": {name: numbers(rates) for name, rates in cases.items()}}


def _keras_schedules() -> Mapping[str, Callable[[int], Any]]:
    s = keras.optimizers.schedules
    return {
        "ExponentialDecay": s.ExponentialDecay(RATE, 50, 0.5),
        "ExponentialDecay staircase": s.ExponentialDecay(RATE, 50, 0.5, staircase=True),
        "InverseTimeDecay": s.InverseTimeDecay(RATE, 50, 0.5),
        "InverseTimeDecay staircase": s.InverseTimeDecay(RATE, 50, 0.5, staircase=True),
        "PolynomialDecay": s.PolynomialDecay(RATE, 150),
        "PolynomialDecay power=2": s.PolynomialDecay(RATE, 150, 0.01, power=2.0),
        "PolynomialDecay cycle": s.PolynomialDecay(RATE, 60, 0.01, cycle=True),
        "CosineDecay": s.CosineDecay(RATE, 150),
        "CosineDecay alpha": s.CosineDecay(RATE, 150, alpha=0.1),
        "CosineDecay warmup": s.CosineDecay(0.01, 120, alpha=0.1, warmup_target=RATE, warmup_steps=30),
        "CosineDecayRestarts": s.CosineDecayRestarts(RATE, 25),
        "CosineDecayRestarts t_mul=1": s.CosineDecayRestarts(RATE, 40, t_mul=1.0, m_mul=0.8, alpha=0.05),
        "CosineDecayRestarts t_mul=3": s.CosineDecayRestarts(RATE, 5, t_mul=3.0, m_mul=0.9),
        "PiecewiseConstantDecay": s.PiecewiseConstantDecay([50, 120], [0.1, 0.02, 0.005]),
    }


def _torch_schedules() -> Mapping[str, Callable[[torch.optim.Optimizer], Any]]:
    s = torch.optim.lr_scheduler
    return {
        "StepLR": lambda o: s.StepLR(o, 50, 0.5),
        "MultiStepLR": lambda o: s.MultiStepLR(o, [50, 120], 0.2),
        "ExponentialLR": lambda o: s.ExponentialLR(o, 0.99),
        "PolynomialLR": lambda o: s.PolynomialLR(o, 150, 2.0),
        "LinearLR": lambda o: s.LinearLR(o, total_iters=30),
        "CosineAnnealingLR": lambda o: s.CosineAnnealingLR(o, STEPS, 0.01),
        "CosineAnnealingWarmRestarts": lambda o: s.CosineAnnealingWarmRestarts(o, 25, 2, 0.01),
        "CosineAnnealingWarmRestarts T_mult=1": lambda o: s.CosineAnnealingWarmRestarts(o, 40),
        "OneCycleLR": lambda o: s.OneCycleLR(o, RATE, STEPS, cycle_momentum=False),
        "OneCycleLR 0.1": lambda o: s.OneCycleLR(
            o, RATE, STEPS, pct_start=0.1, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
        "CyclicLR": lambda o: s.CyclicLR(o, RATE, 0.5, 30, cycle_momentum=False),
    }


def _torch_rates(make: Callable[[torch.optim.Optimizer], Any]) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], RATE)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


# --- update rules -----------------------------------------------------------------------------------------------------


def start_and_gradients() -> tuple[list[Array], list[list[Array]]]:
    """Two parameters, of four entries and of two, and their gradients at twelve updates; signs change and stay."""
    rng = np.random.default_rng(7)
    start = [np.array([0.5, -1.2, 0.05, 2.0]), np.array([-0.4, 0.8])]
    pull = [np.array([1.0, -0.5, 0.0, 2.0]), np.array([0.3, -1.5])]
    return start, [[p + rng.normal(size=p.shape) for p in pull] for _ in range(UPDATES)]


def _keras_optimizers() -> Mapping[str, Any]:
    o = keras.optimizers
    return {
        "SGD": o.SGD(0.1),
        "SGD momentum": o.SGD(0.1, momentum=0.9),
        "SGD nesterov": o.SGD(0.1, momentum=0.9, nesterov=True),
        "RMSprop": o.RMSprop(),
        "RMSprop momentum": o.RMSprop(0.01, momentum=0.8),
        "RMSprop centered": o.RMSprop(0.01, centered=True),
        "RMSprop centered momentum": o.RMSprop(0.01, rho=0.8, momentum=0.7, epsilon=1e-3, centered=True),
        "Adam": o.Adam(),
        "Adam epsilon=0.01": o.Adam(0.1, 0.8, 0.95, epsilon=0.01),
        "Adam amsgrad": o.Adam(0.1, beta_2=0.5, amsgrad=True),
        "AdamW": o.AdamW(0.1),
        "AdamW weight_decay=0.1": o.AdamW(0.1, weight_decay=0.1),
        "Adamax": o.Adamax(0.1),
        "Nadam": o.Nadam(0.1),
        "Adagrad": o.Adagrad(0.1),
        "Adagrad initial=0.5": o.Adagrad(0.1, initial_accumulator_value=0.5),
        "Adadelta": o.Adadelta(),
        "Adadelta 1.0": o.Adadelta(1.0, rho=0.9),
        "Ftrl": o.Ftrl(0.1),
        "Ftrl regularized": o.Ftrl(
            0.1,
            learning_rate_power=-0.7,
            l1_regularization_strength=0.1,
            l2_regularization_strength=0.2,
            l2_shrinkage_regularization_strength=0.05,
            beta=0.3,
        ),
        "Lion": o.Lion(0.01),
        "Lamb": o.Lamb(0.1),
        # What stands around a rule.
        "SGD clipvalue": o.SGD(0.1, clipvalue=0.5),
        "SGD clipnorm": o.SGD(0.1, momentum=0.9, clipnorm=1.0),
        "SGD global_clipnorm": o.SGD(0.1, momentum=0.9, global_clipnorm=1.0),
        "Adam clipnorm": o.Adam(0.1, clipnorm=0.5),
        "SGD weight_decay": o.SGD(0.1, momentum=0.9, weight_decay=0.1),
        "Adam weight_decay": o.Adam(0.1, weight_decay=0.1),
        "Lamb weight_decay": o.Lamb(0.1, weight_decay=0.1),
        "RMSprop clip and decay": o.RMSprop(0.01, global_clipnorm=1.0, weight_decay=0.1),
        "SGD accumulated": o.SGD(0.1, momentum=0.9, gradient_accumulation_steps=3),
        "Adam accumulated": o.Adam(0.1, gradient_accumulation_steps=3, clipnorm=0.5, weight_decay=0.1),
        "SGD schedule": o.SGD(o.schedules.CosineDecay(0.1, 12), momentum=0.9),
        "SGD ema": o.SGD(0.1, use_ema=True, ema_momentum=0.8),
        "Adam ema": o.Adam(0.1, use_ema=True, ema_momentum=0.9),
        "SGD ema every 4": o.SGD(0.1, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=4),
    }


def _torch_optimizers() -> Mapping[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]]:
    o = torch.optim
    return {
        "SGD": lambda p: o.SGD(p, 0.1),
        "SGD momentum": lambda p: o.SGD(p, 0.1, momentum=0.9),
        "SGD dampening": lambda p: o.SGD(p, 0.1, momentum=0.9, dampening=0.4),
        "SGD nesterov": lambda p: o.SGD(p, 0.1, momentum=0.9, nesterov=True),
        "Adam": o.Adam,
        "Adam epsilon=0.01": lambda p: o.Adam(p, 0.1, (0.8, 0.95), eps=0.01),
        "Adam amsgrad": lambda p: o.Adam(p, 0.1, (0.9, 0.5), amsgrad=True),
        "AdamW": o.AdamW,
        "AdamW weight_decay=0.1": lambda p: o.AdamW(p, 0.1, weight_decay=0.1),
        "NAdam": o.NAdam,
        "NAdam momentum_decay=1": lambda p: o.NAdam(p, 0.1, momentum_decay=1.0),
        "RAdam": o.RAdam,
        "RAdam 0.1": lambda p: o.RAdam(p, 0.1, (0.8, 0.9)),
        "Adamax": o.Adamax,
        "Adagrad": o.Adagrad,
        "Adadelta": o.Adadelta,
        "RMSprop": o.RMSprop,
        "RMSprop momentum": lambda p: o.RMSprop(p, momentum=0.8),
        "RMSprop centered": lambda p: o.RMSprop(p, centered=True),
        "RMSprop centered momentum": lambda p: o.RMSprop(p, 0.01, 0.8, 1e-3, momentum=0.7, centered=True),
        "Rprop": o.Rprop,
        "Rprop 0.1": lambda p: o.Rprop(p, 0.1, (0.4, 1.5), (0.02, 0.2)),
    }


def updates(dtype: str) -> Record:
    """Of each rule: the two parameters, one after the other, after updates 1, 2, 5 and 12.

    `end` is what Keras puts in place of the weights when training ends: their moving average, where it keeps one.
    """
    start, gradients = start_and_gradients()
    cases: Record = {}
    for name, optimizer in _keras_optimizers().items():
        cases[f"keras {name}"] = _keras_path(optimizer, start, gradients, dtype)
    for name, make in _torch_optimizers().items():
        cases[f"torch {name}"] = _torch_path(make, start, gradients, dtype)
    cases["keras ScheduleFreeAdamW"] = on_jax.recorded("schedule_free", dtype)
    flat = [numbers(np.concatenate(g)) for g in gradients]
    return {"start": numbers(np.concatenate(start)), "gradients": flat, "kept": list(KEPT), "cases": cases}


def schedule_free(dtype: str) -> Record:
    """The one rule that is recorded on another backend."""
    return _keras_path(keras.optimizers.ScheduleFreeAdamW(0.1), *start_and_gradients(), dtype)


def _keras_path(optimizer: Any, start: list[Array], gradients: list[list[Array]], dtype: str) -> Record:
    variables = [keras.Variable(s, dtype=dtype) for s in start]
    optimizer.build(variables)
    path = {}
    for step, gradient in enumerate(gradients, start=1):
        optimizer.apply([keras.ops.convert_to_tensor(g, dtype) for g in gradient], variables)
        if step in KEPT:
            path[str(step)] = _joined(variables)
    if optimizer.use_ema:
        optimizer.finalize_variable_values(variables)
        path["end"] = _joined(variables)
    return path


def _torch_path(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
    start: list[Array],
    gradients: list[list[Array]],
    dtype: str,
) -> Record:
    parameters = [tensor(s, dtype).requires_grad_() for s in start]
    optimizer = make(parameters)
    path = {}
    for step, gradient in enumerate(gradients, start=1):
        for parameter, g in zip(parameters, gradient, strict=True):
            parameter.grad = tensor(g, dtype)
        optimizer.step()
        if step in KEPT:
            path[str(step)] = _joined(parameters)
    return path


def _joined(variables: list[Any]) -> list[float]:
    return numbers(np.concatenate([keras.ops.convert_to_numpy(v) for v in variables]))
