"""Images of one's own for `chainrule train` and `evaluate`: folders of image files by class, and IDX files.

    photos/cat/1.png, photos/dog/2.jpg, …                   classes by the names of the folders
    photos/train/cat/1.png, photos/test/cat/9.png, …        the parts by theirs: train, and test, validation where given
    digits/train-images-idx3-ubyte.gz, …                    IDX: images and labels, and t10k-… or test-… for the test
    train-images-idx3-ubyte.gz                              the labels are the file beside it, or --labels

Image files are read whole where they fit into the budget of memory, and in every epoch again where they do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.datasets import Split
from chainrule.data.readers import SUFFIXES
from chainrule.data.sources import Block, Order, Source
from chainrule.data.sources.images import ImageFiles, ImageSource, Look, find_images, look_of, read_image
from chainrule.data.splits import split_rows
from chainrule.errors import DataError, SettingError
from chainrule.formula.system import System
from chainrule.interfaces.datasets import arrays_for, image_input
from chainrule.interfaces.idx_files import (
    TEST,
    TRAIN,
    VALIDATION,
    Pair,
    idx_files,
    is_idx,
    labels_beside,
    read_pair,
    times,
)
from chainrule.interfaces.images import ImageNote, numbers
from chainrule.interfaces.options import (
    TrainOptions,
    given_held_out,
    given_memory,
    given_rows,
    given_shares,
    named_file,
)
from chainrule.messages import say

Array = np.ndarray[Any, Any]
Images = Split | ImageSource

SHARES = (0.8, 0.1, 0.1)
SHARES_WITH_TEST = (0.9, 0.1, 0.0)
# Half of the budget: what the engine makes of images in memory, lists of their non-zeros mostly, is as large again.
WHOLE_SHARE = 2
MAX_SIDE = 65_535


@dataclass(frozen=True)
class OwnImages:
    """What was found: `labels` (N,) are those of the training images; `pixels` says that they are 0 to 255."""

    name: str
    note: ImageNote
    training: Images
    validation: Images | None
    test: Images | None
    labels: Array
    pixels: bool = True
    told: tuple[str, ...] = ()


def own_images(options: TrainOptions) -> OwnImages | None:
    """The images that DATA names; None where it names something else. Raises: SettingError, DataError, FileError."""
    path = Path(options.data)
    if path.is_dir() and not _is_parquet(path):
        found = idx_files(path)
        return _of_idx(options, found, path.resolve().name) if found else _of_folders(options)
    if is_idx(path) or options.labels is not None:
        return _of_idx(options, _pair(path, options), path.name.split(".")[0])
    return None


def _is_parquet(folder: Path) -> bool:
    return any(folder.glob("*.parquet"))


# --- folders of image files -------------------------------------------------------------------------------------------


def _of_folders(options: TrainOptions) -> OwnImages:
    _refuse(options, ("labels", "test_labels", "test"), options.data)
    if named_file(options.validation) is not None:
        raise SettingError(say("datasets.validation_folder", data=options.data))
    folders = parts_of(Path(options.data))
    files = find_images(folders[TRAIN])
    others = {part: _same_classes(find_images(folder), files) for part, folder in folders.items() if part != TRAIN}
    look = _look(options, files)
    labels = np.array(files.labels, dtype=np.int64)
    rows = _drawn(options, labels, set(others))
    found = {part: files.part(own.tolist()) for part, own in rows.items()} | others
    budget = given_memory(options.memory)
    needed = sum(len(part.paths) for part in found.values()) * math.prod(look.shape)
    whole = needed <= budget // WHOLE_SHARE
    read = {part: _images(own, look, budget, whole) for part, own in found.items()}
    note = ImageNote(look.shape, files.classes, resized=look.resize)
    return OwnImages(
        Path(options.data).resolve().name,
        note,
        read[TRAIN],
        read.get(VALIDATION[0]),
        read.get(TEST[0]),
        labels[rows[TRAIN]],
        told=(_found(files, look, whole, needed, budget),),
    )


def parts_of(folder: Path) -> dict[str, Path]:
    """The folders of the parts: those called train, test and validation, where there is one called train; else all.

    Raises: SettingError where a part has two folders.
    """
    own = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    if TRAIN not in own or not any(p.is_dir() for p in own[TRAIN].iterdir()):
        return {TRAIN: folder}
    parts = {TRAIN: own[TRAIN]}
    for names in (TEST, VALIDATION):
        found = [own[name] for name in names if name in own]
        if len(found) > 1:
            raise SettingError(say("datasets.two_folders", first=found[0], second=found[1]))
        if found:
            parts[names[0]] = found[0]
    return parts


def _same_classes(files: ImageFiles, training: ImageFiles) -> ImageFiles:
    """The files with the class numbers of the training images. Raises: DataError for a class that these have not."""
    places = {name: place for place, name in enumerate(training.classes)}
    strange = [name for name in files.classes if name not in places]
    if strange:
        raise DataError(say("datasets.other_class", folder=files.name, name=strange[0], known=_few(training.classes)))
    moved = tuple(places[files.classes[label]] for label in files.labels)
    return replace(files, labels=moved, classes=training.classes)


def _look(options: TrainOptions, files: ImageFiles) -> Look:
    if options.grey and options.rgb:
        raise SettingError(say("datasets.grey_and_rgb"))
    if len(files.classes) < 2:
        raise DataError(say("datasets.one_class", folder=files.name, name=_few(files.classes)))
    grey = True if options.grey else False if options.rgb else None
    return look_of(files, given_size(options.image_size), grey)


def given_size(text: str | None) -> tuple[int, int] | None:
    """ "28x28": rows and columns. Raises: SettingError.

    >>> given_size("28x32"), given_size(None)
    ((28, 32), None)
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]{1,5})\s*[x×,]\s*([0-9]{1,5})\s*", text.lower())
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise SettingError(say("datasets.bad_size", came=text))
    return size


def _images(files: ImageFiles, look: Look, budget: int, whole: bool) -> Images:
    source = ImageSource(files, look, budget)
    if not whole:
        return source
    block = source.everything()
    return Split(block["images"], block["labels"])


def _found(files: ImageFiles, look: Look, whole: bool, needed: int, budget: int) -> str:
    """What was found, and how it is read, in one line."""
    counts = np.bincount(np.array(files.labels), minlength=len(files.classes)).tolist()
    shown = _few([f"{name} {count}" for name, count in zip(files.classes, counts, strict=True)])
    colours = say("datasets.grey" if look.grey else "datasets.coloured")
    line = say(
        "datasets.images_found",
        folder=files.name,
        count=len(files.paths),
        rows=look.size[0],
        columns=look.size[1],
        colours=colours,
        classes=shown,
    )
    megabytes, limit = max(1, needed // 10**6), max(1, budget // 10**6)
    return line if whole else line + " " + say("datasets.streamed", megabytes=megabytes, limit=limit)


def _few(names: Sequence[str], limit: int = 10) -> str:
    shown = ", ".join(" ".join(name.split())[:40] for name in names[:limit])
    return shown if len(names) <= limit else f"{shown}, … ({len(names)})"


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, by name, not those in its folders. Raises: SettingError where there are none."""
    listed = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    found = sorted(p for p in listed if p.is_file())
    if not found:
        raise SettingError(say("datasets.no_files", folder=folder))
    return found


def labelled(path: Path, labels: Path | None, part: str, note: ImageNote | None, budget: int) -> Images:
    """The images of a folder or an IDX file with their labels, as a model that has this note names the classes.

    Of a folder with parts, `part` is taken: train or test. Raises: SettingError, DataError, FileError.
    """
    if not path.is_dir():
        return read_pair(Pair(path, labels or labels_beside(path)))
    if labels is not None:
        raise SettingError(say("datasets.not_here", option="--labels", data=path))
    if pairs := idx_files(path):
        return read_pair(pairs[part] if part in pairs else pairs[TRAIN])
    if note is None or (note.numbered and note.data is not None):
        raise SettingError(say("datasets.no_class_names", path=path))
    folders = parts_of(path)
    training = ImageFiles("", (), (), note.classes)
    files = _same_classes(find_images(folders[part] if part in folders else folders[TRAIN]), training)
    look = look_by(note)
    return _images(files, look, budget, len(files.paths) * math.prod(look.shape) <= budget // WHOLE_SHARE)


def read_for(note: ImageNote, path: Path) -> Array:
    """An image file as one row (1, …) for a model. Raises: FileError; DataError for a size that it does not read."""
    try:
        return read_image(path, look_by(note))[None]
    except DataError:
        wanted = "×".join(map(str, note.shape[:2]))
        raise DataError(say("datasets.other_size", path=path, wanted=wanted)) from None


def look_by(note: ImageNote) -> Look:
    """How images become numbers for a model: as those did that it was trained on."""
    return Look((note.shape[0], note.shape[1]), len(note.shape) == 2, note.resized)


# --- IDX files --------------------------------------------------------------------------------------------------------


def _pair(path: Path, options: TrainOptions) -> dict[str, Pair]:
    pairs = {TRAIN: Pair(path, options.labels or labels_beside(path))}
    if options.test is not None:
        pairs[TEST[0]] = Pair(options.test, options.test_labels or labels_beside(options.test))
    elif options.test_labels is not None:
        raise SettingError(say("datasets.only_with", option="--test-labels", other="--test"))
    return pairs


def _of_idx(options: TrainOptions, pairs: Mapping[str, Pair], name: str) -> OwnImages:
    is_folder = Path(options.data).is_dir()
    _refuse(
        options, ("image_size", "grey", "rgb", *(("labels", "test", "test_labels") if is_folder else ())), options.data
    )
    if named_file(options.validation) is not None:
        raise SettingError(say("datasets.validation_folder", data=options.data))
    read = {part: read_pair(pair) for part, pair in pairs.items()}
    own = read[TRAIN]
    classes = 1 + max(int(split.labels.max()) for split in read.values())
    for part, split in read.items():
        if split.images.shape[1:] != own.images.shape[1:]:
            came, wanted = times(split.images), times(own.images)
            raise DataError(say("sources.image_size", path=pairs[part].images, came=came, wanted=wanted))
    if classes < 2:
        raise DataError(say("datasets.one_class", folder=pairs[TRAIN].labels, name="0"))
    rows = _drawn(options, own.labels, set(read) - {TRAIN})
    parts = {part: Split(own.images[r], own.labels[r]) for part, r in rows.items()}
    parts |= {part: split for part, split in read.items() if part != TRAIN}
    shape = tuple(map(int, own.images.shape[1:])) if own.images.ndim > 2 else (1, int(own.images.shape[1]))
    pixels = own.images.dtype == np.uint8
    count = sum(len(split.images) for split in read.values())
    told = say("datasets.idx_found", path=options.data, count=count, shape=times(own.images), classes=classes)
    return OwnImages(
        name,
        ImageNote(shape, numbers(classes)),
        parts[TRAIN],
        parts.get(VALIDATION[0]),
        parts.get(TEST[0]),
        own.labels[rows[TRAIN]],
        pixels,
        (told,),
    )


# --- rows -------------------------------------------------------------------------------------------------------------


def _drawn(options: TrainOptions, labels: Array, given: set[str]) -> dict[str, Array]:
    """Which rows train, and which are kept out for a part that has no files of its own; with as much of each class."""
    rows = np.arange(len(labels))
    if options.rows is not None:
        share = given_rows(options, len(labels)) / len(labels)
        rows = rows[split_rows(len(labels), (share, 1 - share), options.seed, labels)[0]]
    shares = _shares(options, len(rows), given)
    parts = [rows[part] for part in split_rows(len(rows), shares, options.seed, labels[rows])]
    if len(parts[0]) < 1:
        raise DataError(say("datasets.too_few", data=options.data, came=len(labels)))
    return {part: own for part, own in zip((TRAIN, VALIDATION[0], TEST[0]), parts, strict=True) if len(own)}


def _shares(options: TrainOptions, rows: int, given: set[str]) -> tuple[float, float, float]:
    """For training, validation and test."""
    has_validation, has_test = VALIDATION[0] in given, TEST[0] in given
    if options.split is not None:
        if given or options.validation is not None:
            other = "--validation" if options.validation is not None else sorted(given)[0]
            raise SettingError(say("tables.split_twice", option=other))
        return given_shares(options.split)
    test = 0.0 if has_test else SHARES[2]
    if options.validation is not None:
        if has_validation:
            raise SettingError(say("datasets.validation_twice", data=options.data))
        count = given_held_out(options, rows)
        assert isinstance(count, int)
        share = count / rows
        return (max(1 - share - test, 0.0), share, test)
    if has_validation:
        return (1 - test, 0.0, test)
    return SHARES_WITH_TEST if has_test else SHARES


def _refuse(options: TrainOptions, names: Sequence[str], data: str) -> None:
    """Raises: SettingError for an option that says nothing here."""
    table = ("target", "features", "kinds", "task", "scale", "header", "encoding")
    for name in (*table, "data_dir", *names):
        if getattr(options, name) not in (None, False):
            raise SettingError(say("datasets.not_here", option=f"--{name.replace('_', '-')}", data=data))


# --- what fit is given ------------------------------------------------------------------------------------------------


class NamedImages(Source):
    """Images under the names of the formulas' input, and of its targets and labels."""

    def __init__(self, source: ImageSource, images: str, labels: Sequence[str]):
        self.source, self.images, self.labels = source, images, tuple(labels)
        self.name, self.rows, self.memory = source.name, source.rows, source.memory
        own = source.fields
        self.fields = {images: own["images"], **dict.fromkeys(self.labels, own["labels"])}

    def blocks(self, order: Order | None, skip: int = 0) -> Iterator[Block]:
        """See Source."""
        self.source.block_rows = self.block_rows
        for block in self.source.blocks(order, skip):
            yield self._named(block)

    def _named(self, block: Block) -> Block:
        return {self.images: block["images"], **dict.fromkeys(self.labels, block["labels"])}

    def head(self, rows: int) -> Block:
        """See Source."""
        return self._named(self.source.head(rows))

    def fingerprint(self) -> str:
        """See Source."""
        return self.source.fingerprint()


def image_rows(system: System, images: Images) -> dict[str, Any] | Source:
    """The images for the input, the labels for targets and labels, as `fit` and `evaluate` take them."""
    if isinstance(images, Split):
        return arrays_for(system, images)
    return NamedImages(images, image_input(system), [t.name for t in system.of_role("target", "label")])
