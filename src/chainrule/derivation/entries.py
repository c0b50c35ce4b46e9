"""One entry of a tensor by its name: "W1[300, 7]" ↔ (W1, (300, 7))."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from chainrule.errors import SettingError
from chainrule.formula.expressions import near
from chainrule.formula.system import System
from chainrule.messages import say

ENTRY = re.compile(r"\s*([^\W\d]\w*'*)\s*(?:\[\s*([0-9]{1,12}(?:\s*,\s*[0-9]{1,12})*)\s*\])?\s*$")


def entry_text(name: str, position: Sequence[int]) -> str:
    """The name of an entry; a scalar has no brackets.

    >>> entry_text("W1", (300, 7)), entry_text("b", ())
    ('W1[300, 7]', 'b')
    """
    return f"{name}[{', '.join(str(int(p)) for p in position)}]" if len(position) else name


def read_entry(system: System, sizes: Mapping[str, int], text: str) -> tuple[str, tuple[int, ...]]:
    """The parameter and the position that a text such as "W1[300, 7]" names, counted from 0.

    Raises: SettingError for a parameter that does not exist, a wrong number of positions, one out of range.
    """
    match = ENTRY.match(text)
    if match is None:
        raise SettingError(say("check.entry_unread", came=text.strip()))
    name = match[1]
    position = tuple(int(piece) for piece in match[2].split(",")) if match[2] else ()
    known = {t.name: t for t in system.parameters}
    if name not in known:
        raise SettingError(say("check.entry_unknown", name=name, known=", ".join(known) or "–", near=near(name, known)))
    indices = known[name].indices
    if len(position) != len(indices):
        shown = entry_text(name, position)
        wanted = f"{name}[{', '.join(indices)}]" if indices else name
        raise SettingError(say("check.entry_rank", came=shown, wanted=wanted))
    for index, place in zip(indices, position, strict=True):
        if place >= sizes[index]:
            raise SettingError(
                say("check.entry_range", came=entry_text(name, position), index=index, last=sizes[index] - 1)
            )
    return name, position
