"""More data than memory: a 4 GB file as a stream beside a 2 GB slice of it in memory. python -m benchmarks.streams

The goal: within 512 MB of anonymous resident memory (RssAnon), at no less than 70 % of the rows a second, once the file
is in the page cache.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import click
import numpy as np

from benchmarks.machine import machine, versions
from benchmarks.runner import Crew, Record

RESULTS = Path(__file__).parent / "results"
# Features: units of the hidden layer. The less a row is computed with, the more its reading shows.
CASES = {1024: (128, 32), 64: (128, 32)}
HOWS = ("stream", "mapped", "memory")
MEMORY = "256MB"
GOAL_BYTES, GOAL_SHARE = 512 * 10**6, 0.7
ROOM = 5 * 10**9
CHUNK_BYTES = 2**25


@click.command()
@click.option("--gigabytes", default=4.0, show_default=True, help="The size of the file.")
@click.option("--rounds", default=3, show_default=True, help="Epochs that count, after one that does not.")
@click.option("--case", "cases", multiple=True, help="Only this one, such as 64x32.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the file is made, and removed after.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="The folder.")
def main(gigabytes: float, rounds: int, cases: tuple[str, ...], folder: Path | None, results: Path) -> None:
    """Train an epoch in turn each way: rows a second, and the peak of RssAnon. Writes streams.json."""
    found = []
    for features, sizes in CASES.items():
        wanted = [hidden for hidden in sizes if not cases or f"{features}x{hidden}" in cases]
        with tempfile.TemporaryDirectory(dir=folder) as made:
            if shutil.disk_usage(made).free < ROOM * gigabytes / 4:
                raise click.ClickException(f"{made} has no room for a file of {gigabytes} GB")
            if wanted:
                write_data(Path(made), features, int(gigabytes * 1e9))
            for hidden in wanted:
                found.append(run_case(Path(made), features, hidden, rounds))
                click.echo(line_of(found[-1]))
    stamp = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "versions": versions()}
    results.mkdir(parents=True, exist_ok=True)
    goals = {"goal_bytes": GOAL_BYTES, "goal_share": GOAL_SHARE, "memory": MEMORY, "bytes": int(gigabytes * 1e9)}
    (results / "streams.json").write_text(json.dumps(stamp | goals | {"cases": found}, indent=1) + "\n")


def write_data(folder: Path, features: int, size: int) -> None:
    """x.npy of float32 and y.npy of class numbers, which the first features tell."""
    rows, drawn = size // (4 * features), np.random.default_rng(0)
    step = CHUNK_BYTES // (4 * features)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, features))
    y = np.zeros(rows, np.int64)
    for start in range(0, rows, step):
        chunk = drawn.standard_normal((min(step, rows - start), features), np.float32)
        x[start : start + step] = chunk
        y[start : start + step] = chunk[:, :10].argmax(axis=1)
    x.flush()
    np.save(folder / "y.npy", y)


def run_case(folder: Path, features: int, hidden: int, rounds: int) -> Record:
    """An epoch of each in turn, all alive at once; the first one compiles and fills the page cache."""
    with Crew() as crew:
        arguments = (str(folder), str(hidden), str(rounds + 1), MEMORY)
        children = {how: crew.hire("benchmarks.streams_worker", how, *arguments) for how in HOWS}
        rows = {how: child.answer()["rows"] for how, child in children.items()}
        seconds: dict[str, list[float]] = {how: [] for how in HOWS}
        for _ in range(rounds + 1):
            for how, child in children.items():
                seconds[how].append(child.go()["seconds"])
        peaks = {how: child.go()["peak_bytes"] for how, child in children.items()}
    record: Record = {"features": features, "hidden": hidden}
    for how in HOWS:
        times = seconds[how][1:]
        record[how] = {
            "rows": rows[how],
            "seconds": times,
            "rows_per_second": rows[how] / median(times),
            "peak_bytes": peaks[how],
        }
    return record


def line_of(record: Record) -> str:
    """One case in a line."""
    base = record["memory"]["rows_per_second"]
    parts = [
        f"{how} {record[how]['rows_per_second'] / 1e3:,.0f} k rows/s ({record[how]['rows_per_second'] / base:.0%}), "
        f"{record[how]['peak_bytes'] / 1e6:.0f} MB"
        for how in HOWS
    ]
    return f"{record['features']} features, {record['hidden']} units: " + "; ".join(parts)


if __name__ == "__main__":
    main()
