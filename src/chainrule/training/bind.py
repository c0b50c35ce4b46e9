"""A user's arrays → the inputs, targets and labels of a System: shapes, one-hot targets, declared facts.

What is accepted: arrays or lists with one row a sample; images for a flat input (28×28 for x[i]); class numbers for a
target t[k]; one row alone where a single sample is meant; a mapping from name to array for several inputs; a sparse
table of SciPy's for an input, which stays one; paths of files, and tables of pandas, polars and Arrow (data/given.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.data.checks import WrongValue, as_class_numbers, as_classes, as_numbers, one_hot, same_length
from chainrule.data.given import Read, Want, Wanted, are_arrays, is_plain, resolve
from chainrule.data.sources import Source
from chainrule.data.sources.streams import is_batches
from chainrule.data.sparse import SparseRows, as_sparse, is_sparse, rows_at_once
from chainrule.errors import DataError, SettingError, warn
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import free_indices, tensors
from chainrule.formula.shapes import MAX_ENTRIES, Sizes
from chainrule.formula.system import Fact, System, Tensor
from chainrule.formula.text import fact_text
from chainrule.messages import say

SHOWN_NAMES = 10  # of columns, in a warning
FACT_CHUNK = 65_536  # rows checked at a time, so that a fact over a large file needs little memory
COLUMNS_NOTE = "columns"  # in a network's notes: the columns that a vector was trained on
TABLE_NOTE = "table"  # and what the command line keeps of a table, which prepares its columns (interfaces/tabular.py)
FACT_TOLERANCE = 1e-5  # float32 sums of probabilities are this far from 1


@dataclass(frozen=True)
class Bound:
    """Checked arrays by tensor name, and the table's columns that vectors were made of, where they were."""

    arrays: dict[str, Array]
    columns: dict[str, list[str]]

    def tell_constants(self) -> None:
        """Warn of columns that are the same in all rows, which a table's user may not have seen."""
        for name, columns in self.columns.items():
            array = self.arrays[name]
            if array.ndim == 2 and len(array) > 1:
                same = np.flatnonzero(array.min(axis=0) == array.max(axis=0))
                if len(same):
                    shown = ", ".join(columns[k] for k in same[:SHOWN_NAMES]) + (
                        ", …" if len(same) > SHOWN_NAMES else ""
                    )
                    warn(say("given.constant", source=name, names=shown))


def bind(
    system: System,
    sizes: Sizes,
    data: Sequence[object],
    named: Mapping[str, object],
    roles: Sequence[str],
    notes: Mapping[str, object],
) -> Bound:
    """The arrays by tensor name, checked; `sizes` learns what they say of the indices.

    The network's `notes` know the columns that it was trained on. Raises: DataError, one line: what came, what was
    wanted, what to do; FileError for a file.
    """
    wanted = system.of_role(*roles)
    data = [_table_of_keys(item) if isinstance(item, Mapping) and is_sparse(item) else item for item in data]
    if are_arrays(data, named):
        return Bound(_checked(system, sizes, wanted, _by_name(system, wanted, data, named)), {})
    read = resolve(data, named, _want(system, sizes, wanted, _trained_columns(notes)))
    if read.columns and TABLE_NOTE in notes:
        raise DataError(say("given.trained_by_table"))
    came = _by_name(system, wanted, read.data, read.named)
    origins = {name: value.origin for name, value in came.items() if isinstance(value, Read)}
    given = {name: value.value if isinstance(value, Read) else value for name, value in came.items()}
    try:
        return Bound(_checked(system, sizes, wanted, given), read.columns)
    except WrongValue as error:
        if error.name not in origins:
            raise
        raise origins[error.name].told(error) from None


def _table_of_keys(value: Any) -> object:
    """SciPy's dok_array, which is a dict, as one that is none."""
    return value.tocsr()


def _trained_columns(notes: Mapping[str, object]) -> dict[str, list[str]]:
    """The columns of tables that vectors were trained on, by the vector's name; the notes come from a file."""
    found = notes.get(COLUMNS_NOTE)
    if not isinstance(found, Mapping):
        return {}
    return {str(name): [str(c) for c in columns] for name, columns in found.items() if isinstance(columns, list)}


def validation_parts(given: object) -> tuple[object, ...]:
    """validation_data as it is bound: (x, t), a mapping, a file's path, or a table. Raises: SettingError."""
    if isinstance(given, Mapping) or not is_plain(given):
        return (given,)
    if not isinstance(given, Sequence):
        raise SettingError(say("training.validation_data", came=type(given).__name__))
    return tuple(given)


def _want(system: System, sizes: Sizes, wanted: Sequence[Tensor], trained: Mapping[str, Sequence[str]]) -> Want:
    quantities = []
    for t in wanted:
        own = [i for i in t.indices if i != system.samples]
        width = sizes.known.get(own[0]) if len(own) == 1 else None
        quantities.append(Wanted(t.name, t.role, len(own), t.classes is not None, width))
    return Want(quantities, [t.name for t in system.of_role("input", "target", "label")], trained)


def _checked(system: System, sizes: Sizes, wanted: Sequence[Tensor], given: Mapping[str, object]) -> dict[str, Array]:
    arrays: dict[str, Any] = {}
    for tensor in wanted:
        if tensor.name not in given:
            for name, value in given.items():
                if _holds_batches(value):
                    raise DataError(say("training.batches_came", name=name, came=type(value).__name__))
            raise DataError(say("training.missing_data", name=tensor.name, wanted=", ".join(t.name for t in wanted)))
    alone = _one_sample_alone(system, sizes, given)
    counts = _class_counts(sizes, wanted, given)
    for tensor in wanted:
        value = given[tensor.name]
        if alone and tensor.role == "target" and len(tensor.indices) == 2:
            shape = _shape(value)
            if shape is not None and len(shape) < 2:
                value = [value]  # its one row or class, not as many class numbers
        if tensor.role == "input" and tensor.classes is not None:
            arrays[tensor.name] = _class_numbers(system, sizes, tensor, value, counts[tensor.classes])
        elif tensor.role == "input" and len(tensor.indices) > 1 and is_sparse(value):
            arrays[tensor.name] = _sparse(system, sizes, tensor, value)
        else:
            arrays[tensor.name] = _one(system, sizes, tensor, _dense(tensor.name, value))
    if arrays:
        same_length(arrays)
    for fact in system.facts:
        _check_fact(fact, arrays, system)
    return arrays


def _holds_batches(value: object) -> bool:
    """Whether this is no array but a source, an iterable of batches, a list of such, or a function that makes them."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], tuple | Mapping) and len(np.shape(next(iter(value[0]), ()))) > 0
    return isinstance(value, Source) or is_batches(value) or (callable(value) and not hasattr(value, "__array__"))


def _class_counts(sizes: Sizes, wanted: Sequence[Tensor], given: Mapping[str, object]) -> dict[str, int]:
    """The size of every index that inputs count the values of: as it is known, else from the largest number.

    Two inputs over one index, a pair of words say, learn it together.
    """
    counts: dict[str, int] = {}
    for tensor in wanted:
        if tensor.classes is None:
            continue
        if tensor.classes in sizes.known:
            counts[tensor.classes] = sizes.known[tensor.classes]
        else:
            array = as_numbers(tensor.name, _dense(tensor.name, given[tensor.name]), None)
            most = int(min(float(array.max()), MAX_ENTRIES)) + 1  # what is too large for a tensor fails there
            counts[tensor.classes] = max(most, 1, counts.get(tensor.classes, 0))
    return counts


def _class_numbers(system: System, sizes: Sizes, tensor: Tensor, value: object, count: int) -> Array:
    """An input of class numbers: (N,) for c, (N, L) for c[l], as int64."""
    own = [i for i in tensor.indices if i != system.samples]
    array = as_numbers(tensor.name, _dense(tensor.name, value), None)
    array = _rows(tensor.name, array, own, [sizes.known.get(i) for i in own])
    numbers = as_class_numbers(tensor.name, array, count, str(tensor.classes))
    sizes.learn(str(tensor.classes), count, say("training.from_data", name=tensor.name))
    sizes.learn_shape(tensor, array.shape[1:], say("training.from_data", name=tensor.name))
    return numbers


def _sparse(system: System, sizes: Sizes, tensor: Tensor, value: object) -> SparseRows:
    """A sparse table for an input: one column for each of its entries."""
    rows = as_sparse(tensor.name, value)
    own = [i for i in tensor.indices if i != system.samples]
    known = [sizes.known.get(i) for i in own]
    if len(own) == 1:
        known = [rows.width if known[0] is None else known[0]]
    if None in known or math.prod(k for k in known if k is not None) != rows.width:
        shape = "(N, " + "·".join(str(k if k is not None else i) for i, k in zip(own, known, strict=True)) + ")"
        raise DataError(say("training.wrong_shape", name=tensor.name, came=rows.shape, wanted=shape))
    tail = tuple(k or 0 for k in known)
    sizes.learn_shape(tensor, tail, say("training.from_data", name=tensor.name))
    return replace(rows, tail=tail)


def _dense(name: str, value: object) -> object:
    """A sparse table where an array is wanted: as one."""
    return np.asarray(as_sparse(name, value)) if is_sparse(value) else value


def as_dense(arrays: Mapping[str, Any]) -> dict[str, Array]:
    """Sparse tables as arrays. Raises: DataError where one is too large for that."""
    return {name: np.asarray(array) if isinstance(array, SparseRows) else array for name, array in arrays.items()}


def _one_sample_alone(system: System, sizes: Sizes, given: Mapping[str, object]) -> bool:
    """Whether the inputs are one sample without a sample axis: x of shape (I,) for x[i]."""
    inputs = [t for t in system.of_role("input") if t.name in given and len(t.indices) > 1]
    known = {t.name: [sizes.known.get(i) for i in t.indices if i != system.samples] for t in inputs}
    return bool(known) and all(_is_alone(sizes_of, _shape(given[name])) for name, sizes_of in known.items())


def _is_alone(known: Sequence[int | None], shape: Sequence[int] | None) -> bool:
    """Whether a shape is that of one sample: of 28×28 images, 2 axes are one image, but not (N, 784)."""
    return shape is not None and 0 < len(known) == len(shape) and _may_be(known, shape)


def _may_be(known: Sequence[int | None], shape: Sequence[int]) -> bool:
    """Whether a shape has the sizes that are known."""
    return all(k in (None, s) for k, s in zip(known, shape, strict=True))


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of an array or a list; None for what is no array, such as rows of different lengths."""
    try:
        return tuple(np.shape(value))
    except ValueError:
        return None


def _by_name(
    system: System, wanted: Sequence[Tensor], data: Sequence[object], named: Mapping[str, object]
) -> dict[str, object]:
    given: dict[str, object] = {}
    names = [t.name for t in wanted]
    positional: list[object] = []
    for item in data:
        if isinstance(item, Mapping):
            given.update({str(k): v for k, v in item.items()})
        else:
            positional.append(item)
    free = [n for n in names if n not in given and n not in named]
    if len(positional) > len(free):
        raise DataError(say("training.too_many_arrays", came=len(positional), wanted=", ".join(free) or "–"))
    given.update(zip(free, positional, strict=False))
    given.update(named)
    for name in given:
        if name not in names:
            raise DataError(say("training.unknown_data", name=name, wanted=", ".join(names)))
    return given


def _one(system: System, sizes: Sizes, tensor: Tensor, value: object) -> Array:
    name = tensor.name
    own = [i for i in tensor.indices if i != system.samples]
    known = [sizes.known.get(i) for i in own]
    if tensor.role == "label":
        array = as_numbers(name, value, None)
        classes = sizes.known.get(str(tensor.classes))
        count = classes if classes is not None else int(array.max(initial=0)) + 1
        labels = as_classes(name, array, count)
        sizes.learn(str(tensor.classes), count, say("training.from_data", name=name))
        return labels
    array = as_numbers(name, value, None)
    if tensor.role == "target" and len(own) == 1 and array.ndim == 1 and known[0] != 1:
        count = known[0] if known[0] is not None else int(array.max(initial=0)) + 1
        array = one_hot(as_classes(name, array, count), count)
    array = _rows(name, array, own, known)
    sizes.learn_shape(tensor, array.shape[1:], say("training.from_data", name=name))
    return array


def _rows(name: str, array: Array, own: Sequence[str], known: Sequence[int | None]) -> Array:
    """The array with one row a sample and one further axis per index."""
    rank = len(own)
    if _is_alone(known, array.shape):
        array = array[None]  # one sample alone
    elif array.ndim == 0:
        array = array.reshape(1)
    if rank == 0 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if rank == 1 and array.ndim == 1:
        array = array[:, None] if known[0] in (None, 1) else array
    if rank == 1 and array.ndim > 2:
        array = array.reshape(len(array), -1)  # an image, read row by row
    full = [k for k in known if k is not None]
    if rank > 1 and array.ndim == 2 and len(full) == rank and array.shape[1] == math.prod(full):
        array = array.reshape(len(array), *full)
    shape = "(N" + "".join(f", {k if k is not None else i}" for i, k in zip(own, known, strict=True)) + ")"
    fits = array.ndim == rank + 1 and _may_be(known, array.shape[1:])
    if not fits:
        raise DataError(say("training.wrong_shape", name=name, came=tuple(array.shape), wanted=shape))
    return array


def _check_fact(fact: Fact, arrays: Mapping[str, Any], system: System) -> None:
    names = {*tensors(fact.left), *tensors(fact.right)}
    if not names or not names <= set(arrays):
        return
    rows = len(next(iter(arrays[n] for n in names)))
    chunk = rows_at_once({n: arrays[n] for n in names}, FACT_CHUNK)
    for start in range(0, rows, chunk):
        part = as_dense({n: arrays[n][start : start + chunk] for n in names})
        part = {n: _wide(a) for n, a in part.items()}
        left, right = (_side(e, part, system) for e in (fact.left, fact.right))
        good = np.asarray(_holds(fact.operator, left, right))
        if not good.all():
            row = int(np.argwhere(~good)[0][0]) if good.ndim else 0
            came = float(np.broadcast_to(left, good.shape)[tuple(np.argwhere(~good)[0])]) if good.ndim else float(left)
            raise DataError(
                say("training.fact_broken", fact=fact_text(fact, system.samples), row=start + row, came=f"{came:g}")
            )


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind in "biu" or array.dtype.itemsize < 8 else array


def _side(expr: Any, part: Mapping[str, Array], system: System) -> Array:
    free = free_indices(expr)
    axes = tuple(sorted(free, key=lambda i: i != system.samples))
    rows = len(next(iter(part.values())))
    return evaluate(expr, part, axes, sizes={system.samples: rows})


def _holds(operator: str, left: Array, right: Array) -> Array:
    slack = FACT_TOLERANCE * (1 + np.abs(right))
    table = {
        "==": np.abs(left - right) <= slack,
        "<=": left <= right + slack,
        ">=": left >= right - slack,
        "<": left < right,
        ">": left > right,
    }
    return np.asarray(table[operator])
