"""Metrics: what is reported of one sample; the mean over the samples is the metric."""

from __future__ import annotations

from chainrule.library.rows import Metric, table

TIES = "A tie for the largest p counts as wrong. Keras and scikit-learn take the first of the equals."

METRICS = table(
    Metric(
        "accuracy",
        "[sum[k](t[k]*p[k]) == max[k](p[k])] * [sum[k]([p[k] == max[l](p[l])]) == 1]",
        target="target t[k], sum[k](t[k]) = 1",
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 1.5.1",
        aliases=("categorical_accuracy", "acc"),
        differs=f"For one-hot targets. {TIES}",
    ),
    Metric(
        "label_accuracy",
        "[sum[k]([k == y]*p[k]) == max[k](p[k])] * [sum[k]([p[k] == max[l](p[l])]) == 1]",
        target="label y in k",
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 1.5.1",
        aliases=("sparse_categorical_accuracy",),
        differs=TIES,
    ),
    Metric(
        "binary_accuracy",
        "mean[k]([[p[k] > 1/2] == [t[k] > 1/2]])",
        source="Keras 3, keras.metrics.BinaryAccuracy",
        differs="Keras also averages over k; it compares the target with the rounded prediction as it is.",
    ),
    Metric(
        "mean_squared_error",
        "mean[k]((t[k] - p[k])**2)",
        source="Goodfellow, Bengio & Courville, 2016, Deep Learning, section 5.1.4",
        aliases=("mse",),
    ),
    Metric(
        "mean_absolute_error",
        "sum[k](abs(t[k] - p[k]))",
        source="Bloomfield & Steiger, 1983, Least Absolute Deviations",
        aliases=("mae",),
        differs="Keras and PyTorch average over k as well: averaged_absolute_error.",
    ),
    Metric(
        "averaged_absolute_error",
        "mean[k](abs(t[k] - p[k]))",
        source="Keras 3, keras.metrics.MeanAbsoluteError",
        aliases=("keras_mean_absolute_error", "keras_mae"),
    ),
)
