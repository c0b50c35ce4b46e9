"""A layer of one's own: formulas in x and y, from a text or a file.

>>> layer = Formula('''
... size      j = 3
... parameter W[i, j] = glorot_uniform
... swish(a) = a / (1 + exp(-a))
... y[j] = swish(sum[i](x[i]*W[i, j]))
... ''')
>>> layer.compute_output_shape((None, 5))
(None, 3)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainrule.errors import SettingError
from chainrule.formula.system import System
from chainrule.interfaces.keras.graph import Layer
from chainrule.interfaces.keras.writer import Form, closing
from chainrule.messages import say

DROPPED = re.compile(r"(size|input|output)\s")


class Formula(Layer):
    """The user's own layer. x is the input (x[i], x[l, i], …), y the output; the size of an index is the input's, or
    stands in a `size` line. It is derived, compiled and saved as every other layer is.

    Raises: FormulaError where the text does not read; SettingError without an equation of y.
    """

    def __init__(self, formula: str | Path, **kwargs: Any):
        super().__init__(**kwargs)
        from chainrule.training.network import _looks_like_formulas, read_formula_file

        text = str(formula)
        if isinstance(formula, Path) or not _looks_like_formulas(text):
            text = read_formula_file(Path(formula))
        self._arguments = {**self._arguments, "formula": text}
        found = re.search(r"(?<![\w.])x\s*(\[[^\[\]]*\])?", text)
        if found is None:
            raise SettingError(say("keras.formula_input", layer=self.name))
        self.slots = "x" + (found[1] or "")
        self.lines = _one_declaration_a_line(text)
        self.system = self._read(text)

    def _read(self, text: str) -> System:
        from chainrule.formula.parse import parse_system
        from chainrule.training.vocabulary import vocabulary

        declared = re.search(r"^\s*input\s", text, re.M) is not None
        system = parse_system(text if declared else f"{text}\ninput {self.slots}", vocabulary())
        if system.equation_of("y") is None or system.of_role("target", "label"):
            raise SettingError(say("keras.formula_output", layer=self.name))
        return system

    @property
    def _input(self) -> tuple[str, ...]:
        return tuple(i for i in self.system.tensors["x"].indices if i != self.system.samples)

    @property
    def _output(self) -> tuple[str, ...]:
        return tuple(i for i in self.system.tensors["y"].indices if i != self.system.samples)

    def _sizes(self, shape: Sequence[int]) -> dict[str, int]:
        from chainrule.formula.shapes import Sizes

        if len(shape) != len(self._input):
            raise SettingError(say("keras.wrong_rank", layer=self.name, came=len(shape), wanted=self.slots))
        sizes = Sizes(self.system)
        for index, size in zip(self._input, shape, strict=True):
            sizes.learn(index, size, say("keras.from_input"))
        return dict(sizes.require())

    def compute_output_shape(self, input_shape: Any) -> Any:
        sizes = self._sizes(tuple(input_shape[1:]))
        return (input_shape[0], *(sizes[i] for i in self._output))

    def new_indices(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, tuple[int, str]]:
        """Every index that is not the input's."""
        return {i: (size, i) for i, size in self._sizes(shapes[0]).items() if i not in self._input}

    def form(self, shapes: Sequence[tuple[int, ...]]) -> Form:
        text = "\n".join(self.lines)
        output = f"y[{', '.join(self._output)}]"
        return Form(text, f"x[{', '.join(self._input)}]", output, {"y": "h"})


def _one_declaration_a_line(text: str) -> list[str]:
    """`parameter W[i, j], b[j] = zeros` as two lines, without comments and what the model itself says."""
    lines: list[str] = []
    for raw in _joined(text):
        line = raw.split("#", 1)[0].strip()
        if not line or DROPPED.match(line):
            continue
        keyword = re.match(r"(parameter|state)\s+", line)
        if keyword is None:
            lines.append(line)
            continue
        left, _, right = line[keyword.end() :].partition("=")
        for piece in re.split(r",(?![^\[]*\])", left):
            lines.append(f"{keyword[1]} {piece.strip()} = {right.strip() or 'zeros'}")
    return lines


def _joined(text: str) -> list[str]:
    """Lines, with those that stand within brackets put together."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and _open(lines[-1]):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines


def _open(line: str) -> bool:
    code = line.split("#", 1)[0]
    return any(sign in "([" and closing(code, place) == len(code) for place, sign in enumerate(code))
