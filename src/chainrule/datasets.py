"""Data sets by name: `datasets.mnist()`, and `datasets.mnist.load_data()` as in Keras."""

from chainrule.interfaces.datasets import arrays_for, find, mnist, sizes_for

__all__ = ["arrays_for", "find", "mnist", "sizes_for"]
