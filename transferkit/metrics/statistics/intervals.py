"""How far may an accuracy be from that on all images like these, and do two on different images differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from transferkit.metrics.statistics.distributions import (
    beta_critical,
    beta_quantile,
    normal_critical,
    student_critical,
)
from transferkit.metrics.statistics.units import Units, seed_variance
from transferkit.runtime.array_types import Bools, Floats
from transferkit.runtime.errors import TransferkitError

Bounds: TypeAlias = tuple[float, float]  # lower and upper, of an interval


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
    """

    low: float
    high: float

    @property
    def bounds(self) -> Bounds:
        """Both, lower first."""
        return float(self.low), float(self.high)


@dataclass(frozen=True)
class Difference:
    """How much better a is than b, with its interval.

    Attributes:
        difference: accuracy(a) - accuracy(b), in [-1, 1].
        interval: Where it would lie if the experiment were repeated.
    """

    difference: float
    interval: Interval


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion.

    Wilson, JASA 22 (1927), without continuity correction; Newcombe, Stat. Med. 17 (1998) 857, method 3.

    Args:
        successes: How many of the n.
        n: Trials; 0 gives the interval 0 to 1, since nothing was seen.
        confidence: Coverage, in (0, 1).

    Returns:
        Bounds in [0, 1]; the lower is exactly 0 for no success, the upper exactly 1 for no failure.

    Raises:
        TransferkitError: If successes lie outside 0..n.
    """
    _check_count(successes, n)
    if n == 0:
        return Interval(0.0, 1.0)
    return _score_interval(successes / n, n, confidence)


def _score_interval(share: float, n: float, confidence: float) -> Interval:
    """Wilson's interval of a share seen in n trials, of which there may be a fraction."""
    z = float(normal_critical((1 - confidence) / 2))
    spread = z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    low = 0.0 if share == 0 else max(0.0, float(centre - half))
    high = 1.0 if share == 1 else min(1.0, float(centre + half))
    return Interval(low, high)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact interval of a proportion: never covers less than it says, often more.

    Clopper and Pearson, Biometrika 26 (1934), by quantiles of the beta distribution.

    Args:
        successes: How many of the n.
        n: Trials; 0 gives the interval 0 to 1.
        confidence: Coverage, in (0, 1).

    Returns:
        Bounds in [0, 1].

    Raises:
        TransferkitError: If successes lie outside 0..n.
    """
    _check_count(successes, n)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else beta_quantile(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else beta_critical(tail, successes + 1, n - successes)
    return Interval(low, high)


def mean_share_interval(shares: Sequence[float], intervals: Sequence[Bounds]) -> Interval:
    """The interval of a mean of independent shares, each with its own: balanced accuracy from the recalls of classes.

    The distances from each share to its bounds are added as variances are (MOVER: Zou and Donner, Stat. Med. 27 (2008)
    1693, eq. 5; the method of Newcombe's interval for a difference), so that a class that is all right is not taken
    for certain.

    Args:
        shares: In [0, 1], one per class that has images.
        intervals: Of each, at the level of the result.

    Example:
        >>> mean_share_interval([0.5], [(0.3, 0.7)])
        Interval(low=0.3, high=0.7)
    """
    mean, bounds = float(np.mean(shares)), np.asarray(intervals)
    below, above = np.abs(np.asarray(shares)[:, None] - bounds).T  # (C,) each
    reach = [float(np.sqrt((side**2).sum())) / len(shares) for side in (below, above)]
    return Interval(max(0.0, mean - reach[0]), min(1.0, mean + reach[1]))


def newcombe(successes_a: int, n_a: int, successes_b: int, n_b: int, confidence: float = 0.95) -> Difference:
    """Difference of two proportions from independent samples.

    Newcombe, Stat. Med. 17 (1998) 873, method 10: square-and-add of the two Wilson intervals.

    Args:
        successes_a: How many of the n_a.
        n_a: Trials of the first sample, at least 1.
        successes_b: How many of the n_b.
        n_b: Trials of the second sample, at least 1.
        confidence: Coverage, in (0, 1).

    Returns:
        successes_a / n_a - successes_b / n_b and its interval.

    Raises:
        TransferkitError: If a sample is empty or successes lie outside 0..n.
    """
    a, b = wilson(successes_a, n_a, confidence), wilson(successes_b, n_b, confidence)
    if 0 in (n_a, n_b):
        raise TransferkitError(f"A difference needs two samples with images; found n = {n_a} and n = {n_b}.")
    share_a, share_b = successes_a / n_a, successes_b / n_b
    return independent_difference(share_a, a, share_b, b)


def independent_difference(a: float, interval_a: Interval, b: float, interval_b: Interval) -> Difference:
    """The difference of two independent numbers, each with its interval: the distances to the bounds add as squares."""
    below = float(np.hypot(a - interval_a.low, interval_b.high - b))
    above = float(np.hypot(interval_a.high - a, b - interval_b.low))
    return Difference(a - b, Interval(a - b - below, a - b + above))


def _check_count(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise TransferkitError(f"{successes} successes of {n} trials is impossible; expected 0 <= successes <= n.")


def mean_accuracy_interval(correct: Bools, confidence: float = 0.95) -> Interval:
    """Interval over images of the mean accuracy of several models on the same images.

    Wilson's interval with the effective number of images in place of N (Franco, Little, Louis and Slud, J. Surv. Stat.
    Methodol. 7 (2019) 334): p (1 - p) over the variance of the share of models that are right on an image. It is N for
    one model, where this is `wilson`, and at most S x N, which models would reach whose errors have nothing in common.

    Args:
        correct: (S, N) whether each of S models is right on each of N images.
        confidence: Coverage, in (0, 1).

    Returns:
        Bounds in [0, 1] around the mean of `correct`.
    """
    models, n = correct.shape
    p, variance = float(correct.mean()), float(correct.mean(axis=0).var())
    independent = p * (1 - p) / models
    effective = n if p * (1 - p) == 0 else n * p * (1 - p) / max(variance, independent)
    return _score_interval(p, effective, confidence)


def mean_accuracy_interval_over_seeds(correct: Bools, confidence: float = 0.95) -> Interval:
    """Interval over seeds and images of the mean accuracy of an arm.

    To either side the squares are added of what the images leave open, as in `mean_accuracy_interval`, and of Student's
    interval over the seeds; what the seeds differ by on one image is counted once. It is never narrower than that over
    the images alone. `paired_difference` says more of why.

    Args:
        correct: (S, N) whether each of S >= 2 runs is right on each of N images.
        confidence: Coverage, in (0, 1).

    Returns:
        Bounds in [0, 1] around the mean of `correct`.
    """
    return widened_by_seeds(mean_accuracy_interval(correct, confidence), correct, Units(correct.shape[1]), confidence)


def widened_by_seeds(alone: Interval, correct: Bools, units: Units, confidence: float = 0.95) -> Interval:
    """The interval of a mean accuracy over images or groups, `alone`, with what other seeds would change added."""
    runs, mean = len(correct), float(correct.mean())
    tail = (1 - confidence) / 2
    within = float(normal_critical(tail)) ** 2 * float(seed_variance(correct, units))
    by_seeds = float(student_critical(tail, runs - 1)) ** 2 * float(correct.mean(axis=1).var(ddof=1)) / runs
    below, above = (_both(abs(bound - mean), within, by_seeds) for bound in alone.bounds)
    return Interval(max(0.0, mean - below), min(1.0, mean + above))


def _both(alone: float, within: float, by_seeds: float) -> float:
    return max(alone, float(np.sqrt(max(0.0, alone**2 - within) + by_seeds)))


def mean_and_sd(values: Sequence[float] | Floats) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); NaN where undefined: both for no value, the sd for one."""
    if not len(values):
        return float("nan"), float("nan")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), sd
