"""What a user holds: sizes, parameters, loss, gradients, prediction; and what is said of bad data and options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule.errors import DataError, FileError, FormulaError, SettingError, ShapeError
from chainrule.training.network import Network, formula

EXAMPLES = Path(__file__).parents[2] / "examples"
TWO_LAYERS = """
size j = 5
input x[i]
target t[k], sum[k](t[k]) = 1
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = zeros
h[j] = tanh(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
E = -sum[k](t[k]*log(p[k]))
"""


@pytest.fixture
def net() -> Network:
    return formula(TWO_LAYERS, dtype="float64", sizes={"i": 3, "k": 2})


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 3)), np.eye(2)[rng.integers(0, 2, 7)]


def test_sizes_come_from_the_text_the_caller_and_the_data(batch):
    net = formula(TWO_LAYERS)
    assert net.sizes == {"j": 5}
    net.loss(*batch)
    assert net.sizes == {"j": 5, "i": 3, "k": 2}


def test_parameters_have_the_shape_of_the_formula(net):
    assert {n: a.shape for n, a in net.parameters.items()} == {"W1": (3, 5), "W2": (5, 2), "b1": (5,), "b2": (2,)}
    assert all(a.dtype == np.float64 for a in net.parameters.values())


def test_glorot_limits_follow_the_use_of_the_indices(net):
    limit = np.sqrt(6 / (3 + 5))
    weights = formula(TWO_LAYERS, sizes={"i": 3, "k": 2, "j": 5}, seed=3).parameters["W1"]
    assert 0.5 * limit < np.abs(weights).max() <= limit
    # The same layer with the output index first: fan_in is still what is summed over.
    turned = formula("size i = 3, j = 4000\ninput x[i]\nparameter W[j, i] = he_uniform\ny[j] = sum[i](W[j, i]*x[i])")
    assert np.abs(turned.parameters["W"]).max() == pytest.approx(np.sqrt(6 / 3), rel=0.01)


def test_seeds_draw_different_weights_and_the_same_seed_the_same():
    draw = [formula(TWO_LAYERS, sizes={"i": 3, "k": 2}, seed=s).parameters["W1"] for s in (0, 0, 1)]
    assert np.array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])


def test_parameters_are_copies(net):
    net.parameters["W1"][:] = 0
    assert net.parameters["W1"].any()


def test_loss_and_gradients_are_those_of_numpy(net, batch):
    x, t = batch
    w = net.parameters

    def loss(w):
        h = np.tanh(x @ w["W1"] + w["b1"])
        a = h @ w["W2"] + w["b2"]
        return np.mean(np.log(np.exp(a).sum(axis=1)) - (a * t).sum(axis=1))

    assert net.loss(x, t) == pytest.approx(loss(w), rel=1e-12)
    gradients = net.gradients(x, t)
    for name, gradient in gradients.items():
        assert gradient.shape == w[name].shape
        for place in np.ndindex(gradient.shape):
            moved = {n: a.astype(complex) for n, a in w.items()}
            moved[name][place] += 1e-30j
            assert gradient[place] == pytest.approx(loss(moved).imag / 1e-30, rel=1e-10, abs=1e-14)


def test_set_parameters_by_name(net, batch):
    net.set_parameters(b2=[5.0, -5.0], W2=np.zeros((5, 2)))
    assert net.predict(batch[0])[:, 0] == pytest.approx(1 / (1 + np.exp(-10)))
    with pytest.raises(DataError, match="no parameter W3"):
        net.set_parameters(W3=[1])
    with pytest.raises(DataError, match="W2 came with the shape"):
        net.set_parameters(W2=np.zeros((2, 5)))


def test_images_are_read_row_by_row_and_labels_become_one_hot():
    net = formula((EXAMPLES / "digits.formula").read_text(), sizes={"k": 10})
    images = np.random.default_rng(0).random((4, 28, 28))
    assert net.predict(images) == pytest.approx(net.predict(images.reshape(4, 784)))
    assert net.loss(images, [3, 1, 4, 1]) == pytest.approx(net.loss(images, np.eye(10)[[3, 1, 4, 1]]))


def test_flat_images_for_formulas_that_name_rows_and_columns():
    """(N, 6) for x[r, c] is N samples, with a class number each, and (2, 3) is one image."""
    text = TWO_LAYERS.replace("x[i]", "x[r, c]").replace("sum[i]", "sum[r, c]").replace("W1[i, j]", "W1[r, c, j]")
    net = formula(text, dtype="float64", sizes={"r": 2, "c": 3, "k": 3})
    images = np.random.default_rng(0).random((4, 2, 3))
    assert net.loss(images.reshape(4, 6), [2, 0, 1, 1]) == net.loss(images, [2, 0, 1, 1])
    assert net.loss(images[0], 2) == pytest.approx(net.loss(images[:1], [2]))
    assert net.predict(images.reshape(4, 6)) == pytest.approx(net.predict(images))


def test_several_inputs_by_order_name_and_mapping():
    nand = formula(EXAMPLES / "nand.formula")
    x1, x2 = [0, 0, 1, 1], [0, 1, 0, 1]
    for values in (nand.predict(x1, x2), nand.predict({"x1": x1, "x2": x2}), nand.predict(x1, x2=x2)):
        assert values.tolist() == [1, 1, 1, 0]


def test_labels_need_no_one_hot_array():
    text = TWO_LAYERS.replace("target t[k], sum[k](t[k]) = 1", "label y in k\nt[k] = [k == y]")
    with_label = formula(text, dtype="float64", sizes={"i": 3, "k": 2})
    with_target = formula(TWO_LAYERS, dtype="float64", sizes={"i": 3, "k": 2})
    with_label.set_parameters(with_target.parameters)
    x = np.random.default_rng(1).normal(size=(6, 3))
    y = [0, 1, 1, 0, 1, 0]
    assert with_label.loss(x, y) == pytest.approx(with_target.loss(x, np.eye(2)[y]), rel=1e-12)
    ours, theirs = with_label.gradients(x, y), with_target.gradients(x, np.eye(2)[y])
    for name in ours:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-12)
    assert with_label.evaluate(x, y)["accuracy"] == with_target.evaluate(x, np.eye(2)[y])["accuracy"]


def test_a_formula_file_and_a_text_are_told_apart(tmp_path):
    path = tmp_path / "net.formula"
    path.write_text("input x\ny = 2*x\n")
    assert formula(path).predict([1, 2]).tolist() == [2, 4]
    assert formula(str(path)).predict([1, 2]).tolist() == [2, 4]
    with pytest.raises(FileError, match="cannot be read"):
        formula(tmp_path / "absent.formula")
    (tmp_path / "bytes.formula").write_bytes(b"y = \xff\xfe")
    with pytest.raises(FileError, match="not UTF-8"):
        formula(tmp_path / "bytes.formula")


def test_predict_without_data_that_the_formulas_want(net):
    with pytest.raises(DataError, match="no array came for x"):
        net.predict()
    with pytest.raises(DataError, match="2 arrays came"):
        net.predict([[1, 2, 3]], [[1]])
    with pytest.raises(DataError, match="which is no input"):
        net.predict(z=[[1, 2, 3]])
    with pytest.raises(DataError, match=r"x came with the shape \(2, 4\)"):
        net.predict(np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size came as 0"),
        ({"batch_size": 2.5}, "batch_size came as 2.5"),
        ({"epochs": -1}, "epochs came as -1"),
        ({"threads": 0}, "threads came as 0"),
        ({"seed": "x"}, "seed came as 'x'"),
        ({"learning_rate": float("nan")}, "learning_rate came as nan"),
        ({"learning_rate": -1}, "learning_rate came as -1"),
        ({"learning_rate": np.float32(-1)}, "learning_rate came as"),
        ({"learning_rate": [0.1]}, "learning_rate came as [0.1]"),
        ({"engine": "gpu"}, "engine came as 'gpu'"),
        ({"verbose": "loud"}, "verbose came as 'loud'"),
        ({"verbose": 3}, "verbose came as 3"),
        ({"shuffle": "no"}, "shuffle came as 'no'"),
        ({"hyper": 3}, "hyper has 3"),
        ({"hyper": {"eta": "a"}}, "hyper has eta='a'"),
        ({"metrics": 5}, "metrics has a int"),
        ({"validation_data": 5}, "validation_data is a int"),
        ({"optimizer": "rmspop"}, "did you mean 'rmsprop'"),
        ({"learning_rate": "cosin"}, "did you mean 'cosine'"),
        ({"hyper": {"momentun": 0.9}, "optimizer": "momentum"}, "no hyper-parameter momentun"),
        ({"optimizer": "v <- g"}, "no line 'w <- …'"),
        ({"optimizer": "w <- w - gamma*g"}, "gamma has no value"),
    ],
)
def test_a_bad_option_gets_one_line_and_changes_nothing(net, batch, options, said):
    before = net.parameters
    with pytest.raises(SettingError) as caught:
        net.fit(*batch, **{"verbose": 0, "engine": "interpreter", **options})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(before[n], a) for n, a in net.parameters.items())


@pytest.mark.parametrize(
    ("x", "t", "said"),
    [
        (np.zeros((4, 3)), np.eye(2)[[0, 1, 1]], "3"),
        (np.zeros((4, 3)), [0, 1, 2, 0], "2"),
        (np.zeros((4, 3)), [[0.5, 0.6]] * 4, "sum[k](t[k]) = 1 is declared"),
        ([[0, np.nan, 1]], [0], "x"),
        ([["a", "b", "c"]], [0], "x"),
        (np.zeros((0, 3)), np.zeros((0, 2)), "x"),
    ],
)
def test_bad_data_get_one_line(net, x, t, said):
    with pytest.raises(DataError) as caught:
        net.fit(x, t, verbose=0, engine="interpreter")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_loss_no_output_no_sizes_no_start():
    with pytest.raises(FormulaError, match="there is no loss"):
        formula("input x\ny = 2*x").gradients([1])
    with pytest.raises(FormulaError, match="no output"):
        formula("input x\ntarget t\nE = (x - t)**2").predict([1])
    with pytest.raises(ShapeError, match="index i has no size yet"):
        _ = formula("input x[i]\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])").parameters
    with pytest.raises(SettingError, match="w has no starting value"):
        formula("input x[i]\nparameter w[i]\ny = sum[i](w[i]*x[i])").predict([[1, 2]])


@pytest.mark.parametrize(
    "start, words",
    [
        ("normal(0, -1)", "the standard deviation of normal came as -1"),
        ("truncated_normal(0, -0.5)", "the standard deviation of truncated_normal came as -0.5"),
        ("uniform(-1e299/1e-9, 1e299/1e-9)", "the numbers of uniform are too large"),
        ("uniform(0, 1, 2)", "too many numbers for uniform"),
    ],
)
def test_numbers_that_no_distribution_has(start, words):
    with pytest.raises(SettingError, match=words):
        formula(f"input x[i]\nsize i = 2\nparameter w[i] = {start}\ny = sum[i](w[i]*x[i])").predict([[1, 2]])


def test_an_option_that_overrides_the_text_says_so(capsys):
    net = formula("input x\ntarget t\nparameter w1 = 0\ny = w1*x\nE = (y - t)**2\nw <- w - 0.1*g")
    net.fit([1.0], [2.0], engine="interpreter", verbose=2, optimizer="gradient_descent", learning_rate=0.25)
    assert "is replaced by the option" in capsys.readouterr().err
    assert net.parameters["w1"] == pytest.approx(1.0)


def test_a_user_rule_and_a_schedule_are_formulas():
    net = formula("input x\ntarget t\nparameter w1 = 0\ny = w1*x\nE = 1/2*(y - t)**2", dtype="float64")
    net.fit(
        [1.0], [1.0], engine="interpreter", verbose=0, epochs=3, optimizer="w <- w - eta*g", learning_rate="1/(1+step)"
    )
    # w ← w + (1 - w)/(1 + step): 1 - w shrinks by step/(step + 1).
    assert net.parameters["w1"] == pytest.approx(1 - (1 / 2) * (2 / 3) * (3 / 4))


def test_a_schedule_has_words_of_its_own():
    text = "input x\ntarget t\nparameter w = zeros\ny = w*x\nE = 1/2*(y - t)**2"
    options = {"epochs": 3, "batch_size": None, "verbose": 0, "engine": "interpreter", "advice": False}
    nets = [formula(text, dtype="float64") for _ in range(2)]
    nets[0].fit([1.0], [1.0], learning_rate="eta0/(1 + k*step)", hyper={"eta0": 0.2, "k": 1.0}, **options)
    w = 0.0
    for step in (1, 2, 3):
        w -= 0.2 / (1 + step) * (w - 1)
    assert nets[0].parameters["w"] == pytest.approx(w)
    nets[1].fit([1.0], [1.0], learning_rate="inverse-time", hyper={"eta0": 0.2}, **options)  # a name, no difference
    with pytest.raises(FormulaError, match="k has no value"):
        nets[0].fit([1.0], [1.0], learning_rate="eta0/(1 + k*step)", hyper={"eta0": 0.2}, **options)


def test_parameters_without_a_starting_value_can_be_set():
    """All sizes known or not, at once or one after the other; declared states start all the same."""
    text = "input x[i]\ntarget t\nparameter w[i]\nparameter b\nstate s = 5\ny = sum[i](w[i]*x[i]) + b\nE = (y - t)**2\n"
    text += "s <- s + 1\nw[i] <- w[i]*s"
    for sizes in ({}, {"i": 2}):
        net = formula(text, sizes=sizes)
        with pytest.raises((SettingError, ShapeError)):
            assert net.parameters
        net.set_parameters(w=[1.0, 2.0])
        net.set_parameters(b=0.5)
        assert net.parameters["b"] == 0.5
        assert net.kept["s"] == 5


@pytest.mark.parametrize(
    "given", [lambda: iter(()), [(np.ones((2, 3)), np.ones(2))], chainrule.stream((np.ones((2, 3)), np.ones(2)))]
)
def test_batches_where_arrays_are_wanted(given):
    """A function that makes batches, a list of them; and gradients take none."""
    net = formula("input x[i]\ntarget t\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])\nE = (y - t)**2")
    with pytest.raises(DataError, match=r"x came as .*chainrule\.stream"):
        net.gradients(given)
