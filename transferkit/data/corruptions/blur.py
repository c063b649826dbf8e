"""Blur: defocus, glass, motion, zoom and Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import correlate1d
from torch import Tensor
from torch.nn import functional as F

from transferkit.data.corruptions.draws import Draws
from transferkit.data.corruptions.resampling import along_both, gaussian_blurred, zoom_matrix

MOTION_ANGLE = 45.0  # degrees, to either side
LEAST_TAP = 2.0**-17  # of a motion kernel; ImageMagick computes with 16 bits


def gaussian_blur(x: Tensor, sigma: float, draws: Draws) -> Tensor:  # noqa: ARG001 - nothing here is random
    """The Gaussian filter of scikit-image: cut at 4 sigma, outermost pixels repeated."""
    return gaussian_blurred(x, sigma)


# ------------------------------------------------------------------------------------------------- defocus


def defocus_blur(x: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:  # noqa: ARG001
    """A disk whose edge is softened; the border is mirrored, the outermost pixel not repeated (OpenCV's default)."""
    kernel = disk(*constants).to(x.device, x.dtype)
    height, width = x.shape[-2:]
    reach = len(kernel) // 2
    padded = F.pad(x.reshape(-1, 1, height, width), (reach,) * 4, mode="reflect")
    return F.conv2d(padded, kernel[None, None]).reshape(x.shape)


@lru_cache(maxsize=16)
def disk(radius: float, alias: float) -> Tensor:
    """(K, K), a disk, smoothed by a Gaussian of `alias` px on 3 x 3 taps, 5 x 5 beyond radius 8 (by OpenCV).

    The authors' kernel has 17 x 17 taps or more; its empty margin is left out, so that small images need no wide
    border.
    """
    reach, smoothing = (8, 1) if radius <= 8 else (int(radius), 2)
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float64)
    taps = np.exp(-0.5 * (np.arange(-smoothing, smoothing + 1) / alias) ** 2)
    smooth = inside / inside.sum()
    for side in (0, 1):
        smooth = correlate1d(smooth, taps / taps.sum(), axis=side, mode="mirror")
    margin = int(np.argmax(smooth.max(axis=0) > 1e-9))
    return torch.from_numpy(smooth[margin : len(smooth) - margin, margin : len(smooth) - margin].copy()).float()


# ------------------------------------------------------------------------------------------------- glass


def glass_blur(x: Tensor, constants: tuple[float, int, int], draws: Draws) -> Tensor:
    """Blur, move pixels about within a distance for some rounds, blur again.

    The authors swap pixels of a numpy array through views, which copies one way: the pixel takes its neighbour's value
    and the neighbour keeps it. Published accuracies belong to that copy, so it is what is done here. Offsets lie in
    -distance..distance-1 (`randint` excludes the upper end).
    """
    sigma, distance, rounds = constants
    height, width = x.shape[-2:]
    moved = (gaussian_blurred(x, sigma).clamp(0, 1) * 255 + 1e-3).floor().flatten(2)  # (B, 3, H * W), as uint8 cuts off
    for _ in range(rounds):
        offsets = draws.integers(-distance, distance, 2, max(height - 2 * distance, 0), max(width - 2 * distance, 0))
        sources = copied_from(offsets, height, width, distance)
        moved = moved.gather(2, sources[:, None].expand_as(moved))
    return gaussian_blurred(moved.view(x.shape) / 255, sigma)


def copied_from(offsets: Tensor, height: int, width: int, distance: int) -> Tensor:
    """Which pixel's old value each pixel holds after a round of copies.

    The round visits rows and columns distance + 1 .. side - distance from the last pixel to the first and copies from
    pixel + offset. A pixel that copies from one visited earlier gets what that one has meanwhile received; following
    such steps to their end, each time twice as far, replaces the loop over pixels.

    Args:
        offsets: (B, 2, H - 2 distance, W - 2 distance), down and right, for the visited pixels.
        height: H.
        width: W.
        distance: Of the furthest copy.

    Returns:
        (B, H * W) int64 indices into the flattened image.
    """
    own = torch.arange(height * width, device=offsets.device).view(height, width)
    visited = torch.zeros(height, width, dtype=torch.bool, device=offsets.device)
    inner = slice(distance + 1, height - distance + 1), slice(distance + 1, width - distance + 1)
    visited[inner] = True
    source = own.expand(len(offsets), -1, -1).clone()
    source[:, *inner] += offsets[:, 0] * width + offsets[:, 1]
    source = source.flatten(1)
    earlier = (source > own.flatten()) & visited.flatten()[source]
    if not earlier.any():
        return source
    last = torch.where(earlier, source, own.flatten())
    while not torch.equal(further := last.gather(1, last), last):
        last = further
    return source.gather(1, last)


# ------------------------------------------------------------------------------------------------- motion


def motion_blur(x: Tensor, constants: tuple[int, float], draws: Draws) -> Tensor:
    """ImageMagick's motion blur, at an angle drawn per image, cut to whole levels as its images are."""
    radius, sigma = constants
    angles = draws.uniform(low=-MOTION_ANGLE, high=MOTION_ANGLE)
    return motion_blurred(x, angles, radius, sigma)


def motion_blurred(x: Tensor, angles: Tensor, radius: int, sigma: float) -> Tensor:
    """Weighted mean of pixels along a line that starts at the pixel; half a Gaussian, one-sided.

    Tap i of 0..2 radius has weight exp(-i^2 / 2 sigma^2) and lies ceil(i sin - 1/2) px below and ceil(i cos - 1/2) px
    to the right; beyond the border the outermost pixel is repeated (ImageMagick, MotionBlurImage).

    Args:
        x: (B, C, H, W) in [0, 1].
        angles: (B,) in degrees.
        radius: In px.
        sigma: In px.

    Returns:
        (B, C, H, W) in whole levels of 1/255: ImageMagick rounds to 16 bits and drops the lower 8 of them.
    """
    count, channels, height, width = x.shape
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    weights = weights[weights / weights.sum() > LEAST_TAP]
    radians = torch.deg2rad(angles.double())
    flat = x.movedim(1, -1).reshape(-1, channels)  # (B * H * W, C): one index serves all channels
    starts = torch.arange(count, device=x.device)[:, None, None] * (height * width)
    down, right = (torch.arange(side, device=x.device) for side in (height, width))
    total = torch.zeros_like(flat)
    for tap, weight in enumerate(weights / weights.sum()):
        row = (down + (tap * radians.sin() - 0.5).ceil().long()[:, None]).clamp(0, height - 1)  # (B, H)
        column = (right + (tap * radians.cos() - 0.5).ceil().long()[:, None]).clamp(0, width - 1)  # (B, W)
        index = starts + row[:, :, None] * width + column[:, None, :]
        total.add_(flat.index_select(0, index.flatten()), alpha=float(weight))
    fine_levels = (total.view(count, height, width, channels).movedim(-1, 1) * 65535).round()
    return (fine_levels / 257).floor() / 255


# ------------------------------------------------------------------------------------------------- zoom


def zoom_blur(x: Tensor, factors: Sequence[float], draws: Draws) -> Tensor:  # noqa: ARG001
    """Mean of the image and its enlargements by each factor, the first of which is 1."""
    height, width = x.shape[-2:]
    total = x.clone()
    for factor in factors:
        total += along_both(x, zoom_matrix(height, factor), zoom_matrix(width, factor))
    return total / (len(factors) + 1)
