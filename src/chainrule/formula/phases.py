"""Two kinds of statements: `random m[j] = bernoulli(q)`, what is drawn anew at every step of a training, and
`prediction h[j] = …`, the equation that holds instead where the network predicts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from chainrule.errors import NotationError, ShapeError, UnknownName
from chainrule.formula.distributions import DISTRIBUTIONS, in_range
from chainrule.formula.expr import Expr, Number, Random, Slot, elements, free_indices, index_names, tensors
from chainrule.formula.expressions import Scope, near
from chainrule.formula.source import NAME, Source
from chainrule.formula.system import Equation, System, Tensor

CALL = re.compile(rf"({NAME})\s*\((.*)\)$", re.S)


def read_random(scope: Scope, tensor: Tensor, piece: tuple[int, int], hyper: Mapping[str, Fraction]) -> Random:
    """The right side of a `random` line: a distribution with scalar arguments.

    Raises: NotationError, UnknownName, with line, column and caret.
    """
    source = scope.source
    start, end = source.strip(piece)
    call = CALL.match(source.text[start:end])
    if call is None:
        raise source.fail(NotationError, start, "random_line", known=", ".join(DISTRIBUTIONS))
    name, inside = call[1], (start + call.start(2), start + call.end(2))
    row = DISTRIBUTIONS.get(name)
    if row is None:
        raise source.fail(UnknownName, start, "unknown_distribution", name=name, near=near(name, DISTRIBUTIONS))
    pieces = source.split(*inside, ",")
    if len(pieces) != len(row.arguments) or not source.text[slice(*inside)].strip():
        raise source.fail(NotationError, start, "distribution_arguments", name=name, wanted=", ".join(row.arguments))
    arguments = tuple(scope.expression(*p) for p in pieces)
    for part, value in zip(pieces, arguments, strict=True):
        if elements(value) or index_names(value):
            raise source.fail(NotationError, source.strip(part)[0], "distribution_of_tensor", name=name)
    random = Random(name, arguments, tensor.name, tensor.indices)
    values: dict[str, Expr] = {n: Number(v) for n, v in hyper.items()}
    if not in_range(random, values):
        raise source.fail(NotationError, inside[0], "distribution_range", name=name, wanted=row.wanted)
    return random


def read_prediction(scope: Scope, name: str, offset: int, slots: Sequence[Slot], right: tuple[int, int]) -> Equation:
    """A `prediction` line: its tensor is computed, and keeps its indices.

    Raises: UnknownName, ShapeError, with line, column and caret.
    """
    source, samples = scope.source, scope.samples
    tensor = scope.tensors.get(name)
    if tensor is None or tensor.role != "computed":
        computed = [t.name for t in scope.tensors.values() if t.role == "computed"]
        raise source.fail(UnknownName, offset, "prediction_of_unknown", name=name, near=near(name, computed))
    own = tuple(i for i in tensor.indices if i != samples)
    if tuple(s for s in slots if s != samples) != own:
        example = f"{name}[{', '.join(own)}]" if own else name
        raise source.fail(ShapeError, offset, "prediction_indices", name=name, example=example)
    value = scope.expression(*right)
    loose = sorted(free_indices(value) - set(tensor.indices))
    if loose:
        left = f"{name}[{', '.join(own)}]" if own else name
        found = [o for o, token in source.tokens(*right) if token == loose[0]]
        at = found[-1] if found else source.strip(right)[0]
        raise source.fail(ShapeError, at, "silent_sum", index=loose[0], left=left)
    return Equation(tensor.element, value, source.place(offset))


def check_predictions(source: Source, system: System, offsets: Mapping[str, int]) -> None:
    """Raises: NotationError where the prediction's lines need each other, or its output the targets."""
    if not system.predictions:
        return
    equations = {e.target.tensor: e for e in (*system.equations, *system.predictions)}
    needs = {name: set(tensors(e.value)) & equations.keys() for name, e in equations.items()}
    waiting, before = dict(needs), len(needs) + 1
    while len(waiting) < before:
        before = len(waiting)
        for name in list(waiting):
            if not needs[name] & waiting.keys():
                del waiting[name]
    if waiting:
        first = next(n for n in offsets if n in waiting)
        raise source.fail(NotationError, offsets[first], "cycle", path=" → ".join(_around(first, needs, waiting)))
    if system.output is None:
        return
    given = {t.name for t in system.of_role("target", "label")}
    seen = sorted(given & system.at_prediction().depends_on(system.output) - system.depends_on(system.output))
    if seen:
        raise source.fail(NotationError, next(iter(offsets.values())), "prediction_of_target", name=seen[0])


def _around(start: str, needs: Mapping[str, set[str]], waiting: Mapping[str, object]) -> list[str]:
    """A path from one line that waits, by what each needs, until one is met again."""
    path = [start]
    while True:
        following = next(n for n in sorted(needs[path[-1]]) if n in waiting)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
