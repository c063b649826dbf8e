"""Differences in accuracy on the same images, with intervals by drawing images, or seeds and images, again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Bools, Floats
from transferkit.errors import TransferkitError
from transferkit.statistics.intervals import Difference, Interval

BLOCK_ELEMENTS = 2**22  # resampled counts held at once, 32 MB


def paired_bootstrap(
    correct_a: Bools, correct_b: Bools, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Difference:
    """Difference in accuracy of two models on the same images, by resampling the images.

    Each image contributes +1 (only a is right), -1 (only b is right) or 0. Drawing n images with replacement
    draws these three counts from a multinomial distribution, so that is what is drawn: it is the same bootstrap,
    not an approximation of it, in a time that does not depend on the number of images.

    Args:
        correct_a: (N,) whether the first model is right on each image.
        correct_b: (N,) the same for the second.
        seed: Of the resampling.
        resamples: Bootstrap samples.
        confidence: Coverage of the percentile interval.

    Returns:
        Accuracy of a minus accuracy of b, and its percentile interval (Efron and Tibshirani 1993, section 13.3).

    Raises:
        TransferkitError: If the lengths differ or there are no images.
    """
    _check_paired(correct_a, correct_b)
    n = len(correct_a)
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((~correct_a & correct_b).sum())
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)  # (resamples, 3)
    return Difference((only_a - only_b) / n, _percentiles((counts[:, 0] - counts[:, 1]) / n, confidence))


def hierarchical_bootstrap(
    correct_a: Bools, correct_b: Bools, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Difference:
    """Difference in mean accuracy of two arms, by resampling training seeds and then images.

    Every resample draws the seeds of each arm (the runs of two arms are not paired) and N images, the same images
    for both arms. Images with the same pattern of right and wrong over all runs are interchangeable, so the number
    drawn of each pattern is drawn at once, from a multinomial: the plain bootstrap, not an approximation of it.

    With few seeds the interval is too narrow: S draws from S values have (S - 1) / S of their variance.

    Args:
        correct_a: (S, N) whether each run of the first arm is right on each image.
        correct_b: (T, N) the same for the second arm.
        seed: Of the resampling.
        resamples: Bootstrap samples.
        confidence: Coverage of the percentile interval.

    Returns:
        Mean accuracy of a minus mean accuracy of b, and its percentile interval.

    Raises:
        TransferkitError: If the arms have different images, or there are no images or runs.
    """
    _check_arms(correct_a, correct_b)
    generator = np.random.default_rng(seed)
    runs = np.concatenate([correct_a, correct_b])  # (S + T, N)
    patterns, counts = np.unique(np.packbits(runs, axis=0), axis=1, return_counts=True)
    answers = np.unpackbits(patterns, axis=0, count=len(runs)).astype(np.float64)  # (S + T, U)
    weights = np.concatenate(
        [_seed_weights(generator, resamples, len(correct_a)), -_seed_weights(generator, resamples, len(correct_b))],
        axis=1,
    )  # (resamples, S + T)
    draws = _resampled_differences(generator, weights, answers, counts)
    difference = float(correct_a.mean() - correct_b.mean())
    return Difference(difference, _percentiles(draws, confidence))


def image_bootstrap(
    correct_a: Bools, correct_b: Bools, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Difference:
    """Difference in mean accuracy of two arms, by resampling the images alone: the trained models stay as they are.

    Args:
        correct_a: (S, N) whether each run of the first arm is right on each image.
        correct_b: (T, N) the same for the second arm.
        seed: Of the resampling.
        resamples: Bootstrap samples.
        confidence: Coverage of the percentile interval.

    Returns:
        Mean accuracy of a minus mean accuracy of b, and its percentile interval.

    Raises:
        TransferkitError: If the arms have different images, or there are no images or runs.
    """
    _check_arms(correct_a, correct_b)
    per_image = correct_a.mean(axis=0) - correct_b.mean(axis=0)  # (N,)
    values, counts = np.unique(per_image, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(per_image), counts / len(per_image), size=resamples)
    return Difference(float(per_image.mean()), _percentiles(drawn @ values / len(per_image), confidence))


def _seed_weights(generator: np.random.Generator, resamples: int, seeds: int) -> Floats:
    """(resamples, seeds) the share that each run has in a resample."""
    return generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds


def _resampled_differences(
    generator: np.random.Generator, weights: Floats, answers: Floats, counts: npt.NDArray[np.int64]
) -> Floats:
    """(resamples,) sum over patterns of (share of images drawn) * (weighted answers), a block at a time."""
    n = int(counts.sum())
    rows = max(1, BLOCK_ELEMENTS // len(counts))
    blocks = np.split(weights, range(rows, len(weights), rows))
    drawn = [generator.multinomial(n, counts / n, size=len(block)) / n for block in blocks]
    parts = [((block @ answers) * share).sum(axis=1) for block, share in zip(blocks, drawn, strict=True)]
    return np.concatenate(parts)


def _percentiles(draws: Floats, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _check_paired(correct_a: Bools, correct_b: Bools) -> None:
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1 or not len(correct_a):
        raise TransferkitError(
            f"A paired comparison needs both models on the same images; found {correct_a.shape} and "
            f"{correct_b.shape}, expected two vectors of the same length, at least 1."
        )


def _check_arms(correct_a: Bools, correct_b: Bools) -> None:
    shapes = correct_a.shape, correct_b.shape
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise TransferkitError(
            f"Two arms need the same images; found shapes {shapes[0]} and {shapes[1]}, "
            "expected (seeds, images) with the same number of images, at least 1 of each."
        )
