"""What all objects of the Keras style share: the arguments they were made with, names, the number type, the seed."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from textwrap import indent
from typing import Any

from chainrule.errors import SettingError
from chainrule.messages import say

DTYPES = ("float32", "float64")
_state: dict[str, Any] = {"floatx": "float32", "seed": 0, "models": 0, "names": {}}


class Configured:
    """Remembers the arguments that it was made with, as `get_config` gives them and `from_config` takes them."""

    _arguments: Mapping[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" not in cls.__dict__:
            return
        made = cls.__init__
        signature = inspect.signature(made)

        @functools.wraps(made)
        def remembering(self: Any, *given: Any, **named: Any) -> None:
            if not hasattr(self, "_arguments"):  # the class that was called, not one that it derives from
                try:
                    bound = signature.bind(self, *given, **named)
                except TypeError:
                    unknown = [n for n in named if n not in signature.parameters]
                    if unknown:
                        raise no_argument(type(self), unknown[0]) from None
                    made(self, *given, **named)  # Python says what is missing, and of whom
                    raise
                bound.apply_defaults()
                self._arguments = _plain(signature, bound.arguments)
            made(self, *given, **named)

        cls.__init__ = remembering  # type: ignore[method-assign]  # the same signature, by wraps

    def get_config(self) -> dict[str, Any]:
        """The arguments, in plain data."""
        return {name: to_data(value) for name, value in self._arguments.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """An object from what get_config gave."""
        return cls(**config)


def _plain(signature: inspect.Signature, arguments: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in list(arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return found


def to_data(value: Any) -> Any:
    """Numbers, texts, lists and the configurations of objects: what JSON holds."""
    if isinstance(value, Configured):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if isinstance(value, Mapping):
        return {str(k): to_data(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_data(v) for v in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return value


def documented(kind: type[Any], formula: str) -> None:
    """Put the library's formula under a class's docstring, where it is not there already."""
    own = inspect.cleandoc(kind.__doc__ or "")
    if formula not in own:
        kind.__doc__ = f"{own}\n\n{indent(formula, '    ')}\n"


def no_argument(kind: type[Any], name: str, more: Sequence[str] = ()) -> SettingError:
    """The error for an argument that a class does not take, with the nearest name, or all of them."""
    known = [p for p in inspect.signature(kind).parameters if p != "kwargs"] + list(more)
    near = get_close_matches(name, known, n=1)
    if near:
        return SettingError(say("keras.near_argument", layer=kind.__name__, name=name, near=near[0]))
    return SettingError(say("keras.unknown_argument", layer=kind.__name__, name=name, known=", ".join(known)))


def refuse(what: str, allowed: Mapping[str, object], given: Mapping[str, object]) -> None:
    """Options that Keras has and chainrule has not: only their defaults go through. Raises: SettingError."""
    for name, value in given.items():
        if name not in allowed:
            raise SettingError(say("keras.unknown_option", layer=what, name=name, known=", ".join(allowed) or "–"))
        default = allowed[name]
        if value is not default and value != default:
            raise SettingError(say("keras.option_not_here", layer=what, name=name, came=value, default=default))


def floatx() -> str:
    """The number type of new models: "float32", or what `set_floatx` said."""
    return str(_state["floatx"])


def set_floatx(value: str) -> None:
    """Choose the number type of models made from now on. Raises: SettingError."""
    if value not in DTYPES:
        raise SettingError(say("training.choice", name="dtype", came=value, wanted=", ".join(map(repr, DTYPES))))
    _state["floatx"] = value


def set_random_seed(seed: int) -> None:
    """The seed of all models made from now on: their first weights, their shuffling and their dropout."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise SettingError(say("training.seed", came=seed))
    _state["seed"], _state["models"] = seed, 0


def next_seed() -> int:
    """A seed for one more model: the same program draws the same numbers, two models of it different ones."""
    number = _state["models"]
    _state["models"] += 1
    return int((_state["seed"] + 1_000_003 * number) % 2**63)


def auto_name(kind: str) -> str:
    """dense, dense_1, … as Keras counts."""
    snake = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()
    count = _state["names"].get(snake, 0)
    _state["names"][snake] = count + 1
    return snake if not count else f"{snake}_{count}"


def clear_session() -> None:
    """Count names from the beginning again, as keras.utils.clear_session does."""
    _state["names"] = {}
