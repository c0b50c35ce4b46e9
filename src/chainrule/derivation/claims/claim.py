"""Reading a claim: what it is about, and its two sides in the names and indices of the derivation.

    dE/dw[i, j] = (p[j] - t[j])*p[j]*(1 - p[j])*x[i]       a gradient, of one sample's loss
    ∂E/∂w[i, j] = 1/N*sum[n]((p[j] - t[j])*x[i])           or of the batch's: who writes the sum means the batch
    delta[k] = p[k] - t[k]                                 a textbook's δ of a layer; dE/dz[k] is the same
    dp/dz[j] = p[j]*(1 - p[j])                             a factor of the chain
    w[i, j] <- w[i, j] - alpha*dE/dw[i, j]                 an update rule

A person's own letters are fine: dE/dw[a, b] and sums over c mean what their places in the tensors say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from re import Match

from chainrule.derivation.claims.names import QUANTITY, QUOTIENT, RATES, element_at, fail, slots_to
from chainrule.derivation.claims.quantities import Quantities
from chainrule.derivation.claims.right_side import RightReader, RightSide
from chainrule.errors import FormulaError, NotationError, ShapeError, UnknownName
from chainrule.formula.expr import (
    ZERO,
    Element,
    Expr,
    Number,
    Slot,
    Symbol,
    free_indices,
    replace_symbols,
    substitute,
    symbols,
    transform,
    walk,
)
from chainrule.formula.expressions import Vocabulary, near
from chainrule.formula.source import Source
from chainrule.formula.system import Tensor, Update
from chainrule.messages import say

MAX_CHARACTERS = 4_000  # of one claim
MAX_RATES = 6  # numbers of an update that are tried as its learning rate
SAMPLE, BATCH = "sample", "batch"


@dataclass(frozen=True)
class Claim:
    """A claim and the truth beside it, both over `axes`.

    `reading` says whether a gradient is one sample's or the batch's, None where there is no such choice. `loose` are
    indices of the right side that nothing sums and the left side does not have; `conflict` is what is wrong where an
    index runs over two sizes: both are for locate.py to explain.
    """

    text: str
    kind: str  # gradient (of a parameter or an adjoint), factor, update, quantity
    left: str
    of: str
    value: Expr
    truth: Expr
    axes: tuple[str, ...]
    reading: str | None
    loose: tuple[str, ...] = ()
    conflict: FormulaError | None = None
    states: Mapping[str, Tensor] = field(default_factory=dict)
    letters: Mapping[str, Slot] = field(default_factory=dict)  # of an index here, what its author wrote


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
            raise fail(source, NotationError, pieces[1][1], "two_equal_signs")
    raise fail(source, NotationError, len(source.text), "no_equal_sign")


@dataclass(frozen=True)
class _Left:
    """What a left side names: a quantity, and where it is a quotient, what is above and below."""

    kind: str
    of: str
    over: str
    slots: tuple[Slot, ...]  # of `of`, the samples' left out
    over_slots: tuple[Slot, ...]


class _Reader(RightReader):
    """A whole claim: its sides, and the truth beside it."""

    def derivative(self, left: tuple[int, int], right: tuple[int, int]) -> Claim:
        side = self._left(left)
        own = self.own(side.of)
        samples = self.book.samples
        sampled = samples in self.book.tensors[side.of].indices
        given: list[tuple[Slot, str]] = list(zip(side.slots, own, strict=True))
        if side.kind == "factor":
            given = [*zip(side.over_slots, self.own(side.over), strict=True), *given]
        said = self.right_side(right, given, {})
        slots = said.at(side.slots)
        if side.kind == "factor":
            truth = self.quotient(side.over, said.at(side.over_slots), side.of, slots)
            reading = None
        elif side.kind == "gradient" and not sampled:
            truth, reading = self._gradient(side.of, slots, said.value, right)
        else:
            target, truth = self.book.adjoint(side.of) if side.kind != "quantity" else (None, ZERO)
            element = self.book.tensors[side.of].element if target is None else target
            at = element_at(element, (samples, *slots) if sampled else slots)
            truth = substitute(truth, slots_to(element, at)) if target is not None else at
            reading = None
        return self._claim(side, left, said, truth, reading)

    def _claim(
        self,
        side: _Left,
        left: tuple[int, int],
        said: RightSide,
        truth: Expr,
        reading: str | None,
    ) -> Claim:
        samples = self.book.samples
        free = (free_indices(said.value) | free_indices(truth)) - set(said.loose)
        axes = tuple(sorted(free, key=lambda i: (i != samples, i)))
        text = self.source.text
        return Claim(
            text=self.source.typed,
            kind=side.kind,
            left=" ".join(text[slice(*left)].split()),
            of=side.of,
            value=said.value,
            truth=truth,
            axes=(*axes, *said.loose),
            reading=reading,
            loose=said.loose,
            conflict=said.conflict,
            letters=dict(self.letters),
        )

    def _left(self, piece: tuple[int, int]) -> _Left:
        start, end = piece
        text = self.source.text[start:end]
        if start == end:
            raise fail(self.source, NotationError, start, "left_side")
        if match := QUOTIENT.fullmatch(text):
            return self._left_quotient(start, match)
        match = QUANTITY.fullmatch(text)
        if match is None:
            raise fail(self.source, NotationError, start, "left_side")
        name = self.book.named(match[1])
        slots = self.slots(start + match.start(2), match[2])
        kind, of = self.meaning(name, slots)
        if not of:
            known = [*self.book.adjoints, *(t.tensor for t in self.book.adjoints.values())]
            raise fail(self.source, UnknownName, start, "unknown_left", name=match[1], near=near(name, known))
        return _Left(kind, of, self.book.loss, self.counted(start, of, slots, match[2] is not None), ())

    def _left_quotient(self, start: int, match: Match[str]) -> _Left:
        of = self.known(start + match.start(3), match[3])
        slots = self.counted(
            start + match.start(3), of, self.slots(start + match.start(4), match[4]), match[4] is not None
        )
        if self.book.is_loss(match[1]):
            return _Left("gradient", of, self.book.loss, slots, ())
        over = self.known(start + match.start(1), match[1])
        return _Left("factor", of, over, slots, self.over_slots(start, match, over))

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
                if not self.book.scaled:
                    raise fail(self.source, ShapeError, right[0], "loss_of_batch", index=self.book.samples)
                raise fail(self.source, ShapeError, right[0], "samples_meet", index=self.book.samples)
        at = element_at(target, slots)
        assert truth is not None
        return substitute(truth, slots_to(target, at)), reading

    # --- update rules

    def update(self, left: tuple[int, int], right: tuple[int, int]) -> list[Claim]:
        start = left[0]
        match = QUANTITY.fullmatch(self.source.text[slice(*left)])
        if match is None:
            raise fail(self.source, NotationError, start, "left_of_update")
        name, slots = self.book.named(match[1]), self.slots(start + match.start(2), match[2])
        own = [u for u in self.book.system.updates if isinstance(u.target, Element) and u.target.tensor == name]
        if own:
            counted = self.counted(start, name, slots, match[2] is not None)
            return [self._update_claim(counted, name, own[0], left, right)]
        changed = {u.target.name for u in self.lines if isinstance(u.target, Symbol)}
        role = self.book.tensors[name].role if name in self.book.tensors else ""
        if role == "parameter":
            counted = self.counted(start, name, slots, match[2] is not None)
            return self._with_rates(self._update_claim(counted, name, self._line("w"), left, right))
        if name in changed - {"w"}:
            return [
                self._update_claim(self.counted(start, p, slots, True), p, self._line(name), left, right)
                for p in self._parameters_like(slots, start, name)
            ]
        known = [*(p.name for p in self.book.system.parameters), *sorted(changed - {"w"})]
        raise fail(
            self.source,
            UnknownName,
            start,
            "not_updated",
            name=match[1],
            known=", ".join(known),
            near=near(name, known),
        )

    def _with_rates(self, claim: Claim) -> list[Claim]:
        """Also with a number of the claim, such as 0.1, as the learning rate that the rule leaves open."""
        open_rates = [s for s in symbols(claim.truth) if s in RATES and s not in symbols(claim.value)]
        numbers = dict.fromkeys(abs(n.value) for n in walk(claim.value) if isinstance(n, Number) and n.value != 0)
        return [claim] + [
            replace(claim, truth=replace_symbols(claim.truth, {rate: Number(value)}))
            for rate in open_rates[:1]
            for value in list(numbers)[:MAX_RATES]
        ]

    def _line(self, name: str) -> Update:
        return next(u for u in self.lines if u.target == Symbol(name))

    def _parameters_like(self, slots: tuple[Slot, ...], offset: int, name: str) -> list[str]:
        """The parameters that a state with these indices can belong to, those with the same letters first."""
        found = [p for p in self.book.system.parameters if len(p.indices) == len(slots)]
        if not found:
            raise fail(self.source, ShapeError, offset, "state_of_nothing", name=name, came=len(slots))
        return [p.name for p in sorted(found, key=lambda p: p.indices != slots)]

    def _update_claim(
        self,
        slots: tuple[Slot, ...],
        parameter: str,
        line: Update,
        left: tuple[int, int],
        right: tuple[int, int],
    ) -> Claim:
        generic = isinstance(line.target, Symbol)
        own = self.own(parameter)
        changed = [u.target.name for u in self.lines if isinstance(u.target, Symbol) and u.target.name != "w"]
        states = {s: Tensor(s, "state", own) for s in changed if generic and s not in self.book.tensors}
        said = self.right_side(right, list(zip(slots, own, strict=True)), states, parameter)
        at, value = said.at(slots), said.value
        sampled = self.book.samples in free_indices(value)
        truth: Expr = line.value
        if generic:
            value = transform(value, lambda n: self._gradient_at(parameter, at, sampled) if n == Symbol("g") else n)
            put = {"w": Element(parameter, at), "g": self._gradient_at(parameter, at, sampled)}
            put |= {s: Element(s, at) for s in changed}
            truth = replace_symbols(truth, put)
        else:
            assert isinstance(line.target, Element)
            truth = substitute(truth, slots_to(line.target, element_at(line.target, at)))
        said = replace(said, value=self._rate_named(value, truth))
        reading = (SAMPLE if sampled else BATCH) if self.book.scaled else None
        side = _Left("update", parameter, parameter, slots, ())
        return replace(self._claim(side, left, said, truth, reading), states=states)

    def _gradient_at(self, parameter: str, slots: tuple[Slot, ...], sampled: bool) -> Expr:
        target, batch = self.book.gradient(parameter)
        value = self.book.of_one_sample(batch) if sampled else batch
        return substitute(batch if value is None else value, slots_to(target, element_at(target, slots)))

    def _rate_named(self, value: Expr, truth: Expr) -> Expr:
        """alpha in the claim is eta in the rule, where each has one name for the learning rate."""
        own = [s for s in symbols(value) if s in RATES and s not in symbols(truth)]
        wanted = [s for s in symbols(truth) if s in RATES and s not in symbols(value)]
        if len(own) == 1 and wanted:
            return replace_symbols(value, {own[0]: Symbol(wanted[0])})
        return value
