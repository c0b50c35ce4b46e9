"""Files, folders, arrays and iterables → Sources: for `chainrule.stream` and `Network.fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.checks import is_whole
from chainrule.data.memory import memory_bytes
from chainrule.data.sources.arrays import Columns, mapped
from chainrule.data.sources.batches import BatchSource
from chainrule.data.sources.source import Source
from chainrule.errors import DataError, FileError, SettingError
from chainrule.messages import say

FEATURES, TARGET = "x", "t"  # the fields of a table that has a target
TABLES = ("__dataframe__", "__arrow_c_stream__", "__narwhals_dataframe__", "__narwhals_series__", "iloc")
TEXTS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")


def as_source(value: object, memory: int) -> Source | None:
    """A Source for what a training was given: itself, or an iterable of batches. None for arrays and tables.

    Lists, tuples, mappings, texts and whatever is an array or a table to NumPy, pandas or Arrow are none.
    """
    if isinstance(value, Source):
        return value
    return BatchSource(value, memory) if is_batches(value) else None  # type: ignore[arg-type]


def is_batches(value: object) -> bool:
    """Whether it is an iterable of batches, and no array, table, list, tuple, mapping or text."""
    if isinstance(value, (str, bytes, bytearray, memoryview, Path, Mapping, Sequence, Set, type)) or value is None:
        return False
    if any(hasattr(value, name) for name in ("__array__", "shape", "dtype", "tocsr", "__buffer__", *TABLES)):
        return False
    listed = hasattr(value, "__iter__") or (hasattr(value, "__getitem__") and hasattr(value, "__len__"))
    return listed and not _has_buffer(value)


def _has_buffer(value: Any) -> bool:
    """Whether it is an array to Python, as array.array is."""
    try:
        memoryview(value).release()
    except TypeError:
        return False
    return True


@dataclass(frozen=True)
class _Options:
    """The options of `stream`."""

    target: str | int | Sequence[str] | None
    features: str | Sequence[str] | None
    memory: int
    shuffle: str
    image_size: tuple[int, int] | None
    grey: bool | None
    replayable: bool | None

    def only(self, what: str, *allowed: str) -> None:
        """Raises: SettingError for an option that has no meaning for what is streamed."""
        given = {
            "target": self.target is not None,
            "features": self.features is not None,
            "shuffle": self.shuffle != "auto",
            "image_size": self.image_size is not None,
            "grey": self.grey is not None,
            "replayable": self.replayable is not None,
        }
        for name, is_given in given.items():
            if is_given and name not in allowed:
                raise SettingError(say("sources.no_such_option", option=name, what=what))


def stream(
    where: object,
    *,
    target: str | int | Sequence[str] | None = None,
    features: str | Sequence[str] | None = None,
    memory: str | int = "1GB",
    shuffle: str = "auto",
    image_size: tuple[int, int] | None = None,
    grey: bool | None = None,
    replayable: bool | None = None,
) -> Source:
    """Rows that are read while a network trains on them, for `net.fit(chainrule.stream(…))`.

    `where` is one of: the path of an .npy, .npz or .parquet file, or a list of Parquet files; a folder of Parquet
    files, or of images by class; arrays of the same length, mapped or not, as a tuple or by name, or the paths of their
    .npy files; an iterable of batches, or a function that makes one for each epoch.

    `target` names the target: a column of a Parquet file (several: a list), an array of an .npz file, the number of a
    column of an .npy file (-1 is the last). The other columns, or those of `features`, are one input. `memory` is what
    it may hold at a time. `shuffle`: "rows" is an exact permutation each epoch, "blocks" reads runs of rows and mixes
    64 MiB of them, "auto" is "blocks" for Parquet and for more than 16,777,216 rows. Images of other sizes than the
    first are refused unless `image_size=(rows, columns)`; `grey` says whether they have one colour, else some tell.
    `replayable` says of batches that each epoch's can be had again, so that a training can be resumed.

    Raises: FileError, DataError, SettingError: one line.

    >>> import numpy as np
    >>> source = stream((np.zeros((100, 3), np.float32), np.arange(100)), memory="4MB")
    >>> source.rows, {name: (field.shape, str(field.dtype)) for name, field in source.fields.items()}
    (100, {'x': ((3,), 'float32'), 't': ((), 'int64')})
    """
    options = _Options(target, features, memory_bytes(memory), shuffle, image_size, grey, replayable)
    if isinstance(where, Source):
        return where
    if isinstance(where, (str, Path)):
        return _of_path(Path(where), options)
    if isinstance(where, Mapping):
        return _of_arrays({str(name): value for name, value in where.items()}, options)
    if isinstance(where, (tuple, list)):
        return _of_several(where, options)
    if isinstance(where, np.ndarray):
        return _of_table("data", where, options)
    if callable(where) and not isinstance(where, type) and not hasattr(where, "__iter__"):
        options.only(say("sources.what_batches"), "replayable")
        return BatchSource(where, options.memory, True if replayable is None else replayable)
    if as_source(where, options.memory) is None:
        raise DataError(say("sources.no_stream", came=type(where).__name__))
    options.only(say("sources.what_batches"), "replayable")
    return BatchSource(where, options.memory, replayable)  # type: ignore[arg-type]


# --- paths ------------------------------------------------------------------------------------------------------------


def _of_path(path: Path, options: _Options) -> Source:
    name = path.name.lower()
    try:
        is_folder = path.is_dir()
        parts = sorted(path.glob("*.parquet")) if is_folder else []
    except OSError as error:  # a name that is too long; a folder that must not be listed
        raise FileError(say("data.cannot_read", path=path, reason=error.strerror or error)) from None
    if is_folder:
        return _of_parquet(parts, options) if parts else _of_images(path, options)
    if name.endswith(".parquet"):
        return _of_parquet([path], options)
    if name.endswith((".npy", ".npz")):
        return _of_numpy(path, options)
    if not path.exists():
        raise FileError(say("data.no_file", path=path))
    raise FileError(say("sources.text" if name.endswith(TEXTS) else "sources.unknown", path=path))


def _of_images(folder: Path, options: _Options) -> Source:
    from chainrule.data.sources.images import ImageSource, find_images, look_of

    options.only(say("sources.what_images"), "image_size", "grey")
    size = options.image_size
    if size is not None and not _is_size(size):
        raise SettingError(say("sources.image_size_option", came=size))
    files = find_images(folder)
    return ImageSource(files, look_of(files, size, options.grey), options.memory)


def _is_size(size: object) -> bool:
    return isinstance(size, (tuple, list)) and len(size) == 2 and all(is_whole(s) and 1 <= s <= 10_000 for s in size)


def _of_parquet(paths: Sequence[Path], options: _Options) -> Source:
    """With a target: the features as x, the target as t. With neither: each column a field of its own name."""
    from chainrule.data.sources.parquet import ParquetSource, column_names, opened

    options.only(
        say("sources.what_parquet"), "target", "features", *(["shuffle"] if options.shuffle == "blocks" else [])
    )
    taken, asked = _names("target", options.target), _names("features", options.features)
    with opened(paths[0]) as file:
        names = column_names(paths[0], file)
    columns: dict[str, str | Sequence[str]] = {}
    if taken is None and asked is None:
        columns = {name: name for name in names}
    else:
        columns[FEATURES] = _without(taken or [], names, asked)
        if not columns[FEATURES]:
            raise DataError(say("sources.no_features", name=paths[0]))
        if taken is not None:
            columns[TARGET] = taken[0] if isinstance(options.target, str) else taken
    return ParquetSource(paths, columns, options.memory)


def _names(option: str, given: object) -> list[str] | None:
    """One name or several, as they were given; None where there are none. Raises: SettingError."""
    if given is None:
        return None
    names: list[Any] = list(given) if isinstance(given, (tuple, list)) else [given]
    if not all(isinstance(name, str) for name in names) or (option == "target" and not names):
        raise SettingError(say("sources.names", option=option, came=repr(given)))
    return names


def _without(targets: Sequence[str], names: Sequence[str], asked: Sequence[str] | None) -> list[str]:
    """The features: those that are asked for, else all but the targets. Raises: SettingError for one that is both."""
    both = [name for name in asked or () if name in targets]
    if both:
        raise SettingError(say("sources.target_is_feature", name=both[0]))
    return [name for name in names if name not in targets] if asked is None else list(asked)


def _of_numpy(path: Path, options: _Options) -> Source:
    from chainrule.data.sources.npz import map_arrays

    arrays = map_arrays(path, options.memory)
    if path.suffix.lower() == ".npy" or list(arrays) == ["x"]:
        return _of_table(str(path), next(iter(arrays.values())), options, (path,))
    options.only(str(path), "target", "features", "shuffle")
    chosen = _chosen(str(path), list(arrays), options)
    return mapped(
        {name: arrays[name] for name in chosen},
        name=str(path),
        memory=options.memory,
        shuffle=options.shuffle,
        files=(path,),
    )


def _chosen(name: str, names: list[str], options: _Options) -> list[str]:
    """The arrays of an archive or a mapping that are used: the features first, then the target."""
    targets, asked = _names("target", options.target) or [], _names("features", options.features)
    features = _without(targets, names, asked)
    for wanted in (*features, *targets):
        if wanted not in names:
            raise DataError(say("sources.no_array", name=name, came=wanted, known=", ".join(names)))
    return [*features, *targets]


# --- arrays -----------------------------------------------------------------------------------------------------------


def _of_table(name: str, array: Any, options: _Options, files: Sequence[Path] = ()) -> Source:
    """One array (N, …) as x; with the number of a column as the target, the others as x and that as t."""
    options.only(name, "target", "shuffle")
    arrays: dict[str, Any] = {FEATURES: array}
    if options.target is not None:
        width = array.shape[1] if array.ndim == 2 else 0
        if not is_whole(options.target) or not -width <= options.target < width or width < 2:
            raise SettingError(say("sources.target_number", name=name, came=options.target, shape=array.shape))
        column = int(options.target) % width
        others: Any = slice(0, width - 1) if column == width - 1 else slice(1, width)
        if 0 < column < width - 1:
            others = [k for k in range(width) if k != column]
        arrays = {FEATURES: Columns(array, others), TARGET: Columns(array, column)}
    return mapped(arrays, name=name, memory=options.memory, shuffle=options.shuffle, files=files)


def _of_arrays(arrays: Mapping[str, Any], options: _Options) -> Source:
    """Arrays by name, or the .npy files that hold them."""
    options.only(say("sources.what_arrays"), "target", "features", "shuffle")
    found: dict[str, Any] = {}
    files: list[Path] = []
    for name in _chosen(say("sources.what_arrays"), list(arrays), options):
        value = arrays[name]
        if isinstance(value, (str, Path)):
            from chainrule.data.sources.npz import map_arrays

            files.append(Path(value))
            read = map_arrays(Path(value), options.memory)
            if len(read) != 1:
                raise DataError(say("sources.one_array", name=value, names=", ".join(read)))
            value = next(iter(read.values()))
        elif not isinstance(value, np.ndarray):
            raise DataError(say("sources.no_array_value", name=name, came=type(value).__name__))
        found[name] = value
    shown = ", ".join(map(str, files)) or "data"
    return mapped(found, name=shown, memory=options.memory, shuffle=options.shuffle, files=files)


def _of_several(items: Sequence[Any], options: _Options) -> Source:
    """Parquet files of the same columns; else arrays or .npy files: x, t, and by their numbers."""
    if not items:
        raise DataError(say("sources.no_stream", came=type(items).__name__))
    if all(isinstance(item, (str, Path)) and str(item).lower().endswith(".parquet") for item in items):
        return _of_parquet([Path(item) for item in items], options)
    if all(isinstance(item, (tuple, list, Mapping)) for item in items):
        options.only(say("sources.what_batches"), "replayable")
        return BatchSource(items, options.memory, options.replayable)
    options.only(say("sources.what_arrays"), "shuffle")
    names = [FEATURES, TARGET, *map(str, range(2, len(items)))]
    return _of_arrays(dict(zip(names, items, strict=False)), options)


__all__ = ["as_source", "stream"]
