"""Two hundred trainings killed by SIGKILL at random moments: each goes on, and ends with the bits of one that was never
interrupted. The seed of the moments is fixed; where a process stands at a moment is the machine's."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.kill_target import KINDS
from tests.killed import LIMIT, arrays, history, start

ROOT = Path(__file__).parents[2]
TRAININGS = 200
MOST_KILLS = 3  # of one training
COMMANDS = {
    "digits": (
        "mnist", "--rows", "2000", "--validation", "0.1", "--hidden", "16", "--batch-size", "16", "--epochs", "8",
        "--dropout", "0.2", "--schedule", "cosine", "--learning-rate", "0.01", "--clip-norm", "1", "--ema", "0.9",
        "--checkpoint-every", "25 steps",
    ),
    "table": (
        ROOT / "examples" / "penguins.csv", "--target", "species", "--batch-norm", "--batch-size", "4",
        "--epochs", "40", "--checkpoint-every", "0.05 seconds",
    ),
}  # fmt: skip


class Fit:
    """A training of tests/kill_target.py."""

    def __init__(self, kind: str, folder: Path):
        self.kind, self.folder = kind, folder

    def process(self, run: str, whole: bool = False) -> subprocess.Popen[str]:
        every = "whole" if whole else KINDS[self.kind][1]
        command = [sys.executable, "-m", "tests.kill_target", self.kind, run, every]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def result(self, run: str) -> object:
        with np.load(self.folder / run / "weights.npz") as found:
            weights = {name: found[name].tobytes() for name in found.files}
        with (self.folder / run / "history.csv").open() as file:
            return weights, [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


class Command:
    """A training of the command line."""

    def __init__(self, kind: str, folder: Path):
        self.options, self.folder = COMMANDS[kind], folder

    def process(self, run: str, whole: bool = False) -> subprocess.Popen[str]:
        if (self.folder / run / "run.json").exists():
            return start("train", "--resume", run, cwd=self.folder)
        return start("train", *self.options, *(("--checkpoint-every", "never") if whole else ()), "--out", run,
                     cwd=self.folder)  # fmt: skip

    def result(self, run: str) -> object:
        return arrays(self.folder / run), history(self.folder / run)


def finish(running: subprocess.Popen[str]) -> float:
    """Let it come to its end; the seconds."""
    began = time.monotonic()
    _, err = running.communicate(timeout=LIMIT)
    assert running.returncode == 0, err
    return time.monotonic() - began


def killed_at(running: subprocess.Popen[str], seconds: float) -> bool:
    """Whether it still ran then."""
    try:
        _, err = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        running.kill()
        running.communicate()
        return True
    assert running.returncode == 0, err
    return False


@pytest.mark.soak
@pytest.mark.parametrize("kind", [*KINDS, *COMMANDS])
def test_trainings_killed_at_random_moments(kind, tmp_path):
    training = Fit(kind, tmp_path) if kind in KINDS else Command(kind, tmp_path)
    training.process("compiled", whole=True).communicate(timeout=LIMIT)  # so that none of the others compiles
    seconds = finish(training.process("whole", whole=True))
    whole = training.result("whole")
    moments = np.random.default_rng([*kind.encode()])
    kills, different = 0, []
    wanted = -(-TRAININGS // (len(KINDS) + len(COMMANDS)))
    number = 0
    # Where the machine has become faster, more of them come to their end before the moment.
    while number < wanted or (kills < wanted and number < MOST_KILLS * wanted):
        run = f"run-{number}"
        for _ in range(MOST_KILLS):
            # Before its first checkpoint, in the midst of it, while it saves; a few come to their end.
            if not killed_at(training.process(run), moments.uniform(0.2, 1.1) * seconds):
                break
            kills += 1
        else:
            finish(training.process(run))
        if training.result(run) != whole:
            different.append(run)
        number += 1
    assert different == []
    assert kills >= wanted
    print(f"{kind}: {kills} kills")
