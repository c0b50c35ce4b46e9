"""The measured peak: that the loops do what their arithmetic says. How fast they are, no test says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from chainrule.kernels import peak
from chainrule.kernels.compile import optimized_module
from chainrule.kernels.host import tile_shape


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Loops of a few turns; nothing measured here may be kept for others."""
    monkeypatch.setattr(peak, "TURNS", 1000)
    monkeypatch.setattr(peak, "MOVED_BYTES", 1 << 14)
    monkeypatch.setattr(peak, "REPEATS", 2)
    monkeypatch.setattr(peak, "LEAST_SECONDS", 0)
    for kept in (peak.ticks_per_second, peak._peak_flops, peak._bandwidth):
        kept.cache_clear()
    yield
    for kept in (peak.ticks_per_second, peak._peak_flops, peak._bandwidth):
        kept.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
def test_figures_are_positive_and_finite(dtype, threads):
    assert 0 < peak.peak_flops(dtype, threads) < np.inf
    assert 0 < peak.bandwidth(100_000, dtype, threads) < np.inf
    assert 0 < peak.ticks_per_second() < np.inf


def test_a_figure_is_measured_once():
    assert peak.peak_flops() == peak.peak_flops("float32", None)
    assert peak.bandwidth(70_000) == peak.bandwidth(80_000)  # both below the same power of four


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_turn_does_all_of_its_multiply_adds(dtype):
    """The optimizer must neither join two turns into one (x and y constant) nor compute equal sums once."""
    lanes, turns = tile_shape(dtype).lanes, 7
    memory = np.zeros((peak.SUMS + 1) * lanes, dtype)
    memory[: peak.SUMS * lanes] = np.arange(peak.SUMS * lanes)
    memory[peak.SUMS * lanes :][:2] = 0.5, 0.25
    expected = memory[: peak.SUMS * lanes].copy()
    for _ in range(turns):
        expected = expected * memory.dtype.type(0.5) + memory.dtype.type(0.25)
    call = peak._Call(memory, np.zeros(2, np.int64), [0, turns, 0, 0])
    peak._compiled(dtype).entry(0, 1, *call.words)
    np.testing.assert_allclose(memory[: peak.SUMS * lanes], expected, rtol=1e-6)
    code = str(optimized_module(peak._compiled(dtype).text, dtype, "chainrule_epoch_test", "peak"))
    body = re.search(r"define internal [^\n]*@multiply_add.*?\n}", code, re.DOTALL)
    assert body is not None
    products, sums = (len(re.findall(rf" {kind} [^\n]*<{lanes} x ", body[0])) for kind in ("fmul", "fadd"))
    assert products == sums  # one product and one sum each, however often the loop is unrolled
    assert products % peak.SUMS == 0


def test_a_pass_changes_every_number_once():
    lanes = tile_shape("float32").lanes
    count, passes = 8 * lanes, 3
    memory = np.zeros(count + 1, np.float32)
    call = peak._Call(memory, np.zeros(2, np.int64), [1, passes, count, 0])
    peak._compiled("float32").entry(0, 1, *call.words)
    assert memory[:count].tolist() == [passes] * count
    assert memory[count] == 0
