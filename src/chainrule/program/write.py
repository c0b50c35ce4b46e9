"""Program → a NumPy program that a person could have written, with the formulas as comments. It runs as it stands.

Products are written x @ W where the indices allow it and with einsum where not; broadcasting is spelled out only where
NumPy's own does not do it. The printed program draws the same first weights and visits the rows in the same order as
chainrule does for the same seed, and so arrives at the same weights, up to rounding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from chainrule.formula.expr import (
    Add,
    Apply,
    Compare,
    Delta,
    Element,
    Expr,
    Mul,
    Number,
    Position,
    Power,
    Size,
    Slot,
    Symbol,
    Where,
    as_number,
    base_index,
    elements,
    fresh_name,
    scaled,
    split_coefficient,
    walk,
)
from chainrule.formula.system import Tensor
from chainrule.formula.text import number_text
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Map, Program, Reduce, Update

SUM, PRODUCT, UNARY, POWER, ATOM = range(5)  # how strongly an expression binds

# What NumPy calls a scalar function, and the helpers of which a printed program brings its own.
NUMPY = {
    "exp": "np.exp",
    "log": "np.log",
    "log1p": "np.log1p",
    "expm1": "np.expm1",
    "sin": "np.sin",
    "cos": "np.cos",
    "tanh": "np.tanh",
    "abs": "np.abs",
    "sign": "np.sign",
    "floor": "np.floor",
    "max": "np.maximum",
    "min": "np.minimum",
}
HELPERS = {
    "sigmoid": """\
def sigmoid(a):
    e = np.exp(-np.abs(a))  # never overflows
    return np.where(a > 0, 1 / (1 + e), e / (1 + e))""",
    "softplus": """\
def softplus(a):
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))""",
    "erf": """\
erf = np.vectorize(math.erf, otypes=[float])""",
}
RESERVED = frozenset(
    ["np", "math", "sys", "rng", "rows", "epoch", "order", "start", "step", "steps", "weights", "data"]
)


def write_numpy(program: Program, sizes: Mapping[str, int], initial: Mapping[str, str] | None = None) -> str:
    """The source of a training program.

    `sizes` are those that are known; the others are read off the data. `initial` has a NumPy expression in `rng` (a
    generator) and the names of `size_names` per parameter; a parameter without one starts at zero.
    """
    return _Writer(program, sizes, initial or {}).run()


def size_names(program: Program) -> dict[str, str]:
    """What the printed program calls the sizes of indices: I, J, K for i, j, k; size_m2 for m2; N for the samples."""
    taken = {*program.tensors, *program.hyper}
    names = {program.samples: "N"}
    for index in dict.fromkeys(i for t in program.tensors.values() for i in t.indices):
        short = index.upper()
        fits = len(index) == 1 and index.isascii() and short not in {*taken, *names.values()}
        names.setdefault(index, short if fits else f"size_{index}")
    return names


class _Writer:
    def __init__(self, program: Program, sizes: Mapping[str, int], initial: Mapping[str, str]):
        self.program, self.sizes, self.initial = program, sizes, initial
        self.size_names = size_names(program)
        self.names = _python_names(program, self.size_names.values())
        self.scalars = dict(program.scalars)
        self.told: set[str] = set()

    def run(self) -> str:
        instructions = list(self.program)
        body = [line for i in instructions for line in self.instruction(i)]
        used = {n.function for i in instructions for e in _expressions(i) for n in walk(e) if isinstance(n, Apply)}
        helpers = [HELPERS[name] for name in HELPERS if name in used]
        head = ['"""A neural network in plain NumPy, written by chainrule from its formulas."""', ""]
        head += [*(["import math"] if "erf" in used else []), "import sys", "", "import numpy as np"]
        if any(isinstance(n, Where) for i in instructions for e in _expressions(i) for n in walk(e)):
            head += ["", "# np.where computes both of its branches, and only then chooses."]
            head += ['np.seterr(divide="ignore", invalid="ignore", over="ignore")']
        parts = ["\n".join(head), *helpers, self.start(), self.step(body), self.train(), self.main()]
        return "\n\n\n".join(parts) + "\n"

    # the functions

    def kept(self) -> list[str]:
        return [self.names[t.name] for t in self.program.kept]

    def data(self) -> list[str]:
        return [self.names[t.name] for t in self.program.inputs]

    def start(self) -> str:
        lines = [f"def initialize({', '.join(self.data())}, seed=0):"]
        lines += ['    """The first weights, and the state of the update rule; sizes come from the data."""']
        body: list[str] = []
        for number, tensor in enumerate(self.program.kept):
            shape = _tuple([self.size(i) for i in tensor.indices]) if tensor.indices else "()"
            code = self.initial.get(tensor.name, f"np.zeros({shape})")
            if "rng" in code:
                key = f"np.array([seed, 2**32 + {number}], dtype=np.uint64)"
                body.append(f"    rng = np.random.Generator(np.random.Philox(key={key}))")
            body.append(f"    {self.names[tensor.name]} = {code}")
        return "\n".join(
            [*lines, *self.sizes_for("\n".join(body), self.program.inputs), *body, f"    return {_tuple(self.kept())}"]
        )

    def sizes_for(self, body: str, tensors: Sequence[Tensor]) -> list[str]:
        """Lines that set the sizes which `body` mentions: from the data's shapes, else the known number."""
        lines = []
        for index, name in self.size_names.items():
            if not re.search(rf"(?<![\w.]){name}(?!\w)", body):
                continue
            found = next((t for t in tensors if index in t.indices), None)
            if found is not None:
                axis = found.indices.index(index)
                data = self.names[found.name]
                lines.append(f"    {name} = len({data})" if axis == 0 else f"    {name} = {data}.shape[{axis}]")
            else:
                lines.append(f"    {name} = {self.sizes[index]}")
        return lines

    def step(self, body: Sequence[str]) -> str:
        hyper = [f"{h}={_value(self.program.defaults[h])}" for h in self.program.hyper if h in self.program.defaults]
        needed = [h for h in self.program.hyper if h not in self.program.defaults]
        arguments = ["weights", *self.data(), *needed, "step=1", "steps=1", *hyper]
        lines = [
            f"def train_step({', '.join(arguments)}):",
            '    """Forward pass, backward pass and update on one batch."""',
        ]
        lines += [f"    {_unpacked(self.kept())} = weights"] if self.kept() else []
        lines += self.sizes_for("\n".join(body), [*self.program.inputs, *self.program.kept])
        loss = self.names[self.program.loss] if self.program.loss else None
        result = "0.0" if loss is None else f"np.mean({loss})"
        return "\n".join(
            [*lines, *(f"    {line}" if line else "" for line in body), f"    return {_tuple(self.kept())}, {result}"]
        )

    def train(self) -> str:
        data = self.data()
        batch = ", ".join(f"{d}[rows]" for d in data)
        return f"""\
def train({", ".join(data)}, epochs=1, batch_size=32, seed=0, **hyper):
    \"\"\"Visit all rows in a new order in each epoch, batch by batch.\"\"\"
    weights = initialize({", ".join(data)}, seed)
    steps = epochs * -(-len({data[0]}) // batch_size)
    step = 0
    for epoch in range(epochs):
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
        order = rng.permutation(len({data[0]}))
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            step += 1
            weights, loss = train_step(weights, {batch}, step=step, steps=steps, **hyper)
            total += loss * len(rows)
        print(f"epoch {{epoch + 1}}  loss {{total / len(order):.4f}}")
    return weights"""

    def main(self) -> str:
        lines = ['if __name__ == "__main__":', "    if len(sys.argv) > 1:  # a file made by numpy.savez"]
        lines += ["        data = np.load(sys.argv[1])"]
        lines += [f"        {self.names[t.name]} = data[{t.name!r}]" for t in self.program.inputs]
        lines += ["    else:  # random numbers, to see it run", "        rng = np.random.default_rng(0)"]
        for tensor in self.program.inputs:
            shape = (100, *(self._shown_size(i) for i in tensor.indices if i != self.program.samples))
            lines.append(f"        {self.names[tensor.name]} = {self._random(tensor.name, tensor.role, shape)}")
        lines.append(f"    train({', '.join(self.data())}, epochs=5)")
        return "\n".join(lines)

    def _shown_size(self, index: str) -> int:
        """A size for the demonstration where none is known."""
        return self.sizes.get(index, 3 if any(index in t.indices for t in self.program.inputs[1:]) else 5)

    def _random(self, name: str, role: str, shape: tuple[int, ...]) -> str:
        if role == "label":
            classes = self.program.tensors[name].classes
            return f"rng.integers(0, {self._shown_size(str(classes))}, 100)"
        if role == "target" and len(shape) == 2:
            return f"np.eye({shape[1]})[rng.integers(0, {shape[1]}, 100)]"
        return f"rng.integers(0, 2, {shape})" if role == "target" else f"rng.random({shape})"

    # instructions

    def instruction(self, instruction: Instruction) -> list[str]:
        """The comment that says which formula this is, once, and the assignment."""
        lines = []
        if instruction.formula and instruction.formula not in self.told:
            self.told.add(instruction.formula)
            lines = ["", f"# {instruction.formula}"]
        name = self.names[instruction.out.tensor]
        axes = tuple(str(s) for s in instruction.out.slots)
        match instruction:
            case Map(_, value, _) | Update(_, value, _):
                code = self.value(value, axes)
                if isinstance(instruction, Map) and not self._covers(value, axes):
                    shape = ", ".join(self.size(a) for a in axes)
                    code = f"np.broadcast_to({code}, ({shape},))"
                return [*lines, f"{name} = {code}"]
            case Contract():
                total = self.product(instruction, axes)
            case Reduce():
                total = self.reduction(instruction, axes)
        if isinstance(instruction.epilogue, Element):
            return [*lines, f"{name} = {total[0]}"]
        self.accumulator = total
        return [*lines, f"{name} = {self.value(instruction.epilogue, axes)}"]

    def _covers(self, value: Expr, axes: tuple[str, ...]) -> bool:
        found = {s for e in elements(value) for s in e.slots}
        found |= {n.index for n in walk(value) if isinstance(n, Position)}
        found |= {s for n in walk(value) if isinstance(n, Delta) for s in (n.left, n.right)}
        return set(axes) <= found

    def product(self, contract: Contract, axes: tuple[str, ...]) -> tuple[str, int]:
        """left @ right for matrices, einsum for the rest."""
        left, right = contract.left, contract.right
        if len(left.slots) == len(right.slots) == len(axes) == 2 and len(contract.indices) == 1:
            (inner,) = contract.indices
            if axes[0] in left.slots:
                first, second = left, right
            else:
                first, second = right, left
            a = self.names[first.tensor] + ("" if first.slots[1] == inner else ".T")
            b = self.names[second.tensor] + ("" if second.slots[0] == inner else ".T")
            return f"{a} @ {b}", PRODUCT
        letters = _letters([*left.slots, *right.slots])
        spec = f"{_spell(left.slots, letters)},{_spell(right.slots, letters)}->{_spell(axes, letters)}"
        return f'np.einsum("{spec}", {self.names[left.tensor]}, {self.names[right.tensor]})', ATOM

    def reduction(self, reduce: Reduce, axes: tuple[str, ...]) -> tuple[str, int]:
        """np.sum(body, axis=…), with the axes that are summed last in the body."""
        # The samples are the first axis of what is summed, as in the tensors themselves.
        whole = tuple(sorted((*axes, *reduce.indices), key=lambda i: base_index(i) != self.program.samples))
        code = self.value(reduce.body, whole)
        if not self._covers(reduce.body, whole):
            code = f"np.broadcast_to({code}, ({', '.join(self.size(a) for a in whole)},))"
        numbers = tuple(n for n, index in enumerate(whole) if index in reduce.indices)
        axis = "" if not axes else f", axis={numbers[0] if len(numbers) == 1 else numbers}"
        return f"np.{reduce.kind}({code}{axis})", ATOM

    # values

    def size(self, index: str) -> str:
        return self.size_names.get(base_index(index), f"size_{base_index(index)}")

    def value(self, expr: Expr, axes: tuple[str, ...]) -> str:
        return self._value(expr, axes)[0]

    def _within(self, expr: Expr, axes: tuple[str, ...], strength: int) -> str:
        code, own = self._value(expr, axes)
        return code if own >= strength else f"({code})"

    def _value(self, expr: Expr, axes: tuple[str, ...]) -> tuple[str, int]:
        match expr:
            case Number(value):
                return _value(value), ATOM if value >= 0 else UNARY
            case Symbol(name):
                if name in self.scalars:
                    return self._value(self.scalars[name], ())
                return name, ATOM
            case Size(index):
                return self.size(index), ATOM
            case Position(index):
                return self._aligned(f"np.arange({self.size(index)})", (index,), axes), ATOM
            case Element(tensor, slots):
                return self.accumulator if tensor == ACCUMULATOR else self._element(tensor, slots, axes)
            case Delta() | Compare() | Apply("step", _):
                return f"1.0 * {self._truth(expr, axes)}", PRODUCT  # NumPy's truth values have no minus
            case Add(terms):
                return self._sum(terms, axes), SUM
            case Mul(factors):
                return self._mul(factors, axes), PRODUCT
            case Power(base, exponent):
                if as_number(exponent) == Fraction(1, 2):
                    return f"np.sqrt({self.value(base, axes)})", ATOM
                if (as_number(exponent) or 0) < 0:
                    return self._mul((expr,), axes), PRODUCT
                return f"{self._within(base, axes, ATOM)}**{self._within(exponent, axes, ATOM)}", POWER
            case Apply(function, arguments):
                return self._apply(function, arguments, axes), ATOM
            case Where(condition, yes, no):
                chosen = self._truth(condition, axes) or f"{self._within(condition, axes, SUM + 1)} != 0"
                chosen = chosen[1:-1] if chosen.startswith("(") and chosen.count("(") == 1 else chosen
                return f"np.where({chosen}, {self.value(yes, axes)}, {self.value(no, axes)})", ATOM
        raise AssertionError(f"{type(expr).__name__} is lowered before it is written")

    def _truth(self, expr: Expr, axes: tuple[str, ...]) -> str | None:
        """A comparison as NumPy's array of truth values, in brackets; None for anything else."""
        match expr:
            case Delta(left, right):
                sides = [self.value(Position(s), axes) if isinstance(s, str) else str(s) for s in (left, right)]
                return f"({sides[0]} == {sides[1]})"
            case Compare(operator, left, right):
                return f"({self._within(left, axes, SUM)} {operator} {self._within(right, axes, SUM)})"
            case Apply("step", (argument,)):
                return f"({self._within(argument, axes, SUM)} > 0)"
        return None

    def _apply(self, function: str, arguments: tuple[Expr, ...], axes: tuple[str, ...]) -> str:
        inner = ", ".join(self.value(a, axes) for a in arguments)
        if function == "relu":
            return f"np.maximum({inner}, 0)"
        return f"{NUMPY.get(function, function)}({inner})"

    def _sum(self, terms: tuple[Expr, ...], axes: tuple[str, ...]) -> str:
        code = ""
        for number, term in enumerate(terms):
            coefficient, rest = split_coefficient(term)
            if number == 0:
                code = self._within(term, axes, PRODUCT if coefficient >= 0 else SUM + 1)
            elif coefficient < 0:
                code += " - " + self._within(scaled(-coefficient, rest), axes, PRODUCT)
            else:
                text = self._within(term, axes, PRODUCT)
                code += f" - {text[1:]}" if text.startswith("-") else f" + {text}"
        return code

    def _mul(self, factors: tuple[Expr, ...], axes: tuple[str, ...]) -> str:
        flat: list[Expr] = []
        for factor in factors:  # scalars are written where they are used, their own factors among the others
            if isinstance(factor, Symbol) and factor.name in self.scalars:
                inner = self.scalars[factor.name]
                flat += inner.factors if isinstance(inner, Mul) else (inner,)
            else:
                flat.append(factor)
        coefficient = Fraction(1)
        for factor in flat:
            coefficient *= as_number(factor) or 1
        flat = [f for f in flat if as_number(f) is None]
        over = [f for f in flat if isinstance(f, Power) and (as_number(f.exponent) or 0) < 0]
        above = [f for f in flat if f not in over]
        sign = "-" if coefficient < 0 else ""
        coefficient = abs(coefficient)
        pieces = (
            []
            if coefficient.numerator == 1 and (above or coefficient.denominator == 1)
            else [str(coefficient.numerator)]
        )
        # A product of matrices binds as * does: brackets keep it whole.
        truths = [self._truth(f, axes) for f in above]
        if above and all(truths) and not pieces:
            pieces = ["1.0"]
        for number, (factor, truth) in enumerate(zip(above, truths, strict=True)):
            first = number == 0 and not pieces and not sign
            pieces.append(truth or self._within(factor, axes, PRODUCT if first else UNARY))
        if sign and pieces[0].startswith("(") and truths[:1] != [None]:
            pieces.insert(0, "1.0")
        code = sign + (" * ".join(pieces) or "1")
        if coefficient.denominator != 1:
            code += f" / {coefficient.denominator}"
        for factor in over:
            assert isinstance(factor, Power)
            exponent = -(as_number(factor.exponent) or Fraction(0))
            flipped = factor.base if exponent == 1 else Power(factor.base, Number(exponent))
            code += f" / {self._within(flipped, axes, POWER)}"
        return code

    def _element(self, tensor: str, slots: tuple[Slot, ...], axes: tuple[str, ...]) -> tuple[str, int]:
        code = self.names[tensor]
        if any(isinstance(s, int) for s in slots):
            code += f"[{', '.join(str(s) if isinstance(s, int) else ':' for s in slots)}]"
            slots = tuple(s for s in slots if not isinstance(s, int))
        names = [str(s) for s in slots]
        if len(set(names)) < len(names):
            letters = _letters(names)
            code = f'np.einsum("{_spell(names, letters)}->{_spell(list(dict.fromkeys(names)), letters)}", {code})'
            names = list(dict.fromkeys(names))
        return self._aligned(code, tuple(names), axes), ATOM

    def _aligned(self, code: str, own: tuple[str, ...], axes: tuple[str, ...]) -> str:
        """`code`, whose axes are `own`, broadcast along `axes`; leading new axes come by themselves."""
        order = [own.index(a) for a in axes if a in own]
        if order != sorted(order):
            code = f"{code}.T" if len(own) == 2 else f"{code}.transpose({', '.join(map(str, order))})"
        present = [a in own for a in axes]
        if not any(present):
            return code
        shown = present[present.index(True) :]
        if all(shown):
            return code
        return f"{code}[{', '.join(':' if here else 'None' for here in shown)}]"


def _expressions(instruction: Instruction) -> list[Expr]:
    match instruction:
        case Contract(_, _, _, _, epilogue, _):
            return [epilogue]
        case Reduce(_, _, _, body, epilogue, _):
            return [body, epilogue]
        case Map(_, value, _) | Update(_, value, _):
            return [value]


def _python_names(program: Program, others: Iterable[str]) -> dict[str, str]:
    """An identifier per tensor; what NumPy programs commonly call something else gets an underscore."""
    taken = {*RESERVED, *program.hyper, *HELPERS, *others}
    names = {}
    telling = {i.out.tensor: _telling(i) for i in program}
    for name in program.tensors:
        wanted = re.sub(r"\W", "_", name)
        if re.fullmatch(r"s(_\d+)?", name):  # what lowering could not name after a formula
            wanted = telling.get(name, wanted)
        wanted = fresh_name(wanted, taken)
        taken.add(wanted)
        names[name] = wanted
    return names


def _telling(instruction: Instruction) -> str:
    """A name for a temporary, by what it holds."""
    match instruction:
        case Reduce(_, kind, _, _, _, _):
            return {"sum": "total", "max": "highest", "min": "lowest"}[kind]
        case Map(_, Apply(function, _), _):
            return f"{function}_part"
        case Contract():
            return "product"
    return "part"


def _letters(slots: Sequence[Slot]) -> dict[str, str]:
    """One letter per index for einsum: its own first letter where that is free."""
    letters: dict[str, str] = {}
    for slot in dict.fromkeys(map(str, slots)):
        choices = [slot[0], *"abcdefghijklmnopqrstuvwxyz"]
        letters[slot] = next(c for c in choices if c.isascii() and c.isalpha() and c not in letters.values())
    return letters


def _spell(slots: Sequence[Slot], letters: Mapping[str, str]) -> str:
    return "".join(letters[str(s)] for s in slots)


def _value(value: Fraction) -> str:
    text = number_text(value)
    return {"pi": "np.pi"}.get(text, text if "/" not in text else f"({text})")


def _unpacked(names: Sequence[str]) -> str:
    return ", ".join(names) + ("," if len(names) == 1 else "")


def _tuple(names: Sequence[str]) -> str:
    return f"({_unpacked(names)})"
