"""What PyTorch, Keras and scikit-learn compute, recorded for the tests. `python -m benchmarks.record_oracles`.

    functions   activations, losses, metrics: values and gradients
    steps       schedules, and update rules on given gradients
    training    initializers, layers, and small networks trained for ten steps
    on_jax      what Keras computes more exactly on JAX

Runs where the frameworks are installed; the tests read the files. Keras runs on PyTorch but where on_jax says
otherwise, in float64 and in float32.
"""
