"""Gradient descent on a function of one or two variables: learning rates side by side, rules side by side.

The derivative is chainrule's own, and so are the rules' formulas: the lines of library/updates.py are evaluated, with
the variable in the place of the weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.derivation.derive import derive
from chainrule.errors import FormulaError, SettingError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Expr, Symbol, elements, symbols, transform
from chainrule.formula.mathprint import MathPrinter
from chainrule.formula.parse import parse_expression
from chainrule.formula.typeset import Latex, Unicode
from chainrule.interfaces.pictures.mathtext import fitted, math_text
from chainrule.interfaces.plots import GRID, INK, NEGATIVE, POSITIVE, fonts, new_figure, word
from chainrule.messages import say
from chainrule.training.vocabulary import Rule, hyper_name, update_rule, vocabulary

PLAIN = "gradient_descent"
STEPS = 15
MAX_STEPS = 10_000
FAR = 1e12  # a path that is farther out has left for good
# Of 1/f″: with these a parabola's error shrinks by 0.9 a step, by 0.4, and grows by 1.1.
TOO_SMALL, GOOD, TOO_LARGE = 0.1, 0.6, 2.1
REST = 1e-2  # of the first slope: where less is left, the path has come to rest
PANEL = 3.6
CURVE_POINTS, PLANE_POINTS = 401, 121

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
    rule = _Rule(optimizer, learning_rate, hyper or {})
    points = _walk(function, _first_point(function, start), rule, _whole_steps(steps))
    return points[:, 0] if len(function.variables) == 1 else points


def descent(
    formula: str,
    start: Start,
    *,
    learning_rates: Sequence[float] | float | None = None,
    optimizers: Sequence[str] | str = (PLAIN,),
    steps: int = STEPS,
    hyper: Mapping[str, float] | None = None,
) -> Any:
    """The way down a function, one panel for each rule and learning rate, each with what became of it.

    Without `learning_rates`, one rule is shown with a rate that is too small, a good one and one that is too large, by
    the curvature at the start; several rules each with the good one. Two variables are drawn as a map.
    Raises: FormulaError unless the formula has one or two variables; NotDifferentiable; SettingError.
    Example: a local minimum, without and with momentum:
    `descent("x**4/4 - x**3/3 - x**2 + 0.5*x", -2, optimizers=("gradient_descent", "momentum"), learning_rates=0.05)`
    """
    function = surface(formula)
    first = _first_point(function, start)
    names = (optimizers,) if isinstance(optimizers, str) else tuple(optimizers)
    rates = _rates(function, first, learning_rates, len(names))
    rules = [_Rule(name, rate, hyper or {}) for name in names for rate in rates]
    if not 1 <= len(rules) <= 8:
        raise SettingError(say("pictures.panels", came=len(rules), high=8))
    paths = [_walk(function, first, rule, _whole_steps(steps)) for rule in rules]
    if learning_rates is None and len(names) == 1:
        for rule, size in zip(rules, _rate_words(), strict=True):
            rule.size = size
    with fonts():
        draw = _draw_curves if len(function.variables) == 1 else _draw_maps
        return draw(function, rules, paths)


# --- walking ----------------------------------------------------------------------------------------------------------


class _Rule:
    """An update rule with the values of its hyper-parameters."""

    def __init__(self, name: str, learning_rate: float | None, hyper: Mapping[str, float]):
        self.rule: Rule = update_rule(name)
        self.name = self.rule.name or name
        values = {n: float(v) for n, v in self.rule.defaults.items()}
        values |= {hyper_name(n, values): float(v) for n, v in hyper.items() if hyper_name(n, values)}
        if learning_rate is not None:
            values[hyper_name("eta", values)] = float(learning_rate)
        self.values = values
        self.size = ""  # a word for the learning rate, where it was chosen for the picture

    @property
    def rate(self) -> float | None:
        return self.values.get("eta")

    def move(self, w: float, g: float, state: dict[str, float], step: int) -> float:
        """The new value of w; `state` is changed."""
        scalars = {**self.values, **state, "w": w, "g": g, "step": float(step)}
        for line in self.rule.lines:
            assert isinstance(line.target, Symbol)
            scalars.setdefault(line.target.name, 0.0)
            for name in symbols(line.value):
                scalars.setdefault(name, 0.0)  # a state starts at 0
            scalars[line.target.name] = float(evaluate(line.value, {}, scalars=scalars))
            if line.target.name != "w":
                state[line.target.name] = scalars[line.target.name]
        return scalars["w"]


def _walk(function: Surface, start: Array, rule: _Rule, steps: int) -> Array:
    """(steps + 1, variables); shorter where the path leaves."""
    points = [start]
    states: list[dict[str, float]] = [{} for _ in function.variables]
    with np.errstate(all="ignore"):
        for step in range(1, steps + 1):
            slope = function.slope(*points[-1])
            moves = zip(points[-1], slope, states, strict=True)
            point = np.array([rule.move(float(w), float(g), state, step) for w, g, state in moves])
            if not np.all(np.abs(point) < FAR):
                break
            points.append(point)
    return np.array(points)


def _first_point(function: Surface, start: Start) -> Array:
    try:
        point = np.atleast_1d(np.asarray(start, dtype=np.float64))
    except (TypeError, ValueError):
        point = np.array([np.nan])
    if point.shape != (len(function.variables),) or not np.all(np.isfinite(point)):
        raise SettingError(say("pictures.start", came=start, names=", ".join(function.variables)))
    if not np.isfinite(function.value(*point)) or not np.all(np.isfinite(function.slope(*point))):
        raise SettingError(say("pictures.start_not_finite", came=start))
    return point


def _whole_steps(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise SettingError(say("pictures.limit", name="steps", came=steps, low=1, high=MAX_STEPS))
    return steps


def _rates(
    function: Surface, start: Array, given: Sequence[float] | float | None, rules: int
) -> Sequence[float | None]:
    if given is not None:
        rates = [given] if isinstance(given, int | float) else list(given)
        bad = [r for r in rates if isinstance(r, bool) or not isinstance(r, int | float) or not np.isfinite(r) or r < 0]
        if bad:
            raise SettingError(say("training.learning_rate", came=bad[0]))
        return rates
    curvature = _curvature(function, start)
    factors = (TOO_SMALL, GOOD, TOO_LARGE) if rules == 1 else (GOOD,)
    return [float(f"{factor / curvature:.3g}") for factor in factors]


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
    values = function.value(*path.T)
    slopes = [float(np.linalg.norm(function.slope(*p))) for p in (path[0], path[-1])]
    if len(path) <= steps or not np.isfinite(values[-1]) or values[-1] > values[0]:
        return word("pictures.leaves")
    if slopes[1] > REST * max(slopes[0], 1e-12):
        return word("pictures.on_its_way", steps=len(path) - 1)
    size = max(abs(float(values[0] - values[-1])), 1e-12)
    if lowest is not None and values[-1] > lowest + 0.02 * size:
        return word("pictures.local_minimum")
    return word("pictures.at_the_minimum", steps=_arrival(function, path))


def _arrival(function: Surface, path: Array) -> int:
    """After how many steps the slope stayed below REST of the first one."""
    slopes = np.array([np.linalg.norm(function.slope(*p)) for p in path])
    above = np.flatnonzero(slopes > REST * max(float(slopes[0]), 1e-12))
    return int(above[-1]) + 1 if len(above) else 0


# --- drawing ----------------------------------------------------------------------------------------------------------


def _draw_curves(function: Surface, rules: Sequence[_Rule], paths: Sequence[Array]) -> Any:
    low, high = _window(function, paths)
    x = np.linspace(low[0], high[0], CURVE_POINTS)
    y = function.value(x)
    seen = np.concatenate([path[(path[:, 0] >= low[0]) & (path[:, 0] <= high[0]), 0] for path in paths])
    bottom, top = float(np.nanmin(y)), float(function.value(seen).max())
    room = 0.08 * (top - bottom or 1.0)
    figure, panels = _panels(function, len(rules))
    for axes, rule, path in zip(panels, rules, paths, strict=True):
        axes.plot(x, y, color=INK, linewidth=1.6)
        axes.plot(path[:, 0], function.value(path[:, 0]), color=NEGATIVE, linewidth=1.1, alpha=0.8, clip_on=True)
        _draw_stops(axes, path[:, 0], function.value(path[:, 0]))
        _number_stops(axes, path[:, 0], function.value(path[:, 0]), (low[0], high[0]))
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(bottom - room, top + 2 * room)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_xlabel(_printed(Symbol(function.variables[0])), fontsize=12)
        _title(axes, function, rule, path, bottom, len(paths[0]))
    return figure


def _draw_maps(function: Surface, rules: Sequence[_Rule], paths: Sequence[Array]) -> Any:
    low, high = _window(function, paths)
    x, y = (np.linspace(a, b, PLANE_POINTS) for a, b in zip(low, high, strict=True))
    heights = function.value(*np.meshgrid(x, y))
    figure, panels = _panels(function, len(rules))
    bottom, top = float(heights.min()), float(heights.max())
    levels = bottom + (top - bottom or 1.0) * np.linspace(0, 1, 16) ** 2  # close together near the minimum
    for axes, rule, path in zip(panels, rules, paths, strict=True):
        axes.contour(x, y, heights, levels=levels, colors=[POSITIVE], linewidths=0.8, alpha=0.55)
        axes.plot(path[:, 0], path[:, 1], color=NEGATIVE, linewidth=1.2)
        _draw_stops(axes, path[:, 0], path[:, 1])
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.set_xlabel(_printed(Symbol(function.variables[0])), fontsize=12)
        axes.set_ylabel(_printed(Symbol(function.variables[1])), fontsize=12, rotation=0, labelpad=8)
        _title(axes, function, rule, path, bottom, len(paths[0]))
    return figure


def _panels(function: Surface, count: int) -> tuple[Any, list[Any]]:
    columns = min(count, 4)
    rows = -(-count // columns)
    width = PANEL * columns
    figure = new_figure(max(width, 5.0), 3.5 * rows + 0.3)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for axes in panels[count:]:
        axes.set_axis_off()
    of = f"f({', '.join(function.variables)})"
    left = math_text(f"{of} = {Latex().text(function.expr)}", f"{of} = {Unicode().text(function.expr)}")
    text, size = fitted(left, width - 0.4, 13)
    figure.suptitle(text, fontsize=size, color=INK)
    return figure, panels[:count]


def _draw_stops(axes: Any, x: Array, y: Array) -> None:
    axes.plot(x, y, color=NEGATIVE, marker="o", markersize=4.5, linestyle="none", zorder=3)
    style = {"linestyle": "none", "markeredgecolor": INK, "markersize": 7.5, "zorder": 4}
    axes.plot(x[:1], y[:1], color="white", marker="D", label=word("pictures.descent_start"), **style)
    axes.plot(x[-1:], y[-1:], color=INK, marker="*", label=word("pictures.descent_end"), **{**style, "markersize": 11})
    axes.legend(fontsize=8, frameon=False, loc="best")


def _number_stops(axes: Any, x: Array, y: Array, window: tuple[float, float]) -> None:
    """The first few stops by their numbers, up to one that stands too close to the one before."""
    last = float(x[0])
    for number in range(1, min(5, len(x))):
        apart = abs(x[number] - last) > 0.06 * (window[1] - window[0])
        if not apart or not window[0] < x[number] < window[1]:
            return
        place = {"xy": (x[number], y[number]), "xytext": (0, 7), "textcoords": "offset points"}
        axes.annotate(str(number), **place, ha="center", fontsize=8, color="#8a4200")
        last = x[number]


def _title(axes: Any, function: Surface, rule: _Rule, path: Array, lowest: float, longest: int) -> None:
    steps = max(longest, len(path)) - 1
    rate = "" if rule.rate is None else f"$\\eta$ = {rule.rate:g}"
    rate += f", {rule.size}" if rule.size else ""
    name = "" if rule.name == PLAIN else f"{rule.name.replace('_', ' ')}, "
    axes.set_title(f"{name}{rate}\n{verdict(function, path, steps, lowest)}", fontsize=10, color=INK)


def _printed(expr: Expr) -> str:
    return _with(Latex(), Unicode(), expr)


def _with(latex: MathPrinter, plain: MathPrinter, expr: Expr) -> str:
    return math_text(latex.text(expr), plain.text(expr))


def _window(function: Surface, paths: Sequence[Array]) -> tuple[Array, Array]:
    """What is in view: all of the paths that stay, the first stops of those that leave, and room around."""
    seen = []
    for path in paths:
        values = function.value(*path.T)
        stays = np.isfinite(values[-1]) and values[-1] <= values[0]
        seen.append(path if stays else path[:4])
    points = np.concatenate(seen)
    low, high = points.min(axis=0), points.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    if len(function.variables) == 1:
        low, high = _with_lower_minimum(function, low, high, min(float(function.value(*p[-1])) for p in seen))
    return low - 0.22 * width, high + 0.22 * width


def _with_lower_minimum(function: Surface, low: Array, high: Array, reached: float) -> tuple[Array, Array]:
    """The interval, widened to the nearest minimum that lies lower than what the paths reached."""
    reach = 2 * max(float(high[0] - low[0]), abs(float(low[0])), abs(float(high[0])), 1.0)
    x = np.linspace(low[0] - reach, high[0] + reach, 5 * CURVE_POINTS)
    y = np.where(np.isfinite(values := function.value(x)), values, np.inf)
    is_minimum = np.r_[False, (y[1:-1] < y[:-2]) & (y[1:-1] <= y[2:]), False]
    lower = x[is_minimum & (y < reached - 0.02 * max(abs(reached), 1e-3))]
    if not len(lower):
        return low, high
    nearest = lower[np.abs(lower - (low[0] + high[0]) / 2).argmin()]
    return np.minimum(low, nearest), np.maximum(high, nearest)
