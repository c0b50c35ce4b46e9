"""Layers that bring their inputs to a common scale, by Keras's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.interfaces.keras import constraints, initializers, regularizers
from chainrule.interfaces.keras.config import documented, refuse
from chainrule.interfaces.keras.graph import named_weight
from chainrule.interfaces.keras.row_layer import RowLayer, last_axis
from chainrule.library.layers import LAYERS


class BatchNormalization(RowLayer):
    """Each unit minus its mean over the batch, over its standard deviation; moving averages of both when predicting.

    With trainable=False it uses the moving averages in training too, as in Keras.
    """

    keras_names = {"gamma": "gamma", "beta": "beta", "mu_avg": "moving_mean", "var_avg": "moving_variance"}
    gamma, beta = named_weight("gamma"), named_weight("beta")
    moving_mean, moving_variance = named_weight("moving_mean"), named_weight("moving_variance")

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        last_axis("BatchNormalization", axis)
        refuse(
            "BatchNormalization",
            {"renorm": False, "synchronized": False},
            {"renorm": renorm, "synchronized": synchronized},
        )
        self.settings = {"momentum": float(momentum), "epsilon": float(epsilon), "center": center, "scale": scale}
        self.initials = {
            "beta": initializers.get(beta_initializer),
            "gamma": initializers.get(gamma_initializer),
            "mu_avg": initializers.get(moving_mean_initializer),
            "var_avg": initializers.get(moving_variance_initializer),
        }
        self.penalties = {"beta": regularizers.get(beta_regularizer), "gamma": regularizers.get(gamma_regularizer)}
        self.limits = {"beta": constraints.get(beta_constraint), "gamma": constraints.get(gamma_constraint)}

    @property
    def row(self) -> str:  # type: ignore[override]  # which of two rows depends on whether it is frozen
        return "batch_normalization" if self.trainable else "frozen_batch_normalization"


documented(BatchNormalization, LAYERS["batch_normalization"].formula)


class LayerNormalization(RowLayer):
    """Each sample minus its mean along the last axis, over its standard deviation there."""

    row = "layer_normalization"
    keras_names = {"gamma": "gamma", "beta": "beta"}
    gamma, beta = named_weight("gamma"), named_weight("beta")

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        last_axis("LayerNormalization", axis)
        self.settings = {"epsilon": float(epsilon), "center": center, "scale": scale}
        self.initials = {"beta": initializers.get(beta_initializer), "gamma": initializers.get(gamma_initializer)}
        self.penalties = {"beta": regularizers.get(beta_regularizer), "gamma": regularizers.get(gamma_regularizer)}
        self.limits = {"beta": constraints.get(beta_constraint), "gamma": constraints.get(gamma_constraint)}


class RMSNormalization(RowLayer):
    """Each sample over the root of its mean square along the last axis."""

    row = "rms_normalization"
    keras_names = {"gamma": "scale"}

    def __init__(self, axis: int = -1, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        last_axis("RMSNormalization", axis)
        self.settings = {"epsilon": float(epsilon)}
        self.initials = {"gamma": initializers.get("ones")}


class UnitNormalization(RowLayer):
    """Each sample over its length along the last axis."""

    row = "unit_normalization"

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        last_axis("UnitNormalization", axis)


class Normalization(RowLayer):
    """Minus a mean, over a standard deviation: given, or taken from data by `adapt`."""

    row = "normalization"
    keras_names = {"center": "mean", "spread": "variance"}

    def __init__(
        self, axis: int | None = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if axis is not None:  # None: one mean and one variance for all
            last_axis("Normalization", axis)
        self.axis = axis
        refuse("Normalization", {"invert": False}, {"invert": invert})
        self.given = {
            name: np.asarray(value, dtype=np.float64)
            for name, value in (("center", mean), ("spread", variance))
            if value is not None
        }

    @property
    def mean(self) -> np.ndarray[Any, Any] | None:
        """What is subtracted; None before `adapt`."""
        return self.given.get("center")

    @property
    def variance(self) -> np.ndarray[Any, Any] | None:
        """Its root is what is divided by; None before `adapt`."""
        return self.given.get("spread")

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Take mean and variance from data: over all axes but the last, or with axis=None over all."""
        array = np.asarray(data, dtype=np.float64)
        axes = tuple(range(array.ndim - 1)) if array.ndim > 1 and self.axis is not None else None
        self.given = {"center": np.asarray(array.mean(axis=axes)), "spread": np.asarray(array.var(axis=axes))}
        for role, variable in self.variables.items():
            variable.set(np.broadcast_to(self.given[role], variable.shape), self.name)
