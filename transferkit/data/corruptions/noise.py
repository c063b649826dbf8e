"""Noise: Gaussian, shot, impulse and speckle; values are changed independently of each other."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from transferkit.data.corruptions.draws import Draws

# Every corruption takes images (B, 3, H, W) float32 in [0, 1], the constants of its severity and draws; it returns the
# same shape. Values beyond [0, 1] are cut off by the caller.


def gaussian_noise(x: Tensor, sigma: float, draws: Draws) -> Tensor:
    """x + sigma * normal."""
    return x + sigma * draws.normal(*x.shape[1:])


def speckle_noise(x: Tensor, sigma: float, draws: Draws) -> Tensor:
    """x + x * sigma * normal: bright values vary more."""
    return x + x * sigma * draws.normal(*x.shape[1:])


def impulse_noise(x: Tensor, share: float, draws: Draws) -> Tensor:
    """Salt and pepper: a share of the values, not pixels, becomes 0 or 1 with equal odds (scikit-image's `s&p`)."""
    noise = draws.uniform(*x.shape[1:])
    salted = torch.where(noise < share / 2, torch.ones_like(x), x)
    return torch.where((noise >= share / 2) & (noise < share), torch.zeros_like(x), salted)


def shot_noise(x: Tensor, photons: float, draws: Draws) -> Tensor:
    """Poisson(x * photons) / photons.

    The counts are read off the inverse distribution function at uniform draws: unlike a rejection sampler, that uses
    one draw per value whatever the images hold, so an image does not change the noise of the next.
    """
    uniform = draws.uniform(*x.shape[1:])
    levels = (x * 255).round().long()  # (B, 3, H, W), the images come from uint8
    table, counts = poisson_table(photons)
    sample = torch.searchsorted(table.to(x.device), levels + uniform.double(), right=True) - levels * counts
    return sample.to(x.dtype) / photons


@lru_cache(maxsize=16)
def poisson_table(photons: float) -> tuple[Tensor, int]:
    """The distribution functions of Poisson(level / 255 * photons) for levels 0..255, one after another.

    Returns:
        (256 * K,) float64, ascending: level + P(count <= k) for k in 0..K-1; and K, beyond which no count is drawn.
    """
    counts = int(photons + 12 * math.sqrt(photons) + 12)  # P(more) < 1e-20
    mean = torch.arange(256, dtype=torch.float64)[:, None] / 255 * photons
    below = torch.special.gammaincc(torch.arange(1, counts + 1, dtype=torch.float64)[None], mean)
    return (torch.arange(256)[:, None] + below).flatten(), counts
