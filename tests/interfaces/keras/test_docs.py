"""The examples of docs/keras.md run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from chainrule import utils

PAGE = Path(__file__).parents[3] / "docs" / "keras.md"


def test_the_examples_run():
    utils.clear_session()
    utils.set_random_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "keras", str(PAGE), 0)
    assert len(test.examples) > 20
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
