"""chainrule: the formulas, and fit. Pixels go in as the bytes that they are; the formulas scale them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import chainrule as cr
from benchmarks.data import Array
from benchmarks.sides import Setup


class ChainruleSide:
    """See Side. One fit runs all epochs; its callback is where a round ends."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self.network = cr.formula(setup.case.formula)
        if not setup.case.text:
            for layer, (weight, bias) in enumerate(setup.weights, start=1):
                self.network.set_parameters({f"W{layer}": weight, f"b{layer}": bias})

    def train(self, epochs: int, between: Callable[[], None]) -> None:
        case, train = self.setup.case, self.setup.data.train
        self.network.fit(
            train.inputs,
            train.targets,
            epochs=epochs,
            batch_size=case.batch_size,
            optimizer=case.optimizer,
            learning_rate=case.learning_rate,
            threads=self.setup.threads,
            verbose=0,
            callbacks=[lambda *_: between()],
        )

    def hold(self, inputs: Array) -> Array:
        return inputs

    def predict(self, held: Array) -> Array:
        return self.network.predict(held)

    def save(self, path: Path) -> None:
        self.network.save(path)


make = ChainruleSide
