"""Gathering a batch: functions of the generated module that bring its rows from the data set.

Dense inputs are copied in the dtype of the step. Sparse inputs become lists of pairs (place, value): along the rows,
for products with the weights, and down the columns, for the gradient of the weights (see products.py).
"""

from __future__ import annotations

from chainrule.formula.expr import elements, symbols
from chainrule.kernels.expressions import Writer
from chainrule.kernels.walks import Walks
from chainrule.program.instructions import Contract, Reduce, reads

AHEAD = 4  # rows: some 20 µs of work, more than the slowest memory takes

GATHER = """\
def gather(start, stop, width, stride, order, batch_first, source, batch):
    # the batch's rows, in the dtype of the step
    for n in range(start, stop):
        row = order[batch_first + n]
        for c in range(width):
            batch[n * stride + c] = F(source[row * width + c])"""

GATHER_NUMBERS = """\
def copy_numbers(start, stop, width, order, batch_first, source, batch):
    # class numbers of the batch's rows: float32 could not tell 16777217 from 16777216
    for n in range(start, stop):
        row = order[batch_first + n]
        for c in range(width):
            batch[n * width + c] = int64(source[row * width + c])"""


GATHER_LISTED = """\
def copy_listed(start, stop, width, stride, order, batch_first, starts, places, source, batch):
    # the batch's rows from lists of their non-zeros
    for n in range(start, stop):
        row = order[batch_first + n]
        for c in range(width):
            batch[n * stride + c] = F(0)
        for q in range(starts[row], starts[row + 1]):
            batch[n * stride + int64(places[q])] = F(source[q])"""


def gather_name(walks: Walks, name: str) -> str:
    """What the function is called that makes a sparse input's lists."""
    return f"gather_{walks.names('tensor', name)}"


def list_arguments(walks: Walks, name: str) -> list[str]:
    """What that function gets, but for the data set: its parameters' names and `epoch`'s are the same words."""
    size = " * ".join(walks.names("size", i) for i in walks.program.tensors[name].indices[1:])
    scalars = [walks.names("scalar", s) for s in dict.fromkeys(symbols(walks.sparse[name].value))]
    return [*walks.sparse_words(name), size, *scalars]


def has_columns(walks: Walks, name: str) -> bool:
    """Whether a sparse input is walked down its columns too: by the gradient of its weights."""
    samples = (walks.program.samples,)
    sums = [i for i in walks.program if isinstance(i, Contract | Reduce) and i.indices == samples]
    return any(name in reads(i) for i in sums)


def gather_lists(walks: Walks, name: str) -> str:
    """The function that makes a sparse input's lists for the batch."""
    in_batch = walks.in_batch and not walks.sparse[name].listed
    return _lists_of_numbers(walks, name) if in_batch else _lists_of_lists(walks, name)


def _lists_of_numbers(walks: Walks, name: str) -> str:
    """For a prediction: along rows, from rows of all numbers."""
    sparse = walks.sparse[name]
    starts, _, rows, _, _, capacity, _, blocks, block = walks.sparse_words(name)
    scalars = [walks.names("scalar", s) for s in dict.fromkeys(symbols(sparse.value))]
    samples = walks.names("size", walks.program.samples)
    arguments = ["thread", "threads", "start", "stop", samples, *walks.sparse_words(name), "width", *scalars]
    arguments += ["source", "order", "batch_first", "last_row"]
    return "\n".join(
        [
            f"def {gather_name(walks, name)}({', '.join(arguments)}):",
            f"    # the non-zeros of {name}; what is 0 is written too, and written over",
            "    for n in range(start, stop):",
            "        row = (batch_first + n) * width",
            "        e = 0",
            f"        for block in range({blocks}):",
            f"            {starts}[n * ({blocks} + 1) + block] = e",
            f"            for c in range(block * {block}, least(width, (block + 1) * {block})):",
            "                number = F(source[row + c])",
            *("                " + line for line in _value_lines(walks, name, "number", "number_value")),
            f"                put_pair({rows}, n * {capacity} + e, c, number_value)",
            "                e = e + int64(number != F(0))",
            f"        {starts}[n * ({blocks} + 1) + {blocks}] = e",
        ]
    )


def _lists_of_lists(walks: Walks, name: str) -> str:
    """For training: along rows and down columns, from the lists of the data set (lists.py)."""
    shared = walks.sparse[name].shared
    starts, places, rows, counts, columns, capacity, room, blocks, block, *rest = walks.sparse_words(name)
    scalars = [walks.names("scalar", s) for s in dict.fromkeys(symbols(walks.sparse[name].value))]
    samples = walks.names("size", walks.program.samples)
    arguments = ["thread", "threads", "start", "stop", samples, *walks.sparse_words(name), "width", *scalars]
    arguments += ["source", "order", "batch_first", "last_row"]
    head = f"def {gather_name(walks, name)}({', '.join(arguments)}):"
    down = has_columns(walks, name)
    # The thread's columns, or pairs of columns that share a list: a block has an even number of columns.
    own = f"range(first * {block}, least(width, last * {block}))"
    if shared:
        own = f"range(first * {block} // 2, (least(width, last * {block}) + 1) // 2)"
    lines = [
        (0, head),
        (1, f"# the non-zeros of {name}: of the thread's rows, and of its blocks of columns"),
    ]
    if down:
        lines += [
            (1, f"first = {blocks} * thread // threads"),
            (1, f"last = {blocks} * (thread + 1) // threads"),
            (1, f"for c in {own}:"),
            (2, f"{counts}[c] = 0"),
        ]
    lines += [
        (1, "for n in range(start, stop):"),
        # The data set lies in slow memory, in no order: begin to bring the rows that come next.
        (2, f"e = order[least(batch_first + n + {AHEAD}, last_row)] * {blocks}"),
        (2, f"for q in range({starts}[e], {starts}[e + {blocks}], 16):"),
        (3, f"prefetch({places}, q)"),
        (3, f"prefetch(source, {'2 * q' if shared else 'q'})"),
        (2, f"prefetch({starts}, order[least(batch_first + n + 2 * {AHEAD}, last_row)] * {blocks})"),
        (2, f"e = order[batch_first + n] * {blocks}"),
    ]
    if shared:
        (ends,) = rest
        lines += [
            (2, "slot = 0"),
            (2, f"for block in range({blocks}):"),
            (3, f"{ends}[n * ({blocks} + 1) + block] = slot"),
            (3, f"for q in range({starts}[e + block], {starts}[e + block + 1]):"),
            (4, f"c = 2 * int64({places}[q])"),
        ]
        for number, (side, column) in enumerate((("left", "c"), ("right", "c + 1"))):
            # What is 0 is written too, and written over.
            lines += [
                (4, f"{side} = F(source[2 * q + {number}])"),
                *((4, line) for line in _value_lines(walks, name, side, f"{side}_value")),
                (4, f"put_pair({rows}, n * {capacity} + slot, {column}, {side}_value)"),
                (4, f"slot = slot + int64({side} != F(0))"),
            ]
        lines += [(2, f"{ends}[n * ({blocks} + 1) + {blocks}] = slot")]
    else:
        lines += [
            (2, f"first = {starts}[e]"),
            (2, f"for q in range(first, {starts}[e + {blocks}]):"),
            *((3, line) for line in _value_lines(walks, name, "F(source[q])", "number")),
            (3, f"put_pair({rows}, n * {capacity} + q - first, int64({places}[q]), number)"),
        ]
    if down and walks.sparse[name].listed:
        (firsts,) = rest
        lines += [
            (1, "# how many each column has, and where they begin: behind those of the threads before"),
            (1, f"first = {blocks} * thread // threads"),
            (1, "begin = 0"),
            (1, f"for n in range({samples}):"),
            (2, f"e = order[batch_first + n] * {blocks}"),
            (2, f"begin += {starts}[e + first] - {starts}[e]"),
            (2, f"for q in range({starts}[e + first], {starts}[e + last]):"),
            (3, f"{counts}[int64({places}[q])] += 1"),
            (1, f"for c in {own}:"),
            (2, f"{firsts}[c] = begin"),
            (2, f"begin += {counts}[c]"),
            (2, f"{counts}[c] = 0"),
        ]
    if down:
        lines += [
            (1, f"first = {blocks} * thread // threads"),
            (1, f"for n in range({samples}):"),
            (2, f"e = order[batch_first + n] * {blocks}"),
            (2, f"for q in range({starts}[e + first], {starts}[e + last]):"),
            (3, f"c = int64({places}[q])"),
            (3, f"slot = {counts}[c]"),
        ]
        if shared:
            lines += [(3, line) for line in _value_lines(walks, name, "F(source[2 * q])", "left_value")]
            lines += [(3, line) for line in _value_lines(walks, name, "F(source[2 * q + 1])", "right_value")]
            lines += [(3, f"put_both({columns}, c * {room} + slot, n, left_value, right_value)")]
        else:
            begin = f"{rest[0]}[c]" if rest else f"c * {room}"
            lines += [(3, line) for line in _value_lines(walks, name, "F(source[q])", "number")]
            lines += [(3, f"put_pair({columns}, {begin} + slot, n, number)")]
        lines += [(3, f"{counts}[c] = slot + 1")]
    return "\n".join("    " * depth + line for depth, line in lines)


def _value_lines(walks: Walks, name: str, number: str, result: str) -> list[str]:
    """Lines that make an entry of the input from a number of the data set."""
    value = walks.sparse[name].value
    w = Writer(walks.names, walks.layouts)
    w.loaded = {e.tensor: number for e in elements(value)}
    w.depth = 0
    w.line(f"{result} = {w.value(value)}")
    return w.lines
