"""The microkernel of sparse products: one row of non-zeros times several panels, all of its sums in vector registers.

    out[p*panel + c] = start + Σ_e values[e] * b[p*panel_step + places[e]*panel + c]      p < panels, c < panel

It walks the list of a row's non-zeros (or of a column's: the gradient of the weights). `start` is 0, or what is in out
where `go_on` is not 0, so that a list may come in several parts and is still one sum in one order.

A non-zero costs one broadcast, one load of its place, and for each vector of the panels one multiply-add that reads its
operand from memory: with panels in the first-level cache, eight multiply-adds in five cycles on a Zen 3, against four
of the dense tile. So where fewer than half of the numbers are not zero, walking the non-zeros is faster.
"""

from __future__ import annotations

from llvmlite import ir

from chainrule.kernels.host import ITEM_BYTES, TileShape
from chainrule.kernels.tile import declare_multiply_add, element_type
from chainrule.kernels.translate import splat

INDEX = ir.IntType(64)
PLACE = ir.IntType(32)
# How many panels one walk serves, the widest first. Eight sums at two vectors a panel: what latency 4 × 2 a cycle need.
PANELS = (4, 2, 1)


def build_sparse(module: ir.Module, shape: TileShape, dtype: str, panels: int) -> ir.Function:
    """The microkernel as a function of `module`, built once per module.

    Its arguments: places, values, count, b, panel_step, go_on, out.
    """
    name = f"chainrule_sparse_{panels}x{shape.vectors}x{shape.lanes}_{dtype}"
    if name in module.globals:
        return module.globals[name]
    number = element_type(dtype)
    pointer = number.as_pointer()
    arguments = [PLACE.as_pointer(), pointer, INDEX, pointer, INDEX, INDEX, pointer]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    function.args[-1].add_attribute("noalias")
    _build(function, shape, dtype, panels)
    return function


def _build(function: ir.Function, shape: TileShape, dtype: str, panels: int) -> None:
    places, values, count, b, panel_step, go_on, out = function.args
    item = ITEM_BYTES[dtype]
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
    place = builder.mul(
        builder.sext(builder.load(builder.gep(places, [e])), INDEX), INDEX(shape.panel), flags=("nsw",)
    )
    factor = splat(builder, builder.load(builder.gep(values, [e]), align=item), vector)
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
