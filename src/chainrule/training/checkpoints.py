"""Checkpoints while a network trains: when they are due, where they lie, which are kept, and the newest good one."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chainrule.data.checks import is_whole
from chainrule.errors import CheckpointError, FileError, SettingError, warn
from chainrule.messages import say, shortened
from chainrule.training.checkpoint_file import Checkpoint, read_checkpoint, write_checkpoint

FOLDER, SUFFIX, DAMAGED = "checkpoints", ".safetensors", ".damaged"
UNITS = {"step": 0.0, "epoch": 0.0, "second": 1.0, "minute": 60.0, "hour": 3600.0}
EVERY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)?\s*(step|epoch|second|minute|hour)s?\s*")
NAME = re.compile(r"[0-9]{12,}" + re.escape(SUFFIX))
LEFT_OVER = re.compile(r"\.[0-9]{12,}" + re.escape(SUFFIX) + r"\..+")  # of a write that a crash ended
SHOWN, SHOWN_SUM = 60, 12  # characters that a message repeats: of a setting, of a fingerprint


@dataclass(frozen=True)
class Checkpoints:
    """Where a training keeps checkpoints, how often, and how many: the newest `keep` of them.

    `every` is "200 steps", "1 epoch", "10 minutes" (seconds and hours too) or "never". Besides, one is written after
    the last epoch, and when Ctrl-C or SIGTERM ends the training. They lie in <folder>/checkpoints; the folder belongs
    to one training at a time.

    Raises: SettingError.
    Example:
    >>> Checkpoints("runs/digits", every="200 steps", keep=5).steps
    200
    """

    folder: str | Path
    every: str = "5 minutes"
    keep: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | Path) or not str(self.folder):
            raise SettingError(say("checkpoints.folder", came=repr(self.folder)))
        if not is_whole(self.keep) or self.keep < 1:
            raise SettingError(say("training.whole_number", name="keep", came=self.keep, low=1, high="…"))
        number, unit = self._parsed
        if unit != "never" and (number <= 0 or (unit in ("step", "epoch") and not number.is_integer())):
            raise SettingError(say("checkpoints.every", came=repr(self.every)))

    @property
    def _parsed(self) -> tuple[float, str]:
        if self.every == "never":
            return 0.0, "never"
        match = EVERY.fullmatch(self.every) if isinstance(self.every, str) else None
        if match is None:
            raise SettingError(say("checkpoints.every", came=repr(self.every)))
        return float(match[1] or 1), match[2]

    @property
    def steps(self) -> int | None:
        """Every so many steps, or None."""
        number, unit = self._parsed
        return int(number) if unit == "step" else None

    @property
    def epochs(self) -> int | None:
        """Every so many epochs, or None."""
        number, unit = self._parsed
        return int(number) if unit == "epoch" else None

    @property
    def seconds(self) -> float | None:
        """Every so many seconds, or None."""
        number, unit = self._parsed
        return number * UNITS[unit] if UNITS.get(unit) else None

    @property
    def place(self) -> Path:
        """The folder of the files."""
        return Path(self.folder) / FOLDER


def asked_checkpoints(checkpoints: object, resume: object) -> tuple[Checkpoints | None, Path | None]:
    """What fit was asked for: where checkpoints are kept, and the folder to go on from. Raises: SettingError."""
    if isinstance(resume, bool | np.bool_):
        if resume and checkpoints is None:
            raise SettingError(say("checkpoints.where"))
        wishes = _wishes(checkpoints)
        place = Path(wishes.folder) if resume and wishes is not None else None
        return wishes, place if place is not None and files(place) else None
    if resume is None:
        return _wishes(checkpoints), None
    if not isinstance(resume, str | Path) or not str(resume):
        raise SettingError(say("checkpoints.resume", came=repr(resume)))
    return _wishes(resume if checkpoints is None else checkpoints), Path(resume)


def _wishes(checkpoints: object) -> Checkpoints | None:
    if checkpoints is None or isinstance(checkpoints, Checkpoints):
        return checkpoints
    return Checkpoints(checkpoints)  # type: ignore[arg-type]  # which checks it


def files(folder: Path) -> list[Path]:
    """The checkpoints of a run's folder, the newest last. Raises: FileError."""
    place = folder / FOLDER
    try:
        return sorted((p for p in place.iterdir() if NAME.fullmatch(p.name)), key=lambda p: int(p.stem))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(say("training.cannot_read", path=place, reason=error.strerror or error)) from None


def latest(folder: str | Path) -> Checkpoint:
    """The newest checkpoint of a run's folder that is whole; a damaged one before it is told of by a warning.

    Raises: CheckpointError where there is none.
    """
    found = files(Path(folder))
    if not found:
        raise CheckpointError(say("checkpoints.none", folder=folder))
    reason = ""
    for number, path in enumerate(reversed(found)):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            reason = reason or str(error)
            continue
        if number:
            warn(say("checkpoints.fallback", reason=reason, name=path.name))
        return checkpoint
    raise CheckpointError(say("checkpoints.all_damaged", folder=folder, count=len(found), reason=reason))


def check_same(checkpoint: Checkpoint, settings: Mapping[str, str]) -> None:
    """Raises: SettingError, naming the first setting that is another than the checkpoint's."""
    names = [*checkpoint.settings, *(n for n in settings if n not in checkpoint.settings)]
    for name in names:
        then, now = checkpoint.settings.get(name, "–"), settings.get(name, "–")
        if then != now:
            key = "other_data" if name in ("data", "validation") else "other_setting"
            path = "–" if checkpoint.path is None else checkpoint.path
            most = SHOWN if key == "other_setting" else SHOWN_SUM
            raise SettingError(
                say(f"checkpoints.{key}", path=path, name=name, then=_short(then, most), now=_short(now, most))
            )


def _short(text: str, most: int) -> str:
    return shortened(" ".join(text.split()), most)


class Keeper:
    """Writes the checkpoints of one training, which holds the folder's lock."""

    def __init__(self, wishes: Checkpoints, resumed: Checkpoint | None):
        self.wishes = wishes
        self.place = wishes.place
        self.began = time.monotonic()
        self._tidy(resumed)

    def _tidy(self, resumed: Checkpoint | None) -> None:
        """Away with what crashed writes left; what is newer than the one to go on from is damaged, and put aside.

        Raises: SettingError where another training's checkpoints lie there; FileError.
        """
        found = files(Path(self.wishes.folder))
        own = resumed is not None and resumed.path is not None and resumed.path.parent == self.place
        if found and not own:
            raise SettingError(say("checkpoints.taken", folder=self.wishes.folder))
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            for path in self.place.iterdir():
                if LEFT_OVER.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            for path in found:
                if resumed is not None and resumed.path is not None and int(path.stem) > int(resumed.path.stem):
                    path.replace(path.with_name(path.name + DAMAGED))
        except OSError as error:
            raise FileError(say("training.cannot_write", path=self.place, reason=error.strerror or error)) from None

    def steps_left(self, done: int) -> int | None:
        """Until the next one is due, where they are counted in steps."""
        return None if self.wishes.steps is None else self.wishes.steps - done % self.wishes.steps

    def due(self) -> bool:
        """Whether so much time has passed."""
        return self.wishes.seconds is not None and time.monotonic() - self.began >= self.wishes.seconds

    def due_after(self, epochs: int) -> bool:
        """Whether one is due after so many epochs of this training."""
        return self.due() or (self.wishes.epochs is not None and epochs % self.wishes.epochs == 0)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write one, and drop the oldest. What cannot be written is told of, and the training goes on.

        A full disk may have room again in an hour, and a callback's state may be another one then; to end here would
        lose what was reached since the last one.
        """
        path = self.place / f"{checkpoint.position.done:012d}{SUFFIX}"
        try:
            write_checkpoint(path, checkpoint)
        except (FileError, SettingError) as error:
            warn(say("checkpoints.not_written", reason=error))
        self.began = time.monotonic()
        with contextlib.suppress(OSError, FileError):
            for old in files(Path(self.wishes.folder))[: -self.wishes.keep]:
                old.unlink(missing_ok=True)
