"""Records become medians, ratios, shares and flags."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.cases import CASES
from benchmarks.growth import draw as draw_growth
from benchmarks.growth import sweep_text
from benchmarks.picture import draw
from benchmarks.report import agrees, case_text, duration, keep, ratio, share, summary
from benchmarks.runner import Entry, record

MACHINE = {"cpu": "a processor", "cores": 2, "vectors": "avx2"}
VERSIONS = {"python": "3", "pytorch": "2", "jax": "0"}
GOOD = {"loss": 0.07, "accuracy": 0.98}


def record_of(name: str = "A", **seconds: list[float]) -> dict[str, Any]:
    """A record in which every side took these seconds and reached the same."""
    entries = [Entry(side, 1, seconds=times, reached=dict(GOOD)) for side, times in seconds.items()]
    limits = {"flops_1": [1e11], "flops_all": [2e11], "read": [5e10], "copy_1": [1e10], "copy_all": [1e10]}
    return record(CASES[name], 3, entries, limits)


@pytest.fixture
def found():
    return record_of(chainrule=[0.002, 0.001, 0.004], pytorch=[0.009, 0.012, 0.010], jax=[0.005] * 3)


def test_ratios_are_of_medians(found):
    assert ratio(found, "pytorch") == pytest.approx(5.0)
    assert ratio(found, "jax") == pytest.approx(2.5)
    assert ratio(found, "keras") is None


def test_share_of_the_floor(found):
    assert share(found) == pytest.approx(60_000 / 469 * 1_636_352 / 2e11 / 0.002, rel=1e-3)


def test_the_best_setting_of_threads_counts():
    entries = [
        Entry("chainrule", None, seconds=[1.0], reached=dict(GOOD)),
        Entry("pytorch", 1, seconds=[3.0], reached=dict(GOOD)),
        Entry("pytorch", 2, seconds=[2.0], reached=dict(GOOD)),
    ]
    found = record(CASES["A"], 1, entries, {"flops_1": [1.0], "flops_all": [1.0], "read": [1.0]})
    assert found["sides"]["pytorch"]["threads"] == 2
    assert found["sides"]["pytorch"]["tried"] == {"1": [3.0], "2": [2.0]}


def test_disagreement_is_flagged(found):
    assert agrees(found, "pytorch")
    found["sides"]["pytorch"]["accuracy"] = 0.96
    assert not agrees(found, "pytorch")
    assert "pytorch DISAGREES" in case_text(found)
    found["sides"]["pytorch"]["differs"] = "another optimizer"
    assert agrees(found, "pytorch")


def test_a_busy_machine_is_told(found):
    found["cores"] = 2
    assert "other work" not in case_text(found)
    found["limits"]["flops_all"] = [1.1e11]
    assert "other work" in case_text(found)


def test_predictions_agree_closely():
    found = record_of("predict-1", chainrule=[1e-5], pytorch=[5e-5])
    found["sides"]["pytorch"]["loss"] = 0.0702
    assert not agrees(found, "pytorch")


def test_a_side_that_fails_is_told(found):
    found["sides"]["jax"] = {"error": "no module named jax"}
    text = case_text(found)
    assert "jax FAILED: no module named jax" in text
    assert ratio(found, "jax") is None


def test_goals_are_judged(found):
    lines = {line.split()[0]: line for line in case_text(found).splitlines() if line.startswith(("pytorch", "jax "))}
    assert "5× reached" in lines["pytorch"]
    assert "3× not yet" in lines["jax"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(123.4, "123 s"), (1.0, "1.00 s"), (0.0123, "12.3 ms"), (5.36e-5, "53.6 µs"), (4e-7, "0.40 µs")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_records_of_one_machine_are_kept_together(found, tmp_path):
    path = tmp_path / "latest.json"
    keep(path, found, MACHINE, VERSIONS)
    both = keep(path, record_of("C", chainrule=[1.0]), MACHINE, VERSIONS)
    assert list(both["cases"]) == ["A", "C"]
    assert json.loads(path.read_text(encoding="utf-8")) == both
    elsewhere = keep(path, found, MACHINE | {"cores": 4}, VERSIONS)
    assert list(elsewhere["cases"]) == ["A"]


def test_summary_names_machine_and_versions(found):
    text = summary({"machine": MACHINE, "versions": VERSIONS, "cases": {"A": found}})
    assert "5.00× (goal 5×)" in text
    assert "cpu a processor" in text


def test_pictures(found, tmp_path):
    draw({"machine": MACHINE, "versions": VERSIONS, "cases": {"A": found}}, tmp_path)
    points = [
        {"sweep": "width", "value": 32 * n, "threads": threads, "seconds_per_step": 1e-3, "seconds_per_sample": 1e-5}
        | {"flops_per_second": 1e11, "memory_bytes": 2**20}
        for n in (1, 2)
        for threads in (1, 2)
    ]
    draw_growth(points, tmp_path)
    assert "100" in sweep_text("width", points)
    for name in ("bench.svg", "bench.png", "growth.svg", "growth.png"):
        assert (tmp_path / name).stat().st_size > 1_000
