"""MLPClassifier and MLPRegressor: scikit-learn's multi-layer perceptrons, with formulas for what it fixes.

Parameters, defaults and attributes are scikit-learn's. In float64 the same `random_state` gives its first weights, its
orders of the rows and its splits, so that both come to the same weights but for rounding.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from chainrule.errors import DataError, SettingError
from chainrule.interfaces.sklearn.prepared import PENALTY_MEAN, Prepared, Setting, names_of_layers, prepared
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

PROBABILITIES = ("softmax", "sigmoid")


class _Engine:
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
class _Rows:
    """Rows to learn from or to be judged by: inputs, targets as the text wants them (N, K), weights (N,) or None."""

    inputs: Any
    targets: Array
    weights: Array | None

    def taken(self, rows: Array) -> _Rows:
        weights = None if self.weights is None else self.weights[rows]
        return _Rows(self.inputs[rows], self.targets[rows], weights)


class _Perceptron(BaseEstimator):  # type: ignore[misc]
    """What both have."""

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
        rows = _without_zeros(_Rows(X, targets, self._class_weighted(y, weights)))
        random = self._random_state = check_random_state(self.random_state)
        if first:
            self._begin(settings, rows.inputs, targets.shape[1], random)
        elif settings.early_stopping and self.best_validation_score_ is None:
            self.validation_scores_, self.best_validation_score_, self.best_loss_ = [], -np.inf, None
        rows, judges = self._split(settings, rows, validation_data, random)
        network = self._network
        if settings.n_threads is None and multiprocessing.parent_process() is not None:
            settings = replace(settings, n_threads=1)  # joblib's workers share the cores already
        data = Data(_for_engine(rows.inputs, self.dtype), self._named(rows, self.dtype), len(rows.targets))
        course = self._course(settings, once=once, first=first)
        if not once or not hasattr(self, "_optimizer_states"):
            self._optimizer_states: dict[str, Array] = {}
        network.keep({**self._optimizer_states})
        judge = None if judges is None else self._judge(judges)
        task = Task(self._engine.prepared, network, data, settings, course, self._reported, self._averages(), judge)
        if settings.solver == "lbfgs":
            self.loss_ = run_lbfgs(task)
        else:
            run_epochs(task, random, once=once)
        self._take(task, once=once)
        return self

    def _begin(self, settings: Settings, X: Any, outputs: int, random: Any) -> None:
        """The text, and the first weights: drawn as scikit-learn draws them."""
        self.n_outputs_ = outputs
        self.n_layers_ = len(settings.hidden) + 2
        output = natural_output(self.loss, self._kind())
        design = Design(len(settings.hidden), self.activation, output, self.loss, settings.dropout > 0)
        self.out_activation_ = OUTPUT_NAMES.get(output, output)
        self._engine = _Engine(prepared(network_text(design)), self.dtype, settings.hyper)
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
        self.best_loss_: float | None = None if settings.early_stopping else np.inf
        self.validation_scores_: list[float] | None = [] if settings.early_stopping else None
        self.best_validation_score_: float | None = -np.inf if settings.early_stopping else None
        vars(self).pop("_optimizer_states", None)

    def _course(self, settings: Settings, *, once: bool, first: bool) -> Course:
        course = Course(settings.learning_rate_init)
        if once and not first and hasattr(self, "_rate"):
            course.rate, course.steps = self._rate, self._steps
        course.samples, course.losses, course.unimproved = self.t_, self.loss_curve_, self._unimproved
        course.best_loss, course.scores, course.best_score = (
            self.best_loss_, self.validation_scores_, self.best_validation_score_,
        )  # fmt: skip
        return course

    def _take(self, task: Task, *, once: bool) -> None:
        """What was learned, as attributes."""
        kept, course = task.network.kept, task.course
        names = names_of_layers(self.n_layers_ - 1)
        self.coefs_ = [kept[w].copy() for w, _ in names]
        self.intercepts_ = [kept[b].copy() for _, b in names]
        self.n_iter_ = course.epochs
        if task.settings.solver == "lbfgs":
            for name in ("loss_curve_", "validation_scores_", "best_validation_score_", "best_loss_"):
                vars(self).pop(name, None)
            return
        self.t_, self.loss_curve_, self._unimproved = course.samples, course.losses, course.unimproved
        self.loss_ = course.losses[-1] if course.losses else np.inf
        self.best_loss_, self.validation_scores_ = course.best_loss, course.scores
        self.best_validation_score_ = course.best_score
        self._rate, self._steps = course.rate, course.steps
        own = {p.name for p in task.prepared.system.parameters}
        self._optimizer_states = {n: a.copy() for n, a in kept.items() if n not in own} if once else {}
        if not once:
            vars(self).pop("_optimizer_states")

    def _split(self, settings: Settings, rows: _Rows, validation_data: Any, random: Any) -> tuple[_Rows, _Rows | None]:
        """The rows to learn from, and those to be judged by."""
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
                raise SettingError(say("sklearn.validation_data"))
            X, y = self._checked(*validation_data[:2], reset=False)
            weights = validation_data[2] if len(validation_data) == 3 else None
            weights = None if weights is None else _check_sample_weight(weights, X, dtype=np.float64)
            if self.validation_scores_ is None:
                self.validation_scores_ = []
            return rows, _Rows(X, self._encoded(y), weights)
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

    def _named(self, rows: _Rows, dtype: str) -> dict[str, Array]:
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
        if not self._averages():
            return means["E"]
        penalty = means[PENALTY_MEAN]
        return (means["E"] - penalty) / self.n_outputs_ + penalty

    def _averages(self) -> bool:
        """Whether scikit-learn reports half the mean over the outputs, though it moves by half the sum's gradient."""
        return bool(self.loss == "squared_error" and self.n_outputs_ > 1)

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
        inputs = {"x": _for_engine(X, engine.dtype)}
        weights = named(self.coefs_, self.intercepts_)
        return engine.prepared.output(weights, engine.setting(self.coefs_), inputs, engine.token)

    def _judge(self, rows: _Rows) -> Callable[[Mapping[str, Array]], float]:
        """What scores weights on these rows while the network learns."""
        engine, setting = self._engine, self._engine.setting(self.coefs_)
        inputs = {"x": _for_engine(rows.inputs, engine.dtype)}
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

    def _score_of(self, output: Array, rows: _Rows) -> float:
        raise NotImplementedError


class MLPClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
    """A multi-layer perceptron that tells classes apart: scikit-learn's, compiled.

    Beside scikit-learn's parameters: `loss` is the name of a row of chainrule.library.LOSSES or a formula of one
    sample such as "E = sum[k]((t[k] - p[k])**2)"; `activation` may be any row or a formula in a; `learning_rate` also a
    schedule's name or a formula in step, steps and eta0; `batch_size=None` takes all rows at once; `dropout` is the
    share of hidden units that is left out; `class_weight`, `n_threads` and `dtype` are as elsewhere.

    Raises: SettingError, DataError.
    Example:
    >>> model = MLPClassifier(hidden_layer_sizes=(8,), max_iter=500, random_state=1, tol=1e-3)
    >>> model.fit([[0.0, 0], [0, 1], [1, 0], [1, 1]] * 10, ["off", "on", "on", "on"] * 10).predict([[0, 0], [1, 1]])
    array(['off', 'on'], dtype='<U3')
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str | None = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        dropout: float = 0.0,
        class_weight: Any = None,
        n_threads: int | None = None,
        dtype: str = "float64",
    ):
        # scikit-learn's parameters in its order, then ours: its convention wants each spelled out and only stored.
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.dropout = dropout
        self.class_weight = class_weight
        self.n_threads = n_threads
        self.dtype = dtype

    @available_if(_Perceptron._learns_by_epochs)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch over these rows. The first call names all `classes`. Raises: DataError, SettingError."""
        if not hasattr(self, "classes_"):
            if classes is None:
                raise DataError(say("sklearn.partial_fit_classes"))
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else unique_labels(classes))
            self.classes_ = self._label_binarizer.classes_
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise DataError(say("sklearn.partial_fit_other_classes", came=list(classes), wanted=list(self.classes_)))
        return self._fit(X, y, sample_weight, once=True)  # type: ignore[no-any-return]

    def _kind(self) -> str:
        kind = str(self._label_binarizer.y_type_)
        return kind if kind == "multiclass" else "multilabel" if kind.startswith("multilabel") else "binary"

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=(np.float64, np.float32), reset=reset
        )
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _targets(self, y: Any, *, first: bool, once: bool) -> Array:
        if not once and (not hasattr(self, "classes_") or not self.warm_start):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            unknown = sorted(set(classes.tolist()) - set(self.classes_.tolist()), key=str)
            if unknown or (self.warm_start and not once and set(classes) != set(self.classes_)):
                raise DataError(say("sklearn.other_classes", came=classes.tolist(), wanted=self.classes_.tolist()))
        return self._encoded(y)

    def _encoded(self, y: Any) -> Array:
        encoded: Array = self._label_binarizer.transform(y).astype(np.uint8)
        return encoded

    def _class_weighted(self, y: Any, weights: Array | None) -> Array | None:
        if self.class_weight is None:
            return weights
        balance = compute_sample_weight(self.class_weight, y)
        return balance if weights is None else weights * balance

    def _decoded(self, output: Array) -> Array:
        """Outputs (N, K) → classes."""
        linear = self.out_activation_ not in ("softmax", "logistic")
        if self._kind() == "multiclass":
            classes: Array = self.classes_[output.argmax(axis=1)]
            return classes
        chosen = (output > (0.0 if linear else 0.5)).astype(int)
        decoded: Array = self._label_binarizer.inverse_transform(chosen)
        return decoded

    def _score_of(self, output: Array, rows: _Rows) -> float:
        if not np.isfinite(output).all():
            return np.nan
        if self._kind() == "multiclass":
            right = output.argmax(axis=1) == rows.targets.argmax(axis=1)
        else:
            linear = self.out_activation_ not in ("softmax", "logistic")
            right = ((output > (0.0 if linear else 0.5)) == rows.targets).all(axis=1)
        return float(np.average(right, weights=rows.weights))

    def predict(self, X: Any) -> Array:
        """The class of each row: (N,), or (N, K) of 0 and 1 for several labels."""
        check_is_fitted(self)
        return self._decoded(self._output(self._inputs(X)))

    def _inputs(self, X: Any) -> Any:
        return validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)

    def _has_probabilities(self) -> bool:
        if getattr(self, "out_activation_", "softmax") not in ("softmax", "logistic"):
            raise AttributeError(say("sklearn.no_probabilities", loss=self.loss))
        return True

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of classes_: (N, K)."""
        check_is_fitted(self)
        output = self._output(self._inputs(X))
        if self.n_outputs_ == 1:
            return np.hstack([1 - output, output])
        if self._kind() == "multiclass" and self.out_activation_ == "logistic":
            output = output / np.maximum(output.sum(axis=1, keepdims=True), np.finfo(output.dtype).tiny)
        return output

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of predict_proba."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
    """A multi-layer perceptron that predicts numbers: scikit-learn's, compiled.

    The parameters beside scikit-learn's are those of MLPClassifier; `loss` is "squared_error" (half of it, as there),
    "poisson", the name of a row of chainrule.library.LOSSES such as "huber", or a formula of one sample.

    Raises: SettingError, DataError.
    Example:
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", random_state=0, max_iter=500)
    >>> round(model.fit(X, abs(X[:, 0])).score(X, abs(X[:, 0])), 2)
    1.0
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str | None = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        n_threads: int | None = None,
        dtype: str = "float64",
    ):
        # As above.
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.n_threads = n_threads
        self.dtype = dtype

    @available_if(_Perceptron._learns_by_epochs)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch over these rows. Raises: DataError, SettingError."""
        return self._fit(X, y, sample_weight, once=True)  # type: ignore[no-any-return]

    def _kind(self) -> str:
        return "numbers"

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, y_numeric=True,
            dtype=(np.float64, np.float32), reset=reset,
        )  # fmt: skip
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _targets(self, y: Any, *, first: bool, once: bool) -> Array:
        targets = self._encoded(y)
        if self.loss == "poisson" and (targets < 0).any():
            raise DataError(say("sklearn.negative_counts", came=targets.min()))
        if not first and targets.shape[1] != self.n_outputs_:
            raise DataError(say("sklearn.other_outputs", came=targets.shape[1], wanted=self.n_outputs_))
        return targets

    def _encoded(self, y: Any) -> Array:
        numbers = np.asarray(y, dtype=np.float64)
        return numbers.reshape(len(numbers), -1)

    def _score_of(self, output: Array, rows: _Rows) -> float:
        """R², the mean over the outputs."""
        if not np.isfinite(output).all():
            return np.nan
        # sklearn.metrics.r2_score gives the same, and takes longer than an epoch on a few hundred rows.
        mean = np.average(rows.targets, axis=0, weights=rows.weights)
        weights = np.ones((len(output), 1)) if rows.weights is None else rows.weights[:, None]
        left = (weights * (rows.targets - output) ** 2).sum(axis=0)
        whole = (weights * (rows.targets - mean) ** 2).sum(axis=0)
        scores = np.where(whole > 0, 1 - left / np.where(whole > 0, whole, 1), np.where(left > 0, 0.0, 1.0))
        return float(scores.mean())

    def predict(self, X: Any) -> Array:
        """The prediction of each row: (N,), or (N, K) for several targets."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        output = self._output(X)
        return output[:, 0] if self.n_outputs_ == 1 else output


def _without_zeros(rows: _Rows) -> _Rows:
    """Rows of weight zero are not there, and a batch of nothing else cannot come up."""
    if rows.weights is None:
        return rows
    if (rows.weights < 0).any():
        raise DataError(say("sklearn.negative_weight", came=rows.weights.min()))
    used = rows.weights > 0
    if not used.any():
        raise DataError(say("sklearn.no_weight"))
    return rows if used.all() else rows.taken(np.flatnonzero(used))


def _for_engine(X: Any, dtype: str) -> Any:
    """Inputs as the compiled step reads them."""
    if hasattr(X, "tocsr"):
        return np.ascontiguousarray(X.toarray(), dtype=dtype)
    return np.ascontiguousarray(X, dtype=dtype)
