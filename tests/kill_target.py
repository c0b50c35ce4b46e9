"""A training to be killed: `python -m tests.kill_target KIND FOLDER EVERY`.

It goes on from what FOLDER has, else it begins; at its end FOLDER has weights.npz and history.csv. KIND is one of
KINDS, each with a state of another sort that must survive: see there. EVERY "whole" keeps no checkpoints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.training.callbacks import Callback, EarlyStopping, LearningRateScheduler, ReduceLROnPlateau
from chainrule.training.checkpoints import Checkpoints
from chainrule.training.optimizer import Optimizer

TEXT = """
input     x[i]
target    t
parameter W1[i, j], W2[j] = glorot_uniform
parameter b1[j], b2       = zeros
size      j = 16
h[j] = tanh(sum[i](x[i]*W1[i, j]) + b1[j])
random m[j] = bernoulli(0.8)
prediction m[j] = 0.8
y = sum[j](h[j]*m[j]*W2[j]) + b2
E = 1/2*(y - t)**2
"""
ROWS, WIDTH = 3_000, 20
DRAW = np.random.default_rng(5)
X = DRAW.normal(size=(ROWS, WIDTH)).astype(np.float32)
T = np.tanh(X.sum(axis=1))
HELD = slice(0, 300)


class Counts(Callback):
    """A callback of each step, whose own count changes the weights."""

    state_names = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count % 100 == 0:
            weights = self.training.weights()
            self.training.set_weights({"b2": weights["b2"] + np.float32(1e-3 * (self.count // 100))})


def memory() -> dict[str, Any]:
    return {"data": (X, T), "learning_rate": "cosine", "optimizer": "adam"}


def averaged() -> dict[str, Any]:
    rule = Optimizer("momentum", global_clip_norm=1.0, ema=0.95, learning_rate=0.01)
    return {"data": (X, T), "optimizer": rule, "validation_split": 0.1}


def callbacks() -> dict[str, Any]:
    stop = EarlyStopping("val_loss", patience=500, restore_best_weights=True)
    rate = ReduceLROnPlateau("val_loss", factor=0.7, patience=1)
    return {"data": (X, T), "optimizer": "rmsprop", "callbacks": [stop, rate], "validation_data": (X[HELD], T[HELD])}


def each_step() -> dict[str, Any]:
    rate = LearningRateScheduler(lambda epoch: 0.01 / (1 + epoch))
    return {"data": (X, T), "optimizer": "adam", "callbacks": [Counts(), rate], "epochs": 6}


def interpreted() -> dict[str, Any]:
    return {"data": (X, T), "optimizer": "adam", "engine": "interpreter", "epochs": 6}


def mapped() -> dict[str, Any]:
    np.save("x.npy", X)
    np.save("t.npy", T)
    return {"data": (cr.stream(("x.npy", "t.npy"), memory="2MB"),), "optimizer": "adam"}


def parquet() -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {**{f"x{n}": X[:, n] for n in range(WIDTH)}, "t": T}
    if not Path("rows.parquet").exists():
        pq.write_table(pa.table(columns), f"rows.{os.getpid()}", row_group_size=500)
        os.replace(f"rows.{os.getpid()}", "rows.parquet")
    return {"data": (cr.stream("rows.parquet", target="t", memory="4MB"),), "optimizer": "adam"}


KINDS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "memory": (memory, "20 steps"),
    "averaged": (averaged, "1 epoch"),
    "callbacks": (callbacks, "0.05 seconds"),
    "each_step": (each_step, "7 steps"),
    "interpreted": (interpreted, "0.0005 minutes"),
    "mapped": (mapped, "9 steps"),
    "parquet": (parquet, "0.02 seconds"),
}


def main(kind: str, folder: str, every: str) -> None:
    make, _ = KINDS[kind]
    options = {"epochs": 12, "batch_size": 32, "seed": 3, "verbose": 0, **make()}
    if every != "whole":
        options |= {"checkpoints": Checkpoints(folder, every=every), "resume": True}
    net = cr.formula(TEXT)
    history = net.fit(*options.pop("data"), **options)
    Path(folder).mkdir(exist_ok=True)
    history.save(Path(folder, "history.csv"))
    np.savez(Path(folder, "weights.new.npz"), **net.parameters)
    os.replace(Path(folder, "weights.new.npz"), Path(folder, "weights.npz"))


if __name__ == "__main__":
    main(*sys.argv[1:])
