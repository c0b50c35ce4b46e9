"""The formulas of a multi-layer perceptron as scikit-learn means it: layers, loss, penalty, weights of the samples.

The text is the same for all sizes, rates, penalties and seeds, which are arguments of the compiled step: a grid search
compiles once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from chainrule.errors import SettingError
from chainrule.formula.parse import parse_system
from chainrule.interfaces.build import DEFAULT_OUTPUT, OUTPUT_ACTIVATIONS, fits_one_output
from chainrule.library import ACTIVATIONS, LOSSES, find
from chainrule.library.rows import Loss
from chainrule.messages import say
from chainrule.training.vocabulary import vocabulary

# What scikit-learn calls rows of the library, where the library's row of that name is another formula.
LOSS_NAMES = {"squared_error": "half_squared_error", "log_loss": "log_loss", "poisson": "kl_of_counts"}
# Poisson's deviance with its constant, so that a perfect prediction has the loss 0 (scikit-learn reports it so).
DEVIANCE = "E = sum[k](t[k]*log(t[k]/p[k]) - t[k] + p[k])"
OUTPUT_NAMES = {"sigmoid": "logistic", "linear": "identity", "exponential": "exp"}
"""Our names of outputs → scikit-learn's, for the attribute out_activation_."""

PENALTY = "l2"  # the hyper-parameter that scikit-learn calls alpha; some activations have an alpha of their own
KEEP = "keep"  # the share of units that dropout leaves
WEIGHT = "s"  # the weight of a sample
LOSS = "sample_loss"


@dataclass(frozen=True)
class Design:
    """What decides on the text: the number of hidden layers, and formulas."""

    hidden: int
    activation: str
    output: str
    loss: str
    dropout: bool = False


def network_text(design: Design) -> str:
    """The formulas of a network that reads x[i] and t[k], where every sample counts by its weight s.

    Raises: SettingError for an activation or a loss that is not in the library and no formula.
    Example:
    >>> print(network_text(Design(1, "relu", "sigmoid", "log_loss")))
    input     x[i]
    target    t[k], s
    parameter W1[i, j1], W2[j1, k] = glorot_uniform
    parameter b1[j1], b2[k] = zeros
    h1[j1] = relu(sum[i](x[i]*W1[i, j1]) + b1[j1])
    p[k] = sigmoid(sum[j1](h1[j1]*W2[j1, k]) + b2[k])
    sample_loss = -sum[k](t[k]*log(p[k]) + (1 - t[k])*log(1 - p[k]))
    penalty = l2/2*(sum[i, j1](W1[i, j1]**2) + sum[j1, k](W2[j1, k]**2))/sum[n](s)
    E = sum[n](s*sample_loss)/sum[n](s) + penalty
    output p
    """
    names, definitions = activation(design.activation)
    loss = loss_row(design.loss, design.output)
    indices = ["i", *(f"j{n}" for n in range(1, design.hidden + 1)), "k"]
    sources = ["x", *(f"h{n}" for n in range(1, design.hidden + 1))]
    weights = [f"W{n + 1}[{a}, {b}]" for n, (a, b) in enumerate(zip(indices, indices[1:], strict=False))]
    biases = [f"b{n + 1}[{b}]" for n, b in enumerate(indices[1:])]
    target, extra = _target(loss)
    lines = [
        "input     x[i]",
        target,
        f"parameter {', '.join(weights)} = glorot_uniform",
        f"parameter {', '.join(biases)} = zeros",
        *definitions,
        *(f"{name} = {value!r}" for name, value in loss.defaults.items()),
        *extra,
    ]
    for n, source in enumerate(sources):
        last = n == design.hidden
        before, after = indices[n], indices[n + 1]
        a = f"sum[{before}]({source}[{before}]*{weights[n]}) + {biases[n]}"
        if last:
            lines.append(f"p[k] = {applied(design.output, 'k', a)}")
        elif design.dropout:
            kept, unit = f"d{n + 1}[{after}]", f"h{n + 1}[{after}]"
            lines += [
                f"random m{n + 1}[{after}] = bernoulli({KEEP})",
                f"{kept} = {applied(names, after, a)}",
                f"{unit} = {kept}*m{n + 1}[{after}]/{KEEP}",
                f"prediction {unit} = {kept}",
            ]
        else:
            lines.append(f"h{n + 1}[{after}] = {applied(names, after, a)}")
    slots = [re.findall(r"\[(.*)\]", w)[0] for w in weights]
    squares = " + ".join(f"sum[{s}]({w}**2)" for w, s in zip(weights, slots, strict=True))
    lines += [
        *_sample_loss(loss.formula),
        f"penalty = {PENALTY}/2*({squares})/sum[n]({WEIGHT})",
        f"E = sum[n]({WEIGHT}*{LOSS})/sum[n]({WEIGHT}) + penalty",
        "output p",
    ]
    return "\n".join(lines)


def activation(given: str) -> tuple[str, list[str]]:
    """(name to call, lines that define it): a row's name, an expression in a, or "f(a) = …"."""
    if re.fullmatch(r"[A-Za-z_][\w\- ]*", given) and given != "a":
        return find(ACTIVATIONS, given).name, []
    lines = [line for line in given.splitlines() if line.strip()]
    found = re.match(r"\s*([^\W\d]\w*)\s*\(\s*\w+\s*\)\s*=", lines[-1]) if lines else None
    if found:
        return found[1], lines
    if not re.search(r"\ba\b", given):
        raise SettingError(say("sklearn.activation_formula", came=given))
    return "activation", [f"activation(a) = {given}"]


def applied(name: str, index: str, argument: str) -> str:
    row = ACTIVATIONS.get(name)
    if row is not None and row.name == "linear":
        return argument
    return f"{name}[{index}]({argument})" if row is not None and row.index is not None else f"{name}({argument})"


def loss_row(loss: str, output: str) -> Loss:
    """The row of a loss that scikit-learn or the library names, or of a formula "E = …" of one sample.

    Raises: SettingError for an unknown name.
    """
    name = LOSS_NAMES.get(loss, loss)
    if name == "kl_of_counts":
        return Loss("poisson", DEVIANCE, source="McCullagh & Nelder, 1989, Generalized Linear Models, chapter 6")
    if name == "log_loss":
        name = "categorical_cross_entropy" if output == "softmax" else "binary_cross_entropy"
    if is_formula(name):
        return Loss("formula", name, source="")
    return find(LOSSES, name)


def is_formula(text: str) -> bool:
    """Whether a loss or an activation is a formula, and no name.

    >>> is_formula("E = (t - p)**2"), is_formula("log_loss")
    (True, False)
    """
    return not re.fullmatch(r"[A-Za-z][\w\- ]*", text)


def natural_output(loss: str, kind: str) -> str:
    """What makes predictions of the last sums: `kind` is "binary", "multilabel", "multiclass" or "numbers".

    Raises: SettingError for a loss that is not in the library, or that is for one class of several and not for labels.
    Example:
    >>> natural_output("log_loss", "multiclass"), natural_output("poisson", "numbers")
    ('softmax', 'exponential')
    """
    classes = "softmax" if kind == "multiclass" else "sigmoid"
    if loss == "poisson":
        return "exponential"
    if kind == "numbers":
        found = "linear" if loss in LOSS_NAMES or is_formula(loss) else _natural(loss)
        # The textbooks' digit readers pass squared errors through a sigmoid; a number to predict may be any.
        return "linear" if "squared" in loss and found == "sigmoid" else found
    if loss == "log_loss" or is_formula(loss):
        return classes
    target = find(LOSSES, LOSS_NAMES.get(loss, loss)).target
    if kind == "multilabel" and (target.startswith("label") or "= 1" in target.replace("t[k]**2 = 1", "")):
        raise SettingError(say("sklearn.one_class_of_several", came=loss))
    return _natural(loss)


def has_one_column(loss: str) -> bool:
    """Whether two classes share one output: by its sign, or by the probability of the second. Others have two.

    Raises: SettingError for a loss that is not in the library.
    Example:
    >>> has_one_column("log_loss"), has_one_column("hinge"), has_one_column("huber")
    (True, True, False)
    """
    if loss == "log_loss":
        return True
    # A formula may want probabilities that add up to 1: one alone would teach nothing by -sum[k](t[k]*log(p[k])).
    if is_formula(loss) or loss == "poisson":
        return False
    return fits_one_output(LOSS_NAMES.get(loss, loss)) or has_sign(loss)


def has_sign(loss: str) -> bool:
    """Whether a loss compares with the sign of the output, and 0 lies between the classes.

    >>> has_sign("hinge"), has_sign("binary_cross_entropy_from_logits"), has_sign("mean_absolute_error")
    (True, True, False)
    """
    if is_formula(loss) or loss in LOSS_NAMES:
        return False
    row = find(LOSSES, loss)
    return "t[k]**2 = 1" in row.target or (row.target == "target t[k]" and row.name.endswith("from_logits"))


def _natural(loss: str) -> str:
    return OUTPUT_ACTIVATIONS.get(find(LOSSES, LOSS_NAMES.get(loss, loss)).name, DEFAULT_OUTPUT)


def _target(loss: Loss) -> tuple[str, list[str]]:
    """The line that declares the targets, and equations that make of one-hot rows what the loss compares with."""
    if loss.target.startswith("label"):
        return "label     y in k\ntarget    s", []
    if "t[k]**2 = 1" in loss.target:
        return "target    u[k], s", ["t[k] = 2*u[k] - 1"]
    facts = loss.target.split(",", 1)[1:]
    return f"target    t[k], {WEIGHT}{''.join(',' + f for f in facts)}", []


def _sample_loss(formula: str) -> list[str]:
    """The lines of a loss, with the name of one sample's in place of E."""
    lines = [line for line in formula.splitlines() if line.strip()]
    if not re.match(r"\s*E\s*=", lines[-1] if lines else ""):
        if len(lines) != 1 or "=" in lines[0].replace("==", "").replace("<=", "").replace(">=", ""):
            raise SettingError(say("sklearn.loss_formula", came=formula))
        lines = [f"E = {lines[0]}"]
    return [*lines[:-1], re.sub(r"^\s*E\s*=", f"{LOSS} =", lines[-1])]


@cache
def target_name(text: str) -> str:
    """The tensor that takes the targets: t, u (0 and 1 where the loss wants -1 and 1) or y (class numbers)."""
    system = parse_system(text, vocabulary())
    return next(t.name for t in system.of_role("target", "label") if t.name != WEIGHT)
