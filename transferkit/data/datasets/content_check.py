"""Whether a large file of the cache still holds the bytes that were written: sums of blocks, as fast as memory.

A sum of 64-bit numbers finds a flipped bit and an inverted, emptied or foreign stretch; it is no seal against intent.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 2**20
FEWEST_BLOCKS = 2  # of a sample
Sums = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class ContentCheck:
    """What a file's content is checked by.

    Attributes:
        stamp: Size and time of the last change when it was written.
        sums: Of its blocks.
    """

    stamp: tuple[int, int]
    sums: tuple[int, ...]


def check_of(path: Path) -> ContentCheck:
    """What a file is checked by from now on."""
    return ContentCheck(stamp(path), tuple(block_sums(path).tolist()))


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change, in bytes and nanoseconds; another stamp means that someone wrote to it."""
    facts = os.stat(path)
    return facts.st_size, facts.st_mtime_ns


def block_sums(path: Path) -> Sums:
    """(B,), one sum per mebibyte, the last one shorter."""
    return sums_of(path, np.arange(-(-path.stat().st_size // BLOCK_BYTES)))


def sums_of(path: Path, blocks: npt.NDArray[np.int64]) -> Sums:
    """(M,), the sums of these blocks; read into one buffer, because mapping a page costs more than copying it."""
    buffer = np.zeros(BLOCK_BYTES, np.uint8)
    with path.open("rb", buffering=0) as file:
        return np.array([_sum(file, int(block), buffer) for block in blocks], np.uint64)


def _sum(file: FileIO, block: int, buffer: npt.NDArray[np.uint8]) -> np.uint64:
    file.seek(block * BLOCK_BYTES)
    length = file.readinto(buffer.data)
    words = -(-length // 8)
    buffer[length : 8 * words] = 0
    return np.uint64(buffer.view("<u8")[:words].sum(dtype=np.uint64))


def is_sound(path: Path, check: ContentCheck, sample_bytes: int, generator: np.random.Generator) -> bool:
    """Whether a file holds what it held when its check was made.

    All of it is read where its stamp differs; else so many bytes at places that differ from time to time, which finds
    what a bad disk did.
    """
    expected = np.array(check.sums, np.uint64)
    chosen = np.arange(len(expected))
    wanted = max(FEWEST_BLOCKS, sample_bytes // BLOCK_BYTES)
    if stamp(path) == check.stamp and wanted < len(expected):
        edges = np.linspace(0, len(expected), wanted + 1).astype(np.int64)
        chosen = generator.integers(edges[:-1], edges[1:])
    return bool(np.array_equal(sums_of(path, chosen), expected[chosen]))
