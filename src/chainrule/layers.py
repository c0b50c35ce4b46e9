"""Keras's layers, each of them a formula: `layer.formula`."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from chainrule.interfaces.keras import absent as _absent
from chainrule.interfaces.keras.formula_layer import Formula
from chainrule.interfaces.keras.graph import Layer
from chainrule.interfaces.keras.layers import (
    ELU,
    Activation,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalAvgPool1D,
    GlobalMaxPool1D,
    GlobalMaxPooling1D,
    Identity,
    InputLayer,
    Lambda,
    LeakyReLU,
    PReLU,
    ReLU,
    Rescaling,
    Reshape,
    Softmax,
)
from chainrule.interfaces.keras.merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from chainrule.interfaces.keras.models import Input
from chainrule.interfaces.keras.normalizing import (
    BatchNormalization,
    LayerNormalization,
    Normalization,
    RMSNormalization,
    UnitNormalization,
)

__all__ = [
    "ELU",
    "Activation",
    "Add",
    "Average",
    "BatchNormalization",
    "Concatenate",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Formula",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
    "Identity",
    "Input",
    "InputLayer",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "RMSNormalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Softmax",
    "Subtract",
    "UnitNormalization",
    "add",
    "average",
    "concatenate",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]

if not _TYPE_CHECKING:  # a type checker knows which names there are
    __getattr__ = _absent.names_of("layers", _absent.LAYERS)
