"""Formulas → what is derived, lowered and compiled from them, once a process.

To parse, derive and lower a network of one hidden layer takes some 50 ms, as long as scikit-learn takes to train one on
150 rows. So all that depends on the text alone is kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.sparse import CHUNK_NUMBERS, SparseRows
from chainrule.formula.parse import parse_expression, parse_system
from chainrule.formula.system import System
from chainrule.program.instructions import Program
from chainrule.program.interpret import run
from chainrule.program.lower import lower_prediction
from chainrule.training.loop import Plan
from chainrule.training.network import Network
from chainrule.training.prediction import INTERPRETED_ROWS, MUCH_WORK, SMALL_PREDICTIONS, multiplications
from chainrule.training.runner import Runner, make_runner
from chainrule.training.vocabulary import vocabulary

if TYPE_CHECKING:
    from chainrule.kernels.predictor import Predictor

Array = np.ndarray[Any, Any]
Weights = Mapping[str, Array]

KEPT_TEXTS = 32
KEPT_PREDICTORS = 4  # each with memory for 384 rows


@dataclass(frozen=True)
class Setting:
    """What a text is compiled and run for: the dtype, and sizes and hyper-parameters by name."""

    dtype: str
    sizes: tuple[tuple[str, int], ...]
    hyper: tuple[tuple[str, float], ...]


@dataclass
class _Loaded:
    """A compiled prediction, and whose weights it has."""

    predictor: Predictor
    token: object = None


@lru_cache(maxsize=KEPT_TEXTS)
def prepared(text: str) -> Prepared:
    """What belongs to a text. Raises: FormulaError."""
    return Prepared(text)


class Prepared:
    """A network's text with its derivation and programs."""

    def __init__(self, text: str):
        self.text = text
        self.system: System = parse_system(text, vocabulary())
        self.programs: dict[object, Program] = {}
        self.calls = 0
        self.predictors: OrderedDict[Setting, _Loaded] = OrderedDict()
        self.lock = threading.Lock()

    @cached_property
    def _pattern(self) -> Network:
        """A network of the text without weights, which holds the derivation."""
        return Network(self.system)

    @cached_property
    def prediction(self) -> Program:
        return lower_prediction(self.system)

    def training(self, rule: str, watched: Mapping[str, str]) -> Program:
        """One training step by an update rule, which reports these formulas of a sample beside the loss."""
        key = (rule, *watched.items())
        if key not in self.programs:
            tensors, samples = self.system.tensors, self.system.samples
            metrics = {n: parse_expression(text, tensors, vocabulary(), samples) for n, text in watched.items()}
            self.programs[key], _ = self._pattern.training_program(rule, metrics)
        return self.programs[key]

    def network(self, setting: Setting, weights: Weights) -> Network:
        """A network with these weights."""
        made = Network(self.system, dtype=setting.dtype, sizes=dict(setting.sizes))
        if "derivation" in vars(self._pattern):
            vars(made)["derivation"] = self._pattern.derivation
        made.hyper.update(setting.hyper)
        made.keep({name: np.asarray(array, dtype=setting.dtype) for name, array in weights.items()})
        return made

    def runner(self, network: Network, program: Program, data: Mapping[str, Any], plan: Plan) -> Runner:
        """The compiled step on these data, beginning with the network's weights and states."""
        return make_runner(network, program, data, plan)

    def output(self, weights: Weights, setting: Setting, inputs: Mapping[str, Array], token: object = None) -> Array:
        """The network's output with these weights. Who brings the same `token` has the same weights.

        A few small predictions run in the interpreter; then, or for very many rows, it is compiled, as a Network does.
        """
        program, rows = self.prediction, len(next(iter(inputs.values())))
        if any(isinstance(a, SparseRows) for a in inputs.values()):
            return self._in_turns(weights, setting, inputs, token)
        self.calls += 1
        if rows and self._compiles and (self.calls >= SMALL_PREDICTIONS or self._much(setting, rows)):
            return self._compiled(weights, setting, inputs, token)
        parts = [
            self.interpreted(program, weights, setting, {n: a[at : at + INTERPRETED_ROWS] for n, a in inputs.items()})
            for at in range(0, rows, INTERPRETED_ROWS)
        ]
        return np.concatenate([part[self.system.output or ""] for part in parts])

    def _in_turns(self, weights: Weights, setting: Setting, inputs: Mapping[str, Any], token: object) -> Array:
        """Sparse tables are made dense a few rows at a time."""
        rows, parts = len(next(iter(inputs.values()))), []
        at_a_time = max(1, CHUNK_NUMBERS // max(a.size // rows for a in inputs.values()))
        for at in range(0, rows, at_a_time):
            taken = {n: a[at : at + at_a_time] for n, a in inputs.items()}
            dense = {n: a.astype(setting.dtype) if isinstance(a, SparseRows) else a for n, a in taken.items()}
            parts.append(self.output(weights, setting, dense, token))
        return np.concatenate(parts)

    @cached_property
    def _compiles(self) -> bool:
        from chainrule.kernels.predictor import predictable

        return predictable(self.prediction)

    def _much(self, setting: Setting, rows: int) -> bool:
        return multiplications(self.prediction, dict(setting.sizes), rows) >= MUCH_WORK

    def interpreted(
        self, program: Program, weights: Weights, setting: Setting, data: Mapping[str, Array]
    ) -> dict[str, Array]:
        """All tensors of a program on these rows."""
        sizes = {**dict(setting.sizes), program.samples: len(next(iter(data.values())))}
        return run(program, {**data, **weights}, sizes, self._hyper(program, setting))

    def _hyper(self, program: Program, setting: Setting) -> dict[str, float]:
        return self._pattern.hyper_values(program, dict(setting.hyper))

    def _compiled(self, weights: Weights, setting: Setting, inputs: Mapping[str, Array], token: object) -> Array:
        from chainrule.kernels.predictor import Predictor

        with self.lock:
            known = self.predictors.get(setting)
            if known is None:
                hyper = self._hyper(self.prediction, setting)
                known = _Loaded(Predictor(self.prediction, dict(setting.sizes), setting.dtype, hyper))
                self.predictors[setting] = known
            self.predictors.move_to_end(setting)
            while len(self.predictors) > KEPT_PREDICTORS:
                self.predictors.popitem(last=False)
            if token is None or known.token is not token:
                known.predictor.load(weights)
                known.token = token
            return known.predictor({name: np.ascontiguousarray(array) for name, array in inputs.items()})


def names_of_layers(layers: int) -> Sequence[tuple[str, str]]:
    """(weight, bias) of each layer.

    >>> names_of_layers(2)
    [('W1', 'b1'), ('W2', 'b2')]
    """
    return [(f"W{n}", f"b{n}") for n in range(1, layers + 1)]
