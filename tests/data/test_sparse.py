"""Sparse tables as rows of non-zeros: every form that SciPy has, what is wrong with some, and what they look like."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data.sparse import DENSE_LIMIT, SparseRows, as_sparse, is_sparse, rows_at_once
from chainrule.errors import DataError


@st.composite
def tables(draw: st.DrawFn) -> sp.csr_array:
    """Unsorted rows with duplicates, stored zeros, empty rows and columns."""
    rows, width = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    lengths = draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places = draw(st.lists(st.integers(0, width - 1), min_size=int(starts[-1]), max_size=int(starts[-1])))
    values = draw(st.lists(st.integers(-2, 2), min_size=len(places), max_size=len(places)))
    dtype = draw(st.sampled_from(["float32", "float64", "int8", "int64"]))
    return sp.csr_array((np.array(values, dtype), np.array(places, np.int32), starts), shape=(rows, width))


@given(tables(), st.randoms())
def test_the_rows_are_those_of_the_dense_array(table, random):
    dense = table.toarray()
    before = table.copy()
    rows = as_sparse("x", table)
    assert np.array_equal(np.asarray(rows), dense)
    assert rows.shape == dense.shape
    assert rows.size == dense.size
    assert rows.stored == np.count_nonzero(dense)
    assert rows.values.all()
    for r in range(len(rows)):
        assert (np.diff(rows.places[rows.starts[r] : rows.starts[r + 1]]) > 0).all()
    numbers = [random.randrange(len(rows)) for _ in range(4)]
    for chosen in (slice(1, 4), slice(None, None, 2), slice(3, 1), numbers, dense[:, 0] > 0):
        part = rows[chosen]
        assert np.array_equal(np.asarray(part), dense[chosen])
        assert np.array_equal(np.asarray(part[::-1]), dense[chosen][::-1])
    # The user's table is as it was.
    assert np.array_equal(table.indices, before.indices)
    assert np.array_equal(table.data, before.data)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_every_form_of_scipy(form, kind):
    dense = np.arange(12.0).reshape(3, 4) % 5
    table = getattr(sp, f"{form}_{kind}")(dense)
    assert is_sparse(table)
    assert np.array_equal(np.asarray(as_sparse("x", table)), dense)


@pytest.mark.parametrize(
    ("came", "becomes"),
    [("bool", "uint8"), ("uint8", "uint8"), ("int16", "float32"), ("int64", "float64"), (">f4", "float32")]
    + [("float32", "float32"), ("float64", "float64"), ("longdouble", "float64")],
)
def test_values_of_any_dtype(came, becomes):
    table = sp.csr_array((np.ones(2, came), np.array([0, 2]), np.array([0, 1, 2])), shape=(2, 3))
    assert as_sparse("x", table).dtype == becomes


def test_ordered_rows_are_not_copied():
    parts = (np.ones(3, np.float32), np.array([0, 2, 1], np.int32), np.array([0, 2, 3], np.int32))
    table = sp.csr_array(parts, shape=(2, 3))
    rows = as_sparse("x", table)
    assert np.shares_memory(rows.values, table.data)
    assert np.shares_memory(rows.places, table.indices)
    assert as_sparse("x", rows) is rows


def broken(places: list[int], starts: list[int]) -> sp.csr_array:
    table = sp.csr_array((2, 3))
    table.data, table.indices, table.indptr = np.ones(len(places)), np.array(places), np.array(starts)
    return table


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (sp.csr_array(np.array([[0, 1], [np.nan, 0]])), r"x has nan at \[1, 0\]"),
        (sp.csr_array(np.array([[0, 1], [0, -np.inf]])), r"x has -inf at \[1, 1\]"),
        (sp.csr_array(np.array([[1j]])), "real numbers"),
        (sp.csr_array((0, 4)), "empty"),
        (sp.csr_array((4, 0)), "empty"),
        (broken([0, 3], [0, 1, 2]), "outside its shape"),
        (broken([0, -1], [0, 1, 2]), "outside its shape"),
        (broken([0, 1], [0, 2, 1]), "outside its shape"),
        (broken([0, 1], [0, 1, 9]), "outside its shape"),
        (broken([0, 1], [0, 2]), "outside its shape"),
    ],
)
def test_what_is_no_table_of_finite_numbers(table, said):
    with pytest.raises(DataError, match=said) as caught:
        as_sparse("x", table)
    assert "\n" not in str(caught.value)


def test_a_large_table_is_not_made_dense():
    rows = SparseRows(np.zeros(100_001, np.int64), np.zeros(0, np.int32), np.zeros(0), 50_000)
    assert rows.size * 8 > DENSE_LIMIT
    with pytest.raises(DataError, match=r"\(100000, 50000\) would take 37.3 GB .* the limit is 2 GB"):
        np.asarray(rows)
    assert np.asarray(rows[:3]).shape == (3, 50_000)
    assert rows_at_once({"x": rows, "t": np.zeros(3)}, 2048) == 83
    assert rows_at_once({"t": np.zeros(3)}, 2048) == 2048


def test_what_is_no_sparse_table():
    for value in (np.zeros((2, 2)), [[0]], None, "csr", 3):
        assert not is_sparse(value)
