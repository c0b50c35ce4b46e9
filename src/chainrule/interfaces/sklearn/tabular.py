"""TabularClassifier and TabularRegressor: a table as it is, an ensemble of networks trained together.

All members are one program: one text with each member's own weights, one call for all. Each member leaves another part
of the rows out, which tells in the very step, at no cost, when that member has learned enough; so every row teaches all
members but one, and no row is lost to a validation set.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
)

from chainrule.data.checks import is_number
from chainrule.data.frames import is_gap
from chainrule.errors import DataError, SettingError
from chainrule.interfaces.sklearn.columns import Columns, Table, as_columns
from chainrule.interfaces.sklearn.estimators import numbers_of
from chainrule.interfaces.sklearn.prepared import Prepared, Setting, prepared
from chainrule.interfaces.sklearn.settings import check_whole, hidden_sizes
from chainrule.interfaces.sklearn.solvers import threads_for, values_of
from chainrule.interfaces.sklearn.texts import activation, applied
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.training.loop import Plan
from chainrule.training.network import Network
from chainrule.training.watch import Silent

Array = np.ndarray[Any, Any]

RULE = "adamw"
LARGEST_EMBEDDING = 16
BETTER = 1e-4  # share of the loss by which a member must improve
# All are one program, which is derived and compiled once: 5 take some 10 s, 20 a minute, 1000 no end.
MOST_MEMBERS = 32
CALL_EPOCHS = 4  # between two looks at what the members reach on the rows that they leave out


@dataclass(frozen=True)
class Form:
    """What decides on the text."""

    members: int
    hidden: int
    activation: str
    numbers: bool
    categories: int
    classes: bool
    dropout: bool


def ensemble_text(form: Form) -> str:
    """The formulas of an ensemble; its prediction is the mean of the members'.

    Example:
    >>> print(ensemble_text(Form(1, 1, "relu", True, 1, False, False)))
    input     x[i]
    input     c1 in v1
    target    t[k], s1
    parameter T1[v1, d1] = glorot_uniform
    e1[d1] = sum[v1]([v1 == c1]*T1[v1, d1])
    parameter W1_1[i, j1], U1_1[d1, j1], W1_2[j1, k] = he_normal
    parameter b1_1[j1], b1_2[k] = zeros
    h1_1[j1] = relu(sum[i](x[i]*W1_1[i, j1]) + sum[d1](e1[d1]*U1_1[d1, j1]) + b1_1[j1])
    p1[k] = sum[j1](h1_1[j1]*W1_2[j1, k]) + b1_2[k]
    loss1 = sum[k]((t[k] - p1[k])**2)
    p[k] = (p1[k])/1
    E = s1*loss1
    output p
    """
    columns, members = range(1, form.categories + 1), range(1, form.members + 1)
    lines = ["input     x[i]"] if form.numbers else []
    lines += [f"input     c{c} in v{c}" for c in columns]
    fact = ", sum[k](t[k]) = 1" if form.classes else ""
    lines.append(f"target    t[k], {', '.join(f's{m}' for m in members)}{fact}")
    lines += activation(form.activation)[1]
    for c in columns:
        lines.append(f"parameter T{c}[v{c}, d{c}] = glorot_uniform")
        lines.append(f"e{c}[d{c}] = sum[v{c}]([v{c} == c{c}]*T{c}[v{c}, d{c}])")
    for m in members:
        lines += _member(form, m)
    lines.append(f"p[k] = ({' + '.join(f'p{m}[k]' for m in members)})/{form.members}")
    lines.append(f"E = {' + '.join(f's{m}*loss{m}' for m in members)}")
    return "\n".join([*lines, "output p"])


def _member(form: Form, m: int) -> list[str]:
    """One member's weights and equations."""
    indices = [f"j{n}" for n in range(1, form.hidden + 1)] + ["k"]
    inputs = [("x[i]", f"W{m}_1[i, {indices[0]}]", "i")] if form.numbers else []
    inputs += [(f"e{c}[d{c}]", f"U{m}_{c}[d{c}, {indices[0]}]", f"d{c}") for c in range(1, form.categories + 1)]
    weights, biases, equations = [w for _, w, _ in inputs], [], []
    function = activation(form.activation)[0]
    for n, index in enumerate(indices, 1):
        bias = f"b{m}_{n}[{index}]"
        biases.append(bias)
        if n > 1:
            before = indices[n - 2]
            inputs = [(f"h{m}_{n - 1}[{before}]", f"W{m}_{n}[{before}, {index}]", before)]
            weights.append(inputs[0][1])
        a = " + ".join([*(f"sum[{i}]({source}*{weight})" for source, weight, i in inputs), bias])
        unit = f"h{m}_{n}[{index}]"
        if index == "k":
            equations.append(f"p{m}[k] = softmax[k]({a})" if form.classes else f"p{m}[k] = {a}")
        elif form.dropout:
            kept, mask = f"a{m}_{n}[{index}]", f"m{m}_{n}[{index}]"
            equations += [f"random {mask} = bernoulli(keep)", f"{kept} = {applied(function, index, a)}"]
            equations += [f"{unit} = {kept}*{mask}/keep", f"prediction {unit} = {kept}"]
        else:
            equations.append(f"{unit} = {applied(function, index, a)}")
    loss = f"-sum[k](t[k]*log(p{m}[k]))" if form.classes else f"sum[k]((t[k] - p{m}[k])**2)"
    first = [f"parameter {', '.join(weights)} = he_normal", f"parameter {', '.join(biases)} = zeros"]
    return [*first, *equations, f"loss{m} = {loss}"]


@dataclass
class _Best:
    """What each member reached on the rows that it leaves out, and its weights then."""

    losses: Array
    epochs: Array
    weights: dict[str, Array] = field(default_factory=dict)


class _Tabular(BaseEstimator):  # type: ignore[misc]
    """What both have."""

    def __init__(
        self,
        hidden_layer_sizes: Any = (128, 64),
        activation: str = "relu",
        *,
        n_members: int = 5,
        learning_rate_init: float = 0.002,
        weight_decay: float = 0.02,
        dropout: float = 0.1,
        batch_size: int = 128,
        max_iter: int = 300,
        n_iter_no_change: int = 24,
        numbers: str = "robust",
        categorical_features: Any = (),
        random_state: Any = None,
        n_threads: int | None = None,
        dtype: str = "float32",
    ):
        # scikit-learn's convention wants each parameter spelled out and only stored.
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.n_members = n_members
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_iter_no_change = n_iter_no_change
        self.numbers = numbers
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.n_threads = n_threads
        self.dtype = dtype

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Learn from a table: a DataFrame, or an array of numbers or objects.

        Raises: DataError, SettingError (ValueErrors), one line each.
        """
        hidden = self._check()
        _check_feature_names(self, X, reset=True)
        columns, _ = as_columns(X)
        self.n_features_in_ = len(columns)
        targets = self._targets(y, len(columns[0]))
        weights = np.ones(len(targets)) if sample_weight is None else _check_sample_weight(sample_weight, targets)
        if (weights < 0).any() or not weights.any():
            raise DataError(say("sklearn.no_weight"))
        self.columns_ = Columns(self.numbers, self.categorical_features).fit(X)
        used = np.flatnonzero(weights)
        table = self.columns_.transform(X).taken(used)
        self._learn(table, targets[used], weights[used], hidden)
        return self

    def _learn(self, table: Table, targets: Array, weights: Array, hidden: tuple[int, ...]) -> None:
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        rows = len(table)
        members = max(1, min(self.n_members, rows))
        shares = self._shares(targets, members, seed)
        form = Form(
            members, len(hidden), self.activation, table.numbers.shape[1] > 0, len(table.classes),
            isinstance(self, ClassifierMixin), self.dropout > 0,
        )  # fmt: skip
        text = prepared(ensemble_text(form))
        sizes = {"k": targets.shape[1]} | {f"j{n}": size for n, size in enumerate(hidden, 1)}
        if form.numbers:
            sizes["i"] = table.numbers.shape[1]
        for c, size in enumerate(self.columns_.sizes, 1):
            # The usual size of an embedding: its fourth root times a few, and no more than its levels tell apart.
            sizes |= {f"v{c}": size, f"d{c}": min(LARGEST_EMBEDDING, size, max(2, round(1.6 * size**0.56)))}
        hyper = {"keep": 1.0 - self.dropout} if form.dropout else {}
        self._setting = Setting(self.dtype, tuple(sizes.items()), tuple(hyper.items()))
        start = Network(text.system, dtype=self.dtype, sizes=sizes, seed=seed)
        network = text.network(self._setting, start.parameters)
        data: dict[str, Array] = {**self._inputs(table), "t": targets.astype(self.dtype)}
        for m in range(members):
            taught = weights * (shares != m) if members > 1 else weights
            data[f"s{m + 1}"] = (taught / max(taught.mean(), 1e-12)).astype(self.dtype)
        self._train(text, network, data, members, seed)
        self.n_members_ = members
        self._text = text.text

    def _train(self, text: Prepared, network: Network, data: dict[str, Array], members: int, seed: int) -> None:
        rows = len(data["t"])
        batch = min(self.batch_size, rows)
        count = -(-rows // batch)
        threads = threads_for(self.n_threads, 3 * batch * sum(w.size for w in network.kept.values()))
        program = _program(text, members)
        runner = text.runner(network, program, data, Plan(threads=threads, seed=seed))
        held = np.array([max(1, (data[f"s{m + 1}"] == 0).sum()) for m in range(members)]) / rows
        best = _Best(np.full(members, np.inf), np.zeros(members))
        random = np.random.default_rng(seed)
        self.validation_loss_curve_: list[float] = []
        self.loss_curve_: list[float] = []
        epoch = 0
        while epoch < self.max_iter and epoch - best.epochs.max() <= self.n_iter_no_change:
            epochs = min(CALL_EPOCHS, self.max_iter - epoch)
            orders = np.stack([random.permutation(rows) for _ in range(epochs)])
            table = self._table(program, epoch * count, epochs * count)
            reports = runner.epochs(orders, batch, table, Silent())
            if any(r.failed_step is not None for r in reports):
                raise SettingError(say("sklearn.diverged", epoch=epoch + 1))
            epoch += epochs
            means = {n: float(np.mean([r.means()[n] for r in reports])) for n in reports[0].sums}
            left = np.array([means[f"held{m + 1}"] for m in range(members)]) / held
            self.loss_curve_.append(means["E"] / members)
            self.validation_loss_curve_.append(float(left.mean()))
            self._keep_best(best, left if members > 1 else np.array([means["E"]]), epoch, runner.state())
        self.n_iter_ = epoch
        self.weights_ = best.weights
        self.best_epochs_ = best.epochs.astype(int)

    def _keep_best(self, best: _Best, losses: Array, epoch: int, state: Mapping[str, Array]) -> None:
        """The weights of the members that are better than before; what all share goes with the last of them."""
        for m in np.flatnonzero(losses < best.losses * (1 - BETTER)).tolist():
            best.losses[m], best.epochs[m] = losses[m], epoch
            own = tuple(f"{kind}{m + 1}_" for kind in "WUb")
            for name, array in state.items():
                if name.startswith(own) or name.startswith("T"):
                    best.weights[name] = array

    def _table(self, program: Program, first: int, steps: int) -> dict[str, Array]:
        """The hyper-parameters of so many steps."""
        numbers = np.arange(first + 1.0, first + steps + 1)
        values = {
            "eta": self.learning_rate_init, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8,
            "weight_decay": self.weight_decay, "keep": 1.0 - self.dropout, "steps": 1.0,
        }  # fmt: skip
        return {"step": numbers} | {n: np.full(steps, v) for n, v in values_of(program, values).items()}

    def _inputs(self, table: Table) -> dict[str, Array]:
        inputs = {f"c{n}": classes for n, classes in enumerate(table.classes, 1)}
        if table.numbers.shape[1]:
            inputs["x"] = np.ascontiguousarray(table.numbers, dtype=self.dtype)
        return inputs

    def _output(self, X: Any) -> Array:
        check_is_fitted(self)
        _check_feature_names(self, X, reset=False)
        as_columns(X)
        _check_n_features(self, X, reset=False)
        inputs = self._inputs(self.columns_.transform(X))
        return prepared(self._text).output(self.weights_, self._setting, inputs)

    @property
    def formulas_(self) -> str:
        """The formulas of the ensemble."""
        check_is_fitted(self)
        return self._text

    @property
    def network_(self) -> Network:
        """The ensemble as a chainrule Network."""
        check_is_fitted(self)
        return prepared(self._text).network(self._setting, self.weights_)

    def _check(self) -> tuple[int, ...]:
        """The hidden layers. Raises: SettingError."""
        for name in ("n_members", "batch_size", "max_iter", "n_iter_no_change"):
            check_whole(name, getattr(self, name))
        if self.n_threads is not None:
            check_whole("n_threads", self.n_threads)
        if self.n_members > MOST_MEMBERS:
            raise SettingError(
                say("sklearn.range", name="n_members", came=self.n_members, wanted=f"[1, {MOST_MEMBERS}]")
            )
        for name, high in (("learning_rate_init", np.inf), ("weight_decay", np.inf), ("dropout", 1.0)):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < high:
                raise SettingError(say("sklearn.range", name=name, came=value, wanted=f"[0, {high:g})"))
        if self.numbers not in ("robust", "quantiles"):
            raise SettingError(say("sklearn.choice", name="numbers", came=self.numbers, wanted="robust, quantiles"))
        hidden = hidden_sizes(self.hidden_layer_sizes)
        if not hidden:
            raise SettingError(say("sklearn.hidden_sizes", came=self.hidden_layer_sizes))
        return hidden

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def _targets(self, y: Any, rows: int) -> Array:
        raise NotImplementedError

    def _shares(self, targets: Array, members: int, seed: int) -> Array:
        """Which member leaves each row out (N,)."""
        raise NotImplementedError


def _program(text: Prepared, members: int) -> Program:
    """The training step, with each member's loss on the rows that it leaves out."""
    return text.training(RULE, {f"held{m}": f"[s{m} == 0]*loss{m}" for m in range(1, members + 1)})


def _folds(splitter: Any, targets: Array, rows: int) -> Array:
    shares = np.zeros(rows, dtype=np.int64)
    for number, (_, left) in enumerate(splitter.split(np.zeros(rows), targets)):
        shares[left] = number
    return shares


class TabularClassifier(ClassifierMixin, _Tabular):  # type: ignore[misc]
    """Tells classes apart by a table as it is: numbers, words, dates, gaps.

    `n_members` networks learn together; each stops at the epoch that was best on the rows that it leaves out.
    `numbers` is "robust" or "quantiles"; `categorical_features` names (or numbers) columns of numbers that are
    categories. Attributes: classes_, n_features_in_, feature_names_in_, n_iter_, best_epochs_, loss_curve_,
    validation_loss_curve_, formulas_, network_.

    Raises: SettingError, DataError.
    Example:
    >>> rows = [["red", 1.0], ["red", None], ["blue", 3.0], ["blue", 2.0]] * 10
    >>> model = TabularClassifier(n_members=2, max_iter=60, random_state=0).fit(rows, ["stop", "stop", "go", "go"] * 10)
    >>> model.predict([["red", None], ["blue", 2.5]])
    array(['stop', 'go'], dtype='<U4')
    """

    def _targets(self, y: Any, rows: int) -> Array:
        y = column_or_1d(y, warn=True)
        if len(y) != rows:
            raise DataError(say("sklearn.rows", came=len(y), wanted=rows))
        if any(map(is_gap, y.tolist())):
            raise DataError(say("sklearn.gaps_in_y"))
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        one_hot: Array = np.eye(max(2, len(self.classes_)))[encoder.transform(y)]
        return one_hot

    def _shares(self, targets: Array, members: int, seed: int) -> Array:
        classes = targets.argmax(axis=1)
        if members < 2:
            return np.zeros(len(targets), dtype=np.int64)
        stratified = np.bincount(classes).max() >= members
        splitter = (StratifiedKFold if stratified else KFold)(members, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than members
            return _folds(splitter, classes, len(targets))

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of classes_: (N, K)."""
        output = self._output(X)
        return output[:, : len(self.classes_)]

    def predict(self, X: Any) -> Array:
        """The class of each row: (N,)."""
        probabilities = self.predict_proba(X)
        classes: Array = self.classes_[probabilities.argmax(axis=1)]
        return classes


class TabularRegressor(RegressorMixin, _Tabular):  # type: ignore[misc]
    """Predicts numbers from a table as it is. Parameters and attributes: see TabularClassifier.

    Raises: SettingError, DataError.
    Example:
    >>> rows = [[word, float(n)] for word in ("up", "down") for n in range(20)]
    >>> model = TabularRegressor(n_members=2, random_state=0, learning_rate_init=0.01)
    >>> model = model.fit(rows, [n if word == "up" else -n for word, n in rows])
    >>> bool(model.predict([["up", 10.0]])[0] > 5 > -5 > model.predict([["down", 10.0]])[0])
    True
    """

    def _targets(self, y: Any, rows: int) -> Array:
        if y is None:
            raise DataError(say("sklearn.no_y"))
        targets = numbers_of(y)
        self._one_column = targets.shape[1] == 1
        if self._one_column:
            column_or_1d(y, warn=True)  # says that a list of numbers is the usual form of a column
        if len(targets) != rows:
            raise DataError(say("sklearn.rows", came=len(targets), wanted=rows))
        if not np.isfinite(targets).all():
            raise DataError(say("sklearn.gaps_in_y"))
        self._mean, deviation = targets.mean(axis=0), targets.std(axis=0)
        self._deviation = deviation  # of a target that is always the same it is 0, and so is what the network adds
        scaled: Array = (targets - self._mean) / np.where(deviation > 0, deviation, 1.0)
        return scaled

    def _shares(self, targets: Array, members: int, seed: int) -> Array:
        if members < 2:
            return np.zeros(len(targets), dtype=np.int64)
        return _folds(KFold(members, shuffle=True, random_state=seed), targets, len(targets))

    def predict(self, X: Any) -> Array:
        """The prediction of each row: (N,), or (N, K) for several targets."""
        predicted: Array = self._output(X) * self._deviation + self._mean
        return predicted[:, 0] if self._one_column else predicted
