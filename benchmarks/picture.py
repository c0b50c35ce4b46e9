"""The ratios as bars: how many times as long as chainrule each peer takes, on a log scale, with the goals."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Record, duration, ratio

# Colours that colour-blind readers and print tell apart; hatches say it again.
COLOURS = {"pytorch": "#d9771f", "jax": "#1f5fa8", "keras": "#8a5a00", "sklearn": "#7a9a3a"}
HATCHES = {"pytorch": "", "jax": "//", "keras": "..", "sklearn": "\\\\"}
LABELS = {"pytorch": "PyTorch", "jax": "JAX", "keras": "Keras on JAX", "sklearn": "scikit-learn"}
BAR, GAP = 1.0, 1.2  # heights in units of a bar
GOAL, GRID = "#333333", "#dddddd"
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)


def draw(results: Record, folder: Path) -> None:
    """Write bench.svg and bench.png."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    records = [record for record in results["cases"].values() if any(ratio(record, side) for side in COLOURS)]
    if not records:
        return
    places, height = _places(records)
    figure = Figure(figsize=(9, 1.2 + 0.2 * height))
    axes = figure.add_subplot()
    for record, bars in zip(records, places, strict=True):
        for side, place in bars.items():
            _bar(axes, record, side, place)
    _axes(axes, records, places, results)
    figure.tight_layout()
    with mpl.rc_context({"svg.hashsalt": "chainrule", "svg.fonttype": "none"}):
        figure.savefig(folder / "bench.svg", metadata={"Date": None})
    figure.savefig(folder / "bench.png", dpi=150)


def _places(records: list[Record]) -> tuple[list[dict[str, float]], float]:
    """For each record the place of each bar, from the top down, and the whole height."""
    top, places = 0.0, []
    for record in records:
        sides = [side for side in COLOURS if ratio(record, side)]
        places.append({side: top + BAR * number for number, side in enumerate(sides)})
        top += BAR * len(sides) + GAP
    return places, top


def _bar(axes: Any, record: Record, side: str, place: float) -> None:
    times = ratio(record, side)
    goal = record["goals"].get(side)
    assert times is not None
    axes.barh(place, times - 1, BAR, left=1, color=COLOURS[side], hatch=HATCHES[side], edgecolor="white", linewidth=0.5)
    axes.annotate(
        f"{times:.1f}×",
        (_right_of(times, goal), place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )
    if goal:
        axes.plot([goal, goal], [place - BAR / 2, place + BAR / 2], color=GOAL, linewidth=1.6)


def _right_of(times: float, goal: float | None) -> float:
    """Where a label begins: at the end of the bar, or at the goal where that is in the label's way."""
    end = max(times, 1)
    return goal if goal and end <= goal <= 1.5 * end else end


def _axes(axes: Any, records: list[Record], places: list[dict[str, float]], results: Record) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    labels = [f"{record['case']}\n{duration(median(record['sides']['chainrule']['seconds']))}" for record in records]
    axes.set_yticks([sum(bars.values()) / len(bars) for bars in places], labels, fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}×" for tick in TICKS], fontsize=9)
    axes.xaxis.set_minor_locator(_no_ticks())
    found = [value for record in records for side in COLOURS if (value := ratio(record, side))]
    goals = [goal for record in records for goal in record["goals"].values()]
    axes.set_xlim(min(0.8, *found) * 0.8, max(2, *found, *goals) * 1.4)
    axes.axvline(1, color=GOAL, linewidth=1)
    axes.set_ylim(max(max(bars.values()) for bars in places) + BAR, -BAR)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time of the peer / time of chainrule", fontsize=9)
    axes.set_title(_title(results), fontsize=9, loc="left")
    shown = [side for side in COLOURS if any(side in bars for bars in places)]
    bars = [Patch(facecolor=COLOURS[s], hatch=HATCHES[s], edgecolor="white", label=LABELS[s]) for s in shown]
    goal_mark = Line2D([], [], color=GOAL, linewidth=1.6, label="goal")
    axes.legend(handles=[*bars, goal_mark], fontsize=8, frameon=False, loc="lower right")


def _title(results: Record) -> str:
    machine, versions = results["machine"], results["versions"]
    peers = ", ".join(f"{LABELS[side]} {versions[side]}" for side in COLOURS if side in versions)
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['vectors']}; {peers}"


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
