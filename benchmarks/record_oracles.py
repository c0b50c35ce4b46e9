"""Records what PyTorch, Keras and scikit-learn compute: `python -m benchmarks.record_oracles [FOLDER]`.

To be run where these are installed (benchmarks/requirements.txt); the files go to tests/golden/oracles, and the tests
compare the library's rows with them. Each file says which versions it comes from. Keras runs on PyTorch, and on JAX
where that is more exact (benchmarks/oracles/on_jax.py).
"""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import sklearn
import torch

from benchmarks.oracles import functions, steps, training

FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "oracles"
PRECISIONS = ("float64", "float32")
TWICE = {
    "activations": functions.activations,
    "losses": functions.losses,
    "updates": steps.updates,
    "layers": training.layers,
    "trainings": training.trainings,
}
ONCE = {"metrics": functions.metrics, "schedules": steps.schedules, "initializers": training.initializers}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    versions = {
        "torch": torch.__version__,
        "keras": keras.__version__,
        "keras_backend": "torch; jax for whole trainings and ScheduleFreeAdamW",
        "jax": metadata.version("jax"),
        "sklearn": sklearn.__version__,
        "numpy": np.__version__,
    }
    torch.set_num_threads(1)
    for name, record in TWICE.items():
        found = {}
        for dtype in PRECISIONS:
            _set_precision(dtype)
            found[dtype] = record(dtype)
        _write(folder / f"{name}.json", {"versions": versions, **_common(found)})
    _set_precision("float64")
    for name, record in ONCE.items():
        _write(folder / f"{name}.json", {"versions": versions, **record()})


def _set_precision(dtype: str) -> None:
    """Of arrays and variables, and of layers, which would keep the first."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


def _common(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What was given is the same for both precisions; the cases are by precision."""
    first = next(iter(found.values()))
    return {**first, "cases": {dtype: record["cases"] for dtype, record in found.items()}}


def _write(path: Path, content: dict[str, Any]) -> None:
    """One case a line."""
    head = {key: value for key, value in content.items() if key != "cases"}
    lines = [json.dumps(head, separators=(",", ":"))[:-1] + ',"cases":{']
    cases = content["cases"]
    nested = set(cases) == set(PRECISIONS)
    for count, (key, value) in enumerate(cases.items()):
        end = "," if count + 1 < len(cases) else ""
        if nested:
            inner = [f"{json.dumps(name)}:{json.dumps(case, separators=(',', ':'))}" for name, case in value.items()]
            lines.append(f'"{key}":{{\n' + ",\n".join(inner) + f"\n}}{end}")
        else:
            lines.append(f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}{end}")
    path.write_text("\n".join([*lines, "}}"]) + "\n", encoding="utf-8")
    print(path.name, f"{path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
