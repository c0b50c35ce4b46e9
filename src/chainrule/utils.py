"""Keras's utilities for arrays."""

from chainrule.interfaces.keras.utils import (
    clear_session,
    normalize,
    pad_sequences,
    set_random_seed,
    to_categorical,
)

__all__ = [
    "clear_session",
    "normalize",
    "pad_sequences",
    "set_random_seed",
    "to_categorical",
]
