"""Where an entry of a tensor lies in memory.

Row-major, or in panels. In panels, PANEL columns at a time lie one row after the other, so that the microkernels read
the right side of a product in order, and vectors never straddle a row's end. A tensor that is the right side of two
products over different columns (W forward, its transpose backward) has a second copy, which whoever writes the tensor
writes too. A parameter, its gradient and its states share one layout, so that an update runs over memory from end to
end.

Row-major tensors of one or two indices have room at the end of each row: a whole number of vectors, so that loops over
a row need no special end; and, where rows are long, an odd number of cache lines, because rows that lie a power of two
apart fall into the same few places of a cache, and a walk down a column would find none of them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chainrule.formula.evaluate import Array
from chainrule.formula.expr import base_index
from chainrule.kernels.host import ITEM_BYTES, TileShape

LINE_BYTES = 64
LONG_ROW = 1024  # bytes: shorter rows share cache lines too little to matter


@dataclass(frozen=True)
class Room:
    """What sizes in memory depend on besides the sizes of the indices: the tile and the width of a number."""

    panel: int
    item: int

    @classmethod
    def of(cls, shape: TileShape, dtype: str) -> Room:
        return cls(shape.panel, ITEM_BYTES[dtype])

    def stride(self, size: int) -> int:
        """How far apart the rows of `size` entries lie."""
        stride = -(-size // self.panel) * self.panel
        line = LINE_BYTES // self.item
        if stride * self.item >= LONG_ROW and stride % (2 * line) == 0:
            stride += line
        return stride


@dataclass(frozen=True)
class Layout:
    """The order of a tensor's entries. `column` is the position of the index that runs inside a panel, or None."""

    indices: tuple[str, ...]
    column: int | None = None

    @property
    def rows(self) -> tuple[str, ...]:
        """The indices that run over the rows of a panel (all of them, where there are no panels)."""
        return tuple(i for n, i in enumerate(self.indices) if n != self.column)

    @property
    def padded(self) -> bool:
        """Whether each row has room at its end. Three indices and more have none, so that any of them can be joined."""
        return self.column is None and 1 <= len(self.indices) <= 2

    @property
    def contiguous(self) -> str | None:
        """The index whose neighbours lie side by side, in whole vectors."""
        if self.column is not None:
            return self.indices[self.column]
        return self.indices[-1] if self.padded else None

    def entries(self, sizes: Mapping[str, int], room: Room) -> int:
        """How many entries the memory has, all filling included; a whole number of panels."""
        shape = [sizes[base_index(i)] for i in self.rows]
        if self.column is not None:
            return -(-sizes[base_index(self.indices[self.column])] // room.panel) * room.panel * _product(shape)
        if self.padded:
            return _product(shape[:-1]) * room.stride(shape[-1])
        # A panel more: who reads the last row LANES entries at a time reads beyond its end.
        return (-(-_product(shape) // room.panel) + 1) * room.panel

    def pack(self, array: Array, room: Room) -> Array:
        """The entries as they lie in memory; the filling is 0."""
        sizes = {base_index(i): size for i, size in zip(self.indices, array.shape, strict=True)}
        memory = np.zeros(self.entries(sizes, room), dtype=array.dtype)
        if self.column is not None:
            columns = np.moveaxis(array, self.column, -1)
            rows = columns.reshape(-1, columns.shape[-1])
            panels = -(-rows.shape[1] // room.panel)
            filled = np.zeros((len(rows), panels * room.panel), dtype=array.dtype)
            filled[:, : rows.shape[1]] = rows
            memory[:] = filled.reshape(len(rows), panels, room.panel).transpose(1, 0, 2).reshape(-1)
        elif self.padded:
            memory.reshape(-1, room.stride(array.shape[-1]))[:, : array.shape[-1]] = array.reshape(-1, array.shape[-1])
        else:
            memory[: array.size] = array.reshape(-1)
        return memory

    def unpack(self, memory: Array, sizes: Mapping[str, int], room: Room) -> Array:
        """The array in the shape of the formula, as a copy."""
        shape = [sizes[base_index(i)] for i in self.indices]
        if self.column is None and not self.padded:
            return memory[: _product(shape)].reshape(shape).copy()
        if self.column is None:
            return memory.reshape(-1, room.stride(shape[-1]))[:, : shape[-1]].reshape(shape).copy()
        width = shape[self.column]
        rows = [sizes[base_index(i)] for i in self.rows]
        panels = -(-width // room.panel)
        flat = memory.reshape(panels, -1, room.panel).transpose(1, 0, 2).reshape(-1, panels * room.panel)[:, :width]
        return np.moveaxis(flat.reshape(*rows, width), -1, self.column).copy()


def _product(shape: list[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
