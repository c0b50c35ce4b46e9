"""Programs as a Keras user writes them: the two-layer digit network, functional models, files, and what goes wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

import chainrule
from chainrule import callbacks, layers, losses, metrics, models, optimizers, utils
from chainrule.errors import DataError, ModelFileError, SettingError

ROWS = np.sin(np.arange(120.0) * 1.7).reshape(20, 6)
CLASSES = (np.arange(20) * 7 // 3) % 3
ONE_HOT = np.eye(3)[CLASSES]


@pytest.fixture(autouse=True)
def counted_from_the_beginning():
    utils.clear_session()
    utils.set_random_seed(0)


def small(**options):
    """One layer, which compiles fast."""
    model = models.Sequential([models.Input((6,)), layers.Dense(3, activation="softmax", **options)])
    model.compile(optimizer=optimizers.SGD(0.1), loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def test_the_two_layer_digit_network(capsys):
    """A textbook's program for Keras: only its import lines are changed."""
    from chainrule import layers, models
    from chainrule.datasets import mnist
    from chainrule.utils import to_categorical

    (train_images, train_labels), (test_images, test_labels) = mnist.load_data()
    assert train_images.shape == (60000, 28, 28)

    network = models.Sequential()
    network.add(layers.Dense(512, activation="relu", input_shape=(28 * 28,)))
    network.add(layers.Dense(10, activation="softmax"))
    network.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    network.summary()
    assert "407,050" in capsys.readouterr().out

    train_images = train_images.reshape((60000, 28 * 28))
    train_images = train_images.astype("float32") / 255
    test_images = test_images.reshape((10000, 28 * 28))
    test_images = test_images.astype("float32") / 255
    train_labels = to_categorical(train_labels)
    test_labels = to_categorical(test_labels)

    history = network.fit(train_images, train_labels, epochs=5, batch_size=128)
    _, test_acc = network.evaluate(test_images, test_labels)
    assert 0.975 < test_acc < 0.985
    assert set(history.history) == {"loss", "accuracy"}
    assert history.epoch == [0, 1, 2, 3, 4]
    assert history.history["loss"] == sorted(history.history["loss"], reverse=True)
    given = network.predict(test_images[:100])
    assert given.shape == (100, 10)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)


def test_the_package_reads_as_keras():
    import chainrule as keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert isinstance(model, keras.Model)
    assert [w.shape for w in model.get_weights()] == [(4, 2), (2,)]
    assert model.layers[0].name == "dense"
    assert model.count_params() == 10


def test_the_formulas_are_the_textbooks():
    model = models.Sequential([models.Input((784,)), layers.Dense(512, "relu"), layers.Dense(10, "softmax")])
    model.compile(loss="categorical_crossentropy")
    wanted = """\
size i = 784, j1 = 512, k = 10
input x[i]
target t[k], sum[k](t[k]) = 1

# dense (Dense)
parameter W1[i, j1] = glorot_uniform
parameter b1[j1] = zeros
h1[j1] = relu(sum[i](x[i]*W1[i, j1]) + b1[j1])
# dense_1 (Dense)
parameter W2[j1, k] = glorot_uniform
parameter b2[k] = zeros
p[k] = softmax[k](sum[j1](h1[j1]*W2[j1, k]) + b2[k])

E = -sum[k](t[k]*log(p[k]))
"""
    assert model.formulas == wanted
    assert set(model.derivation.gradients) == {"W1", "b1", "W2", "b2"}
    assert model.layers[1].formula.splitlines()[-1] == "p[k] = softmax[k](sum[j1](h1[j1]*W2[j1, k]) + b2[k])"


def test_an_image_is_flattened_without_moving_a_number():
    model = models.Sequential([models.Input((3, 4)), layers.Flatten(), layers.Dense(2)])
    kernel = np.arange(24.0).reshape(12, 2)
    model.set_weights([kernel, [0.5, -0.5]])
    images = np.sin(np.arange(24.0)).reshape(2, 3, 4)
    assert "sum[r, c](x[r, c]*W1[r, c, k])" in model.formulas
    np.testing.assert_allclose(model.predict(images), images.reshape(2, 12) @ kernel + [0.5, -0.5], rtol=1e-5)
    np.testing.assert_array_equal(model.get_weights()[0], kernel)


def test_tables_of_pandas_polars_and_arrow_are_their_arrays():
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=["a", "b", "y"])
    x, y = frame[["a", "b"]], frame["y"]
    tables = {
        "arrays": (x.to_numpy(), y.to_numpy()),
        "pandas": (x, y),
        "polars": (pl.from_pandas(x), pl.from_pandas(y)),
        "arrow": (pa.Table.from_pandas(x), pa.array(y)),
    }
    found = {}
    for name, (inputs, targets) in tables.items():
        hidden = layers.Dense(4, activation="tanh", kernel_initializer="ones")
        model = models.Sequential([hidden, layers.Dense(1, kernel_initializer="ones")])
        model.compile(optimizer="sgd", loss="mse")
        model.fit(inputs, targets, epochs=2, verbose=0, shuffle=False, validation_data=(inputs, targets))
        found[name] = model.evaluate(inputs, targets, verbose=0), model.predict(inputs).tolist()
    assert all(one == found["arrays"] for one in found.values())
    with pytest.raises(DataError, match="the pandas table, column name holds texts"):
        model.fit(x.assign(name="Ada"), y, verbose=0)


def test_class_numbers_are_taken_with_one_note(capsys):
    one, other = small(), small()
    other.set_weights(one.get_weights())
    one.fit(ROWS, ONE_HOT, epochs=2, shuffle=False, verbose=0)
    assert "class numbers" not in capsys.readouterr().err
    other.fit(ROWS, CLASSES, epochs=1, shuffle=False, verbose=0)
    other.fit(ROWS, CLASSES.reshape(-1, 1), epochs=1, shuffle=False, verbose=0)
    assert capsys.readouterr().err.count("class numbers") == 1
    np.testing.assert_array_equal(one.get_weights()[0], other.get_weights()[0])


def test_evaluate_returns_what_keras_returns():
    model = small()
    loss, accuracy = model.evaluate(ROWS, ONE_HOT)
    said = model.evaluate(ROWS, ONE_HOT, return_dict=True)
    assert said == {"loss": loss, "accuracy": accuracy}
    p = model.predict(ROWS)
    assert loss == pytest.approx(-np.log(p[np.arange(20), CLASSES]).mean(), rel=1e-5)
    assert accuracy == pytest.approx((p.argmax(1) == CLASSES).mean())
    model.compile(loss="categorical_crossentropy")
    assert model.evaluate(ROWS, ONE_HOT) == pytest.approx(loss, rel=1e-6)  # a number where there are no metrics


def test_train_on_batch_is_one_step_of_descent():
    chainrule.config.set_floatx("float64")
    try:
        model = small()
        w, b = model.get_weights()
        p = model.predict(ROWS)
        loss, _ = model.train_on_batch(ROWS, ONE_HOT)
        assert loss == pytest.approx(-np.log(p[np.arange(20), CLASSES]).mean(), rel=1e-9)
        np.testing.assert_allclose(model.get_weights()[0], w - 0.1 * ROWS.T @ (p - ONE_HOT) / 20, rtol=1e-9)
        np.testing.assert_allclose(model.get_weights()[1], b - 0.1 * (p - ONE_HOT).mean(axis=0), rtol=1e-9)
    finally:
        chainrule.config.set_floatx("float32")


def test_compiling_again_keeps_the_weights():
    model = small()
    model.fit(ROWS, ONE_HOT, epochs=1, verbose=0)
    before = model.get_weights()
    model.compile(loss="mse")
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_a_layer_may_be_frozen():
    model = models.Sequential(
        [models.Input((6,)), layers.Dense(4, "tanh", name="first"), layers.Dense(3, "softmax", name="last")]
    )
    model.get_layer("first").trainable = False
    model.compile("sgd", "categorical_crossentropy")
    before = model.get_weights()
    model.fit(ROWS, ONE_HOT, epochs=1, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[2] - after[2]).max() > 0
    assert len(model.trainable_weights) == 2


def test_a_part_of_a_model_shares_its_weights():
    x = models.Input((6,))
    hidden = layers.Dense(4, "relu")(x)
    model = models.Model(x, layers.Dense(3, "softmax")(hidden))
    features = models.Model(x, hidden)
    model.compile("sgd", "categorical_crossentropy")
    model.fit(ROWS, ONE_HOT, epochs=1, verbose=0)
    kernel, bias = model.layers[1].get_weights()
    np.testing.assert_allclose(features.predict(ROWS), np.maximum(ROWS @ kernel + bias, 0), rtol=1e-4, atol=1e-6)


def test_callbacks_change_rate_and_weights_and_end_the_training():
    class Watch(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.rates = [*getattr(self, "rates", []), float(self.model.optimizer.learning_rate)]
            self.model.optimizer.learning_rate *= 0.5
            self.weights = self.model.get_weights()
            self.model.stop_training = epoch == 2

    model, watch = small(), Watch()
    history = model.fit(ROWS, ONE_HOT, epochs=9, verbose=0, callbacks=[watch])
    assert len(history.epoch) == 3
    assert watch.rates == pytest.approx([0.1, 0.05, 0.025])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0125)
    np.testing.assert_array_equal(watch.weights[0], model.get_weights()[0])


def test_validation_takes_the_last_rows():
    model = small()
    history = model.fit(ROWS, ONE_HOT, epochs=1, verbose=0, validation_split=0.25)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.history["val_loss"][0] == pytest.approx(model.evaluate(ROWS[15:], ONE_HOT[15:])[0], rel=1e-6)


def test_own_layer_activation_loss_metric_and_rule_are_formulas(tmp_path):
    file = tmp_path / "layer.formula"
    file.write_text("size j = 4\nparameter W[i, j], V[j] = glorot_uniform\ny[j] = tanh(sum[i](x[i]*W[i, j]))*V[j]\n")
    model = models.Sequential(
        [models.Input((6,)), layers.Formula(file), layers.Dense(3, activation="a / (1 + abs(a))"), layers.Softmax()]
    )
    model.compile(
        optimizer="v <- 0.9*v + g\nw <- w - 0.1*v",
        loss="E = sum[k]((t[k] - p[k])**4)",
        metrics=["close = mean[k]([abs(t[k] - p[k]) < 0.5])"],
    )
    history = model.fit(ROWS, ONE_HOT, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    loss, close = model.evaluate(ROWS, ONE_HOT)
    p = model.predict(ROWS)
    assert loss == pytest.approx(((ONE_HOT - p) ** 4).sum(axis=1).mean(), rel=1e-4)
    assert close == pytest.approx((np.abs(ONE_HOT - p) < 0.5).mean(), rel=1e-6)
    w, v, kernel, bias = model.get_weights()
    sums = (np.tanh(ROWS @ w) * v) @ kernel + bias
    scores = np.exp(sums / (1 + np.abs(sums)))
    np.testing.assert_allclose(p, scores / scores.sum(axis=1, keepdims=True), rtol=1e-4)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(models.load_model(tmp_path / "m.safetensors").predict(ROWS), p)


# --- files ------------------------------------------------------------------------------------------------------------


def functional():
    a, b = models.Input((6,), name="a"), models.Input((2,), name="b")
    hidden = layers.BatchNormalization()(layers.Concatenate()([layers.Dense(4, "relu")(a), b]))
    kind = layers.Dense(3, "softmax", name="kind", kernel_regularizer="l2")(layers.Dropout(0.25)(hidden))
    model = models.Model([a, b], [kind, layers.Dense(1, name="amount")(hidden)])
    model.compile(
        optimizers.Adam(optimizers.schedules.CosineDecay(0.01, 50)),
        loss=[losses.CategoricalCrossentropy(label_smoothing=0.1), "mse"],
        loss_weights=[1.0, 0.5],
        metrics=[["accuracy"], [metrics.MeanAbsoluteError()]],
    )
    return model


def test_a_file_gives_the_model_again(tmp_path):
    model = functional()
    data, wanted = [ROWS, ROWS[:, :2]], [ONE_HOT, ROWS[:, 3]]
    model.fit(data, wanted, epochs=1, verbose=0)
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = models.load_model(path)
    assert again.formulas == model.formulas
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    for own, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)
    for own, other in zip(model.predict(data), again.predict(data), strict=True):
        np.testing.assert_array_equal(own, other)
    assert again.evaluate(data, wanted, return_dict=True) == model.evaluate(data, wanted, return_dict=True)
    assert set(again.fit(data, wanted, epochs=1, verbose=0).history) == {
        *("loss", "kind_loss", "kind_accuracy", "amount_loss", "amount_mean_absolute_error")
    }
    network = chainrule.load(path)  # the same file without Keras's names: formulas and weights
    np.testing.assert_allclose(network.predict(ROWS, ROWS[:, :2]), model.predict(data)[0], rtol=1e-6)


def test_weights_go_from_file_to_model(tmp_path):
    model, other = small(), small()
    assert np.abs(model.get_weights()[0] - other.get_weights()[0]).max() > 0
    model.save_weights(tmp_path / "w.safetensors")
    other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


def test_the_same_program_draws_the_same_weights():
    first = small().get_weights()[0]
    utils.set_random_seed(0)
    np.testing.assert_array_equal(small().get_weights()[0], first)
    utils.set_random_seed(1)
    assert np.abs(small().get_weights()[0] - first).max() > 0


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_file_that_can_hold_code_is_refused(name):
    with pytest.raises(SettingError, match=r"save as m\.safetensors"):
        small().save(name)
    with pytest.raises(SettingError, match="neither writes nor reads"):
        models.load_model(name)


def changed(path, change):
    """The model file with another description of its layers."""
    network = chainrule.load(path)
    change(network.notes["keras"])
    network.save(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["layers"][0].update(class_name="Lambda"),
        lambda d: d["layers"][0].update(class_name="os.system"),
        lambda d: d["layers"][0]["config"].update(units=7),
        lambda d: d["layers"][0]["config"].update(units=10**12),
        lambda d: d["layers"][0]["config"].update(activation="/etc/passwd"),
        lambda d: d["layers"][0]["config"].update(activation={"class_name": "open", "config": {"file": "x"}}),
        lambda d: d["layers"].__setitem__(0, {"class_name": "Formula", "config": {"formula": "/etc/hostname"}}),
        lambda d: d["nodes"].append([9, [0]]),
        lambda d: d["compile"].update(optimizer={"class_name": "__import__", "config": {}}),
        lambda d: d.update(layers=None),
        lambda d: d.update(inputs=[{"shape": [-1], "dtype": "float32", "name": "x"}]),
    ],
)
def test_a_file_with_other_layers_is_refused_in_one_line(tmp_path, change):
    path = tmp_path / "m.safetensors"
    small().save(path)
    changed(path, change)
    with pytest.raises(ModelFileError) as told:
        models.load_model(path)
    assert "\n" not in str(told.value)
    assert chainrule.load(path).predict(ROWS).shape == (20, 3)


def test_what_the_file_says_of_layers_is_plain_data(tmp_path):
    path = tmp_path / "m.safetensors"
    functional().save(path)
    description = chainrule.load(path).notes["keras"]
    assert json.loads(json.dumps(description)) == description
    assert description["layers"][0]["class_name"] == "Dense"


# --- what goes wrong --------------------------------------------------------------------------------------------------


def dense(**options):
    return models.Sequential([models.Input((6,)), layers.Dense(3, **options)])


WRONG = {
    "softmax of one": (lambda: models.Sequential([models.Input((2,)), layers.Dense(1, "softmax")]), "use sigmoid"),
    "a Python activation": (lambda: layers.Dense(2, activation=lambda a: a), "Python function"),
    "Lambda": (lambda: layers.Lambda(lambda a: a), r"layers\.Formula"),
    "a misspelt argument": (lambda: layers.Dense(2, activtion="relu"), "no argument 'activtion'"),
    "an option that is not here": (lambda: layers.Dense(2, lora_rank=4), "lora_rank=4 is not there yet"),
    "no shape": (lambda: models.Sequential([layers.Dense(2)]).get_weights(), "input_shape"),
    "unlike shapes": (lambda: layers.Add()([models.Input((2,)), models.Input((3,))]), "do not go together"),
    "a reshape of another size": (lambda: layers.Reshape((4, 4))(models.Input((6,))), "numbers of entries differ"),
    "a reshape across an index": (
        lambda: models.Model(x := models.Input((2, 6)), layers.Reshape((3, 4))(x)),
        "do not divide",
    ),
    "a softmax over a concatenation": (
        lambda: models.Model(
            [a := models.Input((2,)), b := models.Input((3,))], layers.Softmax()(layers.Concatenate()([a, b]))
        ),
        "concatenation",
    ),
    "not compiled": (lambda: dense().fit(ROWS, ONE_HOT), "call compile"),
    "metrics in the third place": (lambda: dense().compile("sgd", "mse", ["accuracy"]), "metrics="),
    "an unknown loss": (lambda: dense().compile(loss="categorical_crosentropy"), "did you mean"),
    "an unknown optimizer": (lambda: dense().compile("adamm"), "RMSprop, Adam"),
    "two ways of clipping": (lambda: optimizers.SGD(clipnorm=1.0, clipvalue=1.0), "one way only"),
    "a second layer of a name": (
        lambda: models.Sequential([layers.Dense(2, name="a"), layers.Dense(2, name="a")]),
        "'a'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_told_in_one_line(name):
    make, text = WRONG[name]
    with pytest.raises(SettingError, match=text) as told:
        make()
    assert "\n" not in str(told.value)


def test_a_loss_for_an_output_that_is_not_there():
    model = small()
    model.compile(loss={"other": "mse"})
    with pytest.raises(SettingError, match="there is no output 'other'; there is: dense"):
        model.fit(ROWS, ONE_HOT)


def test_class_numbers_where_quantities_are_wanted():
    model = dense()
    model.compile("sgd", "mse")
    with pytest.raises(DataError, match="to_categorical"):
        model.fit(ROWS, CLASSES)


def test_an_array_of_another_width():
    with pytest.raises(DataError, match=r"\(20, 5\) came, \(None, 6\) was wanted"):
        small().predict(ROWS[:, :5])


def test_clipping_by_the_norm_of_a_weight_that_is_split():
    a, b = models.Input((2,)), models.Input((3,))
    model = models.Model([a, b], layers.Dense(1)(layers.Concatenate()([a, b])))
    model.compile(optimizers.Adam(clipnorm=1.0), "mse")
    with pytest.raises(SettingError, match="global_clipnorm"):
        model.fit([ROWS[:, :2], ROWS[:, :3]], ROWS[:, 0])
