"""The second table: how chainrule's cost grows with width, batch, depth and rows. python -m benchmarks.growth"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.cases import BASE, GROWTH_CASES, SWEEPS
from benchmarks.flops import flops_per_sample
from benchmarks.machine import cores, machine, versions
from benchmarks.report import Record, duration, table
from benchmarks.runner import ChildFailed, Crew

RESULTS = Path(__file__).parent / "results"
THREADS = (1, 2)
ROUNDS = 2  # after the one that compiles and warms up
STYLES: Mapping[int, dict[str, str]] = {
    1: {"color": "#1f5fa8", "marker": "o", "linestyle": "-"},
    2: {"color": "#d9771f", "marker": "s", "linestyle": "--"},
}


@click.command()
@click.option("--sweep", "sweeps", type=click.Choice(tuple(SWEEPS)), multiple=True, help="Only this size.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="The folder.")
def main(sweeps: tuple[str, ...], results: Path) -> None:
    """Time a step at growing sizes, on 1 and 2 threads: growth.json, growth.svg and growth.png."""
    points = []
    for sweep in sweeps or SWEEPS:
        points += [measure(sweep, value, n) for value in SWEEPS[sweep] for n in THREADS if n <= cores()]
        click.echo(sweep_text(sweep, points) + "\n")
    stamp = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "versions": versions()}
    results.mkdir(parents=True, exist_ok=True)
    (results / "growth.json").write_text(json.dumps(stamp | {"base": BASE, "points": points}, indent=1) + "\n")
    draw(points, results)


def measure(sweep: str, value: int, threads: int) -> Record:
    """One point: seconds and memory, or why there are none."""
    case = GROWTH_CASES[f"{sweep}={value}"]
    point: Record = {"sweep": sweep, "value": value, "threads": threads, "rows": case.rows, "steps": case.steps}
    try:
        with Crew() as crew:
            worker = crew.hire("benchmarks.worker", "chainrule", case.name, str(threads), str(ROUNDS + 1))
            worker.answer()
            seconds = [worker.go()["seconds"] for _ in range(ROUNDS + 1)][1:]
            memory = worker.go()["memory_bytes"]
    except ChildFailed as failure:
        return point | {"error": str(failure)}
    per_sample = min(seconds) * case.steps / case.rows
    return point | {
        "seconds_per_step": min(seconds),
        "seconds_per_sample": per_sample,
        "flops_per_second": flops_per_sample(case.formula) / per_sample,
        "memory_bytes": memory,
    }


def sweep_text(sweep: str, points: Sequence[Record]) -> str:
    """The points of one sweep as a table."""
    rows = [[sweep, "threads", "a step", "a sample", "GFLOP/s", "memory"]]
    for point in points:
        if point["sweep"] == sweep:
            rows.append([f"{point['value']:,}", str(point["threads"]), *_cells(point)])
    return table(rows)


def _cells(point: Record) -> list[str]:
    if "error" in point:
        return ["failed", "", "", point["error"][:60]]
    return [
        duration(point["seconds_per_step"]),
        duration(point["seconds_per_sample"]),
        f"{point['flops_per_second'] / 1e9:.0f}",
        f"{point['memory_bytes'] / 2**20:.0f} MiB",
    ]


def draw(points: Sequence[Record], folder: Path) -> None:
    """A column for each sweep: time per sample above, memory below."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(point["sweep"] for point in points))
    figure = Figure(figsize=(3.2 * len(names), 5.4))
    for column, name in enumerate(names, start=1):
        own = [point for point in points if point["sweep"] == name and "error" not in point]
        time = figure.add_subplot(2, len(names), column)
        _curves(time, own, "seconds_per_sample", 1e6)
        time.set_yscale("log")
        time.set_title(name, fontsize=11)
        memory = figure.add_subplot(2, len(names), len(names) + column)
        _curves(memory, own, "memory_bytes", 2**-20)
        memory.set_ylim(bottom=0)
        memory.set_xlabel(name)
        if column == 1:
            time.set_ylabel("µs per sample")
            memory.set_ylabel("memory, MiB")
            time.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    for name in ("growth.svg", "growth.png"):
        figure.savefig(folder / name, dpi=150)


def _curves(axes: Any, points: Sequence[Record], name: str, scale: float) -> None:
    for threads, style in STYLES.items():
        own = [point for point in points if point["threads"] == threads]
        label = f"{threads} thread{'s' if threads > 1 else ''}"
        axes.plot([p["value"] for p in own], [scale * p[name] for p in own], label=label, markersize=4, **style)
    axes.set_xscale("log", base=2 if max((p["value"] for p in points), default=0) < 10_000 else 10)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.growth")
