"""Schedules: the learning rate of update number `step` (from 1) of `steps`, from the base rate `eta0`.

The first update has the rate of Keras's step 0, hence `step - 1`.
"""

from __future__ import annotations

from chainrule.library.rows import Schedule, table

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
        differs="Keras calls it ExponentialDecay with staircase=True. PyTorch's StepLR counts epochs.",
    ),
    Schedule(
        "exponential",
        "eta0*factor**((step - 1)/every)",
        defaults={"factor": 0.96, "every": 1000.0},
        source="Keras 3, keras.optimizers.schedules.ExponentialDecay",
        aliases=("exponential_decay",),
        differs="PyTorch's ExponentialLR multiplies by gamma once an epoch.",
    ),
    Schedule(
        "inverse_time",
        "eta0/(1 + decay*(step - 1)/every)",
        defaults={"decay": 0.5, "every": 1000.0},
        source="Robbins & Monro, 1951, A stochastic approximation method",
        aliases=("inverse_time_decay",),
    ),
    Schedule(
        "polynomial",
        "eta_end + (eta0 - eta_end)*(1 - (step - 1)/steps)**power",
        defaults={"eta_end": 0.0, "power": 2.0},
        source="Keras 3, keras.optimizers.schedules.PolynomialDecay",
        aliases=("polynomial_decay", "poly"),
        differs="Keras has power = 1, ends at 0.0001 and takes the number of steps as an option.",
    ),
    Schedule(
        "linear",
        "eta_end + (eta0 - eta_end)*(1 - (step - 1)/steps)",
        defaults={"eta_end": 0.0},
        source="Keras 3, keras.optimizers.schedules.PolynomialDecay, power 1",
        aliases=("linear_decay",),
        differs="PyTorch's LinearLR rises from a third of the rate to the whole of it.",
    ),
    Schedule(
        "cosine",
        "eta_end + (eta0 - eta_end)*(1 + cos(pi*(step - 1)/steps))/2",
        defaults={"eta_end": 0.0},
        source="Loshchilov & Hutter, 2017, SGDR: stochastic gradient descent with warm restarts, eq. 5",
        aliases=("cosine_decay", "cosine_annealing"),
        differs="PyTorch's CosineAnnealingLR rises again after T_max epochs. Keras's floor alpha is eta_end/eta0.",
    ),
    Schedule(
        "cosine_warmup",
        "where(step <= warmup*steps, eta0*step/(warmup*steps), "
        "eta_end + (eta0 - eta_end)*(1 + cos(pi*(step - 1 - warmup*steps)/((1 - warmup)*steps)))/2)",
        defaults={"warmup": 0.1, "eta_end": 0.0},
        source="Goyal et al., 2017, Accurate, large minibatch SGD, section 2.2 (warm-up); Loshchilov & Hutter, 2017",
        aliases=("cosine_with_warmup", "warmup_cosine"),
        differs="`warmup` is a share of all updates; Keras's CosineDecay takes warmup_steps and warmup_target.",
    ),
    Schedule(
        "one_cycle",
        "where(step <= rise*steps, "
        "eta0/start + (eta0 - eta0/start)*(1 - cos(pi*step/(rise*steps)))/2, "
        "eta0/end + (eta0 - eta0/end)*(1 + cos(pi*(step - rise*steps)/((1 - rise)*steps)))/2)",
        defaults={"rise": 0.3, "start": 25.0, "end": 250_000.0},
        source="Smith & Topin, 2018, Super-convergence: very fast training using large learning rates",
        aliases=("one_cycle_lr", "1cycle"),
        differs="eta0 is the peak (PyTorch's max_lr). PyTorch also lets the momentum fall and rise; here it stays.",
    ),
)
