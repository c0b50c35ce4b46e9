"""Compiled steps on inputs that are mostly zeros: lists of non-zeros, dense tiles and the interpreter agree.

Sizes are arguments of a compiled step, so one compilation serves all of a network's sizes and batches.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from chainrule.kernels import lists, native
from chainrule.training.loop import Plan
from chainrule.training.network import formula
from chainrule.training.rates import Rates as _Rates
from chainrule.training.runner import make_runner
from chainrule.training.watch import Silent
from tests.kernels.networks import Case, case, thinned
from tests.random_systems import draw, together

SPARSE, DENSE = 1.1, 0.0


def run(
    drawn: Case, dtype: str, density: float | None, shared: bool = False, **options: object
) -> tuple[dict, native.NativeRunner | None]:
    """(weights and states, runner) after some epochs; `density` None is the interpreter."""
    net = drawn.network(dtype)
    runners = []
    with pytest.MonkeyPatch.context() as patch:

        class Watched(native.NativeRunner):
            def __init__(self, *arguments, **named):
                super().__init__(*arguments, **named)
                runners.append(self)

        patch.setattr(native, "NativeRunner", Watched)
        if density is not None:
            patch.setattr(native, "SPARSE_DENSITY", density)
        patch.setattr(lists, "SHARED", 1.1 if shared else 0)
        net.fit(drawn.data, verbose=0, advice=False, engine="interpreter" if density is None else "native", **options)
    return dict(net.kept), runners[0] if runners else None


def check(drawn: Case, dtype: str = "float64", walked: bool = True, **options: object) -> None:
    options = {"epochs": 1, "batch_size": 16} | options
    sparse, runner = run(drawn, dtype, SPARSE, **options)
    dense, plain = run(drawn, dtype, DENSE, **options)
    slow, _ = run(drawn, dtype, None, **options)
    assert bool(runner.module.sparse) == walked
    assert not plain.module.sparse
    start = drawn.network(dtype).parameters
    for name, wanted in slow.items():
        change = np.abs(wanted - start.get(name, 0)).max() + 1e-3 * np.abs(wanted).max() + 1e-6
        tolerance = (1e-8 if dtype == "float64" else 5e-4) * change
        assert np.abs(sparse[name] - dense[name]).max() <= tolerance, name
        assert np.abs(sparse[name] - wanted).max() <= tolerance, name


def columns_that_never_occur(drawn: Case) -> Case:
    data = dict(drawn.data)
    name = next(iter(data))
    data[name] = data[name].copy()
    data[name][:, ::3] = 0
    data[name][5] = 0  # a row of nothing
    data[name][30:46] = 0  # more than a batch of nothing
    return Case(drawn.text, drawn.sizes, data)


SIZES = [(32, 1), (33, 7), (100, 16), (195, 17), (196, 48), (197, 50), (784, 100), (1000, 33)]
BATCHES = [1, 2, 5, 6, 7, 64, 65, None]


@pytest.mark.parametrize(
    "optimizer",
    ["gradient_descent", "rmsprop", *(pytest.param(rule, marks=pytest.mark.soak) for rule in ("adam", "momentum"))],
)
def test_update_rules(optimizer):
    """Descent leaves out the weights of columns that do not occur in a batch, RMSprop all but v; the others nothing."""
    for n, (width, hidden) in enumerate(SIZES[::2]):
        drawn = case("two layers", {"i": width, "j": hidden, "k": 10}, 70)
        drawn = columns_that_never_occur(thinned(drawn, 0.15, seed=n))
        check(drawn, optimizer=optimizer, learning_rate=0.01, batch_size=16 if n % 2 else 32, shuffle=False)


# Each compiles, in 3 s. What is left are both sides of a block, a narrow one and the digits.
@pytest.mark.parametrize(
    ("width", "hidden"),
    [pytest.param(*s, marks=[] if s[0] in (33, 196, 197, 784) else pytest.mark.soak) for s in SIZES],
)
def test_widths_and_batches(width, hidden):
    """Batches of one row to all of them, the last one smaller, on 70 rows."""
    for n, batch in enumerate(BATCHES):
        drawn = thinned(case("two layers", {"i": width, "j": hidden, "k": 3}, 70), 0.05 + 0.05 * (n % 6), seed=n)
        check(drawn, batch_size=batch, learning_rate=0.02)


# Columns of an odd number, a block and one more; a rule that leaves out what has no gradient, and one that does not.
@pytest.mark.parametrize(
    ("width", "hidden", "optimizer", "source"),
    [
        (33, 7, "gradient_descent", "float64"),
        (196, 100, "adam", "uint8"),
        (197, 33, "gradient_descent", "uint8"),
        (785, 48, "rmsprop", "float32"),
    ],
)
def test_lists_that_two_columns_share_give_the_same_bits(width, hidden, optimizer, source):
    drawn = columns_that_never_occur(thinned(case("two layers", {"i": width, "j": hidden, "k": 3}, 70), 0.3))
    data = drawn.data | {"p": (drawn.data["p"] * 100).astype(source)}
    drawn = Case(drawn.text, drawn.sizes, data)
    for dtype, batch in (("float32", 16), ("float64", 7)):
        options = {"batch_size": batch, "epochs": 2, "optimizer": optimizer, "learning_rate": 1e-4}
        alone, plain = run(drawn, dtype, SPARSE, **options)
        beside, runner = run(drawn, dtype, SPARSE, shared=True, threads=2, **options)
        assert [walked.shared for walked in runner.module.sparse.values()] == [True]
        assert not any(walked.shared for walked in plain.module.sparse.values())
        assert all(np.array_equal(beside[name], alone[name]) for name in alone)


def test_pixels_share_lists_and_scattered_columns_do_not():
    """Neighbours that are 0 together, as in strokes, are worth it; those that know nothing of each other are not."""
    rng = np.random.default_rng(0)
    scattered = rng.random((500, 101)) * (rng.random((500, 101)) < 0.1)
    strokes = np.repeat(scattered[:, :50], 8, axis=1)
    assert not lists.neighbours_together(scattered)
    assert lists.neighbours_together(strokes)
    assert lists.neighbours_together(strokes[:, 1:])


@pytest.mark.parametrize("width", [32, 33, 196, 197, 785])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_shared_entries_hold_every_non_zero(width, dtype):
    rng = np.random.default_rng(width)
    array = (rng.integers(1, 200, (40, width)) * (rng.random((40, width)) < 0.4)).astype(dtype)
    array[7] = 0
    made = lists.compress(array, "float32", threads=2, shared=True)
    found = np.zeros((40, made.blocks, width + 1), dtype)
    for place in range(40 * made.blocks):
        row, block = divmod(place, made.blocks)
        for e in range(made.starts[place], made.starts[place + 1]):
            assert made.values[2 * e] != 0 or made.values[2 * e + 1] != 0
            assert 2 * made.places[e] // made.block == block
            found[row, block, [2 * made.places[e], 2 * made.places[e] + 1]] = made.values[2 * e : 2 * e + 2]
    assert np.array_equal(found.sum(axis=1)[:, :width], array)
    assert not found[:, :, width].any()
    assert made.stored == np.count_nonzero(array)
    assert made.longest >= np.count_nonzero(array, axis=1).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
def test_sources(source, dtype):
    drawn = columns_that_never_occur(thinned(case("two layers", {"i": 100, "j": 17, "k": 10}, 70), 0.2))
    data = drawn.data | {"p": drawn.data["p"].astype(source)}
    check(Case(drawn.text, drawn.sizes, data), dtype, learning_rate=0.05)


def test_weights_without_a_gradient_still_decay():
    drawn = thinned(case("two layers", {"i": 64, "j": 9, "k": 3}, 40), 0.1)
    drawn.data["p"][:, 7] = 0
    decay = "w <- w - eta*(g + 0.1*w)\neta = 0.1"
    check(drawn, optimizer=decay, batch_size=8)
    before = drawn.network("float64").parameters["W1"][7]
    after, _ = run(drawn, "float64", SPARSE, optimizer=decay, batch_size=8)
    np.testing.assert_allclose(after["W1"][7], before * 0.99**5, rtol=1e-12)


@pytest.mark.parametrize("rule", ["rmsprop", "adagrad"])
def test_a_rule_that_makes_something_of_nothing(rule):
    """Without an ε these divide 0 by 0 where there never was a gradient: no weight is left out then."""
    drawn = columns_that_never_occur(thinned(case("two layers", {"i": 64, "j": 9, "k": 3}, 40), 0.2))
    options = {"optimizer": rule, "batch_size": 40, "hyper": {"epsilon": 0.0}}
    walked, runner = run(drawn, "float64", SPARSE, **options)
    slow, _ = run(drawn, "float64", None, **options)
    assert runner.module.sparse
    assert np.isnan(slow["W1"][::3]).all()
    np.testing.assert_allclose(walked["W1"], slow["W1"], rtol=1e-9)


IMAGES = """
input x[r, c]
input u[m]
target t[k]
parameter W[r, c, j], V[j, k] = uniform(-0.2, 0.2)
parameter U[m, j] = uniform(-0.2, 0.2)
z[r, c] = x[r, c]*(x[r, c]/2 - 1)**2
h[j] = tanh(sum[r, c](z[r, c]*W[r, c, j]) + sum[m](u[m]*U[m, j]))
y[k] = sum[j](h[j]*V[j, k])
E = sum[k]((y[k] - t[k])**2)
""".strip()


def test_images_and_several_inputs():
    """x[r, c] is one row of numbers; of two inputs each is walked or not; a formula of x alone keeps its zeros."""
    rng = np.random.default_rng(0)
    drawn = Case(
        IMAGES,
        {"r": 7, "c": 9, "m": 40, "j": 6, "k": 2},
        {
            "x": np.where(rng.random((30, 7, 9)) < 0.2, rng.normal(size=(30, 7, 9)), 0),
            "u": rng.normal(size=(30, 40)),
            "t": rng.normal(size=(30, 2)),
        },
    )
    _, runner = run(drawn, "float64", 0.5, batch_size=8, learning_rate=0.02)
    assert list(runner.module.sparse) == ["z"]
    check(drawn, batch_size=8, learning_rate=0.02)


READ_OTHERWISE = """
input x[i]
target t
parameter w[i] = uniform(-0.2, 0.2)
parameter W[i, j], v[j] = uniform(-0.2, 0.2)
h[j] = tanh(sum[i](x[i]*W[i, j]))
y = sum[j](h[j]*v[j]) + x[0]
E = (y - t)**2
""".strip()


def test_an_input_that_is_read_in_another_way_stays_dense():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((30, 50)) < 0.2, rng.normal(size=(30, 50)), 0)
    text = READ_OTHERWISE.replace("parameter w[i] = uniform(-0.2, 0.2)\n", "")
    drawn = Case(text, {"i": 50, "j": 6}, {"x": x, "t": rng.normal(size=30)})
    check(drawn, walked=False, learning_rate=0.02)


def test_two_sparse_inputs_in_one_product():
    """One is walked, the other in panels; which one may not depend on the order of a set."""
    drawn = thinned(case("covariance", {"i": 40, "j": 33, "k": 2}, 40), 0.1)
    check(drawn, batch_size=8, learning_rate=0.1)
    code = """
from chainrule.kernels.source import write_module
from tests.kernels.networks import case
net = case("covariance", {}, 3).network("float64")
program, _ = net.training_program()
print(write_module(program, {t.name: "float64" for t in program.inputs}, frozenset("xz")).text)
"""
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_nothing_at_all():
    """All rows are zeros: there is no list, and the weights behind the input keep still."""
    drawn = thinned(case("deep", {"i": 40, "j": 5, "k": 2}, 20), 0.0)
    check(drawn, learning_rate=0.1)
    after, _ = run(drawn, "float64", SPARSE, learning_rate=0.1)
    np.testing.assert_array_equal(after["W1"], drawn.network("float64").parameters["W1"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_zero(bad):
    """The epoch stops at the step whose batch has it, whichever way the input is walked."""
    drawn = thinned(case("deep", {"i": 40, "j": 5, "k": 2}, 40), 0.1)
    for density in (SPARSE, DENSE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "SPARSE_DENSITY", density)
            net = drawn.network("float64")
            arrays = net.bind((drawn.data,), {}, ("input", "target", "label"))
            arrays["x"] = arrays["x"].copy()
            arrays["x"][:, 39] = 1  # walking skips 0·NaN: who reads the broken weight finds it
            arrays["x"][19, 39] = bad
            plan = Plan(batch_size=8, optimizer="rmsprop")
            program, _ = net.training_program("rmsprop")
            runner = make_runner(net, program, arrays, plan)
            assert bool(runner.module.sparse) == (density == SPARSE)
            table = _Rates(net, program, plan, 5).table(0, 5)
            report = runner.epoch(np.arange(40), 8, table, Silent())
        # tanh(±∞) is a number: then the update of step 2 breaks the weights, and step 3 loses the loss.
        assert report.failed_step == (2 if np.isnan(bad) else 3)


@pytest.mark.parametrize("group", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 2))])
def test_random_systems(group):
    random_sparse(700 + group)


@pytest.mark.soak
@pytest.mark.parametrize("group", range(200))
def test_more_random_systems(group):
    random_sparse(70_000 + group)


def random_sparse(seed: int) -> None:
    """Wide inputs with few numbers; only some of these systems can walk them, all must be right."""
    rng = np.random.default_rng(seed)
    drawn = together([draw(rng, 0, 30), draw(rng, 1, 30)])
    data, sizes = dict(drawn.data), dict(drawn.sizes)
    for n in (0, 1):
        sizes[f"i_{n}"] = int(rng.choice([32, 33, 70, 400]))
        shape = (30, sizes[f"i_{n}"])
        data[f"x_{n}"] = np.where(rng.random(shape) < 0.1, rng.normal(size=shape), 0)
    sparse = Case(drawn.text, sizes, data)
    runner = run(sparse, "float64", SPARSE, batch_size=8)[1]
    check(sparse, walked=bool(runner.module.sparse), batch_size=8, learning_rate=0.01)


def test_a_net_that_was_trained_sparse_predicts_dense_rows():
    drawn = thinned(case("two layers", {"i": 100, "j": 17, "k": 3}, 40), 0.1)
    net = formula(drawn.text, sizes=drawn.sizes)
    net.fit(drawn.data, verbose=0)
    full = np.full((3, 100), 200, np.uint8)
    first = net.predict(full)
    for rows in (full, drawn.data["p"][:3], full):
        for _ in range(20):
            out = net.predict(rows)
    np.testing.assert_allclose(out, first, rtol=1e-5)
