"""The page of a derivation: what a lecture would write, for any system, in every form and both languages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from chainrule.derivation.claims.prove import Prover
from chainrule.derivation.derive import differentiate
from chainrule.derivation.pages.explain import derivation_page, rule_name
from chainrule.derivation.pages.factors import factors_of, repeated
from chainrule.derivation.pages.page import FORMS, Fold, Heading, Page, Table, as_form, expressions, save_page
from chainrule.derivation.pages.render_text import broken, columns
from chainrule.derivation.rules import RULES
from chainrule.errors import FileError, SettingError
from chainrule.formula import simplify
from chainrule.formula.expr import Reduction, Symbol, free_indices, tensors, walk
from chainrule.formula.functions import FUNCTIONS
from chainrule.formula.parse import parse_expression
from chainrule.formula.typeset import Unicode
from chainrule.messages import LANGUAGES, catalogue, set_language
from tests.pages import EXAMPLES, deep, every_line, network, page_systems

GOLDEN = Path(__file__).parents[1] / "golden" / "pages"
SYSTEMS = page_systems()


@pytest.fixture(autouse=True)
def english():
    yield
    set_language(None)


def page_of(name: str) -> Page:
    return derivation_page(network(SYSTEMS[name]).derivation, title=name)


def golden_path(name: str, language: str) -> Path:
    return GOLDEN / f"{name.replace(' ', '_')}.{language}.txt"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_page_is_the_golden_one(name, language):
    """Every step open. UPDATE_GOLDEN=1 writes the files; read the difference before you commit it."""
    set_language(language)
    text = page_of(name).terminal(steps=True)
    path = golden_path(name, language)
    if "UPDATE_GOLDEN" in os.environ:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def lines_of(text: str) -> list[str]:
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def test_the_one_layer_reader_as_a_lecture_derives_it():
    """The factors ∂E/∂p, ∂p/∂z, ∂z/∂w apart, then multiplied: the formulas of the textbook."""
    lines = lines_of(page_of("one_layer").terminal())
    for wanted in (
        "∂E/∂wᵢⱼ = ∂E/∂pⱼ · ∂pⱼ/∂zⱼ · ∂zⱼ/∂wᵢⱼ (chain rule)",
        "= pⱼ − tⱼ (multiply out and collect)",
        "∂pⱼ/∂zⱼ = σ(zⱼ) (1 − σ(zⱼ)) = pⱼ (1 − pⱼ) (chain)",
        "∂zⱼ/∂wᵢⱼ = xᵢ (sum)",
        "δᶻⱼ = ∂E/∂zⱼ = (pⱼ − tⱼ) pⱼ (1 − pⱼ) (its name, delta)",
        "∂L/∂wᵢⱼ = (1/N) Σₙ xₙᵢ δᶻₙⱼ (mean over the batch)",
        "∂L/∂bⱼ = (1/N) Σₙ δᶻₙⱼ (mean over the batch)",
    ):
        assert wanted in lines, wanted


def test_softmax_with_cross_entropy_lands_on_p_minus_t():
    lines = lines_of(page_of("digits").terminal())
    assert "δᵖₖ = ∂E/∂aᵖₖ = pₖ − tₖ (its name, delta)" in lines
    assert "= −tₖ + pₖ (given of the data)" in lines


def test_the_hidden_delta_of_the_perceptron_is_that_of_the_layer_above():
    lines = lines_of(page_of("mlp").terminal())
    hidden = [line for line in lines if line.startswith("δ") and "z1ⱼ" in line]
    assert hidden == ["δ_a1ⱼ = ∂C/∂a1ⱼ = z1ⱼ (1 − z1ⱼ) Σₖ w2ₖⱼ δ_a2ₖ (its name, delta)"]


def test_a_quantity_used_twice_sums_its_ways():
    text = page_of("skip").terminal()
    assert "hⱼ is used in aᵍⱼ, gⱼ: the ways through each of them are added." in text
    assert any(line.startswith("∂E/∂hⱼ = Σⱼ′ δᵍⱼ′ ∂aᵍⱼ′/∂hⱼ + ") for line in lines_of(text))


def test_steps_fold():
    page = page_of("one_layer")
    assert "Kronecker delta" not in page.terminal()
    assert "d(pⱼ′) = [j′ = j] (Kronecker delta)" in lines_of(page.terminal(steps=True))
    assert "<details>" in page.html()
    assert "<details>" in page.markdown()


def test_a_claimed_derivative_is_derived_from_its_definition():
    lines = lines_of(page_of("one_layer").terminal(steps=True))
    assert "d(σ(a)) = exp(−a)/(1 + exp(−a))²" in lines
    assert "exp(−a)/(1 + exp(−a))² = σ(a) (1 − σ(a)) (proved equal)" in lines


@pytest.mark.parametrize("row", [r for r in FUNCTIONS.values() if r.definition], ids=lambda row: row.name)
def test_every_claimed_derivative_of_the_library_is_proved(row):
    assert row.definition is not None
    derived = differentiate(parse_expression(row.definition), Symbol("a"))
    assert Prover({}, (), ()).equal(derived, parse_expression(row.derivatives[0]))
    assert not Prover({}, (), ()).equal(derived, parse_expression(f"{row.derivatives[0]} + 1/1000"))


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_use_has_its_factor(name):
    derivation = network(SYSTEMS[name]).derivation
    derived = {a.of for a in derivation.adjoints}
    for adjoint in derivation.adjoints:
        if adjoint.steps and adjoint.of != derivation.source.loss:
            uses = {e.target.tensor for e in derivation.system.equations if adjoint.of in tensors(e.value)}
            factors = factors_of(adjoint, derivation.system.samples)
            assert {f.consumer for f in factors} == uses & derived


# deep networks


def headings(page: Page) -> list[Heading]:
    return [b for b in page.blocks if isinstance(b, Heading)]


def test_twenty_layers_are_no_longer_than_three_but_for_a_table():
    three, twenty = (derivation_page(network(deep(n)).derivation) for n in (3, 20))
    assert len(headings(three)) == len(headings(twenty))
    extra = 17 * 2 + 20 * 2  # the new equations of the forward pass, and a row of each table
    rows = [sum(len(b.rows) for b in page.blocks if isinstance(b, Table)) for page in (three, twenty)]
    assert rows[1] - rows[0] == 17 * 4  # h, a_h, W and b of each further layer
    assert len(twenty.terminal(width=120).splitlines()) <= len(three.terminal(width=120).splitlines()) + extra + 17 * 2


def test_layers_that_are_not_alike_are_not_thrown_together():
    text = deep(4).replace("h2[i2] = tanh(", "h2[i2] = sigmoid(")
    alike = repeated(network(text).derivation)
    assert "a_h2" not in alike
    assert alike["b3"] == "b1"


def test_the_layer_asked_for_is_the_one_that_is_derived():
    derivation = network(deep(5)).derivation
    assert repeated(derivation)["W3"] == "W1"
    assert repeated(derivation, "W3")["W1"] == "W3"


# forms


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["digits", "statistics", "attention", "scalars and positions", "own activation"])
def test_html_is_one_well_formed_file_that_needs_no_network(name, language):
    set_language(language)
    html = page_of(name).html()
    tree = ElementTree.fromstring(html.replace("<!doctype html>\n", "").replace('<meta charset="utf-8">', "").replace(
        '<meta name="viewport" content="width=device-width, initial-scale=1">', ""
    ).replace("&nbsp;", " "))  # fmt: skip
    assert tree.get("lang") == language
    addresses = set(re.findall(r"https?://[^\s\"']+", html))
    assert addresses <= {"http://www.w3.org/1998/Math/MathML"}
    assert not re.search(r"<(script|link|img|iframe)\b", html)
    assert html.count("<math") > 20


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("name", ["digits", "logistic", "mlp", "statistics", "attention", "own activation"])
def test_latex_compiles_with_amsmath_alone(name, steps, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed; make check-pages wants it")
    text = page_of(name).latex(steps=steps)
    assert re.findall(r"\\usepackage(?:\[\w+\])?\{(\w+)\}", text) == ["inputenc", "amsmath"]
    (tmp_path / "page.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_of_greek_names_and_programs(tmp_path):
    """A name typed as a Greek letter is mathematics, wherever it stands."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed; make check-pages wants it")
    net = network("input χ[μ]\ntarget t\nparameter ω[μ] = 0.1\nψ = tanh(sum[μ](χ[μ]*ω[μ]))\nE = (ψ - t)**2")
    net.bind((np.ones((1, 2)), [1.0]), {}, ("input", "target"))
    for name, page in {"a": net.explain(np.ones((1, 2)), [1.0]).page(), "b": net.program().page()}.items():
        (tmp_path / f"{name}.tex").write_text(page.latex(steps=True), encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:]


def test_no_index_is_bound_and_free_on_one_line():
    """Σₙ x_n beside a free n would read as one n."""
    net = network(
        "input x[i]\ntarget t\nparameter w[i] = 0.1\ny = sum[i](w[i]*x[i])\nm = max[n](y)\nE = (y - m - t)**2"
    )
    for line in every_line(net.derivation.page()):
        parts = expressions(line)
        free = frozenset().union(*(free_indices(e) for e in parts))
        bound = {i for e in parts for node in walk(e) if isinstance(node, Reduction) for i in node.indices}
        assert not free & bound, line


def test_markdown_pairs_its_dollars_and_folds():
    text = page_of("digits").markdown()
    assert text.count("$$") % 2 == 0
    assert text.count("<details>") == text.count("</details>") > 3
    assert r"\frac{\partial E}{\partial a^{h}_{j}}" in text


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_terminal_keeps_to_eighty_columns(name):
    """But for a formula that nothing breaks: one product, one name."""
    for line in page_of(name).terminal(steps=True).splitlines():
        unbreakable = not re.search(r" [+−·=≈] ", line.split("=", 1)[-1].strip()[1:])
        assert columns(line) <= 80 or unbreakable, line


def test_long_formulas_break_outside_brackets():
    assert broken("aaaa (b + c) + dddd (e + f)", 16) == ["aaaa (b + c)", "+ dddd (e + f)"]
    assert broken("short", 16) == ["short"]
    assert broken("nothing-to-break-here", 10) == ["nothing-to-break-here"]


def test_colour_only_where_asked():
    page = page_of("one_layer")
    assert "\x1b" not in page.terminal()
    assert "\x1b[1m" in page.terminal(colour=True)
    assert re.sub(r"\x1b\[\d+m", "", page.terminal(colour=True)) == page.terminal()


def test_a_page_is_saved_by_its_suffix(tmp_path):
    page = page_of("one_layer")
    forms = dict(zip((".txt", ".md", ".tex", ".html"), FORMS, strict=True))
    for suffix, form in forms.items():
        save_page(page, tmp_path / f"page{suffix}")
        assert (tmp_path / f"page{suffix}").read_text(encoding="utf-8") == as_form(page, form)
    with pytest.raises(SettingError, match=r"page\.pdf: the suffix says the form"):
        save_page(page, tmp_path / "page.pdf")
    with pytest.raises(FileError, match="cannot be written"):
        save_page(page, tmp_path / "nowhere" / "page.html")


# one quantity, and what is asked wrongly


def test_one_quantity_with_what_is_between_it_and_the_loss():
    derivation = network(SYSTEMS["digits"]).derivation
    page = derivation.page("W2").terminal()
    assert "∂L/∂W2ⱼₖ" in page
    assert "W1ᵢⱼ with" not in page
    assert "∂E/∂aʰⱼ" not in page
    with pytest.raises(SettingError, match="W9 has no derivative here"):
        derivation.page("W9")


def test_a_derivation_prints_and_shows_itself():
    derivation = network(SYSTEMS["one_layer"]).derivation
    assert repr(derivation) == "<Derivation of E with respect to w, b>"
    assert str(derivation) == derivation.page().terminal()
    assert "<math" in derivation._repr_html_()


def test_every_rule_has_a_name_in_both_languages():
    for language in LANGUAGES:
        known = catalogue(language, "pages")
        for rule in (*RULES, *simplify.RULES):
            slug = "rule_" + "".join(c if c.isalnum() else "_" for c in rule.name.lower())
            assert slug in known, (language, rule.name)
    set_language("ko")
    assert rule_name("chain rule") == "연쇄 법칙"


def test_the_korean_page_has_no_english_words():
    """But for names of functions, and what a formula file names."""
    set_language("ko")
    text = page_of("digits").terminal(steps=True)
    english = set(re.findall(r"[a-zA-Z]{4,}", text))
    assert english <= {"softmax", "relu", "step", "digits", "logsumexp", "mean"} | {
        w for w in english if "softmax" in w
    }


# what is shown is what is run


def test_what_is_shown_is_what_is_run():
    """One formula changed: the page, the numbers, the program and the trained weights all change with it."""
    text = """
input x[i]
target t
parameter w[i] = 0.3
z = sum[i](w[i]*x[i])
y = sigmoid(z)
E = 1/2*(y - t)**2
"""
    x, t = np.array([[1.0, -2.0], [0.5, 1.0]]), np.array([1.0, 0.0])
    seen = []
    for activation in ("sigmoid", "tanh"):
        net = network(text.replace("sigmoid", activation))
        page, numbers, program = str(net.derivation), str(net.explain(x, t)), str(net.program())
        net.fit(x, t, epochs=1, batch_size=None, verbose=0)
        seen.append((page, numbers, program, net.parameters["w"].tolist()))
    for first, second in zip(*seen, strict=True):
        assert first != second
    assert "1 − y²" in seen[1][0] and "y (1 − y)" in seen[0][0]


def test_the_sections_are_the_adjoints_that_the_program_runs():
    net = network((EXAMPLES / "digits.formula").read_text())
    derivation = net.derivation
    text = str(derivation)
    printer = Unicode(derivation.system.samples, derivation.system.tensors)
    flat = re.sub(r"\s+", " ", text)
    for equation in derivation.backward:
        assert printer.sides(equation)[2] in flat, equation
    program, _ = net.training_program()
    names = {i.out.tensor for i in program.backward}
    assert {e.target.tensor for e in derivation.backward} <= names | set(program.gradients.values())


def test_a_fold_is_left_out_of_a_folded_page():
    page = page_of("digits")
    assert not any(isinstance(b, Fold) for b in page.folded().blocks)
    assert not any(isinstance(b, Fold) for b in page.unfolded().blocks)
