"""Expressions and equations → LaTeX (amsmath only) and → Unicode text for the terminal.

mathprint.py says what a page prints; here is how each dialect spells it, and how lines become a document.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from fractions import Fraction

from chainrule.formula.expr import Add, Expr, Number, Reduction, Slot, Where, count_nodes
from chainrule.formula.mathprint import Line, MathPrinter
from chainrule.formula.names import ACCENTS, GREEK, Name, split_index, split_name
from chainrule.formula.system import Fact, Tensor
from chainrule.formula.text import ATOM, POWER, PREFIX, PRODUCT, SUM, UNARY, number_text

# exp(u) is written e^u as long as u is no larger than -(a - b)**2.
MAX_EXPONENT_NODES = 6
# An equation wider than this, in letters, does not fit on a line of an A4 page and is broken between its terms.
MAX_LINE_LETTERS = 70

LATEX_LETTERS = {letter: f"\\{word}" for word, letter in GREEK.items()} | {
    "ε": r"\varepsilon",
    "φ": r"\varphi",
    "ς": r"\varsigma",
    "ο": "o",
    **{greek: rf"\mathrm{{{latin}}}" for greek, latin in zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True)},
}
LATEX_ACCENTS = {ACCENTS[word]: f"\\{word}" for word in ACCENTS} | {
    "\u0300": r"\grave",
    "\u0301": r"\acute",
    "\u0306": r"\breve",
    "\u030c": r"\check",
}
LATEX_SIGNS = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne", "random": r"\sim"}
LATEX_FENCES = {
    "abs": (r"\lvert ", r" \rvert"),
    "floor": (r"\lfloor ", r" \rfloor"),
    "norm": (r"\lVert ", r" \rVert"),
    "global_norm": (r"\lVert ", r" \rVert_{\text{all}}"),
}
# Between two letters that are set as text, one at a time.
TEXT_SEAM = r"}\text{"
LATEX_HAT = r"\hat"
TALL = re.compile(r"\\(frac|sum|begin|left)(?![a-z])")


class Latex(MathPrinter):
    r"""Expression → LaTeX.

    >>> from chainrule.formula.parse import parse_expression
    >>> Latex().text(parse_expression("sigmoid(sum[i](x[i]*W1[i, j]) + b1[j])"))
    '\\sigma\\!\\left(\\sum_{i} x_{i} W^{(1)}_{ij} + b^{(1)}_{j}\\right)'
    """

    signs = LATEX_SIGNS
    fences = LATEX_FENCES
    arrow = r"\leftarrow"

    def _letter(self, letter: str) -> str:
        if len(letter) > 1:
            return rf"\mathrm{{{''.join(map(self._letter, letter)).replace(TEXT_SEAM, '')}}}"
        if letter.isascii():
            return rf"\{letter}" if letter == "_" else letter
        return LATEX_LETTERS.get(letter, rf"\text{{{letter}}}") + (" " if letter in LATEX_LETTERS else "")

    def _scripted(self, name: Name, marks_above: bool, slots: tuple[Slot, ...]) -> tuple[str, int]:
        text = self._letter(name.letter).strip()
        for accent in name.accents:
            text = f"{LATEX_ACCENTS.get(accent, LATEX_HAT)}{{{text}}}"
        marks = ",".join(m if m.isdecimal() else self._scripted(split_name(m), False, ())[0] for m in name.marks)
        if marks_above:
            numbered = all(m.isdecimal() for m in name.marks)
            text += f"^{{({marks})}}" if numbered else f"^{{{marks}}}"
        below = ",".join(filter(None, (self._indices(slots), "" if marks_above else marks)))
        return text + (f"_{{{below}}}" if below else ""), POWER if marks_above else ATOM

    def _index(self, slot: Slot) -> str:
        base, primes = split_index(str(slot))
        text = base if base.isdecimal() else self._scripted(split_name(base), False, ())[0]
        return text + "'" * primes

    def _indices(self, slots: Iterable[Slot]) -> str:
        """ij, but i,0 and row,j: what is not one letter is set apart."""
        slots = tuple(slots)
        apart = any(len(split_index(str(s))[0]) > 1 or isinstance(s, int) for s in slots)
        return ("," if apart else "").join(map(self._index, slots))

    def _differential_quotient(self, over: tuple[str, int], under: tuple[str, int]) -> tuple[str, int]:
        return rf"\frac{{\partial {over[0]}}}{{\partial {under[0]}}}", POWER

    def _operator(self, word: str) -> str:
        return rf"\{word}" if word in ("max", "min", "exp") else rf"\operatorname{{{escape_latex(word)}}}"

    def _function_sign(self, latex: str) -> str:
        return latex

    def _sign_of_reduction(self, kind: str, indices: tuple[str, ...]) -> str:
        sign = r"\sum" if kind == "sum" else self._operator(kind)
        return f"{sign}_{{{','.join(map(self._index, indices))}}}"

    def _with_pi(self, factor: Fraction, above: bool) -> tuple[str, int]:
        top, bottom = factor.numerator, factor.denominator
        if not above:
            return self._fraction(str(top), rf"{bottom} \pi" if bottom > 1 else r"\pi")
        text = rf"{top} \pi" if top > 1 else r"\pi"
        return self._fraction(text, str(bottom)) if bottom > 1 else (text, UNARY if top > 1 else ATOM)

    def _power_of_ten(self, mantissa: str, exponent: int) -> tuple[str, int]:
        power = f"10^{{{exponent}}}"
        return (power, POWER) if mantissa == "1" else (rf"{mantissa} \cdot {power}", UNARY)

    def _fraction(self, above: str, below: str) -> tuple[str, int]:
        return rf"\frac{{{above}}}{{{below}}}", POWER

    def _quotient(self, sign: str, above: list[Expr], below: list[Expr]) -> tuple[str, int]:
        if not below:
            return sign + (self._juxtaposed(above) if above else "1"), PRODUCT
        # A sum is too tall for a numerator: it follows the fraction.
        sums = [f for f in above if isinstance(f, Reduction) and f.kind == "sum"]
        fraction, strength = self._fraction(
            self._above_or_below([f for f in above if f not in sums]), self._above_or_below(below)
        )
        if sums:
            return f"{sign}{fraction} {self._juxtaposed(sums)}", PRODUCT if sign else PREFIX
        return sign + fraction, PRODUCT if sign else strength

    def _above_or_below(self, factors: list[Expr]) -> str:
        if len(factors) == 1:
            return self._print(factors[0])[0]
        return self._juxtaposed(factors) if factors else "1"

    def _root(self, base: Expr) -> tuple[str, int]:
        return rf"\sqrt{{{self._print(base)[0]}}}", ATOM

    def _raised(self, base: str, exponent: Expr) -> tuple[str, int]:
        power = number_text(exponent.value) if isinstance(exponent, Number) else self._print(exponent)[0]
        return f"{base}^{{{power}}}", POWER

    def _apply(self, function: str, arguments: tuple[Expr, ...]) -> tuple[str, int]:
        if function == "exp" and count_nodes(arguments[0]) <= MAX_EXPONENT_NODES:
            text = self._print(arguments[0])[0]
            if not TALL.search(text):
                return f"e^{{{text}}}", POWER
        return super()._apply(function, arguments)

    def _where(self, expr: Where) -> tuple[str, int]:
        yes, no = (self._print(e)[0] for e in (expr.yes, expr.no))
        holds, fails = self._cases(expr.condition)
        # Open to the right, so in brackets wherever anything follows.
        return rf"\begin{{cases}} {yes} & {holds} \\ {no} & {fails} \end{{cases}}", SUM

    def _call(self, name: str, argument: str) -> str:
        brackets = self._brackets(argument)
        return name + (r"\!" if brackets.startswith(r"\left") else "") + brackets

    def _fenced(self, text: str, opener: str, closer: str) -> str:
        if TALL.search(text):
            return rf"\left{opener.strip()}{text}\right{closer.strip()}"
        return opener + text + closer

    def _between(self, left: str, right: str) -> str:
        mixed_number = left[-1].isdigit() and re.match(r"\\frac\{\d", right)  # 2 beside 1/2 reads as 2.5
        if right[0].isdigit() or mixed_number:
            return r" \cdot "
        words = any(t.startswith((r"\mathrm", r"\text")) for t in (left, right))
        fractions = left.startswith(r"\frac") and right.startswith(r"\frac")
        return r" \, " if words or fractions else " "


UNICODE_SIGNS = {"<": "<", "<=": "≤", ">": ">", ">=": "≥", "==": "=", "!=": "≠", "random": "∼"}
UNICODE_FENCES = {"abs": ("|", "|"), "floor": ("⌊", "⌋"), "norm": ("‖", "‖"), "global_norm": ("‖", "‖_all")}
SUBSCRIPTS = dict(zip("0123456789aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ", strict=True))
SUPERSCRIPTS = dict(
    zip(
        "0123456789−+abcdefghijklmnoprstuvwxyzβγδθφχ",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵝᵞᵟᶿᵠᵡ",
        strict=True,
    )
)
FRACTIONS = {"1/2": "½", "1/3": "⅓", "2/3": "⅔", "1/4": "¼", "3/4": "¾", "1/5": "⅕", "1/6": "⅙", "1/8": "⅛"}
PRIMES = {0: "", 1: "′", 2: "″", 3: "‴"}


def _in(signs: Mapping[str, str], text: str) -> str | None:
    """Text in raised or lowered signs; None where Unicode lacks one."""
    return "".join(signs[c] for c in text) if all(c in signs for c in text) else None


def _in_one_bracket(text: str) -> bool:
    """Whether one pair of brackets stands around all of a text."""
    if not (text.startswith("(") and text.endswith(")")):
        return False
    depth = list(itertools.accumulate((c == "(") - (c == ")") for c in text))
    return min(depth[:-1]) > 0


class Unicode(MathPrinter):
    """Expression → one line of Unicode; what has no raised or lowered sign is written plainly, as W[row, c].

    >>> from chainrule.formula.parse import parse_expression
    >>> Unicode().text(parse_expression("sigmoid(sum[i](x[i]*W1[i, j]) + b1[j])"))
    'σ(Σᵢ xᵢ W1ᵢⱼ + b1ⱼ)'
    """

    minus = " − "
    signs = UNICODE_SIGNS
    fences = UNICODE_FENCES
    arrow = "←"

    def _letter(self, letter: str) -> str:
        return letter

    def _scripted(self, name: Name, marks_above: bool, slots: tuple[Slot, ...]) -> tuple[str, int]:
        text = unicodedata.normalize("NFC", name.letter + "".join(name.accents))
        strength = ATOM
        marks = "_".join(self._plain(m) for m in name.marks)
        if marks.isdecimal() and marks_above:
            text += marks  # W1ᵢⱼ: a raised 1 would read as a power
        elif marks:
            # δᵃ²ₖ would read as a square.
            raised = None if any(map(str.isdecimal, marks)) else _in(SUPERSCRIPTS, marks)
            signs = raised if marks_above else _in(SUBSCRIPTS, marks)
            text += f"_{marks}" if signs is None else signs
            strength = POWER if signs is not None and marks_above else ATOM
            if slots and not marks_above:
                return text + self._in_brackets(slots), strength
        return text + (self._lowered(slots) if slots else ""), strength

    def _in_brackets(self, slots: Iterable[Slot]) -> str:
        return f"[{', '.join(map(self._index, slots))}]"

    def _plain(self, mark: str) -> str:
        parts = split_name(mark)
        return mark if mark.isdecimal() or parts.accents else parts.letter + "".join(parts.marks)

    def _index(self, slot: Slot) -> str:
        base, primes = split_index(str(slot))
        return (base if base.isdecimal() else self._scripted(split_name(base), False, ())[0]) + PRIMES.get(
            primes, "′" * primes
        )

    def _lowered(self, slots: Iterable[Slot]) -> str:
        """ᵢⱼ, or [row, 0] where that cannot be said."""
        slots = tuple(slots)
        signs = ""
        for slot in slots:
            base, primes = split_index(str(slot))
            lowered = _in(SUBSCRIPTS, self._index(base))
            if lowered is None or (len(slots) > 1 and (len(lowered) > 1 or isinstance(slot, int))):
                return self._in_brackets(slots)
            signs += lowered + PRIMES.get(primes, "′" * primes)
        return signs

    def _differential_quotient(self, over: tuple[str, int], under: tuple[str, int]) -> tuple[str, int]:
        top, bottom = (text if strength > PREFIX else f"({text})" for text, strength in (over, under))
        return f"∂{top}/∂{bottom}", UNARY

    def _operator(self, word: str) -> str:
        return word

    def _function_sign(self, latex: str) -> str:
        word = latex.removeprefix("\\")
        return GREEK.get(word, word)

    def _sign_of_reduction(self, kind: str, indices: tuple[str, ...]) -> str:
        return ("Σ" if kind == "sum" else kind) + self._lowered(indices)

    def _with_pi(self, factor: Fraction, above: bool) -> tuple[str, int]:
        top, bottom = str(factor.numerator), str(factor.denominator)
        if above:
            top = "π" if top == "1" else f"{top}π"
            return (top, ATOM if top == "π" else UNARY) if bottom == "1" else (f"{top}/{bottom}", PRODUCT)
        return f"{top}/π" if bottom == "1" else f"{top}/({bottom}π)", PRODUCT

    def _power_of_ten(self, mantissa: str, exponent: int) -> tuple[str, int]:
        power = "10" + (_in(SUPERSCRIPTS, str(exponent).replace("-", "−")) or "")
        return (power, POWER) if mantissa == "1" else (f"{mantissa}·{power}", UNARY)

    def _fraction(self, above: str, below: str) -> tuple[str, int]:
        text = f"{above}/{below}"
        return (FRACTIONS[text], POWER) if text in FRACTIONS else (text, PRODUCT)

    def _quotient(self, sign: str, above: list[Expr], below: list[Expr]) -> tuple[str, int]:
        if not below:
            return sign + (self._juxtaposed(above) if above else "1"), PRODUCT
        sums = [f for f in above if isinstance(f, Reduction) and f.kind == "sum"]
        rest = [f for f in above if f not in sums]
        top = self._juxtaposed(rest, last=UNARY) if rest else "1"
        if "∂" in top and "/" in top and not _in_one_bracket(top):  # ∂E/∂y/N would be read as ∂E over ∂y/N
            top = self._brackets(top)
        bottom = self._within(below[0], POWER) if len(below) == 1 else self._brackets(self._juxtaposed(below))
        if sums:
            return f"{sign}({top}/{bottom}) {self._juxtaposed(sums)}", PRODUCT if sign else PREFIX
        return f"{sign}{top}/{bottom}", PRODUCT

    def _root(self, base: Expr) -> tuple[str, int]:
        return "√" + self._within(base, ATOM), POWER

    def _raised(self, base: str, exponent: Expr) -> tuple[str, int]:
        power = number_text(exponent.value) if isinstance(exponent, Number) else self._print(exponent)[0]
        raised = _in(SUPERSCRIPTS, power)
        return base + (raised if raised is not None else f"^({power})"), POWER

    def _where(self, expr: Where) -> tuple[str, int]:
        yes, no = (self._print(e)[0] for e in (expr.yes, expr.no))
        return f"where({self._cases(expr.condition)[0]}, {yes}, {no})", ATOM

    def _call(self, name: str, argument: str) -> str:
        return f"{name}({argument})"

    def _fenced(self, text: str, opener: str, closer: str) -> str:
        return opener + text + closer

    def _between(self, left: str, right: str) -> str:
        if left.startswith("∂") and right.startswith("∂"):
            return " · "  # the factors of the chain rule, apart
        return "·" if right[0].isdigit() or (left[-1].isdigit() and right[0].isnumeric()) else " "


# --- pages ------------------------------------------------------------------------------------------------------------


def latex_align(lines: Iterable[Line], samples: str = "n", tensors: Mapping[str, Tensor] | None = None) -> str:
    r"""Equations, updates and facts under each other, aligned at their signs: an amsmath `align*`, "" for no lines."""
    printer = Latex(samples, tensors)
    rows = [_row(printer, line) for line in lines]
    body = " \\\\\n  ".join(rows)
    return f"\\begin{{align*}}\n  {body}\n\\end{{align*}}\n" if rows else ""


def _row(printer: Latex, line: Line) -> str:
    left, sign, right = printer.sides(line)
    value = line.right if isinstance(line, Fact) else line.value
    if not isinstance(value, Add) or letters(left + right) <= MAX_LINE_LETTERS:
        return f"{left} &{sign} {right}"
    row, width = f"{left} &{sign} ", letters(left)
    for place, term in enumerate(printer.terms(value)):
        width += letters(term)
        if place and width > MAX_LINE_LETTERS:
            row += " \\\\\n  &\\qquad "
            width = letters(term)
        row += term
    return row


def letters(latex: str) -> int:
    """About how many letters a text is wide: a sum sign is as wide as three, and so are + and - with their spaces."""
    wide = re.sub(r"\\sum|[-+=]", "xxx", latex)
    return len(re.sub(r"[{}_^\s]", "", re.sub(r"\\[a-zA-Z]+", "x", wide)))


PREAMBLE = r"""\documentclass[a4paper,11pt]{article}
\usepackage[utf8]{inputenc}
\usepackage{amsmath}
\addtolength{\textwidth}{90pt}
\addtolength{\oddsidemargin}{-45pt}
\setlength{\parindent}{0pt}
\setlength{\jot}{7pt}
\allowdisplaybreaks
"""


def latex_document(sections: Iterable[tuple[str, str]]) -> str:
    r"""A whole document of (title, LaTeX body) sections; titles are plain text, bodies come from `latex_align`.

    pdflatex with amsmath compiles it; Korean text needs the package kotex as well, which is asked for only then.
    """
    sections = list(sections)
    korean = any("HANGUL" in unicodedata.name(c, "") for part in sections for text in part for c in text)
    body = "\n".join(f"\\section*{{{escape_latex(title)}}}\n{content}" for title, content in sections)
    preamble = PREAMBLE + ("\\usepackage{kotex}\n" if korean else "")
    return f"{preamble}\\begin{{document}}\n{body}\n\\end{{document}}\n"


ESCAPES = {c: rf"\{c}" for c in "#$%&_{}"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "−": r"\ensuremath{-}",
}


def escape_latex(text: str) -> str:
    """Plain text as LaTeX that prints it."""
    return "".join(ESCAPES.get(c) or _greek(c) for c in text)


def _greek(letter: str) -> str:
    """A Greek letter as mathematics, which every font has; any other as it is."""
    return rf"\ensuremath{{{LATEX_LETTERS[letter]}}}" if letter in LATEX_LETTERS else letter
