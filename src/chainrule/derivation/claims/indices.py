"""The indices of a claim: a person's own letters by the derivation's names, and where one runs over two sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chainrule.derivation.claims.quantities import Quantities
from chainrule.formula.expr import (
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
    base_index,
    children,
    fresh_index,
    walk,
    with_parts,
)
from chainrule.formula.names import split_index
from chainrule.formula.system import Tensor


def with_leaves(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """`expr` with other elements and symbols, all nodes above them as they were written: nothing is tidied."""
    parts = children(expr)
    if not parts:
        return change(expr)
    new = tuple(with_leaves(p, change) for p in parts)
    return with_parts(expr, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else expr


class IndexClasses:
    """Which indices of a system have one size because they stand in one slot of a tensor."""

    def __init__(self, book: Quantities):
        self.parent: dict[str, str] = {}
        system = book.system
        for tensor in book.tensors.values():
            for index in tensor.indices:
                self.of(index)
        exprs = [v for _, v in book.definitions.values()] + [s for f in system.facts for s in (f.left, f.right)]
        for expr in exprs:
            for node in walk(expr):
                match node:
                    case Element(name, slots) if name in book.tensors:
                        for slot, own in zip(slots, book.tensors[name].indices, strict=True):
                            if isinstance(slot, str):
                                self._join(slot, own)
                    case Reduction(_, indices, _):
                        for index in indices:
                            self._join(index, base_index(index))
        self.names = set(self.parent)
        self.placed = self._placed(book, exprs)

    def _placed(self, book: Quantities, exprs: Sequence[Expr]) -> set[str]:
        """The classes of which the formulas name places, as in x[0] or [k == 1]: their places are not alike."""
        found: set[str] = set()
        for node in (n for e in exprs for n in walk(e)):
            match node:
                case Element(tensor, slots) if tensor in book.tensors:
                    own = book.tensors[tensor].indices
                    found |= {self.of(o) for s, o in zip(slots, own, strict=True) if isinstance(s, int)}
                case Compare(_, Position(index), Number()) | Compare(_, Number(), Position(index)):
                    found.add(self.of(base_index(index)))
        return found

    def of(self, index: str) -> str:
        """The index that stands for its class."""
        self.parent.setdefault(index, index)
        while self.parent[index] != index:
            index = self.parent[index]
        return index

    def _join(self, first: str, second: str) -> None:
        self.parent[self.of(first)] = self.of(second)


@dataclass
class Index:
    """One index of a claim, free or bound once: what it runs over, and its name in the derivation."""

    typed: str
    base: str | None = None
    new: str = ""


class Renamer:
    """A claim's indices by the derivation's names; sees where one runs over two sizes."""

    def __init__(self, classes: IndexClasses, tensors: Mapping[str, Tensor], samples: str):
        self.classes = classes
        self.tensors = tensors
        self.samples = samples
        self.conflict: tuple[str, str, str, Element] | None = None
        self.loose_names: dict[str, str] = {}
        self.bases: dict[str, str] = {}  # what an index runs over, by the name that was typed

    def rename(self, value: Expr, given: Sequence[tuple[Slot, str]]) -> tuple[Expr, dict[str, str]]:
        """(value, typed name → new name for the left side's indices); the others' are in `loose_names`."""
        free: dict[str, Index] = {self.samples: Index(self.samples, self.samples, self.samples)}
        taken = {self.samples, *(own for _, own in given)}
        for slot, own in given:
            if isinstance(slot, str) and slot != self.samples:
                new = own if own not in {c.new for c in free.values()} else fresh_index(own, taken)
                taken.add(new)
                free.setdefault(slot, Index(slot, own, new))
        on_left = set(free)
        bound: dict[int, list[Index]] = {}
        self._look(value, free, bound)
        bound_cells = [c for cells in bound.values() for c in cells]
        for cell in (*free.values(), *bound_cells):
            if not cell.new:
                cell.base = cell.base or self._base_of_name(cell.typed)
                wanted = cell.base
                cell.new = self.samples if wanted == self.samples and cell.typed == self.samples else ""
                cell.new = cell.new or fresh_index(wanted, taken)
                taken.add(cell.new)
        self.bases = {c.typed: base_index(c.base) for c in (*bound_cells, *free.values()) if c.base}
        renamed = self._rebuilt(value, {n: c.new for n, c in free.items()}, bound)
        loose = [c for n, c in free.items() if n not in on_left]
        self.loose_names = {c.typed: c.new for c in loose}
        return renamed, {n: free[n].new for n in on_left}

    def _base_of_name(self, typed: str) -> str:
        name = base_index(split_index(typed)[0]) if typed not in self.classes.names else typed
        return name

    def _look(self, node: Expr, env: dict[str, Index], bound: dict[int, list[Index]]) -> None:
        match node:
            case Element(tensor, slots):
                for slot, own in zip(slots, self.tensors[tensor].indices, strict=True):
                    if isinstance(slot, str):
                        self._note(env.setdefault(slot, Index(slot)), own, node)
                return
            case Position(index):
                env.setdefault(index, Index(index))
                return
            case Delta(left, right):
                for slot in (left, right):
                    if isinstance(slot, str):
                        env.setdefault(slot, Index(slot))
                return
            case Normalized(_, index, _):
                env.setdefault(index, Index(index))
            case Reduction(_, indices, body):
                cells = [Index(i) for i in indices]
                bound[id(node)] = cells
                inner = _Env(env, {c.typed: c for c in cells})
                self._look(body, inner, bound)
                return
        for child in children(node):
            self._look(child, env, bound)

    def _note(self, cell: Index, own: str, element: Element) -> None:
        if cell.base is None:
            cell.base = own
        elif self.classes.of(cell.base) != self.classes.of(own) and self.conflict is None:
            self.conflict = (cell.typed, cell.base, own, element)

    def _rebuilt(self, node: Expr, names: Mapping[str, str], bound: Mapping[int, list[Index]]) -> Expr:
        def slot(s: Slot) -> Slot:
            return names.get(s, s) if isinstance(s, str) else s

        def again(e: Expr) -> Expr:
            return self._rebuilt(e, names, bound)

        match node:
            case Element(tensor, slots):
                return Element(tensor, tuple(map(slot, slots)))
            case Position(index):
                return Position(str(slot(index)))
            case Delta(left, right):
                return Delta(slot(left), slot(right))
            case Size(index):
                # mean[a](u) is 1/size(a)*sum[a](u): an index that is bound beside it.
                return Size(self.bases.get(index) or base_index(self._base_of_name(index)))
            case Reduction(kind, _, body):
                cells = bound[id(node)]
                inner = {**names, **{c.typed: c.new for c in cells}}
                return Reduction(kind, tuple(c.new for c in cells), self._rebuilt(body, inner, bound))
            case Normalized(kind, index, body):
                return Normalized(kind, str(slot(index)), again(body))
        return with_parts(node, tuple(map(again, children(node))))


class _Env(dict[str, Index]):
    """Indices in scope within a sum: its own, then those outside, to which a new name is added."""

    def __init__(self, outside: dict[str, Index], own: Mapping[str, Index]):
        super().__init__(own)
        self.outside = outside

    def setdefault(self, name: str, default: Index | None = None) -> Index:
        if name in self:
            return self[name]
        assert default is not None
        return self.outside.setdefault(name, default)
