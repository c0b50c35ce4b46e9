"""Rows of tables by class numbers: the compiled step against the interpreter, NumPy and itself on other threads."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.kernels.native import NativeRunner
from chainrule.kernels.source import write_module
from chainrule.program.lookups import rows_of
from chainrule.training.network import Network, formula
from chainrule.training.runner import EpochReport
from tests.kernels.simulation import simulate
from tests.kernels.test_native import assert_same

ROWS = 41  # with batches of 12: 12, 12, 12 and 5
SIZES = {"v": 70, "u": 5, "l": 3, "d": 7, "k": 4, "j": 6}

# Two tables and one that is read twice, a bag of words, a word in each place before a dense layer, a table with rows
# of one number, a table for each place, padding that is left out, a dot product of two rows.
TABLES = """
input c in v, b in v, g in u
input s[l] in v
input x[j]
label y in k
parameter T[v, d] = uniform(-1, 1)
parameter P[l, u, d], G[u, d] = uniform(-1, 1)
parameter r[v] = uniform(-1, 1)
parameter W[l, d, k], U[d, k], X[j, k] = glorot_uniform
e[d] = sum[v]([v == c]*T[v, d]) + sum[v]([b == v]*T[v, d])/2 + sum[u]([u == g]*G[u, d])
m[d] = sum[l, v]([v == s[l]]*[v != 0]*T[v, d])
q[l, d] = tanh(sum[v]([v == s[l]]*T[v, d]) + sum[u]([u == g]*P[l, u, d]))
f = sum[v, d]([v == c]*T[v, d]*m[d]) + sum[v]([v == c]*r[v])
a[k] = sum[l, d](q[l, d]*W[l, d, k]) + sum[d](tanh(e[d] + m[d])*U[d, k]) + sum[j](x[j]*X[j, k]) + f*U[0, k]
p[k] = softmax[k](a[k])
E = -sum[k]([k == y]*log(p[k]))
"""

# The table is the matrix of the output too: its gradient is a product and rows that are added to.
TIED = """
input c in v
label y in v
parameter T[v, d] = uniform(-1, 1)
parameter A[d, h] = glorot_uniform
size h = 5
e[d] = sum[v]([v == c]*T[v, d])
z[d] = tanh(sum[h](A[d, h]*sum[v, i]([v == c]*T[v, i]*A[i, h])))
p[v] = softmax[v](sum[d]((z[d] + e[d])*T[v, d]))
E = -sum[v]([v == y]*log(p[v]))
size i = 7
"""


def data(text: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Class numbers that repeat, some of them never."""
    rng = np.random.default_rng(seed)
    net = formula(text, sizes=SIZES)
    drawn = {}
    for tensor in net.system.of_role("input", "label"):
        shape = (ROWS, *(SIZES[i] for i in tensor.indices[1:]))
        if tensor.classes is None:
            drawn[tensor.name] = rng.normal(size=shape)
        else:
            drawn[tensor.name] = np.minimum(rng.geometric(0.1, shape) - 1, SIZES[tensor.classes] - 1)
    return drawn


def trained(text: str, dtype: str, **options: object) -> tuple[Network, dict[str, np.ndarray]]:
    net = formula(text, dtype=dtype, sizes=SIZES, seed=3)
    start = net.parameters
    options = {"epochs": 2, "shuffle": False, **options}
    net.fit(data(text), batch_size=12, verbose=0, **options)
    return net, start


CASES = [(TABLES, "sgd", "float64"), (TABLES, "adam", "float32"), (TIED, "adam", "float64"), (TIED, "sgd", "float32")]


@pytest.mark.parametrize(("text", "rule", "dtype"), CASES, ids=[f"{rule}-{dtype}" for _, rule, dtype in CASES])
def test_both_engines_train_alike(text, rule, dtype):
    rate = {"sgd": 0.3, "adam": 0.01}[rule]
    native, start = trained(text, dtype, optimizer=rule, learning_rate=rate)
    slow, _ = trained(text, dtype, optimizer=rule, learning_rate=rate, engine="interpreter")
    assert_same(native, slow, start, {"float64": 1e-9, "float32": 5e-4}[dtype])


@pytest.mark.parametrize(("rule", "dtype"), [("sgd", "float64"), ("adam", "float32")])
def test_any_number_of_threads_gives_the_same_bits(rule, dtype):
    """Each row has one owner and one order. Of batches of 12 some threads have no rows."""
    kept = [trained(TABLES, dtype, optimizer=rule, learning_rate=0.05, threads=n)[0].parameters for n in (1, 2, 3)]
    for other in kept[1:]:
        assert all(np.array_equal(kept[0][n], other[n]) for n in other)


@pytest.mark.parametrize("text", [TABLES, TIED], ids=["tables", "tied"])
def test_the_derived_gradient_is_right(text):
    net = formula(text, dtype="float64", sizes=SIZES, seed=1)
    assert net.check_gradients(data(text), entries=12).ok


def test_a_step_of_plain_descent_by_hand():
    """T <- T - eta · mean of the samples' deltas by row, by np.add.at; rows that are not used keep their bits."""
    text = """
    input c[l] in v
    target t[d]
    parameter T[v, d] = uniform(-1, 1)
    e[d] = sum[l, v]([v == c[l]]*T[v, d])
    E = 1/2*sum[d]((e[d] - t[d])**2)
    """
    rng = np.random.default_rng(2)
    c, t = rng.integers(0, 40, (ROWS, 3)), rng.normal(size=(ROWS, 5))
    net = formula(text, dtype="float64", sizes={"v": 100, "d": 5, "l": 3})
    table = net.parameters["T"]
    delta = table[c].sum(axis=1) - t
    gradient = np.zeros_like(table)
    np.add.at(gradient, c.reshape(-1), np.repeat(delta, 3, axis=0) / ROWS)
    assert np.allclose(net.gradients(c, t)["T"], gradient, rtol=1e-12, atol=1e-14)
    net.fit(c, t, epochs=1, batch_size=None, learning_rate=0.5, verbose=0)
    assert np.allclose(net.parameters["T"], table - 0.5 * gradient, rtol=1e-12, atol=1e-14)
    assert np.array_equal(net.parameters["T"][40:], table[40:])


def test_no_one_hot_matrix_exists():
    """No tensor of the program has a number for each sample and class, and no loop runs over both."""
    for text in (TABLES, TIED.replace("softmax[v](", "(").replace("log(p[v])", "p[v]")):
        net = formula(text, sizes=SIZES)
        net.bind((data(text),), {}, ("input", "label"))
        program, _ = net.training_program("adam")
        module = write_module(program, {t.name: "int64" for t in program.inputs})
        kinds = {f.kind for f in module.functions if rows_of(f.group.head, program)}
        assert kinds == {"rows"}
        if text is TABLES:
            assert not [t for t in program.computed if {"n", "v"} <= set(t.indices)]
            assert not [
                f for f in module.functions if "for n_ in" in f.text and "for v_ in" in f.text and f.kind != "rows"
            ]


def test_class_numbers_beyond_float32():
    """float32 has no 2**24 + 1: class numbers stay whole numbers in the compiled step."""
    size = 2**24 + 3
    net = formula(
        "input c in v\ntarget t\nparameter T[v] = zeros\ny = sum[v]([v == c]*T[v])\nE = 1/2*(y - t)**2",
        sizes={"v": size},
    )
    c = np.array([2**24, 2**24 + 1, 2**24 + 2])
    net.fit(c, [1.0, 2.0, 3.0], epochs=1, batch_size=1, learning_rate=1.0, shuffle=False, verbose=0)
    assert net.parameters["T"][c].tolist() == [1.0, 2.0, 3.0]


def test_predictions_of_the_compiled_step():
    given = data(TABLES)
    net = formula(TABLES, dtype="float64", sizes=SIZES, seed=5)
    inputs = {n: a for n, a in given.items() if n != "y"}
    slow = net.predict(inputs)
    for _ in range(20):  # the sixteenth is compiled
        fast = net.predict(inputs)
    assert net._prediction.predictor is not None
    assert np.allclose(fast, slow, rtol=1e-12)
    with pytest.raises(ValueError, match=r"c has 70 at \[3\]"):
        net.predict({**inputs, "c": np.where(np.arange(ROWS) == 3, 70, 0)})


class Silent:
    def step_ends(self, *_: object) -> bool:
        return False


def test_every_step_finds_the_lists_empty():
    """What a step links it unlinks: after steps of another batch size a run gives the bits that it gives alone."""
    text = "input c in v\ntarget t\nparameter T[v] = zeros\ny = sum[v]([v == c]*T[v])\nE = 1/2*(y - t)**2"
    net = formula(text, dtype="float64", sizes={"v": 20})
    rng = np.random.default_rng(4)
    program, _ = net.training_program("adam")
    arrays = net.bind((rng.integers(0, 20, 30), rng.normal(size=30)), {}, ("input", "target"))
    start = {k.name: np.zeros(20) for k in program.kept}
    runner = NativeRunner(program, arrays, start, {"v": 20}, "float64", 1, EpochReport)
    hyper = net.hyper_values(program, {"eta": 0.1, "step": 1.0, "steps": 5.0})
    ends = []
    for batch in (10, 7, 10):
        runner.restore(start)
        runner.epoch(np.arange(30), batch, {n: np.full(-(-30 // batch), v) for n, v in hyper.items()}, Silent())
        ends.append(runner.state()["T"])
    assert np.array_equal(ends[0], ends[2])
    assert not np.array_equal(ends[0], ends[1])


@pytest.mark.parametrize(("text", "rule", "threads"), [(TABLES, "sgd", 2), (TIED, "adam", 3)])
def test_no_race_and_no_index_outside(text, rule, threads):
    """The generated text, run by Python with every access looked at."""
    net = formula(text, dtype="float64", sizes=SIZES, seed=3)
    runner = simulate(net, data(text), batch_size=12, threads=threads, optimizer=rule, learning_rate=0.01)
    wanted, _ = trained(text, "float64", optimizer=rule, learning_rate=0.01, engine="interpreter", epochs=1)
    state = runner.state()
    assert all(np.allclose(state[n], a, rtol=1e-8, atol=1e-10) for n, a in wanted.parameters.items())
