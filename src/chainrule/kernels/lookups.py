"""Sums by class numbers → functions of the generated module: rows of a table that are read, or added to.

A sum over an index that a class number pins down, sum[v]([v == c]*T[v, d]), takes the term of that number alone: in
walks.py, the loop over v becomes `v = c`.

A sum that adds to rows of its result, sum[n]([v == c]*delta[d]), goes row by row. `heads` has for each row its first
entry (plus 1) and how many it has, `links` for each entry the next one. A thread owns some rows: it links their
entries, in the order of the samples, adds a row up in registers and ends it with the group's epilogue, so that the
gradient of a table is never written to memory. Every sum has one owner and one order. Where rows without an entry stay
as they are (plain descent), the entries are walked and not the rows: the step costs what the batch has, however large
the table is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chainrule.formula.expr import Expr, Slot, base_index
from chainrule.kernels.expressions import Writer
from chainrule.kernels.schedule import Group, without_gradient
from chainrule.kernels.walks import Walks
from chainrule.program.instructions import Reduce
from chainrule.program.lookups import Rows, pinned, rows_of, terms

# Rows go to the threads in blocks, by a hash: class numbers are often sorted by how often they occur, as words are, and
# then the first half of a table has most of the work.
BLOCK_ROWS = 16
OWNER = "({block} * 40503 % 65536 * threads // 65536)"


class Lookups(Walks):
    """Walks, and those that add to rows."""

    def reduce(self, group: Group) -> None:
        """A group whose head is a sum, maximum or minimum."""
        rows = rows_of(group.head, self.program)
        if rows is None:
            super().reduce(group)
            return
        assert isinstance(group.head, Reduce)
        self._add_to_rows(group, group.head, rows)

    def _add_to_rows(self, group: Group, head: Reduce, rows: Rows) -> None:
        number = len(self.functions) + 1
        heads, links = f"heads {number}", f"links {number}"
        self.words[heads] = (tuple(map(base_index, rows.row)), 2, "int32")
        self.words[links] = (tuple(map(base_index, rows.entry)), len(rows.entry), "int32")
        quiet = not without_gradient(group)
        h, k = (self.names("tensor", name) for name in (heads, links))
        with self.function(group, "rows", [h, k]) as w:
            self.load_scalars(w, group)
            with self._entries(w, rows, backward=True):
                w.line(f"{k}[p * {len(rows.entry)}] = {h}[place]")
                for position, slot in enumerate(rows.entry[:-1], 1):
                    w.line(f"{k}[p * {len(rows.entry)} + {position}] = {w.loops[slot]}")
                w.line(f"{h}[place] = p + 1")
                w.line(f"{h}[place + 1] += 1")
            walk = self._entries(w, rows) if quiet else self._every_row(w, rows)
            with walk, w.block(f"if {h}[place] == p + 1:" if quiet else "if True:"):
                w.line(f"first = {h}[place]")
                w.line(f"count = {h}[place + 1]")
                w.line(f"{h}[place] = 0")
                w.line(f"{h}[place + 1] = 0")
                self._one_row(w, group, head, rows, k)

    @contextmanager
    def _entries(self, w: Writer, rows: Rows, *, backward: bool = False) -> Iterator[None]:
        """Loops over the entries of the thread's rows: p is the entry's number, `place` that of its row's two words."""
        depth = w.depth
        for slot in rows.entry:
            variable = self.names("index", slot)
            w.loops[slot] = variable
            if backward:  # so that lists come out in the order of the samples
                w.locals += 1
                w.line(f"for local_{w.locals} in range({w.size(slot)}):")
                w.depth += 1
                w.line(f"{variable} = {w.size(slot)} - 1 - local_{w.locals}")
            else:
                w.line(f"for {variable} in range({w.size(slot)}):")
                w.depth += 1
        self.pin(w, rows.pin.index, rows.pin.number)
        row = w.loops[rows.pin.index]
        with w.block(f"if {OWNER.format(block=f'({row} // {BLOCK_ROWS})')} == thread:"):
            w.line(f"p = {_running(w, rows.entry)}")
            w.line(f"place = 2 * ({_running(w, rows.row)})")
            yield
        w.depth = depth

    @contextmanager
    def _every_row(self, w: Writer, rows: Rows) -> Iterator[None]:
        """Loops over the thread's rows, with entries or without."""
        depth, table = w.depth, rows.pin.index
        size, variable = w.size(table), self.names("index", table)
        w.line(f"blocks = ({size} + {BLOCK_ROWS - 1}) // {BLOCK_ROWS}")
        with w.block("for block in range(blocks):"), w.block(f"if {OWNER.format(block='block')} == thread:"):
            w.loops[table] = variable
            w.line(f"for {variable} in range(block * {BLOCK_ROWS}, least({size}, (block + 1) * {BLOCK_ROWS})):")
            w.depth += 1
            with self.bound_loops(w, [s for s in rows.row if s != table], {}):
                w.line(f"place = 2 * ({_running(w, rows.row)})")
                yield
        w.depth = depth

    def _one_row(self, w: Writer, group: Group, head: Reduce, rows: Rows, links: str) -> None:
        """Add up the list that begins at `first`, along the row LANES sums at a time where that can be."""
        axis, body = self.axis_of(group), terms(head, self.program)
        with self.bound_loops(w, [s for s in rows.along if s != axis], {}):
            if axis is None:
                w.line("acc = F(0)")
                with self._list(w, head, rows, links):
                    w.line(f"acc += {w.value(body)}")
                self.finish(w, group, "acc")
                return
            with w.block(f"for b in range(0, {w.size(axis)}, 2 * LANES):"):
                sums = (("acc", "b"), ("acc_2", "(b + LANES)"))
                for name, _ in sums:
                    w.line(f"{name} = spread(F(0))")
                w.axis = axis
                with self._list(w, head, rows, links):
                    self._each_sum(w, axis, body, sums)
                for name, at in sums:
                    w.loops[axis] = at
                    self.finish(w, group, name)
                w.axis = None

    def _each_sum(self, w: Writer, axis: str, body: Expr, sums: tuple[tuple[str, str], ...]) -> None:
        for name, at in sums:
            w.loops[axis] = at
            w.line(f"{name} += {w.value(body)}")

    @contextmanager
    def _list(self, w: Writer, head: Reduce, rows: Rows, links: str) -> Iterator[None]:
        """A loop over a row's entries, inside it the loops over what else is summed.

        The indices have variables of their own here: those of the same names may be at another entry, see _entries.
        """
        width, outside = len(rows.entry), dict(w.loops)
        for slot in rows.entry:
            if slot not in rows.row:
                w.loops[slot] = self.names("index", f"{slot} there")
        w.line("e = first")
        with w.block("for turn in range(count):"):
            w.line("q = e - 1")
            for position, slot in enumerate(rows.entry[:-1], 1):
                if slot not in rows.row:
                    w.line(f"{w.loops[slot]} = {links}[q * {width} + {position}]")
            last = rows.entry[-1]
            if last not in rows.row:
                before = f" - ({_running(w, rows.entry[:-1])}) * {w.size(last)}" if width > 1 else ""
                w.line(f"{w.loops[last]} = q{before}")
            w.line(f"e = {links}[q * {width}]")
            others = [i for i in head.indices if i not in rows.entry]
            with self.bound_loops(w, others, pinned(head, self.program)):
                yield
        w.loops = outside


def _running(w: Writer, slots: tuple[Slot, ...]) -> str:
    """The running number of a combination of indices, the last one fastest."""
    code = ""
    for slot in slots:
        code = f"({code}) * {w.size(str(slot))} + {w.loops[str(slot)]}" if code else w.loops[str(slot)]
    return code or "0"
