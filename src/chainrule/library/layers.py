"""Layers: equations from the input x to the output y, with the parameters between them.

The last axis of the input has the index i, the one of the output j where it is another; `...` stands for the axes in
front of it, of which there may be none (and where they are named, as in mean[n, ...], the sample axis stands first). A
network gives every layer its own names: W1, b1, h1, …: `letters` says which. `options` are pieces of the text that an
option takes away, such as " + b[j]" without use_bias; a parameter that is then read by no line goes as well.

`activation(…)` is replaced by the layer's activation, `join(x)` by all inputs put together by `join`.

>>> print(LAYERS["layer_normalization"].text({"scale": False, "epsilon": 0.001}))
parameter beta[i] = zeros
mu[...]     = mean[i](x[..., i])
var[...]    = mean[i]((x[..., i] - mu[...])**2)
y[..., i]   = (x[..., i] - mu[...])/sqrt(var[...] + 0.001) + beta[i]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chainrule.library.rows import Row, table

DECLARED = re.compile(r"(?:parameter|state|random)\s+([^\W\d]\w*)")


@dataclass(frozen=True)
class Layer(Row):
    """Lines of formulas in x and y; `input` and `output` say at which indices."""

    kind = "layer"

    formula: str
    input: str = field(default="x[..., i]", kw_only=True)
    output: str = field(default="y[..., i]", kw_only=True)
    letters: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict, kw_only=True)
    join: str = field(default="", kw_only=True)

    def text(self, settings: Mapping[str, object]) -> str:
        """The formula with its options and numbers put in: an option that is False takes its pieces away."""
        text = self.formula
        for option, pieces in self.options.items():
            if settings.get(option, True) is False:
                for piece in pieces:
                    text = text.replace(piece, "")
        for name in self.defaults:
            value = settings.get(name, self.defaults[name])
            text = re.sub(rf"(?<![\w.]){name}(?!\w)", written(value), text)
        return "\n".join(line for line in text.splitlines() if _is_read(line, text))


def written(value: object) -> str:
    """A number as it stands in a formula: 2 for 2.0, and (-1) in brackets.

    >>> written(0.001), written(2.0), written(-1)
    ('0.001', '2', '(-1)')
    """
    number = float(value)  # type: ignore[arg-type]  # what is no number raises here
    text = repr(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return f"({text})" if number < 0 else text


def _is_read(line: str, text: str) -> bool:
    """Whether what a line declares occurs elsewhere in the text."""
    declared = DECLARED.match(line)
    return declared is None or len(re.findall(rf"(?<!\w){declared[1]}(?!\w)", text)) > 1


BATCH_STATISTICS = """\
parameter gamma[i] = ones
parameter beta[i] = zeros
state mu_avg[i] = zeros
state var_avg[i] = ones
mu[i]       = mean[n, ...](x[n, ..., i])
var[i]      = mean[n, ...]((x[n, ..., i] - mu[i])**2)
prediction mu[i]  = mu_avg[i]
prediction var[i] = var_avg[i]
y[..., i]   = gamma[i]*(x[..., i] - mu[i])/sqrt(var[i] + epsilon) + beta[i]
mu_avg[i]  <- momentum*mu_avg[i] + (1 - momentum)*mu[i]
var_avg[i] <- momentum*var_avg[i] + (1 - momentum)*var[i]"""

MOVING_STATISTICS = """\
parameter gamma[i] = ones
parameter beta[i] = zeros
state mu_avg[i] = zeros
state var_avg[i] = ones
y[..., i]   = gamma[i]*(x[..., i] - mu_avg[i])/sqrt(var_avg[i] + epsilon) + beta[i]"""

NORMALIZED_LETTERS = {"y": "u", "gamma": "gamma", "beta": "beta", "mu": "mu", "var": "var"}
NORMALIZED_OPTIONS = {"scale": ("gamma[i]*",), "center": (" + beta[i]",)}
BATCH_LETTERS = {**NORMALIZED_LETTERS, "mu_avg": "mu_avg", "var_avg": "var_avg"}

LAYERS = table(
    Layer(
        "dense",
        """\
parameter W[i, j] = glorot_uniform
parameter b[j] = zeros
y[..., j]   = activation(sum[i](x[..., i]*W[i, j]) + b[j])""",
        output="y[..., j]",
        letters={"y": "h", "W": "W", "b": "b"},
        options={"use_bias": (" + b[j]",)},
        source="Rumelhart, Hinton & Williams, 1986, Learning representations by back-propagating errors, eq. 1",
        differs="PyTorch's Linear keeps the weights as W[j, i].",
    ),
    Layer(
        "activation",
        "y[..., i]   = activation(x[..., i])",
        letters={"y": "a"},
        source="Keras 3, keras.layers.Activation",
    ),
    Layer(
        "rectifier",
        "y[..., i]   = where(x[..., i] >= threshold, x[..., i], negative_slope*(x[..., i] - threshold))",
        letters={"y": "a"},
        defaults={"negative_slope": 0.0, "threshold": 0.0},
        source="Keras 3, keras.layers.ReLU",
    ),
    Layer(
        "bounded_rectifier",
        "y[..., i]   = where(x[..., i] >= threshold, min(x[..., i], max_value), "
        "negative_slope*(x[..., i] - threshold))",
        letters={"y": "a"},
        defaults={"negative_slope": 0.0, "threshold": 0.0, "max_value": 6.0},
        source="Keras 3, keras.layers.ReLU",
    ),
    Layer(
        "prelu",
        """\
parameter alpha[..., i] = zeros
y[..., i]   = where(x[..., i] > 0, x[..., i], alpha[..., i]*x[..., i])""",
        letters={"y": "a", "alpha": "alpha"},
        source="He, Zhang, Ren & Sun, 2015, Delving deep into rectifiers",
        differs="One slope a unit, as in Keras; PyTorch has one for all units by default.",
    ),
    Layer(
        "dropout",
        """\
random m[..., i] = bernoulli(keep)
y[..., i]   = x[..., i]*m[..., i]/keep
prediction y[..., i] = x[..., i]""",
        letters={"y": "hd", "m": "m"},
        defaults={"keep": 0.5},
        source="Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, 2014, Dropout",
        differs="Divided by the share that is kept, as everywhere today; the source shrinks the weights at test time.",
    ),
    Layer(
        "gaussian_noise",
        """\
random noise[..., i] = normal(0, stddev)
y[..., i]   = x[..., i] + noise[..., i]
prediction y[..., i] = x[..., i]""",
        letters={"y": "hn", "noise": "noise"},
        defaults={"stddev": 0.1},
        source="Bishop, 1995, Training with noise is equivalent to Tikhonov regularization",
    ),
    Layer(
        "gaussian_dropout",
        """\
random m[..., i] = normal(1, stddev)
y[..., i]   = x[..., i]*m[..., i]
prediction y[..., i] = x[..., i]""",
        letters={"y": "hd", "m": "m"},
        defaults={"stddev": 0.1},
        source="Srivastava et al., 2014, Dropout, section 10",
    ),
    Layer(
        "batch_normalization",
        BATCH_STATISTICS,
        letters=BATCH_LETTERS,
        options=NORMALIZED_OPTIONS,
        defaults={"momentum": 0.99, "epsilon": 0.001},
        source="Ioffe & Szegedy, 2015, Batch normalization, Algorithm 1",
        differs=(
            "As in Keras: epsilon 0.001, momentum 0.99 is the share of the old average, the moving variance is that of "
            "the batch. PyTorch has epsilon 1e-5, momentum 0.1 is the share of the new, and its moving variance is "
            "divided by n - 1."
        ),
    ),
    Layer(
        "frozen_batch_normalization",
        MOVING_STATISTICS,
        letters=BATCH_LETTERS,
        options=NORMALIZED_OPTIONS,
        defaults={"momentum": 0.99, "epsilon": 0.001},
        source="Keras 3, keras.layers.BatchNormalization with trainable=False",
    ),
    Layer(
        "layer_normalization",
        """\
parameter gamma[i] = ones
parameter beta[i] = zeros
mu[...]     = mean[i](x[..., i])
var[...]    = mean[i]((x[..., i] - mu[...])**2)
y[..., i]   = gamma[i]*(x[..., i] - mu[...])/sqrt(var[...] + epsilon) + beta[i]""",
        letters=NORMALIZED_LETTERS,
        options=NORMALIZED_OPTIONS,
        defaults={"epsilon": 0.001},
        source="Ba, Kiros & Hinton, 2016, Layer normalization",
        differs="Keras has epsilon 0.001, PyTorch 1e-5.",
    ),
    Layer(
        "rms_normalization",
        """\
parameter gamma[i] = ones
rms[...]    = sqrt(mean[i](x[..., i]**2) + epsilon)
y[..., i]   = gamma[i]*x[..., i]/rms[...]""",
        letters={"y": "u", "gamma": "gamma", "rms": "rms"},
        defaults={"epsilon": 1e-6},
        source="Zhang & Sennrich, 2019, Root mean square layer normalization, eq. 4",
        differs="As in Keras. PyTorch's epsilon is that of the number type.",
    ),
    Layer(
        "unit_normalization",
        """\
length[...] = sqrt(max(sum[i](x[..., i]**2), 1e-12))
y[..., i]   = x[..., i]/length[...]""",
        letters={"y": "u", "length": "length"},
        source="Keras 3, keras.layers.UnitNormalization",
    ),
    Layer(
        "normalization",
        """\
state center[i] = zeros
state spread[i] = ones
y[..., i]   = (x[..., i] - center[i])/max(sqrt(spread[i]), 1e-7)""",
        letters={"y": "xn", "center": "center", "spread": "spread"},
        source="LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp, section 4.3",
        differs="spread is the variance. Keras's Normalization is the same; scikit-learn's StandardScaler too.",
    ),
    Layer(
        "rescaling",
        "y[..., i]   = x[..., i]*scale + offset",
        letters={"y": "xs"},
        defaults={"scale": 1.0, "offset": 0.0},
        source="Keras 3, keras.layers.Rescaling",
    ),
    Layer(
        "embedding",
        """\
parameter T[v, d] = uniform
y[..., d]   = sum[v]([v == x[...]]*T[v, d])""",
        input="x[...]",
        output="y[..., d]",
        letters={"y": "e", "T": "T"},
        source="Bengio, Ducharme, Vincent & Jauvin, 2003, A neural probabilistic language model",
        differs="Starts even in [-0.05, 0.05] as in Keras; PyTorch draws from the standard normal.",
    ),
    Layer(
        "average_pooling",
        "y[i]        = mean[l](x[l, i])",
        input="x[l, i]",
        output="y[i]",
        letters={"y": "q"},
        source="Lin, Chen & Yan, 2014, Network in network",
    ),
    Layer(
        "max_pooling",
        "y[i]        = max[l](x[l, i])",
        input="x[l, i]",
        output="y[i]",
        letters={"y": "q"},
        source="Keras 3, keras.layers.GlobalMaxPooling1D",
    ),
    Layer(
        "add",
        "y[..., i]   = join(x[..., i])",
        join="{} + {}",
        letters={"y": "s"},
        source="He, Zhang, Ren & Sun, 2016, Deep residual learning for image recognition, eq. 1",
    ),
    Layer(
        "subtract",
        "y[..., i]   = join(x[..., i])",
        join="{} - {}",
        letters={"y": "s"},
        source="Keras 3, keras.layers.Subtract",
    ),
    Layer(
        "multiply",
        "y[..., i]   = join(x[..., i])",
        join="{}*{}",
        letters={"y": "s"},
        source="Keras 3, keras.layers.Multiply",
    ),
    Layer(
        "average",
        "y[..., i]   = (join(x[..., i]))/count",
        join="{} + {}",
        letters={"y": "s"},
        defaults={"count": 2},
        source="Keras 3, keras.layers.Average",
    ),
    Layer(
        "maximum",
        "y[..., i]   = join(x[..., i])",
        join="max({}, {})",
        letters={"y": "s"},
        source="Keras 3, keras.layers.Maximum",
    ),
    Layer(
        "minimum",
        "y[..., i]   = join(x[..., i])",
        join="min({}, {})",
        letters={"y": "s"},
        source="Keras 3, keras.layers.Minimum",
    ),
)
