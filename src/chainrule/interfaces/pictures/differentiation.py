"""Two pictures of differentiation: the error of numerical derivatives against their step, and a function's tangent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.derivation.check import CENTRAL_STEP, EPS, derived_gradients, error_curve
from chainrule.derivation.entries import entry_text, read_entry
from chainrule.formula.typeset import Unicode
from chainrule.interfaces.plots import FAINT, GRID, INK, NEGATIVE, POSITIVE, fonts, new_figure, save_figure, word

if TYPE_CHECKING:
    from chainrule.derivation.ground import GroundUp
    from chainrule.training.network import Network

STEPS = tuple(10.0 ** (-n / 4) for n in range(65))  # 1 to 1e-16
FLOOR = EPS / 8  # an error of 0 has no place on a logarithmic axis: it stands here
TOP = 300.0  # of the axis of errors: room for the words
POINTS = 601
REACH = 2.5  # how far to both sides of the point a function is drawn
SECANTS = (2.0, 1.0, 0.5)


def gradient_error_picture(
    net: Network, *data: object, weight: str | None = None, path: str | Path | None = None, **named: object
) -> Any:
    """The relative error of three numerical derivatives of E by one weight against the step, both axes logarithmic.

    To the right truncation, which shrinks with the step; to the left rounding, which grows as it shrinks; the complex
    step has none of the latter. `weight` is an entry such as "W1[3, 2]", else the one with the largest gradient; the
    picture is written to `path` (.svg, .png, .pdf) where it is given. Returns the figure.
    Raises: SettingError for an entry that does not exist; DataError; FileError.
    """
    point = net.point(*data, **named)
    if weight is None:
        entry = _largest(net, point)
    else:
        entry = read_entry(net.system, point.sizes, weight)
    curve = np.asarray(list(error_curve(net.derivation, point, entry, STEPS)))
    with fonts():
        figure = _error_figure(net, entry, curve)
    if path is not None:
        save_figure(figure, path)
    return figure


def _largest(net: Network, point: Any) -> tuple[str, tuple[int, ...]]:
    """The entry with the largest gradient."""
    gradients = {n: np.abs(np.nan_to_num(g)) for n, g in derived_gradients(net.derivation, point.wide()).items()}
    name = max(gradients, key=lambda n: gradients[n].max(initial=0))
    place = np.unravel_index(int(gradients[name].argmax()), gradients[name].shape)
    return name, tuple(int(p) for p in place)


def _error_figure(net: Network, entry: tuple[str, tuple[int, ...]], curve: np.ndarray[Any, Any]) -> Any:
    figure = new_figure(7.2, 4.6)
    axes = figure.add_subplot()
    steps, errors = curve[:, 0], np.maximum(curve[:, 1:], FLOOR)
    styles = ((FAINT, "--", "check.one_sided"), (POSITIVE, "-", "check.central"), (NEGATIVE, "-", "check.complex"))
    for column, (colour, line, name) in enumerate(styles):
        axes.loglog(steps, errors[:, column], color=colour, linestyle=line, linewidth=2, label=word(name))
    axes.axvline(CENTRAL_STEP, color=INK, linewidth=0.8, linestyle=":")
    axes.text(
        CENTRAL_STEP * 1.3,
        TOP / 3,
        word("check.chosen_step", step=f"{CENTRAL_STEP:.0e}"),
        fontsize=9,
        color=INK,
        va="top",
    )
    axes.text(
        0.97,
        0.26,
        f"{word('check.truncation')}:\n{word('check.truncation_more')}",
        transform=axes.transAxes,
        ha="right",
        fontsize=10,
        color=INK,
    )
    axes.text(
        0.03,
        0.97,
        f"{word('check.rounding')}:\n{word('check.rounding_more')}",
        transform=axes.transAxes,
        ha="left",
        va="top",
        fontsize=10,
        color=INK,
    )
    axes.set_ylim(FLOOR / 3, max(TOP, float(np.nanmax(errors[np.isfinite(errors)]))))
    axes.set_xlim(steps.min(), steps.max())
    axes.tick_params(labelfontfamily="DejaVu Sans")  # fonts with Hangul have no minus for the powers of ten
    axes.set_xlabel(word("check.step_axis"))
    axes.set_ylabel(word("check.error_axis"))
    axes.set_title(word("check.error_title", loss=net.system.loss, weight=entry_text(*entry)), fontsize=12)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 0.16))
    return figure


# --- a function and its derivative ------------------------------------------------------------------------------------


def derivative_picture(
    text: str, at: float = 1.0, by: str | None = None, path: str | Path | None = None, **values: float
) -> Any:
    """A scalar formula with secants that turn into its tangent, and below it the derivative.

    The picture is written to `path` (.svg, .png, .pdf) where it is given. Returns the figure.
    Raises: what `chainrule.derivative` raises; FileError.
    """
    from chainrule.interfaces.derivative import derivative

    return draw_derivative(derivative(text, at, by, **values), path)


def draw_derivative(found: GroundUp, path: str | Path | None = None) -> Any:
    """The picture of a derivative that is already known."""
    with fonts():
        figure = _derivative_figure(found)
    if path is not None:
        save_figure(figure, path)
    return figure


def _derivative_figure(found: GroundUp) -> Any:
    figure = new_figure(7.2, 7.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    x = np.linspace(found.at - REACH, found.at + REACH, POINTS)
    with np.errstate(all="ignore"):
        values, slopes = _drawable(found.f(x)), _drawable(found.derivative(x))
    printer = Unicode()
    above.plot(x, values, color=POSITIVE, linewidth=2.4, label=f"f({found.by}) = {printer.text(found.typed)}")
    for epsilon, strength in zip(SECANTS, (0.35, 0.55, 0.75), strict=True):
        _secant(above, found, x, epsilon, strength)
    tangent = word("check.tangent", slope=_number(found.slope))
    above.plot(x, found.linear(x), color=NEGATIVE, linewidth=2, label=tangent)
    above.plot([found.at], [found.value], "o", color=INK, markersize=6, zorder=5)
    low, high = _limits(values)
    above.set_ylim(low, high)
    result = printer.text(found.derived.result)
    below.plot(x, slopes, color=POSITIVE, linewidth=2.4, label=f"f′({found.by}) = {result}")
    here = f"f′({found.at:g}) = {_number(found.slope)}"
    below.plot([found.at], [found.slope], "o", color=NEGATIVE, markersize=7, zorder=5, label=here)
    below.axhline(0, color=FAINT, linewidth=0.8)
    below.set_ylim(*_limits(slopes))
    below.set_xlabel(found.by)
    for axes in (above, below):
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=10)
    above.set_title(word("check.derivative_title", by=found.by, at=f"{found.at:g}"), fontsize=12)
    return figure


def _secant(axes: Any, found: GroundUp, x: np.ndarray[Any, Any], epsilon: float, strength: float) -> None:
    end = found.at + epsilon
    value = float(found.f(end))
    if not np.isfinite(value):
        return
    rate = (value - found.value) / epsilon
    label = word("check.secant", epsilon=f"{epsilon:g}", rate=_number(rate))
    axes.plot(
        x, found.value + rate * (x - found.at), color=INK, alpha=strength, linewidth=1, linestyle="--", label=label
    )
    axes.plot([end], [value], "o", color=INK, alpha=strength, markersize=4)


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _drawable(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What is not finite leaves a gap."""
    return np.where(np.isfinite(values), values, np.nan)


def _limits(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The range to show: nearly all values, so that a pole does not flatten the rest."""
    finite = values[np.isfinite(values)]
    low, high = (float(q) for q in np.quantile(finite, (0.08, 0.92))) if len(finite) else (0.0, 1.0)
    room = 0.3 * (high - low) or 1.0
    return low - room, high + room
