"""Network diagrams: layers as in the equations, lines by the signs and sizes of weights, the network's own numbers."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError, DataError, FileError, FormulaError, SettingError, ShapeError
from chainrule.interfaces import plots
from chainrule.interfaces.pictures.look import graph_of
from chainrule.messages import set_language
from tests.interfaces.pictures_networks import (
    SKIP,
    XOR_T,
    XOR_X,
    circles,
    deep,
    digits,
    lines,
    texts,
    xor,
)

BLUE, ORANGE = plots.POSITIVE, plots.NEGATIVE


def columns(net) -> list[list[str]]:
    return [[layer.name for layer in column] for column in graph_of(net).columns]


# --- the structure, from the equations --------------------------------------------------------------------------------


def test_an_activation_stands_in_one_layer_with_its_pre_activation():
    net = cr.formula("examples/mlp.formula", sizes={"i": 784, "k": 10})
    assert columns(net) == [["x"], ["z1"], ["z2"]]
    assert graph_of(net).layers["z1"].members == ("a1", "z1")


def test_scaled_pixels_are_the_input():
    assert columns(digits()) == [["x"], ["h"], ["p"]]


def test_gates_stand_in_columns_by_their_depth():
    assert columns(cr.formula("examples/half_adder.formula")) == [
        ["x1", "x2"],
        ["h"],
        ["u", "v", "carry"],
        ["s"],
        ["y"],
    ]


def test_a_second_head_is_a_layer_too():
    net = cr.formula(
        "size i = 3\nsize j = 2\ninput x[i]\ntarget t\ntarget u\nparameter W[i, j], v[j], w[j] = normal(0, 1)\n"
        "h[j] = tanh(sum[i](x[i]*W[i, j]))\ny = sum[j](h[j]*v[j])\nq = sum[j](h[j]*w[j])\n"
        "A = (y - t)**2\nB = (q - u)**2\nE = A + B\noutput y"
    )
    assert columns(net) == [["x"], ["h"], ["y", "q"]]
    assert set(graph_of(net).loss_sources) == {"y", "q"}


def test_a_skip_connection_joins_what_it_joins():
    graph = graph_of(cr.formula(SKIP))
    joined = {(c.source, c.target, c.parameters): int(c.joined.sum()) for c in graph.connections}
    assert joined == {
        ("x", "h", ("W",)): 12,
        ("h", "r", ("U",)): 16,
        ("h", "r", ()): 4,  # each neuron to the one beside it, without a weight
        ("r", "y", ("w",)): 4,
        ("x", "y", ("V",)): 3,
    }


def test_shared_weights_are_on_every_line_that_has_them():
    graph = graph_of(cr.formula("examples/xor.formula"))
    weights = {(c.source, c.target): c.parameters for c in graph.connections}
    assert weights["x1", "h"] == weights["x1", "u"] == weights["h", "v"] == weights["u", "y"] == ("w1",)


def test_the_weights_of_a_connection_are_those_of_the_formula():
    net = cr.formula(SKIP, dtype="float64")
    graph = graph_of(net)
    own = net.parameters
    for connection in graph.connections:
        if connection.is_weighted:
            (name,) = connection.parameters
            weights = graph.weights(connection, net.kept)
            assert weights == pytest.approx(own[name].reshape(weights.shape))


def test_an_activation_written_out_is_seen_through():
    net = cr.formula(
        "size i = 2\ninput x[i]\nparameter w[i] = [1, -2]\ny = sum[i](w[i]*x[i])/(1 + exp(-sum[i](w[i]*x[i])))"
    )
    (connection,) = graph_of(net).connections
    assert graph_of(net).weights(connection, net.kept).ravel() == pytest.approx([1, -2])


def test_batch_statistics_are_no_neurons():
    net = cr.formula(
        "size i = 2\nsize j = 3\ninput x[i]\nparameter W[i, j] = normal(0, 1)\n"
        "a[j] = sum[i](x[i]*W[i, j])\nm[j] = mean[n](a[n, j])\nz[j] = tanh(a[j] - m[j])"
    )
    assert columns(net) == [["x"], ["z"]]


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_neurons_and_labels_of_a_small_network():
    figure = cr.pictures.network_diagram(xor())
    assert len(circles(figure)) == 2 + 2 + 1
    assert {"$x_{0}$", "$x_{1}$", "$h_{0}$", "$h_{1}$", "$p$"} <= set(texts(figure))
    assert any("2 neurons" in text for text in texts(figure))


def test_lines_are_coloured_by_sign_and_as_thick_as_the_weight_is_large():
    figure = cr.pictures.network_diagram(xor())
    drawn = lines(figure, "x", "h")  # 4, −3, 4, −3.5
    assert [colour for colour, _ in drawn] == [BLUE, ORANGE, BLUE, ORANGE]
    widths = [width for _, width in drawn]
    assert widths[0] == widths[2] > widths[3] > widths[1]


def test_large_layers_are_elided_and_their_size_is_written():
    figure = cr.pictures.network_diagram(digits())
    assert len(circles(figure)) == 7 + 7 + 7
    found = texts(figure)
    assert found.count("⋮") == 3
    assert {"$x_{0}$", "$x_{783}$", "$h_{29}$", "$p_{9}$"} <= set(found)
    assert "$h_{15}$" not in found
    assert any("784 inputs" in t for t in found) and any("30 neurons" in t for t in found)


def test_all_of_a_layer_on_request():
    assert len(circles(cr.pictures.network_diagram(digits(), neurons=30))) == 29 + 30 + 10


def test_a_deep_network_is_elided_in_the_middle():
    figure = cr.pictures.network_diagram(deep(20))
    found = texts(figure)
    assert "15 more layers" in found
    assert any("h^{(20)}_{j}" in t for t in found) and not any("h^{(10)}" in t for t in found)
    assert figure.get_figwidth() < 16


@pytest.mark.parametrize("sample", range(4))
def test_the_numbers_are_the_networks_own(sample):
    net = xor()
    figure = cr.pictures.network_diagram(net, XOR_X, XOR_T, sample=sample)
    h = 1 / (1 + np.exp(-(XOR_X[sample] @ np.array([[4, -3.0], [4, -3.5]]) + [-2, 4.5])))
    p = float(net.predict(XOR_X)[sample])
    found = texts(figure)
    for value in (*h, p):
        assert f"{value:.2f}" in found or value < 0.005
    loss = net.loss(XOR_X[sample : sample + 1], XOR_T[sample : sample + 1])
    assert f"{loss:.2f}" in found
    assert any(t.endswith(f"= {XOR_T[sample]}") for t in found)


def test_one_column_a_scalar_input():
    figure = cr.pictures.network_diagram(cr.formula("examples/nand.formula"), [[1, 1]])
    assert texts(figure).count("1") == 2  # the inputs; NAND gives 0
    assert "0" in texts(figure)


def test_the_image_stands_beside_its_pixels():
    images = cr.datasets.mnist().test.images[:1]
    figure = cr.pictures.network_diagram(digits(), images)
    (image,) = figure.axes[0].images
    assert np.asarray(image.get_array()) == pytest.approx(images[0].reshape(28, 28) / 255, abs=1e-6)


# --- files and languages ----------------------------------------------------------------------------------------------


def test_svg_is_well_formed_and_the_same_each_time(tmp_path):
    for name in ("a.svg", "b.svg"):
        cr.pictures.save(cr.pictures.network_diagram(xor(), XOR_X, XOR_T), tmp_path / name)
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_every_sign_can_be_drawn(tmp_path):
    """A missing glyph is a warning, and warnings are errors here."""
    cr.pictures.save(cr.pictures.network_diagram(deep(20), np.ones((1, 8)), np.eye(3)[:1]), tmp_path / "a.png")
    cr.pictures.save(cr.pictures.network_diagram(cr.formula(SKIP), [[-1e-9, 5e7, 0]], [1.0]), tmp_path / "b.png")


def test_korean_where_a_font_can_draw_it(monkeypatch, tmp_path):
    set_language("ko")
    try:
        monkeypatch.setattr(plots, "_korean_font", lambda: None)
        figure = cr.pictures.network_diagram(xor())
        assert any("2 neurons" in t for t in texts(figure))
        cr.pictures.save(figure, tmp_path / "a.png")
        monkeypatch.setattr(plots, "_korean_font", lambda: "NanumGothic")
        assert any("뉴런 2개" in t for t in texts(cr.pictures.network_diagram(xor())))
    finally:
        set_language(None)


def test_matplotlib_waits_for_the_first_picture():
    code = "import sys, chainrule as cr; cr.pictures.network_diagram, cr.pictures.descent_path('x**2', 1.0); "
    code += "print([m for m in ('matplotlib', 'PIL', 'click') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# --- complaints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "kind", "words"),
    [
        (lambda: cr.pictures.network_diagram(cr.formula("examples/mlp.formula")), ShapeError, "size"),
        (lambda: cr.pictures.network_diagram(xor(), XOR_X, sample=4), SettingError, "from 0 to 3"),
        (lambda: cr.pictures.network_diagram(xor(), [[1, 2, 3]]), DataError, "3"),
        (lambda: cr.pictures.network_diagram(xor(), neurons=0), SettingError, "neurons"),
        (lambda: cr.pictures.network_diagram(cr.formula("examples/nand.formula"), [[1, 2, 3]]), DataError, "x1, x2"),
        (lambda: cr.pictures.network_diagram(cr.formula("input x\nparameter w = 1")), FormulaError, "output"),
    ],
)
def test_a_bad_request_is_one_clear_line(draw, kind, words):
    with pytest.raises(kind, match=words) as caught:
        draw()
    assert isinstance(caught.value, ChainruleError)


def test_bad_paths(tmp_path):
    figure = cr.pictures.network_diagram(xor())
    with pytest.raises(SettingError, match=r"\.svg, \.png, \.pdf"):
        cr.pictures.save(figure, tmp_path / "a.bmp")
    with pytest.raises(FileError, match="cannot be written"):
        cr.pictures.save(figure, tmp_path / "absent" / "a.png")
