"""The machine that the kernels are compiled for: vector width, registers, cache sizes, cores.

All of it comes from LLVM's own detection and the operating system, never from a table of CPU names. The environment
variable CHAINRULE_VECTOR_BYTES (16, 32 or 64) forces narrower vectors: so one machine tests the code of another.

>>> tile_shape("float32").panel % tile_shape("float32").lanes
0
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from chainrule.errors import SettingError
from chainrule.messages import say

ITEM_BYTES = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class Host:
    """What code generation needs to know. `features` is LLVM's list, as `-mattr` takes it; unread cache sizes are 0."""

    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    l1_bytes: int
    l2_bytes: int
    cores: int


@dataclass(frozen=True)
class TileShape:
    """The tile that the microkernel keeps in registers: `rows` × (`vectors` × `lanes`) numbers."""

    rows: int
    vectors: int
    lanes: int

    @property
    def panel(self) -> int:
        """How many columns one tile covers; weights are stored in panels of this width."""
        return self.vectors * self.lanes


def host() -> Host:
    """This machine, narrowed by CHAINRULE_VECTOR_BYTES.

    Raises: SettingError where that variable is no width, or a wider one than the machine has.
    """
    return _detect(os.environ.get("CHAINRULE_VECTOR_BYTES", ""))


def tile_shape(dtype: str, machine: Host | None = None) -> TileShape:
    """The largest tile whose sums, operands and broadcasts fit the vector registers together.

    32 registers (AVX-512, NEON): 6 × 4 sums + 4 vectors of b + 1 broadcast of a = 29; 10 loads for 24 multiply-adds.
    16 registers (AVX2, SSE):     6 × 2 sums + 2 vectors of b + 2 broadcasts of a = 16; 8 loads for 12 multiply-adds.
    Both have more independent sums than a multiply-add's latency × throughput (4 cycles × 2 a cycle = 8) needs.
    """
    machine = machine or host()
    vectors = 4 if machine.vector_registers >= 32 else 2
    return TileShape(rows=6, vectors=vectors, lanes=machine.vector_bytes // ITEM_BYTES[dtype])


@cache
def _detect(forced: str) -> Host:
    features = dict(llvm.get_host_cpu_features())
    widest = _widest(features)
    width = _forced_width(forced, widest) if forced else widest
    avx512 = bool(features.get("avx512f")) and width == 64
    neon = platform.machine().lower() in ("arm64", "aarch64")
    return Host(
        cpu=llvm.get_host_cpu_name(),
        features=_narrowed(features, width),
        vector_bytes=width,
        vector_registers=32 if avx512 or neon else 16,
        l1_bytes=_cache_bytes(1),
        l2_bytes=_cache_bytes(2),
        cores=_usable_cores(),
    )


def _widest(features: dict[str, bool]) -> int:
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


def _forced_width(forced: str, widest: int) -> int:
    allowed = [width for width in (16, 32, 64) if width <= widest]
    if forced not in map(str, allowed):
        choices = ", ".join(map(str, allowed))
        raise SettingError(say("kernels.vector_bytes", given=forced, choices=choices))
    return int(forced)


def _narrowed(features: dict[str, bool], width: int) -> str:
    """The features as LLVM takes them, with all that is wider than `width` bytes switched off."""
    # 16 keeps AVX's and FMA's instructions on x86, at 128 bits: without FMA, fma() would be a call of the C library.
    off = ("avx512", "avx10", "amx", "evex512") if width < 64 else ()
    chosen = {name: on and not name.startswith(off) for name, on in features.items()}
    words = [f"{'+' if on else '-'}{name}" for name, on in sorted(chosen.items())]
    if "avx" in features:
        # Some AVX-512 machines prefer 256 bits for automatic vectorization: the kernels run long enough for all 512.
        words += ["+prefer-128-bit" if width == 16 else "-prefer-128-bit"]
        words += ["-prefer-256-bit" if width == 64 else "+prefer-256-bit"]
    return ",".join(words)


def _cache_bytes(level: int) -> int:
    """The size of core 0's data (or unified) cache, 0 where the system does not tell."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, found, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
            if kind != "Instruction" and int(found) == level:
                return int(size.rstrip("KM")) * {"K": 1 << 10, "M": 1 << 20}.get(size[-1], 1)
        except (OSError, ValueError):
            continue
    return 0


def _usable_cores() -> int:
    """The cores this process may run on, which a container or `taskset` makes fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
