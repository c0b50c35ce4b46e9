"""Trainings that are really killed: they go on, and end with the bits of one that was never interrupted."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.interfaces.cli import main
from tests.killed import arrays, history, start, steps_kept, wait_for

PENGUINS = Path(__file__).parents[2] / "examples" / "penguins.csv"
# All that keeps a state from step to step or epoch to epoch.
DIGITS = (
    "mnist", "--rows", "600", "--validation", "0.2", "--batch-size", "8", "--hidden", "8", "--epochs", "8",
    "--dropout", "0.2", "--schedule", "cosine", "--learning-rate", "0.01", "--clip-norm", "1", "--ema", "0.9",
    "--early-stopping", "50", "--optimizer", "adam", "--seed", "3",
)  # fmt: skip
TABLE = (PENGUINS, "--target", "species", "--batch-size", "8", "--epochs", "60", "--batch-norm", "--early-stopping", 5)
OFTEN = ("--checkpoint-every", "7 steps")
RARELY = ("--checkpoint-every", "never")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The digits' training, never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train(*DIGITS, *RARELY, "--out", folder) == 0
    return folder


def train(*arguments: object) -> int:
    return main(["train", *map(str, arguments)])


def note(run: str) -> dict[str, object]:
    return json.loads(Path(run, "run.json").read_text(encoding="utf-8"))


def same(run: Path | str, whole: Path) -> bool:
    return arrays(run) == arrays(whole) and history(run) == history(whole)


def test_a_killed_training_goes_on_to_the_same_bits(whole):
    with start("train", *DIGITS, *OFTEN, "--out", "run") as running:
        wait_for(running, lambda: steps_kept("run") >= 200)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    assert note("run")["finished"] is False
    assert not Path("run/model.safetensors").exists()
    assert train("--resume", "run") == 0
    assert same("run", whole)
    assert note("run")["finished"] is True
    assert [row["epoch"] for row in history("run")] == [str(n + 1) for n in range(8)]
    assert Path("run/curves.png").stat().st_size > 1000
    assert main(["reproduce", "run"]) == 0


@pytest.mark.soak
def test_a_training_that_is_ended_again_and_again(whole):
    """Killed before its first checkpoint; then by each signal, with everything saved."""
    with start("train", *DIGITS, *RARELY, "--out", "run") as running:
        wait_for(running, Path("run/run.json").exists)
        running.kill()
    assert steps_kept("run") == -1
    for steps, number, code in ((50, signal.SIGTERM, 143), (150, signal.SIGHUP, 129), (300, signal.SIGINT, 130)):
        with start("train", "--resume", "run", *OFTEN, "--threads", "1") as running:
            wait_for(running, lambda steps=steps: steps_kept("run") >= steps)
            running.send_signal(number)
            _, err = running.communicate(timeout=120)
        assert (running.returncode, "Traceback" in err) == (code, False)
        assert "the weights are kept" in err
        assert (note("run")["interrupted"], note("run")["finished"]) == (True, False)
        cr.load("run/model.safetensors")
    assert train("--resume", "run") == 0
    assert same("run", whole)
    assert [part["how"] for part in note("run")["parts"]] == [None, *["interrupted"] * 3, "ended"]


def test_a_table_with_early_stopping():
    assert train(*TABLE, *RARELY, "--out", "whole") == 0
    with start("train", *TABLE, *OFTEN, "--out", "run") as running:
        wait_for(running, lambda: steps_kept("run") >= 60)
        running.kill()
    assert train("--resume", "run") == 0
    assert same("run", Path("whole"))
    assert note("run")["stopped_early"] is True
    assert note("run")["best_epoch"] == note("whole")["best_epoch"]


def test_a_second_training_in_the_folder_is_refused(capsys):
    with start("train", *DIGITS, *OFTEN, "--out", "run") as running:
        wait_for(running, lambda: steps_kept("run") >= 7)
        for other in (["mnist", "--rows", "100", "--epochs", "1", "--out", "run"], ["--resume", "run"]):
            capsys.readouterr()
            assert train(*other) == 1
            assert f"run is being written by another training (process {running.pid} on " in capsys.readouterr().err
        assert running.poll() is None
        running.kill()
    assert not Path("run-2").exists()
