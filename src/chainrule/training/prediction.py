"""How a network predicts and is tested: interpreted at first, compiled where that pays.

To compile takes about half a second the first time ever. So a few small predictions run in the interpreter; the
sixteenth, or one of very many rows, is compiled. Both give the same numbers but for rounding.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.sparse import SparseRows, rows_at_once
from chainrule.errors import DataError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import Element
from chainrule.messages import say
from chainrule.program.instructions import Contract, Program
from chainrule.program.lower import lower_prediction
from chainrule.program.passes import mixes_samples
from chainrule.training.runner import EpochReport
from chainrule.training.watch import Silent
from chainrule.training.weights import Data

if TYPE_CHECKING:
    from chainrule.kernels.predictor import Predictor
    from chainrule.training.feed import Stream
    from chainrule.training.metrics import Asked
    from chainrule.training.network import Network

SMALL_PREDICTIONS = 16  # that run in the interpreter before one is compiled
INTERPRETED_ROWS = 2048  # at a time: 2048 × 784 float32 are 6 MB
KEPT_PROGRAMS = 8  # that evaluate a network
MUCH_WORK = 5e8  # multiplications: some 50 ms in the interpreter, half a second with what it copies
EVALUATION_ROWS = 384  # rows a step: 64 tiles of 6
PLAIN = (np.ndarray, np.memmap)  # and no other kind: a masked array hides numbers
# What compiled steps read, in this machine's byte order; the first three of them without a look at the long way.
QUICK = frozenset(map(np.dtype, ("uint8", "float32", "float64")))
READABLE = QUICK | {np.dtype("int64")}


class Prediction:
    """What a network keeps to predict fast. Its memory is one call's at a time: threads that predict take turns."""

    def __init__(self, network: Network, program: Program):
        self.program = program
        self.together = mixes_samples(program)
        self.calls = 0
        self.predictor: Predictor | None = None
        self.lock = threading.Lock()
        self.loaded = -1  # which of the network's weights the predictor has
        self.hyper: dict[str, float] = {}  # and which hyper-parameters
        self.possible = True
        inputs = network.system.of_role("input")
        plain = len(inputs) == 1 and inputs[0].name not in network.system.in_facts and inputs[0].classes is None
        self.only = inputs[0].name if plain else None
        self.shape: tuple[int, ...] = ()

    def quick(self, network: Network, array: object) -> Array | None:
        """The output for an array that needs no conversion, where the compiled step is ready; else None."""
        if self.predictor is None or self.only is None or type(array) not in PLAIN:
            return None
        assert isinstance(array, np.ndarray)
        shape = array.shape
        if shape[1:] != self.shape or array.dtype not in QUICK or not array.size or not shape:
            return None
        single = shape[0] == 1
        if not single and not array.flags.c_contiguous:
            return None
        if array.dtype.kind == "f":
            flat = array.ravel()
            # vdot: dot would warn where the squares of large numbers overflow.
            if not math.isfinite(float(np.vdot(flat, flat))):
                return None  # the long way says which number it is, or that it is only large
        return self._predict(network, array if single else {self.only: array})

    def interpreted(self, network: Network, arrays: Mapping[str, Array]) -> Array:
        """The output by the interpreter."""
        output = network.system.output
        assert output is not None
        rows = len(next(iter(arrays.values()))) if arrays else 1
        chunk = max(rows, 1) if self.together else rows_at_once(arrays, INTERPRETED_ROWS)
        parts = [
            network.run(self.program, {n: a[start : start + chunk] for n, a in arrays.items()})[output]
            for start in range(0, max(rows, 1), chunk)
        ]
        whole = np.concatenate(parts) if network.system.is_sampled(output) else parts[0]
        return whole.astype(network.dtype, copy=False)  # what is computed from class numbers alone has another

    def compiled(self, network: Network, arrays: Mapping[str, Array]) -> Array | None:
        """The output by the compiled step, or None where the interpreter is to do it."""
        self.calls += 1
        if not self.possible or not arrays:
            return None
        if self.predictor is None:
            rows = len(next(iter(arrays.values())))
            if self.calls < SMALL_PREDICTIONS and multiplications(self.program, network.sizes, rows) < MUCH_WORK:
                return None
            with self.lock:
                if self.predictor is None:
                    self._make(network, arrays)
            if not self.possible:
                return None
        wanted = {t.name for t in self.program.inputs}
        return self._predict(network, {n: _readable(a, network.dtype) for n, a in arrays.items() if n in wanted})

    def _make(self, network: Network, arrays: Mapping[str, Array]) -> None:
        from chainrule.kernels.predictor import Predictor, predictable

        self.possible = predictable(self.program)
        if not self.possible:
            return
        if self.only is not None:
            self.shape = arrays[self.only].shape[1:]
        hyper = network.hyper_values(self.program, {})
        self.hyper = dict(network.hyper)
        self.predictor = Predictor(self.program, network.sizes, network.dtype, hyper)

    def _predict(self, network: Network, arrays: Mapping[str, Array] | Array) -> Array:
        """The output for the inputs by name, or for one row of the only input."""
        # Not `with`, which takes 0.2 µs: this takes half of that, of the 12 µs of the smallest prediction.
        self.lock.acquire()
        try:
            assert self.predictor is not None
            if self.loaded != network.changes:
                changes = network.changes
                self.predictor.load(network.kept)
                self.loaded = changes
            if self.hyper != network.hyper:
                self.predictor.set_hyper(network.hyper_values(self.program, {}))
                self.hyper = dict(network.hyper)
            if isinstance(arrays, np.ndarray):
                assert self.only is not None
                return self.predictor.single(self.only, arrays)
            return self.predictor(arrays)
        finally:
            self.lock.release()

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: code in memory cannot go with them, and is compiled again."""
        return {n: v for n, v in vars(self).items() if n not in ("predictor", "lock", "loaded")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, predictor=None, lock=threading.Lock(), loaded=-1)


def measured(
    network: Network,
    data: Data | Stream,
    metrics: Asked,
    weighted_metrics: Asked = (),
    like: Mapping[str, Array] | None = None,
) -> dict[str, Any]:
    """The loss and the metrics of checked data, as Network.evaluate returns them; of a Stream, read once.

    `like` are arrays that say what kind of targets these are: a validation has the metrics of its training, also where
    its few rows look like targets of another kind.
    """
    from chainrule.training.metrics import measures, rankings
    from chainrule.training.ranking import rank

    weight = None if data.weights is None else network.weighted.weight
    like = data.arrays if like is None else like
    found = measures(network, metrics, like, weighted_metrics, weight)
    system = network.system if weight is None else network.weighted.system
    watched = {n: e for m in found for n, e in m.sums.items()}
    key = (weight is None, *watched.items())
    if key not in network.measuring:  # lowering takes some 20 ms, and a training measures after every epoch
        if len(network.measuring) >= KEPT_PROGRAMS:
            network.measuring.clear()
        network.measuring[key] = lower_prediction(system, loss=True, metrics=watched)
    program = network.measuring[key]
    ranked = rankings(network, metrics, like, weighted_metrics)
    if isinstance(data, Data):
        means = _means(network, program, _named(data, weight))
    else:
        means = _means_of(network, program, data, weight, ranked)
    logs: dict[str, Any] = {} if system.loss is None else {"loss": means[system.loss]}
    logs |= {m.name: m.final(means) for m in found}
    if ranked and isinstance(data, Data):
        logs |= rank(network, ranked, data.arrays, data.weights)
    return logs


def _named(data: Data, weight: Element | None) -> dict[str, Any]:
    return dict(data.arrays) if weight is None else {**data.arrays, weight.tensor: data.weights}


def _means_of(
    network: Network, program: Program, stream: Stream, weight: Element | None, ranked: Sequence[Any]
) -> dict[str, float]:
    """The means over all rows of a stream. Raises: SettingError for what needs all rows at once."""
    name = stream.source.name
    if ranked:
        raise SettingError(say("checkpoints.no_ranking", metric=ranked[0].name, name=name))
    if mixes_samples(program):
        raise SettingError(say("checkpoints.no_together", name=name))
    totals: dict[str, float] = dict.fromkeys(program.watched, 0.0)
    rows = 0
    with contextlib.closing(stream.ahead()) as parts:
        for part in parts:
            means = _means(network, program, _named(part, weight))
            rows += part.rows
            for quantity, mean in means.items():
                totals[quantity] += mean * part.rows
    if not rows:
        raise DataError(say("checkpoints.epoch_length", epoch=1, name=name))
    return {quantity: total / rows for quantity, total in totals.items()}


def _means(network: Network, program: Program, arrays: Mapping[str, Any]) -> dict[str, float]:
    """The mean over the samples of each watched quantity; without samples, the quantity."""
    rows = len(next(iter(arrays.values()))) if arrays else 1
    together = mixes_samples(program)  # such as a loss that itself sums over the samples
    if arrays and not together and (means := evaluate_compiled(network, program, arrays)) is not None:
        return means
    chunk = rows if together else rows_at_once(arrays, INTERPRETED_ROWS)
    totals: dict[str, float] = dict.fromkeys(program.watched, 0.0)
    for start in range(0, rows, chunk):
        out = network.run(program, {n: a[start : start + chunk] for n, a in arrays.items()})
        for name in program.watched:
            share = min(chunk, rows - start) if out[name].ndim == 0 else 1
            totals[name] += float(np.sum(out[name], dtype=np.float64)) * share
    return {name: total / rows for name, total in totals.items()}


def evaluate_compiled(network: Network, program: Program, arrays: Mapping[str, Array]) -> dict[str, float] | None:
    """The mean of each watched quantity by a compiled step; None where the interpreter is to do it."""
    kept, rows = network.kept, len(next(iter(arrays.values())))
    if multiplications(program, network.sizes, rows) < MUCH_WORK:
        return None
    from chainrule.kernels.native import NativeRunner
    from chainrule.kernels.predictor import in_parts

    if not in_parts(program):
        return None
    start = {t.name: kept[t.name] for t in program.kept}
    runner = NativeRunner(program, arrays, start, network.sizes, network.dtype, None, EpochReport)
    steps = -(-rows // EVALUATION_ROWS)
    hyper = network.hyper_values(program, {})
    table = {n: np.full(steps, v) for n, v in hyper.items()}
    table |= {n: np.ones(steps) for n in ("step", "steps")}
    report: EpochReport = runner.epoch(np.arange(rows), EVALUATION_ROWS, table, Silent())
    return None if report.failed_step is not None else report.means()


def multiplications(program: Program, sizes: Mapping[str, int], rows: int) -> float:
    """How many multiplications the products of a program take."""
    known = {**sizes, program.samples: rows}
    total = 0.0
    for instruction in program:
        if isinstance(instruction, Contract):
            indices = {str(s) for s in instruction.out.slots} | set(instruction.indices)
            total += math.prod(known[i.rstrip("'")] for i in indices)
    return total


def _readable(array: Any, dtype: str) -> Any:
    """The array as compiled steps read it: contiguous, in a dtype that they know; a sparse table as it is."""
    if isinstance(array, SparseRows):
        return array
    if array.dtype not in READABLE:
        array = array.astype(np.int64 if array.dtype.kind in "biu" else dtype)
    return np.ascontiguousarray(array)
