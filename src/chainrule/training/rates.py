"""The value of every hyper-parameter at every step; the learning rate by its schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.checks import is_number
from chainrule.errors import SettingError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import Element, Expr, Symbol, symbols, transform
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.training.vocabulary import hyper_name, schedule

if TYPE_CHECKING:
    from chainrule.training.loop import Plan
    from chainrule.training.network import Network


def check_rate(rate: object) -> None:
    """Raises: SettingError for a learning rate that is no finite number ≥ 0."""
    if not is_number(rate) or rate < 0:
        raise SettingError(say("training.learning_rate", came=rate))


def check_hyper(hyper: object) -> None:
    """Raises: SettingError for hyper-parameters that are not numbers by name."""
    if hyper is not None and not isinstance(hyper, Mapping):
        raise SettingError(say("training.hyper", came=repr(hyper)))
    for name, value in (hyper or {}).items():
        if not is_number(value):
            raise SettingError(say("training.hyper", came=f"{name}={value!r}"))


class Rates:
    """Hyper-parameters over the `steps` steps of a training, after the `before` steps that the network has had.

    In an update rule `step` counts from the network's first update, so that Adam's correction goes on where a training
    went on. A schedule that names `steps`, the last one, spans this training; another goes on counting. `steps` are
    None where only the end of an epoch tells how many it has.
    """

    def __init__(self, network: Network, program: Program, plan: Plan, steps: int | None, before: int = 0):
        given = dict(plan.hyper)
        self.formula: Expr | None = None
        if isinstance(plan.learning_rate, str):
            self.formula, defaults = schedule(plan.learning_rate)
            rule = {*program.hyper, *program.defaults}
            words = {*defaults, *(n for n in symbols(self.formula) if n not in rule)}
            own = {n: given.pop(n) for n in list(given) if n in words - {"eta0"}}
            self.scalars = {n: float(v) for n, v in {**defaults, **own}.items()}
            if "eta0" in given:
                given["eta"] = given.pop("eta0")
            if "eta0" not in symbols(self.formula):
                given.setdefault("eta", 0.0)  # a schedule that names no base rate needs none
        elif plan.learning_rate is not None:
            given["eta"] = float(plan.learning_rate)
        self.known = dict.fromkeys((*program.hyper, *program.defaults, *network.hyper))
        if "eta" in given and "eta" not in {*program.hyper, *program.defaults}:
            raise SettingError(say("training.no_learning_rate"))
        self.values = network.plan_hyper(program, {hyper_name(n, self.known): v for n, v in given.items()})
        self.spans = self.formula is not None and "steps" in symbols(self.formula)
        if steps is None and (self.spans or "steps" in program.hyper):
            raise SettingError(say("checkpoints.unknown_steps"))
        self.steps, self.before = steps or 0, before
        self.asked: float | None = None  # what a callback set

    @property
    def has_rate(self) -> bool:
        """Whether the rule has a learning rate at all."""
        return "eta" in self.values

    def rate(self, first: int) -> float:
        """The learning rate of step number `first` (from 0) of this training; NaN where the rule has none."""
        return float(self.table(first, 1)["eta"][0]) if self.has_rate else np.nan

    def set_rate(self, value: float) -> None:
        """This rate from now on, whatever the schedule says. Raises: SettingError."""
        if not self.has_rate:
            raise SettingError(say("training.no_learning_rate"))
        check_rate(value)
        self.formula = None
        self.asked = self.values["eta"] = float(value)

    def table(self, first: int, count: int) -> dict[str, Array]:
        """One float64 per step and hyper-parameter, for `count` steps from number `first` (from 0)."""
        own = np.arange(first + 1, first + count + 1, dtype=np.float64)
        table = {n: np.full(count, v) for n, v in self.values.items()}
        table |= {"step": own + self.before, "steps": np.full(count, float(self.before + self.steps))}
        if self.formula is not None:
            scalars = {**self.values, **self.scalars, "steps": float(self.steps), "eta0": self.values["eta"]}
            table["eta"] = over_steps(self.formula, own if self.spans else table["step"], scalars)
        return table


def over_steps(formula: Expr, numbers: Array, scalars: Mapping[str, float]) -> Array:
    """A schedule's rate at each step of these numbers (S,), from 1 on: (S,)."""
    at_step = transform(formula, lambda n: Element("step", ("s",)) if n == Symbol("step") else n)
    return evaluate(at_step, {"step": numbers}, ("s",), sizes={"s": len(numbers)}, scalars=scalars)
