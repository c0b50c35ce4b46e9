"""What a stream holds, measured: the peak of anonymous resident memory of a process that trains on 1 GB."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

ROWS, WIDTH = 10**9 // 4 // 64, 64
MEMORY = 192 * 10**6
CODE = """
import json, sys
import numpy as np
import chainrule
from benchmarks.streams_worker import FORMULAS, Peak, anonymous_bytes
where, options, memory = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
def train(data):
    chainrule.formula(FORMULAS.format(hidden=16, classes=10)).fit(data, batch_size=256, learning_rate=0.01, verbose=0)
few = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32), np.arange(5000) % 10
train(chainrule.stream(few))
if options:
    import pyarrow.parquet
before, peak = anonymous_bytes(), Peak()
data = chainrule.stream(where if options else (where, where.replace("x.npy", "y.npy")), memory=memory, **options)
train(data)
print(json.dumps([before, max(peak.bytes, anonymous_bytes())]))
"""


def peak_over(where, **options):
    """How much more a training on all of it takes than one on few rows."""
    arguments = [sys.executable, "-c", CODE, str(where), json.dumps(options), str(MEMORY)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, peak = json.loads(done.stdout)
    return peak - before


def chunks():
    drawn = np.random.default_rng(0)
    for start in range(0, ROWS, 2**16):
        rows = drawn.standard_normal((min(2**16, ROWS - start), WIDTH), np.float32)
        yield start, rows, rows[:, :10].argmax(axis=1)


@pytest.mark.soak
def test_a_mapped_file_is_trained_on_within_the_memory(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (ROWS, WIDTH))
    y = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.int64, (ROWS,))
    for start, rows, labels in chunks():
        x[start : start + len(rows)], y[start : start + len(rows)] = rows, labels
    x.flush(), y.flush()
    assert peak_over(tmp_path / "x.npy") < MEMORY


@pytest.mark.soak
def test_a_parquet_file_is_trained_on_within_the_memory(tmp_path):
    import pyarrow
    import pyarrow.parquet

    names = [f"c{k}" for k in range(WIDTH)]
    schema = pyarrow.schema([(name, pyarrow.float32()) for name in names] + [("y", pyarrow.int64())])
    with pyarrow.parquet.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for _, rows, labels in chunks():
            writer.write(pyarrow.table([*rows.T, labels], schema=schema))
    assert peak_over(tmp_path / "a.parquet", target="y") < MEMORY
