"""A network in plain NumPy, written by chainrule from its formulas.

    # The two-layer digit network: 784 pixels, 512 hidden units, 10 classes. About 98 % of the test digits
    # after 5 epochs of RMSprop in batches of 128, pixels scaled to 0-1.
    size      j = 512
    input     x[i]
    target    t[k], sum[k](t[k]) = 1
    parameter W1[i, j], W2[j, k] = glorot_uniform
    parameter b1[j], b2[k]       = zeros

    h[j] = relu(sum[i](x[i] * W1[i, j]) + b1[j])
    p[k] = softmax[k](sum[j](h[j] * W2[j, k]) + b2[k])
    E    = -sum[k](t[k] * log(p[k]))

Run it with a file that numpy.savez made of x (N, i), t (N, k), or alone to see it run on random numbers.
"""

import math
import sys

import numpy as np

size_j = 512
eta = 0.001
rho = 0.9
epsilon = 1e-07


def rng(*key):
    """A generator of its own for every draw: the order of an epoch, and, from 2**32 on, each parameter."""
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


def initialize(size_i, size_k, seed=0):
    """The parameters and states before the first step."""
    limit = math.sqrt(6 / (size_i + size_j))
    W1 = rng(seed, 2**32 + 0).uniform(-limit, limit, (size_i, size_j))
    limit = math.sqrt(6 / (size_j + size_k))
    W2 = rng(seed, 2**32 + 1).uniform(-limit, limit, (size_j, size_k))
    b1 = np.zeros(size_j)
    b2 = np.zeros(size_k)
    v_W1 = np.zeros_like(W1)
    v_W2 = np.zeros_like(W2)
    v_b1 = np.zeros_like(b1)
    v_b2 = np.zeros_like(b2)
    return (W1, W2, b1, b2), (v_W1, v_W2, v_b1, v_b2)


def forward(parameters, x):
    """From the input to p, by way of what the backward pass needs."""
    W1, W2, b1, b2 = parameters

    a_h = x @ W1 + b1       # a_h[j] = sum[i](x[i]*W1[i, j]) + b1[j]
    h = np.maximum(a_h, 0)  # h[j] = relu(a_h[j])
    a_p = h @ W2 + b2       # a_p[k] = sum[j](h[j]*W2[j, k]) + b2[k]
    max_p = a_p.max(axis=1, keepdims=True)
    exp_p = np.exp(a_p - max_p)
    sum_p = exp_p.sum(axis=1, keepdims=True)
    p = exp_p / sum_p       # p[k] = softmax[k](a_p[k])
    return a_h, h, a_p, max_p, sum_p, p


def predict(parameters, x):
    """The output p."""
    *_, p = forward(parameters, x)
    return p


def train_step(parameters, state, x, t):
    """One update on a batch; also gives E of its samples."""
    W1, W2, b1, b2 = parameters
    v_W1, v_W2, v_b1, v_b2 = state
    N = len(x)

    a_h, h, a_p, max_p, sum_p, p = forward(parameters, x)

    # loss
    log_p = a_p - max_p - np.log(sum_p)  # log_p[k] = log_softmax[k](a_p[k])
    E = -(t * log_p).sum(axis=1)         # E = -sum[k](t[k]*log_p[k])

    # backward
    delta_p = p - t                         # delta_p[k] = p[k] - t[k]
    delta_h = (a_h > 0) * (delta_p @ W2.T)  # delta_h[j] = step(a_h[j])*sum[k](W2[j, k]*delta_p[k])
    dE_dW1 = x.T @ delta_h / N              # dE_dW1[i, j] = mean[n](x[i]*delta_h[j])
    dE_dW2 = h.T @ delta_p / N              # dE_dW2[j, k] = mean[n](h[j]*delta_p[k])
    dE_db1 = delta_h.mean(axis=0)           # dE_db1[j] = mean[n](delta_h[j])
    dE_db2 = delta_p.mean(axis=0)           # dE_db2[k] = mean[n](delta_p[k])

    # update, for every parameter w and its gradient g
    #     v <- rho*v + (1 - rho)*g**2
    #     w <- w - eta*g/(sqrt(v) + epsilon)
    v_W1 = rho * v_W1 + (1 - rho) * dE_dW1**2
    W1 = W1 - eta * dE_dW1 / (np.sqrt(v_W1) + epsilon)
    v_W2 = rho * v_W2 + (1 - rho) * dE_dW2**2
    W2 = W2 - eta * dE_dW2 / (np.sqrt(v_W2) + epsilon)
    v_b1 = rho * v_b1 + (1 - rho) * dE_db1**2
    b1 = b1 - eta * dE_db1 / (np.sqrt(v_b1) + epsilon)
    v_b2 = rho * v_b2 + (1 - rho) * dE_db2**2
    b2 = b2 - eta * dE_db2 / (np.sqrt(v_b2) + epsilon)

    return (W1, W2, b1, b2), (v_W1, v_W2, v_b1, v_b2), E


def train(x, t, epochs=5, batch_size=32, seed=0):
    """Epochs of batches, the rows in a new order each time; the trained parameters."""
    parameters, state = initialize(x.shape[1], t.shape[1], seed)
    for epoch in range(epochs):
        order = rng(seed, epoch).permutation(len(x))
        total_E = 0.0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            parameters, state, E = train_step(parameters, state, x[rows], t[rows])
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
