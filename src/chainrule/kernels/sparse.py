"""The microkernel of sparse products: a list of non-zeros times several panels, all of its sums in vector registers.

    out[r, p*panel + c] = start + Σ_e value[e, r] * b[p*panel_step + place[e]*panel + c]    r < rows, p < panels

The list is a row of the batch (forward), or a column of it, or two that are neighbours (the gradient of the weights).
An entry is a place, as an integer of the numbers' width, and a value for each of the `rows` of sums. `start` is 0, or
what is in out where `go_on` is not 0, so that a list may come in several parts and is still one sum in one order.

An entry costs the loads of its place and values, and for each vector of the panels a load and a multiply-add for each
row of sums. A Zen 3 does two vector loads and two multiply-adds a cycle, and a sum can go on after four cycles. With b
in the first-level cache an entry takes, measured in cycles:

    one row, 3 panels (6 sums)      4.0    (the sums wait for themselves)
    one row, 4 panels (8 sums)      4.6    (9 loads)
    two rows, 3 panels (12 sums)    5.9    (12 multiply-adds)

So two columns share a list where they are mostly not zero together, as neighbouring pixels are: on MNIST the walk of
the gradient takes 0.75 times as long, for a place serves both, and half as many lists end (each end costs some 20
cycles, for it cannot be foreseen). The dense tile does twelve multiply-adds in six cycles: walking wins where fewer
than about 40 % are not zero.
"""

from __future__ import annotations

from llvmlite import ir

from chainrule.kernels.host import ITEM_BYTES, TileShape
from chainrule.kernels.tile import declare_multiply_add, element_type, start_of_sums, vectors_at
from chainrule.kernels.translate import splat

INDEX = ir.IntType(64)


def walk_panels(shape: TileShape, rows: int = 1) -> int:
    """How many panels one walk serves: 8 vectors of sums for one row, 12 for two, or 16 where there are registers.

    Of 16 registers, twelve sums leave two for the values and two for what is multiplied.
    """
    most = 8 if rows == 1 else 12 if shape.vectors == 2 else 16
    return most // (rows * shape.vectors)


def build_sparse(module: ir.Module, shape: TileShape, dtype: str, panels: int, rows: int = 1) -> ir.Function:
    """The microkernel as a function of `module`, built once per module.

    Its arguments: entries, count, b, panel_step, go_on, out.
    """
    name = f"chainrule_sparse_{rows}x{panels}x{shape.vectors}x{shape.lanes}_{dtype}"
    if name in module.globals:
        return module.globals[name]
    number = element_type(dtype)
    pointer = number.as_pointer()
    arguments = [pointer, INDEX, pointer, INDEX, INDEX, pointer]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    function.args[-1].add_attribute("noalias")
    _build(function, shape, dtype, panels, rows)
    return function


def _build(function: ir.Function, shape: TileShape, dtype: str, panels: int, rows: int) -> None:
    entries, count, b, panel_step, go_on, out = function.args
    item = ITEM_BYTES[dtype]
    word = ir.IntType(8 * item)
    vector = ir.VectorType(element_type(dtype), shape.lanes)
    multiply_add = declare_multiply_add(function.module, vector, item)
    wide = panels * shape.vectors  # vectors of a row of sums
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    starts = [b]
    for _ in range(1, panels):
        starts.append(builder.gep(starts[-1], [panel_step]))
    outs = vectors_at(builder, out, vector, rows * wide)
    first_sums = start_of_sums(builder, go_on, outs, item)
    before = builder.block
    head, body, after = (function.append_basic_block(part) for part in ("head", "body", "after"))
    builder.branch(head)

    builder.position_at_end(head)
    e = builder.phi(INDEX)
    e.add_incoming(INDEX(0), before)
    sums = [builder.phi(vector) for _ in outs]
    for total, start in zip(sums, first_sums, strict=True):
        total.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", e, count), body, after)

    builder.position_at_end(body)
    first = builder.gep(entries, [builder.mul(e, INDEX(1 + rows))])
    place = builder.load(builder.bitcast(first, word.as_pointer()), align=item)
    place = place if word == INDEX else builder.sext(place, INDEX)
    place = builder.mul(place, INDEX(shape.panel), flags=("nsw",))
    values = [builder.load(builder.gep(first, [INDEX(1 + row)]), align=item) for row in range(rows)]
    factors = [splat(builder, value, vector) for value in values]
    added = list(sums)
    for n in range(wide):
        panel, v = divmod(n, shape.vectors)
        source = builder.gep(builder.gep(starts[panel], [place]), [INDEX(v * shape.lanes)])
        column = builder.load(builder.bitcast(source, vector.as_pointer()), align=item)
        for row, factor in enumerate(factors):
            added[row * wide + n] = builder.call(multiply_add, [factor, column, sums[row * wide + n]])
    e.add_incoming(builder.add(e, INDEX(1)), body)
    for total, value in zip(sums, added, strict=True):
        total.add_incoming(value, body)
    builder.branch(head)

    builder.position_at_end(after)
    for total, o in zip(sums, outs, strict=True):
        builder.store(total, o, align=item)
    builder.ret_void()
