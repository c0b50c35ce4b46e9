"""Keras 3 on its JAX backend: Sequential, compile, fit, as in https://keras.io/getting_started"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
from keras import ops

from benchmarks.cases import Case
from benchmarks.data import Array
from benchmarks.sides import CLIP_NORM, Setup, sample_weights

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


def hidden_layers(units: int, case: Case) -> list[Any]:
    """A dense layer with what the case has on top."""
    if case.feature == "batch_norm":
        layers = keras.layers
        return [
            layers.Dense(units),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.Activation(case.activation),
        ]
    dropout = [keras.layers.Dropout(0.2)] if case.feature == "dropout" else []
    return [keras.layers.Dense(units, case.activation), *dropout]


class KerasSide:
    """See Side."""

    def __init__(self, setup: Setup):
        self.case = case = setup.case
        *hidden, outputs = case.layers[1:]
        self.network = keras.Sequential(
            [
                keras.Input((case.layers[0],)),
                *(layer for units in hidden for layer in hidden_layers(units, case)),
                keras.layers.Dense(outputs, OUTPUTS[case.loss]),
            ]
        )
        dense = [layer for layer in self.network.layers if isinstance(layer, keras.layers.Dense)]
        for layer, weights in zip(dense, setup.weights, strict=True):
            layer.set_weights(weights)
        optimizer = OPTIMIZERS[case.optimizer](case.learning_rate)
        optimizer.global_clipnorm = CLIP_NORM if case.feature == "clipping" else None
        self.network.compile(optimizer, LOSSES[case.loss])
        self.weights = sample_weights(case.rows) if case.feature == "sample_weights" else None
        self.inputs = setup.data.numbers(setup.data.train.inputs)
        self.targets = setup.data.train.targets
        if case.loss == "half_squared":
            self.targets = keras.utils.to_categorical(self.targets)

    def train(self, epochs: int, between: Callable[[], None]) -> None:
        ends = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: between())
        self.network.fit(
            self.inputs,
            self.targets,
            batch_size=self.case.batch_size,
            epochs=epochs,
            verbose=0,
            callbacks=[ends],
            sample_weight=self.weights,
        )

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
