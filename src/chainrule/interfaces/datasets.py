"""Data sets by name: `chainrule.datasets.mnist()`; and their arrays, for what a network declares."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from chainrule.errors import SettingError
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.data.datasets import Dataset, Split
    from chainrule.formula.system import System

__all__ = ["find", "mnist"]


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

    def __call__(self) -> Dataset:
        from chainrule.data.datasets import load_mnist

        return load_mnist()

    def load_data(self, path: str = "mnist.npz") -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """((train images, their labels), (test images, theirs)); images are (N, 28, 28) bytes from 0 to 255.

        `path` is Keras's argument; nothing is downloaded here.
        """
        data = self()
        return (
            (data.train.images.reshape(-1, *data.image_shape), data.train.labels),
            (data.test.images.reshape(-1, *data.image_shape), data.test.labels),
        )


mnist = Mnist()

DATASETS: Mapping[str, Callable[[], Dataset]] = {"mnist": mnist}


def find(name: str) -> Dataset:
    """A data set by name. Raises: SettingError, naming what there is."""
    load = DATASETS.get(name.lower())
    if load is None:
        close = get_close_matches(name.lower(), DATASETS, n=1)
        near = " " + say("formula.did_you_mean", name=close[0]) if close else ""
        raise SettingError(say("interfaces.unknown_data_set", name=name, known=", ".join(DATASETS), near=near))
    return load()


def list_datasets(as_json: bool) -> int:
    """Print a line for each data set, or JSON; the exit code."""
    if as_json:
        row = {"name": "mnist", "train": 60_000, "test": 10_000, "shape": [28, 28], "classes": 10}
        click.echo(json.dumps([row]))
    else:
        click.echo(say("interfaces.mnist_row"))
    return 0


def arrays_for(system: System, split: Split, *, with_targets: bool = True) -> dict[str, Any]:
    """The images for the input, the labels for targets and labels: only what the formulas declare.

    Raises: SettingError where they want more than images and labels.
    """
    inputs = system.of_role("input")
    if len(inputs) != 1:
        names = ", ".join(t.name for t in inputs) or "–"
        raise SettingError(say("interfaces.one_input", names=names))
    arrays = {inputs[0].name: split.images}
    if with_targets:
        arrays |= {t.name: split.labels for t in system.of_role("target", "label")}
    return arrays


def sizes_for(system: System, data: Dataset) -> dict[str, int]:
    """The index sizes that the data set says and the text does not: rows and columns of an image, classes."""
    sizes: dict[str, int] = {}
    for tensor in system.of_role("input"):
        own = [i for i in tensor.indices if i != system.samples]
        if len(own) == 2:
            sizes |= dict(zip(own, data.image_shape, strict=True))
        elif len(own) == 1:
            sizes[own[0]] = data.image_shape[0] * data.image_shape[1]
    for tensor in system.of_role("target"):
        own = [i for i in tensor.indices if i != system.samples]
        if len(own) == 1:
            sizes.setdefault(own[0], data.classes)
    for tensor in system.of_role("label"):
        sizes.setdefault(str(tensor.classes), data.classes)
    return {index: size for index, size in sizes.items() if index not in system.sizes}
