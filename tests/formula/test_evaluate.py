"""The oracle of the other tests against loops and plain NumPy written here, in float64, float32 and complex128."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import ShapeError
from chainrule.formula.evaluate import evaluate, run_system
from chainrule.formula.expr import Delta, Element, Mul, Position, Reduction, Size, free_indices
from chainrule.formula.parse import parse_expression, parse_system
from chainrule.formula.system import Tensor
from tests.formula.loops import value_at
from tests.strategies import VOCABULARY, Drawn, expressions, systems

RNG = np.random.default_rng(7)
N, I, J, K = 4, 3, 5, 2
SIZES = {"n": N, "i": I, "j": J, "k": K, "l": K}
X, W, B, A = RNG.normal(size=(N, I)), RNG.normal(size=(I, J)), RNG.normal(size=J), RNG.normal(size=(J, J))
T3 = RNG.normal(size=(I, J, K))


def computed(text: str, axes: tuple[str, ...] = (), **arrays: np.ndarray) -> np.ndarray:
    return evaluate(parse_expression(text), arrays, axes, sizes=SIZES)


# --- against plain NumPy ---


@pytest.mark.parametrize(
    ("text", "axes", "expected"),
    [
        ("sum[i](x[n, i]*W[i, j]) + b[j]", "nj", X @ W + B),
        ("sum[i](x[n, i]*W[i, j]) + b[j]", "jn", (X @ W + B).T),
        ("sum[i, j](T[i, j, k]*W[i, j])", "k", np.einsum("ijk,ij->k", T3, W)),
        ("sum[i](W[i, j]*sum[k](T[i, j, k]))", "j", (W * T3.sum(2)).sum(0)),
        ("A[j, j]", "j", np.diag(A)),
        ("sum[j](A[j, j])", "", np.trace(A)),
        ("A[j, l]*A[l, j]", "jl", A * A.T),
        ("x[n, 0]*W[2, j]", "nj", np.outer(X[:, 0], W[2])),
        ("mean[n](x[n, i])", "i", X.mean(0)),
        ("max[i](x[n, i]) - min[i](x[n, i])", "n", np.ptp(X, axis=1)),
        ("max[n, i](x[n, i])", "", X.max()),
        ("logsumexp[i](x[n, i])", "n", np.log(np.exp(X).sum(1))),
        ("softmax[i](x[n, i])", "ni", np.exp(X) / np.exp(X).sum(1, keepdims=True)),
        ("log_softmax[i](x[n, i])", "ni", X - np.log(np.exp(X).sum(1, keepdims=True))),
        ("size(j)*b[0]", "", J * B[0]),
        ("where(x[n, i] > 0, x[n, i], 0.1*x[n, i])", "ni", np.where(X > 0, X, 0.1 * X)),
        ("[x[n, i] > 0]*2 - [x[n, i] <= 0]", "ni", np.where(X > 0, 2, -1)),
        ("x[n, i]**2/(1 + x[n, i]**2)", "ni", X**2 / (1 + X**2)),
        ("b[j]**3*b[j]**-2", "j", B),
        ("sqrt(b[j]**2)", "j", abs(B)),
        ("2**x[n, i]", "ni", 2**X),
        ("b[j]", "nj", np.broadcast_to(B, (N, J))),
        ("[j == 2]*b[j]", "j", B * (np.arange(J) == 2)),
        ("sum[k](k)", "", K * (K - 1) / 2),
        ("pi*b[j]", "j", math.pi * B),
    ],
)
def test_against_numpy(text, axes, expected):
    sizes = SIZES | ({"l": J} if "A[" in text else {})
    arrays = {"x": X, "W": W, "b": B, "A": A, "T": T3}
    found = evaluate(parse_expression(text), arrays, tuple(axes), sizes=sizes)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


def test_deltas_and_positions():
    np.testing.assert_array_equal(evaluate(Delta("k", "l"), {}, ("k", "l"), sizes=SIZES), np.eye(K))
    np.testing.assert_array_equal(evaluate(Delta("k", 1), {}, ("k",), sizes=SIZES), [0, 1])
    np.testing.assert_array_equal(evaluate(Delta("k", "k'"), {}, ("k", "k'"), sizes=SIZES), np.eye(K))
    np.testing.assert_array_equal(evaluate(Position("j"), {}, ("j",), sizes=SIZES), np.arange(J))
    assert evaluate(Reduction("sum", ("j", "k"), Mul((Size("i"),))), {}, sizes=SIZES) == I * J * K
    assert evaluate(Reduction("max", ("j'",), Element("b", ())), {"b": np.array(3.0)}, sizes=SIZES) == 3


def test_labels_select_their_class():
    y = np.array([1, 0, 1, 1])
    logits = RNG.normal(size=(N, K))
    found = evaluate(parse_expression("sum[k]([k == y[n]]*z[n, k])"), {"y": y, "z": logits}, ("n",), sizes=SIZES)
    np.testing.assert_array_equal(found, logits[np.arange(N), y])


# --- against loops ---


@given(expressions(("i", "j"), depth=3), st.integers(0, 2**32 - 1))
@settings(max_examples=150)
def test_random_expressions_against_loops(drawn, seed):
    text, tensors = drawn
    expr = parse_expression(text, tensors, VOCABULARY)
    sizes = {"n": 2, "i": 2, "i2": 2, "j": 3, "j2": 3, "k": 1, "k2": 1}
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=tuple(sizes[i] for i in t.indices)) for name, t in tensors.items()}
    scalars = {"alpha": 0.3, "beta": -1.7}
    found = evaluate(expr, arrays, ("n", "i", "j"), sizes=sizes, scalars=scalars)
    for position in itertools.product(range(2), range(2), range(3)):
        at = dict(zip(("n", "i", "j"), position, strict=True))
        expected = value_at(expr, at, arrays, sizes, scalars)
        np.testing.assert_allclose(found[position], expected, rtol=1e-9, atol=1e-9)


@given(systems(max_layers=2))
@settings(max_examples=40)
def test_random_systems_against_loops(drawn: Drawn):
    arrays = drawn.arrays(rows=2, seed=3)
    sizes = {**drawn.sizes, "n": 2}
    found = run_system(drawn.system, arrays, sizes, {"alpha": 0.7})
    for equation in drawn.system.equations:
        name, slots = equation.target.tensor, equation.target.slots
        for position in itertools.product(*(range(sizes[str(s)]) for s in slots)):
            at = dict(zip(map(str, slots), position, strict=True))
            # With the other quantities as found, so that one equation is tested at a time.
            expected = value_at(equation.value, at, found, sizes, {"alpha": 0.7})
            np.testing.assert_allclose(found[name][position], expected, rtol=1e-9, atol=1e-9)


# --- kinds of numbers ---


@given(systems(max_layers=2))
@settings(max_examples=60)
def test_float32_stays_float32(drawn: Drawn):
    arrays = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in drawn.arrays(rows=2, seed=5).items()}
    exact = run_system(drawn.system, drawn.arrays(rows=2, seed=5), {**drawn.sizes, "n": 2}, {"alpha": 0.7})
    found = run_system(drawn.system, arrays, {**drawn.sizes, "n": 2}, {"alpha": 0.7})
    for equation in drawn.system.equations:
        assert found[equation.target.tensor].dtype == np.float32
    assert exact["E" if "E" in exact else "L"].dtype == np.float64


@pytest.mark.parametrize(
    "text",
    [
        "sum[i](x[i])",
        "mean[i](x[i])",
        "x[0]*size(i)",
        "sum[i](i*x[i])",
        "sum[i](i**2)*b",
        "i*x[i]",
        "b**1.5 + 1/3",
        "alpha*x[0]",
        "[b > 0]",
        "[i == 1]",
        "where(b > 0, 1, 2)",
        "softmax[i](x[i])",
        "max[i](i)",
        "erf(b)",
        "floor(b)",
        "y",
        "y*x[0]",
        "sigmoid(y)",
        "exp(i)",
    ],
)
def test_float32_stays_float32_beside_whole_numbers(text):
    arrays = {"x": np.ones(3, np.float32), "b": np.array(0.5, np.float32), "y": np.array(2, np.int64)}
    indices = {"x": ("i",), "b": (), "y": ()}
    expr = parse_expression(text, {name: Tensor(name, "parameter", own) for name, own in indices.items()})
    axes = tuple(sorted(free_indices(expr)))
    assert evaluate(expr, arrays, axes, sizes={"i": 3}, scalars={"alpha": 0.25}).dtype == np.float32


@pytest.mark.parametrize("kind", ["sum", "max", "logsumexp"])
def test_an_index_that_does_not_occur_keeps_float32(kind):
    """No text says it, but the algebra does."""
    x = np.ones(3, np.float32)
    body = Mul((Element("x", ("i",)), Element("x", ("i",))))
    found = evaluate(Reduction(kind, ("i", "j"), body), {"x": x}, sizes={"i": 3, "j": 2})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, {"sum": 6, "max": 1, "logsumexp": 1 + np.log(6)}[kind], rtol=1e-6)


def test_bytes_do_not_overflow():
    pixels = np.array([[200, 100]], np.uint8)
    found = evaluate(parse_expression("sum[i](x[n, i]**2) + sum[i](x[n, i])*2"), {"x": pixels}, ("n",), sizes={"i": 2})
    assert found.tolist() == [200**2 + 100**2 + 600]


def test_large_class_numbers_are_told_apart_in_float32():
    """float32 has 24 bits: 16777217 would be 16777216."""
    y, w = np.array([16_777_217]), np.array(1.0, np.float32)
    expr = parse_expression("[y[n] == c[n]]*w", {**_tensors(y=("n",), c=("n",), w=())})
    assert evaluate(expr, {"y": y, "c": y - 1, "w": w}, ("n",)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_the_stable_functions_are_finite_far_out(dtype, scale):
    a = np.array([0, scale, scale / 2], dtype)
    for text in ("softmax[i](a[i])", "log_softmax[i](a[i])", "sigmoid(a[i])", "softplus(a[i])", "tanh(a[i])"):
        found = evaluate(parse_expression(text), {"a": a}, ("i",))
        assert np.all(np.isfinite(found)), text
        assert found.dtype == dtype
    assert evaluate(parse_expression("logsumexp[i](a[i])"), {"a": a}) == max(a)
    np.testing.assert_array_equal(evaluate(parse_expression("log_softmax[i](a[i])"), {"a": a}, ("i",)), a - max(a))


def test_logsumexp_of_nothing_is_minus_infinity():
    a = np.array([-np.inf, -np.inf])
    assert evaluate(parse_expression("logsumexp[i](a[i])"), {"a": a}) == -np.inf
    assert evaluate(parse_expression("logsumexp[i](a[i])"), {"a": np.array([np.inf, 1])}) == np.inf


@pytest.mark.parametrize(
    ("text", "derivative"),
    [
        ("a**3", "3*a**2"),
        ("a**2.5", "2.5*a**1.5"),
        ("2**a", "log(2)*2**a"),
        ("a**a", "a**a*(log(a) + 1)"),
        ("a**-2", "-2/a**3"),
        ("sqrt(a)", "0.5/sqrt(a)"),
        ("3**(a - 1.2)", "3**(a - 1.2)*log(3)"),
        ("2**(a - 0.7)", "log(2)*2**(a - 0.7)"),
        ("max(a, 1)*min(a, 2)", "2*a"),
        ("where(a > 1, a**2, 0)", "2*a"),
        ("abs(-a)*sign(a)", "1"),
        ("step(a)*a + floor(a)", "1"),
        ("[a > 1]*a", "1"),
        ("logsumexp[i](a*c[i])", "sum[i](softmax[i](a*c[i])*c[i])"),
        ("max[i](a*c[i])", "max[i](c[i])"),
        ("min[i](a*c[i])", "min[i](c[i])"),
        ("sum[i](softmax[i](a*c[i])*c[i])", "sum[i](softmax[i](a*c[i])*c[i]**2) - sum[i](softmax[i](a*c[i])*c[i])**2"),
        ("sum[i](a*c[i]*a)", "2*a*sum[i](c[i])"),
    ],
)
def test_the_complex_step_runs_through_everything(text, derivative):
    """f'(a) = Im f(a + ih)/h to the last digits, for h far below rounding; at 1.2 some exponents here are 0 and 1/2."""
    c = np.array([0.3, -1.1, 0.8])
    tensors = _tensors(a=(), c=("i",))
    arrays = {"a": np.array(1.2 + 1e-30j), "c": c}
    value = evaluate(parse_expression(text, tensors), arrays, sizes={"i": 3})
    assert value.dtype == np.complex128
    expected = evaluate(parse_expression(derivative, tensors), {"a": np.array(1.2), "c": c}, sizes={"i": 3})
    np.testing.assert_allclose(value.imag / 1e-30, expected, rtol=1e-13)


def test_the_derivative_of_ties_is_their_mean():
    """As good as any other: it lies between the two."""
    a = np.array([2.0, 2.0, 1.0])
    for i, slope in enumerate((0.5, 0.5, 0)):
        moved = a + 1e-30j * (np.arange(3) == i)
        assert evaluate(parse_expression("max[i](a[i])"), {"a": moved}).imag / 1e-30 == pytest.approx(slope)


def test_many_factors():
    """NumPy's einsum takes 32 operands."""
    names = [f"a{i}" for i in range(40)]
    text = f"sum[i]({'*'.join(f'{n}[i]' for n in names)}*W[i, j])"
    arrays = {n: np.full(I, 1.1) for n in names} | {"W": W}
    np.testing.assert_allclose(computed(text, ("j",), **arrays), 1.1**40 * W.sum(0))


def test_nothing_is_changed_or_shared():
    b = B.copy()
    found = computed("b[j]", ("j",), b=b)
    found[:] = 0
    np.testing.assert_array_equal(b, B)


def test_nan_is_kept():
    a = np.array([np.nan, 1.0, -1.0])
    for name in ("relu({})", "max({}, 0)", "min(0, {})", "abs({})", "step({})", "sign({})", "sigmoid({})", "erf({})"):
        text = name.format("a[i]")
        found = evaluate(parse_expression(text), {"a": a}, ("i",))
        assert np.isnan(found[0]), text
        assert not np.isnan(found[1:]).any(), text


def test_what_has_no_value_is_said():
    with pytest.raises(ShapeError, match="index i has no size yet"):
        evaluate(parse_expression("size(i)"), {})
    with pytest.raises(ShapeError, match="index k has no size yet"):
        evaluate(parse_expression("2"), {}, ("k",))
    with pytest.raises(ShapeError, match="alpha has no value"):
        evaluate(parse_expression("alpha"), {})


def test_a_system_keeps_what_it_was_given():
    system = parse_system("input x[i]\nh[i] = 2*x[i]\ny = sum[i](h[i])")
    values = run_system(system, {"x": X}, {"n": N, "i": I})
    assert set(values) == {"x", "h", "y"}
    np.testing.assert_allclose(values["y"], 2 * X.sum(1))


def _tensors(**indices: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: Tensor(name, "parameter", own) for name, own in indices.items()}


def test_quotients_of_whole_numbers_are_exact():
    """49*(1/49) is below 1, and a schedule that halves each 49 steps must not wait for the fiftieth."""
    for text in ("floor(step/every)", "floor(step*every**(-1))"):
        expr = parse_expression(text)
        for every in range(1, 200):
            assert evaluate(expr, {}, scalars={"step": 3.0 * every, "every": float(every)}) == 3
    assert evaluate(parse_expression("floor(step/49)"), {}, scalars={"step": 49.0}) == 1
