"""Networks in the style of scikit-learn: `pip install "chainrule[sklearn]"`.

    MLPClassifier, MLPRegressor                   scikit-learn's own, compiled, and open to formulas
    TabularClassifier, TabularRegressor           tables as they are: numbers, categories, dates, gaps

>>> from chainrule.sklearn import MLPClassifier
>>> from sklearn.datasets import load_iris
>>> X, y = load_iris(return_X_y=True)
>>> round(MLPClassifier(random_state=0, max_iter=300, tol=0.001).fit(X, y).score(X, y), 1)
1.0
"""

from __future__ import annotations

from chainrule.messages import say

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(say("sklearn.missing")) from error

from chainrule.interfaces.sklearn.estimators import MLPClassifier, MLPRegressor
from chainrule.interfaces.sklearn.tabular import TabularClassifier, TabularRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "TabularClassifier", "TabularRegressor"]
