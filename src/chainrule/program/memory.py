"""Which buffers a Program's tensors live in: a buffer whose tensor is not read any more is used again.

Only tensors over the same indices share a buffer, so that sizes need not be known.
"""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.program.instructions import Program, reads


def assign_buffers(program: Program) -> Mapping[str, int]:
    """Tensor name → number of its buffer, for all computed tensors. Watched tensors keep theirs to the step's end."""
    instructions = list(program)
    last_read: dict[str, int] = {}
    for position, instruction in enumerate(instructions):
        for name in (*reads(instruction), instruction.out.tensor):
            last_read[name] = position
    forever = {*program.watched, program.output}
    free: dict[tuple[str, ...], list[int]] = {}
    buffers: dict[str, int] = {}
    count = 0
    for position, instruction in enumerate(instructions):
        name = instruction.out.tensor
        tensor = program.tensors[name]
        if tensor.role == "computed" and name not in buffers:
            available = free.get(tensor.indices, [])
            if available:
                buffers[name] = available.pop()
            else:
                buffers[name] = count
                count += 1
        for used in {*reads(instruction), name}:
            if used in buffers and used not in forever and last_read[used] == position:
                free.setdefault(program.tensors[used].indices, []).append(buffers[used])
    return buffers
