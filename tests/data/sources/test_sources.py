"""What a training relies on, of every source: each row once an epoch, any epoch again from any row on."""

from __future__ import annotations

import gc
import random

import numpy as np
import psutil
import pytest

from chainrule.data.batches import epoch_order
from chainrule.data.sources import Order, as_source, stream
from chainrule.data.sources.arrays import MappedSource
from chainrule.data.sources.images import ImageSource
from tests.data.sources.made import KINDS, ROWS, make, numbers

EXACT = ("npy", "npz", "npz packed", "arrays", "column")


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    made = make(request.param, tmp_path)
    made.block_rows = 20  # so that an epoch is several blocks
    return made


def test_every_row_comes_once_an_epoch(source):
    assert source.rows == ROWS
    for order in (None, Order(1, 0), Order(1, 1), Order(2**64 - 1, 10**6)):
        assert sorted(numbers(source, order)) == list(range(ROWS))


def test_epochs_and_seeds_have_orders_of_their_own(source):
    orders = [numbers(source, Order(seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    for k, one in enumerate(orders):
        for other in orders[:k]:
            same = np.mean(np.array(one) == np.array(other))
            assert same < 0.1  # of 331 rows one is expected to stay where it was


def test_the_same_order_is_the_same_again(source):
    assert numbers(source, Order(5, 3)) == numbers(source, Order(5, 3))


def test_an_epoch_can_begin_at_any_row(source):
    drawn = random.Random(source.name)
    for order in (None, Order(7, 2)):
        whole = numbers(source, order)
        for skip in (0, 1, 19, 20, 21, ROWS - 1, ROWS, *(drawn.randrange(ROWS) for _ in range(5))):
            assert numbers(source, order, skip) == whole[skip:]


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_does_not_hang_on_the_memory(kind, tmp_path):
    small, large = (make(kind, tmp_path, memory) for memory in ("2MB", "3GB"))
    assert numbers(small, Order(3, 1)) == numbers(large, Order(3, 1))
    assert small.fingerprint() == large.fingerprint()


@pytest.mark.parametrize("kind", EXACT)
def test_where_rows_are_cheap_the_order_is_that_of_a_training_in_memory(kind, tmp_path):
    source = make(kind, tmp_path)
    assert numbers(source, Order(11, 4)) == epoch_order(ROWS, 11, 4).tolist()


def test_the_images_too_are_permuted_exactly(tmp_path):
    source = make("images", tmp_path)
    as_they_lie = numbers(source, None)
    assert numbers(source, Order(11, 4)) == [as_they_lie[k] for k in epoch_order(ROWS, 11, 4)]


def test_the_head_is_some_rows_in_their_order(source):
    head = source.head(33)
    whole = {name: np.concatenate([b[name] for b in source.blocks(None)]) for name in source.fields}
    everywhere = isinstance(source, MappedSource | ImageSource)
    places = np.arange(33) * ROWS // 33 if everywhere else np.arange(33)
    for name in source.fields:
        np.testing.assert_array_equal(head[name], whole[name][places])
    assert len(next(iter(source.head(10**9).values()))) == ROWS


def test_an_epoch_that_is_left_early_leaves_no_file_open(source):
    def once():
        blocks = source.blocks(Order(0, 0))
        next(blocks)
        blocks.close()

    once()
    gc.collect()
    before = psutil.Process().num_fds()
    for _ in range(50):
        once()
    assert psutil.Process().num_fds() == before


def test_blocks_are_the_callers_own(source):
    """What a training does to a block must not reach the file or the blocks that follow."""
    whole = numbers(source, Order(0, 0))
    for block in source.blocks(Order(0, 0)):
        for array in block.values():
            if array.flags.writeable:
                array[...] = 0
    assert numbers(source, Order(0, 0)) == whole


def test_a_source_can_be_replayed(source):
    assert source.cannot_replay() is None
    assert as_source(source, 2**20) is source
    assert stream(source) is source


def test_the_fingerprint_tells_other_data(source, tmp_path):
    assert source.fingerprint() == source.fingerprint()
    x = np.zeros((ROWS, 5), np.float32)
    assert source.fingerprint() != stream((x, np.arange(ROWS))).fingerprint()
