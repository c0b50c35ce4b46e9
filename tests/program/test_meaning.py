"""Random systems, drawn by hypothesis: derived gradients are numerical ones, and programs mean what formulas say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from chainrule.derivation.adjoint import derive_system
from chainrule.formula.evaluate import evaluate, run_system
from chainrule.formula.expr import Symbol
from chainrule.formula.system import System, Update
from chainrule.program.interpret import run
from chainrule.program.lower import lower_prediction, lower_training
from chainrule.training.network import formula
from tests.strategies import systems

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = 3
STEP = 1e-25
GRADIENT_DESCENT = (Update(Symbol("w"), Symbol("g")),)  # keeps every gradient alive


def batch_loss(system: System, arrays: dict, sizes: dict) -> complex:
    hyper = {name: float(value) for name, value in system.hyper.items()}
    known = run_system(system, arrays, sizes, hyper)
    return complex(evaluate(system.batch_loss(), known, sizes=sizes, scalars=hyper))


def check_gradients(system: System, arrays: dict, sizes: dict) -> None:
    """Every parameter's derived gradient, run by the interpreter, against the complex step, to 1e-6."""
    program = lower_training(derive_system(system), system.with_(updates=()), GRADIENT_DESCENT)
    hyper = {name: float(value) for name, value in system.hyper.items()}
    out = run(program, arrays, sizes, hyper)
    rng = np.random.default_rng(0)
    for parameter in system.parameters:
        gradient = out[program.gradients[parameter.name]]
        places = list(np.ndindex(gradient.shape))
        for number in rng.permutation(len(places))[:4]:
            moved = arrays | {parameter.name: arrays[parameter.name].astype(complex)}
            moved[parameter.name][places[number]] += 1j * STEP
            numerical = batch_loss(system, moved, sizes).imag / STEP
            error = abs(gradient[places[number]] - numerical)
            assert error <= 1e-6 * (np.abs(gradient).max() + abs(numerical) + 1e-9), parameter.name


def check_derived(drawn) -> None:
    arrays = drawn.arrays(rows=ROWS, seed=0)
    check_gradients(drawn.system, arrays, {**drawn.sizes, drawn.system.samples: ROWS})


def check_program(drawn) -> None:
    system, arrays = drawn.system, drawn.arrays(rows=ROWS, seed=1)
    sizes = {**drawn.sizes, system.samples: ROWS}
    hyper = {name: float(value) for name, value in system.hyper.items()}
    wanted = run_system(system, arrays, sizes, hyper)
    ours = run(lower_prediction(system, loss=True), arrays, sizes, hyper)
    for name in (system.loss, system.output):
        if name is not None:
            assert ours[name] == pytest.approx(wanted[name], rel=1e-9, abs=1e-9)


@settings(max_examples=40, derandomize=True)
@given(systems(kinks=False))
def test_derived_gradients_are_numerical_gradients(drawn):
    check_derived(drawn)


@settings(max_examples=60, derandomize=True)
@given(systems())
def test_a_program_computes_what_the_formulas_say(drawn):
    check_program(drawn)


@pytest.mark.soak
@settings(max_examples=3000)
@given(systems(kinks=False))
def test_many_derived_gradients(drawn):
    check_derived(drawn)


@pytest.mark.soak
@settings(max_examples=3000)
@given(systems())
def test_many_programs(drawn):
    check_program(drawn)


@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.formula")))
def test_every_example_with_a_loss_derives_to_the_oracle(name):
    net = formula(EXAMPLES / f"{name}.formula", dtype="float64")
    if net.system.loss is None:
        pytest.skip("fixed weights, or a rule of its own: there is no loss to derive")
    rng = np.random.default_rng(0)
    sizes = {"i": 5, "j": 4, "k": 3} | net.sizes | {"n": ROWS}
    arrays = {}
    for tensor in net.system.of_role("input", "target", "parameter"):
        arrays[tensor.name] = rng.normal(size=[sizes[i] for i in tensor.indices])
    for tensor in net.system.of_role("target"):
        arrays[tensor.name] = np.abs(arrays[tensor.name]) + 0.1
        if net.system.facts:
            arrays[tensor.name] /= arrays[tensor.name].sum(axis=-1, keepdims=True)
    check_gradients(net.system, arrays, sizes)


def test_pairs_that_take_all_sums():
    """Of b[j], u[i], v[k] the last two are multiplied first: what is left has no sum."""
    net = formula(
        "input x\nparameter b[j], u[i], v[k] = 1\na[j] = tanh(sum[i, k](b[j]*u[i]*v[k]))\nE = x*sum[j](a[j])",
        sizes={"i": 2, "j": 3, "k": 4},
        dtype="float64",
    )
    assert net.evaluate(np.ones(2))["loss"] == pytest.approx(3 * np.tanh(8))
    arrays = {"x": np.ones(2), **net.kept}
    check_gradients(net.system, arrays, {**net.sizes, "n": 2})
