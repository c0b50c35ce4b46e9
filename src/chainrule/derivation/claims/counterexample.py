"""A wrong claim's counterexample: the fewest entries and the simplest numbers at which claim and truth differ.

Sizes 1, 2, 3 are tried in turn, and at each size the values 0, 1, -1, 1/2, 2 for whole tensors and single entries, in
the order of how little there is to write down: so that a person can check the result by hand.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from chainrule.derivation.claims.claim import BATCH, Claim
from chainrule.derivation.claims.names import RATES
from chainrule.derivation.claims.points import Point, Points, complete, holds
from chainrule.derivation.claims.quantities import Quantities
from chainrule.errors import ChainruleError
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import Apply, Compare, Expr, Size, free_indices, subtract, symbols, tensors, walk
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.system import Fact, Tensor

VALUES = (0.0, 1.0, -1.0, 0.5, 2.0)
SIZES = (1, 2, 3)
MAX_TRIES = 160  # at one size, of the simplest values and as many by chance
SECONDS = 2.0  # of the processor
VISIBLE = 1e-4  # a difference smaller than this is no example to show


@dataclass(frozen=True)
class Counterexample:
    """Numbers by hand: what is given, what follows, and what claim and derivation make of it at one entry."""

    sizes: Mapping[str, int]
    given: Mapping[str, Array]
    computed: Mapping[str, Array]
    scalars: Mapping[str, float]
    entry: tuple[int, ...]
    claimed: float
    true: float


def find_counterexample(points: Points, claim: Claim, of_batch: bool = False) -> Counterexample | None:
    """The smallest counterexample of a bounded search; None where none of it shows the difference.

    `of_batch` says that one sample alone cannot show it.
    """
    end = time.thread_time() + SECONDS
    for size, rows in itertools.product(SIZES, (2,) if of_batch else _rows(points, claim)):
        sizes = {i: s if i in points.fixed else max(size, _least(points, i)) for i, s in points.sizes.items()}
        search = _Search(points, claim, {**sizes, points.book.samples: rows})
        found = search.find(end)
        if found is not None or time.thread_time() > end:
            return found
    return None


def _rows(points: Points, claim: Claim) -> tuple[int, ...]:
    """How many samples: one, but for what is said of a batch."""
    counts = any(isinstance(n, Size) and n.index == points.book.samples for n in walk(claim.value))
    return (1, 2) if claim.reading == BATCH or counts else (1,)


def _least(points: Points, index: str) -> int:
    """The size that fixed positions such as x[7] ask for; small_sizes gives every index at least 2."""
    drawn = points.sizes[index]
    positions = [
        int(s)
        for e in points.book.system.equations
        for node in walk(e.value)
        for s, own in zip(getattr(node, "slots", ()), _own(points, node), strict=False)
        if isinstance(s, int) and own == index
    ]
    return min(drawn, max(positions, default=0) + 1)


def _own(points: Points, node: object) -> tuple[str, ...]:
    name = getattr(node, "tensor", None)
    return points.book.tensors[name].indices if name in points.book.tensors else ()


def kinks(book: Quantities, name: str) -> Iterator[Expr]:
    """What must not be 0 for a quantity to have a derivative: a of relu(a), a - b of max(a, b) and of [a > b].

    A counterexample at such a place would show a convention, not a mistake.
    """
    for node in walk(book.definitions[name][1]):
        match node:
            case Apply(function, (u,)) if FUNCTIONS[function].kink or not FUNCTIONS[function].derivatives:
                yield u
            case Apply(function, (u, v)) if FUNCTIONS[function].kink:
                yield subtract(u, v)
            case Compare("<" | "<=" | ">" | ">=", u, v):
                yield subtract(u, v)


class _Search:
    """Simple values at one choice of sizes."""

    def __init__(self, points: Points, claim: Claim, sizes: dict[str, int]):
        self.points = points
        self.book = points.book
        self.claim = claim
        self.sizes = sizes
        system = self.book.system
        self.free = [*system.of_role("input", "target", "label", "parameter", "state"), *claim.states.values()]
        self.scalars = self._simple_scalars()
        self.kinks = [u for n in self.book.order if n in self.book.system.tensors for u in kinks(self.book, n)]
        self.named = {*tensors(claim.value), *tensors(claim.truth)}
        self.needed = {*self.named, *(t for u in self.kinks for t in tensors(u))}
        for name in reversed(self.book.order):
            if name in self.needed:
                self.needed |= set(tensors(self.book.definitions[name][1]))

    def _simple_scalars(self) -> dict[str, float]:
        scalars = {n: float(v) for n, v in self.book.system.hyper.items()}
        used = {s for e in self.book.system.equations for s in symbols(e.value)}
        rules = [*RATES, *(s for u in (*self.book.system.updates, *self.points.lines) for s in symbols(u.value))]
        return {
            **dict.fromkeys(used - set(scalars), 1.0),
            **dict.fromkeys(set(rules) - used, 0.5),
            **scalars,
            "step": 1,
        }

    def _is_zero(self, point: Point, expr: Expr) -> bool:
        return bool(np.any(point.value(expr, tuple(sorted(free_indices(expr)))) == 0))

    def find(self, end: float) -> Counterexample | None:
        patterns = [self._patterns(t) for t in self.free]
        first = itertools.islice(self._simplest_first(patterns), MAX_TRIES)
        for arrays in itertools.chain(first, itertools.islice(self._by_chance(patterns), MAX_TRIES)):
            found = self._try(arrays)
            if found is not None or time.thread_time() > end:
                return found
        return None

    def _by_chance(self, patterns: list[list[Array]]) -> Iterator[dict[str, Array]]:
        """Combinations that are further from 0, where all the simplest agree or stand at a kink."""
        rng = np.random.default_rng(0)
        while True:
            yield {t.name: p[rng.integers(len(p))] for t, p in zip(self.free, patterns, strict=True)}

    def _simplest_first(self, patterns: list[list[Array]]) -> Iterator[dict[str, Array]]:
        """Every combination of patterns, by how much there is to write down."""
        heap: list[tuple[int, tuple[int, ...]]] = [(0, (0,) * len(patterns))]
        seen = {heap[0][1]}
        while heap:
            cost, chosen = heapq.heappop(heap)
            yield {t.name: p[n] for t, p, n in zip(self.free, patterns, chosen, strict=True)}
            for place, n in enumerate(chosen):
                if n + 1 < len(patterns[place]):
                    after = (*chosen[:place], n + 1, *chosen[place + 1 :])
                    if after not in seen:
                        seen.add(after)
                        heapq.heappush(heap, (cost + 1, after))

    def _patterns(self, tensor: Tensor) -> list[Array]:
        """What a tensor may hold, the simplest first; what a declared fact forbids is left out."""
        shape = tuple(self.sizes[i] for i in tensor.indices)
        count = int(np.prod(shape))
        if tensor.classes is not None:
            classes = self.sizes[str(tensor.classes)]
            return [np.full(shape, c) for c in range(min(classes, 3))]
        found = [np.full(shape, v) for v in VALUES]
        if count > 1:
            turns = [(1.0, 0.0), (0.0, 1.0), (1.0, -1.0), (1.0, 2.0), (0.5, -1.0, 1.0, 2.0, 0.0)]
            found[2:2] = [np.resize(np.array(turn), count).reshape(shape) for turn in turns]
            if shape[-1] > 1:
                found[2:2] = [np.broadcast_to(np.eye(shape[-1])[n], shape).copy() for n in range(min(shape[-1], 2))]
        own = [f for f in self.book.system.facts if f.names == {tensor.name}]
        return [a for a in found if all(self._holds(f, {tensor.name: a}) for f in own)] or found

    def _holds(self, fact: Fact, arrays: Mapping[str, Array]) -> bool:
        return holds(fact, arrays, self.sizes, self.scalars)

    def _try(self, arrays: dict[str, Array]) -> Counterexample | None:
        tied = [f for f in self.book.system.facts if len(f.names) > 1]
        names = {t.name for t in self.free}
        if any(not self._holds(f, arrays) for f in tied if f.names <= names):
            return None
        try:
            point = complete(self.book, arrays, self.sizes, self.scalars, names=self.needed)
            claimed, true = (point.value(e, self.claim.axes) for e in (self.claim.value, self.claim.truth))
        except (ChainruleError, ValueError, IndexError, KeyError):
            return None
        if any(self._is_zero(point, u) for u in self.kinks):
            return None
        with np.errstate(invalid="ignore"):
            apart = np.abs(claimed - true)
        apart = np.where(np.isfinite(apart), apart, 0.0)
        entry = np.unravel_index(int(np.argmax(apart)), apart.shape) if apart.size else ()
        if not apart.size or apart[entry] < VISIBLE or not np.isfinite(true).all():
            return None
        return self._found(point, tuple(map(int, entry)), float(claimed[entry]), float(true[entry]))

    def _found(self, point: Point, entry: tuple[int, ...], claimed: float, true: float) -> Counterexample:
        given = {t.name: point.arrays[t.name] for t in self.free if t.name in self.needed}
        computed = {n: point.arrays[n] for n in self.book.order if n in self.named}
        used = {*symbols(self.claim.value), *symbols(self.claim.truth)}
        scalars = {n: v for n, v in self.scalars.items() if n in used}
        return Counterexample(self.sizes, given, computed, scalars, entry, claimed, true)
