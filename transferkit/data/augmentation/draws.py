"""Random numbers that belong to an image's place in an epoch, whatever the size of the batch it comes in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from transferkit.runtime.machine import sent

WORDS = 4  # 64-bit numbers that Philox gives for each value of its counter


@dataclass(frozen=True)
class BatchDraws:
    """The draws of a batch for one function; the same whenever they are asked for.

    Attributes:
        seed: Of the training.
        epoch: Whose order the places are in.
        first: Place of the batch's first image in this order.
        count: B, images in the batch.
        device: Where the numbers are needed; they are drawn on the CPU.
        stream: Another one for each function.
    """

    seed: int
    epoch: int
    first: int
    count: int
    device: torch.device
    stream: int = 0

    def uniform(self, columns: int) -> Tensor:
        """(B, columns) float32 in [0, 1).

        Philox (Salmon et al. 2011) counts, so the numbers of place n are had without those before it.
        """
        blocks = -(-columns // WORDS)
        philox = np.random.Philox(np.random.SeedSequence((self.seed, self.epoch, self.stream)))
        philox.advance(self.first * blocks)
        numbers = np.random.Generator(philox).random((self.count, blocks * WORDS))[:, :columns]
        below_one = np.minimum(numbers.astype(np.float32), np.float32(1 - 2**-24))
        return sent(torch.from_numpy(below_one), self.device)

    def of_function(self, place: int) -> BatchDraws:
        """The draws of the function at this place in a chain."""
        return replace(self, stream=place)
