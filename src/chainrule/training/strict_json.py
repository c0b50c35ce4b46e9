"""JSON from a file that anybody may have written: read under limits, or refused.

Python's reader takes more than the standard and leaves sizes open: NaN and Infinity, 1e999 as infinity, a name twice
(the last wins), half a surrogate pair, whole numbers of 4,300 digits. Nothing here does.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

WHOLE_NUMBERS = 2**64


@dataclass(frozen=True)
class Limits:
    """How much one text may hold: characters, values (brackets and commas are counted), brackets in brackets."""

    characters: int = 4_000_000
    values: int = 600_000  # some 100 bytes each: 60 MB
    depth: int = 32


def read_json(text: str, limits: Limits = Limits()) -> Any:
    """What a JSON text holds. Raises: ValueError, also for what is JSON but goes beyond the limits.

    >>> read_json('{"i": 3}')
    {'i': 3}
    >>> read_json('{"i": 3, "i": 4}')
    Traceback (most recent call last):
    ValueError: a name occurs twice
    """
    if len(text) > limits.characters:
        raise ValueError(f"{len(text)} characters, more than {limits.characters}")
    if text.count(",") + text.count("[") + text.count("{") > limits.values:
        raise ValueError(f"more than {limits.values} values")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"nested deeper than {limits.depth}") from None
    _check(value, limits.depth)
    return value


def numbers_by_name(value: Any) -> dict[str, int | float]:
    """An object whose values are all numbers. Raises: ValueError."""
    if not isinstance(value, dict) or not all(is_number(v) for v in value.values()):
        raise ValueError("numbers by name expected")
    return value


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _check(value: Any, depth: int) -> None:
    """Level by level, so that no nesting is too deep for it."""
    level = [value]
    for _ in range(depth + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                item.encode()  # UnicodeEncodeError, which is a ValueError, for half a surrogate pair
            elif isinstance(item, float) and not math.isfinite(item):
                raise ValueError("a number is too large")
            elif isinstance(item, int) and abs(item) >= WHOLE_NUMBERS:
                raise ValueError("a whole number is too large")
        level = below
    if level:
        raise ValueError(f"nested deeper than {depth}")
