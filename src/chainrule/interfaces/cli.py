"""The command line: commands, options, exit codes. What each does is in the module that it calls.

    0    done
    1    something was wrong with formulas, data, options or files: one message on stderr
    2    the command itself was not understood
    130  Ctrl-C; 143 SIGTERM, 129 SIGHUP: of a training, everything is saved

Only click is imported before a command runs, so that `chainrule --help` answers at once.
"""

# More than 500 lines: every command and option in one place, a line each, and nothing else.
from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from chainrule.errors import ChainruleError
from chainrule.interfaces.bilingual import Command, Group, one_of, option, real, under, usage_text, whole
from chainrule.interfaces.completion import SHELLS, rows, words
from chainrule.messages import LANGUAGES, say, set_language

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

FORMS = ("formulas", "latex", "numpy", "program", "kernel", "rules")
EXPORTS = ("onnx", "safetensors")
PAGE_FORMS = ("terminal", "markdown", "latex", "html")
SPLITS = ("test", "train")
DTYPES = ("float32", "float64")
ENGINES = ("native", "interpreter")
TASKS = ("classification", "regression")
SCALES = ("standard", "minmax", "none")
UNKNOWN = ("other", "error")
PATH = click.Path(path_type=Path)  # existence is the readers' to complain about, in the user's language


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _survive_narrow_encodings()
    asked = language_asked(arguments)
    if asked is not None:
        set_language(asked)
    try:
        with _warnings_as_messages():
            code = command_tree().main(arguments, "chainrule", standalone_mode=False, obj=arguments)
        return code if isinstance(code, int) else DONE
    except click.UsageError as error:
        _complain(usage_text(error))
        return MISUSED
    except ChainruleError as error:
        _complain(str(error))
        return FAILED
    except OSError as error:  # of a place that no reader looks at first: a folder that must not be listed
        _complain(say("data.cannot_read", path=error.filename or "–", reason=error.strerror or error))
        return FAILED
    except click.Abort:
        _complain(say("interfaces.stopped"))
        return INTERRUPTED
    finally:
        if asked is not None:
            set_language(None)


def language_asked(arguments: Sequence[str]) -> str | None:
    """The language of `--lang ko` or `--lang=ko`, wherever it stands; None where it is absent or unknown."""
    found = None
    for place, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith("--lang="):
            found = argument.partition("=")[2]
        elif argument == "--lang" and place + 1 < len(arguments):
            found = arguments[place + 1]
    return found if found in LANGUAGES else None


def command_tree() -> Group:
    """All commands, with their help in the language in force."""
    learn = [_train(), _predict(), _evaluate(), _reproduce()]
    understand = [_show(), _derive(), _explain(), _check(), _derivative(), _plot()]
    return Group([*learn, *understand, _export(), _import(), _datasets(), _bench(), _completion()])


# --- commands ---------------------------------------------------------------------------------------------------------


def _train() -> Command:
    def run(**options: Any) -> int:
        from chainrule.interfaces.train import TrainOptions, train

        context = click.get_current_context()
        if options["data"] is None and options["resume"] is None:
            raise click.UsageError(say("runs.data_or_resume"), context)
        given = [name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        return train(TrainOptions(**{**options, "data": options["data"] or ""}), ["chainrule", *context.obj], given)

    data = _data_argument()
    data.required = False
    return Command(
        "train",
        callback=run,
        params=[
            data,
            *under(say("interfaces.group_table"), _table_options()),
            *under(say("interfaces.group_images"), _image_options()),
            *under(say("interfaces.group_network"), _network_options()),
            *under(say("interfaces.group_learning"), _learning_options()),
            *under(say("interfaces.group_run"), _run_options()),
            option("--out", PATH, "FOLDER"),
            option("--json", is_flag=True, to="as_json"),
            option("--profile", is_flag=True),
            option("--engine", one_of(ENGINES), hidden=True, default="native"),
        ],
    )


def _network_options() -> list[click.Parameter]:
    return [
        option("--network", PATH, "FILE"),
        option("--hidden", metavar="512,…"),
        option("--activation", metavar="NAME", shell_complete=rows("ACTIVATIONS")),
        option("--loss", metavar="NAME", shell_complete=rows("LOSSES")),
        option("--dropout", real, "0.2", default=0.0),
        option("--batch-norm", is_flag=True),
        option("--l1", real, "0.0001", default=0.0),
        option("--l2", real, "0.0001", default=0.0),
        option("--dtype", one_of(DTYPES), "|".join(DTYPES), default="float32"),
    ]


def _learning_options() -> list[click.Parameter]:
    return [
        option("--epochs", whole, "N"),
        option("--batch-size", whole, "N"),
        option("--optimizer", metavar="NAME", shell_complete=rows("UPDATES")),
        option("--learning-rate", metavar="0.001"),
        option("--schedule", metavar="NAME", shell_complete=rows("SCHEDULES")),
        option("--set", metavar="beta_1=0.8", multiple=True, to="settings"),
        option("--weight-decay", real, "0.01"),
        option("--clip-norm", real, "1"),
        option("--ema", real, "0.99"),
        option("--early-stopping", whole, "[EPOCHS]", is_flag=False, flag_value="10"),
        option("--class-weight", metavar="balanced"),
        option("--metrics", metavar="NAME,…"),
        option("--seed", whole, "0", default=0),
        option("--threads", whole, "N"),
        option("--rows", whole, "N"),
        option("--validation", metavar="N|FILE"),
        option("--no-scale", is_flag=True),
    ]


def _run_options() -> list[click.Parameter]:
    return [
        option("--checkpoint-every", metavar='"200 steps"'),
        option("--keep", whole, "N"),
        option("--resume", PATH, "FOLDER"),
    ]


def _reproduce() -> Command:
    def run(folder: Path, **options: Any) -> int:
        from chainrule.interfaces.reproduce import reproduce

        return reproduce(folder, **options)

    out = option("--out", PATH, "FOLDER")
    out.help = say("interfaces.option_reproduce_out")
    return Command(
        "reproduce",
        callback=run,
        params=[
            click.Argument(["folder"], type=PATH, metavar="FOLDER"),
            out,
            option("--json", is_flag=True, to="as_json"),
        ],
    )


def _table_options() -> list[click.Parameter]:
    split = option("--split", metavar="0.8,0.1,0.1")
    split.help = say("interfaces.option_shares")
    return [
        option("--target", metavar="COLUMN"),
        option("--features", metavar="COLUMN,…"),
        option("--kinds", metavar="COLUMN=KIND,…"),
        option("--task", one_of(TASKS), "|".join(TASKS)),
        option("--scale", one_of(SCALES), "|".join(SCALES)),
        split,
        option("--test", PATH, "FILE"),
        *_reading_options(),
    ]


def _reading_options() -> list[click.Parameter]:
    return [option("--header", one_of(("yes", "no")), "yes|no"), option("--encoding", metavar="cp949"), _memory()]


def _image_options() -> list[click.Parameter]:
    return [
        option("--labels", PATH, "FILE"),
        option("--test-labels", PATH, "FILE"),
        option("--image-size", metavar="28x28"),
        option("--grey", is_flag=True),
        option("--rgb", is_flag=True),
        _data_dir(),
    ]


def _data_dir() -> click.Option:
    return option("--data-dir", PATH, "FOLDER")


def _memory() -> click.Option:
    return option("--memory", metavar="1GB")


def _predict() -> Command:
    def run(model: Path, files: tuple[Path, ...], input: tuple[Path, ...], data: str | None, **options: Any) -> int:
        from chainrule.interfaces.predict import predict

        return predict(model, [*files, *input], data, **options)

    return Command(
        "predict",
        callback=run,
        params=[
            click.Argument(["model"], type=PATH, metavar="MODEL"),
            click.Argument(["files"], type=PATH, metavar="[FILE]…", nargs=-1),
            option("--input", PATH, "FILE", multiple=True),
            option("--data", metavar="mnist"),
            _data_dir(),
            option("--index", metavar="0..9"),
            option("--split", one_of(SPLITS), "|".join(SPLITS), default="test"),
            option("--json", is_flag=True, to="as_json"),
            option("--picture", PATH, "FILE"),
            _predictions_out(),
            option("--unknown", one_of(UNKNOWN), "|".join(UNKNOWN), default="other"),
            *_reading_options(),
        ],
    )


def _predictions_out() -> click.Option:
    out = option("--out", PATH, "FILE")
    out.help = say("interfaces.option_predictions_out")
    return out


def _evaluate() -> Command:
    def run(model: Path, files: tuple[Path, ...], data: str | None, **options: Any) -> int:
        from chainrule.interfaces.predict import evaluate

        return evaluate(model, files, data, **options)

    return Command(
        "evaluate",
        callback=run,
        params=[
            click.Argument(["model"], type=PATH, metavar="MODEL"),
            click.Argument(["files"], type=PATH, metavar="[FILE]…", nargs=-1),
            option("--data", metavar="mnist"),
            _data_dir(),
            option("--labels", PATH, "FILE"),
            option("--split", one_of(SPLITS), "|".join(SPLITS), default="test"),
            option("--metrics", metavar="NAME,…"),
            option("--json", is_flag=True, to="as_json"),
            option("--unknown", one_of(UNKNOWN), "|".join(UNKNOWN), default="other"),
            *_reading_options(),
        ],
    )


def _show() -> Command:
    def run(source: Path, form: str, optimizer: str | None, **options: Any) -> int:
        from chainrule.interfaces.show import show

        return show(source, form, optimizer, **options)

    return Command(
        "show",
        callback=run,
        params=[
            click.Argument(["source"], type=PATH, metavar="FILE"),
            option("--as", one_of(FORMS), "|".join(FORMS), to="form", default="formulas"),
            option("--optimizer", metavar="NAME", shell_complete=rows("UPDATES")),
            option("--of", metavar="NAME"),
            option("--data", metavar="mnist"),
            _text_out(),
            option("--json", is_flag=True, to="as_json"),
        ],
    )


def _text_out() -> click.Option:
    out = option("--out", PATH, "FILE")
    out.help = say("interfaces.option_show_out")
    return out


def _export() -> Command:
    def run(model: Path, file: Path, **options: Any) -> int:
        from chainrule.interfaces.exchange import export

        return export(model, file, **options)

    form = option("--as", one_of(EXPORTS), "|".join(EXPORTS), to="form")
    form.help = say("interfaces.option_export_as")
    return Command(
        "export",
        callback=run,
        params=[
            click.Argument(["model"], type=PATH, metavar="MODEL"),
            click.Argument(["file"], type=PATH, metavar="FILE"),
            form,
            option("--names", metavar="fc1,fc2|FILE"),
            option("--json", is_flag=True, to="as_json"),
        ],
    )


def _import() -> Command:
    out = option("--out", PATH, "FILE")
    out.help = say("interfaces.option_import_out")
    into = option("--into", PATH, "FILE")

    def run(weights: Path, **options: Any) -> int:
        from chainrule.interfaces.exchange import import_

        for needed in (into, out):  # click's own mark for required options is in English only
            if options[str(needed.name)] is None:
                raise click.MissingParameter(ctx=click.get_current_context(), param=needed)
        return import_(weights, **options)

    return Command(
        "import",
        callback=run,
        params=[
            click.Argument(["weights"], type=PATH, metavar="WEIGHTS"),
            into,
            out,
            option("--map", metavar="NAME=TENSOR", multiple=True, to="said"),
            option("--json", is_flag=True, to="as_json"),
        ],
    )


def _derive() -> Command:
    def run(source: Path, of: str | None, **options: Any) -> int:
        from chainrule.interfaces.pages import PageOptions, derive

        return derive(source, of, PageOptions(**options))

    arguments = [click.Argument(["source"], type=PATH, metavar="FILE"), option("--of", metavar="NAME")]
    return Command("derive", callback=run, params=[*arguments, *_page_options()])


def _explain() -> Command:
    def run(source: Path, form: str | None, out: Path | None, steps: bool, as_json: bool, **chosen: Any) -> int:
        from chainrule.interfaces.pages import Chosen, PageOptions, explain

        return explain(source, Chosen(**chosen), PageOptions(form, out, steps, as_json))

    seed = option("--seed", whole, "0", default=0)
    seed.help = say("interfaces.option_check_seed")
    return Command(
        "explain",
        callback=run,
        params=[
            click.Argument(["source"], type=PATH, metavar="FILE"),
            option("--data", metavar="mnist"),
            option("--index", metavar="3"),
            option("--split", one_of(SPLITS), "|".join(SPLITS), default="test"),
            option("--weight", metavar='"W1[300, 7]"'),
            option("--sample", whole, "0", default=0),
            option("--optimizer", metavar="NAME", shell_complete=rows("UPDATES")),
            seed,
            *_page_options(),
        ],
    )


def _page_options() -> list[click.Parameter]:
    form = option("--as", one_of(PAGE_FORMS), "|".join(PAGE_FORMS), to="form")
    form.help = say("interfaces.option_page_as")
    out = option("--out", PATH, "FILE")
    out.help = say("interfaces.option_page_out")
    return [form, out, option("--steps", is_flag=True), option("--json", is_flag=True, to="as_json")]


def _check() -> Command:
    def run(source: Path, claims: tuple[str, ...], claim: tuple[str, ...], **options: Any) -> int:
        from chainrule.interfaces.check import CheckOptions, check

        return check(source, (*claims, *claim), CheckOptions(**options))

    picture = option("--picture", PATH, "FILE")
    picture.help = say("interfaces.option_check_picture")
    seed = option("--seed", whole, "0", default=0)
    seed.help = say("interfaces.option_check_seed")
    return Command(
        "check",
        callback=run,
        params=[
            click.Argument(["source"], type=PATH, metavar="FILE"),
            click.Argument(["claims"], metavar="[CLAIM]…", nargs=-1),
            option("--claim", metavar='"dE/dw[i] = …"', multiple=True),
            option("--data", metavar="mnist"),
            option("--index", metavar="0..9"),
            option("--split", one_of(SPLITS), "|".join(SPLITS), default="test"),
            seed,
            option("--cost", is_flag=True),
            option("--json", is_flag=True, to="as_json"),
            picture,
            option("--weight", metavar='"W1[3, 2]"'),
        ],
    )


def _derivative() -> Command:
    def run(expression: str, **options: Any) -> int:
        from chainrule.interfaces.derivative import show_derivative

        return show_derivative(expression, **options)

    picture = option("--picture", PATH, "FILE")
    picture.help = say("interfaces.option_derivative_picture")
    return Command(
        "derivative",
        callback=run,
        params=[
            click.Argument(["expression"], metavar="FORMULA"),
            option("--at", metavar="1", default="1"),
            option("--by", metavar="NAME"),
            option("--json", is_flag=True, to="as_json"),
            picture,
        ],
    )


def _plot() -> Command:
    def run(source: str, kind: str, **options: Any) -> int:
        from chainrule.interfaces.plot import PlotOptions, plot

        return plot(source, kind, PlotOptions(**options))

    out = option("--out", PATH, "FILE")
    out.help = say("interfaces.option_plot_out")
    weight = option("--weight", metavar="W1")
    weight.help = say("interfaces.option_plot_weight")
    return Command(
        "plot",
        callback=run,
        params=[
            click.Argument(["source"], metavar="FILE"),
            click.Argument(["kind"], metavar="KIND"),
            option("--data", metavar="mnist"),
            option("--index", metavar="3"),
            option("--split", one_of(SPLITS), "|".join(SPLITS), default="test"),
            weight,
            option("--start", metavar="2"),
            out,
            option("--json", is_flag=True, to="as_json"),
        ],
    )


def _datasets() -> Command:
    def run(as_json: bool) -> int:
        from chainrule.interfaces.datasets import list_datasets

        return list_datasets(as_json)

    return Command("datasets", callback=run, params=[option("--json", is_flag=True, to="as_json")])


def _completion() -> Command:
    def run(shell: str) -> int:
        from chainrule.interfaces.completion import print_script

        return print_script(shell, click.get_current_context().find_root().command)

    shell = click.Argument(["shell"], type=one_of(SHELLS), metavar="|".join(SHELLS), shell_complete=words(SHELLS))
    return Command("completion", callback=run, params=[shell])


def _bench() -> Command:
    def run(**options: Any) -> int:
        from chainrule.interfaces.bench import bench

        return bench(**options)

    return Command("bench", callback=run, params=[option("--json", is_flag=True, to="as_json")])


def _data_argument() -> click.Argument:
    return click.Argument(["data"], metavar="DATA", shell_complete=_data_sets_and_files)


def _data_sets_and_files(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The names of data sets; the shell adds files."""
    from chainrule.interfaces.datasets import DATASETS

    names = [CompletionItem(name) for name in DATASETS if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]


# --- streams ----------------------------------------------------------------------------------------------------------


def _survive_narrow_encodings() -> None:
    """Where a terminal's encoding lacks a character (an old locale), '?' is printed instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def _warnings_as_messages() -> Iterator[None]:
    """A warning is one line on stderr, without file names and source lines."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _complain(str(message))
        yield


def _complain(text: str) -> None:
    click.echo(text, err=True)
