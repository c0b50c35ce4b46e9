"""Folders of images by class: folder/<class>/<file>.png, .jpg, .jpeg or .bmp."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.memory import DEFAULT_MEMORY
from chainrule.data.readers import FORMATS, MAX_PIXELS, SUFFIXES
from chainrule.data.sources.fingerprint import Digest
from chainrule.data.sources.order import exact, spread
from chainrule.data.sources.source import Block, Field, Order, Source
from chainrule.errors import DataError, FileError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

MAX_FILE_BYTES = 256 * 2**20  # of one image file: 50 million pixels take 200 MB unpacked
LOOKED_AT = 16  # images that tell whether all are grey
GREY_MODES = ("1", "L", "LA", "I", "F")


@dataclass(frozen=True)
class ImageFiles:
    """Image files with the number of their class: `classes` are its name by number, sorted."""

    name: str
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def part(self, rows: Sequence[int]) -> ImageFiles:
        """Some of the files: a validation set, say."""
        return replace(self, paths=tuple(self.paths[r] for r in rows), labels=tuple(self.labels[r] for r in rows))


@dataclass(frozen=True)
class Look:
    """How an image becomes numbers: (rows, columns), grey or red, green and blue."""

    size: tuple[int, int]
    grey: bool
    resize: bool = False  # images of other sizes are resized, not refused

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size if self.grey else (*self.size, 3)


def find_images(folder: Path) -> ImageFiles:
    """The images of a folder of folders, classes and files sorted by name. Raises: FileError, DataError.

    Files of other kinds and names that begin with a dot are left out.
    """
    try:
        classes = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
        paths, labels, used = list[Path](), list[int](), list[str]()
        for name in classes:
            found = sorted(e.name for e in os.scandir(folder / name) if _is_image(e))
            if found:
                paths += [folder / name / file for file in found]
                labels += [len(used)] * len(found)
                used.append(name)
    except FileNotFoundError:
        raise FileError(say("sources.no_folder", path=folder)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(say("data.cannot_read", path=folder, reason=reason)) from None
    if not paths:
        raise DataError(say("sources.no_images", path=folder, suffixes=", ".join(SUFFIXES)))
    return ImageFiles(str(folder), tuple(paths), tuple(labels), tuple(used))


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()


def look_of(files: ImageFiles, size: tuple[int, int] | None = None, grey: bool | None = None) -> Look:
    """What size and colours the images have: those asked for, else the first one's size, and grey where some all are.

    Raises: FileError.
    """
    count = len(files.paths)
    looked = [files.paths[count * k // LOOKED_AT] for k in range(LOOKED_AT)] if count > LOOKED_AT else files.paths
    heads = [_head(path) for path in (looked if grey is None else files.paths[:1])]
    if grey is None:
        grey = all(mode.startswith("I;") or mode in GREY_MODES for _, mode in heads)
    return Look(size or heads[0][0], grey, size is not None)


class ImageSource(Source):
    """Fields images (rows, columns) or (rows, columns, 3) of uint8, and labels of int64; an exact permutation an epoch.

    Images are read when they are wanted, in the thread that reads ahead.
    """

    def __init__(self, files: ImageFiles, look: Look, memory: int = DEFAULT_MEMORY):
        self.files, self.look, self.memory = files, look, memory
        self.name, self.rows, self.classes = files.name, len(files.paths), files.classes
        self.fields = {"images": Field(look.shape, np.dtype(np.uint8)), "labels": Field((), np.dtype(np.int64))}

    def blocks(self, order: Order | None, skip: int = 0) -> Iterator[Block]:
        """See Source."""
        rows = len(self.files.paths)
        places = np.arange(rows) if order is None else exact(rows, order)
        for start in range(skip, rows, self.step):
            yield self._read(places[start : start + self.step].tolist())

    def head(self, rows: int) -> Block:
        """See Source."""
        return self._read(spread(self.rows or 0, rows).tolist())

    def largest(self, field: str) -> float:
        """See Source: of the labels without a look at the images."""
        return float(max(self.files.labels)) if field == "labels" else 255.0

    def everything(self) -> Block:
        """All rows as they lie there, for who has the memory. Raises: FileError, DataError."""
        return self._read(range(len(self.files.paths)))

    def _read(self, rows: Sequence[int]) -> Block:
        images = np.empty((len(rows), *self.look.shape), np.uint8)
        for place, row in enumerate(rows):
            images[place] = read_image(self.files.paths[row], self.look)
        return {"images": images, "labels": np.array([self.files.labels[row] for row in rows], np.int64)}

    def fingerprint(self) -> str:
        """See Source: of the classes, and of all files' names and bytes in order."""
        digest = Digest()
        digest.words("images", *self.look.shape, self.look.resize, *self.classes)
        for path, label in zip(self.files.paths, self.files.labels, strict=True):
            digest.words(label, path.name)
            digest.file(path)
        return digest.text()


def read_image(path: Path, look: Look) -> Array:
    """One image as numbers 0 to 255. Raises: FileError for what is no whole image; DataError for another size."""
    with _opened(path) as image:
        if (image.height, image.width) != look.size and not look.resize:
            came, wanted = f"{image.height}×{image.width}", f"{look.size[0]}×{look.size[1]}"
            raise DataError(say("sources.image_size", path=path, came=came, wanted=wanted))
        try:
            return np.asarray(_drawn(image, look), dtype=np.uint8)
        except Exception as error:  # noqa: BLE001 (Pillow raises what it meets in a damaged file: SyntaxError, struct.error, …)
            raise _not_an_image(path, error) from None


def _drawn(image: Any, look: Look) -> Any:
    """In its colours and size. 16 bits a pixel become 8, where convert("L") would make 255 of all above."""
    from PIL import Image

    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image.convert("I")).clip(0, 65_535) // 257).astype(np.uint8))
    image.info.pop("transparency", None)  # it is not looked at, and Pillow would warn of it
    image = image.convert("L" if look.grey else "RGB")
    if (image.height, image.width) != look.size:
        image = image.resize((look.size[1], look.size[0]), Image.Resampling.BILINEAR)
    return image


def _head(path: Path) -> tuple[tuple[int, int], str]:
    """(rows, columns) and Pillow's mode."""
    with _opened(path) as image:
        return (image.height, image.width), image.mode


def _opened(path: Path) -> Any:
    """The image, its header read and its size within the limits. Raises: FileError."""
    from PIL import Image

    try:
        if os.stat(path).st_size > MAX_FILE_BYTES:
            raise FileError(say("data.file_too_large", path=path, limit=MAX_FILE_BYTES))
        # No warnings.catch_warnings: it is not made for threads. The limit below is stricter than Pillow's warning.
        image = Image.open(path, formats=FORMATS)
    except Exception as error:  # noqa: BLE001 (as in read_image)
        raise _not_an_image(path, error) from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise FileError(say("data.image_too_large", path=path, limit=MAX_PIXELS))
    return image


def _not_an_image(path: Path, error: Exception) -> FileError:
    from PIL import Image

    if isinstance(error, FileError):
        return error
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return FileError(say("data.image_too_large", path=path, limit=MAX_PIXELS))
    if isinstance(error, OSError) and error.errno is not None:
        return FileError(say("data.cannot_read", path=path, reason=error.strerror))
    return FileError(say("data.not_an_image", path=path))
