"""PyTorch, eager: a module, an optimizer, batches taken by index from a tensor in memory (no DataLoader, which is
slower), as in https://docs.pytorch.org/tutorials/beginner/basics/optimization_tutorial.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cases import Case
from benchmarks.data import Array, Weights
from benchmarks.sides import CLIP_NORM, Setup, sample_weights

OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "rmsprop": partial(torch.optim.RMSprop, alpha=0.9, eps=1e-7),
    "adam": torch.optim.Adam,
}


class Mish(nn.Module):
    """An activation of the user's own."""

    def forward(self, a: Tensor) -> Tensor:
        return a * torch.tanh(functional.softplus(a))


ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "mish": Mish}


def half_squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """The quadratic cost of sigmoid units."""
    return 0.5 * (torch.sigmoid(outputs) - targets).square().sum(dim=1).mean()


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "half_squared": half_squared,
    "mean_squared": functional.mse_loss,
}
OUTPUTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": partial(torch.softmax, dim=1),
    "half_squared": torch.sigmoid,
    "mean_squared": lambda outputs: outputs,
}


def build(case: Case, weights: Weights) -> nn.Sequential:
    """The network, up to the numbers that the loss takes (logits)."""
    modules: list[nn.Module] = []
    for weight, bias in weights:
        linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
        norm = [nn.BatchNorm1d(weight.shape[1])] if case.feature == "batch_norm" else []
        dropout = [nn.Dropout(0.2)] if case.feature == "dropout" else []
        modules += [linear, *norm, ACTIVATIONS[case.activation](), *dropout]
        kept = len(modules) - len(norm) - 1 - len(dropout)
    return nn.Sequential(*modules[:kept])


class PytorchSide:
    """See Side."""

    def __init__(self, setup: Setup):
        if setup.threads is not None:
            torch.set_num_threads(setup.threads)
        self.case = setup.case
        self.network = build(setup.case, setup.weights)
        self.inputs = self.hold(setup.data.numbers(setup.data.train.inputs))
        self.targets = torch.from_numpy(setup.data.train.targets)
        if setup.case.loss == "half_squared":
            self.targets = functional.one_hot(self.targets).float()

    def train(self, epochs: int, between: Callable[[], None]) -> None:
        case, loss_of = self.case, LOSSES[self.case.loss]
        self.network.train()
        optimizer = OPTIMIZERS[case.optimizer](self.network.parameters(), lr=case.learning_rate)
        weights = torch.from_numpy(sample_weights(len(self.inputs)))
        if case.feature == "sample_weights":
            loss_of = partial(functional.cross_entropy, reduction="none")
        for _ in range(epochs):
            for batch in torch.randperm(len(self.inputs)).split(case.batch_size):
                loss = loss_of(self.network(self.inputs[batch]), self.targets[batch])
                if case.feature == "sample_weights":
                    loss = (loss * weights[batch]).mean()
                optimizer.zero_grad()
                loss.backward()
                if case.feature == "clipping":
                    nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
                optimizer.step()
            between()

    def hold(self, inputs: Array) -> Tensor:
        return torch.from_numpy(inputs)

    def predict(self, held: Tensor) -> Tensor:
        self.network.eval()
        with torch.inference_mode():
            return OUTPUTS[self.case.loss](self.network(held))

    def save(self, path: Path) -> None:
        torch.save(self.network.state_dict(), path)


make = PytorchSide
