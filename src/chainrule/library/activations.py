"""Activations: what a neuron makes of its weighted sum a.

Each is the formula of the field. The stable form (exp of negative numbers only, log1p, …) is found by the simplifier,
so that no row has to hide its mathematics.
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
        aliases=("heaviside", "threshold"),
        differs="Some texts, and numpy.heaviside with 1 as its second argument, give 1 at a = 0.",
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
        differs="PyTorch's CELU divides a by alpha inside exp; for alpha = 1 it is the same.",
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
            "JAX's default, and the approximate forms of the other two, are a(1 + tanh(√(2/π)(a + 0.044715a³)))/2."
        ),
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
        "softplus",
        "log(1 + exp(a))",
        source="Dugas, Bengio, Bélisle, Nadeau & Garcia, 2001, Incorporating second-order functional knowledge",
        differs="PyTorch has a slope beta (1 by default) and switches to the line a above 20.",
    ),
    Activation(
        "softsign",
        "a / (1 + abs(a))",
        source="Glorot & Bengio, 2010, Understanding the difficulty of training deep feedforward neural networks",
    ),
    Activation(
        "softmax",
        "softmax[k](a[k])",
        index="k",
        source="Bridle, 1990, Probabilistic interpretation of feedforward classification network outputs",
    ),
)
