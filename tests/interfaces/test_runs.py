"""Run folders: what is in them, what they can be gone on with, what reproduces them."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from chainrule.errors import FileError
from chainrule.interfaces.cli import main
from chainrule.interfaces.options import TrainOptions
from chainrule.interfaces.records import fingerprint, read_record, recorded_options
from chainrule.training import files as files_module
from chainrule.training.locks import hold
from tests.killed import arrays, history

ROWS = "x1,x2,y\n" + "".join(f"{n % 7},{n % 5},{'yes' if n % 7 > n % 5 else 'no'}\n" for n in range(60))
QUICK = ("--hidden", "3", "--epochs", "3", "--engine", "interpreter", "--batch-size", "16", "--early-stopping", "0")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")
    Path("rows.csv").write_text(ROWS)


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that came to its end."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("rows.csv").write_text(ROWS)
        assert main(["train", "rows.csv", *QUICK, "--out", "run"]) == 0
    return folder / "run"


@pytest.fixture
def run(trained) -> Path:
    """The same, as if it had been made here."""
    shutil.copytree(trained, "run")
    change(Path("run"), working_folder=os.getcwd())
    return Path("run")


def note(folder: Path | str) -> dict[str, object]:
    return json.loads(Path(folder, "run.json").read_text(encoding="utf-8"))


def change(folder: Path, **values: object) -> None:
    Path(folder, "run.json").write_text(json.dumps({**note(folder), **values}))


# --- what is in the folder --------------------------------------------------------------------------------------------


def test_the_note_says_what_made_the_run(run):
    own = note(run)
    assert own["command"][:3] == ["chainrule", "train", "rows.csv"]
    assert own["working_folder"] == os.getcwd()
    assert own["finished"] is True
    assert set(own["versions"]) >= {"python", "chainrule", "numpy", "llvmlite", "pyarrow"}
    assert set(own["machine"]) == {"cpu", "vector_bytes", "cores", "system"}
    (data,) = own["data_files"]
    assert (data["path"], data["bytes"], len(data["fingerprint"])) == ("rows.csv", len(ROWS), 64)
    assert [(part["how"], part["epochs"]) for part in own["parts"]] == [("ended", 3)]
    assert own["started"] <= own["parts"][0]["ended"]


def test_the_note_is_there_while_it_trains(monkeypatch, capsys):
    from chainrule.training.network import Network

    seen = {}
    fit = Network.fit

    def look(self, *data, **options):
        seen.update(note("run"), files={p.name for p in Path("run").iterdir()})
        return fit(self, *data, **options)

    monkeypatch.setattr(Network, "fit", look)
    assert call(capsys, "train", "rows.csv", *QUICK, "--seed", "5", "--out", "run")[0] == 0
    assert (seen["finished"], seen["seed"], seen["parts"][0]["how"]) == (False, 5, None)
    assert {"run.json", "network.formula"} <= seen["files"]


def test_the_options_come_back_as_they_were_given(capsys):
    options = ("--set", "beta_1=0.8", "--optimizer", "adam", "--l2", "0.1", "--batch-norm", "--test", "rows.csv")
    assert call(capsys, "train", "rows.csv", *QUICK, *options, "--out", "run")[0] == 0
    back = recorded_options(read_record(Path("run")), Path("run"))
    assert (back.settings, back.optimizer, back.l2, back.batch_norm) == (("beta_1=0.8",), "adam", 0.1, True)
    assert (back.hidden, back.epochs, back.batch_size, back.learning_rate) == ("3", 3, 16, None)
    assert (back.data, back.test) == (str(Path("rows.csv").resolve()), Path("rows.csv").resolve())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"asked": None}, "an older version wrote it"),
        ({"epochs": 2, "hidden": 3}, "is not what chainrule writes"),
        ({"batch_norm": 1}, "is not what chainrule writes"),
        ({"settings": [1]}, "is not what chainrule writes"),
        ({"data": None}, "is not what chainrule writes"),
    ],
)
def test_a_note_of_wrong_types_is_refused(run, capsys, changes, error):
    change(run, **changes)
    code, _, err = call(capsys, "train", "--resume", run, "--epochs", "9")
    assert (code, error in err, "\n" in err.rstrip()) == (1, True, False)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"[]", b"\xff\xfe", b"3"])
def test_a_damaged_note_is_refused(run, capsys, content):
    Path(run, "run.json").write_bytes(content)
    for command in (("train", "--resume", run), ("reproduce", run)):
        code, _, err = call(capsys, *command)
        assert (code, err) == (1, "run/run.json is not what chainrule writes: it cannot be gone on with\n")


def test_a_run_that_reached_nothing_leaves_no_folder(capsys):
    code, _, err = call(capsys, "train", "rows.csv", *QUICK, "--optimizer", "nonsense", "--out", "run")
    assert (code, "nonsense" in err) == (1, True)
    assert not Path("run").exists()


@pytest.mark.filterwarnings("default")
def test_a_run_whose_weights_never_found_room_can_begin_anew(capsys, monkeypatch, trained):
    """The disk has room for small files only."""
    real = files_module.write_bytes

    def write_bytes(path: Path, content: bytes) -> None:
        if path.suffix == ".safetensors":
            raise FileError(f"{path} cannot be written: No space left on device")
        real(path, content)

    for module in ("checkpoint_file", "save"):
        monkeypatch.setattr(f"chainrule.training.{module}.write_bytes", write_bytes)
    code, _, err = call(capsys, "train", "rows.csv", *QUICK, "--out", "run")
    assert (code, "run/model.safetensors cannot be written" in err) == (1, True)
    assert "this checkpoint could not be written" in err
    monkeypatch.setattr("chainrule.training.checkpoint_file.write_bytes", real)
    monkeypatch.setattr("chainrule.training.save.write_bytes", real)
    code, _, err = call(capsys, "train", "--resume", "run")
    assert (code, "run has no checkpoint: the run begins with its first step" in err) == (0, True)
    assert Path("run/model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_the_fingerprint_of_a_folder_is_that_of_its_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "cats").mkdir(parents=True)
        (tmp_path / name / "cats" / "1.png").write_bytes(b"1")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    (tmp_path / "b" / "cats" / "1.png").rename(tmp_path / "b" / "cats" / "2.png")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


# --- --resume ---------------------------------------------------------------------------------------------------------


def test_more_epochs_are_those_of_a_longer_training(run, capsys):
    code, out, err = call(capsys, "train", "--resume", run, "--epochs", "7", "--keep", "1")
    assert (code, "resumed from run/checkpoints/" in err) == (0, True)
    longer = [*QUICK, "--epochs", "7"]
    assert call(capsys, "train", "rows.csv", *longer, "--out", "whole")[0] == 0
    assert arrays(run) == arrays("whole")
    assert history(run) == history("whole")
    assert note(run)["epochs_done"] == 7
    assert len(list(run.glob("checkpoints/*"))) == 1
    code, out, _ = call(capsys, "reproduce", run)
    assert (code, out.splitlines()[-1]) == (0, f"identical: {len(arrays(run))} arrays")


def test_another_machine_is_told(run, capsys):
    change(run, machine={**note(run)["machine"], "vector_bytes": 1})
    code, _, err = call(capsys, "train", "--resume", run, "--epochs", "4")
    assert code == 0
    assert "may differ in their last bits from a run that was never interrupted: vector_bytes: 1 then, " in err


def test_a_complete_run_says_so(run, capsys):
    code, out, _ = call(capsys, "train", "--resume", run)
    assert (code, out) == (0, "run: nothing to do, all 3 epochs are done: use --epochs 12 to go further\n")
    code, out, err = call(capsys, "train", "--resume", run, "--epochs", "2", "--json")
    assert (code, json.loads(out)["epochs"], "nothing to do" in err) == (0, 3, True)


def test_an_option_that_makes_it_another_run_is_refused(run, capsys):
    for more in (("--hidden", "4"), ("--seed", "0"), ("--out", "there"), ("--set", "a=1")):
        code, _, err = call(capsys, "train", "--resume", run, "--epochs", "9", *more)
        assert (code, err.startswith(f"{more[0]} came together with --resume: ")) == (1, True)
        assert "only --epochs, --threads, --memory, " in err
    code, _, err = call(capsys, "train", "rows.csv", "--resume", run)
    assert (code, err.startswith("DATA came together with --resume: ")) == (1, True)


def test_fewer_epochs_than_are_begun_are_refused(run, capsys):
    change(run, finished=False)
    code, _, err = call(capsys, "train", "--resume", run, "--epochs", "2")
    assert (code, err) == (1, "--epochs came as 2, and 3 epochs are begun already: give as many or more\n")


@pytest.mark.parametrize(
    ("content", "error"),
    [(ROWS + "1,1,no\n", "has 467 bytes, and had 460"), (ROWS.replace("6,1,yes", "5,1,yes"), "has other content (")],
)
def test_data_that_changed_are_refused(run, capsys, content, error):
    Path("rows.csv").write_text(content)
    code, _, err = call(capsys, "train", "--resume", run, "--epochs", "9")
    assert code == 1
    assert "the data are not those that the run was begun with: " in err.splitlines()[-1]
    assert f"rows.csv {error}" in err


def test_data_that_are_gone_are_named(run, capsys):
    Path("rows.csv").unlink()
    code, _, err = call(capsys, "train", "--resume", run, "--epochs", "9")
    assert (code, "rows.csv" in err, len(err.splitlines())) == (1, True, 1)


def test_relative_paths_start_where_the_run_was_begun(run, capsys, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call(capsys, "train", "--resume", "../run", "--epochs", "4")[0] == 0


def test_a_network_file_that_changed_later_does_not_matter(capsys):
    Path("own.formula").write_text("input x1, x2\ntarget t\nparameter a, b = zeros\n"
                                   "p = sigmoid(a*x1 + b*x2)\nE = -(t*log(p) + (1 - t)*log(1 - p))\n")  # fmt: skip
    options = ("--network", "own.formula", "--epochs", "2", "--engine", "interpreter", "--early-stopping", "0")
    assert call(capsys, "train", "rows.csv", *options, "--out", "run")[0] == 0
    Path("own.formula").write_text("input x1\ntarget t\nnonsense")
    assert call(capsys, "train", "--resume", "run", "--epochs", "3")[0] == 0
    assert call(capsys, "reproduce", "run")[0] == 0


def test_what_is_no_run_is_left_as_it_is(capsys):
    code, _, err = call(capsys, "train", "--resume", "nowhere")
    assert (code, err) == (1, "nowhere has no run.json: give the folder of a training, such as runs/digits\n")
    assert not Path("nowhere").exists()
    assert call(capsys, "train")[0] == 2


# --- reproduce --------------------------------------------------------------------------------------------------------


def test_what_is_reproduced_can_be_kept(run, capsys):
    code, out, _ = call(capsys, "reproduce", run, "--out", "again", "--json")
    found = json.loads(out.splitlines()[-1])
    assert (code, found["identical"], found["changes"], found["reproduced"]) == (0, True, [], "again")
    assert arrays("again") == arrays(run)


def test_another_training_is_not_identical(run, capsys):
    before = arrays(run)
    change(run, seed=1, versions={**note(run)["versions"], "numpy": "1.0"})
    code, out, _ = call(capsys, "reproduce", run)
    lines = out.splitlines()
    assert code == 1
    assert any(line.startswith("W1: 6 of 6 numbers differ, by ") for line in lines)
    assert any(line.startswith("numpy: 1.0 then, ") for line in lines)
    assert arrays(run) == before


def test_changed_data_are_named(run, capsys):
    Path("rows.csv").write_text(ROWS.replace("6,1,yes", "5,1,yes"))
    code, out, _ = call(capsys, "reproduce", run)
    assert (code, "rows.csv has other content (" in out) == (1, True)


def test_a_run_that_did_not_end_is_not_reproduced(run, capsys):
    change(run, finished=False)
    code, _, err = call(capsys, "reproduce", run)
    assert (code, "chainrule train --resume run" in err) == (1, True)


# --- one training a folder --------------------------------------------------------------------------------------------


def elsewhere(folder: str):
    """The folder held by another thread, until `release` is set."""
    held, release = threading.Event(), threading.Event()

    def keep() -> None:
        with hold(Path(folder)):
            held.set()
            release.wait(60)

    thread = threading.Thread(target=keep)
    thread.start()
    held.wait(60)
    return thread, release


def test_a_folder_that_is_held_is_refused_where_it_was_asked_for(capsys):
    thread, release = elsewhere("runs/rows-3")
    try:
        code, _, err = call(capsys, "train", "rows.csv", *QUICK, "--out", "runs/rows-3")
        assert (code, "is being written by another training" in err) == (1, True)
        # Who asked for none gets one of its own.
        assert call(capsys, "train", "rows.csv", *QUICK)[0] == 0
        assert Path("runs/rows-3-2/model.safetensors").is_file()
    finally:
        release.set()
        thread.join()


def test_a_run_that_did_not_end_is_named_where_its_folder_was_asked_for(run, capsys):
    change(run, finished=False)
    code, _, err = call(capsys, "train", "rows.csv", *QUICK, "--out", "run")
    assert (code, Path("run-2/run.json").exists()) == (0, True)
    assert "go on with it by chainrule train --resume run\n" in err


def test_every_option_can_be_written_down_and_read_back():
    """A new option of a type that run.json does not know would make every run impossible to go on with."""
    from dataclasses import fields

    from chainrule.interfaces.records import WRITTEN_AS

    assert {part for f in fields(TrainOptions) for part in str(f.type).split(" | ")} <= set(WRITTEN_AS)
