"""Initializers by Keras's names: how a weight starts, as it stands in the model's text.

>>> HeNormal().text, RandomNormal(stddev=0.1).text
('keras_he_normal', 'normal(0, 0.1)')

The numbers are drawn by the model's seed; the argument `seed` is taken and not used.
"""

from __future__ import annotations

from typing import Any, Literal

from chainrule.errors import SettingError
from chainrule.formula.evaluate import evaluate
from chainrule.formula.parse import parse_expression
from chainrule.interfaces.keras.config import Configured
from chainrule.interfaces.keras.rows import is_formula, keras_row, resolve
from chainrule.library import INITIALIZERS
from chainrule.library.layers import written
from chainrule.messages import say

# What an initializer is called where its two numbers are given: a row with two arguments.
PLAIN = {"uniform": "uniform", "normal": "normal", "truncated_normal": "truncated_normal", "constant": "constant"}


class Initializer(Configured):
    """A row of the library and its numbers; `text` is what stands behind the = of a parameter."""

    row = "zeros"
    numbers: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """glorot_uniform, or normal(0, 0.05)."""
        inside = ", ".join(written(v).strip("()") for v in self.numbers)
        return f"{self.row}({inside})" if inside else self.row

    def of_fans(self, fan_in: int, fan_out: int) -> str:
        """The same with its numbers worked out: for one part of a weight, whose own fans are other ones.

        Raises: SettingError for an initializer that needs the whole matrix.
        """
        row = INITIALIZERS[self.row]
        if not any("fan" in bound for bound in row.bounds):
            if row.distribution not in PLAIN:
                raise SettingError(say("keras.initializer_of_parts", name=self.row))
            return self.text
        names = dict(row.defaults) | dict(zip(row.defaults, self.numbers, strict=False))
        scalars = {"fan_in": float(fan_in), "fan_out": float(fan_out), **names}
        low, high = (float(evaluate(parse_expression(b, {}), {}, scalars=scalars)) for b in row.bounds)
        return f"{PLAIN[row.distribution]}({written(low).strip('()')}, {written(high).strip('()')})"


class _Named(Initializer):
    """By name alone."""

    def __init__(self, name: str):
        if is_formula(name):
            raise SettingError(say("keras.initializer_formula", came=name))
        self.row = keras_row(INITIALIZERS, name).name


class Zeros(Initializer):
    """All 0."""

    row = "zeros"


class Ones(Initializer):
    """All 1."""

    row = "ones"


class Constant(Initializer):
    """All `value`."""

    row = "constant"

    def __init__(self, value: float = 0.0):
        self.numbers = (float(value),)


class RandomUniform(Initializer):
    """Evenly between minval and maxval."""

    row = "uniform"

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        self.numbers = (float(minval), float(maxval))


class RandomNormal(Initializer):
    """Normal."""

    row = "normal"

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.numbers = (float(mean), float(stddev))


class TruncatedNormal(Initializer):
    """Normal, cut at two standard deviations."""

    row = "truncated_normal"

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.numbers = (float(mean), float(stddev))


class _Scaled(Initializer):
    """The rows of fan_in and fan_out."""

    def __init__(self, seed: int | None = None, input_axes: Any = None, output_axes: Any = None):
        pass


class GlorotUniform(_Scaled):
    """Glorot & Bengio, 2010."""

    row = "glorot_uniform"


class GlorotNormal(_Scaled):
    """Glorot & Bengio, 2010, cut at two standard deviations."""

    row = "keras_glorot_normal"


class HeUniform(_Scaled):
    """He et al., 2015."""

    row = "he_uniform"


class HeNormal(_Scaled):
    """He et al., 2015, cut at two standard deviations."""

    row = "keras_he_normal"


class LecunUniform(_Scaled):
    """LeCun et al., 1998."""

    row = "lecun_uniform"


class LecunNormal(_Scaled):
    """LeCun et al., 1998, cut at two standard deviations."""

    row = "keras_lecun_normal"


class VarianceScaling(Initializer):
    """Variance `scale` over fan_in, fan_out or their mean."""

    def __init__(
        self,
        scale: float = 1.0,
        mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in",
        distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal",
        seed: int | None = None,
        input_axes: Any = None,
        output_axes: Any = None,
    ):
        stems = {
            "truncated_normal": "keras_variance_scaling",
            "untruncated_normal": "variance_scaling",
            "uniform": "variance_scaling_uniform",
        }
        if distribution not in stems or mode not in ("fan_in", "fan_out", "fan_avg"):
            raise SettingError(say("keras.unknown", what="VarianceScaling", came=f"{mode}, {distribution}", known="–"))
        self.row = stems[distribution] + ("" if mode == "fan_in" else f"_{mode}")
        self.numbers = (float(scale),)


class Orthogonal(Initializer):
    """Orthogonal rows or columns times `gain`."""

    row = "orthogonal"

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        self.numbers = (float(gain),)


class Identity(Initializer):
    """The identity matrix times `gain`."""

    row = "identity"

    def __init__(self, gain: float = 1.0):
        self.numbers = (float(gain),)


OrthogonalInitializer = Orthogonal
IdentityInitializer = Identity

KINDS: dict[str, type[Initializer]] = {
    kind.__name__: kind
    for kind in (
        Zeros,
        Ones,
        Constant,
        RandomUniform,
        RandomNormal,
        TruncatedNormal,
        GlorotUniform,
        GlorotNormal,
        HeUniform,
        HeNormal,
        LecunUniform,
        LecunNormal,
        VarianceScaling,
        Orthogonal,
        Identity,
    )
}


def get(identifier: Any) -> Initializer:
    """An initializer: itself, its class, or its name as Keras or the library has it. Raises: SettingError."""
    if isinstance(identifier, str) and identifier.lower() not in {k.lower() for k in KINDS}:
        return _Named(identifier)
    if isinstance(identifier, dict) and identifier.get("class_name") == "_Named":
        return _Named(**identifier["config"])
    found: Initializer = resolve(identifier, KINDS, Initializer, "initializer")
    return found
