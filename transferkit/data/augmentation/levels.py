"""What becomes of the 256 levels of a channel, for each image by its own amount; float images hold 0 to 255."""

from __future__ import annotations

import torch
from torch import Tensor


def as_uint8(values: Tensor) -> Tensor:
    """The nearest level; what lies outside is cut off."""
    return values.clamp_(0, 255).round_().to(torch.uint8)


def posterized(images: Tensor, bits: Tensor) -> Tensor:
    """Only the highest `bits` (B,) of each level stay, 1 to 8."""
    step = 2.0 ** (8 - bits.round())[:, None, None, None]
    return (images / step).floor_() * step


def solarized(images: Tensor, threshold: Tensor) -> Tensor:
    """Levels from `threshold` (B,) on are inverted."""
    return torch.where(images >= threshold[:, None, None, None], 255 - images, images)


def autocontrasted(images: Tensor, _amount: Tensor) -> Tensor:
    """Each channel of each image stretched to 0 and 255; one of a single level stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = (images - low) * (255 / (high - low).clamp(min=1))
    return torch.where(high > low, stretched, images)


def equalized(images: Tensor, _amount: Tensor) -> Tensor:
    """Each channel of each image with an even histogram, by the rule of Pillow's `ImageOps.equalize`."""
    count, channels, height, width = images.shape
    levels = images.round().long().view(count * channels, -1) if images.is_contiguous() else _flat_levels(images)
    histogram = torch.zeros(count * channels, 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    last = histogram.gather(1, levels.amax(1, keepdim=True))  # (B C, 1), how many have the highest level
    step = (height * width - last) // 255
    before = histogram.cumsum(1) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    levels = torch.where(step > 0, table.gather(1, levels), levels)
    return levels.view(count, channels, height, width).to(images.dtype)


def _flat_levels(images: Tensor) -> Tensor:
    return images.contiguous().round().long().view(images.shape[0] * images.shape[1], -1)
