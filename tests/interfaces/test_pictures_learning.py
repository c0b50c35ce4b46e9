"""Boundaries, loss surfaces and batches: what is drawn is what the network computes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule.errors import DataError, FormulaError, SettingError
from chainrule.interfaces.pictures.landscape import losses_of, plane_of_path, random_plane
from chainrule.interfaces.pictures.noise import batch_errors
from tests.interfaces.pictures_networks import XOR_T, XOR_X, digits, texts, xor


def logistic():
    return cr.formula("examples/logistic.formula", sizes={"i": 2}, dtype="float64")


def two_clouds():
    random = np.random.default_rng(0)
    x = np.r_[random.normal(-1, 1, (30, 2)), random.normal(1, 1, (30, 2))]
    return x, np.repeat([0.0, 1.0], 30)


def trained(callback=None, net=None):
    net = net or logistic()
    x, t = two_clouds()
    callbacks = [] if callback is None else [callback]
    history = net.fit(
        x, t, epochs=6, batch_size=None, learning_rate=1.0, verbose=0, engine="interpreter", callbacks=callbacks
    )
    return net, x, t, history


# --- the decision boundary --------------------------------------------------------------------------------------------


def contour_points(figure) -> np.ndarray:
    from matplotlib.contour import ContourSet

    sets = [c for c in figure.axes[0].get_children() if isinstance(c, ContourSet)]
    return np.concatenate([path.vertices for c in sets for path in c.get_paths() if len(path.vertices)])


def test_the_line_of_logistic_regression_is_where_wx_plus_b_is_0():
    net, x, t, _ = trained()
    points = contour_points(cr.pictures.decision_boundary(net, x, t))
    w, b = net.parameters["w"], net.parameters["b"]
    assert np.abs(points @ w + b).max() < 1e-3 * np.abs(w).max() * np.ptp(points)


def test_points_are_drawn_by_class():
    net, x, t, _ = trained()
    figure = cr.pictures.decision_boundary(net, x, t)
    assert {"class 0", "class 1"} <= set(texts(figure))
    drawn = sorted(len(c.get_offsets()) for c in figure.axes[0].collections if len(c.get_offsets()) > 1)
    assert drawn == [30, 30]


def test_two_scalar_inputs_and_a_step():
    figure = cr.pictures.decision_boundary(cr.formula("examples/nand.formula"))
    points = contour_points(figure)  # -2 x1 - 2 x2 + 3 = 0, in steps of the grid
    assert np.abs(3 - 2 * points.sum(axis=1)).max() < 0.1


def test_several_classes():
    net = cr.formula(
        "size i = 2\nsize k = 3\ninput x[i]\nparameter W[i, k] = [[1, -1, 0], [0, 0, 2]]\n"
        "p[k] = softmax[k](sum[i](x[i]*W[i, k]))"
    )
    figure = cr.pictures.decision_boundary(net, [[1, 0], [-1, 0], [0, 1]])
    classes = np.asarray(figure.axes[0].images[0].get_array())
    assert set(np.unique(classes)) == {0, 1, 2}
    assert classes[0, 0] == 1 and classes[0, -1] == 0 and classes[-1, classes.shape[1] // 2] == 2


def test_a_callback_keeps_each_epoch(tmp_path):
    net = logistic()
    record = cr.pictures.Boundary(net, *two_clouds())
    net, _, _, history = trained(record, net)
    frames = record.frames()
    assert len(frames) == 7
    assert "before the training" in texts(frames[0])
    for epoch in (1, 6):
        assert any(
            f"epoch {epoch} " in s and f"{history.history['loss'][epoch - 1]:.4f}" in s for s in texts(frames[epoch])
        )
    w, b = net.parameters["w"], net.parameters["b"]
    points = contour_points(frames[-1])
    assert np.abs(points @ w + b).max() < 1e-3 * np.abs(w).max() * np.ptp(points)
    record.gif(tmp_path / "b.gif", most=4)
    with Image.open(tmp_path / "b.gif") as image:
        assert image.n_frames == 4
    assert len(record.frames(most=3)) == 3
    # Six lines; before the training all weights are 0 and there is none.
    assert "6 epochs" in " ".join(texts(record.lines()))


@pytest.mark.parametrize("net", [digits(), cr.formula("input x\nparameter w = 1\ny = w*x")])
def test_other_than_two_inputs_are_refused(net):
    with pytest.raises(DataError, match="over two inputs"):
        cr.pictures.decision_boundary(net)


# --- the loss around the weights --------------------------------------------------------------------------------------


def test_the_loss_along_a_line_and_its_tangent():
    net, x, t, _ = trained()
    figure = cr.pictures.loss_line(net, x, t)
    curve, tangent, here = figure.axes[0].lines
    assert here.get_ydata()[0] == pytest.approx(net.loss(x, t))
    # E falls along −g·|w|/|g|, with slope −|g|·|w|
    gradient = np.r_[net.gradients(x, t)["w"], net.gradients(x, t)["b"]]
    weights = np.r_[net.parameters["w"], net.parameters["b"]]
    steps, values = tangent.get_xdata(), tangent.get_ydata()
    slope = (values[-1] - values[0]) / (steps[-1] - steps[0])
    assert slope == pytest.approx(-np.linalg.norm(gradient) * np.linalg.norm(weights))
    step = curve.get_xdata()[3]
    moved = weights - gradient * step * np.linalg.norm(weights) / np.linalg.norm(gradient)
    other = logistic()
    other.set_parameters(w=moved[:2], b=moved[2])
    assert curve.get_ydata()[3] == pytest.approx(other.loss(x, t))


def test_a_line_towards_other_weights():
    net, x, t, _ = trained()
    curve = cr.pictures.loss_line(net, x, t, to={"w": [0, 0], "b": 0}).axes[0].lines[0]
    at_one = np.interp(1.0, curve.get_xdata(), curve.get_ydata())
    assert at_one == pytest.approx(np.log(2), rel=1e-3)  # all weights 0: every p is one half


def test_the_path_starts_and_ends_at_the_losses_of_training():
    net = logistic()
    record = cr.pictures.WeightPath(net)
    net, x, t, history = trained(record, net)
    figure = cr.pictures.loss_plane(net, x, t, path=record, points=7)
    found = " ".join(texts(figure))
    # Full-batch descent reports the loss before each step.
    assert history.history["loss"][0] == pytest.approx(np.log(2))
    assert f"start: {history.history['loss'][0]:.4g}" in found
    assert f"end: {net.loss(x, t):.4g}" in found
    assert len(record) == 7


def test_the_plane_holds_the_path_where_it_is_flat():
    net = logistic()
    record = cr.pictures.WeightPath(net)
    net, x, t, _ = trained(record, net)
    plane = plane_of_path(net, record)
    assert plane.trail[-1] == pytest.approx([0, 0])
    flat = [np.r_[w["w"], w["b"]] for w in record.weights]
    singular = np.linalg.svd(np.array(flat) - flat[-1], compute_uv=False)
    assert plane.share == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum())
    first, second = (np.r_[d["w"], d["b"]] for d in (plane.first, plane.second))
    assert first @ second == pytest.approx(0, abs=1e-12)
    assert np.linalg.norm(first) == pytest.approx(1)
    losses = losses_of(net, x, t, 500)
    assert losses.at(plane.weights(0, 0)) == pytest.approx(net.loss(x, t))


def test_a_path_that_begins_before_the_sizes_are_known():
    record = cr.pictures.WeightPath(net := cr.formula("examples/mlp.formula", seed=5))
    x = np.random.default_rng(0).uniform(size=(20, 9))
    net.fit(x, np.arange(20) % 3, epochs=2, verbose=0, engine="interpreter", callbacks=[record])
    assert len(record) == 3
    start = cr.formula("examples/mlp.formula", sizes={"i": 9, "k": 3}, seed=5).parameters
    assert all((record.weights[0][name] == w).all() for name, w in start.items())


def test_random_directions_are_as_long_as_the_parameters():
    net = xor()
    plane = random_plane(net, 3)
    for name, w in net.parameters.items():
        assert np.linalg.norm(plane.first[name]) == pytest.approx(np.linalg.norm(w))
    figure = cr.pictures.loss_plane(net, XOR_X, XOR_T, points=5)
    assert any("random directions" in s for s in texts(figure))


def test_the_network_is_left_as_it_was():
    net, x, t, _ = trained()
    before = net.parameters
    cr.pictures.loss_line(net, x, t)
    cr.pictures.loss_plane(net, x, t, points=5)
    cr.pictures.decision_boundary(net, x, t)
    assert all((net.parameters[n] == before[n]).all() for n in before)


def test_bad_requests_around_the_loss():
    with pytest.raises(FormulaError):
        cr.pictures.loss_plane(cr.formula("examples/nand.formula"), [[0, 1]])
    with pytest.raises(SettingError, match="at least two"):
        net = cr.formula("input x\ntarget t\nparameter w = 1\nE = (w*x - t)**2")
        cr.pictures.loss_plane(net, [1.0], [2.0])
    with pytest.raises(SettingError, match="points"):
        cr.pictures.loss_plane(xor(), XOR_X, XOR_T, points=2)
    with pytest.raises(SettingError, match="span"):
        cr.pictures.loss_line(xor(), XOR_X, XOR_T, span=0)
    with pytest.raises(DataError):
        cr.pictures.loss_line(xor(), XOR_X)


# --- batches ----------------------------------------------------------------------------------------------------------


def test_the_error_of_a_batch_is_that_of_its_gradient():
    net = cr.formula("input x\ntarget t\nparameter w = 0\nE = 1/2*(w*x - t)**2", dtype="float64")
    x, t = np.ones(64), np.random.default_rng(0).normal(1, 1, 64)
    sizes, errors, count = batch_errors(net, x, t, draws=200)
    # ∂E/∂w = w − t: the error of a batch is that of a mean of B out of N, relative to the mean of all.
    assert sizes.tolist() == [1, 2, 4, 8, 16, 32] and count == 64
    spread = t.std() / abs(t.mean())
    expected = spread * np.sqrt((64 - sizes) / (sizes * 63))
    assert np.sqrt((errors**2).mean(axis=1)) == pytest.approx(expected, rel=0.2)
    assert "samples in the batch, B" in texts(cr.pictures.batch_noise(net, x, t, draws=3))


def test_too_few_samples():
    with pytest.raises(DataError, match="at least 4"):
        cr.pictures.batch_noise(xor(), XOR_X[:3], XOR_T[:3])
