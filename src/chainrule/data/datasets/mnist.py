"""MNIST: 60,000 and 10,000 handwritten digits, 28 × 28 pixels, by LeCun, Cortes and Burges.

The package holds the four files xz-compressed (9 MB). They are unpacked once into the user's cache folder (55 MB),
checked against their SHA-256, and memory-mapped from there: 47 MB of pixels that all processes share, and that the
system may drop. Where the cache folder cannot be used, they are unpacked into memory, with a warning.
"""

from __future__ import annotations

import hashlib
import lzma
import math
import struct
import warnings
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from chainrule.cache import cache_folder
from chainrule.data.datasets.dataset import Array, Dataset, Split
from chainrule.data.whole_files import replacing
from chainrule.errors import FileError
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
    """The data set; `folder` (mnist in the user's cache folder where None) keeps the unpacked files.

    Raises: FileError where the package's own files are damaged.
    """
    folder = cache_folder() / "mnist" if folder is None else folder
    arrays: dict[str, Array] = {}
    trouble: OSError | None = None
    for name in SHAPES:
        try:
            arrays[name] = _mapped(name, folder)
        except FileError:
            raise
        except OSError as error:
            arrays[name] = _in_memory(name)
            trouble = trouble or error
    if trouble is not None:
        reason = trouble.strerror or str(trouble)
        warnings.warn(say("data.cache_unusable", path=folder, reason=reason), CacheWarning, stacklevel=2)
    return Dataset("mnist", _split(arrays, "train"), _split(arrays, "t10k"), (28, 28), 10, tuple("0123456789"))


def _split(arrays: dict[str, Array], stem: str) -> Split:
    images = arrays[f"{stem}-images-idx3-ubyte"]
    return Split(images.reshape(len(images), -1), arrays[f"{stem}-labels-idx1-ubyte"])


def _mapped(name: str, folder: Path) -> Array:
    """The file of the cache folder, made there first where it is missing or damaged. Raises: OSError, FileError."""
    path = folder / name
    if not _is_whole(path, name):
        _keep(path, _unpack(name))
    return np.memmap(path, np.uint8, "r", offset=len(_header(name)), shape=SHAPES[name])


def _in_memory(name: str) -> Array:
    return np.frombuffer(_unpack(name), np.uint8, offset=len(_header(name))).reshape(SHAPES[name])


def _header(name: str) -> bytes:
    """IDX: two zeros, 8 for bytes, the number of dimensions, then each size."""
    shape = SHAPES[name]
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)


def _size(name: str) -> int:
    return len(_header(name)) + math.prod(SHAPES[name])


def _is_whole(path: Path, name: str) -> bool:
    """Whether the unpacked file is there and right.

    Its SHA-256 is taken on every load: 0.1 s for all four with the processor's SHA instructions. A stamp of
    size and date would be cheaper, and would not notice a flipped bit.
    """
    try:
        if path.stat().st_size != _size(name):
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == _checksum(name)
    except FileError:
        raise
    except OSError:
        return False


def _checksum(name: str) -> str:
    if name not in _checksums():
        raise FileError(say("data.package_damaged", name="SHA256SUMS"))
    return _checksums()[name]


@cache
def _checksums() -> dict[str, str]:
    try:
        lines = (FILES / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
        return {name: digest for digest, name in (line.split() for line in lines)}
    except (OSError, ValueError):
        raise FileError(say("data.package_damaged", name="SHA256SUMS")) from None


def _unpack(name: str) -> bytes:
    """The file's bytes, checked. Raises: FileError where the package is damaged."""
    wanted = _checksum(name)
    try:
        # max_length: no more is ever unpacked than the file may hold.
        content = lzma.LZMADecompressor().decompress((FILES / f"{name}.xz").read_bytes(), max_length=_size(name))
    except (lzma.LZMAError, OSError, EOFError):
        raise FileError(say("data.package_damaged", name=f"{name}.xz")) from None
    if hashlib.sha256(content).hexdigest() != wanted:
        raise FileError(say("data.package_damaged", name=f"{name}.xz"))
    return content


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)
