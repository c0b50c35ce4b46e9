"""Every text that a user reads, in English and Korean.

One TOML file per chapter and language: `en/formula.toml`, `ko/formula.toml`, … A message is asked for by
"chapter.name" and filled with named values:

>>> say("formula.missing_bracket", bracket=")")
"this bracket is never closed: add the missing ')'"

The language is the caller's choice (`set_language("ko")`, `--lang ko`), else CHAINRULE_LANG, else the locale's.
"""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache
from importlib import resources

LANGUAGES = ("en", "ko")

# What a terminal obeys or cannot show, and what turns text around (CVE-2021-42574): a file's names stand in messages.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_chosen: str | None = None


def set_language(language: str | None) -> None:
    """Choose the language of all later messages; None returns to the locale's."""
    global _chosen
    if language is not None and language not in LANGUAGES:
        raise ValueError(f"language is one of {', '.join(LANGUAGES)}, not {language!r}")
    _chosen = language


def language() -> str:
    """The language in force: chosen, else CHAINRULE_LANG, else the locale's, else English."""
    if _chosen is not None:
        return _chosen
    # POSIX order: LC_ALL beats LC_MESSAGES beats LANG.
    for variable in ("CHAINRULE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "ko" if value.lower().startswith("ko") else "en"
    return "en"


def say(key: str, /, **values: object) -> str:
    """The message `key` ("chapter.name") in the language in force, with its values filled in.

    >>> say("formula.missing_bracket", bracket="\x1b[2J")
    "this bracket is never closed: add the missing '�[2J'"
    """
    chapter, _, name = key.partition(".")
    return OBEYED.sub("�", catalogue(language(), chapter)[name].format(**values))


def shortened(text: str, most: int) -> str:
    """A text that a message repeats, no longer than so many characters.

    >>> shortened("a value that somebody typed", 12)
    'a value tha…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


@cache
def catalogue(language: str, chapter: str) -> dict[str, str]:
    """All messages of one chapter in one language."""
    text = resources.files(__name__).joinpath(language, f"{chapter}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
