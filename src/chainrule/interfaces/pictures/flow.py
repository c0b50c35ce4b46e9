"""The forward pass, the backward pass and the update of one sample, lit layer by layer on the network's diagram."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.derivation.adjoint import Adjoint, Derivation
from chainrule.formula.evaluate import Array, run_equations
from chainrule.formula.expr import Element
from chainrule.formula.system import System
from chainrule.interfaces.pictures.diagram import MAX_COLUMNS, MAX_NEURONS, Diagram
from chainrule.interfaces.pictures.graph import Layer
from chainrule.interfaces.pictures.look import (
    Look,
    check_sample,
    graph_of,
    input_image,
    layer_numbers,
    loss_number,
    target_numbers,
)
from chainrule.interfaces.pictures.mathtext import Formulas
from chainrule.interfaces.pictures.samples import Losses, bound, forward, rows_in, sizes_of
from chainrule.interfaces.plots import check_suffix, fonts, save_gif, word
from chainrule.program.interpret import run
from chainrule.training.network import Network

CAPTIONS = 4  # lines below the diagram


def flow_frames(
    network: Network,
    x: object,
    t: object = None,
    *,
    sample: int = 0,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    neurons: int = MAX_NEURONS,
    columns: int = MAX_COLUMNS,
) -> list[Any]:
    """One figure a step: inputs, each layer's values, the loss, each layer's adjoints on the way back, the update.

    Under the diagram stands the equation that is worked out. The update is that of one step with this sample alone, by
    the text's own rule, by `optimizer`, or by gradient descent. Without a loss there is the way forward only.
    Raises: DataError, SettingError, ShapeError; NotDifferentiable where the loss has no gradient.
    """
    with fonts():
        flow = _Flow(network, bound(network, x, t, complete=True), sample, neurons=neurons, columns=columns)
        looks = [*flow.forward(), *flow.backward(), *flow.update(optimizer, learning_rate)]
        diagram = flow.diagram_for(looks)
        return [diagram.draw(look) for look in looks]


def flow_gif(network: Network, x: object, t: object, path: str | Path, *, seconds: float = 1.5, **options: Any) -> None:
    """The frames of `flow_frames` (with its options) as one GIF, each shown so many seconds.

    Raises: what flow_frames raises; SettingError for another ending than .gif, FileError for the file.
    """
    check_suffix(path, ("gif",))
    save_gif(flow_frames(network, x, t, **options), path, milliseconds=round(1000 * seconds))


class _Flow:
    """All numbers of one sample, and what each frame lights of them."""

    def __init__(self, network: Network, arrays: Mapping[str, Array], sample: int, *, neurons: int, columns: int):
        check_sample(sample, rows_in(arrays))
        self.network = network
        self.arrays = {name: array[sample : sample + 1] for name, array in arrays.items()}
        self.graph = graph_of(network)
        self.derivation = self._derivation()
        system = self.derivation.system if self.derivation is not None else self.graph.system
        self.known = forward(network, system, self.arrays)
        self.adjoints = self._adjoints()
        self.numbers = layer_numbers(self.graph, self.known, 0)
        self.image = input_image(self.graph, self.known, 0)
        self.limits = {"neurons": neurons, "columns": columns}
        self.shown_columns = self.diagram_for([]).shown_columns
        self.common: dict[str, Any] = {"weights": self.known, "image": self.image}
        self.formulas = Formulas.of(system)
        self.targets = target_numbers(self.graph, self.arrays, 0)
        self.loss = loss_number(self.graph, self.known, 0) if self.graph.system.loss is not None else ""

    def diagram_for(self, looks: Sequence[Look]) -> Diagram:
        """One layout for all frames, with room for the longest caption."""
        lines = min(CAPTIONS, max((len(look.captions) for look in looks), default=0))
        return Diagram(self.graph, captions=lines, image=self.image is not None, **self.limits)

    def _derivation(self) -> Derivation | None:
        """The backward pass, where there is a loss and the data have what it needs."""
        system = self.network.system
        if system.loss is None or not set(_declared(system, system.loss)) <= {*self.arrays, *self.network.kept}:
            return None
        return self.network.derivation

    def _adjoints(self) -> dict[str, Adjoint]:
        """For each layer the adjoint that is worked out last in it: the pre-activation's, or its own."""
        if self.derivation is None:
            return {}
        sizes = sizes_of(self.network, self.arrays)
        equations = [a.equation for a in self.derivation.adjoints]
        self.known |= run_equations(equations, self.known, sizes, self.network.hyper)  # `common` holds it too
        by_name = {a.of: a for a in self.derivation.adjoints}
        found = {}
        for layer in self.graph.layers.values():
            own = [by_name[m] for m in layer.members if m in by_name]
            if own and not layer.is_input:
                found[layer.name] = own[0]
        return found

    # frames

    def forward(self) -> Iterator[Look]:
        """The inputs, each layer, the loss."""
        reached: dict[str, Array] = {}
        last = len(self.graph.columns) - 1
        for column in self._columns():
            number = column[0].column
            names = [layer.name for layer in column]
            reached |= {n: self.numbers[n] for n in names}
            yield Look(
                numbers=dict(reached),
                lit=frozenset(names),
                joined=self._joined(targets=names),
                title=word("pictures.forward", step=number, steps=last) if number else self._input_title(),
                captions=tuple(self._equations(column)),
                loss_lit=False,
                **self.common,
            )
        if self.loss:
            yield Look(
                numbers=dict(reached),
                lit=frozenset(self.graph.loss_sources),
                joined=frozenset(),
                targets=self.targets,
                title=word("pictures.loss_frame"),
                captions=tuple(self._lines(self._loss_members())),
                loss=self.loss,
                **self.common,
            )

    def backward(self) -> Iterator[Look]:
        """Each layer's adjoints, from the output back."""
        columns = [c for c in self._columns() if any(layer.name in self.adjoints for layer in c)]
        reached: dict[str, Array] = {}
        labels: dict[str, str] = {}
        for column in reversed(columns):
            own = {layer.name: self.adjoints[layer.name] for layer in column if layer.name in self.adjoints}
            tensors = {name: a.equation.target.tensor for name, a in own.items()}
            reached |= {name: self.known[tensor][0].reshape(-1) for name, tensor in tensors.items()}
            labels |= tensors
            yield Look(
                numbers=self.numbers | reached,
                lit=frozenset(own),
                joined=self._joined(sources=list(own)),
                labels=dict(labels),
                title=word("pictures.backward", step=column[0].column, steps=len(self.graph.columns) - 1),
                captions=tuple(self.formulas.line(a.equation) for a in own.values()),
                loss=self.loss,
                loss_lit=column is columns[-1],
                **self.common,
            )

    def update(self, optimizer: str | None, learning_rate: float | None) -> Iterator[Look]:
        """What one step changes: lines are the changes, blue where a weight grows."""
        network = self.network
        if (self.derivation is None and not network.system.updates) or not network.system.parameters:
            return
        program, rule = network.training_program(optimizer)
        given = {"step": 1.0, "steps": 1.0} | ({} if learning_rate is None else {"eta": learning_rate})
        sizes = sizes_of(network, self.arrays)
        start = dict(network.kept)
        for tensor in program.kept:
            start.setdefault(tensor.name, np.zeros([sizes[i] for i in tensor.indices], dtype=network.dtype))
        after = run(program, {**self.arrays, **start}, sizes, network.hyper_values(program, given))
        new = {p.name: after[p.name] for p in network.system.parameters}
        own = [u for u in network.system.updates if isinstance(u.target, Element)]
        is_covered = {u.target.tensor for u in own if isinstance(u.target, Element)} >= set(new)
        lines = [self.formulas.line(u) for u in (own if is_covered else [*own, *rule.lines])]
        gradients = [] if self.derivation is None else [self.derivation.gradient(p) for p in list(new)[:CAPTIONS]]
        captions = [self._new_loss(new), *lines[:2], *(self.formulas.line(g) for g in gradients)]
        yield Look(
            numbers=self.numbers,
            title=word("pictures.update"),
            captions=tuple(c for c in captions if c)[:CAPTIONS],
            loss=self.loss,
            before=start,
            **(self.common | {"weights": {**self.known, **new}}),
        )

    def _new_loss(self, weights: Mapping[str, Array]) -> str:
        if not self.loss:
            return ""
        losses = Losses(self.network, self.arrays)
        before, after = (f"{losses.at(w):.4g}".replace("-", "−") for w in ({}, weights))
        return word("pictures.new_loss", before=before, after=after)

    # their parts

    def _columns(self) -> list[list[Layer]]:
        columns = self.graph.columns
        return [columns[c] for c in self.shown_columns if c is not None]

    def _joined(
        self, *, sources: list[str] | None = None, targets: list[str] | None = None
    ) -> frozenset[tuple[str, str]]:
        return frozenset(
            (c.source, c.target)
            for c in self.graph.connections
            if (sources is not None and c.source in sources) or (targets is not None and c.target in targets)
        )

    def _equations(self, column: list[Layer]) -> list[str]:
        if column[0].is_input:
            return [word("pictures.inputs_given")]
        return self._lines([m for layer in column for m in layer.members])

    def _lines(self, names: list[str]) -> list[str]:
        equations = [self.graph.system.equation_of(name) for name in names]
        return [self.formulas.line(e) for e in equations if e is not None]

    def _loss_members(self) -> list[str]:
        """The quantities between the output and the loss, and the loss."""
        system = self.graph.system
        assert system.loss is not None
        inside = {m for layer in self.graph.layers.values() for m in layer.members}
        on_the_way = system.depends_on(system.loss) - inside
        return [e.target.tensor for e in system.equations if e.target.tensor in on_the_way]

    def _input_title(self) -> str:
        return word("pictures.input_frame")


def _declared(system: System, name: str) -> list[str]:
    return [n for n in system.depends_on(name) if system.tensors[n].role != "computed"]
