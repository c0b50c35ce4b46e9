"""A table's Layout out of a model file that anybody may have written: every type, length and range is looked at.

`Layout.to_dict` writes it. What is refused here would else be a wrong answer or a fault far from the file: a spread of
zero, one word twice, a class without a name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from chainrule.data.columns import DATE_PARTS, TASKS, Feature, Layout, LeftOut, Target

FEATURE_KINDS = ("number", "category", *DATE_PARTS)
REASONS = ("constant", "own_value", "row_number", "asked")
MAX_ENTRIES = 100_000  # columns, as a table has at most
MAX_WORDS = 1001  # of a category: a thousand, and one for missing values
MAX_CHARACTERS = 2_000_000  # of a name or a word: what all notes together may have

Made = TypeVar("Made")


def read_layout(data: object) -> Layout:
    """The layout. Raises: ValueError for anything that `to_dict` does not write."""
    content = _object(data, "features", "target", "left_out", "named", "decimals")
    layout = Layout(
        tuple(_list(content["features"], _feature)),
        _target(content["target"]),
        tuple(_list(content["left_out"], _left_out)),
        _flag(content["named"]),
        tuple(_list(content["decimals"], _decimals)),
    )
    names = [(f.column, f.kind) for f in layout.features]
    if len(set(names)) != len(names):
        raise ValueError("one feature twice")
    return layout


def _feature(data: object) -> Feature:
    content = _object(data, "column", "kind", "fill", "marked", "centre", "spread", "words")
    kind, words, marked = _one_of(content["kind"], FEATURE_KINDS), _words(content["words"]), _flag(content["marked"])
    if (kind == "category") != bool(words) or (marked and kind not in ("number", "day")):
        raise ValueError("words or marks")
    fill, centre, spread = (_number(content[name]) for name in ("fill", "centre", "spread"))
    return Feature(_text(content["column"]), kind, fill, marked, centre, _above_zero(spread), words)


def _target(data: object) -> Target:
    content = _object(data, "column", "task", "words", "centre", "spread")
    task, words = _one_of(content["task"], TASKS), _words(content["words"])
    if len(words) < 2 if task == "classification" else words:
        raise ValueError("classes")
    return Target(
        _text(content["column"]), task, words, _number(content["centre"]), _above_zero(_number(content["spread"]))
    )


def _left_out(data: object) -> LeftOut:
    content = _object(data, "column", "reason")
    return LeftOut(_text(content["column"]), _one_of(content["reason"], REASONS))


def _decimals(data: object) -> tuple[str, str]:
    if not isinstance(data, list | tuple) or len(data) != 2:
        raise ValueError("decimals")
    return _text(data[0]), _one_of(data[1], (",", "."))


# --- plain data -------------------------------------------------------------------------------------------------------


def _object(data: object, *names: str) -> dict[str, Any]:
    if not isinstance(data, dict) or data.keys() != set(names):
        raise ValueError(f"an object with {', '.join(names)} expected")
    return data


def _list(data: object, read: Callable[[object], Made]) -> list[Made]:
    if not isinstance(data, list | tuple) or len(data) > MAX_ENTRIES:
        raise ValueError("a list expected")
    return [read(item) for item in data]


def _words(data: object) -> tuple[str, ...]:
    words = tuple(_list(data, _text))
    if len(set(words)) != len(words) or len(words) > MAX_WORDS:
        raise ValueError("words")
    return words


def _text(data: object) -> str:
    if not isinstance(data, str) or len(data) > MAX_CHARACTERS:
        raise ValueError("a text expected")
    return data


def _one_of(data: object, known: tuple[str, ...]) -> str:
    text = _text(data)
    if text not in known:
        raise ValueError("a known word expected")
    return text


def _flag(data: object) -> bool:
    if not isinstance(data, bool):
        raise ValueError("true or false expected")
    return data


def _number(data: object) -> float:
    if not isinstance(data, int | float) or isinstance(data, bool):
        raise ValueError("a number expected")
    value = float(data) if abs(data) < 1e300 else math.inf
    if not math.isfinite(value):
        raise ValueError("a finite number expected")
    return value


def _above_zero(value: float) -> float:
    if value <= 0:
        raise ValueError("a spread above zero expected")
    return value
