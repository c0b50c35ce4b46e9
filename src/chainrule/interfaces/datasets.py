"""Data sets by name: `chainrule.datasets.mnist()`; and their arrays, for what a network declares."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chainrule.errors import SettingError
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.data.datasets import Dataset, Published, Split
    from chainrule.data.datasets.published import Download
    from chainrule.formula.system import System

__all__ = ["emnist_digits", "emnist_letters", "fashion_mnist", "find", "kmnist", "mnist"]

Arrays = tuple[tuple[Any, Any], tuple[Any, Any]]
FolderPath = str | os.PathLike[str]


class Mnist:
    """MNIST: 60,000 and 10,000 handwritten digits of 28 × 28 pixels, 0 to 255, with their labels.

    `mnist()` is a Dataset; `mnist.load_data()` the four arrays, as in Keras.

    Example:
    >>> digits = mnist()
    >>> digits.train.images.shape, digits.test.labels[:5].tolist()
    ((60000, 784), [7, 2, 1, 0, 4])
    >>> (train_images, train_labels), (test_images, test_labels) = mnist.load_data()
    >>> train_images.shape, test_labels[:5].tolist()
    ((60000, 28, 28), [7, 2, 1, 0, 4])

    Source: LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist (CC BY-SA 3.0)
    """

    name, source = "mnist", "LeCun, Cortes & Burges; CC BY-SA 3.0"

    def __call__(self, data_dir: FolderPath | None = None) -> Dataset:
        from chainrule.data.datasets import load_mnist

        if data_dir is not None:
            raise SettingError(say("datasets.embedded", name=self.name))
        return load_mnist()

    def load_data(self, path: str = "mnist.npz") -> Arrays:
        """((train images, their labels), (test images, theirs)); images are (N, 28, 28) bytes from 0 to 255.

        `path` is Keras's argument; nothing is downloaded here.
        """
        return _four_arrays(self())

    def row(self) -> dict[str, Any]:
        """What `chainrule datasets` says of it."""
        own = {"name": self.name, "train": 60_000, "test": 10_000, "shape": [28, 28], "classes": 10}
        return {**own, "there": True, "bytes": 0}


@dataclass(frozen=True)
class Downloaded:
    """A data set that is downloaded once into the cache folder, each file checked against its published SHA-256.

    Called, it is a Dataset; `load_data()` gives the four arrays, as in Keras. With `data_dir` the files are looked for
    in that folder, and nothing is downloaded. The environment variable CHAINRULE_DATA_DIR names such a folder, too.
    """

    name: str
    source: str

    @property
    def published(self) -> Published:
        from chainrule.data.datasets import published

        found: Published = getattr(published, self.name.replace("-", "_").upper())
        return found

    def __call__(self, data_dir: FolderPath | None = None) -> Dataset:
        """Raises: FileError where a file cannot be had or is not the published one."""
        from chainrule.data.datasets import load_published

        folder = data_dir or os.environ.get("CHAINRULE_DATA_DIR") or None
        return load_published(self.published, None if folder is None else Path(folder).expanduser(), Telling(self.name))

    def load_data(self, data_dir: FolderPath | None = None) -> Arrays:
        """((train images, their labels), (test images, theirs)); images are (N, 28, 28) bytes from 0 to 255."""
        return _four_arrays(self(data_dir))

    def row(self) -> dict[str, Any]:
        """What `chainrule datasets` says of it."""
        from chainrule.data.datasets import is_there

        own, side = self.published, self.published.side
        return {
            "name": self.name,
            "train": own.train,
            "test": own.test,
            "shape": [side, side],
            "classes": len(own.class_names),
            "there": is_there(own),
            "bytes": sum(file.size for file in own.downloads),
        }


class Telling:
    """One line on stderr before each file that is downloaded, and on a terminal how far it has come."""

    def __init__(self, name: str):
        self.name = name
        self.came = self.shown = 0
        self.wanted = 1

    def begin(self, file: Download, url: str, folder: Path) -> None:
        self.came, self.shown, self.wanted = 0, 0, file.size
        host = urlsplit(url).netloc
        megabytes = _megabytes(file.size)
        line = say(
            "datasets.downloading", name=self.name, file=file.name, megabytes=megabytes, host=host, folder=folder
        )
        _echo(line, err=True)

    def advance(self, count: int) -> None:
        self.came += count
        share = 100 * self.came // self.wanted
        if share > self.shown and sys.stderr.isatty():
            self.shown = share
            _echo(f"\r{share:3} %" + ("\r" + " " * 5 + "\r" if share >= 100 else ""), err=True, nl=False)


def _echo(text: str, **options: Any) -> None:
    import click  # 20 ms, which who loads a data set from Python never needs

    click.echo(text, **options)


def _megabytes(size: int) -> int:
    return max(1, math.ceil(size / 1e6))


def _four_arrays(data: Dataset) -> Arrays:
    return (
        (data.train.images.reshape(-1, *data.image_shape), data.train.labels),
        (data.test.images.reshape(-1, *data.image_shape), data.test.labels),
    )


mnist = Mnist()
fashion_mnist = Downloaded("fashion-mnist", "Xiao, Rasul & Vollgraf; MIT")
kmnist = Downloaded("kmnist", "Clanuwat et al., ROIS-DS CODH; CC BY-SA 4.0")
emnist_digits = Downloaded("emnist-digits", "Cohen et al., NIST")
emnist_letters = Downloaded("emnist-letters", "Cohen et al., NIST")

DATASETS: Mapping[str, Mnist | Downloaded] = {
    data.name: data for data in (mnist, fashion_mnist, kmnist, emnist_digits, emnist_letters)
}


def is_name(text: str) -> bool:
    """Whether it is the name of a data set: fashion-mnist, also written fashion_mnist or Fashion-MNIST."""
    return _plain(text) in DATASETS


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def find(name: str, data_dir: FolderPath | None = None) -> Dataset:
    """A data set by name. Raises: SettingError, naming what there is; FileError where it cannot be had."""
    load = DATASETS.get(_plain(name))
    if load is None:
        close = get_close_matches(_plain(name), DATASETS, n=1)
        near = " " + say("formula.did_you_mean", name=close[0]) if close else ""
        raise SettingError(say("interfaces.unknown_data_set", name=name, known=", ".join(DATASETS), near=near))
    return load(data_dir)


def list_datasets(as_json: bool) -> int:
    """Print a line for each data set, or JSON; the exit code."""
    rows = [data.row() for data in DATASETS.values()]
    if as_json:
        _echo(json.dumps(rows))
        return 0
    width = max(map(len, DATASETS))
    for data, row in zip(DATASETS.values(), rows, strict=True):
        key = "is_there" if row["there"] else "to_download"
        state = (
            say("datasets.in_package")
            if not row["bytes"]
            else say(f"datasets.{key}", **({} if row["there"] else {"megabytes": _megabytes(row["bytes"])}))
        )
        _echo(
            say(
                "datasets.row",
                name=data.name.ljust(width),
                train=f"{row['train']:,}",
                test=f"{row['test']:,}",
                what=say(f"datasets.what_{data.name.replace('-', '_')}"),
                rows=row["shape"][0],
                columns=row["shape"][1],
                classes=row["classes"],
                source=data.source,
                state=state,
            )
        )
    return 0


def arrays_for(system: System, split: Split, *, with_targets: bool = True) -> dict[str, Any]:
    """The images for the input, the labels for targets and labels: only what the formulas declare.

    Raises: SettingError where they want more than images and labels.
    """
    arrays = {image_input(system): split.images}
    if with_targets:
        arrays |= {t.name: split.labels for t in system.of_role("target", "label")}
    return arrays


def sizes_for(system: System, data: Dataset) -> dict[str, int]:
    """The index sizes that the data set says and the text does not: rows and columns of an image, classes."""
    return image_sizes(system, data.image_shape, data.classes)


def image_input(system: System) -> str:
    """The one input's name. Raises: SettingError where the formulas have none or several."""
    inputs = system.of_role("input")
    if len(inputs) != 1:
        names = ", ".join(t.name for t in inputs) or "–"
        raise SettingError(say("interfaces.one_input", names=names))
    return inputs[0].name


def image_sizes(system: System, shape: tuple[int, ...], classes: int) -> dict[str, int]:
    """The same of images of this shape: (rows, columns), or (rows, columns, 3)."""
    sizes: dict[str, int] = {}
    for tensor in system.of_role("input"):
        own = [i for i in tensor.indices if i != system.samples]
        if len(own) == len(shape):
            sizes |= dict(zip(own, shape, strict=True))
        elif len(own) == 1:
            sizes[own[0]] = math.prod(shape)
    for tensor in system.of_role("target"):
        own = [i for i in tensor.indices if i != system.samples]
        if len(own) == 1:
            sizes.setdefault(own[0], classes)
    for tensor in system.of_role("label"):
        sizes.setdefault(str(tensor.classes), classes)
    return {index: size for index, size in sizes.items() if index not in system.sizes}
