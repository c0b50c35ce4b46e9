"""What a Source is: rows that are read while a network trains on them, within a stated budget of memory.

A training asks for an epoch's rows in the order that its seed and the epoch's number fix, and may ask for them again
from any row on: that is what a resumed training does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.memory import DEFAULT_MEMORY

Array = np.ndarray[Any, Any]
Block = dict[str, Array]

BLOCK_BYTES, BLOCK_SHARE = 16 * 2**20, 16  # of a block; of the memory, where that is less


@dataclass(frozen=True)
class Field:
    """One quantity that each row has: its shape, without the axis of the rows, and its dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Of one row."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Order:
    """Which order an epoch has: that of epoch number `epoch`, from 0, by this seed."""

    seed: int
    epoch: int


class Source(ABC):
    """Rows that are read while a network trains on them.

    `fields` are what each row has, by name; `rows` how many there are, None where only the end of an epoch tells.
    `memory` is how many bytes it may hold at a time, buffers and blocks that wait together. Where `own_batches`, each
    block is a batch as it came, and a training takes it as one step. `block_rows` is how many rows a block should have,
    where the source is free to choose; 0: it chooses.
    """

    name: str = "data"  # for messages: a path, mostly
    fields: Mapping[str, Field]
    rows: int | None = None
    memory: int = DEFAULT_MEMORY
    own_batches: bool = False
    block_rows: int = 0

    @abstractmethod
    def blocks(self, order: Order | None, skip: int = 0) -> Iterator[Block]:
        """An epoch's rows in this order (None: as they lie there), in blocks of any length, without the first `skip`.

        The same order gives the same rows, whatever the memory and however often it is asked; blocks may be cut in
        other places. Numbers are finite: a source looks at what it reads.
        Raises: DataError and FileError, one line with file, row and column.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """What tells these data from others: equal for equal rows, wherever they lie. Raises: FileError."""

    def cannot_replay(self) -> str | None:
        """Why an epoch's rows cannot be had again, in the user's language; None where they can."""
        return None

    def in_place(self) -> Mapping[str, Array] | None:
        """All rows as contiguous arrays, where a training can gather from them itself; None where they must be read.

        Such a source gives the rows' order by `places`.
        """
        return None

    def places(self, order: Order | None, skip: int, step: int) -> Iterator[Array]:
        """The numbers of the rows, in the order of `blocks` and `step` at a time, checked: of `in_place` arrays."""
        raise NotImplementedError

    def head(self, rows: int) -> Block:
        """Some rows, at most so many: what shapes, kinds of targets and zeros are seen from.

        They are from everywhere, in their order, where any row is as cheap as the first; else the first ones.
        """
        parts: list[Block] = []
        found = 0
        blocks = self.blocks(None)
        for block in blocks:
            parts.append(block)
            found += len(next(iter(block.values())))
            if found >= rows:
                break
        close = getattr(blocks, "close", None)
        if close is not None:
            close()
        return {name: np.concatenate([part[name] for part in parts])[:rows] for name in self.fields}

    def largest(self, field: str) -> float | None:
        """The largest number of a field, in all rows: the last class. None where it takes too much to say."""
        if self.own_batches or self.cannot_replay() is not None:
            return None
        return max(float(block[field].max()) for block in self.blocks(None) if block[field].size)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name} {field.dtype}{list(field.shape)}" for name, field in self.fields.items())
        return f"<{type(self).__name__} {self.name}: {'?' if self.rows is None else self.rows} rows of {fields}>"

    @property
    def row_bytes(self) -> int:
        """Of all fields of a row."""
        return max(1, sum(field.bytes for field in self.fields.values()))

    @property
    def step(self) -> int:
        """How many rows to put into a block: about 16 MiB, and a 16th of the memory at most.

        One is worked on, one waits, one is made, and more are there for a moment when they are joined or converted.
        """
        if self.block_rows:
            return self.block_rows
        return max(1, min(BLOCK_BYTES, self.memory // BLOCK_SHARE) // self.row_bytes)
