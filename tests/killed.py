"""Trainings of the command line in processes of their own, to be killed, and what they leave compared."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file

LIMIT = 120.0  # seconds: so long may a process take to come where it is killed


def start(*arguments: object, cwd: Path | str = ".") -> subprocess.Popen[str]:
    """`chainrule …` as a process, to which SIGHUP is what it is to any, also where the tests run under nohup."""
    command = [sys.executable, "-m", "chainrule", *map(str, arguments)]
    environment = {**os.environ, "CHAINRULE_LANG": "en"}
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a process begins with what is ignored here
    try:
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGHUP, hangup)


def wait_for(running: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    """Until something is there; fails where the process ends before, or time runs out."""
    deadline = time.monotonic() + LIMIT
    while not there():
        assert running.poll() is None, f"ended before: {running.communicate()}"
        assert time.monotonic() < deadline, "never came so far"
        time.sleep(0.002)


def steps_kept(run: Path | str) -> int:
    """The number of steps of the newest checkpoint, -1 without one."""
    try:
        return max((int(p.stem) for p in Path(run, "checkpoints").glob("[0-9]*.safetensors")), default=-1)
    except FileNotFoundError:  # one was dropped while we looked
        return -1


def arrays(run: Path | str) -> dict[str, bytes]:
    """The bytes of each array of a run's model."""
    return {n: a.dtype.str.encode() + a.tobytes() for n, a in load_file(Path(run, "model.safetensors")).items()}


def history(run: Path | str) -> list[dict[str, str]]:
    """The rows of a run's history, without the seconds, which are never the same."""
    with Path(run, "history.csv").open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
