"""Program → Program. Each pass keeps what the interpreter computes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from chainrule.formula.expr import (
    Apply,
    Draw,
    Element,
    Expr,
    Normalized,
    Number,
    Power,
    Reduction,
    Size,
    free_indices,
    fresh_name,
    symbols,
    transform,
    walk,
)
from chainrule.formula.system import Tensor
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Map, Program, Reduce, Update, reads

# Functions that cost less than to write their value to memory and read it again.
CHEAP = frozenset({"relu", "step", "abs", "sign", "min", "max", "floor"})


def prune(program: Program) -> Program:
    """Drop what nothing needs: instructions, tensors and scalars that no output, watched quantity or update reads."""
    needed = {*program.watched, *program.gradients.values()} | ({program.output} if program.output else set())
    parts: list[tuple[Instruction, ...]] = []
    for part in (program.update, program.backward, program.forward):
        kept: list[Instruction] = []
        for instruction in reversed(part):
            if isinstance(instruction, Update) or instruction.out.tensor in needed:
                kept.append(instruction)
                needed |= {instruction.out.tensor, *reads(instruction)}
        parts.append(tuple(reversed(kept)))
    update, backward, forward = parts
    data = ("parameter", "state")
    tensors = {n: t for n, t in program.tensors.items() if n in needed or t.role in data}
    asked = {s for i in (*forward, *backward, *update) for e in expressions(i) for s in symbols(e)}
    scalars = tuple((name, value) for name, value in program.scalars if name in asked)
    names = {name for name, _ in scalars}
    hyper = [s for _, value in scalars for s in symbols(value)]
    return replace(
        program,
        forward=forward,
        backward=backward,
        update=update,
        tensors=tensors,
        scalars=scalars,
        hyper=tuple(h for h in program.hyper if h in hyper and h not in names),
    )


def mixes_samples(program: Program) -> bool:
    """Whether what it computes of a sample depends on the others: mean[n](a[n, j]), or a count of the samples.

    Then rows must go through together, and not in parts.
    """
    n = program.samples
    found = [value for _, value in program.scalars]
    for instruction in program:
        if isinstance(instruction, Contract | Reduce) and n in instruction.indices:
            return True
        found += expressions(instruction)
    nodes = {node for value in found for node in walk(value)}
    bound = {i for node in nodes if isinstance(node, Reduction) for i in node.indices}
    bound |= {node.index for node in nodes if isinstance(node, Normalized)}
    return Size(n) in nodes or n in bound


def share_functions(program: Program, taken: Collection[str] = ()) -> Program:
    """What several instructions would compute for the same entry by a costly function is computed once and kept.

    An activation's derivative asks for what the forward pass had: with h = a*tanh(softplus(a)) for tanh(softplus(a)),
    some 100 cycles for 8 numbers, where keeping it takes 4. Of values within each other the larger comes first. No
    tensor gets a name that is `taken`.
    """
    while True:
        users: dict[Expr, list[Instruction]] = {}
        for instruction in (*program.forward, *program.backward):
            for node in _costly(instruction):
                users.setdefault(node, []).append(instruction)
        shared = {node: found[0] for node, found in users.items() if len(found) > 1}
        if not shared:
            return program
        within = {part for node in shared for part in walk(node) if part != node}
        program = _kept(program, {n: _indices(user) for n, user in shared.items() if n not in within}, taken)


def _indices(instruction: Instruction) -> tuple[str, ...]:
    return tuple(s for s in instruction.out.slots if isinstance(s, str))


def _costly(instruction: Instruction) -> set[Expr]:
    """The costly values within an instruction that are of the entry that it computes, and could be a tensor."""
    wanted = set(_indices(instruction))
    return {
        node
        for value in expressions(instruction)
        for node in walk(value)
        if _is_costly(node) and free_indices(node) == wanted and _is_known(node)
    }


def _is_costly(node: Expr) -> bool:
    match node:
        case Apply(function):
            return function not in CHEAP
        case Power(_, exponent):  # roots and whole powers are cheap
            return not (isinstance(exponent, Number) and exponent.value.denominator <= 2)
    return False


def _is_known(value: Expr) -> bool:
    """Whether a value is there before the instruction runs: nothing is drawn, and no finished sum is read."""
    return not any(
        isinstance(n, Draw | Reduction | Normalized) or (isinstance(n, Element) and n.tensor == ACCUMULATOR)
        for n in walk(value)
    )


def _kept(program: Program, values: Mapping[Expr, tuple[str, ...]], taken: Collection[str]) -> Program:
    """The program with each value (of these indices) in a tensor of its own, or in the one that is this value."""
    tensors, homes = dict(program.tensors), dict[Expr, Element]()

    def part(instructions: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
        found: list[Instruction] = []
        for instruction in instructions:
            if isinstance(instruction, Map) and instruction.value in values and instruction.value not in homes:
                # Not p[k] = sigmoid(a): who else needs sigmoid(a) has no k.
                if set(_indices(instruction)) == set(values[instruction.value]):
                    homes[instruction.value] = instruction.out
                    found.append(instruction)
                    continue
            here = (node for value in expressions(instruction) for node in walk(value))
            for value in dict.fromkeys(n for n in here if n in values and n not in homes):
                name = fresh_name("s", {*tensors, *taken})
                tensors[name] = Tensor(name, "computed", values[value])
                homes[value] = Element(name, values[value])
                found.append(Map(homes[value], value, instruction.formula))
            found.append(_with_expressions(instruction, lambda node: homes.get(node, node)))
        return tuple(found)

    return replace(program, forward=part(program.forward), backward=part(program.backward), tensors=tensors)


def signs_of_results(program: Program) -> Program:
    """step(a) read off h = relu(a): both say whether a > 0, and a need not be kept for the backward pass."""
    results = {
        instruction.value.arguments[0]: instruction.out
        for instruction in program.forward
        if isinstance(instruction, Map)
        and isinstance(instruction.value, Apply)
        and instruction.value.function == "relu"
        and isinstance(instruction.value.arguments[0], Element)
        and instruction.value.arguments[0].slots == instruction.out.slots
    }

    def sign(node: Expr) -> Expr:
        if isinstance(node, Apply) and node.function == "step" and node.arguments[0] in results:
            return Apply("step", (results[node.arguments[0]],))
        return node

    return replace(program, backward=tuple(_with_expressions(i, sign) for i in program.backward))


def _with_expressions(instruction: Instruction, change: Callable[[Expr], Expr]) -> Instruction:
    """The instruction with every value rewritten; products keep their two sides."""
    match instruction:
        case Contract():
            return replace(instruction, epilogue=transform(instruction.epilogue, change))
        case Reduce():
            return replace(
                instruction, body=transform(instruction.body, change), epilogue=transform(instruction.epilogue, change)
            )
        case Map() | Update():
            return replace(instruction, value=transform(instruction.value, change))


def expressions(instruction: Instruction) -> list[Expr]:
    """Every expression of an instruction."""
    match instruction:
        case Contract(_, left, right, _, epilogue, _):
            return [left, right, epilogue]
        case Reduce(_, _, _, body, epilogue, _):
            return [body, epilogue]
        case Map(_, value, _) | Update(_, value, _):
            return [value]
