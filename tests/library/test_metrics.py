"""Every metric, and the ties of accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.library import METRICS

from .meaning import metric_value

RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 4, 50)
SCORES = RANDOM.uniform(size=(50, 4))


def test_accuracy_is_the_share_of_hits() -> None:
    hits = (SCORES.argmax(axis=1) == LABELS).astype(float)
    np.testing.assert_array_equal(metric_value(METRICS["accuracy"], np.eye(4)[LABELS], SCORES), hits)
    np.testing.assert_array_equal(metric_value(METRICS["label_accuracy"], LABELS, SCORES), hits)


@pytest.mark.parametrize(
    ("p", "right"), [([0.5, 0.5, 0], 0), ([0, 0, 0], 0), ([0.1, 0, 0], 1), ([-3, -1, -2], 0), ([-1, -3, -2], 1)]
)
def test_a_tie_counts_as_wrong(p: list[float], right: int) -> None:
    scores = np.array([p], dtype=float)
    assert metric_value(METRICS["accuracy"], np.eye(3)[[0]], scores) == [right]
    assert metric_value(METRICS["label_accuracy"], np.array([0]), scores) == [right]


def test_binary_accuracy() -> None:
    t, p = np.array([[0.0], [1], [1], [0]]), np.array([[0.2], [0.9], [0.5], [0.7]])
    assert metric_value(METRICS["binary_accuracy"], t, p).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("name", "value"), [("mean_squared_error", 2.5), ("mean_absolute_error", 3.0), ("averaged_absolute_error", 1.5)]
)
def test_errors(name: str, value: float) -> None:
    assert metric_value(METRICS[name], np.array([[1.0, 2]]), np.array([[0.0, 4]])) == [value]
