"""Text → System. Every error names line and column and draws a caret.

Statements are split here; expressions go through the standard `ast` module, of which a whitelist of node types is
read and the rest refused. Nothing is ever evaluated as Python. The grammar:

    size j = 512, i = 784                        sizes of indices
    samples m                                    another name for the sample axis n
    input x[i]                                   also: target, state; then facts about the data, after commas
    label y in k                                 a class number 0 … size(k)-1
    parameter W[i, j], b[j] = glorot_uniform     an initializer, a number, or nested lists of numbers
    loss C, output p                             where the loss is not called E, the prediction not the last output
    eta = 0.01                                   a hyper-parameter and its value
    f(a) = a / (1 + exp(-beta*a))                a scalar function
    h[j] = …                                     an equation
    w[i] <- …, or v <- … and w <- …              updates of one parameter, or of every one (w, its gradient g)
"""

from __future__ import annotations

import ast
import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from chainrule.errors import FormulaError, NotationError, Place, ShapeError, UnknownName
from chainrule.formula.expr import (
    ONE,
    Apply,
    Element,
    Expr,
    Normalized,
    Number,
    Position,
    Reduction,
    Size,
    Slot,
    Symbol,
    add,
    compare,
    delta,
    divide,
    free_indices,
    index_names,
    mul,
    negative,
    number,
    power,
    replace_symbols,
    square_root,
    subtract,
    where,
)
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.system import Equation, Fact, Initial, System, Tensor, Update
from chainrule.messages import say

MAX_CHARACTERS = 200_000
MAX_STATEMENTS = 5_000
MAX_TOKENS = 4_000  # in one statement
MAX_NESTING = 60
MAX_INDICES = 8
MAX_SIZE = 2**31 - 1
MAX_DIGITS = 40

REDUCTIONS = {"sum": "sum", "Σ": "sum", "mean": "mean", "max": "max", "min": "min", "logsumexp": "logsumexp"}
NORMALIZED = ("softmax", "log_softmax")
DECLARATIONS = ("size", "samples", "input", "target", "label", "parameter", "state", "loss", "output")
ROLE_OF_LINE = {"input": "input", "target": "target", "parameter": "parameter", "state": "state"}
# What a person may type or paste for an ASCII operator; each is one character, so that columns stay true.
LOOKALIKES = str.maketrans({"−": "-", "·": "*", "×": "*", "∑": "Σ", "⋅": "*", "÷": "/", "\t": " ", "\r": " "})
RESERVED = {*REDUCTIONS, *NORMALIZED, *FUNCTIONS, "where", "size", "pi", "sqrt", "mean"}
PI = Number(Fraction("3.141592653589793"))
TOKEN = re.compile(r"\s+|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[^\W\d]\w*|\*\*|<=|>=|==|!=|<-|.", re.S)
ALLOWED_CHARACTERS = set("+-*/()[],<>=!{}.")


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


def parse_system(text: str, vocabulary: Vocabulary = EMPTY) -> System:
    """Read a whole formula text.

    Raises: FormulaError and its kin, with line, column and caret.
    Example:
    >>> system = parse_system("input x[i]; parameter w[i] = zeros; y = sum[i](w[i] * x[i])".replace("; ", chr(10)))
    >>> [t.name for t in system.parameters], system.output
    (['w'], 'y')
    """
    return _SystemReader(_Source(text), vocabulary).read()


def parse_expression(
    text: str, tensors: Mapping[str, Tensor] | None = None, vocabulary: Vocabulary = EMPTY, samples: str = "n"
) -> Expr:
    """Read one expression; bare names are scalar symbols, subscripted ones elements of `tensors`.

    Without `tensors`, any subscripted name is taken as a tensor of those indices.
    """
    source = _Source(text)
    scope = _Scope(source, vocabulary, dict(tensors or {}), samples, free_tensors=tensors is None)
    return scope.expression(0, len(source.text))


def parse_definition(definition: Definition, vocabulary: Vocabulary = EMPTY, **values: Expr) -> Expr:
    """The body of a scalar function with its arguments (or `values`) and defaults put in."""
    body = parse_expression(definition.text, None, vocabulary)
    defaults = {name: number(str(value)) for name, value in definition.defaults.items()}
    return replace_symbols(body, {**defaults, **values})


def near(name: str, candidates: Iterable[str]) -> str:
    """' Did you mean …?' where something similar exists, else ''."""
    close = difflib.get_close_matches(name, sorted(set(candidates)), n=1, cutoff=0.6)
    return " " + say("formula.did_you_mean", name=close[0]) if close else ""


# --- the text ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Statement:
    start: int
    end: int
    text: str


class _Source:
    """The text, its places, and its statements; comments are blanked, so that offsets stay true."""

    def __init__(self, text: str):
        if len(text) > MAX_CHARACTERS:
            raise NotationError(say("formula.text_too_long", came=len(text), limit=MAX_CHARACTERS))
        self.typed = text
        self.text = re.sub(r"#[^\n]*", lambda m: " " * len(m[0]), text.translate(LOOKALIKES))
        self.text = self.text.replace("←", "<") if "←" not in self.text else self._arrows()

    def _arrows(self) -> str:
        # '← ' is as wide as '<-'; a '←' without a space after it is refused below as an unknown character.
        return self.text.replace("← ", "<-")

    def place(self, offset: int) -> Place:
        offset = min(offset, len(self.typed))
        before = self.typed[:offset]
        start = before.rfind("\n") + 1
        end = self.typed.find("\n", offset)
        line = self.typed[start : len(self.typed) if end < 0 else end].rstrip("\r").replace("\t", " ")
        return Place(before.count("\n") + 1, offset - start + 1, line)

    def fail(self, kind: type[FormulaError], offset: int, key: str, **values: object) -> FormulaError:
        return kind(say(f"formula.{key}", **values), self.place(offset))

    def statements(self) -> list[_Statement]:
        """Lines, joined while a bracket is open."""
        found: list[_Statement] = []
        start = 0
        open_brackets: list[int] = []
        for offset, character in enumerate(self.text + "\n"):
            if character in "([{":
                open_brackets.append(offset)
                if len(open_brackets) > MAX_NESTING:
                    raise self.fail(NotationError, offset, "nested_too_deep", limit=MAX_NESTING)
            elif character in ")]}":
                if not open_brackets:
                    raise self.fail(NotationError, offset, "unopened_bracket", bracket=character)
                opener = self.text[open_brackets.pop()]
                if opener + character not in ("()", "[]", "{}"):
                    raise self.fail(NotationError, offset, "wrong_bracket", opener=opener, bracket=character)
            elif character == "\n" and (not open_brackets or offset == len(self.text)):
                if self.text[start:offset].strip():
                    found.append(_Statement(start, offset, self.text[start:offset]))
                    if len(found) > MAX_STATEMENTS:
                        raise self.fail(NotationError, start, "too_many_statements", limit=MAX_STATEMENTS)
                start = offset + 1
        if open_brackets:
            opener = self.text[open_brackets[-1]]
            closer = {"(": ")", "[": "]", "{": "}"}[opener]
            raise self.fail(NotationError, open_brackets[-1], "missing_bracket", bracket=closer)
        return found

    def split(self, start: int, end: int, separator: str) -> list[tuple[int, int]]:
        """The pieces of text[start:end] between separators outside brackets ('=' is not '==', '<=', '>=', '!=')."""
        pieces, depth, begin, offset = [], 0, start, start
        while offset < end:
            character = self.text[offset]
            depth += (character in "([{") - (character in ")]}")
            if depth == 0 and self.text.startswith(separator, offset) and not self._is_comparison(offset, separator):
                pieces.append((begin, offset))
                offset += len(separator)
                begin = offset
                continue
            offset += 1
        return [*pieces, (begin, end)]

    def _is_comparison(self, offset: int, separator: str) -> bool:
        if separator != "=":
            return False
        before = self.text[offset - 1] if offset else ""
        return before in ("<", ">", "!", "=") or self.text[offset + 1 : offset + 2] == "="

    def strip(self, piece: tuple[int, int]) -> tuple[int, int]:
        start, end = piece
        while start < end and self.text[start].isspace():
            start += 1
        while end > start and self.text[end - 1].isspace():
            end -= 1
        return start, end

    def check_tokens(self, start: int, end: int) -> None:
        """Say plainly what Python's own syntax error would leave unclear."""
        previous = ""
        tokens = 0
        for match in TOKEN.finditer(self.text, start, end):
            token, offset = match[0], match.start()
            if token.isspace():
                continue
            tokens += 1
            if tokens > MAX_TOKENS:
                raise self.fail(NotationError, offset, "statement_too_long", limit=MAX_TOKENS)
            if token == "^":
                raise self.fail(NotationError, offset, "caret_power")
            if token == "∂":
                raise self.fail(NotationError, offset, "partial_sign")
            named = token[0].isalpha() or token[0] == "_"
            if token[0].isdigit() and len(token) > MAX_DIGITS:
                raise self.fail(NotationError, offset, "number_too_long", limit=MAX_DIGITS)
            if len(token) == 1 and not token.isalnum() and token != "_" and token not in ALLOWED_CHARACTERS:
                raise self.fail(NotationError, offset, "unknown_character", character=token)
            if previous and (previous[-1].isalnum() or previous[-1] in ")]_"):
                times = named or token[0].isdigit() or (token == "(" and previous[-1].isdigit() and previous[0].isdigit())
                times = times or (token == "(" and previous == ")")
                if times and previous not in ("and", "in") and token not in ("and", "in"):
                    raise self.fail(NotationError, offset, "missing_operator", left=previous, right=token)
            if previous and previous[0] in "*/" and token[0] in "*/":
                raise self.fail(NotationError, offset, "two_operators", left=previous, right=token)
            if token in (")", "]", ",") and previous and previous[0] in "+-*/<>=":
                raise self.fail(NotationError, offset, "missing_operand", operator=previous)
            previous = token
        if previous and previous[0] in "+-*/<>=":
            raise self.fail(NotationError, end, "missing_operand", operator=previous)


# --- expressions ------------------------------------------------------------------------------------------------------


class _Scope:
    """What names mean while an expression is read."""

    def __init__(
        self,
        source: _Source,
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
        self.indices: set[str] = set()
        self.arguments: tuple[str, ...] = ()
        self._start = 0

    def expression(self, start: int, end: int) -> Expr:
        """Read text[start:end]."""
        start, end = self.source.strip((start, end))
        if start == end:
            raise self.source.fail(NotationError, start, "empty_expression")
        self.source.check_tokens(start, end)
        self._start = start
        text = self.source.text[start:end]
        try:
            tree = ast.parse(f"({text}\n)", mode="eval")
        except SyntaxError as error:
            offset = self._offset(error.lineno or 1, (error.offset or 1) - 1, in_bytes=False)
            raise self.source.fail(NotationError, min(offset, end), "does_not_read") from None
        except (ValueError, RecursionError, MemoryError):
            raise self.source.fail(NotationError, start, "does_not_read") from None
        try:
            return self.read(tree.body)
        except RecursionError:
            raise self.source.fail(NotationError, start, "nested_too_deep", limit=MAX_NESTING) from None

    def _offset(self, line: int, column: int, *, in_bytes: bool = True) -> int:
        lines = self.source.text[self._start :].split("\n")
        before = sum(len(text) + 1 for text in lines[: line - 1])
        current = lines[line - 1] if line <= len(lines) else ""
        if line == 1:
            column -= 1  # the bracket put in front
        if in_bytes:
            column = len(current.encode()[: max(column, 0)].decode(errors="ignore"))
        return self._start + before + max(column, 0)

    def at(self, node: ast.AST) -> int:
        return self._offset(getattr(node, "lineno", 1), getattr(node, "col_offset", 1))

    def fail(self, kind: type[FormulaError], node: ast.AST, key: str, **values: object) -> FormulaError:
        return self.source.fail(kind, self.at(node), key, **values)

    def read(self, node: ast.expr) -> Expr:
        match node:
            case ast.Constant():
                return self.constant(node)
            case ast.Name(name):
                return self.name(node, name)
            case ast.Subscript(ast.Name(name), index):
                return self.element(node, name, self.slots(index))
            case ast.UnaryOp(ast.USub(), operand):
                return negative(self.read(operand))
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.read(operand)
            case ast.BinOp(left, operator, right):
                return self.binary(node, self.read(left), operator, self.read(right))
            case ast.Call():
                return self.call(node)
            case ast.List([inner]):
                return self.bracket(inner)
            case ast.Compare():
                raise self.fail(NotationError, node, "comparison_without_brackets")
            case ast.Tuple() | ast.List():
                raise self.fail(NotationError, node, "list_in_formula")
        raise self.fail(NotationError, node, "not_in_notation")

    def constant(self, node: ast.Constant) -> Expr:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self.fail(NotationError, node, "not_a_number", came=repr(node.value)[:40])
        if isinstance(node.value, float) and not abs(node.value) < 1e300:
            raise self.fail(NotationError, node, "number_too_large")
        return number(node.value if isinstance(node.value, int) else repr(node.value))

    def name(self, node: ast.Name, name: str) -> Expr:
        if name == "pi" and name not in self.tensors:
            return PI
        if name in self.arguments or name == "step":  # without an argument, step is the number of the update
            return Symbol(name)
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
            if self.free_tensors:
                return Element(name, slots)
            if name in RESERVED:
                raise self.fail(NotationError, node, "function_needs_parentheses", name=name)
            raise self.fail(UnknownName, node, "unknown_tensor", name=name, near=near(name, self.tensors))
        own = tensor.indices
        if len(slots) == len(own):
            return Element(name, slots)
        if own[:1] == (self.samples,) and len(slots) == len(own) - 1:
            return Element(name, (self.samples, *slots))
        shown = [i for i in own if i != self.samples]
        raise self.fail(
            ShapeError,
            node,
            "wrong_index_count",
            name=name,
            came=len(slots),
            wanted=len(shown),
            example=f"{name}[{', '.join(shown)}]" if shown else name,
        )

    def binary(self, node: ast.BinOp, left: Expr, operator: ast.operator, right: Expr) -> Expr:
        match operator:
            case ast.Add():
                return add(left, right)
            case ast.Sub():
                return subtract(left, right)
            case ast.Mult():
                return mul(left, right)
            case ast.Div():
                if right == Number(Fraction(0)):
                    raise self.fail(NotationError, node.right, "division_by_zero")
                return divide(left, right)
            case ast.Pow():
                if isinstance(right, Number) and abs(right.value) > 1_000_000:
                    raise self.fail(NotationError, node.right, "exponent_too_large")
                if left == Number(Fraction(0)) and isinstance(right, Number) and right.value < 0:
                    raise self.fail(NotationError, node, "division_by_zero")
                return power(left, right)
        raise self.fail(NotationError, node, "not_in_notation")

    def bracket(self, node: ast.expr) -> Expr:
        """The Iverson bracket [a > 0]: 1 where it holds, else 0."""
        match node:
            case ast.Compare():
                return self.comparison(node)
            case ast.BoolOp(ast.And(), values):
                return mul(*(self.bracket(v) for v in values))
        raise self.fail(NotationError, node, "bracket_without_comparison")

    def comparison(self, node: ast.Compare) -> Expr:
        names: dict[type[ast.cmpop], str] = {
            ast.Lt: "<",
            ast.LtE: "<=",
            ast.Gt: ">",
            ast.GtE: ">=",
            ast.Eq: "==",
            ast.NotEq: "!=",
        }
        sides = [self.read(node.left), *(self.read(c) for c in node.comparators)]
        result: Expr = ONE
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            sign = names.get(type(operator))
            if sign is None:
                raise self.fail(NotationError, node, "not_in_notation")
            if sign == "==" and isinstance(left, Position) and isinstance(right, Position):
                result = mul(result, delta(left.index, right.index))
            else:
                result = mul(result, compare(sign, left, right))
        return result

    def condition(self, node: ast.expr) -> Expr:
        return self.comparison(node) if isinstance(node, ast.Compare) else self.read(node)

    def call(self, node: ast.Call) -> Expr:
        match node.func:
            case ast.Subscript(ast.Name(name), index) if name in REDUCTIONS or name in NORMALIZED:
                return self.reduction(node, name, self.slots(index))
            case ast.Subscript(ast.Name(name), _):
                known = [*REDUCTIONS, *NORMALIZED]
                raise self.fail(UnknownName, node, "unknown_reduction", name=name, near=near(name, known))
            case ast.Name(name):
                return self.function(node, name)
        raise self.fail(NotationError, node, "not_in_notation")

    def reduction(self, node: ast.Call, name: str, slots: tuple[Slot, ...]) -> Expr:
        if len(node.args) != 1 or node.keywords:
            raise self.fail(NotationError, node, "reduction_takes_one", name=name, came=len(node.args))
        indices = tuple(s for s in slots if isinstance(s, str))
        if len(indices) != len(slots) or len(set(indices)) != len(indices):
            raise self.fail(NotationError, node, "reduction_index", name=name)
        self.indices |= set(indices)
        body = self.read(node.args[0])
        for index in indices:
            if index not in free_indices(body):
                found = sorted(free_indices(body) - {self.samples})
                raise self.fail(
                    ShapeError, node, "index_does_not_occur", name=name, index=index, found=", ".join(found) or "–"
                )
        if name in NORMALIZED:
            if len(indices) != 1:
                raise self.fail(NotationError, node, "one_index_only", name=name)
            return Normalized(name, indices[0], body)
        if name == "mean":
            return mul(*(power(Size(i), number(-1)) for i in indices), Reduction("sum", indices, body))
        return Reduction(REDUCTIONS[name], indices, body)

    def function(self, node: ast.Call, name: str) -> Expr:
        arguments = node.args
        if any(isinstance(a, ast.Starred) for a in arguments):
            raise self.fail(NotationError, node, "not_in_notation")
        if name == "where":
            self._expect(node, name, 3)
            return where(self.condition(arguments[0]), self.read(arguments[1]), self.read(arguments[2]))
        if name == "size":
            self._expect(node, name, 1)
            if not isinstance(arguments[0], ast.Name):
                raise self.fail(NotationError, arguments[0], "index_is_a_name")
            return Size(arguments[0].id)
        if name == "sqrt":
            self._expect(node, name, 1)
            return square_root(self.read(arguments[0]))
        if name in self.functions:
            names, body = self.functions[name]
            self._expect(node, name, len(names))
            return replace_symbols(body, dict(zip(names, (self.read(a) for a in arguments), strict=True)))
        if name in FUNCTIONS:
            if name in REDUCTIONS and len(arguments) == 1:
                raise self.fail(NotationError, node, "reduction_without_index", name=name)
            self._expect(node, name, FUNCTIONS[name].arity)
            return Apply(name, tuple(self.read(a) for a in arguments))
        if name in REDUCTIONS or name in NORMALIZED:
            raise self.fail(NotationError, node, "reduction_without_index", name=name)
        definition = self.vocabulary.functions.get(name)
        if definition is None:
            if name in self.tensors:
                raise self.fail(NotationError, node, "tensor_called", name=name)
            known = [*FUNCTIONS, *self.functions, *self.vocabulary.functions, *REDUCTIONS, "sqrt", "where"]
            raise self.fail(UnknownName, node, "unknown_function", name=name, near=near(name, known))
        return self._library_function(node, name, definition)

    def _library_function(self, node: ast.Call, name: str, definition: Definition) -> Expr:
        self._expect(node, name, len(definition.arguments), keywords=tuple(definition.defaults))
        values = dict(zip(definition.arguments, (self.read(a) for a in node.args), strict=True))
        values |= {str(k.arg): self.read(k.value) for k in node.keywords}
        return parse_definition(definition, self.vocabulary, **values)

    def _expect(self, node: ast.Call, name: str, count: int, keywords: tuple[str, ...] = ()) -> None:
        if len(node.args) != count:
            raise self.fail(NotationError, node, "wrong_argument_count", name=name, wanted=count, came=len(node.args))
        for keyword in node.keywords:
            if keyword.arg not in keywords:
                known = ", ".join(keywords) or "–"
                raise self.fail(NotationError, keyword, "unknown_keyword", name=name, keyword=keyword.arg, known=known)


# --- statements -------------------------------------------------------------------------------------------------------

NAME = r"[^\W\d]\w*"
LEFT_SIDE = re.compile(rf"\s*({NAME})\s*(?:\[([^\[\]()]*)\])?\s*$")
FUNCTION_SIDE = re.compile(rf"\s*({NAME})\s*\(([^()\[\]]*)\)\s*$")
DECLARATION = re.compile(rf"\s*({'|'.join(DECLARATIONS)})\s+(?=[^\s=\[(<])")
LABEL = re.compile(rf"\s*({NAME})\s+in\s+({NAME})\s*$")
FACT_SIGN = re.compile(r"<=|>=|<|>|=")


@dataclass
class _Pending:
    """A line whose right side waits until every name is known."""

    target: str
    slots: tuple[Slot, ...] | None
    offset: int
    right: tuple[int, int]
    generic: bool = False


class _SystemReader:
    """Two walks over the statements: first who is there, then what they are."""

    def __init__(self, source: _Source, vocabulary: Vocabulary):
        self.source = source
        self.scope = _Scope(source, vocabulary, {}, "n")
        self.sizes: dict[str, int] = {}
        self.hyper: dict[str, Fraction] = {}
        self.equations: list[_Pending] = []
        self.updates: list[_Pending] = []
        self.facts: list[tuple[int, int]] = []
        self.chosen: dict[str, tuple[str, int]] = {}

    def read(self) -> System:
        statements = self.source.statements()
        if not statements:
            raise NotationError(say("formula.empty_text"))
        for statement in statements:  # the sample axis must be known before any tensor gets it
            if re.match(rf"\s*samples\s+{NAME}\s*$", statement.text):
                self.scope.samples = statement.text.split()[1]
        for statement in statements:
            self.declare(statement)
        self._collect_indices()
        equations = self._read_equations()
        system = System(
            tensors=self._ordered_tensors(equations),
            equations=tuple(equations),
            updates=tuple(self._read_update(u) for u in self.updates),
            facts=tuple(f for piece in self.facts for f in self._read_facts(piece)),
            sizes=self.sizes,
            hyper=self.hyper,
            samples=self.scope.samples,
            text=self.source.typed,
        )
        return self._choose_loss_and_output(system)

    # first walk

    def declare(self, statement: _Statement) -> None:
        match = DECLARATION.match(statement.text)
        if match:
            body = (statement.start + match.end(), statement.end)
            getattr(self, f"_declare_{match[1]}", self._declare_tensors)(match[1], body)
            return
        for separator, kind in (("<-", self.updates), ("=", self.equations)):
            pieces = self.source.split(statement.start, statement.end, separator)
            if len(pieces) == 1:
                continue
            if len(pieces) > 2:
                raise self.source.fail(NotationError, pieces[1][1], "two_equal_signs")
            self._declare_line(pieces[0], pieces[1], kind)
            return
        start, _ = self.source.strip((statement.start, statement.end))
        self.source.check_tokens(start, statement.end)
        raise self.source.fail(NotationError, start, "not_a_statement")

    def _declare_samples(self, _: str, body: tuple[int, int]) -> None:
        start, end = self.source.strip(body)
        if not re.fullmatch(NAME, self.source.text[start:end]):
            raise self.source.fail(NotationError, start, "index_is_a_name")

    def _declare_size(self, _: str, body: tuple[int, int]) -> None:
        for piece in self.source.split(*body, ","):
            start, end = self.source.strip(piece)
            match = re.fullmatch(rf"({NAME})\s*=\s*(-?\d+)", self.source.text[start:end])
            if not match:
                raise self.source.fail(NotationError, start, "size_line")
            name, size = unicodedata.normalize("NFKC", match[1]), match[2]
            if len(size) > MAX_DIGITS or not 1 <= int(size) <= MAX_SIZE:
                raise self.source.fail(ShapeError, start, "size_out_of_range", index=name, came=size[:20], limit=MAX_SIZE)
            if self.sizes.get(name, int(size)) != int(size):
                raise self.source.fail(ShapeError, start, "two_sizes", index=name, first=self.sizes[name], second=size)
            self.sizes[name] = int(size)

    def _declare_loss(self, keyword: str, body: tuple[int, int]) -> None:
        start, end = self.source.strip(body)
        name = self.source.text[start:end]
        if not re.fullmatch(NAME, name):
            raise self.source.fail(NotationError, start, "name_expected", keyword=keyword)
        if keyword in self.chosen:
            raise self.source.fail(NotationError, start, "said_twice", keyword=keyword)
        self.chosen[keyword] = (unicodedata.normalize("NFKC", name), start)

    _declare_output = _declare_loss

    def _declare_label(self, _: str, body: tuple[int, int]) -> None:
        start, end = self.source.strip(body)
        match = LABEL.match(self.source.text[start:end])
        if not match:
            raise self.source.fail(NotationError, start, "label_line")
        self._new_tensor(start, match[1], "label", (), sampled=True, classes=match[2])

    def _declare_tensors(self, keyword: str, body: tuple[int, int]) -> None:
        pieces = self.source.split(*body, ",")
        initial: Initial | None = None
        if keyword in ("parameter", "state"):
            sides = self.source.split(*body, "=")
            if len(sides) > 2:
                raise self.source.fail(NotationError, sides[1][1], "two_equal_signs")
            pieces = self.source.split(*sides[0], ",")
            initial = self._initial(sides[1]) if len(sides) == 2 else Initial("zeros" if keyword == "state" else None)
        for piece in pieces:
            start, end = self.source.strip(piece)
            match = LEFT_SIDE.match(self.source.text[start:end])
            if match:
                indices = self._declared_indices(start, match[2])
                self._new_tensor(
                    start, match[1], ROLE_OF_LINE[keyword], indices, keyword in ("input", "target"), initial=initial
                )
            elif keyword in ("input", "target") and FACT_SIGN.search(self.source.text[start:end]):
                self.facts.append((start, end))
            else:
                raise self.source.fail(NotationError, start, "declaration_line", keyword=keyword)

    def _declared_indices(self, offset: int, text: str | None) -> tuple[str, ...]:
        indices = self._slots_of(offset, text)
        if any(isinstance(i, int) for i in indices):
            raise self.source.fail(NotationError, offset, "index_is_a_name")
        return tuple(str(i) for i in indices)

    def _slots_of(self, offset: int, text: str | None) -> tuple[Slot, ...]:
        if text is None:
            return ()
        names = [unicodedata.normalize("NFKC", part.strip()) for part in text.split(",")]
        for name in names:
            if not re.fullmatch(rf"{NAME}|\d{{1,10}}", name):
                raise self.source.fail(NotationError, offset, "index_is_a_name")
        if len(names) > MAX_INDICES:
            raise self.source.fail(NotationError, offset, "too_many_indices", limit=MAX_INDICES)
        return tuple(int(n) if n[0].isdigit() else n for n in names)

    def _new_tensor(
        self,
        offset: int,
        name: str,
        role: str,
        indices: tuple[str, ...],
        sampled: bool = False,
        classes: str | None = None,
        initial: Initial | None = None,
    ) -> None:
        name = unicodedata.normalize("NFKC", name)
        samples = self.scope.samples
        if name in RESERVED:
            raise self.source.fail(NotationError, offset, "reserved_name", name=name)
        if name in self.scope.tensors or name in self.hyper or name in self.scope.functions:
            before = self.scope.tensors[name].place if name in self.scope.tensors else None
            raise self.source.fail(NotationError, offset, "defined_twice", name=name, line=before.line if before else "–")
        if len(set(indices)) != len(indices):
            raise self.source.fail(ShapeError, offset, "index_twice_on_the_left", name=name)
        if samples in indices and (role != "computed" or indices[0] != samples):
            raise self.source.fail(ShapeError, offset, "sample_axis_declared", index=samples)
        if sampled and samples not in indices:
            indices = (samples, *indices)
        self.scope.tensors[name] = Tensor(name, role, indices, initial, classes, self.source.place(offset))

    def _initial(self, piece: tuple[int, int]) -> Initial:
        start, end = self.source.strip(piece)
        text = self.source.text[start:end]
        if not text:
            raise self.source.fail(NotationError, start, "empty_expression")
        call = re.fullmatch(rf"({NAME})\s*(?:\((.*)\))?", text, re.S)
        if call:
            known = self.scope.vocabulary.initializers
            if call[1] not in known:
                raise self.source.fail(UnknownName, start, "unknown_initializer", name=call[1], near=near(call[1], known))
            numbers = self._literal(start + call.start(2), f"[{call[2]}]") if call[2] is not None else ()
            if not isinstance(numbers, tuple) or not all(isinstance(v, float) for v in numbers):
                raise self.source.fail(NotationError, start, "initializer_arguments", name=call[1])
            return Initial(call[1], numbers, None, text)
        return Initial(None, (), self._literal(start, text), text)

    def _literal(self, offset: int, text: str) -> object:
        """A number or nested lists of numbers."""
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self.source.fail(NotationError, offset, "initial_value") from None

        def value(node: ast.expr) -> object:
            match node:
                case ast.Constant(int() | float() as v) if not isinstance(v, bool) and abs(v) < 1e300:
                    return float(v)
                case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as v)) if abs(v) < 1e300:
                    return -float(v)
                case ast.BinOp(ast.Constant(int() | float() as a), ast.Div(), ast.Constant(int() | float() as b)) if b:
                    return float(a) / float(b)
                case ast.List(items):
                    return tuple(value(item) for item in items)
            raise self.source.fail(NotationError, offset, "initial_value")

        return value(tree)

    def _declare_line(self, left: tuple[int, int], right: tuple[int, int], kind: list[_Pending]) -> None:
        start, end = self.source.strip(left)
        text = self.source.text[start:end]
        if kind is self.equations and (match := FUNCTION_SIDE.match(text)):
            self._declare_function(start, match[1], match[2], right)
            return
        match = LEFT_SIDE.match(text)
        if not match:
            self.source.check_tokens(start, end)
            raise self.source.fail(NotationError, start, "left_side")
        name = unicodedata.normalize("NFKC", match[1])
        slots = self._slots_of(start, match[2])
        if kind is self.updates:
            self.updates.append(_Pending(name, slots if match[2] is not None else None, start, right))
            return
        if match[2] is None and self._is_plain_number(right):
            self._new_hyper(start, name, right)
            return
        if any(isinstance(s, int) for s in slots):
            raise self.source.fail(NotationError, start, "fixed_index_on_the_left", name=name)
        self._new_tensor(start, name, "computed", tuple(str(s) for s in slots))
        self.equations.append(_Pending(name, slots, start, right))

    def _is_plain_number(self, piece: tuple[int, int]) -> bool:
        start, end = self.source.strip(piece)
        return bool(re.fullmatch(r"-?\s*(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", self.source.text[start:end]))

    def _new_hyper(self, offset: int, name: str, piece: tuple[int, int]) -> None:
        if name in RESERVED:
            raise self.source.fail(NotationError, offset, "reserved_name", name=name)
        if name in self.hyper or name in self.scope.tensors:
            raise self.source.fail(NotationError, offset, "defined_twice", name=name, line="–")
        value = self.scope.expression(*piece)
        assert isinstance(value, Number)
        self.hyper[name] = value.value

    def _declare_function(self, offset: int, name: str, arguments: str, right: tuple[int, int]) -> None:
        names = tuple(unicodedata.normalize("NFKC", a.strip()) for a in arguments.split(","))
        if name in FUNCTIONS or name in RESERVED:
            raise self.source.fail(NotationError, offset, "reserved_name", name=name)
        if name in self.scope.functions or name in self.scope.tensors:
            raise self.source.fail(NotationError, offset, "defined_twice", name=name, line="–")
        if not all(re.fullmatch(NAME, a) for a in names) or len(set(names)) != len(names):
            raise self.source.fail(NotationError, offset, "function_arguments", name=name)
        self.scope.arguments = names
        body = self.scope.expression(*right)
        self.scope.arguments = ()
        if free_indices(body):
            raise self.source.fail(NotationError, right[0], "function_with_tensor", name=name)
        self.scope.functions[name] = (names, body)

    # second walk

    def _collect_indices(self) -> None:
        for tensor in self.scope.tensors.values():
            self.scope.indices |= set(tensor.indices)
            if tensor.classes:
                self.scope.indices.add(tensor.classes)
        self.scope.indices |= set(self.sizes) | {self.scope.samples}

    def _read_equations(self) -> list[Equation]:
        """In an order in which every right side is known; the sample axis spreads from the inputs on the way."""
        waiting = {p.target: p for p in self.equations}
        names = {p.target: self._names_in(p.right) & set(waiting) for p in self.equations}
        done: list[Equation] = []
        while waiting:
            ready = [p for p in waiting.values() if not names[p.target] & set(waiting)]
            if not ready:
                self._fail_on_cycle(waiting, names)
            for pending in ready:
                done.append(self._read_equation(pending))
                del waiting[pending.target]
        return done

    def _names_in(self, piece: tuple[int, int]) -> set[str]:
        return set(re.findall(NAME, unicodedata.normalize("NFKC", self.source.text[slice(*piece)])))

    def _fail_on_cycle(self, waiting: Mapping[str, _Pending], names: Mapping[str, set[str]]) -> None:
        first = next(iter(waiting))
        path = [first]
        while path[-1] not in path[:-1]:
            path.append(min(names[path[-1]] & set(waiting)))
        cycle = path[path.index(path[-1]) :]
        offset = waiting[cycle[0]].offset
        raise self.source.fail(NotationError, offset, "cycle", path=" → ".join(cycle))

    def _read_equation(self, pending: _Pending) -> Equation:
        value = self.scope.expression(*pending.right)
        own = self.scope.tensors[pending.target]
        samples = self.scope.samples
        free = free_indices(value)
        indices = own.indices
        if samples in free and samples not in indices:
            indices = (samples, *indices)
            self.scope.tensors[own.name] = Tensor(own.name, own.role, indices, place=own.place)
        loose = sorted(free - set(indices))
        if loose:
            raise self.source.fail(
                ShapeError, pending.offset, "silent_sum", index=loose[0], name=pending.target, left=", ".join(own.indices)
            )
        self.scope.indices |= index_names(value)
        return Equation(Element(own.name, indices), value, own.place)

    def _read_update(self, pending: _Pending) -> Update:
        tensor = self.scope.tensors.get(pending.target)
        place = self.source.place(pending.offset)
        if tensor is None:
            if pending.slots:
                candidates = [t.name for t in self.scope.tensors.values() if t.role in ("parameter", "state")]
                hint = near(pending.target, candidates)
                raise self.source.fail(UnknownName, pending.offset, "update_of_unknown", name=pending.target, near=hint)
            return Update(Symbol(pending.target), self.scope.expression(*pending.right), place)
        if tensor.role not in ("parameter", "state"):
            raise self.source.fail(NotationError, pending.offset, "update_of_role", name=tensor.name, role=tensor.role)
        slots = pending.slots or ()
        if any(isinstance(s, int) for s in slots) or len(set(slots)) != len(slots):
            raise self.source.fail(NotationError, pending.offset, "fixed_index_on_the_left", name=tensor.name)
        if len(slots) != len(tensor.indices):
            raise self.source.fail(
                ShapeError,
                pending.offset,
                "wrong_index_count",
                name=tensor.name,
                came=len(slots),
                wanted=len(tensor.indices),
                example=f"{tensor.name}[{', '.join(tensor.indices)}]",
            )
        value = self.scope.expression(*pending.right)
        loose = sorted(free_indices(value) - set(slots) - {self.scope.samples})
        if loose:
            raise self.source.fail(
                ShapeError,
                pending.offset,
                "silent_sum",
                index=loose[0],
                name=tensor.name,
                left=", ".join(str(s) for s in slots),
            )
        return Update(Element(tensor.name, slots), value, place)

    def _read_facts(self, piece: tuple[int, int]) -> list[Fact]:
        text = self.source.text[slice(*piece)]
        cuts, depth = [], 0
        for match in re.finditer(r"[(\[]|[)\]]|<=|>=|==|<|>|=", text):
            depth += (match[0] in "([") - (match[0] in ")]")
            if depth == 0 and match[0] not in ")]":
                cuts.append(match)
        edges = [0, *(m.end() for m in cuts)]
        ends = [*(m.start() for m in cuts), len(text)]
        sides = [self.scope.expression(piece[0] + a, piece[0] + b) for a, b in zip(edges, ends, strict=True)]
        place = self.source.place(piece[0])
        signs = ["==" if m[0] == "=" else m[0] for m in cuts]
        return [Fact(a, s, b, place) for a, s, b in zip(sides, signs, sides[1:], strict=False)]

    def _ordered_tensors(self, equations: Iterable[Equation]) -> dict[str, Tensor]:
        declared = {n: t for n, t in self.scope.tensors.items() if t.role != "computed"}
        return declared | {e.target.tensor: self.scope.tensors[e.target.tensor] for e in equations}

    def _choose_loss_and_output(self, system: System) -> System:
        for keyword, (name, offset) in self.chosen.items():
            if system.equation_of(name) is None:
                computed = [e.target.tensor for e in system.equations]
                hint = near(name, computed)
                raise self.source.fail(UnknownName, offset, "not_computed", keyword=keyword, name=name, near=hint)
        loss = self.chosen["loss"][0] if "loss" in self.chosen else "E" if system.equation_of("E") else None
        if loss is not None:
            own = [i for i in system.tensors[loss].indices if i != system.samples]
            if own:
                place = system.tensors[loss].place
                raise ShapeError(say("formula.loss_has_index", name=loss, index=", ".join(own)), place)
        if "output" in self.chosen:
            return system.with_(loss=loss, output=self.chosen["output"][0])
        targets = {t.name for t in system.of_role("target", "label")}
        # The order of the text, not of the dependencies: the last line that a prediction can come from.
        lines = [p.target for p in self.equations if p.target != loss and not system.depends_on(p.target) & targets]
        feeding = system.depends_on(loss) if loss else set(lines)
        outputs = [n for n in lines if n in feeding] or lines
        return system.with_(loss=loss, output=outputs[-1] if outputs else None)
