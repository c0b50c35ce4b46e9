"""The constructors tidy without changing the value; `same` forgets order and the names of bound indices, no more."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chainrule.formula.evaluate import evaluate
from chainrule.formula.expr import (
    HALF,
    MINUS_ONE,
    ONE,
    TWO,
    ZERO,
    Add,
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Position,
    Power,
    Reduction,
    Size,
    Symbol,
    Where,
    add,
    base_index,
    children,
    compare,
    count_nodes,
    delta,
    divide,
    elements,
    free_indices,
    fresh_index,
    fresh_name,
    index_names,
    mul,
    negative,
    number,
    power,
    rebuild,
    replace_symbols,
    same,
    square_root,
    substitute,
    subtract,
    sum_over,
    symbols,
    tensors,
    transform,
    walk,
    where,
)
from chainrule.formula.parse import parse_expression
from tests.strategies import VOCABULARY, expressions

A, B, C = Symbol("a"), Symbol("b"), Symbol("c")
X, Y = Element("x", ("i",)), Element("y", ("j",))
SIZES = {"n": 2, "i": 2, "i2": 2, "j": 3, "j2": 3, "k": 1, "k2": 1}
SCALARS = {"alpha": 0.3, "beta": -1.7}


def read(text: str) -> Expr:
    return parse_expression(text)


@st.composite
def trees(draw, free: tuple[str, ...] = ("i", "j")) -> Expr:
    text, known = draw(expressions(free, depth=2))
    return parse_expression(text, known, VOCABULARY)


def value(expr: Expr, axes: tuple[str, ...] = ("n", "i", "j")) -> np.ndarray:
    rng = np.random.default_rng(11)
    shapes = {"x": "ni", "u": "n", "t": "nk", "W": "ij", "A": "jj", "B": "ijk", "b": "j", "c": "", "V": "kj"}
    arrays = {name: rng.normal(size=tuple(SIZES[i] for i in own)) for name, own in shapes.items()}
    return evaluate(expr, arrays, axes, sizes=SIZES, scalars=SCALARS)


def assert_equal_values(left: Expr, right: Expr, axes: tuple[str, ...] = ("n", "i", "j")) -> None:
    np.testing.assert_allclose(value(left, axes), value(right, axes), rtol=1e-10, atol=1e-10)


# --- tidying keeps the value ---


@given(trees(), trees(), trees())
@settings(max_examples=80)
def test_sums_and_products_keep_the_value(u, v, w):
    assert_equal_values(add(u, v, w, negative(v)), Add((u, w)))
    assert_equal_values(add(mul(TWO, u), u), Mul((number(3), u)))
    assert_equal_values(mul(u, v, w), Mul((u, Mul((v, w)))))
    assert_equal_values(mul(u, u, v), Mul((Power(u, TWO), v)))
    assert_equal_values(subtract(u, v), Add((u, Mul((MINUS_ONE, v)))))
    assert_equal_values(where(compare(">", u, v), u, v), Where(Compare(">", u, v), u, v))


@given(trees(), st.integers(-3, 3), st.integers(0, 3))
@settings(max_examples=60)
def test_powers_keep_the_value(u, m, n):
    safe = add(number(2), Mul((u, Power(add(ONE, power(u, TWO)), MINUS_ONE))))  # between 1.5 and 2.5
    assert_equal_values(power(power(safe, number(m)), number(n)), Power(safe, number(m * n)) if m * n else ONE)
    assert_equal_values(power(mul(safe, u), number(n)), Power(Mul((safe, u)), number(n)) if n else ONE)
    assert_equal_values(divide(u, safe), Mul((u, Power(safe, MINUS_ONE))))


@given(trees(("i", "j", "j2")), trees())
@settings(max_examples=80)
def test_a_sum_keeps_the_value(u, v):
    """What does not depend on the index moves out; a sum in a sum is one sum."""
    assert_equal_values(sum_over(["j2"], mul(u, v)), Reduction("sum", ("j2",), Mul((u, v))))
    assert_equal_values(sum_over(["j2"], add(u, v)), Reduction("sum", ("j2",), Add((u, v))))
    assert_equal_values(sum_over(["i2"], sum_over(["j2"], u)), Reduction("sum", ("i2", "j2"), u))


@given(trees(("i", "j", "j2")))
@settings(max_examples=80)
def test_a_delta_uses_up_its_sum(u):
    """Σ_j2 δ_j,j2 u_j2 = u_j, also where u binds a j of its own. (A softmax gets an equation of its own before.)"""
    assume(not any(isinstance(node, Normalized) for node in walk(u)))
    summed = sum_over(["j2"], mul(delta("j2", "j"), u))
    assert_equal_values(summed, Reduction("sum", ("j2",), Mul((Delta("j2", "j"), u))))
    fixed = sum_over(["j2"], mul(Delta("j2", 1), u))
    assert_equal_values(fixed, Reduction("sum", ("j2",), Mul((Delta("j2", 1), u))))


@given(trees(("i", "j")))
@settings(max_examples=80)
def test_rebuilding_keeps_the_value(u):
    again = transform(u, lambda node: node)
    assert again == u
    assert_equal_values(rebuild(u, children(u)) if children(u) else u, u)
    assert count_nodes(u) == len(list(walk(u)))


@given(trees(("i", "j")))
@settings(max_examples=80)
def test_same_forgets_order_only(u):
    def reversed_(node: Expr) -> Expr:
        if isinstance(node, Add | Mul):
            return type(node)(tuple(reversed(children(node))))
        if isinstance(node, Reduction):
            return Reduction(node.kind, tuple(reversed(node.indices)), node.body)
        return node

    turned = _mapped(u, reversed_)
    assert same(u, turned)
    assert not same(u, add(u, ONE))
    assert not same(u, mul(u, Symbol("alpha"))) or u == ZERO


def _mapped(expr: Expr, change):
    """transform without the constructors, which would put the order right again."""
    parts = [_mapped(c, change) for c in children(expr)]
    match expr:
        case Add() | Mul():
            return change(type(expr)(tuple(parts)))
        case Reduction(kind, indices, _):
            return change(Reduction(kind, indices, parts[0]))
        case Power() | Where():
            return type(expr)(*parts)
    return expr


# --- sameness ---


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("a + b", "b + a"),
        ("a*b/c", "b/c*a"),
        ("sum[i](x[i])", "sum[j](x[j])"),
        ("sum[i, j](A[i, j])", "sum[k, i](A[k, i])"),
        ("sum[i, j](A[i, j]*B[j, i])", "sum[i, j](A[j, i]*B[i, j])"),
        ("sum[i](x[i]*sum[j](A[i, j]))", "sum[j](x[j]*sum[i](A[j, i]))"),
        ("[a > b]", "[b < a]"),
        ("[k == l]*A[k, l]", "[l == k]*A[k, l]"),
    ],
)
def test_the_same(left, right):
    assert same(read(left), read(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("x[i]", "x[j]"),
        ("A[i, j]", "A[j, i]"),
        ("sum[i](A[i, j])", "sum[i](A[j, i])"),
        ("sum[i](x[i]*y[j])", "sum[i](x[i]*y[i])"),
        ("a - b", "b - a"),
        ("a**b", "b**a"),
        ("[a > b]", "[a >= b]"),
        ("softmax[i](A[i, j])", "softmax[j](A[i, j])"),
        ("max[i](x[i])", "min[i](x[i])"),
        ("where(a > 0, b, c)", "where(a > 0, c, b)"),
        ("x[0]", "x[1]"),
    ],
)
def test_not_the_same(left, right):
    assert not same(read(left), read(right))


# --- single facts ---


def test_folding():
    assert add() == ZERO
    assert mul() == ONE
    assert add(A, negative(A)) == ZERO
    assert mul(ZERO, A) == ZERO
    assert add(number("1/3"), number("1/6")) == HALF
    assert add(A, add(B, C)) == Add((A, B, C))
    assert mul(A, power(A, MINUS_ONE)) == ONE
    assert mul(A, power(A, TWO)) == Power(A, number(3))
    assert power(A, ZERO) == ONE
    assert power(ONE, A) == ONE
    assert power(number(2), number(10)) == number(1024)
    assert power(number(9), power(number(9), number(9))).exponent.value == 9**9, (
        "left as it is: it has 370 million digits"
    )
    assert power(square_root(A), TWO) == A
    assert power(power(A, TWO), HALF) == Power(Power(A, TWO), HALF), "|a|, not a"
    assert power(compare(">", A, B), number(3)) == compare(">", A, B)
    assert compare("<=", ONE, TWO) == ONE
    assert delta("i", "i") == ONE
    assert (delta(0, 1), delta(1, 1)) == (ZERO, ONE)
    assert where(ONE, A, B) == A
    assert where(C, A, A) == A
    assert sum_over([], A) == A


def test_a_mask_draws_the_product_inside():
    """so that what it masks may be infinite: 0 where u is 0, whatever log u is"""
    masked = where(compare("==", A, ZERO), ZERO, read("log(a)"))
    assert same(mul(A, masked), Where(Compare("==", A, ZERO), ZERO, mul(A, read("log(a)"))))


def test_a_sum_without_its_index_is_a_product():
    assert same(sum_over(["j"], X), Mul((Size("j"), X)))
    assert same(sum_over(["j"], add(X, Y)), add(mul(Size("j"), X), Reduction("sum", ("j",), Y)))


def test_replacing_an_index_captures_nothing():
    summed = read("sum[j](A[i, j]*x[j])")
    moved = substitute(summed, {"i": "j"})
    assert free_indices(moved) == {"j"}
    assert same(moved, read("sum[k](A[j, k]*x[k])"))
    assert substitute(summed, {"j": "k"}) == summed, "j is bound"
    assert substitute(read("A[i, j]"), {"i": "j", "j": "i"}) == read("A[j, i]")
    assert substitute(Position("k"), {"k": 3}) == number(3)
    assert substitute(read("softmax[k](z[k, l])"), {"l": 0}) == read("softmax[k](z[k, 0])")


def test_replacing_symbols_happens_at_once():
    assert replace_symbols(read("a - 2*b"), {"a": B, "b": A}) == read("b - 2*a")
    assert replace_symbols(read("a + b"), {"a": negative(B)}) == ZERO


def test_looking():
    expr = read("sum[i](x[i]*W[i, j]) + sum[i](x[i])*a*size(l)")
    assert free_indices(expr) == {"j"}
    assert index_names(expr) == {"i", "j", "l"}
    assert tensors(expr) == ["x", "W"]
    assert len(elements(expr)) == 3
    assert symbols(expr) == ["a"]


def test_fresh_names():
    assert fresh_index("k", ["k", "k'"]) == "k''"
    assert base_index("k''") == "k"
    assert fresh_name("a", ["a", "a_2"]) == "a_3"
    assert fresh_name("b", ["a"]) == "b"


def test_numbers_are_exact():
    assert number("0.9") == Number(Fraction(9, 10))
    assert add(*[number("0.1")] * 10) == ONE
