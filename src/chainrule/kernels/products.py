"""Products → functions of the generated module: register tiles, or walks over the non-zeros of a sparse input.

Both end in the group's epilogue while the sums are in the first-level cache: bias and activation, or the update rule.

A sparse input lies in lists. `starts`, `places` and the source hold the data set's non-zeros row by row (lists.py); for
the batch, gathers.py makes lists of pairs (place, value as the formulas want it): `rows`, with `capacity`
pairs a row, and the same non-zeros column by column, `counts[c]` of them in `columns`, with `room` pairs a column. Of a
sparse table, whose columns are many, they begin at `firsts[c]`. Where neighbouring columns are mostly not 0 together
(SparseInput.shared), two share a list of entries (place, value, value), `counts[c // 2]` of them, and `ends` says where
the blocks of each row begin and end.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.formula.expr import Delta, Draw, Element, Expr, Position, elements, walk
from chainrule.kernels.expressions import Writer
from chainrule.kernels.layout import Layout
from chainrule.kernels.lookups import Lookups
from chainrule.kernels.schedule import (
    ENTRIES,
    SAMPLES,
    Group,
    as_matrices,
    listed_sum,
    panel_column,
    value_of,
    without_gradient,
)
from chainrule.program.instructions import Contract, Map, Reduce, reads
from chainrule.program.passes import expressions

# Of the left side, what is walked again and again should stay in the second-level cache: 192 of 512 KB of float32.
LEFT_ENTRIES = 49_152
# Weights of more numbers than this (4 MB of float32) come from far away whenever they are read, and should be read once
# for as many rows as can be: then sums are done in parts of so many terms, for so many columns at a time. With batches
# of 512, 2,048 × 2,048 weights take 0.85 of the time so (with 512 terms 0.89); 1,024 × 1,024 as long as in whole sums.
SMALL_WEIGHTS = 2**20
TERMS, COLUMNS = 256, 256
ROOM = "a thread's room"  # a buffer with LEFT_ENTRIES numbers for each thread: packed rows, or the sums so far
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class _Tiling:
    """A product in tiles: the indices of its rows and columns, and how far apart the numbers of the left side lie."""

    group: Group
    product: Contract
    right: str
    rows: tuple[str, ...]
    outer: tuple[str, ...]
    last: str
    axis: str | None
    row_step: str
    sum_step: str


class Products(Lookups):
    """Walks, and the products among them."""

    def contract(self, group: Group) -> None:
        """A group whose head is a product."""
        head = group.head
        assert isinstance(head, Contract)
        product = as_matrices(head, self._column(head))
        if product is None or self.layouts.home[product.left.tensor].column is not None:
            self.reduce(self.as_sum(group))
            return
        place = panel_column(product)
        panels = self.layouts.panels(product.right.tensor, place) if place is not None else None
        if product.left.tensor in self.sparse:
            assert panels is not None
            self._sparse(group, product, panels)
            return
        self._tiles(group, product, panels or self._pack(group, product))

    def _column(self, head: Contract) -> str:
        """Which of the result's indices runs along a vector."""
        layout = self.layouts.home[head.out.tensor]
        return str(head.out.slots[layout.column if layout.column is not None else -1])

    def _pack(self, group: Group, product: Contract) -> str:
        """Copy the right side into panels of columns; returns the name of the scratch buffer."""
        last = self._column(product)
        outer = tuple(c for c in product.columns if c != last)
        name = f"panels {len(self.scratch) + 1}"
        declared = {
            str(s): i
            for s, i in zip(product.right.slots, self.program.tensors[product.right.tensor].indices, strict=True)
        }
        self.scratch[name] = (
            tuple(declared[o] for o in outer),
            declared[last],
            tuple(declared[i] for i in product.indices),
        )
        memory = self.names("tensor", name)
        packing = Group(Map(Element(name, ()), product.right, product.formula), "entries")
        with self.function(packing, "loops", [memory]) as w:
            w.line(f"length = {w.product_of_sizes(product.indices)}")
            w.line(f"panels = ({w.size(last)} + PANEL - 1) // PANEL")
            w.line(f"units = panels * ({w.product_of_sizes(outer)}) * length")
            with w.block("for unit in range(units * thread // threads, units * (thread + 1) // threads):"):
                w.line("panel = unit // length % panels")
                self.decode(w, "unit // length // panels", outer, outer)
                self.decode(w, "unit % length", product.indices, product.indices)
                w.line(f"width = least(PANEL, {w.size(last)} - panel * PANEL)")
                w.loops[last] = "(panel * PANEL + lane)"
                w.panels[last] = ("panel", "lane")
                with w.block("for lane in range(width):"):
                    w.line(f"{memory}[unit * PANEL + lane] = {w.element(product.right)}")
                with w.block("for lane in range(width, PANEL):"):
                    w.line(f"{memory}[unit * PANEL + lane] = F(0)")
        return name

    # tiles

    def _tiles(self, group: Group, product: Contract, right: str) -> None:
        last = self._column(product)
        outer = tuple(c for c in product.columns if c != last)
        rows = tuple(str(s) for s in product.left.slots if s not in product.indices)
        if rows[0] != self.program.samples:
            # The samples are among the columns: threads share the entries, and each writes to rows of all samples.
            group = Group(group.head, ENTRIES, group.then, group.stored)
        with self.function(group, "tiles", [self.names("tensor", right), self.names("tensor", ROOM)]) as w:
            self.load_scalars(w, group)
            steps = (self._step(w, product.left, rows[-1]), self._step(w, product.left, product.indices[-1]))
            tiling = _Tiling(group, product, right, rows, outer, last, self.axis_of(group), *steps)
            w.line(f"length = {w.product_of_sizes(product.indices)}")
            w.line(f"panels = ({w.size(last)} + PANEL - 1) // PANEL")
            if outer:
                w.line(f"panels = panels * ({w.product_of_sizes(outer)})")
            # Rows of the left side that stay in the second-level cache while the panels pass.
            w.line(f"block = ({LEFT_ENTRIES} // (length * TILE_ROWS) + 1) * TILE_ROWS")
            w.line(f"room = at({self.names('tensor', ROOM)}, thread * {LEFT_ENTRIES})")
            if group.by == SAMPLES:
                self._tiles_by_samples(w, tiling)
            else:
                self._tiles_by_entries(w, tiling)

    def _tiles_by_samples(self, w: Writer, t: _Tiling) -> None:
        """The rows of a share against all panels: in whole sums, or some terms of all before the next terms.

        In parts, a weight comes from far away once for up to 192 rows; of rows of 2,048 numbers, 30 would stay near.
        """
        left, inner = self.names("tensor", t.product.left.tensor), w.product_of_sizes(t.rows[1:])
        for end, code in (("begin", "start"), ("rows", "stop")):
            w.line(f"{end} = {code} * ({inner})" if inner != "1" else f"{end} = {code}")
        w.line(f"small = length * panels * PANEL <= {SMALL_WEIGHTS} or (rows - begin) * length <= {LEFT_ENTRIES}")
        w.line(f"parts = select(small, 1, (length + {TERMS - 1}) // {TERMS})")
        w.line(f"block = select(parts > 1, {LEFT_ENTRIES // max(TERMS, COLUMNS)} // TILE_ROWS * TILE_ROWS, block)")
        with w.block("for first in range(begin, rows, block):"):
            w.line("last = least(rows, first + block)")
            with w.block(f"for beside in range(0, panels, {COLUMNS} // PANEL):"), w.block("for part in range(parts):"):
                w.line("term = length * part // parts")
                w.line("terms = length * (part + 1) // parts - term")
                with w.block(f"for panel in range(beside, least(panels, beside + {COLUMNS} // PANEL)):"):
                    panel = self._panel(w, t)
                    with w.block("for row in range(first, last, TILE_ROWS):"):
                        w.line("count = least(TILE_ROWS, last - row)")
                        w.line("acc = at(room, select(parts > 1, ((panel - beside) * block + row - first) * PANEL, 0))")
                        a = f"at({left}, row * {t.row_step} + term * {t.sum_step})"
                        steps = f"{t.row_step}, {t.sum_step}"
                        w.line(f"tile({a}, {steps}, count, at(b, term * PANEL), PANEL, terms, part, acc)")
                        with w.block("if part == parts - 1:"):
                            self._tile_ends(w, t, panel)

    def _tiles_by_entries(self, w: Writer, t: _Tiling) -> None:
        """Units of work: some rows against one panel; there are some four blocks of rows for each thread."""
        w.line("acc = stack(TILE_ROWS * PANEL)")
        w.line(f"rows = {w.product_of_sizes(t.rows)}")
        w.line("tiles = (rows + TILE_ROWS - 1) // TILE_ROWS")
        w.line("block = least(block, (tiles // (4 * threads) + 1) * TILE_ROWS)")
        # Down the columns of the left side each number is on another page: these rows are copied side by side.
        down = t.row_step == "1"
        if down:
            w.line(f"packs = panels > 1 and length * TILE_ROWS <= {LEFT_ENTRIES}")
            w.line(f"block = select(packs, least(block, {LEFT_ENTRIES} // (length * TILE_ROWS) * TILE_ROWS), block)")
            w.line("packed = -1")
        w.line("units = (rows + block - 1) // block * panels")
        left = self.names("tensor", t.product.left.tensor)
        with self.units(w):
            w.line("panel = unit % panels")
            w.line("first = unit // panels * block")
            w.line("last = least(rows, first + block)")
            if down:
                with w.block("if packs and packed != first:"):
                    w.line("packed = first")
                    self._pack_rows(w, left, t.sum_step)
            panel = self._panel(w, t)
            with w.block("for row in range(first, last, TILE_ROWS):"):
                w.line("count = least(TILE_ROWS, last - row)")
                plain = (
                    f"tile(at({left}, row * {t.row_step}), {t.row_step}, {t.sum_step}, count, b, PANEL, length, 0, acc)"
                )
                if down:
                    with w.block("if packs:"):
                        w.line("tile(at(room, (row - first) * length), 1, TILE_ROWS, count, b, PANEL, length, 0, acc)")
                    with w.block("else:"):
                        w.line(plain)
                else:
                    w.line(plain)
                self._tile_ends(w, t, panel)

    def _pack_rows(self, w: Writer, left: str, sum_step: str) -> None:
        """Copy the rows from `first` to `last` tile by tile: TILE_ROWS numbers for each term of the sums."""
        with w.block("for row in range(first, last, TILE_ROWS):"):
            w.line("count = least(TILE_ROWS, last - row)")
            with w.block("for s in range(length):"):
                w.line("place = (row - first) * length + s * TILE_ROWS")
                with w.block("if count == TILE_ROWS:"), w.block("for r in range(TILE_ROWS):"):
                    w.line(f"room[place + r] = {left}[row + r + s * {sum_step}]")
                with w.block("else:"), w.block("for r in range(count):"):
                    w.line(f"room[place + r] = {left}[row + r + s * {sum_step}]")

    def _panel(self, w: Writer, t: _Tiling) -> str:
        """Where a panel's columns begin and how many they are; returns what counts the panels of the last index."""
        w.line(f"b = at({self.names('tensor', t.right)}, panel * length * PANEL)")
        panel = "panel"
        if t.outer:
            w.line(f"column = panel % (({w.size(t.last)} + PANEL - 1) // PANEL)")
            self.decode(w, f"panel // (({w.size(t.last)} + PANEL - 1) // PANEL)", t.outer, t.outer)
            panel = "column"
        w.line(f"width = least(PANEL, {w.size(t.last)} - {panel} * PANEL)")
        return panel

    def _tile_ends(self, w: Writer, t: _Tiling, panel: str) -> None:
        """The epilogue for the rows of a tile."""
        with w.block("for r in range(count):"):
            self.decode(w, "row + r", t.rows, t.rows)
            self._columns(w, t.group, t.last, t.axis, panel, "r * PANEL")

    def _columns(self, w: Writer, group: Group, last: str, axis: str | None, panel: str, sums: str) -> None:
        """The epilogue for `width` columns from those of `panel` on, whose sums lie in acc from `sums` on."""
        variable = "c" if axis else "lane"
        w.loops[last] = f"({panel} * PANEL + {variable})"
        w.panels[last] = (panel, variable)
        if axis is None:
            with w.block("for lane in range(width):"):
                self.finish(w, group, f"acc[{sums} + lane]")
        else:
            # The filling of the last panel is computed too: it has room, and a constant end makes a better loop.
            with w.block("for c in range(0, PANEL, LANES):"):
                w.axis = axis
                self.finish(w, group, f"vector(acc, {sums} + c)")
                w.axis = None
        del w.panels[last]

    def _step(self, w: Writer, element: Element, slot: str) -> str:
        """How far apart the entries of a left side lie along a slot, the last of its group."""
        layout = self.layouts.home[element.tensor]
        position = element.slots.index(slot)
        rest = layout.indices[position + 1 :]
        if layout.padded and rest:
            return w.stride(rest[-1])
        size = w.product_of_sizes(tuple(rest))
        return f"({size})" if "*" in size else size

    # lists

    def _sparse(self, group: Group, product: Contract, right: str) -> None:
        """Rows of the batch times panels of weights, or columns of the batch times panels of deltas."""
        last = self._column(product)
        axis = self.axis_of(group)
        words = self.sparse_words(product.left.tensor)
        along_samples = product.indices == (self.program.samples,)
        with self.function(group, "sparse", [self.names("tensor", right), *words, "order", "batch_first"]) as w:
            self.load_scalars(w, group)
            w.line(f"length = {w.product_of_sizes(product.indices)}")
            w.line(f"panels = ({w.size(last)} + PANEL - 1) // PANEL")
            w.line("step = length * PANEL")
            shared = along_samples and self.sparse[product.left.tensor].shared
            at_once = "BOTH_PANELS" if shared else "WALK_PANELS"
            w.line(f"chunks = (panels + {at_once} - 1) // {at_once}")
            if along_samples:
                self._sparse_columns(w, group, product, right, last, axis)
            else:
                self._sparse_rows(w, group, product, right, last, axis)

    def _chunk(self, w: Writer, right: str, last: str) -> None:
        # As even as can be: nine panels are walked as three times 3, not as 4, 4 and 1.
        w.line("panel = panels * chunk // chunks")
        w.line("wide = panels * (chunk + 1) // chunks - panel")
        w.line(f"b = at({self.names('tensor', right)}, panel * step)")

    def _sparse_rows(self, w: Writer, group: Group, product: Contract, right: str, last: str, axis: str | None) -> None:
        """The sums of some rows wait while the weights pass block by block."""
        starts, _, rows, _, _, capacity, _, blocks, _, *rest = self.sparse_words(product.left.tensor)
        sparse = self.sparse[product.left.tensor]
        # Of a prediction, and of shared lists, the batch's own rows say where their blocks begin; else the data set's.
        in_batch = sparse.shared or (self.in_batch and not sparse.listed)
        starts = rest[0] if sparse.shared else starts
        n = self.names("index", self.program.samples)
        w.loops[self.program.samples] = n
        w.line(f"acc = stack({ROWS_AT_ONCE} * WALK_PANELS * PANEL)")
        with w.block("for chunk in range(chunks):"):
            self._chunk(w, right, last)
            with w.block(f"for first in range(start, stop, {ROWS_AT_ONCE}):"):
                w.line(f"last = least(stop, first + {ROWS_AT_ONCE})")
                with w.block(f"for block in range({blocks}):"), w.block(f"for {n} in range(first, last):"):
                    w.line(f"e = {n} * ({blocks} + 1)" if in_batch else f"e = order[batch_first + {n}] * {blocks}")
                    w.line(f"q = {starts}[e + block]")
                    w.line(f"pairs = at({rows}, 2 * ({n} * {capacity} + q - {starts}[e]))")
                    w.line(f"out = at(acc, ({n} - first) * WALK_PANELS * PANEL)")
                    w.line(f"walk_list(wide, pairs, {starts}[e + block + 1] - q, b, step, block, out)")
                with w.block(f"for {n} in range(first, last):"):
                    self._wide_columns(w, group, last, axis, f"({n} - first) * WALK_PANELS * PANEL")

    def _sparse_columns(
        self, w: Writer, group: Group, product: Contract, right: str, last: str, axis: str | None
    ) -> None:
        _, _, _, counts, columns, _, room, _, _, *firsts = self.sparse_words(product.left.tensor)
        shared = self.sparse[product.left.tensor].shared
        rows = tuple(str(s) for s in product.left.slots if s not in product.indices)
        w.line("acc = stack(2 * BOTH_PANELS * PANEL)" if shared else "acc = stack(WALK_PANELS * PANEL)")
        w.line(f"rows = {w.product_of_sizes(rows)}")
        w.line("lists = (rows + 1) // 2" if shared else "lists = rows")
        w.line("blocks = (lists + 15) // 16")
        w.line("units = chunks * blocks")
        found, rest = self._found(w, group)
        with self.units(w):
            w.line("chunk = unit // blocks")
            self._chunk(w, right, last)
            w.line("first = unit % blocks * 16")
            with w.block("for place in range(first, least(lists, first + 16)):"):
                w.line(f"count = {counts}[place]")
                with w.block(f"if {found}:"):
                    if shared:
                        w.line(f"walk_both(wide, at({columns}, 3 * place * {room}), count, b, step, 0, acc)")
                    else:
                        begin = f"{firsts[0]}[place]" if firsts else f"place * {room}"
                        w.line(f"walk_list(wide, at({columns}, 2 * {begin}), count, b, step, 0, acc)")
                    self._rows_of_list(w, group, rows, last, axis, shared=shared)
                if rest is not None:
                    with w.block("else:"):
                        self._rows_of_list(w, rest, rows, last, axis, shared=shared)

    def _rows_of_list(
        self, w: Writer, group: Group, rows: tuple[str, ...], last: str, axis: str | None, *, shared: bool
    ) -> None:
        """The epilogue for the row of a list, or for both rows of a shared one."""
        if not shared:
            self.decode(w, "place", rows, rows)
            self._wide_columns(w, group, last, axis, "0")
            return
        with w.block("for r in range(least(2, rows - 2 * place)):"):
            self.decode(w, "2 * place + r", rows, rows)
            self._wide_columns(w, group, last, axis, "r * wide * PANEL")

    def _found(self, w: Writer, group: Group) -> tuple[str, Group | None]:
        """When a row has all to be done for it that the group says; and what is left to do for it else, if anything.

        Without a non-zero its sum is 0, and then a weight mostly stays as it is. But not where the rule makes something
        of nothing: with ε = 0, RMSprop divides 0 by 0 where there never was a gradient. So it is asked what it does to
        zeros. On MNIST a third of the pixels are 0 in all of 128 samples.
        """
        left = without_gradient(group)
        values = [value_of(i) for i in group.instructions]
        depends = any(isinstance(node, Delta | Draw | Position) for v in values for node in walk(v))
        if depends or {i.out.tensor for i in left} >= group.stored:
            return "True", None
        before = dict(w.loaded)
        w.loaded = {e.tensor: "F(0)" for i in group.instructions for x in (i.out, *expressions(i)) for e in elements(x)}
        w.loaded |= before
        stays = []
        for instruction in group.instructions:
            name = w.loaded[instruction.out.tensor] = w.local(w.value(value_of(instruction)))
            stays += [f"{name} == F(0)"] if instruction.out.tensor in group.stored else []
        w.loaded = before
        rest = Group(left[0], group.by, left[1:], group.stored) if left else None
        return f"count > 0 or not ({' and '.join(stays)})", rest

    def reduce(self, group: Group) -> None:
        """A group whose head is a sum, maximum or minimum."""
        names = [n for n in self.sparse if n in reads(group.head)]
        factor = listed_sum(group.head, names[0], self.program.samples) if len(names) == 1 else None
        if factor is None:
            super().reduce(group)
            return
        assert isinstance(group.head, Reduce)
        self._listed_sum(group, group.head, names[0], factor)

    def _listed_sum(self, group: Group, head: Reduce, name: str, factor: Expr) -> None:
        """One sum for each row, or for each column, of a sparse table: along its list, a number at a time."""
        starts, _, rows, counts, columns, capacity, _, blocks, _, *firsts = self.sparse_words(name)
        n, declared = self.program.samples, self.program.tensors[name].indices
        (element,) = (e for e in elements(head.body) if e.tensor == name)
        along_samples = head.indices == (n,)
        with self.function(group, "sparse", [*self.sparse_words(name), "order", "batch_first"]) as w:
            self.load_scalars(w, group)
            found, rest = self._found(w, group) if along_samples else ("True", None)
            with self.each(w, head.out, group.by):
                if along_samples:
                    place = w.row_major(element.slots[1:], Layout((*declared[1:], "", "")))
                    w.line(f"column = {place}")
                    w.line(f"first = {firsts[0]}[column]")
                    w.line(f"count = {counts}[column]")
                else:
                    w.line(f"e = order[batch_first + {w.loops[n]}] * {blocks}")
                    w.line(f"first = {w.loops[n]} * {capacity}")
                    w.line(f"count = {starts}[e + {blocks}] - {starts}[e]")
                with w.block(f"if {found}:"):
                    pairs = columns if along_samples else rows
                    w.line("acc = F(0)")
                    with w.block("for q in range(first, first + count):"):
                        if along_samples:
                            w.loops[n] = self.names("index", n)
                            w.line(f"{w.loops[n]} = pair_place({pairs}, q)")
                        else:
                            self.decode(w, f"pair_place({pairs}, q)", [str(s) for s in element.slots[1:]], declared[1:])
                        w.line(f"acc += {pairs}[2 * q + 1] * {w.value(factor)}")
                    self.finish(w, group, "acc")
                if rest is not None:
                    with w.block("else:"):
                        self.finish(w, rest, None)

    def _wide_columns(self, w: Writer, group: Group, last: str, axis: str | None, sums: str) -> None:
        """The epilogue of the panels of a chunk."""
        with w.block("for p in range(wide):"):
            w.line("column = panel + p")
            w.line(f"width = least(PANEL, {w.size(last)} - column * PANEL)")
            self._columns(w, group, last, axis, "column", f"{sums} + p * PANEL")
