"""Schedules: the learning rate of update number `step` (from 1) of `steps`, from the base rate `eta0`.

The first update has the rate of Keras's step 0, hence `step - 1`.

The plain rows fall over all updates of a training, `steps`; those with `keras_` before their name, and the others that
have a number of steps of their own, do not read `steps`. A rate that follows what the training does, such as the one
that falls on a plateau, is no formula of the step: a callback sets it.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.library.rows import Schedule, table

# Of cosine_restarts: the periods done so far, each t_mul times the one before, and the share of this one that is done.
# 1e-9: log(243)/log(3) is 4.999…9 in floating point. [t_mul == 1] keeps the branch that is not taken from 0/0.
PERIODS = "(step - 1)/first_steps"
RESTARTS = (
    f"where(t_mul == 1, floor({PERIODS}), floor(log(1 + (t_mul - 1)*{PERIODS})/log(t_mul + [t_mul == 1]) + 1e-9))"
)
SHARE = (
    f"where(t_mul == 1, {PERIODS} - floor({PERIODS}), "
    f"({PERIODS} - (t_mul**{RESTARTS} - 1)/(t_mul - 1 + [t_mul == 1]))/t_mul**{RESTARTS})"
)
CYCLE = "floor(1 + (step - 1)/(2*half))"

SCHEDULES = table(
    Schedule(
        "constant",
        "eta0",
        source="Robbins & Monro, 1951, A stochastic approximation method, which asks for a rate that falls instead",
    ),
    Schedule(
        "step_decay",
        "eta0*factor**floor((step - 1)/every)",
        defaults={"factor": 0.1, "every": 10_000.0},
        source="Krizhevsky, Sutskever & Hinton, 2012, ImageNet classification with deep convolutional neural networks",
        aliases=("staircase",),
        differs="Keras calls it ExponentialDecay with staircase=True. PyTorch's StepLR mostly counts epochs.",
    ),
    Schedule(
        "exponential",
        "eta0*factor**((step - 1)/every)",
        defaults={"factor": 0.96, "every": 1000.0},
        source="Keras 3, keras.optimizers.schedules.ExponentialDecay",
        aliases=("exponential_decay",),
        differs="As in Keras. PyTorch's ExponentialLR is every = 1, called once an epoch.",
    ),
    Schedule(
        "inverse_time",
        "eta0/(1 + decay*(step - 1)/every)",
        defaults={"decay": 0.5, "every": 1000.0},
        source="Robbins & Monro, 1951, A stochastic approximation method",
        aliases=("inverse_time_decay",),
        differs="As in Keras.",
    ),
    Schedule(
        "inverse_time_staircase",
        "eta0/(1 + decay*floor((step - 1)/every))",
        defaults={"decay": 0.5, "every": 1000.0},
        source="Keras 3, keras.optimizers.schedules.InverseTimeDecay, with staircase=True",
    ),
    Schedule(
        "inverse_scaling",
        "eta0/step**power",
        defaults={"power": 0.5},
        source="Robbins & Monro, 1951, A stochastic approximation method",
        aliases=("invscaling",),
        differs="scikit-learn's invscaling counts samples, where `step` counts updates, and holds within an epoch.",
    ),
    Schedule(
        "inverse_square_root",
        "eta0*min(step/warmup_steps, sqrt(warmup_steps/step))",
        defaults={"warmup_steps": 4000.0},
        source="Vaswani et al., 2017, Attention is all you need, eq. 3",
        aliases=("noam", "inverse_sqrt"),
        differs="eta0 is the peak; the source has a formula of the width there.",
    ),
    Schedule(
        "polynomial",
        "eta_end + (eta0 - eta_end)*(1 - (step - 1)/steps)**power",
        defaults={"eta_end": 0.0, "power": 2.0},
        source="Keras 3, keras.optimizers.schedules.PolynomialDecay",
        aliases=("polynomial_decay", "poly"),
        differs="Keras has power = 1, ends at 0.0001 and takes the number of steps as an option: keras_polynomial.",
    ),
    Schedule(
        "keras_polynomial",
        "eta_end + (eta0 - eta_end)*(1 - min(step - 1, decay_steps)/decay_steps)**power",
        defaults={"decay_steps": 10_000.0, "eta_end": 0.0001, "power": 1.0},
        source="Keras 3, keras.optimizers.schedules.PolynomialDecay",
        aliases=("keras_polynomial_decay",),
        differs="Keras has no default for decay_steps. PyTorch's PolynomialLR is eta_end = 0 and decay_steps = 5.",
    ),
    Schedule(
        "keras_polynomial_cycle",
        "eta_end + (eta0 - eta_end)*(1 - (step - 1)/(decay_steps*max(-floor((1 - step)/decay_steps), 1)))**power",
        defaults={"decay_steps": 10_000.0, "eta_end": 0.0001, "power": 1.0},
        source="Keras 3, keras.optimizers.schedules.PolynomialDecay, with cycle=True",
    ),
    Schedule(
        "linear",
        "eta_end + (eta0 - eta_end)*(1 - (step - 1)/steps)",
        defaults={"eta_end": 0.0},
        source="Keras 3, keras.optimizers.schedules.PolynomialDecay, power 1",
        aliases=("linear_decay",),
        differs="PyTorch's LinearLR rises from a third of the rate to the whole of it: linear_warmup.",
    ),
    Schedule(
        "linear_warmup",
        "eta0*(start + (1 - start)*min(step - 1, warmup_steps)/warmup_steps)",
        defaults={"start": 1 / 3, "warmup_steps": 5.0},
        source="Goyal et al., 2017, Accurate, large minibatch SGD, section 2.2",
        aliases=("warmup", "linear_lr"),
        differs="PyTorch's LinearLR, whose start_factor and total_iters are these.",
    ),
    Schedule(
        "cosine",
        "eta_end + (eta0 - eta_end)*(1 + cos(pi*(step - 1)/steps))/2",
        defaults={"eta_end": 0.0},
        source="Loshchilov & Hutter, 2017, SGDR: stochastic gradient descent with warm restarts, eq. 5",
        aliases=("cosine_decay", "cosine_annealing"),
        differs=(
            "PyTorch's CosineAnnealingLR has T_max for steps and rises again after it. "
            "Keras takes the number of steps as an option and a floor alpha = eta_end/eta0: keras_cosine."
        ),
    ),
    Schedule(
        "keras_cosine",
        "eta0*((1 - alpha)*(1 + cos(pi*min(step - 1, decay_steps)/decay_steps))/2 + alpha)",
        defaults={"decay_steps": 1000.0, "alpha": 0.0},
        source="Keras 3, keras.optimizers.schedules.CosineDecay",
        aliases=("keras_cosine_decay",),
        differs="Keras has no default for decay_steps.",
    ),
    Schedule(
        "cosine_warmup",
        "where(step <= warmup*steps, eta0*step/(warmup*steps), "
        "eta_end + (eta0 - eta_end)*(1 + cos(pi*(step - 1 - warmup*steps)/((1 - warmup)*steps)))/2)",
        defaults={"warmup": 0.1, "eta_end": 0.0},
        source="Goyal et al., 2017, Accurate, large minibatch SGD, section 2.2 (warm-up); Loshchilov & Hutter, 2017",
        aliases=("cosine_with_warmup", "warmup_cosine"),
        differs="`warmup` is a share of all updates; Keras's CosineDecay takes numbers of steps: keras_cosine_warmup.",
    ),
    Schedule(
        "keras_cosine_warmup",
        "where(step - 1 < warmup_steps, eta0 + (warmup_target - eta0)*(step - 1)/max(warmup_steps, 1), "
        "warmup_target*((1 - alpha)*(1 + cos(pi*min(step - 1 - warmup_steps, decay_steps)/decay_steps))/2 + alpha))",
        defaults={"warmup_steps": 100.0, "warmup_target": 0.001, "decay_steps": 1000.0, "alpha": 0.0},
        source="Keras 3, keras.optimizers.schedules.CosineDecay, with warmup_target",
        differs="eta0 is where the warm-up begins (often 0), warmup_target the peak. Keras has no default for these.",
    ),
    Schedule(
        "cosine_restarts",
        f"eta0*((1 - alpha)*m_mul**{RESTARTS}*(1 + cos(pi*{SHARE}))/2 + alpha)",
        defaults={"first_steps": 1000.0, "t_mul": 2.0, "m_mul": 1.0, "alpha": 0.0},
        source="Loshchilov & Hutter, 2017, SGDR: stochastic gradient descent with warm restarts, eq. 5",
        aliases=("cosine_decay_restarts", "cosine_annealing_warm_restarts", "sgdr"),
        differs=(
            "As in Keras (first_decay_steps) and, for m_mul = 1 and alpha = eta_min/eta0, in PyTorch (T_0, T_mult)."
        ),
    ),
    Schedule(
        "triangular",
        f"eta0 + (eta_max - eta0)*max(1 - abs((step - 1)/half - 2*{CYCLE} + 1), 0)",
        defaults={"eta_max": 0.1, "half": 2000.0},
        source="Smith, 2017, Cyclical learning rates for training neural networks",
        aliases=("cyclic", "cyclic_lr"),
        differs="PyTorch's CyclicLR in its mode 'triangular', where half is step_size_up.",
    ),
    Schedule(
        "one_cycle",
        # max(…, 1e-9): a rise of a single update starts at its peak's foot, and a fall of none is not reached.
        "where(step <= rise*steps, "
        "eta0 + (eta0/start - eta0)*(1 + cos(pi*(step - 1)/max(rise*steps - 1, 1e-9)))/2, "
        "eta0/end + (eta0 - eta0/end)*(1 + cos(pi*(step - rise*steps)/max((1 - rise)*steps, 1e-9)))/2)",
        defaults={"rise": 0.3, "start": 25.0, "end": 250_000.0},
        source="Smith & Topin, 2018, Super-convergence: very fast training using large learning rates",
        aliases=("one_cycle_lr", "1cycle"),
        differs=(
            "As in PyTorch's OneCycleLR: its max_lr is eta0, its final_div_factor end/start. PyTorch also lets "
            "the momentum fall and rise; here it stays."
        ),
    ),
)


def piecewise_constant(boundaries: Sequence[float], rates: Sequence[float]) -> str:
    """The formula of a rate that is constant up to each boundary: one rate more than boundaries, in rising order.

    As Keras's PiecewiseConstantDecay: the rate changes after update number boundary + 1. PyTorch's MultiStepLR, whose
    rate changes with its milestone, has boundaries one smaller.

    Example:
    >>> piecewise_constant([100, 200], [0.1, 0.01, 0.001])
    'where(step - 1 <= 100, 0.1, where(step - 1 <= 200, 0.01, 0.001))'
    """
    *earlier, text = (repr(rate) for rate in rates)
    for boundary, rate in zip(reversed(boundaries), reversed(earlier), strict=True):
        text = f"where(step - 1 <= {boundary}, {rate}, {text})"
    return text
