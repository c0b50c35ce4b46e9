"""What a data set is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Split:
    """Images (N, pixels) as bytes 0 to 255, row by row, and their class numbers (N,)."""

    images: Array
    labels: Array


@dataclass(frozen=True)
class Dataset:
    """A data set for classification: `image_shape` is (rows, columns), or (rows, columns, 3) of coloured images.

    `class_names` are what the classes are called; without them they are called by their numbers.
    """

    name: str
    train: Split
    test: Split
    image_shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...] = ()
