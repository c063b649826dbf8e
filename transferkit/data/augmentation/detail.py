"""Detail that is lost or brought out: blur, sharpness, erased rectangles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from transferkit.data.augmentation.colour import blended
from transferkit.data.augmentation.draws import BatchDraws
from transferkit.data.augmentation.levels import as_uint8

SIGMAS = 3  # how far a Gaussian reaches
AREA = (0.02, 0.4)  # of an erased rectangle, as a share of the image (Zhong et al. 2017, section 3.1)
ASPECT = math.log(1 / 0.3)  # of it, either way (the same)


def blur(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """Gaussian blur of each image, sigma uniform from 0 to `strength` px; beyond the border images are reflected."""
    sigma = strength * draws.uniform(1)[:, 0]
    return blurred(images, sigma, math.ceil(SIGMAS * strength))


def blurred(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Each image under a Gaussian of its sigma (B,) that ends after `reach` px, as two products of matrices."""
    height, width = images.shape[-2:]
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
    down, across = smoothing(sigma, reach, height), smoothing(sigma, reach, width)
    return as_uint8(down[:, None] @ pixels @ across[:, None].mT)


def smoothing(sigma: Tensor, reach: int, side: int) -> Tensor:
    """(B, side, side): each row the weights of the old pixels in a new one."""
    steps = torch.arange(-reach, reach + 1, device=sigma.device)
    weights = (-0.5 * (steps / sigma.clamp(min=1e-3)[:, None]) ** 2).exp()
    weights = weights / weights.sum(1, keepdim=True)  # (B, taps)
    places = torch.arange(side, device=sigma.device)
    sources = reflected(places[:, None] + steps, side)  # (side, taps)
    matrices = torch.zeros(len(sigma), side, side, device=sigma.device)
    index = sources.expand(len(sigma), -1, -1)
    return matrices.scatter_add_(2, index, weights[:, None].expand_as(index))


def reflected(places: Tensor, side: int) -> Tensor:
    """Places beyond the border, taken back inside; the border itself is not repeated."""
    period = max(1, 2 * (side - 1))
    places = places.remainder(period)
    return torch.where(places >= side, period - places, places)


def sharpened(images: Tensor, change: Tensor) -> Tensor:
    """Distance from a smoothed copy times 1 + change (B,), as Pillow's ImageEnhance.Sharpness; the border stays."""
    smooth = images.clone()
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth[:, :, 1:-1, 1:-1] = (box + 4 * images[:, :, 1:-1, 1:-1]) / 13
    return blended(images, smooth, change)


def erasing(images: Tensor, strength: float, draws: BatchDraws) -> Tensor:
    """A rectangle of one random colour in place of what was there (Zhong et al. 2017, arXiv:1708.04896).

    For a share `strength` of the images. Area is uniform from 2 to 40 %, and the aspect ratio from 0.3 to 1 / 0.3 on a
    logarithmic scale; what would leave the image is cut off.
    """
    height, width = images.shape[-2:]
    channels = images.shape[1]
    numbers = draws.uniform(5 + channels)
    area = AREA[0] + (AREA[1] - AREA[0]) * numbers[:, 1]
    ratio = ((2 * numbers[:, 2] - 1) * ASPECT).exp()
    inside_rows = _inside(numbers[:, 3], (area * ratio).sqrt(), height)  # (B, H)
    inside_columns = _inside(numbers[:, 4], (area / ratio).sqrt(), width)
    erased = inside_rows[:, :, None] & inside_columns[:, None] & (numbers[:, 0] < strength)[:, None, None]
    fill = (256 * numbers[:, 5:]).to(torch.uint8)[:, :, None, None]
    return torch.where(erased[:, None], fill, images)


def _inside(place: Tensor, share: Tensor, side: int) -> Tensor:
    """(B, side), which rows or columns a stretch covers: this share of the side, at least one, anywhere."""
    length = (share * side).round().clamp(1, side)
    first = (place * (side - length + 1)).floor()
    pixels = torch.arange(side, device=place.device)
    return (pixels >= first[:, None]) & (pixels < (first + length)[:, None])
