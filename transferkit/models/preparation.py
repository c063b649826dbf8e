"""How images become what a network takes: their range, resize and crop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.runtime.errors import TransferkitError

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601, as Pillow's convert("L")


def as_unit_range(images: Tensor, bands: int = 3) -> Tensor:
    """float32 pixels in [0, 1] from uint8 in 0..255 or from floats that are there already; of colours, grey if asked.

    Raises:
        TransferkitError: If the shape is not (N, bands, H, W).
    """
    if images.ndim == 4 and (images.shape[1], bands) == (3, 1):
        shares = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
        return (as_unit_range(images) * shares).sum(1, keepdim=True)
    if images.ndim != 4 or images.shape[1] != bands:
        raise TransferkitError(f"A classifier takes images (N, {bands}, H, W); found shape {tuple(images.shape)}.")
    return images.float().div(255) if images.dtype == torch.uint8 else images.float()


def resize(images: Tensor, size: int, interpolation: str = "bilinear", crop: float = 1.0) -> Tensor:
    """Resize (N, 3, H, W) to (N, 3, size, size), antialiased; the one resize of training, evaluation and prediction."""
    if crop < 1.0:
        images = centre_crop(images, crop)
    if images.shape[-2:] == (size, size):
        return images
    return interpolate(images, size, interpolation)


def interpolate(images: Tensor, size: int, interpolation: str) -> Tensor:
    """The resize itself; images of that size already come out as they are."""
    images = images.contiguous(memory_format=torch.channels_last)
    return F.interpolate(images, size=(size, size), mode=interpolation, antialias=True, align_corners=False)


def centre_crop(images: Tensor, share: float) -> Tensor:
    """The middle `share` of both sides."""
    height, width = (max(1, round(side * share)) for side in images.shape[-2:])
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]
