"""Wrong derivatives of random networks: a node of the right one, picked at random, is changed as a person might.

The operators here know nothing of the table in derivation/claims/edits.py: they work on any node and any place. A
mutant that has the value of the original (at data of its own) is none, and is not handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from chainrule.derivation.adjoint import Derivation
from chainrule.formula.evaluate import evaluate, run_system
from chainrule.formula.expr import (
    Add,
    Apply,
    Compare,
    Element,
    Expr,
    Mul,
    Number,
    Power,
    Reduction,
    Size,
    Where,
    base_index,
    children,
    free_indices,
    index_names,
)
from chainrule.formula.text import Printer

Rng = np.random.Generator
FUNCTIONS = ("relu", "sigmoid", "tanh", "exp", "softplus", "sin", "cos", "step")


@dataclass(frozen=True)
class Mutant:
    text: str
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """A derivation, and the names and indices that a mutation may bring in."""

    derivation: Derivation

    @property
    def tensors(self) -> dict[str, tuple[str, ...]]:
        found = {t.name: t.indices for t in self.derivation.system.tensors.values()}
        return found | {a.equation.target.tensor: a.equation.target.slots for a in self.derivation.adjoints}

    @property
    def samples(self) -> str:
        return self.derivation.system.samples


def build(node: Expr, parts: list[Expr]) -> Expr:
    """The node over other parts, as it is: nothing is tidied."""
    match node:
        case Add():
            return Add(tuple(parts)) if len(parts) > 1 else parts[0]
        case Mul():
            return Mul(tuple(parts)) if len(parts) > 1 else parts[0]
        case Power():
            return Power(*parts)
        case Apply(function, _):
            return Apply(function, tuple(parts))
        case Compare(operator, _, _):
            return Compare(operator, *parts)
        case Where():
            return Where(*parts)
        case Reduction(kind, indices, _):
            return Reduction(kind, indices, parts[0])
    return node


def places(expr: Expr, scope: tuple[str, ...]) -> Iterator[tuple[Expr, tuple[str, ...], Callable[[Expr], Expr]]]:
    """Every node, the indices in scope there, and how to put another in its place."""
    yield expr, scope, lambda new: new
    inner = (*scope, *expr.indices) if isinstance(expr, Reduction) else scope
    parts = list(children(expr))
    for n, part in enumerate(parts):
        for node, seen, put in places(part, inner):

            def put_deeper(new: Expr, n: int = n, put: Callable[[Expr], Expr] = put) -> Expr:
                return build(expr, [put(new) if m == n else p for m, p in enumerate(parts)])

            yield node, seen, put_deeper


# --- operators: each gives another node, or None where it has nothing to do -------------------------------------------


def negate(node, scope, scene, rng):
    return Mul((Number(Fraction(-1)), node)) if isinstance(node, Element | Add | Apply | Power) else None


def drop(node, scope, scene, rng):
    if not isinstance(node, Add | Mul):
        return None
    parts = list(children(node))
    del parts[rng.integers(len(parts))]
    return build(node, parts)


def repeat(node, scope, scene, rng):
    if not isinstance(node, Mul):
        return None
    factor = node.factors[rng.integers(len(node.factors))]
    match factor:
        case Power(base, Number(value)):
            again: Expr = Power(base, Number(2 * value))
        case _:
            again = Power(factor, Number(Fraction(2)))
    return Mul(tuple(again if f is factor else f for f in node.factors))


def another_index(node, scope, scene, rng):
    places = [n for n, s in enumerate(getattr(node, "slots", ())) if s != scene.samples]
    others = [i for i in scope if i != scene.samples]
    if not isinstance(node, Element) or not places or not others:
        return None
    place = places[rng.integers(len(places))]
    return Element(node.tensor, (*node.slots[:place], str(rng.choice(others)), *node.slots[place + 1 :]))


def swap_indices(node, scope, scene, rng):
    places = [n for n, s in enumerate(getattr(node, "slots", ())) if s != scene.samples]
    if not isinstance(node, Element) or len(places) < 2:
        return None
    a, b = rng.choice(places, 2, replace=False)
    slots = list(node.slots)
    slots[a], slots[b] = slots[b], slots[a]
    return Element(node.tensor, tuple(slots))


def another_tensor(node, scope, scene, rng):
    if not isinstance(node, Element):
        return None
    own = [s for s in node.slots if s != scene.samples]
    fitting = [
        (name, indices)
        for name, indices in scene.tensors.items()
        if len([i for i in indices if i != scene.samples]) == len(own) and name != node.tensor
    ]
    if not fitting:
        return None
    name, indices = fitting[rng.integers(len(fitting))]
    return Element(name, (scene.samples, *own) if scene.samples in indices else tuple(own))


def another_number(node, scope, scene, rng):
    if not isinstance(node, Number):
        return None
    return Number(Fraction(rng.choice([-1, 2, 3])) * node.value + int(rng.integers(0, 2)))


def another_power(node, scope, scene, rng):
    match node:
        case Power(base, Number(value)):
            return Power(base, Number(value + int(rng.choice([-1, 1])))) if value + 1 else base
        case Element() | Apply():
            return Power(node, Number(Fraction(int(rng.choice([2, -1])))))
    return None


def forget_sum(node, scope, scene, rng):
    return node.body if isinstance(node, Reduction) else None


def forget_size(node, scope, scene, rng):
    sizes = [f for f in getattr(node, "factors", ()) if isinstance(f, Power) and isinstance(f.base, Size)]
    return build(node, [f for f in node.factors if f is not sizes[0]]) if sizes else None


def add_factor(node, scope, scene, rng):
    if not isinstance(node, Mul | Element | Reduction | Apply):
        return None
    fitting = [
        Element(name, tuple(i if i in scope else "" for i in indices))
        for name, indices in scene.tensors.items()
        if all(i in scope for i in indices)
    ]
    return Mul((node, fitting[rng.integers(len(fitting))])) if fitting else None


def add_size(node, scope, scene, rng):
    index = base_index(str(rng.choice(scope or ("n",))))
    return (
        Mul((node, Power(Size(index), Number(Fraction(int(rng.choice([1, -1]))))))) if isinstance(node, Mul) else None
    )


def another_function(node, scope, scene, rng):
    if not isinstance(node, Apply) or len(node.arguments) != 1:
        return None
    return Apply(str(rng.choice([f for f in FUNCTIONS if f != node.function])), node.arguments)


def turn_comparison(node, scope, scene, rng):
    if not isinstance(node, Compare):
        return None
    return Compare({"<": ">=", ">": "<=", "<=": ">", ">=": "<", "==": "!=", "!=": "=="}[node.operator], *children(node))


def add_term(node, scope, scene, rng):
    fitting = [n for n, own in scene.tensors.items() if own and all(i in scope for i in own)]
    if not isinstance(node, Mul | Add) or not fitting:
        return None
    name = str(rng.choice(fitting))
    return Add((node, Element(name, tuple(scene.tensors[name]))))


OPERATORS = (
    negate,
    drop,
    drop,
    repeat,
    another_index,
    swap_indices,
    another_tensor,
    another_number,
    another_power,
    forget_sum,
    forget_size,
    add_factor,
    add_size,
    another_function,
    turn_comparison,
    add_term,
)


def mutated(expr: Expr, scope: tuple[str, ...], scene: Scene, rng: Rng) -> tuple[Expr, str] | None:
    """One operator at one place, both by chance; None where it does not fit."""
    operator = OPERATORS[rng.integers(len(OPERATORS))]
    found = []
    for node, seen, put in places(expr, scope):
        new = operator(node, seen, scene, rng)
        if new is not None:
            found.append(put(new))
    return (found[rng.integers(len(found))], operator.__name__) if found else None


def mutants(
    derivation: Derivation, count: int, rng: Rng, sizes: dict[str, int], data: dict[str, np.ndarray], twice: float = 0.2
) -> Iterator[Mutant]:
    """Wrong gradients and δ's, as texts; a share of them wrong in two places."""
    scene = Scene(derivation)
    printer = Printer(scene.samples)
    targets = [a.equation for a in derivation.adjoints if a.steps and not a.inlined and index_names(a.equation.value)]
    arrays = numbers(derivation, sizes, data, rng)
    everything = {**sizes, scene.samples: len(next(iter(data.values())))}
    made = 0
    for _ in range(count * 40):
        equation = targets[rng.integers(len(targets))]
        scope = tuple(map(str, equation.target.slots))
        expr, names = equation.value, []
        for _ in range(2 if rng.random() < twice else 1):
            found = mutated(expr, scope, scene, rng)
            if found is not None:
                expr, name = found
                names.append(name)
        if not names or same_value(expr, equation.value, scope, arrays, everything, derivation):
            continue
        if scene.samples not in scope and is_of_one_sample(expr, equation, arrays, everything, derivation):
            continue
        yield Mutant(f"{printer.text(equation.target)} = {printer.text(expr)}", tuple(names))
        made += 1
        if made == count:
            return


def numbers(derivation, sizes, data, rng):
    """Every quantity at data of the test's own."""
    system = derivation.system
    arrays = dict(data)
    for p in system.parameters:
        arrays[p.name] = rng.normal(0, 0.6, [sizes[i] for i in p.indices])
    everything = {**sizes, system.samples: len(next(iter(data.values())))}
    scalars = {n: float(v) for n, v in system.hyper.items()}
    arrays = dict(run_system(system, arrays, everything, scalars))
    for a in derivation.adjoints:
        arrays[a.equation.target.tensor] = evaluate(
            a.equation.value,
            arrays,
            tuple(map(str, a.equation.target.slots)),
            sizes=primed(a.equation.value, everything),
            scalars=scalars,
        )
    return arrays


def primed(expr, sizes):
    return {**sizes, **{i: sizes[base_index(i)] for i in index_names(expr) if base_index(i) in sizes}}


def same_value(expr, original, scope, arrays, sizes, derivation) -> bool:
    """Whether a mutant has the original's value (or none that can be compared: not finite at any entry)."""
    scalars = {n: float(v) for n, v in derivation.system.hyper.items()}
    if free_indices(expr) - set(scope) - {derivation.system.samples}:
        return False  # an index that nothing sums: wrong by its form
    axes = tuple(dict.fromkeys((*scope, *(i for i in (derivation.system.samples,) if i in free_indices(expr)))))
    try:
        new = evaluate(expr, arrays, axes, sizes=primed(expr, sizes), scalars=scalars)
    except (ValueError, IndexError, KeyError):
        return False  # sizes that do not fit: wrong by its form
    old = evaluate(original, arrays, axes, sizes=primed(original, sizes), scalars=scalars)
    if new.shape != old.shape:
        return False
    seen = np.isfinite(new) & np.isfinite(old)
    if not seen.any():
        return True
    return bool(np.all(np.abs(new - old)[seen] <= 1e-6 * (np.abs(old[seen]) + np.abs(new[seen])) + 1e-12))


def is_of_one_sample(expr, equation, arrays, sizes, derivation) -> bool:
    """Whether what lost its sum over n is the gradient of each sample's own loss: that is another right claim."""
    system, samples = derivation.system, derivation.system.samples
    if free_indices(expr) - set(map(str, equation.target.slots)) != {samples}:
        return False
    axes = tuple(map(str, equation.target.slots))
    scalars = {n: float(v) for n, v in system.hyper.items()}
    try:
        claimed = evaluate(expr, arrays, (samples, *axes), sizes=primed(expr, sizes), scalars=scalars)
    except (ValueError, IndexError, KeyError):
        return False
    own = {n: own for n, own in Scene(derivation).tensors.items() if n in arrays}
    for row in range(sizes[samples]):
        alone = {n: a[row : row + 1] if own[n][:1] == (samples,) else a for n, a in arrays.items() if n in own}
        true = evaluate(
            equation.value, alone, axes, sizes=primed(equation.value, {**sizes, samples: 1}), scalars=scalars
        )
        if claimed[row].shape != true.shape or not np.allclose(claimed[row], true, rtol=1e-6, atol=1e-12):
            return False
    return True
