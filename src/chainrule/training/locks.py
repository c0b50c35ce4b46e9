"""One training a folder: the second is refused, not interleaved.

The system itself holds the lock (flock, through filelock), so that a training that was killed holds none.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from chainrule.errors import FileError, RunLocked
from chainrule.messages import say

LOCK, HOLDER = ".lock", ".holder.json"
MAX_HOLDER_BYTES = 4096


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made where it is missing. Within one thread it may be held again.

    Raises: RunLocked, naming who holds it; FileError where it cannot be made or written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout:
        raise RunLocked(say("checkpoints.locked", folder=folder, holder=_holder(folder))) from None
    except (OSError, ValueError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(say("training.cannot_write", path=folder, reason=reason)) from None
    try:
        if lock.lock_counter == 1:
            _sign(folder)
        yield
    finally:
        if lock.lock_counter == 1:
            # While it is still held: afterwards it may be another's. The lock's file stays: who removed it could hold
            # what another process still waits for, beside a third that makes it anew.
            with contextlib.suppress(OSError):
                (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a training writes to the folder at this moment."""
    from filelock import FileLock, Timeout

    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _sign(folder: Path) -> None:
    """Say who holds it. It is for messages only: a full disk does not matter here."""
    who = {"process": os.getpid(), "host": platform.node(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    with contextlib.suppress(OSError):
        (folder / HOLDER).write_text(json.dumps(who), encoding="utf-8")


def _holder(folder: Path) -> str:
    """Who says to hold it; empty where that is not known."""
    try:
        with (folder / HOLDER).open("rb") as file:
            who = json.loads(file.read(MAX_HOLDER_BYTES))
        values = {name: str(who[name])[:80] for name in ("process", "host", "since")}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return " " + say("checkpoints.holder", **values)
