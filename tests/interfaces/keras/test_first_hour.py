"""What a Keras user types in the first hour: weights by their names, and mistakes that are told with the way out."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

import chainrule
from chainrule import activations, callbacks, layers, losses, metrics, models, optimizers, utils
from chainrule.errors import DataError, SettingError

ROWS = np.sin(np.arange(120.0) * 1.7).reshape(20, 6)
CLASSES = (np.arange(20) * 7 // 3) % 3
ONE_HOT = np.eye(3)[CLASSES]
MODULES = (
    "activations callbacks constraints datasets initializers layers losses metrics models optimizers utils".split()
)


@pytest.fixture(autouse=True)
def counted_from_the_beginning():
    utils.clear_session()
    utils.set_random_seed(0)


def dense(units=3, activation="softmax", loss=None):
    model = models.Sequential([models.Input((6,)), layers.Dense(units, activation)])
    if loss is not None:
        model.compile("sgd", loss)
    return model


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_have_the_names_that_keras_gives_them():
    model = models.Sequential([models.Input((6,)), layers.Dense(3, use_bias=False), layers.BatchNormalization()])
    first, second = model.layers
    assert first.kernel.shape == (6, 3)
    assert first.bias is None
    assert second.gamma.numpy().tolist() == second.moving_variance.numpy().tolist() == [1, 1, 1]
    assert second.beta.numpy().tolist() == second.moving_mean.numpy().tolist() == [0, 0, 0]
    assert layers.Embedding(5, 2)(models.Input((4,))).shape == (None, 4, 2)

    assert model.get_weights()[0].tolist() == first.get_weights()[0].tolist()
    first.kernel.assign(np.ones((6, 3)))
    assert np.asarray(model.get_weights()[0]).sum() == np.asarray(first.kernel).sum() == 18
    with pytest.raises(SettingError, match=r"shape \(3,\) came, \(6, 3\) was wanted"):
        first.kernel.assign(np.ones(3))


def test_weights_that_are_not_made_yet():
    with pytest.raises(SettingError, match="its kernel is made once the input is known"):
        _ = layers.Dense(3).kernel


def test_iterations_count_updates_and_not_the_batches_that_they_are_gathered_from():
    """Keras 3: iterations // gradient_accumulation_steps."""
    model = dense()
    model.compile(optimizers.SGD(0.1, gradient_accumulation_steps=4), "categorical_crossentropy")
    model.fit(ROWS, ONE_HOT, batch_size=2, epochs=1, verbose=0)
    assert model.optimizer.iterations == 2


def test_a_model_that_is_frozen_stays_so_inside_another():
    """The step of transfer learning: base.trainable = False, a new head, and later all of it."""
    base = models.Sequential([models.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(3, "tanh")])
    base.trainable = False
    inputs = models.Input((6,))
    model = models.Model(inputs, layers.Dense(1)(base(inputs, training=False)))
    first, head = base.get_weights(), model.layers[-1].get_weights()
    model.compile("sgd", "mse")
    model.fit(ROWS, ROWS[:, 0], verbose=0)
    assert all((a == b).all() for a, b in zip(first, base.get_weights(), strict=True))
    assert (head[0] != model.layers[-1].get_weights()[0]).any()
    assert len(model.trainable_weights) == 2

    base.trainable = True
    assert len(model.trainable_weights) == 6
    model.compile("sgd", "mse")
    model.fit(ROWS, ROWS[:, 0], verbose=0)
    assert all((a != b).any() for a, b in zip(first, base.get_weights(), strict=True))


def test_a_summary_before_the_shape_is_known(capsys):
    models.Sequential([layers.Dense(3), layers.Dropout(0.5)]).summary()
    shown = capsys.readouterr().out
    assert "dense (Dense)" in shown
    assert "build((None, 784))" in shown


# --- arguments and names ----------------------------------------------------------------------------------------------

WRONG = {
    "a misspelt argument": (lambda: layers.Dense(2, activaton="relu"), "did you mean 'activation'"),
    "of an optimizer": (lambda: optimizers.SGD(learning_rte=0.1), "SGD has no argument 'learning_rte': did you mean"),
    "an older argument": (
        lambda: optimizers.Adam(lr=0.1),
        "Adam has no argument 'lr'; it takes: learning_rate, beta_1",
    ),
    "half precision": (lambda: layers.Dense(2, dtype="float16"), "choose one of 'float32', 'float64'"),
    "per cent": (lambda: layers.Dropout(50), "rate is 50: a share from 0 up to"),
    "an optimizer": (lambda: optimizers.get("adamm"), "did you mean 'Adam'"),
    "boundaries": (lambda: optimizers.schedules.PiecewiseConstantDecay([5, 9], [0.1, 0.01]), "one value more"),
    "a layer in Python": (lambda: type("Own", (layers.Layer,), {})()(models.Input((3,))), "Own: a layer with call"),
    "an activation of x": (lambda: layers.Dense(2, "x*sigmoid(x)"), "never reads a: write"),
    "a loss in Keras's names": (lambda: losses.get("E = (y_true - y_pred)**2"), r"p\[k\], the prediction"),
    "training as an argument": (lambda: layers.Dropout(0.5)(models.Input((3,)), training=True), "training=True"),
    "training of a model": (lambda: dense()(ROWS, training=True), "training=True"),
    "weights of classes by a word": (
        lambda: dense(loss="categorical_crossentropy").fit(ROWS, ONE_HOT, class_weight="balanced"),
        "class_weight has 'balanced'",
    ),
    "classes for one output": (
        lambda: dense(1, "sigmoid", "categorical_crossentropy").fit(ROWS, CLASSES > 0),
        "binary_crossentropy with sigmoid",
    ),
    "class numbers for one output": (
        lambda: dense(1, "sigmoid", "sparse_categorical_crossentropy").fit(ROWS, CLASSES > 0),
        "softmax with one output a class",
    ),
    "a convolution": (lambda: layers.Conv2D, "Conv2D is not there: chainrule has no convolution"),
    "a data set": (lambda: chainrule.datasets.imdb, "imdb is not there: chainrule has mnist"),
    "a picture of the graph": (lambda: utils.plot_model, r"model\.summary\(\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_names_the_way_out(name):
    make, text = WRONG[name]
    with pytest.raises(SettingError, match=text) as told:
        make()
    assert "\n" not in str(told.value)


def test_what_is_not_there_can_be_asked_for():
    assert not hasattr(layers, "LSTM")
    assert not hasattr(layers, "Dens")
    with pytest.raises(ImportError, match="LSTM"):
        from chainrule.layers import LSTM  # noqa: F401


def test_a_missing_argument_is_python_s_own_error():
    with pytest.raises(TypeError, match=r"Dense\.__init__\(\) missing 1 required positional argument: 'units'"):
        layers.Dense()


# --- data -------------------------------------------------------------------------------------------------------------

DATA = {
    "one row without its axis": (lambda: dense().predict(ROWS[0]), r"one sample of shape \(6,\).*x\[None\]"),
    "rows of different lengths": (lambda: dense().predict([[1, 2], [3]]), "different lengths.*pad_sequences"),
    "one-hot rows for a sparse loss": (
        lambda: dense(loss="sparse_categorical_crossentropy").fit(ROWS, ONE_HOT),
        r"take the loss categorical_crossentropy, or y\.argmax\(axis=1\)",
    ),
    "several classes at once": (
        lambda: dense(loss="categorical_crossentropy").fit(ROWS, np.ones((20, 3))),
        "dense_?[0-9]*: .* row 0 sums to 3: for several classes at once take sigmoid",
    ),
    "no targets": (lambda: dense(loss="categorical_crossentropy").fit(ROWS), "y is missing"),
    "no inputs": (lambda: dense().predict(None), "x is missing"),
    "two arrays for one input": (lambda: dense().predict([ROWS, ROWS]), r"2 array\(s\), the model wants 1"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_do_not_fit(name):
    make, text = DATA[name]
    with pytest.raises(DataError, match=text) as told:
        make()
    assert "\n" not in str(told.value)


# --- metrics of all predictions ---------------------------------------------------------------------------------------

SEVERAL = np.array([[1, 0], [1, 1], [0, 1], [1, 0]])  # column 0: tp 2, fp 0, fn 1; column 1: tp 1, fp 1, fn 1
SCORES = np.array([[0.9, 0.6], [0.2, 0.8], [0.4, 0.3], [0.7, 0.1]])


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        (metrics.F1Score(threshold=0.5), (4 / 5 + 2 / 4) / 2),
        (metrics.F1Score("weighted", threshold=0.5), (3 * 4 / 5 + 2 * 2 / 4) / 5),
        (metrics.F1Score("micro", threshold=0.5), 2 * 3 / (2 * 3 + 1 + 2)),
        (metrics.F1Score("micro"), 2 * 3 / (2 * 3 + 1 + 2)),  # the larger of the two: rows 0, 2, 3 say the first
        (metrics.TruePositives(), 3),
        (metrics.FalsePositives(), 1),
        (metrics.TrueNegatives(), 2),
        (metrics.FalseNegatives(), 2),
        (metrics.FalseNegatives(thresholds=0.25), 1),
    ],
    ids=lambda value: repr(value) if isinstance(value, metrics.Metric) else "",
)
def test_f1_and_counts_by_hand(metric, wanted):
    assert metric.asked.of(SEVERAL, SCORES, None) == pytest.approx(wanted)
    assert metric.asked.of(SEVERAL.repeat(2, axis=0), SCORES.repeat(2, axis=0), np.full(8, 0.5)) == pytest.approx(
        wanted
    )


def test_r2_of_several_outputs_is_averaged_over_them():
    """Column 0 is met, of column 1 only the mean: R² 1 and 0, of variances 2 and 50."""
    model = models.Sequential([models.Input((2,)), layers.Dense(2, kernel_initializer="identity")])
    x, t = np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[0.0, 0.0], [2.0, 10.0]])
    for metric, wanted in [("r2_score", 1 / 2), (metrics.R2Score("variance_weighted_average"), 1 / 26)]:
        model.compile("sgd", "mse", metrics=[metric])
        assert model.evaluate(x, t, return_dict=True)["r2_score"] == pytest.approx(wanted)


def test_metrics_are_logged_under_the_names_that_they_are_given():
    model = dense(2, "sigmoid")
    several = [metrics.AUC(name="roc"), metrics.AUC(name="prc", curve="PR"), metrics.F1Score(name="f"), metrics.AUC()]
    model.compile("sgd", "binary_crossentropy", metrics=[*several, metrics.TruePositives()])
    targets = (ROWS[:, :2] > 0).astype(int)
    history = model.fit(ROWS, targets, verbose=0).history
    assert set(history) == {"loss", "roc", "prc", "f", "auc", "true_positives"}
    assert history["roc"] == history["auc"]
    assert model.metrics_names == ["loss", "roc", "prc", "f", "auc", "true_positives"]
    hits = ((model.predict(ROWS) > 0.5) & (targets == 1)).sum()
    assert model.evaluate(ROWS, targets, return_dict=True)["true_positives"] == hits


def test_callbacks_see_evaluate_and_predict():
    seen = []
    watch = callbacks.LambdaCallback(
        on_test_end=lambda logs: seen.append(sorted(logs)),
        on_predict_begin=lambda logs: seen.append("predict"),
    )
    model = dense(loss="categorical_crossentropy")
    model.evaluate(ROWS, ONE_HOT, callbacks=[watch])
    model.predict(ROWS, callbacks=[watch])
    assert seen == [["loss"], "predict"]


def test_arithmetic_on_symbolic_tensors():
    x = models.Input((2,))
    numbers = np.array([[3.0, -1.0]])
    for tensor, wanted in [(1 - x, 1 - numbers), (-x, -numbers), (x - 1, numbers - 1), (2 * x / 4, numbers / 2)]:
        assert models.Model(x, tensor).predict(numbers) == pytest.approx(wanted)


def test_sparse_tables_go_into_predict():
    sparse = pytest.importorskip("scipy.sparse")
    model = dense()
    few = ROWS * (ROWS > 0.8)
    assert model.predict(sparse.csr_matrix(few)) == pytest.approx(model.predict(few), abs=1e-6)


def test_one_mean_and_variance_for_all_numbers():
    layer = layers.Normalization(axis=None)
    layer.adapt(np.array([[0.0, 2.0], [4.0, 6.0]]))
    assert (layer.mean, layer.variance) == (3, 5)
    found = models.Sequential([models.Input((2,)), layer]).predict(np.array([[3.0, 3.0 + 5**0.5]]))
    assert found == pytest.approx(np.array([[0.0, 1.0]]), abs=1e-6)


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_help_shows_the_formula():
    assert "sum[i](x[..., i]*W[i, j]) + b[j]" in inspect.getdoc(layers.Dense)
    assert "mu_avg[i]" in inspect.getdoc(layers.BatchNormalization)
    assert "v <- beta_2*v + (1 - beta_2)*g**2" in inspect.getdoc(optimizers.Adam)
    assert losses.Huber().formula in inspect.getdoc(losses.Huber)
    assert repr(losses.MeanSquaredError()) == "<MeanSquaredError E = mean[k]((t[k] - p[k])**2)>"
    assert repr(metrics.Precision()) == "<Precision name=precision>"
    assert repr(activations.relu) == "<activation relu>"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_lists_its_public_names_only(name):
    module = importlib.import_module(f"chainrule.{name}")
    own = {n for n in dir(module) if not n.startswith("_")}
    assert set(module.__all__) <= own
    assert not own & {"annotations", "np", "re", "say", "Any", "TYPE_CHECKING", "Configured", "SettingError"}


def test_the_package_lists_its_public_names_only():
    assert {n for n in dir(chainrule) if not n.startswith("_")} == set(chainrule.__all__) - {"__version__"}


def test_small_numbers_keep_their_digits(capsys):
    model = dense(1, None, "mse")
    model.fit(ROWS * 1e-4, ROWS[:, 0] * 1e-4, verbose=2)
    line = capsys.readouterr().err
    assert "e-0" in line
    assert "0.0000" not in line
