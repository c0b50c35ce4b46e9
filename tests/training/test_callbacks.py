"""Callbacks: the hooks and their order, early stopping, checkpoints, logs, learning rates."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pytest

from chainrule.errors import ChainruleWarning, Diverged, FileError, SettingError
from chainrule.training.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from chainrule.training.network import formula, load

LINE = """
input     x[i]
target    t
parameter w[i], b = zeros
p = sum[i](w[i]*x[i]) + b
E = (p - t)**2
"""
X = np.random.default_rng(0).normal(size=(20, 2))
T = X @ [2.0, -1.0] + np.random.default_rng(1).normal(size=20)


def line():
    return formula(LINE, dtype="float64")


def fit(callbacks, net=None, **options):
    """A few epochs in the interpreter, five steps each."""
    options = {"epochs": 3, "batch_size": 4, "learning_rate": 0.05, "verbose": 0, "engine": "interpreter", **options}
    return (net or line()).fit(X, T, callbacks=callbacks, **options)


class Stub:
    """What callbacks see of a training, driven by hand."""

    def __init__(self, rate=0.1):
        self.model = self.network = None
        self.learning_rate = rate
        self.stop = False
        self.now = {"w": np.zeros(1)}

    def weights(self):
        return {n: a.copy() for n, a in self.now.items()}

    def set_weights(self, arrays):
        self.now = dict(arrays)


def drive(callback, values, name="val_loss", rate=0.1):
    """Epochs that reach these values; the weight of epoch n is n. The rates are those after each epoch."""
    training = Stub(rate)
    calls = CallbackList([callback], training)
    calls.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        training.now = {"w": np.full(1, float(epoch))}
        calls.on_epoch_begin(epoch)
        calls.on_epoch_end(epoch, {name: value})
        rates.append(training.learning_rate)
        if training.stop:
            break
    calls.on_train_end()
    return training, rates


# --- hooks


class Diary(Callback):
    def __init__(self):
        self.lines = []

    def on_train_begin(self, logs=None):
        self.lines.append("train")

    def on_epoch_begin(self, epoch, logs=None):
        self.lines.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.lines.append(f"batch {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.lines.append(f"batch {batch} {sorted(logs)}")

    def on_test_begin(self, logs=None):
        self.lines.append("test")

    def on_test_end(self, logs=None):
        self.lines.append(f"test {sorted(logs)}")

    def on_epoch_end(self, epoch, logs=None):
        self.lines.append(f"epoch {epoch} {sorted(logs)}")

    def on_train_end(self, logs=None):
        self.lines.append(f"train {sorted(logs)}")


def test_the_hooks_come_in_keras_order():
    diary = Diary()
    fit(diary, epochs=1, batch_size=10, validation_data=(X, T))
    assert diary.lines == [
        "train",
        "epoch 0",
        "batch 0",
        "batch 0 ['loss']",
        "batch 1",
        "batch 1 ['loss']",
        "test",
        "test ['loss']",
        "epoch 0 ['loss', 'val_loss']",
        "train ['loss', 'val_loss']",
    ]


def test_a_callback_knows_its_training():
    class Look(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.seen = dict(self.params), self.model, self.training.weights()["w"].copy(), self.training.learning_rate

    look, net = Look(), line()
    fit([look], net, epochs=2)
    params, model, w, rate = look.seen
    assert params == {"epochs": 2, "steps": 5, "verbose": 0}
    assert model is net
    np.testing.assert_array_equal(w, net.parameters["w"])
    assert rate == 0.05


def test_only_a_callback_of_steps_makes_the_training_go_step_by_step():
    asks = LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    old = type("Old", (Callback,), {"on_batch_end": lambda self, batch, logs=None: None})()
    whole = [
        LambdaCallback(on_epoch_end=print),
        ModelCheckpoint("m.safetensors"),
        TensorBoard(),
        EarlyStopping(),
        print,
    ]
    assert not CallbackList(whole).per_batch
    for one in (asks, old, ModelCheckpoint("m.safetensors", save_freq=3), TensorBoard(update_freq="batch")):
        assert CallbackList([*whole, one]).per_batch


def test_step_by_step_gives_the_same_weights():
    nets = [line(), line()]
    fit([], nets[0])
    fit([LambdaCallback(on_train_batch_end=lambda batch, logs: None)], nets[1])
    np.testing.assert_array_equal(nets[0].parameters["w"], nets[1].parameters["w"])


@pytest.mark.parametrize("how", ["function", "training", "model"])
def test_three_ways_to_end_the_training(how):
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                (self.training if how == "training" else self.model).__setattr__(
                    "stop" if how == "training" else "stop_training", True
                )

    net = line()
    callback = (lambda epoch, logs: epoch < 1) if how == "function" else Stop()
    assert fit([callback], net, epochs=9).epoch == [0, 1]
    assert len(fit([], net, epochs=3).epoch) == 3  # the next training is not stopped


def test_the_training_ends_in_mid_epoch_where_a_step_asks():
    steps = []

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(batch)
            self.training.stop = batch == 2

    history = fit([Stop()])
    assert steps == [0, 1, 2]
    assert history.epoch == [0]


@pytest.mark.parametrize(
    ("callbacks", "text"),
    [
        ([EarlyStopping], "the class EarlyStopping: give an object"),
        (["early"], "callbacks has a str"),
    ],
)
def test_what_is_no_callback_is_refused(callbacks, text):
    with pytest.raises(SettingError, match=text):
        fit(callbacks)


def test_a_hook_that_there_is_not():
    with pytest.raises(SettingError, match="no hook on_epoch"):
        LambdaCallback(on_epoch=print)


# --- early stopping


@pytest.mark.parametrize(
    ("options", "values", "last", "best"),
    [
        ({"patience": 2}, [5, 4, 4.5, 4.2, 3, 2], 3, 1),
        ({}, [5, 4, 4.5, 3], 2, 1),
        ({"patience": 2, "min_delta": 0.5}, [5, 4.8, 4.6, 1], 2, 0),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 5, 4, 6], 5, 4),
        (
            {"patience": 2, "baseline": 3},
            [4, 5, 2],
            1,
            0,
        ),  # the first is better than nothing, but not than the baseline
        ({"patience": 1, "mode": "max"}, [1, 2, 1], 2, 1),
        ({"patience": 1}, [3, float("nan"), 1], 1, 0),
    ],
)
def test_early_stopping(options, values, last, best):
    """The epoch of the stop is keras.callbacks.EarlyStopping's (3.15), run with the same values."""
    stop = EarlyStopping(**options)
    training, _ = drive(stop, values)
    assert training.stop
    assert stop.stopped_epoch == last
    assert stop.best_epoch == best


@pytest.mark.parametrize("stopped", [True, False])
def test_the_best_weights_come_back_whether_or_not_it_stopped(stopped):
    stop = EarlyStopping(patience=1 if stopped else 9, restore_best_weights=True)
    training, _ = drive(stop, [3, 1, 2])
    assert training.stop is stopped
    assert training.now["w"] == [1.0]


def test_the_restored_weights_are_those_whose_value_was_logged():
    net, check = line(), (X[:7], T[:7])
    # Noisy targets and a large rate with single samples: the validation loss goes up and down.
    history = fit(
        [EarlyStopping(patience=30, restore_best_weights=True)],
        net,
        epochs=12,
        batch_size=1,
        learning_rate=0.1,
        validation_data=check,
    )
    losses = history.history["val_loss"]
    assert losses.index(min(losses)) < len(losses) - 1
    assert net.evaluate(*check)["loss"] == min(losses)


@pytest.mark.parametrize(
    ("name", "values"), [("val_accuracy", [0.5, 0.7, 0.6]), ("auc", [0.5, 0.7, 0.6]), ("mae", [3, 1, 2])]
)
def test_auto_knows_which_metrics_are_better_when_high(name, values):
    stop = EarlyStopping(monitor=name, patience=1)
    drive(stop, values, name)
    assert stop.best == values[1]


def test_auto_says_when_it_does_not_know():
    with pytest.warns(ChainruleWarning, match="say mode='min' or mode='max'"):
        drive(EarlyStopping(monitor="glimmer"), [1, 2, 3], "glimmer")


def test_a_wrong_monitor_is_said_once_with_what_there_is():
    with pytest.warns(ChainruleWarning) as said:
        history = fit([EarlyStopping(monitor="acuracy")])
    assert len(said) == 1
    assert "acuracy, which the logs do not have" in str(said[0].message)
    assert str(said[0].message).endswith("monitor one of loss")
    assert history.epoch == [0, 1, 2]


def test_a_monitor_of_validation_without_one_says_how_to_get_one():
    with pytest.warns(ChainruleWarning, match="give fit validation_data or validation_split"):
        fit([EarlyStopping()])


def test_validation_that_not_every_epoch_has_is_no_wrong_monitor():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit([EarlyStopping(patience=5)], validation_data=(X, T), validation_freq=2)


def test_wrong_settings_are_refused():
    with pytest.raises(SettingError, match="mode came as 'maximum'"):
        EarlyStopping(mode="maximum")
    with pytest.raises(SettingError, match="patience came as -1"):
        EarlyStopping(patience=-1)
    with pytest.raises(SettingError, match="factor came as 1"):
        ReduceLROnPlateau(factor=1.0)


# --- learning rates


@pytest.mark.parametrize(
    ("options", "values", "rates"),
    [
        ({"patience": 2}, [5, 5, 5, 4, 4, 4], [0.1, 0.1, 0.01, 0.01, 0.01, 0.001]),
        ({"patience": 1, "cooldown": 2, "factor": 0.5}, [1, 1, 1, 1, 1], [0.1, 0.05, 0.05, 0.025, 0.025]),
        ({"patience": 1, "min_lr": 0.04, "factor": 0.5}, [1, 1, 1, 1], [0.1, 0.05, 0.04, 0.04]),
    ],
)
def test_reduce_on_plateau(options, values, rates):
    """The rates after each epoch are keras.callbacks.ReduceLROnPlateau's (3.15), run with the same values."""
    assert drive(ReduceLROnPlateau(**options), values)[1] == pytest.approx(rates)


def test_a_rate_that_a_callback_sets_is_the_rate_of_the_steps():
    nets = [line(), line()]
    history = fit(
        [LearningRateScheduler(lambda epoch, rate: rate / (epoch + 1))], nets[0], shuffle=False, batch_size=None
    )
    assert history.history["learning_rate"] == pytest.approx([0.05, 0.025, 0.025 / 3])
    w, b = np.zeros(2), 0.0
    for rate in history.history["learning_rate"]:
        error = 2 * (X @ w + b - T)
        w, b = w - rate * X.T @ error / len(X), b - rate * error.mean()
    np.testing.assert_allclose(nets[0].parameters["w"], w, rtol=1e-12)


def test_a_schedule_of_the_epoch_alone():
    history = fit([LearningRateScheduler(lambda epoch: 0.01 * (epoch + 1))])
    assert history.history["learning_rate"] == pytest.approx([0.01, 0.02, 0.03])


@pytest.mark.parametrize("rate", [-1.0, float("nan"), None, "fast"])
def test_a_schedule_that_gives_no_rate(rate):
    with pytest.raises(SettingError, match="for epoch 0, which is no finite number"):
        fit([LearningRateScheduler(lambda epoch, old: rate)])


def test_a_loss_that_is_lost_ends_the_training_with_or_without_the_callback():
    with pytest.raises(Diverged):
        fit([TerminateOnNaN()], learning_rate=1e6, epochs=50, advice=False)


# --- files


def test_checkpoints_of_every_epoch(tmp_path):
    net = line()
    history = fit([ModelCheckpoint(tmp_path / "at" / "{epoch:02d}-{loss:.4f}.safetensors")], net)
    names = sorted(p.name for p in (tmp_path / "at").iterdir())
    assert names == [f"{n + 1:02d}-{loss:.4f}.safetensors" for n, loss in enumerate(history.history["loss"])]
    np.testing.assert_array_equal(load(tmp_path / "at" / names[-1]).parameters["w"], net.parameters["w"])


def test_the_best_checkpoint_has_the_best_validation(tmp_path):
    check = (X[:7], T[:7])
    path = tmp_path / "best.safetensors"
    options = {"epochs": 12, "batch_size": 1, "learning_rate": 0.1, "validation_data": check}
    history = fit([ModelCheckpoint(path, save_best_only=True)], **options)
    assert load(path).evaluate(*check)["loss"] == min(history.history["val_loss"])


def test_a_threshold_that_no_epoch_reaches_saves_nothing(tmp_path):
    path = tmp_path / "best.safetensors"
    fit([ModelCheckpoint(path, "loss", save_best_only=True, initial_value_threshold=1e-9)])
    assert not path.exists()


def test_checkpoints_of_every_so_many_steps(tmp_path):
    kept = {}

    class Keep(Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept[len(kept) + 1] = self.training.weights()["w"]

    fit([Keep(), ModelCheckpoint(tmp_path / "{epoch}-{batch}.safetensors", save_freq=4)])
    # Fifteen steps, five an epoch: the 4th, 8th and 12th.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1-4.safetensors", "2-3.safetensors", "3-2.safetensors"]
    np.testing.assert_array_equal(load(tmp_path / "2-3.safetensors").parameters["w"], kept[8])


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.pkl"])
def test_a_checkpoint_in_another_format_is_refused(name):
    with pytest.raises(SettingError, match=r"end in \.safetensors"):
        ModelCheckpoint(name)


def test_a_placeholder_that_the_logs_do_not_have(tmp_path):
    with pytest.raises(SettingError, match="there are epoch, loss"):
        fit([ModelCheckpoint(tmp_path / "{val_loss:.2f}.safetensors")])


@pytest.mark.parametrize("freq", ["batch", 0, True, 2.0])
def test_a_frequency_that_is_none(freq):
    with pytest.raises(SettingError, match="the frequency came as"):
        ModelCheckpoint("m.safetensors", save_freq=freq)


def read(path, separator=","):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


def test_the_csv_log(tmp_path):
    path, net = tmp_path / "log.csv", line()
    history = fit([CSVLogger(path, separator=";")], net)
    assert [row["epoch"] for row in read(path, ";")] == ["0", "1", "2"]
    assert [float(row["loss"]) for row in read(path, ";")] == history.history["loss"]
    fit([CSVLogger(path, separator=";", append=True)], net, epochs=5, initial_epoch=3)
    assert [row["epoch"] for row in read(path, ";")] == ["0", "1", "2", "3", "4"]
    fit([CSVLogger(path, separator=";")], net, epochs=1)
    assert len(read(path, ";")) == 1


def test_the_csv_log_grows_columns_for_a_validation_that_comes_later(tmp_path):
    path = tmp_path / "log.csv"
    history = fit([CSVLogger(path)], epochs=4, validation_data=(X, T), validation_freq=2)
    assert [row["val_loss"] for row in read(path)] == [
        "NA",
        repr(history.history["val_loss"][0]),
        "NA",
        repr(history.history["val_loss"][1]),
    ]


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        fit([CSVLogger(tmp_path / "no" / "log.csv")])


def events(folder):
    """The scalars of a folder of event files: {tag: [(step, value), …]}, and all tags, by the format's own reader."""
    from tensorboardX.proto.event_pb2 import Event

    scalars, tags = {}, set()
    for path in folder.iterdir():
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                tags.add(value.tag)
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return scalars, tags


def test_tensorboard_files(tmp_path):
    board = TensorBoard(tmp_path / "runs", histogram_freq=2, write_images=True, update_freq=2)
    history = fit([board], validation_data=(X, T))
    train, tags = events(tmp_path / "runs" / "train")
    validation, _ = events(tmp_path / "runs" / "validation")
    assert train["epoch_loss"] == [(n, pytest.approx(v)) for n, v in enumerate(history.history["loss"])]
    assert train["epoch_learning_rate"] == [(n, pytest.approx(0.05)) for n in range(3)]
    assert validation["epoch_loss"] == [(n, pytest.approx(v)) for n, v in enumerate(history.history["val_loss"])]
    assert [step for step, _ in train["batch_loss"]] == [2, 4, 6, 8, 10, 12, 14]
    assert {"w/histogram", "b/histogram"} <= tags
    assert any(tag.startswith("formulas") for tag in tags)


def test_tensorboard_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(SettingError, match=r"pip install 'chainrule\[tensorboard\]'"):
        fit([TensorBoard(tmp_path)])


def test_tensorboard_options_of_keras_that_are_not_written():
    with pytest.raises(SettingError, match=r"fit\(profile=True\)"):
        TensorBoard(profile_batch=2)
