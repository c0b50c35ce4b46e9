"""One step, looked at: instruction by instruction, and as equations beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import DataError, ShapeError
from chainrule.formula.typeset import Unicode
from tests.pages import EXAMPLES, network

DIGITS = (EXAMPLES / "digits.formula").read_text()


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    return network(DIGITS.replace("512", "5")), rng.normal(size=(4, 6)), np.eye(3)[[0, 2, 1, 1]]


def test_a_step_in_its_instructions(digits):
    """The events' outputs are the quantities of the formulas, computed here by NumPy."""
    net, x, t = digits
    before = {}
    events = list(net.step_through(x, t, optimizer="gradient_descent"))
    before = net.parameters
    assert [e.phase for e in events] == sorted([e.phase for e in events], key=["forward", "backward", "update"].index)
    out = {e.name: e.output for e in events if e.phase != "update"}
    a = x @ before["W1"] + before["b1"]
    h = np.maximum(a, 0)
    z = h @ before["W2"] + before["b2"]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    delta_h = (a > 0) * ((p - t) @ before["W2"].T)
    assert np.allclose(out["a_h"], a)
    assert np.allclose(out["h"], h)
    assert np.allclose(out["p"], p)
    assert np.allclose(out["E"], -(t * np.log(p)).sum(axis=1))
    assert np.allclose(out["delta_p"], p - t)
    assert np.allclose(out["dE_dW1"], x.T @ delta_h / 4)
    updated = {e.name: e for e in events if e.phase == "update"}
    assert np.allclose(updated["W1"].output, before["W1"] - 0.01 * x.T @ delta_h / 4)
    assert np.array_equal(updated["W1"].inputs["W1"], before["W1"])  # what it read, before it changed


def test_an_event_says_what_it_read(digits):
    net, x, t = digits
    first = next(net.step_through(x, t))
    assert first.formula == "a_h[j] = sum[i](x[i]*W1[i, j]) + b1[j]"
    assert set(first.inputs) == {"x", "W1", "b1"}
    assert np.array_equal(first.inputs["x"], x)
    assert str(first) == "forward: a_h[j] = sum[i](x[i]*W1[i, j]) + b1[j]    4×5"


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_stepping_through_is_a_step_of_training(digits, optimizer):
    net, x, t = digits
    last = {e.name: e.output for e in net.step_through(x, t, optimizer=optimizer)}
    net.fit(x, t, batch_size=None, shuffle=False, optimizer=optimizer, verbose=0, engine="interpreter")
    for name, array in net.parameters.items():
        assert np.allclose(last[name], array, rtol=1e-12)


def test_equations_beside_numpy(digits):
    net, x, t = digits
    net.bind((x, t), {}, ("input", "target"))
    text = str(net.program("rmsprop"))
    lines = [[c.strip() for c in line.split("  ") if c.strip()] for line in text.splitlines()]
    assert ["aʰⱼ = Σᵢ xᵢ W1ᵢⱼ + b1ⱼ", "a_h = x @ W1 + b1"] in lines
    assert ["δᵖₖ = pₖ − tₖ", "delta_p = p - t"] in lines
    assert ["v ← ρ v + (1 − ρ) g²", "v_W1 = rho * v_W1 + (1 - rho) * dE_dW1**2"] in lines


def test_every_equation_of_the_derivation_has_its_line(digits):
    net, x, t = digits
    net.bind((x, t), {}, ("input", "target"))
    text = str(net.program())
    system = net.derivation.system
    printer = Unicode(system.samples, system.tensors)
    for equation in (*system.equations, *net.derivation.backward):
        assert printer.equation(equation) in text


def test_the_program_page_in_every_form(digits, tmp_path):
    net, x, t = digits
    net.bind((x, t), {}, ("input", "target"))
    page = net.program()
    for name in ("p.html", "p.md", "p.tex", "p.txt"):
        page.save(tmp_path / name)
    assert "<code>delta_p = p - t</code>" in (tmp_path / "p.html").read_text()
    assert "`delta_p = p - t`" in (tmp_path / "p.md").read_text()
    assert r"\texttt{delta\_p = p - t}" in (tmp_path / "p.tex").read_text()


def test_what_is_asked_wrongly(digits):
    with pytest.raises(ShapeError):
        network(DIGITS).program()
    net, x, _ = digits
    with pytest.raises(DataError):
        net.step_through(x)
