"""What a picture is drawn of: a user's arrays as the network's tensors, and all that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.errors import DataError, FormulaError
from chainrule.formula.evaluate import Array, run_equations
from chainrule.formula.expr import Symbol
from chainrule.formula.system import System, Update
from chainrule.interfaces.plots import image_shape
from chainrule.messages import say
from chainrule.program.interpret import run
from chainrule.program.lower import lower_prediction, lower_training
from chainrule.training.network import Network

DATA_ROLES = ("input", "target", "label")


def bound(network: Network, x: object, t: object = None, *, complete: bool = False) -> dict[str, Array]:
    """The arrays of a sample or a batch by tensor name, in the network's precision.

    x is an array, a mapping from name to array, or one row of numbers a sample where every input is a scalar. Targets
    may be missing unless `complete`.
    Raises: DataError where they do not fit the formulas.
    """
    given: dict[str, object] = dict(by_input(network.system, x))
    targets = {tensor.name for tensor in network.system.of_role("target", "label")}
    roles = DATA_ROLES if complete or t is not None or targets & set(given) else ("input",)
    arrays = network.bind([] if t is None else [t], given, roles)
    return {name: as_dtype(network, array) for name, array in arrays.items()}


def as_dtype(network: Network, array: Array) -> Array:
    return array if array.dtype.kind == "i" else array.astype(network.dtype, copy=False)


def by_input(system: System, x: object) -> Mapping[str, object]:
    """x by the names of the inputs: an array with one column per scalar input is taken apart."""
    if isinstance(x, Mapping):
        return {str(name): value for name, value in x.items()}
    inputs = system.of_role("input")
    if len(inputs) == 1:
        return {inputs[0].name: x}
    if all(set(t.indices) <= {system.samples} for t in inputs):
        columns = np.atleast_2d(np.asarray(x))
        if columns.ndim == 2 and columns.shape[1] == len(inputs):
            return {t.name: columns[:, n] for n, t in enumerate(inputs)}
    raise DataError(say("pictures.several_inputs", names=", ".join(t.name for t in inputs) or "–"))


def rows_in(arrays: Mapping[str, Array]) -> int:
    return len(next(iter(arrays.values()))) if arrays else 1


def forward(network: Network, system: System, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor that can be computed from the arrays and the weights; what needs a missing target is left out."""
    known = {**arrays, **network.kept}
    sizes = sizes_of(network, arrays)
    possible = [e for e in system.equations if _needs(system, e.target.tensor) <= set(known)]
    return run_equations(possible, known, sizes, network.hyper)


def _needs(system: System, name: str) -> set[str]:
    """The declared tensors that a quantity follows from."""
    return {n for n in system.depends_on(name) if system.tensors[n].role != "computed"}


def sizes_of(network: Network, arrays: Mapping[str, Array]) -> dict[str, int]:
    return {**network.sizes, network.system.samples: rows_in(arrays)}


def own_indices(system: System, name: str) -> tuple[str, ...]:
    """The indices of a tensor without the sample axis."""
    return tuple(i for i in system.tensors[name].indices if i != system.samples)


def image_of(count: int) -> tuple[int, int] | None:
    """(rows, columns) where so many pixels are a square image of at least 4 × 4; None where not."""
    rows, columns = image_shape(np.empty((1, count)))
    return (rows, columns) if rows == columns and rows >= 4 else None


class Losses:
    """The loss of one batch as a function of the weights."""

    def __init__(self, network: Network, arrays: Mapping[str, Array]):
        if network.system.loss is None:
            raise FormulaError(say("formula.no_loss"))
        self.network, self.arrays, self.loss = network, arrays, network.system.loss
        self.program = lower_prediction(network.system, loss=True)
        self.hyper = network.hyper_values(self.program, {})
        self.sizes = sizes_of(network, arrays)

    def at(self, weights: Mapping[str, Array]) -> float:
        """The mean of E over the batch, with these weights in place of the network's."""
        cast = {name: as_dtype(self.network, np.asarray(w)) for name, w in weights.items()}
        out = run(self.program, {**self.arrays, **self.network.kept, **cast}, self.sizes, self.hyper)
        return float(np.mean(out[self.loss], dtype=np.float64))


class Gradients:
    """The gradient of the loss over some rows of the data, as one flat vector; lowered once for many batches."""

    def __init__(self, network: Network, arrays: Mapping[str, Array]):
        gradient = Update(Symbol("w"), Symbol("g"))  # keeps every gradient alive, and is read by nothing
        self.network, self.arrays = network, arrays
        self.program = lower_training(network.derivation, network.system.with_(updates=()), (gradient,))
        self.hyper = network.hyper_values(self.program, {})
        self.names = [self.program.gradients[p.name] for p in network.system.parameters]

    def of(self, rows: Array) -> Array:
        """∂E/∂w of the batch of these rows, all parameters one after another."""
        batch = {name: array[rows] for name, array in self.arrays.items()}
        out = run(self.program, {**batch, **self.network.kept}, sizes_of(self.network, batch), self.hyper)
        return np.concatenate([np.asarray(out[name], dtype=np.float64).ravel() for name in self.names])


def first_rows(values: Mapping[str, Array], count: int) -> dict[str, Array]:
    """The first samples of a batch, so that a picture of a large data set is drawn in seconds."""
    return {name: array[:count] for name, array in values.items()}


def listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "–"
