"""A whole program: python -m benchmarks.program SIDE FOLDER loads MNIST from the folder, trains A, tests, saves.

The last line of what it prints is what was reached, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.cases import CASES
from benchmarks.data import Data, Split, first_weights
from benchmarks.sides import Setup, make_side
from benchmarks.worker import reached

EPOCHS = 5


def main(name: str, folder: Path) -> None:
    """Train case A for five epochs with one side."""
    case = CASES["A"]
    train, test = (
        Split(np.load(folder / f"{part}-inputs.npy"), np.load(folder / f"{part}-targets.npy"))
        for part in ("train", "test")
    )
    data = Data(train, test, 255)
    side = make_side(name, Setup(case, data, first_weights(case.layers), None))
    side.train(EPOCHS, lambda: None)
    found = reached(side, name, case, data)
    side.save(folder / f"{name}.model")
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
