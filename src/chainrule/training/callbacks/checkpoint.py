"""Saving the model while it trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from chainrule.errors import FileError, SettingError
from chainrule.messages import say
from chainrule.training.callbacks.base import Logs
from chainrule.training.callbacks.monitor import Monitor, tell

OTHER_FORMATS = (".keras", ".h5", ".hdf5", ".pt", ".pth", ".pkl")


class ModelCheckpoint(Monitor):
    """Saves the model after each epoch (`save_freq="epoch"`) or after every so many steps (a whole number).

    `filepath` is a model file's name and may hold {epoch:02d} (from 1), {batch} (from 1) and what the logs hold, such
    as {val_loss:.3f}. With `save_best_only` a file is written only when the monitored quantity is better than before
    (than `initial_value_threshold`, at first). The file holds formulas and numbers and never code; it is written beside
    its place and renamed, so that a crash leaves the one before. With `save_weights_only` a model that has
    `save_weights` writes those alone; a Network's file is its weights and its formulas.

    Raises: SettingError for a name that ends as another format's, a placeholder that the logs do not have, or a
    save_freq that is neither; FileError where the file cannot be written.
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):  # Keras's signature
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = os.fspath(filepath)
        if self.filepath.endswith(OTHER_FORMATS):
            raise SettingError(say("callbacks.file_name", came=self.filepath))
        whole = isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq >= 1
        if save_freq != "epoch" and not whole:
            raise SettingError(say("callbacks.save_freq", came=repr(save_freq)))
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._steps = 0
        self._epoch = 0

    state_names = ("best", "_up", "_steps", "_epoch")

    @property
    def per_batch(self) -> bool:
        return self.save_freq != "epoch"

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self._steps += 1
        if self._steps >= int(self.save_freq):
            self._steps = 0
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        path = self._path(epoch, batch, logs)
        if self.save_best_only:
            current = self.value(logs)
            if current is not None:  # without the quantity every model is saved: better one too many than none
                if not self.improves(current, self.best):
                    return
                self.best = current
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(say("training.cannot_write", path=path, reason=error.strerror or error)) from None
        if self.save_weights_only and hasattr(self.model, "save_weights"):
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose > 0:
            tell(say("callbacks.saved", epoch=epoch + 1, path=path))

    def _path(self, epoch: int, batch: int | None, logs: Logs) -> Path:
        values: dict[str, float] = {"epoch": epoch + 1, **({} if batch is None else {"batch": batch + 1}), **logs}
        try:
            return Path(self.filepath.format(**values))
        except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
            reason = error.args[0] if error.args else error
            known = ", ".join(values)
            raise SettingError(say("callbacks.placeholder", path=self.filepath, reason=reason, known=known)) from None
