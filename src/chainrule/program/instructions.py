"""The grammar of a Program: single assignment, except for Update.

    Program     = scalars, forward, backward, update
    Instruction = Contract | Map | Reduce | Update

    Contract    out[I] = epilogue( sum[S](left[·] * right[·]) )      a product of two tensors, rows × columns
    Reduce      out[I] = epilogue( sum|max|min[S](body) )            anything else that runs over an index
    Map         out[I] = value                                       entry by entry
    Update      out[I] <- value                                      a parameter or a state, in place

The epilogue is an expression in which the element of the tensor ACCUMULATOR stands for the finished sum. Scalars are
computed once a step, in float64: hyper-parameters, 1/size(n), 1 - beta**step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from chainrule.formula.expr import Draw, Element, Expr, Reduction, mul, tensors, walk
from chainrule.formula.system import Tensor

ACCUMULATOR = "∑"  # U+2211, which no formula can name: the parser reads it as Σ
STEP_SYMBOLS = ("step", "steps")  # the number of this update, from 1, and of all updates


@dataclass(frozen=True)
class Contract:
    """out = epilogue(sum over `indices` of left * right). `formula` is what a reader calls it."""

    out: Element
    left: Element
    right: Element
    indices: tuple[str, ...]
    epilogue: Expr
    formula: str = ""

    @property
    def rows(self) -> tuple[str, ...]:
        """The indices of the result that come from the left."""
        return tuple(str(s) for s in self.left.slots if s not in self.indices)

    @property
    def columns(self) -> tuple[str, ...]:
        """The indices of the result that come from the right."""
        return tuple(str(s) for s in self.right.slots if s not in self.indices)

    @property
    def product(self) -> Expr:
        return Reduction("sum", self.indices, mul(self.left, self.right))


@dataclass(frozen=True)
class Reduce:
    """out = epilogue(kind over `indices` of body)."""

    out: Element
    kind: str
    indices: tuple[str, ...]
    body: Expr
    epilogue: Expr
    formula: str = ""


@dataclass(frozen=True)
class Map:
    """out = value, entry by entry."""

    out: Element
    value: Expr
    formula: str = ""


@dataclass(frozen=True)
class Update:
    """out <- value: the one instruction that changes what is there."""

    out: Element
    value: Expr
    formula: str = ""


Instruction = Contract | Reduce | Map | Update


def reads(instruction: Instruction) -> list[str]:
    """The tensors that an instruction reads, each once."""
    match instruction:
        case Contract(_, left, right, _, epilogue, _):
            names = [left.tensor, right.tensor, *tensors(epilogue)]
        case Reduce(_, _, _, body, epilogue, _):
            names = [*tensors(body), *tensors(epilogue)]
        case Map(_, value, _) | Update(_, value, _):
            names = tensors(value)
    return [n for n in dict.fromkeys(names) if n != ACCUMULATOR]


@dataclass(frozen=True)
class Program:
    """One training step (or, with no backward and update, one prediction).

    `tensors` holds every tensor that an instruction touches; `watched` are the quantities of a sample whose sums over
    an epoch are reported (the loss, the accuracy); `defaults` are the values of hyper-parameters that formulas give.
    """

    tensors: Mapping[str, Tensor]
    scalars: tuple[tuple[str, Expr], ...]
    forward: tuple[Instruction, ...]
    backward: tuple[Instruction, ...] = ()
    update: tuple[Instruction, ...] = ()
    loss: str | None = None
    output: str | None = None
    watched: tuple[str, ...] = ()
    gradients: Mapping[str, str] = field(default_factory=dict)
    hyper: tuple[str, ...] = ()
    defaults: Mapping[str, Fraction] = field(default_factory=dict)
    samples: str = "n"

    def __iter__(self) -> Iterator[Instruction]:
        yield from self.forward
        yield from self.backward
        yield from self.update

    @property
    def inputs(self) -> list[Tensor]:
        """What a batch brings, in a fixed order."""
        return [t for t in self.tensors.values() if t.role in ("input", "target", "label")]

    @property
    def kept(self) -> list[Tensor]:
        """What lives from step to step: parameters, then states."""
        roles = ("parameter", "state")
        return [t for role in roles for t in self.tensors.values() if t.role == role]

    @cached_property
    def draws(self) -> dict[str, int]:
        """The quantities that are drawn at random, and how many numbers in [0, 1) an entry of each takes."""
        found: dict[str, int] = {}
        for instruction in self:
            if isinstance(instruction, Map):
                for node in walk(instruction.value):
                    if isinstance(node, Draw):
                        found[node.tensor] = max(found.get(node.tensor, 0), node.number + 1)
        return found

    @property
    def computed(self) -> list[Tensor]:
        """What a step computes and forgets."""
        return [t for t in self.tensors.values() if t.role == "computed"]
