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
    """What the function is called that makes a sparse input's lists along rows."""
    return f"gather_{walks.names('tensor', name)}"


def columns_name(walks: Walks, name: str) -> str:
    """What the function is called that makes its lists down columns."""
    return f"columns_{walks.names('tensor', name)}"


def list_arguments(walks: Walks, name: str) -> list[str]:
    """What these functions get, but for rows and threads: their parameters' names and `epoch`'s are the same words.

    The number of columns and the data set have other names there: see list_width.
    """
    scalars = [walks.names("scalar", s) for s in dict.fromkeys(symbols(walks.sparse[name].value))]
    return [*walks.sparse_words(name), *scalars, "order", "batch_first"]


def list_width(walks: Walks, name: str) -> str:
    """How many columns a sparse input has, as `epoch` says it."""
    return " * ".join(walks.names("size", i) for i in walks.program.tensors[name].indices[1:])


def has_columns(walks: Walks, name: str) -> bool:
    """Whether a sparse input is walked down its columns too: by the gradient of its weights."""
    samples = (walks.program.samples,)
    sums = [i for i in walks.program if isinstance(i, Contract | Reduce) and i.indices == samples]
    return any(name in reads(i) for i in sums)


def gather_lists(walks: Walks, name: str) -> list[str]:
    """The functions that make a sparse input's lists for the batch: along rows, and down columns where they are read.

    For a prediction, from rows of all numbers; for training, from the lists of the data set (lists.py).
    """
    if walks.in_batch and not walks.sparse[name].listed:
        return [_rows_of_numbers(walks, name)]
    return [_rows_of_lists(walks, name)] + [_columns_of_lists(walks, name)] * has_columns(walks, name)


def _function(name: str, arguments: list[str], lines: list[tuple[int, str]]) -> str:
    """The text of a function; lines come with their depth."""
    body = "\n".join("    " * depth + line for depth, line in lines)
    return f"def {name}({', '.join(arguments)}):\n{body}"


def _rows_of_numbers(walks: Walks, name: str) -> str:
    starts, _, rows, _, _, capacity, _, blocks, block = walks.sparse_words(name)
    arguments = ["start", "stop", *list_arguments(walks, name), "width", "source", "last_row"]
    lines = [
        (1, f"# the non-zeros of {name}; what is 0 is written too, and written over"),
        (1, "for n in range(start, stop):"),
        (2, "row = (batch_first + n) * width"),
        (2, "e = 0"),
        (2, f"for block in range({blocks}):"),
        (3, f"{starts}[n * ({blocks} + 1) + block] = e"),
        (3, f"for c in range(block * {block}, least(width, (block + 1) * {block})):"),
        (4, "number = F(source[row + c])"),
        *((4, line) for line in _value_lines(walks, name, "number", "number_value")),
        (4, f"put_pair({rows}, n * {capacity} + e, c, number_value)"),
        (4, "e = e + int64(number != F(0))"),
        (2, f"{starts}[n * ({blocks} + 1) + {blocks}] = e"),
    ]
    return _function(gather_name(walks, name), arguments, lines)


def _rows_of_lists(walks: Walks, name: str) -> str:
    shared = walks.sparse[name].shared
    starts, places, rows, _, _, capacity, _, blocks, _, *rest = walks.sparse_words(name)
    arguments = ["start", "stop", *list_arguments(walks, name), "width", "source", "last_row"]
    lines = [
        (1, f"# the non-zeros of {name}, row by row"),
        (1, "for n in range(start, stop):"),
        # The data set lies in slow memory, in no order: begin to bring the rows that come next.
        (2, f"e = order[least(batch_first + n + {AHEAD}, last_row)] * {blocks}"),
        (2, f"for q in range({starts}[e], {starts}[e + {blocks}], 16):"),
        (3, f"prefetch({places}, q)"),
        (3, f"prefetch(source, {'2 * q' if shared else 'q'})"),
        (2, f"prefetch({starts}, order[least(batch_first + n + 2 * {AHEAD}, last_row)] * {blocks})"),
        (2, f"e = order[batch_first + n] * {blocks}"),
    ]
    if not shared:
        lines += [
            (2, f"first = {starts}[e]"),
            (2, f"for q in range(first, {starts}[e + {blocks}]):"),
            *((3, line) for line in _value_lines(walks, name, "F(source[q])", "number_value")),
            (3, f"put_pair({rows}, n * {capacity} + q - first, int64({places}[q]), number_value)"),
        ]
        return _function(gather_name(walks, name), arguments, lines)
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
    return _function(gather_name(walks, name), arguments, lines)


def _columns_of_lists(walks: Walks, name: str) -> str:
    shared, listed = walks.sparse[name].shared, walks.sparse[name].listed
    starts, places, _, counts, columns, _, room, blocks, block, *rest = walks.sparse_words(name)
    samples = walks.names("size", walks.program.samples)
    arguments = ["thread", "threads", samples, *list_arguments(walks, name), "width", "source"]
    # The thread's columns, or pairs of columns that share a list: a block has an even number of columns.
    own = f"range(first * {block}, least(width, last * {block}))"
    if shared:
        own = f"range(first * {block} // 2, (least(width, last * {block}) + 1) // 2)"
    each_row = [
        (1, f"for n in range({samples}):"),
        (2, f"e = order[batch_first + n] * {blocks}"),
    ]
    each_entry = (2, f"for q in range({starts}[e + first], {starts}[e + last]):")
    lines = [
        (1, f"# the non-zeros of {name}, column by column, in the thread's blocks of columns"),
        (1, f"first = {blocks} * thread // threads"),
        (1, f"last = {blocks} * (thread + 1) // threads"),
        (1, f"for c in {own}:"),
        (2, f"{counts}[c] = 0"),
    ]
    if listed:
        lines += [
            (1, "# how many each column has, and where they begin: behind those of the threads before"),
            (1, "begin = 0"),
            *each_row,
            (2, f"begin += {starts}[e + first] - {starts}[e]"),
            each_entry,
            (3, f"{counts}[int64({places}[q])] += 1"),
            (1, f"for c in {own}:"),
            (2, f"{rest[0]}[c] = begin"),
            (2, f"begin += {counts}[c]"),
            (2, f"{counts}[c] = 0"),
        ]
    lines += [*each_row, each_entry, (3, f"c = int64({places}[q])"), (3, f"slot = {counts}[c]")]
    if shared:
        lines += [(3, line) for line in _value_lines(walks, name, "F(source[2 * q])", "left_value")]
        lines += [(3, line) for line in _value_lines(walks, name, "F(source[2 * q + 1])", "right_value")]
        lines += [(3, f"put_both({columns}, c * {room} + slot, n, left_value, right_value)")]
    else:
        begin = f"{rest[0]}[c]" if listed else f"c * {room}"
        lines += [(3, line) for line in _value_lines(walks, name, "F(source[q])", "number_value")]
        lines += [(3, f"put_pair({columns}, {begin} + slot, n, number_value)")]
    lines += [(3, f"{counts}[c] = slot + 1")]
    return _function(columns_name(walks, name), arguments, lines)


def _value_lines(walks: Walks, name: str, number: str, result: str) -> list[str]:
    """Lines that make an entry of the input from a number of the data set."""
    value = walks.sparse[name].value
    w = Writer(walks.names, walks.layouts)
    w.loaded = {e.tensor: number for e in elements(value)}
    w.depth = 0
    w.line(f"{result} = {w.value(value)}")
    return w.lines
