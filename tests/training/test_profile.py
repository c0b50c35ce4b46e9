"""fit(profile=True): every function of the step has its row, and the rows add up."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule.errors import SettingError
from chainrule.messages import set_language
from chainrule.training.network import formula
from tests.training.test_loop import SMALL, blobs


@pytest.fixture(autouse=True)
def _known_machine(monkeypatch):
    """A machine of round numbers: nothing is measured, nothing depends on load."""
    from chainrule.kernels import profile

    monkeypatch.setattr(profile, "peak_flops", lambda dtype, threads: threads * 1e11)
    monkeypatch.setattr(profile, "bandwidth", lambda size, dtype, threads: 1e10)
    monkeypatch.setenv("COLUMNS", "150")
    set_language("en")
    yield
    set_language(None)


def profiled(x, t, **options):
    net = formula(SMALL)
    history = net.fit(x, t, batch_size=32, verbose=0, profile=True, **options)
    return net, history


@pytest.mark.parametrize("threads", [1, 2])
def test_every_function_has_a_row_and_the_rows_add_up(threads):
    x, t = blobs(300, 40)
    _, history = profiled(x, t, epochs=3, optimizer="rmsprop", threads=threads)
    profile = history.profile
    assert profile.steps == 3 * 10
    assert profile.samples == 30
    assert profile.threads == threads
    parts = [row.part for row in profile.rows]
    assert parts[0] == "gather"
    assert parts[-2:] == ["waiting", "between"]
    assert all(row.formulas and row.kind in ("tiles", "sparse", "vectors", "loops") for row in profile.rows[1:-2])
    assert all(row.seconds >= 0 for row in profile.rows)
    # "between" takes what the others leave; the counter's rate, measured apart, may be off a little.
    assert sum(row.seconds for row in profile.rows) == pytest.approx(profile.seconds, rel=0.3)
    product = 2 * 30 * (40 * 33 + 33 * 3)
    assert 2 * product < profile.flops < 3 * product  # forward, gradients, and some for each entry
    assert profile.flops == profile.dense_flops
    assert profile.floor_seconds == pytest.approx(sum(row.floor_seconds for row in profile.rows))


def test_measuring_changes_no_bit():
    x, t = blobs(100)
    net, _ = profiled(x, t, epochs=2)
    plain = formula(SMALL)
    assert plain.fit(x, t, epochs=2, batch_size=32, verbose=0).profile is None
    for name, value in plain.parameters.items():
        assert np.array_equal(value, net.parameters[name])


def test_a_sparse_input_tells_both_counts():
    x, t = blobs(200, 64)
    x[np.random.default_rng(1).random(x.shape) < 0.9] = 0
    profile = profiled(x, t)[1].profile
    (row,) = (row for row in profile.rows if row.kind == "sparse" and "x[i]*W1[i, j]" in row.formulas[0])
    assert row.work.dense_flops - row.work.flops == pytest.approx((1 - (x != 0).mean()) * 2 * (200 / 7) * 64 * 33)
    assert profile.share_of_dense_floor > profile.flops / profile.peak_flops / profile.seconds


def test_work_that_runs_as_plain_loops_is_told():
    """A product over a permuted pair of indices of one tensor is no matrix product."""
    text = "input x[i, j]\nparameter w[j, i] = normal(0, 1)\ny = sum[i, j](x[i, j]*w[j, i]*exp(w[j, i]))\nE = y**2"
    net = formula(text)
    x = np.random.default_rng(0).normal(size=(20, 3, 4))
    profile = net.fit(x, epochs=1, learning_rate=1e-3, verbose=0, profile=True).profile
    assert 0 <= profile.share_of_loops <= 1
    loops = sum(row.work.flops for row in profile.rows if row.kind == "loops")
    assert profile.share_of_loops == pytest.approx(loops / profile.flops)


def test_json_holds_every_row():
    x, t = blobs(64)
    profile = profiled(x, t)[1].profile
    data = json.loads(json.dumps(profile.to_dict(), allow_nan=False))
    assert [row["part"] for row in data["rows"]] == [row.part for row in profile.rows]
    assert {
        "seconds",
        "flops",
        "dense_flops",
        "bytes",
        "flops_per_second",
        "share_of_floor",
        "formulas",
        "kind",
    } <= set(data["rows"][1])
    assert data["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("tongue", "words"), [("en", ["gather the batch", "a step"]), ("ko", ["배치 모으기", "한 단계"])]
)
def test_the_table_shows_equations(tongue, words):
    x, t = blobs(64)
    profile = profiled(x, t)[1].profile
    set_language(tongue)
    text = str(profile)
    for word in [*words, "sum[i](x[i]*W1[i, j]) + b1[j]", "step_1_", "%"]:
        assert word in text
    assert "\x1b" not in text


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_equations_give_way_where_there_is_little_room_and_numbers_never(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    x, t = blobs(64)
    profile = profiled(x, t)[1].profile
    text = str(profile)
    assert max(map(len, text.splitlines())) <= columns
    for row in profile.rows:
        assert f" {1e6 * row.seconds:,.1f}" in text
        assert f" {row.work.flops / 1e6:,.3f}" in text or not row.work.flops


def test_the_interpreter_has_no_parts_to_time():
    x, t = blobs(20)
    with pytest.raises(SettingError, match="engine='interpreter'"):
        formula(SMALL).fit(x, t, engine="interpreter", profile=True, verbose=0)


def test_no_epoch_no_profile():
    x, t = blobs(20)
    assert profiled(x, t, epochs=0)[1].profile is None
