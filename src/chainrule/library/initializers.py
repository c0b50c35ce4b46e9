"""Initializers: the distribution of a parameter before the first update.

fan_in is the number of inputs that a unit sums over, fan_out the number of units that an input goes to.

Names: the plain name is the source's distribution. `keras_` stands before that of Keras 3.15 where it is another one:
its normal ones are cut at two standard deviations; `torch_` before PyTorch 2.13's.
"""

from __future__ import annotations

from chainrule.library.rows import Initializer, table

TRUNCATED = (
    "Keras draws from a normal cut at two standard deviations and widened to the same standard deviation, the row with "
    "keras_; PyTorch's normal is not cut."
)
CUT = "What Keras means: a normal cut at two standard deviations, and widened to the plain row's standard deviation."

# The standard deviation of a standard normal cut at -2 and 2: sqrt(1 - 4φ(2)/(Φ(2) - Φ(-2))).
NARROWER = "0.87962566103423978"

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
        differs="As in Keras. PyTorch's uniform_ is between 0 and 1.",
    ),
    Initializer(
        "normal",
        "normal",
        ("mu", "sigma"),
        defaults={"mu": 0.0, "sigma": 0.05},
        source="Keras 3, keras.initializers.RandomNormal",
        aliases=("random_normal",),
        differs="As in Keras. PyTorch's normal_ has standard deviation 1.",
    ),
    Initializer(
        "truncated_normal",
        "truncated_normal",
        ("mu", "sigma"),
        defaults={"mu": 0.0, "sigma": 0.05},
        source="Keras 3, keras.initializers.TruncatedNormal",
        differs="As in Keras. PyTorch's trunc_normal_ has standard deviation 1 and is cut at -2 and 2 themselves.",
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
        "keras_glorot_normal",
        "truncated_normal",
        ("0", f"sqrt(2/(fan_in + fan_out))/{NARROWER}"),
        source="Keras 3, keras.initializers.GlorotNormal",
        differs=CUT,
    ),
    Initializer(
        "he_uniform",
        "uniform",
        ("-sqrt(6/fan_in)", "sqrt(6/fan_in)"),
        source=HE,
        aliases=("kaiming_uniform",),
        differs="As in Keras and PyTorch's kaiming_uniform_. PyTorch's Linear starts otherwise: torch_linear.",
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
        "keras_he_normal",
        "truncated_normal",
        ("0", f"sqrt(2/fan_in)/{NARROWER}"),
        source="Keras 3, keras.initializers.HeNormal",
        differs=CUT,
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
    Initializer(
        "keras_lecun_normal",
        "truncated_normal",
        ("0", f"sqrt(1/fan_in)/{NARROWER}"),
        source="Keras 3, keras.initializers.LecunNormal",
        differs=CUT,
    ),
    Initializer(
        "torch_linear",
        "uniform",
        ("-sqrt(1/fan_in)", "sqrt(1/fan_in)"),
        source="PyTorch, 2016, torch.nn.Linear",
        differs="Of PyTorch's biases too, with the weights' fan_in; a bias of its own has 1, so write its numbers.",
    ),
    Initializer(
        "variance_scaling",
        "normal",
        ("0", "sqrt(scale/fan_in)"),
        defaults={"scale": 1.0},
        source=HE,
        aliases=("variance_scaling_fan_in",),
        differs=(
            "Keras's VarianceScaling cuts it (keras_variance_scaling) unless its distribution is 'untruncated_normal'; "
            "its mode chooses fan_in, fan_out or their mean, each a row here."
        ),
    ),
    Initializer(
        "variance_scaling_fan_out",
        "normal",
        ("0", "sqrt(scale/fan_out)"),
        defaults={"scale": 1.0},
        source=f"{HE}, eq. 14",
        differs="Keras's VarianceScaling(mode='fan_out', distribution='untruncated_normal').",
    ),
    Initializer(
        "variance_scaling_fan_avg",
        "normal",
        ("0", "sqrt(2*scale/(fan_in + fan_out))"),
        defaults={"scale": 1.0},
        source=f"{GLOROT}, eq. 12",
        differs="Keras's VarianceScaling(mode='fan_avg', distribution='untruncated_normal').",
    ),
    Initializer(
        "keras_variance_scaling",
        "truncated_normal",
        ("0", f"sqrt(scale/fan_in)/{NARROWER}"),
        defaults={"scale": 1.0},
        source="Keras 3, keras.initializers.VarianceScaling",
        aliases=("keras_variance_scaling_fan_in",),
        differs="Keras's default: mode='fan_in', distribution='truncated_normal'.",
    ),
    Initializer(
        "keras_variance_scaling_fan_out",
        "truncated_normal",
        ("0", f"sqrt(scale/fan_out)/{NARROWER}"),
        defaults={"scale": 1.0},
        source="Keras 3, keras.initializers.VarianceScaling, with mode='fan_out'",
    ),
    Initializer(
        "keras_variance_scaling_fan_avg",
        "truncated_normal",
        ("0", f"sqrt(2*scale/(fan_in + fan_out))/{NARROWER}"),
        defaults={"scale": 1.0},
        source="Keras 3, keras.initializers.VarianceScaling, with mode='fan_avg'",
    ),
    Initializer(
        "variance_scaling_uniform",
        "uniform",
        ("-sqrt(3*scale/fan_in)", "sqrt(3*scale/fan_in)"),
        defaults={"scale": 1.0},
        source=LECUN,
        aliases=("variance_scaling_uniform_fan_in",),
        differs="Keras's VarianceScaling(distribution='uniform').",
    ),
    Initializer(
        "variance_scaling_uniform_fan_out",
        "uniform",
        ("-sqrt(3*scale/fan_out)", "sqrt(3*scale/fan_out)"),
        defaults={"scale": 1.0},
        source=f"{HE}, eq. 14",
        differs="Keras's VarianceScaling(mode='fan_out', distribution='uniform').",
    ),
    Initializer(
        "variance_scaling_uniform_fan_avg",
        "uniform",
        ("-sqrt(6*scale/(fan_in + fan_out))", "sqrt(6*scale/(fan_in + fan_out))"),
        defaults={"scale": 1.0},
        source=f"{GLOROT}, eq. 16",
        differs="Keras's VarianceScaling(mode='fan_avg', distribution='uniform').",
    ),
    Initializer(
        "identity",
        "identity",
        ("0", "gain"),
        defaults={"gain": 1.0},
        source="Le, Jaitly & Hinton, 2015, A simple way to initialize recurrent networks of rectified linear units",
        aliases=("eye", "identity_initializer"),
        differs="As in Keras and PyTorch (eye_): a matrix that need not be square.",
    ),
    Initializer(
        "orthogonal",
        "orthogonal",
        ("0", "gain"),
        defaults={"gain": 1.0},
        source="Saxe, McClelland & Ganguli, 2014, Exact solutions to the nonlinear dynamics of learning",
        aliases=("orthogonal_initializer",),
        differs="As in Keras and PyTorch; of three and more indices, all but the last count as one.",
    ),
)
