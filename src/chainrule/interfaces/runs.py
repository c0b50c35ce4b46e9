"""The folder that a training leaves: model, formulas, history, picture, and a note of how it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.errors import FileError, RunLocked
from chainrule.messages import say
from chainrule.training.files import write_bytes
from chainrule.training.locks import HOLDER, LOCK, hold, is_held

if TYPE_CHECKING:
    from chainrule.kernels.profile import Profile
    from chainrule.training.network import Network
    from chainrule.training.watch import History

RUNS = Path("runs")
MAX_RUNS = 10_000
MODEL, FORMULAS, HISTORY, CURVES, NOTE = "model.safetensors", "network.formula", "history.csv", "curves.png", "run.json"
PROFILE, CHECKPOINTS = "profile.json", "checkpoints"
# Beside the file that it was to become, when a crash came; checkpoints have their own.
LEFT_OVER = re.compile(rf"\.({'|'.join(map(re.escape, (MODEL, FORMULAS, HISTORY, CURVES, NOTE, PROFILE)))})\..+")
MARKS = {LOCK, HOLDER}  # of a training that holds the folder


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

    def save_formulas(self, network: Network) -> list[str]:
        """The formulas alone: what is known before the first step. Raises: FileError."""
        write_bytes(self.folder / FORMULAS, network.formulas.encode())
        return [FORMULAS]

    def save_note(self, note: Mapping[str, Any]) -> list[str]:
        """How the run was made and what it reached, as JSON."""
        return self._save_json(NOTE, note)

    def save_profile(self, profile: Profile) -> list[str]:
        """Where the time of a step went, as JSON."""
        return self._save_json(PROFILE, profile.to_dict())

    def _save_json(self, name: str, content: Mapping[str, Any]) -> list[str]:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_bytes(self.folder / name, (text + "\n").encode())
        return [name]

    def discard_if_unused(self) -> None:
        """A run that reached nothing leaves no folder: neither weights nor a checkpoint are in it."""
        names = {path.name for path in self.folder.iterdir()} - MARKS
        if not names <= {NOTE, FORMULAS, CHECKPOINTS} or any((self.folder / CHECKPOINTS).glob("*")):
            return
        with suppress(OSError):
            (self.folder / CHECKPOINTS).rmdir() if CHECKPOINTS in names else None
            for name in (NOTE, FORMULAS, HOLDER, LOCK):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()


@contextmanager
def new_run(asked: Path | None, name: str) -> Iterator[Run]:
    """A folder for a run, held while the block runs: the asked one or runs/<name>; where that has something, the first
    free of <folder>-2, -3, …

    Raises: RunLocked where another training writes to the asked folder; FileError where it cannot be made.
    """
    with ExitStack() as held:
        yield _find_folder(asked, name, held)


@contextmanager
def old_run(folder: Path) -> Iterator[Run]:
    """The folder of a run that is gone on with, held while the block runs. Raises: RunLocked, FileError."""
    with hold(folder):
        for path in folder.glob(".*.*.*"):
            if LEFT_OVER.fullmatch(path.name):
                path.unlink(missing_ok=True)
        yield Run(folder, folder)


def _find_folder(given: Path | None, name: str, held: ExitStack) -> Run:
    asked = given if given is not None else RUNS / (re.sub(r"[^\w.-]+", "-", name).strip(".-") or "network")
    try:
        for number in range(1, MAX_RUNS):
            folder = asked if number == 1 else asked.with_name(f"{asked.name}-{number}")
            try:
                if _take(folder, held):
                    return Run(folder, asked)
            except RunLocked:
                # Who named the folder wants that one. Two trainings that named none get a folder each.
                if given is not None and number == 1:
                    raise
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte, or without a name
        if isinstance(error, FileError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FileError(say("training.cannot_write", path=asked, reason=reason)) from None
    raise FileError(say("interfaces.runs_full", path=asked, limit=MAX_RUNS))


def _take(folder: Path, held: ExitStack) -> bool:
    """Hold the folder where it is new or empty. Raises: RunLocked where another training writes to it."""
    if folder.exists() and (not folder.is_dir() or _has_something(folder)):
        if is_held(folder):
            held.enter_context(hold(folder))  # refuses, and says who holds it
        return False
    own = ExitStack()
    own.enter_context(hold(folder))
    if _has_something(folder):  # of a training that was faster
        own.close()
        return False
    held.enter_context(own)
    return True


def _has_something(folder: Path) -> bool:
    return any(path.name not in MARKS for path in folder.iterdir())
