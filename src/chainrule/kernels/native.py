"""The compiled runner: buffers, arguments, and one call an epoch and thread.

The slow twin is training/runner.py's InterpretedRunner, and tests compare the two.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.data.sparse import SparseRows
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Expr, Size, Symbol, tensors, transform
from chainrule.kernels.compile import Compiled, compile_source, pointer
from chainrule.kernels.host import host, tile_shape
from chainrule.kernels.layout import LINE_BYTES, Layout, Room
from chainrule.kernels.lists import Lists, compress, density, lists_of, neighbours_together
from chainrule.kernels.products import LEFT_ENTRIES, ROOM
from chainrule.kernels.schedule import copy_name
from chainrule.kernels.source import (
    BATCH,
    CLOCKS,
    EPOCH_STEPS,
    FIRST_NUMBER,
    FIRST_STEP,
    KEYS,
    LAST_STEP,
    ORDER,
    ROWS,
    SUMS,
    Module,
    write_module,
)
from chainrule.kernels.threads import FAILED, PROGRESS, STOP, run_alone, run_team
from chainrule.program.instructions import Contract, Program
from chainrule.program.interpret import keys_of_draws

if TYPE_CHECKING:
    from chainrule.kernels.profile import Profile

SOURCE_DTYPES = {"uint8": "uint8", "float32": "float32", "float64": "float64", "int64": "int64"}
# A second thread costs a few barriers of about a microsecond a step; below this many multiplications it does not pay.
WORK_PER_THREAD = 400_000
# Some 2 ms of one thread. It takes 0.1 ms to start one and to hear that it is done, and milliseconds on crowded cores;
# what is over so soon runs where it was called, and Ctrl-C waits for it.
BRIEF_WORK = 30_000_000
KEPT_MODULES = 32
# Below this share of non-zeros walking them is faster than the dense tile. On one core of a Zen 3, in ns, forward and
# gradient together for V vectors of outputs, a non-zero takes 1.9 + 0.9 V (its two pairs, then multiply-adds with an
# operand from memory), a number of the dense product 0.6 + 0.33 V. So they break even at 0.35.
SPARSE_DENSITY = 0.3
SPARSE_WIDTH = 32  # narrower rows are a vector or two


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
        profile: bool = False,
        sparse: bool | None = None,
        seed: int = 0,
    ):
        self.seed = seed
        self.program, self.sizes, self.report = program, dict(sizes), report
        self.dtype = np.dtype(dtype)
        self.threads = threads
        self.sources: dict[str, Any] = {t.name: source_array(arrays[t.name], self.dtype) for t in program.inputs}
        self.profile = profile
        self.module: Module = module_for(program, self.sources, profile, sparse)
        began = time.perf_counter()
        self.compiled: Compiled = compile_source(self.module.text, dtype)
        # Not compiled.seconds: the same step may be there from a training before.
        self.compiled_in = 0.0 if self.compiled.from_cache else time.perf_counter() - began
        self.walks = bool(self.module.sparse)
        self.room = Room.of(tile_shape(dtype), dtype)
        self.memory: dict[str, Array] = {}
        self.lists: dict[str, Lists] = self._listed()
        self.batch_size = 0
        self.work: dict[int, int] = {}  # multiplications of a step with so many rows
        self.formulas: list[tuple[str, Expr]] | None = None  # of the program's scalars, in columns over the steps
        self.needs: dict[str, tuple[str, ...]] = {}  # the columns that each of them reads
        self.constants: dict[object, float] = {}  # their values where those columns do not change
        self.allocated: tuple[int, int] | None = None
        self.clocks: dict[str, float] = {}  # of each part of the module, the slowest thread's ticks
        self.ticks = np.zeros((1, len(self.module.parts)))  # of each thread and part
        self.measured_steps, self.measured_samples, self.measured_seconds = 0, 0, 0.0
        self.restore(start)

    def feed(self, arrays: Mapping[str, Array]) -> None:
        """Go on over these arrays: see training.runner.Runner. The module stays, whatever their share of zeros."""
        for name, before in self.sources.items():
            array = source_array(arrays[name], self.dtype)
            kept = isinstance(array, SparseRows) or array.dtype == before.dtype
            self.sources[name] = array if kept else np.ascontiguousarray(array, dtype=before.dtype)
        self.lists = self._listed()
        if self.allocated is not None:
            self._place(self.batch_size)

    def _listed(self) -> dict[str, Lists]:
        """The non-zeros of the inputs that are walked by them."""
        found = {}
        for name, walked in self.module.sparse.items():
            source = self.sources[walked.source]
            if isinstance(source, SparseRows):
                found[name] = lists_of(source)
            else:
                found[name] = compress(source, self.dtype.name, self._cores, walked.shared)
        return found

    @property
    def _cores(self) -> int:
        return self.threads or host().cores

    def state(self) -> dict[str, Array]:
        """Parameters and states as they are now, in the shapes of the formulas."""
        return {
            t.name: self.module.layouts.home[t.name].unpack(self.memory[t.name], self.sizes, self.room)
            for t in self.program.kept
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set parameters and states."""
        for tensor in self.program.kept:
            array = state[tensor.name].astype(self.dtype, copy=False)
            layouts = [(tensor.name, self.module.layouts.home[tensor.name]), *self.module.layouts.columns(tensor.name)]
            for name, layout in layouts:
                packed = layout.pack(array, self.room)
                if name not in self.memory:
                    self.memory[name] = aligned(packed.size, self.dtype)
                self.memory[name][:] = packed

    def epoch(
        self,
        order: Array,
        batch_size: int,
        table: Mapping[str, Array],
        watcher: Looker,
        steps: int | None = None,
        so_far: Mapping[str, float] | None = None,
    ) -> Any:
        """One epoch over the rows in `order` (or its first `steps`): see training.runner.Runner."""
        return self.epochs(order[None], batch_size, table, watcher, steps, so_far)[0]

    def epochs(
        self,
        orders: Array,
        batch_size: int,
        table: Mapping[str, Array],
        watcher: Looker,
        steps: int | None = None,
        so_far: Mapping[str, float] | None = None,
    ) -> list[Any]:
        """Several epochs in one call, one for each row of `orders` (epochs, rows): a report for each.

        To begin a call takes some 0.1 ms (arguments, a thread), which is more than an epoch over a few hundred rows.
        `table` has one value for each step of all epochs; `steps` ends the last ones early. The reports of epochs that
        were not reached have no steps. `so_far` are the sums that the first begins with.
        """
        began = time.perf_counter()
        epochs, rows = orders.shape
        count = -(-rows // batch_size)  # steps of one epoch
        last = epochs * count if steps is None else min(steps, epochs * count)
        work = self._work(min(batch_size, rows))
        threads = self.threads or max(1, min(host().cores, work // WORK_PER_THREAD))
        self._allocate(batch_size, threads)
        watched = self.program.watched
        sums = np.zeros((epochs, len(watched) + 1))
        if so_far is not None:
            sums[0, :-1] = [so_far[name] for name in watched]
        self.memory[SUMS] = sums.reshape(-1)
        self.memory[ORDER] = np.ascontiguousarray(orders, dtype=np.int64).reshape(-1)
        drawn = keys_of_draws(self.program, self.seed, table["step"]).values() if self.program.draws else ()
        self.memory[KEYS] = np.concatenate([*drawn, np.zeros((epochs * count, 0), np.uint64)], axis=1)
        clocks = np.zeros((threads, max(1, len(self.module.parts))), dtype=np.int64)
        self.memory[CLOCKS] = clocks
        address = np.array([self.memory[name].ctypes.data for name in self.module.addresses], dtype=np.int64)
        numbers = np.zeros(FIRST_NUMBER + len(self.module.numbers), dtype=np.int64)
        numbers[[ROWS, BATCH, FIRST_STEP, LAST_STEP, EPOCH_STEPS]] = rows, batch_size, 0, last, count
        numbers[FIRST_NUMBER:] = [self._number(key) for key in self.module.numbers]
        scalars = self._scalars(table, rows, batch_size, count, epochs)
        control = aligned(self.module.control(threads), np.dtype(np.int64))
        words = [pointer(a) for a in (address, numbers, scalars, control)]

        def call(thread: int) -> None:
            self.compiled.entry(thread, threads, *words)

        def totals(values: Array) -> dict[str, float]:
            return dict(zip(watched, values.tolist(), strict=False))

        def watch() -> None:
            so_far = sums.sum(axis=0)
            if watcher.step_ends(int(control[PROGRESS]), int(so_far[-1]), totals(so_far)):
                control[STOP] = 1

        def stop() -> None:
            control[STOP] = 1

        if threads == 1 and work * last < BRIEF_WORK:
            run_alone(call, watch)
        else:
            run_team(call, threads, watch, stop)
        done = int(control[PROGRESS])
        failed = int(control[FAILED]) - 1 if control[FAILED] else None
        if self.profile:
            self._note(clocks, done, int(sums[:, -1].sum()), time.perf_counter() - began)
        return [
            self.report(
                steps=min(max(done - epoch * count, 0), count),
                samples=int(values[-1]),
                sums=totals(values),
                failed_step=failed - epoch * count if failed is not None and failed // count == epoch else None,
                stopped=failed is None and done < min(last, (epoch + 1) * count),
            )
            for epoch, values in enumerate(sums)
        ]

    def _work(self, rows: int) -> int:
        """Multiplications of a step with so many rows."""
        if rows not in self.work:
            self.work[rows] = step_work(self.program, self.sizes, rows)
        return self.work[rows]

    def _note(self, clocks: Array, steps: int, samples: int, seconds: float) -> None:
        """Add up what an epoch's clocks (threads, parts) say."""
        for part, ticks in zip(self.module.parts, clocks.max(axis=0), strict=True):
            self.clocks[part] = self.clocks.get(part, 0.0) + float(ticks)
        self.ticks = clocks + (self.ticks if len(self.ticks) == len(clocks) else 0)
        self.measured_steps += steps
        self.measured_samples += samples
        self.measured_seconds += seconds

    def measured(self) -> Profile | None:
        """Where the time went since the runner was made with profile=True; None without that, or before a step."""
        from chainrule.kernels.profile import profile_of

        return profile_of(self) if self.profile and self.measured_steps else None

    def _number(self, key: str) -> int:
        """What a word of `number` holds."""
        kind, _, rest = key.partition(" ")
        if kind == "size":
            return self.sizes[rest]
        if kind == "stride":
            return self.room.stride({**self.sizes, self.program.samples: self.batch_size}[rest])
        name, _, what = rest.rpartition(" ")
        lists = self.lists[name]
        room = self._column_room(name)
        return {"capacity": lists.longest, "room": room, "blocks": lists.blocks, "block": lists.block}[what]

    def _column_room(self, name: str) -> int:
        """Entries of a column's list: all rows of a batch, and an odd number of cache lines, as in layout.py.

        For entries of three words it is an odd number of times three lines, which is as good.
        """
        words = 1 if self.lists[name].shared else 2
        line = LINE_BYTES // (words * self.dtype.itemsize)
        return (-(-self.batch_size // line) // 2 * 2 + 1) * line

    def _allocate(self, batch_size: int, threads: int) -> None:
        """Buffers for batches of this size and this many threads; inputs are where they are."""
        if (batch_size, threads) == self.allocated:
            return
        self.allocated, self.batch_size = (batch_size, threads), batch_size
        program, sizes = self.program, {**self.sizes, self.program.samples: batch_size}
        kept = {t.name for t in program.kept}
        layouts = self.module.layouts
        wanted: dict[str, int] = {}

        def want(key: str, entries: int) -> None:
            wanted[key] = max(wanted.get(key, 0), entries)

        for tensor in program.tensors.values():
            key = self.module.buffers.get(tensor.name, tensor.name)
            if key in kept:
                continue
            want(key, layouts.home[tensor.name].entries(sizes, self.room))
            for column in layouts.copies.get(tensor.name, ()):
                layout = Layout(tensor.indices, tensor.indices.index(column))
                want(copy_name(key, column), layout.entries(sizes, self.room))
        for name, (outer, column, summed) in self.module.scratch.items():
            panels = -(-_size(sizes, column) // self.room.panel)
            inner = int(np.prod([_size(sizes, i) for i in (*outer, *summed)], dtype=np.int64))
            want(name, panels * self.room.panel * inner)
        want(ROOM, threads * LEFT_ENTRIES)
        for name, entries in wanted.items():
            if name in self.module.addresses:
                self.memory[name] = aligned(entries, self.dtype)
        for name, (indices, count, kind) in self.module.words.items():
            entries = count * int(np.prod([_size(sizes, i) for i in indices], dtype=np.int64))
            self.memory[name] = aligned(entries, np.dtype(kind))
        self._place(batch_size)

    def _place(self, batch_size: int) -> None:
        """The inputs, and the room for lists of the non-zeros of a batch."""
        program = self.program
        for name, array in self.sources.items():
            if isinstance(array, SparseRows):
                self.memory[f"{name} starts"], self.memory[f"{name} places"] = array.starts, array.places
            self.memory[f"{name} source"] = array.values if isinstance(array, SparseRows) else array
        for name, lists in self.lists.items():
            width = int(np.prod([self.sizes[i] for i in program.tensors[name].indices[1:]], dtype=np.int64))
            self.memory[f"{name} starts"], self.memory[f"{name} places"] = lists.starts, lists.places
            self.memory[f"{self.module.sparse[name].source} source"] = lists.values
            self.memory[f"{name} rows"] = aligned(2 * batch_size * lists.longest, self.dtype)
            self.memory[f"{name} counts"] = aligned(width, np.dtype(np.int64))
            if self.module.sparse[name].listed:
                words = 2 * lists.most(batch_size)
                self.memory[f"{name} firsts"] = aligned(width, np.dtype(np.int64))
            elif lists.shared:
                words = 3 * -(-width // 2) * self._column_room(name)
                self.memory[f"{name} ends"] = aligned(batch_size * (lists.blocks + 1), np.dtype(np.int64))
            else:
                words = 2 * width * self._column_room(name)
            self.memory[f"{name} columns"] = aligned(words, self.dtype)

    def _scalars(self, table: Mapping[str, Array], rows: int, batch_size: int, count: int, epochs: int) -> Array:
        """The values of the program's scalars at every step of the epochs, in float64: (steps, scalars)."""
        steps = epochs * count
        samples = np.full(steps, float(batch_size))
        samples[count - 1 :: count] = rows - (count - 1) * batch_size
        arrays = {f"hyper {n}": np.asarray(v, dtype=np.float64) for n, v in table.items()}
        arrays["samples"] = samples
        columns = []
        if self.formulas is None:
            self.formulas = [(name, transform(value, self._at_step)) for name, value in self.program.scalars]
        # What is the same at every step, as 1 - beta_1 is, is evaluated once and not in every call.
        same = {name: float(values[0]) for name, values in arrays.items() if (values == values[0]).all()}
        for name, formula in self.formulas:
            needed = self.needs.setdefault(name, tuple(tensors(formula)))
            key = (name, *(same.get(n) for n in needed))
            if None not in key and key in self.constants:
                column = np.full(steps, self.constants[key])
            else:
                column = evaluate(formula, arrays, ("step",), sizes={**self.sizes, "step": steps})
            if None not in key:
                same[f"hyper {name}"] = self.constants[key] = float(column[0])
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


def module_for(
    program: Program, sources: Mapping[str, Array], profile: bool = False, sparse: bool | None = None
) -> Module:
    """The module that trains on these arrays, which are as `source_array` gives them.

    `sparse` says whether inputs are walked by their non-zeros where the formulas allow it; None: as their density says.
    """
    dtypes = {n: str(a.dtype) for n, a in sources.items()}
    walked = frozenset(n for n, a in sources.items() if _walked(a, sparse))
    listed = frozenset(n for n, a in sources.items() if isinstance(a, SparseRows))
    shared = frozenset(n for n in walked - listed if neighbours_together(sources[n]))
    key = (id(program), tuple(dtypes.items()), walked, listed, shared, profile)
    # To write a module takes some 20 ms: as much as a whole training on a few hundred rows. The program is kept with
    # its module, so that no other gets its id.
    with _writing:
        if key not in _written:
            while len(_written) >= KEPT_MODULES:
                del _written[next(iter(_written))]
            _written[key] = (program, write_module(program, dtypes, walked | listed, profile, listed, shared))
        return _written[key][1]


_written: dict[object, tuple[Program, Module]] = {}
_writing = threading.Lock()


def source_array(array: Any, dtype: np.dtype[Any]) -> Any:
    """The array as the kernels can read it: contiguous, of a dtype that the gather knows; no copy where it is so.

    A sparse table is left as it is.
    """
    if isinstance(array, SparseRows):
        return array
    if str(array.dtype) not in SOURCE_DTYPES or not array.flags.aligned or not array.dtype.isnative:
        array = array.astype(np.int64 if array.dtype.kind in "biu" else dtype)
    return np.ascontiguousarray(array)


def _walked(array: Any, sparse: bool | None) -> bool:
    if isinstance(array, SparseRows):
        return True
    return mostly_zero(array) if sparse is None else sparse and array.ndim > 1 and array.dtype.kind in "uf"


def mostly_zero(array: Array) -> bool:
    """Whether walking the non-zeros of an input beats the dense product: see products.py and docs/engine.md."""
    return wide(array) and density(array) < SPARSE_DENSITY


def wide(array: Array) -> bool:
    """Whether an input can be walked, and its rows are worth it."""
    return array.ndim > 1 and array.dtype.kind in "uf" and array[0].size >= SPARSE_WIDTH


def aligned(entries: int, dtype: np.dtype[Any]) -> Array:
    """Zeros on a cache line's boundary: vectors of 64 bytes do not straddle two lines."""
    memory = np.zeros(entries * dtype.itemsize + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + entries * dtype.itemsize].view(dtype)


def step_work(program: Program, sizes: Mapping[str, int], batch_size: int) -> int:
    """The multiplications of a step."""
    known = {**sizes, program.samples: batch_size}
    work = 0
    for instruction in program:
        indices = {i for s in instruction.out.slots for i in [str(s)]}
        if isinstance(instruction, Contract):
            indices |= set(instruction.indices)
        work += math.prod(_size(known, i) for i in indices)
    return work
