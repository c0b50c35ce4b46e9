"""What a group of instructions must do at least: operations, and bytes that come and go.

    flops   2 for every multiply-add of a product; 1 for every +, ·, ÷, comparison, root or function of a formula
    bytes   every tensor that is read, once, and every tensor that is written, once

A part of a formula counts once for every entry of the indices that it depends on: log(s[n]) in p[n, k] - log(s[n]) is
n logarithms. What depends on no index (eta, 1/size(n)) is computed once a step and counts nothing.

A product with a sparse input has two counts of operations: `dense_flops`, what a dense product would take, and `flops`,
those that its non-zeros take. Everywhere else they are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from chainrule.formula.expr import (
    Add,
    Apply,
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Number,
    Power,
    Slot,
    Where,
    as_number,
    base_index,
    elements,
    free_indices,
    walk,
)
from chainrule.kernels.schedule import Group, without_gradient
from chainrule.kernels.source import Module
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Map, Program, Reduce, Update, reads
from chainrule.program.lookups import pinned, rows_of, terms
from chainrule.program.passes import expressions

PLACE_BYTES = 4  # lists.py: a column's number


@dataclass(frozen=True)
class Work:
    """Operations and bytes of one step."""

    flops: float = 0.0
    dense_flops: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Sizes:
    """What work depends on besides the formulas.

    `sizes` has the size of every index; that of the samples is the mean over the steps, as a last batch may be smaller.
    `item` is the bytes of a number; `sources` those of a number of each input as the data have it; `density` is the
    share of non-zeros of every sparse input.
    """

    sizes: Mapping[str, float]
    item: int
    sources: Mapping[str, int] = field(default_factory=dict)
    density: Mapping[str, float] = field(default_factory=dict)

    def entries(self, indices: Iterable[Slot]) -> float:
        """How many combinations the indices have."""
        count = 1.0
        for index in {base_index(i) for i in indices if isinstance(i, str)}:
            count *= self.sizes[index]
        return count


def work_of(group: Group, module: Module, program: Program, sizes: Sizes) -> Work:
    """The work of a group."""
    if group.head.out.tensor in module.scratch:  # a copy in panels
        return Work(bytes=2 * sizes.item * sizes.entries(_declared(program, reads(group.head)[0])))
    alone = _rows_alone(group, program, sizes)
    flops = dense = 0.0
    for instruction in group.instructions:
        ends, inner = (
            _ends(instruction, program, sizes),
            _inner(instruction, _pinned_sizes(instruction, program, sizes)),
        )
        ends *= min(1.0, alone / sizes.entries(instruction.out.slots))
        share = 1.0
        if isinstance(instruction, Contract):
            share = min(sizes.density.get(side.tensor, 1.0) for side in (instruction.left, instruction.right))
        flops += ends + inner * share
        dense += ends + inner
    moved = sum(_read_bytes(name, group, program, sizes) for name in group.reads)
    moved += sum(sizes.item * min(sizes.entries(_declared(program, name)), alone) for name in group.stored)
    return Work(flops, dense, moved)


def flops_of(instructions: Iterable[Instruction], sizes: Sizes) -> float:
    """The operations of some instructions of a program, all products dense."""
    return sum(_inner(i, sizes) + sum(_operations(e, sizes) for e in _values(i)) for i in instructions)


def gather_work(module: Module, program: Program, sizes: Sizes) -> Work:
    """What the batch's rows take: from the data set's memory to the batch's, as numbers or as lists of non-zeros."""
    by_source = {sparse.source: name for name, sparse in module.sparse.items()}
    moved = 0.0
    for tensor in program.inputs:
        count, source = sizes.entries(tensor.indices), sizes.sources.get(tensor.name, sizes.item)
        name = by_source.get(tensor.name)
        if name is None:
            moved += count * (source + sizes.item)
            continue
        lists = 1 + any(_sums_samples(i, name, program) for i in program)  # along rows, and down columns
        moved += count * sizes.density[name] * (PLACE_BYTES + source + lists * 2 * sizes.item)
    return Work(bytes=moved)


def _sums_samples(instruction: Instruction, name: str, program: Program) -> bool:
    return (
        isinstance(instruction, Contract) and instruction.indices == (program.samples,) and name in reads(instruction)
    )


def _declared(program: Program, name: str) -> tuple[str, ...]:
    return program.tensors[name].indices


def _read_bytes(name: str, group: Group, program: Program, sizes: Sizes) -> float:
    """The entries of a tensor that a group reads; a sparse input's are pairs of a place and a value.

    Lists that two columns share are counted so too: 3 words for some 1.8 non-zeros are a tenth less.
    """
    used = [e for i in group.instructions for x in expressions(i) for e in elements(x) if e.tensor == name]
    declared = _declared(program, name)
    # Of W[0, j] one row is read; an update reads what it overwrites even where its value does not name it.
    slots = [[i for i, s in zip(declared, e.slots, strict=True) if isinstance(s, str)] for e in used] or [[*declared]]
    count = max(sizes.entries(s) for s in slots)
    chosen = pinned(group.head, program)
    if chosen:  # of a table, as many rows as there are class numbers
        numbers = [s for e in used for s in e.slots if s not in chosen]
        numbers += [s for e in used for i in set(e.slots) & chosen.keys() for s in chosen[str(i)].slots]
        count = min(count, sizes.entries(numbers))
    if name in group.writes:
        count = min(count, _rows_alone(group, program, sizes))
    if name in sizes.density:
        return count * sizes.density[name] * 2 * sizes.item
    return count * sizes.item


def _pinned_sizes(instruction: Instruction, program: Program, sizes: Sizes) -> Sizes:
    """The sizes inside a sum: an index that a class number says has one value."""
    rows = rows_of(instruction, program)
    said = [*pinned(instruction, program), *([rows.pin.index] if rows else [])]
    return replace(sizes, sizes={**sizes.sizes, **dict.fromkeys(map(base_index, said), 1.0)}) if said else sizes


def _rows_alone(group: Group, program: Program, sizes: Sizes) -> float:
    """The entries of the rows that plain descent changes, where it looks at no other; else those of all."""
    rows = rows_of(group.head, program)
    if rows is None or without_gradient(group):
        return float("inf")
    return sizes.entries([*rows.entry, *rows.along])


def _ends(instruction: Instruction, program: Program, sizes: Sizes) -> float:
    """The operations of what is computed entry by entry; those inside a sum are of the rows it looks at."""
    if isinstance(instruction, Reduce):
        inside = _operations(terms(instruction, program), _pinned_sizes(instruction, program, sizes))
        return inside + _operations(instruction.epilogue, sizes)
    return sum(_operations(expr, sizes) for expr in _values(instruction))


def _values(instruction: Instruction) -> list[Expr]:
    """What is computed entry by entry, the body of a sum included."""
    match instruction:
        case Contract(_, _, _, _, epilogue, _):
            return [epilogue]
        case Reduce(_, _, _, body, epilogue, _):
            return [body, epilogue]
        case Map(_, value, _) | Update(_, value, _):
            return [value]


def _inner(instruction: Instruction, sizes: Sizes) -> float:
    """The operations that combine the terms of a sum: of a product two each, as the terms are made there too."""
    match instruction:
        case Contract(out, left, right, indices, _, _):
            return 2 * sizes.entries([*out.slots, *left.slots, *right.slots, *indices])
        case Reduce(out, _, indices, _, _, _):
            return sizes.entries([*out.slots, *indices])
    return 0.0


def _operations(expr: Expr, sizes: Sizes) -> float:
    """The operations of an expression, equal parts once."""
    total = 0.0
    for node in set(walk(expr)):
        if any(e.tensor == ACCUMULATOR or e.slots for e in elements(node)):
            total += _cost(node) * sizes.entries(free_indices(node))
    return total


def _cost(node: Expr) -> float:
    match node:
        case Add(terms):
            return len(terms) - 1
        case Mul(factors):
            # A factor of -1 makes a sum a difference.
            return len([f for f in factors if not (isinstance(f, Number) and f.value == -1)]) - 1
        case Power(_, exponent):
            value = as_number(exponent)
            whole = value is not None and value.denominator == 1 and abs(value) <= 8
            return abs(int(value or 0)) - 1 if whole else 1
        case Apply() | Compare() | Where() | Delta():
            return 1
        case Element():
            return 0
    return 0
