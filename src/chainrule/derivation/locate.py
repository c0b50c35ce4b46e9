"""Where a wrong claim departs from the derivation: which mistake turns the true derivative into it.

Four searches by numbers, the simplest explanation first:

    ratio      claim/truth is a number, a size, a quantity, or a product of two of them (or one over another)
    edit       a row of edits.py turns the truth into the claim; or all but a factor
    remainder  claim - truth is a number times a quantity, or times two: one term too many
    pair       two rows, one after the other, for as long as the budget lasts

A finding was seen at every point that was drawn: it is what the claim says, though not always how its author came to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from chainrule.derivation.claims import BATCH, Claim
from chainrule.derivation.edits import Context, Edit, candidates, edits
from chainrule.derivation.points import Point, Points, agree
from chainrule.derivation.quantities import Quantities
from chainrule.errors import ChainruleError
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import (
    Expr,
    Number,
    Size,
    base_index,
    count_nodes,
    free_indices,
    key,
    mul,
    number,
    power,
    tensors,
)

MAX_EDITS = 1_500  # of one true expression
MAX_CANDIDATES = 160
PAIR_SECONDS = 1.0
CHECKED = 4  # points at which a finding is checked
# The constants that a person may have forgotten or added.
CONSTANTS = tuple(
    Fraction(c) for c in ("1", "2", "1/2", "3", "1/3", "4", "1/4", "3/2", "2/3", "1/10", "10", "3/4", "4/3", "5", "1/5")
)


@dataclass(frozen=True)
class Finding:
    """One mistake: the row of the table, the true part and what the claim has there."""

    mistake: str
    true: Expr | None = None
    claimed: Expr | None = None
    index: str = ""


@dataclass
class _Forms:
    """A true expression with all that the table makes of it, and their numbers: of edits at the first point only."""

    context: Context
    truth: Expr
    axes: tuple[str, ...]
    points: list[Point]
    arrays: list[Array]  # the truth at every point
    edits: list[Edit]
    edited: list[Array]
    factors: list[Expr]
    values: list[list[Array]]  # of every factor, at every point


class Locator:
    """Explains wrong claims on one derivation; what was computed for one claim serves the next on the same quantity."""

    def __init__(self, book: Quantities, points: Points):
        self.book = book
        self.points = points
        self.forms: dict[object, _Forms] = {}

    def locate(self, claim: Claim, pair_seconds: float = PAIR_SECONDS) -> tuple[Finding, ...]:
        """The mistakes that lead from the truth to the claim; () where none of those in the table do."""
        value, truth, axes = self._within_a_sample(claim)
        forms = self._forms_of(claim, truth, axes)
        claimed = [_value(p, value, axes) for p in forms.points]
        arrays = [c for c in claimed if c is not None]
        if len(arrays) < len(claimed):
            return ()
        return next(_Search(forms, arrays).all(pair_seconds), ())

    def _within_a_sample(self, claim: Claim) -> tuple[Expr, Expr, tuple[str, ...]]:
        """A batch's claim and truth without their sums over the samples, where both have them: factors show better."""
        if claim.reading == BATCH:
            value, truth = self.book.of_one_sample(claim.value), self.book.of_one_sample(claim.truth)
            if value is not None and truth is not None and self.book.samples in free_indices(truth):
                axes = tuple(a for a in claim.axes if a != self.book.samples)
                return value, truth, (self.book.samples, *axes)
        return claim.value, claim.truth, claim.axes

    def _forms_of(self, claim: Claim, truth: Expr, axes: tuple[str, ...]) -> _Forms:
        name = (key(truth), axes, claim.loose, claim.conflict is None, tuple(sorted(claim.states)))
        if name not in self.forms:
            self.forms[name] = self._make(claim, truth, axes)
        return self.forms[name]

    def _make(self, claim: Claim, truth: Expr, axes: tuple[str, ...]) -> _Forms:
        draw = self.points.at if claim.conflict is None else self.points.at_equal_sizes
        points = [draw(n) for n in range(CHECKED)]
        for point in points:
            point.draw_states(claim.states)
        # The point at which most of the derivative is not 0 tells the most.
        points.sort(key=lambda p: -int(np.count_nonzero(p.value(truth, axes))))
        context = Context(self.book, self.points.classes, dict(claim.states), axes, claim.loose)
        found, edited = self._edits(truth, context, points[0], axes)
        factors, values = self._factors(context, points, axes)
        arrays = [p.value(truth, axes) for p in points]
        return _Forms(context, truth, axes, points, arrays, found, edited, factors, values)

    def _edits(
        self, truth: Expr, context: Context, point: Point, axes: tuple[str, ...]
    ) -> tuple[list[Edit], list[Array]]:
        """All edits of the truth, as the derivation writes it and without its δ's, each number once."""
        found: list[Edit] = []
        arrays: list[Array] = []
        seen: set[bytes] = set()
        for edit in _unlike([truth, self.book.in_primal_names(truth)], context):
            array = _value(point, edit.expr, axes)
            if array is None or (mark := np.round(array, 11).tobytes()) in seen:
                continue
            seen.add(mark)
            found.append(edit)
            arrays.append(array)
            if len(found) >= MAX_EDITS:
                break
        return found, arrays

    def _factors(
        self, context: Context, points: list[Point], axes: tuple[str, ...]
    ) -> tuple[list[Expr], list[list[Array]]]:
        names = {i for t in self.book.tensors.values() for i in t.indices if i != self.book.samples}
        sizes = [Size(i) for i in (self.book.samples, *sorted(names))]
        factors: list[Expr] = []
        values: list[list[Array]] = []
        for factor in (*sizes, *candidates(context)):
            arrays = [a for p in points if (a := _value(p, factor, axes)) is not None]
            if len(arrays) == len(points) and len(factors) < MAX_CANDIDATES:
                factors.append(factor)
                values.append(arrays)
        return factors, values


def _unlike(forms: Sequence[Expr], context: Context) -> Iterator[Edit]:
    for n, form in enumerate(forms):
        if n == 0 or key(form) != key(forms[0]):
            yield from edits(form, context)


def _value(point: Point, expr: Expr, axes: tuple[str, ...]) -> Array | None:
    """The array over `axes`; None where the expression has another index, or sizes or numbers that do not fit."""
    if free_indices(expr) - set(axes):
        return None
    try:
        array = point.value(expr, axes)
    except (ChainruleError, ValueError, IndexError, KeyError):
        return None
    fits = array.shape == tuple(point.sizes[base_index(a)] for a in axes)
    return array if fits and np.isfinite(array).all() else None


@dataclass(frozen=True)
class _Ratio:
    """claimed/true where neither is 0, as logarithms and signs; `mask` says where that is."""

    logs: Array
    signs: Array
    mask: Array


Product = tuple[tuple[int, int], ...]  # (factor, exponent), …


class _Search:
    """One claim against the forms of its truth."""

    def __init__(self, forms: _Forms, claimed: list[Array]):
        self.forms = forms
        self.claimed = claimed
        self.sizes = [n for n, f in enumerate(forms.factors) if isinstance(f, Size)]
        # All points in one row: a factor is found where it explains the ratio at every one of them.
        self.values = np.array([_row(v) for v in forms.values])
        self.here = np.array([v[0].ravel() for v in forms.values])  # at the first point alone
        with np.errstate(divide="ignore"):
            self.logs, self.logs_here = np.log(np.abs(self.values)), np.log(np.abs(self.here))

    def all(self, pair_seconds: float) -> Iterator[tuple[Finding, ...]]:
        """The searches, one after the other."""
        yield from self._ratios(1)
        yield from self._edits(())
        yield from self._ratios(2)
        yield from self._edits(self.sizes)
        yield from self._remainders()
        yield from self._edits(range(len(self.forms.factors)))
        yield from self._pairs(pair_seconds)

    # claim/truth

    def _ratios(self, count: int) -> Iterator[tuple[Finding, ...]]:
        ratio = _ratio(_row(self.claimed), _row(self.forms.arrays))
        if ratio is not None:
            for constant, product in self._explained(ratio, self.logs, self.values, range(len(self.logs)), count):
                yield self._findings(constant, product)

    def _explained(
        self, ratio: _Ratio, logs: Array, values: Array, chosen: Sequence[int], count: int
    ) -> Iterator[tuple[Fraction, Product]]:
        """What a ratio is: a simple number times up to `count` of the chosen factors or their inverses."""
        own = logs[list(chosen)][:, ratio.mask] if len(chosen) else np.zeros((0, int(ratio.mask.sum())))
        for product, rest in _combinations(ratio.logs, own, count):
            named = tuple((chosen[n], e) for n, e in product)
            signs = ratio.signs * np.prod([np.sign(values[n][ratio.mask]) for n, _ in named], axis=0)
            size = next((c for c in CONSTANTS if abs(np.log(float(c)) - rest) < 1e-7), None)
            if size is not None and abs(signs.sum()) == len(signs):
                yield (size if signs[0] > 0 else -size), named

    def _findings(self, constant: Fraction, product: Product, edit: Edit | None = None) -> tuple[Finding, ...]:
        found = [] if edit is None else [_finding(edit)]
        above = [self.forms.factors[n] for n, e in product if e > 0]
        below = [self.forms.factors[n] for n, e in product if e < 0]
        for size in [f for f in (*above, *below) if isinstance(f, Size)]:
            found.append(Finding("forgotten_size" if size in above else "extra_size", size, index=size.index))
        above, below = ([f for f in side if not isinstance(f, Size)] for side in (above, below))
        while above and below:
            found.append(Finding("wrong_factor", below.pop(0), above.pop(0)))
        found += [Finding("extra_factor", None, f) for f in above]
        found += [Finding(self._kind_of_missing(f), f) for f in below]
        if constant < 0:
            found.append(self._sign())
        if abs(constant) != 1:
            found.append(Finding("times", None, Number(abs(constant))))
        return tuple(found)

    def _kind_of_missing(self, factor: Expr) -> str:
        names = {*tensors(factor)}
        local = [f for f in self.forms.context.book.local_factors if {*tensors(f.value)} == names]
        alike = any(type(f.value) is type(factor) and count_nodes(f.value) == count_nodes(factor) for f in local)
        return "missing_derivative" if alike else "missing_factor"

    def _sign(self) -> Finding:
        """The whole sign is wrong; where a difference to the target was turned round, that is what happened."""
        for edit, array in zip(self.forms.edits, self.forms.edited, strict=True):
            if edit.mistake == "exchanged" and agree(array, -self.forms.arrays[0]):
                return _finding(edit)
        return Finding("sign")

    # edits

    def _edits(self, chosen: Sequence[int]) -> Iterator[tuple[Finding, ...]]:
        """An edit alone, or times a number and one of the chosen factors."""
        for edit, array in zip(self.forms.edits, self.forms.edited, strict=True):
            if agree(self.claimed[0], array) and self._holds(edit.expr):
                yield (_finding(edit),)
            if len(chosen) == 0 or edit.mistake == "exchanged":  # the sign of the whole finds that one
                continue
            ratio = _ratio(self.claimed[0].ravel(), array.ravel())
            if ratio is None:
                continue
            for constant, product in self._explained(ratio, self.logs_here, self.here, chosen, 1):
                factor = mul(Number(constant), *(power(self.forms.factors[n], number(e)) for n, e in product))
                if self._holds(mul(factor, edit.expr)):
                    yield self._findings(constant, product, edit)

    def _holds(self, expr: Expr) -> bool:
        """Whether the claim is this expression at every point."""
        for point, claimed in zip(self.forms.points, self.claimed, strict=True):
            array = _value(point, expr, self.forms.axes)
            if array is None or not agree(claimed, array):
                return False
        return True

    # claim - truth

    def _remainders(self) -> Iterator[tuple[Finding, ...]]:
        difference = _row(self.claimed) - _row(self.forms.arrays)
        ratio = _ratio(difference, np.ones_like(difference))
        if ratio is None:
            return
        for constant, product in self._explained(ratio, self.logs, self.values, range(len(self.logs)), 2):
            if product and all(e > 0 for _, e in product):
                term = mul(Number(constant), *(self.forms.factors[n] for n, _ in product))
                yield (Finding("extra_term", None, term),)

    # two edits

    def _pairs(self, seconds: float) -> Iterator[tuple[Finding, ...]]:
        """Edits of edits; those of the smallest expressions first."""
        end = time.monotonic() + seconds
        context, point, axes = self.forms.context, self.forms.points[0], self.forms.axes
        seen: set[object] = set()
        for first in sorted(self.forms.edits, key=lambda e: count_nodes(e.expr)):
            for second in edits(first.expr, context):
                if time.monotonic() > end:
                    return
                if (k := key(second.expr)) in seen:
                    continue
                seen.add(k)
                array = _value(point, second.expr, axes)
                if array is not None and agree(self.claimed[0], array) and self._holds(second.expr):
                    yield (_finding(first), _finding(second))


def _finding(edit: Edit) -> Finding:
    return Finding(edit.mistake, edit.true, edit.claimed, edit.index)


def _row(arrays: Sequence[Array]) -> Array:
    return np.concatenate([a.ravel() for a in arrays])


def _ratio(claimed: Array, true: Array) -> _Ratio | None:
    """claimed/true; None where one of them is 0 and the other is not, or everything is 0."""
    scale = 1e-12 * max(float(np.max(np.abs(true), initial=0)), float(np.max(np.abs(claimed), initial=0)))
    mask = np.abs(true) > scale
    if not mask.any() or np.any(np.abs(claimed[~mask]) > scale) or np.any(np.abs(claimed[mask]) <= scale):
        return None
    ratio = claimed[mask] / true[mask]
    return _Ratio(np.log(np.abs(ratio)), np.sign(ratio), mask)


def _combinations(wanted: Array, logs: Array, count: int) -> Iterator[tuple[Product, float]]:
    """Which sums of rows, with signs, differ from `wanted` by one number throughout; and that number."""
    if _constant_rows(wanted[None])[0]:
        yield (), float(wanted[0])
    for e in (-1, 1) if count else ():
        rest = wanted[None] - e * logs
        for n in np.flatnonzero(_constant_rows(rest)):
            yield ((int(n), e),), float(rest[n, 0])
    logs = np.where(np.isfinite(logs), logs, np.nan)  # a factor that is 0 somewhere explains nothing
    for first in range(len(logs)) if count > 1 else ():
        for e1, e2 in ((-1, 1), (-1, -1), (1, -1), (1, 1)):
            rest = (wanted - e1 * logs[first])[None] - e2 * logs
            for n in np.flatnonzero(_constant_rows(rest)):
                if n > first or (n == first and e1 == e2):
                    yield ((first, e1), (int(n), e2)), float(rest[n, 0])


def _constant_rows(logs: Array) -> Array:
    """Which rows hold one number throughout."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.max(np.abs(logs - logs[:, :1]), axis=1, initial=0) < 1e-7)
