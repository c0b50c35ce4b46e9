"""Is what came a table of finite numbers? One line where it is not: what came, what was wanted, what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np

from chainrule.errors import DataError
from chainrule.messages import say, shortened

Array = np.ndarray[Any, Any]

CHUNK_NUMBERS = 2**20  # numbers looked at a time: the mask takes 1 MB, however large the memory-mapped file is
SHOWN = 60  # characters of a wrong value that a message repeats


class WrongValue(DataError):
    """One number of `name` that cannot stand where it stands: `came`, at `place`, its row first, counted from 0.

    `said` is the message, or makes it from the place. `last` is the last class number where a class was wanted, None
    where a finite number was.
    """

    def __init__(
        self,
        said: str | Callable[[tuple[int, ...]], str],
        name: str,
        came: Any,
        place: tuple[int, ...],
        last: int | None = None,
    ):
        super().__init__(said if isinstance(said, str) else said(place))
        self.said, self.name, self.came, self.place, self.last = said, name, came, place, last

    def moved(self, rows: int) -> WrongValue:
        """The same in an array of which so many rows come before these."""
        place = (self.place[0] + rows, *self.place[1:])
        return WrongValue(self.said, self.name, self.came, place, self.last)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickles, such as a worker's answer."""
        return type(self), (str(self), self.name, self.came, self.place, self.last)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether an option is a whole number, Python's or NumPy's; True and 3.0 are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether an option is a finite real number, Python's or NumPy's; True is none."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(float(value)))


def as_numbers(name: str, value: object, shape: tuple[int | None, ...] | None = None) -> Array:
    """The value as an array of finite numbers; `shape` (None: any size) is checked where it is given.

    Integers and floats keep their dtype, so that a memory-mapped file of bytes is not copied; booleans become uint8,
    floats of other sizes float64, and foreign byte order this machine's.
    Raises: DataError for text, objects, complex or ragged values, NaN, infinity, nothing at all, another shape.
    """
    array = _native(name, _array(name, value))
    if array.size == 0:
        raise DataError(say("data.empty", name=name, came=_written(array.shape)))
    if shape is not None and not _fits(array.shape, shape):
        raise DataError(say("data.wrong_shape", name=name, came=_written(array.shape), wanted=_written(shape)))
    if array.dtype.kind == "f":
        _check_finite(name, array)
    return array


def _array(name: str, value: object) -> Array:
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
    except (ValueError, TypeError):
        raise DataError(say("data.ragged", name=name)) from None
    return array if type(array) is np.ndarray else unmasked(name, array)


def unmasked(name: str, array: Array) -> Array:
    """A masked array without its mask. Raises: DataError where that hides a number: it is no value."""
    # Where nobody has imported numpy.ma, which takes 15 ms, nobody has a masked array.
    if "numpy.ma" not in sys.modules or not isinstance(array, np.ma.MaskedArray):
        return array
    mask = np.ma.getmaskarray(array)
    if mask.any():
        place = ", ".join(str(int(p)) for p in np.argwhere(mask)[0])
        raise DataError(say("data.masked", name=name, place=place))
    return np.asarray(array.data)


def _native(name: str, array: Array) -> Array:
    """The same numbers in a dtype that the programs know."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise DataError(say("data.not_numbers", name=name, came=_first(array)))
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinity, which is reported as such
            return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _first(array: Array) -> str:
    """The dtype and the first value, on one line, however its repr is written."""
    if array.size == 0:
        return str(array.dtype)
    value = " ".join(repr(array.flat[:1].tolist()[0]).split())  # tolist: 'a', not np.str_('a')
    return f"{array.dtype} ({shortened(value, SHOWN)})"


def _fits(came: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(came) == len(wanted) and all(w in (None, c) for c, w in zip(came, wanted, strict=True))


def _written(shape: tuple[int | None, ...]) -> str:
    """(N, 784): an axis of any size is N."""
    return "(" + ", ".join("N" if size is None else str(size) for size in shape) + ")"


def _check_finite(name: str, array: Array) -> None:
    rows = array.reshape(1) if array.ndim == 0 else array
    step = max(1, CHUNK_NUMBERS * len(rows) // rows.size)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        finite = np.isfinite(chunk)
        if not finite.all():
            first = tuple(int(p) for p in np.argwhere(~finite)[0])
            raise _not_finite(name, chunk[first], (start + first[0], *first[1:]))


def _not_finite(name: str, came: Any, place: tuple[int, ...]) -> WrongValue:
    def said(at: tuple[int, ...]) -> str:
        return say("data.not_finite", name=name, came=came, place=", ".join(map(str, at)))

    return WrongValue(said, name, came, place)


def same_length(arrays: Mapping[str, Array]) -> None:
    """Raises: DataError where the arrays do not have one row for each sample."""
    lengths = {name: array.shape[0] if array.ndim else 1 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(say("data.lengths", came=", ".join(f"{name}: {rows}" for name, rows in lengths.items())))


def as_classes(name: str, value: object, classes: int) -> Array:
    """Class numbers 0 … classes - 1, (N,) or (N, 1), as int64 (N,). Floats will do where they are whole.

    Raises: DataError, naming the first row that is no class.
    """
    array = as_numbers(name, value)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(say("data.wrong_shape", name=name, came=_written(array.shape), wanted="(N)"))
    good = (array >= 0) & (array < classes)
    if array.dtype.kind == "f":
        good &= array == np.floor(array)
    if not good.all():
        row = int(np.argmin(good))
        came, last = array[row], classes - 1
        raise WrongValue(
            lambda at: say("data.not_a_class", name=name, came=came, row=at[0], last=last), name, came, (row,), last
        )
    return array.astype(np.int64)


def as_class_numbers(name: str, array: Array, classes: int, index: str) -> Array:
    """An array of any shape that counts the values of `index`, 0 … classes - 1, as int64.

    Raises: DataError, naming the first entry that is no class.
    Example:
    >>> as_class_numbers("c", np.array([[2.0, 0.0]]), 3, "v").tolist()
    [[2, 0]]
    """
    good = (array >= 0) & (array < classes)
    if array.dtype.kind == "f":
        good &= array == np.floor(array)
    if not good.all():
        first = tuple(int(p) for p in np.argwhere(~good)[0])
        came, last = array[first], classes - 1

        def said(at: tuple[int, ...]) -> str:
            place = ", ".join(map(str, at))
            return say("categories.not_a_class", name=name, came=came, place=place, last=last, index=index)

        raise WrongValue(said, name, came, first, last)
    return array.astype(np.int64, copy=False)


def one_hot(labels: Array, classes: int) -> Array:
    """Rows with a 1 in the column of the label: (N,) → (N, classes), uint8.

    Example:
    >>> one_hot(np.array([2, 0]), 3).tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    rows = np.zeros((len(labels), classes), dtype=np.uint8)
    rows[np.arange(len(labels)), labels] = 1
    return rows
