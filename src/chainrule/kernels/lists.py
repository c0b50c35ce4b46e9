"""Rows of a data set as lists of their non-zeros, made once per training by a compiled kernel.

The pixels of MNIST are 81 % zeros, one-hot columns more: a product that walks the non-zeros does a fifth of the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from chainrule.data.sparse import CHUNK_NUMBERS, SparseRows
from chainrule.formula.evaluate import Array
from chainrule.kernels.compile import Compiled, compile_source, pointer
from chainrule.kernels.threads import CONTROL_WORDS, run_team

BLOCK = (
    196  # columns, at most, of a block, whose weights stay near: 50 KB in four panels. Of shorter lists more would end.
)
# Numbers: two cache lines of bytes, as processors fetch them. One number each made two threads 2.3 × slower.
TRASH = 128
# Entries of shared lists for each non-zero: with fewer, sharing is faster. Measured with the gathering on random
# pixels, and 48 to 128 columns of deltas: 0.98 to 1.02 of the time at 0.56, 1.02 to 1.1 at 0.66. MNIST has 0.58; there
# nothing changes with 100 columns, and with 512 the gradient takes 0.85 to 0.93 of the time.
SHARED = 0.62
NUMBERS_A_BLOCK = 8  # of a sparse table's row: each block costs a call, and 8 bytes of `starts`
SAMPLED_ROWS = 512  # from which the density is estimated: evenly spaced, so that the same data take the same path


@dataclass(frozen=True)
class Lists:
    """Row r's non-zeros are values[e] in column places[e] for starts[r*blocks] ≤ e < starts[(r + 1)*blocks].

    A row comes in blocks of `block` columns, so that a product can finish one block's weights, which stay near, before
    it takes the next. Where entries are `shared`, each is of two columns, 2·places[e] and the one behind it, with
    values[2·e] and values[2·e + 1], of which one may be 0.
    """

    starts: Array
    places: Array
    values: Array
    blocks: int
    block: int
    shared: bool = False

    @property
    def longest(self) -> int:
        """The most values that a row has."""
        return int(self.lengths.max(initial=0)) * (1 + self.shared)

    @property
    def lengths(self) -> Array:
        """How many entries each row has."""
        return np.diff(self.starts[:: self.blocks])

    @property
    def stored(self) -> int:
        """How many non-zeros there are."""
        entries = int(self.starts[-1])
        return int(np.count_nonzero(self.values[: 2 * entries])) if self.shared else entries

    def most(self, rows: int) -> int:
        """The most entries that so many rows have."""
        lengths = self.lengths
        if len(lengths) <= rows:
            return int(lengths.sum())
        return int(np.partition(lengths, len(lengths) - rows)[len(lengths) - rows :].sum())


def density(array: Array) -> float:
    """The share of numbers that are not 0, in a sample of the rows."""
    rows = array[:: max(1, len(array) // SAMPLED_ROWS)]
    return float(np.count_nonzero(rows)) / max(rows.size, 1)


def neighbours_together(array: Array) -> bool:
    """Whether two neighbouring columns should share entries: whether they are mostly not 0 in the same rows."""
    there = array[:: max(1, len(array) // SAMPLED_ROWS)].reshape(-1, array[0].size) != 0
    even = there.shape[1] // 2 * 2
    entries = np.count_nonzero(there[:, :even:2] | there[:, 1:even:2]) + np.count_nonzero(there[:, even:])
    return bool(entries < SHARED * np.count_nonzero(there))


def blocks_of(width: int) -> tuple[int, int]:
    """(how many, how wide) blocks of so many columns are. Two neighbouring columns, 2c and 2c + 1, are in one block."""
    block = -(-width // -(-width // BLOCK))
    block += block % 2
    return -(-width // block), block


def compress(array: Array, dtype: str, threads: int, shared: bool = False) -> Lists:
    """The lists of an array's rows; further axes count as one row. `array` is contiguous, uint8 or float."""
    rows, width = len(array), int(np.prod(array.shape[1:], dtype=np.int64))
    text = (_SHARED if shared else _SINGLE) + _ROWS
    compiled = compile_source(text.replace("SOURCE", str(array.dtype)).replace("TRASH", str(TRASH)), dtype)
    blocks, block = blocks_of(width)
    starts = np.zeros(rows * blocks + 1, dtype=np.int64)
    # More room for each thread, where it writes what is 0: lines of its own, which no other thread waits for.
    made: list[Array] = [np.empty(0, np.int32), np.empty(0, array.dtype)]
    scalar, control = np.zeros(1), np.zeros(CONTROL_WORDS, np.int64)
    for fill in (0, 1):
        if fill:
            np.cumsum(starts, out=starts)
            entries = starts[-1] + threads * TRASH
            made = [np.empty(entries, np.int32), np.empty(entries * (1 + shared), array.dtype)]
        address = np.array([a.ctypes.data for a in (array, starts, *made)], dtype=np.int64)
        number = np.array([rows, width, fill, blocks, block], dtype=np.int64)
        words = [pointer(a) for a in (address, number, scalar, control)]
        run_team(partial(_fill, compiled, threads, words), threads, _nothing, _nothing)
    return Lists(starts, made[0], made[1], blocks, block, shared)


def lists_of(rows: SparseRows) -> Lists:
    """A sparse table's lists, in as many blocks of columns as its rows have numbers for.

    The table's own places and values are shared. Eight blocks at least, where it is so wide, for threads to share.
    """
    wanted = max(8, rows.stored // max(len(rows), 1) // NUMBERS_A_BLOCK)
    blocks = min(-(-rows.width // BLOCK), wanted)
    block = -(-rows.width // blocks)
    blocks = -(-rows.width // block)
    if blocks == 1:
        return Lists(rows.starts, rows.places, rows.values, 1, rows.width)
    starts = np.empty(len(rows) * blocks + 1, dtype=np.int64)
    starts[-1] = rows.starts[-1]
    step = max(1, CHUNK_NUMBERS // blocks)
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        own = np.repeat(np.arange(len(some)) * blocks, some.lengths())
        own += some.places[some.starts[0] : some.starts[-1]] // block
        counts = np.bincount(own, minlength=len(some) * blocks)
        begin = first * blocks
        starts[begin : begin + len(counts)] = some.starts[0] + np.cumsum(counts) - counts
    return Lists(starts, rows.places, rows.values, blocks, block)


def _fill(compiled: Compiled, threads: int, words: list[Any], thread: int) -> None:
    compiled.entry(thread, threads, *words)


def _nothing() -> None:
    """What looks on meanwhile."""


_SINGLE = '''"""Rows of numbers as lists of their non-zeros."""

def count(begin, end, source):
    found = 0
    for q in range(begin, end):
        found += int64(F(source[q]) != F(0))
    return found

def fill(begin, width, first, trash, source, places, values):
    # No branch: what is 0 is written too, to a place that nobody reads.
    e = first + 0
    for c in range(width):
        value = source[begin + c]
        found = F(value) != F(0)
        place = select(found, e, trash)
        places[place] = c
        values[place] = value
        e = e + int64(found)
'''

_SHARED = '''"""Rows of numbers as lists of two columns each, of which at least one is not 0."""

def count(begin, end, source):
    pairs = (end - begin) // 2
    found = 0
    for p in range(pairs):
        found += int64(F(source[begin + 2 * p]) != F(0) or F(source[begin + 2 * p + 1]) != F(0))
    if begin + 2 * pairs < end:
        found += int64(F(source[end - 1]) != F(0))
    return found

def fill(begin, width, first, trash, source, places, values):
    # No branch: what is 0 is written too, to a place that nobody reads.
    e = first + 0
    for p in range(width // 2):
        left = source[begin + 2 * p]
        right = source[begin + 2 * p + 1]
        found = F(left) != F(0) or F(right) != F(0)
        place = select(found, e, trash)
        places[place] = p
        values[2 * place] = left
        values[2 * place + 1] = right
        e = e + int64(found)
    if width // 2 * 2 < width:
        last = source[begin + width - 1]
        place = select(F(last) != F(0), e, trash)
        places[place] = width // 2
        values[2 * place] = last
        values[2 * place + 1] = 0
'''

_ROWS = """
def epoch(thread, threads, address, number, scalar, control):
    source = SOURCE_at(address[0])
    starts = int64_at(address[1])
    places = int32_at(address[2])
    values = SOURCE_at(address[3])
    rows = number[0]
    width = number[1]
    blocks = number[3]
    trash = starts[rows * blocks] + thread * TRASH
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        if number[2] == 0:
            for b in range(blocks):
                begin = row * width + b * number[4]
                starts[row * blocks + b + 1] = count(begin, least(begin + number[4], (row + 1) * width), source)
        else:
            fill(row * width, width, starts[row * blocks], trash, source, places, values)
    return 0
"""
