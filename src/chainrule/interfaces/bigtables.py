"""Tables that are larger than the memory: what `chainrule train` trains on, and pieces for predict and evaluate.

The file is read three times in pieces: the target's column, which says what the split is; all columns, for the layout
of the training rows; and once more to write each row as the network reads it (data/kept.py). Training, validation and
test are Sources over what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.bigtables import BigTable, big_table, table_in_pieces
from chainrule.data.columns import Layout
from chainrule.data.finding import Wishes, looks_like_dates
from chainrule.data.kept import Kept, check_room, whole
from chainrule.data.memory import shown_bytes
from chainrule.data.sources import Source
from chainrule.data.splits import Drawn
from chainrule.data.surveys import Seen, survey_layout, survey_target
from chainrule.data.tables import Table
from chainrule.errors import DataError
from chainrule.interfaces.options import TrainOptions, given_memory, given_rows
from chainrule.interfaces.tabular import blurred, inputs_of, keep_layout, targets_from
from chainrule.messages import say
from chainrule.training.network import Network

if TYPE_CHECKING:
    from chainrule.interfaces.answers import Reading
    from chainrule.interfaces.material import Material

Array = np.ndarray[Any, Any]
Parts = Callable[[Table, Array, Array], Array]  # of a piece, its targets, and which are known: the part of each row


def big_for(options: TrainOptions, path: Path) -> BigTable | None:
    """The table as one that is read in pieces; None where it is read into memory.

    A run that is gone on with does what it did when it began, whatever the memory is now: the split is another one.
    """
    if options.in_pieces is not None:
        return table_in_pieces(path, given_memory(options.memory)) if options.in_pieces else None
    return big_table(path, given_memory(options.memory), asked=options.memory is not None)


def material_of_big(options: TrainOptions, big: BigTable, wishes: Wishes) -> Material:
    """What is trained on. Raises: SettingError, DataError, FileError, FormulaError."""
    from chainrule.interfaces.material import SHOWN_LONE, Material, file_rows, shares_of, table_defaults, table_network

    memory = given_memory(options.memory)
    big.check_memory(memory)
    seen = survey_target(big, wishes)
    told = [] if options.target is not None else [say("tables.target_chosen", name=seen.target.column)]
    if options.rows is None and seen.known < big.rows:
        told.append(say("tables.rows_without_target", count=big.rows - seen.known, name=seen.target.column))
    for word, row in seen.lone[:SHOWN_LONE]:
        told.append(say("given.lone_class", name=seen.target.column, came=repr(word), row=row))
    count = given_rows(options, seen.known)
    shares, held_out = shares_of(options, count)
    drawing = Drawing(seen, shares, options.seed, None if options.rows is None else count)
    layout = survey_layout(big, seen.target, drawing.training(), wishes)
    network, name = table_network(options, layout, big.path, wishes.scale)
    keep_layout(network, layout)
    parts = keep_parts(network, layout, big, drawing.parts(), count)
    if parts[0] is None or parts[0].rows < 2:
        raise DataError(say("tables.too_few_rows", path=big.path, came=0 if parts[0] is None else parts[0].rows))
    told.append(_streamed(big, memory, parts))
    training, validation, test = (None if p is None else p.source(str(big.path), memory) for p in parts)
    classes = None
    if seen.counts:
        classes = next(iter(targets_of(network, parts[0].mapped()).values()))
    return Material(
        name,
        network,
        training or {},
        validation if held_out is None else file_rows(network, layout, held_out, options),
        test if options.test is None else file_rows(network, layout, options.test, options),
        table_defaults(parts[0].rows),
        classes=classes,
        class_names=seen.target.words,
        layout=layout,
        told=(*told, *_remarks(layout, big, options)),
        in_pieces=True,
    )


def targets_of(network: Network, arrays: dict[str, Array]) -> dict[str, Array]:
    """Those of the arrays that are targets or labels."""
    return {t.name: arrays[t.name] for t in network.system.of_role("target", "label")}


class Drawing:
    """Which part a row falls to: drawn anew, and the same, at each reading of the file."""

    def __init__(self, seen: Seen, shares: tuple[float, ...], seed: int, chosen: int | None):
        self.seen, self.shares, self.seed, self.chosen = seen, shares, seed, chosen
        self._target = Layout((), seen.target)  # without features it says which class or number each row has

    def parts(self) -> Parts:
        """For one reading: 0, 1 and 2 are training, validation and test, -1 is none."""
        drawn = Drawn(self.shares, self.seed, rows=self.seen.known, chosen=self.chosen)

        def of(table: Table, values: Array, known: Array) -> Array:
            parts = np.full(table.rows, -1, dtype=np.int8)
            classes = values[known] if self.seen.counts else np.zeros(int(known.sum()), dtype=np.int64)
            parts[known] = drawn.parts(classes)
            return parts

        return of

    def training(self) -> Callable[[Table], Array]:
        """For one reading: which rows are trained on."""
        parts = self.parts()
        return lambda table: parts(table, *self._target.targets(table)) == 0


# --- rows as the network reads them -----------------------------------------------------------------------------------


def keep_parts(network: Network, layout: Layout, big: BigTable, parts: Parts, rows: int) -> list[Kept | None]:
    """Training, validation and test rows, each written once; None where a part has no rows.

    Raises: FileError where the disk has no room, DataError for values that do not fit.
    """
    kept = [Kept(big.path) for _ in range(3)]
    with whole(*kept):
        for table in big.tables(columns_of(layout, big)):
            values, known = layout.targets(table)
            arrays = inputs_of(network, layout, table) | targets_from(network.system, values)
            if table.first == 0:
                check_room(big.path, rows * sum(a.nbytes // max(len(a), 1) for a in arrays.values()))
            part = parts(table, values, known)
            for number, own in enumerate(kept):
                if len(chosen := np.flatnonzero(part == number)):
                    own.add({name: array[chosen] for name, array in arrays.items()})
    return [own if own.rows else None for own in kept]


def labelled_rows(
    network: Network, layout: Layout, big: BigTable, memory: int, reading: Reading | None = None
) -> Source:
    """The rows of another large table that have a target. Raises: DataError where none has."""
    kept = Kept(big.path)
    unknown = "other" if reading is None else reading.unknown
    pieces = big.tables(columns_of(layout, big))
    with whole(kept):
        for table in pieces if reading is None else reading.noted(pieces, big, layout):
            values, known = layout.targets(table)
            if len(chosen := np.flatnonzero(known)):
                arrays = inputs_of(network, layout, table, unknown) | targets_from(network.system, values)
                kept.add({name: array[chosen] for name, array in arrays.items()})
    if not kept.rows:
        raise DataError(say("tables.target_empty", path=big.path, name=layout.target.column))
    return kept.source(str(big.path), memory)


def columns_of(layout: Layout, big: BigTable, *, target: bool = True) -> list[str]:
    """The columns that are needed, in the order of the file. Raises: DataError for one that is not there."""
    layout.check(big.head())
    wanted = {f.column for f in layout.features} | ({layout.target.column} if target else set())
    return [name for name in big.names if name in wanted]


# --- what is told -----------------------------------------------------------------------------------------------------


def _streamed(big: BigTable, memory: int, parts: list[Kept | None]) -> str:
    written = sum(part.bytes for part in parts if part is not None)
    rows = sum(part.rows for part in parts if part is not None)
    sizes = {"taken": shown_bytes(big.in_memory), "memory": shown_bytes(memory), "written": shown_bytes(written)}
    return say("bigtables.streamed", path=big.path, rows=rows, **sizes)


def _remarks(layout: Layout, big: BigTable, options: TrainOptions) -> list[str]:
    head = big.head()
    remarks = []
    if dates := looks_like_dates(layout, head):
        remarks.append(say("tables.looks_like_dates", names=", ".join(dates)))
    if names := blurred(layout, head, options.dtype):
        remarks.append(say("tables.blurred", names=", ".join(names)))
    return remarks
