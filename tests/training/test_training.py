"""The training loop as an object: steps looked at one by one, several epochs in one call, what callbacks may change."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest

from chainrule.errors import DataError, Diverged, SettingError
from chainrule.training.callbacks import Callback
from chainrule.training.network import formula
from chainrule.training.runner import EpochReport, InterpretedRunner

TEXT = """
input x[i]
target t[k]
size j = 4
parameter W1[i, j], W2[j, k] = glorot_uniform
random m[j] = bernoulli(0.7)
h[j] = tanh(sum[i](x[i]*W1[i, j]))*m[j]
y[k] = sum[j](h[j]*W2[j, k])
E = 1/2*sum[k]((y[k] - t[k])**2)
"""


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(5)
    return generator.normal(size=(50, 3)), 2 * generator.normal(size=(50, 2))


def fitted(data, text=TEXT, **options):
    net = formula(text, seed=2)
    options = {"epochs": 4, "batch_size": 16, "optimizer": "adam", "learning_rate": "cosine", "verbose": 0, **options}
    return net, net.fit(*data, **options)


def assert_same(first, second):
    (a, one), (b, two) = first, second
    assert one.history["loss"] == two.history["loss"]
    assert all(np.array_equal(a.parameters[n], b.parameters[n]) for n in a.parameters)


class Steps(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, logs["loss"]))


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_a_look_at_each_step_changes_no_bit(data, engine):
    steps = Steps()
    plain, watched = fitted(data, engine=engine), fitted(data, engine=engine, callbacks=[steps])
    assert all(np.array_equal(plain[0].parameters[n], watched[0].parameters[n]) for n in plain[0].parameters)
    assert watched[1].history["loss"] == pytest.approx(plain[1].history["loss"], rel=1e-6)
    assert [batch for batch, _ in steps.seen] == [0, 1, 2, 3] * 4
    assert steps.seen[3][1] == watched[1].history["loss"][0]


def test_epochs_in_one_call_are_epochs_one_by_one(data):
    """A callback that only looks keeps the loop from putting epochs together."""
    assert_same(fitted(data, epochs=9), fitted(data, epochs=9, callbacks=[lambda epoch, logs: None]))


def test_a_second_training_goes_on_with_new_orders(data):
    net, first = fitted(data, epochs=2, learning_rate=0.01)
    second = net.fit(*data, epochs=4, initial_epoch=2, batch_size=16, optimizer="adam", learning_rate=0.01, verbose=0)
    _, whole = fitted(data, epochs=4, learning_rate=0.01)
    assert first.history["loss"] + second.history["loss"] == whole.history["loss"]
    assert second.epoch == [2, 3]


def test_a_schedule_that_names_steps_spans_each_training_and_another_goes_on(data):
    rates = []

    class Rates(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            rates.append(self.training.learning_rate)

    for schedule in ("eta0*(1 - (step - 1)/steps)", "eta0/step"):
        net = formula(TEXT, seed=2)
        for _ in range(2):
            net.fit(*data, epochs=2, batch_size=25, learning_rate=schedule, hyper={"eta0": 1}, verbose=0,
                    callbacks=[Rates()], engine="interpreter")  # fmt: skip
    assert rates == pytest.approx([1, 0.5, 1, 0.5, 1, 1 / 3, 1 / 5, 1 / 7])


def test_the_rate_of_each_step_is_the_one_that_a_callback_reads(data):
    rates = []

    class Rates(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rates.append(self.training.learning_rate)

    fitted(data, epochs=2, optimizer="sgd", learning_rate="1/step", callbacks=[Rates()], engine="interpreter")
    assert rates == pytest.approx([1 / step for step in range(1, 9)])


def test_a_callback_may_change_the_rate_and_the_weights_and_end_it(data):
    class Meddler(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.training.learning_rate = 0.0
                self.before = {n: a.copy() for n, a in self.training.weights().items()}
            if epoch == 1:
                assert all(np.array_equal(self.before[n], self.model.parameters[n]) for n in self.model.parameters)
                self.training.set_weights({"W1": np.zeros((3, 4), np.float32)})
            if epoch == 2:
                assert not self.model.parameters["W1"].any()
                self.model.set_parameters(W2=np.ones((4, 2)))
            if epoch == 3:
                assert (self.model.parameters["W2"] == 1).all()
                self.training.stop = True

    _, history = fitted(data, epochs=9, callbacks=[Meddler()], optimizer="sgd", learning_rate=0.1)
    assert history.epoch == [0, 1, 2, 3]
    assert not history.interrupted


def test_stopping_after_a_step_keeps_the_weights_of_that_step(data):
    class Once(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.training.stop = True

    net, _ = fitted(data, callbacks=[Once()], learning_rate=0.01, shuffle=False)
    other, _ = fitted([a[:16] for a in data], epochs=1, learning_rate=0.01, shuffle=False)
    assert all(np.array_equal(net.parameters[n], other.parameters[n]) for n in net.parameters)
    assert net.steps == 1


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_what_a_branch_that_is_not_taken_holds_is_no_divergence(engine):
    """log(a) is NaN there, and kept in a tensor of its own for the backward pass."""
    net = formula(
        "input x[i]\ntarget t\nsize i = 2\nsize j = 3\nparameter W[i, j], V[j] = uniform(-1, 1)\n"
        "a[j] = sum[i](x[i]*W[i, j])\nh[j] = where(a[j] > 0, a[j]*log(a[j]), a[j])\n"
        "z = sum[j](V[j]*h[j])\ny = exp(z*z)\nE = (y - t)**2"
    )
    rng = np.random.default_rng(0)
    with pytest.raises(Diverged, match=r"the first equation to do so was: y = exp\(z\*\*2\)"):
        net.fit(
            rng.normal(size=(64, 2)),
            rng.normal(size=64),
            epochs=5,
            batch_size=8,
            learning_rate=3.0,
            engine=engine,
            verbose=0,
        )


def test_divergence_is_told_alike_however_the_epochs_run(data):
    told = []
    for callbacks in ((), [Steps()], [lambda epoch, logs: None]):
        net = formula(TEXT, seed=2)
        with pytest.raises(Diverged) as caught:
            net.fit(*data, epochs=60, batch_size=16, optimizer="sgd", learning_rate=3.0, verbose=0, callbacks=callbacks)
        assert all(np.isfinite(a).all() for a in net.parameters.values())
        told.append((caught.value.epoch, caught.value.step, *(a.tobytes() for a in net.parameters.values())))
    assert told[0] == told[1] == told[2]


def test_a_rate_where_the_rule_has_none(data):
    class Setter(Callback):
        def on_train_begin(self, logs=None):
            assert np.isnan(self.training.learning_rate)
            self.training.learning_rate = 0.5

    with pytest.raises(SettingError):
        fitted(data, optimizer="w <- w - 0.1*g", learning_rate=None, callbacks=[Setter()])


def test_validation_now_and_then(data):
    _, history = fitted(data, validation_data=data, validation_freq=2)
    assert len(history.history["loss"]) == 4
    assert len(history.history["val_loss"]) == 2


LINE = """
input x
target t
parameter w = 1
y = w*x
E = 1/2*(y - t)**2
"""


def line(callback=None, engine="interpreter", **options):
    """Four samples of t = 2x, two a step, at a rate of 0 unless told otherwise."""
    net = formula(LINE, dtype="float64")
    options = {"epochs": 1, "batch_size": 2, "learning_rate": 0.0, "verbose": 0, "advice": False, **options}
    callbacks = [] if callback is None else [callback]
    return net, net.fit(np.arange(1.0, 5), 2 * np.arange(1.0, 5), callbacks=callbacks, engine=engine, **options)


class Setter(Callback):
    """Sets w in one hook, in the network itself, as a model of Keras's style does."""

    def __init__(self, hook):
        setattr(self, hook, self.set)

    def set(self, *_):
        self.training.network.set_parameters(w=5.0)


@pytest.mark.parametrize(
    "hook",
    ["on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end"],
)
@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_weights_set_in_any_hook_are_those_that_go_on(hook, engine):
    net, _ = line(Setter(hook), engine)
    assert net.parameters["w"] == 5


@dataclass
class Reader(Callback):
    """What the network says of itself after each step."""

    seen: list = field(default_factory=list)

    def on_train_batch_end(self, batch, logs=None):
        net = self.training.network
        own = self.training.weights()["w"]
        self.seen.append((own, net.parameters["w"], copy.deepcopy(net).predict([1.0])[0], net.predict([1.0])[0]))


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_the_network_has_the_weights_of_the_step_that_ended(engine):
    reader = Reader()
    net, _ = line(reader, engine, learning_rate=0.01, epochs=2)
    assert [len(set(map(float, values))) for values in reader.seen] == [1] * 4
    assert len({float(own) for own, *_ in reader.seen}) == 4
    assert net.parameters["w"] == reader.seen[-1][0]


class Failing(Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.left = self.training.weights()["w"]
            raise RuntimeError


def test_a_callback_that_fails_in_mid_epoch_leaves_the_weights_of_that_step():
    net, callback = formula(LINE, dtype="float64"), Failing()
    with pytest.raises(RuntimeError):
        net.fit(np.ones(8), np.ones(8) * 3, batch_size=2, callbacks=[callback], verbose=0, engine="interpreter")
    assert net.parameters["w"] == callback.left
    assert net.steps == 2


class Wrong(Callback):
    def __init__(self, **arrays):
        self.arrays = arrays

    def on_epoch_end(self, epoch, logs=None):
        self.training.set_weights(self.arrays)


@pytest.mark.parametrize("arrays", [{"w": np.ones(2)}, {"v": 1.0}])
def test_weights_that_do_not_fit_are_refused(arrays):
    with pytest.raises(DataError, match=next(iter(arrays))):
        line(Wrong(**arrays), "native")


@pytest.mark.parametrize("steps", [Callback(), Steps()])
@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_the_steps_before_a_divergence_count(engine, steps):
    """Adam corrects its averages by the number of steps: who goes on with these averages goes on with the number."""
    x = np.ones(40)
    x[25] = 1e200
    net = formula(LINE, dtype="float64")
    options = {"optimizer": "adam", "batch_size": 5, "shuffle": False, "verbose": 0, "engine": engine, "advice": False}
    with pytest.raises(Diverged):
        net.fit(x, np.ones(40) * 3, callbacks=[steps], **options)
    short = formula(LINE, dtype="float64")
    short.fit(x[:20], np.ones(20) * 3, **options)
    assert net.steps == short.steps == 4
    assert all(np.array_equal(net.kept[n], short.kept[n]) for n in short.kept)


def test_a_history_of_a_validation_now_and_then_is_saved(tmp_path):
    _, history = line(validation_split=0.5, validation_freq=2, epochs=4)
    history.save(tmp_path / "history.csv")
    rows = [row.split(",") for row in (tmp_path / "history.csv").read_text().splitlines()]
    column = rows[0].index("val_loss")
    assert [bool(row[column]) for row in rows[1:]] == [False, True, False, True]
    assert [float(row[column]) for row in rows[1:] if row[column]] == history.history["val_loss"]


def test_an_epoch_that_was_stopped_before_its_first_step_reached_nothing(monkeypatch):
    real, calls = InterpretedRunner.epoch, []

    def epoch(self, *arguments, **options):
        calls.append(arguments)
        whole = real(self, *arguments, **options)
        return whole if len(calls) < 2 else EpochReport(0, 0, dict.fromkeys(whole.sums, 0.0), stopped=True)

    monkeypatch.setattr(InterpretedRunner, "epoch", epoch)
    _, history = line(epochs=3)
    assert history.interrupted
    assert history.epoch == [0]
    assert len(history.history["loss"]) == 1
