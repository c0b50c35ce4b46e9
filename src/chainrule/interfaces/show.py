"""`chainrule show`: a formula file or a model file → what chainrule makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import click

from chainrule.data.tables import SUFFIXES
from chainrule.derivation.normalize import normalize
from chainrule.errors import SettingError
from chainrule.formula.expr import Element, Symbol
from chainrule.formula.system import System, Update
from chainrule.formula.text import equation_text, number_text_decimal, system_text, update_text
from chainrule.formula.typeset import Unicode, latex_align, latex_document
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.program.lower import lower_prediction
from chainrule.training.files import write_bytes
from chainrule.training.network import Network, formula, load
from chainrule.training.optimizer import DEFAULT_RULE
from chainrule.training.vocabulary import Rule, update_rule

TABLES = tuple(suffix for suffix in SUFFIXES if suffix != ".txt")  # formulas may stand in a .txt file


def open_network(path: Path) -> Network:
    """The network of a model file or of a formula file: the content decides which it is.

    Raises: SettingError for a table; FileError, FormulaError.
    """
    if is_model_file(path):
        return load(path)
    if path.name.lower().removesuffix(".gz").endswith(TABLES):
        raise SettingError(say("tables.table_not_formulas", path=path))
    return formula(path)


def is_model_file(path: Path) -> bool:
    """Whether a file is a model file, with weights; of one that cannot be read, the readers say what is wrong."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        start = b""
    # A model file is a length of eight bytes, of which the high ones are 0, and a JSON object.
    return path.suffix == ".safetensors" or (len(start) == 9 and start[8:] == b"{" and b"\0" in start)


def show(
    path: Path,
    form: str,
    optimizer: str | None,
    *,
    of: str | None = None,
    data: str | None = None,
    out: Path | None = None,
    as_json: bool = False,
) -> int:
    """Print the network in one of FORMS, or as a kernel: of one quantity, for a data set; the exit code.

    With `out` it goes to a file; as numpy, of a model file, as a program that predicts, its weights beside it.
    """
    if out is not None and form == "numpy" and is_model_file(path):
        from chainrule.interfaces.predictor import write_predictor

        if optimizer is not None or of is not None or data is not None:
            raise SettingError(say("formats.predictor_options"))
        return _told(write_predictor(load(path), path, out), as_json)
    text = _shown(path, form, optimizer, of, data).rstrip("\n")
    if out is not None:
        write_bytes(out, f"{text}\n".encode())
        return _told([out], as_json)
    click.echo(json.dumps({"as": form, "text": text}, ensure_ascii=False) if as_json else text)
    return 0


def _told(files: Sequence[Path], as_json: bool) -> int:
    names = [str(file) for file in files]
    click.echo(json.dumps({"files": names}, ensure_ascii=False) if as_json else "\n".join(names))
    return 0


def _shown(path: Path, form: str, optimizer: str | None, of: str | None, data: str | None) -> str:
    if form == "kernel":
        from chainrule.interfaces.kernel import kernel_of

        return kernel_of(path, optimizer, of=of, data=data)
    if of is not None or data is not None:
        raise SettingError(say("interfaces.kernel_only", option="--data" if of is None else "--of"))
    return FORMS[form](open_network(path), optimizer)


# --- formulas ---------------------------------------------------------------------------------------------------------


def as_formulas(network: Network, optimizer: str | None) -> str:
    """Forward, backward and update equations in the notation."""
    system = forward_system(network)
    parts = [f"# {say('interfaces.forward')}", system_text(system.with_(updates=(), hyper={})).rstrip()]
    if _is_derived(network):
        backward = (equation_text(e, system.samples) for e in network.derivation.backward)
        parts += ["", f"# {say('interfaces.backward')}", *backward]
    for title, lines, values in update_sections(network, optimizer):
        parts += ["", f"# {title}", *_values(values), *(update_text(line, system.samples) for line in lines)]
    return "\n".join(parts)


def forward_system(network: Network) -> System:
    """The system with the names that the backward pass uses, such as a_h for what h is the activation of."""
    if _is_derived(network):
        return network.derivation.system
    return network.system


def _is_derived(network: Network) -> bool:
    """A network without a loss has no backward pass, nor one whose own rules use no gradient (a perceptron's)."""
    system = network.system
    own = {u.target.tensor for u in system.updates if isinstance(u.target, Element)}
    return system.loss is not None and not (own and own >= {p.name for p in system.parameters})


def update_sections(
    network: Network, optimizer: str | None
) -> Iterator[tuple[str, tuple[Update, ...], Mapping[str, Fraction]]]:
    """(title, update lines, values of hyper-parameters): the text's own lines, then the rule for the others."""
    system = network.system
    own = tuple(u for u in system.updates if isinstance(u.target, Element))
    if own:
        yield say("interfaces.own_updates"), own, system.hyper
    named = {u.target.tensor for u in own if isinstance(u.target, Element)}
    others = [p.name for p in system.parameters if p.name not in named]
    if others and system.loss is not None:
        rule = _rule(system, optimizer)
        title = say("interfaces.update", parameters=", ".join(others))
        values = {**rule.defaults, **{n: v for n, v in system.hyper.items() if not own}}
        yield title, rule.lines, values


def _rule(system: System, optimizer: str | None) -> Rule:
    generic = tuple(u for u in system.updates if isinstance(u.target, Symbol))
    if optimizer is None and generic:
        return Rule("", generic, {})
    return update_rule(optimizer or DEFAULT_RULE)


def _values(hyper: Mapping[str, Fraction]) -> list[str]:
    return [f"{name} = {number_text_decimal(value)}" for name, value in hyper.items()]


# --- other forms ------------------------------------------------------------------------------------------------------


def as_latex(network: Network, optimizer: str | None) -> str:
    """The same equations as a LaTeX document."""
    system = forward_system(network)

    def aligned(lines: Iterable[object]) -> str:
        return latex_align(lines, system.samples, system.tensors)  # type: ignore[arg-type]  # equations and updates

    sections = [(say("interfaces.forward"), aligned(system.equations))]
    if system.has_phases:
        sections.append((say("phases.at_prediction"), aligned(system.changed_at_prediction())))
    if _is_derived(network):
        sections.append((say("interfaces.backward"), aligned(network.derivation.backward)))
    sections += [(title, aligned(lines)) for title, lines, _ in update_sections(network, optimizer)]
    return latex_document(sections)


def as_numpy(network: Network, optimizer: str | None) -> str:
    """A NumPy program that a person could have written."""
    from chainrule.program.write import Options, write_numpy
    from chainrule.training.initial import starts

    program = training_step(network, optimizer)
    hyper = {n: v for n, v in network.hyper.items() if n not in program.defaults}
    own = lower_prediction(network.system) if network.system.has_phases else None
    options = Options(seed=network.seed, text=network.formulas, prediction=own)
    return write_numpy(program, network.sizes, starts(network.system), hyper, options)


def as_program(network: Network, optimizer: str | None) -> str:
    """The instructions of one training step, each with what a reader calls it."""
    program = training_step(network, optimizer)
    parts = []
    for name in ("forward", "backward", "update"):
        instructions = getattr(program, name)
        if instructions:
            parts += ["", f"# {say(f'interfaces.{name}_part')}"]
            parts += [f"{type(i).__name__:<9} {_result(i.out):<20} {i.formula}" for i in instructions]
    return "\n".join(parts).lstrip("\n")


def training_step(network: Network, optimizer: str | None) -> Program:
    """One training step; the forward pass alone where nothing learns (fixed gates)."""
    if network.system.loss is None and not network.system.updates:
        return lower_prediction(network.system)
    return network.training_program(optimizer)[0]


def _result(element: Element) -> str:
    return f"{element.tensor}[{', '.join(map(str, element.slots))}]" if element.slots else element.tensor


def as_rules(network: Network, optimizer: str | None) -> str:
    """The stable forms and the rules that were used."""
    derived = _is_derived(network)
    form = network.derivation if derived else normalize(network.system)
    printer = Unicode(form.system.samples, form.system.tensors)
    parts = [f"# {say('interfaces.stable_forms')}"]
    parts += [f"{r.rule}: {printer.text(r.before)}  →  {printer.text(r.after)}" for r in form.rewrites] or ["–"]
    if derived:
        parts += ["", f"# {say('interfaces.rules_used')}", *network.derivation.rules_used()]
    return "\n".join(parts)


FORMS: dict[str, Callable[[Network, str | None], str]] = {
    "formulas": as_formulas,
    "latex": as_latex,
    "numpy": as_numpy,
    "program": as_program,
    "rules": as_rules,
}
