"""Memory that a CPU process keeps for the next step, where the C library would give it back after every tensor."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
MOST = 2**30  # bytes of one tensor that come from kept memory
MOST_IN_OLD_GLIBC = 2**25  # larger values are refused
SWITCHES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Let glibc keep the memory of freed tensors; returns whether it does.

    By default glibc takes every large block from the system and returns it when it is freed, so each step of a
    training faults in tens of thousands of fresh pages, which the system fills with zeros first (mallopt(3)). What is
    kept is used again by this process and is not free for others until it ends; the peak stays about the same.

    Does nothing without glibc, and where a variable of `SWITCHES` shows that somebody has chosen already.
    """
    if any(os.environ.get(name) for name in SWITCHES):
        return False
    try:
        library = ctypes.CDLL("libc.so.6")
        mallopt = library.mallopt
    except (OSError, AttributeError):
        return False
    grown = any(mallopt(M_MMAP_THRESHOLD, size) == 1 for size in (MOST, MOST_IN_OLD_GLIBC))
    return bool(grown and mallopt(M_TRIM_THRESHOLD, 2**31 - 1) == 1)
