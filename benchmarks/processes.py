"""Times whole processes: from start to exit, with warm caches of the disk and of the compilers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.cases import CASES, Case
from benchmarks.data import load
from benchmarks.runner import ENVIRONMENT, PAUSE_SECONDS, ROOT, Record

FIRST_SEED = 20  # docs/time-to-98.md: 20 to 29, with five rounds
SEEDS_PER_ROUND = 2
# JAX keeps what it compiled, however fast it was to compile.
KEPT = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


def run_processes(case: Case, rounds: int) -> Record:
    """The program of each side, in turn; the first round, which fills the caches, is not counted."""
    sides: dict[str, Record] = {side: {"threads": None, "seconds": [], "differs": ""} for side in case.sides}
    with tempfile.TemporaryDirectory() as folder:
        write_mnist(Path(folder))
        for number in range(rounds + 1):
            for side, found in sides.items():
                seconds, reached = time_process(["-m", "benchmarks.program", side, folder], folder)
                found.update(reached)
                if number > 0:
                    found["seconds"].append(seconds)
    return _record(case, rounds, sides)


def run_record(case: Case, rounds: int) -> Record:
    """The process to 98 %, once for each seed; before them once more, to fill the caches."""
    seconds, reached = [], []
    for seed in (FIRST_SEED, *range(FIRST_SEED, FIRST_SEED + SEEDS_PER_ROUND * rounds)):
        taken, found = time_process(["benchmarks/time_to_98.py", str(seed)])
        seconds.append(taken)
        reached.append(found.get("accuracy", 0.0))
    # The accuracy of the worst seed: 98 % or more means that all have reached it.
    own = {"threads": None, "seconds": seconds[1:], "accuracy": min(reached), "accuracies": reached[1:]}
    return _record(case, rounds, {"chainrule": own})


def time_process(arguments: Sequence[str], folder: str = "") -> tuple[float, Record]:
    """The wall time of a Python process and the JSON of its last line; what fails is told, not raised."""
    time.sleep(PAUSE_SECONDS)
    environment = os.environ | ENVIRONMENT | KEPT | {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # warm: Python's own cache too, for every side
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment)
    seconds = time.perf_counter() - started
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    if not lines:
        return seconds, {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    reached: Record = json.loads(lines[-1])
    return seconds, reached


def write_mnist(folder: Path) -> None:
    """MNIST as four files that any NumPy reads at once."""
    data = load(CASES["A"])
    for name, split in (("train", data.train), ("test", data.test)):
        np.save(folder / f"{name}-inputs.npy", split.inputs)
        np.save(folder / f"{name}-targets.npy", split.targets)


def _record(case: Case, rounds: int, sides: Record) -> Record:
    return {
        "case": case.name,
        "title": case.about,
        "measure": case.measure,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": rounds,
        "goals": dict(case.goals),
        "sides": {side: {"error": found["error"]} if "error" in found else found for side, found in sides.items()},
    }
