"""Tables as they are: columns of every kind, ensembles, and what must not depend on anything."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_wine

from chainrule.errors import DataError, SettingError
from chainrule.interfaces.sklearn.columns import Columns, kind_of
from chainrule.sklearn import TabularClassifier, TabularRegressor

QUICK = {"n_members": 2, "max_iter": 40, "hidden_layer_sizes": (16, 8), "random_state": 0}


def frame(rows=160):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "size": rng.normal(50, 20, rows),
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], rows)),
            "town": rng.choice(["Aa", "Bb", "Cc", "Dd"], rows),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, rows), unit="D"),
            "new": rng.choice([True, False], rows),
        }
    )
    for n, name in enumerate(["size", "colour", "town", "since"]):
        table.loc[n::19, name] = None
    y = (table["size"].fillna(50) > 50).astype(int) + 2 * (table["colour"] == "red").astype(int)
    return table, y.to_numpy()


def test_a_frame_of_every_kind_and_names_of_classes():
    X, y = frame()
    names = np.array(["a", "b", "c", "d"])[y]
    model = TabularClassifier(**{**QUICK, "max_iter": 150}).fit(X, names)
    assert model.columns_.kinds == ["numbers", "categories", "categories", "dates", "numbers"]
    assert list(model.feature_names_in_) == list(X.columns)
    assert model.score(X, names) > 0.85
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert set(model.predict(X)) <= set(names)
    # What was never seen and what is missing share a row of the embedding.
    new, gap = X.head(3).copy(), X.head(3).copy()
    new["town"], gap["town"] = "Zz", None
    np.testing.assert_array_equal(model.predict_proba(new), model.predict_proba(gap))


def test_the_same_seed_the_same_bits():
    X, y = frame()
    one = TabularClassifier(**QUICK).fit(X, y)
    two = TabularClassifier(**QUICK, n_threads=2).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).predict_proba(X), one.predict_proba(X))
    assert clone(one).get_params() == one.get_params()


def test_tables_of_polars_and_arrow_are_the_frame():
    import polars as pl
    import pyarrow as pa

    X, y = frame()
    model = TabularClassifier(**QUICK).fit(X, y)
    for table, classes in ((pl.from_pandas(X), pl.Series(y)), (pa.Table.from_pandas(X), pa.array(y))):
        other = TabularClassifier(**QUICK).fit(table, classes)
        assert other.columns_.kinds == model.columns_.kinds
        assert list(other.feature_names_in_) == list(X.columns)
        np.testing.assert_array_equal(other.predict_proba(table), model.predict_proba(X))
        np.testing.assert_array_equal(model.predict_proba(table), model.predict_proba(X))


def test_rows_of_objects_are_the_frame():
    X, y = frame()
    plain = X.drop(columns="since").astype(object)
    named, numbered = TabularClassifier(**QUICK).fit(plain, y), TabularClassifier(**QUICK).fit(plain.to_numpy(), y)
    np.testing.assert_array_equal(named.predict_proba(plain), numbered.predict_proba(plain.to_numpy()))


def test_numbers_with_a_known_rule():
    """An effect of a category that no number tells: the mean of each is what the squared error wants."""
    words = np.array(["low", "high"] * 100, dtype=object)[:, None]
    y = np.where(words[:, 0] == "high", 30.0, 10.0)
    model = TabularRegressor(**{**QUICK, "max_iter": 150, "dropout": 0.0}).fit(words, y)
    np.testing.assert_allclose(model.predict([["low"], ["high"]]), [10, 30], atol=1.0)
    several = TabularRegressor(**QUICK).fit(words, np.stack([y, -y], axis=1))
    assert several.predict(words).shape == (200, 2)


def test_the_targets_of_rows_of_weight_zero_do_not_matter():
    X, y = load_wine(return_X_y=True)
    weights = np.arange(len(y)) % 4
    other = np.where(weights == 0, np.roll(y, 1), y)
    assert not np.array_equal(other, y)
    one, two = (TabularClassifier(**QUICK).fit(X, targets, weights) for targets in (y, other))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_members_keep_their_best_epochs():
    X, y = load_wine(return_X_y=True)
    model = TabularClassifier(**QUICK).fit(X, y)
    assert model.n_members_ == len(model.best_epochs_) == 2
    assert (model.best_epochs_ <= model.n_iter_).all()
    assert model.network_.predict(model._inputs(model.columns_.transform(X))).shape == (len(y), 3)


def test_kinds_of_columns():
    def column(*values):
        return np.array(values, dtype=object)

    assert kind_of(column(1, None, 2.5), "a") == "numbers"
    assert kind_of(column("x", float("nan")), "a") == "categories"
    assert kind_of(np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"), "a") == "dates"
    with pytest.raises(DataError, match="column a holds dict"):
        kind_of(column({}, {}), "a")


def test_texts_that_are_dates():
    """As pandas reads them from a CSV file."""
    days = pd.Series(pd.date_range("2020-01-01", periods=40, freq="37h"))
    table = Columns().fit(pd.DataFrame({"a": days}))
    texts = Columns().fit(written := pd.DataFrame({"a": days.astype(str)}))
    assert texts.kinds == table.kinds == ["dates"]
    want = table.transform(pd.DataFrame({"a": days})).numbers
    np.testing.assert_allclose(texts.transform(written).numbers, want, atol=1e-9)
    np.testing.assert_allclose(texts.transform(pd.DataFrame({"a": days})).numbers, want, atol=1e-9)
    with pytest.raises(DataError, match=r"column a held dates .* 'soon'"):
        texts.transform(pd.DataFrame({"a": ["2024-01-01", "soon"]}))


def test_a_category_is_the_same_as_whole_number_and_as_float():
    """pandas makes floats of whole numbers where one is missing."""
    table = Columns().fit(whole := pd.DataFrame({"zip": pd.Categorical([3, 5, 3, 5])}))
    floats = pd.DataFrame({"zip": [3.0, 5.0, np.nan, 7.0]})
    (codes,), (other,) = table.transform(whole).classes, table.transform(floats).classes
    assert other.tolist() == [*codes[:2], 0, 0]
    named = Columns(categorical=["zip"]).fit(floats.assign(size=1.5))
    masked = Columns(categorical=[True, False]).fit(floats.assign(size=1.5))
    assert named.kinds == masked.kinds == ["categories", "numbers"]


def test_scaling_and_gaps():
    table = np.array([[1.0, 7], [2, 7], [3, 7], [1000, 7], [np.nan, 7]])
    numbers = Columns().fit(table).transform(table).numbers
    assert numbers.shape == (5, 3)  # a column says where the gap was
    assert np.isfinite(numbers).all() and numbers[:, 0].max() < 3
    assert (numbers[:, 1] == 0).all()


def test_errors_name_what_to_do():
    X, y = frame()
    with pytest.raises(ValueError, match="X has 2 features, but TabularClassifier is expecting 5"):
        TabularClassifier(**QUICK).fit(X.to_numpy(), y).predict(X.to_numpy()[:, :2])
    with pytest.raises(DataError, match="rows"):
        TabularRegressor(**QUICK).fit(X, y[:-1])
    with pytest.raises(SettingError, match="robust, quantiles"):
        TabularClassifier(numbers="ranks").fit(X, y)
    with pytest.raises(SettingError, match="n_members"):
        TabularClassifier(n_members=0).fit(X, y)
    with pytest.raises(SettingError, match="n_members"):
        TabularClassifier(n_members=1000).fit(X, y)
    with pytest.raises(SettingError, match="n_threads"):
        TabularClassifier(n_threads=-1).fit(X, y)
    with pytest.raises(SettingError, match=r"'nope'.*size, colour"):
        TabularClassifier(categorical_features=["nope"]).fit(X, y)
    with pytest.raises(SettingError, match="categorical_features"):
        TabularClassifier(categorical_features="town").fit(X, y)
    with pytest.raises(SettingError, match="did you mean 'relu'"):
        TabularClassifier(activation="rel").fit(X, y)
    for gaps in ([None, *["a"] * 159], np.where(np.arange(160) == 3, np.nan, 1.0)):
        with pytest.raises(DataError, match="y has gaps"):
            TabularClassifier().fit(X, gaps)
    with pytest.raises(DataError, match="words are for a classifier"):
        TabularRegressor().fit(X, ["a"] * 160)
    with pytest.raises(DataError, match="shape"):
        TabularClassifier().fit(X.head(0), [])
    with pytest.raises(DataError, match="sparse"):
        TabularClassifier().fit(sparse.csr_matrix(np.eye(3)), [0, 1, 0])
    with pytest.raises(DataError, match="infinity"):
        TabularClassifier().fit(X.assign(size=np.inf), y)
    model = TabularClassifier(**QUICK).fit(X, y)
    with pytest.raises(DataError, match=r"column size held numbers .* 'big'"):
        model.predict(X.assign(size="big"))


def test_activations_by_formula_and_with_hyper_parameters():
    X, y = frame()
    leaky, formula = (
        TabularClassifier(**{**QUICK, "max_iter": 8}, activation=a).fit(X, y).predict_proba(X)
        for a in ("leaky_relu", "where(a > 0, a, a/100)")
    )
    np.testing.assert_allclose(leaky, formula, atol=1e-5)


def test_a_target_that_is_always_the_same():
    X, _ = frame()
    np.testing.assert_array_equal(TabularRegressor(**{**QUICK, "max_iter": 8}).fit(X, [3.5] * 160).predict(X), 3.5)


def test_what_a_mask_hides_is_a_gap():
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60.0)
    X[:20, 0] = np.nan
    masked = np.ma.array(np.nan_to_num(X, nan=99.0), mask=np.isnan(X))
    found = [TabularRegressor(**QUICK).fit(x, y).predict(x) for x in (X, masked)]
    np.testing.assert_array_equal(*found)
