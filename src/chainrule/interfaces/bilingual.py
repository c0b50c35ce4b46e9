"""click in the user's language: headings, usage errors, and option types whose complaints come from the catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NoReturn

import click

from chainrule.interfaces.completion import words
from chainrule.interfaces.examples import EXAMPLES
from chainrule.messages import LANGUAGES, say

HEADINGS = {"Options": "options", "Commands": "commands"}


class Formatter(click.HelpFormatter):
    """Help pages with translated headings."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, f"{say('interfaces.usage')}: ")

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        with super().section(say(f"interfaces.{HEADINGS[name]}") if name in HEADINGS else name):
            yield


class Context(click.Context):
    formatter_class = Formatter


class Command(click.Command):
    """A command whose help and complaints are in the user's language."""

    context_class = Context

    def __init__(self, name: str, *, params: Sequence[click.Parameter] = (), **settings: Any):
        everywhere = [_language_option(), _help_option()]
        text = say(f"interfaces.help_{name.replace('-', '_')}")
        settings = {"options_metavar": say("interfaces.options_metavar"), **settings}
        super().__init__(name, params=[*params, *everywhere], help=text, short_help=text, **settings)
        self.context_settings = {"allow_extra_args": True}  # so that the complaint about them is ours

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options under the headings of their groups; those without one come last."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in sorted(self.get_params(ctx), key=lambda p: not getattr(p, "heading", "")):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                rows.setdefault(getattr(param, "heading", "") or "Options", []).append(record)
        for heading, records in rows.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        examples = EXAMPLES.get(str(self.name), ())
        if examples:
            with formatter.section(say("interfaces.examples")):
                for line in examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise click.UsageError(say("interfaces.extra_argument", came=" ".join(ctx.args)), ctx)
        return rest


class Group(click.Group):
    """The command tree; without a command it prints its help."""

    context_class = Context

    def __init__(self, commands: Sequence[click.Command]):
        super().__init__(
            "chainrule",
            commands={str(c.name): c for c in commands},
            params=[_version_option(), _language_option(), _help_option()],
            help=say("interfaces.help_chainrule"),
            invoke_without_command=True,
            callback=_help_where_no_command,
            subcommand_metavar=say("interfaces.command_metavar"),
            options_metavar="",
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which a reader should meet them

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            _fail_with_near("no_such_command", args[0], list(self.commands), ctx)
        return super().resolve_command(ctx, args)


def _help_where_no_command() -> int:
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


def _fail_with_near(key: str, name: str, known: Sequence[str], ctx: click.Context | None) -> NoReturn:
    raise click.UsageError(no_such(key, name, known), ctx)


def no_such(key: str, name: str, known: Sequence[str]) -> str:
    """'There is no … x', with what is near it or all there is."""
    close = get_close_matches(name, known, n=1)
    near = " " + say("formula.did_you_mean", name=close[0]) if close else ""
    return say(f"interfaces.{key}", name=name, known=", ".join(known), near=near)


# --- options ----------------------------------------------------------------------------------------------------------


def option(
    flag: str, type: click.Path | Callable[[str], Any] | None = None, metavar: str | None = None, **settings: Any
) -> click.Option:
    """An option with its help from the catalogue: `--batch-size` has option_batch_size."""
    name = flag.removeprefix("--").replace("-", "_")
    if (choices := getattr(type, "choices", None)) is not None:
        settings.setdefault("shell_complete", words(choices))
    if not settings.get("hidden"):
        settings["help"] = say(f"interfaces.option_{name}")
    return click.Option([flag, settings.pop("to", name)], type=type, metavar=metavar, **settings)


def under(heading: str, params: Sequence[click.Parameter]) -> Sequence[click.Parameter]:
    """The options, to stand under a heading of their own on the help page."""
    for param in params:
        param.heading = heading  # type: ignore[attr-defined]  # read by Command.format_options
    return params


def _language_option() -> click.Option:
    # Which language it is was found before the tree was built; here it is only let through, and checked.
    return option("--lang", one_of(LANGUAGES), "|".join(LANGUAGES), expose_value=False)


def _help_option() -> click.Option:
    def show(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            click.echo(context.get_help())
            context.exit()

    return option("--help", is_flag=True, is_eager=True, expose_value=False, callback=show)


def _version_option() -> click.Option:
    def show(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            from importlib.metadata import version

            click.echo(f"chainrule {version('chainrule')}")
            context.exit()

    return option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show)


def one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """The type of an option that is one of some words."""

    def convert(value: str) -> str:
        if value.lower() in choices:
            return value.lower()
        raise click.BadParameter(no_such("not_a_choice", value, choices))

    convert.choices = choices  # type: ignore[attr-defined]  # for the shell's completion
    return convert


def whole(value: str) -> int:
    """The type of a whole number; its range is the library's to check, so that Python and command line say the same."""
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(say("interfaces.not_whole", came=value)) from None


def real(value: str) -> float:
    """The type of a finite number."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise click.BadParameter(say("interfaces.not_number", came=value))
    return number


# --- complaints -------------------------------------------------------------------------------------------------------


def usage_text(error: click.UsageError) -> str:
    """A usage error as lines for the user: what is wrong, and where help is."""
    text = _complaint(error)
    if error.ctx is None:
        return text
    return f"{text}\n{say('interfaces.see_help', command=error.ctx.command_path)}"


def _complaint(error: click.UsageError) -> str:
    match error:
        case click.NoSuchOption():
            known = [o for p in error.ctx.command.params for o in p.opts] if error.ctx else []
            return no_such("no_such_option", error.option_name, [k for k in known if k.startswith("--")])
        case click.MissingParameter(param=param) if param is not None:
            return say("interfaces.missing", name=_shown(param))
        case click.BadParameter(param=param) if param is not None:
            return f"{_shown(param)}: {error.message}"
        case click.BadOptionUsage():
            return say("interfaces.bad_option", name=error.option_name)
    return error.format_message()


def _shown(param: click.Parameter) -> str:
    """--epochs of an option, MODEL of an argument."""
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name
