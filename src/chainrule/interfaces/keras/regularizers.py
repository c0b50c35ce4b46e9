"""Regularizers: terms of E.

>>> L2(0.01).term("W1", ["i", "j"])
'0.01*sum[i, j](W1[i, j]**2)'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.interfaces.keras.config import Configured
from chainrule.interfaces.keras.rows import resolve
from chainrule.library.layers import written


class Regularizer(Configured):
    """A penalty on a weight, or on what a layer gives."""

    amounts: tuple[float, float] = (0.0, 0.0)  # of the absolute values, of the squares

    def term(self, name: str, indices: Sequence[str], samples: str = "") -> str:
        """The term that it adds to E; "" for nothing. `samples` is the sample axis, where it is to be named."""
        inside = ", ".join([samples, *indices] if samples else indices)
        element = f"{name}[{inside}]" if inside else name
        sums = f"sum[{', '.join(indices)}]" if indices else ""
        terms = [
            f"{written(amount)}*{sums}({value})"
            for amount, value in zip(self.amounts, (f"abs({element})", f"{element}**2"), strict=True)
            if amount
        ]
        return " + ".join(terms)


class L1(Regularizer):
    """l1·Σ|w|"""

    def __init__(self, l1: float = 0.01):
        self.amounts = (float(l1), 0.0)


class L2(Regularizer):
    """l2·Σw²"""

    def __init__(self, l2: float = 0.01):
        self.amounts = (0.0, float(l2))


class L1L2(Regularizer):
    """l1·Σ|w| + l2·Σw²"""

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.amounts = (float(l1), float(l2))


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """L1L2(l1, l2)"""
    return L1L2(l1, l2)


l1 = L1
l2 = L2

KINDS: dict[str, type[Regularizer]] = {"L1": L1, "L2": L2, "L1L2": L1L2}


def get(identifier: Any) -> Regularizer | None:
    """A regularizer: itself, or its name. Raises: SettingError."""
    found: Regularizer | None = resolve(identifier, KINDS, Regularizer, "regularizer")
    return found
