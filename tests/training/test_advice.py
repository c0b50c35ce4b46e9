"""Help with wrong use: what hardly works is said in one line that names the fix, and what works says nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from chainrule.errors import ChainruleWarning, DataError, Diverged
from chainrule.training.network import formula

RANDOM = np.random.default_rng(2)
X = RANDOM.normal(size=(200, 5))
Y = RANDOM.integers(0, 3, 200)
BYTES = RANDOM.integers(0, 256, (200, 5)).astype(np.uint8)

HEAD = "input x[i]\ntarget t[k]\nparameter W[i, k] = glorot_uniform\n"
SOFTMAX = HEAD + "p[k] = softmax[k](sum[i](x[i]*W[i, k]))\n"
SIGMOID = HEAD + "p[k] = sigmoid(sum[i](x[i]*W[i, k]))\n"
CROSS = "E = -sum[k](t[k]*log(p[k]))"
BINARY = "E = -sum[k](t[k]*log(p[k]) + (1 - t[k])*log(1 - p[k]))"
ONE = "input x[i]\ntarget t\nparameter w[i] = glorot_uniform\np = {0}(sum[i](x[i]*w[i]))\nE = {1}"
ONE_BINARY = ONE.format("sigmoid", "-(t*log(p) + (1 - t)*log(1 - p))")
SQUARES = ONE.format("", "(p - t)**2")
HIDDEN = (
    "input x[i]\ntarget t\nsize j = 20\nparameter w[i, j], v[j] = glorot_uniform\nparameter b[j] = zeros\n"
    "h[j] = relu(sum[i](x[i]*w[i, j]) + b[j])\np = sum[j](h[j]*v[j])\nE = (p - t)**2"
)


def advice(text, x, t, *, engine="interpreter", **options):
    """The lines that a training of one epoch says, and where each points to."""
    net = text if not isinstance(text, str) else formula(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.fit(x, t, verbose=0, engine=engine, **{"learning_rate": 0.01, **options})
    assert all(w.category is ChainruleWarning and w.filename == __file__ for w in caught)
    lines = [str(w.message) for w in caught]
    assert all("\n" not in line for line in lines)
    return lines


@pytest.mark.parametrize(
    ("text", "x", "t"),
    [
        (SOFTMAX + CROSS, X, Y),
        (SIGMOID + BINARY, X, RANDOM.integers(0, 2, (200, 3))),
        (SIGMOID + BINARY, X, RANDOM.uniform(size=(200, 3))),  # as an autoencoder's
        (ONE_BINARY, X, Y > 0),
        (SQUARES, X, X @ np.ones(5)),
        (HIDDEN, X, X @ np.ones(5)),
        ((SOFTMAX + CROSS).replace("x[i]*", "x[i]/255*"), BYTES, Y),
        ((SOFTMAX + CROSS).replace("p[k]", "q[i] = x[i]/255\np[k]", 1).replace("(x[i]*", "(q[i]*"), BYTES, Y),
        # log(1 + exp(p)) is a logarithm, but of no probability
        (
            SIGMOID.replace("sigmoid", "") + "E = mean[k](log(1 + exp(p[k])) - t[k]*p[k])",
            X,
            RANDOM.integers(0, 2, (200, 3)),
        ),
        (SQUARES.replace("(p - t)**2", "p - t*log(p)").replace(" = (", " = exp("), X / 9, RANDOM.poisson(3, 200)),
    ],
)
def test_what_works_says_nothing(text, x, t):
    assert advice(text, x, t) == []


@pytest.mark.parametrize(
    ("text", "x", "t", "said"),
    [
        (SOFTMAX + CROSS, X, np.ones((200, 1)), "a softmax over k, which has size 1, and so always 1: use sigmoid"),
        (SOFTMAX + CROSS, X, RANDOM.integers(0, 2, (200, 3)), "rows of t sum to 0 … 3: use sigmoid"),
        (SOFTMAX + BINARY, X, Y, "log(1 - p), which is for independent answers: use categorical cross entropy"),
        (SIGMOID + CROSS, X, Y, "takes log(p) of the right class only, and p sums to"),
        (SOFTMAX + CROSS.replace("p[k])", "softmax[k](p[k]))"), X, Y, "leave one of the two out"),
        (SQUARES, X * 100 + 30, X[:, 0], "numbers of x are large where they meet the weights"),
        (SOFTMAX + CROSS, BYTES, Y, "numbers of x are not scaled (their mean is"),
        (SOFTMAX + CROSS, BYTES.astype(np.float32), Y, "divide them by 255"),
        (SOFTMAX + CROSS, X, np.ones(200, int), "the target t is the same in all 200 rows"),
    ],
)
def test_what_hardly_works_names_the_fix_and_still_trains(text, x, t, said):
    lines = advice(text, x, t, learning_rate=1e-9)
    assert any(said in line for line in lines), lines


@pytest.mark.parametrize(
    ("text", "t", "came"),
    [
        (ONE_BINARY, Y + 1, "2"),  # integer labels of three classes for one sigmoid
        (ONE_BINARY, 2.0 * (Y > 0) - 1, "-1"),
        (SIGMOID + BINARY, RANDOM.integers(2, 9, (200, 3)), "[2-8]"),
    ],
)
def test_targets_that_a_binary_cross_entropy_has_no_least_value_for(text, t, came):
    with pytest.raises(DataError, match=rf"wants targets from 0 to 1, and row \d+ of t has {came}: for class numbers"):
        formula(text).fit(X, t, verbose=0, engine="interpreter")


def test_a_logarithm_of_an_output_that_comes_to_0_or_above_1():
    net = formula(ONE.format("relu", "-(t*log(p) + (1 - t)*log(1 - p))"))
    with pytest.warns(ChainruleWarning, match=r"takes log\(p\), and p comes to \d.*: end with softmax or sigmoid"):
        with pytest.raises(Diverged):
            net.fit(X, Y > 0, verbose=0, engine="interpreter")


def test_counts_of_classes_may_sum_to_anything():
    """Poisson's loss takes log(p), and p bounds itself."""
    text = HEAD + "p[k] = exp(sum[i](x[i]*W[i, k]))\nE = sum[k](p[k] - t[k]*log(p[k]))"
    assert advice(text, X, Y) == []


def test_a_logarithm_of_an_output_without_activation():
    net = formula(HEAD + "p[k] = sum[i](x[i]*W[i, k])\n" + CROSS)
    with pytest.warns(ChainruleWarning, match=r"takes log\(p\), and p comes to -.*: end with softmax or sigmoid"):
        with pytest.raises(Diverged):
            net.fit(X, Y, verbose=0, engine="interpreter")


def test_the_scale_is_looked_at_where_numbers_meet_the_weights():
    """Not the input's own: a formula may scale it, or blow it up."""
    assert any(
        "x are large" in line for line in advice(SQUARES.replace("(x[i]*", "(400*x[i]*"), X, X[:, 0], learning_rate=0.0)
    )
    known = (
        "input x[i]\ntarget t\nstate m[i], s[i] = zeros\nz[i] = (x[i] - m[i])/s[i]\nparameter w[i] = glorot_uniform\n"
    )
    net = formula(known + "p = sum[i](z[i]*w[i])\nE = (p - t)**2", sizes={"i": 5})
    x = 100 * X + 300
    net.keep({"m": x.mean(axis=0).astype(np.float32), "s": x.std(axis=0).astype(np.float32)})
    assert advice(net, x, X[:, 0]) == []


def test_a_rule_without_a_gradient_minds_no_scale():
    text = (
        "input x[i]\ntarget t\nparameter w[i] = zeros\np = [sum[i](w[i]*x[i]) > 0]\n"
        "E = (p - t)**2\nw[i] <- w[i] + (t - p)*x[i]"
    )
    assert advice(text, 100 * X, X[:, 0] > 0) == []


@pytest.mark.parametrize("engine", ["interpreter", "native"])
def test_a_loss_that_goes_up_names_a_smaller_rate(engine):
    lines = advice(SQUARES, X, X @ np.ones(5), learning_rate=1.5, engine=engine)
    assert len(lines) == 1
    assert "after epoch 1 the loss is" in lines[0]
    assert "try a smaller learning rate (learning_rate=0.15; it was 1.5)" in lines[0]


def test_gradients_that_are_all_zero():
    lines = advice(HIDDEN.replace("glorot_uniform", "zeros").replace("relu", "tanh"), X, X[:, 0])
    assert [line.partition(":")[0].rpartition(",")[0] for line in lines] == [
        "after epoch 1 the loss is what it was at the start"
    ]


def test_dead_units_are_counted():
    net = formula(HIDDEN, sizes={"i": 5})
    net.set_parameters(b=np.where(np.arange(20) < 15, -50.0, 0.0))
    (line,) = advice(net, X, X[:, 0])
    assert line.startswith("15/20 of the units of h are 0 for all of 64 rows")
    assert "leaky_relu" in line


def test_a_second_training_is_not_told_again():
    net = formula(HIDDEN, sizes={"i": 5})
    net.set_parameters(b=np.full(20, -50.0))
    assert advice(net, X, X[:, 0])
    assert advice(net, X, X[:, 0]) == []


def test_advice_can_be_left_out():
    assert advice(SOFTMAX + CROSS, BYTES, Y, advice=False) == []


def test_sparse_tables_are_looked_at_too():
    sparse = pytest.importorskip("scipy.sparse")
    assert any("large" in line for line in advice(SQUARES, sparse.csr_array(X * 100 + 30), X[:, 0], learning_rate=1e-9))


def test_the_smaller_rate_of_a_training_that_diverged():
    with pytest.raises(Diverged, match=r"smaller learning rate \(learning_rate=100, say; it was 1e\+03\)"):
        formula(SQUARES).fit(X, X[:, 0], epochs=50, learning_rate=1e3, verbose=0, engine="interpreter", advice=False)


def test_a_number_beyond_float32_is_no_warning_of_numpy():
    net = formula("input x[i]\ntarget t\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])\nE = (y - t)**2")
    with pytest.raises(Diverged, match="y = sum"):
        net.fit(np.array([[1e39, 2.0], [1.0, 3.0]]), [1.0, 2.0], epochs=1, verbose=0, advice=False)
