"""Activations: what a neuron makes of its weighted sum a.

Each is the formula of the field. The stable form (exp of negative numbers only, log1p, …) is found by the simplifier,
so that no row has to hide its mathematics. A name that frameworks use for different formulas has a row for each
(gelu, gelu_tanh); where only a constant differs, it is a hyper-parameter, and `differs` says whose is which.

What is not here: GLU and maxout, which join several of a layer's outputs; sparsemax, which sorts them; PReLU, whose
slope is a parameter, and RReLU, whose slope is drawn.
"""

from __future__ import annotations

from chainrule.library.rows import Activation, table

ACTIVATIONS = table(
    Activation(
        "linear",
        "a",
        source="Widrow & Hoff, 1960, Adaptive switching circuits",
        aliases=("identity", "none"),
    ),
    Activation(
        "step",
        "[a > 0]",
        source="McCulloch & Pitts, 1943, A logical calculus of the ideas immanent in nervous activity",
        aliases=("heaviside",),
        differs=(
            "Some texts call it the threshold function; Keras and PyTorch mean another by that name: threshold. "
            "Some texts, and numpy.heaviside with 1 as its second argument, give 1 at a = 0."
        ),
    ),
    Activation(
        "sigmoid",
        "1 / (1 + exp(-a))",
        source="Rumelhart, Hinton & Williams, 1986, Learning representations by back-propagating errors, eq. 2",
        aliases=("logistic",),
    ),
    Activation(
        "tanh",
        "tanh(a)",
        source="LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp",
        aliases=("hyperbolic_tangent",),
        differs="The source recommends 1.7159 tanh(2a/3); the frameworks compute tanh(a).",
    ),
    Activation(
        "relu",
        # max(a, 0) rather than max(0, a): where both are equal the slope is the second argument's, here 0,
        # as PyTorch and TensorFlow have it.
        "max(a, 0)",
        source="Nair & Hinton, 2010, Rectified linear units improve restricted Boltzmann machines",
        aliases=("rectifier",),
    ),
    Activation(
        "leaky_relu",
        "where(a > 0, a, negative_slope*a)",
        defaults={"negative_slope": 0.01},
        source="Maas, Hannun & Ng, 2013, Rectifier nonlinearities improve neural network acoustic models",
        differs=(
            "PyTorch has slope 0.01 as here. Keras has 0.3 in the layer LeakyReLU "
            "and 0.2 in the function keras.activations.leaky_relu."
        ),
    ),
    Activation(
        "elu",
        "where(a > 0, a, alpha*(exp(a) - 1))",
        defaults={"alpha": 1.0},
        source="Clevert, Unterthiner & Hochreiter, 2016, Fast and accurate deep network learning by ELUs",
        differs="CELU divides a by alpha inside exp; for alpha = 1 it is the same.",
    ),
    Activation(
        "celu",
        "where(a > 0, a, alpha*(exp(a/alpha) - 1))",
        defaults={"alpha": 1.0},
        source="Barron, 2017, Continuously differentiable exponential linear units",
        differs="As in Keras and PyTorch. For alpha = 1 it is elu.",
    ),
    Activation(
        "selu",
        "scale*where(a > 0, a, alpha*(exp(a) - 1))",
        defaults={"scale": 1.0507009873554805, "alpha": 1.6732632423543772},
        source="Klambauer, Unterthiner, Mayr & Hochreiter, 2017, Self-normalizing neural networks",
        differs="Same constants everywhere; some implementations cut them to 8 digits.",
    ),
    Activation(
        "gelu",
        "a*(1 + erf(a/sqrt(2)))/2",
        source="Hendrycks & Gimpel, 2016, Gaussian error linear units (GELUs)",
        differs=(
            "Exact, as Keras (approximate=False) and PyTorch (approximate='none') have it by default. "
            "JAX's default, and the approximate form of the other two, is gelu_tanh."
        ),
    ),
    Activation(
        "gelu_tanh",
        "a*(1 + tanh(sqrt(2/pi)*(a + 0.044715*a**3)))/2",
        source="Hendrycks & Gimpel, 2016, Gaussian error linear units (GELUs), section 2",
        aliases=("gelu_approximate", "gelu_new"),
        differs="Keras's gelu with approximate=True, PyTorch's with approximate='tanh'; within 0.0005 of gelu.",
    ),
    Activation(
        "swish",
        "a / (1 + exp(-beta*a))",
        defaults={"beta": 1.0},
        source="Ramachandran, Zoph & Le, 2017, Searching for activation functions",
        aliases=("silu",),
        differs="Keras and PyTorch (silu) fix beta = 1.",
    ),
    Activation(
        "mish",
        "a*tanh(log(1 + exp(a)))",
        source="Misra, 2020, Mish: a self regularized non-monotonic activation function",
    ),
    Activation(
        "softplus",
        "log(1 + exp(a))",
        source="Dugas, Bengio, Bélisle, Nadeau & Garcia, 2001, Incorporating second-order functional knowledge",
        differs="PyTorch has a slope beta (1 by default) and switches to the line a above 20.",
    ),
    Activation(
        "squareplus",
        "(a + sqrt(a**2 + b))/2",
        defaults={"b": 4.0},
        source="Barron, 2021, Squareplus: a softplus-like algebraic rectifier",
        differs="As in Keras. PyTorch has none.",
    ),
    Activation(
        "exponential",
        "exp(a)",
        source="Nelder & Wedderburn, 1972, Generalized linear models: the inverse of the logarithmic link",
    ),
    Activation(
        "log_sigmoid",
        "-log(1 + exp(-a))",
        source="Cox, 1958, The regression analysis of binary sequences",
        aliases=("log_logistic",),
        differs="PyTorch writes LogSigmoid.",
    ),
    Activation(
        "softsign",
        "a / (1 + abs(a))",
        source="Glorot & Bengio, 2010, Understanding the difficulty of training deep feedforward neural networks",
    ),
    Activation(
        "tanh_shrink",
        "a - tanh(a)",
        source="PyTorch, 2016, torch.nn.Tanhshrink",
        differs="As in Keras and PyTorch.",
    ),
    Activation(
        "soft_shrink",
        "where(a > threshold, a - threshold, where(a < -threshold, a + threshold, 0))",
        defaults={"threshold": 0.5},
        source="Donoho & Johnstone, 1994, Ideal spatial adaptation by wavelet shrinkage",
        aliases=("soft_threshold",),
        differs="PyTorch's Softshrink calls the threshold lambd.",
    ),
    Activation(
        "hard_shrink",
        "where(abs(a) > threshold, a, 0)",
        defaults={"threshold": 0.5},
        source="Donoho & Johnstone, 1994, Ideal spatial adaptation by wavelet shrinkage",
        aliases=("hard_threshold",),
        differs="PyTorch's Hardshrink calls the threshold lambd.",
    ),
    Activation(
        "threshold",
        "where(a > theta, a, value)",
        defaults={"theta": 0.0, "value": 0.0},
        source="PyTorch, 2016, torch.nn.Threshold",
        aliases=("thresholded_relu",),
        differs=(
            "Keras calls theta threshold and value default_value; neither it nor PyTorch has defaults for them. "
            "The threshold function of the perceptron, 0 or 1, is step."
        ),
    ),
    Activation(
        "relu6",
        "min(max(a, 0), 6)",
        source="Krizhevsky, 2010, Convolutional deep belief networks on CIFAR-10",
    ),
    Activation(
        "hard_tanh",
        "min(max(a, low), high)",
        defaults={"low": -1.0, "high": 1.0},
        source="Collobert, 2004, Large scale machine learning, section 5.2",
        differs="PyTorch's Hardtanh calls the ends min_val and max_val; Keras fixes -1 and 1.",
    ),
    Activation(
        "hard_sigmoid",
        "min(max(a + 3, 0), 6)/6",
        source="Howard et al., 2019, Searching for MobileNetV3, section 5.2",
        differs=(
            "As in Keras 3 and PyTorch. Keras 2 had the slope 0.2: min(max(0.2a + 0.5, 0), 1); the name comes from "
            "Courbariaux, Bengio & David, 2015, with the slope 1/2: sparse_sigmoid."
        ),
    ),
    Activation(
        "hard_swish",
        "a*min(max(a + 3, 0), 6)/6",
        source="Howard et al., 2019, Searching for MobileNetV3, section 5.2",
        aliases=("hard_silu",),
        differs="As in Keras (hard_silu) and PyTorch (Hardswish).",
    ),
    Activation(
        "sparse_plus",
        "where(a <= -1, 0, where(a < 1, (a + 1)**2/4, a))",
        source="Keras 3, keras.activations.sparse_plus",
        differs="PyTorch has none.",
    ),
    Activation(
        "sparse_sigmoid",
        "min(max((a + 1)/2, 0), 1)",
        source="Keras 3, keras.activations.sparse_sigmoid",
        differs="The slope of sparse_plus. PyTorch has none.",
    ),
    Activation(
        "softmax",
        "softmax[k](a[k])",
        index="k",
        source="Bridle, 1990, Probabilistic interpretation of feedforward classification network outputs",
    ),
    Activation(
        "log_softmax",
        "log_softmax[k](a[k])",
        index="k",
        source="Bridle, 1990, Probabilistic interpretation of feedforward classification network outputs",
    ),
)
