"""Intervals of shares where images come in groups: whole groups are drawn again, not images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from transferkit.metrics.bootstrap import CONFIDENCE
from transferkit.metrics.proportions import Proportion, proportion
from transferkit.metrics.statistics import (
    Difference,
    Interval,
    Units,
    clopper_pearson,
    distributions,
    independent_difference,
    mean_accuracy_interval,
    mean_accuracy_interval_over_seeds,
    widened_by_seeds,
)
from transferkit.runtime.array_types import Bools, Floats

RESAMPLES = 2000
BLOCK_ELEMENTS = 2**22  # resampled counts held at once, 32 MB


def grouped_proportion(hits: Bools, groups: Sequence[str] | None, among: Bools | None = None) -> Proportion:
    """How many of some images are hits, with Wilson's 95 % interval, or `share_interval` where images have groups."""
    counted = hits if among is None else hits[among]
    alone = proportion(int(counted.sum()), len(counted))
    return replace(alone, interval=share_interval(hits, groups, among)) if groups else alone


def accuracy_difference(
    a: Bools, groups_a: Sequence[str] | None, b: Bools, groups_b: Sequence[str] | None
) -> Difference:
    """The difference of two accuracies on different images: Newcombe's, by groups where images have some.

    Args:
        a: (N,) whether each image of the first set is right.
        groups_a: N names; None where every image stands for itself.
        b: (M,) the same of the second set.
        groups_b: M names, or None.
    """
    intervals = [accuracy_interval(right[None], groups) for right, groups in ((a, groups_a), (b, groups_b))]
    return independent_difference(float(a.mean()), intervals[0], float(b.mean()), intervals[1])


def accuracy_interval(correct: Bools, groups: Sequence[str] | None) -> Interval:
    """The 95 % interval of the mean accuracy of several models, over images or over their groups.

    Args:
        correct: (S, N) whether each of S models is right on each of N images.
        groups: N names; None where every image stands for itself.
    """
    return share_interval(correct.mean(axis=0), groups) if groups else mean_accuracy_interval(correct)


def accuracy_interval_over_seeds(correct: Bools, groups: Sequence[str] | None) -> Interval:
    """The same over seeds too; see `mean_accuracy_interval_over_seeds`."""
    if not groups:
        return mean_accuracy_interval_over_seeds(correct)
    return widened_by_seeds(accuracy_interval(correct, groups), correct, Units.of(correct.shape[1], groups))


def share_interval(hits: Bools | Floats, groups: Sequence[str], among: Bools | None = None, seed: int = 0) -> Interval:
    """The 95 % interval of a share of images, by the bootstrap over groups.

    Images of one group say much the same, so that groups are what was drawn by chance (Cameron and Miller, J. Human
    Resources 50 (2015) 317). Percentiles are widened for few groups as Student's t is (Hesterberg, The American
    Statistician 69 (2015) 371, section 5.3). Where all or none are hits every draw would be the same; there the groups
    count as the trials of Clopper and Pearson's interval.

    Args:
        hits: (N,) what is counted, or the share of models for which it is, in [0, 1].
        groups: N names.
        among: (N,) of which images it is a share; None: of all.
        seed: Of the draws.

    Returns:
        Bounds in [0, 1]; 0 to 1 with fewer than two groups.
    """
    among = np.ones(len(hits), dtype=np.bool_) if among is None else among
    numbers = np.unique(np.asarray(groups)[among], return_inverse=True)[1]
    size = int(numbers.max(initial=-1)) + 1
    if size < 2:
        return Interval(0.0, 1.0)
    right = np.bincount(numbers, weights=hits[among], minlength=size).astype(np.float64)
    n = np.bincount(numbers, minlength=size).astype(np.float64)
    if right.sum() in (0, n.sum()):
        return clopper_pearson(size if right.sum() else 0, size, CONFIDENCE)
    return expanded_percentiles(_draws(right, n, seed), size)


def _draws(right: Floats, n: Floats, seed: int) -> Floats:
    """(RESAMPLES,) the share on groups drawn again, as many as there are."""
    generator, groups = np.random.default_rng(seed), len(n)
    rows = max(1, BLOCK_ELEMENTS // groups)
    shares = []
    for start in range(0, RESAMPLES, rows):
        drawn = generator.integers(0, groups, size=(min(rows, RESAMPLES - start), groups))  # (B, G)
        shares.append(right[drawn].sum(axis=1) / n[drawn].sum(axis=1))
    return np.concatenate(shares)


def expanded_percentiles(draws: Floats, groups: int) -> Interval:
    """The middle of bootstrap draws, so much more than 95 % of it as Student's t with that many groups asks for."""
    reach = np.sqrt(groups / (groups - 1)) * distributions.student_critical((1 - CONFIDENCE) / 2, groups - 1)
    low, high = np.quantile(draws, [distributions.normal_upper_tail(reach), distributions.normal_cdf(reach)])
    return Interval(float(low), float(high))
