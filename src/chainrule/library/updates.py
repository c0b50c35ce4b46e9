"""Update rules: how a parameter w follows from its gradient g.

One line per state variable, then the line of w. The lines run in order and see new values; `step` counts updates from
1; every state starts at 0. The learning rate is always `eta`.
"""

from __future__ import annotations

from chainrule.library.rows import ParameterRule, Update, table

UPDATES = table(
    Update(
        "gradient_descent",
        "w <- w - eta*g",
        defaults={"eta": 0.01},
        source="Cauchy, 1847, Méthode générale pour la résolution des systèmes d'équations simultanées",
        aliases=("sgd", "steepest_descent"),
        differs="Stochastic, mini-batch and full-batch descent are this rule with another batch size.",
    ),
    Update(
        "momentum",
        """\
v <- mu*v - eta*g
w <- w + v""",
        defaults={"eta": 0.01, "mu": 0.9},
        source="Polyak, 1964, Some methods of speeding up the convergence of iteration methods",
        aliases=("heavy_ball",),
        differs=(
            "As in Keras (SGD with momentum). PyTorch keeps v <- mu*v + g and moves by -eta*v: "
            "the same while eta is constant, another path when a schedule changes it."
        ),
    ),
    Update(
        "momentum_look_ahead",
        """\
v <- mu*v - eta*g
w <- w + mu*v - eta*g""",
        defaults={"eta": 0.01, "mu": 0.9},
        source="Bengio, Boulanger-Lewandowski & Pascanu, 2013, Advances in optimizing recurrent networks, section 3.5",
        aliases=("look_ahead",),
        differs="This is Nesterov's momentum in the form of Keras (SGD with nesterov=True).",
    ),
    Update(
        "nesterov",
        """\
v <- mu*v + g
w <- w - eta*(g + mu*v)""",
        defaults={"eta": 0.01, "mu": 0.9},
        source="Sutskever, Martens, Dahl & Hinton, 2013, On the importance of initialization and momentum",
        aliases=("nesterov_momentum", "nag"),
        differs=(
            "The form of PyTorch (SGD with nesterov=True): the steps of momentum_look_ahead (Keras's form) "
            "while eta is constant. The source takes g at w + mu*v; here w stands for that point."
        ),
    ),
    Update(
        "adagrad",
        """\
r <- r + g**2
w <- w - eta*g/(sqrt(r) + epsilon)""",
        defaults={"eta": 0.01, "epsilon": 1e-7},
        source="Duchi, Hazan & Singer, 2011, Adaptive subgradient methods for online learning",
        differs=(
            "Keras starts r at 0.1, adds epsilon = 1e-7 inside the root and has eta = 0.001. "
            "PyTorch starts r at 0, adds epsilon = 1e-10 outside the root and has eta = 0.01."
        ),
    ),
    Update(
        "rmsprop",
        """\
v <- rho*v + (1 - rho)*g**2
w <- w - eta*g/(sqrt(v) + epsilon)""",
        defaults={"eta": 0.001, "rho": 0.9, "epsilon": 1e-7},
        source="Tieleman & Hinton, 2012, Neural Networks for Machine Learning, lecture 6.5",
        differs=(
            "Keras 3 has these defaults but adds epsilon inside the root. "
            "PyTorch adds it outside, with rho = 0.99 (called alpha), epsilon = 1e-8 and eta = 0.01."
        ),
    ),
    Update(
        "adam",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*(m/(1 - beta_1**step))/(sqrt(v/(1 - beta_2**step)) + epsilon)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        source="Kingma & Ba, 2015, Adam: a method for stochastic optimization, Algorithm 1",
        differs=(
            "As in PyTorch. Keras adds epsilon = 1e-7 to sqrt(v) before the correction "
            "(the source's 'epsilon hat'), which makes it weigh more in the first steps."
        ),
    ),
    Update(
        "adamw",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*((m/(1 - beta_1**step))/(sqrt(v/(1 - beta_2**step)) + epsilon) + weight_decay*w)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.004},
        source="Loshchilov & Hutter, 2019, Decoupled weight decay regularization, Algorithm 2",
        differs=(
            "The decay is multiplied by eta, as in Keras (0.004) and PyTorch (0.01); in the source only by the "
            "schedule's factor. Keras's epsilon is that of its Adam."
        ),
    ),
    Update(
        "nadam",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*(beta_1*m/(1 - beta_1**(step + 1)) + (1 - beta_1)*g/(1 - beta_1**step))\
/(sqrt(v/(1 - beta_2**step)) + epsilon)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        source="Dozat, 2016, Incorporating Nesterov momentum into Adam",
        differs=(
            "Keras and PyTorch let beta_1 rise: beta_1*(1 - 0.96**step/2) in Keras, 0.96**(0.004*step) in PyTorch. "
            "Here it is constant. PyTorch has eta = 0.002, Keras epsilon = 1e-7."
        ),
    ),
    Update(
        "lion",
        """\
w <- w - eta*(sign(beta_1*m + (1 - beta_1)*g) + weight_decay*w)
m <- beta_2*m + (1 - beta_2)*g""",
        defaults={"eta": 0.0001, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.0},
        source="Chen et al., 2023, Symbolic discovery of optimization algorithms, Algorithm 2",
        differs="Keras has eta = 0.001.",
    ),
)

PARAMETER_RULES = table(
    ParameterRule(
        "perceptron_rule",
        """\
w[i] <- w[i] + eta*(t - y)*x[i]
b <- b + eta*(t - y)""",
        defaults={"eta": 1.0},
        source="Rosenblatt, 1958, The perceptron: a probabilistic model for information storage and organization",
        aliases=("perceptron",),
        differs="scikit-learn's Perceptron has targets -1 and 1 and also moves where a = 0 and the output is right.",
    ),
)
"""Rules for named parameters; y is the neuron's output, 0 or 1."""
