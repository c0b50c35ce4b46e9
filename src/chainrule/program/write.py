"""Program → a NumPy program that a person could have written, with the formulas as comments. It runs as it stands.

    initialize      the first parameters (and states), drawn as chainrule draws them
    forward         from the inputs to the output; predict is this alone, or the equations that hold when predicting
    train_step      forward, backward and update on one batch
    train           epochs of batches, in the order in which chainrule visits the rows

Nothing that a formula names is hidden. What lowering had to name (the largest entry and the total of a softmax) gets a
telling name, or goes into the line that uses it where that stays short. The printed program arrives at the weights of
the interpreter, up to rounding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chainrule.errors import SettingError, ShapeError
from chainrule.formula.distributions import BITS
from chainrule.formula.expr import (
    Draw,
    Expr,
    Symbol,
    Where,
    key,
    negative,
    tensors,
    walk,
)
from chainrule.formula.system import Tensor
from chainrule.messages import say
from chainrule.program.helpers import GENERATOR, HELPERS, SILENCE
from chainrule.program.instructions import Program
from chainrule.program.numpy_lines import Line, Lines

DEMONSTRATION_ROWS = 60


@dataclass(frozen=True)
class Start:
    """How a parameter starts: "uniform" from low to high, "normal" (mean, deviation), "constant" (low), and so on.

    The bounds are formulas of the sizes, sqrt(6/(size(i) + size(j))).
    """

    distribution: str
    low: Expr
    high: Expr


@dataclass(frozen=True)
class Options:
    """What the printed program is to be like: its own defaults, the dtype, the formula text that it quotes."""

    dtype: str = "float64"
    epochs: int = 5
    batch_size: int = 32
    seed: int = 0
    text: str = ""
    prediction: Program | None = None  # where it is not the forward pass of the training step


def write_numpy(
    program: Program,
    sizes: Mapping[str, int],
    starts: Mapping[str, Start],
    hyper: Mapping[str, float] | None = None,
    options: Options | None = None,
) -> str:
    """The source of a training program; of a prediction where `program` has no updates.

    `sizes` are those that are known, the others are read off the data; `starts` has the parameters whose first values
    an initializer draws; `hyper` the values of hyper-parameters that are not the program's defaults.

    Raises: ShapeError for a size that neither says, SettingError for a hyper-parameter without a value.
    """
    return _Writer(program, sizes, starts, hyper or {}, options or Options()).source()


class _Writer:
    def __init__(
        self,
        program: Program,
        sizes: Mapping[str, int],
        starts: Mapping[str, Start],
        hyper: Mapping[str, float],
        options: Options,
    ):
        self.program, self.sizes, self.starts, self.options = program, sizes, starts, options
        self.hyper = {**{n: _shown(v) for n, v in program.defaults.items()}, **{n: repr(v) for n, v in hyper.items()}}
        self.told = Lines(program, sizes, options.dtype)
        self.lines, self.ahead = self.told.lines, self.told.ahead
        self.names, self.printer, self.size = self.told.names, self.told.printer, self.told.size
        self.float = self.printer.float

    # --- names

    def _python(self, tensors: Iterable[Tensor]) -> list[str]:
        return [self.names.of[t.name] for t in tensors]

    @property
    def parameters(self) -> list[Tensor]:
        return [t for t in self.program.kept if t.role == "parameter"]

    @property
    def states(self) -> list[Tensor]:
        return [t for t in self.program.kept if t.role == "state"]

    def _kept(self) -> list[str]:
        return [*(["parameters"] if self.parameters else []), *(["state"] if self.states else [])]

    def _unknown_sizes(self, body: str) -> list[str]:
        """The indices whose sizes a function uses and the text does not say."""
        indices = [n.removeprefix("size ") for n in self.names.of if n.startswith("size ")]
        return [i for i in indices if i not in self.sizes and re.search(rf"\b{self.size(i)}\b", body)]

    def _measured(self, body: str, tensors: Sequence[Tensor]) -> list[str]:
        """Lines that read the sizes that `body` uses off the shapes of arrays."""
        lines = []
        for index in self._unknown_sizes(body):
            owner = next((t for t in tensors if index in t.indices), None)
            if owner is None:
                raise ShapeError(say("formula.size_unknown", index=index))
            lines.append(f"{self.size(index)} = {_length(self.names.of[owner.name], owner.indices.index(index))}")
        return lines

    # --- the program

    def source(self) -> str:
        functions = [GENERATOR, self._initialize(), *self._prediction()]
        if self.program.update:
            functions += [self._train_step(), self._train()]
        body = "\n\n\n".join([*functions, self._main()])
        helpers = [text for name, text in HELPERS.items() if re.search(rf"\b{name}\(", body)]
        bits = BITS[self.options.dtype]
        helpers = [h.replace("FIRST", str(64 - bits)).replace("BITS", str(bits)) for h in helpers]
        body = "\n\n\n".join([*helpers, body]).replace("FLOAT", self.float) + "\n"
        head = [self._docstring(), ""]
        head += [*(["import math"] if "math." in body else []), "import sys", "", "import numpy as np"]
        if any(isinstance(n, Where) for line in self.lines for n in walk(line.value)):
            head += ["", SILENCE]
        named = [i for i in self.sizes if f"size {i}" in self.names.of and re.search(rf"\b{self.size(i)}\b", body)]
        constants = [f"{self.size(i)} = {self.sizes[i]}" for i in named]
        constants += [
            f"{self.names.of[f'hyper {name}']} = {self._hyper(name)}" for name in self._in_order(self.program.hyper)
        ]
        if constants:
            head += ["", *constants]
        return "\n".join(head) + "\n\n\n" + body

    def _in_order(self, hyper: Sequence[str]) -> list[str]:
        """As the rule lists them: eta first."""
        listed = list(self.program.defaults)
        return sorted(hyper, key=lambda name: listed.index(name) if name in listed else len(listed))

    def _hyper(self, name: str) -> str:
        if name not in self.hyper:
            raise SettingError(say("formula.hyper_unknown", name=name))
        return self.hyper[name]

    def _docstring(self) -> str:
        data = ", ".join(f"{n} ({', '.join(self._dimensions(t))})" for n, t in self._named_data())
        lines = ["A network in plain NumPy, written by chainrule from its formulas.", ""]
        quoted = self.options.text.replace("\\", "\\\\").replace('"""', "'''").strip("\n")
        lines += [*(f"    {line}".rstrip() for line in quoted.splitlines()), ""] if quoted else []
        lines += [f"Run it with a file that numpy.savez made of {data}, or alone to see it run on random numbers."]
        return '"""' + "\n".join(lines) + '\n"""'

    def _named_data(self) -> list[tuple[str, Tensor]]:
        return [(self.names.of[t.name], t) for t in self.program.inputs]

    def _dimensions(self, tensor: Tensor) -> list[str]:
        return ["N" if i == self.program.samples else str(self.sizes.get(i, i)) for i in tensor.indices]

    def _initialize(self) -> str:
        body = [line for number, t in enumerate(self.program.kept) for line in self._first(t, number)]
        groups = [_tuple(self._python(g)) for g in (self.parameters, self.states) if g]
        body += [_returned(groups)]
        sizes = [self.size(i) for i in self._unknown_sizes("\n".join(body))]
        what = "The parameters and states" if self.states else "The parameters"
        return _function(
            f"initialize({', '.join([*sizes, f'seed={self.options.seed}'])})", f"{what} before the first step.", body
        )

    def _first(self, tensor: Tensor, number: int) -> list[str]:
        name = self.names.of[tensor.name]
        shape = self.size(tensor.indices[0]) if len(tensor.indices) == 1 else self.printer.shape(tensor.indices)
        single = "" if self.float == "float" else f", dtype={self.float}"
        initial = tensor.initial
        if initial is not None and initial.values is not None:
            if isinstance(initial.values, tuple):
                return [f"{name} = np.array({_nested(initial.values)}{single})"]
            return [f"{name} = np.full({shape}, {initial.values!r}{single})"]
        start = self.starts.get(tensor.name)
        if start is None:
            like = next(
                (p for p in self.parameters if p.indices == tensor.indices and tensor.name.endswith(f"_{p.name}")), None
            )
            return [
                f"{name} = np.zeros_like({self.names.of[like.name]})" if like else f"{name} = np.zeros({shape}{single})"
            ]
        self.printer.axes = ()
        low, high = (self.printer.text(e) for e in (start.low, start.high))
        if start.distribution == "constant":
            zero = low == "0"
            return [
                f"{name} = np.zeros({shape}{single})" if zero else f"{name} = np.full({shape}, {_float(low)}{single})"
            ]
        lines = []
        if start.distribution == "uniform" and "(" in high and key(negative(start.high)) == key(start.low):
            lines.append(f"limit = {high}")
            low, high = "-limit", "limit"
        generator = f"rng(seed, 2**32 + {number})"
        drawn = {
            "truncated_normal": f"truncated_normal({generator}, {low}, {high}, {shape})",
            "identity": f"identity({low}, {high}, {shape})",
            "orthogonal": f"orthogonal({generator}, {high}, {shape})",
        }.get(start.distribution, f"{generator}.{start.distribution}({low}, {high}, {shape})")
        # A scalar is drawn as a plain number, an array of no axes is what computes.
        drawn = drawn if self.float == "float" else f"np.asarray({drawn}, dtype={self.float})"
        return [*lines, f"{name} = {drawn}"]

    def _read(self, lines: Sequence[Line], role: str) -> list[Tensor]:
        """The tensors of a role that lines read."""
        found = {n for line in lines for n in tensors(line.value)}
        return [t for t in self.program.tensors.values() if t.role in role.split() and t.name in found]

    def _arguments(self, lines: Sequence[Line]) -> list[Tensor]:
        """The data that a function takes for these lines: also where it only counts the rows."""
        own = self._read(lines, "input target label")
        counts = any(self.program.samples in line.axes for line in lines)
        return own or (self.program.inputs[:1] if counts else [])

    def _unpack(self, everything: bool, lines: Sequence[Line]) -> list[str]:
        own = (
            [("parameters", self.parameters)]
            if self.parameters and (everything or self._read(lines, "parameter"))
            else []
        )
        if self.states and (everything or self._read(lines, "state")):
            own.append(("state", self.states))
        return [f"{_unpacked(self._python(group))} = {name}" for name, group in own]

    def _prediction(self) -> list[str]:
        if not self.ahead:
            return []
        output = self.names.of[str(self.program.output)]
        later = self._passed_on()
        body = self._paragraph(self.ahead)
        call = self._forward_arguments()
        lines = [*self._unpack(False, self.ahead), *self._measured("\n".join(body), self._in_reach(self.ahead))]
        doc = f"From the input to {output}{', by way of what the backward pass needs' if later else ''}."
        forward = _function(f"forward({call})", doc, [*lines, "", *body, f"return {', '.join([*later, output])}"])
        short = [f"*_, {output} = forward({call})", f"return {output}"] if later else [f"return forward({call})"]
        if self.options.prediction is not None:
            return [forward, self._other_phase(self.options.prediction)]
        return [forward, _function(f"predict({call})", f"The output {output}.", short)]

    def _other_phase(self, program: Program) -> str:
        """predict, where it is not forward: nothing is drawn, and moving averages stand for those of the batch."""
        same = [t.name for t in (*self.program.kept, *self.program.inputs)]
        same += [n for n in self.names.of if n.startswith(("size ", "hyper "))]
        told = Lines(program, self.sizes, self.options.dtype, {n: self.names.of[n] for n in same})
        output = told.names.of[str(program.output)]
        body = self._paragraph(told.ahead, told)
        roles = (("parameters", "parameter"), ("state", "state"))
        kept = [name for name, role in roles if self._read(told.ahead, role)]
        head = ", ".join([*kept, *self._python(self._arguments(told.ahead))])
        lines = [*self._unpack(False, told.ahead), *self._measured("\n".join(body), self._in_reach(told.ahead))]
        doc = f"The output {output}, by the equations that hold when predicting."
        return _function(f"predict({head})", doc, [*lines, *([""] if lines else []), *body, f"return {output}"])

    def _forward_arguments(self) -> str:
        kept = [
            name for name, role in (("parameters", "parameter"), ("state", "state")) if self._read(self.ahead, role)
        ]
        data = self._python(self._arguments(self.ahead))
        return ", ".join([*kept, *data, *self._step_arguments(self.ahead)])

    def _passed_on(self) -> list[str]:
        """What train_step needs of forward besides the output."""
        rest = [line for line in self.lines if line not in self.ahead]
        used = {n for line in rest for n in tensors(line.value)} | {*self.program.watched}
        if not self.program.update:
            return []
        return [self.names.of[a.name] for a in self.ahead if a.name in used and a.name != self.program.output]

    def _step_arguments(self, lines: Sequence[Line]) -> list[str]:
        found = {n.name for line in lines for n in walk(line.value) if isinstance(n, Symbol)}
        found |= {"seed", "step"} if any(isinstance(n, Draw) for line in lines for n in walk(line.value)) else set()
        return [s for s in ("seed", "step", "steps") if s in found]

    def _in_reach(self, lines: Sequence[Line]) -> list[Tensor]:
        return [*self._arguments(lines), *self.parameters]

    def _train_step(self) -> str:
        rest = [line for line in self.lines if line not in self.ahead]
        data = self.program.inputs
        watched = [self.names.of[w] for w in self.program.watched]
        body: list[str] = []
        if self.ahead:
            results = [*self._passed_on(), self.names.of[str(self.program.output)]]
            body += ["", f"{', '.join(results)} = forward({self._forward_arguments()})"]
        backward = {i.out.tensor for i in self.program.backward}
        forward = [line for line in rest if not line.update and line.name not in backward and self._is_forward(line)]
        gradients = [line for line in rest if line.name in backward]
        updates = [line for line in rest if line not in forward and line not in gradients]
        for title, lines in (("# loss" if self.ahead else "# forward", forward), ("# backward", gradients)):
            body += ["", title, *self._paragraph(lines)] if lines else []
        body += self._updates(updates)
        groups = [_tuple(self._python(g)) for g in (self.parameters, self.states) if g]
        body += ["", _returned([*groups, *watched])]
        arguments = [*self._kept(), *self._python(data), *self._step_arguments(self.lines)]
        begin = self._unpack(True, rest)
        begin += self._measured("\n".join(body), [*data, *self.parameters])
        doc = f"One update on a batch{_and_what(watched)}."
        return _function(f"train_step({', '.join(arguments)})", doc, [*begin, *body])

    def _is_forward(self, line: Line) -> bool:
        return any(i.out.tensor == line.name for i in self.program.forward)

    def _updates(self, lines: Sequence[Line]) -> list[str]:
        """A rule for every parameter is told once; a parameter's own line has its formula beside it."""
        texts: list[str] = []
        generic = [line for line in lines if line.update and self._is_generic(line)]
        rule = list(dict.fromkeys(line.formula for line in generic))
        own = [line for line in lines if line.formula not in rule]
        if own:
            texts += ["", "# update", *self._paragraph(own)]
        if rule:
            title = "# update, for every parameter w and its gradient g" + (" that is left" if own else "")
            texts += ["", title, *(f"#     {formula}" for formula in rule)]
            texts += [self.told.code(line) for line in lines if line not in own]
        return texts

    def _is_generic(self, line: Line) -> bool:
        return re.match(re.escape(line.name) + r"(?!\w)", line.formula) is None

    def _paragraph(self, lines: Sequence[Line], told: Lines | None = None) -> list[str]:
        return (told or self.told).paragraph(lines)

    # --- the training loop

    def _train(self) -> str:
        data = self._named_data()
        if not data:
            raise ShapeError(say("formula.size_unknown", index=self.program.samples))
        rows = data[0][0]
        names = [n for n, _ in data]
        kept, watched = self._kept(), [self.names.of[w] for w in self.program.watched]
        steps = self._step_arguments(self.lines)
        start = self._initialize_call()
        call = ", ".join([*kept, *(f"{n}[rows]" for n in names), *steps])
        body = [f"{', '.join(kept)} = {start}"] if kept else []
        body += ["step = 0"] if "step" in steps else []
        body += [f"steps = epochs * math.ceil(len({rows}) / batch_size)"] if "steps" in steps else []
        body += ["for epoch in range(epochs):", f"    order = rng(seed, epoch).permutation(len({rows}))"]
        body += [f"    total_{w} = 0.0" for w in watched]
        body += [f"    for start in range(0, len({rows}), batch_size):"]
        body += ["        rows = order[start : start + batch_size]"]
        body += ["        step += 1"] if "step" in steps else []
        body += [f"        {', '.join([*kept, *watched])} = train_step({call})"]
        for name, python in zip(self.program.watched, watched, strict=True):
            sampled = self.program.samples in self.program.tensors[name].indices
            body += [
                f"        total_{python} += {python}.sum()"
                if sampled
                else f"        total_{python} += {python} * len(rows)"
            ]
        shown = "".join(f"  {w} {{total_{w} / len({rows}):.5f}}" for w in watched)
        body += [f'    print(f"epoch {{epoch + 1}}{shown}")', f"return {kept[0] if kept else 'None'}"]
        options = self.options
        head = (
            f"train({', '.join(names)}, epochs={options.epochs}, batch_size={options.batch_size}, seed={options.seed})"
        )
        doc = "Epochs of batches, the rows in a new order each time; the trained parameters."
        return _function(head, doc, body)

    def _initialize_call(self) -> str:
        unknown = self._unknown_sizes(self._initialize().split("\n")[0])
        sizes = []
        for index in unknown:
            owner = next(((n, t) for n, t in self._named_data() if index in t.indices), None)
            label = next((n for n, t in self._named_data() if t.classes == index), None)
            if owner is not None:
                sizes.append(_length(owner[0], owner[1].indices.index(index)))
            elif label is not None:
                sizes.append(f"int({label}.max()) + 1")
            else:
                raise ShapeError(say("formula.size_unknown", index=index))
        return f"initialize({', '.join([*sizes, 'seed'])})"

    def _main(self) -> str:
        data = self._named_data()
        lines = ['if __name__ == "__main__":', "    if len(sys.argv) > 1:", "        data = np.load(sys.argv[1])"]
        for name, tensor in data:
            kind = "int" if tensor.classes is not None else self.float
            lines.append(f'        {name} = data["{tensor.name}"].astype({kind})')
        lines += ["    else:  # random numbers, to see it run", "        draw = np.random.default_rng(0)"]
        lines += [f"        {name} = {self._demonstration(tensor)}" for name, tensor in data]
        names = ", ".join(name for name, _ in data)
        if self.program.update:
            lines.append(f"    train({names})" if self.program.watched else f"    print(train({names}))")
        else:
            seeded = self._initialize_call().replace("seed", f"seed={self.options.seed}")
            lines += [f"    {', '.join(self._kept())} = {seeded}"] if self._kept() else []
            lines += [f"    print(predict({self._forward_arguments()}))"]
        return "\n".join(lines)

    def _demonstration(self, tensor: Tensor) -> str:
        rows = DEMONSTRATION_ROWS
        own = [i for i in tensor.indices if i != self.program.samples]
        if tensor.classes is not None:
            size = ", ".join([str(rows), *(self._demonstration_size(i) for i in own)])
            size = f"({size})" if own else size
            return f"draw.integers({self._demonstration_size(str(tensor.classes))}, size={size})"
        if tensor.role == "target" and len(own) == 1:
            classes = self._demonstration_size(own[0])
            one_hot = f"np.eye({classes})[draw.integers({classes}, size={rows})]"
            return one_hot if self.float == "float" else f"{one_hot}.astype({self.float})"
        shape = ", ".join([str(rows), *(self._demonstration_size(i) for i in own)])
        shape = f"({shape})" if own else shape
        return (
            f"draw.integers(2, size={shape}).astype({self.float})"
            if tensor.role == "target"
            else f"draw.uniform(size={shape}).astype({self.float})".replace(".astype(float)", "")
        )

    def _demonstration_size(self, index: str) -> str:
        """The known size by its name; for an unknown one, a small number: 3 classes, 6 inputs."""
        if index in self.sizes:
            return self.size(index)
        answers = [t for t in self.program.inputs if t.role != "input" or index == t.classes]
        return "3" if any(index in t.indices or index == t.classes for t in answers) else "6"


def _length(name: str, axis: int) -> str:
    return f"len({name})" if axis == 0 else f"{name}.shape[{axis}]"


def _shown(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else repr(float(value))


def _float(text: str) -> str:
    return f"{text}.0" if text.lstrip("-").isdigit() else text


def _nested(values: object) -> str:
    return f"[{', '.join(map(_nested, values))}]" if isinstance(values, tuple) else repr(values)


def _and_what(watched: Sequence[str]) -> str:
    return f"; also gives {' and '.join(watched)} of its samples" if watched else ""


def _unpacked(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) > 1 else f"({names[0]},)"


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def _returned(groups: Sequence[str]) -> str:
    """One tuple alone needs no brackets, unless it is of one."""
    alone = len(groups) == 1 and groups[0].startswith("(") and not groups[0].endswith(",)")
    return f"return {groups[0][1:-1] if alone else ', '.join(groups) or 'None'}"


def _function(head: str, doc: str, body: Sequence[str]) -> str:
    lines = [f"def {head}:", f'    """{doc}"""']
    for text in body:
        lines += [f"    {line}" if line else "" for line in text.split("\n")]
    return "\n".join(lines)
