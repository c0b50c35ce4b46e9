"""chainrule: the formulas, and fit. Pixels go in as the bytes that they are; the formulas scale them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import chainrule as cr
from benchmarks.data import Array
from benchmarks.sides import CLIP_NORM, Setup, sample_weights
from chainrule.training.optimizer import Optimizer

PROFILED_STEPS = 20


class ChainruleSide:
    """See Side. One fit runs all epochs; its callback is where a round ends."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self.network = cr.formula(setup.case.formula)
        if not setup.case.text:
            for layer, (weight, bias) in enumerate(setup.weights, start=1):
                self.network.set_parameters({f"W{layer}": weight, f"b{layer}": bias})

    def train(self, epochs: int, between: Callable[[], None]) -> None:
        self._fit(self.setup.case.rows, epochs=epochs, callbacks=[lambda *_: between()])

    def loops_share(self) -> float:
        """The share of a step's operations that fell to plain loops, where no tile and no vector form was found."""
        rows = min(self.setup.case.rows, PROFILED_STEPS * self.setup.case.batch_size)
        profile = self._fit(rows, epochs=1, profile=True).profile
        return sum(row.work.flops for row in profile.rows if row.kind == "loops") / profile.flops

    def _fit(self, rows: int, **options: Any) -> Any:
        case, train = self.setup.case, self.setup.data.train
        if case.feature == "sample_weights":
            options["sample_weight"] = sample_weights(case.rows)[:rows]
        return self.network.fit(
            train.inputs[:rows],
            train.targets[:rows],
            batch_size=case.batch_size,
            optimizer=Optimizer(case.optimizer, global_clip_norm=CLIP_NORM if case.feature == "clipping" else None),
            learning_rate=case.learning_rate,
            threads=self.setup.threads,
            verbose=0,
            **options,
        )

    def hold(self, inputs: Array) -> Array:
        return inputs

    def predict(self, held: Array) -> Array:
        return self.network.predict(held)

    def save(self, path: Path) -> None:
        self.network.save(path)


make = ChainruleSide
