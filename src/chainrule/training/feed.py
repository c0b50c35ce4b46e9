"""What feeds a training: an epoch as pieces, each some steps over arrays that are there at once.

Arrays in memory (or mapped from a file) are one piece an epoch. A Source is read ahead in a thread, and cut into pieces
of whole batches, so that its rows meet the same steps whatever the blocks they came in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.data.batches import epoch_order
from chainrule.data.checks import WrongValue
from chainrule.data.given import is_path
from chainrule.data.memory import DEFAULT_MEMORY, memory_bytes
from chainrule.data.sources import Block, Order, Source, as_source
from chainrule.data.sources.arrays import mapped
from chainrule.data.sources.npz import map_arrays
from chainrule.data.sources.prefetch import prefetch
from chainrule.errors import DataError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.formula.shapes import MAX_ENTRIES
from chainrule.messages import say
from chainrule.training.weights import Data, class_weights

if TYPE_CHECKING:
    from chainrule.training.network import Network

# Of a piece: to begin one takes 0.1 ms, and 16 MiB of float32 rows some 10 ms; three of them are held at a time (one is
# trained on, one waits, one is read).
PIECE_BYTES = 16 * 2**20
PIECE_SHARE = 16  # of the budget at most, where that is less
WEIGHTS_SHARE = 4  # times the weights' size: they are copied before each piece, to go back to where the loss is lost
PLACES = 2**16  # rows of a piece whose arrays are gathered from in place: its order takes 512 KiB
HEAD_ROWS, HEAD_SHARE = 4096, 16  # what kinds of targets and zeros are seen from; of the budget
FOUND_SHARE = 4  # of the budget: the columns in which a wrong row is looked for


@dataclass(frozen=True)
class Piece:
    """Steps over arrays that are there at once: rows in this order, `batch` of them a step.

    `data` are arrays that take the place of those before; None: the training's own.
    """

    order: Array
    batch: int
    data: Data | None = None

    @property
    def steps(self) -> int:
        return -(-len(self.order) // self.batch)


class Feed(Protocol):
    """An epoch's pieces. `steps` of an epoch are None where only its end tells."""

    steps: int | None

    def pieces(self, epoch: int, skip: int) -> Generator[Piece, None, None]:
        """Of epoch number `epoch`, without its first `skip` rows."""
        ...


class Whole:
    """Arrays that are there: one piece an epoch, in an exact permutation."""

    def __init__(self, rows: int, batch: int, seed: int, shuffle: bool):
        self.rows, self.batch, self.seed, self.shuffle = rows, batch, seed, shuffle
        self.steps: int | None = -(-rows // batch)

    def order(self, epoch: int) -> Array:
        """The rows as this epoch visits them."""
        return epoch_order(self.rows, self.seed, epoch) if self.shuffle else np.arange(self.rows, dtype=np.int64)

    def pieces(self, epoch: int, skip: int) -> Generator[Piece, None, None]:
        """See Feed."""
        if skip < self.rows:
            yield Piece(self.order(epoch)[skip:], self.batch)


class Stream:
    """A Source's rows, as the formulas of a network want them.

    `arrays` are its first rows, from which is seen what kind of numbers these are; `rows` all there are, where that is
    known. Raises: DataError where they do not fit.
    """

    def __init__(
        self,
        network: Network,
        source: Source,
        roles: tuple[str, ...] = ("input", "target", "label"),
        class_weight: Mapping[object, float] | None = None,
    ):
        self.network, self.source, self.roles, self.class_weight = network, source, roles, class_weight
        count = min(HEAD_ROWS, max(1, source.memory // HEAD_SHARE // source.row_bytes))
        block = source.head(count)
        self.names = self._names(block)
        self.plain: tuple[str, ...] = ()
        self._count_classes(block)
        self.arrays = self._bound(block).arrays
        self.plain = self._unchanged(block)

    @property
    def rows(self) -> int | None:
        return self.source.rows

    @property
    def weights(self) -> Array | None:
        """The first rows' weights; None where samples have none."""
        return self._weights(self.arrays)

    def _names(self, block: Block) -> dict[str, str]:
        """The formulas' name of each field: its own, where all the formulas' names are there, else by their order."""
        wanted = [t.name for t in self.network.system.of_role(*self.roles)]
        if set(wanted) <= set(block):
            return {name: name for name in wanted}
        # A prediction takes what a training takes, and leaves the targets be.
        if not wanted or len(block) < len(wanted) or (len(block) > len(wanted) and self.roles != ("input",)):
            came, names = ", ".join(block) or "–", ", ".join(wanted) or "–"
            raise DataError(say("checkpoints.fields", name=self.source.name, came=came, wanted=names))
        return dict(zip(block, wanted, strict=False))

    def _count_classes(self, block: Block) -> None:
        """How many classes there are, where neither the formulas nor a training before say it: from all rows.

        A file is often sorted by them, and its first rows have one. What are no class numbers `bind` refuses.
        """
        known, largest = self.network.sizes, dict[str, tuple[float, str]]()
        for field, name in self.names.items():
            index, values = self._counted(name, block[field]), block[field]
            if index is None or index in known or (values < 0).any() or (values != np.floor(values)).any():
                continue
            found = self.source.largest(field)
            if found is not None:
                largest[index] = max(largest.get(index, (0.0, name)), (found, name))
        for index, (number, name) in largest.items():
            self.network.learn_size(index, int(min(number, MAX_ENTRIES)) + 1, name)

    def _counted(self, name: str, values: Array) -> str | None:
        """The index whose values a quantity counts, as class numbers do."""
        tensor = self.network.system.tensors[name]
        own = [i for i in tensor.indices if i != self.network.system.samples]
        if tensor.classes is not None:
            return str(tensor.classes)
        return own[0] if tensor.role == "target" and len(own) == 1 and values.ndim == 1 else None

    def _bound(self, block: Block) -> Data:
        """A block by the formulas' names, checked. Raises: DataError, with the row as it is counted from the start."""
        try:
            arrays = {n: block[f] for f, n in self.names.items() if n in self.plain} | self._checked(block)
        except DataError:
            self._find_row()
            raise
        return Data(arrays, self._weights(arrays))

    def _checked(self, block: Block) -> dict[str, Array]:
        """What does not go as it comes, looked at by `bind`. Raises: DataError, with the row of the block."""
        named = {name: block[field] for field, name in self.names.items() if name not in self.plain}
        roles = tuple(r for r in self.roles if r != "input") if self.plain else self.roles
        return self.network.bind((named,), {}, roles) if roles else {}

    def _find_row(self) -> None:
        """The same look at the rows as they lie there. Raises: DataError, with the row in the file.

        What is wrong with more than a number is told with its row where the columns up to it fit into the budget.
        """
        fields, held = [f for f, n in self.names.items() if n not in self.plain], 0
        if self.source.cannot_replay() is not None:
            return
        parts, rows = list[Block](), 0
        for block in self.source.blocks(None):
            part = {f: block[f] for f in fields}
            held += sum(a.nbytes for a in part.values())
            if held <= self.source.memory // FOUND_SHARE:
                parts.append(part)
            else:
                parts.clear()
            try:
                self._checked(part)
            except WrongValue as error:
                raise error.moved(rows) from None
            except DataError:
                if not parts:
                    return
                self._checked({f: np.concatenate([p[f] for p in parts]) for f in fields})
            rows += len(next(iter(part.values())))

    def _weights(self, arrays: Mapping[str, Array]) -> Array | None:
        return class_weights(self.network.system, arrays, self.class_weight) if self.class_weight else None

    def _unchanged(self, block: Block) -> tuple[str, ...]:
        """The inputs, where all of them can go as they come: a source has looked at its numbers already."""
        system = self.network.system
        facts = system.in_facts
        for field, name in self.names.items():
            if system.tensors[name].role != "input":
                continue
            same = block[field].dtype == self.arrays[name].dtype and block[field].shape == self.arrays[name].shape
            if not same or name in facts or system.tensors[name].classes is not None:
                return ()
        return tuple(t.name for t in system.of_role("input"))

    def parts(self, order: Order | None, skip: int = 0) -> Iterator[Data]:
        """The rows in this order, in blocks as they come, checked. Close it when it is left early."""
        with contextlib.closing(_generator(self.source.blocks(order, skip))) as blocks:
            for block in blocks:
                yield self._bound(block)

    def in_place(self) -> dict[str, Array] | None:
        """The source's arrays by the formulas' names, where all can go as they lie there."""
        arrays = self.source.in_place()
        others = tuple(n for n in self.names.values() if n not in self.plain)
        if arrays is None or not self.plain or self.class_weight or not all(map(self._is_as_read, others)):
            return None
        return {name: arrays[field] for field, name in self.names.items()}

    def _is_as_read(self, name: str) -> bool:
        """Whether a target or label is bound as it comes: no one-hot rows, no other dtype."""
        field = self.source.fields[next(f for f, n in self.names.items() if n == name)]
        return (self.arrays[name].dtype, self.arrays[name].shape[1:]) == (field.dtype, field.shape) and not (
            self.network.system.in_facts & set(self.names.values())
        )

    def check(self, arrays: Mapping[str, Array], places: Array) -> None:
        """Look at the targets and labels of these rows as `bind` does. Raises: DataError."""
        others, roles = {n: a for n, a in arrays.items() if n not in self.plain}, set(self.roles) - {"input"}
        try:
            if others:
                self.network.bind(({n: a[places] for n, a in others.items()},), {}, tuple(roles))
        except DataError:
            self.network.bind((others,), {}, tuple(roles))  # the same of all rows: it names the row as it is counted
            raise

    def ahead(self) -> Generator[Data, None, None]:
        """The rows as they lie there, read ahead in a thread: for who looks at each once."""
        return prefetch(self.parts(None), 1)

    def refuse(self, sample_weight: object = None, validation_split: float = 0.0) -> None:
        """Raises: SettingError for options that need all rows at once."""
        given = {
            "sample_weight": (sample_weight is not None, "checkpoints.instead_weight"),
            "validation_split": (bool(validation_split), "checkpoints.instead_split"),
        }
        for option, (came, instead) in given.items():
            if came:
                raise SettingError(
                    say("checkpoints.no_option", option=option, name=self.source.name, instead=say(instead))
                )

    def piece_rows(self, batch: int) -> int:
        """Whole batches that are about as large as a piece should be."""
        held = sum(a.nbytes for a in self.arrays.values()) // max(1, len(next(iter(self.arrays.values()))))
        wanted = max(PIECE_BYTES, WEIGHTS_SHARE * sum(a.nbytes for a in self.network.kept.values()))
        room = min(wanted, self.source.memory // PIECE_SHARE) // max(held, 1)
        return max(1, room // batch) * batch


class Streamed:
    """The feed of a Stream: read, checked and cut into batches in a thread of its own."""

    def __init__(self, stream: Stream, batch: int, seed: int, shuffle: bool):
        self.stream, self.batch, self.seed, self.shuffle = stream, batch, seed, shuffle
        rows, own = stream.rows, stream.source.own_batches
        self.steps: int | None = None if rows is None or own else -(-rows // batch)
        self.walks = False  # whether the steps walk the non-zeros of an input, which are listed piece by piece

    def pieces(self, epoch: int, skip: int) -> Generator[Piece, None, None]:
        """See Feed."""
        order = Order(self.seed, epoch) if self.shuffle else None
        if self.stream.source.own_batches:
            return prefetch(self._as_they_come(order, skip), 1)
        arrays = None if self.walks else self.stream.in_place()
        made = self._cut(order, skip) if arrays is None else self._in_place(arrays, order, skip)
        return prefetch(made, 1)

    def _as_they_come(self, order: Order | None, skip: int) -> Iterator[Piece]:
        with contextlib.closing(_generator(self.stream.parts(order, skip))) as parts:
            for data in parts:
                yield Piece(np.arange(data.rows), data.rows, data)

    def _in_place(self, arrays: Mapping[str, Array], order: Order | None, skip: int) -> Iterator[Piece]:
        """Pieces of the arrays themselves: the steps gather their rows, and nothing is copied before."""
        room = max(self.stream.piece_rows(self.batch), PLACES // self.batch * self.batch)
        for places in self.stream.source.places(order, skip, room):
            self.stream.check(arrays, places)
            yield Piece(places, self.batch, Data(dict(arrays)))

    def _cut(self, order: Order | None, skip: int) -> Iterator[Piece]:
        """Pieces of `piece_rows`, the last one shorter."""
        room, waiting, count = self.stream.piece_rows(self.batch), list[Data](), 0
        self.stream.source.block_rows = room  # a piece that is one block is not copied once more
        with contextlib.closing(_generator(self.stream.parts(order, skip))) as parts:
            for data in parts:
                start = 0
                while start < data.rows:
                    stop = min(data.rows, start + room - count)
                    waiting.append(data.part(start, stop))
                    count, start = count + stop - start, stop
                    if count == room:
                        yield self._joined(waiting)
                        waiting, count = [], 0
        if waiting:
            yield self._joined(waiting)

    def _joined(self, parts: list[Data]) -> Piece:
        data = parts[0] if len(parts) == 1 else _concatenated(parts)
        return Piece(np.arange(data.rows), self.batch, data)


def _concatenated(parts: list[Data]) -> Data:
    arrays = {n: np.concatenate([p.arrays[n] for p in parts]) for n in parts[0].arrays}
    weights = [p.weights for p in parts if p.weights is not None]
    return Data(arrays, np.concatenate(weights) if weights else None)


def stream_of(
    network: Network,
    data: Sequence[object],
    named: Mapping[str, object],
    memory: str | int | None,
    class_weight: Mapping[object, float] | None = None,
    roles: tuple[str, ...] = ("input", "target", "label"),
) -> Stream | None:
    """The Stream of a Source, of an iterable of batches, or of arrays that are larger than the `memory`; else None.

    Raises: SettingError for a budget that is none.
    """
    budget = DEFAULT_MEMORY if memory is None else memory_bytes(memory)
    arrays = {} if memory is None else _arrays(data, named, budget)
    source: Source | None = None
    if sum(a.nbytes for a in arrays.values()) > budget:
        source = mapped(arrays, memory=budget)
    elif len(data) == 1 and not named:
        source = as_source(data[0], budget)
    return None if source is None else Stream(network, source, roles, class_weight)


def _arrays(data: Sequence[object], named: Mapping[str, object], budget: int) -> dict[str, Array]:
    """What was given, by name or number, where all of it are arrays of NumPy's or files of them; else nothing."""
    alone = data[0] if len(data) == 1 and not named else None
    given = dict(alone) if isinstance(alone, Mapping) else {**{str(n): a for n, a in enumerate(data)}, **named}
    if is_path(alone) and str(alone).lower().endswith(".npz"):
        given = dict(map_arrays(Path(str(alone)), budget))
    arrays: dict[str, Array] = {}
    for name, value in given.items():
        if isinstance(value, np.ndarray):
            arrays[str(name)] = value
        elif is_path(value) and str(value).lower().endswith(".npy"):
            arrays[str(name)] = next(iter(map_arrays(Path(str(value)), budget).values()))
    return arrays if len(arrays) == len(given) else {}


def _generator(iterator: Iterator[Any]) -> Any:
    """What can be closed, so that files are closed when an epoch is left early."""
    return iterator if hasattr(iterator, "close") else (item for item in iterator)


def feed_for(data: Data | Stream, batch_size: int | None, seed: int, shuffle: bool) -> tuple[Feed, int]:
    """The feed, and how many rows a batch has. Raises: SettingError where a full batch is asked of a stream."""
    if isinstance(data, Data):
        batch = min(batch_size or data.rows, data.rows)
        return Whole(data.rows, batch, seed, shuffle), batch
    if data.source.own_batches:
        return Streamed(data, 1, seed, shuffle), 1
    if batch_size is None:
        raise SettingError(say("checkpoints.full_batch", name=data.source.name))
    batch = batch_size if data.rows is None else min(batch_size, data.rows)
    return Streamed(data, batch, seed, shuffle), batch
