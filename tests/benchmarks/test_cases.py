"""Every case is a network that chainrule reads, with the shape that its peers are given."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from benchmarks.cases import CASES, GROWTH_CASES, SWEEPS
from benchmarks.data import CLASSES, first_weights, mixed, normal, rebuild, score
from benchmarks.sides import MODULES, differs

EVERY_CASE = [*CASES.values(), *GROWTH_CASES.values()]


@pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: case.name)
def test_formulas_are_read_and_say_all_sizes(case):
    system = cr.formula(case.formula).system
    assert system.loss == "E"
    assert {index for p in system.parameters for index in p.indices} <= set(system.sizes)


@pytest.mark.parametrize("case", [case for case in EVERY_CASE if not case.text], ids=lambda case: case.name)
def test_the_common_weights_fit_the_formulas(case):
    network = cr.formula(case.formula)
    for layer, (weight, bias) in enumerate(first_weights(case.layers), start=1):
        network.set_parameters({f"W{layer}": weight, f"b{layer}": bias})
    dense = [n for n in network.parameters if n[0] in "Wb" and n[1:].isdigit()]
    assert len(dense) == 2 * (len(case.layers) - 1)


def test_first_weights_are_chainrules_glorot_uniform():
    (weight, bias), *_ = first_weights((300, 200, 10))
    bound = np.sqrt(6 / 500)
    assert 0.99 * bound < abs(weight).max() <= bound
    assert not bias.any()


def test_goals_are_of_sides_that_take_part():
    for case in CASES.values():
        assert set(case.goals) <= set(case.sides) <= set(MODULES)
        assert case.sides[0] == "chainrule"


def test_steps_count_the_smaller_last_batch():
    assert CASES["A"].steps == 469
    assert all(case.steps * case.batch_size >= case.rows for case in EVERY_CASE)


def test_growth_changes_one_size_at_a_time():
    assert {name.partition("=")[0] for name in GROWTH_CASES} == set(SWEEPS)
    assert GROWTH_CASES["depth=8"].layers == (256, *[256] * 8, 10)
    assert GROWTH_CASES["rows=1000000"].rows == 1_000_000
    assert GROWTH_CASES["batch=1"].batch_size == 1


def test_only_scikit_learn_differs():
    told = {(side, name) for side in MODULES for name, case in CASES.items() if differs(side, case)}
    assert ("sklearn", "A") in told
    assert ("sklearn", "B") in told
    assert {side for side, _ in told} == {"sklearn"}


def test_made_data_have_the_shapes_of_their_cases():
    table, numbers, itself = mixed(50), normal(12, 50), rebuild(12, 50)
    assert table.train.inputs.shape == (50, 64)
    assert table.train.targets.shape == (50, 1)
    one_hot = table.train.inputs[:, -8:]
    assert set(np.unique(one_hot)) <= {0, 1}
    assert (one_hot.sum(axis=1) == 1).all()
    assert set(np.unique(numbers.test.targets)) == set(range(CLASSES))
    assert itself.train.targets is itself.train.inputs
    assert {data.train.inputs.dtype for data in (table, numbers, itself)} == {np.dtype("float32")}


def test_the_same_seed_makes_the_same_data():
    assert np.array_equal(mixed(20).test.targets, mixed(20).test.targets)


def test_scores_by_hand():
    outputs = np.array([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]])
    targets = np.array([0, 1])
    cross_entropy = score(CASES["A"], outputs, targets)
    assert cross_entropy["loss"] == pytest.approx((np.log(2) - np.log(0.75)) / 2)
    assert cross_entropy["accuracy"] == 1.0
    half_squared = score(CASES["B"], outputs, targets)
    assert half_squared["loss"] == pytest.approx((0.25 + 0.0625) / 2)
    assert score(CASES["D"], np.array([1.0, 2.0]), np.array([[0.0], [4.0]])) == {"loss": 2.5}
