"""Which file `net.export` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import SettingError
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.training.formats.onnx_file import OnnxReport
    from chainrule.training.formats.placements import Placements
    from chainrule.training.network import Network

FORMS = ("onnx", "safetensors")


def export(network: Network, path: Path, form: str | None, names: object = None) -> OnnxReport | Placements:
    """Write a file of one of FORMS: the suffix says which where `form` does not. Raises: SettingError."""
    chosen = form or path.suffix.removeprefix(".").lower()
    if chosen not in FORMS:
        raise SettingError(say("formats.unknown_form", path=path, known=", ".join(f".{f}" for f in FORMS)))
    if chosen == "onnx":
        from chainrule.training.formats.onnx_file import write_onnx

        if names is not None:
            raise SettingError(say("formats.names_for_torch"))
        return write_onnx(network, path)
    from chainrule.training.formats.torch_file import write_torch

    return write_torch(network, path, names)
