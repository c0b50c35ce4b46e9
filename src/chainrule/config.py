"""Keras's settings: the number type of new models."""

from chainrule.interfaces.keras.config import floatx, set_floatx

__all__ = ["floatx", "set_floatx"]
