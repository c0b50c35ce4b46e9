"""`chainrule check`: the derived gradients of a formula file or a model file against numerical differentiation.

0  everything agrees
1  a gradient, or a claim, does not
2  it could not be checked: formulas, data or options are wrong
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from chainrule.data.datasets import Split
from chainrule.derivation.sampling import draw_arrays, draw_data, small_sizes
from chainrule.errors import ChainruleError, SettingError
from chainrule.interfaces.answers import Reading, labelled_arrays, table_files
from chainrule.interfaces.datasets import arrays_for, find, sizes_for
from chainrule.interfaces.predict import DEFAULT_INDEX, parse_index
from chainrule.interfaces.scaling import with_scaling
from chainrule.interfaces.show import is_model_file, open_network
from chainrule.interfaces.tabular import layout_of
from chainrule.messages import say
from chainrule.training.network import Network, formula, load

AGREES, DIFFERS, REFUSED = 0, 1, 2
DRAWN_SAMPLES = 5
TABLE_ROWS = 10  # of a table, without --index


@dataclass(frozen=True)
class CheckOptions:
    """What to check at: rows of a data set, or random data where it is None; and what to do with the result."""

    data: str | None = None
    index: str | None = None
    split: str = "test"
    seed: int = 0
    weight: str | None = None
    cost: bool = False
    as_json: bool = False
    picture: Path | None = None


def check(path: Path, claims: Sequence[str], options: CheckOptions) -> int:
    """Check the gradients of a file, or claims about them; print what was found; the exit code."""
    try:
        _refuse_contradictions(bool(claims), options)
        if claims:
            from chainrule.interfaces.claim import check_claims

            return int(check_claims(path, claims, json=options.as_json))
        return _check_gradients(path, options)
    except ChainruleError as error:
        click.echo(str(error), err=True)
        return REFUSED


def _refuse_contradictions(claims: bool, options: CheckOptions) -> None:
    """An option that would be passed over in silence is said. Raises: SettingError."""
    given = {"--data": options.data, "--index": options.index, "--cost": options.cost, "--picture": options.picture}
    beside = [flag for flag, value in given.items() if value]
    if claims and beside:
        raise SettingError(say("check.claim_alone", options=", ".join(beside)))
    if options.cost and options.picture is not None:
        raise SettingError(say("check.cost_or_picture"))
    if options.weight is not None and options.picture is None:
        raise SettingError(say("check.weight_of_picture"))


def _check_gradients(path: Path, options: CheckOptions) -> int:
    if not 0 <= options.seed < 2**64:
        raise SettingError(say("training.seed", came=options.seed))
    network, arrays = what_to_check(path, options)
    if options.cost:
        cost = network.why_backpropagation(arrays)
        click.echo(json.dumps(cost.to_dict()) if options.as_json else str(cost))
        return AGREES
    found = network.check_gradients(arrays, seed=options.seed)
    click.echo(json.dumps(found.to_dict(), ensure_ascii=False) if options.as_json else str(found))
    if options.picture is not None:
        from chainrule.interfaces.pictures.differentiation import gradient_error_picture

        gradient_error_picture(network, arrays, weight=options.weight, path=options.picture)
    return AGREES if found.ok else DIFFERS


def what_to_check(path: Path, options: CheckOptions) -> tuple[Network, Mapping[str, Any]]:
    """The network with its weights, and the data."""
    if options.data is None and options.index is None:
        return _drawn(path, options.seed)
    return _from_data(path, options)


def _from_data(path: Path, options: CheckOptions) -> tuple[Network, Mapping[str, Any]]:
    if is_model_file(path) and (layout := layout_of(network := load(path), path)) is not None:
        table = Reading().table(table_files([Path(options.data)] if options.data else [])[0], layout)
        arrays = labelled_arrays(network, layout, table)
        count = len(next(iter(arrays.values())))
        rows = parse_index(options.index or f"0..{min(count, TABLE_ROWS) - 1}", count)
        return network, {name: array[rows] for name, array in arrays.items()}
    data = find(options.data or "mnist")
    split = data.train if options.split == "train" else data.test
    rows = parse_index(options.index or DEFAULT_INDEX, len(split.images))
    network = open_network(path)
    if not is_model_file(path):
        # As `chainrule train` does it: pixels scaled, sizes from the data set, the first weights drawn by the seed.
        text = with_scaling(network.formulas).text
        system = formula(text).system
        network = Network(system, sizes=sizes_for(system, data), seed=options.seed)
    return network, arrays_for(network.system, Split(split.images[rows], split.labels[rows]))


def _drawn(path: Path, seed: int) -> tuple[Network, Mapping[str, Any]]:
    """Random data that satisfy the declared facts; random weights too, where the file brings none."""
    network = open_network(path)
    rng = np.random.default_rng(seed)
    sizes = small_sizes(network.system, network.sizes)
    names = {t.name for t in network.system.of_role("input", "target", "label")}
    if is_model_file(path):
        return network, draw_data(network.system, {**sizes, network.system.samples: DRAWN_SAMPLES}, rng)
    network = Network(network.system, sizes=sizes, seed=seed)
    arrays = draw_arrays(network.system, sizes, rng, DRAWN_SAMPLES, network.hyper)
    network.set_parameters({p.name: arrays[p.name] for p in network.system.parameters})
    network.keep({t.name: arrays[t.name].astype(network.dtype) for t in network.system.of_role("state")})
    return network, {name: array for name, array in arrays.items() if name in names}
