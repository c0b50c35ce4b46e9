"""Make the pictures of the README from what chainrule itself derives and trains: python docs/make_pictures.py

derivation.png   a network as it is typed, its backward pass, and the steps that lead to one delta
curves.png       the curves of `make train`, as its run folder has them
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
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


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    draw_derivation(PICTURES / "derivation.png")
    draw_curves(PICTURES / "curves.png")
