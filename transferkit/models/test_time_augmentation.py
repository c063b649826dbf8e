"""The copies of an image that a prediction is averaged over: itself, moved a little, and the mirror images of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SHIFT = 1 / 32  # of the side: 1 px of 32


@dataclass(frozen=True)
class Averaging:
    """What a prediction is averaged over besides the image itself.

    Attributes:
        mirror: Its mirror image.
        shifts: Small shifts of it.
    """

    mirror: bool = False
    shifts: bool = False

    def copies(self, images: Tensor) -> Iterator[tuple[float, Tensor]]:
        """Weights that sum to one, each with a copy (N, 3, H, W); see `augmented_copies`."""
        return augmented_copies(images, self.mirror, self.shifts)


NO_AVERAGING = Averaging()


def augmented_copies(images: Tensor, mirrored: bool, shifted: bool) -> Iterator[tuple[float, Tensor]]:
    """Weights that sum to one, each with a copy (N, 3, H, W); the image itself comes last.

    Jordan 2024 (arXiv:2404.00498), section 3.5: an image at rest weighs a half; moved up and left, and down and right,
    by one px of 32, a quarter each; and each of the three shares its weight with its mirror image. The border is
    reflected.
    """
    moved = max(1, round(SHIFT * images.shape[-1]))
    offsets = [(0.25, -moved), (0.25, moved), (0.5, 0)] if shifted else [(1.0, 0)]
    for weight, offset in offsets:
        copy = diagonally_moved(images, offset) if offset else images
        if mirrored:
            yield weight / 2, copy.flip(-1)
        yield weight / 2 if mirrored else weight, copy


def diagonally_moved(images: Tensor, offset: int) -> Tensor:
    """Images moved down and right by `offset` px (up and left where it is negative), the border reflected.

    Example:
        >>> diagonally_moved(torch.arange(9).view(1, 1, 3, 3), 1).tolist()
        [[[[4, 3, 4], [1, 0, 1], [4, 3, 4]]]]
    """
    rows, columns = (_positions(side, offset).to(images.device) for side in images.shape[-2:])
    return images.index_select(-2, rows).index_select(-1, columns)


def _positions(side: int, offset: int) -> Tensor:
    positions = (torch.arange(side) - offset).abs()
    return torch.where(positions >= side, 2 * (side - 1) - positions, positions).clamp_min(0)
