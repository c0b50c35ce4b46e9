"""What a page is made of, before anybody decides whether it is a terminal, Markdown, LaTeX or HTML.

    Page    = title, Block…
    Block   = Heading | Text | Lines | Fold | Table
    Inline  = (str | Expr | Filled | Value | Code | Differential)…        words with formulas between them

Formulas stay expressions to the end, so that every dialect typesets the same ones.
"""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import FileError, SettingError
from chainrule.formula.expr import Expr, Random, bound_apart, free_indices
from chainrule.formula.system import Tensor
from chainrule.messages import catalogue, language, say

if TYPE_CHECKING:
    from chainrule.derivation.pages.numbers import Numbers


DIGITS = 4  # of a number on a page: as many as a reader compares


@dataclass(frozen=True)
class Filled:
    """A formula with its numbers put in: 0.5 · 0.3 + … in the place of Σ x w. `places` says at which indices."""

    expr: Expr
    numbers: Numbers = field(compare=False, repr=False)
    places: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Value:
    """A number, to so many digits."""

    number: float
    digits: int = DIGITS


@dataclass(frozen=True)
class Code:
    """A line of a program."""

    text: str


@dataclass(frozen=True)
class Differential:
    """d(u), the derivative of u in a step of a derivation."""

    expr: Expr


@dataclass(frozen=True)
class Sign:
    """What stands between two sides: "==" or "<-", "~" for about, "random" for drawn from."""

    kind: str = "=="


Piece = str | Expr | Filled | Value | Sign | Code | Differential
Inline = tuple[Piece, ...]
EQUALS, BECOMES, ABOUT, DRAWN = Sign("=="), Sign("<-"), Sign("~"), Sign("random")


def sign_before(value: Expr) -> Sign:
    """The sign of an equation with this right side."""
    return DRAWN if isinstance(value, Random) else EQUALS


@dataclass(frozen=True)
class Heading:
    text: Inline
    level: int = 2


@dataclass(frozen=True)
class Text:
    text: Inline


@dataclass(frozen=True)
class Line:
    """A formula on a line of its own: sides with signs between them, and by which rule. A missing left side is ()."""

    left: Inline
    right: Inline
    sign: Sign = EQUALS
    note: Inline = ()


@dataclass(frozen=True)
class Lines:
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Fold:
    """What a reader opens when he wants to see it."""

    title: Inline
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Table:
    header: tuple[Inline, ...]
    rows: tuple[tuple[Inline, ...], ...]


Block = Heading | Text | Lines | Fold | Table


@dataclass(frozen=True)
class Page:
    """A page, and what its formulas need to be typeset."""

    title: Inline
    blocks: tuple[Block, ...]
    samples: str = "n"
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def unfolded(self) -> Page:
        """The page with everything open."""
        return replace(self, blocks=tuple(_opened(self.blocks)))

    def folded(self) -> Page:
        """The page without what is folded."""
        return replace(self, blocks=tuple(b for b in self.blocks if not isinstance(b, Fold)))

    def terminal(self, *, steps: bool = False, colour: bool = False, width: int = 80) -> str:
        """Unicode text; `steps` shows what is folded."""
        from chainrule.derivation.pages.render_text import terminal

        return terminal(self if steps else self.folded(), colour=colour, width=width)

    def markdown(self) -> str:
        """Markdown with LaTeX formulas, as GitHub and Jupyter read it."""
        from chainrule.derivation.pages.render_text import markdown

        return markdown(self)

    def latex(self, *, steps: bool = False) -> str:
        """A LaTeX document that needs amsmath only."""
        from chainrule.derivation.pages.render_text import latex

        return latex(self.unfolded() if steps else self.folded())

    def html(self) -> str:
        """One self-contained HTML page, formulas as MathML."""
        from chainrule.derivation.pages.render_html import html

        return html(self)


FORMS = ("terminal", "markdown", "latex", "html")
SUFFIXES = {".txt": "terminal", ".md": "markdown", ".tex": "latex", ".html": "html", ".htm": "html"}


class Paged(ABC):
    """What has a page: how it is printed, shown in a notebook, and saved."""

    @abstractmethod
    def page(self) -> Page:
        """The page."""

    def terminal(self, *, steps: bool = False, colour: bool = False, width: int = 80) -> str:
        """The page as text; `steps` opens every step."""
        return self.page().terminal(steps=steps, colour=colour, width=width)

    def markdown(self) -> str:
        """The page as Markdown."""
        return self.page().markdown()

    def latex(self, *, steps: bool = False) -> str:
        """The page as a LaTeX document."""
        return self.page().latex(steps=steps)

    def html(self) -> str:
        """The page as one HTML file."""
        return self.page().html()

    def save(self, path: str | Path) -> None:
        """Write the page; the suffix says how: .html, .md, .tex, .txt. Raises: SettingError, FileError."""
        save_page(self.page(), Path(path))

    def __str__(self) -> str:
        return self.terminal()

    def _repr_html_(self) -> str:
        from chainrule.derivation.pages.render_html import fragment

        return fragment(self.page())


def save_page(page: Page, path: Path, *, steps: bool = False) -> None:
    """Write a page in the form that the suffix names. Raises: SettingError for another suffix, FileError."""
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError(say("pages.unknown_suffix", came=path.name, known=", ".join(SUFFIXES)))
    text = as_form(page, SUFFIXES[path.suffix.lower()], steps=steps)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(say("pages.not_written", path=path, reason=error.strerror)) from None


def as_form(page: Page, form: str, *, steps: bool = False, colour: bool = False, width: int = 80) -> str:
    """A page in one of FORMS."""
    match form:
        case "terminal":
            return page.terminal(steps=steps, colour=colour, width=width)
        case "latex":
            return page.latex(steps=steps)
    return page.markdown() if form == "markdown" else page.html()


def _opened(blocks: tuple[Block, ...]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, Fold):
            yield Text(block.title)
            yield from _opened(block.blocks)
        else:
            yield block


def say_inline(key: str, /, **values: Piece | Inline) -> Inline:
    """A message of the catalogue with formulas in it: "{q} is used in {uses}"."""
    chapter, _, name = key.partition(".")
    parts: list[Piece] = []
    for words, place, _, _ in string.Formatter().parse(catalogue(language(), chapter)[name]):
        if words:
            parts.append(words)
        if place is not None:
            value = values[place]
            parts += value if isinstance(value, tuple) else (value,)
    return tuple(parts)


def expressions(line: Line) -> list[Expr]:
    """The expressions of a line."""
    pieces = (*line.left, *line.right)
    return [p.expr if isinstance(p, Differential) else p for p in pieces if isinstance(p, Expr | Differential)]


def indices_apart(page: Page) -> Page:
    """No index bound that is free in the same line: Σₙ x_n beside a free n reads as one n; it becomes Σ_n' x_n'."""
    return replace(page, blocks=tuple(map(_block_apart, page.blocks)))


def _block_apart(block: Block) -> Block:
    match block:
        case Lines(lines):
            return Lines(tuple(map(_line_apart, lines)))
        case Fold(title, blocks):
            return Fold(title, tuple(map(_block_apart, blocks)))
    return block


def _line_apart(line: Line) -> Line:
    taken = frozenset().union(*(free_indices(e) for e in expressions(line)))
    left, right = (tuple(_piece_apart(p, taken) for p in side) for side in (line.left, line.right))
    return replace(line, left=left, right=right)


def _piece_apart(piece: Piece, taken: frozenset[str]) -> Piece:
    match piece:
        case Expr():
            return bound_apart(piece, taken)
        case Differential(expr):
            return Differential(bound_apart(expr, taken))
        case Filled(expr):
            return replace(piece, expr=bound_apart(expr, taken))
    return piece


def said_once(texts: Sequence[str], pieces: Inline) -> list[str]:
    """0.41 = 0.41 says one thing twice: the texts without what a filled formula has said already."""
    for place in range(len(pieces) - 2):
        if isinstance(pieces[place], Filled) and isinstance(pieces[place + 2], Value):
            if texts[place] == texts[place + 2]:
                return [*texts[:place], *texts[place + 2 :]]
    return list(texts)


def listed(pieces: Sequence[Expr], most: int = 8) -> Inline:
    """a, b, c; of many the first ones and the last."""
    shown: list[Piece] = list(pieces) if len(pieces) <= most else [*pieces[: most - 2], "…", pieces[-1]]
    out: list[Piece] = []
    for piece in shown:
        out += [", ", piece] if out else [piece]
    return tuple(out)
