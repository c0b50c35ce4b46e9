"""One training step, looked at: `net.program()`, the equations beside the NumPy lines that they became, and
`net.step_through(x, t)`, the interpreter one instruction at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.derivation.pages.page import (
    BECOMES,
    Block,
    Code,
    Heading,
    Inline,
    Page,
    Paged,
    Table,
    sign_before,
)
from chainrule.formula.evaluate import Array
from chainrule.formula.expr import Symbol
from chainrule.formula.system import Equation, Update
from chainrule.formula.text import update_text
from chainrule.messages import say
from chainrule.program.instructions import Program, reads
from chainrule.program.instructions import Update as Step
from chainrule.program.interpret import run_events
from chainrule.program.numpy_lines import Line, Lines
from chainrule.program.rules import GRADIENT
from chainrule.training.initial import starting_state
from chainrule.training.vocabulary import Rule

if TYPE_CHECKING:
    from chainrule.training.network import Network

PHASES = ("forward", "backward", "update")


@dataclass(frozen=True)
class Event:
    """One instruction of a step: its phase (forward, backward, update), its formula, what it read and what it gave.

    Arrays are copies, with the sample axis first where a quantity has one; `output` of an update is the new value.
    """

    phase: str
    name: str
    formula: str
    inputs: Mapping[str, Array]
    output: Array

    def __str__(self) -> str:
        shape = "×".join(map(str, self.output.shape)) or "1"
        return f"{self.phase}: {self.formula}    {shape}"


def step_through(
    network: Network, program: Program, arrays: Mapping[str, Array], hyper: Mapping[str, float]
) -> Iterator[Event]:
    """Run one step on copies; the network keeps its weights."""
    rows = len(next(iter(arrays.values()))) if arrays else 1
    sizes = {**network.sizes, program.samples: rows}
    cast = {n: a.astype(network.dtype, copy=False) if a.dtype.kind != "i" else a for n, a in arrays.items()}
    state = {**cast, **starting_state(program, network.kept, sizes, network.dtype)}
    phase = {id(i): name for name in PHASES for i in getattr(program, name)}
    known = dict(state)
    for instruction, result in run_events(program, state, sizes, hyper):
        inputs = {name: np.array(known[name]) for name in reads(instruction) if name in known}
        known[instruction.out.tensor] = np.array(result)
        yield Event(
            phase[id(instruction)], instruction.out.tensor, instruction.formula, inputs, known[instruction.out.tensor]
        )


@dataclass(frozen=True, repr=False)
class ProgramPage(Paged):
    """The step as equations beside NumPy lines: print it, or `save("program.html")`."""

    pages: Page

    def page(self) -> Page:
        """The page."""
        return self.pages

    def __repr__(self) -> str:
        return self.terminal()


def program_page(network: Network, program: Program, rule: Rule) -> ProgramPage:
    """Each equation of the step beside the line of NumPy that it became."""
    told = Lines(program, network.sizes, network.dtype)
    derivation = network.derivation if program.backward else None
    system = derivation.system if derivation is not None else network.system
    equations = {e.target.tensor: e for e in system.equations}
    if derivation is not None:
        equations |= {e.target.tensor: e for e in derivation.backward}
    phases = {i.out.tensor: name for name in PHASES for i in getattr(program, name) if not isinstance(i, Step)}
    blocks: list[Block] = []
    for phase in PHASES:
        lines = [
            x for x in told.lines if (x.update and phase == "update") or (not x.update and phases[x.name] == phase)
        ]
        if lines:
            rows = tuple((_formula(line, equations, rule), (Code(told.code(line)),)) for line in lines)
            blocks += [Heading((say(f"pages.{phase}"),)), Table(((say("pages.equation"),), ("NumPy",)), rows)]
    return ProgramPage(Page((say("pages.program_title"),), tuple(blocks), system.samples, system.tensors))


def _formula(line: Line, equations: Mapping[str, Equation], rule: Rule) -> Inline:
    """The equation of a line, as it stands in the derivation or in the update rule."""
    if line.update or line.formula.startswith(f"{line.name} <-"):
        update = _update_of(line, rule)
        return (Code(line.formula),) if update is None else (update.target, BECOMES, update.value)
    equation = equations.get(line.name)
    if equation is not None and not line.temporary:
        return (equation.target, sign_before(equation.value), equation.value)
    return (Code(line.formula),) if line.formula and not line.temporary else ()


def _update_of(line: Line, rule: Rule) -> Update | None:
    """The rule's line that it came from."""
    for update in rule.lines:
        if update_text(update) == line.formula or (
            update.target == Symbol(GRADIENT) and update_text(replace(update, target=Symbol(line.name))) == line.formula
        ):
            return update
    return None
