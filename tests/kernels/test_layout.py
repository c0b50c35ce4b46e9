"""Where entries lie in memory: packing and unpacking, rows and their room, both copies of a tensor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.kernels import native
from chainrule.kernels.host import TileShape, tile_shape
from chainrule.kernels.layout import LINE_BYTES, LONG_ROW, Layout, Room
from tests.kernels.networks import case, thinned
from tests.kernels.simulation import simulate

SHAPES = [TileShape(6, 2, 4), TileShape(6, 2, 8), TileShape(6, 4, 16), TileShape(6, 4, 2)]


@st.composite
def layouts(draw):
    """(layout, array, room): any number of indices, panels over any of them or none, sizes from 1."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 16, 17]), max_size=4)))
    column = draw(st.none() | st.integers(0, len(shape) - 1)) if shape else None
    dtype = draw(st.sampled_from(["float32", "float64"]))
    indices = tuple("ijkl"[: len(shape)])
    if draw(st.booleans()) and len(shape) > 1:
        indices = (*indices[:-1], indices[-1] + "'")  # an index that a sum of the lowering renamed
    array = 1 + np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    return Layout(indices, column), array, Room.of(draw(st.sampled_from(SHAPES)), dtype)


@given(layouts())
def test_unpacking_is_packing_backwards(drawn):
    layout, array, room = drawn
    memory = layout.pack(array, room)
    sizes = {i.rstrip("'"): n for i, n in zip(layout.indices, array.shape, strict=True)}
    assert memory.size == layout.entries(sizes, room)
    assert memory.size % room.panel == 0
    again = layout.unpack(memory, sizes, room)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)
    assert not np.shares_memory(again, memory)
    # Each entry once, the rest filling.
    assert sorted(memory[memory != 0]) == sorted(array.reshape(-1))
    assert np.count_nonzero(memory) == array.size


@given(layouts())
def test_neighbours_lie_side_by_side(drawn):
    """Along `contiguous` a vector may begin at every multiple of a panel, and stays in the tensor's memory."""
    layout, array, room = drawn
    if layout.contiguous is None:
        return
    memory = layout.pack(array, room)
    axis = layout.indices.index(layout.contiguous)
    rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
    places = np.zeros(array.size + 1, int)
    places[memory.astype(int)] = np.arange(memory.size)
    for row in rows:
        for start in range(0, len(row), room.panel):
            part = row[start : start + room.panel]
            place = places[int(part[0])]
            assert layout.padded or place % room.panel == 0
            np.testing.assert_array_equal(memory[place : place + len(part)], part)
            assert place + room.panel <= memory.size


@pytest.mark.parametrize("item", [4, 8])
@pytest.mark.parametrize("panel", [4, 16, 32, 64])
def test_strides(panel, item):
    """Whole lines and, where rows are long, an odd number of them: a power of two apart they would share few places."""
    room = Room(panel, item)
    for size in [*range(1, 200), 255, 256, 257, 511, 512, 513, 784, 1000, 1024, 2048, 4096, 4097]:
        stride = room.stride(size)
        assert size <= stride < size + panel + LINE_BYTES // item
        if stride * item >= LONG_ROW:
            assert stride * item % (2 * LINE_BYTES) != 0
        # The last vector of a row, begun anywhere in a whole panel, ends in it.
        assert stride >= -(-size // panel) * panel


@pytest.mark.parametrize("name", ["tied", "deep", "skip", "three indices"])
@pytest.mark.parametrize("sparse", [False, True])
def test_both_copies_of_a_tensor_are_written(name, sparse):
    """A weight that is the right side of two products lies in memory twice, and stays equal to itself."""
    drawn = case(name, {"i": 37, "j": 19} if name != "three indices" else {}, 8)
    drawn = thinned(drawn, 0.2) if sparse else drawn
    runner = simulate(drawn.network("float64"), drawn.data, batch_size=8, threads=2, optimizer="momentum")
    check_copies(runner)
    if name == "tied":
        assert any(runner.module.layouts.copies.get(t.name) for t in runner.program.kept)


def check_copies(runner: native.NativeRunner) -> None:
    state = runner.state()
    for name, value in state.items():
        for copy, layout in runner.module.layouts.columns(name):
            np.testing.assert_array_equal(layout.unpack(runner.memory[copy], runner.sizes, runner.room), value, copy)


def test_this_machine_is_among_the_shapes_or_like_them():
    shape = tile_shape("float32")
    assert shape.panel % shape.lanes == 0
