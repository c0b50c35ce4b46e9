"""Callbacks that watch one quantity of the logs: to end the training, or to lower the learning rate."""

from __future__ import annotations

import sys
from typing import Any

from chainrule.errors import SettingError, warn
from chainrule.formula.evaluate import Array
from chainrule.messages import say
from chainrule.training.callbacks.base import Callback, Logs
from chainrule.training.metrics import direction

MODES = ("auto", "min", "max")


def tell(text: str) -> None:
    """A line for the user, where the progress goes."""
    print(text, file=sys.stderr)


class Monitor(Callback):
    """Watches the quantity `monitor` of the logs and knows the best value so far.

    `mode` is "min", "max", or "auto": the library's metrics know which values are better, losses are better when small.
    A change of less than `min_delta` is none.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, min_delta: float = 0.0
    ):
        if mode not in MODES:
            raise SettingError(say("callbacks.mode", came=mode, wanted=", ".join(MODES)))
        self.monitor = monitor
        self.mode = mode
        self.best = baseline
        self.min_delta = abs(min_delta)
        self._up: bool | None = {"min": False, "max": True}.get(mode)
        self._said_missing = False

    def value(self, logs: Logs | None) -> float | None:
        """The quantity, or None where the logs have none of that name: then one warning says which there are."""
        found = (logs or {}).get(self.monitor)
        if found is None and not self._said_missing and not self._comes_later():
            self._said_missing = True
            validation = self.monitor.startswith("val_") and not any(n.startswith("val_") for n in logs or {})
            key = "callbacks.no_validation" if validation else "callbacks.no_monitor"
            known = ", ".join(logs or {}) or "–"
            text = say(key, callback=type(self).__name__, monitor=self.monitor, known=known)
            warn(text)
        return None if found is None else float(found)

    def _comes_later(self) -> bool:
        """Whether it is of a validation that not every epoch has."""
        return self.monitor.startswith("val_") and getattr(self.training, "validation", None) is not None

    def improves(self, value: float, reference: float | None) -> bool:
        """Whether a value is better than the reference (None: the first one is) by more than min_delta."""
        if reference is None:
            return True
        if self._up is None:
            self._up = self._direction() == "max"
        return value - self.min_delta > reference if self._up else value + self.min_delta < reference

    def _direction(self) -> str:
        found = direction(self.monitor)
        if found is None:
            text = say("callbacks.no_direction", callback=type(self).__name__, monitor=self.monitor)
            warn(text)
        return found or "min"


class EarlyStopping(Monitor):
    """Ends the training when the monitored quantity has not become better for `patience` epochs.

    `baseline` is a value that it must beat to count as better; `start_from_epoch` leaves the first epochs out. With
    `restore_best_weights` the weights of the best epoch are put back when the training ends, whether it was stopped
    early or came to its last epoch. They are the weights at the end of that epoch, the very ones that its validation
    was computed with. (A loss of the training data is a mean over the epoch, while the weights moved: monitor val_loss
    where the match must be exact.) Afterwards `best`, `best_epoch` and `stopped_epoch` (0: not stopped) tell the story,
    epochs counted from 0.

    Raises: SettingError for a mode or a patience that there is not.

    Example:
    >>> stop = EarlyStopping("loss", patience=2)
    >>> for epoch, loss in enumerate([0.5, 0.4, 0.45, 0.41]):
    ...     stop.on_epoch_end(epoch, {"loss": loss})
    >>> stop.best, stop.stopped_epoch
    (0.4, 3)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):  # Keras's signature
        super().__init__(monitor, mode, min_delta=min_delta)
        if patience < 0:
            raise SettingError(say("callbacks.at_least", name="patience", came=patience, low=0))
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._begin()

    state_names = ("best", "wait", "stopped_epoch", "best_epoch", "best_weights", "_up")

    def _begin(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights: dict[str, Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._begin()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)  # something must be there to put back, also when all is NaN
        self.wait += 1
        if current == current and self.improves(current, self.best):
            self.best = current
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._keep(epoch)
            if self.baseline is None or self.improves(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            if self.training is not None:
                self.training.stop = True

    def _keep(self, epoch: int) -> None:
        assert self.training is not None
        self.best_epoch = epoch
        self.best_weights = self.training.weights()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            tell(say("callbacks.stopped", epoch=self.stopped_epoch + 1, monitor=self.monitor))
        if self.restore_best_weights and self.best_weights is not None and self.training is not None:
            if self.verbose > 0:
                tell(say("callbacks.restored", epoch=self.best_epoch + 1))
            self.training.set_weights(self.best_weights)


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` when the monitored quantity has not become better for `patience` epochs.

    After a reduction `cooldown` epochs pass before waiting starts again; the rate does not fall below `min_lr`. The
    logs get the epoch's rate as learning_rate.
    Raises: SettingError for a factor that does not reduce.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):  # Keras's signature
        super().__init__(monitor, mode, min_delta=min_delta)
        if not 0 <= factor < 1:
            raise SettingError(say("callbacks.factor", came=factor))
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self._begin()

    state_names = ("best", "wait", "cooldown_counter", "_up")

    def _begin(self) -> None:
        self.best = None
        self.wait = 0
        self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._begin()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        assert self.training is not None
        logs = {} if logs is None else logs
        logs["learning_rate"] = self.training.learning_rate
        current = self.value(logs)
        if current is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(current, self.best):
            self.best = current
            self.wait = 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience and (old := self.training.learning_rate) > self.min_lr:
                self.training.learning_rate = new = max(old * self.factor, self.min_lr)
                self.cooldown_counter = self.cooldown
                self.wait = 0
                if self.verbose > 0:
                    tell(say("callbacks.rate", epoch=epoch + 1, callback=type(self).__name__, rate=f"{new:g}"))


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to `schedule(epoch, rate)`, epochs counted from 0.

    A schedule of steps as a formula (fit's option learning_rate="cosine", or "eta0/(1 + step/1000)") needs no callback
    and runs inside the compiled step. The logs get the epoch's rate as learning_rate.
    Raises: SettingError where the answer is no finite number ≥ 0.
    """

    def __init__(self, schedule: Any, verbose: int = 0):
        if not callable(schedule):
            raise SettingError(say("callbacks.schedule", came=type(schedule).__name__))
        self.schedule = schedule
        self.verbose = verbose
        self._rate: float | None = None

    state_names = ("_rate",)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        assert self.training is not None
        rate = self._ask(epoch, self.training.learning_rate)
        try:
            value = float(rate)
        except (TypeError, ValueError):
            value = float("nan")
        if not 0 <= value < float("inf"):
            raise SettingError(say("callbacks.bad_rate", came=rate, epoch=epoch))
        self.training.learning_rate = self._rate = value
        if self.verbose > 0:
            tell(say("callbacks.rate", epoch=epoch + 1, callback=type(self).__name__, rate=f"{value:g}"))

    def _ask(self, epoch: int, rate: float) -> Any:
        """schedule(epoch, rate), or schedule(epoch) of a function that takes one argument."""
        import inspect

        try:
            takes = len(inspect.signature(self.schedule).parameters)
        except (TypeError, ValueError):
            takes = 2
        return self.schedule(epoch) if takes == 1 else self.schedule(epoch, rate)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None and self._rate is not None:
            logs["learning_rate"] = self._rate


class TerminateOnNaN(Callback):
    """Does nothing that the training does not do by itself; it is here for programs that name it.

    A loss that leaves the finite numbers always ends the training, with chainrule.errors.Diverged, which names epoch,
    step and equation, and with the last good weights kept. In Keras training goes on unless this callback ends it.
    """

    def __init__(self, raise_error: bool = False):
        self.raise_error = raise_error
