"""Update rules: how a parameter w follows from its gradient g.

One line per state variable, then the line of w. The lines run in order and see new values; `step` counts updates from
1; every state starts at 0. The learning rate is always `eta`.

Names: the plain name is the textbook's form. `keras_` stands before the form of Keras 3.15 where it is another one,
`torch_` before PyTorch 2.13's; where that form has a row already, these names are its aliases. A constant that
frameworks set differently is a hyper-parameter. Weight decay (but for the rows that are named after it), clipping,
averages of the weights and accumulation are lines around any of these rules: `chainrule.training.optimizer`.

What is not here: Adafactor and Muon, whose states have other shapes than the weights; L-BFGS, which needs the loss
again within a step; ASGD. The file is long because each rule that a framework computes in its own way has a row.
"""

from __future__ import annotations

from chainrule.library.rows import ParameterRule, Update, table

# The length of the moving average that v is, at this step and in the end; of radam.
RHO_END = "(2/(1 - beta_2) - 1)"
RHO = f"({RHO_END} - 2*step*beta_2**step/(1 - beta_2**step))"

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
            "the same while eta is constant, another path when a schedule changes it: torch_momentum."
        ),
    ),
    Update(
        "torch_momentum",
        """\
v <- where(step == 1, g, mu*v + (1 - dampening)*g)
w <- w - eta*v""",
        defaults={"eta": 0.001, "mu": 0.9, "dampening": 0.0},
        source="PyTorch, 2016, torch.optim.SGD",
        differs="PyTorch's SGD with momentum; its first velocity is the gradient itself, whatever the dampening.",
    ),
    Update(
        "momentum_look_ahead",
        """\
v <- mu*v - eta*g
w <- w + mu*v - eta*g""",
        defaults={"eta": 0.01, "mu": 0.9},
        source="Bengio, Boulanger-Lewandowski & Pascanu, 2013, Advances in optimizing recurrent networks, section 3.5",
        aliases=("look_ahead", "keras_nesterov"),
        differs="This is Nesterov's momentum in the form of Keras (SGD with nesterov=True) and of scikit-learn's MLPs.",
    ),
    Update(
        "nesterov",
        """\
v <- mu*v + g
w <- w - eta*(g + mu*v)""",
        defaults={"eta": 0.01, "mu": 0.9},
        source="Sutskever, Martens, Dahl & Hinton, 2013, On the importance of initialization and momentum",
        aliases=("nesterov_momentum", "nag", "torch_nesterov"),
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
        aliases=("torch_adagrad",),
        differs="As in PyTorch, where epsilon = 1e-10. Keras starts r at 0.1 and has another root: keras_adagrad.",
    ),
    Update(
        "keras_adagrad",
        """\
r <- r + g**2
w <- w - eta*g/sqrt(initial_accumulator_value + r + epsilon)""",
        defaults={"eta": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.Adagrad",
        differs="Keras's accumulator is initial_accumulator_value + r.",
    ),
    Update(
        "adadelta",
        # w before s: both lines use the s of the step before.
        """\
v <- rho*v + (1 - rho)*g**2
w <- w - eta*sqrt(s + epsilon)/sqrt(v + epsilon)*g
s <- rho*s + (1 - rho)*(s + epsilon)/(v + epsilon)*g**2""",
        defaults={"eta": 1.0, "rho": 0.95, "epsilon": 1e-6},
        source="Zeiler, 2012, ADADELTA: an adaptive learning rate method, Algorithm 1",
        aliases=("keras_adadelta", "torch_adadelta"),
        differs="The source has no eta. Keras has eta = 0.001 and epsilon = 1e-7; PyTorch has rho = 0.9.",
    ),
    Update(
        "rmsprop",
        """\
v <- rho*v + (1 - rho)*g**2
w <- w - eta*g/(sqrt(v) + epsilon)""",
        defaults={"eta": 0.001, "rho": 0.9, "epsilon": 1e-7},
        source="Tieleman & Hinton, 2012, Neural Networks for Machine Learning, lecture 6.5",
        aliases=("torch_rmsprop",),
        differs=(
            "Keras 3 has these defaults but adds epsilon inside the root: keras_rmsprop. "
            "PyTorch adds it outside, as here, with rho = 0.99 (called alpha), epsilon = 1e-8 and eta = 0.01."
        ),
    ),
    Update(
        "rmsprop_momentum",
        """\
v <- rho*v + (1 - rho)*g**2
u <- mu*u + g/(sqrt(v) + epsilon)
w <- w - eta*u""",
        defaults={"eta": 0.01, "rho": 0.99, "mu": 0.9, "epsilon": 1e-8},
        source="Graves, 2013, Generating sequences with recurrent neural networks, section 4.1",
        aliases=("torch_rmsprop_momentum",),
        differs="PyTorch's RMSprop(momentum=mu). Keras has eta in the line of u and epsilon inside the root.",
    ),
    Update(
        "rmsprop_centered",
        """\
v <- rho*v + (1 - rho)*g**2
m <- rho*m + (1 - rho)*g
w <- w - eta*g/(sqrt(v - m**2) + epsilon)""",
        defaults={"eta": 0.01, "rho": 0.99, "epsilon": 1e-8},
        source="Graves, 2013, Generating sequences with recurrent neural networks, section 4.1",
        aliases=("torch_rmsprop_centered",),
        differs="PyTorch's RMSprop(centered=True). The source and Keras have epsilon inside the root.",
    ),
    Update(
        "rmsprop_centered_momentum",
        """\
v <- rho*v + (1 - rho)*g**2
m <- rho*m + (1 - rho)*g
u <- mu*u + g/(sqrt(v - m**2) + epsilon)
w <- w - eta*u""",
        defaults={"eta": 0.01, "rho": 0.99, "mu": 0.9, "epsilon": 1e-8},
        source="Graves, 2013, Generating sequences with recurrent neural networks, section 4.1, eqs. 38-41",
        aliases=("torch_rmsprop_centered_momentum",),
        differs="PyTorch's RMSprop(momentum=mu, centered=True). The source and Keras have epsilon inside the root.",
    ),
    Update(
        "keras_rmsprop",
        """\
v <- rho*v + (1 - rho)*g**2
w <- w - eta*g/sqrt(v + epsilon)""",
        defaults={"eta": 0.001, "rho": 0.9, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.RMSprop",
        differs="Keras's: epsilon is inside the root.",
    ),
    Update(
        "keras_rmsprop_momentum",
        """\
v <- rho*v + (1 - rho)*g**2
u <- mu*u + eta*g/sqrt(v + epsilon)
w <- w - u""",
        defaults={"eta": 0.001, "rho": 0.9, "mu": 0.9, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.RMSprop, with momentum",
        differs="Keras's RMSprop(momentum=mu); the default there is no momentum.",
    ),
    Update(
        "keras_rmsprop_centered",
        """\
v <- rho*v + (1 - rho)*g**2
m <- rho*m + (1 - rho)*g
w <- w - eta*g/sqrt(v - m**2 + epsilon)""",
        defaults={"eta": 0.001, "rho": 0.9, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.RMSprop, with centered=True",
        differs="Keras's RMSprop(centered=True).",
    ),
    Update(
        "keras_rmsprop_centered_momentum",
        """\
v <- rho*v + (1 - rho)*g**2
m <- rho*m + (1 - rho)*g
u <- mu*u + eta*g/sqrt(v - m**2 + epsilon)
w <- w - u""",
        defaults={"eta": 0.001, "rho": 0.9, "mu": 0.9, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.RMSprop, with momentum and centered=True",
        differs="Keras's RMSprop(momentum=mu, centered=True).",
    ),
    Update(
        "adam",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*(m/(1 - beta_1**step))/(sqrt(v/(1 - beta_2**step)) + epsilon)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        source="Kingma & Ba, 2015, Adam: a method for stochastic optimization, Algorithm 1",
        aliases=("torch_adam",),
        differs=(
            "As in PyTorch. Keras and scikit-learn add epsilon to sqrt(v) before the correction: keras_adam, "
            "which makes it weigh more in the first steps."
        ),
    ),
    Update(
        "keras_adam",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*sqrt(1 - beta_2**step)/(1 - beta_1**step)*m/(sqrt(v) + epsilon)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
        source="Kingma & Ba, 2015, Adam, section 2, the last lines: 'epsilon hat'",
        aliases=("sklearn_adam",),
        differs="Keras's, with epsilon = 1e-7, and scikit-learn's, with 1e-8.",
    ),
    Update(
        "amsgrad",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
u <- max(u, v)
w <- w - eta*(m/(1 - beta_1**step))/(sqrt(u/(1 - beta_2**step)) + epsilon)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        source="Reddi, Kale & Kumar, 2018, On the convergence of Adam and beyond, Algorithm 2",
        aliases=("torch_amsgrad",),
        differs="PyTorch's Adam(amsgrad=True). The source corrects neither m nor v and has no epsilon.",
    ),
    Update(
        "keras_amsgrad",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
u <- max(u, v)
w <- w - eta*sqrt(1 - beta_2**step)/(1 - beta_1**step)*m/(sqrt(u) + epsilon)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.Adam, with amsgrad=True",
        differs="Keras's Adam(amsgrad=True).",
    ),
    Update(
        "adamw",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*((m/(1 - beta_1**step))/(sqrt(v/(1 - beta_2**step)) + epsilon) + weight_decay*w)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.004},
        source="Loshchilov & Hutter, 2019, Decoupled weight decay regularization, Algorithm 2",
        aliases=("torch_adamw",),
        differs=(
            "The decay is multiplied by eta, as in Keras (0.004) and PyTorch (0.01); in the source only by the "
            "schedule's factor. Keras's epsilon is that of its Adam: keras_adamw."
        ),
    ),
    Update(
        "keras_adamw",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*(sqrt(1 - beta_2**step)/(1 - beta_1**step)*m/(sqrt(v) + epsilon) + weight_decay*w)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": 0.004},
        source="Keras 3, keras.optimizers.AdamW",
        differs="Keras's.",
    ),
    Update(
        "adamax",
        """\
m <- beta_1*m + (1 - beta_1)*g
u <- max(beta_2*u, abs(g) + epsilon)
w <- w - eta*(m/(1 - beta_1**step))/u""",
        defaults={"eta": 0.002, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        source="Kingma & Ba, 2015, Adam: a method for stochastic optimization, Algorithm 2",
        aliases=("torch_adamax",),
        differs="As in PyTorch. The source has no epsilon; Keras adds it to u: keras_adamax.",
    ),
    Update(
        "keras_adamax",
        """\
m <- beta_1*m + (1 - beta_1)*g
u <- max(beta_2*u, abs(g))
w <- w - eta*(m/(1 - beta_1**step))/(u + epsilon)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.Adamax",
        differs="Keras's.",
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
        differs="Keras and PyTorch let beta_1 rise: keras_nadam and torch_nadam. Here it is constant.",
    ),
    Update(
        "keras_nadam",
        # q is the product of the momenta so far; the momentum of step s is beta_1*(1 - 0.96**s/2).
        """\
q <- where(step == 1, 1, q)*beta_1*(1 - 0.96**step/2)
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*(beta_1*(1 - 0.96**(step + 1)/2)*m/(1 - q*beta_1*(1 - 0.96**(step + 1)/2)) \
+ (1 - beta_1*(1 - 0.96**step/2))*g/(1 - q))/(sqrt(v/(1 - beta_2**step)) + epsilon)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.Nadam",
        differs="Keras's: the schedule of the momentum is that of Dozat's report, and m itself keeps beta_1.",
    ),
    Update(
        "torch_nadam",
        """\
q <- where(step == 1, 1, q)*beta_1*(1 - 0.96**(step*momentum_decay)/2)
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*(beta_1*(1 - 0.96**((step + 1)*momentum_decay)/2)*m\
/(1 - q*beta_1*(1 - 0.96**((step + 1)*momentum_decay)/2)) \
+ (1 - beta_1*(1 - 0.96**(step*momentum_decay)/2))*g/(1 - q))/(sqrt(v/(1 - beta_2**step)) + epsilon)""",
        defaults={"eta": 0.002, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "momentum_decay": 0.004},
        source="PyTorch, 2021, torch.optim.NAdam",
        differs="PyTorch's: as Keras's for momentum_decay = 1.",
    ),
    Update(
        "radam",
        # Where the variance of 1/sqrt(v) is not finite (RHO at most 5, the first five steps for beta_2 = 0.999) the
        # step is that of momentum. max(…, 0): the root is not taken then, and must not be NaN.
        f"""\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
w <- w - eta*m/(1 - beta_1**step)*where({RHO} > 5, \
sqrt(max(({RHO} - 4)*({RHO} - 2)*{RHO_END}/(({RHO_END} - 4)*({RHO_END} - 2)*{RHO}), 0)*(1 - beta_2**step))\
/(sqrt(v) + epsilon), 1)""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        source="Liu et al., 2020, On the variance of the adaptive learning rate and beyond, Algorithm 2",
        aliases=("rectified_adam", "torch_radam"),
        differs="As in PyTorch, which starts at a length of 5 where the source has 4. Keras has none.",
    ),
    Update(
        "lion",
        """\
w <- w - eta*(sign(beta_1*m + (1 - beta_1)*g) + weight_decay*w)
m <- beta_2*m + (1 - beta_2)*g""",
        defaults={"eta": 0.0001, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.0},
        source="Chen et al., 2023, Symbolic discovery of optimization algorithms, Algorithm 2",
        aliases=("keras_lion",),
        differs="Keras has eta = 0.001. PyTorch has none.",
    ),
    Update(
        "lamb",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
u <- (m/(1 - beta_1**step))/(sqrt(v/(1 - beta_2**step)) + epsilon) + weight_decay*w
w <- w - eta*where(norm(w)*norm(u) > 0, norm(w)/norm(u), 1)*u""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": 0.0},
        source="You et al., 2020, Large batch optimization for deep learning: training BERT in 76 minutes, Algorithm 2",
        differs="The source's epsilon is 1e-6. Keras has the decay outside the norm: keras_lamb. PyTorch has none.",
    ),
    Update(
        "keras_lamb",
        """\
m <- beta_1*m + (1 - beta_1)*g
v <- beta_2*v + (1 - beta_2)*g**2
u <- (m/(1 - beta_1**step))/(sqrt(v/(1 - beta_2**step)) + epsilon)
w <- w - eta*where(norm(w)*norm(u) > 0, norm(w)/norm(u), 1)*u""",
        defaults={"eta": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
        source="Keras 3, keras.optimizers.Lamb",
        differs="Keras's: a weight decay is taken off before, as in its other optimizers.",
    ),
    Update(
        "ftrl",
        """\
z <- z + g + 2*l2_shrinkage*w - ((initial_accumulator_value + r + g**2)**(-learning_rate_power) \
- (initial_accumulator_value + r)**(-learning_rate_power))/eta*w
r <- r + g**2
w <- (max(min(z, l1), -l1) - z)\
/((initial_accumulator_value + r)**(-learning_rate_power)/eta + 2*l2 + beta/eta)""",
        defaults={
            "eta": 0.001,
            "learning_rate_power": -0.5,
            "initial_accumulator_value": 0.1,
            "l1": 0.0,
            "l2": 0.0,
            "l2_shrinkage": 0.0,
            "beta": 0.0,
        },
        source="McMahan et al., 2013, Ad click prediction: a view from the trenches, Algorithm 1",
        aliases=("keras_ftrl", "follow_the_regularized_leader"),
        differs=(
            "As in Keras, whose options are l1_regularization_strength, l2_regularization_strength and "
            "l2_shrinkage_regularization_strength. PyTorch has none."
        ),
    ),
    Update(
        "rprop",
        # s is each weight's own step, d the last gradient, 0 where its sign has just changed.
        """\
s <- max(min(where(step == 1, eta, s)*where(g*d > 0, grow, where(g*d < 0, shrink, 1)), largest), smallest)
d <- where(g*d < 0, 0, g)
w <- w - s*sign(d)""",
        defaults={"eta": 0.01, "grow": 1.2, "shrink": 0.5, "smallest": 1e-6, "largest": 50.0},
        source="Riedmiller & Braun, 1993, A direct adaptive method for faster backpropagation learning",
        aliases=("torch_rprop",),
        differs="As in PyTorch, whose etas are (shrink, grow): no step back after a change of sign. For full batches.",
    ),
    Update(
        "schedule_free_adamw",
        # z is the sequence of plain steps, x its mean; w, where gradients are taken, lies between the two.
        """\
v <- beta_2*v + (1 - beta_2)*g**2
z <- where(step == 1, w, z) - eta*g/(sqrt(v/(1 - beta_2**step)) + epsilon)
x <- (1 - 1/step)*x + z/step
w <- (1 - beta_1)*z + beta_1*x""",
        defaults={"eta": 0.0025, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        source="Defazio et al., 2024, The road less scheduled, Algorithm 1",
        aliases=("schedule_free", "keras_schedule_free_adamw"),
        differs=(
            "As in Keras on JAX, without warm-up; Keras 3.15 on PyTorch overwrites z too early and takes other steps. "
            "Predict with x, which is near w. PyTorch has none."
        ),
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
