"""Blurring and scaling along one side of an image as a matrix; an image is changed by one from the left and one from
the right."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Border = Literal["edge", "reflect"]


def along_both(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(..., H, W) -> (..., H', W') by `rows` (H', H) and `columns` (W', W)."""
    return rows.to(x.device) @ x @ columns.to(x.device).T


def gaussian_blurred(x: Tensor, sigma: float, border: Border = "edge", truncate: float = 4.0) -> Tensor:
    """(..., H, W) blurred as scipy.ndimage.gaussian_filter does, which scikit-image calls with `edge` ('nearest')."""
    height, width = x.shape[-2:]
    if _radius(sigma, truncate) == 0:
        return x
    return along_both(
        x, gaussian_matrix(height, sigma, border, truncate), gaussian_matrix(width, sigma, border, truncate)
    )


def _radius(sigma: float, truncate: float) -> int:
    return int(truncate * sigma + 0.5)


@lru_cache(maxsize=64)
def gaussian_matrix(n: int, sigma: float, border: Border, truncate: float) -> Tensor:
    """(n, n), the Gaussian filter of scipy.ndimage along a side of n px.

    Args:
        n: Pixels.
        sigma: In px.
        border: `edge` repeats the outermost pixel; `reflect` mirrors at the border, that pixel included.
        truncate: Where the kernel ends, in sigmas.
    """
    radius = _radius(sigma, truncate)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    sources = np.arange(n)[:, None] + offsets  # (n, taps)
    if border == "edge":
        sources = sources.clip(0, n - 1)
    else:
        sources = sources % (2 * n)
        sources = np.minimum(sources, 2 * n - 1 - sources)
    return _scattered(n, n, sources, np.broadcast_to(kernel, sources.shape))


@lru_cache(maxsize=64)
def zoom_matrix(n: int, factor: float) -> Tensor:
    """(n, n), the middle of a side enlarged by `factor`, linearly.

    The crop is ceil(n / factor) px, the enlarged side round(crop * factor); the first and last pixels of both lie on
    each other, as in scipy.ndimage.zoom of order 1, and what exceeds n is cut off on both sides.
    """
    crop = math.ceil(n / factor)
    enlarged = round(crop * factor)
    positions = (np.arange(n) + (enlarged - n) // 2) * ((crop - 1) / max(enlarged - 1, 1)) + (n - crop) // 2
    lower = np.floor(positions).astype(int)
    share = positions - lower
    sources = np.stack([lower, np.minimum(lower + 1, n - 1)], axis=1)
    return _scattered(n, n, sources, np.stack([1 - share, share], axis=1))


@lru_cache(maxsize=64)
def box_matrix(n: int, m: int) -> Tensor:
    """(m, n), a side of n px as m px by Pillow's BOX filter: the mean of the pixels whose centres lie in the box."""
    scale = n / m
    support = 0.5 * max(scale, 1.0)
    matrix = np.zeros((m, n))
    for index in range(m):
        centre = (index + 0.5) * scale
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), n)
        distance = (np.arange(first, last) - centre + 0.5) / max(scale, 1.0)
        matrix[index, first:last] = (distance > -0.5) & (distance <= 0.5)
    return torch.from_numpy(matrix / matrix.sum(axis=1, keepdims=True)).float()


def _scattered(m: int, n: int, sources: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> Tensor:
    """(m, n) float32 with weights (m, taps) added at columns `sources` (m, taps)."""
    matrix = np.zeros((m, n))
    np.add.at(matrix, (np.arange(m)[:, None], sources), weights)
    return torch.from_numpy(matrix).float()
