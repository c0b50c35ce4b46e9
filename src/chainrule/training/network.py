"""What a user holds: formulas, sizes, weights; loss, gradients, prediction, training.

>>> import numpy as np
>>> net = formula('''
... input     x[i]
... target    t
... parameter w[i], b = zeros
... y = sum[i](w[i]*x[i]) + b
... E = 1/2*(y - t)**2
... ''', dtype="float64")
>>> x = np.array([[0.0], [1], [2]]); t = 3*x[:, 0] + 1
>>> history = net.fit(x, t, epochs=500, batch_size=3, learning_rate=0.3, verbose=0, engine="interpreter")
>>> net.predict(np.array([[10.0]])).round(3)
array([31.])
"""

# More than 500 lines: all that a user calls is in one class, and the options of fit with what they mean take a hundred.
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.checks import is_whole
from chainrule.derivation.adjoint import Derivation, derive_system
from chainrule.errors import DataError, FileError, FormulaError, NotationError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import Element, Expr, Symbol, symbols
from chainrule.formula.parse import MAX_CHARACTERS, parse_system
from chainrule.formula.shapes import Sizes
from chainrule.formula.system import System, Update
from chainrule.formula.text import update_text
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.program.interpret import run
from chainrule.program.lower import lower_prediction, lower_training
from chainrule.training.bind import COLUMNS_NOTE, as_dense, bind, validation_parts
from chainrule.training.initial import initial_values
from chainrule.training.optimizer import Optimizer, as_optimizer
from chainrule.training.room import check_room, within_memory
from chainrule.training.vocabulary import Rule, hyper_name, vocabulary
from chainrule.training.watch import History
from chainrule.training.weights import Data, Weighted, class_weights, sample_weights, tell_lone_classes, weighted

if TYPE_CHECKING:
    from chainrule.derivation.check import Point
    from chainrule.derivation.checked import GradientCheck
    from chainrule.training.checkpoints import Checkpoints
    from chainrule.training.cost import Cost
    from chainrule.training.explain import Explanation
    from chainrule.training.feed import Stream
    from chainrule.training.metrics import Asked
    from chainrule.training.prediction import Prediction
    from chainrule.training.stepping import Event, ProgramPage

DTYPES = ("float32", "float64")
KEPT_PROGRAMS = 8  # of a network: who trains batch by batch (Keras's train_on_batch) lowers once


def formula(
    source: str | Path, *, dtype: str = "float32", sizes: Mapping[str, int] | None = None, seed: int = 0
) -> Network:
    """A network from formulas: a text, or the path of a file that holds one.

    `sizes` gives index sizes that neither the text nor the data say; `seed` draws the first weights.
    Raises: FormulaError where the text does not read; FileError where the file does not; SettingError for the dtype.
    """
    text = source if isinstance(source, str) and _looks_like_formulas(source) else read_formula_file(Path(source))
    return Network(parse_system(text, vocabulary()), dtype=dtype, sizes=sizes, seed=seed)


def _looks_like_formulas(source: str) -> bool:
    return "\n" in source or "=" in source or "<-" in source or "←" in source or not source.strip()


def read_formula_file(path: Path) -> str:
    """The text of a formula file. Raises: FileError, one line."""
    try:
        if path.stat().st_size > 4 * MAX_CHARACTERS:
            raise NotationError(say("formula.text_too_long", came=path.stat().st_size, limit=MAX_CHARACTERS))
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, FormulaError):
            raise
        reason = getattr(error, "strerror", None) or say("training.not_utf8")
        raise FileError(say("training.formula_file", path=path, reason=reason)) from None


class Network:
    """Formulas with weights. Made by `formula(text)` or `load(path)`."""

    def __init__(
        self, system: System, *, dtype: str = "float32", sizes: Mapping[str, int] | None = None, seed: int = 0
    ):
        if dtype not in DTYPES:
            raise SettingError(say("training.choice", name="dtype", came=dtype, wanted=", ".join(map(repr, DTYPES))))
        if not is_whole(seed) or not 0 <= seed < 2**64:
            raise SettingError(say("training.seed", came=seed))
        self.system = system
        self.dtype = dtype
        self.seed = int(seed)
        self.hyper: dict[str, float] = {name: float(value) for name, value in system.hyper.items()}
        self._sizes = Sizes(system)
        self._sizes_found = -1  # how many were known when none was missing
        for index, size in (sizes or {}).items():
            self._sizes.learn(index, size, say("training.from_sizes"))
        self.notes: dict[str, object] = {}  # what an interface keeps in the model file: JSON, not looked at here
        self._changes = 0
        self.newer: Callable[[], Mapping[str, Array]] | None = None  # the weights of a training in mid-epoch
        self.measuring: dict[object, Program] = {}  # what evaluates, by what it watches
        self.steps = 0  # updates by the present rule
        self.epochs = 0  # of all trainings
        self._rule: str | None = None
        self._programs: dict[object, tuple[Program, Rule]] = {}
        self._kept: dict[str, Array] = {}  # parameters and, once trained, the states of the update rule

    # what it is

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of the indices that are known so far."""
        self._sizes.spread()
        return dict(self._sizes.known)

    def learn_size(self, index: str, size: int, of: str) -> None:
        """Note how long an index is, from the data `of` a quantity. Raises: ShapeError where it is known otherwise."""
        self._sizes.learn(index, size, say("training.from_data", name=of))

    @property
    def formulas(self) -> str:
        """The text that the network was made from."""
        return self.system.text

    @cached_property
    def derivation(self) -> Derivation:
        """The backward pass, derived. Raises: FormulaError without a loss; NotDifferentiable."""
        return derive_system(self.system)

    @cached_property
    def weighted(self) -> Weighted:
        """The system that is trained where samples have weights. Raises: SettingError where that has no meaning."""
        return weighted(self.system)

    @cached_property
    def weighted_derivation(self) -> Derivation:
        """Its backward pass."""
        return derive_system(self.weighted.system)

    @property
    def parameters(self) -> dict[str, Array]:
        """Name → array, in the shape of the formula. Arrays are copies; `set_parameters` changes the network.

        Raises: ShapeError while the size of an index is unknown.
        """
        self._start()
        return {p.name: self._kept[p.name].copy() for p in self.system.parameters}

    def set_parameters(self, values: Mapping[str, object] | None = None, /, **named: object) -> None:
        """Set weights by name. Raises: DataError for a name, shape or number that does not fit."""
        from chainrule.data.checks import as_numbers

        given = {**(values or {}), **named}
        tensors = {p.name: p for p in self.system.parameters}
        arrays = {}
        for name, value in given.items():
            if name not in tensors:
                raise DataError(say("training.unknown_parameter", name=name, known=", ".join(tensors)))
            array = as_numbers(name, value, None)
            wanted = tuple(self._sizes.known.get(i) for i in tensors[name].indices)
            if len(wanted) != array.ndim or any(w not in (None, s) for w, s in zip(wanted, array.shape, strict=True)):
                shown = tuple(w if w is not None else i for w, i in zip(wanted, tensors[name].indices, strict=True))
                raise DataError(say("training.wrong_shape", name=name, came=array.shape, wanted=shown))
            self._sizes.learn_shape(tensors[name], array.shape, say("training.from_data", name=name))
            arrays[name] = array.astype(self.dtype)
        self.keep(arrays)

    def _start(self) -> None:
        """Draw the parameters and declared states that have no values yet."""
        self._catch_up()
        known = self._sizes.known
        if len(known) != self._sizes_found:  # sizes are only ever added; a short training asks a dozen times
            check_room(self.system, self._sizes.require())
            self._sizes_found = len(known)
        if any(t.name not in self._kept for t in self.system.of_role("parameter", "state")):
            with within_memory():
                self._kept = initial_values(self.system, known, self.seed, self.dtype, self._kept) | self._kept
            self._changes += 1

    @property
    def changes(self) -> int:
        """How often the weights changed."""
        self._catch_up()
        return self._changes

    def _catch_up(self) -> None:
        """Fetch the weights of a training that is in mid-epoch: only who asks for them has them copied."""
        if self.newer is not None:
            newer, self.newer = self.newer, None
            self.keep(newer())

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, also by a callback while it trains."""
        self._catch_up()
        return vars(self)

    # what it computes

    @cached_property
    def _prediction(self) -> Prediction:
        from chainrule.training.prediction import Prediction

        return Prediction(self, lower_prediction(self.system))

    def run(self, program: Program, arrays: Mapping[str, Array], **hyper: float) -> dict[str, Array]:
        """All tensors of a program on these rows, by the interpreter."""
        self._start()
        rows = len(next(iter(arrays.values()))) if arrays else 1
        sizes = {**self._sizes.known, self.system.samples: rows}
        cast = {n: a.astype(self.dtype, copy=False) if a.dtype.kind != "i" else a for n, a in arrays.items()}
        # Row after row: sums over an array that lies otherwise are rounded in another order.
        cast = {n: np.ascontiguousarray(a) if a.ndim else a for n, a in cast.items()}
        with within_memory():
            return run(program, {**cast, **self._kept}, sizes, self.hyper_values(program, hyper))

    def hyper_values(self, program: Program, given: Mapping[str, float]) -> dict[str, float]:
        """The values of a program's hyper-parameters. Raises: SettingError for one without a value."""
        known = {n: float(v) for n, v in program.defaults.items()} | self.hyper | dict(given)
        for name in program.hyper:
            if name not in known:
                raise SettingError(say("formula.hyper_unknown", name=name))
        return {name: known[name] for name in (*program.hyper, "step", "steps") if name in known}

    def bind(
        self,
        data: Sequence[object],
        named: Mapping[str, object],
        roles: Sequence[str],
        *,
        sparse: bool = False,
        remember: bool = False,
    ) -> dict[str, Array]:
        """A user's arrays, files and tables by tensor name, checked against the formulas.

        Where `sparse`, sparse tables stay data.sparse.SparseRows, which look like arrays; else they are made dense.
        Where `remember`, the names of a table's columns go into the notes: later tables are read by them.
        """
        bound = bind(self.system, self._sizes, data, named, roles, self.notes)
        if remember and bound.columns:
            self.notes[COLUMNS_NOTE] = bound.columns
            bound.tell_constants()
        return bound.arrays if sparse else as_dense(bound.arrays)

    def predict(self, *data: object, **named: object) -> Array:
        """The output of the network: one row per sample of the inputs.

        Raises: DataError, FormulaError where the formulas have no output.
        """
        if self.system.output is None:
            raise FormulaError(say("training.no_output"))
        if len(data) == 1 and not named and (quick := self._prediction.quick(self, data[0])) is not None:
            return quick
        if (stream := self._stream(data, named, ("input",))) is not None:
            answers = [self.predict(dict(part.arrays)) for part in stream.ahead()]
            if not answers:
                raise DataError(say("checkpoints.epoch_length", epoch=1, name=stream.source.name))
            return np.concatenate(answers)
        arrays = self.bind(data, named, ("input",), sparse=True)
        self._start()
        with within_memory():
            if (fast := self._prediction.compiled(self, arrays)) is not None:
                return fast
            return self._prediction.interpreted(self, arrays)

    def loss(self, *data: object, **named: object) -> float:
        """The loss of a batch: the mean of E over its samples."""
        from chainrule.training.prediction import measured

        if (stream := self._stream(data, named)) is not None:
            return float(measured(self, stream, ())["loss"])
        arrays = self.bind(data, named, ("input", "target", "label"), sparse=True)
        return float(measured(self, Data(arrays), ())["loss"])

    def _stream(
        self,
        data: Sequence[object],
        named: Mapping[str, object],
        roles: tuple[str, ...] = ("input", "target", "label"),
    ) -> Stream | None:
        """The rows of a Source, where data are one. Arrays, which a prediction of microseconds takes, are none."""
        if len(data) != 1 or named or isinstance(data[0], np.ndarray):
            return None
        from chainrule.training.feed import stream_of

        return stream_of(self, data, named, None, roles=roles)

    def evaluate(
        self,
        *data: object,
        metrics: Asked = None,
        weighted_metrics: Asked = (),
        sample_weight: object = None,
        **named: object,
    ) -> dict[str, Any]:
        """The loss and the metrics over a data set; without `metrics` the accuracy, where it applies.

        Raises: DataError, FormulaError, SettingError for a metric that does not fit.
        """
        from chainrule.training.prediction import measured

        if self.system.loss is None and self.system.output is None:
            raise FormulaError(say("formula.no_loss"))
        if (stream := self._stream(data, named)) is not None:
            stream.refuse(sample_weight=sample_weight)
            return measured(self, stream, metrics, weighted_metrics)
        arrays = self.bind(data, named, ("input", "target", "label"), sparse=True)
        weights = sample_weights(self.system, arrays, sample_weight)
        return measured(self, Data(arrays, weights), metrics, weighted_metrics)

    def metrics(self, arrays: Mapping[str, Array]) -> dict[str, Expr]:
        """What is reported beside the loss: the accuracy, where targets are classes."""
        from chainrule.training.metrics import measures

        return {n: e for m in measures(self, None, arrays) for n, e in m.sums.items()}

    def gradients(self, *data: object, **named: object) -> dict[str, Array]:
        """∂E/∂w of the batch's loss for every parameter: name → array in the shape of the formula."""
        arrays = self.bind(data, named, ("input", "target", "label"))
        gradient = Update(Symbol("w"), Symbol("g"))  # keeps every gradient alive, changes nothing that is read after it
        program = lower_training(self.derivation, self.system.with_(updates=()), (gradient,))
        out = self.run(program, arrays)
        return {p.name: out[program.gradients[p.name]] for p in self.system.parameters}

    # what it can be asked about its gradients

    def point(self, *data: object, **named: object) -> Point:
        """The data, the weights, the sizes and the hyper-parameters: what its formulas can be evaluated at."""
        from chainrule.derivation.check import Point

        arrays = self.bind(data, named, ("input", "target", "label"))
        self._start()
        rows = len(next(iter(arrays.values()))) if arrays else 1
        return Point({**arrays, **self._kept}, {**self._sizes.known, self.system.samples: rows}, dict(self.hyper))

    def check_gradients(
        self,
        *data: object,
        entries: int | None = 32,
        seed: int = 0,
        tolerance: float | None = None,
        **named: object,
    ) -> GradientCheck:
        """The derived gradient of every parameter beside numerical differentiation, in float64: print it, or ask .ok.

        Of a large parameter `entries` are compared (None: all), a quarter of them those with the largest gradients, the
        others drawn by `seed`, and one random direction through all. Kinks are reported as kinks.
        Raises: DataError, FormulaError, SettingError.
        """
        from chainrule.derivation.check import Options, check_gradients

        arrays = self.bind(data, named, ("input", "target", "label"))
        own = self.gradients(arrays)
        return check_gradients(self.derivation, self.point(arrays), Options(entries, seed, tolerance), own)

    def why_backpropagation(self, *data: object, **named: object) -> Cost:
        """All derivatives in one backward pass against one difference quotient a weight: the operations, the time."""
        from chainrule.training.cost import cost_of

        return cost_of(self, self.bind(data, named, ("input", "target", "label")))

    def explain(
        self,
        *data: object,
        weight: str | None = None,
        sample: int = 0,
        optimizer: str | None = None,
        title: str = "",
        **named: object,
    ) -> Explanation:
        """The derivation with numbers in it: a sample's, or a batch's, and those of one weight such as "W1[300, 7]".

        Print it, `save("page.html")` it, and ask for any quantity by name: `net.explain(x, t)["delta_h"]`, in the shape
        of the formula. Without `weight` it is the one with the largest gradient of the first parameter; `sample` is the
        row that is looked at. Raises: SettingError for the weight or the sample, DataError, FormulaError.
        """
        from chainrule.training.explain import explain

        arrays = self.bind(data, named, ("input", "target", "label"))
        return explain(self, arrays, weight=weight, sample=sample, optimizer=optimizer, title=title)

    def program(self, optimizer: str | None = None) -> ProgramPage:
        """One training step: each equation beside the line of NumPy that it became. Raises: ShapeError."""
        from chainrule.training.stepping import program_page

        self._sizes.require()
        return program_page(self, *self.training_program(optimizer))

    def step_through(self, *data: object, optimizer: str | None = None, **named: object) -> Iterator[Event]:
        """Run one training step of the interpreter, and yield each instruction: formula, inputs, output.

        The network keeps its weights. Raises: DataError, SettingError.
        """
        from chainrule.training.stepping import step_through

        arrays = self.bind(data, named, ("input", "target", "label"))
        program, _ = self.training_program(optimizer)
        hyper = self.hyper_values(program, {"step": 1.0, "steps": 1.0})
        return step_through(self, program, arrays, hyper)

    # learning

    def training_program(
        self,
        optimizer: str | Optimizer | None = None,
        metrics: Mapping[str, Expr] | None = None,
        *,
        weighted: bool = False,
        frozen: Sequence[str] = (),
    ) -> tuple[Program, Rule]:
        """One training step by an update rule: a name, lines of text, an Optimizer, or None for the text's own.

        `weighted` says that samples have weights; `frozen` names parameters that stay as they are.
        """
        key = (repr(as_optimizer(optimizer)), tuple((metrics or {}).items()), weighted, tuple(frozen))
        if key not in self._programs:
            if len(self._programs) >= KEPT_PROGRAMS:
                self._programs.clear()
            self._programs[key] = self._training_program(as_optimizer(optimizer), metrics, weighted, tuple(frozen))
        return self._programs[key]

    def _training_program(
        self, optimizer: Optimizer, metrics: Mapping[str, Expr] | None, weighted: bool, frozen: tuple[str, ...]
    ) -> tuple[Program, Rule]:
        rule = self._rule_of(optimizer, frozen)
        system = self.weighted.system if weighted else self.system
        derivation = None
        if self._needs_gradient(rule):
            derivation = self.weighted_derivation if weighted else self.derivation
        program = lower_training(
            derivation, system, rule.lines, defaults=rule.defaults, metrics=metrics, special=rule.special
        )
        return program, rule

    def _rule_of(self, optimizer: Optimizer, frozen: tuple[str, ...]) -> Rule:
        own = tuple(u for u in self.system.updates if isinstance(u.target, Symbol))
        if optimizer.rule is None and own:
            if optimizer == Optimizer() and not frozen:
                return Rule("", own, self.system.hyper)
            optimizer = replace(optimizer, rule="\n".join(map(update_text, own)))
        return optimizer.compose([p.name for p in self.system.parameters], frozen)

    def begin_rule(self, text: str) -> None:
        """Take note of the rule of a training that begins: the states of another rule are of no use to it."""
        if self._rule is not None and self._rule != text:
            declared = {t.name for t in self.system.of_role("parameter", "state")}
            self._kept = {n: a for n, a in self._kept.items() if n in declared}
            self.steps = 0
        self._rule = text

    def _needs_gradient(self, rule: Rule) -> bool:
        own = {u.target.tensor for u in self.system.updates if isinstance(u.target, Element)}
        lines = [u for u in self.system.updates if isinstance(u.target, Element)]
        for parameter in self.system.parameters:
            if parameter.name not in own:
                lines += rule.special.get(parameter.name, rule.lines)
        return any("g" in symbols(u.value) and "g" not in self.system.hyper for u in lines)

    def overridden_updates(self, optimizer: str | Optimizer | None) -> list[str]:
        """The text's own generic update lines that an `optimizer` option replaces."""
        if as_optimizer(optimizer).rule is None:
            return []
        return [update_text(u) for u in self.system.updates if isinstance(u.target, Symbol)]

    def fit(
        self,
        *data: object,
        epochs: int = 1,
        batch_size: int | None = 32,
        optimizer: str | Optimizer | None = None,
        learning_rate: float | str | None = None,
        seed: int | None = None,
        shuffle: bool = True,
        threads: int | None = None,
        validation_data: object = None,
        validation_split: float = 0.0,
        validation_weight: object = None,
        validation_freq: int = 1,
        sample_weight: object = None,
        class_weight: Mapping[object, float] | None = None,
        metrics: Asked = None,
        weighted_metrics: Asked = (),
        verbose: str | int = "auto",
        callbacks: object = (),
        hyper: Mapping[str, float] | None = None,
        engine: str = "native",
        profile: bool = False,
        sparse: bool | None = None,
        initial_epoch: int = 0,
        frozen: Sequence[str] = (),
        model: object = None,
        advice: bool = True,
        memory: str | int | None = None,
        checkpoints: str | Path | Checkpoints | None = None,
        resume: str | Path | bool | None = None,
        **named: object,
    ) -> History:
        """Train: passes over the data in batches, up to epoch `epochs`, and return what each epoch reached.

        `batch_size=None` is full-batch descent, 1 single-sample descent. `optimizer` is a rule's name, update lines, or
        an Optimizer; without it the text's own lines hold, else gradient descent. `learning_rate` is a number or a
        schedule (name or formula in step, steps and eta0); `hyper` sets further hyper-parameters. `frozen` names
        parameters that stay as they are.

        `validation_split` keeps the last share of the rows out of training; they, or `validation_data`, are looked at
        after every `validation_freq` epochs. `sample_weight` has one weight a row, `class_weight` one a class: the loss
        is Σ s·E / N. `metrics` are names of library.METRICS or formulas of one sample; without it the accuracy, where
        targets are classes. `callbacks` are objects with the hooks of training.callbacks.Callback, or functions
        (epoch, logs), called after each epoch; one that returns False ends the training.

        `engine` is "native" (compiled) or "interpreter". `profile` measures where the time of a step goes:
        history.profile, a table when printed. `threads` and `sparse` (whether zeros among the inputs are skipped) are
        chosen by the sizes and the share of zeros where they are None. `advice=False` leaves out the looks at the data
        and at the first epoch that warn of what hardly works (training/advice.py), and their few milliseconds.

        Data are arrays, paths of files (.npy, .npz, .csv, .parquet, IDX), or tables and columns of pandas, polars and
        Arrow, by position or by name: `fit(x, t)`, `fit(table)`, `fit("train.csv")` (docs/data.md).

        Data may be a Source, which is read while it trains (chainrule.stream), or any iterable of batches. `memory`,
        such as "512MB", is what rows that are read ahead may take; arrays that are larger, mapped ones say, are read in
        parts then. `checkpoints` is a folder, or a Checkpoints that says how often; with `resume`, a folder (True: that
        of `checkpoints`, where it has one), a training goes on from its newest checkpoint, and ends with the very
        weights that it would have had without the interruption.

        Raises: DataError, SettingError, FormulaError; Diverged where the loss leaves the finite numbers, with the last
        good weights kept; KeyboardInterrupt is caught: training ends after the step, the weights are kept.
        """
        # Many options, as the users of Keras and scikit-learn know them; loop.Plan holds them from here on.
        from chainrule.training.checkpoints import asked_checkpoints
        from chainrule.training.feed import stream_of
        from chainrule.training.loop import Plan, train
        from chainrule.training.rates import check_hyper

        keeping, start = asked_checkpoints(checkpoints, resume)
        rule = as_optimizer(optimizer)
        for some in (rule.hyper, hyper):
            check_hyper(some)
        plan = Plan(
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=rule.learning_rate if learning_rate is None else learning_rate,
            seed=self.seed if seed is None else seed,
            shuffle=shuffle,
            threads=threads,
            verbose=verbose,
            callbacks=callbacks,
            hyper={**rule.hyper, **(hyper or {})},
            engine=engine,
            profile=profile,
            sparse=sparse,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            initial_epoch=initial_epoch,
            validation_freq=validation_freq,
            frozen=frozen,
            model=model,
            advice=advice,
            checkpoints=keeping,
            resume=start,
        )
        plan.check()
        stream = stream_of(self, data, named, memory, class_weight)
        if stream is not None:
            stream.refuse(sample_weight=sample_weight, validation_split=validation_split)
            return train(self, stream, self._validation(validation_data, validation_weight, memory), plan)
        arrays = self.bind(data, named, ("input", "target", "label"), sparse=True, remember=True)
        own = Data(arrays, sample_weights(self.system, arrays, sample_weight))
        validation = self._validation(validation_data, validation_weight, memory)
        if validation_split or class_weight:
            tell_lone_classes(self.system, own.arrays)
        if validation is None and validation_split:
            own, validation = own.split(validation_split)
        if class_weight:  # a validation has none, as in Keras
            own = own.weighted(class_weights(self.system, own.arrays, class_weight))
        return train(self, own, validation, plan)

    def _validation(self, given: object, weight: object, memory: str | int | None) -> Data | Stream | None:
        """What is looked at after an epoch."""
        from chainrule.training.feed import stream_of

        if given is None:
            return None
        parts = given if isinstance(given, tuple | list) else (given,)
        if (stream := stream_of(self, parts, {}, memory)) is not None:
            return stream
        arrays = self.bind(validation_parts(given), {}, ("input", "target", "label"), sparse=True)
        return Data(arrays, sample_weights(self.system, arrays, weight))

    def plan_hyper(self, program: Program, given: Mapping[str, float]) -> dict[str, float]:
        """Hyper-parameters by the notation's names, with their values. Raises: SettingError for unknown ones."""
        known = dict.fromkeys((*program.hyper, *program.defaults, *self.hyper), 0.0)
        values = {hyper_name(n, known): float(v) for n, v in given.items()}
        return self.hyper_values(program, values)

    # keeping

    def save(self, path: str | Path) -> None:
        """Write the model file: formulas as text, numbers as safetensors. Raises: FileError."""
        from chainrule.training.save import save

        save(self, Path(path))

    def export(self, path: str | Path, *, as_: str | None = None, names: object = None) -> object:
        """Write it for others: `.onnx`, the prediction as an ONNX graph, or `.safetensors`, weights by PyTorch's names.

        The suffix says which, or `as_`: "onnx" or "safetensors". `names` are names for PyTorch's modules. What was
        written is the result: print it. Raises: SettingError, FormulaError for what ONNX cannot say, FileError.
        """
        from chainrule.training.formats.export import export

        return export(self, Path(path), as_, names)

    @property
    def kept(self) -> dict[str, Array]:
        """Parameters and optimizer states, the arrays themselves."""
        self._start()
        return self._kept

    def keep(self, arrays: Mapping[str, Array]) -> None:
        """Take over parameters and states from a training."""
        self._catch_up()
        self._kept.update(arrays)
        self._changes += 1

    def __repr__(self) -> str:
        shapes = ", ".join(
            f"{p.name}[{', '.join(str(self._sizes.known.get(i, i)) for i in p.indices)}]"
            for p in self.system.parameters
        )
        return f"<Network {shapes or '–'}; loss {self.system.loss}, output {self.system.output}, {self.dtype}>"


def load(path: str | Path) -> Network:
    """A network from its model file. Raises: ModelFileError; nothing in the file is ever run as code."""
    from chainrule.training.save import load as load_file

    return load_file(Path(path))
