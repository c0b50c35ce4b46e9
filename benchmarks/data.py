"""The data sets and the first weights, the same numbers for all sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.cases import Case

Array = np.ndarray[Any, Any]
Weights = list[tuple[Array, Array]]

SEED = 2026
CLASSES = 10
TEST_ROWS = 10_000
NUMERIC, SKEWED, LEVELS = 32, 16, (3, 5, 8)  # the 64 columns of a table: the three groups of levels are one-hot
SKETCH = 4  # the target of a table depends on so many random directions


@dataclass(frozen=True)
class Split:
    """Inputs (N, I), and targets: class numbers (N,) or values (N, K)."""

    inputs: Array
    targets: Array


@dataclass(frozen=True)
class Data:
    """A training and a test split. `largest` is what bytes are divided by, 1 for numbers."""

    train: Split
    test: Split
    largest: int = 1

    def numbers(self, inputs: Array) -> Array:
        """The inputs as the libraries that take float32 want them: bytes are scaled to 0-1, once."""
        return inputs.astype(np.float32) / np.float32(self.largest) if self.largest != 1 else inputs


def load(case: Case) -> Data:
    """The data of a case, its training rows cut to what the case wants."""
    inputs = case.layers[0]
    makers: dict[str, Callable[[int], Data]] = {
        "mnist": mnist,
        "normal": partial(normal, inputs),
        "rebuild": partial(rebuild, inputs),
        "mixed": mixed,
    }
    return makers[case.data](case.rows)


def mnist(rows: int) -> Data:
    """The first `rows` of MNIST's training digits, and all test digits, as bytes."""
    from chainrule import datasets

    digits = datasets.mnist()
    train = Split(np.array(digits.train.images[:rows]), np.array(digits.train.labels[:rows], np.int64))
    return Data(train, Split(np.array(digits.test.images), np.array(digits.test.labels, np.int64)), 255)


def normal(inputs: int, rows: int) -> Data:
    """Standard normal numbers; the class is the largest of ten random directions, so that it can be learned."""
    generator = np.random.default_rng(SEED)
    numbers = generator.standard_normal((rows + TEST_ROWS, inputs), dtype=np.float32)
    classes = np.argmax(numbers @ generator.standard_normal((inputs, CLASSES), dtype=np.float32), axis=1)
    return _split(numbers, classes, rows)


def rebuild(inputs: int, rows: int) -> Data:
    """Standard normal numbers that are their own targets."""
    data = normal(inputs, rows)
    return Data(Split(data.train.inputs, data.train.inputs), Split(data.test.inputs, data.test.inputs))


def mixed(rows: int) -> Data:
    """A table of 64 columns, numeric, skewed and one-hot, with one value to predict, of variance about 1."""
    generator = np.random.default_rng(SEED)
    count = rows + TEST_ROWS
    levels = [np.minimum(generator.geometric(0.4, count) - 1, level - 1) for level in LEVELS]
    columns = np.concatenate(
        [
            generator.standard_normal((count, NUMERIC), dtype=np.float32),
            np.log1p(generator.standard_exponential((count, SKEWED), dtype=np.float32)),
            *(np.eye(level, dtype=np.float32)[chosen] for level, chosen in zip(LEVELS, levels, strict=True)),
        ],
        axis=1,
    )
    directions = generator.standard_normal((columns.shape[1], SKETCH), dtype=np.float32) / np.sqrt(columns.shape[1])
    a, b, c, d = (columns @ directions).T
    noise = 0.1 * generator.standard_normal(count, dtype=np.float32)
    values = np.tanh(2 * a) + b * c + np.abs(d) + noise
    return _split(columns, values[:, None], rows)


def _split(inputs: Array, targets: Array, rows: int) -> Data:
    return Data(Split(inputs[:rows], targets[:rows]), Split(inputs[rows:], targets[rows:]))


def first_weights(layers: Sequence[int]) -> Weights:
    """(weight (I, J), bias (J,)) of each layer: Glorot's uniform distribution, and zeros."""
    generator = np.random.default_rng(SEED)
    weights = []
    for fan_in, fan_out in pairwise(layers):
        bound = np.sqrt(6 / (fan_in + fan_out))
        weight = generator.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32)
        weights.append((weight, np.zeros(fan_out, np.float32)))
    return weights


def score(case: Case, outputs: Array, targets: Array) -> dict[str, float]:
    """The mean loss of outputs (N, K), in float64, and the accuracy where targets are classes."""
    outputs = outputs.reshape(len(outputs), -1).astype(np.float64)
    if targets.ndim == 2:
        return {"loss": float(np.mean(np.sum((outputs - targets) ** 2, axis=1)))}
    accuracy = float(np.mean(np.argmax(outputs, axis=1) == targets))
    if case.loss == "half_squared":
        loss = float(np.mean(np.sum((outputs - np.eye(outputs.shape[1])[targets]) ** 2, axis=1)) / 2)
    else:
        loss = float(np.mean(-np.log(np.maximum(outputs[np.arange(len(targets)), targets], 1e-30))))
    return {"loss": loss, "accuracy": accuracy}
