"""Long trainings and many of them: memory, threads and file handles stay as many as they were."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import numpy as np
import psutil
import pytest

import chainrule as cr
from chainrule.data.sources import Block, Field, Order, Source
from chainrule.training.callbacks import Callback
from chainrule.training.checkpoints import Checkpoints

TEXT = """
input     x[i]
target    t
parameter W1[i, j], W2[j] = glorot_uniform
parameter b1[j], b2       = zeros
size      j = 8
h[j] = tanh(sum[i](x[i]*W1[i, j]) + b1[j])
y = sum[j](h[j]*W2[j]) + b2
E = 1/2*(y - t)**2
"""
DRAW = np.random.default_rng(1)
X = DRAW.normal(size=(64, 4)).astype(np.float32)
T = X.sum(axis=1)

# What an epoch may leave behind: its row of the history has a few numbers and their dict, some 600 bytes; a leak of one
# small array an epoch, of 8 × 8 numbers, would be as much again.
BYTES_AN_EPOCH = 1_000
SLACK = 2_000_000  # of the allocator


class Looks(Callback):
    """A callback that looks at the weights after each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.last = self.training.weights()


class Rows(Source):
    """A source that reads anew for each epoch."""

    fields = {"x": Field((4,), np.dtype("f4")), "t": Field((), np.dtype("f4"))}
    rows = 64

    def blocks(self, order: Order | None, skip: int = 0):
        for start in range(skip, 64, 16):
            yield Block(x=X[start : start + 16], t=T[start : start + 16])

    def fingerprint(self) -> str:
        return "rows"


def anonymous_bytes() -> int:
    """RssAnon: what the process has in memory that no file is behind."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


def handles() -> tuple[int, int]:
    process = psutil.Process()
    return process.num_threads(), process.num_fds()


def fit(folder: Path, epochs: int, *, validated: bool, streamed: bool, kept: bool = False) -> None:
    net = cr.formula(TEXT)
    options: dict[str, object] = {"epochs": epochs, "batch_size": 16, "optimizer": "adam", "verbose": 0}
    if validated:
        options |= {"validation_data": (X, T), "callbacks": [Looks()]}
    if kept:
        options["checkpoints"] = Checkpoints(folder, every="never")
    if streamed:
        net.fit(Rows(), **options)
    else:
        net.fit(X, T, **options)


WAYS = [(False, False), (True, False), (False, True)]


def check_growth(folder: Path, epochs: int, validated: bool, streamed: bool) -> None:
    fit(folder, 100, validated=validated, streamed=streamed)  # compiled, and all that is made once
    before = anonymous_bytes()
    fit(folder, epochs, validated=validated, streamed=streamed)
    assert anonymous_bytes() - before <= BYTES_AN_EPOCH * epochs + SLACK


def check_handles(folder: Path, fits: int, streamed: bool) -> None:
    for number in range(3):
        fit(folder / f"before-{number}", 1, validated=True, streamed=streamed, kept=True)
    before, memory = handles(), anonymous_bytes()
    for number in range(fits):
        fit(folder / str(number), 1, validated=True, streamed=streamed, kept=True)
    gc.collect()
    assert handles() == before
    # A network that was let go of leaves nothing: 5 kB a fit are less than its weights, states and history.
    assert anonymous_bytes() - memory <= 5_000 * fits + SLACK


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is Linux's")


@needs_proc
@pytest.mark.parametrize(("validated", "streamed"), WAYS)
def test_memory_does_not_grow_over_epochs(tmp_path, validated, streamed):
    check_growth(tmp_path, 600, validated, streamed)


@needs_proc
@pytest.mark.parametrize("streamed", [False, True])
def test_fits_leave_no_threads_and_no_handles(tmp_path, streamed):
    check_handles(tmp_path, 12, streamed)


@needs_proc
@pytest.mark.soak
@pytest.mark.parametrize(("validated", "streamed"), WAYS)
def test_memory_does_not_grow_over_ten_thousand_epochs(tmp_path, validated, streamed):
    check_growth(tmp_path, 10_000, validated, streamed)


@needs_proc
@pytest.mark.soak
@pytest.mark.parametrize("streamed", [False, True])
def test_a_thousand_fits_leave_no_threads_and_no_handles(tmp_path, streamed):
    check_handles(tmp_path, 1_000, streamed)
