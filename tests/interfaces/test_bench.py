"""`chainrule bench`: that it measures what it says, on a small scale. How fast anything is, no test says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule.interfaces import bench
from chainrule.interfaces.build import Design, network_text
from chainrule.interfaces.cli import main
from chainrule.training.network import formula


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"ROWS": 256, "EPOCHS": 1, "REPEATS": 1, "PREDICTED": 20, "ONE_ROW_CALLS": 2}.items():
        monkeypatch.setattr(bench, name, value)
    monkeypatch.setattr(bench, "Design", lambda: Design(hidden=(16,)))
    monkeypatch.setattr(bench, "peak_flops", lambda dtype, threads=2: threads * 1e11)
    monkeypatch.setattr(bench, "bandwidth", lambda size, dtype, threads=2: threads * 1e10)
    monkeypatch.setenv("CHAINRULE_LANG", "en")
    monkeypatch.setenv("COLUMNS", "100")


def test_json_has_machine_versions_limits_and_cases(capsys):
    assert main(["bench", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) == {"machine", "versions", "limits", "cases"}
    assert "features" not in data["machine"]
    assert {"chainrule", "numpy", "llvmlite"} <= set(data["versions"])
    names = [case["name"] for case in data["cases"]]
    assert names == ["train_digits", "train_normal", "predict_one", "predict_many"]
    for case in data["cases"]:
        assert case["seconds"] > 0
        assert case["flops_per_second"] == pytest.approx(case["flops"] / case["seconds"])
        assert case["share_of_floor"] == pytest.approx(case["floor_seconds"] / case["seconds"])
    one, many = data["cases"][2:]
    assert many["flops"] == pytest.approx(20 * one["flops"])


@pytest.mark.parametrize(("tongue", "words"), [("en", "prediction of one digit"), ("ko", "숫자 이미지 1개 예측")])
def test_the_table_has_a_row_a_case(capsys, tongue, words):
    assert main(["bench", "--lang", tongue]) == 0
    out, err = capsys.readouterr()
    assert words in out
    assert "GFLOP/s" in out
    assert err.count("\n") == 1


def test_flops_are_those_of_the_formulas():
    network = formula(network_text(Design(hidden=(16,))), sizes={"i": 100, "k": 10})
    products = 2 * (100 * 16 + 16 * 10)
    flops = bench._prediction_flops(network, 7)
    assert 7 * products < flops < 1.2 * 7 * products


def test_times_are_shown_in_units_that_read_well():
    assert bench._shown_time(0.00123456) == "1.235 ms"
    assert bench._shown_time(0.0000123456) == "12.3 µs"
    assert np.isfinite(bench._median_seconds(lambda: None))
