"""What a row means: its formula read by the parser and computed by the slow evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from chainrule.formula.evaluate import evaluate, run_system
from chainrule.formula.expr import Expr, Symbol
from chainrule.formula.parse import Vocabulary, parse_expression, parse_system
from chainrule.formula.system import System, Tensor
from chainrule.library import INITIALIZERS, Activation, Loss, Metric

Array = np.ndarray[Any, Any]

# The imaginary step is far below rounding, so that f(x + ih) has f'(x) exact to the last digits.
COMPLEX_STEP = 1e-30


def system_of(text: str) -> System:
    """A formula text, with the library's initializers known."""
    return parse_system(text, Vocabulary(initializers=frozenset(INITIALIZERS)))


def activation_value(row: Activation, a: Array, **scalars: float) -> Array:
    """The activation of a (N,) or, for one with an index, of a (N, K)."""
    axes = ("n",) if row.index is None else ("n", row.index)
    expr = parse_expression(row.formula, {"a": Tensor("a", "input", axes)})
    return evaluate(expr, {"a": a}, axes, sizes=sizes_of(axes, a), scalars={**row.defaults, **scalars})


def loss_value(row: Loss, t: Array, p: Array, **scalars: float) -> Array:
    """E of each sample: t (N, K) or labels (N,), p (N, K) → (N,)."""
    system = system_of(f"input p[k]\n{row.target}\n{row.formula}")
    name = next(tensor.name for tensor in system.of_role("target", "label"))
    values = run_system(system, {"p": p, name: t}, sizes_of(("n", "k"), p), {**row.defaults, **scalars})
    return values["E"]


def loss_gradient(row: Loss, t: Array, p: Array, **scalars: float) -> Array:
    """∂E/∂p by the complex step, (N, K)."""
    gradient = np.empty(p.shape)
    for k in range(p.shape[1]):
        moved = p.astype(np.complex128)
        moved[:, k] += 1j * COMPLEX_STEP
        gradient[:, k] = np.imag(loss_value(row, t, moved, **scalars)) / COMPLEX_STEP
    return gradient


def metric_value(row: Metric, t: Array, p: Array, **scalars: float) -> Array:
    """A metric of one line, of each sample: t (N, K) or labels (N,), p (N, K) → (N,)."""
    return _metric_lines(row, {"M": row.formula}, t, p, scalars)["M"]


def metric_total(row: Metric, t: Array, p: Array, **scalars: float) -> float:
    """The metric of all samples: t (N, K) or labels (N,), p (N, K)."""
    if not row.value:
        return float(metric_value(row, t, p, **scalars).mean())
    lines = {name.strip(): text for name, text in (line.split("=", 1) for line in row.formula.splitlines())}
    means = {name: float(a.mean()) for name, a in _metric_lines(row, lines, t, p, scalars).items()}
    return number_of(row.value, {**row.defaults, **scalars, **means})


def _metric_lines(
    row: Metric, lines: Mapping[str, str], t: Array, p: Array, scalars: Mapping[str, float]
) -> dict[str, Array]:
    text = "\n".join(f"{name} = {line}" for name, line in lines.items())
    system = system_of(f"input p[k]\n{row.target}\n{text}\noutput {next(iter(lines))}")
    target = next(tensor.name for tensor in system.of_role("target", "label"))
    values = run_system(system, {"p": p, target: t}, sizes_of(("n", "k"), p), {**row.defaults, **scalars})
    return {name: values[name] for name in lines}


def number_of(formula: str, scalars: Mapping[str, float]) -> float:
    """The value of an expression of scalars only."""
    return float(evaluate(_scalar_expression(formula), {}, scalars=scalars))


@lru_cache
def _scalar_expression(formula: str) -> Expr:
    return parse_expression(formula)


def path_of(rule: str, w: float, gradients: Sequence[float], hyper: Mapping[str, float]) -> list[float]:
    """w after each update by the lines of `rule`, one gradient an update; all state starts at 0."""
    updates = system_of(rule).updates
    values = {u.target.name: 0.0 for u in updates if isinstance(u.target, Symbol)} | {"w": w}
    path = []
    for step, gradient in enumerate(gradients, start=1):
        for update in updates:
            assert isinstance(update.target, Symbol)
            known = {**hyper, **values, "g": gradient, "step": float(step)}
            values[update.target.name] = float(evaluate(update.value, {}, scalars=known))
        path.append(values["w"])
    return path


def learn(system: System, samples: Sequence[Mapping[str, Array]], epochs: int) -> dict[str, Array]:
    """Parameters after running the system's own update lines, one sample a time, from zeros.

    `samples` hold arrays with a sample axis of length 1.
    """
    sizes = {index: length for sample in samples for index, length in sizes_in(system, sample).items()}
    parameters = {p.name: np.zeros([sizes[i] for i in p.indices]) for p in system.parameters}
    scalars = {name: float(value) for name, value in system.hyper.items()}
    for sample in [*samples] * epochs:
        known = run_system(system, {**sample, **parameters}, sizes, scalars)
        for update in system.updates:
            tensor = system.tensors[update.target.tensor]  # type: ignore[union-attr]  # the rules here name parameters
            moved = evaluate(
                update.value, {**known, **parameters}, ("n", *tensor.indices), sizes=sizes, scalars=scalars
            )
            parameters[tensor.name] = moved.mean(axis=0)
    return parameters


def sizes_in(system: System, arrays: Mapping[str, Array]) -> dict[str, int]:
    """The sizes that the arrays give to the indices of the system, and those it declares."""
    found = dict(system.sizes)
    for name, array in arrays.items():
        found |= sizes_of(system.tensors[name].indices, array)
    return found


def sizes_of(axes: Sequence[str], array: Array) -> dict[str, int]:
    return dict(zip(axes, array.shape, strict=True))
