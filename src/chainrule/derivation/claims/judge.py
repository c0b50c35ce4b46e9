"""Check my derivation: a claim against the derivation, to a verdict.

read (claims.py) → compare at random points (points.py) → where all agree: prove (prove.py)
                                                        → else: locate (locate.py), counterexample
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.derivation.adjoint import Derivation
from chainrule.derivation.claims.claim import BATCH, Claim, read_claim
from chainrule.derivation.claims.counterexample import find_counterexample
from chainrule.derivation.claims.locate import PAIR_SECONDS, Finding, Locator
from chainrule.derivation.claims.points import DRAWS, Points, agree
from chainrule.derivation.claims.prove import Prover
from chainrule.derivation.claims.quantities import Quantities
from chainrule.derivation.claims.verdict import DIFFERENT, EQUAL, PROVED, Verdict, Words, sizes_shown
from chainrule.derivation.derive import tidy
from chainrule.formula.expr import Expr, count_nodes
from chainrule.formula.expressions import EMPTY, Vocabulary
from chainrule.formula.system import Update

SHOWN_NODES = 60  # of a derived formula with its δ's written out; a larger one keeps their names


class Checker:
    """Checks claims on one derivation; random points and what was found out about a quantity are kept for the next.

    `lines` is the update rule that claims such as w <- w - eta*g are held against; `sizes` are known sizes of indices.
    Example:
    >>> from chainrule.derivation.adjoint import derive_system
    >>> from chainrule.formula.parse import parse_system
    >>> system = parse_system('''
    ... input     x[i]
    ... target    t
    ... parameter w[i] = zeros
    ... y = sum[i](w[i]*x[i])
    ... E = 1/2*(y - t)**2''')
    >>> checker = Checker(derive_system(system))
    >>> checker.check("dE/dw[i] = (y - t)*x[i]").verdict, checker.check("dE/dw[i] = (t - y)*x[i]").mistakes
    ('proved', ('exchanged',))
    """

    def __init__(
        self,
        derivation: Derivation,
        vocabulary: Vocabulary = EMPTY,
        lines: Sequence[Update] = (),
        sizes: Mapping[str, int] | None = None,
        seed: int = 0,
    ):
        self.book = Quantities(derivation)
        self.vocabulary = vocabulary
        self.lines = tuple(lines)
        self.sizes = dict(sizes or {})
        self.points = Points(self.book, self.lines, seed)
        self.locator = Locator(self.book, self.points)
        self.written_out: dict[Expr, Expr] = {}

    def check(self, text: str, *, pair_seconds: float = PAIR_SECONDS, example: bool = True) -> Verdict:
        """The verdict on a claim; without `example` no counterexample is looked for.

        Raises: NotationError, UnknownName, ShapeError where the claim does not read, with a caret.
        """
        claims = read_claim(text, self.book, self.vocabulary, self.lines, self.sizes)
        for claim in claims:
            self.points.reach(claim)
            if self._agrees(claim):
                return self._right(claim)
        # In which of its meanings a wrong claim is meant is what a single mistake explains.
        explained = (c for c in claims if len(claims) > 1 and self.locator.locate(c, 0.0))
        return self._wrong(next(explained, claims[0]), pair_seconds, example=example)

    def _agrees(self, claim: Claim) -> bool:
        if claim.conflict is not None:
            return False
        for number in range(DRAWS):
            point = self.points.at(number)
            point.draw_states(claim.states)
            claimed, true = point.value(claim.value, claim.axes), point.value(claim.truth, claim.axes)
            if not agree(claimed, true, point.tolerance):
                return False
        return True

    def _right(self, claim: Claim) -> Verdict:
        verdict = PROVED if self._is_proved(claim) else EQUAL
        return self._verdict(claim, verdict)

    def _is_proved(self, claim: Claim) -> bool:
        prover = Prover(self.book.definitions, self.book.order, self.book.system.facts, self.book.samples)
        pairs = [(claim.value, claim.truth)]
        if claim.reading == BATCH and claim.kind != "update":  # within one sample there is one sum less
            value, truth = self.book.of_one_sample(claim.value), self.book.of_one_sample(claim.truth)
            pairs = [(value, truth), *pairs] if value is not None and truth is not None else pairs
        return any(prover.equal(value, truth) for value, truth in pairs)

    def _wrong(self, claim: Claim, pair_seconds: float, *, example: bool) -> Verdict:
        findings = self.locator.locate(claim, pair_seconds)
        if claim.conflict is not None and not findings:
            raise claim.conflict
        return self._verdict(claim, DIFFERENT, findings, example=example)

    def _verdict(
        self, claim: Claim, verdict: str, findings: tuple[Finding, ...] = (), *, example: bool = False
    ) -> Verdict:
        words = Words(claim, self.book.samples)
        placed = any(isinstance(letter, int) for letter in claim.letters.values())  # x[3] has no place in small sizes
        shown = example and claim.conflict is None and not placed
        first = findings[0] if findings else None
        return Verdict(
            claim=" ".join(claim.text.split()),
            verdict=verdict,
            truth=f"{claim.left} {'<-' if claim.kind == 'update' else '='} {self._truth_text(claim, words)}",
            reading=claim.reading,
            points=DRAWS,
            sizes=sizes_shown(self.book, self.points.sizes, claim.truth),
            mistakes=tuple(f.mistake for f in findings),
            factor=words.text(first.true) if first else None,
            claimed_factor=words.text(first.claimed) if first else None,
            counterexample=find_counterexample(self.points, claim, _counts_samples(findings, self.book))
            if shown
            else None,
            _findings=findings,
            _claim=claim,
            _book=self.book,
        )

    def _truth_text(self, claim: Claim, words: Words) -> str:
        """The derived formula, its δ's written out where that stays short."""
        if claim.truth not in self.written_out:
            written_out = self.book.in_primal_names(claim.truth)
            short = count_nodes(written_out) <= SHOWN_NODES
            if short and claim.kind != "update":
                written_out = tidy(written_out)
            self.written_out[claim.truth] = written_out if short else claim.truth
        return words.text(self.written_out[claim.truth]) or ""


def _counts_samples(findings: tuple[Finding, ...], book: Quantities) -> bool:
    """Whether the mistake is in the number of samples, so that one sample alone does not show it."""
    return any(f.index == book.samples for f in findings)
