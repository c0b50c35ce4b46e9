"""The characters of a formula text: places, statements, and what Python's own syntax errors would leave unclear.

Nothing here knows what a formula means. Comments are blanked and lookalikes replaced one character for one, so that
every offset is also an offset into what was typed.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from chainrule.errors import FormulaError, NotationError, Place
from chainrule.messages import say

MAX_CHARACTERS = 200_000
MAX_STATEMENTS = 5_000
MAX_TOKENS = 4_000  # in one statement
MAX_NESTING = 60
MAX_DIGITS = 40
MAX_NAME = 64

# What a person may type or paste for an ASCII character: minus, dots, crosses; the brackets and signs of a Korean
# keyboard; spaces of every kind, among them the byte order mark that Windows puts in front.
LOOKALIKES = str.maketrans(
    {"−": "-", "–": "-", "·": "*", "×": "*", "⋅": "*", "∗": "*", "÷": "/", "∑": "Σ"}
    | {chr(ord(c) - 0x21 + 0xFF01): c for c in "()[],=+-*/<>."}
    | dict.fromkeys("\t\r\f\v\xa0\u2002\u2003\u2007\u2009\u200a\u202f\u3000\ufeff", " ")
)
NAME = r"[^\W\d][\w\u0300-\u036f]*"  # the marks are accents typed after their letter: p̄, ŷ
TOKEN = re.compile(
    rf"\s+|[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|{NAME}|\*\*|<=|>=|==|!=|<-|.", re.S
)
SIGNS = {"+", "-"}
BINARY = {"*", "/", "**", "<", "<=", ">", ">=", "==", "!=", "=", "<-"}  # what cannot stand in front of a value
BRACKETS_AND_COMMA = {"(", ")", "[", "]", ","}
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
CHOICE_WORDS = {"if", "else", "or", "not"}  # Python's; the notation has where() and products of brackets
CLOSER = {"(": ")", "[": "]", "{": "}"}
# What no text may hold, comments included: what a terminal obeys, what turns a line around (CVE-2021-42574), and halves
# of surrogate pairs, which no file can hold.
HIDDEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Statement:
    start: int
    end: int
    text: str


class Source:
    """A formula text with its places. Raises: NotationError where it is too long."""

    def __init__(self, text: str):
        if len(text) > MAX_CHARACTERS:
            raise NotationError(say("formula.text_too_long", came=len(text), limit=MAX_CHARACTERS))
        self.typed = text
        self.line_starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self.shown_lines: dict[int, str] = {}
        self.text = re.sub(r"#[^\n]*", lambda m: " " * len(m[0]), text.translate(LOOKALIKES))

    def place(self, offset: int) -> Place:
        offset = min(offset, len(self.typed))
        line = bisect_right(self.line_starts, offset) - 1
        return Place(line + 1, offset - self.line_starts[line] + 1, self._shown_line(line))

    def _shown_line(self, line: int) -> str:
        """A line as it can be shown; kept, for one line may declare thousands of tensors."""
        if line not in self.shown_lines:
            end = self.line_starts[line + 1] - 1 if line + 1 < len(self.line_starts) else len(self.typed)
            self.shown_lines[line] = "".join(map(shown, self.typed[self.line_starts[line] : end].rstrip("\r")))
        return self.shown_lines[line]

    def fail(self, kind: type[FormulaError], offset: int, key: str, **values: object) -> FormulaError:
        return kind(say(f"formula.{key}", **values), self.place(offset))

    def statements(self) -> list[Statement]:
        """Lines, joined while a bracket is open."""
        if hidden := HIDDEN.search(self.typed):
            raise self.fail(NotationError, hidden.start(), "unknown_character", character=visible(hidden[0]))
        found: list[Statement] = []
        start = 0
        open_brackets: list[int] = []
        for offset, character in enumerate(self.text + "\n"):
            if character in CLOSER:
                open_brackets.append(offset)
                if len(open_brackets) > MAX_NESTING:
                    raise self.fail(NotationError, offset, "nested_too_deep", limit=MAX_NESTING)
            elif character in ")]}":
                if not open_brackets:
                    raise self.fail(NotationError, offset, "unopened_bracket", bracket=character)
                opener = self.text[open_brackets.pop()]
                if CLOSER[opener] != character:
                    raise self.fail(NotationError, offset, "wrong_bracket", opener=opener, bracket=character)
            elif character == "\n" and not open_brackets:
                if self.text[start:offset].strip():
                    found.append(Statement(start, offset, self.text[start:offset]))
                    if len(found) > MAX_STATEMENTS:
                        raise self.fail(NotationError, start, "too_many_statements", limit=MAX_STATEMENTS)
                start = offset + 1
        if open_brackets:
            bracket = CLOSER[self.text[open_brackets[-1]]]
            raise self.fail(NotationError, open_brackets[-1], "missing_bracket", bracket=bracket)
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

    def tokens(self, start: int, end: int) -> Iterator[tuple[int, str]]:
        """Offset and text of every token but white space."""
        for match in TOKEN.finditer(self.text, start, end):
            if not match[0].isspace():
                yield match.start(), match[0]

    def name(self, offset: int, token: str) -> str:
        """A name as Python's parser will know it, in Unicode's form NFKC.

        Raises: NotationError for what Python could not read as a name, or reads as a word of its own.
        """
        name = unicodedata.normalize("NFKC", token)
        if len(name) > MAX_NAME:
            raise self.fail(NotationError, offset, "name_too_long", limit=MAX_NAME)
        for position, character in enumerate(token):
            if character in SUPERSCRIPTS:
                raise self.fail(NotationError, offset + position, "superscript", character=character)
            if not f"a{character}".isidentifier():
                raise self.fail(NotationError, offset + position, "unknown_character", character=visible(character))
        if not name.isidentifier():
            raise self.fail(NotationError, offset, "unknown_character", character=visible(token[0]))
        if keyword.iskeyword(name):
            raise self.fail(NotationError, offset, "keyword_name", name=name)
        if name.startswith("__"):
            raise self.fail(NotationError, offset, "underscore_name", name=name)
        return name

    def names_in(self, start: int, end: int) -> set[str]:
        return {unicodedata.normalize("NFKC", t) for _, t in self.tokens(start, end) if t[0].isalpha() or t[0] == "_"}

    def index_names(self) -> set[str]:
        """Every name that stands as an index somewhere in the text: i and j of W[i, j], k of size(k) and sum[k](…)."""
        found: set[str] = set()
        opened_by, previous = "", ""
        slots: list[str] = []  # the tokens since the bracket of W[…] or size(…)
        for _, token in self.tokens(0, len(self.text)):
            if token in ("[", "(") and (previous == "size" if token == "(" else bool(re.fullmatch(NAME, previous))):
                opened_by, slots = token, []
            elif token in ("]", ")"):
                if opened_by and opened_by + token in ("[]", "()"):
                    found |= {unicodedata.normalize("NFKC", s) for s in slots if re.fullmatch(NAME, s)}
                opened_by = ""
            elif token == "," or re.fullmatch(NAME, token) or token.isdecimal():
                slots.append(token)
            else:
                opened_by = ""
            previous = token
        return found

    def check_tokens(self, start: int, end: int) -> None:
        """Say plainly what Python's own syntax error would leave unclear."""
        before, previous, previous_end = "", "", start
        for count, (offset, token) in enumerate(self.tokens(start, end), start=1):
            if count > MAX_TOKENS:
                raise self.fail(NotationError, offset, "statement_too_long", limit=MAX_TOKENS)
            self._check_token(offset, token)
            # Python reads '1and' as two words, and warns.
            glued = token == "and" and offset == previous_end and previous[:1].isdigit()
            if glued or (_ends_value(previous) and _begins_value(token, previous)):
                raise self.fail(NotationError, offset, "missing_operator", left=previous, right=token)
            if token in BINARY and (previous in BINARY or previous in SIGNS):
                raise self.fail(NotationError, offset, "two_operators", left=previous, right=token)
            if token in BINARY and previous in ("", "(", "[", ",", "and"):
                raise self.fail(NotationError, offset, "missing_left_operand", operator=token)
            if token in (")", "]", ",") and (previous in BINARY or previous in SIGNS or previous in (",", "and")):
                raise self.fail(NotationError, offset, "missing_operand", operator=previous)
            if token == "," and previous in ("(", "["):
                raise self.fail(NotationError, offset, "missing_left_operand", operator=token)
            if token == "]" and previous == "[" and _ends_value(before):
                raise self.fail(NotationError, offset, "index_is_a_name")
            before, previous, previous_end = previous, token, offset + len(token)
        if previous in BINARY or previous in SIGNS or previous in (",", "and"):
            raise self.fail(NotationError, end, "missing_operand", operator=previous)

    def _check_token(self, offset: int, token: str) -> None:
        if token[0].isalpha() or token[0] == "_":
            if token in CHOICE_WORDS:
                raise self.fail(NotationError, offset, "choice_word", word=token)
            if token != "and":
                self.name(offset, token)
        elif token[0] in "0123456789" or (token[0] == "." and len(token) > 1):
            if len(token) > MAX_DIGITS:
                raise self.fail(NotationError, offset, "number_too_long", limit=MAX_DIGITS)
        elif token == "^":
            raise self.fail(NotationError, offset, "caret_power")
        elif token == "∂":
            raise self.fail(NotationError, offset, "partial_sign")
        elif token == ".":
            raise self.fail(NotationError, offset, "lonely_dot")
        elif token[0] in SUPERSCRIPTS:
            raise self.fail(NotationError, offset, "superscript", character=token[0])
        elif token not in BINARY and token not in SIGNS and token not in BRACKETS_AND_COMMA:
            raise self.fail(NotationError, offset, "unknown_character", character=visible(token[0]))


def _ends_value(token: str) -> bool:
    return token != "and" and token[-1:] != "" and (token[-1].isalnum() or token[-1] in ")]_.")


def _begins_value(token: str, after: str) -> bool:
    """Whether a value begins at `token`; after a name or ']' a bracket is a call or an index instead."""
    if token in ("(", "["):
        return after[0].isdigit() or after[0] == "." or (token == "(" and after == ")")
    return token != "and" and (token[0].isalnum() or token[0] in "_.")


def shown(character: str) -> str:
    """A character as it can be shown: a tab as a space, what a terminal would obey or hide as a replacement sign."""
    if character in "\t\xa0\ufeff":
        return " "
    return character if character.isprintable() else "�"


def visible(character: str) -> str:
    """A character for a message: by its code point where it cannot be seen."""
    return character if character.isprintable() else f"U+{ord(character):04X}"
