"""`chainrule train`: formulas and data → a run folder."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.errors import ChainruleError, Diverged, FileError, SettingError
from chainrule.formula.expr import Symbol
from chainrule.formula.text import update_text
from chainrule.interfaces.answers import NUMBER_METRICS, plain_means, shown_means
from chainrule.interfaces.material import Material, material_for, row_count
from chainrule.interfaces.options import TrainOptions, given_class_weights, given_names, given_settings
from chainrule.interfaces.records import CUT_SHORT, DIVERGED, ENDED, Record, first_record, unfinished
from chainrule.interfaces.runs import Run, new_run
from chainrule.interfaces.signals import Ending
from chainrule.messages import say
from chainrule.training.checkpoints import Checkpoints
from chainrule.training.network import read_formula_file

if TYPE_CHECKING:
    from chainrule.training.network import Network
    from chainrule.training.optimizer import Optimizer
    from chainrule.training.watch import History

__all__ = ["TrainOptions", "train"]


def train(options: TrainOptions, command: list[str], given: Collection[str] = ()) -> int:
    """Train, evaluate on the test rows, and leave a run folder; the exit code.

    `given` are the options that were written on the command line.
    """
    with Ending() as ending:
        if options.resume is not None:
            from chainrule.interfaces.resume import resume

            return resume(options, given, ending)
        if options.network is not None:  # read once: run.json keeps what was read
            options = replace(options, network_text=read_formula_file(options.network))
        material = material_for(options)
        fitting = fitting_for(options, material)
        wishes = checkpoints_for(options, options.out or Path())  # a complaint comes before a folder is made
        with new_run(options.out, material.name) as run:
            for line in remarks(material):
                click.echo(line, err=True)
            record = first_record(command, options, material, used_options(fitting))
            try:
                outcome = perform(Task(run, material, fitting, record, replace(wishes, folder=run.folder)), ending)
            except (ChainruleError, KeyboardInterrupt, SystemExit) as error:
                # Where the disk was full all the time, run.json is what is left of a training: it can begin anew.
                if not (isinstance(error, FileError) and material.network.steps):
                    run.discard_if_unused()
                raise
            return report(outcome, options.as_json)


@dataclass(frozen=True)
class Task:
    """A training and where it goes. `resumed`: its folder has a run.json, and perhaps checkpoints."""

    run: Run
    material: Material
    fitting: Mapping[str, Any]
    record: Record
    checkpoints: Checkpoints
    resumed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a training came to; `code` is the exit code."""

    task: Task
    history: History
    test: Mapping[str, Any]
    reached: Mapping[str, Any]
    files: list[str]
    code: int


def perform(task: Task, ending: Ending) -> Outcome:
    """Train, and leave all files of the run folder. Raises: ChainruleError."""
    run, material, network = task.run, task.material, task.material.network
    task.record.begin_part(task.fitting["epochs"])
    run.save_formulas(network)
    run.save_note(task.record.content)
    start = time.perf_counter()
    try:
        with ending.in_training():
            history = network.fit(
                material.training, **task.fitting, checkpoints=task.checkpoints, resume=task.resumed or None
            )
    except Diverged as error:
        files = run.save_network(network)
        task.record.end_part(DIVERGED, {"diverged": str(error).splitlines()[0]})
        run.save_note(task.record.content)
        _tell("run_saved", folder=run.folder, files=", ".join(files))
        raise
    seconds = time.perf_counter() - start
    files = run.save_network(network)  # first, so that nothing that follows can lose the weights
    metrics = task.fitting.get("metrics")
    measured = {} if metrics is None else {"metrics": metrics}
    test = {} if material.test is None else plain_means(network.evaluate(material.test, **measured))
    files += run.save_history(history, test)
    files += material.picture(run) if material.picture is not None else []
    if history.profile is not None:
        files += run.save_profile(history.profile)
    reached = {
        "run": str(run.folder),
        "model": str(run.model),
        "samples": material.samples,
        "epochs": len(history.epoch),
        "best_epoch": _stopped(task.fitting.get("callbacks", ()), history, task.fitting["epochs"]),
        "seconds": round(seconds, 3),
        "interrupted": history.interrupted,
        "train": _last(history),
        "test": test,
    }
    noted = {k: v for k, v in reached.items() if k not in ("run", "model", "epochs")}
    early = not history.interrupted and len(history.epoch) < task.fitting["epochs"]
    noted |= {"epochs_done": len(history.epoch), "stopped_early": early}
    task.record.end_part(CUT_SHORT if history.interrupted else ENDED, noted)
    files += run.save_note(task.record.content)
    return Outcome(task, history, test, reached, files, ending.code if history.interrupted else 0)


def report(outcome: Outcome, as_json: bool) -> int:
    """Print what was reached; the exit code."""
    run, material = outcome.task.run, outcome.task.material
    if run.moved:
        _tell("run_exists", asked=run.asked, folder=run.folder)
        if unfinished(run.asked):
            click.echo(say("runs.unfinished", folder=run.asked), err=True)
    if as_json:
        columns = {} if material.layout is None else {"table": material.layout.to_dict()}
        click.echo(json.dumps({**outcome.reached, "files": outcome.files, **columns}, ensure_ascii=False))
    else:
        _report(run, material, outcome.history, outcome.test, outcome.files)
    return outcome.code


def checkpoints_for(options: TrainOptions, folder: Path) -> Checkpoints:
    """Where and how often. Raises: SettingError."""
    usual = Checkpoints(folder)
    every = usual.every if options.checkpoint_every is None else options.checkpoint_every
    return Checkpoints(folder, every, usual.keep if options.keep is None else options.keep)


def remarks(material: Material) -> tuple[str, ...]:
    """What is told before the training; the columns of a table are printed."""
    if material.layout is not None:
        from chainrule.interfaces.columns import print_columns

        print_columns(material.layout)
    return material.told


def used_options(fitting: Mapping[str, Any]) -> dict[str, Any]:
    """What was decided by the data, for the run's note."""
    rule, lines = _update_of(fitting["optimizer"])
    return {"optimizer": rule, "update": lines, "epochs": fitting["epochs"], "batch_size": fitting["batch_size"]}


def _report(run: Run, material: Material, history: History, test: Mapping[str, Any], files: list[str]) -> None:
    if history.profile is not None:
        click.echo(str(history.profile))
    if material.test is not None:
        count, means = row_count(material.test), shown_means(test)
        images = material.layout is None
        click.echo(say("interfaces.test_result" if images else "interfaces.test_rows", count=count, means=means))
    click.echo(say("interfaces.run_saved", folder=run.folder, files=", ".join(files)))


# --- what fit is asked for --------------------------------------------------------------------------------------------


def fitting_for(options: TrainOptions, material: Material) -> dict[str, Any]:
    """The options of `Network.fit`. Raises: SettingError for what does not go together."""
    fitting: dict[str, Any] = {
        "epochs": material.defaults.epochs if options.epochs is None else options.epochs,
        "batch_size": material.defaults.batch_size if options.batch_size is None else options.batch_size,
        "optimizer": _optimizer(material, options),
        "learning_rate": _rate(options),
        "threads": options.threads,
        "validation_data": material.watched,
        "verbose": 1 if sys.stderr.isatty() else 2,
        "engine": options.engine,
        "profile": options.profile,
    }
    settings = given_settings(options.settings)
    if options.schedule is not None and options.learning_rate is not None:
        settings["eta0"] = _number(options.learning_rate)
    if settings:
        fitting["hyper"] = settings
    counts = _counts(material)
    weights = given_class_weights(options.class_weight, material.class_names, counts)
    if weights is not None:
        fitting["class_weight"] = weights
    if (metrics := _metrics(options, material)) is not None:
        fitting["metrics"] = metrics
    patience = material.defaults.patience if options.early_stopping is None else options.early_stopping
    if options.early_stopping and material.validation is None:
        raise SettingError(say("interfaces.no_validation", option="--early-stopping"))
    if patience and material.validation is not None:
        from chainrule.training.callbacks import EarlyStopping

        fitting["callbacks"] = (EarlyStopping("val_loss", patience=patience, restore_best_weights=True),)
    return fitting


def _optimizer(material: Material, options: TrainOptions) -> str | Optimizer | None:
    """The asked rule; without one the text's own update lines, or the default where it has none."""
    own = [update_text(u) for u in material.network.system.updates if isinstance(u.target, Symbol)]
    every = bool(material.network.system.updates) and _ruled(material.network)
    rule = options.optimizer or (None if own or every else material.defaults.optimizer)
    if options.weight_decay is None and options.clip_norm is None and options.ema is None:
        return rule
    from chainrule.training.optimizer import Optimizer

    return Optimizer(
        rule or "\n".join(own) or material.defaults.optimizer,
        weight_decay=options.weight_decay,
        global_clip_norm=options.clip_norm,
        ema=options.ema,
    )


def _ruled(network: Network) -> bool:
    """Whether every parameter has an update line of its own."""
    named = {getattr(u.target, "tensor", None) for u in network.system.updates}
    return {p.name for p in network.system.parameters} <= named


def _rate(options: TrainOptions) -> float | str | None:
    """A number, or the name or formula of a schedule."""
    if options.schedule is not None:
        return options.schedule
    try:
        return None if options.learning_rate is None else float(options.learning_rate)
    except ValueError:
        return options.learning_rate


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingError(say("interfaces.rate_and_schedule", came=text)) from None


def _counts(material: Material) -> dict[int, int]:
    if material.classes is None:
        return {}
    counted = np.bincount(material.classes.astype(np.int64, copy=False), minlength=len(material.class_names))
    return dict(enumerate(counted.tolist()))


def _metrics(options: TrainOptions, material: Material) -> tuple[str, ...] | None:
    """The asked ones; for a number that is predicted from a table its usual ones."""
    if options.metrics is not None:
        return given_names(options.metrics)
    layout = material.layout
    return NUMBER_METRICS if layout is not None and layout.target.task == "regression" else None


# --- what is told -----------------------------------------------------------------------------------------------------


def _update_of(optimizer: Any) -> tuple[str | None, str | None]:
    """(rule, lines) for the run's note."""
    if optimizer is None or isinstance(optimizer, str):
        return optimizer, None
    return optimizer.rule, optimizer.formula


def _stopped(callbacks: Sequence[Any], history: History, epochs: int) -> int | None:
    """The epoch (from 1) whose weights are kept, told; None where nothing watched the validation rows."""
    if not callbacks or not history.epoch:
        return None
    best, done = int(callbacks[0].best_epoch) + 1, len(history.epoch)
    if done < epochs and not history.interrupted:
        _tell("stopped_early", done=done, patience=callbacks[0].patience, best=best)
    elif best < done:
        _tell("best_kept", best=best)
    return best


def _last(history: History) -> dict[str, Any]:
    return plain_means({n: values[-1] for n, values in history.history.items() if values and n != "seconds"})


def _tell(key: str, **values: Any) -> None:
    """A line beside the result: on stderr, so that a pipe carries results only."""
    click.echo(say(f"interfaces.{key}", **values), err=True)
