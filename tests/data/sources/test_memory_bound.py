"""What a stream holds, measured: the peak of anonymous resident memory of a process that trains on 500 MB."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

ROWS, FEW, WIDTH = 500 * 10**6 // 4 // 64, 5000, 64
MEMORY = 192 * 10**6
CODE = """
import json, sys
import numpy as np
import chainrule
from benchmarks.streams_worker import FORMULAS, Peak, anonymous_bytes
where, options, memory = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
def train(data):
    chainrule.formula(FORMULAS.format(hidden=16, classes=10)).fit(data, batch_size=256, learning_rate=0.01, verbose=0)
def data_of(path):
    files = path if path.endswith("parquet") else (path, path.replace("x.npy", "y.npy"))
    return chainrule.stream(files, memory=memory, **options)
train(data_of(where.replace("large", "small")))  # what the process and its libraries take is not the stream's
before, peak = anonymous_bytes(), Peak()
train(data_of(where))
print(json.dumps([before, max(peak.bytes, anonymous_bytes())]))
"""


def peak_over(where, **options):
    """How much more a training on all of it takes than one on few rows did."""
    arguments = [sys.executable, "-c", CODE, str(where), json.dumps(options), str(MEMORY)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, peak = json.loads(done.stdout)
    print(where.name, options, before, peak)
    return peak - before


def chunks(count):
    drawn = np.random.default_rng(0)
    for start in range(0, count, 2**16):
        rows = drawn.standard_normal((min(2**16, count - start), WIDTH), np.float32)
        yield start, rows, rows[:, :10].argmax(axis=1)


@pytest.mark.soak
@pytest.mark.parametrize("options", [{}, {"shuffle": "blocks"}])
def test_mapped_files_are_trained_on_within_the_memory(tmp_path, options):
    for name, count in (("small", FEW), ("large", ROWS)):
        (tmp_path / name).mkdir()
        x = np.lib.format.open_memmap(tmp_path / name / "x.npy", "w+", np.float32, (count, WIDTH))
        y = np.lib.format.open_memmap(tmp_path / name / "y.npy", "w+", np.int64, (count,))
        for start, rows, labels in chunks(count):
            x[start : start + len(rows)], y[start : start + len(rows)] = rows, labels
        x.flush(), y.flush()
    assert peak_over(tmp_path / "large" / "x.npy", **options) < MEMORY


@pytest.mark.soak
def test_a_parquet_file_is_trained_on_within_the_memory(tmp_path):
    import pyarrow
    import pyarrow.parquet

    names = [f"c{k}" for k in range(WIDTH)]
    schema = pyarrow.schema([(name, pyarrow.float32()) for name in names] + [("y", pyarrow.int64())])
    for name, count in (("small", FEW), ("large", ROWS)):
        with pyarrow.parquet.ParquetWriter(tmp_path / f"{name}.parquet", schema) as writer:
            for _, rows, labels in chunks(count):
                writer.write(pyarrow.table([*rows.T, labels], schema=schema))
    assert peak_over(tmp_path / "large.parquet", target="y") < MEMORY
