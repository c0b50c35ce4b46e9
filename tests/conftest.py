"""What every test starts from: English, no windows, a cache of its own, and no time limit on the first compilation."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).parents[1]

# In the environment, not in a fixture: child processes and the doctests of src read it too.
os.environ["CHAINRULE_LANG"] = "en"
os.environ["MPLBACKEND"] = "Agg"
# Kept between runs, so that what was compiled once is not compiled again; `make clean` removes it.
os.environ.setdefault("CHAINRULE_CACHE", str(ROOT / ".pytest_cache" / "chainrule"))

# A shell without a terminal begins what it puts into the background with Ctrl-C ignored, and what is ignored stays so.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example that compiles takes seconds, the same one a moment later microseconds: hypothesis calls that flaky.
settings.register_profile("chainrule", deadline=None, print_blob=True)
settings.load_profile("chainrule")
