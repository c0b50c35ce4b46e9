"""The team: barriers, words, stopping, errors."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from chainrule.kernels import threads as teams
from chainrule.kernels.compile import compile_source
from chainrule.kernels.host import host
from chainrule.kernels.threads import (
    ARRIVED,
    CONTROL_NAMES,
    CONTROL_WORDS,
    CROWDED,
    GENERATION,
    PROGRESS,
    QUEUE_WORDS,
    SLEEPERS,
    STOP,
    build_barrier,
    run_team,
)

# Each thread writes its own word, meets the others, and counts what it does not find in theirs.
MEETING = """
def meet(thread, threads, words, wrong, rounds, control):
    for r in range(1, rounds + 1):
        words[thread] = r
        barrier(control, threads)
        for other in range(threads):
            if words[other] != r:
                wrong[thread] += 1
        barrier(control, threads)

def epoch(thread, threads, address, number, scalar, control):
    meet(thread, threads, int64_at(address[0]), int64_at(address[1]), number[0], control)
    return 0
"""

# Steps until it is told to stop; one thread decides, all follow.
STEPPING = """
def decide(control):
    if load(control, STOP) != 0:
        store(control, DECIDED, 1)

def epoch(thread, threads, address, number, scalar, control):
    for s in range(number[0]):
        barrier(control, threads)
        if thread == 0:
            store(control, PROGRESS, s + 1)
            decide(control)
        barrier(control, threads)
        if load(control, DECIDED) != 0:
            return s + 1
    return number[0]
"""


# Rounds of units; each thread notes what it took, and as which of its own. Thread 0 may offer and take nothing.
TAKING = """
def epoch(thread, threads, address, number, scalar, control):
    taken = int64_at(address[0])
    units = int64_at(address[1])
    times = int64_at(address[2])
    most = number[0]
    for r in range(number[1]):
        for queue in range(2):
            offer(control, queue, thread, threads, units[r])
            if number[2] > 0:
                barrier(control, threads)
            if thread >= number[2]:
                count = 0
                unit = take(control, queue, thread, threads)
                while unit >= 0:
                    count += 1
                    place = ((r * 2 + queue) * most + unit) * threads + thread
                    times[place] += 1
                    taken[place] = count
                    unit = take(control, queue, thread, threads)
        barrier(control, threads)
    return 0
"""


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def nothing():
    pass


def caller(text, threads, rounds, *arrays):
    """(call, control, results) for run_team."""
    entry = compile_source(text, "float32").entry
    address = np.array([a.ctypes.data for a in arrays], dtype=np.int64)
    number, scalar = np.array([rounds]), np.zeros(1)
    control = np.zeros(CONTROL_WORDS, dtype=np.int64)
    results = [None] * threads

    def call(thread):
        pointers = [a.ctypes.data for a in (address, number, scalar, control)]
        results[thread] = entry(thread, threads, *pointers)

    return call, control, results


def meet(threads, rounds, crowded=0):
    words, wrong = np.zeros(threads, dtype=np.int64), np.zeros(threads, dtype=np.int64)
    call, control, _ = caller(MEETING, threads, rounds, words, wrong)
    control[CROWDED] = crowded
    run_team(call, threads, nothing, nothing)
    return words, wrong, control


def test_control_words_lie_on_cache_lines_of_their_own():
    places = [getattr(teams, name) for name in CONTROL_NAMES]
    assert sorted(places) == list(range(0, 8 * len(places), 8))
    assert CONTROL_WORDS == 8 * len(places)


@pytest.mark.parametrize("threads", [1, 2, 3, 2 * (os.cpu_count() or 1) + 1])
def test_all_meet(threads):
    rounds = 300
    words, wrong, control = meet(threads, rounds)
    assert not wrong.any()
    assert np.all(words == rounds)
    assert control[ARRIVED] == 0
    assert control[GENERATION] == (2 * rounds if threads > 1 else 0)


def take_units(threads, idle):
    """(units of each round, taken[round, queue, unit, thread]): the how-manieth unit of a thread it was, else 0.

    Each unit was taken once.
    """
    most, rng = 40, np.random.default_rng(threads)
    units = np.concatenate([[0, 1, most], rng.integers(0, most + 1, 200)])
    taken = np.zeros((len(units), 2, most, threads), np.int64)
    times = np.zeros_like(taken)
    entry = compile_source(TAKING, "float32").entry
    address = np.array([a.ctypes.data for a in (taken, units, times)], dtype=np.int64)
    number, scalar = np.array([most, len(units), idle]), np.zeros(1)
    control = np.zeros(CONTROL_WORDS + 2 * threads * QUEUE_WORDS, np.int64)
    words = [a.ctypes.data for a in (address, number, scalar, control)]
    run_team(lambda thread: entry(thread, threads, *words), threads, nothing, nothing)
    for queue in range(2):
        assert np.array_equal(times[:, queue].sum(axis=2), np.arange(most) < units[:, None])
    return units, taken


@pytest.mark.parametrize("threads", [1, 2, 3, 2 * (os.cpu_count() or 1) + 1])
def test_each_unit_is_taken_once(threads):
    take_units(threads, idle=0)


@pytest.mark.parametrize("threads", [2, 3, 2 * (os.cpu_count() or 1) + 1])
def test_who_is_free_helps(threads):
    """What thread 0 does not take, the others do: their own share from the first on, then its from the last on."""
    units, taken = take_units(threads, idle=1)
    assert not taken[..., 0].any()
    for round_, count in enumerate(units):
        for queue in range(2):
            if threads == 2:
                order = np.argsort(taken[round_, queue, :count, 1])
                half = count // 2
                assert list(order) == [*range(half, count), *reversed(range(half))]


@pytest.mark.parametrize("threads", [2, 2 * (os.cpu_count() or 1) + 1])
def test_all_meet_where_all_waiting_is_asleep(threads):
    """As on crowded cores, and for more threads than cores: nobody is left asleep, and nobody counted twice."""
    rounds = 300
    words, wrong, control = meet(threads, rounds, crowded=10**9)
    assert not wrong.any() and np.all(words == rounds)
    assert control[ARRIVED] == control[SLEEPERS] == 0
    assert control[GENERATION] == 2 * rounds


def test_two_teams_at_once():
    wrong = []
    callers = [threading.Thread(target=lambda: wrong.append(meet(2, 300)[1])) for _ in range(2)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert len(wrong) == 2 and not np.any(wrong)


PATHS = os.pathsep.join([str(Path(teams.__file__).parents[2]), str(Path(__file__).parents[2])])


def test_two_teams_in_two_processes():
    code = """
from tests.kernels.test_threads import meet
words, wrong, control = meet(2, 3000)
assert not wrong.any() and (words == 3000).all()
"""
    environment = {**os.environ, "PYTHONPATH": PATHS}
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]


@pytest.mark.parametrize(
    ("machine", "triple", "futex", "wanted", "unwanted"),
    [
        ("x86_64", "x86_64-unknown-linux-gnu", 202, ["lock", "pause", "syscall", "sched_yield"], []),
        ("aarch64", "aarch64-unknown-linux-gnu", 98, ["ldaxr", "yield", "syscall", "sched_yield"], []),
        ("arm64", "arm64-apple-darwin", None, ["ldaxr", "yield", "_sched_yield"], ["syscall"]),
    ],
)
def test_code_for_other_machines(monkeypatch, machine, triple, futex, wanted, unwanted):
    """Cross-compiled: the code is read, not run."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(teams, "FUTEX", futex)
    module = ir.Module()
    module.triple = triple
    build_barrier(module).linkage = "external"
    target = llvm.Target.from_triple(triple).create_target_machine(opt=3)
    code = target.emit_assembly(llvm.parse_assembly(str(module)))
    assert all(word in code for word in wanted)
    assert not any(word in code for word in unwanted)


# Thread t works on a number of its own, then all meet: `number[0]` square roots a step.
STEPS = """
def work(x, n):
    a = x[0]
    for i in range(n):
        a = sqrt(a + x[1])
    x[0] = a

def steps(thread, threads, x, times, n, rounds, control):
    last = clock()
    for r in range(rounds):
        work(at(x, 64 * thread), n)
        barrier(control, threads)
        if thread == 0:
            now = clock()
            times[r] = now - last
            last = now

def epoch(thread, threads, address, number, scalar, control):
    steps(thread, threads, F_at(address[0]), int64_at(address[1]), number[0], number[1], control)
    return 0
"""


def step_times(threads, roots, rounds):
    """What each step took, in µs."""
    entry = compile_source(STEPS, "float32").entry
    x, ticks = np.ones(64 * threads, np.float32), np.zeros(rounds, np.int64)
    address, number = np.array([x.ctypes.data, ticks.ctypes.data]), np.array([roots, rounds])
    control = np.zeros(CONTROL_WORDS, np.int64)

    def call(thread):
        entry(thread, threads, address.ctypes.data, number.ctypes.data, None, control.ctypes.data)

    start = time.perf_counter()
    run_team(call, threads, nothing, nothing)
    return ticks * (1e6 * (time.perf_counter() - start) / ticks.sum())


@contextmanager
def every_core_busy():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(host().cores)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.soak
@pytest.mark.skipif(not teams.FUTEX, reason="without sleep, a busy core is shared slice by slice")
@pytest.mark.parametrize(
    ("roots", "rounds", "measure"),
    [
        (2_000, 10_000, lambda times: np.percentile(times, 99)),  # 11 µs a step on a Zen 3
        (2_000, 10_000, np.mean),
        (8_000, 10_000, np.mean),  # 43 µs: one step in a hundred meets the end of a time slice
        (80_000, 2_000, np.mean),
    ],
)
def test_busy_cores_are_shared_fairly(roots, rounds, measure):
    """With a busy process on each core, a step takes at most three times its fair share: twice its time alone."""
    threads = host().cores
    fair = 2 * np.median(step_times(1, roots, rounds))
    shares = []
    with every_core_busy():
        for _ in range(3):
            shares.append(measure(step_times(threads, roots, rounds)) / fair)
    # The middle one: other work on the machine comes and goes.
    assert sorted(shares)[1] <= 3, shares


@pytest.mark.soak
@pytest.mark.skipif(not teams.FUTEX, reason="without sleep, a busy core is shared slice by slice")
def test_a_team_on_busy_cores_meets_few_more_time_slices_than_one_thread():
    """Steps of 430 µs: every tenth meets the end of a slice, for a thread that waits for nobody as well."""
    with every_core_busy():
        pairs = [
            [np.percentile(step_times(threads, 80_000, 2_000), 99) for threads in (host().cores, 1)] for _ in range(3)
        ]
    assert sorted(team / one for team, one in pairs)[1] <= 3, pairs


def test_stop_reaches_all_at_the_same_step():
    call, control, results = caller(STEPPING, 3, 10**9)

    def watch():
        if control[PROGRESS] > 0:
            control[STOP] = 1

    run_team(call, 3, watch, nothing, interval=0.01)
    assert len(set(results)) == 1
    assert results[0] == control[PROGRESS] < 10**9


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_while_watching_stops_the_team_and_is_raised(error):
    call, control, results = caller(STEPPING, 2, 10**9)

    def watch():
        raise error("while watching")

    def stop():
        control[STOP] = 1

    with pytest.raises(error, match="while watching"):
        run_team(call, 2, watch, stop, interval=0.01)
    # Both have ended before the exception came out.
    assert None not in results


def test_an_exception_in_a_call_is_raised():
    stopped = []

    def call(thread):
        if thread == 1:
            raise RuntimeError("thread 1")
        time.sleep(0.05)

    with pytest.raises(RuntimeError, match="thread 1"):
        run_team(call, 2, nothing, lambda: stopped.append(True), interval=0.01)
    assert stopped


def test_watch_is_called_once_more_at_the_end():
    done, seen = [], []
    run_team(done.append, 2, lambda: seen.append(len(done)), nothing)
    assert seen[-1] == 2


def test_a_thread_that_cannot_start_leaves_nobody_waiting(monkeypatch):
    started = []
    start = threading.Thread.start

    def refuse_the_second(self):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    called = []
    monkeypatch.setattr(threading.Thread, "start", refuse_the_second)
    with pytest.raises(RuntimeError, match="can't start"):
        run_team(called.append, 2, nothing, nothing)
    assert not called and not started[0].is_alive()
