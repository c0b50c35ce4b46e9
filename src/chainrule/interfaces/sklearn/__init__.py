"""The style of scikit-learn: `chainrule.sklearn` has the public names.

settings.py     the parameters, and what is wrong with them
texts.py        parameters → formulas
prepared.py     formulas → what is derived, lowered and compiled once a process
solvers.py      adam, sgd and lbfgs as scikit-learn runs them, and when they stop
perceptron.py   what the two perceptrons have in common
estimators.py   MLPClassifier, MLPRegressor
columns.py      a table's columns → numbers and class numbers
tabular.py      TabularClassifier, TabularRegressor
"""
