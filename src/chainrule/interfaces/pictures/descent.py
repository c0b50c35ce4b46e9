"""Gradient descent on a function of one or two variables: learning rates side by side, rules side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import Expr, Symbol
from chainrule.formula.typeset import Latex, Unicode
from chainrule.interfaces.pictures.mathtext import fitted, math_text
from chainrule.interfaces.pictures.walk import (
    PLAIN,
    STEPS,
    Start,
    Stepper,
    Surface,
    first_point,
    rates_of,
    surface,
    three_rates,
    verdict,
    walk,
    whole_steps,
)
from chainrule.interfaces.plots import GRID, INK, NEGATIVE, POSITIVE, fonts, new_figure, word
from chainrule.messages import say

FAR_OFF = 8.0  # of the start's size: what lies farther from the start is out of view
PANEL = 3.6
CURVE_POINTS, PLANE_POINTS = 401, 121


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

    Without `learning_rates`, one rule is shown with a rate that is too small, a good one and one that is too large,
    found by trying; several rules each with one that fits the curvature at the start. Two variables are drawn as a map.
    Raises: FormulaError unless the formula has one or two variables; NotDifferentiable; SettingError.
    Example: a local minimum, without and with momentum:
    `descent("x**4/4 - x**3/3 - x**2 + 0.5*x", -2, optimizers=("gradient_descent", "momentum"), learning_rates=0.05)`
    """
    function = surface(formula)
    first = first_point(function, start)
    names = (optimizers,) if isinstance(optimizers, str) else tuple(optimizers)
    if learning_rates is None and len(names) == 1:
        rules = three_rates(function, first, names[0], hyper or {}, whole_steps(steps))
    else:
        rates = rates_of(function, first, learning_rates)
        rules = [Stepper(name, rate, hyper or {}) for name in names for rate in rates]
    if not 1 <= len(rules) <= 8:
        raise SettingError(say("pictures.panels", came=len(rules), high=8))
    paths = [walk(function, first, rule, whole_steps(steps)) for rule in rules]
    with fonts():
        draw = _draw_curves if len(function.variables) == 1 else _draw_maps
        return draw(function, rules, paths)


# --- drawing ----------------------------------------------------------------------------------------------------------


def _draw_curves(function: Surface, rules: Sequence[Stepper], paths: Sequence[Array]) -> Any:
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


def _draw_maps(function: Surface, rules: Sequence[Stepper], paths: Sequence[Array]) -> Any:
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


def _title(axes: Any, function: Surface, rule: Stepper, path: Array, lowest: float, longest: int) -> None:
    steps = max(longest, len(path)) - 1
    rate = "" if rule.rate is None else f"$\\eta$ = {rule.rate:g}"
    rate += f", {rule.size}" if rule.size else ""
    name = "" if rule.name == PLAIN else f"{rule.name.replace('_', ' ')}, "
    axes.set_title(f"{name}{rate}\n{verdict(function, path, steps, lowest)}", fontsize=10, color=INK)


def _printed(expr: Expr) -> str:
    return math_text(Latex().text(expr), Unicode().text(expr))


def _window(function: Surface, paths: Sequence[Array]) -> tuple[Array, Array]:
    """What is in view: all of the paths that stay, the first stops of those that leave, and room around."""
    seen = []
    for path in paths:
        values = function.value(*path.T)
        stays = np.isfinite(values[-1]) and values[-1] <= values[0]
        near = np.abs(path - path[0]).max(axis=1) <= FAR_OFF * max(float(np.abs(path[0]).max()), 1.0)
        seen.append(path[near] if stays else path[near][:4])
    points = np.concatenate(seen)
    low, high = points.min(axis=0), points.max(axis=0)
    widened = _with_lower_minimum if len(function.variables) == 1 else _with_lowest_of_the_plane
    low, high = widened(function, low, high, min(float(function.value(*p[-1])) for p in seen))
    width = np.where(high > low, high - low, 1.0)
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


def _with_lowest_of_the_plane(function: Surface, low: Array, high: Array, reached: float) -> tuple[Array, Array]:
    """The rectangle, widened to the lowest point near it, where that is lower than what the paths reached."""
    reach = np.maximum(high - low, np.maximum(np.abs(low), np.abs(high)))
    sides = [np.linspace(a - r, b + r, PLANE_POINTS) for a, b, r in zip(low, high, reach, strict=True)]
    grid = np.meshgrid(*sides)
    heights = function.value(*grid)
    heights = np.where(np.isfinite(heights), heights, np.inf)
    row, column = np.unravel_index(int(heights.argmin()), heights.shape)
    is_inside = 0 < row < PLANE_POINTS - 1 and 0 < column < PLANE_POINTS - 1
    if not is_inside or heights[row, column] >= reached:
        return low, high
    lowest = np.array([sides[0][column], sides[1][row]])
    return np.minimum(low, lowest), np.maximum(high, lowest)
