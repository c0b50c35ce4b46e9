"""What a line `random m[j] = …` may draw from: rows of formula text, and the numbers in [0, 1) that they are made of.

The numbers come from no stream but from a counter: what one entry of a quantity gets depends on the seed, the step, the
quantity's name, the sample's place in the batch and the place of the entry, and on nothing else. So any number of
threads draws the same bits, and so does a training that goes on at step s. In words of 64 bits, modulo 2⁶⁴:

    mix(z)   z ^= z >> 30; z *= 0xbf58476d1ce4e5b9; z ^= z >> 27; z *= 0x94d049bb133111eb; z ^= z >> 31
    key      h = 0; for each w of seed, step, name, number: h = mix((h ^ w) + γ)       γ = 0x9e3779b97f4a7c15
    entry    mix(key + γ (n 2³² + place + 1)), of which a float32 takes the first 24 bits, a float64 the first 53

Source: G. L. Steele, D. Lea and C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014 (γ, and the
finalizer, which is D. Stafford's variant 13).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from chainrule.formula.expr import ZERO, Draw, Expr, Random, replace_symbols

DRAWS = ("u", "v")  # how the formulas of the rows call their numbers in [0, 1)
GAMMA = 0x9E3779B97F4A7C15
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SHIFTS = (30, 27, 31)
ROW_SHIFT = 32  # the row of the batch stands above the place of the entry, which is below 2³¹
BITS = {"float32": 24, "float64": 53}

Words = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class Distribution:
    """A row: the value of an entry as a formula of the arguments and of u and v, and the mean, which predicts.

    `wanted` is what the arguments have to fulfil, `shown` the name in a typeset page.
    """

    name: str
    arguments: tuple[str, ...]
    value: str
    mean: str
    wanted: str
    shown: str
    source: str = ""


_ROWS = (
    Distribution("bernoulli", ("q",), "[u < q]", "q", "0 <= q <= 1", "Bernoulli"),
    Distribution("uniform", ("low", "high"), "low + (high - low)*u", "(low + high)/2", "low <= high", "Uniform"),
    Distribution(
        "normal",
        ("mu", "sigma"),
        "mu + sigma*sqrt(-2*log1p(-u))*cos(2*pi*v)",
        "mu",
        "sigma >= 0",
        "Normal",
        "G. E. P. Box and M. E. Muller, A note on the generation of random normal deviates, Ann. Math. Stat. 29, 1958",
    ),
)
DISTRIBUTIONS = {row.name: row for row in _ROWS}


@cache
def _parsed(text: str) -> Expr:
    from chainrule.formula.parse import parse_expression  # which knows the names of these rows

    return parse_expression(text)


def formula_of(random: Random) -> Expr:
    """A random quantity as what it is computed from: bernoulli(q) is [draw < q]."""
    row = DISTRIBUTIONS[random.distribution]
    drawn = {name: Draw(random.tensor, number, random.slots) for number, name in enumerate(DRAWS)}
    return replace_symbols(_parsed(row.value), {**_given(random), **drawn})


def mean_of(random: Random) -> Expr:
    """What stands for a random quantity when predicting."""
    return replace_symbols(_parsed(DISTRIBUTIONS[random.distribution].mean), _given(random))


def in_range(random: Random, hyper: dict[str, Expr]) -> bool:
    """Whether the arguments are what the row wants, as far as they are numbers; `hyper` has those of symbols."""
    given = {name: replace_symbols(value, hyper) for name, value in _given(random).items()}
    wanted = replace_symbols(_parsed(f"[{DISTRIBUTIONS[random.distribution].wanted}]"), given)
    return wanted != ZERO


def _given(random: Random) -> dict[str, Expr]:
    return dict(zip(DISTRIBUTIONS[random.distribution].arguments, random.arguments, strict=True))


# --- the numbers ------------------------------------------------------------------------------------------------------


def key_name(tensor: str) -> str:
    """What the keys of a random quantity are called among a step's arrays; no formula can name that."""
    return f"{tensor} key"


def mix(words: Words) -> Words:
    """Steele, Lea and Flood's finalizer, word by word."""
    with np.errstate(over="ignore"):
        for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
            words = (words ^ (words >> np.uint64(shift))) * np.uint64(multiplier)
        return words ^ (words >> np.uint64(SHIFTS[-1]))


def number_of_name(tensor: str) -> int:
    """A name as a word of 64 bits: another name draws other numbers, whatever else a text has."""
    return int.from_bytes(hashlib.blake2b(tensor.encode(), digest_size=8).digest(), "little")


def keys(tensor: str, numbers: int, seed: int, steps: Iterable[int] | Words) -> Words:
    """The keys of a quantity's draws at each step: (steps, numbers)."""
    step = np.asarray(steps, dtype=np.uint64)[:, None]
    number = np.arange(numbers, dtype=np.uint64)[None, :]
    h = np.zeros((1, 1), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for word in (np.uint64(seed), step, np.uint64(number_of_name(tensor)), number):
            h = mix((h ^ word) + np.uint64(GAMMA))
    return h


def even_numbers(key: int, rows: int, places: int, dtype: str) -> np.ndarray[Any, Any]:
    """Numbers in [0, 1): one for each place of each row, (rows, places).

    >>> even_numbers(1, 2, 2, "float64").round(3)
    array([[0.567, 0.746],
           [0.089, 0.46 ]])
    """
    row = np.arange(rows, dtype=np.uint64)[:, None] << np.uint64(ROW_SHIFT)
    place = np.arange(1, places + 1, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):
        words = mix(np.uint64(key) + np.uint64(GAMMA) * (row + place))
    bits = BITS[dtype]
    first: np.ndarray[Any, Any] = (words >> np.uint64(64 - bits)).astype(dtype)
    return np.asarray(first * np.dtype(dtype).type(2.0**-bits))
