"""JSON under limits: what Python's own reader takes and no file of ours holds is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.training.strict_json import Limits, numbers_by_name, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_json_writes_comes_back(value):
    assert read_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "-1e999",
        '{"a": 1, "a": 1}',
        '{"b": {"a": 1, "a": 2}}',
        '"\\ud800"',
        '{"\\udc00": 1}',
        "9" * 5000,
        str(2**64),
        "[" * 100_000,
        "[" * 40 + "]" * 40,
        '{"a": ' * 40 + "1" + "}" * 40,
        "[1] 2",
    ],
)
def test_what_is_refused(text):
    with pytest.raises(ValueError):
        read_json(text)


def test_the_limits_are_where_they_are_said_to_be():
    limits = Limits(characters=20, values=5, depth=2)
    assert read_json("[1,[2,3]]", limits) == [1, [2, 3]]
    for text in ("[[[1]]]", "[1,2,3,4,5,6]", '"' + "a" * 19 + '"'):
        with pytest.raises(ValueError, match=r"more than|deeper"):
            read_json(text, limits)


def test_numbers_by_name():
    assert numbers_by_name({"a": 1, "b": 0.5}) == {"a": 1, "b": 0.5}
    for value in ([], {"a": True}, {"a": "1"}, {"a": None}):
        with pytest.raises(ValueError):
            numbers_by_name(value)
