"""Help with wrong use: quick looks at formulas and data before a training and after its first epoch.

What cannot work is an error, what hardly works a warning; each is one line that names the fix. The looks are at
formulas and numbers, never at the names of layers, and at some sixty rows: a few milliseconds for MNIST's digits.

    unscaled         numbers of 10 and more meet the weights
    constant         the target has one value only
    one class        a softmax over an index of size 1 is always 1
    shares           a softmax sums to 1, and its targets do not
    binary           a softmax with log(1 - p), the loss of independent answers
    twice            a softmax, and the loss takes the softmax of it
    log(p)           the loss takes the logarithm of what can be negative, or above 1 beside log(1 - p)
    sums             the loss takes log(p) of the right class, and p does not sum to 1 over the classes
    0 to 1           log(p) and log(1 - p) want targets from 0 to 1 (an error: the loss has no least value)
    no descent       after the first epoch the loss is larger than before, or the very same
    dead             units that are 0 for every row
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.sparse import rows_at_once
from chainrule.errors import DataError, warn
from chainrule.formula.evaluate import Array, evaluate, run_equations
from chainrule.formula.expr import (
    Apply,
    Compare,
    Element,
    Expr,
    Mul,
    Normalized,
    Symbol,
    Where,
    free_indices,
    mul,
    tensors,
    transform,
    walk,
)
from chainrule.formula.system import Equation, System, Tensor
from chainrule.messages import say
from chainrule.training.targets import SAMPLE_ROWS, target_kind, target_of

if TYPE_CHECKING:
    from chainrule.program.instructions import Program
    from chainrule.training.network import Network

ROWS = 64  # of a look: 25 million multiplications for a layer of 784 × 512
WORK = 2e8  # multiplications of a look at most: some 10 ms
FEW = 10  # with fewer rows than this, a constant target is an example, not a mistake
UNSCALED = 10.0  # mean size of the numbers that meet the weights; scaled ones have about 1
WORSE = 1.05  # the loss of some sixty rows moves by itself
OFF = 0.01  # of a sum of probabilities; float32 leaves 1e-6
DEAD = 0.5  # share of a layer's units
UNITS = 4  # of fewer units a share says little
KINKS = ("relu", "max", "min")


@dataclass(frozen=True)
class Look:
    """What a network made of some rows: their numbers, and every computed quantity."""

    rows: int
    values: Mapping[str, Array]
    loss: float | None


def check_targets(system: System, arrays: Mapping[str, Array]) -> None:
    """Raises: DataError for targets below 0 or above 1 beside log(p) and log(1 - p): such a loss has no least value."""
    for equation in system.equations:
        name = equation.target.tensor
        if name == system.loss or not system.is_sampled(name) or _logs_of(system, name) != (True, True):
            continue
        target = target_of(system, system.tensors[name])
        array = None if target is None or target.role == "label" else arrays.get(target.name)
        if target is None or array is None or (array.min() >= 0 and array.max() <= 1):
            continue
        wrong = np.argwhere((array < 0) | (array > 1))[0]
        came = f"{array[tuple(wrong)]:g}"
        raise DataError(say("advice.zero_to_one", name=name, target=target.name, came=came, row=int(wrong[0])))


def advise(network: Network, arrays: Mapping[str, Array], program: Program, *, whole: bool = True) -> list[str]:
    """What stands in the way of a training that is about to start: one line each."""
    system = network.system
    rows = len(next(iter(arrays.values()))) if arrays else 0
    if rows == 0 or not program.gradients:  # rules without a gradient, such as the perceptron's, mind no scale
        return []
    lines = [*(_constant(system, arrays, rows) if whole else ()), *_outputs(network, arrays)]
    unscaled = _unscaled(network, arrays, rows)
    return lines if unscaled is None else [*lines, unscaled]


def look(network: Network, arrays: Mapping[str, Array]) -> Look | None:
    """The prediction's equations on some sixty rows; None where they cannot be computed so."""
    system = network.system.at_prediction()
    rows = len(next(iter(arrays.values()))) if arrays else 0
    weights = sum(math.prod(a.shape) for a in network.kept.values()) + 1
    some = _sample(arrays, rows, max(8, min(ROWS, int(WORK / weights))))
    count = len(next(iter(some.values()))) if some else 0
    if count == 0:
        return None
    sizes = {**network.sizes, system.samples: count}
    values = run_equations(system.equations, {**some, **network.kept}, sizes, network.hyper)
    loss = None if system.loss is None else float(np.mean(values[system.loss]))
    return Look(count, values, loss)


class Advisor:
    """Looks at one training, before it and after the first epoch of a network; each line is a ChainruleWarning.

    `compared` says whether the loss that is looked at can be compared: no sample weights, and an epoch has updates.
    `whole` is False where these are only the first rows, whose targets may be all of one kind.
    """

    def __init__(
        self, network: Network, arrays: Mapping[str, Array], program: Program, *, compared: bool, whole: bool = True
    ):
        self.network, self.arrays = network, arrays
        # Moving averages are far behind at first.
        self.compared = compared and whole and not network.system.has_phases
        self.before: Look | None = None
        lines = advise(network, arrays, program, whole=whole)
        if program.gradients and network.epochs == 0:
            self.before = look(network, arrays)
            lines += [] if self.before is None else no_probabilities(network, arrays, self.before)
        for line in lines:
            warn(line)

    def after_epoch(self, rate: float) -> None:
        """To be called once, after the first epoch, with the learning rate."""
        if self.before is None:
            return
        now = look(self.network, self.arrays)
        assert now is not None
        for line in after_epoch(self.network, self.before, now, rate, compared=self.compared):
            warn(line)


def after_epoch(network: Network, before: Look, now: Look, rate: float, *, compared: bool = True) -> list[str]:
    """What the first epoch of a network showed: a loss that did not become less, units that are 0 for every row."""
    dead = list(_dead(network, now))
    if not compared or (dead and now.loss == before.loss):  # why the loss did not move is known then
        return dead
    return [*_no_descent(network, before, now, rate), *dead]


# --- before the training ----------------------------------------------------------------------------------------------


def _constant(system: System, arrays: Mapping[str, Array], rows: int) -> Iterable[str]:
    for tensor in system.of_role("target", "label"):
        target = arrays.get(tensor.name)
        if target is None or rows < FEW:
            continue
        first = np.asarray(target[0])
        if bool((np.asarray(target[:SAMPLE_ROWS]) == first).all()) and bool((np.asarray(target) == first).all()):
            yield say("advice.constant", name=tensor.name, rows=rows)


def _outputs(network: Network, arrays: Mapping[str, Array]) -> Iterable[str]:
    """The output's activation beside the loss and the targets."""
    system, sizes = network.system, network.sizes
    for equation in system.equations:
        name, value = equation.target.tensor, equation.value
        tensor = system.tensors[name]
        softmax = isinstance(value, Normalized) and value.kind == "softmax"
        if isinstance(value, Normalized) and sizes.get(value.index) == 1:
            yield say("advice.one_class", name=name, index=value.index)
            continue
        target = target_of(system, tensor) if system.is_sampled(name) and name != system.loss else None
        if target is None or target.name not in arrays:
            continue
        if softmax:
            if any(_softmax_of(e, name) for e in system.equations if e is not equation):
                yield say("advice.softmax_twice", name=name)
            falls = _logs_of(system, name)[1]
            yield from _softmax_targets(tensor, target, arrays[target.name], falls)


def _softmax_of(equation: Equation, name: str) -> bool:
    """Whether the equation has the softmax of this tensor itself, as a loss of what comes before a softmax does."""
    nodes = (n for n in walk(equation.value) if isinstance(n, Normalized))
    return any(isinstance(n.body, Element) and n.body.tensor == name for n in nodes)


def _softmax_targets(tensor: Tensor, target: Tensor, array: Array, falling: bool) -> Iterable[str]:
    kind = "one_hot" if target.role == "label" else target_kind(array)
    if kind in ("numbers", "zero_one") and array.ndim > 1:
        sums = np.asarray(array[:SAMPLE_ROWS]).sum(axis=-1)
        low, high = f"{sums.min():g}", f"{sums.max():g}"
        yield say("advice.not_shares", name=tensor.name, target=target.name, low=low, high=high)
    elif falling:
        yield say("advice.binary_softmax", name=tensor.name)


def _logs_of(system: System, name: str) -> tuple[bool, bool]:
    """Whether the loss takes a logarithm that rises with the tensor (log p), and one that falls (log(1 - p)).

    One that the whole line may go into, such as log(1 + exp(p)), does not ask for a probability.
    """
    rising = falling = False
    wanted = {t.name for t in system.of_role("target", "label")}
    for equation in system.equations:
        if not wanted & set(tensors(equation.value)):  # a logarithm elsewhere is the network's own affair
            continue
        for node in walk(equation.value):
            if _is_log(node) and tensors(node) == [name]:
                low, high = (_at(node, value) for value in (0.25, 0.75))
                if math.isfinite(_at(node, -1.0)) and math.isfinite(_at(node, 2.0)):
                    continue
                rising, falling = rising or high > low, falling or high < low
    return rising, falling


def _is_log(node: Expr) -> bool:
    return isinstance(node, Apply) and node.function in ("log", "log1p")


def _at(expr: Expr, value: float) -> float:
    """An expression with a number in the place of its one tensor; NaN where other names are in it."""
    plain = transform(expr, lambda n: Symbol("its value") if isinstance(n, Element) else n)
    try:
        return float(evaluate(plain, {}, scalars={"its value": value}))
    except ValueError:
        return math.nan


def no_probabilities(network: Network, arrays: Mapping[str, Array], now: Look) -> list[str]:
    """A line where the loss takes log(p), and p is not between 0 and 1 for some of the rows, or does not sum to 1."""
    lines = []
    system = network.system
    for equation in system.equations:
        name = equation.target.tensor
        if name not in now.values or name == system.loss or isinstance(equation.value, Normalized):
            continue
        rising, falling = _logs_of(system, name)
        if not rising:
            continue
        values = np.asarray(now.values[name])
        least, most = float(values.min()), float(values.max())
        low = least < 0 or (least == 0 and _kinked(equation))  # a sigmoid comes to 0 by rounding only
        if low or (falling and most > 1):
            lines.append(say("advice.log_of_negative", name=name, least=f"{least if low else most:.3g}"))
        elif not falling and _one_of_classes(system, system.tensors[name], arrays):
            sums = values.sum(axis=-1)
            if float(np.abs(sums - 1).max()) > OFF:
                lines.append(say("advice.sums", name=name, low=f"{sums.min():.3g}", high=f"{sums.max():.3g}"))
    return lines


def _one_of_classes(system: System, tensor: Tensor, arrays: Mapping[str, Array]) -> bool:
    """Whether the target says which one of several classes it is."""
    target = target_of(system, tensor) if system.is_sampled(tensor.name) else None
    if target is None or target.name not in arrays or len(tensor.indices) < 2:
        return False
    for equation in system.equations:  # a loss that takes p beside its logarithm, as Poisson's, bounds it so
        if target.name in tensors(equation.value):
            rest = transform(equation.value, lambda n: Symbol("log") if _is_log(n) else n)
            if tensor.name in tensors(rest):
                return False
    return target.role == "label" or target_kind(arrays[target.name]) == "one_hot"


def _unscaled(network: Network, arrays: Mapping[str, Array], rows: int) -> str | None:
    """A line where the numbers that are multiplied with the weights are far larger than 1."""
    system = network.system.at_prediction()
    parameters = {p.name for p in system.parameters}
    plain = [e for e in system.equations if not system.depends_on(e.target.tensor) & parameters]
    known = {t.name for t in system.of_role("input", "state")} | {e.target.tensor for e in plain}
    factors = list(_met_by_weights(system, parameters, known))
    if not factors:
        return None
    inputs = {t.name for t in system.of_role("input")}
    some = _sample({n: a for n, a in arrays.items() if n in inputs}, rows, ROWS)
    sizes = {**network.sizes, system.samples: len(next(iter(some.values())))}
    needed = [e for e in plain if set(tensors(e.value)) <= known]
    values = run_equations(needed, {**some, **_states(network, system)}, sizes, network.hyper)
    for factor in factors:
        axes = tuple(sorted(free_indices(factor)))
        numbers = evaluate(factor, values, axes, sizes=sizes, scalars=network.hyper)
        mean = float(np.mean(np.abs(numbers)))
        if mean > UNSCALED:
            own = next(n for n in tensors(factor) if n in inputs or system.is_sampled(n))
            key = "advice.unscaled_bytes" if own in inputs and _are_bytes(numbers) else "advice.unscaled"
            return say(key, name=own, mean=f"{mean:.3g}")
    return None


def _are_bytes(numbers: Array) -> bool:
    """Pixels, whatever their dtype: whole numbers from 0 to 255, of which some are large."""
    return bool(200 < numbers.max() <= 255 and numbers.min() >= 0 and (numbers == np.floor(numbers)).all())


def _met_by_weights(system: System, parameters: set[str], known: set[str]) -> Iterable[Expr]:
    """In products with a parameter, what is known of a sample beforehand: x[i]/255 of x[i]/255*W[i, j]."""
    for equation in system.equations:
        for node in walk(equation.value):
            if not isinstance(node, Mul):
                continue
            if any(isinstance(f, Element) and f.tensor in parameters for f in node.factors):
                rest = [f for f in node.factors if set(tensors(f)) <= known]
                # A bracket, [v == c] of a table's row, is 0 or 1, and one for each row of the table.
                if any(system.samples in free_indices(f) and not isinstance(f, Compare) for f in rest):
                    yield mul(*rest)


def _states(network: Network, system: System) -> dict[str, Array]:
    return {t.name: network.kept[t.name] for t in system.of_role("state") if t.name in network.kept}


def _sample(arrays: Mapping[str, Array], rows: int, wanted: int) -> dict[str, Array]:
    """Some rows of all arrays, evenly spread; sparse tables dense."""
    wanted = rows_at_once(arrays, min(rows, wanted))
    chosen = np.linspace(0, rows - 1, wanted).astype(np.int64)
    chosen = chosen[np.diff(chosen, prepend=-1) > 0]  # np.unique would import numpy.ma, in 15 ms
    return {name: np.asarray(array[chosen]) for name, array in arrays.items()}


# --- after the first epoch --------------------------------------------------------------------------------------------


def _no_descent(network: Network, before: Look, now: Look, rate: float) -> Iterable[str]:
    if before.loss is None or now.loss is None or rate == 0 or not before.loss > 0:
        return
    epoch, shown = network.epochs, f"{now.loss:.4g}"
    if now.loss == before.loss:
        yield say("advice.no_move", loss=shown, epoch=epoch)
    elif now.loss > WORSE * before.loss:
        smaller = say("advice.smaller", rate=f"{rate / 10:g}", came=f"{rate:g}") if rate > 0 else ""
        yield say("advice.no_descent", now=shown, before=f"{before.loss:.4g}", epoch=epoch, smaller=smaller)


def _dead(network: Network, now: Look) -> Iterable[str]:
    """Quantities with a kink, between the parameters and the output, most of whose units are 0 for every row."""
    system = network.system
    parameters = {p.name for p in system.parameters}
    for equation in system.equations:
        name = equation.target.tensor
        if name in (system.output, system.loss) or not _kinked(equation) or not system.is_sampled(name):
            continue
        values = now.values.get(name)
        if values is None or values[0].size < UNITS or not system.depends_on(name) & parameters:
            continue
        dead = (values == 0).all(axis=0)
        if dead.mean() > DEAD:
            shown = f"{int(dead.sum())}/{dead.size}"
            yield say("advice.dead", name=name, share=shown, rows=now.rows)


def _kinked(equation: Equation) -> bool:
    value = equation.value
    return isinstance(value, Where) or (isinstance(value, Apply) and value.function in KINKS)
