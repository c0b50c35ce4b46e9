"""Where sizes come from, and what a conflict says. The errors with a place are in tests/golden/bad_texts.txt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from chainrule.errors import ShapeError
from chainrule.formula.evaluate import run_system
from chainrule.formula.parse import parse_system
from chainrule.formula.shapes import Sizes, nested_shape
from tests.strategies import GROUPS, Drawn, systems


def test_sizes_come_from_lines_values_and_data():
    system = parse_system("size j = 4\ninput x[i]\nparameter b[k] = [1, 2, 3]\ny[j] = sum[i, k](x[i]*b[k])*[j == 0]")
    sizes = Sizes(system)
    assert sizes.known == {"j": 4, "k": 3}
    assert sizes.missing() == ["i"]
    sizes.learn_shape(system.tensors["x"], (7,), "the data")
    assert sizes.require() == {"j": 4, "k": 3, "i": 7}


def test_a_size_spreads_through_every_use_under_another_name():
    """W[i, j] used as W[a, b]: a is i, b is j, in equations, updates and facts, forward and back."""
    system = parse_system("size a = 3, d = 2\nparameter W[i, j]\ny = sum[a, b](W[a, b])\nW[c, d] <- W[c, d]\n")
    assert Sizes(system).require() == {"a": 3, "d": 2, "i": 3, "j": 2, "b": 2, "c": 3}
    facts = parse_system("size l = 5\ntarget t[k], sum[l](t[l]) = 1")
    assert Sizes(facts).require() == {"l": 5, "k": 5}


def test_the_classes_of_a_label_and_a_measured_index_want_a_size():
    assert Sizes(parse_system("label y in k\nz = y")).missing() == ["k"]
    assert Sizes(parse_system("y = 1/size(k)")).missing() == ["k"]


def test_the_sample_axis_wants_none():
    system = parse_system("input x\nm = mean[n](x)\ny = x - m + size(n)")
    assert Sizes(system).require() == {}


def test_a_conflict_names_both_places():
    system = parse_system("size i = 784\ninput x[i]")
    with pytest.raises(ShapeError) as caught:
        Sizes(system).learn_shape(system.tensors["x"], (783,), "the array of x")
    assert str(caught.value) == (
        "index i has the size 784 from a size line and the size 783 from the array of x: make them agree"
    )


def test_numbers_for_all_entries_give_no_size():
    sizes = Sizes(parse_system("parameter W[i, j] = 0.5\ny = sum[i, j](W[i, j])"))
    assert sizes.known == {}


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (1.0, ()),
        ((1.0, 2.0), (2,)),
        (((1.0, 2.0),), (1, 2)),
        (((1.0,), (1.0, 2.0)), None),
        ((), None),
        (((), ()), None),
        ((1.0, (1.0,)), None),
    ],
)
def test_nested_shape(values, shape):
    assert nested_shape(values) == shape


@given(systems())
@settings(max_examples=50)
def test_the_sizes_of_random_systems(drawn: Drawn):
    """What spreads from some of the sizes never contradicts the others."""
    sizes = Sizes(drawn.system)
    for name in GROUPS:
        sizes.learn(name, drawn.sizes[name], "the test")
    sizes.spread()
    for name in sizes.missing():
        sizes.learn(name, drawn.sizes[name], "the test")
    found = sizes.require()
    assert {name: drawn.sizes[name] for name in found} == found
    values = run_system(drawn.system, drawn.arrays(rows=2, seed=1), {**drawn.sizes, "n": 2}, {"alpha": 0.7})
    for tensor in drawn.system.of_role("computed"):
        assert values[tensor.name].shape == tuple({**drawn.sizes, "n": 2}[i] for i in tensor.indices)
        assert np.all(np.isfinite(values[tensor.name]))
