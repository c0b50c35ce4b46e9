"""`chainrule predict` and `chainrule evaluate`: a model file and rows of data → a table, or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from chainrule.data.datasets import Dataset, Split
from chainrule.data.readers import SUFFIXES, read_rows
from chainrule.errors import SettingError
from chainrule.formula.system import System
from chainrule.interfaces.answers import (
    Answers,
    Reading,
    evaluate_table,
    plain_means,
    predict_tables,
    shown_means,
    table_files,
    write_answers,
)
from chainrule.interfaces.datasets import arrays_for, find
from chainrule.interfaces.idx_files import is_idx
from chainrule.interfaces.image_files import Images, image_rows, images_in, labelled, read_for
from chainrule.interfaces.images import ImageNote, called, note_of
from chainrule.interfaces.options import given_memory, given_names
from chainrule.interfaces.tabular import layout_of
from chainrule.messages import say
from chainrule.training.network import Network, load

Array = np.ndarray[Any, Any]

DEFAULT_INDEX = "0..9"
SHOWN_NUMBERS = 6  # of a row that is no class, in the table; JSON has them all
MAX_ROWS = 1_000_000  # of one --index


@dataclass(frozen=True)
class Rows:
    """What goes in: `names` say which row it is, `labels` are the true classes where they are known.

    `classes` are what a data set calls its classes, where they have names.
    """

    names: list[str | int]
    values: Array
    labels: Array | None = None
    classes: tuple[str, ...] = ()


def predict(
    model: Path,
    files: Sequence[Path],
    data: str | None,
    *,
    index: str | None,
    split: str,
    as_json: bool,
    picture: Path | None,
    out: Path | None = None,
    unknown: str = "other",
    header: str | None = None,
    encoding: str | None = None,
    memory: str | None = None,
    data_dir: Path | None = None,
) -> int:
    """Print what the network makes of some rows; the exit code."""
    budget = given_memory(memory)
    network = load(model)
    if files and data is not None:
        raise SettingError(say("interfaces.data_or_files"))
    if (layout := layout_of(network, model)) is not None:
        if picture is not None:
            raise SettingError(say("tables.no_picture"))
        reading = Reading(header, encoding, unknown, None if memory is None else budget)
        return predict_tables(network, layout, table_files(files), index, reading, Answers(as_json, out))
    note = note_of(network, model)
    rows = _from_files(files, index, note) if files else _from_data(find(_named(data, note), data_dir), split, index)
    outputs = _outputs(network, rows)
    records = [_record(network.system, rows, outputs, row, note) for row in range(len(rows.names))]
    if out is not None:
        write_answers(out, [_flat(record) for record in records])
    elif as_json:
        click.echo(json.dumps(records, ensure_ascii=False))
    else:
        _print_table(records)
    if picture is not None:
        _save_picture(network.system, rows, outputs, picture, note)
    return 0


def evaluate(
    model: Path,
    files: Sequence[Path],
    data: str | None,
    *,
    split: str,
    as_json: bool,
    metrics: str | None = None,
    unknown: str = "other",
    header: str | None = None,
    encoding: str | None = None,
    memory: str | None = None,
    data_dir: Path | None = None,
    labels: Path | None = None,
) -> int:
    """Print the loss and the accuracy over a whole data set, or over the rows of a table; the exit code."""
    budget = given_memory(memory)
    network = load(model)
    if files and data is not None:
        raise SettingError(say("interfaces.data_or_files"))
    names = given_names(metrics)
    if (layout := layout_of(network, model)) is not None:
        reading = Reading(header, encoding, unknown, None if memory is None else budget)
        return evaluate_table(network, layout, table_files(files), names, reading, as_json)
    note = note_of(network, model)
    chosen: Images
    if files:
        name, chosen = str(files[0]), _labelled(files, labels, split, note, budget)
    else:
        name = _named(data, note)
        chosen = _split(find(name, data_dir), split)
    asked = {} if names is None else {"metrics": names}
    means = plain_means(network.evaluate(image_rows(network.system, chosen), **asked))
    count = len(chosen.images) if isinstance(chosen, Split) else chosen.rows
    if as_json:
        own = {} if files else {"split": split}
        click.echo(json.dumps({"data": name, **own, "samples": count, **means}, ensure_ascii=False))
    elif files:
        click.echo(say("datasets.evaluated", path=name, count=count, means=shown_means(means)))
    else:
        click.echo(say("interfaces.evaluated", data=name, split=split, count=count, means=shown_means(means)))
    return 0


def parse_index(text: str, count: int) -> list[int]:
    """Row numbers from "3", "0..9", "0-9" or "0..4,7", each below `count`. Raises: SettingError.

    >>> parse_index("0..2,7", 10)
    [0, 1, 2, 7]
    """
    numbers: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,12})\s*(?:(?:\.\.|-)\s*([0-9]{1,12})\s*)?", piece)
        if match is None:
            raise SettingError(say("interfaces.bad_index", came=text))
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise SettingError(say("interfaces.index_backward", came=piece.strip(), turned=f"{last}..{first}"))
        if last >= count:
            raise SettingError(say("interfaces.index_too_large", came=last, count=count, last=count - 1))
        if len(numbers) + last - first >= MAX_ROWS:
            raise SettingError(say("interfaces.index_too_many", limit=MAX_ROWS))
        numbers += range(first, last + 1)
    return numbers


# --- what goes in -----------------------------------------------------------------------------------------------------


def _named(asked: str | None, note: ImageNote | None) -> str:
    """The data set that was asked for, else the one that the model was trained on; MNIST of a model that knows none.

    Raises: SettingError where it was trained on images of the user's own.
    """
    if asked is None and note is not None and note.data is None:
        raise SettingError(say("datasets.no_data_named"))
    return asked or (note.data if note is not None else None) or "mnist"


def _split(data: Dataset, split: str) -> Split:
    return data.train if split == "train" else data.test


def _from_data(data: Dataset, split: str, index: str | None) -> Rows:
    chosen = _split(data, split)
    numbers = parse_index(index or DEFAULT_INDEX, len(chosen.images))
    return Rows(list(numbers), chosen.images[numbers], chosen.labels[numbers], data.class_names)


def _labelled(files: Sequence[Path], labels: Path | None, split: str, note: ImageNote | None, budget: int) -> Images:
    """Raises: SettingError for several files, or one that has no labels."""
    if len(files) > 1:
        raise SettingError(say("tables.one_file", came=len(files)))
    if not files[0].is_dir() and not is_idx(files[0]) and labels is None:
        raise SettingError(say("tables.not_of_tables", path=files[0]))
    return labelled(files[0], labels, split, note, budget)


def _from_files(files: Sequence[Path], index: str | None, note: ImageNote | None) -> Rows:
    """The rows of every file, one after another; `index` picks some of each. Of a folder its images."""
    files = [path for given in files for path in (images_in(given) if given.is_dir() else [given])]
    names: list[str | int] = []
    parts: list[Array] = []
    for path in files:
        rows = read_rows(path) if note is None or path.suffix.lower() not in SUFFIXES else read_for(note, path)
        numbers = range(len(rows)) if index is None else parse_index(index, len(rows))
        parts.append(rows[list(numbers)])
        name = path.name if [other.name for other in files].count(path.name) == 1 else str(path)
        names += [name if len(rows) == 1 else n if len(files) == 1 else f"{name} {n}" for n in numbers]
    if len({part.shape[1:] for part in parts}) > 1:
        parts = [part.reshape(len(part), -1) for part in parts]  # an image beside rows of pixels
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise SettingError(say("interfaces.mixed_shapes", shapes=", ".join(map(str, sorted(shapes)))))
    return Rows(names, np.concatenate(parts))


# --- what comes out ---------------------------------------------------------------------------------------------------


def _outputs(network: Network, rows: Rows) -> Array:
    labels = rows.labels if rows.labels is not None else np.zeros(len(rows.values), dtype=np.uint8)
    outputs = network.predict(arrays_for(network.system, Split(rows.values, labels), with_targets=False))
    # An output that is the same for every sample comes once.
    return outputs if len(outputs) == len(rows.names) else np.broadcast_to(outputs, (len(rows.names), *outputs.shape))


def tells_classes(system: System) -> bool:
    """Whether the output has one number a class: it runs along the index of the target or the label."""
    own = _own_indices(system, system.output)
    targets = [_own_indices(system, t.name) for t in system.of_role("target")]
    labels = [(str(t.classes),) for t in system.of_role("label")]
    return len(own) == 1 and own in [*targets, *labels] and not rebuilds_input(system)


def rebuilds_input(system: System) -> bool:
    """Whether the output has one number for each of the input, as an autoencoder's."""
    own = _own_indices(system, system.output)
    return bool(own) and own in [_own_indices(system, t.name) for t in system.of_role("input")]


def _own_indices(system: System, name: str | None) -> tuple[str, ...]:
    return () if name is None else tuple(i for i in system.tensors[name].indices if i != system.samples)


def _record(system: System, rows: Rows, outputs: Array, row: int, note: ImageNote | None) -> dict[str, Any]:
    """One sample's result, with full numbers; classes by their names, where they have any."""
    output = outputs[row]
    record: dict[str, Any] = {"index": rows.names[row]}
    if tells_classes(system):
        best = int(output.argmax())
        record |= {
            "prediction": _called(best, note),
            "probability" if _is_probability(outputs) else "value": float(output[best]),
        }
    if rows.labels is not None and not rebuilds_input(system):
        record["label"] = called(int(rows.labels[row]), rows.classes)
    record["output"] = np.asarray(output, dtype=np.float64).tolist()
    return record


def _called(number: int, note: ImageNote | None) -> str | int:
    return number if note is None else called(number, note.classes)


def _is_probability(outputs: Array) -> bool:
    return bool(((outputs >= 0) & (outputs <= 1)).all())


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as one row of a CSV file: output 0, output 1, …"""
    flat = {name: value for name, value in record.items() if name != "output"}
    numbers = np.ravel(record["output"]).tolist()
    return flat | {f"output {k}" if len(numbers) > 1 else "output": number for k, number in enumerate(numbers)}


def _print_table(records: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = [name for name in records[0] if name != "output" or "prediction" not in records[0]]
    table = Table()
    for name in columns:
        table.add_column(say(f"interfaces.column_{name}"), justify="left" if name == "output" else "right")
    for record in records:
        wrong = "label" in record and "prediction" in record and record["label"] != record["prediction"]
        table.add_row(*(_cell(name, record[name]) for name in columns), style="red" if wrong else None)
    Console(markup=False, highlight=False).print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, list):
        numbers = np.asarray(value).ravel()
        shown = ", ".join(f"{n:.4g}" for n in numbers[:SHOWN_NUMBERS])
        return shown if len(numbers) <= SHOWN_NUMBERS else say("interfaces.and_more", shown=shown, count=len(numbers))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _save_picture(system: System, rows: Rows, outputs: Array, path: Path, note: ImageNote | None) -> None:
    from chainrule.interfaces.plots import image_shape, save_digits, save_rebuilt

    shape = image_shape(rows.values)
    if rebuilds_input(system):
        save_rebuilt(rows.values, outputs, path, shape)
        return
    titles = [str(_called(int(o.argmax()), note)) for o in outputs] if tells_classes(system) else None
    save_digits(rows.values, path, shape=shape, titles=titles)
