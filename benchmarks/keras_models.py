"""Small models written for Keras, which run on chainrule with the import changed: the same function builds both.

`record_keras_models` runs them on Keras and keeps weights and logs, tests/interfaces/keras/test_oracles.py on
chainrule. Each case is a function of the package (keras, or chainrule as keras): (model, x, y, options of fit).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Case = tuple[Any, Any, Any, dict[str, Any]]
ROWS = 20


def rows(width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """(ROWS, width), without a generator whose numbers might change with its version."""
    grid = np.arange(ROWS * width, dtype=np.float64).reshape(ROWS, width) + 1
    return np.sin(grid * (1.7 + 0.31 * seed)) + 0.3 * np.cos(grid * grid * 0.013)


def classes(count: int) -> np.ndarray[Any, Any]:
    return (np.arange(ROWS) * 7 // 3) % count


def batch_norm(k: Any) -> Case:
    model = k.Sequential(
        [
            k.Input((6,)),
            k.layers.Dense(8, activation="relu"),
            k.layers.BatchNormalization(momentum=0.9),
            k.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    return model, rows(6), np.eye(3)[classes(3)], {}


def concatenation_and_skip(k: Any) -> Case:
    a, b = k.Input((4,), name="a"), k.Input((3,), name="b")
    joined = k.layers.Concatenate()([k.layers.Dense(5, activation="tanh")(a), b])
    normal = k.layers.LayerNormalization()(k.layers.BatchNormalization()(joined))
    first = k.layers.Dense(6, activation="gelu", kernel_initializer="he_normal")(normal)
    second = k.layers.Add()([first, k.layers.Dense(6, activation="softsign")(first)])
    out = k.layers.Dense(1, activation="sigmoid")(k.layers.concatenate([second, a]))
    model = k.Model([a, b], out)
    optimizer = k.optimizers.Adam(0.01, clipvalue=0.02)
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy", "mae"])
    weights = 0.5 + np.arange(ROWS) % 3
    return model, [rows(4), rows(3, 1)], classes(2), {"sample_weight": weights}


def two_outputs(k: Any) -> Case:
    x = k.Input((5,))
    trunk = k.layers.Dense(6, activation="elu")(x)
    kind = k.layers.Dense(3, activation="softmax", name="kind")(trunk)
    amount = k.layers.Dense(2, name="amount")(k.layers.Multiply()([trunk, k.layers.Dense(6)(x)]))
    model = k.Model(x, {"kind": kind, "amount": amount})
    model.compile(
        optimizer=k.optimizers.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=0.7),
        loss={"kind": "categorical_crossentropy", "amount": k.losses.Huber(delta=0.5)},
        loss_weights={"kind": 1.0, "amount": 0.3},
        metrics={"kind": ["accuracy"], "amount": ["mae", "mse"]},
    )
    return model, rows(5), {"kind": np.eye(3)[classes(3)], "amount": rows(2, 2)}, {}


def regularized(k: Any) -> Case:
    model = k.Sequential(
        [
            k.Input((6,)),
            k.layers.Dense(
                7,
                activation="relu",
                kernel_regularizer=k.regularizers.L1L2(0.001, 0.02),
                kernel_constraint=k.constraints.MaxNorm(0.9),
                activity_regularizer=k.regularizers.L2(0.01),
            ),
            k.layers.Dense(5, activation="leaky_relu", kernel_constraint="non_neg", use_bias=False),
            k.layers.Dense(4, activation="softmax", bias_regularizer="l1", kernel_constraint=k.constraints.UnitNorm()),
        ]
    )
    model.compile(
        optimizer=k.optimizers.AdamW(0.02, weight_decay=0.1),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=[k.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")],
    )
    return model, rows(6), classes(4), {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5, 3: 1.5}}


def views(k: Any) -> Case:
    x = k.Input((4, 5))
    flat = k.layers.PReLU()(k.layers.Dense(6)(k.layers.Flatten()(x)))
    places = k.layers.Dense(4, activation="silu")(k.layers.Reshape((2, 3))(flat))
    out = k.layers.Dense(3)(k.layers.GlobalAveragePooling1D()(places))
    model = k.Model(x, out)
    rate = k.optimizers.schedules.CosineDecay(0.05, 6, alpha=0.1)
    model.compile(
        optimizer=k.optimizers.Adam(rate, clipnorm=0.05),
        loss=k.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )
    return model, rows(20).reshape(ROWS, 4, 5), np.eye(3)[classes(3)], {}


def embeddings(k: Any) -> Case:
    words = k.Input((3,), dtype="int32")
    numbers = k.Input((2,))
    looked = k.layers.Flatten()(k.layers.Embedding(7, 4, embeddings_regularizer="l2")(words))
    out = k.layers.Dense(2, activation="softmax")(k.layers.Concatenate()([looked, numbers]))
    model = k.Model([words, numbers], out)
    model.compile(optimizer=k.optimizers.Adagrad(0.1, use_ema=True, ema_momentum=0.8), loss="categorical_crossentropy")
    ids = (np.arange(ROWS * 3).reshape(ROWS, 3) * 5) % 7
    return model, [ids, rows(2, 3)], np.eye(2)[classes(2)], {}


def tied(k: Any) -> Case:
    x = k.Input((5,))
    shared = k.layers.Dense(5, activation="tanh")
    hidden = shared(k.layers.UnitNormalization()(shared(x)))
    out = k.layers.Dense(5)(k.layers.Average()([hidden, x, shared(hidden)]))
    model = k.Model(x, out)
    model.compile(optimizer=k.optimizers.Nadam(0.01, gradient_accumulation_steps=2), loss="mean_absolute_error")
    return model, rows(5), rows(5, 4), {}


def single(k: Any) -> dict[str, Any]:
    """Layers without drawn weights, each with the shape of its inputs: what they give is compared as it is."""
    layers, wide = k.layers, (6,)
    return {
        "relu": (layers.ReLU(), wide, 1),
        "relu_bounded": (layers.ReLU(max_value=0.5, negative_slope=0.1, threshold=0.2), wide, 1),
        "relu_shifted": (layers.ReLU(threshold=0.3), wide, 1),
        "leaky_relu": (layers.LeakyReLU(), wide, 1),
        "elu": (layers.ELU(alpha=0.7), wide, 1),
        "softmax": (layers.Softmax(), (2, 6), 1),
        "activation": (layers.Activation("hard_sigmoid"), wide, 1),
        "swish": (layers.Activation("swish"), wide, 1),
        "leaky_activation": (layers.Activation("leaky_relu"), wide, 1),
        "squareplus": (layers.Activation("squareplus"), wide, 1),
        "prelu": (layers.PReLU(alpha_initializer=k.initializers.Constant(0.2)), (2, 3), 1),
        "rescaling": (layers.Rescaling(1 / 255, offset=-0.5), wide, 1),
        "normalization": (layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 4.0, 0.25]), (2, 3), 1),
        "layer_norm": (layers.LayerNormalization(epsilon=0.01), (2, 6), 1),
        "layer_norm_plain": (layers.LayerNormalization(center=False, scale=False), wide, 1),
        "batch_norm": (layers.BatchNormalization(moving_mean_initializer=k.initializers.Constant(0.3)), wide, 1),
        "unit_norm": (layers.UnitNormalization(), (2, 6), 1),
        "rms_norm": (layers.RMSNormalization(), (2, 6), 1),
        "average_pooling": (layers.GlobalAveragePooling1D(), (4, 3), 1),
        "max_pooling": (layers.GlobalMaxPooling1D(), (4, 3), 1),
        "reshape": (layers.Reshape((4, -1)), (2, 6), 1),
        "dropout": (layers.Dropout(0.5), wide, 1),
        "gaussian_noise": (layers.GaussianNoise(0.5), wide, 1),
        "gaussian_dropout": (layers.GaussianDropout(0.5), wide, 1),
        "add": (layers.Add(), wide, 3),
        "subtract": (layers.Subtract(), wide, 2),
        "multiply": (layers.Multiply(), wide, 3),
        "average": (layers.Average(), wide, 3),
        "maximum": (layers.Maximum(), wide, 3),
        "minimum": (layers.Minimum(), (2, 3), 2),
        "dense_on_places": (layers.Dense(2, kernel_initializer="ones", bias_initializer="ones"), (2, 3), 1),
    }


def given(shape: tuple[int, ...], count: int) -> list[np.ndarray[Any, Any]]:
    """Inputs for a layer alone: 4 rows."""
    return [rows(int(np.prod(shape)), seed)[:4].reshape(4, *shape) for seed in range(count)]


CASES: dict[str, Callable[[Any], Case]] = {
    function.__name__: function
    for function in (batch_norm, concatenation_and_skip, two_outputs, regularized, views, embeddings, tied)
}
FIT = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}  # 3 steps an epoch, the last of 4 rows
