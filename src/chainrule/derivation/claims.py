"""Reading a claim: what it is about, and its two sides in the names and indices of the derivation.

    dE/dw[i, j] = (p[j] - t[j])*p[j]*(1 - p[j])*x[i]       a gradient, of one sample's loss
    ∂E/∂w[i, j] = 1/N*sum[n]((p[j] - t[j])*x[i])           or of the batch's: who writes the sum means the batch
    delta[k] = p[k] - t[k]                                 a textbook's δ of a layer; dE/dz[k] is the same
    dp/dz[j] = p[j]*(1 - p[j])                             a factor of the chain
    w[i, j] <- w[i, j] - alpha*dE/dw[i, j]                 an update rule

A person's own letters are fine: dE/dw[a, b] and sums over c mean what their places in the tensors say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chainrule.derivation.derive import derive
from chainrule.derivation.quantities import Quantities
from chainrule.errors import FormulaError, NotationError, Place, ShapeError, UnknownName
from chainrule.formula.expr import (
    ZERO,
    Add,
    Apply,
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Position,
    Power,
    Reduction,
    Size,
    Slot,
    Symbol,
    Where,
    base_index,
    children,
    elements,
    free_indices,
    fresh_index,
    substitute,
    symbols,
    transform,
    walk,
)
from chainrule.formula.expressions import MAX_SIZE, Definition, Scope, Vocabulary, near
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.names import GREEK, split_index
from chainrule.formula.source import NAME, Source
from chainrule.formula.system import Tensor, Update
from chainrule.formula.text import Printer
from chainrule.messages import say

MAX_CHARACTERS = 4_000  # of one claim
SAMPLE, BATCH = "sample", "batch"
# What people call the learning rate; where the rule has another of these names, it is meant.
RATES = ("eta", "alpha", "lr", "learning_rate", "rate", "η", "α", "epsilon", "ε", "gamma", "γ")
SLOTS = r"(?:\s*\[([^\[\]()]*)\])?"
QUOTIENT = re.compile(rf"(?:∂\s*|\bd\s*)({NAME}){SLOTS}\s*/\s*(?:∂\s*|\bd\s*)({NAME}){SLOTS}")
QUANTITY = re.compile(rf"({NAME}){SLOTS}")
DELTA = re.compile(r"(?:delta|δ)_?(\w*)$")
PRIMED = re.compile(rf"({NAME})\s*['′’](?=\s*\()")


@dataclass(frozen=True)
class Claim:
    """A claim and the truth beside it, both over `axes`.

    `reading` says whether a gradient is one sample's or the batch's, None where there is no such choice. `loose` are
    indices of the right side that nothing sums and the left side does not have; `conflict` is what is wrong where an
    index runs over two sizes: both are for locate.py to explain.
    """

    text: str
    kind: str  # gradient, adjoint, factor, update, quantity
    left: str
    of: str
    value: Expr
    truth: Expr
    axes: tuple[str, ...]
    reading: str | None
    loose: tuple[str, ...] = ()
    conflict: FormulaError | None = None
    place: Place | None = None
    states: Mapping[str, Tensor] = field(default_factory=dict)
    letters: Mapping[str, Slot] = field(default_factory=dict)  # of an index here, what its author wrote


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


def read_claim(
    text: str,
    book: Quantities,
    vocabulary: Vocabulary,
    lines: Sequence[Update] = (),
    sizes: Mapping[str, int] | None = None,
) -> list[Claim]:
    """The claim in every way in which it can be meant: one, but for a state of an update rule one a parameter.

    `lines` is the update rule; `sizes` are the known sizes of indices, which fixed positions must not exceed.
    Raises: NotationError, UnknownName, ShapeError, with a caret.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotationError(say("claims.too_long", came=len(text), limit=MAX_CHARACTERS))
    source = Source(text.strip())
    source.statements()  # for its brackets
    sign, (left, right) = _sides(source)
    reader = _Reader(source, book, vocabulary, tuple(lines), dict(sizes or {}))
    return reader.update(left, right) if sign == "<-" else [reader.derivative(left, right)]


def _sides(source: Source) -> tuple[str, tuple[tuple[int, int], tuple[int, int]]]:
    whole = (0, len(source.text))
    for separator in ("<-", "←", "="):
        pieces = source.split(*whole, separator)
        if len(pieces) == 2:
            return ("=" if separator == "=" else "<-"), (source.strip(pieces[0]), source.strip(pieces[1]))
        if len(pieces) > 2:
            raise _fail(source, NotationError, pieces[1][1], "two_equal_signs")
    raise _fail(source, NotationError, len(source.text), "no_equal_sign")


def _fail(source: Source, kind: type[FormulaError], offset: int, key: str, **values: object) -> FormulaError:
    return kind(say(f"claims.{key}", **values), source.place(offset))


@dataclass(frozen=True)
class _Left:
    """What a left side names: a quantity, and where it is a quotient, what is above and below."""

    kind: str
    of: str
    over: str
    slots: tuple[Slot, ...]  # of `of`, the samples' left out
    over_slots: tuple[Slot, ...]


class _Reader:
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

    # --- the left side

    def derivative(self, left: tuple[int, int], right: tuple[int, int]) -> Claim:
        side = self._left(left)
        own = self._own(side.of)
        samples = self.book.samples
        sampled = samples in self.book.tensors[side.of].indices
        given: list[tuple[Slot, str]] = list(zip(side.slots, own, strict=True))
        if side.kind == "factor":
            given = [*zip(side.over_slots, self._own(side.over), strict=True), *given]
        value, names, loose, conflict = self._right(right, given, {})
        slots = tuple(names.get(s, s) for s in side.slots)
        if side.kind == "factor":
            over_slots = tuple(names.get(s, s) for s in side.over_slots)
            truth = self._quotient(side.over, over_slots, side.of, slots)
            reading = None
        elif side.kind == "gradient" and not sampled:
            truth, reading = self._gradient(side.of, slots, value, right)
        else:
            target, truth = self.book.adjoint(side.of) if side.kind != "quantity" else (None, ZERO)
            element = self.book.tensors[side.of].element if target is None else target
            at = _put(element, (samples, *slots) if sampled else slots)
            truth = substitute(truth, _slots(element, at)) if target is not None else at
            reading = None
        return self._claim(side, left, right, value, truth, reading, loose, conflict)

    def _claim(
        self,
        side: _Left,
        left: tuple[int, int],
        right: tuple[int, int],
        value: Expr,
        truth: Expr,
        reading: str | None,
        loose: tuple[str, ...],
        conflict: FormulaError | None,
        states: Mapping[str, Tensor] | None = None,
    ) -> Claim:
        samples = self.book.samples
        free = (free_indices(value) | free_indices(truth)) - set(loose)
        axes = tuple(sorted(free, key=lambda i: (i != samples, i)))
        text = self.source.text
        kind = "gradient" if side.kind == "gradient" and self.book.tensors[side.of].role == "parameter" else side.kind
        kind = "adjoint" if side.kind == "gradient" and kind == "gradient" and samples in truth_axes(truth) and (
            reading is None
        ) else kind
        return Claim(
            text=self.source.typed,
            kind=kind,
            left=" ".join(text[slice(*left)].split()),
            of=side.of,
            value=value,
            truth=truth,
            axes=(*axes, *loose),
            reading=reading,
            loose=loose,
            conflict=conflict,
            place=self.source.place(right[0]),
            states=dict(states or {}),
            letters=dict(self.letters),
        )

    def _left(self, piece: tuple[int, int]) -> _Left:
        start, end = piece
        text = self.source.text[start:end]
        if start == end:
            raise _fail(self.source, NotationError, start, "left_side")
        if match := QUOTIENT.fullmatch(text):
            return self._left_quotient(start, match)
        match = QUANTITY.fullmatch(text)
        if match is None:
            raise _fail(self.source, NotationError, start, "left_side")
        name = self.book.named(match[1])
        slots = self._slots(start + match.start(2), match[2])
        kind, of = self._meaning(name, slots)
        if not of:
            known = [*self.book.adjoints, *(t.tensor for t in self.book.adjoints.values())]
            raise _fail(self.source, UnknownName, start, "unknown_left", name=match[1], near=near(name, known))
        return _Left(kind, of, self.book.loss, self._counted(start, of, slots, match[2] is not None), ())

    def _meaning(self, name: str, slots: Sequence[Slot]) -> tuple[str, str]:
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

    def _left_quotient(self, start: int, match: re.Match[str]) -> _Left:
        of = self._known(start + match.start(3), match[3])
        slots = self._counted(
            start + match.start(3), of, self._slots(start + match.start(4), match[4]), match[4] is not None
        )
        if self.book.is_loss(match[1]):
            return _Left("gradient", of, self.book.loss, slots, ())
        over = self._known(start + match.start(1), match[1])
        return _Left("factor", of, over, slots, self._over_slots(start, match, over))

    def _over_slots(self, start: int, match: re.Match[str], over: str) -> tuple[Slot, ...]:
        """The indices above; a textbook's dp/dz[j] leaves them out where they are those of its declaration."""
        if match[2] is None:
            own, below = self._own(over), self._slots(start + match.start(4), match[4])
            under = self._own(self._known(start + match.start(3), match[3]))
            alike = [self.classes.of(i) for i in own] == [self.classes.of(i) for i in under]
            return tuple(below) if alike else own
        return self._counted(start + match.start(1), over, self._slots(start + match.start(2), match[2]), True)

    def _known(self, offset: int, name: str) -> str:
        found = self.book.named(name)
        if found not in self.book.system.tensors:
            known = self.book.system.tensors
            raise _fail(self.source, UnknownName, offset, "unknown_quantity", name=name, near=near(name, known))
        return found

    def _own(self, name: str) -> tuple[str, ...]:
        return tuple(i for i in self.book.tensors[name].indices if i != self.book.samples)

    def _slots(self, offset: int, text: str | None) -> tuple[Slot, ...]:
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

    def _counted(self, offset: int, name: str, slots: tuple[Slot, ...], bracket: bool) -> tuple[Slot, ...]:
        """The slots of a quantity on the left, as many as it has, and none out of range."""
        own = self._own(name)
        if slots[:1] == (self.book.samples,) and len(slots) == len(own) + 1:
            slots = slots[1:]
        if len(slots) != len(own):
            example = f"{name}[{', '.join(own)}]" if own else name
            raise self.source.fail(
                ShapeError, offset, "wrong_index_count", name=name, came=len(slots), wanted=len(own), example=example
            )
        self._check_range(offset, name, slots)
        return slots

    def _check_range(self, offset: int, name: str, slots: Sequence[Slot]) -> None:
        for slot, own in zip(slots, self._own(name), strict=True):
            if isinstance(slot, int) and slot >= self.sizes.get(own, slot + 1):
                element = f"{name}[{', '.join(map(str, slots))}]"
                raise self.source.fail(
                    ShapeError, offset, "slot_out_of_range", element=element, index=own, size=self.sizes[own]
                )

    # --- the truth

    def _gradient(
        self, name: str, slots: tuple[Slot, ...], value: Expr, right: tuple[int, int]
    ) -> tuple[Expr, str | None]:
        """∂E/∂w of one sample where the claim speaks of one, else of the batch."""
        target, batch = self.book.gradient(name)
        truth: Expr | None = batch
        reading = BATCH if self.book.scaled else None
        if self.book.samples in free_indices(value):
            truth, reading = self.book.of_one_sample(batch), SAMPLE
            if truth is None:
                raise _fail(self.source, ShapeError, right[0], "samples_meet", index=self.book.samples)
        at = _put(target, slots)
        assert truth is not None
        return substitute(truth, _slots(target, at)), reading

    def _quotient(self, over: str, over_slots: Sequence[Slot], under: str, slots: Sequence[Slot]) -> Expr:
        samples = self.book.samples

        def full(name: str, own: Sequence[Slot]) -> tuple[Slot, ...]:
            return (samples, *own) if samples in self.book.tensors[name].indices else tuple(own)

        return self.book.quotient(over, full(over, over_slots), under, full(under, slots))

    # --- update rules

    def update(self, left: tuple[int, int], right: tuple[int, int]) -> list[Claim]:
        start = left[0]
        match = QUANTITY.fullmatch(self.source.text[slice(*left)])
        if match is None:
            raise _fail(self.source, NotationError, start, "left_of_update")
        name, slots = self.book.named(match[1]), self._slots(start + match.start(2), match[2])
        own = [u for u in self.book.system.updates if isinstance(u.target, Element) and u.target.tensor == name]
        if own:
            counted = self._counted(start, name, slots, match[2] is not None)
            return [self._update_claim(name, counted, name, own[0], left, right)]
        changed = {u.target.name for u in self.lines if isinstance(u.target, Symbol)}
        role = self.book.tensors[name].role if name in self.book.tensors else ""
        if role == "parameter":
            counted = self._counted(start, name, slots, match[2] is not None)
            return [self._update_claim(name, counted, name, self._line("w"), left, right)]
        if name in changed - {"w"}:
            return [
                self._update_claim(name, slots, p, self._line(name), left, right)
                for p in self._parameters_like(slots, start, name)
            ]
        known = [*(p.name for p in self.book.system.parameters), *sorted(changed - {"w"})]
        raise _fail(
            self.source, UnknownName, start, "not_updated", name=match[1], known=", ".join(known), near=near(name, known)
        )

    def _line(self, name: str) -> Update:
        return next(u for u in self.lines if u.target == Symbol(name))

    def _parameters_like(self, slots: tuple[Slot, ...], offset: int, name: str) -> list[str]:
        """The parameters that a state with these indices can belong to, those with the same letters first."""
        found = [p for p in self.book.system.parameters if len(p.indices) == len(slots)]
        if not found:
            raise _fail(self.source, ShapeError, offset, "state_of_nothing", name=name, came=len(slots))
        return [p.name for p in sorted(found, key=lambda p: p.indices != slots)]

    def _update_claim(
        self,
        name: str,
        slots: tuple[Slot, ...],
        parameter: str,
        line: Update,
        left: tuple[int, int],
        right: tuple[int, int],
    ) -> Claim:
        generic = isinstance(line.target, Symbol)
        own = self._own(parameter)
        changed = [u.target.name for u in self.lines if isinstance(u.target, Symbol) and u.target.name != "w"]
        states = {s: Tensor(s, "state", own) for s in changed if generic and s not in self.book.tensors}
        value, names, loose, conflict = self._right(right, list(zip(slots, own, strict=True)), states, parameter)
        at = tuple(names.get(s, s) for s in slots)
        sampled = self.book.samples in free_indices(value)
        truth: Expr = line.value
        if generic:
            value = transform(value, lambda n: self._gradient_at(parameter, at, sampled) if n == Symbol("g") else n)
            put = {"w": Element(parameter, at), "g": self._gradient_at(parameter, at, sampled)}
            put |= {s: Element(s, at) for s in changed}
            truth = self.book.with_symbols(truth, put)
        else:
            assert isinstance(line.target, Element)
            truth = substitute(truth, _slots(line.target, _put(line.target, at)))
        value = self._rate_named(value, truth)
        reading = (SAMPLE if sampled else BATCH) if self.book.scaled else None
        side = _Left("update", parameter, parameter, slots, ())
        return self._claim(side, left, right, value, truth, reading, loose, conflict, states)

    def _gradient_at(self, parameter: str, slots: tuple[Slot, ...], sampled: bool) -> Expr:
        target, batch = self.book.gradient(parameter)
        value = self.book.of_one_sample(batch) if sampled else batch
        return substitute(batch if value is None else value, _slots(target, _put(target, slots)))

    def _rate_named(self, value: Expr, truth: Expr) -> Expr:
        """alpha in the claim is eta in the rule, where each has one name for the learning rate."""
        own = [s for s in symbols(value) if s in RATES and s not in symbols(truth)]
        wanted = [s for s in symbols(truth) if s in RATES and s not in symbols(value)]
        if len(own) == 1 and wanted:
            return self.book.with_symbols(value, {own[0]: Symbol(wanted[0])})
        return value

    # --- the right side

    def _right(
        self,
        piece: tuple[int, int],
        given: Sequence[tuple[Slot, str]],
        states: Mapping[str, Tensor],
        parameter: str | None = None,
    ) -> tuple[Expr, dict[Slot, str], tuple[str, ...], FormulaError | None]:
        """The right side in the derivation's indices: (value, name on the left → index, loose indices, conflict)."""
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
        renamer = _Renamer(self.classes, tensors, self.book.samples)
        value, found = renamer.rename(value, given)
        value = self._without_quotients(value, quotients)
        self.letters = {new: _typed(name) for name, new in {**found, **renamer.loose_names}.items() if new != name}
        names = {_typed(name): new for name, new in found.items()}
        loose = tuple(new for name, new in renamer.loose_names.items() if not isinstance(_typed(name), int))
        conflict = None
        if renamer.conflict is not None:
            index, first, second, element = renamer.conflict
            offset = _offset_of(source, Printer(self.book.samples).text(element), index)
            conflict = _fail(source, ShapeError, offset, "two_sizes", index=index, first=first, second=second)
        elif loose:
            typed = next(n for n, new in renamer.loose_names.items() if new == loose[0])
            conflict = _fail(source, ShapeError, _offset_of(source, "", typed), "loose_index", index=typed)
        return value, names, loose, conflict

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
        pattern = re.compile(f"(?P<quotient>{QUOTIENT.pattern})|(?P<primed>{PRIMED.pattern})|(?P<name>{QUANTITY.pattern})")
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
        groups = match.groups()
        if match["quotient"]:
            return self._quotient_text(match.start(), QUOTIENT.match(match[0]), tensors, quotients)
        if match["primed"]:
            name = re.split(r"\s*['′’]", match[0])[0]
            return ("sigmoid" if name in ("σ", "sigma") else name) + "_prime"
        found = QUANTITY.match(match[0])
        assert found is not None and groups
        name, inner = found[1], found[2]
        if name in ("σ", "sigma") and name not in tensors and match.string[match.end() :].lstrip()[:1] == "(":
            return "sigmoid" + match[0][len(name) :]
        if name == "g" and inner is not None and parameter is not None and name not in tensors:
            return f"{self.book.gradient(parameter)[0].tensor}[{inner}]"
        if name in tensors or name in self.scalars:
            return None
        if self.book.named(name) in tensors:
            return self.book.named(name) + match[0][len(name) :]
        kind, of = self._meaning(name, self._slots(match.start(), inner)) if _may_be_adjoint(name) else ("", "")
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
        under = self._known(offset + match.start(3), match[3])
        below = "" if match[4] is None else match[4]
        if self.book.is_loss(match[1]):
            return f"{self._adjoint_tensor(under, tensors)}[{below}]" if match[4] else self._adjoint_tensor(under, tensors)
        over = self._known(offset + match.start(1), match[1])
        above = match[2] if match[2] is not None else ", ".join(map(str, self._over_slots(offset, match, over)))
        name = f"d{over}_by_d{under}"
        samples = self.book.samples
        sampled = any(samples in self.book.tensors[n].indices for n in (over, under))
        own = (*self._own(over), *self._own(under))
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
                above = len(self._own(over))
                return self._quotient(over, slots[:above], under, slots[above:])
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
                raise _fail(
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


def with_leaves(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """`expr` with other elements and symbols, all nodes above them as they were written: nothing is tidied."""
    parts = children(expr)
    if not parts:
        return change(expr)
    new = tuple(with_leaves(p, change) for p in parts)
    return with_parts(expr, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else expr


def with_parts(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """The node over other parts, as it is."""
    match expr:
        case Add():
            return Add(parts)
        case Mul():
            return Mul(parts)
        case Power():
            return Power(*parts)
        case Apply(function, _):
            return Apply(function, parts)
        case Compare(operator, _, _):
            return Compare(operator, *parts)
        case Where():
            return Where(*parts)
        case Reduction(kind, indices, _):
            return Reduction(kind, indices, parts[0])
        case Normalized(kind, index, _):
            return Normalized(kind, index, parts[0])
    return expr


def truth_axes(truth: Expr) -> frozenset[str]:
    """The free indices of a true value."""
    return free_indices(truth)


def _typed(name: str) -> Slot:
    """What was typed for an index: 3 for 3@i."""
    place, at, _ = name.partition("@")
    return int(place) if at else name


def _may_be_adjoint(name: str) -> bool:
    return DELTA.match(name) is not None or re.fullmatch(rf"d{NAME}_d{NAME}", name) is not None


def _put(element: Element, slots: Sequence[Slot]) -> Element:
    return Element(element.tensor, tuple(slots))


def _slots(own: Element, at: Element) -> dict[str, Slot]:
    return {str(a): b for a, b in zip(own.slots, at.slots, strict=True) if a != b}


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
                    case Element(tensor, slots) if tensor in book.tensors:
                        for slot, own in zip(slots, book.tensors[tensor].indices, strict=True):
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
class _Index:
    """One index of a claim, free or bound once: what it runs over, and its name in the derivation."""

    typed: str
    base: str | None = None
    new: str = ""


class _Renamer:
    """A claim's indices by the derivation's names; sees where one runs over two sizes."""

    def __init__(self, classes: IndexClasses, tensors: Mapping[str, Tensor], samples: str):
        self.classes = classes
        self.tensors = tensors
        self.samples = samples
        self.conflict: tuple[str, str, str, Element] | None = None
        self.loose_names: dict[str, str] = {}

    def rename(
        self, value: Expr, given: Sequence[tuple[Slot, str]]
    ) -> tuple[Expr, dict[str, str]]:
        """(value, typed name → new name for the left side's indices); the others' are in `loose_names`."""
        free: dict[str, _Index] = {self.samples: _Index(self.samples, self.samples, self.samples)}
        taken = {self.samples, *(own for _, own in given)}
        for slot, own in given:
            if isinstance(slot, str) and slot != self.samples:
                new = own if own not in {c.new for c in free.values()} else fresh_index(own, taken)
                taken.add(new)
                free.setdefault(slot, _Index(slot, own, new))
        on_left = set(free)
        bound: dict[int, list[_Index]] = {}
        self._look(value, free, bound)
        for cell in (*free.values(), *(c for cells in bound.values() for c in cells)):
            if not cell.new:
                cell.base = cell.base or self._base_of_name(cell.typed)
                wanted = cell.base
                cell.new = self.samples if wanted == self.samples and cell.typed == self.samples else ""
                cell.new = cell.new or fresh_index(wanted, taken)
                taken.add(cell.new)
        renamed = self._rebuilt(value, {n: c.new for n, c in free.items()}, bound)
        loose = [c for n, c in free.items() if n not in on_left]
        self.loose_names = {c.typed: c.new for c in loose}
        return renamed, {n: free[n].new for n in on_left}

    def _base_of_name(self, typed: str) -> str:
        name = base_index(split_index(typed)[0]) if typed not in self.classes.names else typed
        return name

    def _look(self, node: Expr, env: dict[str, _Index], bound: dict[int, list[_Index]]) -> None:
        match node:
            case Element(tensor, slots):
                for slot, own in zip(slots, self.tensors[tensor].indices, strict=True):
                    if isinstance(slot, str):
                        self._note(env.setdefault(slot, _Index(slot)), own, node)
                return
            case Position(index):
                env.setdefault(index, _Index(index))
                return
            case Delta(left, right):
                for slot in (left, right):
                    if isinstance(slot, str):
                        env.setdefault(slot, _Index(slot))
                return
            case Normalized(_, index, _):
                env.setdefault(index, _Index(index))
            case Reduction(_, indices, body):
                cells = [_Index(i) for i in indices]
                bound[id(node)] = cells
                inner = _Env(env, {c.typed: c for c in cells})
                self._look(body, inner, bound)
                return
        for child in children(node):
            self._look(child, env, bound)

    def _note(self, cell: _Index, own: str, element: Element) -> None:
        if cell.base is None:
            cell.base = own
        elif self.classes.of(cell.base) != self.classes.of(own) and self.conflict is None:
            self.conflict = (cell.typed, cell.base, own, element)

    def _rebuilt(self, node: Expr, names: Mapping[str, str], bound: Mapping[int, list[_Index]]) -> Expr:
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
                return Size(base_index(str(slot(index))))
            case Reduction(kind, indices, body):
                cells = bound[id(node)]
                inner = {**names, **{c.typed: c.new for c in cells}}
                return Reduction(kind, tuple(c.new for c in cells), self._rebuilt(body, inner, bound))
            case Normalized(kind, index, body):
                return Normalized(kind, str(slot(index)), again(body))
        return with_parts(node, tuple(map(again, children(node))))


class _Env(dict[str, _Index]):
    """Indices in scope within a sum: its own, then those outside, to which a new name is added."""

    def __init__(self, outside: dict[str, _Index], own: Mapping[str, _Index]):
        super().__init__(own)
        self.outside = outside

    def setdefault(self, name: str, default: _Index | None = None) -> _Index:  # type: ignore[override]  # an index is never None
        if name in self:
            return self[name]
        assert default is not None
        return self.outside.setdefault(name, default)
