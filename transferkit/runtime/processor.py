"""Processor and memory: what they are, and how much of them this process may use. Nothing here loads torch."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
from pathlib import Path

from transferkit.runtime.errors import TransferkitError, quoted

MOST_THREADS = 1024
CPUINFO = Path("/proc/cpuinfo")


def usable_cores() -> int:
    """Cores this process may use: the affinity mask, cut by a cgroup quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, cgroup_cores()))


def asked_threads() -> int | None:
    """How many threads OMP_NUM_THREADS asks for, of a list by depth the first; None where it is not set, or 0.

    Raises:
        TransferkitError: If it is no such number.
    """
    text = os.environ.get("OMP_NUM_THREADS") or "0"
    first = text.partition(",")[0].strip()
    if not (first.isascii() and first.isdecimal()) or int(first) > MOST_THREADS:
        raise TransferkitError(
            f"OMP_NUM_THREADS is {quoted(text)}. Expected a number of threads, at most {MOST_THREADS:,}; or unset it "
            "for all usable cores."
        )
    return int(first) or None


def cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """The CPU quota of the control group in whole cores, rounded up; a large number without one."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    with contextlib.suppress(OSError, ValueError):
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu/cpu.cfs_period_us").read_text())
        if quota_us > 0:
            return math.ceil(quota_us / period_us)
    return 1 << 16


def memory_bytes() -> int:
    """The memory of this machine; a number without end where the system does not tell it (Windows)."""
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return sys.maxsize


def cpu_model() -> str:
    """The processor's model name."""
    return _described("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    """Instruction-set flags the kernel lists; empty where there is no such list."""
    return set(_described("flags").split())


def has_bf16_units() -> bool:
    """Whether the processor multiplies bf16 faster than fp32: with AMX, or AMD's AVX-512.

    Intel's AVX-512 knows the same instruction, and has one unit for it beside two for fp32: where a virtual machine
    hides AMX, bf16 takes up to twice as long (docs/performance.md).
    """
    flags = cpu_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and _described("vendor_id") == "AuthenticAMD")


def _described(key: str) -> str:
    """What the kernel says of the first processor; empty where it says nothing."""
    with contextlib.suppress(OSError):
        for line in CPUINFO.read_text().splitlines():
            if line.split(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    return ""
