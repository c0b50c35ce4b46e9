"""The team: barriers, words, stopping, errors."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from chainrule.kernels.compile import compile_source
from chainrule.kernels.threads import ARRIVED, CONTROL_NAMES, CONTROL_WORDS, GENERATION, PROGRESS, STOP, run_team

# Each thread writes its own word, meets the others, and counts what it does not find in theirs.
MEETING = """
@kernel
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
@kernel
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


def meet(threads, rounds):
    words, wrong = np.zeros(threads, dtype=np.int64), np.zeros(threads, dtype=np.int64)
    call, control, _ = caller(MEETING, threads, rounds, words, wrong)
    run_team(call, threads, nothing, nothing)
    return words, wrong, control


def test_control_words_lie_on_cache_lines_of_their_own():
    from chainrule.kernels import threads

    places = [getattr(threads, name) for name in CONTROL_NAMES]
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


def test_two_teams_at_once():
    wrong = []
    callers = [threading.Thread(target=lambda: wrong.append(meet(2, 300)[1])) for _ in range(2)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert len(wrong) == 2 and not np.any(wrong)


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
