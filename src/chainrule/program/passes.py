"""Program → Program. Each pass keeps what the interpreter computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chainrule.formula.expr import Apply, Element, Expr, Normalized, Reduction, Size, symbols, transform, walk
from chainrule.program.instructions import Contract, Instruction, Map, Program, Reduce, Update, reads


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
