"""How parameters start: the rows of library/initializers.py drawn from a counter-based generator.

Parameter number k (in the order of the text) draws from Philox with the key (seed, 2**32 + k), so that one parameter's
numbers do not depend on another's shape; the orders of the epochs use the keys (seed, epoch).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from chainrule.errors import DataError, SettingError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Expr, Reduction, Size, mul, number, replace_symbols, walk
from chainrule.formula.parse import parse_expression
from chainrule.formula.system import System, Tensor
from chainrule.library import INITIALIZERS, find
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.program.write import Start

PARAMETER_KEY = 2**32  # keys below are epochs


def initial_values(
    system: System, sizes: Mapping[str, int], seed: int, dtype: str, given: Collection[str] = ()
) -> dict[str, Array]:
    """Every parameter and declared state but those that are given, by name, as a fresh array."""
    values = {}
    for position, tensor in enumerate(system.of_role("parameter", "state")):
        if tensor.name in given:
            continue
        shape = tuple(sizes[i] for i in tensor.indices)
        values[tensor.name] = _draw(system, tensor, position, shape, sizes, seed).astype(dtype)
    return values


def starting_state(
    program: Program, kept: Mapping[str, Array], sizes: Mapping[str, int], dtype: str
) -> dict[str, Array]:
    """Parameters and states that a step changes: those that are kept, and states of an update rule that begin at 0.

    Raises: DataError for one of another shape, which a compiled step would read beyond its end.
    """
    found = {}
    for tensor in program.kept:
        wanted = tuple(sizes[i] for i in tensor.indices)
        array = kept[tensor.name] if tensor.name in kept else np.zeros(wanted, dtype)
        if array.shape != wanted:
            raise DataError(say("training.wrong_shape", name=tensor.name, came=array.shape, wanted=wanted))
        found[tensor.name] = array
    return found


def fans(system: System, tensor: Tensor, sizes: Mapping[str, int]) -> tuple[int, int]:
    """(fan_in, fan_out): the product of the sizes that are summed over where the parameter is used, and of the others.

    A convention by usage, as formulas have no input side: w[j, i] summed over i has fan_in size(i).
    """
    summed = _summed_positions(system, tensor.name)
    fan_in = fan_out = 1
    for position, index in enumerate(tensor.indices):
        if position in summed:
            fan_in *= sizes[index]
        else:
            fan_out *= sizes[index]
    return fan_in, fan_out


def _summed_positions(system: System, name: str) -> set[int]:
    for equation in system.equations:
        for node in walk(equation.value):
            if isinstance(node, Reduction) and node.kind == "sum":
                for inner in walk(node.body):
                    if isinstance(inner, Element) and inner.tensor == name:
                        return {p for p, slot in enumerate(inner.slots) if slot in node.indices}
    return set()


def distribution(system: System, tensor: Tensor, sizes: Mapping[str, int]) -> tuple[str, float, float]:
    """A parameter's distribution and its two numbers, as a row of INITIALIZERS has them: ("uniform", low, high), …"""
    initial = tensor.initial
    if initial is None or initial.name is None:
        raise SettingError(say("training.no_initial", name=tensor.name))
    row = find(INITIALIZERS, initial.name)
    names = list(row.defaults)
    if len(initial.arguments) > len(names):
        raise SettingError(say("training.initial_arguments", name=row.name, wanted=", ".join(names) or "–"))
    fan_in, fan_out = fans(system, tensor, sizes)
    scalars = {"fan_in": float(fan_in), "fan_out": float(fan_out), **row.defaults}
    scalars |= dict(zip(names, initial.arguments, strict=False))
    low, high = (float(evaluate(parse_expression(text, {}), {}, scalars=scalars)) for text in row.bounds)
    if not math.isfinite(high - low):
        raise SettingError(say("training.initial_too_large", name=tensor.name, initializer=row.name))
    if row.distribution in ("normal", "truncated_normal") and high < 0:
        raise SettingError(say("training.initial_deviation", name=tensor.name, initializer=row.name, came=f"{high:g}"))
    return row.distribution, low, high


def _draw(
    system: System, tensor: Tensor, number: int, shape: tuple[int, ...], sizes: Mapping[str, int], seed: int
) -> Array:
    initial = tensor.initial
    if initial is not None and initial.values is not None:
        return np.array(np.broadcast_to(np.asarray(initial.values, dtype=np.float64), shape))
    kind, low, high = distribution(system, tensor, sizes)
    if kind == "constant":
        return np.full(shape, low)
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, PARAMETER_KEY + number], dtype=np.uint64)))
    match kind:
        case "uniform":
            return np.asarray(generator.uniform(low, high, shape))
        case "normal":
            return np.asarray(generator.normal(low, high, shape))
        case "truncated_normal":
            return truncated_normal(generator, low, high, shape)
    if len(shape) < 2:
        raise SettingError(say("library.needs_matrix", name=tensor.name, initializer=kind))
    return identity(low, high, shape) if kind == "identity" else orthogonal(generator, high, shape)


def truncated_normal(generator: np.random.Generator, mean: float, deviation: float, shape: tuple[int, ...]) -> Array:
    """Normal numbers; those more than two standard deviations from the mean, one in 22, are drawn again."""
    drawn = np.asarray(generator.normal(size=shape))
    while (far := np.abs(drawn) > 2).any():
        drawn[far] = generator.normal(size=np.count_nonzero(far))
    return mean + deviation * drawn


def identity(low: float, high: float, shape: tuple[int, ...]) -> Array:
    """`high` where row and column are equal, `low` elsewhere; all indices but the last count as the row."""
    eye = np.eye(math.prod(shape[:-1]), shape[-1])
    return (low + (high - low) * eye).reshape(shape)


def orthogonal(generator: np.random.Generator, gain: float, shape: tuple[int, ...]) -> Array:
    """A random matrix with orthonormal columns, or rows where they are fewer; all indices but the last are the row.

    The signs make it uniform over the orthogonal matrices (Mezzadri, 2007).
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, triangle = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(triangle))
    return gain * (q if rows >= columns else q.T).reshape(shape)


def starts(system: System) -> dict[str, Start]:
    """How each parameter starts, as formulas of the sizes: for the printed program.

    Example:
    >>> from chainrule.formula.text import Printer
    >>> from chainrule.training.network import formula
    >>> net = formula("input x[i]\\nparameter w[i, j] = he_normal\\ny[j] = sum[i](x[i]*w[i, j])")
    >>> Printer().text(starts(net.system)["w"].high)
    'sqrt(2/size(i))'
    """
    found = {}
    for tensor in system.of_role("parameter", "state"):
        initial = tensor.initial
        if initial is None or initial.name is None:
            continue
        row = find(INITIALIZERS, initial.name)
        summed = _summed_positions(system, tensor.name)
        sizes = [(Size(i), p in summed) for p, i in enumerate(tensor.indices)]
        arguments = {**row.defaults, **dict(zip(row.defaults, initial.arguments, strict=False))}
        words: dict[str, Expr] = {name: number(str(value)) for name, value in arguments.items()}
        words["fan_in"] = mul(*(size for size, is_summed in sizes if is_summed))
        words["fan_out"] = mul(*(size for size, is_summed in sizes if not is_summed))
        low, high = (replace_symbols(parse_expression(text, {}), words) for text in row.bounds)
        found[tensor.name] = Start(row.distribution, low, high)
    return found
