"""What a network of two inputs decides, everywhere in the plane: after training, or after each epoch of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.formula.evaluate import Array
from chainrule.interfaces.pictures.mathtext import Formulas
from chainrule.interfaces.pictures.samples import bound, by_input, own_indices
from chainrule.interfaces.plots import (
    FAINT,
    INK,
    NEGATIVE,
    POSITIVE,
    check_suffix,
    diverging,
    fonts,
    new_figure,
    save_gif,
    word,
)
from chainrule.messages import say
from chainrule.training.network import Network

LIGHT = 2.6  # the scale is so much wider than the values, so that the points stand out on them
STEPS = 161  # points of the plane along each axis
AROUND = 0.18  # of the data's width, on each side
SQUARE = np.array([[0.0, 0.0], [1.0, 1.0]])  # the plane where there are no data: around the corners of two bits
MARKERS = "osD^vPX*"
# Okabe and Ito's colours, told apart by colour-blind readers; the first two are the palette's own.
CLASS_COLOURS = (NEGATIVE, POSITIVE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#d55e00", "#666666")


@dataclass(frozen=True)
class Plane:
    """The part of the plane that is drawn: the same for every frame."""

    horizontal: Array
    vertical: Array

    @property
    def points(self) -> Array:
        """(points, 2), row by row."""
        grid = np.meshgrid(self.horizontal, self.vertical)
        return np.stack([g.ravel() for g in grid], axis=1)

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self.vertical), len(self.horizontal))


def decision_boundary(network: Network, x: object = None, t: object = None) -> Any:
    """The network's output over the plane of its two inputs, with the line where its decision turns, and the data.

    Orange and blue are the two sides of a single output (0.5, or 0 where it is no probability); of several outputs each
    point has the colour of the largest. Without data the square around the corners of two bits is drawn.
    Raises: DataError unless the inputs are two numbers.
    """
    points, targets = _data(network, x, t)
    with fonts():
        return _draw(network, _plane_around(points), points, targets, "")


class Boundary:
    """A callback of fit that keeps the network after each epoch: `net.fit(x, t, callbacks=[record])`.

    `record.frames()` are pictures, one before the training and one an epoch; `record.gif(path)` is one file;
    `record.lines()` is one picture with the boundaries of all epochs.
    """

    def __init__(self, network: Network, x: object, t: object = None):
        self.network = network
        self.points, self.targets = _data(network, x, t)
        self.plane = _plane_around(self.points)
        self.weights: list[dict[str, Array]] = [network.parameters]
        self.losses: list[float | None] = [None]

    def __call__(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Keep the weights after an epoch."""
        self.weights.append(self.network.parameters)
        self.losses.append(logs.get("loss"))

    def frames(self, most: int = 60) -> list[Any]:
        """One figure before the training, then one an epoch; of many epochs at most so many, evenly chosen."""
        with fonts():
            return [self._frame(epoch) for epoch in self._chosen(most)]

    def gif(self, path: str | Path, *, seconds: float = 0.4, most: int = 60) -> None:
        """The frames as one GIF. Raises: SettingError for another ending than .gif, FileError for the file."""
        check_suffix(path, ("gif",))
        save_gif(self.frames(most), path, milliseconds=round(1000 * seconds))

    def lines(self, most: int = 30) -> Any:
        """The boundary after each epoch in one picture, from light (before the training) to dark (the last one)."""
        with fonts():
            chosen = self._chosen(most)
            figure, axes = _axes(self.network, self.plane)
            for number, epoch in enumerate(chosen):
                share = number / max(len(chosen) - 1, 1)
                style = {"colors": [diverging()(0.56 + 0.44 * share)], "linewidths": 0.8 + 1.6 * share}
                for surface, level in _turns(_outputs(self._at(epoch), self.plane)):
                    _contour(axes, self.plane, surface, level, **style)
            _draw_points(axes, self.points, self.targets)
            title = word("pictures.boundary_lines", epochs=len(self.weights) - 1)
            axes.set_title(title, fontsize=10, loc="left", pad=17, color=INK)
            return figure

    def _chosen(self, most: int) -> list[int]:
        count = len(self.weights)
        places = np.linspace(0, count - 1, min(max(most, 1), count)).round().astype(int)
        return [int(p) for p in np.unique(places)]

    def _at(self, epoch: int) -> Network:
        return with_weights(self.network, self.weights[epoch])

    def _frame(self, epoch: int) -> Any:
        loss = self.losses[epoch]
        title = word("pictures.before_training")
        if epoch:
            title = word("pictures.after_epoch", epoch=epoch)
            title += "" if loss is None else f"   {word('interfaces.plot_loss')} {loss:.4f}"
        return _draw(self._at(epoch), self.plane, self.points, self.targets, title)


def with_weights(network: Network, weights: Mapping[str, Array]) -> Network:
    """The same formulas with other weights; the network itself stays as it is."""
    other = Network(network.system, dtype=network.dtype, sizes=network.sizes, seed=network.seed)
    other.hyper = dict(network.hyper)
    other.set_parameters(weights)
    other.keep({t.name: network.kept[t.name].copy() for t in network.system.of_role("state")})
    return other


# --- the plane --------------------------------------------------------------------------------------------------------


def _data(network: Network, x: object, t: object) -> tuple[Array | None, Array | None]:
    """The points (N, 2) and what they should be: a class number or the target's own number."""
    _check_two_inputs(network)
    if x is None:
        return None, None
    arrays = bound(network, x, t)
    inputs = [arrays[tensor.name] for tensor in network.system.of_role("input")]
    points = np.stack(inputs, axis=1) if len(inputs) == 2 else inputs[0].reshape(len(inputs[0]), -1)
    _check_two_columns(points.shape[1])
    given = [arrays[v.name] for v in network.system.of_role("target", "label") if v.name in arrays]
    if not given:
        return points.astype(float), None
    target = given[0]
    if target.ndim == 2:
        target = target.argmax(axis=1) if target.shape[1] > 1 else target[:, 0]
    return points.astype(float), target


def _check_two_inputs(network: Network) -> None:
    inputs = network.system.of_role("input")
    widths = [len(own_indices(network.system, tensor.name)) for tensor in inputs]
    if widths == [0, 0]:
        return
    if widths != [1]:
        raise DataError(say("pictures.two_inputs", came=len(inputs) if not any(widths) else "–"))
    size = network.sizes.get(own_indices(network.system, inputs[0].name)[0])
    if size is not None:
        _check_two_columns(size)


def _check_two_columns(count: int) -> None:
    if count != 2:
        raise DataError(say("pictures.two_inputs", came=count))


def _plane_around(points: Array | None) -> Plane:
    corners = SQUARE if points is None or not len(points) else points
    low, high = corners.min(axis=0), corners.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    margin = AROUND * width * (2 if points is None else 1)
    sides = [np.linspace(a, b, STEPS) for a, b in zip(low - margin, high + margin, strict=True)]
    return Plane(sides[0], sides[1])


def _outputs(network: Network, plane: Plane) -> Array:
    """(outputs, rows, columns): what the network says at each point of the plane."""
    values = network.predict(dict(by_input(network.system, plane.points)))
    values = np.broadcast_to(values, (len(plane.points), *values.shape[1:])).astype(float)
    return values.reshape(*plane.shape, -1).transpose(2, 0, 1)


def _turns(outputs: Array) -> list[tuple[Array, float]]:
    """Surfaces, each with the level on which a decision turns: of several outputs one for each, its lead."""
    if len(outputs) == 1:
        surface = outputs[0]
        is_probability = surface.min() >= 0 and surface.max() <= 1
        return [(surface, 0.5 if is_probability else 0.0)]
    leads = [(outputs[k] - np.delete(outputs, k, axis=0).max(axis=0), 0.0) for k in range(len(outputs))]
    return leads[1:] if len(outputs) == 2 else leads


# --- drawing ----------------------------------------------------------------------------------------------------------


def _draw(network: Network, plane: Plane, points: Array | None, targets: Array | None, title: str) -> Any:
    outputs = _outputs(network, plane)
    figure, axes = _axes(network, plane, bar=len(outputs) <= 2)
    if len(outputs) > 2:
        _fill_classes(axes, plane, outputs)
    else:
        _fill_sides(figure, axes, plane, outputs, str(network.system.output), Formulas.of(network.system))
    _draw_points(axes, points, targets)
    if title:
        axes.set_title(title, fontsize=10, loc="left", pad=17, color=INK)
    return figure


def _axes(network: Network, plane: Plane, *, bar: bool = False) -> tuple[Any, Any]:
    # Fixed places: from frame to frame nothing moves but the boundary.
    width = 5.6 if bar else 4.9
    figure = new_figure(width, 4.6, layout=None)
    axes = figure.add_axes((0.7 / width, 0.12, 4.0 / width, 0.78))
    axes.set_xlim(plane.horizontal[0], plane.horizontal[-1])
    axes.set_ylim(plane.vertical[0], plane.vertical[-1])
    formulas = Formulas.of(network.system)
    inputs = network.system.of_role("input")
    names = [(t.name, t.indices, None) for t in inputs]
    if len(names) == 1:
        names = [(inputs[0].name, inputs[0].indices, (place,)) for place in (0, 1)]  # type: ignore[misc]
    axes.set_xlabel(formulas.element(*names[0]), fontsize=12, color=INK)
    axes.set_ylabel(formulas.element(*names[1]), fontsize=12, color=INK, rotation=0, labelpad=10)
    return figure, axes


def _fill_sides(figure: Any, axes: Any, plane: Plane, outputs: Array, name: str, formulas: Formulas) -> None:
    ((surface, level),) = _turns(outputs)
    reach = max(float(np.max(np.abs(surface - level))), 1e-12)
    drawn = axes.imshow(
        surface,
        cmap=diverging(),
        vmin=level - LIGHT * reach,
        vmax=level + LIGHT * reach,
        extent=(plane.horizontal[0], plane.horizontal[-1], plane.vertical[0], plane.vertical[-1]),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
    )
    _contour(axes, plane, surface, level, colors=[INK], linewidths=1.8)
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.86, 0.12, 0.035, 0.76)))
    bar.outline.set_visible(False)
    bar.ax.set_ylim(surface.min(), max(surface.max(), surface.min() + 1e-9))
    bar.ax.tick_params(labelsize=8)
    bar.ax.set_title(formulas.quantity(name), fontsize=11, color=INK)


def _fill_classes(axes: Any, plane: Plane, outputs: Array) -> None:
    from matplotlib.colors import ListedColormap, to_rgb

    classes = outputs.argmax(axis=0)
    count = len(outputs)
    light = [tuple(0.65 + 0.35 * c for c in to_rgb(CLASS_COLOURS[k % len(CLASS_COLOURS)])) for k in range(count)]
    extent = (plane.horizontal[0], plane.horizontal[-1], plane.vertical[0], plane.vertical[-1])
    style = {"cmap": ListedColormap(light), "vmin": -0.5, "vmax": count - 0.5, "interpolation": "nearest"}
    axes.imshow(classes, extent=extent, origin="lower", aspect="auto", **style)
    for surface, level in _turns(outputs):
        _contour(axes, plane, surface, level, colors=[INK], linewidths=1.2)


def _contour(axes: Any, plane: Plane, surface: Array, level: float, **style: Any) -> None:
    """The line at one level; nothing where the surface lies on one side of it."""
    if surface.min() < level < surface.max():
        axes.contour(plane.horizontal, plane.vertical, surface, levels=[level], **style)


def _draw_points(axes: Any, points: Array | None, targets: Array | None) -> None:
    if points is None:
        return
    style = {"s": 46 if len(points) <= 200 else 14, "linewidths": 0.9 if len(points) <= 200 else 0.4}
    classes = _class_numbers(targets)
    if classes is None:
        # Numbers, such as those of a regression, on the scale of the signs.
        reach = 1.0 if targets is None else float(np.max(np.abs(targets))) or 1.0
        scale = {"c": targets, "cmap": diverging(), "vmin": -reach, "vmax": reach, "edgecolors": INK}
        colours = {"color": FAINT, "edgecolors": "white"} if targets is None else scale
        axes.scatter(points[:, 0], points[:, 1], zorder=4, **colours, **style)
        return
    for k in np.unique(classes):
        own = points[classes == k]
        colour, marker = CLASS_COLOURS[k % len(CLASS_COLOURS)], MARKERS[k % len(MARKERS)]
        label = word("pictures.class", number=k)
        axes.scatter(
            own[:, 0], own[:, 1], color=colour, marker=marker, edgecolors="white", label=label, zorder=4, **style
        )
    # Above the plane, where no point is.
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.2, "handletextpad": 0.2}
    axes.legend(fontsize=8, frameon=False, ncols=4, columnspacing=1.0, **place)


def _class_numbers(targets: Array | None) -> Sequence[int] | Any:
    """Targets as class numbers: −1 and 1 count as 0 and 1; None where there are too many to be classes."""
    if targets is None:
        return None
    values = np.unique(targets)
    if set(values.tolist()) <= {-1.0, 1.0}:
        return (targets > 0).astype(int)
    whole = np.all(values == np.round(values)) and values.min() >= 0 and len(values) <= 20
    return targets.astype(int) if whole else None
