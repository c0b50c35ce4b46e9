"""Budgets for files that unpack to more than they are: gzip, xz, archives of arrays, Parquet.

A file may unpack to MAX_RATIO times its size, to SMALL_BYTES in any case, and never to more than the caller's limit.
What a header declares is compared with that before anything is allocated.
"""

from __future__ import annotations

import gzip
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from chainrule.errors import FileError
from chainrule.messages import say

MAX_RATIO = 250  # numbers and texts seldom pass 50; deflate reaches 1,032 on zeros, xz some 7,000
SMALL_BYTES = 128 * 2**20  # that may come of any file, however small
MAX_MEMBERS = 1000  # of an archive
PIECE_BYTES = 4 * 2**20  # unpacked at a time
PACKED_PIECE = 64 * 2**10
XZ_MEMORY = 128 * 2**20  # of the unpacker: `xz -9` makes files that want 65 MiB, a header may ask for 4 GiB
NUMBER_BYTES = 8  # a number, decoded
OFFSET_BYTES = 4  # where a text lies


def allowed(packed: int, limit: int) -> int:
    """How many bytes a file of `packed` bytes may unpack to.

    >>> allowed(1000, 2**32) == SMALL_BYTES, allowed(10**7, 2**32), allowed(10**9, 2**32) == 2**32
    (True, 2500000000, True)
    """
    return min(limit, max(SMALL_BYTES, MAX_RATIO * packed))


def too_much(path: Path, packed: int, limit: int) -> FileError:
    """The error for a file that unpacks to more than it may."""
    most = allowed(packed, limit)
    if most == limit:
        return FileError(say("data.file_too_large", path=path, limit=limit))
    return FileError(say("given.unpacks", path=path, packed=packed, limit=most))


class Unpacked:
    """A packed file, read like a plain one, within its budget: of a suffix .gz or .xz, or none of these."""

    def __init__(self, path: Path, file: IO[bytes], limit: int):
        self.path = path
        self.size = path.stat().st_size
        self.limit = limit
        self.is_packed = path.suffix.lower() in (".gz", ".xz")
        self._pieces = _pieces(file, path.suffix.lower())
        self._waiting = b""
        self._read = 0

    @property
    def budget(self) -> int:
        """How many bytes may come."""
        return allowed(self.size, self.limit) if self.is_packed else self.limit

    def read(self, count: int) -> bytes:
        """So many bytes, fewer only at the end. Raises: FileError where the file goes on beyond its budget."""
        found = bytearray()
        while len(found) < count:
            if not self._waiting:
                self._waiting = next(self._pieces, b"")
                self._read += len(self._waiting)
                if self.is_packed and self._read > self.budget + PIECE_BYTES:
                    raise too_much(self.path, self.size, self.limit)
                if not self._waiting:
                    break
            part, self._waiting = self._waiting[: count - len(found)], self._waiting[count - len(found) :]
            found += part
        return bytes(found)


def _pieces(file: IO[bytes], suffix: str) -> Iterator[bytes]:
    """A file's bytes, unpacked. Raises: EOFError, OSError, LZMAError, zlib.error for a damaged one."""
    if suffix == ".xz":
        yield from _of_xz(file)
        return
    opened: Any = gzip.GzipFile(fileobj=file) if suffix == ".gz" else file
    while piece := opened.read(PIECE_BYTES):
        yield piece


def _of_xz(file: IO[bytes]) -> Iterator[bytes]:
    machine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
    while not machine.eof:
        packed = file.read(PACKED_PIECE) if machine.needs_input else b""
        if machine.needs_input and not packed:
            raise EOFError
        if piece := machine.decompress(packed, PIECE_BYTES):
            yield piece
    if machine.unused_data or file.read(1):
        raise lzma.LZMAError


def check_archive(path: Path, limit: int) -> list[str]:
    """The names in an .npz file, once it is known to be no bomb: members, names, declared sizes.

    Raises: FileError; what zipfile raises for a damaged file.
    """
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise FileError(say("given.members", path=path, came=len(members), limit=MAX_MEMBERS))
    size = path.stat().st_size
    if sum(member.compress_size for member in members) > size:
        raise FileError(say("data.not_numbers_file", path=path))
    unpacked = sum(member.file_size for member in members)
    stored = sum(m.file_size for m in members if m.compress_type == zipfile.ZIP_STORED)
    if unpacked > limit or unpacked - stored > allowed(size, limit):
        raise too_much(path, size, limit)
    for member in members:
        plain = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if not plain or set(member.filename) & set("/\\:"):  # NumPy writes neither; names with paths lead nowhere
            raise FileError(say("data.not_numbers_file", path=path))
    return [member.filename.removesuffix(".npy") for member in members]


def check_parquet(path: Path, metadata: Any, columns: int, limit: int) -> None:
    """Raises: FileError where a Parquet file declares more than it may decode to, before any of it is decoded."""
    size = path.stat().st_size
    encoded = sum(metadata.row_group(g).total_byte_size for g in range(metadata.num_row_groups))
    decoded = metadata.num_rows * columns * NUMBER_BYTES  # runs of equal numbers are a few bytes in the file
    if max(encoded, decoded) > allowed(size, limit):
        raise too_much(path, size, limit)


def check_texts(path: Path, encoded: Any, limit: int) -> None:
    """Raises: FileError where texts decode to more than they may: one of 1 MB that 10,000 rows share is 10 GB."""
    from pyarrow import compute

    size = path.stat().st_size
    total = 0
    for chunk in encoded.chunks:
        lengths = compute.binary_length(chunk.dictionary)
        total += compute.sum(lengths.take(chunk.indices)).as_py() or 0
        total += OFFSET_BYTES * len(chunk)
    if total > allowed(size, limit):
        raise too_much(path, size, limit)
