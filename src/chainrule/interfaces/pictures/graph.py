"""A System → the layers, neurons and connections that a diagram shows, read from the equations alone.

A layer is a quantity that the output is computed from; its column is how many layers lie between it and the inputs. An
activation stands in one layer with its pre-activation. What joins two layers is ∂a/∂x of the equation's inner sum: for
Σ_i x_i w_ij it is w_ij, a line with a weight; where the derivative depends on the data or on no parameter (a skip
connection, a product of two activations), the line has no weight of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from chainrule.derivation.derive import differentiate
from chainrule.derivation.normalize import NAMED, normalize
from chainrule.errors import FormulaError
from chainrule.formula.evaluate import Array, evaluate
from chainrule.formula.expr import (
    Add,
    Element,
    Expr,
    Mul,
    Reduction,
    children,
    elements,
    free_indices,
    key,
    split_coefficient,
    tensors,
    walk,
)
from chainrule.formula.system import Equation, System
from chainrule.messages import say


@dataclass(frozen=True)
class Layer:
    """The neurons of one quantity. `name` is what they show, `members` its pre-activations and itself, in order."""

    name: str
    members: tuple[str, ...]
    column: int
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def is_input(self) -> bool:
        return self.column == 0


@dataclass(frozen=True)
class Connection:
    """What joins the neurons of two layers: terms whose sum is ∂a/∂x, one row a source, one column a target."""

    source: str
    target: str
    parameters: tuple[str, ...]
    terms: tuple[Expr, ...]
    axes: tuple[str, ...]
    shape: tuple[int, int]
    joined: Array

    @property
    def is_weighted(self) -> bool:
        return bool(self.parameters)


@dataclass(frozen=True)
class Graph:
    """A network as layers in columns and the connections between them."""

    system: System
    layers: Mapping[str, Layer]
    connections: tuple[Connection, ...]
    sizes: Mapping[str, int]
    hyper: Mapping[str, float]
    loss_sources: tuple[str, ...]

    @property
    def columns(self) -> list[list[Layer]]:
        """The layers, those of equal depth together, inputs first."""
        depth = max((layer.column for layer in self.layers.values()), default=0)
        return [[layer for layer in self.layers.values() if layer.column == c] for c in range(depth + 1)]

    def weights(self, connection: Connection, known: Mapping[str, Array]) -> Array:
        """The weights of a connection (sources, targets), by the values of parameters in `known`."""
        total = np.zeros(connection.shape)
        for term in connection.terms:
            total = total + self._matrix(term, connection, known)
        return total

    def _matrix(self, term: Expr, connection: Connection, known: Mapping[str, Array]) -> Array:
        return _matrix(term, connection.axes, known, self.sizes, self.hyper).reshape(connection.shape)


def network_graph(system: System, sizes: Mapping[str, int], hyper: Mapping[str, float]) -> Graph:
    """The graph of a system; `sizes` of its indices, `hyper` the values of its hyper-parameters.

    Raises: FormulaError where the formulas have no output.
    """
    if system.output is None:
        raise FormulaError(say("training.no_output"))
    return _Reader(system, sizes, hyper).read()


class _Reader:
    def __init__(self, source: System, sizes: Mapping[str, int], hyper: Mapping[str, float]):
        self.system = normalize(source).system
        self.samples = source.samples
        self.named = {t.name for t in source.of_role("computed")}
        self.hyper = hyper
        self.sizes = {**sizes, self.samples: 1}
        self.known = self._probe()
        self.neurons = self._neurons()
        self.home: dict[str, str] = {}  # a quantity → the last member of its layer

    def read(self) -> Graph:
        groups = self._groups()
        columns = self._depths(groups)
        layers = {
            members[-1]: Layer(members[-1], tuple(members), columns[members[-1]], self._shape(members[-1]))
            for members in groups
        }
        if not layers:
            raise FormulaError(say("training.no_output"))
        connections = [c for members in groups for c in self._connections(members, layers)]
        return Graph(self.system, layers, tuple(connections), self.sizes, self.hyper, self._loss_sources(layers))

    # layers

    def _neurons(self) -> list[str]:
        """The inputs and computed quantities of one sample that a prediction follows from."""
        wanted = {n for head in self._heads() for n in self.system.depends_on(head)}
        alive = [t.name for t in self.system.of_role("input") if t.name in wanted]
        reached = set(alive)
        for equation in self.system.equations:
            name = equation.target.tensor
            if name in wanted and self.system.depends_on(name) & reached and self.system.is_sampled(name):
                alive.append(name)
        return alive

    def _heads(self) -> list[str]:
        """The output, and what else the text computes for the loss without knowing a target: another prediction."""
        system = self.system
        assert system.output is not None
        heads = [system.output]
        for name in sorted(self.named & system.depends_on(system.loss)) if system.loss is not None else []:
            roles = {system.tensors[n].role for n in system.depends_on(name)}
            follows_output = system.output in system.depends_on(name)
            if name != system.loss and not roles & {"target", "label"} and not follows_output:
                heads.append(name)
        return heads

    def _sources(self, name: str) -> list[str]:
        """The neurons that a quantity is computed from, also by way of a mean over the batch."""
        equation = self.system.equation_of(name)
        found: dict[str, None] = {}
        for used in tensors(equation.value) if equation else []:
            if used in self.neurons:
                found[used] = None
            elif self.system.tensors[used].role == "computed":
                found |= dict.fromkeys(self._sources(used))
        return list(found)

    def _groups(self) -> list[list[str]]:
        """The members of each layer, in the order of the text."""
        users: dict[str, list[str]] = {n: [] for n in self.neurons}
        for name in self.neurons:
            for source in self._sources(name):
                users[source].append(name)
        groups: dict[str, list[str]] = {}
        for name in self.neurons:
            before = self._pre_activation(name, users)
            groups[name] = [*groups.pop(before), name] if before in groups else [name]
        for members in groups.values():
            self.home |= dict.fromkeys(members, members[-1])
        return list(groups.values())

    def _pre_activation(self, name: str, users: Mapping[str, list[str]]) -> str | None:
        """The quantity that `name` is the activation of: its only elementwise source, used nowhere else."""
        equation = self.system.equation_of(name)
        if equation is None:
            return None
        for source in self._sources(name):
            own = self.system.tensors[source]
            if users[source] != [name] or own.indices != self.system.tensors[name].indices:
                continue
            if own.role == "input" and not self._is_affine(equation.value):
                continue  # x = pixels/255 is the input; sigmoid(x) is a layer
            definition = self.system.equation_of(source)
            if definition is not None and definition.rule == NAMED:
                return source
            if self._sources(name) == [source] and self._is_elementwise(equation, source):
                return source
        return None

    def _is_elementwise(self, equation: Equation, source: str) -> bool:
        """Whether each neuron follows from the one at its place, and not by a weight."""
        used = [e for e in elements(equation.value) if e.tensor == source]
        sums = any(isinstance(n, Reduction) and set(n.indices) - {self.samples} for n in walk(equation.value))
        weighs = self._is_affine(equation.value) and any(
            self.system.tensors[t].role == "parameter" for t in tensors(equation.value)
        )
        return not sums and not weighs and all(e.slots == equation.target.slots for e in used)

    def _depths(self, groups: list[list[str]]) -> dict[str, int]:
        depths: dict[str, int] = {}
        for members in groups:
            before = {self.home[s] for m in members for s in self._sources(m)} - {members[-1]}
            depths[members[-1]] = 1 + max((depths[b] for b in before), default=-1)
        return depths

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.sizes[i] for i in self.system.tensors[name].indices if i != self.samples)

    def _loss_sources(self, layers: Mapping[str, Layer]) -> tuple[str, ...]:
        """The layers that the loss sees: directly, or through quantities that are no neurons."""
        if self.system.loss is None:
            return ()
        seen: dict[str, None] = {}
        pending = [self.system.loss]
        while pending:
            equation = self.system.equation_of(pending.pop())
            for used in tensors(equation.value) if equation else []:
                if used in self.home:
                    seen[self.home[used]] = None
                elif self.system.tensors[used].role == "computed":
                    pending.append(used)
        found = [name for name in seen if not layers[name].is_input]
        return tuple(found or seen)

    # connections

    def _connections(self, members: list[str], layers: Mapping[str, Layer]) -> Iterator[Connection]:
        found: dict[tuple[str, bool], list[Expr]] = {}
        for name in members:
            for source in self._sources(name):
                if source in members:
                    continue
                for term in self._terms(name, source):
                    found.setdefault((source, self._is_weight(term)), []).append(term)
        for (source, weighted), terms in found.items():
            yield self._connection(layers[self.home[source]], layers[members[-1]], source, terms, weighted)

    def _terms(self, name: str, source: str) -> list[Expr]:
        """∂u/∂source for each inner sum u of the equation that the source occurs in."""
        equation = self.system.equation_of(name)
        assert equation is not None
        at = Element(source, self._source_slots(source))
        cores = {key(split_coefficient(core)[1]): core for core in self._cores(equation.value, source)}
        return [differentiate(core, at) for core in cores.values()]

    def _source_slots(self, source: str) -> tuple[str, ...]:
        """The slots of a source neuron under names of their own; the sample stays the sample."""
        indices = self.system.tensors[source].indices
        slots = tuple(i if i == self.samples else f"{i}_source" for i in indices)
        self.sizes.update({s: self.sizes[i] for s, i in zip(slots, indices, strict=True) if s != i})
        return slots

    def _cores(self, expr: Expr, source: str) -> Iterator[Expr]:
        """The largest parts that are sums of products, among them the weighted sum inside an activation."""
        if source not in tensors(expr):
            return
        if self._is_affine(expr):
            yield expr
            return
        for part in children(expr):
            yield from self._cores(part, source)

    def _is_affine(self, expr: Expr) -> bool:
        if isinstance(expr, Element) or not self._data_in(expr):
            return True
        inner = isinstance(expr, Add | Mul) or (isinstance(expr, Reduction) and expr.kind == "sum")
        return inner and all(map(self._is_affine, children(expr)))

    def _data_in(self, expr: Expr) -> bool:
        """Whether anything in it depends on the sample."""
        return any(self.system.is_sampled(t) or set(self._follows(t)) for t in tensors(expr))

    def _follows(self, name: str) -> list[str]:
        return [n for n in self.system.depends_on(name) if self.system.tensors[n].role in ("input", "target", "label")]

    def _is_weight(self, term: Expr) -> bool:
        return bool(self._parameters(term)) and not self._data_in(term)

    def _parameters(self, term: Expr) -> list[str]:
        named = [n for t in tensors(term) for n in sorted(self.system.depends_on(t))]
        return [n for n in dict.fromkeys(named) if self.system.tensors[n].role == "parameter"]

    def _connection(self, source: Layer, target: Layer, used: str, terms: list[Expr], weighted: bool) -> Connection:
        slots = tuple(s for s in self._source_slots(used) if s != self.samples)
        axes = (*slots, *(i for i in self.system.tensors[target.name].indices if i != self.samples))
        shape = (source.count, target.count)
        joined = np.zeros(shape, dtype=bool)
        for term in terms:
            joined |= _matrix(term, axes, self.known, self.sizes, self.hyper).reshape(shape) != 0
        names = dict.fromkeys(n for t in terms for n in self._parameters(t)) if weighted else {}
        return Connection(source.name, target.name, tuple(names), tuple(terms), axes, shape, joined)

    def _probe(self) -> dict[str, Array]:
        """Positive numbers in the place of every tensor: what is multiplied with them to 0 is not joined."""
        random = np.random.default_rng(0)
        known: dict[str, Array] = {}
        for tensor in self.system.tensors.values():
            shape = tuple(self.sizes[i] for i in tensor.indices)
            is_label = tensor.role == "label"
            known[tensor.name] = np.zeros(shape, dtype=np.int64) if is_label else random.uniform(1, 2, shape)
        return known


def _matrix(
    term: Expr,
    axes: tuple[str, ...],
    known: Mapping[str, Array],
    sizes: Mapping[str, int],
    hyper: Mapping[str, float],
) -> Array:
    """∂a/∂x with the source's indices first, summed over what else it depends on."""
    others = tuple(sorted(free_indices(term) - set(axes)))
    value = evaluate(term, known, (*axes, *others), sizes=sizes, scalars=hyper)
    return np.asarray(value.sum(axis=tuple(range(len(axes), value.ndim))) if others else value)
