"""The microkernel against NumPy, and its code for machines that are not here."""

from __future__ import annotations

import ctypes
import re

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from chainrule.kernels.compile import _target_machine
from chainrule.kernels.host import TileShape, tile_shape
from chainrule.kernels.tile import build_tile

SIGNATURE = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
)


def build(shape, dtype, triple=None):
    module = ir.Module()
    module.triple = triple or llvm.get_process_triple()
    build_tile(module, shape, dtype).linkage = "external"
    return module


@pytest.fixture(scope="module", params=["float32", "float64"])
def tile(request):
    """(function, shape, dtype) for this machine."""
    dtype = request.param
    shape = tile_shape(dtype)
    machine = _target_machine()
    source = build(shape, dtype)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(source)), machine)
    engine.finalize_object()
    (name,) = [f.name for f in source.functions if f.blocks]
    yield SIGNATURE(engine.get_function_address(name)), shape, dtype
    del engine


def random(rng, *size, dtype):
    return rng.standard_normal(size).astype(dtype)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 64, 301])
def test_every_row_count(tile, length, transposed):
    function, shape, dtype = tile
    rng = np.random.default_rng(length)
    tolerance = 8 * np.finfo(dtype).eps * np.sqrt(length + 1)
    for rows in range(1, shape.rows + 1):
        # Exactly as large as the valid rows: a read beyond would be outside of the array.
        a = random(rng, length, rows, dtype=dtype) if transposed else random(rng, rows, length, dtype=dtype)
        row_step, sum_step = (1, rows) if transposed else (length, 1)
        b = random(rng, length, shape.panel, dtype=dtype)
        out = np.full((shape.rows, shape.panel), np.nan, dtype)
        function(
            a.ctypes.data, row_step, sum_step, rows, b.ctypes.data, shape.panel, length, 0, out.ctypes.data
        )  # fmt: skip
        left = a.T if transposed else a
        exact = left.astype(np.longdouble) @ b.astype(np.longdouble)
        scale = np.abs(left) @ np.abs(b) + 1
        assert np.all(np.abs(out[:rows] - exact) <= tolerance * scale)
        # What is not there repeats the last row: finite, and never read.
        assert np.array_equal(out[rows:], np.repeat(out[rows - 1 : rows], shape.rows - rows, axis=0))


def test_b_may_have_a_step_of_its_own_and_no_alignment(tile):
    function, shape, dtype = tile
    rng = np.random.default_rng(0)
    a = random(rng, shape.rows, 20, dtype=dtype)
    memory = random(rng, 1 + 20 * (shape.panel + 3), dtype=dtype)
    b = memory[1:].reshape(20, shape.panel + 3)
    out = np.zeros((shape.rows, shape.panel), dtype)
    function(a.ctypes.data, 20, 1, shape.rows, b.ctypes.data, shape.panel + 3, 20, 0, out.ctypes.data)
    assert np.allclose(out, a @ b[:, : shape.panel], rtol=1e-4, atol=1e-4)


def test_a_sum_in_parts_has_the_bits_of_a_whole_one(tile):
    function, shape, dtype = tile
    rng = np.random.default_rng(1)
    a, b = random(rng, 5, 300, dtype=dtype), random(rng, 300, shape.panel, dtype=dtype)
    whole, parts = np.zeros((2, shape.rows, shape.panel), dtype)
    function(a.ctypes.data, 300, 1, 5, b.ctypes.data, shape.panel, 300, 0, whole.ctypes.data)
    for go_on, (first, last) in enumerate(((0, 1), (1, 150), (150, 150), (150, 300))):
        places = a.ctypes.data + first * a.itemsize, b[first:].ctypes.data
        function(places[0], 300, 1, 5, places[1], shape.panel, last - first, go_on, parts.ctypes.data)
    assert np.array_equal(parts, whole)


def test_nan_and_infinity_come_through(tile):
    function, shape, dtype = tile
    a = np.zeros((shape.rows, 4), dtype)
    a[1, 2], a[2, 3] = np.nan, np.inf
    b = np.ones((4, shape.panel), dtype)
    out = np.zeros((shape.rows, shape.panel), dtype)
    function(a.ctypes.data, 4, 1, shape.rows, b.ctypes.data, shape.panel, 4, 0, out.ctypes.data)
    assert np.all(np.isnan(out[1])) and np.all(np.isposinf(out[2]))
    assert np.all(out[[0, *range(3, shape.rows)]] == 0)


@pytest.mark.parametrize(
    ("triple", "cpu", "shape", "multiply_add"),
    [
        ("x86_64-unknown-linux-gnu", "haswell", TileShape(6, 2, 8), r"vfmadd\d+ps.*%ymm"),
        ("x86_64-unknown-linux-gnu", "skylake-avx512", TileShape(6, 4, 16), r"vfmadd\d+ps.*%zmm"),
        ("aarch64-unknown-linux-gnu", "generic", TileShape(6, 4, 4), r"fmla\s+v\d+\.4s"),
    ],
)
def test_inner_loop_stays_in_registers(triple, cpu, shape, multiply_add):
    """Cross-compiled: the code of the loop is read, not run."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(str(build(shape, "float32", triple)))
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    blocks = re.split(r"\n\.?LBB", machine.emit_assembly(module))
    (loop,) = [b for b in blocks if len(re.findall(multiply_add, b)) >= shape.rows * shape.vectors]
    assert len(re.findall(multiply_add, loop)) == shape.rows * shape.vectors
    spilled = re.findall(r"mov[ua]ps.*\(%rsp\)|(?:ldr|str|ldp|stp)\s+q\d+.*\[sp", loop)
    assert not spilled
