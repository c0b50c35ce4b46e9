"""`chainrule plot`: a model file, a formula file or a function → one picture, as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from chainrule.data.datasets import Dataset, Split
from chainrule.errors import SettingError, ShapeError
from chainrule.formula.parse import near, parse_system
from chainrule.interfaces.datasets import arrays_for, find, sizes_for
from chainrule.interfaces.plots import FORMATS, check_suffix, save_figure
from chainrule.interfaces.predict import parse_index
from chainrule.interfaces.scaling import with_scaling
from chainrule.interfaces.show import open_network
from chainrule.messages import say
from chainrule.training.network import Network
from chainrule.training.vocabulary import vocabulary

MANY = 500  # rows of the pictures that are means over data
FEW = 10  # images that are rebuilt


@dataclass(frozen=True)
class PlotOptions:
    """The options of `chainrule plot`, as click hands them over."""

    data: str | None = None
    index: str | None = None
    split: str = "test"
    weight: str | None = None
    start: str | None = None
    out: Path | None = None
    as_json: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of picture: how many rows of data it takes without --index (0: none), and the options that are its own."""

    draw: Callable[[Plotted], Any]
    rows: int = 0
    needs_data: bool = False
    own: tuple[str, ...] = ()
    is_sequence: bool = False
    is_function: bool = False


@dataclass(frozen=True)
class Plotted:
    """What is drawn: the network and its rows, or a function."""

    source: str
    options: PlotOptions
    path: Path
    network: Network | None = None
    arrays: Mapping[str, Any] = field(default_factory=dict)
    data: Dataset | None = None

    @property
    def net(self) -> Network:
        assert self.network is not None
        return self.network


def plot(source: str, kind: str, options: PlotOptions) -> int:
    """Draw one picture and print where it is; the exit code."""
    row = KINDS.get(kind.lower())
    if row is None:
        near_one = near(kind.lower(), KINDS)
        raise SettingError(say("pictures.no_kind", name=kind, known=", ".join(KINDS), near=near_one))
    _check_options(kind, row, options)
    path = options.out if options.out is not None else Path(f"{kind}.{'gif' if row.is_sequence else 'png'}")
    _check_path(kind, row, path)
    plotted = Plotted(source, options, path) if row.is_function else _of_network(source, kind, row, options, path)
    figure = row.draw(plotted)
    if figure is not None:
        save_figure(figure, path)
    click.echo(json.dumps({"file": str(path)}) if options.as_json else say("pictures.saved", path=path))
    return 0


def _check_options(kind: str, row: Kind, options: PlotOptions) -> None:
    """An option that this picture does not read would be a misunderstanding."""
    given = [name for name in ("data", "index", "weight", "start") if getattr(options, name) is not None]
    for name in given:
        reads = {n: _reads(k, name) for n, k in KINDS.items()}
        if not _reads(row, name):
            kinds = ", ".join(n for n, does in reads.items() if does)
            raise SettingError(say("pictures.not_this_kind", option=f"--{name}", kind=kind, kinds=kinds))
    if row.needs_data and options.data is None:
        raise SettingError(say("pictures.needs_data", kind=kind))


def _reads(kind: Kind, option: str) -> bool:
    return kind.rows > 0 if option in ("data", "index") else option in kind.own


def _check_path(kind: str, row: Kind, path: Path) -> None:
    """Before anything is computed: a name that cannot be written is known at once."""
    if not row.is_sequence:
        check_suffix(path, FORMATS)
    elif path.suffix.lower() != ".gif":
        raise SettingError(say("pictures.gif_only", kind=kind, path=path))


def _of_network(source: str, name: str, kind: Kind, options: PlotOptions, path: Path) -> Plotted:
    if options.data is None:
        if options.index is not None:
            raise SettingError(say("pictures.needs_data", kind=name))
        return Plotted(source, options, path, open_network(Path(source)))
    data = find(options.data)
    network = _with_sizes(open_network(Path(source)), data)
    split = data.train if options.split == "train" else data.test
    rows = parse_index(options.index, len(split.images)) if options.index else list(range(kind.rows))
    chosen = Split(split.images[rows], split.labels[rows])
    return Plotted(source, options, path, network, arrays_for(network.system, chosen), data)


def _with_sizes(network: Network, data: Dataset) -> Network:
    """A network from a formula file, whose sizes and scale the data set says, as `chainrule train` reads it."""
    try:
        _ = network.kept
    except ShapeError:
        system = parse_system(with_scaling(network.formulas).text, vocabulary())
        return Network(system, dtype=network.dtype, sizes=sizes_for(system, data), seed=network.seed)
    return network


# --- the kinds --------------------------------------------------------------------------------------------------------


def _network(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import network_diagram

    return network_diagram(plotted.net, plotted.arrays or None)


def _flow(plotted: Plotted) -> None:
    from chainrule.interfaces.pictures import flow_gif

    flow_gif(plotted.net, plotted.arrays, None, plotted.path)


def _weights(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import weight_images

    return weight_images(plotted.net, plotted.options.weight)


def _activations(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import activations

    return activations(plotted.net, _inputs(plotted))


def _inputs(plotted: Plotted) -> dict[str, Any]:
    names = {tensor.name for tensor in plotted.net.system.of_role("input")}
    return {name: array for name, array in plotted.arrays.items() if name in names}


def _loss(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import loss_plane

    return loss_plane(plotted.net, plotted.arrays)


def _line(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import loss_line

    return loss_line(plotted.net, plotted.arrays)


def _noise(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import batch_noise

    return batch_noise(plotted.net, plotted.arrays)


def _boundary(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import decision_boundary

    return decision_boundary(plotted.net)


def _reconstructions(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import reconstructions

    assert plotted.data is not None
    train = arrays_for(plotted.net.system, plotted.data.train, with_targets=False)
    return reconstructions(plotted.net, _inputs(plotted), pca=train)


def _descent(plotted: Plotted) -> Any:
    from chainrule.interfaces.pictures import descent

    text = plotted.options.start or "2"
    try:
        start = [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingError(say("pictures.bad_start", came=text)) from None
    return descent(plotted.source, start)


KINDS: Mapping[str, Kind] = {
    "network": Kind(_network, rows=1),
    "flow": Kind(_flow, rows=1, needs_data=True, is_sequence=True),
    "weights": Kind(_weights, own=("weight",)),
    "activations": Kind(_activations, rows=1, needs_data=True),
    "boundary": Kind(_boundary),
    "loss": Kind(_loss, rows=MANY, needs_data=True),
    "line": Kind(_line, rows=MANY, needs_data=True),
    "reconstructions": Kind(_reconstructions, rows=FEW, needs_data=True),
    "noise": Kind(_noise, rows=MANY, needs_data=True),
    "descent": Kind(_descent, own=("start",), is_function=True),
}
