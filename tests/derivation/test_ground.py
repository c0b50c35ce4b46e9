"""The derivative from the ground up: rate of change, limit, derivative, linear approximation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import sympy

import chainrule as cr
from chainrule.derivation.checked import width
from chainrule.errors import FormulaError, NotDifferentiable, SettingError


def test_the_square_from_1_to_2_has_average_rate_3():
    square = cr.derivative("x**2", at=1)
    assert square.average_rate(1, 2) == 3.0
    assert "from 1 to 2" in str(square)
    assert "(4 − 1)/1 = 3" in str(square)
    assert square.slope == 2.0


FORMULAS = ["a/(1 + exp(-a))", "x**3 - 2*x", "sin(x)*exp(-x**2)", "log(x)/x", "sqrt(1 + x**2)", "1/(1 + x)**2"]


@pytest.mark.parametrize("at", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("text", FORMULAS)
def test_value_slope_and_curvature_are_sympys(text, at):
    found = cr.derivative(text, at=at)
    symbol = sympy.Symbol(found.by)
    formula = sympy.sympify(text, locals={found.by: symbol})
    value, slope, bend = (float(formula.diff(symbol, n).subs(symbol, at)) for n in (0, 1, 2))
    assert found.value == pytest.approx(value, rel=1e-13)
    assert found.slope == pytest.approx(slope, rel=1e-12)
    # The linear approximation is wrong by f″ε²/2.
    row = next(r for r in found.rows if r.epsilon == 1e-3)
    assert row.linear_error == pytest.approx(abs(bend) / 2 * 1e-6, rel=0.02)
    assert row.rate == pytest.approx(slope + bend / 2 * 1e-3, rel=1e-4)


def test_the_limit_comes_closer_until_rounding_takes_over():
    rows = cr.derivative("exp(x)", at=1).rows
    errors = {r.epsilon: r.rate_error for r in rows}
    assert errors[1e-1] > errors[1e-3] > errors[1e-5] > errors[1e-7]
    assert errors[1e-12] > errors[1e-7]
    assert "rounding" in str(cr.derivative("exp(x)", at=1))


def test_a_straight_line_has_the_same_rate_everywhere():
    line = cr.derivative("3*x + 1", at=2)
    assert line.average_rate(-4, 10) == pytest.approx(3)
    assert line.linear(7.0) == pytest.approx(line.f(7.0))


def test_the_steps_name_their_rules():
    text = str(cr.derivative("x**2*exp(x)", at=1))
    assert "(product)" in text
    assert "(power)" in text
    assert "f′(1) = " in text


def test_the_librarys_activations_can_be_used():
    assert cr.derivative("swish(a)").slope == pytest.approx(cr.derivative("a/(1+exp(-a))").slope, rel=1e-14)


def test_other_symbols_get_values():
    found = cr.derivative("a/(1 + exp(-beta*a))", at=0.5, by="a", beta=2.0)
    direct = cr.derivative("a/(1 + exp(-2*a))", at=0.5)
    assert found.slope == pytest.approx(direct.slope, rel=1e-14)


def test_it_works_on_arrays():
    found = cr.derivative("sin(x)", at=0)
    x = np.linspace(-2, 2, 7)
    assert found.f(x) == pytest.approx(np.sin(x))
    assert found.derivative(x) == pytest.approx(np.cos(x))
    assert found.linear(x) == pytest.approx(x)


@pytest.mark.parametrize(
    ("text", "at", "error", "part"),
    [
        ("log(x)", -1, SettingError, "no finite value at x = -1"),
        ("1/x", 0, SettingError, "no finite value"),
        ("relu(x)", 0, NotDifferentiable, "0 from the left and 1 from the right"),
        ("abs(x - 1)", 1, NotDifferentiable, "-1 from the left and 1 from the right"),
        ("max(x, 0.3)", 0.3, NotDifferentiable, "kink at x = 0.3"),
        ("where(x > 0, 1, 0)", 0, NotDifferentiable, "jumps at x = 0"),
        ("step(x)", 1, NotDifferentiable, "step has no derivative"),
        ("sqrt(x)", 0, NotDifferentiable, "not finite at x = 0"),
        ("a*b", 1, SettingError, "several symbols"),
        ("3", 1, SettingError, "no symbol"),
        ("sum[i](x[i])", 1, SettingError, "indices"),
        ("x**", 1, FormulaError, "line 1"),
        ("x", "here", SettingError, "no point"),
        ("x", math.inf, SettingError, "no point"),
    ],
)
def test_what_cannot_be_done_gets_one_line(text, at, error, part):
    with pytest.raises(error, match=part):
        cr.derivative(text, at=at)


def test_a_symbol_that_is_not_there():
    with pytest.raises(SettingError, match="does not occur"):
        cr.derivative("x**2", by="y")
    with pytest.raises(SettingError, match="beta has no value"):
        cr.derivative("a*beta", by="a")


@pytest.mark.parametrize(("text", "slope"), [("abs(x)*x", 0.0), ("relu(x)**2", 0.0), ("where(x > 0, x**2, 0)", 0.0)])
def test_a_border_without_a_kink_is_differentiable(text, slope):
    assert cr.derivative(text, at=0).slope == slope


def test_a_kink_elsewhere_does_not_matter():
    assert cr.derivative("relu(x)", at=1e-3).slope == 1.0
    assert cr.derivative("abs(x)", at=-1e-3).slope == -1.0


def test_points_outside_the_domain_leave_gaps():
    found = cr.derivative("log(1 - x)", at=0.5)
    assert found.slope == pytest.approx(-2)
    assert "–" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_it_prints_on_80_columns(language):
    cr.set_language(language)
    try:
        lines = str(cr.derivative("a/(1+exp(-a))")).splitlines()
    finally:
        cr.set_language(None)
    assert max(width(line) for line in lines) <= 80


def test_a_notebook_gets_tables():
    page = cr.derivative("where(x < 5, x**2, x)", at=1)._repr_html_()
    assert page.count("<table>") == 2
    assert "&lt;" in page
    assert "x < 5" not in page
