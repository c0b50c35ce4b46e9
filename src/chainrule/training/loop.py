"""The training loop, on one page: epochs over a Runner, with watchers and callbacks that look on."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.checks import is_whole
from chainrule.errors import DataError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.formula.text import update_text
from chainrule.messages import say
from chainrule.training.advice import Advisor, check_targets
from chainrule.training.callbacks.base import CallbackList
from chainrule.training.checkpoint_file import Position, check_states
from chainrule.training.checkpoints import Checkpoints, Keeper, latest
from chainrule.training.diverge import Lost, explain_divergence, good_steps
from chainrule.training.feed import Piece, Stream, Streamed, Whole, feed_for
from chainrule.training.locks import hold
from chainrule.training.metrics import Asked, measures, rankings
from chainrule.training.network import Network
from chainrule.training.optimizer import AVERAGE, Optimizer, as_optimizer
from chainrule.training.prediction import measured
from chainrule.training.ranking import rank
from chainrule.training.rates import Rates, check_rate
from chainrule.training.resume import checkpoint_of, go_on_from, restore_history, settings_of
from chainrule.training.runner import EpochReport, make_runner
from chainrule.training.watch import HANDED_ON, History, Onward, Silent, Watcher, watcher_for
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
    checkpoints: Checkpoints | None = None
    resume: str | Path | None = None

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


def train(network: Network, data: Data | Stream, validation: Data | Stream | None, plan: Plan) -> History:
    """Train `network` on checked data, and leave the new weights in it."""
    with contextlib.ExitStack() as held:
        if plan.checkpoints is not None:
            held.enter_context(hold(Path(plan.checkpoints.folder)))
        found = Training(network, data, validation, plan).run()
    if found.signal is not None and found.signal in HANDED_ON:
        signal.raise_signal(found.signal)  # to whoever handled it before; by default the process ends by it
    return found


class Training:
    """A training while it runs: what a callback may look at, and change.

    `network` has the weights of the last step; `history` what was reached; `model` is what callbacks know as their
    model. `stop = True` ends the training after this step or epoch; a `learning_rate` that is set holds from the next
    step that begins, and so do weights, whether set here or in the network. `resumed` is the checkpoint that it goes on
    from, `position` where it began.
    """

    def __init__(self, network: Network, data: Data | Stream, validation: Data | Stream | None, plan: Plan):
        self.network, self.data, self.validation, self.plan = network, data, validation, plan
        self.model = network if plan.model is None else plan.model
        if plan.advice:
            check_targets(network.system, data.arrays)
        weight = network.weighted.weight if data.weights is not None else None
        self.measures = measures(network, plan.metrics, data.arrays, plan.weighted_metrics, weight)
        self.rankings = rankings(network, plan.metrics, data.arrays, plan.weighted_metrics)
        if self.rankings and isinstance(data, Stream):
            raise SettingError(say("checkpoints.no_ranking", metric=self.rankings[0].name, name=data.source.name))
        self.program, rule = network.training_program(
            plan.optimizer,
            {n: e for m in self.measures for n, e in m.sums.items()},
            weighted=weight is not None,
            frozen=plan.frozen,
        )
        self.rule = "\n".join(map(update_text, rule.lines))
        network.begin_rule(self.rule)
        self.feed, self.batch = feed_for(data, plan.batch_size, plan.seed, plan.shuffle)
        self.rows, self.steps = data.rows, self.feed.steps  # of an epoch; None where only its end tells
        self.resumed = None if plan.resume is None else latest(plan.resume)
        self.position = self._first_position() if self.resumed is None else self.resumed.position
        self.done = self.position.done  # steps of this training
        self.shift = self.position.shift  # of the numbers of the epochs' orders
        epochs = max(0, plan.epochs - plan.initial_epoch)
        total = None if self.steps is None else self.steps * epochs
        self.rates = Rates(network, self.program, plan, total, self.position.before)
        kept = plan.checkpoints is not None or self.resumed is not None
        self.settings = settings_of(self) if kept else {}
        if self.resumed is not None:
            go_on_from(self, self.resumed)
        self.keeper = None if plan.checkpoints is None else Keeper(plan.checkpoints, self.resumed)
        self.runner = make_runner(network, self.program, self.named(data), plan)
        if isinstance(self.feed, Streamed):
            self.feed.walks = self.runner.walks
        self.history = History(steps_per_epoch=self.steps or 0)
        self.watcher: Watcher = watcher_for(plan.verbose, plan.epochs, self.steps, self.logs_of)
        if self.keeper is not None:
            self.watcher.signals += HANDED_ON
        for line in network.overridden_updates(plan.optimizer):
            self.watcher.note(say("training.update_overridden", line=line, rule=rule.name or plan.optimizer))
        if self.runner.compiled_in > 1.0:
            self.watcher.note(say("training.compiled", seconds=f"{self.runner.compiled_in:.1f}"))
        self.stop = self.position.stopped
        self.changes = network.changes  # of the network's weights that the runner knows of
        self.callbacks = CallbackList(plan.callbacks, self)
        self.advisor: Advisor | None = None
        if plan.advice and self.resumed is None:
            updated = self.steps is None or as_optimizer(plan.optimizer).accumulate <= self.steps
            compared = updated and data.weights is None
            whole = isinstance(data, Data)
            self.advisor = Advisor(network, data.arrays, self.program, compared=compared, whole=whole)

    def _first_position(self) -> Position:
        first, network = self.plan.initial_epoch, self.network
        shift = max(0, network.epochs - first)  # a second training goes on where the first ended its orders
        return Position(epoch=first, before=network.steps, shift=shift, epochs=network.epochs)

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
        plan, logs, partial = self.plan, dict[str, float](), False
        epoch = self.position.epoch
        try:
            with self.watcher:
                self.callbacks.on_train_begin()
                self._adopt()
                if self.resumed is not None:
                    restore_history(self, self.resumed)
                if self.keeper is not None:
                    check_states(self.callbacks.state_dict())
                while epoch < plan.epochs and not self.stop:
                    for report, seconds in self._epochs(epoch):
                        if report.steps:  # none where Ctrl-C came before the first: nothing was reached
                            logs = self._epoch_ends(epoch, report, seconds)
                        epoch += 1
                    partial = report.stopped
                    # A short epoch is over before anybody asks its threads to stop.
                    if partial or (self.watcher.stop and epoch < plan.epochs):
                        self.history.interrupted = True
                        steps = "?" if self.steps is None else self.steps
                        self.watcher.note(say("training.interrupted", epoch=epoch, step=report.steps, steps=steps))
                        break
                    if self.keeper is not None and self.keeper.due_after(epoch - plan.initial_epoch):
                        self._keep_checkpoint(epoch)
                # That of an epoch in the middle was written there, before the callbacks took it for a whole one.
                if self.keeper is not None and not partial and epoch > self.position.epoch:
                    self._keep_checkpoint(epoch)
                self._take_average()
                self.callbacks.on_train_end(logs)
        finally:
            if self.network.newer is not None:  # a callback failed in mid-epoch
                self._keep()
        self.history.profile = self.runner.measured()
        self.history.signal = self.watcher.signal
        return self.history

    def _keep_checkpoint(self, epoch: int, whole: EpochReport | None = None, seconds: float = 0.0) -> None:
        """Write one: `whole` is what is done of this epoch, None where it has not begun."""
        assert self.keeper is not None
        position = Position(
            epoch=epoch,
            steps=0 if whole is None else whole.steps,
            samples=0 if whole is None else whole.samples,
            sums={} if whole is None else dict(whole.sums),
            seconds=seconds,
            done=self.done,
            before=self.position.before,
            shift=self.shift,
            epochs=self.network.epochs,
            begun=whole is not None,
            stopped=self.stop,
            rate=self.rates.asked,
        )
        self.keeper.write(checkpoint_of(self, position))

    def _epochs(self, epoch: int) -> list[tuple[EpochReport, float]]:
        """Run the next epoch, or several where nobody looks on between them; reports, and seconds of each."""
        count = self._together(epoch)
        return [self._epoch(epoch)] if count == 1 else self._several(epoch, count)

    def _together(self, epoch: int) -> int:
        """How many epochs go through one call of the compiled step."""
        seen = len(self.callbacks) or self.validation is not None or self.rankings or not isinstance(self.feed, Whole)
        if seen or type(self.watcher) is not Silent or self.plan.engine != "native" or self.watcher.stop:
            return 1
        if self.keeper is not None or (self.resumed is not None and epoch == self.position.epoch):
            return 1
        rows = self.feed.rows if isinstance(self.feed, Whole) else ROWS_PER_CALL
        return max(1, min(self.plan.epochs - epoch, ROWS_PER_CALL // rows))

    def _several(self, epoch: int, count: int) -> list[tuple[EpochReport, float]]:
        """Several epochs over arrays in memory, in one call of the compiled step."""
        assert isinstance(self.feed, Whole)
        assert self.steps is not None
        self.watcher.epoch_begins(epoch)
        steps = self.network.steps
        before, table = self.runner.state(), self.rates.table(self.done, count * self.steps)
        orders = np.stack([self.feed.order(epoch + n + self.shift) for n in range(count)])
        start = time.perf_counter()
        reports = self.runner.epochs(orders, self.batch, table, self.watcher)
        seconds = (time.perf_counter() - start) / count
        for n, report in enumerate(reports):
            if report.failed_step is not None:
                self.network.steps = steps + n * self.steps + good_steps(report.failed_step)
                self.network.epochs += n
                lost = Lost(epoch + n, report.failed_step, orders[n], self.batch, before, table)
                self._diverged_after(n, orders, lost)
        # The last one that was begun: those behind it have no steps.
        begun = max(1, sum(1 for r in reports if r.steps))
        self._count(sum(r.steps for r in reports))
        self.network.epochs += begun
        self._keep()
        return [(r, seconds) for r in reports[:begun]]

    def _epoch(self, epoch: int) -> tuple[EpochReport, float]:
        """One epoch, piece by piece, from where a checkpoint left it."""
        whole = EpochReport(0, 0, dict.fromkeys(self.program.watched, 0.0))
        start = time.perf_counter()
        if self.resumed is not None and epoch == self.position.epoch and self.position.begun:
            whole.steps, whole.samples = self.position.steps, self.position.samples
            # A metric that was not asked for then: its mean over this epoch is not known.
            unknown = np.nan if whole.steps else 0.0
            whole.sums = {name: self.position.sums.get(name, unknown) for name in whole.sums}
            start -= self.position.seconds
        else:
            self.callbacks.on_epoch_begin(epoch)
            self._adopt()
        self.watcher.epoch_begins(epoch)
        with contextlib.closing(self.feed.pieces(epoch + self.shift, whole.samples)) as pieces:
            for piece in pieces:
                whole.stopped = self.watcher.stop  # it may have come while the piece was waited for
                if whole.stopped or self._piece(epoch, piece, whole, start):
                    break
        seconds = time.perf_counter() - start
        if whole.stopped and self.keeper is not None:
            self._keep_checkpoint(epoch, whole, seconds)
        if self.steps is None and not whole.stopped:
            self._found_length(epoch, whole)
        self.network.epochs += 1
        self._keep()
        return whole, seconds

    def _found_length(self, epoch: int, whole: EpochReport) -> None:
        """The end of an epoch tells how long it is. Raises: DataError where it had no rows."""
        if not whole.steps:
            name = self.data.source.name if isinstance(self.data, Stream) else "–"
            raise DataError(say("checkpoints.epoch_length", epoch=epoch + 1, name=name))
        self.history.steps_per_epoch = whole.steps

    def _piece(self, epoch: int, piece: Piece, whole: EpochReport, start: float) -> bool:
        """The steps of a piece; whether the epoch ends here. `whole` counts what is done of the epoch."""
        if piece.data is not None:
            self.runner.feed(self.named(piece.data))
        before, tables, at, first = self.runner.state(), list[dict[str, Array]](), 0, whole.steps
        look = Onward(self.watcher, whole, self.keeper)
        while at < piece.steps:
            by_step = self.callbacks.per_batch
            if by_step:
                self.callbacks.on_train_batch_begin(whole.steps)
                self._adopt()
            left = None if self.keeper is None else self.keeper.steps_left(self.done)
            count = 1 if by_step else min(piece.steps - at, left or piece.steps)
            tables.append(self.rates.table(self.done, count))
            order = piece.order[at * piece.batch : (at + count) * piece.batch]
            watcher = Silent() if by_step else look
            report = self.runner.epoch(order, piece.batch, tables[-1], watcher, so_far=whole.sums)
            if report.failed_step is not None:
                self.network.newer = None
                self.network.steps += good_steps(at + report.failed_step) - at
                table = {n: np.concatenate([t[n] for t in tables]) for n in tables[0]}
                seen = piece.order[: (at + count) * piece.batch]
                lost = Lost(epoch, at + report.failed_step, seen, piece.batch, before, table, first)
                self._diverged(piece.data, lost)
            whole.go_on(report)
            at += report.steps
            self._count(report.steps)
            self.network.newer = self._newest
            if by_step:
                self.callbacks.on_train_batch_end(whole.steps - 1, self.logs_of(whole.means()))
                self._adopt()
                self.watcher.step_ends(whole.steps, whole.samples, whole.sums)
            ends = whole.steps == self.steps
            due = self.keeper is not None and (report.steps == left or self.keeper.due())
            stopped = self.watcher.stop or (report.stopped and not due)
            if (stopped or self.stop) and not ends:
                whole.stopped = stopped
                return True
            if due and not ends:
                self._keep_checkpoint(epoch, whole, time.perf_counter() - start)
        return False

    def _count(self, steps: int) -> None:
        """Steps that are done."""
        self.done += steps
        self.network.steps += steps

    def _epoch_ends(self, epoch: int, report: EpochReport, seconds: float) -> dict[str, float]:
        """What it reached goes to the history, the watcher and the callbacks."""
        logs: dict[str, Any] = self.logs_of(report.means())
        if self.rankings:
            assert isinstance(self.data, Data)
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

    def _diverged_after(self, number: int, orders: Array, lost: Lost) -> None:
        """Put the last good weights back and say where the loss was lost, after `number` good epochs of the same call.

        Raises: Diverged.
        """
        assert self.steps is not None
        before = lost.before
        if number:
            self.runner.restore(before)
            first = {n: v[: number * self.steps] for n, v in lost.table.items()}
            self.runner.epochs(orders[:number], self.batch, first, Silent())
            before = self.runner.state()
        own = {n: v[number * self.steps :][: self.steps] for n, v in lost.table.items()}
        self._diverged(None, replace(lost, before=before, table=own))

    def _diverged(self, data: Data | None, lost: Lost) -> None:
        """The same within a piece, of these data. Raises: Diverged."""
        arrays = self.named(self.data if data is None else data)
        explain_divergence(self.network, self.program, arrays, self.runner, lost)

    def _take_average(self) -> None:
        """The averages of the weights, where the optimizer keeps some, take the weights' place."""
        kept = self.network.kept
        own = {p.name: kept.get(f"{AVERAGE}_{p.name}") for p in self.network.system.parameters}
        optimizer = self.plan.optimizer
        if isinstance(optimizer, Optimizer) and optimizer.ema is not None and self.done:
            self.set_weights({n: a for n, a in own.items() if a is not None})

    def named(self, data: Data | Stream) -> dict[str, Array]:
        """The arrays by the program's names, sample weights among them; of a stream its first rows."""
        if data.weights is None:
            return dict(data.arrays)
        return {**data.arrays, self.network.weighted.weight.tensor: data.weights}

    def _of_runner(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {t.name: arrays[t.name] for t in self.program.kept if t.name in arrays}
