"""Data sets by name: `datasets.mnist()` and others; `datasets.mnist.load_data()` as in Keras."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from chainrule.interfaces.datasets import (
    arrays_for,
    emnist_digits,
    emnist_letters,
    fashion_mnist,
    find,
    kmnist,
    mnist,
    sizes_for,
)
from chainrule.interfaces.keras import absent as _absent

__all__ = [
    "arrays_for",
    "emnist_digits",
    "emnist_letters",
    "fashion_mnist",
    "find",
    "kmnist",
    "mnist",
    "sizes_for",
]

if not _TYPE_CHECKING:  # a type checker knows which names there are
    __getattr__ = _absent.names_of("datasets", _absent.DATASETS)
