"""Weights of PyTorch and Keras give, in a network of the same formulas, what PyTorch and Keras predicted with them; and
weights written for PyTorch give it under PyTorch's own arithmetic, here in plain NumPy.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import chainrule as cr
from chainrule.errors import DataError, FileError, SettingError
from chainrule.training.formats.matching import import_weights
from chainrule.training.formats.weight_files import read_weight_file
from chainrule.training.network import formula

GOLDEN = Path(__file__).parents[2] / "golden" / "formats"
RECORDED = json.loads((GOLDEN / "predictions.json").read_text(encoding="utf-8"))

DIGITS = """
input x[i]
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = zeros
h[j] = relu(sum[i](x[i]*W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j]*W2[j, k]) + b2[k])
"""
ROWS_FIRST = DIGITS.replace("W1[i, j]", "W1[j, i]")
NORMALIZED = """
size i = 6, j = 5, k = 3
input x[i]
parameter W[i, j], V[j, k] = glorot_uniform
parameter b[j], c[k], beta[j] = zeros
parameter gamma[j] = ones
state mean_avg[j] = zeros
state var_avg[j] = ones
a[j] = sum[i](x[i]*W[i, j]) + b[j]
mu[j] = mean[n](a[n, j])
v[j] = mean[n]((a[n, j] - mu[j])**2)
prediction mu[j] = mean_avg[j]
prediction v[j] = var_avg[j]
u[j] = gamma[j]*(a[j] - mu[j])/sqrt(v[j] + 0.00001) + beta[j]
mean_avg[j] <- 0.9*mean_avg[j] + 0.1*mu[j]
var_avg[j] <- 0.9*var_avg[j] + 0.1*v[j]
p[k] = softmax[k](sum[j](relu(u[j])*V[j, k]) + c[k])
"""
WORDS = """
size w = 11, l = 3, d = 4, k = 2
input c[l] in w
parameter T[w, d] = uniform
parameter W[l, d, k] = glorot_uniform
e[l, d] = sum[w]([w == c[l]]*T[w, d])
y[k] = sum[l, d](e[l, d]*W[l, d, k])
"""
TWINS = """
size i = 3, j = 3, k = 3
input x[i]
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = zeros
y[k] = sum[j](tanh(sum[i](x[i]*W1[i, j]) + b1[j])*W2[j, k]) + b2[k]
"""


def chain() -> cr.Model:
    layer = cr.layers
    return cr.Sequential(
        [
            cr.Input((6,)),
            layer.Dense(5, activation="relu"),
            layer.BatchNormalization(),
            layer.Dropout(0.5),
            layer.Dense(3, activation="softmax"),
        ]
    )


def words() -> cr.Model:
    layer = cr.layers
    return cr.Sequential(
        [cr.Input((3,), dtype="int32"), layer.Embedding(11, 4), layer.Flatten(), layer.Dense(2, use_bias=False)]
    )


def two_inputs() -> cr.Model:
    layer = cr.layers
    a, b = cr.Input((2,)), cr.Input((3,))
    joined = layer.Concatenate()([layer.Dense(4, activation="tanh")(a), layer.Dense(4, activation="tanh")(b)])
    return cr.Model([a, b], layer.Dense(1)(joined))


def file_of(name: str) -> Path:
    return next(p for p in GOLDEN.iterdir() if p.name.split(".")[0] == name)


def predicts(net, name: str) -> None:
    """As it was recorded, but for the last digits of float32."""
    record = RECORDED[name]
    wanted = np.array(record["predicted"])
    inputs = [np.array(x) for x in record["inputs"]]
    came = net.predict(inputs, verbose=0) if isinstance(net, cr.Model) and len(inputs) > 1 else net.predict(*inputs)
    np.testing.assert_allclose(came, wanted.reshape(came.shape), rtol=2e-5, atol=2e-6)


# --- import


@pytest.mark.parametrize("sizes", [{"i": 196, "j": 16, "k": 10}, {}])
@pytest.mark.parametrize("text", [DIGITS, ROWS_FIRST])
def test_two_layers_of_pytorch(text, sizes):
    """Also into formulas whose sizes nothing has said yet."""
    net = formula(text, sizes=sizes)
    table = import_weights(net, file_of("torch_digits"))
    predicts(net, "torch_digits")
    turned = {r.source: r.turned for r in table.rows}
    assert turned == {"fc1.weight": text is DIGITS, "fc1.bias": False, "out.weight": True, "out.bias": False}
    assert "fc1.weight" in str(table)
    assert "(16, 196)" in str(table)
    assert table.to_dict()["tensors"][0]["source_shape"]


CASES = {
    "torch_normalized": NORMALIZED,
    "torch_words": WORDS,
    "keras_chain": chain,
    "keras_legacy": chain,
    "keras_words": words,
    "keras_two_inputs": two_inputs,
}


@pytest.mark.parametrize("name", CASES)
def test_normalization_embedding_and_two_inputs(name):
    made = CASES[name]
    net = formula(made) if isinstance(made, str) else made()
    before = getattr(net, "network", net).parameters
    import_weights(net, file_of(name))
    predicts(net, name)
    after = getattr(net, "network", net).parameters
    assert all((before[n] != after[n]).any() for n in before)


def test_weights_of_keras_go_into_formulas():
    net = formula(WORDS)
    import_weights(net, file_of("keras_words"))
    predicts(net, "keras_words")


def test_an_order_that_nothing_tells_is_refused_and_can_be_said():
    net = formula(TWINS)
    before = net.parameters
    with pytest.raises(SettingError, match=r"W1 .*alpha\.weight, zeta\.weight") as error:
        import_weights(net, file_of("torch_twins"))
    assert "--map" in str(error.value)
    assert all((net.parameters[n] == before[n]).all() for n in before)
    said = {"zeta.weight": "W1", "zeta.bias": "b1", "alpha.weight": "W2", "alpha.bias": "b2"}
    import_weights(net, file_of("torch_twins"), said)
    predicts(net, "torch_twins")
    net = formula(TWINS, seed=3)
    import_weights(net, file_of("torch_twins"), {"zeta.weight": "W1"})  # its bias and the others are then sure
    predicts(net, "torch_twins")


@pytest.mark.parametrize(
    "names, told",
    [
        ({"fc9.weight": "W1"}, "holds no fc9.weight"),
        ({"fc1.weight": "W9"}, "W9"),
        ({"fc1.weight": "W2"}, "not sure|wants|shape"),
        ({"fc1.weight": "b1", "fc1.bias": "b1"}, "two arrays"),
        ({"fc1.weight": ""}, "not sure"),
        ({"fc1.bias": "b2"}, "not sure|wants"),
    ],
)
def test_names_that_do_not_fit(names, told):
    net = formula(DIGITS, sizes={"i": 196, "j": 16, "k": 10})
    with pytest.raises(SettingError, match=told):
        import_weights(net, file_of("torch_digits"), names)


def test_another_shape_or_another_number_of_layers():
    with pytest.raises(SettingError, match="not sure"):
        import_weights(formula(DIGITS, sizes={"i": 196, "j": 17, "k": 10}), file_of("torch_digits"))
    with pytest.raises(SettingError, match="not sure"):
        import_weights(formula("input x[i]\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])"), file_of("torch_digits"))


def test_numbers_in_names_give_the_order(tmp_path):
    rng = np.random.default_rng(0)
    weights = {f"layers.{n}.weight": rng.normal(size=(3, 3)).astype(np.float32) for n in (2, 10)}
    weights |= {f"layers.{n}.bias": rng.normal(size=3).astype(np.float32) for n in (2, 10)}
    weights["layers.2.num_batches_tracked"] = np.array(7)
    save_file(weights, tmp_path / "w.safetensors")
    net = formula(TWINS)
    import_weights(net, tmp_path / "w.safetensors")
    assert (net.parameters["W1"] == weights["layers.2.weight"].T).all()
    assert (net.parameters["W2"] == weights["layers.10.weight"].T).all()


def test_what_is_not_finite_is_refused(tmp_path):
    save_file({"w": np.array([1, np.nan], np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="NaN"):
        import_weights(formula("input x[i]\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])"), tmp_path / "w.safetensors")


# --- files that mean no good


def of_tensors(path: Path, **tensors: tuple[str, np.ndarray]) -> Path:
    """A safetensors file of the dtypes that are said: those that NumPy has no arrays of, too."""
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        content = array.tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    return header_file(path, header, data)


def test_bfloat16_is_widened(tmp_path):
    wanted = np.array([1.5, -2.0, 2.0**-130, 3.0e38], np.float32)
    halves = (wanted.view(np.uint32) >> 16).astype("<u2")
    path = of_tensors(tmp_path / "w.safetensors", a=("F32", np.ones(3, np.float32)), w=("BF16", halves))
    net = formula("input x[i]\nparameter w[i], a[j] = zeros\ny[j] = a[j]*sum[i](x[i]*w[i])")
    import_weights(net, path)
    np.testing.assert_array_equal(net.parameters["w"], (halves.astype(np.uint32) << 16).view(np.float32))


def test_bfloat16_of_keras(tmp_path):
    h5py = pytest.importorskip("h5py")
    halves = (np.array([[1.5], [-2.0]], np.float32).view(np.uint32) >> 16).astype("<u2").view("V2")
    net = formula("input x[i]\nparameter W[i, j] = zeros\ny[j] = sum[i](x[i]*W[i, j])")
    for said in ("bfloat16", None):
        path = tmp_path / f"{said}.weights.h5"
        with h5py.File(path, "w") as file:
            written = file.create_dataset("layers/dense/vars/0", data=halves)
            if said:
                written.attrs["dtype"] = said
        if said:
            import_weights(net, path)
            np.testing.assert_array_equal(net.parameters["W"], [[1.5], [-2.0]])
        else:
            with pytest.raises(FileError, match="bfloat16"):
                import_weights(net, path)


def test_types_that_are_not_read_are_named(tmp_path):
    path = of_tensors(tmp_path / "w.safetensors", w=("F8_E4M3", np.zeros(4, np.uint8)))
    with pytest.raises(FileError, match=r"w is of type F8_E4M3, which is not read"):
        read_weight_file(path)


def test_what_has_no_place_is_named(tmp_path):
    arrays = {"0.weight": np.ones((2, 3)), "0.bias": np.zeros(2), "ema.decay": np.float32(0.9)}
    save_file({n: np.asarray(a, np.float32) for n, a in arrays.items()}, tmp_path / "w.safetensors")
    net = formula("input x[i]\nparameter W[i, j], b[j] = zeros\ny[j] = sum[i](x[i]*W[i, j]) + b[j]")
    with pytest.raises(SettingError, match=r"no place for ema\.decay.*--map ema\.decay="):
        import_weights(net, tmp_path / "w.safetensors")
    import_weights(net, tmp_path / "w.safetensors", names={"ema.decay": ""})
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(FileError, match="holds no weights"):
        import_weights(net, tmp_path / "empty.safetensors")


def test_numbers_too_large_for_the_network(tmp_path, recwarn):
    save_file({"w": np.array([1.0, 1e300])}, tmp_path / "w.safetensors")
    text = "input x[i]\nparameter w[i] = zeros\ny = sum[i](x[i]*w[i])"
    with pytest.raises(DataError, match="too large for float32"):
        import_weights(formula(text), tmp_path / "w.safetensors")
    import_weights(formula(text, dtype="float64"), tmp_path / "w.safetensors")
    assert not recwarn.list


JOINED = """
input a[i], b[m]
parameter V[i, j], W[j, k], U[m, k] = normal
parameter c[j], d[k] = zeros
h[j] = relu(sum[i](a[i]*V[i, j]) + c[j])
y[k] = sum[j](h[j]*W[j, k]) + sum[m](b[m]*U[m, k]) + d[k]
"""


@pytest.mark.parametrize("wide", [7, 5, 4])
def test_a_linear_on_a_concatenation_with_open_sizes(wide, tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"fc1.weight": (5, 4), "fc1.bias": (5,), "fc2.weight": (3, wide), "fc2.bias": (3,)}
    arrays = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    save_file(arrays, tmp_path / "w.safetensors")
    net = formula(JOINED)
    if wide <= 5:  # nothing is left for U
        with pytest.raises(SettingError, match="not sure"):
            import_weights(net, tmp_path / "w.safetensors")
        return
    import_weights(net, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(net.parameters["W"], arrays["fc2.weight"][:, :5].T)
    np.testing.assert_array_equal(net.parameters["U"], arrays["fc2.weight"][:, 5:].T)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "model"])
def test_pickles_are_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 and more" if name != "model" else b"\x80\x02}q\x00.")
    with pytest.raises(FileError, match=r"safetensors\.torch\.save_file"):
        read_weight_file(tmp_path / name)


def test_archives_of_keras_are_refused(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04")
    with pytest.raises(FileError, match="save_weights"):
        read_weight_file(tmp_path / "model.keras")


def header_file(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


SHORT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
BAD_HEADERS = {
    "nothing": b"",
    "no object": b"[1]",
    "a hole": {"w": {**SHORT, "data_offsets": [4, 8]}},
    "an overlap": {"v": SHORT, "w": SHORT},
    "a bomb": {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    "an overflow": {"w": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 8]}},
    "a negative size": {"w": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}},
    "another type": {"w": {"dtype": "F7", "shape": [1], "data_offsets": [0, 4]}},
    "a name twice": b'{"w": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "w": 1}',
    "many": {f"w{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(10_001)},
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_headers_that_mean_no_good(name, tmp_path):
    path = header_file(tmp_path / "w.safetensors", BAD_HEADERS[name], b"\0" * 8)
    with pytest.raises(FileError, match=r"w\.safetensors") as error:
        read_weight_file(path)
    assert "\n" not in str(error.value)


def test_every_short_file_is_an_error(tmp_path):
    whole = file_of("torch_words").read_bytes()
    path = tmp_path / "w.safetensors"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FileError):
            read_weight_file(path)


@pytest.fixture
def h5(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones(3, np.float32)
    path = tmp_path / "w.weights.h5"

    def attempt(change) -> str:
        with h5py.File(path, "w") as file:
            change(h5py, file, file.create_group("layers/dense/vars"))
        with pytest.raises(FileError, match=r"w\.weights\.h5") as error:
            read_weight_file(path)
        return str(error.value)

    return attempt


def test_hdf5_that_means_no_good(h5, tmp_path):
    def external(h5py, file, group):
        group["0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")

    def soft(h5py, file, group):
        file["layers/dense/vars/0"] = h5py.SoftLink("/elsewhere")

    def loop(h5py, file, group):
        group["again"] = file["layers"]

    def root(h5py, file, group):
        group["again"] = file["/"]

    def outside(h5py, file, group):
        group.create_dataset("0", (3,), "f4", external=[(str(tmp_path / "other.h5"), 0, 12)])

    def virtual(h5py, file, group):
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (3,))
        group.create_virtual_dataset("0", layout)

    def bomb(h5py, file, group):
        group.create_dataset("0", (2**40,), "f4", chunks=(1024,))

    def packed_bomb(h5py, file, group):
        group.create_dataset("0", (2**40,), "f4", chunks=(1024,), compression="gzip")

    def chunk(h5py, file, group):
        group.create_dataset("0", (2**30,), "f4", chunks=(2**29,), compression="gzip")

    def objects(h5py, file, group):
        group.create_dataset("0", data=["text"], dtype=h5py.string_dtype())

    def references(h5py, file, group):
        group.create_dataset("0", (2,), h5py.ref_dtype)

    def a_type(h5py, file, group):
        group["0"] = np.dtype("f4")

    def deep(h5py, file, group):
        file.create_group("/".join("abcdefghijklmnopqrstuvwxyz") + "/vars")

    told = {
        external: "link",
        soft: "link",
        loop: "link",
        root: "link",
        outside: "another file",
        virtual: "another file",
        bomb: "claims",
        packed_bomb: "claims",
        chunk: "claims",
        objects: "numbers",
        references: "numbers",
        a_type: "neither",
        deep: "groups within",
    }
    for change, what in told.items():
        assert what in h5(change), change.__name__


def test_hdf5_that_was_cut_or_bitten(tmp_path):
    """Bytes that are wrong give an error or the names and shapes of arrays, never something else."""
    pytest.importorskip("h5py")
    whole = file_of("keras_chain").read_bytes()
    path = tmp_path / "w.h5"
    rng = np.random.default_rng(0)
    for attempt in range(60):
        bitten = bytearray(whole if attempt % 2 else whole[: rng.integers(8, len(whole))])
        for place in rng.integers(8, len(bitten), size=3):
            bitten[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bitten)
        try:
            for weight in read_weight_file(path).weights:
                weight.read()
        except FileError as error:
            assert "\n" not in str(error)


# --- export


def test_a_chain_has_the_names_of_sequential(tmp_path):
    """What nn.Sequential(Linear, BatchNorm1d, ReLU, Linear, Softmax) would compute, in NumPy."""
    net = formula(NORMALIZED.replace("relu(u[j])", "h[j]").replace("p[k] =", "h[j] = relu(u[j])\np[k] ="))
    rng = np.random.default_rng(0)
    net.keep({"mean_avg": rng.normal(size=5).astype("f4"), "var_avg": rng.uniform(0.5, 2, 5).astype("f4")})
    net.set_parameters(b=rng.normal(size=5), c=rng.normal(size=3), gamma=rng.normal(size=5), beta=rng.normal(size=5))
    table = net.export(tmp_path / "w.safetensors")
    w = load_file(tmp_path / "w.safetensors")
    assert w["0.weight"].shape == (5, 6)
    x = rng.normal(size=(7, 6)).astype(np.float32)
    a = x @ w["0.weight"].T + w["0.bias"]
    u = (a - w["1.running_mean"]) / np.sqrt(w["1.running_var"] + 1e-5) * w["1.weight"] + w["1.bias"]
    z = np.maximum(u, 0) @ w["3.weight"].T + w["3.bias"]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    np.testing.assert_allclose(net.predict(x), p, rtol=1e-5)
    assert "eps" not in str(table)  # it is PyTorch's own


def test_dropout_and_flattening_are_counted_and_eps_is_told(tmp_path):
    layer = cr.layers
    model = cr.Sequential(
        [
            cr.Input((3,), dtype="int32"),
            layer.Embedding(11, 4),
            layer.Flatten(),
            layer.Dense(6, activation="relu"),
            layer.Dropout(0.5),
            layer.BatchNormalization(),
            layer.Dense(1, activation="sigmoid"),
        ]
    )
    table = model.network.export(tmp_path / "w.safetensors")
    w = load_file(tmp_path / "w.safetensors")
    shapes = {"0.weight": (11, 4), "2.weight": (6, 12), "2.bias": (6,), "6.weight": (1, 6), "6.bias": (1,)}
    shapes |= {f"5.{part}": (6,) for part in ("weight", "bias", "running_mean", "running_var")}
    assert {n: a.shape for n, a in w.items()} == shapes
    assert "5: eps is 0.001" in str(table)
    c = np.array([[1, 2, 3], [10, 0, 4]])
    flat = w["0.weight"][c].reshape(2, 12)
    h = np.maximum(flat @ w["2.weight"].T + w["2.bias"], 0)
    u = (h - w["5.running_mean"]) / np.sqrt(w["5.running_var"] + 1e-3) * w["5.weight"] + w["5.bias"]
    z = u @ w["6.weight"].T + w["6.bias"]
    np.testing.assert_allclose(model.predict(c, verbose=0).ravel(), 1 / (1 + np.exp(-z.ravel())), rtol=1e-5)


def test_there_and_back(tmp_path):
    net = formula(NORMALIZED)
    rng = np.random.default_rng(0)
    net.keep({"mean_avg": rng.normal(size=5).astype("f4"), "var_avg": rng.uniform(0.5, 2, 5).astype("f4")})
    net.export(tmp_path / "w.safetensors")
    again = formula(NORMALIZED, seed=7)
    import_weights(again, tmp_path / "w.safetensors")
    assert all((again.kept[n] == a).all() for n, a in net.kept.items())


def test_names_that_are_chosen(tmp_path):
    net = formula(DIGITS, sizes={"i": 4, "j": 3, "k": 2})
    path = tmp_path / "w.safetensors"
    net.export(path, names=["fc1", "head"])
    assert sorted(load_file(path)) == ["fc1.bias", "fc1.weight", "head.bias", "head.weight"]
    net.export(path, names={"W1": "encoder.weight"})
    assert load_file(path)["encoder.weight"].shape == (3, 4)
    for names, told in ((["fc1"], "1 names"), (["fc1", "fc1"], "twice"), (["a b", "c"], "a b"), ({"W9": "x"}, "W9")):
        with pytest.raises(SettingError, match=told):
            net.export(path, names=names)
    with pytest.raises(SettingError, match="float"):
        net.export(path, names=3.5)


def test_a_network_that_is_no_chain_keeps_its_names(tmp_path):
    net = two_inputs().network
    net.export(tmp_path / "w.safetensors")
    w = load_file(tmp_path / "w.safetensors")
    assert {n: a.shape for n, a in w.items()} == {n: a.shape for n, a in net.parameters.items()}
    again = two_inputs()
    import_weights(again, tmp_path / "w.safetensors")
    assert all((again.network.parameters[n] == a).all() for n, a in net.parameters.items())


BITES = """
import resource, sys
from pathlib import Path
import numpy as np
from chainrule.errors import FileError
from chainrule.training.formats.weight_files import read_weight_file

resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (3000, 3000))
folder, count = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
golden = sorted(p for p in Path(sys.argv[3]).iterdir() if p.suffix in (".h5", ".safetensors"))
for _ in range(count):
    source = golden[rng.integers(len(golden))]
    bitten = bytearray(source.read_bytes())
    if rng.random() < 0.3:
        bitten = bitten[: rng.integers(1, len(bitten))]
    written = np.flatnonzero(np.frombuffer(bytes(bitten), np.uint8))  # HDF5 is mostly zeros
    for place in rng.choice(written, size=rng.integers(1, 6)) if len(written) else []:
        bitten[place] = rng.integers(256) if rng.random() < 0.5 else bitten[place] ^ (1 << int(rng.integers(8)))
    path = folder / f"bitten{source.suffix}"
    path.write_bytes(bitten)
    try:
        for weight in read_weight_file(path).weights:
            weight.read()
    except FileError as error:
        assert "\\n" not in str(error)
"""


@pytest.mark.soak
def test_twenty_thousand_bitten_files(tmp_path):
    """In a process with little memory: HDF5's own library is in C."""
    command = [sys.executable, "-c", BITES, str(tmp_path), "20000", str(GOLDEN)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
