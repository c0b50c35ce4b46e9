"""Names of Keras that chainrule has not: what to do instead, in one line, where somebody writes `layers.Conv2D`.

`hasattr` goes on answering. `from chainrule.layers import Conv2D` is Python's ImportError, which says the name only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from chainrule.errors import SettingError
from chainrule.messages import say

# The message → the names.
LAYERS = {
    "keras.absent_convolution": """
        AveragePooling1D AveragePooling2D AveragePooling3D Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
        Convolution2D Cropping2D DepthwiseConv2D GlobalAveragePooling2D GlobalMaxPooling2D MaxPool2D MaxPooling1D
        MaxPooling2D MaxPooling3D SeparableConv1D SeparableConv2D SpatialDropout1D SpatialDropout2D UpSampling1D
        UpSampling2D ZeroPadding1D ZeroPadding2D""",
    "keras.absent_recurrent": """
        Bidirectional ConvLSTM2D GRU GRUCell LSTM LSTMCell RNN SimpleRNN TimeDistributed""",
    "keras.absent_attention": "AdditiveAttention Attention GroupQueryAttention MultiHeadAttention",
    "keras.absent_preprocessing": """
        CategoryEncoding CenterCrop Discretization Hashing HashedCrossing IntegerLookup RandomContrast RandomCrop
        RandomFlip RandomRotation RandomTranslation RandomZoom Resizing StringLookup TextVectorization""",
    "keras.absent_formula": "AlphaDropout Dot EinsumDense GroupNormalization Masking Permute RepeatVector",
}
DATASETS = {
    "keras.absent_dataset": "boston_housing california_housing cifar10 cifar100 imdb reuters",
}
UTILS = {"keras.absent_plot": "plot_model model_to_dot"}


class Absent(SettingError, AttributeError):
    """A name of Keras's that is not here."""


def names_of(module: str, absent: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """A module's __getattr__.

    Raises: Absent for what Keras has and chainrule has not, AttributeError for all other names.
    """
    reasons = {name: key for key, names in absent.items() for name in names.split()}

    def missing(name: str) -> NoReturn:
        if name in reasons:
            raise Absent(say(reasons[name], name=name))
        raise AttributeError(f"module 'chainrule.{module}' has no attribute {name!r}")

    return missing
