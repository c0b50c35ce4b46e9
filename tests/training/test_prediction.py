"""Compiled predictions and evaluations against the interpreter's: networks, rows, kinds of arrays, threads."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import DataError
from chainrule.kernels import predictor
from chainrule.program.interpret import run
from chainrule.training import prediction
from chainrule.training.network import Network, formula, load
from tests.kernels.networks import TEXTS, case, thinned
from tests.random_systems import draw

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = [1, 2, 63, 127, 128, 383, 384, 385, 1000]
TANH = """
input x[i]
parameter W[i, j], V[j, k] = glorot_uniform
slope = 0.5
h[j] = tanh(sum[i](x[i]*W[i, j]))
y[k] = slope*sum[j](h[j]*V[j, k])
output y
""".strip()


@pytest.fixture
def at_once(monkeypatch):
    """Every prediction is compiled, the first included."""
    monkeypatch.setattr(prediction, "SMALL_PREDICTIONS", 0)


def interpreted(net: Network, data: dict) -> np.ndarray:
    arrays = net.bind((data,), {}, ("input",))
    program = net._prediction.program
    sizes = {**net.sizes, net.system.samples: len(next(iter(arrays.values())))}
    cast = {n: a if a.dtype.kind == "i" else a.astype(net.dtype) for n, a in arrays.items()}
    return run(program, {**cast, **net.kept}, sizes, net.hyper_values(program, {}))[net.system.output]


def assert_predicts(net: Network, data: dict, compiled: bool = True) -> None:
    tolerance = 2e-4 if net.dtype == "float32" else 1e-10
    for _ in range(2):  # the second is the quick way, where there is one input
        found = net.predict(data) if len(data) > 1 else net.predict(next(iter(data.values())))
        wanted = interpreted(net, data)
        assert found.shape == wanted.shape
        assert found.dtype == np.dtype(net.dtype)
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max(initial=1e-30))
    assert (net._prediction.predictor is not None) == compiled


def network(**sizes: int) -> Network:
    return formula(TANH, sizes={"i": 40, "j": 33, "k": 3} | sizes, seed=2)


@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.formula")))
def test_examples(at_once, name):
    net = formula(EXAMPLES / f"{name}.formula", sizes=None)
    if net.system.output is None:
        pytest.skip("no output")
    rng = np.random.default_rng(0)
    known = {"i": 9, "j": 6, "k": 4} | net.sizes
    inputs = net.system.of_role("input")
    net = formula(
        EXAMPLES / f"{name}.formula",
        sizes={i: known[i] for t in net.system.tensors.values() for i in t.indices if i in known},
    )
    for rows in (1, 130):
        data = {t.name: rng.normal(size=[rows, *(known[i] for i in t.indices if i != "n")]) for t in inputs}
        assert_predicts(net, data)


@pytest.mark.parametrize("name", [n for n in TEXTS if n not in ("whole batch", "running mean")])
def test_networks(at_once, name):
    """What looks at several samples, or has no row for each, is left to the interpreter."""
    drawn = case(name, {"i": 37, "j": 19, "c": 3}, 130)
    net = formula(drawn.text, sizes=drawn.sizes, dtype="float64")
    if net.system.output is None:
        return
    inputs = {t.name for t in net.system.of_role("input")}
    together = name == "statistics" or not net.system.is_sampled(net.system.output)
    assert_predicts(net, {n: a for n, a in drawn.data.items() if n in inputs}, compiled=not together)


@pytest.mark.parametrize("group", range(4))
def test_random_systems(at_once, group):
    rng = np.random.default_rng(900 + group)
    drawn = draw(rng, 0, 70)
    net = formula(drawn.text + "\noutput p_0", sizes=drawn.sizes, dtype="float64")
    assert_predicts(net, {"x_0": drawn.data["x_0"]})


@pytest.mark.soak
@pytest.mark.parametrize("group", range(200))
def test_more_random_systems(at_once, group):
    rng = np.random.default_rng(90_000 + group)
    drawn = draw(rng, 0, 400)
    net = formula(drawn.text + "\noutput p_0", sizes=drawn.sizes, dtype="float64")
    assert_predicts(net, {"x_0": drawn.data["x_0"]})


@pytest.mark.parametrize("density", [1, 0.1])
@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
def test_rows(at_once, source, density):
    """In every order: a small batch after a large one, and the large one again."""
    drawn = thinned(case("two layers", {"i": 450, "j": 33, "k": 10}, 1000), density)
    net = formula(drawn.text, sizes=drawn.sizes)
    for rows in [*ROWS, *reversed(ROWS)]:
        x = drawn.data["p"][:rows].astype(source)
        assert_predicts(net, {"p": x})
    steps = net._prediction.predictor.steps
    assert {bool(s.module.sparse) for s in steps.values()} == {True, density < 1}  # a single row is always walked


def test_kinds_of_arrays(at_once, tmp_path):
    """Whatever holds the same numbers gives the same prediction, also where the quick way is open."""
    net, rng = network(), np.random.default_rng(0)
    whole = rng.integers(0, 2, (12, 40))
    wanted = interpreted(net, {"x": whole})
    floats = whole.astype(np.float32)
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, whole.shape)
    file[:] = floats
    file.flush()
    frozen = floats.copy()
    frozen.flags.writeable = False
    shifted = np.frombuffer(b"\0" + floats.tobytes(), np.float32, offset=1).reshape(whole.shape)
    wide = np.zeros((12, 80), np.float32)
    wide[:, ::2] = floats
    kinds = {
        "uint8": whole.astype(np.uint8),
        "float32": floats,
        "float64": whole.astype(np.float64),
        "int64": whole,
        "bool": whole.astype(bool),
        "int8": whole.astype(np.int8),
        "uint16": whole.astype(np.uint16),
        "float16": whole.astype(np.float16),
        "lists": whole.tolist(),
        "Fortran's order": np.asfortranarray(floats),
        "columns apart": wide[:, ::2],
        "rows backwards": np.ascontiguousarray(floats[::-1])[::-1],
        "read only": frozen,
        "at an odd byte": shifted,
        "a file": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "a writable file": file,
        "masked": np.ma.masked_array(floats),
        "big-endian double": whole.astype(">f8"),
        "big-endian single": whole.astype(">f4"),
        "big-endian integers": whole.astype(">i4"),
        "little-endian single": whole.astype("<f4"),
    }
    for _ in range(2):
        for name, x in kinds.items():
            np.testing.assert_allclose(net.predict(x), wanted, rtol=1e-4, atol=1e-5, err_msg=name)
            np.testing.assert_allclose(net.predict(x=x), wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_one_sample(at_once):
    """A row alone, and a number alone where an input is a number; first and later."""
    net, row = network(), np.linspace(-1, 1, 40)
    for _ in range(3):
        np.testing.assert_allclose(net.predict(row), interpreted(net, {"x": row[None]}), rtol=1e-5)
    double = formula("input x\nparameter w = 2\ny = w*x\noutput y")
    for _ in range(3):
        for one in (np.array(3.0), np.float32(3), 3.0, [3.0], np.array([3])):
            np.testing.assert_array_equal(double.predict(one), [6])
        np.testing.assert_array_equal(double.predict(np.array([3.0, 4.0])), [6, 8])


SINGLE = {
    "narrow": ("", (5,), "x[i]*W[i, j]", "i"),
    "wide": ("", (40,), "x[i]*W[i, j]", "i"),
    "a picture": ("", (7, 9), "x[r, c]*W[r, c, j]", "r, c"),
    "scaled bytes": ("z[i] = x[i]/255\n", (40,), "z[i]*W[i, j]", "i"),
    "read elsewhere too": ("s = sum[i](x[i]**2)\n", (40,), "x[i]*W[i, j]*s", "i"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SINGLE)
def test_single_rows(at_once, name, dtype):
    """Each in the memory of the one before, which it must not show: dense, sparse, zero, of every dtype and order."""
    lines, shape, term, over = SINGLE[name]
    text = f"input x[{over}]\nparameter W[{over}, j], V[j, k] = glorot_uniform\n{lines}"
    text += f"h[j] = tanh(sum[{over}]({term}))\ny[k] = sum[j](h[j]*V[j, k])\noutput y"
    sizes = dict(zip(over.split(", "), shape, strict=True)) | {"j": 33, "k": 3}
    net, rng = formula(text, sizes=sizes, dtype=dtype, seed=2), np.random.default_rng(0)
    for turn in range(12):
        row = rng.integers(0, 5, (1, *shape)) * (rng.random((1, *shape)) < (1.0, 0.2, 0.0)[turn % 3])
        for kind in ("u1", "f4", "f8", "i8"):
            x = np.asfortranarray(row.astype(kind)) if turn % 2 else row.astype(kind)
            assert_predicts(net, {"x": x})
        net.predict(np.ones((1 + 50 * turn, *shape)))  # memory for more rows, which lies elsewhere
    for _ in range(2):
        net.set_parameters({n: 2 * a for n, a in net.parameters.items()})
        assert_predicts(net, {"x": row.astype("f4")})


def test_a_single_row_is_the_callers_and_must_be_finite(at_once):
    net = network()
    first = net.predict(np.ones((1, 40)))
    kept = first.copy()
    net.predict(np.zeros((1, 40)))[:] = 7
    np.testing.assert_array_equal(first, kept)
    assert not net.predict(np.zeros((1, 40))).any()
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match=r"\[0, 3\]"):
            net.predict(np.where(np.arange(40) == 3, bad, 0.0)[None])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_still_an_error(at_once, bad, dtype):
    net = network()
    x = np.zeros((5, 40), dtype)
    net.predict(x)
    x[3, 7] = bad
    with pytest.raises(DataError, match=r"\[3, 7\]"):
        net.predict(x)


def test_numbers_whose_squares_overflow_are_only_large(at_once):
    net = network()
    for x in (np.full((2, 40), 1e25, np.float32), np.full((2, 40), 1e25)):
        for _ in range(3):
            assert np.isfinite(net.predict(x)).all()


def test_nothing_and_other_shapes_are_still_errors(at_once):
    net = network()
    net.predict(np.zeros((2, 40)))
    for x in (np.zeros((0, 40)), np.zeros((2, 41)), np.zeros((2, 3, 5))):
        with pytest.raises(DataError):
            net.predict(x)


# what changes a prediction


def test_new_weights_are_seen(at_once, tmp_path):
    net, x = network(), np.random.default_rng(0).normal(size=(5, 40))
    assert_predicts(net, {"x": x})
    net.set_parameters(W=net.parameters["W"] * 2)
    assert_predicts(net, {"x": x})
    net.save(tmp_path / "net.safetensors")
    assert_predicts(load(tmp_path / "net.safetensors"), {"x": x})


def test_training_is_seen(at_once):
    drawn = thinned(case("two layers", {"i": 50, "j": 7, "k": 3}, 60), 0.2)
    net = formula(drawn.text, sizes=drawn.sizes)
    x = drawn.data["p"]
    before = net.predict(x)
    seen = []
    net.fit(drawn.data, epochs=3, verbose=0, callbacks=[lambda epoch, logs: seen.append(net.predict(x))])
    for one, other in zip([before, *seen], seen, strict=False):
        assert (one != other).any()
    assert_predicts(net, {"p": x})


def test_other_hyper_parameters_are_seen(at_once):
    net, x = network(), np.random.default_rng(0).normal(size=(500, 40))
    half = net.predict(x)
    net.hyper["slope"] = 1.0
    for _ in range(2):
        np.testing.assert_allclose(net.predict(x), 2 * half, rtol=1e-5)
    np.testing.assert_allclose(net.predict(x[:1]), 2 * half[:1], rtol=1e-5)


def test_copies_and_pickles_predict(at_once):
    net, x = network(), np.random.default_rng(0).normal(size=(5, 40))
    wanted = net.predict(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.predict(x), wanted)
        other.set_parameters(W=np.zeros((40, 33)))
        assert not other.predict(x).any()
    np.testing.assert_array_equal(net.predict(x), wanted)


def test_a_result_is_the_callers(at_once):
    net, x = network(), np.random.default_rng(0).normal(size=(3, 40))
    first = net.predict(x)
    kept = first.copy()
    second = net.predict(-x)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(net.predict(-x), second)


# threads


def test_many_threads_predict_at_once(monkeypatch):
    """They share memory, so they take turns; also the first of them, who compiles, and after new weights."""
    monkeypatch.setattr(prediction, "SMALL_PREDICTIONS", 3)
    net, rng = network(i=300, j=200), np.random.default_rng(0)
    inputs = [rng.normal(size=(rows, 300)).astype("f4") for rows in (1, 1, 5, 130, 384, 1000)]
    wanted = [interpreted(net, {"x": x}) for x in inputs]
    wrong: list[object] = []

    def predict(n: int) -> None:
        try:
            for _ in range(60):
                if not np.allclose(net.predict(inputs[n]), wanted[n], rtol=1e-3, atol=1e-4):
                    wrong.append(n)
        except Exception as error:
            wrong.append(error)

    for _ in range(2):
        team = [threading.Thread(target=predict, args=(n,)) for n in range(len(inputs))]
        for member in team:
            member.start()
        for member in team:
            member.join()
        assert not wrong
        net.set_parameters(net.parameters)


def test_the_same_bits_on_any_number_of_threads(at_once):
    net, x = network(), np.random.default_rng(0).normal(size=(1000, 40)).astype("f4")
    net.predict(x)
    compiled = net._prediction.predictor
    first = compiled({"x": x}, threads=1)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(compiled({"x": x}, threads=threads), first)


# evaluation


@pytest.mark.parametrize("name", [n for n in TEXTS if n not in ("no loss",)])
def test_evaluation(monkeypatch, name):
    """The loss and the accuracy over 900 rows; batch statistics are taken in the interpreter's chunks."""
    drawn = case(name, {}, 900)
    net = formula(drawn.text, sizes=drawn.sizes, dtype="float64")
    wanted = net.evaluate(drawn.data)
    monkeypatch.setattr(prediction, "MUCH_WORK", -1)
    assert net.evaluate(drawn.data) == pytest.approx(wanted, rel=1e-10)


def test_evaluation_is_compiled_where_rows_come_in_any_division(monkeypatch):
    asked = []
    real = predictor.in_parts
    monkeypatch.setattr(predictor, "in_parts", lambda program: asked.append(real(program)) or asked[-1])
    monkeypatch.setattr(prediction, "MUCH_WORK", -1)
    for name, expected in (("two layers", True), ("two losses", True), ("statistics", False), ("covariance", False)):
        drawn = case(name, {}, 50)
        formula(drawn.text, sizes=drawn.sizes).evaluate(drawn.data)
        assert asked == ([True] if expected else []), name
        asked.clear()


def test_rows_that_look_at_each_other_go_through_together():
    """More rows than go through the interpreter at a time: the mean is that of all of them."""
    text = "input x\ntarget t\nparameter w = ones\na = w*x\ny = a - mean[n](a)\nE = 1/2*(y - t)**2"
    x = np.arange(5000.0)
    net = formula(text, dtype="float64")
    np.testing.assert_allclose(net.predict(x), x - x.mean(), atol=1e-9)
    found = net.evaluate(x, np.zeros(5000), metrics=["mean_absolute_error"])
    assert found["loss"] == pytest.approx(np.var(x) / 2)
    assert found["mean_absolute_error"] == pytest.approx(np.abs(x - x.mean()).mean())
    counted = formula(text.replace("mean[n](a)", "size(n)"), dtype="float64")
    np.testing.assert_array_equal(counted.predict(x), x - 5000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_class_numbers_alone_give_is_of_the_networks_dtype(dtype):
    net = formula("size v = 5\ninput a in v, b in v\ny = where(a > b, 1, [a == b]/2)", dtype=dtype)
    for _ in range(20):  # the interpreter first, then the compiled step
        assert net.predict(a=[1, 2, 2], b=[2, 1, 2]).dtype == dtype


def test_how_an_array_lies_in_memory_changes_no_bit():
    x = np.random.default_rng(0).normal(size=(137, 40)).astype(np.float32)
    net = formula("input x[i]\ntarget t\nparameter w[i] = glorot_uniform\ny = sum[i](w[i]*x[i])\nE = (y - t)**2")
    t = np.zeros(137)
    turned = np.asfortranarray(x)
    np.testing.assert_array_equal(net.predict(turned), net.predict(x))
    assert net.evaluate(turned, t) == net.evaluate(x, t)
    np.testing.assert_array_equal(net.gradients(turned, t)["w"], net.gradients(x, t)["w"])
