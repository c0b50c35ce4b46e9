"""MLPClassifier and MLPRegressor beside scikit-learn's own, and what they have more."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier as OwnClassifier
from sklearn.neural_network import MLPRegressor as OwnRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from chainrule.errors import DataError, SettingError
from chainrule.messages import set_language
from chainrule.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore:the limit of", "ignore:Stochastic Optimizer", "ignore:lbfgs failed")

WINE = load_wine(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
SUGAR = load_diabetes(return_X_y=True)
SMALL = {"hidden_layer_sizes": (7, 5), "max_iter": 12, "random_state": 3, "batch_size": 64}


def scaled(data):
    X, y = data
    return StandardScaler().fit_transform(X), y


def assert_same(own, ours, rtol=1e-9):
    """Weights, the losses of every epoch, and what else scikit-learn's estimator has to say."""
    for a, b in zip([*own.coefs_, *own.intercepts_], [*ours.coefs_, *ours.intercepts_], strict=True):
        np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.loss_, own.loss_, rtol=rtol)
    if own.solver != "lbfgs":
        np.testing.assert_allclose(ours.loss_curve_, own.loss_curve_, rtol=rtol)
        assert ours.t_ == own.t_
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(own, name), name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha": 3.0, "activation": "tanh"},
        {"activation": "logistic", "solver": "sgd", "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.0, "activation": "identity"},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.3, "power_t": 0.3},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 0.05, "n_iter_no_change": 2,
         "max_iter": 60},
        {"tol": 0.02, "n_iter_no_change": 3, "max_iter": 300},
        {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 60, "n_iter_no_change": 3},
        {"shuffle": False, "batch_size": 50},
        {"solver": "lbfgs"},
    ],
)  # fmt: skip
def test_the_same_weights_as_scikit_learn(options):
    """The same random_state gives the same first weights, orders and splits; so all that follows is the same."""
    X, y = scaled(WINE)
    own, ours = OwnClassifier(**{**SMALL, **options}).fit(X, y), MLPClassifier(**{**SMALL, **options}).fit(X, y)
    assert_same(own, ours)
    np.testing.assert_allclose(ours.predict_proba(X), own.predict_proba(X), rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(X), own.predict(X))
    assert ours.validation_scores_ == pytest.approx(own.validation_scores_) if options.get("early_stopping") else True


def test_the_reported_loss_is_cut_as_in_scikit_learn():
    """Unscaled numbers of thousands: sure and wrong predictions, whose loss decides when to stop."""
    X, y = WINE
    own, ours = (kind(random_state=2, max_iter=30).fit(X, y) for kind in (OwnClassifier, MLPClassifier))
    assert own.loss_curve_[0] > 20
    np.testing.assert_allclose(ours.loss_curve_, own.loss_curve_, rtol=1e-6)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_sample_weights_count_as_in_scikit_learn(solver):
    X, y = scaled(CANCER)
    weights = np.random.default_rng(0).uniform(0.1, 3.0, len(y))
    options = {**SMALL, "solver": solver}
    own, ours = OwnClassifier(**options).fit(X, y, weights), MLPClassifier(**options).fit(X, y, weights)
    assert_same(own, ours)
    assert ours.score(X, y, weights) == pytest.approx(own.score(X, y, weights))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_numbers_and_counts_as_in_scikit_learn(outputs, loss):
    X, y = scaled(SUGAR)
    y = np.stack([np.floor(y / 50), np.floor(y / 20), np.zeros(len(y))], axis=1)[:, :outputs].squeeze()
    options = {**SMALL, "loss": loss, "early_stopping": outputs == 3}
    own, ours = OwnRegressor(**options).fit(X, y), MLPRegressor(**options).fit(X, y)
    assert_same(own, ours)
    np.testing.assert_allclose(ours.predict(X), own.predict(X), rtol=1e-8)
    assert ours.predict(X).shape == own.predict(X).shape
    if outputs == 3:
        np.testing.assert_allclose(ours.validation_scores_, own.validation_scores_, rtol=1e-8)


def test_several_labels_as_in_scikit_learn():
    X, y = make_multilabel_classification(150, 8, n_classes=4, random_state=0)
    options = {**SMALL, "early_stopping": True}
    own, ours = OwnClassifier(**options).fit(X, y), MLPClassifier(**options).fit(X, y)
    assert_same(own, ours)
    np.testing.assert_array_equal(ours.predict(X), own.predict(X))


def test_partial_fit_and_warm_starts_as_in_scikit_learn():
    X, y = scaled(CANCER)
    own, ours = (kind(**SMALL) for kind in (OwnClassifier, MLPClassifier))
    for part in np.array_split(np.arange(len(y)), 3):
        for model in (own, ours):
            model.partial_fit(X[part], y[part], classes=[0, 1])
    assert_same(own, ours)
    own, ours = (kind(**SMALL, warm_start=True).fit(X, y).fit(X, y) for kind in (OwnClassifier, MLPClassifier))
    assert_same(own, ours)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on_with_the_optimizer_of_fit(solver):
    X, y = scaled(CANCER)
    options = {**SMALL, "solver": solver, "max_iter": 3}
    own, ours = (kind(**options).fit(X, y).partial_fit(X, y) for kind in (OwnClassifier, MLPClassifier))
    assert_same(own, ours)
    # Another rule has no use for those states; scikit-learn goes on with the rule of before.
    other = "sgd" if solver == "adam" else "adam"
    assert np.isfinite(ours.set_params(solver=other).partial_fit(X, y).loss_)


def test_early_stopping_takes_names_of_classes_and_weights():
    X, y = scaled(CANCER)
    names = np.array(["malignant", "benign"])[y]
    model = MLPClassifier(early_stopping=True, random_state=0, class_weight="balanced").fit(X, names)
    assert list(model.classes_) == ["benign", "malignant"]
    assert model.best_validation_score_ == max(model.validation_scores_) > 0.9
    assert model.score(X, names) > 0.95
    with pytest.raises(SettingError, match="early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(X, y, classes=[0, 1])


def test_rows_of_your_own_to_be_judged_by():
    X, y = scaled(CANCER)
    learn, judge = np.arange(400), np.arange(400, len(y))
    model = MLPClassifier(**SMALL).fit(X[learn], y[learn], validation_data=(X[judge], y[judge]))
    alone = MLPClassifier(**SMALL).fit(X[learn], y[learn])
    np.testing.assert_array_equal(model.coefs_[0], alone.coefs_[0])  # they are looked at, not learned from
    assert len(model.validation_scores_) == model.n_iter_
    assert model.validation_scores_[-1] == model.score(X[judge], y[judge])


def test_weights_are_repeated_rows_in_full_batches():
    """More rows than scikit-learn's batch of 200, which draws other batches for them."""
    X, y = scaled(CANCER)
    counts = np.random.default_rng(1).integers(0, 3, len(y))
    options = {**SMALL, "batch_size": None, "tol": 0}
    weighted = MLPClassifier(**options).fit(X, y, counts)
    repeated = MLPClassifier(**options).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-7)


def test_formulas_for_loss_and_activation():
    """A formula learns what the row of the same meaning learns."""
    X, y = scaled(WINE)
    named = MLPClassifier(**SMALL, activation="tanh", loss="log_loss").fit(X, y)
    for activation in ("(exp(a) - exp(-a))/(exp(a) + exp(-a))", "th(a) = 1 - 2/(exp(2*a) + 1)"):
        typed = MLPClassifier(**SMALL, activation=activation, loss="E = -sum[k](t[k]*log(p[k]))").fit(X, y)
        np.testing.assert_allclose(typed.coefs_[0], named.coefs_[0], rtol=1e-6)
    assert "softmax" in typed.formulas_
    assert "delta_p" in [equation.target.tensor for equation in typed.network_.derivation.backward]


def test_losses_of_the_library():
    X, y = scaled(CANCER)
    hinge = MLPClassifier(hidden_layer_sizes=(8,), loss="hinge", max_iter=60, random_state=0).fit(X, y)
    assert hinge.score(X, y) > 0.95
    assert not hasattr(hinge, "predict_proba")
    X, y = scaled(SUGAR)
    middle = MLPRegressor(hidden_layer_sizes=(), loss="mean_absolute_error", learning_rate_init=0.5, random_state=0)
    # The constant that the absolute error wants is the median.
    middle.fit(np.zeros_like(X), y)
    assert middle.predict(np.zeros((1, X.shape[1])))[0] == pytest.approx(np.median(y), abs=2)


def test_dropout_is_reproducible_and_off_when_predicting():
    X, y = scaled(WINE)
    options = {"dropout": 0.5, "hidden_layer_sizes": (16,), "max_iter": 30, "random_state": 5}
    one, two = (MLPClassifier(**options, n_threads=n).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(one.coefs_[0], two.coefs_[0])
    np.testing.assert_array_equal(one.predict_proba(X), one.predict_proba(X))
    plain = MLPClassifier(**{**options, "dropout": 0.0}).fit(X, y)
    assert not np.allclose(one.coefs_[0], plain.coefs_[0])
    with pytest.raises(SettingError, match="dropout"):
        MLPClassifier(dropout=0.5, solver="lbfgs").fit(X, y)


def test_a_schedule_by_name_and_as_a_formula():
    X, y = scaled(WINE)
    named = MLPClassifier(**SMALL, learning_rate="linear").fit(X, y)
    typed = MLPClassifier(**SMALL, learning_rate="eta0*(1 - (step - 1)/steps)").fit(X, y)
    np.testing.assert_allclose(typed.coefs_[0], named.coefs_[0], rtol=1e-12)
    assert not np.allclose(MLPClassifier(**SMALL).fit(X, y).coefs_[0], named.coefs_[0])


def test_sparse_tables_learn_what_dense_ones_do():
    X = sparse.random(300, 60, 0.05, "csr", random_state=0)
    y = (np.asarray(X.sum(axis=1)).ravel() > 1.5).astype(int)
    thin, dense = MLPClassifier(**SMALL).fit(X, y), MLPClassifier(**SMALL).fit(X.toarray(), y)
    np.testing.assert_allclose(thin.coefs_[0], dense.coefs_[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(thin.predict_proba(X), dense.predict_proba(X.toarray()), rtol=1e-9)
    np.testing.assert_allclose(thin.predict_proba(X.tocsc()), thin.predict_proba(X))


def test_pipelines_frames_and_searches():
    X, y = WINE
    frame = pd.DataFrame(X, columns=load_wine().feature_names).assign(kind=np.array(["a", "b"])[np.arange(len(y)) % 2])
    columns = ColumnTransformer([("word", OneHotEncoder(), ["kind"])], remainder=StandardScaler())
    model = make_pipeline(columns, MLPClassifier(random_state=0, max_iter=100))
    assert model.fit(frame, y).score(frame, y) > 0.95
    named = MLPClassifier(hidden_layer_sizes=(3,), max_iter=2).fit(frame.drop(columns="kind"), y)
    assert list(named.feature_names_in_) == load_wine().feature_names
    pipe = make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(10,), random_state=0, max_iter=60))
    grid = {"mlpclassifier__alpha": [1e-4, 1e-1], "mlpclassifier__learning_rate_init": [0.001, 0.01]}
    search = GridSearchCV(pipe, grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.93
    assert cross_val_score(pipe, X, y, cv=3, n_jobs=2).mean() == pytest.approx(cross_val_score(pipe, X, y, cv=3).mean())


def test_pickles_clones_and_weights_changed_by_hand():
    X, y = scaled(WINE)
    model = MLPClassifier(**SMALL).fit(X, y)
    before = model.predict_proba(X)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(again.predict_proba(X), before, rtol=1e-12)
    assert clone(model).get_params() == model.get_params()
    model.coefs_[-1][:] = 0.0
    model.intercepts_[-1][:] = 0.0
    np.testing.assert_allclose(model.predict_proba(X), 1 / 3)
    np.testing.assert_allclose(model.network_.predict(X), 1 / 3)


def test_float32_learns_the_same_but_for_rounding():
    X, y = scaled(WINE)
    half, whole = (MLPClassifier(**SMALL, dtype=dtype).fit(X, y) for dtype in ("float32", "float64"))
    assert half.coefs_[0].dtype == half.predict_proba(X).dtype == np.float32
    np.testing.assert_allclose(half.coefs_[0], whole.coefs_[0], atol=1e-4)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"solver": "newton"}, "adam, sgd, lbfgs"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes"),
        ({"alpha": -1.0}, "alpha"),
        ({"beta_1": 1.0}, "beta_1"),
        ({"learning_rate": 0.1}, "learning_rate_init"),
        ({"learning_rate": "cosin"}, "cosine"),
        ({"activation": "rellu"}, "relu"),
        ({"loss": "hing"}, "hinge"),
        ({"loss": "a = 1\nb = 2"}, "E ="),
        ({"max_iter": 0}, "max_iter"),
        ({"n_threads": 1.5}, "n_threads"),
    ],
)
def test_wrong_parameters_are_one_line(options, word, language):
    set_language(language)
    try:
        with pytest.raises(ValueError, match=word) as caught:
            MLPClassifier(**options).fit(*WINE)
    finally:
        set_language(None)
    assert "\n" not in str(caught.value)


def test_wrong_data_are_one_line():
    X, y = scaled(SUGAR)
    with pytest.raises(SettingError, match="finite"):
        MLPRegressor(solver="sgd", learning_rate_init=1e6, random_state=0).fit(X, y)
    with pytest.raises(DataError, match="counts"):
        MLPRegressor(loss="poisson").fit(X, -y)
    with pytest.raises(ValueError, match=r"(?i)sample weights"):
        MLPRegressor().fit(X, y, np.zeros(len(y)))
    with pytest.raises(DataError, match="classes must be passed"):
        MLPClassifier().partial_fit(*WINE)


def test_the_limit_of_iterations_is_a_convergence_warning():
    with pytest.warns(ConvergenceWarning, match="the limit of 3"):
        MLPClassifier(max_iter=3, hidden_layer_sizes=(4,)).fit(*WINE)


@pytest.mark.parametrize(
    "loss", ["huber", "mean_absolute_error", "sparse_categorical_cross_entropy", "dice", "hinge", "poisson",
             "E = -sum[k](t[k]*log(p[k]))"],
)  # fmt: skip
def test_every_loss_tells_two_classes_apart_too(loss):
    """A loss that cannot tell them by one output has two: one alone would learn to call all rows the same."""
    X, y = scaled(WINE)
    words = np.where(y > 0, "white", "red")
    model = MLPClassifier((8,), loss=loss, max_iter=150, learning_rate_init=0.01, random_state=0).fit(X, words)
    assert model.score(X, words) > 0.97
    assert set(model.predict(X)) == {"red", "white"}


def test_margins_rank_and_calibrate():
    X, y = scaled(WINE)
    model = MLPClassifier((8,), loss="hinge", max_iter=100, random_state=0).fit(X, y > 0)
    assert not hasattr(model, "predict_proba")
    margins = model.decision_function(X)
    np.testing.assert_array_equal(margins > 0, model.predict(X))
    assert model.set_params(loss="mean_absolute_error").fit(X, y > 0).decision_function(X).shape == (len(y),)
    np.testing.assert_array_equal(model.decision_function(X) > 0, model.predict(X))
    assert model.fit(X, y).decision_function(X).shape == (len(y), 3)
    model.set_params(loss="hinge", learning_rate_init=0.01)
    assert cross_val_score(model, X, y > 0, scoring="roc_auc", cv=2).min() > 0.95
    assert not hasattr(MLPClassifier(max_iter=1).fit(X, y), "decision_function")


def test_hyper_parameters_of_losses_and_activations_have_their_values():
    """Huber's loss is half the squared error where no residual reaches delta = 1."""
    X, y = StandardScaler().fit_transform(SUGAR[0]) / 100, SUGAR[1] / 1000 - 1
    rates = {"hidden_layer_sizes": (5,), "max_iter": 10, "random_state": 0, "learning_rate_init": 1e-4}
    half, huber = (MLPRegressor(loss, **rates).fit(X, y) for loss in ("squared_error", "huber"))
    assert np.abs(half.predict(X) - y).max() < 1
    np.testing.assert_allclose(huber.coefs_[0], half.coefs_[0], rtol=1e-9)
    lbfgs = {**rates, "solver": "lbfgs"}
    leaky = MLPRegressor(activation="leaky_relu", **lbfgs).fit(X, y)
    formula = MLPRegressor(activation="where(a > 0, a, 0.01*a)", **lbfgs).fit(X, y)
    np.testing.assert_allclose(leaky.predict(X), formula.predict(X), rtol=1e-6)


def test_a_warm_start_goes_on_with_the_formulas_as_they_are_now():
    X, y = scaled(WINE)
    model = MLPClassifier((6,), warm_start=True, max_iter=3, random_state=0).fit(X, y)
    own = OwnClassifier((6,), warm_start=True, max_iter=3, random_state=0).fit(X, y)
    for one in (model, own):
        one.set_params(activation="tanh", alpha=0.5).fit(X, y)
    assert "tanh" in model.formulas_
    np.testing.assert_allclose(model.coefs_[0], own.coefs_[0], rtol=1e-9)
    with pytest.raises(DataError, match="fit anew"):
        MLPClassifier((6,), warm_start=True, max_iter=2).fit(X, y > 0).set_params(loss="huber").fit(X, y > 0)


def test_adam_goes_on_where_lbfgs_ended():
    X, y = scaled(WINE)
    model = MLPClassifier((6,), solver="lbfgs", max_iter=30, random_state=0).fit(X, y)
    before = model.loss_
    model.set_params(solver="adam").partial_fit(X, y)
    assert len(model.loss_curve_) == 1
    assert model.loss_ == pytest.approx(before, abs=0.05)
    early = {"solver": "adam", "early_stopping": True, "warm_start": True}
    assert len(model.set_params(**early).fit(X, y).validation_scores_) > 1


def test_rows_to_judge_by_have_known_classes():
    X, y = scaled(WINE)
    with pytest.raises(DataError, match="fitted to"):
        MLPClassifier((4,), max_iter=2).fit(X[y < 2], y[y < 2], validation_data=(X, y))


def test_a_loss_for_one_class_is_refused_for_labels():
    X, Y = make_multilabel_classification(random_state=0)
    with pytest.raises(SettingError, match="several labels"):
        MLPClassifier(loss="categorical_cross_entropy").fit(X, Y)
    regression = MLPClassifier((16,), loss="huber", max_iter=20, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(regression.predict(X), regression.network_.predict(X) > 0.5)
    with pytest.raises(SettingError, match="formula in a"):
        MLPClassifier(activation="max(0, x)").fit(X, Y)
    with pytest.raises(DataError, match="words are for a classifier"):
        MLPRegressor().fit(X, ["a"] * len(X))
