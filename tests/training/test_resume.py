"""Trainings that are interrupted and go on: the very weights of the training that never was."""

import json
import os
import random
import signal
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleWarning, CheckpointError, FileError, RunLocked, SettingError
from chainrule.training.callbacks import Callback, CSVLogger, EarlyStopping, LearningRateScheduler, ReduceLROnPlateau
from chainrule.training.checkpoint_file import read_checkpoint
from chainrule.training.checkpoints import Checkpoints, files, latest
from chainrule.training.locks import hold
from chainrule.training.optimizer import Optimizer
from chainrule.training.strict_json import Limits

TEXT = """
input     x[i]
target    t
parameter W[i, j], b[j], v[j], c = normal(0, 0.3)
state     m = 0
random    d[j] = bernoulli(0.8)
h[j] = tanh(sum[i](x[i]*W[i, j]) + b[j])*d[j]
y = sum[j](h[j]*v[j]) + c
E = 1/2*(y - t)**2
m <- 0.9*m + 0.1*y
"""
rng = np.random.default_rng(0)
X = rng.normal(size=(330, 5)).astype(np.float32)
T = X[:, 0] * X[:, 1]
VALIDATION = rng.normal(size=(40, 5)).astype(np.float32)
OPTIONS = {"epochs": 5, "batch_size": 32, "optimizer": "adam", "verbose": 0}  # 11 steps an epoch


def network():
    return cr.formula(TEXT, sizes={"j": 6}, seed=3)


class Interrupt(Callback):
    """A signal in the step `at` of the training; what it counts, it forgets on purpose."""

    def __init__(self, at, number=signal.SIGINT):
        self.at, self.number, self.steps = at, number, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), self.number)

    def state_dict(self):
        return {}


def same(one, other):
    assert one.parameters.keys() == other.parameters.keys()
    for name, array in one.kept.items():
        np.testing.assert_array_equal(array, other.kept[name], strict=True, err_msg=name)


def interrupted(folder, at, every="never", **options):
    """A training that Ctrl-C ends after step `at`, in a process that goes on."""
    net, own = network(), {**OPTIONS, **options}
    own["callbacks"] = [*own.get("callbacks", ()), Interrupt(at)]
    history = net.fit(X, T, checkpoints=Checkpoints(folder, every=every), **own)
    assert history.interrupted
    assert history.signal == signal.SIGINT
    return net


def resumed(folder, **options):
    net, own = network(), {**OPTIONS, **options}
    own["callbacks"] = [*own.get("callbacks", ()), Interrupt(-1)]
    return net, net.fit(X, T, resume=folder, **own)


@pytest.mark.parametrize("at", [1, 7, 11, 12, 36, 54])
@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_the_weights_are_those_of_the_training_that_was_never_interrupted(tmp_path, at, engine):
    whole = network()
    want = whole.fit(X, T, engine=engine, **OPTIONS)
    interrupted(tmp_path, at, engine=engine)
    net, history = resumed(tmp_path, engine=engine)
    same(net, whole)
    assert history.epoch == want.epoch
    assert history.history["loss"] == want.history["loss"]
    assert list(history.history) == list(want.history)


@pytest.mark.parametrize("every", ["1 step", "4 steps", "1 epoch", "0.001 seconds"])
def test_however_often_checkpoints_are_written(tmp_path, every):
    whole = network()
    whole.fit(X, T, **OPTIONS)
    checked = network()
    checked.fit(X, T, checkpoints=Checkpoints(tmp_path / "a", every=every), **OPTIONS)
    same(checked, whole)
    interrupted(tmp_path / "b", 25, every=every)
    for path in files(tmp_path / "b")[-1:]:  # the newest is lost, as after a power cut
        path.unlink()
    if files(tmp_path / "b"):
        same(resumed(tmp_path / "b")[0], whole)


def test_the_newest_are_kept_and_the_last_one_is_the_end(tmp_path):
    network().fit(X, T, checkpoints=Checkpoints(tmp_path, every="10 steps", keep=2), **OPTIONS)
    assert [path.stem for path in files(tmp_path)] == ["000000000050", "000000000055"]
    position = latest(tmp_path).position
    assert (position.epoch, position.steps, position.done) == (5, 0, 55)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": Optimizer("sgd", ema=0.9, global_clip_norm=1.0, accumulate=3)},
        {"learning_rate": "cosine"},
        {"learning_rate": "eta0/(1 + step/20)", "optimizer": "momentum"},
        {"shuffle": False, "sparse": True},
        {"validation_split": 0.2, "class_weight": None},
    ],
    ids=["average, clipping, accumulation", "cosine", "a formula", "in order", "validation"],
)
def test_whatever_a_training_keeps(tmp_path, options):
    whole = network()
    whole.fit(X, T, **{**OPTIONS, **options})
    interrupted(tmp_path, 17, **options)
    same(resumed(tmp_path, **options)[0], whole)


def callbacks(folder):
    return [
        LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1.0),
        EarlyStopping("val_loss", patience=3, restore_best_weights=True),
        CSVLogger(folder / "log.csv"),
    ]


@pytest.mark.parametrize("at", [5, 22, 30])
def test_callbacks_go_on_where_they_were(tmp_path, at):
    validation = (VALIDATION, VALIDATION[:, 2])
    options = {"validation_data": validation, "epochs": 12}
    whole = network()
    (tmp_path / "a").mkdir()
    want = whole.fit(X, T, **{**OPTIONS, **options}, callbacks=callbacks(tmp_path / "a"))
    interrupted(tmp_path / "b", at, callbacks=callbacks(tmp_path / "a"), **options)
    net, history = resumed(tmp_path / "b", callbacks=callbacks(tmp_path / "b"), **options)
    same(net, whole)
    assert history.history["learning_rate"] == want.history["learning_rate"]
    assert len(want.epoch) < 12  # it was stopped early


def test_the_log_has_each_epoch_once(tmp_path):
    interrupted(tmp_path, 30, every="4 steps", callbacks=[CSVLogger(tmp_path / "log.csv")])
    # The interrupted training wrote a row for the third epoch, which it did not finish.
    resumed(tmp_path, callbacks=[CSVLogger(tmp_path / "log.csv")])
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2", "3", "4"]


def test_the_log_has_the_first_epoch_once_too(tmp_path):
    class Crash(Callback):
        def __init__(self, epoch):
            self.epoch = epoch

        def on_epoch_end(self, epoch, logs=None):
            if epoch == self.epoch:
                raise MemoryError

        def state_dict(self):
            return {}

    class Once(Checkpoints):
        """One checkpoint, in the midst of the first epoch."""

        @property
        def steps(self):
            return 5 if not files(self.place.parent) else None

    logger = CSVLogger(tmp_path / "log.csv")
    with pytest.raises(MemoryError):
        network().fit(X, T, checkpoints=Once(tmp_path, every="never"), callbacks=[logger, Crash(1)], **OPTIONS)
    assert latest(tmp_path).position.done == 5
    network().fit(X, T, resume=tmp_path, callbacks=[logger, Crash(-1)], **OPTIONS)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1", "2", "3", "4"]


def test_a_training_goes_on_for_more_epochs_than_were_asked(tmp_path):
    whole = network()
    whole.fit(X, T, **{**OPTIONS, "epochs": 9})
    network().fit(X, T, checkpoints=tmp_path, **OPTIONS)
    net = network()
    history = net.fit(X, T, resume=tmp_path, **{**OPTIONS, "epochs": 9})
    same(net, whole)
    assert history.epoch == list(range(9))


def test_a_training_that_is_complete_has_nothing_to_do(tmp_path):
    optimizer = Optimizer("adam", ema=0.9)
    whole = network()
    whole.fit(X, T, checkpoints=tmp_path, **{**OPTIONS, "optimizer": optimizer})
    net = network()
    history = net.fit(X, T, resume=tmp_path, **{**OPTIONS, "optimizer": optimizer})
    assert len(history.epoch) == 5
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(net.parameters[name], array)


def test_the_second_training_of_a_network_goes_on_too(tmp_path):
    whole, other, third = network(), network(), network()
    for net in (whole, other, third):
        net.fit(X, T, **OPTIONS)
    whole.fit(X, T, **OPTIONS)
    other.fit(X, T, checkpoints=tmp_path, callbacks=[Interrupt(13)], **OPTIONS)
    third.fit(X, T, resume=tmp_path, callbacks=[Interrupt(-1)], **OPTIONS)
    same(third, whole)


def test_resume_true_begins_where_there_is_nothing_to_go_on_from(tmp_path):
    whole, net, again = network(), network(), network()
    whole.fit(X, T, **OPTIONS)
    net.fit(X, T, checkpoints=tmp_path, resume=True, **OPTIONS)
    same(net, whole)
    again.fit(X, T, checkpoints=tmp_path, resume=True, **OPTIONS)
    same(again, whole)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"batch_size": 16}, "batch_size was 32, and is 16 now"),
        ({"optimizer": "rmsprop"}, "optimizer was"),
        ({"learning_rate": 0.5}, "learning_rate was 0.001, and is 0.5 now"),
        ({"seed": 4}, "seed was 3, and is 4 now"),
        ({"shuffle": False}, "shuffle was true, and is false now"),
        ({"frozen": ["b"]}, "optimizer was|frozen was"),
        ({"validation_split": 0.5}, "the rows of data are others"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_training_is_refused(tmp_path, changed, said):
    network().fit(X, T, checkpoints=tmp_path, **OPTIONS)
    with pytest.raises(SettingError, match=said):
        network().fit(X, T, resume=tmp_path, **{**OPTIONS, **changed})


def test_other_rows_are_refused(tmp_path):
    network().fit(X, T, checkpoints=tmp_path, **OPTIONS)
    other = X.copy()
    other[17, 3] += 1
    with pytest.raises(SettingError, match="rows of data are others"):
        network().fit(other, T, resume=tmp_path, **OPTIONS)


def test_other_formulas_are_refused(tmp_path):
    network().fit(X, T, checkpoints=tmp_path, **OPTIONS)
    other = cr.formula(TEXT.replace("0.8", "0.7"), sizes={"j": 6}, seed=3)
    with pytest.raises(SettingError, match="formulas was"):
        other.fit(X, T, resume=tmp_path, **OPTIONS)


def test_a_folder_with_another_training_is_not_written_over(tmp_path):
    network().fit(X, T, checkpoints=tmp_path, **OPTIONS)
    with pytest.raises(SettingError, match="resume=True"):
        network().fit(X, T, checkpoints=tmp_path, **OPTIONS)


def test_other_callbacks_are_refused_and_a_forgetful_one_is_told_of(tmp_path):
    class Forgetful(Callback):
        best = 0.0

        def on_epoch_end(self, epoch, logs=None):
            self.best = logs["loss"]

    network().fit(X, T, checkpoints=tmp_path, callbacks=[Forgetful()], **OPTIONS)
    with pytest.raises(SettingError, match="Forgetful"):
        network().fit(X, T, resume=tmp_path, **OPTIONS)
    with pytest.warns(ChainruleWarning, match="Forgetful has no state_dict"):
        network().fit(X, T, resume=tmp_path, callbacks=[Forgetful()], **OPTIONS)


@pytest.mark.parametrize("resume", [3, "", 2.5, ["runs"]])
def test_resume_is_a_folder(resume):
    with pytest.raises(SettingError, match="resume is a run's folder"):
        network().fit(X, T, resume=resume, **OPTIONS)


def test_resume_true_wants_a_folder():
    with pytest.raises(SettingError, match="checkpoints="):
        network().fit(X, T, resume=True, **OPTIONS)


def test_a_folder_without_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        network().fit(X, T, resume=tmp_path, **OPTIONS)


@pytest.mark.parametrize("every", ["", "often", "0 steps", "1.5 steps", "-1 minutes", "3", 3, None])
def test_every_is_a_number_and_a_unit(every):
    with pytest.raises(SettingError, match="every is"):
        Checkpoints("runs/x", every=every)


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, None])
def test_keep_is_a_whole_number(keep):
    with pytest.raises(SettingError, match="keep"):
        Checkpoints("runs/x", keep=keep)


def test_a_damaged_checkpoint_is_left_for_the_one_before(tmp_path):
    whole = network()
    whole.fit(X, T, **OPTIONS)
    interrupted(tmp_path, 30, every="10 steps")
    newest = files(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.warns(ChainruleWarning, match=r"going on from the one before it, 000000000020|000000000030"):
        net, _ = resumed(tmp_path)
    same(net, whole)
    assert newest.with_name(newest.name + ".damaged").exists() or newest.exists()  # put aside, or written again


def test_where_all_are_damaged_nothing_is_loaded(tmp_path):
    interrupted(tmp_path, 30, every="10 steps")
    for path in files(tmp_path):
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="none of the 3 checkpoints"):
        resumed(tmp_path)


def test_what_cannot_be_written_is_told_of_and_the_training_goes_on(tmp_path, monkeypatch):
    whole = network()
    whole.fit(X, T, **OPTIONS)
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) in (3, 4):
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    net = network()
    with pytest.warns(ChainruleWarning, match="No space left on device"):
        net.fit(X, T, checkpoints=Checkpoints(tmp_path, every="10 steps"), **OPTIONS)
    same(net, whole)
    assert latest(tmp_path).position.done == 55
    assert [p.name for p in (tmp_path / "checkpoints").iterdir() if p.suffix != ".safetensors"] == []


def test_two_trainings_do_not_share_a_folder(tmp_path):
    found = []

    def second():
        try:
            network().fit(X, T, checkpoints=tmp_path, **OPTIONS)
        except RunLocked as error:
            found.append(str(error))

    with hold(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"process {os.getpid()}" in found[0]
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot"):
        network().fit(X, T, checkpoints=tmp_path / "file" / "x", **OPTIONS)


def test_sigterm_is_handed_on_after_the_checkpoint(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(files(tmp_path)[-1].stem))
    try:
        history = network().fit(X, T, checkpoints=tmp_path, callbacks=[Interrupt(14, signal.SIGTERM)], **OPTIONS)
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert history.signal == signal.SIGTERM
    assert heard == ["000000000014"]


def test_a_checkpoint_holds_what_made_it(tmp_path):
    interrupted(tmp_path, 14)
    found = latest(tmp_path)
    assert found.formulas == network().formulas
    assert json.loads(found.settings["seed"]) == 3
    assert {"chainrule", "numpy", "python", "machine"} <= set(found.made_by)
    assert {"W", "b", "v", "c", "m"} <= set(found.weights)
    assert found.position.epoch == 1
    assert found.position.steps == 3
    assert len(found.history) == 1
    assert read_checkpoint(found.path).settings == found.settings


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_a_metric_that_is_asked_for_later_is_not_known_of_the_epoch_that_was_interrupted(tmp_path, engine):
    asked = {"metrics": ["abs(t - y)"], "engine": engine}
    whole = network()
    history = whole.fit(X, T, **OPTIONS, **asked)
    (name,) = history.history.keys() - {"loss", "seconds"}
    interrupted(tmp_path, 27, engine=engine)
    net, again = resumed(tmp_path, **asked)
    same(net, whole)
    assert [name in row for row in again.rows] == [False, False, True, True, True]
    assert np.isnan(again.rows[2][name])
    assert [row[name] for row in again.rows[3:]] == [row[name] for row in history.rows[3:]]
    assert [row["loss"] for row in again.rows] == [row["loss"] for row in history.rows]


def test_a_schedule_over_other_epochs_is_refused(tmp_path):
    interrupted(tmp_path, 14, learning_rate="cosine")
    with pytest.raises(SettingError, match="initial_epoch was 0, and is 1 now"):
        resumed(tmp_path, learning_rate="cosine", initial_epoch=1)


# --- what callbacks keep and log --------------------------------------------------------------------------------------


class Keeps(Callback):
    """Has this state; `got` is what a checkpoint gave back."""

    def __init__(self, state):
        self.state, self.got = state, None

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.got = state


def brought_back(folder, state):
    network().fit(X, T, checkpoints=folder, callbacks=[Keeps(state)], **OPTIONS | {"engine": "interpreter"})
    again = Keeps(None)
    network().fit(X, T, resume=folder, callbacks=[again], **OPTIONS | {"engine": "interpreter"})
    return again.got


STATES = {
    "a generator of NumPy's": np.random.default_rng(3).bit_generator.state,
    "an older one": np.random.RandomState(3).get_state(legacy=False),
    "one of Python's": {"state": random.Random(3).getstate()},
    "numbers as names": {"best": {1: 0.5, 2: 0.25}},
    "names that look like ours": {"a": {"array": "callbacks/0"}, "b": {"not finite": "nan"}},
    "one path twice": {"a/b": np.zeros(2), "a": {"b": np.ones(2)}},
    "a long name": {"n" * 300: np.zeros(2)},
    "strange numbers": {"best": float("inf"), "rates": [float("nan")] * 100, "large": 2**70},
} | {
    f"an array of {kind}": {"counts": np.arange(3).astype(kind)}
    for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float64", "bool")
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_callback_gets_its_state_back(tmp_path, state):
    np.testing.assert_equal(brought_back(tmp_path, state), state)


def test_lists_longer_than_a_text_of_json_may_be_come_back(tmp_path):
    state = {"losses": [0.1 * n for n in range(Limits().values + 1)], "rows": [0] * 1000}
    assert brought_back(tmp_path, state) == state


def test_a_callback_without_a_state_is_not_given_one(tmp_path):
    assert brought_back(tmp_path, None) is None


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({"seen": {1, 2}}, "set"),
        ({"names": np.array(["a"])}, "ndarray <U1"),
        ({"z": np.ones(2, np.complex64)}, "ndarray complex64"),
        ({"half": "\ud800"}, "ud800"),
        ([1, 2], "list"),
    ],
)
def test_a_state_that_no_file_can_hold_is_refused_before_the_first_step(tmp_path, state, kind):
    net = network()
    with pytest.raises(SettingError, match=f"the state of Keeps cannot be kept in a checkpoint: .*{kind}"):
        net.fit(X, T, checkpoints=tmp_path, callbacks=[Keeps(state)], **OPTIONS)
    assert net.steps == 0


def test_a_state_that_cannot_be_kept_later_does_not_end_the_training(tmp_path):
    class Grows(Keeps):
        def on_epoch_end(self, epoch, logs=None):
            self.state = {"seen": {1}} if epoch == 2 else {"seen": epoch}

    every = Checkpoints(tmp_path, every="1 epoch", keep=9)
    with pytest.warns(ChainruleWarning, match="could not be written, the training goes on: the state of Grows"):
        network().fit(X, T, checkpoints=every, callbacks=[Grows({})], **OPTIONS)
    assert [int(path.stem) for path in files(tmp_path)] == [11, 22, 44, 55]


class Logs(Callback):
    """Adds what `values` makes of an epoch's number to its logs."""

    def __init__(self, **values):
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs |= {name: value(epoch) for name, value in self.values.items()}

    def state_dict(self):
        return {}


def test_what_callbacks_log_stands_in_the_history_of_the_training_that_goes_on(tmp_path):
    def logged():
        return Logs(
            text=lambda epoch: f"epoch {epoch}",
            none=lambda epoch: None,
            whole=lambda epoch: 2**60 + epoch,
            numpy=lambda epoch: np.float32(epoch / 3),
            ragged=lambda epoch: [1] * epoch,
            table=lambda epoch: np.eye(2, dtype=np.int64) * epoch,
            **{"a name " * 40: lambda epoch: 1.5},
        )

    whole = network().fit(X, T, callbacks=[logged(), Interrupt(-1)], **OPTIONS)
    interrupted(tmp_path, 30, callbacks=[logged()])
    _, history = resumed(tmp_path, callbacks=[logged()])
    for name, some in (("whole", whole), ("resumed", history)):
        for row in some.rows:
            row["seconds"] = 0.0
        some.save(tmp_path / f"{name}.csv")
    text = (tmp_path / "whole.csv").read_text()
    assert text == (tmp_path / "resumed.csv").read_text()
    assert "epoch 2" in text
    assert "numpy" not in text.partition("\n")[2]
    np.testing.assert_equal(history.rows[0]["table"], np.eye(2, dtype=np.int64) * 0, strict=True)


def test_a_log_that_no_file_can_hold_does_not_end_the_training(tmp_path):
    with pytest.warns(ChainruleWarning, match="could not be written.*the logs have place of the kind .*Path"):
        network().fit(X, T, checkpoints=tmp_path, callbacks=[Logs(place=lambda epoch: tmp_path)], **OPTIONS)


# --- what callbacks set -----------------------------------------------------------------------------------------------


def test_weights_and_a_rate_that_are_set_when_a_training_begins_do_not_undo_what_was_reached(tmp_path):
    class Starts(Callback):
        def on_train_begin(self, logs=None):
            self.training.set_weights({"v": np.ones(6)})
            self.training.learning_rate = 0.02

        def on_epoch_end(self, epoch, logs=None):
            self.training.learning_rate /= 2

        def state_dict(self):
            return {}

    whole = network()
    whole.fit(X, T, callbacks=[Starts(), Interrupt(-1)], **OPTIONS)
    interrupted(tmp_path, 30, callbacks=[Starts()])
    net, _ = resumed(tmp_path, callbacks=[Starts()])
    same(net, whole)


def test_a_signal_before_the_first_step_of_an_epoch_does_not_begin_the_epoch_twice(tmp_path):
    class AtTheBeginning(Interrupt):
        def on_train_batch_end(self, batch, logs=None):
            """Not here."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.at:
                os.kill(os.getpid(), self.number)

    def run(at, **options):
        net = network()
        callbacks = [LearningRateScheduler(lambda epoch, rate: rate / 2), AtTheBeginning(at)]
        history = net.fit(X, T, callbacks=callbacks, **OPTIONS, **options)
        return net, history

    whole, _ = run(-1)
    _, history = run(3, checkpoints=tmp_path)
    assert history.interrupted
    assert latest(tmp_path).position.steps == 0
    net, history = run(-1, resume=tmp_path)
    assert history.epoch == [0, 1, 2, 3, 4]
    same(net, whole)


# --- sources ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr("chainrule.training.feed.PIECE_BYTES", 4000)  # two batches and a half


def test_a_source_gives_the_weights_of_the_arrays(small_pieces):
    whole, net = network(), network()
    want = whole.fit(X, T, validation_data=(VALIDATION, VALIDATION[:, 0]), **OPTIONS)
    validation = cr.stream({"x": VALIDATION, "t": VALIDATION[:, 0]})
    history = net.fit(cr.stream({"x": X, "t": T}), validation_data=validation, **OPTIONS)
    same(net, whole)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(history.history[name], want.history[name], rtol=1e-6)
    assert history.steps_per_epoch == 11


@pytest.mark.parametrize("at", [3, 11, 30])
def test_a_training_on_a_source_goes_on(tmp_path, small_pieces, at):
    whole, net = network(), network()
    whole.fit(X, T, **OPTIONS)
    network().fit(cr.stream({"x": X, "t": T}), checkpoints=tmp_path, callbacks=[Interrupt(at)], **OPTIONS)
    net.fit(cr.stream({"x": X, "t": T}, memory="3MB"), resume=tmp_path, callbacks=[Interrupt(-1)], **OPTIONS)
    same(net, whole)


def test_sparse_inputs_of_a_source_are_walked_as_those_of_an_array(small_pieces):
    text = "input x[i]\nlabel y in k\nsize k = 3\nparameter W[i, k] = zeros\np[k] = softmax[k](sum[i](x[i]*W[i, k]))\n"
    text += "E = -sum[k]([k == y]*log(p[k]))"
    x = (rng.random((400, 50)) < 0.1).astype(np.uint8)
    y = rng.integers(0, 3, 400)
    one, other = cr.formula(text), cr.formula(text)
    one.fit(x, y, **OPTIONS)
    other.fit(cr.stream({"x": x, "y": y}), **OPTIONS)
    same(other, one)


def test_batches_as_they_come_are_steps():
    class Batches:
        def __iter__(self):
            for start in range(0, len(X), 50):
                yield X[start : start + 50], T[start : start + 50]

    one, other = network(), network()
    one.fit(X, T, **{**OPTIONS, "batch_size": 50, "shuffle": False})
    history = other.fit(Batches(), **OPTIONS)
    same(other, one)
    assert history.steps_per_epoch == 7


def test_what_cannot_be_had_again_cannot_be_resumed(tmp_path):
    def once():
        yield X, T

    with pytest.raises(SettingError, match="cannot be resumed"):
        network().fit(once(), checkpoints=tmp_path, **{**OPTIONS, "epochs": 1})
        network().fit(once(), resume=tmp_path, **OPTIONS)


def test_class_weights_of_a_source(small_pieces):
    text = "input x[i]\ntarget t\nparameter w[i], b = zeros\np = sigmoid(sum[i](w[i]*x[i]) + b)\n"
    text += "E = -(t*log(p) + (1 - t)*log(1 - p))"
    t = (T > 0).astype(np.float32)
    one, other = cr.formula(text), cr.formula(text)
    one.fit(X, t, class_weight={0: 3.0}, **OPTIONS)
    other.fit(cr.stream({"x": X, "t": t}), class_weight={0: 3.0}, **OPTIONS)
    same(other, one)


@pytest.mark.parametrize("then", [{"class_weight": {0: 2.0}}, {}])
def test_a_source_with_other_class_weights_is_refused(tmp_path, then):
    def fit(**options):
        net = cr.formula("input x[i]\nlabel y in k\nsize k = 2\nparameter w[i, k] = zeros\n"
                         "p[k] = softmax[k](sum[i](x[i]*w[i, k]))\nE = -log(sum[k]([k == y]*p[k]))")  # fmt: skip
        net.fit(cr.stream({"x": X, "y": (T > 0).astype(np.int64)}), **OPTIONS, **options)

    fit(class_weight={0: 3.0}, checkpoints=tmp_path)
    fit(class_weight={0: 3.0}, resume=tmp_path)
    with pytest.raises(SettingError, match=r"class_weight was .*3\.0"):
        fit(resume=tmp_path, **then)


def test_predict_and_evaluate_read_a_source(small_pieces):
    net = network()
    net.fit(X, T, **OPTIONS)
    np.testing.assert_allclose(net.predict(cr.stream({"x": X})), net.predict(X), rtol=1e-5, atol=1e-6)
    assert net.evaluate(cr.stream({"x": X, "t": T}))["loss"] == pytest.approx(net.evaluate(X, T)["loss"], rel=1e-6)
    assert net.loss(cr.stream({"x": X, "t": T})) == pytest.approx(net.loss(X, T), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"validation_split": 0.2}, "give validation_data"),
        ({"sample_weight": np.ones(330)}, "give class_weight"),
        ({"batch_size": None}, "give a batch_size"),
    ],
)
def test_what_needs_all_rows_at_once_is_refused(options, said):
    with pytest.raises(SettingError, match=said):
        network().fit(cr.stream({"x": X, "t": T}), **{**OPTIONS, **options})


def test_a_stream_whose_fields_are_others():
    with pytest.raises(cr.errors.DataError, match="the formulas want x, t"):
        network().fit(cr.stream({"a": X, "b": T, "c": T}), **OPTIONS)


def test_arrays_that_are_larger_than_the_memory_are_read_in_parts(tmp_path):
    x = rng.normal(size=(30_000, 20)).astype(np.float32)
    t = x[:, 0]
    np.save(tmp_path / "x.npy", x)
    one, other = network(), network()
    options = {**OPTIONS, "epochs": 1}
    want = one.fit(x, t, **options)
    history = other.fit(np.load(tmp_path / "x.npy", mmap_mode="r"), t, memory="1.5MB", **options)
    same(other, one)
    assert history.history["loss"] == pytest.approx(want.history["loss"])
    np.save(tmp_path / "t.npy", t)
    np.savez(tmp_path / "both.npz", t=t, x=x)
    for given in [(tmp_path / "x.npy", str(tmp_path / "t.npy")), (tmp_path / "both.npz",)]:
        third = network()
        third.fit(*given, memory="1.5MB", **options)
        same(third, one)


def test_rows_that_lie_by_class_are_no_constant_target(tmp_path):
    t = np.repeat([0.0, 1.0], 3000)
    x = (t + rng.normal(size=6000)).astype(np.float32)[:, None]

    class Sorted:  # whose first rows are all of one class
        def __iter__(self):
            for start in range(0, 6000, 500):
                yield x[start : start + 500], t[start : start + 500]

    net = cr.formula("input x[i]\ntarget t\nparameter w[i], b = zeros\ny = sum[i](w[i]*x[i]) + b\nE = (y - t)**2")
    net.fit(Sorted(), epochs=1, learning_rate=0.01, verbose=0)  # warnings are errors here


@pytest.mark.parametrize("shuffle", ["rows", "blocks"])
def test_a_wrong_label_is_told_with_its_row_in_the_file(tmp_path, shuffle):
    text = "input x[i]\nlabel y in k\nsize k = 3\nparameter W[i, k] = zeros\np[k] = softmax[k](sum[i](x[i]*W[i, k]))\n"
    text += "E = -sum[k]([k == y]*log(p[k]))"
    x = rng.normal(size=(9000, 40)).astype(np.float32)
    y = rng.integers(0, 3, 9000).astype(np.int32)  # not as the steps read it, so that blocks are copied
    y[7321] = 9
    with pytest.raises(cr.errors.DataError, match="7321"):
        cr.formula(text).fit(cr.stream({"x": x, "y": y}, memory="200MB", shuffle=shuffle), **OPTIONS)
