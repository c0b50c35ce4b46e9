"""`chainrule.derivative("x**2", at=1)` and `chainrule derivative`: one scalar formula from the ground up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from chainrule.derivation.ground import GroundUp


def derivative(text: str, at: float | str = 1.0, by: str | None = None, **values: float) -> GroundUp:
    """The derivative of a scalar formula at a point, from the average rate of change to the linear approximation.

    The result prints as a page; it also has .slope, .value, .average_rate(start, end), .f(x), .derivative(x), .rows.
    The symbol is found where there is only one, else `by` says it and `values` give the others'. All functions of the
    notation and all activations of the library may be used.
    Raises: FormulaError where the text does not read; SettingError for a point without a value; NotDifferentiable.
    Example:
    >>> square = derivative("x**2", at=1)
    >>> square.average_rate(1, 2), square.slope
    (3.0, 2.0)
    """
    from chainrule.derivation.ground import ground_up
    from chainrule.training.vocabulary import vocabulary

    return ground_up(text, at, by, vocabulary(), values)


def show_derivative(text: str, at: str, by: str | None, *, as_json: bool, picture: Path | None) -> int:
    """Print the page of a derivative, or JSON; the exit code."""
    found = derivative(text, at, by)
    click.echo(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else str(found))
    if picture is not None:
        from chainrule.interfaces.pictures.differentiation import draw_derivative

        draw_derivative(found, picture)
    return 0
