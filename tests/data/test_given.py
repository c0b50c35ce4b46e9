"""fit, predict and evaluate take files and tables: the weights are those of the same numbers as arrays."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chainrule.data.frames import as_frame, matrix
from chainrule.errors import ChainruleWarning, DataError, FileError
from chainrule.training.network import Network, formula, load

LINE = """
input x[i]
target t
parameter w[i], b = zeros
y = sum[i](w[i]*x[i]) + b
E = 1/2*(y - t)**2
"""
TWO = """
input a, b
target t
parameter u, v = zeros
y = u*a + v*b
E = 1/2*(y - t)**2
"""
CLASSES = """
input x[i]
label c in q
size q = 2
parameter W[i, q], d[q] = zeros
p[q] = softmax[q](sum[i](x[i]*W[i, q]) + d[q])
E = -sum[q]([q == c]*log(p[q]))
"""
SHARES = """
input x[i]
target t[k]
size k = 2
parameter W[i, k] = zeros
p[k] = softmax[k](sum[i](x[i]*W[i, k]))
E = -sum[k](t[k]*log(p[k]))
"""
RANDOM = np.random.default_rng(0)
A, B = RANDOM.normal(size=(2, 40))
T = 2 * A - B + 1
X = np.column_stack([A, B])
FRAME = pd.DataFrame({"a": A, "b": B, "t": T})


def to_arrow(value):
    return pa.Table.from_pandas(value, preserve_index=False) if isinstance(value, pd.DataFrame) else pa.array(value)


def to_batch(value):
    return (
        pa.RecordBatch.from_pandas(value, preserve_index=False) if isinstance(value, pd.DataFrame) else pa.array(value)
    )


LIBRARIES = {"pandas": lambda v: v, "polars": pl.from_pandas, "arrow": to_arrow, "batch": to_batch}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")


def trained(text: str, *data, **options) -> Network:
    net = formula(text)
    net.fit(*data, epochs=3, batch_size=8, learning_rate=0.1, verbose=0, engine="interpreter", advice=False, **options)
    return net


def same(text: str, reference: Network, *data, **options) -> Network:
    net = trained(text, *data, **options)
    for name, array in reference.parameters.items():
        assert np.array_equal(net.parameters[name], array), name
    return net


@pytest.fixture(scope="module")
def line() -> Network:
    return trained(LINE, X, T)


# tables


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_table_trains_like_its_arrays(library, line):
    as_table = LIBRARIES[library]
    same(LINE, line, as_table(FRAME))
    same(LINE, line, as_table(FRAME[["a", "b"]]), as_table(FRAME["t"]))
    same(LINE, line, as_table(FRAME[["a", "b"]]), as_table(FRAME[["t"]]))
    same(LINE, line, as_table(FRAME[["a", "b"]]), T)
    same(LINE, line, x=as_table(FRAME[["a", "b"]]), t=as_table(FRAME["t"]))
    same(LINE, line, {"x": as_table(FRAME[["a", "b"]])}, as_table(FRAME["t"]))
    same(LINE, line, as_table(FRAME), as_table(FRAME["t"]))  # the table's own t is no input then
    same(LINE, line, as_table(FRAME), validation_data=as_table(FRAME), sample_weight=as_table(FRAME["t"] * 0 + 1))


@pytest.mark.parametrize("library", LIBRARIES)
def test_inputs_by_their_columns_names(library):
    reference = trained(TWO, A, B, T)
    as_table = LIBRARIES[library]
    net = same(TWO, reference, as_table(FRAME[["t", "b", "a"]]))
    same(TWO, reference, as_table(FRAME[["b", "a"]]), as_table(FRAME["t"]))
    assert np.array_equal(net.predict(as_table(FRAME[["b", "a"]])), reference.predict(A, B))


@pytest.mark.parametrize("library", LIBRARIES)
def test_predict_evaluate_loss_and_gradients(library, line):
    table = LIBRARIES[library](FRAME)
    net = trained(LINE, table)
    assert np.array_equal(net.predict(table), line.predict(X))  # the target among the columns is not looked at
    assert net.loss(table) == line.loss(X, T)
    assert net.evaluate(table) == line.evaluate(X, T)
    assert np.array_equal(net.gradients(table)["w"], line.gradients(X, T)["w"])


def test_later_tables_are_read_by_the_names_of_the_training(tmp_path):
    net = trained(LINE, FRAME)
    turned = FRAME[["b", "a"]].assign(more=1.0)
    assert np.array_equal(net.predict(turned), net.predict(X))
    net.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert np.array_equal(again.predict(pl.from_pandas(turned)), net.predict(X))
    with pytest.raises(DataError, match=r"no column b .*trained on the columns a, b"):
        again.predict(FRAME[["a"]])
    assert np.array_equal(again.predict(X), net.predict(X))


def test_one_row_of_a_table_is_one_sample(line):
    assert np.array_equal(line.predict(FRAME[["a", "b"]].iloc[3]), line.predict(X[3]))
    one = formula(LINE)
    one.fit(pl.Series(A), T, verbose=0, engine="interpreter", advice=False)
    assert one.sizes["i"] == 1


def test_kinds_of_columns_that_are_plainly_numbers():
    from decimal import Decimal

    columns = {
        "bytes": np.arange(40, dtype=np.uint8),
        "yes": A > 0,
        "price": [Decimal(f"{v:.2f}") for v in A],
        "whole": np.arange(40),
    }
    wanted = np.column_stack([np.asarray(v, dtype=np.float64) for v in columns.values()]) / 40
    reference = trained(LINE, wanted * 40, T * 0)
    for table in (pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns)):
        same(LINE, reference, table, T * 0)
    bytes_only = formula(LINE).bind([pl.DataFrame({"p": columns["bytes"], "q": columns["bytes"]})], {}, ("input",))
    assert bytes_only["x"].dtype == np.uint8  # pixels stay bytes


def test_a_column_of_lists_is_a_vector(line):
    rows = X.tolist()
    for table in (
        pd.DataFrame({"x": rows, "t": T}),
        pl.DataFrame({"x": rows, "t": T}),
        pl.DataFrame({"x": rows, "t": T}, schema_overrides={"x": pl.Array(pl.Float64, 2)}),
        pa.table({"x": rows, "t": T}),
        pa.table({"x": pa.array(rows, pa.list_(pa.float64(), 2)), "t": T}),
    ):
        same(LINE, line, table)


def test_classes_from_a_column():
    numbers = (A > 0).astype(int)
    reference = trained(CLASSES, X, numbers)
    frame = FRAME[["a", "b"]].assign(c=numbers)
    same(CLASSES, reference, frame)
    same(CLASSES, reference, frame.assign(c=frame["c"].astype(float)))
    shares = trained(SHARES, X, numbers)
    same(SHARES, shares, FRAME[["a", "b"]].assign(t=numbers))
    same(SHARES, shares, FRAME[["a", "b"]], pd.DataFrame({"no": 1 - numbers, "yes": numbers}))


def test_columns_that_hold_no_numbers_are_left_out_with_a_word(line):
    frame = FRAME.assign(name="Ada", day=pd.Timestamp("2024-03-31"))
    for table in (frame, pl.from_pandas(frame), to_arrow(frame)):
        with pytest.warns(ChainruleWarning, match="left out .name: .*day: "):
            same(LINE, line, table)


def test_a_constant_column_is_told():
    with pytest.warns(ChainruleWarning, match=r"same in all rows say nothing \(same\)"):
        trained(LINE, FRAME.assign(same=1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(LINE, np.column_stack([X, np.ones(40)]), T)  # an array's user knows


def test_a_class_that_occurs_once_is_told_where_rows_are_split():
    numbers = np.zeros(40, dtype=int)
    numbers[::2], numbers[16] = 1, 0
    text = CLASSES.replace("size q = 2", "size q = 3")
    numbers[16] = 2
    with pytest.warns(ChainruleWarning, match="c: class 2 occurs once, in row 17"):
        trained(text, X, numbers, validation_split=0.2)
    with pytest.warns(ChainruleWarning, match="class 2 occurs once"):
        trained(text, X, numbers, class_weight={2: 5.0})
    trained(text, X, numbers)


# files


def test_files_train_like_their_arrays(line):
    np.save("x.npy", X)
    np.save("t.npy", T)
    np.savez("both.npz", x=X, t=T, note=np.zeros(3))
    np.savez_compressed("packed.npz", data=X, y=T)
    FRAME.to_csv("d.csv", index=False)
    FRAME.to_csv("d.tsv", index=False, sep="\t")
    FRAME.to_csv("d.csv.gz", index=False)
    pq.write_table(to_arrow(FRAME), "d.parquet")
    same(LINE, line, "x.npy", "t.npy")
    same(LINE, line, Path("x.npy"), T)
    same(LINE, line, x="x.npy", t="t.npy")
    same(LINE, line, {"x": "both.npz", "t": "t.npy"})
    for name in ("both.npz", "packed.npz", "d.csv", "d.tsv", "d.csv.gz", "d.parquet"):
        net = same(LINE, line, name, validation_data=name)
        assert np.array_equal(net.predict(name), line.predict(X))
        same(LINE, line, x=name, t="t.npy") if name.startswith("both") else None
    same(LINE, line, "d.csv", "t.npy")


def test_npy_and_npz_files_are_mapped():
    np.save("x.npy", X)
    np.savez("x.npz", x=X)
    for name in ("x.npy", "x.npz"):
        bound = formula(LINE).bind([name], {}, ("input",))["x"]
        assert isinstance(bound, np.memmap)
        assert np.array_equal(bound, X)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_idx_files(suffix):
    from tests.data.test_readers import gzip, idx_bytes, lzma

    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    pixels = RANDOM.integers(0, 255, (40, 2, 2), dtype=np.uint8)
    numbers = (A > 0).astype(np.uint8)
    Path(f"images-idx3{suffix}").write_bytes(pack(idx_bytes(pixels)))
    Path(f"labels-idx1{suffix}").write_bytes(pack(idx_bytes(numbers)))
    reference = trained(CLASSES, pixels, numbers)
    same(CLASSES, reference, f"images-idx3{suffix}", f"labels-idx1{suffix}")


def test_a_csv_without_names_and_with_decimal_commas(line):
    Path("n.csv").write_text("".join(f"{a!r},{b!r}\n" for a, b in X.tolist()))
    same(LINE, line, "n.csv", T)
    Path("k.csv").write_text(
        "a;b;t\n" + "".join(f"{a:.4f};{b:.4f};{t:.4f}\n" for a, b, t in FRAME.to_numpy()).replace(".", ",")
    )
    same(LINE, trained(LINE, X.round(4), T.round(4)), "k.csv")


# what is refused


REFUSED = {
    "absent.csv": (FileError, "there is no file absent.csv"),
    "folder": (FileError, "folder is a folder: a folder of images.*chainrule.stream"),
    "words": (FileError, "words is taken as the path of a file, and its kind is unknown: what is read is .npy"),
    "model.safetensors": (FileError, "is a model file.*chainrule.load"),
    "a\0b.npy": (FileError, "cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_paths_that_are_none(name):
    Path("folder").mkdir()
    kind, said = REFUSED[name]
    with pytest.raises(kind, match=said) as caught:
        trained(LINE, name)
    assert "\n" not in str(caught.value)


def test_tables_that_do_not_fit():
    numbers = FRAME[["a", "b"]]
    for data, said in (
        ((numbers,), "the pandas table has no column t .it has: a, b."),
        ((pl.from_pandas(numbers),), "the polars table has no column t"),
        ((FRAME[["t"]].assign(s="u"),), "no columns of numbers for x .it has: t, s."),
        ((FRAME.assign(s="u")[["a", "s"]], T), "column s holds texts"),
        ((numbers, pd.Series(["u"] * 40, name="s")), "column s holds texts .*t wants class numbers 0, 1, 2"),
        ((pl.from_pandas(FRAME).lazy(),), "LazyFrame is a plan, not a table"),
        ((pl.DataFrame({"x": [[1, 2], [3]], "t": [1, 2]}),), "row 2, column x: 1 numbers came where 2 are wanted"),
        ((pl.DataFrame({"a": [b"u"] * 2}), [1, 2]), "column a holds values of the kind Binary"),
        ((pl.DataFrame({"x": [{"q": 1}]}), [1]), "column x holds values of the kind Struct"),
        ((pd.DataFrame({"a": [1, "2", 3]}), [1, 2, 3]), "row 2, column a: '2' is not a finite number"),
        ((pd.DataFrame([[1, 2]], columns=["a", "a"]), [1]), "the name a on several columns .1, 2."),
        ((pa.table([[1], [2]], names=["a", "a"]), [1]), "the Arrow table has the name a on several"),
        ((FRAME.iloc[:0],), "x is empty"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            trained(LINE, *data)
        assert "\n" not in str(caught.value)


def test_archives_that_do_not_fit():
    np.savez("other.npz", p=X, q=T)
    np.save("x.npy", X)
    with pytest.raises(DataError, match=r"other\.npz holds the arrays p, q, and something is wanted for x, t"):
        trained(LINE, "other.npz")
    with pytest.raises(DataError, match=r"x\.npy holds one table of numbers, which fills x"):
        trained(LINE, "x.npy")
    with pytest.raises(DataError, match="holds the arrays p, q, and none of them is x"):
        trained(LINE, x="other.npz", t=T)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_columns_of_true_and_false_in_files_are_numbers(tmp_path, kind):
    """As they are in a table in memory, and to chainrule.stream."""
    frame = FRAME.assign(a=FRAME["a"] > 0)
    path = tmp_path / f"flags.{kind}"
    frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
    networks = [formula(LINE), formula(LINE)]
    for network, data in zip(networks, [frame, path], strict=True):
        network.fit(data, epochs=2, verbose=0)
    np.testing.assert_array_equal(networks[0].parameters["w"], networks[1].parameters["w"])
    assert networks[1].notes["columns"] == {"x": ["a", "b"]}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_gap_among_true_and_false(tmp_path, kind):
    frame = FRAME.assign(a=(FRAME["a"] > 0).astype(object))
    frame.loc[2, "a"] = None
    path = tmp_path / f"flags.{kind}"
    frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
    with pytest.raises(DataError, match="row 3, column a: there is no value"):
        formula(LINE).fit(path, verbose=0)


def test_tables_are_read_row_after_row():
    """As arrays are: sums over columns that lie one after the other are rounded in another order."""
    found = as_frame(FRAME)
    assert matrix(found.source, found.columns).flags.c_contiguous
