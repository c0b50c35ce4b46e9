"""One training at a time writes to a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from chainrule.errors import FileError, RunLocked
from chainrule.training.locks import HOLDER, hold, is_held

HOLD = """
import sys, time
from pathlib import Path
from chainrule.training.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_holds_it(holder, tmp_path):
    assert is_held(tmp_path)
    with pytest.raises(RunLocked, match=f"process {holder.pid} on .* since 2"), hold(tmp_path):
        pass


def test_a_process_that_is_killed_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_held(tmp_path)
    with hold(tmp_path):
        assert json.loads((tmp_path / HOLDER).read_text())["process"] == os.getpid()


@pytest.mark.parametrize("signed", [None, "", "[]", '{"process": 1}'])
def test_a_holder_that_did_not_sign_is_refused_too(holder, tmp_path, signed):
    (tmp_path / HOLDER).unlink()
    if signed is not None:
        (tmp_path / HOLDER).write_text(signed)
    with pytest.raises(RunLocked, match="is being written by another training: wait"), hold(tmp_path):
        pass


def test_the_thread_that_holds_it_may_take_it_again_and_no_other(tmp_path):
    found = []
    with hold(tmp_path):
        with hold(tmp_path):
            pass
        other = threading.Thread(target=lambda: found.append(is_held(tmp_path)))
        other.start()
        other.join()
    assert found == [True]
    assert not is_held(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file"), hold(tmp_path / "file" / "run"):
        pass
