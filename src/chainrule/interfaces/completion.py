"""Completion in the shell: the script that a shell reads, and what may follow an option."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CHAINRULE_COMPLETE"  # click answers the shell instead of running a command where this is set

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def print_script(shell: str, tree: click.Command) -> int:
    """Print the script; the exit code."""
    kind = get_completion_class(shell)
    assert kind is not None
    # source_template, not source(): that would start a bash to ask for its version.
    names = {"complete_func": "_chainrule_completion", "complete_var": VARIABLE, "prog_name": "chainrule"}
    click.echo((kind.source_template % names).strip("\n"))
    return 0


def words(choices: Sequence[str] | Callable[[], Sequence[str]]) -> Complete:
    """Completion by a list of words, or by one that is made when it is asked for."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        known = choices() if callable(choices) else choices
        return [word for word in known if word.startswith(begun.lower())]

    return complete


def rows(table: str) -> Complete:
    """Completion by the names of a table of the library."""

    def names() -> Sequence[str]:
        from chainrule import library

        return list(getattr(library, table))

    return words(names)
