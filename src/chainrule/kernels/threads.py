"""A team of threads: how they start, wait for each other, and stop.

`run_team` starts the team and looks on; inside the compiled step the threads meet at `barrier`, and pass words to each
other and to Python with `load` and `store`. All of that goes through one array of int64, the control words.
"""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Callable

from llvmlite import ir

# Places in the control words. Eight words apart: 64 bytes, so that no two share a cache line.
ARRIVED = 0  # how many threads wait at the barrier
GENERATION = 8  # how many barriers the team has passed
STOP = 16  # Python asks to stop after this step
PROGRESS = 24  # steps done
FAILED = 32  # not 0: a number was not finite
DECIDED = 40  # one thread's answer to STOP, which the others follow, so that all stop at the same step
CONTROL_WORDS = 48

CONTROL_NAMES = ("ARRIVED", "GENERATION", "STOP", "PROGRESS", "FAILED", "DECIDED")

# 2,000 pauses are some 40 µs, longer than a step's uneven shares; then the core is offered to whoever else wants it.
SPINS = 2000

WORD = ir.IntType(64)


def build_barrier(module: ir.Module) -> ir.Function:
    """`barrier(control, threads)` as a function of `module`, built once per module.

    The last thread to arrive resets ARRIVED and moves GENERATION on; the others wait for that. Whatever a thread wrote
    before the barrier, all see after it: arriving releases and acquires, leaving acquires.
    """
    name = "chainrule_barrier"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [WORD.as_pointer(), WORD]), name)
    function.linkage = "linkonce_odr"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    control, threads = function.args
    names = ("entry", "arrive", "last", "spin", "wait", "pause", "yield", "done")
    entry, arrive, last, spin, wait, pause, give_way, done = (function.append_basic_block(n) for n in names)
    builder = ir.IRBuilder(entry)
    arrived, generation = (builder.gep(control, [WORD(place)]) for place in (ARRIVED, GENERATION))
    builder.cbranch(builder.icmp_signed("<=", threads, WORD(1)), done, arrive)

    builder.position_at_end(arrive)
    # Read before arriving: once all have arrived, it may move at any moment.
    before = builder.load_atomic(generation, "acquire", align=8)
    others = builder.atomic_rmw("add", arrived, WORD(1), "acq_rel")
    builder.cbranch(builder.icmp_signed("==", builder.add(others, WORD(1)), threads), last, spin)

    builder.position_at_end(last)
    builder.store_atomic(WORD(0), arrived, "monotonic", align=8)
    builder.store_atomic(builder.add(before, WORD(1)), generation, "release", align=8)
    builder.branch(done)

    builder.position_at_end(spin)
    spins = builder.phi(WORD)
    now = builder.load_atomic(generation, "acquire", align=8)
    builder.cbranch(builder.icmp_signed("!=", now, before), done, wait)

    builder.position_at_end(wait)
    builder.cbranch(builder.icmp_signed("<", spins, WORD(SPINS)), pause, give_way)

    builder.position_at_end(pause)
    _pause(builder)
    more = builder.add(spins, WORD(1))
    builder.branch(spin)

    builder.position_at_end(give_way)
    builder.call(_external(module, YIELD, ir.IntType(32)), [])
    builder.branch(spin)

    spins.add_incoming(WORD(0), arrive)
    spins.add_incoming(more, pause)
    spins.add_incoming(spins, give_way)
    builder.position_at_end(done)
    builder.ret_void()
    return function


# The C library's, or Windows's, "let another thread run".
YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


def _pause(builder: ir.IRBuilder) -> None:
    """Tell the core that this is a spinning loop: it saves power, and its twin on the same core runs faster."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        builder.call(_external(builder.module, "llvm.x86.sse2.pause", ir.VoidType()), [])
    elif machine in ("arm64", "aarch64"):
        hint = _external(builder.module, "llvm.aarch64.hint", ir.VoidType(), ir.IntType(32))
        builder.call(hint, [ir.IntType(32)(1)])


def _external(module: ir.Module, name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)


def run_team(
    call: Callable[[int], object],
    threads: int,
    watch: Callable[[], object],
    stop: Callable[[], object],
    interval: float = 0.05,
) -> None:
    """Run call(0) … call(threads - 1), each on a thread of its own; meanwhile call watch() every `interval` seconds.

    `watch` runs on the caller's thread, and once more when all are done. Whatever it raises, a KeyboardInterrupt
    included, calls stop(), waits for the team and is raised again; so is what a call raised.
    """
    team = _Team(call, threads)
    try:
        team.start()
        while not team.wait(interval):
            if team.errors:
                stop()
            watch()
    except BaseException:
        stop()
        team.wait_for_all()
        raise
    if team.errors:
        raise team.errors[0]
    watch()


class _Team:
    """Threads that begin together or not at all: one that is missing would leave the others at a barrier for ever."""

    def __init__(self, call: Callable[[int], object], threads: int):
        self.call = call
        self.errors: list[BaseException] = []
        self.complete = threading.Event()
        self.cancelled = False
        self.members = [threading.Thread(target=self._run, args=(n,), name=f"chainrule {n}") for n in range(threads)]

    def start(self) -> None:
        try:
            for member in self.members:
                member.start()
        except BaseException:
            self.cancelled = True
            raise
        finally:
            self.complete.set()

    def _run(self, thread: int) -> None:
        self.complete.wait()
        if self.cancelled:
            return
        try:
            self.call(thread)
        except BaseException as error:  # noqa: BLE001 (whatever it is, run_team raises it in the caller)
            self.errors.append(error)

    def wait(self, seconds: float) -> bool:
        """Wait until all are done, at most so long; whether they are."""
        for member in self.members:
            if member.is_alive():
                member.join(seconds)
                break
        return not any(member.is_alive() for member in self.members)

    def wait_for_all(self) -> None:
        for member in self.members:
            while member.ident is not None and member.is_alive():
                try:
                    member.join()
                except KeyboardInterrupt:
                    # Asked again: the team is already stopping, and its arrays must outlive it.
                    continue
