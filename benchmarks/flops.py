"""What a network needs at least, counted from its formulas.

A contraction is a sum over a product of factors with different indices. Forward it takes two operations for each
combination of its indices, and the same again for each factor whose gradient the parameters need. What is done element
by element (activations, losses, updates) is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import chainrule as cr
from benchmarks.cases import Case
from chainrule.formula.expr import Expr, Mul, Reduction, free_indices, tensors, walk
from chainrule.formula.system import System

PREDICTED_ROWS = 10_000


@cache
def flops_per_sample(text: str, *, backward: bool = True) -> int:
    """The operations of one sample in a network whose sizes its text says.

    >>> from benchmarks.cases import CASES
    >>> flops_per_sample(CASES["A"].formula, backward=False) == 2 * (784 * 512 + 512 * 10)
    True
    """
    system = cr.formula(text).system
    return sum(
        2 * _combinations(sum_node, system) * (1 + (_gradients(sum_node, system) if backward else 0))
        for sum_node in _contractions(system)
    )


def weight_bytes(text: str) -> int:
    """The bytes of all parameters as float32."""
    system = cr.formula(text).system
    return sum(4 * math.prod(system.sizes[index] for index in tensor.indices) for tensor in system.parameters)


def floor_seconds(case: Case, limits: Mapping[str, float]) -> float | None:
    """The least time of what the case measures, by the limits that floor.measure found; None for a whole process.

    One row is bound by reading every weight once, on one core; the rest by multiply-adds on all cores.
    """
    if case.measure == "row":
        return weight_bytes(case.formula) / limits["read"]
    if case.measure == "rows":
        return PREDICTED_ROWS * flops_per_sample(case.formula, backward=False) / limits["flops_all"]
    if case.measure == "step":
        return case.rows / case.steps * flops_per_sample(case.formula) / limits["flops_all"]
    return None


def _contractions(system: System) -> set[Reduction]:
    """Each once, however often an equation names it (as x·tanh(softplus(x)) names its x)."""
    nodes = (node for equation in system.equations for node in walk(equation.value))
    sums = (node for node in nodes if isinstance(node, Reduction) and node.kind == "sum")
    return {node for node in sums if len(set(map(free_indices, _factors(node)))) > 1}


def _factors(node: Reduction) -> list[Expr]:
    """The factors with indices."""
    factors = node.body.factors if isinstance(node.body, Mul) else (node.body,)
    return [factor for factor in factors if free_indices(factor)]


def _combinations(node: Reduction, system: System) -> int:
    return math.prod(system.sizes[index] for index in free_indices(node.body) if index != system.samples)


def _gradients(node: Reduction, system: System) -> int:
    """How many factors depend on a parameter."""
    parameters = {tensor.name for tensor in system.parameters}
    return sum(any(system.depends_on(name) & parameters for name in tensors(factor)) for factor in _factors(node))
