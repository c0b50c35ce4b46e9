"""`net.explain(x, t, weight="W1[300, 7]")`: the derivation's page with a sample's numbers in it.

Everything is computed in float64 from the formulas: forward, backward, beside each derivative the difference quotient
(E with the quantity moved by ±h), the update, and the new loss, predicted by the linear approximation and as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.checks import is_whole
from chainrule.derivation.adjoint import Derivation
from chainrule.derivation.check import BatchLoss, Point
from chainrule.derivation.entries import entry_text, read_entry
from chainrule.derivation.pages.explain import derivation_page
from chainrule.derivation.pages.numbers import Numbers, Quotient
from chainrule.derivation.pages.page import (
    BECOMES,
    EQUALS,
    Block,
    Filled,
    Heading,
    Inline,
    Line,
    Lines,
    Page,
    Paged,
    Piece,
    Table,
    Text,
    Value,
    say_inline,
)
from chainrule.errors import DataError, FormulaError, SettingError
from chainrule.formula.evaluate import Array, evaluate, run_equations, run_system
from chainrule.formula.expr import Element, Slot
from chainrule.formula.system import System
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.program.interpret import run
from chainrule.training.initial import starting_state
from chainrule.training.rule_steps import RuleSteps

if TYPE_CHECKING:
    from chainrule.training.network import Network

LOSS_DIGITS = 8  # one weight changes the loss in the fifth digit
MOST_VALUES = 12  # so many values of a quantity are shown as a row


@dataclass(frozen=True, repr=False)
class Explanation(Paged):
    """A page with numbers, and the value of every quantity by name: `trace["delta_z"]`, in the shape of the formula."""

    pages: Page
    values: Mapping[str, Array]
    weight: str

    def page(self) -> Page:
        """The page."""
        return self.pages

    def __getitem__(self, name: str) -> Array:
        """A quantity: an input, a weight, any computed one, an adjoint (delta_z, dE_dW). Raises: SettingError."""
        return self.values[known_name(str(name), self.values)]

    def __contains__(self, name: object) -> bool:
        try:
            return known_name(str(name), self.values) in self.values
        except SettingError:
            return False

    def keys(self) -> list[str]:
        """The names of all quantities."""
        return list(self.values)

    def __repr__(self) -> str:
        return f"<Explanation of {self.weight}: {', '.join(self.values)}>"


def known_name(name: str, values: Mapping[str, Array]) -> str:
    """The quantity meant: by its own name, as dE/dW1 or ∂E/∂W1 or δz, or without underscores if that says which."""
    if name in values:
        return name
    plain = _plain(name)
    found = [known for known in values if _plain(known) == plain]
    # The delta of layer 1 is that of its pre-activation a1.
    found = found or [k for k in values if k.startswith("delta") and _plain(k).replace("deltaa", "delta") == plain]
    if len(found) == 1:
        return found[0]
    raise SettingError(say("pages.no_quantity", name=name, known=", ".join(values)))


def _plain(name: str) -> str:
    return re.sub(r"[\s_/]", "", name.replace("∂", "d").replace("δ", "delta"))


def explain(
    network: Network,
    arrays: Mapping[str, Array],
    *,
    weight: str | None = None,
    sample: int = 0,
    optimizer: str | None = None,
    title: str = "",
) -> Explanation:
    """See Network.explain; `arrays` are bound inputs, targets and labels."""
    with np.errstate(all="ignore"):  # what is not finite is said on the page
        return _Explainer(network, arrays, sample, optimizer).explain(weight, title)


class _Explainer:
    def __init__(self, network: Network, arrays: Mapping[str, Array], sample: int, optimizer: str | None):
        self.network = network
        self.derivation: Derivation = network.derivation
        self.system: System = self.derivation.system
        self.rows = len(next(iter(arrays.values()))) if arrays else 1
        if self.rows == 0:
            raise DataError(say("pages.no_samples"))
        if not network.system.parameters:
            raise FormulaError(say("pages.no_parameters"))
        if not is_whole(sample) or not 0 <= sample < self.rows:
            raise SettingError(say("pages.bad_sample", came=sample, last=self.rows - 1))
        self.sample = sample
        self.optimizer = optimizer
        sizes = {**network.sizes, self.system.samples: self.rows}
        kept = {t.name: network.kept[t.name] for t in network.system.of_role("parameter", "state")}
        self.point = Point({**arrays, **kept}, sizes, dict(network.hyper)).wide()
        self.batch = BatchLoss(self.system, self.point)
        self.values = dict(self.batch.base)
        self.loss = self.batch.of(self.values).real
        self.slots: dict[str, tuple[Slot, ...]] = {t.name: t.indices for t in self.system.tensors.values()}
        self._backward()

    # --- numbers

    def _backward(self) -> None:
        equations = tuple(a.equation for a in self.derivation.adjoints)
        self.values = run_equations(equations, self.values, self.point.sizes, self.point.scalars)
        self.slots |= {e.target.tensor: e.target.slots for e in equations}
        for adjoint in self.derivation.adjoints:
            for alias in self._aliases(adjoint.of) if adjoint.steps else ():
                name = adjoint.equation.target.tensor
                self.values.setdefault(alias, self.values[name])
                self.slots.setdefault(alias, self.slots[name])

    def _aliases(self, name: str) -> list[str]:
        """dE_dq, whatever the derivation calls it; of a parameter dL_dq, as what is found is the batch's, too."""
        loss = str(self.derivation.source.loss)
        own = {p.name for p in self.system.parameters}
        losses = [loss, "L"] if name in own and self.system.is_sampled(loss) else [loss]
        return [f"d{of}_d{name}" for of in losses if f"d{of}_d{name}" not in self.system.tensors]

    def _adjoint_of(self, name: str) -> Array:
        return self.values[self.derivation.adjoint(name).equation.target.tensor]

    def _quotient(self, name: str, place: tuple[int, ...]) -> Quotient:
        """(L(q + h) - L(q - h)) / 2h; times N where the adjoint is that of one sample's loss (see adjoint.py)."""
        value = float(self.values[name][place])
        step = np.finfo(np.float64).eps ** (1 / 3) * max(1.0, abs(value))
        high, low = (self.batch.at(name, _moved(self.values[name], place, s)).real for s in (step, -step))
        loss = self.derivation.source.loss
        of_one = loss is not None and self.system.is_sampled(loss) and self.system.tensors[name].role != "parameter"
        times = self.rows if of_one else 1
        left, right = (times * (self.loss - low) / step, times * (high - self.loss) / step)
        return Quotient(times * (high - low) / (2 * step), left, right)

    # --- where to look

    def _places(self, name: str, place: tuple[int, ...]) -> dict[str, int]:
        """An index of the weight is where the weight is; another is where most happens: the target, the largest δ."""
        places = {self.system.samples: self.sample}
        places |= dict(zip(self.system.tensors[name].indices, place, strict=True))
        targets = [t.name for t in self.system.of_role("target", "label")]
        outputs = [self.system.output] if self.system.output else []
        adjoints = [a.equation.target.tensor for a in self.derivation.adjoints]
        computed = [e.target.tensor for e in self.system.equations]
        inputs = [t.name for t in self.system.of_role("input")]
        for tensor in [*targets, *outputs, *adjoints, *inputs, *computed, *(p.name for p in self.system.parameters)]:
            self._look(tensor, places)
        return places

    def _look(self, tensor: str, places: dict[str, int]) -> None:
        indices = self.slots[tensor]
        array = self.values.get(tensor)
        if array is None or all(str(i) in places for i in indices):
            return
        fixed = array[tuple(places.get(str(i), slice(None)) for i in indices)]
        best = np.unravel_index(int(np.argmax(np.abs(fixed))), fixed.shape)
        places |= dict(zip([str(i) for i in indices if str(i) not in places], map(int, best), strict=True))

    def _weight(self, weight: str | None) -> tuple[str, tuple[int, ...]]:
        """The weight asked for, or the one with the largest gradient of the first parameter."""
        if weight is None:
            name = self.system.parameters[0].name
            gradient = np.abs(self._adjoint_of(name))
            return name, tuple(int(i) for i in np.unravel_index(int(np.argmax(gradient)), gradient.shape))
        return read_entry(self.system, self.point.sizes, str(weight))

    # --- the page

    def explain(self, weight: str | None, title: str) -> Explanation:
        name, place = self._weight(weight)
        places = self._places(name, place)
        spelled = entry_text(name, place)
        quotients = {
            a.of: self._quotient(a.of, tuple(places[i] for i in self.system.tensors[a.of].indices))
            for a in self.derivation.adjoints
            if a.steps and a.of != self.derivation.source.loss
        }
        numbers = Numbers(self.values, self.point.sizes, places, self.point.scalars, quotients)
        page = derivation_page(self.derivation, title=title, numbers=numbers, first=name)
        element = Element(name, place)
        intro = list(self._intro(element, numbers))
        *body, rules = page.blocks
        blocks = (*intro, *body, *self._update(element, numbers), *self._summary(numbers), rules)
        heading = say_inline("pages.numbers_title", name=title) if title else (say("pages.title_plain"),)
        shaped = {n: a[0] if self._is_one_sample(n) else a for n, a in self.values.items()}
        return Explanation(replace(page, title=heading, blocks=blocks), shaped, spelled)

    def _is_one_sample(self, name: str) -> bool:
        """One sample alone: without the sample axis, as the formulas write it."""
        return self.rows == 1 and self.slots[name][:1] == (self.system.samples,)

    def _intro(self, weight: Element, numbers: Numbers) -> Iterator[Block]:
        if not np.isfinite(self.loss):
            yield Text((say("pages.not_finite"),))
        if self.rows > 1:
            yield Text(say_inline("pages.numbers_batch", rows=str(self.rows), index=str(self.sample)))
        shown = ", ".join(f"{i} = {n}" for i, n in numbers.places.items() if i != self.system.samples)
        value = Value(numbers.value(weight))
        yield Text(say_inline("pages.numbers_places", places=shown or "–", weight=weight, value=value))
        given = [*(t.name for t in self.system.of_role("target", "label")), *filter(None, [self.system.output])]
        for name in given:
            yield from self._row(name)

    def _row(self, name: str) -> Iterator[Block]:
        """All values of a small quantity of the sample."""
        tensor = self.system.tensors[name]
        array = self.values[name]
        row = array[self.sample] if self.system.is_sampled(name) else array
        if 1 < row.size <= MOST_VALUES:
            pieces: list[Piece] = []
            for value in row.reshape(-1):
                pieces += [", ", Value(float(value))] if pieces else [Value(float(value))]
            yield Text(say_inline("pages.numbers_all", q=tensor.element, values=tuple(pieces)))

    def _update(self, weight: Element, numbers: Numbers) -> Iterator[Block]:
        """The update rule with its numbers, and what it does to the loss."""
        yield Heading((say("pages.numbers_update"),))
        program, rule = self.network.training_program(self.optimizer)
        state = self._for_program(program)
        hyper = self.network.hyper_values(program, {"step": 1.0, "steps": 1.0})
        after = run(program, state, self.point.sizes, hyper)
        name, place = weight.tensor, tuple(int(s) for s in weight.slots)
        old, new = float(self.point.arrays[name][place]), float(after[name][place])
        own = {u.target.tensor for u in self.system.updates if isinstance(u.target, Element)}
        if name in own:
            changed = say_inline("pages.numbers_own_update", weight=weight, old=Value(old), new=Value(new))
            yield Text(changed)
        else:
            steps = RuleSteps(self.system, rule, self._rule_start(state), self.point.sizes, hyper)
            yield Lines(tuple(self._rule_lines(steps, weight, numbers)))
        gradients = {p.name: self._adjoint_of(p.name) for p in self.system.parameters}
        alone = {**self.point.arrays, name: _moved(self.point.arrays[name], place, new - old)}
        yield Text(say_inline("pages.numbers_alone", weight=weight, old=Value(old), new=Value(new)))
        yield self._new_loss(self.loss + float(gradients[name][place]) * (new - old), alone)
        together = {**self.point.arrays, **{n: after[n] for n in gradients}}
        predicted = self.loss + sum(float(np.sum(g * (after[n] - self.point.arrays[n]))) for n, g in gradients.items())
        yield Text((say("pages.numbers_together"),))
        yield self._new_loss(predicted, together)

    def _rule_start(self, state: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """w, g and the states of the rule of every parameter, by their names in the rule: v for v_W1."""
        found = {}
        for parameter in self.system.parameters:
            ending, array = f"_{parameter.name}", self.point.arrays[parameter.name]
            states = {
                n.removesuffix(ending): a for n, a in state.items() if n.endswith(ending) and a.shape == array.shape
            }
            found[parameter.name] = {**states, "w": array, "g": self._adjoint_of(parameter.name)}
        return found

    def _for_program(self, program: Program) -> dict[str, Array]:
        """What the program reads: data, parameters and states."""
        kept = starting_state(program, self.network.kept, self.point.sizes, "float64")
        return {**{n: a.astype(np.float64) for n, a in kept.items()}, **self.point.arrays}

    def _new_loss(self, predicted: float, given: Mapping[str, Array]) -> Table:
        true = self.batch.of(run_system(self.system, given, self.point.sizes, self.point.scalars)).real
        header: tuple[Inline, ...] = (
            (say("pages.numbers_new_loss"),),
            (say("pages.numbers_predicted"),),
            (say("pages.numbers_true"),),
        )
        loss = Element("L", ())
        return Table(header, (((loss,), (Value(predicted, LOSS_DIGITS),), (Value(true, LOSS_DIGITS),)),))

    def _rule_lines(self, steps: RuleSteps, weight: Element, numbers: Numbers) -> Iterator[Line]:
        """Each line of the rule, with the weight for w and its gradient for g; then what follows the rule."""
        place = tuple(int(s) for s in weight.slots)
        for step in steps.of(weight.tensor, place):
            here = replace(numbers, scalars=step.scalars)
            yield Line((step.line.target,), (step.line.value,), BECOMES)
            yield Line((), (Filled(step.filled, here, ()), EQUALS, Value(here.value(step.filled))))
        array = steps.values[weight.tensor]["w"]
        for line in self.system.constraints:
            assert isinstance(line.target, Element)
            if line.target.tensor != weight.tensor:
                continue
            at = dict(zip(map(str, line.target.slots), place, strict=True))
            here = replace(numbers, arrays={**numbers.arrays, weight.tensor: array}, places={**numbers.places, **at})
            yield Line((line.target,), (line.value,), BECOMES)
            yield Line((), (Filled(line.value, here, ()), EQUALS, Value(here.value(line.value))))
            axes = tuple(map(str, line.target.slots))
            array = evaluate(line.value, here.arrays, axes, sizes=here.sizes, scalars=here.scalars)

    def _aliases_shown(self, name: str) -> str:
        """∂L/∂w for a parameter, ∂E/∂q for another quantity."""
        return [*self._aliases(name), f"d{self.derivation.source.loss}_d{name}"][
            1 if len(self._aliases(name)) > 1 else 0
        ]

    def _summary(self, numbers: Numbers) -> Iterator[Block]:
        """All derivatives beside their difference quotients."""
        yield Heading((say("pages.numbers_summary"),))
        yield Text((say("pages.numbers_check"),))
        rows: list[tuple[Inline, ...]] = []
        for adjoint in self.derivation.adjoints:
            if adjoint.of not in numbers.quotients:
                continue
            quotient = numbers.quotients[adjoint.of]
            own = numbers.value(Element(adjoint.equation.target.tensor, self.system.tensors[adjoint.of].indices))
            own_indices = self.system.tensors[adjoint.of].indices
            symbol = Element(self._aliases_shown(adjoint.of), own_indices)
            at = Element(symbol.tensor, tuple(numbers.places[str(i)] for i in symbol.slots if i != self.system.samples))
            shown: Inline = (Value(quotient.central),)
            if quotient.is_kink:
                shown = say_inline("pages.kink", left=Value(quotient.left), right=Value(quotient.right))
            rows.append(((at,), (Value(own),), shown, (Value(own - quotient.central),)))
        header = tuple(
            (say(f"pages.{k}"),) for k in ("quantity", "numbers_derivative", "numbers_quotient", "numbers_difference")
        )
        yield Table(header, tuple(rows))


def _moved(array: Array, place: tuple[int, ...], by: float) -> Array:
    """A copy with one entry moved."""
    new = np.array(array, dtype=np.float64)
    new[place] += by
    return new
