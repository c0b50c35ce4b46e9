"""The numbers of a source: in dtypes that the programs know, and finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.data.checks import CHUNK_NUMBERS
from chainrule.errors import DataError
from chainrule.messages import say

Array = np.ndarray[Any, Any]


def native(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The dtype that rows of this one come in: booleans as uint8, floats of other sizes as float64, this machine's byte
    order. None for what are no real numbers.

    >>> native(np.dtype(">f4")), native(np.dtype(bool)), native(np.dtype("U3"))
    (dtype('float32'), dtype('uint8'), None)
    """
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "iuf":
        return None
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")


def converted(rows: Array, dtype: np.dtype[Any]) -> Array:
    """The rows in this dtype; a long double beyond float64 becomes infinity, which is reported as such."""
    if rows.dtype == dtype:
        return rows
    with np.errstate(over="ignore"):
        return rows.astype(dtype)


def first_bad(values: Array) -> tuple[int, ...] | None:
    """The place of the first number that is not finite, the row first; None where all are.

    A sum tells in one pass, without a mask as large as the numbers; where it overflows, each number is looked at.
    """
    if values.dtype.kind != "f" or values.size == 0:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return None
    step = max(1, CHUNK_NUMBERS * len(values) // values.size)
    for start in range(0, len(values), step):
        finite = np.isfinite(values[start : start + step])
        if not finite.all():
            row, *others = (int(p) for p in np.argwhere(~finite)[0])
            return (start + row, *others)
    return None


def check_finite(source: str, field: str, values: Array, row_of: Callable[[int], int]) -> None:
    """Raises: DataError with source, field, row and column; `row_of` gives the row in the file of a row that came."""
    if (place := first_bad(values)) is None:
        return
    row = row_of(place[0])
    where = "".join(f", {p}" for p in place[1:])
    raise DataError(say("sources.not_finite", source=source, field=field, came=values[place], place=f"{row}{where}"))
