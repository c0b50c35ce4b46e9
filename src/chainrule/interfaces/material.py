"""What `chainrule train` trains on: a data set of images, or a table; with the network for it.

Both become a Material, so that the training itself knows neither pixels nor columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.bigtables import big_table
from chainrule.data.columns import Layout, Target, column_of
from chainrule.data.datasets import Dataset, Split
from chainrule.data.finding import Wishes, find_layout, looks_like_dates, target_of
from chainrule.data.sources import Source
from chainrule.data.splits import lone_classes, split_rows
from chainrule.data.tables import SUFFIXES, Table, read_table
from chainrule.errors import DataError, SettingError
from chainrule.formula.parse import parse_system
from chainrule.interfaces.answers import as_written, labelled_arrays
from chainrule.interfaces.bigtables import big_for, labelled_rows, material_of_big
from chainrule.interfaces.build import Design, fits_one_output, network_text, parse_widths
from chainrule.interfaces.datasets import arrays_for, find, image_sizes, is_name
from chainrule.interfaces.image_files import OwnImages, image_rows, own_images
from chainrule.interfaces.images import ImageNote, keep_note, numbers
from chainrule.interfaces.options import (
    TrainOptions,
    given_held_out,
    given_kinds,
    given_memory,
    given_names,
    given_rows,
    given_shares,
)
from chainrule.interfaces.predict import rebuilds_input
from chainrule.interfaces.runs import Run
from chainrule.interfaces.scaling import Scaled, with_scaling
from chainrule.interfaces.tabular import (
    arrays_from,
    blurred,
    inputs_for,
    keep_layout,
    sizes_from,
    targets_from,
    with_columns_scaled,
)
from chainrule.messages import say
from chainrule.training.network import Network, read_formula_file
from chainrule.training.vocabulary import vocabulary

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Rows = Arrays | Source  # a Source where the budget of memory does not hold them

PICTURES = 10  # images that an autoencoder's picture shows
TABLE_HIDDEN = (64, 32)
SHOWN_LONE = 3  # classes that occur once, told
TABLE_SHARES = (0.8, 0.1, 0.1)
SPLIT_WHERE_TEST_IS = (0.9, 0.1)


@dataclass(frozen=True)
class Defaults:
    """Options that depend on the kind of data, where the user leaves them out."""

    epochs: int
    batch_size: int
    optimizer: str
    patience: int  # epochs without a better validation loss; 0 never stops


MANY_IMAGES = 10_000
BIG_IMAGES = Defaults(epochs=5, batch_size=128, optimizer="rmsprop", patience=0)
FEW_IMAGES = Defaults(epochs=50, batch_size=32, optimizer="adam", patience=10)


@dataclass(frozen=True)
class Material:
    """Arrays by what the formulas declare, and the network. `classes` (N,) are the training rows' class numbers."""

    name: str
    network: Network
    training: Rows
    validation: Rows | None
    test: Rows | None
    defaults: Defaults
    classes: Array | None = None
    class_names: tuple[str, ...] = ()
    layout: Layout | None = None
    told: tuple[str, ...] = ()
    picture: Callable[[Run], list[str]] | None = None
    in_pieces: bool = False  # a table that was read piece by piece: its split is another one than in memory

    @property
    def samples(self) -> int:
        return row_count(self.training)

    @property
    def watched(self) -> object:
        """The rows for the validation, as `fit` takes them."""
        rows = self.validation
        return rows if rows is None or isinstance(rows, Source) else (rows,)


def row_count(rows: Rows) -> int:
    """How many rows there are; 0 of a source that does not know."""
    return rows.rows or 0 if isinstance(rows, Source) else len(next(iter(rows.values())))


def material_for(options: TrainOptions) -> Material:
    """The data that DATA names: a file, else a data set. Raises: SettingError, DataError, FileError, FormulaError."""
    path = Path(options.data)
    name = path.name.lower().removesuffix(".gz")
    if not is_name(options.data) and (found := own_images(options)) is not None:
        return _of_own_images(options, found)
    for option in ("labels", "test_labels", "image_size", "grey", "rgb"):
        if getattr(options, option):
            flag = f"--{option.replace('_', '-')}"
            raise SettingError(say("datasets.not_here", option=flag, data=options.data))
    if not is_name(options.data) and (name.endswith(SUFFIXES) or len(path.parts) > 1 or path.is_file()):
        return _of_table(options)
    for option in ("target", "features", "kinds", "task", "scale", "split", "test", "encoding", "header"):
        if getattr(options, option) is not None:
            raise SettingError(say("tables.only_tables", option=f"--{option}", data=options.data))
    return _of_images(options)


def _design(options: TrainOptions, default: Design) -> Design:
    """The generated network, by the options."""
    design = replace(default, hidden=parse_widths(options.hidden)) if options.hidden is not None else default
    return replace(
        design,
        activation=options.activation or design.activation,
        loss=options.loss or design.loss,
        dropout=options.dropout,
        batch_norm=options.batch_norm,
        l1=options.l1,
        l2=options.l2,
    )


def _own_text(options: TrainOptions) -> tuple[str, str]:
    """(name, text) of --network. Raises: SettingError beside options that say what the formulas say."""
    assert options.network is not None
    names = ("hidden", "activation", "loss", "dropout", "batch_norm", "l1", "l2")
    clash = [f"--{n.replace('_', '-')}" for n in names if getattr(options, n) not in (None, 0.0, False)]
    if clash:
        raise SettingError(say("interfaces.network_and_parts", options=", ".join(clash)))
    text = options.network_text  # of a run that is gone on with
    return options.network.stem, read_formula_file(options.network) if text is None else text


# --- images -----------------------------------------------------------------------------------------------------------


def _of_images(options: TrainOptions) -> Material:
    data = find(options.data, options.data_dir)
    training, validation = _image_splits(data, options)
    note = ImageNote(data.image_shape, data.class_names or numbers(data.classes), data.name)
    network, name, told = _image_network(options, data.name, note, scale=not options.no_scale)
    system = network.system
    return Material(
        name,
        network,
        arrays_for(system, training),
        None if validation is None else arrays_for(system, validation),
        arrays_for(system, data.test),
        BIG_IMAGES,
        classes=training.labels,
        class_names=note.classes,
        told=told,
        picture=lambda run: _rebuilt(run, network, data.test, data.image_shape),
    )


def _of_own_images(options: TrainOptions, own: OwnImages) -> Material:
    note, test = own.note, own.test
    network, name, told = _image_network(options, own.name, note, scale=own.pixels and not options.no_scale)
    return Material(
        name,
        network,
        image_rows(network.system, own.training),
        None if own.validation is None else image_rows(network.system, own.validation),
        None if test is None else image_rows(network.system, test),
        BIG_IMAGES if len(own.labels) >= MANY_IMAGES else FEW_IMAGES,
        classes=own.labels,
        class_names=note.classes,
        told=(*own.told, *told),
        picture=(lambda run: _rebuilt(run, network, test, note.shape)) if isinstance(test, Split) else None,
    )


def _image_network(
    options: TrainOptions, data: str, note: ImageNote, scale: bool
) -> tuple[Network, str, tuple[str, ...]]:
    """The network, the name of the run, and what is told of it."""
    if options.network is None:
        design = _design(options, Design())
        name, text = "-".join([data, *map(str, design.hidden)]), network_text(design)
    else:
        name, text = _own_text(options)
    scaled = with_scaling(text) if scale else Scaled(text, ())
    system = parse_system(scaled.text, vocabulary())
    sizes = image_sizes(system, note.shape, len(note.classes))
    network = Network(system, dtype=options.dtype, sizes=sizes, seed=options.seed)
    keep_note(network, note)
    return network, name, (say("interfaces.scaled", names=", ".join(scaled.names)),) if scaled.names else ()


def _image_splits(data: Dataset, options: TrainOptions) -> tuple[Split, Split | None]:
    """The first `rows` images, of which the last `validation` are kept out of training."""
    count = len(data.train.images)
    rows = given_rows(options, count)
    held_out = given_held_out(options, rows)
    if isinstance(held_out, Path):
        raise SettingError(say("tables.only_tables", option="--validation FILE", data=options.data))
    cut, whole = rows - held_out, data.train
    validation = Split(whole.images[cut:rows], whole.labels[cut:rows]) if held_out else None
    return Split(whole.images[:cut], whole.labels[:cut]), validation


def _rebuilt(run: Run, network: Network, test: Split, shape: tuple[int, ...]) -> list[str]:
    """For a network that rebuilds its input: some test images, and what became of them."""
    if not rebuilds_input(network.system):
        return []
    from chainrule.interfaces.plots import save_rebuilt

    images = test.images[:PICTURES]
    split = Split(images, test.labels)
    rebuilt = network.predict(arrays_for(network.system, split, with_targets=False))
    save_rebuilt(images, rebuilt, run.folder / "rebuilt.png", shape)
    return ["rebuilt.png"]


# --- tables -----------------------------------------------------------------------------------------------------------


def _of_table(options: TrainOptions) -> Material:
    path = Path(options.data)
    scale = "none" if options.no_scale else options.scale or "standard"
    wishes = Wishes(options.target, given_names(options.features), given_kinds(options.kinds), options.task, scale)
    if (big := big_for(options, path)) is not None:
        return material_of_big(options, big, wishes)
    table = _read(path, options)
    target = target_of(table, wishes)
    told = [] if options.target is not None else [say("tables.target_chosen", name=target.column)]
    # A layout without features says which class or number each row has.
    values, known = Layout((), target).targets(table)
    rows = _some_rows(options, np.flatnonzero(known), values if target.task == "classification" else None)
    if (absent := int((~known).sum())) and options.rows is None:
        told.append(say("tables.rows_without_target", count=absent, name=target.column))
        if signs := ", ".join(column_of(table, target.column).signs_of_missing()):
            told.append(say("tables.signs_of_missing", name=target.column, signs=signs))
    if target.task == "classification":
        told += _lone_classes(target, values)
    parts = _split(options, rows, values if target.task == "classification" else None)
    _check_rows(table, options, parts[0])
    layout = find_layout(table, target, parts[0], wishes)
    network, name = table_network(options, layout, path, scale)
    told += _remarks(layout, table, options)
    keep_layout(network, layout)
    whole = _table_arrays(network, layout, table, values)
    training, validation, test = (_rows_of(whole, part) for part in parts)
    held_out = _named_file(options.validation)
    return Material(
        name,
        network,
        training or {},
        validation if held_out is None else file_rows(network, layout, held_out, options),
        test if options.test is None else file_rows(network, layout, options.test, options),
        table_defaults(len(parts[0])),
        classes=values[parts[0]] if target.task == "classification" else None,
        class_names=target.words,
        layout=layout,
        told=tuple(told),
    )


def table_defaults(rows: int) -> Defaults:
    """By how many rows are trained on."""
    return Defaults(epochs=200, batch_size=32 if rows < 10_000 else 256, optimizer="adam", patience=20)


def _read(path: Path, options: TrainOptions) -> Table:
    header = None if options.header is None else options.header == "yes"
    return read_table(path, header=header, encoding=options.encoding or "utf-8")


def _named_file(text: str | None) -> Path | None:
    """--validation FILE, where it is no number."""
    try:
        float(text or "0")
    except ValueError:
        return Path(str(text))
    return None


def _some_rows(options: TrainOptions, rows: Array, classes: Array | None) -> Array:
    """All rows, or as many as --rows says, drawn: tables are often sorted by what is to be predicted."""
    if options.rows is None:
        return rows
    count = given_rows(options, len(rows))
    share = count / len(rows)
    own = None if classes is None else classes[rows]
    return rows[split_rows(len(rows), (share, 1 - share), options.seed, own)[0]]


def _split(options: TrainOptions, rows: Array, classes: Array | None) -> list[Array]:
    """Rows for training, validation and test."""
    shares, _ = shares_of(options, len(rows))
    own = None if classes is None else classes[rows]
    return [rows[part] for part in split_rows(len(rows), shares, options.seed, own)]


def shares_of(options: TrainOptions, count: int) -> tuple[tuple[float, ...], Path | None]:
    """The shares of training, validation and test, of so many rows, and --validation where it is a file.

    Raises: SettingError for options that say it twice.
    """
    if options.split is not None and (options.test is not None or options.validation is not None):
        other = "--test" if options.test is not None else "--validation"
        raise SettingError(say("tables.split_twice", option=other))
    file = _named_file(options.validation)
    if options.validation is not None and file is None:
        held_out = given_held_out(options, count)
        assert isinstance(held_out, int)
        share = held_out / count
        test = 0.0 if options.test is not None else TABLE_SHARES[2]
        shares: tuple[float, ...] = (max(1 - share - test, 0.0), share, test)
    elif options.split is not None:
        shares = given_shares(options.split)
    elif options.test is not None:
        shares = (1.0, 0.0, 0.0) if file is not None else (*SPLIT_WHERE_TEST_IS, 0.0)
    else:
        shares = (0.9, 0.0, 0.1) if file is not None else TABLE_SHARES
    return shares, file


def _check_rows(table: Table, options: TrainOptions, training: Array) -> None:
    if len(training) < 2:
        raise DataError(say("tables.too_few_rows", path=table.source, came=len(training)))


def table_network(options: TrainOptions, layout: Layout, path: Path, scale: str) -> tuple[Network, str]:
    """The network, and the name of the run."""
    if options.network is None:
        inputs = inputs_for(layout, scale, path.name)
        default = Design(TABLE_HIDDEN, loss=_loss(layout.target), inputs=inputs)
        design = _design(options, default)
        if design.loss != default.loss and inputs.target == "binary" and not fits_one_output(design.loss):
            design = replace(design, inputs=replace(inputs, target="classes"))
        stem = path.name.split(".")[0]
        name, text = "-".join([stem, *map(str, design.hidden)]), network_text(design)
    else:
        name, text = _own_text(options)
        text = with_columns_scaled(text, layout, scale).text
    system = parse_system(text, vocabulary())
    return Network(system, dtype=options.dtype, sizes=sizes_from(system, layout), seed=options.seed), name


def _loss(target: Target) -> str:
    if target.task == "regression":
        return "mean_squared_error"
    return "binary_cross_entropy" if len(target.words) == 2 else "categorical_cross_entropy"


def _table_arrays(network: Network, layout: Layout, table: Table, values: Array, unknown: str = "other") -> Arrays:
    encoded = layout.encode(table, unknown=unknown)
    return arrays_from(network.system, layout, encoded, network.dtype) | targets_from(network.system, values)


def _lone_classes(target: Target, values: Array) -> list[str]:
    """Classes of which a split can give one part a row only."""
    found = lone_classes(values)[:SHOWN_LONE]
    return [
        say("given.lone_class", name=target.column, came=repr(target.words[number]), row=row + 1)
        for number, row in found
    ]


def _rows_of(arrays: Mapping[str, Array], rows: Array) -> Arrays | None:
    return {name: array[rows] for name, array in arrays.items()} if len(rows) else None


def file_rows(network: Network, layout: Layout, path: Path, options: TrainOptions) -> Rows:
    """Another file's rows, by the layout that the training rows gave."""
    memory = given_memory(options.memory)
    if (big := big_table(path, memory, asked=options.memory is not None)) is not None:
        return labelled_rows(network, layout, big, memory)
    return labelled_arrays(network, layout, _read(path, options))


def _remarks(layout: Layout, table: Table, options: TrainOptions) -> list[str]:
    """What a user might want otherwise and does not see in the list of columns."""
    remarks = []
    if table.delimiter not in (None, ",", "\t"):
        remarks.append(say("tables.separated", path=table.source, sign=table.delimiter))
    if table.delimiter is not None and not table.named and options.header is None:
        remarks.append(say("tables.no_names", path=table.source))
    if written := as_written(table, layout):
        remarks.append(written)
    if dates := looks_like_dates(layout, table):
        remarks.append(say("tables.looks_like_dates", names=", ".join(dates)))
    if names := blurred(layout, table, options.dtype):
        remarks.append(say("tables.blurred", names=", ".join(names)))
    return remarks
