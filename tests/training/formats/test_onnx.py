"""ONNX files, run by ONNX Runtime, give what the interpreter gives: every layer, every activation, random formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings

import chainrule as cr
from chainrule.errors import FileError, FormulaError, SettingError
from chainrule.library import ACTIVATIONS
from chainrule.program.interpret import run
from chainrule.program.lower import lower_prediction
from chainrule.training.formats.onnx_file import OPSET, write_onnx
from chainrule.training.network import Network, formula
from tests.random_systems import draw, together
from tests.strategies import systems

onnxruntime.set_default_logger_severity(4)
ROWS = 5
RELATIVE = 1e-5  # in float32 both sides round, in other orders: a few units in the last place beside the largest entry


def opened(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def interpreted(net: Network, data: dict[str, np.ndarray]) -> np.ndarray:
    """The output by the slow runner."""
    net.bind((data,), {}, ("input",))
    return net.run(lower_prediction(net.system), net.bind((data,), {}, ("input",)))[str(net.system.output)]


def compare(net: Network, data: dict[str, np.ndarray], path: Path, relative: float = RELATIVE) -> onnx.ModelProto:
    """ONNX Runtime's result beside the interpreter's; the model that was written."""
    wanted = interpreted(net, data)
    write_onnx(net, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = opened(path)
    kinds = {i.name: i.type for i in session.get_inputs()}
    fed = {n: a.astype(np.int64 if "int64" in kinds[n] else net.dtype) for n, a in data.items() if n in kinds}
    (came,) = session.run(None, fed)
    assert came.dtype == wanted.dtype
    assert came.shape == wanted.shape
    scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-30))
    np.testing.assert_allclose(came, wanted, rtol=relative, atol=relative * scale * 0.1)
    return model


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


# --- formulas


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation(name, dtype, tmp_path):
    index = "[k]" if ACTIVATIONS[name].index else ""
    net = formula(f"input a[k]\ny[k] = {name}{index}(a[k])", dtype=dtype, sizes={"k": 201})
    data = np.linspace(-12, 12, 201) + 1e-3
    compare(net, {"a": np.stack([data, data / 10, data * 1e-3])}, tmp_path / "a.onnx")


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_networks(seed, dtype, tmp_path):
    drawn = together([draw(np.random.default_rng(seed), 0, ROWS)])
    net = formula(drawn.text, dtype=dtype, sizes=drawn.sizes, seed=seed)
    names = {t.name for t in net.system.of_role("input")}
    compare(net, {n: a for n, a in drawn.data.items() if n in names}, tmp_path / "r.onnx")


@settings(max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(systems())
def test_random_formulas(tmp_path_factory, drawn):
    """The loss and all before it: sums of sums, choices, comparisons, largest and smallest."""
    net = formula(drawn.text, dtype="float64", sizes=drawn.sizes)
    arrays = drawn.arrays(rows=ROWS, seed=0)
    loss = next(e for e in net.system.equations if e.target.tensor == net.system.loss)
    if not loss.target.slots:
        return  # one number for the batch: no prediction
    net = Network(net.system.with_(output=net.system.loss), dtype="float64", sizes=drawn.sizes)
    net.keep({p.name: arrays[p.name] for p in net.system.parameters})
    program = lower_prediction(net.system)
    path = tmp_path_factory.mktemp("onnx") / "f.onnx"
    write_onnx(net, path)
    sizes = {**net.sizes, net.system.samples: ROWS}
    with np.errstate(all="ignore"):
        wanted = run(program, {**arrays, **net.kept}, sizes)[str(net.system.loss)]
    session = opened(path)
    fed = {i.name: arrays[i.name] for i in session.get_inputs()}
    (came,) = session.run(None, fed)
    scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1)
    np.testing.assert_allclose(came, wanted, rtol=RELATIVE, atol=1e-7 * scale)


FORMULAS = {
    "an image": "size r = 4, c = 3, k = 2\ninput image[r, c]\nparameter W[r, c, k] = glorot_uniform\n"
    "y[k] = tanh(sum[r, c](image[r, c]*W[r, c, k]))",
    "three indices on both sides": "size l = 3, i = 4, h = 2, d = 5\ninput x[l, i]\nparameter W[i, h, d] = normal\n"
    "y[l, h, d] = sum[i](x[l, i]*W[i, h, d])",
    "a product of two results": "size l = 3, m = 2, d = 4, e = 5\ninput x[l, d], z[m, e]\nparameter A[d, e] = normal\n"
    "q[l, e] = sum[d](x[l, d]*A[d, e])\ns[l, m] = sum[e](q[l, e]*z[m, e])\ny[l, m] = softmax[m](s[l, m])",
    "a product that ends early": "size l = 3, d = 4\ninput x[l, d], w[l]\ny[d] = sum[l](w[l]*x[l, d])",
    "what is expm1 and log1p": "size k = 6\ninput x[k]\ny[k] = (exp(x[k]*1e-6) - 1) + log(1 + x[k]**2*1e-7)",
    "comparisons": "size k = 6\ninput x[k]\ny[k] = where(x[k] != 0.5, [x[k] > 0]*x[k], 3) + [k == 2]*max(x[k], 0.1)",
    "a statistic of the batch": "size k = 4\ninput x[k]\ny[k] = x[k] - mean[n](x[n, k])",
    "one input fixed": "size k = 4, m = 4\ninput x[k]\nparameter A[k, m] = normal\ny = x[2] + sum[k](A[k, k]*x[k])",
    "a constant output": "size k = 3\ninput x[k]\nparameter b[k] = normal\ny[k] = 0*x[k] + b[k]",
    "two inputs": "size i = 3, j = 2\ninput u[i], v[j]\nparameter W[i, j] = normal\ny = sum[i, j](u[i]*W[i, j]*v[j])",
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name, dtype, tmp_path):
    net = formula(FORMULAS[name], dtype=dtype)
    rng = np.random.default_rng(1)
    data = {
        t.name: rng.normal(size=(ROWS, *(net.sizes[i] for i in t.indices if i != "n")))
        for t in net.system.of_role("input")
    }
    compare(net, data, tmp_path / "f.onnx")


LOOKED_UP = {
    "a row": "size v = 7, d = 3\ninput c in v\nparameter T[v, d] = normal\ny[d] = tanh(sum[v]([v == c]*T[v, d]))",
    "several rows": "size v = 7, d = 3, l = 4\ninput c[l] in v\nparameter T[v, d] = normal\n"
    "y[d] = sum[l, v]([v == c[l]]*T[v, d])",
    "a table for each place": "size v = 7, d = 3, l = 4\ninput c[l] in v\nparameter T[l, v, d] = normal\n"
    "y[l, d] = sum[v]([v == c[l]]*T[l, v, d])",
    "into a product": "size v = 7, d = 3, j = 4\ninput c in v\nparameter T[v, d], W[d, j] = normal\n"
    "y[j] = sum[v, d]([v == c]*T[v, d]*W[d, j])",
    "with the number itself": "size v = 7\ninput c in v\nparameter T[v] = normal\n"
    "y = sum[v]([v == c]*T[v]*v) + [c > 2]",
}


@pytest.mark.parametrize("name", LOOKED_UP)
def test_categories(name, tmp_path):
    net = formula(LOOKED_UP[name])
    tensor = net.system.tensors["c"]
    numbers = np.random.default_rng(2).integers(0, 7, [ROWS, *(net.sizes[i] for i in tensor.indices if i != "n")])
    model = compare(net, {"c": numbers}, tmp_path / "c.onnx")
    if "place" not in name:
        assert "Gather" in operators(model)


def test_logits_of_ten_thousand_stay_finite(tmp_path):
    net = formula("size k = 3\ninput a[k]\np[k] = softmax[k](a[k])")
    model = compare(net, {"a": np.array([[1e4, -1e4, 0], [1e4, 1e4, 9999]])}, tmp_path / "p.onnx")
    assert operators(model) == ["Softmax"]
    net = formula("size k = 3\ninput a[k]\np[k] = log_softmax[k](a[k])")
    compare(net, {"a": np.array([[1e4, -1e4, 0], [1e4, 1e4, 9999]])}, tmp_path / "l.onnx")
    net = formula("size k = 3\ninput a[k]\np = log(sum[k](exp(a[k])))")
    compare(net, {"a": np.array([[1e4, -1e4, 0], [-1e4, -1e4, -9999]])}, tmp_path / "s.onnx")


# --- layers


def layers_of_keras() -> dict[str, cr.Model]:
    """A model with each layer of library/layers.py."""
    layer, several = cr.layers, {}
    names = {
        "dense": [layer.Dense(4, activation="relu"), layer.Dense(3, activation="softmax")],
        "activation": [layer.Activation("gelu"), layer.Dense(2)],
        "rectifier": [layer.ReLU(negative_slope=0.1, threshold=0.2)],
        "bounded rectifier": [layer.ReLU(max_value=0.5)],
        "prelu": [layer.PReLU()],
        "dropout": [layer.Dropout(0.4), layer.Dense(2)],
        "gaussian noise": [layer.GaussianNoise(0.4), layer.Dense(2)],
        "gaussian dropout": [layer.GaussianDropout(0.4), layer.Dense(2)],
        "batch normalization": [layer.Dense(4), layer.BatchNormalization(), layer.Dense(2)],
        "layer normalization": [layer.LayerNormalization(), layer.Dense(2)],
        "rms normalization": [layer.RMSNormalization()],
        "unit normalization": [layer.UnitNormalization()],
        "normalization": [
            layer.Normalization(mean=[1.0, 2, 3, 4, 5, 6], variance=[0.5, 1, 2, 0, 4, 9]),
            layer.Dense(2),
        ],
        "frozen batch normalization": [layer.BatchNormalization(trainable=False), layer.Dense(2)],
        "rescaling": [layer.Rescaling(1 / 255, offset=0.5)],
    }
    for name, chain in names.items():
        several[name] = cr.Sequential([cr.Input((6,)), *chain])
    several["pooling"] = cr.Sequential(
        [cr.Input((5,), dtype="int32"), layer.Embedding(9, 4), layer.GlobalAveragePooling1D(), layer.Dense(2)]
    )
    several["largest"] = cr.Sequential(
        [cr.Input((5,), dtype="int32"), layer.Embedding(9, 4), layer.GlobalMaxPooling1D()]
    )
    several["flat"] = cr.Sequential(
        [cr.Input((5,), dtype="int32"), layer.Embedding(9, 4), layer.Flatten(), layer.Dense(2)]
    )
    for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        a, b = cr.Input((3,)), cr.Input((2,))
        joined = getattr(layer, name)()([layer.Dense(4, activation="tanh")(a), layer.Dense(4)(b)])
        several[name.lower()] = cr.Model([a, b], layer.Dense(2)(joined))
    return several


@pytest.mark.parametrize("name", layers_of_keras())
def test_every_layer(name, tmp_path):
    model = layers_of_keras()[name]
    net = model.network
    rng = np.random.default_rng(3)
    data = {}
    for tensor in net.system.of_role("input"):
        shape = [ROWS, *(net.sizes[i] for i in tensor.indices if i != "n")]
        data[tensor.name] = rng.integers(0, 9, shape) if tensor.classes else rng.normal(size=shape)
    for state in net.system.of_role("state"):  # moving averages that have moved
        net.keep({state.name: rng.uniform(0.5, 2, net.kept[state.name].shape).astype(net.dtype)})
    compare(net, data, tmp_path / "layer.onnx")


# --- the file


def test_an_onnx_runtime_gets_the_operators_that_it_runs_well(tmp_path):
    net = formula(Path("examples/digits.formula"), sizes={"i": 784, "k": 10})
    report = net.export(tmp_path / "digits.onnx")
    assert operators(onnx.load(tmp_path / "digits.onnx")) == ["Gemm", "Relu", "Gemm", "Softmax"]
    assert "x (N, 784) float32" in str(report)
    assert report.to_dict()["output"] == "p (N, 10) float32"


def test_names_batch_axis_opset_and_metadata(tmp_path):
    net = formula(Path("examples/digits.formula"), sizes={"i": 784, "k": 10})
    net.notes["classes"] = ["null", "eins"]
    write_onnx(net, tmp_path / "digits.onnx")
    model = onnx.load(tmp_path / "digits.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert (model.graph.input[0].name, dims[0].dim_param, dims[1].dim_value) == ("x", "N", 784)
    assert [o.name for o in model.graph.output] == ["p"]
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    assert {n: w.shape for n, w in weights.items()} == {n: w.shape for n, w in net.parameters.items()}
    properties = {p.key: p.value for p in model.metadata_props}
    assert properties["formulas"] == net.formulas
    assert "eins" in properties["notes"]
    session = opened(tmp_path / "digits.onnx")
    for rows in (1, 3):
        assert session.run(None, {"x": np.zeros((rows, 784), np.float32)})[0].shape == (rows, 10)


def test_every_output_of_a_model_goes(tmp_path):
    u, v = cr.layers.Input((4,)), cr.layers.Input((3,))
    h = cr.layers.Dense(5, activation="tanh", name="inner")(cr.layers.Concatenate()([u, v]))
    outputs = [cr.layers.Dense(2, activation="softmax", name="kind")(h), cr.layers.Dense(1, name="price")(h), h]
    model = cr.models.Model([u, v], outputs)
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(ROWS, n)).astype(np.float32) for n in (4, 3)]
    wanted = model.predict(given)
    model.save(tmp_path / "m.safetensors")
    for net in (model.network, cr.load(tmp_path / "m.safetensors")):
        report = net.export(tmp_path / "m.onnx")
        assert [o.split(" ")[0] for o in report.output.split("32, ")] == ["kind", "price", "inner"]
        session = opened(tmp_path / "m.onnx")
        came = session.run(None, {i.name: a for i, a in zip(session.get_inputs(), given, strict=True)})
        for one, other in zip(came, wanted, strict=True):
            np.testing.assert_allclose(one.reshape(other.shape), other, rtol=RELATIVE, atol=1e-6)


def test_positions_are_no_constants_of_gigabytes(tmp_path):
    net = formula("size i = 2000000000\ninput x\ny = x*max[i](i)")
    with pytest.raises(SettingError, match="16000000000 bytes"):
        net.export(tmp_path / "n.onnx")


def test_notes_of_a_stranger_name_no_output(tmp_path):
    net = formula("input x[i]\ntarget t\nparameter w[i] = ones\ny = sum[i](x[i]*w[i])\nE = (y - t)**2", sizes={"i": 2})
    for said in (["E", "x", "w", "none", 3, None, "y", "y"], "y", {"y": 1}, [["y"]]):
        net.notes["outputs"] = said
        assert net.export(tmp_path / "n.onnx").output == "y (N) float32"


def test_what_goes_wrong_is_said(tmp_path, monkeypatch):
    net = formula("size k = 2\ninput x[k]\nparameter w = zeros\ny[k] = w*x[k]")
    with pytest.raises(FileError, match="nowhere"):
        net.export(tmp_path / "nowhere" / "a.onnx")
    with pytest.raises(SettingError, match=r"\.onnx"):
        net.export(tmp_path / "a.pdf")
    with pytest.raises(FormulaError, match="n in the equation y"):
        write_onnx(formula("input x\ny = x*n"), tmp_path / "n.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(SettingError, match=r"chainrule\[onnx\]"):
        net.export(tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
