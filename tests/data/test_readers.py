"""Files of numbers and images: what is read, and one clear line for all that can be wrong with a file."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from chainrule.data import readers
from chainrule.data.readers import read_rows
from chainrule.errors import FileError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array: np.ndarray) -> bytes:
    code = IDX_CODES[array.dtype.str[1:]]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz_bytes(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def png_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def refusal(path: Path) -> str:
    """The message, which is one line and names the file."""
    with pytest.raises(FileError) as caught:
        read_rows(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message.replace(str(path), "FILE")


# what is read


def test_a_numpy_file_is_mapped_and_comes_as_it_is(tmp_path):
    path = tmp_path / "rows.npy"
    array = np.arange(12.0).reshape(3, 4)
    np.save(path, array)
    rows = read_rows(path)
    assert isinstance(rows, np.memmap)
    assert np.array_equal(rows, array)


@pytest.mark.parametrize("arrays", [{"digits": GREY}, {"x": GREY, "y": np.zeros(3)}])
def test_an_archive_gives_its_one_array_or_x(tmp_path, arrays):
    np.savez(tmp_path / "rows.npz", **arrays)
    assert np.array_equal(read_rows(str(tmp_path / "rows.npz")), GREY)


def test_the_content_says_which_numpy_file_it_is(tmp_path):
    (tmp_path / "archive.npy").write_bytes(npz_bytes(x=GREY))
    (tmp_path / "array.npz").write_bytes(npy_bytes(GREY))
    assert np.array_equal(read_rows(tmp_path / "archive.npy"), GREY)
    assert np.array_equal(read_rows(tmp_path / "array.npz"), GREY)


@pytest.mark.parametrize("code", IDX_CODES)
@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_an_idx_file_of_every_type_and_packing(tmp_path, code, suffix, pack):
    array = np.arange(24).reshape(2, 3, 4).astype(code)
    path = tmp_path / f"rows-idx3{suffix}"
    path.write_bytes(pack(idx_bytes(array)))
    rows = read_rows(path)
    assert rows.dtype == array.dtype
    assert rows.dtype.isnative
    assert np.array_equal(rows, array)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".PNG", "PNG"), (".bmp", "BMP")])
def test_a_picture_is_one_row_of_grey_values(tmp_path, suffix, kind):
    path = tmp_path / f"digit{suffix}"
    path.write_bytes(png_bytes(Image.fromarray(GREY), kind))
    rows = read_rows(path)
    assert rows.dtype == np.uint8
    assert rows.shape == (1, 3, 4)
    assert np.array_equal(rows[0], GREY)


def test_a_jpeg_is_nearly_the_picture(tmp_path):
    grey = np.full((8, 8), 100, np.uint8)
    (tmp_path / "digit.jpg").write_bytes(png_bytes(Image.fromarray(grey), "JPEG"))
    assert np.abs(read_rows(tmp_path / "digit.jpg").astype(int) - 100).max() <= 2


def test_colours_become_grey(tmp_path):
    (tmp_path / "red.png").write_bytes(png_bytes(Image.new("RGB", (2, 2), "red")))
    assert read_rows(tmp_path / "red.png").tolist() == [[[76, 76], [76, 76]]]  # ITU-R 601: 0.299 of 255


def test_sixteen_bits_a_pixel_are_scaled_not_cut(tmp_path):
    """Pillow's own conversion makes 255 of every value above 255."""
    deep = np.array([[0, 257, 257 * 100, 65_535]], np.uint16)
    (tmp_path / "deep.png").write_bytes(png_bytes(Image.fromarray(deep)))
    assert read_rows(tmp_path / "deep.png").tolist() == [[[0, 1, 100, 255]]]


# what is refused

NOT_NUMPY = "FILE is not a whole NumPy file of real numbers: save it again with numpy.save, without objects or text"
NOT_IMAGE = "FILE is not a whole PNG, JPEG or BMP image: save it again, as PNG"
NOT_IDX = "FILE is not a whole IDX file: take another copy"
IDX = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
PNG = png_bytes(Image.fromarray(GREY))
NPY = npy_bytes(np.arange(12.0))


def claims(shape: str) -> bytes:
    """An .npy file with a header of this shape and eight bytes of numbers."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)


def without_npy() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "no array")
    return file.getvalue()


REFUSED = {
    "objects.npy": (lambda: npy_bytes(np.array([{}, print], object)), NOT_NUMPY),
    "objects.npz": (lambda: npz_bytes(x=np.array([{}, print], object)), NOT_NUMPY),
    "text.npy": (lambda: npy_bytes(np.array(["a", "b"])), NOT_NUMPY),
    "complex.npy": (lambda: npy_bytes(np.array([1j])), NOT_NUMPY),
    "record.npy": (lambda: npy_bytes(np.zeros(2, "f4,i4")), NOT_NUMPY),
    "one_number.npy": (lambda: npy_bytes(np.array(3.0)), NOT_NUMPY),
    "empty.npy": (lambda: b"", NOT_NUMPY),
    "half.npy": (lambda: NPY[:-1], NOT_NUMPY),
    "words.npy": (lambda: b"not numbers at all", NOT_NUMPY),
    "huge.npy": (lambda: claims("(9999999999999,)"), NOT_NUMPY),
    "overflow.npy": (lambda: claims(f"({2**63}, {2**63})"), NOT_NUMPY),
    "negative.npy": (lambda: claims("(-1,)"), NOT_NUMPY),
    "code.npy": (lambda: claims("(__import__('os').getpid(),)"), NOT_NUMPY),
    "half.npz": (lambda: npz_bytes(x=GREY)[:-30], NOT_NUMPY),
    "notes.npz": (without_npy, NOT_NUMPY),
    "two.npz": (lambda: npz_bytes(a=GREY, b=GREY), "FILE holds the arrays a, b: name one of them x, or keep one only"),
    "none.npz": (npz_bytes, "FILE holds the arrays –: name one of them x, or keep one only"),
    "words.png": (lambda: b"not an image at all", NOT_IMAGE),
    "empty.png": (lambda: b"", NOT_IMAGE),
    "half.png": (lambda: PNG[: len(PNG) // 2], NOT_IMAGE),
    "tiff.png": (lambda: png_bytes(Image.fromarray(GREY), "TIFF"), NOT_IMAGE),
    "wide.png": (
        lambda: png_bytes(Image.new("1", (10_000, 5_001))),
        "FILE has more than 50000000 pixels: make it smaller",
    ),
    "pillow_warns.png": (
        lambda: png_bytes(Image.new("1", (10_000, 10_000))),
        "FILE has more than 50000000 pixels: make it smaller",
    ),
    "pillow_refuses.png": (
        lambda: png_bytes(Image.new("1", (20_000, 10_000))),
        "FILE has more than 50000000 pixels: make it smaller",
    ),
    "empty-idx1": (lambda: b"", NOT_IDX),
    "header-idx1": (lambda: IDX[:7], NOT_IDX),
    "magic-idx3": (lambda: b"\x01" + IDX[1:], NOT_IDX),
    "type-idx3": (lambda: IDX[:2] + b"\x0a" + IDX[3:], NOT_IDX),
    "rank_0-idx3": (lambda: IDX[:3] + b"\x00" + IDX[4:], NOT_IDX),
    "rank_9-idx3": (lambda: IDX[:3] + b"\x09" + IDX[4:], NOT_IDX),
    "short-idx3": (lambda: IDX[:-1], NOT_IDX),
    "long-idx3": (lambda: IDX + b"\x00", NOT_IDX),
    "promise-idx1": (lambda: struct.pack(">BBBBI", 0, 0, 8, 1, 4 * 10**9), NOT_IDX),
    "promise-idx2": (
        lambda: struct.pack(">BBBBII", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1),
        "FILE holds more than 4294967296 bytes: split it",
    ),
    "words-idx3.gz": (lambda: IDX, NOT_IDX),
    "half-idx3.gz": (lambda: gzip.compress(IDX)[:-9], NOT_IDX),
    "damaged-idx3.gz": (lambda: gzip.compress(IDX)[:10] + b"\xff" * 30, NOT_IDX),
    "words-idx3.xz": (lambda: IDX, NOT_IDX),
    "half-idx3.xz": (lambda: lzma.compress(IDX)[:-9], NOT_IDX),
    "rows.csv": (
        lambda: b"1,2,3",
        "FILE has an unknown format: use .npy, .npz, .png, .jpg, .bmp, or an IDX file with idx in its name",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_refused_in_one_line(tmp_path, name):
    make, message = REFUSED[name]
    (tmp_path / name).write_bytes(make())
    assert refusal(tmp_path / name) == message


def test_a_missing_file_a_folder_and_a_pipe(tmp_path):
    assert refusal(tmp_path / "none.png") == "there is no file FILE: check its name and folder"
    (tmp_path / "folder.png").mkdir()
    assert refusal(tmp_path / "folder.png") == "FILE is not a regular file: name a file of numbers or an image"
    os.mkfifo(tmp_path / "pipe.npy")  # opening it would wait for a writer
    assert refusal(tmp_path / "pipe.npy") == "FILE is not a regular file: name a file of numbers or an image"
    with pytest.raises(FileError, match=r"cannot be read \(embedded null byte\): check the file and who may read it"):
        read_rows("a\0b.png")


@pytest.mark.parametrize("name", ["rows.npy", "rows.npz", "digit.png", "rows-idx1", "rows-idx1.gz", "rows-idx1.xz"])
def test_what_the_system_says_is_passed_on(tmp_path, monkeypatch, name):
    """The tests may run as root, whom no permission stops: so open() itself refuses here."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / name
    path.write_bytes(b"unread")
    monkeypatch.setattr("builtins.open", refuse)
    assert refusal(path) == "FILE cannot be read (Permission denied): check the file and who may read it"


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_BYTES", 10_000)
    (tmp_path / "bomb.npz").write_bytes(npz_bytes(x=np.zeros(10_000)))
    assert refusal(tmp_path / "bomb.npz") == "FILE holds more than 10000 bytes: split it"
    (tmp_path / "bomb-idx1.gz").write_bytes(gzip.compress(idx_bytes(np.zeros(20_000, np.uint8))))
    assert refusal(tmp_path / "bomb-idx1.gz") == "FILE holds more than 10000 bytes: split it"


def test_no_object_in_a_file_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    for name, content in (
        ("trap.npy", npy_bytes(np.array([Trap()], object))),
        ("trap.npz", npz_bytes(x=np.array([Trap()], object))),
    ):
        (tmp_path / name).write_bytes(content)
        refusal(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


SEEDS = {
    "f.npy": NPY,
    "f.npz": npz_bytes(x=GREY),
    "f.png": PNG,
    "f.jpg": png_bytes(Image.fromarray(GREY), "JPEG"),
    "f.bmp": png_bytes(Image.fromarray(GREY), "BMP"),
    "f-idx3": IDX,
    "f-idx3.gz": gzip.compress(IDX),
    "f-idx3.xz": lzma.compress(IDX),
}


# The folder is shared by the examples of a test, and every example writes its file anew.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(SEEDS)), data=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path, name, data):
    content = bytearray(SEEDS[name])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        rows = read_rows(tmp_path / name)
    except FileError as error:
        assert "\n" not in str(error)
    else:
        assert rows.dtype.kind in "biuf"
        assert math.prod(rows.shape) == rows.size
