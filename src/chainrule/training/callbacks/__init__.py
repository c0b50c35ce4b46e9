"""What looks on while a network trains: Keras's callbacks, by Keras's names and signatures.

base         Callback, CallbackList, LambdaCallback; a plain function (epoch, logs) is one too
monitor      what watches one quantity: EarlyStopping, ReduceLROnPlateau; LearningRateScheduler, TerminateOnNaN
checkpoint   ModelCheckpoint
backup       BackupAndRestore
loggers      CSVLogger, TensorBoard
"""

from __future__ import annotations

from chainrule.training.callbacks.backup import BackupAndRestore
from chainrule.training.callbacks.base import Callback, CallbackList, LambdaCallback
from chainrule.training.callbacks.checkpoint import ModelCheckpoint
from chainrule.training.callbacks.loggers import CSVLogger, TensorBoard
from chainrule.training.callbacks.monitor import (
    EarlyStopping,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TerminateOnNaN,
)

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
