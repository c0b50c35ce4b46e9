"""Is what came a table of finite numbers? One line where it is not: what came, what was wanted, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.messages import say

Array = np.ndarray[Any, Any]

CHUNK_ROWS = 65_536  # rows looked at a time, so that a memory-mapped file is not held in memory whole


def as_numbers(name: str, value: object, shape: tuple[int | None, ...] | None = None) -> Array:
    """The value as an array of finite numbers; `shape` (None: any size) is checked where it is given.

    Integers and floats keep their dtype, so that a memory-mapped file of bytes is not copied; booleans become uint8.
    Raises: DataError for text, objects, complex or ragged values, NaN, infinity, nothing at all, another shape.
    """
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
    except (ValueError, TypeError):
        raise DataError(say("data.ragged", name=name)) from None
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise DataError(say("data.not_numbers", name=name, came=_kind(array)))
    if array.dtype == np.float16 or array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if array.size == 0:
        raise DataError(say("data.empty", name=name, came=array.shape))
    if shape is not None and not _fits(array.shape, shape):
        wanted = "(" + ", ".join("N" if s is None else str(s) for s in shape) + ")"
        raise DataError(say("data.wrong_shape", name=name, came=array.shape, wanted=wanted))
    if array.dtype.kind == "f":
        _check_finite(name, array)
    return array


def _kind(array: Array) -> str:
    first = array.reshape(-1)[:1]
    return f"{array.dtype} ({first[0]!r})"[:60] if first.size else str(array.dtype)


def _fits(came: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(came) == len(wanted) and all(w in (None, c) for c, w in zip(came, wanted, strict=True))


def _check_finite(name: str, array: Array) -> None:
    rows = array.reshape(1) if array.ndim == 0 else array
    for start in range(0, len(rows), CHUNK_ROWS):
        finite = np.isfinite(rows[start : start + CHUNK_ROWS])
        if not finite.all():
            place = np.argwhere(~finite)[0]
            came = rows[start : start + CHUNK_ROWS][tuple(place)]
            column = ", ".join(str(int(p)) for p in place[1:]) or "–"
            raise DataError(say("data.not_finite", name=name, came=came, row=start + int(place[0]), column=column))


def same_length(arrays: Mapping[str, Array]) -> None:
    """Raises: DataError where the arrays do not have one row for each sample."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(say("data.lengths", came=", ".join(f"{n}: {c}" for n, c in lengths.items())))


def as_classes(name: str, value: object, classes: int) -> Array:
    """Class numbers 0 … classes - 1, as int64.

    Raises: DataError, naming the first row that is no class.
    """
    array = as_numbers(name, value)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(say("data.wrong_shape", name=name, came=array.shape, wanted="(N)"))
    good = (array >= 0) & (array < classes) & (array == np.floor(array))
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(say("data.not_a_class", name=name, came=array[row], row=row, last=classes - 1))
    return array.astype(np.int64)


def one_hot(labels: Array, classes: int) -> Array:
    """Rows with a 1 in the column of the label: (N,) → (N, classes), uint8."""
    rows = np.zeros((len(labels), classes), dtype=np.uint8)
    rows[np.arange(len(labels)), labels] = 1
    return rows
