"""Layers that put several inputs together, by Keras's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import SettingError
from chainrule.interfaces.keras.graph import Layer
from chainrule.interfaces.keras.row_layer import RowLayer, Shapes, last_axis
from chainrule.interfaces.keras.writer import Form
from chainrule.messages import say


class _Merge(RowLayer):
    """Several inputs of one shape, entry by entry."""

    takes_several = True

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def check(self, shapes: Shapes) -> None:
        if len(shapes) < 2:
            raise SettingError(say("keras.several_inputs", layer=self.name))
        for shape in shapes[1:]:
            if shape != shapes[0]:
                raise SettingError(say("keras.unlike_shapes", layer=self.name, first=shapes[0], second=shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape[0])


class Add(_Merge):
    """The sum."""

    row = "add"


class Subtract(_Merge):
    """The difference of two."""

    row = "subtract"

    def check(self, shapes: Shapes) -> None:
        super().check(shapes)
        if len(shapes) != 2:
            raise SettingError(say("keras.two_inputs", layer=self.name, came=len(shapes)))


class Multiply(_Merge):
    """The product."""

    row = "multiply"


class Average(_Merge):
    """The mean."""

    row = "average"

    def form(self, shapes: Shapes) -> Form | None:
        self.settings = {"count": max(len(shapes), 2)}
        return super().form(shapes)


class Maximum(_Merge):
    """The largest."""

    row = "maximum"


class Minimum(_Merge):
    """The smallest."""

    row = "minimum"


class Concatenate(Layer):
    """One behind another along the last axis: a list of blocks, no copy. A Dense layer behind it sums over each."""

    takes_several = True

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def check(self, shapes: Shapes) -> None:
        if len(shapes) < 2:
            raise SettingError(say("keras.several_inputs", layer=self.name))
        rank = len(shapes[0])
        if self.axis not in (-1, rank) or not rank:
            last_axis("Concatenate", self.axis)
        for shape in shapes[1:]:
            if shape[:-1] != shapes[0][:-1]:
                raise SettingError(say("keras.unlike_shapes", layer=self.name, first=shapes[0], second=shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[0][:-1], sum(s[-1] for s in input_shape))

    def form(self, shapes: Shapes) -> None:
        return None


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """Concatenate(axis)(inputs)"""
    return Concatenate(axis=axis, **kwargs)(inputs)


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Add()(inputs)"""
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Subtract()(inputs)"""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Multiply()(inputs)"""
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Average()(inputs)"""
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Maximum()(inputs)"""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Minimum()(inputs)"""
    return Minimum(**kwargs)(inputs)
