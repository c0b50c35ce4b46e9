"""Random data: they satisfy what a text declares, and give finite values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainrule.derivation.sampling import draw_arrays, draw_scalars, small_sizes
from chainrule.errors import DataError
from chainrule.formula.evaluate import run_system
from chainrule.formula.parse import parse_system
from chainrule.library import LOSSES
from chainrule.training.vocabulary import vocabulary

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.formula"))


def system_of(text: str):
    return parse_system(text, vocabulary())


def drawn(text: str, samples: int = 4, seed: int = 0):
    system = system_of(text)
    return draw_arrays(system, small_sizes(system), np.random.default_rng(seed), samples)


def test_sizes_are_those_of_the_text_else_all_different():
    sizes = small_sizes(system_of("size j = 2\ninput x[i]\nparameter W[i, j], V[j, k], b[l]\ny = x[4]"))
    assert sizes["j"] == 2
    assert sizes["i"] >= 5  # x[4]
    assert len(set(sizes.values())) == len(sizes)


def test_indices_that_share_a_slot_share_a_size():
    sizes = small_sizes(system_of("input x[i]\nparameter W[a, b]\ny[j] = sum[i](W[j, i]*x[i])"))
    assert sizes["a"] == sizes["j"] != sizes["b"] == sizes["i"]


def test_a_target_that_sums_to_one_does():
    t = drawn("target t[k], sum[k](t[k]) = 1")["t"]
    assert t.sum(axis=1) == pytest.approx(np.ones(4))
    assert (t > 0).all()


@pytest.mark.parametrize(
    ("fact", "holds"),
    [
        ("t[k]**2 = 1", lambda t: (t**2 == 1).all()),
        ("sum[k](t[k]**2) = 1", lambda t: np.allclose((t**2).sum(axis=1), 1)),
        ("t[k] > 1", lambda t: (t > 1).all()),
        ("t[k] < 0", lambda t: (t < 0).all()),
        ("t[k]*(1 - t[k]) = 0", lambda t: np.isin(t, (0, 1)).all()),
    ],
)
def test_other_facts_hold_too(fact, holds):
    assert holds(drawn(f"target t[k], {fact}")["t"])


def test_a_fact_that_nothing_satisfies_is_named():
    with pytest.raises(DataError, match=r"t\[k\]\*\*2 = -1"):
        drawn("target t[k], t[k]**2 = -1")


def test_labels_are_classes():
    labels = drawn("size k = 3\nlabel y in k", samples=50)["y"]
    assert set(labels.tolist()) == {0, 1, 2}


def test_a_logarithm_of_a_weight_gets_positive_weights():
    arrays = drawn("input x\nparameter w[i]\nE = x*sum[i](log(w[i]))")
    assert (arrays["w"] > 0).all()


def test_without_a_finite_value_it_says_so():
    with pytest.raises(DataError, match="finite"):
        drawn("parameter w\nE = log(-1 - w**2)")


def test_a_hyper_parameter_keeps_its_value():
    rng = np.random.default_rng(0)
    scalars = draw_scalars(system_of("beta = 0.5\ninput x\nparameter w\nE = (w*x)**beta"), rng)
    assert scalars["beta"] == 0.5


def test_the_same_seed_draws_the_same():
    text = "input x[i]\ntarget t[k], sum[k](t[k]) = 1\nparameter W[i, k]"
    first, again, other = drawn(text, seed=1), drawn(text, seed=1), drawn(text, seed=2)
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not np.array_equal(first["W"], other["W"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_example_can_be_drawn(path):
    system = system_of(path.read_text(encoding="utf-8"))
    sizes = small_sizes(system)
    arrays = draw_arrays(system, sizes, np.random.default_rng(0), 3)
    known = run_system(system, arrays, {**sizes, system.samples: 3}, draw_scalars(system, np.random.default_rng(0)))
    assert all(np.isfinite(known[e.target.tensor]).all() for e in system.equations)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda row: row.name)
def test_every_loss_of_the_library_is_finite_on_what_is_drawn(loss):
    values = "\n".join(f"{name} = {value}" for name, value in loss.defaults.items())
    text = f"input x[i]\nparameter W[i, k]\n{loss.target}\n{values}\np[k] = softmax[k](sum[i](x[i]*W[i, k]))\n"
    arrays = drawn(text + loss.formula)
    assert all(np.isfinite(a).all() for a in arrays.values())
