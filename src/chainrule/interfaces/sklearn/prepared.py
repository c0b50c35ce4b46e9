"""Formulas → what is derived, lowered and compiled from them, once a process.

To parse, derive and lower a network of one hidden layer takes some 50 ms, as long as scikit-learn takes to train one on
150 rows. So all that depends on the text alone is kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.formula.expr import Element, Expr
from chainrule.formula.parse import parse_system
from chainrule.formula.system import System
from chainrule.program.instructions import Program
from chainrule.program.interpret import run
from chainrule.program.lower import lower_prediction
from chainrule.training.loop import Plan
from chainrule.training.runner import Runner, make_runner
from chainrule.training.network import Network
from chainrule.training.prediction import MUCH_WORK, SMALL_PREDICTIONS, multiplications
from chainrule.training.vocabulary import vocabulary

if TYPE_CHECKING:
    from chainrule.kernels.predictor import Predictor

Array = np.ndarray[Any, Any]
Weights = Mapping[str, Array]

KEPT_TEXTS = 32
KEPT_PREDICTORS = 4  # each with memory for 384 rows
PENALTY_MEAN = "mean_penalty"  # what the penalty is called among a step's reports
INTERPRETED_ROWS = 2048  # at a time: 2048 × 784 float64 are 12 MB


@lru_cache(maxsize=KEPT_TEXTS)
def prepared(text: str) -> Prepared:
    """What belongs to a text. Raises: FormulaError."""
    return Prepared(text)


class Prepared:
    """A network's text with its derivation and programs."""

    def __init__(self, text: str):
        self.text = text
        self.system: System = parse_system(text, vocabulary())
        self.programs: dict[tuple[str, bool], Program] = {}
        self.calls = 0
        self.predictors: OrderedDict[object, Predictor] = OrderedDict()
        self.lock = threading.Lock()

    @cached_property
    def _pattern(self) -> Network:
        """A network of the text without weights, which holds the derivation."""
        return Network(self.system)

    @cached_property
    def prediction(self) -> Program:
        return lower_prediction(self.system)

    def training(self, rule: str, *, penalty: bool = False) -> Program:
        """One training step by an update rule; `penalty` says whether that part of the loss is reported too."""
        key = (rule, penalty)
        if key not in self.programs:
            metrics: dict[str, Expr] = {PENALTY_MEAN: Element("penalty", ())} if penalty else {}
            self.programs[key], _ = self._pattern.training_program(rule, metrics)
        return self.programs[key]

    def network(self, dtype: str, sizes: Mapping[str, int], weights: Weights, hyper: Mapping[str, float]) -> Network:
        """A network with these weights."""
        made = Network(self.system, dtype=dtype, sizes=sizes)
        if "derivation" in vars(self._pattern):
            vars(made)["derivation"] = self._pattern.derivation
        made.hyper.update(hyper)
        made.keep({name: np.asarray(array, dtype=dtype) for name, array in weights.items()})
        return made

    def runner(self, network: Network, program: Program, data: Mapping[str, Any], plan: Plan) -> Runner:
        """The compiled step on these data, beginning with the network's weights and states."""
        return make_runner(network, program, data, plan)

    def output(self, network: Network, token: object, inputs: Mapping[str, Array]) -> Array:
        """The network's output. `token` stands for its weights: who has the same has the same weights.

        A few small predictions run in the interpreter; then, or for very many rows, it is compiled, as a Network does.
        """
        from chainrule.kernels.predictor import predictable

        program, rows = self.prediction, len(next(iter(inputs.values())))
        self.calls += 1
        much = multiplications(program, network.sizes, rows) >= MUCH_WORK
        if rows and (much or self.calls >= SMALL_PREDICTIONS) and predictable(program):
            return self._compiled(network, token, inputs)
        parts = [
            self.interpreted(program, network, {n: a[at : at + INTERPRETED_ROWS] for n, a in inputs.items()})
            for at in range(0, rows, INTERPRETED_ROWS)
        ]
        return np.concatenate([part[self.system.output or ""] for part in parts])

    def interpreted(self, program: Program, network: Network, data: Mapping[str, Array]) -> dict[str, Array]:
        """All tensors of a program on these rows."""
        sizes = {**network.sizes, program.samples: len(next(iter(data.values())))}
        return run(program, {**data, **network.kept}, sizes, network.hyper_values(program, {}))

    def _compiled(self, network: Network, token: object, inputs: Mapping[str, Array]) -> Array:
        from chainrule.kernels.predictor import Predictor

        key = (network.dtype, tuple(sorted(network.sizes.items())), tuple(sorted(network.hyper.items())))
        with self.lock:
            predictor = self.predictors.get(key)
            if predictor is None:
                hyper = network.hyper_values(self.prediction, {})
                predictor = Predictor(self.prediction, network.sizes, network.dtype, hyper)
                self.predictors[key] = predictor
            self.predictors.move_to_end(key)
            while len(self.predictors) > KEPT_PREDICTORS:
                self.predictors.popitem(last=False)
            if getattr(predictor, "token", None) is not token or token is None:
                predictor.load(network.kept)
                vars(predictor)["token"] = token
            return predictor({name: np.ascontiguousarray(array) for name, array in inputs.items()})


def names_of_layers(layers: int) -> Sequence[tuple[str, str]]:
    """(weight, bias) of each layer.

    >>> names_of_layers(2)
    [('W1', 'b1'), ('W2', 'b2')]
    """
    return [(f"W{n}", f"b{n}") for n in range(1, layers + 1)]
