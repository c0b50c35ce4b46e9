"""A child process: trains on a file as a stream, as a map that is handed to fit, or on a slice of it in memory.

    python -m benchmarks.streams_worker HOW FOLDER HIDDEN EPOCHS MEMORY

HOW is stream, mapped or memory; FOLDER holds x.npy and y.npy. It answers as benchmarks.worker does: each "go" is an
epoch, and the "go" after the last one is answered with the peak of its anonymous resident memory.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import chainrule
from benchmarks.worker import Channel

CLASSES, BATCH = 10, 128
SLICE = 2  # in memory is the first half of the file
SAMPLED_EVERY = 0.005  # seconds
FORMULAS = """
input     x[i]
label     y in k
size      j = {hidden}, k = {classes}
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k]       = zeros
h[j] = relu(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E    = -log(sum[k]([k == y]*p[k]))
"""


def anonymous_bytes() -> int:
    """RssAnon of this process: its own memory, without the pages of files."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class Peak(threading.Thread):
    """The most anonymous resident memory there was."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.start()

    def run(self) -> None:
        while True:
            self.bytes = max(self.bytes, anonymous_bytes())
            time.sleep(SAMPLED_EVERY)


class EpochByEpoch:
    """A callback that trains an epoch when it is asked for one."""

    def __init__(self, channel: Channel):
        self.channel, self.began = channel, 0.0

    def begin(self) -> None:
        """Wait to be asked."""
        self.channel.wait()
        self.began = time.perf_counter()

    def __call__(self, epoch: int, logs: dict[str, Any]) -> None:
        """Answer, and wait again."""
        self.channel.send(seconds=time.perf_counter() - self.began)
        self.begin()


def given(how: str, folder: Path, memory: str) -> tuple[tuple[object, ...], int]:
    """What fit is handed, and how many rows it has."""
    x, y = (np.load(folder / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
    if how == "stream":
        return (chainrule.stream((folder / "x.npy", folder / "y.npy"), memory=memory),), len(x)
    if how == "mapped":
        return (x, y), len(x)
    return (np.array(x[: len(x) // SLICE]), np.array(y[: len(x) // SLICE])), len(x) // SLICE


def main(how: str, folder: str, hidden: str, epochs: str, memory: str) -> None:
    """Train, and say how it went."""
    channel, peak = Channel(), Peak()
    data, rows = given(how, Path(folder), memory)
    network = chainrule.formula(FORMULAS.format(hidden=hidden, classes=CLASSES))
    asked = EpochByEpoch(channel)
    channel.send(ready=True, rows=rows)
    asked.begin()
    network.fit(
        *data, epochs=int(epochs), batch_size=BATCH, optimizer="sgd", learning_rate=0.01, verbose=0, callbacks=[asked]
    )
    channel.send(rows=rows, peak_bytes=max(peak.bytes, anonymous_bytes()), threads=len(os.sched_getaffinity(0)))


if __name__ == "__main__":
    main(*sys.argv[1:])
