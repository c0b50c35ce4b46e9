"""Write small files of weights with PyTorch and Keras, and what their models predict, into tests/golden/formats.

    KERAS_BACKEND=torch python -m benchmarks.record_formats

with a Python that has Keras, PyTorch, h5py and safetensors. predictions.json has the versions, the inputs and what each
model gives for them after some steps of training, so that moving averages have moved.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "formats"


def main() -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    import torch

    FOLDER.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "keras": keras.__version__, "numpy": np.__version__}
    found: dict[str, Any] = {"versions": versions, **torch_files(torch), **keras_files(keras)}
    text = json.dumps(found, indent=1)
    (FOLDER / "predictions.json").write_text(text + "\n", encoding="utf-8")


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def torch_files(torch: Any) -> dict[str, Any]:
    nn = torch.nn
    torch.manual_seed(1)

    class Digits(nn.Module):
        """Two layers for images of 14 × 14, as tutorials have it: fc1 and out, softmax outside."""

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.out = nn.Linear(196, 16), nn.Linear(16, 10)

        def forward(self, x: Any) -> Any:
            return torch.softmax(self.out(torch.relu(self.fc1(x))), 1)

    class Twins(nn.Module):
        """Two layers of one shape, with names that do not say which comes first."""

        def __init__(self) -> None:
            super().__init__()
            self.zeta, self.alpha = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            return self.alpha(torch.tanh(self.zeta(x)))

    normalized = nn.Sequential(
        nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 3), nn.Softmax(1)
    )
    words = nn.Sequential(nn.Embedding(11, 4), nn.Flatten(), nn.Linear(12, 2, bias=False))
    rng = np.random.default_rng(0)
    cases = {
        "torch_digits": (Digits(), rng.uniform(size=(7, 196)).astype(np.float32)),
        "torch_twins": (Twins(), rng.normal(size=(7, 3)).astype(np.float32)),
        "torch_normalized": (normalized, rng.normal(2, 3, size=(7, 6)).astype(np.float32)),
        "torch_words": (words, rng.integers(0, 11, size=(7, 3))),
    }
    return {name: torch_file(torch, name, model, x) for name, (model, x) in cases.items()}


def torch_file(torch: Any, name: str, model: Any, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    from safetensors.torch import save_file

    given = torch.from_numpy(x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        model(given).square().mean().backward()
        optimizer.step()
    model.eval()
    save_file(model.state_dict(), FOLDER / f"{name}.safetensors")
    with torch.no_grad():
        return {"inputs": [x.tolist()], "predicted": model(given).tolist()}


# --- Keras ------------------------------------------------------------------------------------------------------------


def keras_files(keras: Any) -> dict[str, Any]:
    layer = keras.layers
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    chain = keras.Sequential(
        [
            keras.Input((6,)),
            layer.Dense(5, activation="relu"),
            layer.BatchNormalization(),
            layer.Dropout(0.5),
            layer.Dense(3, activation="softmax", name="head"),
        ]
    )
    words = keras.Sequential(
        [keras.Input((3,), dtype="int32"), layer.Embedding(11, 4), layer.Flatten(), layer.Dense(2, use_bias=False)]
    )
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    joined = layer.Concatenate()([layer.Dense(4, activation="tanh")(left), layer.Dense(4, activation="tanh")(right)])
    both = keras.Model([left, right], layer.Dense(1)(joined))
    cases = {
        "keras_chain": (chain, [rng.normal(2, 3, size=(7, 6))], 3),
        "keras_words": (words, [rng.integers(0, 11, size=(7, 3))], 2),
        "keras_two_inputs": (both, [rng.normal(size=(7, 2)), rng.normal(size=(7, 3))], 1),
    }
    found = {}
    for name, (model, inputs, outputs) in cases.items():
        model.compile(optimizer="adam", loss="mse")
        given = inputs if len(inputs) > 1 else inputs[0]
        model.fit(given, rng.uniform(size=(7, outputs)), epochs=20, verbose=0)
        model.save_weights(FOLDER / f"{name}.weights.h5")
        predicted = np.asarray(model.predict(given, verbose=0)).tolist()
        found[name] = {"inputs": [x.tolist() for x in inputs], "predicted": predicted}
    chain.save(FOLDER / "keras_legacy.h5")
    found["keras_legacy"] = found["keras_chain"]
    return found


if __name__ == "__main__":
    main()
