"""Texts that somebody made to hang a reader or to fill the memory: each ends in one of chainrule's errors, or works."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from chainrule.errors import ChainruleError, NotationError, ShapeError
from chainrule.formula.expr import Element, Reduction, key, mul, same
from chainrule.training.network import Network, formula

NESTED = "input x\nparameter w = 1\nE = "
DOUBLED = (
    "input x\nparameter w = 1\nf(a) = tanh(a)*a\nf0(a) = f(f(a))\nf1(a) = f0(f0(a))\nf2(a) = f1(f1(a))\nE = f2(w*x)"
)
SECONDS = 10  # of the processor, where the worst takes 2; without its limit each takes minutes


@pytest.mark.parametrize(
    "text",
    [
        "y = 9**9**9",
        "y = " + "1" * 10_000,
        "y = " + "*".join(["9" * 40] * 900),
        "y = " + "a" * 100_000,
        "y = " + "(" * 190_000,
        "y = " + "-" * 3_900 + "1",
        "=" * 190_000,
        "\n".join(f"a{k} = a{(k + 1) % 3000}" for k in range(3000)),
        "input x\ny = " + "*".join(["x**999999"] * 500),
        "input x\ny = \ud800",
        "input x # \udcff\ny = x",
        "input x # \u202e\ny = x",
        "input x # \x1b[2J\ny = x",
        "input x\ny = x\0",
        "input a" + "\u0301" * 60_000,
        "y = " + "\ufdfa" * 190_000,
        "size i = 1000000000000\ny[i] = i",
        "eta = 1e999",
        "y = (lambda: 1)()",
        "y = __import__('os').getcwd()",
    ],
    ids=itertools.count(),
)
def test_what_does_not_read(text):
    begun = time.process_time()
    with pytest.raises(ChainruleError) as caught:
        formula(f"{text}\n")
    assert time.process_time() - begun < SECONDS
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        NESTED + "exp(" * 58 + "w*x" + ")" * 58,
        NESTED + "(w*tanh(" * 29 + "w*x" + "))" * 29,
        NESTED + "where(w*x > 0, w*x, " * 50 + "0" + ")" * 50,
        "input x\nparameter w = 0\nh[a,b,c,d,e,f,g,h0] = x*w*a*b*c*d*e*f*g*h0\nE = h[1,1,1,1,1,1,1,1]",
        "input x[k]\nparameter w[k] = zeros\nE = " + "sum[k](w[k] + x[k]*" * 25 + "1" + ")" * 25,
    ],
    ids=["exp", "products", "choices", "eight indices", "sums"],
)
def test_what_is_derived(text):
    begun = time.process_time()
    assert formula(f"{text}\n").derivation.adjoints
    assert time.process_time() - begun < SECONDS


def test_a_derivative_that_would_be_too_long_is_refused():
    begun = time.process_time()
    with pytest.raises(NotationError, match="derivative of E with respect to w has"):
        formula(DOUBLED).derivation
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"size i{k} = 2000000000\nparameter w{k}[i{k}] = uniform" for k in range(100))
        + "\ninput x\ny = x + w0[0]",
        "size i = 2000, j = 2000, k = 2000, l = 2000\ninput x\ny = sum[i, j, k, l](exp(x*i*j*k*l))",
        "size i = 60000, j = 60000\ninput x\nh[i, j] = x*i*j\ny = sum[i, j](h[i, j])",
    ],
    ids=["parameters", "terms", "a tensor"],
)
def test_sizes_that_no_machine_has_room_for(text):
    with pytest.raises(ShapeError, match=r"memory|terms|entries|large"):
        formula(f"{text}\n").predict(np.zeros(2))


def test_memory_that_is_not_there_is_one_line(monkeypatch):
    def none(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("chainrule.training.network.initial_values", none)
    net: Network = formula("input x[i]\nparameter w[i] = zeros\ny = sum[i](x[i]*w[i])", sizes={"i": 3})
    with pytest.raises(ShapeError, match="not enough memory"):
        net.predict(np.zeros((2, 3)))


@pytest.mark.parametrize("count", [5, 6, 8])
def test_sums_over_many_indices_are_the_same_in_every_order(count):
    """An oracle of its own: the same body with its indices renamed in some other order."""
    names = [f"i{n}" for n in range(count)]
    chain = [Element("w", pair) for pair in itertools.pairwise(names)]

    def total(order: list[str]) -> Reduction:
        renamed = dict(zip(names, order, strict=True))
        parts = [Element("w", tuple(renamed[str(s)] for s in e.slots)) for e in chain]
        return Reduction("sum", tuple(sorted(order)), mul(*parts, Element("x", (renamed[names[0]],))))

    first = total(names)
    draw = np.random.default_rng(count)
    for _ in range(20):
        assert same(first, total(list(draw.permutation(names))))
    other = Reduction("sum", tuple(names), mul(*chain, Element("x", (names[-1],))))
    assert key(first) != key(other)
