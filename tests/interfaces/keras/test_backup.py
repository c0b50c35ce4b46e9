"""BackupAndRestore: the same fit called again after a crash ends with the same bits."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from chainrule import callbacks, formula, layers, models, utils
from chainrule.errors import SettingError

RECORDED = Path(__file__).parents[2] / "golden" / "oracles" / "keras_signatures.json"
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(64, 5)).astype(np.float32)
Y = (X.sum(axis=1, keepdims=True) > 0).astype(np.float32)


class Crash(Exception):
    """Of the machine."""


class CrashAt(callbacks.Callback):
    def __init__(self, epoch: int):
        self.at = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.at:
            raise Crash

    def state_dict(self):
        return {}


def fit(folder: Path, *more: object, save_freq: object = "epoch", keep: bool = False, epochs: int = 6, seed: int = 0):
    utils.set_random_seed(seed)
    layer = layers.Dense(4, activation="relu", input_shape=(5,))
    model = models.Sequential([layer, layers.Dropout(0.2), layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer="adam", loss="binary_crossentropy")
    backup = callbacks.BackupAndRestore(folder, save_freq=save_freq, delete_checkpoint=not keep)
    history = model.fit(X, Y, epochs=epochs, batch_size=8, verbose=0, callbacks=[backup, *more])
    return [w.tobytes() for w in model.get_weights()], history


@pytest.mark.parametrize("save_freq", ["epoch", 3])
def test_the_same_fit_goes_on_to_the_same_bits(tmp_path, save_freq):
    whole, history = fit(tmp_path / "whole", CrashAt(99), save_freq=save_freq)
    with pytest.raises(Crash):
        fit(tmp_path / "backup", CrashAt(3), save_freq=save_freq)
    assert list((tmp_path / "backup" / "checkpoints").iterdir())
    again, found = fit(tmp_path / "backup", CrashAt(99), save_freq=save_freq, seed=5)
    assert again == whole
    assert found.history["loss"] == history.history["loss"]
    assert not (tmp_path / "backup" / "checkpoints").exists()


def test_what_is_kept_ends_a_fit_that_is_done(tmp_path):
    whole, _ = fit(tmp_path, keep=True)
    assert (tmp_path / "checkpoints").is_dir()
    again, found = fit(tmp_path, keep=True)
    assert (again, len(found.epoch)) == (whole, 6)
    assert fit(tmp_path, keep=True, epochs=8)[0] != whole


def test_its_arguments_are_keras(tmp_path):
    wanted = json.loads(RECORDED.read_text("utf-8"))["callbacks.BackupAndRestore"]
    assert list(inspect.signature(callbacks.BackupAndRestore).parameters) == [name for name, _ in wanted]
    with pytest.raises(SettingError, match="'minute'"):
        callbacks.BackupAndRestore(tmp_path, save_freq="minute")


def test_a_network_has_its_own_options(tmp_path):
    net = formula("input x\ntarget t\nparameter w = zeros\np = w*x\nE = (p - t)**2")
    with pytest.raises(SettingError, match="checkpoints="):
        net.fit([1.0], [1.0], callbacks=[callbacks.BackupAndRestore(tmp_path)], verbose=0, engine="interpreter")
