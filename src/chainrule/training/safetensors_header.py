"""What a safetensors header says of its arrays, held against the bytes that are there: in our own files and in others'.

The library limits neither how many arrays a header lists nor what it promises of them before it reads one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "I64": 8,
    "U64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
MAX_FILE_BYTES = 64 * 2**30


@dataclass(frozen=True)
class Entry:
    """What the header says of an array: `dtype` as safetensors names it (F32); bytes count from the data's first."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def entry_of(said: object, item_bytes: Mapping[str, int], max_axes: int) -> Entry | None:
    """One array's line of the header; None where it is not in order, or of a dtype that is not among these.

    >>> entry_of({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ITEM_BYTES, 8)
    Entry(dtype='F32', shape=(2, 3), begin=0, end=24)
    """
    match said:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            whole = all(type(n) is int and 0 <= n <= MAX_FILE_BYTES for n in (*shape, begin, end))
            if dtype in item_bytes and whole and len(shape) <= max_axes:
                if end - begin == math.prod(shape) * item_bytes[dtype]:
                    return Entry(dtype, tuple(shape), begin, end)
    return None


def fill(entries: Iterable[Entry], room: int) -> bool:
    """Whether arrays fill so many bytes from the first to the last, without holes and overlaps."""
    end = 0
    for entry in sorted(entries, key=lambda e: (e.begin, e.end)):
        if entry.begin != end:
            return False
        end = entry.end
    return end == room
