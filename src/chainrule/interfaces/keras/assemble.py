"""A graph of layers → one formula text, and which of its quantities is which weight of which layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.formula.expressions import RESERVED
from chainrule.interfaces.keras.formula_layer import Formula
from chainrule.interfaces.keras.graph import KerasTensor, Layer, Node
from chainrule.interfaces.keras.layers import Embedding
from chainrule.interfaces.keras.merging import Concatenate
from chainrule.interfaces.keras.row_layer import RowLayer
from chainrule.interfaces.keras.views import Axis, Block, Group, Signal, names_of, regroup, sizes_of
from chainrule.interfaces.keras.writer import Form, Placed, Weight, Writer
from chainrule.library.layers import LAYERS
from chainrule.messages import say

LETTERS = {1: ("i",), 2: ("r", "c"), 3: ("r", "c", "q")}
Array = np.ndarray[Any, Any]
IDENTITY = Form("y[..., i] = x[..., i]")


@dataclass(frozen=True)
class Given:
    """An input of the model: its name in the formulas, its Keras shape, and the sizes of its indices."""

    name: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """An output of the model: its Keras name, its name in the formulas, and the indices of each of its axes."""

    layer: str
    name: str
    axes: tuple[tuple[str, ...], ...]
    shape: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass
class Assembled:
    """What a model is as formulas, but for its loss."""

    sizes: dict[str, int]
    declarations: list[str]
    body: list[str]
    inputs: list[Given]
    outputs: list[Result]
    weights: list[tuple[Layer, str, Weight]] = field(default_factory=list)
    penalties: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    tensors: set[str] = field(default_factory=set)

    def text(self, targets: Sequence[str] = (), loss: Sequence[str] = (), output: str | None = None) -> str:
        """The whole text. `targets` are their declarations, `loss` the equations of E, `output` what is predicted."""
        sizes = [f"{index} = {size}" for index, size in self.sizes.items()]
        lines = [f"size {', '.join(sizes)}"] if sizes else []
        lines += [*self.declarations, *targets]
        lines += [f"output {output}"] if output else []
        lines += ["", *self.body]
        lines += ["", *loss] if loss else []
        lines += self.limits if loss else []
        return "\n".join(lines) + "\n"


def assemble(
    inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor], nodes: Sequence[Node], names: Sequence[str] = ()
) -> Assembled:
    """Place every layer, then write them. `names` are the outputs', where they are not their layers'.

    Raises: SettingError for what formulas cannot say.
    """
    return _Assembly(inputs, outputs, nodes, names).made()


class _Assembly:
    def __init__(
        self,
        inputs: Sequence[KerasTensor],
        outputs: Sequence[KerasTensor],
        nodes: Sequence[Node],
        names: Sequence[str] = (),
    ):
        self.inputs, self.outputs, self.nodes = inputs, outputs, nodes
        self.names = names or [t.node.layer.name if t.node else t.name for t in outputs]
        self.writer = Writer()
        self.signals: dict[int, Signal] = {}
        self.first: dict[int, Placed] = {}  # of each layer
        self.order: list[tuple[Layer, Placed]] = []
        self.called = self._called()

    def made(self) -> Assembled:
        for tensor in self.inputs:
            self.signals[id(tensor)] = self._input(tensor)
        for node in self.nodes:
            self.signals[id(node.output)] = self._behind(node)
        results = [self._result(t, n) for n, t in enumerate(self.outputs)]
        writer = self.writer
        writer.settle()
        body: list[str] = []
        for layer, placed in self.order:
            lines = writer.lines_of(placed)
            body += [f"# {layer.name} ({type(layer).__name__})", *lines]
            if placed is self.first[id(layer)]:
                layer.written = "\n".join(lines)
        found = Assembled(
            writer.sizes(),
            [writer.input_line(n) for n in range(len(self.inputs))],
            body,
            [
                Given(block.name, t.own_shape, sizes_of(block.parts))
                for t, (block, _) in zip(self.inputs, writer.inputs, strict=True)
            ],
            [
                Result(layer, block.name, tuple(tuple(names_of(g)) for g in block.groups), shape, sizes_of(block.parts))
                for layer, block, shape in results
            ],
            tensors=set(writer.taken),
        )
        self._weights(found)
        return found

    # names

    def _called(self) -> dict[int, str]:
        """The names of what the model gives: p, or the layers' names where there are several."""
        found: dict[int, str] = {}
        for number, tensor in enumerate(self.outputs):
            node = self._base(tensor.node)
            if node is None or id(node) in found:
                continue
            name = "p" if len(self.outputs) == 1 else self.names[number]
            plain = re.fullmatch(r"[A-Za-z]\w*", name) and name not in {*RESERVED, *self.writer.taken, *LAYERS}
            found[id(node)] = name if name == "p" or plain else f"p{number + 1}"
        self.writer.taken |= set(found.values())
        return found

    def _base(self, node: Node | None) -> Node | None:
        """The layer whose numbers a view shows."""
        while node is not None and node.layer.form([t.own_shape for t in node.inputs]) is None:
            node = node.inputs[0].node if len(node.inputs) == 1 else None
        return node

    # placing

    def _input(self, tensor: KerasTensor) -> Signal:
        readers = [n.layer for n in self.nodes if tensor in n.inputs]
        tables = [layer for layer in readers if isinstance(layer, Embedding)]
        shape = tensor.own_shape
        if tables and len(tables) < len(readers):
            raise SettingError(say("keras.mixed_input", layer=tables[0].name))
        several = len(self.inputs) > 1
        if tables:
            name = self.writer.name("c", several)
            classes = min(layer.input_dim for layer in tables)
            return self.writer.new_input(name, shape, ["l"] * len(shape), classes)
        letters = LETTERS.get(len(shape), ("q",) * len(shape))
        return self.writer.new_input(self.writer.name("x", several), shape, letters, None)

    def _behind(self, node: Node) -> Signal:
        layer = node.layer
        inputs = [self.signals[id(t)] for t in node.inputs]
        shapes = [t.own_shape for t in node.inputs]
        if isinstance(layer, Concatenate):
            return self._joined(layer, inputs)
        form = layer.form(shapes)
        if form is None:
            return self._seen(layer, inputs[0], node.output.own_shape)
        assert isinstance(layer, RowLayer | Formula)
        if isinstance(layer, Embedding) and not any(t is i for t in node.inputs for i in self.inputs):
            raise SettingError(say("keras.embedding_input", layer=layer.name))
        final = id(node) in self.called
        sizes: dict[str, tuple[int, str] | Axis] = {
            index: (size, "k" if final and letter == "j" else letter)
            for index, (size, letter) in layer.new_indices(shapes).items()
        }
        if isinstance(layer, Embedding):
            sizes |= self._counted(node.inputs[0], layer)
        earlier = self.first.get(id(layer))
        called = self.called.get(id(node))
        signal = self.writer.place(layer.name, form, inputs, sizes, earlier, _initial(layer), called)
        placed = self.writer.placed[-1]
        self.first.setdefault(id(layer), placed)
        self.order.append((layer, placed))
        return signal

    def _counted(self, tensor: KerasTensor, layer: Embedding) -> dict[str, Axis]:
        """The index that the input counts, where the table has as many rows."""
        place = next(n for n, own in enumerate(self.inputs) if own is tensor)
        classes = self.writer.inputs[place][1]
        return {"v": classes} if classes is not None and classes.size == layer.input_dim else {}

    def _joined(self, layer: Layer, inputs: Sequence[Signal]) -> Signal:
        blocks = [block for signal in inputs for block in signal.blocks]
        for block in blocks[1:]:
            self.writer.alike.add(blocks[0].groups[:-1], block.groups[:-1], layer.name)
        return Signal(tuple(blocks))

    def _seen(self, layer: Layer, signal: Signal, shape: tuple[int, ...]) -> Signal:
        if signal.shape == shape:
            return signal
        if len(signal.blocks) > 1:
            raise SettingError(say("keras.over_concatenation", layer=layer.name))
        groups: tuple[Group, ...] = regroup(signal.one.parts, shape, layer.name)
        return Signal((Block(signal.one.name, groups),))

    def _result(self, tensor: KerasTensor, number: int) -> tuple[str, Block, tuple[int, ...]]:
        signal = self.signals[id(tensor)]
        name = self.names[number]
        if len(signal.blocks) > 1:
            raise SettingError(say("keras.concatenated_output", layer=name))
        if any(signal.one.name == block.name for block, _ in self.writer.inputs):
            called = "p" if len(self.outputs) == 1 else f"p{number + 1}"
            identity = Layer(name=name)
            form = IDENTITY if signal.one.groups else Form("y = x", "x[...]", "y[...]")
            signal = self.writer.place(name, form, [signal], {}, None, _initial(identity), called)
            self.first[id(identity)] = self.writer.placed[-1]
            self.order.append((identity, self.writer.placed[-1]))
        return name, signal.one, tensor.own_shape

    # weights

    def _weights(self, found: Assembled) -> None:
        for layer, placed in self.order:
            for block in placed.output.blocks:
                if layer.activity_regularizer is not None:
                    # The mean over the batch is a term without a sample: as in Keras, no sample weight touches it.
                    term = layer.activity_regularizer.term(block.name, names_of(block.parts), self.writer.samples)
                    found.penalties.append(f"mean[{self.writer.samples}]({term})")
            if placed is not self.first[id(layer)]:
                continue
            for role, weight in placed.weights.items():
                found.weights.append((layer, role, weight))
                self._rules(found, layer, placed, role)

    def _rules(self, found: Assembled, layer: Layer, placed: Placed, role: str) -> None:
        if not isinstance(layer, RowLayer):
            return
        penalty, limit = layer.penalties.get(role), layer.limits.get(role)
        elements = self.writer.elements_of(placed, role) if penalty or limit else []
        for name, slots in elements:
            indices = [i for slot in slots for i in slot]
            if penalty is not None and (term := penalty.term(name, indices)):
                found.penalties.append(term)
            if limit is None:
                continue
            axes = [] if limit.axis is None else np.atleast_1d(limit.axis).tolist()
            if len(elements) > 1 and placed.weights[role].joined in axes:
                raise SettingError(say("keras.over_concatenation", layer=layer.name))
            along = [i for axis in axes if -len(slots) <= axis < len(slots) for i in slots[axis]]
            found.limits.append(limit.line(name, indices, along))


def _initial(layer: Layer) -> Any:
    """How the weights of a layer start, as text."""
    initials: Mapping[str, Any] = getattr(layer, "initials", {})

    def initial(role: str, weight: Weight, said: str) -> str:
        rule = initials.get(role)
        if rule is None:
            return said
        if len(weight.parts) == 1:
            return str(rule.text)
        shape = weight.shape
        return str(rule.of_fans(shape[0], shape[-1] if len(shape) > 1 else shape[0]))

    return initial


def taken(weight: Weight, arrays: Mapping[str, Array]) -> Array:
    """A weight in Keras's shape from the network's arrays."""
    parts = [np.asarray(arrays[name]).reshape(shape) for name, shape in weight.parts]
    return np.array(parts[0]) if len(parts) == 1 else np.concatenate(parts, axis=weight.joined)


def split(weight: Weight, value: Array) -> list[tuple[str, Array]]:
    """The parts of a weight, by the names in the formulas."""
    if len(weight.parts) == 1:
        return [(weight.parts[0][0], value)]
    ends = np.cumsum([shape[weight.joined] for _, shape in weight.parts])[:-1]
    pieces = np.split(value, ends, axis=weight.joined)
    return [(name, piece) for (name, _), piece in zip(weight.parts, pieces, strict=True)]
