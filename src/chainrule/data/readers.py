"""Files of numbers or images → rows: NumPy's .npy and .npz, IDX (.gz and .xz too), PNG, JPEG and BMP.

Nothing in a file is run (no pickles), and nothing larger than MAX_BYTES is unpacked.
"""

from __future__ import annotations

import gzip
import lzma
import math
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.limits import Unpacked, check_archive, too_much
from chainrule.errors import FileError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

MAX_BYTES = 4 * 2**30
MAX_PIXELS = 50_000_000  # of one image; below Pillow's own limits, of 89 (it warns) and 179 million (it refuses)
PIECE_BYTES = 16 * 2**20  # read at a time: a header may promise 4 GB, and a file's few bytes should not reserve them
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")  # Pillow reads fifty more, whatever the suffix says
NUMBERS = "biuf"  # kinds of dtypes; no objects, records, texts or complex numbers
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_rows(path: str | Path) -> Array:
    """One row per sample: (N, …) of a NumPy or IDX file; an image is one row of grey values, (1, rows, columns).

    An .npz file holds one array, or one of the name x. Grey values are 0 to 255; transparency is not looked at.
    Raises: FileError, one line.
    """
    path = Path(path)
    try:
        _check_regular(path)
        return _reader(path)(path)
    except FileError:
        raise
    except FileNotFoundError:
        raise _bad(path, "no_file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte in it
        raise _bad(path, "cannot_read", reason=getattr(error, "strerror", None) or error) from None


def _check_regular(path: Path) -> None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a folder; or a pipe, which would be waited for without end
            raise _bad(path, "not_a_file")
    except ValueError as error:  # a zero byte in the name
        raise _bad(path, "cannot_read", reason=error) from None


def _reader(path: Path) -> Callable[[Path], Array]:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return _image
    if suffix in (".npy", ".npz"):
        return _numpy
    if "idx" in path.name.lower():
        return _idx
    raise _bad(path, "unknown_format")


def _bad(path: Path, key: str, **values: object) -> FileError:
    return FileError(say(f"data.{key}", path=path, **values))


def _image(path: Path) -> Array:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the stricter one
            image = Image.open(path, formats=FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise _bad(path, "image_too_large", limit=MAX_PIXELS)
            if image.mode.startswith("I"):  # 16 bits a pixel, where convert("L") would make 255 of all above
                return (np.asarray(image.convert("I")) // 257).astype(np.uint8)[None]
            return np.asarray(image.convert("L"), dtype=np.uint8)[None]
    except FileError:
        raise
    except Image.DecompressionBombError:
        raise _bad(path, "image_too_large", limit=MAX_PIXELS) from None
    except Exception as error:  # noqa: BLE001 (Pillow raises what it meets in a damaged file: SyntaxError, struct.error, …)
        _raise_of_the_system(error)
        raise _bad(path, "not_an_image") from None


def read_arrays(path: Path, kinds: str = NUMBERS + "U") -> dict[str, Array]:
    """Every array of an .npz file by name; of an .npy file the one it holds, named x; mapped where it can be.

    `kinds` are NumPy's letters for the dtypes that are taken: numbers, and texts. Raises: FileError, one line.
    """
    from chainrule.data.sources.npz import UNPACKED_SHARE, map_arrays

    try:
        _check_regular(path)
        with open(path, "rb") as file:
            archived = file.read(2) == b"PK"
        if archived and not check_archive(path, MAX_BYTES):
            return {}
        return map_arrays(path, UNPACKED_SHARE * MAX_BYTES, kinds)
    except FileError:
        raise
    except FileNotFoundError:
        raise _bad(path, "no_file") from None
    except Exception as error:  # noqa: BLE001 (a damaged file raises what ast, tokenize, struct, zipfile and zlib raise)
        if isinstance(error, OSError) and error.errno is not None:
            raise _bad(path, "cannot_read", reason=error.strerror) from None
        raise _bad(path, "not_numbers_file") from None


def _numpy(path: Path) -> Array:
    """The one array of a file, or the one of the name x; which kind of file it is, the content says."""
    arrays = read_arrays(path, NUMBERS)
    name = "x" if "x" in arrays else next(iter(arrays)) if len(arrays) == 1 else None
    if name is None:
        raise _bad(path, "which_array", names=", ".join(arrays) or "–")
    return arrays[name]


def _raise_of_the_system(error: Exception) -> None:
    """Raise again what the system said of the file (no permission, a bad disk) and no parser.

    Parsers raise OSError too, for a truncated file, but without an errno.
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _idx(path: Path) -> Array:
    """IDX: two zeros, a type, the number of dimensions, the sizes, then the numbers, all big-endian."""
    try:
        with open(path, "rb") as file:
            unpacked = Unpacked(path, file, MAX_BYTES)
            shape, dtype = _idx_header(path, unpacked)
            wanted = math.prod(shape) * dtype.itemsize
            if wanted > MAX_BYTES:
                raise _bad(path, "file_too_large", limit=MAX_BYTES)
            if wanted > unpacked.budget:
                raise too_much(path, unpacked.size, MAX_BYTES)
            if not unpacked.is_packed and wanted > unpacked.size:
                raise _bad(path, "not_idx")
            content = _read_at_most(unpacked, wanted + 1)  # one more: a file that goes on is not what its header says
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error):
        raise _bad(path, "not_idx") from None
    if len(content) != wanted:
        raise _bad(path, "not_idx")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _idx_header(path: Path, file: Unpacked) -> tuple[tuple[int, ...], np.dtype[Any]]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES or not 1 <= start[3] <= 8:
        raise _bad(path, "not_idx")
    sizes = file.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise _bad(path, "not_idx")
    return struct.unpack(f">{start[3]}I", sizes), np.dtype(IDX_TYPES[start[2]])


def _read_at_most(file: Unpacked, limit: int) -> bytearray:
    content = bytearray()
    while len(content) < limit:
        piece = file.read(min(PIECE_BYTES, limit - len(content)))
        if not piece:
            break
        content += piece
    return content
