"""Learning-rate schedules by Keras's names: formulas of the number of the update.

>>> rate = CosineDecay(0.1, decay_steps=1000)
>>> rate.formula
'0.1*((1 - 0)*(1 + cos(pi*min(step - 1, 1000)/1000))/2 + 0)'
>>> round(rate(500), 6)                                  # Keras counts from 0, the formula from 1
0.05
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from chainrule.errors import SettingError
from chainrule.interfaces.keras.config import Configured
from chainrule.interfaces.keras.rows import resolve
from chainrule.library import SCHEDULES
from chainrule.library.layers import written
from chainrule.library.schedules import piecewise_constant
from chainrule.messages import say


class LearningRateSchedule(Configured):
    """A learning rate as a formula in `step`, which counts updates from 1, and `steps`, the last one."""

    formula: str = "eta0"

    def __call__(self, step: int) -> float:
        """The rate of the update with this number, counted from 0 as in Keras."""
        from chainrule.formula.evaluate import evaluate
        from chainrule.formula.parse import parse_expression
        from chainrule.training.vocabulary import vocabulary

        expr = parse_expression(self.formula, {}, vocabulary())
        return float(evaluate(expr, {}, scalars={"step": float(step) + 1, "steps": float(step) + 1}))


def _filled(row: str, **values: float) -> str:
    """A row's formula with its numbers put in."""
    text = SCHEDULES[row].formula
    for name, value in values.items():
        text = re.sub(rf"(?<![\w.]){name}(?!\w)", written(value), text)
    return text


class ExponentialDecay(LearningRateSchedule):
    """rate·decay_rate^(step/decay_steps)"""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        row = "step_decay" if staircase else "exponential"
        self.formula = _filled(row, eta0=initial_learning_rate, every=decay_steps, factor=decay_rate)


class InverseTimeDecay(LearningRateSchedule):
    """rate/(1 + decay_rate·step/decay_steps)"""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ):
        row = "inverse_time_staircase" if staircase else "inverse_time"
        self.formula = _filled(row, eta0=initial_learning_rate, every=decay_steps, decay=decay_rate)


class PolynomialDecay(LearningRateSchedule):
    """From the initial rate to the last one by a power of what is left."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        row = "keras_polynomial_cycle" if cycle else "keras_polynomial"
        self.formula = _filled(
            row, eta0=initial_learning_rate, decay_steps=decay_steps, eta_end=end_learning_rate, power=power
        )


class CosineDecay(LearningRateSchedule):
    """Half a cosine, after a straight warm-up where warmup_target is given."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ):
        values = {"eta0": initial_learning_rate, "decay_steps": decay_steps, "alpha": alpha}
        if warmup_target is None:
            self.formula = _filled("keras_cosine", **values)
        else:
            warm = {"warmup_target": warmup_target, "warmup_steps": warmup_steps}
            self.formula = _filled("keras_cosine_warmup", **warm, **values)


class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine, begun again in longer and longer rounds."""

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ):
        self.formula = _filled(
            "cosine_restarts",
            eta0=initial_learning_rate,
            first_steps=first_decay_steps,
            t_mul=t_mul,
            m_mul=m_mul,
            alpha=alpha,
        )


class PiecewiseConstantDecay(LearningRateSchedule):
    """One rate up to each boundary, and one after the last."""

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"):
        if len(values) != len(boundaries) + 1:
            raise SettingError(say("keras.piecewise", boundaries=len(boundaries), values=len(values)))
        self.formula = piecewise_constant(list(boundaries), [float(v) for v in values])


class Formula(LearningRateSchedule):
    """A schedule of one's own: a formula in step and steps, with the initial rate as eta0."""

    def __init__(self, formula: str, initial_learning_rate: float = 0.01):
        if re.fullmatch(r"\w+", formula) and formula in SCHEDULES:
            row = SCHEDULES[formula]
            self.formula = _filled(formula, eta0=initial_learning_rate, **row.defaults)
        else:
            self.formula = re.sub(r"(?<![\w.])eta0(?!\w)", written(initial_learning_rate), formula)


class OneCycle(Formula):
    """Up to the rate and down again over the whole training; Keras has none."""

    def __init__(self, initial_learning_rate: float):
        super().__init__("one_cycle", initial_learning_rate)


KINDS: dict[str, type[LearningRateSchedule]] = {
    kind.__name__: kind
    for kind in (
        ExponentialDecay,
        InverseTimeDecay,
        PolynomialDecay,
        CosineDecay,
        CosineDecayRestarts,
        PiecewiseConstantDecay,
        Formula,
        OneCycle,
    )
}


def get(identifier: Any) -> LearningRateSchedule:
    """A schedule: itself, a configuration, or a formula. Raises: SettingError."""
    if isinstance(identifier, str):
        return Formula(identifier)
    found: LearningRateSchedule = resolve(identifier, KINDS, LearningRateSchedule, "schedule")
    return found
