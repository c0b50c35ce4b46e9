"""The rules of differentiation, each a named row; the name is what the reader of a derivation sees.

Formulas here are for the reader; derive.py and adjoint.py apply the rules and record them as Steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.formula.expr import Expr


@dataclass(frozen=True)
class Rule:
    """`of` becomes `gives`; d(u) is the derivative of u."""

    name: str
    of: str
    gives: str


CONSTANT = Rule("constant", "d(c)", "0")
IDENTITY = Rule("identity", "d(x)", "1")
KRONECKER = Rule("Kronecker delta", "d(x[i])/d(x[k])", "[i == k]")
SUM = Rule("sum", "d(u + v)", "d(u) + d(v)")
SUM_OVER = Rule("sum over an index", "d(sum[i](u[i]))", "sum[i](d(u[i]))")
PRODUCT = Rule("product", "d(u*v)", "d(u)*v + u*d(v)")
POWER = Rule("power", "d(u**c)", "c*u**(c - 1)*d(u)")
EXPONENTIAL = Rule("general power", "d(u**v)", "u**v*(d(v)*log(u) + v*d(u)/u)")
CHAIN = Rule("chain", "d(f(u))", "f'(u)*d(u)")
CHOICE = Rule("choice", "d(where(c, u, v))", "where(c, d(u), d(v))")
EXTREME = Rule("maximum over an index", "d(max[k](u[k]))", "sum[k]([u[k] == max]*d(u[k])), ties share")
LOG_SUM_EXP = Rule("log-sum-exp", "d(logsumexp[k](u[k]))", "sum[k](softmax[k](u[k])*d(u[k]))")
SOFTMAX = Rule("softmax", "d(p[k]), p = softmax(u)", "p[k]*(d(u[k]) - sum[l](p[l]*d(u[l])))")
LOG_SOFTMAX = Rule("log of softmax", "d(log p[k]), p = softmax(u)", "d(u[k]) - sum[l](p[l]*d(u[l]))")

# Steps of a backward pass.
CHAIN_OVER_USES = Rule("chain rule", "dE/dq", "sum of dE/dc * dc/dq over every c that q is used in")
LOCAL = Rule("local derivative", "dc/dq", "derived from the equation of c")
MULTIPLY = Rule("multiply", "dE/dc * dc/dq", "their product")
DELTA_REMOVES_SUM = Rule("Kronecker delta removes the sum", "sum[i]([i == k]*u[i])", "u[k]")
REUSE = Rule("forward quantity", "f(z)", "p, where p = f(z) was computed on the way forward")
FACT = Rule("given of the data", "sum[k](t[k])", "1, where the text declares it")
COLLECT = Rule("multiply out and collect", "u*(v + w)", "the shorter of both forms")
SEED = Rule("start", "dE/dE", "1")
BATCH = Rule("mean over the batch", "dL/dw", "mean[n](…), as the loss of a batch is the mean of E")

RULES: tuple[Rule, ...] = tuple(v for v in list(globals().values()) if isinstance(v, Rule))


@dataclass(frozen=True)
class Step:
    """One step of a derivation: by which rule, from what, to what. `about` holds the steps inside it."""

    rule: str
    before: Expr
    after: Expr
    about: tuple[Step, ...] = ()
