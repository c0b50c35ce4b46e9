"""Metrics by Keras's names: rows of the library, summed up inside the compiled step.

>>> RootMeanSquaredError().formula, TopKCategoricalAccuracy(k=3).formula
('squared = mean[k]((t[k] - p[k])**2)', '[sum[k]([p[k] > sum[k](t[k]*p[k])]) < 3]')

AUC is computed from all predictions after an epoch. A text is a metric too: a name, or a formula of one sample
 such as "close = mean[k]([abs(t[k] - p[k]) < 0.5])".
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chainrule.errors import SettingError
from chainrule.interfaces.keras.config import Configured, auto_name
from chainrule.interfaces.keras.rows import is_formula, keras_row, resolve
from chainrule.library import METRICS
from chainrule.library import Metric as Row
from chainrule.library.layers import written
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.training.ranking import RankingKind

AGGREGATIONS = ("uniform_average", "variance_weighted_average")
ACCURACIES = ("accuracy", "label_accuracy", "acc")


class Metric(Configured):
    """A row of library.METRICS with its numbers; `asked` is what the training takes."""

    asked: str | Row | RankingKind = ""

    def _take(self, row: str, name: str | None, **settings: float) -> None:
        found = keras_row(METRICS, row)
        self.name = name or row
        self.asked = replace(found, name=self.name, defaults={**found.defaults, **settings})

    def asked_of(self, width: int) -> str | Row | RankingKind:
        """What the training takes for an output of so many numbers a sample."""
        return self.asked

    @property
    def formula(self) -> str:
        """The formula of one sample, in p[k] and t[k]."""
        if not isinstance(self.asked, Row):
            return self.asked if isinstance(self.asked, str) else self.asked.name
        text = self.asked.formula
        for key, value in self.asked.defaults.items():
            text = re.sub(rf"(?<![\w.]){key}(?!\w)", written(value), text)
        return text

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def _no(kind: str, **options: Any) -> None:
    """Options that Keras has and chainrule has not. Raises: SettingError."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise SettingError(say("keras.option_not_here", layer=kind, name=name, came=value, default=None))


class Accuracy(Metric):
    """The share of predictions that equal the target."""

    def __init__(self, name: str = "accuracy", dtype: Any = None):
        self._take("exact_accuracy", name)


class BinaryAccuracy(Metric):
    """The share on the right side of the threshold."""

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5):
        self._take("binary_accuracy", name, threshold=threshold)


class CategoricalAccuracy(Metric):
    """The share whose largest output is the class."""

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None):
        self._take("categorical_accuracy", name)


class SparseCategoricalAccuracy(Metric):
    """The share whose largest output is the class number."""

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None):
        self._take("sparse_categorical_accuracy", name)


class TopKCategoricalAccuracy(Metric):
    """The share whose class is among the k largest outputs."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None):
        self._take("top_k_accuracy", name, top=k)


class SparseTopKCategoricalAccuracy(Metric):
    """The share whose class number is among the k largest outputs."""

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ):
        _no("SparseTopKCategoricalAccuracy", from_sorted_ids=from_sorted_ids)
        self._take("label_top_k_accuracy", name, top=k)


class Precision(Metric):
    """Of those predicted positive, the share that is."""

    def __init__(
        self,
        thresholds: float | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        _no("Precision", top_k=top_k, class_id=class_id)
        self._take("precision", name, threshold=0.5 if thresholds is None else thresholds)


class Recall(Metric):
    """Of those that are positive, the share predicted so."""

    def __init__(
        self,
        thresholds: float | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        _no("Recall", top_k=top_k, class_id=class_id)
        self._take("recall", name, threshold=0.5 if thresholds is None else thresholds)


class F1Score(Metric):
    """The harmonic mean of precision and recall.

    `average` is "macro", the mean over the classes; "weighted", the mean by how often each class occurs; or "micro", of
    all classes counted together. None gives one number a class in Keras, and their mean here.
    """

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score", dtype: Any = None
    ):
        from chainrule.training.ranking import RankingKind, f1_of_columns

        if average not in (None, "macro", "micro", "weighted"):
            raise SettingError(say("keras.unknown", what="average", came=average, known="micro, macro, weighted"))
        self.name = name
        self.asked = RankingKind(name, f1_of_columns(average or "macro", threshold))


class AUC(Metric):
    """The area under the curve, exactly and not by thresholds."""

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ):
        _no("AUC", thresholds=thresholds, num_labels=num_labels, label_weights=label_weights)
        from chainrule.training.ranking import RANKINGS

        self.name = name or "auc"
        self.asked = replace(RANKINGS["auc" if curve.upper() == "ROC" else "pr_auc"], name=self.name)


class _Count(Metric):
    """How many entries of the targets are in one of the four fields of true and false, positive and negative."""

    which = 0

    def __init__(self, thresholds: float | None = None, name: str | None = None, dtype: Any = None):
        from chainrule.training.ranking import RankingKind, count_of

        self.name = name or auto_name(type(self).__name__)
        better = "min" if self.which % 2 else "max"
        threshold = 0.5 if thresholds is None else float(thresholds)
        self.asked = RankingKind(self.name, count_of(self.which, threshold), better)


class TruePositives(_Count):
    """How many are positive and predicted so."""


class FalsePositives(_Count):
    """How many are predicted positive and are not."""

    which = 1


class TrueNegatives(_Count):
    """How many are negative and predicted so."""

    which = 2


class FalseNegatives(_Count):
    """How many are positive and not predicted so."""

    which = 3


class MeanSquaredError(Metric):
    """mean[k]((t[k] - p[k])**2)"""

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None):
        self._take("mean_squared_error", name)


class RootMeanSquaredError(Metric):
    """Its root."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None):
        self._take("root_mean_squared_error", name)


class MeanAbsoluteError(Metric):
    """mean[k](abs(t[k] - p[k]))"""

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None):
        self._take("mean_absolute_error", name)


class MeanAbsolutePercentageError(Metric):
    """100 times the mean of |t - p|/|t|."""

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None):
        self._take("mean_absolute_percentage_error", name)


class MeanSquaredLogarithmicError(Metric):
    """The squared difference of log(1 + t) and log(1 + p)."""

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None):
        self._take("mean_squared_logarithmic_error", name)


class R2Score(Metric):
    """The share of the variance that is explained; of several outputs their mean, or that by their variances."""

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ):
        _no("R2Score", num_regressors=num_regressors or None)
        if class_aggregation not in AGGREGATIONS:
            known = ", ".join(AGGREGATIONS)
            raise SettingError(say("keras.unknown", what="class_aggregation", came=class_aggregation, known=known))
        self.aggregation = class_aggregation
        self._take("r2", name)

    def asked_of(self, width: int) -> str | Row | RankingKind:
        from chainrule.training.ranking import RankingKind, r2_of_columns

        if width == 1:
            return self.asked
        return RankingKind(self.name, r2_of_columns(self.aggregation), numbers=True)


class CosineSimilarity(Metric):
    """The cosine between t and p."""

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1):
        self._take("cosine_similarity", name)


class LogCoshError(Metric):
    """mean[k](log(cosh(p[k] - t[k])))"""

    def __init__(self, name: str = "logcosh", dtype: Any = None):
        self._take("log_cosh", name)


class BinaryCrossentropy(Metric):
    """The loss of that name."""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ):
        _no("BinaryCrossentropy", from_logits=from_logits, label_smoothing=label_smoothing or None)
        self._take("binary_crossentropy", name)


class CategoricalCrossentropy(Metric):
    """The loss of that name."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ):
        _no("CategoricalCrossentropy", from_logits=from_logits, label_smoothing=label_smoothing or None)
        self._take("categorical_crossentropy", name)


class SparseCategoricalCrossentropy(Metric):
    """The loss of that name."""

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ):
        _no("SparseCategoricalCrossentropy", from_logits=from_logits, ignore_class=ignore_class)
        self._take("sparse_categorical_crossentropy", name)


class KLDivergence(Metric):
    """The loss of that name."""

    def __init__(self, name: str = "kl_divergence", dtype: Any = None):
        self._take("kl_divergence", name)


class Poisson(Metric):
    """The loss of that name."""

    def __init__(self, name: str = "poisson", dtype: Any = None):
        self._take("poisson", name)


class Hinge(Metric):
    """The loss of that name."""

    def __init__(self, name: str = "hinge", dtype: Any = None):
        self._take("hinge", name)


class SquaredHinge(Metric):
    """The loss of that name."""

    def __init__(self, name: str = "squared_hinge", dtype: Any = None):
        self._take("squared_hinge", name)


class CategoricalHinge(Metric):
    """The loss of that name."""

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None):
        self._take("categorical_hinge", name)


class Formula(Metric):
    """A metric of one's own: a formula of one sample, whose mean is reported."""

    def __init__(self, formula: str, name: str | None = None):
        named = re.match(r"\s*([^\W\d]\w*)\s*=(?!=)", formula)
        self.name = name or (named[1] if named else "metric")
        right = formula[named.end() :] if named else formula
        self.asked = f"{self.name} = {right.strip()}"


KINDS: dict[str, type[Metric]] = {
    kind.__name__: kind
    for kind in (
        Accuracy,
        BinaryAccuracy,
        CategoricalAccuracy,
        SparseCategoricalAccuracy,
        TopKCategoricalAccuracy,
        SparseTopKCategoricalAccuracy,
        Precision,
        Recall,
        F1Score,
        AUC,
        TruePositives,
        FalsePositives,
        TrueNegatives,
        FalseNegatives,
        MeanSquaredError,
        RootMeanSquaredError,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanSquaredLogarithmicError,
        R2Score,
        CosineSimilarity,
        LogCoshError,
        BinaryCrossentropy,
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
        KLDivergence,
        Poisson,
        Hinge,
        SquaredHinge,
        CategoricalHinge,
        Formula,
    )
}


class _Named(Metric):
    """By name alone, which is what stands in the logs."""

    def __init__(self, name: str):
        self.name, self.asked = name, name
        if is_formula(name):
            self.asked, self.name = Formula(name).asked, Formula(name).name
            return
        if name.lower() in ACCURACIES or find_ranking_named(name):
            return
        self.asked = replace(keras_row(METRICS, name), name=name)

    def asked_of(self, width: int) -> str | Row | RankingKind:
        row = isinstance(self.asked, Row) and self.asked.formula == METRICS["r2"].formula
        return R2Score(name=self.name).asked_of(width) if row else self.asked


def find_ranking_named(name: str) -> bool:
    """Whether a name is of what is computed from all predictions at once."""
    from chainrule.training.ranking import find_ranking

    return find_ranking(name) is not None


def get(identifier: Any) -> Metric:
    """A metric: itself, its name as Keras or the library has it, or a formula. Raises: SettingError."""
    if isinstance(identifier, str):
        return _Named(identifier)
    if isinstance(identifier, dict) and identifier.get("class_name") == "_Named":
        return _Named(**identifier["config"])
    name = getattr(identifier, "__name__", None)
    if type(identifier).__name__ == "LossFunction" and name is not None:
        return _Named(str(name))
    found: Metric = resolve(identifier, KINDS, Metric, "metric")
    return found
