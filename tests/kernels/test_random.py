"""Random quantities in the compiled step: the very numbers of formula/distributions.py, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.formula.distributions import even_numbers, keys
from chainrule.kernels.source import write_module
from chainrule.training.network import Network, formula

# `seen` gets the numbers themselves: a sum with one term that is not 0 is exact. 37 places are no whole vectors, two
# indices besides the sample have no room at their ends, and an index that stands first runs in no vector.
DRAWN = """
size r = 11
input c[r]
parameter b = 0.5
random u[j] = uniform(0, 1)
random q[j, k] = uniform(0, 1)
random s = uniform(0, 1)
random z[j] = normal(0, 1)
state seen[r, j] = zeros
state seen_q[r, j, k] = zeros
state seen_s[r] = zeros
state seen_z[r, j] = zeros
y = b*(sum[j](u[j] + z[j]) + sum[j, k](q[j, k]) + s)
E = y**2
seen[r, j] <- sum[n](c[n, r]*u[n, j])
seen_q[r, j, k] <- sum[n](c[n, r]*q[n, j, k])
seen_s[r] <- sum[n](c[n, r]*s[n])
seen_z[r, j] <- sum[n](c[n, r]*z[n, j])
"""
ROWS, J, K = 11, 37, 3


def trained(dtype: str, threads: int | None, steps: int, engine: str = "native") -> Network:
    net = formula(DRAWN, dtype=dtype, sizes={"j": J, "k": K}, seed=4)
    data = np.eye(ROWS, dtype=dtype)
    net.fit(data, epochs=steps, batch_size=ROWS, shuffle=False, learning_rate=0.0, verbose=0, seed=9, threads=threads,
            engine=engine)  # fmt: skip
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_compiled_step_draws_the_same_bits(dtype):
    for threads, steps in ((1, 1), (2, 3)):
        kept = trained(dtype, threads, steps).kept
        for name, places in (("u", J), ("q", J * K), ("s", 1)):
            seen = kept["seen" if name == "u" else f"seen_{name}"]
            wanted = even_numbers(int(keys(name, 1, 9, [steps])[0, 0]), ROWS, places, dtype)
            assert np.array_equal(seen.reshape(ROWS, places), wanted), (name, steps)


def test_the_interpreter_draws_them_too():
    compiled, slow = (trained("float32", 1, 2, engine).kept for engine in ("native", "interpreter"))
    for name in ("seen", "seen_q", "seen_s"):
        assert np.array_equal(compiled[name], slow[name])
    assert compiled["seen_z"] == pytest.approx(slow["seen_z"], rel=1e-5, abs=1e-6)
    assert np.std(compiled["seen_z"]) > 0.5


def test_a_mask_is_drawn_in_vectors():
    """A mask entry by entry would take ten times as long."""
    net = formula("size j = 64\ninput x[j]\nparameter w[j]\nrandom m[j] = bernoulli(0.8)\n"
                  "y = sum[j](x[j]*m[j]*w[j])\nE = y**2")  # fmt: skip
    program, _ = net.training_program("gradient_descent")
    module = write_module(program, {"x": "float32"})
    kinds = {f.group.head.out.tensor: f.kind for f in module.functions}
    assert kinds["m"] == "vectors"
    assert "draw_lanes(" in module.text
