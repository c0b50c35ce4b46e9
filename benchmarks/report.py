"""From records to medians, ratios and shares: text to read, JSON to keep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import CASES

Record = dict[str, Any]

# Test results of two sides agree within these: batches come in another order, and first weights may.
LOSS_TOLERANCE, ACCURACY_TOLERANCE = 0.25, 0.015
IDLE = 0.8  # of the sum of the cores: clocks fall a little where all of them work
EXACT = 1e-3  # where no training came before: the same weights, the same outputs

UNITS = {"step": "step", "row": "row", "rows": "10,000 rows", "process": "process", "record": "process"}
SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def duration(seconds: float) -> str:
    """Three digits and a unit.

    >>> duration(0.00213), duration(53e-6), duration(2.5)
    ('2.13 ms', '53.0 µs', '2.50 s')
    """
    scale, unit = next(((s, u) for s, u in SCALES if seconds >= s), SCALES[-1])
    value = seconds / scale
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"


def ratio(record: Record, side: str) -> float | None:
    """How many times as long as chainrule a side takes, by the medians; None where one of them is missing."""
    own, other = (record["sides"].get(name, {}).get("seconds") for name in ("chainrule", side))
    return median(other) / median(own) if own and other else None


def share(record: Record) -> float | None:
    """The share of the floor that chainrule reaches: above 1 where it does less than the dense work."""
    own, floor = record["sides"].get("chainrule", {}).get("seconds"), record.get("floor_seconds")
    return floor / median(own) if own and floor else None


def was_busy(record: Record) -> bool:
    """Whether all cores together did much less than each alone: something else ran beside them."""
    limits = {name: median(values) for name, values in record.get("limits", {}).items()}
    return bool(limits) and limits["flops_all"] < IDLE * record["cores"] * limits["flops_1"]


def agrees(record: Record, side: str) -> bool:
    """Whether a side's test loss and accuracy are chainrule's, within the tolerances, where both do the same."""
    own, other = record["sides"].get("chainrule", {}), record["sides"][side]
    if other.get("differs") or "loss" not in own or "loss" not in other:
        return True
    trained = record["measure"] in ("step", "process")
    loss, accuracy = (LOSS_TOLERANCE, ACCURACY_TOLERANCE) if trained else (EXACT, EXACT)
    close = abs(own["loss"] - other["loss"]) <= loss * max(own["loss"], other["loss"])
    return bool(close and abs(own.get("accuracy", 0) - other.get("accuracy", 0)) <= accuracy)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first column to the left, the others to the right.

    >>> print(table([["side", "ms"], ["jax", "1.8"], ["keras", "12"]]))
    side    ms
    jax    1.8
    keras   12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def case_text(record: Record) -> str:
    """One case: its floor, a row per side, and what to know about the sides."""
    unit = UNITS[record["measure"]]
    head = ["side", "threads", f"per {unit}", "min – max", "peer / chainrule", "goal", "test loss", "accuracy"]
    rows = [head, *(_side_row(record, side) for side in record["sides"])]
    notes = [f"{side}: {found['differs']}" for side, found in record["sides"].items() if found.get("differs")]
    notes += [f"{side} FAILED: {found['error']}" for side, found in record["sides"].items() if "error" in found]
    notes += [f"{side} DISAGREES with chainrule" for side in record["sides"] if not agrees(record, side)]
    notes += ["the cores had other work: measure again on an idle machine"] if was_busy(record) else []
    lines = [f"{record['case']}: {record['title']}", _floor_text(record), table(rows)]
    return "\n".join([line for line in lines if line] + [f"  {note}" for note in notes])


def _side_row(record: Record, side: str) -> list[str]:
    found = record["sides"][side]
    seconds = found.get("seconds")
    if not seconds:
        return [side, *["–"] * 7]
    times = ratio(record, side) if side != "chainrule" else None
    return [
        side,
        str(found.get("threads") or "auto"),
        duration(median(seconds)),
        f"{duration(min(seconds))} – {duration(max(seconds))}",
        f"{times:.2f}×" if times else "",
        _goal_text(record["goals"].get(side), times),
        f"{found['loss']:.4f}" if "loss" in found else "",
        f"{found['accuracy']:.4f}" if "accuracy" in found else "",
    ]


def _goal_text(goal: float | None, reached: float | None) -> str:
    if goal is None or reached is None:
        return ""
    return f"{goal:g}× {'reached' if reached >= goal else 'not yet'}"


def _floor_text(record: Record) -> str:
    reached = share(record)
    if reached is None:
        return ""
    limits = {name: median(values) for name, values in record["limits"].items()}
    if record["measure"] == "row":
        limit = f"{limits['read'] / 1e9:.0f} GB/s read on one core"
    else:
        limit = f"{limits['flops_all'] / 1e9:.0f} GFLOP/s on all cores, {limits['flops_1'] / 1e9:.0f} on one"
    goal = f" (goal {record['share_goal']:.0%})" if record.get("share_goal") else ""
    loops = record["sides"]["chainrule"].get("loops_share")
    plain = f"; {loops:.1%} of its operations are in plain loops" if loops is not None else ""
    return f"floor {duration(record['floor_seconds'])} at {limit}; chainrule is at {reached:.0%} of it{goal}{plain}"


def summary(results: Record) -> str:
    """All cases in one table, then the machine and the versions."""
    sides = ["pytorch", "jax", "keras", "sklearn"]
    rows = [["case", "chainrule", "of the floor", *sides]]
    for record in results["cases"].values():
        own, reached = record["sides"]["chainrule"].get("seconds"), share(record)
        time = f"{duration(median(own))} a {UNITS[record['measure']]}" if own else "failed"
        cells = [_ratio_text(record, side) for side in sides]
        rows.append([record["case"], time, f"{reached:.0%}" if reached else "", *cells])
    machine = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    versions = ", ".join(f"{key} {value}" for key, value in results["versions"].items())
    return "\n".join([table(rows), "", f"machine: {machine}", f"versions: {versions}"])


def _ratio_text(record: Record, side: str) -> str:
    times, goal = ratio(record, side), record["goals"].get(side)
    if times is None:
        return ""
    return f"{times:.2f}×" + (f" (goal {goal:g}×)" if goal else "")


def keep(path: Path, record: Record, machine: Mapping[str, object], versions: Mapping[str, str]) -> Record:
    """Put one record into the file, beside those of the same machine and versions; all of them."""
    stamp: Record = {"machine": dict(machine), "versions": dict(versions)}
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = {key: kept.get(key) for key in stamp} == stamp
    cases = (kept["cases"] if same else {}) | {record["case"]: record}
    results = stamp | {"cases": {name: cases[name] for name in CASES if name in cases}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return results
