"""Which parameters and states are a module of PyTorch's, or a layer of Keras's: read off the formulas.

    Linear         sum[i](x[i]*W[i, j]) + b[j], in any order of indices; several summed ones are a flattened input
    Embedding      sum[v]([v == c]*T[v, d])
    BatchNorm1d    gamma[j]*(x[j] - mean[j])/sqrt(var[j] + eps) + beta[j], where mean and var are states
    LayerNorm      the same with a mean and a variance of the sample
    PReLU          alpha[j] in where(x[j] > 0, x[j], alpha[j]*x[j])

`place` is the number that nn.Sequential gives to the module, where the network is a chain: activations and dropout
are counted there, what scales the input is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.derivation.normalize import normalize
from chainrule.errors import ShapeError
from chainrule.formula.expr import (
    Add,
    Element,
    Expr,
    Mul,
    Number,
    Power,
    Reduction,
    Where,
    elements,
    tensors,
    walk,
)
from chainrule.formula.lookup import pins
from chainrule.formula.system import Equation, System, Tensor
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.training.network import Network

Array = np.ndarray[Any, Any]
LINEAR, EMBEDDING, BATCH_NORM, LAYER_NORM, PRELU = "Linear", "Embedding", "BatchNorm1d", "LayerNorm", "PReLU"
ROLES = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Module:
    """A module: `parts` says which tensor of the formulas plays which of ROLES.

    `summed` and `free` are the indices of a Linear's weight that are summed and that stay, in the order in which an
    array with one axis for each side counts them. `blocks` are the weights that a Linear on a concatenation has in the
    formulas, the first among them: elsewhere they are one, side by side.
    """

    kind: str
    parts: Mapping[str, str]
    summed: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    place: int = 0
    epsilon: float | None = None
    sum: int = 0  # the number of the equation that a Linear is a term of
    blocks: tuple[Module, ...] = ()

    def sides(self, role: str, tensor: Tensor, *, rows_first: bool) -> tuple[tuple[str, ...], ...]:
        """The indices of each axis that others give to a part: of a Linear's weight (out, in) where `rows_first`."""
        if self.kind == LINEAR and role == "weight":
            return (self.free, self.summed) if rows_first else (self.summed, self.free)
        if self.kind == LINEAR and role == "bias":
            return (tensor.indices,)
        return tuple((i,) for i in tensor.indices)

    def shape(self, role: str, tensor: Tensor, sizes: Mapping[str, int], *, rows_first: bool) -> tuple[int | None, ...]:
        """The shape that others give to a part; None for a size that is not known yet."""
        shape = [_product(side, sizes) for side in self.sides(role, tensor, rows_first=rows_first)]
        if self.blocks and role == "weight":
            wide = [_product(b.summed, sizes) for b in self.blocks]
            shape[1 if rows_first else 0] = None if None in wide else sum(w for w in wide if w is not None)
        return tuple(shape)

    def outward(self, role: str, tensor: Tensor, array: Array, *, rows_first: bool = True) -> Array:
        """An array of the formulas as others have it."""
        if self.kind != LINEAR:
            return array
        if role == "bias":
            return array.reshape(-1)
        sides = (self.free, self.summed) if rows_first else (self.summed, self.free)
        order = [tensor.indices.index(i) for side in sides for i in side]
        rows = math.prod(array.shape[tensor.indices.index(i)] for i in sides[0])
        return array.transpose(order).reshape(rows, -1)

    def inward(
        self, role: str, tensor: Tensor, array: Array, sizes: Mapping[str, int], *, rows_first: bool = True
    ) -> Array:
        """An array of others as the formulas have it: (out, in) → (i, j)."""
        if self.kind != LINEAR:
            return array
        if role == "bias":
            return array.reshape(_lengths(tensor.indices, sizes, array.size))
        sides = (self.free, self.summed) if rows_first else (self.summed, self.free)
        own = [i for side in sides for i in side]
        lengths = [n for side, count in zip(sides, array.shape, strict=True) for n in _lengths(side, sizes, count)]
        return array.reshape(lengths).transpose([own.index(i) for i in tensor.indices])


def _product(indices: tuple[str, ...], sizes: Mapping[str, int]) -> int | None:
    known = [sizes.get(i) for i in indices]
    return None if None in known else math.prod(k for k in known if k is not None)


def _lengths(indices: tuple[str, ...], sizes: Mapping[str, int], count: int) -> list[int]:
    """The sizes of indices that take `count` entries together; one may be unknown."""
    unknown = [i for i in indices if i not in sizes]
    if len(unknown) > 1:
        raise ShapeError(say("formula.size_unknown", index=unknown[0]))
    others = math.prod(sizes[i] for i in indices if i in sizes)
    return [sizes.get(i, count // max(others, 1)) for i in indices]


@dataclass
class Modules:
    """All modules in the order of the formulas; `chain` says that the network is one module after another."""

    found: list[Module] = field(default_factory=list)
    chain: bool = True

    def of(self, tensor: str) -> tuple[Module, str] | None:
        """The module that a tensor belongs to, and what it is there."""
        for module in self.found:
            for role, name in module.parts.items():
                if name == tensor:
                    return module, role
        return None


def modules_of(network: Network) -> Modules:
    """The modules of a network, read off the equations by which it predicts."""
    return _Reader(network.system).modules()


def with_joined(modules: Modules) -> Modules:
    """The modules with those Linears as one that are terms of one sum: a Linear on a concatenation."""
    joined: dict[int, list[Module]] = {}
    for module in modules.found:
        joined.setdefault(module.sum if module.kind == LINEAR else -1 - len(joined), []).append(module)
    return Modules([_as_one(some) for some in joined.values()], chain=False)


def _as_one(members: list[Module]) -> Module:
    if len(members) == 1:
        return members[0]
    bias = {role: t for m in members for role, t in m.parts.items() if role == "bias"}
    return replace(members[0], parts={"weight": members[0].parts["weight"], **bias}, blocks=tuple(members))


class _Reader:
    def __init__(self, system: System):
        own = normalize(system.at_prediction()).system
        needed = own.depends_on(own.output) if own.output is not None else set(own.tensors)
        self.system, self.training = own, system
        self.equations = [e for e in own.equations if e.target.tensor in needed]
        self.names = {
            e.target.tensor: e.value.tensor
            for e in self.equations
            if isinstance(e.value, Element) and e.value.slots == e.target.slots and not own.is_sampled(e.target.tensor)
        }
        self.taken: set[str] = set()

    def role(self, name: str) -> str:
        return self.system.tensors[name].role

    def behind(self, name: str) -> str:
        """The state that a name such as mu stands for when predicting."""
        return self.names.get(name, name)

    # --- the chain

    def modules(self) -> Modules:
        result = Modules()
        inputs = [t.name for t in self.system.of_role("input") if self._is_read(t.name)]
        result.chain = len(inputs) == 1
        previous, helpers, place = inputs[0] if inputs else "", set[str](), 0
        for number, equation in enumerate(self.equations):
            found = list(self._found(equation))
            name = equation.target.tensor
            if self.system.is_sampled(name):
                sources = {t for t in tensors(equation.value) if self.system.is_sampled(t)} - helpers
                result.chain &= sources <= {previous}
                if not found and self._helps(name, previous, self.equations[number + 1 :]):
                    helpers.add(name)
                    continue
                previous = name
            for module in found:
                place += len(module.summed) > 1  # nn.Flatten stands before it
                result.found.append(replace(module, place=place, sum=number))
                place += 1
            if result.found and self.system.is_sampled(name) and self._is_more(equation, found):
                place += 1
        result.chain &= all(len(list(self._owners(result, t))) == 1 for t in self._learned())
        return result

    def _is_read(self, name: str) -> bool:
        return any(name in tensors(e.value) for e in self.equations)

    def _learned(self) -> list[str]:
        return [p.name for p in self.system.parameters if self._is_read(p.name)]

    def _owners(self, result: Modules, tensor: str) -> Iterator[Module]:
        return (m for m in result.found if tensor in m.parts.values())

    def _helps(self, name: str, previous: str, later: list[Equation]) -> bool:
        """Whether it is a statistic of the sample, such as a mean, that is used beside what it is of."""
        return any({name, previous} <= set(tensors(e.value)) for e in later)

    def _is_more(self, equation: Equation, found: list[Module]) -> bool:
        """Whether an equation is an activation or dropout, beside what was found in it."""
        if not found:
            return True
        value = equation.value
        if found[-1].kind != LINEAR:
            return False
        return not isinstance(value, Reduction) and not (
            isinstance(value, Add) and all(isinstance(t, Reduction | Element) for t in value.terms)
        )

    # --- one equation

    def _found(self, equation: Equation) -> Iterator[Module]:
        value = equation.value
        for node in walk(value):
            if isinstance(node, Reduction) and node.kind == "sum":
                if (module := self._embedding(node) or self._linear(node, value)) is not None:
                    self.taken |= set(module.parts.values())
                    yield module
        if (module := self._normalization(value) or self._prelu(value)) is not None:
            self.taken |= set(module.parts.values())
            yield module

    def _embedding(self, node: Reduction) -> Module | None:
        found = [p for p in pins(node.body, self.system.tensors) if p.index in node.indices]
        factors = node.body.factors if isinstance(node.body, Mul) else ()
        for pin in found:
            for factor in factors:
                match factor:
                    case Element(tensor, slots) if self.role(tensor) == "parameter" and slots[:1] == (pin.index,):
                        if tensor not in self.taken:
                            return Module(EMBEDDING, {"weight": tensor})
        return None

    def _linear(self, node: Reduction, value: Expr) -> Module | None:
        factors = node.body.factors if isinstance(node.body, Mul) else ()
        weights = [f for f in factors if isinstance(f, Element) and self.role(f.tensor) == "parameter"]
        others = [f for f in factors if f not in weights]
        if len(weights) != 1 or not others or not any(self._is_data(f) for f in others):
            return None
        weight = weights[0]
        slots = tuple(s for s in weight.slots if isinstance(s, str))
        if len(set(slots)) < len(weight.slots) or not set(node.indices) <= set(slots) or weight.tensor in self.taken:
            return None
        declared = dict(zip(slots, self.system.tensors[weight.tensor].indices, strict=True))
        entering = [str(s) for f in others for e in elements(f) for s in e.slots if s in node.indices]
        summed = tuple(dict.fromkeys(entering))
        free = tuple(s for s in slots if s not in node.indices)
        bias = self._bias(node, value, free)
        parts = {"weight": weight.tensor, **({"bias": bias} if bias else {})}
        return Module(LINEAR, parts, tuple(declared[i] for i in summed), tuple(declared[i] for i in free))

    def _is_data(self, expr: Expr) -> bool:
        return any(self.system.is_sampled(e.tensor) for e in elements(expr))

    def _bias(self, node: Reduction, value: Expr, free: tuple[str, ...]) -> str | None:
        for outer in walk(value):
            if isinstance(outer, Add) and any(t is node for t in outer.terms):
                for term in outer.terms:
                    match term:
                        case Element(tensor, slots) if self.role(tensor) == "parameter" and slots == free:
                            if tensor not in self.taken:
                                return tensor
        return None

    def _normalization(self, value: Expr) -> Module | None:
        """What is divided by sqrt(var + eps)."""
        for node in walk(value):
            match node:
                case Power(Add(terms), Number(exponent)) if abs(exponent) * 2 == 1:
                    spread = next((self.behind(t.tensor) for t in terms if isinstance(t, Element)), None)
                    epsilon = next((float(t.value) for t in terms if isinstance(t, Number)), None)
                    if spread is not None and epsilon is not None:
                        return self._normalized(value, spread, epsilon)
        return None

    def _normalized(self, value: Expr, spread: str, epsilon: float) -> Module | None:
        learned = [t for t in tensors(value) if self.role(t) == "parameter" and t not in self.taken]
        added = [t.tensor for t in getattr(value, "terms", ()) if isinstance(t, Element) and t.tensor in learned]
        scales = [t for t in learned if t not in added]
        if len(added) > 1 or len(scales) > 1:
            return None
        parts = dict(zip(("weight",), scales, strict=False)) | dict(zip(("bias",), added, strict=False))
        if self.role(spread) != "state":
            return Module(LAYER_NORM, parts, epsilon=epsilon)
        states = {self.behind(t) for t in tensors(value) if self.role(self.behind(t)) == "state"}
        means = [s for s in sorted(states) if s != spread]
        parts |= {"running_mean": means[0]} if len(means) == 1 else {}
        return Module(BATCH_NORM, parts | {"running_var": spread}, epsilon=epsilon)

    def _prelu(self, value: Expr) -> Module | None:
        if isinstance(value, Where):
            learned = [t for t in tensors(value) if self.role(t) == "parameter"]
            if len(learned) == 1 and learned[0] not in self.taken:
                return Module(PRELU, {"weight": learned[0]})
        return None
