"""Random numbers that belong to an image's place in its set, whatever the batch size or device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNKS = ((64 * 64, 1_000), (512 * 512, 50))  # up to so many px, so many images share a generator; beyond, each has one


@dataclass(frozen=True)
class Draws:
    """Draws for some rows of a chunk: each is made for the whole chunk, on the CPU, and the rows are taken.

    Attributes:
        generator: Of the chunk; every draw moves it on by as much, whichever rows are asked for.
        length: Images in a chunk, also where the set ends earlier.
        rows: Which of them are asked for.
        device: Where the numbers are needed.
    """

    generator: torch.Generator
    length: int
    rows: slice
    device: torch.device

    @property
    def count(self) -> int:
        """B, how many rows are asked for."""
        return int(self.rows.stop - self.rows.start)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float32, uniform in [low, high)."""
        values = torch.rand(self.length, *shape, generator=self.generator)[self.rows].to(self.device)
        return values * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) float32, standard normal."""
        return torch.randn(self.length, *shape, generator=self.generator)[self.rows].to(self.device)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """(B, *shape) int64 in low..high-1; `high` itself is never drawn, as in numpy's randint."""
        values = torch.randint(low, high, (self.length, *shape), generator=self.generator)
        return values[self.rows].to(self.device)


def chunk_length(height: int, width: int) -> int:
    """How many images of this size share a generator."""
    return next((length for area, length in CHUNKS if height * width <= area), 1)


def seed_of(key: str, seed: int, chunk: int) -> int:
    """A 63-bit seed from the BLAKE2b hash of key, seed and chunk; the same on every machine."""
    digest = hashlib.blake2b(f"{key}/{seed}/{chunk}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def chunked(pixels: Tensor, key: str, seed: int, first: int) -> Iterator[tuple[slice, Draws]]:
    """The rows of `pixels` (N, 3, H, W) chunk by chunk, each with its draws.

    Args:
        pixels: A piece of an image set.
        key: What the numbers are for.
        seed: The user's.
        first: Place in the set of the piece's first image.
    """
    length = chunk_length(*pixels.shape[-2:])
    start = 0
    while start < len(pixels):
        chunk, offset = divmod(first + start, length)
        stop = min(len(pixels), start + length - offset)
        generator = torch.Generator().manual_seed(seed_of(key, seed, chunk))
        yield slice(start, stop), Draws(generator, length, slice(offset, offset + stop - start), pixels.device)
        start = stop
