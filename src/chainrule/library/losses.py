"""Losses: E of one sample, from the target t and the prediction p.

A batch's loss is the mean of E over its samples. Where frameworks also take the mean over the outputs k, and the
textbooks the sum, `differs` says so; where both are in wide use each has a row.

Names: the plain name is the textbook's formula. `keras_` stands before the formula that a Keras 3.15 user means where
it is another one, `torch_` before PyTorch 2.13's; where that formula has a row already, these names are its aliases. A
name that ends in `_from_logits` takes the sums before softmax or sigmoid as p. `clipped_` are Keras's formulas to the
letter: they keep p within 1e-7 and 1 - 1e-7 before the logarithm. Inside that range they agree with the rows without
the cut (behind softmax or sigmoid), which derive to p - t, need no cut in their stable form, and learn from a sample
that is surely wrong; so the `keras_` names mean those. A constant that frameworks set differently is a hyper-parameter.

What is not here: CTC, triplet, circle and margin-ranking losses, which compare samples with each other or sequences;
Dice and Tversky over a whole batch, as Keras has them by default (dice and tversky are those of one sample).
"""

from __future__ import annotations

from chainrule.library.rows import Loss, table

ONE = "target t[k], sum[k](t[k]) = 1"
"""A one-hot target or a distribution."""

SIGNS = "target t[k], t[k]**2 = 1"
"""Targets -1 and 1."""

LABEL = "label y in k"
"""The number of the class."""

CUT = "min(max({}, 1e-7), 1 - 1e-7)"
SHARE = CUT.format("p[k]/sum[k](p[k])")
PROBABILITY = CUT.format("p[k]")
BINARY = "t[k]*log({0}) + (1 - t[k])*log(1 - {0})"

SZEGEDY = "Szegedy et al., 2016, Rethinking the Inception architecture for computer vision, section 7"
LIN = "Lin, Goyal, Girshick, He & Dollár, 2017, Focal loss for dense object detection"

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
        "smooth_l1",
        "E = mean[k](where(abs(t[k] - p[k]) < beta, (t[k] - p[k])**2/(2*beta), abs(t[k] - p[k]) - beta/2))",
        defaults={"beta": 1.0},
        source="Girshick, 2015, Fast R-CNN, eq. 3",
        aliases=("smooth_l1_loss",),
        differs="As in PyTorch. Keras has none: huber(delta)/delta.",
    ),
    Loss(
        "mean_absolute_percentage_error",
        "E = 100*mean[k](abs(t[k] - p[k])/max(abs(t[k]), 1e-7))",
        source="Armstrong, 1985, Long-Range Forecasting, chapter 13",
        aliases=("mape", "keras_mean_absolute_percentage_error"),
        differs="As in Keras, in per cent. scikit-learn leaves out the 100. PyTorch has none.",
    ),
    Loss(
        "mean_squared_logarithmic_error",
        "E = mean[k]((log(1 + max(t[k], 1e-7)) - log(1 + max(p[k], 1e-7)))**2)",
        source="Keras 3, keras.losses.MeanSquaredLogarithmicError",
        aliases=("msle", "keras_mean_squared_logarithmic_error"),
        differs="As in Keras. scikit-learn does not cut and refuses numbers below -1. PyTorch has none.",
    ),
    Loss(
        "cosine_similarity",
        "E = -sum[k](t[k]*p[k])/(sqrt(max(sum[k](t[k]**2), 1e-14))*sqrt(max(sum[k](p[k]**2), 1e-14)))",
        source="Salton, Wong & Yang, 1975, A vector space model for automatic indexing",
        aliases=("cosine", "keras_cosine_similarity"),
        differs="As in Keras: minus the cosine. PyTorch's CosineEmbeddingLoss is 1 minus the cosine for like pairs.",
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
        aliases=("keras_binary_cross_entropy", "torch_binary_cross_entropy"),
        differs="What Keras and PyTorch call binary cross entropy, without their cut near p = 0 and p = 1.",
    ),
    Loss(
        "clipped_binary_cross_entropy",
        f"E = -mean[k]({BINARY.format(PROBABILITY)})",
        source="Keras 3, keras.losses.BinaryCrossentropy",
        differs="Keras's, with its cut: where p is within 1e-7 of 0 or 1 there is no gradient.",
    ),
    Loss(
        "binary_cross_entropy_from_logits",
        "E = mean[k](log(1 + exp(p[k])) - t[k]*p[k])",
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 4.3.2, of a = ln(p/(1 - p))",
        aliases=("bce_with_logits", "keras_binary_cross_entropy_from_logits"),
        differs="PyTorch's BCEWithLogitsLoss, Keras's BinaryCrossentropy(from_logits=True).",
    ),
    Loss(
        "smoothed_binary_cross_entropy",
        "E = -mean[k]((t[k]*(1 - smoothing) + smoothing/2)*log(p[k])"
        " + (1 - t[k]*(1 - smoothing) - smoothing/2)*log(1 - p[k]))",
        defaults={"smoothing": 0.1},
        source=SZEGEDY,
        differs="Keras's BinaryCrossentropy(label_smoothing=smoothing). PyTorch has none.",
    ),
    Loss(
        "binary_focal_cross_entropy",
        "E = -mean[k](t[k]*(1 - p[k])**gamma*log(p[k]) + (1 - t[k])*p[k]**gamma*log(1 - p[k]))",
        defaults={"gamma": 2.0},
        source=f"{LIN}, eq. 4",
        aliases=("binary_focal", "keras_binary_focal_cross_entropy"),
        differs="As in Keras for targets 0 and 1, without its cut. PyTorch has none; torchvision sums.",
    ),
    Loss(
        "balanced_binary_focal_cross_entropy",
        "E = -mean[k](alpha*t[k]*(1 - p[k])**gamma*log(p[k]) + (1 - alpha)*(1 - t[k])*p[k]**gamma*log(1 - p[k]))",
        defaults={"alpha": 0.25, "gamma": 2.0},
        source=f"{LIN}, eq. 5",
        differs="Keras's BinaryFocalCrossentropy(apply_class_balancing=True), without its cut.",
    ),
    Loss(
        "categorical_cross_entropy",
        "E = -sum[k](t[k]*log(p[k]))",
        target=ONE,
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 4.3.4, eq. 4.108",
        aliases=("cross_entropy", "keras_categorical_cross_entropy"),
        differs=(
            "Keras divides p by its sum and keeps it within 1e-7 and 1 - 1e-7; texts that add 1e-7 inside the log "
            "get other last digits. PyTorch's CrossEntropyLoss takes the sums a, before softmax, not probabilities."
        ),
    ),
    Loss(
        "clipped_categorical_cross_entropy",
        f"E = -sum[k](t[k]*log({SHARE}))",
        target=ONE,
        source="Keras 3, keras.losses.CategoricalCrossentropy",
        differs="Keras's, which divides by the sum of p and cuts: the same behind softmax, but for the cut.",
    ),
    Loss(
        "categorical_cross_entropy_from_logits",
        "E = -sum[k](t[k]*log_softmax[k](p[k]))",
        target=ONE,
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 4.3.4, eq. 4.108",
        aliases=("torch_cross_entropy", "keras_categorical_cross_entropy_from_logits"),
        differs=(
            "PyTorch's CrossEntropyLoss with probabilities as targets, "
            "Keras's CategoricalCrossentropy(from_logits=True)."
        ),
    ),
    Loss(
        "smoothed_categorical_cross_entropy",
        "E = -sum[k]((t[k]*(1 - smoothing) + smoothing/size(k))*log(p[k]))",
        defaults={"smoothing": 0.1},
        target=ONE,
        source=SZEGEDY,
        differs="Keras's CategoricalCrossentropy and PyTorch's CrossEntropyLoss with label_smoothing=smoothing.",
    ),
    Loss(
        "categorical_focal_cross_entropy",
        "E = -alpha*sum[k](t[k]*(1 - p[k])**gamma*log(p[k]))",
        defaults={"alpha": 0.25, "gamma": 2.0},
        target=ONE,
        source=f"{LIN}, eq. 5",
        aliases=("categorical_focal", "keras_categorical_focal_cross_entropy"),
        differs="As in Keras behind softmax; Keras divides p by its sum and cuts.",
    ),
    Loss(
        "clipped_categorical_focal_cross_entropy",
        f"E = -alpha*sum[k](t[k]*(1 - {SHARE})**gamma*log({SHARE}))",
        defaults={"alpha": 0.25, "gamma": 2.0},
        target=ONE,
        source="Keras 3, keras.losses.CategoricalFocalCrossentropy",
        differs="Keras's, which divides by the sum of p and cuts.",
    ),
    Loss(
        "generalized_cross_entropy",
        "E = (1 - sum[k]([k == y]*p[k])**q)/q",
        defaults={"q": 0.7},
        target=LABEL,
        source="Zhang & Sabuncu, 2018, Generalized cross entropy loss for training with noisy labels, eq. 6",
        aliases=("categorical_generalized_cross_entropy", "keras_categorical_generalized_cross_entropy"),
        differs="As in Keras, where q has no default.",
    ),
    Loss(
        "sparse_categorical_cross_entropy",
        "E = -sum[k]([k == y]*log(p[k]))",
        target=LABEL,
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 4.3.4, eq. 4.108",
        aliases=("label_cross_entropy", "keras_sparse_categorical_cross_entropy"),
        differs="Of a class number y; Keras divides p by its sum and cuts. PyTorch's NLLLoss takes log(p).",
    ),
    Loss(
        "clipped_sparse_categorical_cross_entropy",
        f"E = -sum[k]([k == y]*log({SHARE}))",
        target=LABEL,
        source="Keras 3, keras.losses.SparseCategoricalCrossentropy",
        differs="Keras's, which divides by the sum of p and cuts: the same behind softmax, but for the cut.",
    ),
    Loss(
        "sparse_categorical_cross_entropy_from_logits",
        "E = -sum[k]([k == y]*log_softmax[k](p[k]))",
        target=LABEL,
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 4.3.4, eq. 4.108",
        aliases=("keras_sparse_categorical_cross_entropy_from_logits",),
        differs=(
            "PyTorch's CrossEntropyLoss with class numbers, Keras's SparseCategoricalCrossentropy(from_logits=True)."
        ),
    ),
    Loss(
        "negative_log_likelihood",
        "E = -sum[k]([k == y]*p[k])",
        target=LABEL,
        source="Bishop, 2006, Pattern Recognition and Machine Learning, section 4.3.4, of p = ln of the probability",
        aliases=("nll", "nll_loss"),
        differs="PyTorch's NLLLoss: p comes from log_softmax.",
    ),
    Loss(
        "kl_divergence",
        "E = sum[k](t[k]*log(t[k]/p[k]))",
        target=ONE,
        source="Kullback & Leibler, 1951, On information and sufficiency",
        aliases=("kld", "kullback_leibler_divergence", "relative_entropy", "keras_kl_divergence"),
        differs=(
            "Keras keeps t and p within 1e-7 and 1, which makes p matter a little where t = 0. "
            "PyTorch's KLDivLoss takes log(p) and averages over k too, unless its reduction is 'batchmean'."
        ),
    ),
    Loss(
        "clipped_kl_divergence",
        "E = sum[k](min(max(t[k], 1e-7), 1)*log(min(max(t[k], 1e-7), 1)/min(max(p[k], 1e-7), 1)))",
        target=ONE,
        source="Keras 3, keras.losses.KLDivergence",
        differs="Keras's, with its cuts.",
    ),
    Loss(
        "kl_divergence_from_logs",
        "E = sum[k](t[k]*(log(t[k]) - p[k]))",
        target=ONE,
        source="Kullback & Leibler, 1951, On information and sufficiency, of p = ln of the probability",
        aliases=("torch_kl_divergence", "kl_div"),
        differs="PyTorch's KLDivLoss(reduction='batchmean'): p comes from log_softmax.",
    ),
    Loss(
        "hinge",
        "E = mean[k](max(0, 1 - t[k]*p[k]))",
        target=SIGNS,
        source="Cortes & Vapnik, 1995, Support-vector networks",
        differs="Keras turns targets 0 and 1 into -1 and 1. PyTorch's HingeEmbeddingLoss is another formula.",
    ),
    Loss(
        "categorical_hinge",
        "E = max(max[k]((1 - t[k])*p[k]) - sum[k](t[k]*p[k]) + 1, 0)",
        target=ONE,
        source="Crammer & Singer, 2001, On the algorithmic implementation of multiclass kernel-based vector machines",
        aliases=("keras_categorical_hinge",),
        differs=(
            "As in Keras, whose maximum also counts the right class as 0. "
            "PyTorch's MultiMarginLoss averages over the classes: multi_margin."
        ),
    ),
    Loss(
        "multi_margin",
        "E = mean[k]((1 - [k == y])*max(margin - sum[k]([k == y]*p[k]) + p[k], 0))",
        defaults={"margin": 1.0},
        target=LABEL,
        source="Weston & Watkins, 1999, Support vector machines for multi-class pattern recognition",
        aliases=("multi_margin_loss",),
        differs="As in PyTorch (MultiMarginLoss with p = 1). Keras has none.",
    ),
    Loss(
        "soft_margin",
        "E = mean[k](log(1 + exp(-t[k]*p[k])))",
        target=SIGNS,
        source="Friedman, Hastie & Tibshirani, 2000, Additive logistic regression, section 3",
        aliases=("logistic_loss", "soft_margin_loss"),
        differs="As in PyTorch (SoftMarginLoss): the cross entropy from logits, of targets -1 and 1.",
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
        differs="Keras adds 1e-7 inside the log. PyTorch's PoissonNLLLoss takes log(p): poisson_from_logs.",
    ),
    Loss(
        "keras_poisson",
        "E = mean[k](p[k] - t[k]*log(p[k] + 1e-7))",
        source="Keras 3, keras.losses.Poisson",
        differs="Keras's, with 1e-7 inside the log. PyTorch's PoissonNLLLoss(log_input=False) has 1e-8 there.",
    ),
    Loss(
        "poisson_from_logs",
        "E = mean[k](exp(p[k]) - t[k]*p[k])",
        source="McCullagh & Nelder, 1989, Generalized Linear Models, chapter 6, with the logarithmic link",
        aliases=("torch_poisson",),
        differs="PyTorch's PoissonNLLLoss by default: p is the logarithm of the rate.",
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
    Loss(
        "dice",
        "E = 1 - 2*sum[k](t[k]*p[k])/(sum[k](t[k]) + sum[k](p[k]) + 1e-7)",
        source="Milletari, Navab & Ahmadi, 2016, V-Net, section 3; Dice, 1945",
        differs="Keras's Dice(axis=-1). By default Keras sums over the whole batch, which is no mean of samples.",
    ),
    Loss(
        "tversky",
        "E = 1 - sum[k](t[k]*p[k])/(sum[k](t[k]*p[k]) + alpha*sum[k]((1 - p[k])*t[k]) + beta*sum[k](p[k]*(1 - t[k]))"
        " + 1e-7)",
        defaults={"alpha": 0.5, "beta": 0.5},
        source="Salehi, Erdogmus & Gholipour, 2017, Tversky loss function for image segmentation",
        differs="Keras's Tversky(axis=-1), where alpha weighs what was missed, beta what is too much.",
    ),
)
