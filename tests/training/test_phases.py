"""Dropout, noise and batch normalization: trained by both engines, predicted with, kept, explained."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import ModelFileError
from chainrule.messages import set_language
from chainrule.training.network import Network, formula, load
from tests.training.model_files import parts, write

DROPOUT = """
size j = 20
input x[i]
target t[k], sum[k](t[k]) = 1
parameter W[i, j], V[j, k] = glorot_uniform
parameter b[j], c[k] = zeros
rate = 0.4
h[j] = tanh(sum[i](x[i]*W[i, j]) + b[j])
random m[j] = bernoulli(1 - rate)
random e[j] = normal(0, 0.1)
hd[j] = h[j]*m[j]/(1 - rate) + e[j]
p[k] = softmax[k](sum[j](hd[j]*V[j, k]) + c[k])
E = -sum[k](t[k]*log(p[k]))
prediction hd[j] = h[j]
"""
BATCH_NORM = """
size j = 20
input x[i]
target t[k], sum[k](t[k]) = 1
parameter W[i, j], V[j, k] = glorot_uniform
parameter gain[j] = 1
parameter shift[j], c[k] = zeros
state mu_avg[j] = zeros
state var_avg[j] = 1
a[j] = sum[i](x[i]*W[i, j])
mu[j] = mean[n](a[n, j])
var[j] = mean[n]((a[n, j] - mu[j])**2)
h[j] = tanh(gain[j]*(a[j] - mu[j])/sqrt(var[j] + 0.001) + shift[j])
p[k] = softmax[k](sum[j](h[j]*V[j, k]) + c[k])
E = -sum[k](t[k]*log(p[k]))
prediction mu[j] = mu_avg[j]
prediction var[j] = var_avg[j]
mu_avg[j] <- 0.9*mu_avg[j] + 0.1*mu[j]
var_avg[j] <- 0.9*var_avg[j] + 0.1*var[j]
"""
TEXTS = {"dropout": DROPOUT, "batch normalization": BATCH_NORM}
RNG = np.random.default_rng(5)
X = RNG.normal(size=(50, 7))
T = np.eye(3)[RNG.integers(3, size=50)]


def trained(text: str, dtype: str = "float64", epochs: int = 2, **options: object) -> Network:
    net = formula(text, dtype=dtype, seed=3)
    options = {"batch_size": 16, "optimizer": "momentum", "learning_rate": 0.1, "seed": 11, "verbose": 0, **options}
    net.fit(X, T, epochs=epochs, **options)  # type: ignore[arg-type]
    return net


@pytest.mark.parametrize("name", TEXTS)
def test_both_engines_and_any_number_of_threads(name):
    """Four batches an epoch, the last of two rows."""
    slow = trained(TEXTS[name], engine="interpreter")
    one, two = (trained(TEXTS[name], threads=n) for n in (1, 2))
    for key, wanted in slow.kept.items():
        assert one.kept[key] == pytest.approx(wanted, rel=1e-11, abs=1e-13), key
        assert np.array_equal(one.kept[key], two.kept[key]), key
    assert one.predict(X) == pytest.approx(slow.predict(X), rel=1e-11)


@pytest.mark.parametrize("name", TEXTS)
def test_in_float32(name):
    slow, compiled = (trained(TEXTS[name], "float32", engine=engine) for engine in ("interpreter", "native"))
    for key, wanted in slow.kept.items():
        assert compiled.kept[key] == pytest.approx(wanted, rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize("name", TEXTS)
def test_the_gradients_agree_with_the_complex_step(name):
    net = formula(TEXTS[name], dtype="float64", seed=3)
    found = net.check_gradients(X, T)
    assert found.method == "complex step"
    assert found.ok, found


def test_the_seed_and_the_step_say_what_is_dropped():
    runs = [trained(DROPOUT, epochs=1, shuffle=False, threads=1, seed=seed).kept["W"] for seed in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_training_in_two_parts_is_that_in_one():
    """The number of the step goes on, and with it the masks."""
    whole = trained(DROPOUT, epochs=2, shuffle=False, threads=1)
    parts = trained(DROPOUT, epochs=1, shuffle=False, threads=1)
    options = {"batch_size": 16, "optimizer": "momentum", "learning_rate": 0.1, "seed": 11, "verbose": 0}
    parts.fit(X, T, epochs=1, shuffle=False, threads=1, **options)  # type: ignore[arg-type]
    assert np.array_equal(whole.kept["W"], parts.kept["W"])


def test_dropout_predicts_without_dropping():
    net = trained(DROPOUT, engine="interpreter")
    w = net.parameters
    z = np.tanh(X @ w["W"] + w["b"]) @ w["V"] + w["c"]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert net.predict(X) == pytest.approx(p, rel=1e-12)
    wanted = {"loss": -np.mean(np.log(p[T == 1])), "accuracy": np.mean(p.argmax(axis=1) == T.argmax(axis=1))}
    assert net.evaluate(X, T) == pytest.approx(wanted)


def test_dropout_without_a_prediction_line_takes_the_mean():
    """h·m/(1 - rate) with the mean of m, 1 - rate, is h; the noise has mean 0."""
    text = DROPOUT.replace("prediction hd[j] = h[j]\n", "")
    net = trained(DROPOUT, engine="interpreter")
    other = formula(text, dtype="float64")
    other.set_parameters(net.parameters)
    assert np.array_equal(other.predict(X), net.predict(X))


def test_batch_normalization_predicts_by_its_moving_averages():
    """Averages of the batches' means by hand, for one epoch whose weights do not move."""
    net = trained(BATCH_NORM, epochs=1, learning_rate=0.0, shuffle=False)
    w = net.parameters
    a = X @ w["W"]
    mean, variance = np.zeros(20), np.ones(20)
    for start in range(0, 50, 16):
        batch = a[start : start + 16]
        mean, variance = 0.9 * mean + 0.1 * batch.mean(axis=0), 0.9 * variance + 0.1 * batch.var(axis=0)
    assert net.kept["mu_avg"] == pytest.approx(mean, rel=1e-12)
    assert net.kept["var_avg"] == pytest.approx(variance, rel=1e-12)
    h = np.tanh(w["gain"] * (a - mean) / np.sqrt(variance + 0.001) + w["shift"])
    z = h @ w["V"] + w["c"]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert net.predict(X) == pytest.approx(p, rel=1e-12)
    assert net.predict(X[:1]) == pytest.approx(p[:1], rel=1e-12), "one row is as good as fifty"


def test_averages_read_the_batch_before_the_weights_change():
    """mu of the first batch, whatever the learning rate."""
    nets = [trained(BATCH_NORM, epochs=1, batch_size=50, learning_rate=rate, shuffle=False) for rate in (0.0, 0.5)]
    assert np.array_equal(nets[0].kept["mu_avg"], nets[1].kept["mu_avg"])
    assert not np.array_equal(nets[0].kept["W"], nets[1].kept["W"])


def test_the_model_file_keeps_the_averages(tmp_path):
    net = trained(BATCH_NORM)
    net.save(tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert np.array_equal(again.kept["var_avg"], net.kept["var_avg"])
    assert np.array_equal(again.predict(X), net.predict(X))


def test_a_model_file_without_the_averages_is_refused(tmp_path):
    """They are part of what it computes; and a file may not have anything drawn that it does not hold."""
    path = tmp_path / "net.safetensors"
    trained(BATCH_NORM, engine="interpreter").save(path)
    header, data = parts(path)
    header = {name: entry for name, entry in header.items() if not name.endswith("_avg")}
    at = 0
    kept = b""
    for entry in (e for n, e in header.items() if n != "__metadata__"):
        begin, end = entry["data_offsets"]
        kept += data[begin:end]
        entry["data_offsets"] = [at, at := at + end - begin]
    write(path, header, kept)
    with pytest.raises(ModelFileError, match="mu_avg"):
        load(path)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("name", TEXTS)
def test_the_pages(name, language, tmp_path):
    net = formula(TEXTS[name], dtype="float64", seed=3)
    set_language(language)
    try:
        derivation, explanation = str(net.derivation), str(net.explain(X, T, weight="W[0, 0]"))
        for form in ("html", "md", "tex"):
            net.explain(X, T).save(tmp_path / f"page.{form}")
    finally:
        set_language(None)
    changed = {"dropout": "hdⱼ = hⱼ", "batch normalization": "μⱼ   = μᵃᵛᵍⱼ"}[name]
    assert changed in derivation
    assert changed in explanation
    if name == "dropout":
        assert "∼ Bernoulli(1 − rate)" in explanation
    assert (tmp_path / "page.tex").read_text(encoding="utf-8").count(r"\sim") == (4 if name == "dropout" else 0) // 2


def test_the_derivation_of_batch_normalization_is_the_textbooks():
    """Ioffe and Szegedy's equations: the way through var over mu sums deviations from the mean, and is gone."""
    shown = str(formula(BATCH_NORM).derivation)
    assert "Σₙ aₙⱼ − μⱼ N" in shown, "the factor ∂var/∂μ as it is derived"
    (equation,) = [e for e in formula(BATCH_NORM).derivation.backward if e.target.tensor == "dE_dmu"]
    assert "var_avg" not in str(equation)
    assert "dE_dvar" not in str(equation)


def test_the_printed_program_draws_the_same_and_predicts_the_same():
    from chainrule.interfaces.show import as_numpy

    for text in TEXTS.values():
        net = formula(text, dtype="float64", seed=3, sizes={"i": 7, "k": 3})
        names: dict[str, object] = {}
        exec(compile(as_numpy(net, "momentum"), "printed", "exec"), names)
        given = names["train"](X, T, epochs=2, batch_size=16, seed=3)  # type: ignore[operator]
        net = trained(text, engine="interpreter", learning_rate=None, seed=3)
        for (name, wanted), value in zip(net.parameters.items(), given, strict=True):
            assert value == pytest.approx(wanted, rel=1e-9, abs=1e-12), name
        groups = [tuple(net.parameters.values())]
        if "state" in text:
            groups.append(tuple(a for n, a in net.kept.items() if n not in net.parameters))
        assert names["predict"](*groups, X) == pytest.approx(net.predict(X), rel=1e-12)  # type: ignore[operator]


def test_a_loss_that_is_lost_is_found_in_the_step_that_drew_it():
    """What a network is told must come from the very numbers that were drawn."""
    from chainrule.errors import Diverged

    text = "input x\nparameter w = 1\nrandom m = bernoulli(0.5)\ny = w*x\nq = y/m\nE = q**2"
    net = formula(text, dtype="float64")
    with pytest.raises(Diverged) as caught:
        net.fit(np.ones(40), epochs=1, batch_size=20, learning_rate=0.1, verbose=0, threads=1)
    assert caught.value.step == 1
    assert caught.value.equation.startswith("q =")
