"""Taking model files apart and putting them together again, signed anew: what one does who wants to fool the reader."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header, as JSON holds it, and the data."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write(path: Path, header: dict[str, Any] | str, data: bytes) -> None:
    """The file with both checksums right for what it now holds; a header can be a text, which JSON may not hold."""
    path.write_bytes(signed(header, data))


def signed(header: dict[str, Any] | str, data: bytes) -> bytes:
    if isinstance(header, dict):
        if isinstance(header.get("__metadata__"), dict):
            header["__metadata__"]["data_sha256"] = hashlib.sha256(data).hexdigest()
            header["__metadata__"]["sha256"] = "0" * 64
        header = json.dumps(header, separators=(",", ":"))
    text = header.encode("utf-8", "surrogatepass")
    head = struct.pack("<Q", len(text)) + text
    at = head.find(b'"sha256":"') + len(b'"sha256":"')
    unsigned = head[:at] + b"0" * 64 + head[at + 64 :]
    return unsigned[:at] + hashlib.sha256(unsigned).hexdigest().encode() + unsigned[at + 64 :] + data
