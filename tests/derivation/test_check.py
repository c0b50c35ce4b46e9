"""The gradient check: it finds wrong gradients, names kinks, and lets right ones pass."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.derivation.adjoint import Derivation, derive_system
from chainrule.derivation.check import EPS, Options, Point, check_gradients, chosen_entries, error_curve
from chainrule.derivation.checked import CENTRAL, COMPLEX, width
from chainrule.derivation.entries import entry_text, read_entry
from chainrule.derivation.sampling import draw_arrays, draw_scalars, small_sizes
from chainrule.errors import DataError, FormulaError, SettingError
from chainrule.formula.expr import Expr, Position, add, compare, mul, number
from chainrule.formula.parse import parse_expression, parse_system
from chainrule.library import ACTIVATIONS, LOSSES
from chainrule.training.vocabulary import vocabulary
from tests.random_systems import DOMAIN, draw, together

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.formula"))
WITH_LOSS = [p for p in EXAMPLES if parse_system(p.read_text(encoding="utf-8"), vocabulary()).loss]
TWO_LAYERS = """
input     x[i]
target    t[k], sum[k](t[k]) = 1
parameter W1[i, j], W2[j, k], b1[j], b2[k] = zeros
h[j] = tanh(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E    = -sum[k](t[k]*log(p[k]))
"""


def at_random(text: str, samples: int = 5, seed: int = 0, **sizes: int) -> tuple[Derivation, Point]:
    """The derivation of a text, and random numbers for it."""
    system = parse_system(text, vocabulary())
    chosen, rng = small_sizes(system, sizes), np.random.default_rng(seed)
    scalars = draw_scalars(system, rng)
    arrays = draw_arrays(system, chosen, rng, samples, scalars)
    return derive_system(system), Point(arrays, {**chosen, system.samples: samples}, scalars)


def checked(text: str, **settings: int):
    return check_gradients(*at_random(text, **settings))


def tampered(derivation: Derivation, parameter: str, change) -> Derivation:
    """The derivation with the equation of one gradient changed by hand."""
    adjoints = tuple(
        replace(a, equation=replace(a.equation, value=change(a.equation.value))) if a.of == parameter else a
        for a in derivation.adjoints
    )
    return replace(derivation, adjoints=adjoints)


# --- right gradients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WITH_LOSS, ids=lambda p: p.stem)
def test_every_example_checks(path):
    found = checked(path.read_text(encoding="utf-8"))
    assert found.ok, str(found)
    assert found.largest.error < (1e-10 if found.method == COMPLEX else 1e-5)
    assert all(row.direction is not None for row in found.rows)


def test_it_shows_the_gradient_that_mission_gives_for_logistic_regression():
    """Of one point the gradient is -(t - p)(x_1, …, x_n, 1)."""
    derivation, point = at_random((EXAMPLES[0].parent / "logistic.formula").read_text(encoding="utf-8"), samples=1)
    x, t = point.arrays["x"][0], point.arrays["t"][0]
    p = 1 / (1 + np.exp(-(x @ point.arrays["w"] + point.arrays["b"])))
    found = check_gradients(derivation, point)
    for entry, expected in zip(found.row("w").entries, -(t - p) * x, strict=True):
        assert entry.derived == pytest.approx(expected, rel=1e-12)
        assert entry.numerical == pytest.approx(expected, rel=1e-12)
    assert found.row("b").entries[0].numerical == pytest.approx(-(t - p), rel=1e-12)


SYSTEMS = {
    "batch statistics": """
        input x[i]; target t[j]; parameter W[i, j], g[j] = zeros
        a[j] = sum[i](x[i]*W[i, j]); m[j] = mean[n](a[j]); v[j] = mean[n]((a[j] - m[j])**2)
        y[j] = g[j]*(a[j] - m[j])/sqrt(v[j] + 0.01); E = sum[j]((y[j] - t[j])**2)""",
    "shared weights": """
        input x[i]; parameter W[i, j] = zeros
        h[j] = tanh(sum[i](x[i]*W[i, j])); r[i] = sum[j](h[j]*W[i, j]); E = sum[i]((x[i] - r[i])**2)""",
    "several losses": """
        input x[i]; target t; label y in k; parameter W[i, k], w[i], s = zeros
        p[k] = softmax[k](sum[i](x[i]*W[i, k])); A = -sum[k]([k == y]*log(p[k]))
        B = (sum[i](x[i]*w[i]) - t)**2; E = A + exp(-s)*B + s + 0.01*sum[i](w[i]**2)""",
    "skip connection": """
        input x[i]; parameter W[i, j], V[j, l] = zeros; size j = 3; size l = 3
        h[j] = tanh(sum[i](x[i]*W[i, j])); g[l] = h[l] + tanh(sum[j](V[j, l]*h[j])); E = sum[l](g[l]**4)""",
    "a loss of the whole batch": """
        input x[i]; parameter w[i] = zeros
        y = sum[i](x[i]*w[i]); E = log(sum[n](exp(y)))""",
    "no data": "parameter w[i] = zeros; size i = 3; E = sum[i]((w[i] - 1)**4)",
    "a learned exponent": "input x; parameter c = 1; f(a) = (a + 1)**c; E = f(x)",
}


@pytest.mark.parametrize("text", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_systems_of_every_kind_check(text):
    found = checked("\n".join(line.strip() for line in text.replace("\n", ";").split(";")))
    assert found.ok, str(found)
    assert found.method == COMPLEX
    assert found.largest.error < 1e-11


@pytest.mark.parametrize("seed", range(25))
def test_random_networks_check(seed):
    """Each through an activation and a loss of the library, shared weights, skips, diagonals; kinks aside."""
    rng = np.random.default_rng(seed)
    drawn = together([draw(rng, 1, rows=4)])
    net = cr.formula(drawn.text, sizes=drawn.sizes, dtype="float64", seed=seed)
    found = net.check_gradients(drawn.data, entries=8, seed=seed)
    assert found.ok, f"{drawn.text}\n{found}"
    assert sum(row.compared for row in found.rows) > 0
    assert max(row.own_error for row in found.rows) < 1e-9


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1400))
def test_many_random_networks_check_and_wrong_gradients_of_theirs_do_not(seed):
    rng = np.random.default_rng(seed)
    drawn = together([draw(rng, 1, rows=4)])
    net = cr.formula(drawn.text, sizes=drawn.sizes, dtype="float64", seed=seed)
    found = net.check_gradients(drawn.data, entries=8, seed=seed)
    assert found.ok, f"{drawn.text}\n{found}"
    row = found.rows[int(rng.integers(len(found.rows)))]
    if row.worst is None or row.direction is None or abs(row.direction.derived) < 1e-6:
        return  # a gradient of 0 stays right when it is multiplied
    for change in (MISTAKES["sign"], MISTAKES["a thousandth too much"]):
        wrong = tampered(net.derivation, row.parameter, change)
        assert not check_gradients(wrong, net.point(drawn.data), Options(8, seed)).row(row.parameter).ok


@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS.values() if a.name != "step"], ids=lambda a: a.name)
def test_every_activation_checks(activation):
    along = "[j]" if activation.index else ""
    values = "" if activation.index else "\n".join(f"{n} = {v}" for n, v in activation.defaults.items())
    text = f"input x[i]\nparameter W[i, j]\n{values}\nh[j] = {activation.name}{along}(sum[i](x[i]*W[i, j]))\n"
    found = checked(text.replace(values, "") + "E = sum[j](h[j]**2)", seed=3)
    assert found.ok, str(found)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda row: row.name)
def test_every_loss_checks(loss):
    values = "\n".join(f"{name} = {value}" for name, value in loss.defaults.items())
    last = DOMAIN.get(loss.name, ("{}", ""))[0].format("sum[i](x[i]*W[i, k])")
    found = checked(f"input x[i]\nparameter W[i, k]\n{loss.target}\n{values}\np[k] = {last}\n{loss.formula}")
    assert found.ok, str(found)


# --- wrong gradients --------------------------------------------------------------------------------------------------

MISTAKES = {
    "sign": lambda value: mul(number(-1), value),
    "forgotten 1/N": lambda value: mul(number(5), value),
    "a thousandth too much": lambda value: mul(number("1001/1000"), value),
    "a constant": lambda value: add(value, number("1/1000000")),
}


@pytest.mark.parametrize("change", MISTAKES.values(), ids=MISTAKES.keys())
@pytest.mark.parametrize("parameter", ["W1", "W2", "b1", "b2"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_wrong_gradient_is_found_and_named(parameter, change, activation):
    derivation, point = at_random(TWO_LAYERS.replace("tanh", activation), seed=1)
    assert check_gradients(derivation, point).ok
    found = check_gradients(tampered(derivation, parameter, change), point)
    assert not found.ok
    assert [row.parameter for row in found.rows if not row.ok] == [parameter]
    assert found.largest.parameter == parameter
    assert f"✗ The gradient of {parameter} does not agree" in str(found)


def one_wrong_entry(value: Expr) -> Expr:
    """One entry of W[i, j] off by a hundredth, all others right."""
    here = mul(compare("==", Position("i"), number(27)), compare("==", Position("j"), number(11)))
    return mul(value, add(number(1), mul(number("1/100"), here)))


def test_one_wrong_entry_of_thousands_is_found_by_the_direction():
    text = "input x[i]\ntarget t[j]\nparameter W[i, j]\nE = sum[j]((sum[i](x[i]*W[i, j]) - t[j])**2)"
    derivation, point = at_random(text, i=40, j=30)
    wrong = tampered(derivation, "W", one_wrong_entry)
    found = check_gradients(wrong, point)
    assert not found.ok
    assert found.row("W").direction.error > 1e-6
    everything = check_gradients(wrong, point, Options(entries=None))
    assert everything.largest.name == "W[27, 11]"
    assert sum(e.error > 1e-8 for e in everything.row("W").entries) == 1


def test_a_gradient_that_is_not_finite_is_wrong():
    derivation, point = at_random(TWO_LAYERS)
    found = check_gradients(tampered(derivation, "b2", lambda v: mul(v, parse_expression("log(0 - 1)"))), point)
    assert not found.ok
    json.dumps(found.to_dict(), allow_nan=False)


# --- which numerical derivative ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "method", "because"),
    [
        ("tanh(a)", COMPLEX, ()),
        ("softplus(a)*exp(-a**2)", COMPLEX, ()),
        ("relu(a)", CENTRAL, ("relu",)),
        ("abs(a)", CENTRAL, ("abs",)),
        ("max(a, 0.1)", CENTRAL, ("max",)),
        ("where(a > 0.1, a, exp(a))", CENTRAL, ("where",)),
        ("erf(a)", CENTRAL, ("erf",)),  # its complex step would use the derivative that is to be checked
        ("a*abs(x)", COMPLEX, ()),  # of the data alone: it does not lie between the weights and E
        ("where(x > 0.5, a, 2*a)", COMPLEX, ()),
    ],
)
def test_the_functions_on_the_way_decide(function, method, because):
    found = checked(f"input x\nparameter w\na = w*x\nE = {function}")
    assert (found.method, found.because) == (method, because)
    assert found.ok


def test_a_stable_form_stands_in_where_the_typed_loss_loses_its_digits():
    text = "input x\ntarget t\nparameter w = zeros\np = sigmoid(w*x)\nE = -(t*log(p) + (1 - t)*log(1 - p))"
    derivation = derive_system(parse_system(text, vocabulary()))
    arrays = {"x": np.array([30.0, 34.0]), "t": np.array([0.0, 1.0]), "w": np.array(1.0)}
    found = check_gradients(derivation, Point(arrays, {"n": 2}))
    assert found.ok, str(found)
    assert found.typed_error > 0
    assert "stable form" in str(found)
    # E = log(1 + e^30) - 0 for the first, e^-34 for the second; dE/dw is their x(p - t), averaged.
    assert found.row("w").entries[0].numerical == pytest.approx(15.0, rel=1e-9)


# --- kinks ------------------------------------------------------------------------------------------------------------

RELU = """
input x[i]
parameter W1[i, j], b1[j]
h[j] = relu(sum[i](x[i]*W1[i, j]) + b1[j])
E = sum[j]((j + 1)*h[j])
"""


def relu_at_zero():
    """Sample 1 is x = 0, so that every a_h[j] is b1[j]; b1[1] is 0."""
    derivation = derive_system(parse_system(RELU.replace("(j + 1)*", ""), vocabulary()))
    arrays = {
        "x": np.array([[1.0, 2.0], [0.0, 0.0], [3.0, -1.0]]),
        "W1": np.array([[0.5, 0.25, -0.5], [0.25, 1.0, -0.75]]),
        "b1": np.array([0.125, 0.0, -0.25]),
    }
    return check_gradients(derivation, Point(arrays, {"n": 3, "i": 2, "j": 3}))


def test_relu_at_zero_is_a_kink_with_its_unit_and_its_sample():
    found = relu_at_zero()
    assert found.ok
    (kink,) = found.kinks
    assert (kink.name, kink.where, kink.sample) == ("b1[1]", "a_h[1] = 0", 1)
    # Sample 0 gives slope 1 on both sides, sample 2 has a_h[1] = 3/4 - 1 < 0; sample 1 gives 0 and 1. Mean of three.
    assert kink.left == pytest.approx(1 / 3, rel=1e-6)
    assert kink.right == pytest.approx(2 / 3, rel=1e-6)
    assert kink.derived == pytest.approx(1 / 3)
    assert "a_h[1] = 0 in sample 1" in str(found)
    assert found.row("W1").direction is not None
    assert found.row("b1").direction is None  # every direction moves b1[1]
    assert "without a kink on its way: b1" in str(found)


def test_a_weight_that_does_not_move_the_unit_at_its_kink_is_compared():
    """x is 0 in the sample at the kink: W1 does not feel it."""
    row = relu_at_zero().row("W1")
    assert (row.compared, row.kinks) == (6, 0)


KINKS = {
    "abs": ("E = abs(w*x - 1)", "w*x - 1 = 0", -2.0, 2.0),
    "max": ("E = max(w*x, 1)", "w*x = 1", 0.0, 2.0),
    "where": ("E = where(w*x > 1, 3*w, w)", "w*x = 1", None, None),
    "min": ("E = min(w*x, 2 - w*x)", "w*x = 2 - w*x", 2.0, -2.0),
}


@pytest.mark.parametrize(("equation", "where", "left", "right"), KINKS.values(), ids=KINKS.keys())
def test_every_function_with_a_kink_is_seen(equation, where, left, right):
    derivation = derive_system(parse_system(f"input x\nparameter w\n{equation}", vocabulary()))
    found = check_gradients(derivation, Point({"x": np.array([2.0]), "w": np.array(0.5)}, {"n": 1}))
    (kink,) = found.kinks
    assert (kink.name, kink.where, kink.sample) == ("w", where, 0)
    if left is not None:
        assert (kink.left, kink.right) == pytest.approx((left, right), rel=1e-6)
    assert found.ok
    assert found.largest is None
    assert "Nothing could be compared" in str(found)


def test_a_tie_of_a_maximum_over_an_index_is_a_kink():
    derivation = derive_system(parse_system("parameter w[i] = zeros\nE = max[i](w[i])", vocabulary()))
    found = check_gradients(derivation, Point({"w": np.array([1.0, 0.5, 1.0])}, {"n": 1, "i": 3}))
    assert {k.name for k in found.kinks} == {"w[0]", "w[2]"}
    assert all((k.left, k.right) == pytest.approx((0, 1), abs=1e-6) for k in found.kinks)
    assert [e.name for e in found.row("w").entries] == ["w[1]"]


def test_a_point_beside_a_kink_but_farther_than_the_step_is_compared():
    derivation = derive_system(parse_system("input x\nparameter w\nE = relu(w*x)", vocabulary()))
    near = Point({"x": np.array([1.0]), "w": np.array(1e-4)}, {"n": 1})
    nearer = Point({"x": np.array([1.0]), "w": np.array(1e-6)}, {"n": 1})
    assert check_gradients(derivation, near).row("w").compared == 1
    assert check_gradients(derivation, nearer).row("w").kinks == 1


def test_the_perceptrons_loss_at_zero_weights_is_all_kinks():
    net = cr.formula(EXAMPLES[0].parent / "perceptron_loss.formula")
    found = net.check_gradients([[0.0, 1.0], [1.0, 1.0]], [0, 1])
    assert found.ok
    assert found.largest is None
    assert {k.name for k in found.kinks} == {"w[0]", "w[1]", "b"}


def test_a_wrong_gradient_beside_kinks_is_still_found():
    derivation, point = at_random(RELU.replace("(j + 1)*", ""), seed=2)
    point.arrays["b1"][0] = -float(point.arrays["x"][2] @ point.arrays["W1"][:, 0])
    found = check_gradients(tampered(derivation, "b1", MISTAKES["a thousandth too much"]), point)
    assert any(k.where == "a_h[0] = 0" and k.sample == 2 for k in found.kinks)
    assert not found.ok


# --- the object -------------------------------------------------------------------------------------------------------


def test_a_network_is_checked_in_float64_and_says_how_far_its_own_gradients_are():
    x, t = np.random.default_rng(0).normal(size=(6, 3)), [0, 1, 2, 1, 0, 1]
    errors = {}
    for dtype in ("float32", "float64"):
        net = cr.formula(TWO_LAYERS, dtype=dtype, sizes={"i": 3, "j": 4, "k": 3})
        rng = np.random.default_rng(1)
        net.set_parameters({n: rng.normal(size=v.shape) for n, v in net.parameters.items()})
        found = net.check_gradients(x, t)
        assert found.ok
        assert found.largest.error < 1e-11
        assert found.dtype == dtype
        errors[dtype] = max(row.own_error for row in found.rows)
    assert 1e-9 < errors["float32"] < 1e-5
    assert errors["float64"] < 1e-13


def test_a_large_parameter_is_sampled_with_its_largest_gradients():
    gradient = np.zeros((40, 50))
    rng = np.random.default_rng(0)
    gradient[rng.integers(0, 40, 100), rng.integers(0, 50, 100)] = rng.normal(size=100)
    chosen = chosen_entries(gradient, 32, np.random.default_rng(1))
    largest = np.argsort(-np.abs(gradient.ravel()))[:8]
    assert {tuple(map(int, np.unravel_index(p, gradient.shape))) for p in largest} <= set(chosen)
    assert len(set(chosen)) == len(chosen) == 32
    assert sum(gradient[p] == 0 for p in chosen) >= 8  # a zero can be wrong too
    assert len(chosen_entries(gradient, None, rng)) == gradient.size


def test_the_seed_chooses_the_entries():
    derivation, point = at_random(TWO_LAYERS, i=20, j=30)

    def names(seed: int) -> list[str]:
        return [e.name for e in check_gradients(derivation, point, Options(seed=seed)).row("W1").entries]

    assert names(1) == names(1) != names(2)
    assert len(names(1)) == 32


def test_it_prints_on_80_columns_and_as_json():
    derivation, point = at_random(TWO_LAYERS.replace("tanh", "relu"), i=100, j=120)
    point.arrays["b1"][:] = -point.arrays["x"][0] @ point.arrays["W1"]
    found = check_gradients(derivation, point, own={"W1": np.zeros((100, 120), np.float32)})
    for language in ("en", "ko"):
        cr.set_language(language)
        try:
            text = str(found)
        finally:
            cr.set_language(None)
        assert max(width(line) for line in text.splitlines()) <= 80, text
        assert "W1[" in text
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["ok"] is found.ok
    assert record["parameters"]["W1"]["compared"] + record["parameters"]["W1"]["kinks"] == 32


def test_bad_requests_get_one_line():
    derivation, point = at_random(TWO_LAYERS)
    for options in (Options(entries=0), Options(tolerance=0.0), Options(tolerance=2.0)):
        with pytest.raises(SettingError):
            check_gradients(derivation, point, options)
    with pytest.raises(FormulaError, match="no parameter"):
        check_gradients(*at_random("input x\nE = x**2"))
    infinite = derive_system(parse_system("input x\nparameter w = 1\nE = log(w*x)", vocabulary()))
    with pytest.raises(DataError, match="finite"):
        check_gradients(infinite, Point({"x": np.array([-1.0]), "w": np.array(1.0)}, {"n": 1}))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("W1[0, 9]", "0 to 3"),
        ("W1[0]", r"W1\[i, j\]"),
        ("V[0]", "no parameter V"),
        ("W1[i, j]", "names no"),
        ("", "names no"),
    ],
)
def test_an_entry_that_does_not_exist(text, part):
    system = parse_system(TWO_LAYERS, vocabulary())
    with pytest.raises(SettingError, match=part):
        read_entry(system, {"i": 3, "j": 4, "k": 2}, text)


def test_an_entry_is_read_as_it_is_written():
    system = parse_system(TWO_LAYERS, vocabulary())
    for name, position in (("W1", (2, 3)), ("b2", (1,))):
        assert read_entry(system, {"i": 3, "j": 4, "k": 2}, entry_text(name, position)) == (name, position)


# --- error against step -----------------------------------------------------------------------------------------------


def test_the_error_against_the_step_has_its_three_parts():
    derivation, point = at_random(TWO_LAYERS)
    steps = [1e-1, 1e-2, 1e-3, 1e-5, 1e-8, 1e-11, 1e-14]
    curve = dict(zip(steps, (c[1:] for c in error_curve(derivation, point, ("W2", (1, 1)), steps)), strict=True))
    # Truncation: a tenth of the step is a hundredth of the central error, a tenth of the one-sided one.
    assert curve[1e-1][1] / curve[1e-2][1] == pytest.approx(100, rel=0.1)
    assert curve[1e-2][0] / curve[1e-3][0] == pytest.approx(10, rel=0.1)
    # Rounding: it grows as the step shrinks.
    assert curve[1e-5][1] < curve[1e-8][1] < curve[1e-11][1] < curve[1e-14][1]
    assert curve[1e-14][1] > 1e-5
    # The complex step is exact below.
    assert max(curve[step][2] for step in (1e-8, 1e-11, 1e-14)) < 100 * EPS
