"""Damaged files and full disks: nothing that is wrong is loaded, nothing that was saved is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleWarning, CheckpointError, DataError, FileError, SettingError
from chainrule.training.callbacks import CSVLogger
from chainrule.training.checkpoint_file import KIND, read_checkpoint
from chainrule.training.checkpoints import Checkpoints, files, latest
from chainrule.training.container import open_container, pack
from tests.killed import arrays, start

TEXT = """
input     x[i]
target    t
parameter w[i], b = zeros
y = sum[i](w[i]*x[i]) + b
E = 1/2*(y - t)**2
"""
DRAW = np.random.default_rng(1)
X = DRAW.normal(size=(20, 3))
T = X @ [1.0, 2.0, 3.0]


def fit(folder: Path | None, epochs: int = 4, **options: object) -> cr.Network:
    """A training of 5 steps an epoch; a checkpoint after each epoch."""
    net = cr.formula(TEXT)
    kept = {} if folder is None else {"checkpoints": Checkpoints(folder, every="1 epoch"), **options}
    net.fit(X, T, epochs=epochs, batch_size=4, optimizer="adam", engine="interpreter", verbose=0, **kept)
    return net


def bits(net: cr.Network) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in net.parameters.items()}


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """The weights after 8 epochs that nothing interrupted."""
    return bits(fit(None, 8))


@pytest.fixture
def run(tmp_path) -> Path:
    fit(tmp_path / "run")
    assert [int(path.stem) for path in files(tmp_path / "run")] == [10, 15, 20]
    return tmp_path / "run"


# --- damaged files ----------------------------------------------------------------------------------------------------


def damages(content: bytes, every: bool) -> dict[str, bytes]:
    """One damage of each class, by its name; `every` bit flipped and every length cut, instead of one of each class."""
    (length,) = np.frombuffer(content[:8], "<u8")
    head = 8 + int(length)
    found = {f"appended {len(more)}": content + more for more in (b"\0", b" " * 8, content)}
    flips: set[tuple[int, int]]
    if every:
        flips = {(at, bit) for at in range(len(content)) for bit in range(8)}
        cuts = set(range(len(content)))
    else:
        flips = {(at, at % 8) for at in range(len(content))}
        cuts = {0, 1, 7, 8, 9, head // 2, head - 1, head, head + 1, len(content) - 1, *range(0, len(content), 97)}
    for at, bit in flips:
        damaged = bytearray(content)
        damaged[at] ^= 1 << bit
        found[f"byte {at}, bit {bit}"] = bytes(damaged)
    return found | {f"cut to {size}": content[:size] for size in cuts}


def check_no_damage_is_read(run: Path, every: bool) -> None:
    newest = files(run)[-1]
    content = newest.read_bytes()
    read = []
    for name, damaged in damages(content, every).items():
        newest.write_bytes(damaged)
        try:
            read_checkpoint(newest)
        except CheckpointError as error:
            assert "\n" not in str(error)
            assert str(newest) in str(error)
        else:
            read.append(name)
    assert read == []


def test_a_file_with_any_bit_flipped_or_any_byte_missing_is_never_read(run):
    check_no_damage_is_read(run, every=False)


@pytest.mark.soak
def test_every_bit_and_every_length(run):
    check_no_damage_is_read(run, every=True)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "appended"])
def test_the_one_before_is_gone_on_from(run, whole, damage):
    newest = files(run)[-1]
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    kinds = {"flipped": bytes(content), "cut": content[: len(content) // 2], "empty": b"", "appended": content + b"\0"}
    newest.write_bytes(kinds[damage])
    with pytest.warns(ChainruleWarning, match=f"{newest.name}.*going on from the one before it, 000000000015.safe"):
        net = fit(run, 8, resume=True)
    assert bits(net) == whole
    assert latest(run).position.done == 40


def test_without_a_whole_one_nothing_is_begun_anew(run):
    for path in files(run):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="none of the 3 checkpoints"):
        fit(run, 8, resume=True)
    assert len(files(run)) == 3


def test_what_a_crash_left_of_a_write_is_cleared(run, whole):
    left = run / "checkpoints" / ".000000000025.safetensors.abc123"
    left.write_bytes(b"half")
    assert bits(fit(run, 8, resume=True)) == whole
    assert not left.exists()


# --- a full disk ------------------------------------------------------------------------------------------------------


def forge(run: Path, change: Callable[[dict[str, np.ndarray], Any], None]) -> None:
    """One checkpoint alone, whose checksums are right and whose content is not what chainrule writes."""
    *others, path = files(run)
    for other in others:
        other.unlink()
    container = open_container(path, KIND)
    arrays, state = container.arrays(), json.loads(container.metadata["state"])
    change(arrays, state)
    path.write_bytes(pack(KIND, arrays, {**container.metadata, "state": json.dumps(state)}))


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 1), (1000,)])
@pytest.mark.parametrize("name", ["w", "m_w"])
def test_weights_and_states_of_another_shape_are_never_handed_to_a_step(run, name, shape):
    forge(run, lambda arrays, state: arrays.update({f"weights/{name}": np.ones(shape, np.float32)}))
    with pytest.raises(SettingError, match=rf"{name} was .*, and is \(3,\) now"):
        fit(run, 8, resume=True)


def test_a_state_of_another_shape_that_a_network_holds_is_refused_too():
    net = fit(None)
    net.kept["m_w"] = np.ones(1000, np.float32)
    with pytest.raises(DataError, match="m_w came with the shape"):
        net.fit(X, T, batch_size=4, optimizer="adam", verbose=0)


FORGED = {
    "an epoch without its seconds": lambda arrays, state: state["logged"].remove("seconds"),
    "a callback without a name": lambda arrays, state: state.update(callbacks=[{"state": None}]),
    "callbacks by name": lambda arrays, state: state.update(callbacks={"name": "A", "state": None}),
    "a state that is a number": lambda arrays, state: state.update(callbacks=[{"name": "A", "state": 5}]),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_content_that_is_not_ours_is_damage(run, change):
    forge(run, change)
    with pytest.raises(CheckpointError, match="is damaged"):
        fit(run, 8, resume=True)


def test_a_callback_that_gets_a_strange_state_is_named(tmp_path):
    logger = CSVLogger(tmp_path / "log.csv")
    fit(tmp_path / "run", callbacks=[logger])
    forge(tmp_path / "run", lambda arrays, state: state["callbacks"][0].update(state={"rows": "many"}))
    with pytest.raises(SettingError, match="the state of CSVLogger"):
        fit(tmp_path / "run", 8, resume=True, callbacks=[logger])


class FullDisk:
    """`os.fsync` says that the disk is full, from the call number `first` to the one before `last`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int, last: int = 10**9):
        self.calls, self.first, self.last, self.real = 0, first, last, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, handle: int) -> None:
        self.calls += 1
        if self.first <= self.calls < self.last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.real(handle)


def test_a_training_goes_on_where_only_a_checkpoint_cannot_be_written(tmp_path, monkeypatch, whole):
    disk = FullDisk(monkeypatch, first=5)  # two a file: the file and its folder
    with pytest.warns(
        ChainruleWarning, match=r"this checkpoint could not be written, the training goes on: .*No space"
    ):
        net = fit(tmp_path, 8)
    assert disk.calls > 5
    assert bits(net) == whole
    assert [path.stem for path in files(tmp_path)] == ["000000000005", "000000000010"]
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    assert bits(fit(tmp_path, 8, resume=True)) == whole


def test_a_disk_that_has_room_again_gets_checkpoints_again(tmp_path, monkeypatch, whole):
    FullDisk(monkeypatch, first=3, last=9)
    with pytest.warns(ChainruleWarning, match="could not be written"):
        net = fit(tmp_path, 8)
    assert bits(net) == whole
    assert latest(tmp_path).position.done == 40


def test_a_model_that_cannot_be_saved_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    fit(None, 1).save(path)
    before = path.read_bytes()
    FullDisk(monkeypatch, first=1)
    with pytest.raises(FileError, match="No space left"):
        fit(None, 2).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from chainrule.interfaces.cli import main
sys.exit(main(sys.argv[2:]))
"""
DIGITS = ("mnist", "--rows", "300", "--hidden", "8", "--batch-size", "16", "--seed", "1", "--engine", "interpreter")


def limited(size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`chainrule …` in a process that cannot write a file longer than `size` bytes."""
    command = [sys.executable, "-c", LIMITED, str(size), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_disk_too_small_for_the_model(tmp_path, monkeypatch):
    """RLIMIT_FSIZE: a process that the system lets write only short files."""
    monkeypatch.chdir(tmp_path)
    from chainrule.interfaces.cli import main

    assert main(["train", *DIGITS, "--epochs", "3", "--out", "whole"]) == 0
    assert main(["train", *DIGITS, "--epochs", "2", "--out", "run"]) == 0
    before = arrays("run")
    done = limited(10_000, "train", "--resume", "run", "--epochs", "3", "--checkpoint-every", "5 steps")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "this checkpoint could not be written, the training goes on: " in done.stderr
    assert done.stderr.splitlines()[-1].startswith("run/model.safetensors")
    assert "File too large" in done.stderr.splitlines()[-1]
    assert arrays("run") == before
    assert latest("run").position.done == 38
    assert main(["train", "--resume", "run", "--epochs", "3"]) == 0
    assert arrays("run") == arrays("whole")


def test_a_folder_that_cannot_be_written_to(tmp_path):
    """Not even by the superuser, whom no permission keeps out: /proc holds no folders of ours."""
    with start("train", *DIGITS, "--epochs", "1", "--out", "/proc/run", cwd=tmp_path) as running:
        _, err = running.communicate(timeout=120)
    assert (running.returncode, "/proc/run" in err.splitlines()[-1], "Traceback" in err) == (1, True, False)


@pytest.mark.skipif(os.geteuid() == 0, reason="no permission keeps the superuser out")
def test_a_folder_without_write_permission(run):
    run.chmod(0o555)
    with pytest.raises(FileError, match="Permission denied"):
        fit(run, 8, resume=True)
    run.chmod(0o755)
    assert len(files(run)) == 3


SMALL_DISK = """
mount -t tmpfs -o size=160k none "$1" || exit 99
cd "$1" && shift
"$@" --out run; echo "code $?"
ls run/checkpoints
cp -r run/checkpoints "$KEPT"
"""


@pytest.mark.soak
def test_a_disk_that_is_really_full(tmp_path):
    """A tmpfs of 160 kB, which has room for one checkpoint of 77 kB, and for a second only while it is written."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("no mounting here")
    (tmp_path / "disk").mkdir()
    command = [sys.executable, "-m", "chainrule", "train", *DIGITS, "--epochs", "3"]
    script = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", str(tmp_path / "disk"), *command]
    environment = {**os.environ, "KEPT": str(tmp_path / "kept"), "CHAINRULE_LANG": "en"}
    done = subprocess.run(
        [*script, "--checkpoint-every", "5 steps", "--keep", "5"],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode == 99:
        pytest.skip("no mounting here")
    assert "code 1" in done.stdout
    assert "the training goes on: " in done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    kept = sorted((tmp_path / "kept").glob("[0-9]*.safetensors"))
    assert kept
    assert all(read_checkpoint(path).position.done == int(path.stem) for path in kept)
