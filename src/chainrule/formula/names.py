"""What a name means to a reader: W1 is W with the mark 1, y_hat wears a hat, dE_dW1 is a derivative.

A name is read as letter, marks and accents, so that every dialect of typeset.py prints it in its own signs. A name that
is a word of its own (`carry`, `learning_rate`) stays one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ε",
    "zeta": "ζ",
    "eta": "η",
    "theta": "θ",
    "iota": "ι",
    "kappa": "κ",
    "lambda": "λ",
    "mu": "μ",
    "nu": "ν",
    "xi": "ξ",
    "omicron": "ο",
    "pi": "π",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "upsilon": "υ",
    "phi": "φ",
    "chi": "χ",
    "psi": "ψ",
    "omega": "ω",
} | {
    "Gamma": "Γ",
    "Delta": "Δ",
    "Theta": "Θ",
    "Lambda": "Λ",
    "Xi": "Ξ",
    "Pi": "Π",
    "Sigma": "Σ",
    "Upsilon": "Υ",
    "Phi": "Φ",
    "Psi": "Ψ",
    "Omega": "Ω",
}

# A part of a name that stands above its letter, as the combining character that does so.
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307", "ddot": "\u0308", "vec": "\u20d7"}

# What a loss is called where no system says so.
LOSSES = ("E", "C", "L", "J", "loss", "cost", "error", "risk", "objective")


@dataclass(frozen=True)
class Name:
    """A name in its parts: `letter` is one letter or a whole word, `marks` are layers, owners, numbers."""

    letter: str
    marks: tuple[str, ...] = ()
    accents: tuple[str, ...] = ()

    @property
    def is_word(self) -> bool:
        return len(self.letter) > 1


@lru_cache(maxsize=4096)
def split_name(name: str) -> Name:
    """The parts of a name.

    >>> split_name("W1"), split_name("delta_h"), split_name("y_hat").accents == (ACCENTS["hat"],)
    (Name(letter='W', marks=('1',), accents=()), Name(letter='δ', marks=('h',), accents=()), True)
    >>> split_name("learning_rate")
    Name(letter='learning_rate', marks=(), accents=())
    """
    first, *rest = name.split("_")
    match = re.fullmatch(r"([^\W\d]+?)(\d*)", first)
    if match is None or "" in rest:
        return Name(name)
    letter, *above = list(unicodedata.normalize("NFD", GREEK.get(match[1], match[1])))
    if any(not unicodedata.combining(c) for c in above):
        letter, above = match[1], []
    marks = [m for m in (match[2], *rest) if m and m not in ACCENTS]
    if len(letter) > 1 and any(split_name(m).is_word for m in marks if not m.isdecimal()):
        return Name(name)
    return Name(letter, tuple(marks), (*above, *(ACCENTS[m] for m in rest if m in ACCENTS)))


def split_derivative(name: str, known: Collection[str] = ()) -> tuple[str, str] | None:
    """("E", "W1") of dE_dW1; None where the name is no derivative.

    `known` are the names of the system's tensors. What is not among them has to look like a quantity: `data_dim` is no
    derivative of "ata".
    """
    if not name.startswith("d"):
        return None
    splits = [(name[1 : m.start()], name[m.end() :]) for m in re.finditer("_d", name)]
    for over, under in splits:
        if over in known and under in known:
            return over, under
    return next((s for s in splits if all(map(_looks_like_a_quantity, s))), None)


def is_loss(name: str) -> bool:
    """Whether a name is a usual one for a loss."""
    return name in LOSSES


def split_logarithm(name: str) -> str | None:
    """ "p" of log_p, as a derivation names the logarithm of p."""
    return name.removeprefix("log_") or None if name.startswith("log_") else None


@lru_cache(maxsize=4096)
def split_index(index: str) -> tuple[str, int]:
    """An index and its number of primes: k'' and k_3, as the algebra writes it and a person types it, are ("k", 2)."""
    base = index.rstrip("'")
    if base != index:
        return base, len(index) - len(base)
    match = re.fullmatch(r"(.+)_([2-4])", index)
    return (match[1], int(match[2]) - 1) if match else (index, 0)


def _looks_like_a_quantity(name: str) -> bool:
    name = split_logarithm(name) or name
    parts = split_name(name)
    return bool(name) and (not parts.is_word or is_loss(name))
