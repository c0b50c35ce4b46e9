"""A System → the equations of its backward pass, each with the steps that led to it.

The equations are walked backward. For each quantity q the chain rule sums over every c that q is used in:

    ∂E/∂q[J] = Σ_c Σ_I ∂E/∂c[I] · ∂c[I]/∂q[J]

The local derivative brings Kronecker deltas, which use up the sums; forward quantities are put back in (σ′ as p(1−p)),
declared facts are used, and the shorter of the factored and the multiplied-out form is kept.

The adjoint of a quantity of one sample is ∂E/∂q of that sample's own loss, as in the textbook; the mean over the batch
appears where a parameter's gradient is formed. (Formally every adjoint here is N·∂L/∂q, with L = mean[n](E[n]); that is
what batch statistics, where samples meet, need.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chainrule.derivation import rules
from chainrule.derivation.derive import differentiate
from chainrule.derivation.normalize import normalize
from chainrule.derivation.pages.page import Page, Paged
from chainrule.derivation.rules import Step
from chainrule.derivation.unify import match_up_to_indices
from chainrule.errors import FormulaError, NotationError, NotDifferentiable
from chainrule.formula.expr import (
    MINUS_ONE,
    ONE,
    ZERO,
    Add,
    Apply,
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Normalized,
    Number,
    Position,
    Reduction,
    Size,
    Slot,
    add,
    apply,
    children,
    count_nodes,
    free_indices,
    fresh_index,
    fresh_name,
    index_names,
    key,
    mul,
    negative,
    power,
    rebuild,
    same,
    split_coefficient,
    substitute,
    subtract,
    sum_over,
    tensors,
    transform,
    walk,
)
from chainrule.formula.simplify import SIGMOID_SYMMETRY, Rewrite, expand, expose_deltas, shorter, signs_tidied
from chainrule.formula.system import Equation, Fact, System
from chainrule.formula.text import means_in
from chainrule.messages import say

MAX_COLLECTED = 1_000  # nodes; a longer derivative is not tidied, which would take longer than to derive it
MAX_DERIVED = 20_000  # nodes; a formula itself has as many at most
# An adjoint without a sum that is no larger than this is put into the next one instead of getting a line of its own.
MAX_INLINED_NODES = 40


@dataclass(frozen=True)
class Adjoint:
    """The adjoint of one quantity: ∂E/∂q as an equation, and how it came about.

    `inlined` says that the equation is for the reader only: its value was put into the ones that use it.
    """

    of: str
    equation: Equation
    steps: tuple[Step, ...]
    inlined: bool = False


@dataclass(frozen=True, repr=False)
class Derivation(Paged):
    """The backward pass of a system: print it, or `save("page.html")`.

    `system` is the system in normal form; `adjoints` in the order in which they are computed, parameters last;
    `gradients` maps each parameter to the name of its gradient; `backward` are the equations to run.
    """

    source: System
    system: System
    rewrites: tuple[Rewrite, ...]
    adjoints: tuple[Adjoint, ...]
    gradients: Mapping[str, str]

    def page(self, of: str | None = None) -> Page:
        """The page that explains it; `of` one quantity alone. Raises: SettingError for an unknown quantity."""
        from chainrule.derivation.pages.explain import derivation_page

        return derivation_page(self, of=of)

    def __repr__(self) -> str:
        return f"<Derivation of {self.source.loss} with respect to {', '.join(self.gradients)}>"

    @property
    def backward(self) -> tuple[Equation, ...]:
        """The equations of the backward pass, in order."""
        return tuple(a.equation for a in self.adjoints if not a.inlined)

    def adjoint(self, name: str) -> Adjoint:
        """The adjoint of a quantity, by its name. Raises: KeyError."""
        return next(a for a in self.adjoints if a.of == name or a.equation.target.tensor == name)

    def gradient(self, parameter: str) -> Equation:
        """The equation of a parameter's gradient."""
        return self.adjoint(parameter).equation

    def rules_used(self) -> list[str]:
        """The names of all rules that were used, forward rewrites first."""
        names = [r.rule for r in self.rewrites]

        def collect(steps: tuple[Step, ...]) -> None:
            for step in steps:
                collect(step.about)
                names.append(step.rule)

        for adjoint in self.adjoints:
            collect(adjoint.steps)
        return list(dict.fromkeys(names))


def derive_system(system: System) -> Derivation:
    """The backward pass of a system's loss with respect to all its parameters.

    Raises: FormulaError where there is no loss; NotDifferentiable, naming function and parameter.
    """
    if system.loss is None:
        raise FormulaError(say("formula.no_loss"))
    return _Backward(system).run()


class _Backward:
    def __init__(self, source: System):
        form = normalize(source)
        self.source = source
        self.system = form.system
        self.rewrites = form.rewrites
        assert source.loss is not None
        self.loss = source.loss
        self.scaled = self.system.samples in self.system.tensors[self.loss].indices
        self.values: dict[str, tuple[Element, Expr]] = {}  # adjoint of a tensor: at its own indices, what stands for it
        self.adjoints: list[Adjoint] = []
        self.names = set(self.system.tensors)
        self.forward = [(e.target, e.value) for e in self.system.equations]
        self.means = [(t, r) for t, v in self.forward if (r := _mean_of(v)) is not None]
        self.consumers: dict[str, list[Equation]] = {}
        for equation in self.system.equations:
            for name in tensors(equation.value):
                self.consumers.setdefault(name, []).append(equation)

    def run(self) -> Derivation:
        wanted = self._on_the_way()
        for equation in reversed(self.system.equations):
            name = equation.target.tensor
            if name == self.loss:
                self._seed(equation.target)
            elif name in wanted:
                self._derive(name)
        gradients = {}
        for parameter in self.system.parameters:
            self._derive(parameter.name)
            gradients[parameter.name] = self.values[parameter.name][0].tensor
        return Derivation(self.source, self.system, self.rewrites, tuple(self.adjoints), gradients)

    def _on_the_way(self) -> set[str]:
        """The computed quantities that a parameter reaches and that reach the loss."""
        parameters = {p.name for p in self.system.parameters}
        reached = set(parameters)
        for equation in self.system.equations:
            if set(tensors(equation.value)) & reached:
                reached.add(equation.target.tensor)
        return (reached - parameters) & self.system.depends_on(self.loss)

    def _name_of_adjoint(self, name: str) -> str:
        """delta_h for the pre-activation a_h of h, delta_z for one that the text names z, else dE_dq."""
        equation = self.system.equation_of(name)
        wanted = f"d{self.loss}_d{name}"
        named_here = equation is not None and equation.rule is not None and name.startswith("a_")
        if equation is not None and (named_here or self._is_preactivation(name, equation.value)):
            wanted = f"delta_{name.removeprefix('a_') if named_here else name}"
        result = fresh_name(wanted, self.names)
        self.names.add(result)
        return result

    def _is_preactivation(self, name: str, value: Expr) -> bool:
        parameters = {p.name for p in self.system.parameters}
        if not any(isinstance(node, Reduction) for node in walk(value)) and not set(tensors(value)) & parameters:
            return False
        for equation in self.system.equations:
            for node in walk(equation.value):
                arguments = (
                    node.arguments if isinstance(node, Apply) else (node.body,) if isinstance(node, Normalized) else ()
                )
                if any(isinstance(a, Element) and a.tensor == name for a in arguments):
                    return True
        return False

    def _seed(self, target: Element) -> None:
        name = self._name_of_adjoint(self.loss)
        self.values[self.loss] = (Element(name, target.slots), ONE)
        equation = Equation(Element(name, target.slots), ONE)
        step = Step(rules.SEED.name, equation.target, ONE)
        self.adjoints.append(Adjoint(self.loss, equation, (step,), inlined=True))

    def _derive(self, name: str) -> None:
        own = self.system.tensors[name].element
        target = Element(self._name_of_adjoint(name), own.slots)
        steps: list[Step] = []
        statement: list[Expr] = []
        terms: list[Expr] = []
        for consumer in self.consumers.get(name, ()):
            if consumer.target.tensor not in self.values:
                continue
            chained, term = self._contribution(consumer, own, steps)
            statement.append(chained)
            if term != ZERO:
                terms.append(term)
        steps.insert(0, Step(rules.CHAIN_OVER_USES.name, target, add(*statement)))
        value = add(*terms)
        self._check_size(name, value)
        is_parameter = self.system.tensors[name].role == "parameter"
        value = self._simplify(value, steps)
        if is_parameter and self.scaled:
            mean = power(Size(self.system.samples), MINUS_ONE)
            scaled = add(*(mul(mean, t) for t in (value.terms if isinstance(value, Add) else (value,))))
            steps.append(Step(rules.BATCH.name, value, scaled))
            value = scaled
        value = self._name_forward_parts(value)
        inlined = not is_parameter and self._is_inlined(name, value)
        self.values[name] = (target, value if inlined else target)
        self.adjoints.append(Adjoint(name, Equation(target, value), tuple(steps), inlined))

    def _contribution(self, consumer: Equation, own: Element, steps: list[Step]) -> tuple[Expr, Expr]:
        """Σ_I ∂E/∂c[I] · ∂c[I]/∂q[J] for one consumer c: as the reader sees it first, and worked out."""
        taken = {str(s) for s in own.slots} | index_names(consumer.value)
        renamed: dict[str, Slot] = {}
        for index in [str(s) for s in consumer.target.slots]:
            fresh = fresh_index(index, taken) if index in own.slots else index
            taken.add(fresh)
            renamed[index] = fresh
        there = substitute(consumer.target, renamed)
        assert isinstance(there, Element)
        indices = [str(s) for s in there.slots]
        value = _rename(consumer.value, renamed)
        trace: list[Step] = []
        try:
            local = differentiate(value, own, trace)
        except NotDifferentiable as error:
            raise NotDifferentiable(
                say(
                    "derivation.not_differentiable",
                    reason=error.message,
                    loss=self.loss,
                    quantity=self._of_the_text(own.tensor),
                ),
                consumer.place,
            ) from None
        shown = Element(f"d{consumer.target.tensor}_d{own.tensor}", (*there.slots, *own.slots))
        steps.append(Step(rules.LOCAL.name, shown, local, tuple(trace)))
        at, stands_for = self.values[consumer.target.tensor]
        outer = substitute(stands_for, {str(s): renamed[str(s)] for s in at.slots})
        symbol = Element(at.tensor, there.slots)
        chained = sum_over(indices, mul(symbol, shown)) if indices else mul(symbol, shown)
        # As textbooks order it: h'(a) Σ w δ and x δ, but (p - t) p (1 - p).
        leads = isinstance(outer, Element) or _has_sum(outer)
        product = mul(local, outer) if leads else mul(outer, local)
        term = add(*(sum_over(indices, t) for t in expose_deltas(product)))
        steps.append(Step(rules.MULTIPLY.name, mul(symbol, shown), product))
        summed = Reduction("sum", tuple(indices), product) if indices else product
        if not same(term, summed):
            steps.append(Step(rules.DELTA_REMOVES_SUM.name, summed, term))
        return chained, term

    def _of_the_text(self, name: str) -> str:
        """A quantity by a name that the reader knows: of a named intermediate, the parameters that it is made of."""
        if name in self.source.tensors:
            return name
        parameters = self.system.depends_on(name) & {p.name for p in self.system.parameters}
        return ", ".join(p.name for p in self.system.parameters if p.name in parameters)

    # the shape of a result

    def _simplify(self, value: Expr, steps: list[Step]) -> Expr:
        for rule, change in (
            (rules.REUSE.name, self._reuse_forward),
            (rules.FACT.name, self._use_facts),
            (rules.COLLECT.name, self._collect),
            (rules.REUSE.name, self._reuse_forward),
        ):
            new = change(value)
            if new != value:
                steps.append(Step(rule, value, new))
                value = new
        return value

    def _check_size(self, name: str, value: Expr) -> None:
        """Functions within functions have derivatives whose length grows with each level. Raises: NotationError."""
        if (came := count_nodes(value)) > MAX_DERIVED:
            own = self._of_the_text(name)
            message = say("hostile.derivative_too_long", name=own, loss=self.loss, came=came, limit=MAX_DERIVED)
            raise NotationError(message, self.system.tensors[name].place)

    def _collect(self, value: Expr) -> Expr:
        if count_nodes(value) > MAX_COLLECTED:
            return value

        def change(node: Expr) -> Expr:
            expanded = self._use_facts(self._reuse_forward(expand(node)))
            return signs_tidied(shorter(node, _collect_parts(expanded)))

        return transform(value, change)

    def _reuse_forward(self, value: Expr) -> Expr:
        """Sub-expressions that the forward pass has computed, by their names."""

        def change(node: Expr) -> Expr:
            if isinstance(node, Apply) and node.function == "sigmoid":
                node = self._turn_sigmoid(node)
            if isinstance(node, Apply | Normalized | Reduction):
                return self._forward_name(node) or node
            return node

        value = transform(value, self._mean_by_name) if self.means else value
        return _transform_with_normalized(value, change)

    def _mean_by_name(self, node: Expr) -> Expr:
        """mean[n](a[n, j]) among the factors of a product, where the forward pass has it as mu[j]."""
        for mean, sizes in means_in(node.factors) if isinstance(node, Mul) else ():
            found = _forward_name(mean, self.means)
            if found is not None and isinstance(node, Mul):
                return mul(found, *(f for f in node.factors if f not in (mean, *sizes)))
        return node

    def _turn_sigmoid(self, node: Apply) -> Expr:
        """σ(-u) = 1 - σ(u), so that p can stand for σ(u)."""
        (argument,) = node.arguments
        coefficient, _ = split_coefficient(argument)
        if coefficient >= 0:
            return node
        turned = apply("sigmoid", negative(argument))
        assert SIGMOID_SYMMETRY.after == "1 - sigmoid(u)"
        return subtract(ONE, self._forward_name(turned) or turned)

    def _forward_name(self, node: Expr) -> Expr | None:
        return _forward_name(node, self.forward)

    def _use_facts(self, value: Expr) -> Expr:
        facts = [f for f in self.system.facts if f.operator == "==" and isinstance(f.right, Number)]
        counted = [self._label_fact(e) for e in self.system.equations]
        facts += [f for f in counted if f is not None]
        if not facts:
            return value

        def change(node: Expr) -> Expr:
            if not isinstance(node, Reduction):
                return node
            for fact in facts:
                if same(fact.left, node):
                    return fact.right
            return node

        return _transform_with_normalized(value, change)

    def _label_fact(self, equation: Equation) -> Fact | None:
        """t[k] = [k == y] with y in k: exactly one k is y, so Σ_k t[k] = 1."""
        match equation.value:
            case Compare("==", Position(index), Element(label, _)) | Compare("==", Element(label, _), Position(index)):
                tensor = self.system.tensors[label]
                if tensor.classes == index and index in equation.target.slots:
                    return Fact(sum_over([index], equation.target), "==", ONE)
        return None

    def _name_forward_parts(self, value: Expr) -> Expr:
        """A softmax that the forward pass did not need (only its logarithm) gets an equation of its own."""

        def change(node: Expr) -> Expr:
            if not isinstance(node, Normalized):
                return node
            if (known := self._forward_name(node)) is not None:
                return known
            owner = tensors(node.body)[0]
            name = fresh_name(f"{node.kind}_{owner}", self.names)
            self.names.add(name)
            order = [i for i in (str(s) for s in self.system.tensors[owner].indices) if i in free_indices(node)]
            order += sorted(free_indices(node) - set(order))
            target = Element(name, tuple(order))
            self.forward.append((target, node))
            self.adjoints.append(Adjoint(name, Equation(target, node, rule=rules.SOFTMAX.name), ()))
            return target

        return _transform_with_normalized(value, change)

    def _is_inlined(self, name: str, value: Expr) -> bool:
        """Whether an adjoint is put into its only use, or is small enough to be put into several."""
        if isinstance(value, Number | Element):
            return True
        equation = self.system.equation_of(name)
        assert equation is not None
        if _has_sum(equation.value) or self._is_preactivation(name, equation.value):
            return False
        size = count_nodes(value)
        uses = sum(isinstance(n, Element) and self._is_differentiated(n.tensor) for n in walk(equation.value))
        return size <= 8 * MAX_INLINED_NODES if uses <= 1 else size <= MAX_INLINED_NODES and not _has_sum(value)

    def _is_differentiated(self, name: str) -> bool:
        return self.system.tensors[name].role in ("parameter", "computed")


def name_forward(value: Expr, forward: Sequence[tuple[Element, Expr]]) -> Expr:
    """What the forward pass has computed, by its name: p for σ(z)."""

    def change(node: Expr) -> Expr:
        return (_forward_name(node, forward) if isinstance(node, Apply | Normalized | Reduction) else None) or node

    return _transform_with_normalized(value, change)


def _forward_name(node: Expr, forward: Sequence[tuple[Element, Expr]]) -> Expr | None:
    for target, value in forward:
        if type(value) is not type(node):
            continue
        found = match_up_to_indices(target, value, node)
        if found is not None:
            return found
    return None


def _mean_of(value: Expr) -> Expr | None:
    """The sum in a value that is a mean and nothing else."""
    found = means_in(value.factors) if isinstance(value, Mul) else []
    alone = len(found) == 1 and isinstance(value, Mul) and len(value.factors) == 1 + len(found[0][1])
    return found[0][0] if alone else None


def _has_sum(expr: Expr) -> bool:
    return any(isinstance(node, Reduction) for node in walk(expr))


def _rename(expr: Expr, renamed: Mapping[str, Slot]) -> Expr:
    """Indices renamed at the root of an equation, where a softmax index may be among them."""
    if isinstance(expr, Normalized):
        new = renamed.get(expr.index, expr.index)
        return replace(expr, index=str(new), body=substitute(expr.body, renamed))
    return substitute(expr, renamed)


def _transform_with_normalized(expr: Expr, change: object) -> Expr:
    """`transform`, parents before children, so that a whole softmax is seen before its parts."""
    assert callable(change)
    new: Expr = change(expr)
    if new is not expr:
        return new
    parts = children(expr)
    changed = tuple(_transform_with_normalized(p, change) for p in parts)
    if all(a is b for a, b in zip(parts, changed, strict=True)):
        return expr
    return rebuild(expr, changed)


def _collect_parts(expr: Expr) -> Expr:
    """The factors that all terms of a sum share, taken out."""
    if not isinstance(expr, Add):
        return expr
    per_term = [
        {key(f): f for f in (t.factors if isinstance(t, Mul) else (t,)) if not isinstance(f, Number | Delta)}
        for t in expr.terms
    ]
    shared = [f for k, f in per_term[0].items() if all(k in other for other in per_term[1:])]
    if not shared:
        return expr
    inverse = [power(f, MINUS_ONE) for f in shared]
    inner = add(*(mul(t, *inverse) for t in expr.terms))
    factored = mul(*shared, inner)
    return shorter(expr, factored)
