"""What runs steps: the compiled step, or the interpreter, which is its slow twin.

A Runner runs epochs on its own copy of the parameters and states. It reports the sums of the watched quantities, and
stops at a step whose loss is not finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from chainrule.data.batches import batch_bounds
from chainrule.formula.evaluate import Array
from chainrule.program.instructions import Program
from chainrule.program.interpret import keys_of_draws, run
from chainrule.training.initial import starting_state
from chainrule.training.watch import Watcher

if TYPE_CHECKING:
    from chainrule.kernels.profile import Profile
    from chainrule.training.loop import Plan
    from chainrule.training.network import Network


@dataclass
class EpochReport:
    """What one epoch came to: sums over the samples of each watched quantity, and where it ended early.

    `failed_step` is the number (from 0) of the step in this epoch whose loss was not finite.
    """

    steps: int
    samples: int
    sums: dict[str, float]
    failed_step: int | None = None
    stopped: bool = False

    def go_on(self, other: EpochReport) -> None:
        """Count what the next part of the epoch came to, which began with these sums."""
        self.steps += other.steps
        self.samples += other.samples
        self.sums = dict(other.sums)

    def means(self) -> dict[str, float]:
        return {name: total / max(self.samples, 1) for name, total in self.sums.items()}


class Runner(Protocol):
    """Runs steps on its own copy of the parameters and states.

    `compiled_in` are the seconds that compiling took; `seed` is that of random quantities; `walks` says whether the
    non-zeros of an input are listed before its rows are read.
    """

    compiled_in: float
    seed: int
    walks: bool

    def epoch(
        self,
        order: Array,
        batch_size: int,
        table: Mapping[str, Array],
        watcher: Watcher,
        steps: int | None = None,
        so_far: Mapping[str, float] | None = None,
    ) -> EpochReport:
        """One epoch (or its first `steps`): rows in this order; `table` has one value a step per hyper-parameter.

        `so_far` are the sums that it begins with: those of an epoch come out the same wherever it was cut.
        """
        ...

    def epochs(
        self, orders: Array, batch_size: int, table: Mapping[str, Array], watcher: Watcher, steps: int | None = None
    ) -> list[EpochReport]:
        """Several epochs, one for each row of `orders`; a report of each."""
        ...

    def feed(self, arrays: Mapping[str, Array]) -> None:
        """Go on over these arrays: of the same kinds as those before, and of any number of rows."""
        ...

    def state(self) -> dict[str, Array]:
        """Parameters and states as they are now."""
        ...

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set parameters and states."""
        ...

    def measured(self) -> Profile | None:
        """Where the time went, if the runner was made to measure it."""
        ...


def make_runner(network: Network, program: Program, arrays: Mapping[str, Array], plan: Plan) -> Runner:
    """The compiled step, or the interpreter where the plan asks for it."""
    known = network.sizes
    start = starting_state(program, network.kept, known, network.dtype)
    if plan.engine == "interpreter":
        return InterpretedRunner(program, arrays, start, known, network.dtype, plan.seed)
    from chainrule.kernels.native import NativeRunner

    return NativeRunner(
        program, arrays, start, known, network.dtype, plan.threads, EpochReport, plan.profile, plan.sparse, plan.seed
    )


class InterpretedRunner:
    """The slow twin of the compiled step: the same batches, one instruction at a time in NumPy."""

    def __init__(
        self,
        program: Program,
        arrays: Mapping[str, Array],
        start: Mapping[str, Array],
        sizes: Mapping[str, int],
        dtype: str,
        seed: int = 0,
    ):
        self.seed = seed
        self.program, self.arrays, self.sizes, self.dtype = program, arrays, dict(sizes), dtype
        self.compiled_in, self.walks = 0.0, False
        self.kept = {n: a.copy() for n, a in start.items()}

    def epoch(
        self,
        order: Array,
        batch_size: int,
        table: Mapping[str, Array],
        watcher: Watcher,
        steps: int | None = None,
        so_far: Mapping[str, float] | None = None,
    ) -> EpochReport:
        """See Runner."""
        report = EpochReport(0, 0, {n: (so_far or {}).get(n, 0.0) for n in self.program.watched})
        bounds = batch_bounds(len(order), batch_size)
        for step, (start, stop) in enumerate(bounds[:steps]):
            out = self.step(order[start:stop], {n: float(v[step]) for n, v in table.items()})
            sums = {n: _total(out[n], stop - start) for n in self.program.watched}
            if self.program.loss is not None and not np.isfinite(sums[self.program.loss]):
                report.failed_step = step
                return report
            self.kept = {n: out[n] for n in self.kept}
            report.steps += 1
            report.samples += stop - start
            for name, total in sums.items():
                report.sums[name] += total
            if watcher.step_ends(report.steps, report.samples, report.sums):
                report.stopped = True
                return report
        return report

    def epochs(
        self, orders: Array, batch_size: int, table: Mapping[str, Array], watcher: Watcher, steps: int | None = None
    ) -> list[EpochReport]:
        """See Runner."""
        count, reports = -(-orders.shape[1] // batch_size), list[EpochReport]()
        for number, order in enumerate(orders):
            own = {n: v[number * count : (number + 1) * count] for n, v in table.items()}
            reports.append(self.epoch(order, batch_size, own, watcher))
            if reports[-1].stopped or reports[-1].failed_step is not None:
                break
        return reports

    def step(self, rows: Array, hyper: Mapping[str, float]) -> dict[str, Array]:
        """All tensors of one step on these rows; the state is left as it was."""
        batch = {n: self._cast(a[rows]) for n, a in self.arrays.items()}
        sizes = {**self.sizes, self.program.samples: len(rows)}
        keys = {n: k[0] for n, k in keys_of_draws(self.program, self.seed, np.array([hyper["step"]])).items()}
        return run(self.program, {**batch, **self.kept, **keys}, sizes, hyper)

    def _cast(self, array: Array) -> Array:
        return array if array.dtype.kind == "i" else array.astype(self.dtype, copy=False)

    def feed(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays

    def state(self) -> dict[str, Array]:
        return {n: a.copy() for n, a in self.kept.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        self.kept = {n: a.copy() for n, a in state.items()}

    def measured(self) -> None:
        """The interpreter measures nothing: Plan.check refuses it."""


def _total(values: Array, samples: int) -> float:
    """A sum over the samples; what the batch has one of counts for each of them."""
    total = float(np.sum(values, dtype=np.float64))
    return total * samples if values.ndim == 0 else total
