"""Keras's callbacks: what looks on while a network trains."""

from typing import Any

from chainrule.training import callbacks as _callbacks


def __getattr__(name: str) -> Any:
    return getattr(_callbacks, name)


def __dir__() -> list[str]:
    return sorted(_callbacks.__all__)
