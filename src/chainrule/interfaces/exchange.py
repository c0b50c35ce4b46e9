"""`chainrule export` and `chainrule import`: a model file for other programs, and weights of other programs in one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from chainrule.errors import FileError, SettingError
from chainrule.interfaces.show import open_network
from chainrule.messages import say
from chainrule.training.network import load

MAX_NAMES_BYTES = 1_000_000


def export(model: Path, out: Path, *, form: str | None, names: str | None, as_json: bool) -> int:
    """Write a model file in another format and print what was written; the exit code."""
    if model.resolve() == out.resolve():
        raise SettingError(say("formats.same_file", path=out))
    written = load(model).export(out, as_=form, names=_names(names))
    _print(written, out, as_json)
    return 0


def import_(weights: Path, *, into: Path, out: Path, said: Sequence[str], as_json: bool) -> int:
    """Load weights into a network, write its model file and print what went where; the exit code."""
    from chainrule.training.formats.matching import import_weights

    if weights.resolve() == out.resolve():
        raise SettingError(say("formats.same_file", path=out))
    network = open_network(into)
    placed = import_weights(network, weights, dict(_pair(text) for text in said))
    network.save(out)
    _print(placed, out, as_json)
    return 0


def _print(result: Any, out: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"file": str(out), **result.to_dict()}, ensure_ascii=False))
    else:
        click.echo(f"{result}\n{out}")


def _pair(text: str) -> tuple[str, str]:
    """ "fc1.weight=W1" → its two sides. Raises: SettingError."""
    name, sign, tensor = (part.strip() for part in text.partition("="))
    if not sign or not name:
        raise SettingError(say("formats.bad_pair", came=text))
    return name, tensor


def _names(text: str | None) -> object:
    """Modules' names in their order: "fc1,fc2", or a file with one a line; or one with lines W1 = fc1.weight."""
    if text is None:
        return None
    path = Path(text)
    if not path.is_file():
        return [name.strip() for name in text.split(",")]
    try:
        if path.stat().st_size > MAX_NAMES_BYTES:
            raise FileError(say("formats.file_too_large", path=path, came=path.stat().st_size, limit=MAX_NAMES_BYTES))
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileError):
            raise
        reason = getattr(error, "strerror", None) or say("training.not_utf8")
        raise FileError(say("training.cannot_read", path=path, reason=reason)) from None
    lines = [line for line in (line.partition("#")[0].strip() for line in lines) if line]
    return dict(map(_pair, lines)) if any("=" in line for line in lines) else lines
