"""`chainrule export` and `chainrule import` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file

import chainrule as cr
from chainrule.data.tables import read_table
from chainrule.interfaces.cli import main
from chainrule.interfaces.tabular import inputs_of, layout_of
from chainrule.training.network import formula, load

onnxruntime.set_default_logger_severity(4)
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "formats"
DIGITS = """
input x[i]
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = zeros
p[k] = softmax[k](sum[j](relu(sum[i](x[i]*W1[i, j]) + b1[j])*W2[j, k]) + b2[k])
"""


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")
    formula(DIGITS, sizes={"i": 4, "j": 3, "k": 2}).save("model.safetensors")
    return Path("model.safetensors")


def test_a_table_model_as_onnx_takes_what_its_formulas_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = str(ROOT / "examples" / "penguins.csv")
    options = ["--target", "species", "--epochs", "1", "--engine", "interpreter", "--hidden", "8", "--out", "run"]
    assert main(["train", table, *options]) == 0
    capsys.readouterr()
    assert main(["export", "run/model.safetensors", "p.onnx", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["inputs"] == ["raw (N, 9) float32", "c1 (N) int64", "c2 (N) int64"]
    assert report["operators"]["Gather"] == 2
    net = load("run/model.safetensors")
    arrays = inputs_of(net, layout_of(net, "model"), read_table(Path(table)))
    session = onnxruntime.InferenceSession("p.onnx", providers=["CPUExecutionProvider"])
    (came,) = session.run(None, {n: a.astype(np.int64 if n[0] == "c" else np.float32) for n, a in arrays.items()})
    np.testing.assert_allclose(came, net.predict(arrays), rtol=1e-5, atol=1e-7)
    notes = {p.key: p.value for p in onnx.load("p.onnx").metadata_props}["notes"]
    assert "Chinstrap" in notes


def test_export_for_pytorch_and_import_again(model, capsys):
    assert main(["export", str(model), "w.safetensors", "--names", "fc1,fc2"]) == 0
    assert "fc1.weight  (3, 4)  rows and columns exchanged" in capsys.readouterr().out
    Path("names.txt").write_text("W1 = a.weight  # the first\n\nb1=a.bias\nW2=z.weight\nb2=z.bias\n", encoding="utf-8")
    assert main(["export", str(model), "v.safetensors", "--names", "names.txt"]) == 0
    assert sorted(load_file("v.safetensors")) == ["a.bias", "a.weight", "z.bias", "z.weight"]
    Path("list.txt").write_text("a\nz\n", encoding="utf-8")
    assert main(["export", str(model), "u", "--as", "safetensors", "--names", "list.txt"]) == 0
    assert Path("u").read_bytes() == Path("v.safetensors").read_bytes()
    Path("net.formula").write_text(DIGITS, encoding="utf-8")
    for name in ("w", "v"):
        capsys.readouterr()
        assert (
            main(["import", f"{name}.safetensors", "--into", "net.formula", "--out", "new.safetensors", "--json"]) == 0
        )
        assert len(json.loads(capsys.readouterr().out)["tensors"]) == 4
        same = load("new.safetensors").parameters
        assert all((same[n] == a).all() for n, a in load(model).parameters.items())


def test_weights_of_keras_become_a_model_file(model, capsys):
    """A model that chainrule made in Keras's style is a place for them too."""
    layer = cr.layers
    chain = [
        layer.Dense(5, activation="relu"),
        layer.BatchNormalization(),
        layer.Dropout(0.5),
        layer.Dense(3, "softmax"),
    ]
    cr.Sequential([cr.Input((6,)), *chain]).network.save("empty.safetensors")
    weights = str(GOLDEN / "keras_chain.weights.h5")
    assert main(["import", weights, "--into", "empty.safetensors", "--out", "full.safetensors"]) == 0
    record = json.loads((GOLDEN / "predictions.json").read_text(encoding="utf-8"))["keras_chain"]
    came = load("full.safetensors").predict(np.array(record["inputs"][0]))
    np.testing.assert_allclose(came, record["predicted"], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (["export", "model.safetensors", "a.pdf"], 1, ".onnx, .safetensors"),
        (["export", "model.safetensors", "model.safetensors"], 1, "the file that is read"),
        (["export", "model.safetensors", "a.onnx", "--names", "a,b"], 1, "PyTorch"),
        (["export", "model.safetensors", "a.safetensors", "--names", "a"], 1, "1 names came and there are 2"),
        (["export", "nothing.safetensors", "a.onnx"], 1, "nothing.safetensors"),
        (["export", "model.safetensors"], 2, "FILE"),
        (["import", "nothing.h5", "--into", "model.safetensors", "--out", "b.safetensors"], 1, "nothing.h5 is no file"),
        (["import", "model.pt", "--into", "model.safetensors", "--out", "b.safetensors"], 1, "pickle"),
        (["import", "model.safetensors", "--out", "b.safetensors"], 2, "--into"),
        (["import", "model.safetensors", "--into", "model.safetensors"], 2, "--out"),
        (["import", "w.h5", "--into", "model.safetensors", "--out", "b", "--map", "W1"], 1, "NAME=TENSOR"),
        (["import", "w.h5", "--into", "model.safetensors", "--out", "b"], 1, "no weights"),
    ],
)
def test_what_goes_wrong_is_one_message(arguments, code, told, model, capsys):
    Path("model.pt").write_bytes(b"PK\x03\x04")
    Path("w.h5").write_bytes(b"not HDF5 at all")
    before = model.read_bytes()
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert model.read_bytes() == before
    assert not Path("b.safetensors").exists()
