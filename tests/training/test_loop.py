"""The loop: batches, both engines, threads, divergence, Ctrl-C, history."""

from __future__ import annotations

import csv
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import Diverged
from chainrule.training.network import formula
from chainrule.training.watch import Watcher
from tests.interrupt import ctrl_c_in_training

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = """
size j = 33
input x[i]
target t[k], sum[k](t[k]) = 1
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = zeros
h[j] = relu(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E = -sum[k](t[k]*log(p[k]))
"""


def blobs(rows: int = 300, width: int = 20, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    centres = rng.normal(size=(classes, width))
    return (centres[labels] + 0.7 * rng.normal(size=(rows, width))).astype(np.float32), labels


@pytest.mark.parametrize("batch_size", [1, 7, 128, None])
@pytest.mark.parametrize("optimizer", ["gradient_descent", "rmsprop", "adam"])
def test_the_compiled_step_equals_the_interpreter(batch_size, optimizer):
    x, t = blobs(50)
    nets = {}
    for engine in ("native", "interpreter"):
        net = formula(SMALL, dtype="float64")
        net.fit(x, t, epochs=3, batch_size=batch_size, optimizer=optimizer, engine=engine, verbose=0)
        nets[engine] = net.parameters
    for name, value in nets["native"].items():
        assert value == pytest.approx(nets["interpreter"][name], rel=1e-7, abs=1e-9)


def test_the_last_batch_is_smaller_and_every_row_is_seen_once():
    """The mean of x over an epoch of full passes is the mean over rows, whatever the batch size."""
    text = "input x\nparameter m = 0\ny = x\nE = 1/2*(x - m)**2\noutput y\nm <- m + x/steps"
    x = np.arange(10, dtype=float)
    seen = []
    net = formula(text, dtype="float64")
    history = net.fit(x, epochs=1, batch_size=4, verbose=0, callbacks=[lambda e, logs: seen.append(logs)])
    assert history.steps_per_epoch == 3
    # Three steps, each the mean of its own 4, 4 and 2 rows.
    order = np.random.Generator(np.random.Philox(key=[0, 0])).permutation(10)
    means = [x[order[a:b]].mean() for a, b in ((0, 4), (4, 8), (8, 10))]
    assert net.parameters["m"] == pytest.approx(sum(means) / 3)


def test_the_same_bits_on_one_two_and_three_threads_and_in_every_run():
    x, t = blobs(500, 70)
    runs = []
    for threads in (1, 2, 3, 2):
        net = formula(SMALL.replace("33", "133"))
        net.fit(x, t, epochs=4, batch_size=64, optimizer="rmsprop", threads=threads, verbose=0)
        runs.append(net.parameters)
    for other in runs[1:]:
        assert all(np.array_equal(runs[0][n], other[n]) for n in runs[0])


def test_another_seed_another_order():
    x, t = blobs()
    runs = []
    for seed in (0, 1):
        net = formula(SMALL)
        net.fit(x, t, epochs=1, batch_size=8, seed=seed, verbose=0)
        runs.append(net.parameters["W1"])
    assert not np.array_equal(*runs)


def test_inputs_of_every_dtype_are_read_alike():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (40, 6))
    t = x.sum(axis=1) / 1000
    text = "input x[i]\ntarget t\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i]/255)\nE = (y - t)**2"
    results = []
    for dtype in (np.uint8, np.int32, np.int64, np.float32, np.float64):
        net = formula(text)
        net.fit(x.astype(dtype), t, epochs=2, batch_size=8, learning_rate=0.1, verbose=0)
        results.append(net.parameters["w"])
    assert all(np.array_equal(results[0], r) for r in results[1:])


def test_arrays_in_any_order_and_read_only():
    x, t = blobs(40)
    results = []
    for data in (x, np.asfortranarray(x), x[::1].copy(order="F")[:, ::1]):
        data.setflags(write=False)
        net = formula(SMALL)
        net.fit(data, t, epochs=1, batch_size=16, verbose=0)
        results.append(net.parameters["W1"])
    assert all(np.array_equal(results[0], r) for r in results[1:])


@pytest.mark.filterwarnings("ignore:after epoch 1 the loss")
@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_divergence_names_epoch_step_and_equation_and_keeps_good_weights(engine):
    net = formula(EXAMPLES / "least_squares.formula")
    x = np.linspace(-3, 3, 40)[:, None]
    with pytest.raises(Diverged) as caught:
        net.fit(x, 2 * x[:, 0], epochs=100, batch_size=4, learning_rate=5.0, verbose=0, engine=engine)
    error = caught.value
    assert "smaller learning rate (learning_rate=0.5, say; it was 5)" in str(error)
    assert error.epoch >= 1
    assert 1 <= error.step <= 10
    assert "=" in error.equation or "<-" in error.equation
    assert all(np.isfinite(a).all() for a in net.parameters.values())


@pytest.mark.filterwarnings("ignore:after epoch 1 the loss")
def test_both_engines_diverge_at_the_same_step():
    found = []
    for engine in ("native", "interpreter"):
        net = formula(EXAMPLES / "least_squares.formula", dtype="float64")
        x = np.linspace(-3, 3, 40)[:, None]
        with pytest.raises(Diverged) as caught:
            net.fit(x, 2 * x[:, 0], epochs=300, batch_size=4, learning_rate=5.0, verbose=0, engine=engine)
        found.append((caught.value.epoch, caught.value.step, caught.value.equation))
    assert found[0] == found[1]


def test_a_nan_that_a_formula_makes_is_found_in_its_equation():
    net = formula("input x\ntarget t\nparameter c = 1\na = c*x\nq = log(a)\nE = (q - t)**2\noutput q", dtype="float64")
    with pytest.raises(Diverged) as caught:
        net.fit([1.0, 2.0, -1.0], [0.0, 1.0, 1.0], batch_size=1, shuffle=False, verbose=0)
    assert caught.value.step == 3
    assert caught.value.equation.startswith("q =")


def test_ctrl_c_ends_after_the_step_and_keeps_the_weights():
    x, t = blobs(4000, 200)
    net = formula(SMALL.replace("33", "400"))
    before = formula(SMALL.replace("33", "400"), sizes={"i": 200, "k": 3}).parameters["W1"]
    with ctrl_c_in_training():
        handler = signal.getsignal(signal.SIGINT)
        history = net.fit(x, t, epochs=100_000, batch_size=32, verbose=0)
        assert signal.getsignal(signal.SIGINT) is handler
    assert history.interrupted
    assert not np.array_equal(net.parameters["W1"], before)


def test_history_and_its_file(tmp_path):
    x, t = blobs()
    net = formula(SMALL)
    history = net.fit(x, t, epochs=3, batch_size=32, optimizer="adam", validation_data=(x[:50], t[:50]), verbose=0)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"}
    assert history.history["loss"][-1] < history.history["loss"][0]
    history.save(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]


def test_a_callback_can_end_the_training():
    x, t = blobs(40)
    history = formula(SMALL).fit(x, t, epochs=50, verbose=0, callbacks=[lambda epoch, logs: epoch < 2])
    assert history.epoch == [0, 1, 2]


def test_full_batch_and_single_sample_descent_are_batch_sizes():
    x = np.array([[1.0], [2.0], [3.0]])
    t = np.array([2.0, 4.0, 7.0])
    for batch_size, updates in ((None, [(0, 1, 2)]), (1, [(0,), (1,), (2,)])):
        net = formula(EXAMPLES / "least_squares.formula", dtype="float64")
        net.fit(x, t, batch_size=batch_size, learning_rate=0.05, shuffle=False, verbose=0)
        w, b = np.zeros(1), 0.0
        for rows in updates:
            error = x[list(rows)] @ w + b - t[list(rows)]
            w, b = w - 0.05 * x[list(rows)].T @ error / len(rows), b - 0.05 * error.mean()
        assert net.parameters["w"] == pytest.approx(w)
        assert net.parameters["b"] == pytest.approx(b)


def test_two_trainings_at_once_in_one_process():
    x, t = blobs(400)
    alone = formula(SMALL)
    alone.fit(x, t, epochs=5, verbose=0, threads=2)
    nets = [formula(SMALL) for _ in range(3)]
    team = [threading.Thread(target=n.fit, args=(x, t), kwargs={"epochs": 5, "verbose": 0, "threads": 2}) for n in nets]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert all(np.array_equal(n.parameters["W1"], alone.parameters["W1"]) for n in nets)


def test_a_signal_that_is_not_python_s_is_left_alone(monkeypatch):
    """getsignal says None where a program that Python runs in handles it; signal() could not put that back."""
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: pytest.fail("its handler is gone"))
    with Watcher():
        pass
