"""Sample and class weights."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import DataError, SettingError
from chainrule.training.network import formula

TEXT = """
input x[i]
label y in k
size k = 3
parameter W[i, k] = glorot_uniform
parameter b[k] = zeros
p[k] = softmax[k](sum[i](x[i]*W[i, k]) + b[k])
D = -log(sum[k]([k == y]*p[k]))
E = D + 0.01*sum[i, k](W[i, k]**2)
"""


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(5)
    x = generator.normal(size=(60, 4))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def fitted(*data, engine="native", **options):
    net = formula(TEXT, dtype="float64", seed=2)
    history = net.fit(*data, epochs=3, verbose=0, engine=engine, optimizer="sgd", learning_rate=0.3, **options)
    return net, history


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_whole_weights_are_repeated_rows(data, engine):
    """With weights of mean 1 and the whole batch at once, the penalty included."""
    x, y = data
    counts = np.tile([0, 1, 2], 20)
    net, _ = fitted(x, y, batch_size=None, sample_weight=counts, engine=engine)
    rows = np.repeat(np.arange(60), counts)
    other, _ = fitted(x[rows], y[rows], batch_size=None, engine=engine)
    for name, array in other.parameters.items():
        np.testing.assert_allclose(net.parameters[name], array, rtol=1e-9, atol=1e-12)


def test_class_weights_are_sample_weights(data):
    x, y = data
    by_class, first = fitted(x, y, batch_size=16, class_weight={0: 5.0, 2: 0.5})
    by_sample, second = fitted(x, y, batch_size=16, sample_weight=np.array([5.0, 1.0, 0.5])[y])
    assert first.history["loss"] == second.history["loss"]
    assert all(np.array_equal(by_class.parameters[n], by_sample.parameters[n]) for n in by_class.parameters)


def test_the_loss_is_the_weighted_sum_over_the_number_of_samples(data):
    x, y = data
    net = formula(TEXT, dtype="float64", seed=2)
    weights = np.linspace(0, 3, 60)
    plain = np.array([net.evaluate(x[n : n + 1], y[n : n + 1])["loss"] for n in range(60)])
    penalty = 0.01 * np.sum(net.parameters["W"] ** 2)
    expected = np.sum(weights * (plain - penalty)) / 60 + penalty
    assert net.evaluate(x, y, sample_weight=weights)["loss"] == pytest.approx(expected, rel=1e-12)


def test_the_derivation_has_the_weights_in_it():
    net = formula(TEXT, dtype="float64")
    assert "sample_weight" in str(net.weighted_derivation)


@pytest.mark.parametrize(
    "weights", [np.ones(59), -np.ones(60), np.full(60, np.nan), np.ones((60, 2)), ["a"] * 60], ids=str
)
def test_bad_weights(data, weights):
    with pytest.raises(DataError, match="sample_weight"):
        fitted(*data, sample_weight=weights)


@pytest.mark.parametrize("weights", [{"a": 1.0}, {0: -1.0}, {-1: 1.0}, {0: np.inf}, {0: "much"}, [1.0, 2.0]], ids=str)
def test_bad_class_weights(data, weights):
    with pytest.raises(SettingError, match="class_weight"):
        fitted(*data, class_weight=weights)


def test_class_weights_need_classes():
    net = formula("input x[i]\ntarget t\nparameter w[i]\ny = sum[i](w[i]*x[i])\nE = (y - t)**2")
    with pytest.raises(SettingError, match="class"):
        net.fit(np.ones((3, 2)), [0.5, 1.5, 2.0], class_weight={0: 2.0}, verbose=0)


def test_a_loss_that_sums_over_the_samples_has_no_weights():
    net = formula("input x[i]\ntarget t\nparameter w[i]\ny = sum[i](w[i]*x[i])\nE = mean[n]((y - t)**2)")
    with pytest.raises(SettingError, match="target s"):
        net.fit(np.ones((3, 2)), [0.5, 1.5, 2.0], sample_weight=[1, 2, 3], verbose=0)


def test_the_last_rows_are_kept_out(data):
    x, y = data
    net, history = fitted(x, y, validation_split=0.25, batch_size=16)
    other, second = fitted(x[:45], y[:45], validation_data=(x[45:], y[45:]), batch_size=16)
    assert history.history["val_loss"] == second.history["val_loss"]
    assert np.array_equal(net.parameters["W"], other.parameters["W"])
    for share in (1.0, -0.1, 0.999, "half", True):
        with pytest.raises(SettingError, match="validation_split"):
            fitted(x, y, validation_split=share)


def test_the_validation_has_no_class_weights(data):
    """As in Keras: they weigh what is learned from."""
    x, y = data
    weights = {0: 3.0, 1: 0.5}
    _, split = fitted(x, y, validation_split=0.25, class_weight=weights, batch_size=16)
    _, given = fitted(x[:45], y[:45], validation_data=(x[45:], y[45:]), class_weight=weights, batch_size=16)
    assert split.history["loss"] == given.history["loss"]
    assert split.history["val_loss"] == given.history["val_loss"]


def test_formulas_without_samples():
    net = formula("parameter w = 1\nE = (w - 3)**2", dtype="float64")
    assert net.loss() == 4
    for use in (net.fit, net.evaluate):
        with pytest.raises(DataError, match="samples"):
            use()
