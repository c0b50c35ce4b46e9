"""The compiled step against its slow twin: every library formula, every example, random systems, both dtypes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import Diverged
from chainrule.library import LOSSES, UPDATES
from chainrule.training.network import Network, formula
from tests.random_systems import DOMAIN, Drawn, draw, smooth_activations, targets, together

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = 23  # with batches of 8: 8, 8 and 7


def compare(drawn: Drawn, dtype: str, **options: object) -> None:
    """Train with both engines and compare every parameter; differences are measured against its largest change."""
    nets = []
    for engine in ("native", "interpreter"):
        net = formula(drawn.text, dtype=dtype, sizes=drawn.sizes, seed=3)
        start = net.parameters
        net.fit(drawn.data, epochs=1, batch_size=8, verbose=0, engine=engine, advice=False, **options)
        nets.append(net)
    # One step's rounding is amplified by the next: three steps of float32 stay within 2e-4 of the change.
    tolerance = 1e-9 if dtype == "float64" else 2e-4
    assert_same(*nets, start, tolerance)


def assert_same(native: Network, slow: Network, start: dict[str, np.ndarray], tolerance: float) -> None:
    for name, value in native.parameters.items():
        wanted = slow.parameters[name]
        change = np.abs(wanted - start[name]).max() + 1e-3 * np.abs(wanted).max() + 1e-6
        assert np.abs(value - wanted).max() <= tolerance * change, name


HEAD = """
input x[i]
parameter W[i, j] = uniform(-0.7, 0.7)
parameter b[j] = uniform(-0.3, 0.3)
a[j] = sum[i](x[i]*W[i, j]) + b[j]
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation(dtype):
    """One layer under all of them at once: each has its own line and its own slope in the gradient."""
    lines = [f"h{n}[j] = {name}((1 + {n}/10)*a[j])" for n, name in enumerate(smooth_activations())]
    total = " + ".join(f"h{n}[j]**2" for n in range(len(lines)))
    text = HEAD + "\n".join(lines) + f"\nE = sum[j]({total})"
    x = np.random.default_rng(1).normal(size=(ROWS, 5))
    compare(Drawn(text, {"i": 5, "j": 19}, {"x": x}), dtype, learning_rate=0.003)


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.soak), "float64"])
def test_every_loss(dtype):
    """All of them added, on one layer; each has a target of its own kind and a prediction in its own domain."""
    rng = np.random.default_rng(2)
    lines, data = [], {"x": rng.normal(size=(ROWS, 5))}
    # What differs in float32 is the arithmetic, not the formulas: a third of them does, as all 43 compile for 15 s.
    rows = list(LOSSES.values())[:: 1 if dtype == "float64" else 3]
    for n, row in enumerate(rows):
        domain, kind = DOMAIN.get(row.name, ("{}", "real"))
        target = "y" if kind == "label" else "t"
        text = "\n".join([row.target, f"p[k] = {domain.format('a[k]')}", row.formula])
        text += "".join(f"\n{name} = {value}" for name, value in row.defaults.items())
        names = {"t", "y", "p", "E", *row.defaults}
        lines.append(re.sub(r"[^\W\d]\w*", lambda m: f"{m[0]}_{n}" if m[0] in names else m[0], text))
        data[f"{target}_{n}"] = targets(rng, kind, ROWS, 4)
    total = "E = " + " + ".join(f"E_{n}" for n in range(len(rows)))
    head = HEAD.replace("j", "k")
    compare(Drawn(head + "\n".join(lines) + "\n" + total, {"i": 5, "k": 4}, data), dtype, learning_rate=0.003)


@pytest.mark.parametrize("rule", list(UPDATES))
def test_every_update_rule(rule):
    rng = np.random.default_rng(3)
    data = {"x": rng.normal(size=(ROWS, 5)), "t": rng.normal(size=ROWS)}
    text = (EXAMPLES / "least_squares.formula").read_text().replace("w[i], b = zeros", "w[i], b = normal(0, 1)")
    compare(Drawn(text, {"i": 5}, data), "float64", optimizer=rule)


@pytest.mark.parametrize("group", [0, 1, *(pytest.param(n, marks=pytest.mark.soak) for n in range(2, 8))])
def test_random_systems(group):
    rng = np.random.default_rng(100 + group)
    compare(together([draw(rng, n, ROWS) for n in range(2)]), "float64", learning_rate=0.02)


@pytest.mark.soak
@pytest.mark.parametrize("group", range(500))
def test_a_thousand_random_systems(group):
    rng = np.random.default_rng(10_000 + group)
    compare(together([draw(rng, n, ROWS) for n in range(2)]), "float64", learning_rate=0.02)


@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.formula")))
def test_every_example(name):
    net = formula(EXAMPLES / f"{name}.formula")
    if net.system.loss is None and not net.system.updates:
        pytest.skip("fixed weights: nothing to train")
    rng = np.random.default_rng(0)
    known = {"i": 9, "j": 6, "k": 4}
    data = {}
    for tensor in net.system.of_role("input", "target"):
        shape = [ROWS, *(net.sizes.get(i, known[i]) for i in tensor.indices if i != "n")]
        data[tensor.name] = rng.integers(0, 2, shape).astype(float)
        if any(f.operator == "==" for f in net.system.facts) and tensor.role == "target":
            data[tensor.name] = np.eye(shape[1])[rng.integers(0, shape[1], ROWS)]
    sizes = {i: known[i] for t in net.system.tensors.values() for i in t.indices if i in known} | net.sizes
    compare(Drawn(net.formulas, sizes, data), "float64")


def test_batch_statistics_and_a_loss_of_the_whole_batch():
    text = """
    input x[i]
    target t
    parameter w[i] = uniform(-1, 1)
    parameter gamma = 1
    parameter beta = 0
    a = sum[i](x[i]*w[i])
    m = mean[n](a)
    v = mean[n]((a - m)**2)
    y = gamma*(a - m)/sqrt(v + 0.001) + beta
    C = mean[n]((y - t)**2) + max[n](abs(y))/10
    loss C
    output y
    """
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(ROWS, 4)), "t": rng.normal(size=ROWS)}
    compare(Drawn(text.replace("    ", ""), {"i": 4}, data), "float64", learning_rate=0.1)


def test_big_enough_for_whole_tiles_panels_and_blocks():
    rng = np.random.default_rng(5)
    text = (EXAMPLES / "digits.formula").read_text().replace("size      j = 512", "size j = 131")
    data = {"x": rng.random((150, 97)), "t": np.eye(10)[rng.integers(0, 10, 150)]}
    for dtype, tolerance in (("float64", 1e-9), ("float32", 1e-3)):
        nets = []
        for engine in ("native", "interpreter"):
            net = formula(text, dtype=dtype, sizes={"i": 97, "k": 10})
            start = net.parameters
            net.fit(data, epochs=1, batch_size=64, verbose=0, engine=engine, advice=False)
            nets.append(net)
        assert_same(*nets, start, tolerance)


DECAYING = """
input x[i]
target t
parameter w[i] = 1
y = sum[i](x[i]*w[i])
E = 1/2*(y - t)**2
"""


def small_numbers_are_kept() -> bool:
    """Whether NumPy, in this thread, computes below the normal numbers."""
    return bool(np.array([1e-38], np.float32) * np.float32(0.1) > 0)


def decay(x: np.ndarray, threads: int) -> Network:
    """A training whose moments get a gradient from the first row only where x has zeros then."""
    net = formula(DECAYING, sizes={"i": 3})
    rule = "m <- 0.9*m + 0.1*g\nw <- w - eta*m\neta = 0.0001"
    net.fit({"x": x, "t": np.full(len(x), 1e-3)}, epochs=1, batch_size=1, shuffle=False, verbose=0, advice=False,
            optimizer=rule, engine="native", threads=threads)  # fmt: skip
    return net


@pytest.mark.parametrize("threads", [1, 2])
def test_what_decays_below_the_normal_numbers_becomes_zero(threads):
    """0.9 times the smallest number rounds to it again: moments would stay there for ever, at 2.5 times the time."""
    x = np.ones((1200, 3), np.float32)
    x[1:, 0] = 0
    m = decay(x, threads).kept["m_w"]
    assert m[0] == 0
    assert m[1] != 0


@pytest.mark.parametrize("ends", ["whole", "diverged"])
def test_the_caller_s_arithmetic_stays_as_it_was(ends):
    """One thread is the caller's own."""
    x = np.ones((5, 3), np.float32)
    if ends == "diverged":
        x[-1, 2] = np.float32(3e38)
        with pytest.raises(Diverged):
            decay(x, threads=1)
    else:
        net = decay(x, threads=1)
        assert small_numbers_are_kept()
        for rows in (x[:1], x):
            for _ in range(20):  # the sixteenth call compiles
                net.predict({"x": rows})
    assert small_numbers_are_kept()


def test_what_is_compiled_is_kept_for_the_next_network():
    from chainrule.kernels.compile import compile_source
    from chainrule.kernels.source import write_module

    net = formula(EXAMPLES / "least_squares.formula", sizes={"i": 3})
    program, _ = net.training_program()
    module = write_module(program, {"x": "float32", "t": "float32"})
    first = compile_source(module.text, "float32")
    again = compile_source(module.text, "float32")
    assert again.entry is first.entry or again.from_cache


def test_the_generated_module_can_be_read():
    from chainrule.kernels.source import write_module

    net = formula(EXAMPLES / "digits.formula", sizes={"i": 784, "k": 10})
    program, _ = net.training_program("rmsprop")
    text = write_module(program, {"x": "uint8", "t": "uint8"}).text
    assert "# h[j] = relu(a_h[j])" in text
    assert "# dE_dW1[i, j] = mean[n](x[i]*delta_h[j])" in text
    compile(text, "module", "exec")


def test_the_text_does_not_depend_on_how_python_orders_sets():
    """Else the cache would be missed in every second process."""
    program = """
import hashlib, sys
from pathlib import Path
from chainrule.kernels.source import write_module
from chainrule.training.network import formula
net = formula(Path(sys.argv[1]), sizes={"i": 784, "k": 10})
program, _ = net.training_program("adam", {})
module = write_module(program, {"x": "uint8", "t": "uint8"}, frozenset({"x"}))
print(hashlib.sha256(module.text.encode()).hexdigest())
"""
    found = set()
    for seed in "1234":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", program, str(EXAMPLES / "digits.formula")],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
