"""The page with numbers: every number against an evaluation of its own, and against a forward pass that was moved."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.derivation.pages.numbers import FillingUnicode, number_words
from chainrule.derivation.pages.page import Value
from chainrule.errors import DataError, FormulaError, SettingError
from chainrule.formula.expr import Element, Symbol
from chainrule.training.explain import known_name
from chainrule.training.network import formula
from chainrule.training.optimizer import Optimizer
from tests.formula.loops import value_at
from tests.pages import EXAMPLES, ODD, deep, every_line, filled_lines, network, odd_case
from tests.random_systems import draw, together

ONE_LAYER = (EXAMPLES / "one_layer.formula").read_text()


def one_layer(t, p, x=(1.0, 0.5)):
    """The one-layer reader with outputs p, by its biases: log(p/(1 - p)) is the logit."""
    net = network(ONE_LAYER)
    p = np.asarray(p)
    net.set_parameters(w=np.zeros((len(x), len(p))), b=np.log(p / (1 - p)))
    return net, np.array(x), np.asarray(t, dtype=float)


def test_the_worked_value_of_the_one_layer_reader():
    """t = 9 and p = 0.1 each but p_9 = 0.9 gives E = 0.05 (mission)."""
    net, x, t = one_layer(np.eye(10)[9], [0.1] * 9 + [0.9])
    found = net.explain(x, t, weight="w[0, 9]")
    assert found["E"] == pytest.approx(0.05)
    assert found["p"] == pytest.approx([0.1] * 9 + [0.9])
    # (p - t) p (1 - p) = -0.1 · 0.9 · 0.1, and x = 1
    assert found["delta_z"][9] == pytest.approx(-0.009)
    assert found["dE_dw"][0, 9] == pytest.approx(-0.009)
    lines = [re.sub(r"\s+", " ", line).strip() for line in str(found).splitlines()]
    assert "= (0.9 − 1)·0.9·(1 − 0.9) = −0.009" in lines
    assert "= 1·(−0.009) = −0.009" in lines


def test_every_symbol_is_there_by_name_in_the_shape_of_the_formula():
    net, x, t = one_layer(np.eye(3)[1], [0.2, 0.5, 0.3])
    one = net.explain(x, t)
    assert {n: one[n].shape for n in ("x", "w", "z", "delta_z", "dE_dw", "E")} == {
        "x": (2,), "w": (2, 3), "z": (3,), "delta_z": (3,), "dE_dw": (2, 3), "E": (),
    }  # fmt: skip
    batch = net.explain(np.stack([x, 2 * x]), np.stack([t, t]))
    assert batch["z"].shape == (2, 3)
    assert batch["dE_dw"].shape == (2, 3)
    assert np.allclose(batch["dE_dw"], net.gradients(np.stack([x, 2 * x]), np.stack([t, t]))["w"])
    for name in ("dE/dw", "∂E/∂w", "δz", "deltaz", "delta z"):
        assert known_name(name, one.values) in ("dE_dw", "delta_z")
    with pytest.raises(SettingError, match=r"W is no quantity of this page: choose one of x, t, w, b, z"):
        one["W"]


def test_the_delta_of_a_layer_by_its_number():
    net = network((EXAMPLES / "mlp.formula").read_text())
    found = net.explain(np.ones((1, 4)), np.eye(3)[:1])
    assert np.array_equal(found["delta1"], found["delta_a1"])


def check_filled(page, context):
    """Each line with numbers against the loops, and, where it is plain arithmetic, against the text itself."""
    count = 0
    for filled, number in filled_lines(page):
        numbers = filled.numbers
        places = {**numbers.places, **dict(filled.places)}
        at = {**places, **{f"{i}{'′' * 0}": n for i, n in places.items()}}
        for index in list(places):
            for primes in ("'", "''", "'''"):
                at.setdefault(index + primes, places[index])
        sizes = dict(numbers.sizes)
        for index in list(sizes):
            for primes in ("'", "''", "'''"):
                sizes[index + primes] = sizes[index]
        wanted = value_at(filled.expr, at, numbers.arrays, sizes, numbers.scalars)
        assert number == pytest.approx(wanted, rel=1e-9, abs=1e-12), (context, filled.expr)
        text = FillingUnicode(page, numbers, dict(filled.places)).text(filled.expr)
        if (computed := arithmetic(text)) is not None:
            # Each number is rounded to four digits: what cancels loses some of them.
            scale = max([1.0, *(abs(float(n)) for n in re.findall(r"\d+\.?\d*", text))])
            assert computed == pytest.approx(number, rel=2e-2, abs=2e-3 * scale), (context, text)
        count += 1
    return count


def arithmetic(text: str) -> float | None:
    """The value of a printed formula that has numbers, signs, brackets, squares and σ, tanh, e^ only; else None."""
    plain = text.replace("−", "-").replace("·", "*")
    plain = re.sub(  # powers of ten before squares and cubes: 10⁻¹³
        r"\*10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "e" + "".join("-0123456789"["⁻⁰¹²³⁴⁵⁶⁷⁸⁹".index(c)] for c in m[1]), plain
    )
    plain = plain.replace("²", "**2").replace("³", "**3").replace("½", "(1/2)")
    plain = re.sub(r"\)\s+\(", ")*(", plain)
    if not re.fullmatch(r"(?:tanh\(|σ\(|[0-9e.()+\-*/ ])*", plain) or re.search(r"\d\s+[\d(]|\)\s*\d|e\^|e\(", plain):
        return None
    return float(eval(plain, {"__builtins__": {}}, {"tanh": math.tanh, "σ": lambda a: 1 / (1 + math.exp(-a))}))


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("rows", [1, 3])
def test_each_number_is_that_of_an_evaluation_of_its_own(name, rows):
    net, data = odd_case(name, rows)
    found = net.explain(data, sample=rows - 1)
    assert check_filled(found.page(), name) > 5


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_random_networks_too(seed):
    rng = np.random.default_rng(seed)
    drawn = together([draw(rng, 0, rows=2)])
    net = formula(drawn.text, dtype="float64", sizes=drawn.sizes, seed=seed % 100)
    found = net.explain(drawn.data)
    assert check_filled(found.page(), drawn.text) > 0


@pytest.mark.parametrize("name", ODD)
def test_derivatives_agree_with_their_difference_quotients(name):
    """No kink is near in these systems' random data, but for those that have max, abs and where: a looser look."""
    net, data = odd_case(name, 3)
    text = net.explain(data)
    numbers = next(filled.numbers for filled, _ in filled_lines(text.page()))
    for of, quotient in numbers.quotients.items():
        adjoint = net.derivation.adjoint(of)
        own = net.derivation.system.tensors[of]
        place = tuple(numbers.places[i] for i in own.indices)
        derivative = float(numbers.arrays[adjoint.equation.target.tensor][place])
        assert quotient.central == pytest.approx(derivative, rel=1e-5, abs=1e-7), of


def test_the_update_and_the_new_loss():
    """w ← w - η g by hand, and the loss that NumPy finds with the new weights."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(4, 2)), np.eye(3)[[0, 1, 2, 1]]
    net = network(ONE_LAYER)
    w, b = rng.normal(size=(2, 3)), rng.normal(size=3)
    net.set_parameters(w=w, b=b)
    found = net.explain(x, t, weight="w[1, 2]")

    def loss(w, b):
        p = 1 / (1 + np.exp(-(x @ w + b)))
        return ((t - p) ** 2).sum(axis=1).mean() / 2

    p = 1 / (1 + np.exp(-(x @ w + b)))
    delta = (p - t) * p * (1 - p)
    gw, gb = x.T @ delta / 4, delta.mean(axis=0)
    alone = w.copy()
    alone[1, 2] -= 0.01 * gw[1, 2]
    text = str(found)
    for wanted in (
        loss(alone, b),
        loss(w, b) - 0.01 * gw[1, 2] ** 2,
        loss(w - 0.01 * gw, b - 0.01 * gb),
        loss(w, b) - 0.01 * ((gw**2).sum() + (gb**2).sum()),
    ):
        assert number_words(wanted, 8) in text
    assert np.array_equal(net.parameters["w"], w)  # a page changes nothing


@pytest.mark.parametrize("optimizer", ["momentum", "rmsprop", "adam", "nadam", "lion"])
def test_the_lines_of_every_rule_come_to_the_new_weight(optimizer):
    """The line of w gives the weight that a step of training gives."""
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(4, 2)), np.eye(3)[[0, 1, 2, 1]]
    net = network(ONE_LAYER)
    net.set_parameters(w=rng.normal(size=(2, 3)), b=rng.normal(size=3))
    lines = list(every_line(net.explain(x, t, weight="w[1, 2]", optimizer=optimizer).page()))
    net.fit(x, t, batch_size=None, optimizer=optimizer, shuffle=False, verbose=0, engine="interpreter")
    (place,) = (n for n, line in enumerate(lines) if line.left == (Symbol("w"),))
    value = lines[place + 1].right[-1]
    assert value == Value(pytest.approx(net.parameters["w"][1, 2]))


def test_the_layer_of_the_weight_is_the_one_shown():
    net = network(deep(6))
    rng = np.random.default_rng(0)
    found = net.explain(rng.normal(size=(2, 4)), np.eye(3)[:2], weight="W4[1, 2]")
    assert "∂L/∂W4[1, 2]" in str(found)
    assert "with respect to the parameter W4" in str(found)


CENTRED = """
input x[i]
target t
parameter w[i] = 0.3
m = mean[n](sum[i](w[i]*x[i]))
y = sum[i](w[i]*x[i]) - m
E = (y - t)**2
"""
WHOLE = (
    "input x[i]\ntarget t\nparameter w[i] = 0.3\ny = sum[i](w[i]*x[i])\nE = mean[n]((y - t)**2) + 0.1*sum[i](w[i]**2)"
)


@pytest.mark.parametrize("text", [CENTRED, WHOLE])
def test_where_samples_meet_no_line_is_of_one_sample_alone(text):
    """Every symbol of the page stands for one value: what is equated comes to the same number."""
    rng = np.random.default_rng(0)
    net = network(text)
    x, t = rng.normal(size=(4, 3)), rng.normal(size=4)
    page = net.explain(x, t, weight="w[1]").page()
    said: dict[str, set[str]] = {}
    for line in every_line(page):
        match line.left, line.right[-1:]:
            case (Element() as symbol,), (Value(number),):
                said.setdefault(str(symbol), set()).add(number_words(number))
    assert all(len(numbers) == 1 for numbers in said.values()), said
    gradient = net.gradients(x, t)["w"][1]
    assert number_words(float(gradient)) in str(page.terminal())


def test_after_training_the_states_are_those_of_the_rule():
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(4, 2)), np.eye(3)[[0, 1, 2, 1]]
    net = network(ONE_LAYER)
    options = {"batch_size": None, "optimizer": "momentum", "shuffle": False, "verbose": 0, "engine": "interpreter"}
    net.fit(x, t, epochs=3, **options)
    lines = list(every_line(net.explain(x, t, weight="w[1, 2]", optimizer="momentum").page()))
    net.fit(x, t, **options)
    (place,) = (n for n, line in enumerate(lines) if line.left == (Symbol("w"),))
    assert lines[place + 1].right[-1] == Value(pytest.approx(net.parameters["w"][1, 2]))


def test_a_parameter_with_the_name_of_a_derivative():
    net = network("input x\ntarget t\nparameter w = 0.5\nparameter dE_dw = 2\ny = dE_dw*x + w\nE = (y - t)**2")
    found = net.explain([1.0], [0.0])
    assert found["dE_dw"] == 2
    assert found["y"] == 2.5


def test_a_kink_is_said():
    """relu at 0: the derivative is 0 by convention, from the right it is not."""
    net = network("input x\ntarget t\nparameter w = 0\ny = relu(w*x)\nE = (y - t)**2")
    text = str(net.explain([1.0], [1.0]))
    assert "kink: " in text
    assert re.search(r"0 from the left, −2 from the right|−?\d\S* from the left, −2 from the right", text)


def test_a_number_that_is_not_finite_is_said(recwarn):
    net = network("input x\ntarget t\nparameter w = 1\ny = exp(w*x)\nE = (y - t)**2")
    assert "is not finite" in str(net.explain([800.0], [1.0]))
    assert not recwarn.list


def test_nothing_to_look_at():
    net = network("input x\ntarget t\nE = (x - t)**2")
    with pytest.raises(FormulaError, match="there is no parameter"):
        net.explain([1.0], [2.0])
    net, x, t = one_layer(np.eye(3)[1], [0.2, 0.5, 0.3])
    for weight in (3, ("w", 0, 0)):
        with pytest.raises(SettingError, match="names no weight"):
            net.explain(x, t, weight=weight)
    for sample in (1.5, "1", True):
        with pytest.raises(SettingError, match="does not exist"):
            net.explain(x, t, sample=sample)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("V[0, 0]", r"there is no parameter V \(there are: w, b\)"),
        ("w[0]", r"w\[0\] has the wrong number of positions: write it as w\[i, j\]"),
        ("w", "w has the wrong number of positions"),
        ("b[1, 2]", r"write it as b\[j\]"),
        ("w[2, 0]", r"w\[2, 0\] is out of range: i runs from 0 to 1"),
        ("w[-1, 0]", "names no weight"),
        ("w[x]", "names no weight"),
        ("", "names no weight"),
    ],
)
def test_a_weight_that_is_not_there(weight, message):
    net, x, t = one_layer(np.eye(3)[1], [0.2, 0.5, 0.3])
    with pytest.raises(SettingError, match=message):
        net.explain(x, t, weight=weight)


def test_samples_that_are_not_there():
    net, x, t = one_layer(np.eye(3)[1], [0.2, 0.5, 0.3])
    with pytest.raises(SettingError, match="sample 5 does not exist: the batch has the samples 0 to 0"):
        net.explain(x, t, sample=5)
    with pytest.raises(DataError):
        net.explain(np.ones(7), t)
    with pytest.raises(DataError):
        net.explain(np.zeros((0, 2)), np.zeros((0, 3)))


def test_one_sample_alone_needs_no_sample_axis():
    """x of shape (I,) and t of shape (K,), or the number of a class."""
    net, x, t = one_layer(np.eye(3)[1], [0.2, 0.5, 0.3])
    assert net.loss(x, t) == pytest.approx(net.loss(x[None], t[None]))
    assert net.loss(x, 1) == pytest.approx(net.loss(x, t))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.5, "0.5"),
        (-0.25, "−0.25"),
        (-0.0, "0"),
        (2.3e-5, "2.3·10⁻⁵"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
        (12345.6, "1.235·10⁴"),
    ],
)
def test_numbers_as_a_reader_compares_them(number, words):
    assert number_words(number) == words


def test_the_update_with_norms_and_a_then_line_ends_at_the_weight_that_training_gives():
    text = """
    input x[i]
    target t[k]
    parameter W[i, k] = glorot_uniform
    parameter b[k] = ones
    y[k] = sum[i](x[i]*W[i, k]) + b[k]
    E = 1/2*sum[k]((y[k] - t[k])**2)
    then W[i, k] <- W[i, k]*min(1, 0.5/sqrt(sum[i](W[i, k]**2)))
    """
    generator = np.random.default_rng(0)
    x, t = generator.normal(size=(8, 3)), generator.normal(size=(8, 2))
    optimizer = Optimizer("momentum", global_clip_norm=0.1, weight_decay=0.1, no_decay=("b",))
    for weight in ("W[1, 0]", "b[1]"):
        net = formula(text, dtype="float64")
        page = net.explain(x, t, optimizer=optimizer, weight=weight).terminal()
        net.fit(x, t, batch_size=None, optimizer=optimizer, engine="interpreter", verbose=0)
        name, place = ("W", (1, 0)) if weight[0] == "W" else ("b", (1,))
        update = page[page.index("Update, with numbers") : page.index("Only ")]
        assert "‖g‖_all" in update
        assert ("weight_decay" in update) == (name == "W")
        assert float(update.split("=")[-1].replace("−", "-")) == pytest.approx(net.parameters[name][place], rel=1e-3)
