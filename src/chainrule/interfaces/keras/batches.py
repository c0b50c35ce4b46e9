"""Data in batches for fit, evaluate and predict: generators, data loaders, Keras's PyDataset, chainrule.stream(…)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from chainrule.data.checks import is_whole
from chainrule.data.sources import Source
from chainrule.data.sources.streams import is_batches
from chainrule.errors import DataError, SettingError
from chainrule.messages import say


def in_batches(x: Any) -> bool:
    """Whether data come in batches. Raises: DataError for None."""
    if x is None:
        raise DataError(say("keras.no_inputs"))
    return isinstance(x, Source) or is_batches(x)


class Batches:
    """Keras's batches, (x, y) or x, as arrays by the formulas' names: `arrays(x, y)` makes them so.

    `targets` says that they hold targets: then a list of two, as PyTorch's DataLoader gives it, is (x, y) too. With
    `steps` an epoch is so many batches: of an iterator those that come next. Without, it is all of them.
    Raises: SettingError for batches with sample weights, and for a number of steps that is none.
    """

    def __init__(
        self, given: Any, arrays: Callable[[Any, Any], dict[str, Any]], steps: object = None, targets: bool = True
    ):
        if steps is not None and (not is_whole(steps) or steps < 1):
            raise SettingError(say("training.whole_number", name="steps_per_epoch", came=steps, low=1, high="…"))
        self.given, self.arrays, self.targets = given, arrays, targets
        self.steps: int | None = None if steps is None else int(steps)
        self.once = hasattr(given, "__next__")
        self.waiting: list[Any] = []
        self.name = type(given).__name__

    def first(self) -> Any:
        """The x of the first batch, which comes once more."""
        iterator = self._epoch()
        try:
            batch = next(iterator)
        except StopIteration:
            raise DataError(say("sources.no_batches", name=self.name)) from None
        if self.once:
            self.waiting = [batch]
        return self._parts(batch)[0]

    def _epoch(self) -> Iterator[Any]:
        if hasattr(self.given, "__getitem__") and hasattr(self.given, "__len__"):
            return (self.given[number] for number in range(len(self.given)))
        return iter(self.given)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        iterator, count = self._epoch(), 0
        while self.steps is None or count < self.steps:
            try:
                batch = self.waiting.pop() if self.waiting else next(iterator)
            except StopIteration:
                break
            count += 1
            try:
                yield self.arrays(*self._parts(batch))
            except GeneratorExit:
                if self.once:  # it was only looked at
                    self.waiting = [batch]
                raise
        if count == 0 and self.once and self.steps is None:
            raise DataError(say("sources.used_up", name=self.name))
        if self.steps is not None and count < self.steps:
            raise DataError(say("keras.ran_out", name=self.name, came=count, wanted=self.steps))
        if hasattr(self.given, "on_epoch_end"):
            self.given.on_epoch_end()

    def _parts(self, batch: Any) -> tuple[Any, Any]:
        if not isinstance(batch, tuple | list if self.targets else tuple):
            return batch, None
        if len(batch) > 2 and batch[2] is not None:
            raise SettingError(say("keras.batch_weights", name=self.name))
        return (batch[0], batch[1]) if len(batch) > 1 else (batch[0], None)
