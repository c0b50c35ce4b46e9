"""The model file: formulas as text, numbers as safetensors; never code.

Metadata (all strings): format "chainrule", version "1", formulas, dtype, seed, sizes, hyper and notes as JSON. One
tensor per parameter and per state that the formulas declare (a moving average), in the shape of the formula. Notes are
what an interface keeps beside the formulas, such as the names of a table's columns: data for it to check, never code.
Everything is checked before a number is read: the header's length, the formulas (they must parse), the names, the
dtypes, and each shape against the sizes.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from chainrule.errors import ChainruleError, ModelFileError
from chainrule.formula.evaluate import Array
from chainrule.formula.parse import parse_system
from chainrule.messages import say
from chainrule.training.files import write_bytes
from chainrule.training.vocabulary import vocabulary

if TYPE_CHECKING:
    from chainrule.training.network import Network

FORMAT, VERSION = "chainrule", "1"
MAX_HEADER_BYTES = 4_000_000  # formulas of 200,000 characters, escaped, and 10,000 tensor entries fit
MAX_FILE_BYTES = 64 * 2**30
DTYPES = {"float32": "F32", "float64": "F64"}


def save(network: Network, path: Path) -> None:
    """Write the model file. Raises: FileError; ShapeError while sizes are unknown."""
    tensors = {t.name: network.kept[t.name].copy(order="C") for t in network.system.of_role("parameter", "state")}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "formulas": network.formulas,
        "dtype": network.dtype,
        "seed": str(network.seed),
        "sizes": json.dumps(network.sizes),
        "hyper": json.dumps(network.hyper),
        **({"notes": json.dumps(network.notes, ensure_ascii=False)} if network.notes else {}),
    }
    write_bytes(path, save_tensors(tensors, metadata))


def load(path: Path) -> Network:
    """Read a model file. Raises: ModelFileError, one line, for anything that is not as it should be."""
    from chainrule.training.network import Network

    content = _read(path)
    header = _header(path, content)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise _bad(path, "not_a_model")
    if metadata.get("version") != VERSION:
        raise _bad(path, "model_version", came=metadata.get("version"), wanted=VERSION)
    try:
        system = parse_system(str(metadata["formulas"]), vocabulary())
        sizes = _numbers(metadata["sizes"], int)
        hyper = _numbers(metadata["hyper"], float)
        notes = _notes(metadata.get("notes", "{}"))
        network = Network(system, dtype=metadata["dtype"], sizes=sizes, seed=int(metadata["seed"]))
    except ChainruleError as error:
        raise _bad(path, "model_formulas", reason=str(error).splitlines()[0]) from None
    except (KeyError, ValueError, TypeError, RecursionError):
        raise _bad(path, "model_damaged") from None
    network.hyper.update(hyper)
    network.notes = notes
    _check_entries(path, network, header)
    try:
        arrays = load_tensors(content)
    except (SafetensorError, ValueError, KeyError):
        raise _bad(path, "model_damaged") from None
    _check_finite(path, arrays)
    network.keep({name: array.astype(network.dtype, copy=True) for name, array in arrays.items()})
    return network


def _bad(path: Path, key: str, **values: object) -> ModelFileError:
    return ModelFileError(say(f"training.{key}", path=path, **values))


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise _bad(path, "model_too_large", came=size, limit=MAX_FILE_BYTES)
        return path.read_bytes()
    except OSError as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(say("training.cannot_read", path=path, reason=error.strerror or error)) from None


def _header(path: Path, content: bytes) -> dict[str, Any]:
    if len(content) < 8:
        raise _bad(path, "not_a_model")
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise _bad(path, "not_a_model")
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _bad(path, "model_damaged") from None
    if not isinstance(header, dict):
        raise _bad(path, "model_damaged")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _numbers(text: str, kind: type) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values.values()
    ):
        raise ValueError("numbers by name expected")
    return {name: kind(value) for name, value in values.items()}


def _notes(text: str) -> dict[str, object]:
    notes = json.loads(text, object_pairs_hook=_unique)
    if not isinstance(notes, dict):
        raise ValueError("notes by name expected")
    return notes


def _check_entries(path: Path, network: Network, header: dict[str, Any]) -> None:
    """Names, dtypes and shapes against the formulas, before any array is made."""
    try:
        sizes = network._sizes.require()
    except ChainruleError as error:
        raise _bad(path, "model_formulas", reason=str(error).splitlines()[0]) from None
    wanted = {t.name: [sizes[i] for i in t.indices] for t in network.system.of_role("parameter", "state")}
    needed = {p.name for p in network.system.parameters}  # a state that is not there begins as the formulas say
    if not needed <= set(header) <= set(wanted):
        raise _bad(path, "model_tensors", came=", ".join(sorted(header))[:200] or "–", wanted=", ".join(wanted) or "–")
    for name, entry in header.items():
        shape = wanted[name]
        fits = isinstance(entry, dict) and entry.get("dtype") == DTYPES[network.dtype] and entry.get("shape") == shape
        if not fits or math.prod(shape) * np.dtype(network.dtype).itemsize > MAX_FILE_BYTES:
            raise _bad(path, "model_shape", name=name, wanted=shape)


def _check_finite(path: Path, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise _bad(path, "model_not_finite", name=name)
