"""System + Derivation + update rule → Program.

Each equation becomes one Contract, Reduce or Map; a sum inside another expression gets a temporary tensor first. A sum
of products becomes a Contract where its factors fall into two groups that share nothing but the summed indices; a
product of three tensors is taken two at a time. Nothing here knows what a layer, a loss or an activation is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from chainrule.derivation.adjoint import Derivation
from chainrule.derivation.normalize import definition_in, normalize
from chainrule.errors import SettingError
from chainrule.formula.distributions import formula_of
from chainrule.formula.expr import (
    MINUS_ONE,
    TWO,
    Add,
    Apply,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Position,
    Random,
    Reduction,
    Size,
    Symbol,
    add,
    apply,
    children,
    divide,
    elements,
    free_indices,
    fresh_name,
    key,
    mul,
    power,
    rebuild,
    replace_symbols,
    square_root,
    substitute,
    subtract,
    sum_over,
    symbols,
    tensors,
    transform,
    walk,
)
from chainrule.formula.lookup import Pin, pins
from chainrule.formula.simplify import Stabilizer
from chainrule.formula.system import Equation, Initial, System, Tensor
from chainrule.formula.system import Update as UpdateLine
from chainrule.formula.text import Printer, equation_text, update_text
from chainrule.messages import say
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
from chainrule.program.passes import prune
from chainrule.program.verify import verify

PARAMETER, GRADIENT = "w", "g"  # the names in an update rule that holds for every parameter


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
    lowerer = _Lowerer(derivation.system if derivation else normalize(system).system, defaults or {})
    rules = {p.name: (special or {}).get(p.name, rule or _generic_lines(system)) for p in system.parameters}
    return lowerer.training(derivation, rules, metrics or {})


def lower_prediction(system: System, *, metrics: Mapping[str, Expr] | None = None, loss: bool = False) -> Program:
    """The forward pass as far as the output (and the loss and metrics, where asked for) needs it.

    It is the system's other phase: the lines `prediction …` hold, and random quantities are their means.
    """
    return _Lowerer(normalize(system.at_prediction()).system, {}).prediction(metrics or {}, loss)


def _generic_lines(system: System) -> tuple[UpdateLine, ...]:
    return tuple(u for u in system.updates if isinstance(u.target, Symbol))


@dataclass
class _Ruled:
    """A parameter on its way through its rule: the lines that are left, what g stands for, the rule's states."""

    parameter: Tensor
    lines: tuple[UpdateLine, ...]
    gradient: str | None
    states: dict[str, Element] = field(default_factory=dict)
    norms: Mapping[object, Element] = field(default_factory=dict)  # of the next line: see _global_norms


class _Lowerer:
    def __init__(self, system: System, defaults: Mapping[str, Fraction]):
        self.system = system
        self.samples = system.samples
        self.defaults = {**defaults, **system.hyper}
        self.tensors: dict[str, Tensor] = dict(system.tensors)
        self.instructions: list[Instruction] = []
        self.known: dict[object, tuple[Element, list[str]]] = {}  # what temporaries hold and were made from
        self.scalars: dict[object, tuple[str, Expr]] = {}
        self.formula = ""

    # whole programs

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

    def prediction(self, metrics: Mapping[str, Expr], loss: bool) -> Program:
        watched = self._forward(metrics, with_loss=loss)
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
        program = prune(program)
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

    def _declare(self, equation: Equation) -> None:
        name = equation.target.tensor
        self.tensors.setdefault(name, Tensor(name, "computed", tuple(str(s) for s in equation.target.slots)))

    # update rules

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

    # equations

    def equation(self, equation: Equation) -> None:
        """Append the instructions of one equation."""
        self.formula = equation_text(equation, self.samples)
        value = equation.value
        self._assign(equation.target, formula_of(value) if isinstance(value, Random) else value)

    def _assign(self, target: Element, value: Expr) -> None:
        value = self._without_normalized(value, target)
        reduction = self._main_reduction(value, target)
        if reduction is None:
            value = self._scalars_out(self._temporaries(value, target))
            self.instructions.append(Map(target, value, self.formula))
            return
        accumulator = Element(ACCUMULATOR, target.slots)
        epilogue = transform(value, lambda node: accumulator if node is reduction else node)
        self._reduce(target, reduction, self._scalars_out(self._temporaries(epilogue, target)))

    def _main_reduction(self, value: Expr, target: Element) -> Reduction | None:
        """The one sum whose result has the very indices of the target; the rest of the formula is its epilogue."""
        own = {str(s) for s in target.slots}
        found = [n for n in walk(value) if isinstance(n, Reduction) and free_indices(n) == own]
        inner = {id(m) for n in found for m in walk(n.body)}
        found = [n for n in found if id(n) not in inner]
        if not found:
            return None
        products = [n for n in found if n.kind == "sum" and self._two_groups(n) is not None]
        chosen = (products or found)[0]
        return chosen if sum(1 for n in walk(value) if n is chosen) == 1 else None

    def _temporaries(self, value: Expr, target: Element) -> Expr:
        """`value` with every sum and softmax inside it computed before, into temporaries."""
        match value:
            case Normalized():
                return self._temporaries(self._without_normalized(value, target), target)
            case Reduction(kind, indices, body):
                if kind == "logsumexp":
                    return self._temporaries(self._log_sum_exp(value), target)
                return self._temporary(Reduction(kind, indices, self._inner(body)), target)
        parts = children(value)
        new = tuple(self._temporaries(p, target) for p in parts)
        return rebuild(value, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else value

    def _inner(self, body: Expr) -> Expr:
        """The body of a sum without sums of its own."""
        return self._temporaries(body, Element("", tuple(sorted(free_indices(body)))))

    def _temporary(self, value: Expr, target: Element) -> Element:
        """An element of a temporary tensor that holds `value`; one that holds it already is used again."""
        if key(value) in self.known:
            return self.known[key(value)][0]
        free = free_indices(value)
        order = [str(s) for s in target.slots if s in free]
        order += sorted(free - set(order))
        order = [i for i in order if i == self.samples] + [i for i in order if i != self.samples]
        name = fresh_name("s", self.tensors)
        self.tensors[name] = Tensor(name, "computed", tuple(order))
        element = Element(name, tuple(order))
        if isinstance(value, Reduction):
            self._reduce(element, value, Element(ACCUMULATOR, element.slots))
        else:
            self.instructions.append(Map(element, self._scalars_out(value), self.formula))
        self.known[key(value)] = (element, tensors(value))
        return element

    def _without_normalized(self, value: Expr, target: Element) -> Expr:
        """softmax and its kin by their stable meaning: shifted by the maximum."""
        match value:
            case Normalized(kind, index, body):
                body = self._temporaries(body, target)
                bound = index + "'"
                there = _at(body, index, bound)
                top = self._temporary(Reduction("max", (bound,), there), target)
                shifted = subtract(body, top)
                powers = self._temporary(apply("exp", shifted), target)
                total = self._temporary(Reduction("sum", (bound,), _at(powers, index, bound)), target)
                return divide(powers, total) if kind == "softmax" else subtract(shifted, apply("log", total))
            case Reduction("logsumexp"):
                return self._log_sum_exp(value)
        return value

    def _log_sum_exp(self, value: Reduction) -> Expr:
        body = self._inner(value.body)
        whole = Element("", tuple(sorted(free_indices(body) | set(value.indices))))
        top = self._temporary(Reduction("max", value.indices, body), whole)
        powers = self._temporary(apply("exp", subtract(body, top)), whole)
        return add(top, apply("log", Reduction("sum", value.indices, powers)))

    # sums

    def _reduce(self, target: Element, reduction: Reduction, epilogue: Expr) -> None:
        body = self._inner(reduction.body)
        reduction = Reduction(reduction.kind, reduction.indices, body)
        if reduction.kind == "sum":
            reduction = self._rows_first(reduction)
        if reduction.kind == "sum" and isinstance(reduction.body, Mul) and not self._pins(reduction):
            reduction = self._pairwise(reduction)
            if not reduction.indices:  # the pairs took all sums: sum[i, j](b[k]*u[i]*v[j]) is b[k] times a number
                value = transform(epilogue, lambda n: reduction.body if n == Element(ACCUMULATOR, target.slots) else n)
                self.instructions.append(Map(target, self._scalars_out(value), self.formula))
                return
            groups = self._two_groups(reduction)
            if groups is not None:
                left, right = (self._as_element(g) for g in groups)
                if self._order(left, right, target, reduction.indices):
                    left, right = right, left
                self.instructions.append(Contract(target, left, right, reduction.indices, epilogue, self.formula))
                return
        self.instructions.append(
            Reduce(target, reduction.kind, reduction.indices, self._scalars_out(reduction.body), epilogue, self.formula)
        )

    def _pins(self, reduction: Reduction) -> list[Pin]:
        """What class numbers pin down in a sum: a row that is read, [v == c]*T[v, d] over v, or one that is added to,
        [v == c]*delta[d] over the samples.
        """
        return [
            p
            for p in pins(reduction.body, self.tensors)
            if p.index in reduction.indices or set(p.number.slots) & set(reduction.indices)
        ]

    def _rows_first(self, reduction: Reduction) -> Reduction:
        """A product with a row that is looked up looks it up first; what is added to a row is summed up first."""
        for pin in self._pins(reduction):
            factors = reduction.body.factors if isinstance(reduction.body, Mul) else (reduction.body,)
            if pin.index in reduction.indices:
                own = [f for f in factors if pin.index in free_indices(f)]
                rest = [f for f in factors if pin.index not in free_indices(f)]
                outside = free_indices(mul(*rest))
                inner = {pin.index} | (free_indices(mul(*own)) - outside) & set(reduction.indices)
                if not outside - free_indices(mul(*own)) or inner == set(reduction.indices):
                    continue  # it is the row alone, or a sum along it: one walk does
            else:
                inner = set(reduction.indices) - set(pin.number.slots)
                own = [f for f in factors if free_indices(f) & inner]
                if not inner:
                    continue
                rest = [f for f in factors if not free_indices(f) & inner]
            row = Reduction("sum", tuple(i for i in reduction.indices if i in inner), mul(*own))
            value = self._temporary(row, Element("", tuple(sorted(free_indices(row)))))
            reduction = Reduction("sum", tuple(i for i in reduction.indices if i not in inner), mul(value, *rest))
        return reduction

    def _order(self, left: Element, right: Element, target: Element, indices: tuple[str, ...]) -> bool:
        """Whether to swap: the last index of the result, which lies contiguous in memory, belongs to the right."""
        last = target.slots[-1]
        return last in left.slots and last not in indices

    def _groups(self, reduction: Reduction) -> list[list[Expr]]:
        """The factors of a sum, those over the same indices together, small ones with a larger one."""
        factors = reduction.body.factors if isinstance(reduction.body, Mul) else (reduction.body,)
        groups: list[tuple[frozenset[str], list[Expr]]] = []
        for factor in sorted(factors, key=lambda f: -len(free_indices(f))):
            own = free_indices(factor)
            home = next((members for indices, members in groups if own <= indices), None)
            if home is not None:
                home.append(factor)
            else:
                groups.append((own, [factor]))
        return [members for _, members in groups]

    def _two_groups(self, reduction: Reduction) -> tuple[Expr, Expr] | None:
        """(left, right) where the sum is a matrix product: each side has indices of its own, they share only sums."""
        groups = self._groups(reduction)
        if len(groups) != 2 or self._pins(reduction):
            return None
        left, right = (mul(*g) for g in groups)
        bound = set(reduction.indices)
        a, b = free_indices(left), free_indices(right)
        own_rows, own_columns, shared = a - b, b - a, a & b
        if shared != bound or not own_rows - bound or not own_columns - bound:
            return None
        return left, right

    def _pairwise(self, reduction: Reduction) -> Reduction:
        """Sums of three or more groups, two at a time; the pair with the smallest result first."""
        while len(groups := self._groups(reduction)) > 2:
            factors = [mul(*g) for g in groups]
            best: tuple[int, int, int, frozenset[str]] | None = None
            for m, first in enumerate(factors):
                for n in range(m + 1, len(factors)):
                    others = [free_indices(f) for o, f in enumerate(factors) if o not in (m, n)]
                    union = free_indices(first) | free_indices(factors[n])
                    here = (union & set(reduction.indices)) - frozenset().union(*others)
                    if here and (best is None or len(union - here) < best[0]):
                        best = (len(union - here), m, n, frozenset(here))
            if best is None:
                return reduction
            _, m, n, here = best
            pair = Reduction("sum", tuple(i for i in reduction.indices if i in here), mul(factors[m], factors[n]))
            temporary = self._temporary(pair, Element("", tuple(sorted(free_indices(pair)))))
            rest = [f for o, f in enumerate(factors) if o not in (m, n)]
            reduction = Reduction("sum", tuple(i for i in reduction.indices if i not in here), mul(*rest, temporary))
        return reduction

    def _as_element(self, factor: Expr) -> Element:
        """A side of a product as a plain tensor element with distinct index names."""
        if isinstance(factor, Element) and self._is_plain(factor):
            return factor
        return self._temporary(factor, Element("", tuple(sorted(free_indices(factor)))))

    def _is_plain(self, element: Element) -> bool:
        names = [s for s in element.slots if isinstance(s, str)]
        return len(set(names)) == len(element.slots) and self.tensors[element.tensor].role != "label"

    # scalars

    def _scalars_out(self, value: Expr) -> Expr:
        """What depends on hyper-parameters only is computed once a step, in float64, not at every entry."""
        if _is_scalar(value):
            return value if isinstance(value, Number) else self._scalar(value)
        parts = children(value)
        if isinstance(value, Mul | Add):
            scalar = [p for p in parts if _is_scalar(p)]
            if any(not isinstance(p, Number) for p in scalar):
                rest = [self._scalars_out(p) for p in parts if not _is_scalar(p)]
                return rebuild(value, (self._scalar(rebuild(value, tuple(scalar))), *rest))
        new = tuple(self._scalars_out(p) for p in parts)
        return rebuild(value, new) if any(a is not b for a, b in zip(parts, new, strict=True)) else value

    def _scalar(self, value: Expr) -> Expr:
        if value in [Symbol(name) for name, _ in self.scalars.values()]:
            return value
        if key(value) not in self.scalars:
            name = f"c{len(self.scalars)}"
            self.scalars[key(value)] = (f"scalar {name}", value)
        return Symbol(self.scalars[key(value)][0])


def _is_global_norm(node: Expr) -> bool:
    return isinstance(node, Apply) and node.function == "global_norm"


def _is_scalar(expr: Expr) -> bool:
    """Whether an expression has one value a step: no tensors, no index."""
    return not elements(expr) and not any(isinstance(n, Position) for n in walk(expr)) and not free_indices(expr)


def _at(expr: Expr, index: str, other: str) -> Expr:
    return substitute(expr, {index: other})
