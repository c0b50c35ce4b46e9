"""Text → System. Every error names line and column and draws a caret.

source.py knows the characters, expressions.py the right sides, initial.py the starting values, phases.py what is drawn
and what predicts; here are the statements, all in one file, for each has to know what the others have named. The
grammar:

    size j = 512, i = 784                        sizes of indices
    samples m                                    another name for the sample axis n
    input x[i]                                   also: target, state; then facts about the data, after commas
    input c in v, or: input c[l] in v            class numbers 0 … size(v)-1: one a sample, or one for each l
    label y in k                                 a class number 0 … size(k)-1, as a target
    parameter W[i, j], b[j] = glorot_uniform     an initializer, a number, or nested lists of numbers
    loss C, or: output p                         where the loss is not called E, the prediction not the last output
    eta = 0.01                                   a hyper-parameter and its value
    f(a) = a / (1 + exp(-beta*a))                a scalar function
    h[j] = …                                     an equation
    random m[j] = bernoulli(0.8)                 drawn anew at every step; also uniform(low, high), normal(mu, sigma)
    prediction h[j] = …                          the equation of h that holds instead when predicting
    w[i] <- …, or v <- … and w <- …              updates of one parameter, or of every one (w, its gradient g)
    then w[i] <- …                               what follows the update of a parameter, such as a bound on its norm
"""

# More than 500 lines: the reader of declarations and that of equations share what they know of names and places.
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from chainrule.errors import NotationError, ShapeError, UnknownName
from chainrule.formula.expr import (
    Delta,
    Element,
    Expr,
    Normalized,
    Number,
    Position,
    Reduction,
    Slot,
    Symbol,
    elements,
    free_indices,
    number,
    replace_symbols,
    tensors,
    walk,
)
from chainrule.formula.expressions import EMPTY, MAX_INDICES, MAX_SIZE, RESERVED, Definition, Scope, Vocabulary, near
from chainrule.formula.initial import read_initial
from chainrule.formula.phases import check_predictions, read_prediction, read_random
from chainrule.formula.source import MAX_CHARACTERS, MAX_DIGITS, NAME, Source, Statement
from chainrule.formula.system import Equation, Fact, Initial, System, Tensor, Update
from chainrule.messages import say

__all__ = [
    "EMPTY",
    "MAX_CHARACTERS",
    "Definition",
    "Vocabulary",
    "near",
    "parse_definition",
    "parse_expression",
    "parse_system",
]

_DATA = ("input", "target", "label", "parameter", "state")
SHOWN_CYCLE = 12  # names of a circle that a message shows
DECLARATIONS = ("size", "samples", *_DATA, "loss", "output", "then", "random", "prediction")


def parse_system(text: str, vocabulary: Vocabulary = EMPTY) -> System:
    """Read a whole formula text.

    Raises: FormulaError and its kin, with line, column and caret.
    Example:
    >>> system = parse_system("input x[i]; parameter w[i] = zeros; y = sum[i](w[i] * x[i])".replace("; ", chr(10)))
    >>> [t.name for t in system.parameters], system.output
    (['w'], 'y')
    """
    return _SystemReader(Source(text), vocabulary).read()


def parse_expression(
    text: str, tensors: Mapping[str, Tensor] | None = None, vocabulary: Vocabulary = EMPTY, samples: str = "n"
) -> Expr:
    """Read one expression; bare names are scalar symbols, subscripted ones elements of `tensors`.

    Without `tensors`, any subscripted name is taken as a tensor of those indices.
    """
    source = Source(text)
    source.statements()  # for the brackets, which must be right before Python's parser sees them
    scope = Scope(source, vocabulary, dict(tensors or {}), samples, free_tensors=tensors is None)
    scope.indices |= {index for tensor in (tensors or {}).values() for index in tensor.indices}
    return scope.expression(0, len(source.text))


def parse_definition(definition: Definition, vocabulary: Vocabulary = EMPTY, **values: Expr) -> Expr:
    """The body of a scalar function with its arguments (or `values`) and defaults put in."""
    body = parse_expression(definition.text, None, vocabulary)
    defaults = {name: number(str(value)) for name, value in definition.defaults.items()}
    return replace_symbols(body, {**defaults, **values})


# --- statements -------------------------------------------------------------------------------------------------------

LEFT_SIDE = re.compile(rf"({NAME})(?:\s*\[([^\[\]()]*)\])?$")
FUNCTION_SIDE = re.compile(rf"({NAME})\s*\(([^()\[\]]*)\)$")
DECLARATION = re.compile(rf"\s*({'|'.join(DECLARATIONS)})(?:\s+(?=[^\s=\[(<←])|\s*$)")
LABEL = re.compile(rf"({NAME})\s+in\s+({NAME})$")
CLASS_NUMBERS = re.compile(rf"({NAME})(?:\s*\[([^\[\]()]*)\])?\s+in\s+({NAME})$")
SIZE = re.compile(rf"({NAME})\s*=\s*(-?[0-9]+)$")
PLAIN_NUMBER = re.compile(r"[+-]?\s*(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$")
FACT_SIGN = re.compile(r"<=|>=|(?<!!)==|<|>|(?<!!)=")


@dataclass(frozen=True)
class _Pending:
    """A line whose right side waits until every name is known."""

    target: str
    slots: tuple[Slot, ...] | None  # of a function: None
    offset: int
    right: tuple[int, int]
    arguments: tuple[str, ...] = ()
    random: bool = False


class _SystemReader:
    """Two walks over the statements: first who is there, then what they are."""

    def __init__(self, source: Source, vocabulary: Vocabulary):
        self.source = source
        self.scope = Scope(source, vocabulary, {}, "n")
        self.sizes: dict[str, int] = {}
        self.hyper: dict[str, Fraction] = {}
        self.functions: list[_Pending] = []
        self.equations: list[_Pending] = []
        self.updates: list[_Pending] = []
        self.constraints: list[_Pending] = []
        self.predictions: dict[str, _Pending] = {}
        self.facts: list[tuple[int, int]] = []
        self.chosen: dict[str, tuple[str, int]] = {}
        self.defined: dict[str, int] = {}  # every name of a tensor, a hyper-parameter, a function, and its offset

    def read(self) -> System:
        statements = self.source.statements()
        if not statements:
            raise NotationError(say("formula.empty_text"))
        statements = self._choose_samples(statements)
        for statement in statements:
            self.declare(statement)
        self._keep_indices_apart()
        for pending in self._in_order(self.functions):
            self._read_function(pending)
        equations = [self._read_equation(pending) for pending in self._in_order(self.equations)]
        system = System(
            tensors=self._ordered_tensors(equations),
            equations=tuple(equations),
            predictions=tuple(self._read_prediction(p) for p in self.predictions.values()),
            updates=tuple(self._read_update(u) for u in self.updates),
            constraints=tuple(self._read_constraint(u) for u in self.constraints),
            facts=tuple(f for piece in self.facts for f in self._read_facts(piece)),
            sizes=self.sizes,
            hyper=self.hyper,
            samples=self.scope.samples,
            text=self.source.typed,
        )
        system = self._choose_loss_and_output(system)
        check_predictions(self.source, system, {n: p.offset for n, p in self.predictions.items()})
        return system

    # first walk

    def _choose_samples(self, statements: list[Statement]) -> list[Statement]:
        """Reads the line `samples m`, for any tensor gets that axis, and leaves the others."""
        found: str | None = None
        others = []
        for statement in statements:
            match = DECLARATION.match(statement.text)
            if not match or match[1] != "samples":
                others.append(statement)
                continue
            start, end = self.source.strip((statement.start + match.end(), statement.end))
            if not re.fullmatch(NAME, self.source.text[start:end]):
                raise self.source.fail(NotationError, start, "samples_line")
            if found is not None:
                raise self.source.fail(NotationError, start, "said_twice", keyword="samples")
            found = self._index(start, self.source.text[start:end])
        if found is not None:
            self.scope.indices -= {"n"} - self.source.index_names()
            self.scope.indices.add(found)
            self.scope.samples = found
        return others

    def declare(self, statement: Statement) -> None:
        match = DECLARATION.match(statement.text)
        if match:
            body = (statement.start + match.end(), statement.end)
            getattr(self, f"_declare_{match[1]}", self._declare_tensors)(match[1], body)
            return
        for separator, kind in (("<-", self.updates), ("←", self.updates), ("=", self.equations)):
            pieces = self.source.split(statement.start, statement.end, separator)
            if len(pieces) == 1:
                continue
            second = self.source.split(*pieces[1], "=")
            if len(pieces) > 2 or len(second) > 1:
                offset = pieces[1][1] if len(pieces) > 2 else second[0][1]
                raise self.source.fail(NotationError, offset, "two_equal_signs")
            self._declare_line(pieces[0], pieces[1], kind)
            return
        start, _ = self.source.strip((statement.start, statement.end))
        self.source.check_tokens(*self.source.strip((statement.start, statement.end)))
        raise self.source.fail(NotationError, start, "not_a_statement")

    def _index(self, offset: int, token: str) -> str:
        """A name that may be an index."""
        name = self.source.name(offset, token)
        if name in RESERVED:
            raise self.source.fail(NotationError, offset, "reserved_name", name=name)
        return name

    def _define(self, offset: int, token: str) -> str:
        """A name that stands for one thing only from now on."""
        name = self._index(offset, token)
        if name in self.defined:
            line = self.source.place(self.defined[name]).line
            raise self.source.fail(NotationError, offset, "defined_twice", name=name, line=line)
        self.defined[name] = offset
        return name

    def _declare_size(self, _: str, body: tuple[int, int]) -> None:
        for piece in self.source.split(*body, ","):
            start, end = self.source.strip(piece)
            match = SIZE.match(self.source.text[start:end])
            if not match:
                raise self.source.fail(NotationError, start, "size_line")
            name, size = self._index(start, match[1]), match[2]
            self.scope.indices.add(name)
            if len(size) > MAX_DIGITS or not 1 <= int(size) <= MAX_SIZE:
                raise self.source.fail(
                    ShapeError, start, "size_out_of_range", index=name, came=size[:20], limit=MAX_SIZE
                )
            if self.sizes.get(name, int(size)) != int(size):
                raise self.source.fail(ShapeError, start, "two_sizes", index=name, first=self.sizes[name], second=size)
            self.sizes[name] = int(size)

    def _declare_loss(self, keyword: str, body: tuple[int, int]) -> None:
        start, end = self.source.strip(body)
        if not re.fullmatch(NAME, self.source.text[start:end]):
            raise self.source.fail(NotationError, start, "name_expected", keyword=keyword)
        if keyword in self.chosen:
            raise self.source.fail(NotationError, start, "said_twice", keyword=keyword)
        self.chosen[keyword] = (self.source.name(start, self.source.text[start:end]), start)

    _declare_output = _declare_loss

    def _declare_then(self, keyword: str, body: tuple[int, int]) -> None:
        for arrow in ("<-", "←"):
            sides = self.source.split(*body, arrow)
            if len(sides) == 2:
                self._declare_line(sides[0], sides[1], self.constraints)
                return
        raise self.source.fail(NotationError, self.source.strip(body)[0], "then_line")

    def _declare_random(self, _: str, body: tuple[int, int]) -> None:
        start, slots, right = self._sides("random_statement", body)
        indices = tuple(s for s in slots if isinstance(s, str))
        name = self._define(start, self.source.text[start : self._end_of_name(start)])
        if len(indices) != len(slots):
            raise self.source.fail(NotationError, start, "fixed_index_on_the_left", name=name)
        if self.scope.samples in indices:
            raise self.source.fail(ShapeError, start, "sample_axis_declared", index=self.scope.samples)
        self._new_tensor(start, Tensor(name, "computed", (self.scope.samples, *indices)))
        self.equations.append(_Pending(name, slots, start, right, random=True))

    def _declare_prediction(self, _: str, body: tuple[int, int]) -> None:
        start, slots, right = self._sides("prediction_statement", body)
        name = self._index(start, self.source.text[start : self._end_of_name(start)])
        if name in self.predictions:
            line = self.source.place(self.predictions[name].offset).line
            raise self.source.fail(NotationError, start, "defined_twice", name=name, line=line)
        self.predictions[name] = _Pending(name, slots, start, right)

    def _sides(self, otherwise: str, body: tuple[int, int]) -> tuple[int, tuple[Slot, ...], tuple[int, int]]:
        """Where the left side begins, its slots, and the right side of `random m[j] = …` and `prediction h[j] = …`."""
        sides = self.source.split(*body, "=")
        start, end = self.source.strip(sides[0])
        match = LEFT_SIDE.match(self.source.text[start:end])
        if len(sides) != 2 or match is None:
            raise self.source.fail(NotationError, start, otherwise)
        return start, self._slots_of(start + match.start(2), match[2]), sides[1]

    def _end_of_name(self, start: int) -> int:
        match = re.compile(NAME).match(self.source.text, start)
        assert match is not None
        return match.end()

    def _declare_label(self, _: str, body: tuple[int, int]) -> None:
        start, end = self.source.strip(body)
        match = LABEL.match(self.source.text[start:end])
        if not match:
            raise self.source.fail(NotationError, start, "label_line")
        classes = self._index(start + match.start(2), match[2])
        self.scope.indices.add(classes)
        name = self._define(start, match[1])
        self._new_tensor(start, Tensor(name, "label", (self.scope.samples,), classes=classes))

    def _declare_tensors(self, keyword: str, body: tuple[int, int]) -> None:
        pieces = self.source.split(*body, ",")
        initial: Initial | None = None
        if keyword in ("parameter", "state"):
            sides = self.source.split(*body, "=")
            if len(sides) > 2:
                raise self.source.fail(NotationError, sides[1][1], "two_equal_signs")
            pieces = self.source.split(*sides[0], ",")
            initial = Initial("zeros" if keyword == "state" else None)
            if len(sides) == 2:
                initial = read_initial(self.source, self.scope.vocabulary, *self.source.strip(sides[1]))
        for position, piece in enumerate(pieces):
            start, end = self.source.strip(piece)
            match = LEFT_SIDE.match(self.source.text[start:end])
            if match:
                self._declare_tensor(keyword, start, match, initial)
            elif keyword == "input" and (match := CLASS_NUMBERS.match(self.source.text[start:end])):
                self._declare_tensor(keyword, start, match, initial, self._index(start + match.start(3), match[3]))
            elif position > 0 and keyword in ("input", "target") and FACT_SIGN.search(self.source.text[start:end]):
                self.facts.append((start, end))
            else:
                raise self.source.fail(NotationError, start, "declaration_line", keyword=keyword)

    def _declare_tensor(
        self, role: str, start: int, match: re.Match[str], initial: Initial | None, classes: str | None = None
    ) -> None:
        slots = self._slots_of(start + match.start(2), match[2])
        indices = tuple(s for s in slots if isinstance(s, str))
        if len(indices) != len(slots):
            raise self.source.fail(NotationError, start, "fixed_index_on_the_left", name=match[1])
        if self.scope.samples in indices:
            raise self.source.fail(ShapeError, start, "sample_axis_declared", index=self.scope.samples)
        if role in ("input", "target"):
            indices = (self.scope.samples, *indices)
        if classes is not None:
            if classes == self.scope.samples:
                raise self.source.fail(ShapeError, start, "sample_axis_declared", index=classes)
            self.scope.indices.add(classes)
        self._new_tensor(start, Tensor(self._define(start, match[1]), role, indices, initial, classes))

    def _slots_of(self, offset: int, text: str | None) -> tuple[Slot, ...]:
        if text is None:
            return ()
        slots: list[Slot] = []
        for part in text.split(","):
            token = part.strip()
            start = offset + len(part) - len(part.lstrip())
            if re.fullmatch(r"[0-9]{1,10}", token):
                slots.append(int(token))
            elif re.fullmatch(NAME, token):
                slots.append(self._index(start, token))
            else:
                raise self.source.fail(NotationError, start, "index_is_a_name")
            offset += len(part) + 1
        if len(slots) > MAX_INDICES:
            raise self.source.fail(NotationError, offset - 1, "too_many_indices", limit=MAX_INDICES)
        return tuple(slots)

    def _new_tensor(self, offset: int, tensor: Tensor) -> None:
        if len(set(tensor.indices)) != len(tensor.indices):
            raise self.source.fail(ShapeError, offset, "index_twice_on_the_left", name=tensor.name)
        self.scope.tensors[tensor.name] = replace(tensor, place=self.source.place(offset))

    def _declare_line(self, left: tuple[int, int], right: tuple[int, int], kind: list[_Pending]) -> None:
        start, end = self.source.strip(left)
        text = self.source.text[start:end]
        if kind is self.equations and (match := FUNCTION_SIDE.match(text)):
            self._declare_function(start, match, right)
            return
        match = LEFT_SIDE.match(text)
        if not match:
            self.source.check_tokens(start, end)
            raise self.source.fail(NotationError, start, "left_side")
        slots = self._slots_of(start + match.start(2), match[2])
        if kind is not self.equations:
            given = None if match[2] is None else slots
            kind.append(_Pending(self._index(start, match[1]), given, start, right))
            return
        name = self._define(start, match[1])
        if match[2] is None and (value := self._plain_number(right)) is not None:
            self.hyper[name] = value
            return
        indices = tuple(s for s in slots if isinstance(s, str))
        if len(indices) != len(slots):
            raise self.source.fail(NotationError, start, "fixed_index_on_the_left", name=name)
        if self.scope.samples in indices[1:]:
            raise self.source.fail(ShapeError, start, "sample_axis_first", index=self.scope.samples)
        self._new_tensor(start, Tensor(name, "computed", indices))
        self.equations.append(_Pending(name, slots, start, right))

    def _plain_number(self, piece: tuple[int, int]) -> Fraction | None:
        start, end = self.source.strip(piece)
        # The limit keeps the pattern from trying every way to split a line of digits.
        if end - start > 2 * MAX_DIGITS or not PLAIN_NUMBER.match(self.source.text[start:end]):
            return None
        value = self.scope.expression(start, end)
        return value.value if isinstance(value, Number) else None

    def _declare_function(self, offset: int, match: re.Match[str], right: tuple[int, int]) -> None:
        name = self._define(offset, match[1])
        start = offset + match.start(2)
        arguments: list[str] = []
        for part in match[2].split(","):
            if not re.fullmatch(NAME, part.strip()):
                raise self.source.fail(NotationError, start, "function_arguments", name=name)
            arguments.append(self._index(start + len(part) - len(part.lstrip()), part.strip()))
            start += len(part) + 1
        if len(set(arguments)) != len(arguments):
            raise self.source.fail(NotationError, offset, "function_arguments", name=name)
        self.functions.append(_Pending(name, None, offset, right, tuple(arguments)))

    # second walk

    def _keep_indices_apart(self) -> None:
        """A name is an index everywhere or nowhere, else its meaning would depend on the order of the lines."""
        undefined = (*self.updates, *self.constraints, *self.predictions.values())
        names = [*self.defined.items(), *((u.target, u.offset) for u in undefined)]
        for name, offset in names:
            if name == self.scope.samples:
                raise self.source.fail(NotationError, offset, "sample_axis_name", name=name)
            if name in self.scope.indices:
                raise self.source.fail(NotationError, offset, "name_is_index", name=name)

    def _in_order(self, lines: list[_Pending]) -> list[_Pending]:
        """The order of the text, with what a line needs moved in front of it."""
        by_name = {p.target: p for p in lines}
        needs = {p.target: self._needs(p) & by_name.keys() for p in lines}
        done: dict[str, None] = {}
        for line in lines:
            path = {line.target: iter(sorted(needs[line.target], key=lambda n: by_name[n].offset))}
            while path:
                name, waiting = next(reversed(path.items()))
                needed = next((n for n in waiting if n not in done), None)
                if needed is None:
                    done[name] = None
                    del path[name]
                elif needed in path:
                    cycle = [*list(path)[list(path).index(needed) :], needed]
                    cycle = cycle if len(cycle) <= SHOWN_CYCLE else [*cycle[: SHOWN_CYCLE - 2], "…", needed]
                    raise self.source.fail(NotationError, by_name[needed].offset, "cycle", path=" → ".join(cycle))
                else:
                    path[needed] = iter(sorted(needs[needed], key=lambda n: by_name[n].offset))
        return [by_name[name] for name in done]

    def _needs(self, pending: _Pending) -> set[str]:
        return self.source.names_in(*pending.right) - set(pending.arguments)

    def _read_function(self, pending: _Pending) -> None:
        self.scope.arguments = pending.arguments
        body = self.scope.expression(*pending.right)
        self.scope.arguments = ()
        scalars = {t.name for t in self.scope.tensors.values() if t.role == "parameter" and not t.indices}
        indexed = any(isinstance(node, Reduction | Normalized | Position | Delta) for node in walk(body))
        if indexed or any(e.tensor not in scalars for e in elements(body)):
            offset = self.source.strip(pending.right)[0]
            raise self.source.fail(NotationError, offset, "function_with_tensor", name=pending.target)
        self.scope.functions[pending.target] = (pending.arguments, body)

    def _read_equation(self, pending: _Pending) -> Equation:
        own = self.scope.tensors[pending.target]
        if pending.random:
            return Equation(own.element, read_random(self.scope, own, pending.right, self.hyper), own.place)
        value = self.scope.expression(*pending.right)
        samples = self.scope.samples
        free = free_indices(value)
        indices = own.indices
        if samples in free and samples not in indices:
            indices = (samples, *indices)
            self.scope.tensors[own.name] = replace(own, indices=indices)
        self._fail_on_silent_sum(pending, sorted(free - set(indices)), [i for i in own.indices if i != samples])
        return Equation(Element(own.name, indices), value, own.place)

    def _read_prediction(self, pending: _Pending) -> Equation:
        return read_prediction(self.scope, pending.target, pending.offset, pending.slots or (), pending.right)

    def _fail_on_silent_sum(self, pending: _Pending, loose: list[str], left: Iterable[Slot]) -> None:
        if loose:
            shown = f"{pending.target}[{', '.join(map(str, left))}]" if left else pending.target
            offset = self._offset_of_index(loose[0], pending.right)
            raise self.source.fail(ShapeError, offset, "silent_sum", index=loose[0], left=shown)

    def _offset_of_index(self, index: str, piece: tuple[int, int]) -> int:
        """Where an index stands on a right side: its last mention, for a sum over it may stand before."""
        found = [o for o, t in self.source.tokens(*piece) if t == index]
        return found[-1] if found else self.source.strip(piece)[0]

    def _read_update(self, pending: _Pending) -> Update:
        tensor = self.scope.tensors.get(pending.target)
        place = self.source.place(pending.offset)
        if tensor is None:
            if pending.slots is not None:
                candidates = [t.name for t in self.scope.tensors.values() if t.role in ("parameter", "state")]
                hint = near(pending.target, candidates)
                raise self.source.fail(UnknownName, pending.offset, "update_of_unknown", name=pending.target, near=hint)
            self.scope.in_rule = True
            value = self.scope.expression(*pending.right)
            self.scope.in_rule = False
            self._fail_on_silent_sum(pending, sorted(free_indices(value) - {self.scope.samples}), ())
            return Update(Symbol(pending.target), value, place)
        if tensor.role not in ("parameter", "state"):
            raise self.source.fail(NotationError, pending.offset, "update_of_role", name=tensor.name, role=tensor.role)
        slots = pending.slots or ()
        if any(isinstance(s, int) for s in slots) or len(set(slots)) != len(slots):
            raise self.source.fail(NotationError, pending.offset, "fixed_index_on_the_left", name=tensor.name)
        if self.scope.samples in slots:
            raise self.source.fail(
                ShapeError, pending.offset, "sample_axis_as_index", index=self.scope.samples, name=tensor.name
            )
        if len(slots) != len(tensor.indices):
            raise self.source.fail(
                ShapeError,
                pending.offset,
                "wrong_index_count",
                name=tensor.name,
                came=len(slots),
                wanted=len(tensor.indices),
                example=f"{tensor.name}[{', '.join(tensor.indices)}]" if tensor.indices else tensor.name,
            )
        value = self.scope.expression(*pending.right)
        self._fail_on_silent_sum(pending, sorted(free_indices(value) - set(slots) - {self.scope.samples}), slots)
        return Update(Element(tensor.name, slots), value, place)

    def _read_constraint(self, pending: _Pending) -> Update:
        """A line that runs after its parameter's update, whichever rule made that."""
        update = self._read_update(pending)
        if isinstance(update.target, Symbol) or self.scope.tensors[update.target.tensor].role != "parameter":
            raise self.source.fail(NotationError, pending.offset, "then_without_parameter", name=pending.target)
        return update

    def _read_facts(self, piece: tuple[int, int]) -> list[Fact]:
        text = self.source.text[slice(*piece)]
        cuts, depth = [], 0
        for match in re.finditer(r"[(\[]|[)\]]|<=|>=|(?<!!)==|<|>|(?<!!)=", text):
            depth += (match[0] in "([") - (match[0] in ")]")
            if depth == 0 and match[0] not in ")]":
                cuts.append(match)
        edges = [0, *(m.end() for m in cuts)]
        ends = [*(m.start() for m in cuts), len(text)]
        sides = [self.scope.expression(piece[0] + a, piece[0] + b) for a, b in zip(edges, ends, strict=True)]
        place = self.source.place(piece[0])
        signs = ["==" if m[0] == "=" else m[0] for m in cuts]
        return [Fact(a, s, b, place) for a, s, b in zip(sides, signs, sides[1:], strict=False)]

    def _ordered_tensors(self, equations: Iterable[Equation]) -> dict[str, Tensor]:
        declared = {n: t for n, t in self.scope.tensors.items() if t.role != "computed"}
        return declared | {e.target.tensor: self.scope.tensors[e.target.tensor] for e in equations}

    def _choose_loss_and_output(self, system: System) -> System:
        computed = [e.target.tensor for e in system.equations]
        for keyword, (name, offset) in self.chosen.items():
            if name not in computed:
                hint = near(name, computed)
                raise self.source.fail(UnknownName, offset, "not_computed", keyword=keyword, name=name, near=hint)
        loss = self.chosen["loss"][0] if "loss" in self.chosen else "E" if "E" in computed else None
        if loss is not None:
            own = [i for i in system.tensors[loss].indices if i != system.samples]
            if own:
                place = system.tensors[loss].place
                raise ShapeError(say("formula.loss_has_index", name=loss, index=", ".join(own)), place)
        if "output" in self.chosen:
            return system.with_(loss=loss, output=self.chosen["output"][0])
        # The order of the text, not of the dependencies: the last line that a prediction can come from.
        blind = self._computed_without_targets(system)
        lines = [p.target for p in self.equations if p.target != loss and p.target in blind]
        feeding = system.depends_on(loss) if loss else set(lines)
        outputs = [n for n in lines if n in feeding] or lines
        return system.with_(loss=loss, output=outputs[-1] if outputs else None)

    def _computed_without_targets(self, system: System) -> set[str]:
        seeing = {t.name for t in system.of_role("target", "label")}
        for equation in system.equations:  # in the order of dependence
            if seeing & set(tensors(equation.value)):
                seeing.add(equation.target.tensor)
        return {e.target.tensor for e in system.equations} - seeing
