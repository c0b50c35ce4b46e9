"""scikit-learn's own checks of an estimator, in float64, with no expected failure."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from chainrule.sklearn import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor

# scikit-learn runs its own perceptrons with max_iter=100 too (sklearn.utils._test_common.instance_generator), and the
# equality of weights and repeated rows with lbfgs and sgd; here adam as well.
ESTIMATORS = [
    MLPClassifier(max_iter=100),
    MLPRegressor(max_iter=100),
]


# Of two equal rows a member may leave one out, so that they are not a row of twice the weight.
TABULAR = [
    TabularClassifier(n_members=2, max_iter=100, hidden_layer_sizes=(16,)),
    TabularRegressor(n_members=2, max_iter=100, hidden_layer_sizes=(16,), learning_rate_init=0.01),
]
NOT_MEANT = {"check_sample_weight_equivalence_on_dense_data": "members leave rows out, repeated ones too"}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(TABULAR, expected_failed_checks=lambda estimator: NOT_MEANT)
def test_scikit_learns_checks_of_tables(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
