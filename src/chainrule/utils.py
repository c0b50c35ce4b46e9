"""Keras's utilities for arrays."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from chainrule.interfaces.keras import absent as _absent
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

if not _TYPE_CHECKING:  # a type checker knows which names there are
    __getattr__ = _absent.names_of("utils", _absent.UTILS)
