"""What ends a command from outside: Ctrl-C, SIGTERM (a service's stop), SIGHUP (a terminal that closes).

In a training the first one ends it after the step, and everything is saved; the second ends the command at once, and no
file is damaged. The exit code is what shells report of such an end: 128 + the signal's number.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from chainrule.training import loop
from chainrule.training.watch import HANDED_ON

OFFSET = 128


class Ending:
    """While a command runs: SIGTERM and SIGHUP end it by its own hand, so that what it has is saved and let go of.

    `number` is the signal that came, None where none did; in a training fit takes it first, ends after the step, and
    hands it on to here. A signal that is ignored (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._training = False
        self._previous: dict[int, Any] = {}

    @property
    def code(self) -> int:
        """The exit code of what was ended."""
        return OFFSET + (signal.SIGINT if self.number is None else self.number)

    def __enter__(self) -> Ending:
        if threading.current_thread() is threading.main_thread():
            for number in HANDED_ON:
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    @contextmanager
    def in_training(self) -> Iterator[None]:
        """While fit runs."""
        self._training = True
        try:
            yield
        finally:
            self._training = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._training and self.number is None and _handed_on(frame):
            self.number = number
            return
        self.number = self.number or number
        raise SystemExit(self.code)


def _handed_on(frame: FrameType | None) -> bool:
    """Whether fit raised it again, after the step and the checkpoint; else it came while the step was compiled."""
    return frame is not None and frame.f_code is loop.train.__code__
