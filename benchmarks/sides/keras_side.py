"""Keras 3 on its JAX backend: Sequential, compile, fit, as in https://keras.io/getting_started"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
from keras import ops

from benchmarks.data import Array
from benchmarks.sides import Setup

# The optimizers with the constants that the other sides have.
OPTIMIZERS: Mapping[str, Callable[[float], keras.Optimizer]] = {
    "sgd": lambda rate: keras.optimizers.SGD(rate),
    "rmsprop": lambda rate: keras.optimizers.RMSprop(rate, rho=0.9, epsilon=1e-7),
    "adam": lambda rate: keras.optimizers.Adam(rate, epsilon=1e-8),
}


def half_squared(targets: Any, outputs: Any) -> Any:
    """The quadratic cost of sigmoid units."""
    return 0.5 * ops.sum(ops.square(outputs - targets), axis=-1)


LOSSES: Mapping[str, Any] = {
    "cross_entropy": "sparse_categorical_crossentropy",
    "half_squared": half_squared,
    "mean_squared": "mean_squared_error",
}
OUTPUTS = {"cross_entropy": "softmax", "half_squared": "sigmoid", "mean_squared": None}


class KerasSide:
    """See Side."""

    def __init__(self, setup: Setup):
        self.case = case = setup.case
        *hidden, outputs = case.layers[1:]
        self.network = keras.Sequential(
            [
                keras.Input((case.layers[0],)),
                *(keras.layers.Dense(units, case.activation) for units in hidden),
                keras.layers.Dense(outputs, OUTPUTS[case.loss]),
            ]
        )
        self.network.set_weights([array for layer in setup.weights for array in layer])
        self.network.compile(OPTIMIZERS[case.optimizer](case.learning_rate), LOSSES[case.loss])
        self.inputs = setup.data.numbers(setup.data.train.inputs)
        self.targets = setup.data.train.targets
        if case.loss == "half_squared":
            self.targets = keras.utils.to_categorical(self.targets)

    def train(self, epochs: int, between: Callable[[], None]) -> None:
        ends = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: between())
        batch_size = self.case.batch_size
        self.network.fit(self.inputs, self.targets, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[ends])

    def hold(self, inputs: Array) -> Array:
        return inputs

    def predict(self, held: Array) -> Any:
        # keras.io on predict: "for small numbers of inputs that fit in one batch, directly use __call__()".
        if len(held) == 1:
            return keras.ops.convert_to_numpy(self.network(held))
        return self.network.predict(held, batch_size=2048, verbose=0)

    def save(self, path: Path) -> None:
        self.network.save(path.with_suffix(".keras"))


make = KerasSide
