"""The machine as it is seen, and as it is narrowed."""

from __future__ import annotations

import dataclasses
import os

import pytest

from chainrule.errors import SettingError
from chainrule.kernels.host import host, tile_shape


def test_host_is_found_once():
    assert host() is host()
    assert host().cpu
    assert host().vector_bytes in (16, 32, 64)


def test_cores_are_those_this_process_may_use():
    if hasattr(os, "sched_getaffinity"):
        assert host().cores == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("vector_bytes", "registers", "dtype", "tile"),
    [
        (64, 32, "float32", (6, 4, 16)),  # AVX-512
        (64, 32, "float64", (6, 4, 8)),
        (32, 16, "float32", (6, 2, 8)),  # AVX2
        (32, 16, "float64", (6, 2, 4)),
        (16, 32, "float32", (6, 4, 4)),  # NEON
        (16, 16, "float32", (6, 2, 4)),  # SSE
    ],
)
def test_tile_fits_the_registers(vector_bytes, registers, dtype, tile):
    machine = dataclasses.replace(host(), vector_bytes=vector_bytes, vector_registers=registers)
    shape = tile_shape(dtype, machine)
    assert dataclasses.astuple(shape) == tile
    assert shape.panel == tile[1] * tile[2]
    # All sums, the vectors of b, and one broadcast number of a.
    assert shape.rows * shape.vectors + shape.vectors + 1 <= registers


def test_vectors_can_be_narrowed(monkeypatch):
    monkeypatch.setenv("CHAINRULE_VECTOR_BYTES", "16")
    assert host().vector_bytes == 16
    assert tile_shape("float32").lanes == 4
    assert "+avx512f" not in host().features


@pytest.mark.parametrize("given", ["24", "1024", "wide"])
def test_no_other_width(monkeypatch, given):
    monkeypatch.setenv("CHAINRULE_VECTOR_BYTES", given)
    with pytest.raises(SettingError, match="CHAINRULE_VECTOR_BYTES"):
        host()
