"""Rows of layers: their options, and that each reads as formulas."""

from __future__ import annotations

import re

import pytest

import chainrule
from chainrule.library import LAYERS

SHAPES = {"x[...]": "", "x[..., i]": "[i]", "x[l, i]": "[l, i]"}


@pytest.mark.parametrize("name", LAYERS)
def test_a_row_reads_as_formulas_and_is_derived(name):
    """With the axes in front of the last one left out, and the activation and the joining of inputs plain."""
    row = LAYERS[name]
    text = re.sub(r"\.\.\., |, \.\.\.|\[\.\.\.\]", "", row.text({}))
    text = re.sub(r"(activation|join)\(", "(", text)
    own = "input x" + SHAPES[row.input] + (" in v" if row.input == "x[...]" else "")
    out = re.search(r"\[([^\]]*)\]", row.output.replace("..., ", ""))
    assert out is not None
    loss = f"E = sum[{out[1]}](y[{out[1]}]**2)"
    net = chainrule.formula(f"{own}\n{text}\n{loss}", sizes={"i": 3, "j": 2, "l": 4, "v": 5, "d": 2})
    weights = {n for n, t in net.system.tensors.items() if t.role == "parameter"}
    assert set(net.derivation.gradients) >= weights
    assert set(row.letters) >= {"y", *weights}


def test_an_option_takes_its_parameter_with_it():
    assert "b" not in LAYERS["dense"].text({"use_bias": False})
    text = LAYERS["batch_normalization"].text({"center": False, "momentum": 0.9})
    assert "beta" not in text
    assert "0.9*mu_avg[i] + (1 - 0.9)*mu[i]" in text
