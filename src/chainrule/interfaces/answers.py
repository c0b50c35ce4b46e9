"""What a network trained on a table makes of the rows of other tables: CSV, JSON, or what its metrics say of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np

from chainrule.data.bigtables import BigTable, big_table
from chainrule.data.columns import Layout
from chainrule.data.memory import DEFAULT_MEMORY
from chainrule.data.sources import Source
from chainrule.data.tables import Table, read_table
from chainrule.errors import DataError, ModelFileError, SettingError
from chainrule.interfaces.tabular import inputs_of, targets_from
from chainrule.messages import say
from chainrule.training.files import written
from chainrule.training.network import Network

Array = np.ndarray[Any, Any]

SHOWN_COLUMNS = 6  # in one line
RECORDS_AT_ONCE = 4096  # of answers that are written: a thousand classes each are some 400 MB as text and objects


@dataclass(frozen=True)
class Reading:
    """How other tables are read: --header, --encoding, what an unknown category is, and the budget in bytes."""

    header: str | None = None
    encoding: str | None = None
    unknown: str = "other"
    memory: int | None = None

    def big(self, path: Path) -> BigTable | None:
        """The file as one that is read in pieces; None where it fits into the memory."""
        return big_table(path, self.memory or DEFAULT_MEMORY, asked=self.memory is not None)

    def noted(self, pieces: Iterable[Table], big: BigTable, layout: Layout) -> Iterator[Table]:
        """The pieces; before and after them it is told what was not used and what was filled."""
        known = {f.column for f in layout.features} | {c.column for c in layout.left_out} | {layout.target.column}
        if extra := [name for name in big.names if name not in known]:
            click.echo(say("tables.not_used", path=big.path, names=", ".join(extra)), err=True)
        filled: set[str] = set()
        for table in pieces:
            filled |= set(layout.filled(table))
            yield table
        if filled:
            names = ", ".join(name for name in big.names if name in filled)
            click.echo(say("tables.filled", path=big.path, names=names), err=True)

    def table(self, path: Path, layout: Layout) -> Table:
        """Raises: FileError, DataError, SettingError."""
        header = None if self.header is None else self.header == "yes"
        table = read_table(path, header=header, encoding=self.encoding or "utf-8", decimals=dict(layout.decimals))
        layout.check(table)
        if written := as_written(table, layout):
            click.echo(written, err=True)
        if extra := layout.not_used(table):
            click.echo(say("tables.not_used", path=path, names=", ".join(extra)), err=True)
        if filled := layout.filled(table):
            click.echo(say("tables.filled", path=path, names=", ".join(filled)), err=True)
        return table


def as_written(table: Table, layout: Layout) -> str | None:
    """One line on the columns whose numbers stand in the file as people write them; None where there are none."""
    names = {f.column for f in layout.features if f.kind == "number"}
    names |= {layout.target.column} if layout.target.task == "regression" else set()
    shown = []
    for column in table.columns:
        if column.mark is not None and column.name in names:
            word = max(column.words, key=len)
            row = int(np.argmax(column.codes == column.words.index(word)))
            shown.append(f"{column.name} ({word} = {column.numbers.values[row]:.10g})")
    if not shown:
        return None
    listed = ", ".join(shown[:SHOWN_COLUMNS]) + (", …" if len(shown) > SHOWN_COLUMNS else "")
    return say("tables.as_written", path=table.source, shown=listed)


@dataclass(frozen=True)
class Answers:
    """Where predictions go: JSON or CSV on stdout, or a CSV file."""

    as_json: bool = False
    out: Path | None = None


def table_files(files: Sequence[Path]) -> Sequence[Path]:
    """Raises: SettingError where none was named."""
    if not files:
        raise SettingError(say("tables.no_file_named"))
    return files


def predict_tables(
    network: Network, layout: Layout, files: Sequence[Path], index: str | None, reading: Reading, answers: Answers
) -> int:
    """Predict every row of every file, or those of --index (from 0); the exit code.

    What was read into memory is printed when all is done; of a file that is read in pieces the answers come as they are
    found, in the order of the file.
    """
    tables = [_tables(path, layout, reading) for path in files]
    found = _answers(network, layout, zip(files, tables, strict=True), index, reading)
    if all(big is None for big, _ in tables):
        found = iter(list(found))
    if answers.out is not None:
        write_answers(answers.out, map(_spread, found))
    elif answers.as_json:
        for text in _json_texts(found):
            click.echo(text, nl=False)
    else:
        for text in csv_texts(map(_spread, found)):
            click.echo(text, nl=False)
    return 0


Pieces = tuple[BigTable | None, Iterable[Table]]


def _tables(path: Path, layout: Layout, reading: Reading) -> Pieces:
    """A file as one table, or as pieces where it is larger than the memory."""
    big = reading.big(path)
    if big is None:
        return None, [reading.table(path, layout)]
    from chainrule.interfaces.bigtables import columns_of

    return big, reading.noted(big.tables(columns_of(layout, big, target=False)), big, layout)


def _answers(
    network: Network, layout: Layout, tables: Iterable[tuple[Path, Pieces]], index: str | None, reading: Reading
) -> Iterator[dict[str, Any]]:
    """A record of every row that is asked for."""
    tables = list(tables)
    for path, (big, pieces) in tables:
        own = {"file": path.name} if len(tables) > 1 else {}
        asked = None if big is None else _chosen(index, big.rows)
        for table in pieces:
            outputs = np.asarray(network.predict(inputs_of(network, layout, table, reading.unknown)))
            rows = _chosen(index, table.rows) if asked is None else _within(asked, table)
            for record in _records(layout, outputs, rows, table.first):
                yield {**own, **record}


def _chosen(index: str | None, count: int) -> Sequence[int]:
    from chainrule.interfaces.predict import parse_index

    return range(count) if index is None else parse_index(index, count)


def _within(asked: Sequence[int], table: Table) -> Sequence[int]:
    """Those of the asked rows of a file that a piece has, counted from its first."""
    if isinstance(asked, range):
        return range(table.rows)
    return [row - table.first for row in sorted(asked) if table.first <= row < table.first + table.rows]


def _records(layout: Layout, outputs: Array, rows: Sequence[int], first: int = 0) -> Iterator[dict[str, Any]]:
    """{row, prediction} of a number; of classes also the probability and those of all, or the values of a margin."""
    words = layout.target.words
    if layout.target.task == "classification":
        outputs = outputs.reshape(-1, 1) if outputs.ndim < 2 else outputs
        outputs = np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs
        if outputs.ndim != 2 or outputs.shape[1] != len(words):
            raise ModelFileError(say("hostile.classes", came=len(words), wanted=outputs.shape[-1]))
        shares = bool((outputs >= 0).all()) and bool(np.isclose(outputs.sum(axis=1), 1, atol=1e-3).all())
        one, all_ = ("probability", "probabilities") if shares else ("value", "values")
    for row in rows:
        if layout.target.task == "regression":
            yield {"row": first + row + 1, "prediction": float(np.ravel(outputs[row])[0])}
            continue
        best = int(np.argmax(outputs[row]))
        named = dict(zip(words, outputs[row].tolist(), strict=False))
        yield {"row": first + row + 1, "prediction": words[best], one: float(outputs[row, best]), all_: named}


def _spread(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as one row of CSV: p(no), p(yes), …"""
    flat = {name: value for name, value in record.items() if name not in ("probabilities", "values")}
    flat |= {f"p({word})": share for word, share in record.get("probabilities", {}).items()}
    return flat | {f"value({word})": value for word, value in record.get("values", {}).items()}


def csv_texts(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows below the names of the first; numbers with the digits that float32 has. Some rows at a time."""
    rest, named = iter(records), False
    while some := list(islice(rest, RECORDS_AT_ONCE)):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not named:
            writer.writerow(some[0])
        for record in some:
            writer.writerow([f"{v:.7g}" if isinstance(v, float) else v for v in record.values()])
        yield text.getvalue()
        named = True


def _json_texts(records: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """One list, as json.dumps writes it, some records at a time."""
    before = "["
    while some := list(islice(records, RECORDS_AT_ONCE)):
        yield before + json.dumps(some, ensure_ascii=False)[1:-1]
        before = ", "
    yield "]\n" if before == ", " else "[]\n"


def write_answers(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write predictions as CSV, as they come; the file is whole or not there.

    Raises: SettingError for another suffix; FileError; what comes up while records are made.
    """
    if path.suffix.lower() != ".csv":
        raise SettingError(say("tables.out_is_csv", came=path))
    counted = Counted(records)
    with written(path) as file:
        for text in csv_texts(counted):
            file.write(text.encode())
    click.echo(say("tables.written", path=path, count=counted.count), err=True)


class Counted:
    """How many records went through."""

    def __init__(self, records: Iterable[Mapping[str, Any]]):
        self.count, self._records = 0, records

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for record in self._records:
            self.count += 1
            yield record


def evaluate_table(
    network: Network,
    layout: Layout,
    files: Sequence[Path],
    metrics: tuple[str, ...] | None,
    reading: Reading,
    as_json: bool,
) -> int:
    """Loss and metrics over the rows of a table that have a target; the exit code."""
    if len(files) > 1:
        raise SettingError(say("tables.one_file", came=len(files)))
    arrays: dict[str, Array] | Source
    if (big := reading.big(files[0])) is not None:
        from chainrule.interfaces.bigtables import labelled_rows

        arrays = labelled_rows(network, layout, big, reading.memory or DEFAULT_MEMORY, reading)
    else:
        arrays = labelled_arrays(network, layout, reading.table(files[0], layout), reading.unknown)
    if metrics is None and layout.target.task == "regression":
        metrics = NUMBER_METRICS
    asked = {} if metrics is None else {"metrics": metrics}
    means = plain_means(network.evaluate(arrays, **asked))
    count = arrays.rows if isinstance(arrays, Source) else len(next(iter(arrays.values())))
    if as_json:
        click.echo(json.dumps({"data": str(files[0]), "samples": count, **means}, ensure_ascii=False))
    else:
        click.echo(say("interfaces.evaluated_rows", path=files[0], count=count, means=shown_means(means)))
    return 0


NUMBER_METRICS = ("mae", "rmse", "r2")
"""What is reported of a number that is predicted from a table, where the user names nothing."""


def labelled_arrays(network: Network, layout: Layout, table: Table, unknown: str = "other") -> dict[str, Array]:
    """The rows of a table that have a target. Raises: DataError where none has."""
    values, known = layout.targets(table)
    if not known.any():
        raise DataError(say("tables.target_empty", path=table.source, name=layout.target.column))
    rows = np.flatnonzero(known)
    arrays = inputs_of(network, layout, table, unknown)
    return {name: array[rows] for name, array in {**arrays, **targets_from(network.system, values)}.items()}


# --- metrics ----------------------------------------------------------------------------------------------------------


def plain_means(means: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON holds them: of a confusion matrix nested lists."""
    return {n: v.tolist() if isinstance(v, np.ndarray) and v.ndim else float(v) for n, v in means.items()}


def shown_means(means: Mapping[str, Any]) -> str:
    """ "loss 0.0712, accuracy 0.9812" in the user's language."""
    known = ("loss", "accuracy")
    shown = (f"{say(f'training.{n}') if n in known else n} {_shown(value)}" for n, value in means.items())
    return ", ".join(shown) or "–"


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list) else f"{value:.4f}" if abs(value) < 1e6 else f"{value:.6g}"
