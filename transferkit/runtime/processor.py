"""The processor: its name, what it can do, and how much of it this process may use. Nothing here loads torch."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from pathlib import Path


def usable_cores() -> int:
    """Cores this process may use: the affinity mask, cut by a cgroup quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, cgroup_cores()))


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


def cpu_model() -> str:
    """The processor's model name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    """Instruction-set flags the kernel lists; empty where there is no such list."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return set(next(lines, ":").split(":", 1)[1].split())
