"""What a text means; and that whatever comes, only a FormulaError comes out, and soon."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule.errors import FormulaError
from chainrule.formula.expr import (
    Add,
    Apply,
    Compare,
    Delta,
    Element,
    Mul,
    Normalized,
    Number,
    Position,
    Power,
    Reduction,
    Size,
    Symbol,
    Where,
)
from chainrule.formula.parse import Definition, Vocabulary, parse_definition, parse_expression, parse_system
from chainrule.formula.shapes import Sizes
from chainrule.formula.system import Tensor
from tests.strategies import VOCABULARY, systems

DIGITS = """
size      j = 512
input     x[i]
target    t[k], sum[k](t[k]) = 1
parameter W1[i, j], W2[j, k] = glorot_uniform
parameter b1[j], b2[k] = zeros   # one initializer for both
h[j] = relu(sum[i](x[i] * W1[i, j]) + b1[j])
p[k] = softmax[k](sum[j](h[j] * W2[j, k])
                  + b2[k])       # a statement goes on while a bracket is open
E    = -sum[k](t[k] * log(p[k]))
"""


def value(text: str):
    """The right side of the last line."""
    return parse_system(text, VOCABULARY).equations[-1].value


# --- systems ---


def test_the_two_layer_network():
    system = parse_system(DIGITS, VOCABULARY)
    assert {t.name: (t.role, t.indices) for t in system.tensors.values()} == {
        "x": ("input", ("n", "i")),
        "t": ("target", ("n", "k")),
        "W1": ("parameter", ("i", "j")),
        "W2": ("parameter", ("j", "k")),
        "b1": ("parameter", ("j",)),
        "b2": ("parameter", ("k",)),
        "h": ("computed", ("n", "j")),
        "p": ("computed", ("n", "k")),
        "E": ("computed", ("n",)),
    }
    assert (system.loss, system.output, system.samples) == ("E", "p", "n")
    assert system.sizes == {"j": 512}
    assert [e.target.tensor for e in system.equations] == ["h", "p", "E"]
    assert system.equations[2].value == Mul(
        (
            Number(Fraction(-1)),
            Reduction("sum", ("k",), Mul((Element("t", ("n", "k")), Apply("log", (Element("p", ("n", "k")),))))),
        )
    )
    fact = system.facts[0]
    assert (fact.operator, fact.right) == ("==", Number(Fraction(1)))


def test_the_sample_axis_comes_from_the_inputs_only():
    system = parse_system("input x[i]\nparameter w[i]\nr = sum[i](w[i]**2)\ny = sum[i](x[i]*w[i]) + r\nz = mean[n](y)")
    indices = {name: t.indices for name, t in system.tensors.items()}
    assert (indices["r"], indices["y"], indices["z"]) == ((), ("n",), ())


def test_the_sample_axis_may_be_named_and_renamed():
    named = parse_system("input x[i]\nh[n, i] = x[n, i] - mean[n](x[n, i])")
    assert named == parse_system("input x[i]\nh[i] = x[i] - mean[n](x[i])")
    renamed = parse_system("h[i] = x[i] - mean[m](x[i])\ninput x[i]\nsamples m")
    assert renamed.tensors["h"].indices == ("m", "i")
    assert parse_system("samples m\ninput x\nn = 3\ny = n*x").hyper == {"n": 3}, "n is free then"


def test_lines_may_stand_in_any_order():
    forward = parse_system("input x\na = 2*x\nb = a + 1\nc = a*b")
    backward = parse_system("c = a*b\nb = a + 1\na = 2*x\ninput x")
    assert [e.target.tensor for e in backward.equations] == ["a", "b", "c"]
    assert forward.equations == backward.equations
    # The order of the text is kept where nothing else is needed.
    assert [e.target.tensor for e in parse_system("input x\nb = x\nc = 2*b\na = x").equations] == ["b", "c", "a"]


def test_an_index_is_an_index_in_every_line():
    before = parse_system("label y in k\nz = k0*2\nk0 = 1\np[k] = [k == y]")
    assert before.equation_of("p").value == Compare("==", Position("k"), Element("y", ("n",)))
    # Also where the line comes before the first sum over it.
    assert parse_expression("k*x[k]") == Mul((Position("k"), Element("x", ("k",))))


def test_the_output_is_the_last_line_that_needs_no_target():
    text = "input x\ntarget t\nh = 2*x\np = h + 1\nq = h + 3\nr = p - t\nE = r**2\n"
    assert parse_system(text).output == "p"  # q does not feed the loss, r sees the target
    assert parse_system(text + "output h").output == "h"
    assert parse_system("input x\ny = x\nz = 2*x").output == "z"
    assert parse_system("w <- w - eta*g").output is None


def test_the_loss_is_e_or_what_the_text_says():
    assert parse_system("input x\nE = x**2").loss == "E"
    assert parse_system("input x\nloss C\nC = x**2\nE = x").loss == "C"
    assert parse_system("input x\nC = x**2").loss is None
    assert parse_system("input x\nloss = x**2\nloss loss").loss == "loss"


def test_starting_values():
    text = "parameter a = zeros\nparameter b = normal(0, 0.01)\nparameter c[i] = [1, -2.5, 1/4]\n"
    text += "parameter d = -3\nparameter e"
    initial = {p.name: p.initial for p in parse_system(text, VOCABULARY).parameters}
    assert initial["a"].name == "zeros"
    assert (initial["b"].name, initial["b"].arguments) == ("normal", (0.0, 0.01))
    assert initial["c"].values == (1.0, -2.5, 0.25)
    assert initial["d"].values == -3.0
    assert (initial["e"].name, initial["e"].values) == (None, None)
    assert parse_system("state v[i]\nv[i] <- v[i]").tensors["v"].initial.name == "zeros"


def test_facts_are_chained_and_read_when_everything_is_known():
    facts = parse_system("target t[k], 0 <= t[k] <= 1, sum[k](t[k]) = 1, t[0] == s\ninput s").facts
    assert [f.operator for f in facts] == ["<=", "<=", "==", "=="]
    assert facts[3].right == Element("s", ("n",))


def test_updates_of_one_parameter_and_of_every_one():
    system = parse_system(
        "input x[j]\nparameter w[i]\nw[j] <- w[j] + eta*x[j]\nv <- rho*v + g\nw2 ← w2 - eta*v\neta = 0.1"
    )
    targets = [u.target for u in system.updates]
    assert targets == [Element("w", ("j",)), Symbol("v"), Symbol("w2")]
    assert system.hyper == {"eta": Fraction(1, 10)}


def test_functions_of_the_text():
    text = "input x\nbeta = 2\ng(a) = f(a, 1)*beta\nf(a, b) = a/(a + b)\ny = g(x + 3)"
    assert value(text) == value("input x\nbeta = 2\ny = (x + 3)/(x + 4)*beta")
    slope = parse_system("input x\nparameter c = zeros\ny = f(x)\nf(a) = max(a, c*a)")
    assert slope.equations[0].value.arguments[1] == Mul((Element("c", ()), Element("x", ("n",))))
    # An argument shadows every other meaning of its name, and is replaced in one go.
    assert value("input x, y\nf(x, y) = x - 2*y\nz = f(y, x)") == value("input x, y\nz = y - 2*x")


def test_functions_of_the_vocabulary():
    leaky = Definition(("a",), "where(a > 0, a, slope*a)", {"slope": 0.01})
    vocabulary = Vocabulary({"leaky": leaky})
    default = parse_expression("leaky(x)", vocabulary=vocabulary)
    assert default == parse_expression("where(x > 0, x, 0.01*x)") == parse_definition(leaky, a=Symbol("x"))
    assert parse_expression("leaky(x, slope=s)", vocabulary=vocabulary) == parse_expression("where(x > 0, x, s*x)")
    # A text may define a function of its own by a name of the library.
    system = parse_system("input x\nleaky(a) = 3*a\ny = leaky(x)", vocabulary)
    assert system.equations[0].value == Mul((Number(Fraction(3)), Element("x", ("n",))))


# --- expressions ---


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2 - -3*a", "2 + 3*a"),
        ("+a", "a"),
        ("a**2**3", "a**8"),
        ("-a**2", "-(a**2)"),
        ("a/b/c", "a/(b*c)"),
        ("a - b - c", "a - (b) - (c)"),
        ("a/2", "1/2*a"),
        ("1e-3*a", "a/1000"),
        ("sqrt(a)", "a**0.5"),
        ("a - a", "0"),
        ("where(a > 0, b, c)", "where([a > 0], b, c)"),
        ("where(a > 0 and b > 0, 1, 0)", "where([a > 0]*[b > 0], 1, 0)"),
        ("[0 < a < 1]", "[0 < a]*[a < 1]"),
        ("[a > 0 and b > 0]", "[a > 0]*[b > 0]"),
        ("[[a > 0] == [b > 0]]", "[([a > 0]) == ([b > 0])]"),
        ("[2 > 1]", "1"),
        ("Σ[i](x[i])", "sum[i](x[i])"),
        ("∑[i](x[i])", "sum[i](x[i])"),
        ("a − b", "a - b"),
        ("a · b × c ⋅ d ÷ e", "a*b*c*d/e"),
        ("（a＋b）＊c", "(a+b)*c"),
        ("a\u00a0+\u3000b", "a + b"),
        ("𝑎 + ｂ", "a + b"),
        ("µ", "μ"),
        ("mean[i](x[i])", "sum[i](x[i])/size(i)"),
        ("mean[i, j](A[i, j])", "sum[i, j](A[i, j])/size(i)/size(j)"),
        ("sum[i](\n  x[i]\n)", "sum[i](x[i])"),
        ("1.e2 + .5", "100.5"),
        ("a +\nb", "a + b"),
    ],
)
def test_ways_of_writing_the_same(text, same_as):
    assert parse_expression(text) == parse_expression(same_as)


def test_nodes():
    assert parse_expression("pi") == Number(Fraction("3.141592653589793"))
    assert parse_expression("step/steps") == Mul((Symbol("step"), Power(Symbol("steps"), Number(Fraction(-1)))))
    assert parse_expression("step(a)") == Apply("step", (Symbol("a"),))
    assert parse_expression("size(k)") == Size("k")
    assert parse_expression("[k == l]*A[k, l]").factors[0] == Delta("k", "l")
    assert parse_expression("x[0, i]") == Element("x", (0, "i"))
    assert parse_expression("max[k](a[k])") == Reduction("max", ("k",), Element("a", ("k",)))
    assert parse_expression("max(a, b)") == Apply("max", (Symbol("a"), Symbol("b")))
    assert parse_expression("softmax[k](a[k])") == Normalized("softmax", "k", Element("a", ("k",)))
    assert isinstance(parse_expression("where(a, b, c)"), Where)
    assert parse_expression("0.1") == Number(Fraction(1, 10))


def test_greek_hangul_and_accents_are_names():
    system = parse_system(
        "input 입력[i]\nparameter ω[i], β = zeros\nη = 0.1\nŷ = σ1*Σ[i](입력[i]·ω[i]) − β\nσ1 = 2", VOCABULARY
    )
    assert list(system.tensors) == ["입력", "ω", "β", "ŷ"]
    assert system.hyper == {"η": Fraction(1, 10), "σ1": 2}
    assert parse_expression("y\u0302 + p\u0304") == Add((Symbol("ŷ"), Symbol("p̄")))


def test_names_are_the_same_name_in_every_form_of_unicode():
    """NFKC, as Python's own parser has it: declared one way, used another."""
    system = parse_system("input ｘ[𝑖]\nﬁ(𝐚) = a**2\ny = Σ[i](x[ｉ]*fi(x[i]))\nsamples ｎ")
    assert list(system.tensors) == ["x", "y"]
    assert parse_system("label ｙ in ｋ\nz[k] = [k == y]\noutput ｚ").output == "z"


def test_line_ends_tabs_and_the_byte_order_mark():
    plain = parse_system("input x\ny = 2*x\n")
    assert parse_system("\ufeffinput\tx\r\ny\t=\t2*x\r\n") == plain


def test_a_long_sum_is_not_deep():
    terms = " + ".join(f"a{i}" for i in range(1500))
    assert len(parse_expression(terms).terms) == 1500
    assert len(parse_expression(terms.replace("+", "*")).factors) == 1500


def test_long_numbers_are_rounded_as_floats_are():
    third = parse_expression("0.123456789012345678*0.123456789012345678*0.123456789012345678*a")
    assert float(third.factors[0].value) == pytest.approx(0.123456789012345678**3, rel=1e-15)
    assert parse_expression("1e-200*1e-200*a + b") == Symbol("b")


# --- whatever comes ---

TOKENS = (
    "input target label parameter state size samples loss output in x y w t k i j n a E eta sum mean max softmax Σ "
    "size( where exp log sqrt pi step zeros uniform [ ] ( ) [i] [k] [i,j] , , = = == <- ← < > <= != + - * / ** "
    "2 0.5 1e9 0 \n \n \t # . ; : ' \" { } ^ ² ∂ if and or not for lambda is None __ @ \\ % & | ~ ! ` $ ? ∑ − · × "
    "α 가 ŷ"
)
SOUP = st.lists(st.sampled_from(TOKENS.split(" ")), max_size=40).map(" ".join)


def only_formula_errors(text: str) -> None:
    begin = time.process_time()
    try:
        Sizes(parse_system(text, VOCABULARY)).require()
    except FormulaError as error:
        str(error).encode("utf-8")  # what is shown can be shown
    try:
        parse_expression(text)
    except FormulaError as error:
        str(error).encode("utf-8")
    assert time.process_time() - begin < 5


@given(SOUP)
@settings(max_examples=400)
def test_any_soup_of_tokens(text):
    only_formula_errors(text)


@given(st.text(max_size=200))
@settings(max_examples=200)
@example("\ud800 = \udfff")
@example("y = a\x00")
def test_any_text(text):
    only_formula_errors(text)
    only_formula_errors("y = " + text)


@given(systems(max_layers=1, depth=1), st.data())
@settings(max_examples=100)
def test_a_good_text_with_a_piece_changed(drawn, data):
    text = drawn.text
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 5)))
    only_formula_errors(
        text[:start] + data.draw(st.sampled_from(["", "(", ")", "[", "]", ",", "=", "*", "k", "0", "\n"])) + text[end:]
    )


MONSTERS = {
    "open brackets": "y = " + "(" * 100_000,
    "brackets": "y = " + "(" * 5_000 + ")" * 5_000,
    "minus signs": "y = " + "-" * 5_000 + "a",
    "minus signs and spaces": "y = " + "- " * 1_900 + "a",
    "powers": "y = " + "2**" * 1_900 + "2",
    "powers of a name": "y = " + "a**" * 1_900 + "a",
    "a tower": "y = 9**9**9**9**9",
    "a negative tower": "y = 9**-9**9**9",
    "nested powers": "y = " + "(" * 50 + "a" + "**1000000)" * 50,
    "large numbers": "y = " + "*".join(["1e299"] * 500),
    "small numbers": "y = " + "*".join(["1e-299"] * 500) + "*a",
    "long numbers": "y = " + "*".join(["0.1234567890123456789012345678901234567"] * 1_000) + "*a",
    "sums of long numbers": "y = " + " + ".join(f"0.{i}234567890123456789012345678901234567*a" for i in range(900)),
    "a large exponent": "y = 1e999999",
    "an infinite number": "y = 1e400*a",
    "subscripts": "y = x" + "[i]" * 1_900,
    "nested subscripts": "y = " + "x[" * 59 + "i" + "]" * 59,
    "indices": "input x[" + ", ".join(f"i{i}" for i in range(5_000)) + "]",
    "one long name": "a" * 199_000 + " = 2",
    "one long number": "a = " + "1" * 199_000 + "x",
    "one long blank": "a" + " " * 199_000 + "(",
    "many blanks": "y = a" + " " * 199_000 + "]",
    "many lines": "\n".join(f"a{i} = a{i + 1}*2" for i in range(4_999)),
    "many lines in order": "a0 = 2*b\n" + "\n".join(f"a{i} = a{i - 1}*2" for i in range(1, 4_999)),
    "many terms": "y = " + " + ".join(f"a{i}" for i in range(1_990)),
    "many products": "y = " + " + ".join(f"a{i}*b{i}*c{i}" for i in range(650)),
    "many comparisons": "y = [" + " < ".join("a" for _ in range(1_900)) + "]",
    "many ands": "y = [" + " and ".join("a > 0" for _ in range(900)) + "]",
    "nested sums": "input x[i]\ny = " + "sum[i](x[i]*" * 40 + "2" + ")" * 40,
    "nested sums of many": "input x[a, b, c]\ny = " + "sum[a, b, c](x[a, b, c]*" * 25 + "2" + ")" * 25,
    "nested functions": "y = " + "sigmoid(" * 59 + "a" + ")" * 59,
    "nested choices": "y = " + "where(a > 0, b, " * 58 + "a" + ")" * 58,
    "doubling functions": "f0(a) = exp(a)*a\n" + "\n".join(f"f{i + 1}(a) = f{i}(f{i}(a))" for i in range(60)),
    "wide functions": "f(a) = " + " + ".join(f"sin({i}*a)" for i in range(700)) + "\ny = f(f(f(a)))",
    "characters": "é" * 200_000,
    "too many characters": "é" * 200_001,
    "comments": "#" * 200_000,
    "arrows": "<-" * 99_999,
    "equals": "=" * 199_999,
    "commas": "input " + "," * 199_000,
    "parameters": "parameter " + ", ".join(f"w{i}" for i in range(20_000)),
    "a list": "parameter w[i] = [" + ", ".join(["1"] * 60_000) + "]",
    "a deep list": "parameter w[i] = " + "[" * 60 + "1" + "]" * 60,
    "a long number in a list": "parameter w[i] = [" + "1" * 190_000 + "]",
    "newlines": "\n" * 199_999,
    "quotes": "'" * 199_999,
    "backslashes": "\\" * 199_999,
    "null bytes": "\0" * 199_999,
}


@pytest.mark.parametrize("text", MONSTERS.values(), ids=MONSTERS)
def test_monsters_end_soon(text):
    only_formula_errors(text)


def test_tensors_may_be_given_for_one_expression():
    tensors = {"x": Tensor("x", "input", ("n", "i")), "b": Tensor("b", "parameter", ())}
    assert parse_expression("x[i]*b*c", tensors) == Mul((Element("x", ("n", "i")), Element("b", ()), Symbol("c")))
    with pytest.raises(FormulaError):
        parse_expression("z[i]", tensors)
