"""Program → the lines of a function that predicts, in NumPy: the forward pass with the formulas beside it.

Beside what write.py prints, a sum over a class number is the row that it reads: T[c].
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chainrule.errors import FormulaError, SettingError
from chainrule.formula.expr import Element, Reduction, Where, tensors, walk
from chainrule.formula.lookup import pins, without
from chainrule.formula.system import Tensor
from chainrule.formula.text import ATOM
from chainrule.messages import say
from chainrule.program.helpers import HELPERS, SILENCE
from chainrule.program.instructions import Program
from chainrule.program.numpy_lines import Lines
from chainrule.program.numpy_text import NumpyPrinter


@dataclass(frozen=True)
class PredictorText:
    """`body` are the lines from the inputs to `output`; `inputs` and `kept` the tensors that they read, each with
    Python's name; `head` the helpers and constants that stand before the function.
    """

    body: tuple[str, ...]
    inputs: tuple[tuple[str, Tensor], ...]
    kept: tuple[tuple[str, Tensor], ...]
    output: str
    head: tuple[str, ...]
    float: str


def predictor_text(program: Program, sizes: Mapping[str, int], hyper: Mapping[str, float], dtype: str) -> PredictorText:
    """The lines of a prediction. Raises: SettingError for a hyper-parameter without a value; ShapeError."""
    told = _Lines(program, sizes, dtype)
    names = told.names.of
    body = told.paragraph(told.ahead)
    read = {n for line in told.ahead for n in tensors(line.value)}
    inputs = tuple((names[t.name], t) for t in program.inputs if t.name in read)
    kept = tuple((names[t.name], t) for t in program.kept if t.name in read)
    text = "\n".join(body)
    rows = names.get(f"size {program.samples}")
    if rows and re.search(rf"\b{rows}\b", text):
        first = next((name for name, t in inputs if program.samples in t.indices), None)
        if first is None:
            raise FormulaError(say("formula.no_input_read", name=str(program.output)))
        body = [f"{rows} = len({first})", *body]
    head = [SILENCE] if any(isinstance(n, Where) for line in told.ahead for n in walk(line.value)) else []
    constants = [
        f"{names[f'size {i}']} = {sizes[i]}"
        for i in sizes
        if f"size {i}" in names and re.search(rf"\b{told.size(i)}\b", text)
    ]
    for name in program.hyper:
        if name not in hyper:
            raise SettingError(say("formula.hyper_unknown", name=name))
        constants.append(f"{names[f'hyper {name}']} = {hyper[name]!r}")
    head += ["\n".join(constants)] if constants else []
    helpers = [code for name, code in HELPERS.items() if re.search(rf"\b{name}\(", text)]
    head += [code.replace("FLOAT", told.printer.float) for code in helpers]
    return PredictorText(tuple(body), inputs, kept, names[str(program.output)], tuple(head), told.printer.float)


class _Lines(Lines):
    def printer_of(self, labels: Sequence[str], dtype: str) -> NumpyPrinter:
        return _Printer(self.program.tensors, self, labels, dtype)


class _Printer(NumpyPrinter):
    def __init__(self, known: Mapping[str, Tensor], lines: Lines, labels: Sequence[str], dtype: str):
        super().__init__(lines.names.of, lines.size, labels, dtype)
        self.known = known

    def _contraction(self, expr: Reduction) -> tuple[str, int] | None:
        """T[c] where the sum is the row that a class number says."""
        found = [p for p in pins(expr.body, self.known) if expr.indices == (p.index,)]
        rest = without(expr.body, found)
        if expr.kind == "sum" and len(found) == 1 and isinstance(rest, Element):
            number = found[0].number
            first, *others = rest.slots
            axes = (*number.slots, *others)
            if first == found[0].index and axes == self._kept(expr) and len(set(axes)) == len(axes):
                return f"{self.names[rest.tensor]}[{self.names[number.tensor]}]", ATOM
        return super()._contraction(expr)
