"""Several epochs in one call of the compiled step: the same bits as one call an epoch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from chainrule.kernels.native import NativeRunner
from chainrule.training.loop import EpochReport
from chainrule.training.network import formula
from chainrule.training.watch import Silent

TEXT = """
input     x[i]
target    t
parameter w[i], b = zeros
y = sum[i](w[i]*x[i]) + b
E = 1/2*(y - t)**2
"""
ROWS, BATCH, EPOCHS = 23, 5, 3
STEPS = 5


def _runner(seed: int = 0, scale: float = 1.0) -> NativeRunner:
    rng = np.random.default_rng(seed)
    net = formula(TEXT, dtype="float64")
    arrays = net.bind((scale * rng.normal(size=(ROWS, 4)), rng.normal(size=ROWS)), {}, ("input", "target", "label"))
    program, _ = net.training_program("gradient_descent", {})
    return NativeRunner(program, arrays, net.kept, net.sizes, net.dtype, 1, EpochReport)


def _orders() -> np.ndarray:
    return np.stack([np.random.default_rng(e).permutation(ROWS) for e in range(EPOCHS)])


def _table(first: int, count: int, eta: float = 0.1) -> Mapping[str, np.ndarray]:
    numbers = np.arange(first + 1.0, first + count + 1)
    return {"eta": eta / numbers, "step": numbers, "steps": np.full(count, float(EPOCHS * STEPS))}


def test_epochs_in_one_call_are_the_epochs_one_by_one() -> None:
    together, alone = _runner(), _runner()
    reports = together.epochs(_orders(), BATCH, _table(0, EPOCHS * STEPS), Silent())
    for number, order in enumerate(_orders()):
        assert alone.epoch(order, BATCH, _table(number * STEPS, STEPS), Silent()) == reports[number]
    assert [r.samples for r in reports] == [ROWS] * EPOCHS
    for name, array in alone.state().items():
        np.testing.assert_array_equal(together.state()[name], array)


def test_the_first_steps_of_several_epochs() -> None:
    together, alone = _runner(), _runner()
    reports = together.epochs(_orders(), BATCH, _table(0, EPOCHS * STEPS), Silent(), steps=STEPS + 2)
    assert [r.steps for r in reports] == [5, 2, 0]
    assert [r.samples for r in reports] == [ROWS, 2 * BATCH, 0]
    alone.epoch(_orders()[0], BATCH, _table(0, STEPS), Silent())
    alone.epoch(_orders()[1], BATCH, _table(STEPS, STEPS), Silent(), steps=2)
    np.testing.assert_array_equal(together.state()["w"], alone.state()["w"])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_epoch_and_step_where_the_loss_was_lost() -> None:
    table = _table(0, EPOCHS * STEPS, eta=0.0)
    table["eta"][6] = 1e300  # the second step of the second epoch throws the weights away
    reports = _runner().epochs(_orders(), BATCH, table, Silent())
    assert [r.failed_step for r in reports] == [None, 2, None]
    assert [r.steps for r in reports] == [5, 2, 0]
