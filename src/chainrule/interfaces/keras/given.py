"""What a user hands to compile, fit and predict: one thing, a list or a dictionary, put in the model's order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError, SettingError
from chainrule.interfaces.keras import losses, metrics
from chainrule.interfaces.keras.graph import flat
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.interfaces.keras.assemble import Result


SUM = 0.01  # rounding of shares written with two decimals; what is closer is judged by the declaration


def log_name(asked: Any) -> str:
    return asked.split("=")[0].strip() if isinstance(asked, str) else str(asked.name)


def check_early(loss: Any, shares: Any, *wanted: Any) -> None:
    """What is wrong is told at compile, not at fit."""
    for one in flat(shares) if shares is not None else ():
        if isinstance(one, bool) or not isinstance(one, int | float | np.number):
            raise SettingError(say("keras.loss_weights", came=one))
    for one in flat(loss) if loss is not None else ():
        losses.get(one)
    for some in wanted:
        for one in flat(some) if some is not None else ():
            if one is not None:
                metrics.get(one)


def by_output(given: Any, names: Sequence[str], what: str, *, alone: bool, lists: bool = False) -> list[Any]:
    """What is given for each output: one thing for all, a list in their order, or a dictionary by name."""
    if given is None:
        return [None] * len(names)
    if isinstance(given, Mapping) and not {"class_name", "config"} <= set(given):
        for name in given:
            if name not in names:
                raise SettingError(say("keras.no_output", what=what, name=name, known=", ".join(names)))
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        nested = lists and any(isinstance(one, list | tuple) for one in given)
        if lists and len(names) == 1:
            return [list(given)]
        if lists and not nested and len(given) != len(names):
            return [list(given) for _ in names]
        if len(given) != len(names):
            raise SettingError(say("keras.per_output", what=what, came=len(given), wanted=len(names)))
        return list(given)
    return [given] * len(names)


def in_order(given: Any, names: Sequence[str], keras_names: Sequence[str], what: str) -> list[Any]:
    """Arrays in the order of inputs or outputs: from one array, a list, or a dictionary by name. Raises: DataError."""
    if isinstance(given, Mapping):
        found = []
        for own, keras in zip(names, keras_names, strict=True):
            if keras not in given and own not in given:
                raise DataError(say("keras.missing_array", what=what, name=keras, came=", ".join(map(str, given))))
            found.append(given[keras] if keras in given else given[own])
        return found
    if len(names) == 1:
        single = (
            isinstance(given, list | tuple) and len(given) == 1 and hasattr(given[0], "shape") and np.ndim(given[0]) > 1
        )
        if isinstance(given, list | tuple) and len(given) > 1 and all(_is_array(a) and a.ndim > 1 for a in given):
            raise DataError(say("keras.array_count", what=what, came=len(given), wanted=1))
        return [given[0] if single else given]
    if not isinstance(given, list | tuple) or len(given) != len(names):
        came = len(given) if isinstance(given, list | tuple) else 1
        raise DataError(say("keras.array_count", what=what, came=came, wanted=len(names)))
    return list(given)


def shaped(value: Any, shape: tuple[int, ...], sizes: tuple[int, ...], name: str) -> Any:
    """Rows of Keras's shape under the indices of the formulas: another view. Raises: DataError."""
    if hasattr(value, "tocsr"):
        return value
    array = value if isinstance(value, np.ndarray) else as_array(value, name)
    if array.shape[1:] == sizes and array.ndim:
        return array
    if array.ndim and len(array) and array.size == len(array) * math.prod(sizes):
        return array.reshape(len(array), *sizes)
    if array.shape == shape:
        raise DataError(say("keras.one_sample", name=name, came=array.shape, wanted=(None, *shape)))
    raise DataError(say("keras.input_shape", name=name, came=array.shape, wanted=(None, *shape)))


def as_array(value: Any, name: str) -> np.ndarray[Any, Any]:
    """Rows as an array. Raises: DataError for rows of different lengths."""
    try:
        return np.asarray(value)
    except ValueError:
        raise DataError(say("keras.ragged", name=name)) from None


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def need_targets(y: Any) -> None:
    """Raises: DataError where fit or evaluate gets none."""
    if y is None:
        raise DataError(say("keras.no_targets"))


def check_shares(loss: losses.Loss, result: Result, targets: np.ndarray[Any, Any]) -> None:
    """Raises: DataError for rows of targets that do not sum to 1, in the words of who compiled the loss."""
    sums = targets.sum(axis=-1, dtype=np.float64)
    wrong = np.abs(sums - 1) > SUM
    if wrong.any():
        row = int(np.argmax(wrong.reshape(len(sums), -1).any(axis=-1)))
        came = f"{float(np.asarray(sums[row]).reshape(-1)[0]):g}"
        raise DataError(say("keras.not_shares", output=result.layer, loss=loss.name, row=row, came=came))
