"""What PyTorch, Keras and scikit-learn compute, recorded for the tests. `python -m benchmarks.record_oracles`.

    functions   activations, losses, metrics: values and gradients
    steps       schedules, and update rules on given gradients
    training    initializers, layers, and small networks trained for ten steps

Runs where the frameworks are installed; the tests read the files. Keras runs on PyTorch, in float64 and in float32.
"""
