"""Expression → NumPy: the dialect of the printer in which a formula is a line of Python.

Every sub-expression is an array whose axes follow `axes`, the indices of what is being computed: an element that has
them all is its name, one that lacks an inner one gets a None there, x[:, None]. A sum of products is a matrix product
where it is one, x @ W, an einsum where it is more than that, and otherwise the sum of an array along an axis. Where
there is a choice, the shorter text wins.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction

from chainrule.formula.distributions import number_of_name
from chainrule.formula.expr import (
    Add,
    Apply,
    Compare,
    Delta,
    Draw,
    Element,
    Expr,
    Mul,
    Number,
    Position,
    Power,
    Reduction,
    Size,
    Slot,
    Symbol,
    Where,
    elements,
    free_indices,
    mul,
    split_coefficient,
    walk,
)
from chainrule.formula.text import ATOM, PI, POWER, PRODUCT, UNARY, Printer, means_in, split_product

FLOATS = {"float64": "float", "float32": "np.float32"}  # dtype → what a person calls it

# Of arrays; `math` has those of plain numbers, whose results do not turn float32 arrays into float64 ones.
ARRAY_FUNCTIONS = {
    **{name: f"np.{name}" for name in ("exp", "log", "log1p", "expm1", "sin", "cos", "tanh", "abs", "sign", "floor")},
    **{name: name for name in ("sigmoid", "softplus", "erf")},  # write.py adds these where they are used
    "max": "np.maximum",
    "min": "np.minimum",
}
NUMBER_FUNCTIONS = {
    **{name: f"math.{name}" for name in ("exp", "log", "log1p", "expm1", "sin", "cos", "tanh", "erf", "floor")},
    **{name: name for name in ("abs", "max", "min")},
}
SIMPLE = re.compile(r"[\w.]+")  # around ** no spaces, as formatters have it
MAX_REORDERED = 5  # axes of a sum whose orders are all tried: 120 at most


def is_number(expr: Expr) -> bool:
    """Whether an expression is a plain number in the program: no tensor, no index."""
    return not elements(expr) and not free_indices(expr) and not any(isinstance(n, Reduction) for n in walk(expr))


class NumpyPrinter(Printer):
    """Writes expressions. `names` are Python's for tensors and symbols, `size` gives the text of an index's size.

    `wide` names the vectors that the program keeps as columns, (N, 1), because all that uses them wants them so.
    """

    def __init__(self, names: Mapping[str, str], size: Callable[[str], str], labels: Collection[str], dtype: str):
        super().__init__("")
        self.names, self.size_of, self.labels = names, size, labels
        self.float = FLOATS[dtype]
        self.wide: set[str] = set()
        self.axes: tuple[str, ...] = ()

    # --- a whole right-hand side

    def assigned(self, expr: Expr, axes: tuple[str, ...]) -> str:
        """The array with exactly these axes."""
        self.axes = axes
        text = self._real(expr)[0]
        if is_number(expr):
            return f"np.full({self.shape(axes)}, {text}, dtype={self.float})"
        if free_indices(expr) != set(axes):
            return f"np.broadcast_to({text}, {self.shape(axes)})"
        return text

    def column(self, expr: Expr, axes: tuple[str, ...]) -> str:
        """The same with one more axis of length 1 at its end."""
        self.axes = (*axes, "")
        text = self._real(expr)[0]
        return text if free_indices(expr) == set(axes) else f"{self.assigned(expr, axes)}[..., None]"

    def broken(self, expr: Add, axes: tuple[str, ...]) -> list[str]:
        """A long sum, a line for each term."""
        self.axes = axes
        return [t.strip() for t in self._terms(expr.terms)]

    def shape(self, axes: Sequence[str]) -> str:
        sizes = [self.size_of(a) for a in axes]
        return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"

    # --- what a text is: an array of floats, of truth values or of whole numbers, or a plain number

    def _kind(self, expr: Expr) -> str:
        if is_number(expr):
            return "number"
        match expr:
            case Position():
                return "whole"
            case Element(tensor, _) if tensor in self.labels:
                return "whole"
            case Compare() | Delta() | Apply("step", _):
                return "truth"
            case Mul(factors) if all(self._kind(f) == "truth" for f in factors):
                return "truth"
        return "array"

    def _real(self, expr: Expr) -> tuple[str, int]:
        """To compute with: the sum of two truth values is not one, and bytes overflow."""
        if isinstance(expr, Position):
            return self._placed(f"np.arange({self.size_of(expr.index)}, dtype={self.float})", ATOM, (expr.index,))
        text, strength = self._print(expr)
        if self._kind(expr) in ("array", "number"):
            return text, strength
        return f"{text if strength == ATOM else self._brackets(text)}.astype({self.float})", ATOM

    def _within(self, expr: Expr, strength: int) -> str:
        text, own = self._real(expr)
        return text if own >= strength else self._brackets(text)

    # --- nodes

    def _print(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Position(index):
                return self._placed(f"np.arange({self.size_of(index)})", ATOM, (index,))
            case Delta(left, right):
                sides = [str(s) if isinstance(s, int) else self._print(Position(s))[0] for s in (left, right)]
                return f"({sides[0]} == {sides[1]})", ATOM
            case Compare(operator, left, right):
                return f"({self.text(left)} {operator} {self.text(right)})", ATOM
            case Draw(tensor, number, slots):
                axes = tuple(map(str, slots))
                drawn = f"even({self.shape(axes)}, seed, step, {number_of_name(tensor):#018x}, {number})"
                return self._placed(drawn, ATOM, axes)
        return super()._print(expr)

    def _number(self, value: Fraction) -> tuple[str, int]:
        if value == PI:
            return "np.pi", ATOM
        if value.denominator == 1 and abs(value) < 2**53:
            return str(value.numerator), UNARY if value < 0 else ATOM
        shown = repr(float(value))
        if Fraction(shown) != value and value.denominator < 10**4 and abs(value.numerator) < 10**4:
            return f"{value.numerator} / {value.denominator}", PRODUCT
        return shown, UNARY if value < 0 else ATOM

    def _symbol(self, name: str) -> tuple[str, int]:
        return self.names.get(f"hyper {name}", name), ATOM

    def _size(self, index: str) -> str:
        return self.size_of(index)

    def _terms(self, terms: Iterable[Expr]) -> list[str]:
        first, *rest = terms
        # sqrt(v) + epsilon, not epsilon + sqrt(v); but 1 - p stays.
        named = is_number(first) and any(isinstance(n, Symbol) for n in walk(first))
        if named and split_coefficient(first)[0] > 0 and split_coefficient(rest[0])[0] > 0 and not is_number(rest[0]):
            return super()._terms([*rest, first])
        return super()._terms([first, *rest])

    def _power(self, expr: Power) -> tuple[str, int]:
        match expr.exponent:
            case Number(Fraction(numerator=1, denominator=2)):
                return f"{'math' if is_number(expr.base) else 'np'}.sqrt({self._real(expr.base)[0]})", ATOM
            case Number(value) if value < 0:
                return self._product((expr,))
        base, exponent = self._within(expr.base, ATOM), self._within(expr.exponent, ATOM)
        simple = SIMPLE.fullmatch(base) and SIMPLE.fullmatch(exponent)
        return f"{base}**{exponent}" if simple else f"{base} ** {exponent}", POWER

    def _apply(self, function: str, arguments: tuple[Expr, ...]) -> tuple[str, int]:
        texts = [self._real(a)[0] for a in arguments]
        if function == "step":
            return f"({texts[0]} > 0)", ATOM
        if function == "relu":
            function, texts = "max", [*texts, "0"]
        plain = all(is_number(a) for a in arguments)
        if plain and function in NUMBER_FUNCTIONS:
            return f"{NUMBER_FUNCTIONS[function]}({', '.join(texts)})", ATOM
        called = f"{ARRAY_FUNCTIONS[function]}({', '.join(texts)})"
        return (f"float({called})" if plain else called), ATOM

    def _where(self, expr: Where) -> tuple[str, int]:
        yes, no = self._real(expr.yes)[0], self._real(expr.no)[0]
        if is_number(expr):
            return f"({yes} if {self._condition(expr.condition)} else {no})", ATOM
        text = f"np.where({self._condition(expr.condition)}, {yes}, {no})"
        # Two plain numbers would make an array of integers, or of float64.
        return (f"{text}.astype({self.float})" if is_number(expr.yes) and is_number(expr.no) else text), ATOM

    def _condition(self, expr: Expr) -> str:
        match expr:
            case Compare(operator, left, right):
                return f"{self.text(left)} {operator} {self.text(right)}"
            case Mul(factors) if self._kind(expr) == "truth":
                return " & ".join(self.text(f) for f in factors)
        return self.text(expr)[1:-1] if self._kind(expr) == "truth" else f"{self._real(expr)[0]} != 0"

    # --- products

    def _product(self, factors: tuple[Expr, ...]) -> tuple[str, int]:
        if len(factors) > 1 and all(self._kind(f) == "truth" for f in factors):
            return " * ".join(self.text(f) for f in factors), PRODUCT
        means = [(r, own) for r, own in means_in(factors) if self._contraction(r) is None]
        sizes = [size for _, own in means for size in own]
        sign, above, below = split_product([f for f in factors if f not in sizes])
        above, below = self._quotient(above, below)
        above = self._truths_last(sign, above)
        texts = [self._mean(f) if any(f == r for r, _ in means) else self._factor(f, sign, above) for f in above]
        text = " / ".join([sign + (" * ".join(texts) or "1"), *(self._within(f, POWER) for f in below)])
        alone = len(factors) == 1 + len(sizes) and bool(means)
        return text, ATOM if alone else PRODUCT

    def _quotient(self, above: list[Expr], below: list[Expr]) -> tuple[list[Expr], list[Expr]]:
        """1/2*u is u / 2, and 2/3*u is 2 * u / 3; a decimal stays."""
        match above:
            case [Number(value), *rest] if 1 < value.denominator < 10 and value.numerator < 10 and rest:
                over = [] if value.numerator == 1 else [Number(Fraction(value.numerator))]
                return [*over, *rest], [Number(Fraction(value.denominator)), *below]
        return above, below

    def _truths_last(self, sign: str, above: list[Expr]) -> list[Expr]:
        """A number times a truth value is no float32, and minus a truth value nothing at all: an array goes between."""
        kinds = [self._kind(f) for f in above]
        if "truth" not in kinds or not (sign or "number" in kinds):
            return above
        rank = {"number": 0, "array": 1, "whole": 1, "truth": 2}
        return [f for _, f in sorted(zip(kinds, above, strict=True), key=lambda pair: rank[pair[0]])]

    def _factor(self, factor: Expr, sign: str, above: list[Expr]) -> str:
        first = factor is above[0]
        if self._kind(factor) == "truth":
            floats = any(self._kind(f) in ("array", "whole") for f in above)
            return (
                self.text(factor)
                if floats or (not first and self._kind(above[0]) == "truth")
                else self._cast(factor, above)
            )
        matrix = isinstance(factor, Reduction) and "@" in (self._contraction(factor) or ("",))[0]
        alone = first and not sign and (len(above) == 1 or not matrix)
        return self._within(factor, PRODUCT if alone else UNARY)

    def _cast(self, factor: Expr, above: list[Expr]) -> str:
        truths = [f for f in above if self._kind(f) == "truth"]
        return self._real(factor)[0] if factor is truths[0] else self.text(factor)

    # --- elements

    def _element(self, tensor: str, slots: tuple[Slot, ...]) -> tuple[str, int]:
        name = self.names[tensor]
        if tensor in self.wide:
            if self.axes[-len(slots) - 1 : -1] == slots and self.axes[-1] not in slots:
                return name, ATOM
            slots = (*slots, 0)
        names = [str(s) for s in slots if not isinstance(s, int)]
        wanted = [a for a in self.axes if a in names]
        if names == wanted:
            return name + self._brackets_of(slots, wanted), ATOM
        text = name + _fixed(slots)
        if len(set(names)) < len(names):
            if len(names) == 2:
                text = f"{text}.diagonal()"
            else:
                letters = _letters(names)
                ends = "".join(letters[a] for a in names), "".join(letters[a] for a in wanted)
                text = f'np.einsum("{ends[0]}->{ends[1]}", {text})'
        elif len(names) == 2:
            text = f"{text}.T"
        else:
            text = f"{text}.transpose({', '.join(str(names.index(a)) for a in wanted)})"
        return self._placed(text, ATOM, tuple(wanted))

    def _tail(self, first: str) -> tuple[str, ...]:
        return self.axes[self.axes.index(first) :]

    def _brackets_of(self, slots: Sequence[Slot], wanted: Sequence[str]) -> str:
        """[:, None, 0]: a None for every axis that is not there, a number for every fixed slot."""
        tokens = []
        missing = list(self._tail(wanted[0])) if wanted else []
        for slot in slots:
            if isinstance(slot, int):
                tokens.append(str(slot))
                continue
            while missing[0] != slot:
                tokens.append("None")
                missing.pop(0)
            tokens.append(":")
            missing.pop(0)
        tokens += ["None"] * len(missing)
        while tokens and tokens[-1] == ":":
            tokens.pop()
        return f"[{', '.join(tokens)}]" if tokens else ""

    def _placed(self, text: str, strength: int, own: tuple[str, ...]) -> tuple[str, int]:
        """A text with the axes `own`, in their order here, brought among `axes`."""
        indexing = self._brackets_of(own, own)
        if not indexing:
            return text, strength
        return (text if strength == ATOM else self._brackets(text)) + indexing, ATOM

    # --- sums

    def _reduction(self, expr: Reduction) -> tuple[str, int]:
        return self._reduced(expr, "sum" if expr.kind == "sum" else expr.kind)

    def _mean(self, expr: Expr) -> str:
        assert isinstance(expr, Reduction)
        return self._reduced(expr, "mean")[0]

    def _reduced(self, expr: Reduction, word: str) -> tuple[str, int]:
        free = free_indices(expr.body)
        absent = [i for i in expr.indices if i not in free]
        if absent:
            return self._without(expr, absent)
        found = self._contraction(expr)
        if found is not None:
            return self._placed(found[0], found[1], self._kept(expr))
        return min((self._along(expr, word, order) for order in self._orders(expr)), key=_plainness)

    def _without(self, expr: Reduction, absent: list[str]) -> tuple[str, int]:
        """The same over the indices that the body has: Σ_i c = size(i) c, and the largest of equals is any."""
        rest = tuple(i for i in expr.indices if i not in absent)
        inner = Reduction(expr.kind, rest, expr.body) if rest else expr.body
        match expr.kind:
            case "sum":
                return self._print(mul(*(Size(i) for i in absent), inner))
            case "logsumexp":
                return self._print(Add((inner, *(Apply("log", (Size(i),)) for i in absent))))
        return self._real(inner)

    def _kept(self, expr: Reduction) -> tuple[str, ...]:
        free = free_indices(expr)
        return tuple(a for a in self.axes if a in free)

    def _orders(self, expr: Reduction) -> list[tuple[str, ...]]:
        """The orders of the body's axes that leave those kept in theirs."""
        kept = self._kept(expr)
        every = (*kept, *expr.indices)
        if len(every) > MAX_REORDERED:
            return [every]
        return [o for o in itertools.permutations(every) if tuple(a for a in o if a in kept) == kept]

    def _along(self, expr: Reduction, word: str, order: tuple[str, ...]) -> tuple[str, int]:
        kept = self._kept(expr)
        with _Axes(self, order):
            body = self._within(expr.body, ATOM)
            bare = self._real(expr.body)[0]
        places = [str(order.index(i)) for i in expr.indices]
        axis = "" if not kept else f"axis={places[0]}" if len(places) == 1 else f"axis=({', '.join(sorted(places))})"
        tail = self.axes[-len(order) :]
        stays = len(tail) == len(order) and all(
            (a == b) if a in kept else b not in kept for a, b in zip(order, tail, strict=True)
        )
        widened = stays and bool(kept) and self._brackets_of(kept, kept) != ""
        if widened:
            axis += ", keepdims=True"
        if word == "logsumexp":
            text = f"np.logaddexp.reduce({bare}, {axis or f'axis={tuple(range(len(order)))}'})"
        else:
            text = f"{body}.{word}({axis})"
        return (text, ATOM) if widened else self._placed(text, ATOM, kept)

    def _contraction(self, expr: Reduction) -> tuple[str, int] | None:
        """A sum of products as a matrix product or an einsum, over the axes that it keeps; None where it is neither."""
        if expr.kind != "sum" or not isinstance(expr.body, Mul) or any(is_number(f) for f in expr.body.factors):
            return None
        if not set(expr.indices) <= free_indices(expr.body):
            return None
        product = self._matrix_product(expr, expr.body.factors)
        if product is not None:
            return product, PRODUCT
        everywhere = free_indices(expr.body)
        if all(free_indices(f) == everywhere for f in expr.body.factors):
            return None
        return self._einsum(expr, expr.body.factors), ATOM

    def _matrix_product(self, expr: Reduction, factors: Sequence[Expr]) -> str | None:
        sides = _two_sides(factors, expr.indices)
        if sides is None:
            return None
        bound, kept = expr.indices[0], self._kept(expr)
        rows, columns = (tuple(a for a in kept if a in free_indices(s)) for s in sides)
        left, right = sides
        if rows + columns != kept or not rows:  # the matrix goes to the left of a vector: x.T @ delta
            left, right, rows, columns = right, left, columns, rows
        if rows + columns != kept or len(columns) > 1:
            return None
        left_text = self._side(left, (*rows, bound))
        right_text = self._side(right, (bound, *columns))
        return None if "transpose" in left_text + right_text else f"{left_text} @ {right_text}"

    def _side(self, expr: Expr, axes: tuple[str, ...]) -> str:
        with _Axes(self, axes):
            straight = self._within(expr, POWER)
        if len(axes) != 2 or isinstance(expr, Element):
            return straight
        with _Axes(self, axes[::-1]):
            turned = f"{self._within(expr, ATOM)}.T"
        return min(straight, turned, key=len)

    def _einsum(self, expr: Reduction, factors: Sequence[Expr]) -> str:
        letters = _letters([*self.axes, *expr.indices])
        inputs, operands = [], []
        for factor in factors:
            if isinstance(factor, Element) and factor.tensor not in self.labels:
                slots = (*factor.slots, 0) if factor.tensor in self.wide else factor.slots
                own = tuple(str(s) for s in slots if not isinstance(s, int))
                operands.append(self.names[factor.tensor] + _fixed(slots))
            else:
                own = tuple(a for a in dict.fromkeys((*self.axes, *expr.indices)) if a in free_indices(factor))
                with _Axes(self, own):
                    operands.append(self._real(factor)[0])
            inputs.append("".join(letters[a] for a in own))
        result = "".join(letters[a] for a in self._kept(expr))
        return f'np.einsum("{",".join(inputs)}->{result}", {", ".join(operands)})'


class _Axes:
    """Print under other axes for a while."""

    def __init__(self, printer: NumpyPrinter, axes: tuple[str, ...]):
        self.printer, self.axes = printer, axes

    def __enter__(self) -> None:
        self.before, self.printer.axes = self.printer.axes, self.axes

    def __exit__(self, *_: object) -> None:
        self.printer.axes = self.before


def _plainness(text: tuple[str, int]) -> tuple[int, int, str]:
    """What to choose by: no transposed arrays, then few characters."""
    return text[0].count(".T") + text[0].count(".transpose"), len(text[0]), text[0]


def _two_sides(factors: Sequence[Expr], indices: Sequence[str]) -> tuple[Expr, Expr] | None:
    """The factors of a matrix product: each side has the one summed index, and they share nothing else."""
    if len(indices) != 1 or any(indices[0] not in free_indices(f) for f in factors):
        return None
    groups: list[tuple[set[str], list[Expr]]] = []
    vectors: list[Expr] = []
    for factor in factors:
        own = set(free_indices(factor)) - set(indices)
        if not own:
            vectors.append(factor)
            continue
        near = [g for g in groups if g[0] & own]
        groups = [g for g in groups if not g[0] & own]
        groups.append((own.union(*(g[0] for g in near)), [f for g in near for f in g[1]] + [factor]))
    sides = [members for _, members in groups]
    if len(sides) == 2:
        sides[0] += vectors
    elif len(sides) == 1 and vectors:
        sides.append(vectors)
    elif not sides and len(vectors) == 2:
        sides = [[v] for v in vectors]
    if len(sides) != 2:
        return None
    return mul(*sides[0]), mul(*sides[1])


def _fixed(slots: Sequence[Slot]) -> str:
    """[:, 0] for x[i, 0]."""
    tokens = [str(s) if isinstance(s, int) else ":" for s in slots]
    while tokens and tokens[-1] == ":":
        tokens.pop()
    return f"[{', '.join(tokens)}]" if tokens else ""


def _letters(indices: Sequence[str]) -> dict[str, str]:
    """A letter for every index: its own where it is one."""
    chosen: dict[str, str] = {}
    for index in dict.fromkeys(indices):
        wanted = [c for c in index[:1] if c in string.ascii_letters]
        taken = {*chosen.values(), *(i for i in indices if i != index)}
        chosen[index] = next(c for c in [*wanted, *string.ascii_letters] if c not in taken)
    return chosen
