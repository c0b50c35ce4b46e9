"""`chainrule check` and `chainrule derivative`: results, pictures, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule.derivation.adjoint import derive_system
from chainrule.formula.expr import mul, number
from chainrule.interfaces.cli import main
from chainrule.interfaces.pictures.differentiation import derivative_picture, gradient_error_picture
from chainrule.training import network as network_module

EXAMPLES = Path(__file__).parents[2] / "examples"
LOGISTIC = EXAMPLES / "logistic.formula"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.formula")), ids=lambda p: p.stem)
def test_every_example_checks_or_has_nothing_to_check(capsys, path):
    has_loss = cr.formula(path).system.loss is not None
    code, out, err = call(capsys, "check", path)
    assert code == (0 if has_loss else 2), out + err
    assert ("✓" in out) == has_loss
    assert ("no loss" in err) == (not has_loss)


def test_a_wrong_gradient_is_exit_code_1(capsys, monkeypatch):
    def wrong(system):
        derivation = derive_system(system)
        adjoints = [
            replace(a, equation=replace(a.equation, value=mul(number(-1), a.equation.value))) if a.of == "w" else a
            for a in derivation.adjoints
        ]
        return replace(derivation, adjoints=tuple(adjoints))

    monkeypatch.setattr(network_module, "derive_system", wrong)
    code, out, _ = call(capsys, "check", LOGISTIC)
    assert code == 1
    assert "✗ The gradient of w does not agree" in out
    code, out, _ = call(capsys, "check", LOGISTIC, "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False


def test_rows_of_a_data_set(capsys):
    code, out, _ = call(capsys, "check", EXAMPLES / "mlp.formula", "--data", "mnist", "--index", "0..2", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["samples"] == 3
    assert record["parameters"]["w1"]["shape"] == [30, 784]
    assert record["largest"]["error"] < 1e-8


def test_a_model_file_is_checked_at_its_own_weights(capsys, tmp_path):
    net = cr.formula(LOGISTIC, sizes={"i": 2})
    net.set_parameters(w=[0.25, -0.5], b=0.125)
    net.save(tmp_path / "model.safetensors")
    code, out, _ = call(capsys, "check", tmp_path / "model.safetensors", "--json")
    assert code == 0
    drawn = json.loads(call(capsys, "check", LOGISTIC, "--json")[1])
    assert json.loads(out)["loss"] != drawn["loss"]
    again = json.loads(call(capsys, "check", tmp_path / "model.safetensors", "--json", "--seed", "0")[1])
    assert again == json.loads(out)


def test_the_seed_draws_other_data(capsys):
    losses = {json.loads(call(capsys, "check", LOGISTIC, "--json", "--seed", seed)[1])["loss"] for seed in (1, 2, 2)}
    assert len(losses) == 2


def test_the_cost_of_both_ways(capsys):
    code, out, _ = call(capsys, "check", LOGISTIC, "--cost")
    assert code == 0
    assert "difference quotients" in out
    code, out, _ = call(capsys, "check", LOGISTIC, "--cost", "--json")
    assert json.loads(out)["weights"] == 3


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["no.formula"], "no.formula"),
        ([LOGISTIC, "--data", "cifar"], "no data set cifar"),
        ([LOGISTIC, "--picture", "e.png", "--weight", "w[9]"], "out of range"),
        ([LOGISTIC, "--picture", "e.png", "--weight", "W"], "no parameter W"),
        ([LOGISTIC, "--seed", "-1"], "seed"),
        ([LOGISTIC, "--weight", "w[0]"], "--picture"),
        ([LOGISTIC, "--cost", "--picture", "e.png"], "--cost"),
        ([LOGISTIC, "--data", "mnist", "--claim", "dE/db = p - t"], "--data"),
        ([EXAMPLES / "mlp.formula", "--data", "mnist", "--index", "9..0"], "backward"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_2(capsys, arguments, part):
    code, _, err = call(capsys, "check", *arguments)
    assert code == 2
    assert part in err
    assert len(err.strip().splitlines()) == 1


def test_a_claim_is_checked(capsys):
    assert call(capsys, "check", LOGISTIC, "--claim", "dE/dw[i] = (p - t)*x[i]")[0] == 0
    assert call(capsys, "check", LOGISTIC, "--claim", "dE/dw[i] = (t - p)*x[i]")[0] == 1
    code, out, _ = call(capsys, "check", LOGISTIC, "dE/dw[i] = (p - t)*x[i]", "dE/db = t - p")  # as one tries it first
    assert code == 1
    assert out.index("dE/dw[i]") < out.index("dE/db")
    code, _, err = call(capsys, "check", LOGISTIC, "--claim", "dE/dw[i] = (p -")
    assert code == 2
    assert err


def test_it_speaks_korean(capsys):
    code, out, _ = call(capsys, "check", LOGISTIC, "--lang", "ko")
    assert code == 0
    assert "모든 기울기가 일치합니다" in out


# --- derivative -------------------------------------------------------------------------------------------------------


def test_the_derivative_of_a_formula(capsys):
    code, out, _ = call(capsys, "derivative", "x**2", "--at", "1")
    assert code == 0
    assert "from 1 to 2" in out
    assert "f′(x) = 2 x,   f′(1) = 2" in out
    record = json.loads(call(capsys, "derivative", "x**2", "--at", "-3", "--json")[1])
    assert (record["value"], record["slope"]) == (9.0, -6.0)


def test_a_point_that_will_not_do(capsys):
    code, _, err = call(capsys, "derivative", "log(x)", "--at", "-1")
    assert code == 1
    assert "no finite value at x = -1" in err


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_the_picture_of_the_error_against_the_step(capsys, tmp_path):
    code, _, err = call(capsys, "check", LOGISTIC, "--picture", "error.png", "--weight", "w[1]")
    assert code == 0, err
    with Image.open("error.png") as image:
        assert image.size[0] > 600
    net = cr.formula(LOGISTIC, dtype="float64")
    net.set_parameters(w=[0.75, -0.25], b=0.5)
    figure = gradient_error_picture(net, [[0.5, 1.0]], [1.0], path=tmp_path / "error.svg")
    (axes,) = figure.axes
    assert "∂E/∂w[1]" in axes.get_title()  # the largest gradient is that of the largest input
    central, imaginary = axes.lines[1], axes.lines[2]
    at = np.asarray(central.get_xdata())
    near = np.abs(np.log10(at) + 5) < 1.5
    # Lowest in the middle, higher at both ends; the complex step is flat and lower at small steps.
    errors = np.asarray(central.get_ydata())
    assert errors[near].min() < 1e-9
    assert errors[at > 0.1].min() > 1e-6
    assert errors[at < 1e-13].max() > 1e-6
    assert np.asarray(imaginary.get_ydata())[at < 1e-8].max() < 1e-14
    assert (tmp_path / "error.svg").stat().st_size > 10_000


@pytest.mark.parametrize("text", ["x**2", "log(x)", "1/x", "relu(x)"])
def test_the_picture_of_a_tangent(tmp_path, text):
    figure = derivative_picture(text, at=1.0, path=tmp_path / "tangent.png")
    above, below = figure.axes
    (tangent,) = [line for line in above.lines if "tangent" in str(line.get_label())]
    x, y = (np.asarray(v) for v in tangent.get_data())
    slope = cr.derivative(text, at=1.0).slope
    assert np.polyfit(x, y, 1)[0] == pytest.approx(slope)
    assert below.lines[0].get_ydata()[len(x) // 2] == pytest.approx(slope, rel=0.02)
    with Image.open(tmp_path / "tangent.png") as image:
        assert image.size[1] > 600


def test_a_picture_of_an_unknown_kind(capsys):
    code, _, err = call(capsys, "derivative", "x**2", "--picture", "tangent.bmp")
    assert code == 1
    assert ".svg" in err
