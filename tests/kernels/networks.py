"""Networks that a compiler of steps may stumble over, each with data: what the tests of the engine have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.training.network import Network, formula

Array = np.ndarray[Any, Any]

TWO_LAYERS = """
input p[i]
target t[k], sum[k](t[k]) = 1
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = uniform(-0.1, 0.1)
x[i] = p[i]/255
h[j] = relu(sum[i](x[i]*W1[i, j]) + b1[j])
y[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E = -sum[k](t[k]*log(y[k]))
"""

DEEP = """
input x[i]
target t[k]
parameter W1[i, j], W2[l, j], W3[l, k] = glorot_uniform
parameter b1[j], b2[l] = uniform(-0.1, 0.1)
h[j] = tanh(sum[i](x[i]*W1[i, j]) + b1[j])
g[l] = sigmoid(sum[j](W2[l, j]*h[j]) + b2[l])
y[k] = sum[l](g[l]*W3[l, k])
E = sum[k]((y[k] - t[k])**2)
"""

THREE_INDICES = """
input x[i]
target t[k]
parameter W[i, j] = glorot_uniform
parameter A[i, j, k] = uniform(-0.3, 0.3)
h[j] = tanh(sum[i](x[i]*W[i, j]))
y[k] = sum[i, j](x[i]*A[i, j, k]*h[j])
E = sum[k]((y[k] - t[k])**2)
"""

TIED = """
input x[i]
target t[k]
parameter W[i, j], V[j, k] = glorot_uniform
h[j] = tanh(sum[i](x[i]*W[i, j]))
r[i] = tanh(sum[j](W[i, j]*h[j]))
g[j] = h[j] + sum[i](r[i]*W[i, j])
y[k] = sum[j](g[j]*V[j, k])
E = sum[k]((y[k] - t[k])**2)
"""

SKIP = """
input x[i]
target t[k]
parameter W[i, j], V[j, k] = glorot_uniform
parameter A[j, m] = uniform(-0.3, 0.3)
size m = SIZE_j
h[j] = tanh(sum[i](x[i]*W[i, j]))
g[j] = h[j] + tanh(sum[m](A[j, m]*h[m]))*h[j] + A[j, j]*h[0]
y[k] = sum[j](g[j]*V[j, k])
E = sum[k]((y[k] - t[k])**2)
"""

TWO_LOSSES = """
input x[i]
target t[k]
label c in l
parameter W[i, j], V[j, k], U[j, l] = glorot_uniform
parameter s = 0.3
h[j] = tanh(sum[i](x[i]*W[i, j]))
y[k] = s*sum[j](h[j]*V[j, k])
q[l] = softmax[l](sum[j](h[j]*U[j, l]))
A = sum[k]((y[k] - t[k])**2)
B = -log(sum[l]([l == c]*q[l]))
E = A + 0.3*B + 0.01*sum[i, j](W[i, j]**2)
"""

STATISTICS = """
input x[i]
target t[k]
parameter W[i, j], V[j, k] = glorot_uniform
parameter gain[j] = 1
a[j] = sum[i](x[i]*W[i, j])
m[j] = mean[n](a[j])
v[j] = mean[n]((a[j] - m[j])**2)
h[j] = tanh(gain[j]*(a[j] - m[j])/sqrt(v[j] + 0.1))
y[k] = sum[j](h[j]*V[j, k])
E = sum[k]((y[k] - t[k])**2)
"""

# The samples are among the columns of the product: its left side is a weight.
MIXED_ROWS = """
input x[i, c]
target t[k]
parameter W[j, i] = glorot_uniform
parameter V[j, c, k] = uniform(-0.3, 0.3)
h[j, c] = tanh(sum[i](W[j, i]*x[i, c]))
y[k] = sum[j, c](h[j, c]*V[j, c, k])
E = sum[k]((y[k] - t[k])**2)
"""

ATTENTION = """
input x[i, c]
target t[k]
parameter Q[c, d], K[c, d], U[c, k] = glorot_uniform
q[i, d] = sum[c](x[i, c]*Q[c, d])
s[i, r] = sum[d](q[i, d]*sum[c](x[r, c]*K[c, d]))
a[i, r] = softmax[r](s[i, r])
o[i, c] = sum[r](a[i, r]*x[r, c])
y[k] = mean[i](sum[c](o[i, c]*U[c, k]))
E = sum[k]((y[k] - t[k])**2)
size r = SIZE_i
"""

WHOLE_BATCH = """
input x[i]
target t[k]
parameter w[i] = uniform(-1, 1)
y = sum[i](x[i]*w[i])
C = mean[n]((y - t[0])**2) + max[n](abs(y))/10 + min[n](y)**2/20
loss C
"""

# An update that needs nothing of the loss, and stands by a statistic that comes before it.
RUNNING_MEAN = """
input x[i]
target t[k]
parameter w[i] = uniform(-1, 1)
parameter c = 0.5
a = sum[i](x[i]*w[i])
m = mean[n](a)
y = a - m
E = (y - t[0])**2
c <- 0.9*c + 0.1*m
w[i] <- w[i] - 0.1*mean[n](x[i]*(y - t[0]))
"""

OWN_RULE = """
input x[i]
target t[k]
parameter W[i, k] = glorot_uniform
state M[i, k] = zeros
state count = zeros
y[k] = sum[i](x[i]*W[i, k])
E = sum[k]((y[k] - t[k])**2)
M[i, k] <- 0.9*M[i, k] + mean[n](x[i]*(y[k] - t[k])) + 0.01*W[i, k]
W[i, k] <- W[i, k] - 0.05*M[i, k]/(1 + count)
"""

NO_LOSS = """
input x[i]
target t[k]
parameter w[i], b = zeros
y = step(sum[i](w[i]*x[i]) + b)
output y
w[i] <- w[i] + (t[0] - y)*x[i]
b <- b + (t[0] - y)
"""

SCALARS_AND_POSITIONS = """
input x[i]
target t[k]
parameter s = 0.5
parameter w[i] = uniform(-1, 1)
parameter V[j, k] = glorot_uniform
alpha = 0.7
size j = SIZE_i
u[j] = where(sum[i](x[i]*w[i]) > 0, max[i](x[i]*w[i]), min[i](x[i]*w[i]))*[j == 1] + s*sum[i]([i == j]*x[i])
g[j] = tanh(u[j])*alpha/(1 + alpha) + max(u[j], s)*min(u[j], 0.3)
y[k] = sum[j](g[j]*V[j, k]) + s*x[0]
E = sum[k](where(abs(y[k] - t[k]) < 0.4, (y[k] - t[k])**2, alpha*abs(y[k] - t[k])))
"""

COVARIANCE = """
input x[i]
input z[j]
target t[k]
parameter W[i, j] = glorot_uniform
u[i] = x[i]/2
v[j] = z[j]/3
A[i, j] = mean[n](u[i]*v[j])
E = sum[i, j](A[i, j]*W[i, j]) + sum[i, j](W[i, j]**2) + t[0]**2
"""

# What is drawn, with one index, two and none besides the sample; averages of the batches that only a prediction reads.
PHASES = """
input x[i]
target t[k]
parameter W[i, j], V[j, k] = glorot_uniform
parameter gain[j] = 1
state m_avg[j] = zeros
state v_avg[j] = 1
state count = zeros
keep = 0.7
a[j] = sum[i](x[i]*W[i, j])
m[j] = mean[n](a[j])
v[j] = mean[n]((a[j] - m[j])**2)
h[j] = tanh(gain[j]*(a[j] - m[j])/sqrt(v[j] + 0.1))
random r[j] = bernoulli(keep)
random q[j, k] = uniform(0.5, 1.5)
random e = normal(0, 0.1)
d[j] = h[j]*r[j]/keep
y[k] = sum[j](d[j]*V[j, k]*q[j, k]) + e
E = sum[k]((y[k] - t[k])**2)
prediction m[j] = m_avg[j]/(2 - 0.9**count)
prediction v[j] = v_avg[j]
m_avg[j] <- 0.9*m_avg[j] + 0.1*m[j]
v_avg[j] <- 0.9*v_avg[j] + 0.1*v[j]
count <- count + 1
"""

TEXTS = {
    name: text.strip() + "\n"
    for name, text in {
        "two layers": TWO_LAYERS, "deep": DEEP, "three indices": THREE_INDICES, "tied": TIED, "skip": SKIP,
        "two losses": TWO_LOSSES, "statistics": STATISTICS, "mixed rows": MIXED_ROWS, "attention": ATTENTION,
        "whole batch": WHOLE_BATCH, "running mean": RUNNING_MEAN, "own rule": OWN_RULE, "no loss": NO_LOSS,
        "scalars and positions": SCALARS_AND_POSITIONS, "covariance": COVARIANCE,
        "phases": PHASES,
    }.items()
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network's text, sizes, and data; `network()` makes it anew with the same weights."""

    text: str
    sizes: dict[str, int]
    data: dict[str, Array]

    def network(self, dtype: str) -> Network:
        return formula(self.text, dtype=dtype, sizes=self.sizes, seed=3)


def case(name: str, sizes: dict[str, int], rows: int, seed: int = 0) -> Case:
    """The network of that name with normal inputs (bytes for p) and targets."""
    given = {"i": 5, "j": 4, "k": 3, "l": 4, "c": 3, "d": 4} | sizes
    text = re.sub(r"SIZE_(\w)", lambda m: str(given[m[1]]), TEXTS[name])
    rng = np.random.default_rng(seed)
    net = formula(text)
    known = {index: given[index] for t in net.system.tensors.values() for index in t.indices if index in given}
    data: dict[str, Array] = {}
    for tensor in net.system.of_role("input", "target", "label"):
        shape = [rows, *(known[i] for i in tensor.indices if i != "n")]
        data[tensor.name] = rng.normal(size=shape)
        if tensor.name == "p":
            data["p"] = rng.integers(0, 256, shape).astype(np.uint8)
        elif tensor.role == "label":
            data[tensor.name] = rng.integers(0, known["l"], shape)
        elif net.system.facts:
            data[tensor.name] = np.eye(shape[1])[rng.integers(0, shape[1], rows)]
    return Case(text, known | net.sizes, data)


def thinned(case: Case, density: float, seed: int = 1) -> Case:
    """The same with inputs of which so large a share is not 0."""
    rng = np.random.default_rng(seed)
    inputs = {t.name for t in formula(case.text).system.of_role("input")}
    data = {
        n: np.where(rng.random(a.shape) < density, a, 0).astype(a.dtype) if n in inputs else a
        for n, a in case.data.items()
    }
    return Case(case.text, case.sizes, data)
