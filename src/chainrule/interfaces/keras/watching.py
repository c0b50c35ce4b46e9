"""What looks on while a model trains: its history, and the tie between its optimizer and the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.training.callbacks.base import Callback
from chainrule.training.watch import History as WatchHistory

if TYPE_CHECKING:
    from chainrule.interfaces.keras.trainer import Trainer


class History(WatchHistory):
    """What fit returns: `history` has a list by name, `epoch` the numbers of the epochs, from 0."""

    def __init__(self, found: WatchHistory, model: Any, params: Mapping[str, Any]):
        super().__init__(found.steps_per_epoch)
        self.epoch, self.rows = found.epoch, found.rows
        self.interrupted, self.profile = found.interrupted, found.profile
        self.seconds = found.history.get("seconds", [])  # of each epoch
        self.history = {name: values for name, values in found.history.items() if name != "seconds"}
        self.model, self.params = model, dict(params)


class Bound(Callback):
    """While a model trains, its optimizer's learning rate and its stop_training are those of the training."""

    def __init__(self, owner: Trainer):
        self.owner = owner

    def on_train_begin(self, logs: Any = None) -> None:
        self.owner.training = self.owner.optimizer.training = self.training

    def on_train_end(self, logs: Any = None) -> None:
        self.release()

    def release(self) -> None:
        """Also where the training ended by an error."""
        optimizer, training = self.owner.optimizer, self.owner.training
        self.owner.training = optimizer.training = None
        if training is not None and isinstance(optimizer.rate, float) and np.isfinite(training.learning_rate):
            optimizer.rate = float(training.learning_rate)
