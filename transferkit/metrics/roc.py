"""How often an unknown image scores above a known one, with intervals; scores larger = more out-of-distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.metrics.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Statistic,
    cumulative_from_zero,
    percentile_interval,
    stratified_bootstrap,
)
from transferkit.metrics.scores import finite_scores
from transferkit.metrics.statistics import Interval
from transferkit.metrics.statistics.distributions import normal_critical, special
from transferkit.runtime.array_types import Floats
from transferkit.runtime.errors import TransferkitError


@dataclass(frozen=True)
class Auroc:
    """How often an unknown image scores above a known one.

    Attributes:
        value: In [0, 1], ties counted half; None if one of the sets is empty.
        interval: 95 %; None if value is, and for constant scores, about which nothing more can be said.
        n_id: Known images.
        n_ood: Unknown images.
        constant: Whether all scores are equal.
        reason: Why value or interval is missing or conservative; None if neither is.
    """

    value: float | None
    interval: Interval | None
    n_id: int
    n_ood: int
    constant: bool
    reason: str | None


def auroc(id_scores: Floats, ood_scores: Floats) -> Auroc:
    """AUROC by mid-ranks, with DeLong's interval on the logit scale.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), by ranks (Sun and Xu, IEEE Signal Processing Letters 21
    (2014)); the logit keeps the interval in [0, 1] and its coverage near 95 % at 20 images. If the sets do not overlap,
    the variance is 0 and the bound is one-sided, .05^(1/n) with n the smaller set: n of n successes.

    Args:
        id_scores: (n0,) of known images.
        ood_scores: (n1,) of unknown images.

    Raises:
        TransferkitError: If scores are NaN or infinite; says how many.
    """
    known, unknown = finite_scores(id_scores, "in-distribution"), finite_scores(ood_scores, "out-of-distribution")
    sizes = len(known), len(unknown)
    if not all(sizes):
        side = "in-distribution" if not sizes[0] else "out-of-distribution"
        return Auroc(None, None, *sizes, constant=False, reason=f"no {side} images")
    if min(known.min(), unknown.min()) == max(known.max(), unknown.max()):
        return Auroc(0.5, None, *sizes, constant=True, reason="constant: every image has the same score")
    of_known, of_unknown = _placements(known, unknown)
    value = float(of_unknown.mean())
    interval, reason = _auroc_interval(value, of_known, of_unknown)
    return Auroc(value, interval, *sizes, constant=False, reason=reason)


def _placements(known: Floats, unknown: Floats) -> tuple[Floats, Floats]:
    """Share of unknown scores above each known one (n0,), and of known scores below each unknown one (n1,)."""
    known_sorted, unknown_sorted = np.sort(known), np.sort(unknown)
    return 1 - _share_below(known, unknown_sorted), _share_below(unknown, known_sorted)


def _share_below(scores: Floats, ascending: Floats) -> Floats:
    """Share of `ascending` below each score, ties counted half."""
    below, up_to = (np.searchsorted(ascending, scores, side=side) for side in ("left", "right"))
    shares: Floats = (below + up_to) / (2 * len(ascending))
    return shares


def _auroc_interval(value: float, of_known: Floats, of_unknown: Floats) -> tuple[Interval, str | None]:
    fewest = min(len(of_known), len(of_unknown))
    bound = (1 - CONFIDENCE) ** (1 / fewest)
    if value == 1:
        return Interval(bound, 1.0), "the sets do not overlap: one-sided bound"
    if value == 0:
        return Interval(0.0, 1 - bound), "the sets do not overlap: one-sided bound"
    if fewest == 1:
        return Interval(0.0, 1.0), "one image has no spread: any value is possible"
    variance = of_known.var(ddof=1) / len(of_known) + of_unknown.var(ddof=1) / len(of_unknown)
    half = float(normal_critical((1 - CONFIDENCE) / 2) * np.sqrt(variance) / (value * (1 - value)))
    centre = special().logit(value)
    return Interval(float(special().expit(centre - half)), float(special().expit(centre + half))), None


@dataclass(frozen=True)
class AurocDifference:
    """How much better a separates than b.

    Attributes:
        difference: AUROC(a) - AUROC(b).
        interval: 95 %, by paired bootstrap.
        p_value: Two-sided, by the same bootstrap; for Holm's correction of several.
    """

    difference: float
    interval: Interval
    p_value: float


def auroc_difference(
    id_a: Floats, ood_a: Floats, id_b: Floats, ood_b: Floats, seed: int = 0, resamples: int = RESAMPLES
) -> AurocDifference:
    """Difference of two AUROCs on the same images; both models see the same resamples.

    Args:
        id_a: (n0,) scores of known images by a.
        ood_a: (n1,) scores of unknown images by a.
        id_b: (n0,) scores of the same known images, in the same order, by b.
        ood_b: (n1,) of the same unknown images by b.
        seed: Of the bootstrap.
        resamples: How many.

    Raises:
        TransferkitError: If the images differ in number, a set has fewer than two, or scores are not finite.
    """
    a = finite_scores(id_a, "in-distribution"), finite_scores(ood_a, "out-of-distribution")
    b = finite_scores(id_b, "in-distribution"), finite_scores(ood_b, "out-of-distribution")
    n_id, n_ood = len(a[0]), len(a[1])
    if (n_id, n_ood) != (len(b[0]), len(b[1])) or min(n_id, n_ood) < 2:
        raise TransferkitError(
            "A paired difference needs the same images, two or more of each kind; "
            f"a has {n_id} known and {n_ood} unknown ones, b {len(b[0])} and {len(b[1])}."
        )
    of_a, of_b = _weighted_auroc(*a), _weighted_auroc(*b)
    ones = np.ones((1, n_id)), np.ones((1, n_ood))
    draws = stratified_bootstrap(lambda i, o: of_a(i, o) - of_b(i, o), n_id, n_ood, seed, resamples=resamples)
    tail = (1 + min((draws <= 0).sum(), (draws >= 0).sum())) / (1 + resamples)
    difference = float((of_a(*ones) - of_b(*ones))[0])
    return AurocDifference(difference, percentile_interval(draws), min(1.0, 2 * float(tail)))


def _weighted_auroc(known: Floats, unknown: Floats) -> Statistic:
    order = np.argsort(known, kind="stable")
    below, up_to = (np.searchsorted(known[order], unknown, side=side) for side in ("left", "right"))

    def auroc_of(of_known: Floats, of_unknown: Floats) -> Floats:
        cumulative = cumulative_from_zero(of_known[:, order])
        won = ((cumulative[:, below] + cumulative[:, up_to]) * of_unknown).sum(axis=1) / 2
        values: Floats = won / (cumulative[:, -1] * of_unknown.sum(axis=1))
        return values

    return auroc_of
