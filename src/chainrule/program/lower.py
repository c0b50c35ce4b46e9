"""System + Derivation + update rule → Program: equations.py for what is computed, rules.py for what changes.

Nothing here knows what a layer, a loss or an activation is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

from chainrule.derivation.adjoint import Derivation
from chainrule.derivation.normalize import definition_in, normalize
from chainrule.formula.expr import Element, Expr, Symbol, symbols
from chainrule.formula.simplify import Stabilizer
from chainrule.formula.system import Equation, System
from chainrule.formula.system import Update as UpdateLine
from chainrule.program.instructions import STEP_SYMBOLS, Instruction, Program
from chainrule.program.passes import prune, share_functions
from chainrule.program.rules import Rules
from chainrule.program.verify import verify


def lower_training(
    derivation: Derivation | None,
    system: System,
    rule: Sequence[UpdateLine] = (),
    *,
    defaults: Mapping[str, Fraction] | None = None,
    metrics: Mapping[str, Expr] | None = None,
    special: Mapping[str, Sequence[UpdateLine]] | None = None,
) -> Program:
    """One training step of `system`: forward, backward, and the updates of `rule` (the system's own lines go first).

    `derivation` may be None where no update asks for a gradient (a perceptron's rule); `metrics` are watched;
    `special` has the rules of parameters that do not follow `rule`: no lines for one that stays as it is.
    Raises: SettingError where a rule has no line for w.
    """
    frozen = {name for name, lines in (special or {}).items() if not lines}
    own = derivation.system if derivation else normalize(system).system
    lowerer = _Lowerer(_without_lines_of(own, frozen), defaults or {})
    rules = {p.name: (special or {}).get(p.name, rule or _generic_lines(system)) for p in system.parameters}
    return lowerer.training(derivation, rules, metrics or {})


def lower_prediction(
    system: System, *, metrics: Mapping[str, Expr] | None = None, loss: bool = False, also: Sequence[str] = ()
) -> Program:
    """The forward pass as far as the output (and the loss and metrics, where asked for) needs it.

    `also` are other tensors that stay, as watched ones: further outputs. It is the system's other phase: the lines
    `prediction …` hold, and random quantities are their means.
    """
    return _Lowerer(normalize(system.at_prediction()).system, {}).prediction(metrics or {}, loss, also)


def _without_lines_of(system: System, frozen: Collection[str]) -> System:
    """The system without the lines that would change these parameters."""

    def left(lines: Sequence[UpdateLine]) -> tuple[UpdateLine, ...]:
        return tuple(u for u in lines if not (isinstance(u.target, Element) and u.target.tensor in frozen))

    return system.with_(updates=left(system.updates), constraints=left(system.constraints)) if frozen else system


def _generic_lines(system: System) -> tuple[UpdateLine, ...]:
    return tuple(u for u in system.updates if isinstance(u.target, Symbol))


class _Lowerer(Rules):
    """Whole programs."""

    def training(
        self, derivation: Derivation | None, rules: Mapping[str, Sequence[UpdateLine]], metrics: Mapping[str, Expr]
    ) -> Program:
        watched = self._forward(metrics, with_loss=True)
        forward = self._taken()
        gradients: Mapping[str, str] = {}
        if derivation is not None:
            gradients = {name: g for name, g in derivation.gradients.items() if self._moves(name, rules)}
            for equation in derivation.backward:
                self._declare(equation)
                self.equation(equation)
        backward = self._taken()
        self._updates(rules, gradients)
        return self._program(forward, backward, self._taken(), watched, gradients)

    def prediction(self, metrics: Mapping[str, Expr], loss: bool, also: Sequence[str] = ()) -> Program:
        watched = (*self._forward(metrics, with_loss=loss), *also)
        return self._program(self._taken(), (), (), watched, {})

    def _program(
        self,
        forward: tuple[Instruction, ...],
        backward: tuple[Instruction, ...],
        update: tuple[Instruction, ...],
        watched: tuple[str, ...],
        gradients: Mapping[str, str],
    ) -> Program:
        computed = {i.out.tensor for part in (forward, backward, update) for i in part}
        used = {n: t for n, t in self.tensors.items() if t.role != "computed" or n in computed}
        asked = [s for _, e in self.scalars.values() for s in symbols(e)]
        own = {name for name, _ in self.scalars.values()}
        program = Program(
            tensors=used,
            scalars=tuple(self.scalars.values()),
            forward=forward,
            backward=backward,
            update=update,
            loss=self.system.loss if self.system.loss in watched else None,
            output=self.system.output,
            watched=watched,
            gradients=gradients,
            hyper=tuple(dict.fromkeys(s for s in asked if s not in own and s not in STEP_SYMBOLS)),
            defaults=self.defaults,
            samples=self.samples,
        )
        program = share_functions(prune(program), self.tensors)
        verify(program)
        return program

    def _forward(self, metrics: Mapping[str, Expr], *, with_loss: bool) -> tuple[str, ...]:
        watched = [self.system.loss] if with_loss and self.system.loss else []
        for equation in self.system.equations:
            self.equation(equation)
        # log(p) in a metric is as safe as in the loss.
        stabilizer = Stabilizer(lambda element: definition_in(self.system.equations, element))
        for name, value in metrics.items():
            equation = Equation(Element(name, (self.samples,)), stabilizer.stabilize(value))
            self._declare(equation)
            self.equation(equation)
            watched.append(name)
        return tuple(watched)

    def _taken(self) -> tuple[Instruction, ...]:
        taken, self.instructions = tuple(self.instructions), []
        return taken
