"""The bootstrap of known and unknown images, each drawn within itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transferkit.metrics.statistics import Interval
from transferkit.runtime.array_types import Floats

CONFIDENCE = 0.95
RESAMPLES = 1000
BLOCK_ELEMENTS = 2**22  # resampled counts held at once, 32 MB
Statistic = Callable[[Floats, Floats], Floats]  # weights of known (B, n0) and unknown images (B, n1) to (B,)


def stratified_bootstrap(
    statistic: Statistic,
    n_id: int,
    n_ood: int,
    seed: int,
    resamples: int = RESAMPLES,
) -> Floats:
    """The statistic on resamples of both sets, each drawn within itself.

    Args:
        statistic: From how often each known (B, n_id) and unknown image (B, n_ood) was drawn, to (B,).
        n_id: Known images.
        n_ood: Unknown images.
        seed: Of the draws.
        resamples: How many, B in all.

    Returns:
        (resamples,), for `percentile_interval`. Below about 50 images such an interval is too narrow.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK_ELEMENTS // (n_id + n_ood))
    blocks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    draws = [statistic(_counts(generator, size, n_id), _counts(generator, size, n_ood)) for size in blocks]
    return np.concatenate(draws)


def _counts(generator: np.random.Generator, rows: int, n: int) -> Floats:
    """(rows, n), how often each image was drawn."""
    drawn = generator.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def cumulative_from_zero(weights: Floats) -> Floats:
    """(B, n) to cumulative sums (B, n + 1) that begin with 0."""
    cumulative: Floats = np.pad(weights.cumsum(axis=1), ((0, 0), (1, 0)))
    return cumulative


def percentile_interval(draws: Floats) -> Interval:
    """The middle 95 % of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
