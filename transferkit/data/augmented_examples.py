"""A few training images beside copies of them as training sees them, for a person to look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.data.augmentation import BatchDraws, Wanted, augment
from transferkit.data.batches import ShiftAndFlip
from transferkit.data.images import Images, first_three

SHOWN = 4  # images
COPIES = 7
GAP_PX = 2
LARGEST_PX = 64  # side of a picture on the sheet


def augmented_examples(images: Images, moves: ShiftAndFlip, wanted: Wanted, seed: int) -> npt.NDArray[np.uint8]:
    """(3, h, w), a row for each of some images, evenly spread: the image itself, then copies as training makes them."""
    shown = images.spread(SHOWN)
    originals = torch.from_numpy(shown.take(slice(0, len(shown))))
    generator = torch.Generator().manual_seed(seed)
    columns = [originals]
    for epoch in range(COPIES):
        draws = BatchDraws(seed, epoch, 0, len(originals), originals.device)
        columns.append(augment(moves(originals, generator), wanted, draws))
    sheet = tiled(torch.stack([shrunk(column) for column in columns], 1)).numpy()
    return first_three(sheet)


def shrunk(pictures: Tensor) -> Tensor:
    """(B, 3, h, w), at most 64 px on the longer side; small ones stay as they are."""
    height, width = pictures.shape[-2:]
    scale = LARGEST_PX / max(height, width)
    if scale >= 1:
        return pictures
    small = (max(1, round(scale * height)), max(1, round(scale * width)))
    resized = torch.nn.functional.interpolate(pictures.float(), small, mode="bilinear", antialias=True)
    return resized.round().to(torch.uint8)


def tiled(pictures: Tensor) -> Tensor:
    """(rows, columns, 3, h, w) as one picture (3, H, W), with white gaps."""
    framed = torch.nn.functional.pad(pictures, (0, GAP_PX, 0, GAP_PX), value=255)
    rows, columns, channels, height, width = framed.shape
    sheet = framed.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
    return sheet[:, :-GAP_PX, :-GAP_PX]
