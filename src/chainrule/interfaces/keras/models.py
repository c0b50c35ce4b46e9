"""Models: a graph of layers, which is one network of formulas.

>>> from chainrule import layers, utils
>>> utils.clear_session()
>>> model = Sequential([Input((784,)), layers.Dense(32, "relu"), layers.Dense(10, "softmax")])
>>> print(model.formulas)
size i = 784, j1 = 32, k = 10
input x[i]
<BLANKLINE>
# dense (Dense)
parameter W1[i, j1] = glorot_uniform
parameter b1[j1] = zeros
h1[j1] = relu(sum[i](x[i]*W1[i, j1]) + b1[j1])
# dense_1 (Dense)
parameter W2[j1, k] = glorot_uniform
parameter b2[k] = zeros
p[k] = softmax[k](sum[j1](h1[j1]*W2[j1, k]) + b2[k])
<BLANKLINE>
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.interfaces.keras.assemble import Assembled, assemble, split, taken
from chainrule.interfaces.keras.config import auto_name, floatx, next_seed, refuse
from chainrule.interfaces.keras.graph import KerasTensor, Layer, Variable, flat, nodes_before, shape_of
from chainrule.interfaces.keras.layers import InputLayer
from chainrule.interfaces.keras.row_layer import RowLayer
from chainrule.interfaces.keras.trainer import Trainer
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.derivation.adjoint import Derivation
    from chainrule.training.explain import Explanation
    from chainrule.training.network import Network

Array = np.ndarray[Any, Any]


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
) -> KerasTensor:
    """A symbolic input of this shape, the sample axis left out. SciPy's sparse tables go in without being asked."""
    layer = InputLayer(
        shape, dtype=dtype, batch_shape=batch_shape, ragged=ragged, input_tensor=tensor, optional=optional, name=name
    )
    assert layer.given_shape is not None
    found = KerasTensor((None, *layer.given_shape), dtype or floatx(), None, layer.name)
    found.layer = layer
    return found


class Model(Trainer):
    """From inputs to outputs through layers: Model(inputs, outputs, name="…").

    `formulas` is the whole as one text, `network` the chainrule Network of it, `derivation` its backward pass.
    Raises: SettingError where an output does not come from the inputs, or a layer cannot stand where it stands.
    """

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None, trainable: bool = True):
        super().__init__()
        self.name = (
            name if name is not None else auto_name("functional" if type(self) is Model else type(self).__name__)
        )
        self._trainable = trainable
        self._seed = next_seed()
        self._network: Network | None = None
        self._parts: Assembled | None = None
        self._frozen_at: tuple[bool, ...] = ()
        self._seen: dict[int, int] = {}
        self._changes = -1
        if not isinstance(self, Sequential):
            if type(self) is not Model and inputs is None:
                raise SettingError(say("keras.subclass", name=type(self).__name__))
            if inputs is None or outputs is None:
                raise SettingError(say("keras.model_arguments"))
            self._connect(inputs, outputs)
            if not trainable:
                self.trainable = False

    @property
    def trainable(self) -> bool:
        """Whether its weights are trained. Setting it sets all its layers, wherever else they stand."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.layers:
            layer.trainable = self._trainable

    def _connect(self, inputs: Any, outputs: Any) -> None:
        self._given_inputs, self._given_outputs = inputs, outputs
        self.inputs: list[KerasTensor] = list(flat(inputs))
        self.outputs: list[KerasTensor] = list(flat(outputs))
        for tensor in (*self.inputs, *self.outputs):
            if not isinstance(tensor, KerasTensor):
                raise SettingError(say("keras.not_symbolic", came=type(tensor).__name__))
        for tensor in self.inputs:
            if tensor.node is not None:
                # A model may begin inside another: its input is then a tensor of its own.
                tensor.name = tensor.name or tensor.node.layer.name
        self._nodes = nodes_before(self.outputs, self.inputs)
        self._parts = self._network = None
        self._assembled()

    # what it is made of

    @property
    def layers(self) -> list[Any]:
        """Its layers, in the order in which data pass them; of a functional model the inputs too."""
        found: dict[int, Any] = {}
        if not isinstance(self, Sequential):
            found = {id(t): _input_layer(t) for t in self.inputs}
        for node in self._nodes:
            found.setdefault(id(node.layer), node.layer)
        return list(found.values())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """A layer by name or by place. Raises: SettingError for one that is not there."""
        own = self.layers
        if index is not None:
            if not -len(own) <= index < len(own):
                raise SettingError(say("keras.no_layer", name=index, known=", ".join(x.name for x in own)))
            return own[index]
        for layer in own:
            if layer.name == name:
                return layer
        raise SettingError(say("keras.no_layer", name=name, known=", ".join(x.name for x in own)))

    @property
    def input_shape(self) -> Any:
        shapes = [t.shape for t in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        shapes = [t.shape for t in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that give the outputs."""
        return [result.layer for result in self._assembled().outputs]

    @property
    def input(self) -> Any:
        return self._given_inputs

    @property
    def output(self) -> Any:
        return self._given_outputs

    @property
    def built(self) -> bool:
        return self._parts is not None

    # formulas

    def _assembled(self) -> Assembled:
        """The formulas of its layers, anew where a layer was frozen or thawed since."""
        frozen = (self.trainable, *(node.layer.trainable for node in self._nodes))
        if self._parts is None or frozen != self._frozen_at:
            self.synchronize()
            called = list(self._given_outputs) if isinstance(self._given_outputs, Mapping) else []
            self._parts = assemble(self.inputs, self.outputs, self._nodes, called)
            self._frozen_at = frozen
            self._network = None
            for layer, role, weight in self._parts.weights:
                if role not in layer.variables:
                    names = layer.keras_names if isinstance(layer, RowLayer) else {}
                    layer.variables[role] = Variable(names.get(role, role), weight.shape, weight.role == "parameter")
                if not any(model is self for model in layer.models):
                    layer.models.append(self)
        return self._parts

    @property
    def formulas(self) -> str:
        """The whole model as one text; with its loss once it is compiled."""
        return self._text()

    @property
    def network(self) -> Network:
        """The model as a chainrule Network, with its weights: what can be derived, explained, checked and saved."""
        parts = self._assembled()
        if self._network is None:
            from chainrule.training.formats.onnx_file import OUTPUTS_NOTE
            from chainrule.training.network import formula

            double = any(getattr(node.layer, "dtype", "") == "float64" for node in self._nodes) or floatx() == "float64"
            self._network = formula(self._text(), dtype="float64" if double else "float32", seed=self._seed)
            if len(parts.outputs) > 1:
                self._network.notes[OUTPUTS_NOTE] = [result.name for result in parts.outputs]
            self._changes = -1
            self._load(parts)
        self.synchronize()
        return self._network

    def _load(self, parts: Assembled) -> None:
        """Variables that have numbers go into the new network, the others come from it."""
        net = self._network
        assert net is not None
        first = net.kept
        for layer, role, weight in parts.weights:
            variable = layer.variables[role]
            given = getattr(layer, "given", {}).get(role)
            if variable.value is None and isinstance(given, np.ndarray):
                variable.set(np.broadcast_to(given, variable.shape), layer.name)
            ready = getattr(layer, "first_weights", None)
            if variable.value is None and ready is not None:
                variable.set(ready[0], layer.name)
            if variable.value is None:
                variable.set(taken(weight, first), layer.name)
        self._push(parts, everything=True)

    @property
    def derivation(self) -> Derivation:
        """The backward pass, derived through all layers. Raises: FormulaError before compile said the loss."""
        return self.network.derivation

    def explain(self, x: Any, y: Any = None, **options: Any) -> Explanation:
        """The derivation with numbers in it: those of the first sample of x, y, or of `sample=`, of one `weight=`."""
        return self.network.explain(self._arrays(x, y), **options)

    def check_gradients(self, x: Any, y: Any, **options: Any) -> Any:
        """The derived gradients beside numerical differentiation."""
        return self.network.check_gradients(self._arrays(x, y), **options)

    # weights

    def synchronize(self) -> None:
        """Bring the layers' weights and the network's together: who changed last is right."""
        net = self._network
        if net is None or self._parts is None:
            return
        if net.changes != self._changes:
            kept = net.kept
            for layer, role, weight in self._parts.weights:
                variable = layer.variables[role]
                variable.value = taken(weight, kept)
                variable.version += 1
                self._seen[id(variable)] = variable.version
            self._changes = net.changes
        else:
            self._push(self._parts)

    def _push(self, parts: Assembled, everything: bool = False) -> None:
        net = self._network
        assert net is not None
        arrays: dict[str, Array] = {}
        for layer, role, weight in parts.weights:
            variable = layer.variables[role]
            if everything or self._seen.get(id(variable)) != variable.version:
                assert variable.value is not None
                shapes = {name: net.kept[name].shape for name, _ in weight.parts}
                arrays |= {n: a.reshape(shapes[n]).astype(net.dtype) for n, a in split(weight, variable.value)}
                self._seen[id(variable)] = variable.version
        if arrays:
            net.keep(arrays)
            if self.training is not None:
                self.training.set_weights(arrays)
        self._changes = net.changes

    def _variables(self) -> list[tuple[Layer, Variable]]:
        _ = self.network
        found: dict[int, tuple[Layer, Variable]] = {}
        for layer in self.layers:
            for variable in layer.weights if layer.variables else ():
                found[id(variable)] = (layer, variable)
        return list(found.values())

    @property
    def weights(self) -> list[Variable]:
        """The weights of all layers, in their order."""
        return [variable for _, variable in self._variables()]

    variables = weights

    @property
    def trainable_weights(self) -> list[Variable]:
        if not self.trainable:
            return []
        return [v for layer, v in self._variables() if layer.trainable and v.trainable]

    trainable_variables = trainable_weights

    @property
    def non_trainable_weights(self) -> list[Variable]:
        trained = {id(v) for v in self.trainable_weights}
        return [v for v in self.weights if id(v) not in trained]

    def get_weights(self) -> list[Array]:
        """All weights as arrays in Keras's shapes."""
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Sequence[object]) -> None:
        """Set them all. Raises: SettingError for another number or another shape."""
        own = self._variables()
        if len(weights) != len(own):
            raise SettingError(say("keras.weight_count", layer=self.name, came=len(weights), wanted=len(own)))
        for (layer, variable), value in zip(own, weights, strict=True):
            variable.set(value, layer.name)
        self.synchronize()

    def count_params(self) -> int:
        """How many numbers the weights are."""
        return sum(math.prod(v.shape) for v in self.weights)

    # calling

    def __call__(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        """On symbolic tensors: the same layers behind them, weights shared. On arrays: what the model gives."""
        refuse(self.name, {"training": False}, {"training": bool(training)})
        given = list(flat(inputs)) if isinstance(inputs, list | tuple | dict) else [inputs]
        if not all(isinstance(t, KerasTensor) for t in given):
            return self.predict_on_batch(inputs)
        if len(given) != len(self.inputs):
            raise SettingError(say("keras.input_count", layer=self.name, came=len(given), wanted=len(self.inputs)))
        known = {id(own): new for own, new in zip(self.inputs, given, strict=True)}
        for node in self._nodes:
            several = [known[id(t)] for t in node.inputs]
            known[id(node.output)] = node.layer(several if node.layer.takes_several else several[0])
        results = [known[id(t)] for t in self.outputs]
        return results[0] if len(results) == 1 else results

    # keeping

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Print the layers, the shapes of what they give, and how many weights they have."""
        from chainrule.interfaces.keras.summary import summary

        summary(self, line_length, print_fn, show_trainable)

    def save(self, filepath: str | Path, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Write the model file: formulas and numbers, and the layers' arguments as data; never code.

        Raises: FileError; SettingError for a name that ends in .keras or .h5.
        """
        from chainrule.interfaces.keras.saving import save_model

        save_model(self, filepath, overwrite)

    def save_weights(self, filepath: str | Path, overwrite: bool = True, max_shard_size: Any = None) -> None:
        """Write the model file, from which load_weights takes the weights."""
        self.save(filepath, overwrite)

    def load_weights(self, filepath: str | Path, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Take the weights of a model file of the same formulas. Raises: ModelFileError, SettingError."""
        from chainrule.interfaces.keras.saving import load_weights

        load_weights(self, filepath)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


class Sequential(Model):
    """Layers one behind another: Sequential([…]), or model.add(layer)."""

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None):
        super().__init__(name=name, trainable=trainable)
        self._stack: list[Layer] = []
        self._shape: tuple[int, ...] | None = None
        self._start: KerasTensor | None = None
        for layer in layers or ():
            self._append(layer)
        self._rebuild()
        if not trainable:
            self.trainable = False

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """One more layer at the end. Raises: SettingError for what is no layer."""
        self._append(layer)
        self._rebuild()

    def pop(self, rebuild: bool = True) -> Any:
        """Take the last layer away."""
        layer = self._stack.pop()
        self._rebuild()
        return layer

    def _append(self, layer: Any) -> None:
        if isinstance(layer, KerasTensor) and layer.node is None:
            self._begin(layer)
            return
        if isinstance(layer, InputLayer):
            assert layer.given_shape is not None
            start = KerasTensor((None, *layer.given_shape), layer.input_dtype or floatx(), None, layer.name)
            start.layer = layer
            self._begin(start)
            return
        if isinstance(layer, Model):
            self._stack += [node.layer for node in layer._nodes]
            if self._start is None and len(self._stack) == len(layer._nodes):
                self._begin(KerasTensor(layer.inputs[0].shape, layer.inputs[0].dtype, None, layer.inputs[0].name))
            return
        if not isinstance(layer, Layer):
            raise SettingError(say("keras.no_such_layer", came=type(layer).__name__))
        if any(layer.name == other.name and layer is not other for other in self._stack):
            raise SettingError(say("keras.same_name", name=layer.name))
        self._stack.append(layer)
        if self._start is None and len(self._stack) == 1 and layer.given_shape is not None:
            self._begin(KerasTensor((None, *layer.given_shape), floatx(), None, f"{layer.name}_input"))

    def _begin(self, tensor: KerasTensor) -> None:
        if self._start is not None:
            raise SettingError(say("keras.second_input", name=tensor.name))
        self._start = tensor

    def build(self, input_shape: Any = None) -> None:
        """Give the shape of the input, the sample axis first as None, where no layer said it."""
        if self._start is None and input_shape is not None:
            shape = shape_of(tuple(input_shape)[1:], self.name)
            self._start = KerasTensor((None, *shape), floatx(), None, "input")
            self._rebuild()

    def _rebuild(self) -> None:
        if self._start is None or not self._stack:
            self._parts = self._network = None
            return
        self.synchronize()
        mine = {id(layer) for layer in self._stack}
        tensor = self._start
        for layer in self._stack:
            layer.nodes = [n for n in layer.nodes if n.of is not self] if id(layer) in mine else []
            tensor = layer(tensor)
            layer.nodes[-1].of = self
        self._connect(self._start, tensor)

    def _ready(self, x: Any) -> None:
        """Take the shape of the input from data."""
        if self._start is None:
            if not self._stack:
                raise SettingError(say("keras.no_layers"))
            shape = np.shape(x) if not hasattr(x, "shape") else x.shape
            self.build((None, *shape[1:]))

    def _assembled(self) -> Assembled:
        if self._start is None or not self._stack:
            raise SettingError(say("keras.not_built", name=self.name))
        return super()._assembled()

    @property
    def layers(self) -> list[Any]:
        return list(self._stack)


def _input_layer(tensor: KerasTensor) -> Any:
    return tensor.layer if tensor.layer is not None else InputLayer(tensor.own_shape, name=tensor.name or None)


def load_model(
    filepath: str | Path,
    custom_objects: Any = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Model:
    """A model from its file. Nothing in the file is run as code. Raises: ModelFileError."""
    from chainrule.interfaces.keras.saving import load_model as load

    return load(filepath, compile)


def clone_model(model: Model) -> Model:
    """The same layers with new weights."""
    from chainrule.interfaces.keras.saving import from_description, to_description

    return from_description(to_description(model), rename=True)
