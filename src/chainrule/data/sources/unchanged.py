"""Files that must stay as they are while a training reads them."""

from __future__ import annotations

import os
from pathlib import Path

from chainrule.errors import FileError
from chainrule.messages import say


class Unchanged:
    """A file as it was when it was opened.

    To read a mapped page that is no longer in the file ends the process (SIGBUS), so a source asks before it reads.
    Where `size_only`, others may write to it: the file of an array that the user has mapped, perhaps for writing.
    """

    def __init__(self, path: Path, *, size_only: bool = False):
        self.path, self.size_only = path, size_only
        self._was = self._now()

    def check(self) -> None:
        """Raises: FileError where the file is another now, or gone."""
        if self._now() != self._was:
            raise FileError(say("sources.changed", path=self.path))

    def _now(self) -> tuple[int, int]:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise FileError(say("data.cannot_read", path=self.path, reason=error.strerror or error)) from None
        return found.st_size, 0 if self.size_only else found.st_mtime_ns
