"""Completion: the scripts, and what a shell is answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from chainrule.interfaces.cli import main
from chainrule.interfaces.completion import SHELLS, VARIABLE


def completed(words: str) -> list[str]:
    """What bash is answered where `words` stand on the line, the last one unfinished."""
    environment = {**os.environ, VARIABLE: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-m", "chainrule"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_every_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert VARIABLE in script
    if shell == "bash" and shutil.which("bash"):
        assert subprocess.run(["bash", "-n"], input=script, text=True, timeout=60).returncode == 0


def test_commands_options_and_names_are_completed():
    assert completed("chainrule tr") == ["train"]
    assert completed("chainrule train --dty") == ["--dtype"]
    assert completed("chainrule train mnist --dtype float") == ["float32", "float64"]
    assert "relu" in completed("chainrule train mnist --activation re")
    assert completed("chainrule train mn") == ["mnist"]


def test_another_shell_is_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err
