"""Random quantities and the two phases of a system: the notation, its inverse, and the numbers that are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule.formula.distributions import (
    GAMMA,
    even_numbers,
    formula_of,
    key_name,
    keys,
    mean_of,
    mix,
)
from chainrule.formula.evaluate import evaluate, run_system
from chainrule.formula.expr import Draw, Element, Random, free_indices, index_names, key, number, substitute, walk
from chainrule.formula.parse import parse_system
from chainrule.formula.system import System
from chainrule.formula.text import system_text
from chainrule.formula.typeset import Latex, Unicode
from chainrule.training.vocabulary import vocabulary

NETWORK = """
size j = 3
input x[i]
target t
parameter W[i, j], v[j], gain[j] = glorot_uniform
state mu_avg[j] = zeros
state var_avg[j] = 1
keep = 0.75
a[j] = sum[i](x[i]*W[i, j])
mu[j] = mean[n](a[n, j])
var[j] = mean[n]((a[n, j] - mu[j])**2)
h[j] = tanh(gain[j]*(a[j] - mu[j])/sqrt(var[j] + 0.001))
random m[j] = bernoulli(keep)
d[j] = h[j]*m[j]/keep
random e = normal(0, 0.1)
y = sum[j](d[j]*v[j]) + e
E = 1/2*(y - t)**2
prediction mu[j] = mu_avg[j]
prediction var[j] = var_avg[j]
mu_avg[j] <- 0.9*mu_avg[j] + 0.1*mu[j]
var_avg[j] <- 0.9*var_avg[j] + 0.1*var[j]
"""


def parsed(text: str) -> System:
    return parse_system(text, vocabulary())


def value_of(system: System, name: str):
    equation = system.equation_of(name)
    assert equation is not None
    return equation.value


# --- the notation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        NETWORK,
        "input x\nrandom m = uniform(-1, 1/2)\ny = x*m",
        "samples s\ninput x[i]\nsize i = 2\nrandom m[i] = normal(mu, 2*sigma)\nmu = 1\ny = sum[i](x[i]*m[i])",
        "input x\nrate = 0.2\nrandom m = bernoulli(1 - rate)\ny = x*m\nprediction y = x\nprediction m = 1",
    ],
)
def test_print_and_parse_are_inverse(text):
    system = parsed(text)
    again = parsed(system_text(system))
    assert again.equations == system.equations
    assert again.predictions == system.predictions
    assert again.tensors == system.tensors
    assert system_text(again) == system_text(system)


def test_a_name_may_still_be_random_or_prediction():
    system = parsed("input x\nrandom = 2*x\nprediction = 3*random")
    assert [e.target.tensor for e in system.equations] == ["random", "prediction"]


def test_a_random_quantity_has_the_sample_axis_and_no_tensors():
    system = parsed(NETWORK)
    assert system.tensors["m"].indices == ("n", "j")
    assert system.tensors["e"].indices == ("n",)
    assert system.is_sampled("d")
    assert system.depends_on("m") == {"m"}


def test_typeset_as_drawn_from():
    system = parsed(NETWORK)
    equation = system.equation_of("m")
    assert equation is not None
    assert Unicode().equation(equation) == "mⱼ ∼ Bernoulli(keep)"
    assert Latex().equation(equation) == r"m_{j} \sim \operatorname{Bernoulli}(\mathrm{keep})"


def test_indices_of_draws():
    random = value_of(parsed(NETWORK), "m")
    draws = [n for n in walk(formula_of(random)) if isinstance(n, Draw)]
    for node in (random, *draws):
        assert free_indices(node) == {"n", "j"} == index_names(node)
        moved = substitute(node, {"j": "j'", "n": "s"})
        assert free_indices(moved) == {"s", "j'"}
        assert key(moved) != key(node)
    assert len(draws) == 1
    assert len([n for n in walk(formula_of(value_of(parsed(NETWORK), "e"))) if isinstance(n, Draw)]) == 2


# --- the prediction phase ---------------------------------------------------------------------------------------------


def test_at_prediction():
    """Moving averages stand for the batch's, and h*m/keep is h where m is its mean, keep."""
    system = parsed(NETWORK)
    there = system.at_prediction()
    assert value_of(there, "mu") == Element("mu_avg", ("j",))
    assert value_of(there, "d") == Element("h", ("n", "j"))
    assert not any(isinstance(n, Random) for e in there.equations for n in walk(e.value))
    assert [e.target.tensor for e in system.changed_at_prediction()] == ["mu", "var", "m", "d", "e", "y"]
    assert there.at_prediction() is there
    assert system.tensors == there.tensors


def test_means_of_the_rows():
    system = parsed(
        "input x\nrandom a = bernoulli(0.3)\nrandom b = uniform(1, 4)\nrandom c = normal(2, 5)\ny = x*a*b*c"
    )
    assert [mean_of(value_of(system, name)) for name in "abc"] == [number("3/10"), number("5/2"), number(2)]


def test_the_order_of_dependence_is_renewed():
    """q stands behind p in the text; when predicting, p needs q."""
    system = parsed("input x\np = 2*x\nq = 3*x\ny = p + q\nprediction p = q + 1")
    assert [e.target.tensor for e in system.at_prediction().equations] == ["q", "p", "y"]
    out = run_system(system.at_prediction(), {"x": np.array([1.0])}, {"n": 1})
    assert out["y"] == pytest.approx([7.0])


def test_a_system_of_one_phase_is_its_own_prediction():
    system = parsed("input x\ny = 2*x")
    assert not system.has_phases
    assert system.at_prediction() is system


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_the_generator_is_splitmix64():
    """Published outputs of SplitMix64 for the seeds 0 and 1234567: state = seed + γ, 2γ, …"""
    outputs = {
        0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F],
        1234567: [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431],
    }
    for seed, wanted in outputs.items():
        words = np.array([(seed + GAMMA * (n + 1)) % 2**64 for n in range(len(wanted))], dtype=np.uint64)
        assert [int(w) for w in mix(words)] == wanted
        first = even_numbers(seed, 1, len(wanted), "float64")[0]
        assert first.tolist() == [(w >> 11) / 2**53 for w in wanted]
        assert even_numbers(seed, 1, len(wanted), "float32")[0].tolist() == [(w >> 40) / 2**24 for w in wanted]


def test_the_keys_tell_seed_step_name_and_number_apart():
    found = {
        int(k) for seed in (0, 1, 2**64 - 1) for name in ("m", "m1", "μ") for k in keys(name, 2, seed, [1, 2, 3]).flat
    }
    assert len(found) == 3 * 3 * 2 * 3
    one_by_one = [keys("m", 2, 7, [step])[0].tolist() for step in (1, 2, 10**6)]
    assert keys("m", 2, 7, [1, 2, 10**6]).tolist() == one_by_one


def test_even_numbers_pass_a_chi_square_test_of_every_bit_and_of_bins():
    """Of 2¹⁸ numbers. The bounds are five standard deviations of what they bound: a fixed seed cannot flicker."""
    drawn = even_numbers(int(keys("m", 1, 3, [5])[0, 0]), 512, 512, "float64")
    assert drawn.min() >= 0
    assert drawn.max() < 1
    count = drawn.size
    words = (drawn.reshape(-1) * 2.0**53).astype(np.uint64)
    for bit in range(53):
        ones = int(((words >> np.uint64(bit)) & np.uint64(1)).sum())
        assert abs(ones - count / 2) < 5 * math.sqrt(count) / 2, bit
    bins = np.bincount((drawn.reshape(-1) * 256).astype(int), minlength=256)
    chi_square = float(((bins - count / 256) ** 2 / (count / 256)).sum())
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)


def test_neighbours_are_independent():
    """Correlations of rows, places, steps, seeds, names: 1/sqrt(N) is a standard deviation."""

    def centred(name: str, seed: int, step: int) -> np.ndarray:
        return even_numbers(int(keys(name, 1, seed, [step])[0, 0]), 256, 256, "float64") - 0.5

    base = centred("m", 0, 1)
    others = {
        "next row": (base[:-1], base[1:]),
        "next place": (base[:, :-1], base[:, 1:]),
        "transposed": (base, base.T),
        "next step": (base, centred("m", 0, 2)),
        "next seed": (base, centred("m", 1, 1)),
        "another name": (base, centred("n", 0, 1)),
    }
    for name, (one, other) in others.items():
        correlation = 12 * float(np.mean(one * other))
        assert abs(correlation) < 5 / math.sqrt(one.size), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("law", "mean", "variance"),
    [("bernoulli(0.8)", 0.8, 0.16), ("uniform(-1, 3)", 1.0, 16 / 12), ("normal(1.5, 0.5)", 1.5, 0.25)],
)
def test_mean_and_variance(law, mean, variance, dtype):
    random = value_of(parsed(f"size j = 400\ninput x\nrandom m[j] = {law}\ny = x*m[0]"), "m")
    x = np.zeros(500, dtype)
    drawn = evaluate(random, {"x": x}, ("n", "j"), sizes={"n": 500, "j": 400})
    assert drawn.dtype == dtype
    count = drawn.size
    assert float(drawn.mean(dtype=np.float64)) == pytest.approx(mean, abs=5 * math.sqrt(variance / count))
    fourth = float(np.mean((drawn.astype(np.float64) - mean) ** 4))
    slack = 5 * math.sqrt((fourth - variance**2) / count)
    assert float(np.mean((drawn.astype(np.float64) - mean) ** 2)) == pytest.approx(variance, abs=slack)


def test_a_normal_quantity_has_the_normal_distribution():
    """Kolmogorov and Smirnov: the largest gap between the distribution functions, 1.95/sqrt(N) at 0.1 %."""
    random = value_of(parsed("size j = 200\ninput x\nrandom e[j] = normal(0, 1)\ny = x*e[0]"), "e")
    drawn = np.sort(evaluate(random, {}, ("n", "j"), sizes={"n": 200, "j": 200}).reshape(-1))
    wanted = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in drawn])
    steps = np.arange(1, drawn.size + 1) / drawn.size
    assert max(np.abs(steps - wanted).max(), np.abs(steps - 1 / drawn.size - wanted).max()) < 1.95 / math.sqrt(
        drawn.size
    )


def test_draws_are_the_same_until_a_key_says_otherwise():
    system = parsed(NETWORK)
    arrays = {"x": np.ones((4, 2)), "t": np.zeros(4)}
    arrays |= {"W": np.ones((2, 3)), "v": np.ones(3), "gain": np.ones(3), "mu_avg": np.zeros(3), "var_avg": np.ones(3)}
    sizes, scalars = {"n": 4, "i": 2, "j": 3}, {"keep": 0.75}
    first, second = (run_system(system, arrays, sizes, scalars) for _ in range(2))
    assert np.array_equal(first["y"], second["y"])
    at = {key_name(name): keys(name, count, 0, [1])[0] for name, count in (("m", 1), ("e", 2))}
    assert np.array_equal(run_system(system, {**arrays, **at}, sizes, scalars)["y"], first["y"])
    later = {key_name("e"): keys("e", 2, 0, [2])[0]}
    other = run_system(system, {**arrays, **later}, sizes, scalars)
    assert np.array_equal(other["m"], first["m"])
    assert not np.any(other["e"] == first["e"])


def test_the_first_rows_do_not_depend_on_how_many_there_are():
    small, large = (even_numbers(12345, rows, 7, "float64") for rows in (3, 11))
    assert np.array_equal(small, large[:3])
