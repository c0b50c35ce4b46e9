"""The model file: what was saved comes back; what is damaged is refused in one line, and nothing runs."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import FileError, ModelFileError
from chainrule.training.network import Network, formula, load

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


def parts(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write(path: Path, header: dict, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_what_was_saved_comes_back(net, path):
    again = load(path)
    assert again.formulas == TEXT
    assert again.sizes == net.sizes
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert np.array_equal(again.predict(x), net.predict(x))
    assert all(np.array_equal(a, net.parameters[n]) for n, a in again.parameters.items())


def test_other_programs_can_read_it(path, net):
    from safetensors.numpy import load_file

    assert set(load_file(path)) == set(net.parameters)


def test_saving_leaves_no_temporary_file_and_replaces_whole(path, net):
    net.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_saving_into_nowhere_is_a_file_error(net, tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        net.save(tmp_path / "no" / "such" / "model.safetensors")


def test_every_truncation_is_refused(path):
    content = path.read_bytes()
    for length in (*range(64), *range(64, len(content), 37), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            load(path)


def test_a_longer_file_is_refused(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ModelFileError):
        load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h["__metadata__"].update(format="other"), "not a chainrule model"),
        (lambda h: h["__metadata__"].update(version="99"), "format version 99"),
        (lambda h: h["__metadata__"].update(formulas="y = __import__('os').getcwd()"), "do not fit"),
        (lambda h: h["__metadata__"].update(formulas="y = 2*"), "do not fit"),
        (lambda h: h["__metadata__"].update(sizes='{"i": 1e30, "j": 4}'), "do"),
        (lambda h: h["__metadata__"].update(sizes='{"i": 1000000000, "j": 1000000000}'), "do not fit"),
        (lambda h: h["__metadata__"].update(sizes="[" * 10_000), "damaged"),
        (lambda h: h["__metadata__"].update(dtype="object"), "do not fit"),
        (lambda h: h["__metadata__"].update(seed="x"), "damaged"),
        (lambda h: h["__metadata__"].pop("sizes"), "damaged"),
        (lambda h: h.pop("w"), "holds the tensors"),
        (lambda h: h.update(extra=h["w"]), "holds the tensors"),
        (lambda h: h["w"].update(shape=[4, 3]), "shape"),
        (lambda h: h["w"].update(dtype="F64"), "shape"),
        (lambda h: h["w"].update(dtype="BF16"), "shape"),
        (lambda h: h["w"].update(data_offsets=[0, 10**12]), "damaged"),
        (lambda h: h["w"].update(data_offsets=h["v"]["data_offsets"]), "damaged"),
    ],
)
def test_a_changed_header_is_refused_in_one_line(path, change, said):
    header, data = parts(path)
    change(header)
    write(path, header, data)
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_twice_a_huge_header_and_numbers_that_are_not_finite(path):
    content = path.read_bytes()
    header, data = parts(path)
    text = json.dumps(header)[:-1] + ', "w": {}}'
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + data)
    with pytest.raises(ModelFileError, match="damaged"):
        load(path)
    path.write_bytes(struct.pack("<Q", 2**63) + content[8:])
    with pytest.raises(ModelFileError, match="not a chainrule model"):
        load(path)
    write(path, header, np.full(len(data) // 4, np.nan, dtype="<f4").tobytes())
    with pytest.raises(ModelFileError, match="NaN or infinity"):
        load(path)


def test_no_file_and_a_folder(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ModelFileError, match="cannot be read"):
            load(path)


def test_random_bytes_never_raise_anything_else(path):
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(content)
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            load(path)
        except ModelFileError:
            pass
