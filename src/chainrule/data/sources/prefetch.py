"""Read ahead in a thread: what comes next is made while the one before is worked on."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")

LONGEST_WAIT = 2.0  # seconds for a thread that is told to end: one block takes milliseconds, a user's iterable anything
GLANCE = 0.5  # seconds: a wait without end cannot be interrupted everywhere (Windows)


def prefetch(iterator: Iterator[Item], depth: int = 1) -> Generator[Item, None, None]:
    """The same items; up to `depth` of them are made ahead, in a thread, while the caller has one.

    The thread begins with the first item that is asked for. An error is raised where the item would have come. Closing
    the generator, or leaving it in any other way, ends the thread and closes the iterator, in the thread.

    Example:
    >>> list(prefetch(iter("abc"), 2))
    ['a', 'b', 'c']
    """
    reader = _Reader(iterator, depth)
    reader.start()
    try:
        while (taken := reader.take())[0] == "item":
            yield taken.pop()  # the caller's alone: a local would hold it while the caller works, and drops it
        if taken[0] == "error":
            raise taken.pop()
    finally:
        reader.end()


class _Reader(threading.Thread):
    """Makes items and puts them down where there is room. It does not know who takes them, and so outlives no one."""

    def __init__(self, iterator: Iterator[Any], depth: int):
        super().__init__(name="chainrule-prefetch", daemon=True)
        self.iterator, self.ended = iterator, False
        self.room = threading.Semaphore(max(1, depth))
        self.made: SimpleQueue[list[Any]] = SimpleQueue()

    def run(self) -> None:
        try:
            last: list[Any] = ["end"]
            try:
                self._make()
            except BaseException as error:  # noqa: BLE001 (whatever it is, it is raised where the item would have come)
                last = ["error", error]
            finally:
                self._close()
            self.made.put(last)
        except BaseException as error:  # noqa: BLE001 (closing failed: the caller waits for an answer)
            self.made.put(["error", error])

    def _make(self) -> None:
        while True:
            self.room.acquire()
            if self.ended:
                return
            try:
                item = next(self.iterator)
            except StopIteration:
                return
            self.made.put(["item", item])
            del item  # the caller's alone: it must not be held while the next is made

    def _close(self) -> None:
        close = getattr(self.iterator, "close", None)
        if close is not None:
            close()

    def take(self) -> list[Any]:
        """What kind of thing comes next, and it, waiting for it; then there is room for another."""
        while True:
            try:
                found = self.made.get(timeout=GLANCE)
            except Empty:
                continue
            self.room.release()
            return found

    def end(self) -> None:
        """Stop making items; drop those that wait."""
        self.ended = True
        self.room.release()
        self.join(LONGEST_WAIT)
        while not self.made.empty():
            self.made.get()
