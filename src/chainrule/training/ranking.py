"""Metrics that need all predictions at once: areas under curves, the confusion matrix, means over classes.

Letters: N samples, K classes. A prediction p is (N, K) or (N,); classes are numbers 0 … K-1, (N,). Weights are (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from chainrule.formula.evaluate import Array

if TYPE_CHECKING:
    from chainrule.training.network import Network


def confusion_matrix(actual: Array, predicted: Array, classes: int, weights: Array | None = None) -> Array:
    """How often class a (row) was taken for class b (column): (N,), (N,) → (K, K); sums of weights where given.

    Example:
    >>> confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), 3).tolist()
    [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    """
    pairs = actual.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(pairs, weights=weights, minlength=classes * classes).reshape(classes, classes)


def roc_auc(positive: Array, score: Array, weights: Array | None = None) -> float:
    """The share of pairs (positive, negative) in which the positive has the larger score; a tie counts 1/2.

    Exact, from the ranks: (N,), (N,) → a number; 0 where there is no such pair.
    Source: Hanley & McNeil, 1982, The meaning and use of the area under a ROC curve; Keras bins the scores by 200
    thresholds instead.
    Example:
    >>> roc_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    true, false = _steps(positive, score, weights)
    if true[-1] == 0 or false[-1] == 0:
        return 0.0
    heights = (true[1:] + true[:-1]) / 2
    return float(np.sum(np.diff(false) * heights) / (true[-1] * false[-1]))


def pr_auc(positive: Array, score: Array, weights: Array | None = None) -> float:
    """The average precision, Σ (R_i - R_{i-1}) P_i over the thresholds i: (N,), (N,) → a number.

    Source: Zhu, 2004, Recall, precision and average precision; as scikit-learn's average_precision_score. Keras
    interpolates between 200 thresholds instead.
    Example:
    >>> round(pr_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    true, false = _steps(positive, score, weights)
    if true[-1] == 0:
        return 0.0
    precision = true[1:] / (true[1:] + false[1:])
    return float(np.sum(np.diff(true) * precision) / true[-1])


def _steps(positive: Array, score: Array, weights: Array | None) -> tuple[Array, Array]:
    """The weight of positives and of negatives at or above each threshold, from 0 on: the corners of the ROC curve."""
    share = np.ones(len(score)) if weights is None else np.asarray(weights, dtype=np.float64)
    kept = share > 0  # weight zero is removal, also of a threshold
    order = np.argsort(-score[kept], kind="stable")
    share, hit, score = share[kept][order], positive[kept][order] != 0, score[kept][order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1) if len(score) else np.zeros(0, dtype=int)
    true, false = (np.append(0.0, np.cumsum(share * mask)[last]) for mask in (hit, ~hit))
    return true, false


def class_scores(matrix: Array) -> tuple[Array, Array, Array]:
    """Precision, recall and F1 of each class from a confusion matrix: (K, K) → three times (K,); 0 for 0/0."""
    hits = np.diag(matrix).astype(np.float64)
    precision = _ratio(hits, matrix.sum(axis=0))
    recall = _ratio(hits, matrix.sum(axis=1))
    return precision, recall, _ratio(2 * hits, matrix.sum(axis=0) + matrix.sum(axis=1))


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.zeros(len(above)), where=below != 0)


@dataclass(frozen=True)
class RankingKind:
    """A row of RANKINGS: `of` takes the positives (N, K), the scores (N, K) and the weights.

    `one_class` says that each row of the targets must be of one class, `numbers` that they may be any numbers; `better`
    is None where nobody knows.
    """

    name: str
    of: Callable[[Array, Array, Array | None], float | Array]
    better: str | None = "max"
    aliases: tuple[str, ...] = field(default=())
    one_class: bool = False
    numbers: bool = False


def _one_against_rest(area: Callable[[Array, Array, Array | None], float]) -> Callable[..., float]:
    """The mean over the classes that occur (and do not make up everything); for one output, its own area."""

    def mean(positive: Array, score: Array, weights: Array | None) -> float:
        share = np.ones(len(score)) if weights is None else weights
        total = share.sum()
        counts = [float(share[column != 0].sum()) for column in positive.T]
        areas = [
            area(column, score[:, k], weights)
            for k, column in enumerate(positive.T)
            if 0 < counts[k] < total or positive.shape[1] == 1
        ]
        return float(np.mean(areas)) if areas else 0.0

    return mean


def _matrix(positive: Array, score: Array, weights: Array | None) -> Array:
    """The confusion matrix of one-hot rows, or of one output (at 1/2) with the classes 0 and 1."""
    if score.shape[1] == 1:
        return confusion_matrix(positive[:, 0] != 0, score[:, 0] > 0.5, 2, weights)
    return confusion_matrix(positive.argmax(axis=1), score.argmax(axis=1), score.shape[1], weights)


def _macro(which: int) -> Callable[[Array, Array, Array | None], float]:
    """The mean over the classes that occur, among the targets or the predictions, as scikit-learn has it."""

    def mean(positive: Array, score: Array, weights: Array | None) -> float:
        matrix = _matrix(positive, score, weights)
        seen = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
        values = class_scores(matrix)[which][seen]
        return float(values.mean()) if len(values) else 0.0

    return mean


def _column_counts(positive: Array, predicted: Array, weights: Array | None) -> tuple[Array, Array, Array, Array]:
    """True positives, false positives, true and false negatives of each column: (N, K), (N, K) → four times (K,)."""
    share = np.ones(len(positive)) if weights is None else np.asarray(weights, dtype=np.float64)
    is_so, said = positive != 0, predicted
    true, false = share @ (is_so & said), share @ (~is_so & said)
    return true, false, share @ (~is_so & ~said), share @ (is_so & ~said)


def f1_of_columns(average: str, threshold: float | None) -> Callable[[Array, Array, Array | None], float]:
    """F1 with each column as a question of its own: their mean ("macro"), the mean by how often each holds
    ("weighted"), or of all counted together ("micro"). Without a threshold the largest of several scores is the answer.

    Source: Keras 3, keras.metrics.F1Score; of one score without a threshold it takes every row as positive, this 1/2.
    """

    def value(positive: Array, score: Array, weights: Array | None) -> float:
        if threshold is None and score.shape[1] > 1:
            predicted = score == score.max(axis=1, keepdims=True)
        else:
            predicted = score > (0.5 if threshold is None else threshold)
        true, false, _, missed = _column_counts(positive, predicted, weights)
        if average == "micro":
            true, false, missed = (a.sum(keepdims=True) for a in (true, false, missed))
        scores = _ratio(2 * true, 2 * true + false + missed)
        if average != "weighted":
            return float(scores.mean())
        total = float((true + missed).sum())
        return float(scores @ (true + missed)) / total if total else 0.0

    return value


def r2_of_columns(average: str) -> Callable[[Array, Array, Array | None], float]:
    """R² of each column, and their mean, "uniform_average", or that by the columns' variances.

    Source: Keras 3, keras.metrics.R2Score; a column that is the same in all rows counts 0.
    """

    def value(targets: Array, predicted: Array, weights: Array | None) -> float:
        share = np.ones(len(targets)) if weights is None else np.asarray(weights, dtype=np.float64)
        t, p = targets.astype(np.float64), predicted.astype(np.float64)
        spread = share @ (t - share @ t / share.sum()) ** 2
        missed = share @ (t - p) ** 2
        scores = np.divide(spread - missed, spread, out=np.zeros(len(spread)), where=spread != 0)
        if average == "uniform_average":
            return float(scores.mean())
        return float(spread @ scores / spread.sum()) if spread.any() else 0.0

    return value


def count_of(which: int, threshold: float) -> Callable[[Array, Array, Array | None], float]:
    """How many entries are true positives (0), false positives (1), true negatives (2) or false negatives (3)."""

    def value(positive: Array, score: Array, weights: Array | None) -> float:
        return float(_column_counts(positive, score > threshold, weights)[which].sum())

    return value


RANKINGS: Mapping[str, RankingKind] = {
    row.name: row
    for row in (
        RankingKind("auc", _one_against_rest(roc_auc), aliases=("roc_auc", "auroc")),
        RankingKind("pr_auc", _one_against_rest(pr_auc), aliases=("average_precision", "auprc")),
        RankingKind("macro_precision", _macro(0), aliases=("precision_macro",), one_class=True),
        RankingKind("macro_recall", _macro(1), aliases=("recall_macro",), one_class=True),
        RankingKind("macro_f1", _macro(2), aliases=("f1_macro",), one_class=True),
        RankingKind("confusion_matrix", _matrix, one_class=True),
    )
}
"""Metrics of all predictions at once, by name."""


def find_ranking(name: str) -> RankingKind | None:
    """The row of that name or alias, or None; case, spaces, '_' and '-' do not matter."""
    plain = name.lower().replace("_", "").replace("-", "").replace(" ", "")
    for row in RANKINGS.values():
        if plain in [n.replace("_", "") for n in (row.name, *row.aliases)]:
            return row
    return None


@dataclass(frozen=True)
class Ranking:
    """A metric of all predictions, matched to a network's output and its target (or label)."""

    name: str
    kind: RankingKind
    output: str
    target: str
    weighted: bool = False

    def final(self, predictions: Array, targets: Array, weights: Array | None = None) -> float | Array:
        """predictions (N, K), (N,) or (N, …, K); targets of the same shape, or class numbers (N,).

        → a number, or the matrix. Where classes lie at several places of a sample, each place counts as a row.
        """
        scores = predictions.reshape(-1, predictions.shape[-1] if predictions.ndim > 1 else 1)
        if targets.shape != predictions.shape and targets.ndim == 1 and scores.shape[1] > 1:
            positive = targets[:, None] == np.arange(scores.shape[1])
        else:
            positive = targets.reshape(scores.shape)
        share = weights if self.weighted else None
        if share is not None:
            share = np.repeat(share, len(scores) // max(len(share), 1))
        return self.kind.of(positive, scores, share)


def rank(
    network: Network, rankings: tuple[Ranking, ...], arrays: Mapping[str, Array], weights: Array | None = None
) -> dict[str, float | Array]:
    """The value of each ranking on checked arrays: one prediction of all rows for each output."""
    inputs = {t.name: arrays[t.name] for t in network.system.of_role("input") if t.name in arrays}
    found: dict[str, Array] = {}
    for output in dict.fromkeys(r.output for r in rankings):
        found[output] = network.predict(inputs) if output == network.system.output else _other(network, output, inputs)
    return {r.name: r.final(found[r.output], arrays[r.target], weights) for r in rankings}


def _other(network: Network, output: str, inputs: Mapping[str, Array]) -> Array:
    """A quantity that is not the network's output, with the network's weights."""
    from chainrule.training.network import Network

    twin = Network(network.system.with_(output=output), dtype=network.dtype, sizes=network.sizes)
    twin.hyper = dict(network.hyper)
    twin.set_parameters(network.parameters)
    twin.keep({n: a for n, a in network.kept.items() if n in {t.name for t in network.system.of_role("state")}})
    return twin.predict(inputs)
