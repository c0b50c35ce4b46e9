"""Formulas → lines of the Python that kernels/translate.py compiles.

A Writer collects lines with their indentation; `value` turns an expression into code at the current entry, where each
index is a loop variable and each tensor a pointer with a layout. Where `axis` names an index, the code stands for LANES
entries at once, from the value of that index on: what runs along the axis is a vector, all else a number.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

from chainrule.formula.expr import (
    Add,
    Apply,
    Compare,
    Delta,
    Draw,
    Element,
    Expr,
    Mul,
    Number,
    Position,
    Power,
    Size,
    Slot,
    Symbol,
    Where,
    as_number,
    base_index,
    elements,
    scaled,
    split_coefficient,
    walk,
)
from chainrule.kernels.layout import Layout
from chainrule.kernels.schedule import Layouts

# What a function of formula/functions.py is called in kernels/scalars.py, where the names differ.
SCALAR_NAMES = {"max": "maximum", "min": "minimum"}
# Names that the module's own code uses; a tensor or index of that name gets a number.
_WORDS = """
    BOTH_PANELS DECIDED F FAILED F_at INFINITY LANES LINE PANEL PROGRESS STOP TILE_ROWS WALK_PANELS abs acc acc_2
    address ahead at b barrier batch batch_first begun block blocks c capacity chunk chunks clock clocks column
    control cos count counts decided deliver draw draw_lanes e end epoch erf exp expm1 first first_lanes float32_at
    float64 float64_at floor found g gather int32_at int64 int64_at kernel keys lane lanes lanes_from last last_row
    least left length load log log1p math max max_lanes maximum min min_lanes minimum n now number order out p
    packs pairs panel panels place power prefetch put put_pair q r range relu result round row rows s same samples
    scalar select sigmoid sign sin slot softplus source spread sqrt stack stack_int64 start step stop store
    sum_lanes sums t tail tanh thread threads tile tiles total uint8_at unit units value vector walk_list watch wide
    width down turn pair_place begin copy_numbers copy_listed flush_tiny mode restore walk_both put_both lists right
    offer packed take shares beside part parts room small term terms
"""
TAKEN = frozenset(_WORDS.split())

# Names that are made as they are needed: new values, values read once, parts of an expression, functions.
_OWN = re.compile(r"\w*_new|\w*_value|total_\d+|local_\d+|gather_\w*|columns_\w*|step_\d+_\w*|size_\w*|stride_\w*")


class Names:
    """Python identifiers for the names of formulas, each its own."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set(TAKEN)

    def __call__(self, kind: str, name: str) -> str:
        """`kind` is "tensor", "index", "size", "stride", "scalar" or "key"."""
        if (kind, name) not in self._given:
            wanted = re.sub(r"\W", "_", name.replace("'", "_p").replace("∑", "sum"))
            if not wanted.isascii():
                wanted = "".join(c if c.isascii() else f"u{ord(c):x}" for c in wanted)
            if wanted[0].isdigit():
                wanted = "_" + wanted
            if _OWN.fullmatch(wanted):
                wanted = f"_{wanted}_"  # out of reach of every pattern, whether it says how names begin or end
            wanted = {
                "size": f"size_{wanted}",
                "stride": f"stride_{wanted}",
                "index": f"{wanted}_",
                "key": f"key_{wanted}",
            }.get(kind, wanted)
            result, number = wanted, 2
            while result in self._taken or keyword.iskeyword(result):
                result, number = f"{wanted}_{number}", number + 1
            self._taken.add(result)
            self._given[kind, name] = result
        return self._given[kind, name]


@dataclass
class Writer:
    """Lines of code, and what names mean at this point."""

    names: Names
    layouts: Layouts
    lines: list[str] = field(default_factory=list)
    depth: int = 1
    loops: dict[str, str] = field(default_factory=dict)  # index → code of its value
    panels: dict[str, tuple[str, str]] = field(default_factory=dict)  # index → (panel, lane) where a loop runs so
    loaded: dict[str, str] = field(default_factory=dict)  # tensor without indices → local that holds it
    flat: str | None = None  # the one offset of all tensors, where a loop runs over memory, LANES entries at a time
    axis: str | None = None  # the index along which LANES entries are computed at once
    over: bool = False  # whether vectors may be read over the end of a row: see reads_along
    locals: int = 0

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Lines under a `for` or an `if`."""
        self.line(head)
        self.depth += 1
        yield
        self.depth -= 1

    def size(self, index: str) -> str:
        return self.names("size", base_index(index))

    def product_of_sizes(self, indices: tuple[str, ...]) -> str:
        return " * ".join(self.size(i) for i in indices) or "1"

    # places

    def offset(self, layout: Layout, slots: tuple[Slot, ...]) -> str:
        """The place of an entry in memory of a layout, as code."""
        if layout.column is None:
            return self.row_major(slots, layout)
        column = slots[layout.column]
        rows = tuple(s for n, s in enumerate(slots) if n != layout.column)
        row = self.row_major(rows, Layout((*layout.rows, "", "")))
        count = self.product_of_sizes(layout.rows)
        if isinstance(column, str) and column in self.panels:
            panel, lane = self.panels[column]
            return f"({panel} * ({count}) + {row}) * PANEL + {lane}"
        at = self.slot(column)
        return f"({at} // PANEL * ({count}) + {row}) * PANEL + {at} % PANEL"

    def row_major(self, slots: tuple[Slot, ...], layout: Layout) -> str:
        code = ""
        for position, slot in enumerate(slots):
            if not code:
                code = self.slot(slot)
                continue
            index = layout.indices[position]
            size = self.stride(index) if layout.padded else self.size(index)
            code = f"({code}) * {size} + {self.slot(slot)}"
        return code or "0"

    def stride(self, index: str) -> str:
        """How far apart rows over this index lie, where they have room at their end."""
        return self.names("stride", base_index(index))

    def slot(self, slot: Slot) -> str:
        return str(slot) if isinstance(slot, int) else self.loops[slot]

    def memory(self, element: Element) -> tuple[str, Layout, bool]:
        """(name of the memory to read an element from, its layout, whether it is a vector along the axis)."""
        home = self.layouts.home[element.tensor]
        if self.axis is None or self.axis not in element.slots:
            return element.tensor, home, False
        for name, layout in [(element.tensor, home), *self.layouts.columns(element.tensor)]:
            if reads_along(layout, element.slots, self.axis, self.over):
                return name, layout, True
        raise AssertionError(f"{element.tensor} does not run along {self.axis}")

    def element(self, element: Element) -> str:
        if element.tensor in self.loaded:
            return self.loaded[element.tensor]
        if self.flat is not None:
            return f"vector({self.names('tensor', element.tensor)}, {self.flat})"
        name, layout, whole = self.memory(element)
        place = self.offset(layout, element.slots)
        pointer = self.names("tensor", name)
        return f"vector({pointer}, {place})" if whole else f"{pointer}[{place}]"

    # values

    def local(self, code: str) -> str:
        """A local variable that holds the value of some code; a plain name or number needs none."""
        if re.fullmatch(r"\w+|F\([^()]*\)", code):
            return code
        self.locals += 1
        name = f"local_{self.locals}"
        self.line(f"{name} = {code}")
        return name

    def value(self, expr: Expr) -> str:
        """Code for the value of an expression, in brackets where it needs them."""
        match expr:
            case Number(value):
                return number_code(value)
            case Symbol(name):
                return self.names("scalar", name)
            case Size(index):
                return f"F({self.size(index)})"
            case Position(index):
                return self.position(index)
            case Element():
                return self.element(expr)
            case Delta(left, right):
                return f"select({self._same(left, right)}, F(1), F(0))"
            case Add(terms):
                return self._sum(terms)
            case Mul(factors):
                return self._product(factors)
            case Power():
                return self._power(expr)
            case Apply(function, arguments):
                inner = ", ".join(self.value(a) for a in arguments)
                return f"{SCALAR_NAMES.get(function, function)}({inner})"
            case Compare(operator, left, right):
                return f"select({self.value(left)} {operator} {self.value(right)}, F(1), F(0))"
            case Draw():
                return self._draw(expr)
            case Where(condition, yes, no):
                return f"select({self._condition(condition)}, {self.value(yes)}, {self.value(no)})"
        raise AssertionError(f"{type(expr).__name__} is lowered before code is written")

    def position(self, slot: Slot) -> str:
        """The value of an index as a number."""
        if slot == self.axis:
            return f"lanes_from({self.slot(slot)})"
        return f"F({self.slot(slot)})"

    def _draw(self, draw: Draw) -> str:
        """A number in [0, 1), or LANES of them along the axis, where that is the last slot."""
        row, *inner = draw.slots
        place = ""
        for slot in inner:
            place = f"({place}) * {self.size(str(slot))} + {self.slot(slot)}" if place else self.slot(slot)
        function = "draw_lanes" if self.axis in inner else "draw"
        return f"{function}({self.names('key', draw_name(draw))}, {self.slot(row)}, {place or '0'})"

    def _same(self, left: Slot, right: Slot) -> str:
        if self.axis in (left, right):
            return f"{self.position(left)} == {self.position(right)}"
        return f"{self.slot(left)} == {self.slot(right)}"

    def _condition(self, expr: Expr) -> str:
        if isinstance(expr, Compare):
            return f"{self.value(expr.left)} {expr.operator} {self.value(expr.right)}"
        return f"{self.value(expr)} != F(0)"

    def _sum(self, terms: tuple[Expr, ...]) -> str:
        code = self.value(terms[0])
        for term in terms[1:]:
            coefficient, rest = split_coefficient(term)
            if coefficient < 0:
                code += f" - {self.value(scaled(-coefficient, rest))}"
            else:
                code += f" + {self.value(term)}"
        return f"({code})"

    def _product(self, factors: tuple[Expr, ...]) -> str:
        over = [f for f in factors if isinstance(f, Power) and (as_number(f.exponent) or 0) < 0]
        above = [f for f in factors if f not in over]
        sign = ""
        if above and as_number(above[0]) == -1:
            sign, above = "-", above[1:]
        code = sign + (" * ".join(self.value(f) for f in above) or "F(1)")
        for factor in over:
            code += f" / {self._raised(factor.base, -(as_number(factor.exponent) or Fraction(0)))}"
        return f"({code})"

    def _power(self, expr: Power) -> str:
        exponent = as_number(expr.exponent)
        if exponent is None:
            return f"power({self.value(expr.base)}, {self.value(expr.exponent)})"
        if exponent < 0:
            return f"(F(1) / {self._raised(expr.base, -exponent)})"
        return self._raised(expr.base, exponent)

    def _raised(self, base: Expr, exponent: Fraction) -> str:
        """base ** exponent for a positive number: products for small whole ones, sqrt for halves."""
        if exponent == Fraction(1, 2):
            return f"sqrt({self.value(base)})"
        if exponent == 1:
            return self.value(base)
        if exponent.denominator == 1 and exponent <= 8:
            factor = self.local(self.value(base))
            return f"({' * '.join([factor] * int(exponent))})"
        if exponent.denominator == 2 and exponent <= 8:
            factor = self.local(self.value(base))
            return f"({' * '.join([factor] * int(exponent))} * sqrt({factor}))"
        return f"power({self.value(base)}, {number_code(exponent)})"


def runs_along(layout: Layout, slots: tuple[Slot, ...], axis: str) -> bool:
    """Whether the entries of an element lie side by side along an index, in whole vectors."""
    if slots.count(axis) != 1:
        return False
    place = slots.index(axis)
    return layout.contiguous is not None and place == (len(slots) - 1 if layout.column is None else layout.column)


def draw_name(draw: Draw) -> str:
    """What the key of a draw goes by: "m 0"."""
    return f"{draw.tensor} {draw.number}"


def reads_along(layout: Layout, slots: tuple[Slot, ...], axis: str, over: bool) -> bool:
    """Whether LANES entries along an index can be read at once.

    Where rows have no room at their end, the last of these entries are the next row's: `over` says whether that may be.
    Nobody uses what becomes of them, as results do have room; but the next row must not be in the making meanwhile, as
    it can be where threads share the samples and go from group to group without waiting.
    """
    last = slots.count(axis) == 1 and slots[-1] == axis and layout.column is None
    return (over and last) or runs_along(layout, slots, axis)


def vectorizes(expr: Expr, axis: str, layouts: Layouts, known: frozenset[str], over: bool = False) -> bool:
    """Whether LANES entries along an axis can be computed at once: all that varies along it lies side by side."""
    for node in walk(expr):
        if isinstance(node, Draw) and axis in (node.slots[0], *node.slots[1:-1]):
            return False
    for element in elements(expr):
        if element.tensor in known or axis not in element.slots:
            continue
        memories = [layouts.home[element.tensor], *(layout for _, layout in layouts.columns(element.tensor))]
        if not any(reads_along(layout, element.slots, axis, over) for layout in memories):
            return False
    return True


def number_code(value: Fraction) -> str:
    shown = repr(float(value)) if value.denominator != 1 or abs(value) > 2**53 else str(value.numerator)
    return f"F({shown})"
