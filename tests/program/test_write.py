"""The printed NumPy program: it runs as it stands, and arrives at the weights of the interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.program.write import size_names, write_numpy
from chainrule.training.initial import initial_sources
from chainrule.training.network import Network, formula
from tests.random_systems import draw, together

EXAMPLES = Path(__file__).parents[2] / "examples"
GOLDEN = Path(__file__).parents[1] / "golden" / "programs"
ROWS = 21


def printed(net: Network, optimizer: str | None = None) -> str:
    program, _ = net.training_program(optimizer)
    return write_numpy(program, net.sizes, initial_sources(net.system, size_names(program)))


def compare(net: Network, data: dict[str, np.ndarray], optimizer: str | None = None, **hyper: float) -> None:
    """Two epochs in batches of 8 (the last of 5), by the printed program and by the interpreter."""
    net.bind((data,), {}, ("input", "target", "label"))
    text = printed(net, optimizer)
    names: dict[str, object] = {}
    program, _ = net.training_program(optimizer)
    with np.errstate():  # the program may set NumPy's warnings for itself
        exec(compile(text, "printed", "exec"), names)
        ours = names["train"](*(data[t.name] for t in program.inputs), epochs=2, batch_size=8, seed=net.seed, **hyper)
    net.fit(data, epochs=2, batch_size=8, optimizer=optimizer, engine="interpreter", verbose=0, hyper=hyper)
    for tensor, value in zip(program.kept, ours, strict=True):
        wanted = net.kept[tensor.name]
        assert np.shape(value) == wanted.shape
        assert value == pytest.approx(wanted, rel=1e-9, abs=1e-12), text


@pytest.mark.parametrize("optimizer", ["gradient_descent", "rmsprop", "adam", "nesterov"])
def test_the_digit_network(optimizer):
    net = formula((EXAMPLES / "digits.formula").read_text().replace("512", "7"), dtype="float64", seed=5)
    rng = np.random.default_rng(0)
    compare(net, {"x": rng.random((ROWS, 6)), "t": np.eye(4)[rng.integers(0, 4, ROWS)]}, optimizer)


@pytest.mark.parametrize(
    "name", ["one_layer", "mlp", "autoencoder", "logistic", "perceptron", "xor_hidden", "xor_basis"]
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


def test_batch_statistics_fixed_entries_and_ties():
    text = """
    input x[i]
    target t
    parameter w[i], c[j] = uniform(-1, 1)
    a = sum[i](x[i]*w[i]) + x[0]*c[1]
    m = mean[n](a)
    v = mean[n]((a - m)**2)
    y = (a - m)/sqrt(v + 0.001) + max[j](c[j]) + sum[j](j*c[j])
    E = (y - t)**2
    """
    net = formula(text.replace("    ", ""), dtype="float64", sizes={"j": 3})
    rng = np.random.default_rng(0)
    compare(net, {"x": rng.normal(size=(ROWS, 4)), "t": rng.normal(size=ROWS)})


@pytest.mark.parametrize("name", ["digits", "one_layer", "mlp", "logistic"])
def test_the_text_is_the_one_that_was_looked_at(name):
    """Golden: a change of the printed program is seen by a reviewer. Delete the file to write it anew."""
    text = printed(formula(EXAMPLES / f"{name}.formula"), "rmsprop" if name == "digits" else None)
    path = GOLDEN / f"{name}.py.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_it_runs_as_it_stands_with_and_without_data(tmp_path):
    (tmp_path / "digits.py").write_text(printed(formula(EXAMPLES / "digits.formula"), "adam"))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.random((30, 9)), t=np.eye(4)[rng.integers(0, 4, 30)])
    for arguments in ([], [str(tmp_path / "data.npz")]):
        command = [sys.executable, "-W", "error", "-I", str(tmp_path / "digits.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("epoch") == 5
