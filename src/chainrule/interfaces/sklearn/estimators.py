"""MLPClassifier and MLPRegressor: scikit-learn's multi-layer perceptrons, with formulas for what it fixes.

Parameters, defaults and attributes are scikit-learn's. In float64 the same `random_state` gives its first weights, its
orders of the rows and its splits, so that both come to the same weights but for rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from chainrule.errors import DataError
from chainrule.interfaces.sklearn.perceptron import Perceptron, Rows
from chainrule.interfaces.sklearn.texts import has_one_column, has_sign
from chainrule.messages import say

Array = np.ndarray[Any, Any]


class MLPClassifier(ClassifierMixin, Perceptron):  # type: ignore[misc]
    """A multi-layer perceptron that tells classes apart: scikit-learn's, compiled.

    Beside scikit-learn's parameters: `loss` is the name of a row of chainrule.library.LOSSES or a formula of one
    sample such as "E = sum[k]((t[k] - p[k])**2)"; `activation` may be any row or a formula in a; `learning_rate` also a
    schedule's name or a formula in step, steps and eta0; `batch_size=None` takes all rows at once; `dropout` is the
    share of hidden units that is left out; `class_weight`, `n_threads` and `dtype` are as elsewhere.

    Raises: SettingError, DataError.
    Example:
    >>> model = MLPClassifier(hidden_layer_sizes=(8,), solver="lbfgs", random_state=1)
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

    @available_if(Perceptron._learns_by_epochs)  # type: ignore[untyped-decorator]
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
        if kind.startswith("multilabel"):
            return "multilabel"
        # Two classes have an output each where the loss cannot tell them apart by one: then they are like more.
        return "binary" if kind != "multiclass" and has_one_column(self.loss) else "multiclass"

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
            if self.warm_start and not once and set(classes := unique_labels(y)) != set(self.classes_):
                raise DataError(say("sklearn.other_classes", came=classes.tolist(), wanted=self.classes_.tolist()))
            return self._known(y)
        return self._encoded(y)

    def _known(self, y: Any) -> Array:
        classes = unique_labels(y)
        if set(classes.tolist()) - set(self.classes_.tolist()):
            raise DataError(say("sklearn.other_classes", came=classes.tolist(), wanted=self.classes_.tolist()))
        return self._encoded(y)

    def _encoded(self, y: Any) -> Array:
        encoded: Array = self._label_binarizer.transform(y).astype(np.uint8)
        return np.hstack([1 - encoded, encoded]) if self._kind() == "multiclass" and encoded.shape[1] == 1 else encoded

    def _class_weighted(self, y: Any, weights: Array | None) -> Array | None:
        if self.class_weight is None:
            return weights
        balance: Array = compute_sample_weight(self.class_weight, y)
        return balance if weights is None else weights * balance

    def _decoded(self, output: Array) -> Array:
        """Outputs (N, K) → classes."""
        if self._kind() == "multiclass":
            classes: Array = self.classes_[output[:, : len(self.classes_)].argmax(axis=1)]
            return classes
        decoded: Array = self._label_binarizer.inverse_transform((output > self._between).astype(int))
        return decoded

    @property
    def _between(self) -> float:
        """What lies between the two classes of one output."""
        return 0.0 if has_sign(self.loss) else 0.5

    def _score_of(self, output: Array, rows: Rows) -> float:
        if not np.isfinite(output).all():
            return np.nan
        if self._kind() == "multiclass":
            right = output.argmax(axis=1) == rows.targets.argmax(axis=1)
        else:
            right = ((output > self._between) == rows.targets).all(axis=1)
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
            output = np.hstack([1 - output, output])
        elif self._kind() == "multiclass" and self.out_activation_ == "logistic":
            output = output / np.maximum(output.sum(axis=1, keepdims=True), np.finfo(output.dtype).tiny)
        return output

    def _has_margins(self) -> bool:
        if getattr(self, "out_activation_", "softmax") != "identity":
            raise AttributeError(say("sklearn.no_margins", loss=self.loss))
        return True

    @available_if(_has_margins)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Array:
        """The outputs of a loss without probabilities, such as "hinge": (N,) for two classes that share one, or (N, K).

        Ranks and calibration (roc_auc, CalibratedClassifierCV) go by it.
        """
        check_is_fitted(self)
        output = self._output(self._inputs(X))
        if self._kind() == "multilabel":
            return output - self._between
        if output.shape[1] > 1 and len(self.classes_) == 2:
            return np.asarray(output[:, 1] - output[:, 0])
        return output[:, 0] if self.n_outputs_ == 1 else output

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of predict_proba."""
        with np.errstate(divide="ignore"):
            logarithms: Array = np.log(self.predict_proba(X))
        return logarithms

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Perceptron):  # type: ignore[misc]
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

    @available_if(Perceptron._learns_by_epochs)  # type: ignore[untyped-decorator]
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
        return targets

    def _encoded(self, y: Any) -> Array:
        return numbers_of(y)

    def _score_of(self, output: Array, rows: Rows) -> float:
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


def numbers_of(y: Any) -> Array:
    """Targets as float64: (N, K). Raises: DataError for words."""
    try:
        numbers = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(say("sklearn.words_in_y")) from None
    return numbers.reshape(len(numbers), -1)
