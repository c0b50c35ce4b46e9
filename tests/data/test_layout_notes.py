"""A layout from a file that anybody may have written: every type, length and range is looked at."""

from __future__ import annotations

import copy
import json

import pytest

from chainrule.data.columns import Layout
from tests.fuzz.seeds import LAYOUT


def test_what_is_in_order_comes_back():
    layout = Layout.from_dict(copy.deepcopy(LAYOUT))
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout
    assert [f.column for f in layout.features] == ["age", "c", "d"]
    assert layout.decimals == (("age", ","),)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(more=1),
        lambda d: d.pop("decimals"),
        lambda d: d.update(named=1),
        lambda d: d.update(decimals=[["age"]]),
        lambda d: d.update(decimals=[["age", ";"]]),
        lambda d: d.update(left_out=[{"column": "id", "reason": "exec"}]),
        lambda d: d.update(left_out=[{"column": 3, "reason": "asked"}]),
        lambda d: d.update(features={}),
        lambda d: d["features"].append(d["features"][0]),
        lambda d: d["features"][0].update(kind="date"),
        lambda d: d["features"][0].update(column=None),
        lambda d: d["features"][0].update(fill=float("nan")),
        lambda d: d["features"][0].update(fill=10**400),
        lambda d: d["features"][0].update(fill="3"),
        lambda d: d["features"][0].update(fill=True),
        lambda d: d["features"][0].update(spread=0),
        lambda d: d["features"][0].update(spread=-1.0),
        lambda d: d["features"][0].update(marked="yes"),
        lambda d: d["features"][0].update(words=["a"]),
        lambda d: d["features"][1].update(words=[]),
        lambda d: d["features"][1].update(words=["a", "a"]),
        lambda d: d["features"][1].update(words=["a", 3]),
        lambda d: d["features"][1].update(words=[str(n) for n in range(2000)]),
        lambda d: d["features"][1].update(marked=True),
        lambda d: d["target"].update(words=["no"]),
        lambda d: d["target"].update(task="regression"),
        lambda d: d["target"].update(spread=0.0),
        lambda d: d["target"].pop("centre"),
    ],
)
def test_what_is_refused(change):
    data = copy.deepcopy(LAYOUT)
    change(data)
    with pytest.raises(ValueError):
        Layout.from_dict(data)


@pytest.mark.parametrize("data", [None, 3, "layout", [], {}, [LAYOUT]])
def test_what_is_no_layout(data):
    with pytest.raises(ValueError):
        Layout.from_dict(data)
