"""python -m benchmarks [CASE]…"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.cases import CASES, Case
from benchmarks.machine import machine, versions
from benchmarks.picture import draw
from benchmarks.processes import run_processes, run_record
from benchmarks.report import Record, case_text, keep, summary
from benchmarks.runner import run_case

RESULTS = Path(__file__).parent / "results"
QUICK_ROUNDS = 2


@click.command()
@click.argument("names", metavar="[CASE]…", nargs=-1, type=click.Choice(tuple(CASES)))
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often each side is timed.")
@click.option("--quick", is_flag=True, help=f"{QUICK_ROUNDS} rounds.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="The folder.")
def main(names: tuple[str, ...], rounds: int, quick: bool, results: Path) -> None:
    """Time chainrule and its peers at CASEs, all of them unless named: latest.json, bench.svg and bench.png."""
    names = names or tuple(CASES)
    for name in names:
        record = run(CASES[name], QUICK_ROUNDS if quick else rounds)
        found = keep(results / "latest.json", record, machine(), versions())
        click.echo(case_text(record) + "\n")
    click.echo(summary(found | {"cases": {name: found["cases"][name] for name in names}}))
    draw(found, results)


def run(case: Case, rounds: int) -> Record:
    """One case, by what it measures."""
    if case.measure == "process":
        return run_processes(case, rounds)
    return run_record(case, rounds) if case.measure == "record" else run_case(case, rounds)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
