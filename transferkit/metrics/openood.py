"""The numbers that OpenOOD reports, FPR95 by unknown images and AUPR, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
from transferkit.metrics.statistics import Interval, clopper_pearson
from transferkit.metrics.thresholds import ACCEPTANCE
from transferkit.runtime.array_types import Floats
from transferkit.runtime.errors import TransferkitError


@dataclass(frozen=True)
class Estimate:
    """A number from two sets of images.

    Attributes:
        value: In [0, 1]; None if one of the sets is empty.
        interval: 95 %, by bootstrap of both sets; None where it would be made up or was not asked for.
        n_id: Known images.
        n_ood: Unknown images.
        reason: Why value or interval is missing or special; None otherwise.
    """

    value: float | None
    interval: Interval | None
    n_id: int
    n_ood: int
    reason: str | None


def fpr95_openood(id_scores: Floats, ood_scores: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Share of known images flagged where at least 95 % of the unknown ones are; ties flag more.

    The threshold is the ceil(.95 n1)-th largest unknown score. It needs unknown images, which nobody has beforehand:
    use it to compare with OpenOOD v1.5 only. At 0 and 1 the interval is Clopper and Pearson's of the known images.

    Args:
        id_scores: (n0,) of known images.
        ood_scores: (n1,) of unknown images.
        seed: Of the bootstrap.
        resamples: Of both sets; 0 leaves the interval out.

    Raises:
        TransferkitError: If scores are not finite.
    """
    known, unknown = finite_scores(id_scores, "in-distribution"), finite_scores(ood_scores, "out-of-distribution")
    result = _estimate(_weighted_fpr(known, unknown), len(known), len(unknown), seed, resamples)
    if result.value not in (0, 1) or result.interval is None:
        return result
    return replace(result, interval=clopper_pearson(round(result.value * len(known)), len(known), CONFIDENCE))


def aupr_out(
    id_scores: Floats, ood_scores: Floats, prevalence: float = 0.5, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Area under precision and recall with unknown images positive, at a stated share of unknown images.

    Precision is prevalence * TPR / (prevalence * TPR + (1 - prevalence) * FPR). Trapezoids from (recall 0, precision
    1), as in scikit-learn and OpenOOD, whose number it is at prevalence n1 / (n0 + n1). A random score gives the
    prevalence.

    Args:
        id_scores: (n0,) of known images.
        ood_scores: (n1,) of unknown images.
        prevalence: Share of unknown images among all, in (0, 1).
        seed: Of the bootstrap.
        resamples: Of both sets; 0 leaves the interval out.

    Raises:
        TransferkitError: If prevalence is no such share, or scores are not finite.
    """
    if not 0 < prevalence < 1:
        raise TransferkitError(f"prevalence is {prevalence}; expected a share between 0 and 1, such as 0.1.")
    known, unknown = finite_scores(id_scores, "in-distribution"), finite_scores(ood_scores, "out-of-distribution")
    result = _estimate(_weighted_aupr(known, unknown, prevalence), len(known), len(unknown), seed, resamples)
    if result.value is None or np.ptp(np.concatenate([known, unknown])) > 0:
        return _without_false_certainty(result)
    return replace(result, value=prevalence, interval=None, reason="constant: every image has the same score")


def _without_false_certainty(result: Estimate) -> Estimate:
    if result.interval is None or result.interval.low < 1:
        return result
    return replace(result, interval=None, reason="the sets do not overlap; see the bound of the AUROC")


def _estimate(statistic: Statistic, n_id: int, n_ood: int, seed: int, resamples: int) -> Estimate:
    if not n_id or not n_ood:
        return Estimate(None, None, n_id, n_ood, f"no {'out-of-' if n_id else 'in-'}distribution images")
    value = float(statistic(np.ones((1, n_id)), np.ones((1, n_ood)))[0])
    if min(n_id, n_ood) == 1:
        return Estimate(value, None, n_id, n_ood, "one image has no spread")
    if not resamples:
        return Estimate(value, None, n_id, n_ood, None)
    draws = stratified_bootstrap(statistic, n_id, n_ood, seed, resamples=resamples)
    return Estimate(value, percentile_interval(draws), n_id, n_ood, None)


def _weighted_fpr(known: Floats, unknown: Floats) -> Statistic:
    falling, rising = np.sort(unknown)[::-1], np.sort(known)
    by_unknown, by_known = np.argsort(-unknown, kind="stable"), np.argsort(known, kind="stable")

    def fpr(of_known: Floats, of_unknown: Floats) -> Floats:
        flagged = of_unknown[:, by_unknown].cumsum(axis=1)
        needed = np.ceil(np.round(ACCEPTANCE * flagged[:, -1:], 9))
        threshold = falling[(flagged < needed).sum(axis=1)]
        below = cumulative_from_zero(of_known[:, by_known])
        passed = below[np.arange(len(below)), np.searchsorted(rising, threshold, side="left")]
        flagged_known: Floats = 1 - passed / below[:, -1]
        return flagged_known

    return fpr


def _weighted_aupr(known: Floats, unknown: Floats, prevalence: float) -> Statistic:
    thresholds = np.unique(np.concatenate([known, unknown]))[::-1]
    flag_known, flag_unknown = _flagged(known, thresholds), _flagged(unknown, thresholds)

    def aupr(of_known: Floats, of_unknown: Floats) -> Floats:
        recall, fpr = flag_unknown(of_unknown), flag_known(of_known)
        positive = prevalence * recall
        flagged = positive + (1 - prevalence) * fpr
        precision = np.divide(positive, flagged, out=np.ones_like(flagged), where=flagged > 0)
        areas: Floats = ((precision[:, 1:] + precision[:, :-1]) * np.diff(recall)).sum(axis=1) / 2
        return areas

    return aupr


def _flagged(scores: Floats, thresholds: Floats) -> Callable[[Floats], Floats]:
    """Weighted share of scores at or above each falling threshold, (B, n) to (B, 1 + thresholds), from 0 to 1."""
    order = np.argsort(-scores, kind="stable")
    upto = np.concatenate([[0], np.searchsorted(-scores[order], -thresholds, side="right")])

    def shares(weights: Floats) -> Floats:
        cumulative = cumulative_from_zero(weights[:, order])
        flagged: Floats = cumulative[:, upto] / cumulative[:, -1:]
        return flagged

    return shares
