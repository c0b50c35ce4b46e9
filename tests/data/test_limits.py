"""Nothing is unpacked or allocated that a file has no room for: what it declares is compared with what it is."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chainrule.data import limits
from chainrule.data.readers import read_arrays, read_rows
from chainrule.data.tables import read_table
from chainrule.errors import DataError, FileError
from tests.data.test_readers import claims, idx_bytes, npy_bytes

MEGABYTE = 2**20
SMALL = 64 * 1024  # what any file may unpack to, in these tests


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(limits, "SMALL_BYTES", SMALL)
    monkeypatch.setattr(limits, "PIECE_BYTES", SMALL)


def refused(read, name: str, *, peak: int = 8 * MEGABYTE) -> str:
    """The one line; Python and NumPy allocated no more than `peak` bytes until it came."""
    with pytest.raises((FileError, DataError)) as caught:
        read(Path(name))
    tracemalloc.start()
    try:
        with pytest.raises((FileError, DataError)):
            read(Path(name))
        assert tracemalloc.get_traced_memory()[1] < peak
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def short_xz(content: bytes) -> bytes:
    """Preset 0 looks back over 256 KiB, so that unpacking takes no more; the usual one takes 8 MiB."""
    return lzma.compress(content, preset=0)


# a header promises more than there is


@pytest.mark.parametrize("shape", ["(400000000,)", "(1000000000000,)", f"({2**62}, {2**62})", "(20000, 20000)"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_with_no_room_in_its_file(shape, method):
    Path("d.npy").write_bytes(claims(shape))
    Path("d.npz").write_bytes(archive({"x.npy": claims(shape)}, method))
    for name in ("d.npy", "d.npz"):
        assert "not a whole NumPy file" in refused(read_arrays, name)
        assert "not a whole NumPy file" in refused(read_rows, name)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_an_idx_file_with_no_room(suffix):
    pack = {"": bytes, ".gz": gzip.compress, ".xz": short_xz}[suffix]
    Path(f"d-idx3{suffix}").write_bytes(pack(struct.pack(">BBBBIII", 0, 0, 14, 3, 60_000, 28, 28) + bytes(100)))
    said = refused(read_rows, f"d-idx3{suffix}")
    assert "not a whole IDX file" in said or "would unpack to more" in said


def test_a_long_or_nested_header():
    """NumPy parses headers with ast.literal_eval, which is dear on long ones."""
    for inside in ("(" * 5000 + ")" * 5000, "[" * 900 + "]" * 900, "-" * 9000 + "1", " " * 60_000):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {inside}, }}\n".encode()
        Path("d.npy").write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + bytes(8))
        assert "not a whole NumPy file" in refused(read_arrays, "d.npy")


@pytest.mark.parametrize(
    "array", [np.array([None]), np.zeros(2, "f4,i4"), np.zeros(2, "V8"), np.array([b"a"]), np.zeros(2, "M8[s]")]
)
def test_dtypes_that_are_no_numbers(array):
    Path("d.npy").write_bytes(npy_bytes(array))
    refused(read_arrays, "d.npy")
    Path("d.npz").write_bytes(archive({"x.npy": npy_bytes(array)}))
    refused(read_arrays, "d.npz")


# bombs


def test_an_archive_that_unpacks_to_much_more(small):
    Path("d.npz").write_bytes(archive({"x.npy": npy_bytes(np.zeros(2 * MEGABYTE, np.uint8))}))
    assert Path("d.npz").stat().st_size < 4000
    assert "would unpack to more than" in refused(read_arrays, "d.npz", peak=MEGABYTE)


def test_an_archive_that_lies_about_its_members():
    content = bytearray(archive({"x.npy": npy_bytes(np.zeros(100_000))}))
    place = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, place + 24, 2**32 - 2)  # the size in the directory
    Path("d.npz").write_bytes(content)
    refused(read_arrays, "d.npz")
    struct.pack_into("<I", content, place + 24, 200)
    Path("d.npz").write_bytes(content)
    refused(read_arrays, "d.npz")


@pytest.mark.parametrize(
    "members",
    [
        {f"a{k}.npy": b"" for k in range(limits.MAX_MEMBERS + 1)},
        {"../x.npy": npy_bytes(np.zeros(3))},
        {"/etc/x.npy": npy_bytes(np.zeros(3))},
        {"c:\\x.npy": npy_bytes(np.zeros(3))},
    ],
)
def test_archives_of_strange_members(members):
    Path("d.npz").write_bytes(archive(members))
    refused(read_arrays, "d.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_and_other_packings():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("x.npy", npy_bytes(np.zeros(3)))
        packed.writestr("x.npy", npy_bytes(np.ones(3)))
    Path("d.npz").write_bytes(file.getvalue())
    refused(read_arrays, "d.npz")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        Path("d.npz").write_bytes(archive({"x.npy": npy_bytes(np.zeros(3))}, method))
        refused(read_arrays, "d.npz")


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_packed_file_that_never_ends(small, suffix):
    pack = {".gz": gzip.compress, ".xz": short_xz}[suffix]
    Path(f"d-idx1{suffix}").write_bytes(pack(idx_bytes(np.zeros(3 * MEGABYTE, np.uint8))))
    assert "would unpack to more than" in refused(read_rows, f"d-idx1{suffix}", peak=MEGABYTE)
    # A header that promises little, and a file that goes on.
    Path(f"d-idx1{suffix}").write_bytes(pack(idx_bytes(np.zeros(10, np.uint8)) + bytes(3 * MEGABYTE)))
    assert "not a whole IDX file" in refused(read_rows, f"d-idx1{suffix}", peak=MEGABYTE)


def test_a_packed_text_that_never_ends(small):
    Path("d.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * MEGABYTE))
    assert "would unpack to more than" in refused(read_table, "d.csv.gz", peak=6 * MEGABYTE)


def test_an_xz_file_that_wants_much_memory(monkeypatch):
    Path("d-idx1.xz").write_bytes(lzma.compress(idx_bytes(np.zeros(10, np.uint8)), preset=6))
    assert read_rows(Path("d-idx1.xz")).tolist() == [0] * 10
    monkeypatch.setattr(limits, "XZ_MEMORY", MEGABYTE)  # preset 6 wants nine
    refused(read_rows, "d-idx1.xz")


def test_a_parquet_file_of_one_number_very_often(small):
    pq.write_table(pa.table({"a": np.zeros(MEGABYTE)}), "d.parquet")
    assert Path("d.parquet").stat().st_size < 20_000
    before = pa.total_allocated_bytes()
    assert "would unpack to more than" in refused(read_table, "d.parquet", peak=MEGABYTE)
    assert pa.total_allocated_bytes() == before


def test_a_parquet_file_of_one_long_text_very_often(small):
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["long" * 25_000]))
    pq.write_table(pa.table({"a": texts, "b": np.arange(2000.0)}), "d.parquet", store_schema=False, compression="none")
    assert pq.read_schema("d.parquet").field("a").type == pa.string()
    assert "would unpack to more than" in refused(read_table, "d.parquet")  # 200 MB of 120 KB


def test_an_honest_parquet_file_of_texts_is_read(small):
    words = [f"word {k % 7}" for k in range(500)]
    pq.write_table(pa.table({"a": words, "b": pa.array(words).dictionary_encode()}), "d.parquet")
    table = read_table("d.parquet")
    assert [c.words[0] for c in table.columns] == ["word 0", "word 0"]
    assert table.columns[0].codes.tolist() == [k % 7 for k in range(500)]


# odd paths


@pytest.mark.parametrize("name", ["d.npy", "d.npz", "d.csv", "d.csv.gz", "d.parquet", "d-idx1", "d-idx1.gz"])
def test_a_pipe_a_device_and_a_link_in_a_circle(name):
    import os

    read = read_rows if "idx" in name else read_table
    os.mkfifo(name)
    assert "not a regular file" in refused(read, name)
    os.remove(name)
    os.symlink("/dev/zero", name)
    assert "not a regular file" in refused(read, name)
    os.remove(name)
    os.symlink(name, name)
    assert "cannot be read" in refused(read, name)
