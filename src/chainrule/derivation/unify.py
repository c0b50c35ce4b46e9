"""Is one expression another one, but for the names of its free indices? So forward quantities are found again."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.formula.expr import (
    Apply,
    Compare,
    Delta,
    Element,
    Expr,
    Normalized,
    Number,
    Position,
    Reduction,
    Size,
    Slot,
    Symbol,
    base_index,
    children,
    walk,
)


def match_up_to_indices(target: Element, value: Expr, node: Expr) -> Expr | None:
    """target with the indices that make `value` into `node`, or None.

    Example:
    >>> from chainrule.formula.expr import mul
    >>> x, w = Element("x", ("n", "i")), Element("w", ("i",))
    >>> there = mul(Element("x", ("n", "l")), Element("w", ("l",)))
    >>> match_up_to_indices(Element("h", ("n", "i")), mul(x, w), there)
    Element(tensor='h', slots=('n', 'l'))
    """
    mapping: dict[str, Slot] = {}
    if not _unify(value, node, mapping, {}):
        return None
    if not all(str(s) in mapping for s in target.slots):
        return None
    return Element(target.tensor, tuple(mapping[str(s)] for s in target.slots))


def _unify(pattern: Expr, node: Expr, mapping: dict[str, Slot], bound: Mapping[str, str]) -> bool:
    """Whether `pattern` is `node` for some renaming of its free indices (structure and order must agree).

    `bound` pairs the indices that are summed around the pattern with those around the node.
    """
    if type(pattern) is not type(node):
        return False
    match pattern, node:
        case ((Number() | Symbol() | Size()), _):
            return pattern == node
        case Element(tensor, slots), Element(other, others):
            return tensor == other and all(
                _unify_slot(a, b, mapping, bound) for a, b in zip(slots, others, strict=True)
            )
        case Position(index), Position(other_index):
            return _unify_position(index, other_index, mapping, bound)
        case Delta(left, right), Delta(other_left, other_right):
            return _unify_position(left, other_left, mapping, bound) and _unify_position(
                right, other_right, mapping, bound
            )
        case Reduction(kind, indices, body), Reduction(other_kind, other_indices, other_body):
            if kind != other_kind or len(indices) != len(other_indices):
                return False
            if any(isinstance(n, Normalized) for n in walk(other_body)):
                return False  # a softmax is named before its index may be replaced
            if set(indices) & bound.keys() or set(other_indices) & set(bound.values()):
                return False  # an inner sum that hides an outer index is left as it is
            return _unify(body, other_body, mapping, {**bound, **dict(zip(indices, other_indices, strict=True))})
        case Normalized(kind, index, body), Normalized(other_kind, other_index, other_body):
            return (
                kind == other_kind
                and _unify_slot(index, other_index, mapping, bound)
                and _unify(body, other_body, mapping, bound)
            )
        case Apply(name, _), Apply(other_name, _):
            same_head = name == other_name
        case Compare(operator, _, _), Compare(other_operator, _, _):
            same_head = operator == other_operator
        case _:
            same_head = True
    ours, theirs = children(pattern), children(node)
    return (
        same_head
        and len(ours) == len(theirs)
        and all(_unify(a, b, mapping, bound) for a, b in zip(ours, theirs, strict=True))
    )


def _unify_slot(own: Slot, other: Slot, mapping: dict[str, Slot], bound: Mapping[str, str]) -> bool:
    if isinstance(own, int):
        return own == other
    if own in bound:
        return bound[own] == other
    return other not in bound.values() and mapping.setdefault(own, other) == other


def _unify_position(own: Slot, other: Slot, mapping: dict[str, Slot], bound: Mapping[str, str]) -> bool:
    """Two positions; unlike the slots of one tensor they say nothing of their sizes, so the index must be the same."""
    if isinstance(own, str) and isinstance(other, str) and base_index(own) != base_index(other):
        return False
    return _unify_slot(own, other, mapping, bound)
