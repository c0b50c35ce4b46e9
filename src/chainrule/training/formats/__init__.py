"""Other formats: a network as an ONNX graph, weights by PyTorch's names, and weights from PyTorch and Keras.

onnx_graph    nodes, constants and values whose axes are indices
onnx_values   an expression → nodes
onnx_file     a prediction Program → the file
modules       which parameters are a module of PyTorch's or a layer of Keras's
torch_file    weights → safetensors with PyTorch's names
weight_files  safetensors and HDF5 → arrays by name, under limits
matching      what goes where, or why that is not sure
"""
