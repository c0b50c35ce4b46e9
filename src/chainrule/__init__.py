"""The formula is the program: neural networks written as textbook formulas, derived, shown, checked and compiled.

The chapters, each a folder, in the order in which data flows through them:

    formula      1  what a formula is: text → System
    library      2  activations, losses, layers, metrics, update rules, schedules, initializers: rows of formula text
    derivation   3  the chain rule: System → the equations of its backward pass, with every step
    program      4  from formulas to instructions, a slow runner, readable source
    kernels      5  from instructions to machine code
    training     6  learning: what a user holds, the loop, callbacks, metrics, the model file
    interfaces   7  ways in: the command line, pictures, the styles of Keras and scikit-learn
    data            what goes in: MNIST, readers, tables, batches
    errors          every exception
    messages        every text that a user reads, in English and Korean

The public names:

    formula(text)        a Network from formulas, as a text or a file
    load(path)           a Network from its model file
    stream(where)        data that are read while a network trains on them, also more than fit into memory
    Network              formulas with weights: predict, loss, gradients, fit, save, export
    import_weights(net, path)
                         weights of PyTorch and Keras into a network, and the table of what went where
    Checkpoints(folder)  where fit keeps checkpoints, and how often
    derive(text, by)     the derivative of one scalar formula, with its steps
    check_derivation(net, claim)
                         whether a gradient or an update rule that was derived by hand is right, and where it is not
    derivative(text, at) the same from the ground up at a point: rate, limit, rules, linear approximation
    datasets             datasets.mnist(), and datasets.mnist.load_data() as in Keras
    pictures             network diagrams, the flow of one sample, weights, boundaries, loss surfaces, descent
    library              the tables of ready formulas
    errors               what is raised
    set_language("ko")   the language of messages

In the style of Keras, each layer, loss and update rule a formula (docs/keras.md):

    models, layers, optimizers, losses, metrics, callbacks, activations, initializers, regularizers, constraints, utils,
    config, and Sequential, Model, Input

In the style of scikit-learn, with the extra chainrule[sklearn] (docs/sklearn.md):

    chainrule.sklearn    MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor

>>> import chainrule as cr
>>> net = cr.formula('''
... input     x[i]
... target    t
... parameter w[i], b = zeros
... p = sigmoid(sum[i](w[i]*x[i]) + b)
... E = -(t*log(p) + (1 - t)*log(1 - p))
... ''')
>>> {name: g.tolist() for name, g in net.gradients([[1.0, 2.0]], [1.0]).items()}   # (p - t) x and p - t, p = 1/2
{'w': [-0.5, -1.0], 'b': -0.5}
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule import (
        activations,
        callbacks,
        config,
        constraints,
        datasets,
        errors,
        initializers,
        layers,
        library,
        losses,
        metrics,
        models,
        optimizers,
        regularizers,
        utils,
    )
    from chainrule.data.sources.streams import stream
    from chainrule.derivation.derive import derive
    from chainrule.interfaces import pictures
    from chainrule.interfaces.claim import check_derivation
    from chainrule.interfaces.derivative import derivative
    from chainrule.messages import set_language
    from chainrule.models import Input, Model, Sequential
    from chainrule.training.checkpoints import Checkpoints
    from chainrule.training.formats.matching import import_weights
    from chainrule.training.network import Network, formula, load

    __version__: str

__all__ = [
    "Checkpoints",
    "Input",
    "Model",
    "Network",
    "Sequential",
    "activations",
    "callbacks",
    "check_derivation",
    "config",
    "constraints",
    "datasets",
    "derivative",
    "derive",
    "errors",
    "formula",
    "import_weights",
    "initializers",
    "layers",
    "library",
    "load",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "pictures",
    "regularizers",
    "set_language",
    "stream",
    "utils",
]

KERAS_MODULES = (
    "activations",
    "callbacks",
    "config",
    "constraints",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "utils",
)

# Where each public name lives ("" for the module itself). They load when first used: `import chainrule` takes
# milliseconds, and neither NumPy nor what only some need (llvmlite, matplotlib, rich) comes with it.
_HOMES = {
    "Checkpoints": ("chainrule.training.checkpoints", "Checkpoints"),
    "Network": ("chainrule.training.network", "Network"),
    "check_derivation": ("chainrule.interfaces.claim", "check_derivation"),
    "datasets": ("chainrule.datasets", ""),
    "derivative": ("chainrule.interfaces.derivative", "derivative"),
    "derive": ("chainrule.derivation.derive", "derive"),
    "errors": ("chainrule.errors", ""),
    "formula": ("chainrule.training.network", "formula"),
    "import_weights": ("chainrule.training.formats.matching", "import_weights"),
    "library": ("chainrule.library", ""),
    "load": ("chainrule.training.network", "load"),
    "pictures": ("chainrule.interfaces.pictures", ""),
    "set_language": ("chainrule.messages", "set_language"),
    "stream": ("chainrule.data.sources.streams", "stream"),
    **{name: ("chainrule.models", name) for name in ("Input", "Model", "Sequential")},
    **{name: (f"chainrule.{name}", "") for name in KERAS_MODULES},
    "sklearn": ("chainrule.sklearn", ""),  # not in __all__: `from chainrule import *` must not need an extra
}


class _Package(ModuleType):
    """The package with its names loaded on demand."""

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("chainrule")
        if name not in _HOMES:
            raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
        return _load(name)

    def __dir__(self) -> list[str]:
        return sorted({*(n for n in super().__dir__() if n.startswith("__")), *__all__, "__version__"})

    @property
    def formula(self) -> Any:
        """The function; the chapter of that name is reached by `from chainrule.formula import …`."""
        return _load("formula")

    @formula.setter
    def formula(self, chapter: ModuleType) -> None:
        """The import system binds the chapter here once it is loaded; the public name stays the function."""


def _load(name: str) -> Any:
    module, attribute = _HOMES[name]
    loaded = import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


sys.modules[__name__].__class__ = _Package
