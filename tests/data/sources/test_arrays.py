from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from chainrule.data.sources import Order, stream
from chainrule.data.sources import arrays as module
from chainrule.data.sources.arrays import MappedBlocks, MappedSource, mapped
from chainrule.errors import DataError, FileError, SettingError


def rows_of(source, order):
    return np.concatenate([block["x"] for block in source.blocks(order)])


def test_rows_come_in_dtypes_that_the_programs_know():
    given = {
        "x": np.arange(6, dtype=">f4").reshape(3, 2),
        "a": np.array([True, False, True]),
        "b": np.array([0.5, 1.5, 2.5], np.float16),
        "c": np.arange(3, dtype=np.int16),
    }
    source = stream(given)
    assert {n: str(f.dtype) for n, f in source.fields.items()} == {
        "x": "float32", "a": "uint8", "b": "float64", "c": "int16",
    }  # fmt: skip
    (block,) = source.blocks(None)
    for name, array in given.items():
        np.testing.assert_array_equal(block[name], array)
        assert block[name].dtype.isnative


def test_columns_in_any_order_of_the_bytes(tmp_path):
    rows = np.arange(60, dtype=np.float64).reshape(12, 5)
    np.save(tmp_path / "f.npy", np.asfortranarray(rows))
    source = stream(tmp_path / "f.npy", target=-1)
    (block,) = source.blocks(Order(1, 1))
    places = (block["t"] - 4).astype(int) // 5
    np.testing.assert_array_equal(block["x"], rows[places, :4])


@pytest.mark.parametrize("shuffle", ["rows", "blocks"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(tmp_path, shuffle, bad):
    x = np.ones((500, 3), np.float32)
    x[417, 2] = bad
    np.save(tmp_path / "x.npy", x)
    source = stream(tmp_path / "x.npy", shuffle=shuffle)
    source.block_rows = 64
    for order in (None, Order(0, 0)):
        with pytest.raises(DataError) as error:
            list(source.blocks(order))
        assert str(tmp_path / "x.npy") in str(error.value)
        assert "[417, 2]" in str(error.value)
        assert str(bad) in str(error.value)
        assert "\n" not in str(error.value)


def test_large_numbers_are_finite_though_their_sum_is_not():
    x = np.full((100, 2), 3e38, np.float32)
    np.testing.assert_array_equal(rows_of(stream((x,)), None), x)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"x": np.zeros((3, 2)), "t": np.zeros(4)}, "x: 3, t: 4"),
        ({"x": np.zeros((0, 2))}, "(0, 2)"),
        ({"x": np.zeros((3, 0))}, "(3, 0)"),
        ({"x": np.array(["a", "b"])}, "<U1"),
        ({"x": np.array([1j, 2])}, "complex128"),
        ({"x": np.array(3.0)}, "float64 ()"),
        ({}, "–"),
    ],
)
def test_what_are_no_rows_of_numbers(given, told):
    with pytest.raises(DataError) as error:
        mapped(given)
    assert told in str(error.value)


def test_an_exact_order_has_to_fit_into_a_quarter_of_the_memory():
    x = np.zeros(2**17 + 1, np.uint8)
    with pytest.raises(SettingError) as error:
        stream((x,), memory=2**21)
    wanted = 4 * 4 * (2**17 + 1)
    assert f"memory={wanted}" in str(error.value)
    assert stream((x,), memory=wanted).rows == 2**17 + 1


def test_many_rows_are_shuffled_in_blocks_whatever_the_memory(monkeypatch):
    monkeypatch.setattr(module, "EXACT_ROWS", 1000)
    x = np.arange(1001)
    assert isinstance(stream((x,), memory="2MB"), MappedBlocks)
    assert isinstance(stream((x,), memory="2GB"), MappedBlocks)
    assert isinstance(stream((x,), shuffle="rows"), MappedSource)
    assert isinstance(stream((x[:1000],), memory="2MB"), MappedSource)


def test_the_same_rows_in_another_shuffle_are_another_fingerprint():
    x = np.arange(100)
    assert stream((x,), shuffle="rows").fingerprint() != stream((x,), shuffle="blocks").fingerprint()


@pytest.mark.parametrize("shuffle", ["rows", "blocks"])
def test_a_file_that_is_changed_while_it_is_read(tmp_path, shuffle):
    np.save(tmp_path / "x.npy", np.zeros((1000, 3)))
    source = stream(tmp_path / "x.npy", shuffle=shuffle)
    source.block_rows = 10
    blocks = source.blocks(None)
    next(blocks)
    np.save(tmp_path / "other.npy", np.zeros((1000, 3)))
    os.replace(tmp_path / "other.npy", tmp_path / "x.npy")
    with pytest.raises(FileError, match="changed"):
        list(source.blocks(None))


def test_a_map_whose_file_became_shorter_is_an_error_and_no_crash(tmp_path):
    """In a process of its own: without the check it would end by SIGBUS."""
    code = f"""
import os, numpy as np
from chainrule.data.sources import stream
from chainrule.errors import FileError
path = {str(tmp_path / "x.npy")!r}
np.save(path, np.zeros((100_000, 3)))
source = stream((np.load(path, mmap_mode="r+"),))
source.block_rows = 1000
blocks = source.blocks(None)
next(blocks)
os.truncate(path, 1000)
try:
    for block in blocks:
        pass
except FileError as error:
    print("told", path in str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "told True\n"), done.stderr


def test_a_map_that_its_user_writes_to_is_read_on(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1000, 3)))
    own = np.load(tmp_path / "x.npy", mmap_mode="r+")
    source = stream((own,))
    own[3] = 1
    own.flush()
    assert rows_of(source, None)[3].tolist() == [1, 1, 1]


def test_the_blocks_are_small_beside_the_memory():
    x = np.zeros((100_000, 100), np.float32)
    source = stream((x,), memory="16MB")
    assert max(block["x"].nbytes for block in source.blocks(Order(0, 0))) <= 10**6
    source = stream((x,), memory="4GB")
    assert max(block["x"].nbytes for block in source.blocks(Order(0, 0))) <= 2**24


def test_a_wrong_shuffle():
    with pytest.raises(SettingError, match="'rows'"):
        stream((np.zeros(3),), shuffle="random")
