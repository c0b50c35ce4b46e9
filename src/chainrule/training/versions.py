"""Versions of what takes part in the numbers."""

from __future__ import annotations

import platform
from collections.abc import Sequence


def versions(packages: Sequence[str] = ("chainrule", "numpy", "llvmlite")) -> dict[str, str]:
    """Of Python and of these packages, where they are there.

    >>> sorted(versions())
    ['chainrule', 'llvmlite', 'numpy', 'python']
    """
    from importlib.metadata import PackageNotFoundError, version  # 20 ms, which a training without a file never needs

    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
