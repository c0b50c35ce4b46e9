"""One function a reader: it reads the bytes, and what is accepted it prints or saves, and reads again."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ModelFileError
from tests.fuzz import seeds
from tests.fuzz.seeds import Seeds

WORDS = [word.encode() for word in seeds.FORMULA_WORDS]


@dataclass(frozen=True)
class Target:
    """A reader. `cases` are tried by `make soak`, `quick` by `make test`; `own` says that the parser is chainrule's."""

    name: str
    run: Callable[[bytes], object]
    seeds: Seeds
    tokens: tuple[bytes, ...] = ()
    cases: int = 1_000_000
    quick: int = 1000
    own: bool = True


@cache
def _folder() -> Path:
    """Where cases become files: in memory, where there is such a place."""
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # not open(), which the guard listens to
    os.write(handle, data)
    os.close(handle)
    return path


def _same(first: object, second: object, what: str) -> None:
    if first != second:
        raise RuntimeError(f"{what}: {first!r} became {second!r}"[:400])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# --- formulas ---------------------------------------------------------------------------------------------------------


def formula_text(data: bytes) -> None:
    from chainrule.formula.parse import parse_system
    from chainrule.formula.text import system_text
    from chainrule.training.vocabulary import vocabulary

    system = parse_system(_text(data), vocabulary())
    _same(parse_system(system_text(system), vocabulary()), system, "printed and read again")


def formula_file(data: bytes) -> None:
    from chainrule.training.network import formula

    formula(_file("a.formula", data))


def derived(data: bytes) -> None:
    """All that follows a text: the derivation, its pages, the program, one step on zeros."""
    from chainrule.derivation.adjoint import derive_system
    from chainrule.formula.typeset import Latex, Unicode
    from chainrule.training.network import formula

    text = _text(data[:300])
    network = formula(f"{text}\n")
    for index in network._sizes.missing():
        network._sizes.learn(index, 2, "the fuzzer")
    for printer in (Latex(), Unicode()):
        for equation in network.system.equations:
            printer.text(equation.value)
    if network.system.loss is not None:
        str(derive_system(network.system))
        network.training_program()
    _run(network)


def _run(network: Any) -> None:
    """A prediction and the gradients of two samples of zeros, where that is little work."""
    system, sizes = network.system, network._sizes.require()
    own = [[sizes[i] for i in t.indices if i != system.samples] for t in system.tensors.values()]
    if sum(np.prod(shape, dtype=float) for shape in own) > 1e5:
        return
    data = system.of_role("input", "target", "label")
    arrays = {t.name: np.zeros([2, *(sizes[i] for i in t.indices[1:])]) for t in data}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if system.output is not None:
            inputs = {t.name: arrays[t.name] for t in system.of_role("input")}
            network._prediction.interpreted(network, network.bind((), inputs, ("input",)))
        if system.loss is not None:
            network.gradients(**arrays)


def rule(data: bytes) -> None:
    from chainrule.training.vocabulary import schedule, update_rule

    text = _text(data)
    if "<-" in text or "←" in text:
        update_rule(text)
    else:
        schedule(text)


@cache
def _checker() -> Any:
    from chainrule.interfaces.claim import checker
    from chainrule.training.network import formula

    return checker(
        formula(
            "input x[i]\ntarget t[j]\nparameter w[i, j] = zeros\nz[j] = sum[i](x[i]*w[i, j])\n"
            "p[j] = sigmoid(z[j])\nE = 1/2*sum[j]((t[j] - p[j])**2)"
        )
    )


def claim_text(data: bytes) -> None:
    """Reading a claim."""
    from chainrule.derivation.claims.claim import read_claim

    checker = _checker()
    read_claim(_text(data), checker.book, checker.vocabulary, checker.lines, checker.sizes)


def claim_judged(data: bytes) -> None:
    """And the verdict on it."""
    _checker().check(_text(data), pair_seconds=0.05, example=False)


# --- files of chainrule -----------------------------------------------------------------------------------------------


def _signed(data: bytes) -> bytes:
    """With the checksums that fit, so that what is behind them is reached."""
    from hashlib import sha256

    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= len(data) - 8:
        return data
    head, rest = bytearray(data[: 8 + length]), data[8 + length :]
    for name, value in ((b'"data_sha256":"', sha256(rest).hexdigest().encode()), (b'"sha256":"', b"0" * 64)):
        at = head.find(name)
        if 0 <= at <= len(head) - len(name) - 64:
            head[at + len(name) : at + len(name) + 64] = value
    at = head.find(b'"sha256":"') + 10
    if at >= 10:
        head[at : at + 64] = sha256(head).hexdigest().encode()
    return bytes(head) + rest


def _fitted(data: bytes) -> bytes:
    """And with the header's length, which any inserted byte would make wrong: up to the end of its last bracket."""
    start, end = data.find(b"{"), data.rfind(b"}}")
    return (
        (end + 2 - start).to_bytes(8, "little") + data[start : end + 2] + data[end + 2 :].lstrip()
        if 0 <= start < end
        else data
    )


def model_file(data: bytes) -> None:
    from chainrule.training.save import load

    data = data[1:] if data[:1] == b"!" else _signed(data if len(data) % 2 else _fitted(data))
    path = _file("a.safetensors", data)
    network = load(path)
    again = _folder() / "b.safetensors"
    _save(network, again)
    other = load(again)
    _same(other.formulas, network.formulas, "formulas")
    _same(
        (other.sizes, other.hyper, other.notes, other.seed),
        (network.sizes, network.hyper, network.notes, network.seed),
        "saved and loaded",
    )
    _same({n: a.tobytes() for n, a in other.kept.items()}, {n: a.tobytes() for n, a in network.kept.items()}, "weights")


def _save(network: Any, path: Path) -> None:
    from chainrule.training.container import pack
    from chainrule.training.save import MODEL, described, kept_arrays

    _file(path.name, pack(MODEL, kept_arrays(network), described(network)))


def checkpoint_file(data: bytes) -> None:
    from chainrule.training.checkpoint_file import read_checkpoint

    read_checkpoint(_file("a.safetensors", _signed(data if len(data) % 2 else _fitted(data))))


def _json(data: bytes) -> Any:
    from chainrule.training.save import NOTES
    from chainrule.training.strict_json import read_json

    try:
        return read_json(data.decode(), NOTES)
    except ValueError:
        raise ModelFileError("no JSON") from None


def strict_json(data: bytes) -> None:
    value = _json(data)
    _same(_json(json.dumps(value).encode()), value, "JSON")


def layout(data: bytes) -> None:
    from chainrule.data.columns import Layout

    value = _json(data)
    try:
        found = Layout.from_dict(value)
    except ValueError:
        return
    _same(Layout.from_dict(json.loads(json.dumps(found.to_dict()))), found, "layout")


def keras(data: bytes) -> None:
    """A model file whose notes describe other layers."""
    from chainrule.interfaces.keras.saving import model_of
    from chainrule.training.network import formula

    network = formula("input x\ny = x")
    network.notes = {"keras": _json(data)}
    model_of(Path("a.safetensors"), network, compile=True)


# --- data -------------------------------------------------------------------------------------------------------------


def idx(data: bytes) -> None:
    from chainrule.data.readers import read_rows

    suffix = ".gz" if data[:2] == b"\x1f\x8b" else ".xz" if data[:2] == b"\xfd7" else ""
    read_rows(_file(f"a-idx-ubyte{suffix}", data))


def numeral(data: bytes) -> None:
    from chainrule.data import numerals
    from chainrule.data.tables import _day

    word = data.decode("utf-8", "replace")
    values = [numerals.value_of(word, mark) for mark in ".,"]
    if any(value is not None and not isinstance(value, float) for value in values):
        raise RuntimeError(f"{word!r} is {values}")
    numerals.marks_of([word])
    numerals.is_open(word)
    _day(word)


def sniffed(data: bytes) -> None:
    """What a CSV file is before pyarrow reads it: text, its delimiter, its first row, its names."""
    import csv
    import io

    from chainrule.data.tables import _bad, _delimiter, _utf8, checked_names

    path = Path("a.csv")
    start = _utf8(path, data, "utf-8").decode(errors="replace")
    try:
        row = next(
            (r for r in csv.reader(io.StringIO(start, newline=""), delimiter=_delimiter(path, start)) if r), None
        )
    except csv.Error:
        raise _bad(path, "not_a_table") from None
    if row is not None:
        checked_names(path, row)


def table(data: bytes) -> None:
    from chainrule.data.finding import Wishes, find_layout, target_of
    from chainrule.data.tables import read_table

    found = read_table(_file("a.csv.gz" if data[:2] == b"\x1f\x8b" else "a.csv", data))
    for column in found.columns:
        column.words, column.codes, column.numbers, column.days, column.missing
    target = target_of(found, Wishes())
    find_layout(found, target, np.arange(found.rows), Wishes()).encode(found)


def parquet(data: bytes) -> None:
    from chainrule.data.tables import read_table

    found = read_table(_file("a.parquet", data))
    for column in found.columns:
        column.words, column.codes, column.numbers, column.missing


def parquet_stream(data: bytes) -> None:
    _stream(_file("a.parquet", data))


def parquet_pieces(data: bytes) -> None:
    from chainrule.data.bigtables import table_in_pieces

    big = table_in_pieces(_file("a.parquet", data), 2**24)
    assert big is not None
    for table in big.tables():
        for column in table.columns:
            column.words, column.codes, column.numbers, column.missing


def npy(data: bytes) -> None:
    from chainrule.data.readers import read_rows

    np.asarray(read_rows(_file("a.npy", data))[:2])


def npz(data: bytes) -> None:
    from chainrule.data.readers import read_arrays
    from chainrule.data.tables import read_table

    path = _file("a.npz", data)
    read_arrays(path)
    read_table(path)


def npz_stream(data: bytes) -> None:
    _stream(_file("a.npz", data))


def _stream(path: Path) -> None:
    from chainrule.data.sources.streams import stream

    source = stream(path, memory="64MB")
    for _ in source.blocks(None, 0):
        pass


def image(data: bytes) -> None:
    from chainrule.data.readers import read_rows

    read_rows(_file("a.png", data))


def torch_weights(data: bytes) -> None:
    _weights(_file("a.safetensors", data if len(data) % 2 else _fitted(data)))


def hdf5(data: bytes) -> None:
    _weights(_file("a.h5", data))


def _weights(path: Path) -> None:
    from chainrule.training.formats.weight_files import read_weight_file

    for weight in read_weight_file(path).weights:
        if weight.dtype is not None and np.prod(weight.shape, dtype=float) < 1e6:
            weight.read()


# --- options ----------------------------------------------------------------------------------------------------------


def option(data: bytes) -> None:
    """A text of the command line, as each of the options that have a grammar of their own."""
    from chainrule.data.memory import memory_bytes
    from chainrule.interfaces import options
    from chainrule.interfaces.build import parse_widths
    from chainrule.interfaces.predict import parse_index
    from chainrule.training.checkpoints import Checkpoints

    text = _text(data)
    readers: list[Callable[[], object]] = [
        lambda: parse_widths(text),
        lambda: parse_index(text, 1000),
        lambda: options.given_shares(text),
        lambda: options.given_settings(text.split(",")),
        lambda: options.given_kinds(text),
        lambda: options.given_class_weights(text, ("no", "yes"), {0: 3, 1: 1}),
        lambda: options.given_held_out(options.TrainOptions(data="mnist", validation=text), 100),
        lambda: memory_bytes(text),
        lambda: Checkpoints("runs", every=text).seconds,
    ]
    refused: ChainruleError | None = None
    for read in readers:
        try:
            read()
        except ChainruleError as error:
            refused = error
    if refused is not None:
        raise refused


FORMULA = tuple(WORDS)
JSON = tuple(seeds.JSON_WORDS)
TABLE = tuple(seeds.TABLE_WORDS)
TARGETS = {
    target.name: target
    for target in (
        Target("formula", formula_text, seeds.formulas, FORMULA),
        Target("formula_file", formula_file, seeds.formulas, FORMULA),
        Target("rule", rule, seeds.rules, FORMULA),
        Target("derived", derived, seeds.formulas, FORMULA, cases=100_000, quick=150, own=False),
        Target("claim", claim_text, seeds.claims, tuple(w.encode() for w in seeds.CLAIM_WORDS)),
        Target(
            "claim_judged",
            claim_judged,
            seeds.claims,
            tuple(w.encode() for w in seeds.CLAIM_WORDS),
            20_000,
            30,
            own=False,
        ),
        Target("model", model_file, seeds.models, (*JSON, *FORMULA)),
        Target("checkpoint", checkpoint_file, seeds.checkpoints, JSON),
        Target("json", strict_json, seeds.layouts, JSON, quick=3000),
        Target("layout", layout, seeds.layouts, JSON, quick=3000),
        Target("keras", keras, seeds.keras_models, JSON, quick=300),
        Target("idx", idx, seeds.idx, quick=3000),
        Target("numeral", numeral, lambda: seeds.NUMERALS, TABLE, quick=3000),
        Target("sniff", sniffed, lambda: seeds.TABLES, TABLE, quick=3000),
        Target("option", option, lambda: seeds.OPTIONS, quick=1000),
        Target("csv", table, lambda: seeds.TABLES, TABLE, cases=20_000, quick=200, own=False),
        Target("parquet", parquet, seeds.parquet, cases=20_000, quick=200, own=False),
        Target("parquet_stream", parquet_stream, seeds.parquet, cases=20_000, quick=200, own=False),
        Target("parquet_pieces", parquet_pieces, seeds.parquet, cases=20_000, quick=200, own=False),
        Target("npy", npy, seeds.npy, cases=20_000, quick=300, own=False),
        Target("npz", npz, seeds.npz, cases=20_000, quick=300, own=False),
        Target("npz_stream", npz_stream, seeds.npz, cases=20_000, quick=200, own=False),
        Target("image", image, seeds.images, cases=20_000, quick=300, own=False),
        Target("hdf5", hdf5, seeds.hdf5, cases=20_000, quick=100, own=False),
        Target("torch_weights", torch_weights, seeds.torch_weights, JSON, cases=20_000, quick=300, own=False),
    )
}
