"""A Page → the terminal, Markdown, LaTeX. Each is a table of how the blocks look; formulas come from typeset.py."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from chainrule.derivation.pages.numbers import Filling, FillingLatex, FillingUnicode, latex_number, number_words
from chainrule.derivation.pages.page import (
    Block,
    Code,
    Differential,
    Filled,
    Fold,
    Heading,
    Inline,
    Line,
    Lines,
    Page,
    Piece,
    Sign,
    Table,
    Text,
    Value,
    expressions,
    said_once,
)
from chainrule.formula.expr import Expr
from chainrule.formula.mathprint import MathPrinter
from chainrule.formula.typeset import MAX_LINE_LETTERS, Latex, Unicode, escape_latex, latex_document, letters

# --- formulas ---------------------------------------------------------------------------------------------------------


class Pieces(ABC):
    """Pieces of a line in one dialect: `printer` prints formulas, `filling` those with numbers in them."""

    signs: Mapping[str, str]
    filling: type[Filling]
    printer: MathPrinter

    def __init__(self, page: Page):
        self.page = page

    @abstractmethod
    def math(self, pieces: Inline) -> str:
        """Pieces of a line that is all formula."""

    @abstractmethod
    def number(self, number: float, digits: int) -> str:
        """A number."""

    def sides(self, line: Line) -> tuple[str, str]:
        """Both sides of a line; where one of them needs the sample axis, both show it."""
        with self.printer.showing_samples(expressions(line)):
            return self.math(line.left), self.math(line.right)

    def formula(self, piece: Piece) -> str:
        """A piece that is no words and no line of a program."""
        match piece:
            case Sign(kind):
                return f" {self.signs[kind]} "
            case Value(number, digits):
                return self.number(number, digits)
            case Filled(expr, numbers, places):
                return self.filling(self.page, numbers, dict(places)).text(expr)
            case Differential(expr):
                return self.printer.differential(expr)
            case Expr():
                return self.printer.text(piece)
        raise AssertionError(piece)


class UnicodePieces(Pieces):
    """Pieces as Unicode, where words and formulas are spelled alike."""

    signs = {"==": "=", "<-": "←", "~": "≈", "random": "∼"}
    filling = FillingUnicode

    def __init__(self, page: Page):
        super().__init__(page)
        self.printer = Unicode(page.samples, page.tensors)

    def text(self, pieces: Inline) -> str:
        return "".join(said_once([self._piece(p) for p in pieces], pieces))

    def math(self, pieces: Inline) -> str:
        return self.text(pieces)

    def number(self, number: float, digits: int) -> str:
        return number_words(number, digits)

    def _piece(self, piece: Piece) -> str:
        match piece:
            case str():
                return piece
            case Code(text):
                return text
        return self.formula(piece)


class LatexPieces(Pieces):
    """Pieces as LaTeX; `math` for a line that is all formula, `text` for words with formulas in dollars."""

    signs = {"==": "=", "<-": r"\leftarrow", "~": r"\approx", "random": r"\sim"}
    filling = FillingLatex

    def __init__(self, page: Page, escape: bool = True):
        super().__init__(page)
        self.escape = escape
        self.printer = Latex(page.samples, page.tensors)

    def text(self, pieces: Inline) -> str:
        return "".join(map(self._in_words, pieces))

    def math(self, pieces: Inline) -> str:
        texts = [rf"\text{{{self._word(p)}}}" if isinstance(p, str) else self.formula(p) for p in pieces]
        return "".join(said_once(texts, pieces))

    def number(self, number: float, digits: int) -> str:
        return latex_number(number, digits)

    def _in_words(self, piece: Piece) -> str:
        match piece:
            case str():
                return self._word(piece)
            case Code(text):
                return rf"\texttt{{{escape_latex(text)}}}" if self.escape else f"`{text}`"
            case Sign(kind) if not self.escape and kind == "==":
                return " = "
        return f"${self.formula(piece)}$"

    def _word(self, words: str) -> str:
        return escape_latex(words) if self.escape else words


# --- terminal ---------------------------------------------------------------------------------------------------------

BLANK = 100  # how bad a break between two factors is, where there is no sign
BOLD, DIM, BLUE, RESET = "\x1b[1m", "\x1b[2m", "\x1b[34m", "\x1b[0m"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(map(_width, re.sub(r"\x1b\[\d+m", "", text)))


@cache
def _width(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _beginnings(text: str, width: int) -> list[int]:
    """How many columns the first 0, 1, 2, … characters take, up to the first that goes beyond `width`."""
    taken = [0]
    for piece in re.finditer(r"\x1b\[\d+m|.", text, re.DOTALL):
        long = piece.end() - piece.start()
        taken += [taken[-1]] * (long - 1) + [taken[-1] + (_width(piece[0]) if long == 1 else 0)]
        if taken[-1] > width:
            break
    return taken


def terminal(page: Page, *, colour: bool = False, width: int = 80) -> str:
    """Unicode text of at most `width` columns where the formulas allow it."""
    return _Terminal(page, colour, width).text()


class _Terminal:
    def __init__(self, page: Page, colour: bool, width: int):
        self.page, self.colour, self.width = page, colour, width
        self.pieces = UnicodePieces(page)

    def text(self) -> str:
        title = self.pieces.text(self.page.title)
        parts = [self._paint(BOLD, title) + "\n" + "═" * columns(title)]
        parts += [self._block(b) for b in self.page.blocks]
        return "\n\n".join(p for p in parts if p) + "\n"

    def _paint(self, code: str, text: str) -> str:
        return f"{code}{text}{RESET}" if self.colour else text

    def _block(self, block: Block) -> str:
        match block:
            case Heading(text, level):
                words = self.pieces.text(text)
                if level == 2:
                    return "\n" + self._paint(BOLD, words) + "\n" + "─" * columns(words)
                return self._paint(BLUE, words)
            case Text(text):
                return "\n".join(wrapped(self.pieces.text(text), self.width))
            case Lines(lines):
                return "\n".join(self._lines(lines))
            case Table(header, rows):
                return self._table(header, rows)
            case Fold(title, blocks):
                inner = _Terminal(self.page, self.colour, self.width - 4)
                body = "\n\n".join([self._paint(DIM, self.pieces.text(title)), *map(inner._block, blocks)])
                return textwrap.indent(body, "    ")
        raise AssertionError(block)

    def _lines(self, lines: tuple[Line, ...]) -> Iterator[str]:
        sides = [self.pieces.sides(line) for line in lines]
        lefts = [left for left, _ in sides]
        edge = min(max(map(columns, lefts), default=0), self.width // 3)
        for (left, right), line in zip(sides, lines, strict=True):
            sign = UnicodePieces.signs[line.sign.kind]
            if columns(left) > self.width // 2:  # the formula that something is said of, then what is said
                yield from (f"  {row}" for row in broken(left, self.width - 2))
                left = ""
            head = f"  {left}{' ' * (edge - columns(left))} {sign} "
            note = self.pieces.text(line.note)
            body = broken(right, max(20, self.width - columns(head)))
            yield from self._noted([head + body[0], *(" " * columns(head) + b for b in body[1:])], note)

    def _noted(self, rows: list[str], note: str) -> Iterator[str]:
        """The note at the right edge, on a line of its own where there is no room."""
        if not note:
            yield from rows
            return
        gap = self.width - columns(rows[-1]) - columns(note) - 2
        if gap >= 2:
            rows[-1] += " " * gap + self._paint(DIM, f"({note})")
            yield from rows
        else:
            yield from rows
            yield " " * max(0, self.width - columns(note) - 2) + self._paint(DIM, f"({note})")

    def _table(self, header: tuple[Inline, ...], rows: tuple[tuple[Inline, ...], ...]) -> str:
        cells = [[self.pieces.text(c) for c in row] for row in (header, *rows)]
        if len(header) == 3 and self._too_wide(cells):  # the first and the last say it
            cells = [[row[0], row[2]] for row in cells]
        if self._too_wide(cells):
            return "\n".join("\n".join([f"  {row[0]}", *(f"      {c}" for c in row[1:] if c)]) for row in cells[1:])
        widths = self._widths(cells)
        lines = ["  ".join(c + " " * (w - columns(c)) for c, w in zip(row, widths, strict=True)) for row in cells]
        lines.insert(1, "  ".join("─" * w for w in widths))
        return "\n".join(f"  {line.rstrip()}" for line in lines)

    def _widths(self, cells: list[list[str]]) -> list[int]:
        return [max(columns(row[n]) for row in cells) for n in range(len(cells[0]))]

    def _too_wide(self, cells: list[list[str]]) -> bool:
        return sum(self._widths(cells)) + 2 * len(cells[0]) > self.width


def wrapped(text: str, width: int) -> list[str]:
    """Words in lines of at most `width` columns; Hangul takes two."""
    wide = sum(columns(c) - 1 for c in text) / max(1, len(text))
    return textwrap.wrap(text, max(20, int(width / (1 + wide))), break_long_words=False) or [""]


def broken(formula: str, width: int) -> list[str]:
    """A formula in lines of at most `width` columns, broken before a sign, outside brackets where that can be."""
    rows = []
    while (taken := _beginnings(formula, width))[-1] > width:
        near = formula[: len(taken) + 3]  # a formula may have a hundred thousand characters: only a line is looked at
        places = [(depth, at) for depth, at in _signs(near) if at < len(taken) and 0 < taken[at] <= width]
        # A break outside brackets is worth a line that is up to half empty, a sign one that is nearly.
        late = [p for p in places if taken[p[1]] >= width // 2 and p[0] < BLANK]
        late = late or [p for p in places if taken[p[1]] >= width // 4 and p[0] < BLANK] or places
        if not late:
            break
        depth = min(d for d, _ in late)
        at = max(place for d, place in late if d == depth)
        rows.append(formula[:at])
        formula = formula[at:].lstrip()
    return [*rows, formula]


def _signs(formula: str) -> Iterator[tuple[int, int]]:
    """(how bad, where): the blank before each sign, better outside brackets; last any other blank.

    The = of a condition stands in brackets and is no place: it would read as a new side.
    """
    depth = 0
    for at, letter in enumerate(formula):
        depth += (letter in "([") - (letter in ")]")
        if letter == " " and at > 0:
            sign = formula[at + 1 : at + 2] if formula[at + 2 : at + 3] == " " else ""
            if sign and sign in "+−·":
                yield depth, at
            elif sign and sign in "=≈":
                if depth == 0:
                    yield depth, at
            elif formula[at - 1] not in "+−·=≈≤≥<>≠":
                yield BLANK + depth, at


# --- Markdown ---------------------------------------------------------------------------------------------------------


def markdown(page: Page) -> str:
    """Markdown; what folds is a <details>."""
    pieces = LatexPieces(page, escape=False)
    parts = [f"# {pieces.text(page.title)}", *_markdown_blocks(pieces, page.blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown_blocks(pieces: LatexPieces, blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Heading(text, level):
                yield f"{'#' * level} {pieces.text(text)}"
            case Text(text):
                yield pieces.text(text)
            case Lines(lines):
                yield "$$\n" + aligned(pieces, lines, "aligned") + "\n$$"
            case Fold(title, inner):
                body = "\n\n".join(_markdown_blocks(pieces, inner))
                yield f"<details>\n<summary>{pieces.text(title)}</summary>\n\n{body}\n\n</details>"
            case Table(header, rows):
                yield "\n".join(_markdown_table(pieces, header, rows))


def _markdown_table(pieces: LatexPieces, header: tuple[Inline, ...], rows: Iterable[tuple[Inline, ...]]) -> list[str]:
    def row(cells: Iterable[Inline]) -> str:
        return "| " + " | ".join(pieces.text(c).replace("|", r"\|") for c in cells) + " |"

    return [row(header), "|" + "---|" * len(header), *map(row, rows)]


def aligned(pieces: LatexPieces, lines: tuple[Line, ...], environment: str) -> str:
    """Lines under each other, aligned at their signs, the rules at the right."""
    rows = []
    for line in lines:
        note = rf" && \text{{({pieces.text(line.note)})}}" if line.note else ""
        left, right = pieces.sides(line)
        if letters(left) > MAX_LINE_LETTERS // 2:  # on a line of its own
            rows.append(f"& {latex_broken(left)}")
            left = ""
        rows.append(f"{left} &{pieces.signs[line.sign.kind]} {latex_broken(right)}{note}")
    body = " \\\\\n  ".join(rows)
    return f"\\begin{{{environment}}}\n  {body}\n\\end{{{environment}}}"


def latex_broken(formula: str) -> str:
    """A formula that is too wide for a line, in several: broken before a sign outside all braces and fences."""
    if letters(formula) <= MAX_LINE_LETTERS:
        return formula
    rows, row, depth = [], "", 0
    for part in re.split(r"(?= [+=-] )", formula):
        if row and depth == 0 and letters(row + part) > MAX_LINE_LETTERS:
            rows.append(row)
            row = ""
        row += part
        depth += len(re.findall(r"\\left(?![a-z])|\\begin\{", part)) - len(
            re.findall(r"\\right(?![a-z])|\\end\{", part)
        )
        depth += part.count("{") - part.count("}")
    return " \\\\\n  &\\qquad ".join([*rows, row])


# --- LaTeX ------------------------------------------------------------------------------------------------------------


def latex(page: Page) -> str:
    """A document that pdflatex compiles with amsmath alone; what folds is left out (see Page.unfolded)."""
    pieces = LatexPieces(page)
    sections: list[tuple[str, str]] = []
    title, body = UnicodePieces(page).text(page.title), ""
    for block in page.blocks:
        match block:
            case Heading(text, 2):
                sections.append((title, body))
                title, body = UnicodePieces(page).text(text), ""
            case Heading(text, _):
                body += f"\\subsection*{{{pieces.text(text)}}}\n"
            case Text(text):
                body += pieces.text(text) + "\n\n"
            case Lines(lines):
                body += aligned(pieces, lines, "align*") + "\n"
            case Table(header, rows):
                body += _latex_table(pieces, header, rows)
    return latex_document([*sections, (title, body)])


def _latex_table(pieces: LatexPieces, header: tuple[Inline, ...], rows: Iterable[tuple[Inline, ...]]) -> str:
    """Columns that break their lines, but for the first of three."""
    lines = [" & ".join(rf"\raggedright {pieces.text(c)}" for c in row) for row in (header, *rows)]
    lines = [line + r" \tabularnewline" for line in lines]
    lines.insert(1, r"\hline")
    body = "\n".join(lines)
    shares = {2: (0.42, 0.52), 3: (0.22, 0.30, 0.42)}.get(len(header), (0.9 / len(header),) * len(header))
    kinds = "".join(rf"p{{{share}\textwidth}}" for share in shares)
    return f"{{\\small\n\\begin{{tabular}}{{{kinds}}}\n{body}\n\\end{{tabular}}}}\n\n"
