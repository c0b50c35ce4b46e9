"""Formula texts made for the user: networks of dense layers, from rows of the library.

Text: what is trained is what the run folder's network.formula shows, and what the model file holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chainrule.errors import SettingError
from chainrule.library import ACTIVATIONS, LOSSES, Activation, Loss, find
from chainrule.messages import say

MAX_LAYERS = 100
MAX_WIDTH = 100_000
# Of batch normalization: the share of the old average that a step keeps, and what is added to the variance.
NORM_MOMENTUM, NORM_EPSILON = 0.9, 1e-5

# What makes a loss's prediction out of the last sums. Softmax where the outputs are one distribution over the classes;
# sigmoid where each is a probability of its own, or should lie between 0 and 1 as a one-hot target does (textbooks'
# squared error); softplus where it must be positive; none where the loss is a distance or a margin on the whole line.
OUTPUT_ACTIVATIONS = {
    "categorical_cross_entropy": "softmax",
    "clipped_categorical_cross_entropy": "softmax",
    "smoothed_categorical_cross_entropy": "softmax",
    "categorical_focal_cross_entropy": "softmax",
    "clipped_categorical_focal_cross_entropy": "softmax",
    "generalized_cross_entropy": "softmax",
    "sparse_categorical_cross_entropy": "softmax",
    "clipped_sparse_categorical_cross_entropy": "softmax",
    "kl_divergence": "softmax",
    "clipped_kl_divergence": "softmax",
    "negative_log_likelihood": "log_softmax",
    "kl_divergence_from_logs": "log_softmax",
    "binary_cross_entropy": "sigmoid",
    "averaged_binary_cross_entropy": "sigmoid",
    "clipped_binary_cross_entropy": "sigmoid",
    "smoothed_binary_cross_entropy": "sigmoid",
    "binary_focal_cross_entropy": "sigmoid",
    "balanced_binary_focal_cross_entropy": "sigmoid",
    "dice": "sigmoid",
    "tversky": "sigmoid",
    "half_squared_error": "sigmoid",
    "squared_error": "sigmoid",
    "mean_squared_error": "sigmoid",
    "mean_squared_logarithmic_error": "softplus",
    "poisson": "softplus",
    "keras_poisson": "softplus",
}
# What two sets have in common: a row whose only target is 0 has nothing in common with any, and teaches nothing.
OVERLAPS = ("dice", "tversky")
# Losses of the table above that compare numbers as well as probabilities: of a number the output is linear.
OF_NUMBERS = ("half_squared_error", "squared_error", "mean_squared_error")
DEFAULT_OUTPUT = "linear"
PROBABILITIES = ("sigmoid", "softmax", "log_softmax")


@dataclass(frozen=True)
class Inputs:
    """What a network reads: `lines` declare it, `terms` are what the first layer adds up, with {unit} for its index.

    `tables` are parameters of the first layer besides its weights, in the same way. `target` is "classes" (k of them),
    "binary" (one output between 0 and 1) or "number" (one output; its target is (t - centre)/spread to the loss).
    """

    lines: tuple[str, ...] = ("input     x[i]",)
    equations: tuple[str, ...] = ()
    numbers: bool = True
    terms: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    target: str = "classes"
    centre: float = 0.0
    spread: float = 1.0
    notes: tuple[str, ...] = ()


IMAGES = Inputs()


@dataclass(frozen=True)
class Design:
    """A network of dense layers: the widths of its hidden layers, their activation, the loss, what keeps it in check.

    `dropout` is the share of hidden units that a step leaves out; `l1` and `l2` weigh the penalties on the weights.
    """

    hidden: tuple[int, ...] = (512,)
    activation: str = "relu"
    loss: str = "categorical_cross_entropy"
    dropout: float = 0.0
    batch_norm: bool = False
    l1: float = 0.0
    l2: float = 0.0
    inputs: Inputs = IMAGES

    def check(self) -> None:
        """Raises: SettingError for a share or a weight out of range."""
        if not 0 <= self.dropout < 1:
            raise SettingError(say("interfaces.bad_share", name="--dropout", came=self.dropout))
        for name, value in (("--l1", self.l1), ("--l2", self.l2)):
            if not 0 <= value < 1e6:
                raise SettingError(say("interfaces.bad_weight", name=name, came=value))


def parse_widths(text: str) -> tuple[int, ...]:
    """ "512" or "256,128"; "0" is a network without a hidden layer. Raises: SettingError.

    >>> parse_widths("256,128"), parse_widths("0")
    ((256, 128), ())
    """
    pieces = [piece.strip() for piece in text.split(",")]
    if pieces == ["0"]:
        return ()
    good = all(re.fullmatch("[0-9]{1,9}", p) and 1 <= int(p) <= MAX_WIDTH for p in pieces)
    if not good or len(pieces) > MAX_LAYERS:
        raise SettingError(say("interfaces.bad_hidden", came=text, limit=MAX_WIDTH))
    return tuple(int(p) for p in pieces)


def network_text(design: Design) -> str:
    """The formulas of a network of dense layers that reads x[i] and tells classes k apart.

    Raises: SettingError for an activation or a loss that is not in the library.
    Example:
    >>> print(network_text(Design(hidden=(30,), activation="tanh")))
    # 30 tanh, softmax; categorical_cross_entropy.
    size      j = 30
    input     x[i]
    target    t[k], sum[k](t[k]) = 1
    parameter W1[i, j], W2[j, k] = glorot_uniform
    parameter b1[j], b2[k] = zeros
    <BLANKLINE>
    h[j] = tanh(sum[i](x[i] * W1[i, j]) + b1[j])
    p[k] = softmax[k](sum[j](h[j] * W2[j, k]) + b2[k])
    E = -sum[k](t[k]*log(p[k]))
    <BLANKLINE>
    """
    design.check()
    activation, loss = find(ACTIVATIONS, design.activation), find(LOSSES, design.loss)
    inputs = design.inputs
    last = find(ACTIVATIONS, _output(loss, inputs.target))
    layers = _layers(len(design.hidden), inputs)
    widths = [f"{layer.index} = {width}" for layer, width in zip(layers, design.hidden, strict=False)]
    title = ", ".join([*(f"{width} {activation.name}" for width in design.hidden), last.name])
    target, end = _end(loss, last, layers[-1], inputs)
    hidden = [line for layer in layers[:-1] for line in _hidden(layer, activation, design)]
    states = [line for line in hidden if line.split(" ", 1)[0] in ("parameter", "random", "state")]
    biases = [layer.bias for layer in layers if not design.batch_norm or layer is layers[-1]]
    weights = [layer.weight for layer in layers if layer.has_weight]
    lines = [
        *(f"# {note}" for note in inputs.notes),
        f"# {title}; {loss.name}.",
        *([f"size      {', '.join([*widths, *inputs.sizes])}"] if widths or inputs.sizes else []),
        *inputs.lines,
        target,
        *([f"parameter {', '.join(weights)} = glorot_uniform"] if weights else []),
        *([f"parameter {', '.join(layers[0].tables)} = {_tables_begin(design)}"] if inputs.tables else []),
        f"parameter {', '.join(biases)} = zeros",
        *states,
        *(f"{name} = {value!r}" for name, value in loss.defaults.items()),
        *(f"{name} = {value!r}" for name, value in (("l1", design.l1), ("l2", design.l2)) if value),
        "",
        *inputs.equations,
        *(line for line in hidden if line not in states),
        *end[:-1],
        end[-1] + _penalty(weights + layers[0].tables, design),
    ]
    return "\n".join(lines) + "\n"


def _output(loss: Loss, target: str) -> str:
    """The activation of the output. A number on the whole line wants none, unless its loss wants positive ones.

    Raises: SettingError for a number with a loss that compares probabilities.
    """
    name = OUTPUT_ACTIVATIONS.get(loss.name, DEFAULT_OUTPUT)
    if target == "number" and name in PROBABILITIES:
        if loss.name not in OF_NUMBERS:
            raise SettingError(say("interfaces.loss_of_classes", name=loss.name))
        return DEFAULT_OUTPUT
    return name


def fits_one_output(loss: str) -> bool:
    """Whether a loss can tell two classes apart by one probability."""
    row = find(LOSSES, loss)
    sigmoid = OUTPUT_ACTIVATIONS.get(row.name) == "sigmoid"
    return sigmoid and row.target == "target t[k]" and row.name not in OVERLAPS


def _tables_begin(design: Design) -> str:
    """What the rows of categories begin with: beside numbers nothing, so that an unknown word adds nothing.

    Where nothing else goes in, units that are all the same would stay so, and relu units at 0 would learn nothing.
    """
    return "zeros" if design.inputs.numbers or not design.hidden else "glorot_uniform"


@dataclass(frozen=True)
class _Layer:
    """A dense layer: output[index] = f(Σ_from source[from]·W[from, index] + b[index])."""

    mark: str
    source: str
    source_index: str
    output: str
    index: str  # empty for a single output
    terms: tuple[str, ...] = ()
    table_names: tuple[str, ...] = ()
    has_weight: bool = True

    def slots(self, *before: str) -> str:
        """[i, j], or nothing for a scalar."""
        slots = [*before, *([self.index] if self.index else [])]
        return f"[{', '.join(slots)}]" if slots else ""

    @property
    def weight(self) -> str:
        return f"W{self.mark}{self.slots(self.source_index)}"

    @property
    def tables(self) -> list[str]:
        return [self._filled(table) for table in self.table_names]

    def _filled(self, text: str) -> str:
        return text.replace("{unit}", self.index) if self.index else text.replace(", {unit}", "")

    @property
    def bias(self) -> str:
        return f"b{self.mark}{self.slots()}"

    def sums(self, *, bias: bool = True) -> str:
        product = f"sum[{self.source_index}]({self.source}[{self.source_index}] * {self.weight})"
        terms = [*([product] if self.has_weight else []), *map(self._filled, self.terms)]
        return " + ".join([*terms, *([self.bias] if bias else [])])

    def applied(self, activation: Activation, to: str) -> str:
        along = f"[{self.index}]" if activation.index else ""
        return to if activation.name == "linear" else f"{activation.name}{along}({to})"


def _layers(hidden: int, inputs: Inputs) -> list[_Layer]:
    """h[j], then p[k]; h1[j1], h2[j2], … where there are several hidden layers; no numbers on one layer alone."""
    names = [("x", "i")]
    names += [(f"h{n}", f"j{n}") if hidden > 1 else ("h", "j") for n in range(1, hidden + 1)]
    names.append(("p", "k" if inputs.target == "classes" else ""))
    layers = [
        _Layer(str(n + 1) if hidden else "", *before, *after)
        for n, (before, after) in enumerate(zip(names, names[1:], strict=False))
    ]
    first = replace(layers[0], terms=inputs.terms, table_names=inputs.tables, has_weight=inputs.numbers)
    return [first, *layers[1:]]


def _hidden(layer: _Layer, activation: Activation, design: Design) -> list[str]:
    """The lines of a hidden layer: its sums, normalized over the batch where wanted, its activation, its dropout."""
    n, j, at = layer.mark, layer.index, layer.slots()
    lines = []
    sums = layer.sums(bias=not design.batch_norm)
    if design.batch_norm:
        lines += [
            f"parameter gamma{n}{at} = ones",
            f"parameter beta{n}{at} = zeros",
            f"state mean{n}{at} = zeros",
            f"state var{n}{at} = ones",
            f"a{n}{at} = {sums}",
            f"m{n}{at} = mean[n](a{n}[n, {j}])",
            f"s{n}{at} = mean[n]((a{n}[n, {j}] - m{n}[{j}])**2)",
            f"mean{n}{at} <- {NORM_MOMENTUM}*mean{n}{at} + {1 - NORM_MOMENTUM:.3g}*m{n}{at}",
            f"var{n}{at} <- {NORM_MOMENTUM}*var{n}{at} + {1 - NORM_MOMENTUM:.3g}*s{n}{at}",
            f"prediction m{n}{at} = mean{n}{at}",
            f"prediction s{n}{at} = var{n}{at}",
        ]
        sums = f"gamma{n}{at}*(a{n}{at} - m{n}{at})/sqrt(s{n}{at} + {NORM_EPSILON}) + beta{n}{at}"
    output = f"{layer.output}{at}"
    if not design.dropout:
        return [*lines, f"{output} = {layer.applied(activation, sums)}"]
    keep = float(f"{1 - design.dropout:.7g}")
    return [
        *lines,
        f"random r{n}{at} = bernoulli({keep})",
        f"z{n}{at} = {layer.applied(activation, sums)}",
        f"{output} = z{n}{at}*r{n}{at}/{keep}",
        f"prediction {output} = z{n}{at}",
    ]


def _end(loss: Loss, last: Activation, layer: _Layer, inputs: Inputs) -> tuple[str, list[str]]:
    """The line that declares the target; and the equations of the output and of E, the last one."""
    if inputs.target != "classes":
        return "target    t", _scalar_end(loss, last, layer, inputs)
    output = f"{layer.output}{layer.slots()} = {layer.applied(last, layer.sums())}"
    if "t[k]**2 = 1" in loss.target:
        # Targets of -1 and 1, where data sets have class numbers: the formulas say how one becomes the other.
        return "label     y in k", ["t[k] = 2*[k == y] - 1", output, loss.formula]
    keyword, rest = loss.target.split(" ", 1)
    return f"{keyword:<9} {rest}", [output, loss.formula]


def _scalar_end(loss: Loss, last: Activation, layer: _Layer, inputs: Inputs) -> list[str]:
    """For one output: the loss of a vector, without its index."""
    if loss.target != "target t[k]":
        raise SettingError(say("interfaces.loss_of_classes", name=loss.name))
    text = re.sub(r"\b(?:sum|mean)\[k\]", "", loss.formula).replace("[k]", "")
    scaled = (inputs.centre, inputs.spread) != (0.0, 1.0) and last.name == DEFAULT_OUTPUT
    if not scaled:
        return [f"p = {layer.applied(last, layer.sums())}", text]
    swap = {"t": "u", "p": "q"}
    text = re.sub(r"\b[tp]\b", lambda m: swap[m[0]], text)
    centre, spread = inputs.centre, inputs.spread
    return [
        f"u = (t - {centre!r})/{spread!r}" if centre >= 0 else f"u = (t + {-centre!r})/{spread!r}",
        f"q = {layer.sums()}",
        f"p = {centre!r} + {spread!r}*q",
        "output p",
        text,
    ]


def _penalty(weights: Sequence[str], design: Design) -> str:
    """What is added to E: l1 times the absolute values, l2 times the squares, of weights and not of biases."""
    added = ""
    for name, value, term in (("l1", design.l1, "abs({w})"), ("l2", design.l2, "{w}**2")):
        if value:
            sums = [f"sum{w[w.index('[') :]}({term.format(w=w)})" for w in weights]
            added += f" + {name}*({' + '.join(sums)})" if len(sums) > 1 else f" + {name}*{sums[0]}"
    return added
