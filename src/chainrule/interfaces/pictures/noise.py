"""How far the gradient of a batch is from that of all samples, as the batch grows."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DataError, SettingError
from chainrule.formula.evaluate import Array
from chainrule.interfaces.pictures.landscape import losses_of
from chainrule.interfaces.pictures.samples import Gradients
from chainrule.interfaces.plots import GRID, INK, NEGATIVE, POSITIVE, fonts, new_figure, word
from chainrule.messages import say
from chainrule.training.network import Network

ROWS = 1024
DRAWS = 20


def batch_noise(
    network: Network, x: object, t: object = None, *, rows: int = ROWS, draws: int = DRAWS, seed: int = 0
) -> Any:
    """The relative error ‖g_batch − g‖/‖g‖ of batches of B = 1, 2, 4, … samples, drawn without putting back.

    Dots are single batches, the line their root mean square; dashed is √((N − B)/(B (N − 1))), what sampling theory
    says of the mean of B out of N, times the spread of the samples that fits all dots best: about 1/√B.
    Raises: DataError for fewer than four samples; FormulaError without a loss; NotDifferentiable.
    """
    sizes, errors, count = batch_errors(network, x, t, rows=rows, draws=draws, seed=seed)
    with fonts():
        return _draw(sizes, errors, count)


def batch_errors(
    network: Network, x: object, t: object = None, *, rows: int = ROWS, draws: int = DRAWS, seed: int = 0
) -> tuple[Array, Array, int]:
    """Batch sizes (K,), the relative errors of so many batches of each (K, draws), and the number of samples."""
    if isinstance(draws, bool) or not isinstance(draws, int) or not 1 <= draws <= 10_000:
        raise SettingError(say("pictures.limit", name="draws", came=draws, low=1, high=10_000))
    arrays = losses_of(network, x, t, rows).arrays
    count = len(next(iter(arrays.values())))
    if count < 4:
        raise DataError(say("pictures.few_samples", came=count, wanted=4))
    random = np.random.default_rng(seed)
    gradients = Gradients(network, arrays)
    full = gradients.of(np.arange(count))
    size = float(np.linalg.norm(full))
    if size == 0 or not np.isfinite(size):
        raise SettingError(say("pictures.no_gradient"))
    sizes = [2**k for k in range(count.bit_length()) if 2**k < count]  # the batch of all has no error
    errors = np.empty((len(sizes), draws))
    for row, batch in enumerate(sizes):
        for draw in range(draws):
            chosen = random.permutation(count)[:batch]
            errors[row, draw] = np.linalg.norm(gradients.of(chosen) - full) / size
    return np.array(sizes), errors, count


def _draw(sizes: Array, errors: Array, count: int) -> Any:
    figure = new_figure(5.8, 4.0)
    axes = figure.subplots()
    mean = np.sqrt(np.mean(errors**2, axis=1))
    axes.plot(
        np.repeat(sizes, errors.shape[1]),
        errors.ravel(),
        color=POSITIVE,
        marker="o",
        markersize=3,
        alpha=0.25,
        linestyle="none",
    )
    axes.plot(sizes, mean, color=POSITIVE, linewidth=2, marker="o", markersize=5, label=word("pictures.measured"))
    share = (count - sizes) / (sizes * (count - 1))
    spread = float(np.sqrt(np.mean(mean**2 / share)))
    grid = np.geomspace(1, sizes[-1], 100)
    axes.plot(
        grid,
        spread * np.sqrt((count - grid) / (grid * (count - 1))),
        color=NEGATIVE,
        linewidth=1.6,
        linestyle="--",
        label=word("pictures.sampling_theory"),
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(s) for s in sizes], fontsize=8)
    axes.set_xlabel(word("pictures.batch_size"), color=INK)
    axes.set_ylabel(word("pictures.gradient_error"), color=INK)
    axes.grid(color=GRID, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure
