"""Random numbers for a system: inputs, targets, labels, parameters and states that satisfy what the text declares.

What is drawn, in float64:

    inputs, targets   in (0, 1); where a declared fact wants something else, what that fact wants: divided by its sum
                      for sum[k](t[k]) = 1, else one-hot, signs, 0 and 1, or normal numbers, whichever satisfies it
    class numbers     whole numbers below the number of classes: labels, and inputs such as c in v
    parameters        in (-1, 1), narrower for large ones, as wide sums would saturate softmax and sigmoid; in (0, 1)
                      where the loss is not finite else (a logarithm of a weight)
    states            in (0, 1), as mean squares are positive
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from chainrule.errors import DataError
from chainrule.formula.evaluate import Array, Arrays, evaluate, run_system
from chainrule.formula.expr import Element, Number, Reduction, elements, free_indices, symbols
from chainrule.formula.shapes import Sizes
from chainrule.formula.system import Fact, System, Tensor
from chainrule.formula.text import fact_text
from chainrule.messages import say

SMALLEST = 2  # an index of one value cannot tell a sum from its only term
TRIES = 20  # draws before a system is said to have no finite loss
TOLERANCE = 1e-9  # of an equation between drawn numbers

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def small_sizes(system: System, known: Mapping[str, int] | None = None) -> dict[str, int]:
    """A size for every index but the samples: what is known, what the text says, else 2, 3, 4, …, no two alike.

    Two indices that stand in one slot of a tensor get one size; x[7] makes its index long enough.
    Raises: ShapeError where the text contradicts itself.
    Example:
    >>> from chainrule.formula.parse import parse_system
    >>> small_sizes(parse_system("size j = 5\\ninput x[i]\\nparameter W[i, j], b[k]\\ny[j] = sum[i](x[i]*W[i, j])"))
    {'j': 5, 'i': 2, 'k': 3}
    """
    sizes = Sizes(system)
    for index, size in (known or {}).items():
        if index not in sizes.known:
            sizes.learn(index, size, say("check.from_draw"))
    sizes.spread()
    while missing := sizes.missing():
        index = missing[0]
        least = max(SMALLEST, _least_size(system, index))
        taken = set(sizes.known.values())
        sizes.learn(index, next(s for s in itertools.count(least) if s not in taken), say("check.from_draw"))
        sizes.spread()
    return dict(sizes.require())


def _least_size(system: System, index: str) -> int:
    """One more than the largest fixed position that stands in a slot of this index."""
    found = 0
    values = [e.value for e in system.equations] + [side for f in system.facts for side in (f.left, f.right)]
    for node in (e for value in values for e in elements(value)):
        for slot, own in zip(node.slots, system.tensors[node.tensor].indices, strict=True):
            if isinstance(slot, int) and own == index:
                found = max(found, slot + 1)
    return found


def draw_scalars(system: System, rng: np.random.Generator) -> dict[str, float]:
    """A value for every hyper-parameter: the text's own, else a number between 1/2 and 3/2."""
    values = {name: float(value) for name, value in system.hyper.items()}
    for name in dict.fromkeys(n for e in system.equations for n in symbols(e.value)):
        if name not in values:
            values[name] = float(rng.uniform(0.5, 1.5))
    return values


def draw_arrays(
    system: System,
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    samples: int,
    scalars: Mapping[str, float] | None = None,
) -> dict[str, Array]:
    """Inputs, targets, labels, parameters and states by name, each in the shape of its indices, sample axis first.

    Every declared fact holds, and every equation has finite values. `sizes` has all indices but the samples.
    Raises: DataError where no draw satisfies a fact, or none gives finite values: give data then.
    Example:
    >>> from chainrule.formula.parse import parse_system
    >>> system = parse_system("input x[i]\\ntarget t[k], sum[k](t[k]) = 1\\nparameter W[i, k]")
    >>> drawn = draw_arrays(system, {"i": 2, "k": 3}, np.random.default_rng(0), 4)
    >>> drawn["W"].shape, drawn["t"].sum(axis=1).round(12).tolist()
    ((2, 3), [1.0, 1.0, 1.0, 1.0])
    """
    everything = {**sizes, system.samples: samples}
    values = draw_scalars(system, rng) if scalars is None else dict(scalars)
    for number in range(TRIES):
        arrays = draw_data(system, everything, rng)
        for tensor in system.of_role("parameter"):
            arrays[tensor.name] = _draw_parameter(tensor, everything, rng, positive=number % 2 == 1)
        for tensor in system.of_role("state"):
            arrays[tensor.name] = rng.uniform(0, 1, _shape(tensor, everything))
        if _finite(system, arrays, everything, values):
            return arrays
    raise DataError(say("check.no_finite_draw", tries=TRIES))


def draw_data(system: System, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, Array]:
    """Inputs, targets and labels alone; `sizes` includes the samples. Raises: DataError, naming the fact."""
    arrays: dict[str, Array] = {}
    given = system.of_role("input", "target", "label")
    for tensor in (t for t in given if t.classes is not None):
        arrays[tensor.name] = rng.integers(0, sizes[str(tensor.classes)], _shape(tensor, sizes))
    given = [t for t in given if t.classes is None]
    facts = [f for f in system.facts if f.names <= {t.name for t in given} | set(arrays) and f.names]
    for group in _groups(given, facts):
        own = [f for f in facts if f.names & {t.name for t in group}]
        arrays |= _draw_group(group, own, arrays, sizes, rng)
    return arrays


def _groups(given: Sequence[Tensor], facts: Sequence[Fact]) -> list[list[Tensor]]:
    """Tensors that a fact ties together are drawn together."""
    groups: list[list[Tensor]] = []
    for tensor in given:
        tied = set().union({tensor.name}, *(f.names for f in facts if tensor.name in f.names))
        together = [g for g in groups if any(t.name in tied for t in g)]
        groups = [g for g in groups if g not in together]
        groups.append([t for g in together for t in g] + [tensor])
    return groups


def _draw_group(
    group: Sequence[Tensor],
    facts: Sequence[Fact],
    known: Arrays,
    sizes: Mapping[str, int],
    rng: np.random.Generator,
) -> dict[str, Array]:
    for kinds in itertools.product(*(list(_kinds(t, facts)) if facts else [_unit] for t in group)):
        arrays = {t.name: draw(rng, _shape(t, sizes)) for t, draw in zip(group, kinds, strict=True)}
        if all(_holds(f, {**known, **arrays}, sizes) for f in facts):
            return arrays
    samples = group[0].indices[0]
    raise DataError(say("check.no_draw", fact="; ".join(fact_text(f, samples) for f in facts)))


def _kinds(tensor: Tensor, facts: Sequence[Fact]) -> Iterator[Draw]:
    """What a tensor may be drawn as, the plainest first."""
    yield _unit
    for fact in facts:
        match fact:
            case Fact(Reduction("sum", indices, Element(name, slots)), "==", Number(total)) if name == tensor.name:
                axes = tuple(n for n, s in enumerate(slots) if s in indices)
                yield lambda rng, shape, axes=axes, total=float(total): _scaled(_unit(rng, shape), axes, total)  # type: ignore[misc]
    yield _one_hot
    yield lambda rng, shape: rng.choice([-1.0, 1.0], shape)
    yield lambda rng, shape: rng.integers(0, 2, shape).astype(np.float64)
    yield lambda rng, shape: rng.normal(size=shape)
    yield lambda rng, shape: 1 + rng.uniform(0, 1, shape)
    yield lambda rng, shape: -_unit(rng, shape)
    yield lambda rng, shape: rng.integers(1, 6, shape).astype(np.float64)


def _unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    # Away from both ends: an input of 1e-9 would leave its weight without any gradient to compare.
    return rng.uniform(0.05, 0.95, shape)


def _scaled(array: Array, axes: tuple[int, ...], total: float) -> Array:
    return np.asarray(total * array / array.sum(axis=axes, keepdims=True))


def _one_hot(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A one in the last axis."""
    if not shape:
        return np.asarray(1.0)
    return np.asarray(np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])])


def _draw_parameter(tensor: Tensor, sizes: Mapping[str, int], rng: np.random.Generator, *, positive: bool) -> Array:
    shape = _shape(tensor, sizes)
    # Glorot's bound, as 512 terms of size 1 add up to logits of 20, whose softmax has no gradient left.
    bound = min(1.0, math.sqrt(6 / max(1, sum(shape))))
    return np.asarray(rng.uniform(0.05 * bound if positive else -bound, bound, shape))


def _shape(tensor: Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[i] for i in tensor.indices)


def _holds(fact: Fact, arrays: Arrays, sizes: Mapping[str, int]) -> bool:
    axes = tuple(sorted(free_indices(fact.left) | free_indices(fact.right)))
    left, right = (evaluate(side, arrays, axes, sizes=sizes) for side in (fact.left, fact.right))
    match fact.operator:
        case "==":
            return bool(np.all(np.abs(left - right) <= TOLERANCE * (1 + np.abs(right))))
        case "<=":
            return bool(np.all(left <= right))
        case ">=":
            return bool(np.all(left >= right))
        case "<":
            return bool(np.all(left < right))
    return bool(np.all(left > right))


def _finite(system: System, arrays: Arrays, sizes: Mapping[str, int], scalars: Mapping[str, float]) -> bool:
    known = run_system(system, arrays, sizes, scalars)
    return all(bool(np.isfinite(known[e.target.tensor]).all()) for e in system.equations)
