"""The compiled forward pass: many rows on all cores, or one row in a few microseconds.

The slow twin is the interpreter (program/interpret.py), and tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.data.sparse import SparseRows
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Expr, Size, Symbol, transform, walk
from chainrule.kernels.compile import Compiled, compile_source, pointer
from chainrule.kernels.host import host, tile_shape
from chainrule.kernels.layout import Layout, Room
from chainrule.kernels.lists import blocks_of
from chainrule.kernels.native import aligned, mostly_zero, wide
from chainrule.kernels.products import LEFT_ENTRIES, ROOM
from chainrule.kernels.schedule import ENTRIES, copy_name, schedule
from chainrule.kernels.source import (
    BATCH,
    EPOCH_STEPS,
    FIRST_NUMBER,
    FIRST_STEP,
    LAST_STEP,
    ORDER,
    RESULT,
    ROWS,
    SUMS,
    Module,
    write_module,
)
from chainrule.kernels.threads import run_team
from chainrule.program.instructions import Program

CHUNK = 384  # rows of a step: 64 tiles of 6 rows
ROWS_PER_THREAD = 64  # below this a second thread costs more than it brings: it takes 50 µs to start


def predictable(program: Program) -> bool:
    """Whether a program's output is one row a sample that depends on that sample alone."""
    output = program.output
    if output is None or program.update or program.watched or not program.inputs:
        return False
    indices = program.tensors[output].indices
    by_sample = bool(indices) and indices[0] == program.samples and program.tensors[output].role == "computed"
    return by_sample and in_parts(program)


def in_parts(program: Program) -> bool:
    """Whether rows may come in any division: no quantity looks at several of them, and none counts them."""
    n = program.samples
    for group in schedule(program):
        if group.by == ENTRIES and any(n in program.tensors[name].indices for name in group.reads | group.writes):
            return False
    return not any(Size(n) in set(walk(value)) for _, value in program.scalars)


@dataclass
class _Step:
    """One compiled forward pass and the memory it works in, for at most so many rows a batch, and threads.

    What a call changes are some words of `address` and `numbers`; all else is made once, since a prediction of one row
    takes no longer than ten small NumPy calls.
    """

    module: Module
    compiled: Compiled
    rows: int = 0
    threads: int = 0
    longest: int = 0  # numbers of a row of a sparse table
    memory: dict[str, Array] = field(default_factory=dict)
    address: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    numbers: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    control: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    words: tuple[object, ...] = ()
    places: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Single:
    """A step for one row of the only input, which is copied to where `address` points already, as is its result."""

    entry: Callable[..., int]
    arguments: tuple[object, ...]
    row: Array
    result: Array
    memory: tuple[Array, ...]  # what the arguments point to, and nobody else holds


class Predictor:
    """The output of a program for rows of input, with weights that `load` brings.

    All calls work in the same memory: who shares a predictor among threads lets one in at a time.
    """

    def __init__(self, program: Program, sizes: Mapping[str, int], dtype: str, hyper: Mapping[str, float]):
        self.program, self.sizes = program, dict(sizes)
        self.dtype, self.dtype_name = np.dtype(dtype), dtype
        self.room = Room.of(tile_shape(dtype), dtype)
        self.output = program.tensors[program.output or ""]
        self.shape = tuple(self.sizes[i] for i in self.output.indices[1:])
        self.scalars = self._scalars(hyper)
        self.weights: dict[str, Array] = {}
        self.steps: dict[object, _Step] = {}
        self.singles: dict[np.dtype[Any], _Single] = {}
        self.order = np.arange(CHUNK, dtype=np.int64)
        self.table = self.scalars

    def load(self, kept: Mapping[str, Array]) -> None:
        """Take over weights."""
        self.weights = {t.name: kept[t.name] for t in self.program.kept}
        for step in self.steps.values():
            self._load(step)

    def set_hyper(self, hyper: Mapping[str, float]) -> None:
        """Take over other values of the hyper-parameters."""
        self.scalars = self._scalars(hyper)
        self.table = np.tile(self.scalars, (len(self.table), 1))
        for step in self.steps.values():
            self._point(step)

    def __call__(self, arrays: Mapping[str, Any], threads: int | None = None) -> Array:
        """One row of output per row of the inputs: contiguous arrays of uint8, int64, float32 or float64, or sparse
        tables.
        """
        rows = len(next(iter(arrays.values())))
        batch = rows if rows < CHUNK else CHUNK
        if threads is None:
            threads = 1 if rows < 2 * ROWS_PER_THREAD else min(host().cores, rows // ROWS_PER_THREAD)
        step = self._step(arrays, batch, threads)
        result = np.empty((rows, *self.shape), dtype=self.dtype)
        if rows > CHUNK:
            self._many(step, rows)
        else:
            step.numbers[:FIRST_NUMBER] = rows, batch, 0, 1, 1
        address = step.address
        address[step.places[RESULT]] = result.__array_interface__["data"][0]
        for name, array in arrays.items():
            if isinstance(array, SparseRows):
                for part, words in (("starts", array.starts), ("places", array.places)):
                    address[step.places[f"{name} {part}"]] = words.__array_interface__["data"][0]
                array = array.values
            address[step.places[name]] = array.__array_interface__["data"][0]
        if threads == 1:
            step.compiled.entry(0, 1, *step.words)
        else:
            run_team(lambda t: step.compiled.entry(t, threads, *step.words), threads, _nothing, _nothing)
        return result

    def single(self, name: str, row: Array) -> Array:
        """The output for one row, (1, …), of the only input. A call has some 20 µs of Python about it, this has 4."""
        found = self.singles.get(row.dtype)
        if found is None:
            found = self.singles[row.dtype] = self._single(name, row)
        found.row[...] = row
        found.entry(*found.arguments)
        return found.result.copy()

    def _single(self, name: str, row: Array) -> _Single:
        # Walked by its non-zeros, however many there are: a tile would compute six rows for the sake of one.
        step = self._step({name: row}, 1, 1, walked=wide(row))
        own, result = aligned(row.size, row.dtype).reshape(row.shape), np.empty((1, *self.shape), dtype=self.dtype)
        address, numbers = step.address.copy(), step.numbers.copy()
        address[step.places[name]], address[step.places[RESULT]] = own.ctypes.data, result.ctypes.data
        numbers[:FIRST_NUMBER] = 1, 1, 0, 1, 1
        words = (pointer(address), pointer(numbers), *step.words[2:])
        return _Single(step.compiled.entry, (0, 1, *words), own, result, (address, numbers))

    def _many(self, step: _Step, rows: int) -> None:
        """The arguments for several steps: rows in order, and scalars once a step."""
        count = -(-rows // CHUNK)
        if rows > len(self.order):
            self.order = np.arange(rows, dtype=np.int64)
            self.table = np.tile(self.scalars, (count, 1))
            for other in self.steps.values():
                self._point(other)
        step.numbers[[ROWS, BATCH, FIRST_STEP, LAST_STEP, EPOCH_STEPS]] = rows, CHUNK, 0, count, count

    def _step(self, arrays: Mapping[str, Any], batch: int, threads: int, walked: bool = False) -> _Step:
        """The compiled step for these dtypes and densities, with room for a batch and a team."""
        listed = frozenset(name for name, a in arrays.items() if isinstance(a, SparseRows))
        kinds = ((name, a.dtype.char, walked or name in listed or mostly_zero(a)) for name, a in arrays.items())
        key = tuple(kinds), listed
        step = self.steps.get(key)
        if step is None:
            dtypes = {name: str(a.dtype) for name, a in arrays.items()}
            sparse = frozenset(name for name, _, walks in key[0] if walks)
            module = write_module(self.program, dtypes, sparse, listed=listed)
            step = self.steps[key] = _Step(module, compile_source(module.text, self.dtype_name))
            self._load(step)
        longest = max((int(arrays[n].lengths().max(initial=0)) for n in listed), default=0)
        if batch > step.rows or threads > step.threads or longest > step.longest:
            step.rows, step.threads = max(batch, step.rows), max(threads, step.threads)
            step.longest = max(longest, step.longest)
            self._allocate(step)
        return step

    def _point(self, step: _Step) -> None:
        """Write the places of all memory into the words that the compiled step gets."""
        self.singles.clear()  # they point to what was there before
        step.memory[ORDER] = self.order
        brought = {f"{t.name} source": t.name for t in self.program.inputs} | {RESULT: RESULT}  # by each call
        walked = {s.source: name for name, s in step.module.sparse.items() if s.listed}
        for source in step.module.listed:
            own = walked.get(source, source)
            brought |= {f"{own} {part}": f"{source} {part}" for part in ("starts", "places")}
        names = step.module.addresses
        step.address = np.array([0 if n in brought else step.memory[n].ctypes.data for n in names], dtype=np.int64)
        step.places = {brought[n]: place for place, n in enumerate(names) if n in brought}
        step.numbers = self._numbers(step)
        step.words = tuple(pointer(a) for a in (step.address, step.numbers, self.table, step.control))

    def _load(self, step: _Step) -> None:
        layouts = step.module.layouts
        for tensor in self.program.kept:
            for name, layout in [(tensor.name, layouts.home[tensor.name]), *layouts.columns(tensor.name)]:
                packed = layout.pack(self.weights[tensor.name].astype(self.dtype, copy=False), self.room)
                if name not in step.memory:
                    step.memory[name] = aligned(packed.size, self.dtype)
                step.memory[name][:] = packed

    def _allocate(self, step: _Step) -> None:
        sizes = {**self.sizes, self.program.samples: step.rows}
        layouts, wanted = step.module.layouts, dict[str, int]()
        for tensor in self.program.tensors.values():
            key = step.module.buffers.get(tensor.name, tensor.name)
            memories = [(key, layouts.home[tensor.name])]
            for column in layouts.copies.get(tensor.name, ()):
                memories.append((copy_name(key, column), Layout(tensor.indices, tensor.indices.index(column))))
            for name, layout in memories:
                if tensor.role not in ("parameter", "state"):
                    wanted[name] = max(wanted.get(name, 0), layout.entries(sizes, self.room))
        for name, (outer, column, summed) in step.module.scratch.items():
            panels = -(-_size(sizes, column) // self.room.panel)
            inner = int(np.prod([_size(sizes, i) for i in (*outer, *summed)], dtype=np.int64))
            wanted[name] = panels * self.room.panel * inner
        wanted[ROOM] = step.threads * LEFT_ENTRIES
        for name, entries in wanted.items():
            if name in step.module.addresses:
                step.memory[name] = aligned(entries, self.dtype)
        for name, (indices, count, kind) in step.module.words.items():
            entries = count * int(np.prod([_size(sizes, i) for i in indices], dtype=np.int64))
            step.memory[name] = aligned(entries, np.dtype(kind))
        for name in step.module.sparse:
            capacity, blocks, _ = self._lists(step, name)
            nothing = aligned(2, np.dtype(np.int64))
            if not step.module.sparse[name].listed:  # else each call brings them
                step.memory[f"{name} starts"] = aligned(step.rows * (blocks + 1), np.dtype(np.int64))
                step.memory[f"{name} places"] = nothing
            step.memory[f"{name} rows"] = aligned(2 * step.rows * capacity, self.dtype)
            for part in ("counts", "columns", "firsts"):
                step.memory[f"{name} {part}"] = nothing
        step.memory[SUMS] = np.zeros(1)
        step.control = aligned(step.module.control(step.threads), np.dtype(np.int64))
        self._point(step)

    def _lists(self, step: _Step, name: str) -> tuple[int, int, int]:
        """(pairs of a row, its blocks, the width of a block) of a sparse input."""
        width = int(np.prod([self.sizes[i] for i in self.program.tensors[name].indices[1:]], dtype=np.int64))
        if step.module.sparse[name].listed:
            return step.longest + 1, 1, width
        return width + 1, *blocks_of(width)

    def _numbers(self, step: _Step) -> Array:
        sizes = {**self.sizes, self.program.samples: step.rows}
        numbers = np.zeros(FIRST_NUMBER + len(step.module.numbers), dtype=np.int64)
        for position, key in enumerate(step.module.numbers, FIRST_NUMBER):
            kind, _, index = key.partition(" ")
            if kind == "size":
                numbers[position] = sizes[index]
            elif kind == "stride":
                numbers[position] = self.room.stride(sizes[index])
            else:
                name, _, what = index.rpartition(" ")
                capacity, blocks, block = self._lists(step, name)
                numbers[position] = {"capacity": capacity, "room": 0, "blocks": blocks, "block": block}[what]
        return numbers

    def _scalars(self, hyper: Mapping[str, float]) -> Array:
        arrays = {f"hyper {n}": np.asarray(float(v)) for n, v in hyper.items()}
        values = []
        for name, value in self.program.scalars:
            result = evaluate(transform(value, _as_element), arrays, (), sizes=self.sizes)
            arrays[f"hyper {name}"] = result
            values.append(float(result))
        return np.array([values or [0.0]], dtype=np.float64)


def _as_element(node: Expr) -> Expr:
    return Element(f"hyper {node.name}", ()) if isinstance(node, Symbol) else node


def _size(sizes: Mapping[str, int], index: str) -> int:
    return sizes[index.rstrip("'")]


def _nothing() -> None:
    """What looks on while rows are predicted."""
