"""Where the time of a step goes: for each function of the compiled step its time, work, and share of the floor.

    floor = max(flops / peak, bytes / bandwidth)        share of the floor = floor / time

Peak and bandwidth are measured on this machine (peak.py), work is counted from the formulas (work.py), and times are
those of the time-stamp counter, the mean over the threads: so the rows add up to the step, and a thread that has less
to do than another shows as waiting. A share near 1 cannot be improved but by doing less.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from chainrule.kernels.host import host
from chainrule.kernels.peak import bandwidth, peak_flops, ticks_per_second
from chainrule.kernels.work import Sizes, Work, gather_work, work_of
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.kernels.native import NativeRunner

GATHER, WAITING, BETWEEN = "gather", "waiting", "between"  # the parts that are no function of the module
TOTAL = "total"
WIDE, WIDEST = 120, 160  # characters of a line: from which all columns have room, and from which a table reads badly
COLUMNS = ("part", "equations", "kind", "microseconds", "share", "dense", "done", "megabytes", "speed", "floor")
NARROW = ("equations", "kind", "microseconds", "done", "speed", "floor")


@dataclass(frozen=True)
class Row:
    """One part of a step. `seconds` and `work` are a step's; `kind` is tiles, sparse, vectors or loops."""

    part: str
    formulas: tuple[str, ...]
    kind: str
    seconds: float
    work: Work
    floor_seconds: float

    @property
    def flops_per_second(self) -> float:
        return self.work.flops / self.seconds if self.seconds > 0 else 0.0

    @property
    def share_of_floor(self) -> float:
        return self.floor_seconds / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Profile:
    """The rows of a step's parts, and what all of them come to. `print` shows a table; `to_dict` is for JSON.

    `seconds` is what a step took on the caller's clock; `samples` the mean batch; `peak_flops` what the threads that
    took part can do at best together, in operations a second.
    """

    rows: tuple[Row, ...]
    seconds: float
    steps: int
    samples: float
    threads: int
    dtype: str
    peak_flops: float

    @property
    def flops(self) -> float:
        """Operations that a step did."""
        return sum(row.work.flops for row in self.rows)

    @property
    def dense_flops(self) -> float:
        """Operations that the formulas ask for: a zero of the data counts as any number."""
        return sum(row.work.dense_flops for row in self.rows)

    @property
    def floor_seconds(self) -> float:
        """The floors of all parts, one after the other."""
        return sum(row.floor_seconds for row in self.rows)

    @property
    def share_of_floor(self) -> float:
        return self.floor_seconds / self.seconds if self.seconds > 0 else 0.0

    @property
    def share_of_dense_floor(self) -> float:
        """The dense operations' time at the machine's peak / the time of a step: above 1 where sparsity helped."""
        return self.dense_flops / self.peak_flops / self.seconds if self.seconds > 0 else 0.0

    @property
    def share_of_loops(self) -> float:
        """The share of the operations that ran as plain loops."""
        loops = sum(row.work.flops for row in self.rows if row.kind == "loops")
        return loops / self.flops if self.flops else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it; times in seconds a step."""
        machine = {k: v for k, v in asdict(host()).items() if k != "features"}
        return {
            "machine": machine,
            "dtype": self.dtype,
            "threads": self.threads,
            "steps": self.steps,
            "samples": self.samples,
            "peak_flops_per_second": self.peak_flops,
            "seconds": self.seconds,
            "floor_seconds": self.floor_seconds,
            "share_of_floor": self.share_of_floor,
            "flops": self.flops,
            "dense_flops": self.dense_flops,
            "share_of_dense_floor": self.share_of_dense_floor,
            "share_of_loops": self.share_of_loops,
            "rows": [
                {
                    "part": row.part,
                    "formulas": list(row.formulas),
                    "kind": row.kind,
                    "seconds": row.seconds,
                    **asdict(row.work),
                    "flops_per_second": row.flops_per_second,
                    "floor_seconds": row.floor_seconds,
                    "share_of_floor": row.share_of_floor,
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        width = min(shutil.get_terminal_size((WIDE, 24)).columns, WIDEST)
        columns = COLUMNS if width >= WIDE else NARROW
        table = Table(box=box.SIMPLE_HEAD, title=self._title(), title_justify="left", caption=self._caption(),
                      caption_justify="left", show_footer=True, padding=(0, 1, 0, 0))  # fmt: skip
        totals = self._cells(self._total())
        for name in columns:
            words = name in ("part", "equations", "kind")
            # Only equations give way where there is little room: a number without its end would be another number.
            table.add_column(
                say(f"kernels.profile_{name}"), totals[name], justify="left" if words else "right",
                no_wrap=name != "equations", overflow="fold", ratio=1 if name == "equations" else None,
            )  # fmt: skip
        for row in self.rows:
            cells = self._cells(row)
            table.add_row(*(cells[name] for name in columns))
        text = io.StringIO()
        Console(file=text, width=width, markup=False, highlight=False, emoji=False).print(table)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def _title(self) -> str:
        return say(
            "kernels.profile_title", microseconds=f"{1e6 * self.seconds:,.1f}", threads=self.threads, steps=self.steps,
            samples=f"{self.samples:.4g}", peak=f"{self.peak_flops / 1e9:.1f}",
        )  # fmt: skip

    def _caption(self) -> str:
        return say(
            "kernels.profile_caption", dense=f"{self.dense_flops / 1e6:,.2f}",
            floor=f"{1e6 * self.dense_flops / self.peak_flops:,.1f}", share=f"{self.share_of_dense_floor:.0%}",
            loops=f"{self.share_of_loops:.1%}",
        )  # fmt: skip

    def _total(self) -> Row:
        moved = sum(row.work.bytes for row in self.rows)
        return Row(TOTAL, (), "", self.seconds, Work(self.flops, self.dense_flops, moved), self.floor_seconds)

    def _cells(self, row: Row) -> dict[str, str]:
        known = row.part in (GATHER, WAITING, BETWEEN, TOTAL)
        name = say(f"kernels.profile_{row.part}") if known else row.part
        work, works = row.work, row.work.flops > 0
        return {
            "part": name,
            "equations": "\n".join(row.formulas) or name,
            "kind": row.kind,
            "microseconds": f"{1e6 * row.seconds:,.1f}",
            "share": f"{row.seconds / self.seconds:.1%}" if self.seconds > 0 else "",
            "dense": f"{work.dense_flops / 1e6:,.3f}" if works else "",
            "done": f"{work.flops / 1e6:,.3f}" if works else "",
            "megabytes": f"{work.bytes / 1e6:,.3f}" if work.bytes else "",
            "speed": f"{row.flops_per_second / 1e9:,.1f}" if works else "",
            "floor": f"{row.share_of_floor:.0%}" if row.floor_seconds else "",
        }


def profile_of(runner: NativeRunner) -> Profile:
    """What a runner that was made with profile=True has measured."""
    steps, samples, seconds = runner.measured_steps, runner.measured_samples, runner.measured_seconds
    dtype, program, module = runner.dtype.name, runner.program, runner.module
    threads = len(runner.ticks)
    sizes = _sizes(runner, samples / steps)
    peak = peak_flops(dtype, threads)
    second = steps * ticks_per_second()
    times = dict(zip(module.parts, map(float, runner.ticks.mean(axis=0) / second), strict=True))
    rows = [Row(GATHER, (), "", times.get(GATHER, 0.0), gather_work(module, program, sizes), 0.0)]
    for function in module.functions:
        work = work_of(function.group, module, program, sizes)
        formulas = tuple(function.group.formulas)
        rows.append(Row(function.name, formulas, function.kind, times.get(function.name, 0.0), work, 0.0))
    rows = [Row(r.part, r.formulas, r.kind, r.seconds, r.work, _floor(r.work, peak, dtype, threads)) for r in rows]
    rows.append(Row(WAITING, (), "", times.get(WAITING, 0.0), Work(), 0.0))
    rest = max(seconds / steps - sum(row.seconds for row in rows), 0.0)
    rows.append(Row(BETWEEN, (), "", rest, Work(), 0.0))
    return Profile(tuple(rows), seconds / steps, steps, samples / steps, threads, dtype, peak)


def _floor(work: Work, peak: float, dtype: str, threads: int) -> float:
    """The least time of some work. The bytes come from the nearest memory that they all fit in."""
    if not work.bytes:
        return work.flops / peak
    return max(work.flops / peak, work.bytes / bandwidth(int(work.bytes), dtype, threads))


def _sizes(runner: NativeRunner, samples: float) -> Sizes:
    density: Mapping[str, float] = {
        name: lists.stored / max(runner.sources[runner.module.sparse[name].source].size, 1)
        for name, lists in runner.lists.items()
    }
    sources = {name: array.dtype.itemsize for name, array in runner.sources.items()}
    return Sizes({**runner.sizes, runner.program.samples: samples}, runner.dtype.itemsize, sources, density)
