"""Class numbers that pin an index down: in sum[v]([v == c]*T[v, d]) only v = c counts, so it is the row T[c, d].

Read the other way round, in sum[n]([v == c]*delta[d]) each sample's delta goes to one row of the result. Neither needs
the N × V numbers [v == c]: who computes such sums asks `pins` which indices are pinned, and by what.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.formula.expr import (
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Normalized,
    Position,
    Reduction,
    base_index,
    elements,
    free_indices,
    mul,
    transform,
    walk,
)
from chainrule.formula.system import Tensor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pin:
    """The factor [index == number] of a product: where it is not 0, the index is this number."""

    index: str
    number: Element
    factor: Compare


def pins(body: Expr, tensors: Mapping[str, Tensor]) -> list[Pin]:
    """The pins among the factors of a product, one for each index.

    The number must count the values of that very index: then it lies inside, as who brings it has checked.
    """
    found: dict[str, Pin] = {}
    for factor in _factors(body):
        match factor:
            case Compare("==", Position(index), Element() as number) | Compare(
                "==", Element() as number, Position(index)
            ):
                tensor = tensors.get(number.tensor)
                names = [s for s in number.slots if isinstance(s, str)]
                counts = tensor is not None and tensor.classes is not None and tensor.role in ("input", "label")
                if not counts or tensor is None or base_index(index) != tensor.classes:
                    continue
                if index not in names and len(set(names)) == len(names):
                    found.setdefault(index, Pin(index, number, factor))
    return list(found.values())


def without(body: Expr, pinned: list[Pin]) -> Expr:
    """The product of the other factors."""
    left = [p.factor for p in pinned]
    return mul(*(f for f in _factors(body) if not any(f is other for other in left)))


def _factors(body: Expr) -> tuple[Expr, ...]:
    return body.factors if isinstance(body, Mul) else (body,)


# --- in NumPy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoundRows:
    """A sum by class numbers as NumPy can do it: `body` without the pin and without the pinned index, over `arrays`,
    where rows that were read are arrays of their own. `adds` says that its terms go to rows of the result, by
    `numbers` over the indices `entry`.
    """

    index: str
    entry: tuple[str, ...]
    numbers: Array
    adds: bool
    body: Expr
    arrays: Mapping[str, Array]


def find_rows(
    body: Expr, indices: Sequence[str], arrays: Mapping[str, Array], sizes: Mapping[str, int], large: int
) -> FoundRows | None:
    """How to do sum[indices](body) by rows, where a pin has more than `large` numbers [index == number]."""
    for factor in _factors(body):
        match factor:
            case Compare("==", Position(index), Element() as number) | Compare(
                "==", Element() as number, Position(index)
            ):
                entry = tuple(s for s in number.slots if isinstance(s, str))
                numbers = arrays.get(number.tensor)
                if numbers is None or numbers.dtype.kind not in "iu" or len(set(entry)) < len(number.slots):
                    continue
                size = sizes.get(base_index(index), 0)
                adds = index not in indices
                fits = set(entry) <= set(indices) if adds else index not in entry
                if not fits or numbers.size * size <= large or not _inside(numbers, size):
                    continue
                pin = Pin(index, number, factor)
                if (found := _rows_of_arrays(without(body, [pin]), pin, arrays)) is not None:
                    return FoundRows(index, entry, numbers, adds, *found)
    return None


def _inside(numbers: Array, size: int) -> bool:
    return bool(numbers.size and numbers.min() >= 0 and numbers.max() < size)


def _rows_of_arrays(body: Expr, pin: Pin, arrays: Mapping[str, Array]) -> tuple[Expr, Mapping[str, Array]] | None:
    """The body with T[c, d] for T[v, d], as an element of a new array; None where it cannot be said so."""
    entry = tuple(s for s in pin.number.slots if isinstance(s, str))
    for node in walk(body):
        if isinstance(node, Reduction | Normalized | Delta) and pin.index in free_indices(node):
            return None
    numbers = arrays[pin.number.tensor]
    new: dict[Expr, Element] = {}
    known = dict(arrays)
    for element in elements(body):
        if pin.index not in element.slots or element in new:
            continue
        if element.slots.count(pin.index) > 1 or set(entry) & set(element.slots):
            return None
        axis = element.slots.index(pin.index)
        name = f"{element.tensor} by {len(known)}"
        known[name] = np.take(arrays[element.tensor], numbers, axis=axis)
        new[element] = Element(name, (*element.slots[:axis], *entry, *element.slots[axis + 1 :]))

    def at_number(node: Expr) -> Expr:
        return pin.number if node == Position(pin.index) else new.get(node, node)

    return transform(body, at_number), known


def add_rows(rows: Array, numbers: Array, size: int) -> Array:
    """(P, …) added up by row number: (size, …), each row's terms in their order."""
    result = np.zeros((size, *rows.shape[1:]), rows.dtype)
    order = np.argsort(numbers, kind="stable")
    found, first = np.unique(numbers[order], return_index=True)
    if math.prod(rows.shape):
        result[found] = np.add.reduceat(rows[order], first, axis=0)
    return result
