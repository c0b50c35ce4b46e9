"""What a step tells: functions of the generated module that add up loss and metrics, or copy a prediction out."""

from __future__ import annotations

from chainrule.kernels.expressions import Names, Writer
from chainrule.kernels.schedule import Layouts
from chainrule.program.instructions import Program


def watch_function(program: Program, names: Names) -> str:
    """Sums of the watched quantities over the epoch's samples, in float64.

    Every thread adds up the loss, in the same order, and so comes to the same verdict without a barrier more.
    One of them counts the samples, and asks whether to stop.
    """
    watched = "".join(f", {names('tensor', name)}" for name in program.watched)
    lines = [
        f"def watch(thread, s, round, samples, control, sums{watched}):",
        "    # loss and metrics of this step",
    ]
    others = [p for p, name in enumerate(program.watched) if name != program.loss]
    for position, name in enumerate(program.watched):
        if name == program.loss:
            lines += _total(program, names, position)
            lines += [
                f"    if not (total_{position} > -INFINITY and total_{position} < INFINITY):",
                "        store(control, FAILED, s + 1)",
                "        return 1",
            ]
    lines += ["    if thread != 0:", "        return 0"]
    for position in others:
        lines += _total(program, names, position)
    lines += [f"    place = round * {len(program.watched) + 1}"]
    lines += [f"    sums[place + {p}] += total_{p}" for p in range(len(program.watched))]
    lines += [
        f"    sums[place + {len(program.watched)}] += samples",
        "    if load(control, STOP) != 0:",
        "        store(control, DECIDED, s + 1)",
        "    return 0",
    ]
    return "\n".join(lines)


def _total(program: Program, names: Names, position: int) -> list[str]:
    name = program.watched[position]
    tensor = names("tensor", name)
    if program.samples not in program.tensors[name].indices:
        return [f"    total_{position} = float64({tensor}[0]) * samples"]
    return [
        f"    total_{position} = 0.0",
        "    for n in range(samples):",
        f"        total_{position} += float64({tensor}[n])",
    ]


def deliver_function(program: Program, names: Names, layouts: Layouts) -> str:
    """The rows of a prediction's output, from the batch's memory to the caller's."""
    assert program.output is not None
    tensor = program.tensors[program.output]
    inner = [i for i in tensor.indices if i != program.samples]
    w = Writer(names, layouts)
    w.loops = {i: names("index", i) for i in tensor.indices}
    n = names("index", program.samples)
    sizes = [names("size", i) for i in inner]
    strides = [names("stride", inner[-1])] if inner else []
    lines = [f"def deliver({', '.join(['start', 'stop', 'batch_first', *sizes, *strides, 'source', 'result'])}):"]
    lines += [f"    for {n} in range(start, stop):"]
    depth, place = 2, f"batch_first + {n}"
    for index in inner:
        variable = names("index", index)
        lines += ["    " * depth + f"for {variable} in range({names('size', index)}):"]
        place = f"({place}) * {names('size', index)} + {variable}"
        depth += 1
    home = layouts.home[program.output]
    lines += ["    " * depth + f"result[{place}] = source[{w.offset(home, tensor.indices)}]"]
    return "\n".join(lines)
