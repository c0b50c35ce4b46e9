"""The public names, and what `import chainrule` leaves unloaded."""

from __future__ import annotations

import subprocess
import sys

import chainrule as cr

HEAVY = ("numpy", "sympy", "llvmlite", "matplotlib", "rich", "click", "PIL", "safetensors")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_public_names():
    assert cr.__all__ == [
        "Checkpoints",
        "Input",
        "Model",
        "Network",
        "Sequential",
        "activations",
        "callbacks",
        "check_derivation",
        "config",
        "constraints",
        "datasets",
        "derivative",
        "derive",
        "errors",
        "formula",
        "import_weights",
        "initializers",
        "layers",
        "library",
        "load",
        "losses",
        "metrics",
        "models",
        "optimizers",
        "pictures",
        "regularizers",
        "set_language",
        "stream",
        "utils",
    ]
    assert all(getattr(cr, name) is not None for name in cr.__all__)
    assert set(cr.__all__) <= set(dir(cr))
    assert cr.__version__


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(cr, "formulae")


def test_formula_is_the_function_whatever_was_imported_first():
    text = "input x" + chr(92) + "ny = 2*x"
    code = f"import chainrule.formula.expr, chainrule as cr; print(cr.formula('{text}').predict([1.0]))"
    assert run(code) == "[2.]"
    code = (
        f"import chainrule as cr; cr.formula('{text}'); from chainrule.formula import parse; print(cr.formula.__name__)"
    )
    assert run(code) == "formula"


def test_import_loads_nothing_heavy():
    assert run(f"import sys, chainrule; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_a_network_needs_neither_a_compiler_nor_pictures():
    code = "import sys, chainrule as cr; cr.formula('input x\\ny = 2*x').predict([1.0])"
    heavy = [m for m in HEAVY if m != "numpy"]
    assert run(f"{code}; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_help_needs_click_only():
    code = "import sys; from chainrule.interfaces.cli import main; main(['--help']); main(['train', '--help'])"
    heavy = [m for m in HEAVY if m != "click"]
    assert run(f"{code}; print([m for m in {heavy} if m in sys.modules])").splitlines()[-1] == "[]"
