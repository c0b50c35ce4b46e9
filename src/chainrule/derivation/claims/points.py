"""Random points of a derivation: every quantity, forward and backward, in float64; and whether two arrays agree there.

formula/evaluate.py is the meaning: the forward equations, then those of the backward pass, one after the other.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import numpy as np

from chainrule.derivation.claims.claim import Claim
from chainrule.derivation.claims.indices import IndexClasses
from chainrule.derivation.claims.names import RATES
from chainrule.derivation.claims.quantities import Quantities
from chainrule.derivation.sampling import draw_arrays, draw_scalars, small_sizes
from chainrule.formula.evaluate import Array, Arrays, Memory, evaluate
from chainrule.formula.expr import Expr, elements, free_indices, symbols
from chainrule.formula.shapes import Sizes
from chainrule.formula.system import Fact, Tensor, Update

DRAWS = 32  # points at which a claim has to agree
# How many samples a point has, and what is added to the sizes of its indices: were they the same at every point, a
# forgotten 1/N would look like a factor 3.
SAMPLES, GROWTH = (3, 5, 4, 7), (0, 1, 2, 0)
# Of float64: sums of thousands of terms agree to 1e-12; a mistake that changes less than this in every entry is none.
TOLERANCE = 1e-8
# Every so often a point with large numbers; 1 - p loses digits there, so less is asked of it.
EVERY, WIDTHS, TOO_LARGE, WIDE_TOLERANCE = 4, (0.5, 1.0, 2.0, 5.0), 1e4, 1e-4
FLOOR = 1e-14  # what rounding leaves of a difference of probabilities that is 0


@dataclass
class Point:
    """Arrays of all quantities for one draw; `sizes` has every index, the samples' too."""

    arrays: dict[str, Array]
    sizes: dict[str, int]
    scalars: dict[str, float]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    tolerance: float = TOLERANCE

    def value(self, expr: Expr, axes: tuple[str, ...], memory: Memory | None = None) -> Array:
        """An expression's array, one axis per index of `axes`."""
        array = evaluate(expr, self.arrays, axes, sizes=self.sizes, scalars=self.scalars, memory=memory)
        return np.asarray(array, dtype=np.float64)

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
        self._forward = {e.target.tensor for e in book.system.equations}
        self.drawn: list[Point] = []
        self.square: list[Point] = []

    def at(self, number: int) -> Point:
        """Point `number`, its sizes all different."""
        while len(self.drawn) <= number:
            turn = len(self.drawn) % len(SAMPLES)
            grown = {i: s if i in self.fixed else s + GROWTH[turn] for i, s in self.sizes.items()}
            point = self.draw(grown, SAMPLES[turn])
            self.drawn.append(self._wide(point) if len(self.drawn) > EVERY and len(self.drawn) % EVERY == 2 else point)
        return self._up_to_date(self.drawn[number])

    def _wide(self, point: Point) -> Point:
        """The point with large numbers of both signs, which reach the branches that small ones do not."""
        system = self.book.system
        told = system.in_facts
        arrays = {
            t.name: point.arrays[t.name] for t in system.of_role("label", "state", "input", "target", "parameter")
        }
        for tensor in system.of_role("input", "target", "parameter"):
            if tensor.name not in told:
                arrays[tensor.name] = np.asarray(self.rng.normal(0, self.rng.choice(WIDTHS), arrays[tensor.name].shape))
        for tensor in system.of_role("target"):
            output = system.tensors.get(str(system.output))
            if tensor.name not in told and output is not None and output.indices == tensor.indices:
                # Near the prediction as far as it is large, so that errors of both signs and of every size occur.
                near = complete(self.book, arrays, point.sizes, point.scalars, names=self._forward).arrays[output.name]
                arrays[tensor.name] = near * self.rng.uniform(-0.5, 2.5, near.shape) + self.rng.normal(0, 1, near.shape)
        wide = complete(self.book, arrays, point.sizes, point.scalars, self.rng)
        wide.tolerance = WIDE_TOLERANCE
        tame = all(np.isfinite(a).all() and np.abs(a).max(initial=0) < TOO_LARGE for a in wide.arrays.values())
        return wide if tame else point

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

    def reach(self, claim: Claim) -> None:
        """Make the points large enough for the places that a claim names, such as x[7]; all are drawn anew then."""
        wanted = dict(self.sizes)
        for element in (e for side in (claim.value, claim.truth) for e in elements(side)):
            tensor = self.book.tensors.get(element.tensor) or claim.states[element.tensor]
            for slot, own in zip(element.slots, tensor.indices, strict=True):
                if isinstance(slot, int) and own not in self.fixed:
                    for index in (i for i in wanted if self.classes.of(i) == self.classes.of(own)):
                        wanted[index] = max(wanted[index], slot + 1)
        if wanted != self.sizes:
            self.sizes, self.drawn, self.square = wanted, [], []

    def draw(self, sizes: Mapping[str, int], samples: int) -> Point:
        """A new random point. Raises: DataError where no draw satisfies the declared facts."""
        scalars = self.scalars()
        arrays = draw_arrays(self.book.system, sizes, self.rng, samples, scalars)
        everything = {**sizes, self.book.samples: samples}
        point = complete(self.book, arrays, everything, scalars, self.rng)
        if samples % 2:  # what is said of t = 0 shows at targets of 0 and 1 only
            sharp = complete(self.book, arrays | self._sharp_targets(arrays, everything), everything, scalars, self.rng)
            point = sharp if all(np.isfinite(a).all() for a in sharp.arrays.values()) else point
        return point

    def _sharp_targets(self, arrays: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
        """Targets of 0 and 1, one-hot where they sum to 1, as far as the declared facts allow them."""
        system = self.book.system
        found: dict[str, Array] = {}
        for tensor in system.of_role("target"):
            own = [f for f in system.facts if tensor.name in f.names]
            one_hot = np.eye(sizes[tensor.indices[-1]])[
                self.rng.integers(0, sizes[tensor.indices[-1]], arrays[tensor.name].shape[:-1])
            ]
            either = np.asarray(self.rng.integers(0, 2, arrays[tensor.name].shape), dtype=np.float64)
            for values in (either, one_hot) if len(tensor.indices) > 1 else (either,):
                if all(holds(f, {**arrays, tensor.name: values}, sizes) for f in own):
                    found[tensor.name] = values
                    break
        return found

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
    names: Container[str] | None = None,
) -> Point:
    """A point from inputs, targets and parameters: all that is computed of them, the adjoints included."""
    point = Point(dict(arrays), dict(sizes), dict(scalars), rng or np.random.default_rng(0))
    fill(book, point, names)
    return point


def fill(book: Quantities, point: Point, names: Container[str] | None = None) -> None:
    """Compute what a point does not have yet, in order; of `names` only where they are given."""
    for name in book.order:
        if name not in point.arrays and (names is None or name in names):
            target, value = book.definitions[name]
            point.arrays[name] = point.value(value, tuple(map(str, target.slots)))


def holds(fact: Fact, arrays: Arrays, sizes: Mapping[str, int], scalars: Mapping[str, float] | None = None) -> bool:
    """Whether a declared fact is true of arrays."""
    axes = tuple(sorted(free_indices(fact.left) | free_indices(fact.right)))
    left, right = (evaluate(s, arrays, axes, sizes=sizes, scalars=scalars) for s in (fact.left, fact.right))
    signs = {"==": np.isclose(left, right), "<=": left <= right, ">=": left >= right, "<": left < right}
    return bool(np.all(signs.get(fact.operator, left > right)))


def agree(claimed: Array, true: Array, tolerance: float = TOLERANCE) -> bool:
    """Whether two arrays are the same up to rounding, entry by entry; entries that are not finite say nothing."""
    claimed, true = np.broadcast_arrays(claimed, true)
    seen = np.isfinite(true)
    if not np.isfinite(claimed[seen]).all():
        return False
    claimed, true = claimed[seen], true[seen]
    scale = float(np.max(np.abs(true), initial=0.0))
    return bool(np.all(np.abs(claimed - true) <= tolerance * (np.abs(claimed) + np.abs(true)) + 1e-13 * scale + FLOOR))
