"""The gradient check: the derived gradient beside numerical differentiation of the loss, entry by entry, in float64.

Both sides are the slow meaning of formulas (evaluate.py): what is compared is mathematics, not an engine. E is the one
that the user typed; its normal form stands in only where E as typed loses its digits (log(1 - p) at p = 1).

    complex step         Im E(w + ih) / h, h = 1e-30. No difference is taken, so nothing cancels and h can be as small
                         as one likes: exact to rounding. Needs functions that are analytic.
    central differences  (E(w + h) - E(w - h)) / 2h, where a function with a kink lies between the parameters and E.
                         h = eps**(1/3) max(1, |w|) makes truncation, h²E‴/6, and rounding, eps E/h, about equal.

The relative error of an entry is |derived - numerical| / max(|derived|, |numerical|, r), where r is so large that what
rounding alone can do stays below the tolerance. Where a step crosses a kink (kinks.py) there is no derivative to
compare: the entry is reported as a kink with the slopes on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.derivation.adjoint import Derivation
from chainrule.derivation.checked import CENTRAL, COMPLEX, Entry, GradientCheck, Kink, Row
from chainrule.derivation.kinks import Site, borrowed, moved_by, sites
from chainrule.errors import DataError, FormulaError, SettingError
from chainrule.formula.evaluate import Array, Arrays, evaluate, run_equations, run_system
from chainrule.formula.system import Equation, System
from chainrule.messages import say

EPS = float(np.finfo(np.float64).eps)
COMPLEX_STEP = 1e-30  # far below the last digit of any weight: the real part does not feel it
CENTRAL_STEP = EPS ** (1 / 3)
TOLERANCES = {COMPLEX: 1e-8, CENTRAL: 1e-5}
DEFAULT_ENTRIES = 32
# Rounding of a mean over samples and of the few sums before it, in units of eps times the sum of the magnitudes.
ROUNDINGS = 32
# E as typed and in its stable form agree to this, or the typed one has lost digits. A difference quotient divides what
# is lost by its step.
SAME_LOSS = {COMPLEX: 1e-12, CENTRAL: 16 * EPS}
NOISE_PROBES = 2
# A gap between the slopes from both sides that is left when the step is halved is a kink; curvature halves with it.
GAP_SHARE, GAP_KEPT = 1e-3, 0.8
DIRECTION_STEPS = (1.0, 0.1, 0.01)


@dataclass(frozen=True)
class Point:
    """Where a gradient is taken: every given array by name, sizes with the samples' among them, hyper-parameters."""

    arrays: Arrays
    sizes: Mapping[str, int]
    scalars: Mapping[str, float] = field(default_factory=dict)

    def wide(self) -> Point:
        """The same in float64."""
        arrays = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in self.arrays.items()}
        return Point(arrays, self.sizes, self.scalars)


@dataclass(frozen=True)
class Options:
    """At most `entries` of a parameter are compared (None: all), drawn by `seed`; `tolerance` None is the method's."""

    entries: int | None = DEFAULT_ENTRIES
    seed: int = 0
    tolerance: float | None = None

    def check(self) -> None:
        """Raises: SettingError."""
        if self.entries is not None and (isinstance(self.entries, bool) or int(self.entries) < 1):
            raise SettingError(say("check.bad_entries", came=self.entries))
        if self.tolerance is not None and not 0 < float(self.tolerance) < 1:
            raise SettingError(say("check.bad_tolerance", came=self.tolerance))


def check_gradients(
    derivation: Derivation, point: Point, options: Options | None = None, own: Arrays | None = None
) -> GradientCheck:
    """Compare every parameter's derived gradient with the numerical one at a point.

    `own` are gradients of the same point by another way, such as a network's in float32: their distance is reported.
    Raises: FormulaError without parameters; DataError where E is not finite; SettingError.
    Example:
    >>> from chainrule.derivation.adjoint import derive_system
    >>> from chainrule.formula.parse import parse_system
    >>> system = parse_system("input x\\nparameter w\\nE = exp(w*x)")
    >>> found = check_gradients(derive_system(system), Point({"x": np.array([2.0]), "w": np.array(0.5)}, {"n": 1}))
    >>> found.ok, found.method, round(found.rows[0].entries[0].numerical, 6)
    (True, 'complex step', 5.436564)
    """
    options = options or Options()
    options.check()
    if not derivation.system.parameters:
        raise FormulaError(say("check.no_parameters"))
    return _Check(derivation, point.wide(), options).run(own or {})


def derived_gradients(derivation: Derivation, point: Point) -> dict[str, Array]:
    """The gradient of every parameter by the equations of the derivation, evaluated: parameter → array."""
    known = _backward(derivation, point)
    return {name: known[gradient] for name, gradient in derivation.gradients.items()}


def _backward(derivation: Derivation, point: Point) -> dict[str, Array]:
    forward = run_system(derivation.system, point.arrays, point.sizes, point.scalars)
    return run_equations(derivation.backward, forward, point.sizes, point.scalars)


class BatchLoss:
    """E of the batch as a function of one quantity at a time; what does not depend on it is computed once."""

    def __init__(self, system: System, point: Point):
        self.system, self.point = system, point
        self.base = run_system(system, point.arrays, point.sizes, point.scalars)
        self._after: dict[str, tuple[Equation, ...]] = {}

    def known(self, name: str, value: Array) -> dict[str, Array]:
        """Every quantity with another value of one: a parameter, or what the forward pass computes."""
        return run_equations(self._behind(name), {**self.base, name: value}, self.point.sizes, self.point.scalars)

    def at(self, name: str, value: Array) -> complex:
        """The loss with another value of one quantity."""
        return self.of(self.known(name, value))

    def of(self, known: Arrays) -> complex:
        """The loss where all quantities are known."""
        return complex(evaluate(self.system.batch_loss(), known, sizes=self.point.sizes, scalars=self.point.scalars))

    def magnitude(self) -> float:
        """The mean of |E|, which rounding goes by."""
        assert self.system.loss is not None
        return float(np.mean(np.abs(self.base[self.system.loss])))

    def _behind(self, name: str) -> tuple[Equation, ...]:
        """The equations between a quantity and the loss."""
        if name not in self._after:
            assert self.system.loss is not None
            wanted = (moved_by(self.system, [name]) & self.system.depends_on(self.system.loss)) - {name}
            self._after[name] = tuple(e for e in self.system.equations if e.target.tensor in wanted)
        return self._after[name]


def chosen_entries(gradient: Array, count: int | None, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """The positions to compare: all of a small gradient; of a large one `count`.

    A quarter of them have the largest gradients; of the rest half are drawn where the gradient is not 0, half anywhere.
    """
    if count is None or gradient.size <= count:
        return [tuple(map(int, p)) for p in np.ndindex(gradient.shape)]
    flat = np.abs(np.nan_to_num(gradient.ravel(), nan=np.inf))
    largest = np.argsort(-flat, kind="stable")[: max(1, count // 4)]
    chosen = dict.fromkeys(largest.tolist())
    alive = np.flatnonzero(flat)
    drawn = rng.permutation(alive)[: 2 * count].tolist()
    chosen |= dict.fromkeys(drawn[: (count - len(chosen)) // 2])
    for place in rng.choice(gradient.size, size=min(gradient.size, 4 * count), replace=False).tolist():
        if len(chosen) >= count:
            break
        chosen.setdefault(place)
    return [tuple(map(int, np.unravel_index(place, gradient.shape))) for place in list(chosen)[:count]]


class _Check:
    def __init__(self, derivation: Derivation, point: Point, options: Options):
        self.derivation, self.point, self.options = derivation, point, options
        self.sites = sites(derivation.system)
        self.because = tuple(dict.fromkeys([*(s.function for s in self.sites), *sorted(borrowed(derivation.system))]))
        self.method = CENTRAL if self.because else COMPLEX
        self.tolerance = options.tolerance or TOLERANCES[self.method]
        self.stable = BatchLoss(derivation.system, point)
        self.loss, self.typed_error = self._loss_to_use()
        self.value = self.loss.of(self.loss.base).real
        if not np.isfinite(self.value):
            raise DataError(say("check.loss_not_finite", loss=derivation.source.loss, came=self.value))
        self.jitter = self._jitter() if self.method == CENTRAL else 0.0
        self.backward = _backward(derivation, point)
        self.codes = [self._codes(site, self.stable.base) for site in self.sites]
        self.kinks: list[Kink] = []
        self.magnitudes: dict[str, Array] = {}

    def run(self, own: Arrays) -> GradientCheck:
        rows = tuple(self._row(p.name, own.get(p.name)) for p in self.derivation.system.parameters)
        dtypes = {str(a.dtype) for a in own.values()}
        return GradientCheck(
            rows=rows,
            kinks=tuple(self.kinks),
            method=self.method,
            because=self.because,
            step=COMPLEX_STEP if self.method == COMPLEX else CENTRAL_STEP,
            tolerance=self.tolerance,
            samples=self.point.sizes.get(self.derivation.system.samples, 1),
            loss=self.value,
            of=self.derivation.source.loss or "",
            dtype=", ".join(sorted(dtypes)) or None,
            typed_error=self.typed_error,
        )

    def _loss_to_use(self) -> tuple[BatchLoss, float | None]:
        """E as typed; its stable form where the typed one is not finite or has lost digits, and how many."""
        typed = BatchLoss(self.derivation.source, self.point)
        first, second = typed.of(typed.base).real, self.stable.of(self.stable.base).real
        difference = abs(first - second)
        if difference <= SAME_LOSS[self.method] * max(typed.magnitude(), abs(second)):
            return typed, None
        return self.stable, difference

    def _row(self, name: str, own: Array | None) -> Row:
        gradient = np.asarray(self.backward[self.derivation.gradients[name]], dtype=np.float64)
        rng = np.random.default_rng([self.options.seed, len(name), *name.encode()])
        entries: list[Entry] = []
        before = len(self.kinks)
        for position in chosen_entries(gradient, self.options.entries, rng):
            found = self._entry(name, position, float(gradient[position]))
            (self.kinks if isinstance(found, Kink) else entries).append(found)  # type: ignore[arg-type]
        return Row(
            parameter=name,
            shape=gradient.shape,
            entries=tuple(entries),
            direction=self._direction(name, gradient, rng),
            kinks=len(self.kinks) - before,
            tolerance=self.tolerance,
            own_error=None if own is None else _distance(own, gradient),
        )

    # one entry

    def _entry(self, name: str, position: tuple[int, ...], derived: float) -> Entry | Kink:
        along = np.zeros(self.point.arrays[name].shape)
        along[position] = 1.0
        if self.method == COMPLEX:
            numerical = self._complex(name, along)
            return Entry(name, position, derived, numerical, self._error(derived, numerical, self._rounding(name)))
        step = CENTRAL_STEP * max(1.0, abs(float(self.point.arrays[name][position])))
        below, above = self._sides(name, along, step)
        left, right = (self.value - below[0]) / step, (above[0] - self.value) / step
        crossed = self._crossed(below[1], above[1])
        if crossed:
            (where, sample), others = crossed[0], len(crossed) - 1
            return Kink(name, position, where, sample, left, right, derived, others)
        if self._is_unnamed_kink(name, along, step, left, right):
            return Kink(name, position, "", None, left, right, derived)
        numerical = (above[0] - below[0]) / (2 * step)
        return Entry(name, position, derived, numerical, self._error(derived, numerical, self._noise(step)))

    def _complex(self, name: str, along: Array) -> float:
        value = self.point.arrays[name] + 1j * COMPLEX_STEP * along
        return self.loss.at(name, value).imag / COMPLEX_STEP

    def _sides(self, name: str, along: Array, step: float) -> tuple[tuple[float, list[Array]], ...]:
        """Loss and codes a step to the left and a step to the right."""
        found = []
        for sign in (-1, 1):
            value = self.point.arrays[name] + sign * step * along
            known = self.loss.known(name, value)
            at_kinks = known if self.loss is self.stable else self.stable.known(name, value)
            found.append((self.loss.of(known).real, [self._codes(site, at_kinks) for site in self.sites]))
        return tuple(found)

    def _codes(self, site: Site, known: Arrays) -> Array:
        return site.codes(known, self.point.sizes, self.point.scalars)

    def _crossed(self, below: Sequence[Array], above: Sequence[Array]) -> list[tuple[str, int | None]]:
        """What a step to the left or to the right moves over a kink."""
        found: dict[tuple[str, int | None], None] = {}
        for site, here, left, right in zip(self.sites, self.codes, below, above, strict=True):
            for position in np.argwhere((left != here) | (right != here)):
                found.setdefault(site.name(position.tolist(), self.derivation.system.samples))
        return list(found)

    def _is_unnamed_kink(self, name: str, along: Array, step: float, left: float, right: float) -> bool:
        gap = abs(right - left)
        if not gap > 4 * self._noise(step) + GAP_SHARE * max(abs(left), abs(right)):
            return False
        below, above = self._sides(name, along, step / 2)
        closer = abs(above[0] - 2 * self.value + below[0]) / (step / 2)
        return closer > GAP_KEPT * gap

    # one direction through all entries

    def _direction(self, name: str, gradient: Array, rng: np.random.Generator) -> Entry | None:
        """The slope along a random direction of length 1; None where every step crosses a kink."""
        drawn: Array = np.asarray(rng.normal(size=gradient.shape))
        along: Array = np.asarray(drawn / np.linalg.norm(drawn))
        derived = float(np.sum(gradient * along))
        if self.method == COMPLEX:
            numerical = self._complex(name, along)
            rounding = float(np.sum(self._magnitudes(name) * np.abs(along))) * EPS * ROUNDINGS
            return Entry(name, (), derived, numerical, self._error(derived, numerical, rounding))
        for share in DIRECTION_STEPS:
            step = share * CENTRAL_STEP * max(1.0, float(np.abs(self.point.arrays[name]).max(initial=0)))
            below, above = self._sides(name, along, step)
            if not self._crossed(below[1], above[1]):
                numerical = (above[0] - below[0]) / (2 * step)
                return Entry(name, (), derived, numerical, self._error(derived, numerical, self._noise(step)))
        return None

    # what rounding can do

    def _error(self, derived: float, numerical: float, rounding: float) -> float:
        return abs(derived - numerical) / max(abs(derived), abs(numerical), rounding / self.tolerance, 1e-300)

    def _noise(self, step: float) -> float:
        """The rounding of a difference quotient: that of E over the step."""
        return 4 * self.jitter / step

    def _jitter(self) -> float:
        """How far rounding moves E: its last digit, or what moving a weight by its last digits does if that is more."""
        rng = np.random.default_rng(self.options.seed)
        found = EPS * max(self.loss.magnitude(), abs(self.value))
        for parameter in self.derivation.system.parameters:
            value = self.point.arrays[parameter.name]
            for _ in range(NOISE_PROBES):
                moved = self.loss.at(parameter.name, value * (1 + EPS * rng.integers(-4, 5, value.shape))).real
                if np.isfinite(moved):
                    found = max(found, abs(moved - self.value))
        return found

    def _rounding(self, name: str) -> float:
        return float(self._magnitudes(name).max(initial=0)) * EPS * ROUNDINGS

    def _magnitudes(self, name: str) -> Array:
        """The gradient with every term positive, Σ|δ||x|: where terms cancel, rounding goes by this."""
        if name not in self.magnitudes:
            equation = self.derivation.gradient(name)
            positive = {n: np.abs(a) for n, a in self.backward.items()}
            axes = tuple(str(s) for s in equation.target.slots)
            sizes, scalars = self.point.sizes, self.point.scalars
            self.magnitudes[name] = np.abs(evaluate(equation.value, positive, axes, sizes=sizes, scalars=scalars))
        return self.magnitudes[name]


def _distance(own: Array, gradient: Array) -> float:
    """The largest difference between two gradients, as a share of the largest entry."""
    scale = float(np.abs(gradient).max(initial=0))
    return float(np.abs(np.asarray(own, dtype=np.float64) - gradient).max(initial=0)) / (scale or 1.0)


def error_curve(
    derivation: Derivation, point: Point, entry: tuple[str, tuple[int, ...]], steps: Sequence[float]
) -> Iterator[tuple[float, float, float, float]]:
    """(step, relative errors of one-sided difference, central difference, complex step) of one entry, for each step."""
    point = point.wide()
    check = _Check(derivation, point, Options())
    name, position = entry
    derived = float(check.backward[derivation.gradients[name]][position])
    along = np.zeros(point.arrays[name].shape)
    along[position] = 1.0
    scale = abs(derived) or 1.0
    for step in steps:
        value = point.arrays[name]
        below, above = (check.loss.at(name, value + sign * step * along).real for sign in (-1, 1))
        slopes = (
            (above - check.value) / step,
            (above - below) / (2 * step),
            check.loss.at(name, value + 1j * step * along).imag / step,
        )
        one, two, imaginary = (abs(slope - derived) / scale for slope in slopes)
        yield step, one, two, imaginary
