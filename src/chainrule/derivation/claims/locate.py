"""Where a wrong claim departs from the derivation: which mistake turns the true derivative into it.

Four searches by numbers, the simplest explanation first:

    ratio      claim/truth is a number, a size, a quantity, or a product of two of them (or one over another)
    edit       a row of edits.py turns the truth into the claim; or all but a factor
    remainder  claim - truth is a number times a quantity, or times two: one term too many
    pair       two rows, one after the other, for as long as the budget lasts

A finding was seen at every point that was drawn: it is what the claim says, if not always how its author came to it.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from chainrule.derivation.claims.claim import BATCH, Claim
from chainrule.derivation.claims.edits import Context, Edit, edits
from chainrule.derivation.claims.points import Point, Points, agree
from chainrule.derivation.claims.quantities import Quantities
from chainrule.errors import ChainruleError
from chainrule.formula.evaluate import Array, Memory
from chainrule.formula.expr import (
    Add,
    Expr,
    Mul,
    Number,
    Size,
    base_index,
    count_nodes,
    elements,
    free_indices,
    key,
    mul,
    negative,
    number,
    power,
    tensors,
    walk,
)

MAX_EDITS = 1_500  # of one true expression
MAX_CANDIDATES = 240
MAX_ALIKE = 12  # explanations that come to the same, of which the best is chosen
PAIR_SECONDS = 1.0  # of the processor
MARK = 1e-6  # how near the marks of rows are that may differ by a constant
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
    by_size: list[Edit]
    edited: Array
    terms: list[tuple[Expr, list[Array]]]  # of a truth that is a sum, each at every point
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
        return next(_Search(forms, value, arrays).all(pair_seconds), ())

    def _within_a_sample(self, claim: Claim) -> tuple[Expr, Expr, tuple[str, ...]]:
        """A batch's claim and truth without their sums over the samples, where both have them: factors show better."""
        if claim.reading == BATCH and claim.kind != "update":
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
        terms = [(t, [p.value(t, axes) for p in points]) for t in _summands(truth)]
        by_size = sorted(found, key=lambda e: count_nodes(e.expr))
        return _Forms(context, truth, axes, points, arrays, found, by_size, edited, terms, factors, values)

    def _edits(self, truth: Expr, context: Context, point: Point, axes: tuple[str, ...]) -> tuple[list[Edit], Array]:
        """All edits of the truth, as the derivation writes it and without its δ's; one row of numbers each."""
        found: list[Edit] = []
        arrays: list[Array] = []
        memory: Memory = {}
        for edit in _unlike([truth, self.book.in_primal_names(truth)], context):
            array = _value(point, edit.expr, axes, memory)
            if array is not None:
                found.append(edit)
                arrays.append(array.ravel())
            if len(found) >= MAX_EDITS:
                break
        return found, np.array(arrays) if arrays else np.zeros((0, 1))

    def _factors(
        self, context: Context, points: list[Point], axes: tuple[str, ...]
    ) -> tuple[list[Expr], list[list[Array]]]:
        names = {i for t in self.book.tensors.values() for i in t.indices if i != self.book.samples}
        sizes = [Size(i) for i in (self.book.samples, *sorted(names))]
        factors: list[Expr] = []
        values: list[list[Array]] = []
        for factor in (*sizes, *context.candidates()):
            arrays = [a for p in points if (a := _value(p, factor, axes)) is not None]
            if len(arrays) == len(points) and len(factors) < MAX_CANDIDATES:
                factors.append(factor)
                values.append(arrays)
        return factors, values


def _summands(truth: Expr) -> tuple[Expr, ...]:
    """The terms of a sum, also of one that is multiplied with something; () of a truth of one term."""
    factors = truth.factors if isinstance(truth, Mul) else (truth,)
    total = next((f for f in factors if isinstance(f, Add)), None)
    if total is None:
        return ()
    return tuple(mul(*(t if f is total else f for f in factors)) for t in total.terms)


def _unlike(forms: Sequence[Expr], context: Context) -> Iterator[Edit]:
    for n, form in enumerate(forms):
        if n == 0 or key(form) != key(forms[0]):
            yield from edits(form, context)


def _value(point: Point, expr: Expr, axes: tuple[str, ...], memory: Memory | None = None) -> Array | None:
    """The array over `axes`; None where the expression has another index, or sizes or numbers that do not fit."""
    if free_indices(expr) - set(axes):
        return None
    try:
        array = point.value(expr, axes, memory)
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

    def __init__(self, forms: _Forms, value: Expr, claimed: list[Array]):
        self.forms = forms
        self.value = value
        self.claimed = claimed
        written_out = forms.context.book.in_primal_names(value)
        self.nodes = {key(n) for e in (value, written_out) for n in walk(e) if isinstance(n, Add)}
        self.written = {*tensors(value)}  # of two explanations, one in the words of the claim is better
        self.sizes = [n for n, f in enumerate(forms.factors) if isinstance(f, Size)]
        # All points in one row: a factor is found where it explains the ratio at every one of them.
        self.values = np.array([_row(v) for v in forms.values])
        self.here = np.array([v[0].ravel() for v in forms.values])  # at the first point alone
        with np.errstate(divide="ignore"):
            self.logs, self.logs_here = np.log(np.abs(self.values)), np.log(np.abs(self.here))

    def all(self, pair_seconds: float) -> Iterator[tuple[Finding, ...]]:
        """The searches, one after the other."""
        yield from self._ratios(self.sizes, 1)
        yield from self._edits(())
        yield from self._ratios(range(len(self.logs)), 1)
        yield from self._ratios(range(len(self.logs)), 2)
        yield from self._terms()
        yield from self._edits(self.sizes)
        yield from self._remainders()
        yield from self._edits(range(len(self.forms.factors)))
        yield from self._pairs(pair_seconds)

    # claim/truth

    def _ratios(self, chosen: Sequence[int], count: int) -> Iterator[tuple[Finding, ...]]:
        ratio = _ratio(_row(self.claimed), _row(self.forms.arrays))
        if ratio is not None:
            found = self._explained(ratio, self.logs, self.values, chosen, count)
            yield from self._in_its_words(self._findings(constant, product) for constant, product in found)

    def _in_its_words(self, found: Iterator[tuple[Finding, ...]]) -> list[tuple[Finding, ...]]:
        """Of explanations that come to the same, those first whose quantities the claim names."""
        few = itertools.islice(found, MAX_ALIKE)
        return sorted(few, key=lambda f: any({*tensors(p.claimed)} - self.written for p in f if p.claimed is not None))

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
            pairs = [(b, a) for b in below for a in above if tensors(a) == tensors(b)]
            true, claimed = pairs[0] if pairs else (below[0], above[0])
            found.append(Finding("wrong_index" if pairs else "wrong_factor", true, claimed))
            below.remove(true)
            above.remove(claimed)
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
            written = edit.claimed is not None and key(edit.claimed) in self.nodes
            if edit.mistake == "exchanged" and written and agree(array, -self.forms.arrays[0].ravel()):
                return _finding(edit)
        return Finding("sign")

    # one term of the truth

    def _terms(self) -> Iterator[tuple[Finding, ...]]:
        """claim - (truth - term) over the term, for every term of the truth: what happened to that one alone."""
        for term, arrays in self.forms.terms:
            own = _row(arrays)
            ratio = _ratio(_row(self.claimed) - (_row(self.forms.arrays) - own), own)
            if ratio is None:
                continue
            for constant, product in self._explained(ratio, self.logs, self.values, range(len(self.logs)), 2):
                found = self._findings(abs(constant), product)
                found = tuple(replace(f, true=term) if f.mistake == "times" else f for f in found)
                yield (*found, Finding("term_sign", term, negative(term))) if constant < 0 else found

    # edits

    def _edits(self, chosen: Sequence[int]) -> Iterator[tuple[Finding, ...]]:
        """An edit alone, or times a number and one of the chosen factors."""
        if not len(chosen):
            alike = itertools.islice((e for e in self._alike() if self._holds(e.expr)), MAX_ALIKE)
            yield from ((_finding(e),) for e in sorted(alike, key=self._other_words))
            return
        for edit, array in self._worth_a_look(chosen):
            ratio = _ratio(self.claimed[0].ravel(), array)
            if ratio is None:
                continue
            for constant, product in self._explained(ratio, self.logs_here, self.here, chosen, 1):
                factor = mul(Number(constant), *(power(self.forms.factors[n], number(e)) for n, e in product))
                if self._holds(mul(factor, edit.expr)):
                    yield self._findings(constant, product, edit)

    def _worth_a_look(self, chosen: Sequence[int]) -> Iterator[tuple[Edit, Array]]:
        """The edits that the claim may be a number and one of the chosen factors away from, by their marks."""
        claimed, edited = self.claimed[0].ravel(), self.forms.edited
        mask = np.abs(claimed) > 1e-12 * np.max(np.abs(claimed), initial=0)
        if edited.shape[1:] != claimed.shape or mask.sum() < 2:
            return
        with np.errstate(divide="ignore"):
            rows = np.log(np.abs(claimed[mask])) - np.log(np.abs(edited[:, mask]))
        marks, own = _mark(rows), _mark(self.logs_here[list(chosen)][:, mask])
        own = np.concatenate([[0.0], own, -own])
        for n in np.flatnonzero((np.abs(marks[:, None] - own[None, :]) < MARK).any(axis=1)):
            if self.forms.edits[n].mistake != "exchanged":  # the sign of the whole finds that one
                yield self.forms.edits[n], edited[n]

    def _other_words(self, edit: Edit) -> tuple[int, int]:
        """How far the quantities of an edit are from those that the claim names: the less, the likelier.

        Names of adjoints that the claim does not use come last: who wrote everything out has no δ in mind.
        """
        book = self.forms.context.book
        parts = {n for p in (edit.true, edit.claimed) if p is not None for n in tensors(p)}
        strange = len(parts - self.written - set(book.system.tensors))
        strange += edit.true is not None and key(edit.true) in self.nodes  # what the claim still has was not changed
        counts = [Counter(e.tensor for e in elements(book.in_primal_names(x))) for x in (edit.expr, self.value)]
        return strange, sum(((counts[0] - counts[1]) + (counts[1] - counts[0])).values())

    def _alike(self) -> Iterator[Edit]:
        """The edits with the claim's numbers at the first point."""
        claimed, edited = self.claimed[0].ravel(), self.forms.edited
        if edited.shape[1:] != claimed.shape:
            return
        near = np.all(np.abs(edited - claimed) <= 1e-6 * (np.abs(edited) + np.abs(claimed)) + 1e-12, axis=1)
        for n in np.flatnonzero(near):
            if agree(claimed, edited[n]):
                yield self.forms.edits[n]

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
        end = time.thread_time() + seconds
        context, point, axes = self.forms.context, self.forms.points[0], self.forms.axes
        memory: Memory = {}
        for first in self.forms.by_size:
            for second in edits(first.expr, context):
                if time.thread_time() > end:
                    return
                array = _value(point, second.expr, axes, memory)
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
    if _is_constant(wanted):
        yield (), float(wanted[0])
    if not count or not len(logs):
        return
    mark, marks = _mark(wanted[None])[0], _mark(logs)
    for e in (-1, 1):
        for n in np.flatnonzero(np.abs(mark - e * marks) < MARK):
            if _is_constant(rest := wanted - e * logs[n]):
                yield ((int(n), e),), float(rest[0])
    if count < 2:
        return
    for e1, e2 in ((-1, 1), (-1, -1), (1, -1), (1, 1)):
        for a, b in np.argwhere(np.abs(mark - e1 * marks[:, None] - e2 * marks[None, :]) < MARK):
            if (a < b or (a == b and e1 == e2)) and _is_constant(rest := wanted - e1 * logs[a] - e2 * logs[b]):
                yield ((int(a), e1), (int(b), e2)), float(rest[0])


def _mark(logs: Array) -> Array:
    """One number a row: the same, up to rounding, for rows that differ by a constant. Other rows rarely share it."""
    with np.errstate(invalid="ignore"):
        logs = np.where(np.isfinite(logs), logs, np.nan)  # a factor that is 0 somewhere explains nothing
        weights = np.random.default_rng(1).normal(size=logs.shape[1])
        return np.asarray((logs - logs.mean(axis=1, keepdims=True)) @ weights)


def _is_constant(row: Array) -> bool:
    return bool(np.max(np.abs(row - row[0]), initial=0) < 1e-7)
