"""Arrays mapped out of .npy and .npz files: NumPy's own reading is the oracle."""

from __future__ import annotations

import io
import os
import random
import zipfile

import numpy as np
import pytest

from chainrule.data.sources.npz import map_arrays
from chainrule.errors import ChainruleError, FileError

ARRAYS = {
    "x": np.arange(24, dtype=np.float32).reshape(4, 6),
    "labels": np.array([3, 1, 2, 0]),
    "fortran": np.asfortranarray(np.arange(8.0).reshape(4, 2)),
    "big": np.arange(4, dtype=">i2"),
    "empty": np.zeros((0, 3)),
    "flags": np.array([True, False, True, True]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_is_as_numpy_reads_it(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    found = map_arrays(path, 2**20)
    with np.load(path) as wanted:
        assert set(found) == set(wanted.files)
        for name in wanted.files:
            assert found[name].dtype == wanted[name].dtype
            np.testing.assert_array_equal(found[name], wanted[name])


def test_what_is_stored_is_mapped_and_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((1000, 1000)))
    found = map_arrays(tmp_path / "a.npz", 2**20)  # 8 MB under a budget of 1 MB
    assert isinstance(found["x"], np.memmap)
    assert not found["x"].flags.writeable


def test_what_is_compressed_must_fit_into_a_quarter_of_the_memory(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 1000)))
    with pytest.raises(FileError, match=r"numpy\.savez"):
        map_arrays(tmp_path / "a.npz", 2**24)
    assert map_arrays(tmp_path / "a.npz", 2**25)["x"].shape == (1000, 1000)


def npy(header: bytes, content: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + content


HEADER = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }\n"

BAD = {
    "nothing": b"",
    "a word": b"hello",
    "a magic": b"\x93NUMPY",
    "no header": b"\x93NUMPY\1\0",
    "promises more": npy(HEADER % b"1000000000000, 3", b"\0" * 24),
    "one byte short": npy(HEADER % b"3,", b"\0" * 23),
    "a negative size": npy(HEADER % b"-3,", b"\0" * 24),
    "an overflow": npy(HEADER % b"4294967296, 4294967296, 4294967296", b"\0" * 24),
    "no dimension": npy(HEADER % b"", b"\0" * 8),
    "objects": npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n", b"\0" * 24),
    "records": npy(b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }\n", b"\0" * 24),
    "texts": npy(b"{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }\n", b"\0" * 24),
    "complex": npy(b"{'descr': '<c16', 'fortran_order': False, 'shape': (3,), }\n", b"\0" * 48),
    "code": npy(b"__import__('os').system('true')\n"),
    "a long header": npy(b"(" * 20_000),
    "version 9": npy(HEADER % b"3,", b"\0" * 24, b"\x09\0"),
    "no zip": b"PK\3\4" + b"\0" * 100,
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_one_line(tmp_path, name):
    for path, content in ((tmp_path / "a.npy", BAD[name]), (tmp_path / "a.npz", BAD[name])):
        path.write_bytes(content)
        with pytest.raises(FileError) as error:
            map_arrays(path, 2**20)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_member_is_told_in_one_line(tmp_path, name, compression):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", BAD[name])
    with pytest.raises(FileError):
        map_arrays(path, 2**24)


def test_no_damage_brings_anything_but_our_own_errors(tmp_path):
    """Every 50th byte changed, and every length cut: what is read then has the right size, or is refused."""
    path, drawn = tmp_path / "a.npz", random.Random(0)
    np.savez(path, x=ARRAYS["x"], labels=ARRAYS["labels"])
    whole = path.read_bytes()
    cases = [whole[:length] for length in range(0, len(whole), 7)]
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << drawn.randrange(8)
        cases.append(bytes(changed))
    refused = 0
    for case in cases:
        path.write_bytes(case)
        try:
            for array in map_arrays(path, 2**20).values():
                assert array.nbytes <= len(case)
                array.tobytes()
        except ChainruleError:
            refused += 1
    assert refused > len(cases) // 4


def test_two_members_of_one_name(tmp_path):
    one = io.BytesIO()
    np.save(one, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", one.getvalue())
        archive.writestr("x", one.getvalue())
    with pytest.raises(FileError):
        map_arrays(tmp_path / "a.npz", 2**20)


def test_no_file_a_folder_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    for name in ("none.npy", ".", "pipe.npy"):
        with pytest.raises(FileError):
            map_arrays(tmp_path / name, 2**20)


def test_a_number_that_is_not_what_was_saved(tmp_path):
    """The archive has a sum of each member, which mapping alone would not look at."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(1000.0))
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="not a whole NumPy file"):
        map_arrays(path, 2**20)
