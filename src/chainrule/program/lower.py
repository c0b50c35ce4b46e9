"""System + Derivation + update rule → Program.

Each equation becomes one Contract, Reduce or Map; a sum inside another expression gets a temporary tensor first. A sum
of products becomes a Contract where its factors fall into two groups that share nothing but the summed indices; a
product of three tensors is taken two at a time. Nothing here knows what a layer, a loss or an activation is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from chainrule.derivation.adjoint import Derivation
from chainrule.derivation.normalize import normalize
from chainrule.errors import SettingError
from chainrule.formula.expr import (
    MINUS_ONE,
    Add,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Position,
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
    substitute,
    subtract,
    sum_over,
    symbols,
    tensors,
    transform,
    walk,
)
from chainrule.formula.system import Equation, Initial, System, Tensor
from chainrule.formula.system import Update as UpdateLine
from chainrule.formula.text import equation_text, update_text
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
) -> Program:
    """One training step of `system`: forward, backward, and the updates of `rule` (the system's own lines go first).

    `derivation` may be None where no update asks for a gradient (a perceptron's rule); `metrics` are watched.
    Raises: SettingError where a rule has no line for w.
    """
    return _Lowerer(derivation.system if derivation else normalize(system).system, defaults or {}).training(
        derivation, rule or _generic_lines(system), metrics or {}
    )


def lower_prediction(system: System, *, metrics: Mapping[str, Expr] | None = None, loss: bool = False) -> Program:
    """The forward pass as far as the output (and the loss and metrics, where asked for) needs it."""
    return _Lowerer(normalize(system).system, {}).prediction(metrics or {}, loss)


def _generic_lines(system: System) -> tuple[UpdateLine, ...]:
    return tuple(u for u in system.updates if isinstance(u.target, Symbol))


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
        self, derivation: Derivation | None, rule: Sequence[UpdateLine], metrics: Mapping[str, Expr]
    ) -> Program:
        watched = self._forward(metrics, with_loss=True)
        forward = self._taken()
        gradients: Mapping[str, str] = {}
        if derivation is not None:
            gradients = derivation.gradients
            for equation in derivation.backward:
                self._declare(equation)
                self.equation(equation)
        backward = self._taken()
        for parameter in self.system.parameters:
            self._update_lines(parameter, rule, gradients)
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
        for name, value in metrics.items():
            equation = Equation(Element(name, (self.samples,)), value)
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

    def _update_lines(self, parameter: Tensor, rule: Sequence[UpdateLine], gradients: Mapping[str, str]) -> None:
        own = [u for u in self.system.updates if isinstance(u.target, Element) and self._belongs(u, parameter)]
        if own:
            for line in own:
                assert isinstance(line.target, Element)
                self._update(line.target, self._fill(line.value, parameter, {}, gradients, line.target), line)
            return
        if not any(u.target == Symbol(PARAMETER) for u in rule):
            raise SettingError(say("program.rule_without_parameter", name=parameter.name))
        states: dict[str, Element] = {}
        for line in rule:
            assert isinstance(line.target, Symbol)
            name = line.target.name
            if name != PARAMETER and name not in states:
                states[name] = self._state(name, parameter)
        for line in rule:
            assert isinstance(line.target, Symbol)
            target = parameter.element if line.target.name == PARAMETER else states[line.target.name]
            self._update(target, self._fill(line.value, parameter, states, gradients, parameter.element), line)

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

    def _fill(
        self,
        value: Expr,
        parameter: Tensor,
        states: Mapping[str, Element],
        gradients: Mapping[str, str],
        at: Element,
    ) -> Expr:
        """w, g and the states of a rule as elements of this parameter's tensors."""
        named: dict[str, Expr] = {PARAMETER: at, **states}
        if parameter.name in gradients:
            named[GRADIENT] = Element(gradients[parameter.name], at.slots)
        elif GRADIENT in symbols(value) and GRADIENT not in self.defaults:
            raise SettingError(say("program.no_gradient", name=parameter.name))
        return replace_symbols(value, named)

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
        self._assign(equation.target, equation.value)

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
        if reduction.kind == "sum" and isinstance(body, Mul):
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
        if len(groups) != 2:
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


def _is_scalar(expr: Expr) -> bool:
    """Whether an expression has one value a step: no tensors, no index."""
    return not elements(expr) and not any(isinstance(n, Position) for n in walk(expr)) and not free_indices(expr)


def _at(expr: Expr, index: str, other: str) -> Expr:
    return substitute(expr, {index: other})
