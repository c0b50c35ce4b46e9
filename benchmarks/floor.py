"""What this machine can do at best: multiply-adds in registers, reads from a cache, copies in memory.

The loops are LLVM text, written out for the widest vectors of the machine and compiled here, so that no library's
quality enters. `python -m benchmarks.floor` is a child process as those of worker.py: each round it measures again, as
the clock of a shared machine drifts.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm
import numpy as np

SUMS = 12  # independent sums: a multiply-add takes 4 cycles and two start in each, so 8 would do
MULTIPLY_ADD_TURNS = 4_000_000  # about 10 ms
COPY_BYTES = 128 << 20  # far beyond the caches
REPEATS = 5


def lanes() -> int:
    """float32 numbers in the widest vector."""
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


def loop_text(name: str, before: str, update: str) -> str:
    """One function of LLVM text: `turns` turns of a loop over SUMS vectors of sums.

    `before` stands once in a turn; `update` gives {next}, sum number {n}'s new value, from {sum}.
    """
    vector = f"<{lanes()} x float>"
    starts = [f"<{', '.join([f'float {float(n)!r}'] * lanes())}>" for n in range(SUMS)]
    sums = [f"  %s{n} = phi {vector} [{start}, %entry], [%t{n}, %loop]" for n, start in enumerate(starts)]
    updates = [update.format(vector=vector, n=n, next=f"%t{n}", sum=f"%s{n}") for n in range(SUMS)]
    # The sums are stored so that none of them is dead.
    stores = [
        f"  %p{n} = getelementptr {vector}, ptr %out, i64 {n}\n  store {vector} %t{n}, ptr %p{n}, align 4"
        for n in range(SUMS)
    ]
    return "\n".join(
        [
            f"define void @{name}(ptr %out, ptr %data, i64 %turns) {{",
            "entry:",
            f"  %x = load {vector}, ptr %data, align 4",
            "  br label %loop",
            "loop:",
            "  %turn = phi i64 [0, %entry], [%next, %loop]",
            *sums,
            before.format(vector=vector),
            *updates,
            "  %next = add i64 %turn, 1",
            "  %more = icmp slt i64 %next, %turns",
            "  br i1 %more, label %loop, label %done",
            "done:",
            *stores,
            "  ret void",
            "}",
        ]
    )


def module_text() -> str:
    """Both loops: sum ← x·sum + x, and sum ← sum + data[…]."""
    kind = f"v{lanes()}f32"
    multiply_add = f"  {{next}} = call {{vector}} @llvm.fma.{kind}({{vector}} %x, {{vector}} {{sum}}, {{vector}} %x)"
    read = (
        "  %a{n} = getelementptr {vector}, ptr %row, i64 {n}\n"
        "  %v{n} = load {vector}, ptr %a{n}, align 4\n"
        "  {next} = fadd {vector} {sum}, %v{n}"
    )
    row = f"  %at = mul i64 %turn, {SUMS}\n  %row = getelementptr {{vector}}, ptr %data, i64 %at"
    vector = f"<{lanes()} x float>"
    return "\n".join(
        [
            f"declare {vector} @llvm.fma.{kind}({vector}, {vector}, {vector})",
            loop_text("multiply_add", "", multiply_add),
            loop_text("read", row, read),
        ]
    )


@cache
def compiled() -> tuple[llvm.ExecutionEngine, Callable[..., None], Callable[..., None]]:
    """(what keeps the code alive, multiply_add, read); both release Python's lock while they run."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(llvm.get_host_cpu_name(), features, opt=3)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(module_text()), machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    return engine, *(kind(engine.get_function_address(name)) for name in ("multiply_add", "read"))


def seconds_on(threads: int, work: Callable[[int], None]) -> float:
    """The best time of `threads` threads that each do work(number of the thread)."""
    times = []
    for _ in range(REPEATS):
        team = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        started = time.perf_counter()
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()
        times.append(time.perf_counter() - started)
    return min(times)


def multiply_adds(threads: int) -> float:
    """FLOP/s of float32 multiply-adds, two operations each."""
    _, multiply_add, _ = compiled()
    data = np.full(lanes(), 0.5, np.float32)  # sums tend to 1: no denormal numbers, no infinities
    outs = np.empty((threads, SUMS * lanes() + 64), np.float32)

    def work(number: int) -> None:
        multiply_add(outs[number].ctypes.data, data.ctypes.data, MULTIPLY_ADD_TURNS)

    return threads * MULTIPLY_ADD_TURNS * SUMS * lanes() * 2 / seconds_on(threads, work)


def reads(size: int) -> float:
    """Bytes/s that one core reads of `size` bytes, again and again, from wherever they stay."""
    _, _, read = compiled()
    turn = SUMS * lanes()
    data = np.zeros(max(size // 4 // turn, 1) * turn, np.float32)
    out = np.empty(turn, np.float32)
    passes = max((64 << 20) // data.nbytes, 1)

    def work(number: int) -> None:
        for _ in range(passes):
            read(out.ctypes.data, data.ctypes.data, data.size // turn)

    return passes * data.nbytes / seconds_on(1, work)


def copies(threads: int) -> float:
    """Bytes/s copied in memory; a byte that is read and written counts once."""
    source = np.ones((threads, COPY_BYTES // 4 // threads), np.float32)
    target = np.empty_like(source)

    def work(number: int) -> None:
        np.copyto(target[number], source[number])

    work(0)
    return source.nbytes / seconds_on(threads, work)


def measure(threads: int, weight_bytes: int) -> dict[str, float]:
    """All limits at once, in FLOP/s and bytes/s; reads are of a buffer as large as the case's weights."""
    return {
        "flops_1": multiply_adds(1),
        "flops_all": multiply_adds(threads),
        "read": reads(weight_bytes),
        "copy_1": copies(1),
        "copy_all": copies(threads),
    }


def serve(weight_bytes: int) -> None:
    """Measure whenever the parent says so."""
    from benchmarks.machine import cores
    from benchmarks.worker import Channel

    channel = Channel()
    compiled()
    channel.send(ready=True)
    while True:
        channel.wait()
        channel.send(**measure(cores(), weight_bytes))


if __name__ == "__main__":
    import sys

    serve(int(sys.argv[1]))
