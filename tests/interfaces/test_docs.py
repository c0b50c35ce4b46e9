"""The examples of the pages under docs/ run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from chainrule import utils

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page.name for page in sorted(DOCS.glob("*.md")) if "\n>>> " in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.filterwarnings("ignore::chainrule.errors.ChainruleWarning")
def test_the_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples write files
    utils.clear_session()  # layers are named by how many came before
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(encoding="utf-8"), re.S | re.M)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, name, str(DOCS / name), 0)
    assert len(test.examples) >= 4
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_the_pages_that_have_examples_are_found():
    assert {"keras.md", "sklearn.md", "training.md"} <= set(PAGES)
