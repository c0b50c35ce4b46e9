"""What a user may hand to stream, and what a training takes for an iterable of batches."""

from __future__ import annotations

import array

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest
import scipy.sparse

import chainrule
from chainrule.data.sources import as_source
from chainrule.errors import ChainruleError, DataError, FileError, SettingError

ARRAYS_AND_TABLES = {
    "an array": np.zeros((3, 2)),
    "a number of NumPy's": np.float64(3),
    "a list": [[1, 2], [3, 4]],
    "a tuple": ([1], [2]),
    "a range": range(3),
    "a mapping": {"x": [1]},
    "a set": {1, 2},
    "a text": "x.npy",
    "bytes": b"123",
    "a view of bytes": memoryview(b"123"),
    "an array of Python's": array.array("d", [1.0]),
    "None": None,
    "a number": 3.0,
    "a class": list,
    "a frame": pandas.DataFrame({"a": [1]}),
    "a series": pandas.Series([1]),
    "an index": pandas.Index([1]),
    "a polars frame": polars.DataFrame({"a": [1]}),
    "a lazy frame": polars.LazyFrame({"a": [1]}),
    "a polars series": polars.Series([1]),
    "a table": pyarrow.table({"a": [1]}),
    "a chunked array": pyarrow.chunked_array([[1]]),
    "an Arrow array": pyarrow.array([1]),
    "a sparse matrix": scipy.sparse.csr_array(np.eye(3)),
}


@pytest.mark.parametrize("name", ARRAYS_AND_TABLES)
def test_arrays_and_tables_are_no_batches(name):
    assert as_source(ARRAYS_AND_TABLES[name], 2**20) is None


def rows_of(source):
    (block,) = source.blocks(None)
    return block


def test_arrays_by_name_in_the_order_that_is_wanted():
    given = {"t": np.arange(3), "a": np.zeros((3, 2)), "b": np.ones((3, 1))}
    assert list(chainrule.stream(given).fields) == ["t", "a", "b"]
    assert list(chainrule.stream(given, target="t").fields) == ["a", "b", "t"]
    assert list(chainrule.stream(given, target="t", features=["b"]).fields) == ["b", "t"]
    assert list(chainrule.stream(given, features=["b"]).fields) == ["b"]


def test_arrays_and_files_side_by_side(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    block = rows_of(chainrule.stream({"x": str(tmp_path / "x.npy"), "t": np.arange(3)}))
    assert block["x"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert list(rows_of(chainrule.stream([tmp_path / "x.npy", np.arange(3), np.zeros(3)]))) == ["x", "t", "2"]


@pytest.mark.parametrize(
    ("column", "x", "t"), [(-1, [0, 1], 2), (2, [0, 1], 2), (0, [1, 2], 0), (1, [0, 2], 1), (-3, [1, 2], 0)]
)
def test_a_column_of_an_array_is_the_target(tmp_path, column, x, t):
    rows = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "a.npy", rows)
    for where in (tmp_path / "a.npy", rows):
        block = rows_of(chainrule.stream(where, target=column))
        np.testing.assert_array_equal(block["x"], rows[:, x])
        np.testing.assert_array_equal(block["t"], rows[:, t])


def test_an_archive_of_one_array_is_as_the_array(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(12.0).reshape(4, 3))
    assert rows_of(chainrule.stream(tmp_path / "a.npz", target=-1))["t"].tolist() == [2, 5, 8, 11]


@pytest.mark.parametrize("target", [3, -4, "y", 1.0, True, ["a"]])
def test_a_column_that_there_is_not(target):
    with pytest.raises(SettingError, match="number of one of its columns"):
        chainrule.stream(np.zeros((4, 3)), target=target)


def test_an_array_without_columns_has_no_target():
    for shape in ((4,), (4, 1), (4, 2, 2)):
        with pytest.raises(SettingError, match="number of one of its columns"):
            chainrule.stream(np.zeros(shape), target=0)


def files(folder):
    np.savez(folder / "a.npz", a=np.zeros(3), b=np.zeros(3))
    (folder / "a.csv").write_text("a,b\n1,2\n")
    (folder / "a.xyz").write_text("?")
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize(
    ("where", "options", "raises", "told"),
    [
        ("a.csv", {}, FileError, "Parquet"),
        ("a.xyz", {}, FileError, "unknown format"),
        ("none.csv", {}, FileError, "no file"),
        ("none.npy", {}, FileError, "no file"),
        ("none.parquet", {}, FileError, "no file"),
        ("empty", {}, DataError, "no folders with images"),
        ("a.npz", {"target": "z"}, DataError, "no array z (there are: a, b)"),
        ("a.npz", {"target": 0}, SettingError, "not 0"),
        ("a.npz", {"image_size": (3, 3)}, SettingError, "image_size"),
        ("a.npz", {"memory": "a lot"}, SettingError, "memory"),
        ("a.npz", {"shuffle": "no"}, SettingError, "'blocks'"),
        ("empty", {"target": "y"}, SettingError, "target"),
    ],
)
def test_wrong_paths_and_options(tmp_path, where, options, raises, told):
    with pytest.raises(raises) as error:
        chainrule.stream(files(tmp_path) / where, **options)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "where",
    [None, 3, [], (), {"x": [1, 2]}, {"x": None}, pandas.DataFrame({"a": [1]}), [np.zeros(3), "a.csv"], {1, 2}, list],
)
def test_what_is_no_stream(where):
    with pytest.raises(ChainruleError) as error:
        chainrule.stream(where)
    assert "\n" not in str(error.value)


def test_an_archive_where_one_array_is_wanted(tmp_path):
    files(tmp_path)
    with pytest.raises(DataError, match="several arrays"):
        chainrule.stream((tmp_path / "a.npz", np.zeros(3)))


def test_it_says_what_it_is():
    source = chainrule.stream((np.zeros((5, 3), np.float32), np.arange(5)))
    assert repr(source) == "<MappedSource data: 5 rows of x float32[3], t int64[]>"
    assert repr(chainrule.stream(lambda: [np.zeros((5, 3))])).endswith("? rows of x float64[3]>")


def test_a_list_of_batches():
    x, t = np.arange(12.0).reshape(6, 2), np.arange(6)
    source = chainrule.stream([(x[:4], t[:4]), (x[4:], t[4:])])
    assert [len(block["x"]) for block in source.blocks(None)] == [4, 2]
    assert source.cannot_replay() is None


@pytest.mark.parametrize("made", [lambda x: (x, np.arange(3)), lambda x: [(x, np.arange(3))]])
def test_masked_numbers_are_none(made):
    x = np.ma.array(np.ones((3, 2)), mask=[[0, 0], [0, 1], [0, 0]])
    with pytest.raises(DataError, match=r"x has a masked number at \[1, 1\]"):
        chainrule.stream(made(x))


def test_a_feature_may_be_a_name_alone(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1.0, 2], "b": [3.0, 4], "t": [5.0, 6]}), path)
    source = chainrule.stream(path, target="t", features="b")
    assert source.head(2)["x"].tolist() == [[3.0], [4.0]]
    arrays = {"a": np.arange(2.0), "b": np.arange(2.0), "t": np.arange(2.0)}
    assert list(chainrule.stream(arrays, target="t", features="b").fields) == ["b", "t"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": 1.5}, "target is the name of a column"),
        ({"target": []}, "target is the name of a column"),
        ({"target": -1}, "target is the name of a column"),
        ({"target": ["t", 3]}, "target is the name of a column"),
        ({"target": "t", "features": 3}, "features is the name of a column"),
        ({"target": "t", "features": [0]}, "features is the name of a column"),
        ({"target": "t", "features": ["a", "t"]}, "t is the target and cannot be a feature too"),
    ],
)
def test_what_names_no_columns(tmp_path, options, told):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1.0, 2], "b": [3.0, 4], "t": [5.0, 6]}), path)
    arrays = {"a": np.arange(2.0), "b": np.arange(2.0), "t": np.arange(2.0)}
    for where in (path, arrays):
        with pytest.raises(SettingError, match=told):
            chainrule.stream(where, **options)


@pytest.mark.parametrize("suffix", ["", ".npy", ".npz", ".parquet"])
def test_a_name_that_no_file_can_have(suffix):
    with pytest.raises(FileError, match="cannot be read"):
        chainrule.stream("a" * 300 + suffix)


def test_a_prediction_without_rows():
    net = chainrule.formula("input x[i]\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])", sizes={"i": 2})
    once = iter([np.ones((3, 2))])
    with pytest.raises(DataError, match="gave no rows"):
        net.predict(chainrule.stream(lambda: once))
