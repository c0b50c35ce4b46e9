"""Other formats: a network as an ONNX graph, weights by PyTorch's names, and weights from PyTorch and Keras.

The files, outward and inward:

    export        which file `net.export` writes
    onnx_graph    nodes, constants and values whose axes are indices
    onnx_values   an expression → nodes
    onnx_forms    Softmax and Gather, which lowering wrote out
    onnx_file     a prediction Program → the file
    modules       which parameters are a module of PyTorch's or a layer of Keras's
    torch_file    weights → safetensors with PyTorch's names
    weight_files  safetensors and HDF5 → arrays by name, under limits
    matching      what goes where, or why that is not sure
    placements    the table of what went where
"""
