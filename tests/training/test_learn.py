"""Every example learns, on the real data; and what mission.md says of the perceptron holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainrule.data.datasets import load_mnist
from chainrule.training.network import Network, formula

EXAMPLES = Path(__file__).parents[2] / "examples"
POINTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


def reader(name: str, seed: int = 0) -> Network:
    """An example that reads digits, on raw pixels: x = pixels/255 is an equation."""
    text = (EXAMPLES / f"{name}.formula").read_text()
    scaled = text.replace("input     x[i]", "input     pixels[i]\nx[i] = pixels[i]/255")
    assert scaled != text
    return formula(scaled, seed=seed)


def accuracy(net: Network, images, labels) -> float:
    return float(np.mean(net.predict(images).argmax(axis=1) == labels))


def test_the_one_layer_reader_reaches_90_percent(mnist):
    net = reader("one_layer")
    net.fit(mnist.train.images, mnist.train.labels, epochs=3, batch_size=10, learning_rate=0.5, verbose=0)
    assert accuracy(net, mnist.test.images, mnist.test.labels) >= 0.90


def test_784_30_10_reaches_95_percent(mnist):
    net = reader("mlp")
    net.fit(mnist.train.images, mnist.train.labels, epochs=6, batch_size=10, learning_rate=3.0, verbose=0)
    assert accuracy(net, mnist.test.images, mnist.test.labels) >= 0.95


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.soak) for n in (2, 3, 4))])
def test_the_two_layer_network_reaches_97_5_percent_for_every_seed(mnist, seed):
    net = reader("digits", seed)
    history = net.fit(mnist.train.images, mnist.train.labels, epochs=5, batch_size=128, optimizer="rmsprop", verbose=0)
    assert history.steps_per_epoch * len(history.epoch) == 2345
    result = net.evaluate(mnist.test.images, mnist.test.labels)
    assert result["accuracy"] >= 0.975
    assert accuracy(net, mnist.test.images, mnist.test.labels) == pytest.approx(result["accuracy"], abs=1e-4)


def test_the_autoencoder_comes_within_5_percent_of_pca(mnist):
    net = reader("autoencoder")
    net.fit(mnist.train.images, epochs=8, batch_size=128, optimizer="adam", verbose=0)
    test = mnist.test.images / 255
    train = mnist.train.images.astype(np.float64) / 255
    mean = train.mean(axis=0)
    _, vectors = np.linalg.eigh((train - mean).T @ (train - mean))
    basis = vectors[:, -15:]
    rebuilt = mean + (test - mean) @ basis @ basis.T
    ours = np.mean((net.predict(mnist.test.images) - test) ** 2)
    assert ours <= 1.05 * np.mean((rebuilt - test) ** 2)


@pytest.mark.parametrize(("name", "table"), [("nand", [1, 1, 1, 0]), ("xor", [0, 1, 1, 0])])
def test_fixed_gates_give_their_truth_tables(name, table):
    assert formula(EXAMPLES / f"{name}.formula").predict(*POINTS.T).tolist() == table


def test_the_half_adder_gives_sum_and_carry():
    net = formula(EXAMPLES / "half_adder.formula")
    assert net.predict(*POINTS.T).tolist() == [[0, 0], [1, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize("table", [[0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 1, 0]], ids=["AND", "OR", "NAND"])
def test_the_perceptron_rule_learns_the_gates(table):
    net = formula(EXAMPLES / "perceptron.formula")
    net.fit(POINTS, table, epochs=20, batch_size=1, verbose=0)
    assert net.predict(POINTS).tolist() == table


def test_the_perceptron_rule_never_learns_xor():
    net = formula(EXAMPLES / "perceptron.formula")
    net.fit(POINTS, [0, 1, 1, 0], epochs=200, batch_size=1, verbose=0)
    assert net.predict(POINTS).tolist() != [0, 1, 1, 0]


def test_xor_by_a_fixed_and_by_an_adaptive_basis():
    fixed = formula(EXAMPLES / "xor_basis.formula")
    fixed.fit(POINTS[:, 0], POINTS[:, 1], [0, 1, 1, 0], epochs=30, batch_size=1, verbose=0)
    assert fixed.predict(POINTS[:, 0], POINTS[:, 1]).tolist() == [0, 1, 1, 0]
    for seed in range(5):
        adaptive = formula(EXAMPLES / "xor_hidden.formula", seed=seed)
        adaptive.fit(POINTS, [0, 1, 1, 0], epochs=500, batch_size=None, learning_rate=0.5, verbose=0)
        assert adaptive.predict(POINTS).round().tolist() == [0, 1, 1, 0]


def test_descent_on_the_perceptron_loss_is_the_perceptron_rule():
    """The gradient of max(0, -(2t-1)a) is -(2t-1)x where the point is wrong, else 0."""
    by_loss, by_rule = (formula(EXAMPLES / f"{n}.formula", dtype="float64") for n in ("perceptron_loss", "perceptron"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2))
    t = (x @ [1.0, -2.0] > 0.1).astype(float)
    by_loss.fit(x, t, epochs=3, batch_size=1, learning_rate=1.0, verbose=0)
    by_rule.fit(x, t, epochs=3, batch_size=1, verbose=0)
    for name, value in by_loss.parameters.items():
        assert value == pytest.approx(by_rule.parameters[name])


def test_mistakes_stay_below_r_over_gamma_squared():
    """Novikoff's bound on 100 random separable sets, with the bias as a weight of a constant input."""
    text = "input x[i]\ntarget t\nparameter w[i] = zeros\ny = step(sum[i](w[i]*x[i]))\nw[i] <- w[i] + (t - y)*x[i]"
    rng = np.random.default_rng(0)
    for _ in range(100):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        x = rng.normal(size=(40, 3))
        x = x[np.abs(x @ direction) > 0.2]
        t = (x @ direction > 0).astype(float)
        net = formula(text, dtype="float64")
        done = net.fit(x, t, epochs=1000, batch_size=1, verbose=0, callbacks=[lambda _, logs: logs["accuracy"] < 1])
        assert done.history["accuracy"][-1] == 1
        mistakes = round(sum((1 - a) * len(x) for a in done.history["accuracy"]))
        radius, margin = np.linalg.norm(x, axis=1).max(), np.abs(x @ direction).min()
        assert mistakes <= (radius / margin) ** 2


def test_logistic_regression_finds_the_line():
    net = formula(EXAMPLES / "logistic.formula", dtype="float64")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    t = (rng.random(400) < 1 / (1 + np.exp(-(3 * x[:, 0] - 2 * x[:, 1] + 0.5)))).astype(float)
    net.fit(x, t, epochs=400, batch_size=None, learning_rate=1.0, verbose=0)
    gradients = net.gradients(x, t)
    assert max(np.abs(g).max() for g in gradients.values()) < 1e-4  # at the minimum of a convex loss
    p = net.predict(x)
    assert gradients["w"] == pytest.approx(-((t - p) @ x) / len(x), abs=1e-12)


def test_least_squares_lands_on_the_solution_of_the_normal_equations():
    net = formula(EXAMPLES / "least_squares.formula", dtype="float64")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    t = x @ [2.0, -1.0] + 0.5 + 0.1 * rng.normal(size=60)
    net.fit(x, t, epochs=600, batch_size=None, learning_rate=0.3, verbose=0)
    solution, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(60)]), t, rcond=None)
    assert np.append(net.parameters["w"], net.parameters["b"]) == pytest.approx(solution, abs=1e-8)
