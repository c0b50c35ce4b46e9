"""Activations by Keras's names. Each is a row of the library: call it on numbers, or hand it to a layer.

>>> from chainrule.activations import leaky_relu, relu
>>> relu([-1.0, 2.0])
array([0., 2.])
>>> leaky_relu.formula
'where(a > 0, a, negative_slope*a)'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.interfaces.keras.config import Configured
from chainrule.interfaces.keras.rows import is_formula, keras_row
from chainrule.library import ACTIVATIONS
from chainrule.library.layers import written
from chainrule.messages import say

# Where Keras's function has another default than the row.
DEFAULTS: Mapping[str, Mapping[str, float]] = {"leaky_relu": {"negative_slope": 0.2}}
NAMES = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
)


DEFINED = re.compile(r"\w+\((\w+)\)\s*=")


class Activation(Configured):
    """A row of the library with its hyper-parameters, or a formula of one's own in `a`."""

    def __init__(self, name: str, settings: Mapping[str, float] | None = None):
        self.own = is_formula(name)
        if self.own:
            self.name, self.index = name, None
            self.definition = name if DEFINED.match(name.strip()) else f"f(a) = {name}"
            letter = DEFINED.match(self.definition)
            value = self.definition.split("=", 1)[1]
            if letter is not None and not re.search(rf"(?<![\w.]){letter[1]}(?!\w)", value):
                raise SettingError(say("keras.activation_formula", came=name, letter=letter[1]))
            return
        row = keras_row(ACTIVATIONS, name)
        self.name, self.index, self.formula = row.name, row.index, row.formula
        self.settings = {**row.defaults, **DEFAULTS.get(row.name, {}), **(settings or {})}
        self.changed = {k: v for k, v in self.settings.items() if v != row.defaults.get(k)}
        self.__name__ = name

    def lines(self) -> list[str]:
        """What a layer's text needs in front: the definition of a function of one's own."""
        return [self.definition] if self.own else []

    def apply(self, body: str, index: str) -> str:
        """The activation of what stands in `body`; `index` is the one that a softmax runs along."""
        if self.own:
            return f"{self.definition.split('(')[0].strip()}({body})"
        if self.name == "linear":
            return body
        if self.index is not None:
            return f"{self.name}[{index}]({body})"
        named = "".join(f", {name}={written(value)}" for name, value in self.changed.items())
        return f"{self.name}({body}{named})"

    def __call__(self, x: Any, *given: float, **named: Any) -> Any:
        """The values at numbers, or a layer behind a symbolic tensor."""
        from chainrule.interfaces.keras.graph import KerasTensor

        chosen = self._chosen(given, named)
        if isinstance(x, KerasTensor):
            from chainrule.interfaces.keras.layers import Activation as Behind

            return Behind(chosen)(x)
        return chosen.values(np.asarray(x, dtype=np.float64))

    def _chosen(self, given: tuple[float, ...], named: dict[str, Any]) -> Activation:
        if not given and not named:
            return self
        if self.own:
            raise SettingError(say("keras.unknown_option", layer=self.name, name=next(iter(named), "–"), known="–"))
        if self.name == "gelu" and named.pop("approximate", False):
            return Activation("gelu_tanh")
        settings = dict(zip(self.settings, given, strict=False)) | named
        for name in settings:
            if name not in self.settings:
                known = ", ".join(self.settings) or "–"
                raise SettingError(say("keras.unknown_option", layer=self.name, name=name, known=known))
        return Activation(self.name, settings)

    def values(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The activation of an array, along its last axis where it is a softmax."""
        from chainrule.training.network import formula

        flat = x.reshape(-1, x.shape[-1]) if self.index is not None else x.reshape(-1)
        slot = "[k]" if self.index is not None else ""
        definition = "\n".join(self.lines())
        net = formula(f"{definition}\ninput a{slot}\ny{slot} = {self.apply(f'a{slot}', 'k')}", dtype="float64")
        return net.predict(flat).reshape(x.shape)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


def get(identifier: Any) -> Activation:
    """An activation by name, by formula, or itself; None is linear.

    Raises: SettingError for an unknown name, and for a Python function, which formulas cannot look into.
    """
    if identifier is None:
        return Activation("linear")
    if isinstance(identifier, Activation):
        return identifier
    if isinstance(identifier, Mapping) and "config" in identifier:
        return Activation(**identifier["config"])
    if isinstance(identifier, str):
        return Activation(identifier)
    raise SettingError(say("keras.function", what="activation", name=getattr(identifier, "__name__", "?")))


def __getattr__(name: str) -> Activation:
    if name in NAMES:
        return Activation(name)
    raise AttributeError(f"module 'chainrule.activations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES})
