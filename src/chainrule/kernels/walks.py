"""Groups → functions of the generated module: maps, sums, and what ends every walk.

Where all that varies along the last index lies side by side, LANES entries are computed at once; the rest is plain
loops, entry by entry: right first, and vectorized by LLVM where it can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from chainrule.formula.expr import (
    Delta,
    Draw,
    Element,
    Position,
    Size,
    elements,
    mul,
    symbols,
    walk,
)
from chainrule.kernels.expressions import Names, Writer, draw_name, runs_along, vectorizes
from chainrule.kernels.layout import Layout
from chainrule.kernels.schedule import ENTRIES, SAMPLES, Group, Layouts, SparseInput, value_of
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Program, Reduce
from chainrule.program.lookups import fixed, numbered, pinned, terms
from chainrule.program.passes import expressions

BLOCK = 1024  # entries of a flat loop that one thread takes at a time: 4 KB of float32


@dataclass(frozen=True)
class Function:
    """One generated function, as `epoch` calls it."""

    name: str
    arguments: list[str]
    text: str
    group: Group
    kind: str  # what it became: "tiles", "sparse", "rows", "vectors" or "loops"


@dataclass
class Walks:
    """Writes the function of a group.

    `scratch` collects the buffers that packing needs, `words` memory for whole numbers: its indices, how many words
    there are for each combination of them, and their dtype.
    """

    program: Program
    layouts: Layouts
    sparse: Mapping[str, SparseInput]
    in_batch: bool = False  # whether the lists of sparse inputs are made batch by batch, from all numbers
    names: Names = field(default_factory=Names)
    functions: list[Function] = field(default_factory=list)
    scratch: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=dict)
    words: dict[str, tuple[tuple[str, ...], int, str]] = field(default_factory=dict)
    queues: int = 0

    @contextmanager
    def units(self, w: Writer) -> Iterator[None]:
        """A loop over `units` pieces of work that write nothing in common: whoever is free takes the next (take)."""
        offer, take = self.queue("units")
        w.line(offer)
        w.line(take)
        with w.block("while unit >= 0:"):
            yield
            w.line(take)

    def queue(self, units: str) -> tuple[str, str]:
        """Of a queue of its own, the lines that offer this thread's share of so many units and take the next `unit`."""
        number, self.queues = self.queues, self.queues + 1
        return (
            f"offer(control, {number}, thread, threads, {units})",
            f"unit = take(control, {number}, thread, threads)",
        )

    @contextmanager
    def function(self, group: Group, kind: str, extra: Sequence[str] = ()) -> Iterator[Writer]:
        """A function for one group; its arguments are what its lines mention."""
        w = Writer(self.names, self.layouts, over=group.by == ENTRIES)
        yield w
        body = "\n".join(w.lines)
        number = len(self.functions) + 1
        name = f"step_{number}_{self.names('tensor', group.instructions[-1].out.tensor)}"
        arguments = [a for a in dict.fromkeys([*self._arguments(group), *extra]) if _occurs(a, body)]
        comments = "".join(f"    # {formula}\n" for formula in group.formulas)
        text = f"def {name}({', '.join(arguments)}):\n{comments}{body}"
        self.functions.append(Function(name, arguments, text, group, kind))

    def _arguments(self, group: Group) -> list[str]:
        """Everything that the lines of a group may mention, in a fixed order."""
        used = [e for i in group.instructions for e in (i.out, *expressions(i))]
        tensors = list(dict.fromkeys(e.tensor for u in used for e in elements(u) if e.tensor != ACCUMULATOR))
        tensors = [t for t in tensors if t in self.layouts.home]
        memories = [m for t in tensors for m in [t, *(name for name, _ in self.layouts.columns(t))]]
        scalars = dict.fromkeys(s for u in used for s in symbols(u))
        indices = self.indices
        words = ["thread", "threads", "start", "stop", "control"]
        words += [self.names("size", i) for i in indices] + [self.names("stride", i) for i in indices]
        draws = dict.fromkeys(draw_name(n) for u in used for n in walk(u) if isinstance(n, Draw))
        words += [self.names("key", d) for d in draws]
        words += [self.names("scalar", s) for s in scalars] + [self.names("tensor", m) for m in memories]
        words += [self.names("tensor", numbers_name(t)) for t in self.numbered]
        for name in self.sparse:
            words += self.sparse_words(name)
        return list(dict.fromkeys(words))

    def sparse_words(self, name: str) -> list[str]:
        """What a sparse input's lists are called: see products.py."""
        parts = ["starts", "places", "rows", "counts", "columns", "capacity", "room", "blocks", "block"]
        parts += ["firsts"] * self.sparse[name].listed + ["ends"] * self.sparse[name].shared
        return [self.names("tensor", f"{name} {part}") for part in parts]

    @cached_property
    def numbered(self) -> list[str]:
        """The class numbers that say which row: they lie in memory as whole numbers."""
        return numbered(self.program)

    @cached_property
    def indices(self) -> list[str]:
        """Every index of the program, the sample axis first."""
        found = [self.program.samples, *(i for t in self.program.tensors.values() for i in t.indices)]
        for instruction in self.program:
            for expr in (instruction.out, *expressions(instruction)):
                found += [str(s) for e in elements(expr) for s in e.slots if isinstance(s, str)]
                found += [n.index for n in walk(expr) if isinstance(n, Position | Size)]
            if isinstance(instruction, Reduce | Contract):
                found += instruction.indices
        return list(dict.fromkeys(i.rstrip("'") for i in found))

    # maps

    def map(self, group: Group) -> None:
        """A group without a sum: entry by entry."""
        axis = self.axis_of(group)
        flat = self._is_flat(group)
        with self.function(group, "vectors" if flat or axis else "loops") as w:
            self.load_scalars(w, group)
            if flat:
                self._flat(w, group)
            elif axis is not None:
                size = w.size(self.size_of(group.head.out, axis))
                begin, end = ("0", size) if len(group.head.out.slots) > 1 else ("first", "last")
                with self.rows(w, group.head.out, group.by, axis), self.along(w, axis, begin, end):
                    self.finish(w, group, None)
            else:
                with self.each(w, group.head.out, group.by):
                    self.finish(w, group, None)

    def _is_flat(self, group: Group) -> bool:
        """Whether all tensors lie alike, so that one loop over memory does."""
        out = group.head.out
        layout = self.layouts.home[out.tensor]
        if group.by == SAMPLES or not out.slots:
            return False
        for instruction in group.instructions:
            if self.layouts.copies.get(instruction.out.tensor):
                return False
            for expr in (instruction.out, *expressions(instruction)):
                if any(isinstance(n, Position | Delta) for n in walk(expr)):
                    return False
                for e in elements(expr):
                    if e.slots and (e.slots != out.slots or self.layouts.home[e.tensor] != layout):
                        return False
        return True

    def _flat(self, w: Writer, group: Group) -> None:
        layout = self.layouts.home[group.head.out.tensor]
        w.line(f"total = {self.entries(w, layout)}")
        w.line(f"blocks = (total + {BLOCK - 1}) // {BLOCK}")
        w.line(f"first = blocks * thread // threads * {BLOCK}")
        w.line(f"last = least(total, blocks * (thread + 1) // threads * {BLOCK})")
        with w.block("for q in range(first, last, LANES):"):
            w.flat = "q"
            self.finish(w, group, None)
            w.flat = None

    def entries(self, w: Writer, layout: Layout) -> str:
        """How many entries a tensor's memory has, filling included."""
        if layout.column is not None:
            column = w.size(layout.indices[layout.column])
            return f"({column} + PANEL - 1) // PANEL * PANEL * ({w.product_of_sizes(layout.rows)})"
        if layout.padded:
            rows = w.product_of_sizes(layout.indices[:-1])
            return f"({rows}) * {w.stride(layout.indices[-1])}"
        return f"({w.product_of_sizes(layout.indices)} + PANEL - 1) // PANEL * PANEL"

    # loops over entries

    def axis_of(self, group: Group) -> str | None:
        """The index along which LANES entries of a group can be computed at once."""
        slots = group.head.out.slots
        layout = self.layouts.home[group.head.out.tensor]
        place = layout.column if layout.column is not None else len(slots) - 1
        if not slots or layout.contiguous is None or (group.by == SAMPLES and place == 0):
            return None
        axis, over = str(slots[place]), group.by == ENTRIES
        known: set[str] = {ACCUMULATOR}
        for instruction in group.instructions:
            inner = isinstance(instruction, Contract | Reduce)
            value = value_of(instruction)
            if (
                inner
                and isinstance(instruction, Reduce)
                and (
                    axis in fixed(instruction, self.program)
                    or not vectorizes(terms(instruction, self.program), axis, self.layouts, frozenset(), over)
                )
            ):
                return None
            if not vectorizes(value, axis, self.layouts, frozenset(known), over):
                return None
            if not runs_along(self.layouts.home[instruction.out.tensor], instruction.out.slots, axis):
                return None
            known.add(instruction.out.tensor)
        return axis

    def size_of(self, out: Element, axis: str) -> str:
        """The declared index of a slot: its size is the slot's."""
        return self.program.tensors[out.tensor].indices[out.slots.index(axis)]

    @contextmanager
    def along(self, w: Writer, axis: str, begin: str, end: str, variable: str = "c") -> Iterator[None]:
        """A loop along the axis, LANES entries a turn."""
        with w.block(f"for {variable} in range({begin}, {end}, LANES):"):
            before = w.loops.get(axis)
            w.axis, w.loops[axis] = axis, variable
            yield
            w.axis = None
            if before is not None:
                w.loops[axis] = before

    @contextmanager
    def rows(self, w: Writer, out: Element, by: str, axis: str | None) -> Iterator[None]:
        """Loops over all slots of a result but the axis, shared out among the threads."""
        indices = self.program.tensors[out.tensor].indices
        outer = [(str(s), i) for s, i in zip(out.slots, indices, strict=True) if s != axis]
        if by == SAMPLES:
            (first, _), inner = outer[0], outer[1:]
            variable = self.names("index", first)
            w.loops[first] = variable
            depth = w.depth
            w.line(f"for {variable} in range(start, stop):")
            w.depth += 1
            for slot, index in inner:
                variable = self.names("index", slot)
                w.loops[slot] = variable
                w.line(f"for {variable} in range({w.size(index)}):")
                w.depth += 1
            yield
            w.depth = depth
            return
        if not outer:
            if axis is None:
                with w.block("if thread == 0:"):
                    yield
                return
            # One row: its columns are shared out, in whole panels.
            w.line(f"panels = ({w.size(self.size_of(out, axis))} + PANEL - 1) // PANEL")
            w.line("first = panels * thread // threads * PANEL")
            w.line(f"last = least({w.size(self.size_of(out, axis))}, panels * (thread + 1) // threads * PANEL)")
            yield
            return
        w.line(f"rows = {w.product_of_sizes(tuple(i for _, i in outer))}")
        with w.block("for row in range(rows * thread // threads, rows * (thread + 1) // threads):"):
            self.decode(w, "row", [s for s, _ in outer], [i for _, i in outer])
            yield

    @contextmanager
    def each(self, w: Writer, out: Element, by: str) -> Iterator[None]:
        """Loops over all entries of a result, one at a time."""
        slots = [str(s) for s in out.slots]
        if not slots or (by == SAMPLES and len(slots) == 1):
            with self.rows(w, out, by, None):
                yield
            return
        if len(slots) == 1:
            size, variable = w.size(self.program.tensors[out.tensor].indices[0]), self.names("index", slots[0])
            w.loops[slots[0]] = variable
            with w.block(f"for {variable} in range({size} * thread // threads, {size} * (thread + 1) // threads):"):
                yield
            return
        last = slots[-1]
        with self.rows(w, out, by, last):
            variable = self.names("index", last)
            w.loops[last] = variable
            with w.block(f"for {variable} in range({w.size(self.size_of(out, last))}):"):
                yield

    def decode(self, w: Writer, code: str, slots: Sequence[str], indices: Sequence[str]) -> None:
        """Loop variables from one running number, the last index fastest."""
        for position, slot in enumerate(slots):
            after = w.product_of_sizes(tuple(indices[position + 1 :]))
            value = f"({code})" if after == "1" else f"({code}) // ({after})"
            if position:
                value += f" % {w.size(indices[position])}"
            variable = self.names("index", slot)
            w.line(f"{variable} = {value}")
            w.loops[slot] = variable

    # the end of a walk

    def load_scalars(self, w: Writer, group: Group) -> None:
        """Tensors without indices are read once, before the loops."""
        for instruction in group.instructions:
            for expr in (instruction.out, *expressions(instruction)):
                for element in elements(expr):
                    made = element.tensor in group.writes
                    if (
                        not element.slots
                        and element.tensor != ACCUMULATOR
                        and element.tensor not in w.loaded
                        and not made
                    ):
                        name = self.names("tensor", element.tensor)
                        w.line(f"{name}_value = {name}[0]")
                        w.loaded[element.tensor] = f"{name}_value"

    def finish(self, w: Writer, group: Group, accumulator: str | None) -> None:
        """At one entry (or LANES of them): compute every instruction's value, and store what others read."""
        before = dict(w.loaded)
        if accumulator is not None:
            w.loaded[ACCUMULATOR] = accumulator
        for instruction in group.instructions:
            value = value_of(instruction)
            local = f"{self.names('tensor', instruction.out.tensor)}_new"
            w.line(f"{local} = {w.value(value)}")
            w.loaded[instruction.out.tensor] = local
            if instruction.out.tensor in group.stored and instruction.out.tensor not in _later(group, instruction):
                self.store(w, instruction.out, local)
        w.loaded = before

    def store(self, w: Writer, out: Element, value: str) -> None:
        """Write an entry, or LANES of them, to each memory that the tensor has."""
        pointer = self.names("tensor", out.tensor)
        if w.flat is not None:
            w.line(f"put({pointer}, {w.flat}, {value})")
            return
        home = self.layouts.home[out.tensor]
        place = w.offset(home, out.slots)
        w.line(f"put({pointer}, {place}, {value})" if w.axis else f"{pointer}[{place}] = {value}")
        for name, layout in self.layouts.columns(out.tensor):
            copy = self.names("tensor", name)
            if w.axis is None:
                w.line(f"{copy}[{w.offset(layout, out.slots)}] = {value}")
            elif runs_along(layout, out.slots, w.axis):
                w.line(f"put({copy}, {w.offset(layout, out.slots)}, {value})")
            else:
                self._scatter(w, out, layout, copy, f"{pointer}[{place} + lane]")

    def _scatter(self, w: Writer, out: Element, layout: Layout, copy: str, code: str) -> None:
        """Write LANES entries to a copy in which they do not lie side by side."""
        assert w.axis is not None
        axis, base, panels = w.axis, w.loops[w.axis], w.panels.pop(w.axis, None)
        w.axis, w.loops[axis] = None, f"({base} + lane)"
        w.line(f"lanes = {w.size(self.size_of(out, axis))} - {base}")
        store = f"{copy}[{w.offset(layout, out.slots)}] = {code}"
        # With a constant end it becomes a store a lane; else LLVM would make masks and branches of it.
        with w.block("if lanes >= LANES:"), w.block("for lane in range(LANES):"):
            w.line(store)
        with w.block("else:"), w.block("for lane in range(lanes):"):
            w.line(store)
        w.axis, w.loops[axis] = axis, base
        if panels is not None:
            w.panels[axis] = panels

    # sums

    def reduce(self, group: Group) -> None:
        """A group whose head is a sum, maximum or minimum."""
        head = group.head
        assert isinstance(head, Reduce)
        axis, chosen = self.axis_of(group), pinned(head, self.program)
        head = replace(head, body=terms(head, self.program))
        inner = None if axis else self._inner_axis(head, chosen)
        with self.function(group, "vectors" if axis or inner else "loops") as w:
            self.load_scalars(w, group)
            if axis is not None:
                self._sum_columns(w, group, head, axis, chosen)
                return
            with self.each(w, head.out, group.by):
                if inner is not None:
                    self._sum_vectors(w, head, inner, chosen)
                else:
                    w.line(f"acc = {_START[head.kind]}")
                    with self.bound_loops(w, head.indices, chosen):
                        w.line(_combine(head.kind, "acc", w.value(head.body)))
                self.finish(w, group, "acc")

    def _inner_axis(self, head: Reduce, chosen: Mapping[str, Element]) -> str | None:
        """The bound index along which the body can be computed LANES entries at a time."""
        numbers = {s for number in chosen.values() for s in number.slots}
        for index in reversed([i for i in head.indices if i not in chosen and i not in numbers]):
            varies = any(index in e.slots for e in elements(head.body))
            if varies and vectorizes(head.body, index, self.layouts, frozenset()):
                return index
        return None

    def _sum_columns(self, w: Writer, group: Group, head: Reduce, axis: str, chosen: Mapping[str, Element]) -> None:
        """Sums side by side, two vectors of them at a time: one alone would wait for itself."""
        size = w.size(self.size_of(head.out, axis))
        with self.rows(w, head.out, group.by, axis):
            whole = len(head.out.slots) > 1
            begin, end = ("0", size) if whole else ("first", "last")
            with w.block(f"for b in range({begin}, {end}, 2 * LANES):"):
                w.line(f"acc = spread({_START[head.kind]})")
                w.line(f"acc_2 = spread({_START[head.kind]})")
                w.axis = axis
                with self.bound_loops(w, head.indices, chosen):
                    for name, place in (("acc", "b"), ("acc_2", "(b + LANES)")):
                        w.loops[axis] = place
                        w.line(_combine(head.kind, name, w.value(head.body)))
                for name, place in (("acc", "b"), ("acc_2", "(b + LANES)")):
                    w.loops[axis] = place
                    self.finish(w, group, name)
                w.axis = None

    def _sum_vectors(self, w: Writer, head: Reduce, axis: str, chosen: Mapping[str, Element]) -> None:
        """One sum, LANES terms at a time; the last vector may be partly outside."""
        size = w.size(axis)
        neutral = _START[head.kind]
        w.line(f"lanes = spread({neutral})")
        outer = [i for i in head.indices if i != axis]
        with self.bound_loops(w, outer, chosen):
            w.line(f"tail = {size} % LANES")
            with self.along(w, axis, "0", f"{size} - tail"):
                w.line(_combine(head.kind, "lanes", w.value(head.body)))
            with w.block("if tail > 0:"):
                w.axis, w.loops[axis] = axis, f"({size} - tail)"
                w.line(_combine(head.kind, "lanes", f"select(first_lanes(tail), {w.value(head.body)}, {neutral})"))
                w.axis = None
        across = {"sum": "sum_lanes", "max": "max_lanes", "min": "min_lanes"}[head.kind]
        w.line(f"acc = {across}(lanes)")

    @contextmanager
    def bound_loops(self, w: Writer, indices: Sequence[str], chosen: Mapping[str, Element]) -> Iterator[None]:
        """Loops over summed indices; one that a class number has `chosen` takes that value alone."""
        depth = w.depth
        for index in (i for i in indices if i not in chosen):
            variable = self.names("index", index)
            w.loops[index] = variable
            w.line(f"for {variable} in range({w.size(index)}):")
            w.depth += 1
        for index, number in chosen.items():
            self.pin(w, index, number)
        yield
        w.depth = depth

    def pin(self, w: Writer, index: str, number: Element) -> None:
        """Let an index be what a class number says. These numbers lie side by side, without room at the end of rows."""
        indices = self.program.tensors[number.tensor].indices
        place = w.row_major(number.slots, Layout((*indices, "", "")))
        variable = self.names("index", index)
        w.line(f"{variable} = {self.names('tensor', numbers_name(number.tensor))}[{place}]")
        w.loops[index] = variable

    def as_sum(self, group: Group) -> Group:
        """A product that is no matrix product, as a plain sum."""
        head = group.head
        assert isinstance(head, Contract)
        body = mul(head.left, head.right)
        sum_ = Reduce(head.out, "sum", head.indices, body, head.epilogue, head.formula)
        return Group(sum_, group.by, group.then, group.stored)


def numbers_name(tensor: str) -> str:
    """What the memory is called in which class numbers are whole numbers."""
    return f"{tensor} numbers"


def _later(group: Group, instruction: Instruction) -> set[str]:
    """What instructions of the group behind this one write: only the last value of a tensor is stored."""
    position = next(n for n, i in enumerate(group.instructions) if i is instruction)
    return {i.out.tensor for i in group.instructions[position + 1 :]}


_START = {"sum": "F(0)", "max": "F(-INFINITY)", "min": "F(INFINITY)"}


def _combine(kind: str, accumulator: str, code: str) -> str:
    if kind == "sum":
        return f"{accumulator} += {code}"
    return f"{accumulator} = {'maximum' if kind == 'max' else 'minimum'}({accumulator}, {code})"


def _occurs(name: str, body: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", body) is not None
