"""The options of `chainrule train`, and how their texts are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chainrule.data.columns import KINDS
from chainrule.data.memory import DEFAULT_MEMORY, memory_bytes
from chainrule.errors import SettingError
from chainrule.interfaces.bilingual import no_such
from chainrule.messages import say


@dataclass(frozen=True)
class TrainOptions:
    """The options of `chainrule train`, as click hands them over. What is None is decided by the kind of data."""

    data: str
    network: Path | None = None
    hidden: str | None = None
    activation: str | None = None
    loss: str | None = None
    dropout: float = 0.0
    batch_norm: bool = False
    l1: float = 0.0
    l2: float = 0.0
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    learning_rate: str | None = None
    schedule: str | None = None
    settings: tuple[str, ...] = ()
    weight_decay: float | None = None
    clip_norm: float | None = None
    ema: float | None = None
    early_stopping: int | None = None
    class_weight: str | None = None
    metrics: str | None = None
    seed: int = 0
    threads: int | None = None
    dtype: str = "float32"
    rows: int | None = None
    validation: str | None = None
    no_scale: bool = False
    target: str | None = None
    features: str | None = None
    kinds: str | None = None
    task: str | None = None
    scale: str | None = None
    split: str | None = None
    test: Path | None = None
    header: str | None = None
    encoding: str | None = None
    memory: str | None = None
    in_pieces: bool | None = None  # what a run that is gone on with did; None: as the memory says
    data_dir: Path | None = None
    labels: Path | None = None
    test_labels: Path | None = None
    image_size: str | None = None
    grey: bool = False
    rgb: bool = False
    out: Path | None = None
    as_json: bool = False
    engine: str = "native"
    profile: bool = False
    checkpoint_every: str | None = None
    keep: int | None = None
    resume: Path | None = None
    network_text: str | None = None  # of --network, as it was read: a run that is gone on with has it from run.json


def named_file(text: str | None) -> Path | None:
    """--validation FILE, where it is no number.

    >>> named_file("0.1"), str(named_file("later.csv"))
    (None, 'later.csv')
    """
    try:
        float(text or "0")
    except ValueError:
        return Path(str(text))
    return None


def given_rows(options: TrainOptions, count: int) -> int:
    """--rows, or all of them. Raises: SettingError."""
    rows = count if options.rows is None else options.rows
    if not 1 <= rows <= count:
        raise SettingError(say("training.whole_number", name="rows", came=rows, low=1, high=count))
    return rows


def given_held_out(options: TrainOptions, rows: int) -> int | Path:
    """How many rows --validation keeps out: a number, a share of them, or a file. Raises: SettingError."""
    text = options.validation or "0"
    try:
        number = float(text)
    except ValueError:
        return Path(text)
    count = round(number * rows) if 0 < number < 1 else int(number) if number.is_integer() else -1
    if not 0 <= count < rows:
        raise SettingError(
            say("training.whole_number", name="validation", came=text if count < 0 else count, low=0, high=rows - 1)
        )
    return count


def given_names(text: str | None) -> tuple[str, ...] | None:
    """ "age, fare" → ("age", "fare")."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def given_memory(text: str | None) -> int:
    """--memory in bytes, 1 GiB where it is not given. Raises: SettingError."""
    return DEFAULT_MEMORY if text is None else memory_bytes(text)


def given_kinds(text: str | None) -> tuple[tuple[str, str], ...]:
    """ "zip=category,id=out" → pairs. Raises: SettingError for another kind.

    >>> given_kinds("zip=category, id=out")
    (('zip', 'category'), ('id', 'out'))
    """
    pairs = []
    for piece in given_names(text) or ():
        name, sign, kind = piece.rpartition("=")
        if not sign or kind.strip() not in KINDS:
            raise SettingError(say("tables.bad_kinds", came=piece, known=", ".join(KINDS)))
        pairs.append((name.strip(), kind.strip()))
    return tuple(pairs)


def given_shares(text: str) -> tuple[float, float, float]:
    """ "0.8,0.1,0.1": training, validation, test; of two numbers the second is the test's. Raises: SettingError.

    >>> given_shares("0.75,0.25")
    (0.75, 0.0, 0.25)
    """
    try:
        shares = [float(piece) for piece in text.split(",")]
    except ValueError:
        shares = []
    good = len(shares) in (2, 3) and all(0 <= s <= 1 for s in shares) and math.isclose(sum(shares), 1, abs_tol=1e-6)
    if not good or shares[0] == 0:
        raise SettingError(say("tables.bad_split", came=text))
    return (shares[0], 0.0, shares[1]) if len(shares) == 2 else (shares[0], shares[1], shares[2])


def given_settings(pieces: Sequence[str]) -> dict[str, float]:
    """["beta_1=0.8"] → numbers by name. Raises: SettingError."""
    values: dict[str, float] = {}
    for piece in pieces:
        name, _, text = piece.partition("=")
        try:
            values[name.strip()] = float(text)
        except ValueError:
            raise SettingError(say("tables.bad_setting", came=piece)) from None
    return values


def given_class_weights(text: str | None, names: Sequence[str], counts: Mapping[int, int]) -> dict[int, float] | None:
    """ "balanced": each class weighs as much as any other in sum; "yes=3,no=1": by name, 1 where nothing is said.

    Raises: SettingError for an unknown class or a weight below 0.
    Example:
    >>> given_class_weights("balanced", ("no", "yes"), {0: 30, 1: 10})
    {0: 0.6666666666666666, 1: 2.0}
    """
    if text is None:
        return None
    if not counts:
        raise SettingError(say("tables.no_classes", option="--class-weight"))
    if text == "balanced":
        total = sum(counts.values())
        return {k: total / (len(counts) * count) for k, count in counts.items() if count}
    weights = dict.fromkeys(range(len(names)), 1.0)
    for piece in text.split(","):
        name, _, number = piece.rpartition("=")
        name = name.strip()
        if name not in names:
            raise SettingError(no_such("no_such_class", name or piece, list(names)))
        try:
            weights[list(names).index(name)] = float(number)
        except ValueError:
            raise SettingError(say("tables.bad_setting", came=piece)) from None
    if not all(0 <= w < math.inf for w in weights.values()):
        raise SettingError(say("interfaces.bad_weight", name="--class-weight", came=text))
    return weights
