"""The operations and bytes of a step, counted from its formulas."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.kernels.source import write_module
from chainrule.kernels.work import Sizes, Work, gather_work, work_of
from chainrule.training.network import formula
from tests.random_systems import draw, together

DENSE = """
input     x[i]
target    t[j]
parameter W[i, j], b[j] = zeros
y[j] = sum[i](x[i]*W[i, j]) + b[j]
E    = sum[j]((y[j] - t[j])**2)
"""
N, I, J = 6, 40, 5
SIZES = {"n": N, "i": I, "j": J}


def works(text: str, dtypes: dict[str, str], sizes: Sizes, sparse: frozenset[str] = frozenset()) -> dict[str, Work]:
    """The work of each function of the training step, by the equations that it computes."""
    program, _ = formula(text).training_program("gradient_descent")
    module = write_module(program, dtypes, sparse)
    found = {" ; ".join(f.group.formulas): work_of(f.group, module, program, sizes) for f in module.functions}
    return {**found, "gather": gather_work(module, program, sizes)}


def find(found: dict[str, Work], start: str) -> Work:
    (work,) = (w for name, w in found.items() if name.startswith(start))
    return work


def test_a_product_counts_two_for_a_multiply_add_and_its_bias():
    found = works(DENSE, {"x": "float32", "t": "float32"}, Sizes(SIZES, 4))
    work = find(found, "y[j] =")
    assert work.flops == work.dense_flops
    assert work.flops >= 2 * N * I * J + N * J
    assert work.flops <= 2 * N * I * J + 10 * N * J  # and what else ends it, entry by entry


def test_bytes_are_those_of_every_tensor_once():
    text = DENSE.replace(" + b[j]", "").replace(", b[j] = zeros", "")
    work = find(works(text, {"x": "float32", "t": "float32"}, Sizes(SIZES, 4)), "dE_dW")
    # Reads x and the deltas and W, writes W: the gradient is never there.
    assert work.bytes == 4 * (N * I + N * J + 2 * I * J)


def test_a_sparse_product_has_two_counts():
    sizes = Sizes(SIZES, 4, {"x": 1}, {"x": 0.25})
    found = works(DENSE, {"x": "uint8", "t": "float32"}, sizes, frozenset({"x"}))
    work = find(found, "y[j] =")
    assert work.dense_flops - work.flops == pytest.approx(0.75 * 2 * N * I * J)
    # A place of 4 bytes and a byte from the data set; pairs of 8 bytes along rows and down columns; and the target.
    assert found["gather"].bytes == 0.25 * N * I * (4 + 1 + 16) + 8 * N * J


def test_a_gather_reads_and_writes_every_number():
    found = works(DENSE, {"x": "uint8", "t": "float64"}, Sizes(SIZES, 4, {"x": 1, "t": 8}))
    assert found["gather"].bytes == N * I * (1 + 4) + N * J * (8 + 4)


def test_what_depends_on_fewer_indices_counts_fewer_times():
    text = "input x[i]\nparameter w = 1\ny[i] = x[i]*exp(w)\nE = sum[i](y[i])"
    found = works(text, {"x": "float32"}, Sizes({"n": N, "i": I}, 4))
    # w has no index: exp(w) is one operation, the product N·I.
    assert find(found, "y[i] =").flops in (N * I, N * I + 1, 2 * N * I, 2 * N * I + 1)


def test_a_mean_batch_may_have_a_broken_number_of_samples():
    half = Sizes({**SIZES, "n": 1.5}, 4)
    found = works(DENSE, {"x": "float32", "t": "float32"}, half)
    assert found["gather"].bytes == 1.5 * (I + J) * 8


@pytest.mark.parametrize("seed", range(12))
def test_every_program_can_be_counted(seed):
    drawn = together([draw(np.random.default_rng(seed), seed, 6)])
    program, _ = formula(drawn.text).training_program("adam")
    module = write_module(program, {t.name: "int64" if t.role == "label" else "float32" for t in program.inputs})
    sizes = Sizes({**drawn.sizes, **formula(drawn.text, sizes=drawn.sizes).sizes, program.samples: 6}, 4)
    for function in module.functions:
        work = work_of(function.group, module, program, sizes)
        assert 0 <= work.flops == work.dense_flops < np.inf
        assert 0 < work.bytes < np.inf
    assert gather_work(module, program, sizes).bytes > 0


def test_a_copy_in_panels_moves_bytes_and_computes_nothing():
    """The right side of the second product is read over two indices: it is packed before."""
    text = """
    input     x[i, j]
    parameter W[j, c], V[i, c, d] = normal(0, 1)
    h[i, c] = sum[j](x[i, j]*W[j, c])
    y[d] = sum[i, c](h[i, c]*V[i, c, d])
    E    = sum[d](y[d]**2)
    """
    sizes = Sizes({"n": N, "i": 3, "j": 4, "c": 5, "d": 6}, 4)
    program, _ = formula(text).training_program("gradient_descent")
    module = write_module(program, {"x": "float32"})
    copies = [f for f in module.functions if f.group.head.out.tensor in module.scratch]
    assert copies
    for function in copies:
        work = work_of(function.group, module, program, sizes)
        assert (work.flops, work.bytes > 0) == (0, True)
