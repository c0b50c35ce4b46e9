"""The oracle around one case: which errors may come out, how long it may take, what it may touch."""

from __future__ import annotations

import resource
import signal
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.errors import ChainruleError

SECONDS = 2.0  # of the processor, so that a loaded machine finds no hangs
TICK = 0.5  # a timer for each case would cost more than most cases
MEGABYTES = 512  # beyond what the process holds when it begins
# What no reader has to do with: running code or programs, the network, removing files. Of "exec" only code that was
# made from a text counts: a module that is loaded late has the name of its file.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class")
FORBIDDEN += ("socket.connect", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree", "os.mkdir")
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class Broken(BaseException):
    """What a reader must not do. No Exception, so that no `except Exception` hides it."""


class Guard:
    """Watches this process; one for all cases, for an audit hook cannot be taken away."""

    def __init__(self) -> None:
        self.on = False
        self.seen = ""
        self.number = self.ticked = self.ticks = 0  # the case, the case at the last tick, and its ticks
        sys.addaudithook(self._heard)
        signal.signal(signal.SIGPROF, self._tick)
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
        warnings.simplefilter("always", SyntaxWarning)
        warnings.showwarning = self._warned

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "exec":
            name = str(getattr(arguments[0], "co_filename", "<string>"))
            if name == "<string>" or name.startswith("<chainrule"):
                self._say(f"exec of {arguments[0]!r}")
        elif event in FORBIDDEN:
            self._say(f"{event}{arguments!r}"[:200])
        elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
            self._say(f"open{arguments!r}"[:200])

    def _warned(self, message: Warning | str, kind: type[Warning], *_: Any) -> None:
        """Python's compiler warns of 1if: a reader of formulas has no use for that."""
        if self.on and issubclass(kind, SyntaxWarning):
            self._say(f"{kind.__name__}: {message}")

    def _say(self, what: str) -> None:
        self.seen = self.seen or what

    def _tick(self, *_: object) -> None:
        self.ticks = self.ticks + 1 if self.ticked == self.number else 0
        self.ticked = self.number
        if self.on and self.ticks * TICK >= SECONDS:
            raise Broken(f"still at it after {SECONDS} s")

    def close(self) -> None:
        """Listen no more; an audit hook stays, silent."""
        self.on = False
        signal.setitimer(signal.ITIMER_PROF, 0)

    def check(self, run: Callable[[bytes], object], data: bytes) -> bool:
        """Run a case; whether it was accepted. Raises: Broken for what must not happen, with the error behind it."""
        with self._watching():
            try:
                run(data)
            except ChainruleError as error:
                check_message(error)
                return False
            except Broken:
                raise
            except BaseException as error:
                raise Broken(f"{type(error).__name__}: {error}"[:300]) from error
        return True

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self.number += 1
        self.seen, self.on = "", True
        try:
            yield
        finally:
            self.on = False
        if self.seen:
            raise Broken(self.seen)


def check_message(error: ChainruleError) -> None:
    """A message is text that a terminal shows and does not obey: it can be encoded, and controls nothing."""
    text = str(error)
    if not text.strip() or any(
        unicodedata.category(c) in ("Cc", "Cs") or c in TURNING for c in text if c not in "\n\t"
    ):
        raise Broken(f"the message {text!r}"[:300])


def limit_memory(megabytes: int = MEGABYTES) -> None:
    """From now on this process may take so much more."""
    held = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (held + megabytes * 2**20, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
