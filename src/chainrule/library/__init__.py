"""The formulas themselves: data, no logic.

Every row is formula text in the notation of `chainrule.formula`, with its source and with what other frameworks
compute under the same name:

    activations    the scalar function of a neuron, in the variable a
    losses         E of one sample, in the target t and the prediction p
    updates        how a weight w follows from its gradient g
    schedules      the learning rate as a function of the update's number
    initializers   the distribution that a parameter starts from
    metrics        what is reported of one sample
    layers         from the input x to the output y, with the parameters between them

>>> find(ACTIVATIONS, "ReLU").formula
'max(a, 0)'
"""

from __future__ import annotations

from chainrule.library.activations import ACTIVATIONS
from chainrule.library.initializers import INITIALIZERS
from chainrule.library.layers import LAYERS
from chainrule.library.losses import LOSSES
from chainrule.library.metrics import METRICS
from chainrule.library.rows import (
    OPTION_ALIASES,
    Activation,
    Initializer,
    Loss,
    Metric,
    ParameterRule,
    Row,
    Schedule,
    Update,
    find,
)
from chainrule.library.schedules import SCHEDULES, piecewise_constant
from chainrule.library.updates import PARAMETER_RULES, UPDATES

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "LAYERS",
    "LOSSES",
    "METRICS",
    "OPTION_ALIASES",
    "PARAMETER_RULES",
    "SCHEDULES",
    "UPDATES",
    "Activation",
    "Initializer",
    "Loss",
    "Metric",
    "ParameterRule",
    "Row",
    "Schedule",
    "Update",
    "find",
    "piecewise_constant",
]
