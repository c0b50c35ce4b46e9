"""The microkernel of sparse products against NumPy and the dense tile, and its code for machines that are not here."""

from __future__ import annotations

import ctypes
import re

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir

from chainrule.kernels.compile import _target_machine, compile_source
from chainrule.kernels.host import TileShape, tile_shape
from chainrule.kernels.sparse import build_sparse, walk_panels
from chainrule.kernels.tile import build_tile

DTYPES = ["float32", "float64"]
# (rows of sums, panels) of each microkernel.
KINDS = [(rows, panels) for rows in (1, 2) for panels in range(1, walk_panels(tile_shape("float32"), rows) + 1)]
SPARSE = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * 2, ctypes.c_void_p
)  # fmt: skip
TILE = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p
)  # fmt: skip


def build(shape, dtype, kind, triple=None):
    rows, panels = kind
    module = ir.Module()
    module.triple = triple or llvm.get_process_triple()
    build_sparse(module, shape, dtype, panels, rows).linkage = "external"
    return module


class Kernels:
    """The microkernels of one dtype: `sparse[kind]` and `tile`."""

    def __init__(self, dtype):
        self.dtype, self.shape = dtype, tile_shape(dtype)
        module = ir.Module()
        module.triple = llvm.get_process_triple()
        built = {kind: build_sparse(module, self.shape, dtype, kind[1], kind[0]) for kind in KINDS}
        tile = build_tile(module, self.shape, dtype)
        for function in (*built.values(), tile):
            function.linkage = "external"
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), _target_machine())
        self.engine.finalize_object()
        self.sparse = {n: SPARSE(self.engine.get_function_address(f.name)) for n, f in built.items()}
        self.tile = TILE(self.engine.get_function_address(tile.name))

    def product(self, kind, places, values, b, out=None):
        """values is (entries, rows), b (panels, rows of b, panel); out is written over, or gone on with."""
        go_on = out is not None
        size = kind[0] * kind[1] * self.shape.panel
        # One number more: what the kernel writes beyond its end is found.
        memory = np.full(size + 1, np.nan, self.dtype)
        if go_on:
            memory[:size] = out
        entries = entries_of(places, values)
        self.sparse[kind](entries.ctypes.data, places.size, b.ctypes.data, b[0].size, go_on, memory.ctypes.data)
        assert np.isnan(memory[size])
        return memory[:size]


def entries_of(places, values):
    """A list as it lies in memory: place, value (or two), place, value, …, all of the same number of bytes."""
    entries = np.empty((places.size, 1 + values.shape[1]), values.dtype)
    entries[:, 0] = places.astype(f"i{values.itemsize}").view(values.dtype)
    entries[:, 1:] = values
    return entries


KERNELS = {dtype: Kernels(dtype) for dtype in DTYPES}


@pytest.fixture(params=KERNELS)
def kernels(request):
    return KERNELS[request.param]


def draw(rng, kernels, kind, length, count):
    """(places, values, b)."""
    places = rng.integers(0, length, count).astype(np.int32)
    values = rng.standard_normal((count, kind[0])).astype(kernels.dtype)
    b = rng.standard_normal((kind[1], length, kernels.shape.panel)).astype(kernels.dtype)
    return places, values, b


def exact(places, values, b):
    """(the sums, the sums of sizes), in long double: a row of all panels for each value of an entry."""
    chosen = b[:, places].astype(np.longdouble)
    return (np.einsum("er,pec->rpc", values.astype(np.longdouble), chosen).reshape(-1),
            np.einsum("er,pec->rpc", np.abs(values), np.abs(chosen)).reshape(-1))  # fmt: skip


def assert_near(out, places, values, b):
    sums, sizes = exact(places, values, b)
    # Each sum is rounded once for each of its products.
    assert np.all(np.abs(out - sums) <= (places.size + 1) * np.finfo(out.dtype).eps * sizes)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 40, 301])
@pytest.mark.parametrize("kind", KINDS)
def test_any_list(kernels, kind, count):
    drawn = draw(np.random.default_rng(count), kernels, kind, 50, count)
    assert_near(kernels.product(kind, *drawn), *drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_list(kernels, kind):
    places, values, b = draw(np.random.default_rng(0), kernels, kind, 3, 0)
    assert np.all(kernels.product(kind, places, values, b) == 0)
    before = np.arange(kind[0] * kind[1] * kernels.shape.panel, dtype=kernels.dtype)
    assert np.array_equal(kernels.product(kind, places, values, b, before), before)


@given(st.data())
def test_any_division_of_a_list_is_one_sum(data):
    """go_on: the parts of a list, one after the other, give the bits of the whole."""
    kernels = KERNELS[data.draw(st.sampled_from(sorted(KERNELS)))]
    kind = data.draw(st.sampled_from(KINDS))
    count = data.draw(st.integers(0, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    places, values, b = draw(rng, kernels, kind, data.draw(st.integers(1, 40)), count)
    whole = kernels.product(kind, places, values, b)
    assert_near(whole, places, values, b)
    ends = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    out = None
    for start, stop in zip([0, *ends], [*ends, count], strict=True):
        out = kernels.product(kind, places[start:stop], values[start:stop], b, out)
    assert np.array_equal(out, whole)


def test_a_panel_has_the_same_bits_in_any_company(kernels):
    """How many panels and rows one walk serves is a matter of speed: it may depend on the data, the sums may not."""
    most = max(panels for _, panels in KINDS)
    places, values, b = draw(np.random.default_rng(1), kernels, (2, most), 50, 77)
    values[::3, 0] = 0  # as in a list that two columns share
    alone = [kernels.product((1, most), places, values[:, [row]], b).reshape(most, -1) for row in (0, 1)]
    for rows, panels in KINDS:
        for first in range(most - panels + 1):
            out = kernels.product((rows, panels), places, values[:, :rows], b[first : first + panels])
            wanted = [alone[row][first : first + panels] for row in range(rows)]
            assert np.array_equal(out.reshape(rows, panels, -1), wanted)


def test_zeros_beside_a_value_change_no_bit(kernels):
    """A column that shares its list with another has entries of 0 where only the other is not 0."""
    places, values, b = draw(np.random.default_rng(6), kernels, (1, 2), 50, 60)
    there = np.arange(60) % 3 > 0
    both = np.where(there[:, None], values, 0) * [1, 0] + values * [0, 1]
    out = kernels.product((2, 2), places, both.astype(kernels.dtype), b).reshape(2, -1)
    assert np.array_equal(out[0], kernels.product((1, 2), places[there], values[there], b))
    assert np.array_equal(out[1], kernels.product((1, 2), places, values, b))


@pytest.mark.parametrize("rows", [1, 2])
def test_panels_may_lie_apart(kernels, rows):
    kind, shape = (rows, 2), kernels.shape
    places, values, b = draw(np.random.default_rng(2), kernels, (rows, 5), 20, 30)
    memory = np.zeros(rows * 2 * shape.panel, kernels.dtype)
    entries, step = entries_of(places, values), 3 * 20 * shape.panel
    kernels.sparse[kind](entries.ctypes.data, 30, b[1].ctypes.data, step, 0, memory.ctypes.data)
    assert np.array_equal(memory, kernels.product(kind, places, values, np.ascontiguousarray(b[[1, 4]])))


@pytest.mark.parametrize("density", [0, 0.02, 0.2, 1])
@pytest.mark.parametrize("panels", [panels for rows, panels in KINDS if rows == 1])
def test_sparse_and_dense_agree(kernels, panels, density):
    rng = np.random.default_rng(3)
    length, shape = 300, kernels.shape
    _, _, b = draw(rng, kernels, (1, panels), length, 0)
    row = (rng.standard_normal(length) * (rng.random(length) < density)).astype(kernels.dtype)
    places = np.flatnonzero(row).astype(np.int32)
    out = kernels.product((1, panels), places, row[places, None], b).reshape(panels, -1)
    for panel in range(panels):
        dense = np.zeros((shape.rows, shape.panel), kernels.dtype)
        kernels.tile(row.ctypes.data, length, 1, 1, b[panel].ctypes.data, shape.panel, length, 0, dense.ctypes.data)
        # The same products in the same order, and zeros between them.
        assert np.array_equal(out[panel], dense[0])


def test_nan_and_infinity_come_through(kernels):
    places, values, b = draw(np.random.default_rng(4), kernels, (1, 1), 10, 6)
    for bad in (np.nan, np.inf):
        changed = values.copy()
        changed[3] = bad
        assert not np.isfinite(kernels.product((1, 1), places, changed, b)).any()
        changed = b.copy()
        changed[0, places[2], 1] = bad
        assert list(np.isfinite(kernels.product((1, 1), places, values, changed))).count(False) == 1


@pytest.mark.parametrize("rows", [1, 2])
def test_a_place_is_multiplied_in_64_bits(kernels, rows):
    """A place of float32's lists has 32 bits; what lies there, place · panel numbers away, may be further."""
    module = str(build(kernels.shape, kernels.dtype, (rows, 1)))
    assert not re.search(r"(mul|shl) (nsw )?i32", module)


BUILD_AND_WALK = """
def epoch(thread, threads, address, number, scalar, control):
    pairs = F_at(address[0])
    row = F_at(address[1])
    count = 0
    for i in range(number[0]):
        if row[i] != 0:
            put_pair(pairs, count, i, row[i])
            count += 1
    walk_list(number[1], pairs, count, F_at(address[2]), number[2], 0, F_at(address[3]))
    return count
"""


@pytest.mark.parametrize("panels", [panels for rows, panels in KINDS if rows == 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_text_builds_lists_and_walks_them(dtype, panels, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    kernels, rng = KERNELS[dtype], np.random.default_rng(5)
    _, row, b = draw(rng, kernels, (1, panels), 40, 40)
    row = row[:, 0]
    row[rng.random(40) < 0.7] = 0
    places = np.flatnonzero(row)
    pairs, out = np.zeros((places.size, 2), dtype), np.zeros(panels * kernels.shape.panel, dtype)
    address = np.array([a.ctypes.data for a in (pairs, row, b, out)])
    number = np.array([40, panels, b[0].size])
    count = compile_source(BUILD_AND_WALK, dtype).entry(0, 1, address.ctypes.data, number.ctypes.data, None, None)
    assert count == places.size
    assert pairs.tobytes() == entries_of(places, row[places, None]).tobytes()
    assert np.array_equal(out, kernels.product((1, panels), places, row[places, None], b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("triple", "cpu", "vectors", "vector_bytes"),
    [
        ("x86_64-unknown-linux-gnu", "haswell", 2, 32),
        ("x86_64-unknown-linux-gnu", "skylake-avx512", 4, 64),
        ("aarch64-unknown-linux-gnu", "generic", 4, 16),
    ],
)
def test_inner_loop_stays_in_registers(triple, cpu, vectors, vector_bytes, dtype):
    """Cross-compiled: the code of the loop is read, not run."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    shape = TileShape(6, vectors, vector_bytes // np.dtype(dtype).itemsize)
    for rows, panels in [(rows, n) for rows in (1, 2) for n in range(1, walk_panels(shape, rows) + 1)]:
        module = llvm.parse_assembly(str(build(shape, dtype, (rows, panels), triple)))
        blocks = re.split(r"\n\.?LBB", machine.emit_assembly(module))
        operand = r"\S*\(.*\)" if rows == 1 else ""  # with one row, it reads its operand from memory itself
        multiply_add = {
            32: rf"vfmadd\d+p[sd]\s+{operand}.*%ymm",
            64: rf"vfmadd\d+p[sd]\s+{operand}.*%zmm",
            16: rf"fmla\s+v\d+\.{shape.lanes}{(dtype[5] == '3' and 's') or 'd'}",
        }[vector_bytes]
        (loop,) = [b for b in blocks if re.search(multiply_add, b)]
        assert len(re.findall(multiply_add, loop)) == rows * panels * vectors
        assert not re.findall(r"mov[ua]p[sd].*\(%rsp\)|(?:ldr|str|ldp|stp)\s+q\d+.*\[sp", loop)
