"""The README's example runs, its links lead somewhere, and its commands exist."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import chainrule as cr
from chainrule.interfaces.cli import command_tree

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", README, re.S | re.M)
DECISIONS = ROOT / "docs" / "decisions"


def test_the_example_runs():
    example = re.search(r"```python\n(.*?)```", README, re.S)
    assert example is not None
    test = doctest.DocTestParser().get_doctest(example[1], {}, "README", "README.md", 0)
    assert len(test.examples) >= 5
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_the_notation_reads_and_is_derived():
    text = next(block for block in BLOCKS if block.startswith("size "))
    net = cr.formula(text, sizes={"i": 3, "k": 2})
    assert set(net.derivation.gradients) == {"W1", "W2", "b1", "b2"}
    net.fit([[0.0, 1, 2], [3, 4, 5]], [0, 1], epochs=1, verbose=0, engine="interpreter")


def test_links_lead_somewhere():
    pages = [ROOT / "README.md", *DECISIONS.glob("*.md")]
    for page in pages:
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)]+)\)", prose):
            assert target.startswith("https://") or (page.parent / target).exists(), (page.name, target)


def test_every_decision_is_in_the_list():
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (DECISIONS / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(p.name for p in DECISIONS.glob("[0-9]*.md"))


def test_the_commands_exist():
    used = set(re.findall(r"^chainrule (\w+)", "\n".join(BLOCKS), re.M))
    assert used <= set(command_tree().commands)
    assert used >= {"train", "predict", "evaluate", "show", "derive"}
    options = {o for command in command_tree().commands.values() for p in command.params for o in p.opts}
    assert set(re.findall(r"(--[a-z][a-z-]+)", README)) <= options


def test_the_credit_is_there():
    assert all(name in README for name in ("LeCun", "Cortes", "Burges", "by-sa/3.0"))
