"""A network in plain NumPy, written by chainrule from its formulas.

    # Logistic regression: the probability p that t = 1, and the binary cross entropy of one point.
    # The gradient is -(t - p) x[i] for the weights and -(t - p) for the bias.
    input     x[i]
    target    t
    parameter w[i], b = zeros

    p = sigmoid(sum[i](w[i] * x[i]) + b)
    E = -(t * log(p) + (1 - t) * log(1 - p))

Run it with a file that numpy.savez made of x (N, i), t (N), or alone to see it run on random numbers.
"""

import sys

import numpy as np

eta = 0.01


def sigmoid(a):
    """1 / (1 + exp(-a)), by an exp that cannot overflow."""
    e = np.exp(-np.abs(a))
    return np.where(a > 0, 1, e) / (1 + e)


def softplus(a):
    """log(1 + exp(a)), without overflow."""
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def rng(*key):
    """A generator of its own for every draw: the order of an epoch, and, from 2**32 on, each parameter."""
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


def initialize(size_i, seed=0):
    """The parameters before the first step."""
    w = np.zeros(size_i)
    b = np.zeros(())
    return w, b


def forward(parameters, x):
    """From the input to p, by way of what the backward pass needs."""
    w, b = parameters

    a_p = x @ w + b   # a_p = sum[i](w[i]*x[i]) + b
    p = sigmoid(a_p)  # p = sigmoid(a_p)
    return a_p, p


def predict(parameters, x):
    """The output p."""
    *_, p = forward(parameters, x)
    return p


def train_step(parameters, x, t):
    """One update on a batch; also gives E of its samples."""
    w, b = parameters
    N = len(x)

    a_p, p = forward(parameters, x)

    # loss
    E = t * softplus(-a_p) + (1 - t) * softplus(a_p)  # E = t*softplus(-a_p) + (1 - t)*softplus(a_p)

    # backward
    delta_p = p - t            # delta_p = p - t
    dE_dw = x.T @ delta_p / N  # dE_dw[i] = mean[n](x[i]*delta_p)
    dE_db = delta_p.mean()     # dE_db = mean[n](delta_p)

    # update, for every parameter w and its gradient g
    #     w <- w - eta*g
    w = w - eta * dE_dw
    b = b - eta * dE_db

    return (w, b), E


def train(x, t, epochs=5, batch_size=32, seed=0):
    """Epochs of batches, the rows in a new order each time; the trained parameters."""
    parameters = initialize(x.shape[1], seed)
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
        t = draw.integers(2, size=60).astype(float)
    train(x, t)
