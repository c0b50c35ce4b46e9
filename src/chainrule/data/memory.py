"""Budgets of memory: "512MB", "1.5 GB", 2**30."""

from __future__ import annotations

import re

from chainrule.data.checks import is_whole
from chainrule.errors import SettingError
from chainrule.messages import say, shortened

DEFAULT_MEMORY = 2**30
LEAST_MEMORY = 2**20
MOST_MEMORY = 2**60  # beyond any machine, and within every integer that bytes are counted in
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}
WRITTEN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b?)\s*", re.IGNORECASE)


def memory_bytes(given: str | int) -> int:
    """How many bytes a budget is. Raises: SettingError for what is none, or less than a megabyte.

    >>> memory_bytes("1.5GB"), memory_bytes("512 MiB"), memory_bytes("2g")
    (1500000000, 536870912, 2000000000)
    """
    found: int | None = None
    if is_whole(given):
        found = int(given)
    elif isinstance(given, str) and (match := WRITTEN.fullmatch(given)):
        unit = match[2].lower()
        unit = unit + "b" if unit and not unit.endswith("b") else unit
        size = float(match[1]) * UNITS.get(unit, 0)
        found = int(size) if size <= MOST_MEMORY else None
    if found is None or not LEAST_MEMORY <= found <= MOST_MEMORY:
        # Of a number of 5,000 digits Python gives no text.
        huge = is_whole(given) and abs(int(given)) > MOST_MEMORY
        shown = f"2**{int(given).bit_length() - 1} and more" if huge else shortened(repr(given), 60)
        raise SettingError(say("sources.memory", came=shown))
    return found


def shown_bytes(count: int) -> str:
    """A size as a person says it, in three digits.

    >>> shown_bytes(1_048_576), shown_bytes(20_228_570_000)
    ('1.05 MB', '20.2 GB')
    """
    unit = 9 if count >= 10**9 else 6
    return f"{count / 10**unit:.3g} {'GB' if unit == 9 else 'MB'}"
