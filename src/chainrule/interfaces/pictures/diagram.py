"""The diagram of a network: neurons as circles, weights as lines, coloured by sign and as thick as they are large.

Everything is laid out in inches, so that circles are round and texts keep their size however large the network is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.formula.evaluate import Array
from chainrule.interfaces.pictures.graph import Connection, Graph, Layer
from chainrule.interfaces.pictures.look import Look, Target, graph_of, static_look
from chainrule.interfaces.pictures.mathtext import Formulas, fitted, label_points, short_number
from chainrule.interfaces.pictures.samples import bound
from chainrule.interfaces.plots import FAINT, INK, NEGATIVE, POSITIVE, diverging, fonts, new_figure, word
from chainrule.messages import say
from chainrule.training.network import Network

# Inches.
RADIUS, ROW, GAP, BETWEEN, MARGIN = 0.26, 0.64, 1.75, 0.42, 0.7
HEAD, FOOT, CAPTION_LINE, IMAGE, ARC = 0.75, 0.5, 0.42, 1.15, 0.4
THINNEST, THICKEST = 0.35, 3.0  # points, of a line
TINT = 0.36  # how far a neuron's colour goes towards the end of the scale, so that dark text stays readable on it
UNWEIGHTED, GREYED = "#5b6470", "#e3e6ea"  # of lines without a weight, and of lines that are not lit
DASHES = (0, (3, 2))
BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
MAX_NEURONS, MAX_COLUMNS = 8, 8
LABELS = 4  # names of weights above one gap

Point = tuple[float, float]


def network_diagram(
    network: Network,
    x: object = None,
    t: object = None,
    *,
    sample: int = 0,
    neurons: int = MAX_NEURONS,
    columns: int = MAX_COLUMNS,
) -> Any:
    """The network as layers of neurons; with `x` each neuron holds its value for the sample, with `t` E holds the loss.

    Blue lines are positive weights, orange ones negative, grey ones have no weight of their own. A layer of more than
    `neurons` is drawn by its first and last ones, a network of more than `columns` layers likewise.
    Returns: a matplotlib Figure; `pictures.save` writes it.
    Raises: DataError, SettingError; ShapeError while a size is unknown; FormulaError without an output.
    """
    with fonts():
        arrays = {} if x is None else bound(network, x, t)
        graph = graph_of(network)
        look = static_look(network, graph, arrays, sample)
        return Diagram(graph, neurons=neurons, columns=columns, image=look.image is not None).draw(look)


def shown_places(count: int, limit: int) -> list[int | None]:
    """The neurons to draw of so many: all, or the first and the last ones around a None, which is the ellipsis.

    >>> shown_places(3, 8), shown_places(784, 8)
    ([0, 1, 2], [0, 1, 2, 3, None, 781, 782, 783])
    """
    if count <= limit:
        return list(range(count))
    first = limit // 2
    return [*range(first), None, *range(count - (limit - 1 - first), count)]


class Diagram:
    """Where everything of a graph is on the paper, and how it is drawn there; one for all frames of a flow."""

    def __init__(self, graph: Graph, *, neurons: int, columns: int, captions: int = 0, image: bool = False):
        for name, value in (("neurons", neurons), ("columns", columns)):
            if isinstance(value, bool) or not isinstance(value, int) or not 3 <= value <= 1000:
                raise SettingError(say("pictures.limit", name=name, came=value, low=3, high=1000))
        self.graph, self.captions = graph, captions
        self.formulas = Formulas.of(graph.system)
        self.places = {name: shown_places(layer.count, neurons) for name, layer in graph.layers.items()}
        self.shown_columns = shown_places(len(graph.columns), columns)
        self.has_loss = graph.system.loss is not None
        self.left = MARGIN + (IMAGE + 0.25 if image else 0)
        self.middle = self._tallest() / 2
        self.at = self._positions()
        self.colours: set[str] = set()  # of the lines of the picture that is being drawn
        above, below = self._arcs()
        self.foot = FOOT + captions * CAPTION_LINE + (ARC if below else 0)
        self.middle += self.foot
        self.at = self._positions()
        self.height = self.foot + self._tallest() + HEAD + (ARC if above else 0)
        self.width = max(self.left + MARGIN + GAP * (len(self.shown_columns) - 1 + self.has_loss), 4.6)

    # where

    def _height_of(self, column: Sequence[Layer]) -> float:
        rows = sum(len(self.places[layer.name]) for layer in column)
        return rows * ROW + sum(BETWEEN for layer in column if layer.shape)

    def _tallest(self) -> float:
        return max(self._height_of(self.graph.columns[c]) for c in self.shown_columns if c is not None)

    def _positions(self) -> dict[tuple[str, int | None], Point]:
        at: dict[tuple[str, int | None], Point] = {}
        for number, c in enumerate(self.shown_columns):
            if c is None:
                continue
            y = self.middle + self._height_of(self.graph.columns[c]) / 2
            for layer in self.graph.columns[c]:
                for place in self.places[layer.name]:
                    at[layer.name, place] = (self.left + GAP * number, y - ROW / 2)
                    y -= ROW
                y -= BETWEEN if layer.shape else 0
        return at

    def _arcs(self) -> tuple[bool, bool]:
        """Whether lines have to go around neurons above them, and below them."""
        routes = [
            self._route(start, end) for c in self.graph.connections for start, end, _, _ in self._ends(c, only_far=True)
        ]
        arcs = [route for route in routes if len(route) > 2]
        rises = [route[len(route) // 2][1] > max(route[0][1], route[-1][1]) for route in arcs]
        return any(rises), not all(rises)

    @property
    def loss_at(self) -> Point:
        return self.left + GAP * len(self.shown_columns), self.middle

    @property
    def shown(self) -> list[Layer]:
        """The layers that are drawn, in order."""
        return [layer for c in self.shown_columns if c is not None for layer in self.graph.columns[c]]

    # drawing

    def draw(self, look: Look) -> Any:
        """One picture."""
        self.colours = set()
        figure = new_figure(self.width, self.height, layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, self.width)
        axes.set_ylim(0, self.height)
        axes.set_axis_off()
        for connection in self.graph.connections:
            self._draw_connection(axes, connection, look)
        self._draw_labels(axes)
        for layer in self.shown:
            self._draw_layer(axes, layer, look)
        if None in self.shown_columns:
            self._draw_hidden_columns(axes)
        if self.has_loss:
            self._draw_loss(axes, look)
        if look.image is not None:
            self._draw_image(axes, look.image)
        self._draw_texts(axes, look)
        return figure

    def _draw_connection(self, axes: Any, connection: Connection, look: Look) -> None:
        from matplotlib.collections import LineCollection

        weights = self._line_weights(connection, look)
        largest = float(np.nanmax(np.abs(weights), initial=0)) if weights is not None else 0.0
        lit = look.joined is None or (connection.source, connection.target) in look.joined
        lines, colours, widths = [], [], []
        for start, end, i, j in self._ends(connection):
            weight = None if weights is None else float(weights[i, j])
            lines.append(self._route(start, end))
            colours.append(GREYED if not lit else line_colour(weight) if connection.is_weighted else UNWEIGHTED)
            widths.append(line_width(weight, largest) if lit else THINNEST)
        if lit:
            self.colours.update(colours)
        style = "solid" if connection.is_weighted or not lit else DASHES
        collection = LineCollection(lines, colors=colours, linewidths=widths, linestyles=style, zorder=2 if lit else 1)
        collection.set_gid(f"{connection.source}-{connection.target}")
        axes.add_collection(collection)

    def _line_weights(self, connection: Connection, look: Look) -> Array | None:
        if not connection.is_weighted:
            return None
        now = self.graph.weights(connection, look.weights)
        return now if look.before is None else now - self.graph.weights(connection, look.before)

    def _ends(self, connection: Connection, *, only_far: bool = False) -> list[tuple[Point, Point, int, int]]:
        """(from, to, source, target) of every line between drawn neurons; of neighbours none where arcs are sought."""
        span = self.graph.layers[connection.target].column - self.graph.layers[connection.source].column
        if only_far and span < 2:
            return []
        pairs = (
            (i, j)
            for i in self.places[connection.source]
            for j in self.places[connection.target]
            if i is not None and j is not None and connection.joined[i, j]
        )
        return [
            (self.at[connection.source, i], self.at[connection.target, j], i, j)
            for i, j in pairs
            if (connection.source, i) in self.at and (connection.target, j) in self.at
        ]

    def _route(self, start: Point, end: Point) -> list[Point]:
        """A straight line; where a neuron of a column between stands in its way, an arc around that column."""
        between = [
            point for (layer, place), point in self.at.items() if start[0] < point[0] < end[0] and place is not None
        ]
        if not any(_distance(point, start, end) < RADIUS + 0.06 for point in between):
            return [start, end]
        upward = (start[1] + end[1]) / 2 >= self.middle
        ys = [y for _, y in between]
        summit = max(ys) + ROW * 0.75 if upward else min(ys) - ROW - 0.3
        return _arc(start, end, summit)

    def _draw_labels(self, axes: Any) -> None:
        """The names of the weights above the gap before their target."""
        names: dict[int, dict[str, None]] = {}
        for connection in self.graph.connections:
            column = self.graph.layers[connection.target].column
            if column in self.shown_columns:
                names.setdefault(column, {}).update(dict.fromkeys(connection.parameters))
        for column, parameters in names.items():
            texts = [self.formulas.quantity(p) for p in parameters]
            more = ", …" if len(texts) > LABELS else ""
            x = self.left + GAP * (self.shown_columns.index(column) - 0.5)
            text, size = fitted(", ".join(texts[:LABELS]) + more, GAP, 11)
            y = self.height - 0.55
            axes.text(x, y, text, ha="center", va="center", fontsize=size, color=INK, bbox=BEHIND_TEXT, zorder=5)

    def _draw_layer(self, axes: Any, layer: Layer, look: Look) -> None:
        numbers = look.numbers.get(layer.name)
        largest = float(np.nanmax(np.abs(numbers), initial=0)) if numbers is not None else 0.0
        for place in self.places[layer.name]:
            x, y = self.at[layer.name, place]
            if place is None:
                axes.text(x, y, "⋮", ha="center", va="center", fontsize=18, color=INK)
                continue
            number = None if numbers is None else float(numbers[place])
            self._draw_neuron(
                axes, (x, y), self._neuron_label(layer, place, look), number, largest, look.is_lit(layer.name)
            )
            if layer.name in look.targets:
                self._draw_target(axes, (x, y), layer, place, look.targets[layer.name])
        if layer.shape:
            x, y = self.at[layer.name, self.places[layer.name][-1]]
            text, size = fitted(f"{self.formulas.quantity(layer.name)}  {count_text(layer)}", 0.95 * GAP, 10)
            axes.text(x, y - 0.42, text, ha="center", va="center", fontsize=size, color=INK, bbox=BEHIND_TEXT, zorder=5)

    def _neuron_label(self, layer: Layer, place: int, look: Look) -> str:
        indices = self.graph.system.tensors[layer.name].indices
        return self.formulas.element(look.labels.get(layer.name, layer.name), indices, _where(layer, place))

    def _draw_neuron(self, axes: Any, at: Point, label: str, number: float | None, largest: float, lit: bool) -> None:
        from matplotlib.patches import Circle

        colour = "white" if number is None else neuron_colour(number, largest)
        edge = INK if lit else FAINT
        # Not add_patch, which measures each circle to set limits that are set already.
        axes.add_artist(Circle(at, RADIUS, facecolor=colour, edgecolor=edge, linewidth=1.4 if lit else 0.8, zorder=3))
        ink = INK if lit else "#6b7280"
        style = {"ha": "center", "va": "center", "color": ink, "zorder": 4}
        if number is None:
            axes.text(*at, label, fontsize=label_points(label, 1.7 * RADIUS, 11), **style)
            return
        axes.text(at[0], at[1] + 0.1, label, fontsize=label_points(label, 1.35 * RADIUS, 8), **style)
        axes.text(at[0], at[1] - 0.07, short_number(number), fontsize=8.5, **style)

    def _draw_target(self, axes: Any, at: Point, layer: Layer, place: int, target: Target) -> None:
        value = short_number(target.numbers[place])
        text = word("pictures.target", value=value)
        if target.name is not None:
            indices = self.graph.system.tensors[target.name].indices
            text = f"{self.formulas.element(target.name, indices, _where(layer, place))} = {value}"
        x, y = at[0] + RADIUS + 0.07, at[1] + 0.2
        axes.text(x, y, text, fontsize=8.5, color=INK, va="center", bbox=BEHIND_TEXT, zorder=5)

    def _draw_hidden_columns(self, axes: Any) -> None:
        number = self.shown_columns.index(None)
        hidden = len(self.graph.columns) - len(self.shown_columns) + 1
        x = self.left + GAP * number
        axes.text(x, self.middle, "⋯", ha="center", va="center", fontsize=24, color=INK)
        text = word("pictures.more_layers", count=hidden)
        axes.text(x, self.middle - 0.32, text, ha="center", va="center", fontsize=9, color=INK)

    def _draw_loss(self, axes: Any, look: Look) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.patches import FancyBboxPatch

        loss = self.graph.system.loss
        assert loss is not None
        x, y = self.loss_at
        lines = [
            [self.at[name, place], (x, y)]
            for name in self.graph.loss_sources
            for place in self.places[name]
            if place is not None and (name, place) in self.at
        ]
        axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=0.7, linestyles=DASHES, zorder=1))
        corner = (x - 0.36, y - 0.27)
        style = "round,pad=0,rounding_size=0.08"
        edge = INK if look.loss_lit else FAINT
        width = 1.4 if look.loss_lit else 0.8
        box = FancyBboxPatch(corner, 0.72, 0.54, boxstyle=style, facecolor="#f3f4f6", edgecolor=edge, linewidth=width)
        box.set_zorder(3)
        axes.add_artist(box)
        name = self.formulas.quantity(loss)
        style_of_text = {"ha": "center", "va": "center", "color": INK, "zorder": 4}
        axes.text(x, y + (0.1 if look.loss else 0), name, fontsize=11, **style_of_text)
        if look.loss:
            axes.text(x, y - 0.11, look.loss, fontsize=9, **style_of_text)

    def _draw_image(self, axes: Any, image: Array) -> None:
        x = self.left - RADIUS - 0.3 - IMAGE
        y = self.middle + BETWEEN / 2 - IMAGE / 2
        white = max(1.0, float(np.max(image)))
        extent = (x, x + IMAGE, y, y + IMAGE)
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=white, extent=extent, aspect="auto", interpolation="nearest")
        axes.plot([x, x + IMAGE, x + IMAGE, x, x], [y, y, y + IMAGE, y + IMAGE, y], color=FAINT, linewidth=0.8)
        axes.set_xlim(0, self.width)
        axes.set_ylim(0, self.height)

    def _draw_texts(self, axes: Any, look: Look) -> None:
        if look.title:
            axes.text(0.25, self.height - 0.22, look.title, fontsize=12, va="center", color=INK, fontweight="bold")
        top = 0.27 + self.captions * CAPTION_LINE
        for number, caption in enumerate(look.captions[: self.captions]):
            text, size = fitted(caption, self.width - 0.5, 12)
            y = top - number * CAPTION_LINE
            axes.text(self.width / 2, y, text, ha="center", va="center", fontsize=size, color=INK)
        self._draw_legend(axes, grown=look.before is not None)

    def _draw_legend(self, axes: Any, *, grown: bool) -> None:
        more = word("pictures.grown") if grown else word("pictures.positive")
        less = word("pictures.shrunk") if grown else word("pictures.negative")
        rows = [(POSITIVE, "solid", more), (NEGATIVE, "solid", less), (UNWEIGHTED, DASHES, word("pictures.unweighted"))]
        step = min(1.75, (self.width - 0.4) / len(rows))
        x = 0.25
        for colour, style, text in rows:
            if colour not in self.colours:
                continue
            axes.plot([x, x + 0.28], [0.2, 0.2], color=colour, linestyle=style, linewidth=2)
            axes.text(x + 0.35, 0.2, text, fontsize=8.5, va="center", color=INK)
            x += step


def line_colour(weight: float | None) -> str:
    """Blue for a positive weight, orange for a negative one, grey for 0."""
    if weight is None or weight == 0:
        return FAINT
    return POSITIVE if weight > 0 else NEGATIVE


def line_width(weight: float | None, largest: float) -> float:
    """Points: in proportion to the weight's size beside the largest of its kind."""
    if weight is None or largest == 0 or not math.isfinite(weight):
        return 2 * THINNEST
    return THINNEST + (THICKEST - THINNEST) * abs(weight) / largest


def neuron_colour(number: float, largest: float) -> Any:
    """A light tint of orange or blue, by the number's sign and its size beside the layer's largest."""
    if largest == 0 or not math.isfinite(number):
        return "white"
    return diverging()(0.5 + 0.5 * TINT * number / largest)


def count_text(layer: Layer) -> str:
    size = " × ".join(map(str, layer.shape))
    if layer.is_input:
        return word("pictures.inputs", count=size) if layer.count > 1 else word("pictures.one_input_neuron")
    return word("pictures.neurons", count=size) if layer.count > 1 else word("pictures.one_neuron")


def _where(layer: Layer, place: int) -> tuple[int, ...]:
    """The indices of a neuron of a layer, by its number."""
    return tuple(int(n) for n in np.unravel_index(place, layer.shape)) if layer.shape else ()


def _distance(point: Point, start: Point, end: Point) -> float:
    """Of a point from the line between two others."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    return abs(dy * (point[0] - start[0]) - dx * (point[1] - start[1])) / math.hypot(dx, dy)


def _arc(start: Point, end: Point, summit: float) -> list[Point]:
    """A cubic curve that reaches the height `summit` in its middle, as short straight pieces."""
    # At s = 1/2 the curve is (start + end)/8 + 3/4 of the control points' height.
    control = (summit - (start[1] + end[1]) / 8) / 0.75
    s = np.linspace(0, 1, 25)
    third = 0.12 * (end[0] - start[0])  # steep at both ends, so that it stays clear of what it goes around
    x = (1 - s) ** 3 * start[0] + 3 * s * (1 - s) ** 2 * (start[0] + third) + 3 * s**2 * (1 - s) * (end[0] - third)
    y = (1 - s) ** 3 * start[1] + 3 * s * (1 - s) * control + s**3 * end[1]
    return list(zip((x + s**3 * end[0]).tolist(), y.tolist(), strict=True))
