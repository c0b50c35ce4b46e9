"""The microkernel of sparse products: a list of non-zeros times several panels, all of its sums in vector registers.

    out[p*panel + c] = start + Σ_e value[e] * b[p*panel_step + place[e]*panel + c]      p < panels, c < panel

The list is a row of the batch (forward) or a column of it (the gradient of the weights). An entry is a pair of words:
the place, as an integer of the numbers' width, and the value. `start` is 0, or what is in out where `go_on` is not 0,
so that a list may come in several parts and is still one sum in one order.

An entry costs the loads of its place and value, and for each vector of the panels one multiply-add that reads its
operand from memory. A Zen 3 does two loads a cycle, and a sum can go on after four cycles: with two vectors a panel,
three panels are six multiply-adds in four cycles, where the dense tile does eight. That holds while b is in the
first-level cache: 48 columns of 128 rows of deltas are 24 KB. Walking wins where fewer than about 40 % are not zero.
"""

from __future__ import annotations

from llvmlite import ir

from chainrule.kernels.host import ITEM_BYTES, TileShape
from chainrule.kernels.tile import declare_multiply_add, element_type
from chainrule.kernels.translate import splat

INDEX = ir.IntType(64)


def walk_panels(shape: TileShape) -> int:
    """How many panels one walk serves: six vectors of sums, or eight where there are registers for more."""
    return 3 if shape.vectors == 2 else 2


def build_sparse(module: ir.Module, shape: TileShape, dtype: str, panels: int) -> ir.Function:
    """The microkernel as a function of `module`, built once per module.

    Its arguments: pairs, count, b, panel_step, go_on, out.
    """
    name = f"chainrule_sparse_{panels}x{shape.vectors}x{shape.lanes}_{dtype}"
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
    _build(function, shape, dtype, panels)
    return function


def _build(function: ir.Function, shape: TileShape, dtype: str, panels: int) -> None:
    pairs, count, b, panel_step, go_on, out = function.args
    item = ITEM_BYTES[dtype]
    word = ir.IntType(8 * item)
    vector = ir.VectorType(element_type(dtype), shape.lanes)
    multiply_add = declare_multiply_add(function.module, vector, item)
    entry, resume, head, body, after = (
        function.append_basic_block(n) for n in ("entry", "resume", "head", "body", "after")
    )
    sums_wanted = panels * shape.vectors
    builder = ir.IRBuilder(entry)
    starts = [b]
    for _ in range(1, panels):
        starts.append(builder.gep(starts[-1], [panel_step]))
    outs = [
        builder.bitcast(builder.gep(out, [INDEX(n * shape.lanes)]), vector.as_pointer()) for n in range(sums_wanted)
    ]
    builder.cbranch(builder.icmp_signed("!=", go_on, INDEX(0)), resume, head)

    builder.position_at_end(resume)
    before = [builder.load(o, align=item) for o in outs]
    builder.branch(head)

    builder.position_at_end(head)
    zero = ir.Constant(vector, None)
    e = builder.phi(INDEX)
    sums = [builder.phi(vector) for _ in range(sums_wanted)]
    e.add_incoming(INDEX(0), entry)
    e.add_incoming(INDEX(0), resume)
    for total, old in zip(sums, before, strict=True):
        total.add_incoming(zero, entry)
        total.add_incoming(old, resume)
    builder.cbranch(builder.icmp_signed("<", e, count), body, after)

    builder.position_at_end(body)
    pair = builder.gep(pairs, [builder.shl(e, INDEX(1))])
    place = builder.load(builder.bitcast(pair, word.as_pointer()), align=item)
    place = place if word == INDEX else builder.sext(place, INDEX)
    place = builder.mul(place, INDEX(shape.panel), flags=("nsw",))
    factor = splat(builder, builder.load(builder.gep(pair, [INDEX(1)]), align=item), vector)
    added = []
    for n, total in enumerate(sums):
        panel, v = divmod(n, shape.vectors)
        source = builder.gep(builder.gep(starts[panel], [place]), [INDEX(v * shape.lanes)])
        column = builder.load(builder.bitcast(source, vector.as_pointer()), align=item)
        added.append(builder.call(multiply_add, [factor, column, total]))
    e.add_incoming(builder.add(e, INDEX(1)), body)
    for total, value in zip(sums, added, strict=True):
        total.add_incoming(value, body)
    builder.branch(head)

    builder.position_at_end(after)
    for total, o in zip(sums, outs, strict=True):
        builder.store(total, o, align=item)
    builder.ret_void()
