"""The loss around a network's weights: along a line, and over a plane with the way that training took on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import SettingError, ShapeError
from chainrule.formula.evaluate import Array
from chainrule.interfaces.pictures.samples import Losses, bound, first_rows
from chainrule.interfaces.plots import GRID, INK, NEGATIVE, POSITIVE, fonts, new_figure, rising, word
from chainrule.messages import say
from chainrule.training.network import Network

ROWS = 500  # samples that the loss is a mean of: the surface of the first 500 looks like that of all
LINE_POINTS, PLANE_POINTS = 61, 21
LEVELS = 14
STEEP = 5.0  # the largest loss over the smallest from which levels are spaced by their logarithms
AROUND = 0.25  # of the path's width, on each side

Weights = Mapping[str, Array]


class WeightPath:
    """A callback of fit that keeps the weights before the training and after each epoch, for `loss_plane`.

    `record = pictures.WeightPath(net); net.fit(x, t, callbacks=[record])`
    """

    def __init__(self, network: Network):
        self.network = network
        self.weights: list[dict[str, Array]] = []
        with suppress(ShapeError):  # sizes that the data will say: the start is drawn again when they are known
            self.weights.append(network.parameters)

    def __call__(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Keep the weights after an epoch."""
        if not self.weights:
            network = self.network
            start = Network(network.system, dtype=network.dtype, sizes=network.sizes, seed=network.seed)
            self.weights.append(start.parameters)
        self.weights.append(self.network.parameters)

    def __len__(self) -> int:
        return len(self.weights)


def loss_line(
    network: Network,
    x: object,
    t: object = None,
    *,
    to: Mapping[str, object] | None = None,
    span: float | None = None,
    rows: int = ROWS,
) -> Any:
    """The loss along a line through the weights: along the negative gradient, or with `to` towards other weights.

    Along the gradient 1 is a step as long as the weights themselves, and the tangent at 0 is drawn: its slope is that
    of the gradient. Towards other weights 0 is here and 1 is there.
    Raises: DataError, SettingError; FormulaError without a loss; NotDifferentiable.
    """
    losses = losses_of(network, x, t, rows)
    start = network.parameters
    if to is not None:
        ends = _checked(network, to)
        direction = {name: ends[name] - start[name] for name in start}
        steps = np.linspace(-0.5, 1.5, LINE_POINTS)
        slope = None
    else:
        gradient = network.gradients(losses.arrays)
        direction, slope = _down(start, gradient)
        span = _span(losses.at(start), slope) if span is None else _positive("span", span)
        steps = np.linspace(-span, span, LINE_POINTS)
    values = np.array([losses.at(_moved(start, [direction], [s])) for s in steps])
    with fonts():
        return _draw_line(steps, values, losses.at(start), slope)


def loss_plane(
    network: Network,
    x: object,
    t: object = None,
    *,
    path: WeightPath | None = None,
    points: int = PLANE_POINTS,
    rows: int = ROWS,
    seed: int = 0,
) -> Any:
    """The loss over a plane through the weights; with `path` the one that holds most of the path of training.

    Its directions are the first two principal ones of the path (NumPy's SVD); without a path two random ones, in each
    parameter as long as the parameter itself. The loss is the mean of the first `rows` samples.
    Raises: DataError, SettingError; FormulaError without a loss.
    """
    if isinstance(points, bool) or not isinstance(points, int) or not 5 <= points <= 400:
        raise SettingError(say("pictures.limit", name="points", came=points, low=5, high=400))
    losses = losses_of(network, x, t, rows)
    plane = plane_of_path(network, path) if path is not None and len(path) > 1 else random_plane(network, seed)
    low, high = plane.window()
    first, second = (np.linspace(a, b, points) for a, b in zip(low, high, strict=True))
    surface = np.array([[losses.at(plane.weights(a, b)) for a in first] for b in second])
    with fonts():
        return _draw_plane(plane, losses, first, second, surface)


def losses_of(network: Network, x: object, t: object, rows: int) -> Losses:
    """The loss of the first rows of the data as a function of the weights."""
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise SettingError(say("pictures.limit", name="rows", came=rows, low=1, high=10**9))
    return Losses(network, first_rows(bound(network, x, t, complete=True), rows))


# --- lines and planes through the weights -----------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightPlane:
    """centre + a·first + b·second; `trail` are the path's coordinates (epochs, 2), `share` of it lies in the plane."""

    centre: Weights
    first: Weights
    second: Weights
    trail: Array
    stops: Sequence[Weights]
    share: float | None

    def weights(self, a: float, b: float) -> dict[str, Array]:
        """The weights at a point of the plane."""
        return _moved(self.centre, [self.first, self.second], [a, b])

    def window(self) -> tuple[Array, Array]:
        """Lower left and upper right: around the path, or around the centre."""
        if len(self.trail) < 2:
            return np.array([-1.0, -1.0]), np.array([1.0, 1.0])
        low, high = self.trail.min(axis=0), self.trail.max(axis=0)
        width = high - low
        width = np.maximum(width, 0.4 * float(width.max()) or 1.0)
        middle = (low + high) / 2
        reach = width * (0.5 + AROUND)
        return middle - reach, middle + reach


def plane_of_path(network: Network, path: WeightPath) -> WeightPlane:
    """The plane through the last weights of the path along its first two principal directions."""
    last = path.weights[-1]
    _check_enough(last)
    steps = np.stack([_flat(w) - _flat(last) for w in path.weights])
    _, strengths, directions = np.linalg.svd(steps, full_matrices=False)
    total = float(np.sum(strengths**2))
    axes = [directions[k] for k in range(min(2, len(strengths))) if strengths[k] > 1e-9 * strengths[0]]
    random = np.random.default_rng(network.seed)
    while len(axes) < 2:  # a path along a line leaves the other direction free
        other = random.standard_normal(steps.shape[1])
        other -= sum((other @ a) * a for a in axes)
        axes.append(other / np.linalg.norm(other))
    share = float(np.sum(strengths[:2] ** 2)) / total if total > 0 else None
    trail = steps @ np.stack(axes, axis=1)
    first, second = (_shaped(axis, last) for axis in axes)
    return WeightPlane(last, first, second, trail, path.weights, share)


def random_plane(network: Network, seed: int) -> WeightPlane:
    """The plane through the weights along two random directions, in each parameter as long as the parameter."""
    centre = network.parameters
    _check_enough(centre)
    random = np.random.default_rng(seed)
    directions = []
    for _ in range(2):
        drawn = {name: np.asarray(random.standard_normal(w.shape)) for name, w in centre.items()}
        directions.append({n: d * (_length(centre[n]) or 1.0) / max(_length(d), 1e-12) for n, d in drawn.items()})
    return WeightPlane(centre, directions[0], directions[1], np.zeros((1, 2)), [centre], None)


def _check_enough(weights: Weights) -> None:
    count = sum(w.size for w in weights.values())
    if count < 2:
        raise SettingError(say("pictures.too_few_weights", came=count))


def _down(start: Weights, gradient: Weights) -> tuple[dict[str, Array], float]:
    """The negative gradient, as long as the weights; and the slope of the loss along it."""
    size = float(np.sqrt(sum(_length(g) ** 2 for g in gradient.values())))
    reach = float(np.sqrt(sum(_length(w) ** 2 for w in start.values()))) or 1.0
    if size == 0 or not np.isfinite(size):
        raise SettingError(say("pictures.no_gradient"))
    return {name: -g.astype(float) * (reach / size) for name, g in gradient.items()}, -size * reach


def _span(loss: float, slope: float) -> float:
    """A reach on which the tangent can be seen beside the curve: three times as far as it takes to fall to 0."""
    return float(np.clip(3 * abs(loss / slope), 0.02, 0.5))


def _checked(network: Network, to: Mapping[str, object]) -> dict[str, Array]:
    from chainrule.interfaces.pictures.boundary import with_weights

    return with_weights(network, {**network.parameters, **to}).parameters  # type: ignore[dict-item]


def _positive(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (np.isfinite(value) and value > 0):
        raise SettingError(say("pictures.positive_number", name=name, came=value))
    return float(value)


def _moved(start: Weights, directions: Sequence[Weights], steps: Sequence[float]) -> dict[str, Array]:
    return {
        name: w + sum(step * d[name] for step, d in zip(steps, directions, strict=True)) for name, w in start.items()
    }


def _length(array: Array) -> float:
    return float(np.linalg.norm(np.asarray(array, dtype=float)))


def _flat(weights: Weights) -> Array:
    return np.concatenate([np.asarray(w, dtype=np.float64).ravel() for w in weights.values()])


def _shaped(flat: Array, like: Weights) -> dict[str, Array]:
    shaped, start = {}, 0
    for name, w in like.items():
        shaped[name] = flat[start : start + w.size].reshape(w.shape)
        start += w.size
    return shaped


# --- drawing ----------------------------------------------------------------------------------------------------------


def _draw_line(steps: Array, values: Array, here: float, slope: float | None) -> Any:
    figure = new_figure(5.6, 3.8)
    axes = figure.subplots()
    axes.plot(steps, values, color=POSITIVE, linewidth=2, label=word("pictures.loss_itself"))
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = (high - low or 1.0) * 0.08
    if slope is not None:
        label = word("pictures.tangent", slope=f"{slope:.3g}".replace("-", "−"))
        axes.plot(steps, here + slope * steps, color=NEGATIVE, linewidth=1.6, linestyle="--", label=label)
    axes.plot(
        [0],
        [here],
        color=INK,
        marker="o",
        markersize=6,
        linestyle="none",
        label=word("pictures.here", loss=f"{here:.4g}"),
    )
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel(word("pictures.along_gradient") if slope is not None else word("pictures.along_line"), color=INK)
    axes.set_ylabel(word("interfaces.plot_loss"), color=INK)
    axes.grid(color=GRID, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _draw_plane(plane: WeightPlane, losses: Losses, first: Array, second: Array, surface: Array) -> Any:
    from matplotlib.colors import BoundaryNorm

    figure = new_figure(6.2, 4.8)
    axes = figure.subplots()
    levels, ticks = _levels(surface)
    norm = BoundaryNorm(levels, rising().N)  # one shade from level to level, also where these are logarithms
    drawn = axes.contourf(first, second, np.clip(surface, levels[0], levels[-1]), levels, cmap=rising(), norm=norm)
    axes.contour(first, second, surface, levels=levels, colors=["#ffffff"], linewidths=0.6)
    bar = figure.colorbar(drawn, ax=axes, ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.3g}" for tick in ticks], fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.set_title(word("interfaces.plot_loss"), fontsize=10, color=INK)
    _draw_trail(axes, plane, losses)
    axes.set_xlabel(word("pictures.direction", number=1), color=INK)
    axes.set_ylabel(word("pictures.direction", number=2), color=INK)
    if plane.share is not None:
        axes.set_title(word("pictures.plane_of_path", percent=f"{100 * plane.share:.0f}"), fontsize=10, color=INK)
    else:
        axes.set_title(word("pictures.random_plane"), fontsize=10, color=INK)
    return figure


def _draw_trail(axes: Any, plane: WeightPlane, losses: Losses) -> None:
    trail = plane.trail
    ends = [f"{losses.at(plane.stops[k]):.4g}" for k in (0, -1)]
    if len(trail) > 1:
        marks = {"marker": "o", "markersize": 3.5} if len(trail) <= 120 else {}
        axes.plot(trail[:, 0], trail[:, 1], color=NEGATIVE, linewidth=1.6, zorder=3, **marks)
        style = {"marker": "D", "markersize": 8, "linestyle": "none", "zorder": 4}
        label = word("pictures.path_start", loss=ends[0])
        axes.plot(*trail[:1].T, color="white", markeredgecolor=INK, label=label, **style)
        label = word("pictures.path_end", loss=ends[1])
    else:
        label = word("pictures.here", loss=ends[1])
    axes.plot(*trail[-1:].T, color=INK, marker="*", markersize=13, linestyle="none", label=label, zorder=4)
    axes.legend(fontsize=8, framealpha=0.9, loc="best")


def _levels(surface: Array) -> tuple[Array, Array]:
    """Where contours run, and which of them are written: evenly, or by logarithms where the loss grows steeply."""
    finite = surface[np.isfinite(surface)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if high <= low:
        high = low + 1e-6 + abs(low) * 1e-6
    if low > 0 and high / low > STEEP:
        levels = np.geomspace(low, high, LEVELS)
    else:
        levels = np.linspace(low, high, LEVELS)
    return levels, levels[:: (LEVELS - 1) // 6 or 1]
