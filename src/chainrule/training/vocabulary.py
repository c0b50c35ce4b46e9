"""The library's rows as what formula texts may call by name, and its rules as update lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from chainrule.errors import SettingError
from chainrule.formula.expr import Expr
from chainrule.formula.parse import Definition, Vocabulary, near, parse_expression, parse_system
from chainrule.formula.system import Update
from chainrule.library import ACTIVATIONS, INITIALIZERS, OPTION_ALIASES, SCHEDULES, UPDATES, find
from chainrule.messages import say


@cache
def vocabulary() -> Vocabulary:
    """Activations as scalar functions of `a`, by name and alias, and the names of initializers."""
    functions = {
        name: Definition(("a",), row.formula, row.defaults)
        for row in ACTIVATIONS.values()
        if row.index is None
        for name in (row.name, *row.aliases)
    }
    initializers = frozenset(name for row in INITIALIZERS.values() for name in (row.name, *row.aliases))
    return Vocabulary(functions, initializers)


@dataclass(frozen=True)
class Rule:
    """An update rule ready for lowering: its lines, and the values of its hyper-parameters.

    `special` has the lines of parameters that follow others: none for one that stays as it is.
    """

    name: str
    lines: tuple[Update, ...]
    defaults: Mapping[str, Fraction]
    special: Mapping[str, tuple[Update, ...]] = field(default_factory=dict)


def update_rule(name_or_text: str) -> Rule:
    """A rule of the library by name, or lines of the user's own.

    Raises: SettingError for an unknown name, FormulaError for lines that do not read.
    Example:
    >>> update_rule("momentum").defaults["mu"]
    Fraction(9, 10)
    """
    if "<-" in name_or_text or "←" in name_or_text:
        system = parse_system(name_or_text, vocabulary())
        return Rule("", system.updates, system.hyper)
    row = find(UPDATES, name_or_text)
    defaults = {name: Fraction(str(value)) for name, value in row.defaults.items()}
    return Rule(row.name, parse_system(row.formula, vocabulary()).updates, defaults)


def schedule(name_or_text: str) -> tuple[Expr, dict[str, float]]:
    """A schedule's formula for eta and its defaults, by name or as an expression in step, steps and eta0.

    Raises: SettingError for an unknown name, FormulaError for an expression that does not read.
    """
    try:
        row = find(SCHEDULES, name_or_text)
    except SettingError:
        if any(sign in name_or_text for sign in "*/+-([<>") or name_or_text == "eta0":
            return parse_expression(name_or_text, {}, vocabulary()), {}
        raise
    return parse_expression(row.formula, {}, vocabulary()), {k: float(v) for k, v in row.defaults.items()}


def hyper_name(name: str, known: Mapping[str, object]) -> str:
    """The notation's name of a hyper-parameter that a user may call otherwise (learning_rate is eta).

    Raises: SettingError, with a near match.
    """
    for candidate in (name, OPTION_ALIASES.get(name, name)):
        if candidate in known:
            return candidate
    names = ", ".join(known) or "–"
    raise SettingError(say("training.unknown_hyper", name=name, known=names, near=near(name, known)))
