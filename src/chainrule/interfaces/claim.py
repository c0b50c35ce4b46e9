"""`chainrule check FILE --claim "…"` and `chainrule.check_derivation`: verdicts on what was derived by hand."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import click

from chainrule.derivation.claims.judge import Checker
from chainrule.derivation.claims.verdict import Verdict
from chainrule.interfaces.show import open_network
from chainrule.training.network import Network, formula
from chainrule.training.optimizer import DEFAULT_RULE
from chainrule.training.vocabulary import update_rule, vocabulary


def check_derivation(network: Network | str | Path, claim: str, *, optimizer: str | None = None) -> Verdict:
    """Check a derivative or an update rule that was derived by hand against the derived one.

    `network` is a Network, or formulas as a text or a file. A claim is an equation such as
    "dE/dw[i, j] = (p[j] - t[j])*x[i]", "delta[k] = p[k] - t[k]", "dp/dz[j] = p[j]*(1 - p[j])", or an update
    "w[i, j] <- w[i, j] - eta*dE/dw[i, j]", which is held against the text's own rule, else against `optimizer` (a name
    or lines; gradient descent where nothing is said).
    Raises: FormulaError where the claim or the formulas do not read, with a caret.

    >>> text = '''
    ... input     x[i]
    ... target    t[j]
    ... parameter w[i, j] = zeros
    ... z[j] = sum[i](x[i]*w[i, j])
    ... p[j] = sigmoid(z[j])
    ... E    = 1/2*sum[j]((t[j] - p[j])**2)'''
    >>> check_derivation(text, "dE/dw[i, j] = (p[j] - t[j])*p[j]*(1 - p[j])*x[i]").verdict
    'proved'
    >>> wrong = check_derivation(text, "dE/dw[i, j] = (p[j] - t[j])*x[i]")
    >>> wrong.mistakes, wrong.factor
    (('missing_derivative',), 'p[j]*(1 - p[j])')
    """
    if not isinstance(network, Network):
        network = formula(network)
    return checker(network, optimizer).check(claim)


def checker(network: Network, optimizer: str | None = None) -> Checker:
    """The checker of a network; kept, so that several claims on one network share their random points."""
    return _checker(network, network.changes, optimizer)


@lru_cache(maxsize=4)
def _checker(network: Network, changes: int, optimizer: str | None) -> Checker:
    system = network.system
    own = tuple(u for u in system.updates if not hasattr(u.target, "slots"))
    lines = own if own and optimizer is None else update_rule(optimizer or DEFAULT_RULE).lines
    return Checker(network.derivation, vocabulary(), lines, network.sizes)


def check_claims(path: Path, claims: Sequence[str], *, json: bool) -> int:
    """Print the verdict on every claim; 0 when all hold, 1 when one is wrong."""
    network = open_network(path)
    verdicts = [check_derivation(network, claim) for claim in claims]
    if json:
        click.echo(json_text.dumps([as_record(v) for v in verdicts], ensure_ascii=False, indent=2))
    else:
        click.echo("\n\n".join(map(str, verdicts)))
    return 0 if all(v.holds for v in verdicts) else 1


def as_record(verdict: Verdict) -> dict[str, object]:
    """A verdict as JSON can hold it."""
    example = verdict.counterexample
    return {
        "claim": verdict.claim,
        "verdict": verdict.verdict,
        "reading": verdict.reading,
        "derived": verdict.truth,
        "points": verdict.points,
        "mistakes": list(verdict.mistakes),
        "factor": verdict.factor,
        "claimed_factor": verdict.claimed_factor,
        "hint": verdict.hint,
        "counterexample": None
        if example is None
        else {
            "sizes": dict(example.sizes),
            "given": {**example.scalars, **{n: a.tolist() for n, a in example.given.items()}},
            "computed": {n: a.tolist() for n, a in example.computed.items()},
            "entry": list(example.entry),
            "claimed": example.claimed,
            "true": example.true,
        },
    }
