"""How many rows to work on at once, so that what is computed from them stays in the cache."""

from __future__ import annotations

import torch

CHUNK_ELEMENTS = {"cpu": 2**17, "cuda": 2**26}  # numbers held at once; on a CPU they stay in the cache
FEWEST_ROWS = 256


def rows_at_once(device: torch.device, numbers_per_row: int) -> int:
    """Rows of a chunk of which each row makes this many numbers."""
    return max(FEWEST_ROWS, CHUNK_ELEMENTS.get(device.type, CHUNK_ELEMENTS["cpu"]) // numbers_per_row)
