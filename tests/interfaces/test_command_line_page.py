"""docs/command-line.md: every command of it runs, and it has every example of the help pages."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from chainrule.interfaces.cli import command_tree, main
from chainrule.interfaces.examples import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (chainrule .*)$", PAGE, re.M)
# The page shows trainings as people run them; here a look at the first rows will do.
QUICK = {
    "mnist": ("--rows", "300", "--epochs", "1", "--engine", "interpreter"),
    "images": ("--rows", "60", "--epochs", "1", "--engine", "interpreter"),
    "table": ("--rows", "120", "--epochs", "1", "--engine", "interpreter"),
}
# This claim is wrong, and the page says so: exit code 1.
DIFFERS = 'chainrule check examples/mlp.formula "delta[k] = y[k] - z2[k]"'


def arguments(command: str) -> list[str]:
    """The words behind `chainrule`, without what the shell does with the output."""
    words = shlex.split(command)[1:]
    words = words[: min((words.index(sign) for sign in (">", ">>") if sign in words), default=len(words))]
    if words[0] == "train" and "--resume" not in words:  # a run goes on as it was begun
        words += QUICK["mnist" if words[1] == "mnist" else "images" if words[1] == "examples/shapes" else "table"]
    return words


def test_every_command_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    trips = np.random.default_rng(0).random((500, 3))
    table = pyarrow.table({"km": trips[:, 0], "hour": trips[:, 1], "fare": trips.sum(axis=1)})
    pyarrow.parquet.write_table(table, "trips.parquet")
    assert len(COMMANDS) >= 30
    for command in COMMANDS:
        if "bench" in command:  # five seconds: test_bench.py has it
            continue
        code = main(arguments(command))
        captured = capsys.readouterr()
        assert (code, command) == (int(command == DIFFERS), command), captured.err
        if "--json" in command:
            json.loads(captured.out)
    assert Path("predictions.csv").read_text().startswith("row,prediction,probability,p(Adelie)")
    assert {"derivation.html", "page.html", "network.png"} <= {p.name for p in tmp_path.iterdir()}


def test_the_page_has_every_command_and_every_example_of_the_help_pages():
    assert set(EXAMPLES) == set(command_tree().commands)
    plain = {re.sub(r" --out runs/\w+", "", c) for c in COMMANDS}
    missing = [e for lines in EXAMPLES.values() for e in lines if re.sub(r" --out runs/\w+", "", e) not in plain]
    assert missing == []


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_help_pages_show_examples(name, monkeypatch, capsys):
    monkeypatch.setenv("CHAINRULE_LANG", "en")
    assert main([name, "--help"]) == 0
    page = capsys.readouterr().out
    assert "Examples:" in page
    assert all(line in page for line in EXAMPLES[name])
