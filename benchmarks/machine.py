"""What a number was measured on: the machine and the versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.sides import MODULES, PACKAGES


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_settings() -> tuple[int, ...]:
    """The numbers of threads that a peer is tried with: the powers of two below the number of cores, and all.

    >>> 1 in thread_settings() and cores() in thread_settings()
    True
    """
    return (*(1 << power for power in range(16) if 1 << power < cores()), cores())


def machine() -> dict[str, object]:
    """What `lscpu` would say, as far as the system tells."""
    return {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "cores": cores(),
        "vectors": _vectors(),
        "caches": _caches(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Python's version and that of each side that is installed."""
    found = {"python": platform.python_version()}
    for name in (*MODULES, "jaxlib", "numpy"):
        try:
            found[name] = version(PACKAGES.get(name, name))
        except PackageNotFoundError:
            continue
    return found


def _cpu_info(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _cpu_name() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _vectors() -> str:
    flags = _cpu_info("flags").split()
    return next((name for name in ("avx512f", "avx2", "avx") if name in flags), "")


def _caches() -> dict[str, str]:
    """Level → size of core 0's data and unified caches."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def _memory_gib() -> float:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return 0.0
