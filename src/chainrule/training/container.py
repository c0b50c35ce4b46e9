"""One file of named arrays and texts, read under limits: what model files and checkpoints have in common.

    MODEL = Kind("model", "2", required=("formulas", "dtype"), optional=("notes",))
    write_bytes(path, pack(MODEL, {"w": array}, {"formulas": text, "dtype": "float32"}))

    container = open_container(path, MODEL)     # the header: checked, nothing of the data read yet
    container.metadata["formulas"]              # text → text; format, kind, version and checksums are taken out
    container.entries["w"].shape                # names, dtypes and shapes: look at these before the arrays
    container.arrays()["w"]                     # the data: read, checksum compared, finite or refused

The file is safetensors, which other programs read. Its metadata hold format "chainrule", the kind, the version, and two
checksums: data_sha256 over the bytes of the arrays, sha256 over the header, read with zeros in its own place. So every
bit counts: a flipped one, a truncated or a longer file, is an error, and never other numbers.

The same arrays and texts give the same bytes: the metadata, which the library writes in an order of chance, are sorted.

Before anything is allocated, a header must be within its limits (bytes, number of arrays, dtypes) and its entries must
cover the file's actual bytes without holes and overlaps. Reading costs at most twice the file's size.

Raises: `kind.error`, one line, for anything that is not as it should be.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from chainrule.errors import FileError, ModelFileError
from chainrule.messages import say
from chainrule.training.safetensors_header import ITEM_BYTES, MAX_FILE_BYTES, Entry, entry_of, fill
from chainrule.training.strict_json import Limits, read_json

Array = np.ndarray[Any, Any]

FORMAT = "chainrule"
BEGIN = b'{"__metadata__":'  # of every header that pack() writes
MAX_AXES = 16
MAX_NAME = 200
NO_SUM = "0" * 64
SUM_AT = re.compile(rb'(?<!\\)"sha256":"([0-9a-f]{64})"')
OWN = ("format", "kind", "version", "sha256", "data_sha256")


@dataclass(frozen=True)
class Kind:
    """A sort of file: its version, the names that its metadata must and may have, and its limits.

    `error` is what a bad file raises. A header of 4 MB has room for formulas of 200,000 characters, escaped, and
    10,000 arrays.
    """

    name: str
    version: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("F32", "F64")
    error: type[FileError] = ModelFileError
    max_header_bytes: int = 4_000_000
    max_arrays: int = 10_000
    finite: bool = True  # whether NaN and infinity are refused


@dataclass(frozen=True)
class Container:
    """A file whose header is in order."""

    path: Path
    kind: Kind
    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]
    _head: bytes = field(repr=False)
    _size: int
    _data_sum: str

    def arrays(self) -> dict[str, Array]:
        """Every array, fresh and writable. Raises: kind.error where the data are not those that were written."""
        content = _read(self.path, self.kind, self._size + 1)
        data = memoryview(content)[len(self._head) :]
        whole = len(content) == self._size and content.startswith(self._head)
        if not whole or hashlib.sha256(data).hexdigest() != self._data_sum:
            raise bad(self.path, self.kind, "checksum")
        try:
            arrays = load_tensors(content)
        except (SafetensorError, ValueError, KeyError, TypeError):
            raise bad(self.path, self.kind, "damaged") from None
        for name, array in arrays.items():
            if self.kind.finite and array.dtype.kind == "f" and not _finite(array):
                raise bad(self.path, self.kind, "not_finite", name=plain(name))
        return {name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}


# --- writing ----------------------------------------------------------------------------------------------------------


def pack(kind: Kind, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file; the same for the same content. Raises: kind.error where it could not be read again."""
    unknown = metadata.keys() ^ {*kind.required, *(n for n in kind.optional if n in metadata)}
    if unknown:
        raise AssertionError(f"metadata of a {kind.name}: {sorted(unknown)}")
    own = {"format": FORMAT, "kind": kind.name, "version": kind.version, "sha256": NO_SUM, "data_sha256": NO_SUM}
    content = save_tensors({n: np.asarray(a, order="C") for n, a in tensors.items()}, {**metadata, **own})
    (length,) = struct.unpack("<Q", content[:8])
    data = memoryview(content)[8 + length :]
    header = json.loads(content[8 : 8 + length])
    texts = header.pop("__metadata__") | {"data_sha256": hashlib.sha256(data).hexdigest()}
    head = _head({"__metadata__": dict(sorted(texts.items())), **header})
    if len(head) > kind.max_header_bytes:
        raise kind.error(say("hostile.header_too_long", came=len(head), limit=kind.max_header_bytes))
    if len(tensors) > kind.max_arrays:
        raise kind.error(say("hostile.arrays_to_write", came=len(tensors), limit=kind.max_arrays))
    odd = next((n for n, said in header.items() if _entry(kind, n, said) is None), None)
    if odd is not None:
        raise kind.error(say("hostile.cannot_keep", what=say(f"hostile.{kind.name}"), reason=plain(odd)))
    return b"".join((_signed(head), data))


def _head(header: Mapping[str, object]) -> bytes:
    """Length and header, filled up with spaces to a multiple of 8, as safetensors wants the data to begin."""
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _signed(head: bytes) -> bytes:
    place = _place_of_sum(head)
    assert place is not None
    return head[: place.start(1)] + hashlib.sha256(head).hexdigest().encode() + head[place.end(1) :]


def _place_of_sum(head: bytes) -> re.Match[bytes] | None:
    """Where the header's own checksum stands; within a text each quote has a backslash before it."""
    return SUM_AT.search(head)


# --- reading ----------------------------------------------------------------------------------------------------------


def open_container(path: Path, kind: Kind) -> Container:
    """Read and check the header. Raises: kind.error."""
    size, head = _read_head(path, kind)
    header = _header(path, kind, head)
    texts = header.pop("__metadata__", None)
    if not isinstance(texts, dict) or texts.get("format") != FORMAT or texts.get("kind", "model") != kind.name:
        raise bad(path, kind, "not_one")
    if texts.get("version") != kind.version:
        raise bad(path, kind, "version", came=plain(str(texts.get("version"))), wanted=kind.version)
    _check_sum(path, kind, head)
    _check_names(path, kind, texts)
    entries = _entries(path, kind, header, size, len(head))
    own = {name: text for name, text in texts.items() if name not in OWN}
    return Container(path, kind, own, entries, head, size, texts["data_sha256"])


def bad(path: Path, kind: Kind, key: str, **values: object) -> FileError:
    """The error of this kind of file: `say("hostile.<key>", path=…)`."""
    return kind.error(say(f"hostile.{key}", path=plain(str(path), 1000), what=say(f"hostile.{kind.name}"), **values))


def plain(text: str, most: int = 100) -> str:
    """A text from a file as a message shows it: what a terminal would obey is a replacement sign; not too long."""
    shown = "".join(c if c.isprintable() else "�" for c in text[: most + 1])
    return shown if len(text) <= most else f"{shown[:most]}…"


def _read(path: Path, kind: Kind, most: int) -> bytes:
    """At most so many bytes of a file. Not of a pipe or a device, which may have no end."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise bad(path, kind, "no_file")
        with open(path, "rb") as file:
            return file.read(most)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise bad(path, kind, "cannot_read", reason=error.strerror or error) from None
    except ValueError:  # a NUL in the path
        raise bad(path, kind, "no_file") from None


def _read_head(path: Path, kind: Kind) -> tuple[int, bytes]:
    """The file's size, and its first bytes up to the data."""
    start = _read(path, kind, 8)
    try:
        size = path.stat().st_size
    except OSError as error:  # it was there a moment ago
        raise bad(path, kind, "cannot_read", reason=error.strerror or error) from None
    if size > MAX_FILE_BYTES:
        raise bad(path, kind, "too_large", came=size, limit=MAX_FILE_BYTES)
    if len(start) < 8:
        raise bad(path, kind, "not_one")
    (length,) = struct.unpack("<Q", start)
    if length > min(kind.max_header_bytes, size - 8):
        begun = length <= kind.max_header_bytes and _read(path, kind, 8 + len(BEGIN))[8:] == BEGIN
        raise bad(path, kind, "cut_off", came=size) if begun else bad(path, kind, "not_one")
    head = _read(path, kind, 8 + length)
    if len(head) != 8 + length:
        raise bad(path, kind, "damaged")
    return size, head


def _header(path: Path, kind: Kind, head: bytes) -> dict[str, Any]:
    try:
        header = read_json(head[8:].decode(), Limits(kind.max_header_bytes, depth=4))
    except ValueError:
        raise bad(path, kind, "damaged" if b'"__metadata__"' in head else "not_one") from None
    if not isinstance(header, dict):
        raise bad(path, kind, "not_one")
    return header


def _check_sum(path: Path, kind: Kind, head: bytes) -> None:
    place = _place_of_sum(head)
    if place is None:
        raise bad(path, kind, "damaged")
    unsigned = head[: place.start(1)] + NO_SUM.encode() + head[place.end(1) :]
    if hashlib.sha256(unsigned).hexdigest().encode() != place[1]:
        raise bad(path, kind, "checksum")


def _check_names(path: Path, kind: Kind, texts: Mapping[str, object]) -> None:
    """The metadata are texts, and their names a closed list."""
    missing = {*OWN, *kind.required} - texts.keys()
    unknown = texts.keys() - {*OWN, *kind.required, *kind.optional}
    if missing or unknown or not all(isinstance(text, str) for text in texts.values()):
        raise bad(path, kind, "damaged")


def _entries(path: Path, kind: Kind, header: Mapping[str, Any], size: int, begin: int) -> dict[str, Entry]:
    """The arrays, which must fill the file from where the data begin to its end, each with what its shape needs."""
    if len(header) > kind.max_arrays:
        raise bad(path, kind, "too_many_arrays", came=len(header), limit=kind.max_arrays)
    entries = {}
    for name, said in header.items():
        entry = _entry(kind, name, said)
        if entry is None:
            raise bad(path, kind, "bad_array", name=plain(name))
        entries[name] = entry
    if max((e.end for e in entries.values()), default=0) > size - begin:
        raise bad(path, kind, "cut_off", came=size)
    if not fill(entries.values(), size - begin):
        raise bad(path, kind, "damaged")
    return entries


def _entry(kind: Kind, name: str, said: object) -> Entry | None:
    """One array's line of the header; None where it is not in order."""
    if not isinstance(said, dict) or said.keys() != {"dtype", "shape", "data_offsets"} or len(name) > MAX_NAME:
        return None
    return entry_of(said, {dtype: ITEM_BYTES[dtype] for dtype in kind.dtypes}, MAX_AXES)


def _finite(array: Array) -> bool:
    """Without a mask as large as the array: a sum is NaN or infinite where an entry is (or, rarely, overflows)."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum(dtype=np.float64))) or bool(np.isfinite(array).all())
