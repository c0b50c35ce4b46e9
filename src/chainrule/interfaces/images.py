"""What a model of images keeps in its file beside the formulas: the shape of its images, the names of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule.errors import ModelFileError
from chainrule.messages import say
from chainrule.training.network import Network

NOTE = "images"
MAX_CLASSES, MAX_NAME = 100_000, 1_000
COLOURS = 3


@dataclass(frozen=True)
class ImageNote:
    """`shape` is (rows, columns) or (rows, columns, 3). `data` is the data set that it was trained on, by name.

    `resized` says that the training images were made this size, so that others are, too; where it is false, an image
    of another size is refused.
    """

    shape: tuple[int, ...]
    classes: tuple[str, ...]
    data: str | None = None
    resized: bool = False

    @property
    def numbered(self) -> bool:
        """Whether the classes are called by their numbers: 0, 1, 2, …"""
        return self.classes == numbers(len(self.classes))


def called(number: int, classes: tuple[str, ...]) -> str | int:
    """The name of a class: of digits, and where there are no names, the number itself.

    >>> called(1, ("cat", "dog")), called(1, ("0", "1"))
    ('dog', 1)
    """
    named = 0 <= number < len(classes) and classes != numbers(len(classes))
    return classes[number] if named else number


def numbers(count: int) -> tuple[str, ...]:
    """What classes without names are called.

    >>> numbers(3)
    ('0', '1', '2')
    """
    return tuple(map(str, range(count)))


def keep_note(network: Network, note: ImageNote) -> None:
    """Put the note into the network's notes, from where the model file has it."""
    network.notes[NOTE] = {
        "shape": list(note.shape),
        "classes": list(note.classes),
        "data": note.data,
        "resized": note.resized,
    }


def note_of(network: Network, path: Path) -> ImageNote | None:
    """The note of a model file; None where it has none. Raises: ModelFileError for one that is damaged."""
    kept = network.notes.get(NOTE)
    if kept is None:
        return None
    try:
        note = _read(kept)
    except (KeyError, TypeError, ValueError):
        raise ModelFileError(say("datasets.bad_note", path=path)) from None
    return note


def _read(kept: Any) -> ImageNote:
    """Raises: KeyError, TypeError, ValueError."""
    shape, classes, data = kept["shape"], kept["classes"], kept["data"]
    if not _are(shape, int) or not _are(classes, str) or not isinstance(data, str | None):
        raise TypeError
    good_shape = len(shape) in (2, 3) and all(0 < size < 2**31 for size in shape) and shape[2:] in ([], [COLOURS])
    if not good_shape or len(classes) > MAX_CLASSES or any(len(name) > MAX_NAME for name in classes):
        raise ValueError
    return ImageNote(tuple(shape), tuple(classes), data, kept["resized"] is True)


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(type(v) is kind for v in values)
