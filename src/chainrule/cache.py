"""Where things that can be made again are kept: unpacked data sets, compiled steps."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for chainrule; the environment variable CHAINRULE_CACHE names another."""
    chosen = os.environ.get("CHAINRULE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("chainrule", appauthor=False)
