"""Every update rule against a closed form or a plain loop, and against known values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from chainrule.library import PARAMETER_RULES, UPDATES, find

from .meaning import learn, path_of, system_of

Hyper = Mapping[str, float]
Gradients = Sequence[float]

GRADIENTS: list[float] = np.random.default_rng(2).normal(size=12).tolist()
START = 0.7


def average(values: Gradients, beta: float) -> list[float]:
    """(1 - β) Σ_s β^(t-s) value_s for each t: the moving average from 0, as a sum."""
    return [(1 - beta) * sum(beta ** (t - s) * values[s] for s in range(t + 1)) for t in range(len(values))]


def squares(gradients: Gradients) -> list[float]:
    return [g * g for g in gradients]


def velocity(gradients: Gradients, h: Hyper) -> list[float]:
    return [-h["eta"] * v / (1 - h["mu"]) for v in average(gradients, h["mu"])]


def corrected(values: Gradients, beta: float) -> list[float]:
    return [v / (1 - beta ** (t + 1)) for t, v in enumerate(average(values, beta))]


def adam_moves(gradients: Gradients, h: Hyper) -> list[float]:
    first, second = corrected(gradients, h["beta_1"]), corrected(squares(gradients), h["beta_2"])
    return [-h["eta"] * m / (v**0.5 + h["epsilon"]) for m, v in zip(first, second, strict=True)]


def nadam_moves(gradients: Gradients, h: Hyper) -> list[float]:
    b, second = h["beta_1"], corrected(squares(gradients), h["beta_2"])
    ahead = [
        b * m / (1 - b ** (t + 2)) + (1 - b) * g / (1 - b ** (t + 1))
        for t, (m, g) in enumerate(zip(average(gradients, b), gradients, strict=True))
    ]
    return [-h["eta"] * m / (v**0.5 + h["epsilon"]) for m, v in zip(ahead, second, strict=True)]


def lion_moves(gradients: Gradients, h: Hyper) -> list[float]:
    before = [0.0, *average(gradients, h["beta_2"])]
    b = h["beta_1"]
    return [-h["eta"] * float(np.sign(b * m + (1 - b) * g)) for m, g in zip(before, gradients, strict=False)]


MOVES: dict[str, Callable[[Gradients, Hyper], list[float]]] = {
    "gradient_descent": lambda gs, h: [-h["eta"] * g for g in gs],
    "momentum": velocity,
    "momentum_look_ahead": lambda gs, h: [h["mu"] * v - h["eta"] * g for v, g in zip(velocity(gs, h), gs, strict=True)],
    "nesterov": lambda gs, h: [h["mu"] * v - h["eta"] * g for v, g in zip(velocity(gs, h), gs, strict=True)],
    "adagrad": lambda gs, h: [
        -h["eta"] * g / (r**0.5 + h["epsilon"]) for g, r in zip(gs, np.cumsum(squares(gs)).tolist(), strict=True)
    ],
    "rmsprop": lambda gs, h: [
        -h["eta"] * g / (v**0.5 + h["epsilon"]) for g, v in zip(gs, average(squares(gs), h["rho"]), strict=True)
    ],
    "adam": adam_moves,
    "adamw": adam_moves,
    "nadam": nadam_moves,
    "lion": lion_moves,
}


@pytest.mark.parametrize("name", MOVES)
def test_path(name: str) -> None:
    row = UPDATES[name]
    expected, w = [], START
    for move in MOVES[name](GRADIENTS, row.defaults):
        w = w * (1 - row.defaults["eta"] * row.defaults.get("weight_decay", 0.0)) + move
        expected.append(w)
    assert path_of(row.formula, START, GRADIENTS, row.defaults) == pytest.approx(expected, rel=1e-12)


def test_the_forms_of_nesterov_agree_while_eta_is_constant() -> None:
    ours, theirs = UPDATES["momentum_look_ahead"], UPDATES["nesterov"]
    path = path_of(ours.formula, START, GRADIENTS, ours.defaults)
    assert path == pytest.approx(path_of(theirs.formula, START, GRADIENTS, theirs.defaults), rel=1e-12)


def test_the_look_ahead_is_nesterovs_method_seen_from_the_point_ahead() -> None:
    # v ← μ v - η ∇f(u + μ v), u ← u + v, on f(u) = u²: the point u + μ v follows the look-ahead rule in w.
    eta, mu, u, v = 0.1, 0.9, 1.0, 0.0
    ahead = []
    w, gradients = 1.0, []
    rule = UPDATES["momentum_look_ahead"].formula
    for _ in range(8):
        v = mu * v - eta * 2 * (u + mu * v)
        u = u + v
        ahead.append(u + mu * v)
        gradients.append(2 * w)
        w = path_of(rule, 1.0, gradients, {"eta": eta, "mu": mu})[-1]
        assert w == pytest.approx(ahead[-1], rel=1e-12)


def test_known_value_of_rmsprop() -> None:
    # The example in Keras's documentation: rate 0.1, w = g = 10, one step. Epsilon is too small to matter.
    hyper = {**UPDATES["rmsprop"].defaults, "eta": 0.1}
    assert path_of(UPDATES["rmsprop"].formula, 10.0, [10.0], hyper) == pytest.approx([9.683772], abs=1e-6)


@pytest.mark.parametrize("name", ["adam", "adagrad", "nadam"])
def test_the_first_step_has_the_size_of_eta(name: str) -> None:
    row = UPDATES[name]
    move = path_of(row.formula, 0.0, [1e3], row.defaults)[0]
    # Nadam adds the momentum of the step to come: β/(1 - β²) of (1 - β) more.
    size = 1 + 0.9 * 0.1 / (1 - 0.9**2) if name == "nadam" else 1
    assert move == pytest.approx(-row.defaults["eta"] * size, rel=1e-6)


POINTS = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
NETWORK = "input x[i]\ntarget t\nparameter w[i], b = zeros\neta = 1\ny = step(sum[i](w[i]*x[i]) + b)\noutput y\n"


@pytest.mark.parametrize("truth", [(0, 0, 0, 1), (0, 1, 1, 1), (1, 1, 1, 0)], ids=["AND", "OR", "NAND"])
def test_the_perceptron_rule_learns_what_a_line_separates(truth: tuple[int, ...]) -> None:
    system = system_of(NETWORK + find(PARAMETER_RULES, "perceptron").formula)
    samples = [{"x": np.array([x]), "t": np.array([float(t)])} for x, t in zip(POINTS, truth, strict=True)]
    learned = learn(system, samples, epochs=20)
    outputs = [int(np.dot(learned["w"], x) + learned["b"] > 0) for x in POINTS]
    assert outputs == list(truth)


def test_the_perceptron_rule_does_not_learn_xor() -> None:
    system = system_of(NETWORK + PARAMETER_RULES["perceptron_rule"].formula)
    samples = [{"x": np.array([x]), "t": np.array([float(t)])} for x, t in zip(POINTS, (0, 1, 1, 0), strict=True)]
    learned = learn(system, samples, epochs=50)
    assert [int(np.dot(learned["w"], x) + learned["b"] > 0) for x in POINTS] != [0, 1, 1, 0]
