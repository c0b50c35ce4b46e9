"""Whether a network fits into this machine: asked before anything is allocated, and said in one line where it does not.

`size j = 2000000000` is eleven characters, and sixteen gigabytes: a file of formulas must not fill the memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from chainrule.data.memory import shown_bytes
from chainrule.errors import ShapeError
from chainrule.formula.system import System
from chainrule.messages import say

NUMBER_BYTES = 8  # what is drawn is drawn in float64


def check_room(system: System, sizes: Mapping[str, int]) -> None:
    """Raises: ShapeError where the parameters, and all that is computed of one sample, are more than the memory."""
    there = memory_of_the_machine()
    needed = {
        t.name: NUMBER_BYTES * math.prod(sizes[i] for i in t.indices if i != system.samples)
        for t in system.tensors.values()
    }
    if there is not None and sum(needed.values()) > there:
        largest = max(needed, key=needed.__getitem__)
        came = shown_bytes(sum(needed.values()))
        raise ShapeError(
            say("hostile.no_room", came=came, there=shown_bytes(there), name=largest), system.tensors[largest].place
        )


@contextmanager
def within_memory() -> Iterator[None]:
    """What still asks for more than there is ends in one line too. Raises: ShapeError."""
    try:
        yield
    except MemoryError:
        raise ShapeError(say("hostile.no_memory")) from None


def memory_of_the_machine() -> int | None:
    """Its physical memory in bytes; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
