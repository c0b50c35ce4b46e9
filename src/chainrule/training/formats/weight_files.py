"""Files of weights from elsewhere → arrays by name: safetensors, and HDF5 as Keras writes it.

Nothing of an array is read before the file's description of it has been checked. Files of PyTorch's own (.pt, .pth,
.bin) are pickles, which run code when they are opened: they are refused. In HDF5 only groups and plain arrays are
walked: a link to elsewhere, an array whose bytes are in other files, one that claims more than the file holds, a type
with objects in it, a filter that is no part of HDF5, is an error before anything is read.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import FileError, SettingError
from chainrule.messages import say
from chainrule.training.container import plain
from chainrule.training.safetensors_header import ITEM_BYTES, MAX_FILE_BYTES, Entry, entry_of, fill
from chainrule.training.strict_json import Limits, read_json

Array = np.ndarray[Any, Any]

MAX_TENSORS = 10_000
MAX_HEADER_BYTES = 4_000_000
MAX_AXES = 8
MAX_DEPTH = 16
MAX_CHUNK_BYTES = 256 * 2**20  # HDF5 allocates a whole one to read any of it
DEFLATE_RATIO = 1040  # no stream of deflate grows by more
FLOATS = ("F64", "F32", "F16", "BF16")
DTYPES = {**ITEM_BYTES, "BF16": 2}  # PyTorch's too
HDF5 = b"\x89HDF\r\n\x1a\n"
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class Weight:
    """One array: `module` and `role` are what its name is made of; `dtype` is None where it is no float."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    module: str
    role: str
    read: Callable[[], Array]


@dataclass(frozen=True)
class WeightFile:
    """All arrays of a file. `rows_first` says that a weight is (out, in), as PyTorch has it; Keras has (in, out)."""

    path: Path
    rows_first: bool
    weights: tuple[Weight, ...]


def read_weight_file(path: Path) -> WeightFile:
    """What a file of weights holds; the arrays are read when they are asked for. Raises: FileError, SettingError."""
    try:
        if not path.is_file():
            raise FileError(say("formats.no_file", path=path))
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(say("training.cannot_read", path=path, reason=error.strerror or error)) from None
    if size > MAX_FILE_BYTES:
        raise FileError(say("formats.file_too_large", path=path, came=size, limit=MAX_FILE_BYTES))
    name = path.name.lower()
    if name.endswith(".keras"):
        raise FileError(say("formats.keras_archive", path=path))
    if start[:8] == HDF5:
        return _hdf5(path)
    if name.endswith(PICKLES) or start[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
        raise FileError(say("formats.pickle", path=path))
    return _safetensors(path, size)


def _damaged(path: Path, reason: str) -> FileError:
    return FileError(say("formats.damaged", path=path, reason=reason))


# --- safetensors ------------------------------------------------------------------------------------------------------


def _safetensors(path: Path, size: int) -> WeightFile:
    from safetensors import SafetensorError, safe_open

    entries, data = _entries(path, size)

    def reader(name: str) -> Callable[[], Array]:
        entry = entries[name]

        def read() -> Array:
            try:
                if entry.dtype == "BF16":
                    halves = np.fromfile(path, "<u2", math.prod(entry.shape), offset=data + entry.begin)
                    return _widened(halves.reshape(entry.shape))
                with safe_open(path, framework="np") as file:
                    return np.array(file.get_tensor(name))
            except (SafetensorError, OSError, ValueError, TypeError) as error:
                raise _damaged(path, plain(str(error).splitlines()[0])) from None

        return read

    weights = []
    for name, entry in entries.items():
        module, _, role = name.rpartition(".")
        if role != "num_batches_tracked":
            dtype = entry.dtype if entry.dtype in FLOATS else None
            weights.append(Weight(name, entry.shape, dtype, module, role, reader(name)))
    return WeightFile(path, True, tuple(weights))


def _widened(halves: Array) -> Array:
    """bfloat16, which NumPy does not know, as float32: it is the upper half of one."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _entries(path: Path, size: int) -> tuple[dict[str, Entry], int]:
    """The arrays, which fill the file without holes, each with what its shape needs; and where they begin."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise FileError(say("formats.not_weights", path=path))
        text = file.read(length)
    try:
        header = read_json(text.decode(), Limits(MAX_HEADER_BYTES, depth=4))
    except ValueError:
        raise FileError(say("formats.not_weights", path=path)) from None
    if not isinstance(header, dict):
        raise FileError(say("formats.not_weights", path=path))
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise FileError(say("formats.too_many", path=path, came=len(header), limit=MAX_TENSORS))
    entries = {}
    for name, said in header.items():
        entry = entry_of(said, DTYPES, MAX_AXES)
        if entry is None:
            raise _unread(path, name, said)
        entries[name] = entry
    if not fill(entries.values(), size - 8 - length):
        raise _damaged(path, say("formats.holes"))
    return entries, 8 + length


def _unread(path: Path, name: str, said: object) -> FileError:
    """Of an array that is not in order: of a dtype that is not read, such as eight bits, or damaged."""
    match said:
        case {"dtype": str(dtype)} if dtype not in DTYPES and re.fullmatch(r"[A-Z]\d\w{0,12}", dtype):
            return FileError(say("formats.dtype", path=path, name=plain(name), came=dtype))
    return _damaged(path, plain(name))


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def _hdf5(path: Path) -> WeightFile:
    try:
        import h5py
    except ImportError:
        raise SettingError(say("formats.no_h5py", path=path)) from None
    try:
        with h5py.File(path, "r") as file:
            walk = _Walk(h5py, path)
            walk.seen.add(h5py.h5o.get_info(file.id).addr)
            weights = tuple(walk.weights(file))
    except FileError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, UnicodeError) as error:
        raise _damaged(path, plain(str(error).splitlines()[0] if str(error) else type(error).__name__)) from None
    return WeightFile(path, False, weights)


class _Walk:
    """Groups and plain arrays, in the order of their names."""

    def __init__(self, h5py: Any, path: Path):
        self.h5py, self.path = h5py, path
        self.seen: set[object] = set()
        self.count = 0

    def weights(self, group: Any, prefix: str = "", depth: int = 0) -> Iterator[Weight]:
        if depth > MAX_DEPTH:
            raise self.refused(prefix, say("formats.too_deep"))
        for name in sorted(group.keys(), key=natural):
            place = f"{prefix}/{name}" if prefix else name
            self.count += 1
            if self.count > MAX_TENSORS:
                raise FileError(say("formats.too_many", path=self.path, came=self.count, limit=MAX_TENSORS))
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise self.refused(place, say("formats.link"))
            item = group[name]
            if isinstance(item, self.h5py.Group):
                address = self.h5py.h5o.get_info(item.id).addr
                if address in self.seen:
                    raise self.refused(place, say("formats.link"))
                self.seen.add(address)
                if name not in ("optimizer", "optimizer_weights", "seed_generator"):
                    yield from self.weights(item, place, depth + 1)
            elif isinstance(item, self.h5py.Dataset):
                if _is_weight(place):
                    yield self.weight(place, item)
            else:
                raise self.refused(place, say("formats.no_array"))

    def weight(self, place: str, item: Any) -> Weight:
        """One array, after everything that its description says has been checked."""
        brain = _is_bfloat16(item)
        if not brain and (item.dtype.kind not in "fiub" or item.dtype.hasobject):
            raise self.refused(place, say("formats.no_type" if item.dtype == np.dtype("V2") else "formats.no_numbers"))
        if item.external or item.is_virtual:
            raise self.refused(place, say("formats.elsewhere"))
        self._check_size(place, item)
        module, role = _keras_name(place)
        path, h5py = self.path, self.h5py

        def read() -> Array:
            try:
                with h5py.File(path, "r") as file:
                    array = np.array(file[place][()])
                return _widened(array.view("<u2")) if brain else array
            except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
                raise _damaged(path, plain(str(error).splitlines()[0])) from None

        dtype = "bfloat16" if brain else str(item.dtype) if item.dtype.kind == "f" else None
        return Weight(place, tuple(map(int, item.shape)), dtype, module, role, read)

    def _check_size(self, place: str, item: Any) -> None:
        """What is declared must be there: HDF5 makes up zeros for what is not."""
        if len(item.shape) > MAX_AXES or any(n >= 2**48 for n in item.shape):
            raise self.refused(place, say("formats.too_deep"))
        declared = math.prod(map(int, item.shape)) * item.dtype.itemsize
        properties = item.id.get_create_plist()
        filters = {properties.get_filter(n)[0] for n in range(properties.get_nfilters())}
        if not filters <= {self.h5py.h5z.FILTER_DEFLATE, self.h5py.h5z.FILTER_SHUFFLE, self.h5py.h5z.FILTER_FLETCHER32}:
            raise self.refused(place, say("formats.filter"))
        grows = DEFLATE_RATIO if filters else 1
        chunk = math.prod(item.chunks) * item.dtype.itemsize if item.chunks else 0
        if declared > grows * item.id.get_storage_size() or chunk > MAX_CHUNK_BYTES:
            raise self.refused(place, say("formats.bomb", came=declared))

    def refused(self, place: str, reason: str) -> FileError:
        return _damaged(self.path, f"{plain(place)}: {reason}")


def _is_bfloat16(item: Any) -> bool:
    """Whether Keras wrote it so: pairs of bytes without a type, beside an attribute "dtype", which nothing else has.

    What the attribute says is not read: a text of any length lies in a heap of the file, and in a damaged heap HDF5
    looks for it without an end.
    """
    return bool(item.dtype == np.dtype("V2")) and "dtype" in item.attrs


LEGACY = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "embeddings": "weight",
    "alpha": "weight",
}


def _is_weight(place: str) -> bool:
    """Whether an array belongs to a layer: those of the optimizer and of metrics do not."""
    parts = place.split("/")
    return parts[-2:-1] == ["vars"] or parts[-1].partition(":")[0] in LEGACY


def _keras_name(place: str) -> tuple[str, str]:
    """layers/dense_1/vars/0 → (dense_1, 0); dense/sequential/dense/kernel → (dense, weight)."""
    *front, last = place.split("/")
    if front[-1:] == ["vars"]:
        return "/".join(f for f in front[:-1] if f not in ("layers", "_layer_checkpoint_dependencies")), last
    front = [f for f in front if f != "model_weights"]
    return front[0] if front else "", LEGACY[last.partition(":")[0]]


def natural(name: str) -> list[tuple[int, str]]:
    """To sort by: fc2 before fc10, dense before dense_1."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]
