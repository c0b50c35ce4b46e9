"""Program → the lines of a printed program: name = value, with the temporaries named or put in where they are used.

An instruction is one expression here, its sum inside it, so that what lowering took apart can stand in one line again.
"""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chainrule.errors import ShapeError
from chainrule.formula.expr import (
    Add,
    Apply,
    Element,
    Expr,
    Reduction,
    Slot,
    base_index,
    elements,
    fresh_name,
    replace_symbols,
    substitute,
    tensors,
    transform,
    walk,
)
from chainrule.messages import say
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Map, Program, Reduce, Update
from chainrule.program.numpy_text import NumpyPrinter

WIDTH = 112  # characters of a line with its comment
SHORT = 84  # of a line into which a temporary was put

# What the printed functions call something of their own. ruff finds l, O and I easy to mistake.
RESERVED = frozenset(
    ["np", "math", "sys", "len", "float", "int", "range", "print", "abs", "max", "min", "rng", "initialize", "forward"]
    + ["predict", "train_step", "train", "parameters", "state", "seed", "step", "steps", "limit", "l", "O", "I"]
    + ["sigmoid", "softplus", "erf", "even", "mix", *keyword.kwlist]
    + ["csv", "datetime", "Path", "WEIGHTS", "NUMBERS", "CATEGORIES", "MISSING", "CLASSES"]
    + ["as_rows", "encode", "number", "category", "read", "write", "main"]
)


@dataclass(frozen=True)
class Line:
    """name = value, over these axes. `formula` is what a reader calls it; a temporary is named by none."""

    name: str
    axes: tuple[str, ...]
    value: Expr
    formula: str
    temporary: bool
    update: bool


@dataclass
class Names:
    """Python's names for what the formulas name; `fixed` are those that another function has given already."""

    fixed: Mapping[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: set(RESERVED))
    of: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.of |= self.fixed
        self.taken |= set(self.fixed.values())

    def add(self, name: str, wanted: str | None = None) -> None:
        if name in self.fixed:
            return
        wanted = wanted or name
        self.of[name] = f"{wanted}_" if wanted in RESERVED and f"{wanted}_" not in self.taken else wanted
        self.of[name] = fresh_name(self.of[name], self.taken)
        self.taken.add(self.of[name])


class Lines:
    """All lines in order; those of `ahead` lead from the inputs to the output."""

    def __init__(self, program: Program, sizes: Mapping[str, int], dtype: str, given: Mapping[str, str] | None = None):
        self.program, self.sizes = program, sizes
        self.lines = self._lines()
        self.names = self._names(given or {})
        labels = [t.name for t in program.tensors.values() if t.classes is not None]
        self.printer = self.printer_of(labels, dtype)
        self.ahead = self._needed_for_output()
        self._put_in()
        self._widen()

    def printer_of(self, labels: Sequence[str], dtype: str) -> NumpyPrinter:
        """What writes the expressions."""
        return NumpyPrinter(self.names.of, self.size, labels, dtype)

    def _lines(self) -> list[Line]:
        scalars: dict[str, Expr] = {}
        for name, value in self.program.scalars:
            scalars[name] = replace_symbols(value, scalars)
        lines = []
        for instruction in self.program:
            name, slots = instruction.out.tensor, tuple(str(s) for s in instruction.out.slots)
            value = replace_symbols(_value(instruction), scalars)
            update = isinstance(instruction, Update)
            named = (
                update or re.match(re.escape(name) + r"(?!\w)", instruction.formula.removeprefix("random ")) is not None
            )
            lines.append(Line(name, slots, value, instruction.formula, not named, update))
        wanted = {*self.program.watched} | ({self.program.output} if self.program.output else set())
        kept = []
        for line in reversed(lines):
            if line.update or line.name in wanted:
                kept.append(line)
                wanted |= set(tensors(line.value))
        return kept[::-1]

    def _names(self, given: Mapping[str, str]) -> Names:
        """Python's names; those that are `given` stay."""
        names = Names(given)
        temporary = [line for line in self.lines if line.temporary]
        for name in [n for n in self.program.tensors if n not in {line.name for line in temporary}]:
            names.add(name)
        for name in self.program.hyper:
            names.add(f"hyper {name}", name)  # beside a tensor mu there may be a rule's hyper-parameter mu
        for index in dict.fromkeys(i for t in self.program.tensors.values() for i in t.indices):
            index = base_index(index)
            names.add(f"size {index}", "N" if index == self.program.samples else f"size_{index}")
        for line in temporary:
            names.add(line.name, _telling(line))
        return names

    def _needed_for_output(self) -> list[Line]:
        """The lines from the inputs to the output."""
        wanted = {self.program.output}
        found = []
        for line in reversed(self.lines):
            if line.name in wanted and not line.update:
                found.append(line)
                wanted |= set(tensors(line.value))
        return found[::-1]

    def _put_in(self) -> None:
        """Temporaries that are used once, into what uses them, where that stays short."""
        for name in [line.name for line in self.lines if line.temporary]:
            line = next(line for line in self.lines if line.name == name)
            users = [u for u in self.lines if line.name in tensors(u.value)]
            uses = [e for u in users for e in elements(u.value) if e.tensor == line.name]
            if len(uses) != 1 or (line in self.ahead) != (users[0] in self.ahead) or self._changes(line, users[0]):
                continue
            if any(isinstance(n, Reduction) for n in walk(line.value)) and _is_inside_sum(users[0].value, line.name):
                continue
            new = replace(users[0], value=_with(users[0].value, uses[0], line))
            if len(self.code(new)) <= SHORT:
                self.lines = [new if u is users[0] else u for u in self.lines if u is not line]
                self.ahead = [new if u is users[0] else u for u in self.ahead if u is not line]

    def _changes(self, line: Line, user: Line) -> bool:
        """Whether something that `line` reads is updated before `user` runs."""
        between = self.lines[self.lines.index(line) : self.lines.index(user)]
        return any(b.update and b.name in tensors(line.value) for b in between)

    def _widen(self) -> None:
        """Temporaries that are kept as columns, where that makes the program shorter."""
        for line in [line for line in self.lines if line.temporary and line.axes]:
            concerned = [u for u in self.lines if u is line or line.name in tensors(u.value)]
            before = sum(len(self.code(u)) for u in concerned)
            self.printer.wide.add(line.name)
            # keepdims=True is longer than [:, None], and plainer
            if sum(len(self.code(u)) for u in concerned) > before + len(", keepdims=True"):
                self.printer.wide.remove(line.name)

    def code(self, line: Line) -> str:
        """The line as Python."""
        name = self.names.of[line.name]
        if line.name in self.printer.wide:
            return f"{name} = {self.printer.column(line.value, line.axes)}"
        code = f"{name} = {self.printer.assigned(line.value, line.axes)}"
        if len(code) > WIDTH and isinstance(line.value, Add) and not code.startswith(f"{name} = np.broadcast_to("):
            terms = self.printer.broken(line.value, line.axes)
            return "\n    ".join([f"{name} = (", *(f"    {t}" for t in terms), ")"])
        return code

    def paragraph(self, lines: Sequence[Line]) -> list[str]:
        """Code with the formulas beside it, aligned; above it where they are too long for that."""
        pairs = []
        for line, following in itertools.zip_longest(lines, lines[1:]):
            is_last = following is None or following.formula != line.formula
            pairs.append((self.code(line), line.formula if is_last else ""))
        fits = [len(c) for c, f in pairs if f and "\n" not in c and len(c) + len(f) + 8 <= WIDTH]
        column = max((n for n in fits if n + max(len(f) for c, f in pairs if len(c) <= n) + 8 <= WIDTH), default=0)
        texts = []
        for code, formula in pairs:
            beside = max(column, len(code)) + len(formula) + 8 <= WIDTH and "\n" not in code
            if formula and not beside:
                texts.append(f"# {formula}")
            texts.append(f"{code.ljust(column)}  # {formula}" if formula and beside else code)
        return texts

    # --- sizes

    def size(self, index: str) -> str:
        """What the program calls the size of an index."""
        index = base_index(index)
        return self.names.of.get(f"size {index}") or str(self.known(index))

    def known(self, index: str) -> int:
        """A size. Raises: ShapeError where nothing says it."""
        if index not in self.sizes:
            raise ShapeError(say("formula.size_unknown", index=index))
        return self.sizes[index]


def _value(instruction: Instruction) -> Expr:
    """The right-hand side as one expression."""
    match instruction:
        case Map(_, value, _) | Update(_, value, _):
            return value
        case Contract(_, _, _, _, epilogue, _):
            total: Expr = instruction.product
        case Reduce(_, kind, indices, body, epilogue, _):
            total = Reduction(kind, indices, body)
    return transform(epilogue, lambda n: total if isinstance(n, Element) and n.tensor == ACCUMULATOR else n)


def _telling(line: Line) -> str:
    """A name for what no formula names: max_p, exp_p and sum_p of the softmax p."""
    owner = re.match(r"\w*", line.formula)
    match line.value:
        case Reduction(kind, _, _):
            what = kind
        case Apply(function, _):
            what = function
        case _:
            what = "part"
    return f"{what}_{owner[0] if owner else ''}".rstrip("_")


def _is_inside_sum(expr: Expr, name: str) -> bool:
    return any(isinstance(n, Reduction) and name in tensors(n) for n in walk(expr))


def _with(expr: Expr, use: Element, line: Line) -> Expr:
    """`expr` with the value of the line in the place of the element that uses it."""
    slots: dict[str, Slot] = dict(zip(line.axes, use.slots, strict=True))
    inner = substitute(line.value, slots)
    return transform(expr, lambda node: inner if node == use else node)
