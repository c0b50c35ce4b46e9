"""A child process: one side of one case, timed when asked.

    python -m benchmarks.worker SIDE CASE THREADS EPOCHS

It speaks in lines on stdin and stdout. Once all is in memory it says {"ready": true}. Each "go" is one round and is
answered with {"seconds": …} of one training step or one prediction; the "go" after the last round with what the side
has reached. THREADS 0 leaves the choice to the side; else the process keeps to so many cores, which is how a library
without a setting of its own is given a number of threads.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import numpy as np

from benchmarks.cases import CASES, GROWTH_CASES, Case
from benchmarks.data import Array, Data, first_weights, load, score
from benchmarks.sides import ProfiledSide, Setup, Side, make_side

SINGLE_ROWS = 1_000  # predictions of one row, one after the other, in a round
REPEATS = 5  # predictions of many rows in a round


class Channel:
    """The pipe to the parent. What a library prints goes to stderr instead."""

    def __init__(self) -> None:
        self.out: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(self, **answer: object) -> None:
        """Answer the parent."""
        print(json.dumps(answer), file=self.out, flush=True)

    def wait(self) -> None:
        """Wait for the next "go"."""
        if not sys.stdin.readline():
            sys.exit()  # the parent is gone, or wants no more of this side


def keep_to_cores(threads: int) -> None:
    """Run on the first so many of the cores that this process may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def train_rounds(side: Side, case: Case, epochs: int, channel: Channel) -> None:
    """One epoch a round."""
    started = 0.0

    def between() -> None:
        nonlocal started
        channel.send(seconds=(time.perf_counter() - started) / case.steps)
        channel.wait()
        started = time.perf_counter()

    channel.wait()
    started = time.perf_counter()
    side.train(epochs, between)


def predict_rounds(time_predictions: Callable[[], float], rounds: int, channel: Channel) -> None:
    """One series of predictions a round."""
    channel.wait()
    for _ in range(rounds):
        channel.send(seconds=time_predictions())
        channel.wait()


def time_single_rows(side: Side, inputs: Array) -> Callable[[], float]:
    """The median time of a prediction of one row."""
    held = [side.hold(inputs[row : row + 1]) for row in range(SINGLE_ROWS)]
    return lambda: statistics.median(time_of(side, row) for row in held)


def time_many_rows(side: Side, inputs: Array) -> Callable[[], float]:
    """The median time of a prediction of all rows."""
    held = side.hold(inputs)
    return lambda: statistics.median(time_of(side, held) for _ in range(REPEATS))


def time_of(side: Side, held: object) -> float:
    """One prediction, in seconds."""
    started = time.perf_counter()
    side.predict(held)
    return time.perf_counter() - started


def reached(side: Side, name: str, case: Case, data: Data) -> dict[str, float]:
    """The loss and accuracy on the test data."""
    outputs = np.asarray(side.predict(side.hold(test_inputs(name, data))))
    return score(case, outputs, data.test.targets)


def test_inputs(name: str, data: Data) -> Array:
    """The test rows as a side takes them: chainrule bytes, the others numbers."""
    return data.test.inputs if name == "chainrule" else data.numbers(data.test.inputs)


def forget_peak() -> None:
    """Begin to measure peak_bytes from what is in use now, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def case_of(name: str) -> Case:
    """A case of either table."""
    return GROWTH_CASES[name] if name in GROWTH_CASES else CASES[name]


def serve(name: str, case: Case, threads: int | None, rounds: int) -> None:
    """Load, say so, and be timed."""
    if threads is not None:
        keep_to_cores(threads)
    channel = Channel()
    data = load(case)
    forget_peak()
    before = peak_bytes()
    side = make_side(name, Setup(case, data, first_weights(case.layers), threads))
    channel.send(ready=True)
    if case.measure == "step":
        train_rounds(side, case, rounds, channel)
    else:
        timed = time_single_rows if case.measure == "row" else time_many_rows
        predict_rounds(timed(side, test_inputs(name, data)), rounds, channel)
    memory = peak_bytes() - before
    found = reached(side, name, case, data) | {"memory_bytes": memory}
    if isinstance(side, ProfiledSide) and case.measure == "step":
        found["loops_share"] = side.loops_share()
    channel.send(**found)


if __name__ == "__main__":
    serve(sys.argv[1], case_of(sys.argv[2]), int(sys.argv[3]) or None, int(sys.argv[4]))
