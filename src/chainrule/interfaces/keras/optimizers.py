"""Optimizers by Keras's names and arguments: an update rule of the library, and what stands around it.

>>> print(SGD(0.5, momentum=0.9, clipvalue=1.0).formula)
g <- max(min(g, clip_value), -clip_value)
v <- mu*v - eta*g
w <- w + v

`Formula` is an update rule of one's own. All of it is compiled into the step.
"""

# Keras's optimizers have a dozen arguments each; they are handed on as one Options. Every one spells out the whole
# signature, for editors and `help`: hence more than 500 lines.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.errors import SettingError
from chainrule.interfaces.keras import schedules
from chainrule.interfaces.keras.config import Configured, documented
from chainrule.interfaces.keras.rows import by_name, is_formula, resolve
from chainrule.interfaces.keras.schedules import LearningRateSchedule
from chainrule.library import UPDATES, find
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.training.optimizer import Optimizer as Rule


@dataclass(frozen=True)
class Options:
    """What every optimizer of Keras takes beside its rule's own numbers."""

    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int | None = None
    loss_scale_factor: float | None = None
    gradient_accumulation_steps: int | None = None
    name: str | None = None

    def check(self) -> None:
        """Raises: SettingError for two ways of clipping, which Keras refuses too, and for loss scaling."""
        given = [n for n in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, n) is not None]
        if len(given) > 1:
            raise SettingError(say("keras.two_clips", first=given[0], second=given[1]))
        if self.loss_scale_factor is not None:
            default, came = None, self.loss_scale_factor
            raise SettingError(
                say("keras.option_not_here", layer="optimizer", name="loss_scale_factor", came=came, default=default)
            )


class Rate(float):
    """A learning rate: a number, with Keras's `numpy()` and `assign(value)`."""

    owner: Optimizer

    def numpy(self) -> float:
        """The number."""
        return float(self)

    def assign(self, value: float) -> None:
        """Set the optimizer's rate."""
        self.owner.learning_rate = value


class Optimizer(Configured):
    """An update rule with its options. `formula` shows the lines; `learning_rate` can be read and set at any time."""

    rule = "gradient_descent"
    hyper: Mapping[str, float] = {}
    options = Options()
    rate: float | LearningRateSchedule | None = None
    training: Any = None  # while a model trains with it
    steps = 0  # batches so far
    no_decay: tuple[str, ...] = ()

    def _take(self, rule: str, hyper: Mapping[str, float], learning_rate: Any, options: Options) -> None:
        options.check()
        self.rule, self.hyper, self.options = rule, {n: float(v) for n, v in hyper.items()}, options
        self.name = options.name or type(self).__name__
        self.rate = _rate(learning_rate)

    @property
    def iterations(self) -> int:
        """How often the weights were updated."""
        return self.steps // (self.options.gradient_accumulation_steps or 1)

    @property
    def learning_rate(self) -> Rate:
        """The rate of the next update."""
        if self.training is not None:
            value = float(self.training.learning_rate)
        elif isinstance(self.rate, LearningRateSchedule):
            value = self.rate(self.steps)
        else:
            value = float(self.rate) if self.rate is not None else 0.01
        rate = Rate(value)
        rate.owner = self
        return rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.rate = _rate(value)
        if self.training is not None and not isinstance(self.rate, LearningRateSchedule):
            self.training.learning_rate = self.rate

    lr = learning_rate

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Leave weights out of the decay: layers' variables, or the names of the formulas."""
        self.no_decay += tuple(var_names or ()) + tuple(getattr(v, "name", str(v)) for v in var_list or ())

    def plan(self, no_decay: tuple[str, ...] = ()) -> Rule:
        """What the training takes."""
        from chainrule.training.optimizer import Optimizer as Rule

        rate = self.rate.formula if isinstance(self.rate, LearningRateSchedule) else self.rate
        options = self.options
        return Rule(
            rule=self.rule,
            learning_rate=rate,
            hyper=self.hyper,
            clip_value=options.clipvalue,
            clip_norm=options.clipnorm,
            global_clip_norm=options.global_clipnorm,
            weight_decay=options.weight_decay or None,
            no_decay=no_decay,
            ema=options.ema_momentum if options.use_ema else None,
            ema_every=options.ema_overwrite_frequency if options.use_ema else None,
            accumulate=options.gradient_accumulation_steps or 1,
        )

    @property
    def formula(self) -> str:
        """The lines of one update, after that of the learning rate where it follows a schedule."""
        schedule = f"eta = {self.rate.formula}\n" if isinstance(self.rate, LearningRateSchedule) else ""
        return schedule + self.plan().formula

    def get_config(self) -> dict[str, Any]:
        """The arguments, with the learning rate as it is now."""
        config = super().get_config()
        if "learning_rate" in config and not isinstance(self.rate, LearningRateSchedule):
            config["learning_rate"] = self.rate
        return config

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.rule}, learning rate {float(self.learning_rate):g}>"


def _rate(value: Any) -> float | LearningRateSchedule:
    """A number, a schedule or a formula. Raises: SettingError."""
    if isinstance(value, LearningRateSchedule | str | dict):
        return schedules.get(value)
    if callable(value):
        raise SettingError(say("keras.function", what="learning_rate", name=getattr(value, "__name__", "?")))
    if not isinstance(value, int | float) and not hasattr(value, "__float__"):
        raise SettingError(say("training.learning_rate", came=value))
    return float(value)


class Formula(Optimizer):
    """An update rule of one's own, or of the library by name: w a parameter, g its gradient, the others are state.

    >>> print(Formula("v <- 0.9*v + g" + chr(10) + "w <- w - eta*v", learning_rate=0.1).formula)
    v <- 0.9*v + g
    w <- w - eta*v
    """

    def __init__(
        self, formula: str, learning_rate: Any = None, hyper: Mapping[str, float] | None = None, **options: Any
    ):
        self._take(formula, hyper or {}, 0.0 if learning_rate is None else learning_rate, Options(**options))
        if learning_rate is None:
            self.rate = None


class SGD(Optimizer):
    """Gradient descent, with momentum where it is given."""

    def __init__(
        self,
        learning_rate: float | Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        row = "gradient_descent"
        if momentum:
            row = "keras_nesterov" if nesterov else "momentum"
        self._take(row, {"mu": momentum} if momentum else {}, learning_rate, options)


class RMSprop(Optimizer):
    """RMSprop, epsilon inside the root."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        row = "keras_rmsprop" + ("_centered" if centered else "") + ("_momentum" if momentum else "")
        hyper = {"rho": rho, "epsilon": epsilon} | ({"mu": momentum} if momentum else {})
        self._take(row, hyper, learning_rate, options)


class Adam(Optimizer):
    """Adam in the form with 'epsilon hat'."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        hyper = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        self._take("keras_amsgrad" if amsgrad else "keras_adam", hyper, learning_rate, options)


class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        hyper = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        self._take("keras_amsgrad" if amsgrad else "keras_adam", hyper, learning_rate, options)


class Adagrad(Optimizer):
    """Adagrad from an accumulator that is not empty."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        hyper = {"initial_accumulator_value": initial_accumulator_value, "epsilon": epsilon}
        self._take("keras_adagrad", hyper, learning_rate, options)


class Adadelta(Optimizer):
    """Adadelta."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self._take("keras_adadelta", {"rho": rho, "epsilon": epsilon}, learning_rate, options)


class Adamax(Optimizer):
    """Adam with the largest gradient instead of the mean square."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        hyper = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        self._take("keras_adamax", hyper, learning_rate, options)


class Nadam(Optimizer):
    """Adam with Nesterov's momentum."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        hyper = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        self._take("keras_nadam", hyper, learning_rate, options)


class Ftrl(Optimizer):
    """Follow the regularized leader."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        hyper = {
            "learning_rate_power": learning_rate_power,
            "initial_accumulator_value": initial_accumulator_value,
            "l1": l1_regularization_strength,
            "l2": l2_regularization_strength,
            "l2_shrinkage": l2_shrinkage_regularization_strength,
            "beta": beta,
        }
        self._take("keras_ftrl", hyper, learning_rate, options)


class Lion(Optimizer):
    """The sign of an interpolated momentum."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self._take("keras_lion", {"beta_1": beta_1, "beta_2": beta_2}, learning_rate, options)


class Lamb(Optimizer):
    """Adam, scaled to the norm of each weight."""

    def __init__(
        self,
        learning_rate: float | Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ):
        options = Options(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        hyper = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        self._take("keras_lamb", hyper, learning_rate, options)


KINDS: dict[str, type[Optimizer]] = {
    kind.__name__: kind
    for kind in (SGD, RMSprop, Adam, AdamW, Adagrad, Adadelta, Adamax, Nadam, Ftrl, Lion, Lamb, Formula)
}

for _kind in KINDS.values():
    if _kind is not Formula:
        documented(_kind, find(UPDATES, _kind().rule).formula)


def get(identifier: Any) -> Optimizer:
    """An optimizer: itself, its name as Keras or the library has it, or update lines. Raises: SettingError."""
    if isinstance(identifier, str) and by_name(KINDS, identifier) is None:
        plain = identifier.lower().replace("-", "_")
        known = plain in UPDATES or any(plain in row.aliases for row in UPDATES.values())
        if known or (is_formula(identifier) and "<-" in identifier):
            return Formula(identifier)
    if identifier is None:
        return RMSprop()
    found: Optimizer = resolve(identifier, KINDS, Optimizer, "optimizer")
    return found
