"""Where an entry of a tensor lies in memory.

Row-major, or in panels: the weights of a product are stored PANEL columns at a time, each panel one after the other, so
that the microkernel reads them in order and a thread that owns panels owns one stretch of memory. The last panel is
filled up with columns that nobody reads. A parameter, its gradient and its states share one layout, so that an update
runs over memory from end to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.formula.evaluate import Array
from chainrule.formula.expr import Element
from chainrule.formula.system import Tensor
from chainrule.program.instructions import Contract, Program, Update, reads


@dataclass(frozen=True)
class Layout:
    """The order of a tensor's entries. `column` is the position of the index that runs inside a panel, or None."""

    indices: tuple[str, ...]
    column: int | None = None

    @property
    def rows(self) -> tuple[str, ...]:
        """The indices that run over the rows of a panel (all of them, where there are no panels)."""
        return tuple(i for n, i in enumerate(self.indices) if n != self.column)

    def entries(self, sizes: Mapping[str, int], panel: int) -> int:
        """How many entries the memory has, the filling of the last panel included."""
        rows = int(np.prod([sizes[i] for i in self.rows], dtype=np.int64))
        if self.column is None:
            return rows
        return -(-sizes[self.indices[self.column]] // panel) * rows * panel

    def pack(self, array: Array, panel: int) -> Array:
        """The entries as they lie in memory."""
        if self.column is None:
            return np.ascontiguousarray(array).reshape(-1)
        columns = np.moveaxis(array, self.column, -1)
        rows = columns.reshape(-1, columns.shape[-1])
        panels = -(-rows.shape[1] // panel)
        filled = np.zeros((len(rows), panels * panel), dtype=array.dtype)
        filled[:, : rows.shape[1]] = rows
        return np.ascontiguousarray(filled.reshape(len(rows), panels, panel).transpose(1, 0, 2)).reshape(-1)

    def unpack(self, memory: Array, sizes: Mapping[str, int], panel: int) -> Array:
        """The array in the shape of the formula, as a copy."""
        shape = [sizes[i] for i in self.indices]
        if self.column is None:
            return memory.reshape(shape).copy()
        width = shape[self.column]
        rows = [sizes[i] for i in self.rows]
        panels = -(-width // panel)
        flat = memory.reshape(panels, -1, panel).transpose(1, 0, 2).reshape(-1, panels * panel)[:, :width]
        return np.ascontiguousarray(np.moveaxis(flat.reshape(*rows, width), -1, self.column))


def choose_layouts(program: Program) -> dict[str, Layout]:
    """A layout for every tensor of a program: panels for parameters that are the right side of a forward product."""
    layouts = {name: Layout(t.indices) for name, t in program.tensors.items()}
    left = {i.left.tensor for i in program if isinstance(i, Contract)}
    for instruction in program.forward:
        if not isinstance(instruction, Contract):
            continue
        right = instruction.right
        tensor = program.tensors[right.tensor]
        if tensor.role == "parameter" and tensor.name not in left and layouts[tensor.name].column is None:
            column = panel_column(instruction, right)
            if column is not None:
                layouts[tensor.name] = Layout(tensor.indices, column)
    _follow_parameters(program, layouts)
    return layouts


def panel_column(instruction: Contract, right: Element) -> int | None:
    """The position of the only column index, where the other slots are the summed ones in the left side's order."""
    columns = instruction.columns
    if len(columns) != 1:
        return None
    summed = [s for s in instruction.left.slots if s in instruction.indices]
    if [s for s in right.slots if s in instruction.indices] != summed:
        return None
    return right.slots.index(columns[0])


def _follow_parameters(program: Program, layouts: dict[str, Layout]) -> None:
    """Gradients and states lie as their parameters do."""
    for parameter, gradient in program.gradients.items():
        if gradient in layouts:
            layouts[gradient] = Layout(program.tensors[gradient].indices, layouts[parameter].column)
    for state in (t for t in program.tensors.values() if t.role == "state"):
        owner = _parameter_of(program, state)
        if owner is not None:
            layouts[state.name] = Layout(state.indices, layouts[owner.name].column)


def _parameter_of(program: Program, state: Tensor) -> Tensor | None:
    """The parameter whose update reads a state, where both have the same indices in the same order."""
    readers: Sequence[Tensor] = [
        program.tensors[i.out.tensor] for i in program.update if isinstance(i, Update) and state.name in reads(i)
    ]
    parameters = [t for t in readers if t.role == "parameter" and t.indices == state.indices]
    return parameters[0] if len({p.name for p in parameters}) == 1 else None
