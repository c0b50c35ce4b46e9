"""scikit-learn: a multi-layer perceptron; partial_fit is one pass over what it is given, in shuffled batches.

What it cannot do as the case says is told by `differs`. It draws its own first weights (Glorot's, biases included).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import joblib
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.cases import Case
from benchmarks.data import Array
from benchmarks.sides import Setup

ACTIVATIONS = {"relu": "relu", "sigmoid": "logistic"}
RATE_OF_CROSS_ENTROPY = 0.1  # where the case has another loss, and with it a rate that does not fit


def estimator(case: Case) -> MLPClassifier | MLPRegressor:
    """The estimator, without the penalty and the momentum that it has by default."""
    regression = case.loss == "mean_squared"
    return (MLPRegressor if regression else MLPClassifier)(
        hidden_layer_sizes=case.layers[1:-1],
        activation=ACTIVATIONS[case.activation],
        solver="sgd" if case.optimizer == "sgd" else "adam",
        alpha=0,
        batch_size=case.batch_size,
        learning_rate_init=RATE_OF_CROSS_ENTROPY if case.loss == "half_squared" else case.learning_rate,
        momentum=0,
        random_state=0,
    )


class SklearnSide:
    """See Side."""

    def __init__(self, setup: Setup):
        self.case = case = setup.case
        self.estimator = estimator(case)
        self.inputs = setup.data.numbers(setup.data.train.inputs)
        self.targets = setup.data.train.targets.squeeze()
        self.classes = {} if case.loss == "mean_squared" else {"classes": range(case.layers[-1])}
        if case.measure != "step":
            self._take(setup)

    def _take(self, setup: Setup) -> None:
        """The common weights, in the arrays that a first batch made."""
        first = slice(self.case.batch_size)
        self.estimator.partial_fit(self.inputs[first], self.targets[first], **self.classes)
        for layer, (weight, bias) in enumerate(setup.weights):
            self.estimator.coefs_[layer][...] = weight
            self.estimator.intercepts_[layer][...] = bias

    def train(self, epochs: int, between: Callable[[], None]) -> None:
        for _ in range(epochs):
            self.estimator.partial_fit(self.inputs, self.targets, **self.classes)
            between()

    def hold(self, inputs: Array) -> Array:
        return inputs

    def predict(self, held: Array) -> Array:
        return self.estimator.predict(held) if self.case.loss == "mean_squared" else self.estimator.predict_proba(held)

    def save(self, path: Path) -> None:
        joblib.dump(self.estimator, path)


make = SklearnSide
