"""Symbolic tensors, the layers between them, and the base of all layers.

`Input(shape)` gives a tensor, `layer(tensor)` another: a node of the graph. Shapes are checked here, at the call; the
formulas are written when a model is made of the graph (assemble.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.checks import is_whole
from chainrule.errors import SettingError
from chainrule.interfaces.keras.config import DTYPES, Configured, auto_name, floatx, no_argument, refuse
from chainrule.messages import say

Shape = tuple[int | None, ...]
COMMON = ("name", "trainable", "dtype", "input_shape")  # arguments of every layer
# fit trains and predict predicts: a single call cannot choose.
CALL: Mapping[str, object] = {"training": False, "mask": None}


class KerasTensor:
    """What a layer will compute: a shape whose first axis are the samples, and the node that it comes from."""

    def __init__(self, shape: Shape, dtype: str, node: Node | None = None, name: str = ""):
        self.shape, self.dtype, self.node, self.name = shape, dtype, node, name
        self.layer: Any = None  # of an input: what a summary shows of it

    @property
    def own_shape(self) -> tuple[int, ...]:
        """Without the sample axis."""
        return tuple(int(s) for s in self.shape[1:] if s is not None)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def _with(self, other: object, kind: str, scale: float = 1.0, offset: float = 0.0) -> Any:
        from chainrule.interfaces.keras import layers, merging

        if isinstance(other, KerasTensor):
            return getattr(merging, kind)()([self, other])
        if isinstance(other, int | float | np.number):
            return layers.Rescaling(scale, offset)(self)
        return NotImplemented

    def __add__(self, other: Any) -> Any:
        return self._with(other, "Add", offset=_number(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._with(other, "Subtract", offset=-_number(other))

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, "–", scale=-1.0, offset=_number(other))

    def __neg__(self) -> Any:
        return self._with(0, "–", scale=-1.0)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, "Multiply", scale=_number(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self._with(other, "–", scale=1 / _number(other)) if _number(other) else NotImplemented


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float | np.number) else 0.0


@dataclass(eq=False)
class Node:
    """One call of a layer."""

    layer: Layer
    inputs: tuple[KerasTensor, ...]
    output: KerasTensor
    of: object = None  # the Sequential that made the call, and makes it anew when it grows


class Variable:
    """A layer's weight: its numbers in Keras's shape. `version` counts how often they were set."""

    def __init__(self, name: str, shape: tuple[int, ...], trainable: bool):
        self.name, self.shape, self.trainable = name, shape, trainable
        self.value: np.ndarray[Any, Any] | None = None
        self.version = 0

    def set(self, value: object, layer: str) -> None:
        """Raises: SettingError for another shape."""
        array = np.asarray(value)
        if array.shape != self.shape:
            raise SettingError(say("keras.weight_shape", layer=layer, came=array.shape, wanted=self.shape))
        self.value = np.array(array, dtype=np.float64 if array.dtype.kind != "f" else array.dtype)
        self.version += 1

    def assign(self, value: object) -> None:
        """Set the numbers. Raises: SettingError for another shape."""
        self.set(value, self.name)

    def numpy(self) -> np.ndarray[Any, Any]:
        """The numbers, as a copy."""
        assert self.value is not None
        return self.value.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __repr__(self) -> str:
        return f"<Variable {self.name}, shape={self.shape}>"


class Layer(Configured):
    """The base of all layers. `formula` shows what it computes, x its input and y its output.

    Layers of one's own are formulas: `layers.Formula("y[j] = …")`.
    """

    takes_several = False

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: str | None = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ):
        from chainrule.interfaces.keras.regularizers import get

        self.name = name if name is not None else auto_name(type(self).__name__)
        self.trainable = trainable
        if dtype is not None and "float" in str(dtype) and dtype not in DTYPES:
            raise SettingError(say("training.choice", name="dtype", came=dtype, wanted=", ".join(map(repr, DTYPES))))
        self.dtype = dtype if dtype is not None else floatx()
        self.activity_regularizer = get(activity_regularizer)
        self.given_shape = _given_shape(type(self), kwargs)
        self.nodes: list[Node] = []
        self.variables: dict[str, Variable] = {}
        self.written: str | None = None  # the lines of its first model's text
        self.models: list[Any] = []  # that hold its weights

    # for each kind of layer

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(None, 784) → (None, 512); without the sample axis inside."""
        raise SettingError(say("keras.subclass_layer", name=type(self).__name__))

    def check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raises: SettingError for inputs that do not fit."""

    def form(self, shapes: Sequence[tuple[int, ...]]) -> Any:
        """The layer's text for inputs of these shapes (writer.Form), or None where it is only another view."""
        raise SettingError(say("keras.subclass_layer", name=type(self).__name__))

    # calling

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """A symbolic tensor behind `inputs`; of arrays, the numbers. Raises: SettingError, also for training=True."""
        refuse(self.name, CALL, kwargs)
        several = list(inputs) if isinstance(inputs, list | tuple) and not _is_numbers(inputs) else [inputs]
        if not all(isinstance(one, KerasTensor) for one in several):
            return self._of_arrays(several)
        if len(several) > 1 and not self.takes_several:
            raise SettingError(say("keras.one_input_only", layer=self.name, came=len(several)))
        shapes = [one.own_shape for one in several]
        self.check(shapes)
        whole = [(None, *shape) for shape in shapes]
        shape = self.compute_output_shape(whole if self.takes_several else whole[0])
        node = Node(self, tuple(several), KerasTensor(tuple(shape), self.dtype, name=self.name))
        node.output.node = node
        self.nodes.append(node)
        return node.output

    def _of_arrays(self, arrays: list[Any]) -> Any:
        from chainrule.interfaces.keras.models import Input, Model

        numbers = [np.asarray(a) for a in arrays]
        tensors = [Input(a.shape[1:], dtype=str(a.dtype)) for a in numbers]
        mark = len(self.nodes)
        model = Model(tensors, self(tensors if len(tensors) > 1 else tensors[0]))
        result = model.predict(numbers if len(numbers) > 1 else numbers[0])
        del self.nodes[mark:]
        return result

    # what it holds

    @property
    def formula(self) -> str:
        """The layer as formulas: in its model's names once a model was made, else in x and y."""
        if self.written is not None:
            return self.written
        shapes = [t.own_shape for t in self.nodes[0].inputs] if self.nodes else [self.given_shape or (2,)]
        form = self.form(shapes)
        return form.text if form is not None else ""

    @property
    def built(self) -> bool:
        return bool(self.models) or (bool(self.nodes) and not self.variables)

    @property
    def weights(self) -> list[Variable]:
        """All weights in Keras's order: first those that are trained."""
        self._fresh()
        found = list(self.variables.values())
        return [v for v in found if v.trainable] + [v for v in found if not v.trainable]

    @property
    def trainable_weights(self) -> list[Variable]:
        return [v for v in self.weights if v.trainable] if self.trainable else []

    trainable_variables = trainable_weights

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return [v for v in self.weights if not (v.trainable and self.trainable)]

    def weight(self, name: str) -> Variable | None:
        """The weight of this name, such as "kernel"; None where the layer has none. Raises: SettingError before it is
        built."""
        if not self.weights:
            raise SettingError(say("keras.no_weights_yet", layer=self.name, name=name))
        return next((v for v in self.weights if v.name == name), None)

    def _fresh(self) -> None:
        for model in self.models:
            model.synchronize()
        if self.models and any(v.value is None for v in self.variables.values()):
            _ = self.models[0].network  # draws the first numbers

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """The weights as arrays in Keras's shapes: kernel, bias, …"""
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Sequence[object]) -> None:
        """Set them all. Raises: SettingError for another number or another shape."""
        own = self.weights
        if len(weights) != len(own):
            raise SettingError(say("keras.weight_count", layer=self.name, came=len(weights), wanted=len(own)))
        for variable, value in zip(own, weights, strict=True):
            variable.set(value, self.name)

    def count_params(self) -> int:
        """How many numbers they are."""
        return sum(math.prod(v.shape) for v in self.weights)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make such a layer, its name with them."""
        return {**super().get_config(), "name": self.name, "trainable": self.trainable, "dtype": self.dtype}

    @property
    def input(self) -> Any:
        """What it was called on."""
        node = self._only_node()
        return node.inputs[0] if len(node.inputs) == 1 else list(node.inputs)

    @property
    def output(self) -> KerasTensor:
        """What it gives there."""
        return self._only_node().output

    def _only_node(self) -> Node:
        if not self.nodes:
            raise SettingError(say("keras.not_called", layer=self.name))
        return self.nodes[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def named_weight(name: str) -> Any:
    """A property of a layer: its weight of that name."""

    def weight(layer: Layer) -> Variable | None:
        return layer.weight(name)

    return property(weight, doc=f"The weight {name}: numpy() gives its numbers, assign(…) sets them.")


def _is_numbers(value: Any) -> bool:
    return bool(value) and all(isinstance(v, int | float) for v in value)


def _given_shape(kind: type[Layer], kwargs: Mapping[str, Any]) -> tuple[int, ...] | None:
    """input_shape, input_dim, batch_input_shape: what a first layer may say. Raises: SettingError for other names."""
    left = dict(kwargs)
    shape = left.pop("input_shape", None)
    batch = left.pop("batch_input_shape", left.pop("batch_shape", None))
    width = left.pop("input_dim", None)
    length = left.pop("input_length", None)
    if left:
        raise no_argument(kind, next(iter(left)), COMMON)
    if shape is None and batch is not None:
        shape = batch[1:]
    if shape is None and width is not None:
        shape = (width,)
    if shape is None and length is not None:
        shape = (length,)
    return None if shape is None else shape_of(shape, kind.__name__)


def shape_of(shape: Any, what: str) -> tuple[int, ...]:
    """A shape without the sample axis. Raises: SettingError for sizes that are not known numbers."""
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if not all(is_whole(s) and s >= 1 for s in sizes):
        raise SettingError(say("keras.bad_shape", layer=what, came=shape))
    return tuple(int(s) for s in sizes)


def nodes_before(outputs: Sequence[KerasTensor], inputs: Sequence[KerasTensor]) -> list[Node]:
    """All nodes between inputs and outputs, each after those that it needs.

    Raises: SettingError where an output needs a tensor that is none of the inputs.
    """
    known = {id(t) for t in inputs}
    done: dict[int, Node] = {}
    pending: list[tuple[KerasTensor, bool]] = [(t, False) for t in reversed(outputs)]
    while pending:
        tensor, ready = pending.pop()
        if id(tensor) in known:
            continue
        node = tensor.node
        if node is None:
            raise SettingError(say("keras.not_connected", name=tensor.name or "–"))
        if id(node) in done:
            continue
        if ready:
            done[id(node)] = node
        else:
            pending.append((tensor, True))
            pending += [(t, False) for t in reversed(node.inputs)]
    return list(done.values())


def flat(value: Any) -> Iterator[Any]:
    """Lists of lists, and dictionaries, as one row."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from flat(item)
    else:
        yield value
