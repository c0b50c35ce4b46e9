"""How parameters start: the rows of library/initializers.py drawn from a counter-based generator.

Parameter number k (in the order of the text) draws from Philox with the key (seed, 2**32 + k), so that one parameter's
numbers do not depend on another's shape; the orders of the epochs use the keys (seed, epoch).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from chainrule.errors import SettingError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Reduction, walk
from chainrule.formula.parse import parse_expression
from chainrule.formula.system import System, Tensor
from chainrule.library import INITIALIZERS, find
from chainrule.messages import say

PARAMETER_KEY = 2**32  # keys below are epochs


def initial_values(system: System, sizes: Mapping[str, int], seed: int, dtype: str) -> dict[str, Array]:
    """Every parameter and declared state, by name, as a fresh array."""
    values = {}
    for number, tensor in enumerate(system.of_role("parameter", "state")):
        shape = tuple(sizes[i] for i in tensor.indices)
        values[tensor.name] = _draw(system, tensor, number, shape, sizes, seed).astype(dtype)
    return values


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
    """("uniform", low, high), ("normal", mean, standard deviation) or ("constant", value, value) of a parameter."""
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
    return np.asarray(generator.uniform(low, high, shape) if kind == "uniform" else generator.normal(low, high, shape))


def initial_sources(system: System, size_names: Mapping[str, str]) -> dict[str, str]:
    """Each parameter's start as NumPy source in `rng` and the names of the sizes, for the printed program.

    Example:
    >>> from chainrule.training.network import formula
    >>> net = formula("input x[i]\\nparameter w[i, j] = he_normal\\ny[j] = sum[i](x[i]*w[i, j])")
    >>> initial_sources(net.system, {"i": "I", "j": "J"})
    {'w': 'rng.normal(0, np.sqrt(2/I), (I, J))'}
    """
    return {t.name: _source(system, t, size_names) for t in system.of_role("parameter", "state")}


def _source(system: System, tensor: Tensor, size_names: Mapping[str, str]) -> str:
    shape = (
        "("
        + "".join(f"{size_names[i]}, " for i in tensor.indices).removesuffix(" " if len(tensor.indices) == 1 else ", ")
        + ")"
    )
    initial = tensor.initial
    if initial is not None and initial.values is not None:
        values = str(initial.values).replace("(", "[").replace(")", "]").replace(",]", "]")
        return f"np.array({values})" if isinstance(initial.values, tuple) else f"np.full({shape}, {values})"
    if initial is None or initial.name is None:
        return f"np.zeros({shape})"
    row = find(INITIALIZERS, initial.name)
    summed = _summed_positions(system, tensor.name)
    fan_in = "*".join(size_names[i] for p, i in enumerate(tensor.indices) if p in summed) or "1"
    fan_out = "*".join(size_names[i] for p, i in enumerate(tensor.indices) if p not in summed) or "1"
    words = {"sqrt": "np.sqrt", "fan_in": fan_in, "fan_out": fan_out}
    words |= {
        name: repr(value)
        for name, value in {**row.defaults, **dict(zip(row.defaults, initial.arguments, strict=False))}.items()
    }
    low, high = (re.sub(r"[^\W\d]\w*", lambda m: words.get(m[0], m[0]), text) for text in row.bounds)
    if row.distribution == "constant":
        return f"np.zeros({shape})" if low in ("0", "0.0") else f"np.full({shape}, {low})"
    return f"rng.{row.distribution}({low}, {high}, {shape})"
