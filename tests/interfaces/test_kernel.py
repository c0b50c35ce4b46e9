"""`chainrule show --as kernel`: from an equation to its loop to the file of the microkernel."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import chainrule.kernels
from chainrule.interfaces.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits.formula"
KERNELS = Path(chainrule.kernels.__file__).parent


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    monkeypatch.setenv("CHAINRULE_LANG", "en")


def shown(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["show", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.formula")))
def test_every_example_shows_a_module_that_reads_as_python(capsys, name):
    code, out, _ = shown(capsys, EXAMPLES / name, "--as", "kernel")
    assert code == 0
    tree = ast.parse(out)
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert names[-1] == "epoch"
    assert ast.get_docstring(tree)  # the comments before it do not push it away


def test_an_equation_leads_to_its_loop_and_the_loop_to_the_microkernel(capsys):
    code, out, _ = shown(capsys, DIGITS, "--as", "kernel", "--of", "h")
    assert code == 0
    kind, head, equation = re.search(r"(# tiles: .*)\n(def step_1_h\(.*\n) *(# a_h\[j\] = .*)", out).groups()
    assert "tile()" in kind
    assert (KERNELS / re.search(r"kernels/(\w+\.py)", kind)[1]).is_file()
    assert "size_j" in head
    assert "x[i]*W1[i, j]" in equation


def test_a_quantity_chooses_the_functions_that_name_it(capsys):
    out = shown(capsys, DIGITS, "--as", "kernel", "--of", "W1")[1]
    functions = [node for node in ast.parse(out).body if isinstance(node, ast.FunctionDef)]
    assert len(functions) == 2  # forward, and the gradient with the update
    assert [f.name for f in functions] == [f.name for f in functions if re.fullmatch(r"step_\d+_(h|W1)", f.name)]


def test_a_data_set_decides_dtype_scaling_and_sparsity(capsys):
    out = shown(capsys, DIGITS, "--as", "kernel", "--data", "mnist")[1]
    assert "uint8_at(address" in out
    assert "walk_list(" in out
    assert "kernels/sparse.py" in out
    assert "1/255*pixels[i]" in out


def test_every_called_name_is_in_the_guide_with_its_file(capsys):
    out = shown(capsys, DIGITS, "--as", "kernel", "--data", "mnist")[1]
    guide = {
        name: file
        for file, names in re.findall(r"^#     kernels/(\w+\.py) +(.*)$", out, re.MULTILINE)
        for name in names.split()
    }
    calls = {n.func.id for n in ast.walk(ast.parse(out)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    own = {n.name for n in ast.walk(ast.parse(out)) if isinstance(n, ast.FunctionDef)}
    assert set(guide) == calls - own - {"range"}
    assert guide["tile"] == "tile.py"
    assert guide["walk_list"] == guide["walk_both"] == "sparse.py"
    assert guide["take"] == "threads.py"
    assert guide["exp"] == "scalars.py"
    assert all((KERNELS / file).is_file() for file in guide.values())


def test_a_prediction_without_a_loss_has_a_kernel_too(capsys, tmp_path):
    path = tmp_path / "gate.formula"
    path.write_text("input x[i]\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])\n")
    code, out, _ = shown(capsys, path, "--as", "kernel")
    assert code == 0
    assert "def deliver(" in out


def test_complaints(capsys):
    code, _, err = shown(capsys, DIGITS, "--as", "kernel", "--of", "Q")
    assert (code, "Q is in no equation" in err, "W1" in err) == (1, True, True)
    code, _, err = shown(capsys, DIGITS, "--of", "W1")
    assert (code, err) == (1, "--of belongs to --as kernel: leave it out, or ask for the kernel\n")
    code, _, err = shown(capsys, DIGITS, "--as", "numpy", "--data", "mnist")
    assert (code, "--data belongs" in err) == (1, True)
    assert shown(capsys, DIGITS, "--as", "kernel", "--data", "nothing")[0] == 1


def test_korean(capsys, monkeypatch):
    monkeypatch.setenv("CHAINRULE_LANG", "ko")
    out = shown(capsys, DIGITS, "--as", "kernel")[1]
    assert "마이크로커널" in out
    ast.parse(out)
