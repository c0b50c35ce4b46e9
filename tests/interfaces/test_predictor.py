"""The program of `show --as numpy --out` predicts what the network does, where chainrule cannot be imported."""

from __future__ import annotations

import ast
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import FormulaError, SettingError
from chainrule.interfaces.cli import main
from chainrule.interfaces.predictor import write_predictor
from chainrule.training.network import Network, formula
from tests.random_systems import draw, together

SITE = str(Path(np.__file__).parents[1])
ROWS = 5
# NumPy's folder alone on the path: -I leaves out the current folder and PYTHON…, -S the installed packages.
ALONE = f"""
import importlib.util, sys
sys.path.append({SITE!r})
class NoChainrule:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("chainrule", "scipy", "safetensors"):
            raise ImportError(name)
sys.meta_path.insert(0, NoChainrule())
"""


def alone(code: str) -> str:
    run = subprocess.run([sys.executable, "-I", "-S", "-c", ALONE + code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def predicted(net: Network, data: dict[str, np.ndarray], folder: Path) -> np.ndarray:
    """What the program gives for arrays in a file, by its command line."""
    write_predictor(net, Path("model"), folder / "reader.py")
    np.savez(folder / "rows.npz", **data)
    alone(
        f"import runpy; sys.argv = ['reader.py', {str(folder / 'rows.npz')!r}, {str(folder / 'out.npy')!r}]\n"
        f"runpy.run_path({str(folder / 'reader.py')!r}, run_name='__main__')"
    )
    return np.load(folder / "out.npy")


NETWORKS = {
    "digits": Path("examples/digits.formula").read_text(encoding="utf-8"),
    "images": "size r = 3, c = 4, k = 2\ninput image[r, c]\nparameter W[r, c, k] = glorot_uniform\n"
    "y[k] = tanh(sum[r, c](image[r, c]*W[r, c, k]))",
    "one alone": "input x[i]\nparameter file[i] = normal\np = sigmoid(sum[i](x[i]*file[i]))",
    "words": "size v = 7, l = 3, d = 4\ninput c in v, w[l] in v\nparameter T[v, d] = normal\n"
    "y[d] = sum[v]([v == c]*T[v, d]) + sum[l, v]([v == w[l]]*T[v, d])",
    "names that mean something": "size i = 3\ninput read[i], number\nparameter csv[i], main = normal\n"
    "encode[i] = where(read[i] > 0, csv[i]*read[i], main*number)",
    "no weights": "size i = 3\ninput x[i]\ny[i] = softplus(x[i]) + erf(x[i])",
    "the batch": "size i = 3\ninput x[i]\ny[i] = x[i] - mean[n](x[n, i])",
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_predicts_as_the_network(name, dtype, tmp_path):
    net = formula(NETWORKS[name], dtype=dtype, sizes={"k": 10, "i": 20} if name == "digits" else {})
    rng = np.random.default_rng(0)
    if name == "one alone":
        net.bind((np.zeros((1, 4)),), {}, ("input",))
    data = {}
    for tensor in net.system.of_role("input"):
        shape = [ROWS, *(net.sizes[i] for i in tensor.indices if i != "n")]
        data[tensor.name] = rng.integers(0, 7, shape) if tensor.classes else rng.normal(size=shape)
    wanted = net.predict(data)
    came = predicted(net, data, tmp_path)
    assert came.dtype == wanted.dtype
    np.testing.assert_allclose(came, wanted, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_random_networks(seed, tmp_path):
    drawn = together([draw(np.random.default_rng(seed), 0, ROWS)])
    net = formula(drawn.text, dtype="float64", sizes=drawn.sizes, seed=seed)
    data = {t.name: drawn.data[t.name] for t in net.system.of_role("input")}
    np.testing.assert_allclose(predicted(net, data, tmp_path), net.predict(data), rtol=1e-10, atol=1e-12)


def test_logits_of_ten_thousand_stay_finite(tmp_path):
    net = formula("size k = 3\ninput a[k]\np[k] = softmax[k](a[k])")
    data = np.array([[1e4, -1e4, 0], [1e4, 1e4, 9990]], np.float32)
    came = predicted(net, {"a": data}, tmp_path)
    small = np.exp(-10)
    np.testing.assert_allclose(came, [[1, 0, 0], np.array([1, 1, small]) / (2 + small)], rtol=1e-6)
    net = formula("size k = 3\ninput a[k]\np[k] = sigmoid(a[k])*softplus(a[k])")
    came = predicted(net, {"a": data}, tmp_path)
    np.testing.assert_allclose(came, [[1e4, 0, np.log(2) / 2], [1e4, 1e4, 9990]], rtol=1e-6)


def test_batch_normalization_and_dropout_predict_by_their_averages(tmp_path):
    layer = cr.layers
    model = cr.Sequential(
        [cr.Input((6,)), layer.Dense(5), layer.BatchNormalization(), layer.Dropout(0.5), layer.Dense(2)]
    )
    model.compile(optimizer="sgd", loss="mse")
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(20, 6)).astype(np.float32)
    model.fit(x, rng.normal(size=(20, 2)), epochs=2, verbose=0)
    came = predicted(model.network, {model.network.system.of_role("input")[0].name: x}, tmp_path)
    np.testing.assert_allclose(came, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


TABLE = """\
when,size,colour,answer
2024-01-01 06:30,1.5,red,yes
2024-01-02 18:00,,blue,no
2024-02-03 00:15,3.25,red,yes
2024-03-04 12:00,4,"green, pale",no
"""


@pytest.mark.parametrize(
    "options", [["--target", "answer"], ["--target", "size"], ["--target", "answer", "--network", "own.formula"]]
)
def test_a_table_goes_in_as_it_is(options, tmp_path, monkeypatch):
    """Dates, gaps, words that training did not see; classes come out by name."""
    monkeypatch.chdir(tmp_path)
    rows = TABLE.splitlines()
    body = [r.replace("2024-0", f"202{n % 5}-0") for n in range(12) for r in rows[1:]]
    if options[1] == "size":
        body = [r.replace(",,", ",2.5,") for r in body]
    Path("table.csv").write_text("\n".join([rows[0], *body]) + "\n", encoding="utf-8")
    own = (
        "input x[i]\ntarget t\nparameter w[i], b = zeros\n"
        "p = sigmoid(sum[i](w[i]*x[i]) + b)\nE = -t*log(p) - (1 - t)*log(1 - p)\n"
    )
    Path("own.formula").write_text(own, encoding="utf-8")
    more = [] if "--network" in options else ["--hidden", "4"]
    assert (
        main(["train", "table.csv", *options, *more, "--epochs", "2", "--out", "run", "--engine", "interpreter"]) == 0
    )
    new = [rows[0], *rows[1:], "2024-05-05 05:05,7,violet,", " 2023-06-06 , NA ,  red  ,no"]
    Path("new.csv").write_text("\n".join(new) + "\n", encoding="utf-8")
    assert main(["predict", "run/model.safetensors", "new.csv", "--out", "wanted.csv"]) == 0
    assert main(["show", "run/model.safetensors", "--as", "numpy", "--out", "reader.py"]) == 0
    run = subprocess.run(
        [sys.executable, "-I", "reader.py", "new.csv", "came.csv"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    Path("short.csv").write_text("when,answer\n2024-01-01,yes\n", encoding="utf-8")
    short = subprocess.run(
        [sys.executable, "-I", "reader.py", "short.csv"], capture_output=True, text=True, check=False
    )
    assert short.stderr.startswith("short.csv has no column")
    wanted = list(csv.DictReader(Path("wanted.csv").read_text(encoding="utf-8").splitlines()))
    came = list(csv.reader(Path("came.csv").read_text(encoding="utf-8").splitlines()))
    if options[1] == "size":
        np.testing.assert_allclose([float(r[0]) for r in came], [float(r["prediction"]) for r in wanted], rtol=1e-5)
        return
    assert came[0] == ["prediction", "no", "yes"]
    assert [r[0] for r in came[1:]] == [r["prediction"] for r in wanted]
    np.testing.assert_allclose([float(r[2]) for r in came[1:]], [float(r["p(yes)"]) for r in wanted], rtol=1e-4)


def test_rows_of_numbers_and_arrays_go_in_and_predictions_come_out(tmp_path):
    net = formula("input x[i]\nparameter w[i, j] = normal\ny[j] = sum[i](x[i]*w[i, j])", sizes={"i": 2, "j": 3})
    write_predictor(net, Path("model"), tmp_path / "reader.py")
    x = np.array([[1.0, 2.0], [3.0, -1.0]])
    np.save(tmp_path / "x.npy", x)
    np.savetxt(tmp_path / "x.csv", x, delimiter=",")
    for name in ("x.npy", "x.csv"):
        run = [sys.executable, "-I", str(tmp_path / "reader.py"), str(tmp_path / name)]
        printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
        came = [[float(c) for c in row] for row in csv.reader(printed.splitlines())]
        np.testing.assert_allclose(came, net.predict(x), rtol=1e-6)
    wrong = "import reader\ntry: reader.predict([[1.0, 2, 3]])\nexcept ValueError as error: print(error)"
    assert "(2,)" in alone(f"sys.path.append({str(tmp_path)!r})\n{wrong}")


def test_a_formula_cannot_leave_its_text_and_pickles_are_not_loaded(tmp_path):
    text = 'input x  # """ + __import__("os").abort() + """ \\" \nparameter w = ones\ny = w*x'
    net = formula(text)
    write_predictor(net, Path("model"), tmp_path / "reader.py")
    code = (tmp_path / "reader.py").read_text(encoding="utf-8")
    calls = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Attribute) and n.attr == "abort"]
    assert not calls
    assert code.count("allow_pickle=False") == code.count("np.load(")
    assert "y = w * x" in code


def test_what_cannot_be_written_is_said(tmp_path, capsys):
    net = formula("input x\ny = 2*x")
    with pytest.raises(SettingError, match=r"\.py"):
        write_predictor(net, Path("model"), tmp_path / "reader.txt")
    with pytest.raises(FormulaError):
        write_predictor(formula("input x\ntarget t\nE = (x - t)**2"), Path("model"), tmp_path / "reader.py")
    net.save(tmp_path / "m.safetensors")
    arguments = ["show", str(tmp_path / "m.safetensors"), "--as", "numpy", "--out", str(tmp_path / "r.py")]
    assert main([*arguments, "--optimizer", "adam"]) == 1
    assert "--optimizer" in capsys.readouterr().err


def test_a_page_goes_to_a_file(tmp_path, capsys):
    out = tmp_path / "digits.tex"
    assert main(["show", "examples/digits.formula", "--as", "latex", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert main(["show", "examples/digits.formula", "--as", "latex"]) == 0
    assert capsys.readouterr().out == out.read_text(encoding="utf-8")


def test_rows_that_the_program_cannot_read_are_named(tmp_path, monkeypatch):
    """Not numbers, too few or too many cells, a name twice: one line each, and never a prediction of something else."""
    monkeypatch.chdir(tmp_path)
    body = [f"{n % 5}.5,{'red' if n % 2 else 'blue'},{n}" for n in range(24)]
    Path("table.csv").write_text("\n".join(["size,colour,price", *body]) + "\n", encoding="utf-8")
    told = ["--target", "price", "--hidden", "2", "--epochs", "1", "--out", "run", "--engine", "interpreter"]
    assert main(["train", "table.csv", *told]) == 0
    assert main(["show", "run/model.safetensors", "--as", "numpy", "--out", "reader.py"]) == 0
    good = "size,colour\n1.5,red\n"
    for text, said in {
        good + "inf,red": "column size: 'inf' is no number",
        good + "1_000,red": "column size: '1_000' is no number",
        good + "1e999,red": "column size: '1e999' is no number",
        good + "big,red": "column size: 'big' is no number",
        good + "2.5": "new.csv, row 2: there are not as many values",
        good + "2.5,red,3": "new.csv, row 2: there are not as many values",
        "size,colour,size\n1,red,2": "new.csv has two columns of one name",
        good + ",": "",
    }.items():
        Path("new.csv").write_text(text + "\n", encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "-I", "reader.py", "new.csv"], capture_output=True, text=True, check=False
        )
        assert run.stderr.startswith(said) and len(run.stderr.splitlines()) == bool(said), run.stderr


def test_what_has_no_program_is_said_in_one_line(tmp_path):
    for text, sizes, said in (
        ("input x[i]\nparameter w = normal\ny = w*sum[i](x[i])", {}, "index i has no size yet"),
        ("input x[i]\nrandom m[i] = normal(0, 1)\ny[i] = x[i]*m[i]", {"i": 3}, "reads no input"),
    ):
        with pytest.raises(FormulaError, match=said):
            write_predictor(formula(text, sizes=sizes), tmp_path / "m", tmp_path / "reader.py")


def test_an_output_that_reads_no_input_is_written(tmp_path):
    net = formula("input x[i]\nparameter b[k] = normal\ny[k] = softmax[k](b[k])", sizes={"i": 3, "k": 4})
    np.testing.assert_allclose(
        predicted(net, {"x": np.ones((5, 3))}, tmp_path), net.predict(np.ones((5, 3))), rtol=1e-6
    )
