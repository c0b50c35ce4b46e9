"""A network in plain NumPy, written by chainrule from its formulas.

    # The one-layer digit reader: 784 pixels straight to 10 sigmoid outputs, half the squared error.
    # With t = 9 and p = 0.1 everywhere but p[9] = 0.9, E is 0.05.
    input     x[i]
    target    t[j]
    parameter w[i, j], b[j] = zeros

    z[j] = sum[i](x[i] * w[i, j]) + b[j]
    p[j] = 1 / (1 + exp(-z[j]))
    E    = 1/2 * sum[j]((t[j] - p[j])**2)

Run it with a file that numpy.savez made of x (N, i), t (N, j), or alone to see it run on random numbers.
"""

import sys

import numpy as np

eta = 0.01


def sigmoid(a):
    """1 / (1 + exp(-a)), by an exp that cannot overflow."""
    e = np.exp(-np.abs(a))
    return np.where(a > 0, 1, e) / (1 + e)


def rng(*key):
    """A generator of its own for every draw: the order of an epoch, and, from 2**32 on, each parameter."""
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


def initialize(size_i, size_j, seed=0):
    """The parameters before the first step."""
    w = np.zeros((size_i, size_j))
    b = np.zeros(size_j)
    return w, b


def forward(parameters, x):
    """From the input to p."""
    w, b = parameters

    z = x @ w + b   # z[j] = sum[i](x[i]*w[i, j]) + b[j]
    p = sigmoid(z)  # p[j] = sigmoid(z[j])
    return p


def predict(parameters, x):
    """The output p."""
    return forward(parameters, x)


def train_step(parameters, x, t):
    """One update on a batch; also gives E of its samples."""
    w, b = parameters
    N = len(x)

    p = forward(parameters, x)

    # loss
    E = ((t - p) ** 2).sum(axis=1) / 2  # E = 1/2*sum[j]((t[j] - p[j])**2)

    # backward
    delta_z = (p - t) * p * (1 - p)  # delta_z[j] = (p[j] - t[j])*p[j]*(1 - p[j])
    dE_dw = x.T @ delta_z / N        # dE_dw[i, j] = mean[n](x[i]*delta_z[j])
    dE_db = delta_z.mean(axis=0)     # dE_db[j] = mean[n](delta_z[j])

    # update, for every parameter w and its gradient g
    #     w <- w - eta*g
    w = w - eta * dE_dw
    b = b - eta * dE_db

    return (w, b), E


def train(x, t, epochs=5, batch_size=32, seed=0):
    """Epochs of batches, the rows in a new order each time; the trained parameters."""
    parameters = initialize(x.shape[1], t.shape[1], seed)
    for epoch in range(epochs):
        order = rng(seed, epoch).permutation(len(x))
        total_E = 0.0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            parameters, E = train_step(parameters, x[rows], t[rows])
            total_E += E.sum()
        print(f"epoch {epoch + 1}  E {total_E / len(x):.5f}")
    return parameters


if __name__ == "__main__":
    if len(sys.argv) > 1:
        data = np.load(sys.argv[1])
        x = data["x"].astype(float)
        t = data["t"].astype(float)
    else:  # random numbers, to see it run
        draw = np.random.default_rng(0)
        x = draw.uniform(size=(60, 6))
        t = np.eye(3)[draw.integers(3, size=60)]
    train(x, t)
