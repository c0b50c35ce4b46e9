"""How a parameter starts, read from text: an initializer's name, a number, or nested lists of numbers.

Python's parser reads the text; of its tree only numbers, signs, quotients and lists are taken, none is evaluated.
"""

from __future__ import annotations

import ast
import math
import re

from chainrule.errors import NotationError, UnknownName
from chainrule.formula.expressions import Vocabulary, near
from chainrule.formula.source import NAME, Source
from chainrule.formula.system import Initial

WRITTEN = re.compile(r"[0-9eE.,+\-/\[\]()\s]*")  # Python reads more: 0x1f, 1_000, and warns of 1if
NAMED = re.compile(rf"({NAME})\s*(?:\((.*)\))?$", re.S)


def read_initial(source: Source, vocabulary: Vocabulary, start: int, end: int) -> Initial:
    """The right side text[start:end] of a parameter's line, without spaces around it."""
    text = source.text[start:end]
    if not text:
        raise source.fail(NotationError, start, "empty_expression")
    call = NAMED.match(text)
    if not call:
        return Initial(None, (), _literal(source, start, text), text)
    known = {*vocabulary.initializers, "zeros"}  # what a state starts from, in every vocabulary
    if call[1] not in known:
        raise source.fail(UnknownName, start, "unknown_initializer", name=call[1], near=near(call[1], known))
    numbers = _literal(source, start + call.start(2), f"[{call[2]}]") if call[2] is not None else ()
    if not isinstance(numbers, tuple) or not all(isinstance(v, float) for v in numbers):
        raise source.fail(NotationError, start, "initializer_arguments", name=call[1])
    return Initial(call[1], numbers, None, text)


def _literal(source: Source, offset: int, text: str) -> object:
    """A number or nested tuples of numbers."""
    try:
        if not WRITTEN.fullmatch(text):
            raise ValueError
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        raise source.fail(NotationError, offset, "initial_value") from None


def _value(node: ast.expr) -> object:
    """Raises: ValueError for anything but a finite number, a quotient of two, or lists of these."""
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
        case ast.UnaryOp(ast.USub(), inner):
            positive = _value(inner)
            if isinstance(positive, float):
                return -positive
        case ast.BinOp(left, ast.Div(), right):
            above, below = _value(left), _value(right)
            if isinstance(above, float) and isinstance(below, float) and math.isfinite(above / below):
                return above / below
        case ast.List(items):
            return tuple(_value(item) for item in items)
    raise ValueError
