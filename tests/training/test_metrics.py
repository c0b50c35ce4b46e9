"""Metrics asked for by name, formula or output, against NumPy and the definitions; ranks against counted pairs."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import FormulaError, SettingError
from chainrule.formula.expr import Element
from chainrule.library import METRICS
from chainrule.training.metrics import direction, measures, rankings
from chainrule.training.network import formula
from chainrule.training.ranking import RANKINGS, Ranking, class_scores, confusion_matrix, pr_auc, roc_auc
from chainrule.training.targets import target_kind

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(60, 4))
Y = RANDOM.integers(0, 3, 60)
S = RANDOM.uniform(0.1, 3, 60)
W = RANDOM.normal(size=(4, 3))

HEAD = "parameter W[i, k] = glorot_uniform\np[k] = softmax[k](sum[i](x[i]*W[i, k]))\n"
ONE_HOT = "input x[i]\ntarget t[k], sum[k](t[k]) = 1\n" + HEAD + "E = -sum[k](t[k]*log(p[k]))"
LABEL = "input x[i]\nlabel y in k\n" + HEAD + "E = -sum[k]([k == y]*log(p[k]))"
# Other names for all: rows of the library are written in p, t, k.
RENAMED = (
    "input a[u]\ntarget z[c], sum[c](z[c]) = 1\nparameter W[u, c] = glorot_uniform\n"
    "q[c] = softmax[c](sum[u](a[u]*W[u, c]))\nE = -sum[c](z[c]*log(q[c]))"
)
ONE = "input x[i]\ntarget t\nparameter w[i] = zeros\np = sigmoid(sum[i](x[i]*w[i]))\nE = (p - t)**2"
SQUARE = (
    "input x[i]\ntarget t[k]\nparameter W[i, k] = glorot_uniform\n"
    "p[k] = sum[i](x[i]*W[i, k])\nE = mean[k]((p[k] - t[k])**2)"
)


def made(text, **weights):
    net = formula(text, dtype="float64", sizes={"c": 3} if "[c]" in text else {})
    net.set_parameters(weights)
    return net


def softmax(a):
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


P = softmax(X @ W)
HITS = P.argmax(axis=1) == Y
T = np.eye(3)[Y]


@pytest.mark.parametrize("text", [ONE_HOT, LABEL, RENAMED])
def test_rows_for_one_hot_targets_and_labels_serve_both(text):
    net = made(text, W=W)
    found = net.evaluate(X, Y, metrics=["accuracy", "label_accuracy", "mse", "categorical_cross_entropy", "precision"])
    assert found["accuracy"] == found["label_accuracy"] == pytest.approx(HITS.mean())
    assert found["mse"] == pytest.approx(np.mean((P - T) ** 2))
    assert found["categorical_cross_entropy"] == pytest.approx(found["loss"])
    assert found["precision"] == pytest.approx(T[P > 0.5].mean())


def test_names_are_logged_as_they_are_asked_for():
    """As Keras 3.15 does."""
    asked = ["acc", "categorical_accuracy", "MSE", "close = mean[k]([abs(t[k] - p[k]) < 0.1])"]
    assert list(made(ONE_HOT, W=W).evaluate(X, Y, metrics=asked)) == [
        "loss",
        "acc",
        "categorical_accuracy",
        "MSE",
        "close",
    ]


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        (ONE_HOT, "mean[k](abs(t[k] - p[k]))"),
        (RENAMED, "mean[c](abs(z[c] - q[c]))"),  # in the network's own names
        (RENAMED, "mean[k](abs(t[k] - p[k]))"),  # or in those of the rows
        (LABEL, "mean[k](abs([k == y] - p[k]))"),
    ],
)
def test_a_formula_is_a_metric(text, metric):
    found = made(text, W=W).evaluate(X, Y, metrics=[metric])
    assert found[metric] == pytest.approx(np.abs(P - T).mean())


def test_a_metric_of_one_output():
    net = made(ONE, w=W[:, 0])
    p, t = 1 / (1 + np.exp(-X @ W[:, 0])), (Y > 0).astype(float)
    found = net.evaluate(X, t, metrics=["accuracy", "precision", "recall", "f1", "mae", "rmse"])
    yes, hit = p > 0.5, (p > 0.5) & (t == 1)
    assert found["accuracy"] == pytest.approx((yes == (t == 1)).mean())
    assert found["precision"] == pytest.approx(hit.sum() / yes.sum())
    assert found["recall"] == pytest.approx(hit.sum() / t.sum())
    assert found["f1"] == pytest.approx(2 * hit.sum() / (yes.sum() + t.sum()))
    assert found["mae"] == pytest.approx(np.abs(p - t).mean())
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((p - t) ** 2)))


def test_the_explained_variance_of_one_output():
    net = made(SQUARE, W=W[:, :1])
    t = X @ W[:, :1] + RANDOM.normal(size=(60, 1))
    left = np.sum((t - X @ W[:, :1]) ** 2) / np.sum((t - t.mean()) ** 2)
    assert net.evaluate(X, t, metrics=["r2"])["r2"] == pytest.approx(1 - left)


def test_nothing_predicted_positive_is_a_precision_of_zero():
    net = made(ONE, w=np.zeros(4))
    assert net.evaluate(X, np.ones(60), metrics=["precision"])["precision"] == 0


def test_metrics_in_training_are_those_of_evaluate():
    net = made(ONE_HOT, W=W)
    asked = ["accuracy", "mse", "precision", "auc"]
    before = net.evaluate(X, Y, metrics=asked, sample_weight=S)
    history = net.fit(
        X, Y, sample_weight=S, metrics=asked, validation_data=(X, Y), epochs=1, batch_size=None, learning_rate=0.0,
        verbose=0, engine="interpreter",
    ).history  # fmt: skip
    for name in asked:
        assert history[name][0] == pytest.approx(before[name])
        assert history[f"val_{name}"][0] == pytest.approx(before[name])


def test_a_validation_has_the_metrics_of_its_training():
    """Its rows may look like targets of another kind: here each has one 1."""
    t = RANDOM.integers(0, 2, (60, 3))
    few = np.eye(3)[[0, 1]]
    net = made(SQUARE, W=W)
    history = net.fit(
        X, t, validation_data=(X[:2], few), metrics=["accuracy"], learning_rate=0.0, verbose=0, engine="interpreter"
    )
    p = X[:2] @ W
    assert history.history["val_accuracy"][0] == pytest.approx(np.mean((p > 0.5) == (few > 0.5)))


def test_the_compiled_step_sums_the_same():
    found = []
    for engine in ("native", "interpreter"):
        net = made(ONE_HOT, W=W)
        options = {"epochs": 2, "batch_size": 16, "verbose": 0, "engine": engine, "sample_weight": S}
        asked = ["accuracy", "f1", "rmse", "close = mean[k]([abs(t[k] - p[k]) < 0.3])"]
        found.append(net.fit(X, Y, metrics=asked, weighted_metrics=["accuracy", "f1"], **options).history)
        found[-1].pop("seconds")
    assert list(found[0]) == ["loss", "accuracy", "f1", "rmse", "close", "weighted_accuracy", "weighted_f1"]
    for name, values in found[0].items():
        assert values == pytest.approx(found[1][name], rel=1e-12), name


def test_weighted_metrics_are_means_by_weight():
    net = made(ONE_HOT, W=W)
    found = net.evaluate(X, Y, sample_weight=S, metrics=["accuracy"], weighted_metrics=["accuracy", "precision", "mse"])
    assert found["accuracy"] == pytest.approx(HITS.mean())
    assert found["weighted_accuracy"] == pytest.approx(np.average(HITS, weights=S))
    assert found["mse"] == pytest.approx(np.average(np.mean((P - T) ** 2, axis=1), weights=S))
    yes = P > 0.5
    assert found["precision"] == pytest.approx((S[:, None] * (yes & (T == 1))).sum() / (S[:, None] * yes).sum())


TWO = """
input     x[i]
target    t[k], sum[k](t[k]) = 1
target    v
parameter W[i, k], u[i] = glorot_uniform
r = sum[i](x[i]*u[i])
p[k] = softmax[k](sum[i](x[i]*W[i, k]))
E = -sum[k](t[k]*log(p[k])) + (r - v)**2
"""


def test_metrics_by_output():
    net = made(TWO, W=W, u=W[:, 1])
    v = X[:, 0]
    found = net.evaluate(x=X, t=T, v=v, metrics={"p": ["accuracy", "auc"], "r": "mae"})
    assert list(found) == ["loss", "p_accuracy", "r_mae", "p_auc"]
    assert found["p_accuracy"] == pytest.approx(HITS.mean())
    assert found["r_mae"] == pytest.approx(np.abs(X @ W[:, 1] - v).mean())


def test_a_target_belongs_to_the_output_that_it_is_compared_with():
    text = (
        "input x[i]\ntarget b, a\nparameter u[i], v[i] = zeros\n"
        "p = sum[i](x[i]*u[i])\nq = sum[i](x[i]*v[i])\nE = (p - a)**2 + abs(q - b)"
    )
    net = made(text, u=W[:, 0], v=W[:, 1])
    found = net.evaluate(x=X, a=X[:, 0], b=X[:, 1], metrics={"p": ["mae"], "q": ["mae"]})
    assert found["p_mae"] == pytest.approx(np.abs(X @ W[:, 0] - X[:, 0]).mean())
    assert found["q_mae"] == pytest.approx(np.abs(X @ W[:, 1] - X[:, 1]).mean())


def test_shares_of_classes_hit_where_the_largest_is():
    shares = softmax(RANDOM.normal(size=(60, 3)))
    found = made(ONE_HOT, W=W).evaluate(X, shares, metrics=["accuracy"])
    assert found["accuracy"] == pytest.approx((P.argmax(axis=1) == shares.argmax(axis=1)).mean())


def test_outputs_in_places_are_averaged():
    text = (
        "input x[l, i]\ntarget t[l, k]\nparameter W[i, k] = glorot_uniform\n"
        "p[l, k] = softmax[k](sum[i](x[l, i]*W[i, k]))\nE = -sum[l, k](t[l, k]*log(p[l, k]))"
    )
    x, t = X.reshape(15, 4, 4), T.reshape(15, 4, 3)
    found = made(text, W=W).evaluate(x, t, metrics=["accuracy", "mse"])
    assert found["accuracy"] == pytest.approx(HITS.mean())
    assert found["mse"] == pytest.approx(np.mean((P - T) ** 2))


def test_every_row_of_the_library_fits_one_of_these_networks():
    shapes = [(made(ONE_HOT, W=W), (X, Y)), (made(LABEL, W=W), (X, Y)), (made(ONE, w=W[:, 0]), (X, (Y > 0) * 1.0))]
    for name in METRICS:
        fits = 0
        for net, data in shapes:
            arrays = net.bind(data, {}, ("input", "target", "label"))
            try:
                fits += len(measures(net, [name], arrays))
            except SettingError as error:
                assert "does not fit" in str(error)
        assert fits, name


# --- what does not fit


@pytest.mark.parametrize(
    ("text", "target", "metric", "said"),
    [
        (ONE, X[:, 0], "accuracy", "holds numbers, not classes: these fit: mean_squared_error"),
        (ONE, X[:, 0], "auc", "does not fit the target t, which holds numbers"),
        (ONE, (Y > 0) * 1, "top_k_accuracy", "which holds values 0 and 1: these fit: accuracy"),
        (ONE, (Y > 0) * 1, "categorical_cross_entropy", "does not fit"),
        (ONE_HOT, Y, "acuracy", "did you mean 'accuracy'"),
        (ONE_HOT, Y, "glimmer", "of all predictions at once: auc"),
        (ONE_HOT, Y, "p[k]*1", "leaves the index k open"),
        (ONE_HOT, Y, "mean[k](p[k] - margin)", "uses margin"),
        (RENAMED, Y, "mean[k](q[k])", "runs over the index k"),
        (ONE_HOT, Y, 3, "metrics has a int"),
        (ONE_HOT, Y, "loss = mean[k](p[k])", "called loss"),
        (ONE_HOT, Y, {"h": ["accuracy"]}, "compute: p"),
    ],
)
def test_what_does_not_fit_says_so(text, target, metric, said):
    with pytest.raises(SettingError) as caught:
        made(text).evaluate(X, target, metrics=metric if isinstance(metric, dict) else [metric])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_formula_that_does_not_read_says_where():
    with pytest.raises(FormulaError, match="line 1, column"):
        made(ONE_HOT).evaluate(X, Y, metrics=["mean[k](abs(t[k] - )"])


def test_without_metrics_there_is_the_accuracy_where_targets_are_classes():
    assert list(made(ONE_HOT).evaluate(X, Y)) == ["loss", "accuracy"]
    assert list(made(ONE).evaluate(X, (Y > 0) * 1)) == ["loss", "accuracy"]
    assert list(made(ONE).evaluate(X, X[:, 0])) == ["loss"]
    assert list(made(ONE_HOT).evaluate(X, Y, metrics=[])) == ["loss"]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (T, "one_hot"),
        (P, "shares"),
        ((Y > 0) * 1.0, "zero_one"),
        (np.array([[1, 1, 0], [0, 0, 0]]), "zero_one"),
        (X[:, 0], "numbers"),
        (np.array([[-1.0, 1.0]]), "numbers"),
    ],
)
def test_kinds_of_targets(target, kind):
    assert target_kind(target) == kind


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("head_loss", "min"),
        ("val_accuracy", "max"),
        ("weighted_acc", "max"),
        ("p_mae", "min"),
        ("val_r2", "max"),
        ("AUC", "max"),
        ("head_pr_auc", "max"),
        ("glimmer", None),
    ],
)
def test_which_values_are_better(name, better):
    assert direction(name) == better


# --- ranks


def counted_auc(t, p, s):
    """The definition: over all pairs of a positive and a negative."""
    wins = total = 0.0
    for i in np.flatnonzero(t == 1):
        for j in np.flatnonzero(t == 0):
            total += s[i] * s[j]
            wins += s[i] * s[j] * (1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0.0)
    return wins / total


@pytest.mark.parametrize("seed", range(5))
def test_the_area_under_the_roc_curve_is_the_share_of_pairs(seed):
    random = np.random.default_rng(seed)
    t, p, s = random.integers(0, 2, 40), random.integers(0, 9, 40) / 9, random.uniform(0, 2, 40)
    assert roc_auc(t, p) == pytest.approx(counted_auc(t, p, np.ones(40)))
    assert roc_auc(t, p, s) == pytest.approx(counted_auc(t, p, s))


def test_weights_are_repetitions_of_rows_and_zero_is_removal():
    t, p = RANDOM.integers(0, 2, 30), RANDOM.integers(0, 7, 30) / 7
    s = RANDOM.integers(0, 4, 30)
    for area in (roc_auc, pr_auc):
        assert area(t, p, s) == pytest.approx(area(np.repeat(t, s), np.repeat(p, s)))


def test_the_average_precision_by_its_definition():
    t, p = RANDOM.integers(0, 2, 30), RANDOM.integers(0, 7, 30) / 7
    total, recall = 0.0, 0.0
    for threshold in sorted(set(p), reverse=True):
        chosen = p >= threshold
        now = t[chosen].sum() / t.sum()
        total, recall = total + (now - recall) * t[chosen].mean(), now
    assert pr_auc(t, p) == pytest.approx(total)


def test_a_confusion_matrix_and_its_scores():
    actual, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1])
    matrix = confusion_matrix(actual, predicted, 3)
    assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    precision, recall, f1 = class_scores(matrix)
    assert precision == pytest.approx([2 / 3, 1 / 3, 0])
    assert recall == pytest.approx([2 / 3, 1 / 2, 0])
    assert f1 == pytest.approx([2 / 3, 2 / 5, 0])


@pytest.mark.parametrize(("text", "data"), [(ONE_HOT, (X, Y)), (LABEL, (X, Y))])
def test_rankings_of_classes(text, data):
    found = made(text, W=W).evaluate(*data, metrics=["auc", "macro_f1", "confusion_matrix"])
    assert found["auc"] == pytest.approx(np.mean([counted_auc(Y == k, P[:, k], np.ones(60)) for k in range(3)]))
    matrix = np.array([[np.sum((Y == a) & (P.argmax(axis=1) == b)) for b in range(3)] for a in range(3)])
    np.testing.assert_array_equal(found["confusion_matrix"], matrix)
    assert found["macro_f1"] == pytest.approx(class_scores(matrix)[2].mean())


def test_ranks_are_scikit_learns():
    theirs = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(8)
    y, p, s = random.integers(0, 4, 80), random.dirichlet(np.ones(4), 80).round(1), random.uniform(0.5, 2, 80)
    t, found = np.eye(4)[y], {name: row.of for name, row in RANKINGS.items()}
    assert found["auc"](t, p, s) == pytest.approx(theirs.roc_auc_score(t, p, sample_weight=s))
    assert found["pr_auc"](t, p, s) == pytest.approx(theirs.average_precision_score(t, p, sample_weight=s))
    hit = {"average": "macro", "sample_weight": s, "zero_division": 0}
    assert found["macro_f1"](t, p, s) == pytest.approx(theirs.f1_score(y, p.argmax(axis=1), **hit))
    assert found["macro_recall"](t, p, s) == pytest.approx(theirs.recall_score(y, p.argmax(axis=1), **hit))
    np.testing.assert_allclose(
        found["confusion_matrix"](t, p, s), theirs.confusion_matrix(y, p.argmax(axis=1), sample_weight=s)
    )


def test_weighted_measures_have_the_weight_among_their_sums():
    net = made(ONE_HOT)
    arrays = net.bind((X, Y), {}, ("input", "target"))
    (found,) = measures(net, (), arrays, ["mse"], Element("s", ("n",)))
    assert len(found.sums) == 2
    assert found.final(dict(zip(found.sums, (3.0, 2.0), strict=True))) == 1.5
    assert [r.name for r in rankings(net, ["auc"], arrays, ["auc"])] == ["auc", "weighted_auc"]


def test_places_of_a_sample_count_as_rows():
    """Classes at each of two places, as the letters of a word: scikit-learn sees four rows of three classes."""
    from sklearn.metrics import confusion_matrix, roc_auc_score

    generator = np.random.default_rng(3)
    scores, actual = generator.random((40, 2, 3)), generator.integers(0, 3, (40, 2))
    targets = np.eye(3)[actual]
    rows, flat = scores.reshape(-1, 3), actual.ravel()
    found = {
        name: Ranking(name, RANKINGS[name], "p", "t").final(scores, targets) for name in ("confusion_matrix", "auc")
    }
    assert np.array_equal(found["confusion_matrix"], confusion_matrix(flat, rows.argmax(axis=1)))
    each = [roc_auc_score(flat == k, rows[:, k]) for k in range(3)]
    assert found["auc"] == pytest.approx(np.mean(each))
    weights = generator.random(40)
    weighted = Ranking("confusion_matrix", RANKINGS["confusion_matrix"], "p", "t", weighted=True)
    expected = confusion_matrix(flat, rows.argmax(axis=1), sample_weight=np.repeat(weights, 2))
    np.testing.assert_allclose(weighted.final(scores, targets, weights), expected)
