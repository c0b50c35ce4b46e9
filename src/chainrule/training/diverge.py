"""Training that leaves the finite numbers: which step, which equation, and back to the last good weights.

Nothing is copied while training goes well. The epoch's first weights are known, and steps are bit-identical however
often they run: so the epoch is run again up to the step before the loss was lost, and that step is then looked at one
instruction at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from chainrule.data.batches import batch_bounds
from chainrule.errors import Diverged
from chainrule.formula.evaluate import Array
from chainrule.messages import say
from chainrule.program.instructions import Program, Update
from chainrule.program.interpret import keys_of_draws, run_events
from chainrule.training.watch import Silent

if TYPE_CHECKING:
    from chainrule.training.network import Network
    from chainrule.training.runner import Runner


@dataclass(frozen=True)
class Lost:
    """Steps that lost the loss, numbers from 0: the rows' order, the weights before, and the hyper-parameters.

    `first` steps of the epoch were done before these.
    """

    epoch: int
    step: int
    order: Array
    batch: int
    before: Mapping[str, Array]
    table: Mapping[str, Array]
    first: int = 0


def good_steps(failed: int) -> int:
    """How many steps count where step number `failed` of an epoch has no finite loss.

    The weights before the last update are those that a finite loss was last seen with.
    """
    return max(failed - 1, 0)


def explain_divergence(
    network: Network, program: Program, arrays: Mapping[str, Array], runner: Runner, lost: Lost
) -> NoReturn:
    """Put the last good weights into the network and raise Diverged, naming epoch, step and equation."""
    order, table, first = lost.order, lost.table, good_steps(lost.step)
    runner.restore(lost.before)
    if first:
        runner.epoch(order, lost.batch, table, Silent(), steps=first)
    good = runner.state()
    network.keep(good)
    step, equation = lost.step, ""
    kept = dict(good)
    for step in range(first, lost.step + 1):
        start, stop = batch_bounds(len(order), lost.batch)[step]
        rows = order[start:stop]
        drawn = {n: k[0] for n, k in keys_of_draws(program, runner.seed, table["step"][step : step + 1]).items()}
        found, kept = _first_non_finite(
            network, program, arrays, {**kept, **drawn}, rows, {n: float(v[step]) for n, v in table.items()}
        )
        if found is not None:
            equation = found
            break
    came = float(table["eta"][step]) if "eta" in table else 0.0
    rate = say("advice.diverged_rate", rate=f"{came / 10:.3g}", came=f"{came:.3g}") if came > 0 else ""
    epoch, step = lost.epoch + 1, lost.first + step + 1
    shown = equation or network.system.loss
    text = say("training.diverged", epoch=epoch, step=step, equation=shown, rate=rate)
    raise Diverged(text, epoch=epoch, step=step, equation=equation)


def _first_non_finite(
    network: Network,
    program: Program,
    arrays: Mapping[str, Array],
    kept: Mapping[str, Array],
    rows: Array,
    hyper: Mapping[str, float],
) -> tuple[str | None, dict[str, Array]]:
    with np.errstate(over="ignore"):  # what is too large for float32 is what is looked for
        batch = {n: a[rows] if a.dtype.kind == "i" else a[rows].astype(network.dtype) for n, a in arrays.items()}
    state = {**batch, **kept}
    sizes = {**network.sizes, program.samples: len(rows)}
    # Of the instructions of an equation the last one counts: others may hold what a branch of where(…) would be that is
    # not taken.
    last = {instruction.formula: instruction for instruction in program}
    for instruction, result in run_events(program, state, sizes, hyper):
        counts = instruction is last[instruction.formula] or isinstance(instruction, Update)
        if counts and not np.isfinite(result).all():
            return instruction.formula, {}
    return None, {n: state[n] for n in kept if n in program.tensors}
