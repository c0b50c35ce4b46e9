"""The printed NumPy program: it runs as it stands, and arrives at the weights of the interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings

from chainrule.errors import NotDifferentiable, SettingError, ShapeError
from chainrule.program.lower import lower_prediction
from chainrule.program.write import Options, write_numpy
from chainrule.training.initial import starts
from chainrule.training.network import Network, formula
from tests.random_systems import draw, together
from tests.strategies import systems

EXAMPLES = Path(__file__).parents[2] / "examples"
GOLDEN = Path(__file__).parents[1] / "golden" / "programs"
ROWS = 21


def printed(net: Network, optimizer: str | None = None, dtype: str = "float64", **hyper: float) -> str:
    program, _ = net.training_program(optimizer)
    hyper = {n: v for n, v in net.hyper.items() if n not in program.defaults} | hyper
    options = Options(dtype, seed=net.seed, text=net.formulas)
    return write_numpy(program, net.sizes, starts(net.system), hyper, options)


def names_of(text: str) -> dict[str, Any]:
    """What the program defines. It may set NumPy's warnings, for itself only."""
    names: dict[str, Any] = {}
    with np.errstate():
        exec(compile(text, "printed", "exec"), names)
    return names


def compare(net: Network, data: dict[str, np.ndarray], optimizer: str | None = None, **hyper: float) -> None:
    """Two epochs in batches of 8 (the last of 5), by the printed program and by the interpreter, weight by weight."""
    net.bind((data,), {}, ("input", "target", "label"))
    text = printed(net, optimizer, **hyper)
    program, _ = net.training_program(optimizer)
    with np.errstate(all="ignore"):
        trained = names_of(text)["train"](*(data[t.name] for t in program.inputs), epochs=2, batch_size=8)
    options = {"engine": "interpreter", "verbose": 0, "advice": False}
    net.fit(data, epochs=2, batch_size=8, optimizer=optimizer, hyper=hyper, **options)
    for tensor, value in zip(net.system.parameters, trained, strict=True):
        wanted = net.parameters[tensor.name]
        assert np.shape(value) == wanted.shape
        assert value == pytest.approx(wanted, rel=1e-9, abs=1e-12), text


@pytest.mark.parametrize("optimizer", ["gradient_descent", "momentum", "rmsprop", "adam", "adamw", "nesterov", "lion"])
def test_the_digit_network(optimizer):
    net = formula((EXAMPLES / "digits.formula").read_text().replace("512", "7"), dtype="float64", seed=5)
    rng = np.random.default_rng(0)
    compare(net, {"x": rng.random((ROWS, 6)), "t": np.eye(4)[rng.integers(0, 4, ROWS)]}, optimizer)


@pytest.mark.parametrize(
    "name",
    ["one_layer", "mlp", "autoencoder", "logistic", "least_squares", "perceptron", "perceptron_loss"]
    + ["xor_hidden", "xor_basis"],
)
def test_the_examples(name):
    net = formula(EXAMPLES / f"{name}.formula", dtype="float64")
    rng = np.random.default_rng(0)
    known = {"i": 6, "j": 3, "k": 3}
    data = {
        t.name: rng.integers(0, 2, [ROWS, *(net.sizes.get(i, known[i]) for i in t.indices if i != "n")]).astype(float)
        for t in net.system.of_role("input", "target")
    }
    compare(net, data)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed):
    drawn = together([draw(np.random.default_rng(seed), 0, ROWS)])
    net = formula(drawn.text, dtype="float64", sizes=drawn.sizes, seed=seed)
    compare(net, drawn.data, eta=0.01)


def check_one_step(drawn) -> None:
    """One step of printed code against one of the interpreter, from the same weights."""
    from chainrule.program.interpret import run

    net = formula(drawn.text, dtype="float64", sizes=drawn.sizes)
    try:
        program, _ = net.training_program("momentum")
    except NotDifferentiable:
        reject()  # step, sign and floor are among what is drawn
    arrays = drawn.arrays(rows=5, seed=0)
    kept = {t.name: arrays.get(t.name, np.zeros([drawn.sizes[i] for i in t.indices])) for t in program.kept}
    hyper = {n: float(v) for n, v in program.defaults.items()} | {"eta": 1e-3}
    text = write_numpy(program, net.sizes, starts(net.system), {"eta": 1e-3})
    parameters = [kept[t.name] for t in program.kept if t.role == "parameter"]
    state = [kept[t.name] for t in program.kept if t.role == "state"]
    with np.errstate(all="ignore"):
        after, _, loss = names_of(text)["train_step"](parameters, state, *(arrays[t.name] for t in program.inputs))
        wanted = run(program, {**arrays, **kept}, {**drawn.sizes, "n": 5}, hyper)
    for tensor, value in zip(net.system.parameters, after, strict=True):
        scale = np.abs(wanted[tensor.name]).max(initial=1)
        assert value == pytest.approx(wanted[tensor.name], rel=1e-9, abs=1e-11 * scale, nan_ok=True), text
    assert loss == pytest.approx(wanted[program.loss], rel=1e-9, abs=1e-12, nan_ok=True), text


@settings(max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(systems())
def test_random_formulas(drawn):
    check_one_step(drawn)


@pytest.mark.soak
@settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
@given(systems())
def test_many_random_formulas(drawn):
    check_one_step(drawn)


def test_float32_stays_float32():
    """An integer array, or a number of NumPy's own, would make float64 of it on the way."""
    for seed in range(20):
        drawn = together([draw(np.random.default_rng(seed), 0, ROWS)])
        net = formula(drawn.text, sizes=drawn.sizes, seed=seed)
        net.bind((drawn.data,), {}, ("input", "target", "label"))
        text = printed(net, "adam", dtype="float32")
        program, _ = net.training_program("adam")
        given = [drawn.data[t.name] for t in program.inputs]
        data = [a if a.dtype.kind == "i" else a.astype(np.float32) for a in given]
        with np.errstate(all="ignore"):
            trained = names_of(text)["train"](*data, epochs=1, batch_size=8)
        assert {np.asarray(w).dtype for w in trained} == {np.dtype(np.float32)}, text


AWKWARD = {
    "batch statistics, fixed entries and ties": """\
input x[i]
target t
parameter w[i], c[j] = uniform(-1, 1)
a = sum[i](x[i]*w[i]) + x[0]*c[1]
m = mean[n](a)
v = mean[n]((a - m)**2)
y = (a - m)/sqrt(v + 0.001) + max[j](c[j]) + sum[j](j*c[j])
E = (y - t)**2
""",
    "three indices, a diagonal, distances, a penalty": """\
input x[i], u[k]
target t[j]
parameter W[i, j, k], c[i, j], A[j, j2] = normal(0, 0.3)
lambda_ = 0.01
h[j] = sum[i, k](x[i]*W[i, j, k]*u[k])
q[j] = sum[i]((x[i] - c[i, j])**2)
s = sum[j](A[j, j])*sum[i, j](exp(-q[j])*c[i, j])
v[j] = tanh(sum[j2](A[j, j2]*h[j2]) + h[j]*q[j])
E = sum[j]((v[j] - t[j])**2)/2 + 0.01*tanh(s**2) + logsumexp[j](h[j])*max[j](v[j]) + lambda_*sum[j, j2](A[j, j2]**2)
""",
    "truth values as numbers": """\
input x[i]
target t
parameter w[i], b = uniform(-1, 1)
a = sum[i](w[i]*x[i]) + b
g = 1 - [a > 0] + [a < 0.5] - [x[0] > 0]*[x[1] > 0] + 2*[a > 0] - sum[i]([x[i] > 0])
E = (a*g - t)**2 + [t > 0]*a
""",
    "names that Python and the program have for something else": """\
input math[i], np
target l
parameter N[i], I, parameters = uniform(-1, 1)
len = sum[i](N[i]*math[i]) + I*np
size_i = sigmoid(len)*parameters
E = (size_i - l)**2
""",
    "an update of every kind": """\
input x[i]
target t
parameter w[i], b, c = 0.25
state m[i] = 0.5
eta = 0.1
y = sum[i](w[i]*x[i]) + b + c
E = (y - t)**2
m[i] <- 0.9*m[i] + g0*sum[i](w[i])
w[j] <- w[j] - eta*(y - t)*x[j] + m[j]/100
b <- b - eta*step/steps
g0 = 0.01
""",
}


def sizes_of(text: str) -> dict[str, int]:
    """What the data do not say."""
    return {index: 3 for index in ("j", "j2") if f"{index}] =" in text}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward(name):
    net = formula(AWKWARD[name], dtype="float64", sizes=sizes_of(AWKWARD[name]))
    rng = np.random.default_rng(0)
    sizes = {"i": 4, "j": 3, "k": 2}
    data = {
        t.name: rng.normal(size=[ROWS, *(sizes[i] for i in t.indices if i != "n")])
        for t in net.system.of_role("input", "target")
    }
    compare(net, data)


def test_a_label():
    text = "input x[i]\nlabel y in k\nparameter W[i, k] = glorot_uniform\nsize k = 3\nt[k] = [k == y]\n"
    net = formula(text + "E = -sum[k](t[k]*log_softmax[k](sum[i](x[i]*W[i, k])))\n", dtype="float64")
    rng = np.random.default_rng(0)
    compare(net, {"x": rng.normal(size=(ROWS, 4)), "y": rng.integers(0, 3, ROWS)})


@pytest.mark.parametrize("name", ["nand", "xor", "half_adder"])
def test_fixed_weights_are_printed_as_a_prediction(name):
    net = formula(EXAMPLES / f"{name}.formula", dtype="float64")
    names = names_of(write_numpy(lower_prediction(net.system), net.sizes, starts(net.system)))
    bits = np.array([0.0, 0, 1, 1]), np.array([0.0, 1, 0, 1])
    assert np.array_equal(names["predict"](names["initialize"](), *bits), net.predict(*bits))


def test_what_cannot_be_printed_is_said():
    net = formula("input x[i]\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])*beta\nE = y**2")
    with pytest.raises(SettingError, match="beta"):
        printed(net)
    net = formula("input x[i]\nparameter w[j] = zeros\ny = sum[i](x[i])*sum[j](w[j])\nE = y**2")
    with pytest.raises(ShapeError, match="j"):
        printed(net)


@pytest.mark.parametrize("name", ["digits", "one_layer", "mlp", "logistic"])
def test_the_text_is_the_one_that_was_looked_at(name):
    """Golden: a change of the printed program is seen by a reviewer. Delete the file to write it anew."""
    text = printed(formula(EXAMPLES / f"{name}.formula"), "rmsprop" if name == "digits" else None)
    path = GOLDEN / f"{name}.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_it_runs_as_it_stands_with_and_without_data(tmp_path):
    net = formula(EXAMPLES / "digits.formula")
    (tmp_path / "digits.py").write_text(printed(net, "adam"))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.random((30, 9)), t=np.eye(4)[rng.integers(0, 4, 30)])
    for arguments in ([], [str(tmp_path / "data.npz")]):
        command = [sys.executable, "-W", "error", "-I", str(tmp_path / "digits.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("epoch") == 5


def test_linters_have_nothing_to_say(tmp_path):
    for name in ["digits", "one_layer", "mlp", "logistic", "autoencoder", "perceptron", "xor_basis", "xor_hidden"]:
        (tmp_path / f"{name}.py").write_text(printed(formula(EXAMPLES / f"{name}.formula"), dtype="float32"))
    for number, text in enumerate(AWKWARD.values()):
        (tmp_path / f"awkward_{number}.py").write_text(printed(formula(text, sizes=sizes_of(text))))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_a_text_cannot_leave_the_docstring():
    text = '# """; import os \\N{nothing}\n' + (EXAMPLES / "logistic.formula").read_text()
    tree = ast.parse(printed(formula(text)))
    assert [n.names[0].name for n in ast.walk(tree) if isinstance(n, ast.Import)] == ["sys", "numpy"]


@pytest.mark.parametrize("start", ["truncated_normal(0.5, 2)", "keras_he_normal", "orthogonal(2)", "identity(3)"])
def test_starting_values_that_numpy_does_not_draw_itself(start):
    net = formula(
        f"size k = 3\ninput x[i]\ntarget t[k]\nparameter W[i, k] = {start}\np[k] = sum[i](x[i]*W[i, k])\n"
        "E = sum[k]((t[k] - p[k])**2)",
        dtype="float64",
        sizes={"i": 5},
        seed=4,
    )
    (first,) = names_of(printed(net))["initialize"]()
    assert first == pytest.approx(net.parameters["W"], rel=1e-14)
