"""What the two multi-layer perceptrons have in common: validation, first weights, training, the network's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from chainrule.data.sparse import as_sparse, is_sparse
from chainrule.errors import DataError, SettingError
from chainrule.interfaces.sklearn.prepared import Prepared, Setting, names_of_layers, prepared
from chainrule.interfaces.sklearn.settings import Settings, check
from chainrule.interfaces.sklearn.solvers import Course, Data, Task, run_epochs, run_lbfgs
from chainrule.interfaces.sklearn.texts import (
    OUTPUT_NAMES,
    Design,
    natural_output,
    network_text,
    target_name,
)
from chainrule.messages import say
from chainrule.training.network import Network

Array = np.ndarray[Any, Any]

PENALTY, SHOWN = "mean_penalty", "shown_loss"  # what is reported beside E
SHORT = 32  # columns: so few go through the dense tiles faster than along lists (kernels/native.py)


class Engine:
    """An estimator's network, made when it is asked for and left out of pickles: weights are in coefs_."""

    def __init__(self, prepared: Prepared, dtype: str, hyper: Mapping[str, float]):
        self.prepared, self.dtype, self.hyper = prepared, dtype, dict(hyper)
        self.network: Network | None = None
        self.weights: tuple[Array, ...] = ()  # those that the network has
        self.token = object()

    def setting(self, coefs: list[Array]) -> Setting:
        """What the text is compiled for."""
        indices = ["i", *(f"j{n}" for n in range(1, len(coefs))), "k"]
        sizes = [*(len(w) for w in coefs), coefs[-1].shape[1]]
        return Setting(self.dtype, tuple(zip(indices, sizes, strict=True)), tuple(self.hyper.items()))

    def same(self, coefs: list[Array], intercepts: list[Array]) -> bool:
        """Whether these are the weights of the last call. (Who likes may change coefs_ by hand.)"""
        weights = (*coefs, *intercepts)
        same = len(weights) == len(self.weights) and all(map(np.array_equal, weights, self.weights))
        if not same:
            self.network, self.token = None, object()
            self.weights = tuple(a.copy() for a in weights)
        return same

    def network_of(self, coefs: list[Array], intercepts: list[Array]) -> Network:
        """The network with these weights."""
        if not self.same(coefs, intercepts) or self.network is None:
            self.network = self.prepared.network(self.setting(coefs), named(coefs, intercepts))
        return self.network

    def __getstate__(self) -> dict[str, Any]:
        return {"text": self.prepared.text, "dtype": self.dtype, "hyper": self.hyper}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(prepared(state["text"]), state["dtype"], state["hyper"])  # type: ignore[misc]


def named(coefs: list[Array], intercepts: list[Array]) -> dict[str, Array]:
    """Weights by the names of the text."""
    names = names_of_layers(len(coefs))
    return {n: a for pair, arrays in zip(names, zip(coefs, intercepts, strict=True), strict=True)
            for n, a in zip(pair, arrays, strict=True)}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Rows to learn from or to be judged by: inputs, targets as the text wants them (N, K), weights (N,) or None."""

    inputs: Any
    targets: Array
    weights: Array | None

    def taken(self, rows: Array) -> Rows:
        weights = None if self.weights is None else self.weights[rows]
        return Rows(self.inputs[rows], self.targets[rows], weights)


class Perceptron(BaseEstimator):  # type: ignore[misc]
    """What both have."""

    best_loss_: float | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None) -> Any:
        """Learn from rows X (N, I), dense or sparse, and targets y.

        `validation_data` is (X, y) or (X, y, sample_weight): rows of your own to judge by, in place of a split. Its
        score after each epoch is in validation_scores_; with early_stopping=True it decides when to stop.

        Raises: DataError, SettingError (ValueErrors), one line each.
        """
        return self._fit(X, y, sample_weight, validation_data)

    def _learns_by_epochs(self) -> bool:
        if self.solver not in ("adam", "sgd"):
            raise AttributeError(say("sklearn.partial_fit_solver", came=self.solver))
        return True

    # learning

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation_data: Any = None, *, once: bool = False) -> Any:
        settings = check(self.get_params(deep=False))
        if settings.early_stopping and once:
            raise SettingError(say("sklearn.partial_fit_early"))
        first = not hasattr(self, "coefs_") or (not self.warm_start and not once)
        X, y = self._checked(X, y, reset=first)
        targets = self._targets(y, first=first, once=once)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float64)
        if not first:
            self._go_on(settings, targets.shape[1])
        rows = without_zeros(Rows(X, targets, self._class_weighted(y, weights)))
        random = self._random_state = check_random_state(self.random_state)
        if first:
            self._begin(settings, rows.inputs, targets.shape[1], random)
        elif settings.early_stopping and self.best_validation_score_ is None:
            self.validation_scores_, self.best_validation_score_, self.best_loss_ = [], -np.inf, None
        rows, judges = self._split(settings, rows, validation_data, random)
        network = self._network
        data = Data(for_engine(rows.inputs, self.dtype), self._named(rows, self.dtype), len(rows.targets))
        course = self._course(settings, once=once, first=first)
        if once and self._optimizer[0] == settings.rule:
            network.keep(self._optimizer[1])
        judge = None if judges is None else self._judge(judges)
        task = Task(self._engine.prepared, network, data, settings, course, self._watched(), self._reported, judge)
        if settings.solver == "lbfgs":
            self.loss_ = run_lbfgs(task)
        else:
            run_epochs(task, random, once=once)
        self._take(task)
        return self

    def _begin(self, settings: Settings, X: Any, outputs: int, random: Any) -> None:
        """The text, and the first weights: drawn as scikit-learn draws them."""
        self.n_outputs_ = outputs
        self.n_layers_ = len(settings.hidden) + 2
        self._engine = self._made(settings)
        self.coefs_, self.intercepts_ = [], []
        sizes = [X.shape[1], *settings.hidden, outputs]
        factor = 2.0 if self.activation == "logistic" else 6.0
        for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
            bound = np.sqrt(factor / (fan_in + fan_out))
            self.coefs_.append(random.uniform(-bound, bound, (fan_in, fan_out)).astype(self.dtype, copy=False))
            self.intercepts_.append(random.uniform(-bound, bound, fan_out).astype(self.dtype, copy=False))
        self.t_ = 0
        self.loss_curve_: list[float] = []
        self._unimproved = 0
        self.best_loss_ = None if settings.early_stopping else np.inf
        self.validation_scores_ = [] if settings.early_stopping else None
        self.best_validation_score_ = -np.inf if settings.early_stopping else None
        self._optimizer: tuple[str, dict[str, Array]] = "", {}  # the rule that partial_fit goes on with, its states

    def _made(self, settings: Settings) -> Engine:
        """The text that the parameters ask for, with as many layers as there are."""
        output = natural_output(self.loss, self._kind())
        design = Design(self.n_layers_ - 2, self.activation, output, self.loss, settings.dropout > 0)
        self.out_activation_ = OUTPUT_NAMES.get(output, output)
        return Engine(prepared(network_text(design)), self.dtype, settings.hyper)

    def _go_on(self, settings: Settings, outputs: int) -> None:
        """From the weights there are, with the parameters as they are now: set_params may have changed the text."""
        if outputs != self.n_outputs_:
            raise DataError(say("sklearn.other_outputs", came=outputs, wanted=self.n_outputs_))
        made, old = self._made(settings), self._engine
        if (made.prepared.text, made.dtype) != (old.prepared.text, old.dtype):
            self._engine = made
            self.coefs_ = [w.astype(self.dtype) for w in self.coefs_]
            self.intercepts_ = [b.astype(self.dtype) for b in self.intercepts_]
        self._engine.hyper = dict(settings.hyper)
        if not hasattr(self, "loss_curve_"):  # lbfgs went before, which has none
            self.loss_curve_, self.best_loss_ = [], None if settings.early_stopping else np.inf
            self.validation_scores_ = self.best_validation_score_ = None

    def _course(self, settings: Settings, *, once: bool, first: bool) -> Course:
        course = Course(settings.learning_rate_init)
        if once and not first and self._optimizer[0] == settings.rule:
            course.rate, course.steps = self._rate, self._steps
        course.samples, course.losses, course.unimproved = self.t_, self.loss_curve_, self._unimproved
        course.best_loss, course.scores, course.best_score = (
            self.best_loss_, self.validation_scores_, self.best_validation_score_,
        )  # fmt: skip
        return course

    def _take(self, task: Task) -> None:
        """What was learned, as attributes."""
        kept, course, settings = task.network.kept, task.course, task.settings
        names = names_of_layers(self.n_layers_ - 1)
        self.coefs_ = [kept[w].copy() for w, _ in names]
        self.intercepts_ = [kept[b].copy() for _, b in names]
        self.n_iter_ = course.epochs
        if settings.solver == "lbfgs":
            for name in ("loss_curve_", "validation_scores_", "best_validation_score_", "best_loss_"):
                self.__dict__.pop(name, None)
            return
        self.t_, self.loss_curve_, self._unimproved = course.samples, course.losses, course.unimproved
        self.loss_ = course.losses[-1] if course.losses else np.inf
        self.best_loss_, self.validation_scores_ = course.best_loss, course.scores
        self.best_validation_score_ = course.best_score
        self._rate, self._steps = course.rate, course.steps
        own = {p.name for p in task.prepared.system.parameters}
        self._optimizer = settings.rule, {n: a.copy() for n, a in kept.items() if n not in own}

    def _split(self, settings: Settings, rows: Rows, validation_data: Any, random: Any) -> tuple[Rows, Rows | None]:
        """The rows to learn from, and those to be judged by."""
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
                raise SettingError(say("sklearn.validation_data"))
            X, y = self._checked(*validation_data[:2], reset=False)
            weights = validation_data[2] if len(validation_data) == 3 else None
            weights = None if weights is None else _check_sample_weight(weights, X, dtype=np.float64)
            if self.validation_scores_ is None:
                self.validation_scores_ = []
            return rows, Rows(X, self._known(y), weights)
        if not settings.early_stopping or settings.solver == "lbfgs":
            return rows, None
        stratify = rows.targets if self._kind() != "numbers" and self.n_outputs_ == 1 else None
        learn, judge = train_test_split(
            np.arange(len(rows.targets)),
            random_state=random,
            test_size=settings.validation_fraction,
            stratify=stratify,
        )
        if len(judge) < 2:
            raise SettingError(say("sklearn.validation_small", came=len(judge)))
        return rows.taken(learn), rows.taken(judge)

    def _named(self, rows: Rows, dtype: str) -> dict[str, Array]:
        """Targets and weights by the names of the text."""
        name = target_name(self._engine.prepared.text)
        targets: Array = rows.targets
        if name == "y":
            targets = targets.argmax(axis=1).astype(np.int64)
        elif self._kind() == "numbers":
            targets = np.ascontiguousarray(targets, dtype=dtype)
        weights = np.ones(len(targets)) if rows.weights is None else rows.weights
        return {name: targets, "s": weights.astype(dtype)}

    def _reported(self, means: Mapping[str, float]) -> float:
        """The loss as scikit-learn reports it."""
        if SHOWN in means:
            return means[SHOWN] + means[PENALTY]
        if PENALTY in means:
            return (means["E"] - means[PENALTY]) / self.n_outputs_ + means[PENALTY]
        return means["E"]

    def _watched(self) -> dict[str, str]:
        """What that takes beside E, which the gradient is of: formulas of one sample."""
        if self.loss == "log_loss":
            # It keeps p within eps and 1 - eps where it reports the loss, though not in the gradient. On inputs that
            # are not scaled that decides how soon it stops.
            eps = float(np.finfo(self.dtype).eps)
            cut = f"min(max(p[k], {eps!r}), 1 - {eps!r})"
            both = "" if self._kind() == "multiclass" else f" + (1 - t[k])*log(1 - {cut})"
            return {PENALTY: "penalty", SHOWN: f"-s/mean[n](s)*sum[k](t[k]*log({cut}){both})"}
        # It moves by the gradient of half the sum over the outputs, and reports half the mean.
        return {PENALTY: "penalty"} if self.loss == "squared_error" and self.n_outputs_ > 1 else {}

    def _class_weighted(self, y: Any, weights: Array | None) -> Array | None:
        return weights

    # predicting

    @property
    def _network(self) -> Network:
        return self._engine.network_of(self.coefs_, self.intercepts_)

    @property
    def network_(self) -> Network:
        """The chainrule Network with these weights: derivation, explain, save, …"""
        check_is_fitted(self)
        return self._network

    @property
    def formulas_(self) -> str:
        """The formulas of the network."""
        check_is_fitted(self)
        return self._engine.prepared.text

    def _output(self, X: Any) -> Array:
        """The network's outputs (N, K)."""
        engine = self._engine
        engine.same(self.coefs_, self.intercepts_)
        inputs = {"x": for_engine(X, engine.dtype)}
        weights = named(self.coefs_, self.intercepts_)
        return engine.prepared.output(weights, engine.setting(self.coefs_), inputs, engine.token)

    def _judge(self, rows: Rows) -> Callable[[Mapping[str, Array]], float]:
        """What scores weights on these rows while the network learns."""
        engine, setting = self._engine, self._engine.setting(self.coefs_)
        inputs = {"x": for_engine(rows.inputs, engine.dtype)}
        return lambda weights: self._score_of(engine.prepared.output(weights, setting, inputs), rows)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # what the two have of their own

    def _kind(self) -> str:
        raise NotImplementedError

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        raise NotImplementedError

    def _targets(self, y: Any, *, first: bool, once: bool) -> Array:
        raise NotImplementedError

    def _encoded(self, y: Any) -> Array:
        raise NotImplementedError

    def _known(self, y: Any) -> Array:
        """Targets to be judged by. Raises: DataError for a class that the model does not have."""
        return self._encoded(y)

    def _score_of(self, output: Array, rows: Rows) -> float:
        raise NotImplementedError


def without_zeros(rows: Rows) -> Rows:
    """Rows of weight zero are not there, and a batch of nothing else cannot come up."""
    if rows.weights is None:
        return rows
    if (rows.weights < 0).any():
        raise DataError(say("sklearn.negative_weight", came=rows.weights.min()))
    used = rows.weights > 0
    if not used.any():
        raise DataError(say("sklearn.no_weight"))
    return rows if used.all() else rows.taken(np.flatnonzero(used))


def for_engine(X: Any, dtype: str) -> Any:
    """Inputs as the compiled step reads them: a sparse table as its non-zeros, where rows are not short."""
    if is_sparse(X):
        rows = as_sparse("X", X)
        return rows if rows.width >= SHORT else rows.astype(dtype)
    return np.ascontiguousarray(X, dtype=dtype)
