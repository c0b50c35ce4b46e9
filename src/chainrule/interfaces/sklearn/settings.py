"""The parameters of the multi-layer perceptrons, checked when `fit` begins: scikit-learn's, and ours beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from chainrule.data.checks import is_whole
from chainrule.errors import SettingError
from chainrule.interfaces.sklearn.texts import is_formula
from chainrule.library import SCHEDULES, find
from chainrule.messages import say
from chainrule.training.network import DTYPES

SOLVERS = ("adam", "sgd", "lbfgs")
OWN_RATES = ("constant", "invscaling", "adaptive")
RULES = {"adam": "sklearn_adam", "sgd": "momentum", "nesterov": "momentum_look_ahead"}
"""scikit-learn's solvers as rows of library/updates.py."""

# name: (lowest, highest, whether the lowest and the highest themselves are allowed)
RANGES: Mapping[str, tuple[float, float, bool, bool]] = {
    "alpha": (0, np.inf, True, False),
    "learning_rate_init": (0, np.inf, False, False),
    "power_t": (0, np.inf, True, False),
    "tol": (0, np.inf, True, True),
    "momentum": (0, 1, True, True),
    "validation_fraction": (0, 1, True, False),
    "beta_1": (0, 1, True, False),
    "beta_2": (0, 1, True, False),
    "epsilon": (0, np.inf, False, False),
    "dropout": (0, 1, True, False),
}
SWITCHES = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping")


@dataclass(frozen=True)
class Settings:
    """The parameters of one fit, checked."""

    hidden: tuple[int, ...]
    solver: str
    alpha: float
    batch_size: int | str | None
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: float
    n_threads: int | None

    @property
    def rule(self) -> str:
        """The row of the library's update rules."""
        if self.solver == "adam":
            return RULES["adam"]
        return RULES["nesterov" if self.nesterovs_momentum else "sgd"]

    @property
    def hyper(self) -> dict[str, float]:
        """The values of the rule's and the text's hyper-parameters, but for the learning rate."""
        own = {"l2": self.alpha, "keep": 1.0 - self.dropout}
        if self.solver == "adam":
            return {**own, "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**own, "mu": self.momentum}

    def rows_of_batch(self, rows: int) -> int:
        """How many rows a step sees: min(200, rows) for "auto", all for None."""
        if self.batch_size is None or self.solver == "lbfgs":
            return rows
        return min(200, rows) if self.batch_size == "auto" else min(int(self.batch_size), rows)


def check(given: Mapping[str, Any]) -> Settings:
    """The parameters of an estimator (its get_params) as Settings. Raises: SettingError, one line."""
    _choice("solver", given["solver"], SOLVERS)
    _choice("dtype", given["dtype"], DTYPES)
    _check_rate(given["learning_rate"])
    for name, (low, high, with_low, with_high) in RANGES.items():
        value = given[name]
        good = isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high
        if not good or (value == low and not with_low) or (value == high and not with_high):
            ends = f"{'[' if with_low else '('}{low:g}, {high:g}{']' if with_high else ')'}"
            raise SettingError(say("sklearn.range", name=name, came=value, wanted=ends))
    for name in SWITCHES:
        if not isinstance(given[name], bool | np.bool_):
            raise SettingError(say("sklearn.choice", name=name, came=given[name], wanted="True, False"))
    for name in ("max_iter", "max_fun"):
        check_whole(name, given[name])
    if given["n_iter_no_change"] != np.inf:
        check_whole("n_iter_no_change", given["n_iter_no_change"])
    if given["batch_size"] not in ("auto", None):
        check_whole("batch_size", given["batch_size"])
    if given["n_threads"] is not None:
        check_whole("n_threads", given["n_threads"])
    for name in ("activation", "loss"):
        if not isinstance(given[name], str) or not given[name].strip():
            raise SettingError(say("sklearn.not_text", name=name, came=given[name]))
    if given["solver"] == "lbfgs" and given["dropout"]:
        raise SettingError(say("sklearn.lbfgs_dropout"))
    names = set(Settings.__dataclass_fields__) - {"hidden"}
    values = {name: given[name] for name in names} | {"verbose": bool(given["verbose"])}
    return Settings(hidden=hidden_sizes(given["hidden_layer_sizes"]), **values)


def hidden_sizes(given: Any) -> tuple[int, ...]:
    """(100,) of 100 or [100]. Raises: SettingError.

    >>> hidden_sizes([64, 32]), hidden_sizes(100), hidden_sizes(())
    ((64, 32), (100,), ())
    """
    sizes = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for size in sizes:
        if not is_whole(size) or size < 1:
            raise SettingError(say("sklearn.hidden_sizes", came=given))
    return tuple(int(s) for s in sizes)


def _check_rate(rate: Any) -> None:
    if not isinstance(rate, str):
        raise SettingError(say("sklearn.learning_rate", came=rate, wanted=", ".join(OWN_RATES)))
    if rate not in OWN_RATES and not is_formula(rate):
        find(SCHEDULES, rate)


def _choice(name: str, value: Any, wanted: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in wanted:
        raise SettingError(say("sklearn.choice", name=name, came=value, wanted=", ".join(wanted)))


def check_whole(name: str, value: Any) -> None:
    """Raises: SettingError for what is no whole number of at least 1."""
    if not is_whole(value) or value < 1:
        raise SettingError(say("sklearn.whole", name=name, came=value))
