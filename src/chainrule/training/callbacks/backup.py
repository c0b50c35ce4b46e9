"""Keras's way to go on after a crash, on top of chainrule's checkpoints."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from chainrule.data.checks import is_whole
from chainrule.errors import SettingError
from chainrule.messages import say
from chainrule.training.callbacks.base import Callback, Logs
from chainrule.training.checkpoints import Checkpoints, files, latest

KEPT = 2  # always: where the newest is damaged, the one before it is there


class BackupAndRestore(Callback):
    """Goes on where a fit that was interrupted stood, when the same fit is called again.

    The state is kept in `backup_dir` after each epoch (`save_freq="epoch"`), after every so many steps (a whole
    number), or only when Ctrl-C or SIGTERM ends the training (False). The next fit goes on from the very step, and ends
    with the weights of a training that was never interrupted, to the last bit; its history has the earlier epochs too.
    Where a fit comes to its end, what was kept is deleted, unless `delete_checkpoint` is False. Two states are kept
    anyway: `double_checkpoint` changes nothing.

    It works in `fit` of models in the style of Keras. `Network.fit` has its own options: checkpoints=, resume=.
    Raises: SettingError.
    """

    def __init__(
        self,
        backup_dir: Any,
        save_freq: str | int | bool = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):  # Keras's signature
        every = (is_whole(save_freq) and int(save_freq) >= 1) or save_freq is False or save_freq == "epoch"
        if not every:
            raise SettingError(say("callbacks.save_freq", came=repr(save_freq)))
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint

    @property
    def checkpoints(self) -> Checkpoints:
        """What fit is to keep."""
        every = "1 epoch" if self.save_freq == "epoch" else f"{self.save_freq} steps"
        return Checkpoints(self.backup_dir, every="never" if self.save_freq is False else every, keep=KEPT)

    @property
    def seed(self) -> int | None:
        """That of the fit that is gone on with: a model that was made anew in the same process has another.

        Raises: CheckpointError where none of what is kept is whole.
        """
        if not files(Path(self.backup_dir)):
            return None
        kept = latest(self.backup_dir).settings.get("seed", "")
        return int(kept) if kept.isdecimal() else None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        kept = getattr(getattr(self.training, "plan", None), "checkpoints", None)
        if kept is None:
            raise SettingError(say("runs.backup_of_models"))

    def on_train_end(self, logs: Logs | None = None) -> None:
        if not self.delete_checkpoint or self.training is None or self.training.history.interrupted:
            return
        place = self.checkpoints.place
        with contextlib.suppress(OSError):
            for path in Path(place).glob("*.safetensors"):
                path.unlink()
            place.rmdir()


def backup_among(callbacks: Any) -> BackupAndRestore | None:
    """The first one in a list of callbacks, or in lists of lists."""
    if isinstance(callbacks, list | tuple):
        return next((found for one in callbacks if (found := backup_among(one)) is not None), None)
    return callbacks if isinstance(callbacks, BackupAndRestore) else None
