"""The folder that a training leaves: model, formulas, history, picture, and a note of how it was made."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.errors import FileError
from chainrule.messages import say
from chainrule.training.files import write_bytes

if TYPE_CHECKING:
    from chainrule.kernels.profile import Profile
    from chainrule.training.network import Network
    from chainrule.training.watch import History

RUNS = Path("runs")
MAX_RUNS = 10_000
MODEL, FORMULAS, HISTORY, CURVES, NOTE = "model.safetensors", "network.formula", "history.csv", "curves.png", "run.json"
PROFILE = "profile.json"


@dataclass(frozen=True)
class Run:
    """A run folder; `asked` is the one that was wanted, another where that one is taken."""

    folder: Path
    asked: Path

    @property
    def model(self) -> Path:
        return self.folder / MODEL

    @property
    def moved(self) -> bool:
        return self.folder != self.asked

    def save_network(self, network: Network) -> list[str]:
        """The weights and the formulas. Raises: FileError."""
        network.save(self.model)
        write_bytes(self.folder / FORMULAS, network.formulas.encode())
        return [MODEL, FORMULAS]

    def save_history(self, history: History, test: Mapping[str, float] | None = None) -> list[str]:
        """Each epoch as a row and as a picture."""
        from chainrule.interfaces.plots import save_curves

        history.save(self.folder / HISTORY)
        if set(history.history) <= {"seconds"}:
            return [HISTORY]  # no epoch, or nothing that could be measured
        save_curves(history, self.folder / CURVES, test=test)
        return [HISTORY, CURVES]

    def save_note(self, note: Mapping[str, Any]) -> list[str]:
        """How the run was made and what it reached, as JSON."""
        return self._save_json(NOTE, {**note, "versions": versions()})

    def save_profile(self, profile: Profile) -> list[str]:
        """Where the time of a step went, as JSON."""
        return self._save_json(PROFILE, profile.to_dict())

    def _save_json(self, name: str, content: Mapping[str, Any]) -> list[str]:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_bytes(self.folder / name, (text + "\n").encode())
        return [name]

    def discard_if_empty(self) -> None:
        """A run that kept nothing leaves no folder."""
        try:
            self.folder.rmdir()
        except OSError:
            return


def start_run(asked: Path | None, name: str) -> Run:
    """Make the folder: the asked one or runs/<name>; where it holds something, the first free of <folder>-2, -3, …

    Raises: FileError where it cannot be made.
    """
    asked = asked if asked is not None else RUNS / (re.sub(r"[^\w.-]+", "-", name).strip(".-") or "network")
    try:
        for number in range(1, MAX_RUNS):
            folder = asked if number == 1 else asked.with_name(f"{asked.name}-{number}")
            if _take(folder):
                return Run(folder, asked)
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte, or without a name
        reason = getattr(error, "strerror", None) or error
        raise FileError(say("training.cannot_write", path=asked, reason=reason)) from None
    raise FileError(say("interfaces.runs_full", path=asked, limit=MAX_RUNS))


def _take(folder: Path) -> bool:
    """Whether the folder was made just now, or is there and empty."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return folder.is_dir() and not any(folder.iterdir())
    return True


def versions(packages: Sequence[str] = ("chainrule", "numpy", "llvmlite")) -> dict[str, str]:
    """Versions of what took part in the numbers."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
