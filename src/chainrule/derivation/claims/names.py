"""What the names in a claim mean: ∂E/∂w, a δ of a layer, dp/dz, quantities with their slots.

The base of the readers of both sides: claim_right.py reads the right one, claims.py the left one and the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chainrule.derivation.claims.indices import IndexClasses
from chainrule.derivation.claims.quantities import Quantities
from chainrule.errors import FormulaError, NotationError, ShapeError, UnknownName
from chainrule.formula.expr import Element, Expr, Slot, symbols
from chainrule.formula.expressions import MAX_SIZE, Vocabulary, near
from chainrule.formula.source import NAME, Source
from chainrule.formula.system import Update
from chainrule.messages import say

# What people call the learning rate; where the rule has another of these names, it is meant.
RATES = ("eta", "alpha", "lr", "learning_rate", "rate", "η", "α", "epsilon", "ε", "gamma", "γ")
SLOTS = r"(?:\s*\[([^\[\]()]*)\])?"
QUOTIENT = re.compile(rf"(?:∂\s*|\bd\s*)({NAME}){SLOTS}\s*/\s*(?:∂\s*|\bd\s*)({NAME}){SLOTS}")
QUANTITY = re.compile(rf"({NAME}){SLOTS}")
DELTA = re.compile(r"(?:delta|δ)_?(\w*)$")
PRIMED = re.compile(rf"({NAME})\s*['′’](?=\s*\()")


def fail(source: Source, kind: type[FormulaError], offset: int, key: str, **values: object) -> FormulaError:
    return kind(say(f"claims.{key}", **values), source.place(offset))


class Names:
    """A claim's text, and what the names in it mean in the derivation."""

    def __init__(
        self,
        source: Source,
        book: Quantities,
        vocabulary: Vocabulary,
        lines: tuple[Update, ...],
        sizes: dict[str, int],
    ):
        self.source = source
        self.book = book
        self.vocabulary = vocabulary
        self.lines = lines
        self.sizes = sizes
        self.classes = IndexClasses(book)
        self.letters: dict[str, Slot] = {}
        used = {s for _, v in book.definitions.values() for s in symbols(v)}
        self.scalars = {*book.system.hyper, "step", *used}

    def meaning(self, name: str, slots: Sequence[Slot]) -> tuple[str, str]:
        """What a name on the left is: (kind, quantity); ("", "") where nothing has it."""
        for of, target in self.book.adjoints.items():
            if target.tensor == name:
                return "gradient", of
        if name in self.book.system.tensors and self.book.system.equation_of(name):
            return "quantity", name
        if (match := DELTA.match(name)) and (layer := self.book.layer_of_delta(match[1], slots)):
            return "gradient", layer
        if (match := re.fullmatch(rf"d({NAME})_d({NAME})", name)) and self.book.is_loss(match[1]):
            if self.book.named(match[2]) in self.book.system.tensors:
                return "gradient", self.book.named(match[2])
        return "", ""

    def over_slots(self, start: int, match: re.Match[str], over: str) -> tuple[Slot, ...]:
        """The indices above; a textbook's dp/dz[j] leaves them out where they are those of its declaration."""
        if match[2] is None:
            own, below = self.own(over), self.slots(start + match.start(4), match[4])
            under = self.own(self.known(start + match.start(3), match[3]))
            alike = [self.classes.of(i) for i in own] == [self.classes.of(i) for i in under]
            return tuple(below) if alike else own
        return self.counted(start + match.start(1), over, self.slots(start + match.start(2), match[2]), True)

    def known(self, offset: int, name: str) -> str:
        found = self.book.named(name)
        if found not in self.book.system.tensors:
            known = self.book.system.tensors
            raise fail(self.source, UnknownName, offset, "unknown_quantity", name=name, near=near(name, known))
        return found

    def own(self, name: str) -> tuple[str, ...]:
        return tuple(i for i in self.book.tensors[name].indices if i != self.book.samples)

    def slots(self, offset: int, text: str | None) -> tuple[Slot, ...]:
        slots: list[Slot] = []
        for part in (text or "").split(",") if text is not None else ():
            token, start = part.strip(), offset + len(part) - len(part.lstrip())
            if re.fullmatch(r"[0-9]{1,10}", token) and int(token) <= MAX_SIZE:
                slots.append(int(token))
            elif re.fullmatch(NAME, token):
                slots.append(self.source.name(start, token))
            else:
                raise self.source.fail(NotationError, start, "index_is_a_name")
            offset += len(part) + 1
        return tuple(slots)

    def counted(self, offset: int, name: str, slots: tuple[Slot, ...], bracket: bool) -> tuple[Slot, ...]:
        """The slots of a quantity on the left, as many as it has, and none out of range."""
        own = self.own(name)
        if slots[:1] == (self.book.samples,) and len(slots) == len(own) + 1:
            slots = slots[1:]
        if len(slots) != len(own):
            example = f"{name}[{', '.join(own)}]" if own else name
            raise self.source.fail(
                ShapeError, offset, "wrong_index_count", name=name, came=len(slots), wanted=len(own), example=example
            )
        if self.book.samples in slots:
            raise self.source.fail(ShapeError, offset, "sample_axis_as_index", index=self.book.samples, name=name)
        self.check_range(offset, name, slots)
        return slots

    def check_range(self, offset: int, name: str, slots: Sequence[Slot]) -> None:
        for slot, own in zip(slots, self.own(name), strict=True):
            if isinstance(slot, int) and slot >= self.sizes.get(own, slot + 1):
                element = f"{name}[{', '.join(map(str, slots))}]"
                raise self.source.fail(
                    ShapeError, offset, "slot_out_of_range", element=element, index=own, size=self.sizes[own]
                )

    def quotient(self, over: str, over_slots: Sequence[Slot], under: str, slots: Sequence[Slot]) -> Expr:
        samples = self.book.samples

        def full(name: str, own: Sequence[Slot]) -> tuple[Slot, ...]:
            return (samples, *own) if samples in self.book.tensors[name].indices else tuple(own)

        return self.book.quotient(over, full(over, over_slots), under, full(under, slots))


def element_at(element: Element, slots: Sequence[Slot]) -> Element:
    return Element(element.tensor, tuple(slots))


def slots_to(own: Element, at: Element) -> dict[str, Slot]:
    return {str(a): b for a, b in zip(own.slots, at.slots, strict=True) if a != b}
