"""Weights, activations and reconstructions as images: the numbers are the network's, the scale has a white middle."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DataError, SettingError
from chainrule.interfaces.pictures.images import pca_rebuilt
from tests.interfaces.pictures_networks import digits, texts, xor

AUTOENCODER = """
size i = 36
size j = 4
input     x[i]
parameter W1[i, j], W2[j, i] = glorot_uniform
parameter b1[j], b2[i]       = zeros
h[j] = sum[i](x[i]*W1[i, j]) + b1[j]
r[i] = sigmoid(sum[j](h[j]*W2[j, i]) + b2[i])
E    = 1/2*sum[i]((x[i] - r[i])**2)
output r
"""


def images(figure) -> list:
    return [image for axes in figure.axes for image in axes.images]


def test_each_units_weights_are_an_image():
    net = digits()
    drawn = images(cr.pictures.weight_images(net, "W1"))
    weights = net.parameters["W1"]
    units = [i for i in drawn if i.get_array().shape == (28, 28)]
    assert len(units) == 30
    for j, image in enumerate(units):
        assert np.asarray(image.get_array()) == pytest.approx(weights[:, j].reshape(28, 28))


def test_the_scale_is_symmetric_and_the_same_for_all():
    net = digits()
    largest = float(np.abs(net.parameters["W1"]).max())
    limits = {image.get_clim() for image in images(cr.pictures.weight_images(net, "W1"))}
    assert limits == {(-largest, largest)}


def test_the_first_image_weight_is_found_and_many_units_are_cut():
    figure = cr.pictures.weight_images(digits(), units=12)
    assert len([i for i in images(figure) if i.get_array().shape == (28, 28)]) == 12
    assert any("first 12 of 30" in t for t in texts(figure))


def test_the_decoder_of_an_autoencoder_paints_images_too():
    net = cr.formula(AUTOENCODER)
    drawn = [i for i in images(cr.pictures.weight_images(net, "W2")) if i.get_array().shape == (6, 6)]
    assert np.asarray(drawn[2].get_array()) == pytest.approx(net.parameters["W2"][2].reshape(6, 6))


def test_a_shape_for_what_is_no_square():
    figure = cr.pictures.weight_images(cr.formula(AUTOENCODER), "W1", shape=(4, 9))
    assert [i.get_array().shape for i in images(figure)][:4] == [(4, 9)] * 4


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: cr.pictures.weight_images(digits(), "W3"), "W1, W2"),
        (lambda: cr.pictures.weight_images(digits(), "W2"), "none of its sides is an image"),
        (lambda: cr.pictures.weight_images(digits(), "b1"), "none of its sides is an image"),
        (lambda: cr.pictures.weight_images(digits(), "W1", shape=(28, 27)), "28 × 27"),
        (lambda: cr.pictures.weight_images(xor()), "no weight joins"),
        (lambda: cr.pictures.weight_images(digits(), units=0), "units"),
        (lambda: cr.pictures.activations(xor(), [[0, 1]], sample=1), "sample"),
    ],
)
def test_bad_requests(draw, words):
    with pytest.raises(SettingError, match=words):
        draw()


def test_activations_of_a_sample_are_bars():
    net = xor()
    figure = cr.pictures.activations(net, [[0.0, 1.0]])
    h = 1 / (1 + np.exp(-(np.array([4, -3.5]) + [-2, 4.5])))
    bars = [p.get_height() for p in figure.axes[1].patches]
    assert bars == pytest.approx(h.tolist())


def test_activations_of_a_batch_are_samples_by_neurons():
    net = digits()
    batch = cr.datasets.mnist().test.images[:20]
    figure = cr.pictures.activations(net, batch)
    shapes = [np.asarray(i.get_array()).shape for i in images(figure)]
    assert (20, 784) in shapes and (20, 30) in shapes and (20, 10) in shapes
    output = next(i for i in images(figure) if i.get_array().shape == (20, 10))
    assert np.asarray(output.get_array()) == pytest.approx(net.predict(batch), abs=1e-6)


def test_reconstructions_are_the_predictions_and_the_errors_theirs():
    net = cr.formula(AUTOENCODER, dtype="float64")
    x = np.random.default_rng(0).uniform(0, 1, (50, 36))
    figure = cr.pictures.reconstructions(net, x, pca=True, count=5)
    drawn = images(figure)
    assert len(drawn) == 15
    assert np.asarray(drawn[5].get_array()) == pytest.approx(net.predict(x)[0].reshape(6, 6))
    found = " ".join(texts(figure))
    assert f"error {np.mean((net.predict(x) - x) ** 2):.4f}" in found
    # Eckart and Young: the error of the best rank 4 is the sum of the squared singular values that are left.
    left = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[4:]
    assert f"(PCA): mean squared error {np.sum(left**2) / x.size:.4f}" in found


def test_pca_with_all_components_is_exact():
    x = np.random.default_rng(1).normal(size=(20, 7))
    assert pca_rebuilt(x, x, 7) == pytest.approx(x)


def test_what_does_not_rebuild_is_refused():
    with pytest.raises(DataError, match="rebuilds its input"):
        cr.pictures.reconstructions(digits(), np.zeros((2, 784)))
