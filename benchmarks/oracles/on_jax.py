"""What Keras computes on JAX: `python -m benchmarks.oracles.on_jax trainings float64`, JSON on standard output.

Keras 3.15 on PyTorch multiplies matrices of float64 in float32, so that whole trainings there are right to 1e-7 only;
and its schedule-free AdamW reads what it calls the old momentum after it was overwritten in place, and takes other
steps than on JAX. A process has one backend: these two are recorded in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def recorded(what: str, dtype: str) -> Any:
    """Run this file with Keras on JAX."""
    on_jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": str(int(dtype == "float64"))}
    command = [sys.executable, "-m", "benchmarks.oracles.on_jax", what, dtype]
    done = subprocess.run(command, env={**os.environ, **on_jax}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(what: str, dtype: str) -> None:
    import keras

    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    from benchmarks.oracles import steps, training

    print(json.dumps(training.keras_trainings() if what == "trainings" else steps.schedule_free(dtype)))


if __name__ == "__main__":
    main(*sys.argv[1:])
