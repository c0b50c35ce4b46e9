"""The microkernel: one tile of a matrix product, all of its sums in vector registers.

    out[r*panel + c] = start + Σ_s a[r*row_step + s*sum_step] * b[s*b_step + c]      r < rows, c < panel

`start` is 0, or what is in out where `go_on` is not 0, so that a long sum may be done in parts and is still one sum in
one order. The inner loop loads the vectors of b, broadcasts one number of a for each row, and adds rows × vectors
products; out is written once, at the end, so that an epilogue finds it in the first-level cache.

Measured on one core of a Zen 3 (AVX2, tile of 6 × 16 float32), where a loop of multiply-adds that touches no memory
reaches 103 GFLOP/s: 86 to 97 at 512 to 2,048 sums, 73 to 88 at 128; float64: 44 to 48 of 52. Doing two or three s in a
turn of the loop changed nothing, and at four LLVM ran out of registers (50 GFLOP/s). The code for AVX-512 and NEON has
been cross-compiled and read (tests/kernels/test_tile.py), never run.
"""

from __future__ import annotations

from llvmlite import ir

from chainrule.kernels.host import ITEM_BYTES, TileShape
from chainrule.kernels.scalars import declare
from chainrule.kernels.translate import splat

INDEX = ir.IntType(64)


def element_type(dtype: str) -> ir.Type:
    """The LLVM type of one number."""
    return ir.FloatType() if dtype == "float32" else ir.DoubleType()


def build_tile(module: ir.Module, shape: TileShape, dtype: str) -> ir.Function:
    """The microkernel as a function of `module`, built once per module.

    Its arguments are those of `tile`: a, row_step, sum_step, rows, b, b_step, length, go_on, out.
    """
    name = f"chainrule_tile_{shape.rows}x{shape.vectors}x{shape.lanes}_{dtype}"
    if name in module.globals:
        return module.globals[name]
    pointer = element_type(dtype).as_pointer()
    arguments = [pointer, INDEX, INDEX, INDEX, pointer, INDEX, INDEX, INDEX, pointer]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    # A function of its own, never inlined: the registers are all its, and a module with many products has one copy.
    function.linkage = "linkonce_odr"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    function.args[-1].add_attribute("noalias")
    _TileBuilder(function, shape, dtype).build()
    return function


def declare_multiply_add(module: ir.Module, vector: ir.VectorType, item_bytes: int) -> ir.Function:
    """a·b + c on vectors: one fused instruction where the machine has it, two (never a call) elsewhere."""
    return declare(module, f"llvm.fmuladd.v{vector.count}f{8 * item_bytes}", vector, [vector] * 3)


def vectors_at(builder: ir.IRBuilder, pointer: ir.Value, vector: ir.VectorType, count: int) -> list[ir.Value]:
    """Where so many vectors lie, one behind the other."""
    places = [builder.gep(pointer, [INDEX(number * vector.count)]) for number in range(count)]
    return [builder.bitcast(place, vector.as_pointer()) for place in places]


def start_of_sums(builder: ir.IRBuilder, go_on: ir.Value, places: list[ir.Value], align: int) -> list[ir.Value]:
    """What sums begin with: 0, or what lies at their places where `go_on` is not 0. A new block begins here."""
    before = builder.block
    resume, begin = (builder.function.append_basic_block(part) for part in ("resume", "begin"))
    builder.cbranch(builder.icmp_signed("!=", go_on, INDEX(0)), resume, begin)
    builder.position_at_end(resume)
    loaded = [builder.load(place, align=align) for place in places]
    builder.branch(begin)
    builder.position_at_end(begin)
    starts = [builder.phi(old.type) for old in loaded]
    for start, old in zip(starts, loaded, strict=True):
        start.add_incoming(ir.Constant(old.type, None), before)
        start.add_incoming(old, resume)
    return starts


class _TileBuilder:
    """Writes the body of one microkernel."""

    def __init__(self, function: ir.Function, shape: TileShape, dtype: str):
        self.function, self.shape = function, shape
        self.item_bytes = ITEM_BYTES[dtype]
        self.vector = ir.VectorType(element_type(dtype), shape.lanes)
        self.multiply_add = declare_multiply_add(function.module, self.vector, self.item_bytes)
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    def build(self) -> None:
        a, row_step, sum_step, rows, b, b_step, length, go_on, out = self.function.args
        row_starts = self._row_starts(a, row_step, rows)
        places = vectors_at(self.builder, out, self.vector, self.shape.rows * self.shape.vectors)
        first = start_of_sums(self.builder, go_on, places, self.item_bytes)
        sums = self._loop(row_starts, sum_step, b, b_step, length, first)
        for total, place in zip(sums, places, strict=True):
            self.builder.store(total, place, align=self.item_bytes)
        self.builder.ret_void()

    def _row_starts(self, a: ir.Value, row_step: ir.Value, rows: ir.Value) -> list[ir.Value]:
        """Where each row of a begins; rows that do not exist repeat the last one, so that reads stay inside a."""
        builder = self.builder
        last = builder.sub(rows, INDEX(1))
        starts = []
        for row in range(self.shape.rows):
            clamped = builder.select(builder.icmp_signed("<", INDEX(row), last), INDEX(row), last)
            starts.append(builder.gep(a, [builder.mul(clamped, row_step)]))
        return starts

    def _loop(self, row_starts: list[ir.Value], sum_step: ir.Value, b: ir.Value, b_step: ir.Value, length: ir.Value,
              first: list[ir.Value]) -> list[ir.Value]:  # fmt: skip
        """The sums over s, row by row."""
        builder, before = self.builder, self.builder.block
        head, body, after = (self.function.append_basic_block(part) for part in ("head", "body", "after"))
        builder.branch(head)

        builder.position_at_end(head)
        s, offset, column = builder.phi(INDEX), builder.phi(INDEX), builder.phi(b.type)
        sums = [builder.phi(self.vector) for _ in first]
        for phi, start in zip((s, offset, column, *sums), (INDEX(0), INDEX(0), b, *first), strict=True):
            phi.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed("<", s, length), body, after)

        builder.position_at_end(body)
        # One offset serves all rows: six pointers that move would need six more registers.
        added = self._add_products([builder.gep(start, [offset]) for start in row_starts], column, sums)
        moved = (builder.add(s, INDEX(1)), builder.add(offset, sum_step), builder.gep(column, [b_step]))
        for phi, value in zip((s, offset, column, *sums), (*moved, *added), strict=True):
            phi.add_incoming(value, body)
        builder.branch(head)

        builder.position_at_end(after)
        return sums

    def _add_products(self, numbers: list[ir.Value], column: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        """The sums after one s: each number of a times each vector of b."""
        # Aligned to one number only: on current machines unaligned vector loads cost the same where data are aligned.
        places = vectors_at(self.builder, column, self.vector, self.shape.vectors)
        columns = [self.builder.load(place, align=self.item_bytes) for place in places]
        added = []
        for row, number in enumerate(numbers):
            broadcast = splat(self.builder, self.builder.load(number, align=self.item_bytes), self.vector)
            for v, vector in enumerate(columns):
                total = sums[row * self.shape.vectors + v]
                added.append(self.builder.call(self.multiply_add, [broadcast, vector, total]))
        return added
