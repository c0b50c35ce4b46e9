"""The derivative of one scalar formula from the ground up, at one point:

average rate of change   Δf/ε = (f(x + ε) - f(x))/ε
limit                    the same as ε shrinks, until rounding takes over
derivative               f′, derived by rules, with its steps
linear approximation     f(x + ε) ≈ f(x) + f′(x) ε, whose error shrinks as ε²
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.derivation.checked import aligned, wrapped
from chainrule.derivation.derive import Derivative, derive
from chainrule.derivation.kinks import sites_of
from chainrule.errors import NotDifferentiable, SettingError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Expr, elements, index_names, number, replace_symbols, same, symbols
from chainrule.formula.expressions import near
from chainrule.formula.parse import Vocabulary, parse_expression
from chainrule.formula.typeset import Unicode
from chainrule.messages import say

EPSILONS = tuple(10.0**-n for n in (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12))
LINEAR_EPSILONS = EPSILONS[:5]
AXIS = "at"  # of the points at which a formula is evaluated together
NEAR = 1e-9  # a kink that is nearer to the point, relative to its size, is at the point
SIDE_STEP = 1e-6  # of the slopes from both sides of a kink
SLOPES_DIFFER = 1e-4


@dataclass(frozen=True)
class Approach:
    """One ε: the value at x + ε, the average rate of change from x to it and its error against f′(x), the linear
    approximation there and its error.
    """

    epsilon: float
    value: float
    rate: float
    rate_error: float
    linear: float
    linear_error: float


@dataclass(frozen=True, repr=False)
class GroundUp:
    """f at a point, from its average rate of change to its linear approximation. `print` it, or ask.

    `text` is the formula as typed, `derived` its derivative with the steps; `value` f(x), `slope` f′(x).
    """

    text: str
    by: str
    at: float
    value: float
    slope: float
    derived: Derivative
    rows: tuple[Approach, ...]
    typed: Expr = field(repr=False)

    def f(self, x: object) -> Array:
        """f at one point or many."""
        return _values(self.typed, self.by, np.asarray(x, dtype=np.float64))

    def derivative(self, x: object) -> Array:
        """f′ at one point or many, by the derived formula."""
        return _values(self.derived.result, self.by, np.asarray(x, dtype=np.float64))

    def average_rate(self, start: float, end: float) -> float:
        """Δf/Δx from one point to another. Raises: SettingError where both are the same."""
        if start == end:
            raise SettingError(say("check.no_interval", start=f"{start:g}"))
        low, high = self.f([start, end])
        return float((high - low) / (end - start))

    def linear(self, x: object) -> Array:
        """The linear approximation f(at) + f′(at) (x - at)."""
        return np.asarray(self.value + self.slope * (np.asarray(x, dtype=np.float64) - self.at))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and texts, for JSON."""
        rows = [{name: _plain(getattr(row, name)) for name in row.__dataclass_fields__} for row in self.rows]
        result = str(self.derived)
        head = {"formula": self.text, "by": self.by, "at": self.at, "value": self.value}
        return {**head, "derivative": result, "slope": self.slope, "rows": rows}

    def __repr__(self) -> str:
        return str(self)  # what an interactive session shows

    def __str__(self) -> str:
        parts = [self._head(), "", *self._rate(), "", *self._limit(), "", *self._rules(), "", *self._linear()]
        return "\n".join(map(wrapped, parts))

    def _repr_html_(self) -> str:
        """For notebooks."""
        tables = "".join(
            f"<h4>{html.escape(title)}</h4>{_html_table(table)}"
            for title, table in (
                (say("check.ground_limit", by=self.by), self._limit_table()),
                (say("check.ground_linear", by=self.by), self._linear_table()),
            )
        )
        lines = [self._head(), *self._rate(), *self._rules()]
        return "<div>" + "".join(f"<p>{html.escape(line)}</p>" for line in lines) + tables + "</div>"

    # the four parts

    def _head(self) -> str:
        printer = Unicode()
        typed = printer.text(self.typed)
        stable = printer.text(self.derived.of)
        other = f" = {stable}" if stable != typed else ""
        return f"f({self.by}) = {typed}{other},   {self.by} = {self.at:g}"

    def _rate(self) -> list[str]:
        row = next((r for r in self.rows if math.isfinite(r.rate)), None)
        if row is None:
            return []
        end = self.at + row.epsilon
        rate = f"({row.value:.6g} − {self.value:.6g})/{row.epsilon:g} = {row.rate:.6g}"
        rise = f"Δf/Δ{self.by} = (f({end:g}) − f({self.at:g}))/({end:g} − {self.at:g}) = {rate}"
        return [f"1  {say('check.ground_rate', start=f'{self.at:g}', end=f'{end:g}')}", f"   {rise}"]

    def _limit(self) -> list[str]:
        title = f"2  {say('check.ground_limit', by=self.by)}"
        best = min(self.rows, key=lambda r: r.rate_error if math.isfinite(r.rate_error) else math.inf)
        note = (
            [f"   {say('check.ground_rounding', by=self.by, epsilon=f'{best.epsilon:.0e}')}"]
            if best is not self.rows[-1]
            else []
        )
        return [title, *(f"   {line}" for line in aligned(self._limit_table(), left=())), *note]

    def _limit_table(self) -> list[list[str]]:
        head = ["ε", f"f({self.by} + ε)", "Δf/ε", say("check.ground_error")]
        rows = [[_epsilon(r.epsilon), _shown(r.value), _shown(r.rate), _small(r.rate_error)] for r in self.rows]
        return [head, *rows]

    def _rules(self) -> list[str]:
        from chainrule.derivation.pages.explain import rule_name

        printer = Unicode()
        steps = self.derived.steps
        lines = [f"3  {say('check.ground_rules')}"]
        for step in steps:
            before, after = printer.text(step.before), printer.text(step.after)
            plain = step is steps[-1] and same(step.after, self.derived.result) and len(steps) > 1
            left = before if plain and same(steps[-2].after, step.before) else f"({before})′"
            line = f"   {left} = {after}   ({rule_name(step.rule)})"
            if line not in lines:  # x′ = 1 once
                lines.append(line)
        result = printer.text(self.derived.result)
        return [*lines, f"   f′({self.by}) = {result},   f′({self.at:g}) = {self.slope:.12g}"]

    def _linear(self) -> list[str]:
        lines = aligned(self._linear_table(), left=())
        end = f"   {say('check.ground_square')}"
        return [f"4  {say('check.ground_linear', by=self.by)}", *(f"   {line}" for line in lines), end]

    def _linear_table(self) -> list[list[str]]:
        head = ["ε", f"f({self.by} + ε)", f"f({self.by}) + f′({self.by}) ε", say("check.ground_error"), "/ ε²"]
        rows = [
            [_epsilon(r.epsilon), _shown(r.value), _shown(r.linear), _small(r.linear_error),
             _shown(r.linear_error / r.epsilon**2, 4)]
            for r in self.rows
            if r.epsilon in LINEAR_EPSILONS
        ]  # fmt: skip
        return [head, *rows]


def ground_up(
    text: str,
    at: float | str = 1.0,
    by: str | None = None,
    vocabulary: Vocabulary | None = None,
    values: Mapping[str, float] | None = None,
) -> GroundUp:
    """One scalar formula at a point, from the average rate of change to the linear approximation.

    `by` is the symbol, found where there is only one; `values` are those of the others.
    Raises: FormulaError where the text does not read; SettingError for a symbol or a point that will not do;
    NotDifferentiable at a kink, a jump or a point of infinite slope, and for a function without a derivative.
    Example:
    >>> square = ground_up("x**2", at=1.0)
    >>> square.average_rate(1, 2), square.slope
    (3.0, 2.0)
    """
    typed = parse_expression(text, vocabulary=vocabulary or Vocabulary())
    at = _number(at)
    if elements(typed) or index_names(typed):
        raise SettingError(say("check.not_scalar", text=text.strip()))
    by = _symbol(typed, text, by)
    fixed = {name: number(repr(_number(value))) for name, value in (values or {}).items() if name != by}
    unknown = [name for name in symbols(typed) if name != by and name not in fixed]
    if unknown:
        raise SettingError(say("check.needs_value", name=unknown[0], by=by))
    derived = derive(text, by, vocabulary)
    typed = replace_symbols(typed, fixed)
    result = replace_symbols(derived.result, fixed)
    value = float(_values(typed, by, np.asarray(at)))
    if not math.isfinite(value):
        raise SettingError(say("check.no_value", text=text.strip(), by=by, at=f"{at:g}"))
    _refuse_kink(typed, by, at, text.strip())
    slope = float(_values(result, by, np.asarray(at)))
    if not math.isfinite(slope):
        raise NotDifferentiable(say("check.slope_not_finite", text=text.strip(), by=by, at=f"{at:g}"))
    derived = Derivative(replace_symbols(derived.of, fixed), by, result, derived.steps)
    return GroundUp(text.strip(), by, at, value, slope, derived, _approaches(typed, by, at, value, slope), typed)


def _number(value: object) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]  # whatever float() reads
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise SettingError(say("check.not_a_point", came=value))
    return found


def _symbol(expr: Expr, text: str, by: str | None) -> str:
    found = symbols(expr)
    if by is not None and by not in found:
        known = ", ".join(found) or "–"
        raise SettingError(say("check.no_symbol", name=by, text=text.strip(), known=known, near=near(by, found)))
    if by is not None:
        return by
    if not found:
        raise SettingError(say("check.constant", text=text.strip()))
    if len(found) > 1:
        raise SettingError(say("check.which_symbol", text=text.strip(), known=", ".join(found), first=found[0]))
    return found[0]


def _values(expr: Expr, by: str, x: Array) -> Array:
    points = np.atleast_1d(x)
    there = replace_symbols(expr, {by: Element(by, (AXIS,))})
    found = evaluate(there, {by: points}, (AXIS,), sizes={AXIS: len(points)})
    return found.reshape(x.shape)


def _approaches(typed: Expr, by: str, at: float, value: float, slope: float) -> tuple[Approach, ...]:
    rows = []
    for epsilon, there in zip(EPSILONS, _values(typed, by, at + np.asarray(EPSILONS)), strict=True):
        rate, linear = (there - value) / epsilon, value + slope * epsilon
        errors = abs(rate - slope), abs(there - linear)
        rows.append(Approach(epsilon, float(there), float(rate), float(errors[0]), linear, float(errors[1])))
    return tuple(rows)


def _refuse_kink(typed: Expr, by: str, at: float, text: str) -> None:
    """Raises: NotDifferentiable where the formula jumps at the point or has another slope on each side."""
    there = replace_symbols(typed, {by: Element(by, (AXIS,))})
    close = NEAR * max(1.0, abs(at))
    around = np.asarray([at - close, at, at + close])
    codes = [s.codes({by: around}, {AXIS: 3}, {}) for s in sites_of(there, by)]
    if all(code.min() == code.max() for code in codes):
        return
    step = SIDE_STEP * max(1.0, abs(at))
    low, here, high = _values(typed, by, np.asarray([at - step, at, at + step]))
    nearest = _values(typed, by, around)
    where = {"text": text, "by": by, "at": f"{at:g}"}
    if max(abs(nearest[0] - nearest[1]), abs(nearest[2] - nearest[1])) > step * max(1.0, abs(here)):
        raise NotDifferentiable(say("check.jump_at", **where))
    left, right = (here - low) / step, (high - here) / step
    if abs(left - right) > SLOPES_DIFFER * max(1.0, abs(left), abs(right)):
        raise NotDifferentiable(say("check.kink_at", left=f"{round(left, 6):g}", right=f"{round(right, 6):g}", **where))


def _shown(value: float, digits: int = 10) -> str:
    return f"{value:.{digits}g}" if math.isfinite(value) else "–"


def _small(value: float) -> str:
    return "–" if not math.isfinite(value) else "0" if value == 0 else f"{value:.1e}"


def _epsilon(value: float) -> str:
    return f"{value:g}" if value >= 1e-4 else f"{value:.0e}"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for tag, row in (("th" if n == 0 else "td", row) for n, row in enumerate(rows))
    ]
    return f"<table>{''.join(lines)}</table>"
