"""Files that are whole or not there: written beside the target, fsynced, renamed, and the folder fsynced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from chainrule.data.whole_files import replacing
from chainrule.errors import FileError
from chainrule.messages import say


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one. Raises: FileError, one line."""
    with written(path) as file:
        file.write(content)


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the place of the old one at the end; an error leaves the old one.

    Raises: FileError, one line, for what the system says of this file.
    """
    if "\0" in str(path) or not path.name:  # no name of a file
        raise FileError(say("training.cannot_write", path=path, reason=repr(str(path))))
    try:
        with replacing(path) as file:
            yield file
        _sync_folder(path.parent)
    except FileError:  # of another file, which is read while this one is written
        raise
    except OSError as error:
        raise FileError(say("training.cannot_write", path=path, reason=error.strerror or error)) from None


def _sync_folder(folder: Path) -> None:
    """So that the rename itself survives a power cut. Windows has no folders to open."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
