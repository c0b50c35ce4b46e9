"""The training loop, on one page: epochs over a Runner, with watchers that look on.

A Runner runs one epoch: the compiled step (kernels), or the interpreter, which is its slow twin. It reports the sums of
the watched quantities, and stops at a step whose loss is not finite.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from chainrule.data.batches import batch_bounds, epoch_order
from chainrule.errors import SettingError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Expr, Symbol, symbols, transform
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.program.interpret import keys_of_draws, run
from chainrule.training.initial import starting_state
from chainrule.training.network import Network
from chainrule.training.vocabulary import hyper_name, schedule
from chainrule.training.watch import History, Watcher, watcher_for

if TYPE_CHECKING:
    from chainrule.kernels.profile import Profile

ENGINES = ("native", "interpreter")
MAX_EPOCHS = 10**9


@dataclass(frozen=True)
class Plan:
    """The options of one training."""

    epochs: int = 1
    batch_size: int | None = 32
    optimizer: str | None = None
    learning_rate: float | str | None = None
    seed: int = 0
    shuffle: bool = True
    threads: int | None = None
    verbose: str | int = "auto"
    callbacks: tuple[Callable[[int, Mapping[str, float]], object], ...] = ()
    hyper: Mapping[str, float] = field(default_factory=dict)
    engine: str = "native"
    profile: bool = False
    sparse: bool | None = None

    def check(self) -> None:
        """Raises: SettingError, one line, for an option out of range."""
        self._whole("epochs", self.epochs, 0, MAX_EPOCHS)
        if self.batch_size is not None:
            self._whole("batch_size", self.batch_size, 1, 2**31 - 1)
        if self.threads is not None:
            self._whole("threads", self.threads, 1, 1024)
        self._whole("seed", self.seed, 0, 2**64 - 1)
        rate = self.learning_rate
        if isinstance(rate, bool) or (isinstance(rate, int | float) and not (np.isfinite(rate) and rate >= 0)):
            raise SettingError(say("training.learning_rate", came=rate))
        if self.engine not in ENGINES:
            raise SettingError(say("training.engine", came=self.engine, wanted=", ".join(ENGINES)))
        if self.profile and self.engine != "native":
            raise SettingError(say("training.profile_engine", came=self.engine))

    def _whole(self, name: str, value: object, low: int, high: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
            raise SettingError(say("training.whole_number", name=name, came=value, low=low, high=high))


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

    def means(self) -> dict[str, float]:
        return {name: total / max(self.samples, 1) for name, total in self.sums.items()}


class Runner(Protocol):
    """Runs steps on its own copy of the parameters and states. `compiled_in` are the seconds that compiling took.

    `seed` is what random quantities are drawn by, with the number of the step that the table says.
    """

    compiled_in: float
    seed: int

    def epoch(
        self, order: Array, batch_size: int, table: Mapping[str, Array], watcher: Watcher, steps: int | None = None
    ) -> EpochReport:
        """One epoch (or its first `steps`): rows in this order; `table` has one value a step per hyper-parameter."""
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


def train(network: Network, arrays: Mapping[str, Array], validation: Mapping[str, Array] | None, plan: Plan) -> History:
    """Train `network` on checked arrays, and leave the new weights in it."""
    from chainrule.training.diverge import explain_divergence

    program, rule = network.training_program(plan.optimizer, network.metrics(arrays))
    rows = len(next(iter(arrays.values())))
    batch = min(plan.batch_size or rows, rows)
    steps = len(batch_bounds(rows, batch))
    rates = _Rates(network, program, plan, steps * plan.epochs)
    runner = make_runner(network, program, arrays, plan)
    history = History(steps_per_epoch=steps)
    watcher = watcher_for(plan.verbose, plan.epochs, steps, rows, network.system.loss)
    for line in network.overridden_updates(plan.optimizer):
        watcher.note(say("training.update_overridden", line=line, rule=rule.name or plan.optimizer))
    if runner.compiled_in > 1.0:
        watcher.note(say("training.compiled", seconds=f"{runner.compiled_in:.1f}"))
    with watcher:
        for epoch in range(plan.epochs):
            order = epoch_order(rows, plan.seed, epoch) if plan.shuffle else np.arange(rows, dtype=np.int64)
            before = runner.state()
            watcher.epoch_begins(epoch)
            start = time.perf_counter()
            table = rates.table(epoch * steps, steps)
            report = runner.epoch(order, batch, table, watcher)
            if report.failed_step is not None:
                explain_divergence(network, program, arrays, runner, before, order, batch, table, report, epoch)
            logs = {("loss" if n == network.system.loss else n): v for n, v in report.means().items()}
            network.keep(runner.state())
            if validation is not None:
                logs |= {f"val_{n}": v for n, v in network.evaluate(dict(validation)).items()}
            history.add(epoch, logs, time.perf_counter() - start)
            watcher.epoch_ends(epoch, logs)
            # A short epoch is over before anybody asks its threads to stop.
            if report.stopped or (watcher.stop and epoch + 1 < plan.epochs):
                history.interrupted = True
                watcher.note(say("training.interrupted", epoch=epoch + 1, step=report.steps, steps=steps))
                break
            answers = [callback(epoch, logs) for callback in plan.callbacks]
            if any(answer is False for answer in answers):
                break
    history.profile = runner.measured()
    return history


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
        self.compiled_in = 0.0
        self.kept = {n: a.copy() for n, a in start.items()}

    def epoch(
        self, order: Array, batch_size: int, table: Mapping[str, Array], watcher: Watcher, steps: int | None = None
    ) -> EpochReport:
        """See Runner."""
        report = EpochReport(0, 0, dict.fromkeys(self.program.watched, 0.0))
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

    def step(self, rows: Array, hyper: Mapping[str, float]) -> dict[str, Array]:
        """All tensors of one step on these rows; the state is left as it was."""
        batch = {n: self._cast(a[rows]) for n, a in self.arrays.items()}
        sizes = {**self.sizes, self.program.samples: len(rows)}
        keys = {n: k[0] for n, k in keys_of_draws(self.program, self.seed, np.array([hyper.get("step", 1.0)])).items()}
        return run(self.program, {**batch, **self.kept, **keys}, sizes, hyper)

    def _cast(self, array: Array) -> Array:
        return array if array.dtype.kind == "i" else array.astype(self.dtype, copy=False)

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


class _Rates:
    """The value of every hyper-parameter at every step."""

    def __init__(self, network: Network, program: Program, plan: Plan, steps: int):
        given = dict(plan.hyper)
        self.formula: Expr | None = None
        if isinstance(plan.learning_rate, str):
            self.formula, defaults = schedule(plan.learning_rate)
            own = {n: given.pop(n) for n in list(given) if n in defaults}
            self.scalars = {n: float(v) for n, v in {**defaults, **own}.items()}
            if "eta0" in given:
                given["eta"] = given.pop("eta0")
            if "eta0" not in symbols(self.formula):
                given.setdefault("eta", 0.0)  # a schedule that names no base rate needs none
        elif plan.learning_rate is not None:
            given["eta"] = float(plan.learning_rate)
        if "eta" in given and "eta" not in {*program.hyper, *program.defaults}:
            raise SettingError(say("training.no_learning_rate"))
        self.values = network.plan_hyper(
            program, {hyper_name(n, _names(network, program)): v for n, v in given.items()}
        )
        self.steps = steps

    def table(self, first: int, count: int) -> dict[str, Array]:
        """One float64 per step and hyper-parameter, for `count` steps from number `first` (from 0)."""
        numbers = np.arange(first + 1, first + count + 1, dtype=np.float64)
        table = {n: np.full(count, v) for n, v in self.values.items()}
        table |= {"step": numbers, "steps": np.full(count, float(self.steps))}
        if self.formula is not None:
            at_step = transform(self.formula, lambda n: Element("step", ("s",)) if n == Symbol("step") else n)
            scalars = {**self.scalars, "steps": float(self.steps), "eta0": self.values["eta"]}
            table["eta"] = evaluate(at_step, {"step": numbers}, ("s",), sizes={"s": count}, scalars=scalars)
        return table


def _names(network: Network, program: Program) -> dict[str, object]:
    return dict.fromkeys((*program.hyper, *program.defaults, *network.hyper))
