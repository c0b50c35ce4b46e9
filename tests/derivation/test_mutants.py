"""Wrong gradients of random networks: every one is told apart from the right one, most are located.

`mutants.py` makes them; what it makes is wrong by a check of its own. The soak test's figures stand in
docs/check-my-derivation.md.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from chainrule.derivation.adjoint import derive_system
from chainrule.derivation.claims.claim import MAX_CHARACTERS
from chainrule.derivation.claims.judge import Checker
from chainrule.errors import FormulaError
from chainrule.formula.parse import parse_system
from chainrule.formula.text import Printer
from chainrule.training.vocabulary import vocabulary
from tests.derivation.mutants import mutants
from tests.random_systems import draw, together


@dataclass
class Count:
    """Of mutants: how many, told apart, located; and by operator how many were not located."""

    made: int = 0
    apart: int = 0
    located: int = 0
    not_located: Counter = field(default_factory=Counter)
    not_apart: list = field(default_factory=list)

    def __add__(self, other):
        return Count(
            self.made + other.made,
            self.apart + other.apart,
            self.located + other.located,
            self.not_located + other.not_located,
            self.not_apart + other.not_apart,
        )


def network(seed: int):
    """A random network as (checker, its text's draw, the generator that made it)."""
    rng = np.random.default_rng([2026, seed])
    drawn = together([draw(rng, 0, 5)])
    derivation = derive_system(parse_system(drawn.text, vocabulary()))
    return Checker(derivation, vocabulary(), (), drawn.sizes, seed=seed), drawn, rng


def count_mutants(seed: int, wanted: int, pair_seconds: float) -> Count:
    checker, drawn, rng = network(seed)
    count = Count()
    for mutant in mutants(checker.book.derivation, wanted, rng, drawn.sizes, drawn.data):
        count.made += 1
        try:
            verdict = checker.check(mutant.text, pair_seconds=pair_seconds, example=False)
        except FormulaError:
            count.apart += 1  # refused as it stands, with a caret: an index that nothing sums, two sizes
            located = False
        else:
            count.apart += not verdict.holds
            count.not_apart += [mutant.text] if verdict.holds else []
            located = bool(verdict.mistakes)
        count.located += located
        if not located:
            count.not_located["two places" if len(mutant.operators) > 1 else mutant.operators[0]] += 1
    return count


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 2))])
def test_mutants_are_told_apart_and_mostly_located(seed):
    count = count_mutants(seed, 38, pair_seconds=0.0)
    assert count.made == 38
    assert count.not_apart == []
    assert count.located >= 0.6 * count.made  # of 38; the soak test holds the share over 10,000 to 0.8


@pytest.mark.parametrize("seed", range(4))
def test_the_derivation_agrees_with_itself(seed):
    """The other side of telling apart: no right gradient is called wrong, as the derivation has it or written out."""
    checker, _, _ = network(100 + seed)
    book = checker.book
    printer = Printer(book.samples)
    for adjoint in book.derivation.adjoints:
        target, value = adjoint.equation.target, adjoint.equation.value
        if adjoint.steps and adjoint.of != book.loss and book.tensors[adjoint.of].role == "parameter":
            for form in (value, book.in_primal_names(value)):
                claim = f"{printer.text(target)} = {printer.text(form)}"
                if len(claim) <= MAX_CHARACTERS:
                    verdict = checker.check(claim)
                    # Written out, the losses that cut p off fill a page, and proofs may need more factors than allowed.
                    assert verdict.proved if len(claim) <= MAX_CHARACTERS // 4 else verdict.holds, verdict


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_mutants():
    networks, each = 50, 200
    with ProcessPoolExecutor(2) as pool:
        counts = pool.map(count_mutants, range(networks), [each] * networks, [0.05] * networks)
        total = sum(counts, Count())
    print(total.made, total.apart, total.located, total.not_located)
    assert total.made == networks * each
    assert total.not_apart == []
    assert total.apart == total.made
    assert total.located >= 0.8 * total.made
