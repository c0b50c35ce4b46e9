"""A seeded mutator: case number n of a target is the same bytes wherever it runs."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

LONGEST = 4096
INTERESTING = [b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b"\r\n", b" ", b"\t", b'"', b"'", b"\\", b",", b";", b"=", b"["]
INTERESTING += [b"]", b"(", b")", b"{", b"}", b"-", b"-1", b"0", b"1e999", b"NaN", b"9" * 30, b"4294967295"]
INTERESTING += [
    b"2147483648",
    b"18446744073709551616",
    "é∑−ﬁ".encode(),
    b"\xed\xa0\x80",
    "\u202e".encode(),
    b"../",
    b"%s",
]


def case(seeds: Sequence[bytes], tokens: Sequence[bytes], number: int, seed: int = 0) -> bytes:
    """One to eight changes to one of the seeds; of two cases one has a single change, so that many are accepted."""
    draw = random.Random((seed << 40) + number)
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        data = CHANGES[draw.randrange(len(CHANGES))](draw, data, seeds, tokens)
    return bytes(data[:LONGEST])


def _place(draw: random.Random, data: bytearray) -> int:
    return draw.randrange(len(data) + 1)


def _flip(draw: random.Random, data: bytearray, *_: object) -> bytearray:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _byte(draw: random.Random, data: bytearray, *_: object) -> bytearray:
    if data:
        data[draw.randrange(len(data))] = draw.randrange(256)
    return data


def _insert(draw: random.Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytearray:
    place = _place(draw, data)
    data[place:place] = draw.choice([*INTERESTING, *tokens] if not tokens or draw.random() < 0.3 else tokens)
    return data


def _replace(draw: random.Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytearray:
    place = _place(draw, data)
    data[place : place + draw.randrange(1, 9)] = draw.choice([*INTERESTING, *tokens])
    return data


def _delete(draw: random.Random, data: bytearray, *_: object) -> bytearray:
    place = _place(draw, data)
    del data[place : place + draw.choice([1, 1, 2, 4, 16, 64])]
    return data


def _copy(draw: random.Random, data: bytearray, *_: object) -> bytearray:
    start, length = _place(draw, data), draw.choice([1, 2, 4, 8, 32, 128])
    place = _place(draw, data)
    data[place:place] = data[start : start + length] * draw.choice([1, 1, 1, 2, 10, 60])
    return data


def _splice(draw: random.Random, data: bytearray, seeds: Sequence[bytes], _: object) -> bytearray:
    other = draw.choice(seeds)
    return data[: _place(draw, data)] + other[draw.randrange(len(other) + 1) :]


def _number(draw: random.Random, data: bytearray, *_: object) -> bytearray:
    """Another number where one stands in the text."""
    found = list(re.finditer(rb"[0-9]+", bytes(data)))
    if found:
        start, end = draw.choice(found).span()
        data[start:end] = draw.choice(
            [b"0", b"1", b"2", b"7", b"-1", b"255", b"65536", b"2147483647", b"9" * 25, b"1e400"]
        )
    return data


def _exchange(draw: random.Random, data: bytearray, *_: object) -> bytearray:
    """Two words of a text change places."""
    found = [m.span() for m in re.finditer(rb"[A-Za-z_]+", bytes(data))]
    if len(found) > 1:
        (a, b), (c, d) = sorted(draw.sample(found, 2))
        return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]
    return data


CHANGES = (_flip, _byte, _insert, _insert, _replace, _delete, _copy, _splice, _number, _exchange)
