"""Formula texts made for the user: a network from rows of the library, and pixels scaled to 0-1.

Both are text → text: what is trained is what the run folder's network.formula shows, and what the model file holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chainrule.errors import SettingError
from chainrule.formula.expr import Element, Reduction, symbols, tensors, walk
from chainrule.formula.parse import parse_system
from chainrule.formula.source import Source
from chainrule.formula.system import System
from chainrule.library import ACTIVATIONS, LOSSES, Activation, Loss, find
from chainrule.messages import say
from chainrule.training.vocabulary import vocabulary

MAX_LAYERS = 100
MAX_WIDTH = 100_000

# What makes a loss's prediction out of the last sums. Softmax where the outputs are one distribution over the classes;
# sigmoid where each is a probability of its own, or should lie between 0 and 1 as a one-hot target does (textbooks'
# squared error); softplus where it must be positive; none where the loss is a distance or a margin on the whole line.
OUTPUT_ACTIVATIONS = {
    "categorical_cross_entropy": "softmax",
    "sparse_categorical_cross_entropy": "softmax",
    "kl_divergence": "softmax",
    "binary_cross_entropy": "sigmoid",
    "averaged_binary_cross_entropy": "sigmoid",
    "half_squared_error": "sigmoid",
    "squared_error": "sigmoid",
    "mean_squared_error": "sigmoid",
    "poisson": "softplus",
}
DEFAULT_OUTPUT = "linear"


@dataclass(frozen=True)
class Design:
    """A network of dense layers: the widths of its hidden layers, their activation, and the loss."""

    hidden: tuple[int, ...] = (512,)
    activation: str = "relu"
    loss: str = "categorical_cross_entropy"


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
    activation, loss = find(ACTIVATIONS, design.activation), find(LOSSES, design.loss)
    last = find(ACTIVATIONS, OUTPUT_ACTIVATIONS.get(loss.name, DEFAULT_OUTPUT))
    layers = _layers(len(design.hidden))
    widths = ", ".join(f"{layer.index} = {width}" for layer, width in zip(layers, design.hidden, strict=False))
    title = ", ".join([*(f"{width} {activation.name}" for width in design.hidden), last.name])
    target, definition = _target(loss)
    lines = [
        f"# {title}; {loss.name}.",
        *([f"size      {widths}"] if widths else []),
        "input     x[i]",
        target,
        f"parameter {', '.join(layer.weight for layer in layers)} = glorot_uniform",
        f"parameter {', '.join(layer.bias for layer in layers)} = zeros",
        *(f"{name} = {value!r}" for name, value in loss.defaults.items()),
        "",
        *definition,
        *(layer.equation(activation) for layer in layers[:-1]),
        layers[-1].equation(last),
        loss.formula,
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Layer:
    """A dense layer: output[index] = f(Σ_from source[from]·W[from, index] + b[index])."""

    mark: str
    source: str
    source_index: str
    output: str
    index: str

    @property
    def weight(self) -> str:
        return f"W{self.mark}[{self.source_index}, {self.index}]"

    @property
    def bias(self) -> str:
        return f"b{self.mark}[{self.index}]"

    def equation(self, activation: Activation) -> str:
        sums = f"sum[{self.source_index}]({self.source}[{self.source_index}] * {self.weight}) + {self.bias}"
        along = f"[{self.index}]" if activation.index else ""
        value = sums if activation.name == "linear" else f"{activation.name}{along}({sums})"
        return f"{self.output}[{self.index}] = {value}"


def _layers(hidden: int) -> list[_Layer]:
    """h[j], then p[k]; h1[j1], h2[j2], … where there are several hidden layers; no numbers on one layer alone."""
    names = [("x", "i")]
    names += [(f"h{n}", f"j{n}") if hidden > 1 else ("h", "j") for n in range(1, hidden + 1)]
    names.append(("p", "k"))
    return [
        _Layer(str(n + 1) if hidden else "", *before, *after)
        for n, (before, after) in enumerate(zip(names, names[1:], strict=False))
    ]


def _target(loss: Loss) -> tuple[str, list[str]]:
    """The line that declares what the loss compares with, and equations that make it from class numbers."""
    if "t[k]**2 = 1" in loss.target:
        # Targets of -1 and 1, where data sets have class numbers: the formulas say how one becomes the other.
        return "label     y in k", ["t[k] = 2*[k == y] - 1"]
    keyword, rest = loss.target.split(" ", 1)
    return f"{keyword:<9} {rest}", []


# --- pixels scaled to 0-1 ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scaled:
    """A text whose inputs are pixels from 0 to 255; `names` are the inputs that were changed."""

    text: str
    names: tuple[str, ...]


def with_scaling(text: str, white: int = 255) -> Scaled:
    """Every plain `input x[i]` becomes `input pixels[i]` and `x[i] = pixels[i] / 255`.

    Plain is an input with an index that the text does not itself turn into other numbers first.

    Raises: FormulaError where the text does not read.
    Example:
    >>> print(with_scaling("input x[i]  # an image\\nparameter w[i] = zeros\\ny = sum[i](w[i]*x[i])").text)
    input pixels[i]  # an image
    x[i] = pixels[i] / 255
    parameter w[i] = zeros
    y = sum[i](w[i]*x[i])
    """
    system = parse_system(text, vocabulary())
    wanted = {
        t.name for t in system.of_role("input") if set(t.indices) - {system.samples} and not _prepared(system, t.name)
    }
    source = Source(text)
    taken = set(re.findall(r"[^\W\d]\w*", source.text))
    changes: list[tuple[int, int, str]] = []
    raw: dict[str, str] = {}
    for statement in source.statements():
        start, _ = source.strip((statement.start, statement.end))
        if not re.match(r"input\b", source.text[start:]):
            continue
        added = ""
        for piece in source.split(start + len("input"), statement.end, ","):
            begin, end = source.strip(piece)
            declared = re.fullmatch(r"([^\W\d]\w*)\s*(\[[^\]]*\])", source.text[begin:end])
            if declared and declared[1] in wanted:
                name, slots = declared.groups()
                raw[name] = _free_name("pixels", taken)
                changes.append((begin, begin + len(name), raw[name]))
                added += f"\n{name}{slots} = {raw[name]}{slots} / {white}"
            elif not declared:
                changes += _fact_of_raw(source.text, begin, end, raw, white)
        line_end = text.find("\n", statement.end)
        changes.append((line_end if line_end >= 0 else len(text), 0, added))
    for begin, end, new in sorted(changes, reverse=True):
        text = text[:begin] + new + text[max(begin, end) :]
    return Scaled(text, tuple(raw))


def _fact_of_raw(text: str, begin: int, end: int, raw: dict[str, str], white: int) -> list[tuple[int, int, str]]:
    """A fact that is declared of x[i] holds of pixels[i] / 255: it is checked in the data as they come."""
    return [
        (begin + match.start(), begin + match.end(), f"({raw[match[1]]}{match[2]} / {white})")
        for match in re.finditer(r"([^\W\d]\w*)\s*(\[[^\]]*\])", text[begin:end])
        if match[1] in raw
    ]


def _prepared(system: System, name: str) -> bool:
    """Whether the text itself makes other numbers of this input, as in x[i] = pixels[i]/255, and uses only those."""
    users = [e.value for e in system.equations if name in tensors(e.value)]
    return bool(users) and all(
        set(tensors(value)) == {name}
        and not isinstance(value, Element)
        and not symbols(value)
        and not any(isinstance(node, Reduction) for node in walk(value))
        for value in users
    )


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}{number}", number + 1
    taken.add(candidate)
    return candidate
