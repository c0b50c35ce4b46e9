"""The names that generated text may call, and the instructions that each becomes.

numbers   F(x) float64(x) int64(x)  select(condition, yes, no)  least(a, b)  exp log tanh … (scalars.py)
memory    F_at(address) uint8_at …  at(pointer, i)  stack(count) stack_int64(count)  prefetch(pointer, i)
random    draw(key, row, place)  draw_lanes(key, row, place)
vectors   vector(p, i)  put(p, i, v)  spread(x)  lanes_from(i)  first_lanes(count)  sum_lanes max_lanes min_lanes
products  tile(…) (tile.py)  walk_list(wide, …) walk_both(wide, …) (sparse.py)
lists     put_pair(pairs, e, place, value) put_both(entries, e, place, left, right) pair_place(pairs, e)
threads   barrier load store offer take (threads.py)  clock()
machine   flush_tiny() restore(mode)
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from chainrule.formula.distributions import BITS, GAMMA, MULTIPLIERS, ROW_SHIFT, SHIFTS
from chainrule.kernels import scalars, sparse, threads, tile
from chainrule.kernels.host import ITEM_BYTES, TileShape
from chainrule.kernels.translate import BOOL, FLOAT64, INT, Builtin, FunctionTranslator

INT32 = ir.IntType(32)
_BYTE = ir.IntType(8).as_pointer()
NUMBERS = {
    "uint8": ir.IntType(8),
    "int32": INT32,
    "int64": INT,
    "float32": ir.FloatType(),
    "float64": FLOAT64,
}


def make_builtins(dtype: str, shape: TileShape) -> dict[str, Builtin]:
    """Everything a text may call, for one dtype and tile."""
    made: dict[str, Builtin] = {"F": _cast(NUMBERS[dtype]), "F_at": _pointer(NUMBERS[dtype])}
    for name, kind in NUMBERS.items():
        made[f"{name}_at"] = _pointer(kind)
    made |= {"float64": _cast(FLOAT64), "int64": _cast(INT)}
    for name, build in scalars.FUNCTIONS.items():
        made[name] = _scalar(build, dtype)
    made |= {"select": _select, "least": _least, "at": _at, "stack": _stack, "stack_int64": _stack_int64}
    made |= {"vector": _vector, "put": _put, "spread": _spread}
    made |= {"draw": _draw(dtype), "draw_lanes": _draw_lanes(dtype)}
    made |= {"lanes_from": _lanes_from, "first_lanes": _first_lanes}
    made |= {
        "sum_lanes": _across("fadd"),
        "max_lanes": _across(scalars.maximum),
        "min_lanes": _across(scalars.minimum),
    }
    made["tile"] = _call(lambda module: tile.build_tile(module, shape, dtype))
    made |= {"walk_list": _walk(dtype, shape, 1), "walk_both": _walk(dtype, shape, 2)}
    made |= {"put_pair": _put_entry, "put_both": _put_entry, "pair_place": _pair_place}
    made |= {"barrier": _call(threads.build_barrier), "offer": _call(threads.build_offer)}
    made["take"] = _call(threads.build_take)
    made |= {"load": _load, "store": _store, "clock": _clock, "prefetch": _prefetch}
    made |= {"flush_tiny": _flush_tiny, "restore": _restore}
    return made


def _cast(kind: ir.Type) -> Builtin:
    def generate(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
        (value,) = arguments
        return t.cast(value, kind)

    return generate


def _pointer(kind: ir.Type) -> Builtin:
    """The number of a byte in memory as a pointer."""

    def generate(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
        (byte,) = arguments
        return t.builder.inttoptr(_whole(byte), kind.as_pointer())

    return generate


def _whole(value: ir.Value) -> ir.Value:
    if value.type != INT:
        raise TypeError(f"a whole number is wanted, not {value.type}")
    return value


def _scalar(build: Callable[..., scalars.Lane], dtype: str) -> Builtin:
    formats = {ir.FloatType(): scalars.FORMATS["float32"], FLOAT64: scalars.FORMATS["float64"]}

    def generate(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
        if len(arguments) == 2:
            arguments = list(t.alike(t.where, *arguments))
        kind = arguments[0].type
        element = kind.element if isinstance(kind, ir.VectorType) else kind
        if element not in formats:
            raise TypeError(f"a number of {dtype} is wanted, not {kind}")
        return build(*(scalars.Lane(t.builder, a, formats[element]) for a in arguments)).value

    return generate


def _select(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    condition, yes, no = arguments
    if BOOL not in (condition.type, getattr(condition.type, "element", None)):
        raise TypeError(f"a condition is wanted, not {condition.type}")
    yes, no = t.alike(t.where, yes, no)
    if isinstance(condition.type, ir.VectorType) and not isinstance(yes.type, ir.VectorType):
        yes, no = (t.convert(t.where, value, t.vector) for value in (yes, no))
    return t.builder.select(condition, yes, no)


def _least(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    a, b = map(_whole, arguments)
    return t.builder.select(t.builder.icmp_signed("<", a, b), a, b)


def _at(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    pointer, index = arguments
    return t.builder.gep(pointer, [_whole(index)])


def _stack(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    """`stack(count)`: room for a constant count of numbers, until the function returns."""
    return _room(t, t.number, arguments[0])


def _stack_int64(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    return _room(t, INT, arguments[0])


def _room(t: FunctionTranslator, kind: ir.Type, count: ir.Value) -> ir.Value:
    if not isinstance(count, ir.Constant):
        raise TypeError("a constant count is wanted")
    room = t.stack(ir.ArrayType(kind, int(count.constant)))
    room.align = 64  # vectors of 64 bytes do not straddle two cache lines
    return t.builder.bitcast(room, kind.as_pointer())


# vectors


def _vector_place(t: FunctionTranslator, pointer: ir.Value, index: ir.Value) -> ir.Value:
    if pointer.type.pointee != t.number:
        raise TypeError(f"a pointer to {t.number} is wanted, not {pointer.type}")
    return t.builder.bitcast(t.builder.gep(pointer, [_whole(index)]), t.vector.as_pointer())


def _item_bytes(t: FunctionTranslator) -> int:
    return ITEM_BYTES["float32" if isinstance(t.number, ir.FloatType) else "float64"]


def _vector(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    # Aligned to one number only: on current machines unaligned vector loads cost the same where data are aligned.
    return t.builder.load(_vector_place(t, *arguments), align=_item_bytes(t))


def _put(t: FunctionTranslator, arguments: list[ir.Value]) -> None:
    pointer, index, value = arguments
    value = t.convert(t.where, value, t.vector)
    t.builder.store(value, _vector_place(t, pointer, index), align=_item_bytes(t))


def _spread(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    return t.convert(t.where, arguments[0], t.vector)


def _lanes_from(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    """`lanes_from(i)`: the numbers i, i + 1, …"""
    start = t.splat(t.builder.sitofp(_whole(arguments[0]), t.number))
    return t.builder.fadd(start, t.vector([float(n) for n in range(t.lanes)]))


def _first_lanes(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    """`first_lanes(count)`: true in the first `count` lanes."""
    count = t.splat(t.builder.trunc(_least(t, [arguments[0], INT(t.lanes)]), INT32))
    return t.builder.icmp_signed("<", ir.VectorType(INT32, t.lanes)(list(range(t.lanes))), count)


# random numbers


def _draw(dtype: str) -> Builtin:
    """`draw(key, row, place)`: the number in [0, 1) of a place in a row: see formula/distributions.py."""

    def generate(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
        return _even(t, _first_word(t, arguments), dtype)

    return generate


def _draw_lanes(dtype: str) -> Builtin:
    """`draw_lanes(key, row, place)`: those of this place and the ones behind it."""

    def generate(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
        # One product for all lanes: γ(c + l) = γc + γl.
        behind = ir.VectorType(INT, t.lanes)([_signed(n * GAMMA) for n in range(t.lanes)])
        return _even(t, t.builder.add(t.splat(_first_word(t, arguments)), behind), dtype)

    return generate


def _first_word(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    """key + γ·counter; whole numbers of 64 bits wrap around."""
    key, row, place = map(_whole, arguments)
    counter = t.builder.add(t.builder.add(t.builder.shl(row, INT(ROW_SHIFT)), place), INT(1))
    return t.builder.add(key, t.builder.mul(counter, INT(_signed(GAMMA))))


def _even(t: FunctionTranslator, words: ir.Value, dtype: str) -> ir.Value:
    """The mixed words, and of each its first bits as a number in [0, 1)."""
    builder, kind = t.builder, words.type

    def each(number: int) -> ir.Constant:
        return kind([_signed(number)] * kind.count) if isinstance(kind, ir.VectorType) else kind(_signed(number))

    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
        words = builder.mul(builder.xor(words, builder.lshr(words, each(shift))), each(multiplier))
    words = builder.xor(words, builder.lshr(words, each(SHIFTS[-1])))
    bits = BITS[dtype]
    words = builder.lshr(words, each(64 - bits))
    number = t.vector if isinstance(kind, ir.VectorType) else t.number
    if dtype == "float32":  # by way of 32 bits, of which every machine can make floating-point numbers
        words = builder.trunc(words, ir.VectorType(INT32, kind.count) if isinstance(kind, ir.VectorType) else INT32)
        return builder.fmul(builder.sitofp(words, number), _like(number, 2.0**-bits))
    return builder.fmul(builder.uitofp(words, number), _like(number, 2.0**-bits))


def _like(kind: ir.Type, number: float) -> ir.Constant:
    return kind([number] * kind.count) if isinstance(kind, ir.VectorType) else kind(number)


def _signed(word: int) -> int:
    """The same 64 bits as LLVM's constants are written."""
    word %= 2**64
    return word - 2**64 if word >= 2**63 else word


def _across(combine: Any) -> Builtin:
    """The lanes combined in pairs: halves, quarters, … always in the same order."""

    def generate(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
        value = arguments[0]
        format = scalars.FORMATS["float32" if isinstance(t.number, ir.FloatType) else "float64"]
        width = t.lanes
        while width > 1:
            width //= 2
            places = ir.VectorType(INT32, t.lanes)([(n + width) % t.lanes for n in range(t.lanes)])
            other = t.builder.shuffle_vector(value, value, places)
            if combine == "fadd":
                value = t.builder.fadd(value, other)
            else:
                value = combine(scalars.Lane(t.builder, value, format), scalars.Lane(t.builder, other, format)).value
        return t.builder.extract_element(value, INT32(0))

    return generate


# calls


def _call(build: Callable[[ir.Module], ir.Function]) -> Builtin:
    def generate(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value | None:
        made = t.builder.call(build(t.builder.module), arguments)
        return None if isinstance(made.type, ir.VoidType) else made

    return generate


def _walk(dtype: str, shape: TileShape, rows: int) -> Builtin:
    """`walk_list(wide, pairs, count, b, panel_step, go_on, out)`: sparse.py's microkernel for `wide` panels.

    `walk_both` is the same for lists that two columns share.
    """

    def generate(t: FunctionTranslator, arguments: list[ir.Value]) -> None:
        builder, after = t.builder, t.function.append_basic_block("walked")
        most = sparse.walk_panels(shape, rows)
        blocks = [t.function.append_basic_block(f"wide_{n}") for n in range(1, most + 1)]
        choice = builder.switch(arguments[0], blocks[-1])
        for panels, block in enumerate(blocks, 1):
            if panels < most:
                choice.add_case(INT(panels), block)
            builder.position_at_end(block)
            builder.call(sparse.build_sparse(builder.module, shape, dtype, panels, rows), arguments[1:])
            builder.branch(after)
        builder.position_at_end(after)

    return generate


def _put_entry(t: FunctionTranslator, arguments: list[ir.Value]) -> None:
    """`put_pair(pairs, e, place, value)`: entry e of a list; `put_both` has two values, of columns that share it."""
    entries, e, place, *values = arguments
    word = ir.IntType(8 * _item_bytes(t))
    first = t.builder.gep(entries, [t.builder.mul(_whole(e), INT(1 + len(values)))])
    whole = _whole(place) if word == INT else t.builder.trunc(_whole(place), word)
    t.builder.store(whole, t.builder.bitcast(first, word.as_pointer()))
    for n, value in enumerate(values, 1):
        t.builder.store(t.cast(value, t.number), t.builder.gep(first, [INT(n)]))


def _pair_place(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    """`pair_place(pairs, e)`: the place of entry e of a list."""
    pairs, e = arguments
    word = ir.IntType(8 * _item_bytes(t))
    pair = t.builder.gep(pairs, [t.builder.shl(_whole(e), INT(1))])
    place = t.builder.load(t.builder.bitcast(pair, word.as_pointer()))
    return place if word == INT else t.builder.sext(place, INT)


def _load(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    control, place = arguments
    return t.builder.load_atomic(t.builder.gep(control, [place]), "acquire", align=8)


def _store(t: FunctionTranslator, arguments: list[ir.Value]) -> None:
    control, place, value = arguments
    t.builder.store_atomic(value, t.builder.gep(control, [place]), "release", align=8)


def _clock(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    """The time-stamp counter: it ticks evenly on current machines, and reading it costs some 20 cycles."""
    return t.builder.call(scalars.declare(t.builder.module, "llvm.readcyclecounter", INT, []), [])


def _prefetch(t: FunctionTranslator, arguments: list[ir.Value]) -> None:
    """`prefetch(pointer, i)`: begin to bring the cache line of pointer[i]; wrong addresses are ignored."""
    function = scalars.declare(t.builder.module, "llvm.prefetch.p0i8", ir.VoidType(), [_BYTE, INT32, INT32, INT32])
    place = t.builder.bitcast(t.builder.gep(arguments[0], [arguments[1]]), _BYTE)
    t.builder.call(function, [place, INT32(0), INT32(3), INT32(1)])


# the machine's mode

# Where the bit is that makes results smaller than every normal number zero: of MXCSR on x86, of FPCR on 64-bit ARM.
_FLUSH_BIT = {"x86_64": 15, "amd64": 15, "arm64": 24, "aarch64": 24}.get(platform.machine().lower())
_ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


def _flush_tiny(t: FunctionTranslator, arguments: list[ir.Value]) -> ir.Value:
    """`flush_tiny()`: from here on, in this thread, what is below the normal numbers (1.2e-38) becomes 0.

    Returns the mode before, for restore(). The moments of weights whose inputs are seldom other than 0 decay until they
    are there, and stay: 0.9 times the smallest number rounds to it again. On a Zen 3 such a number makes an update 2.5
    times slower, and after one epoch of MNIST with Adam in batches of 32, 29 of 100 vectors of m have one.
    """
    if _FLUSH_BIT is None:
        return INT(0)
    mode = _mode(t)
    _set_mode(t, t.builder.or_(mode, INT(1 << _FLUSH_BIT)))
    return mode


def _restore(t: FunctionTranslator, arguments: list[ir.Value]) -> None:
    """`restore(mode)`: as it was before flush_tiny(), for the thread may be the caller's own."""
    if _FLUSH_BIT is not None:
        _set_mode(t, arguments[0])


def _mode(t: FunctionTranslator) -> ir.Value:
    if not _ON_X86:
        return t.builder.call(scalars.declare(t.builder.module, "llvm.aarch64.get.fpcr", INT, []), [])
    place = t.stack(INT32)
    t.builder.call(_mxcsr(t, "stmxcsr"), [t.builder.bitcast(place, _BYTE)])
    return t.builder.zext(t.builder.load(place), INT)


def _set_mode(t: FunctionTranslator, mode: ir.Value) -> None:
    if not _ON_X86:
        t.builder.call(scalars.declare(t.builder.module, "llvm.aarch64.set.fpcr", ir.VoidType(), [INT]), [mode])
        return
    place = t.stack(INT32)
    t.builder.store(t.builder.trunc(mode, INT32), place)
    t.builder.call(_mxcsr(t, "ldmxcsr"), [t.builder.bitcast(place, _BYTE)])


def _mxcsr(t: FunctionTranslator, name: str) -> ir.Function:
    return scalars.declare(t.builder.module, f"llvm.x86.sse.{name}", ir.VoidType(), [_BYTE])
