"""Could something simpler than a detector tell two sets of images apart, such as brightness or sharpness?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.data.images import Images, Pixels
from transferkit.metrics.roc import auroc
from transferkit.runtime.array_types import Floats


@dataclass(frozen=True)
class LowLevel:
    """The best two-sided AUROC of four image statistics, and which: a detector must beat it to mean anything."""

    auroc: float
    statistic: str


def low_level_auroc(own: Images, unknown: Images) -> LowLevel:
    """The statistic that tells them apart best, and how well."""
    mine, theirs = low_level_statistics(own), low_level_statistics(unknown)
    measured = {name: auroc(mine[name], theirs[name]).value for name in mine}
    aurocs = {name: 0.5 if value is None else value for name, value in measured.items()}
    best = max(aurocs, key=lambda name: max(aurocs[name], 1 - aurocs[name]))
    return LowLevel(max(aurocs[best], 1 - aurocs[best]), best)


def low_level_statistics(images: Images) -> dict[str, Floats]:
    """Brightness, contrast, sharpness and saturation of every image, from its pixels alone."""
    parts = [_statistics(chunk) for chunk in images.chunks(512)]
    names = ("brightness", "contrast", "sharpness", "saturation")
    return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(names)}


def _statistics(pixels: Pixels) -> tuple[Floats, Floats, Floats, Floats]:
    values = pixels.astype(np.float32) / 255
    grey = values.mean(axis=1)  # (B, H, W)
    inner = grey[:, 1:-1, 1:-1]
    laplacian = 4 * inner - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1] - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
    saturation = (values.max(axis=1) - values.min(axis=1)).mean(axis=(1, 2))
    statistics = (grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), laplacian.var(axis=(1, 2)), saturation)
    first, second, third, fourth = (part.astype(np.float64) for part in statistics)
    return first, second, third, fourth
