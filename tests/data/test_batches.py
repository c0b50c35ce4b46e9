"""The order of an epoch and the bounds of its batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data.batches import batch_bounds, epoch_order

SEEDS = st.integers(0, 2**64 - 1)


@given(st.integers(1, 500), SEEDS, st.integers(0, 10**6))
def test_an_order_is_a_permutation_and_comes_again(rows, seed, epoch):
    order = epoch_order(rows, seed, epoch)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(rows))
    assert np.array_equal(order, epoch_order(rows, seed, epoch))


@given(SEEDS, SEEDS, st.integers(0, 1000), st.integers(0, 1000))
def test_another_seed_or_epoch_is_another_order(seed, other, epoch, later):
    # 1000! orders: two equal ones are not to be expected in this universe's time.
    same = (seed, epoch) == (other, later)
    assert np.array_equal(epoch_order(1000, seed, epoch), epoch_order(1000, other, later)) == same


@pytest.mark.parametrize(("seed", "other"), [(2**63, 2**63 + 1), (2**64 - 1, 0), (2**53, 2**53 + 1)])
def test_large_seeds_stay_apart(seed, other):
    """A list of key numbers became float64 from 2**63 on."""
    assert not np.array_equal(epoch_order(1000, seed, 0), epoch_order(1000, other, 0))


def test_the_order_does_not_depend_on_global_randomness():
    np.random.seed(1)
    first = epoch_order(100, 7, 3)
    np.random.seed(2)
    assert np.array_equal(first, epoch_order(100, 7, 3))


@given(st.integers(0, 3000), st.integers(1, 500))
def test_the_batches_cover_every_row_once(rows, batch_size):
    bounds = batch_bounds(rows, batch_size)
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(rows))
    assert all(stop - start == batch_size for start, stop in bounds[:-1])
    assert all(0 < stop - start <= batch_size for start, stop in bounds)


def test_mnist_at_128_is_469_batches_the_last_of_96():
    bounds = batch_bounds(60_000, 128)
    assert len(bounds) == 469
    assert bounds[-1][1] - bounds[-1][0] == 96
    assert 5 * len(bounds) == 2_345
