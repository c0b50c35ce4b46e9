"""keras.utils for arrays: one-hot targets, scaling to length 1, sequences of one length, the seed.

>>> to_categorical([0, 2, 1])
array([[1., 0., 0.],
       [0., 0., 1.],
       [0., 1., 0.]])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DataError, SettingError
from chainrule.interfaces.keras.config import clear_session, set_random_seed
from chainrule.messages import say

__all__ = ["clear_session", "normalize", "pad_sequences", "set_random_seed", "to_categorical"]

Array = np.ndarray[Any, Any]


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """Class numbers as one-hot rows: (N,) → (N, num_classes). Raises: DataError for what is no class number."""
    given = np.asarray(x)
    numbers = given.astype(np.int64) if given.dtype.kind in "iufb" else None
    if numbers is None or (given.dtype.kind == "f" and bool((given != numbers).any())):
        raise DataError(say("keras.no_class_number", came=str(given.dtype)))
    if numbers.ndim > 1 and numbers.shape[-1] == 1:
        numbers = numbers.reshape(numbers.shape[:-1])
    count = int(numbers.max(initial=-1)) + 1 if num_classes is None else int(num_classes)
    if numbers.size and (int(numbers.min()) < 0 or int(numbers.max()) >= count):
        wrong = int(numbers.min()) if int(numbers.min()) < 0 else int(numbers.max())
        raise DataError(say("keras.class_range", came=wrong, most=count - 1))
    return np.eye(count)[numbers]


def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """Each row over its length; a row of zeros stays one."""
    array = np.atleast_1d(np.asarray(x, dtype=np.float64))
    length = np.atleast_1d(np.linalg.norm(array, order, axis))
    length[length == 0] = 1
    scaled: Array = array / np.expand_dims(length, axis)
    return scaled


def pad_sequences(
    sequences: Sequence[Sequence[Any]],
    maxlen: int | None = None,
    dtype: str = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> Array:
    """Sequences of one length: cut or filled at their beginning ("pre") or end ("post")."""
    for name, word in (("padding", padding), ("truncating", truncating)):
        if word not in ("pre", "post"):
            raise SettingError(say("keras.unknown", what=name, came=word, known="pre, post"))
    length = max((len(s) for s in sequences), default=0) if maxlen is None else maxlen
    found = np.full((len(sequences), length), value, dtype=dtype)
    for row, sequence in zip(found, sequences, strict=True):
        part = np.asarray(list(sequence)[-length:] if truncating == "pre" else list(sequence)[:length], dtype=dtype)
        if len(part) and length:
            row[length - len(part) if padding == "pre" else 0 :][: len(part)] = part
    return found
