"""The slow runner: a Program executed instruction by instruction in NumPy. The second oracle, and what a trace shows.

Products go through np.einsum, which hands them to the BLAS where it can; everything else is evaluate.py's meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.formula.distributions import key_name, keys
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Reduction
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Map, Program, Reduce, Update


def scalar_values(program: Program, sizes: Mapping[str, int], hyper: Mapping[str, float]) -> dict[str, float]:
    """The values of a step's scalars, in float64; `hyper` holds hyper-parameters and the step."""
    values = dict(hyper)
    for name, value in program.scalars:
        values[name] = float(evaluate(value, {}, sizes=sizes, scalars=values))
    return values


def keys_of_draws(program: Program, seed: int, steps: Array) -> dict[str, Array]:
    """The keys of the random quantities at steps of these numbers, by their names among arrays: (steps, draws)."""
    return {key_name(name): keys(name, numbers, seed, steps) for name, numbers in program.draws.items()}


def run(
    program: Program,
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int],
    hyper: Mapping[str, float] | None = None,
) -> dict[str, Array]:
    """All tensors after one step. Parameters and states of `arrays` are not changed; their new values are returned."""
    state = dict(arrays)
    for _ in run_events(program, state, sizes, hyper):
        pass
    return state


def run_events(
    program: Program,
    arrays: dict[str, Array],
    sizes: Mapping[str, int],
    hyper: Mapping[str, float] | None = None,
) -> Iterator[tuple[Instruction, Array]]:
    """Run one step, adding every result to `arrays`, and yield each instruction with its result."""
    scalars = scalar_values(program, sizes, hyper or {})
    dtype = working_dtype(arrays)
    for instruction in program:
        with np.errstate(all="ignore"):  # what is not finite is found by who looks for it, not by a warning
            result = execute(instruction, arrays, sizes, scalars).astype(dtype, copy=False)
        arrays[instruction.out.tensor] = result
        yield instruction, result


def working_dtype(arrays: Mapping[str, Array]) -> np.dtype[Any]:
    """float32 where all floating arrays are, else float64 (complex128 for a complex step)."""
    kinds = [a.dtype for a in arrays.values() if a.dtype.kind in "fc"]
    return np.result_type(*kinds) if kinds else np.dtype(np.float64)


def execute(
    instruction: Instruction, arrays: Mapping[str, Array], sizes: Mapping[str, int], scalars: Mapping[str, float]
) -> Array:
    """The value of one instruction."""
    axes = tuple(str(s) for s in instruction.out.slots)
    match instruction:
        case Map(_, value, _) | Update(_, value, _):
            return evaluate(value, arrays, axes, sizes=sizes, scalars=scalars)
        case Contract():
            total = _product(instruction, arrays, axes)
        case Reduce(_, kind, indices, body, _, _):
            total = evaluate(Reduction(kind, indices, body), arrays, axes, sizes=sizes, scalars=scalars)
    if instruction.epilogue == Element(ACCUMULATOR, instruction.out.slots):
        return total
    return evaluate(instruction.epilogue, {**arrays, ACCUMULATOR: total}, axes, sizes=sizes, scalars=scalars)


def _product(instruction: Contract, arrays: Mapping[str, Array], axes: Sequence[str]) -> Array:
    names = list(dict.fromkeys([*instruction.left.slots, *instruction.right.slots]))
    dtype = working_dtype(arrays)
    operands: list[Any] = []
    for side in (instruction.left, instruction.right):
        array = arrays[side.tensor]
        operands += [array if array.dtype.kind in "fc" else array.astype(dtype), [names.index(s) for s in side.slots]]
    result: Array = np.einsum(*operands, [names.index(a) for a in axes], optimize=True)
    return result
