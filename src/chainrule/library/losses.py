"""Losses: E of one sample, from the target t and the prediction p.

A batch's loss is the mean of E over its samples. Where frameworks also take the mean over the outputs k, and the
textbooks the sum, `differs` says so; where both are in wide use each has a row.
"""

from __future__ import annotations

from chainrule.library.rows import Loss, table

ONE = "target t[k], sum[k](t[k]) = 1"
"""A one-hot target or a distribution."""

SIGNS = "target t[k], t[k]**2 = 1"
"""Targets -1 and 1."""

LOSSES = table(
    Loss(
        "half_squared_error",
        "E = 1/2*sum[k]((t[k] - p[k])**2)",
        source="Rumelhart, Hinton & Williams, 1986, Learning representations by back-propagating errors, eq. 3",
        aliases=("half_mse",),
        differs="Some texts call this one the mean squared error. scikit-learn's squared_error averages over k too.",
    ),
    Loss(
        "squared_error",
        "E = sum[k]((t[k] - p[k])**2)",
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 1.1",
        aliases=("sum_squared_error", "sse"),
        differs="scikit-learn's MLPRegressor means half of it, averaged over k.",
    ),
    Loss(
        "mean_squared_error",
        "E = mean[k]((t[k] - p[k])**2)",
        source="Goodfellow, Bengio & Courville, 2016, Deep Learning, section 5.1.4",
        aliases=("mse",),
        differs="As in Keras and PyTorch. Some texts mean 1/2 of the sum by this name: half_squared_error.",
    ),
    Loss(
        "mean_absolute_error",
        "E = sum[k](abs(t[k] - p[k]))",
        source="Bloomfield & Steiger, 1983, Least Absolute Deviations",
        aliases=("mae", "l1"),
        differs="The mean is over samples only. Keras and PyTorch average over k as well: averaged_absolute_error.",
    ),
    Loss(
        "averaged_absolute_error",
        "E = mean[k](abs(t[k] - p[k]))",
        source="Keras 3, keras.losses.MeanAbsoluteError",
        aliases=("keras_mean_absolute_error", "keras_mae"),
        differs="What Keras and PyTorch call mean absolute error (L1Loss).",
    ),
    Loss(
        "huber",
        "E = mean[k](where(abs(t[k] - p[k]) <= delta, (t[k] - p[k])**2/2, delta*(abs(t[k] - p[k]) - delta/2)))",
        defaults={"delta": 1.0},
        source="Huber, 1964, Robust estimation of a location parameter",
        differs="As in Keras and PyTorch (HuberLoss). PyTorch's SmoothL1Loss is this divided by its beta, our delta.",
    ),
    Loss(
        "binary_cross_entropy",
        "E = -sum[k](t[k]*log(p[k]) + (1 - t[k])*log(1 - p[k]))",
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 5.2, eq. 5.22",
        aliases=("bce", "log_loss"),
        differs=(
            "Keras and PyTorch average over k: averaged_binary_cross_entropy (the same for one output). "
            "Keras keeps p within 1e-7 and 1 - 1e-7; PyTorch keeps log(p) above -100; here nothing is cut."
        ),
    ),
    Loss(
        "averaged_binary_cross_entropy",
        "E = -mean[k](t[k]*log(p[k]) + (1 - t[k])*log(1 - p[k]))",
        source="Keras 3, keras.losses.BinaryCrossentropy",
        aliases=("keras_binary_cross_entropy",),
        differs="What Keras and PyTorch call binary cross entropy, without their cut near p = 0 and p = 1.",
    ),
    Loss(
        "categorical_cross_entropy",
        "E = -sum[k](t[k]*log(p[k]))",
        target=ONE,
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 4.3.4, eq. 4.108",
        aliases=("cross_entropy",),
        differs=(
            "Keras divides p by its sum and keeps it within 1e-7 and 1 - 1e-7; texts that add 1e-7 inside the log "
            "get other last digits. PyTorch's CrossEntropyLoss takes the sums a, before softmax, not probabilities."
        ),
    ),
    Loss(
        "sparse_categorical_cross_entropy",
        "E = -sum[k]([k == y]*log(p[k]))",
        target="label y in k",
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 4.3.4, eq. 4.108",
        aliases=("label_cross_entropy",),
        differs="The categorical cross entropy of a class number y. PyTorch's NLLLoss takes log(p).",
    ),
    Loss(
        "kl_divergence",
        "E = sum[k](t[k]*log(t[k]/p[k]))",
        target=ONE,
        source="Kullback & Leibler, 1951, On information and sufficiency",
        aliases=("kld", "kullback_leibler_divergence", "relative_entropy"),
        differs="Keras keeps t and p within 1e-7 and 1. PyTorch's KLDivLoss takes log(p) and averages over k too.",
    ),
    Loss(
        "hinge",
        "E = mean[k](max(0, 1 - t[k]*p[k]))",
        target=SIGNS,
        source="Cortes & Vapnik, 1995, Support-vector networks",
        differs="Keras turns targets 0 and 1 into -1 and 1. PyTorch's HingeEmbeddingLoss is another formula.",
    ),
    Loss(
        "squared_hinge",
        "E = mean[k](max(0, 1 - t[k]*p[k])**2)",
        target=SIGNS,
        source="Chang, Hsieh & Lin, 2008, Coordinate descent method for large-scale L2-loss linear SVM",
        differs="Keras turns targets 0 and 1 into -1 and 1.",
    ),
    Loss(
        "poisson",
        "E = mean[k](p[k] - t[k]*log(p[k]))",
        source="McCullagh & Nelder, 1989, Generalized Linear Models, chapter 6",
        aliases=("poisson_nll",),
        differs="Keras adds 1e-7 inside the log. PyTorch's PoissonNLLLoss takes log(p) by default: exp(p) - t*p.",
    ),
    Loss(
        "log_cosh",
        # log(cosh(d)) written without cosh, which overflows float32 above 89; softplus cannot. Unlike the form with
        # |d| it has no kink at d = p - t = 0, and its derivative 1 - 2*sigmoid(-2d) is tanh(d).
        "E = mean[k](p[k] - t[k] + softplus(-2*(p[k] - t[k])) - log(2))",
        source="Green, 1990, Bayesian reconstructions from emission tomography data using a modified EM algorithm",
        differs="As in Keras. PyTorch has none.",
    ),
    Loss(
        "quantile",
        "E = mean[k](max(tau*(t[k] - p[k]), (tau - 1)*(t[k] - p[k])))",
        defaults={"tau": 0.5},
        source="Koenker & Bassett, 1978, Regression quantiles",
        aliases=("pinball",),
        differs="For tau = 1/2 it is half the absolute error. Keras and PyTorch have none; scikit-learn's is the same.",
    ),
)
