"""The training loop, on one page: epochs over a Runner, with watchers and callbacks that look on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.data.batches import batch_bounds, epoch_order
from chainrule.data.checks import is_whole
from chainrule.errors import DataError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.formula.text import update_text
from chainrule.messages import say
from chainrule.training.advice import Advisor, check_targets
from chainrule.training.callbacks.base import CallbackList
from chainrule.training.diverge import Lost, explain_divergence, good_steps
from chainrule.training.metrics import Asked, measures, rankings
from chainrule.training.network import Network
from chainrule.training.optimizer import AVERAGE, Optimizer, as_optimizer
from chainrule.training.prediction import measured
from chainrule.training.ranking import rank
from chainrule.training.rates import Rates, check_rate
from chainrule.training.runner import EpochReport, make_runner
from chainrule.training.watch import History, Silent, Watcher, watcher_for
from chainrule.training.weights import Data

ENGINES = ("native", "interpreter")
VERBOSE = ("auto", 0, 1, 2, True, False)  # see watch.watcher_for
MAX_EPOCHS = 10**9
# Rows of the epochs that go through one call of the compiled step, where nobody looks on between them: to begin a call
# takes 0.1 ms, as long as an epoch over a few hundred rows of a small network.
ROWS_PER_CALL = 2**16


@dataclass(frozen=True)
class Plan:
    """The options of one training: see Network.fit."""

    epochs: int = 1
    batch_size: int | None = 32
    optimizer: str | Optimizer | None = None
    learning_rate: float | str | None = None
    seed: int = 0
    shuffle: bool = True
    threads: int | None = None
    verbose: str | int = "auto"
    callbacks: object = ()
    hyper: Mapping[str, float] = field(default_factory=dict)
    engine: str = "native"
    profile: bool = False
    sparse: bool | None = None
    metrics: Asked = None
    weighted_metrics: Asked = ()
    initial_epoch: int = 0
    validation_freq: int = 1
    frozen: Sequence[str] = ()
    model: Any = None
    advice: bool = True

    def check(self) -> None:
        """Raises: SettingError, one line, for an option out of range."""
        self._whole("epochs", self.epochs, 0, MAX_EPOCHS)
        self._whole("initial_epoch", self.initial_epoch, 0, MAX_EPOCHS)
        self._whole("validation_freq", self.validation_freq, 1, MAX_EPOCHS)
        if self.batch_size is not None:
            self._whole("batch_size", self.batch_size, 1, 2**31 - 1)
        if self.threads is not None:
            self._whole("threads", self.threads, 1, 1024)
        self._whole("seed", self.seed, 0, 2**64 - 1)
        if self.learning_rate is not None and not isinstance(self.learning_rate, str):
            check_rate(self.learning_rate)
        self._choice("shuffle", self.shuffle, (True, False))
        self._choice("verbose", self.verbose, VERBOSE)
        self._choice("engine", self.engine, ENGINES)
        if self.profile and self.engine != "native":
            raise SettingError(say("training.profile_engine", came=self.engine))

    def _choice(self, name: str, value: object, wanted: Sequence[object]) -> None:
        if not any(type(value) in (type(one), np.bool_) and value == one for one in wanted):
            raise SettingError(say("training.choice", name=name, came=value, wanted=", ".join(map(repr, wanted))))

    def _whole(self, name: str, value: object, low: int, high: int) -> None:
        if not is_whole(value) or not low <= value <= high:
            raise SettingError(say("training.whole_number", name=name, came=value, low=low, high=high))


def train(network: Network, data: Data, validation: Data | None, plan: Plan) -> History:
    """Train `network` on checked data, and leave the new weights in it."""
    return Training(network, data, validation, plan).run()


class Training:
    """A training while it runs: what a callback may look at, and change.

    `network` has the weights of the last step; `history` what was reached; `model` is what callbacks know as their
    model. `stop = True` ends the training after this step or epoch; a `learning_rate` that is set holds from the next
    step that begins, and so do weights, whether set here or in the network.
    """

    def __init__(self, network: Network, data: Data, validation: Data | None, plan: Plan):
        self.network, self.data, self.validation, self.plan = network, data, validation, plan
        self.model = network if plan.model is None else plan.model
        if plan.advice:
            check_targets(network.system, data.arrays)
        weight = network.weighted.weight if data.weights is not None else None
        self.measures = measures(network, plan.metrics, data.arrays, plan.weighted_metrics, weight)
        self.rankings = rankings(network, plan.metrics, data.arrays, plan.weighted_metrics)
        self.program, rule = network.training_program(
            plan.optimizer,
            {n: e for m in self.measures for n, e in m.sums.items()},
            weighted=weight is not None,
            frozen=plan.frozen,
        )
        network.begin_rule("\n".join(map(update_text, rule.lines)))
        self.rows = data.rows
        self.batch = min(plan.batch_size or self.rows, self.rows)
        self.steps = len(batch_bounds(self.rows, self.batch))  # of an epoch
        self.done = 0  # steps of this training
        self.shift = max(0, network.epochs - plan.initial_epoch)  # of the numbers of the epochs' orders
        epochs = max(0, plan.epochs - plan.initial_epoch)
        self.rates = Rates(network, self.program, plan, self.steps * epochs, network.steps)
        self.runner = make_runner(network, self.program, self._bound(), plan)
        self.history = History(steps_per_epoch=self.steps)
        self.watcher: Watcher = watcher_for(plan.verbose, plan.epochs, self.steps, self.rows, self.logs_of)
        for line in network.overridden_updates(plan.optimizer):
            self.watcher.note(say("training.update_overridden", line=line, rule=rule.name or plan.optimizer))
        if self.runner.compiled_in > 1.0:
            self.watcher.note(say("training.compiled", seconds=f"{self.runner.compiled_in:.1f}"))
        self.stop = False
        self.changes = network.changes  # of the network's weights that the runner knows of
        self.callbacks = CallbackList(plan.callbacks, self)
        self.advisor: Advisor | None = None
        if plan.advice:
            updated = as_optimizer(plan.optimizer).accumulate <= self.steps
            compared = updated and data.weights is None
            self.advisor = Advisor(network, data.arrays, self.program, compared=compared)

    # what callbacks ask for

    @property
    def learning_rate(self) -> float:
        """The rate of the next step; NaN where the rule has none."""
        return self.rates.rate(self.done)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.rates.set_rate(value)

    def weights(self) -> dict[str, Array]:
        """Parameters and states as they are now: copies."""
        return self.runner.state()

    def set_weights(self, arrays: Mapping[str, Array]) -> None:
        """Go on from these parameters and states; those that are not named stay.

        Raises: DataError for a name or a shape that there is not.
        """
        state, fresh = self.runner.state(), dict[str, Array]()
        for name, value in arrays.items():
            old = state.get(name, self.network.kept.get(name))
            if old is None:
                raise DataError(say("training.unknown_parameter", name=name, known=", ".join(state)))
            array = np.array(value, dtype=self.network.dtype)
            if array.shape != old.shape:
                raise DataError(say("training.wrong_shape", name=name, came=array.shape, wanted=old.shape))
            fresh[name] = array
        self.network.newer = None
        self.network.keep({**state, **fresh})
        self._adopt()

    def _adopt(self) -> None:
        """Go on from the network's weights, where a callback has set some."""
        # While it has not caught up, nobody has looked at its weights nor set any.
        if self.network.newer is None and self.network.changes != self.changes:
            self.runner.restore({**self.runner.state(), **self._of_runner(self.network.kept)})
            self.changes = self.network.changes

    def _newest(self) -> dict[str, Array]:
        """What the network asks for in mid-epoch: a change that the runner knows of."""
        self.changes += 1
        return self.runner.state()

    def _keep(self) -> None:
        """The runner's weights go into the network."""
        self.network.newer = None
        self.network.keep(self._newest())

    def logs_of(self, means: Mapping[str, float]) -> dict[str, float]:
        """The loss and the metrics, as they are logged, from the means of what the step sums up."""
        loss = {"loss": means[self.program.loss]} if self.program.loss is not None else {}
        return loss | {m.name: m.final(means) for m in self.measures}

    # the loop

    def run(self) -> History:
        """All epochs."""
        plan, logs = self.plan, dict[str, float]()
        try:
            with self.watcher:
                self.callbacks.on_train_begin()
                self._adopt()
                epoch = plan.initial_epoch
                while epoch < plan.epochs and not self.stop:
                    for report, seconds in self._epochs(epoch):
                        if report.steps:  # none where Ctrl-C came before the first: nothing was reached
                            logs = self._epoch_ends(epoch, report, seconds)
                        epoch += 1
                    # A short epoch is over before anybody asks its threads to stop.
                    if report.stopped or (self.watcher.stop and epoch < plan.epochs):
                        self.history.interrupted = True
                        note = say("training.interrupted", epoch=epoch, step=report.steps, steps=self.steps)
                        self.watcher.note(note)
                        break
                self._take_average()
                self.callbacks.on_train_end(logs)
        finally:
            if self.network.newer is not None:  # a callback failed in mid-epoch
                self._keep()
        self.history.profile = self.runner.measured()
        return self.history

    def _epochs(self, epoch: int) -> list[tuple[EpochReport, float]]:
        """Run the next epoch, or several where nobody looks on between them; reports, and seconds of each."""
        count = self._together(epoch)
        self.callbacks.on_epoch_begin(epoch)
        self._adopt()
        self.watcher.epoch_begins(epoch)
        steps = self.network.steps
        before, table = self.runner.state(), self.rates.table(self.done, count * self.steps)
        orders = np.stack([self._order(epoch + n) for n in range(count)])
        start = time.perf_counter()
        if self.callbacks.per_batch:
            reports = [self._epoch_by_steps(orders[0], table)]
        elif count == 1:
            reports = [self.runner.epoch(orders[0], self.batch, table, self.watcher)]
        else:
            reports = self.runner.epochs(orders, self.batch, table, self.watcher)
        seconds = (time.perf_counter() - start) / count
        for n, report in enumerate(reports):
            if report.failed_step is not None:
                self.network.newer = None
                self.network.steps = steps + n * self.steps + good_steps(report.failed_step)
                self.network.epochs += n
                lost = Lost(epoch + n, report.failed_step, orders[n], self.batch, before, table)
                self._diverged(n, orders, lost)
        # The last one that was begun: those behind it have no steps.
        begun = max(1, sum(1 for r in reports if r.steps))
        if not self.callbacks.per_batch:
            self._count(sum(r.steps for r in reports))
        self.network.epochs += begun
        self._keep()
        return [(r, seconds) for r in reports[:begun]]

    def _count(self, steps: int) -> None:
        """Steps that are done."""
        self.done += steps
        self.network.steps += steps

    def _together(self, epoch: int) -> int:
        """How many epochs go through one call of the compiled step."""
        seen = len(self.callbacks) or self.validation is not None or self.rankings
        if seen or type(self.watcher) is not Silent or self.plan.engine != "native" or self.watcher.stop:
            return 1
        return max(1, min(self.plan.epochs - epoch, ROWS_PER_CALL // self.rows))

    def _order(self, epoch: int) -> Array:
        """The rows as this epoch visits them. A second training goes on where the first ended its orders."""
        if not self.plan.shuffle:
            return np.arange(self.rows, dtype=np.int64)
        return epoch_order(self.rows, self.plan.seed, epoch + self.shift)

    def _epoch_by_steps(self, order: Array, table: dict[str, Array]) -> EpochReport:
        """One epoch with a look at every step: each is an epoch of one batch to the runner."""
        whole = EpochReport(0, 0, dict.fromkeys(self.program.watched, 0.0))
        for step, (start, stop) in enumerate(batch_bounds(len(order), self.batch)):
            self.callbacks.on_train_batch_begin(step)
            self._adopt()
            now = self.rates.table(self.done, 1)
            for name, column in table.items():  # as it was used, for who replays the epoch
                column[step] = now[name][0]
            report = self.runner.epoch(order[start:stop], self.batch, now, Silent())
            if report.failed_step is not None:
                whole.failed_step = step
                return whole
            whole.add(report)
            self._count(report.steps)
            self.network.newer = self._newest
            self.callbacks.on_train_batch_end(step, self.logs_of(whole.means()))
            self._adopt()
            if self.watcher.step_ends(whole.steps, whole.samples, whole.sums) or (self.stop and step + 1 < self.steps):
                whole.stopped = self.watcher.stop
                break
        return whole

    def _epoch_ends(self, epoch: int, report: EpochReport, seconds: float) -> dict[str, float]:
        """What it reached goes to the history, the watcher and the callbacks."""
        logs: dict[str, Any] = self.logs_of(report.means())
        if self.rankings:
            logs |= rank(self.network, self.rankings, self.data.arrays, self.data.weights)
        if self.validation is not None and (epoch + 1) % self.plan.validation_freq == 0:
            self.callbacks.on_test_begin()
            asked = self.plan.metrics, self.plan.weighted_metrics
            own = measured(self.network, self.validation, *asked, like=self.data.arrays)
            self.callbacks.on_test_end(own)
            logs |= {f"val_{n}": v for n, v in own.items()}
        if self.advisor is not None:
            self.advisor.after_epoch(self.learning_rate)
            self.advisor = None
        self.callbacks.on_epoch_end(epoch, logs)
        self._adopt()
        self.history.add(epoch, logs, seconds)
        self.watcher.epoch_ends(epoch, logs)
        return logs

    def _diverged(self, number: int, orders: Array, lost: Lost) -> None:
        """Put the last good weights back and say where the loss was lost, after `number` good epochs of the same call.

        Raises: Diverged.
        """
        before = lost.before
        if number:
            self.runner.restore(before)
            first = {n: v[: number * self.steps] for n, v in lost.table.items()}
            self.runner.epochs(orders[:number], self.batch, first, Silent())
            before = self.runner.state()
        own = {n: v[number * self.steps :][: self.steps] for n, v in lost.table.items()}
        lost = replace(lost, before=before, order=orders[number], table=own)
        explain_divergence(self.network, self.program, self._bound(), self.runner, lost)

    def _take_average(self) -> None:
        """The averages of the weights, where the optimizer keeps some, take the weights' place."""
        kept = self.network.kept
        own = {p.name: kept.get(f"{AVERAGE}_{p.name}") for p in self.network.system.parameters}
        optimizer = self.plan.optimizer
        if isinstance(optimizer, Optimizer) and optimizer.ema is not None and self.done:
            self.set_weights({n: a for n, a in own.items() if a is not None})

    def _bound(self) -> dict[str, Array]:
        """The arrays by the program's names, sample weights among them."""
        if self.data.weights is None:
            return dict(self.data.arrays)
        return {**self.data.arrays, self.network.weighted.weight.tensor: self.data.weights}

    def _of_runner(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {t.name: arrays[t.name] for t in self.program.kept if t.name in arrays}
