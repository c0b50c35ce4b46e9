"""A large table's rows as a network reads them, written once to a file that has no name.

A training reads its rows again in every epoch. To decode Parquet and look up words each time would take longer than
the steps of a small network do, and rows of a file of numbers can be had in any order. So each row is written once, and
the file is mapped. It has no name from the start: whatever ends the process, its space is free again.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from chainrule.cache import cache_folder
from chainrule.data.memory import shown_bytes
from chainrule.data.sources.arrays import mapped
from chainrule.data.sources.source import Source
from chainrule.errors import FileError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

SPARE_BYTES = 64 * 2**20  # of the disk, that stay free


class Kept:
    """Rows that are added piece by piece, then mapped.

    Example:
    >>> rows = Kept("numbers")
    >>> rows.add({"x": np.zeros((2, 3), dtype=np.float32)})
    >>> rows.add({"x": np.ones((1, 3), dtype=np.float32)})
    >>> rows.mapped()["x"].tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, path: object):
        self.path = path
        self.rows = 0
        self._files: dict[str, IO[bytes]] = {}
        self._kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._mapped: dict[str, Array] | None = None

    def add(self, arrays: Mapping[str, Array]) -> None:
        """Further rows of every field, of the shapes and dtypes of the first ones. Raises: FileError."""
        for name, array in arrays.items():
            if name not in self._files:
                self._files[name] = _nameless(self.path)
                self._kinds[name] = (array.shape[1:], array.dtype)
            try:
                self._files[name].write(np.ascontiguousarray(array).data)
            except OSError as error:
                raise _cannot_keep(self.path, error) from None
        self.rows += len(next(iter(arrays.values())))

    def close(self) -> None:
        """Give up what was not mapped yet."""
        for file in self._files.values():
            file.close()

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return self.rows * sum(math.prod(shape) * dtype.itemsize for shape, dtype in self._kinds.values())

    def mapped(self) -> dict[str, Array]:
        """All rows by field; nothing can be added after. Raises: FileError."""
        if self._mapped is None:
            self._mapped = self._map()
        return self._mapped

    def source(self, name: str, memory: int) -> Source:
        """The rows as a training reads them. Raises: SettingError where the memory does not suffice."""
        return mapped(self.mapped(), name=name, memory=memory)

    def _map(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, file in self._files.items():
            try:
                file.flush()
            except OSError as error:
                raise _cannot_keep(self.path, error) from None
            shape, dtype = self._kinds[name]
            # The map keeps the file open.
            found[name] = np.memmap(file, dtype, "r", shape=(self.rows, *shape))
            file.close()
        return found


@contextmanager
def whole(*kept: Kept) -> Iterator[None]:
    """Rows that are mapped when all were added, or given up at an error."""
    try:
        yield
        for rows in kept:
            rows.mapped()
    finally:
        for rows in kept:
            rows.close()


def check_room(source: object, wanted: int) -> None:
    """Raises: FileError where the disk has no room for so many bytes."""
    folder = _folder(source)
    free = shutil.disk_usage(folder).free
    if free < wanted + SPARE_BYTES:
        shown = {"wanted": shown_bytes(wanted), "free": shown_bytes(free)}
        raise FileError(say("bigtables.no_room", path=source, folder=folder, **shown))


def _nameless(source: object) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=_folder(source), prefix="rows-")
    except OSError as error:
        raise _cannot_keep(source, error) from None


def _folder(source: object) -> Path:
    """The cache's, which is on a disk; /tmp is memory on many machines."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_keep(source, error) from None
    return folder


def _cannot_keep(source: object, error: OSError) -> FileError:
    reason = error.strerror or error
    return FileError(say("bigtables.cannot_keep", path=source, folder=cache_folder(), reason=reason))
