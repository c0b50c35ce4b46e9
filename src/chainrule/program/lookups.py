"""Which sums of a Program read a row of a table by a class number, and which add to rows by one.

    sum[v]([v == c]*T[v, d])      reads: v is pinned by c, the sum is the row T[c, d]
    sum[n]([v == c]*delta[d])     adds: what belongs to a sample goes to the row c of the result

Nobody who runs such a sum needs the numbers [v == c], one for each sample and class.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.formula.expr import Element, Expr, elements
from chainrule.formula.lookup import Pin, pins, without
from chainrule.program.instructions import Instruction, Program, Reduce


@dataclass(frozen=True)
class Rows:
    """A sum that adds to rows of its result.

    `entry` are the indices of an entry, those of the class number; `row` the indices of the result that say which row
    it goes to (the pinned one, and those that the number has too); `along` the result's other indices.
    """

    pin: Pin
    entry: tuple[str, ...]
    row: tuple[str, ...]
    along: tuple[str, ...]


def pinned(instruction: Instruction, program: Program) -> dict[str, Element]:
    """The summed indices that a class number pins down, with that number."""
    if not isinstance(instruction, Reduce) or instruction.kind != "sum":
        return {}
    return {p.index: p.number for p in pins(instruction.body, program.tensors) if p.index in instruction.indices}


def rows_of(instruction: Instruction, program: Program) -> Rows | None:
    """How a sum adds to rows of its result; None where it does not."""
    if not isinstance(instruction, Reduce) or instruction.kind != "sum":
        return None
    out, bound = [str(s) for s in instruction.out.slots], set(instruction.indices)
    for pin in pins(instruction.body, program.tensors):
        entry = tuple(s for s in pin.number.slots if isinstance(s, str))
        # The samples are among what is summed: else each has rows of its own.
        if pin.index in out and program.samples in bound & set(entry) and set(entry) <= bound | set(out):
            row = tuple(s for s in out if s == pin.index or s in entry)
            return Rows(pin, entry, row, tuple(s for s in out if s not in row))
    return None


def terms(instruction: Reduce, program: Program) -> Expr:
    """What is summed, but for the factors that only say which row."""
    chosen, rows = pinned(instruction, program), rows_of(instruction, program)
    found = pins(instruction.body, program.tensors) if chosen or rows else []
    used = [p for p in found if p.index in chosen or (rows is not None and p == rows.pin)]
    return without(instruction.body, used) if used else instruction.body


def fixed(instruction: Instruction, program: Program) -> set[str]:
    """The indices that a class number varies with or says: LANES neighbours along them are not side by side."""
    numbers = pinned(instruction, program).values()
    rows = rows_of(instruction, program)
    own = {str(s) for number in numbers for s in number.slots}
    return own | set(rows.row) if rows else own


def numbered(program: Program) -> list[str]:
    """The tensors whose class numbers say which row."""
    found: dict[str, None] = {}
    for instruction in program:
        rows = rows_of(instruction, program)
        for number in [*pinned(instruction, program).values(), *([rows.pin.number] if rows else [])]:
            found[number.tensor] = None
    return list(found)


def tables(program: Program) -> set[str]:
    """The tensors of which single rows are read."""
    found: set[str] = set()
    for instruction in program:
        chosen = pinned(instruction, program)
        if chosen and isinstance(instruction, Reduce):
            found |= {e.tensor for e in elements(instruction.body) if chosen.keys() & set(e.slots)}
    return found
