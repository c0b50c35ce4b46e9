"""The example networks: they read, compute what they say, and the gates are gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.formula.evaluate import run_system
from chainrule.formula.system import System

from .meaning import learn, sizes_in, system_of

Array = np.ndarray[Any, Any]

FOLDER = Path(__file__).parents[2] / "examples"
POINTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
XOR = np.array([0.0, 1, 1, 0])


def example(name: str) -> System:
    return system_of((FOLDER / f"{name}.formula").read_text(encoding="utf-8"))


def run(system: System, **arrays: Any) -> dict[str, Array]:
    given = {name: np.asarray(value, dtype=float) for name, value in arrays.items()}
    scalars = {name: float(value) for name, value in system.hyper.items()}
    return run_system(system, given, sizes_in(system, given), scalars)


def gates(name: str) -> Array:
    """The output for the four points, with the numbers that the file gives its parameters."""
    system = example(name)
    fixed = {p.name: p.initial.values for p in system.parameters if p.initial is not None}
    return run(system, x1=POINTS[:, 0], x2=POINTS[:, 1], **fixed)["y"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.formula")), ids=lambda path: path.stem)
def test_an_example_reads_and_says_first_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    system = system_of(text)
    assert system.output is not None
    assert (
        system.loss is not None
        or system.updates
        or all(p.initial and p.initial.name is None for p in system.parameters)
    )


def test_nand() -> None:
    assert gates("nand").tolist() == [1, 1, 1, 0]


def test_xor_of_nands() -> None:
    assert gates("xor").tolist() == XOR.tolist()


def test_half_adder() -> None:
    assert gates("half_adder").tolist() == [[0, 0], [1, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize("truth", [(0, 0, 0, 1), (0, 1, 1, 1), (1, 1, 1, 0)], ids=["AND", "OR", "NAND"])
def test_the_perceptron_learns_the_gates(truth: tuple[int, ...]) -> None:
    system = example("perceptron")
    samples = [{"x": x[None], "t": np.array([float(t)])} for x, t in zip(POINTS, truth, strict=True)]
    assert run(system, x=POINTS, **learn(system, samples, epochs=20))["y"].tolist() == list(truth)


def test_a_perceptron_on_a_basis_learns_xor() -> None:
    system = example("xor_basis")
    samples = [{"x1": x[:1], "x2": x[1:], "t": np.array([t])} for x, t in zip(POINTS, XOR, strict=True)]
    learned = learn(system, samples, epochs=50)
    assert run(system, x1=POINTS[:, 0], x2=POINTS[:, 1], **learned)["y"].tolist() == XOR.tolist()


def test_the_perceptron_loss_is_the_distance_on_the_wrong_side() -> None:
    w = {"w": [1.0, 1.0], "b": -0.5}
    right, wrong = (
        run(example("perceptron_loss"), x=POINTS, t=[0, 1, 1, 1], **w),
        run(example("perceptron_loss"), x=POINTS, t=[1, 0, 0, 0], **w),
    )
    assert right["E"].tolist() == [0, 0, 0, 0]
    assert wrong["E"].tolist() == [0.5, 0.5, 0.5, 1.5]


def test_the_one_layer_reader_on_the_worked_value() -> None:
    # z = ln(p/(1-p)) is put in through the bias.
    p = np.full(10, 0.1)
    p[9] = 0.9
    system = example("one_layer")
    values = run(system, x=np.zeros((1, 3)), t=np.eye(10)[[9]], w=np.zeros((3, 10)), b=np.log(p / (1 - p)))
    np.testing.assert_allclose(values["p"][0], p, rtol=1e-12)
    assert values["E"] == pytest.approx([0.05], abs=1e-12)


def test_the_digit_network() -> None:
    random = np.random.default_rng(4)
    x, t = random.uniform(size=(6, 5)), np.eye(3)[random.integers(0, 3, 6)]
    w1, b1 = random.normal(size=(5, 512)), random.normal(size=512)
    w2, b2 = random.normal(size=(512, 3)) / 20, random.normal(size=3)
    values = run(example("digits"), x=x, t=t, W1=w1, b1=b1, W2=w2, b2=b2)
    a = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    expected = np.log(np.exp(a).sum(axis=1)) - (a * t).sum(axis=1)
    np.testing.assert_allclose(values["E"], expected, rtol=1e-10)


def test_the_multi_layer_perceptron() -> None:
    random = np.random.default_rng(5)
    x, y = random.uniform(size=(4, 6)), random.uniform(size=(4, 3))
    w1, b1 = random.normal(size=(30, 6)), random.normal(size=30)
    w2, b2 = random.normal(size=(3, 30)), random.normal(size=3)
    values = run(example("mlp"), x=x, y=y, w1=w1, b1=b1, w2=w2, b2=b2)
    z1 = 1 / (1 + np.exp(-(x @ w1.T + b1)))
    z2 = 1 / (1 + np.exp(-(z1 @ w2.T + b2)))
    np.testing.assert_allclose(values["C"], np.linalg.norm(y - z2, axis=1) ** 2 / 2, rtol=1e-12)


def test_the_autoencoder() -> None:
    random = np.random.default_rng(6)
    x = random.uniform(size=(4, 20))
    w1, b1 = random.normal(size=(20, 15)), random.normal(size=15)
    w2, b2 = random.normal(size=(15, 20)), random.normal(size=20)
    values = run(example("autoencoder"), x=x, W1=w1, b1=b1, W2=w2, b2=b2)
    r = 1 / (1 + np.exp(-((x @ w1 + b1) @ w2 + b2)))
    np.testing.assert_allclose(values["r"], r, rtol=1e-10)
    np.testing.assert_allclose(values["E"], np.linalg.norm(x - r, axis=1) ** 2 / 2, rtol=1e-10)


def test_logistic_regression_and_least_squares() -> None:
    random = np.random.default_rng(7)
    x, t, w, b = random.normal(size=(9, 3)), random.choice([0.0, 1.0], 9), random.normal(size=3), 0.3
    a = x @ w + b
    logistic = run(example("logistic"), x=x, t=t, w=w, b=b)
    np.testing.assert_allclose(logistic["E"], np.logaddexp(0, a) - t * a, rtol=1e-10)
    squares = run(example("least_squares"), x=x, t=t, w=w, b=b)
    np.testing.assert_allclose(squares["E"], (t - a) ** 2 / 2, rtol=1e-12)
