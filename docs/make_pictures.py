"""Make the pictures of the documentation from what chainrule itself derives and trains: python docs/make_pictures.py

Without arguments all of them; with names, such as `flow network`, only these.

derivation.png   a network as it is typed, its backward pass, and the steps that lead to one delta
curves.png       the curves of `make train`, as its run folder has them

and the gallery of docs/pictures.md:

flow.gif         the forward pass, the backward pass and the update of a small network
network.svg      784-30-10 with a digit in it
weights.png      what its hidden units look for
loss_plane.png   the loss around the path of its training
boundary.png     the decision of a network that learns XOR
descent.png      a local minimum, without and with momentum
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import chainrule as cr
from chainrule.formula.typeset import Latex
from chainrule.interfaces.cli import main

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
NETWORK = ROOT / "examples" / "digits.formula"
INK, RULE_NAME, HEADING, LINE = "#1c2430", "#8a5a00", "#1f5fa8", "#d5d9e0"
LINE_INCHES = 0.34
RIGHT = 0.58  # where the right column begins


def draw_derivation(path: Path) -> None:
    """Typed formulas on the left, the derived backward pass on the right, the steps of one adjoint below."""
    from matplotlib.figure import Figure

    derivation = cr.formula(NETWORK).derivation
    latex = Latex(derivation.system.samples, derivation.system.tensors)
    typed = [line for line in NETWORK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    backward = [" ".join(latex.sides(equation)) for equation in derivation.backward]
    left, steps = proof(derivation.adjoint("a_p"), latex)
    steps = [(f"{left if number == 0 else ''} = {text}", rule) for number, (text, rule) in enumerate(steps)]
    right_lines, step_lines = line_places(backward), line_places([text for text, _ in steps])
    top = max(1.2 * len(typed), right_lines[-1]) + 1.5
    height = LINE_INCHES * (top + step_lines[-1] + 2)
    figure = Figure(figsize=(12, height), dpi=130)

    def write(column: float, line: float, text: str, **style: Any) -> None:
        style = {"color": INK, "fontsize": 13, "va": "center", **style}
        figure.text(column, 1 - (line + 1) * LINE_INCHES / height, text.replace(r"\frac", r"\dfrac"), **style)

    def heading(column: float, line: float, text: str) -> None:
        write(column, line, text, color=HEADING, fontsize=12, fontweight="bold")

    heading(0.02, 0, "What you write")
    heading(RIGHT, 0, "The backward pass that chainrule derives")
    for number, text in enumerate(typed):
        write(0.02, 1.2 * number + 1.3, text, family="monospace", fontsize=11)
    for line, text in zip(right_lines, backward, strict=True):
        write(RIGHT, line, f"${text}$")
    figure.add_artist(line_across(1 - (top + 0.4) * LINE_INCHES / height))
    heading(0.02, top, "How the first of them comes about, every rule named")
    for line, (text, rule) in zip(step_lines, steps, strict=True):
        write(0.02, top + line, f"${text}$")
        write(RIGHT, top + line, rule, color=RULE_NAME, fontsize=11)
    figure.savefig(path, facecolor="white")


def line_places(formulas: Sequence[str]) -> list[float]:
    """Where the middle of each line is, below a heading: fractions are taller."""
    places, bottom = [], 0.5
    for formula in formulas:
        height = 1.8 if "frac" in formula else 1.3
        places.append(bottom + height / 2)
        bottom += height
    return places


def proof(adjoint: Any, latex: Latex) -> tuple[str, list[tuple[str, str]]]:
    """The left side, and after each step of the adjoint what it is equal to, with the rule's name.

    A local derivative and the product with it are side calculations: they are named where their result is put in.
    """
    steps: list[tuple[str, str]] = []
    aside: list[str] = []
    for step in adjoint.steps:
        if step.rule in ("local derivative", "multiply"):
            aside.append(step.rule)
            continue
        steps.append((latex.text(step.after), ", ".join([*aside, step.rule])))
        aside = []
    return latex.text(adjoint.equation.target), steps


def line_across(height: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([0.02, 0.98], [height, height], color=LINE, linewidth=1)


def draw_curves(path: Path, options: Sequence[str] = ()) -> None:
    """Train as `make train` does, and keep the picture of its run folder."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "digits"
        code = main(["train", "mnist", "--network", str(NETWORK), "--out", str(run), "--lang", "en", *options])
        if code == 0:
            shutil.copy(run / "curves.png", path)


# --- the gallery ------------------------------------------------------------------------------------------------------

BITS, ODD = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
XOR_SEED = 1
WELLS = "x**4/4 - x**3/3 - x**2 + 0.5*x"


@cache
def digit_reader() -> tuple[cr.Network, cr.pictures.WeightPath, Any]:
    """784-30-10 after twenty epochs of 5,000 digits, the path that it took, and the digits that it did not see."""
    data = cr.datasets.mnist()
    network = cr.formula(ROOT / "examples" / "mlp.formula", sizes={"i": 784, "k": 10})
    path = cr.pictures.WeightPath(network)
    images, labels = data.train.images[:5000] / 255, data.train.labels[:5000]
    network.fit(images, labels, epochs=20, batch_size=10, learning_rate=1.0, verbose=0, callbacks=[path])
    return network, path, data.test


@cache
def xor_learner() -> cr.Network:
    """Two inputs, three hidden units, one output, after 250 steps."""
    text = (ROOT / "examples" / "xor_hidden.formula").read_text(encoding="utf-8")
    network = cr.formula(text.replace("size      j = 8", "size      j = 3"), seed=XOR_SEED)
    network.fit(BITS, ODD, epochs=250, batch_size=None, learning_rate=0.5, verbose=0, engine="interpreter")
    return network


def draw_flow(path: Path) -> None:
    cr.pictures.flow_gif(xor_learner(), BITS, ODD, path, sample=1, learning_rate=0.5)


def draw_network(path: Path) -> None:
    network, _, test = digit_reader()
    cr.pictures.save(cr.pictures.network_diagram(network, test.images[:1] / 255, test.labels[:1]), path)


def draw_weights(path: Path) -> None:
    cr.pictures.save(cr.pictures.weight_images(digit_reader()[0], "w1"), path)


def draw_loss_plane(path: Path) -> None:
    network, trail, _ = digit_reader()
    train = cr.datasets.mnist().train
    figure = cr.pictures.loss_plane(network, train.images[:500] / 255, train.labels[:500], path=trail)
    cr.pictures.save(figure, path)


def draw_boundary(path: Path) -> None:
    cr.pictures.save(cr.pictures.decision_boundary(xor_learner(), BITS, ODD), path)


def draw_descent(path: Path) -> None:
    rules = ("gradient_descent", "momentum")
    figure = cr.pictures.descent(WELLS, -2, optimizers=rules, learning_rates=0.05, steps=100)
    cr.pictures.save(figure, path)


MAKERS: dict[str, Callable[[Path], None]] = {
    "derivation.png": draw_derivation,
    "curves.png": draw_curves,
    "flow.gif": draw_flow,
    "network.svg": draw_network,
    "weights.png": draw_weights,
    "loss_plane.png": draw_loss_plane,
    "boundary.png": draw_boundary,
    "descent.png": draw_descent,
}


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    cr.set_language("en")
    for name, draw in MAKERS.items():
        if len(sys.argv) == 1 or Path(name).stem in sys.argv[1:]:
            draw(PICTURES / name)
            print(PICTURES / name)
