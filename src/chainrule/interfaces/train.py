"""`chainrule train`: formulas and a data set → a run folder."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.data.datasets import Dataset, Split
from chainrule.errors import Diverged, SettingError
from chainrule.formula.parse import parse_system
from chainrule.interfaces.build import Design, network_text, parse_widths
from chainrule.interfaces.datasets import arrays_for, find, sizes_for
from chainrule.interfaces.predict import rebuilds_input, shown_means
from chainrule.interfaces.runs import Run, start_run
from chainrule.interfaces.scaling import Scaled, with_scaling
from chainrule.messages import say
from chainrule.training.network import Network, read_formula_file
from chainrule.training.vocabulary import vocabulary

if TYPE_CHECKING:
    from chainrule.training.watch import History

DEFAULT_OPTIMIZER = "rmsprop"
PICTURES = 10  # images that an autoencoder's picture shows
INTERRUPTED = 130  # what shells report of a command that Ctrl-C ended


@dataclass(frozen=True)
class TrainOptions:
    """The options of `chainrule train`, as click hands them over."""

    data: str
    network: Path | None = None
    hidden: str | None = None
    activation: str | None = None
    loss: str | None = None
    epochs: int = 5
    batch_size: int = 128
    optimizer: str | None = None
    learning_rate: str | None = None
    seed: int = 0
    threads: int | None = None
    dtype: str = "float32"
    rows: int | None = None
    validation: int = 0
    no_scale: bool = False
    out: Path | None = None
    engine: str = "native"
    profile: bool = False


def train(options: TrainOptions, command: list[str]) -> int:
    """Train, evaluate on the test images, and leave a run folder; the exit code."""
    data = find(options.data)
    training, validation = _splits(data, options)
    name, scaled = _formulas(options)
    network = _network(scaled.text, data, options)
    run = start_run(options.out, name)
    if scaled.names:
        _tell("scaled", names=", ".join(scaled.names))
    try:
        return _train_into(run, network, data, training, validation, options, command)
    finally:
        run.discard_if_empty()


def _train_into(
    run: Run,
    network: Network,
    data: Dataset,
    training: Split,
    validation: Split | None,
    options: TrainOptions,
    command: list[str],
) -> int:
    optimizer = _optimizer(network, options)
    start = time.perf_counter()
    try:
        history = network.fit(
            arrays_for(network.system, training),
            epochs=options.epochs,
            batch_size=options.batch_size,
            optimizer=optimizer,
            learning_rate=_rate(options.learning_rate),
            threads=options.threads,
            validation_data=None if validation is None else (arrays_for(network.system, validation),),
            verbose=1 if sys.stderr.isatty() else 2,
            engine=options.engine,
            profile=options.profile,
        )
    except Diverged:
        files = run.save_network(network)
        _tell("run_saved", folder=run.folder, files=", ".join(files))
        raise
    seconds = time.perf_counter() - start
    files = run.save_network(network)  # first, so that nothing that follows can lose the weights
    test = network.evaluate(arrays_for(network.system, data.test))
    files += run.save_history(history, test)
    files += _picture(run, network, data)
    if history.profile is not None:
        files += run.save_profile(history.profile)
        click.echo(str(history.profile))
    note = {
        "command": command,
        **{k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()},
        "optimizer": optimizer,
        "samples": len(training.images),
        "seconds": round(seconds, 3),
        "interrupted": history.interrupted,
        "train": _last(history),
        "test": test,
    }
    files += run.save_note(note)
    if run.moved:
        _tell("run_exists", asked=run.asked, folder=run.folder)
    click.echo(say("interfaces.test_result", count=len(data.test.images), means=shown_means(test)))
    click.echo(say("interfaces.run_saved", folder=run.folder, files=", ".join(files)))
    return INTERRUPTED if history.interrupted else 0


def _formulas(options: TrainOptions) -> tuple[str, Scaled]:
    """The name of the run, and the network's text."""
    if options.network is None:
        design = Design()
        if options.hidden is not None:
            design = replace(design, hidden=parse_widths(options.hidden))
        design = replace(design, activation=options.activation or design.activation, loss=options.loss or design.loss)
        text = network_text(design)
        name = "-".join([options.data, *map(str, design.hidden)])
    else:
        clash = [f"--{n}" for n in ("hidden", "activation", "loss") if getattr(options, n) is not None]
        if clash:
            raise SettingError(say("interfaces.network_and_parts", options=", ".join(clash)))
        text, name = read_formula_file(options.network), options.network.stem
    return name, Scaled(text, ()) if options.no_scale else with_scaling(text)


def _network(text: str, data: Dataset, options: TrainOptions) -> Network:
    system = parse_system(text, vocabulary())
    return Network(system, dtype=options.dtype, sizes=sizes_for(system, data), seed=options.seed)


def _splits(data: Dataset, options: TrainOptions) -> tuple[Split, Split | None]:
    """The first `rows` images, of which the last `validation` are kept out of training."""
    count = len(data.train.images)
    rows = count if options.rows is None else options.rows
    if not 1 <= rows <= count:
        raise SettingError(say("training.whole_number", name="rows", came=rows, low=1, high=count))
    if not 0 <= options.validation < rows:
        raise SettingError(
            say("training.whole_number", name="validation", came=options.validation, low=0, high=rows - 1)
        )
    cut = rows - options.validation
    whole = data.train
    held_out = Split(whole.images[cut:rows], whole.labels[cut:rows]) if options.validation else None
    return Split(whole.images[:cut], whole.labels[:cut]), held_out


def _optimizer(network: Network, options: TrainOptions) -> str | None:
    """The asked rule; without one the text's own update lines, or RMSprop where it has none."""
    if options.optimizer is not None or network.system.updates:
        return options.optimizer
    return DEFAULT_OPTIMIZER


def _rate(text: str | None) -> float | str | None:
    """A number, or the name or formula of a schedule."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _picture(run: Run, network: Network, data: Dataset) -> list[str]:
    """For a network that rebuilds its input: some test images, and what became of them."""
    if not rebuilds_input(network.system):
        return []
    from chainrule.interfaces.plots import save_rebuilt

    images = data.test.images[:PICTURES]
    rebuilt = network.predict(arrays_for(network.system, Split(images, data.test.labels), with_targets=False))
    save_rebuilt(images, rebuilt, run.folder / "rebuilt.png", data.image_shape)
    return ["rebuilt.png"]


def _last(history: History) -> dict[str, float]:
    return {name: values[-1] for name, values in history.history.items() if values and name != "seconds"}


def _tell(key: str, **values: Any) -> None:
    """A line beside the result: on stderr, so that a pipe carries results only."""
    click.echo(say(f"interfaces.{key}", **values), err=True)
