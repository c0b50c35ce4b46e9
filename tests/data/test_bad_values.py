"""Bad values in every kind of file and table: one line that names the source, the row and the column."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chainrule.data.bigtables import ParquetTable
from chainrule.data.tables import read_table
from chainrule.errors import DataError, FileError
from chainrule.training.network import formula
from tests.data.test_readers import idx_bytes

TEXT = """
input x[i]
label c in q
size q = 3
parameter W[i, q], d[q] = zeros
p[q] = softmax[q](sum[i](x[i]*W[i, q]) + d[q])
E = -sum[q]([q == c]*log(p[q]))
"""
ROWS = 12
BAD_ROW = 6  # counted from 0: people call it 7


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")


def columns(value: object = 0.5, label: object = 1) -> dict[str, list[object]]:
    """Two inputs and a class; `value` stands in row 7 of b, and `label` in row 7 of c."""
    found: dict[str, list[object]] = {
        "a": [float(row) for row in range(ROWS)],
        "b": [row / 4 for row in range(ROWS)],
        "c": [row % 3 for row in range(ROWS)],
    }
    found["b"][BAD_ROW], found["c"][BAD_ROW] = value, label
    return found


def as_text(sign: str, some: dict[str, list[object]]) -> bytes:
    cells = [["" if v is None else str(v) for v in row] for row in zip(*some.values(), strict=True)]
    return "".join(sign.join(row) + "\n" for row in [list(some), *cells]).encode()


def csv(some):
    Path("d.csv").write_bytes(as_text(",", some))
    return ("d.csv",)


def tsv(some):
    Path("d.tsv").write_bytes(as_text("\t", some))
    return ("d.tsv",)


def csv_gz(some):
    Path("d.csv.gz").write_bytes(gzip.compress(as_text(",", some)))
    return ("d.csv.gz",)


def parquet(some):
    pq.write_table(pa.table(some), "d.parquet")
    return ("d.parquet",)


def matrix(some) -> np.ndarray:
    return np.array([[np.nan if v is None else float(v) for v in some[n]] for n in "ab"]).T


def numbers(some) -> np.ndarray:
    return np.array([float(v) for v in some["c"]])


def npy(some):
    np.save("d.npy", matrix(some))
    np.save("c.npy", numbers(some))
    return "d.npy", "c.npy"


def npz(some):
    np.savez("d.npz", x=matrix(some), c=numbers(some))
    return ("d.npz",)


def packed_npz(some):
    np.savez_compressed("d.npz", x=matrix(some), c=numbers(some))
    return ("d.npz",)


def idx(some):
    Path("d-idx2").write_bytes(idx_bytes(matrix(some).astype("f4")))
    Path("c-idx1.gz").write_bytes(gzip.compress(idx_bytes(numbers(some).astype("f4"))))
    return "d-idx2", "c-idx1.gz"


# How each kind is written, what a message calls it, and whether its columns have names.
KINDS = {
    "csv": (csv, "d.csv", True),
    "tsv": (tsv, "d.tsv", True),
    "csv.gz": (csv_gz, "d.csv.gz", True),
    "parquet": (parquet, "d.parquet", True),
    "npy": (npy, "d.npy", False),
    "npz": (npz, "d.npz (x)", False),
    "packed npz": (packed_npz, "d.npz (x)", False),
    "idx": (idx, "d-idx2", False),
    "pandas": (lambda some: (pd.DataFrame(some),), "the pandas table", True),
    "polars": (lambda some: (pl.DataFrame(some, strict=False),), "the polars table", True),
    "arrow": (lambda some: (pa.table(some),), "the Arrow table", True),
}
VALUES = {
    "NaN": (float("nan"), "there is no value"),
    "missing": (None, "there is no value"),
    "infinity": (float("inf"), "inf.* is not a finite number"),
    "minus infinity": (float("-inf"), "-inf.* is not a finite number"),
}


def message(*data: object) -> str:
    """What fit says of these data, on one line."""
    with pytest.raises((DataError, FileError)) as caught:
        formula(TEXT).fit(*data, verbose=0, engine="interpreter", advice=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_defect_every_kind_is_taken():
    for write, _, _ in KINDS.values():
        formula(TEXT).fit(*write(columns()), verbose=0, engine="interpreter", advice=False)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_finite_number(kind, value):
    write, source, named = KINDS[kind]
    came, said = VALUES[value]
    text = message(*write(columns(value=came)))
    assert text.startswith(f"{source}, row 7, column {'b' if named else 2}: ")
    assert re.search(said, text)


@pytest.mark.parametrize("label", [3, -1, 0.5, 1e12])
@pytest.mark.parametrize("kind", KINDS)
def test_a_label_out_of_range(kind, label):
    write, source, named = KINDS[kind]
    some = columns(label=label)
    if kind in ("pandas", "polars", "arrow", "parquet"):
        some["c"] = [float(v) for v in some["c"]]
    text = message(*write(some))
    place = {"npy": "c.npy", "idx": "c-idx1.gz"}.get(kind, source.replace("(x)", "(c)"))
    assert text.startswith(f"{place}, row 7, column {'c' if named else 1}: ")
    assert "classes are whole numbers from 0 to 2" in text


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "pandas"])
@pytest.mark.parametrize("came", ["1e999", "-1e400", "12,5.3.1", "1O", "0x1A", "∞"])
def test_what_is_no_number_among_numbers(kind, came):
    if kind.startswith("csv") and "," in came:
        came = f'"{came}"'
    write, source, _ = KINDS[kind]
    text = message(*write(columns(value=came)))
    assert text.startswith(f"{source}, row 7, column b: ")
    assert "is not a finite number" in text


@pytest.mark.parametrize("kind", ["parquet", "polars", "arrow"])
def test_typed_columns_of_something_else(kind):
    write, source, _ = KINDS[kind]
    for column in ([b"x"] * ROWS, [{"q": 1}] * ROWS):
        some = columns() | {"b": column}
        text = message(*write(some) if kind == "parquet" else (write(some)[0].select(["a", "b"]), some["c"]))
        assert text.startswith(f"{source}, column b")


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "parquet", "pandas", "polars", "arrow"])
def test_texts_as_classes(kind):
    write, source, _ = KINDS[kind]
    text = message(*write(columns() | {"c": ["yes", "no", "maybe"] * 4}))
    assert text.startswith(f"{source}, column c holds texts")
    assert "numpy.unique" in text


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_of_something_else(kind):
    for array in (np.array(["a"] * ROWS), np.zeros(ROWS, "f4,i4"), np.zeros(ROWS, complex), np.zeros(ROWS, "M8[s]")):
        np.save("d.npy", array)
        np.savez("d.npz", x=array, c=numbers(columns()))
        assert message(*(("d.npy", "c.npy") if kind == "npy" else ("d.npz",))).startswith("d.np")


def test_names_that_stand_twice():
    Path("d.csv").write_text("a,b,a\n1,2,3\n")
    assert "the name a on several columns (1, 3)" in message("d.csv")
    pq.write_table(pa.table([[1.0], [2.0], [0]], names=["a", "a", "c"]), "d.parquet")
    assert "the name a on several columns (1, 2)" in message("d.parquet")
    assert "the name a on several columns (1, 3)" in message(pd.DataFrame([[1, 2, 3]], columns=["a", "c", "a"]))
    assert "the name a on several columns (1, 2)" in message(pa.table([[1.0], [2.0], [0]], names=["a", "a", "c"]))


# texts: what is wrong with a file as a whole; .gz of it says the same

GOOD = "a,b,c\n1,2,0\n3,4,1\n"
TEXTS = {
    "empty": (b"", "is empty"),
    "blank": (b"\n\n  \n", "is empty"),
    "only names": (b"a,b,c\n", "has no rows below its names"),
    "ragged, short": (b"a,b,c\n1,2,0\n3,4\n", "row 2: 2 values came where 3 columns are"),
    "ragged, long": (b"a,b,c\n1,2,0\n3,4,1,9\n", "row 2: 4 values came where 3 columns are"),
    "not UTF-8": (b"a,b,c\n1,2,0\n3,\xff4,1\n", "line 3, byte 3: this is not utf-8"),
    "a zero byte": (b"a,b,c\n1,2,0\n3,\0004,1\n", "line 3, byte 3: a zero byte"),
    "no text": (b"PK\3\4\0\0\0\0\0\0\n\0\0", "is no text"),
    "an open quote": (b'a,b,c\n1,2,0\n3,"4,1\n5,6,0\n', "row 2: a quote that begins here is never closed"),
    "an open quote in the last value": (b'a,b,c\n1,2,0\n3,4,"1\n5,6,0\n', "row 2: a quote that begins here is never"),
    "an open quote at the end": (b'a,b,c\n1,2,0\n3,4,"1', "row 2: a quote that begins here is never closed"),
    "an open quote among names": (b'a,"b,c\n1,2,0\n', "a quote that is never closed"),
    "100,001 names": (
        ",".join(f"n{k}" for k in range(100_001)).encode() + b"\n1\n",
        "100001 columns, more than 100000",
    ),
    "100,001 values": (b"0" + b",0" * 100_000 + b"\n", "100001 columns, more than 100000"),
    "a first line without an end": (b"a" * (2 * 2**20), "the first line has more than 1048576 bytes"),
}


@pytest.mark.parametrize("pack", ["", ".gz"])
@pytest.mark.parametrize("defect", TEXTS)
def test_a_bad_text_is_told_with_its_place(defect, pack):
    content, said = TEXTS[defect]
    Path(f"d.csv{pack}").write_bytes(gzip.compress(content, 1) if pack else content)
    text = message(f"d.csv{pack}")
    assert text.startswith(f"d.csv{pack}")
    assert said in text


@pytest.mark.parametrize("name", ["d.parquet", "d.npy", "d.npz", "d-idx1", "d-idx1.gz", "d-idx1.xz", "d.csv.gz"])
def test_an_empty_file_of_any_kind(name):
    Path(name).write_bytes(b"")
    assert message(name).startswith(name)


def test_a_parquet_file_without_rows():
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), "d.parquet")
    assert message("d.parquet").startswith("d.parquet has no rows")


@pytest.mark.parametrize("dictionary", [False, True])
def test_a_text_of_another_encoding_in_a_parquet_file(dictionary, monkeypatch):
    """pyarrow reads and writes such bytes without a look, and its functions for texts stumble over them."""
    texts = [b"ab"] * BAD_ROW + ["각".encode("cp949")] + [b"ab"] * 5
    table = pa.table({"a": pa.array(texts).view(pa.string()), "y": list(range(ROWS))})
    pq.write_table(table, "d.parquet", use_dictionary=dictionary)
    assert message("d.parquet").startswith("d.parquet, column a, row 7: the text is not UTF-8")
    monkeypatch.setattr(ParquetTable, "piece_rows", 4)
    with pytest.raises(DataError, match="column a, row 7: the text is not UTF-8"):
        list(ParquetTable(Path("d.parquet")).tables())


@pytest.mark.parametrize(
    "text", [GOOD.replace("\n", "\r\n"), GOOD.replace("\n", "\r"), "a,b,c\r\n1,2,0\n3,4,1\r\n", "a,b,c\n1,2,0\r3,4,1"]
)
def test_line_ends_of_every_kind_are_the_same_table(text):
    Path("d.csv").write_bytes(text.encode())
    found = {column.name: column.numbers.values.tolist() for column in read_table("d.csv").columns}
    assert found == {"a": [1.0, 3.0], "b": [2.0, 4.0], "c": [0.0, 1.0]}


@pytest.mark.parametrize("cell", ['"x ""y"""', '""', '5" pipe', '"a\nb"', '""""'])
def test_quotes_that_are_closed_are_no_defect(cell):
    for text in (f"a,b\n1,{cell}\n", f"a,b\n1,{cell}", f"b,a\n{cell},1\n"):
        Path("d.csv").write_text(text)
        assert read_table("d.csv").rows == 1
