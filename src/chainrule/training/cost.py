"""Why backpropagation: every derivative in one backward pass, against one difference quotient a weight.

    one backward pass      a forward pass and the backward pass behind it: some three times a forward pass
    difference quotients   (E(w + h) - E(w - h)) / 2h: two forward passes for each of the weights

Operations are counted from the instructions (kernels/work.py), times are measured in the interpreter on the user's own
data. What would take longer than a moment is extrapolated from one forward pass, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.derivation.checked import aligned, wrapped
from chainrule.errors import FormulaError
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import Symbol
from chainrule.formula.system import Update
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.program.interpret import run
from chainrule.program.lower import lower_prediction, lower_training

if TYPE_CHECKING:
    from chainrule.training.network import Network

MEASURED_SECONDS = 2.0  # difference quotients that take no longer are all computed
REPEATS, REPEAT_SECONDS = 9, 0.5
STEP = 1e-3  # of a difference quotient whose value nobody looks at
UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


@dataclass(frozen=True, repr=False)
class Cost:
    """What all derivatives of a batch's loss cost both ways. `print` it; `measured` is False where the time of the
    difference quotients is that of one forward pass times their number.
    """

    of: str
    weights: int
    samples: int
    forward_flops: float
    backward_flops: float
    forward_seconds: float
    backward_seconds: float
    quotient_seconds: float
    measured: bool

    @property
    def passes(self) -> int:
        """Forward passes of the difference quotients: two for each weight."""
        return 2 * self.weights

    @property
    def quotient_flops(self) -> float:
        return self.passes * self.forward_flops

    @property
    def flops_ratio(self) -> float:
        """How many times the operations of one backward pass the difference quotients take."""
        return self.quotient_flops / max(self.backward_flops, 1.0)

    @property
    def time_ratio(self) -> float:
        return self.quotient_seconds / self.backward_seconds

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, for JSON."""
        names = (
            "of",
            "weights",
            "samples",
            "passes",
            "forward_flops",
            "backward_flops",
            "quotient_flops",
            "flops_ratio",
        )
        times = ("forward_seconds", "backward_seconds", "quotient_seconds", "measured", "time_ratio")
        return {name: getattr(self, name) for name in (*names, *times)}

    def __repr__(self) -> str:
        return str(self)  # what an interactive session shows

    def __str__(self) -> str:
        how = say("check.cost_measured") if self.measured else say("check.cost_extrapolated")
        rows = [
            [say(f"check.cost_{name}") for name in ("way", "passes", "flops", "time", "how")],
            [say("check.cost_forward"), "1", _count(self.forward_flops), seconds_text(self.forward_seconds),
             say("check.cost_measured")],
            [say("check.cost_backward"), "1 + 1", _count(self.backward_flops), seconds_text(self.backward_seconds),
             say("check.cost_measured")],
            [say("check.cost_quotients"), f"{self.passes:,}", _count(self.quotient_flops),
             seconds_text(self.quotient_seconds), how],
        ]  # fmt: skip
        head = say("check.cost_head", loss=self.of, weights=f"{self.weights:,}", samples=f"{self.samples:,}")
        end = say(
            "check.cost_end", weights=f"{self.weights:,}", flops=_times(self.flops_ratio), time=_times(self.time_ratio)
        )
        return "\n".join([head, "", *aligned(rows, left=(0, 4)), "", wrapped(end)])


def cost_of(network: Network, arrays: Mapping[str, Array]) -> Cost:
    """Count and measure both ways on a batch.

    Raises: FormulaError where there is no parameter or no loss.
    """
    from chainrule.kernels.work import Sizes, flops_of

    if not network.system.parameters:
        raise FormulaError(say("check.no_parameters"))
    gradient = Update(Symbol("w"), Symbol("g"))
    backward = lower_training(network.derivation, network.system.with_(updates=()), (gradient,))
    forward = lower_prediction(network.system.with_(output=None), loss=True)
    point = network.point(arrays)
    cast = {n: a if a.dtype.kind == "i" else a.astype(network.dtype) for n, a in point.arrays.items()}
    sizes = Sizes(point.sizes, np.dtype(network.dtype).itemsize)

    def runs(program: Program) -> Callable[[], object]:
        hyper = network.hyper_values(program, {})
        return lambda: run(program, cast, point.sizes, hyper)

    forward_seconds, backward_seconds = seconds_of(runs(forward)), seconds_of(runs(backward))
    weights = sum(cast[p.name].size for p in network.system.parameters)
    estimated = 2 * weights * forward_seconds
    measured = estimated <= MEASURED_SECONDS
    return Cost(
        of=network.system.loss or "",
        weights=weights,
        samples=point.sizes[network.system.samples],
        forward_flops=flops_of(forward.forward, sizes),
        backward_flops=flops_of([*backward.forward, *backward.backward], sizes),
        forward_seconds=forward_seconds,
        backward_seconds=backward_seconds,
        quotient_seconds=_quotient_seconds(network, cast, runs(forward)) if measured else estimated,
        measured=measured,
    )


def seconds_of(work: Callable[[], object]) -> float:
    """The median time of some runs, the first left out."""
    work()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < REPEATS and (not times or time.perf_counter() - begin < REPEAT_SECONDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _quotient_seconds(network: Network, arrays: Mapping[str, Array], forward: Callable[[], object]) -> float:
    """The time of two forward passes for every weight, each with that weight moved."""
    start = time.perf_counter()
    for parameter in network.system.parameters:
        array = arrays[parameter.name]
        for position in np.ndindex(array.shape):
            before = array[position]
            for moved in (before + STEP, before - STEP):
                array[position] = moved
                forward()
            array[position] = before
    return time.perf_counter() - start


def seconds_text(seconds: float) -> str:
    """A time with three digits and its unit: 4.12 ms, 3.21 h."""
    scale, unit = next(((s, u) for s, u in UNITS if seconds >= s), UNITS[-1])
    return f"{seconds / scale:.3g} {unit}" if seconds / scale < 999.5 else f"{seconds / scale:,.0f} {unit}"


def _count(flops: float) -> str:
    for scale, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if flops >= scale:
            return f"{flops / scale:,.3g} {letter}" if flops / scale < 999.5 else f"{flops / scale:,.0f} {letter}"
    return f"{flops:.0f}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
