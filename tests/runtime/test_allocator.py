"""Memory that is kept between steps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from transferkit.runtime import allocator

TWICE = """
import ctypes, resource, sys
from transferkit.runtime.allocator import keep_freed_memory
kept = keep_freed_memory()
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def faults(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = malloc(size)
    ctypes.memset(block, 1, size)
    free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(2**26)
print(kept, faults(2**26) > 2**26 // resource.getpagesize() // 2)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
@pytest.mark.parametrize(("switch", "printed"), [("", "True False"), ("131072", "False True")])
def test_freed_memory_is_used_again_unless_somebody_has_chosen_otherwise(switch: str, printed: str) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "MALLOC_MMAP_THRESHOLD_": switch}

    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, env=environment, check=True)

    assert done.stdout.strip() == printed  # a block of 64 MiB faults in its 16,384 pages again, or does not


def test_without_glibc_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(allocator.ctypes, "CDLL", missing)

    assert allocator.keep_freed_memory() is False
