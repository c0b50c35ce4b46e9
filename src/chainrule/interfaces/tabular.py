"""Tables for networks: a Layout of columns → the formulas that read them, and arrays for what formulas declare.

A generated network reads `raw[i]`, the numbers as they stand in the table, which an equation scales, and one class
number for each category. A network of the user's own reads its columns by name (`input age, fare`), or everything as
one vector `x[i]`: the numbers, scaled in the same way, then a 0 or 1 for each word of each category.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.data.columns import Encoded, Feature, Layout
from chainrule.data.tables import Table
from chainrule.errors import DataError, ModelFileError, SettingError
from chainrule.formula.system import System
from chainrule.interfaces.build import Inputs
from chainrule.interfaces.scaling import Scale, Scaled, with_scaling
from chainrule.messages import say, shortened
from chainrule.training.network import Network

Array = np.ndarray[Any, Any]

NOTE = "table"  # where a model file keeps the layout
# More numbers than this are scaled by one mean and one spread: the lists would be longer than the formulas.
MANY_NUMBERS = 1000
SHOWN_WORDS, SHOWN_NAMES, SHOWN_NAME = 8, 12, 40  # in the comments of generated formulas; characters of a name


def keep_layout(network: Network, layout: Layout) -> None:
    """Put the layout into the network's notes, from where the model file has it."""
    network.notes[NOTE] = layout.to_dict()


def layout_of(network: Network, path: object) -> Layout | None:
    """The layout in a model file; None where it was not trained on a table. Raises: ModelFileError."""
    if NOTE not in network.notes:
        return None
    try:
        return Layout.from_dict(network.notes[NOTE])
    except ValueError:
        raise ModelFileError(say("training.model_damaged", path=path)) from None


# --- formulas ---------------------------------------------------------------------------------------------------------


def inputs_for(layout: Layout, scale: str, title: str) -> Inputs:
    """What a generated network reads and predicts."""
    target = layout.target
    binary = target.task == "classification" and len(target.words) == 2
    names = layout.number_names
    lines, equations, tables, sizes, terms = [], [], [], [], []
    if names:
        vector = "x" if scale == "none" else "raw"
        lines.append(f"input     {vector}[i]{' ' * (8 - len(vector))}# {_listed(names, SHOWN_NAMES)}")
        if scale != "none":
            declared = _states(layout, "[i]", "mu", "sigma")
            lines += declared
            equations.append(
                "x[i] = " + _scaled_value(len(names)).format(raw="raw", slots="[i]", mu="mu", sigma="sigma")
            )
    for n, feature in enumerate(layout.categories, start=1):
        lines.append(f"input     c{n} in v{n}{' ' * max(1, 4 - len(str(n)))}# {_words_note(feature)}")
        sizes.append(f"v{n} = {len(feature.words) + 1}")
        tables.append(f"C{n}[v{n}, {{unit}}]")
        terms.append(f"sum[v{n}]([v{n} == c{n}]*C{n}[v{n}, {{unit}}])")
    return Inputs(
        lines=tuple(lines),
        equations=tuple(equations),
        numbers=bool(names),
        terms=tuple(terms),
        tables=tuple(tables),
        sizes=tuple(sizes),
        target="number" if target.task == "regression" else "binary" if binary else "classes",
        centre=target.centre,
        spread=target.spread,
        notes=(f"{title}: {_target_note(layout)}.",),
    )


def _states(layout: Layout, slots: str, mu: str, sigma: str) -> list[str]:
    """The lines that hold what the numbers are scaled by. No line changes them: they are the model's for good."""
    centres, spreads = layout.scale()
    if len(centres) > MANY_NUMBERS:
        centre, spread = _of_all(centres, spreads)
        return [f"state     {mu} = {centre!r}", f"state     {sigma} = {spread!r}"]
    return [f"state     {mu}{slots} = {centres!r}", f"state     {sigma}{slots} = {spreads!r}"]


def _of_all(centres: list[float], spreads: list[float]) -> tuple[float, float]:
    """One centre and one spread for all columns together."""
    means, deviations = np.array(centres), np.array(spreads)
    mean = float(means.mean())
    return float(f"{mean:.7g}"), float(f"{np.sqrt((deviations**2 + (means - mean) ** 2).mean()):.7g}") or 1.0


def _scaled_value(count: int) -> str:
    own = "{slots}" if count <= MANY_NUMBERS else ""
    return f"({{raw}}{{slots}} - {{mu}}{own})/{{sigma}}{own}"


def with_columns_scaled(text: str, layout: Layout, scale: str) -> Scaled:
    """A user's formulas whose one vector input is scaled as the table wants it; others stay as they are."""
    width = _vector_width(layout)
    if scale == "none" or not layout.numbers:
        return Scaled(text, ())
    centres, spreads = layout.scale()
    more = width - len(centres)
    centres, spreads = centres + [0.0] * more, spreads + [1.0] * more
    if width > MANY_NUMBERS:
        centre, spread = _of_all(centres, spreads)
        declared = f"state {{mu}} = {centre!r}\nstate {{sigma}} = {spread!r}"
    else:
        declared = f"state {{mu}}{{slots}} = {centres!r}\nstate {{sigma}}{{slots}} = {spreads!r}"
    return with_scaling(text, Scale("raw", _scaled_value(width), declared, ("mu", "sigma")))


def _vector_width(layout: Layout) -> int:
    return len(layout.numbers) + len(layout.marked) + sum(len(f.words) for f in layout.categories)


def _listed(names: list[str], limit: int) -> str:
    shown = ", ".join(_plain(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown}, … ({len(names)})"


def _plain(text: str) -> str:
    """On one line, and no longer than a name should be."""
    return shortened(" ".join(text.split()), SHOWN_NAME)


def _words_note(feature: Feature) -> str:
    words = [word or say("tables.no_value") for word in feature.words]
    return f"{_plain(feature.name)}: {_listed([*words, say('tables.other')], SHOWN_WORDS)}"


def _target_note(layout: Layout) -> str:
    target = layout.target
    if target.task == "regression":
        return _plain(target.column)
    return f"{_plain(target.column)} ({_listed(list(target.words), SHOWN_WORDS)})"


# --- arrays -----------------------------------------------------------------------------------------------------------


def arrays_from(system: System, layout: Layout, encoded: Encoded, dtype: str) -> dict[str, Array]:
    """The inputs that the formulas declare. Raises: SettingError where a table cannot fill them."""
    inputs = system.of_role("input")
    vectors = [t for t in inputs if t.classes is None and len(t.indices) == 2]
    chosen = [t for t in inputs if t.classes is not None and len(t.indices) == 1]
    numbers = {f.name: encoded.numbers[:, k] for k, f in enumerate(layout.numbers)}
    if inputs and all(len(t.indices) == 1 and t.classes is None and t.name in numbers for t in inputs):
        return {t.name: numbers[t.name].astype(dtype) for t in inputs}
    if len(vectors) + len(chosen) == len(inputs) and len(chosen) == len(layout.categories) > 0:
        arrays = {t.name: encoded.categories[:, k] for k, t in enumerate(chosen)}
        if len(vectors) == bool(layout.numbers):
            return arrays | {t.name: encoded.numbers.astype(dtype) for t in vectors}
    if len(vectors) == len(inputs) == 1:
        return {vectors[0].name: one_vector(layout, encoded, dtype)}
    names = ", ".join(t.name for t in inputs) or "–"
    raise SettingError(say("tables.inputs", names=names, known=", ".join(f.name for f in layout.features)))


def one_vector(layout: Layout, encoded: Encoded, dtype: str) -> Array:
    """Numbers and marks, then a 0 or 1 for each word of each category; "another" has none."""
    blocks = [encoded.numbers.astype(dtype)]
    for k, feature in enumerate(layout.categories):
        blocks.append((encoded.categories[:, k, None] == np.arange(len(feature.words))).astype(dtype))
    return np.concatenate(blocks, axis=1)


def inputs_of(network: Network, layout: Layout, table: Table, unknown: str = "other") -> dict[str, Array]:
    """A table's inputs. Raises: DataError for what float32 cannot hold, naming row and column."""
    encoded = layout.encode(table, unknown=unknown)
    with np.errstate(over="ignore"):  # looked at below
        arrays = arrays_from(network.system, layout, encoded, network.dtype)
    largest = np.finfo(network.dtype).max
    wrong = np.argwhere(~(np.abs(encoded.numbers) <= largest))
    if len(wrong):
        row, k = (int(p) for p in wrong[0])
        place, name, came = table.first + row + 1, layout.number_names[k], float(encoded.numbers[row, k])
        if np.isfinite(came):
            raise DataError(say("bigtables.too_large", path=table.source, row=place, name=name, came=came))
        raise DataError(say("bigtables.infinite", path=table.source, row=place, name=name, came=came))
    return arrays


def targets_from(system: System, values: Array) -> dict[str, Array]:
    """The same values for each target and label that the formulas declare."""
    return {t.name: values for t in system.of_role("target", "label")}


def sizes_from(system: System, layout: Layout) -> dict[str, int]:
    """The sizes that the table says and the text does not: of the classes, of the inputs."""
    sizes: dict[str, int] = {}
    count = len(layout.target.words)
    if layout.target.task == "classification":
        for tensor in system.of_role("target"):
            own = [i for i in tensor.indices if i != system.samples]
            sizes |= dict.fromkeys(own[:1], count)
        for tensor in system.of_role("label"):
            sizes[str(tensor.classes)] = count
    return {index: size for index, size in sizes.items() if index not in system.sizes}


def blurred(layout: Layout, table: Table, dtype: str) -> list[str]:
    """Columns whose values lie too close together, beside their size, for float32's seven digits."""
    if dtype != "float32":
        return []
    return [f.name for f in layout.numbers if abs(f.centre) > 2e4 * f.spread]
