"""What an output is to be: its target or label, and what kind of numbers that holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.formula.evaluate import Array
from chainrule.formula.expr import elements, walk
from chainrule.formula.system import System, Tensor

SAMPLE_ROWS = 4096  # rows that say what kind of target this is: a float64 table of 10 classes is 0.3 MB


@dataclass(frozen=True)
class Fit:
    """An output, what it is to be, and what kind of numbers that is: one_hot, shares, zero_one or numbers."""

    system: System
    output: Tensor
    target: Tensor
    kind: str

    @property
    def own(self) -> tuple[str, ...]:
        """The indices of the output but for the samples."""
        return tuple(i for i in self.output.indices if i != self.system.samples)

    @property
    def classes(self) -> bool:
        return self.target.role == "label" or self.kind in ("one_hot", "shares")


def target_of(system: System, output: Tensor) -> Tensor | None:
    """The target or label that an output is compared with: of its shape, and of several that of the same equation."""
    own = [i for i in output.indices if i != system.samples]
    fitting = [
        t
        for t in system.of_role("label", "target")
        if (t.role == "label" and own and t.classes == own[-1] and len(own) == 1)
        or (t.role == "target" and t.indices == output.indices)
    ]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    made_of = system.depends_on(output.name) - {t.name for t in system.of_role("input", "parameter", "state")}
    for near in ({output.name}, made_of):
        best: tuple[int, Tensor] | None = None
        for node in (n for e in system.equations for n in walk(e.value)):
            named = [e.tensor for e in elements(node)]
            both = [t for t in fitting if t.name in named]
            if both and near & set(named) and (best is None or len(named) < best[0]):
                best = len(named), both[0]  # the smallest part of a formula that has them both
        if best is not None:
            return best[1]
    return fitting[0]


def target_kind(target: Array | None) -> str:
    """one_hot, shares (rows of probabilities), zero_one or numbers; a few thousand rows decide."""
    if target is None:
        return "numbers"
    some = np.asarray(target[:SAMPLE_ROWS])
    binary = bool(((some == 0) | (some == 1)).all())
    if some.ndim < 2 or some.shape[-1] < 2:
        return "zero_one" if binary else "numbers"
    sums = some.sum(axis=-1)
    if binary:
        return "one_hot" if bool((sums == 1).all()) else "zero_one"
    return "shares" if bool((some >= 0).all() and (np.abs(sums - 1) < 1e-4).all()) else "numbers"
