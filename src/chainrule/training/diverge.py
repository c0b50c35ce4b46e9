"""Training that leaves the finite numbers: which step, which equation, and back to the last good weights.

Nothing is copied while training goes well. The epoch's first weights are known, and steps are bit-identical however
often they run: so the epoch is run again up to the step before the loss was lost, and that step is then looked at one
instruction at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from chainrule.data.batches import batch_bounds
from chainrule.errors import Diverged
from chainrule.formula.evaluate import Array
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.program.interpret import keys_of_draws, run_events
from chainrule.training.watch import Silent

if TYPE_CHECKING:
    from chainrule.training.network import Network
    from chainrule.training.runner import EpochReport, Runner


def explain_divergence(
    network: Network,
    program: Program,
    arrays: Mapping[str, Array],
    runner: Runner,
    before: Mapping[str, Array],
    order: Array,
    batch: int,
    table: Mapping[str, Array],
    report: EpochReport,
    epoch: int,
) -> NoReturn:
    """Put the last good weights into the network and raise Diverged, naming epoch, step and equation."""
    failed = report.failed_step
    assert failed is not None
    # The weights before the last update are those that a finite loss was last seen with.
    good_steps = max(failed - 1, 0)
    runner.restore(before)
    if good_steps:
        runner.epoch(order, batch, table, Silent(), steps=good_steps)
    good = runner.state()
    network.keep(good)
    step, equation = failed, ""
    kept = dict(good)
    for step in range(good_steps, failed + 1):
        start, stop = batch_bounds(len(order), batch)[step]
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
    raise Diverged(
        say("training.diverged", epoch=epoch + 1, step=step + 1, equation=equation or network.system.loss, rate=rate),
        epoch=epoch + 1,
        step=step + 1,
        equation=equation,
    )


def _first_non_finite(
    network: Network,
    program: Program,
    arrays: Mapping[str, Array],
    kept: Mapping[str, Array],
    rows: Array,
    hyper: Mapping[str, float],
) -> tuple[str | None, dict[str, Array]]:
    batch = {n: a[rows] if a.dtype.kind == "i" else a[rows].astype(network.dtype) for n, a in arrays.items()}
    state = {**batch, **kept}
    sizes = {**network.sizes, program.samples: len(rows)}
    for instruction, result in run_events(program, state, sizes, hyper):
        if not np.isfinite(result).all():
            return instruction.formula, {}
    return None, {n: state[n] for n in kept if n in program.tensors}
