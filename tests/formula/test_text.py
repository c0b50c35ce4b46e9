"""parse ∘ print is the identity, and what is printed is what a person would write."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule.formula.expr import Delta, Element, Mul, Number, Power, Reduction, Size
from chainrule.formula.parse import parse_expression, parse_system
from chainrule.formula.text import (
    Printer,
    equation_text,
    fact_text,
    initial_text,
    number_text,
    system_text,
    update_text,
)
from tests.strategies import VOCABULARY, Drawn, expressions, systems


@given(systems())
@settings(max_examples=150)
def test_a_system_reads_as_it_prints(drawn: Drawn):
    text = system_text(drawn.system)
    again = parse_system(text, VOCABULARY)
    assert again == drawn.system
    assert system_text(again) == text


@given(expressions(("i", "j"), depth=4))
@settings(max_examples=300)
def test_an_expression_reads_as_it_prints(drawn):
    text, tensors = drawn
    expr = parse_expression(text, tensors, VOCABULARY)
    assert parse_expression(Printer().text(expr), tensors, VOCABULARY) == expr


SCALARS = st.recursive(
    st.sampled_from(
        ["a", "b", "c", "2", "0.5", "1/3", "1e-7", "12345678901234567", "0.1234567890123456", "pi", "step"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        inner.map(lambda u: f"-({u})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]})**({t[1]})"),
        inner.map(lambda u: f"sqrt({u})"),
        st.tuples(inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner).map(lambda t: f"[{' '.join(t)}]"),
        st.tuples(inner, inner, inner).map(lambda t: f"where({t[0]} > 0, {t[1]}, {t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
    ),
    max_leaves=12,
)


@given(SCALARS)
@settings(max_examples=400)
@example("a/(b/c)")
@example("(a*b)**0.5*c**-1.5")
@example("-(-(a))**2 - -a")
@example("1/(2*a**3)")
@example("2**0.5*(a - b)/(c*a)")
def test_arithmetic_reads_as_it_prints(text):
    try:
        expr = parse_expression(text)
    except ValueError as error:  # a division by zero, a number too large, an exponent too large
        assert "line 1" in str(error)
        return
    assert parse_expression(Printer().text(expr)) == expr


WHOLE = """samples m
size k = 10
input x[i], 0 <= x[i], x[i] <= 1
target t[k], sum[k](t[k]) = 1
input s
label y in c
parameter W[i, k] = uniform(-0.5, 0.5)
parameter b[k] = [0.0, 1.5]
parameter c0 = -3.0
parameter d
state v[k] = zeros
eta = 0.01
large = 12345678901234567890123
loss C
output p
z[k] = sum[i](x[i]*W[i, k]) + b[k]
p[k] = softmax[k](z[k])
r[m] = 2*d
C = -sum[k](t[k]*log(p[k])) + mean[i](x[i]**2) + s*r*[y == 1]*c0
v[k] <- 0.9*v[k] + W[0, k]
W[i, k] <- W[i, k] - eta*v[k]
"""


def test_every_kind_of_line():
    system = parse_system(WHOLE, VOCABULARY)
    assert parse_system(system_text(system), VOCABULARY) == system
    assert system_text(system) == WHOLE.replace("    ", "")


def test_a_sample_axis_that_nothing_on_the_right_tells_of_is_written():
    """Else the equation would be read again as one of the parameters alone."""
    system = parse_system("input x[i]\nparameter b[i]\nh[n, i] = 2*b[i]\ny = sum[i](h[i]*x[i])")
    assert equation_text(system.equations[0]) == "h[n, i] = 2*b[i]"
    assert equation_text(system.equations[1]) == "y = sum[i](h[i]*x[i])"


def test_facts_keep_their_order():
    for text in (
        "input x[i], x[i] >= 0\ntarget t[k], sum[k](t[k]) = 1\n",
        "input x[i]\ntarget t[k], sum[k](t[k]) = 1, x[i] >= 0\n",
        "input x[i], 0 = 0, x[i] <= 1\n",
    ):
        system = parse_system(text)
        assert system_text(system) == text
        assert parse_system(system_text(system)) == system
    assert fact_text(parse_system("input x, x == 1").facts[0]) == "x = 1"


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ("x[i]*w[i]", None),
        ("a*(b + c)", None),
        ("a - (b - c)", None),
        ("a/(b*c)", "a/b/c"),
        ("a**-2", "1/a**2"),
        ("2*a/3", "2/3*a"),
        ("-(a + b)", None),
        ("a - 2*b", None),
        ("a + -2*b", "a - 2*b"),
        ("a*b**-1*c", "a*c/b"),
        ("b/size(i)*sum[i](x[i])", "b*mean[i](x[i])"),
        ("mean[i](x[i])*b/c", None),
        ("sum[i](x[i])/size(i)**2", None),
        ("(a + b)**2", None),
        ("(a**b)**c", None),
        ("2**(-a)", None),
        ("sqrt(a)/sqrt(b)", None),
        ("a**1.5", "a**(3/2)"),
        ("1/(1 + exp(-a))", None),
        ("where(a > 0, b, c)", "where([a > 0], b, c)"),
        ("[k == l]*A[k, l]", None),
        ("softmax[k](a[k])", None),
        ("Σ[i, j](A[i, j])", "sum[i, j](A[i, j])"),
        ("0.000001", "1e-06"),
        ("1e299/10", "1e+298"),
        ("1/7", None),
        ("100/7", "100/7"),
        ("0.1", None),
        ("12345678901234567890", "12345678901234567890/1"),
    ],
)
def test_what_is_printed(typed, printed):
    assert Printer().text(parse_expression(typed)) == (printed or typed)


def test_what_only_the_algebra_makes():
    assert Printer().text(Delta("k", "k'")) == "[k == k_2]"
    assert Printer().text(Element("W", ("i''", 0))) == "W[i_3, 0]"
    assert Printer().text(Element("x", ("n", "i"))) == "x[i]"
    assert Printer("m").text(Element("x", ("n", "i"))) == "x[n, i]"
    mean = Mul((Power(Size("k"), Number(Fraction(-1))), Reduction("sum", ("k'",), Element("x", ("k'",)))))
    assert Printer().text(mean) == "mean[k_2](x[k_2])"


def test_numbers_keep_their_value():
    for value in (
        Fraction(1, 3),
        Fraction(2, 7),
        Fraction(1, 1000),
        Fraction(123456789, 1000),
        Fraction(-5, 4),
        Fraction(10**20),
    ):
        assert Fraction(number_text(value)) == value


def test_parts():
    system = parse_system(
        "parameter w = uniform(-0.1, 0.1)\nparameter v[i, j] = [[1, 0], [0, 0.5]]\nw <- w/2", VOCABULARY
    )
    assert update_text(system.updates[0]) == "w <- 1/2*w"
    assert [initial_text(p.initial) for p in system.parameters] == ["uniform(-0.1, 0.1)", "[[1.0, 0.0], [0.0, 0.5]]"]
