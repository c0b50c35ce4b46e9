"""model.summary(): a table of layers, shapes and numbers of weights (rich)."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from chainrule.interfaces.keras.layers import InputLayer
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.interfaces.keras.models import Model


def summary(model: Model, line_length: int | None, print_fn: Any, show_trainable: bool) -> None:
    """Print the table, or hand its lines to `print_fn`, joined by line breaks."""
    from rich.console import Console
    from rich.table import Table

    if not model.built:
        (print_fn or print)(_unbuilt(model))
        return
    several = any(len(node.inputs) > 1 for node in model._nodes) or len(model.inputs) > 1
    table = Table(title=say("keras.summary_title", name=model.name), title_justify="left")
    table.add_column(say("keras.summary_layer"))
    table.add_column(say("keras.summary_shape"))
    table.add_column(say("keras.summary_params"), justify="right")
    if several:
        table.add_column(say("keras.summary_connected"))
    if show_trainable:
        table.add_column(say("keras.summary_trainable"))
    for layer in model.layers:
        row = [f"{layer.name} ({type(layer).__name__})", _shape(layer), f"{layer.count_params():,}"]
        row += [_before(layer)] if several else []
        row += [("Y" if layer.trainable else "N") if layer.weights else "-"] if show_trainable else []
        table.add_row(*row)
    width = line_length or 80
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(table)
    total, trained = model.count_params(), sum(math.prod(v.shape) for v in model.trainable_weights)
    size = 8 if model.network.dtype == "float64" else 4
    for key, count in (("total", total), ("trained", trained), ("fixed", total - trained)):
        console.print(say(f"keras.summary_{key}", count=f"{count:,}", size=_bytes(count * size)), highlight=False)
    text = "\n".join(line.rstrip() for line in console.export_text().rstrip("\n").split("\n"))
    (print_fn or print)(text)


def _unbuilt(model: Model) -> str:
    """The layers, as far as they are known without the shape of the input."""
    layers = [f"  {layer.name} ({type(layer).__name__})" for layer in model.layers]
    return "\n".join([say("keras.summary_title", name=model.name), *layers, say("keras.not_built", name=model.name)])


def _shape(layer: Any) -> str:
    shape = (None, *(layer.given_shape or ())) if isinstance(layer, InputLayer) else layer.nodes[0].output.shape
    return str(tuple(shape))


def _before(layer: Any) -> str:
    if isinstance(layer, InputLayer):
        return "-"
    return ", ".join([t.node.layer.name if t.node else t.name for t in layer.nodes[0].inputs])


def _bytes(count: int) -> str:
    size, unit = float(count), 0
    while size >= 1024 and unit < 3:
        size, unit = size / 1024, unit + 1
    return f"{size:.2f} {('B', 'KB', 'MB', 'GB')[unit]}"
