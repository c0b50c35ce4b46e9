"""What a row of the library is, and the one lookup by name.

    Row = Activation | Loss | Update | ParameterRule | Schedule | Initializer | Metric

A table is a mapping from name to row, in the order in which a reader should meet them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import ClassVar, Literal, TypeVar

from chainrule.errors import SettingError
from chainrule.messages import say


@dataclass(frozen=True)
class Row:
    """What all rows have.

    `defaults` are the values of the formula's hyper-parameters, `differs` says who means another formula by this name.
    """

    kind: ClassVar[str]

    name: str
    source: str = field(kw_only=True)
    aliases: tuple[str, ...] = field(default=(), kw_only=True)
    defaults: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    differs: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Activation(Row):
    """An expression in `a`; with an `index`, in the whole vector a[index]."""

    kind = "activation"

    formula: str
    index: str | None = None


@dataclass(frozen=True)
class Loss(Row):
    """The equation of `E`, one sample's loss, in the prediction p[k] and what `target` declares.

    `k` is the only index: a sum within a sum binds it anew, p[k]/sum[k](p[k]).
    """

    kind = "loss"

    formula: str
    target: str = field(default="target t[k]", kw_only=True)


@dataclass(frozen=True)
class Update(Row):
    """Lines that move any parameter w by its gradient g; the other names assigned are state and start at 0."""

    kind = "update"

    formula: str


@dataclass(frozen=True)
class ParameterRule(Row):
    """Lines for the named parameters of a given network, without a gradient."""

    kind = "update"

    formula: str


@dataclass(frozen=True)
class Schedule(Row):
    """The learning rate as an expression in `step` (from 1), `steps` (the last one) and `eta0`."""

    kind = "schedule"

    formula: str


@dataclass(frozen=True)
class Initializer(Row):
    """A distribution; its two numbers are expressions in fan_in, fan_out and the defaults' names.

    `bounds` are (low, high) of a uniform, (mean, standard deviation) of a normal; both are the value of a constant.
    A truncated normal is drawn again where it lies more than two of its standard deviations from its mean; the bounds
    are those of the normal before that. "identity" has the second number where all indices of a matrix are equal and
    the first elsewhere; "orthogonal" is a random matrix with orthonormal rows or columns, times the second number.
    """

    kind = "initializer"

    distribution: Literal["constant", "uniform", "normal", "truncated_normal", "identity", "orthogonal"]
    bounds: tuple[str, str]


@dataclass(frozen=True)
class Metric(Row):
    """What is reported: in p and what `target` declares, of one sample; its mean over the samples is the metric.

    `formula` is one expression, or several lines `name = expression`; then `value` makes the metric of their means.
    `better` says whether larger or smaller values are better.

    Example:
    >>> from chainrule.library import METRICS
    >>> print(METRICS["precision"].formula)
    tp = mean[k]([t[k] > 0]*[p[k] > threshold])
    fp = mean[k]([t[k] <= 0]*[p[k] > threshold])
    >>> METRICS["precision"].value
    'where(tp + fp > 0, tp/(tp + fp), 0)'
    """

    kind = "metric"

    formula: str
    target: str = field(default="target t[k]", kw_only=True)
    value: str = field(default="", kw_only=True)
    better: Literal["max", "min"] = field(default="min", kw_only=True)


OPTION_ALIASES: Mapping[str, str] = {
    "learning_rate": "eta",
    "learning_rate_init": "eta",
    "lr": "eta",
    "momentum": "mu",
    "alpha": "rho",
    "eps": "epsilon",
    "beta1": "beta_1",
    "beta2": "beta_2",
}
"""What other frameworks call the hyper-parameters of the update rules."""

AnyRow = TypeVar("AnyRow", bound=Row)


def table(*rows: AnyRow) -> Mapping[str, AnyRow]:
    """The rows by name, in the order given."""
    return {row.name: row for row in rows}


def find(table: Mapping[str, AnyRow], name: str) -> AnyRow:
    """The row called `name`, or with that alias; case, spaces, '_' and '-' do not matter.

    Raises: SettingError, with the nearest name and the list of names.

    Example:
    >>> from chainrule.library import LOSSES
    >>> find(LOSSES, "Mean-Absolute-Error").name
    'mean_absolute_error'
    """
    rows = {_plain(spelling): row for row in table.values() for spelling in (row.name, *row.aliases)}
    row = rows.get(_plain(name))
    if row is not None:
        return row
    kind = say(f"library.{next(iter(table.values())).kind}")
    near = get_close_matches(_plain(name), rows, n=1)
    names = ", ".join(table)
    if not near:
        raise SettingError(say("library.unknown", kind=kind, name=name, names=names))
    raise SettingError(say("library.unknown_near", kind=kind, name=name, near=rows[near[0]].name, names=names))


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
