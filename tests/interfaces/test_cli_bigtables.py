"""The command line on tables that are larger than --memory: the same answers, in pieces."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import chainrule as cr
from chainrule.data import bigtables
from chainrule.interfaces.cli import main
from chainrule.interfaces.material import material_for
from chainrule.interfaces.options import TrainOptions
from tests.data.test_bigtables import ROWS, as_parquet, mixed

SLOW = ("--engine", "interpreter", "--hidden", "4", "--batch-size", "128")
SMALL = ("--memory", "1MiB")
LARGE = ("--memory", "1GB")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Runs go to a folder of the test's own. A table of 3,000 rows counts as large, and is read in pieces of 256."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bigtables, "PIECE_ROWS", 256)
    as_parquet(mixed(), Path("mixed.parquet"))


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def train(capsys, *arguments: object, out: str = "run") -> tuple[str, str]:
    code, printed, told = call(capsys, "train", "mixed.parquet", *SLOW, "--out", out, *arguments)
    assert code == 0, told
    return printed, told


def weights(run: str) -> dict[str, np.ndarray]:
    return load_file(f"{run}/model.safetensors")


def test_a_table_larger_than_the_memory_is_learned(capsys):
    printed, told = train(capsys, "--target", "kind", "--epochs", 8, "--learning-rate", 0.01, *SMALL)
    assert "mixed.parquet would take about " in told
    assert "MB in memory, more than the 1.05 MB that it may (--memory)" in told
    assert "its 3000 rows were written once as numbers" in told
    note = json.loads(Path("run/run.json").read_text())
    assert note["in_pieces"] is True
    tested = int(re.search(r"test, (\d+) rows", printed)[1])
    # Of each class whole thousands are split to the row; of the rest at random.
    assert (abs(note["samples"] - 2400) < 60, abs(tested - 300) < 40) == (True, True)
    assert note["test"]["accuracy"] > 0.9
    assert [p for p in Path("cache").rglob("*") if p.name.startswith("rows-")] == []


def test_the_weights_are_those_of_the_same_rows_in_memory(capsys):
    """The streamed training beside fit on arrays that were made from the whole table, with the same rows."""
    train(capsys, "--target", "y", "--epochs", 3, "--early-stopping", 0, *SMALL)
    options = TrainOptions("mixed.parquet", target="y", memory="1MiB", hidden="4", engine="interpreter")
    material = material_for(options)
    ids = mixed()["number"].to_numpy()
    trained = [b["raw"][:, 0] for b in material.training.blocks(None)]
    rows = np.flatnonzero(np.isin(ids.astype(np.float32), np.concatenate(trained)))
    assert len(rows) == material.samples == len(np.unique(ids.astype(np.float32)[rows]))
    whole = material_for(TrainOptions("mixed.parquet", target="y", memory="1GB", hidden="4"))
    every = cr.formula(Path("run/network.formula").read_text())
    from chainrule.data.tables import read_table
    from chainrule.interfaces.tabular import inputs_of

    layout = material.layout
    table = read_table("mixed.parquet")
    arrays = {n: a[rows] for n, a in inputs_of(whole.network, layout, table).items()}
    target = layout.targets(table)[0][rows]
    every.fit(arrays, t=target, epochs=3, batch_size=128, optimizer="adam", engine="interpreter", verbose=0, metrics=())
    found = weights("run")
    for name, value in every.parameters.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_predictions_are_those_of_the_table_in_memory(capsys):
    train(capsys, "--target", "kind", "--epochs", 2, *SMALL)
    model = "run/model.safetensors"
    assert call(capsys, "predict", model, "mixed.parquet", "--out", "small.csv", *SMALL)[0] == 0
    assert call(capsys, "predict", model, "mixed.parquet", "--out", "large.csv", *LARGE)[0] == 0
    small, large = (list(csv.DictReader(io.StringIO(Path(f).read_text()))) for f in ("small.csv", "large.csv"))
    assert [r["row"] for r in small] == [str(k + 1) for k in range(ROWS)]
    assert [r["prediction"] for r in small] == [r["prediction"] for r in large]
    np.testing.assert_allclose([float(r["p(yes)"]) for r in small], [float(r["p(yes)"]) for r in large], rtol=1e-5)
    printed = call(capsys, "predict", model, "mixed.parquet", "--json", "--index", "2999,5..7", *SMALL)[1]
    records = json.loads(printed)
    assert [r["row"] for r in records] == [6, 7, 8, 3000]
    assert [r["prediction"] for r in records] == [large[r["row"] - 1]["prediction"] for r in records]
    assert json.loads(call(capsys, "predict", model, "mixed.parquet", "--json", *SMALL)[1])[ROWS - 1]["row"] == ROWS


def test_an_evaluation_is_that_of_the_table_in_memory(capsys):
    train(capsys, "--target", "y", "--epochs", 2, *SMALL)
    found = [
        json.loads(call(capsys, "evaluate", "run/model.safetensors", "mixed.parquet", "--json", *memory)[1])
        for memory in (SMALL, LARGE)
    ]
    assert found[0]["samples"] == found[1]["samples"] == int(mixed()["y"].notna().sum())
    for name in ("loss", "mae", "rmse", "r2"):
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-5)


def test_rows_and_files_beside_the_table(capsys):
    as_parquet(mixed(2500, seed=5), Path("other.parquet"))
    printed, _ = train(capsys, "--target", "kind", "--epochs", 1, "--rows", 1000, "--test", "other.parquet", *SMALL)
    note = json.loads(Path("run/run.json").read_text())
    assert abs(note["samples"] - 900) < 30
    assert "test, 2500 rows" in printed


def test_a_class_weight_knows_how_often_the_classes_come(capsys):
    train(capsys, "--target", "kind", "--epochs", 1, "--class-weight", "balanced", *SMALL)
    assert np.isfinite(json.loads(Path("run/run.json").read_text())["train"]["loss"])


def test_a_run_goes_on_under_another_memory_to_the_same_bits(capsys):
    train(capsys, "--target", "kind", "--epochs", 4, "--early-stopping", 0, *SMALL, out="whole")
    train(capsys, "--target", "kind", "--epochs", 2, "--early-stopping", 0, *SMALL, out="parts")
    code, _, told = call(capsys, "train", "--resume", "parts", "--epochs", 4, *LARGE)
    assert code == 0, told
    whole, parts = weights("whole"), weights("parts")
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_numpy_files(capsys, kind):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 8)).astype(np.float32)
    y = x[:, 0] * 2 - x[:, 3]
    if kind == "npy":
        np.save("big.npy", np.column_stack([x, y]))
    else:
        np.savez("big.npz", x=x, y=y)
    code, _, told = call(
        capsys, "train", f"big.{kind}", *SLOW, "--epochs", 12, "--learning-rate", 0.01, "--out", "run", *SMALL
    )
    assert code == 0, told
    assert f"big.{kind} would take about 1.15 MB in memory" in told
    assert json.loads(Path("run/run.json").read_text())["test"]["r2"] > 0.8


def test_wrong_values_are_one_line(capsys):
    frame = mixed()
    frame.loc[2345, "number"] = np.inf
    as_parquet(frame, Path("bad.parquet"))
    code, printed, told = call(capsys, "train", "bad.parquet", "--target", "kind", *SMALL)
    assert (code, printed) == (1, "")
    assert told == "bad.parquet, row 2346, column number: inf is not finite: correct it or leave it empty\n"
    for large, message in ((1e300, "too large to be scaled"), (1e40, "too large for float32")):
        frame.loc[2345, "number"] = large
        as_parquet(frame, Path("bad.parquet"))
        code, _, told = call(capsys, "train", "bad.parquet", "--target", "kind", *SMALL)
        assert code == 1
        assert f"row 2346, column number: {large} is {message}" in told.splitlines()[-1]


def test_a_wrong_value_leaves_the_old_answers(capsys):
    train(capsys, "--target", "kind", "--epochs", 1, *SMALL)
    frame = mixed()
    frame["text_number"] = [*frame["text_number"][:-1], "what"]
    as_parquet(frame, Path("bad.parquet"))
    Path("answers.csv").write_text("old")
    code, _, told = call(capsys, "predict", "run/model.safetensors", "bad.parquet", "--out", "answers.csv", *SMALL)
    assert code == 1
    assert told.startswith("bad.parquet, row 3000, column text_number: 'what' is not a finite number")
    assert Path("answers.csv").read_text() == "old"
    assert sorted(p.name for p in Path().glob(".answers*")) == []


def test_text_that_does_not_fit_is_told_how_to_become_a_parquet_file(capsys):
    pd.DataFrame({"x": np.arange(60_000.0), "y": np.arange(60_000) % 2}).to_csv("t.csv", index=False)
    code, _, told = call(capsys, "train", "t.csv", "--memory", "2MB")
    assert code == 1
    assert "t.csv would take about" in told
    assert "parquet.ParquetWriter('t.parquet'" in told


def test_a_memory_that_is_none_is_one_line(capsys):
    for wrong in ("many", "1KB"):
        code, _, told = call(capsys, "train", "mixed.parquet", "--memory", wrong)
        assert (code, told.count("\n")) == (1, 1)
        assert 'a size such as "512MB"' in told
