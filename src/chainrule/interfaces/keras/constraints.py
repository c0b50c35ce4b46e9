"""Constraints: lines that run after the update of a weight. Along `axis` the entries of one unit stand (0: its inputs).

>>> MaxNorm(3).line("W1", ["i", "j"], ["i"])
'then W1[i, j] <- W1[i, j]*min(sqrt(sum[i](W1[i, j]**2)), 3)/(1e-07 + sqrt(sum[i](W1[i, j]**2)))'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.interfaces.keras.config import Configured
from chainrule.interfaces.keras.rows import resolve
from chainrule.library.layers import written

EPSILON = "1e-07"  # Keras's, so that a column of zeros stays one


class Constraint(Configured):
    """A `then` line for a weight."""

    axis: Any = None  # of the norm; None where each entry stands alone

    def new(self, element: str, norm: str) -> str:
        """The new value."""
        raise NotImplementedError

    def line(self, name: str, indices: Sequence[str], along: Sequence[str]) -> str:
        """The line; `along` are the indices that the norm sums over."""
        inside = ", ".join(indices)
        element = f"{name}[{inside}]" if indices else name
        sums = f"sum[{', '.join(along)}]" if along else ""
        return f"then {element} <- {self.new(element, f'sqrt({sums}({element}**2))')}"


class MaxNorm(Constraint):
    """The norm of each unit's weights is at most max_value."""

    def __init__(self, max_value: float = 2, axis: Any = 0):
        self.max_value, self.axis = max_value, axis

    def new(self, element: str, norm: str) -> str:
        return f"{element}*min({norm}, {written(self.max_value)})/({EPSILON} + {norm})"


class NonNeg(Constraint):
    """No weight is negative."""

    def new(self, element: str, norm: str) -> str:
        return f"max({element}, 0)"


class UnitNorm(Constraint):
    """The norm of each unit's weights is 1."""

    def __init__(self, axis: Any = 0):
        self.axis = axis

    def new(self, element: str, norm: str) -> str:
        return f"{element}/({EPSILON} + {norm})"


class MinMaxNorm(Constraint):
    """The norm of each unit's weights goes towards min_value … max_value, the whole way where rate is 1."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0):
        self.low, self.high, self.rate, self.axis = min_value, max_value, rate, axis

    def new(self, element: str, norm: str) -> str:
        wanted = f"min(max({norm}, {written(self.low)}), {written(self.high)})"
        if self.rate != 1:
            wanted = f"({written(self.rate)}*{wanted} + {written(1 - self.rate)}*{norm})"
        return f"{element}*{wanted}/({EPSILON} + {norm})"


max_norm = MaxNorm
non_neg = NonNeg
unit_norm = UnitNorm
min_max_norm = MinMaxNorm

KINDS: dict[str, type[Constraint]] = {
    "MaxNorm": MaxNorm,
    "NonNeg": NonNeg,
    "UnitNorm": UnitNorm,
    "MinMaxNorm": MinMaxNorm,
}


def get(identifier: Any) -> Constraint | None:
    """A constraint: itself, or its name. Raises: SettingError."""
    found: Constraint | None = resolve(identifier, KINDS, Constraint, "constraint")
    return found
