"""Callbacks that write what each epoch reached: a CSV file, TensorBoard's event files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from chainrule.errors import FileError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.messages import say
from chainrule.training.callbacks.base import Callback, Logs
from chainrule.training.files import write_bytes

MISSING = "NA"  # as Keras writes it, and as pandas reads it


class CSVLogger(Callback):
    """Appends a row to a CSV file after each epoch: the epoch (from 0, as in Keras) and all that the logs hold.

    `append` goes on with a file that is there, in its columns. What a row has no value for is NA. The file
    is closed after each row, so that it can be read while the training goes on.
    Raises: FileError where it cannot be written.
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        self.filename = Path(os.fspath(filename))
        self.sep = separator
        self.append = append
        self.keys: list[str] | None = None

    def state_dict(self) -> dict[str, Any]:
        """How many rows are written, and their columns."""
        return {"rows": len(self._rows()), "keys": self.keys}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Rows of epochs that come again are taken away."""
        rows = self._rows()[: state["rows"]]
        self.keys = None if state["keys"] is None else list(state["keys"])
        text = io.StringIO()
        if self.keys is not None:  # else the first epoch had not come to its end, and there was no header
            for row in (["epoch", *self.keys], *(row[: 1 + len(self.keys)] for row in rows)):
                self._write(text, row)
        write_bytes(self.filename, text.getvalue().encode())

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.keys = None
        resumed = self.training is not None and self.training.resumed is not None
        try:
            if (self.append or resumed) and self.filename.exists():
                with self.filename.open(newline="", encoding="utf-8") as file:
                    header = next(csv.reader(file, delimiter=self.sep), None)
                self.keys = header[1:] if header else None
            else:
                self.filename.write_text("", encoding="utf-8")
        except OSError as error:
            raise self._bad(error) from None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        new = [k for k in logs if k not in (self.keys or ())]
        try:
            if self.keys is None or new:  # also later, for a validation that not every epoch has
                self._widen(new)
            with self.filename.open("a", newline="", encoding="utf-8") as file:
                self._write(file, [epoch, *(_text(logs[k]) if k in logs else MISSING for k in self.keys or ())])
        except OSError as error:
            raise self._bad(error) from None

    def _widen(self, new: list[str]) -> None:
        """Write the header, with columns for what is new; rows that are there already have no value for it."""
        rows = self._rows()
        self.keys = [*(self.keys or ()), *new]
        text = io.StringIO()
        for row in (["epoch", *self.keys], *([*row, *[MISSING] * len(new)] for row in rows)):
            self._write(text, row)
        write_bytes(self.filename, text.getvalue().encode())

    def _rows(self) -> list[list[str]]:
        """What the file has below its header."""
        try:
            with self.filename.open(newline="", encoding="utf-8") as file:
                return list(csv.reader(file, delimiter=self.sep))[1:]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._bad(error) from None

    def _write(self, file: TextIO, row: Sequence[object]) -> None:
        csv.writer(file, delimiter=self.sep, lineterminator="\n").writerow(row)

    def _bad(self, error: OSError) -> FileError:
        return FileError(say("training.cannot_write", path=self.filename, reason=error.strerror or error))


def _text(value: Any) -> str:
    """As Python writes it, so that nothing is lost; a matrix as its list of rows."""
    return repr(value.tolist()) if isinstance(value, np.ndarray) else repr(float(value))


class TensorBoard(Callback):
    """Writes event files that TensorBoard shows: `tensorboard --logdir logs`. Needs the extra chainrule[tensorboard].

    After each epoch the scalars epoch_loss, epoch_accuracy, …, epoch_learning_rate: those of training in
    `log_dir`/train, those of validation in `log_dir`/validation, so that both are curves of one picture.
    `histogram_freq` writes the distribution of every parameter each so many epochs; `write_images` also those with two
    indices as pictures; `write_graph` the formulas, as text. `update_freq` "batch" or a number writes batch_loss, …
    each so many steps, for which the training goes step by step.

    Raises: SettingError where the package is missing, and for Keras's profile_batch and embeddings_freq, which
    fit(profile=True) and histograms stand in for.
    """

    def __init__(
        self,
        log_dir: Any = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ):  # Keras's signature
        if profile_batch or embeddings_freq or embeddings_metadata:
            raise SettingError(say("callbacks.tensorboard_option"))
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        whole = isinstance(self.update_freq, int) and not isinstance(self.update_freq, bool) and self.update_freq >= 1
        if self.update_freq != "epoch" and not whole:
            raise SettingError(say("callbacks.save_freq", came=repr(update_freq)))
        self._writers: dict[str, Any] = {}
        self._steps = 0
        self._start = 0.0

    state_names = ("_steps",)

    @property
    def per_batch(self) -> bool:
        return self.update_freq != "epoch"

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                raise SettingError(say("callbacks.no_tensorboard")) from None
            try:
                self._writers[part] = SummaryWriter(os.path.join(self.log_dir, part))
            except OSError as error:
                raise FileError(
                    say("training.cannot_write", path=self.log_dir, reason=error.strerror or error)
                ) from None
        return self._writers[part]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._steps = 0
        writer = self._writer("train")
        if self.write_graph and self.training is not None:
            text = "\n".join("    " + line for line in self.training.network.formulas.splitlines())
            writer.add_text("formulas", text)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        import time

        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._steps += 1
        if self.update_freq == "epoch" or self._steps % int(self.update_freq):
            return
        for name, value in (logs or {}).items():
            self._writer("train").add_scalar(f"batch_{name}", float(value), self._steps)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        import time

        train = {n: v for n, v in (logs or {}).items() if not n.startswith("val_")}
        if self.training is not None:
            train.setdefault("learning_rate", self.training.learning_rate)
            steps = self.training.history.steps_per_epoch
            if self.write_steps_per_second:
                train["steps_per_second"] = steps / max(time.perf_counter() - self._start, 1e-9)
        validation = {n.removeprefix("val_"): v for n, v in (logs or {}).items() if n.startswith("val_")}
        for part, values in (("train", train), ("validation", validation)):
            for name, value in values.items():
                if np.ndim(value) == 0:
                    self._writer(part).add_scalar(f"epoch_{name}", float(value), epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0 and self.training is not None:
            self._histograms(epoch, self.training.weights())
        for writer in self._writers.values():
            writer.flush()

    def _histograms(self, epoch: int, weights: dict[str, Array]) -> None:
        assert self.training is not None
        writer = self._writer("train")
        for parameter in self.training.network.system.parameters:
            array = weights[parameter.name]
            writer.add_histogram(f"{parameter.name}/histogram", array, epoch)
            if self.write_images and array.ndim == 2:
                spread = float(np.ptp(array)) or 1.0
                writer.add_image(f"{parameter.name}/image", (array - array.min()) / spread, epoch, dataformats="HW")

    def on_train_end(self, logs: Logs | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
