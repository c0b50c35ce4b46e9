"""Update rules → instructions: the lines of every parameter, with w, g and the states of the rule filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chainrule.errors import SettingError
from chainrule.formula.expr import (
    MINUS_ONE,
    TWO,
    Add,
    Apply,
    Element,
    Expr,
    Size,
    Symbol,
    add,
    free_indices,
    fresh_name,
    key,
    mul,
    power,
    replace_symbols,
    square_root,
    substitute,
    sum_over,
    symbols,
    tensors,
    transform,
    walk,
)
from chainrule.formula.system import Initial, Tensor
from chainrule.formula.system import Update as UpdateLine
from chainrule.formula.text import Printer, update_text
from chainrule.messages import say
from chainrule.program.equations import Equations
from chainrule.program.instructions import Map, Update

PARAMETER, GRADIENT = "w", "g"  # the names in an update rule that holds for every parameter


@dataclass
class _Ruled:
    """A parameter on its way through its rule: the lines that are left, what g stands for, the rule's states."""

    parameter: Tensor
    lines: tuple[UpdateLine, ...]
    gradient: str | None
    states: dict[str, Element] = field(default_factory=dict)
    norms: Mapping[object, Element] = field(default_factory=dict)  # of the next line: see _global_norms


class Rules(Equations):
    """Equations, and the lines of update rules."""

    def _moves(self, parameter: str, rules: Mapping[str, Sequence[UpdateLine]]) -> bool:
        """Whether anything changes a parameter."""
        return bool(rules[parameter]) or bool(self._own_lines(self.tensors[parameter]))

    def _own_lines(self, parameter: Tensor) -> list[UpdateLine]:
        return [u for u in self.system.updates if isinstance(u.target, Element) and self._belongs(u, parameter)]

    def _updates(self, rules: Mapping[str, Sequence[UpdateLine]], gradients: Mapping[str, str]) -> None:
        """The lines of every parameter. One with a global norm waits until all have come as far."""
        waiting: list[_Ruled] = []
        for parameter in self.system.parameters:
            own, rule = self._own_lines(parameter), rules[parameter.name]
            if rule and not own and not any(u.target == Symbol(PARAMETER) for u in rule):
                raise SettingError(say("program.rule_without_parameter", name=parameter.name))
            ruled = self._ruled(parameter, () if own else tuple(rule), gradients.get(parameter.name))
            for line in own:
                assert isinstance(line.target, Element)
                self._update(line.target, self._fill(line.value, ruled, line.target), line)
            waiting.append(ruled)
            self._run_rule(ruled)
        while waiting := [r for r in waiting if r.lines]:
            self._global_norms(waiting)
            for ruled in waiting:
                self._run_rule(ruled)
        for line in self.system.updates:
            if isinstance(line.target, Element) and not any(self._belongs(line, p) for p in self.system.parameters):
                self._update(line.target, line.value, line)  # a moving average, which no parameter's line reads

    def _ruled(self, parameter: Tensor, rule: tuple[UpdateLine, ...], gradient: str | None) -> _Ruled:
        ruled = _Ruled(parameter, rule, gradient)
        for line in rule:
            assert isinstance(line.target, Symbol)
            name = line.target.name
            if name not in (PARAMETER, GRADIENT) and name not in ruled.states:
                ruled.states[name] = self._state(name, parameter)
        return ruled

    def _run_rule(self, ruled: _Ruled) -> None:
        """Run a parameter's lines as far as the next global norm, and what must follow when they are done."""
        while ruled.lines:
            line = ruled.lines[0]
            if any(_is_global_norm(n) and key(n) not in ruled.norms for n in walk(line.value)):
                return
            ruled.lines = ruled.lines[1:]
            assert isinstance(line.target, Symbol)
            at = ruled.parameter.element
            value, ruled.norms = self._fill(line.value, ruled, at), {}
            if line.target.name == GRADIENT:
                ruled.gradient = self._changed_gradient(ruled, value, line)
            else:
                self._update(at if line.target.name == PARAMETER else ruled.states[line.target.name], value, line)
        for line in self.system.constraints:
            if isinstance(line.target, Element) and line.target.tensor == ruled.parameter.name:
                self._update(line.target, line.value, line)

    def _changed_gradient(self, ruled: _Ruled, value: Expr, line: UpdateLine) -> str:
        """g <- …: a tensor of its own, which the lines below read."""
        name = fresh_name(f"{GRADIENT}_{ruled.parameter.name}", self.tensors)
        out = Element(name, ruled.parameter.indices)
        self.tensors[name] = Tensor(name, "computed", ruled.parameter.indices)
        self.formula = update_text(replace(line, target=Symbol(name)), self.samples)
        self.instructions.append(Map(out, self._scalars_out(self._temporaries(value, out)), self.formula))
        return name

    def _global_norms(self, waiting: Sequence[_Ruled]) -> None:
        """Compute ‖·‖ over the entries of all these parameters, which their next line waits for."""
        line = waiting[0].lines[0]
        found: dict[object, Element] = {}
        for node in walk(line.value):
            if isinstance(node, Apply) and _is_global_norm(node) and key(node) not in found:
                squares = [self._squares(self._fill(node.arguments[0], r, r.parameter.element)) for r in waiting]
                out = Element(fresh_name("norm", self.tensors), ())
                self.tensors[out.tensor] = Tensor(out.tensor, "computed", ())
                self.formula = f"{out.tensor} = {Printer(self.samples).text(node)}"
                value = self._temporaries(square_root(add(*squares)), out)
                self.instructions.append(Map(out, self._scalars_out(value), self.formula))
                found[key(node)] = out
        for ruled in waiting:
            ruled.norms = found

    def _squares(self, value: Expr) -> Expr:
        """The sum of the squares of all entries; the indices are primed, as the sum may stand among the same ones."""
        own = sorted(free_indices(value))
        inner = substitute(value, {i: i + "'" for i in own})
        return sum_over([i + "'" for i in own], power(inner, TWO))

    def _belongs(self, line: UpdateLine, parameter: Tensor) -> bool:
        """Lines for states go with the first parameter whose own line reads them."""
        assert isinstance(line.target, Element)
        if line.target.tensor == parameter.name:
            return True
        if self.tensors[line.target.tensor].role != "state":
            return False
        readers = [
            u.target.tensor
            for u in self.system.updates
            if isinstance(u.target, Element)
            and self.tensors[u.target.tensor].role == "parameter"
            and line.target.tensor in tensors(u.value)
        ]
        return readers[:1] == [parameter.name]

    def _state(self, name: str, parameter: Tensor) -> Element:
        full = fresh_name(f"{name}_{parameter.name}", self.tensors)
        self.tensors[full] = Tensor(full, "state", parameter.indices, Initial("zeros"))
        return Element(full, parameter.indices)

    def _fill(self, value: Expr, ruled: _Ruled, at: Element) -> Expr:
        """w, g and the states of a rule as elements of this parameter's tensors; ‖·‖ written out."""
        named: dict[str, Expr] = {PARAMETER: at, **ruled.states}
        if ruled.gradient is not None:
            named[GRADIENT] = Element(ruled.gradient, at.slots)
        elif GRADIENT in symbols(value) and GRADIENT not in self.defaults:
            raise SettingError(say("program.no_gradient", name=ruled.parameter.name))

        def global_norm(node: Expr) -> Expr:
            return ruled.norms[key(node)] if _is_global_norm(node) else node

        def norm(node: Expr) -> Expr:
            if isinstance(node, Apply) and node.function == "norm":
                return square_root(self._squares(node.arguments[0]))
            return node

        return transform(replace_symbols(transform(value, global_norm), named), norm)

    def _update(self, target: Element, value: Expr, line: UpdateLine) -> None:
        if self.samples in free_indices(value):  # a quantity of a sample is averaged over the batch
            terms = value.terms if isinstance(value, Add) else (value,)
            mean = power(Size(self.samples), MINUS_ONE)
            value = add(
                *(mul(mean, sum_over([self.samples], t)) if self.samples in free_indices(t) else t for t in terms)
            )
        self.formula = update_text(line, self.samples)
        value = self._scalars_out(self._temporaries(value, target))
        self.instructions.append(Update(target, value, self.formula))
        # What was computed from the old value is not shared any more.
        self.known = {k: v for k, v in self.known.items() if target.tensor not in v[1]}


def _is_global_norm(node: Expr) -> bool:
    return isinstance(node, Apply) and node.function == "global_norm"
