"""Tables in pieces: the same rows, the same layout and the same errors as of the whole table in memory."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.data import bigtables, kept
from chainrule.data.bigtables import BigTable, big_table, table_in_pieces
from chainrule.data.columns import Layout
from chainrule.data.finding import Wishes, find_layout, target_of
from chainrule.data.kept import Kept
from chainrule.data.splits import Drawn
from chainrule.data.surveys import survey_layout, survey_target
from chainrule.data.tables import read_table
from chainrule.errors import DataError, FileError, SettingError

ROWS = 3000
LITTLE, MUCH = 2**20, 2**40


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch, tmp_path):
    """Pieces of 256 rows, so that a small file has many; the cache is the test's own."""
    monkeypatch.setattr(bigtables, "PIECE_ROWS", 256)
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))


def mixed(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """A column of every kind that a layout tells apart."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 4))
    days = pd.Timestamp("2019-05-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D")
    letter = np.array(list("abcde"))[rng.integers(0, 5, rows)].astype(object)
    rare = np.where(np.arange(rows) % 500 == 3, [f"rare{k}" for k in range(rows)], letter)
    word = letter.copy()
    word[rng.random(rows) < 0.05] = None
    gap = np.where(rng.random(rows) < 0.1, np.nan, 1e4 + x[:, 0])
    y = x[:, 0] - 2 * x[:, 1] + (letter == "a")
    return pd.DataFrame({
        "id": np.arange(1, rows + 1),
        "number": x[:, 0] * 100 + 5,
        "small": x[:, 1].astype(np.float32),
        "count": rng.integers(0, 1000, rows),
        "flag": rng.random(rows) < 0.3,
        "gap": gap,
        "late_gap": np.where(np.arange(rows) == rows - 1, np.nan, x[:, 2]),
        "text_number": [f"{v:.3f}" for v in x[:, 3]],
        "typed_day": days,
        "text_day": days.strftime("%Y-%m-%d %H:%M"),
        "word": word,
        "rare": rare,
        "whole": letter,
        "constant": 7.5,
        "own": [f"name {k}" for k in range(rows)],
        "y": np.where(np.arange(rows) % 97 == 5, np.nan, y),
        "kind": np.where(y > 0, "yes", "no"),
    })  # fmt: skip


def as_parquet(frame: pd.DataFrame, path: Path, group: int = 700) -> Path:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=group)
    return path


@pytest.fixture
def table(tmp_path) -> Path:
    return as_parquet(mixed(), tmp_path / "mixed.parquet")


def opened(path: Path) -> BigTable:
    big = table_in_pieces(path, LITTLE)
    assert big is not None
    return big


# --- pieces -----------------------------------------------------------------------------------------------------------


def test_the_pieces_are_the_table(table):
    whole, pieces = read_table(table), list(opened(table).tables(["number", "word", "typed_day"]))
    assert len(pieces) > 8
    assert [p.first for p in pieces] == np.cumsum([0, *(p.rows for p in pieces)])[:-1].tolist()
    for name in ("number", "typed_day"):
        column = whole.find(name)
        assert column is not None
        values = column.numbers.values if name == "number" else column.days.values
        found = [p.find(name).numbers.values if name == "number" else p.find(name).days.values for p in pieces]
        np.testing.assert_array_equal(np.concatenate(found), values)
    words = [[*c.words, None][code] for p in pieces for c in [p.find("word")] for code in c.codes]
    assert words == [w if isinstance(w, str) else None for w in mixed()["word"]]


@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_files_in_either_order_are_their_rows(tmp_path, order):
    x = np.random.default_rng(0).standard_normal((2000, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", np.asarray(x, order=order))
    found = np.concatenate([
        np.stack([c.numbers.values for c in piece.columns], axis=1) for piece in opened(tmp_path / "x.npy").tables()
    ])  # fmt: skip
    np.testing.assert_array_equal(found, x.astype(np.float64))


def test_an_archive_has_its_y_as_the_last_column(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1500, 2, 3)), rng.integers(0, 3, 1500)
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    big = opened(tmp_path / "xy.npz")
    assert big.names == [*"123456", "y"]
    pieces = list(big.tables(["6", "y"]))
    np.testing.assert_array_equal(np.concatenate([p.find("6").numbers.values for p in pieces]), x[:, 1, 2])
    np.testing.assert_array_equal(np.concatenate([p.find("y").numbers.values for p in pieces]), y)


def test_a_table_that_fits_is_read_into_memory(table):
    assert big_table(table, MUCH) is None
    assert big_table(table, LITTLE) is not None


def test_many_columns_side_by_side_need_memory_and_the_message_says_how_much(tmp_path):
    rng = np.random.default_rng(0)
    as_parquet(pd.DataFrame({f"c{k}": rng.standard_normal(2000) for k in range(60)}), tmp_path / "w.parquet", 2000)
    with pytest.raises(SettingError, match=r"60 columns.*takes [34]MB: say --memory [34]MB"):
        big_table(tmp_path / "w.parquet", LITTLE)


def test_names_with_spaces_and_line_breaks_are_found_in_the_file(tmp_path):
    """As spreadsheets have them; they are shown on one line."""
    frame = pd.DataFrame({" age": [1.0, 2.0], "price\n(USD)": ["a", "b"], "": [3.0, 4.0], "a.b": [5.0, 6.0]})
    path = as_parquet(frame, tmp_path / "t.parquet")
    whole = read_table(path)
    assert whole.names == ["age", "price (USD)", "3", "a.b"]
    (piece,) = opened(path).tables(["a.b", "age", "3"])
    assert piece.names == ["a.b", "age", "3"]
    for name in piece.names:
        assert piece.find(name).numbers.values.tolist() == whole.find(name).numbers.values.tolist()
    assert whole.find("price (USD)").words == ["a", "b"]


def test_two_columns_without_a_name(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array([1.0, 2.0])] * 2, names=["", ""]), tmp_path / "t.parquet")
    for read in (read_table, opened):
        with pytest.raises(DataError, match=r"several columns \(1, 2\)"):
            read(tmp_path / "t.parquet")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_text_file_that_does_not_fit_names_a_line_that_makes_a_parquet_file_of_it(tmp_path, monkeypatch):
    frame = mixed(800)[["number", "word", "kind"]]
    frame.to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert big_table(Path("t.csv"), 1, asked=False) is None  # nobody said how much it may take
    with pytest.raises(DataError) as error:
        big_table(Path("t.csv"), 10_000)
    line = str(error.value).split('python -c "')[1].split('"')[0]
    subprocess.run([sys.executable, "-c", line], check=True)
    found = pd.read_parquet("t.parquet")
    assert len(found) == len(frame)
    np.testing.assert_allclose(found["number"], frame["number"])


def test_a_damaged_group_in_the_middle_is_one_line(tmp_path):
    frame = pd.DataFrame({"x": np.random.default_rng(0).standard_normal(3000), "y": np.arange(3000) % 2})
    path = as_parquet(frame, tmp_path / "d.parquet", 500)
    content = bytearray(path.read_bytes())
    where = pq.ParquetFile(path).metadata.row_group(3).column(0).dictionary_page_offset
    content[where : where + 64] = b"\xff" * 64
    path.write_bytes(bytes(content))
    with pytest.raises(FileError, match="from row 1281 on: it is damaged"):  # five pieces of 256 rows were whole
        list(opened(path).tables())


def test_a_file_that_changes_while_it_is_read_is_an_error(table):
    pieces = opened(table).tables()
    next(pieces)
    os.utime(table, ns=(1, 1))
    with pytest.raises(FileError, match="changed"):
        list(pieces)


def test_a_numpy_file_that_shrinks_while_it_is_read_is_an_error_and_no_crash(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5000, 4)))
    pieces = opened(tmp_path / "x.npy").tables()
    next(pieces)
    os.truncate(tmp_path / "x.npy", 200)
    with pytest.raises(FileError, match="changed"):
        list(pieces)


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_infinity_in_the_middle_is_named_with_its_row_and_column(tmp_path, kind):
    x = np.random.default_rng(0).standard_normal((2000, 3))
    x[1234, 1] = -np.inf
    path = tmp_path / f"i.{kind}"
    if kind == "npy":
        np.save(path, x)
    else:
        as_parquet(pd.DataFrame(x, columns=["1", "2", "3"]), path)
    big = opened(path)
    target = survey_target(big, Wishes()).target
    with pytest.raises(DataError, match="row 1235, column 2: -inf is not finite"):
        survey_layout(big, target, lambda table: np.ones(table.rows, bool), Wishes())


def test_a_wrong_value_among_texts_that_are_numbers_is_named_with_its_row(tmp_path):
    frame = mixed()[["text_number", "y"]]
    frame.loc[2500, "text_number"] = "twelve"
    big = opened(as_parquet(frame, tmp_path / "t.parquet"))
    seen = survey_target(big, Wishes())
    with pytest.raises(DataError, match="row 2501, column text_number: 'twelve' is not a finite number"):
        survey_layout(big, seen.target, lambda table: np.ones(table.rows, bool), Wishes())


# --- layouts ----------------------------------------------------------------------------------------------------------


def same_layout(found: Layout, wanted: Layout) -> None:
    """Equal but for the last of seven digits, which the order of a sum can change."""
    assert [f.column for f in found.left_out] == [f.column for f in wanted.left_out]
    assert [c.reason for c in found.left_out] == [c.reason for c in wanted.left_out]
    plain = {"fill": 0.0, "centre": 0.0, "spread": 1.0}
    assert [replace(f, **plain) for f in found.features] == [replace(f, **plain) for f in wanted.features]
    for name in plain:
        np.testing.assert_allclose(
            [getattr(f, name) for f in found.features],
            [getattr(f, name) for f in wanted.features],
            rtol=2e-6,
            atol=1e-9,
        )
    assert (found.target.column, found.target.task, found.target.words) == (
        wanted.target.column, wanted.target.task, wanted.target.words,
    )  # fmt: skip
    np.testing.assert_allclose(
        [found.target.centre, found.target.spread], [wanted.target.centre, wanted.target.spread], rtol=2e-6
    )


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes("y"),
        Wishes("kind", scale="minmax"),
        Wishes("kind", ("number", "word", "text_day")),
        Wishes("y", kinds=(("count", "category"), ("own", "category"), ("word", "out")), scale="none"),
    ],
    ids=["number", "classes", "features", "kinds"],
)
def test_the_layout_is_that_of_the_table_in_memory(table, wishes):
    whole, big = read_table(table), opened(table)
    target = target_of(whole, wishes)
    seen = survey_target(big, wishes)
    assert seen.target == target
    values, known = Layout((), target).targets(whole)
    assert seen.known == known.sum()
    if target.task == "classification":
        assert list(seen.counts) == np.bincount(values).tolist()
    training = known & (np.random.default_rng(1).random(ROWS) < 0.7)
    found = survey_layout(big, seen.target, lambda t: training[t.first : t.first + t.rows], wishes)
    same_layout(found, find_layout(whole, target, np.flatnonzero(training), wishes))


def test_a_column_that_is_no_category_before_its_end_is_one_all_the_same(tmp_path):
    frame = pd.DataFrame({"late": ["1"] * 2000 + ["red", "blue"] * 500, "y": np.arange(3000) % 2})
    path = as_parquet(frame, tmp_path / "late.parquet")
    big, whole = opened(path), read_table(path)
    target = target_of(whole, Wishes())
    found = survey_layout(big, target, lambda t: np.ones(t.rows, bool), Wishes())
    same_layout(found, find_layout(whole, target, np.arange(3000), Wishes()))
    assert found.features[0].words == ("1", "blue", "red")


def test_words_beyond_the_limit_are_another(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.data.surveys.MANY_WORDS", 20)
    rng = np.random.default_rng(0)
    words = np.array([f"w{k:03}" for k in rng.integers(0, 60, 3000)])
    words[:300] = np.array([f"w{k:03}" for k in np.arange(300) % 15])  # few enough not to look like names
    path = as_parquet(pd.DataFrame({"w": words, "y": np.arange(3000) % 2}), tmp_path / "w.parquet")
    big = opened(path)
    found = survey_layout(big, survey_target(big, Wishes()).target, lambda t: np.ones(t.rows, bool), Wishes())
    known = set(found.features[0].words)
    assert {f"w{k:03}" for k in range(15)} <= known < set(words.tolist())


def test_a_class_that_occurs_once_is_named_with_its_row(tmp_path):
    kind = np.where(np.arange(2000) % 2, "a", "b").astype(object)
    kind[1777] = "once"
    path = as_parquet(pd.DataFrame({"x": np.arange(2000.0) ** 2, "kind": kind}), tmp_path / "t.parquet")
    seen = survey_target(opened(path), Wishes())
    assert (seen.target.words, seen.counts, seen.lone) == (("a", "b", "once"), (999, 1000, 1), (("once", 1778),))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(2000, 3.0), "the target y is the same in all rows"),
        (np.full(2000, np.nan), "the target y has no values"),
        ([f"t{k}" for k in range(2000)], "the target y has > 1000 different values"),
        (["a"] * 2000, "the target y is the same in all rows"),
    ],
)
def test_a_target_that_cannot_be_predicted_is_refused_as_in_memory(tmp_path, values, message):
    path = as_parquet(pd.DataFrame({"x": np.arange(2000) % 7, "y": values}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        survey_target(opened(path), Wishes("y"))


# --- the split --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**63), st.lists(st.integers(1, 900), min_size=1, max_size=12), st.integers(1, 4))
def test_a_split_does_not_depend_on_how_many_rows_come_at_a_time(seed, sizes, classes):
    codes = np.random.default_rng(seed % 1000).integers(0, classes, sum(sizes))
    once = Drawn((0.7, 0.2, 0.1), seed).parts(codes)
    drawn = Drawn((0.7, 0.2, 0.1), seed)
    bounds = np.cumsum([0, *sizes])
    again = [drawn.parts(codes[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    np.testing.assert_array_equal(np.concatenate(again), once)


def test_every_class_has_its_share_in_every_part():
    codes = (np.random.default_rng(3).random(50_000) < 0.1).astype(np.int64)
    parts = Drawn((0.8, 0.15, 0.05), 1).parts(codes)
    for value in (0, 1):
        count = int((codes == value).sum())
        runs, rest = divmod(count, 1000)
        found = np.bincount(parts[codes == value], minlength=3)
        wanted = runs * np.array([800, 150, 50])
        assert (found >= wanted).all() and (found <= wanted + rest).all()


def test_another_seed_is_another_split():
    codes = np.zeros(5000, dtype=np.int64)
    assert (Drawn((0.5, 0.5), 1).parts(codes) != Drawn((0.5, 0.5), 2).parts(codes)).mean() > 0.4


@pytest.mark.parametrize("chosen", [1, 77, 4999, 5000])
def test_so_many_rows_are_drawn_as_were_asked_for(chosen):
    drawn = Drawn((1.0, 0.0, 0.0), 7, rows=5000, chosen=chosen)
    parts = np.concatenate([drawn.parts(np.zeros(n, dtype=np.int64)) for n in (1000, 3999, 1)])
    assert (parts >= 0).sum() == chosen
    assert (parts <= 0).all()


def test_a_share_of_nothing_gets_no_row():
    assert set(Drawn((0.9, 0.0, 0.1), 0).parts(np.zeros(20_000, dtype=np.int64)).tolist()) == {0, 2}


# --- rows that are kept -----------------------------------------------------------------------------------------------


def test_kept_rows_come_back_and_leave_no_file(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1000, 3)).astype(np.float32), rng.integers(0, 9, 1000)
    rows = Kept("t")
    for start in range(0, 1000, 300):
        rows.add({"x": x[start : start + 300], "y": y[start : start + 300]})
    np.testing.assert_array_equal(rows.mapped()["x"], x)
    np.testing.assert_array_equal(rows.mapped()["y"], y)
    assert rows.bytes == x.nbytes + y.nbytes
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_is_one_line_that_says_where(monkeypatch, tmp_path):
    class Full:
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept.tempfile, "TemporaryFile", lambda **where: Full())
    with pytest.raises(FileError, match=r"t\.parquet cannot be written into .*cache \(No space left on device\)"):
        Kept("t.parquet").add({"x": np.zeros(3)})


def test_too_little_room_is_said_before_anything_is_written():
    with pytest.raises(FileError, match=r"written once as 1e\+06 GB of numbers"):
        kept.check_room("t.parquet", 10**15)
