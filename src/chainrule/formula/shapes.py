"""Sizes of indices: from `size` lines, from starting values, from data; a conflict names both places."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from chainrule.errors import Place, ShapeError
from chainrule.formula.expr import Element, Expr, Reduction, free_indices, index_names, walk
from chainrule.formula.system import Equation, System, Tensor
from chainrule.messages import say

MAX_ENTRIES = 2**31 - 1  # of one tensor: 8 GiB of float32
MAX_TERMS = 10**12  # of one sum, for all entries of what it is computed for: minutes, for one sample


class Sizes:
    """What is known of the sizes so far, and who said it."""

    def __init__(self, system: System):
        self.system = system
        self.known: dict[str, int] = {}
        self.said_by: dict[str, str] = {}
        for index, size in system.sizes.items():
            self.learn(index, size, say("formula.from_size_line"))
        for tensor in system.tensors.values():
            if tensor.initial is not None and tensor.initial.values is not None:
                self._learn_literal(tensor)

    def learn(self, index: str, size: int, source: str, place: Place | None = None) -> None:
        """Note a size. Raises: ShapeError where it contradicts what is known, naming both places."""
        before = self.known.get(index)
        if before is not None and before != size:
            raise ShapeError(
                say(
                    "formula.size_conflict",
                    index=index,
                    first=before,
                    first_from=self.said_by[index],
                    second=size,
                    second_from=source,
                ),
                place,
            )
        self.known[index] = size
        self.said_by.setdefault(index, source)

    def learn_shape(self, tensor: Tensor, shape: tuple[int, ...], source: str, place: Place | None = None) -> None:
        """Note the sizes that an array of this tensor brings, the sample axis aside."""
        indices = [i for i in tensor.indices if i != self.system.samples]
        for index, size in zip(indices, shape, strict=True):
            self.learn(index, size, source, place)

    def _learn_literal(self, tensor: Tensor) -> None:
        assert tensor.initial is not None
        shape = nested_shape(tensor.initial.values)
        if shape is None or (shape and len(shape) != len(tensor.indices)):
            raise ShapeError(say("formula.values_shape", name=tensor.name, wanted=len(tensor.indices)), tensor.place)
        if shape:
            self.learn_shape(tensor, shape, say("formula.from_values", name=tensor.name), tensor.place)

    def spread(self) -> None:
        """Sizes that follow from a tensor used under other index names: W[j, i] declared as W[a, b]."""
        before = -1
        while before != len(self.known):
            before = len(self.known)
            for node, place in self._elements():
                for slot, index in zip(node.slots, self.system.tensors[node.tensor].indices, strict=True):
                    if not isinstance(slot, str) or slot == index or self.system.samples in (slot, index):
                        continue
                    source = say("formula.from_use", name=node.tensor, index=index)
                    if slot in self.known:
                        self.learn(index, self.known[slot], source, place)
                    elif index in self.known:
                        self.learn(slot, self.known[index], source, place)

    def check_fixed_slots(self) -> None:
        """x[7] needs an index of more than 7 values."""
        for node, place in self._elements():
            for slot, index in zip(node.slots, self.system.tensors[node.tensor].indices, strict=True):
                if isinstance(slot, int) and slot >= self.known.get(index, slot + 1):
                    text = f"{node.tensor}[{', '.join(str(s) for s in node.slots if s != self.system.samples)}]"
                    raise ShapeError(
                        say("formula.slot_out_of_range", element=text, index=index, size=self.known[index]), place
                    )

    def missing(self) -> list[str]:
        """Indices of the system that have no size yet, the sample axis aside."""
        names: dict[str, None] = {}
        for tensor in self.system.tensors.values():
            names |= dict.fromkeys(tensor.indices)
            if tensor.classes:
                names[tensor.classes] = None
        for expr, _ in self._expressions():
            names |= dict.fromkeys(sorted(index_names(expr)))
        return [i for i in names if i not in self.known and i != self.system.samples]

    def require(self) -> Mapping[str, int]:
        """All sizes. Raises: ShapeError naming the first index without one, or a tensor that would be too large."""
        self.spread()
        missing = self.missing()
        if missing:
            raise ShapeError(say("formula.size_unknown", index=missing[0]), self._place_of(missing[0]))
        self.check_fixed_slots()
        for tensor in self.system.tensors.values():
            entries = math.prod(self.known[i] for i in tensor.indices if i != self.system.samples)
            if entries > MAX_ENTRIES:
                message = say("formula.too_large", name=tensor.name, came=entries, limit=MAX_ENTRIES)
                raise ShapeError(message, tensor.place)
        for equation in (*self.system.equations, *self.system.predictions):
            self._check_terms(equation)
        return dict(self.known)

    def _check_terms(self, equation: Equation) -> None:
        """Raises: ShapeError for a sum that would not come to an end."""
        for node in walk(equation.value):
            if isinstance(node, Reduction):
                terms = math.prod(self.known[i] for i in free_indices(node.body) if i in self.known)
                if terms > MAX_TERMS:
                    message = say("hostile.too_many_terms", came=terms, limit=MAX_TERMS)
                    raise ShapeError(message, equation.place)

    def _expressions(self) -> Iterator[tuple[Expr, Place | None]]:
        """Every expression of the system, left sides of updates included, with its place."""
        for equation in self.system.equations:
            yield equation.value, equation.place
        for update in (*self.system.updates, *self.system.constraints):
            yield update.target, update.place
            yield update.value, update.place
        for fact in self.system.facts:
            yield fact.left, fact.place
            yield fact.right, fact.place

    def _elements(self) -> Iterator[tuple[Element, Place | None]]:
        for expr, place in self._expressions():
            for node in walk(expr):
                if isinstance(node, Element):
                    yield node, place

    def _place_of(self, index: str) -> Place | None:
        """Where an index stands first: in a tensor's declaration, else in a line that uses it."""
        declared = ((t.place, {*t.indices, t.classes}) for t in self.system.tensors.values())
        used = ((place, index_names(expr)) for expr, place in self._expressions())
        place = next((place for places in (declared, used) for place, names in places if index in names), None)
        if place is None:
            return None
        within = re.compile(rf"(?<!\w){re.escape(index)}(?!\w)").search(place.text, place.column)
        return place if within is None else Place(place.line, within.start() + 1, place.text)


def nested_shape(values: object) -> tuple[int, ...] | None:
    """The shape of nested tuples of numbers; None where they are ragged."""
    if not isinstance(values, tuple):
        return ()
    shapes = {nested_shape(v) for v in values}
    if len(shapes) != 1 or None in shapes or not values:
        return None
    (inner,) = shapes
    assert inner is not None
    return (len(values), *inner)
