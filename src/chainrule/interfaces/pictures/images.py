"""Numbers as images: the weights of each hidden unit, the activations of each layer, what an autoencoder rebuilds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DataError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.interfaces.pictures.diagram import count_text
from chainrule.interfaces.pictures.graph import Graph, Layer
from chainrule.interfaces.pictures.look import check_sample, graph_of, shown_as_image
from chainrule.interfaces.pictures.mathtext import Formulas
from chainrule.interfaces.pictures.samples import bound, forward, image_of, listed, own_indices, rows_in
from chainrule.interfaces.plots import FAINT, INK, NEGATIVE, POSITIVE, diverging, fonts, new_figure, rising, word
from chainrule.messages import say
from chainrule.training.network import Network

UNITS = 40  # images of one weight tensor
PER_ROW = 10
BARS = 40  # more neurons than these are a strip of colours
SAMPLES = 200  # rows of a batch of activations
SHOWN = 10  # images that are rebuilt
PCA_ROWS = 5000  # images that are centred at a time: 31 MB of 28 × 28 in float64

Shape = tuple[int, int]


def weight_images(
    network: Network, weight: str | None = None, *, shape: Shape | None = None, units: int = UNITS
) -> Any:
    """The weights of each unit as an image of the input: blue positive, orange negative, one scale for all.

    Without `weight` it is the first that joins an image to units; `shape` (rows, columns) is guessed for squares.
    Raises: SettingError for a weight that is not there or is no image; ShapeError while a size is unknown.
    """
    arrays = network.parameters
    name = weight if weight is not None else _first_image_weight(network, arrays, shape)
    if name not in arrays:
        raise SettingError(say("pictures.no_weight", name=name, known=listed(list(arrays))))
    images = _as_images(network, name, arrays[name], shape)
    if isinstance(units, bool) or not isinstance(units, int) or not 1 <= units <= 1000:
        raise SettingError(say("pictures.limit", name="units", came=units, low=1, high=1000))
    with fonts():
        return _image_grid(network, name, images, min(units, len(images)))


def _first_image_weight(network: Network, arrays: dict[str, Array], shape: Shape | None) -> str:
    for name, array in arrays.items():
        if _image_axes(network, name, array, shape) is not None:
            return name
    sizes = listed([f"{name} {_times(array.shape)}" for name, array in arrays.items() if array.ndim])
    raise SettingError(say("pictures.no_image_weight", sizes=sizes))


def _as_images(network: Network, name: str, array: Array, shape: Shape | None) -> Array:
    """(units, rows, columns). Raises: SettingError where no side of the weight is an image."""
    found = _image_axes(network, name, array, shape)
    if found is None:
        wanted = _times(shape) if shape is not None else say("pictures.a_square")
        raise SettingError(say("pictures.not_an_image", name=name, came=_times(array.shape) or "1", wanted=wanted))
    axes, image = found
    others = [n for n in range(array.ndim) if n not in axes]
    return array.transpose([*others, *axes]).reshape(-1, *image)


def _image_axes(network: Network, name: str, array: Array, shape: Shape | None) -> tuple[tuple[int, ...], Shape] | None:
    """Which axes of a weight are pixels, and the image's shape; the axis of an input or output goes first."""
    if array.ndim == 0:
        return None
    system = network.system
    pixels = {own_indices(system, t.name) for t in system.of_role("input")}
    own = own_indices(system, name)
    for at in range(array.ndim - 1):
        if array.ndim > 2 and own[at : at + 2] in pixels and shape in (None, array.shape[at : at + 2]):
            return (at, at + 1), (array.shape[at], array.shape[at + 1])
    order = sorted(range(array.ndim), key=lambda at: (own[at],) not in pixels)
    for at in order:
        count = array.shape[at]
        image = shape if shape is not None else image_of(count)
        if image is None or math.prod(image) != count or min(image) < 1:
            continue
        # 16 hidden units are a square, too: without a shape only the pixels of an input are an image.
        if shape is not None or (own[at],) in pixels:
            return (at,), image
    return None


def _image_grid(network: Network, name: str, images: Array, shown: int) -> Any:
    columns = min(PER_ROW, shown)
    rows = -(-shown // columns)
    width = max(0.82 * columns, 3.4) + 1.0
    figure = new_figure(width, 0.82 * rows * images.shape[1] / max(images.shape[1:]) + 0.75)
    largest = float(np.nanmax(np.abs(images[:shown]))) or 1.0
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, panel in enumerate(axes.flat):
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_color("#d5d9e0")
        if place >= shown:
            panel.set_axis_off()
            continue
        drawn = panel.imshow(images[place], cmap=diverging(), vmin=-largest, vmax=largest, interpolation="nearest")
        panel.set_xlabel(str(place), fontsize=8, labelpad=1.5, color=INK)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.9, aspect=20, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    formula = Formulas.of(network.system).quantity(name)
    key = (formula, shown, len(images))
    title = word("pictures.weights_all", name=key[0], count=key[1]) if shown == len(images) else ""
    title = title or word("pictures.weights_some", name=key[0], count=key[1], all=key[2])
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


# --- activations ------------------------------------------------------------------------------------------------------


def activations(network: Network, x: object, *, sample: int | None = None) -> Any:
    """What every layer makes of the data: bars or a strip for one sample, samples × neurons for a batch.

    `sample` picks one of several samples. Raises: DataError, SettingError; FormulaError without an output.
    """
    arrays = bound(network, x)
    rows = rows_in(arrays)
    if sample is not None:
        check_sample(sample, rows)
    graph = graph_of(network)
    known = forward(network, graph.system, arrays)
    chosen = sample if sample is not None else 0 if rows == 1 else None
    with fonts():
        return _layer_panels(graph, known, chosen)


def _layer_panels(graph: Graph, known: dict[str, Array], sample: int | None) -> Any:
    layers = [layer for layer in graph.layers.values() if layer.name in known]
    heights = [1.5 if shown_as_image(layer) else 1.15 for layer in layers]
    heights = heights if sample is not None else [1.7] * len(layers)
    figure = new_figure(7.5, sum(heights) + 0.45 * len(layers) + 0.2)
    panels = figure.subplots(len(layers), 1, squeeze=False, height_ratios=heights)[:, 0]
    formulas = Formulas.of(graph.system)
    for layer, axes in zip(layers, panels, strict=True):
        values = known[layer.name]
        values = values.reshape(len(values), -1).astype(float)
        if sample is None:
            _batch_panel(figure, axes, values[:SAMPLES])
        else:
            _sample_panel(axes, layer, values[sample])
        axes.set_title(f"{formulas.quantity(layer.name)}   {count_text(layer)}", fontsize=10, loc="left", color=INK)
        axes.tick_params(labelsize=8)
    return figure


def _sample_panel(axes: Any, layer: Layer, values: Array) -> None:
    image = shown_as_image(layer)
    if image is not None:
        axes.imshow(values.reshape(image), cmap="gray_r", vmin=0, vmax=max(1.0, float(values.max())))
        axes.set_axis_off()
        axes.set_anchor("W")
        return
    if layer.count <= BARS:
        colours = [POSITIVE if v >= 0 else NEGATIVE for v in values]
        axes.bar(np.arange(layer.count), values, color=colours, width=0.75)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.set_xlim(-0.6, max(layer.count, 10) - 0.4)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        return
    _strip(axes, values[None, :])
    axes.set_yticks([])


def _batch_panel(figure: Any, axes: Any, values: Array) -> None:
    drawn = _strip(axes, values)
    axes.set_ylabel(word("pictures.sample"), fontsize=8)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.xaxis.get_major_locator().set_params(integer=True)
    bar = figure.colorbar(drawn, ax=axes, pad=0.01, aspect=12)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7)


def _strip(axes: Any, values: Array) -> Any:
    largest = float(np.nanmax(np.abs(values), initial=0)) or 1.0
    has_signs = bool(np.any(values < 0))
    scale = {"cmap": diverging() if has_signs else rising(), "vmin": -largest if has_signs else 0.0, "vmax": largest}
    return axes.imshow(values, aspect="auto", interpolation="nearest", **scale)


# --- autoencoders -----------------------------------------------------------------------------------------------------


def reconstructions(
    network: Network, x: object, *, pca: object = None, shape: Shape | None = None, count: int = SHOWN
) -> Any:
    """Images above what the network makes of them, and with `pca` what PCA does with as many components.

    `pca` are the images that the components are found from (those that the network was trained on), or True for x.
    The numbers are mean squared errors per pixel over all of x, pixels from 0 to 1.
    Raises: DataError where the output is no image of the input's size; SettingError for a shape that does not fit.
    """
    arrays = bound(network, x)
    originals, rebuilt, white = _pairs(network, arrays)
    image = shape or _square(originals.shape[1])
    if math.prod(image) != originals.shape[1]:
        raise SettingError(say("pictures.wrong_image_shape", came=_times(image), pixels=originals.shape[1]))
    rows = [(word("pictures.original"), originals), (_with_error("rebuilt", originals, rebuilt), rebuilt)]
    if pca is not None and pca is not False:
        source = originals if pca is True else next(iter(bound(network, pca).values())) / white
        components = min(layer.count for layer in graph_of(network).layers.values())
        again = pca_rebuilt(source, originals, components)
        rows.append((_with_error("pca", originals, again, components), again))
    with fonts():
        return _image_rows(rows, image, min(count, len(originals)))


def pca_rebuilt(source: Array, images: Array, components: int) -> Array:
    """The images (N, pixels) from their mean and the first principal components of `source`, one image a row."""
    pixels = images.shape[1]
    mean = source.reshape(len(source), pixels).mean(axis=0, dtype=np.float64)
    # The covariance's singular vectors are those of the centred data; it is (pixels, pixels), however many rows come.
    covariance = np.zeros((pixels, pixels))
    for start in range(0, len(source), PCA_ROWS):
        part = source[start : start + PCA_ROWS].reshape(-1, pixels) - mean
        covariance += part.T @ part
    basis = np.linalg.svd(covariance, hermitian=True)[0][:, :components]
    return np.asarray(mean + (images - mean) @ basis @ basis.T)


def _pairs(network: Network, arrays: dict[str, Array]) -> tuple[Array, Array, float]:
    """Originals and what became of them, from 0 to 1; and what 1 was."""
    rebuilt = network.predict(arrays)
    originals = _flat(arrays)
    rebuilt = rebuilt.reshape(len(rebuilt), -1).astype(float)
    if rebuilt.shape != originals.shape:
        name = str(network.system.output)
        raise DataError(say("pictures.not_rebuilt", name=name, came=rebuilt.shape[1], wanted=originals.shape[1]))
    # Bytes that the formulas themselves scale to 0-1: the output is on that scale already.
    white = 255.0 if originals.max(initial=0) > 1.5 and rebuilt.max(initial=0) <= 1.5 else 1.0
    return originals / white, rebuilt, white


def _flat(arrays: dict[str, Array]) -> Array:
    values = next(iter(arrays.values()))
    return values.reshape(len(values), -1).astype(float)


def _square(pixels: int) -> Shape:
    image = image_of(pixels)
    if image is None:
        raise SettingError(say("pictures.no_square", pixels=pixels))
    return image


def _with_error(kind: str, originals: Array, images: Array, components: int = 0) -> str:
    error = f"{float(np.mean((originals - images) ** 2)):.4f}"
    if kind == "pca":
        return word("pictures.pca", count=components, error=error)
    return word("pictures.rebuilt", error=error)


def _image_rows(rows: Sequence[tuple[str, Array]], image: Shape, count: int) -> Any:
    figure = new_figure(max(0.8 * count, 4.0), (0.8 * image[0] / max(image) + 0.26) * len(rows))
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    white = max(1.0, float(rows[0][1][:count].max(initial=0)))
    for part, (title, images) in zip(parts, rows, strict=True):
        part.suptitle(title, fontsize=9, x=0.01, ha="left", color=INK)
        for axes, pixels in zip(part.subplots(1, count, squeeze=False)[0], images, strict=False):
            axes.imshow(pixels.reshape(image), cmap="gray_r", vmin=0, vmax=white, interpolation="nearest")
            axes.set_axis_off()
    return figure
