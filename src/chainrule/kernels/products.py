"""Products → functions of the generated module: register tiles, or walks over the non-zeros of a sparse input.

Both end in the group's epilogue while the sums are in the first-level cache: bias and activation, or the update rule.

A sparse input lies in lists. `starts`, `places` and the source hold the data set's non-zeros row by row; for the batch,
`gather` (source.py) makes `values`, the rows' numbers as the formulas want them, and the same non-zeros column by
column: for each thread that gathered, `column counts`, and `column rows` and `column values` with `column room` places
each. A column's list, one thread's part after the other, is in the order of the samples whatever the number of threads.
"""

from __future__ import annotations



from chainrule.formula.expr import ZERO, Element, transform
from chainrule.kernels.expressions import Writer
from chainrule.kernels.schedule import SAMPLES, Group, as_matrices, panel_column
from chainrule.kernels.walks import Walks
from chainrule.program.instructions import ACCUMULATOR, Contract, Map, Update

# Of the left side, what is walked again and again should stay in the second-level cache, half of 512 KB: 65,536 float32.
LEFT_ENTRIES = 49_152
SPARSE_PANELS = 4  # panels that one walk over a list serves at most


class Products(Walks):
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
        declared = {str(s): i for s, i in zip(product.right.slots, self.program.tensors[product.right.tensor].indices, strict=True)}
        self.scratch[name] = (tuple(declared[o] for o in outer), declared[last], tuple(declared[i] for i in product.indices))
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
        axis = self.axis_of(group)
        with self.function(group, "tiles", [self.names("tensor", right)]) as w:
            self.load_scalars(w, group)
            row_step, sum_step = self._step(w, product.left, rows[-1]), self._step(w, product.left, product.indices[-1])
            inner = w.product_of_sizes(rows[1:])
            w.line("acc = stack(TILE_ROWS * PANEL)")
            w.line(f"length = {w.product_of_sizes(product.indices)}")
            w.line(f"panels = ({w.size(last)} + PANEL - 1) // PANEL")
            if outer:
                w.line(f"panels = panels * ({w.product_of_sizes(outer)})")
            # Rows of the left side that stay in the second-level cache while the panels pass.
            w.line(f"block = ({LEFT_ENTRIES} // (length * TILE_ROWS) + 1) * TILE_ROWS")
            samples = group.by == SAMPLES and rows[0] == self.program.samples
            if samples:
                w.line(f"rows = stop * ({inner})" if inner != "1" else "rows = stop")
                begin = f"start * ({inner})" if inner != "1" else "start"
                with w.block(f"for first in range({begin}, rows, block):"):
                    w.line("last = least(rows, first + block)")
                    with w.block("for panel in range(panels):"):
                        self._tile_rows(w, group, product, right, rows, outer, last, axis, row_step, sum_step)
                return
            w.line(f"rows = {w.product_of_sizes(rows)}")
            # Small enough that there is a unit for everyone.
            w.line("block = least(block, (rows * panels // (32 * TILE_ROWS) + 1) * TILE_ROWS)")
            w.line("units = (rows + block - 1) // block * panels")
            with w.block("for unit in range(units * thread // threads, units * (thread + 1) // threads):"):
                w.line("panel = unit % panels")
                w.line("first = unit // panels * block")
                w.line("last = least(rows, first + block)")
                self._tile_rows(w, group, product, right, rows, outer, last, axis, row_step, sum_step)

    def _tile_rows(self, w: Writer, group: Group, product: Contract, right: str, rows: tuple[str, ...],
                   outer: tuple[str, ...], last: str, axis: str | None, row_step: str, sum_step: str) -> None:  # fmt: skip
        """One panel against the rows from `first` to `last`, a tile at a time."""
        left = self.names("tensor", product.left.tensor)
        w.line(f"b = at({self.names('tensor', right)}, panel * length * PANEL)")
        panel = "panel"
        if outer:
            w.line(f"column = panel % (({w.size(last)} + PANEL - 1) // PANEL)")
            self.decode(w, f"panel // (({w.size(last)} + PANEL - 1) // PANEL)", outer, outer)
            panel = "column"
        w.line(f"width = least(PANEL, {w.size(last)} - {panel} * PANEL)")
        with w.block("for row in range(first, last, TILE_ROWS):"):
            w.line("count = least(TILE_ROWS, last - row)")
            w.line(f"tile(at({left}, row * {row_step}), {row_step}, {sum_step}, count, b, PANEL, length, acc)")
            with w.block("for r in range(count):"):
                self.decode(w, "row + r", rows, rows)
                self._columns(w, group, last, axis, panel, "r * PANEL")

    def _columns(self, w: Writer, group: Group, last: str, axis: str | None, panel: str, sums: str) -> None:
        """The epilogue for `width` columns from those of `panel` on, whose sums lie in acc from `sums` on."""
        variable = "c" if axis else "lane"
        w.loops[last] = f"({panel} * PANEL + {variable})"
        w.panels[last] = (panel, variable)
        if axis is None:
            with w.block("for lane in range(width):"):
                self.finish(w, group, f"acc[{sums} + lane]")
        else:
            with w.block("for c in range(0, width, LANES):"):
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
            w.line(f"acc = stack({SPARSE_PANELS} * PANEL)")
            w.line(f"length = {w.product_of_sizes(product.indices)}")
            w.line(f"panels = ({w.size(last)} + PANEL - 1) // PANEL")
            w.line("step = length * PANEL")
            w.line(f"chunks = (panels + {SPARSE_PANELS - 1}) // {SPARSE_PANELS}")
            if along_samples:
                self._sparse_columns(w, group, product, right, last, axis)
            else:
                self._sparse_rows(w, group, product, right, last, axis)

    def _chunk(self, w: Writer, right: str, last: str) -> None:
        w.line(f"panel = chunk * {SPARSE_PANELS}")
        w.line(f"wide = least({SPARSE_PANELS}, panels - panel)")
        w.line(f"width = least({SPARSE_PANELS} * PANEL, {w.size(last)} - panel * PANEL)")
        w.line(f"b = at({self.names('tensor', right)}, panel * step)")

    def _walk_list(self, w: Writer, places: str, values: str, count: str, go_on: str) -> None:
        """acc = Σ over a list, for `wide` panels."""
        with w.block(f"if wide == {SPARSE_PANELS}:"):
            w.line(f"sparse_4({places}, {values}, {count}, b, step, {go_on}, acc)")
        with w.block("else:"):
            with w.block("if wide >= 2:"):
                w.line(f"sparse_2({places}, {values}, {count}, b, step, {go_on}, acc)")
            with w.block("if wide % 2 == 1:"):
                w.line("left = wide - 1")
                w.line(f"sparse_1({places}, {values}, {count}, at(b, left * step), step, {go_on}, at(acc, left * PANEL))")

    def _sparse_rows(self, w: Writer, group: Group, product: Contract, right: str, last: str, axis: str | None) -> None:
        starts, places, values, *_, capacity, _ = self.sparse_words(product.left.tensor)
        n = self.names("index", self.program.samples)
        w.loops[self.program.samples] = n
        with w.block("for chunk in range(chunks):"):
            self._chunk(w, right, last)
            with w.block(f"for {n} in range(start, stop):"):
                w.line(f"e = {starts}[order[batch_first + {n}]]")
                w.line(f"count = {starts}[order[batch_first + {n}] + 1] - e")
                self._walk_list(w, f"at({places}, e)", f"at({values}, {n} * {capacity})", "count", "0")
                self._wide_columns(w, group, last, axis)

    def _sparse_columns(self, w: Writer, group: Group, product: Contract, right: str, last: str, axis: str | None) -> None:
        words = self.sparse_words(product.left.tensor)
        counts, rows_of, values, room = words[3], words[4], words[5], words[7]
        rows = tuple(str(s) for s in product.left.slots if s not in product.indices)
        quiet = self.nothing_without_gradient(group)
        w.line(f"rows = {w.product_of_sizes(rows)}")
        w.line("blocks = (rows + 15) // 16")
        w.line("units = chunks * blocks")
        with w.block("for unit in range(units * thread // threads, units * (thread + 1) // threads):"):
            w.line("chunk = unit // blocks")
            self._chunk(w, right, last)
            w.line("first = unit % blocks * 16")
            with w.block("for row in range(first, least(rows, first + 16)):"):
                w.line("total = 0")
                with w.block("for t in range(threads):"):
                    w.line(f"count = {counts}[t * rows + row]")
                    place = f"(t * rows + row) * {room}"
                    with w.block("if count > 0:"):
                        self._walk_list(w, f"at({rows_of}, {place})", f"at({values}, {place})", "count", "total")
                        w.line("total = total + count")
                if not quiet:
                    with w.block("if total == 0:"), w.block(f"for c in range(0, {SPARSE_PANELS} * PANEL, LANES):"):
                        w.line("put(acc, c, F(0))")
                with w.block("if total > 0:") if quiet else w.block("if True:"):
                    self.decode(w, "row", rows, rows)
                    self._wide_columns(w, group, last, axis)

    def _wide_columns(self, w: Writer, group: Group, last: str, axis: str | None) -> None:
        """The epilogue of up to SPARSE_PANELS panels."""
        with w.block("for p in range(wide):"):
            w.line("column = panel + p")
            w.line(f"lanes = least(PANEL, {w.size(last)} - column * PANEL)")
            variable = "c" if axis else "lane"
            w.loops[last] = f"(column * PANEL + {variable})"
            w.panels[last] = ("column", variable)
            if axis is None:
                with w.block("for lane in range(lanes):"):
                    self.finish(w, group, "acc[p * PANEL + lane]")
            else:
                with w.block("for c in range(0, lanes, LANES):"):
                    w.axis = axis
                    self.finish(w, group, "vector(acc, p * PANEL + c)")
                    w.axis = None
            del w.panels[last]

    def nothing_without_gradient(self, group: Group) -> bool:
        """Whether a row whose sum is 0 stays as it is (plain descent): then nothing is to be done for it."""
        values = {}
        for instruction in group.instructions:
            expr = instruction.epilogue if isinstance(instruction, Contract) else instruction.value  # type: ignore[union-attr]

            def known(node: object) -> object:
                return values.get(node.tensor, node) if isinstance(node, Element) else node

            new = transform(expr, known)  # type: ignore[arg-type]
            if isinstance(instruction, Contract):
                new = transform(new, lambda node: ZERO if isinstance(node, Element) and node.tensor == ACCUMULATOR else node)
            if instruction.out.tensor in group.stored:
                if not isinstance(instruction, Update) or new != instruction.out:
                    return False
            values[instruction.out.tensor] = new
        return True


