"""Files of numbers or images → rows: NumPy's .npy and .npz, IDX (.gz and .xz too), PNG and JPEG.

Nothing in a file is run (no pickles), and nothing larger than MAX_BYTES is unpacked.
"""

from __future__ import annotations

import gzip
import lzma
import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import FileError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

MAX_BYTES = 4 * 2**30
MAX_PIXELS = 50_000_000  # of one image
IMAGES = (".png", ".jpg", ".jpeg", ".bmp")


def read_rows(path: str | Path) -> Array:
    """One row per sample: (N, …) of a NumPy or IDX file; an image is one row of grey values, (1, rows, columns).

    Raises: FileError, one line.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _bad(path, "file_too_large", limit=MAX_BYTES)
        if path.suffix.lower() in IMAGES:
            return _image(path)
        if path.suffix.lower() in (".npy", ".npz"):
            return _numpy(path)
        if "idx" in path.name.lower():
            return _idx(path)
    except FileError:
        raise
    except OSError as error:
        raise _bad(path, "cannot_read", reason=error.strerror or type(error).__name__) from None
    raise _bad(path, "unknown_format")


def _bad(path: Path, key: str, **values: object) -> FileError:
    return FileError(say(f"data.{key}", path=path, **values))


def _image(path: Path) -> Array:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _bad(path, "image_too_large", came=f"{image.width}×{image.height}", limit=MAX_PIXELS)
            return np.asarray(image.convert("L"), dtype=np.uint8)[None]
    except FileError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, EOFError):
        raise _bad(path, "not_an_image") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _bad(path, "not_an_image") from None  # Pillow says OSError for a truncated picture


def _numpy(path: Path) -> Array:
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            names = archive.files
            name = "x" if "x" in names else names[0] if len(names) == 1 else None
            if name is None:
                raise _bad(path, "which_array", names=", ".join(names) or "–")
            declared = sum(i.file_size for i in archive.zip.infolist())
            if declared > MAX_BYTES:
                raise _bad(path, "file_too_large", limit=MAX_BYTES)
            return np.asarray(archive[name])
    except FileError:
        raise
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, MemoryError, SyntaxError):
        raise _bad(path, "not_numbers_file") from None


def _idx(path: Path) -> Array:
    """IDX: two zeros, a type, the number of dimensions, the sizes, then the numbers, all big-endian."""
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix.lower(), open)
    types = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    try:
        with opener(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in types or not 1 <= head[3] <= 8:
                raise _bad(path, "not_idx")
            sizes = file.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise _bad(path, "not_idx")
            shape = struct.unpack(f">{head[3]}I", sizes)
            dtype = np.dtype(types[head[2]])
            wanted = math.prod(shape) * dtype.itemsize
            if wanted > MAX_BYTES:
                raise _bad(path, "file_too_large", limit=MAX_BYTES)
            content = file.read(wanted + 1)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, ValueError):
        raise _bad(path, "not_idx") from None
    if len(content) != wanted:
        raise _bad(path, "not_idx")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
