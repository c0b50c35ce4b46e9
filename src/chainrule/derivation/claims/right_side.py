"""Reading the right side of a claim: its own signs (dp/dz[j], δ, σ′, N, x[7]) put into the names of the derivation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chainrule.derivation.claims.indices import Renamer, with_leaves
from chainrule.derivation.claims.names import DELTA, PRIMED, QUANTITY, QUOTIENT, RATES, Names, fail
from chainrule.derivation.derive import derive
from chainrule.errors import FormulaError, Place, ShapeError, UnknownName
from chainrule.formula.expr import (
    Delta,
    Element,
    Expr,
    Position,
    Size,
    Slot,
    Symbol,
    elements,
    symbols,
    transform,
    walk,
)
from chainrule.formula.expressions import Definition, Scope, Vocabulary, near
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.names import GREEK
from chainrule.formula.source import NAME, Source
from chainrule.formula.system import Tensor
from chainrule.formula.text import Printer


class _ClaimSource(Source):
    """A claim as it is parsed, with errors that point into what was typed."""

    def __init__(self, typed: Source, text: str, offsets: Sequence[tuple[int, int]]):
        super().__init__(text)
        self.written = typed
        self.offsets = offsets

    def place(self, offset: int) -> Place:
        own, typed = next(pair for pair in reversed(self.offsets) if pair[0] <= offset)
        end = next((t for o, t in self.offsets if o > own), len(self.written.typed))
        return self.written.place(min(typed + offset - own, end))


@dataclass(frozen=True)
class RightSide:
    """A right side in the derivation's indices.

    `names` maps what the left side's indices were typed as to what they are here; `loose` are those that nothing sums
    and the left side does not have; `conflict` says what is wrong with a loose index, or with one of two sizes.
    """

    value: Expr
    names: Mapping[Slot, str]
    loose: tuple[str, ...]
    conflict: FormulaError | None

    def at(self, slots: Sequence[Slot]) -> tuple[Slot, ...]:
        """Slots of the left side as they are here."""
        return tuple(self.names.get(s, s) for s in slots)


class RightReader(Names):
    """The right side as an expression in the derivation's quantities and indices."""

    def right_side(
        self,
        piece: tuple[int, int],
        given: Sequence[tuple[Slot, str]],
        states: Mapping[str, Tensor],
        parameter: str | None = None,
    ) -> RightSide:
        """Read it. `given` are the slots of the left side with the indices that they stand for."""
        quotients: dict[str, tuple[str, str]] = {}
        tensors = {**self.book.tensors, **states}
        text, offsets = self._rewritten(piece, tensors, quotients, parameter)
        source = _ClaimSource(self.source, text, offsets)
        scope = Scope(source, self._primes(text), tensors, self.book.samples)
        scope.indices |= {str(s) for s, _ in given} | self.classes.names
        value = scope.expression(0, len(text))
        value = self._known_symbols(value, source, update=parameter is not None)
        self._check_positions(value, source, tensors)
        value, given = self._positions_as_letters(value, given, tensors)
        renamer = Renamer(self.classes, tensors, self.book.samples)
        value, found = renamer.rename(value, given)
        value = self._without_quotients(value, quotients)
        self.letters = {new: _typed(name) for name, new in {**found, **renamer.loose_names}.items() if new != name}
        names = {_typed(name): new for name, new in found.items()}
        loose = tuple(new for name, new in renamer.loose_names.items() if not isinstance(_typed(name), int))
        conflict = None
        if renamer.conflict is not None:
            index, first, second, element = renamer.conflict
            offset = _offset_of(source, Printer(self.book.samples).text(element), index)
            conflict = fail(source, ShapeError, offset, "two_sizes", index=index, first=first, second=second)
        elif loose:
            typed = next(n for n, new in renamer.loose_names.items() if new == loose[0])
            conflict = fail(source, ShapeError, _offset_of(source, "", typed), "loose_index", index=typed)
        return RightSide(value, names, loose, conflict)

    def _positions_as_letters(
        self, value: Expr, given: Sequence[tuple[Slot, str]], tensors: Mapping[str, Tensor]
    ) -> tuple[Expr, list[tuple[Slot, str]]]:
        """dE/dw[3, 7] = x[3]*delta[7] is what holds for any other two places, unless the formulas name places.

        Each position becomes an index of its own, 3@i: so a claim about one entry is checked at all of them.
        """
        if any(isinstance(n, Position | Delta) for n in walk(value)):
            return value, list(given)

        def letter(slot: Slot, own: str) -> Slot:
            place = self.classes.of(own)
            return slot if isinstance(slot, str) or place in self.classes.placed else f"{slot}@{place}"

        def change(node: Expr) -> Expr:
            if isinstance(node, Element):
                own = tensors[node.tensor].indices
                return Element(node.tensor, tuple(letter(s, o) for s, o in zip(node.slots, own, strict=True)))
            return node

        return with_leaves(value, change), [(letter(s, o), o) for s, o in given]

    def _rewritten(
        self,
        piece: tuple[int, int],
        tensors: dict[str, Tensor],
        quotients: dict[str, tuple[str, str]],
        parameter: str | None,
    ) -> tuple[str, list[tuple[int, int]]]:
        """The right side with dp/dz[j], δ and σ′ as names of their own, and where each part of it was typed."""
        start, end = piece
        text = self.source.text
        parts: list[str] = []
        offsets: list[tuple[int, int]] = [(0, start)]
        at = start
        length = 0
        pattern = re.compile(
            f"(?P<quotient>{QUOTIENT.pattern})|(?P<primed>{PRIMED.pattern})|(?P<name>{QUANTITY.pattern})"
        )
        for match in pattern.finditer(text, start, end):
            new = self._replacement(match, tensors, quotients, parameter)
            if new is None:
                continue
            parts += [text[at : match.start()], new]
            offsets.append((length + match.start() - at, match.start()))
            length += match.start() - at + len(new)
            at = match.end()
            offsets.append((length, at))
        parts.append(text[at:end])
        return "".join(parts), offsets

    def _replacement(
        self,
        match: re.Match[str],
        tensors: dict[str, Tensor],
        quotients: dict[str, tuple[str, str]],
        parameter: str | None,
    ) -> str | None:
        if match["quotient"]:
            return self._quotient_text(match.start(), QUOTIENT.match(match[0]), tensors, quotients)
        if match["primed"]:
            name = re.split(r"\s*['′’]", match[0])[0]
            return ("sigmoid" if name in ("σ", "sigma") else name) + "_prime"
        found = QUANTITY.match(match[0])
        assert found is not None
        name, inner = found[1], found[2]
        if name in ("σ", "sigma") and name not in tensors and match.string[match.end() :].lstrip()[:1] == "(":
            return "sigmoid" + match[0][len(name) :]
        if name == "g" and inner is not None and parameter is not None and name not in tensors:
            return f"{self.book.gradient(parameter)[0].tensor}[{inner}]"
        if name in tensors or name in self.scalars:
            return None
        if self.book.named(name) in tensors:
            return self.book.named(name) + match[0][len(name) :]
        kind, of = self.meaning(name, self.slots(match.start(), inner)) if _may_be_adjoint(name) else ("", "")
        if kind == "gradient":
            self._adjoint_tensor(of, tensors)
            return self.book.adjoint(of)[0].tensor + match[0][len(name) :]
        return None

    def _adjoint_tensor(self, of: str, tensors: dict[str, Tensor]) -> str:
        name = self.book.adjoint(of)[0].tensor
        tensors[name] = self.book.tensors[name]
        return name

    def _quotient_text(
        self,
        offset: int,
        match: re.Match[str] | None,
        tensors: dict[str, Tensor],
        quotients: dict[str, tuple[str, str]],
    ) -> str | None:
        assert match is not None
        plain = not match[0].startswith("∂")
        if plain and self.book.named(match[3]) not in self.book.system.tensors:
            return None  # d/d… of names that are no derivative: the parser says what is wrong
        under = self.known(offset + match.start(3), match[3])
        below = "" if match[4] is None else match[4]
        if self.book.is_loss(match[1]):
            return (
                f"{self._adjoint_tensor(under, tensors)}[{below}]" if match[4] else self._adjoint_tensor(under, tensors)
            )
        over = self.known(offset + match.start(1), match[1])
        above = match[2] if match[2] is not None else ", ".join(map(str, self.over_slots(offset, match, over)))
        name = f"d{over}_by_d{under}"
        samples = self.book.samples
        sampled = any(samples in self.book.tensors[n].indices for n in (over, under))
        own = (*self.own(over), *self.own(under))
        tensors[name] = Tensor(name, "computed", (samples, *own) if sampled else own)
        quotients[name] = (over, under)
        slots = ", ".join(s for s in (above.strip(), below.strip()) if s)
        return f"{name}[{slots}]" if slots else name

    def _without_quotients(self, value: Expr, quotients: Mapping[str, tuple[str, str]]) -> Expr:
        """dp/dz in a claim is what the derivation has for it."""

        def change(node: Expr) -> Expr:
            if isinstance(node, Element) and node.tensor in quotients:
                over, under = quotients[node.tensor]
                slots = [s for s in node.slots if s != self.book.samples]
                above = len(self.own(over))
                return self.quotient(over, slots[:above], under, slots[above:])
            return node

        return transform(value, change) if quotients else value

    def _primes(self, text: str) -> Vocabulary:
        """The vocabulary with f_prime for every f′ in the claim."""
        functions = dict(self.vocabulary.functions)
        for name in set(re.findall(rf"({NAME})_prime", text)):
            inner = functions[name].text if name in functions else f"{name}(a)"
            if name in functions or (name in FUNCTIONS and FUNCTIONS[name].arity == 1):
                derivative = str(derive(inner, "a", self.vocabulary))
                defaults = functions[name].defaults if name in functions else {}
                functions[f"{name}_prime"] = Definition(("a",), derivative, defaults)
        return replace(self.vocabulary, functions=functions)

    def _known_symbols(self, value: Expr, source: Source, *, update: bool) -> Expr:
        """Free scalars that mean something: hyper-parameters, N and other sizes by their capital, Greek letters."""
        system = self.book.system
        known = set(self.scalars)
        known |= {s for u in (*system.updates, *self.lines) for s in symbols(u.value)} if update else set()
        known |= set(RATES) if update else set()
        put: dict[str, Expr] = {}
        for name in symbols(value):
            other = {v: k for k, v in GREEK.items()}.get(name, GREEK.get(name, name))
            index = self.book.samples if name == "N" else name.lower()
            if name in known:
                continue
            if other in known:
                put[name] = Symbol(other)
            elif name != index and (index in self.classes.names or index == self.book.samples):
                put[name] = Size(index)
            else:
                names = [*self.book.system.tensors, *known]
                raise fail(
                    source, UnknownName, _offset_of(source, "", name), "unknown_name", name=name, near=near(name, names)
                )
        return with_leaves(value, lambda n: put.get(n.name, n) if isinstance(n, Symbol) else n)

    def _check_positions(self, value: Expr, source: Source, tensors: Mapping[str, Tensor]) -> None:
        for node in elements(value):
            for slot, own in zip(node.slots, tensors[node.tensor].indices, strict=True):
                if isinstance(slot, int) and slot >= self.sizes.get(own, slot + 1):
                    text = Printer(self.book.samples).text(node)
                    offset = _offset_of(source, text, node.tensor)
                    raise source.fail(
                        ShapeError, offset, "slot_out_of_range", element=text, index=own, size=self.sizes[own]
                    )


def _typed(name: str) -> Slot:
    """What was typed for an index: 3 for 3@i."""
    place, at, _ = name.partition("@")
    return int(place) if at else name


def _may_be_adjoint(name: str) -> bool:
    return DELTA.match(name) is not None or re.fullmatch(rf"d{NAME}_d{NAME}", name) is not None


def _offset_of(source: Source, element: str, name: str) -> int:
    """Where an element, or else a name, stands in a claim."""
    place = source.text.replace(" ", "").find(element.replace(" ", "")) if element else -1
    if place >= 0:
        seen = -1
        for offset, character in enumerate(source.text):
            seen += character != " "
            if seen == place:
                return offset
    return next((o for o, t in source.tokens(0, len(source.text)) if t == name), 0)


# --- indices ----------------------------------------------------------------------------------------------------------
