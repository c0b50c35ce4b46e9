"""Inputs of class numbers: the notation, what is accepted as data, and everything that a network does with them."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.errors import DataError, NotationError, ShapeError
from chainrule.formula.parse import parse_system
from chainrule.formula.text import system_text
from chainrule.messages import set_language
from chainrule.training.network import formula
from chainrule.training.vocabulary import vocabulary
from tests.program.test_write import compare

TEXT = """
size d = 3
input c in v, x
input s[l] in v
target t
parameter T[v, d], w[d] = uniform(-1, 1)
e[d] = sum[v]([v == c]*T[v, d]) + sum[l, v]([v == s[l]]*T[v, d])
y = sum[d](tanh(e[d])*w[d]) + x
E = (y - t)**2
"""


def rows(count: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    c, s = rng.integers(0, 7, count), rng.integers(0, 9, (count, 4))
    s[0, 0] = 8
    return {"c": c, "x": rng.normal(size=count), "s": s, "t": rng.normal(size=count)}


def test_what_the_line_declares():
    system = parse_system(TEXT, vocabulary())
    assert [(t.name, t.indices, t.classes) for t in system.of_role("input")] == [
        ("c", ("n",), "v"),
        ("x", ("n",), None),
        ("s", ("n", "l"), "v"),
    ]


def test_parsing_what_is_printed_gives_the_same_system():
    system = parse_system(TEXT, vocabulary())
    again = parse_system(system_text(system), vocabulary())
    assert again.tensors == system.tensors
    assert again.equations == system.equations


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("input c in", NotationError),
        ("input c in 3", NotationError),
        ("input c in n", ShapeError),
        ("input c[v] in c", NotationError),
        ("target c in v", NotationError),
        ("parameter c in v", NotationError),
        ("input c in v, c in u", NotationError),
    ],
)
def test_lines_that_are_no_declaration(line, error):
    with pytest.raises(error, match="line 1"):
        parse_system(f"{line}\ny = 1")


def test_the_sum_is_the_row():
    given = rows()
    net = formula(TEXT, dtype="float64")
    weights = {"T": np.random.default_rng(1).normal(size=(9, 3)), "w": np.array([1.0, -2, 0.5])}
    net.set_parameters(weights)
    row = weights["T"][given["c"]] + weights["T"][given["s"]].sum(axis=1)
    wanted = np.tanh(row) @ weights["w"] + given["x"]
    assert np.allclose(net.predict({n: given[n] for n in "cxs"}), wanted, rtol=1e-13)
    assert np.isclose(net.evaluate(given)["loss"], np.mean((wanted - given["t"]) ** 2), rtol=1e-13)
    assert net.check_gradients(given).ok


def test_inputs_over_one_index_learn_its_size_together():
    net = formula(TEXT)
    net.bind((rows(),), {}, ("input", "target"))
    assert net.sizes == {"d": 3, "v": 9, "l": 4}  # 8 is the largest of s, 6 of c


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("c", lambda c: c + 5, r"c has 1\d at \[\d+\] .* from 0 to 8"),
        ("c", lambda c: c - 1, r"c has -1 at \[\d+\]"),
        ("c", lambda c: c + 0.5, r"c has \d.5 at \[0\]"),
        ("s", lambda s: s + (s == 8) * 5, r"s has 13 at \[0, 0\] .*'v'"),
        ("s", lambda s: s[:, :3], r"\(20, 3\)"),
        ("c", lambda c: c[:19], "different numbers of samples"),
        ("c", lambda c: np.array(["a"] * 20), "real numbers"),
        ("c", lambda c: np.where(c == 0, np.nan, c), "nan"),
    ],
)
def test_numbers_that_are_no_class(name, value, said):
    given = rows()
    net = formula(TEXT)
    net.bind((given,), {}, ("input", "target"))
    with pytest.raises(DataError, match=said) as caught:
        net.fit({**given, name: value(given[name])}, verbose=0)
    assert "\n" not in str(caught.value)


def test_the_korean_message():
    net = formula(TEXT, sizes={"v": 3})
    set_language("ko")
    try:
        with pytest.raises(DataError, match="클래스는 0부터 2까지의 정수입니다"):
            net.evaluate(rows())
    finally:
        set_language("en")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "float32", "float64", "bool", ">i4"])
def test_whole_numbers_of_any_dtype(dtype):
    net = formula("input c in v\nparameter T[v] = [3, 5]\ny = sum[v]([v == c]*T[v])", dtype="float64")
    assert net.predict(np.array([0, 1, 1], dtype)).tolist() == [3, 5, 5]
    assert net.predict([[1], [0]]).tolist() == [5, 3]  # a column, and a list


def test_a_model_file_knows_its_categories(tmp_path):
    net = formula(TEXT, dtype="float64", seed=4)
    given = rows()
    net.fit(given, epochs=1, verbose=0, engine="interpreter")
    net.save(tmp_path / "model.safetensors")
    again = chainrule.load(tmp_path / "model.safetensors")
    inputs = {n: given[n] for n in "cxs"}
    assert np.array_equal(again.predict(inputs), net.predict(inputs))
    with pytest.raises(DataError, match="from 0 to 8"):
        again.predict({**inputs, "c": given["c"] + 9})


def test_its_pages():
    """The derivation, a page with numbers, the program as NumPy: each tells of the table's gradient."""
    net = formula(TEXT, dtype="float64", seed=4)
    given = rows()
    page = net.explain(given, weight="T[8, 1]", sample=0)
    assert "T[8, 1]" in str(page) or "T_{8" in str(page) or "T[8" in page.terminal()
    assert np.allclose(page["dE_dT"], net.gradients(given)["T"], rtol=1e-10)
    events = list(net.step_through(given))
    assert {e.phase for e in events} == {"forward", "backward", "update"}
    assert "T" in repr(net.program())


def test_the_printed_program_trains_alike():
    """`show --as numpy`: the text runs, and arrives at the interpreter's weights."""
    compare(formula(TEXT, dtype="float64", seed=4), rows(21), "momentum")
