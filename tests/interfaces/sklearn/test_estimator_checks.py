"""scikit-learn's own checks of an estimator, in float64, with no expected failure."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from chainrule.sklearn import MLPClassifier, MLPRegressor

# scikit-learn runs its own perceptrons with max_iter=100 too (sklearn.utils._test_common.instance_generator), and the
# equality of weights and repeated rows with lbfgs and sgd; here adam as well.
ESTIMATORS = [
    MLPClassifier(max_iter=100),
    MLPRegressor(max_iter=100),
]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
