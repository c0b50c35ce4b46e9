"""Compiled steps and threads: the same bits on any number of them, several trainings at once, and Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest

from chainrule.errors import Diverged
from chainrule.kernels import native, products
from chainrule.kernels.host import tile_shape
from chainrule.kernels.threads import run_team
from chainrule.training.loop import Plan
from chainrule.training.network import formula
from chainrule.training.rates import Rates as _Rates
from chainrule.training.runner import make_runner
from chainrule.training.watch import Silent
from tests.interrupt import ctrl_c_in_training
from tests.kernels.networks import Case, case, thinned

BIG = {"i": 70, "j": 53, "k": 19, "l": 30, "c": 5, "d": 6}
NAMES = ["two layers", "deep", "three indices", "tied", "skip", "two losses", "statistics", "mixed rows", "no loss"]


def weights(
    drawn: Case, threads: int, dtype: str = "float32", profile: bool = False, batch: int = 50
) -> dict[str, np.ndarray]:
    net = drawn.network(dtype)
    plan = Plan(batch_size=batch, threads=threads, profile=profile)
    arrays = net.bind((drawn.data,), {}, ("input", "target", "label"))
    program, _ = net.training_program(None, net.metrics(arrays))
    runner = make_runner(net, program, arrays, plan)
    rows = len(next(iter(arrays.values())))
    steps = -(-rows // batch)
    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(rows)
        runner.epoch(order, batch, _Rates(net, program, plan, steps).table(0, steps), Silent())
    return runner.state()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_on_any_number_of_threads(name):
    drawn = case(name, BIG | ({"i": 9} if name == "three indices" else {}), 120)
    first = weights(drawn, 1)
    assert all(np.isfinite(a).all() for a in first.values())
    for threads in (2, 3, 5, 2, 2):
        assert_same_bits(weights(drawn, threads), first)


@pytest.mark.parametrize("name", ["two layers", "tied", "statistics"])
def test_the_same_bits_from_lists(name):
    drawn = thinned(case(name, BIG | {"i": 900}, 120), 0.1)
    first = weights(drawn, 1)
    for threads in (2, 3, 5):
        assert_same_bits(weights(drawn, threads), first)


def test_the_same_bits_in_parts(monkeypatch):
    """Sums over 600 and 300 terms, in three parts and two; columns of two blocks."""
    drawn = case("two layers", {"i": 600, "j": 300, "k": 260}, 240)
    whole = weights(drawn, 2, batch=240)
    monkeypatch.setattr(products, "SMALL_WEIGHTS", 0)
    for threads in (1, 2):
        assert_same_bits(weights(drawn, threads, batch=240), whole)


@pytest.mark.parametrize("name", ["two layers", "statistics"])
def test_the_same_bits_with_clocks(name):
    drawn = case(name, BIG, 120)
    first = weights(drawn, 1)
    for threads in (1, 3):
        assert_same_bits(weights(drawn, threads, profile=True), first)


def assert_same_bits(found: dict, wanted: dict) -> None:
    for name, value in wanted.items():
        assert found[name].tobytes() == value.tobytes(), name


# several at once


def test_two_trainings_at_once_in_threads_of_the_caller():
    drawn = [case(name, BIG, 400) for name in ("two layers", "deep", "two layers")]

    def train(case: Case) -> dict[str, np.ndarray]:
        net = case.network("float32")
        net.fit(case.data, epochs=4, batch_size=50, threads=2, verbose=0)
        return dict(net.kept)

    alone = [train(d) for d in drawn]
    found: dict[int, dict] = {}
    team = [threading.Thread(target=lambda n=n: found.update({n: train(drawn[n])})) for n in range(3)]
    for member in team:
        member.start()
    for member in team:
        member.join(60)
    for n, wanted in enumerate(alone):
        assert_same_bits(found[n], wanted)


CHILD = """
import hashlib, sys
from tests.interrupt import ctrl_c_in_training
from tests.kernels.networks import case
drawn = case("deep", {"i": 70, "j": 53, "k": 19, "l": 30}, 400)
net = drawn.network("float32")
net.fit(drawn.data, epochs=4, batch_size=50, threads=2, verbose=0)
print(hashlib.sha256(b"".join(a.tobytes() for a in net.kept.values())).hexdigest())
"""


def test_two_trainings_at_once_in_processes():
    command = [sys.executable, "-c", CHILD]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) for _ in range(2)]
    answers = [process.communicate(timeout=120)[0] for process in running]
    assert answers[0] == answers[1] != b""


# stopping


@pytest.mark.parametrize(("name", "rows"), [("deep", 20_000), ("no loss", 20_000), ("deep", 100), ("no loss", 100)])
def test_ctrl_c_ends_after_the_step(name, rows):
    """Also where there is no loss to look at, and where an epoch is shorter than the pauses between two looks."""
    drawn = case(name, {"i": 100}, rows)
    net = drawn.network("float32")
    before = net.parameters

    with ctrl_c_in_training():
        history = net.fit(drawn.data, batch_size=1, epochs=100_000, verbose=0, threads=2)
    assert history.interrupted
    assert all(np.isfinite(a).all() for a in net.parameters.values())
    assert any((net.parameters[n] != a).any() for n, a in before.items())


def test_a_stop_between_any_two_steps_is_followed_by_all(monkeypatch):
    """Without a loss a step has one barrier only, so one thread may decide to stop while another ends the step before.

    That other one once left at its earlier step, and the first waited for it for ever.
    """
    monkeypatch.setattr(native, "run_team", partial(run_team, interval=0.0005))
    drawn = case("no loss", {"i": 100}, 20_000)
    net = drawn.network("float32")
    plan = Plan(batch_size=1, threads=2)
    arrays = net.bind((drawn.data,), {}, ("input", "target", "label"))
    program, _ = net.training_program(None, net.metrics(arrays))
    runner = make_runner(net, program, arrays, plan)
    table = _Rates(net, program, plan, 20_000).table(0, 20_000)
    watcher = Silent()
    watcher.stop = True
    for _ in range(500):
        report = runner.epoch(np.arange(20_000), 1, table, watcher)
        assert report.samples == report.steps <= 20_000


def test_the_last_good_weights_where_a_matrix_is_one_panel_wide():
    """What an epoch began with is kept apart from the memory that it works in, whatever the sizes."""
    panel = tile_shape("float32").panel
    text = """
input x[i]
target t[k]
parameter W[i, j], V[j, k] = uniform(-0.2, 0.2)
h[j] = sum[i](x[i]*W[i, j])
y[k] = sum[j](h[j]*V[j, k])
E = sum[k]((y[k] - t[k])**2)
""".strip()
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(60, panel)), "t": rng.normal(size=(60, panel))}
    data["x"][41:44] *= 1e30  # the sixth batch of 8 loses the loss
    kept = []
    for engine in ("native", "interpreter"):
        net = formula(text, sizes=dict.fromkeys("ijk", panel), seed=1)
        with pytest.raises(Diverged):
            net.fit(data, batch_size=8, shuffle=False, verbose=0, engine=engine, learning_rate=0.01, advice=False)
        kept.append(net.parameters)
    for name, wanted in kept[1].items():
        np.testing.assert_allclose(kept[0][name], wanted, rtol=1e-3, atol=1e-5)


def test_a_state_of_a_runner_is_a_copy():
    panel = tile_shape("float32").panel
    drawn = case("deep", {"i": panel, "j": panel, "k": panel, "l": panel}, 30)
    net = drawn.network("float32")
    arrays = net.bind((drawn.data,), {}, ("input", "target", "label"))
    plan = Plan()
    program, _ = net.training_program()
    runner = make_runner(net, program, arrays, plan)
    for array in runner.state().values():
        assert not any(np.shares_memory(array, memory) for memory in runner.memory.values())
