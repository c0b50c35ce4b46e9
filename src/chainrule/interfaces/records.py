"""run.json: what made a run, written before its first step, and what the run reached, added at its end.

It is enough to run it again: the options (`asked` has those as they were given that the data decided otherwise), the
folder that relative paths start from, the text of a network of one's own, and what tells the data from others. `parts`
has one entry for each time that the run was begun or gone on with.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.data.sources import Source
from chainrule.data.sources.fingerprint import Digest
from chainrule.errors import FileError, SettingError
from chainrule.interfaces.datasets import is_name
from chainrule.interfaces.options import TrainOptions, named_file
from chainrule.interfaces.runs import NOTE
from chainrule.messages import say
from chainrule.training.versions import versions

if TYPE_CHECKING:
    from chainrule.interfaces.material import Material

MAX_BYTES = 16_000_000  # of a run.json: the longest formulas, escaped, and a thousand parts fit
# What reads data: its version is noted where it was loaded.
READERS = {"pyarrow": "pyarrow", "narwhals": "narwhals", "PIL": "pillow", "h5py": "h5py"}
# JSON's types by what TrainOptions says of a field.
WRITTEN_AS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "Path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "None": (type(None),),
    "tuple[str, ...]": (list,),
}
FREE_OF_BITS = ("cores", "system")  # of a machine: the result is the same for any number of threads
ENDED, CUT_SHORT, DIVERGED = "ended", "interrupted", "diverged"


@dataclass
class Record:
    """A run.json while it is written, or as it was read."""

    content: dict[str, Any]

    @property
    def finished(self) -> bool:
        return self.content.get("finished") is True

    @property
    def working_folder(self) -> Path:
        return Path(str(self.content.get("working_folder", ".")))

    @property
    def parts(self) -> list[dict[str, Any]]:
        found = self.content.get("parts")
        return [p for p in found if isinstance(p, dict)] if isinstance(found, list) else []

    @property
    def data(self) -> list[dict[str, Any]]:
        found = self.content.get("data_files")
        return [f for f in found if isinstance(f, dict)] if isinstance(found, list) else []

    def ask_for(self, asked: int | None, epochs: int) -> None:
        """From now on it goes to so many epochs."""
        given = self.content.get("asked")
        self.content |= {"epochs": epochs, "asked": {**(given if isinstance(given, dict) else {}), "epochs": asked}}

    def begin_part(self, epochs: int) -> None:
        """Note that the run is begun, or gone on with, to reach so many epochs."""
        part = {"started": now(), "epochs": epochs, "process": os.getpid(), "how": None}
        self.content |= {"finished": False, "parts": [*self.parts, part]}

    def end_part(self, how: str, reached: Mapping[str, Any]) -> None:
        """Note how it ended, and what it reached."""
        last = {**self.parts[-1], "ended": now(), "how": how}
        self.content |= {**reached, "finished": how == ENDED, "parts": [*self.parts[:-1], last]}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def first_record(command: list[str], options: TrainOptions, material: Material, used: Mapping[str, Any]) -> Record:
    """What is known before the first step; `used` are the options that were decided by the data."""
    asked = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items() if k != "resume"}
    return Record({
        "command": command,
        **{"test_file" if name == "test" else name: value for name, value in asked.items()},
        **used,
        "asked": {name: asked[name] for name in used if name in asked},
        "in_pieces": material.in_pieces,
        "finished": False,
        "started": now(),
        "working_folder": os.getcwd(),
        "data_files": list(data_files(options, material)),
        "versions": all_versions(),
        "machine": machine(),
        "parts": [],
    })  # fmt: skip


def read_record(folder: Path) -> Record:
    """The run.json of a folder. Raises: FileError, one line, where it is none."""
    path = folder / NOTE
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise FileError(say("runs.no_record", folder=folder)) from None
        reason = getattr(error, "strerror", None) or error
        raise FileError(say("training.cannot_read", path=path, reason=reason)) from None
    try:
        content = json.loads(text) if len(text) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise FileError(say("runs.damaged", path=path))
    return Record(content)


def unfinished(folder: Path) -> bool:
    """Whether the folder has a run that may be gone on with."""
    try:
        return not read_record(folder).finished
    except FileError:
        return False


def recorded_options(record: Record, folder: Path) -> TrainOptions:
    """The options that a run was begun with; relative paths of its data start from its own working folder.

    Raises: FileError where the record does not say them.
    """
    path = folder / NOTE
    asked = record.content.get("asked")
    if not isinstance(asked, dict):
        raise FileError(say("runs.old_record", path=path))
    # What was reached has the name `test`, so the option has another; an option that came later has its default.
    own = {**record.content, "test": record.content.get("test_file"), **asked}
    kinds = {f.name: str(f.type) for f in fields(TrainOptions) if f.name in own and f.name != "resume"}
    if "data" not in kinds or not all(_fits(own[name], kind) for name, kind in kinds.items()):
        raise FileError(say("runs.damaged", path=path))
    values = {name: _typed(own[name], kind) for name, kind in kinds.items()}
    return _resolved(TrainOptions(**values), record.working_folder)


def _fits(value: object, kind: str) -> bool:
    """Whether a value of JSON is of a type such as "int | None"."""
    allowed = [one for part in kind.split(" | ") for one in WRITTEN_AS[part]]
    if isinstance(value, bool) and bool not in allowed:  # a bool is an int to Python
        return False
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        return False
    return isinstance(value, tuple(allowed))


def _typed(value: Any, kind: str) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if "Path" in kind and isinstance(value, str):
        return Path(value)
    return float(value) if kind.startswith("float") and isinstance(value, int) else value


def _resolved(options: TrainOptions, folder: Path) -> TrainOptions:
    """Relative paths of data, from `folder` on."""
    changes: dict[str, Any] = {}
    if not is_data_set(options.data):
        changes["data"] = str(folder / options.data)
    for name in ("test", "labels", "test_labels", "data_dir"):
        if (path := getattr(options, name)) is not None:
            changes[name] = folder / path
    if (held_out := named_file(options.validation)) is not None:
        changes["validation"] = str(folder / held_out)
    return replace(options, **changes)


def is_data_set(name: str) -> bool:
    """Whether DATA is the name of a data set, and no path."""
    return is_name(name)


# --- what tells data from others --------------------------------------------------------------------------------------


def data_files(options: TrainOptions, material: Material) -> Iterator[dict[str, Any]]:
    """Each file or folder that was read, and a data set by its arrays. Raises: FileError."""
    if is_data_set(options.data):
        parts = (material.training, material.validation, material.test)
        yield {"role": "data", "name": options.data, "fingerprint": fingerprint_of_arrays(*parts)}
    else:
        yield {"role": "data", "path": options.data, **fingerprint(Path(options.data))}
    for role in ("test", "labels", "test_labels"):
        if (path := getattr(options, role)) is not None:
            yield {"role": role, "path": str(path), **fingerprint(path)}
    if (held_out := named_file(options.validation)) is not None:
        yield {"role": "validation", "path": str(held_out), **fingerprint(held_out)}


def fingerprint(path: Path) -> dict[str, Any]:
    """How large a file is, or all files of a folder together, and what tells it from others. Raises: FileError."""
    digest, files = Digest(), [path]
    try:
        if path.is_dir():
            files = sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.relative_to(path).parts)
        size = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise FileError(say("training.cannot_read", path=path, reason=error.strerror or error)) from None
    for file in files:
        digest.words(*file.relative_to(path).parts)
        digest.file(file)
    return {"bytes": size, "fingerprint": digest.text()}


def fingerprint_of_arrays(*parts: Any) -> str:
    """Of training, validation and test: arrays by name, a Source, or None."""
    digest = Digest()
    for part in parts:
        digest.words(type(part).__name__ if part is None else "rows")
        if isinstance(part, Source):
            digest.words(part.fingerprint())
        elif part is not None:
            for name, array in part.items():
                digest.array(name, array)
    return digest.text()


def changed_data(record: Record, options: TrainOptions, material: Material) -> list[str]:
    """A line for each file that is another one than when the run began. Raises: FileError."""
    lines = []
    before = {str(f.get("role")): f for f in record.data}
    for now_found in data_files(options, material):
        then = before.get(now_found["role"])
        if then is not None and then.get("fingerprint") != now_found["fingerprint"]:
            lines.append(_change(then, now_found))
    return lines


def _change(then: Mapping[str, Any], now_found: Mapping[str, Any]) -> str:
    name = now_found.get("path") or now_found.get("name")
    if then.get("bytes") != now_found.get("bytes"):
        return say("runs.other_size", path=name, then=then.get("bytes"), now=now_found.get("bytes"))
    return say(
        "runs.other_content", path=name, then=str(then.get("fingerprint"))[:12], now=now_found["fingerprint"][:12]
    )


def refuse_changed_data(record: Record, options: TrainOptions, material: Material) -> None:
    """Raises: SettingError, naming each file that is another one."""
    if changed := changed_data(record, options, material):
        raise SettingError(say("runs.data_changed", changes="; ".join(changed)))


# --- where it ran -----------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What of this machine may matter to the bits, and what tells machines apart."""
    from chainrule.kernels.host import host

    own = host()
    return {
        "cpu": own.cpu,
        "vector_bytes": own.vector_bytes,
        "cores": own.cores,
        "system": platform.platform(),
    }


def all_versions() -> dict[str, str]:
    """Versions of what takes part in the numbers, and of what has read the data."""
    readers = [package for module, package in READERS.items() if module in sys.modules]
    return versions(("chainrule", "numpy", "llvmlite", *readers))


def changed_places(record: Record) -> list[str]:
    """What of versions and machine is another than when the run was made."""
    lines = []
    for then, now in ((record.content.get("versions"), all_versions()), (record.content.get("machine"), machine())):
        if isinstance(then, dict):
            pairs = [(n, then[n], now[n]) for n in then if n in now and n not in FREE_OF_BITS and then[n] != now[n]]
            lines += [say("runs.change", name=name, then=old, now=new) for name, old, new in pairs]
    return lines
