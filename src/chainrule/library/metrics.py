"""Metrics: what is reported of one sample; the mean over the samples is the metric.

What is a ratio of such means (precision), or another function of them (the root of the mean squared error), has several
lines and a `value`. The losses are metrics too, by their names. Each row is of all outputs k together, or their mean;
means over the classes (macro averages), areas under curves and confusion matrices, which need all predictions at once,
are not formulas of one sample: `chainrule.training.ranking`.

What is not here: numbers of samples (Keras's TruePositives), which a mean cannot give; medians and largest errors.
"""

from __future__ import annotations

from chainrule.library.losses import LOSSES
from chainrule.library.rows import Loss, Metric, table

ONE = "target t[k], sum[k](t[k]) = 1"
LABEL = "label y in k"
BISHOP = "Bishop, 2006, Pattern Recognition and Machine Learning, section 1.5.1"
RIJSBERGEN = "van Rijsbergen, 1979, Information Retrieval, chapter 7"

TIES = "A tie for the largest p counts as wrong. Keras and scikit-learn take the first of the equals."
TOP_TIES = "As in Keras: a tie at the last place counts as right. `top` is what Keras calls k."
ENTRIES = (
    "Of all outputs k together, as Keras has it; scikit-learn's average='micro'. "
    "scikit-learn's average='macro' is another metric, of all predictions at once."
)

TP = "tp = mean[k]([t[k] > 0]*[p[k] > threshold])"
FP = "fp = mean[k]([t[k] <= 0]*[p[k] > threshold])"
FN = "fn = mean[k]([t[k] > 0]*[p[k] <= threshold])"
TN = "tn = mean[k]([t[k] <= 0]*[p[k] <= threshold])"
HALF = {"threshold": 0.5}


def _of_loss(loss: Loss) -> Metric:
    """A loss as a metric. Targets of -1 and 1 are not asked for: what is only looked at need not be checked."""
    target = "target t[k]" if "t[k]**2" in loss.target else loss.target
    formula = loss.formula.removeprefix("E = ")
    return Metric(
        loss.name,
        formula,
        target=target,
        source=loss.source,
        aliases=loss.aliases,
        defaults=loss.defaults,
        differs=loss.differs,
    )


# A cosine is reported as it is, and the mean squared error with its root's name beside it; the clipped forms differ
# from the others where nobody looks.
_ELSEWHERE = {"cosine_similarity", "dice", "tversky", *(name for name in LOSSES if name.startswith("clipped_"))}
_FROM_LOSSES = [_of_loss(loss) for loss in LOSSES.values() if loss.name not in _ELSEWHERE]

METRICS = table(
    Metric(
        "accuracy",
        "[sum[k](t[k]*p[k]) == max[k](p[k])] * [sum[k]([p[k] == max[l](p[l])]) == 1]",
        target=ONE,
        better="max",
        source=BISHOP,
        aliases=("categorical_accuracy", "acc"),
        differs=f"For one-hot targets. {TIES}",
    ),
    Metric(
        "label_accuracy",
        "[sum[k]([k == y]*p[k]) == max[k](p[k])] * [sum[k]([p[k] == max[l](p[l])]) == 1]",
        target=LABEL,
        better="max",
        source=BISHOP,
        aliases=("sparse_categorical_accuracy",),
        differs=TIES,
    ),
    Metric(
        "binary_accuracy",
        "mean[k]([[p[k] > threshold] == [t[k] > 1/2]])",
        defaults=HALF,
        better="max",
        source="Keras 3, keras.metrics.BinaryAccuracy",
        differs="As in Keras for targets 0 and 1; it compares others as they are with the rounded prediction.",
    ),
    Metric(
        "exact_accuracy",
        "mean[k]([p[k] == t[k]])",
        better="max",
        source="Keras 3, keras.metrics.Accuracy",
        aliases=("exact_match",),
        differs="Keras's class Accuracy, which its name 'accuracy' does not stand for.",
    ),
    Metric(
        "top_k_accuracy",
        "[sum[k]([p[k] > sum[k](t[k]*p[k])]) < top]",
        defaults={"top": 5.0},
        target=ONE,
        better="max",
        source="Krizhevsky, Sutskever & Hinton, 2012, ImageNet classification with deep convolutional neural networks",
        aliases=("top_k_categorical_accuracy", "top_5_accuracy"),
        differs=f"For one-hot targets. {TOP_TIES}",
    ),
    Metric(
        "label_top_k_accuracy",
        "[sum[k]([p[k] > sum[k]([k == y]*p[k])]) < top]",
        defaults={"top": 5.0},
        target=LABEL,
        better="max",
        source="Krizhevsky, Sutskever & Hinton, 2012, ImageNet classification with deep convolutional neural networks",
        aliases=("sparse_top_k_categorical_accuracy",),
        differs=TOP_TIES,
    ),
    Metric(
        "precision",
        f"{TP}\n{FP}",
        value="where(tp + fp > 0, tp/(tp + fp), 0)",
        defaults=HALF,
        better="max",
        source=RIJSBERGEN,
        differs=ENTRIES,
    ),
    Metric(
        "recall",
        f"{TP}\n{FN}",
        value="where(tp + fn > 0, tp/(tp + fn), 0)",
        defaults=HALF,
        better="max",
        source=RIJSBERGEN,
        aliases=("sensitivity", "true_positive_rate"),
        differs=ENTRIES,
    ),
    Metric(
        "specificity",
        f"{TN}\n{FP}",
        value="where(tn + fp > 0, tn/(tn + fp), 0)",
        defaults=HALF,
        better="max",
        source="Yerushalmy, 1947, Statistical problems in assessing methods of medical diagnosis",
        aliases=("true_negative_rate",),
        differs="Keras has it at a given sensitivity only.",
    ),
    Metric(
        "f1",
        f"{TP}\n{FP}\n{FN}",
        value="where(tp + fp + fn > 0, 2*tp/(2*tp + fp + fn), 0)",
        defaults=HALF,
        better="max",
        source=RIJSBERGEN,
        aliases=("f1_score",),
        differs=f"{ENTRIES} Keras's F1Score gives one number for each class unless it is told an average.",
    ),
    Metric(
        "fbeta",
        f"{TP}\n{FP}\n{FN}",
        value="where(tp + fp + fn > 0, (1 + beta**2)*tp/((1 + beta**2)*tp + beta**2*fn + fp), 0)",
        defaults={**HALF, "beta": 2.0},
        better="max",
        source=RIJSBERGEN,
        aliases=("fbeta_score", "f2"),
        differs=f"{ENTRIES} Keras's FBetaScore has beta = 1 and gives one number for each class.",
    ),
    Metric(
        "jaccard",
        f"{TP}\n{FP}\n{FN}",
        value="where(tp + fp + fn > 0, tp/(tp + fp + fn), 0)",
        defaults=HALF,
        better="max",
        source="Jaccard, 1912, The distribution of the flora in the alpine zone",
        aliases=("iou", "jaccard_score"),
        differs="scikit-learn's jaccard_score, average='micro'. Keras's BinaryIoU also averages over both classes.",
    ),
    Metric(
        "balanced_accuracy",
        f"{TP}\n{FP}\n{FN}\n{TN}",
        value="(where(tp + fn > 0, tp/(tp + fn), 0) + where(tn + fp > 0, tn/(tn + fp), 0))/2",
        defaults=HALF,
        better="max",
        source="Brodersen, Ong, Stephan & Buhmann, 2010, The balanced accuracy and its posterior distribution",
        differs="Of two classes; scikit-learn's is the mean recall of all classes: macro_recall.",
    ),
    Metric(
        "matthews_correlation",
        f"{TP}\n{FP}\n{FN}\n{TN}",
        # max(…, 1e-30): 0 where one of the four sums is 0, as scikit-learn has it.
        value="(tp*tn - fp*fn)/sqrt(max((tp + fp)*(tp + fn)*(tn + fp)*(tn + fn), 1e-30))",
        defaults=HALF,
        better="max",
        source="Matthews, 1975, Comparison of the predicted and observed secondary structure of T4 phage lysozyme",
        aliases=("mcc", "matthews_corrcoef"),
        differs="Of two classes; scikit-learn's also of more. Keras has none.",
    ),
    Metric(
        "root_mean_squared_error",
        "squared = mean[k]((t[k] - p[k])**2)",
        value="sqrt(squared)",
        source="Gauss, 1823, Theoria combinationis observationum erroribus minimis obnoxiae",
        aliases=("rmse",),
        differs="As in Keras: the root of the mean over samples and outputs. scikit-learn averages the outputs' roots.",
    ),
    Metric(
        "r2",
        # Means of squares lose digits where the targets are far from 0 against their spread; targets are often scaled.
        "missed = mean[k]((t[k] - p[k])**2)\nmiddle = mean[k](t[k])\nsquares = mean[k](t[k]**2)",
        value="1 - missed/(squares - middle**2)",
        better="max",
        source="Wright, 1921, Correlation and causation",
        aliases=("r2_score", "r_squared"),
        differs=(
            "Of one output, as in Keras and scikit-learn. Of several it is that of all their numbers together, where "
            "Keras and scikit-learn average each output's own."
        ),
    ),
    Metric(
        "explained_variance",
        "missed = mean[k]((t[k] - p[k])**2)\noff = mean[k](t[k] - p[k])\n"
        "middle = mean[k](t[k])\nsquares = mean[k](t[k]**2)",
        value="1 - (missed - off**2)/(squares - middle**2)",
        better="max",
        source="Pearson, 1896, Mathematical contributions to the theory of evolution III",
        aliases=("explained_variance_score",),
        differs="Of one output, as in scikit-learn. Keras has none.",
    ),
    Metric(
        "mean_error",
        "mean[k](p[k] - t[k])",
        source="Gauss, 1823, Theoria combinationis observationum erroribus minimis obnoxiae",
        aliases=("bias",),
        differs="Signed: how far predictions lie too high.",
    ),
    Metric(
        "cosine_similarity",
        LOSSES["cosine_similarity"].formula.removeprefix("E = -"),
        better="max",
        source=LOSSES["cosine_similarity"].source,
        aliases=("cosine",),
        differs="As in Keras's metrics; its loss of that name is minus this.",
    ),
    Metric(
        "dice_coefficient",
        "2*sum[k](t[k]*p[k])/(sum[k](t[k]) + sum[k](p[k]) + 1e-7)",
        better="max",
        source=LOSSES["dice"].source,
        differs="1 minus the loss dice: of one sample's outputs.",
    ),
    *_FROM_LOSSES,
)
