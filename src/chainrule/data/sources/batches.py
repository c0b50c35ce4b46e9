"""Any iterable of batches: a generator, a DataLoader, a list's like that makes its batches when they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from chainrule.data.checks import unmasked
from chainrule.data.memory import DEFAULT_MEMORY
from chainrule.data.sources.checked import Array, check_finite, converted, native
from chainrule.data.sources.fingerprint import Digest
from chainrule.data.sources.source import Block, Field, Order, Source
from chainrule.errors import DataError
from chainrule.messages import say

NAMES = ("x", "t")  # of the arrays of a tuple; further ones are 2, 3, …


class BatchSource(Source):
    """Batches as they come, each a step: tuples or lists of arrays, mappings by name, or arrays alone.

    What can be iterated again gives an epoch each time; an iterator gives one. What has `__len__` and `__getitem__` is
    asked for batch 0, 1, … Arrays are whatever NumPy can read: tensors, lists of numbers. The order is the iterable's
    own, so that shuffling is, too.
    Raises: DataError, with the batch's number, for what does not fit together.
    """

    own_batches = True

    def __init__(
        self,
        batches: Iterable[Any] | Callable[[], Iterable[Any]],
        memory: int = DEFAULT_MEMORY,
        replayable: bool | None = None,
    ):
        self._batches, self.memory = batches, memory
        self.name = type(batches).__name__ if not callable(batches) else getattr(batches, "__name__", "batches")
        self._indexed = hasattr(batches, "__getitem__") and hasattr(batches, "__len__")
        self._replayable = self._indexed if replayable is None else replayable
        self._once: Iterator[Any] | None = None
        self._used = False
        self.rows = None
        first = self._peek()
        self.fields = {}
        self.first = self._as_block(0, first)
        self.fields = {name: Field(array.shape[1:], array.dtype) for name, array in self.first.items()}

    def _peek(self) -> Any:
        """The first batch. An iterator gives it once more, later."""
        iterator = self._iterator()
        try:
            first = next(iterator)
        except StopIteration:
            raise DataError(say("sources.no_batches", name=self.name)) from None
        if iterator is self._batches:
            self._once = itertools.chain([first], iterator)
        elif hasattr(iterator, "close"):
            iterator.close()
        return first

    def _iterator(self) -> Iterator[Any]:
        """An epoch's batches. Raises: DataError for an iterator that has given its one."""
        if self._used:
            raise DataError(say("sources.used_up", name=self.name))
        if self._once is not None:
            self._used = True
            return self._once
        if self._indexed:
            return self._asked()
        return iter(self._batches() if callable(self._batches) else self._batches)

    def _asked(self) -> Iterator[Any]:
        batches: Any = self._batches
        for number in range(len(batches)):
            yield batches[number]

    def blocks(self, order: Order | None, skip: int = 0) -> Iterator[Block]:
        """See Source: each block is a batch, in the iterable's order whatever is asked."""
        iterator = self._iterator()
        try:
            for number, batch in enumerate(iterator):
                block = self._as_block(number, batch)
                rows = len(next(iter(block.values())))
                if skip >= rows:
                    skip -= rows
                    continue
                yield {name: array[skip:] for name, array in block.items()} if skip else block
                skip = 0
        finally:
            for opened in (iterator, self._batches if self._used else None):
                close = getattr(opened, "close", None)
                if close is not None:
                    close()

    def head(self, rows: int) -> Block:
        """The first rows of the first batch: an iterator's are not used up by it."""
        return {name: array[:rows] for name, array in self.first.items()}

    def cannot_replay(self) -> str | None:
        """See Source."""
        if self._once is not None:
            return say("sources.gone", name=self.name)
        return None if self._replayable else say("sources.no_promise", name=self.name)

    def fingerprint(self) -> str:
        """Of the first batch alone, and how many there are where that is known: the others are not read for it."""
        digest = Digest()
        batches: Any = self._batches
        digest.words("batches", len(batches) if hasattr(batches, "__len__") else "")
        for name, array in self.first.items():
            digest.array(name, array)
        return digest.text()

    def _as_block(self, number: int, batch: Any) -> Block:
        """A batch's arrays by name, checked. Batches are counted from 1 in messages."""
        named = _named(batch)
        block = {name: self._array(number, name, value) for name, value in named.items()}
        lengths = {name: len(array) for name, array in block.items()}
        if len(set(lengths.values())) > 1:
            came = ", ".join(f"{name}: {rows}" for name, rows in lengths.items())
            raise DataError(say("sources.batch_lengths", name=self.name, batch=number + 1, came=came))
        if not block or 0 in lengths.values():
            raise DataError(say("sources.batch_empty", name=self.name, batch=number + 1))
        if self.fields:
            self._check_like_first(number, block)
        for name, array in block.items():
            check_finite(say("sources.batch", name=self.name, batch=number + 1), name, array, lambda row: row)
        return block

    def _array(self, number: int, name: str, value: Any) -> Array:
        if isinstance(value, np.ma.MaskedArray):
            value = unmasked(f"{say('sources.batch', name=self.name, batch=number + 1)}, {name}", value)
        try:
            array = np.asarray(value)
        except Exception as error:  # noqa: BLE001 (whatever a tensor of another library raises that cannot be an array)
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                say("sources.batch_no_array", name=self.name, batch=number + 1, field=name, reason=reason)
            ) from None
        dtype = native(array.dtype)
        if dtype is None or array.ndim == 0:
            came = f"{array.dtype} {array.shape}"
            raise DataError(say("sources.batch_no_numbers", name=self.name, batch=number + 1, field=name, came=came))
        return converted(array, dtype)

    def _check_like_first(self, number: int, block: Block) -> None:
        shown = {f: f"{a.dtype} (N{''.join(f', {s}' for s in a.shape[1:])})" for f, a in block.items()}
        first = {f: f"{k.dtype} (N{''.join(f', {s}' for s in k.shape)})" for f, k in self.fields.items()}
        if shown != first:
            came = ", ".join(f"{f}: {text}" for f, text in shown.items())
            wanted = ", ".join(f"{f}: {text}" for f, text in first.items())
            raise DataError(say("sources.batch_differs", name=self.name, batch=number + 1, came=came, wanted=wanted))


def _named(batch: Any) -> dict[str, Any]:
    if isinstance(batch, Mapping):
        return {str(name): value for name, value in batch.items()}
    if isinstance(batch, (tuple, list)) and batch and all(_has_rows(item) for item in batch):
        return {NAMES[k] if k < len(NAMES) else str(k): item for k, item in enumerate(batch)}
    return {NAMES[0]: batch}


def _has_rows(item: Any) -> bool:
    """Whether an item of a tuple is an array, so that the tuple is several, and no row of numbers."""
    return hasattr(item, "__array__") or hasattr(item, "__len__") or hasattr(item, "shape")
