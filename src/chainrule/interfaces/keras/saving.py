"""A model in its file: the network's formulas and numbers, and beside them the layers' arguments as plain data.

The layers are built again from a list of classes that this file knows; the formulas that they give must be those of the
file. Nothing is imported by a name from the file, and nothing in it is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainrule.errors import ChainruleError, FileError, ModelFileError, SettingError
from chainrule.interfaces.keras import (
    activations,
    constraints,
    initializers,
    layers,
    losses,
    merging,
    metrics,
    normalizing,
    optimizers,
    regularizers,
    schedules,
)
from chainrule.interfaces.keras.config import Configured, to_data
from chainrule.interfaces.keras.formula_layer import Formula
from chainrule.interfaces.keras.graph import KerasTensor, Layer
from chainrule.interfaces.keras.models import Input, Model, Sequential
from chainrule.messages import say

FOREIGN = (".keras", ".h5", ".hdf5", ".pb")
MAX_LAYERS = 10_000
ABSTRACT = ("Layer", "RowLayer", "Lambda")
LAYERS: Mapping[str, type[Layer]] = {
    **{
        name: kind
        for module in (layers, normalizing, merging)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Layer) and name not in ABSTRACT and not name.startswith("_")
    },
    "Formula": Formula,
}
KINDS: tuple[Mapping[str, type[Configured]], ...] = (
    initializers.KINDS,
    regularizers.KINDS,
    constraints.KINDS,
    schedules.KINDS,
    {"_Named": initializers._Named, "Activation": activations.Activation},
)


def save_model(model: Model, filepath: str | Path, overwrite: bool) -> None:
    """Write the file. Raises: FileError, SettingError."""
    path = Path(filepath)
    _own_name(path)
    if path.exists() and not overwrite:
        raise FileError(say("keras.exists", path=path))
    network = model.network
    network.notes = {**network.notes, "keras": to_description(model)}
    network.save(path)


def _own_name(path: Path) -> None:
    if path.suffix.lower() in FOREIGN:
        raise SettingError(say("keras.foreign_file", path=path, wanted=path.with_suffix(".safetensors").name))


def load_model(filepath: str | Path, compile: bool) -> Model:
    """Read it. Raises: ModelFileError, one line, for what is not as it should be."""
    from chainrule.training.save import load

    path = Path(filepath)
    _own_name(path)
    return model_of(path, load(path), compile)


def model_of(path: Path, network: Any, compile: bool) -> Model:
    """The model that a network's notes describe, with its weights. Raises: ModelFileError."""
    description = network.notes.get("keras")
    if not isinstance(description, dict):
        raise ModelFileError(say("keras.no_layers_in_file", path=path))
    try:
        model = from_description(description)
        if compile and isinstance(description.get("compile"), dict):
            _compile(model, description["compile"])
        elif isinstance(description.get("compile"), dict):
            _compile(model, description["compile"])
            wanted = model.formulas
            model = from_description(description)
            _same(path, wanted, network.formulas)
            _take(model, network)
            return model
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RecursionError,
    ) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ChainruleError) else type(error).__name__
        raise ModelFileError(say("keras.bad_layers", path=path, reason=reason)) from None
    _same(path, model.formulas, network.formulas)
    _take(model, network)
    return model


def _same(path: Path, own: str, said: str) -> None:
    def plain(text: str) -> list[str]:  # a layer that is built again may be called otherwise in a comment
        return [line for line in text.splitlines() if not line.startswith("#")]

    if plain(own) != plain(said):
        raise ModelFileError(say("keras.other_formulas", path=path))


def _take(model: Model, network: Any) -> None:
    own = model.network
    own.keep({name: array for name, array in network.kept.items() if name in own.kept})
    own.seed = network.seed
    model._seed = network.seed
    model.synchronize()


def load_weights(model: Model, filepath: str | Path) -> None:
    """The weights of a file whose parameters have the same names and shapes."""
    from chainrule.training.save import load

    path = Path(filepath)
    _own_name(path)
    network = load(path)
    own = model.network
    wanted = {t.name: own.kept[t.name].shape for t in own.system.of_role("parameter", "state")}
    came = {t.name: network.kept[t.name].shape for t in network.system.of_role("parameter", "state")}
    if wanted != came:
        raise ModelFileError(say("keras.other_formulas", path=path))
    own.keep({name: network.kept[name].astype(own.dtype) for name in wanted})
    model.synchronize()


# --- descriptions -----------------------------------------------------------------------------------------------------


def to_description(model: Model) -> dict[str, Any]:
    """The model as plain data: its layers, and who stands behind whom."""
    found: dict[str, Any] = {"name": model.name, "kind": "Sequential" if isinstance(model, Sequential) else "Model"}
    numbers = {id(t): n for n, t in enumerate(model.inputs)}
    found["inputs"] = [{"shape": list(t.own_shape), "dtype": t.dtype, "name": t.name} for t in model.inputs]
    kinds: dict[int, int] = {}
    found["layers"], found["nodes"] = [], []
    for node in model._nodes:
        if id(node.layer) not in kinds:
            kinds[id(node.layer)] = len(kinds)
            layer = {"class_name": type(node.layer).__name__, "config": to_data(node.layer.get_config())}
            found["layers"].append(layer)
        found["nodes"].append([kinds[id(node.layer)], [numbers[id(t)] for t in node.inputs]])
        numbers[id(node.output)] = len(numbers)
    found["outputs"] = [numbers[id(t)] for t in model.outputs]
    found["output_names"] = list(model.output) if isinstance(model.output, Mapping) else None
    if model.compiled:
        found["compile"] = {name: _portable(value) for name, value in model._compiled_with.items()}
    return found


def _portable(value: Any) -> Any:
    """Losses and metrics as their names or configurations."""
    if isinstance(value, Mapping):
        return {str(k): _portable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(v) for v in value]
    return to_data(value)


def from_description(data: Mapping[str, Any], rename: bool = False) -> Model:
    """The model again. Raises: SettingError, KeyError and their like for data that describe none."""
    if len(data["layers"]) > MAX_LAYERS or len(data["nodes"]) > MAX_LAYERS:
        raise SettingError(say("keras.too_many_layers", limit=MAX_LAYERS))
    tensors: list[KerasTensor] = [
        Input(tuple(one["shape"]), dtype=one["dtype"], name=one["name"]) for one in data["inputs"]
    ]
    count = len(tensors)
    made = [_layer(one, rename) for one in data["layers"]]
    if data["kind"] == "Sequential":
        return Sequential(
            [tensors[0], *(made[number] for number, _ in data["nodes"])], name=None if rename else data["name"]
        )
    for number, inputs in data["nodes"]:
        layer = made[number]
        before = [tensors[n] for n in inputs]
        tensors.append(layer(before if layer.takes_several else before[0]))
    several = [tensors[n] for n in data["outputs"]]
    outputs: Any = several if len(several) > 1 else several[0]
    if data["output_names"]:
        outputs = dict(zip(data["output_names"], several, strict=True))
    inputs = tensors[:count]
    return Model(inputs if count > 1 else inputs[0], outputs, name=None if rename else data["name"])


def _layer(data: Mapping[str, Any], rename: bool) -> Layer:
    kind = LAYERS.get(str(data["class_name"]))
    if kind is None:
        raise SettingError(say("keras.unknown", what="layer", came=data["class_name"], known=", ".join(sorted(LAYERS))))
    config = {name: _object(value) for name, value in data["config"].items()}
    if rename:
        config.pop("name", None)
    if kind is Formula:
        config["formula"] = f"{config['formula']}\n"  # a text, never the path of one: a file may not have others read
    layer = kind.from_config(config)
    assert isinstance(layer, Layer)
    return layer


def _object(value: Any) -> Any:
    """{"class_name", "config"} of a known class as its object; other data as they are."""
    if isinstance(value, Mapping) and set(value) == {"class_name", "config"}:
        for kinds in KINDS:
            if value["class_name"] in kinds:
                return kinds[value["class_name"]].from_config({k: _object(v) for k, v in value["config"].items()})
        raise SettingError(say("keras.unknown", what="object", came=value["class_name"], known="–"))
    if isinstance(value, list):
        return [_object(v) for v in value]
    return value


def _compile(model: Model, data: Mapping[str, Any]) -> None:
    optimizer = data["optimizer"]
    kind = optimizers.KINDS[optimizer["class_name"]]
    config = {name: _object(value) for name, value in optimizer["config"].items()}
    model.compile(
        kind.from_config(config),
        loss=_each(data["loss"], losses.get),
        loss_weights=data["loss_weights"],
        metrics=_each(data["metrics"], metrics.get),
        weighted_metrics=_each(data["weighted_metrics"], metrics.get),
    )


def _each(value: Any, get: Any) -> Any:
    if isinstance(value, Mapping) and set(value) != {"class_name", "config"}:
        return {k: _each(v, get) for k, v in value.items()}
    if isinstance(value, list):
        return [_each(v, get) for v in value]
    if isinstance(value, Mapping):
        return get(dict(value))
    return value
