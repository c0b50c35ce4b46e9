"""What looks on while the loop runs: the history, the progress bar, Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.messages import say
from chainrule.training.files import write_bytes

if TYPE_CHECKING:
    from chainrule.kernels.profile import Profile
    from chainrule.training.checkpoints import Keeper
    from chainrule.training.runner import EpochReport

# What is logged, from the means of what a step sums up.
LogsOf = Callable[[Mapping[str, float]], Mapping[str, float]]
# Signals that end a training which keeps checkpoints, and are then handed on to whoever handled them before.
HANDED_ON = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class History:
    """What each epoch reached. `history["loss"]` is a list with one value an epoch, as in Keras.

    A list is shorter where not every epoch had the value (validation_freq); `rows` has what each epoch logged.
    `profile` tells where the time of a step went, after fit(profile=True): print it, or take its to_dict().
    """

    def __init__(self, steps_per_epoch: int = 0):
        self.steps_per_epoch = steps_per_epoch
        self.epoch: list[int] = []
        self.rows: list[dict[str, float]] = []
        self.history: dict[str, list[float]] = {}
        self.interrupted = False
        self.signal: int | None = None  # that interrupted it
        self.profile: Profile | None = None

    def add(self, epoch: int, logs: Mapping[str, float], seconds: float) -> None:
        """Note one epoch's means."""
        self.epoch.append(epoch)
        self.rows.append({**logs, "seconds": seconds})
        for name, value in self.rows[-1].items():
            self.history.setdefault(name, []).append(value)

    def save(self, path: str | Path) -> None:
        """Write the history as CSV, one row an epoch; what an epoch did not log stays empty. Raises: FileError."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *self.history])
        for epoch, row in zip(self.epoch, self.rows, strict=True):
            writer.writerow([epoch + 1, *(_cell(row.get(name)) for name in self.history)])
        write_bytes(Path(path), text.getvalue().encode())

    def __repr__(self) -> str:
        last = ", ".join(f"{n} {v[-1]:.4g}" for n, v in self.history.items() if v and np.ndim(v[-1]) == 0)
        return f"<History of {len(self.epoch)} epochs; {last}>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    plain = np.asarray(value).tolist() if isinstance(value, np.generic) else value
    return repr(plain) if np.ndim(value) == 0 else json.dumps(np.asarray(value).tolist())


class Watcher:
    """Looks on; `step_ends` says whether to stop. Entered as a context, it turns Ctrl-C into a stop after the step.

    `signals` are those that do so.
    """

    def __init__(self) -> None:
        self.stop = False
        self.signals: tuple[int, ...] = (signal.SIGINT,)
        self.signal: int | None = None  # the one that came
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Watcher:
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                # nohup: SIGHUP is to be ignored; None: a program that Python runs in has its own way
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._on_interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stop:  # a second Ctrl-C does not wait for the step
            raise KeyboardInterrupt
        self.stop, self.signal = True, number

    def note(self, text: str) -> None:
        """A line for the user."""

    def epoch_begins(self, epoch: int) -> None:
        """Epoch number `epoch`, from 0, is about to start."""

    def step_ends(self, steps: int, samples: int, sums: Mapping[str, float]) -> bool:
        """So many steps and samples of this epoch are done, with these sums; True asks to stop."""
        return self.stop

    def epoch_ends(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Epoch number `epoch` reached these means."""


class Silent(Watcher):
    """Says nothing."""


class Onward(Watcher):
    """Hands on what a part of an epoch reached as what the epoch has; a checkpoint that is due stops the part."""

    def __init__(self, watcher: Watcher, whole: EpochReport, keeper: Keeper | None):
        super().__init__()
        self.watcher, self.whole, self.keeper = watcher, whole, keeper

    def step_ends(self, steps: int, samples: int, sums: Mapping[str, float]) -> bool:
        whole = self.whole
        stop = self.watcher.step_ends(whole.steps + steps, whole.samples + samples, sums)
        return stop or (self.keeper is not None and self.keeper.due())


class Lines(Watcher):
    """One line an epoch: for files, pipes and verbose=2."""

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def epoch_ends(self, epoch: int, logs: Mapping[str, float]) -> None:
        shown = _line(logs)
        print(f"{say('training.epoch', epoch=epoch + 1, epochs=self.epochs)}  {shown}", file=sys.stderr)


class Bar(Watcher):
    """A progress bar per epoch with loss, accuracy and the time left (rich)."""

    def __init__(self, epochs: int, steps: int | None, logs_of: LogsOf):
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.epochs, self.steps, self.logs_of = epochs, steps, logs_of
        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[logs]}"),
            TimeRemainingColumn(),
            console=self.console,
            expand=True,
        )
        self.task: Any = None

    def __enter__(self) -> Bar:
        super().__enter__()
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        super().__exit__(kind, error, trace)

    def note(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def epoch_begins(self, epoch: int) -> None:
        title = say("training.epoch", epoch=epoch + 1, epochs=self.epochs)
        self.task = self.progress.add_task(title, total=self.steps, logs="")

    def step_ends(self, steps: int, samples: int, sums: Mapping[str, float]) -> bool:
        means = {n: total / max(samples, 1) for n, total in sums.items()}
        self.progress.update(self.task, completed=steps, logs=self._shown(self.logs_of(means)))
        return self.stop

    def epoch_ends(self, epoch: int, logs: Mapping[str, float]) -> None:
        done = self.progress.tasks[self.task].completed
        done = done if self.stop or self.steps is None else self.steps
        self.progress.update(self.task, completed=done, total=self.steps or done, logs=self._shown(logs))

    def _shown(self, logs: Mapping[str, float]) -> str:
        return _line(logs)


def _line(logs: Mapping[str, float]) -> str:
    """What is one number each; a confusion matrix is in the history."""
    return "  ".join(f"{_label(n)} {_number(v)}" for n, v in logs.items() if np.ndim(v) == 0)


def _number(value: float) -> str:
    """Four decimals, or four digits of what is smaller than 0.001, as Keras shows them."""
    return f"{value:.4f}" if value == 0 or not abs(value) < 1e-3 else f"{value:.4e}"


def _label(name: str) -> str:
    """loss, accuracy and their val_ kin in the user's language."""
    stem = name.removeprefix("val_")
    text = say(f"training.{stem}") if stem in ("loss", "accuracy") else stem
    return f"{say('training.validation')} {text}" if stem != name else text


def watcher_for(verbose: str | int, epochs: int, steps: int | None, logs_of: LogsOf) -> Watcher:
    """verbose: 0 silent, 1 a bar, 2 a line an epoch, "auto" a bar on a terminal, lines in a notebook, else silence."""
    if verbose == "auto":
        # A notebook is no terminal, but somebody looks on.
        verbose = 1 if sys.stderr.isatty() else 2 if "ipykernel" in sys.modules else 0
    if verbose == 0:
        return Silent()
    return Lines(epochs) if verbose == 2 else Bar(epochs, steps, logs_of)
