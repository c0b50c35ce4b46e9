"""`chainrule train`: formulas and data → a run folder."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.errors import Diverged, SettingError
from chainrule.formula.expr import Symbol
from chainrule.formula.text import update_text
from chainrule.interfaces.answers import NUMBER_METRICS, plain_means, shown_means
from chainrule.interfaces.material import Material, material_for
from chainrule.interfaces.options import TrainOptions, given_class_weights, given_names, given_settings
from chainrule.interfaces.runs import Run, start_run
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.training.network import Network
    from chainrule.training.optimizer import Optimizer
    from chainrule.training.watch import History

__all__ = ["TrainOptions", "train"]

INTERRUPTED = 130  # what shells report of a command that Ctrl-C ended


def train(options: TrainOptions, command: list[str]) -> int:
    """Train, evaluate on the test rows, and leave a run folder; the exit code."""
    material = material_for(options)
    fitting = _fitting(options, material)
    run = start_run(options.out, material.name)
    if material.layout is not None:
        from chainrule.interfaces.columns import print_columns

        print_columns(material.layout)
    for line in material.told:
        click.echo(line, err=True)
    try:
        return _train_into(run, material, fitting, options, command)
    finally:
        run.discard_if_empty()


def _train_into(
    run: Run, material: Material, fitting: dict[str, Any], options: TrainOptions, command: list[str]
) -> int:
    network = material.network
    start = time.perf_counter()
    try:
        history = network.fit(material.training, **fitting)
    except Diverged:
        files = run.save_network(network)
        _tell("run_saved", folder=run.folder, files=", ".join(files))
        raise
    seconds = time.perf_counter() - start
    files = run.save_network(network)  # first, so that nothing that follows can lose the weights
    measured = {} if fitting.get("metrics") is None else {"metrics": fitting["metrics"]}
    test = {} if material.test is None else plain_means(network.evaluate(material.test, **measured))
    files += run.save_history(history, test)
    files += material.picture(run) if material.picture is not None else []
    if history.profile is not None:
        files += run.save_profile(history.profile)
    rule, lines = _update_of(fitting["optimizer"])
    stopped = _stopped(fitting.get("callbacks", ()), history, fitting["epochs"])
    record = {
        "run": str(run.folder),
        "model": str(run.model),
        "samples": material.samples,
        "epochs": len(history.epoch),
        "best_epoch": stopped,
        "seconds": round(seconds, 3),
        "interrupted": history.interrupted,
        "train": _last(history),
        "test": test,
    }
    asked = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}
    asked["test_file"] = asked.pop("test")
    used = {"optimizer": rule, "update": lines, "epochs": fitting["epochs"], "batch_size": fitting["batch_size"]}
    reached = {k: v for k, v in record.items() if k not in ("run", "model", "epochs")}
    files += run.save_note({"command": command, **asked, **used, **reached})
    if run.moved:
        _tell("run_exists", asked=run.asked, folder=run.folder)
    if options.as_json:
        columns = {} if material.layout is None else {"table": material.layout.to_dict()}
        click.echo(json.dumps({**record, "files": files, **columns}, ensure_ascii=False))
    else:
        _report(run, material, history, test, files)
    return INTERRUPTED if history.interrupted else 0


def _report(run: Run, material: Material, history: History, test: Mapping[str, Any], files: list[str]) -> None:
    if history.profile is not None:
        click.echo(str(history.profile))
    if material.test is not None:
        count, means = len(next(iter(material.test.values()))), shown_means(test)
        images = material.layout is None
        click.echo(say("interfaces.test_result" if images else "interfaces.test_rows", count=count, means=means))
    click.echo(say("interfaces.run_saved", folder=run.folder, files=", ".join(files)))


# --- what fit is asked for --------------------------------------------------------------------------------------------


def _fitting(options: TrainOptions, material: Material) -> dict[str, Any]:
    """The options of `Network.fit`. Raises: SettingError for what does not go together."""
    fitting: dict[str, Any] = {
        "epochs": material.defaults.epochs if options.epochs is None else options.epochs,
        "batch_size": material.defaults.batch_size if options.batch_size is None else options.batch_size,
        "optimizer": _optimizer(material, options),
        "learning_rate": _rate(options),
        "threads": options.threads,
        "validation_data": None if material.validation is None else (material.validation,),
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
    counted = np.bincount(material.classes.astype(np.int64), minlength=len(material.class_names))
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
