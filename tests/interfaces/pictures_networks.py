"""Networks and data that the tests of pictures draw."""

from __future__ import annotations

import numpy as np

import chainrule as cr

XOR_X = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
XOR_T = np.array([0, 1, 1, 0])

XOR = """
size j = 2
input     x[i]
target    t
parameter W1[i, j] = [[4.0, -3.0], [4.0, -3.5]]
parameter W2[j]    = [5.0, 5.5]
parameter b1[j]    = [-2.0, 4.5]
parameter b2       = -7.0
h[j] = sigmoid(sum[i](x[i]*W1[i, j]) + b1[j])
p    = sigmoid(sum[j](h[j]*W2[j]) + b2)
E    = -(t*log(p) + (1 - t)*log(1 - p))
"""

SKIP = """
size i = 3
size j = 4
size k = 4
input     x[i]
target    t
parameter W[i, j], U[k, j], V[i], w[j] = normal(0, 1)
h[j] = tanh(sum[i](x[i]*W[i, j]))
r[j] = h[j] + relu(sum[k](h[k]*U[k, j]))
y    = sum[j](r[j]*w[j]) + sum[i](x[i]*V[i])
E    = 1/2*(y - t)**2
"""

DIGITS = """
size j = 30
size i = 784
size k = 10
input     pixels[i]
target    t[k]
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k]       = zeros
x[i] = pixels[i]/255
h[j] = relu(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E    = -sum[k](t[k]*log(p[k]))
"""


def xor():
    return cr.formula(XOR, dtype="float64")


def digits():
    return cr.formula(DIGITS)


def deep(layers: int = 20):
    """x → h1 → … → h20 → y, six neurons a layer."""
    names = [f"h{n}" for n in range(1, layers + 1)]
    lines = ["size i = 8", "size j = 6", "size m = 6", "size k = 3", "input x[i]", "target t[k]"]
    lines += ["parameter W1[i, j] = glorot_uniform", "parameter Wo[j, k] = glorot_uniform"]
    lines += [f"parameter W{n}[m, j] = glorot_uniform" for n in range(2, layers + 1)]
    lines += ["h1[j] = tanh(sum[i](x[i]*W1[i, j]))"]
    lines += [f"h{n}[j] = tanh(sum[m](h{n - 1}[m]*W{n}[m, j]))" for n in range(2, layers + 1)]
    lines += [f"y[k] = softmax[k](sum[j]({names[-1]}[j]*Wo[j, k]))", "E = -sum[k](t[k]*log(y[k]))"]
    return cr.formula("\n".join(lines))


def texts(figure) -> list[str]:
    """Every text that stands in a figure."""
    from matplotlib.text import Text

    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def circles(figure) -> list:
    """The neurons that are drawn."""
    from matplotlib.patches import Circle

    return [p for p in figure.axes[0].patches if isinstance(p, Circle)]


def lines(figure, source: str, target: str) -> list[tuple[str, float]]:
    """(colour, width) of each line of a connection, sources first."""
    from matplotlib.colors import to_hex

    found = [c for c in figure.axes[0].collections if c.get_gid() == f"{source}-{target}"]
    return [
        (to_hex(colour), float(width))
        for c in found
        for colour, width in zip(c.get_colors(), c.get_linewidths(), strict=True)
    ]
