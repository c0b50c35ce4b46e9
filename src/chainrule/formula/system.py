"""A System: the tensors that a text declares, the equations between them, and how its parameters are updated.

The sample axis is an index like any other (`system.samples`, "n" unless the text says `samples m`): inputs, targets,
labels and all that is computed from them carry it as their first index, and the text leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from chainrule.errors import Place
from chainrule.formula.distributions import mean_of
from chainrule.formula.expr import (
    Element,
    Expr,
    Number,
    Power,
    Random,
    Size,
    Symbol,
    mul,
    sum_over,
    tensors,
    transform,
)


@dataclass(frozen=True)
class Initial:
    """How a parameter starts: a named initializer with arguments, or the numbers themselves.

    `values` is a nested tuple of floats for an array, a float for a constant, None where `name` says it.
    """

    name: str | None
    arguments: tuple[float, ...] = ()
    values: object = None
    text: str = field(default="", compare=False)


@dataclass(frozen=True)
class Tensor:
    """A named quantity. `indices` include the sample axis, first, where the tensor has one.

    Roles: input, target, label, parameter, state, computed. `classes` is the index whose values a label counts,
    or an input of class numbers.
    """

    name: str
    role: str
    indices: tuple[str, ...]
    initial: Initial | None = None
    classes: str | None = None
    place: Place | None = field(default=None, compare=False)

    @property
    def element(self) -> Element:
        """The tensor at its own indices."""
        return Element(self.name, self.indices)


@dataclass(frozen=True)
class Equation:
    """target = value; `rule` names what put it there where the text did not."""

    target: Element
    value: Expr
    place: Place | None = field(default=None, compare=False)
    rule: str | None = None


@dataclass(frozen=True)
class Fact:
    """What a text claims of its data, such as sum[k](t[k]) = 1: checked in the data, used by the derivation."""

    left: Expr
    operator: str
    right: Expr
    place: Place | None = field(default=None, compare=False)

    @property
    def names(self) -> frozenset[str]:
        """The tensors that it speaks of."""
        return frozenset((*tensors(self.left), *tensors(self.right)))


@dataclass(frozen=True)
class Update:
    """target <- value. A Symbol target belongs to a rule for every parameter (w, its gradient g, states)."""

    target: Element | Symbol
    value: Expr
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True)
class System:
    """Everything that a formula text says. `predictions` are the equations that hold instead when predicting."""

    tensors: Mapping[str, Tensor]
    equations: tuple[Equation, ...]
    predictions: tuple[Equation, ...] = ()
    updates: tuple[Update, ...] = ()
    constraints: tuple[Update, ...] = ()  # each follows the update of its parameter
    facts: tuple[Fact, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    hyper: Mapping[str, Fraction] = field(default_factory=dict)
    loss: str | None = None
    output: str | None = None
    samples: str = "n"
    text: str = field(default="", compare=False)

    @property
    def in_facts(self) -> set[str]:
        """The tensors of which the text claims something."""
        return {name for fact in self.facts for name in fact.names}

    def of_role(self, *roles: str) -> list[Tensor]:
        """The tensors of these roles, in the order of the text."""
        return [t for t in self.tensors.values() if t.role in roles]

    @property
    def parameters(self) -> list[Tensor]:
        return self.of_role("parameter")

    @property
    def has_phases(self) -> bool:
        """Whether it predicts by other equations than those it is trained by."""
        return bool(self.predictions) or any(isinstance(e.value, Random) for e in self.equations)

    def at_prediction(self) -> System:
        """The system that predicts: the lines `prediction …` hold, and a random quantity is its mean."""
        if not self.has_phases:
            return self
        instead = {e.target.tensor: e for e in self.predictions}
        equations = [instead.get(e.target.tensor, e) for e in self.equations]
        means = {e.target.tensor: mean_of(e.value) for e in equations if isinstance(e.value, Random)}

        def certain(node: Expr) -> Expr:
            return means.get(node.tensor, node) if isinstance(node, Element) else node

        values = [mean_of(e.value) if isinstance(e.value, Random) else transform(e.value, certain) for e in equations]
        there = [replace(e, value=value) for e, value in zip(equations, values, strict=True)]
        return replace(self, equations=tuple(_in_order(there)), predictions=())

    def changed_at_prediction(self) -> list[Equation]:
        """The equations that hold instead of others when predicting, in order."""
        return [e for e in self.at_prediction().equations if e not in self.equations]

    def equation_of(self, name: str) -> Equation | None:
        """The equation that defines a computed tensor."""
        return next((e for e in self.equations if e.target.tensor == name), None)

    def is_sampled(self, name: str) -> bool:
        """Whether a tensor has the sample axis."""
        return self.samples in self.tensors[name].indices

    def depends_on(self, name: str) -> set[str]:
        """Every tensor that `name` is computed from, itself included."""
        seen: set[str] = set()
        pending = [name]
        while pending:
            current = pending.pop()
            if current not in seen:
                seen.add(current)
                equation = self.equation_of(current)
                pending += tensors(equation.value) if equation else []
        return seen

    def batch_loss(self) -> Expr:
        """The scalar that training makes small: the mean of E over the samples, or E where it sums them itself."""
        assert self.loss is not None
        element = self.tensors[self.loss].element
        if self.samples not in element.slots:
            return element
        return mul(Power(Size(self.samples), Number(Fraction(-1))), sum_over([self.samples], element))

    def with_(self, **changes: object) -> System:
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]  # dataclasses.replace checks the names


def _in_order(equations: list[Equation]) -> list[Equation]:
    """The equations with what one needs in front of it; what is in order stays as it is."""
    waiting = {e.target.tensor: e for e in equations}
    ordered: list[Equation] = []
    while waiting:
        free = next((e for e in waiting.values() if not waiting.keys() & set(tensors(e.value))), None)
        assert free is not None, "the parser refuses lines that need each other"
        ordered.append(waiting.pop(free.target.tensor))
    return ordered
