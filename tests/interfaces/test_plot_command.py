"""`chainrule plot`: each kind leaves its file; what does not fit gets one clear line."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

import chainrule as cr
from chainrule.interfaces.cli import main
from tests.interfaces.pictures_networks import DIGITS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained digit reader, and formula files."""
    folder = tmp_path_factory.mktemp("plot")
    net = cr.formula(DIGITS)
    data = cr.datasets.mnist().train
    net.fit(data.images[:200], data.labels[:200], epochs=1, verbose=0, engine="interpreter")
    net.save(folder / "model.safetensors")
    (folder / "logistic.formula").write_text(
        "size i = 2\ninput x[i]\nparameter w[i] = [1, 1]\nparameter b = -1.5\ny = step(sum[i](w[i]*x[i]) + b)\n"
    )
    return folder


def complaint(capsys, *arguments: object) -> str:
    assert main([*map(str, arguments), "--lang", "en"]) == 1
    error = capsys.readouterr().err
    first, *place = error.strip().splitlines()
    # Of a formula its line and a caret follow.
    assert not place or (len(place) == 2 and place[1].strip() == "^")
    return first


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("network", []),
        ("network", ["--data", "mnist", "--index", "3"]),
        ("weights", ["--weight", "W1"]),
        ("activations", ["--data", "mnist", "--index", "0..4"]),
        ("line", ["--data", "mnist", "--index", "0..9"]),
        ("noise", ["--data", "mnist", "--index", "0..20"]),
    ],
)
def test_each_kind_of_a_model_file(folder, tmp_path, capsys, kind, more):
    out = tmp_path / f"{kind}.png"
    assert main(["plot", str(folder / "model.safetensors"), kind, *more, "--out", str(out), "--lang", "en"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as image:
        assert image.width > 400


def test_a_formula_file_takes_its_sizes_and_scale_from_the_data(tmp_path):
    out = tmp_path / "mlp.svg"
    assert main(["plot", "examples/mlp.formula", "network", "--data", "mnist", "--out", str(out), "--lang", "ko"]) == 0
    assert ElementTree.parse(out).getroot().tag.endswith("svg")


def test_a_flow_is_a_gif(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.formula").write_text(
        "size j = 3\ninput x[i]\ntarget t[k]\nparameter W[i, j], U[j, k] = glorot_uniform\n"
        "h[j] = tanh(sum[i](x[i]*W[i, j]))\ny[k] = softmax[k](sum[j](h[j]*U[j, k]))\nE = -sum[k](t[k]*log(y[k]))\n"
    )
    assert main(["plot", "small.formula", "flow", "--data", "mnist", "--index", "3", "--lang", "en"]) == 0
    with Image.open("flow.gif") as image:
        assert image.n_frames == 7


def test_a_boundary_and_a_descent(folder, tmp_path):
    assert main(["plot", str(folder / "logistic.formula"), "boundary", "--out", str(tmp_path / "b.pdf")]) == 0
    assert main(["plot", "x**2 + 8*y**2", "descent", "--start", "2,1", "--out", str(tmp_path / "d.png")]) == 0
    assert (tmp_path / "b.pdf").read_bytes().startswith(b"%PDF")


def test_an_autoencoder_beside_pca(tmp_path):
    out = tmp_path / "r.png"
    assert main(["plot", "examples/autoencoder.formula", "reconstructions", "--data", "mnist", "--out", str(out)]) == 0
    assert out.exists()


def test_bad_requests(folder, tmp_path, capsys):
    model = folder / "model.safetensors"
    cases = {
        ("plot", model, "netwrok"): "network",
        ("plot", model, "flow"): "--data mnist",
        ("plot", model, "flow", "--data", "mnist", "--out", tmp_path / "f.png"): ".gif",
        ("plot", model, "network", "--out", tmp_path / "f.jpeg"): ".svg",
        ("plot", model, "network", "--index", "3"): "--data mnist",
        ("plot", model, "network", "--weight", "W1"): "--weight",
        ("plot", model, "weights", "--weight", "W9"): "W1, W2",
        ("plot", model, "weights", "--weight", "W2"): "30 × 10",
        ("plot", model, "boundary"): "784",
        ("plot", model, "reconstructions", "--data", "mnist"): "rebuilds",
        ("plot", model, "network", "--data", "mnist", "--index", "10000"): "9999",
        ("plot", model, "network", "--out", tmp_path / "absent" / "f.png"): "cannot be written",
        ("plot", folder / "absent.formula", "network"): "absent.formula",
        ("plot", "examples/mlp.formula", "network"): "size",
        ("plot", "x**2", "descent", "--start", "two"): "--start",
        ("plot", "x**2", "descent", "--data", "mnist"): "--data",
        ("plot", "x*y*z", "descent"): "x, y, z",
    }
    for arguments, words in cases.items():
        assert words in complaint(capsys, *arguments)
