from __future__ import annotations

import gc
import threading
import time
import weakref

import psutil
import pytest

from chainrule.data.sources.prefetch import prefetch


def threads():
    return [t for t in threading.enumerate() if t.name == "chainrule-prefetch"]


def wait_for(condition, seconds=10.0):
    """Whether it becomes true; a test of threads may wait, never guess."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_the_items_are_the_same(depth):
    assert list(prefetch(iter(range(100)), depth)) == list(range(100))
    assert list(prefetch(iter(()), depth)) == []
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_ahead_than_was_said(depth):
    made = []

    def items():
        for k in range(100):
            made.append(k)
            yield k

    ahead = prefetch(items(), depth)
    for taken in range(20):
        assert next(ahead) == taken
        assert wait_for(lambda: len(made) == taken + 1 + depth)
        time.sleep(0.002)
        assert len(made) == taken + 1 + depth
    ahead.close()


def test_an_item_is_let_go_of_by_all_but_the_caller():
    class Item:
        pass

    known = []

    def items():
        for _ in range(6):
            item = Item()
            known.append(weakref.ref(item))
            yield item
            del item

    ahead = prefetch(items(), 1)
    for k in range(5):
        item = next(ahead)
        assert known[k]() is item
        del item
        gc.collect()
        assert known[k]() is None
    ahead.close()


def test_an_error_is_raised_where_the_item_would_have_come():
    def items():
        yield 1
        yield 2
        raise ValueError("the third")

    ahead = prefetch(items(), 5)
    assert (next(ahead), next(ahead)) == (1, 2)
    with pytest.raises(ValueError, match="the third"):
        next(ahead)
    assert threads() == []


def test_an_error_while_closing_is_raised_too():
    def items():
        try:
            yield 1
        finally:
            raise OSError("closing")

    with pytest.raises(OSError, match="closing"):
        list(prefetch(items(), 1))


def test_closing_ends_the_thread_and_closes_the_iterator_in_it():
    closed = []

    def items():
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    ahead = prefetch(items(), 2)
    next(ahead)
    ahead.close()
    assert closed == ["chainrule-prefetch"]
    assert threads() == []


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_an_error_of_the_caller_ends_the_thread(raised):
    closed = []

    def items():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    def work():
        for item in prefetch(items(), 2):
            if item == 3:
                raise raised

    with pytest.raises(raised):
        work()
    gc.collect()
    assert wait_for(lambda: closed == [True] and threads() == [])


def test_what_is_dropped_without_being_closed_ends_too():
    ahead = prefetch(iter(range(1000)), 2)
    next(ahead)
    del ahead
    gc.collect()
    assert wait_for(lambda: threads() == [])


def test_one_that_was_never_begun_has_no_thread():
    ahead = prefetch(iter(range(3)), 2)
    assert threads() == []
    ahead.close()
    assert threads() == []


def test_an_iterator_that_hangs_does_not_hold_up_the_caller():
    release = threading.Event()

    def items():
        yield 1
        release.wait()
        yield 2

    ahead = prefetch(items(), 1)
    next(ahead)
    begun = time.monotonic()
    ahead.close()
    assert time.monotonic() - begun < 30  # it waits two seconds, not for ever
    release.set()
    assert wait_for(lambda: threads() == [])


def test_a_thousand_uses_leave_no_threads_and_no_files(tmp_path):
    (tmp_path / "file").write_text("0123456789")

    def items():
        with open(tmp_path / "file") as file:
            while character := file.read(1):
                yield character

    list(prefetch(items(), 2))
    gc.collect()
    before = (psutil.Process().num_fds(), psutil.Process().num_threads())
    for use in range(1000):
        ahead = prefetch(items(), 1 + use % 3)
        for _ in range(use % 12):
            if next(ahead, None) is None:
                break
        ahead.close()
    # The system takes a moment after join to end a thread.
    assert wait_for(lambda: (psutil.Process().num_fds(), psutil.Process().num_threads()) <= before)
    assert threads() == []
