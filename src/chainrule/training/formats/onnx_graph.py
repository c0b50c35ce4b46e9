"""An ONNX graph that grows: nodes, constants, and values whose axes are named by indices.

A value keeps its axes in the order of the instruction that is written (`order`); two values are brought together as
NumPy does it, by axes of length 1 in the places of those that one of them lacks. What is constant (weights, numbers) is
transposed and reshaped here, once, and not at each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.formula.expr import fresh_name

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Value:
    """A result in the graph. `kind` is float, int or bool; `axes` are indices, in the order of the array's axes."""

    name: str
    axes: tuple[str, ...]
    kind: str = "float"


@dataclass
class Graph:
    """Nodes and constants. `dtype` is that of the numbers, "float32" or "float64"."""

    dtype: str
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    about: str = ""  # the formula that the next nodes are of
    _known: dict[object, str] = field(default_factory=dict)

    # --- nodes

    def node(self, operator: str, *inputs: str, wanted: str = "", **attributes: Any) -> str:
        """Append a node with one output, and give that output's name. The same node twice is one."""
        from onnx import helper

        same = (operator, inputs, tuple((k, repr(v)) for k, v in sorted(attributes.items())))
        if same in self._known and not wanted:
            return self._known[same]
        name = self.fresh(wanted or operator.lower())
        made = helper.make_node(operator, inputs, [name], name=f"{operator}:{name}", **attributes)
        made.doc_string = self.about
        self.nodes.append(made)
        self._known[same] = name
        return name

    def fresh(self, wanted: str) -> str:
        """A name that nobody has yet."""
        name = fresh_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def renamed(self, name: str, other: str) -> None:
        """A node's output has another name from now on."""
        self._known = {k: other if v == name else v for k, v in self._known.items()}

    # --- constants

    def constant(self, array: Array, wanted: str = "constant") -> str:
        """The name of a constant; equal ones are kept once."""
        array = np.ascontiguousarray(array) if array.ndim else np.asarray(array)
        same = (array.dtype.str, array.shape, array.tobytes())
        if same not in self._known:
            self._known[same] = self.fresh(wanted)
            self.constants[self._known[same]] = array
        return self._known[same]

    def whole(self, *numbers: int) -> str:
        """A vector of whole numbers: axes, shapes."""
        return self.constant(np.array(numbers, np.int64), "shape")

    def number(self, number: float) -> Value:
        return Value(self.constant(np.asarray(number, self.dtype), "number"), ())

    # --- kinds

    def real(self, value: Value) -> Value:
        """The value as numbers to compute with."""
        if value.kind == "float":
            return value
        if value.name in self.constants:
            return replace(value, name=self.constant(self.constants[value.name].astype(self.dtype)), kind="float")
        return self.cast(value, "float")

    def cast(self, value: Value, kind: str) -> Value:
        from onnx import helper

        dtype = {"float": self.dtype, "int": "int64", "bool": "bool", "single": "float32"}[kind]
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return Value(self.node("Cast", value.name, to=to), value.axes, kind)

    # --- axes

    def turned(self, value: Value, order: Sequence[str]) -> Value:
        """The value with its own axes in this order."""
        axes = tuple(a for a in order if a in value.axes)
        if axes == value.axes:
            return value
        places = [value.axes.index(a) for a in axes]
        if value.name in self.constants:
            name = self.constant(self.constants[value.name].transpose(places), f"{value.name}_turned")
        else:
            name = self.node("Transpose", value.name, perm=places)
        return replace(value, name=name, axes=axes)

    def beside(self, value: Value, axes: Sequence[str]) -> str:
        """The name of the value as it stands beside others over `axes`: with axes of length 1 where it has none.

        Missing axes in front need none: there arrays are widened by themselves.
        """
        value = self.turned(value, axes)
        if not value.axes:
            return value.name
        tail = list(axes[list(axes).index(value.axes[0]) :])
        missing = [n for n, a in enumerate(tail) if a not in value.axes]
        if not missing:
            return value.name
        if value.name in self.constants:
            return self.constant(np.expand_dims(self.constants[value.name], tuple(missing)), f"{value.name}_wide")
        return self.node("Unsqueeze", value.name, self.whole(*missing))
