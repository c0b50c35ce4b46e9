"""Metrics: what is asked for by name or formula → what the compiled step sums up for it.

A metric is the mean over the samples of a formula of one sample, or a function of several such means (precision is
tp/(tp + fp)). A row of `library.METRICS` is written in the prediction p[k] and the target t[k] or the label y; here it
is put into the names and indices of a network. Rows for one-hot targets serve labels too, by t[k] = [k == y], and the
reverse. What cannot be a mean of samples (areas under curves, the confusion matrix) stands in ranking.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import FormulaError, SettingError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import (
    MINUS_ONE,
    ONE,
    ZERO,
    Compare,
    Delta,
    Element,
    Expr,
    Normalized,
    Position,
    Reduction,
    Size,
    Slot,
    Symbol,
    base_index,
    children,
    compare,
    delta,
    divide,
    free_indices,
    fresh_name,
    index_names,
    mul,
    number,
    power,
    rebuild,
    replace_symbols,
    sum_over,
    symbols,
)
from chainrule.formula.expressions import RESERVED
from chainrule.formula.parse import parse_expression
from chainrule.formula.system import System, Tensor
from chainrule.library import METRICS, Metric, find
from chainrule.messages import say
from chainrule.training.ranking import RANKINGS, Ranking, RankingKind, find_ranking
from chainrule.training.targets import Fit, target_kind, target_of
from chainrule.training.vocabulary import vocabulary

if TYPE_CHECKING:
    from chainrule.training.network import Network

One = str | Metric | RankingKind
Asked = Sequence[One] | Mapping[str, "One | Sequence[One]"] | None
# What a row of METRICS is written in.
ROW_TENSORS = {
    "p": Tensor("p", "computed", ("n", "k")),
    "t": Tensor("t", "target", ("n", "k")),
    "y": Tensor("y", "label", ("n",), classes="k"),
}
ROW_NAMES = re.compile(r"\b[pt]\s*\[\s*k\s*\]")
LOGGED = ("loss", "seconds")  # in every history, beside the metrics
LINE = re.compile(r"\s*([^\W\d]\w*)\s*=(?!=)(.*)", re.DOTALL)
HIGH_IS_BETTER = ("accuracy", "acc", "precision", "recall", "f1", "fbeta", "auc", "auroc", "auprc", "r2", "hits")
# A kind of targets, and the rows to name where another one was asked for.
SUGGESTED = {
    "one_hot": ("accuracy", "precision", "recall", "auc"),
    "zero_one": ("accuracy", "precision", "recall", "auc"),
    "shares": ("accuracy", "mean_squared_error"),
    "numbers": ("mean_squared_error", "mean_absolute_error", "r2"),
}


@dataclass(frozen=True)
class Measure:
    """A metric as a network computes it.

    `sums` are formulas of one sample, watched inside the compiled step. `value` is an expression in their means, by
    their names; None stands for the one mean. `better` says whether larger or smaller values are better, None that
    nobody knows.
    """

    name: str
    sums: Mapping[str, Expr]
    value: Expr | None = None
    better: str | None = None

    def final(self, means: Mapping[str, float]) -> float:
        """The metric from the means over the samples; 0 for 0/0, as where nothing was predicted positive."""
        if self.value is None:
            return float(means[next(iter(self.sums))])
        scalars = {name: float(means[name]) for name in self.sums}
        found = float(evaluate(self.value, {}, scalars=scalars))
        return found if np.isfinite(found) or not np.isfinite(list(scalars.values())).all() else 0.0


class _Misfit(Exception):  # never leaves this file
    """A row does not fit an output."""


def measures(
    network: Network,
    asked: Asked,
    arrays: Mapping[str, Array],
    weighted: Asked = (),
    weight: Element | None = None,
) -> tuple[Measure, ...]:
    """What a network sums up for the metrics asked for; those of all predictions at once are left to `rankings`.

    `asked` are names of METRICS, Metric rows, formulas of one sample ("mean[k](abs(t[k] - p[k]) < 0.5)", with a name
    as "close = …"), or {output: names}, whose values are logged as output_name; None is the accuracy where targets are
    classes. `weighted` are averaged with the sample weights, Σ s·m / Σ s, where `weight` is s; a name that stands
    among `asked` too is logged as weighted_name.
    Raises: SettingError for an unknown name or one that does not fit; FormulaError for a formula that does not read.
    """
    if asked is None:
        default = _default(network.system, arrays)
        found = [] if default is None else [default]
    else:
        found = [m for name, one, fit in _each(network.system, asked, arrays) if (m := _measure(name, one, fit))]
    taken = {m.name for m in found}
    for name, one, fit in _each(network.system, weighted, arrays):
        measure = _measure(f"weighted_{name}" if name in taken else name, one, fit)
        if measure is not None:
            found.append(measure if weight is None else _weighted(measure, weight))
    if clash := [m.name for m in found if m.name in LOGGED]:
        raise SettingError(say("metrics.taken", name=clash[0]))
    return _named_apart(network.system, found)


def rankings(network: Network, asked: Asked, arrays: Mapping[str, Array], weighted: Asked = ()) -> tuple[Ranking, ...]:
    """Those metrics asked for that need all predictions at once. Raises: SettingError for one that does not fit."""
    plain = list(_rankings(network.system, asked or (), arrays, weighted=False))
    taken = {r.name for r in plain}
    for ranking in _rankings(network.system, weighted or (), arrays, weighted=True):
        plain.append(replace(ranking, name=f"weighted_{ranking.name}") if ranking.name in taken else ranking)
    return tuple(plain)


def direction(name: str) -> str | None:
    """Whether larger ("max") or smaller ("min") values of a logged quantity are better; None where nobody knows.

    Example:
    >>> direction("val_accuracy"), direction("loss"), direction("val_head_mae")
    ('max', 'min', 'min')
    """
    stem = name.removeprefix("val_").removeprefix("weighted_")
    if stem == "loss" or stem.endswith("_loss"):
        return "min"
    words = stem.lower().split("_")
    for start in range(len(words)):  # head_mae: the output's name stands in front
        known = _row_named("_".join(words[start:]))
        if known is not None:
            return known
    return "max" if set(words) & set(HIGH_IS_BETTER) else None


def _row_named(name: str) -> str | None:
    ranking = find_ranking(name)
    if ranking is not None:
        return ranking.better
    try:
        return find(METRICS, name).better
    except SettingError:
        return None


# --- which output, which target ---------------------------------------------------------------------------------------


def _each(system: System, asked: Asked, arrays: Mapping[str, Array]) -> Iterable[tuple[str, One, Fit]]:
    """(name in the logs, what is asked for, the output that it is about)."""
    if isinstance(asked, str | Metric | RankingKind):
        asked = (asked,)
    if not isinstance(asked, Mapping):
        if not isinstance(asked, Iterable):
            raise SettingError(say("metrics.no_metric", came=type(asked).__name__))
        if asked:
            fit = _fit(system, _output(system, None), arrays)
            yield from ((_log_name(one), one, fit) for one in asked)
        return
    for output, some in asked.items():
        fit = _fit(system, _output(system, output), arrays)
        for one in (some,) if isinstance(some, str | Metric | RankingKind) else some or ():
            yield f"{output}_{_log_name(one)}", one, fit


def _log_name(one: One) -> str:
    """As Keras: the name as it was asked for. Of a formula "close = …" its left side."""
    if isinstance(one, Metric | RankingKind):
        return one.name
    if not isinstance(one, str):
        raise SettingError(say("metrics.no_metric", came=type(one).__name__))
    line = LINE.match(one) if _is_formula(one) else None
    return line[1] if line else one.strip()


def _is_formula(text: str) -> bool:
    return any(sign in text for sign in "[(=*/+<>")


def _output(system: System, name: str | None) -> Tensor:
    computed = [t.name for t in system.of_role("computed") if system.is_sampled(t.name) and t.name != system.loss]
    if name is None:
        name = system.output
    if name is None or name not in computed:
        raise SettingError(say("metrics.no_output", name=name or "–", known=", ".join(computed) or "–"))
    return system.tensors[name]


def _fit(system: System, output: Tensor, arrays: Mapping[str, Array]) -> Fit:
    """Raises: SettingError where nothing says what the output is to be."""
    found = target_of(system, output)
    if found is None:
        raise SettingError(say("metrics.no_target", output=output.name))
    return Fit(system, output, found, "one_hot" if found.role == "label" else target_kind(arrays.get(found.name)))


# --- from a row to formulas of this network ---------------------------------------------------------------------------


def _default(system: System, arrays: Mapping[str, Array]) -> Measure | None:
    """The accuracy, where there is one output and its targets are classes."""
    if system.output is None or not system.is_sampled(system.output):
        return None
    target = target_of(system, system.tensors[system.output])
    if target is None:
        return None
    fit = _fit(system, system.tensors[system.output], arrays)
    if not (fit.classes or fit.kind == "zero_one") or fit.kind == "shares":
        return None
    return _measure("accuracy", "accuracy", fit)


def _measure(name: str, one: One, fit: Fit) -> Measure | None:
    if isinstance(one, RankingKind):
        return None
    if isinstance(one, str):
        if find_ranking(one) is not None:
            return None
        if _is_formula(one):
            return _from_formula(name, one, fit)
        row = _row(one)
    else:
        row = one
    try:
        return _from_row(name, _suited(row, fit), fit)
    except _Misfit:
        raise SettingError(_does_not_fit(name, fit)) from None


def _row(name: str) -> Metric:
    """Raises: SettingError with the names that there are."""
    try:
        return find(METRICS, name)
    except SettingError as error:
        raise SettingError(say("metrics.unknown", reason=error, others=", ".join(RANKINGS))) from None


def _suited(row: Metric, fit: Fit) -> Metric:
    """Keras's rule: "accuracy" is that of classes, or of 0 and 1, as the targets are."""
    if row.name in ("accuracy", "label_accuracy") and fit.kind == "zero_one":
        return METRICS["binary_accuracy"]
    return row


def _from_row(name: str, row: Metric, fit: Fit) -> Measure:
    """Raises: _Misfit."""
    by_class = "= 1" in row.target or "label" in row.target
    if fit.kind == "numbers" and (by_class or "threshold" in row.defaults):
        raise _Misfit
    # Where the targets are shares of the classes, a hit is one of the class with the largest share, as in Keras.
    largest = by_class and row.better == "max" and fit.kind == "shares"
    return _with_values(name, row, _Adapter(fit, by_class=by_class, largest=largest), row.better)


@cache
def _read(text: str) -> Expr:
    """A line of a row: short trainings would spend as long on reading it as on themselves."""
    return parse_expression(text, ROW_TENSORS, vocabulary())


def _with_values(name: str, row: Metric, adapt: _Adapter, better: str | None) -> Measure:
    defaults: dict[str, Expr] = {n: number(str(v)) for n, v in row.defaults.items()}
    lines: dict[str, Expr] = {}
    for text in row.formula.strip().splitlines():
        line = LINE.match(text)
        read = _read(line[2] if line else text)
        lines[line[1] if line else name] = replace_symbols(read, {**defaults, **lines})
    value = None
    if row.value:
        value = replace_symbols(_read(row.value), defaults)
        lines = {n: e for n, e in lines.items() if n in symbols(value)}
    return Measure(name, {n: adapt(e) for n, e in lines.items()}, value, better)


class _Adapter:
    """An expression in p[k], t[k] and y in the tensors and indices of a network; the sums over k go over all of its."""

    def __init__(self, fit: Fit, *, by_class: bool, largest: bool = False):
        self.fit, self.samples, self.largest = fit, fit.system.samples, largest
        # Classes lie along the last index; over others, such as places in a text, their metrics are averaged.
        self.k = fit.own[-1:] if by_class else fit.own
        self.places = fit.own[: len(fit.own) - len(self.k)]
        if by_class and not self.k:
            raise _Misfit
        self.copies = {"k": 0}

    def __call__(self, expr: Expr) -> Expr:
        adapted = self.node(expr)
        if free_indices(adapted) - {self.samples, *self.places}:
            raise _Misfit
        if self.places:
            counts = [power(Size(i), MINUS_ONE) for i in self.places]
            adapted = mul(*counts, sum_over(self.places, adapted))
        return adapted

    def node(self, expr: Expr) -> Expr:
        match expr:
            case Element("p", slots):
                return Element(self.fit.output.name, self.slots(slots))
            case Element("t", slots):
                return self.hit(slots)
            case Element("y", _):
                if self.fit.target.role != "label":
                    raise _Misfit
                return Element(self.fit.target.name, (self.samples,))
            case Compare("==", Position(index), Element("y", _)) | Compare("==", Element("y", _), Position(index)):
                return self.hit(("n", index))
            case Reduction("sum", indices, body):
                return sum_over(self.all(indices), self.node(body))
            case Reduction(kind, indices, body):
                bound, inner = self.all(indices), self.node(body)
                return Reduction(kind, bound, inner) if bound else inner
            case Normalized(kind, index, body):
                if not self.k:
                    return ONE if kind == "softmax" else ZERO
                return Normalized(kind, self.one(index), self.node(body))
            case Size(index):
                return mul(*(Size(i) for i in self.names(index)))
            case Position(index):
                return Position(self.one(index)) if self.k else ZERO
            case Delta(str(left), str(right)):
                return mul(*(delta(a, b) for a, b in zip(self.names(left), self.names(right), strict=True)))
            case Delta():
                raise _Misfit
        return rebuild(expr, tuple(self.node(c) for c in children(expr)))

    def hit(self, slots: Sequence[Slot]) -> Expr:
        """t at these slots, from a target or a label."""
        target = self.fit.target
        if target.role == "target":
            found = Element(target.name, self.slots(slots))
            if not self.largest:
                return found
            there = Element(target.name, self.slots(("n", "of all")))
            return compare("==", found, Reduction("max", self.names("of all"), there))
        label = Element(target.name, (self.samples,))
        at = slots[1]
        return compare("==", number(at) if isinstance(at, int) else Position(self.one(at)), label)

    def slots(self, slots: Sequence[Slot]) -> tuple[Slot, ...]:
        _, at = slots
        if isinstance(at, int):
            if len(self.k) > 1 or (at and not self.k):
                raise _Misfit
            return (self.samples, *self.places, *((at,) if self.k else ()))
        return (self.samples, *self.places, *self.names(at))

    def names(self, index: str) -> tuple[str, ...]:
        """What stands for k, and with primes for l and any other index beside it."""
        primes = "'" * self.copies.setdefault(index, len(self.copies))
        return tuple(i + primes for i in self.k)

    def all(self, indices: Sequence[str]) -> tuple[str, ...]:
        return tuple(chain.from_iterable(self.names(i) for i in indices))

    def one(self, index: str) -> str:
        names = self.names(index)
        if len(names) != 1:
            raise _Misfit
        return names[0]


def _from_formula(name: str, text: str, fit: Fit) -> Measure:
    """A formula in the network's own names, or in p, t and k as the rows of METRICS.

    Raises: FormulaError where it reads in neither; SettingError where it is not one number a sample.
    """
    system = fit.system
    line = LINE.match(text)
    right = line[2] if line else text
    known = {i for tensor in system.tensors.values() for i in tensor.indices}
    try:
        expr = parse_expression(right, system.tensors, vocabulary(), system.samples)
        strange = sorted({base_index(i) for i in index_names(expr)} - known)
        if not strange:
            return Measure(name, {name: _of_a_sample(name, expr, system)})
    except FormulaError:
        if not ROW_NAMES.search(right):
            raise
        strange = []
    try:
        return _with_values(name, Metric(name, right, source=""), _Adapter(fit, by_class=False), None)
    except (_Misfit, FormulaError) as error:
        if isinstance(error, FormulaError) and not strange:
            raise
        raise SettingError(say("metrics.strange_index", name=name, index=", ".join(strange) or "k")) from None


def _of_a_sample(name: str, expr: Expr, system: System) -> Expr:
    """Raises: SettingError where it is not one number a sample."""
    if left := sorted(free_indices(expr) - {system.samples}):
        raise SettingError(say("metrics.free_index", name=name, index=", ".join(left)))
    if unknown := [s for s in symbols(expr) if s not in system.hyper]:
        raise SettingError(say("metrics.free_symbol", name=name, symbol=unknown[0]))
    return expr


def _does_not_fit(name: str, fit: Fit) -> str:
    fitting = [row for row in SUGGESTED[fit.kind] if row in METRICS or row in RANKINGS]
    key = {"numbers": "numbers", "zero_one": "zero_one"}.get(fit.kind, "classes")
    kind = say(f"metrics.kind_{key}")
    return say("metrics.does_not_fit", name=name, target=fit.target.name, kind=kind, fitting=", ".join(fitting))


def _weighted(measure: Measure, weight: Element) -> Measure:
    """Σ s·m / Σ s: each mean of a sample times its weight, over the mean of the weights."""
    total = fresh_name("weights", measure.sums)
    sums = {n: mul(weight, e) for n, e in measure.sums.items()} | {total: weight}
    means: dict[str, Expr] = {n: divide(Symbol(n), Symbol(total)) for n in measure.sums}
    value = Symbol(next(iter(measure.sums))) if measure.value is None else measure.value
    return replace(measure, sums=sums, value=replace_symbols(value, means))


def _named_apart(system: System, found: Sequence[Measure]) -> tuple[Measure, ...]:
    """The sums under names that are neither the network's nor another metric's."""
    taken = {*system.tensors, *RESERVED}
    result = []
    for measure in found:
        names: dict[str, str] = {}
        for own in measure.sums:
            wanted = measure.name if own == measure.name or measure.value is None else f"{measure.name}_{own}"
            wanted = re.sub(r"\W+", "_", wanted).strip("_") or "metric"
            names[own] = fresh_name(f"m_{wanted}" if wanted[0].isdigit() else wanted, taken)
            taken.add(names[own])
        value = measure.value
        if value is not None:
            value = replace_symbols(value, {old: Symbol(new) for old, new in names.items()})
        result.append(replace(measure, sums={names[n]: e for n, e in measure.sums.items()}, value=value))
    return tuple(result)


def _rankings(system: System, asked: Asked, arrays: Mapping[str, Array], *, weighted: bool) -> Iterable[Ranking]:
    for name, one, fit in _each(system, asked, arrays):
        kind = find_ranking(one) if isinstance(one, str) else one if isinstance(one, RankingKind) else None
        if kind is None:
            continue
        loose = fit.kind in ("numbers", "shares") and not kind.numbers
        if loose or (kind.one_class and fit.kind == "zero_one" and fit.own):
            raise SettingError(_does_not_fit(name, fit))
        yield Ranking(name, kind, fit.output.name, fit.target.name, weighted)
