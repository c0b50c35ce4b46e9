"""What the tests of pages have in common: the systems that have a page, and ways to read one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chainrule.derivation.pages.page import Block, Filled, Fold, Inline, Line, Lines, Page, Table, Text, Value
from chainrule.training.network import Network, formula
from tests.kernels.networks import TEXTS, case

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = ("autoencoder", "digits", "least_squares", "logistic", "mlp", "one_layer", "perceptron_loss", "xor_hidden")
ODD = ("tied", "skip", "two losses", "statistics", "attention", "three indices", "whole batch", "scalars and positions")


def page_systems() -> dict[str, str]:
    """Name → formula text: the systems of the examples, and what else must have a right page."""
    examples = {name: (EXAMPLES / f"{name}.formula").read_text(encoding="utf-8") for name in FILES}
    odd = {name: TEXTS[name].replace("SIZE_j", "3").replace("SIZE_i", "4") for name in ODD}
    return {**examples, **odd, "own activation": OWN_ACTIVATION}


# An activation of the user's own, with a trainable parameter.
OWN_ACTIVATION = """
input x[i]
target t[k]
parameter W[i, j], V[j, k] = glorot_uniform
parameter beta = 1
f(a) = a/(1 + exp(-beta*a))
h[j] = f(sum[i](x[i]*W[i, j]))
y[k] = sum[j](h[j]*V[j, k])
E = 1/2*sum[k]((y[k] - t[k])**2)
"""


def deep(layers: int, activation: str = "tanh") -> str:
    """A network of so many layers that are alike, with softmax and cross entropy."""
    inner = range(1, layers)
    lines = [f"size i{n} = 3" for n in inner]
    lines += ["size i0 = 4", "size k = 3", "input x[i0]", "target t[k], sum[k](t[k]) = 1"]
    for n in inner:
        lines.append(f"parameter W{n}[i{n - 1}, i{n}], b{n}[i{n}] = uniform(-1, 1)")
    lines.append(f"parameter W{layers}[i{layers - 1}, k], b{layers}[k] = uniform(-1, 1)")
    for n in inner:
        below = "x" if n == 1 else f"h{n - 1}"
        product = f"sum[i{n - 1}]({below}[i{n - 1}]*W{n}[i{n - 1}, i{n}])"
        lines.append(f"h{n}[i{n}] = {activation}({product} + b{n}[i{n}])")
    last = layers - 1
    lines.append(f"p[k] = softmax[k](sum[i{last}](h{last}[i{last}]*W{layers}[i{last}, k]) + b{layers}[k])")
    return "\n".join([*lines, "E = -sum[k](t[k]*log(p[k]))"])


def odd_case(name: str, rows: int = 3) -> tuple[Network, dict[str, np.ndarray]]:
    """A network with data, float64."""
    drawn = case(name, {"i": 4, "j": 3, "k": 2, "l": 3, "c": 2, "d": 2}, rows)
    return drawn.network("float64"), drawn.data


def every_line(page: Page) -> Iterator[Line]:
    """Each line, those of folds too."""
    yield from _lines(page.blocks)


def _lines(blocks: tuple[Block, ...]) -> Iterator[Line]:
    for block in blocks:
        if isinstance(block, Lines):
            yield from block.lines
        elif isinstance(block, Fold):
            yield from _lines(block.blocks)


def filled_lines(page: Page) -> Iterator[tuple[Filled, float]]:
    """Each formula with numbers in it, and the number that the page says it comes to."""
    for line in every_line(page):
        match line.right:
            case (Filled() as filled, _, Value(number)):
                yield filled, number


def words(inline: Inline) -> str:
    """The words of a line, without its formulas."""
    return "".join(p for p in inline if isinstance(p, str))


def texts(page: Page) -> list[str]:
    """The words of all paragraphs and tables."""
    found = [words(b.text) for b in page.blocks if isinstance(b, Text)]
    found += [words(c) for b in page.blocks if isinstance(b, Table) for row in (b.header, *b.rows) for c in row]
    return found


def network(text: str) -> Network:
    return formula(text, dtype="float64")
