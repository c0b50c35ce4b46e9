"""Files that are whole or not there, whenever a crash comes."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` where the block ends without an error.

    It is written beside the target, fsynced and renamed: several processes may do so at once, and each leaves a whole
    file. Raises: OSError.
    """
    # Not tempfile.mkstemp, whose files only their owner can read: a cache folder may serve a whole classroom.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the error above is the one to report, not the cleaning's
            temporary.unlink(missing_ok=True)
