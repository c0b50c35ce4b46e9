"""Run the models of keras_models.py on Keras, in float64, and keep what they did in tests/golden/oracles.

    KERAS_BACKEND=torch python -m benchmarks.record_keras_models

with a Python that has Keras and PyTorch. `signatures` are those of the public classes, from inspect.
"""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.keras_models import CASES, FIT, given, single

FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "oracles"
MODULES = ("layers", "optimizers", "losses", "metrics", "initializers", "regularizers", "constraints", "callbacks")
METHODS = (
    *("compile", "fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"),
    *("get_weights", "set_weights", "save", "summary", "get_layer", "count_params", "add", "pop"),
)


def main() -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    keras.config.set_floatx("float64")
    found: dict[str, Any] = {"keras": keras.__version__, "backend": keras.backend.backend(), "dtype": "float64"}
    for name, case in CASES.items():
        found[name] = record(keras, case)
    found["single"] = {name: alone(keras, *one) for name, one in single(keras).items()}
    write("keras_models.json", found)
    write("keras_signatures.json", {"keras": keras.__version__, **signatures(keras)})


def record(keras: Any, case: Any) -> dict[str, Any]:
    """Weights before and after, the logs of each epoch, and what the model then gives for the first rows."""
    keras.utils.set_random_seed(1)
    keras.utils.clear_session()  # names begin with dense again
    model, x, y, options = case(keras)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    history = model.fit(x, y, **FIT, **options)
    after = {layer.name: layer.get_weights() for layer in model.layers}
    predicted = model.predict(x, verbose=0)
    evaluated = model.evaluate(x, y, verbose=0, return_dict=True)
    return {
        "before": {name: plain(w) for name, w in before.items() if w},
        "after": {name: plain(w) for name, w in after.items() if w},
        "history": {name: [float(v) for v in values] for name, values in history.history.items()},
        "predicted": plain(predicted),
        "evaluated": {name: float(value) for name, value in evaluated.items()},
    }


def alone(keras: Any, layer: Any, shape: tuple[int, ...], count: int) -> Any:
    """What a layer gives at prediction."""
    inputs = [keras.Input(shape) for _ in range(count)]
    model = keras.Model(inputs, layer(inputs if count > 1 else inputs[0]))
    arrays = given(shape, count)
    return plain(model.predict(arrays if count > 1 else arrays[0], verbose=0))


def plain(value: Any) -> Any:
    """Arrays as lists of 12 digits; a list of such for a list of arrays."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    array = np.asarray(value)
    return [[float(f"{v:.12g}") for v in array.ravel().tolist()], list(array.shape)]


def signatures(keras: Any) -> dict[str, Any]:
    """Class → the names of its arguments with their defaults, as text."""
    found: dict[str, Any] = {}
    for module in MODULES:
        for name, kind in vars(getattr(keras, module)).items():
            if inspect.isclass(kind) and name[0].isupper():
                found[f"{module}.{name}"] = arguments(kind)
    for name, kind in vars(keras.optimizers.schedules).items():
        if inspect.isclass(kind) and name[0].isupper():
            found[f"optimizers.schedules.{name}"] = arguments(kind)
    for method in METHODS:
        found[f"Model.{method}"] = arguments(getattr(keras.Sequential, method))
    for function in (keras.utils.to_categorical, keras.utils.normalize, keras.utils.pad_sequences, keras.Input):
        found[f"function.{function.__name__}"] = arguments(function)
    return found


def arguments(function: Any) -> list[list[str]]:
    """[name, default] of each argument, self left out; "–" where there is no default."""
    given = inspect.signature(function).parameters.values()
    return [
        [("*" * (p.kind == p.VAR_POSITIONAL) + "**" * (p.kind == p.VAR_KEYWORD)) + p.name, _default(p)]
        for p in given
        if p.name != "self"
    ]


def _default(parameter: inspect.Parameter) -> str:
    return "–" if parameter.default is inspect.Parameter.empty else repr(parameter.default)


def write(name: str, content: dict[str, Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    (FOLDER / name).write_text(text.replace('],"', '],\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
