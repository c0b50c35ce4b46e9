"""Data sets by name. MNIST lies in the package; the others are downloaded once."""

from chainrule.data.datasets.dataset import Dataset, Split
from chainrule.data.datasets.load import is_there, load_published
from chainrule.data.datasets.mnist import CacheWarning, load_mnist
from chainrule.data.datasets.published import EMNIST_DIGITS, EMNIST_LETTERS, FASHION_MNIST, KMNIST, Published

__all__ = [
    "EMNIST_DIGITS",
    "EMNIST_LETTERS",
    "FASHION_MNIST",
    "KMNIST",
    "CacheWarning",
    "Dataset",
    "Published",
    "Split",
    "is_there",
    "load_mnist",
    "load_published",
]
