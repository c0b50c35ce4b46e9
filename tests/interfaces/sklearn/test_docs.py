"""The examples of docs/sklearn.md run."""

from __future__ import annotations

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs" / "sklearn.md"


def test_the_examples_run():
    result = doctest.testfile(str(DOCS), module_relative=False)
    assert result.attempted > 10 and result.failed == 0
