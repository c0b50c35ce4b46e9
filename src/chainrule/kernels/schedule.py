"""Program → groups of instructions, in the order in which they run, and who does which part.

A group is one walk over the entries of a result: a product or a sum (its head), and what is computed entry by entry
from it while it is at hand. So the bias and the activation end the product, and the update rule ends the gradient,
which is never written to memory.

Threads share a group in one of two ways. By samples: each thread takes some rows of the batch; from the input to the
deltas every quantity of a row depends on quantities of that row only, so a thread runs through all of these groups
without waiting for another. By entries: each thread takes some entries of the result (a weight matrix has no rows of
the batch). Only where one way follows the other do threads meet at a barrier: twice a step in a network without batch
statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chainrule.formula.expr import ZERO, Delta, Element, Expr, Mul, Number, Position, elements, mul, transform, walk
from chainrule.kernels.layout import Layout
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Map, Program, Reduce, Update, reads
from chainrule.program.lookups import tables
from chainrule.program.passes import expressions

SAMPLES, ENTRIES = "samples", "entries"


@dataclass
class Group:
    """One walk over the entries of a result. `stored` are the tensors of the group that others read."""

    head: Instruction
    by: str
    then: list[Map | Update] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)
    _reads: list[set[str]] = field(default_factory=list, repr=False)  # one for each instruction that it counts

    @property
    def instructions(self) -> list[Instruction]:
        return [self.head, *self.then]

    @property
    def writes(self) -> set[str]:
        return {i.out.tensor for i in self.instructions}

    @property
    def reads(self) -> set[str]:
        """What must be there before: not what the group computes itself (an update reads what was there)."""
        if len(self._reads) == len(self.then) + 1:
            return self._reads[-1]
        made: set[str] = set()
        found: set[str] = set()
        for instruction in self.instructions:
            own = {instruction.out.tensor} if isinstance(instruction, Update) else set()
            found |= (set(reads(instruction)) - made) | (own - made)
            made.add(instruction.out.tensor)
        self._reads = [found] * (len(self.then) + 1)
        return found

    @property
    def updates(self) -> bool:
        return any(isinstance(i, Update) for i in self.instructions)

    @property
    def formulas(self) -> list[str]:
        return list(dict.fromkeys(i.formula for i in self.instructions))


def value_of(instruction: Instruction) -> Expr:
    """What an instruction stores: its value, or what it makes of its sum."""
    return instruction.epilogue if isinstance(instruction, Contract | Reduce) else instruction.value


def without_gradient(group: Group) -> list[Map | Update]:
    """What is left of a group's instructions for a row whose sum is 0: of plain descent nothing, of RMSprop v <- ρv."""
    values: dict[str, Expr] = {ACCUMULATOR: ZERO}
    changed: list[Map | Update] = []

    def known(node: Expr) -> Expr:
        return values.get(node.tensor, node) if isinstance(node, Element) else node

    for instruction in group.instructions:
        out = instruction.out
        new = transform(value_of(instruction), known)
        if new == out or (isinstance(new, Number) and out.tensor not in group.stored):
            values[out.tensor] = new
        else:
            kind = Update if isinstance(instruction, Update) else Map
            changed.append(kind(out, new, instruction.formula))
    wanted, left = set(group.stored), list[Map | Update]()
    for instruction in reversed(changed):
        if instruction.out.tensor in wanted:
            wanted |= set(reads(instruction))
            left.insert(0, instruction)
    return left


def schedule(program: Program) -> list[Group]:
    """The groups of a program; those by samples first wherever the order is free."""
    groups: list[Group] = []
    for instruction in _samples_first(program):
        by = _share(program, instruction)
        home = _joinable(program, groups, instruction, by) if isinstance(instruction, Map | Update) else None
        if home is None:
            groups.append(Group(instruction, by))
        else:
            assert isinstance(instruction, Map | Update)
            home.then.append(instruction)
    _mark_stored(program, groups)
    return groups


def _share(program: Program, instruction: Instruction) -> str:
    """By samples where the result has a row a sample and every quantity of a sample that is read is of that row."""
    n, slots = program.samples, instruction.out.slots
    if not slots or slots[0] != n or isinstance(instruction, Update):
        return ENTRIES
    return SAMPLES if _own_rows(program, instruction, n) else ENTRIES


def _own_rows(program: Program, instruction: Instruction, n: str) -> bool:
    for expr in expressions(instruction):
        for element in elements(expr):
            if element.tensor == ACCUMULATOR:
                continue
            indices = program.tensors[element.tensor].indices
            if any(
                i == n and (s != n or position)
                for position, (i, s) in enumerate(zip(indices, element.slots, strict=True))
            ):
                return False
    return True


def _depends(first: Instruction, second: Instruction) -> bool:
    """Whether `second` must stay behind `first`."""
    made, used = first.out.tensor, second.out.tensor
    return made in reads(second) or used in reads(first) or made == used


def _samples_first(program: Program) -> list[Instruction]:
    """The instructions in an order that keeps every dependency, those by samples as early as can be."""
    instructions = list(program)
    touched = [(i.out.tensor, set(reads(i))) for i in instructions]
    behind: list[set[int]] = []  # for each instruction, those that it must stay behind
    for position, (used, read) in enumerate(touched):
        earlier = enumerate(touched[:position])
        behind.append({p for p, (made, others) in earlier if made in read or used in others or made == used})
    by_samples = [_share(program, i) == SAMPLES for i in instructions]
    waiting, ordered = list(range(len(instructions))), list[Instruction]()
    done: set[int] = set()
    while waiting:
        free = [p for p in waiting if behind[p] <= done]
        chosen = next((p for p in free if by_samples[p]), free[0])
        ordered.append(instructions[chosen])
        done.add(chosen)
        waiting.remove(chosen)
    return ordered


def _joinable(program: Program, groups: list[Group], instruction: Map | Update, by: str) -> Group | None:
    """The group that computes, entry by entry, what this instruction reads, if the instruction can run there."""
    wanted, out = set(reads(instruction)), instruction.out
    for group in reversed(groups):
        # The loss is looked at before anything is updated, so that a step that lost it changes nothing.
        if isinstance(instruction, Update) and group.writes & set(program.watched):
            return None
        if group.by == by and group.head.out.slots == out.slots and group.writes & wanted and _fits(group, instruction):
            return group
        if _blocks(group, instruction):
            return None
    return None


def _blocks(group: Group, instruction: Instruction) -> bool:
    """Whether the instruction cannot be moved before a group."""
    return any(_depends(i, instruction) for i in group.instructions)


def _fits(group: Group, instruction: Map | Update) -> bool:
    """Whether entry by entry is enough: nothing is read of the group's results, or overwritten, at another entry."""
    out = instruction.out
    made = group.writes
    if any(e.tensor in made and e.slots != out.slots for e in elements(instruction.value)):
        return False
    if isinstance(group.head, Reduce | Contract) and group.head.indices and set(out.slots) & set(group.head.indices):
        return False
    if not isinstance(instruction, Update):
        return out.tensor not in group.reads
    for other in group.instructions:
        for expr in expressions(other):
            if any(e.tensor == out.tensor and e.slots != out.slots for e in elements(expr)):
                return False
        if isinstance(other, Reduce | Contract) and out.tensor in _inner(other):
            return False
    return all(e.slots == out.slots for e in elements(instruction.value) if e.tensor == out.tensor)


def _inner(head: Reduce | Contract) -> list[str]:
    """What is read while the sum runs: it must not change before all entries are done."""
    inner = [head.left, head.right] if isinstance(head, Contract) else [head.body]
    return [e.tensor for expr in inner for e in elements(expr)]


def _mark_stored(program: Program, groups: list[Group]) -> None:
    """A result that only its own group reads is never written to memory."""
    forever = {*program.watched, program.output, *(t.name for t in program.kept)}
    for group in groups:
        elsewhere = {name for other in groups if other is not group for name in other.reads}
        group.stored = {name for name in group.writes if name in forever or name in elsewhere}


# layouts


@dataclass(frozen=True)
class Layouts:
    """Each tensor's layout, and the columns of its further copies in panels."""

    home: Mapping[str, Layout]
    copies: Mapping[str, tuple[str, ...]]

    def columns(self, tensor: str) -> list[tuple[str, Layout]]:
        """(name of the memory, layout) of the tensor's copies."""
        indices = self.home[tensor].indices
        return [(copy_name(tensor, c), Layout(indices, indices.index(c))) for c in self.copies.get(tensor, ())]

    def panels(self, tensor: str, position: int) -> str | None:
        """The memory in which the tensor lies in panels over the index at `position`."""
        layout = self.home[tensor]
        if layout.column == position:
            return tensor
        column = layout.indices[position]
        return copy_name(tensor, column) if column in self.copies.get(tensor, ()) else None


def copy_name(tensor: str, column: str) -> str:
    """What a copy in panels over `column` is called."""
    return f"{tensor} by {column}"


def choose_layouts(program: Program) -> Layouts:
    """Panels for the right sides of products: as the home of parameters and of what is nothing else, else as a copy."""
    home = {name: Layout(t.indices) for name, t in program.tensors.items()}
    products = [i for i in program if isinstance(i, Contract)]
    wanted: dict[str, list[int]] = {}
    gradients = dict(program.gradients)
    lefts = tables(program)  # of which rows are read, as of left sides
    for product in products:
        sides = as_matrices(product, home_column(product, home, gradients, wanted))
        if sides is None:
            lefts |= {product.left.tensor, product.right.tensor}
            continue
        lefts.add(sides.left.tensor)
        column = panel_column(sides)
        if column is not None:
            places = wanted.setdefault(sides.right.tensor, [])
            if column not in places:
                places.append(column)
    copies: dict[str, tuple[str, ...]] = {}
    for name, places in wanted.items():
        tensor = program.tensors[name]
        rest = list(places)
        if tensor.role not in ("parameter", "computed"):
            continue  # inputs are packed where they are wanted
        if tensor.role in ("parameter", "computed") and name not in lefts and len(tensor.indices) > 1:
            home[name] = Layout(tensor.indices, rest.pop(0))
        elif len(tensor.indices) < 2:
            continue
        if rest:
            copies[name] = tuple(tensor.indices[p] for p in rest)
    for parameter, gradient in gradients.items():
        if gradient in home:
            home[gradient] = Layout(program.tensors[gradient].indices, home[parameter].column)
            copies.pop(gradient, None)
    changed = {i.out.tensor for i in program.update if isinstance(i, Map)}  # g <- …
    for tensor in (t for t in program.tensors.values() if t.role == "state" or t.name in changed):
        owner = _parameter_of(program, tensor.name)
        if owner is not None:
            home[tensor.name] = Layout(tensor.indices, home[owner].column)
    return Layouts(home, copies)


def home_column(product: Contract, home: Mapping[str, Layout], gradients: Mapping[str, str],
                wanted: Mapping[str, list[int]]) -> str:  # fmt: skip
    """Which of the result's indices runs inside a vector: a gradient lies as its parameter, all else row by row."""
    out = product.out
    for parameter, gradient in gradients.items():
        if gradient == out.tensor and wanted.get(parameter):
            return str(out.slots[wanted[parameter][0]])
    return str(out.slots[-1])


def as_matrices(product: Contract, column: str) -> Contract | None:
    """The product with the side that has `column` on the right; None where it is no matrix product.

    The left side must be two adjacent groups of indices, rows and sums, in row-major order.
    """
    left, right = product.left, product.right
    if column in left.slots:
        left, right = right, left
    if column not in right.slots or left.tensor == right.tensor:
        return None
    slots = [*left.slots, *right.slots]
    if any(isinstance(s, int) for s in slots) or len(set(left.slots)) < len(left.slots):
        return None
    if set(left.slots) & set(right.slots) != set(product.indices):
        return None
    groups = [s in product.indices for s in left.slots]
    if sum(a != b for a, b in zip(groups, groups[1:], strict=False)) != 1:
        return None
    ordered = tuple(str(s) for s in left.slots if s in product.indices)
    return replace(product, left=left, right=right, indices=ordered)


def panel_column(product: Contract) -> int | None:
    """The position of the only column index, where the other slots are the summed ones in the left side's order."""
    columns = product.columns
    if len(columns) != 1 or len(set(product.right.slots)) < len(product.right.slots):
        return None
    if tuple(s for s in product.right.slots if s in product.indices) != product.indices:
        return None
    return product.right.slots.index(columns[0])


def _parameter_of(program: Program, state: str) -> str | None:
    """The parameter whose update reads a state or a changed gradient with the same indices in the same order."""
    indices = program.tensors[state].indices
    readers = [i.out.tensor for i in program.update if isinstance(i, Update) and state in reads(i)]
    owners = {r for r in readers if program.tensors[r].role == "parameter" and program.tensors[r].indices == indices}
    return owners.pop() if len(owners) == 1 else None


# sparse inputs


@dataclass(frozen=True)
class SparseInput:
    """An input that is walked by its non-zeros: `value` gives an entry of the tensor from one of the source.

    `listed` says that the source itself is a list of non-zeros, as sparse tables are: these are wide, and the lists of
    a batch's columns lie one behind the other, without room for all rows of the batch in each. `shared` says that two
    neighbouring columns share a list, as pays where they are mostly not 0 together.
    """

    tensor: str
    source: str
    value: Expr
    listed: bool = False
    shared: bool = False


def sparse_inputs(
    program: Program, allowed: set[str], listed: frozenset[str] = frozenset(), shared: frozenset[str] = frozenset()
) -> dict[str, SparseInput]:
    """Which tensors may be walked by their non-zeros: inputs, and what is 0 where an input is (pixels / 255).

    They are read only as the left side of products, along a row of samples or down a column of the batch. Those that
    are `listed` also in sums with a single result for a row or a column, which other inputs do as fast with vectors.
    """
    found: dict[str, SparseInput] = {}
    for source in sorted(allowed):
        element = program.tensors[source].element
        readers = [i for i in program if source in reads(i)]
        name = source
        value: Expr = element
        if len(readers) == 1 and isinstance(readers[0], Map) and _keeps_zero(readers[0], element):
            name, value = readers[0].out.tensor, readers[0].value
            readers = [i for i in program if name in reads(i)]
        if name in (*program.watched, program.output) or not readers:
            continue
        along = source in listed
        if all(
            (isinstance(i, Contract) and _walkable(i, name, program.samples))
            or (along and listed_sum(i, name, program.samples) is not None)
            for i in readers
        ):
            found[name] = SparseInput(name, source, value, along, source in shared)
    return found


def _keeps_zero(instruction: Map, element: Element) -> bool:
    """Whether the value is 0 where the element is, and depends on nothing else that has an index."""
    if instruction.out.slots != element.slots or any(isinstance(n, Position | Delta) for n in walk(instruction.value)):
        return False
    if any(e != element for e in elements(instruction.value)):
        return False
    return transform(instruction.value, lambda node: ZERO if node == element else node) == ZERO


def listed_sum(instruction: Instruction, name: str, samples: str) -> Expr | None:
    """What an entry of an input is multiplied with, in a sum over its rows or columns with one result for each."""
    if not isinstance(instruction, Reduce) or instruction.kind != "sum" or not isinstance(instruction.body, Mul):
        return None
    own = [f for f in instruction.body.factors if isinstance(f, Element) and f.tensor == name]
    everywhere = [e for expr in expressions(instruction) for e in elements(expr) if e.tensor == name]
    if (
        len(own) != 1
        or len(everywhere) != 1
        or own[0].slots[0] != samples
        or len(set(own[0].slots)) < len(own[0].slots)
    ):
        return None
    rest, out = set(own[0].slots[1:]), instruction.out.slots
    by_row = set(instruction.indices) == rest and out == (samples,)
    by_column = instruction.indices == (samples,) and set(out) == rest
    return mul(*(f for f in instruction.body.factors if f is not own[0])) if by_row or by_column else None


def _walkable(product: Contract, name: str, samples: str) -> bool:
    left, right = product.left, product.right
    if (left.tensor == name) == (right.tensor == name):
        return False
    mine, other = (left, right) if left.tensor == name else (right, left)
    if name in [e.tensor for e in elements(product.epilogue)] or mine.slots[0] != samples:
        return False
    columns = [str(s) for s in other.slots if s not in product.indices]
    sides = as_matrices(replace(product, left=mine, right=other), columns[0]) if len(columns) == 1 else None
    if sides is None or sides.left.tensor != name or panel_column(sides) is None:
        return False
    rest = mine.slots[1:]
    return product.indices == (samples,) or set(product.indices) == set(rest)
