"""What a page and the terminal show. The systems' pages are in tests/golden/typeset.txt, where a reviewer sees them.

UPDATE_GOLDEN=1 pytest tests/formula/test_typeset.py writes that file anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.formula import expr as e
from chainrule.formula.expr import Expr
from chainrule.formula.mathprint import Line
from chainrule.formula.names import split_derivative, split_index, split_name
from chainrule.formula.parse import Vocabulary, parse_expression, parse_system
from chainrule.formula.system import Equation, System, Update
from chainrule.formula.text import Printer
from chainrule.formula.typeset import Latex, Unicode, escape_latex, latex_align, latex_document

GOLDEN = Path(__file__).parent.parent / "golden" / "typeset.txt"
VOCABULARY = Vocabulary(initializers=frozenset({"zeros", "glorot_uniform"}))

# --- whole systems, as golden pages ---

SYSTEMS = {
    "the two-layer digit network": """
        input     x[i]
        target    t[k], sum[k](t[k]) = 1
        parameter W1[i, j], W2[j, k] = glorot_uniform
        parameter b1[j], b2[k] = zeros
        h[j] = relu(sum[i](x[i] * W1[i, j]) + b1[j])
        p[k] = softmax[k](sum[j](h[j] * W2[j, k]) + b2[k])
        E    = -sum[k](t[k] * log(p[k]))
    """,
    "the perceptron and its rule": """
        input     x[j]
        target    t
        parameter w[j], b = zeros
        eta = 1
        a = sum[j](w[j] * x[j]) + b
        y = step(a)
        output y
        w[j] <- w[j] + eta * (t - y) * x[j]
        b    <- b + eta * (t - y)
    """,
    "two NANDs": """
        input     x1, x2
        parameter w1, w2 = -2
        parameter b = 3
        h     = step(w1 * x1 + w2 * x2 + b)
        carry = step(w1 * h + w2 * h + b)
    """,
    "logistic regression": """
        input     x[i]
        target    t
        parameter w[i], b = zeros
        y_hat = sigmoid(sum[i](w[i] * x[i]) + b)
        E = -(t * log(y_hat) + (1 - t) * log(1 - y_hat))
    """,
    "the one-layer digit reader and its rule": """
        input     x[i]
        target    t[j]
        parameter w[i, j], b[j] = zeros
        alpha = 0.1
        z[j] = sum[i](x[i] * w[i, j]) + b[j]
        p[j] = 1 / (1 + exp(-z[j]))
        E    = 1/2 * sum[j]((t[j] - p[j])**2)
        w[i, j] <- w[i, j] - alpha * (p[j] - t[j]) * p[j] * (1 - p[j]) * x[i]
        b[j]    <- b[j] - alpha * (p[j] - t[j]) * p[j] * (1 - p[j])
    """,
    "the multi-layer perceptron": """
        input     x[i]
        target    y[k]
        parameter w1[j, i], w2[k, j] = glorot_uniform
        parameter b1[j], b2[k] = zeros
        a1[j] = sum[i](w1[j, i] * x[i]) + b1[j]
        z1[j] = sigmoid(a1[j])
        a2[k] = sum[j](w2[k, j] * z1[j]) + b2[k]
        z2[k] = sigmoid(a2[k])
        C = 1/(2 * size(n)) * sum[n](sum[k]((y[k] - z2[k])**2))
        loss C
    """,
    "the autoencoder": """
        input     x[i]
        parameter W1[i, j], W2[j, i] = glorot_uniform
        parameter b1[j], b2[i] = zeros
        h[j] = sum[i](x[i] * W1[i, j]) + b1[j]
        r[i] = sigmoid(sum[j](h[j] * W2[j, i]) + b2[i])
        E    = 1/2 * sum[i]((x[i] - r[i])**2)
    """,
    "a class as a label": """
        input     x[i]
        label     y in k
        parameter W[i, k], b[k] = zeros
        p[k] = softmax[k](sum[i](x[i] * W[i, k]) + b[k])
        E    = -sum[k]([k == y] * log(p[k]))
    """,
    "hidden units and one output: its marks look like theirs": """
        input     x[i]
        parameter W1[i, j], W2[j], b1[j], b2 = zeros
        h[j] = tanh(sum[i](x[i] * W1[i, j]) + b1[j])
        a_p  = sum[j](h[j] * W2[j]) + b2
        p    = sigmoid(a_p)
    """,
    "Adam, for every parameter": """
        input x
        parameter u = zeros
        y = u * x
        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        w <- w - eta * (m / (1 - beta1**step)) / (sqrt(v / (1 - beta2**step)) + epsilon)
    """,
}

# The backward pass of the two-layer digit network, written by hand as a derivation names it.
DERIVED = {
    "log_p[n, k]": "log_softmax[k](a_p[n, k])",
    "E[n]": "-sum[k](t[n, k] * log_p[n, k])",
    "delta_p[n, k]": "p[n, k] - t[n, k]",
    "delta_h[n, j]": "[a_h[n, j] > 0] * sum[k](W2[j, k] * delta_p[n, k])",
    "dE_dp[n, k]": "-t[n, k] / p[n, k]",
    "dE_dW2[j, k]": "mean[n](h[n, j] * delta_p[n, k])",
    "dE_db1[j]": "mean[n](delta_h[n, j])",
    "delta_z[n, j]": "(p[n, j] - t[n, j]) * p[n, j] * (1 - p[n, j])",
}


def pages() -> str:
    parts = []
    for title, text in SYSTEMS.items():
        system = read(text)
        lines: list[Line] = [*system.facts, *system.equations, *system.updates]
        plain = "\n".join(" ".join(Unicode(system.samples, system.tensors).sides(line)) for line in lines)
        parts.append(f"# {title}\n\n{plain}\n\n{latex_align(lines, system.samples, system.tensors)}")
    derived = derived_equations()
    plain = "\n".join(Unicode().equation(equation) for equation in derived)
    parts.append(f"# a backward pass\n\n{plain}\n\n{latex_align(derived)}")
    return "\n".join(parts)


def read(text: str) -> System:
    return parse_system("\n".join(line.strip() for line in text.splitlines()), VOCABULARY)


def derived_equations() -> list[Equation]:
    targets = [parse_expression(target) for target in DERIVED]
    values = [parse_expression(value) for value in DERIVED.values()]
    return [Equation(t, v) for t, v in zip(targets, values, strict=True) if isinstance(t, e.Element)]


def test_pages_are_the_golden_ones() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(pages(), encoding="utf-8")
    assert pages() == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_pages_compile(tmp_path: Path) -> None:
    aligned = [(title, latex_align([*(s := read(text)).equations, *s.updates])) for title, text in SYSTEMS.items()]
    rows = "\\begin{align*}\n" + " \\\\\n".join(f"&{latex}" for _, latex, _ in LOOKS) + "\n\\end{align*}\n"
    document = latex_document([*aligned, ("50 % of {all} $ & #1 ~ ^ _ \\", rows)])
    (tmp_path / "page.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-2000:]


# --- how one expression looks ---

LOOKS = [
    # names
    ("W1[i, j]", r"W^{(1)}_{ij}", "W1ᵢⱼ"),
    ("x1", "x_{1}", "x₁"),
    ("beta1 + α - Ω", r"\beta_{1} + \alpha - \Omega", "β₁ + α − Ω"),
    ("h[j]", "h_{j}", "hⱼ"),
    ("a_h[j] * delta_h[j]", "a^{h}_{j} \\delta^{h}_{j}", "aʰⱼ δʰⱼ"),
    ("delta_z1[j]", r"\delta^{z_{1}}_{j}", "δ_z1ⱼ"),
    ("y_hat[k] * x_bar", r"\hat{y}_{k} \bar{x}", "ŷₖ x̄"),
    ("ŷ[k]", r"\hat{y}_{k}", "ŷₖ"),
    ("v_max", r"v_{\mathrm{max}}", "vₘₐₓ"),
    ("learning_rate * carry", r"\mathrm{learning\_rate} \, \mathrm{carry}", "learning_rate carry"),
    ("h2o + a__b", r"\mathrm{h2o} + \mathrm{a\_\_b}", "h2o + a__b"),
    ("log_p[k]**2", r"(\ln p_{k})^{2}", "(ln pₖ)²"),
    # indices
    ("x[i_2] * W[i, i_3]", "x_{i'} W_{ii''}", "xᵢ′ Wᵢᵢ″"),
    ("W[row, c]", r"W_{\mathrm{row},c}", "W[row, c]"),
    ("x[0] + W[0, 3]", "x_{0} + W_{0,3}", "x₀ + W[0, 3]"),
    ("x[k1]", "x_{k_{1}}", "x[k₁]"),
    ("sum[c](x[c])", r"\sum_{c} x_{c}", "Σ[c] x[c]"),
    # derivatives
    ("dE_dW1[i, j]", r"\frac{\partial E}{\partial W^{(1)}_{ij}}", "∂E/∂W1ᵢⱼ"),
    ("dE_dp[k]", r"\frac{\partial E}{\partial p_{k}}", "∂E/∂pₖ"),
    ("dE_dlog_p[k]", r"\frac{\partial E}{\partial \ln p_{k}}", "∂E/∂(ln pₖ)"),
    ("x / dE_dp[k]", r"\frac{x}{\frac{\partial E}{\partial p_{k}}}", "x/(∂E/∂pₖ)"),
    ("da_h_dW1[n_2, j_2, n, i]", r"\frac{\partial a^{h}_{n'j'}}{\partial W^{(1)}_{ni}}", "∂aʰₙ′ⱼ′/∂W1ₙᵢ"),
    ("da_h_dW1[j_2, i, j]", r"\mathrm{da\_h\_dW1}_{j'ij}", "da_h_dW1ⱼ′ᵢⱼ"),  # whose index is which?
    ("data_dim", r"\mathrm{data\_dim}", "data_dim"),
    # sums and products
    ("a + b*c - d/e", r"a + b c - \frac{d}{e}", "a + b c − d/e"),
    ("-(a + b)/(c*d)", r"-\frac{a + b}{c d}", "−(a + b)/(c d)"),
    ("-a + b", "-a + b", "−a + b"),
    ("a*(b - c)", "a (b - c)", "a (b − c)"),
    ("2*3**a*2**b", r"2 \cdot 3^{a} \cdot 2^{b}", "2·3ᵃ·2ᵇ"),
    ("1/2*a/b", r"\frac{a}{2 b}", "a/(2 b)"),
    ("3/7*a", r"\frac{3}{7} a", "(3/7) a"),
    ("a/(b*c)*d**-2", r"\frac{a}{b c d^{2}}", "a/(b c d²)"),
    ("0.001*a + 1e-7*b", r"0.001 a + 10^{-7} b", "0.001 a + 10⁻⁷ b"),
    ("2.5e-12*a", r"2.5 \cdot 10^{-12} a", "2.5·10⁻¹² a"),
    ("2*pi*a - 1/pi", r"2 \pi a - \frac{1}{\pi}", "2π a − 1/π"),
    ("pi/2", r"\frac{\pi}{2}", "π/2"),
    # sums over indices
    ("sum[i](x[i]*W[i, j]) + b[j]", r"\sum_{i} x_{i} W_{ij} + b_{j}", "Σᵢ xᵢ Wᵢⱼ + bⱼ"),
    ("sum[i](x[i] - y[i])", r"\sum_{i}(x_{i} - y_{i})", "Σᵢ(xᵢ − yᵢ)"),
    ("sum[i, j](-W[i, j])", r"\sum_{i,j}(-W_{ij})", "Σᵢⱼ(−Wᵢⱼ)"),
    ("sum[i](x[i])*y", r"y \sum_{i} x_{i}", "y Σᵢ xᵢ"),
    (
        "sum[i](x[i])*sum[j](y[j])",
        r"\left(\sum_{i} x_{i}\right) \sum_{j} y_{j}",
        "(Σᵢ xᵢ) Σⱼ yⱼ",
    ),
    ("sum[i](x[i])**2", r"\left(\sum_{i} x_{i}\right)^{2}", "(Σᵢ xᵢ)²"),
    ("mean[n](x[n, i])", r"\frac{1}{N} \sum_{n} x_{ni}", "(1/N) Σₙ xₙᵢ"),
    ("-mean[n](E[n])", r"-\frac{1}{N} \sum_{n} E_{n}", "−(1/N) Σₙ Eₙ"),
    ("x[n, i] * E[n]", "x_{i} E", "xᵢ E"),
    ("max[k](z[k]) + b", r"\max_{k} z_{k} + b", "maxₖ zₖ + b"),
    ("logsumexp[k](a*z[k])", r"\operatorname{logsumexp}_{k}(a z_{k})", "logsumexpₖ(a zₖ)"),
    ("softmax[k](z[k]/T)", r"\operatorname{softmax}_{k}\!\left(\frac{z_{k}}{T}\right)", "softmaxₖ(zₖ/T)"),
    # powers and functions
    ("a**(1/3) + a**-b", "a^{1/3} + a^{-b}", "a^(1/3) + a⁻ᵇ"),
    ("(a**b)**c + (a*b)**c", "(a^{b})^{c} + (a b)^{c}", "(aᵇ)ᶜ + (a b)ᶜ"),
    ("W1[i, j]**2", "(W^{(1)}_{ij})^{2}", "W1ᵢⱼ²"),
    ("a_h[j]**2", "(a^{h}_{j})^{2}", "(aʰⱼ)²"),
    ("sqrt(v + 1) * sqrt(v)", r"\sqrt{v + 1} \sqrt{v}", "√(v + 1) √v"),
    ("1/(1 + exp(-z[j]))", r"\frac{1}{1 + e^{-z_{j}}}", "1/(1 + exp(−zⱼ))"),
    ("exp(-a/b)", r"\exp\!\left(-\frac{a}{b}\right)", "exp(−a/b)"),
    ("log(p[k]) * t[k]", r"t_{k} \ln p_{k}", "tₖ ln pₖ"),
    ("log(1 - p)", r"\ln(1 - p)", "ln(1 − p)"),
    ("log(p) * log(q)", r"(\ln p) \ln q", "(ln p) ln q"),
    ("sigmoid(a)*(1 - sigmoid(a))", r"\sigma(a) (1 - \sigma(a))", "σ(a) (1 − σ(a))"),
    ("relu(a) + tanh(a)", r"\operatorname{relu}(a) + \tanh(a)", "relu(a) + tanh(a)"),
    ("abs(a)**2 + floor(a/2)", r"\lvert a \rvert^{2} + \left\lfloor\frac{1}{2} a\right\rfloor", "|a|² + ⌊½ a⌋"),
    ("max(a, min(b, c))", r"\max(a, \min(b, c))", "max(a, min(b, c))"),
    # choices
    ("[a > 0] * b", "[a > 0] b", "[a > 0] b"),
    ("[a != b] - [a <= b]", r"[a \ne b] - [a \le b]", "[a ≠ b] − [a ≤ b]"),
    (
        "where(a > 0, a, alpha*a)",
        r"\begin{cases} a & a > 0 \\ \alpha a & a \le 0 \end{cases}",
        "where(a > 0, a, α a)",
    ),
    (
        "where(m, a, b) + c",
        r"\left(\begin{cases} a & m \ne 0 \\ b & m = 0 \end{cases}\right) + c",
        "where(m ≠ 0, a, b) + c",
    ),
]


@pytest.mark.parametrize(("text", "latex", "plain"), LOOKS, ids=[text for text, _, _ in LOOKS])
def test_looks(text: str, latex: str, plain: str) -> None:
    expression = parse_expression(text)
    assert Latex().text(expression) == latex
    assert Unicode().text(expression) == plain


def test_kronecker_delta_is_a_bracket() -> None:
    assert Latex().text(e.delta("i", "j'")) == "[i = j']"
    assert Unicode().text(e.delta("i", "j'")) == "[i = j′]"


def test_a_second_sample_makes_the_first_visible() -> None:
    product = e.mul(e.delta("n'", "n"), e.Element("x", ("n", "i")))
    assert Latex().text(product) == "[n' = n] x_{ni}"


def test_indices_of_a_derivative_are_shared_out_where_the_tensors_are_known() -> None:
    system = read(SYSTEMS["hidden units and one output: its marks look like theirs"])
    known = Latex("n", system.tensors)
    assert known.text(e.Element("dh_dW1", ("n", "j'", "i", "j"))) == r"\frac{\partial h_{j'}}{\partial W^{(1)}_{ij}}"
    assert known.text(e.Element("dp_dW1", ("i", "j"))) == r"\frac{\partial p}{\partial W^{(1)}_{ij}}"


def test_size_is_a_capital_that_no_tensor_has() -> None:
    system = parse_system("input x[k]; K = sum[k](x[k]); y = K/size(k)".replace("; ", "\n"))
    value = system.equations[-1].value
    assert Latex().text(value) == r"\frac{K}{K}"
    assert Latex("n", system.tensors).text(value) == r"\frac{K}{\operatorname{size}(k)}"


def test_lines() -> None:
    update = Update(e.Symbol("w"), parse_expression("w - eta*g"))
    assert Latex().update(update) == r"w \leftarrow w - \eta g"
    assert Unicode().update(update) == "w ← w − η g"
    fact = read(SYSTEMS["the two-layer digit network"]).facts[0]
    assert Latex().fact(fact) == r"\sum_{k} t_{k} = 1"


def test_a_wide_sum_is_broken_between_its_terms() -> None:
    target = e.Element("E", ())
    value = parse_expression(" + ".join(f"a{n}*sum[k](log(p[k])*t[k])" for n in range(24)))
    rows = latex_align([Equation(target, value)]).splitlines()
    assert len(rows) > 4
    assert all(row.strip().startswith(r"&\qquad  +") for row in rows[2:-1])
    assert latex_align([]) == ""


def test_korean_titles_ask_for_the_package_that_sets_them() -> None:
    assert "kotex" in latex_document([("역전파", "")])
    assert "kotex" not in latex_document([("Backward pass", "")])


def test_escapes() -> None:
    assert escape_latex("50% of {a_b}\\") == r"50\% of \{a\_b\}\textbackslash{}"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("W1", ("W", ("1",))),
        ("W_1", ("W", ("1",))),
        ("a_h_2", ("a", ("h", "2"))),
        ("eta", ("η", ())),
        ("theta2_old", ("θ", ("2", "old"))),
        ("learning_rate", ("learning_rate", ())),
        ("_x", ("_x", ())),
        ("Δw", ("Δw", ())),
    ],
)
def test_parts_of_a_name(name: str, parts: tuple[str, tuple[str, ...]]) -> None:
    assert (split_name(name).letter, split_name(name).marks) == parts


def test_derivatives_by_name() -> None:
    assert split_derivative("dE_dW1") == ("E", "W1")
    assert split_derivative("dlog_p_da_p") == ("log_p", "a_p")
    assert split_derivative("dloss_dw") == ("loss", "w")
    assert split_derivative("data_dim") is None
    assert split_derivative("dweights_dtime") is None
    assert split_derivative("dweights_dtime", ("weights", "time")) == ("weights", "time")
    assert split_index("k''") == split_index("k_3") == ("k", 2)
    assert split_index("k_1") == ("k_1", 0)


# --- every expression ---

INDEX = st.sampled_from(["i", "j", "k'", "n", "n'", "row", "c", "i_2"])
SLOT = INDEX | st.integers(0, 12)
NAME = st.sampled_from(
    ["x", "W1", "a_h", "delta_h", "dE_dW1", "da_h_dW1", "log_p", "y_hat", "carry", "h2o", "α", "b_", "한글"]
)
NUMBER = st.fractions(-20, 20, max_denominator=2000) | st.sampled_from(
    [Fraction(1, 10**9), Fraction("3.141592653589793"), Fraction(10**20), Fraction(-5, 10**7)]
)
LEAVES = st.one_of(
    NUMBER.map(e.Number),
    NAME.map(e.Symbol),
    st.builds(e.Element, NAME, st.lists(SLOT, max_size=3).map(tuple)),
    INDEX.map(e.Size),
    INDEX.map(e.Position),
    st.builds(e.Delta, SLOT, SLOT),
)


def larger(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    several = st.lists(inner, min_size=2, max_size=4)
    return st.one_of(
        several.map(lambda parts: e.add(*parts)),
        several.map(lambda parts: e.mul(*parts)),
        several.map(lambda parts: e.Add(tuple(parts))),
        several.map(lambda parts: e.Mul(tuple(parts))),
        st.builds(e.Power, inner, inner | NUMBER.map(e.Number)),
        st.builds(
            lambda name, part: e.apply(name, part),
            st.sampled_from(["exp", "log", "sigmoid", "relu", "abs", "floor", "erf"]),
            inner,
        ),
        st.builds(lambda a, b: e.apply("max", a, b), inner, inner),
        st.builds(e.Compare, st.sampled_from(sorted(e.COMPARISONS)), inner, inner),
        st.builds(e.Where, inner, inner, inner),
        st.builds(
            e.Reduction,
            st.sampled_from(["sum", "max", "min", "logsumexp"]),
            st.lists(INDEX, min_size=1, max_size=2, unique=True).map(tuple),
            inner,
        ),
        st.builds(e.Normalized, st.sampled_from(["softmax", "log_softmax"]), INDEX, inner),
    )


EXPRESSIONS = st.recursive(LEAVES, larger, max_leaves=12)


@given(EXPRESSIONS)
def test_latex_of_every_expression_is_balanced(expression: Expr) -> None:
    latex = Latex().text(expression)
    assert_nested(latex)
    assert latex.count(r"\left") - latex.count(r"\leftarrow") == latex.count(r"\right") - latex.count(r"\rightarrow")
    assert latex.count(r"\begin{cases}") == latex.count(r"\end{cases}")
    # TeX refuses a second raised or lowered part on the same letter.
    assert not re.search(r"\^\{[^{}]*\}\^|_\{[^{}]*\}_", latex)


@given(EXPRESSIONS)
def test_unicode_of_every_expression_is_balanced(expression: Expr) -> None:
    text = Unicode().text(expression)
    assert_nested(text)
    assert "\n" not in text and "'" not in text


@given(EXPRESSIONS)
def test_typesetting_leaves_the_printer_as_it_was(expression: Expr) -> None:
    latex, plain = Latex(), Unicode()
    first = latex.text(expression), plain.text(expression)
    assert (latex.text(expression), plain.text(expression)) == first
    assert Printer().text(expression)


def assert_nested(text: str) -> None:
    pairs = {")": "(", "]": "[", "}": "{"}
    stack: list[str] = []
    for character in text.replace(r"\{", "").replace(r"\}", ""):
        if character in "([{":
            stack.append(character)
        elif character in pairs:
            assert stack and stack.pop() == pairs[character], text
    assert not stack, text
