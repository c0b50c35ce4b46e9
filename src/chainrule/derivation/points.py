"""Random points of a derivation: every quantity, forward and backward, in float64; and whether two arrays agree there.

formula/evaluate.py is the meaning: the forward equations, then those of the backward pass, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from chainrule.derivation.claims import RATES, IndexClasses
from chainrule.derivation.quantities import Quantities
from chainrule.derivation.sampling import draw_arrays, draw_scalars, small_sizes
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Expr, base_index, index_names, symbols
from chainrule.formula.shapes import Sizes
from chainrule.formula.system import Tensor, Update

DRAWS = 24  # points at which a claim has to agree
# How many samples a point has, and what is added to the sizes of its indices: were they the same at every point, a
# forgotten 1/N would look like a factor 3.
SAMPLES, GROWTH = (3, 5, 4, 7), (0, 1, 2, 0)
# Of float64: sums of thousands of terms agree to 1e-12; a mistake that changes less than this in every entry is none.
TOLERANCE = 1e-8
FLOOR = 1e-14  # what rounding leaves of a difference of probabilities that is 0


@dataclass
class Point:
    """Arrays of all quantities for one draw; `sizes` has every index, the samples' too."""

    arrays: dict[str, Array]
    sizes: dict[str, int]
    scalars: dict[str, float]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def value(self, expr: Expr, axes: tuple[str, ...]) -> Array:
        """An expression's array, one axis per index of `axes`."""
        names = {*index_names(expr), *axes}
        sizes = {**self.sizes, **{i: self.sizes[base_index(i)] for i in names if base_index(i) in self.sizes}}
        return np.asarray(evaluate(expr, self.arrays, axes, sizes=sizes, scalars=self.scalars), dtype=np.float64)

    def draw_states(self, states: Mapping[str, Tensor]) -> None:
        """Values for the states of an update rule that has no tensors yet, positive as mean squares are."""
        for name, tensor in states.items():
            shape = tuple(self.sizes[i] for i in tensor.indices)
            if name not in self.arrays or self.arrays[name].shape != shape:
                self.arrays[name] = self.rng.uniform(0.1, 1.0, shape)


class Points:
    """Random points, drawn when they are asked for; the same for every claim on one derivation."""

    def __init__(self, book: Quantities, lines: tuple[Update, ...], seed: int = 0):
        self.book = book
        self.lines = lines
        self.classes = IndexClasses(book)
        self.rng = np.random.default_rng(seed)
        unsized = book.system.with_(sizes={})
        self.sizes = small_sizes(unsized)
        self.fixed = set(Sizes(unsized).known)  # by the starting values of a parameter, written out
        self.drawn: list[Point] = []
        self.square: list[Point] = []

    def at(self, number: int) -> Point:
        """Point `number`, its sizes all different."""
        while len(self.drawn) <= number:
            turn = len(self.drawn) % len(SAMPLES)
            grown = {i: s if i in self.fixed else s + GROWTH[turn] for i, s in self.sizes.items()}
            self.drawn.append(self.draw(grown, SAMPLES[turn]))
        return self._up_to_date(self.drawn[number])

    def at_equal_sizes(self, number: int) -> Point:
        """Point `number` of those whose indices all have one size, so that transposed weights can be evaluated."""
        while len(self.square) <= number:
            turn = len(self.square) % len(SAMPLES)
            size = max(self.sizes.values(), default=1) + GROWTH[turn]
            grown = {i: s if i in self.fixed else size for i, s in self.sizes.items()}
            self.square.append(self.draw(grown, SAMPLES[turn]))
        return self._up_to_date(self.square[number])

    def _up_to_date(self, point: Point) -> Point:
        """A derivative that a later claim asked for, such as dE/dx, is computed at the points that are there."""
        fill(self.book, point)
        return point

    def draw(self, sizes: Mapping[str, int], samples: int) -> Point:
        """A new random point. Raises: DataError where no draw satisfies the declared facts."""
        scalars = self.scalars()
        arrays = draw_arrays(self.book.system, sizes, self.rng, samples, scalars)
        return complete(self.book, arrays, {**sizes, self.book.samples: samples}, scalars, self.rng)

    def scalars(self) -> dict[str, float]:
        """Hyper-parameters: those of equations as the text has them, those of update rules at random."""
        scalars = draw_scalars(self.book.system, self.rng)
        used = {s for e in self.book.system.equations for s in symbols(e.value)}
        names = [s for u in (*self.book.system.updates, *self.lines) for s in symbols(u.value)]
        for name in (*names, *RATES, *self.book.system.hyper):
            if name not in used:
                scalars[name] = float(self.rng.uniform(0.3, 0.9))  # below 1, as rates of decay are
        return {**scalars, "step": 3.0}


def complete(
    book: Quantities,
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int],
    scalars: Mapping[str, float],
    rng: np.random.Generator | None = None,
) -> Point:
    """A point from inputs, targets and parameters: all that is computed of them, the adjoints included."""
    point = Point(dict(arrays), dict(sizes), dict(scalars), rng or np.random.default_rng(0))
    fill(book, point)
    return point


def fill(book: Quantities, point: Point) -> None:
    """Compute what a point does not have yet, in order."""
    for name in book.order:
        if name not in point.arrays:
            target, value = book.definitions[name]
            point.arrays[name] = point.value(value, tuple(map(str, target.slots)))


def agree(claimed: Array, true: Array) -> bool:
    """Whether two arrays are the same up to rounding, entry by entry; entries that are not finite say nothing."""
    claimed, true = np.broadcast_arrays(claimed, true)
    seen = np.isfinite(true)
    if not np.isfinite(claimed[seen]).all():
        return False
    claimed, true = claimed[seen], true[seen]
    scale = float(np.max(np.abs(true), initial=0.0))
    return bool(np.all(np.abs(claimed - true) <= TOLERANCE * (np.abs(claimed) + np.abs(true)) + 1e-13 * scale + FLOOR))
