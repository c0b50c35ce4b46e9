"""What this machine can do at best, measured: multiply-adds in registers, and numbers through memory.

Multiply-adds. A loop over SUMS vectors, sum ← sum·x + y, touches no memory. A multiply-add takes about 4 cycles and two
start in each, so 8 sums that do not wait for each other keep the machine busy; 12 leave room, and with x and y they fit
16 registers. One turn is SUMS × LANES × 2 operations. A core of 3.3 GHz with vectors of 8 float32 can do
2 multiply-adds × 8 lanes × 2 operations × 3.3 GHz = 106 GFLOP/s.

Memory. A loop reads numbers, adds 1 and writes them back where they were, as an update rule does: every byte comes once
and goes once, so a pass over `size` bytes moves 2 × size. (A loop from one array to another would make the machine
fetch the target too before it is overwritten.) How fast that is depends on where the bytes stay, so it is measured for
the number of bytes that a computation touches, up to a power of four: from the first-level cache to main memory.

All threads start at a barrier and read the time-stamp counter before and after; the time is from the first start to
the last end, and the best of some runs counts, since whatever disturbs can only take time. Numbers hold for this
process: a machine that is shared or hot has another peak a minute later.
"""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from chainrule.formula.evaluate import Array
from chainrule.kernels.compile import Compiled, compile_source, pointer
from chainrule.kernels.host import host, tile_shape
from chainrule.kernels.threads import CONTROL_WORDS, run_team

SUMS = 12
TURNS = 1_000_000  # 12 multiply-adds a turn, 2 a cycle: some 2 ms
MOVED_BYTES = 16 << 20  # of one run, at least: from some 0.2 ms in the first-level cache to 2 ms in main memory
REPEATS = 8  # at least so many runs, and at least LEAST_SECONDS: longer than others' time slices of 4 or 8 ms
LEAST_SECONDS = 0.06
SMALLEST, LARGEST = 1 << 14, 1 << 26  # bytes of a memory loop, of all threads together

_TEXT = '''"""What a machine can do at best."""

def multiply_add(turns, numbers):
    # each sum begins with another vector: equal ones would be computed once
LOADS
    # and x and y from memory: of constants LLVM would make sum * x*x + (x*y + y), two turns in one
    x = spread(numbers[SUMS * LANES])
    y = spread(numbers[SUMS * LANES + 1])
    for turn in range(turns):
TURNS
STORES

def move(passes, count, numbers):
    for turn in range(passes):
        for q in range(0, count, 4 * LANES):
            put(numbers, q, vector(numbers, q) + spread(F(1)))
            put(numbers, q + LANES, vector(numbers, q + LANES) + spread(F(1)))
            put(numbers, q + 2 * LANES, vector(numbers, q + 2 * LANES) + spread(F(1)))
            put(numbers, q + 3 * LANES, vector(numbers, q + 3 * LANES) + spread(F(1)))

def epoch(thread, threads, address, number, scalar, control):
    numbers = at(F_at(address[0]), thread * number[3])
    clocks = int64_at(address[1])
    barrier(control, threads)
    clocks[2 * thread] = clock()
    if number[0] == 0:
        multiply_add(number[1], numbers)
    else:
        move(number[1], number[2], numbers)
    clocks[2 * thread + 1] = clock()
    return 0
'''


def peak_flops(dtype: str = "float32", threads: int | None = None) -> float:
    """Operations a second of multiply-adds, two each, on so many threads (all cores)."""
    return _peak_flops(dtype, threads or host().cores)


def bandwidth(size: int, dtype: str = "float32", threads: int | None = None) -> float:
    """Bytes a second, read and written, where so many threads (all cores) work on `size` bytes together."""
    rounded = SMALLEST
    while rounded < min(size, LARGEST):
        rounded *= 4
    return _bandwidth(min(rounded, LARGEST), dtype, threads or host().cores)


@cache
def ticks_per_second() -> float:
    """How fast the counter behind `clock()` runs: its ticks during a loop that time.perf_counter measured too."""
    memory, ticks = np.full((SUMS + 1) * tile_shape("float32").lanes, 0.5, np.float32), np.zeros(2, dtype=np.int64)
    work, call = _compiled("float32"), _Call(memory, ticks, [0, 5 * TURNS, 0, 0])
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        work.entry(0, 1, *call.words)
        rates.append((ticks[1] - ticks[0]) / (time.perf_counter() - began))
    return float(np.median(rates))


@cache
def _peak_flops(dtype: str, threads: int) -> float:
    lanes = tile_shape(dtype).lanes
    operations = 2 * SUMS * lanes * TURNS * threads
    return operations / _seconds(dtype, threads, [0, TURNS, 0], (SUMS + 1) * lanes)


@cache
def _bandwidth(size: int, dtype: str, threads: int) -> float:
    item = np.dtype(dtype).itemsize
    turn = 4 * tile_shape(dtype).lanes
    count = max(size // item // threads // turn, 1) * turn
    bytes_of_a_pass = 2 * count * item * threads
    passes = -(-MOVED_BYTES // bytes_of_a_pass)
    return passes * bytes_of_a_pass / _seconds(dtype, threads, [1, passes, count], count)


def _seconds(dtype: str, threads: int, number: list[int], entries: int) -> float:
    """The best time of REPEATS runs, each thread on `entries` numbers of its own."""
    line = 64 // np.dtype(dtype).itemsize
    apart = (-(-entries // line) + 1) * line  # threads do not share a cache line
    memory, clocks = np.full(threads * apart + line, 0.5, dtype), np.zeros((threads, 2), dtype=np.int64)
    memory = memory[-memory.ctypes.data % 64 // memory.itemsize :]
    compiled = _compiled(dtype)
    call = _Call(memory, clocks, [*number, apart])
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < REPEATS or time.perf_counter() - began < LEAST_SECONDS:
        run_team(lambda thread: compiled.entry(thread, threads, *call.words), threads, _nothing, _nothing)
        times.append(float(clocks[:, 1].max() - clocks[:, 0].min()) / ticks_per_second())
    return max(min(times), 1e-9)


class _Call:
    """The arguments of `epoch` behind the threads, and the arrays that they point to."""

    def __init__(self, memory: Array, clocks: Array, number: list[int]):
        address = np.array([memory.ctypes.data, clocks.ctypes.data], dtype=np.int64)
        control = np.zeros(CONTROL_WORDS, dtype=np.int64)
        self.arrays = (memory, clocks, address, np.array(number, dtype=np.int64), np.zeros(1), control)
        self.words = tuple(pointer(a) for a in self.arrays[2:])


@cache
def _compiled(dtype: str) -> Compiled:
    sums = range(SUMS)
    lines = {
        "LOADS": [f"    sum_{n} = vector(numbers, {n} * LANES)" for n in sums],
        "TURNS": [f"        sum_{n} = sum_{n} * x + y" for n in sums],
        "STORES": [f"    put(numbers, {n} * LANES, sum_{n})" for n in sums],
    }
    text = _TEXT.replace("SUMS", str(SUMS))
    for place, code in lines.items():
        text = text.replace(place, "\n".join(code), 1)
    return compile_source(text, dtype)


def _nothing() -> None:
    """What looks on while the loops run."""
