"""A Derivation → the page that explains it: the forward pass, each adjoint factor by factor, the rules used.

With `numbers` (numbers.py) the same page has a chosen sample's values in it. Layers that are alike are derived once,
the others are rows of a table. Everything shown is read off the Derivation, which is what is lowered and compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from chainrule.derivation import rules
from chainrule.derivation.adjoint import Adjoint, Derivation, name_forward
from chainrule.derivation.claims.prove import Prover
from chainrule.derivation.derive import differentiate, tidy
from chainrule.derivation.normalize import NAMED
from chainrule.derivation.pages.factors import Chains, Factor, product_of, repeated
from chainrule.derivation.pages.page import (
    ABOUT,
    BECOMES,
    EQUALS,
    Block,
    Differential,
    Filled,
    Fold,
    Heading,
    Inline,
    Line,
    Lines,
    Page,
    Table,
    Text,
    Value,
    indices_apart,
    listed,
    say_inline,
    sign_before,
)
from chainrule.derivation.rules import RULES, Rule, Step
from chainrule.errors import SettingError
from chainrule.formula.expr import (
    MINUS_ONE,
    Apply,
    Element,
    Expr,
    Number,
    Random,
    Size,
    Symbol,
    add,
    fresh_name,
    mul,
    power,
    substitute,
)
from chainrule.formula.functions import ARGUMENTS, FUNCTIONS
from chainrule.formula.parse import parse_expression
from chainrule.formula.system import Equation, System, Tensor, Update
from chainrule.formula.typeset import Unicode
from chainrule.messages import catalogue, language, say

if TYPE_CHECKING:
    from chainrule.derivation.pages.numbers import Numbers

# Rules that only tidy a result: a page that does not show every step joins them.
NO_PRIMES = str.maketrans("", "", "′″‴")
TIDYING = {rules.COLLECT.name, rules.FACT.name, rules.REUSE.name}


def derivation_page(
    derivation: Derivation,
    *,
    of: str | None = None,
    updates: Sequence[Update | Equation] = (),
    title: str = "",
    numbers: Numbers | None = None,
    first: str | None = None,
) -> Page:
    """The page of a derivation; `of` keeps to one quantity and those between it and the loss.

    `updates` are the lines of the update rule, and equations for the values of its hyper-parameters.

    Of layers that are alike, the one of the quantity `first` is derived in full, else the first one of them.

    Raises: SettingError for a quantity that has no adjoint.
    """
    return _Explainer(derivation, numbers, first or of).page(of, updates, title)


def rule_name(name: str) -> str:
    """A rule's name in the reader's language."""
    return _said_of_rule("rule", name, name)


class _Explainer:
    def __init__(self, derivation: Derivation, numbers: Numbers | None, first: str | None):
        self.derivation = derivation
        self.system = derivation.system
        self.numbers = numbers
        self.repeats = repeated(derivation, first)
        self.chains = Chains(derivation)

    def page(self, of: str | None, updates: Sequence[Update | Equation], title: str) -> Page:
        chosen = self._chosen(of)
        blocks = [*self.forward(), *self.backward(chosen)]
        if updates and of is None:
            blocks += self.update(updates)
        blocks += self.rules_table(chosen)
        heading = say_inline("pages.title", name=title) if title else (say("pages.title_plain"),)
        batch = self._batch_loss()
        named = {batch: Tensor(batch, "computed", ())} if batch else {}
        page = Page(heading, tuple(blocks), self.system.samples, {**self.system.tensors, **named})
        return indices_apart(page)

    def _chosen(self, of: str | None) -> list[Adjoint]:
        adjoints = [a for a in self.derivation.adjoints if a.of in self.chains.own]
        if of is None:
            return adjoints
        wanted = next((a for a in adjoints if of in (a.of, a.equation.target.tensor)), None)
        if wanted is None:
            known = ", ".join(a.of for a in adjoints)
            raise SettingError(say("interfaces.no_adjoint", name=of, known=known))
        needed = {wanted.of}
        for adjoint in reversed(adjoints):
            if adjoint.of in needed:
                needed |= {f.consumer for f in self.chains.factors[adjoint.of]}
        return [a for a in adjoints if a.of in needed]

    # --- forward

    def forward(self) -> Iterator[Block]:
        yield Heading((say("pages.forward"),))
        named = [e.target for e in self.system.equations if e.rule == NAMED and e.target.tensor.startswith("a_")]
        if named:
            yield Text(say_inline("pages.named", names=listed(named)))
        lines: list[Line] = []
        for equation in self.system.equations:
            shown = equation.target if isinstance(equation.value, Random) else equation.value
            lines += [self._equation(equation, self._note_of(equation)), *self._filled(shown)]
        if (batch := self._batch_loss()) is not None:
            note = (say("pages.the_batch_loss"),)
            mean = self.derivation.source.batch_loss()
            lines += [Line((Element(batch, ()),), (mean,), note=note), *self._filled(mean, mean=True)]
        yield Lines(tuple(lines))
        yield from at_prediction(self.system)
        if self.derivation.rewrites:
            forms = [Line((r.before,), (r.after,), note=(rule_name(r.rule),)) for r in self.derivation.rewrites]
            yield Fold((say("pages.stable"),), (Text((say("pages.stable_why"),)), Lines(tuple(forms))))

    def _note_of(self, equation: Equation) -> Inline:
        if equation.target.tensor != self.derivation.source.loss:
            return ()
        return (say("pages.the_loss" if self._batch_loss() else "pages.the_batch_loss"),)

    def _equation(self, equation: Equation, note: Inline = ()) -> Line:
        return Line((equation.target,), (equation.value,), sign_before(equation.value), note)

    # --- backward

    def backward(self, chosen: Sequence[Adjoint]) -> Iterator[Block]:
        yield Heading((say("pages.backward"),))
        yield Text((say("pages.backward_why"),))
        if across := self._across_samples():
            loss = str(self.derivation.source.loss)
            symbol = Element(f"d{loss}_dq", ())
            yield Text(say_inline("pages.across", names=listed(across), E=Element(loss, ()), D=symbol))
        chosen_names = {a.of for a in chosen}
        for adjoint in chosen:
            if adjoint.of == self.derivation.source.loss or self.repeats.get(adjoint.of) in chosen_names:
                continue
            yield from self.section(adjoint)
            alike = [a for a in chosen if self.repeats.get(a.of) == adjoint.of]
            if alike:
                yield from self.likewise(adjoint, alike)

    def section(self, adjoint: Adjoint) -> Iterator[Block]:
        """One adjoint: the chain of factors, each factor, their product, and its name."""
        target = adjoint.equation.target
        if not adjoint.steps:  # an equation that the backward pass needs of its own, such as a softmax
            yield Heading(say_inline("pages.section_helper", q=target), 3)
            yield Lines((self._equation(adjoint.equation),))
            return
        own = self.system.tensors[adjoint.of]
        is_parameter = own.role == "parameter"
        quantity = self.symbol(adjoint.of)
        key = "pages.section_parameter" if is_parameter else "pages.section"
        yield Heading(say_inline(key, q=own.element), 3)
        factors = self.chains.used(adjoint.of)
        if not factors:
            yield Text(say_inline("pages.unused", q=own.element))
        yield from self._ways(adjoint, factors, quantity)
        later = [f for f in factors if f.consumer == self.derivation.source.loss]
        for factor in factors:
            if factor not in later:
                yield from self._factor(factor)
        yield from self._product(adjoint, factors, quantity)
        for factor in later:
            yield self._rule_by_rule(factor, direct=len(factors) > 1)
        if not is_parameter and target.tensor != quantity.tensor:
            value = adjoint.equation.value
            yield Lines((Line((target,), (quantity, EQUALS, value), note=(say("pages.named_delta"),)),))

    def _across_samples(self) -> list[Expr]:
        """Statistics of the batch, in which samples meet, where E is of one sample."""
        if self._batch_loss() is None:
            return []
        computed = [e.target for e in self.system.equations if e.target.tensor in self.chains.own]
        return [target for target in computed if not self.system.is_sampled(target.tensor)]

    def _over_batch(self, adjoint: Adjoint) -> bool:
        """Whether a parameter's gradient is a mean over the batch that no single sample has a share of."""
        is_parameter = self.system.tensors[adjoint.of].role == "parameter"
        return is_parameter and self._batch_loss() is not None and not self.chains.has_one_sample(adjoint.of)

    def _mean(self, value: Expr) -> Expr:
        return mul(power(Size(self.system.samples), MINUS_ONE), value)

    def symbol(self, name: str) -> Element:
        """∂E/∂q, which the page may call δ."""
        return Element(f"d{self.derivation.source.loss}_d{name}", self.system.tensors[name].indices)

    def _ways(self, adjoint: Adjoint, factors: list[Factor], quantity: Element) -> Iterator[Block]:
        own = self.system.tensors[adjoint.of].element
        if len(factors) > 1:
            uses = listed([self.system.tensors[f.consumer].element for f in factors])
            yield Text(say_inline("pages.several_uses", q=own, uses=uses))
        if not factors or (len(factors) == 1 and factors[0].consumer == self.derivation.source.loss):
            return
        # What E has of q directly, as a penalty has, stands as it is: its symbol would be that of the whole.
        chained = [self._named(f.value) if f.consumer == self.derivation.source.loss else f.chained for f in factors]
        note = (rule_name(rules.CHAIN_OVER_USES.name),)
        if self._over_batch(adjoint):
            yield Lines((Line((self._batch_symbol(adjoint),), (self._mean(add(*chained)),), note=note),))
            return
        written_out = self.chains.of(adjoint.of) if len(factors) == 1 else None
        ways = [*([written_out] if written_out is not None else []), add(*chained)]
        yield Lines((Line((quantity,), (ways[0],), note=note), *(Line((), (w,)) for w in ways[1:])))

    def _factor(self, factor: Factor) -> Iterator[Block]:
        """∂c/∂q apart, and rule by rule for who wants it."""
        named = self._named(factor.value)
        right = (factor.value,) if named == factor.value else (factor.value, EQUALS, named)
        yield Lines((Line((factor.shown,), right, note=_note(factor)), *self._filled(named)))
        yield self._rule_by_rule(factor)

    def _rule_by_rule(self, factor: Factor, *, direct: bool = False) -> Fold:
        equation = self.system.equation_of(factor.consumer)
        assert equation is not None
        steps = Lines(tuple(self._steps(factor.steps)))
        title = say_inline("pages.rule_by_rule", factor=factor.shown)
        if direct:
            title = say_inline("pages.direct", E=equation.target, q=self.system.tensors[factor.of].element)
        return Fold(title, (Lines((self._equation(equation),)), steps, *self._claims(factor)))

    def _filled(self, value: Expr, left: Inline = (), *, mean: bool = False) -> tuple[Line, ...]:
        """The same line with numbers, where there are some; a mean over one sample is not written out."""
        if self.numbers is None or isinstance(value, Number):
            return ()
        number = Value(self.numbers.value(value))
        if isinstance(value, Element) or (mean and self.numbers.sizes[self.system.samples] == 1):
            return (Line(left, (number,)),)
        return (Line(left, (Filled(value, self.numbers, ()), EQUALS, number)),)

    def _steps(self, steps: Iterable[Step]) -> Iterator[Line]:
        for step in steps:
            yield from self._steps(step.about)
            yield Line((Differential(step.before),), (step.after,), note=(rule_name(step.rule),))

    def _claims(self, factor: Factor) -> Iterator[Block]:
        """Derivatives that the library claims, such as σ′ = σ(1 − σ), derived from their definitions."""
        for name in sorted({s.before.function for s in factor.steps if isinstance(s.before, Apply)}):
            row = FUNCTIONS[name]
            if row.definition is None or len(row.derivatives) != 1:
                continue
            a = Symbol(ARGUMENTS[0])
            function, definition = Apply(name, (a,)), parse_expression(row.definition)
            claimed = parse_expression(row.derivatives[0])
            trace: list[Step] = []
            derived = tidy(differentiate(definition, a, trace))
            steps = list(self._steps(trace))
            yield Text(say_inline("pages.claim", f=function, d=claimed))
            yield Lines((Line((function,), (definition,)), *steps[:-1], Line((Differential(function),), (derived,))))
            proved = "pages.proved" if Prover({}, (), ()).equal(derived, claimed) else "pages.compared"
            yield Lines((Line((derived,), (claimed,), note=(say(proved),)),))

    def _product(self, adjoint: Adjoint, factors: list[Factor], quantity: Element) -> Iterator[Block]:
        """The factors multiplied, then simplified, each step with its rule."""
        if not factors:
            yield Lines((self._equation(adjoint.equation),))
            return
        is_parameter = self.system.tensors[adjoint.of].role == "parameter" and self._batch_loss() is not None
        terms = [self._named(product_of(f, self._outer(f))) for f in factors]
        is_first = len(factors) == 1 and factors[0].consumer == self.derivation.source.loss
        note = _note(factors[0]) if is_first else (rule_name(rules.MULTIPLY.name),)
        if self._over_batch(adjoint):
            lines = [Line((self._batch_symbol(adjoint),), (self._mean(add(*terms)),), note=note)]
            lines += [Line((), (adjoint.equation.value,))]
            lines = _without_repeats(lines)
            yield Lines((*lines, *self._filled(adjoint.equation.value, mean=True), *self._quotient(adjoint)))
            return
        lines = [Line((quantity,), (add(*terms),), note=note)]
        if not is_parameter:
            lines += [Line((), (self._named(value),), note=(rule_name(rule),)) for rule, value in _later(adjoint)]
        lines = _without_repeats(lines)
        final = adjoint.equation
        if is_parameter:
            note = (rule_name(rules.BATCH.name),) if any(s.rule == rules.BATCH.name for s in adjoint.steps) else ()
            lines += self._filled(add(*terms))
            lines.append(Line((self._batch_symbol(adjoint),), (final.value,), note=note))
        elif lines[-1].right != (final.value,):
            lines.append(Line((), (final.value,)))
        yield Lines((*lines, *self._filled(final.value, mean=is_parameter), *self._quotient(adjoint)))

    def _quotient(self, adjoint: Adjoint) -> tuple[Line, ...]:
        """The difference quotient beside the derivative."""
        if self.numbers is None or adjoint.of not in self.numbers.quotients:
            return ()
        quotient = self.numbers.quotients[adjoint.of]
        note: Inline = (say("pages.numbers_quotient"),)
        if quotient.is_kink:
            note = say_inline("pages.kink", left=Value(quotient.left), right=Value(quotient.right))
        return (Line((), (Value(quotient.central),), ABOUT, note),)

    def _batch_loss(self) -> str | None:
        """The name of the batch's loss, the mean of E; None where E is of the batch itself."""
        loss = self.derivation.source.loss
        assert loss is not None
        if not self.system.is_sampled(loss):
            return None
        return fresh_name("L", self.system.tensors)

    def _batch_symbol(self, adjoint: Adjoint) -> Element:
        """∂L/∂w: of the batch's loss, where E is a sample's."""
        batch = self._batch_loss() or self.derivation.source.loss
        return Element(f"d{batch}_d{adjoint.of}", self.system.tensors[adjoint.of].indices)

    def _outer(self, factor: Factor) -> Expr:
        """∂E/∂c: by its name where it has a line of its own, else what was found for it."""
        consumer = self.derivation.adjoint(factor.consumer)
        target = consumer.equation.target
        places = {str(a): b for a, b in zip(target.slots, factor.outer.slots, strict=True)}
        value = consumer.equation.value if consumer.inlined else target
        return substitute(value, places)

    def _named(self, value: Expr) -> Expr:
        """What the forward pass has computed, by its name: p for σ(z)."""
        forward = [(e.target, e.value) for e in self.system.equations]
        return name_forward(value, forward)

    def likewise(self, shown: Adjoint, alike: list[Adjoint]) -> Iterator[Block]:
        """Layers that are alike: the same steps with other names."""
        yield Text(say_inline("pages.likewise", q=self.system.tensors[shown.of].element))
        rows = []
        for adjoint in alike:
            target = adjoint.equation.target
            chained = [f.chained for f in self.chains.used(adjoint.of)]
            if self.system.tensors[adjoint.of].role == "parameter":
                target = self._batch_symbol(adjoint)
            last: Inline = (adjoint.equation.value,)
            if self.numbers is not None:
                last += (EQUALS, Value(self.numbers.value(adjoint.equation.value)))
            rows.append(((target,), (add(*chained),), last))
        header = ((say("pages.quantity"),), (say("pages.chain"),), (say("pages.comes_to"),))
        yield Table(header, tuple(rows))

    # --- the rest

    def update(self, updates: Sequence[Update | Equation]) -> Iterator[Block]:
        yield Heading((say("pages.update"),))
        lines = [u for u in updates if isinstance(u, Update)]
        values = [u for u in updates if not isinstance(u, Update)]
        own = [u for u in lines if isinstance(u.target, Element)]
        rule = [u for u in lines if isinstance(u.target, Symbol)]
        if own:
            yield Lines(tuple(Line((u.target,), (u.value,), BECOMES) for u in own))
        if rule:
            theirs = {u.target.tensor for u in own if isinstance(u.target, Element)}
            names = tuple(p.element for p in self.system.parameters if p.name not in theirs)
            yield Text(say_inline("pages.update_of", names=listed(names)))
            yield Lines(tuple(Line((u.target,), (u.value,), BECOMES) for u in rule))
        if self.system.constraints:
            yield Text((say("pages.update_then"),))
            yield Lines(tuple(Line((u.target,), (u.value,), BECOMES) for u in self.system.constraints))
        if values:
            yield Text((say("pages.update_values"),))
            yield Lines(tuple(Line((u.target,), (u.value,), EQUALS) for u in values))

    def rules_table(self, chosen: Sequence[Adjoint]) -> Iterator[Block]:
        """The rules of differentiation that were used, in the notation."""
        used: dict[str, None] = {}

        def collect(steps: Iterable[Step]) -> None:
            for step in steps:
                used[step.rule] = None
                collect(step.about)

        for adjoint in chosen:
            if adjoint.of not in self.repeats:
                collect(adjoint.steps)
        by_name: dict[str, Rule] = {r.name: r for r in RULES}
        rows = tuple(((rule_name(n),), (by_name[n].of,), (rule_text(by_name[n]),)) for n in used if n in by_name)
        table = Table(((say("pages.rule"),), (say("pages.rule_of"),), (say("pages.rule_gives"),)), rows)
        yield Fold((say("pages.rules"),), (table,))


def rule_text(rule: Rule) -> str:
    """What a rule gives; where that is a sentence, in the reader's language."""
    return _said_of_rule("gives", rule.name, rule.gives)


def _said_of_rule(what: str, name: str, otherwise: str) -> str:
    """The message pages.rule_chain_rule of the rule "chain rule", where there is one."""
    slug = "".join(c if c.isalnum() else "_" for c in name.lower())
    return catalogue(language(), "pages").get(f"{what}_{slug}", otherwise)


def _plain(right: Inline) -> str:
    """A side as text without primes: which of two bound indices is called j' and which j'' says nothing."""
    printer = Unicode()
    return "".join(printer.text(p) if isinstance(p, Expr) else str(p) for p in right).translate(NO_PRIMES)


def _note(factor: Factor) -> Inline:
    """The rule that the outermost step of a factor is by."""
    return (rule_name(factor.steps[-1].rule),) if factor.steps else ()


def _later(adjoint: Adjoint) -> Iterator[tuple[str, Expr]]:
    """How a product is simplified: (rule, what it becomes)."""
    removed = [s for s in adjoint.steps if s.rule == rules.DELTA_REMOVES_SUM.name]
    products = [s for s in adjoint.steps if s.rule == rules.MULTIPLY.name]
    if len(removed) == len(products):
        yield rules.DELTA_REMOVES_SUM.name, add(*(s.after for s in removed))
    for step in adjoint.steps:
        if step.rule in TIDYING:
            yield step.rule, step.after


def _without_repeats(lines: list[Line]) -> list[Line]:
    """Lines without those that say what the one before has said."""
    out: list[Line] = []
    for line in lines:
        if out and _plain(out[-1].right) == _plain(line.right):
            continue
        out.append(line)
    return out


def at_prediction(system: System) -> Iterator[Block]:
    """The equations that hold when predicting, where they are not those of the training."""
    changed = system.changed_at_prediction()
    if changed:
        yield Text((say("pages.at_prediction"),))
        yield Lines(tuple(Line((e.target,), (e.value,)) for e in changed))
