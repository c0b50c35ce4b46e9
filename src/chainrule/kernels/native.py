"""The compiled runner: buffers, arguments, and one call an epoch and thread.

The slow twin is training/loop.py's InterpretedRunner, and tests compare the two.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Expr, Size, Symbol, transform
from chainrule.kernels.compile import Compiled, compile_source
from chainrule.kernels.host import host, tile_shape
from chainrule.kernels.source import BATCH, FIRST_SIZE, FIRST_STEP, LAST_STEP, ROWS, Module, write_module
from chainrule.kernels.threads import CONTROL_WORDS, FAILED, PROGRESS, STOP, run_team
from chainrule.program.instructions import Contract, Program

SOURCE_DTYPES = {"uint8": "uint8", "float32": "float32", "float64": "float64", "int64": "int64"}
# A second thread costs a few barriers of about a microsecond a step; below this many multiplications it does not pay.
WORK_PER_THREAD = 400_000


class Looker(Protocol):
    """What looks on while an epoch runs."""

    def step_ends(self, steps: int, samples: int, sums: Mapping[str, float]) -> bool: ...


class NativeRunner:
    """Runs a Program's compiled step on its own copy of the parameters and states."""

    def __init__(
        self,
        program: Program,
        arrays: Mapping[str, Array],
        start: Mapping[str, Array],
        sizes: Mapping[str, int],
        dtype: str,
        threads: int | None,
        report: Callable[..., Any],
    ):
        self.program, self.sizes, self.report = program, dict(sizes), report
        self.dtype = np.dtype(dtype)
        self.threads = threads
        self.sources = {t.name: _source_array(arrays[t.name], self.dtype) for t in program.inputs}
        self.module: Module = write_module(program, {n: str(a.dtype) for n, a in self.sources.items()})
        self.compiled: Compiled = compile_source(self.module.text, dtype)
        self.compiled_in = 0.0 if self.compiled.from_cache else self.compiled.seconds
        shape = tile_shape(dtype)
        self.panel = shape.vectors * shape.lanes
        self.memory: dict[str, Array] = {}
        self.batch_size = 0
        self.restore(start)

    def state(self) -> dict[str, Array]:
        """Parameters and states as they are now, in the shapes of the formulas."""
        return {
            t.name: self.module.layouts[t.name].unpack(self.memory[t.name], self.sizes, self.panel)
            for t in self.program.kept
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set parameters and states."""
        for tensor in self.program.kept:
            packed = self.module.layouts[tensor.name].pack(
                state[tensor.name].astype(self.dtype, copy=False), self.panel
            )
            if tensor.name in self.memory:
                self.memory[tensor.name][:] = packed
            else:
                self.memory[tensor.name] = aligned(packed.size, self.dtype)
                self.memory[tensor.name][:] = packed

    def epoch(
        self, order: Array, batch_size: int, table: Mapping[str, Array], watcher: Looker, steps: int | None = None
    ) -> Any:
        """One epoch over the rows in `order` (or its first `steps`): see training.loop.Runner."""
        rows = len(order)
        count = -(-rows // batch_size)
        last = count if steps is None else min(steps, count)
        self._allocate(batch_size)
        watched = self.program.watched
        sums = np.zeros(len(watched) + 1)
        self.memory["sums"] = sums
        self.memory["order"] = np.ascontiguousarray(order, dtype=np.int64)
        address = np.array([self.memory[name].ctypes.data for name in self.module.addresses], dtype=np.int64)
        numbers = np.zeros(FIRST_SIZE + len(self.module.indices), dtype=np.int64)
        numbers[[ROWS, BATCH, FIRST_STEP, LAST_STEP]] = rows, batch_size, 0, last
        numbers[FIRST_SIZE:] = [self.sizes[i] for i in self.module.indices]
        scalars = self._scalars(table, rows, batch_size, count)
        control = aligned(CONTROL_WORDS, np.dtype(np.int64))
        threads = self.threads or choose_threads(self.program, self.sizes, min(batch_size, rows))

        def call(thread: int) -> None:
            self.compiled.entry(
                thread, threads, _pointer(address), _pointer(numbers), _pointer(scalars), _pointer(control)
            )

        def totals() -> dict[str, float]:
            return {name: float(sums[n]) for n, name in enumerate(watched)}

        def watch() -> None:
            if watcher.step_ends(int(control[PROGRESS]), int(sums[-1]), totals()):
                control[STOP] = 1

        def stop() -> None:
            control[STOP] = 1

        run_team(call, threads, watch, stop)
        done = int(control[PROGRESS])
        failed = int(control[FAILED]) - 1 if control[FAILED] else None
        return self.report(
            steps=done,
            samples=int(sums[-1]),
            sums=totals(),
            failed_step=failed,
            stopped=failed is None and done < last,
        )

    def _allocate(self, batch_size: int) -> None:
        """Buffers for batches of this size; inputs are where they are."""
        if batch_size == self.batch_size:
            return
        self.batch_size = batch_size
        program, sizes = self.program, {**self.sizes, self.program.samples: batch_size}
        kept = {t.name for t in program.kept}
        wanted: dict[str, int] = {}
        for tensor in program.tensors.values():
            key = self.module.buffers.get(tensor.name, tensor.name)
            if key not in kept:
                entries = self.module.layouts[tensor.name].entries(sizes, self.panel)
                wanted[key] = max(wanted.get(key, 0), entries)
        for name, (outer, column, summed) in self.module.scratch.items():
            panels = -(-_size(sizes, column) // self.panel)
            wanted[name] = (
                panels * self.panel * int(np.prod([_size(sizes, i) for i in (*outer, *summed)], dtype=np.int64))
            )
        for name, entries in wanted.items():
            self.memory[name] = aligned(entries, self.dtype)
        for name, array in self.sources.items():
            self.memory[f"{name} source"] = array

    def _scalars(self, table: Mapping[str, Array], rows: int, batch_size: int, steps: int) -> Array:
        """The values of the program's scalars at every step of the epoch, in float64: (steps, scalars)."""
        samples = np.full(steps, float(batch_size))
        samples[-1] = rows - (steps - 1) * batch_size
        arrays = {f"hyper {n}": np.asarray(v, dtype=np.float64) for n, v in table.items()}
        arrays["samples"] = samples
        columns = []
        for name, value in self.program.scalars:
            column = evaluate(transform(value, self._at_step), arrays, ("step",), sizes={**self.sizes, "step": steps})
            arrays[f"hyper {name}"] = column
            columns.append(column)
        return np.ascontiguousarray(np.stack(columns, axis=1)) if columns else np.zeros((steps, 1))

    def _at_step(self, node: Expr) -> Expr:
        """A scalar symbol as one entry of its column over the steps."""
        if isinstance(node, Symbol):
            return Element(f"hyper {node.name}", ("step",))
        if node == Size(self.program.samples):
            return Element("samples", ("step",))
        return node


def _size(sizes: Mapping[str, int], index: str) -> int:
    return sizes[index.rstrip("'")]


def _source_array(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array as the kernels can read it: contiguous, of a dtype that the gather knows; no copy where it is so."""
    if str(array.dtype) not in SOURCE_DTYPES or not array.flags.aligned or not array.dtype.isnative:
        array = array.astype(np.int64 if array.dtype.kind in "biu" else dtype)
    return np.ascontiguousarray(array)


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def aligned(entries: int, dtype: np.dtype[Any]) -> Array:
    """Zeros on a cache line's boundary: vectors of 64 bytes do not straddle two lines."""
    memory = np.zeros(entries * dtype.itemsize + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + entries * dtype.itemsize].view(dtype)


def choose_threads(program: Program, sizes: Mapping[str, int], batch_size: int) -> int:
    """One thread per WORK_PER_THREAD multiplications of a step, at most as many as there are cores."""
    known = {**sizes, program.samples: batch_size}
    work = 0
    for instruction in program:
        indices = {i for s in instruction.out.slots for i in [str(s)]}
        if isinstance(instruction, Contract):
            indices |= set(instruction.indices)
        work += int(np.prod([_size(known, i) for i in indices], dtype=np.float64))
    return int(max(1, min(host().cores, work // WORK_PER_THREAD)))
