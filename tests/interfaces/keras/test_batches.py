"""Data in batches for models in the style of Keras: generators, loaders, PyDataset's like, chainrule.stream."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import layers, models
from chainrule.errors import DataError, SettingError
from chainrule.utils import set_random_seed

rng = np.random.default_rng(1)
X = rng.normal(size=(120, 4, 3)).astype(np.float32)
Y = rng.integers(0, 5, 120)


def model():
    set_random_seed(7)
    net = models.Sequential(
        [layers.Flatten(), layers.Dense(8, activation="tanh"), layers.Dense(5, activation="softmax")]
    )
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net


def by_hand(epochs=2, steps=6):
    """The slow twin: one train_on_batch a batch."""
    net = model()
    for _ in range(epochs):
        for k in range(steps):
            net.train_on_batch(X[20 * k : 20 * k + 20], Y[20 * k : 20 * k + 20])
    return net


class Loader:
    """As PyTorch's: lists of two, again in each epoch."""

    def __iter__(self):
        for k in range(0, 120, 20):
            yield [X[k : k + 20], Y[k : k + 20]]


class Dataset:
    """As Keras's PyDataset."""

    ended = 0

    def __len__(self):
        return 6

    def __getitem__(self, k):
        return X[20 * k : 20 * k + 20], Y[20 * k : 20 * k + 20]

    def on_epoch_end(self):
        self.ended += 1


def endless():
    for k in itertools.cycle(range(0, 120, 20)):
        yield X[k : k + 20], Y[k : k + 20]


@pytest.mark.parametrize("data", [Loader(), Dataset(), endless()], ids=["loader", "dataset", "generator"])
def test_batches_are_steps_in_their_order(data):
    net, twin = model(), by_hand()
    options = {"steps_per_epoch": 6} if hasattr(data, "__next__") else {}
    history = net.fit(data, epochs=2, verbose=0, **options)
    for one, other in zip(net.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert len(history.history["accuracy"]) == 2
    assert history.params["steps"] == 6


def test_the_end_of_an_epoch_is_told():
    data = Dataset()
    model().fit(data, epochs=3, verbose=0)
    assert data.ended == 3


def test_a_generator_goes_on_in_the_next_epoch():
    seen = []

    def numbered():
        for k, batch in enumerate(endless()):
            seen.append(k)
            yield batch

    model().fit(numbered(), epochs=3, steps_per_epoch=2, verbose=0)
    assert seen[:6] == [0, 1, 2, 3, 4, 5]


def test_validation_evaluate_and_predict_take_batches():
    net = model()
    history = net.fit(X, Y, epochs=1, batch_size=20, validation_data=Loader(), verbose=0)
    whole = net.evaluate(X, Y, verbose=0)
    assert history.history["val_loss"][0] == pytest.approx(whole[0], rel=1e-5)
    assert net.evaluate(Loader(), verbose=0) == pytest.approx(whole, rel=1e-5)
    assert net.evaluate(endless(), steps=6, verbose=0) == pytest.approx(whole, rel=1e-5)
    np.testing.assert_allclose(net.predict(Dataset(), verbose=0), net.predict(X, verbose=0), rtol=1e-5)
    np.testing.assert_allclose(net.predict(iter([X[:7], X[7:]]), verbose=0), net.predict(X, verbose=0), rtol=1e-5)


def test_a_stream_is_read_while_it_trains():
    one, other = model(), model()
    one.fit(X, Y, epochs=2, batch_size=32, verbose=0)
    other.fit(cr.stream((X, Y)), epochs=2, batch_size=32, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(other.predict(cr.stream((X,)), verbose=0), other.predict(X, verbose=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("run", "error", "said"),
    [
        (lambda: model().fit(endless(), Y, verbose=0), SettingError, "leave y out"),
        (lambda: model().fit(iter([(X, Y, np.ones(120))]), verbose=0), SettingError, "sample weights"),
        (lambda: model().fit(iter([(X, Y)]), steps_per_epoch=2, verbose=0), DataError, "gave 1 batches"),
        (lambda: model().fit(iter([(X, Y)]), epochs=2, verbose=0), DataError, "list_iterator gives its batches once"),
        (lambda: model().fit(iter([X]), verbose=0), DataError, "y is missing"),
        (lambda: model().fit(iter([]), verbose=0), DataError, "no batches|batch"),
        (lambda: model().fit(iter([(X, Y)]), steps_per_epoch=0, verbose=0), SettingError, "steps_per_epoch"),
        (lambda: model().fit(X, Y, steps_per_epoch=2, verbose=0), SettingError, "steps_per_epoch"),
        (lambda: model().fit(iter([(X, Y), (X[:, :2], Y)]), verbose=0), DataError, "shape|differ|fit"),
    ],
)
def test_what_does_not_fit_is_told(run, error, said):
    with pytest.raises(error, match=said):
        run()
