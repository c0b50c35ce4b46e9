"""`chainrule reproduce runs/x`: the run once more from its run.json, and every bit of its model compared."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from chainrule.errors import SettingError
from chainrule.formula.evaluate import Array
from chainrule.interfaces.material import material_for
from chainrule.interfaces.options import TrainOptions
from chainrule.interfaces.records import (
    Record,
    changed_data,
    changed_places,
    first_record,
    read_record,
    recorded_options,
)
from chainrule.interfaces.runs import Run, new_run
from chainrule.interfaces.signals import Ending
from chainrule.interfaces.train import Task, checkpoints_for, fitting_for, perform, used_options
from chainrule.messages import say
from chainrule.training.network import load

SAME, OTHER = 0, 1


@dataclass(frozen=True)
class Difference:
    """An array whose bits are not those of the first run: how many of its numbers, and the largest difference."""

    name: str
    numbers: int
    of: int
    largest: float


def reproduce(folder: Path, out: Path | None, as_json: bool) -> int:
    """Run it again, compare, and say what is found; 0 where every bit is the same.

    Raises: SettingError where the run was not finished; FileError, DataError.
    """
    record = read_record(folder)
    options = replace(recorded_options(record, folder), as_json=False, out=out, profile=False)
    if not record.finished:
        raise SettingError(say("runs.not_finished", folder=folder))
    before = load(folder / "model.safetensors").kept
    with Ending() as ending, _place(out, folder.name) as run:
        changes = changed_places(record)
        again = _run_again(record, options, run, ending, changes)
        if again is None:
            click.echo(say("interfaces.stopped"), err=True)
            return ending.code
        found = list(differences(before, again))
        _tell(folder, None if out is None else run.folder, len(before), found, changes, as_json)
    return OTHER if found else SAME


@contextmanager
def _place(out: Path | None, name: str) -> Iterator[Run]:
    """The new run's folder: the asked one, or one that is gone afterwards."""
    with ExitStack() as stack:
        if out is None:
            out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chainrule-"))) / (name or "run")
        yield stack.enter_context(new_run(out, name))


def _run_again(
    record: Record, options: TrainOptions, run: Run, ending: Ending, changes: list[str]
) -> Mapping[str, Array] | None:
    """The weights of the run once more; None where it was stopped."""
    material = material_for(options)
    changes += changed_data(record, options, material)
    fitting = fitting_for(options, material)
    fresh = first_record(["chainrule", "reproduce"], options, material, used_options(fitting))
    outcome = perform(Task(run, material, fitting, fresh, checkpoints_for(options, run.folder)), ending)
    return None if outcome.history.interrupted else load(run.model).kept


def differences(before: Mapping[str, Array], after: Mapping[str, Array]) -> Iterator[Difference]:
    """The arrays that are not the same, bit for bit."""
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old is None or new is None or old.shape != new.shape or old.dtype != new.dtype:
            count = (old if old is not None else new).size  # type: ignore[union-attr]  # one of the two is there
            yield Difference(name, count, count, float("inf"))
        elif old.tobytes() != new.tobytes():
            bits = np.dtype(f"u{old.dtype.itemsize}")
            other = np.ascontiguousarray(old).view(bits) != np.ascontiguousarray(new).view(bits)
            largest = float(np.abs(old.astype(np.float64) - new.astype(np.float64)).max())
            yield Difference(name, int(other.sum()), old.size, largest)


def _tell(
    folder: Path, kept: Path | None, arrays: int, found: list[Difference], changes: list[str], as_json: bool
) -> None:
    if as_json:
        click.echo(json.dumps(_as_json(folder, kept, arrays, found, changes), ensure_ascii=False))
        return
    if not found:
        click.echo(say("runs.identical", count=arrays))
    for one in found:
        largest = f"{one.largest:.3g}"
        click.echo(say("runs.differs", name=one.name, numbers=one.numbers, of=one.of, largest=largest))
    for line in changes:
        click.echo(line, err=not found)
    if found and not changes:
        click.echo(say("runs.nothing_changed"))


def _as_json(
    folder: Path, kept: Path | None, arrays: int, found: list[Difference], changes: list[str]
) -> dict[str, Any]:
    different = [{"name": d.name, "numbers": d.numbers, "of": d.of, "largest": d.largest} for d in found]
    return {
        "run": str(folder),
        "reproduced": None if kept is None else str(kept),
        "identical": not found,
        "arrays": arrays,
        "different": different,
        "changes": changes,
    }
