"""Random formulas and networks in the notation, for hypothesis: `expressions()` and `systems()`.

Every draw reads without error and stays within the domain of its functions, so that a test may ask for values and
derivatives: log and sqrt meet positive numbers only, divisors stay away from 0, exponentials of bounded arguments.
Indices come in groups of one size, two names a group (j and j2), so that a diagonal A[j, j], a square weight used under
swapped names and a sum over the one beside the other all occur. Sizes go down to 1.

    @given(systems())
    def test_something(drawn):
        system, arrays = drawn.system, drawn.arrays(rows=3, seed=0)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from hypothesis import strategies as st

from chainrule.formula.parse import Vocabulary, parse_system
from chainrule.formula.system import System, Tensor

Array = np.ndarray[Any, Any]
Draw = Any  # hypothesis' draw function

VOCABULARY = Vocabulary(initializers=frozenset({"zeros", "glorot_uniform", "normal", "uniform"}))
SIZES = (1, 2, 3, 5)
GROUPS = {"i": ("i", "i2"), "j": ("j", "j2"), "k": ("k", "k2")}
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}

# Of any real u, v (w is a number): finite, with a derivative almost everywhere.
SMOOTH = (
    "tanh({u})",
    "sigmoid({u})",
    "softplus({u})",
    "sin({u})",
    "cos({u})",
    "erf({u})",
    "exp(tanh({u}))",
    "exp(-({u})**2)",
    "expm1(sin({u}))",
    "log(1 + ({u})**2)",
    "log1p(softplus({u}))",
    "sqrt(1 + ({u})**2)",
    "1/(1 + exp(-tanh({u})))",
    "({u})/(1 + ({v})**2)",
    "({u})**2",
    "({u})**3/(4 + ({u})**2)",
    "(2 + cos({u}))**1.5",
    "(2 + cos({u}))**tanh({v})",
    "1/sqrt(2 + sin({u}))",
    "{u} + {v}",
    "{u} - ({v})",
    "({u})*({v})",
    "-({u})",
    "{w}*({u})",
    "({u})/{w}",
)
KINKED = (
    "relu({u})",
    "abs({u})",
    "max({u}, {v})",
    "min({u}, {v})",
    "where({u} > {v}, {v}, {u})",
    "where({u} <= 0 and {v} < 1, {u}, {v}*2)",
    "[{u} > {v}]*({u})",
    "[0 < {u} < 1]*({v})",
    "step({u})*({v})",
    "sign({u})*({v})",
    "floor({u})*tanh({v})",
)
WRAPS = ("tanh({})", "sigmoid({})", "softplus({})", "sin({})", "2*erf({})")
NUMBERS = ("2", "3", "0.5", "1/3", "0.25", "1.5", "7", "1e-3", "2/7", "0.1", "pi")


@dataclass(frozen=True)
class Drawn:
    """A network's text and the sizes of all its indices."""

    text: str
    sizes: dict[str, int] = field(hash=False)

    @cached_property
    def system(self) -> System:
        return parse_system(self.text, VOCABULARY)

    def arrays(self, rows: int, seed: int) -> dict[str, Array]:
        """Arrays in float64 for what the text declares: normal numbers, distributions as targets, class numbers."""
        rng = np.random.default_rng(seed)
        sizes = {**self.sizes, self.system.samples: rows}
        found: dict[str, Array] = {}
        for tensor in self.system.of_role("input", "target", "label", "parameter", "state"):
            shape = tuple(sizes[i] for i in tensor.indices)
            if tensor.role == "label":
                found[tensor.name] = rng.integers(0, sizes[str(tensor.classes)], shape)
            elif tensor.role == "target":
                found[tensor.name] = (
                    rng.dirichlet(np.ones(shape[-1]), shape[:-1]) if len(shape) > 1 else rng.random(shape)
                )
            else:
                found[tensor.name] = rng.normal(0, 0.8, shape)
        return found


@dataclass
class Environment:
    """What an expression may mention: tensors by name with the groups of their indices, and the sizes of groups."""

    tensors: dict[str, tuple[str, ...]]
    sizes: dict[str, int]
    hyper: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    kinks: bool = True
    used: set[str] = field(default_factory=set)

    def element(self, draw: Draw, free: tuple[str, ...], name: str | None = None) -> str:
        """A tensor at indices in scope, or at fixed positions where its group has none there."""
        name = name or draw(st.sampled_from(sorted(self.tensors)))
        self.used.add(name)
        slots = []
        for group in self.tensors[name]:
            names = [i for i in free if GROUP_OF[i] == group]
            fixed = st.integers(0, self.sizes[group] - 1).map(str)
            slots.append(draw(st.one_of(st.sampled_from(names), st.sampled_from(names), fixed) if names else fixed))
        return f"{name}[{', '.join(slots)}]" if slots else name

    def element_with(self, draw: Draw, index: str) -> str:
        """A tensor at this index; every environment has one for every group."""
        name = draw(st.sampled_from(sorted(n for n, groups in self.tensors.items() if GROUP_OF[index] in groups)))
        self.used.add(name)
        slots = [index if g == GROUP_OF[index] else "0" for g in self.tensors[name]]
        return f"{name}[{', '.join(slots)}]"


def expression(draw: Draw, env: Environment, free: tuple[str, ...], depth: int) -> str:
    """An expression whose free indices are among `free`."""
    kind = draw(
        st.sampled_from(["leaf", "leaf", "scalar", "scalar", "scalar", "reduce", "reduce", "softmax", "position"])
    )
    if depth <= 0 or kind == "leaf":
        return _leaf(draw, env, free)
    if kind == "reduce":
        return _reduction(draw, env, free, depth)
    if kind == "softmax" and free:
        index = draw(st.sampled_from(free))
        body = _with_index(draw, env, index, expression(draw, env, free, depth - 1))
        return f"{draw(st.sampled_from(['softmax', 'log_softmax']))}[{index}](2*tanh({body}))"
    if kind == "position" and free:
        index = draw(st.sampled_from(free))
        twin = [i for i in free if i != index and GROUP_OF[i] == GROUP_OF[index]]
        other = draw(st.sampled_from([*twin, "0"]))
        return f"[{index} == {other}]*({expression(draw, env, free, depth - 1)})"
    table = SMOOTH + KINKED if env.kinks else SMOOTH
    shape = draw(st.sampled_from([*table, *(f"{name}({{u}})" for name in env.functions)]))
    u = expression(draw, env, free, depth - 1)
    v = expression(draw, env, free, depth - 1) if "{v}" in shape else ""
    return f"({shape.format(u=u, v=v, w=draw(st.sampled_from(NUMBERS)))})"


def _leaf(draw: Draw, env: Environment, free: tuple[str, ...]) -> str:
    kinds = ["element"] * 6 + ["number", "size"] + ["hyper"] * bool(env.hyper)
    match draw(st.sampled_from(kinds)):
        case "number":
            return str(draw(st.sampled_from(NUMBERS)))
        case "size":
            return f"1/size({draw(st.sampled_from(sorted(env.sizes)))})"
        case "hyper":
            return str(draw(st.sampled_from(env.hyper)))
    return env.element(draw, free)


def _with_index(draw: Draw, env: Environment, index: str, body: str) -> str:
    """The body with something that depends on the index added or multiplied."""
    element = env.element_with(draw, index)
    return str(draw(st.sampled_from([f"({body})*{element}", f"{element} + {body}", f"{element}*({body})*{element}"])))


def _reduction(draw: Draw, env: Environment, free: tuple[str, ...], depth: int) -> str:
    """sum, mean, max, min or logsumexp over one or two indices that are not in scope outside."""
    choices = [i for names in GROUPS.values() for i in names if i not in free]
    if not choices:
        return _leaf(draw, env, free)
    bound = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=2, unique=True))
    body = expression(draw, env, (*free, *bound), depth - 1)
    for index in bound:
        body = _with_index(draw, env, index, body)
    names = ["sum", "sum", "sum", "mean", "Σ", "logsumexp", *(["max", "min"] if env.kinks else [])]
    return f"{draw(st.sampled_from(names))}[{', '.join(bound)}]({body})"


# How a quantity q of one group of indices becomes one of another: with weights in either orientation, twice, or none.
LINKS = {
    ("i", "j"): ("sum[i]({q}[i]*W[i, j]) + b[j]", "sum[i, k](B[i, j, k]*{q}[i]*V[j, k])", "Σ[i](W[i, j]*{q}[i])"),
    ("i", "k"): ("sum[i, j]({q}[i]*W[i, j]*V[j, k])", "sum[i, j](B[i, j, k]*x[i]*{q}[i]*b[j])"),
    ("j", "j"): (
        "sum[j2]({q}[j2]*A[j2, j])",
        "{q}[j] + sum[j2](A[j, j2]*{q}[j2])",
        "A[j, j]*{q}[j] + b[j]",
        "sum[j2](A[j2, j]*sum[i](W[i, j2]*sum[j](W[i, j]*{q}[j])))",
    ),
    ("j", "k"): ("sum[j]({q}[j]*V[j, k])", "sum[j, j2](V[j, k]*A[j, j2]*{q}[j2]) + c"),
    ("k", "j"): ("sum[k](V[j, k]*{q}[k])", "b[j]*sum[k, k2](V[j, k]*V[j, k2]*{q}[k2])"),
    ("k", "k"): ("sum[j, k2](V[j, k]*V[j, k2]*{q}[k2])", "{q}[k]*sum[j](b[j]*V[j, k])"),
}


def _link(draw: Draw, env: Environment, last: str, own: str, group: str) -> str:
    text = str(draw(st.sampled_from(LINKS[own, group]))).format(q=last)
    env.used |= set(re.findall(r"\b[A-Za-z]\w*", text)) & set(env.tensors)
    return text


def expressions(free: tuple[str, ...] = (), depth: int = 3) -> st.SearchStrategy[tuple[str, dict[str, Tensor]]]:
    """An expression's text, and the tensors in which it can be read."""
    declared = {
        "x": ("n", "i"),
        "u": ("n",),
        "t": ("n", "k"),
        "W": ("i", "j"),
        "A": ("j", "j2"),
        "B": ("i", "j", "k"),
        "b": ("j",),
        "c": (),
        "V": ("k", "j"),
    }
    tensors = {name: Tensor(name, "input" if "n" in own else "parameter", own) for name, own in declared.items()}
    groups = {name: tuple(GROUP_OF[i] for i in own if i != "n") for name, own in declared.items()}

    @st.composite
    def build(draw: Draw) -> tuple[str, dict[str, Tensor]]:
        env = Environment(groups, {"i": 2, "j": 3, "k": 1}, hyper=("alpha", "beta"))
        return expression(draw, env, free, depth), tensors

    return build()


@st.composite
def systems(draw: Draw, kinks: bool = True, max_layers: int = 3, depth: int = 2) -> Drawn:
    """A network: one to three layers, a prediction, a loss of one or two parts.

    Among what is mixed in: weights shared by layers and used under swapped indices, diagonals, fixed positions,
    products of three tensors with three indices, skip connections, sums of sums, penalties, functions of the text's
    own, hyper-parameters, a label or a target, quantities without a sample axis. `kinks=False` leaves out max, abs,
    where and their like.
    """
    sizes = {group: draw(st.sampled_from(SIZES)) for group in GROUPS}
    env = Environment({"x": ("i",)}, sizes, kinks=kinks)
    labelled = draw(st.booleans())
    lines = ["input x[i]", "label y in k" if labelled else "target t[k], sum[k](t[k]) = 1"]
    if draw(st.booleans()):
        lines.append("input u")
        env.tensors["u"] = ()
    parameters = {name: tuple(GROUP_OF[i] for i in own) for name, own in PARAMETERS.items()}
    env.tensors |= parameters
    if draw(st.booleans()):
        env.hyper = ("alpha",)
        lines.append("alpha = 0.7")
    if draw(st.booleans()):
        env.functions = ("bump",)
        lines.append("bump(a) = a*exp(-a**2/4)")
    equations = []
    last, own = "x", "i"
    for layer in range(1, draw(st.integers(1, max_layers)) + 1):
        group = draw(st.sampled_from(["j", "j", "k"]))
        link = _link(draw, env, last, own, group)
        extra = expression(draw, env, (group,), depth)
        wrap = draw(st.sampled_from([*WRAPS, "relu({})"] if kinks else WRAPS))
        last, own = f"h{layer}", group
        equations.append(f"{last}[{group}] = {wrap.format(f'{link} + tanh({extra})')}")
        env.tensors[last] = (group,)
    if draw(st.booleans()):  # a quantity of the parameters alone
        env_of_weights = Environment(parameters, sizes, env.hyper, kinks=kinks)
        equations.append(f"r = 0.1*tanh({expression(draw, env_of_weights, (), depth)})")
        env.tensors["r"] = ()
        env.used |= env_of_weights.used
    equations += [f"z[k] = {_link(draw, env, last, own, 'k')}", "p[k] = softmax[k](z[k])"]
    loss = "-log(sum[k]([k == y]*p[k]))" if labelled else "-sum[k](t[k]*log(p[k]))"
    if draw(st.booleans()):
        penalty = expression(draw, env, (), depth)
        equations.append(f"C = {loss}")
        loss = f"C + 0.1*tanh({penalty})"
    total = draw(st.sampled_from(["E", "E", "L"]))
    equations.append(f"{total} = {loss}")
    if total != "E":
        lines.append(f"loss {total}")
    start = draw(st.sampled_from(["", " = zeros", " = uniform(-0.1, 0.1)", " = glorot_uniform", " = 0.5"]))
    lines += [f"parameter {_left(name)}{start}" for name in PARAMETERS if name in env.used]
    return Drawn("\n".join([*lines, *equations]) + "\n", {name: sizes[g] for name, g in GROUP_OF.items()})


PARAMETERS = {"W": ("i", "j"), "A": ("j", "j2"), "B": ("i", "j", "k"), "V": ("j", "k"), "b": ("j",), "c": ()}


def _left(name: str) -> str:
    return f"{name}[{', '.join(PARAMETERS[name])}]" if PARAMETERS[name] else name
