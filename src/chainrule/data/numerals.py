"""Numbers as people write them in tables: 1.234,56 or 1,234.56, with a unit such as % or € around them.

Which sign is the decimal mark, the values of a column tell, or of the file's other columns: "39,28" cannot be
thousands, "1,234,567" cannot be decimals. Nothing is guessed against a value that says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Digits, whole groups of three between spaces or apostrophes, and a unit on either side: $1'000, 12 %, 3 €.
UNIT = r"(?:[$€£¥₩%]|원)?"
SIGNS = r"[ \u00a0\u202f'’]"
WRITTEN = re.compile(
    rf"([+-]?){UNIT} ?([+-]?)([0-9][0-9.,]*(?:{SIGNS}[0-9]{{3}}(?![0-9])[0-9.,]*)*)[ \u00a0\u202f]?{UNIT}"
)
PLAIN = re.compile(r"[0-9]+")
OPEN = {mark: re.compile(rf"[1-9][0-9]{{0,2}}\{mark}[0-9]{{3}}") for mark in ".,"}
"""What may be thousands or decimals."""
BY_MARK = {
    mark: re.compile(rf"(?:[0-9]+|[1-9][0-9]{{0,2}}(?:\{other}[0-9]{{3}})+)(?:\{mark}[0-9]+)?")
    for mark, other in ((".", ","), (",", "."))
}
"""A number by its decimal mark; the other sign stands between thousands."""


def _digits(word: str) -> str | None:
    """Digits, points and commas of a number, without sign, unit and spaces; None where the word is none."""
    match = WRITTEN.fullmatch(word.strip())
    if match is None or (match[1] and match[2]):
        return None
    return re.sub(SIGNS, "", match[3])


def marks_of(words: Sequence[str]) -> dict[str, list[str]]:
    """The words that show what the decimal mark is, by that mark: it could be no other.

    >>> marks_of(["39,28", "7"]), marks_of(["1,234", "2"]), marks_of(["1,234.5", "1,5"])
    ({',': ['39,28']}, {}, {'.': ['1,234.5'], ',': ['1,5']})
    """
    shown: dict[str, list[str]] = {}
    for word in words:
        digits = _digits(word)
        if digits is None or PLAIN.fullmatch(digits) or any(form.fullmatch(digits) for form in OPEN.values()):
            continue
        fits = [mark for mark in ".," if BY_MARK[mark].fullmatch(digits)]
        if len(fits) == 1:
            shown.setdefault(fits[0], []).append(word)
    return shown


def is_open(word: str) -> bool:
    """Whether a word is another number by each of the marks.

    >>> is_open("$1,234"), is_open("1,23"), is_open("1234")
    (True, False, False)
    """
    digits = _digits(word)
    return digits is not None and any(form.fullmatch(digits) for form in OPEN.values())


def value_of(word: str, mark: str) -> float | None:
    """The number that a word means by a decimal mark; None where it is none.

    >>> value_of("1.234,5 €", ","), value_of("-$1,234", "."), value_of("72.6%", "."), value_of("20.09.2005", ",")
    (1234.5, -1234.0, 72.6, None)
    """
    digits = _digits(word)
    if digits is None or not BY_MARK[mark].fullmatch(digits):
        return None
    number = float(digits.replace("." if mark == "," else ",", "").replace(mark, "."))
    return -number if "-" in word else number


def are_numbers(words: Sequence[str], share: float) -> bool:
    """Whether so many of the words are numbers, by one mark or the other."""
    read = sum(any(value_of(word, mark) is not None for mark in ".,") for word in words)
    return bool(words) and read >= share * len(words)
