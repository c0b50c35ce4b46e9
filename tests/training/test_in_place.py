"""A source whose arrays are gathered from where they lie: the same bits, the same errors, and nothing copied."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import chainrule
from chainrule.data.sources import arrays as module
from chainrule.errors import DataError
from chainrule.training import feed

FORMULAS = """
input     x[i]
label     y in k
size      j = 8, k = 3
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k]       = zeros
h[j] = tanh(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E    = -log(sum[k]([k == y]*p[k]))
"""
ROWS = 1003


@pytest.fixture
def files(tmp_path):
    drawn = np.random.default_rng(0)
    x = drawn.normal(size=(ROWS, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", x[:, :3].argmax(axis=1))
    return tmp_path / "x.npy", tmp_path / "y.npy"


def trained(*data, engine="native", **options):
    network = chainrule.formula(FORMULAS)
    options = {"epochs": 3, "batch_size": 10, "optimizer": "adam", "seed": 5} | options
    history = network.fit(*data, verbose=0, engine=engine, **options)
    return {n: a.tobytes() for n, a in network.parameters.items()}, history.history["loss"]


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_the_weights_are_those_of_a_training_in_memory(files, monkeypatch, engine):
    monkeypatch.setattr(feed, "PLACES", 128)  # so that an epoch is nine pieces
    in_memory = trained(*map(np.load, files), engine=engine)
    assert trained(chainrule.stream(files), engine=engine) == in_memory
    monkeypatch.setattr(module, "IN_PLACE", ())
    assert trained(chainrule.stream(files), engine=engine) == in_memory


@pytest.mark.parametrize("shuffle", [True, False])
def test_nothing_is_gathered_by_the_source(files, monkeypatch, shuffle):
    source = chainrule.stream(files)
    expected = trained(*map(np.load, files), shuffle=shuffle)
    reads = []
    taken = module.Rows.take
    monkeypatch.setattr(module.Rows, "take", lambda rows, places: reads.append(places) or taken(rows, places))
    assert trained(source, shuffle=shuffle) == expected
    assert len(reads) == 1  # some rows, looked at before the first step; three epochs read none


@pytest.mark.parametrize("dtype", [np.int16, np.float16, ">f4", bool])
def test_other_dtypes_are_read_and_converted(files, dtype):
    x, y = map(np.load, files)
    x = (x * 3).astype(dtype)
    np.save(files[0], x)
    assert trained(chainrule.stream(files)) == trained(x, y)


def test_inputs_of_mostly_zeros_are_walked(files):
    x = np.zeros((ROWS, 300), np.float32)
    y = np.load(files[1])
    x[np.arange(ROWS), y] = 1
    np.save(files[0], x)
    assert trained(chainrule.stream(files)) == trained(x, y)


def test_targets_that_become_rows_of_ones(files):
    text = FORMULAS.replace("label     y in k", "target    y[k]").replace("[k == y]", "y[k]")
    x, y = map(np.load, files)

    def own(*data):
        network = chainrule.formula(text)
        network.fit(*data, epochs=2, batch_size=10, verbose=0)
        return {n: a.tobytes() for n, a in network.parameters.items()}

    assert own(chainrule.stream(files)) == own(x, y)


def test_a_label_out_of_range_is_told_wherever_it_stands(files, monkeypatch):
    monkeypatch.setattr(feed, "HEAD_ROWS", 100)
    monkeypatch.setattr(feed, "PLACES", 64)
    y = np.load(files[1])
    y[ROWS - 1] = 3
    np.save(files[1], y)
    with pytest.raises(DataError, match=f"y has 3 in row {ROWS - 1}"):
        trained(chainrule.stream(files, memory="2MB"))


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_number_that_is_not_finite_is_told_before_the_first_step(files, bad, monkeypatch):
    x = np.load(files[0])
    x[ROWS - 1, 4] = bad
    np.save(files[0], x)
    monkeypatch.setattr(feed, "HEAD_ROWS", 10)
    steps = []
    with pytest.raises(DataError, match=rf"x\.npy.*\[{ROWS - 1}, 4\]"):
        trained(chainrule.stream(files), callbacks=[lambda epoch, logs: steps.append(epoch)])
    assert steps == []


@pytest.mark.parametrize("kind", ["npy", "blocks", "parquet"])
@pytest.mark.parametrize("text", ["label     y in k", "target    y[k]"])
def test_classes_are_counted_in_all_rows(files, tmp_path, monkeypatch, kind, text):
    """A file is often sorted by its classes: the rows that are looked at first have one of them."""
    monkeypatch.setattr(feed, "HEAD_ROWS", 5)
    x, y = map(np.load, files)
    y = np.sort(y)
    y[:5] = 0
    np.save(files[1], y)
    pq.write_table(pa.table({**{f"x{k}": x[:, k] for k in range(6)}, "y": y}), tmp_path / "a.parquet", 100)
    source = {
        "npy": lambda: chainrule.stream(files),
        "blocks": lambda: chainrule.stream(files, shuffle="blocks"),
        "parquet": lambda: chainrule.stream(tmp_path / "a.parquet", target="y"),
    }[kind]()
    formulas = FORMULAS.replace("j = 8, k = 3", "j = 8").replace("label     y in k", text)
    network = chainrule.formula(formulas.replace("[k == y]", "y[k]") if "target" in text else formulas)
    network.fit(source, epochs=1, verbose=0)
    assert network.sizes["k"] == 3


def test_a_wrong_label_beyond_the_budget_is_told_with_its_row_too():
    x, y = np.zeros((40_000, 6), np.float32), np.zeros(40_000)
    y[39_321] = 9
    with pytest.raises(DataError, match="39321") as error:
        trained(chainrule.stream({"x": x, "y": y}, memory=2**20), engine="interpreter", epochs=1, batch_size=1000)
    assert "row 0" not in str(error.value)
    assert isinstance(pickle.loads(pickle.dumps(error.value)), DataError)
