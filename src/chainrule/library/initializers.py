"""Initializers: the distribution of a parameter before the first update.

fan_in is the number of inputs that a unit sums over, fan_out the number of units that an input goes to.
"""

from __future__ import annotations

from chainrule.library.rows import Initializer, table

TRUNCATED = (
    "Keras draws from a normal cut at two standard deviations and widened to the same standard deviation; "
    "PyTorch's normal is not cut."
)

GLOROT = "Glorot & Bengio, 2010, Understanding the difficulty of training deep feedforward neural networks"
HE = "He, Zhang, Ren & Sun, 2015, Delving deep into rectifiers"
LECUN = "LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp"

INITIALIZERS = table(
    Initializer(
        "zeros",
        "constant",
        ("0", "0"),
        source="Rosenblatt, 1958, The perceptron",
        aliases=("zero",),
        differs="Hidden units that start equal stay equal: for biases and single layers only.",
    ),
    Initializer("ones", "constant", ("1", "1"), source="Keras 3, keras.initializers.Ones", aliases=("one",)),
    Initializer(
        "constant",
        "constant",
        ("value", "value"),
        defaults={"value": 0.0},
        source="Keras 3, keras.initializers.Constant",
    ),
    Initializer(
        "uniform",
        "uniform",
        ("low", "high"),
        defaults={"low": -0.05, "high": 0.05},
        source="Keras 3, keras.initializers.RandomUniform",
        aliases=("random_uniform",),
        differs="PyTorch's uniform_ is between 0 and 1.",
    ),
    Initializer(
        "normal",
        "normal",
        ("mu", "sigma"),
        defaults={"mu": 0.0, "sigma": 0.05},
        source="Keras 3, keras.initializers.RandomNormal",
        aliases=("random_normal",),
        differs="PyTorch's normal_ has standard deviation 1.",
    ),
    Initializer(
        "glorot_uniform",
        "uniform",
        ("-sqrt(6/(fan_in + fan_out))", "sqrt(6/(fan_in + fan_out))"),
        source=f"{GLOROT}, eq. 16",
        aliases=("xavier_uniform",),
    ),
    Initializer(
        "glorot_normal",
        "normal",
        ("0", "sqrt(2/(fan_in + fan_out))"),
        source=f"{GLOROT}, eq. 12",
        aliases=("xavier_normal",),
        differs=TRUNCATED,
    ),
    Initializer(
        "he_uniform",
        "uniform",
        ("-sqrt(6/fan_in)", "sqrt(6/fan_in)"),
        source=HE,
        aliases=("kaiming_uniform",),
        differs="As in Keras and PyTorch's kaiming_uniform_. PyTorch's Linear starts within 1/sqrt(fan_in) instead.",
    ),
    Initializer(
        "he_normal",
        "normal",
        ("0", "sqrt(2/fan_in)"),
        source=f"{HE}, eq. 10",
        aliases=("kaiming_normal",),
        differs=TRUNCATED,
    ),
    Initializer(
        "lecun_uniform",
        "uniform",
        ("-sqrt(3/fan_in)", "sqrt(3/fan_in)"),
        source=LECUN,
    ),
    Initializer(
        "lecun_normal",
        "normal",
        ("0", "sqrt(1/fan_in)"),
        source=LECUN,
        differs=f"Meant to go with selu. {TRUNCATED}",
    ),
)
