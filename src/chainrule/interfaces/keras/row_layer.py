"""A layer that is a row of library/layers.py, and the checks of layers' arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.data.checks import is_whole
from chainrule.errors import SettingError
from chainrule.interfaces.keras import activations
from chainrule.interfaces.keras.config import documented
from chainrule.interfaces.keras.graph import Layer
from chainrule.interfaces.keras.writer import Form, with_activation
from chainrule.library.layers import LAYERS
from chainrule.messages import say

Shapes = Sequence[tuple[int, ...]]


class RowLayer(Layer):
    """A layer that is a row of the library, which its docstring shows: x its input, y its output, n the samples.

    `settings` are its options and numbers, `weights_of` its weights' rules."""

    row = ""
    settings: Mapping[str, object] = {}
    keras_names: Mapping[str, str] = {}  # of the row's weights: W is the kernel
    initials: Mapping[str, Any] = {}
    penalties: Mapping[str, Any] = {}
    limits: Mapping[str, Any] = {}
    activation: activations.Activation | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        row = cls.__dict__.get("row")
        if isinstance(row, str) and row in LAYERS:
            documented(cls, LAYERS[row].formula)

    def form(self, shapes: Shapes) -> Form | None:
        row = LAYERS[self.row]
        text = row.text(self.settings)
        if self.activation is not None:
            text = "\n".join([*self.activation.lines(), with_activation(text, self.activation.apply)])
        return Form(text, row.input, row.output, row.letters, row.join)

    def new_indices(self, shapes: Shapes) -> dict[str, tuple[int, str]]:
        """The indices that the layer makes: their size and letter."""
        return {}

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


def whole_number(name: str, value: Any) -> int:
    if not is_whole(value) or value < 1:
        raise SettingError(say("training.whole_number", name=name, came=value, low=1, high="∞"))
    return int(value)


def share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise SettingError(say("keras.share", name=name, came=value))
    return float(value)


def difference(high: float, low: float) -> float:
    """1 - 0.9 as a person writes it: 0.1."""
    return float(f"{high - low:.12g}")


def last_axis(layer: str, axis: Any) -> None:
    if axis != -1:
        raise SettingError(say("keras.option_not_here", layer=layer, name="axis", came=axis, default=-1))
