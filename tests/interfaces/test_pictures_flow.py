"""The flow of one sample: a frame for each step, the numbers of the pass itself, a GIF whose frames differ."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule.errors import DataError, FileError, SettingError
from tests.interfaces.pictures_networks import SKIP, XOR_T, XOR_X, deep, lines, texts, xor

BLUE, ORANGE = "#1f5fa8", "#d9771f"


def titles(frames) -> list[str]:
    starts = ("Forward", "Backward", "Update")
    return [next(t for t in texts(f) if t.startswith(starts)) for f in frames]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def by_hand(sample: int, net) -> dict[str, np.ndarray]:
    """The two deltas of the XOR network, as a textbook has them."""
    w = net.parameters
    h = sigmoid(XOR_X[sample] @ w["W1"] + w["b1"])
    p = sigmoid(h @ w["W2"] + w["b2"])
    delta_p = p - XOR_T[sample]
    return {"h": h, "p": p, "delta_p": delta_p, "delta_h": h * (1 - h) * w["W2"] * delta_p}


def test_one_frame_a_step_there_and_back():
    frames = cr.pictures.flow_frames(xor(), XOR_X, XOR_T)
    assert titles(frames) == [
        "Forward: the inputs",
        "Forward, layer 1 of 2",
        "Forward, layer 2 of 2",
        "Forward: the loss",
        "Backward, layer 2 of 2",
        "Backward, layer 1 of 2",
        "Update: every weight moves",
    ]


@pytest.mark.parametrize("sample", [1, 3])
def test_values_forward_and_adjoints_back(sample):
    net = xor()
    frames = cr.pictures.flow_frames(net, XOR_X, XOR_T, sample=sample)
    exact = by_hand(sample, net)
    from chainrule.interfaces.pictures.mathtext import short_number

    shown = {k: [short_number(v) for v in np.atleast_1d(value)] for k, value in exact.items()}
    assert set(shown["h"]) <= set(texts(frames[1])) and not set(shown["p"]) & set(texts(frames[1])) - set(shown["h"])
    assert set(shown["p"]) <= set(texts(frames[2]))
    assert set(shown["delta_p"]) <= set(texts(frames[4]))
    assert set(shown["delta_h"]) <= set(texts(frames[5]))


def test_the_equation_of_the_layer_stands_below():
    frames = cr.pictures.flow_frames(xor(), XOR_X, XOR_T)
    assert r"$h_{j} = \sigma(a^{h}_{j})$" in texts(frames[1])
    assert r"$\delta^{p} = p - t$" in texts(frames[4])


def test_only_the_layer_at_work_is_lit():
    frames = cr.pictures.flow_frames(xor(), XOR_X, XOR_T)
    grey = {colour for colour, _ in lines(frames[1], "h", "p")}
    assert BLUE in {colour for colour, _ in lines(frames[1], "x", "h")}
    assert not grey & {BLUE, ORANGE}
    assert not {colour for colour, _ in lines(frames[2], "x", "h")} & {BLUE, ORANGE}


def test_the_last_frame_shows_how_each_weight_moves():
    net = xor()
    before = net.parameters
    frames = cr.pictures.flow_frames(net, XOR_X, XOR_T, sample=1, learning_rate=0.5)
    # w ← w − η x δ, so that a line is blue where x δ is negative; x is (0, 1)
    delta = by_hand(1, net)["delta_h"]
    expected = ["#9aa3af", "#9aa3af", *(BLUE if d < 0 else ORANGE for d in delta)]
    assert [colour for colour, _ in lines(frames[-1], "x", "h")] == expected
    stepped = xor()
    stepped.fit(XOR_X[1:2], XOR_T[1:2], epochs=1, learning_rate=0.5, engine="interpreter", verbose=0)
    old, new = (n.loss(XOR_X[1:2], XOR_T[1:2]) for n in (net, stepped))
    assert f"loss of this sample: {old:.4g} → {new:.4g}" in texts(frames[-1])
    assert all((before[n] == net.parameters[n]).all() for n in before)  # the network itself stays as it is


def test_a_network_without_a_loss_flows_forward_only():
    frames = cr.pictures.flow_frames(cr.formula("examples/nand.formula"), [[1, 1]])
    assert titles(frames) == ["Forward: the inputs", "Forward, layer 1 of 1"]


def test_a_rule_of_its_own_is_an_update_without_a_way_back():
    net = cr.formula("examples/perceptron.formula", sizes={"i": 2})
    frames = cr.pictures.flow_frames(net, [[1.0, 0.0]], [1.0])
    assert titles(frames)[-1] == "Update: every weight moves"
    # w ← w + (t − y) x moves the first weight only
    assert [colour for colour, _ in lines(frames[-1], "x", "y")] == [BLUE, "#9aa3af"]


def test_skip_connections_and_depth(tmp_path):
    """Each sign can be drawn: a missing glyph would be a warning, and so an error."""
    frames = cr.pictures.flow_frames(cr.formula(SKIP), [[0.5, -1, 2]], [1.0])
    cr.pictures.save(frames[-1], tmp_path / "skip.png")
    frames = cr.pictures.flow_frames(deep(20), np.ones((1, 8)), np.eye(3)[:1])
    assert len(frames) == 7 + 1 + 6 + 1  # columns that are drawn, the loss, the way back, the update


def test_the_gif_has_the_frames_and_they_differ(tmp_path):
    path = tmp_path / "flow.gif"
    cr.pictures.flow_gif(xor(), XOR_X, XOR_T, path, sample=1, learning_rate=1.0)
    with Image.open(path) as image:
        assert image.n_frames == 7
        assert image.info["loop"] == 0
        pixels = []
        for number in range(image.n_frames):
            image.seek(number)
            pixels.append(np.asarray(image.convert("RGB"), dtype=int))
    for first, second in zip(pixels, pixels[1:], strict=False):
        assert np.count_nonzero(np.abs(first - second).sum(axis=2) > 60) > 200
    assert path.stat().st_size < 300_000


def test_bad_requests(tmp_path):
    with pytest.raises(SettingError, match=r"\.gif"):
        cr.pictures.flow_gif(xor(), XOR_X, XOR_T, tmp_path / "flow.png")
    with pytest.raises(FileError, match="cannot be written"):
        cr.pictures.flow_gif(cr.formula("examples/nand.formula"), [[1, 1]], None, tmp_path / "absent" / "flow.gif")
    with pytest.raises(SettingError, match="sample"):
        cr.pictures.flow_frames(xor(), XOR_X, XOR_T, sample=9)
    with pytest.raises(DataError):
        cr.pictures.flow_frames(xor(), XOR_X, [0, 1])
