"""JAX: one jitted function an epoch, a scan over its batches, the data passed as arguments, the state donated.

The network is that of https://docs.jax.dev/en/latest/notebooks/neural_network_with_tfds_data.html; the optimizers are
the same formulas as everywhere here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Array, Weights
from benchmarks.sides import Setup

Parameters = list[tuple[jax.Array, jax.Array]]


class State(NamedTuple):
    """Parameters, the two moments that optimizers keep of their gradients, and the number of the step."""

    parameters: Parameters
    first: Parameters
    second: Parameters
    step: jax.Array


def sgd(state: State, gradients: Parameters, rate: float) -> State:
    """w - η g."""
    moved = jax.tree.map(lambda w, g: w - rate * g, state.parameters, gradients)
    return state._replace(parameters=moved)


def rmsprop(state: State, gradients: Parameters, rate: float) -> State:
    """Tieleman & Hinton, 2012."""
    second = jax.tree.map(lambda v, g: 0.9 * v + 0.1 * g**2, state.second, gradients)
    moved = jax.tree.map(lambda w, v, g: w - rate * g / (jnp.sqrt(v) + 1e-7), state.parameters, second, gradients)
    return state._replace(parameters=moved, second=second)


def adam(state: State, gradients: Parameters, rate: float) -> State:
    """Kingma & Ba, 2015, Algorithm 1."""
    step = state.step + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.second, gradients)
    moved = jax.tree.map(
        lambda w, m, v: w - rate * (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.999**step)) + 1e-8),
        state.parameters,
        first,
        second,
    )
    return State(moved, first, second, step)


OPTIMIZERS = {"sgd": sgd, "rmsprop": rmsprop, "adam": adam}


def mish(a: jax.Array) -> jax.Array:
    """An activation of the user's own."""
    return a * jnp.tanh(jax.nn.softplus(a))


ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "mish": mish,
}
OUTPUTS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "cross_entropy": jax.nn.softmax,
    "half_squared": jax.nn.sigmoid,
    "mean_squared": lambda logits: logits,
}


def logits_of(case: Case, parameters: Parameters, x: jax.Array) -> jax.Array:
    """The forward pass up to the logits: x (N, I) → (N, K)."""
    activation = ACTIVATIONS[case.activation]
    for weight, bias in parameters[:-1]:
        x = activation(x @ weight + bias)
    weight, bias = parameters[-1]
    return x @ weight + bias


def loss_of(case: Case, parameters: Parameters, x: jax.Array, t: jax.Array) -> jax.Array:
    """The mean loss of a batch."""
    logits = logits_of(case, parameters, x)
    if case.loss == "cross_entropy":
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), t[:, None], axis=1))
    squares = jnp.sum((OUTPUTS[case.loss](logits) - t) ** 2, axis=1)
    return 0.5 * jnp.mean(squares) if case.loss == "half_squared" else jnp.mean(squares)


def train_step(case: Case, state: State, x: jax.Array, t: jax.Array) -> State:
    """One update."""
    gradients = jax.grad(partial(loss_of, case))(state.parameters, x, t)
    return OPTIMIZERS[case.optimizer](state, gradients, case.learning_rate)


def epoch_of(case: Case) -> Callable[[State, jax.Array, jax.Array, jax.Array], State]:
    """The compiled epoch: (state, inputs, targets, order of the rows) → state."""

    @partial(jax.jit, donate_argnums=0)
    def epoch(state: State, x: jax.Array, t: jax.Array, order: jax.Array) -> State:
        whole = len(x) // case.batch_size * case.batch_size

        def step(state: State, batch: jax.Array) -> tuple[State, None]:
            return train_step(case, state, x[batch], t[batch]), None

        state, _ = jax.lax.scan(step, state, order[:whole].reshape(-1, case.batch_size))
        last = order[whole:]  # what is left over is a smaller batch, as for the other sides
        return train_step(case, state, x[last], t[last]) if len(last) else state

    return epoch


def start(weights: Weights) -> State:
    """The state before the first update."""
    parameters = [(jnp.array(weight), jnp.array(bias)) for weight, bias in weights]
    first, second = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
    return State(parameters, first, second, jnp.array(0.0))


class JaxSide:
    """See Side."""

    def __init__(self, setup: Setup):
        self.case = setup.case
        self.state = start(setup.weights)
        self.inputs = self.hold(setup.data.numbers(setup.data.train.inputs))
        self.targets = jnp.array(setup.data.train.targets)
        if setup.case.loss == "half_squared":
            self.targets = jax.nn.one_hot(self.targets, setup.case.layers[-1])
        self.forward = jax.jit(lambda parameters, x: OUTPUTS[self.case.loss](logits_of(self.case, parameters, x)))

    def train(self, epochs: int, between: Callable[[], None]) -> None:
        epoch = epoch_of(self.case)
        generator = np.random.default_rng(0)  # NumPy's permutation takes a twentieth of the time of JAX's
        for _ in range(epochs):
            order = generator.permutation(len(self.inputs))
            self.state = jax.block_until_ready(epoch(self.state, self.inputs, self.targets, order))
            between()

    def hold(self, inputs: Array) -> jax.Array:
        return jnp.array(inputs)

    def predict(self, held: jax.Array) -> Any:
        return jax.block_until_ready(self.forward(self.state.parameters, held))

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, *jax.tree.leaves(self.state.parameters))


make = JaxSide
