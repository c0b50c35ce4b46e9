"""Every invariant of a Program, checked: what the compiler, the interpreter and the printer may rely on.

A program that fails here is a mistake of chainrule, never of its user, so ProgramError is an AssertionError in English
and no part of errors.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chainrule.formula.expr import Element, Expr, Normalized, Reduction, elements, free_indices, symbols, walk
from chainrule.formula.system import Tensor
from chainrule.program.instructions import (
    ACCUMULATOR,
    STEP_SYMBOLS,
    Contract,
    Instruction,
    Map,
    Program,
    Reduce,
    Update,
)

GIVEN = ("input", "target", "label", "parameter", "state")
KEPT = ("parameter", "state")


class ProgramError(AssertionError):
    """A program that breaks one of its invariants: a mistake in lowering or in a pass."""


def verify(program: Program) -> None:
    """Check every invariant of a program.

    - scalars: each name once, made of hyper-parameters, the step and scalars before it, never of tensors;
    - single assignment: a computed tensor is assigned once, at its own indices, and read only after that;
    - an Update changes a parameter or a state, and stands in the update part alone;
    - every element has as many slots as its tensor has indices, and every index is bound or one of the result's;
    - an instruction is one loop: no sum and no softmax inside its expressions;
    - Contract: each side has distinct indices, both share the summed ones only, and the result has the rest.

    Raises: ProgramError, naming the instruction.
    """
    _check_scalars(program)
    known = {name for name, tensor in program.tensors.items() if tensor.role in GIVEN}
    scalars = {name for name, _ in program.scalars}
    for part in (program.forward, program.backward, program.update):
        for instruction in part:
            check = _Check(instruction, program.tensors, known, scalars)
            check.run()
            check.that(
                part is program.update or not isinstance(instruction, Update), "an Update outside the update part"
            )
            known.add(instruction.out.tensor)
    named = {*program.watched, *program.gradients.values(), *filter(None, (program.loss, program.output))}
    _require(named <= known, f"nothing computes {sorted(named - known)}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ProgramError(message)


def _check_scalars(program: Program) -> None:
    known = {*program.hyper, *STEP_SYMBOLS}
    for name, value in program.scalars:
        _require(name not in known, f"scalar {name} is defined twice")
        _require(not elements(value) and not free_indices(value), f"scalar {name} depends on a tensor or an index")
        _require(set(symbols(value)) <= known, f"scalar {name} reads {sorted(set(symbols(value)) - known)} too early")
        known.add(name)


class _Check:
    """The invariants of one instruction, with what is known before it."""

    def __init__(
        self, instruction: Instruction, tensors: Mapping[str, Tensor], known: Iterable[str], scalars: set[str]
    ):
        self.instruction = instruction
        self.tensors = tensors
        self.known = known
        self.scalars = scalars
        self.own = [str(s) for s in instruction.out.slots]

    def that(self, holds: bool, message: str) -> None:
        _require(holds, f"{message} in {self.instruction}")

    def run(self) -> None:
        self.result()
        match self.instruction:
            case Contract():
                self.contract(self.instruction)
                self.epilogue(self.instruction.epilogue)
            case Reduce(_, kind, indices, body, epilogue, _):
                self.that(kind in ("sum", "max", "min"), f"a reduction called {kind}")
                self.that(len(set(indices)) == len(indices) > 0, "an index that is summed twice, or none")
                self.that(not set(indices) & set(self.own), "an index of the result that is summed")
                self.expression(body, {*self.own, *indices})
                self.epilogue(epilogue)
            case Map(_, value, _) | Update(_, value, _):
                self.expression(value, set(self.own))

    def result(self) -> None:
        out = self.instruction.out
        self.that(out.tensor in self.tensors, "a tensor that is not declared")
        tensor = self.tensors[out.tensor]
        self.that(len(set(self.own)) == len(out.slots) == len(tensor.indices), "indices of the result")
        if isinstance(self.instruction, Update):
            self.that(tensor.role in KEPT, f"an Update of a tensor of role {tensor.role}")
            return
        self.that(tensor.role == "computed", f"an assignment to a tensor of role {tensor.role}")
        self.that(out.slots == tensor.indices, "a result at other indices than its own")
        self.that(out.tensor not in self.known, "a second assignment")

    def contract(self, instruction: Contract) -> None:
        left, right = instruction.left, instruction.right
        for side in (left, right):
            self.element(side)
            self.that(all(isinstance(s, str) for s in side.slots), "a fixed position in a side of a product")
            self.that(len(set(side.slots)) == len(side.slots), "an index twice in a side of a product")
        self.that(
            len(set(instruction.indices)) == len(instruction.indices) > 0, "an index that is summed twice, or none"
        )
        self.that(set(left.slots) & set(right.slots) == set(instruction.indices), "shared indices that are not summed")
        self.that(sorted(instruction.rows + instruction.columns) == sorted(self.own), "rows and columns")

    def epilogue(self, expr: Expr) -> None:
        found = {e for e in elements(expr) if e.tensor == ACCUMULATOR}
        self.that(
            found == {Element(ACCUMULATOR, self.instruction.out.slots)}, "the accumulator at the result's indices"
        )
        self.expression(expr, set(self.own), accumulator=True)

    def expression(self, expr: Expr, indices: set[str], *, accumulator: bool = False) -> None:
        for node in walk(expr):
            self.that(not isinstance(node, Reduction | Normalized), "a sum or softmax inside an expression")
            if isinstance(node, Element) and not (accumulator and node.tensor == ACCUMULATOR):
                self.element(node)
        self.that(free_indices(expr) <= indices, f"an index that is neither bound nor the result's, {expr}")
        self.that(set(symbols(expr)) <= self.scalars, "a symbol that is no scalar of the program")

    def element(self, element: Element) -> None:
        self.that(element.tensor in self.known, f"{element.tensor or 'an element without a name'} is read too early")
        self.that(len(element.slots) == len(self.tensors[element.tensor].indices), f"slots of {element.tensor}")
        self.that("" not in element.slots, "an index without a name")
