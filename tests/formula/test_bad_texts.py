"""What is refused, and how: every message in full, with line, column and caret, is in tests/golden/bad_texts.txt.

UPDATE_GOLDEN=1 pytest tests/formula/test_bad_texts.py writes that file anew; read the difference before committing it.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest

from chainrule.errors import FormulaError, Place
from chainrule.formula.parse import Definition, Vocabulary, parse_expression, parse_system
from chainrule.formula.shapes import Sizes
from chainrule.messages import catalogue, set_language

GOLDEN = Path(__file__).parent.parent / "golden" / "bad_texts.txt"
VOCABULARY = Vocabulary(
    functions={"leaky_relu": Definition(("a",), "where(a > 0, a, slope*a)", {"slope": 0.01})},
    initializers=frozenset({"zeros", "glorot_uniform", "uniform", "normal"}),
)
DOUBLING = "f(a) = exp(a)*a\n" + "".join(
    f"f{i}(a) = {g}({g}(a))\n" for i, g in enumerate(["f", "f0", "f1", "f2", "f3"])
)

UNKNOWN_NAMES = [
    "y = foo(3)",
    "input x[i]\ny = sigmod(x[0])",
    "y = tanh",
    "y = exp[3]",
    "input x[i]\ny = x(3)",
    "input x[i]\ny = x[i](3)",
    "input x[i]\ny = sum[i](x[i]*w[i])",
    "input x[i]\nparameter weight[i]\ny = sum[i](x[i]*wieght[i])",
    "h[j] = tanh(a[j])\na = 2*b",
    "input x[i], foo(x[i]) = 1",
]
SUMS = [
    "input x[i]\ny = summ[i](x[i])",
    "input x[i]\ny = exp[i](x[i])",
    "y = sum(3)",
    "y = softmax(3)",
    "input x[i]\ny = sum[i]",
    "input x[i]\ny = max(x[0])",
    "input x[i]\nparameter w[j]\ny = sum[k](x[0]*w[0])",
    "input x[i]\nparameter w[j]\ny = sum[j](x[i]*w[0])",
    "input x[i]\ny[k] = softmax[k](x[0])",
    "input x[i]\ny = sum[i](x[i], 2)",
    "input x[i]\ny = sum[i](a=x[i])",
    "input x[i]\ny = sum[i, i](x[i])",
    "input x[i]\ny = sum[0](x[0])",
    "input x[i]\ny = sum[](x[0])",
    "input x[i, j]\ny[i, j] = softmax[i, j](x[i, j])",
    "input x[i]\ny = x[i]",
    "input x[i]\nparameter w[i, j]\ny[j] = x[i]*w[i, j]",
    "input x[i]\ny = sum[i](x[i])*x[i]",
    "input x[a,b,c,d,e,f,g]\ny = sum[a,b,c,d,e,f,g](x[a,b,c,d,e,f,g])",
    "input x[a,b,c]\ny = sum[a,b,c](x[a,b,c]*sum[d,e,f](x[d,e,f]*sum[g,h,k](x[g,h,k]*sum[l,m,o](x[l,m,o]))))",
]
INDICES = [
    "input x[i]\ny = x[i, 0]",
    "input x\ny = x[0]",
    "input x[i]\ny = x",
    "input x[i]\ny = x[n]",
    "input x[i]\ny = x[0, 1, 2]",
    "parameter b\ny = b[0]",
    "input x[i]\ny = x[i + 1]",
    "input x[i]\ny = x[-1]",
    "input x[i]\ny = x[1:2]",
    "input x[i]\ny = x[0.5]",
    "input x[i]\ny = x[i][0]",
    "input x[i]\ny = x[]",
    "input x[i]\ny = x[exp]",
    "input x[a,b,c,d,e,f,g,h,m]",
    "parameter x[i]\ny = x[a,b,c,d,e,f,g,h,m]",
    "input x[exp]",
    "input x[i, i]",
    "input x[n]",
    "input x[i]\nparameter A[i, j]\ny = sum[j](A[n, j])",
    "input x[i]\nh[i, n] = x[i]",
    "input x[i]\nh[0] = x[0]",
    "input n\ny = n",
    "input x[k]\nk = 3\ny = sum[k](x[k])",
    "y = 2*k\nk <- k + 1\ninput x[k]",
    "parameter w[2]",
    "input x[i+1]",
    "input x[i,]",
    "input x[i]\ny = size(3)",
    "input x[i]\ny[i] = size(i, i)",
]
BRACKETS = [
    "y = (1 + 2",
    "y = 1 + 2)",
    "y = (1 + 2]",
    "y = 1\nz = [2\nw = 3",
    "y = {3}",
    "y = ()",
    "y = []",
    "y = exp()",
    "y = " + "(" * 61 + "1" + ")" * 61,
]
OPERATORS = [
    "y = 2 x",
    "y = 2(3)",
    "y = 2[a > 0]",
    "input x[i]\ny = x[0] x[1]",
    "y = (1)(2)",
    "y = 2 + ",
    "y = -",
    "y = (2 + )",
    "y = * 2",
    "y = f(, 2)",
    "y = max(1,, 2)",
    "y = max(1, 2,)",
    "y = 2 */ 3",
    "y = 2 +* 3",
    "y = a < > b",
    "y = 2^3",
    "y = 2 // 3",
    "y = 2 % 3",
    "y = 2 @ 3",
    "y = ~2",
    "y = a ! b",
    "y = 1 +\nz = 2",
    "y = ",
    "y == 3",
    "y = a = 3",
    "w <- a <- b",
    "w <- a = b",
    "= 3",
    "<- 3",
    "y",
    "y = a - > b",
    "y = 1/0",
    "y = 1/(2 - 2)",
    "y = 0**-1",
    "f(a) = 1/a\ny = f(0)",
]
COMPARISONS = [
    "y = a > 0",
    "y = [a]",
    "y = [a, b]",
    "y = where(a > 0, 1)",
    "y = where(a > 0 or b > 0, 1, 2)",
    "y = a and b",
    "y = [a and b > 0]",
    "y = [a > 0 and ]",
    "y = [1and 2]",
    "y = [a > 0 or b > 0]",
    "y = [not a > 0]",
    "y = [a in b]",
    "y = [a is b]",
]
PYTHON = [
    "y = a if b else c",
    "y = a.b",
    "y = lambda a: a",
    "lambda = 3",
    "y = lambda*2",
    "y = [a for a in b]",
    "input x[i]\ny = sum[i](x[i] for i in x)",
    "y = f'{a}'",
    "y = 'text'",
    'y = "a"',
    "y = (a := 3)",
    "y := 3",
    "y = __import__('os')",
    "__class__ = 3",
    "y = exp(2)(3)",
    "y = exp(a)[0]",
    "y = exp(*a)",
    "y = exp(**a)",
    "y = exp(a=2)",
    "y = leaky_relu(a, alpha=2)",
    "y = leaky_relu(a, 2)",
    "y = True",
    "y = None",
    "y = ...",
    "y = 1j",
    "y = 0x10",
    "y = 1_000",
    "y = 007",
    "y = yield",
    "import os",
    "print(3)",
    "y = a; z = b",
    "y = a \\\n + b",
    "del y",
    "y = `a`",
    "y = {a: b}",
    "for = 2",
    "input in",
    "y = (a, b)",
    "y = 1, 2",
]
BOUNDS = [
    "y = " + "1" * 41,
    "y = 1e999999",
    "y = 2**1000001",
    "y = x**-1000001",
    "f(a) = a**1000000\ny = f(f(x))",
    "y = 1e299*1e299*x",
    "y = 2 + exp(1e200*1e200)",
    "y = 1e",
    "y = .",
    "y = 1.2.3",
    "y = " + "a + " * 2000 + "a",
    "y = " + "-" * 101 + "a",
    "y = " + "a**" * 101 + "a",
    "y = " + "exp(-" * 55 + "a" + ")" * 55,
    "# " + "x" * 200_000,
    "a\n" * 5001,
    "f(a) = exp(a)*sin(a)\ny = " + "f(" * 20 + "a" + ")" * 20,
    DOUBLING + "y = f4(z)",
    "a" * 65 + " = 3",
    "y = 2*" + "b" * 65,
]
SIZES = [
    "size j = 0",
    "size j = -3",
    "size j = 2147483648",
    "size j = 1.5",
    "size j",
    "size",
    "size j = 2\nsize j = 3",
    "size j = 2, j = 3",
    "size = 3",
    "size j = k",
    "size sum = 3",
    "size j = ٣",
    "input x[i]\ny = sum[i](x[i])",
    "parameter W[i, jj]\nsize i = 3\ny = sum[i, jj](W[i, jj])",
    "y = 2/size(k)",
    "size i = 3, j = 4\nparameter W[i, j]\ny = sum[j](W[j, j])",
    "size i = 3\nparameter w[i] = [1, 2]",
    "parameter w[i] = [1, 2]\nparameter v[i] = [1, 2, 3]",
    "parameter w[i] = [1, 2]\ny = w[2]",
    "size i = 3\ninput x[i, j]\nsize j = 1\ny = x[0, 1]",
    "parameter w[i] = [1, 2]\nw[i] <- w[3]",
    "size i = 100000\nparameter W[i, j]\nsize j = 100000\ny = W[0, 0]",
    "size i = 100000\ninput x[i]\nh[i, j] = x[i]*x[j]\nsize j = 100000",
]
DECLARATIONS = [
    "input",
    "input x[i",
    "input x[i] y[j]",
    "input x[i],, z",
    "input 3",
    "input x = 3",
    "input sum",
    "input x[i]\ninput x[j]",
    "input x[i]\nx = 3*a",
    "y = 2*a\ny = 3*a",
    "eta = 1\neta = 2",
    "input x\nx = 2",
    "f(a) = a\nf(a) = a",
    "f(a) = a\nf = 3",
    "exp = 3",
    "exp(a) = a",
    "f(a, a) = a",
    "f() = 3",
    "f(2) = 3",
    "f(exp) = 3",
    "f(a) = a\ny = f(1, 2)",
    "f(a) = a\ny = f",
    "input x[i]\nf(a) = a*x[0]",
    "input x\nf(a) = a*x",
    "f(a) = sum[i](a)",
    "f(a) = a*[k == 0]\ninput x[k]\ny = sum[k](f(x[k]))",
    "2*y = 3",
    "y[i = 3",
    "y[i](3) = 3",
    "y z = 3",
    "target t[k], sum[k](t[k]) != 1",
    "target t[k], 3",
    "target t[k], sum[k](t[k]) = 1 = ",
    "target t[k], t[0] = ",
    "samples",
    "samples 3",
    "samples m\nsamples k",
    "samples m, k",
    "samples exp",
    "samples m\ninput x[m]",
]
PARAMETERS = [
    "parameter w[i] = zeroes",
    "parameter w[i] = uniform(a, b)",
    "parameter w[i] = uniform([1])",
    "parameter w[i] = uniform(0, 1)*2",
    "parameter w[i] = uniform(0, 1) + uniform(0, 1)",
    "parameter w[i] = ",
    "parameter w[i] = [1, x]",
    "parameter w[i] = 1e999",
    "parameter w[i] = zeros = 3",
    "parameter w[i] = 1 + 2",
    "parameter w[i] = 1/0",
    "parameter w[i] = 1e290/1e-290",
    "parameter w[i] = __import__('os')",
    "parameter w[i] = {1}",
    "parameter w[i] = 'zeros'",
    "parameter w[i] = -[1]",
    "parameter w[i] = [[1], [1, 2]]",
    "parameter w[i] = [[1, 2]]",
    "parameter w[i] = []",
]
LABELS_AND_LOSSES = [
    "label y",
    "label y[i] in k",
    "label y in 10",
    "label y in k, z in k",
    "label exp in k",
    "label y in sum",
    "label y in y",
    "loss E",
    "loss",
    "loss 3",
    "loss E, C",
    "E = a*2\nloss E\nloss E",
    "E1 = a*2\nloss E2",
    "input p\ny = 2*p\noutput p",
    "output y z",
    "input x[i]\nE[i] = x[i]*2",
]
UPDATES = [
    "w[i] <- w[i]",
    "parameter w1[i]\nW1[i] <- w1[i]",
    "input x\nx <- 3",
    "label y in k\ny <- 3",
    "y = 2*a\ny <- 3",
    "parameter w[i]\nw <- w",
    "parameter w[i]\nw[i, j] <- 2",
    "parameter b\nb[i] <- 3",
    "parameter w[i]\nw[0] <- 2",
    "parameter A[i, j]\nA[i, i] <- 2",
    "parameter w[i]\nw[i] <- w[j]",
    "input x[i]\nw <- w - x[i]",
    "parameter w[i]\nw[n] <- 2",
    "exp <- 3",
    "step <- 3",
    "f(a) <- 3",
    "w + 1 <- 3",
    "then w[i] = 3",
    "parameter w[i]\ny = sum[i](w[i])\nthen y <- 3",
    "state w[i]\nthen w[i] <- 3",
    "then w <- 3",
    "parameter w[i]\nthen w[i] <- w[i]/norm(w[i])",
    "input x[i]\ny = global_norm(x[0])",
    "w <- w - norm(g, w)*g",
]
CYCLES = [
    "a = 2*a",
    "a = b + c\nb = a*2\nc = 3*d",
    "h[j] = sum[i](g[i])\ng[i] = sum[j](h[j])",
    "f(a) = g(a)\ng(a) = f(a)",
    "f(a) = f(a)",
]
UNICODE = [
    "y = 2²",
    "y = x²",
    "y = xⁿ",
    "y = x₁",
    "y = ∂E",
    "y = a\u200bb",
    "y = a\u200b",
    "y = \u202ea",
    "y = a\0b",
    "y = \ud800",
    "y = a\udfff",
    "y = ٣",
    "y = a ≤ b",
    "y = √2",
    "y = “a”",
    "y = 😀",
    "\x1b[31m = 3",
    "y = \x1b",
    "ﬁ = 3\nfi = 4",
    "𝐥𝐚𝐦𝐛𝐝𝐚 = 3",
    "﹍﹍a = 3",
    "a﹍ = __b",
    "y = 𝐢𝐟",
    "y = a\u2028b",
    "y = \u0301a",
    "y =\u00a02 x",
    "y = שלום foo",
    "가중치 = 2 가",
    "input x[i]\r\ny = foo(x[0])\r\n",
    "\tinput x[i]\n\ty = \tfoo(2)",
    "y =\u3000（2 + 3",
    "y = 2 − foo(3)·2",
    "w ← foo(w)",
    "\ufeffy = 2 x",
    "",
    "   # nothing",
]
PHASES = [
    "input x\nrandom m = 0.8",
    "input x\nrandom m[j]",
    "input x\nrandom bernoulli(0.8)",
    "input x\nrandom m = bernouli(0.8)",
    "input x\nrandom m = uniform(1)",
    "input x\nrandom m = bernoulli()",
    "input x\nrandom m = bernoulli(x)",
    "size j = 2\nrandom m[j] = bernoulli(1/j)",
    "random m = bernoulli(1.5)",
    "keep = -0.5\nrandom m = bernoulli(keep)",
    "random m = uniform(2, 1)",
    "random m = normal(0, -1)",
    "random m = normal(0, 1",
    "random m[0] = bernoulli(0.5)",
    "random m[n] = bernoulli(0.5)",
    "random m = bernoulli(0.5)\nrandom m = bernoulli(0.5)",
    "input x\nh = 2*x\nprediction h",
    "input x\nhidden = 2*x\nprediction hiden = x",
    "input x\nprediction x = 2",
    "size j = 2\ninput x[j]\nh[j] = 2*x[j]\nprediction h = 1",
    "size j = 2\ninput x[j]\nh[j] = 2*x[j]\nprediction h[i] = 1",
    "size j = 2\ninput x[j]\nh = 2*x[0]\nprediction h = x[j]",
    "input x\nmu = mean[n](x[n])\ny = x - mu\nprediction mu = x",
    "input x\nh = 2*x\nprediction h = 1\nprediction h = 2",
    "input x\nh = 2*x\ng = 3*h\nprediction h = g",
    "input x\nh = 2*x\nprediction h = h + 1",
    "input x\ntarget t\ny = 2*x\nE = (y - t)**2\nprediction y = t",
]
GROUPS = (UNKNOWN_NAMES, SUMS, INDICES, BRACKETS, OPERATORS, COMPARISONS, PYTHON, BOUNDS, SIZES, DECLARATIONS)
BAD_TEXTS = [
    text for group in (*GROUPS, PARAMETERS, LABELS_AND_LOSSES, UPDATES, CYCLES, UNICODE, PHASES) for text in group
]


def message_of(text: str) -> str:
    """The class of the error and its message."""
    with pytest.raises(FormulaError) as caught:
        Sizes(parse_system(text, VOCABULARY)).require()
    return f"{type(caught.value).__name__}: {caught.value}"


def heading(text: str) -> str:
    shown = repr(text)
    return ">>> " + (shown if len(shown) <= 150 else f"{shown[:110]}…{shown[-30:]}")


@cache
def golden() -> dict[str, str]:
    blocks = GOLDEN.read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    return dict(block.split("\n", 1) for block in blocks)  # type: ignore[misc]  # each block has a heading and a message


@pytest.mark.skipif("UPDATE_GOLDEN" not in os.environ, reason="writes the golden file when asked to")
def test_write_the_golden_file():
    blocks = [f"{heading(text)}\n{message_of(text)}" for text in BAD_TEXTS]
    GOLDEN.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


@pytest.mark.parametrize("text", BAD_TEXTS, ids=heading)
def test_the_message(text):
    assert message_of(text) == golden()[heading(text)]


def test_the_golden_file_has_every_text_and_no_other():
    assert [heading(text) for text in BAD_TEXTS] == list(golden())


@pytest.mark.parametrize("text", BAD_TEXTS, ids=heading)
def test_the_message_in_korean(text):
    english = message_of(text)
    set_language("ko")
    try:
        korean = message_of(text)
    finally:
        set_language(None)
    assert re.search("[가-힣]", korean)
    assert korean.partition(":")[0] == english.partition(":")[0]
    assert korean.partition("\n")[2] == english.partition("\n")[2], "the caret stands where it stands in English"


# Said by the layers above, or as a part of another message.
PARTS = {"from_size_line", "from_values", "from_use", "did_you_mean"}
SAID_ELSEWHERE = {"no_loss", "no_input_read", "hyper_unknown", *PARTS}


def test_every_message_of_the_chapter_is_among_them():
    unsaid = []
    for key, message in catalogue("en", "formula").items():
        pattern = re.sub(r"\\\{\w+\\\}", ".*", re.escape(message.replace("{{", "{").replace("}}", "}")))
        if key not in SAID_ELSEWHERE and not any(re.search(pattern, said) for said in golden().values()):
            unsaid.append(key)
    assert unsaid == []


def test_the_place_is_an_object_too():
    with pytest.raises(FormulaError) as caught:
        parse_system("input x[i]\ny = 2*foo(x[0])")
    assert caught.value.place == Place(2, 7, "y = 2*foo(x[0])")
    assert caught.value.message.startswith("foo is not a known function")


def test_the_caret_under_hangul_and_in_a_long_line():
    """Hangul takes two columns; of a long line the part around the caret is shown."""
    assert Place(1, 5, "가중치 2").caret() == "    가중치 2\n           ^"
    line = "y = " + "a + " * 100 + "foo(b)" + " + c" * 100
    shown, caret = Place(1, line.index("foo") + 1, line).caret().split("\n")
    assert len(shown) < 110
    assert shown[caret.index("^") :].startswith("foo(b) + c")


@pytest.mark.parametrize("text", ["", " ", "a)+(b", "(a", "a\n)", "x[i", "a,b", "a = b", "a <- b", "1 2", "sum[i](a)"])
def test_a_bad_expression(text):
    with pytest.raises(FormulaError):
        parse_expression(text)
