"""The sides: chainrule and its peers, each written as its own documentation would write it.

A side is made with a Setup, in a process of its own. It holds the data in its own form before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Array, Data, Weights

MODULES: Mapping[str, str] = {
    "chainrule": "benchmarks.sides.chainrule_side",
    "pytorch": "benchmarks.sides.pytorch_side",
    "jax": "benchmarks.sides.jax_side",
    "keras": "benchmarks.sides.keras_side",
    "sklearn": "benchmarks.sides.sklearn_side",
}
PACKAGES: Mapping[str, str] = {"pytorch": "torch", "sklearn": "scikit-learn"}  # where the name on the index differs

CLIP_NORM = 1.0  # of all gradients together, in the case with clipping


def sample_weights(rows: int) -> Array:
    """Weights from 0 to 2, with mean 1."""
    return np.linspace(0, 2, rows, dtype=np.float32)


@dataclass(frozen=True)
class Setup:
    """What a side is made with. `threads` None leaves the choice to the side."""

    case: Case
    data: Data
    weights: Weights
    threads: int | None


class Side(Protocol):
    """One library at one case."""

    def train(self, epochs: int, between: Callable[[], None]) -> None:
        """Train; call `between` after each epoch, once its work is done."""
        ...

    def hold(self, inputs: Array) -> Any:
        """Inputs (N, I) in the side's own form."""
        ...

    def predict(self, held: Any) -> Any:
        """The outputs of held inputs, probabilities or values, in the side's own form, once they are there."""
        ...

    def save(self, path: Path) -> None:
        """Write the weights as the library does."""
        ...


@runtime_checkable
class ProfiledSide(Protocol):
    """A side that tells how its steps are made up: chainrule."""

    def loops_share(self) -> float:
        """The share of a step's operations that fell to plain loops."""
        ...


def make_side(name: str, setup: Setup) -> Side:
    """The side of that name; its library is imported here."""
    side: Side = import_module(MODULES[name]).make(setup)
    return side


def differs(name: str, case: Case) -> str:
    """What a side does otherwise than the case says, "" where it does the same.

    >>> from benchmarks.cases import CASES
    >>> differs("sklearn", CASES["A"])
    'Adam: it has no RMSprop'
    """
    if name != "sklearn" or case.measure != "step":
        return ""
    if case.optimizer == "rmsprop":
        return "Adam: it has no RMSprop"
    if case.loss == "half_squared":
        return "softmax and cross entropy: it classifies by no other loss"
    return ""
