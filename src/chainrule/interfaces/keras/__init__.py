"""Keras's names over formulas: `from chainrule import models, layers`.

config.py          arguments that objects remember, names, the number type, the seed
rows.py            Keras's names → rows of the library
activations.py initializers.py regularizers.py constraints.py losses.py metrics.py schedules.py optimizers.py
                   objects with Keras's arguments; each is a row of the library with its numbers
views.py           what stands behind a symbolic tensor: blocks, axes, indices
graph.py           symbolic tensors, nodes, the base of all layers
row_layer.py       a layer that is a row of library/layers.py
layers.py normalizing.py merging.py   the layers; formula_layer.py a layer of one's own
writer.py          layers' texts with a model's names in them
assemble.py        a graph of layers → one formula text
models.py          Input, Model, Sequential; trainer.py compile, fit, evaluate, predict; given.py their arguments
summary.py saving.py utils.py
"""
