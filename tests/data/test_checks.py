"""Bad data gets one line: what came, what was wanted, what to do."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numbers

from chainrule.data import checks
from chainrule.data.checks import as_classes, as_numbers, one_hot, same_length
from chainrule.errors import DataError

ACCEPTED = [
    ([[1, 2], [3, 4]], np.int64),
    ([[1.5, 2], [3, 4]], np.float64),
    ([[True, False]], np.uint8),
    (np.zeros((2, 2), np.uint8), np.uint8),
    (np.zeros((2, 2), np.float32), np.float32),
    (np.zeros((2, 2), np.float16), np.float64),
    (np.zeros((2, 2), np.longdouble), np.float64),
    (np.zeros((2, 2), ">f4"), np.float32),
    (np.zeros((2, 2), ">i2"), np.int16),
    (np.zeros((2, 2), order="F"), np.float64),
    (range(3), np.int64),
    (0.5, np.float64),
]
RAGGED = "x has rows of different lengths: give every sample the same number of values"
REFUSED = [
    ([[1, 2], [3]], RAGGED),
    ([["a", "b"]], "x came as <U1 ('a')"),
    (["3", "4"], "x came as <U1 ('3')"),
    (b"bytes", "x came as |S5 (b'bytes')"),
    (None, "x came as object (None)"),
    (np.array([1, None]), "x came as object (1)"),
    ([2**70], "x came as object (1180591620717411303424)"),
    ([1 + 2j], "x came as complex128 ((1+2j))"),
    (np.array(["2024-01-01"], "datetime64[D]"), "x came as datetime64[D]"),
    ({"a": 1}, "x came as object ({'a': 1})"),
    (np.array([], object), "x came as object and"),
    ([], "x is empty, of the shape (0): pass at least one sample"),
    (np.zeros((0, 784)), "x is empty, of the shape (0, 784): pass at least one sample"),
    ([[1.0, 2.0], [3.0, np.nan]], "x has nan at [1, 1] (the row first, counted from 0)"),
    ([1.0, -np.inf], "x has -inf at [1] (the row first, counted from 0)"),
    (np.array(np.nan), "x has nan at [0] (the row first, counted from 0)"),
    (np.full((1, 2, 3), np.inf, np.float32), "x has inf at [0, 0, 0]"),
    (np.array([np.finfo(np.longdouble).max]), "x has inf at [0]"),
]


@pytest.mark.parametrize(("value", "dtype"), ACCEPTED)
def test_numbers_of_every_kind_are_taken(value, dtype):
    array = as_numbers("x", value)
    assert array.dtype == dtype
    assert array.dtype.isnative
    assert np.array_equal(array, np.asarray(value))


@pytest.mark.parametrize(("value", "message"), REFUSED)
def test_what_is_no_table_of_numbers_is_refused_in_one_line(value, message):
    with pytest.raises(DataError) as caught:
        as_numbers("x", value)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_value_with_a_repr_of_many_lines_still_makes_one():
    class Verbose:
        def __repr__(self):
            return "first\nsecond " + "long " * 100

    with pytest.raises(DataError) as caught:
        as_numbers("x", Verbose())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_the_shape_is_checked_where_it_is_known():
    assert as_numbers("x", np.ones((3, 4)), (None, 4)).shape == (3, 4)
    for came in ((3, 5), (4,), (3, 4, 1)):
        with pytest.raises(DataError, match=r"^x came with the shape \(.*\) and must have \(N, 4\): reshape it"):
            as_numbers("x", np.ones(came), (None, 4))


def test_a_memory_mapped_file_of_bytes_is_not_copied(tmp_path):
    np.arange(200, dtype=np.uint8).tofile(tmp_path / "bytes")
    mapped = np.memmap(tmp_path / "bytes", np.uint8, "r", shape=(20, 10))
    assert as_numbers("x", mapped, (None, 10)) is mapped


def test_the_search_for_nan_needs_little_memory():
    array = np.zeros((20, 500_000), np.float32)  # 40 MB
    tracemalloc.start()
    as_numbers("x", array)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 3 * checks.CHUNK_NUMBERS


@given(numbers.array_shapes(min_dims=1, max_dims=3, max_side=40), st.integers(1, 50), st.data())
def test_the_first_nan_is_named_whatever_the_chunks(shape, chunk, data):
    array = np.zeros(shape)
    places = data.draw(st.lists(st.integers(0, array.size - 1), min_size=1, max_size=5))
    array.flat[places] = np.nan
    first = ", ".join(str(p) for p in np.unravel_index(min(places), shape))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "CHUNK_NUMBERS", chunk)
        with pytest.raises(DataError) as caught:
            as_numbers("x", array)
    assert f"at [{first}]" in str(caught.value)


def test_lengths_are_compared_by_name():
    same_length({"x": np.zeros((3, 2)), "t": np.zeros(3)})
    same_length({})
    with pytest.raises(DataError, match=r"different numbers of samples \(x: 3, t: 4, s: 1\)"):
        same_length({"x": np.zeros((3, 2)), "t": np.zeros(4), "s": np.array(1.0)})


@pytest.mark.parametrize("labels", [[0, 2, 1], [0.0, 2.0, 1.0], np.array([[0], [2], [1]], np.uint8), [0, 2, True]])
def test_class_numbers_of_every_kind_are_taken(labels):
    classes = as_classes("y", labels, 3)
    assert classes.dtype == np.int64
    assert classes.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "y has 3 in row 1 (counted from 0), and classes are whole numbers from 0 to 2"),
        ([-1, 0], "y has -1 in row 0"),
        ([0, 1.5], "y has 1.5 in row 1"),
        ([0, 1e300], "y has 1e+300 in row 1"),
        (np.array([0, 2**64 - 1], np.uint64), "y has 18446744073709551615 in row 1"),
        ([0, np.nan], "y has nan at [1]"),
        ([[0, 1]], "y came with the shape (1, 2) and must have (N)"),
        (1, "y came with the shape () and must have (N)"),
        (["cat", "dog"], "y came as <U3 ('cat')"),
        ([], "y is empty"),
    ],
)
def test_what_is_no_class_is_named(labels, message):
    with pytest.raises(DataError) as caught:
        as_classes("y", labels, 3)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_one_hot_rows_lead_back_to_their_labels(labels):
    rows = one_hot(as_classes("y", labels, 10), 10)
    assert rows.dtype == np.uint8
    assert rows.shape == (len(labels), 10)
    assert rows.sum(axis=1).tolist() == [1] * len(labels)
    assert rows.argmax(axis=1).tolist() == labels


def test_a_masked_number_is_no_number():
    """The numbers behind a mask are there, and would be trained on."""
    masked = np.ma.array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, False], [True, False]])
    with pytest.raises(DataError, match=r"x has a masked number at \[1, 0\]"):
        as_numbers("x", masked)
    assert type(as_numbers("x", np.ma.array([1.0, 2.0]))) is np.ndarray
