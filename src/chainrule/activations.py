"""Keras's activations: rows of the library, callable on numbers: `activations.relu([-1.0, 2.0])`."""

from typing import Any

from chainrule.interfaces.keras import activations as _activations
from chainrule.interfaces.keras.activations import Activation, get

__all__ = ["Activation", "get"]


def __getattr__(name: str) -> Any:
    return getattr(_activations, name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_activations.NAMES})
