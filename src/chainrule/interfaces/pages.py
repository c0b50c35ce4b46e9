"""`chainrule derive` and `chainrule explain`: pages in the terminal, as Markdown, LaTeX or HTML, or into a file."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from chainrule.derivation.pages.page import Page, as_form, save_page
from chainrule.errors import SettingError
from chainrule.formula.expr import Element, Number
from chainrule.formula.system import Equation, Update
from chainrule.interfaces.show import open_network, update_sections
from chainrule.messages import say

NARROW, WIDE = 60, 100  # a page of formulas reads best between these many columns


@dataclass(frozen=True)
class PageOptions:
    """How a page is wanted: `form` one of derivation.page.FORMS, `out` a file, `steps` with every step open."""

    form: str | None = None
    out: Path | None = None
    steps: bool = False
    as_json: bool = False


def derive(path: Path, quantity: str | None, options: PageOptions) -> int:
    """Print the page of a network's derivation; the exit code."""
    from chainrule.derivation.pages.explain import derivation_page

    network = open_network(path)
    updates: list[Update | Equation] = []
    for _, lines, values in update_sections(network, None):
        updates += [*lines, *(Equation(Element(name, ()), Number(value)) for name, value in values.items())]
    _show(derivation_page(network.derivation, of=quantity, updates=updates, title=path.name), options)
    return 0


@dataclass(frozen=True)
class Chosen:
    """What numbers a page is to show."""

    data: str | None
    index: str | None
    split: str
    weight: str | None
    sample: int
    optimizer: str | None
    seed: int


def explain(path: Path, chosen: Chosen, options: PageOptions) -> int:
    """Print the page with numbers: of a data set's rows, or of drawn ones; the exit code."""
    from chainrule.interfaces.check import CheckOptions, what_to_check

    if chosen.seed < 0:
        raise SettingError(say("training.seed", came=chosen.seed))
    index = chosen.index if chosen.index is not None or chosen.data is None else "0"
    wanted = CheckOptions(data=chosen.data, index=index, split=chosen.split, seed=chosen.seed)
    network, arrays = what_to_check(path, wanted)
    found = network.explain(
        arrays, weight=chosen.weight, sample=chosen.sample, optimizer=chosen.optimizer, title=path.name
    )
    _show(found.page(), options)
    return 0


def _show(page: Page, options: PageOptions) -> None:
    """Into the file, or on the screen: in colour where that is a terminal."""
    if options.out is not None:
        if options.form is not None:
            raise SettingError(say("pages.form_and_file"))
        save_page(page, options.out, steps=options.steps)
        if options.as_json:
            click.echo(json.dumps({"file": str(options.out)}))
        click.echo(say("pages.written", path=options.out), err=True)
        return
    if options.as_json:
        form = options.form or "markdown"
        click.echo(json.dumps({"as": form, "page": as_form(page, form, steps=options.steps)}, ensure_ascii=False))
        return
    terminal = sys.stdout.isatty()
    width = min(WIDE, max(NARROW, shutil.get_terminal_size().columns)) if terminal else 80
    colour = terminal and "NO_COLOR" not in os.environ
    text = as_form(page, options.form or "terminal", steps=options.steps, colour=colour, width=width)
    click.echo(text.rstrip("\n"))
