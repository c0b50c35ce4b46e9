"""Small models trained by Keras, recorded, and the same programs here: weights, logs and predictions are the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule
from benchmarks.keras_models import CASES, FIT, given, single

RECORDED = json.loads((Path(__file__).parents[2] / "golden" / "oracles" / "keras_models.json").read_text("utf-8"))
# Weights are float64 there and here. Keras keeps logs in float32.
CLOSE = {"rtol": 5e-6, "atol": 1e-7}
# Keras's LayerNormalization computes in float32 whatever the number type, and Adam divides gradients by their size.
LOOSE = {"concatenation_and_skip": {"rtol": 1e-5, "atol": 4e-6}}
LOGS = {"rtol": 2e-6, "atol": 1e-7}
GIVEN = {"rtol": 2e-5, "atol": 2e-6}  # sums of many weights, whose last digits differ


@pytest.fixture(autouse=True)
def double():
    chainrule.config.set_floatx("float64")
    chainrule.utils.clear_session()
    yield
    chainrule.config.set_floatx("float32")


def array(pair):
    numbers, shape = pair
    return np.array(numbers).reshape(shape)


@pytest.mark.parametrize("name", CASES)
def test_a_model_trains_as_in_keras(name):
    said = RECORDED[name]
    model, x, y, options = CASES[name](chainrule)
    for layer, weights in said["before"].items():
        model.get_layer(layer).set_weights([array(w) for w in weights])
    assert {layer.name for layer in model.layers if layer.get_weights()} == set(said["before"])
    history = model.fit(x, y, **FIT, **options)
    for layer, weights in said["after"].items():
        for own, wanted in zip(model.get_layer(layer).get_weights(), weights, strict=True):
            np.testing.assert_allclose(own, array(wanted), **LOOSE.get(name, CLOSE), err_msg=f"{name} {layer}")
    assert set(history.history) == set(said["history"])
    for key, values in said["history"].items():
        np.testing.assert_allclose(history.history[key], values, **LOGS, err_msg=f"{name} {key}")
    predicted = model.predict(x)
    if isinstance(predicted, dict):
        assert set(predicted) == set(said["predicted"])
        for key, values in predicted.items():
            np.testing.assert_allclose(values, array(said["predicted"][key]), **GIVEN)
    else:
        np.testing.assert_allclose(predicted, array(said["predicted"]), **GIVEN)
    evaluated = model.evaluate(x, y, return_dict=True)
    assert set(evaluated) == set(said["evaluated"])
    for key, value in said["evaluated"].items():
        np.testing.assert_allclose(evaluated[key], value, **LOGS, err_msg=f"{name} {key}")


@pytest.mark.parametrize("name", RECORDED["single"])
def test_a_layer_gives_what_keras_layer_gives(name):
    layer, shape, count = single(chainrule)[name]
    inputs = [chainrule.Input(shape) for _ in range(count)]
    model = chainrule.Model(inputs, layer(inputs if count > 1 else inputs[0]))
    arrays = given(shape, count)
    own = model.predict(arrays if count > 1 else arrays[0])
    wanted = array(RECORDED["single"][name])
    assert own.shape == wanted.shape == model.output_shape[:0] + (4, *model.output_shape[1:])
    np.testing.assert_allclose(own, wanted, rtol=1e-6, atol=1e-7)  # some of Keras's layers compute in float32
