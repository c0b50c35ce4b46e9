from __future__ import annotations

import numpy as np
import pytest

from chainrule.data.sources import Order, as_source, stream
from chainrule.errors import ChainruleError, DataError, SettingError


def batches(count=5, rows=4):
    for k in range(count):
        yield np.full((rows, 2), k, np.float32), np.arange(k * rows, k * rows + rows)


class Again:
    """What can be iterated again, as a DataLoader can."""

    def __iter__(self):
        return batches()

    def __len__(self):
        return 5


class Asked:
    """Batches by number, as Keras's PyDataset has them; no __iter__."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 5

    def __getitem__(self, number):
        self.asked.append(number)
        return list(batches())[number]


class Tensor:
    """A tensor of another library: all that NumPy knows of it is __array__."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        if self.values is None:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.\nUse tensor.detach().numpy() instead.")
        return np.asarray(self.values, dtype)


def rows_of(source, order=None, skip=0):
    return [row for block in source.blocks(order, skip) for row in block["t"].tolist()]


def source_of(value):
    found = as_source(value, 2**20)
    assert found is not None
    return found


@pytest.mark.parametrize("make", [Again, Asked, lambda: (b for b in batches()), batches])
def test_each_block_is_a_batch_as_it_came(make):
    source = source_of(make())
    assert source.own_batches
    assert source.rows is None
    assert {n: (f.shape, str(f.dtype)) for n, f in source.fields.items()} == {
        "x": ((2,), "float32"),
        "t": ((), "int64"),
    }
    blocks = list(source.blocks(Order(0, 0)))
    assert [len(block["x"]) for block in blocks] == [4] * 5
    assert [block["x"][0, 0] for block in blocks] == [0, 1, 2, 3, 4]
    assert [row for block in blocks for row in block["t"]] == list(range(20))


@pytest.mark.parametrize("make", [Again, Asked])
def test_what_can_be_iterated_again_gives_an_epoch_each_time(make):
    source = source_of(make())
    for epoch in range(3):
        assert rows_of(source, Order(0, epoch)) == list(range(20))
    for skip in (0, 1, 4, 7, 19, 20):
        assert rows_of(source, Order(0, 1), skip) == list(range(skip, 20))


def test_a_function_makes_the_batches_of_each_epoch():
    source = stream(batches)
    assert source.own_batches
    for epoch in range(3):
        assert rows_of(source, Order(0, epoch)) == list(range(20))
    assert source.cannot_replay() is None
    assert stream(batches, replayable=False).cannot_replay() is not None


def test_a_generator_gives_one_epoch_and_then_says_how_to_have_more():
    source = source_of(batches())
    assert source.head(3)["t"].tolist() == [0, 1, 2]
    assert rows_of(source) == list(range(20))
    with pytest.raises(DataError, match=r"iterated again.*chainrule\.stream"):
        rows_of(source)


def test_the_first_batch_is_not_lost_by_looking_at_it():
    iterator = batches()
    source = source_of(iterator)
    source.head(2), source.head(100), source.fingerprint()
    assert rows_of(source) == list(range(20))
    assert next(iterator, None) is None


def test_batches_by_number_are_asked_for_one_after_the_other():
    given = Asked()
    source = source_of(given)
    given.asked.clear()
    blocks = source.blocks(None)
    next(blocks)
    next(blocks)
    assert given.asked == [0, 1]


def test_who_can_replay():
    assert "again" in source_of(batches()).cannot_replay()
    assert "replayable=True" in source_of(Again()).cannot_replay()
    assert source_of(Asked()).cannot_replay() is None
    assert stream(Again(), replayable=True).cannot_replay() is None
    assert stream(Asked(), replayable=False).cannot_replay() is not None
    assert stream(batches(), replayable=True).cannot_replay() is not None  # it is gone, whatever is said


def test_mappings_single_arrays_tensors_and_lists_of_numbers():
    mapped = [{"a": np.zeros((2, 3)), "b": [1, 2]}, {"a": np.ones((1, 3)), "b": [3]}]
    source = source_of(iter(mapped))
    assert list(source.fields) == ["a", "b"]
    assert [block["b"].tolist() for block in source.blocks(None)] == [[1, 2], [3]]
    alone = source_of(iter([np.zeros((2, 3)), np.ones((4, 3))]))
    assert [block["x"].shape for block in alone.blocks(None)] == [(2, 3), (4, 3)]
    tensors = source_of(iter([(Tensor([[1.0, 2.0]]), Tensor([1]))]))
    assert [block["x"].tolist() for block in tensors.blocks(None)] == [[[1.0, 2.0]]]
    three = source_of(iter([(np.zeros((2, 3)), np.zeros(2), np.ones((2, 1)))]))
    assert list(three.fields) == ["x", "t", "2"]
    rows = source_of(iter([[1.0, 2.0, 3.0]]))
    assert rows.head(9)["x"].tolist() == [1.0, 2.0, 3.0]


X = np.zeros((2, 3))
WRONG = {
    "empty": ([(X, np.zeros(2)), (X[:0], np.zeros(0))], "batch 2: it is empty"),
    "no arrays": ([()], "batch 1"),
    "shape": ([(X, np.zeros(2)), (X[:, :2], np.zeros(2))], "batch 2: it has x: float64 (N, 2)"),
    "dtype": ([X, X, X.astype(np.float32)], "batch 3: it has x: float32 (N, 3)"),
    "one more": ([(X,), (X, np.zeros(2))], "batch 2"),
    "lengths": ([(X, np.zeros(3))], "batch 1: its arrays have different numbers of rows (x: 2, t: 3)"),
    "text": ([np.array(["a", "b"])], "batch 1, x: it came as <U1"),
    "an object": ([object()], "batch 1, x"),
    "ragged": ([([[1, 2], [3]], [1, 2])], "batch 1, x"),
    "a number": ([3.0], "batch 1, x: it came as float64 ()"),
    "a tensor that needs gradients": ([Tensor(None)], "batch 1, x: it is no array (Can't call numpy() on Tensor"),
    "NaN": ([X, np.array([[0, 0, 0], [0, np.nan, 0]])], "batch 2, x: nan at [1, 1]"),
    "infinity": ([(X, np.array([1.0, -np.inf]))], "batch 1, t: -inf at [1]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_batch_is_told_with_its_number(name):
    given, told = WRONG[name]
    with pytest.raises(DataError) as error:
        list(source_of(iter(given)).blocks(None))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_no_batches_at_all():
    with pytest.raises(DataError, match="no batches"):
        source_of(iter([]))


def test_an_error_of_the_users_own_is_the_users():
    def failing():
        yield np.zeros((2, 3))
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        list(source_of(failing()).blocks(None))


def test_a_generator_that_is_left_is_closed():
    closed = []

    def given():
        try:
            yield from batches()
        finally:
            closed.append(True)

    blocks = source_of(given()).blocks(None)
    next(blocks)
    assert closed == []
    blocks.close()
    assert closed == [True]
    closed.clear()
    source = stream(given)
    assert closed == [True]  # the first batch was looked at
    blocks = source.blocks(None)
    next(blocks)
    blocks.close()
    assert closed == [True, True]


def test_the_fingerprint_is_of_the_first_batch():
    assert source_of(Again()).fingerprint() == source_of(Again()).fingerprint()
    other = [(np.ones((4, 2), np.float32), np.arange(4))]
    assert source_of(iter(other)).fingerprint() != source_of(batches()).fingerprint()


def test_options_that_batches_do_not_have():
    for option in ({"target": "y"}, {"shuffle": "rows"}, {"grey": True}, {"features": ["a"]}):
        with pytest.raises(SettingError, match=next(iter(option))):
            stream(Again(), **option)
    with pytest.raises(ChainruleError, match="replayable"):
        stream((X,), replayable=True)
