"""Text → expression: what the names of a formula mean, and which of Python's syntax is read.

Expressions go through the standard `ast` module, of which a whitelist of node types is read and the rest refused.
Nothing is ever evaluated as Python.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from chainrule.errors import FormulaError, NotationError, ShapeError, UnknownName
from chainrule.formula.expr import (
    ONE,
    ZERO,
    Add,
    Apply,
    Element,
    Expr,
    Normalized,
    Number,
    Position,
    Power,
    Reduction,
    Size,
    Slot,
    Symbol,
    add,
    children,
    compare,
    delta,
    free_indices,
    mul,
    negative,
    number,
    power,
    scaled,
    split_coefficient,
    square_root,
    transform,
    walk,
    where,
)
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.source import MAX_DIGITS, Source
from chainrule.formula.system import Tensor
from chainrule.formula.text import number_text, ordered
from chainrule.messages import say

MAX_DEPTH = 100  # of operations within operations; what walks an expression recurses, some four calls a level
MAX_NODES = 20_000  # of one expression after functions are put in: f(f(f(…))) doubles with every call
MAX_ORDERS = 1_000  # of nested bound indices: whether Σ_ij is Σ_ji is decided by trying the orders, 6! = 720
MAX_INDICES = 8
MAX_SIZE = 2**31 - 1
MAX_EXPONENT = 1_000_000
MAX_BITS = 4_000  # of numerator and denominator: 1e-300 has 997; Python refuses to print much more than 14,000

REDUCTIONS = {"sum": "sum", "Σ": "sum", "mean": "sum", "max": "max", "min": "min", "logsumexp": "logsumexp"}
NORMALIZED = ("softmax", "log_softmax")
NORMS = ("norm", "global_norm")  # of an update rule: over the entries of one parameter, and of all of them
RESERVED = {*REDUCTIONS, *NORMALIZED, *FUNCTIONS, "where", "size", "pi", "sqrt"}
PI = Number(Fraction("3.141592653589793"))
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


@dataclass(frozen=True)
class Definition:
    """A scalar function by its formula: argument names, text, and default values of its other symbols."""

    arguments: tuple[str, ...]
    text: str
    defaults: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Vocabulary:
    """What a text may call by name besides the functions of the notation; `library` fills it."""

    functions: Mapping[str, Definition] = field(default_factory=dict)
    initializers: frozenset[str] = frozenset()


EMPTY = Vocabulary()


def near(name: str, candidates: Iterable[str]) -> str:
    """' Did you mean …?' where something similar exists, else ''."""
    close = difflib.get_close_matches(name, sorted(set(candidates)), n=1, cutoff=0.6)
    return " " + say("formula.did_you_mean", name=close[0]) if close else ""


class Scope:
    """What names mean while an expression is read."""

    def __init__(
        self,
        source: Source,
        vocabulary: Vocabulary,
        tensors: dict[str, Tensor],
        samples: str,
        *,
        free_tensors: bool = False,
    ):
        self.source = source
        self.vocabulary = vocabulary
        self.tensors = tensors
        self.samples = samples
        self.free_tensors = free_tensors
        self.functions: dict[str, tuple[tuple[str, ...], Expr]] = {}
        self.indices = {*source.index_names(), samples}
        self.arguments: tuple[str, ...] = ()
        self.in_rule = False  # in an update rule for every parameter, where norms are of w, g and the states
        self._start = 0
        self._depth = 0
        self._orders = 1
        self._nodes = 0

    def expression(self, start: int, end: int) -> Expr:
        """Read text[start:end]."""
        start, end = self.source.strip((start, end))
        if start == end:
            raise self.source.fail(NotationError, start, "empty_expression")
        self.source.check_tokens(start, end)
        self._start, self._depth, self._orders, self._nodes = start, 0, 1, 0
        try:
            tree = ast.parse(f"({self.source.text[start:end]}\n)", mode="eval")
        except SyntaxError as error:
            offset = self._offset(error.lineno or 1, (error.offset or 1) - 1, in_bytes=False)
            raise self.source.fail(NotationError, min(offset, end), "does_not_read") from None
        except (ValueError, RecursionError, MemoryError):
            raise self.source.fail(NotationError, start, "formula_too_deep", limit=MAX_DEPTH) from None
        try:
            expr = self.read(tree.body)
        except RecursionError:
            raise self.source.fail(NotationError, start, "formula_too_deep", limit=MAX_DEPTH) from None
        self._check(expr, start)
        return ordered(expr)

    def _check(self, expr: Expr, start: int) -> None:
        """What functions put into one another may have made: too deep, divided by zero, a huge exponent."""
        level = [expr]
        for _ in range(MAX_DEPTH):
            level = [c for node in level for c in children(node)]
        if level:
            raise self.source.fail(NotationError, start, "formula_too_deep", limit=MAX_DEPTH)
        for node in walk(expr):
            match node:
                case Power(base, Number(value)) if base == ZERO and value < 0:
                    raise self.source.fail(NotationError, start, "division_by_zero")
                case Power(_, Number(value)) if abs(value) > MAX_EXPONENT:
                    raise self.source.fail(NotationError, start, "exponent_too_large")

    def _offset(self, line: int, column: int, *, in_bytes: bool = True) -> int:
        lines = self.source.text[self._start :].split("\n")
        before = sum(len(text) + 1 for text in lines[: line - 1])
        current = lines[line - 1] if line <= len(lines) else ""
        if line == 1:
            column -= 1  # the bracket put in front
        if in_bytes:
            column = len(current.encode(errors="replace")[: max(column, 0)].decode(errors="ignore"))
        return self._start + before + max(column, 0)

    def at(self, node: ast.AST) -> int:
        return self._offset(getattr(node, "lineno", 1), getattr(node, "col_offset", 1))

    def fail(self, kind: type[FormulaError], node: ast.AST, key: str, **values: object) -> FormulaError:
        return self.source.fail(kind, self.at(node), key, **values)

    def read(self, node: ast.expr) -> Expr:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.fail(NotationError, node, "formula_too_deep", limit=MAX_DEPTH)
        expr = self._read(node)
        self._depth -= 1
        return expr

    def _read(self, node: ast.expr) -> Expr:
        match node:
            case ast.Constant():
                return self.constant(node)
            case ast.Name(name):
                return self.name(node, name)
            case ast.Subscript(ast.Name(name), index):
                return self.element(node, name, self.slots(index))
            case ast.Subscript(ast.Subscript()):
                raise self.fail(NotationError, node, "two_subscripts")
            case ast.UnaryOp(ast.USub(), operand):
                return self.rounded(node, negative(self.read(operand)))
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.read(operand)
            case ast.BinOp(_, ast.Add() | ast.Sub(), _):
                return self.rounded(node, add(*self.terms(node)))
            case ast.BinOp(_, ast.Mult() | ast.Div(), _):
                return self.rounded(node, mul(*self.factors(node)))
            case ast.BinOp(left, ast.Pow(), right):
                return self.rounded(node, self.power(node, self.read(left), self.read(right)))
            case ast.Call():
                return self.call(node)
            case ast.List([inner]):
                return self.bracket(inner)
            case ast.Compare() | ast.BoolOp():
                raise self.fail(NotationError, node, "comparison_without_brackets")
            case ast.Tuple() | ast.List():
                raise self.fail(NotationError, node, "list_in_formula")
        raise self.fail(NotationError, node, "not_in_notation")

    def constant(self, node: ast.Constant) -> Expr:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self.fail(NotationError, node, "not_in_notation")
        if isinstance(node.value, float) and not abs(node.value) < 1e300:
            raise self.fail(NotationError, node, "number_too_large")
        return self.rounded(node, number(node.value if isinstance(node.value, int) else repr(node.value)))

    def rounded(self, node: ast.AST, expr: Expr) -> Expr:
        """Numbers that folding made too long to be written are rounded to 64-bit floating point."""
        if isinstance(expr, Add):
            terms = [self._rounded_term(node, t) for t in expr.terms]
            return expr if all(a is b for a, b in zip(terms, expr.terms, strict=True)) else add(*terms)
        return self._rounded_term(node, expr)

    def _rounded_term(self, node: ast.AST, term: Expr) -> Expr:
        coefficient, rest = split_coefficient(term)
        if abs(coefficient) < 10**15 and coefficient.denominator < 10**15:
            return term
        try:
            value = float(coefficient)
        except OverflowError:
            value = math.inf
        if not abs(value) < 1e300:
            raise self.fail(NotationError, node, "number_too_large")
        bits = max(coefficient.numerator.bit_length(), coefficient.denominator.bit_length())
        if bits < MAX_BITS and all(len(part) <= MAX_DIGITS for part in number_text(coefficient).lstrip("-").split("/")):
            return term
        exact = Fraction(repr(value))
        return scaled(exact, rest) if exact else ZERO

    def terms(self, node: ast.expr) -> list[Expr]:
        """a + b - c as terms; a sum of a thousand terms is no deeper than one of two."""
        found: list[Expr] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            right = self.read(node.right)
            found.append(right if isinstance(node.op, ast.Add) else negative(right))
            node = node.left
        return [self.read(node), *reversed(found)]

    def factors(self, node: ast.expr) -> list[Expr]:
        """a * b / c as factors."""
        found: list[Expr] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
            right = self.read(node.right)
            if isinstance(node.op, ast.Div):
                if right == ZERO:
                    raise self.fail(NotationError, node.right, "division_by_zero")
                right = power(right, number(-1))
            found.append(right)
            node = node.left
        return [self.read(node), *reversed(found)]

    def power(self, node: ast.BinOp, base: Expr, exponent: Expr) -> Expr:
        if isinstance(exponent, Number) and abs(exponent.value) > MAX_EXPONENT:
            raise self.fail(NotationError, node.right, "exponent_too_large")
        if base == ZERO and isinstance(exponent, Number) and exponent.value < 0:
            raise self.fail(NotationError, node, "division_by_zero")
        return power(base, exponent)

    def name(self, node: ast.Name, name: str) -> Expr:
        if name in self.arguments or name == "step":  # without an argument, step is the number of the update
            return Symbol(name)
        if name == "pi":
            return PI
        if name in self.tensors:
            return self.element(node, name, ())
        if name in RESERVED or name in self.functions:
            raise self.fail(NotationError, node, "function_without_argument", name=name)
        if name in self.indices:
            return Position(name)
        return Symbol(name)

    def slots(self, node: ast.expr) -> tuple[Slot, ...]:
        parts = node.elts if isinstance(node, ast.Tuple) else [node]
        if len(parts) > MAX_INDICES:
            raise self.fail(NotationError, node, "too_many_indices", limit=MAX_INDICES)
        slots: list[Slot] = []
        for part in parts:
            match part:
                case ast.Name(name) if name in RESERVED:
                    raise self.fail(NotationError, part, "reserved_name", name=name)
                case ast.Name(name):
                    slots.append(name)
                case ast.Constant(int(value)) if not isinstance(value, bool) and 0 <= value <= MAX_SIZE:
                    slots.append(value)
                case _:
                    raise self.fail(NotationError, part, "index_is_a_name")
        return tuple(slots)

    def element(self, node: ast.AST, name: str, slots: tuple[Slot, ...]) -> Expr:
        tensor = self.tensors.get(name)
        if tensor is None:
            if name in RESERVED:
                raise self.fail(NotationError, node, "function_needs_parentheses", name=name)
            if self.free_tensors:
                return Element(name, slots)
            raise self.fail(UnknownName, node, "unknown_tensor", name=name, near=near(name, self.tensors))
        own = tensor.indices
        sampled = own[:1] == (self.samples,)
        if sampled and slots[:1] != (self.samples,):
            slots = (self.samples, *slots)
        if len(slots) != len(own):
            shown = [i for i in own if i != self.samples]
            raise self.fail(
                ShapeError,
                node,
                "wrong_index_count",
                name=name,
                came=len(slots) - sampled,
                wanted=len(shown),
                example=f"{name}[{', '.join(shown)}]" if shown else name,
            )
        if self.samples in (slots[1:] if sampled else slots):
            raise self.fail(ShapeError, node, "sample_axis_as_index", index=self.samples, name=name)
        return Element(name, slots)

    def bracket(self, node: ast.expr) -> Expr:
        """The Iverson bracket [a > 0]: 1 where it holds, else 0."""
        match node:
            case ast.Compare():
                return self.comparison(node)
            case ast.BoolOp(ast.And(), values):
                return mul(*(self.bracket(v) for v in values))
            case ast.List([inner]):
                return self.bracket(inner)
        raise self.fail(NotationError, node, "bracket_without_comparison")

    def comparison(self, node: ast.Compare) -> Expr:
        """a < b, or a < b < c, which is both."""
        sides = [self.read(node.left), *(self.read(c) for c in node.comparators)]
        result: Expr = ONE
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            sign = COMPARISONS.get(type(operator))
            if sign is None:
                raise self.fail(NotationError, node, "not_in_notation")
            if sign == "==" and isinstance(left, Position) and isinstance(right, Position):
                result = mul(result, delta(left.index, right.index))
            else:
                result = mul(result, compare(sign, left, right))
        return result

    def condition(self, node: ast.expr) -> Expr:
        return self.bracket(node) if isinstance(node, ast.Compare | ast.BoolOp) else self.read(node)

    def call(self, node: ast.Call) -> Expr:
        match node.func:
            case ast.Subscript(ast.Name(name), index) if name in REDUCTIONS or name in NORMALIZED:
                return self.reduction(node, name, self.slots(index))
            case ast.Subscript(ast.Name(name), _) if name in self.tensors:
                raise self.fail(NotationError, node, "tensor_called", name=name)
            case ast.Subscript(ast.Name(name), _):
                known = [*REDUCTIONS, *NORMALIZED]
                raise self.fail(UnknownName, node, "unknown_reduction", name=name, near=near(name, known))
            case ast.Name(name):
                return self.function(node, name)
        raise self.fail(NotationError, node, "not_in_notation")

    def reduction(self, node: ast.Call, name: str, slots: tuple[Slot, ...]) -> Expr:
        self._expect_keywords(node, name, ())
        if len(node.args) != 1:
            raise self.fail(NotationError, node, "reduction_takes_one", name=name, came=len(node.args))
        indices = tuple(s for s in slots if isinstance(s, str))
        if len(indices) != len(slots) or len(set(indices)) != len(indices):
            raise self.fail(NotationError, node, "reduction_index", name=name)
        if name in NORMALIZED and len(indices) != 1:
            raise self.fail(NotationError, node, "one_index_only", name=name)
        body = self._body(node, len(indices))
        written = {part.id for part in ast.walk(node.args[0]) if isinstance(part, ast.Name)}
        for index in indices:
            if index not in free_indices(body) and index not in written:
                found = ", ".join(sorted(free_indices(body) - {self.samples})) or "–"
                raise self.fail(ShapeError, node, "index_does_not_occur", name=name, index=index, found=found)
        occurring = tuple(i for i in indices if i in free_indices(body))
        vanished = [Size(i) for i in indices if i not in occurring]  # sum[i](x[i] - x[i] + 1) is size(i)
        if name in NORMALIZED and vanished:
            return power(vanished[0], number(-1)) if name == "softmax" else negative(Apply("log", (vanished[0],)))
        if name in NORMALIZED:
            return Normalized(name, indices[0], body)
        reduced = Reduction(REDUCTIONS[name], occurring, body) if occurring else body
        if name == "mean":
            return mul(*(power(Size(i), number(-1)) for i in occurring), reduced)
        if REDUCTIONS[name] == "sum":
            return mul(*vanished, reduced)
        return add(reduced, *(Apply("log", (size,)) for size in vanished)) if name == "logsumexp" else reduced

    def _body(self, node: ast.Call, indices: int) -> Expr:
        outside = self._orders
        self._orders *= math.factorial(indices)
        if self._orders > MAX_ORDERS:
            raise self.fail(NotationError, node, "too_many_bound_indices")
        body = self.read(node.args[0])
        self._orders = outside
        return body

    def function(self, node: ast.Call, name: str) -> Expr:
        arguments = node.args
        if any(isinstance(a, ast.Starred) for a in arguments):
            raise self.fail(NotationError, node, "not_in_notation")
        if name == "where":
            self._expect(node, name, 3)
            return where(self.condition(arguments[0]), self.read(arguments[1]), self.read(arguments[2]))
        if name == "size":
            self._expect(node, name, 1)
            slots = self.slots(arguments[0])
            if len(slots) != 1 or not isinstance(slots[0], str):
                raise self.fail(NotationError, arguments[0], "index_is_a_name")
            return Size(slots[0])
        if name == "sqrt":
            self._expect(node, name, 1)
            return square_root(self.read(arguments[0]))
        if name in self.functions:
            names, body = self.functions[name]
            self._expect(node, name, len(names))
            return self.inlined(node, body, dict(zip(names, map(self.read, arguments), strict=True)))
        if name in FUNCTIONS:
            if name in REDUCTIONS and len(arguments) == 1:
                raise self.fail(NotationError, node, "reduction_without_index", name=name)
            self._expect(node, name, FUNCTIONS[name].arity)
            return Apply(name, tuple(map(self.read, arguments)))
        if name in REDUCTIONS or name in NORMALIZED:
            raise self.fail(NotationError, node, "reduction_without_index", name=name)
        if name in NORMS:
            if not self.in_rule:
                raise self.fail(NotationError, node, "norm_outside_rule", name=name)
            self._expect(node, name, 1)
            return Apply(name, (self.read(arguments[0]),))
        definition = self.vocabulary.functions.get(name)
        if definition is not None:
            return self._library_function(node, name, definition)
        if name in self.tensors:
            raise self.fail(NotationError, node, "tensor_called", name=name)
        known = [*FUNCTIONS, *self.functions, *self.vocabulary.functions, *REDUCTIONS, *NORMALIZED, "sqrt", "where"]
        known += NORMS if self.in_rule else ()
        raise self.fail(UnknownName, node, "unknown_function", name=name, near=near(name, known))

    def _library_function(self, node: ast.Call, name: str, definition: Definition) -> Expr:
        self._expect(node, name, len(definition.arguments), keywords=tuple(definition.defaults))
        values: dict[str, Expr] = {key: number(str(value)) for key, value in definition.defaults.items()}
        values |= dict(zip(definition.arguments, map(self.read, node.args), strict=True))
        values |= {str(k.arg): self.read(k.value) for k in node.keywords}
        body = Scope(Source(definition.text), self.vocabulary, {}, self.samples, free_tensors=True)
        return self.inlined(node, body.expression(0, len(definition.text)), values)

    def inlined(self, node: ast.AST, body: Expr, values: Mapping[str, Expr]) -> Expr:
        """A function's body with its arguments put in."""
        sizes = {name: sum(1 for _ in walk(value)) for name, value in values.items()}
        self._nodes += sum(sizes.get(n.name, 1) if isinstance(n, Symbol) else 1 for n in walk(body))
        if self._nodes > MAX_NODES:
            raise self.fail(NotationError, node, "functions_too_large", limit=MAX_NODES)

        def put_in(part: Expr) -> Expr:
            return values.get(part.name, part) if isinstance(part, Symbol) else self.rounded(node, part)

        return transform(body, put_in)

    def _expect(self, node: ast.Call, name: str, count: int, keywords: tuple[str, ...] = ()) -> None:
        self._expect_keywords(node, name, keywords)
        if len(node.args) != count:
            raise self.fail(NotationError, node, "wrong_argument_count", name=name, wanted=count, came=len(node.args))

    def _expect_keywords(self, node: ast.Call, name: str, keywords: tuple[str, ...]) -> None:
        for keyword in node.keywords:
            if keyword.arg not in keywords:
                known = ", ".join(keywords) or "–"
                raise self.fail(NotationError, keyword, "unknown_keyword", name=name, keyword=keyword.arg, known=known)
