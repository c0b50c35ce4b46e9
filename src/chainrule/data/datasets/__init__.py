"""Data sets by name. MNIST lies in the package; others come later."""

from chainrule.data.datasets.dataset import Dataset, Split
from chainrule.data.datasets.mnist import CacheWarning, load_mnist

__all__ = ["CacheWarning", "Dataset", "Split", "load_mnist"]
