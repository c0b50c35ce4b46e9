"""Formula texts made for the user."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import NotDifferentiable, SettingError
from chainrule.interfaces.build import OUTPUT_ACTIVATIONS, Design, Inputs, network_text, parse_widths
from chainrule.interfaces.scaling import with_scaling
from chainrule.library import ACTIVATIONS, LOSSES
from chainrule.training.network import formula

SIZES = {"i": 3, "k": 4}


def batch(rows: int = 6):
    rng = np.random.default_rng(0)
    return rng.random((rows, 3)), rng.integers(0, 4, rows)


def test_the_default_is_the_two_layer_digit_network():
    net = formula(network_text(Design()))
    assert {p.name: p.indices for p in net.system.parameters} == {
        "W1": ("i", "j"), "W2": ("j", "k"), "b1": ("j",), "b2": ("k",),
    }  # fmt: skip
    assert net.sizes == {"j": 512}


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_makes_a_network_that_has_finite_gradients_and_an_accuracy(loss):
    net = formula(network_text(Design((5,), "tanh", loss)), sizes=SIZES, dtype="float64")
    gradients = net.gradients(*batch())
    assert all(np.isfinite(g).all() for g in gradients.values())
    assert any(g.any() for g in gradients.values())
    assert set(net.evaluate(*batch())) == {"loss", "accuracy"}


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "step"])
def test_every_activation_makes_a_network(activation):
    net = formula(network_text(Design((5, 4), activation)), sizes=SIZES)
    assert all(np.isfinite(g).all() for g in net.gradients(*batch()).values())


def test_step_has_no_gradient():
    with pytest.raises(NotDifferentiable, match="step has no derivative"):
        formula(network_text(Design((5,), "step")), sizes=SIZES).gradients(*batch())


@pytest.mark.parametrize(("hidden", "parameters"), [((), 2), ((5,), 4), ((5, 4), 6), ((5, 4, 3), 8)])
def test_any_number_of_hidden_layers(hidden, parameters):
    net = formula(network_text(Design(hidden)), sizes=SIZES)
    assert len(net.parameters) == parameters
    assert net.predict(batch()[0]).shape == (6, 4)


def test_names_may_be_aliases_and_unknown_ones_get_a_near_match():
    assert network_text(Design((2,), "ReLU", "cross-entropy")) == network_text(Design((2,)))
    with pytest.raises(SettingError, match="did you mean 'relu'"):
        network_text(Design(activation="rely"))
    with pytest.raises(SettingError, match="did you mean 'hinge'"):
        network_text(Design(loss="hing"))


def test_outputs_are_named_for_losses_that_exist():
    assert set(OUTPUT_ACTIVATIONS) <= set(LOSSES)
    assert set(OUTPUT_ACTIVATIONS.values()) <= set(ACTIVATIONS)


@pytest.mark.parametrize("text", ["", "x", "5a", "-1", "1,0", "1,,2", "1.5", "1000000", "9" * 30, ",".join("1" * 101)])
def test_bad_widths(text):
    with pytest.raises(SettingError, match="--hidden came as"):
        parse_widths(text)


NET = "parameter w[i] = zeros\ny = sum[i](w[i]*x[i])"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("input x[i]", "input pixels[i]\nx[i] = pixels[i] / 255"),
        ("  input   x[ i ]  # images", "  input   pixels[ i ]  # images\nx[ i ] = pixels[ i ] / 255"),
        ("# input x[i]\ninput x[i]", "# input x[i]\ninput pixels[i]\nx[i] = pixels[i] / 255"),
        ("input x[i], x[i] >= 0", "input pixels[i], (pixels[i] / 255) >= 0\nx[i] = pixels[i] / 255"),
        ("input x[i], z", "input pixels[i], z\nx[i] = pixels[i] / 255"),
        ("pixels = 2\ninput x[i]", "pixels = 2\ninput pixels2[i]\nx[i] = pixels2[i] / 255"),
        ("input inputs[i]\nx[i] = inputs[i]/255", "input inputs[i]\nx[i] = inputs[i]/255"),
        ("input raw[i]\nx[i] = raw[i]/127.5 - 1", "input raw[i]\nx[i] = raw[i]/127.5 - 1"),
    ],
)
def test_a_plain_input_is_scaled_and_all_else_is_left(before, after):
    assert with_scaling(f"{before}\n{NET}").text == f"{after}\n{NET}"


def test_an_input_on_the_last_line_without_a_line_break():
    assert (
        with_scaling("y = sum[i](x[i])\ninput x[i]").text == "y = sum[i](x[i])\ninput pixels[i]\nx[i] = pixels[i] / 255"
    )


def test_several_inputs_each_get_pixels_of_their_own():
    scaled = with_scaling("input x[i], z[i]\ny = sum[i](x[i]*z[i])")
    assert scaled.names == ("x", "z")
    assert scaled.text.splitlines()[:3] == [
        "input pixels[i], pixels2[i]", "x[i] = pixels[i] / 255", "z[i] = pixels2[i] / 255",
    ]  # fmt: skip


def test_an_input_that_spans_lines():
    text = "input (\n"  # no statement of the notation: a bracket joins lines only inside one
    with pytest.raises(ValueError):
        with_scaling(text)
    scaled = with_scaling("input x[\n  i]\ny = sum[i](x[i])").text
    assert formula(scaled).predict(np.full((1, 2), 255.0)) == pytest.approx(2.0)


def test_scaling_twice_changes_nothing():
    once = with_scaling(f"input x[i]\n{NET}").text
    assert with_scaling(once) == type(with_scaling(once))(once, ())


def test_scaled_formulas_give_the_numbers_of_scaled_pixels():
    text = network_text(Design((5,)))
    pixels = np.arange(12, dtype=np.uint8).reshape(4, 3)
    plain, scaled = formula(text, sizes=SIZES), formula(with_scaling(text).text, sizes=SIZES)
    assert scaled.predict(pixels) == pytest.approx(plain.predict(pixels / 255), rel=1e-6)


def test_scalar_inputs_are_no_pixels():
    assert with_scaling("input x1, x2\ny = x1 + x2").names == ()


def test_categories_alone_do_not_begin_at_zero():
    """Units of relu that are 0 for every row would never learn anything."""
    inputs = Inputs(
        lines=("input c1 in v1",),
        numbers=False,
        terms=("sum[v1]([v1 == c1]*C1[v1, {unit}])",),
        tables=("C1[v1, {unit}]",),
        sizes=("v1 = 3",),
        target="binary",
    )
    net = formula(network_text(Design((8,), "relu", "binary_cross_entropy", inputs=inputs)), seed=1)
    gradients = net.gradients({"c1": np.array([0, 1, 2]), "t": np.array([0.0, 1.0, 1.0])})
    assert all(np.abs(g).max() > 0 for g in gradients.values())
