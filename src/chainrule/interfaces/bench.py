"""`chainrule bench`: how fast this machine trains and predicts, and what share of its own measured peak that is.

The network is that of examples/digits.formula: 784 inputs, 512 hidden units (ReLU), 10 classes (softmax), RMSprop, in
batches of 128. It is trained on digits, whose pixels are mostly 0, and on normal numbers of the same shape, which are
never 0; then it predicts one row, and ten thousand. Every figure is the median of REPEATS, after one run that compiles.

GFLOP/s count the operations that the formulas ask for, whatever was skipped because it was multiplied by 0; the dense
floor is the time of these operations at the machine's peak (kernels/peak.py), or of reading the weights once where that
is longer. So the share of it can be above 100 % where zeros were skipped, and is below where they were not.

`make bench` of the source tree compares with other frameworks; this is for a look at one's own machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import click
import numpy as np

from chainrule.formula.evaluate import Array
from chainrule.interfaces.build import Design, network_text
from chainrule.interfaces.datasets import mnist
from chainrule.interfaces.scaling import with_scaling
from chainrule.kernels.host import host
from chainrule.kernels.peak import bandwidth, peak_flops
from chainrule.kernels.source import write_module
from chainrule.kernels.work import Sizes, work_of
from chainrule.messages import say
from chainrule.program.lower import lower_prediction
from chainrule.training.network import Network, formula
from chainrule.training.versions import versions

ROWS = 12_800  # of a training: 100 steps an epoch
BATCH = 128
EPOCHS = 3
REPEATS = 5
PREDICTED = 10_000
ONE_ROW_CALLS = 500
OPTIMIZER = "rmsprop"


@dataclass(frozen=True)
class Case:
    """One figure: `seconds` is a step's, or a call's; `flops` what the formulas ask for in it."""

    name: str
    seconds: float
    flops: float
    floor_seconds: float
    threads: int

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds

    @property
    def share_of_floor(self) -> float:
        return self.floor_seconds / self.seconds


@dataclass(frozen=True)
class Limits:
    """What the machine can do at best: operations and bytes a second, of one thread and of all."""

    threads: int
    flops: float
    flops_one_thread: float
    memory: float
    memory_one_thread: float


def bench(*, as_json: bool) -> int:
    """Measure, and print a table or JSON; the exit code."""
    click.echo(say("interfaces.bench_begins"), err=True)
    limits, cases = measure()
    click.echo(json.dumps(as_dict(limits, cases), indent=2) if as_json else table(limits, cases))
    return 0


def measure() -> tuple[Limits, list[Case]]:
    """Everything."""
    digits = mnist()
    images, labels = digits.train.images[:ROWS], digits.train.labels[:ROWS]
    pixels = formula(with_scaling(network_text(Design())).text)
    numbers = formula(network_text(Design()))
    normal = np.random.default_rng(0).standard_normal((len(images), images[0].size), dtype=np.float32)
    cases = [_training("train_digits", pixels, images, labels), _training("train_normal", numbers, normal, labels)]
    test = digits.test.images[:PREDICTED]
    cases.append(_prediction("predict_one", pixels, test[:1], ONE_ROW_CALLS, threads=1))
    cases.append(_prediction("predict_many", pixels, test, 1, threads=host().cores))
    return limits_of(pixels), cases


def limits_of(network: Network) -> Limits:
    """The peak of this machine, and its bandwidth where the network's weights stay."""
    cores, size = host().cores, _weight_bytes(network)
    return Limits(
        cores,
        peak_flops(network.dtype),
        peak_flops(network.dtype, 1),
        bandwidth(size, network.dtype),
        bandwidth(size, network.dtype, 1),
    )


def _training(name: str, network: Network, x: Array, labels: Array) -> Case:
    options = {"batch_size": BATCH, "optimizer": OPTIMIZER, "verbose": 0, "profile": True}
    network.fit(x, labels, epochs=1, **options)  # type: ignore[arg-type]  # compiles
    profiles = [network.fit(x, labels, epochs=EPOCHS, **options).profile for _ in range(REPEATS)]  # type: ignore[arg-type]
    found = [profile for profile in profiles if profile is not None]
    last = found[-1]
    seconds = median(profile.seconds for profile in found)
    return Case(name, seconds, last.dense_flops, last.dense_flops / last.peak_flops, last.threads)


def _prediction(name: str, network: Network, x: Array, calls: int, threads: int) -> Case:
    def predict() -> None:
        for _ in range(calls):
            network.predict(x)

    seconds = _median_seconds(predict) / calls
    flops = _prediction_flops(network, len(x))
    reading = _weight_bytes(network) / bandwidth(_weight_bytes(network), network.dtype, threads)
    floor = max(flops / peak_flops(network.dtype, threads), reading)
    return Case(name, seconds, flops, floor, threads)


def _median_seconds(work: Callable[[], None]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def _prediction_flops(network: Network, rows: int) -> float:
    program = lower_prediction(network.system)
    module = write_module(program, {t.name: network.dtype for t in program.inputs})
    sizes = Sizes({**network.sizes, program.samples: rows}, np.dtype(network.dtype).itemsize)
    return sum(work_of(f.group, module, program, sizes).dense_flops for f in module.functions)


def _weight_bytes(network: Network) -> int:
    return sum(array.nbytes for array in network.parameters.values())


# --- what comes out ---------------------------------------------------------------------------------------------------


def as_dict(limits: Limits, cases: list[Case]) -> dict[str, Any]:
    """Everything as JSON can hold it: seconds, operations a second, bytes a second."""
    shown = [
        {**asdict(c), "flops_per_second": c.flops_per_second, "share_of_floor": c.share_of_floor} for c in cases
    ]  # fmt: skip
    machine = asdict(replace(host(), features=""))
    del machine["features"]
    return {"machine": machine, "versions": versions(), "limits": asdict(limits), "cases": shown}


def table(limits: Limits, cases: list[Case]) -> str:
    """The figures for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, key in enumerate(("case", "time", "speed", "floor", "threads")):
        grid.add_column(say(f"interfaces.bench_{key}"), justify="right" if number else "left")
    for case in cases:
        grid.add_row(
            say(f"interfaces.bench_{case.name}", rows=f"{PREDICTED:,}", batch=BATCH),
            _shown_time(case.seconds),
            f"{case.flops_per_second / 1e9:,.1f}",
            f"{case.share_of_floor:.0%}",
            str(case.threads),
        )
    console = Console(markup=False, highlight=False)
    with console.capture() as captured:
        console.print(grid)
    machine = host()
    lines = [
        say("interfaces.bench_machine", cpu=machine.cpu, cores=machine.cores, bits=8 * machine.vector_bytes),
        say(
            "interfaces.bench_limits", threads=limits.threads, flops=f"{limits.flops / 1e9:.1f}",
            one=f"{limits.flops_one_thread / 1e9:.1f}", memory=f"{limits.memory / 1e9:.1f}",
            memory_one=f"{limits.memory_one_thread / 1e9:.1f}",
        ),
        ", ".join(f"{name} {number}" for name, number in versions().items()),
    ]  # fmt: skip
    return "\n".join([*lines, *(line.rstrip() for line in captured.get().splitlines())])


def _shown_time(seconds: float) -> str:
    return f"{1e3 * seconds:,.3f} ms" if seconds >= 1e-4 else f"{1e6 * seconds:,.1f} µs"
