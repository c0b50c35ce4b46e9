"""Sample weights: E of each sample times its weight s, as an equation of the system that is trained.

What does not depend on the sample (a penalty on the weights) stays as it is. The loss of a batch is then Σ s·E / N, as
in Keras; for Σ s·E / Σ s give weights whose mean is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from chainrule.data.checks import as_numbers, is_number, is_whole
from chainrule.data.given import as_plain
from chainrule.data.splits import lone_classes
from chainrule.errors import DataError, SettingError, warn
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import Add, Element, add, free_indices, fresh_name, mul
from chainrule.formula.system import System, Tensor
from chainrule.messages import say

SHOWN_LONE = 3  # classes that occur once, told


@dataclass(frozen=True)
class Weighted:
    """A system whose loss has sample weights, and the element that they are."""

    system: System
    weight: Element


@dataclass(frozen=True)
class Data:
    """Checked arrays by tensor name, and one weight a sample where there are weights."""

    arrays: Mapping[str, Array]
    weights: Array | None = None

    @property
    def rows(self) -> int:
        """How many samples."""
        return len(next(iter(self.arrays.values())))

    def part(self, start: int, stop: int) -> Data:
        """These rows."""
        weights = None if self.weights is None else self.weights[start:stop]
        return Data({n: a[start:stop] for n, a in self.arrays.items()}, weights)

    def split(self, share: float) -> tuple[Data, Data]:
        """All but the last rows, and the last ones. Raises: SettingError where either is nothing."""
        if not is_number(share) or not 0 < share < 1:
            raise SettingError(say("training.option_range", name="validation_split", came=share, low=0, high=1))
        at = int(self.rows * (1 - share))  # as Keras rounds
        if not 0 < at < self.rows:
            raise SettingError(say("training.split_empty", rows=self.rows, came=share))
        return self.part(0, at), self.part(at, self.rows)

    def weighted(self, weights: Array) -> Data:
        """With these weights too."""
        return replace(self, weights=weights if self.weights is None else self.weights * weights)


def weighted(system: System) -> Weighted:
    """The system with E = s·(what was E of one sample) + (what has no sample).

    Raises: SettingError where the loss sums over the samples itself, so that no sample has a loss of its own.
    Example:
    >>> from chainrule.formula.parse import parse_system
    >>> from chainrule.formula.text import equation_text
    >>> text = "input x[i]; target t; parameter w[i]; y = sum[i](w[i]*x[i]); E = (y - t)**2 + sum[i](w[i]**2)"
    >>> equation_text(weighted(parse_system(text.replace("; ", chr(10)))).system.equations[-1])
    'E = sample_weight*(y - t)**2 + sum[i](w[i]**2)'
    """
    if system.loss is None or not system.is_sampled(system.loss):
        raise SettingError(say("training.no_sample_loss", name=system.loss or "E"))
    name = fresh_name("sample_weight", system.tensors)
    weight = Element(name, (system.samples,))
    equation = system.equation_of(system.loss)
    assert equation is not None
    terms = equation.value.terms if isinstance(equation.value, Add) else (equation.value,)
    own = [t for t in terms if system.samples in free_indices(t)]
    others = [t for t in terms if system.samples not in free_indices(t)]
    value = add(mul(weight, add(*own)), *others)
    tensors: dict[str, Tensor] = {}
    for tensor in system.tensors.values():  # with the targets, before what is computed
        if tensor.role == "computed" and name not in tensors:
            tensors[name] = Tensor(name, "target", (system.samples,))
        tensors[tensor.name] = tensor
    equations = tuple(replace(e, value=value) if e is equation else e for e in system.equations)
    return Weighted(system.with_(tensors=tensors, equations=equations), weight)


def sample_weights(system: System, arrays: Mapping[str, Array], given: object) -> Array | None:
    """One weight a sample, (N,), float64; None where none are given.

    Raises: DataError where there are no samples, or the weights are not one finite number ≥ 0 a sample.
    """
    if not arrays:
        raise DataError(say("training.no_samples"))
    if given is None:
        return None
    rows = len(next(iter(arrays.values())))
    found: Array = as_numbers("sample_weight", as_plain("sample_weight", given), None).astype(np.float64)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.shape != (rows,):
        raise DataError(say("training.wrong_shape", name="sample_weight", came=found.shape, wanted=f"({rows},)"))
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        raise DataError(say("training.bad_weight", row=row, came=f"{found[row]:g}"))
    return found


def class_weights(system: System, arrays: Mapping[str, Array], given: Mapping[object, float]) -> Array:
    """The weight of each sample's class, (N,); 1 for classes that are not named.

    Raises: SettingError where the target is no class, and for what is no weight by class number.
    """
    classes = _classes(system, arrays)
    if classes is None:
        raise SettingError(say("training.class_weight_target"))
    if not isinstance(given, Mapping):
        raise SettingError(say("training.class_weight", came=repr(given)))
    table = np.ones(int(classes.max(initial=0)) + 1)
    for key, value in given.items():
        if not is_whole(key) or key < 0 or not is_number(value) or value < 0:
            raise SettingError(say("training.class_weight", came=f"{key!r}: {value!r}"))
        if key < len(table):
            table[key] = value
    weights: Array = table[classes]
    return weights


def tell_lone_classes(system: System, arrays: Mapping[str, Array]) -> None:
    """Warn of classes that occur once, where rows are split or classes weighted."""
    name = next((t.name for t in system.of_role("label", "target") if t.name in arrays), "")
    classes = _classes(system, arrays)
    for number, row in [] if classes is None else lone_classes(classes)[:SHOWN_LONE]:
        warn(say("given.lone_class", name=name, came=number, row=row + 1))


def _classes(system: System, arrays: Mapping[str, Array]) -> Array | None:
    """The class number of each sample: a label, the 1 of a one-hot target, or a target of 0 and 1."""
    for tensor in system.of_role("label", "target"):
        array = arrays.get(tensor.name)
        if array is None:
            continue
        if tensor.role == "label":
            return array
        if array.ndim == 2 and array.shape[1] > 1 and np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all():
            numbers: Array = np.argmax(array, axis=1)
            return numbers
        if array.size == len(array) and np.isin(array, (0, 1)).all():
            return array.reshape(-1).astype(np.int64)
    return None
