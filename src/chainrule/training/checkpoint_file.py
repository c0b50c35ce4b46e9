"""The checkpoint's file: all that a training needs to go on as if it had never been interrupted.

A container (container.py) with the formulas, one JSON text, and arrays:

    weights/W1          parameters, states and the update rule's states
    history/loss        what each epoch logged, stacked; history_rows/loss: in which rows of the history it stands
    callbacks/0/…       arrays out of a callback's state_dict()

Random quantities and the orders of epochs come from counter-based generators keyed by seed, epoch and step: the
position is all of their state.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import CheckpointError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.messages import say
from chainrule.training.container import Kind, bad, open_container, pack
from chainrule.training.files import write_bytes
from chainrule.training.strict_json import read_json

KIND = Kind(
    "checkpoint",
    "1",
    required=("formulas", "state"),
    dtypes=("F32", "F64", "I64", "U8", "BOOL"),
    error=CheckpointError,
    finite=False,  # a metric may be NaN
)
WEIGHTS, HISTORY, ROWS, CALLBACKS = "weights/", "history/", "history_rows/", "callbacks/"
STRANGE = "not finite"  # of numbers that JSON has no word for


@dataclass(frozen=True)
class Position:
    """Where a training stands: `steps` of epoch number `epoch` (from 0) are done, with these sums over `samples` rows.

    `done` counts this training's steps, `before` those that the network had before it, `shift` what is added to the
    epochs' numbers for their orders, `epochs` those of the network; `rate` is a learning rate that a callback set.
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
    """Write beside, fsync, rename, fsync the folder. Raises: FileError."""
    arrays = {WEIGHTS + n: a for n, a in checkpoint.weights.items()}
    columns, rows = _columns(checkpoint.history)
    arrays |= {HISTORY + n: a for n, a in columns.items()} | {ROWS + n: a for n, a in rows.items()}
    state = {
        "settings": dict(checkpoint.settings),
        "position": _written(asdict(checkpoint.position), "", arrays),
        "callbacks": _states(checkpoint.callbacks, arrays),
        "epochs": [epoch for epoch, _ in checkpoint.history],
        "logged": list(columns),  # in their order, which the arrays do not keep
        "made_by": dict(checkpoint.made_by) or made_by(),
    }
    texts = {"formulas": checkpoint.formulas, "state": json.dumps(state, ensure_ascii=False, allow_nan=False)}
    write_bytes(path, pack(KIND, arrays, texts))


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
            _rows(state["epochs"], state["logged"], arrays),
            _callbacks(_read_back(state["callbacks"], arrays)),
            {str(n): str(v) for n, v in state["made_by"].items()},
            path,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise bad(path, KIND, "damaged") from None


def made_by() -> dict[str, str]:
    """Versions and the machine: what can change the last bits of a number."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for package in ("chainrule", "numpy", "llvmlite"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _position(given: Mapping[str, Any]) -> Position:
    names = {f.name for f in fields(Position)}
    wholes = names - {"sums", "seconds", "stopped", "rate"}
    if set(given) != names or not all(type(given[n]) is int and given[n] >= 0 for n in wholes):
        raise ValueError("a position is whole numbers")
    sums = {str(n): float(v) for n, v in given["sums"].items()}
    rate = None if given["rate"] is None else float(given["rate"])
    return Position(**{**given, "sums": sums, "rate": rate, "stopped": bool(given["stopped"])})


# --- the history as arrays: as a text, 100,000 epochs would be too long for a header ----------------------------------


def _columns(history: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[dict[str, Array], dict[str, Array]]:
    values: dict[str, list[Any]] = {}
    rows: dict[str, list[int]] = {}
    for number, (_, logs) in enumerate(history):
        for name, value in logs.items():
            values.setdefault(name, []).append(value)
            rows.setdefault(name, []).append(number)
    columns = {name: np.array(some, dtype=np.float64) for name, some in values.items()}
    return columns, {name: np.array(some, dtype=np.int64) for name, some in rows.items()}


def _rows(epochs: Sequence[int], names: Sequence[str], arrays: Mapping[str, Array]) -> list[tuple[int, dict[str, Any]]]:
    found: list[tuple[int, dict[str, Any]]] = [(int(epoch), {}) for epoch in epochs]
    for name in names:
        for row, value in zip(arrays[ROWS + name].tolist(), arrays[HISTORY + name], strict=True):
            found[row][1][name] = float(value) if value.ndim == 0 else value
    if not all("seconds" in logs for _, logs in found):
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
    for number, callback in enumerate(callbacks):
        try:
            found.append(_written(callback, f"{CALLBACKS}{number}/", arrays))
        except TypeError as error:
            raise SettingError(say("checkpoints.callback_state", callback=callback["name"], came=error)) from None
    return found


def _written(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """As JSON; arrays go to `arrays` under names that begin with `place`. Raises: TypeError for what has no form."""
    if isinstance(value, Mapping):
        return {str(n): _written(v, f"{place}{n}/", arrays) for n, v in value.items()}
    if isinstance(value, list | tuple):
        return [_written(v, f"{place}{n}/", arrays) for n, v in enumerate(value)]
    if isinstance(value, np.ndarray):
        arrays[place.rstrip("/")] = value
        return {"array": place.rstrip("/")}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {STRANGE: repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(type(value).__name__)


def _read_back(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array"} and isinstance(value["array"], str) and value["array"].startswith(CALLBACKS):
            return arrays[value["array"]]
        if value.keys() == {STRANGE}:
            return float(value[STRANGE])
        return {n: _read_back(v, arrays) for n, v in value.items()}
    return [_read_back(v, arrays) for v in value] if isinstance(value, list) else value
