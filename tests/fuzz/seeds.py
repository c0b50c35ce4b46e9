"""What mutations begin from: the examples, the texts that the tests know to be bad, and small files of each kind."""

from __future__ import annotations

import ast
import gzip
import io
import json
import lzma
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
NETWORK = """input x[i]
target t[k], sum[k](t[k]) = 1
size j = 2, k = 2, i = 3
parameter W[i, j] = glorot_uniform
parameter V[j, k] = normal(0, 0.1)
parameter c[k] = [0.5, -1]
state s = 1
h[j] = tanh(sum[i](x[i]*W[i, j]))
p[k] = softmax[k](sum[j](h[j]*V[j, k]) + c[k])
E = -sum[k](t[k]*log(p[k]))
s <- 0.9*s + 0.1*mean[n](h[n, 0])
"""
SMALL = [
    "y = 1",
    "input x[i]\nparameter w[i] = zeros\ny = sum[i](x[i]*w[i])\nE = (y - 1)**2\n",
    "input c in v\nlabel y in k\nparameter T[v, k] = uniform(-1, 1)\n"
    "z[k] = sum[v]([v == c]*T[v, k])\nE = log_softmax[k](z[k])\n",
    "samples m\ninput x, x > 0\nf(a, b) = where(a > b, a**2, -b)\n"
    "random e = normal(0, 1)\ny = f(x, 1/3) + e\nprediction y = x\n",
    "size i = 4\ninput x[i]\noutput h\nh[i] = max[i](x[i]) - logsumexp[i](x[i])*[i == 2] + size(i) + x[0]\n",
    "eta = 0.1\ninput x\ntarget t\nparameter w, b = 0.5\nE = 1/2*(w*x + b - t)**2\nw <- w - eta*g\n"
    "then w <- w/max(1, abs(w))\n",
    "v <- mu*v + g; w <- w - eta*v".replace("; ", "\n"),
    NETWORK,
]
FORMULA_WORDS = (
    "input target label state parameter size samples loss output random prediction then sum[i]( mean[n]( max[k]( "
    "softmax[k]( logsumexp[i]( where( exp( log( sqrt( abs( tanh( ** <- [i] [i,j] [0] x[i] size(i) zeros "
    "glorot_uniform normal(0,1) bernoulli(0.5) in v and == != <= pi step # == 1/3 1e-300 0.1 E y w[i] ;"
).split()
CLAIMS = [
    "dE/dw[i, j] = (p[j] - t[j])*p[j]*(1 - p[j])*x[i]",
    "∂E/∂w[i, j] = 1/N*sum[n]((p[j] - t[j])*x[i])",
    "delta[j] = (p[j] - t[j])*p[j]*(1 - p[j])",
    "dp/dz[j] = p[j]*(1 - p[j])",
    "w[i, j] <- w[i, j] - alpha*dE/dw[i, j]",
    "dE/dw[a, b] = (p[b] - t[b])*x[a]",
]
CLAIM_WORDS = (
    "dE/d ∂E/∂ delta w[i,j] p[j] t[j] x[i] z[j] <- = sum[n]( 1/N eta alpha - * ** ' (1-p[j]) dp/dz[j] [a,b]".split()
)
LAYOUT = {
    "features": [
        {"column": "age", "kind": "number", "fill": 30.0, "marked": True, "centre": 30.0, "spread": 9.5, "words": []},
        {
            "column": "c",
            "kind": "category",
            "fill": 0,
            "marked": False,
            "centre": 0,
            "spread": 1,
            "words": ["", "a", "b"],
        },
        {"column": "d", "kind": "month", "fill": 1, "marked": False, "centre": 6.0, "spread": 3.0, "words": []},
    ],
    "target": {"column": "t", "task": "classification", "words": ["no", "yes"], "centre": 0.0, "spread": 1.0},
    "left_out": [{"column": "id", "reason": "row_number"}],
    "named": True,
    "decimals": [["age", ","]],
}
JSON_WORDS = [
    b"[]",
    b"{}",
    b"null",
    b"true",
    b"NaN",
    b"1e999",
    b'""',
    b'"\\ud800"',
    b"-0.0",
    b"[[[[",
    b'"kind"',
    b'"words"',
]
TABLES = [
    b"age;fare;sex\n1,5;2;m\n2;1.234,5;f\n;3;m\n4;4;f\n",
    b"a,b,t\n1,x,0\n2,y,1\n3,,0\n",
    b'"a ""b"" c","d\ne",t\n"1","2","3"\n',
    b"x\ty\n2024-03-31\t1\n31.3.2024\t2\n",
    "\ufeff이름,값\n가,1\n나,2\n".encode(),
    "a,b\n1,2\n".encode("utf-16"),
    gzip.compress(b"a,b\n1,2\n3,4\n", mtime=0),
]
TABLE_WORDS = [b",", b";", b"\t", b"|", b'"', b"\r\n", b"\n", b"1,234", b"1.234,5", b"2024-01-01", b"NA", b"inf", b"\0"]
NUMERALS = [
    b"1.234,56",
    b"1,234.5",
    b"$1'000",
    b"12 %",
    b"-3 \xe2\x82\xac",
    b"1 234 567,8",
    b"31.3.2024",
    b"2024. 3. 31.",
    b"1e5",
]
OPTIONS = [
    b"256,128",
    b"0..4,7",
    b"0.8,0.1,0.1",
    b"beta_1=0.8,eta=1e-3",
    b"zip=category,id=out",
    b"yes=3,no=1",
    b"1.5GB",
]
OPTIONS += [b"200 steps", b"10 minutes", b"cosine", b"eta0*0.9**step", b"momentum", b"accuracy,auc"]


@cache
def formulas() -> list[bytes]:
    """Small texts, the examples, and every text of tests/golden/bad_texts.txt that is not long."""
    texts = 20 * SMALL + 4 * [path.read_text() for path in sorted((ROOT / "examples").glob("*.formula"))]  # good ones
    golden = (ROOT / "tests" / "golden" / "bad_texts.txt").read_text().split("\n")
    texts += [str(ast.literal_eval(line[4:])) for line in golden if line.startswith(">>> ")]
    return [text.encode("utf-8", "surrogatepass") for text in texts if len(text) < 1500]


@cache
def rules() -> list[bytes]:
    """Update rules and schedules of the library, as they are written."""
    from chainrule.library import SCHEDULES, UPDATES

    return [row.formula.encode() for rows in (UPDATES, SCHEDULES) for row in rows.values()]


def claims() -> list[bytes]:
    return [claim.encode() for claim in CLAIMS]


def layouts() -> list[bytes]:
    regression = LAYOUT | {"target": {"column": "t", "task": "regression", "words": [], "centre": 2.0, "spread": 1.5}}
    return [json.dumps(one).encode() for one in (LAYOUT, regression)]


@cache
def models() -> list[bytes]:
    from chainrule.training.network import formula

    networks = [formula(SMALL[1], sizes={"i": 2}), formula(NETWORK, dtype="float64")]
    networks[1].notes = {"table": LAYOUT}
    with tempfile.TemporaryDirectory() as folder:
        for number, network in enumerate(networks):
            network.save(Path(folder) / f"{number}.safetensors")
        return [path.read_bytes() for path in sorted(Path(folder).iterdir())]


@cache
def keras_models() -> list[bytes]:
    """The descriptions of two models, as their files hold them."""
    from chainrule.interfaces.keras.saving import to_description
    from chainrule.layers import BatchNormalization, Dense, Dropout
    from chainrule.models import Sequential

    first = Sequential([Dense(3, activation="relu"), Dropout(0.5), Dense(2, activation="softmax")])
    first.build((None, 4))
    first.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    second = Sequential([Dense(2), BatchNormalization(), Dense(1)])
    second.build((None, 2))
    return [json.dumps(to_description(model)).encode() for model in (first, second)]


@cache
def checkpoints() -> list[bytes]:
    from chainrule.training.network import formula

    with tempfile.TemporaryDirectory() as folder:
        network = formula(SMALL[5])
        x = np.linspace(-1, 1, 8)
        network.fit(x, 2 * x, epochs=2, batch_size=4, verbose=0, advice=False, checkpoints=folder)
        return [path.read_bytes() for path in sorted(Path(folder, "checkpoints").glob("*.safetensors"))]


def idx() -> list[bytes]:
    small = b"\0\0\x08\x02" + struct.pack(">2I", 2, 3) + bytes(range(6))
    floats = b"\0\0\x0d\x01" + struct.pack(">I", 2) + struct.pack(">2f", 1.5, -2)
    return [small, floats, gzip.compress(small, mtime=0), lzma.compress(small)]


def npy() -> list[bytes]:
    arrays = [np.arange(6.0).reshape(2, 3), np.arange(4, dtype=">i2"), np.array(["a", "bc"]), np.array(3.5)]
    arrays += [np.array([True, False]), np.zeros((2, 2), "f4", order="F"), np.zeros(2, [("a", "f4"), ("b", "i2")])]
    found = []
    for array in arrays:
        file = io.BytesIO()
        np.save(file, array)
        found.append(file.getvalue())
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}, []], dtype=object), allow_pickle=True)
    return [*found, pickled.getvalue()]


def npz() -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, x=np.arange(6.0).reshape(3, 2), y=np.array([0, 1, 1]))
        found.append(file.getvalue())
    return found


def parquet() -> list[bytes]:
    import pyarrow
    from pyarrow import parquet

    found = []
    tables: list[dict[str, object]] = [
        {"a": [1.0, 2.0, None], "t": [0, 1, 0]},
        {"word": ["x", "y", "x"], "day": np.array(["2024-01-01"] * 3, dtype="datetime64[D]"), "t": [True, False, True]},
    ]
    for table in tables:
        file = io.BytesIO()
        parquet.write_table(pyarrow.table(table), file)
        found.append(file.getvalue())
    return found


def images() -> list[bytes]:
    from PIL import Image

    found = []
    draw = np.random.default_rng(0)
    for mode, shape in (("L", (6, 5)), ("RGB", (5, 6, 3)), ("RGBA", (4, 4, 4))):
        image = Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8), mode if mode == "L" else None)
        for form in ("PNG", "BMP", "JPEG"):
            file = io.BytesIO()
            (image.convert("RGB") if form == "JPEG" else image).save(file, form)
            found.append(file.getvalue())
    return found


def hdf5() -> list[bytes]:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        group = content.create_group("layers/dense/vars")
        group["0"] = np.ones((3, 2), "f4")
        group["1"] = np.zeros(2, "f4")
    return [file.getvalue()]


def torch_weights() -> list[bytes]:
    from safetensors.numpy import save

    return [save({"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.zeros(2, np.float32)})]


Seeds = Callable[[], list[bytes]]
