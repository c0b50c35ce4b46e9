"""`chainrule train --resume runs/x`: a run goes on as its run.json says.

It ends with the weights of a run that was never interrupted, to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainrule.errors import SettingError
from chainrule.interfaces.material import material_for
from chainrule.interfaces.options import TrainOptions
from chainrule.interfaces.records import Record, changed_places, read_record, recorded_options, refuse_changed_data
from chainrule.interfaces.runs import old_run
from chainrule.interfaces.train import Task, checkpoints_for, fitting_for, perform, remarks, report
from chainrule.messages import say
from chainrule.training.checkpoints import files as checkpoint_files
from chainrule.training.checkpoints import latest

if TYPE_CHECKING:
    from chainrule.interfaces.signals import Ending

# What may be another than when the run began: none of it changes the steps that are taken.
FREE = ("epochs", "threads", "memory", "data_dir", "checkpoint_every", "keep", "as_json")
FLAGS = {"as_json": "--json", "settings": "--set", "data": "DATA"}


def resume(asked: TrainOptions, given: Collection[str], ending: Ending) -> int:
    """Go on with a run; the exit code. Raises: SettingError, FileError, DataError."""
    assert asked.resume is not None
    _refuse_others(given)
    read_record(asked.resume)  # complains before the folder is held: holding it makes it
    with old_run(asked.resume) as run:
        record = read_record(run.folder)
        changes = {name: getattr(asked, name) for name in FREE if name in given}
        options = replace(recorded_options(record, run.folder), resume=run.folder, **{"as_json": False, **changes})
        if (reason := _nothing_to_do(record, options, "epochs" in given)) is not None:
            return _tell_nothing(run.folder, record, reason, options.as_json)
        if "epochs" in given:
            _refuse_fewer(run.folder, options.epochs or 0)
        material = material_for(options)
        refuse_changed_data(record, options, material)
        fitting = fitting_for(options, material)
        for line in remarks(material):
            click.echo(line, err=True)
        if not checkpoint_files(run.folder):
            click.echo(say("runs.no_checkpoint", folder=run.folder), err=True)
        if places := changed_places(record):
            click.echo(say("runs.other_place", changes="; ".join(places)), err=True)
        record.ask_for(options.epochs, fitting["epochs"])
        wishes = checkpoints_for(options, run.folder)
        return report(perform(Task(run, material, fitting, record, wishes, resumed=True), ending), options.as_json)


def _refuse_others(given: Collection[str]) -> None:
    """Raises: SettingError for an option that would make it another run."""
    others = [_flag(name) for name in given if name not in (*FREE, "resume")]
    if others:
        known = ", ".join(_flag(name) for name in FREE)
        raise SettingError(say("runs.resume_and_others", options=", ".join(others), known=known))


def _refuse_fewer(folder: Path, epochs: int) -> None:
    """Raises: SettingError where the last checkpoint is further; CheckpointError where none is whole."""
    if not checkpoint_files(folder):
        return
    position = latest(folder).position
    begun = position.epoch + (position.steps > 0)
    if epochs < begun:
        raise SettingError(say("runs.fewer_epochs", came=epochs, done=begun))


def _flag(name: str) -> str:
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def _nothing_to_do(record: Record, options: TrainOptions, asked: bool) -> str | None:
    """Why the run is complete as it is, None where it can go on."""
    done = record.content.get("epochs_done")
    if not record.finished or not isinstance(done, int):
        return None
    if record.content.get("stopped_early") is True:
        return say("runs.stopped_early", done=done)
    wanted = options.epochs if asked and options.epochs is not None else done
    return None if wanted > done else say("runs.complete", done=done, more=4 * done or 1)


def _tell_nothing(folder: Path, record: Record, reason: str, as_json: bool) -> int:
    click.echo(f"{folder}: {reason}", err=as_json)
    if as_json:
        names = ("model", "samples", "best_epoch", "seconds", "interrupted", "train", "test")
        known = {name: record.content[name] for name in names if name in record.content}
        done = {"run": str(folder), **known, "epochs": record.content["epochs_done"], "files": []}
        click.echo(json.dumps(done, ensure_ascii=False))
    return 0
