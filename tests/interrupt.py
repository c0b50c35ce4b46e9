"""Ctrl-C as a person presses it: some time after the training began."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chainrule.training.watch import Watcher

LIMIT = 60.0  # seconds: so long may the compilation take, and as long the end of the training


@contextmanager
def ctrl_c_in_training(after: float = 0.3) -> Iterator[None]:
    """Send SIGINT `after` seconds after a fit in this block has begun to train; it must then end within LIMIT.

    Compiling takes 0.1 s or 10 s, so a clock that runs from the start of fit would hit anything: who asks for the
    signal is the one who knows.
    """
    ended = threading.Event()

    def in_training() -> bool:
        return isinstance(getattr(signal.getsignal(signal.SIGINT), "__self__", None), Watcher)

    def interrupt() -> None:
        deadline = time.monotonic() + LIMIT
        while not in_training() and not ended.wait(0.01) and time.monotonic() < deadline:
            pass
        ended.wait(after)
        os.kill(os.getpid(), signal.SIGINT)
        # The second one does not wait for the step: it ends a training that the first one did not.
        if not ended.wait(LIMIT):
            os.kill(os.getpid(), signal.SIGINT)

    # A handler that does nothing takes a signal that comes before the training or after it.
    old = signal.signal(signal.SIGINT, lambda *_: None)
    other = threading.Thread(target=interrupt)
    other.start()
    try:
        yield
    finally:
        ended.set()
        other.join()
        signal.signal(signal.SIGINT, old)
