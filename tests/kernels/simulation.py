"""A generated module run by Python, thread by thread from barrier to barrier, with every access looked at.

What compiled code never tells is found here: an index outside of its memory, memory that is read before anybody wrote
it (it holds NaN), two threads that meet at one number between two barriers, a thread that waits at a barrier for ever.
The runner around the text is the real one: its buffers, layouts and numbers.

    runner = simulate(network, data, batch_size=13, threads=3)       raises Race, OutOfBounds or Deadlock
    runner.state()
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import special

from chainrule.formula.distributions import even_numbers
from chainrule.kernels import native, threads
from chainrule.kernels.host import tile_shape
from chainrule.kernels.source import CLOCKS, KEYS, ORDER, SUMS
from chainrule.kernels.sparse import walk_panels
from chainrule.training.loop import EpochReport, Plan
from chainrule.training.network import Network
from chainrule.training.rates import Rates
from chainrule.training.watch import Silent

Array = np.ndarray[Any, Any]


class Race(AssertionError):
    """Two threads touch one number between two barriers, and one of them writes it."""


class OutOfBounds(AssertionError):
    """An index outside of its memory."""


class Deadlock(AssertionError):
    """Some threads wait at a barrier that others do not come to."""


@dataclass
class Team:
    """Who runs, and how many barriers all have passed."""

    thread: int = 0
    phase: int = 0


class Memory:
    """One array, and for each of its numbers who wrote and who read it since the last barrier."""

    def __init__(self, name: str, array: Array, team: Team):
        self.name, self.array, self.team = name, array, team
        self.written = np.full(array.size, -1)  # the phase of the last write
        self.writer = np.zeros(array.size, np.int8)
        self.read_in = np.full(array.size, -1)  # the phase of the last read
        self.readers = np.zeros(array.size, np.int64)  # a bit for each thread

    def read(self, start: int, count: int) -> Array:
        here = self._place(start, count)
        thread, phase = self.team.thread, self.team.phase
        if ((self.written[here] == phase) & (self.writer[here] != thread)).any():
            raise Race(f"thread {thread} reads {self.name}[{start}:{start + count}], which another thread writes")
        old = self.read_in[here] != phase
        self.readers[here][old] = 0
        self.readers[here] |= 1 << thread
        self.read_in[here] = phase
        return self.array[here]

    def write(self, start: int, count: int, values: object) -> None:
        here = self._place(start, count)
        thread, phase = self.team.thread, self.team.phase
        others = (self.read_in[here] == phase) & (self.readers[here] & ~(1 << thread) != 0)
        others |= (self.written[here] == phase) & (self.writer[here] != thread)
        if others.any():
            raise Race(f"thread {thread} writes {self.name}[{start}:{start + count}], which another thread touches")
        self.written[here], self.writer[here] = phase, thread
        with np.errstate(over="ignore"):
            self.array[here] = np.asarray(values).astype(self.array.dtype)

    def _place(self, start: int, count: int) -> slice:
        if not 0 <= start <= start + count <= self.array.size:
            raise OutOfBounds(f"{self.name}[{start}:{start + count}] of {self.array.size}")
        return slice(start, start + count)


@dataclass
class Queues:
    """Units of work that any thread may take: who does is left to chance, so that units which meet are found.

    The threads run one after the other, so all but the last leave some units to those that come behind.
    """

    team: Team
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    left: dict[int, list[int]] = field(default_factory=dict)
    came: dict[int, tuple[int, int]] = field(default_factory=dict)  # the phase, and how many threads came in it

    def offer(self, control: object, queue: int, thread: int, threads: int, units: int) -> None:
        phase, came = self.came.get(queue, (-1, 0))
        if phase != self.team.phase:
            assert not self.left.get(queue)
            came, self.left[queue] = 0, self.rng.sample(range(units), units)
        self.came[queue] = (self.team.phase, came + 1)

    def take(self, control: object, queue: int, thread: int, threads: int) -> int:
        last = self.came[queue][1] == threads
        if not self.left[queue] or (not last and self.rng.random() < 1 / 8):
            return -1
        return self.left[queue].pop()


class Pointer:
    """A place in a memory."""

    def __init__(self, memory: Memory, start: int = 0):
        self.memory, self.start = memory, start

    def __getitem__(self, index: int) -> Any:
        value = self.memory.read(self.start + index, 1)[0]
        return int(value) if isinstance(value, np.integer) else value

    def __setitem__(self, index: int, value: object) -> None:
        self.memory.write(self.start + index, 1, value)

    def many(self, index: int, count: int) -> Array:
        return self.memory.read(self.start + index, count).copy()

    def put(self, index: int, values: Array) -> None:
        self.memory.write(self.start + index, len(values), values)


def names_of(dtype: str, team: Team) -> dict[str, object]:
    """What the text's names mean."""
    shape, number, queues = tile_shape(dtype), np.dtype(dtype).type, Queues(team)
    lanes, panel = shape.lanes, shape.panel

    def at(pointer: Pointer, index: int) -> Pointer:
        return Pointer(pointer.memory, pointer.start + index)

    def select(condition: Any, yes: Any, no: Any) -> Any:
        return np.where(condition, yes, no) if np.ndim(condition) or np.ndim(yes) else (yes if condition else no)

    def stack(count: int, kind: str = dtype) -> Pointer:
        return Pointer(Memory("stack", np.full(count, np.nan).astype(kind), team))

    def tile(a: Pointer, row_step: int, sum_step: int, rows: int, b: Pointer, b_step: int, length: int,
             go_on: int, out: Pointer) -> None:  # fmt: skip
        assert 0 < rows <= shape.rows
        for r in range(rows):
            total = out.many(r * panel, panel) if go_on else np.zeros(panel, dtype)
            for s in range(length):
                total += a[r * row_step + s * sum_step] * b.many(s * b_step, panel)
            out.put(r * panel, total)

    def walk(wide: int, entries: Pointer, count: int, b: Pointer, step: int, go_on: int, out: Pointer,
             rows: int = 1) -> None:  # fmt: skip
        assert 0 < wide <= walk_panels(shape, rows)
        for row, p in np.ndindex(rows, wide):
            total = out.many((row * wide + p) * panel, panel) if go_on else np.zeros(panel, dtype)
            for e in range(0, count * (1 + rows), 1 + rows):
                total += entries[e + 1 + row] * b.many(p * step + int(entries[e]) * panel, panel)
            out.put((row * wide + p) * panel, total)

    def put(entries: Pointer, e: int, place: int, *values: Any) -> None:
        for n, word in enumerate((place, *values)):
            entries[e * (1 + len(values)) + n] = word

    def draw(key: int, row: int, place: int, count: int = 1) -> Array:
        there = even_numbers(key, row + 1, place + count, dtype)[row, place:]
        return there if count > 1 else there[0]

    names: dict[str, object] = {"LANES": lanes, "PANEL": panel, "TILE_ROWS": shape.rows, "INFINITY": math.inf}
    names |= {"WALK_PANELS": walk_panels(shape), "BOTH_PANELS": walk_panels(shape, 2)}
    names |= {"LINE": 64 // np.dtype(dtype).itemsize}
    names |= {name: getattr(threads, name) for name in threads.CONTROL_NAMES}
    names |= {f"{kind}_at": Pointer for kind in ("F", "float32", "float64", "int64", "int32", "uint8")}
    names |= {
        "F": number, "float64": np.float64, "int64": int, "select": select, "least": min, "at": at,
        "vector": lambda pointer, index: pointer.many(index, lanes), "spread": lambda x: np.full(lanes, x, dtype),
        "put": lambda pointer, index, value: pointer.put(index, np.broadcast_to(value, lanes)),
        "stack": stack, "stack_int64": lambda count: stack(count, "int64"),
        "lanes_from": lambda i: (i + np.arange(lanes)).astype(dtype), "first_lanes": lambda n: np.arange(lanes) < n,
        "draw": draw, "draw_lanes": lambda key, row, place: draw(key, row, place, lanes),
        "sum_lanes": lambda v: v.sum(dtype=dtype), "max_lanes": np.max, "min_lanes": np.min,
        "tile": tile, "walk_list": walk, "walk_both": lambda *given: walk(*given, rows=2),
        "put_pair": put, "put_both": put, "offer": queues.offer, "take": queues.take,
        "flush_tiny": lambda: 0, "restore": lambda mode: None,
        "pair_place": lambda pairs, e: int(pairs[2 * e]), "prefetch": lambda pointer, index: None,
        "clock": lambda: 0, "load": lambda control, place: int(control[place]),
        "store": lambda control, place, value: control.__setitem__(place, value),
        "abs": np.abs, "maximum": np.maximum, "minimum": np.minimum, "relu": lambda x: np.maximum(x, number(0)),
        "step": lambda x: np.heaviside(x, number(0)), "power": np.power, "erf": special.erf,
        "sigmoid": special.expit, "softplus": lambda x: np.logaddexp(x, number(0)),
    }  # fmt: skip
    plain = ("floor", "sqrt", "sign", "exp", "log", "tanh", "sin", "cos", "log1p", "expm1")
    return names | {name: getattr(np, name) for name in plain}


@dataclass
class Simulation:
    """In the place of compiled code: `entry` notes who is to run, `drive` runs them."""

    text: str
    dtype: str
    order: Callable[[int], Sequence[int]] = lambda threads: range(threads)
    waiting: dict[int, Iterator[None]] = field(default_factory=dict)
    team: Team = field(default_factory=Team)
    barriers: int = 0

    def __post_init__(self) -> None:
        head, epoch = self.text.split("def epoch(")
        assert not re.search(r"^ *[^# ].*\bbarrier\(", head, re.M)
        text = head + "def epoch(" + re.sub(r"barrier\(control, threads\)", "yield", epoch)
        self.names = names_of(self.dtype, self.team)
        exec(text, self.names)

    def attach(self, runner: native.NativeRunner) -> None:
        """Look at all memory of a runner; what nobody has written yet holds NaN."""
        kept = {t.name for t in runner.program.kept}
        self.memories = []
        for name in runner.module.addresses:
            array = runner.memory[name].reshape(-1)
            given = name.endswith((" source", " starts", " places")) or name in (ORDER, SUMS, CLOCKS, KEYS)
            given |= name.startswith("heads ")  # each step leaves them 0, as it finds them
            if name in kept or name.split(" by ")[0] in kept:
                layout = dict(runner.module.layouts.columns(name.split(" by ")[0])).get(name)
                layout = layout or runner.module.layouts.home[name]
                shape = [runner.sizes[i] for i in layout.indices]
                array[layout.pack(np.ones(shape, array.dtype), runner.room) == 0] = np.nan
            elif not given:
                array[:] = np.nan if array.dtype.kind == "f" else -(10**9)
            self.memories.append(Memory(name, array, self.team))

    def entry(self, thread: int, count: int, address: object, *words: Array) -> int:
        self.waiting[thread] = self.names["epoch"](thread, count, self.memories, *(w.reshape(-1) for w in words))  # type: ignore[operator]
        return 0

    def drive(self, count: int) -> None:
        """Run all threads to their next barrier, again and again."""
        running = dict(self.waiting)
        while running:
            arrived = []
            for thread in self.order(count):
                self.team.thread = thread
                try:
                    with np.errstate(all="ignore"):
                        next(running[thread])
                    arrived.append(thread)
                except StopIteration:
                    continue
            if arrived and len(arrived) < count:
                raise Deadlock(f"threads {arrived} wait for the others")
            self.barriers += bool(arrived)
            self.team.phase += 1
            running = running if arrived else {}


def simulate(network: Network, data: Mapping[str, Array], *, batch_size: int, threads: int, backward: bool = False,
             profile: bool = False, **options: Any) -> native.NativeRunner:  # fmt: skip
    """One epoch of training in the order of the rows; `backward` runs the last thread first between two barriers."""
    plan = Plan(batch_size=batch_size, threads=threads, **options)
    arrays = network.bind((data,), {}, ("input", "target", "label"), sparse=True)
    program, _ = network.training_program(plan.optimizer, network.metrics(arrays))
    kept = network.kept
    start = {t.name: kept.get(t.name, np.zeros([network.sizes[i] for i in t.indices])) for t in program.kept}
    made: list[Simulation] = []

    def compile_source(text: str, dtype: str) -> object:
        made.append(Simulation(text, dtype, lambda count: range(count)[:: -1 if backward else 1]))
        return SimpleNamespace(entry=made[0].entry, from_cache=True, seconds=0.0, text=text)

    def run_team(call: Callable[[int], object], count: int, watch: Callable[[], object], stop: object) -> None:
        made[0].attach(runner)
        for thread in range(count):
            call(thread)
        made[0].drive(count)
        watch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "compile_source", compile_source)
        patch.setattr(native, "pointer", lambda array: array)
        patch.setattr(native, "run_team", run_team)
        patch.setattr(native, "run_alone", lambda call, watch: run_team(call, 1, watch, None))
        runner = native.NativeRunner(
            program,
            arrays,
            start,
            network.sizes,
            network.dtype,
            threads,
            EpochReport,
            profile=profile,
            seed=network.seed,
        )
        rows = len(next(iter(arrays.values())))
        steps = -(-rows // batch_size)
        table = Rates(network, program, plan, steps).table(0, steps)
        runner.last_report = runner.epoch(np.arange(rows), batch_size, table, Silent())
        runner.simulation = made[0]
    return runner
