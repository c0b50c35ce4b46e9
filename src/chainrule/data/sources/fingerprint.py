"""What tells data from others: a SHA-256 over names, shapes, dtypes and numbers.

Up to 1 GiB of an array all of it goes in; of a larger one 1,024 blocks of 1 MiB, evenly spread from its first row to
its last: a week's training is not kept waiting by a terabyte, and a single number that was changed in such an array may
go unseen.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.sources.checked import converted, native
from chainrule.data.sparse import SparseRows
from chainrule.errors import FileError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

WHOLE_BYTES = 2**30
BLOCKS, BLOCK_BYTES = 1024, 2**20


def fingerprint_of(arrays: Mapping[str, Any]) -> str:
    """Of arrays or SparseRows by name: 64 hexadecimal digits, the same for a memory-mapped file and its copy in memory.

    >>> import numpy as np
    >>> fingerprint_of({"x": np.eye(2)}) == fingerprint_of({"x": np.asfortranarray(np.eye(2))})
    True
    """
    digest = Digest()
    for name, array in arrays.items():
        digest.array(name, array)
    return digest.text()


class Digest:
    """A SHA-256 that is told arrays, files and words, each with what it is and how long."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def words(self, *words: object) -> None:
        """Words and numbers. Each goes in with its length, so that none can stand for two."""
        for word in words:
            content = str(word).encode("utf-8", "surrogateescape")
            self._sha.update(f"{len(content)}:".encode() + content)

    def array(self, name: str, array: Any) -> None:
        """An array's name, shape, dtype and numbers, wherever and in whatever order they lie."""
        if isinstance(array, SparseRows):
            self.words("sparse", name, *array.shape, array.width)
            stored = slice(int(array.starts[0]), int(array.starts[-1]))
            self.array("starts", array.starts - array.starts[0])
            self.array("places", array.places[stored])
            self.array("values", array.values[stored])
            return
        array = np.asanyarray(array)
        rows = array.reshape(1) if array.ndim == 0 else array
        self.rows(name, array.shape, array.dtype, lambda start, stop: rows[start:stop])

    def rows(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[int, int], Array]) -> None:
        """The same of rows that are read as they are wanted, from start to stop."""
        dtype = (native(dtype) or dtype).newbyteorder("<")
        self.words("array", name, dtype.str, *shape)
        if math.prod(shape):
            for start, stop in _pieces(shape[0] if shape else 1, math.prod(shape[1:]) * dtype.itemsize):
                self._sha.update(np.ascontiguousarray(converted(read(start, stop), dtype)).data)

    def file(self, path: Path) -> None:
        """A file's size and content. Raises: FileError."""
        try:
            with open(path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                self.words("file", size)
                for start, stop in _pieces(size, 1):
                    file.seek(start)
                    self._sha.update(file.read(stop - start))
        except OSError as error:
            raise FileError(say("data.cannot_read", path=path, reason=error.strerror or error)) from None

    def files(self, paths: Iterable[Path]) -> None:
        """All of many small files, one after the other. Raises: FileError."""
        for path in paths:
            self.file(path)

    def text(self) -> str:
        """64 hexadecimal digits."""
        return self._sha.hexdigest()


def _pieces(count: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of what goes in: of `count` rows of so many bytes."""
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    if count * row_bytes <= WHOLE_BYTES or count <= BLOCKS * step:
        yield from ((start, min(start + step, count)) for start in range(0, count, step))
        return
    for number in range(BLOCKS):
        start = (count - step) * number // (BLOCKS - 1)
        yield start, start + step
