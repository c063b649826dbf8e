"""Differences between two arms on the same draws of labels and the same test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats


@dataclass(frozen=True)
class Pair:
    """How much better a is than b.

    Attributes:
        difference: Of the mean accuracies, in [-1, 1].
        low: Of the 95 % interval over draws of labels (with their seeds) and test images.
        high: Likewise.
        p: Two-sided, that there is none.
        seeds: Draws that both arms have.
        images: Test images.
    """

    difference: float
    low: float
    high: float
    p: float
    seeds: int
    images: int


def paired(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], confidence: float = 0.95) -> Pair:
    """Compare two arms, each (S, N): whether the run of draw s named image i rightly.

    Draws and images are both samples. With d = a - b, the mean's variance is that of two crossed random effects,
    var(images)/N + var(draws)/S + var(rest)/(S N) (Searle, Casella and McCulloch 1992, chapter 4), each by its mean
    squares; a negative component counts as 0. The interval is Student's with the degrees of freedom of Satterthwaite
    (Biometrics Bulletin 2 (1946) 110). One draw says nothing about draws: then it is over images alone.

    Example:
        >>> right, wrong = np.ones((1, 4), bool), np.array([[True, True, True, False]])
        >>> pair = paired(right, wrong)
        >>> pair.difference, round(pair.p, 2)
        (0.25, 0.39)
    """
    difference = a.astype(np.float64) - b  # (S, N)
    seeds, images = difference.shape
    mean = float(difference.mean())
    parts = _variances(difference)
    variance = sum(value for value, _ in parts)
    if variance == 0:
        return Pair(mean, mean, mean, 1.0 if mean == 0 else 0.0, seeds, images)
    freedom = variance**2 / sum(value**2 / degrees for value, degrees in parts)
    error = variance**0.5
    half = float(stats.t.isf((1 - confidence) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return Pair(mean, mean - half, mean + half, p, seeds, images)


def _variances(difference: npt.NDArray[np.float64]) -> list[tuple[float, int]]:
    """The variance of the mean due to images, and to draws beyond what images explain, with degrees of freedom."""
    seeds, images = difference.shape
    by_image, by_seed = difference.mean(axis=0), difference.mean(axis=1)
    over_images = float(by_image.var(ddof=1)) / images, images - 1
    if seeds == 1:
        return [over_images]
    rest = difference - by_image - by_seed[:, None] + difference.mean()
    residual = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
    beyond = max(0.0, float(by_seed.var(ddof=1)) - residual / images)
    return [over_images, (beyond / seeds, seeds - 1)]
