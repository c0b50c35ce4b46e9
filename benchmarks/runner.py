"""Runs one case: every side in a process of its own, all alive at once, asked in turn.

Round 0 warms up (compilation, first touch of memory) and is not counted. In each later round every side trains one
epoch, or predicts, while the others wait: so a change of the machine's clock meets all of them. A peer runs once for
each number of threads; after the first counted round, settings that are clearly not its best drop out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import Case
from benchmarks.flops import floor_seconds, flops_per_sample, weight_bytes
from benchmarks.machine import cores, thread_settings
from benchmarks.sides import differs

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
CLEARLY_SLOWER = 1.15
PAUSE_SECONDS = 0.2  # threads of the last side's pool spin for a while before they sleep

Record = dict[str, Any]


class ChildFailed(Exception):
    """A child ended; the message is the last line of what it wrote to stderr."""


class Child:
    """A child process that answers lines of JSON."""

    def __init__(self, *arguments: str):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
        )

    def answer(self) -> Record:
        """The next line. Raises: ChildFailed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines()
            raise ChildFailed(lines[-1] if lines else f"exit code {self.process.wait()}")
        answer: Record = json.loads(line)
        return answer

    def go(self) -> Record:
        """Ask for one round. Raises: ChildFailed."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the answer says why
            print("go", file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


class Crew(ExitStack):
    """Children that end together."""

    def hire(self, *arguments: str) -> Child:
        """A child that has started; it is ready once it has answered."""
        started = Child(*arguments)
        self.callback(started.close)
        return started


@dataclass
class Entry:
    """One side with one number of threads; `threads` None is the side's own choice."""

    side: str
    threads: int | None
    child: Child | None = None
    seconds: list[float] = field(default_factory=list)
    reached: Record = field(default_factory=dict)
    error: str = ""

    def ask(self, question: Callable[[Child], Record]) -> Record:
        """What the child answers; {} where it is gone. A failure is kept, and ends this entry's part."""
        if self.child is None:
            return {}
        try:
            return question(self.child)
        except ChildFailed as failure:
            self.error, self.child = str(failure), None
            return {}


def entries_of(case: Case, threads: int | None = None) -> list[Entry]:
    """chainrule once, with its own choice of threads unless told; each peer with each number of threads."""
    peers = [side for side in case.sides if side != "chainrule"]
    return [Entry("chainrule", threads), *(Entry(side, n) for side in peers for n in thread_settings())]


def run_case(case: Case, rounds: int, threads: int | None = None) -> Record:
    """All rounds of one case, as the record that report and picture read."""
    with Crew() as crew:
        limits = crew.hire("benchmarks.floor", str(weight_bytes(case.formula)))
        entries = entries_of(case, threads)
        for entry in entries:
            entry.child = crew.hire(
                "benchmarks.worker", entry.side, case.name, str(entry.threads or 0), str(rounds + 1)
            )
        limits.answer()
        for entry in entries:
            entry.ask(Child.answer)
        found = [_round(entries, limits, number) for number in range(rounds + 1)][1:]
        for entry in entries:
            entry.reached = entry.ask(Child.go)
    return record(case, rounds, entries, {name: [limit[name] for limit in found] for name in found[0]})


def _round(entries: list[Entry], limits: Child, number: int) -> Record:
    """Ask every entry once, beginning with another one each time; the limits of the machine at that time."""
    first = number % len(entries)
    for entry in entries[first:] + entries[:first]:
        if entry.child is not None:
            time.sleep(PAUSE_SECONDS)
        answer = entry.ask(Child.go)
        if number > 0 and answer:
            entry.seconds.append(answer["seconds"])
    if number == 1:
        _drop_slow(entries)
    return limits.go()


def _drop_slow(entries: list[Entry]) -> None:
    for entry in entries:
        rivals = [other.seconds[0] for other in entries if other.side == entry.side and other.seconds]
        if entry.child is not None and entry.seconds[0] > CLEARLY_SLOWER * min(rivals):
            entry.child.close()
            entry.child = None


def record(case: Case, rounds: int, entries: list[Entry], limits: Mapping[str, list[float]]) -> Record:
    """What was found, as JSON holds it."""
    typical = {name: median(values) for name, values in limits.items()}
    backward = case.measure == "step"
    return {
        "case": case.name,
        "title": case.title,
        "measure": case.measure,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": rounds,
        "cores": cores(),
        "flops_per_sample": flops_per_sample(case.formula, backward=backward),
        "limits": dict(limits),
        "floor_seconds": floor_seconds(case, typical),
        "goals": dict(case.goals),
        "share_goal": case.share_goal,
        "sides": {side: _side_record(case, side, entries) for side in case.sides},
    }


def _side_record(case: Case, side: str, entries: list[Entry]) -> Record:
    """The side at the number of threads that was best for it."""
    own = [entry for entry in entries if entry.side == side]
    whole = [entry for entry in own if entry.reached]
    if not whole:
        return {"error": next((entry.error for entry in own if entry.error), "")}
    best = min(whole, key=lambda entry: median(entry.seconds))
    return {
        "threads": best.threads,
        "seconds": best.seconds,
        "tried": {str(entry.threads): entry.seconds for entry in own},
        "differs": differs(side, case),
        **best.reached,
    }
