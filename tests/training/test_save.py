"""The model file: what was saved comes back; what is damaged is refused in one line, and nothing runs."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from chainrule.errors import FileError, ModelFileError
from chainrule.training.network import Network, formula, load
from tests.training.model_files import parts, write

TEXT = """
input x[i]
target t
parameter w[i, j], v[j] = glorot_uniform
parameter b = 0.5
h[j] = swish(sum[i](x[i]*w[i, j]))
y = sum[j](h[j]*v[j]) + b
E = (y - t)**2
"""


@pytest.fixture
def net() -> Network:
    return formula(TEXT, sizes={"i": 3, "j": 4}, seed=7)


@pytest.fixture
def path(net: Network, tmp_path: Path) -> Path:
    net.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def refused(path: Path) -> str:
    """The one line that it is refused with."""
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_what_was_saved_comes_back(net, path):
    again = load(path)
    assert again.formulas == TEXT
    assert again.sizes == net.sizes
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert np.array_equal(again.predict(x), net.predict(x))
    assert all(np.array_equal(a, net.parameters[n]) for n, a in again.parameters.items())


def test_what_comes_back_can_be_trained_on(path):
    again = load(path)
    before = again.loss(np.ones((4, 3)), np.ones(4))
    again.fit(np.ones((4, 3)), np.ones(4), epochs=20, learning_rate=0.1, verbose=0, advice=False)
    assert again.loss(np.ones((4, 3)), np.ones(4)) < before


def test_other_programs_can_read_it(path, net):
    assert set(load_file(path)) == set(net.parameters)


def test_two_saves_are_the_same_bytes(path, net):
    content = path.read_bytes()
    for _ in range(20):  # the library orders the metadata by chance
        net.save(path)
        assert path.read_bytes() == content
    load(path).save(path)
    assert path.read_bytes() == content


def test_saving_leaves_no_temporary_file_and_replaces_whole(path, net):
    net.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_saving_into_nowhere_is_a_file_error(net, tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        net.save(tmp_path / "no" / "such" / "model.safetensors")


@pytest.mark.parametrize("notes", [{"x": float("nan")}, {"x": 2**70}, {"x": "\ud800"}, {"x": "y" * 3_000_000}])
def test_notes_that_could_not_be_read_are_not_written(net, path, notes):
    content = path.read_bytes()
    net.notes = notes
    with pytest.raises(ModelFileError, match="cannot be kept"):
        net.save(path)
    assert path.read_bytes() == content


# --- what happens to files ------------------------------------------------------------------------------------------


def test_every_truncation_is_refused(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert ("cut off" if length >= 24 else "not a chainrule model file") in refused(path)


def test_every_flipped_bit_is_refused(path):
    """Length, formulas, sizes, checksums, padding, weights: all of them count."""
    content = path.read_bytes()
    for place in range(len(content)):
        broken = bytearray(content)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        refused(path)


def test_a_longer_file_is_refused(path):
    path.write_bytes(path.read_bytes() + b"x")
    assert "damaged" in refused(path)


def test_data_that_changed_are_refused_though_the_header_is_whole(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "checksum" in refused(path)


def test_no_file_a_folder_and_a_pipe(tmp_path):
    assert "cannot be read" in refused(tmp_path / "absent")
    assert "no ordinary file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer for ever
    assert "no ordinary file" in refused(tmp_path / "pipe")
    assert "no ordinary file" in refused(Path("/dev/zero"))
    assert "no ordinary file" in refused(tmp_path / "a\0b")


# --- what somebody may have made, with checksums that fit -----------------------------------------------------------


def metadata(**changes):
    return lambda header: header["__metadata__"].update(changes)


BIG = "9" * 5000
CHANGED = [
    (metadata(format="other"), "not a chainrule model"),
    (metadata(kind="checkpoint"), "not a chainrule model"),
    (metadata(version="99"), "format version 99"),
    (metadata(version="1"), "format version 1,"),
    (metadata(version="\x1b[2J"), "format version"),
    (metadata(more="x"), "damaged"),
    (metadata(notes=3), "damaged"),
    (metadata(formulas="y = __import__('os').getcwd()"), "do not fit"),
    (metadata(formulas="y = 2*"), "do not fit"),
    (metadata(formulas="y = \x1b]0;gone\x07"), "do not fit"),
    (metadata(sizes='{"i": 1e30, "j": 4}'), "damaged"),
    (metadata(sizes='{"i": 3.0, "j": 4}'), "damaged"),
    (metadata(sizes='{"i": 0, "j": 4}'), "damaged"),
    (metadata(sizes='{"i": true, "j": 4}'), "damaged"),
    (metadata(sizes='{"i": 3, "i": 3, "j": 4}'), "damaged"),
    (metadata(sizes=f'{{"i": {BIG}, "j": 4}}'), "damaged"),
    (metadata(sizes='{"i": 1000000000, "j": 1000000000}'), "do not fit"),
    (metadata(sizes='{"i": 1000000000, "j": 2}'), "shape"),
    (metadata(sizes='{"i": 3}'), "do not fit"),
    (metadata(sizes="[" * 10_000), "damaged"),
    (metadata(hyper='{"eta": NaN}'), "damaged"),
    (metadata(hyper='{"eta": 1e999}'), "damaged"),
    (metadata(hyper='{"eta": "1"}'), "damaged"),
    (metadata(hyper='{"a b": 1}'), "damaged"),
    (metadata(notes="[]"), "damaged"),
    (metadata(notes='{"a": "\\ud800"}'), "damaged"),
    (metadata(notes='{"a": ' + "[" * 500 + "]" * 500 + "}"), "damaged"),
    (metadata(notes='{"a": [' + "0," * 400_000 + "0]}"), "damaged"),
    (metadata(dtype="object"), "do not fit"),
    (metadata(seed="x"), "damaged"),
    (metadata(seed="-1"), "damaged"),
    (metadata(seed=" 1"), "damaged"),
    (metadata(seed="1_0"), "damaged"),
    (metadata(seed="\u0661"), "damaged"),  # a digit of Arabic, which int() reads
    (metadata(seed=str(2**64)), "do not fit"),
    (lambda h: h["__metadata__"].pop("sizes"), "damaged"),
    (lambda h: h.update(__metadata__=["sha256"]), "not a chainrule model"),
    (lambda h: h.pop("w"), "damaged"),
    (lambda h: h.update(extra=h["w"]), "damaged"),
    (lambda h: h.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}), "holds the tensors"),
    (lambda h: h.update({"\x1b[31m": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}), "holds the tensors"),
    (lambda h: h.update({"n" * 300: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}), "entry of nnn"),
    (lambda h: h["w"].update(shape=[4, 3]), "shape"),
    (lambda h: h["w"].update(shape=[12]), "shape"),
    (lambda h: h["w"].update(shape=[3, 4, 1]), "shape"),
    (lambda h: h["w"].update(shape=[1] * 40 + [12]), "entry of w"),
    (lambda h: h["w"].update(shape=[3.0, 4]), "entry of w"),
    (lambda h: h["w"].update(shape=[True, 12]), "entry of w"),
    (lambda h: h["w"].update(shape=[-3, -4]), "entry of w"),
    (lambda h: h["w"].update(shape=[2**33, 2**33, 0]), "entry of w"),
    (lambda h: h["w"].update(shape="34"), "entry of w"),
    (lambda h: h["w"].update(dtype="F64"), "entry of w"),
    (lambda h: h["w"].update(dtype="BF16"), "entry of w"),
    (lambda h: h["w"].update(dtype="O"), "entry of w"),
    (lambda h: h["w"].update(dtype=["F32"]), "entry of w"),
    (lambda h: h["w"].update(more=1), "entry of w"),
    (lambda h: h.update(w=3), "entry of w"),
    (lambda h: h["w"].update(data_offsets=[0, 10**12]), "entry of w"),
    (lambda h: h["w"].update(data_offsets=[48, 0]), "entry of w"),
    (lambda h: h["w"].update(data_offsets=[2**63, 2**63 + 48]), "entry of w"),
    (lambda h: h["w"].update(data_offsets=[o + 4 for o in h["w"]["data_offsets"]]), "cut off"),
    (lambda h: h["v"].update(data_offsets=[0, 16]), "damaged"),
]


@pytest.mark.parametrize(("change", "said"), CHANGED)
def test_a_changed_header_is_refused_in_one_line(path, change, said):
    header, data = parts(path)
    change(header)
    write(path, header, data)
    assert said in refused(path)


def test_the_same_header_signed_anew_is_taken(path, net):
    """So that the files above are refused for what they hold."""
    header, data = parts(path)
    write(path, header, data)
    assert np.array_equal(load(path).parameters["w"], net.parameters["w"])


def test_the_library_too_refuses_holes_and_overlaps(path):
    """What is checked here is checked again by the library that reads the arrays."""
    for offsets in ([0, 16], [8, 24]):  # b lies before it, in [0, 4], w behind it, from 20
        header, data = parts(path)
        header["v"]["data_offsets"] = offsets
        write(path, header, data)
        with pytest.raises(Exception, match=r"[Oo]ffset|header"):
            load_file(path)


def test_a_name_twice_a_huge_header_and_numbers_that_are_not_finite(path):
    content = path.read_bytes()
    header, data = parts(path)
    text = json.dumps(header, separators=(",", ":"))[:-1] + ',"w":{}}'
    write(path, text, data)
    assert "damaged" in refused(path)
    path.write_bytes(struct.pack("<Q", 2**63) + content[8:])
    assert "not a chainrule model" in refused(path)
    for value in (np.nan, np.inf, -np.inf):
        write(path, header, np.full(len(data) // 4, value, dtype="<f4").tobytes())
        assert "NaN or infinity" in refused(path)


def test_a_hundred_thousand_arrays_are_refused(path):
    header, data = parts(path)
    header |= {f"a{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}
    write(path, header, data)
    refused(path)


@pytest.mark.parametrize("declared", ["parameter s[k] = uniform", "state s[k] = zeros"])
def test_a_file_cannot_have_anything_drawn(path, declared):
    """Two hundred million numbers that the formulas declare and the file does not hold."""
    header, data = parts(path)
    header["__metadata__"]["formulas"] = f"size k = 200000000\n{declared}{TEXT}q = sum[k](s[k])\noutput y"
    header["__metadata__"]["sizes"] = '{"i": 3, "j": 4, "k": 200000000}'
    write(path, header, data)
    tracemalloc.start()
    try:
        assert "holds the tensors" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_says_that_it_is_large_costs_nothing(path):
    """A sparse file of 4 GB whose header is in order, but whose formulas want 12 numbers."""
    header, _ = parts(path)
    header["w"] = {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}
    header["v"]["data_offsets"], header["b"]["data_offsets"] = [2**32, 2**32 + 16], [2**32 + 16, 2**32 + 20]
    write(path, header, b"")
    os.truncate(path, path.stat().st_size + 2**32 + 20)
    tracemalloc.start()
    try:
        assert "shape" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_random_bytes_never_raise_anything_else(path):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(500):
        broken = bytearray(content)
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        if broken != content:
            refused(path)
