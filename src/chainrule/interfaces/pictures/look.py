"""What one picture of a network shows: which numbers stand in its neurons, what is lit, what is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from chainrule.data.checks import is_whole
from chainrule.errors import SettingError
from chainrule.formula.evaluate import Array
from chainrule.interfaces.pictures.graph import Graph, Layer, network_graph
from chainrule.interfaces.pictures.mathtext import short_number
from chainrule.interfaces.pictures.samples import forward, image_of, own_indices, rows_in
from chainrule.messages import say
from chainrule.training.network import Network

FEWEST_PIXELS = 49


@dataclass(frozen=True)
class Target:
    """What the neurons of a layer should be: the name of the target, None for a class number, and its numbers."""

    name: str | None
    numbers: Array


@dataclass(frozen=True)
class Look:
    """What one picture of a network shows.

    `numbers` stand in the neurons of a layer, under its label; None for `lit` and `joined` lights everything. Lines are
    the weights, or with `before` how much these have grown since.
    """

    numbers: Mapping[str, Array] = field(default_factory=dict)
    lit: frozenset[str] | None = None
    joined: frozenset[tuple[str, str]] | None = None
    weights: Mapping[str, Array] = field(default_factory=dict)
    before: Mapping[str, Array] | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    image: Array | None = None
    title: str = ""
    captions: tuple[str, ...] = ()
    loss: str = ""
    loss_lit: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    def is_lit(self, layer: str) -> bool:
        return self.lit is None or layer in self.lit


def graph_of(network: Network) -> Graph:
    """The network's layers. Raises: ShapeError while the size of an index is unknown."""
    _ = network.kept  # draws the weights, for which every size has to be known
    return network_graph(network.system, network.sizes, network.hyper)


def static_look(network: Network, graph: Graph, arrays: Mapping[str, Array], sample: int) -> Look:
    """Everything lit, with the numbers of one sample where data are given."""
    known = forward(network, graph.system, arrays) if arrays else dict(network.kept)
    if not arrays:
        return Look(weights=known)
    check_sample(sample, rows_in(arrays))
    loss = graph.system.loss
    return Look(
        numbers=layer_numbers(graph, known, sample),
        weights=known,
        targets=target_numbers(graph, arrays, sample),
        image=input_image(graph, known, sample),
        loss=loss_number(graph, known, sample) if loss is not None else "",
    )


def check_sample(sample: int, rows: int) -> None:
    """Raises: SettingError for a sample that is not there."""
    if not is_whole(sample) or not 0 <= sample < rows:
        raise SettingError(say("pictures.no_sample", came=sample, last=rows - 1))


def layer_numbers(graph: Graph, known: Mapping[str, Array], sample: int) -> dict[str, Array]:
    """The numbers of one sample in the neurons of every layer, flat."""
    return {name: known[name][sample].reshape(-1) for name in graph.layers if name in known}


def loss_number(graph: Graph, known: Mapping[str, Array], sample: int) -> str:
    assert graph.system.loss is not None
    value = known.get(graph.system.loss)
    return "" if value is None else short_number(value[sample] if value.ndim else value)


def target_numbers(graph: Graph, arrays: Mapping[str, Array], sample: int) -> dict[str, Target]:
    """What the neurons of the output should be, by the output's name."""
    system = graph.system
    assert system.output is not None
    own = own_indices(system, system.output)
    for tensor in system.of_role("target"):
        if tensor.name in arrays and own_indices(system, tensor.name) == own:
            return {system.output: Target(tensor.name, arrays[tensor.name][sample].reshape(-1))}
    for tensor in system.of_role("label"):
        if tensor.name in arrays and own == (tensor.classes,):
            classes = np.zeros(graph.layers[system.output].count)
            classes[int(arrays[tensor.name][sample])] = 1
            return {system.output: Target(None, classes)}
    return {}


def input_image(graph: Graph, known: Mapping[str, Array], sample: int) -> Array | None:
    """The sample as an image, where the only input is a square one that is too large for its neurons to show."""
    layer = _image_layer(graph)
    shape = shown_as_image(layer) if layer is not None else None
    return known[layer.name][sample].reshape(shape) if layer and shape and layer.name in known else None


def _image_layer(graph: Graph) -> Layer | None:
    inputs = [layer for layer in graph.layers.values() if layer.is_input]
    return inputs[0] if len(inputs) == 1 and shown_as_image(inputs[0]) else None


def shown_as_image(layer: Layer) -> tuple[int, int] | None:
    """(rows, columns) of an input that is an image; a square of fewer pixels may be a table's columns as well."""
    return image_of(layer.count) if layer.is_input and layer.count >= FEWEST_PIXELS else None
