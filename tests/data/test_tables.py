"""Tables: what is read from each kind of file, what its columns are taken for, and what is said of a bad one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from chainrule.data.columns import DATE_PARTS, Layout, part_of_date
from chainrule.data.finding import Wishes, find_column, find_layout, target_of
from chainrule.data.splits import split_rows
from chainrule.data.tables import Table, read_table
from chainrule.errors import ChainruleError, DataError, FileError, SettingError

PENGUINS = Path(__file__).parents[2] / "examples" / "penguins.csv"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")


def table(text: str, name: str = "t.csv", **options) -> Table:
    Path(name).write_text(text, encoding="utf-8")
    return read_table(name, **options)


def layout(text: str, **wishes) -> Layout:
    read = table(text)
    wish = Wishes(**wishes)
    return find_layout(read, target_of(read, wish), np.arange(read.rows), wish)


def kinds(found: Layout) -> dict[str, str]:
    return {f.column: f.kind for f in found.features} | {c.column: c.reason for c in found.left_out}


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_csv_file_as_spreadsheets_write_it():
    read = table('name,"a, b",c\r\n"x ""y""",1.5,NA\r\n\r\n zoë ,-2e3,7\r\n')
    assert (read.names, read.rows) == (["name", "a, b", "c"], 2)
    assert read.columns[0].words == ['x "y"', "zoë"]
    assert read.columns[1].numbers.values.tolist() == [1.5, -2000.0]
    assert read.columns[2].missing.tolist() == [True, False]


def test_a_line_break_within_quotes_is_part_of_the_value():
    read = table('a,b\n"one\ntwo",1\nx,2\n')
    assert read.rows == 2
    assert read.columns[0].words == ["one\ntwo", "x"]


@pytest.mark.parametrize(("sign", "name"), [(";", "t.csv"), ("\t", "t.tsv"), ("\t", "t.txt"), ("|", "t.csv")])
def test_the_sign_between_values_is_found(sign, name):
    read = table(f"a{sign}b\n1{sign}2\n", name)
    assert [c.numbers.values.tolist() for c in read.columns] == [[1.0], [2.0]]


def test_a_first_row_with_a_number_is_no_header():
    assert table("5.1,red\n4.9,blue\n").names == ["1", "2"]
    assert table("2019,2020\n1,2\n", header=True).names == ["2019", "2020"]
    assert table("a,b\nc,d\n", header=False).rows == 2


def test_a_line_break_within_a_name_is_a_space():
    assert table('"a\nb",c\n1,2\n').names == ["a b", "c"]


def test_other_encodings_and_compression():
    Path("k.csv").write_bytes("이름,값\n가,1\n".encode("cp949"))
    assert read_table("k.csv", encoding="cp949").names == ["이름", "값"]
    Path("u.csv").write_bytes("a,b\n1,2\n".encode("utf-16"))
    assert read_table("u.csv", encoding="utf-16").rows == 1
    Path("z.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfa,b\n1,2\n"))
    assert read_table("z.csv.gz").names == ["a", "b"]


def test_parquet_and_csv_read_alike():
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "whole": pa.array([1, None, 3]),
        "text": pa.array(["a", None, "b"]),
        "coded": pa.array(["x", "y", "x"]).dictionary_encode(),
        "yes": pa.array([True, False, None]),
        "when": pa.array(np.array(["2024-03-31T12:00", "NaT", "1969-12-31T00:00"], dtype="datetime64[us]")),
    }
    pq.write_table(pa.table(columns), "t.parquet")
    typed = read_table("t.parquet")
    text = table("whole,text,coded,yes,when\n1,a,x,true,2024-03-31 12:00\n,,y,false,NA\n3,b,x,,1969-12-31\n")
    for one, other in zip(typed.columns, text.columns, strict=True):
        assert (one.name, one.words) == (other.name, other.words) or one.has_dates
        assert one.missing.tolist() == other.missing.tolist()
    assert (
        typed.columns[4].days.values[[0, 2]].tolist() == [19813.5, -1.0] == text.columns[4].days.values[[0, 2]].tolist()
    )


def test_numpy_files():
    np.save("m.npy", np.array([[1, 2], [3, 4]]))
    assert [c.numbers.values.tolist() for c in read_table("m.npy").columns] == [[1.0, 3.0], [2.0, 4.0]]
    np.savez("xy.npz", x=np.zeros((3, 2, 2)), y=np.array(["a", "b", "a"]))
    read = read_table("xy.npz")
    assert (read.names, read.columns[-1].words) == (["1", "2", "3", "4", "y"], ["a", "b"])


BAD_FILES = [
    ("", "t.csv is empty"),
    ("a,b\n", "t.csv has no rows"),
    ("a,b\n1,2\n3\n", "t.csv, row 2: 1 values came where 2 columns are"),
    ("a,b\n1,2\n1,2\n3,4,5\n", "t.csv, row 3: 3 values"),
    ("a,b,a\n1,2,3\n", "the name a on several columns (1, 3)"),
    ('"a,b\n1,2\n', "a quote that is never closed"),
    (b"\0\0\0", "is no text: bring a table"),
    (b"a,b\n1,2\n1,\xc7\xd1\n", "t.csv, line 3, byte 3: this is not utf-8"),
]


@pytest.mark.parametrize(("content", "said"), BAD_FILES, ids=[said for _, said in BAD_FILES])
def test_a_bad_text_file_is_one_line_with_the_place(content, said):
    Path("t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_table("t.csv")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bad_files():
    for name, content in (("t.parquet", b"PAR1 no"), ("t.npz", b"PK\3\4 no"), ("t.csv.gz", b"no")):
        Path(name).write_bytes(content)
        with pytest.raises(FileError):
            read_table(name)
    for missing in ("absent.csv", "absent.npy", "absent.parquet"):
        with pytest.raises(FileError, match="no file"):
            read_table(missing)
    with pytest.raises(FileError):
        read_table(".")
    with pytest.raises(SettingError, match="unknown"):
        table("a,b\n1,2\n", encoding="klingon")


def test_nothing_is_unpickled():
    np.save("evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FileError):
        read_table("evil.npy")


# --- what columns are -------------------------------------------------------------------------------------------------


def rows(*columns: list[object], names: str) -> str:
    return names + "\n" + "\n".join(",".join(map(str, row)) for row in zip(*columns, strict=True)) + "\n"


def test_kinds_are_found():
    n = 40
    text = rows(
        list(range(1, n + 1)),
        [f"name {i}" for i in range(n)],
        ["x"] * n,
        [i % 7 / 2 for i in range(n)],
        ["red", "blue"] * (n // 2),
        [f"2024-01-{1 + i % 28:02}" for i in range(n)],
        ["yes", "no"] * (n // 2),
        names="id,name,same,size,colour,day,bought",
    )
    found = layout(text)
    assert found.target.words == ("no", "yes")
    assert [(f.column, f.kind) for f in found.features] == [
        ("size", "number"), ("colour", "category"), ("day", "day"), ("day", "weekday"),
    ]  # fmt: skip
    assert {c.column: c.reason for c in found.left_out} == {
        "id": "row_number", "name": "own_value", "same": "constant",
    }  # fmt: skip


def test_the_user_knows_better():
    text = rows([1, 2, 3, 1] * 10, [10, 20] * 20, ["a", "b"] * 20, names="zip,size,t")
    assert kinds(layout(text, kinds=(("zip", "category"), ("size", "out")))) == {"zip": "category", "size": "asked"}
    assert kinds(layout(text, features=("2",))) == {"size": "number", "zip": "asked"}
    with pytest.raises(DataError, match="Did you mean size"):
        layout(text, features=("sise",))
    with pytest.raises(SettingError, match="cannot be a feature"):
        layout(text, features=("t",))


def test_the_task_follows_the_target():
    assert layout(rows([1.5, 2, 3] * 10, [0, 1, 2] * 10, names="a,t")).target.task == "classification"
    assert layout(rows([1.5, 2, 3] * 10, [0.5, 1, 2] * 10, names="a,t")).target.task == "regression"
    assert layout(rows([1.5, 2, 3] * 10, list(range(30)), names="a,t")).target.task == "regression"
    assert layout(rows([1.5, 2, 3] * 10, [0, 1, 2] * 10, names="a,t"), task="regression").target.words == ()
    numbers = layout(rows([1.5, 2, 3] * 10, [10, 9, 2] * 10, names="a,t")).target
    assert numbers.words == ("2", "9", "10")  # by size, not by the alphabet


def numbers_read(text: str, **options) -> dict[str, list[float]]:
    return {c.name: c.numbers.values.tolist() for c in table(text, **options).columns}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a;b\n39,28;x\n7;y\n", [39.28, 7]),
        ("a;b\n1.234,5;x\n1.234;y\n", [1234.5, 1234]),
        ('a,b\n"1,949",x\n"12,345,678",y\n', [1949, 12345678]),
        ('a,b\n"$1,949.50",x\n-7,y\n', [1949.5, -7]),
        ("a,b\n72.6%,x\n8 %,y\n", [72.6, 8]),
        ("a;b\n1 234,5 €;x\n12 345;y\n", [1234.5, 12345]),
        ("a;b\n1,234;0,5\n2,500;0,25\n", [1.234, 2.5]),  # another column tells
        ("a;b\n1.234;0,5\n312;0,25\n", [1234, 312]),
        ("a;b\n1.2345;0,5\n1.234;0,25\n", [1.2345, 1.234]),  # this one tells itself
        ("a,b\n1.234,x\n2,y\n", [1.234, 2]),
    ],
)
def test_numbers_as_people_write_them(text, wanted):
    assert numbers_read(text)["a"] == wanted


def test_nothing_is_guessed_of_numbers_that_may_be_either():
    with pytest.raises(DataError, match="column a: 1,234 may be thousands or decimals"):
        table("a;b\n1,234;x\n2,345;y\n")
    with pytest.raises(DataError, match=r"column a: 1,5 has a decimal comma and 2.5 a decimal point"):
        table("a;b\n1,5;x\n2.5;y\n")
    # What the rows of training showed, one row need not show again.
    found = layout("a;b;t\n" + "1,25;0,5;x\n3,5;0,1;y\n2;0,7;y\n" * 8)
    again = Layout.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert numbers_read("a;b\n1,234;1.234\n", decimals=dict(again.decimals)) == {"a": [1.234], "b": [1234.0]}


def test_a_sign_after_the_last_name_makes_no_column():
    read = table("a,b,,\n1,2,,\n3,4,,\n,,,\n")
    assert (read.names, read.rows) == (["a", "b"], 3)
    assert table("a,,b\n1,5,2\n").names == ["a", "2", "b"]


@pytest.mark.parametrize("day", ["31.3.2024", "31.03.2024", "2024. 3. 31.", "2024년 3월 31일", "2024-03-31"])
def test_days_that_cannot_be_others(day):
    assert table(f"d;t\n{day};x\n").columns[0].days.values.tolist() == [19813.0]


def test_a_mistake_among_numbers_is_named_and_not_taken_for_a_category():
    values = [f"{i}.5" for i in range(30)]
    values[16] = "12,5"
    text = rows([f'"{v}"' for v in values], ["a", "b"] * 15, names="size,t")
    with pytest.raises(DataError, match=r"t.csv, row 17, column size: '12,5' is not a finite number"):
        layout(text)
    with pytest.raises(DataError, match="row 1, column size: 'inf'"):
        layout(rows(["inf", *range(29)], ["a", "b"] * 15, names="size,t"))


def test_targets_that_cannot_be():
    for text, said in (
        (rows([1, 2], ["a", "a"], names="x,t"), "the same in all rows"),
        (rows([1, 2], ["", "NA"], names="x,t"), "has no values"),
        (rows([1, 2] * 15, [f"n{i}" for i in range(30)], names="x,t"), "too many for classes"),
    ):
        with pytest.raises(DataError, match=said):
            layout(text)
    with pytest.raises(DataError, match="row 1: the target t has 'a'"):
        layout(rows([1, 2], ["a", "b"], names="x,t"), task="regression")
    with pytest.raises(DataError, match="no column is left"):
        layout(rows(["x", "x"], ["a", "b"], names="same,t"))


def test_columns_by_name_and_number():
    read = table("a,b,3\n1,2,3\n", header=True)
    assert [find_column(read, asked) for asked in ("b", "1", "-1", "3")] == ["b", "a", "3", "3"]


# --- encoding ---------------------------------------------------------------------------------------------------------


def test_missing_numbers_are_the_mean_and_marked():
    found = layout("a,t\n1,x\n,y\n3,x\n")
    encoded = found.encode(table("a\n5\nNA\n"))
    assert encoded.numbers.tolist() == [[5.0, 0.0], [2.0, 1.0]]
    assert found.scale() == ([2.0, 0.0], [1.0, 1.0])


def test_categories_are_class_numbers_and_the_last_is_another():
    found = layout(rows(["b", "a", "b", ""], ["x", "y", "x", "y"], names="c,t"))
    assert found.categories[0].words == ("", "a", "b")
    fresh = table("c,t\nb,x\nzebra,x\n,x\n")
    assert found.encode(fresh).categories[:, 0].tolist() == [2, 3, 0]
    with pytest.raises(DataError, match="row 2, column c: 'zebra' was not in training"):
        found.encode(fresh, unknown="error")


def test_rare_words_become_another_where_there_are_many():
    words = [f"w{i % 30}" for i in range(120)] + ["once"]
    found = layout(rows(words, ["x", "y"] * 60 + ["x"], names="c,t"))
    assert len(found.categories[0].words) == 30
    assert "once" not in found.categories[0].words


def test_columns_are_found_by_name_in_any_order():
    found = layout("a,b,t\n1,10,x\n2,20,y\n")
    assert found.encode(table("b,extra,a\n30,9,3\n")).numbers.tolist() == [[3.0, 30.0]]
    assert found.not_used(table("b,extra,a,t\n30,9,3,x\n")) == ["extra"]
    with pytest.raises(DataError, match="has no column b"):
        found.encode(table("a\n1\n"))


def test_targets_and_rows_without_one():
    found = layout("a,t\n1,x\n2,y\n")
    values, known = found.targets(table("a,t\n1,y\n1,\n"))
    assert (values[0], known.tolist()) == (1, [True, False])
    with pytest.raises(DataError, match="row 1, column t: 'z' is no class"):
        found.targets(table("a,t\n1,z\n"))


def test_scaling_is_of_the_training_rows_only():
    read = table("a,t\n1,x\n3,y\n1000,x\n")
    wishes = Wishes()
    found = find_layout(read, target_of(read, wishes), np.array([0, 1]), wishes)
    assert (found.features[0].centre, found.features[0].spread) == (2.0, 1.0)
    least = find_layout(read, target_of(read, wishes), np.arange(3), Wishes(scale="minmax")).features[0]
    assert (least.centre, least.spread) == (1.0, 999.0)


def test_parts_of_a_date_against_the_standard_library():
    from datetime import date, timedelta

    for shift in (-20_000, -1, 0, 1, 59, 19_813, 40_000):
        day = date(1970, 1, 1) + timedelta(days=shift)
        parts = {part: float(part_of_date(np.array([float(shift)]), part)[0]) for part in DATE_PARTS}
        assert parts == {"day": shift, "month": day.month, "weekday": day.weekday(), "hour": 0.0}


# --- the layout as data -----------------------------------------------------------------------------------------------


def test_a_layout_survives_json():
    found = layout("a,c,t\n1,u,x\n,v,y\n3,,x\n")
    assert Layout.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("target"),
        lambda d: d.update(features=3),
        lambda d: d["features"][0].update(kind="code"),
        lambda d: d["features"][0].update(spread="nan"),
        lambda d: d["features"][0].update(more=1),
        lambda d: d["features"][0].update(words=["a", "a"]),
        lambda d: d["target"].update(task="exec"),
    ],
)
def test_a_damaged_layout_is_a_value_error(damage):
    data = json.loads(json.dumps(layout("a,t\n1,x\n2,y\n").to_dict()))
    damage(data)
    with pytest.raises(ValueError) as caught:
        Layout.from_dict(data)
    assert not isinstance(caught.value, ChainruleError)


# --- splits -----------------------------------------------------------------------------------------------------------


def test_a_split_has_every_row_once_and_every_class_in_its_share():
    classes = np.array([0] * 80 + [1] * 20)
    parts = split_rows(100, (0.8, 0.1, 0.1), 3, classes)
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert [len(p) for p in parts] == [80, 10, 10]
    assert [int(classes[p].sum()) for p in parts] == [16, 2, 2]
    assert not np.array_equal(parts[0], split_rows(100, (0.8, 0.1, 0.1), 4, classes)[0])
    assert np.array_equal(parts[0], split_rows(100, (0.8, 0.1, 0.1), 3, classes)[0])


def test_a_real_table():
    read = read_table(PENGUINS)
    wishes = Wishes(target="species")
    found = find_layout(read, target_of(read, wishes), np.arange(read.rows), wishes)
    assert found.target.words == ("Adelie", "Chinstrap", "Gentoo")
    assert kinds(found) == {
        "island": "category", "bill_length_mm": "number", "bill_depth_mm": "number", "flipper_length_mm": "number",
        "body_mass_g": "number", "sex": "category", "year": "number",
    }  # fmt: skip
    # Two birds were not measured, eleven not sexed (Horst, Hill & Gorman, 2020).
    assert sum(bool(f.marked) for f in found.features) == 4
    assert int(read.find("bill_length_mm").missing.sum()) == 2
    assert int(read.find("sex").missing.sum()) == 11


def test_a_column_of_gaps_alone_can_be_predicted_from():
    rows = "\n".join(f"{'red' if n % 3 else 'blue'},{n}" for n in range(9))
    found = layout(f"c,y\n{rows}\n,9\n", target="y")
    assert found.encode(table("c,y\n,1\n"), unknown="error").categories.tolist() == [[0]]
    seen = layout(f"c,y\n{rows}\n", target="y")
    assert seen.encode(table("c,y\n,1\n,2\n")).categories.tolist() == [[2], [2]]
