"""An update rule with what stands around it: clipping, weight decay, averaged weights, gradients of several steps.

All of it is lines of the rule's own text, so that it is typeset, interpreted and compiled with the rule.

>>> print(Optimizer("momentum", clip_norm=1.0, weight_decay=0.01).formula)
g <- g*min(1, clip_norm/norm(g))
w <- w - eta*weight_decay*w
v <- mu*v - eta*g
w <- w + v
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from chainrule.data.checks import is_number
from chainrule.errors import SettingError
from chainrule.formula.expr import ZERO, Expr, Symbol, divide, replace_symbols, where
from chainrule.formula.parse import parse_expression, parse_system
from chainrule.formula.system import Update
from chainrule.formula.text import update_text
from chainrule.library import UPDATES, find
from chainrule.messages import say
from chainrule.training.vocabulary import Rule, update_rule, vocabulary

CLIP = {
    "clip_value": "g <- max(min(g, clip_value), -clip_value)",
    "clip_norm": "g <- g*min(1, clip_norm/norm(g))",
    "global_clip_norm": "g <- g*min(1, global_clip_norm/global_norm(g))",
}
DECAY = "w <- w - eta*weight_decay*w"
DEFAULT_RULE = "gradient_descent"
AVERAGE = "average"  # the state that holds the average of the weights
AVERAGING = f"{AVERAGE} <- where(step > 1, ema*{AVERAGE} + (1 - ema)*w, w)"
OVERWRITING = f"w <- where(step == ema_every*floor(step/ema_every), {AVERAGE}, w)"
# Of so many steps the first begins the mean of the gradients anew, and the last updates.
COLLECTING = "g <- where(step - 1 == accumulate*floor((step - 1)/accumulate), 0, collected) + g/accumulate"
COLLECTED = "collected <- g"
UPDATING = "[step == accumulate*floor(step/accumulate)]"


@dataclass(frozen=True)
class Optimizer:
    """How weights follow from gradients: the option `optimizer` of `fit`, where a name or lines alone do not do.

    `rule` is a row of library.UPDATES or lines of text (None: those of the formulas, else gradient descent).
    `learning_rate` is a number, or a schedule's name or formula in step, steps and eta0; `hyper` has further
    hyper-parameters of both. Gradients are clipped by value (each entry), by norm (each parameter's) or by the norm of
    all together. `weight_decay` makes each weight smaller by itself, apart from the gradient; `no_decay` names
    parameters that it leaves out. `ema` is the momentum of an average of the weights, which takes their place when
    training ends (and after every `ema_every` updates, where given). Gradients of `accumulate` steps are averaged into
    one update, and `step` in the rule counts updates.

    Raises: SettingError, one line, for an option out of range.
    """

    rule: str | None = None
    learning_rate: float | str | None = None
    hyper: Mapping[str, float] = field(default_factory=dict)
    clip_value: float | None = None
    clip_norm: float | None = None
    global_clip_norm: float | None = None
    weight_decay: float | None = None
    no_decay: tuple[str, ...] = ()
    ema: float | None = None
    ema_every: int | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name in (*CLIP, "weight_decay", "ema"):
            value = getattr(self, name)
            high = 1.0 if name == "ema" else np.inf
            if value is not None and not (is_number(value) and 0 <= value <= high):
                raise SettingError(
                    say("training.option_range", name=name, came=value, low=0, high="1" if name == "ema" else "∞")
                )
        for name, value in (("accumulate", self.accumulate), ("ema_every", self.ema_every)):
            if value is not None and not (is_number(value) and value == int(value) and value >= 1):
                raise SettingError(say("training.whole_number", name=name, came=value, low=1, high="∞"))

    @property
    def formula(self) -> str:
        """The lines of the whole update."""
        return "\n".join(self._plain_lines(decay=True) if self.accumulate == 1 else map(update_text, self._lines(True)))

    def compose(self, parameters: Collection[str] = (), frozen: Collection[str] = ()) -> Rule:
        """The rule, ready for lowering in a network with these parameters.

        Raises: SettingError for an unknown rule or parameter, FormulaError for lines that do not read.
        """
        for name in (*self.no_decay, *frozen):
            if name not in parameters:
                raise SettingError(say("training.unknown_parameter", name=name, known=", ".join(parameters) or "–"))
        base = update_rule(self._rule)
        own = {n: Fraction(str(float(v))) for n, v in self._values().items()}
        special: dict[str, tuple[Update, ...]] = dict.fromkeys(self.no_decay, self._lines(decay=False))
        special |= dict.fromkeys(frozen, ())
        return Rule(base.name, self._lines(decay=True), {**base.defaults, **own}, special)

    @property
    def _rule(self) -> str:
        return self.rule or DEFAULT_RULE

    def _values(self) -> dict[str, float]:
        """The hyper-parameters that the lines around the rule have."""
        names = (*CLIP, "weight_decay", "ema", "ema_every")
        values = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        return values | ({"accumulate": self.accumulate} if self.accumulate > 1 else {})

    def _plain_lines(self, decay: bool) -> list[str]:
        """The text of one update, line by line."""
        lines = [text for name, text in CLIP.items() if getattr(self, name) is not None]
        rule = self._rule if "<-" in self._rule or "←" in self._rule else find(UPDATES, self._rule).formula
        # AdamW and its kin have the decay in their own lines.
        if self.weight_decay is not None and decay and "weight_decay" not in rule:
            lines.append(DECAY)
        lines += [line for line in rule.splitlines() if line.strip()]
        if self.ema is not None:
            lines.append(AVERAGING)
            lines += [OVERWRITING] if self.ema_every is not None else []
        return lines

    def _lines(self, decay: bool) -> tuple[Update, ...]:
        lines = _parsed("\n".join(self._plain_lines(decay)))
        if not decay:  # of a rule that has the decay in its own lines
            lines = tuple(replace(u, value=replace_symbols(u.value, {"weight_decay": ZERO})) for u in lines)
        if self.accumulate == 1:
            return lines
        updates = Symbol("accumulate")
        updating = parse_expression(UPDATING, {}, vocabulary())

        def at_update(line: Update) -> Update:
            value: Expr = replace_symbols(line.value, {"step": divide(Symbol("step"), updates)})
            if line.target == Symbol("g"):
                return replace(line, value=value)
            assert isinstance(line.target, Symbol)
            return replace(line, value=where(updating, value, line.target))

        return (*_parsed(f"{COLLECTING}\n{COLLECTED}"), *map(at_update, lines))


def _parsed(text: str) -> tuple[Update, ...]:
    return parse_system(text, vocabulary()).updates


def as_optimizer(given: str | Optimizer | None) -> Optimizer:
    """What `fit` was given as its optimizer. Raises: SettingError for anything else."""
    if isinstance(given, Optimizer):
        return given
    if given is not None and not isinstance(given, str):
        raise SettingError(say("training.optimizer_kind", came=type(given).__name__))
    return Optimizer(given)
