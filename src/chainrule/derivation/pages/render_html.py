"""A Page → one self-contained HTML page: no script, no network, light and dark; formulas are MathML.

Browsers have typeset MathML by themselves since 2023. LaTeX becomes MathML through latex2mathml.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape

from chainrule.derivation.pages.page import Block, Code, Fold, Heading, Inline, Line, Lines, Page, Piece, Table, Text
from chainrule.derivation.pages.render_text import LatexPieces, UnicodePieces
from chainrule.messages import language

STYLE = """
:root { color-scheme: light dark; --text: #1c2330; --faint: #667085; --line: #d8dde6; --ground: #ffffff;
        --panel: #f6f8fb; --accent: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e8ef; --faint: #98a2b3; --line: #333b4a; --ground: #12161d; --panel: #1a202a;
          --accent: #7db3f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); line-height: 1.55;
       font: 17px/1.55 system-ui, "Segoe UI", "Noto Sans", "Noto Sans KR", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .3rem; color: var(--accent); font-weight: 600; }
p { margin: .5rem 0; max-width: 46rem; }
math { font-size: 1.08em; }
.lines { overflow-x: auto; margin: .5rem 0; padding: .35rem 0 .35rem 1rem; border-left: 3px solid var(--line); }
.lines table { border-collapse: collapse; }
.lines td { padding: .28rem 0; vertical-align: middle; white-space: nowrap; }
.lines td.left { text-align: right; }
.lines td.sign { padding: .28rem .5rem; }
.lines td.note { color: var(--faint); font-size: .82rem; padding-left: 1.6rem; white-space: nowrap; }
details { margin: .4rem 0 .8rem; background: var(--panel); border-radius: 6px; padding: .1rem .9rem; }
summary { cursor: pointer; color: var(--faint); font-size: .9rem; padding: .3rem 0; }
.scroll { overflow-x: auto; }
table.data { border-collapse: collapse; margin: .8rem 0; }
table.data th, table.data td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); }
table.data th { color: var(--faint); font-weight: 500; font-size: .88rem; }
code { font: .92em/1.4 ui-monospace, Menlo, Consolas, monospace; white-space: pre; }
footer { margin-top: 3rem; color: var(--faint); font-size: .85rem; }
@media (max-width: 640px) { body { font-size: 15.5px; } main { padding: 1rem .8rem 3rem; }
  .lines { padding-left: .6rem; } .lines td.note { white-space: normal; min-width: 7rem; } }
"""


def html(page: Page) -> str:
    """The page as one file."""
    writer = _Html(page)
    title = escape(UnicodePieces(page).text(page.title))
    body = "\n".join(writer.blocks(page.blocks))
    return (
        f'<!doctype html>\n<html lang="{language()}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{writer.inline(page.title)}</h1>\n{body}\n"
        f"<footer>chainrule</footer>\n</main>\n</body>\n</html>\n"
    )


def fragment(page: Page) -> str:
    """The page for a notebook: what stands in the body, in a box of its own style."""
    writer = _Html(page)
    # Scoped, so that the headings of the notebook stay as they are.
    style = "@scope (.chainrule) {" + STYLE.replace(":root", ":scope").replace("body {", ":scope {") + "}"
    body = "\n".join(writer.blocks(page.blocks))
    return (
        f'<div class="chainrule"><style>{style}</style><main><h1>{writer.inline(page.title)}</h1>\n{body}</main></div>'
    )


class _Html:
    def __init__(self, page: Page):
        self.pieces = LatexPieces(page, escape=False)

    def blocks(self, blocks: Iterable[Block]) -> Iterator[str]:
        for block in blocks:
            match block:
                case Heading(text, level):
                    yield f"<h{level}>{self.inline(text)}</h{level}>"
                case Text(text):
                    yield f"<p>{self.inline(text)}</p>"
                case Lines(lines):
                    rows = "\n".join(map(self._line, lines))
                    yield f'<div class="lines"><table>\n{rows}\n</table></div>'
                case Fold(title, inner):
                    body = "\n".join(self.blocks(inner))
                    yield f"<details>\n<summary>{self.inline(title)}</summary>\n{body}\n</details>"
                case Table(header, rows_of_cells):
                    yield self._table(header, rows_of_cells)

    def inline(self, pieces: Inline) -> str:
        return "".join(map(self._piece, pieces))

    def _piece(self, piece: Piece) -> str:
        match piece:
            case str():
                return escape(piece)
            case Code(text):
                return f"<code>{escape(text)}</code>"
        return self._math((piece,))

    def _math(self, pieces: Inline) -> str:
        latex = self.pieces.math(pieces)
        return mathml(latex) if latex.strip() else ""

    def _line(self, line: Line) -> str:
        left, right = (mathml(side) if side.strip() else "" for side in self.pieces.sides(line))
        sign = mathml(LatexPieces.signs[line.sign.kind])
        note = f'<td class="note">{self.inline(line.note)}</td>' if line.note else ""
        cells = f'<td class="left">{left}</td><td class="sign">{sign}</td>'
        return f"<tr>{cells}<td>{right}</td>{note}</tr>"

    def _table(self, header: tuple[Inline, ...], rows: Iterable[tuple[Inline, ...]]) -> str:
        head = "".join(f"<th>{self.inline(c)}</th>" for c in header)
        body = "\n".join("<tr>" + "".join(f"<td>{self.inline(c)}</td>" for c in row) + "</tr>" for row in rows)
        return f'<div class="scroll"><table class="data">\n<tr>{head}</tr>\n{body}\n</table></div>'


@cache
def mathml(latex: str) -> str:
    """LaTeX → MathML, in display style so that sums have their limits below."""
    from latex2mathml.converter import convert

    # \lvert, \! and \operatorname{a\_b} are spelled in ways that the converter does not know.
    latex = re.sub(r"\\!", "", latex)
    for word, sign in ((r"\lvert", "|"), (r"\rvert", "|")):
        side = r"\left" if word == r"\lvert" else r"\right"
        latex = latex.replace(side + word, side + sign).replace(word, side + sign)
    latex = re.sub(r"\\operatorname\{((?:\w+\\_)+\w+)\}", lambda m: rf"\mathrm{{{m[1]}}}", latex)
    latex = re.sub(r"(\\ln) (?=[a-zA-Z\\])", r"\1 \\, ", latex)
    latex = latex.replace(r"\begin{cases} [", r"\begin{cases} {}[")  # no alignment
    text: str = convert(latex, display="block")
    return text.replace('display="block"', 'displaystyle="true"', 1)
