"""A network in plain NumPy, written by chainrule from its formulas.

    # The multi-layer perceptron 784-30-10 with sigmoids and the quadratic cost C = 1/(2n) sum ||y - z||^2, here for one
    # sample. w1[j, i] joins neuron i of the input to j of the hidden layer, w2[k, j] neuron j of that to k of the output.
    size      j = 30
    input     x[i]
    target    y[k]
    parameter w1[j, i], w2[k, j] = glorot_uniform
    parameter b1[j], b2[k]       = zeros

    a1[j] = sum[i](w1[j, i] * x[i]) + b1[j]
    z1[j] = sigmoid(a1[j])
    a2[k] = sum[j](w2[k, j] * z1[j]) + b2[k]
    z2[k] = sigmoid(a2[k])
    C     = 1/2 * sum[k]((y[k] - z2[k])**2)
    loss C

Run it with a file that numpy.savez made of x (N, i), y (N, k), or alone to see it run on random numbers.
"""

import math
import sys

import numpy as np

size_j = 30
eta = 0.01


def sigmoid(a):
    """1 / (1 + exp(-a)), by an exp that cannot overflow."""
    e = np.exp(-np.abs(a))
    return np.where(a > 0, 1, e) / (1 + e)


def rng(*key):
    """A generator of its own for every draw: the order of an epoch, and, from 2**32 on, each parameter."""
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


def initialize(size_i, size_k, seed=0):
    """The parameters before the first step."""
    limit = math.sqrt(6 / (size_i + size_j))
    w1 = rng(seed, 2**32 + 0).uniform(-limit, limit, (size_j, size_i))
    limit = math.sqrt(6 / (size_j + size_k))
    w2 = rng(seed, 2**32 + 1).uniform(-limit, limit, (size_k, size_j))
    b1 = np.zeros(size_j)
    b2 = np.zeros(size_k)
    return w1, w2, b1, b2


def forward(parameters, x):
    """From the input to z2, by way of what the backward pass needs."""
    w1, w2, b1, b2 = parameters

    a1 = x @ w1.T + b1   # a1[j] = sum[i](w1[j, i]*x[i]) + b1[j]
    z1 = sigmoid(a1)     # z1[j] = sigmoid(a1[j])
    a2 = z1 @ w2.T + b2  # a2[k] = sum[j](w2[k, j]*z1[j]) + b2[k]
    z2 = sigmoid(a2)     # z2[k] = sigmoid(a2[k])
    return z1, z2


def predict(parameters, x):
    """The output z2."""
    *_, z2 = forward(parameters, x)
    return z2


def train_step(parameters, x, y):
    """One update on a batch; also gives C of its samples."""
    w1, w2, b1, b2 = parameters
    N = len(x)

    z1, z2 = forward(parameters, x)

    # loss
    C = ((y - z2) ** 2).sum(axis=1) / 2  # C = 1/2*sum[k]((y[k] - z2[k])**2)

    # backward
    delta_a2 = (z2 - y) * z2 * (1 - z2)         # delta_a2[k] = (z2[k] - y[k])*z2[k]*(1 - z2[k])
    delta_a1 = z1 * (1 - z1) * (delta_a2 @ w2)  # delta_a1[j] = z1[j]*(1 - z1[j])*sum[k](w2[k, j]*delta_a2[k])
    dC_dw1 = delta_a1.T @ x / N                 # dC_dw1[j, i] = mean[n](x[i]*delta_a1[j])
    dC_dw2 = delta_a2.T @ z1 / N                # dC_dw2[k, j] = mean[n](z1[j]*delta_a2[k])
    dC_db1 = delta_a1.mean(axis=0)              # dC_db1[j] = mean[n](delta_a1[j])
    dC_db2 = delta_a2.mean(axis=0)              # dC_db2[k] = mean[n](delta_a2[k])

    # update, for every parameter w and its gradient g
    #     w <- w - eta*g
    w1 = w1 - eta * dC_dw1
    w2 = w2 - eta * dC_dw2
    b1 = b1 - eta * dC_db1
    b2 = b2 - eta * dC_db2

    return (w1, w2, b1, b2), C


def train(x, y, epochs=5, batch_size=32, seed=0):
    """Epochs of batches, the rows in a new order each time; the trained parameters."""
    parameters = initialize(x.shape[1], y.shape[1], seed)
    for epoch in range(epochs):
        order = rng(seed, epoch).permutation(len(x))
        total_C = 0.0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            parameters, C = train_step(parameters, x[rows], y[rows])
            total_C += C.sum()
        print(f"epoch {epoch + 1}  C {total_C / len(x):.5f}")
    return parameters


if __name__ == "__main__":
    if len(sys.argv) > 1:
        data = np.load(sys.argv[1])
        x = data["x"].astype(float)
        y = data["y"].astype(float)
    else:  # random numbers, to see it run
        draw = np.random.default_rng(0)
        x = draw.uniform(size=(60, 6))
        y = np.eye(3)[draw.integers(3, size=60)]
    train(x, y)
