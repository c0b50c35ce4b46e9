"""IDX files of images and of their labels: which belong together, and what they hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.datasets import Split
from chainrule.data.readers import read_rows
from chainrule.errors import DataError, SettingError
from chainrule.interfaces.images import MAX_CLASSES
from chainrule.messages import say

Array = np.ndarray[Any, Any]

TRAIN = "train"
TEST, VALIDATION = ("test", "t10k"), ("validation", "valid", "val")
PACKED = r"\.(gz|xz)$"
IDX_NAME = r"(^|[-._])idx[1-8]?([-._]|$)"
OTHER_FILES = r"\.(csv|tsv|txt|parquet|npy|npz|png|jpe?g|bmp)(\.gz)?$"


def is_idx(path: Path) -> bool:
    """Whether a file is called as IDX files are: train-images-idx3-ubyte.gz, images.idx3-ubyte, digits.idx.

    >>> is_idx(Path("t10k-images-idx3-ubyte.gz")), is_idx(Path("idx.csv"))
    (True, False)
    """
    name = path.name.lower()
    return re.search(IDX_NAME, name) is not None and re.search(OTHER_FILES, name) is None


@dataclass(frozen=True)
class Pair:
    """A file of images and the one of their labels."""

    images: Path
    labels: Path


def idx_files(folder: Path) -> dict[str, Pair]:
    """The pairs of a folder by part; empty where it holds no IDX files of images.

    Raises: SettingError where a part has several, or labels are missing.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and is_idx(p)):
        name = path.name.lower()
        kind = "images" if "image" in name else "labels" if "label" in name else None
        if kind is None:
            continue
        own = found.setdefault(_part(name), {})
        if kind in own and _stem(own[kind]) != _stem(path):
            raise SettingError(say("datasets.two_files", first=own[kind], second=path))
        own.setdefault(kind, path)  # the unpacked one of x and x.gz, which comes first
    if not any("images" in own for own in found.values()):
        return {}
    if TRAIN not in found and len(found) == 1:
        found = {TRAIN: next(iter(found.values()))}
    pairs = {}
    for part, own in found.items():
        for kind in ("images", "labels"):
            if kind not in own:
                raise SettingError(say(f"datasets.no_{kind}", folder=folder, beside=next(iter(own.values())).name))
        pairs[part] = Pair(own["images"], own["labels"])
    if TRAIN not in pairs:
        raise SettingError(say("datasets.no_training", folder=folder))
    return pairs


def _part(name: str) -> str:
    words = re.split(r"[-._]", name)
    return next((names[0] for names in (TEST, VALIDATION) if any(word in names for word in words)), TRAIN)


def _stem(path: Path) -> str:
    return re.sub(PACKED, "", path.name.lower())


def labels_beside(images: Path) -> Path:
    """train-labels-idx1-ubyte.gz beside train-images-idx3-ubyte.gz. Raises: SettingError where there is none."""
    if "label" in images.name.lower():
        raise SettingError(say("datasets.are_labels", path=images))
    name = re.sub(PACKED, "", images.name)
    name = re.sub("images?", "labels", re.sub("idx[2-8]", "idx1", name))
    if name != images.name:
        for suffix in ("", ".gz", ".xz"):
            if (path := images.with_name(name + suffix)).is_file() and path != images:
                return path
    raise SettingError(say("datasets.no_labels_beside", images=images, name=name))


def read_pair(pair: Pair) -> Split:
    """Images (N, …) and their class numbers (N,). Raises: FileError, DataError."""
    images, labels = read_rows(pair.images), read_rows(pair.labels)
    if images.ndim not in (2, 3, 4) or (images.ndim == 4 and images.shape[3] != 3) or not images.size:
        raise DataError(say("datasets.no_images", path=pair.images, came=_shape(images)))
    if labels.shape != (len(images),):
        raise DataError(say("datasets.other_count", labels=pair.labels, came=_shape(labels), count=len(images)))
    if labels.dtype.kind not in "iu":
        raise DataError(say("datasets.no_class_numbers", path=pair.labels, came=labels.dtype))
    wrong = np.flatnonzero((labels < 0) | (labels >= MAX_CLASSES))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(say("datasets.no_class", path=pair.labels, row=row + 1, came=labels[row], last=MAX_CLASSES - 1))
    return Split(images, labels.astype(np.int64))


def _shape(array: Array) -> str:
    return f"{array.dtype} ({', '.join(map(str, array.shape))})"


def times(images: Array) -> str:
    """28×28, of images (N, 28, 28)."""
    return "×".join(map(str, images.shape[1:]))
