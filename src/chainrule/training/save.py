"""The model file: formulas as text, numbers as safetensors; never code.

Metadata (all texts, a closed list): formulas, dtype, seed, sizes and hyper as JSON, and notes as JSON. One array per
parameter and per state that the formulas declare (a moving average), in the shape of the formula. Notes are what an
interface keeps beside the formulas, such as the names of a table's columns: data for it to check, never code.

container.py checks the file (checksums, limits, entries against actual bytes); here its content is checked before a
number is read: the formulas must parse, the sizes be of their indices, and every array that they declare be there in
its dtype and shape. So a file can have nothing drawn, and nothing allocated that it does not hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError, ModelFileError
from chainrule.formula.expressions import MAX_SIZE
from chainrule.formula.parse import parse_system
from chainrule.messages import say
from chainrule.training.container import Container, Kind, bad, open_container, pack, plain
from chainrule.training.files import write_bytes
from chainrule.training.strict_json import Limits, numbers_by_name, read_json
from chainrule.training.vocabulary import vocabulary

if TYPE_CHECKING:
    from chainrule.training.network import Network

MODEL = Kind("model", "2", required=("formulas", "dtype", "seed", "sizes", "hyper"), optional=("notes",))
DTYPES = {"float32": "F32", "float64": "F64"}
SEED = re.compile("[0-9]{1,20}")
MAX_NUMBERS = 10_000  # in sizes and in hyper
NOTES = Limits(characters=2_000_000, values=300_000, depth=32)  # a table of 1,000 columns with words; 10,000 layers


def save(network: Network, path: Path) -> None:
    """Write the model file. Raises: FileError; ShapeError while sizes are unknown."""
    write_bytes(path, pack(MODEL, kept_arrays(network), described(network)))


def kept_arrays(network: Network) -> dict[str, Any]:
    """What the file holds of a network: its parameters and declared states."""
    return {t.name: network.kept[t.name] for t in network.system.of_role("parameter", "state")}


def described(network: Network) -> dict[str, str]:
    """The texts beside them. Raises: ModelFileError for notes or hyper-parameters that no file holds."""
    texts = {
        "formulas": network.formulas,
        "dtype": network.dtype,
        "seed": str(network.seed),
        "sizes": json.dumps(network.sizes),
        "hyper": json.dumps(network.hyper),
    }
    if network.notes:
        texts["notes"] = json.dumps(network.notes, ensure_ascii=False)
    _check_own("hyper", texts["hyper"], _hyper)
    _check_own("notes", texts.get("notes", "{}"), _notes)
    return texts


def _check_own(what: str, text: str, read: Callable[[str], object]) -> None:
    """So that no file is written that could not be read."""
    try:
        read(text)
    except ValueError as error:
        raise ModelFileError(say("hostile.cannot_keep", what=what, reason=error)) from None


def load(path: Path) -> Network:
    """Read a model file. Raises: ModelFileError, one line, for anything that is not as it should be."""
    container = open_container(path, MODEL)
    network = _network(path, container)
    _check_entries(path, network, container)
    network.keep(container.arrays())
    return network


def _network(path: Path, container: Container) -> Network:
    """The network that the texts describe, without weights."""
    from chainrule.training.network import Network

    texts = container.metadata
    try:
        system = parse_system(texts["formulas"], vocabulary())
        network = Network(system, dtype=texts["dtype"], sizes=_sizes(texts["sizes"]), seed=_seed(texts["seed"]))
        network.hyper.update(_hyper(texts["hyper"]))
        network.notes = _notes(texts.get("notes", "{}"))
    except ChainruleError as error:
        raise _unfit(path, error) from None
    except ValueError:
        raise bad(path, MODEL, "damaged") from None
    return network


def _unfit(path: Path, error: ChainruleError) -> ModelFileError:
    return ModelFileError(say("training.model_formulas", path=path, reason=plain(str(error).splitlines()[0], 300)))


def _seed(text: str) -> int:
    if not SEED.fullmatch(text):
        raise ValueError("seed")
    return int(text)


def _sizes(text: str) -> dict[str, int]:
    values = numbers_by_name(read_json(text))
    if len(values) > MAX_NUMBERS or not all(type(v) is int and 1 <= v <= MAX_SIZE for v in values.values()):
        raise ValueError("sizes")
    return {name: int(value) for name, value in values.items()}


def _hyper(text: str) -> dict[str, float]:
    values = numbers_by_name(read_json(text))
    if len(values) > MAX_NUMBERS or not all(name.isidentifier() for name in values):
        raise ValueError("hyper")
    return {name: float(value) for name, value in values.items()}


def _notes(text: str) -> dict[str, object]:
    notes = read_json(text, NOTES)
    if not isinstance(notes, dict):
        raise ValueError("notes")
    return notes


def _check_entries(path: Path, network: Network, container: Container) -> None:
    """Names, dtypes and shapes against the formulas, before any array is made."""
    try:
        sizes = network._sizes.require()
    except ChainruleError as error:
        raise _unfit(path, error) from None
    entries = container.entries
    wanted = {t.name: tuple(sizes[i] for i in t.indices) for t in network.system.of_role("parameter", "state")}
    if entries.keys() != wanted.keys():
        came = plain(", ".join(sorted(entries)), 200) or "–"
        raise ModelFileError(say("training.model_tensors", path=path, came=came, wanted=", ".join(wanted) or "–"))
    for name, entry in entries.items():
        if entry.dtype != DTYPES[network.dtype] or entry.shape != wanted[name]:
            raise ModelFileError(say("training.model_shape", path=path, name=name, wanted=list(wanted[name])))
