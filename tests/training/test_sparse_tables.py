"""Sparse tables as inputs: all comes out as of the dense array, to the bit where the zeros of that are skipped."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from chainrule.data.sparse import as_sparse
from chainrule.errors import DataError
from chainrule.training.network import Network, formula
from tests.kernels.simulation import simulate

ROWS, WIDTH = 90, 900

TWO_LAYERS = """
input x[i]
target t[k]
parameter W[i, j], V[j, k] = glorot_uniform
parameter b[j] = zeros
size j = 20, k = 3
h[j] = tanh(sum[i](x[i]*W[i, j]) + b[j])
y[k] = sum[j](h[j]*V[j, k])
E = sum[k]((y[k] - t[k])**2)
"""
# x is read by more than products, so that its zeros count, and no list of the others will do.
NOT_WALKED = TWO_LAYERS.replace("sum[i](x[i]*W[i, j])", "sum[i](exp(-x[i])*W[i, j])")
# One result for each row, one for each column: no matrix product.
LINEAR = """
input x[i]
target t[k]
parameter w[i] = uniform(-0.1, 0.1)
parameter b = zeros
y[k] = sigmoid(sum[i](x[i]*w[i]/2) + b)
E = sum[k]((y[k] - t[k])**2)
"""
SCALED = TWO_LAYERS.replace("input x[i]", "input q[i]").replace("h[j] =", "x[i] = q[i]/4\nh[j] =")
IMAGES = TWO_LAYERS.replace("x[i]", "x[r, c]").replace("sum[i]", "sum[r, c]").replace("W[i, j]", "W[r, c, j]")


def dense_table(dtype: str) -> np.ndarray:
    """3 % non-zeros, a row and a column without any, one row that is full."""
    rng = np.random.default_rng(0)
    table = (rng.random((ROWS, WIDTH)) < 0.03) * rng.integers(1, 5, (ROWS, WIDTH))
    table[5], table[:, 7], table[11] = 0, 0, 3
    table[11, 7] = 0
    return (table * (0.37 if np.dtype(dtype).kind == "f" else 1)).astype(dtype)


def target() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(ROWS, 3))


def trained(text: str, x: object, dtype: str = "float32", **options: object) -> Network:
    net = formula(text, dtype=dtype, sizes={"r": 30, "c": 30} if "[r, c]" in text else None, seed=2)
    net.fit(x, target(), epochs=2, batch_size=16, verbose=0, learning_rate=0.01, **options)
    return net


def same_bits(first: Network, second: Network) -> bool:
    return all(np.array_equal(a, second.parameters[n]) for n, a in first.parameters.items())


@pytest.mark.parametrize(
    ("text", "values", "dtype", "rule"),
    [
        (TWO_LAYERS, "float32", "float32", "sgd"),
        (TWO_LAYERS, "int64", "float64", "adam"),
        (SCALED, "uint8", "float32", "rmsprop"),
        (NOT_WALKED, "float64", "float32", "sgd"),
        (IMAGES, "float32", "float64", "sgd"),
    ],
)
def test_training_gives_the_bits_of_the_dense_array(text, values, dtype, rule):
    x = dense_table(values)
    as_floats = x.astype("float64") if values == "int64" else x  # of whole numbers, bytes alone have walked zeros
    wanted = trained(text, as_floats, dtype, optimizer=rule, sparse=True, threads=1)
    for table, threads in ((sp.csr_array(x), 1), (sp.csc_matrix(x), 2), (sp.csr_matrix(x), 3)):
        assert same_bits(trained(text, table, dtype, optimizer=rule, threads=threads), wanted)


def test_the_interpreter_takes_them_too():
    x = dense_table("float64")
    slow = trained(TWO_LAYERS, sp.csr_array(x), "float64", engine="interpreter")
    assert same_bits(slow, trained(TWO_LAYERS, x, "float64", engine="interpreter"))
    fast = trained(TWO_LAYERS, sp.csr_array(x), "float64").parameters
    assert all(np.allclose(fast[n], a, rtol=1e-9, atol=1e-12) for n, a in slow.parameters.items())


@pytest.mark.parametrize("text", [TWO_LAYERS, LINEAR, NOT_WALKED], ids=["walked", "linear", "not walked"])
def test_no_race_and_no_index_outside(text):
    """The generated text, run by Python with every access looked at: three threads share three blocks of columns."""
    x = as_sparse("x", sp.csr_array(dense_table("float64")[:14]))
    text = text.replace("size j = 20", "size j = 2")
    data = {"x": x, "t": target()[:14]}
    net = formula(text, dtype="float64", seed=2)
    runner = simulate(net, data, batch_size=8, threads=3, learning_rate=0.01)
    slow = formula(text, dtype="float64", seed=2)
    slow.fit(data, batch_size=8, shuffle=False, learning_rate=0.01, verbose=0, engine="interpreter")
    state = runner.state()
    assert all(np.allclose(state[n], a, rtol=1e-9, atol=1e-12) for n, a in slow.parameters.items())
    assert bool(runner.module.sparse) == ("exp(" not in text)


@pytest.mark.parametrize("rule", ["sgd", "rmsprop", "adam"])
def test_linear_models_walk_their_rows_and_columns(rule):
    x = dense_table("float64")
    slow = trained(LINEAR, x, "float64", optimizer=rule, engine="interpreter").parameters
    fast = [trained(LINEAR, sp.csr_array(x), "float64", optimizer=rule, threads=n) for n in (1, 2)]
    assert same_bits(*fast)
    assert all(np.allclose(fast[0].parameters[n], a, rtol=1e-9, atol=1e-12) for n, a in slow.items())


def test_unsorted_rows_with_duplicates():
    x = dense_table("float64")
    rows, columns = np.nonzero(x)
    order = np.random.default_rng(3).permutation(2 * len(rows)) % len(rows)
    coo = sp.coo_array((x[rows, columns][order] / 2, (rows[order], columns[order])), shape=x.shape)
    assert same_bits(trained(TWO_LAYERS, coo, "float64"), trained(TWO_LAYERS, x, "float64", sparse=True))


@pytest.mark.parametrize(
    "text", [TWO_LAYERS, LINEAR, NOT_WALKED, IMAGES], ids=["walked", "linear", "not walked", "images"]
)
def test_all_that_a_network_computes(text):
    x, t = dense_table("float32"), target()
    table = sp.csr_array(x)
    net = trained(text, table, "float64")
    assert np.allclose(net.predict(table), net.predict(x), rtol=1e-12)
    assert np.isclose(net.evaluate(table, t)["loss"], net.evaluate(x, t)["loss"], rtol=1e-12)
    gradients = net.gradients(x, t)
    assert all(np.array_equal(a, gradients[n]) for n, a in net.gradients(table, t).items())
    for _ in range(16):  # until predictions are compiled
        net.predict(table[:2])
    assert net._prediction.predictor is not None
    for part in (slice(0, 1), slice(10, 12), slice(0, ROWS)):  # without the full row, and with it
        assert np.allclose(net.predict(table[part]), net.predict(x[part]), rtol=1e-12)
    many = sp.vstack([table] * 9)
    assert np.allclose(net.predict(many), np.tile(net.predict(x), (9, 1)), rtol=1e-12)


def test_validation_and_weights_of_samples():
    x, t = dense_table("float32"), target()
    logs = []
    for table in (x, sp.csr_array(x)):
        net = formula(TWO_LAYERS, dtype="float64", seed=2)
        options = {"validation_split": 0.25, "sample_weight": np.arange(ROWS) % 3}
        logs.append(net.fit(table, t, epochs=2, verbose=0, sparse=True, **options).history)
    assert np.allclose(logs[0]["val_loss"], logs[1]["val_loss"], rtol=1e-12)
    assert logs[0]["loss"] == logs[1]["loss"]


def test_facts_are_checked_of_sparse_tables():
    net = formula("input x[i], sum[i](x[i]) = 1\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])")
    net.predict(sp.csr_array(np.eye(4)))
    with pytest.raises(DataError, match="row 2"):
        net.predict(sp.csr_array(np.diag([1.0, 1, 3, 1])))


def test_what_does_not_fit():
    net = trained(TWO_LAYERS, sp.csr_array(dense_table("float32")))
    with pytest.raises(DataError, match=r"x .*\(90, 899\).*900"):
        net.predict(sp.csr_array(dense_table("float32")[:, 1:]))
    with pytest.raises(DataError, match="different numbers of samples"):
        net.fit(sp.csr_array(dense_table("float32")[:50]), target(), verbose=0)


def test_a_target_may_be_sparse():
    """Several labels a sample: made dense, as the loss looks at all of them."""
    x, t = dense_table("float32"), (target() > 0.5).astype(np.float32)
    nets = [formula(TWO_LAYERS, seed=2) for _ in range(2)]
    for net, asked in zip(nets, (t, sp.csr_array(t)), strict=True):
        net.fit(x, asked, epochs=1, verbose=0, engine="interpreter")
    assert same_bits(*nets)


def test_a_wide_table_is_never_dense():
    """200,000 × 50,000 are 40 GB of float32; the table is 11 MB, and the step needs what its rows have."""
    rows, width, of_a_row = 200_000, 50_000, 5
    rng = np.random.default_rng(0)
    places = np.sort(rng.integers(0, width, (rows, of_a_row), dtype=np.int32), axis=1).reshape(-1)
    values = np.ones(rows * of_a_row, np.float32)
    table = sp.csr_matrix((values, places, np.arange(0, rows * of_a_row + 1, of_a_row)), shape=(rows, width))
    truth = (places.reshape(rows, -1) < width // 2).mean(axis=1) > 0.5
    net = formula("""
    input x[i]
    target t
    parameter w[i, j] = normal(0, 0.01)
    parameter v[j] = ones
    size j = 4
    h[j] = sum[i](w[i, j]*x[i])
    p = sigmoid(sum[j](v[j]*h[j]))
    E = -(t*log(p) + (1 - t)*log(1 - p))
    """)
    tracemalloc.start()
    try:
        history = net.fit(table, truth, epochs=2, batch_size=1000, learning_rate=40.0, threads=1, verbose=0)
        reached = net.evaluate(table[:20_000], truth[:20_000])
        shares = net.predict(table) > 0.5
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert history.history["loss"][1] < 0.5 < history.history["loss"][0] + 0.2
    assert (shares == truth).mean() > 0.9
    assert reached["accuracy"] > 0.9
    assert peak < 400e6


def test_a_table_of_keys_is_a_table():
    """SciPy's dok_array is a dict, and no arrays by name."""
    x = sp.random(20, 30, 0.1, format="dok", rng=0)
    networks = [formula(TWO_LAYERS), formula(TWO_LAYERS)]
    for network, data in zip(networks, [x, x.tocsr()], strict=True):
        network.fit(data, np.eye(3)[np.arange(20) % 3], epochs=1, verbose=0, advice=False)
    np.testing.assert_array_equal(networks[0].predict(x), networks[1].predict(x.tocsr()))
