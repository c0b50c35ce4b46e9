"""A team of threads: how they start, wait for each other, and stop.

`run_team` starts the team and looks on; inside the compiled step the threads meet at `barrier`, and pass words to each
other and to Python with `load` and `store`. All of that goes through one array of int64, the control words.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable

from llvmlite import ir

# Places in the control words. Eight words apart: 64 bytes, so that no two share a cache line.
ARRIVED = 0  # how many threads wait at the barrier
GENERATION = 8  # how many barriers the team has passed
STOP = 16  # Python asks to stop after this step
PROGRESS = 24  # steps done
FAILED = 32  # not 0: a number was not finite
DECIDED = 40  # one thread's answer to STOP: after how many steps all stop
SLEEPERS = 48  # how many threads sleep at the barrier
CROWDED = 56  # more than 0: others want the cores, so who waits long sleeps
CONTROL_WORDS = 64
# Behind these lie the queues, QUEUE_WORDS for each thread and queue: see build_take.
QUEUE_WORDS = 8

CONTROL_NAMES = ("ARRIVED", "GENERATION", "STOP", "PROGRESS", "FAILED", "DECIDED", "SLEEPERS", "CROWDED")

# 2,000 pauses are some 40 µs, longer than a step's uneven shares; then the core is offered to whoever else wants it.
SPINS = 2000
# An offer that nobody takes costs 1 µs. One that lasts so long was taken, by more than some housekeeping …
CROWDED_NS = 500_000
# … and so many long waits that follow are slept through, before the core is offered again.
CROWDED_WAITS = 300

WORD = ir.IntType(64)
INT32 = ir.IntType(32)

# The number of Linux's futex call, which sleeps until a word changes; None where it is called otherwise or not at all.
FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine()) if sys.platform == "linux" else None
FUTEX_WAIT, FUTEX_WAKE = 128, 129  # among the threads of one process
# The C library's, or Windows's, "let another thread run".
YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
C_FUNCTIONS = frozenset({YIELD, "syscall", "clock_gettime"} if FUTEX else {YIELD})


def build_barrier(module: ir.Module) -> ir.Function:
    """`barrier(control, threads)` as a function of `module`, built once per module.

    The last thread to arrive resets ARRIVED and moves GENERATION on; the others wait for that. Whatever a thread wrote
    before the barrier, all see after it: arriving releases and acquires, leaving acquires.

    Who waits spins, then yields its core. Where somebody else takes it, it comes back only after that one's time slice
    of 4 or 8 ms, while its own team waits; so on Linux, who waits then sleeps until the last thread wakes it: a sleeper
    comes before those that compute all the time. To sleep always would cost some 45 µs a wait on idle cores.

    Measured with two threads and two busy processes on two cores, 10,000 steps (2,000 of 430 µs). The fair share is
    twice a step's time on idle cores; given are mean / fair share, best to worst of three runs and more:

        step     only spin and yield   with sleep
        2 µs         1.8 … 3.2         1.3 … 1.5
        11 µs        2.2 … 3.8         1.2
        43 µs        7.8 … 17          1.1 … 1.2
        430 µs       2.7 … 4.2         1.1 … 1.3

    The 99th percentile is 0.6 to 1.8 fair shares up to 11 µs a step (before: up to 180), and 1.9 at 4.4 ms. Between,
    one step in a hundred and more meets the end of a time slice of 4 ms, whatever a barrier does: at 430 µs it is 5
    fair shares for one thread that waits for nobody, and 7 to 10 for two.
    """
    name = "chainrule_barrier"
    if name in module.globals:
        return module.globals[name]
    function = _new_function(module, name, ir.VoidType(), 2)
    control, threads = function.args
    names = ("entry", "arrive", "last", "spin", "wait", "pause", "give_way", "done")
    entry, arrive, last, spin, wait, pause, give_way, done = (function.append_basic_block(n) for n in names)
    builder = ir.IRBuilder(entry)
    futex = _Futex(builder, control) if FUTEX else None
    arrived, generation = (builder.gep(control, [WORD(place)]) for place in (ARRIVED, GENERATION))
    builder.cbranch(builder.icmp_signed("<=", threads, WORD(1)), done, arrive)

    builder.position_at_end(arrive)
    # Read before arriving: once all have arrived, it may move at any moment.
    before = builder.load_atomic(generation, "acquire", align=8)
    others = builder.atomic_rmw("add", arrived, WORD(1), "acq_rel")
    builder.cbranch(builder.icmp_signed("==", builder.add(others, WORD(1)), threads), last, spin)

    builder.position_at_end(last)
    builder.store_atomic(WORD(0), arrived, "monotonic", align=8)
    builder.store_atomic(builder.add(before, WORD(1)), generation, "seq_cst" if futex else "release", align=8)
    if futex:
        futex.wake()
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
    if futex:
        futex.yield_or_sleep(before)
    else:
        _yield(builder)
    builder.branch(spin)

    spins.add_incoming(WORD(0), arrive)
    spins.add_incoming(more, pause)
    spins.add_incoming(spins, builder.block)
    builder.position_at_end(done)
    builder.ret_void()
    return function


def build_offer(module: ir.Module) -> ir.Function:
    """`offer(control, queue, thread, threads, units)`: this thread's share of so many units, before it takes any."""
    name = "chainrule_offer"
    if name in module.globals:
        return module.globals[name]
    function = _new_function(module, name, ir.VoidType(), 5)
    control, queue, thread, threads, units = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    first, end = (builder.sdiv(builder.mul(units, t), threads) for t in (thread, builder.add(thread, WORD(1))))
    word = builder.or_(builder.shl(end, WORD(32)), first)
    builder.store_atomic(word, _queue(builder, control, queue, thread, threads), "monotonic", align=8)
    builder.ret_void()
    return function


def build_take(module: ir.Module) -> ir.Function:
    """`take(control, queue, thread, threads)`: a unit of work that nobody has taken, or -1 where none is left.

    A thread takes its own units from the first on, so that in each step it meets the weights that are in its own cache;
    when it has none left, the others' from the last on. A share is one word, the unit that is next and the end, 32 bits
    each: the owner adds 1 to it, who helps takes 2**32 from it, and of two that do so at once the second sees what the
    first did. Which thread computes a unit changes no bit of the result.

    The barrier before and after such a loop makes everything else seen, so these words need no order of their own.
    """
    name = "chainrule_take"
    if name in module.globals:
        return module.globals[name]
    function = _new_function(module, name, WORD, 4)
    control, queue, thread, threads = function.args
    names = ("entry", "alone", "together", "mine", "others", "look", "help", "none")
    entry, alone, together, mine, others, look, help_, none = (function.append_basic_block(n) for n in names)
    builder = ir.IRBuilder(entry)
    own = _queue(builder, control, queue, thread, threads)
    builder.cbranch(builder.icmp_signed("<=", threads, WORD(1)), alone, together)

    builder.position_at_end(alone)
    word_alone = builder.load(own, align=8)
    builder.store(builder.add(word_alone, WORD(1)), own, align=8)
    builder.branch(mine)

    builder.position_at_end(together)
    word_together = builder.atomic_rmw("add", own, WORD(1), "monotonic")
    builder.branch(mine)

    builder.position_at_end(mine)
    word = builder.phi(WORD)
    word.add_incoming(word_alone, alone)
    word.add_incoming(word_together, together)
    next_, end = _share(builder, word)
    with builder.if_then(builder.icmp_signed("<", next_, end)):
        builder.ret(next_)
    before_others = builder.block
    builder.branch(others)

    builder.position_at_end(others)
    turn = builder.phi(WORD)
    turn.add_incoming(WORD(1), before_others)
    builder.cbranch(builder.icmp_signed("<", turn, threads), look, none)

    builder.position_at_end(look)
    other = builder.srem(builder.add(thread, turn), threads)
    place = _queue(builder, control, queue, other, threads)
    word = builder.load_atomic(place, "monotonic", align=8)
    next_, end = _share(builder, word)
    another = builder.add(turn, WORD(1))
    turn.add_incoming(another, look)
    builder.cbranch(builder.icmp_signed("<", next_, end), help_, others)

    builder.position_at_end(help_)
    less = builder.sub(word, WORD(2**32))
    taken = builder.extract_value(builder.cmpxchg(place, word, less, "monotonic", "monotonic"), 1)
    with builder.if_then(taken):
        builder.ret(builder.sub(end, WORD(1)))
    turn.add_incoming(turn, builder.block)  # somebody was quicker: look again
    builder.branch(others)

    builder.position_at_end(none)
    builder.ret(WORD(-1))
    return function


def _new_function(module: ir.Module, name: str, result: ir.Type, arguments: int) -> ir.Function:
    """A function of the control words and other whole numbers: one in a module, never inlined."""
    function = ir.Function(module, ir.FunctionType(result, [WORD.as_pointer(), *[WORD] * (arguments - 1)]), name)
    function.linkage = "linkonce_odr"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    return function


def _queue(builder: ir.IRBuilder, control: ir.Value, queue: ir.Value, thread: ir.Value, threads: ir.Value) -> ir.Value:
    """Where a thread's share of a queue is."""
    number = builder.add(builder.mul(queue, threads), thread)
    return builder.gep(control, [builder.add(builder.mul(number, WORD(QUEUE_WORDS)), WORD(CONTROL_WORDS))])


def _share(builder: ir.IRBuilder, word: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(the next unit, the end) of a share."""
    return builder.and_(word, WORD(2**32 - 1)), builder.lshr(word, WORD(32))


class _Futex:
    """The barrier's instructions for waiting long, in Linux's way.

    A sleeper counts itself, then Linux looks whether GENERATION still is as it was; the last thread changes it, then
    looks whether somebody counted himself. All of that in one order (seq_cst), so one of the two sees the other.
    """

    def __init__(self, builder: ir.IRBuilder, control: ir.Value):
        self.builder = builder
        self.generation, self.sleepers, self.crowded = (
            builder.gep(control, [WORD(place)]) for place in (GENERATION, SLEEPERS, CROWDED)
        )
        self.time = builder.alloca(WORD, 2)  # seconds, nanoseconds

    def wake(self) -> None:
        """Wake those who sleep at the barrier, if any."""
        builder = self.builder
        sleeping = builder.load_atomic(self.sleepers, "seq_cst", align=8)
        with builder.if_then(builder.icmp_signed("!=", sleeping, WORD(0))):
            waits = builder.load_atomic(self.crowded, "monotonic", align=8)
            builder.store_atomic(builder.sub(waits, WORD(1)), self.crowded, "monotonic", align=8)
            self._call(FUTEX_WAKE, INT32(2**31 - 1))

    def yield_or_sleep(self, before: ir.Value) -> None:
        """Let others run; where some were seen to want the core, until GENERATION is no longer `before`."""
        builder = self.builder
        waits = builder.load_atomic(self.crowded, "monotonic", align=8)
        with builder.if_else(builder.icmp_signed(">", waits, WORD(0))) as (crowded, alone):
            with crowded:
                builder.atomic_rmw("add", self.sleepers, WORD(1), "seq_cst")
                # Linux compares 32 bits, the first ones in memory: on these machines those that change.
                self._call(FUTEX_WAIT, builder.trunc(before, INT32))
                builder.atomic_rmw("sub", self.sleepers, WORD(1), "seq_cst")
            with alone:
                start = self._nanoseconds()
                _yield(builder)
                lasted = builder.sub(self._nanoseconds(), start)
                with builder.if_then(builder.icmp_signed(">", lasted, WORD(CROWDED_NS))):
                    builder.store_atomic(WORD(CROWDED_WAITS), self.crowded, "monotonic", align=8)

    def _call(self, operation: int, value: ir.Value) -> None:
        syscall = self.builder.module.globals.get("syscall") or ir.Function(
            self.builder.module, ir.FunctionType(WORD, [WORD], var_arg=True), "syscall"
        )
        no_limit = ir.Constant(WORD.as_pointer(), None)
        self.builder.call(syscall, [WORD(FUTEX), self.generation, INT32(operation), value, no_limit])

    def _nanoseconds(self) -> ir.Value:
        builder = self.builder
        clock = _external(builder.module, "clock_gettime", INT32, INT32, WORD.as_pointer())
        builder.call(clock, [INT32(time.CLOCK_MONOTONIC), self.time])
        seconds, rest = (builder.load(builder.gep(self.time, [WORD(n)])) for n in (0, 1))
        return builder.add(builder.mul(seconds, WORD(10**9)), rest)


def _yield(builder: ir.IRBuilder) -> None:
    builder.call(_external(builder.module, YIELD, INT32), [])


def _pause(builder: ir.IRBuilder) -> None:
    """Tell the core that this is a spinning loop: it saves power, and its twin on the same core runs faster."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        builder.call(_external(builder.module, "llvm.x86.sse2.pause", ir.VoidType()), [])
    elif machine in ("arm64", "aarch64"):
        hint = _external(builder.module, "llvm.aarch64.hint", ir.VoidType(), INT32)
        builder.call(hint, [INT32(1)])


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


def run_alone(call: Callable[[int], object], watch: Callable[[], object]) -> None:
    """Run call(0) on the caller's own thread, then watch(): for what is over before a thread has started."""
    call(0)
    watch()


def _spread(thread: int, threads: int) -> None:
    """Put this thread on a core of its own, and leave it free to be moved from there.

    Linux may start all threads of a team on one core, and then leaves them there: threads that yield to each other look
    well served. Two of them so took turns for whole epochs, beside an idle core.
    """
    if threads < 2 or not hasattr(os, "sched_setaffinity"):
        return
    try:
        allowed = sorted(os.sched_getaffinity(0))
        if threads <= len(allowed):
            # Teams of several processes begin at different cores.
            os.sched_setaffinity(0, {allowed[(thread + os.getpid()) % len(allowed)]})
            os.sched_setaffinity(0, allowed)
    except OSError:  # a sandbox may forbid it; then the threads are where they are
        return


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
        _spread(thread, len(self.members))
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
