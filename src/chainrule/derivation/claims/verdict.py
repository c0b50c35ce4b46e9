"""What is said about a claim: proved, equal at all points that were tried, or different, and then where and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from html import escape

import numpy as np

from chainrule.derivation.claims.claim import Claim
from chainrule.derivation.claims.counterexample import Counterexample
from chainrule.derivation.claims.locate import Finding
from chainrule.derivation.claims.quantities import Quantities
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import (
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Reduction,
    Size,
    Slot,
    base_index,
    children,
    free_indices,
    fresh_index,
    key,
    rebuild,
    substitute,
    tensors,
    walk,
)
from chainrule.formula.text import Printer, index_text
from chainrule.messages import say

PROVED, EQUAL, DIFFERENT = "proved", "equal", "different"
SHOWN_ENTRIES = 12  # of an array in a counterexample
SHOWN_COLUMNS = 80


@dataclass(frozen=True)
class Verdict:
    """The answer to a claim.

    `verdict` is "proved", "equal" (at all `points` random points, though no proof was found) or "different";
    `reading` says whether a gradient was read as one "sample"'s or the "batch"'s. Of a different one: the mistakes
    that lead from the true derivative to the claim, the first first, and a counterexample; either may be missing.
    """

    claim: str
    verdict: str
    truth: str
    reading: str | None
    points: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()
    factor: str | None = None
    claimed_factor: str | None = None
    counterexample: Counterexample | None = None
    _findings: tuple[Finding, ...] = field(default=(), repr=False)
    _claim: Claim | None = field(default=None, repr=False)
    _book: Quantities | None = field(default=None, repr=False, compare=False)

    @property
    def proved(self) -> bool:
        return self.verdict == PROVED

    @property
    def holds(self) -> bool:
        """Whether the claim is right as far as can be told: proved, or equal at all points."""
        return self.verdict != DIFFERENT

    def __bool__(self) -> bool:
        return self.holds

    @property
    def hint(self) -> str:
        """What a teacher would say; "" of a claim that holds."""
        if self.holds:
            return ""
        if not self._findings:
            return say("claims.hint_none")
        assert self._book is not None
        assert self._claim is not None
        return " ".join(_hint(f, self._book, self._claim, self._words()) for f in self._findings)

    @property
    def where(self) -> str:
        """The first place at which the claim departs from the derivation, in a line; "" where it was not found."""
        return _where(self._findings[0], self._words()) if self._findings else ""

    def _words(self) -> Words:
        assert self._book is not None
        assert self._claim is not None
        return Words(self._claim, self._book.samples)

    def __str__(self) -> str:
        lines = [("claim", self.claim), ("verdict", self._verdict_line()), ("derived", self.truth)]
        if not self.holds:
            lines += [("where", self.where)] if self.where else []
            lines += [("hint", self.hint)]
        labels = {name: say(f"claims.label_{name}") for name, _ in lines}
        width = max(map(_width, labels.values())) + 2
        text = []
        for name, value in lines:
            shown = _wrapped(value, width) if name in ("verdict", "hint") else value  # a formula stays in one piece
            text.append(labels[name] + " " * (width - _width(labels[name])) + shown)
        if self.counterexample is not None:
            text += self._example_lines(self.counterexample)
        return "\n".join(text)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def _verdict_line(self) -> str:
        sizes = ", ".join(f"{i} = {s}" for i, s in self.sizes.items())
        line = say(f"claims.verdict_{self.verdict}", points=self.points, sizes=sizes)
        return line if self.reading is None else f"{line} ({say(f'claims.read_{self.reading}')})"

    def _example_lines(self, example: Counterexample) -> list[str]:
        assert self._book is not None
        assert self._claim is not None
        samples = self._book.samples
        sizes = {i: s for i, s in example.sizes.items() if self._is_used(i)}
        head = ", ".join(f"{i} = {s}" for i, s in sizes.items())
        lines = [say("claims.example", sizes=head) if head else say("claims.example_scalar")]
        given: dict[str, Array | float] = {**example.scalars, **example.given}
        rows = example.sizes[samples]
        lines.append("    " + ",  ".join(f"{n} = {self._numbers(n, a, rows)}" for n, a in given.items()))
        if example.computed:
            lines.append("    " + ",  ".join(f"{n} = {self._numbers(n, a, rows)}" for n, a in example.computed.items()))
        lines.append(
            "    " + say("claims.example_values", claimed=_number(example.claimed), true=_number(example.true))
        )
        if any(s > 1 for s in sizes.values()) and self._claim.axes:
            pairs = zip(self._claim.axes, example.entry, strict=True)
            words = self._words()
            at = ", ".join(f"{words.index(a)} = {n}" for a, n in pairs if example.sizes[base_index(a)] > 1)
            lines[-1] += f"  ({say('claims.example_entry', entry=at)})" if at else ""
        return lines

    def _is_used(self, index: str) -> bool:
        assert self._book is not None
        assert self.counterexample is not None
        names = [*self.counterexample.given, *self.counterexample.computed]
        found = {i for n in names if n in self._book.tensors for i in self._book.tensors[n].indices}
        return index in found

    def _numbers(self, name: str, value: Array | float, rows: int) -> str:
        """An array as nested lists, without the sample axis where there is one sample."""
        assert self._book is not None
        array = np.asarray(value, dtype=np.float64)
        if array.size == 1:
            return _number(float(array.ravel()[0]))
        tensor = self._book.tensors.get(name)
        if tensor is not None and tensor.indices[:1] == (self._book.samples,) and rows == 1:
            array = array[0]
        return _nested(array) if array.size <= SHOWN_ENTRIES else f"{_nested(array.ravel()[:SHOWN_ENTRIES])[:-1]}, …]"


def _nested(array: Array) -> str:
    if array.ndim == 0:
        return _number(float(array))
    return f"[{', '.join(map(_nested, array))}]"


def _number(value: float) -> str:
    return f"{value + 0.0:.6g}"  # -0 is 0


def _width(text: str) -> int:
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def _wrapped(text: str, margin: int) -> str:
    """A text over several lines of SHOWN_COLUMNS, those after the first behind a margin."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and _width(lines[-1]) + 1 + _width(word) > SHOWN_COLUMNS - margin:
            lines.append(word)
        else:
            lines[-1] += " " + word if lines[-1] else word
    return ("\n" + " " * margin).join(lines)


# --- words ------------------------------------------------------------------------------------------------------------


class Words:
    """Parts of formulas as the author of a claim would write them: with the same letters for indices."""

    def __init__(self, claim: Claim, samples: str):
        self.letters = dict(claim.letters)
        self.samples = samples
        self.printer = Printer(samples)

    def text(self, expr: Expr | None) -> str | None:
        if expr is None:
            return None
        if expr == Size(self.samples):
            return "N"
        return self.printer.text(self._plain(substitute(expr, self.letters), frozenset()))

    def index(self, name: str) -> str:
        return index_text(self.letters.get(name, name))

    def _plain(self, expr: Expr, taken: frozenset[str]) -> Expr:
        """Sums over j instead of j' where j is not taken, and over j' where it is."""
        if not isinstance(expr, Reduction):
            parts = children(expr)
            new = tuple(self._plain(p, taken | free_indices(expr)) for p in parts)
            return rebuild(expr, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else expr
        around = taken | free_indices(expr)
        slots: dict[str, Slot] = {}
        for index in expr.indices:
            plain = base_index(index)
            others = around | set(map(str, slots.values())) | (set(expr.indices) - {index})
            if index in taken or (plain != index and plain not in others):
                slots[index] = fresh_index(plain, others | taken)
        if any(isinstance(n, Normalized) for n in walk(expr.body)):
            return expr
        indices = tuple(str(slots.get(i, i)) for i in expr.indices)
        body = self._plain(substitute(expr.body, slots), around | set(indices))
        return Reduction(expr.kind, indices, body)


def _where(finding: Finding, words: Words) -> str:
    true, claimed = words.text(finding.true), words.text(finding.claimed)
    match finding.mistake:
        case "sign":
            return say("claims.where_sign")
        case "times" if true is None:
            return say("claims.where_times", claimed=claimed)
        case "times":
            return say("claims.where_term_times", true=true, claimed=claimed)
        case "forgotten_size":
            return say("claims.where_missing", true=f"1/{true}")
        case "extra_size":
            return say("claims.where_extra", claimed=f"1/{true}")
        case "extra_term":
            return say("claims.where_extra_term", claimed=claimed)
    if true is not None and claimed is not None:
        return say("claims.where_changed", true=true, claimed=claimed)
    if true is not None:
        return say("claims.where_missing", true=true)
    return say("claims.where_extra", claimed=claimed)


def _hint(finding: Finding, book: Quantities, claim: Claim, words: Words) -> str:
    """The sentence for a finding: of the row of the table, or of a special case that has a sentence of its own."""
    values = {
        "true": words.text(finding.true) or "",
        "claimed": words.text(finding.claimed) or "",
        "index": words.index(finding.index),
        "loss": book.loss,
    }
    name = finding.mistake
    match finding:
        case Finding("forgotten_size" | "extra_size", _, _, index) if index == book.samples:
            name = {"forgotten_size": "forgotten_mean", "extra_size": "extra_mean"}[finding.mistake]
        case Finding("times", Expr()):
            name = "term_times"
        case Finding("times", _, Number(value)) if value == 2 and _has_half(book):
            name = "half_forgotten"
        case Finding("times", _, Number(value)) if value == Fraction(1, 2):
            name = "two_forgotten"
        case Finding("missing_derivative" | "wrong_derivative" | "other_layer", Expr() as true):
            over = _activation(true, book)
            if over is None:
                name = "missing_factor" if finding.mistake == "missing_derivative" else "wrong_factor"
            else:
                values |= {"over": over[0], "under": over[1]}
        case Finding("extra_factor", None, Element(tensor, _)) if _is_bias(claim, book):
            name = "extra_at_bias" if book.tensors[tensor].role != "target" else name
        case Finding("missing_factor", Element(tensor, _)) if _is_weight(claim, book):
            name = "missing_input" if tensor in _multiplied_with(claim.of, book) else name
        case Finding("wrong_quantity" | "wrong_factor", Element(tensor, _), Element()):
            if tensor in _multiplied_with(claim.of, book):
                name = "wrong_input"
            elif book.tensors[tensor].role == "target" if tensor in book.tensors else False:
                name = "wrong_target"
        case Finding("term_sign", Expr()) if claim.kind == "update":
            name = "update_sign"
        case Finding("missing_term", Expr()) if claim.kind == "update":
            name = "update_term"
    return say(f"claims.hint_{name}", **values)


def _activation(true: Expr, book: Quantities) -> tuple[str, str] | None:
    names = {*tensors(true)}
    for factor in book.local_factors:
        if {*tensors(factor.value)} == names or (key(factor.value) == key(true)):
            return factor.over, factor.under
    return None


def _has_half(book: Quantities) -> bool:
    equation = book.derivation.source.equation_of(book.loss)
    return equation is not None and any(
        isinstance(n, Number) and n.value == Fraction(1, 2) for n in walk(equation.value)
    )


def _is_bias(claim: Claim, book: Quantities) -> bool:
    """Whether a parameter stands in sums alone, without a factor."""
    return (
        claim.of in book.tensors and book.tensors[claim.of].role == "parameter" and not _multiplied_with(claim.of, book)
    )


def _is_weight(claim: Claim, book: Quantities) -> bool:
    return bool(_multiplied_with(claim.of, book))


def _multiplied_with(parameter: str, book: Quantities) -> set[str]:
    """The quantities that a weight is multiplied with on the way forward."""
    found: set[str] = set()
    for equation in book.system.equations:
        for node in walk(equation.value):
            if isinstance(node, Mul):
                names = [f.tensor for f in node.factors if isinstance(f, Element)]
                if parameter in names:
                    found |= set(names) - {parameter}
    return found


def sizes_shown(book: Quantities, sizes: Mapping[str, int], expr: Expr) -> dict[str, int]:
    """The sizes of the indices that an expression has anywhere."""
    names = {i for n in tensors(expr) if n in book.tensors for i in book.tensors[n].indices}
    names |= {n.index for n in walk(expr) if isinstance(n, Size)} | free_indices(expr)
    return {i: s for i, s in sizes.items() if i in names}
