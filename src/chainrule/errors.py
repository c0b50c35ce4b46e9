"""Every exception that chainrule raises on purpose.

ChainruleError
├── FormulaError            the text of a formula; knows its line and column, draws a caret
│   ├── NotationError       not in the notation: syntax, brackets, bounds
│   ├── UnknownName         a function, tensor or index that nothing declares
│   ├── ShapeError          an index used with two sizes, a wrong number of indices
│   └── NotDifferentiable   a gradient is asked for through something that has none
├── DataError               the numbers handed in: width, labels, NaN, lengths (also a ValueError)
├── SettingError            an option: unknown optimizer, batch size zero (also a ValueError)
├── Diverged                training left the finite numbers; names epoch, step and equation
├── FileError               a file that cannot be read or written (also an OSError)
│   ├── ModelFileError      a model file that is damaged, too large, or not one
│   ├── CheckpointError     no checkpoint of a training that is whole
│   └── RunLocked           another training writes to this folder
└── CompileError            the compiled step could not be built

ChainruleWarning            wrong use that still runs: filter it with `warnings` (also a UserWarning)

Messages come from the catalogue (`chainrule.messages`), in the user's language, and each says what came, what was
wanted and what to do.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

SHOWN, SHOWN_BEFORE = 100, 70  # characters of a line, and how many of them left of the caret


class ChainruleError(Exception):
    """Anything that chainrule reports on purpose."""


@dataclass(frozen=True)
class Place:
    """Where in a text: `line` and `column` count from 1; `text` is that line as it was typed."""

    line: int
    column: int
    text: str

    def caret(self) -> str:
        """The line with a caret under the column; of a long line, the part around it."""
        start = max(0, self.column - 1 - SHOWN_BEFORE) if len(self.text) > SHOWN else 0
        cut = "…" if start else ""
        before = cut + self.text[start : self.column - 1]
        after = self.text[max(start, self.column - 1) : start + SHOWN]
        # Hangul takes two columns of a terminal, an accent on the letter before it none.
        width = sum(2 if east_asian_width(c) in "WF" else not combining(c) for c in before)
        return f"    {before}{after}{'…' if start + SHOWN < len(self.text) else ''}\n    {' ' * width}^"


class FormulaError(ChainruleError, ValueError):
    """A formula that cannot be understood. `place` is None where no one place is to blame."""

    def __init__(self, message: str, place: Place | None = None):
        self.message = message
        self.place = place
        super().__init__(
            message if place is None else f"line {place.line}, column {place.column}: {message}\n{place.caret()}"
        )


class NotationError(FormulaError):
    """Not in the notation: syntax, brackets, bounds on length and nesting."""


class UnknownName(FormulaError):
    """A function, tensor or index that nothing declares."""


class ShapeError(FormulaError):
    """An index with two sizes, none, or a wrong number of indices."""


class NotDifferentiable(FormulaError):
    """A gradient is asked for through something that has none."""


class DataError(ChainruleError, ValueError):
    """The numbers handed in do not fit: width, labels, NaN, lengths."""


class SettingError(ChainruleError, ValueError):
    """An option that does not exist or has a value out of range."""


class Diverged(ChainruleError, ArithmeticError):
    """Training left the finite numbers.

    `epoch` and `step` count from 1; `equation` is the first one that became non-finite.
    """

    def __init__(self, message: str, *, epoch: int, step: int, equation: str):
        super().__init__(message)
        self.epoch, self.step, self.equation = epoch, step, equation


class FileError(ChainruleError, OSError):
    """A file that cannot be read or written."""


class ModelFileError(FileError):
    """A model file that is damaged, too large, or not one."""


class CheckpointError(FileError):
    """No checkpoint of a training that is whole."""


class RunLocked(FileError):
    """Another training writes to this folder."""


class CompileError(ChainruleError, RuntimeError):
    """The compiled step could not be built."""


class ChainruleWarning(UserWarning):
    """Something that runs, but hardly as it was meant: unscaled inputs, units that never answer."""


def warn(text: str) -> None:
    """A ChainruleWarning at the user's line that called into chainrule, so that it is shown once for each such line."""
    depth, frame = 1, sys._getframe(0)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "chainrule":
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]  # None above the first frame
    warnings.warn(text, ChainruleWarning, stacklevel=depth)
