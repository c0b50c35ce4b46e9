"""MNIST: 60,000 and 10,000 handwritten digits, 28 × 28 pixels, by LeCun, Cortes and Burges.

The package holds the four files xz-compressed (9 MB). They are unpacked once into the user's cache folder (55 MB),
checked against their SHA-256, and memory-mapped from there: 47 MB of pixels that all processes share, and that the
system may drop. Where the cache folder cannot be written, they are unpacked into memory, with a warning.
"""

from __future__ import annotations

import hashlib
import lzma
import math
import os
import struct
import tempfile
import warnings
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from chainrule.cache import cache_folder
from chainrule.data.datasets import Array, Dataset, Split
from chainrule.errors import DataError
from chainrule.messages import say

FILES = resources.files("chainrule.data.datasets") / "mnist_files"
SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


class CacheWarning(UserWarning):
    """The cache folder cannot be used; things are made again, in memory."""


def load_mnist(folder: Path | None = None) -> Dataset:
    """The data set; `folder` (the user's cache folder where None) keeps the unpacked files.

    Raises: DataError where the package's own files are damaged.
    """
    folder = folder or cache_folder() / "mnist"
    arrays = {name: _load(name, folder) for name in SHAPES}

    def split(stem: str) -> Split:
        images = arrays[f"{stem}-images-idx3-ubyte"]
        return Split(images.reshape(len(images), -1), arrays[f"{stem}-labels-idx1-ubyte"])

    return Dataset("mnist", split("train"), split("t10k"), (28, 28), 10)


def _load(name: str, folder: Path) -> Array:
    path = folder / name
    if not _is_whole(path, name):
        content = _unpack(name)
        try:
            _keep(path, content)
        except OSError as error:
            reason = error.strerror or str(error)
            warnings.warn(say("data.cache_unusable", path=folder, reason=reason), CacheWarning, stacklevel=4)
            return np.frombuffer(content, np.uint8, offset=_header_bytes(name)).reshape(SHAPES[name])
    return np.memmap(path, np.uint8, "r", offset=_header_bytes(name), shape=SHAPES[name])


def _header_bytes(name: str) -> int:
    return 4 + 4 * len(SHAPES[name])


def _header(name: str) -> bytes:
    """IDX: two zeros, 8 for bytes, the number of dimensions, then each size."""
    shape = SHAPES[name]
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)


def _is_whole(path: Path, name: str) -> bool:
    """Whether the unpacked file is there and right.

    Its SHA-256 is taken on every load: 0.1 s for all four with the processor's SHA instructions, and the one way to
    notice a flipped bit that changes neither size nor date.
    """
    try:
        if path.stat().st_size != len(_header(name)) + math.prod(SHAPES[name]):
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == _sums()[name]
    except OSError:
        return False


@cache
def _sums() -> dict[str, str]:
    lines = (FILES / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def _unpack(name: str) -> bytes:
    """The file's bytes, checked. Raises: DataError where the package is damaged."""
    limit = len(_header(name)) + math.prod(SHAPES[name])
    try:
        # max_length: no more is ever unpacked than the file may hold.
        content = lzma.LZMADecompressor().decompress((FILES / f"{name}.xz").read_bytes(), max_length=limit)
    except (lzma.LZMAError, OSError, EOFError):
        raise DataError(say("data.package_damaged", name=name)) from None
    if hashlib.sha256(content).hexdigest() != _sums()[name] or not content.startswith(_header(name)):
        raise DataError(say("data.package_damaged", name=name))
    return content


def _keep(path: Path, content: bytes) -> None:
    """Write beside the target, fsync, rename: several processes may do so at once, and each leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
