"""The steps of a rule on a function of one or two variables, and what becomes of them.

The derivative is chainrule's own, and so are the rules' formulas: the lines of library/updates.py are evaluated, with
the variable in the place of the weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from chainrule.derivation.derive import derive
from chainrule.errors import FormulaError, SettingError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Apply, Element, Expr, Number, Symbol, elements, symbols, transform
from chainrule.formula.expressions import NORMS
from chainrule.formula.parse import parse_expression
from chainrule.interfaces.plots import word
from chainrule.messages import say
from chainrule.training.vocabulary import Rule, hyper_name, update_rule, vocabulary

PLAIN = "gradient_descent"
STEPS = 15
MAX_STEPS = 10_000
FAR = 1e12  # a path that is farther out has left for good
GOOD = 0.6  # of 1/f″: with it a parabola's error shrinks to 0.4 a step
ARRIVES_IN = 5  # steps of a good learning rate, where one can be found: enough to see
REST = 1e-2  # of the first slope: where less is left, the path has come to rest

Start = float | Sequence[float]


@dataclass(frozen=True)
class Surface:
    """A function of one or two variables with its derivatives."""

    expr: Expr
    variables: tuple[str, ...]
    slopes: tuple[Expr, ...]

    def value(self, *coordinates: Array | float) -> Array:
        """The function at points: arrays of one shape, one for each variable."""
        return self._at(self.expr, coordinates)

    def slope(self, *coordinates: float) -> Array:
        """The gradient at one point."""
        return np.array([float(self._at(s, coordinates)) for s in self.slopes])

    def _at(self, expr: Expr, coordinates: Sequence[Array | float]) -> Array:
        arrays = np.broadcast_arrays(*(np.asarray(c, dtype=np.float64) for c in coordinates))
        shape = arrays[0].shape
        flat = {v: a.reshape(-1) for v, a in zip(self.variables, arrays, strict=True)}
        known = set(self.variables)
        pointwise = transform(
            expr, lambda n: Element(n.name, ("p",)) if isinstance(n, Symbol) and n.name in known else n
        )
        sizes = {"p": len(next(iter(flat.values())))}
        return evaluate(pointwise, flat, ("p",), sizes=sizes).reshape(shape)


def surface(formula: str) -> Surface:
    """A function from its formula, such as "x**2" or "x**2 + 8*y**2".

    Raises: FormulaError unless it has one or two variables; NotDifferentiable.
    """
    expr = parse_expression(formula, vocabulary=vocabulary())
    variables = tuple(sorted(symbols(expr)))
    if elements(expr) or not 1 <= len(variables) <= 2:
        raise FormulaError(say("pictures.variables", came=", ".join(variables) or "–"))
    return Surface(expr, variables, tuple(derive(formula, v, vocabulary()).result for v in variables))


def descent_path(
    formula: str,
    start: Start,
    *,
    learning_rate: float | None = None,
    optimizer: str = PLAIN,
    steps: int = STEPS,
    hyper: Mapping[str, float] | None = None,
) -> Array:
    """The points that a rule goes through: (steps + 1,) numbers, or (steps + 1, 2) for two variables.

    A path that leaves the finite numbers ends there. Raises: FormulaError, SettingError.
    Example:
    >>> descent_path("x**2", 1.0, learning_rate=0.25, steps=3)
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    function = surface(formula)
    rule = Stepper(optimizer, learning_rate, hyper or {})
    points = walk(function, first_point(function, start), rule, whole_steps(steps))
    return points[:, 0] if len(function.variables) == 1 else points


class Stepper:
    """An update rule with the values of its hyper-parameters."""

    def __init__(self, name: str, learning_rate: float | None, hyper: Mapping[str, float]):
        self.rule: Rule = update_rule(name)
        self.name = self.rule.name or name
        values = {n: float(v) for n, v in self.rule.defaults.items()}
        values |= {hyper_name(n, values): float(v) for n, v in hyper.items() if hyper_name(n, values)}
        if learning_rate is not None:
            values[hyper_name("eta", values)] = float(learning_rate)
        self.values = {**values, "nan": np.nan}
        self.size = ""  # a word for the learning rate, where it was chosen for the picture

    @property
    def rate(self) -> float | None:
        return self.values.get("eta")

    def move(self, point: Array, slope: Array, states: list[dict[str, float]], step: int) -> Array:
        """The new point: its coordinates are the entries of one parameter w; `states` are changed."""
        coordinates = [
            {**self.values, **state, "w": float(w), "g": float(g), "step": float(step)}
            for w, g, state in zip(point, slope, states, strict=True)
        ]
        for line in self.rule.lines:
            assert isinstance(line.target, Symbol)
            name = line.target.name
            for scalars in coordinates:
                for symbol in (name, *symbols(line.value)):
                    scalars.setdefault(symbol, 0.0)  # a state starts at 0
            value = transform(line.value, lambda node: self._norm(node, coordinates))
            for scalars, state in zip(coordinates, states, strict=True):
                scalars[name] = float(evaluate(value, {}, scalars=scalars))
                if name not in ("w", "g"):
                    state[name] = scalars[name]
        return np.array([scalars["w"] for scalars in coordinates])

    def _norm(self, node: Expr, coordinates: list[dict[str, float]]) -> Expr:
        """A norm as a number."""
        if not (isinstance(node, Apply) and node.function in NORMS):
            return node
        entries = [float(evaluate(node.arguments[0], {}, scalars=scalars)) for scalars in coordinates]
        norm = float(np.sqrt(np.sum(np.square(entries))))
        return Number(Fraction(norm)) if np.isfinite(norm) else Symbol("nan")


def walk(function: Surface, start: Array, rule: Stepper, steps: int) -> Array:
    """(steps + 1, variables); shorter where the path leaves."""
    points = [start]
    states: list[dict[str, float]] = [{} for _ in function.variables]
    with np.errstate(all="ignore"):
        for step in range(1, steps + 1):
            slope = function.slope(*points[-1])
            point = rule.move(points[-1], slope, states, step)
            if not np.all(np.abs(point) < FAR):
                break
            points.append(point)
    return np.array(points)


def first_point(function: Surface, start: Start) -> Array:
    try:
        point = np.atleast_1d(np.asarray(start, dtype=np.float64))
    except (TypeError, ValueError):
        point = np.array([np.nan])
    if point.shape != (len(function.variables),) or not np.all(np.isfinite(point)):
        raise SettingError(say("pictures.start", came=start, names=", ".join(function.variables)))
    if not np.isfinite(function.value(*point)) or not np.all(np.isfinite(function.slope(*point))):
        raise SettingError(say("pictures.start_not_finite", came=start))
    return point


def whole_steps(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise SettingError(say("pictures.limit", name="steps", came=steps, low=1, high=MAX_STEPS))
    return steps


def rates_of(function: Surface, start: Array, given: Sequence[float] | float | None) -> Sequence[float]:
    if given is not None:
        rates = [given] if isinstance(given, int | float) else list(given)
        bad = [r for r in rates if isinstance(r, bool) or not isinstance(r, int | float) or not np.isfinite(r) or r < 0]
        if bad:
            raise SettingError(say("training.learning_rate", came=bad[0]))
        return rates
    return [_rounded(GOOD / _curvature(function, start))]


def three_rates(function: Surface, start: Array, name: str, hyper: Mapping[str, float], steps: int) -> list[Stepper]:
    """A learning rate that is too small, a good one and one that is too large: found by trying, and only then named."""

    def outcome(rate: float) -> tuple[str, int]:
        path = walk(function, start, Stepper(name, rate, hyper), steps)
        return _outcome(function, path, steps), _arrival(function, path)

    scale = 1 / _curvature(function, start)
    tried = {rate: outcome(rate) for rate in (scale * 2.0 ** (k / 2) for k in range(-12, 9))}
    arriving = {rate: arrival for rate, (became, arrival) in tried.items() if became == "rests"}
    if not arriving:
        return [Stepper(name, _rounded(factor * scale), hyper) for factor in (0.1, GOOD, 2.1)]
    good = min(arriving, key=lambda rate: abs(arriving[rate] - ARRIVES_IN))
    small = max((r for r, (became, _) in tried.items() if became == "on_its_way" and r <= good / 6), default=good / 8)
    large = min((r for r, (became, _) in tried.items() if became == "leaves" and r > good), default=0.0)
    below = max((r for r in tried if r < large), default=0.0)
    for _ in range(6):  # no larger than it must be, so that the first steps stay in view
        middle = (below + large) / 2
        below, large = (below, middle) if outcome(middle)[0] == "leaves" else (middle, large)
    rules = [Stepper(name, _rounded(rate), hyper) for rate in (small, good, 1.03 * large) if rate > 0]
    for rule, size in zip(rules, _rate_words(), strict=False):
        rule.size = size
    return rules


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def _rate_words() -> tuple[str, str, str]:
    return word("pictures.rate_small"), word("pictures.rate_good"), word("pictures.rate_large")


def _curvature(function: Surface, start: Array) -> float:
    """The largest |second derivative| at the start, by difference quotients of the derived slopes."""
    step = 1e-4 * max(1.0, float(np.max(np.abs(start))))
    rows = []
    for k in range(len(start)):
        shift = np.eye(len(start))[k] * step
        rows.append((function.slope(*(start + shift)) - function.slope(*(start - shift))) / (2 * step))
    largest = float(np.max(np.abs(np.linalg.eigvalsh((np.array(rows) + np.array(rows).T) / 2))))
    return largest if largest > 1e-6 and np.isfinite(largest) else 1.0


def verdict(function: Surface, path: Array, steps: int, lowest: float | None = None) -> str:
    """What became of a path, in a few words; `lowest` is the smallest value in view."""
    became = _outcome(function, path, steps)
    if became == "leaves":
        return word("pictures.leaves")
    if became == "on_its_way":
        return word("pictures.on_its_way", steps=len(path) - 1)
    first, last = (float(function.value(*p)) for p in (path[0], path[-1]))
    if lowest is not None and last > lowest + 0.02 * max(abs(first - last), 1e-12):
        return word("pictures.local_minimum")
    if not _is_minimum(function, path):
        return word("pictures.flat_ground", steps=_arrival(function, path))
    return word("pictures.at_the_minimum", steps=_arrival(function, path))


def _is_minimum(function: Surface, path: Array) -> bool:
    """Whether no point around the end, a tenth of the way from the start, lies clearly lower."""
    end, drop = path[-1], float(function.value(*path[0]) - function.value(*path[-1]))
    reach = 0.1 * max(float(np.abs(path[0] - end).max()), 1e-12)
    around = [end + sign * reach * side for side in np.eye(len(end)) for sign in (-1, 1)]
    lowest = min(float(function.value(*p)) for p in around)
    return lowest >= float(function.value(*end)) - 2e-4 * abs(drop)


def _outcome(function: Surface, path: Array, steps: int) -> str:
    """ "leaves" where the end lies higher than the start, "on_its_way" while it is still steep there, else "rests"."""
    values = function.value(*path[[0, -1]].T)
    if len(path) <= steps or not np.isfinite(values[1]) or values[1] > values[0]:
        return "leaves"
    slopes = [float(np.linalg.norm(function.slope(*p))) for p in (path[0], path[-1])]
    return "on_its_way" if slopes[1] > REST * max(slopes[0], 1e-12) else "rests"


def _arrival(function: Surface, path: Array) -> int:
    """After how many steps the slope stayed below REST of the first one."""
    slopes = np.array([np.linalg.norm(function.slope(*p)) for p in path])
    above = np.flatnonzero(slopes > REST * max(float(slopes[0]), 1e-12))
    return int(above[-1]) + 1 if len(above) else 0
