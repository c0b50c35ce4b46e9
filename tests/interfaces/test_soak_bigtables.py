"""A table of half a gigabyte within a small budget: what the process holds, measured from outside it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COLUMNS, GROUP, GROUPS = 32, 2**19, 8
MAIN = "import sys; from chainrule.interfaces.cli import main; sys.exit(main())"
BUDGET = 128
# Python, NumPy, pyarrow and the compiled step without data: 80 MB; and compiling, which is done before it is measured.
BESIDE = 110


def peak_anonymous(arguments: list[str]) -> int:
    """Run the command line; the most anonymous memory that it held, in MB, asked for every 5 ms."""
    process = subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stderr=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        most = max(most, int(found[1]) // 1000 if found else 0)
        time.sleep(0.005)
    assert process.stderr is not None
    told = process.stderr.read()
    process.stderr.close()
    assert process.returncode == 0, told
    return most


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
def test_a_large_table_is_trained_evaluated_and_predicted_within_the_budget(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "big.parquet"
    for group in range(GROUPS):
        x = rng.standard_normal((COLUMNS, GROUP), dtype=np.float32)
        table = pa.table({f"f{k}": x[k] for k in range(COLUMNS)} | {"y": 2 * x[0] - x[1]})
        if group == 0:
            writer = pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=GROUP)
    writer.close()
    memory = ["--memory", f"{BUDGET}MB"]
    model = str(tmp_path / "run" / "model.safetensors")
    training = ["train", str(path), "--epochs", "1", *memory]
    peak_anonymous([*training, "--rows", "20000", "--out", str(tmp_path / "compiled")])
    took = {
        "train": peak_anonymous([*training, "--out", str(tmp_path / "run")]),
        "evaluate": peak_anonymous(["evaluate", model, str(path), *memory]),
        "predict": peak_anonymous(["predict", model, str(path), "--out", str(tmp_path / "answers.csv"), *memory]),
    }
    assert {name: most <= BUDGET + BESIDE for name, most in took.items()} == dict.fromkeys(took, True), took
