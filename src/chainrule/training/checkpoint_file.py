"""The checkpoint's file: all that a training needs to go on as if it had never been interrupted.

A container (container.py) with the formulas, one JSON text, and arrays:

    weights/W1          parameters, states and the update rule's states
    history/0, …        what each epoch logged, one column an array
    callbacks/0, …      arrays and long lists out of a callback's state_dict()

Random quantities and the orders of epochs come from counter-based generators keyed by seed, epoch and step: the
position is all of their state.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import CheckpointError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.messages import say
from chainrule.training.container import Kind, bad, open_container, pack
from chainrule.training.files import write_bytes
from chainrule.training.safetensors_header import ITEM_BYTES
from chainrule.training.strict_json import read_json
from chainrule.training.versions import versions

KIND = Kind(
    "checkpoint",
    "1",
    required=("formulas", "state"),
    dtypes=tuple(ITEM_BYTES),  # a callback may count in any of them
    error=CheckpointError,
    finite=False,  # a metric may be NaN
)
WEIGHTS, HISTORY, CALLBACKS = "weights/", "history/", "callbacks/"
# What JSON has no word for is an object of one such name.
ARRAY, LIST, STACK, TUPLE, PAIRS, WHOLE, STRANGE = "array", "list", "stack", "tuple", "pairs", "whole", "not finite"
MARKS = {ARRAY, LIST, STACK, TUPLE, PAIRS, WHOLE, STRANGE}
SHORT = 32  # a longer list of numbers is an array: as a text, 100,000 epochs would be too long for a header
KINDS = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,)}  # of arrays, with their bytes a number


@dataclass(frozen=True)
class Position:
    """Where a training stands: `steps` of epoch number `epoch` (from 0) are done, with these sums over `samples` rows.

    `done` counts this training's steps, `before` those that the network had before it, `shift` what is added to the
    epochs' numbers for their orders, `epochs` those of the network; `rate` is a learning rate that a callback set.
    `begun`: the callbacks know that this epoch has begun; a signal may have come before its first step.
    """

    epoch: int = 0
    steps: int = 0
    samples: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    done: int = 0
    before: int = 0
    shift: int = 0
    epochs: int = 0
    begun: bool = False
    stopped: bool = False
    rate: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A training at one moment. `settings` are what must be the same for it to go on, by name, as texts."""

    formulas: str
    settings: Mapping[str, str]
    position: Position
    weights: Mapping[str, Array]
    history: Sequence[tuple[int, Mapping[str, Any]]] = ()
    callbacks: Sequence[Mapping[str, Any]] = ()
    made_by: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside, fsync, rename, fsync the folder.

    Raises: FileError; SettingError for what a callback has or logs that has no form in a file.
    """
    arrays = {WEIGHTS + n: a for n, a in checkpoint.weights.items()}
    state = {
        "settings": dict(checkpoint.settings),
        "position": _written(asdict(checkpoint.position), "", arrays),
        "callbacks": _states(checkpoint.callbacks, arrays),
        "epochs": _written([epoch for epoch, _ in checkpoint.history], HISTORY, arrays),
        **_columns(checkpoint.history, arrays),
        "made_by": dict(checkpoint.made_by) or made_by(),
    }
    text = json.dumps(state, ensure_ascii=False, allow_nan=False)
    try:
        read_json(text)  # what could not be read again is no checkpoint
    except ValueError as error:
        what = say(f"hostile.{KIND.name}")
        raise CheckpointError(say("hostile.cannot_keep", what=what, reason=error)) from None
    write_bytes(path, pack(KIND, arrays, {"formulas": checkpoint.formulas, "state": text}))


def check_states(callbacks: Sequence[Mapping[str, Any]]) -> None:
    """Told before the first step, not at the first checkpoint. Raises: SettingError for what has no form in a file."""
    _states(callbacks, {})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and check a file. Raises: CheckpointError, one line."""
    container = open_container(path, KIND)
    arrays = container.arrays()
    try:
        state = read_json(container.metadata["state"])
        position = _read_back(state["position"], arrays)
        return Checkpoint(
            container.metadata["formulas"],
            {str(n): str(v) for n, v in state["settings"].items()},
            _position(position),
            {n.removeprefix(WEIGHTS): a for n, a in arrays.items() if n.startswith(WEIGHTS)},
            _rows(*(_read_back(state[name], arrays) for name in ("epochs", "logged", "columns"))),
            _callbacks(_read_back(state["callbacks"], arrays)),
            {str(n): str(v) for n, v in state["made_by"].items()},
            path,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise bad(path, KIND, "damaged") from None


def made_by() -> dict[str, str]:
    """Versions and the machine: what can change the last bits of a number."""
    return {**versions(), "machine": platform.machine(), "system": platform.system()}


def _position(given: Mapping[str, Any]) -> Position:
    names = {f.name for f in fields(Position)}
    wholes = names - {"sums", "seconds", "begun", "stopped", "rate"}
    if set(given) != names or not all(type(given[n]) is int and given[n] >= 0 for n in wholes):
        raise ValueError("a position is whole numbers")
    sums = {str(n): float(v) for n, v in given["sums"].items()}
    rate = None if given["rate"] is None else float(given["rate"])
    flags = {n: bool(given[n]) for n in ("begun", "stopped")}
    return Position(**{**given, **flags, "sums": sums, "rate": rate})


# --- the history, column by column ------------------------------------------------------------------------------------


def _columns(history: Sequence[tuple[int, Mapping[str, Any]]], arrays: dict[str, Array]) -> dict[str, Any]:
    """What was logged, in its order: of each name the rows of the history that have it, and the values there.

    Raises: SettingError for a value that has no form in a file.
    """
    values: dict[str, list[Any]] = {}
    rows: dict[str, list[int]] = {}
    for number, (_, logs) in enumerate(history):
        for name, value in logs.items():
            values.setdefault(name, []).append(value)
            rows.setdefault(name, []).append(number)
    columns = []
    for name, some in values.items():
        try:
            columns.append([_written(rows[name], HISTORY, arrays), _written(some, HISTORY, arrays)])
        except TypeError as error:
            raise SettingError(say("checkpoints.logged", name=name, came=error)) from None
    return {"logged": list(values), "columns": columns}


def _rows(epochs: Sequence[int], names: Sequence[str], columns: Sequence[Any]) -> list[tuple[int, dict[str, Any]]]:
    found: list[tuple[int, dict[str, Any]]] = [(int(epoch), {}) for epoch in epochs]
    for name, (rows, values) in zip(names, columns, strict=True):
        for row, value in zip(rows, values, strict=True):
            found[row][1][str(name)] = value
    if not all(isinstance(logs["seconds"], float) for _, logs in found):
        raise ValueError("each epoch has its seconds")
    return found


def _callbacks(states: Any) -> list[dict[str, Any]]:
    """Of each callback its name, and its state or None. Raises: ValueError."""
    if not isinstance(states, list) or not all(isinstance(s, dict) and s.keys() == {"name", "state"} for s in states):
        raise ValueError("names and states expected")
    if not all(isinstance(s["name"], str) and isinstance(s["state"], dict | None) for s in states):
        raise ValueError("names and states expected")
    return states


# --- what JSON has no word for ----------------------------------------------------------------------------------------


def _states(callbacks: Sequence[Mapping[str, Any]], arrays: dict[str, Array]) -> list[Any]:
    """Raises: SettingError for a state that has no form in a file."""
    found = []
    for callback in callbacks:
        try:
            if not isinstance(callback["state"], Mapping | None):
                raise TypeError(type(callback["state"]).__name__)
            found.append(_written(dict(callback), CALLBACKS, arrays))
        except TypeError as error:
            raise SettingError(say("checkpoints.callback_state", callback=callback["name"], came=error)) from None
    return found


def _written(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """As JSON; arrays go to `arrays` under names that begin with `place`. Raises: TypeError for what has no form."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        if all(isinstance(n, str) for n in value) and not (len(value) == 1 and value.keys() <= MARKS):
            return {_text(n): _written(v, place, arrays) for n, v in value.items()}
        return {PAIRS: [[_written(n, place, arrays), _written(v, place, arrays)] for n, v in value.items()]}
    if isinstance(value, tuple):
        return {TUPLE: _list(value, place, arrays)}
    if isinstance(value, list):
        return _list(value, place, arrays)
    if isinstance(value, np.ndarray):
        return {ARRAY: _kept(value, place, arrays)}
    if isinstance(value, float) and not math.isfinite(value):
        return {STRANGE: repr(value)}
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # the state of a random generator
        return {WHOLE: hex(value)}
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(type(value).__name__)


def _list(values: Sequence[Any], place: str, arrays: dict[str, Array]) -> Any:
    """Many numbers, or arrays of one shape, are one array."""
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
    whole = all(type(v) is int and -(2**63) <= v < 2**63 for v in values)
    if len(values) > SHORT and (whole or all(type(v) is float for v in values)):
        return {LIST: _kept(np.array(values, np.int64 if whole else np.float64), place, arrays)}
    arrays_only = len(values) > 1 and all(isinstance(v, np.ndarray) for v in values)
    if arrays_only and len({(v.dtype.str, v.shape) for v in values}) == 1:
        return {STACK: _kept(np.stack(values), place, arrays)}
    return [_written(v, place, arrays) for v in values]


def _kept(array: Array, place: str, arrays: dict[str, Array]) -> str:
    """Its name among the arrays. Raises: TypeError for what a file cannot hold."""
    if array.dtype.itemsize not in KINDS.get(array.dtype.kind, ()):
        raise TypeError(f"{type(array).__name__} {array.dtype}")
    name = f"{place}{len(arrays)}"
    arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return name


def _text(value: str) -> str:
    """Raises: TypeError for half a surrogate pair, which is no text in a file."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TypeError(repr(value[:20])) from None
    return str(value)


def _read_back(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_read_back(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not value.keys() <= MARKS:
        return {n: _read_back(v, arrays) for n, v in value.items()}
    ((mark, content),) = value.items()
    if mark in (ARRAY, LIST, STACK):
        array = arrays[content]
        return array if mark == ARRAY else array.tolist() if mark == LIST else list(array)
    if mark == WHOLE:
        return int(content, 16)
    if mark == STRANGE:
        return float(content)
    some = _read_back(content, arrays)
    return tuple(some) if mark == TUPLE else dict(some)
