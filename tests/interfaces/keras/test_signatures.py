"""Argument names, their order and their defaults are Keras's, recorded from Keras itself; each difference is listed."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import chainrule

RECORDED = json.loads((Path(__file__).parents[2] / "golden" / "oracles" / "keras_signatures.json").read_text("utf-8"))

# Classes of Keras that are not here: convolutions, recurrent and attention layers, images, text, and what those need.
HERE = {
    name
    for name in RECORDED
    if "." in name
    and name.split(".")[0]
    in ("layers", "losses", "metrics", "initializers", "regularizers", "constraints", "optimizers")
    and hasattr(getattr(chainrule, name.split(".")[0]), name.split(".")[1])
}
ABSENT_OPTIMIZERS = {"Adafactor", "Muon", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap", "ScheduleFreeAdamW"}
ABSENT_LOSSES = {"CTC", "Circle", "Dice", "Tversky"}
# Bases, which are made by their own rules; and Lambda, which is refused with what to do instead.
OTHER = {
    "layers.Layer",
    "layers.InputLayer",
    "losses.Loss",
    "metrics.Metric",
    "optimizers.Optimizer",
    "layers.Lambda",
    "initializers.Initializer",
    "regularizers.Regularizer",
    "constraints.Constraint",
}


def arguments(function: Any) -> list[list[str]]:
    given = inspect.signature(function).parameters.values()
    return [
        [
            ("*" * (p.kind == p.VAR_POSITIONAL) + "**" * (p.kind == p.VAR_KEYWORD)) + p.name,
            "–" if p.default is inspect.Parameter.empty else repr(p.default),
        ]
        for p in given
        if p.name != "self"
    ]


def number(text: str) -> str:
    """'1e-07' and '0.0' as Python says them, so that 2 and 2.0, None and None are compared alike."""
    try:
        return repr(float(text))
    except ValueError:
        return text


def plain(found: list[list[str]]) -> list[list[str]]:
    return [[name, number(default)] for name, default in found]


@pytest.mark.parametrize("name", sorted(HERE - OTHER))
def test_a_class_has_keras_arguments(name):
    module, *path = name.split(".")
    own = getattr(chainrule, module)
    for part in path:
        own = getattr(own, part)
    wanted = RECORDED[name]
    found = plain(arguments(own))
    if not wanted or wanted == [["*args", "–"], ["**kwargs", "–"]]:
        assert found in ([], [["**kwargs", "–"]], plain(wanted))
        return
    assert [pair for pair in found if pair[0] != "**kwargs"] == [p for p in plain(wanted) if p[0] != "**kwargs"]


def test_all_optimizers_losses_and_constraints_are_here():
    for module, absent in (
        ("optimizers", ABSENT_OPTIMIZERS),
        ("losses", ABSENT_LOSSES),
        ("initializers", {"STFT", "STFTInitializer"}),
        ("regularizers", {"OrthogonalRegularizer"}),
        ("constraints", set()),
    ):
        names = {n.split(".")[1] for n in RECORDED if n.startswith(f"{module}.") and n.count(".") == 1}
        assert {n for n in names if not hasattr(getattr(chainrule, module), n)} == absent, module


def test_all_schedules_are_here():
    names = {n.split(".")[2] for n in RECORDED if n.startswith("optimizers.schedules.")}
    assert all(hasattr(chainrule.optimizers.schedules, name) for name in names)


@pytest.mark.parametrize("name", sorted(n for n in RECORDED if n.startswith("Model.")))
def test_a_method_has_keras_arguments(name):
    own = getattr(chainrule.Sequential, name.split(".")[1])
    assert plain(arguments(own)) == plain(RECORDED[name])


@pytest.mark.parametrize("name", ["to_categorical", "normalize", "pad_sequences"])
def test_a_utility_has_keras_arguments(name):
    assert plain(arguments(getattr(chainrule.utils, name))) == plain(RECORDED[f"function.{name}"])


def test_input_has_keras_arguments():
    assert plain(arguments(chainrule.Input)) == plain(RECORDED["function.Input"])
