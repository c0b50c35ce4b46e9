"""Weights → a safetensors file with the names and shapes that a PyTorch module loads.

A chain of dense layers has the names of nn.Sequential ("0.weight", (out, in)), or names that are chosen; any other
network keeps the names and shapes of its formulas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.messages import say
from chainrule.training.files import write_bytes
from chainrule.training.formats.modules import BATCH_NORM, LAYER_NORM, Module, Modules, modules_of
from chainrule.training.formats.placements import Placement, Placements

if TYPE_CHECKING:
    from chainrule.training.network import Network

Array = np.ndarray[Any, Any]
TORCH_EPSILON = 1e-5
MAX_NAME = 200
NAME = re.compile(r"[^\W\d]\w*(?:\.\w+)*|\d+(?:\.\w+)*")


def write_torch(network: Network, path: Path, names: object = None) -> Placements:
    """Write the weights of a network for PyTorch.

    `names` are the modules' names in their order, ["fc1", "fc2"], or a mapping {"W1": "fc1.weight"}.
    Raises: SettingError for names that do not fit; ShapeError while sizes are unknown; FileError.
    """
    from safetensors.numpy import save

    modules = modules_of(network)
    chosen = chosen_names(network, modules, names)
    arrays: dict[str, Array] = {}
    rows = []
    for tensor in network.system.of_role("parameter", "state"):
        array = network.kept[tensor.name]
        owner = modules.of(tensor.name) if tensor.name in chosen else None
        name = chosen.get(tensor.name, tensor.name)
        out = owner[0].outward(owner[1], tensor, array) if owner else array
        if name in arrays:
            raise SettingError(say("formats.name_twice", name=name))
        arrays[name] = np.array(out, order="C")
        turned = out.ndim == 2 and array.ndim == 2 and owner is not None and _is_turned(owner[0], tensor.indices)
        rows.append(Placement(tensor.name, array.shape, name, out.shape, turned))
    # One entry: safetensors writes several in an order of chance, and the same weights are to be the same bytes.
    write_bytes(path, save(arrays, {"format": "pt"}))
    return Placements(tuple(rows), tuple(notes_on(modules.found, chosen)))


def _is_turned(module: Module, indices: Sequence[str]) -> bool:
    return bool(module.summed) and tuple(indices) == (*module.summed, *module.free)


def notes_on(modules: Sequence[Module], chosen: Mapping[str, str] | None = None) -> list[str]:
    """What PyTorch's constructors have to be told, since weights do not say it."""
    notes = []
    for module in modules:
        if module.kind in (BATCH_NORM, LAYER_NORM) and module.epsilon != TORCH_EPSILON:
            first = next(iter(module.parts.values()))
            name = (chosen or {}).get(first, first).rpartition(".")[0] or first
            notes.append(say("formats.epsilon", name=name, epsilon=f"{module.epsilon:g}"))
    return notes


def chosen_names(network: Network, modules: Modules, names: object) -> dict[str, str]:
    """PyTorch's name for each tensor that has one. Raises: SettingError."""
    if isinstance(names, Mapping):
        return _by_tensor(network, names)
    given = [n.strip() for n in names.split(",")] if isinstance(names, str) else names
    if given is not None and not (isinstance(given, Sequence) and all(isinstance(n, str) for n in given)):
        raise SettingError(say("formats.names_kind", came=type(names).__name__))
    if given is None and not modules.chain:
        return {}
    if given is not None and len(given) != len(modules.found):
        kinds = ", ".join(m.kind for m in modules.found) or "–"
        raise SettingError(say("formats.names_count", came=len(given), wanted=len(modules.found), kinds=kinds))
    chosen: dict[str, str] = {}
    for number, module in enumerate(modules.found):
        prefix = str(module.place) if given is None else str(given[number])
        chosen |= {tensor: _checked(f"{prefix}.{role}") for role, tensor in module.parts.items()}
    return chosen


def _by_tensor(network: Network, names: Mapping[Any, Any]) -> dict[str, str]:
    known = [t.name for t in network.system.of_role("parameter", "state")]
    for tensor in names:
        if tensor not in known:
            raise SettingError(say("training.unknown_parameter", name=tensor, known=", ".join(known)))
    return {str(t): _checked(str(name)) for t, name in names.items()}


def _checked(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise SettingError(say("formats.bad_name", name=name))
    return name
