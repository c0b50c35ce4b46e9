"""The layers, by Keras's names and arguments. Each is a row of library/layers.py with its numbers put in.

>>> print(Dropout(0.5).formula)
random m[..., i] = bernoulli(0.5)
y[..., i]   = x[..., i]*m[..., i]/0.5
prediction y[..., i] = x[..., i]

A layer of one's own is `Formula`.
"""

# Keras's layers have a dozen arguments each, in this order.

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.interfaces.keras import activations, constraints, initializers, regularizers
from chainrule.interfaces.keras.config import refuse
from chainrule.interfaces.keras.graph import Layer, named_weight, shape_of
from chainrule.interfaces.keras.row_layer import RowLayer, Shapes, difference, last_axis, share, whole_number
from chainrule.interfaces.keras.writer import Form
from chainrule.messages import say


class Dense(RowLayer):
    """y = activation(x·W + b) along the last axis.

    `activation` is a name, or a formula in a such as "a / (1 + abs(a))".
    """

    row = "dense"
    keras_names = {"W": "kernel", "b": "bias"}
    kernel, bias = named_weight("kernel"), named_weight("bias")

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        not_here = {"lora_rank": lora_rank, "lora_alpha": lora_alpha, "quantization_config": quantization_config}
        refuse("Dense", dict.fromkeys(not_here), not_here)
        self.units = whole_number("units", units)
        self.activation = activations.get(activation)
        self.settings = {"use_bias": bool(use_bias)}
        self.initials = {"W": initializers.get(kernel_initializer), "b": initializers.get(bias_initializer)}
        self.penalties = {"W": regularizers.get(kernel_regularizer), "b": regularizers.get(bias_regularizer)}
        self.limits = {"W": constraints.get(kernel_constraint), "b": constraints.get(bias_constraint)}

    def check(self, shapes: Shapes) -> None:
        if not shapes[0]:
            raise SettingError(say("keras.wrong_rank", layer=self.name, came=0, wanted="x[..., i]"))

    def new_indices(self, shapes: Shapes) -> dict[str, tuple[int, str]]:
        return {"j": (self.units, "j")}

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)


class Activation(RowLayer):
    """An activation alone."""

    row = "activation"

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def form(self, shapes: Shapes) -> Form | None:
        assert self.activation is not None
        return None if self.activation.name == "linear" else super().form(shapes)


class Softmax(Activation):
    """softmax along the last axis."""

    def __init__(self, axis: int = -1, **kwargs: Any):
        last_axis("Softmax", axis)
        super().__init__("softmax", **kwargs)


class ELU(Activation):
    """The exponential linear unit."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(activations.Activation("elu", {"alpha": float(alpha)}), **kwargs)


class LeakyReLU(Activation):
    """A rectifier with a slope below 0; this layer's default is 0.3, the function's 0.2."""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        super().__init__(activations.Activation("leaky_relu", {"negative_slope": float(negative_slope)}), **kwargs)


class ReLU(RowLayer):
    """A rectifier, bounded and shifted where that is said."""

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.settings = {"negative_slope": float(negative_slope), "threshold": float(threshold)}
        self.row = "rectifier"
        if max_value is not None:
            self.row, self.settings = "bounded_rectifier", {**self.settings, "max_value": float(max_value)}
        elif not negative_slope and not threshold:
            self.row, self.activation = "activation", activations.get("relu")


class PReLU(RowLayer):
    """A rectifier whose slope below 0 is learned, one a unit."""

    row = "prelu"
    keras_names = {"alpha": "alpha"}

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        refuse("PReLU", {"shared_axes": None}, {"shared_axes": shared_axes})
        self.initials = {"alpha": initializers.get(alpha_initializer)}
        self.penalties = {"alpha": regularizers.get(alpha_regularizer)}
        self.limits = {"alpha": constraints.get(alpha_constraint)}


class Dropout(RowLayer):
    """Sets a share `rate` of the inputs to 0 while training, and widens the others by 1/(1 - rate)."""

    row = "dropout"

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        refuse("Dropout", {"noise_shape": None}, {"noise_shape": noise_shape})
        self.rate = share("rate", rate)
        self.settings = {"keep": difference(1.0, self.rate)}

    def form(self, shapes: Shapes) -> Form | None:
        return super().form(shapes) if self.rate else None


class GaussianNoise(RowLayer):
    """Adds normal noise while training."""

    row = "gaussian_noise"

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.settings = {"stddev": float(stddev)}

    def form(self, shapes: Shapes) -> Form | None:
        return super().form(shapes) if self.settings["stddev"] else None


class GaussianDropout(RowLayer):
    """Multiplies by normal noise around 1 while training."""

    row = "gaussian_dropout"

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = share("rate", rate)
        self.settings = {"stddev": math.sqrt(self.rate / (1 - self.rate))}

    def form(self, shapes: Shapes) -> Form | None:
        return super().form(shapes) if self.rate else None


class Rescaling(RowLayer):
    """x·scale + offset"""

    row = "rescaling"

    def __init__(self, scale: float, offset: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.settings = {"scale": float(scale), "offset": float(offset)}

    def form(self, shapes: Shapes) -> Form | None:
        scale, offset = self.settings["scale"], self.settings["offset"]
        assert isinstance(scale, float)
        form = super().form(shapes)
        assert form is not None
        text = form.text
        if scale and not offset and (1 / scale).is_integer():  # x/255 as it stands in texts
            text = f"y[..., i]   = x[..., i]/{int(1 / scale)}"
        elif not offset:
            text = text.removesuffix(" + 0")
        elif scale == 1:
            text = text.replace("*1 + ", " + ")
        return Form(text, form.input, form.output, {"y": "xs"})


class Embedding(RowLayer):
    """Row number x of a table: of integers (N, L) it makes (N, L, output_dim). No one-hot array exists."""

    row = "embedding"
    keras_names = {"T": "embeddings"}
    embeddings = named_weight("embeddings")

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        not_here = {"mask_zero": mask_zero, "lora_rank": lora_rank, "quantization_config": quantization_config}
        refuse("Embedding", {"mask_zero": False, "lora_rank": None, "quantization_config": None}, not_here)
        self.input_dim, self.output_dim = whole_number("input_dim", input_dim), whole_number("output_dim", output_dim)
        self.initials = {"T": initializers.get(embeddings_initializer)}
        self.penalties = {"T": regularizers.get(embeddings_regularizer)}
        self.limits = {"T": constraints.get(embeddings_constraint)}
        self.first_weights = None if weights is None else [np.asarray(w) for w in weights]

    def new_indices(self, shapes: Shapes) -> dict[str, tuple[int, str]]:
        return {"v": (self.input_dim, "v"), "d": (self.output_dim, "d")}

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.output_dim)


class _View(Layer):
    """The same numbers under another shape: no formula, only other indices."""

    def form(self, shapes: Shapes) -> None:
        return None


class Identity(_View):
    """What comes in."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


class Flatten(_View):
    """All axes as one."""

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        refuse(
            "Flatten", {"data_format": None}, {"data_format": None if data_format == "channels_last" else data_format}
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], math.prod(input_shape[1:]))


class Reshape(_View):
    """The same numbers, read row by row, under another shape; one size may be -1."""

    def __init__(self, target_shape: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.target_shape = tuple(int(s) for s in target_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        count = math.prod(input_shape[1:])
        known = math.prod(s for s in self.target_shape if s != -1)
        shape = tuple(count // known if s == -1 and known else s for s in self.target_shape)
        if math.prod(shape) != count or self.target_shape.count(-1) > 1:
            raise SettingError(say("keras.reshape", layer=self.name, came=input_shape[1:], wanted=self.target_shape))
        return (input_shape[0], *shape)


class GlobalAveragePooling1D(RowLayer):
    """The mean over the places of a sequence: (N, L, D) → (N, D)."""

    row = "average_pooling"

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        format_ = None if data_format == "channels_last" else data_format
        refuse(
            type(self).__name__,
            {"data_format": None, "keepdims": False},
            {"data_format": format_, "keepdims": keepdims},
        )

    def check(self, shapes: Shapes) -> None:
        if len(shapes[0]) != 2:
            raise SettingError(say("keras.wrong_rank", layer=self.name, came=len(shapes[0]), wanted="x[l, i]"))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[2])


class GlobalMaxPooling1D(GlobalAveragePooling1D):
    """The largest over the places of a sequence: (N, L, D) → (N, D)."""

    row = "max_pooling"


GlobalAvgPool1D = GlobalAveragePooling1D
GlobalMaxPool1D = GlobalMaxPooling1D


class InputLayer(Layer):
    """An input, as the first layer of a Sequential."""

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, dtype=None, **kwargs)
        refuse(
            "Input",
            {"ragged": None, "input_tensor": None, "optional": False},
            {"ragged": ragged or None, "input_tensor": input_tensor, "optional": optional},
        )
        given = shape if shape is not None else batch_shape[1:] if batch_shape is not None else self.given_shape
        if given is None:
            raise SettingError(say("keras.bad_shape", layer="Input", came=shape))
        self.given_shape = shape_of(given, "Input")
        self.input_dtype = dtype

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def form(self, shapes: Shapes) -> None:
        return None


class Lambda(Layer):
    """Refused: a Python function is code, and a formula cannot look into it. See Formula."""

    def __init__(
        self, function: Any = None, output_shape: Any = None, mask: Any = None, arguments: Any = None, **kwargs: Any
    ):
        raise SettingError(say("keras.no_lambda"))
