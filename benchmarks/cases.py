"""What is measured: one row per case.

A case is a network, its data and how it is trained. Peers read `layers`, `activation` and `loss`; chainrule reads the
formulas, which `Case.formula` writes from the same three, or which the row gives where no peer takes part.

>>> CASES["A"].title
'784-512-10 relu, cross_entropy, rmsprop, batch 128, mnist'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

ALL = ("chainrule", "pytorch", "jax", "keras", "sklearn")
COMPILED = ("chainrule", "pytorch", "jax")
FEATURED = ("chainrule", "pytorch", "keras")
ALONE = ("chainrule",)

# Activations and losses in chainrule's notation; "mish" is written out, as a user writes an activation of their own.
ACTIVATIONS = {"mish": "mish(a) = a*tanh(softplus(a))"}
OUTPUTS = {
    "cross_entropy": ("softmax[k]({a})", "-sum[k](t[k]*log(p[k]))"),
    "half_squared": ("sigmoid({a})", "1/2*sum[k]((t[k] - p[k])**2)"),
    "mean_squared": ("{a}", "sum[k]((t[k] - p[k])**2)"),
}
# A hidden layer {n} over {j} with weighted sums {a} and activation {f}, where it is more than f(a).
HIDDEN = {
    "dropout": """\
random m{n}[{j}] = bernoulli(0.8)
g{n}[{j}] = {f}({a})
h{n}[{j}] = g{n}[{j}]*m{n}[{j}]/0.8
prediction h{n}[{j}] = g{n}[{j}]""",
    "batch_norm": """\
parameter gamma{n}[{j}] = ones
parameter beta{n}[{j}] = zeros
state m{n}[{j}] = zeros
state v{n}[{j}] = ones
a{n}[{j}] = {a}
mu{n}[{j}] = mean[n](a{n}[n, {j}])
var{n}[{j}] = mean[n]((a{n}[n, {j}] - mu{n}[{j}])**2)
h{n}[{j}] = {f}(gamma{n}[{j}]*(a{n}[{j}] - mu{n}[{j}])/sqrt(var{n}[{j}] + 1e-5) + beta{n}[{j}])
m{n}[{j}] <- 0.9*m{n}[{j}] + 0.1*mu{n}[{j}]
v{n}[{j}] <- 0.9*v{n}[{j}] + 0.1*var{n}[{j}]
prediction mu{n}[{j}] = m{n}[{j}]
prediction var{n}[{j}] = v{n}[{j}]""",
}
FACTS = {"cross_entropy": ", sum[k](t[k]) = 1"}


@dataclass(frozen=True)
class Case:
    """One measurement. `rows` are the training samples of an epoch; one round of "step" is one epoch.

    `measure` is what is timed: a training "step", a prediction of one "row" or of many "rows", a whole "process", or
    the "record" (the process to 98 %). `feature` is what comes on top of the dense network: "dropout", "batch_norm",
    "sample_weights", or "clipping" of all gradients by their norm. `goals` are ratios peer / chainrule; `share_goal` is
    a share of the floor.
    """

    name: str
    layers: tuple[int, ...] = (784, 512, 10)
    activation: str = "relu"
    loss: str = "cross_entropy"
    optimizer: str = "rmsprop"
    learning_rate: float = 0.001
    batch_size: int = 128
    data: str = "mnist"
    rows: int = 60_000
    measure: str = "step"
    sides: tuple[str, ...] = ALONE
    goals: Mapping[str, float] = field(default_factory=dict)
    share_goal: float | None = None
    text: str = ""
    about: str = ""
    feature: str = ""

    @property
    def title(self) -> str:
        """The case in one line."""
        shape = "-".join(map(str, self.layers))
        network = self.about or f"{shape} {self.activation}, {self.loss}"
        network += f", {self.feature}" if self.feature else ""
        if self.measure in ("row", "rows"):
            return f"{network}: predict one row of {self.data}" if self.measure == "row" else f"{network}: 10,000 rows"
        return f"{network}, {self.optimizer}, batch {self.batch_size}, {self.data}"

    @property
    def formula(self) -> str:
        """The network in chainrule's notation."""
        return self.text or dense_formula(
            self.layers, self.activation, self.loss, pixels=self.data == "mnist", feature=self.feature
        )

    @property
    def steps(self) -> int:
        """Updates in an epoch; the last batch may be smaller."""
        return -(-self.rows // self.batch_size)


def dense_formula(layers: Sequence[int], activation: str, loss: str, *, pixels: bool, feature: str = "") -> str:
    """A dense network as formulas; `pixels` are bytes that the formulas scale to 0-1; for `feature` see Case.

    >>> print(dense_formula((784, 30, 10), "sigmoid", "half_squared", pixels=False))
    size i0 = 784
    size i1 = 30
    size k = 10
    input x[i0]
    target t[k]
    parameter W1[i0, i1], W2[i1, k] = glorot_uniform
    parameter b1[i1], b2[k] = zeros
    h1[i1] = sigmoid(sum[i0](x[i0]*W1[i0, i1]) + b1[i1])
    p[k] = sigmoid(sum[i1](h1[i1]*W2[i1, k]) + b2[k])
    E = 1/2*sum[k]((t[k] - p[k])**2)
    """
    indices = [*(f"i{layer}" for layer in range(len(layers) - 1)), "k"]
    pairs = list(enumerate(pairwise(indices), start=1))
    lines = [ACTIVATIONS[activation]] if activation in ACTIVATIONS else []
    lines += [f"size {index} = {size}" for index, size in zip(indices, layers, strict=True)]
    lines += ["input pixels[i0]" if pixels else "input x[i0]", f"target t[k]{FACTS.get(loss, '')}"]
    lines += ["parameter " + ", ".join(f"W{n}[{i}, {j}]" for n, (i, j) in pairs) + " = glorot_uniform"]
    lines += ["parameter " + ", ".join(f"b{n}[{j}]" for n, (_, j) in pairs) + " = zeros"]
    lines += ["x[i0] = pixels[i0]/255"] if pixels else []
    below = "x"
    output, error = OUTPUTS[loss]
    for n, (i, j) in pairs:
        affine = f"sum[{i}]({below}[{i}]*W{n}[{i}, {j}]) + b{n}[{j}]"
        last = n == len(pairs)
        below = "p" if last else f"h{n}"
        if last:
            lines += [f"p[{j}] = {output.format(a=affine)}"]
        elif feature in HIDDEN:
            lines += HIDDEN[feature].format(n=n, j=j, a=affine, f=activation).splitlines()
        else:
            lines += [f"h{n}[{j}] = {activation}({affine})"]
    return "\n".join([*lines, f"E = {error}"])


# --- the networks that only formulas say ------------------------------------------------------------------------------

THREE_INDEX = """\
size r = 28
size c = 28
size j = 512
size k = 10
input x[r, c]
target t[k], sum[k](t[k]) = 1
parameter W1[r, c, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = zeros
h[j] = relu(sum[r, c](x[r, c]*W1[r, c, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E = -sum[k](t[k]*log(p[k]))"""

SKIP = """\
size i = 784
size h = 256
size j = 256
size k = 10
input x[i]
target t[k], sum[k](t[k]) = 1
parameter W1[i, h], W2[h, j], W3[j, k] = glorot_uniform
parameter b1[h], b2[j], b3[k] = zeros
parameter S[i, j] = glorot_uniform
u[h] = relu(sum[i](x[i]*W1[i, h]) + b1[h])
v[j] = relu(sum[h](u[h]*W2[h, j]) + b2[j]) + sum[i](x[i]*S[i, j])
p[k] = softmax[k](sum[j](v[j]*W3[j, k]) + b3[k])
E = -sum[k](t[k]*log(p[k]))"""

TIED = """\
size i = 784
size j = 128
input x[i]
target t[i]
parameter W[i, j] = glorot_uniform
parameter b[j], c[i] = zeros
h[j] = tanh(sum[i](x[i]*W[i, j]) + b[j])
r[i] = sum[j](h[j]*W[i, j]) + c[i]
E = 1/2*sum[i]((t[i] - r[i])**2)
output r"""

TWO_LOSSES = """\
size i = 784
size j = 256
size k = 10
input x[i]
target t[k], sum[k](t[k]) = 1
parameter W1[i, j], W2[j, k], W3[j, i] = glorot_uniform
parameter b1[j], b2[k], b3[i] = zeros
h[j] = relu(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
r[i] = sum[j](h[j]*W3[j, i]) + b3[i]
E = -sum[k](t[k]*log(p[k])) + 1/1000*sum[i]((x[i] - r[i])**2)
output p"""

# --- the table --------------------------------------------------------------------------------------------------------


def _goals(pytorch: float, jax: float, *, all_sides: bool = False) -> dict[str, float]:
    """Keras and scikit-learn are held to PyTorch's goal where they take part."""
    return {"pytorch": pytorch, "jax": jax} | (dict.fromkeys(("keras", "sklearn"), pytorch) if all_sides else {})


_ROWS = (
    Case("A", sides=ALL, goals=_goals(5, 3, all_sides=True), share_goal=1.0),
    Case("A-sgd", optimizer="sgd", learning_rate=0.1, sides=COMPILED),
    Case("A-dense", data="normal", sides=COMPILED, goals=_goals(2.5, 1.7), share_goal=0.7),
    Case(
        "B",
        layers=(784, 30, 10),
        activation="sigmoid",
        loss="half_squared",
        optimizer="sgd",
        learning_rate=1.0,
        batch_size=10,
        rows=20_000,
        sides=ALL,
        goals=_goals(25, 7, all_sides=True),
    ),
    Case(
        "C",
        layers=(784, 100, 10),
        optimizer="adam",
        batch_size=32,
        sides=ALL,
        goals=_goals(10, 4, all_sides=True),
    ),
    Case(
        "D",
        layers=(64, 256, 128, 1),
        loss="mean_squared",
        optimizer="adam",
        batch_size=256,
        data="mixed",
        rows=200_000,
        sides=ALL,
        goals=_goals(4, 3, all_sides=True),
    ),
    Case(
        "E",
        layers=(784, 2048, 2048, 10),
        optimizer="adam",
        batch_size=512,
        data="normal",
        rows=8_192,
        sides=COMPILED,
        goals=_goals(1.3, 1.3),
    ),
    Case("F", activation="mish", sides=COMPILED, goals=_goals(5, 3)),
    Case("A-dropout", feature="dropout", sides=FEATURED, goals={"pytorch": 5}),
    Case("A-batch-norm", feature="batch_norm", sides=FEATURED, goals={"pytorch": 5}),
    Case("A-weights", feature="sample_weights", sides=FEATURED, goals={"pytorch": 5}),
    Case("A-clipping", feature="clipping", sides=FEATURED, goals={"pytorch": 5}),
    Case("predict-1", measure="row", sides=ALL, goals=_goals(5, 5)),
    Case("predict-1-dense", measure="row", data="normal", sides=COMPILED),
    Case("predict-10000", measure="rows", sides=ALL, goals=_goals(1.5, 1.5)),
    Case(
        "warm-process",
        measure="process",
        sides=COMPILED,
        goals=_goals(5, 5),
        about="start, import, load, 5 epochs of A, test, save",
    ),
    Case("time-to-98", measure="record", about="a whole process, until 98 % of the test digits are read right"),
    Case("three-index", text=THREE_INDEX, data="normal", rows=20_000, about="28×28-512-10, sums over r and c"),
    Case("skip", text=SKIP, data="normal", rows=20_000, about="784-256-256-10 with 784-256 around the middle"),
    Case("tied", text=TIED, data="rebuild", rows=20_000, about="784-128-784, decoder W transposed"),
    Case("two-losses", text=TWO_LOSSES, data="normal", rows=20_000, about="784-256-(10 and 784), two losses added"),
)

CASES: Mapping[str, Case] = {case.name: case for case in _ROWS}

# --- how cost grows: one size at a time, the others as in the base case -----------------------------------------------

BASE = {"width": 256, "batch": 128, "depth": 2}
SWEEPS: Mapping[str, tuple[int, ...]] = {
    "width": (32, 64, 128, 256, 512, 1024, 2048, 4096),
    "batch": (1, 4, 16, 64, 256, 1024, 4096),
    "depth": (1, 2, 4, 8),
    "rows": (1_000, 10_000, 100_000, 1_000_000),
}
EPOCH_FLOPS = 4e10  # about half a second
FEWEST_STEPS, MOST_STEPS = 6, 2_000


def growth_case(sweep: str, value: int) -> Case:
    """256 inputs, `depth` layers of `width` units, 10 classes, Adam; as many rows as half a second takes, or `rows`.

    >>> growth_case("width", 4096).layers
    (256, 4096, 4096, 10)
    """
    sizes = BASE | {sweep: value}
    width, batch = sizes["width"], sizes["batch"]
    layers = (256, *[width] * sizes["depth"], 10)
    step_flops = 6 * batch * sum(i * j for i, j in pairwise(layers))
    steps = min(max(round(EPOCH_FLOPS / step_flops), FEWEST_STEPS), MOST_STEPS)
    rows = sizes.get("rows", batch * steps)
    name = f"{sweep}={value}"
    return Case(name, layers, optimizer="adam", batch_size=batch, data="normal", rows=rows)


GROWTH_CASES: Mapping[str, Case] = {
    case.name: case for sweep, values in SWEEPS.items() for case in (growth_case(sweep, value) for value in values)
}
