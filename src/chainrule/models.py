"""Keras's models over formulas: Sequential, Model, Input, load_model, clone_model."""

from chainrule.interfaces.keras.models import Input, Model, Sequential, clone_model, load_model

Functional = Model

__all__ = ["Functional", "Input", "Model", "Sequential", "clone_model", "load_model"]
