"""The arrays of .npy and .npz files, mapped where they lie in the file as they are in memory.

numpy.savez stores its members unpacked: each is an .npy file inside the archive, and its numbers can be mapped there.
What numpy.savez_compressed wrote must be unpacked, and is, where that is a small part of the memory.
"""

from __future__ import annotations

import io
import math
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from chainrule.errors import FileError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

NUMBERS = "biuf"  # kinds of dtypes
MAX_MEMBERS = 1000
MAX_HEADER = 10_000  # characters of an .npy header: NumPy's own limit, beyond which parsing it is dear
# In a header: NumPy has Python read it, which would warn of a backslash and of a word right behind a number.
SLOPPY = re.compile(rb"\\|(?<!\w)[0-9][\w.]*?(and|else|for|if|in|is|not|or)")
SUMMED_BYTES, PIECE_BYTES = 2**30, 2**20  # of a member whose sum is compared: a second's reading; of a piece of it
UNPACKED_SHARE = 4  # of the memory: what is unpacked stays there
LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # of a member, before its name


def map_arrays(path: Path, memory: int, kinds: str = NUMBERS) -> dict[str, Array]:
    """Every array of an .npz file by its name; of an .npy file the one it holds, named x; `kinds` of dtypes are taken.

    Raises: FileError for what is no whole file of numbers, or where unpacking takes more than a quarter of the memory.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for without end
            raise FileError(say("data.not_a_file", path=path))
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                file.seek(0)
                return {"x": _mapped(path, file, path.stat().st_size, kinds)}
            return _members(path, file, memory, kinds)
    except FileError:
        raise
    except FileNotFoundError:
        raise FileError(say("data.no_file", path=path)) from None
    except Exception as error:  # noqa: BLE001 (a damaged file raises what ast, tokenize, struct, zipfile and zlib raise)
        if isinstance(error, OSError) and error.errno is not None:
            raise FileError(say("data.cannot_read", path=path, reason=error.strerror)) from None
        raise FileError(say("data.not_numbers_file", path=path)) from None


def _members(path: Path, file: IO[bytes], memory: int, kinds: str) -> dict[str, Array]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if not members or len(members) > MAX_MEMBERS or len(set(names)) < len(names):
            raise FileError(say("data.not_numbers_file", path=path))
        packed = [m for m in members if m.compress_type != zipfile.ZIP_STORED]
        if UNPACKED_SHARE * sum(m.file_size for m in packed) > memory:
            raise FileError(say("sources.packed", path=path, came=sum(m.file_size for m in packed)))
        found: dict[str, Array] = {}
        for name, member in zip(names, members, strict=True):
            if member in packed:
                found[name] = _unpacked(path, archive, member, kinds)
            else:
                end = _within(path, file, member)
                _check_sum(path, file, member)
                found[name] = _mapped(path, file, end, kinds)
        return found


def _within(path: Path, file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where a stored member ends; the file is left at its start. Each member's own header says how long that is."""
    file.seek(member.header_offset)
    signature, _, flags, method, *_, name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    encrypted = bool(flags & 1)
    if signature != b"PK\3\4" or encrypted or method != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise FileError(say("data.not_numbers_file", path=path))
    file.seek(name_length + extra_length, 1)
    return file.tell() + member.file_size


def _check_sum(path: Path, file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """Compare a stored member, which begins here, with its sum, as unpacking would; the file is left where it was."""
    if member.file_size > SUMMED_BYTES:
        return
    start, left, found = file.tell(), member.file_size, 0
    while left and (piece := file.read(min(left, PIECE_BYTES))):
        left, found = left - len(piece), zlib.crc32(piece, found)
    if left or found != member.CRC:
        raise FileError(say("data.not_numbers_file", path=path))
    file.seek(start)


def _mapped(path: Path, file: IO[bytes], end: int, kinds: str) -> Array:
    """The array whose .npy header begins here, mapped; it must lie before `end`."""
    shape, fortran, dtype = _header(path, file, kinds)
    start = file.tell()
    if end > path.stat().st_size or start + math.prod(shape) * dtype.itemsize > end:
        raise FileError(say("data.not_numbers_file", path=path))
    if math.prod(shape) == 0:  # nothing can be mapped
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _unpacked(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, kinds: str) -> Array:
    with archive.open(member) as file:
        shape, fortran, dtype = _header(path, file, kinds)
        wanted = math.prod(shape) * dtype.itemsize
        if wanted > member.file_size:
            raise FileError(say("data.not_numbers_file", path=path))
        content = file.read(wanted)
        if len(content) != wanted or file.read(1):
            raise FileError(say("data.not_numbers_file", path=path))
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _header(path: Path, file: IO[bytes], kinds: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype of an .npy file. Raises: FileError for objects, records and texts."""
    readers = {
        (1, 0): (np.lib.format.read_array_header_1_0, 2),
        (2, 0): (np.lib.format.read_array_header_2_0, 4),
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:  # (3, 0) is for names of records that Latin-1 does not have
        raise FileError(say("data.not_numbers_file", path=path))
    reader, bytes_of_length = readers[version]
    length = file.read(bytes_of_length)
    header = file.read(min(int.from_bytes(length, "little"), MAX_HEADER + 1))
    if SLOPPY.search(header):
        raise FileError(say("data.not_numbers_file", path=path))
    shape, fortran, dtype = reader(io.BytesIO(length + header), max_header_size=MAX_HEADER)
    if dtype.kind not in kinds or not shape or min(shape) < 0:
        raise FileError(say("data.not_numbers_file", path=path))
    return shape, fortran, dtype
