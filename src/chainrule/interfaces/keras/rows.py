"""Keras's names → rows of the library: the row with keras_ in front where Keras means another formula."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from chainrule.errors import SettingError
from chainrule.library import find
from chainrule.library.rows import Row
from chainrule.messages import say

AnyRow = TypeVar("AnyRow", bound=Row)
FORMULA = re.compile(r"[=\[(*/+<>-]")


def keras_row(table: Mapping[str, AnyRow], name: str) -> AnyRow:
    """The row that Keras means by a name. Raises: SettingError, with the nearest name.

    Example:
    >>> from chainrule.library import INITIALIZERS
    >>> keras_row(INITIALIZERS, "he_normal").name, keras_row(INITIALIZERS, "HeUniform").name
    ('keras_he_normal', 'he_uniform')
    """
    spellings = {_plain(s): row for row in table.values() for s in (row.name, *row.aliases)}
    row = spellings.get("keras" + _plain(name))
    return row if row is not None else find(table, name)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def is_formula(text: str) -> bool:
    """Whether a text is a formula rather than a name."""
    return FORMULA.search(text) is not None


def by_name(kinds: Mapping[str, type[Any]], identifier: str) -> type[Any] | None:
    """A class by its own name or in snake_case: "L2", "l2", "max_norm"."""
    return {_plain(name): kind for name, kind in kinds.items()}.get(_plain(identifier))


def resolve(identifier: Any, kinds: Mapping[str, type[Any]], base: type[Any], what: str) -> Any:
    """An object of `base`: itself, or made from its class, its name or its configuration.

    Raises: SettingError for an unknown name, and for a function, which formulas cannot look into.
    """
    if identifier is None or isinstance(identifier, base):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if isinstance(identifier, Mapping) and {"class_name", "config"} <= set(identifier):
        kind = kinds.get(str(identifier["class_name"]))
        if kind is not None:
            return kind.from_config(identifier["config"])
        identifier = str(identifier["class_name"])
    if isinstance(identifier, str) and (kind := by_name(kinds, identifier)) is not None:
        return kind()
    if callable(identifier):
        raise SettingError(say("keras.function", what=what, name=getattr(identifier, "__name__", "?")))
    came, known = str(identifier)[:60], ", ".join(kinds)
    near = get_close_matches(_plain(came), {_plain(kind): kind for kind in kinds}, n=1)
    if near:
        found = next(kind for kind in kinds if _plain(kind) == near[0])
        raise SettingError(say("keras.near", what=what, came=came, near=found, known=known))
    raise SettingError(say("keras.unknown", what=what, came=came, known=known))
