from __future__ import annotations

import decimal
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chainrule.data.sources import Order, grouped, stream
from chainrule.data.tables import read_table
from chainrule.errors import ChainruleError, DataError, FileError, SettingError
from tests.data.sources.made import table, write_parquet


def rows_of(source, order=None):
    blocks = list(source.blocks(order))
    return {name: np.concatenate([block[name] for block in blocks]) for name in source.fields}


def test_the_target_and_the_features(tmp_path):
    x, t = table(50)
    path = write_parquet(tmp_path / "a.parquet", x, t)
    found = rows_of(stream(path, target="y"))
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["t"], t)
    assert (found["x"].dtype, found["t"].dtype) == (np.float32, np.int64)
    found = rows_of(stream(path, target=["c4", "c1"], features=["c3", "y"]))
    np.testing.assert_array_equal(found["x"], np.stack([x[:, 3], t], axis=1))
    np.testing.assert_array_equal(found["t"], x[:, [4, 1]])
    found = rows_of(stream(path, features=["c2", "c0"]))
    assert list(found) == ["x"]
    np.testing.assert_array_equal(found["x"], x[:, [2, 0]])


def test_without_either_each_column_is_a_field(tmp_path):
    x, t = table(50)
    found = rows_of(stream(write_parquet(tmp_path / "a.parquet", x, t)))
    assert list(found) == ["c0", "c1", "c2", "c3", "c4", "y"]
    np.testing.assert_array_equal(found["c3"], x[:, 3])
    np.testing.assert_array_equal(found["y"], t)


def test_many_columns_are_read_some_at_a_time(tmp_path, monkeypatch):
    from chainrule.data.sources import parquet

    x = np.random.default_rng(0).normal(size=(600, 40)).astype(np.float32)
    path = write_parquet(tmp_path / "a.parquet", x, np.arange(600), 300)
    monkeypatch.setattr(parquet, "READ_BYTES", 8 * 300 * 7)
    names = [f"c{k}" for k in np.random.default_rng(1).permutation(40)]
    found = rows_of(stream(path, target="y", features=names))
    np.testing.assert_array_equal(found["x"], x[:, [int(n[1:]) for n in names]])


def test_kinds_of_numbers(tmp_path):
    columns = {
        "i8": pa.array([1, -2, 3], pa.int8()),
        "flag": pa.array([True, False, True]),
        "money": pa.array([decimal.Decimal("1.25"), decimal.Decimal("-3.50"), decimal.Decimal("0.00")]),
        "half": pa.array(np.array([0.5, 1.5, 2.5], np.float16)),
        "f64": pa.array([0.1, 0.2, 0.3]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = rows_of(stream(tmp_path / "a.parquet"))
    assert found["i8"].tolist() == [1, -2, 3]
    assert found["flag"].tolist() == [1, 0, 1]
    assert found["money"].tolist() == [1.25, -3.5, 0.0]
    assert found["half"].tolist() == [0.5, 1.5, 2.5]
    assert found["f64"].tolist() == [0.1, 0.2, 0.3]
    assert rows_of(stream(tmp_path / "a.parquet", target="i8"))["x"].dtype == np.float64


def test_pandas_index_is_no_column(tmp_path):
    import pandas

    frame = pandas.DataFrame({"a": [1.0, 2.0], "y": [0, 1]}, index=[7, 3])
    frame.to_parquet(tmp_path / "a.parquet")
    found = rows_of(stream(tmp_path / "a.parquet", target="y"))
    assert found["x"].tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("value", "told"), [(None, "missing"), (float("nan"), "nan"), (float("inf"), "inf"), (-float("inf"), "-inf")]
)
def test_a_bad_value_is_told_with_file_row_and_column(tmp_path, value, told):
    values = [float(k) for k in range(100)]
    values[62] = value
    pq.write_table(pa.table({"a": range(100), "b": values}), tmp_path / "a.parquet", row_group_size=10)
    for order in (None, Order(0, 0)):
        with pytest.raises(DataError) as error:
            list(stream(tmp_path / "a.parquet", target="a").blocks(order))
        assert all(part in str(error.value) for part in (str(tmp_path / "a.parquet"), "row 63", "column b", told))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "z"}, "no column z (it has: c0, c1, c2, c3, c4, y)"),
        ({"target": "y", "features": ["c9"]}, "c9"),
        ({"target": "y", "features": []}, "no column is left"),
        ({"target": ["c0", "c1", "c2", "c3", "c4", "y"]}, "no column is left"),
        ({"target": -1}, "-1"),
        ({"target": "y", "shuffle": "rows"}, "shuffle"),
        ({"target": "y", "grey": True}, "grey"),
    ],
)
def test_wrong_options(tmp_path, options, told):
    x, t = table(20)
    with pytest.raises(ChainruleError) as error:
        stream(write_parquet(tmp_path / "a.parquet", x, t), **options)
    assert told in str(error.value)


def test_columns_that_are_no_numbers_have_to_be_left_out(tmp_path):
    columns = {"a": [1.0, 2.0], "word": ["one", "two"], "many": [[1], [2, 3]], "y": [0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column word.*string"):
        stream(tmp_path / "a.parquet", target="y")
    with pytest.raises(DataError, match=r"column many.*list"):
        stream(tmp_path / "a.parquet", target="y", features=["a", "many"])
    assert rows_of(stream(tmp_path / "a.parquet", target="y", features=["a"]))["t"].tolist() == [0, 1]


def test_two_columns_of_one_name(tmp_path):
    both = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(both, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="the name a on several columns"):
        stream(tmp_path / "a.parquet", target="a")


def test_files_of_other_columns(tmp_path):
    x, t = table(20)
    write_parquet(tmp_path / "1.parquet", x, t)
    write_parquet(tmp_path / "2.parquet", x.astype(np.float64), t)
    with pytest.raises(DataError, match=r"2\.parquet has columns of other kinds"):
        stream(tmp_path, target="y")


def test_no_rows(tmp_path):
    x, t = table(20)
    with pytest.raises(DataError, match="no rows"):
        stream(write_parquet(tmp_path / "a.parquet", x[:0], t[:0]), target="y")


def test_damage_brings_our_own_errors_only(tmp_path):
    x, t = table(200)
    path = write_parquet(tmp_path / "a.parquet", x, t, 40)
    whole, drawn = path.read_bytes(), random.Random(0)
    cases = [whole[: len(whole) * k // 20] for k in range(20)]
    for _ in range(300):
        changed = bytearray(whole)
        changed[drawn.randrange(len(whole))] ^= 1 << drawn.randrange(8)
        cases.append(bytes(changed))
    refused = 0
    for case in cases:
        path.write_bytes(case)
        try:
            rows_of(stream(path, target="y"))
        except ChainruleError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100


def test_a_damaged_row_group_is_named(tmp_path):
    x, t = table(200)
    path = write_parquet(tmp_path / "a.parquet", x, t, 40)
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).dictionary_page_offset
    content[start : start + 16] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.parquet, row group 3"):
        rows_of(stream(path, target="y"))


def test_a_file_that_is_changed_while_it_is_read(tmp_path):
    x, t = table(200)
    source = stream(write_parquet(tmp_path / "a.parquet", x, t), target="y")
    blocks = source.blocks(None)
    next(blocks)
    write_parquet(tmp_path / "a.parquet", x + 1, t, 50)
    with pytest.raises(FileError, match="changed"):
        list(blocks)


def test_rows_are_mixed_across_groups(tmp_path, monkeypatch):
    """A file sorted by its target: each window holds rows of several groups, and none comes in its own order."""
    x, t = table(1000)
    path = write_parquet(tmp_path / "a.parquet", x, t, 10)
    monkeypatch.setattr(grouped, "WINDOW_BYTES", 28 * 200)  # 28 bytes a row: windows of 20 groups
    found = rows_of(stream(path, target="y"), Order(0, 0))["t"]
    for start in range(0, 1000, 200):
        window = found[start : start + 200]
        assert len(set(window // 10)) == 20
        neighbours = np.mean(window[:-1] // 10 == window[1:] // 10)
        assert neighbours < 0.15  # in an exact permutation of 20 groups of 10 rows it is 9/199
    assert len(set(found[:200] // 100)) > 5  # and the groups of a window come from all over the file


def test_at_least_two_groups_are_mixed(tmp_path, monkeypatch):
    x, t = table(100)
    path = write_parquet(tmp_path / "a.parquet", x, t, 10)
    monkeypatch.setattr(grouped, "WINDOW_BYTES", 1)
    found = rows_of(stream(path, target="y"), Order(0, 0))["t"]
    assert all(len(set(found[start : start + 20] // 10)) == 2 for start in range(0, 100, 20))


def test_the_memory_must_hold_a_window(tmp_path):
    x = np.zeros((20_000, 40), np.float32)
    path = write_parquet(tmp_path / "a.parquet", x, np.zeros(20_000), 10_000)
    with pytest.raises(SettingError) as error:
        stream(path, target="y", memory="3MB")
    wanted = str(error.value).split("which take ")[1].split(" together")[0]
    assert stream(path, target="y", memory=wanted).rows == 20_000
    with pytest.raises(SettingError):
        stream(path, target="y", memory=int(float(wanted.split()[0]) - 1) * 10**6)


def test_without_pyarrow(tmp_path, monkeypatch):
    x, t = table(20)
    path = write_parquet(tmp_path / "a.parquet", x, t)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SettingError, match=r"pip install 'chainrule\[table\]'"):
        stream(path, target="y")


def test_no_window_is_a_small_rest(tmp_path, monkeypatch):
    """A training on a file that is sorted by class would end on the few classes of the last window."""
    x, t = table(1050)
    path = write_parquet(tmp_path / "a.parquet", x, t, 10)
    monkeypatch.setattr(grouped, "WINDOW_BYTES", 28 * 500)  # 50 groups together at most
    windows = list(stream(path, target="y").windows(Order(0, 0)))
    assert [len(window) for window in windows] == [35, 35, 35]
    assert sorted(group for window in windows for group in window) == list(range(105))


def test_a_page_that_is_not_what_was_saved(tmp_path):
    """Where the file has sums of its pages, they are compared."""
    path = tmp_path / "a.parquet"
    columns = {"x": np.arange(1000.0), "t": np.arange(1000.0)}
    pq.write_table(pa.table(columns), path, use_dictionary=False, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="cannot be read"):
        rows_of(stream(path, target="t"))
    with pytest.raises(FileError, match="not a whole Parquet file"):
        read_table(path)
