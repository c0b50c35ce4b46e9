"""Formula texts whose inputs come as they are measured, and are scaled by an equation of their own.

Text → text: what is trained is what the run folder's network.formula shows, and what the model file holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chainrule.formula.expr import Element, Reduction, symbols, tensors, walk
from chainrule.formula.parse import parse_system
from chainrule.formula.source import Source
from chainrule.formula.system import System
from chainrule.training.vocabulary import vocabulary


@dataclass(frozen=True)
class Scale:
    """How an input is scaled: `raw` is what it is called before, `value` the formula in {raw} and {slots}.

    `declared` are lines that stand before the equation; a name in `needed` that the text has already gets a number.
    """

    raw: str
    value: str
    declared: str = ""
    needed: tuple[str, ...] = ()


PIXELS = Scale("pixels", "{raw}{slots} / 255")


@dataclass(frozen=True)
class Scaled:
    """A text whose inputs are scaled; `names` are the inputs that were changed."""

    text: str
    names: tuple[str, ...]


def with_scaling(text: str, scale: Scale = PIXELS) -> Scaled:
    """Every plain `input x[i]` becomes `input pixels[i]` and `x[i] = pixels[i] / 255`.

    Plain is an input with an index that the text does not itself turn into other numbers first.

    Raises: FormulaError where the text does not read.
    Example:
    >>> print(with_scaling("input x[i]  # an image\\nparameter w[i] = zeros\\ny = sum[i](w[i]*x[i])").text)
    input pixels[i]  # an image
    x[i] = pixels[i] / 255
    parameter w[i] = zeros
    y = sum[i](w[i]*x[i])
    """
    system = parse_system(text, vocabulary())
    wanted = {
        t.name for t in system.of_role("input") if set(t.indices) - {system.samples} and not _prepared(system, t.name)
    }
    source = Source(text)
    taken = set(re.findall(r"[^\W\d]\w*", source.text))
    changes: list[tuple[int, int, str]] = []
    raw: dict[str, str] = {}
    for statement in source.statements():
        start, _ = source.strip((statement.start, statement.end))
        if not re.match(r"input\b", source.text[start:]):
            continue
        added = ""
        for piece in source.split(start + len("input"), statement.end, ","):
            begin, end = source.strip(piece)
            declared = re.fullmatch(r"([^\W\d]\w*)\s*(\[[^\]]*\])", source.text[begin:end])
            if declared and declared[1] in wanted:
                name, slots = declared.groups()
                raw[name] = _free_name(scale.raw, taken)
                own = {word: _free_name(word, taken) for word in scale.needed}
                changes.append((begin, begin + len(name), raw[name]))
                if scale.declared:
                    added += "\n" + scale.declared.format(slots=slots, **own)
                added += f"\n{name}{slots} = {scale.value.format(raw=raw[name], slots=slots, **own)}"
            elif not declared:
                changes += _fact_of_raw(source.text, begin, end, raw, scale)
        line_end = text.find("\n", statement.end)
        changes.append((line_end if line_end >= 0 else len(text), 0, added))
    for begin, end, new in sorted(changes, reverse=True):
        text = text[:begin] + new + text[max(begin, end) :]
    return Scaled(text, tuple(raw))


def _fact_of_raw(text: str, begin: int, end: int, raw: dict[str, str], scale: Scale) -> list[tuple[int, int, str]]:
    """A fact that is declared of x[i] holds of pixels[i] / 255: it is checked in the data as they come."""
    if scale.declared:
        return []
    return [
        (begin + match.start(), begin + match.end(), f"({scale.value.format(raw=raw[match[1]], slots=match[2])})")
        for match in re.finditer(r"([^\W\d]\w*)\s*(\[[^\]]*\])", text[begin:end])
        if match[1] in raw
    ]


def _prepared(system: System, name: str) -> bool:
    """Whether the text itself makes other numbers of this input, as in x[i] = pixels[i]/255, and uses only those."""
    users = [e.value for e in system.equations if name in tensors(e.value)]
    return bool(users) and all(
        set(tensors(value)) == {name}
        and not isinstance(value, Element)
        and not symbols(value)
        and not any(isinstance(node, Reduction) for node in walk(value))
        for value in users
    )


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}{number}", number + 1
    taken.add(candidate)
    return candidate
