"""Class numbers that pin an index down: in sum[v]([v == c]*T[v, d]) only v = c counts, so it is the row T[c, d].

Read the other way round, in sum[n]([v == c]*delta[d]) each sample's delta goes to one row of the result. Neither needs
the N × V numbers [v == c]: who computes such sums asks `pins` which indices are pinned, and by what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.formula.expr import Compare, Element, Expr, Mul, Position, base_index, mul
from chainrule.formula.system import Tensor


@dataclass(frozen=True)
class Pin:
    """The factor [index == number] of a product: where it is not 0, the index is this number."""

    index: str
    number: Element
    factor: Compare


def pins(body: Expr, tensors: Mapping[str, Tensor]) -> list[Pin]:
    """The pins among the factors of a product, one for each index.

    The number must count the values of that very index: then it lies inside, as who brings it has checked.
    """
    found: dict[str, Pin] = {}
    for factor in _factors(body):
        match factor:
            case Compare("==", Position(index), Element() as number) | Compare(
                "==", Element() as number, Position(index)
            ):
                tensor = tensors.get(number.tensor)
                names = [s for s in number.slots if isinstance(s, str)]
                counts = tensor is not None and tensor.classes is not None and tensor.role in ("input", "label")
                if not counts or tensor is None or base_index(index) != tensor.classes:
                    continue
                if index not in names and len(set(names)) == len(names):
                    found.setdefault(index, Pin(index, number, factor))
    return list(found.values())


def without(body: Expr, pinned: list[Pin]) -> Expr:
    """The product of the other factors."""
    left = [p.factor for p in pinned]
    return mul(*(f for f in _factors(body) if not any(f is other for other in left)))


def _factors(body: Expr) -> tuple[Expr, ...]:
    return body.factors if isinstance(body, Mul) else (body,)
